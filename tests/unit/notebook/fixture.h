/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* fixture.h - notebooks for the tests: from tests/fixtures/notebooks/, or made
 * here.  After nbtest.h. */

#include <stdbool.h>
#include <sys/mman.h>

#include <nbcid/buf.h>

#define FIXTURE_MAX (1024 * 1024)

/* A whole fixture; the caller frees it. */
__attribute__((unused)) static char *fixture_read(const char *name, size_t *ret_n)
{
        const char *root = getenv("NBCID_SOURCE_ROOT");
        char path[512];
        char *p = malloc(FIXTURE_MAX);
        FILE *f;

        snprintf(path, sizeof(path), "%s/tests/fixtures/notebooks/%s", root ? root : ".", name);
        f = fopen(path, "rbe");
        if (!f || !p)
                FAIL("cannot read %s (NBCID_SOURCE_ROOT is the source tree's top)", path);
        *ret_n = fread(p, 1, FIXTURE_MAX, f);
        fclose(f);
        return p;
}

/* A notebook of mebibytes cells with an image of 1 MiB each, and at its end an
 * error: memory that was never the heap's, so that reading it is all that is
 * measured.  munmap() it. */
__attribute__((unused)) static char *fixture_big(size_t mebibytes, size_t *ret_n)
{
        static const char head
                [] = "{\"cells\":[",
            tail[] =
                    "{\"cell_type\":\"code\",\"execution_count\":9,\"metadata\":{},\"outputs\":[{"
                    "\"ename\":\"E\",\"evalue\":\"v\",\"output_type\":\"error\",\"traceback\":[]}],"
                    "\"source\":\"x\"}],\"metadata\":{\"kernelspec\":{\"name\":\"python3\"}},"
                    "\"nbformat\":4,\"nbformat_minor\":4}";
        static const char cell[] =
                "{\"cell_type\":\"code\",\"execution_count\":1,\"metadata\":{},\"outputs\":[{"
                "\"data\":{\"image/png\":\"";
        static const char rest[] = "\\n\"},\"metadata\":{},\"output_type\":\"display_data\"}],"
                                   "\"source\":[\"show()\"]},";
        size_t image = 1024 * 1024, max = (mebibytes + 1) * (image + 1024), n = 0;
        char *p = mmap(NULL, max, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                FAIL("no memory for a big notebook");
#define PUT(s) (memcpy(p + n, s, sizeof(s) - 1), n += sizeof(s) - 1)
        PUT(head);
        for (size_t i = 0; i < mebibytes; i++) {
                PUT(cell);
                memset(p + n, 'A', image);
                n += image;
                PUT(rest);
        }
        PUT(tail);
#undef PUT
        *ret_n = n;
        return p;
}

/* Bytes of memory that this process ever had resident. */
__attribute__((unused)) static long fixture_peak(void)
{
        char line[256];
        long kib = -1;
        FILE *f = fopen("/proc/self/status", "re");

        while (f && fgets(line, sizeof(line), f))
                if (sscanf(line, "VmHWM: %ld", &kib) == 1)
                        break;
        if (f)
                fclose(f);
        if (kib < 0)
                FAIL("no VmHWM in /proc/self/status");
        return kib * 1024;
}

/* Sanitizers keep freed memory; there the peak says nothing. */
#if defined(__SANITIZE_ADDRESS__)
#define FIXTURE_PEAK_COUNTS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIXTURE_PEAK_COUNTS 0
#endif
#endif
#ifndef FIXTURE_PEAK_COUNTS
#define FIXTURE_PEAK_COUNTS 1
#endif
