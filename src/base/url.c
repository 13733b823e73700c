/* SPDX-License-Identifier: Apache-2.0 */
/* hexadecimal and percent encoding of str.h */
#include <nbcid/str.h>

#include <stdlib.h>
#include <string.h>

static const char hex_lower[] = "0123456789abcdef";
static const char hex_upper[] = "0123456789ABCDEF"; /* RFC 3986 section 2.1 prefers these */

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

void nb_hex(char *buf, const uint8_t *p, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                *buf++ = hex_lower[p[i] >> 4];
                *buf++ = hex_lower[p[i] & 15];
        }
        *buf = '\0';
}

bool nb_unhex(const char *s, size_t len, uint8_t *out, size_t n)
{
        if (len % 2 != 0 || len / 2 != n)
                return false;
        for (size_t i = 0; i < n; i++) {
                int high = hex_value(s[2 * i]), low = hex_value(s[2 * i + 1]);
                if (high < 0 || low < 0)
                        return false;
                out[i] = (uint8_t)(high << 4 | low);
        }
        return true;
}

/* RFC 3986 section 2.3 */
static bool is_unreserved(char c)
{
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '.' || c == '_' || c == '~';
}

char *nb_url_encode(const char *s, bool keep_slash)
{
        size_t n = strlen(s), room;
        char *out, *p;

        if (__builtin_mul_overflow(n, 3, &room) || __builtin_add_overflow(room, 1, &room))
                return NULL;
        out = malloc(room);
        if (!out)
                return NULL;
        p = out;
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;
                if (is_unreserved(*s) || (keep_slash && c == '/')) {
                        *p++ = *s;
                } else {
                        *p++ = '%';
                        *p++ = hex_upper[c >> 4];
                        *p++ = hex_upper[c & 15];
                }
        }
        *p = '\0';
        return out;
}

char *nb_url_decode(const char *s, size_t n, size_t *ret_n)
{
        nb_auto_free char *out = NULL;
        size_t len = 0, room;

        if (__builtin_add_overflow(n, 1, &room))
                return NULL;
        out = malloc(room);
        if (!out)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                if (s[i] == '%') {
                        int high = n - i > 2 ? hex_value(s[i + 1]) : -1;
                        int low = n - i > 2 ? hex_value(s[i + 2]) : -1;
                        if (high < 0 || low < 0)
                                return NULL;
                        out[len++] = (char)(high << 4 | low);
                        i += 2;
                } else {
                        out[len++] = s[i] == '+' ? ' ' : s[i];
                }
        }
        out[len] = '\0';
        if (ret_n)
                *ret_n = len;
        return NB_TAKE(out);
}
