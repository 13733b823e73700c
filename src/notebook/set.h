/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* set.h - strings that were there before.  Some twenty bytes for each, beside
 * its own; strangers cannot make it slow. */

#include <stddef.h>
#include <stdint.h>

#include <nbcid/buf.h>
#include <nbcid/err.h>

struct set_slot {
        uint32_t hash;
        uint32_t at; /* in texts, plus 1; 0: empty */
};

struct set {
        struct nb_buf texts; /* length and bytes of each */
        struct set_slot *slots;
        size_t cap, n;
        uint64_t seed; /* secret, so that nobody can choose strings that collide */
};

void set_init(struct set *s);
void set_done(struct set *s);
void set_clear(struct set *s);
/* 1: it is new; 0: it was there; NB_E_NOMEM. */
int set_add(struct set *s, const char *p, size_t n, struct nb_err *err);
