/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The subject token of an external account: what Kubernetes or another
 * platform keeps fresh in a file, or gives out at an address.  Read anew for
 * each exchange.  The file is read on the pool.
 */

#include "gcp-priv.h"

#include <nbcid/num.h>

struct subject {
        struct loop_work work; /* first */
        struct gcp *gcp;       /* NULL: nobody waits any more */
        subject_fn done;
        char *path, *field;
        struct nb_secret text;
        int result;
        struct nb_err err;
};

static struct subject *subject_free(struct subject *s)
{
        if (!s)
                return NULL;
        free(s->path);
        free(s->field);
        nb_secret_done(&s->text);
        free(s);
        return NULL;
}
NB_DEFINE_FREEP(struct subject *, subject_free);

/* The text, or the member of it that the format names. */
static int pick_token(const char *where, const char *field, const char *p, size_t n,
                      struct nb_secret *ret, struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        const char *token = p;
        int r;

        if (field) {
                r = gcp_json(where, p, n, &tree, err);
                if (r < 0)
                        return r;
                token = nb_json_str(nb_json_get(nb_json_root(tree), field), &n);
                if (!token)
                        return nb_fail(err, NB_E_INVALID, "%s has no \"%s\" with a subject token",
                                       where, field);
        }
        while (n > 0 && (token[n - 1] == '\n' || token[n - 1] == '\r'))
                n--;
        if (n == 0 || memchr(token, '\0', n))
                return nb_fail(err, NB_E_INVALID, "%s holds no subject token", where);
        if (nb_secret_set(ret, token, n) < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory for a subject token");
        return 0;
}

static void tell(struct subject *s)
{
        NB_CLEANUP(nb_secret_done) struct nb_secret token = {0};
        const char *where = s->gcp->key.source_file ? s->path : s->gcp->key.source_url;

        if (s->result == 0)
                s->result = pick_token(where, s->field, s->text.data, s->text.n, &token, &s->err);
        s->gcp->subject = NULL;
        if (s->result == 0)
                s->done(s->gcp, token.data, NULL);
        else
                s->done(s->gcp, NULL, &s->err);
}

static void read_file(struct loop_work *w)
{
        struct subject *s = (struct subject *)w;

        s->result = nb_secret_read(s->path, &s->text, &s->err);
}

static void on_read(struct loop_work *w)
{
        struct subject *s = (struct subject *)w;

        if (s->gcp)
                tell(s);
        subject_free(s);
}

static void on_fetched(void *arg, const struct http_in *resp, const struct gcp_error *e,
                       const struct nb_err *err)
{
        struct gcp *g = arg;
        NB_CLEANUP(subject_freep) struct subject *s = g->subject;

        g->ask = NULL;
        if (err) {
                s->err = *err;
                s->result = nb_wrap(&s->err, -(int)err->code, "no subject token");
        } else if (nb_secret_set(&s->text, resp->body, resp->n_body) < 0) {
                s->result = nb_fail(&s->err, NB_E_NOMEM, "no memory for a subject token");
        }
        tell(s);
}

int gcp_subject_get(struct gcp *g, subject_fn done, struct nb_err *err)
{
        NB_CLEANUP(subject_freep) struct subject *s = calloc(1, sizeof(*s));
        const struct gcp_request r = {
                .method = "GET",
                .url = g->key.source_url,
                .headers = (const char *const *)g->key.source_headers.v,
                .idempotent = true,
                .anonymous = true,
                .timeout_us = 10 * NB_US_PER_S,
                .max_response = 65536,
        };
        int bad;

        if (!s)
                return nb_fail(err, NB_E_NOMEM, "no memory for a subject token");
        s->gcp = g;
        s->done = done;
        s->path = nb_strdup(g->key.source_file);
        s->field = nb_strdup(g->key.source_field);
        if ((g->key.source_file && !s->path) || (g->key.source_field && !s->field))
                return nb_fail(err, NB_E_NOMEM, "no memory for a subject token");
        if (s->path) {
                s->work.run = read_file;
                s->work.done = on_read;
                bad = loop_submit(g->loop, &s->work, err);
        } else {
                bad = gcp_call(g, &r, on_fetched, g, &g->ask, err);
        }
        if (bad < 0)
                return bad;
        g->subject = NB_TAKE(s);
        return 0;
}

void gcp_subject_cancel(struct gcp *g)
{
        struct subject *s = g->subject;

        if (!s)
                return;
        g->subject = NULL;
        if (s->path)
                s->gcp = NULL; /* it comes back from the pool */
        else
                subject_free(s);
}
