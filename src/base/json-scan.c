/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One pass over the bytes before yajl sees them, sixteen at a time where
 * they are plain.  Lone surrogates are looked for here because yajl 2.1.0 unpatched
 * aborts on some of them; vertical tab and form feed because it takes them for
 * white space.
 */

#include "json-private.h"

#include <string.h>

#include "utf8.h"

/* Sixteen bytes; the compiler knows what the machine has for them. */
typedef signed char bytes __attribute__((vector_size(16)));

static bytes load(const char *p)
{
        bytes v;

        memcpy(&v, p, sizeof(v));
        return v;
}

/* Where the sixteen bytes need a closer look; next are those one further.  Of
 * backslashes only the common case is left out, in which nothing depends on
 * what text has how many: that makes for a loop that is never surprised. */
static bytes find_special(bytes v, bytes next)
{
        return (bytes)(v < 0) | (bytes)(v == '\v') | (bytes)(v == '\f') |
               ((bytes)(v == '\\') & (bytes)(next == 'u'));
}

/* Is any byte of a comparison's result set? */
static bool any(bytes v)
{
        uint64_t w[2];

        memcpy(w, &v, sizeof(w));
        return (w[0] | w[1]) != 0;
}

/* Does the byte at i stand after a backslash that is not escaped itself? */
static bool is_escaped(const char *p, size_t i)
{
        size_t k = i;

        while (k > 0 && p[k - 1] == '\\')
                k--;
        return (i - k) % 2 != 0;
}

/* The same byte by byte, from i to end or a bit further. */
static size_t step_plain(const char *p, size_t n, size_t i, size_t end)
{
        while (i < end) {
                unsigned char c = (unsigned char)p[i];

                if (c == '\\' && n - i >= 2 && p[i + 1] != 'u' && (unsigned char)p[i + 1] < 0x80)
                        i += 2;
                else if (c >= 0x80 || c == '\v' || c == '\f' || c == '\\')
                        break;
                else
                        i++;
        }
        return i;
}

/* To the first byte that needs a closer look, or to n. */
static size_t skip_plain(const char *p, size_t n, size_t i)
{
        size_t end;

        do {
                while (n - i > sizeof(bytes) && !any(find_special(load(p + i), load(p + i + 1))))
                        i += sizeof(bytes);
                end = n - i > sizeof(bytes) ? i + sizeof(bytes) : n;
                if (i < n && (unsigned char)p[i] < 0x80 && is_escaped(p, i))
                        i++;
                i = step_plain(p, n, i, end);
        } while (i >= end && i < n);
        return i;
}

/* Bytes that the character at p needs, by its first byte. */
static size_t utf8_want(unsigned char c)
{
        return c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
}

/* Could the n bytes at p, too few, be the begin of a character? */
static bool utf8_cut(const char *p, size_t n)
{
        /* What may follow does not depend on what is missing, so any end that
         * fits its first byte tells. */
        static const char ends[] = "\x80\xbf";
        char c[4];
        size_t len, want = utf8_want((unsigned char)p[0]);

        if (n >= want)
                return false;
        for (size_t k = 0; k < 2; k++) {
                memset(c, ends[k], sizeof(c));
                memcpy(c, p, n);
                if (nb_utf8_decode(c, want, &len) < NB_UTF8_BAD)
                        return true;
        }
        return false;
}

/* The unit of the \uXXXX at p; -1 when it is another escape or none that JSON
 * has (yajl finds that out), -2 when the n bytes end too early to say. */
static int escaped_unit(const char *p, size_t n)
{
        int unit = 0;

        if (n < 1)
                return -2;
        if (p[0] != '\\')
                return -1;
        if (n < 2)
                return -2;
        if (p[1] != 'u')
                return -1;
        for (size_t k = 2; k < 6; k++) {
                int c, low;

                if (k >= n)
                        return -2;
                c = (unsigned char)p[k];
                low = c | 0x20;
                if (c >= '0' && c <= '9')
                        unit = unit * 16 + c - '0';
                else if (low >= 'a' && low <= 'f')
                        unit = unit * 16 + low - 'a' + 10;
                else
                        return -1;
        }
        return unit;
}

/* The length of the escape at p; 0 when it is cut off, -1 when it is bad.
 * Backslashes pair up from the left as long as the text is JSON; where it is
 * not, yajl stops earlier than whatever is found here. */
static int escape_len(const char *p, size_t n, bool last)
{
        int unit = escaped_unit(p, n), low;

        if (unit == -2)
                return last ? (int)(n < 2 ? n : 2) : 0;
        if (unit < 0) /* what is not ASCII is looked at by itself */
                return (unsigned char)p[1] < 0x80 ? 2 : 1;
        if ((unit & 0xf800) != 0xd800)
                return 6;
        low = (unit & 0xfc00) == 0xd800 ? escaped_unit(p + 6, n - 6) : -1;
        if (low == -2 && !last)
                return 0;
        return low >= 0 && (low & 0xfc00) == 0xdc00 ? 12 : -1;
}

static int sequence_len(const char *p, size_t n, bool last, const char **ret_what)
{
        size_t len;
        int r;

        if (*p == '\\') {
                r = escape_len(p, n, last);
                if (r < 0)
                        *ret_what = "this \\u escape is half a surrogate pair";
                return r;
        }
        if (*p == '\v' || *p == '\f') {
                *ret_what = "vertical tab and form feed are no JSON white space";
                return -1;
        }
        if (nb_utf8_decode(p, n, &len) < NB_UTF8_BAD)
                return (int)len;
        if (!last && utf8_cut(p, n))
                return 0;
        *ret_what = "this is not UTF-8";
        return -1;
}

enum json_scan json_scan(const char *p, size_t n, bool last, size_t *i, const char **ret_what)
{
        while (*i < n && (*i = skip_plain(p, n, *i)) < n) {
                int len = sequence_len(p + *i, n - *i, last, ret_what);

                if (len <= 0)
                        return len < 0 ? JSON_SCAN_BAD : JSON_SCAN_CUT;
                *i += (size_t)len;
        }
        return JSON_SCAN_END;
}

size_t json_string_run(const char *p, size_t n)
{
        size_t i = 0;

        while (i < n) {
                while (n - i >= sizeof(bytes)) {
                        bytes v = load(p + i);
                        /* 0 to 31 are no part of a string; bytes from 0x80 on are below 0 */
                        bytes control = (bytes)(v >= 0) & (bytes)(v < 0x20);

                        if (any(control | (bytes)(v == '"') | (bytes)(v == '\\')))
                                break;
                        i += sizeof(bytes);
                }
                if (i < n && p[i] == '\\') {
                        if (n - i < 2 || !memchr("\"\\/bfnrt", p[i + 1], 8))
                                break;
                        i += 2;
                } else if (i < n) {
                        if (p[i] == '"' || (unsigned char)p[i] < 0x20)
                                break;
                        i++;
                }
        }
        return i;
}

size_t json_count_lines(const char *p, size_t n)
{
        size_t lines = 0, i = json_count_wide(p, n, &lines);

        while (n - i >= sizeof(bytes)) {
                bytes sums = {0};

                /* each byte of sums counts down from 0, and -127 is near its end */
                for (int k = 0; k < 127 && n - i >= sizeof(bytes); k++, i += sizeof(bytes))
                        sums += (bytes)(load(p + i) == '\n');
                for (size_t k = 0; k < sizeof(bytes); k++)
                        lines -= (size_t)(ptrdiff_t)sums[k];
        }
        for (; i < n; i++)
                lines += p[i] == '\n';
        return lines;
}
