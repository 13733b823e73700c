/* SPDX-License-Identifier: Apache-2.0 */

/*
 * bench-check yajl|check NOTEBOOK ROUNDS     the fastest of ROUNDS, in ns
 * bench-check stream NOTEBOOK                in pieces; peak of RSS in KiB before and after
 *
 * One number a line.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <yajl/yajl_parse.h>

#include <nbcid/buf.h>
#include <nbcid/mem.h>
#include <nbcid/notebook.h>

#define BYTES_MAX ((size_t)1 << 30)
#define PIECE ((size_t)256 << 10)

_Noreturn static void give_up(const char *what)
{
        fprintf(stderr, "bench-check: %s\n", what);
        exit(1);
}

static int64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int open_file(const char *path)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                give_up(path);
        return fd;
}

static void read_file(const char *path, struct nb_buf *b)
{
        nb_auto_fd int fd = open_file(path);
        ssize_t n;

        do {
                if (nb_buf_reserve(b, PIECE) < 0)
                        give_up("the notebook is too large");
                n = read(fd, b->data + b->len, PIECE);
                if (n < 0)
                        give_up(path);
                b->len += (size_t)n;
        } while (n > 0);
}

/* ---- yajl, with callbacks that do nothing ---- */

static int on_nothing(void *arg)
{
        return 1;
}
static int on_boolean(void *arg, int v)
{
        return 1;
}
static int on_number(void *arg, const char *s, size_t n)
{
        return 1;
}
static int on_string(void *arg, const unsigned char *s, size_t n)
{
        return 1;
}

static void parse(const struct nb_buf *b)
{
        static const yajl_callbacks callbacks = {on_nothing, on_boolean, NULL,       NULL,
                                                 on_number,  on_string,  on_nothing, on_string,
                                                 on_nothing, on_nothing, on_nothing};
        yajl_handle h = yajl_alloc(&callbacks, NULL, NULL);

        if (!h || yajl_parse(h, (const unsigned char *)b->data, b->len) != yajl_status_ok ||
            yajl_complete_parse(h) != yajl_status_ok)
                give_up("yajl does not take it");
        yajl_free(h);
}

/* ---- ours ---- */

static void check(const struct nb_buf *b)
{
        NB_CLEANUP(findings_done) struct findings found = {.max = 100};
        struct nb_err err;

        if (notebook_check_format(nb_buf_str(b), b->len, BYTES_MAX, &found, &err) < 0)
                give_up(err.msg);
}

static void race(const char *who, const char *path, int rounds)
{
        nb_auto_buf b = NB_BUF(BYTES_MAX);
        int64_t best = INT64_MAX;

        read_file(path, &b);
        for (int i = 0; i < rounds; i++) {
                int64_t t = now_ns();

                if (strcmp(who, "yajl") == 0)
                        parse(&b);
                else
                        check(&b);
                t = now_ns() - t;
                best = t < best ? t : best;
        }
        printf("%lld\n", (long long)best);
}

/* A file in pieces, as `nbcid check` reads those that are too large to be held. */
static void check_file(const char *path, char *piece, struct findings *found)
{
        nb_auto_fd int fd = open_file(path);
        NB_CLEANUP(notebook_format_freep) struct notebook_format *f = NULL;
        struct nb_err err;
        ssize_t n;

        if (notebook_format_new(BYTES_MAX, found, &f, &err) < 0)
                give_up(err.msg);
        while ((n = read(fd, piece, PIECE)) > 0)
                if (notebook_format_feed(f, piece, (size_t)n, &err) < 0)
                        give_up(err.msg);
        if (n < 0 || notebook_format_end(f, &err) < 0)
                give_up(path);
}

static long peak_kib(void)
{
        char line[256];
        long kib = -1;
        FILE *f = fopen("/proc/self/status", "re");

        while (f && fgets(line, sizeof(line), f))
                if (strncmp(line, "VmHWM:", 6) == 0)
                        kib = strtol(line + 6, NULL, 10);
        if (f)
                fclose(f);
        return kib;
}

static void stream(const char *path)
{
        nb_auto_free char *piece = malloc(PIECE);
        NB_CLEANUP(findings_done) struct findings found = {.max = 100};
        long before = peak_kib();

        if (!piece)
                give_up("no memory");
        check_file(path, piece, &found);
        printf("%ld\n%ld\n%d\n", before, peak_kib(), findings_refuse(&found));
}

int main(int argc, char **argv)
{
        if (argc == 4)
                race(argv[1], argv[2], (int)strtol(argv[3], NULL, 10));
        else if (argc == 3 && strcmp(argv[1], "stream") == 0)
                stream(argv[2]);
        else
                give_up("see the top of bench/check.c");
        return 0;
}
