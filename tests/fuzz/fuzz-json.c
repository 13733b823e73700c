/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes through the JSON reader and writer: limits hold, a refusal names a
 * place, and a tree that is written and read again is the same tree.  What is told
 * without yajl is what yajl tells.
 */

#include <string.h>

#include <nbcid/json.h>
#include <nbcid/mem.h>
#include <nbcid/str.h>

#include "fuzz.h"

/* Small, so that inputs meet them. */
static const struct nb_json_limits limits = {
        .bytes = 1 << 16, .depth = 24, .string = 2000, .values = 500};

/* What the events have added up to. */
struct sums {
        struct nb_json_pos pos;
        size_t before; /* offset of the event before this one */
        size_t events, values;
        unsigned depth;
};

static int count_event(struct sums *s, bool value, int depth)
{
        PROPERTY(s->events == 0 || s->pos.offset > s->before);
        s->before = s->pos.offset;
        s->events++;
        s->values += value;
        s->depth += (unsigned)depth;
        PROPERTY(s->values <= limits.values);
        PROPERTY(s->depth <= limits.depth);
        return 0;
}

static int on_null(void *arg, struct nb_err *err)
{
        return count_event(arg, true, 0);
}

static int on_boolean(void *arg, bool v, struct nb_err *err)
{
        return count_event(arg, true, 0);
}

static int on_number(void *arg, const char *s, size_t n, struct nb_err *err)
{
        int64_t i;
        double d;

        /* A number that is whole for one is the same for the other. */
        if (nb_json_number_int(s, n, &i)) {
                PROPERTY(nb_json_number_double(s, n, &d));
                PROPERTY(d == (double)i);
        }
        return count_event(arg, true, 0);
}

static int on_string(void *arg, const char *s, size_t n, struct nb_err *err)
{
        PROPERTY(n <= limits.string);
        PROPERTY(nb_utf8_valid(s, n, NULL));
        return count_event(arg, true, 0);
}

static int on_key(void *arg, const char *s, size_t n, struct nb_err *err)
{
        PROPERTY(n <= limits.string);
        PROPERTY(nb_utf8_valid(s, n, NULL));
        return count_event(arg, false, 0);
}

static int on_start(void *arg, struct nb_err *err)
{
        return count_event(arg, true, 1);
}

static int on_end(void *arg, struct nb_err *err)
{
        return count_event(arg, false, -1);
}

static const struct nb_json_events events = {
        .null = on_null,
        .boolean = on_boolean,
        .number = on_number,
        .string = on_string,
        .map_start = on_start,
        .map_key = on_key,
        .map_end = on_end,
        .array_start = on_start,
        .array_end = on_end,
};

/* Each value stands where it says, and its children inside it, in order. */
static size_t check_places(const char *text, const struct nb_json *v)
{
        static const char *const first[NB_JSON_TYPE__COUNT] = {
                [NB_JSON_NULL] = "n",    [NB_JSON_BOOL] = "tf", [NB_JSON_NUMBER] = "-0123456789",
                [NB_JSON_STRING] = "\"", [NB_JSON_ARRAY] = "[", [NB_JSON_OBJECT] = "{",
        };
        struct nb_json_pos pos = nb_json_where(v);
        size_t values = 1, after = pos.offset;
        const char *key;

        PROPERTY(text[pos.offset] && strchr(first[nb_json_type(v)], text[pos.offset]));
        PROPERTY(pos.line == 1 ? pos.column == pos.offset + 1
                               : text[pos.offset - pos.column] == '\n');
        for (size_t i = 0; i < nb_json_size(v); i++) {
                const struct nb_json *child = nb_json_type(v) == NB_JSON_ARRAY
                                                      ? nb_json_index(v, i)
                                                      : nb_json_member(v, i, &key);

                PROPERTY(child);
                PROPERTY(nb_json_type(v) == NB_JSON_ARRAY || nb_json_get(v, key) == child);
                PROPERTY(nb_json_where(child).offset > after);
                after = nb_json_where(child).offset;
                values += check_places(text, child);
        }
        PROPERTY(!nb_json_index(v, nb_json_size(v)) && !nb_json_member(v, nb_json_size(v), &key));
        return values;
}

