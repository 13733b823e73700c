/* SPDX-License-Identifier: Apache-2.0 */
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

#include <nbcid/str.h>

#define ELLIPSIS "\xe2\x80\xa6" /* U+2026 */

uint32_t nb_utf8_decode(const char *s, size_t n, size_t *ret_len)
{
        const unsigned char *p = (const unsigned char *)s;
        /* RFC 3629 section 4: the first byte says how many follow, and for
         * four of them narrows the range of the second. */
        unsigned char low = 0x80, high = 0xbf;
        size_t len;
        uint32_t c;

        *ret_len = 1;
        if (p[0] < 0x80)
                return p[0];
        if (p[0] >= 0xc2 && p[0] <= 0xdf) {
                len = 2;
                c = p[0] & 0x1f;
        } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
                len = 3;
                c = p[0] & 0x0f;
                if (p[0] == 0xe0)
                        low = 0xa0;
                else if (p[0] == 0xed)
                        high = 0x9f;
        } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
                len = 4;
                c = p[0] & 0x07;
                if (p[0] == 0xf0)
                        low = 0x90;
                else if (p[0] == 0xf4)
                        high = 0x8f;
        } else {
                return NB_UTF8_BAD + p[0];
        }
        if (n < len)
                return NB_UTF8_BAD + p[0];
        for (size_t i = 1; i < len; i++) {
                if (p[i] < low || p[i] > high)
                        return NB_UTF8_BAD + p[0];
                low = 0x80;
                high = 0xbf;
                c = c << 6 | (p[i] & 0x3f);
        }
        *ret_len = len;
        return c;
}

size_t nb_utf8_trim(const char *s, size_t n)
{
        size_t start = n, want;
        unsigned char c;

        while (start > 0 && n - start < 3 && ((unsigned char)s[start - 1] & 0xc0) == 0x80)
                start--;
        if (start == 0)
                return n;
        c = (unsigned char)s[start - 1];
        want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        return n - (start - 1) < want ? start - 1 : n;
}

bool nb_utf8_valid(const char *s, size_t n, size_t *ret_bad)
{
        size_t step;

        for (size_t i = 0; i < n; i += step) {
                uint64_t word;

                /* Most text is ASCII: look at eight bytes at once. */
                if (n - i >= sizeof(word)) {
                        memcpy(&word, s + i, sizeof(word));
                        if ((word & UINT64_C(0x8080808080808080)) == 0) {
                                step = sizeof(word);
                                continue;
                        }
                }
                if (nb_utf8_decode(s + i, n - i, &step) < NB_UTF8_BAD)
                        continue;
                if (ret_bad)
                        *ret_bad = i;
                return false;
        }
        return true;
}

char *nb_utf8_clean(const char *s, size_t n, bool one_line)
{
        size_t room, step, len = 0;
        char *out;

        if (!s || __builtin_mul_overflow(n, strlen(NB_UTF8_REPLACEMENT), &room) ||
            __builtin_add_overflow(room, 1, &room))
                return NULL;
        out = malloc(room);
        if (!out)
                return NULL;
        for (size_t i = 0; i < n; i += step) {
                uint32_t c = nb_utf8_decode(s + i, n - i, &step);
                if (c >= NB_UTF8_BAD) {
                        memcpy(out + len, NB_UTF8_REPLACEMENT, strlen(NB_UTF8_REPLACEMENT));
                        len += strlen(NB_UTF8_REPLACEMENT);
                } else if (nb_utf8_is_control(c) && (one_line || (c != '\n' && c != '\t'))) {
                        out[len++] = ' ';
                } else {
                        memcpy(out + len, s + i, step);
                        len += step;
                }
        }
        out[len] = '\0';
        return out;
}

size_t nb_utf8_prefix(const char *s, size_t max_chars)
{
        size_t i = 0, step;

        for (; s[i] && max_chars > 0; max_chars--, i += step)
                (void)nb_utf8_decode(s + i, strnlen(s + i, 4), &step);
        return i;
}

char *nb_utf8_cut(const char *s, size_t max_chars)
{
        size_t n;
        char *out;

        if (!s)
                return NULL;
        n = nb_utf8_prefix(s, max_chars);
        if (!s[n] || max_chars == 0)
                return nb_strndup(s, n);
        n = nb_utf8_prefix(s, max_chars - 1);
        out = malloc(n + sizeof(ELLIPSIS));
        if (!out)
                return NULL;
        memcpy(out, s, n);
        memcpy(out + n, ELLIPSIS, sizeof(ELLIPSIS));
        return out;
}
