/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What yajl tells us: its tokens, counted and passed on.  Where a token stands
 * is worked out only when somebody asks: yajl knows where it ends, and from
 * there its begin is found backwards.
 */

#include "json-reader.h"

#include <string.h>

/* --- places ------------------------------------------------------------- */

struct nb_json_pos json_pos_of(struct nb_json_reader *r, size_t offset)
{
        size_t low, high, lines;
        const char *nl;

        /* the begin of the piece may be nearer */
        if (offset < r->seen && offset - r->base < r->seen - offset) {
                r->seen = r->base;
                r->line = r->first_line;
                r->bol = r->first_bol;
        }
        low = offset < r->seen ? offset : r->seen;
        high = offset < r->seen ? r->seen : offset;
        lines = json_count_lines(r->p + (low - r->base), high - low);
        if (lines > 0 && offset > r->seen) {
                nl = memrchr(r->p + (low - r->base), '\n', high - low);
                r->bol = r->base + (size_t)(nl - r->p) + 1;
                r->line += lines;
        } else if (lines > 0) {
                nl = memrchr(r->p, '\n', offset - r->base);
                r->bol = nl ? r->base + (size_t)(nl - r->p) + 1 : r->first_bol;
                r->line -= lines;
        }
        r->seen = offset;
        return (struct nb_json_pos){offset, r->line, offset - r->bol + 1};
}

bool json_token_offset(const struct nb_json_reader *r, size_t *ret)
{
        size_t end = r->end - r->base, i;

        if (r->open)
                return false;
        if (r->len != LEN_STRING) {
                *ret = r->end - r->len;
                return true;
        }
        /* A quote inside the string has a backslash before it; before the one
         * that opens it, none can stand. */
        for (i = end - 1; i > 0;) {
                const char *q = memrchr(r->p, '"', i);

                nb_assert(q);
                i = (size_t)(q - r->p);
                if (i == 0 || r->p[i - 1] != '\\')
                        break;
        }
        *ret = r->base + i;
        return true;
}

static struct nb_json_pos token_pos(struct nb_json_reader *r)
{
        size_t offset;

        return json_token_offset(r, &offset) ? json_pos_of(r, offset) : r->open_at;
}

int json_fail_here(struct nb_json_reader *r, struct nb_json_pos at, int ret)
{
        r->at = at;
        if (r->pos)
                *r->pos = at;
        return nb_wrap(r->err, ret, "line %zu, column %zu", at.line, at.column);
}

/* --- events ------------------------------------------------------------- */

/* Call an event's function, when there is one. */
#define TELL(r, f, ...) ((r)->ev->f ? (r)->ev->f((r)->arg, ##__VA_ARGS__, (r)->err) : 0)

/* These run for each token: what is rare is kept out of them. */
#define HOT static inline __attribute__((always_inline))
#define RARE static __attribute__((noinline, cold))

RARE void tell_place(struct nb_json_reader *r)
{
        *r->pos = token_pos(r);
}

RARE bool refuse(struct nb_json_reader *r, int ret)
{
        r->failed = json_fail_here(r, token_pos(r), ret);
        return false;
}

/* A callback may have moved the place to what it complains of. */
RARE bool refused(struct nb_json_reader *r, int ret)
{
        r->failed = json_fail_here(r, r->pos ? *r->pos : token_pos(r), ret);
        return false;
}

RARE bool too_many(struct nb_json_reader *r)
{
        return refuse(r, nb_fail(r->err, NB_E_LIMIT, "over %zu values", r->limits.values));
}

HOT void token_begin(struct nb_json_reader *r, size_t len)
{
        r->end = r->base + yajl_get_bytes_consumed(r->yajl);
        r->len = len;
        if (r->pos)
                tell_place(r);
}

HOT bool token_end(struct nb_json_reader *r, enum after after, int ret)
{
        if (ret < 0)
                return refused(r, ret);
        r->after = after;
        r->open = false;
        return true;
}

HOT bool value_begin(struct nb_json_reader *r, size_t len)
{
        token_begin(r, len);
        r->values++;
        return !r->limits.values || r->values <= r->limits.values || too_many(r);
}

static bool nest_begin(struct nb_json_reader *r)
{
        if (!value_begin(r, 1))
                return false;
        if (r->depth >= r->limits.depth)
                return refuse(r, nb_fail(r->err, NB_E_LIMIT, "arrays and objects nest over %u deep",
                                         r->limits.depth));
        r->depth++;
        return true;
}

RARE bool too_long(struct nb_json_reader *r, const char *what, size_t max)
{
        return refuse(r, nb_fail(r->err, NB_E_LIMIT, "%s of over %zu bytes", what, max));
}

HOT bool length_ok(struct nb_json_reader *r, const char *what, size_t n, size_t max)
{
        return !max || n <= max || too_long(r, what, max);
}

static int on_null(void *arg)
{
        struct nb_json_reader *r = arg;

        return value_begin(r, 4) && token_end(r, AFTER_VALUE, TELL(r, null));
}

static int on_boolean(void *arg, int v)
{
        struct nb_json_reader *r = arg;

        return value_begin(r, v ? 4 : 5) && token_end(r, AFTER_VALUE, TELL(r, boolean, v != 0));
}

static int on_number(void *arg, const char *s, size_t n)
{
        struct nb_json_reader *r = arg;

        return value_begin(r, n) && length_ok(r, "a number", n, JSON_NUMBER_MAX) &&
               token_end(r, AFTER_VALUE, TELL(r, number, s, n));
}

static int on_string(void *arg, const unsigned char *s, size_t n)
{
        struct nb_json_reader *r = arg;

        return value_begin(r, LEN_STRING) && length_ok(r, "a string", n, r->limits.string) &&
               token_end(r, AFTER_VALUE, TELL(r, string, (const char *)s, n));
}

static int on_map_key(void *arg, const unsigned char *s, size_t n)
{
        struct nb_json_reader *r = arg;

        token_begin(r, LEN_STRING);
        return length_ok(r, "a key", n, r->limits.string) &&
               token_end(r, AFTER_KEY, TELL(r, map_key, (const char *)s, n));
}

static int on_map_start(void *arg)
{
        struct nb_json_reader *r = arg;

        return nest_begin(r) && token_end(r, AFTER_OPEN, TELL(r, map_start));
}

static int on_map_end(void *arg)
{
        struct nb_json_reader *r = arg;

        r->depth--;
        token_begin(r, 1);
        return token_end(r, AFTER_VALUE, TELL(r, map_end));
}

static int on_array_start(void *arg)
{
        struct nb_json_reader *r = arg;

        return nest_begin(r) && token_end(r, AFTER_OPEN, TELL(r, array_start));
}

static int on_array_end(void *arg)
{
        struct nb_json_reader *r = arg;

        r->depth--;
        token_begin(r, 1);
        return token_end(r, AFTER_VALUE, TELL(r, array_end));
}

const yajl_callbacks json_callbacks = {
        .yajl_null = on_null,
        .yajl_boolean = on_boolean,
        .yajl_number = on_number,
        .yajl_string = on_string,
        .yajl_start_map = on_map_start,
        .yajl_map_key = on_map_key,
        .yajl_end_map = on_map_end,
        .yajl_start_array = on_array_start,
        .yajl_end_array = on_array_end,
};
