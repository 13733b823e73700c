/* SPDX-License-Identifier: Apache-2.0 */
#include "pick.h"

#include <stdlib.h>
#include <string.h>

#include <nbcid/json.h>
#include <nbcid/mem.h>
#include <nbcid/str.h>

#define MAX_DEPTH 64

struct segment {
        const char *s;
        size_t n;
};

/* Which of the specs are still on their path is one bit each, so that a key
 * nobody asks for costs a look at a zero. */
struct level {
        uint32_t on_path; /* specs whose path leads into this container */
        bool array;
};

struct pick {
        const struct pick_spec *specs;
        size_t n_specs;
        struct pick_value *values;
        pick_element_fn element;
        void *arg;

        struct segment segments[PICK_MAX_SPECS][PICK_MAX_LEVELS];
        unsigned n_segments[PICK_MAX_SPECS];
        uint32_t seen[PICK_MAX_SPECS]; /* bit i: segment i was met as a key */

        struct level levels[PICK_MAX_LEVELS + 1]; /* [0] is outside of the root */
        unsigned depth;                           /* open containers */
        uint32_t at_key;                          /* specs that the last key led to */
};

static void value_clear(struct pick_value *v)
{
        free(v->s);
        *v = (struct pick_value){0};
}

void pick_done(struct pick_value *values, size_t n)
{
        for (size_t i = 0; i < n; i++)
                value_clear(&values[i]);
}

/* Next spec of a set; empties the set by one. */
static unsigned take_first(uint32_t *set)
{
        unsigned i = (unsigned)__builtin_ctz(*set);

        *set &= *set - 1;
        return i;
}

static bool segment_is(const struct segment *g, const char *s, size_t n)
{
        return g->n == n && memcmp(g->s, s, n) == 0;
}

static void split_path(struct pick *k, size_t spec)
{
        const char *s = k->specs[spec].path;

        for (;;) {
                size_t n = strcspn(s, ".");
                nb_assert(k->n_segments[spec] < PICK_MAX_LEVELS);
                k->segments[spec][k->n_segments[spec]++] = (struct segment){s, n};
                if (!s[n])
                        return;
                s += n + 1;
        }
}

/* Specs that the value which now begins or stands is for. */
static uint32_t at_value(const struct pick *k)
{
        const struct level *l;

        if (k->depth > PICK_MAX_LEVELS)
                return 0;
        l = &k->levels[k->depth];
        return k->depth == 0 || l->array ? l->on_path : k->at_key;
}

/* The path of a spec up to and with segment i, for people. */
static int path_length(const struct pick *k, unsigned spec, unsigned i)
{
        const struct segment *last = &k->segments[spec][i];

        return (int)(last->s + last->n - k->specs[spec].path);
}

static int fail_type(const struct pick *k, unsigned spec, const char *is, struct nb_err *err)
{
        const char *wanted;

        if (k->depth == 0)
                return nb_fail(err, NB_E_INVALID, "the payload is %s, not an object", is);
        if (k->depth < k->n_segments[spec])
                wanted = segment_is(&k->segments[spec][k->depth], "[]", 2) ? "an array"
                                                                           : "an object";
        else
                wanted = k->specs[spec].type == PICK_BOOL ? "a boolean" : "a string";
        return nb_fail(err, NB_E_INVALID, "\"%.*s\" is %s, not %s",
                       path_length(k, spec, k->depth - 1), k->specs[spec].path, is, wanted);
}

/* A value that is no container is right only for specs that end here and are of
 * its type. */
static int check_scalar(const struct pick *k, uint32_t set, bool boolean, const char *is,
                        struct nb_err *err)
{
        if (k->depth == 0)
                return fail_type(k, 0, is, err);
        while (set) {
                unsigned i = take_first(&set);
                if (k->n_segments[i] != k->depth || (k->specs[i].type == PICK_BOOL) != boolean)
                        return fail_type(k, i, is, err);
        }
        return 0;
}

static int on_null(void *arg, struct nb_err *err)
{
        struct pick *k = arg;
        uint32_t set = at_value(k);

        if (k->depth == 0)
                return fail_type(k, 0, "null", err);
        while (set) {
                unsigned i = take_first(&set);
                if (k->n_segments[i] == k->depth)
                        k->values[i].found = PICK_NULL;
        }
        return 0;
}

