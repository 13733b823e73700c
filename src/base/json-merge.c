/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/json.h>

#include <string.h>

static int read_object(const char *json, size_t max, struct nb_json_tree **ret, struct nb_err *err)
{
        const struct nb_json_limits limits = {.bytes = max, .depth = 32};
        int r = nb_json_read(json, strlen(json), &limits, ret, NULL, err);

        if (r == 0 && nb_json_type(nb_json_root(*ret)) != NB_JSON_OBJECT) {
                *ret = nb_json_free(*ret);
                r = nb_fail(err, NB_E_INVALID, "write a JSON object, as in {\"epochs\": 2}");
        }
        return r;
}

int nb_json_merge(const char *first, const char *second, struct nb_buf *ret, struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *a = NULL, *b = NULL;
        struct nb_json_out out = NB_JSON_OUT(ret);
        const struct nb_json *ra, *rb;
        const char *key;
        int r = read_object(first, ret->max, &a, err);

        if (r == 0)
                r = read_object(second, ret->max, &b, err);
        if (r < 0)
                return r;
        ra = nb_json_root(a);
        rb = nb_json_root(b);
        nb_json_open_object(&out);
        for (size_t i = 0; i < nb_json_size(ra); i++) {
                const struct nb_json *v = nb_json_member(ra, i, &key);
                const struct nb_json *later = nb_json_get(rb, key);

                nb_json_key(&out, key);
                nb_json_put_value(&out, later ? later : v);
        }
        for (size_t i = 0; i < nb_json_size(rb); i++) {
                const struct nb_json *v = nb_json_member(rb, i, &key);

                if (nb_json_get(ra, key))
                        continue;
                nb_json_key(&out, key);
                nb_json_put_value(&out, v);
        }
        nb_json_close(&out);
        if (ret->failed)
                return nb_fail(err, NB_E_LIMIT, "over %zu bytes in all", ret->max);
        return 0;
}
