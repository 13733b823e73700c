/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* text.h - pieces of text that are not C strings yet.  Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define TEXT_REMEDY "open the notebook in Jupyter, mend it there and save it"

static inline bool text_is(const char *s, size_t n, const char *word)
{
        return n == strlen(word) && memcmp(s, word, n) == 0;
}

static inline bool text_begins(const char *s, size_t n, const char *with)
{
        return n >= strlen(with) && memcmp(s, with, strlen(with)) == 0;
}

/* Bytes of it to show in an error: enough to find it again. */
static inline int text_shown(const char *s, size_t n)
{
        size_t most = 60;

        if (n <= most)
                return (int)n;
        while (most > 0 && ((unsigned char)s[most] & 0xc0) == 0x80)
                most--;
        return (int)most;
}
