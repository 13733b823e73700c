/* SPDX-License-Identifier: Apache-2.0 */

/* The token in hand, when it is too old, and who waits for the next. */

#include "gcp-priv.h"

#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/num.h>

/* Before its end, and below the four minutes in which the metadata server
 * itself hands out the old one. */
#define EARLY_US (225 * NB_US_PER_S)

#define SCOPE "https://www.googleapis.com/auth/cloud-platform"

/* ---- age ---- */

/* By the clock that has gone further: the monotonic one stands still while a
 * machine sleeps, the other one may be set back. */
static uint64_t age_us(const struct gcp *g)
{
        uint64_t mono = nb_mono_us(g->clock) - g->got_us;
        int64_t wall = nb_now_ms(g->clock) - g->got_ms;

        if (wall > 0 && (uint64_t)wall * NB_US_PER_MS > mono)
                return (uint64_t)wall * NB_US_PER_MS;
        return mono;
}

static bool is_alive(const struct gcp *g)
{
        return g->token.data && age_us(g) < g->life_us;
}

static bool is_fresh(const struct gcp *g)
{
        uint64_t early = g->life_us > 2 * EARLY_US ? EARLY_US : g->life_us / 2;

        return g->token.data && age_us(g) < g->life_us - early;
}

/* ---- waiting ---- */

static void unlink_wait(struct gcp_token_wait *w)
{
        w->prev->next = w->next;
        w->next->prev = w->prev;
}

static void mark_ready(struct gcp *g)
{
        for (struct gcp_token_wait *w = g->waits.next; w != &g->waits; w = w->next)
                w->ready = true;
        loop_timer_arm(g->teller, 0);
}

static void ask(struct gcp *g)
{
        struct nb_err err;

        if (g->asking)
                return;
        g->asking = true;
        if (gcp_ask(g, &err) < 0)
                gcp_token_failed(g, &err);
}

/* A callback may get, cancel, or reject: each round looks anew. */
static void tell(void *arg)
{
        struct gcp *g = arg;

        while (g->waits.next->ready) {
                struct gcp_token_wait *w = g->waits.next;
                gcp_token_fn done = w->done;
                void *done_arg = w->arg;
                struct nb_err err = g->failed;
                bool alive = is_alive(g);

                if (!alive && err.code == NB_OK) { /* rejected meanwhile */
                        for (; w != &g->waits; w = w->next)
                                w->ready = false;
                        ask(g);
                        return;
                }
                unlink_wait(w);
                free(w);
                done(done_arg, alive ? g->token.data : NULL, alive ? NULL : &err);
        }
        if (!g->waits.next->ready)
                g->failed = (struct nb_err){0};
}

int gcp_token_get(struct gcp *g, gcp_token_fn done, void *arg, struct gcp_token_wait **ret,
                  struct nb_err *err)
{
        struct gcp_token_wait *w = calloc(1, sizeof(*w));

        if (!w)
                return nb_fail(err, NB_E_NOMEM, "no memory to wait for a token");
        *w = (struct gcp_token_wait){.gcp = g, .done = done, .arg = arg};
        w->prev = g->waits.prev;
        w->next = &g->waits;
        w->prev->next = w;
        g->waits.prev = w;
        *ret = w;
        if (!is_fresh(g)) {
                ask(g);
        } else if (!g->asking) {
                w->ready = true;
                loop_timer_arm(g->teller, 0);
        }
        return 0;
}

void gcp_token_cancel(struct gcp_token_wait *w)
{
        if (!w)
                return;
        unlink_wait(w);
        free(w);
}

void gcp_token_rejected(struct gcp *g, const char *token)
{
        if (g->token.data && nb_ct_streq(g->token.data, g->token.n, token, strlen(token)))
                nb_secret_done(&g->token);
}

/* ---- the end of a refresh ---- */

void gcp_token_set(struct gcp *g, const char *token, size_t n, uint64_t life_us)
{
        struct nb_err err;

        if (nb_secret_set(&g->token, token, n) < 0) {
                (void)nb_fail(&err, NB_E_NOMEM, "no memory for a token");
                gcp_token_failed(g, &err);
                return;
        }
        g->asking = false;
        g->failed = (struct nb_err){0};
        g->got_us = nb_mono_us(g->clock);
        g->got_ms = nb_now_ms(g->clock);
        g->life_us = life_us;
        mark_ready(g);
}

