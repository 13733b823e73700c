/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading past a value: the grammar of RFC 8259 and nothing else, eight bytes
 * at a time inside strings.  It keeps no place and explains nothing, since
 * whoever is answered 0 asks nb_json_parse().  tests/fuzz/fuzz-json.c holds the
 * two to the same verdict.
 */

#include <endian.h>
#include <string.h>

#include <nbcid/mem.h>
#include <nbcid/str.h>

#include "json-private.h"

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

size_t nb_json_space(const char *p, size_t n, size_t i)
{
        while (i < n && (p[i] == ' ' || p[i] == '\n' || p[i] == '\t' || p[i] == '\r'))
                i++;
        return i;
}

/* Non-zero when a byte of w is a quote, a backslash or below a space; its
 * lowest bit is in the first such byte ("Bit Twiddling Hacks", haszero and
 * hasless, give false alarms only above a true one). */
static uint64_t special_bytes(uint64_t w)
{
        uint64_t quote = w ^ EACH('"'), slash = w ^ EACH('\\');

        return (((quote - EACH(1)) & ~quote) | ((slash - EACH(1)) & ~slash) |
                ((w - EACH(' ')) & ~w)) &
               EACH(0x80);
}

size_t json_skip_plain(const char *p, size_t n, size_t i)
{
        uint64_t word, found;

        for (; n - i >= sizeof(word); i += sizeof(word)) {
                memcpy(&word, p + i, sizeof(word));
                found = special_bytes(le64toh(word));
                if (found)
                        return i + (size_t)__builtin_ctzll(found) / 8;
        }
        while (i < n && p[i] != '"' && p[i] != '\\' && (unsigned char)p[i] >= ' ')
                i++;
        return i;
}

/* The unit of a \uXXXX that stands at i, or -1. */
static int escaped_unit(const char *p, size_t n, size_t i)
{
        uint8_t b[2];

        if (n - i < 6 || p[i] != '\\' || p[i + 1] != 'u' || !nb_unhex(p + i + 2, 4, b, sizeof(b)))
                return -1;
        return b[0] << 8 | b[1];
}

/* Behind the escape at i; 0: it is none, or half a pair of surrogates. */
static size_t skip_escape(const char *p, size_t n, size_t i)
{
        int unit = escaped_unit(p, n, i);

        if (unit < 0)
                return n - i >= 2 && p[i + 1] && strchr("\"\\/bfnrt", p[i + 1]) ? i + 2 : 0;
        if ((unit & 0xf800) != 0xd800)
                return i + 6;
        if ((unit & 0xfc00) != 0xd800 || (escaped_unit(p, n, i + 6) & ~0x3ff) != 0xdc00)
                return 0;
        return i + 12;
}

static size_t skip_string(const char *p, size_t n, size_t i)
{
        i = json_skip_plain(p, n, i + 1);
        while (i < n && p[i] == '\\') {
                i = skip_escape(p, n, i);
                if (i == 0)
                        return 0;
                i = json_skip_plain(p, n, i);
        }
        return i < n && p[i] == '"' ? i + 1 : 0;
}

static size_t skip_digits(const char *p, size_t n, size_t i)
{
        while (i < n && p[i] >= '0' && p[i] <= '9')
                i++;
        return i;
}

size_t json_skip_number(const char *p, size_t n, size_t start)
{
        size_t i = start + (p[start] == '-'), from = i;

        i = skip_digits(p, n, i);
        if (i == from || (p[from] == '0' && i > from + 1))
                return 0;
        if (i < n && p[i] == '.') {
                from = i + 1;
                i = skip_digits(p, n, from);
                if (i == from)
                        return 0;
        }
        if (i < n && (p[i] == 'e' || p[i] == 'E')) {
                from = i + 1;
                if (from < n && (p[from] == '-' || p[from] == '+'))
                        from++;
                i = skip_digits(p, n, from);
                if (i == from)
                        return 0;
        }
        return i - start <= JSON_NUMBER_MAX ? i : 0;
}

static size_t skip_word(const char *p, size_t n, size_t i, const char *word)
{
        size_t len = strlen(word);

        return n - i >= len && memcmp(p + i, word, len) == 0 ? i + len : 0;
}

static size_t skip_scalar(const char *p, size_t n, size_t i)
{
        switch (p[i]) {
        case '"':
                return skip_string(p, n, i);
        case 't':
                return skip_word(p, n, i, "true");
        case 'f':
                return skip_word(p, n, i, "false");
        case 'n':
                return skip_word(p, n, i, "null");
        default:
                return json_skip_number(p, n, i);
        }
}

/* From before a key to behind its colon. */
static size_t skip_key(const char *p, size_t n, size_t i)
{
        i = nb_json_space(p, n, i);
        if (i == n || p[i] != '"')
                return 0;
        i = skip_string(p, n, i);
        if (i == 0)
                return 0;
        i = nb_json_space(p, n, i);
        return i < n && p[i] == ':' ? i + 1 : 0;
}

/* What is open: a bit each, 1 for an object, the innermost lowest. */
struct nest {
        uint64_t objects;
        unsigned depth;
};

/* Behind the bracket at i and what must precede its first value; *ret_empty:
 * there is none, and its end stands there. */
static size_t open_nest(struct nest *o, const char *p, size_t n, size_t i, bool *ret_empty)
{
        bool object = p[i] == '{';

        o->objects = o->objects << 1 | object;
        o->depth++;
        i = nb_json_space(p, n, i + 1);
        *ret_empty = i < n && p[i] == (object ? '}' : ']');
        return *ret_empty || !object ? i : skip_key(p, n, i);
}

/* From behind a value to the next one, or, all being closed, to the end. */
static size_t close_nests(struct nest *o, const char *p, size_t n, size_t i)
{
        while (o->depth > 0) {
                bool object = o->objects & 1;

                i = nb_json_space(p, n, i);
                if (i == n)
                        return 0;
                if (p[i] == ',')
                        return object ? skip_key(p, n, i + 1) : i + 1;
                if (p[i] != (object ? '}' : ']'))
                        return 0;
                o->objects >>= 1;
                o->depth--;
                i++;
        }
        return i;
}

size_t nb_json_skip(const char *p, size_t n, size_t i, unsigned depth)
{
        struct nest open = {0};

        nb_assert(depth <= 64);
        do {
                bool empty = true;

                i = nb_json_space(p, n, i);
                if (i == n)
                        return 0;
                if (p[i] != '{' && p[i] != '[')
                        i = skip_scalar(p, n, i);
                else if (open.depth < depth)
                        i = open_nest(&open, p, n, i, &empty);
                else
                        i = 0;
                if (i > 0 && empty)
                        i = close_nests(&open, p, n, i);
        } while (i > 0 && open.depth > 0);
        return i;
}