static int on_boolean(void *arg, bool b, struct nb_err *err)
{
        struct pick *k = arg;
        uint32_t set = at_value(k);
        int r;

        if (!set)
                return 0;
        r = check_scalar(k, set, true, "a boolean", err);
        if (r < 0)
                return r;
        while (set)
                k->values[take_first(&set)] = (struct pick_value){.found = PICK_GIVEN, .b = b};
        return 0;
}

static int on_number(void *arg, const char *s, size_t n, struct nb_err *err)
{
        struct pick *k = arg;
        uint32_t set = at_value(k);

        return set ? fail_type(k, take_first(&set), "a number", err) : 0;
}

static int take_string(struct pick *k, unsigned i, const char *s, size_t n, struct nb_err *err)
{
        const struct pick_spec *spec = &k->specs[i];
        struct pick_value *v = &k->values[i];
        char *copy;

        if (!spec->text && n > spec->max)
                return nb_fail(err, NB_E_INVALID, "\"%s\" is %zu bytes long, over the limit of %zu",
                               spec->path, n, spec->max);
        if (!spec->text && memchr(s, '\0', n))
                return nb_fail(err, NB_E_INVALID, "\"%s\" has a NUL character in it", spec->path);
        if (n > spec->max) {
                n = spec->max;
                /* not amid a character */
                while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80)
                        n--;
        }
        copy = malloc(n + 1);
        if (!copy)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        memcpy(copy, s, n);
        copy[n] = '\0';
        *v = (struct pick_value){.found = PICK_GIVEN, .s = copy, .n = n};
        return 0;
}

static int on_string(void *arg, const char *s, size_t n, struct nb_err *err)
{
        struct pick *k = arg;
        uint32_t set = at_value(k);
        int r;

        if (!set)
                return 0;
        r = check_scalar(k, set, false, "a string", err);
        while (r == 0 && set)
                r = take_string(k, take_first(&set), s, n, err);
        return r;
}

static int container_start(struct pick *k, bool array, struct nb_err *err)
{
        uint32_t on_path = at_value(k);

        for (uint32_t set = on_path; set;) {
                unsigned i = take_first(&set);
                bool want_array = k->depth < k->n_segments[i] &&
                                  segment_is(&k->segments[i][k->depth], "[]", 2);
                if (k->depth >= k->n_segments[i] || want_array != array)
                        return fail_type(k, i, array ? "an array" : "an object", err);
        }
        k->depth++;
        if (k->depth <= PICK_MAX_LEVELS)
                k->levels[k->depth] = (struct level){on_path, array};
        k->at_key = 0;
        return 0;
}

static int on_map_start(void *arg, struct nb_err *err)
{
        return container_start(arg, false, err);
}

static int on_array_start(void *arg, struct nb_err *err)
{
        return container_start(arg, true, err);
}

static int on_map_key(void *arg, const char *s, size_t n, struct nb_err *err)
{
        struct pick *k = arg;
        uint32_t set;

        if (k->depth > PICK_MAX_LEVELS)
                return 0;
        k->at_key = 0;
        set = k->levels[k->depth].on_path;
        while (set) {
                unsigned i = take_first(&set), g = k->depth - 1;
                if (!segment_is(&k->segments[i][g], s, n))
                        continue;
                if (k->seen[i] & 1u << g)
                        return nb_fail(err, NB_E_INVALID, "\"%.*s\" is given twice",
                                       path_length(k, i, g), k->specs[i].path);
                k->seen[i] |= 1u << g;
                k->at_key |= 1u << i;
        }
        return 0;
}

static int on_map_end(void *arg, struct nb_err *err)
{
        struct pick *k = arg;
        uint32_t set;
        int r;

        k->depth--;
        k->at_key = 0;
        /* was that an element of an array that we look into? */
        if (k->depth > PICK_MAX_LEVELS || !k->levels[k->depth].array)
                return 0;
        set = k->levels[k->depth].on_path;
        if (!set)
                return 0;
        r = k->element(k->arg, k->values, err);
        while (set) {
                unsigned i = take_first(&set);
                value_clear(&k->values[i]);
                k->seen[i] &= (1u << k->depth) - 1;
        }
        return r;
}

static int on_array_end(void *arg, struct nb_err *err)
{
        struct pick *k = arg;

        k->depth--;
        k->at_key = 0;
        return 0;
}

