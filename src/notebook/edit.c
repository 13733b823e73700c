/* SPDX-License-Identifier: Apache-2.0 */
#include "edit.h"

#include <stdlib.h>
#include <string.h>

#include <nbcid/mem.h>
#include <nbcid/notebook.h>
#include <nbcid/str.h>

#include "walk.h"

#define VALUE_DEPTH 32 /* of what is put in */

/* ---- writing as the rest is written ---- */

struct pen {
        struct nb_buf *b;
        const struct edit_layout *layout;
        bool lines;
        struct edit_slice margin; /* of the place's items */
};

static void put(struct nb_buf *b, struct edit_slice s)
{
        (void)nb_buf_append(b, s.s, s.n);
}

static void put_line(const struct pen *pen, unsigned level)
{
        (void)nb_buf_puts(pen->b, pen->layout->newline);
        put(pen->b, pen->margin);
        while (level-- > 0)
                put(pen->b, pen->layout->indent);
}

static void put_scalar(struct nb_buf *b, const struct nb_json *v)
{
        struct nb_json_out out = NB_JSON_OUT(b);

        nb_json_put_value(&out, v);
}

static void put_text(struct nb_buf *b, const char *s)
{
        struct nb_json_out out = NB_JSON_OUT(b);

        nb_json_put_str(&out, s);
}

struct member {
        const char *key; /* NULL in an array */
        const struct nb_json *v;
};

static int by_key(const void *a, const void *b)
{
        return strcmp(((const struct member *)a)->key, ((const struct member *)b)->key);
}

/* The children of v, those of an object in the order of their keys. */
static struct member *children(const struct nb_json *v, size_t n)
{
        struct member *m = nb_alloc_array(n, sizeof(*m));
        bool object = nb_json_type(v) == NB_JSON_OBJECT;

        for (size_t i = 0; m && i < n; i++)
                m[i].v = object ? nb_json_member(v, i, &m[i].key) : nb_json_index(v, i);
        if (m && object)
                qsort(m, n, sizeof(*m), by_key);
        return m;
}

/* VALUE_DEPTH bounds the recursion. */
static void put_value(const struct pen *pen, const struct nb_json *v, unsigned level)
{
        size_t n = nb_json_size(v);
        bool object = nb_json_type(v) == NB_JSON_OBJECT;
        nb_auto_free struct member *m = NULL;

        if (n == 0) {
                put_scalar(pen->b, v);
                return;
        }
        m = children(v, n);
        if (!m) {
                pen->b->failed = true;
                return;
        }
        (void)nb_buf_putc(pen->b, object ? '{' : '[');
        for (size_t i = 0; i < n; i++) {
                if (i > 0 && pen->lines)
                        (void)nb_buf_putc(pen->b, ',');
                else if (i > 0)
                        put(pen->b, pen->layout->comma);
                if (pen->lines)
                        put_line(pen, level + 1);
                if (object) {
                        put_text(pen->b, m[i].key);
                        put(pen->b, pen->layout->colon);
                }
                put_value(pen, m[i].v, level + 1);
        }
        if (pen->lines)
                put_line(pen, level);
        (void)nb_buf_putc(pen->b, object ? '}' : ']');
}

/* ---- the splice ---- */

/* How the items of the place stand; margin is borrowed from p, or from b. */
static int find_margin(const char *p, const struct edit_place *place, struct pen *pen,
                       struct nb_buf *b)
{
        const struct edit_layout *l = &place->layout;
        size_t to, from;

        if (place->n == 0) {
                pen->lines = l->lines;
                put(b, l->indent);
                put(b, l->indent);
                pen->margin = (struct edit_slice){.s = nb_buf_str(b), .n = b->len};
                return b->failed ? -1 : 0;
        }
        to = from = place->items[0].at;
        while (from > 0 && (p[from - 1] == ' ' || p[from - 1] == '\t'))
                from--;
        pen->lines = p[from - 1] == '\n';
        if (pen->lines)
                pen->margin = (struct edit_slice){.s = p + from, .n = to - from};
        return 0;
}

static void put_item(const struct pen *pen, const char *key, const struct nb_json *json)
{
        if (key) {
                put_text(pen->b, key);
                put(pen->b, pen->layout->colon);
        }
        put_value(pen, json, 0);
}

static void put_between(const struct pen *pen)
{
        if (pen->lines) {
                (void)nb_buf_putc(pen->b, ',');
                put_line(pen, 0);
        } else {
                put(pen->b, pen->layout->comma);
        }
}

