/* SPDX-License-Identifier: Apache-2.0 */
/* what a notebook runs in: life, and the JSON object that is stored, handed to
 * the runner and shown */
#include <nbcid/model.h>

#include <stdlib.h>
#include <string.h>

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
        {"constraints", offsetof(struct nb_environment, constraints)},
        {"conda", offsetof(struct nb_environment, conda)},
        {"python", offsetof(struct nb_environment, python)},
        {"parameters", offsetof(struct nb_environment, parameters)},
        {"workspace", offsetof(struct nb_environment, workspace)},
        {"why", offsetof(struct nb_environment, why)},
};

static char **field(const struct nb_environment *e, size_t i)
{
        return (char **)((uintptr_t)e + fields[i].offset);
}

void nb_environment_done(struct nb_environment *e)
{
        if (!e)
                return;
        for (size_t i = 0; i < NB_ARRAY_SIZE(fields); i++)
                free(*field(e, i));
        *e = (struct nb_environment){0};
}

int nb_environment_copy(const struct nb_environment *e, struct nb_environment *ret,
                        struct nb_err *err)
{
        NB_CLEANUP(nb_environment_done) struct nb_environment c = {0};

        for (size_t i = 0; i < NB_ARRAY_SIZE(fields); i++) {
                *field(&c, i) = nb_strdup(*field(e, i));
                if (*field(e, i) && !*field(&c, i))
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        *ret = c;
        c = (struct nb_environment){0};
        return 0;
}

int nb_environment_write(const struct nb_environment *e, struct nb_buf *ret, struct nb_err *err)
{
        struct nb_json_out out = NB_JSON_OUT(ret);

        nb_json_open_object(&out);
        for (size_t i = 0; e && i < NB_ARRAY_SIZE(fields); i++)
                if (*field(e, i))
                        nb_json_kv_str(&out, fields[i].key, *field(e, i));
        nb_json_close(&out);
        if (ret->failed)
                return nb_fail(err, NB_E_LIMIT,
                               "the environment that a notebook wants is over %zu bytes; shorten "
                               "its requirements",
                               ret->max);
        return 0;
}

int nb_environment_read(const char *json, size_t n, struct nb_environment *ret, struct nb_err *err)
{
        const struct nb_json_limits limits = {.bytes = NB_ENVIRONMENT_MAX, .depth = 1};
        NB_CLEANUP(nb_environment_done) struct nb_environment e = {0};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        int r = nb_json_read(json, n, &limits, &tree, NULL, err);

        if (r < 0)
                return nb_wrap(err, r, "environment of a job");
        for (size_t i = 0; i < NB_ARRAY_SIZE(fields); i++) {
                const char *s = nb_json_str(nb_json_get(nb_json_root(tree), fields[i].key), NULL);

                *field(&e, i) = nb_strdup(s);
                if (s && !*field(&e, i))
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        *ret = e;
        e = (struct nb_environment){0};
        return 0;
}

static bool is_field(const char *key)
{
        for (size_t i = 0; i < NB_ARRAY_SIZE(fields); i++)
                if (nb_streq(key, fields[i].key))
                        return true;
        return false;
}

static int refuse_member(const char *key, const struct nb_json *v, struct nb_err *err)
{
        if (!is_field(key))
                return nb_fail(err, NB_E_INVALID,
                               "\"%.*s\" is no member of an environment, as kernel, requirements, "
                               "python and image are; give the object that the API shows as "
                               "\"requested\"",
                               (int)nb_utf8_prefix(key, 60), key);
        return nb_fail(err, NB_E_INVALID, "%s is no text; %s", key,
                       nb_json_type(v) == NB_JSON_ARRAY    ? "write its lines as one string"
                       : nb_json_type(v) == NB_JSON_OBJECT ? "write the JSON of it as a string"
                                                           : "write it between quotes");
}

int nb_environment_read_given(const char *json, size_t n, struct nb_environment *ret,
                              struct nb_err *err)
{
        const struct nb_json_limits limits = {.bytes = 4 * NB_ENVIRONMENT_MAX, .depth = 64};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        const struct nb_json *root;
        int r = nb_json_read(json, n, &limits, &tree, NULL, err);

        if (r < 0)
                return r;
        root = nb_json_root(tree);
        if (nb_json_type(root) != NB_JSON_OBJECT)
                return nb_fail(err, NB_E_INVALID,
                               "is no JSON object; write {\"requirements\": \"...\"}");
        for (size_t i = 0; i < nb_json_size(root); i++) {
                const char *key;
                const struct nb_json *v = nb_json_member(root, i, &key);

                if (!is_field(key) ||
                    (nb_json_type(v) != NB_JSON_NULL && nb_json_type(v) != NB_JSON_STRING))
                        return refuse_member(key, v, err);
        }
        return nb_environment_read(json, n, ret, err);
}