static void check_refusal(const struct nb_err *err, int r, size_t size,
                          const struct nb_json_pos *pos)
{
        PROPERTY(r == -NB_E_INVALID || r == -NB_E_LIMIT);
        PROPERTY(err->code == (enum nb_errc) - r);
        PROPERTY(pos->offset <= size && pos->line >= 1 && pos->column >= 1);
        PROPERTY(strncmp(err->msg, "line ", 5) == 0);
        PROPERTY(!strchr(err->msg, '\n'));
        PROPERTY(nb_utf8_valid(err->msg, strlen(err->msg), NULL));
}

static void check_tree(const char *text, size_t size, size_t values)
{
        const struct nb_json_limits wide = {.bytes = SIZE_MAX, .depth = limits.depth};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL, *again = NULL;
        nb_auto_buf b = NB_BUF(1 << 20), b_again = NB_BUF(1 << 20);
        struct nb_json_pos pos;
        struct nb_err err;
        int r = nb_json_read(text, size, &limits, &t, &pos, &err);

        if (r < 0) {
                check_refusal(&err, r, size, &pos);
                return;
        }
        PROPERTY(check_places(text, nb_json_root(t)) == values);
        nb_json_put_value(&NB_JSON_OUT(&b), nb_json_root(t));
        PROPERTY(!b.failed);
        PROPERTY(nb_json_read(b.data, b.len, &wide, &again, NULL, &err) == 0);
        PROPERTY(check_places(b.data, nb_json_root(again)) == values);
        nb_json_put_value(&NB_JSON_OUT(&b_again), nb_json_root(again));
        PROPERTY(!b_again.failed && b.len == b_again.len);
        PROPERTY(memcmp(b.data, b_again.data, b.len) == 0);
}

/* Whatever a C string holds, it comes out as a JSON string with that text. */
static void check_string(const char *text)
{
        const struct nb_json_limits wide = {.bytes = SIZE_MAX};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
        nb_auto_buf b = NB_BUF(1 << 20);

        nb_json_put_str(&NB_JSON_OUT(&b), text);
        PROPERTY(!b.failed);
        PROPERTY(nb_json_read(b.data, b.len, &wide, &t, NULL, NULL) == 0);
        if (nb_utf8_valid(text, strlen(text), NULL))
                PROPERTY(strcmp(nb_json_str(nb_json_root(t), NULL), text) == 0);
}

/* The quick reader and the exact one accept the same. */
static void check_skip(const char *p, size_t size)
{
        const struct nb_json_limits wide = {.bytes = SIZE_MAX, .depth = limits.depth};
        size_t end = nb_json_skip(p, size, 0, wide.depth);
        bool whole = end > 0 && nb_json_space(p, size, end) == size;
        int r = nb_json_parse(p, size, &wide, &(struct nb_json_events){0}, NULL, NULL, NULL);

        PROPERTY(end <= size);
        PROPERTY((whole && nb_utf8_valid(p, size, NULL)) == (r == 0));
}

/* ---- the same events, with yajl and without ---- */

struct transcript {
        struct nb_json_reader *reader;
        struct nb_buf text;
        bool idle;
};

static int note(void *arg, char kind, const char *s, size_t n)
{
        struct transcript *t = arg;
        struct nb_json_pos at = nb_json_reader_mark(t->reader);

        nb_json_reader_locate(t->reader, &at);
        PROPERTY(nb_buf_printf(&t->text, "%c %zu:%zu:%zu ", kind, at.offset, at.line, at.column) ==
                 0);
        /* who is idle gets strings as they are written */
        return nb_buf_append(&t->text, s, t->idle && kind > 'Z' ? 0 : n);
}

