/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <nbcid/mem.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "parameters.h"
#include "suggest.h"

#define LATER "is not supported by this version of nbcid"
#define MAX_ELEMENTS 200 /* of one array */
#define MAX_TEXT 4096    /* bytes of one string */

/* Words of the file in an error: enough to find them again. */
#define SHOWN(text) (int)nb_utf8_prefix((text), 40), (text)

/* ---- mistakes ---- */

void reader_done(struct reader *r)
{
        free(r->secrets);
        *r = (struct reader){0};
}

void reader_refuse(struct reader *r, uint32_t line, const char *fmt, ...)
{
        char text[sizeof(r->err.msg)];
        va_list ap;

        nb_assert(line > 0);
        if (r->line && r->line <= line)
                return;
        va_start(ap, fmt);
        /* what does not fit would not fit into the error either */
        (void)vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        r->line = line;
        (void)nb_fail(&r->err, NB_E_INVALID, "%s:%" PRIu32 ": %s", r->file, line, text);
}

static const char *open_bracket(const struct table *t)
{
        return t->many ? "[[" : "[";
}

static const char *close_bracket(const struct table *t)
{
        return t->many ? "]]" : "]";
}

void reader_refuse_key(struct reader *r, const struct table *t, const char *key, uint32_t line,
                       const char *fmt, ...)
{
        char text[sizeof(r->err.msg)];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        reader_refuse(r, line, "key '%.*s' in %s%s%s: %s", SHOWN(key), open_bracket(t), t->name,
                      close_bracket(t), text);
}

int reader_result(const struct reader *r, struct nb_err *err)
{
        if (r->nomem)
                return nb_fail(err, NB_E_NOMEM, "%s: out of memory", r->file);
        if (!r->line)
                return 0;
        if (err)
                *err = r->err;
        return -(int)r->err.code;
}

int reader_parse(const char *file, const char *p, size_t n, struct toml_node **ret,
                 struct nb_err *err)
{
        struct toml_error e;

        if (toml_parse(p, n, ret, &e) == 0)
                return 0;
        if (e.line == 0)
                return nb_fail(err, NB_E_NOMEM, "%s: out of memory", file);
        return nb_fail(err, NB_E_INVALID, "%s:%" PRIu32 ":%" PRIu32 ": %s", file, e.line, e.column,
                       e.text);
}

/* ---- values ---- */

/* A key of a table that is being read, and where it goes. */
struct slot {
        const struct table *table;
        const struct key *key;
        void *target;
        uint32_t line;
};

#define refuse(r, s, line, ...) \
        reader_refuse_key((r), (s)->table, (s)->key->name, (line), __VA_ARGS__)

static const char *type_name(enum toml_type t)
{
        static const char *const names[TOML_TYPE__COUNT] = {
                [TOML_STRING] = "a string",       [TOML_INTEGER] = "a whole number",
                [TOML_FLOAT] = "a broken number", [TOML_BOOLEAN] = "true or false",
                [TOML_DATE] = "a date or a time", [TOML_ARRAY] = "an array",
                [TOML_TABLE] = "a table",
        };
        return names[t];
}

static const char *expectation(enum key_type t)
{
        static const char *const texts[KEY_TYPE__COUNT] = {
                [KEY_TEXT] = "a string",
                [KEY_URL] = "a URL in quotes",
                [KEY_LIST] = "an array of strings, as in [\"one\", \"two\"]",
                [KEY_BOOL] = "true or false, without quotes",
                [KEY_COUNT] = "a whole number, without quotes",
                [KEY_SIZE] = "a size in quotes, as in \"25MiB\"",
                [KEY_DURATION] = "a duration in quotes, as in \"2h\" or \"30s\"",
                [KEY_CHOICE] = "a string",
                [KEY_SWITCH] = "a string",
                [KEY_SECRET] = "the name of a file in quotes",
                [KEY_JSON] = "a table, as in { epochs = 2 }",
                [KEY_TABLES] = "tables, as in [[executor.fallback]]",
        };

        nb_assert((unsigned)t < KEY_TYPE__COUNT);
        return texts[t];
}

