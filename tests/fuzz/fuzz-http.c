/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes as method, target and text of a request: a route that matches is
 * exact, what is taken apart is text, and nothing comes out of the HTML writer
 * that could begin or end a tag.  The first line is the method, the second the
 * target, the rest a text for a page.
 */

#include <string.h>

#include <nbcid/str.h>

#include "../../src/web/web-priv.h"

#include "fuzz.h"

static void check_target(const char *text)
{
        struct web_target t;
        struct nb_err err;
        int r = target_parse(text, &t, &err);

        if (r < 0) {
                PROPERTY(r == -NB_E_INVALID || r == -NB_E_LIMIT);
                PROPERTY(err.code == (enum nb_errc) - r);
                return;
        }
        PROPERTY(t.path[0] == '/' && !strchr(t.path, '?'));
        PROPERTY(nb_starts_with(text, t.path));
        PROPERTY(t.n_params <= WEB_PARAMS_MAX);
        for (size_t i = 0; i < t.n_params; i++) {
                PROPERTY(nb_utf8_valid(t.params[i].name, strlen(t.params[i].name), NULL));
                PROPERTY(nb_utf8_valid(t.params[i].value, strlen(t.params[i].value), NULL));
                PROPERTY(strlen(t.params[i].value) <= strlen(text));
        }
        target_done(&t);
}

/* What was matched, put into the pattern again, is the path. */
static void check_route(const char *method, const char *path)
{
        const struct web_route *r;
        struct web_match m;
        const char *allow, *brace, *after;
        nb_auto_free char *again = NULL;

        r = route_find(method, path, &m, &allow);
        if (!r)
                return;
        PROPERTY(!allow);
        PROPERTY(strcmp(method, r->method) == 0 ||
                 (strcmp(method, "HEAD") == 0 && strcmp(r->method, "GET") == 0));
        brace = strchr(r->pattern, '{');
        if (brace) {
                after = strchr(brace, '}') + 1;
                again = nb_starts_with(brace, "{id}")
                                ? nb_asprintf("%.*s%lld%s", (int)(brace - r->pattern), r->pattern,
                                              (long long)m.id, after)
                                : nb_asprintf("%.*s%s%s", (int)(brace - r->pattern), r->pattern,
                                              m.name, after);
        } else {
                again = nb_strdup(r->pattern);
        }
        PROPERTY(again && strcmp(again, path) == 0);
}

static void check_html(const char *text)
{
        nb_auto_buf b = NB_BUF(1 << 20);

        html(&b, "%s", text);
        PROPERTY(!b.failed);
        PROPERTY(!strpbrk(nb_buf_str(&b), "<>\"'"));
        PROPERTY(nb_utf8_valid(nb_buf_str(&b), b.len, NULL));
        for (const char *s = nb_buf_str(&b); (s = strchr(s, '&')); s++)
                PROPERTY(s[1] == '#');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        nb_auto_free char *text = NULL;
        char *target, *rest;

        if (size > 16384)
                size = 16384;
        text = nb_strndup((const char *)data, size);
        PROPERTY(text);
        target = text + strcspn(text, "\n");
        if (*target)
                *target++ = '\0';
        rest = target + strcspn(target, "\n");
        if (*rest)
                *rest++ = '\0';
        check_target(target);
        check_route(text, target);
        check_html(rest);
        return 0;
}