static int note_null(void *arg, struct nb_err *err)
{
        return note(arg, '0', "", 0);
}
static int note_boolean(void *arg, bool v, struct nb_err *err)
{
        return note(arg, v ? 'T' : 'F', "", 0);
}
static int note_number(void *arg, const char *s, size_t n, struct nb_err *err)
{
        return note(arg, 'N', s, n);
}
static int note_string(void *arg, const char *s, size_t n, struct nb_err *err)
{
        return note(arg, 's', s, n);
}
static int note_key(void *arg, const char *s, size_t n, struct nb_err *err)
{
        return note(arg, 'k', s, n);
}
static int note_map(void *arg, struct nb_err *err)
{
        return note(arg, '{', "", 0);
}
static int note_array(void *arg, struct nb_err *err)
{
        return note(arg, '[', "", 0);
}
static int note_end(void *arg, struct nb_err *err)
{
        return note(arg, ']', "", 0);
}
static bool is_idle(void *arg, bool key)
{
        return ((struct transcript *)arg)->idle;
}

/* Read the text, of which the first piece ends at cut. */
static void transcribe(const char *p, size_t n, size_t cut, bool quick, struct transcript *t)
{
        const struct nb_json_events noting = {
                .null = note_null,
                .boolean = note_boolean,
                .number = note_number,
                .string = note_string,
                .map_start = note_map,
                .map_key = note_key,
                .map_end = note_end,
                .array_start = note_array,
                .array_end = note_end,
                .idle = quick ? is_idle : NULL,
        };
        const struct nb_json_limits wide = {
                .bytes = SIZE_MAX, .depth = limits.depth, .values = limits.values};
        NB_CLEANUP(nb_json_reader_freep) struct nb_json_reader *r = NULL;
        struct nb_json_pos at;
        struct nb_err err;
        int ret;

        PROPERTY(nb_json_reader_new(&wide, &noting, t, &r, &err) == 0);
        t->reader = r;
        ret = nb_json_reader_feed(r, p, cut, &err);
        if (ret == 0)
                ret = nb_json_reader_feed(r, p + cut, n - cut, &err);
        if (ret == 0)
                ret = nb_json_reader_end(r, &err);
        at = nb_json_reader_mark(r);
        PROPERTY(nb_buf_printf(&t->text, "%d %zu:%zu:%zu %s", ret, at.offset, at.line, at.column,
                               ret < 0 ? err.msg : "") == 0);
        t->reader = NULL;
}

static void check_quick(const char *p, size_t size)
{
        const size_t cuts[] = {size, size / 2, size - size / 5};

        for (size_t i = 0; i < 2 * NB_ARRAY_SIZE(cuts); i++) {
                struct transcript quick = {.text = NB_BUF(1 << 22), .idle = i % 2},
                                  exact = {.text = NB_BUF(1 << 22), .idle = i % 2};

                transcribe(p, size, cuts[i / 2], true, &quick);
                transcribe(p, size, cuts[i / 2], false, &exact);
                PROPERTY(quick.text.len == exact.text.len);
                PROPERTY(memcmp(quick.text.data, exact.text.data, quick.text.len) == 0);
                nb_buf_done(&quick.text);
                nb_buf_done(&exact.text);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        nb_auto_free char *text = NULL;
        struct sums s = {0};
        struct nb_err err;
        int r;

        if (size > limits.bytes + 1)
                size = limits.bytes + 1;
        /* Not terminated for the reader, which must not need it. */
        r = nb_json_parse((const char *)data, size, &limits, &events, &s, &s.pos, &err);
        if (r < 0)
                check_refusal(&err, r, size, &s.pos);
        else
                PROPERTY(s.depth == 0 && s.values > 0);
        text = nb_strndup((const char *)data, size);
        PROPERTY(text);
        /* What the events refuse, the tree refuses: no tree has 0 values. */
        check_tree((const char *)data, size, r == 0 ? s.values : 0);
        check_string(text);
        check_skip((const char *)data, size);
        check_quick((const char *)data, size);
        return 0;
}
