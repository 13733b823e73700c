/* SPDX-License-Identifier: Apache-2.0 */
#include "suggest.h"

#include <string.h>

#define LONGEST 64

static size_t least(size_t a, size_t b)
{
        return a < b ? a : b;
}

/* Levenshtein's distance, one row at a time; both at most LONGEST bytes. */
static size_t edits(const char *a, size_t n_a, const char *b, size_t n_b)
{
        size_t row[LONGEST + 1];

        for (size_t j = 0; j <= n_b; j++)
                row[j] = j;
        for (size_t i = 1; i <= n_a; i++) {
                size_t diagonal = row[0];

                row[0] = i;
                for (size_t j = 1; j <= n_b; j++) {
                        size_t replaced = diagonal + (a[i - 1] != b[j - 1]);

                        diagonal = row[j];
                        row[j] = least(replaced, 1 + least(row[j], row[j - 1]));
                }
        }
        return row[n_b];
}

void suggestion_offer(struct suggestion *s, const char *name)
{
        size_t n = strnlen(s->wanted, LONGEST + 1), n_name = strlen(name), d;

        if (n > LONGEST || n_name > LONGEST)
                return;
        d = edits(s->wanted, n, name, n_name);
        /* all of a short word can be replaced by two edits: that is no hint */
        if (d < s->distance && d < n_name && d < n) {
                s->distance = d;
                s->found = name;
        }
}