static enum toml_type wanted_type(enum key_type t)
{
        switch (t) {
        case KEY_BOOL:
                return TOML_BOOLEAN;
        case KEY_COUNT:
                return TOML_INTEGER;
        case KEY_LIST:
        case KEY_TABLES:
                return TOML_ARRAY;
        case KEY_JSON:
                return TOML_TABLE;
        case KEY_TEXT:
        case KEY_URL:
        case KEY_SIZE:
        case KEY_DURATION:
        case KEY_CHOICE:
        case KEY_SWITCH:
        case KEY_SECRET:
        case KEY_LATER:
        case KEY_TYPE__COUNT:
                break;
        }
        return TOML_STRING;
}

/* Index into choices, or -1 after complaining. */
static int find_choice(struct reader *r, const struct slot *s, const char *text)
{
        const struct choice *choices = s->key->choices;
        char names[256] = "";
        size_t n = 0;

        for (int i = 0; choices[i].name; i++) {
                if (nb_streq(choices[i].name, text)) {
                        if (choices[i].value >= 0)
                                return i;
                        refuse(r, s, s->line, "\"%s\" " LATER, text);
                        return -1;
                }
                if (choices[i].value >= 0) {
                        (void)nb_fmt(names + n, sizeof(names) - n, "%s\"%s\"", n ? ", " : "",
                                     choices[i].name);
                        n += strlen(names + n);
                }
        }
        refuse(r, s, s->line, "\"%.*s\" is not known; write one of %s", SHOWN(text), names);
        return -1;
}

