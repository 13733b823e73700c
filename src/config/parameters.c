/* SPDX-License-Identifier: Apache-2.0 */
/* parameters of a notebook: a table of TOML as a JSON object */
#include "parameters.h"

#include <math.h>
#include <string.h>

#include <nbcid/buf.h>
#include <nbcid/json.h>
#include <nbcid/str.h>

#define TEXT_MAX ((size_t)64 * 1024)
#define DEPTH_MAX 8
#define NAME_MAX_BYTES 128

struct form {
        struct nb_json_out out;
        const char *wrong;          /* what is, or NULL ... */
        const struct toml_node *at; /* ... and where */
};

static void refuse(struct form *f, const struct toml_node *at, const char *wrong)
{
        if (!f->wrong) {
                f->wrong = wrong;
                f->at = at;
        }
}

/* An identifier of every language that parameters can be written in, but for
 * the words that one of them keeps for itself: which it is, is not known yet. */
static bool is_name(const char *s)
{
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "_0123456789";
        size_t n = strspn(s, letters);

        return n > 0 && !s[n] && n <= NAME_MAX_BYTES && !(*s >= '0' && *s <= '9');
}

static void put_value(struct form *f, const struct toml_node *n, unsigned depth);

static void put_children(struct form *f, const struct toml_node *n, unsigned depth)
{
        if (depth >= DEPTH_MAX) {
                refuse(f, n, "is nested over 8 deep; make it flatter");
                nb_json_put_null(&f->out);
                return;
        }
        if (n->type == TOML_TABLE)
                nb_json_open_object(&f->out);
        else
                nb_json_open_array(&f->out);
        for (size_t i = 0; i < n->n_children; i++) {
                const struct toml_node *child = &n->children[i];

                if (depth == 0 && !is_name(child->key))
                        refuse(f, child,
                               "has a name that is no identifier; use letters, digits and '_', a "
                               "letter or '_' first, at most 128 of them");
                if (n->type == TOML_TABLE)
                        nb_json_key(&f->out, child->key);
                put_value(f, child, depth + 1);
        }
        nb_json_close(&f->out);
}

/* DEPTH_MAX bounds the recursion. */
static void put_value(struct form *f, const struct toml_node *n, unsigned depth)
{
        switch (n->type) {
        case TOML_STRING:
                nb_json_put_str(&f->out, n->text);
                break;
        case TOML_INTEGER:
                nb_json_put_int(&f->out, n->integer);
                break;
        case TOML_FLOAT:
                if (!isfinite(n->number))
                        refuse(f, n,
                               "has a number that JSON does not have (inf, nan); write a string");
                nb_json_put_fraction(&f->out, n->number);
                break;
        case TOML_BOOLEAN:
                nb_json_put_bool(&f->out, n->integer != 0);
                break;
        case TOML_DATE:
                refuse(f, n, "has a date or a time; put it in quotes");
                nb_json_put_null(&f->out);
                break;
        case TOML_ARRAY:
        case TOML_TABLE:
                put_children(f, n, depth);
                break;
        case TOML_TYPE__COUNT:
                break;
        }
}

const char *parameters_text(const struct toml_node *n, char **ret, uint32_t *ret_line)
{
        nb_auto_buf b = NB_BUF(TEXT_MAX);
        struct form f = {.out = NB_JSON_OUT(&b)};

        put_value(&f, n, 0);
        *ret = NULL;
        *ret_line = f.at ? f.at->line : n->line;
        if (f.wrong)
                return f.wrong;
        if (b.failed)
                return "is over 65536 bytes of JSON; keep data in a file of the repository";
        *ret = nb_buf_steal(&b);
        return NULL;
}
