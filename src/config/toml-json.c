/* SPDX-License-Identifier: Apache-2.0 */
/* any TOML as JSON, for those who read other tools' files */
#include <nbcid/config.h>

#include <nbcid/json.h>

#include "table.h"

/* toml.cc bounds the depth. */
static void put(struct nb_json_out *o, const struct toml_node *n)
{
        switch (n->type) {
        case TOML_STRING:
                nb_json_put_str(o, n->text);
                break;
        case TOML_INTEGER:
                nb_json_put_int(o, n->integer);
                break;
        case TOML_BOOLEAN:
                nb_json_put_bool(o, n->integer != 0);
                break;
        case TOML_FLOAT:
        case TOML_DATE:
        case TOML_TYPE__COUNT:
                nb_json_put_null(o);
                break;
        case TOML_ARRAY:
        case TOML_TABLE:
                if (n->type == TOML_TABLE)
                        nb_json_open_object(o);
                else
                        nb_json_open_array(o);
                for (size_t i = 0; i < n->n_children; i++) {
                        if (n->type == TOML_TABLE)
                                nb_json_key(o, n->children[i].key);
                        put(o, &n->children[i]);
                }
                nb_json_close(o);
                break;
        }
}

int config_toml_json(const char *file, const char *p, size_t n, struct nb_buf *ret,
                     struct nb_err *err)
{
        NB_CLEANUP(toml_freep) struct toml_node *root = NULL;
        struct nb_json_out o = NB_JSON_OUT(ret);
        int r = reader_parse(file, p, n, &root, err);

        if (r < 0)
                return r;
        put(&o, root);
        return ret->failed ? nb_fail(err, NB_E_LIMIT, "%s: is over %zu bytes", file, ret->max) : 0;
}
