/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/mem.h>

#include <stdint.h>
#include <string.h>

void *nb_alloc_array(size_t n, size_t size)
{
        size_t all;

        if (__builtin_mul_overflow(n, size, &all) || all > PTRDIFF_MAX)
                return NULL;
        /* of nothing, calloc() may answer NULL, which a caller would take for
         * a failure */
        return calloc(1, all > 0 ? all : 1);
}

int nb_grow(void **p, size_t *cap, size_t need, size_t size)
{
        size_t want = *cap < 8 ? 8 : *cap, all;
        void *bigger;

        if (need <= *cap)
                return 0;
        while (want < need)
                if (__builtin_mul_overflow(want, 2, &want))
                        want = need;
        if (__builtin_mul_overflow(want, size, &all) || all > PTRDIFF_MAX)
                return -1;
        bigger = realloc(*p, all);
        if (!bigger)
                return -1;
        memset((char *)bigger + *cap * size, 0, (want - *cap) * size);
        *p = bigger;
        *cap = want;
        return 0;
}
