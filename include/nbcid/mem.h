/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* mem.h - scopes that clean up after themselves, and moving out of them */

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define NB_CLEANUP(fn) __attribute__((cleanup(fn)))
#define NB_MUST_USE __attribute__((warn_unused_result))

/* Move out of a variable that a cleanup guards; the variable becomes NULL. */
#define NB_TAKE(p) \
        __extension__({ \
                __typeof__(p) *nb_pp_ = &(p); \
                __typeof__(p) nb_v_ = *nb_pp_; \
                *nb_pp_ = NULL; \
                nb_v_; \
        })
#define NB_TAKE_FD(fd) \
        __extension__({ \
                int *nb_pf_ = &(fd); \
                int nb_f_ = *nb_pf_; \
                *nb_pf_ = -1; \
                nb_f_; \
        })

/* NB_DEFINE_FREEP(struct thing *, thing_free) makes thing_freep() for
 * NB_CLEANUP(thing_freep) struct thing *t = NULL; */
#define NB_DEFINE_FREEP(type, fn) \
        static inline void fn##p(type *p) \
        { \
                if (*p) \
                        (void)fn(*p); \
        } \
        struct nb_swallow_semicolon

#define NB_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline void nb_freep(void *p)
{
        free(*(void **)p);
}
static inline void nb_closep(int *fd)
{
        if (*fd >= 0)
                (void)close(*fd);
}

#define nb_auto_free NB_CLEANUP(nb_freep)
#define nb_auto_fd NB_CLEANUP(nb_closep)

/* calloc with an overflow check, NULL when it does not fit or memory is out.
 * The caller owns the array. */
void *nb_alloc_array(size_t n, size_t size);
/* Grow *p (an array of size-byte elements, *cap of them) to hold at least
 * need; new elements are zeroed.  0 or -1; on -1 nothing changed. */
int nb_grow(void **p, size_t *cap, size_t need, size_t size);
