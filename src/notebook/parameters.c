/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/notebook.h>

#include <stdlib.h>
#include <string.h>

#include <nbcid/crypto.h>
#include <nbcid/str.h>

#include "edit.h"
#include "literal.h"
#include "text.h"
#include "walk.h"

#define PARAMETERS_DEPTH 16
#define SOURCE_MAX ((size_t)1024 * 1024)
#define ID_DIGITS 8 /* as many as nbformat itself writes */

/* What must be known of the notebook. */
struct look {
        struct walk walk;
        bool parameters_tag, injected_tag; /* of the cell at hand */
        int64_t parameters, injected;      /* the first code cells with these, from 1; 0: none */
        char language[64], spec_language[64], kernel[64];
};

static void take_word(char (*to)[64], const struct walk_value *v)
{
        if (v->type == WALK_STRING && v->n < sizeof(*to))
                (void)nb_fmt(*to, sizeof(*to), "%.*s", (int)v->n, v->s);
}

static int on_value(void *arg, enum walk_member m, const struct walk_value *v, struct nb_err *err)
{
        struct look *k = arg;

        if (m == WALK_CELL) {
                k->parameters_tag = k->injected_tag = false;
        } else if (m == WALK_TAG) {
                k->parameters_tag = k->parameters_tag || text_is(v->s, v->n, "parameters");
                k->injected_tag = k->injected_tag || text_is(v->s, v->n, "injected-parameters");
        } else if (m == WALK_LANGUAGE_INFO_NAME) {
                take_word(&k->language, v);
        } else if (m == WALK_KERNELSPEC_LANGUAGE) {
                take_word(&k->spec_language, v);
        } else if (m == WALK_KERNELSPEC_NAME) {
                take_word(&k->kernel, v);
        }
        return 0;
}

static int on_end(void *arg, enum walk_member m, struct nb_err *err)
{
        struct look *k = arg;
        const struct walk_cell *c = &k->walk.cell;

        if (m != WALK_CELL || c->type != WALK_CODE)
                return 0;
        if (k->parameters_tag && k->parameters == 0)
                k->parameters = c->number;
        if (k->injected_tag && k->injected == 0)
                k->injected = c->number;
        return 0;
}

static int choose_language(const struct look *k, const char *wanted,
                           const struct literal_language **ret, struct nb_err *err)
{
        /* notebooks from tools that write no language have at least their kernel */
        const char *known = notebook_kernel_language(k->kernel);
        const char *const said[] = {wanted ? wanted : "", k->language, k->spec_language,
                                    known ? known : ""};
        const char *first = "";

        for (size_t i = 0; i < NB_ARRAY_SIZE(said) && !*first; i++)
                first = said[i];
        *ret = literal_language_find(first);
        if (*ret)
                return 0;
        if (!*first)
                return nb_fail(err, NB_E_INVALID,
                               "parameters need to know the notebook's language, and it names "
                               "none; choose its kernel in Jupyter and save it");
        return nb_fail(err, NB_E_INVALID,
                       "parameters cannot be written in %.*s, only in Python, R, Julia and Bash; "
                       "remove them for this notebook",
                       text_shown(first, strlen(first)), first);
}

static bool has_id(const struct edit_place *cells, size_t but, const char *id)
{
        for (size_t i = 0; i < cells->n; i++)
                if (i != but && nb_streq(cells->items[i].key, id))
                        return true;
        return false;
}

/* One that no other cell has, and the same for the same source: a run that is
 * repeated makes the same notebook. */
static void make_id(const struct edit_place *cells, size_t but, const struct nb_buf *source,
                    char (*ret)[2 * NB_SHA256_SIZE + 1])
{
        uint8_t hash[NB_SHA256_SIZE];

        nb_sha256(nb_buf_str(source), source->len, hash);
        for (;;) {
                nb_hex(*ret, hash, sizeof(hash));
                (*ret)[ID_DIGITS] = '\0';
                if (!has_id(cells, but, *ret))
                        return;
                nb_sha256(hash, sizeof(hash), hash);
        }
}

