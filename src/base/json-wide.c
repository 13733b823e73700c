/* SPDX-License-Identifier: Apache-2.0 */

/*
 * json-wide.c - long strings, 32 bytes at a time where the processor can
 *
 * The build is for any x86-64, so the processor is asked at run time; not by an ifunc, whose
 * resolver runs before the sanitizers do.
 */

#include "json-private.h"

#include <string.h>

#ifdef __x86_64__

typedef unsigned char wide __attribute__((vector_size(32)));
#define WIDE __attribute__((target("avx2")))

WIDE static unsigned bits(wide v)
{
        return (unsigned)__builtin_ia32_pmovmskb256((__attribute__((vector_size(32))) char)v);
}

WIDE static size_t skip(const char *p, size_t n, size_t i, unsigned *high)
{
        wide v, before = {0};

        for (; n - i >= sizeof(v); i += sizeof(v)) {
                memcpy(&v, p + i, sizeof(v));
                unsigned found = bits((wide)(v == '"') | (wide)(v == '\\') | (wide)(v < ' '));

                if (found) {
                        *high |= bits(v) & (found - 1) & ~found;
                        i += (unsigned)__builtin_ctz(found);
                        break;
                }
                before |= v;
        }
        *high |= bits(before);
        return i;
}

WIDE static size_t count(const char *p, size_t n, size_t *lines)
{
        size_t i = 0;
        wide v;

        for (; n - i >= sizeof(v); i += sizeof(v)) {
                memcpy(&v, p + i, sizeof(v));
                *lines += (unsigned)__builtin_popcount(bits((wide)(v == '\n')));
        }
        return i;
}

size_t json_skip_wide(const char *p, size_t n, size_t i, unsigned *high)
{
        return __builtin_cpu_supports("avx2") ? skip(p, n, i, high) : i;
}

size_t json_count_wide(const char *p, size_t n, size_t *lines)
{
        return __builtin_cpu_supports("avx2") ? count(p, n, lines) : 0;
}

#else

size_t json_skip_wide(const char *p, size_t n, size_t i, unsigned *high)
{
        return i;
}

size_t json_count_wide(const char *p, size_t n, size_t *lines)
{
        return 0;
}

#endif
