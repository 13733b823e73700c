/* SPDX-License-Identifier: Apache-2.0 */
/* what a notebook asks to run in, as the JSON object that the API shows */
#include "rows.h"

#include <nbcid/json.h>
#include <nbcid/str.h>

static const struct {
        const char *key;
        size_t offset;
} fields[] = {
        {"kernel", offsetof(struct nb_environment, kernel)},
        {"language", offsetof(struct nb_environment, language)},
        {"image", offsetof(struct nb_environment, image)},
        {"name", offsetof(struct nb_environment, name)},
        {"requirements", offsetof(struct nb_environment, requirements)},
        {"why", offsetof(struct nb_environment, why)},
};

int environment_write(const struct nb_environment *e, struct nb_buf *ret, struct nb_err *err)
{
        struct nb_json_out out = NB_JSON_OUT(ret);

        nb_json_open_object(&out);
        for (size_t i = 0; e && i < NB_ARRAY_SIZE(fields); i++)
                nb_json_kv_str(&out, fields[i].key,
                               *(char *const *)((const char *)e + fields[i].offset));
        nb_json_close(&out);
        if (ret->failed)
                return nb_fail(err, NB_E_LIMIT,
                               "the environment that a notebook wants is over %zu bytes; shorten "
                               "its requirements",
                               ret->max);
        return 0;
}

int environment_read(const char *json, struct nb_environment *ret, struct nb_err *err)
{
        const struct nb_json_limits limits = {.bytes = ENVIRONMENT_MAX, .depth = 1};
        NB_CLEANUP(nb_environment_done) struct nb_environment e = {0};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        struct nb_err why;
        int r = nb_json_read(json, strlen(json), &limits, &tree, NULL, &why);

        if (r < 0)
                return nb_fail(err, r == -NB_E_NOMEM ? NB_E_NOMEM : NB_E_CORRUPT,
                               "environment of a job: %s; restore a copy", why.msg);
        for (size_t i = 0; i < NB_ARRAY_SIZE(fields); i++) {
                const char *s = nb_json_str(nb_json_get(nb_json_root(tree), fields[i].key), NULL);
                char *copy = nb_strdup(s);

                if (s && !copy)
                        return nb_fail(err, NB_E_NOMEM, "memory is out");
                *(char **)((char *)&e + fields[i].offset) = copy;
        }
        *ret = e;
        e = (struct nb_environment){0};
        return 0;
}
