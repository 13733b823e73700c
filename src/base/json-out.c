/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The writer: text straight into a buffer.  It is our own and not yajl's
 * generator because that keeps a buffer and a stack of its own, answers errors
 * at every call and stops at invalid UTF-8, where we want U+FFFD.
 */

#include <nbcid/json.h>

#include <math.h>

#include "json-private.h"
#include "utf8.h"

/* Levels that the bits of struct nb_json_out have room for, and the top. */
#define LEVELS 64

static void put_escape(struct nb_buf *b, unsigned char c)
{
        static const char hex[] = "0123456789abcdef";
        static const char letters[0x20] = {
                ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r',
        };
        char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        size_t n = 6;

        if (c >= 0x20 || letters[c]) {
                text[1] = c >= 0x20 ? (char)c : letters[c];
                n = 2;
        }
        nb_buf_append(b, text, n);
}

void json_out_text(struct nb_buf *b, const char *s)
{
        const char *from = s;
        size_t n;

        nb_buf_putc(b, '"');
        for (;; s += n) {
                unsigned char c = (unsigned char)*s;

                n = 1;
                if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\')
                        continue;
                if (c >= 0x80 && nb_utf8_decode(s, strnlen(s, 4), &n) < NB_UTF8_BAD)
                        continue;
                nb_buf_append(b, from, (size_t)(s - from));
                if (c == '\0')
                        break;
                if (c >= 0x80)
                        nb_buf_puts(b, NB_UTF8_REPLACEMENT);
                else
                        put_escape(b, c);
                from = s + 1;
        }
        nb_buf_putc(b, '"');
}

static uint64_t level_bit(const struct nb_json_out *o)
{
        return UINT64_C(1) << o->depth;
}

void json_out_value(struct nb_json_out *o)
{
        uint64_t bit = level_bit(o);

        if (o->object & bit) {
                nb_assert(o->after_key);
                o->after_key = false;
                return;
        }
        if (o->nonempty & bit) {
                nb_assert(o->depth > 0);
                nb_buf_putc(o->buf, ',');
        }
        o->nonempty |= bit;
}

static void level_open(struct nb_json_out *o, bool object)
{
        json_out_value(o);
        nb_assert(o->depth + 1 < LEVELS);
        o->depth++;
        o->nonempty &= ~level_bit(o);
        o->object &= ~level_bit(o);
        if (object)
                o->object |= level_bit(o);
        nb_buf_putc(o->buf, object ? '{' : '[');
}

void nb_json_open_object(struct nb_json_out *o)
{
        level_open(o, true);
}

void nb_json_open_array(struct nb_json_out *o)
{
        level_open(o, false);
}

void nb_json_close(struct nb_json_out *o)
{
        nb_assert(o->depth > 0 && !o->after_key);
        nb_buf_putc(o->buf, o->object & level_bit(o) ? '}' : ']');
        o->depth--;
}

void nb_json_key(struct nb_json_out *o, const char *key)
{
        uint64_t bit = level_bit(o);

        nb_assert((o->object & bit) && !o->after_key);
        if (o->nonempty & bit)
                nb_buf_putc(o->buf, ',');
        o->nonempty |= bit;
        json_out_text(o->buf, key);
        nb_buf_putc(o->buf, ':');
        o->after_key = true;
}

void nb_json_put_raw(struct nb_json_out *o, const char *json)
{
        json_out_value(o);
        nb_buf_puts(o->buf, json);
}

void nb_json_put_null(struct nb_json_out *o)
{
        nb_json_put_raw(o, "null");
}

void nb_json_put_bool(struct nb_json_out *o, bool v)
{
        nb_json_put_raw(o, v ? "true" : "false");
}

void nb_json_put_str(struct nb_json_out *o, const char *s)
{
        if (!s) {
                nb_json_put_null(o);
                return;
        }
        json_out_value(o);
        json_out_text(o->buf, s);
}

void nb_json_put_int(struct nb_json_out *o, int64_t v)
{
        /* Not printf: pages are full of these. */
        uint64_t left = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
        char text[21];
        size_t i = sizeof(text);

        do {
                text[--i] = (char)('0' + left % 10);
                left /= 10;
        } while (left > 0);
        if (v < 0)
                text[--i] = '-';
        json_out_value(o);
        nb_buf_append(o->buf, text + i, sizeof(text) - i);
}

static void put_number(struct nb_json_out *o, double v, const char *fraction)
{
        char text[40];

        if (!isfinite(v)) {
                nb_json_put_null(o);
                return;
        }
        /* The shortest text that reads back as the same number. */
        for (int digits = 15; digits <= 17; digits++) {
                snprintf(text, sizeof(text), "%.*g", digits, v);
                if (strtod(text, NULL) == v)
                        break;
        }
        nb_json_put_raw(o, text);
        if (!strpbrk(text, ".e"))
                nb_buf_puts(o->buf, fraction);
}

void nb_json_put_double(struct nb_json_out *o, double v)
{
        put_number(o, v, "");
}

void nb_json_put_fraction(struct nb_json_out *o, double v)
{
        put_number(o, v, ".0");
}

void nb_json_kv_str(struct nb_json_out *o, const char *key, const char *s)
{
        nb_json_key(o, key);
        nb_json_put_str(o, s);
}

void nb_json_kv_int(struct nb_json_out *o, const char *key, int64_t v)
{
        nb_json_key(o, key);
        nb_json_put_int(o, v);
}

void nb_json_kv_bool(struct nb_json_out *o, const char *key, bool v)
{
        nb_json_key(o, key);
        nb_json_put_bool(o, v);
}