/* Is this one string fit to be used?  Complains when not. */
static bool text_fine(struct reader *r, const struct slot *s, uint32_t line, const char *text)
{
        const char *wrong = NULL;

        if (!*text)
                wrong = "is empty; write something or remove the key";
        else if (strlen(text) > MAX_TEXT)
                wrong = "is over 4096 bytes";
        for (const char *p = text; *p && !wrong; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        wrong = "has a control character in it";
        if (!wrong && s->key->check)
                wrong = s->key->check(text);
        if (wrong)
                refuse(r, s, line, "%s", wrong);
        return !wrong;
}

static void set_text(struct reader *r, const struct slot *s, const char *text)
{
        size_t n = strlen(text);
        char **target = s->target;

        if (s->key->type == KEY_URL)
                while (n > 0 && text[n - 1] == '/')
                        n--;
        nb_auto_free char *copy = nb_strndup(text, n);
        if (!copy) {
                r->nomem = true;
                return;
        }
        if (!text_fine(r, s, s->line, copy))
                return;
        if (s->key->choices && find_choice(r, s, copy) < 0)
                return;
        *target = NB_TAKE(copy);
}

static void set_choice(struct reader *r, const struct slot *s, const char *text)
{
        int i = find_choice(r, s, text);

        if (i >= 0 && s->key->type == KEY_SWITCH)
                *(bool *)s->target = s->key->choices[i].value;
        else if (i >= 0)
                *(int *)s->target = s->key->choices[i].value;
}

static void add_element(struct reader *r, const struct slot *s, uint32_t line, const char *text)
{
        if (text_fine(r, s, line, text) && nb_strv_add(s->target, text) < 0)
                r->nomem = true;
}

static void set_list(struct reader *r, const struct slot *s, const struct toml_node *n)
{
        if (n->n_children == 0 && !s->key->zero)
                refuse(r, s, s->line, "is an empty array; name something or remove the key");
        if (n->n_children > MAX_ELEMENTS) {
                refuse(r, s, s->line, "has %zu elements, over %d", n->n_children, MAX_ELEMENTS);
                return;
        }
        for (size_t i = 0; i < n->n_children; i++) {
                const struct toml_node *e = &n->children[i];
                if (e->type == TOML_STRING)
                        add_element(r, s, e->line, e->text);
                else
                        refuse(r, s, e->line, "expected %s, found %s in the array",
                               expectation(KEY_LIST), type_name(e->type));
        }
}

/* The three kinds of numbers, by the way that they are written. */
static int number_parse(enum key_type type, const char *text, uint64_t *ret, struct nb_err *err)
{
        if (type == KEY_SIZE)
                return nb_parse_size(text, ret, err);
        if (type == KEY_DURATION)
                return nb_parse_duration(text, ret, err);
        return nb_parse_u64(text, 0, UINT32_MAX, ret, err);
}

static void set_number(struct reader *r, const struct slot *s, const char *text)
{
        uint64_t v, min = 0, max = 0;
        struct nb_err err;

        if (number_parse(s->key->type, text, &v, &err) < 0) {
                refuse(r, s, s->line, "%s", err.msg);
                return;
        }
        nb_assert(number_parse(s->key->type, s->key->min, &min, NULL) == 0);
        nb_assert(number_parse(s->key->type, s->key->max, &max, NULL) == 0);
        if ((v < min && !(v == 0 && s->key->zero)) || v > max)
                refuse(r, s, s->line, "%.*s is out of range; write %s%s to %s", SHOWN(text),
                       s->key->zero ? "0 or " : "", s->key->min, s->key->max);
        else if (s->key->type == KEY_COUNT)
                *(uint32_t *)s->target = (uint32_t)v;
        else
                *(uint64_t *)s->target = v;
}

static void set_secret(struct reader *r, const struct slot *s, const char *text)
{
        if (!text_fine(r, s, s->line, text))
                return;
        if (nb_grow((void **)&r->secrets, &r->cap_secrets, r->n_secrets + 1, sizeof(*r->secrets)) <
            0) {
                r->nomem = true;
                return;
        }
        r->secrets[r->n_secrets++] = (struct secret_ref){
                .table = s->table,
                .key = s->key,
                .text = text,
                .line = s->line,
                .target = s->target,
        };
}

/* From text: a string of the file, a number of the file written out, or a
 * default. */
static void set_from_text(struct reader *r, const struct slot *s, const char *text)
{
        switch (s->key->type) {
        case KEY_TEXT:
        case KEY_URL:
                set_text(r, s, text);
                break;
        case KEY_LIST:
                add_element(r, s, s->line, text);
                break;
        case KEY_BOOL:
                *(bool *)s->target = nb_streq(text, "true");
                break;
        case KEY_COUNT:
        case KEY_SIZE:
        case KEY_DURATION:
                set_number(r, s, text);
                break;
        case KEY_CHOICE:
        case KEY_SWITCH:
                set_choice(r, s, text);
                break;
        case KEY_SECRET:
                set_secret(r, s, text);
                break;
        case KEY_JSON:
        case KEY_TABLES:
        case KEY_LATER:
        case KEY_TYPE__COUNT:
                break;
        }
}

static void set_json(struct reader *r, const struct slot *s, const struct toml_node *n)
{
        char **target = s->target;
        uint32_t line;
        const char *wrong = parameters_text(n, target, &line);

        if (wrong)
                refuse(r, s, line, "%s", wrong);
        else if (!*target)
                r->nomem = true;
}

static bool all_tables(const struct toml_node *n)
{
        for (size_t i = 0; i < n->n_children; i++)
                if (n->children[i].type != TOML_TABLE)
                        return false;
        return n->type == TOML_ARRAY;
}

static void fill_many(struct reader *r, const struct table *t, const struct toml_node *node,
                      void *target);

static void set_from_node(struct reader *r, const struct slot *s, const struct toml_node *n)
{
        char number[24];

        if (s->key->type == KEY_LATER) {
                refuse(r, s, s->line, LATER "; remove it");
        } else if (n->type != wanted_type(s->key->type)) {
                refuse(r, s, s->line, "expected %s, found %s", expectation(s->key->type),
                       type_name(n->type));
        } else if (s->key->type == KEY_TABLES && !all_tables(n)) {
                refuse(r, s, s->line, "expected %s", expectation(s->key->type));
        } else if (s->key->type == KEY_TABLES) {
                fill_many(r, s->key->tables, n, s->target);
        } else if (n->type == TOML_ARRAY) {
                set_list(r, s, n);
        } else if (n->type == TOML_TABLE) {
                set_json(r, s, n);
        } else if (n->type == TOML_BOOLEAN) {
                set_from_text(r, s, n->integer ? "true" : "false");
        } else if (n->type == TOML_INTEGER) {
                (void)nb_fmt(number, sizeof(number), "%" PRId64, n->integer);
                set_from_text(r, s, number);
        } else {
                set_from_text(r, s, n->text);
        }
}

/* ---- tables ---- */

static void refuse_unknown_key(struct reader *r, const struct table *t, const struct toml_node *n)
{
        struct suggestion best = SUGGESTION(n->key);

        for (size_t i = 0; i < t->n_keys; i++)
                suggestion_offer(&best, t->keys[i].name);
        if (best.found)
                reader_refuse_key(r, t, n->key, n->line, "is not known; did you mean '%s'?",
                                  best.found);
        else
                reader_refuse_key(r, t, n->key, n->line, "is not known; remove it");
}

static const struct key *find_key(const struct table *t, const char *name)
{
        for (size_t i = 0; i < t->n_keys; i++)
                if (nb_streq(t->keys[i].name, name))
                        return &t->keys[i];
        return NULL;
}

/* One table; node is NULL when the file does not have it. */
static void fill_table(struct reader *r, const struct table *t, const struct toml_node *node,
                       void *target)
{
        for (size_t i = 0; node && i < node->n_children; i++) {
                const struct toml_node *n = &node->children[i];
                const struct key *k = find_key(t, n->key);

                if (k)
                        set_from_node(r, &(struct slot){t, k, (char *)target + k->offset, n->line},
                                      n);
                else
                        refuse_unknown_key(r, t, n);
        }
        for (size_t i = 0; i < t->n_keys; i++) {
                const struct key *k = &t->keys[i];

                if (node && toml_get(node, k->name))
                        continue;
                /* line 0: a default that its own table refuses is our mistake */
                if (k->def)
                        set_from_text(r, &(struct slot){t, k, (char *)target + k->offset, 0},
                                      k->def);
                if (k->required && node)
                        reader_refuse(r, node->line, "%s%s%s has no key '%s'; add %s = %s",
                                      open_bracket(t), t->name, close_bracket(t), k->name, k->name,
                                      expectation(k->type));
        }
}

static void fill_many(struct reader *r, const struct table *t, const struct toml_node *node,
                      void *target)
{
        char *elements;

        if (node->n_children > t->max) {
                reader_refuse(r, node->line, "%zu tables [[%s]] are over %zu", node->n_children,
                              t->name, t->max);
                return;
        }
        elements = nb_alloc_array(node->n_children, t->size);
        if (!elements) {
                r->nomem = true;
                return;
        }
        *(void **)((char *)target + t->offset) = elements;
        *(size_t *)((char *)target + t->offset_n) = node->n_children;
        for (size_t i = 0; i < node->n_children; i++)
                fill_table(r, t, &node->children[i], elements + i * t->size);
}

static void refuse_unknown_table(struct reader *r, const struct table *tables, size_t n_tables,
                                 const struct toml_node *n)
{
        struct suggestion best = SUGGESTION(n->key);

        for (size_t i = 0; i < n_tables; i++)
                suggestion_offer(&best, tables[i].name);
        if (n->type != TOML_TABLE && !all_tables(n))
                reader_refuse(r, n->line,
                              "key '%.*s' stands in no table; put it below a line like [%s]",
                              SHOWN(n->key), tables[0].name);
        else if (best.found)
                reader_refuse(r, n->line, "table '%.*s' is not known; did you mean '%s'?",
                              SHOWN(n->key), best.found);
        else
                reader_refuse(r, n->line, "table '%.*s' is not known; remove it", SHOWN(n->key));
}

static const struct table *find_table(const struct table *tables, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (nb_streq(tables[i].name, name))
                        return &tables[i];
        return NULL;
}

void reader_fill(struct reader *r, const struct table *tables, size_t n_tables,
                 const struct toml_node *root, void *target)
{
        for (size_t i = 0; i < root->n_children; i++) {
                const struct toml_node *n = &root->children[i];
                const struct table *t = find_table(tables, n_tables, n->key);

                if (!t)
                        refuse_unknown_table(r, tables, n_tables, n);
                else if (t->later)
                        reader_refuse(r, n->line, "table '%s' " LATER "; remove it", t->name);
                else if (t->many ? !all_tables(n) : n->type != TOML_TABLE)
                        reader_refuse(r, n->line, "'%s' is to be a table; write %s%s%s", t->name,
                                      open_bracket(t), t->name, close_bracket(t));
                else if (t->many)
                        fill_many(r, t, n, target);
        }
        for (size_t i = 0; i < n_tables; i++) {
                const struct toml_node *n = toml_get(root, tables[i].name);

                if (!tables[i].many && !tables[i].later)
                        fill_table(r, &tables[i], n && n->type == TOML_TABLE ? n : NULL, target);
        }
}

void reader_fill_defaults(struct reader *r, const struct table *t, void *element)
{
        fill_table(r, t, NULL, element);
}

static void tables_done_many(const struct table *t, char *target);

static void table_done(const struct table *t, char *target)
{
        for (size_t i = 0; i < t->n_keys; i++) {
                void *at = target + t->keys[i].offset;

                switch (t->keys[i].type) {
                case KEY_TEXT:
                case KEY_URL:
                case KEY_JSON:
                        free(*(char **)at);
                        break;
                case KEY_LIST:
                        nb_strv_done(at);
                        break;
                case KEY_SECRET:
                        nb_secret_done(at);
                        break;
                case KEY_TABLES:
                        tables_done_many(t->keys[i].tables, target);
                        break;
                case KEY_BOOL:
                case KEY_COUNT:
                case KEY_SIZE:
                case KEY_DURATION:
                case KEY_CHOICE:
                case KEY_SWITCH:
                case KEY_LATER:
                case KEY_TYPE__COUNT:
                        break;
                }
        }
}

static void tables_done_many(const struct table *t, char *target)
{
        char *elements = *(char **)(target + t->offset);
        size_t n = *(size_t *)(target + t->offset_n);

        for (size_t i = 0; i < n; i++)
                table_done(t, elements + i * t->size);
        free(elements);
}

void tables_done(const struct table *tables, size_t n_tables, void *target)
{
        for (size_t i = 0; i < n_tables; i++)
                if (!tables[i].many)
                        table_done(&tables[i], target);
                else if (!tables[i].later)
                        tables_done_many(&tables[i], target);
}

/* ---- checks ---- */

const char *check_name(const char *text)
{
        size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");

        if (text[n] || n > 64 || text[0] == '-')
                return "is not a name; use a-z, 0-9 and '-', at most 64 of them";
        return NULL;
}

const char *check_glob(const char *text)
{
        /* what a match may cost is bounded with it: see str.h */
        if (strlen(text) > 512)
                return "has a glob of over 512 bytes; shorten it";
        if (!nb_glob_valid(text))
                return "is not a glob; close each '[' by ']' and put something behind each "
                       "backslash";
        return NULL;
}
