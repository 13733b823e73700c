/* SPDX-License-Identifier: Apache-2.0 */

/* target.c - path and query of a request (RFC 3986 sections 3.3 and 3.4, HTML
 * form encoding) */

#include <nbcid/str.h>

#include "web-priv.h"

static char *decode(const char *s, size_t n)
{
        size_t len;
        nb_auto_free char *text = nb_url_decode(s, n, &len);

        if (!text || strlen(text) != len || !nb_utf8_valid(text, len, NULL))
                return NULL;
        return NB_TAKE(text);
}

static int add_param(struct web_target *t, const char *s, size_t n, struct nb_err *err)
{
        const char *equals = memchr(s, '=', n);
        size_t n_name = equals ? (size_t)(equals - s) : n;
        struct web_param *p;

        if (n == 0)
                return 0;
        if (t->n_params == WEB_PARAMS_MAX)
                return nb_fail(err, NB_E_LIMIT, "the query has over %d parameters", WEB_PARAMS_MAX);
        p = &t->params[t->n_params];
        p->name = decode(s, n_name);
        p->value = equals ? decode(equals + 1, n - n_name - 1) : nb_strdup("");
        t->n_params++;
        if (!p->name || !p->value)
                return nb_fail(err, NB_E_INVALID,
                               "the query holds a malformed %%XX or text that is not UTF-8");
        return 0;
}

int target_parse(const char *text, struct web_target *ret, struct nb_err *err)
{
        struct web_target t = {0};
        size_t n_path = strcspn(text, "?");
        int r = 0;

        if (text[0] != '/')
                return nb_fail(err, NB_E_INVALID, "the request's target does not begin with /");
        t.path = nb_strndup(text, n_path);
        if (!t.path)
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        text += n_path;
        while (r == 0 && *text) {
                size_t n = strcspn(++text, "&");

                r = add_param(&t, text, n, err);
                text += n;
        }
        if (r < 0) {
                target_done(&t);
                return r;
        }
        *ret = t;
        return 0;
}

void target_done(struct web_target *t)
{
        free(t->path);
        for (size_t i = 0; i < t->n_params; i++) {
                free(t->params[i].name);
                free(t->params[i].value);
        }
        *t = (struct web_target){0};
}

const char *target_param(const struct web_target *t, const char *name)
{
        for (size_t i = 0; i < t->n_params; i++)
                if (strcmp(t->params[i].name, name) == 0)
                        return t->params[i].value[0] ? t->params[i].value : NULL;
        return NULL;
}
