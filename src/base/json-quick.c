/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is told of a text without yajl: as much of it as is well-formed and needs no
 * decoding, sixteen bytes at a time inside strings and more in long ones
 * (json-wide.c).  It explains nothing.  Where it is in doubt it stops behind the last
 * token, and yajl, which is told what is open there, goes on as if it had read it all.
 * tests/fuzz/fuzz-json.c holds the two to the same events.
 */

#include "json-tell.h"

#include <string.h>

#include <nbcid/str.h>

#define DEPTH_MAX 256 /* beyond it yajl goes on */

struct quick {
        struct nb_json_reader *r;
        const char *p;
        size_t n;
        bool object[DEPTH_MAX]; /* what is open: an array or an object */
};

static bool in_object(const struct quick *q)
{
        return q->object[q->r->depth - 1];
}

/* ---- strings ---- */

typedef unsigned char bytes __attribute__((vector_size(16)));

/* A bit for each of sixteen bytes of a comparison's result. */
static unsigned bits(bytes v)
{
#ifdef __SSE2__
        return (unsigned)__builtin_ia32_pmovmskb128((__attribute__((vector_size(16))) char)v);
#else
        unsigned r = 0;

        for (unsigned i = 0; i < sizeof(v); i++)
                r |= (unsigned)(v[i] >> 7) << i;
        return r;
#endif
}

#define LONG 64 /* bytes; where a call that looks at more of them at a time pays */

/* From i, the first quote, backslash or control character, or n; *high gets bits when a
 * byte before it is not ASCII. */
static size_t skip_plain(const char *p, size_t n, size_t i, unsigned *high)
{
        const size_t far = i + LONG;
        bytes v, before = {0};

        for (; n - i >= sizeof(v); i += sizeof(v)) {
                if (i == far) {
                        i = json_skip_wide(p, n, i, high);
                        if (n - i < sizeof(v))
                                break;
                }
                memcpy(&v, p + i, sizeof(v));
                unsigned found = bits((bytes)(v == '"') | (bytes)(v == '\\') | (bytes)(v < ' '));

                if (found) {
                        *high |= (bits(v) & (found - 1) & ~found) | bits(before);
                        return i + (unsigned)__builtin_ctz(found);
                }
                before |= v;
        }
        *high |= bits(before);
        for (; i < n && p[i] != '"' && p[i] != '\\' && (unsigned char)p[i] >= ' '; i++)
                *high |= p[i] < 0;
        return i;
}

/* Behind the escape at i; 0: it is none, or cut off. */
static size_t skip_escape(const char *p, size_t n, size_t i)
{
        uint8_t unit[2];

        if (n - i < 2)
                return 0;
        switch (p[i + 1]) {
        case '"':
        case '\\':
        case '/':
        case 'b':
        case 'f':
        case 'n':
        case 'r':
        case 't':
                return i + 2;
        case 'u':
                break;
        default:
                return 0;
        }
        return n - i >= 6 && nb_unhex(p + i + 2, 4, unit, sizeof(unit)) ? i + 6 : 0;
}

/* Behind the string at i; 0: that is for yajl.  What escapes and characters that are not
 * ASCII mean is json_scan()'s to judge. */
static size_t skip_string(const char *p, size_t n, size_t i, bool *ret_escapes)
{
        const size_t begin = i + 1;
        const char *what;
        unsigned odd = 0;
        size_t end, at;

        end = skip_plain(p, n, begin, &odd);
        *ret_escapes = end < n && p[end] == '\\';
        while (end < n && p[end] == '\\') {
                odd |= end + 1 < n && p[end + 1] == 'u';
                end = skip_escape(p, n, end);
                if (end == 0)
                        return 0;
                /* most lines of a notebook end with \n" */
                if (end == n || p[end] != '"')
                        end = skip_plain(p, n, end, &odd);
        }
        if (end == n || p[end] != '"')
                return 0;
        at = 0;
        if (odd && json_scan(p + begin, end - begin, true, &at, &what) != JSON_SCAN_END)
                return 0;
        return end + 1;
}

/* ---- tokens: each answers the place behind it, or 0 to stop ---- */

static size_t take_string(struct quick *q, size_t i, bool key)
{
        struct nb_json_reader *r = q->r;
        bool escapes, ok;
        size_t end = i < q->n && q->p[i] == '"' ? skip_string(q->p, q->n, i, &escapes) : 0;

        if (end == 0 || (escapes && (r->limits.string || !r->ev->idle(r->arg, key))))
                return 0;
        r->end = end;
        ok = key ? tell_key(r, q->p + i + 1, end - i - 2)
                 : tell_string(r, q->p + i + 1, end - i - 2);
        return ok ? end : 0;
}

