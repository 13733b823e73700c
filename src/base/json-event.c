/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What yajl tells us: its tokens, passed on.  Where a token stands
 * is worked out only when somebody asks: yajl knows where it ends, and from
 * there its begin is found backwards.
 */

#include "json-tell.h"

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

#define RARE __attribute__((noinline, cold))

RARE void json_tell_place(struct nb_json_reader *r)
{
        *r->pos = token_pos(r);
}

RARE bool json_refuse(struct nb_json_reader *r, int ret)
{
        r->failed = json_fail_here(r, token_pos(r), ret);
        return false;
}

RARE bool json_refused(struct nb_json_reader *r, int ret)
{
        r->failed = json_fail_here(r, r->pos ? *r->pos : token_pos(r), ret);
        return false;
}

RARE bool json_too_many(struct nb_json_reader *r)
{
        return json_refuse(r, nb_fail(r->err, NB_E_LIMIT, "over %zu values", r->limits.values));
}

RARE bool json_too_long(struct nb_json_reader *r, const char *what, size_t max)
{
        return json_refuse(r, nb_fail(r->err, NB_E_LIMIT, "%s of over %zu bytes", what, max));
}

RARE bool json_too_deep(struct nb_json_reader *r)
{
        return json_refuse(r, nb_fail(r->err, NB_E_LIMIT, "arrays and objects nest over %u deep",
                                      r->limits.depth));
}

/* --- what yajl calls ---------------------------------------------------- */

HOT struct nb_json_reader *reader_at_token(void *arg)
{
        struct nb_json_reader *r = arg;

        r->end = r->base + r->quick + yajl_get_bytes_consumed(r->yajl);
        return r;
}

static int on_null(void *arg)
{
        return tell_null(reader_at_token(arg));
}

static int on_boolean(void *arg, int v)
{
        return tell_boolean(reader_at_token(arg), v != 0);
}

static int on_number(void *arg, const char *s, size_t n)
{
        return tell_number(reader_at_token(arg), s, n);
}

static int on_string(void *arg, const unsigned char *s, size_t n)
{
        return tell_string(reader_at_token(arg), (const char *)s, n);
}

static int on_map_key(void *arg, const unsigned char *s, size_t n)
{
        return tell_key(reader_at_token(arg), (const char *)s, n);
}

static int on_map_start(void *arg)
{
        return tell_open(reader_at_token(arg), true);
}

static int on_map_end(void *arg)
{
        return tell_close(reader_at_token(arg), true);
}

static int on_array_start(void *arg)
{
        return tell_open(reader_at_token(arg), false);
}

static int on_array_end(void *arg)
{
        return tell_close(reader_at_token(arg), false);
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