void gcp_token_failed(struct gcp *g, const struct nb_err *err)
{
        g->asking = false;
        g->failed = *err;
        mark_ready(g);
}

/* ---- birth ---- */

int gcp_credentials_find(char **ret, struct nb_err *err)
{
        const char *named = getenv("GOOGLE_APPLICATION_CREDENTIALS"), *home = getenv("HOME");
        nb_auto_free char *path = NULL;

        if (named && *named) {
                path = nb_strdup(named);
                if (!path)
                        return nb_fail(err, NB_E_NOMEM, "no memory for a path");
        } else if (home && *home) {
                path = nb_asprintf("%s/.config/gcloud/application_default_credentials.json", home);
                if (!path)
                        return nb_fail(err, NB_E_NOMEM, "no memory for a path");
                if (access(path, F_OK) < 0) {
                        free(path);
                        path = NULL;
                }
        }
        *ret = NB_TAKE(path);
        return 0;
}

static int read_key(struct gcp *g, const struct gcp_opts *o, struct nb_err *err)
{
        NB_CLEANUP(nb_secret_done) struct nb_secret text = {0};
        int r;

        if (o->key)
                return nb_wrap(err,
                               gcp_key_parse(o->key->data, o->key->n, o->token_url, &g->key, err),
                               "credentials file");
        if (!o->credentials) {
                g->key.kind = GCP_METADATA;
                g->key.identity = nb_strdup("the service account of this machine");
                return g->key.identity ? 0 : nb_fail(err, NB_E_NOMEM, "no memory for credentials");
        }
        r = nb_secret_read(o->credentials, &text, err);
        if (r == 0)
                r = gcp_key_parse(text.data, text.n, o->token_url, &g->key, err);
        return nb_wrap(err, r, "credentials file %s", o->credentials);
}

static int copy_opts(struct gcp *g, const struct gcp_opts *o, struct nb_err *err)
{
        const char *host = o->metadata_host;

        if (!host || !*host)
                host = getenv("GCE_METADATA_HOST");
        if (!host || !*host)
                host = "metadata.google.internal";
        g->loop = o->loop;
        g->httpc = o->httpc;
        g->clock = o->clock;
        g->backoff_us = o->backoff_us ? o->backoff_us : NB_US_PER_S;
        g->scope = nb_strdup(o->scope ? o->scope : SCOPE);
        g->metadata_host = nb_strdup(host);
        return g->scope && g->metadata_host ? 0 : nb_fail(err, NB_E_NOMEM, "no memory for Google");
}

int gcp_new(const struct gcp_opts *o, struct gcp **ret, struct nb_err *err)
{
        NB_CLEANUP(gcp_freep) struct gcp *g = calloc(1, sizeof(*g));
        int r;

        if (!g)
                return nb_fail(err, NB_E_NOMEM, "no memory for Google");
        g->waits.prev = g->waits.next = &g->waits;
        g->ask_body = NB_BUF((size_t)128 << 10);
        r = copy_opts(g, o, err);
        if (r == 0)
                r = loop_timer(o->loop, tell, g, &g->teller, err);
        if (r == 0)
                r = read_key(g, o, err);
        if (r < 0)
                return r;
        *ret = NB_TAKE(g);
        return 0;
}

struct gcp *gcp_free(struct gcp *g)
{
        if (!g)
                return NULL;
        nb_assert(g->waits.next == &g->waits);
        gcp_ask_cancel(g);
        nb_assert(g->n_calls == 0);
        loop_source_free(g->teller);
        nb_secret_done(&g->token);
        gcp_key_done(&g->key);
        free(g->scope);
        free(g->metadata_host);
        free(g);
        return NULL;
}

const char *gcp_identity(const struct gcp *g)
{
        return g->key.identity;
}

const char *gcp_project(const struct gcp *g)
{
        return g->key.project ? g->key.project : g->key.quota_project;
}