int edit_splice(const char *p, size_t n, const struct edit_place *place, size_t i, bool replace,
                const char *key, const struct nb_json *json, struct nb_buf *ret, struct nb_err *err)
{
        nb_auto_buf margin = NB_BUF(256);
        struct pen pen = {.b = ret, .layout = &place->layout};
        size_t from, to; /* what goes */

        nb_assert(i < place->n + !replace);
        if (find_margin(p, place, &pen, &margin) < 0)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        if (replace) {
                from = place->items[i].begin;
                to = place->items[i].end;
        } else if (place->n == 0) {
                from = place->open + 1;
                to = place->close;
        } else {
                from = to = i < place->n ? place->items[i].at : place->items[i - 1].end;
        }
        (void)nb_buf_append(ret, p, from);
        if (replace) {
                put_value(&pen, json, 0);
        } else if (place->n == 0) {
                if (pen.lines)
                        put_line(&pen, 0);
                put_item(&pen, key, json);
                if (pen.lines) {
                        pen.margin = place->layout.indent;
                        put_line(&pen, 0);
                }
        } else if (i < place->n) {
                put_item(&pen, key, json);
                put_between(&pen);
        } else {
                put_between(&pen);
                put_item(&pen, key, json);
        }
        (void)nb_buf_append(ret, p + to, n - to);
        if (ret->failed)
                return nb_fail(err, NB_E_LIMIT, "the notebook would be over %zu bytes", ret->max);
        return 0;
}

/* ---- the door ---- */

static int ignore(void *arg, enum walk_member m, const struct walk_value *v, struct nb_err *err)
{
        return 0;
}

/* It is a notebook, and json some JSON. */
static int check(const char *name, const char *p, size_t n, const char *json,
                 struct nb_json_tree **ret, struct nb_err *err)
{
        static const struct walk_ops ops = {.value = ignore};
        const struct nb_json_limits limits = {.bytes = NOTEBOOK_EDIT_MAX, .depth = VALUE_DEPTH};
        struct walk w;
        int r = walk_notebook(name, p, n, SIZE_MAX, &ops, NULL, &w, err);

        return r < 0 ? r : nb_json_read(json, strlen(json), &limits, ret, NULL, err);
}

/* Do both write the same in the same way? */
static bool same_value(const char *p, size_t n, const struct nb_json *v)
{
        static const struct edit_layout layout = {.colon = {":", 1}, .comma = {",", 1}};
        const struct nb_json_limits limits = {.bytes = NOTEBOOK_EDIT_MAX, .depth = VALUE_DEPTH};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        nb_auto_buf a = NB_BUF(4 * NOTEBOOK_EDIT_MAX), b = NB_BUF(4 * NOTEBOOK_EDIT_MAX);

        if (nb_json_read(p, n, &limits, &tree, NULL, NULL) < 0)
                return false;
        put_value(&(struct pen){.b = &a, .layout = &layout}, nb_json_root(tree), 0);
        put_value(&(struct pen){.b = &b, .layout = &layout}, v, 0);
        return !a.failed && !b.failed && nb_streq(nb_buf_str(&a), nb_buf_str(&b));
}

/* Where a key is, or where it belongs: at its place when all are in order. */
static int find_key(const struct edit_place *e, const char *key, size_t *ret, bool *ret_there,
                    struct nb_err *err)
{
        bool sorted = true;
        size_t there = e->n, place = 0;

        for (size_t i = 0; i < e->n; i++) {
                const char *k = e->items[i].key, *before = i > 0 ? e->items[i - 1].key : NULL;

                sorted = sorted && k && (!before || strcmp(before, k) < 0);
                if (nb_streq(k, key) && there < e->n)
                        return nb_fail(err, NB_E_INVALID,
                                       "metadata.%s is there twice, and readers differ in which "
                                       "they take; remove one",
                                       key);
                if (nb_streq(k, key))
                        there = i;
                if (k && strcmp(k, key) < 0)
                        place = i + 1;
        }
        *ret_there = there < e->n;
        *ret = *ret_there ? there : sorted ? place : e->n;
        return 0;
}

int notebook_set_metadata(const char *name, const char *p, size_t n, const char *key,
                          const char *json, struct nb_buf *ret, struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        NB_CLEANUP(edit_place_done) struct edit_place place = {0};
        bool there = false;
        size_t i = 0;
        int r = check(name, p, n, json, &tree, err);

        if (r < 0)
                return r;
        r = edit_find(p, n, "metadata", &place, err);
        if (r == 0)
                r = find_key(&place, key, &i, &there, err);
        if (r < 0)
                return nb_wrap(err, r, "%s", name);
        if (there && same_value(p + place.items[i].begin, place.items[i].end - place.items[i].begin,
                                nb_json_root(tree))) {
                r = nb_buf_append(ret, p, n);
                return r < 0 ? nb_fail(err, NB_E_LIMIT, "%s: over %zu bytes", name, ret->max) : 1;
        }
        r = edit_splice(p, n, &place, i, there, key, nb_json_root(tree), ret, err);
        return r < 0 ? nb_wrap(err, r, "%s", name) : 0;
}

int notebook_put_cell(const char *name, const char *p, size_t n, size_t i, bool replace,
                      const char *json, struct nb_buf *ret, struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        NB_CLEANUP(edit_place_done) struct edit_place place = {0};
        int r = check(name, p, n, json, &tree, err);

        if (r < 0)
                return r;
        r = edit_find(p, n, "cells", &place, err);
        if (r < 0)
                return nb_wrap(err, r, "%s", name);
        if (i >= place.n + !replace)
                return nb_fail(err, NB_E_INVALID, "%s: there is no cell %zu of %zu", name, i + 1,
                               place.n);
        r = edit_splice(p, n, &place, i, replace, NULL, nb_json_root(tree), ret, err);
        return r < 0 ? nb_wrap(err, r, "%s", name) : 0;
}
