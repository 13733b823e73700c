/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * json-tell.h - a token is there: count it, and pass it on
 *
 * Whoever finds tokens (yajl, or json-quick.c) sets r->end to the offset behind
 * the token, then tells it.  False: stop, r->failed says why.
 */

#include "json-reader.h"

/* Call an event's function, when there is one. */
#define TELL(r, f, ...) ((r)->ev->f ? (r)->ev->f((r)->arg, ##__VA_ARGS__, (r)->err) : 0)

/* These run for each token: what is rare is kept out of them. */
#define HOT static inline __attribute__((always_inline))

void json_tell_place(struct nb_json_reader *r);
bool json_refuse(struct nb_json_reader *r, int ret);
/* A callback did; it may have moved the place to what it complains of. */
bool json_refused(struct nb_json_reader *r, int ret);
bool json_too_many(struct nb_json_reader *r);
bool json_too_long(struct nb_json_reader *r, const char *what, size_t max);
bool json_too_deep(struct nb_json_reader *r);

HOT void tell_begin(struct nb_json_reader *r, size_t len)
{
        r->len = len;
        if (r->pos)
                json_tell_place(r);
}

HOT bool tell_end(struct nb_json_reader *r, enum after after, int ret)
{
        if (ret < 0)
                return json_refused(r, ret);
        r->after = after;
        r->open = false;
        return true;
}

HOT bool tell_value(struct nb_json_reader *r, size_t len)
{
        tell_begin(r, len);
        r->values++;
        return !r->limits.values || r->values <= r->limits.values || json_too_many(r);
}

HOT bool tell_nest(struct nb_json_reader *r)
{
        if (!tell_value(r, 1))
                return false;
        if (r->depth >= r->limits.depth)
                return json_too_deep(r);
        r->depth++;
        return true;
}

HOT bool tell_length(struct nb_json_reader *r, const char *what, size_t n, size_t max)
{
        return !max || n <= max || json_too_long(r, what, max);
}

HOT bool tell_null(struct nb_json_reader *r)
{
        return tell_value(r, 4) && tell_end(r, AFTER_VALUE, TELL(r, null));
}

HOT bool tell_boolean(struct nb_json_reader *r, bool v)
{
        return tell_value(r, v ? 4 : 5) && tell_end(r, AFTER_VALUE, TELL(r, boolean, v));
}

HOT bool tell_number(struct nb_json_reader *r, const char *s, size_t n)
{
        return tell_value(r, n) && tell_length(r, "a number", n, JSON_NUMBER_MAX) &&
               tell_end(r, AFTER_VALUE, TELL(r, number, s, n));
}

HOT bool tell_string(struct nb_json_reader *r, const char *s, size_t n)
{
        return tell_value(r, LEN_STRING) && tell_length(r, "a string", n, r->limits.string) &&
               tell_end(r, AFTER_VALUE, TELL(r, string, s, n));
}

HOT bool tell_key(struct nb_json_reader *r, const char *s, size_t n)
{
        tell_begin(r, LEN_STRING);
        return tell_length(r, "a key", n, r->limits.string) &&
               tell_end(r, AFTER_KEY, TELL(r, map_key, s, n));
}

HOT bool tell_open(struct nb_json_reader *r, bool object)
{
        return tell_nest(r) &&
               tell_end(r, AFTER_OPEN, object ? TELL(r, map_start) : TELL(r, array_start));
}

HOT bool tell_close(struct nb_json_reader *r, bool object)
{
        r->depth--;
        tell_begin(r, 1);
        return tell_end(r, AFTER_VALUE, object ? TELL(r, map_end) : TELL(r, array_end));
}