/* As nbformat keeps text: an array of lines, each with its end. */
static void put_lines(struct nb_json_out *out, const char *s)
{
        nb_json_open_array(out);
        while (*s) {
                const char *nl = strchrnul(s, '\n');
                nb_auto_free char *line = nb_strndup(s, (size_t)(nl - s) + (*nl != '\0'));

                nb_json_put_str(out, line);
                out->buf->failed = out->buf->failed || !line;
                s = *nl ? nl + 1 : nl;
        }
        nb_json_close(out);
}

static int make_cell(const char *id, const struct nb_buf *source, struct nb_json_tree **ret,
                     struct nb_err *err)
{
        const struct nb_json_limits limits = {.bytes = 4 * SOURCE_MAX, .depth = 4};
        nb_auto_buf b = NB_BUF(4 * SOURCE_MAX);
        struct nb_json_out out = NB_JSON_OUT(&b);

        nb_json_open_object(&out);
        nb_json_kv_str(&out, "cell_type", "code");
        nb_json_key(&out, "execution_count");
        nb_json_put_null(&out);
        if (id)
                nb_json_kv_str(&out, "id", id);
        nb_json_key(&out, "metadata");
        nb_json_put_raw(&out, "{\"tags\":[\"injected-parameters\"]}");
        nb_json_key(&out, "outputs");
        nb_json_put_raw(&out, "[]");
        nb_json_key(&out, "source");
        put_lines(&out, nb_buf_str(source));
        nb_json_close(&out);
        if (b.failed)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        return nb_json_read(nb_buf_str(&b), b.len, &limits, ret, NULL, err);
}

static int inject(const char *p, size_t n, const struct look *k, const struct nb_buf *source,
                  struct nb_buf *ret, struct nb_err *err)
{
        NB_CLEANUP(edit_place_done) struct edit_place cells = {0};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *cell = NULL;
        bool replace = k->injected > 0;
        size_t i = (size_t)(replace ? k->injected - 1 : k->parameters);
        char id[2 * NB_SHA256_SIZE + 1];
        int r = edit_find(p, n, "cells", &cells, err);

        if (r < 0)
                return r;
        make_id(&cells, replace ? i : SIZE_MAX, source, &id);
        r = make_cell(k->walk.nbformat_minor >= 5 ? id : NULL, source, &cell, err);
        if (r == 0)
                r = edit_splice(p, n, &cells, i, replace, NULL, nb_json_root(cell), ret, err);
        return r;
}

int notebook_inject(const char *name, const char *p, size_t n, const char *parameters_json,
                    const char *language, struct nb_buf *ret, struct nb_err *err)
{
        static const struct walk_ops ops = {.value = on_value, .end = on_end};
        const struct nb_json_limits limits = {.bytes = NOTEBOOK_PARAMETERS_MAX,
                                              .depth = PARAMETERS_DEPTH};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        nb_auto_buf source = NB_BUF(SOURCE_MAX);
        const struct literal_language *l;
        struct look k = {0};
        int r = walk_notebook(name, p, n, SIZE_MAX, &ops, &k, &k.walk, err);

        if (r < 0)
                return r;
        r = nb_json_read(parameters_json, strlen(parameters_json), &limits, &tree, NULL, err);
        if (r == 0 && nb_json_type(nb_json_root(tree)) != NB_JSON_OBJECT)
                r = nb_fail(err, NB_E_INVALID, "write a JSON object, as in {\"epochs\": 2}");
        if (r < 0)
                return nb_wrap(err, r, "the parameters");
        if (nb_json_size(nb_json_root(tree)) == 0) {
                r = nb_buf_append(ret, p, n);
                return r < 0 ? nb_fail(err, NB_E_LIMIT, "%s: over %zu bytes", name, ret->max) : 0;
        }
        r = choose_language(&k, language, &l, err);
        if (r == 0)
                r = literal_write(l, nb_json_root(tree), &source, err);
        if (r == 0)
                r = inject(p, n, &k, &source, ret, err);
        if (r < 0)
                return nb_wrap(err, r, "%s", name);
        return k.injected == 0 && k.parameters == 0;
}