static const struct nb_json_events events = {
        .null = on_null,
        .boolean = on_boolean,
        .number = on_number,
        .string = on_string,
        .map_start = on_map_start,
        .map_key = on_map_key,
        .map_end = on_map_end,
        .array_start = on_array_start,
        .array_end = on_array_end,
};

/* ---- the quick look ---- */

/* It calls the same functions, but skips what no path leads into.  An answer of
 * 0 is no verdict: whatever is unusual is read again, whole, by the parser that
 * can say what is wrong and where.  Recursion ends with the paths. */
static size_t quick_value(struct pick *k, const char *p, size_t n, size_t i);

static int quick_scalar(struct pick *k, const char *p, size_t n)
{
        const struct nb_json_limits limits = {.bytes = n};

        if (p[0] == '"' && !memchr(p, '\\', n))
                return on_string(k, p + 1, n - 2, NULL);
        return nb_json_parse(p, n, &limits, &events, k, NULL, NULL);
}

/* Key, colon and value; behind them. */
static size_t quick_member(struct pick *k, const char *p, size_t n, size_t i)
{
        size_t end;

        if (i == n || p[i] != '"')
                return 0;
        end = nb_json_skip(p, n, i, 0);
        if (end == 0 || memchr(p + i, '\\', end - i) ||
            on_map_key(k, p + i + 1, end - i - 2, NULL) < 0)
                return 0;
        i = nb_json_space(p, n, end);
        return i < n && p[i] == ':' ? quick_value(k, p, n, i + 1) : 0;
}

static size_t quick_nest(struct pick *k, const char *p, size_t n, size_t i)
{
        bool array = p[i] == '[';
        char close = array ? ']' : '}';
        int r = container_start(k, array, NULL);

        if (r < 0)
                return 0;
        i = nb_json_space(p, n, i + 1);
        if (i == n || p[i] != close) {
                for (;;) {
                        i = array ? quick_value(k, p, n, i) : quick_member(k, p, n, i);
                        i = i ? nb_json_space(p, n, i) : n;
                        if (i == n || p[i] != ',')
                                break;
                        i = nb_json_space(p, n, i + 1);
                }
                if (i == n || p[i] != close)
                        return 0;
        }
        r = array ? on_array_end(k, NULL) : on_map_end(k, NULL);
        return r < 0 ? 0 : i + 1;
}

/* Behind the value that begins at i or after white space. */
static size_t quick_value(struct pick *k, const char *p, size_t n, size_t i)
{
        uint32_t set = at_value(k);
        size_t end;

        i = nb_json_space(p, n, i);
        if (i == n)
                return 0;
        if (set && (p[i] == '{' || p[i] == '['))
                return quick_nest(k, p, n, i);
        end = nb_json_skip(p, n, i, MAX_DEPTH - k->depth);
        return end && set && quick_scalar(k, p + i, end - i) < 0 ? 0 : end;
}

static bool quick(struct pick *k, const char *p, size_t n)
{
        size_t end = nb_utf8_valid(p, n, NULL) ? quick_value(k, p, n, 0) : 0;

        return end && nb_json_space(p, n, end) == n;
}

/* ---- the whole ---- */

int pick_json(const char *p, size_t n, const struct pick_spec *specs, size_t n_specs,
              struct pick_value *values, pick_element_fn element, void *arg, struct nb_err *err)
{
        const struct nb_json_limits limits = {.bytes = n, .depth = MAX_DEPTH};
        struct pick fresh = {.specs = specs,
                             .n_specs = n_specs,
                             .values = values,
                             .element = element,
                             .arg = arg};
        struct pick k;
        int r;

        nb_assert(n_specs > 0 && n_specs <= PICK_MAX_SPECS);
        if (n == 0)
                return nb_fail(err, NB_E_INVALID, "the payload is empty");
        for (size_t i = 0; i < n_specs; i++) {
                split_path(&fresh, i);
                fresh.levels[0].on_path |= 1u << i;
        }
        k = fresh;
        if (quick(&k, p, n))
                return 0;
        pick_done(values, n_specs);
        k = fresh;
        r = nb_json_parse(p, n, &limits, &events, &k, NULL, err);
        if (r < 0)
                pick_done(values, n_specs);
        return r;
}
