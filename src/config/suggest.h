/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* suggest.h - the known name that somebody probably meant */

#include <stddef.h>

struct suggestion {
        const char *wanted;
        const char *found; /* the nearest so far, or NULL: none is near */
        size_t distance;   /* its edits; a start of 3 refuses all over 2 */
};
#define SUGGESTION(wanted_) ((struct suggestion){.wanted = (wanted_), .distance = 3})

/* Offer a name; it is kept when it is nearer than what was offered before. */
void suggestion_offer(struct suggestion *s, const char *name);
