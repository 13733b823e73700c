/* SPDX-License-Identifier: Apache-2.0 */
#include "edit.h"

#include <stdlib.h>
#include <string.h>

#include <nbcid/mem.h>
#include <nbcid/str.h>

#include "text.h"

#define MAX_ITEMS 1000000
#define MAX_DEPTH 256 /* that of walk_notebook() */

struct scan {
        const char *p;
        size_t n;
        const char *member;
        struct edit_place *place;
        struct nb_json_pos pos;
        unsigned depth;
        bool wanted;    /* the next value of the root is the place */
        bool inside;    /* the place is open */
        bool id;        /* the next value of the cell is its id */
        size_t key_at;  /* the last key of the root or the place ... */
        char *key_text; /* ... and of the place, decoded; owned */
        /* Of the root: first key, its value from and to, second key; 0: none. */
        size_t key, value, value_end, second;
};

static size_t string_end(const char *p, size_t n, size_t at)
{
        for (at++; at < n && p[at] != '"'; at++)
                if (p[at] == '\\')
                        at++;
        return at < n ? at + 1 : n;
}

/* The end of a string, a number or a word that begins at at. */
static size_t scalar_end(const char *p, size_t n, size_t at)
{
        if (p[at] == '"')
                return string_end(p, n, at);
        while (at < n && !strchr(" \t\r\n,]}", p[at]))
                at++;
        return at;
}

static bool in_object(const struct scan *s)
{
        return s->p[s->place->open] == '{';
}

static int item_add(struct scan *s, bool container, struct nb_err *err)
{
        struct edit_place *e = s->place;
        struct edit_item *it;

        if (e->n >= MAX_ITEMS)
                return nb_fail(err, NB_E_LIMIT, "%s has over %d items; split the notebook",
                               s->member, MAX_ITEMS);
        if (nb_grow((void **)&e->items, &e->cap, e->n + 1, sizeof(*e->items)) < 0)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        it = &e->items[e->n++];
        it->begin = s->pos.offset;
        it->end = container ? it->begin : scalar_end(s->p, s->n, it->begin);
        it->at = in_object(s) ? s->key_at : it->begin;
        it->key = NB_TAKE(s->key_text);
        return 0;
}

static int begin(struct scan *s, bool container, struct nb_err *err)
{
        int r = 0;

        if (s->depth == 1 && s->value == 0) {
                s->value = s->pos.offset;
                s->value_end = container ? 0 : scalar_end(s->p, s->n, s->value);
        }
        if (s->depth == 1 && s->wanted && container) {
                s->inside = true;
                s->place->open = s->pos.offset;
        } else if (s->depth == 2 && s->inside) {
                r = item_add(s, container, err);
        }
        s->wanted = s->id = false;
        s->depth += container;
        return r;
}

static int take_text(char **to, const char *text, size_t n, struct nb_err *err)
{
        free(*to);
        *to = NULL;
        if (memchr(text, '\0', n))
                return 0;
        *to = nb_strndup(text, n);
        return *to ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

static int on_scalar(void *arg, struct nb_err *err)
{
        return begin(arg, false, err);
}

static int on_boolean(void *arg, bool yes, struct nb_err *err)
{
        return begin(arg, false, err);
}

static int on_number(void *arg, const char *text, size_t n, struct nb_err *err)
{
        return begin(arg, false, err);
}

static int on_string(void *arg, const char *text, size_t n, struct nb_err *err)
{
        struct scan *s = arg;
        int r = 0;

        if (s->id && s->depth == 3 && s->inside)
                r = take_text(&s->place->items[s->place->n - 1].key, text, n, err);
        return r < 0 ? r : begin(s, false, err);
}

static int on_begin(void *arg, struct nb_err *err)
{
        return begin(arg, true, err);
}

static int on_key(void *arg, const char *text, size_t n, struct nb_err *err)
{
        struct scan *s = arg;

        if (s->depth == 1) {
                if (s->key == 0)
                        s->key = s->pos.offset;
                else if (s->second == 0)
                        s->second = s->pos.offset;
                s->wanted = text_is(text, n, s->member);
        } else if (s->depth == 2 && s->inside) {
                s->key_at = s->pos.offset;
                return take_text(&s->key_text, text, n, err);
        } else if (s->depth == 3 && s->inside && !in_object(s)) {
                s->id = text_is(text, n, "id");
        }
        return 0;
}

static int on_end(void *arg, struct nb_err *err)
{
        struct scan *s = arg;

        s->depth--;
        if (s->depth == 2 && s->inside)
                s->place->items[s->place->n - 1].end = s->pos.offset + 1;
        if (s->depth == 1 && s->inside) {
                s->place->close = s->pos.offset;
                s->inside = false;
        }
        if (s->depth == 1 && s->value_end == 0)
                s->value_end = s->pos.offset + 1;
        return 0;
}

static const struct nb_json_events events = {
        .null = on_scalar,
        .boolean = on_boolean,
        .number = on_number,
        .string = on_string,
        .map_start = on_begin,
        .map_key = on_key,
        .map_end = on_end,
        .array_start = on_begin,
        .array_end = on_end,
};

static struct edit_slice slice(const char *p, size_t from, size_t to)
{
        return (struct edit_slice){.s = p + from, .n = to - from};
}

/* What stands between two members is copied, unless it is odd. */
static struct edit_slice separator(struct edit_slice found, const char *usual)
{
        size_t space = 0;

        for (size_t i = 0; i < found.n; i++)
                space += found.s[i] == ' ';
        if (found.n > 0 && found.n <= 4 && space == found.n - 1)
                return found;
        return (struct edit_slice){.s = usual, .n = strlen(usual)};
}

static void find_layout(const struct scan *s, struct edit_layout *l)
{
        const char *p = s->p;
        size_t from = s->key;

        while (from > 0 && strchr(" \t", p[from - 1]))
                from--;
        l->lines = from > 0 && p[from - 1] == '\n';
        l->newline = from > 1 && p[from - 2] == '\r' ? "\r\n" : "\n";
        l->indent = slice(p, from, s->key);
        if (!l->lines || l->indent.n > 16)
                l->indent = (struct edit_slice){.s = " ", .n = 1};
        l->colon = separator(slice(p, string_end(p, s->n, s->key), s->value), ": ");
        l->comma = separator(slice(p, s->value_end, s->second), l->colon.n > 1 ? ", " : ",");
}

static void scan_done(struct scan *s)
{
        free(s->key_text);
}

int edit_find(const char *p, size_t n, const char *member, struct edit_place *ret,
              struct nb_err *err)
{
        const struct nb_json_limits limits = {.bytes = n, .depth = MAX_DEPTH};
        NB_CLEANUP(edit_place_done) struct edit_place e = {0};
        NB_CLEANUP(scan_done)
        struct scan s = {.p = p, .n = n, .member = member, .place = &e};
        int r = nb_json_parse(p, n, &limits, &events, &s, &s.pos, err);

        if (r < 0)
                return r;
        nb_assert(e.close > e.open && s.second > s.value_end);
        find_layout(&s, &e.layout);
        *ret = e;
        e = (struct edit_place){0};
        return 0;
}

void edit_place_done(struct edit_place *e)
{
        if (!e)
                return;
        for (size_t i = 0; i < e->n; i++)
                free(e->items[i].key);
        free(e->items);
        *e = (struct edit_place){0};
}