static bool is_word(const struct quick *q, size_t i, const char *word)
{
        return q->n - i >= strlen(word) && memcmp(q->p + i, word, strlen(word)) == 0;
}

static size_t take_word(struct quick *q, size_t i)
{
        struct nb_json_reader *r = q->r;
        const bool null = is_word(q, i, "null"), yes = is_word(q, i, "true");

        if (!null && !yes && !is_word(q, i, "false"))
                return 0;
        r->end = i + (null || yes ? 4 : 5);
        return (null ? tell_null(r) : tell_boolean(r, yes)) ? r->end : 0;
}

static size_t take_number(struct quick *q, size_t i)
{
        size_t end = json_skip_number(q->p, q->n, i);

        /* its end may be in the next piece, or be no part of JSON: then it is not told */
        if (end == 0 || end == q->n || !memchr(",]} \n\r\t", q->p[end], 7))
                return 0;
        q->r->end = end;
        return tell_number(q->r, q->p + i, end - i) ? end : 0;
}

static size_t take_open(struct quick *q, size_t i, bool object)
{
        struct nb_json_reader *r = q->r;

        if (r->depth == DEPTH_MAX)
                return 0;
        r->end = i + 1;
        if (!tell_open(r, object))
                return 0;
        q->object[r->depth - 1] = object;
        return i + 1;
}

static size_t take_close(struct quick *q, size_t i)
{
        const bool object = in_object(q);

        if (q->p[i] != (object ? '}' : ']'))
                return 0;
        q->r->end = i + 1;
        return tell_close(q->r, object) ? i + 1 : 0;
}

static size_t take_value(struct quick *q, size_t i)
{
        if (i == q->n)
                return 0;
        switch (q->p[i]) {
        case '"':
                return take_string(q, i, false);
        case '{':
        case '[':
                return take_open(q, i, q->p[i] == '{');
        case 't':
        case 'f':
        case 'n':
                return take_word(q, i);
        default:
                return take_number(q, i);
        }
}

static size_t take_inside(struct quick *q, size_t i)
{
        return in_object(q) ? take_string(q, i, true) : take_value(q, i);
}

/* The token at i, and the mark before it. */
static size_t take(struct quick *q, size_t i)
{
        switch (q->r->after) {
        case AFTER_OPEN:
                if (q->p[i] == (in_object(q) ? '}' : ']'))
                        return take_close(q, i);
                return take_inside(q, i);
        case AFTER_KEY:
                return q->p[i] == ':' ? take_value(q, nb_json_space(q->p, q->n, i + 1)) : 0;
        case AFTER_VALUE:
                if (q->r->depth == 0)
                        return 0;
                if (q->p[i] == ',')
                        return take_inside(q, nb_json_space(q->p, q->n, i + 1));
                return take_close(q, i);
        case AFTER_NOTHING:
                return take_value(q, i);
        case AFTER_MARK:
                break;
        }
        return 0;
}

/* ---- and yajl goes on ---- */

/* A text that ends where the reader is: the same brackets are open, and the same may
 * follow. */
static size_t write_open(const struct quick *q, char *text)
{
        const struct nb_json_reader *r = q->r;
        size_t n = 0;

        for (unsigned i = 0; i < r->depth; i++) {
                const bool last = i + 1 == r->depth;
                const char *s = !q->object[i]                      ? "["
                                : !last || r->after == AFTER_VALUE ? "{\"\":"
                                : r->after == AFTER_KEY            ? "{\"\""
                                                                   : "{";

                memcpy(text + n, s, strlen(s));
                n += strlen(s);
        }
        if (r->after == AFTER_VALUE) {
                memcpy(text + n, "\"\"", 2);
                n += 2;
        }
        return n;
}

static int tell_yajl(const struct quick *q)
{
        static const struct nb_json_events deaf = {0};
        struct nb_json_reader *r = q->r, kept = *r;
        unsigned char text[4 * DEPTH_MAX + 2];
        size_t n = write_open(q, (char *)text);
        yajl_status status;

        r->ev = &deaf;
        r->pos = NULL;
        r->values = r->depth = 0;
        status = yajl_parse(r->yajl, text, n);
        *r = kept;
        return status == yajl_status_ok ? 0 : nb_fail(r->err, NB_E_NOMEM, "no memory to read JSON");
}

int json_quick(struct nb_json_reader *r, size_t n)
{
        struct quick q = {.r = r, .p = r->p, .n = n};
        size_t i = 0;

        do
                i = nb_json_space(q.p, n, i);
        while (i < n && (i = take(&q, i)) > 0);
        if (r->failed)
                return r->failed;
        r->quick = r->end;
        return r->quick > 0 ? tell_yajl(&q) : 0;
}
