/* SPDX-License-Identifier: Apache-2.0 */

/* One call: a token, the request, and again by the rules. */

#include "gcp-priv.h"

#include <nbcid/num.h>

#define TRIES 6
#define TIMEOUT_US (60 * NB_US_PER_S)

struct gcp_call {
        struct gcp *gcp;
        struct gcp_request req; /* url, method and headers are in out */
        struct http_out out;    /* without the token */
        gcp_call_fn done;
        void *arg;

        struct gcp_token_wait *wait;
        struct httpc_request *request;
        struct loop_source *timer;
        struct nb_secret token; /* the one sent */
        unsigned tries;
        bool refreshed, unsure;
};

static struct gcp_call *call_free(struct gcp_call *c)
{
        if (!c)
                return NULL;
        gcp_token_cancel(c->wait);
        httpc_cancel(c->request);
        loop_source_free(c->timer);
        http_out_done(&c->out);
        nb_secret_done(&c->token);
        free(c);
        return NULL;
}
NB_DEFINE_FREEP(struct gcp_call *, call_free);

static void finish(struct gcp_call *c, const struct http_in *resp, struct gcp_error *e,
                   const struct nb_err *err)
{
        gcp_call_fn done = c->done;
        void *arg = c->arg;

        if (e) {
                e->tries = c->tries;
                e->unsure = c->unsure;
        }
        c->gcp->n_calls--;
        call_free(c);
        done(arg, resp, e, err);
}

static void fail(struct gcp_call *c, const struct nb_err *err)
{
        struct gcp_error e = {0};
        struct nb_err copy = *err;

        finish(c, NULL, &e, &copy);
}

static bool worth_again(int status)
{
        return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 ||
               status == 504;
}

static bool may_have_acted(int status)
{
        return status == 408 || status >= 500;
}

static bool again(struct gcp_call *c, bool harmless, const char *retry_after)
{
        unsigned most = c->req.tries ? c->req.tries : TRIES;

        if (c->tries >= most || !(c->req.idempotent || harmless))
                return false;
        loop_timer_arm(c->timer, gcp_backoff(c->gcp->backoff_us, c->tries - 1, retry_after));
        return true;
}

static int begin(struct gcp_call *c, struct nb_err *err);

static void on_lost(struct gcp_call *c, const struct nb_err *err)
{
        bool unsent = httpc_unsent(err);

        c->unsure = c->unsure || !unsent; /* also when its answer was too long for us */
        if ((err->code == NB_E_REMOTE || err->code == NB_E_TIMEOUT) && again(c, unsent, NULL))
                return;
        fail(c, err);
}

static void on_answer(void *arg, const struct http_in *resp, const struct nb_err *err)
{
        struct gcp_call *c = arg;
        struct gcp_error e;
        struct nb_err why;

        c->request = NULL;
        if (err) {
                on_lost(c, err);
                return;
        }
        if ((resp->status >= 200 && resp->status < 300) ||
            (c->req.also && resp->status == c->req.also)) {
                finish(c, resp, NULL, NULL);
                return;
        }
        (void)gcp_error_read(c->out.url, resp, &e, &why);
        if (resp->status == 401 && !c->req.anonymous && !c->refreshed) {
                /* Nothing was done; the token ended early, or its clock is ours. */
                c->refreshed = true;
                c->tries--;
                gcp_token_rejected(c->gcp, c->token.data);
                if (begin(c, &why) < 0)
                        fail(c, &why);
                return;
        }
        c->unsure = c->unsure || may_have_acted(resp->status);
        if (worth_again(resp->status) && again(c, false, http_in_header(resp, "Retry-After")))
                return;
        finish(c, resp, &e, &why);
}

static int send_now(struct gcp_call *c, struct nb_err *err)
{
        const struct httpc_how how = {
                .timeout_us = c->req.timeout_us ? c->req.timeout_us : TIMEOUT_US,
                .stall_us = c->req.stall_us,
                .max_response = c->req.max_response,
                .body = c->req.body,
                .n_body = c->req.n_body,
                .no_proxy = c->req.no_proxy,
                .once = !c->req.idempotent,
        };
        struct http_out with = c->out;
        nb_auto_free char **headers = nb_alloc_array(c->out.n_headers + 1, sizeof(*headers));
        char *bearer = NULL;
        int r;

        if (!headers)
                return nb_fail(err, NB_E_NOMEM, "no memory for a request");
        for (size_t i = 0; i < c->out.n_headers; i++)
                headers[i] = c->out.headers[i];
        with.headers = headers;
        if (c->token.data) {
                bearer = nb_asprintf("Authorization: Bearer %s", c->token.data);
                if (!bearer)
                        return nb_fail(err, NB_E_NOMEM, "no memory for a request");
                headers[with.n_headers++] = bearer;
        }
        r = httpc_send_how(c->gcp->httpc, &with, &how, on_answer, c, &c->request, err);
        if (bearer)
                nb_wipe(bearer, strlen(bearer));
        free(bearer);
        if (r == 0)
                c->tries++;
        return r;
}

static void on_token(void *arg, const char *token, const struct nb_err *err)
{
        struct gcp_call *c = arg;
        struct nb_err why;

        c->wait = NULL;
        if (err) {
                fail(c, err);
                return;
        }
        if (nb_secret_set(&c->token, token, strlen(token)) < 0)
                (void)nb_fail(&why, NB_E_NOMEM, "no memory for a token");
        else if (send_now(c, &why) == 0)
                return;
        fail(c, &why);
}

static int begin(struct gcp_call *c, struct nb_err *err)
{
        if (c->req.anonymous)
                return send_now(c, err);
        return gcp_token_get(c->gcp, on_token, c, &c->wait, err);
}

static void on_timer(void *arg)
{
        struct gcp_call *c = arg;
        struct nb_err why;

        if (begin(c, &why) < 0)
                fail(c, &why);
}

static int add_header(struct gcp_call *c, const char *line)
{
        size_t n = strcspn(line, ":");
        nb_auto_free char *name = nb_strndup(line, n);

        return name && line[n]
                       ? http_out_header(&c->out, name, line + n + 1 + strspn(line + n + 1, " "))
                       : -1;
}

static int add_headers(struct gcp_call *c, const struct gcp_request *r)
{
        const char *type = r->content_type;
        int bad = 0;

        if (!type && r->n_body > 0)
                type = "application/json";
        if (type)
                bad = http_out_header(&c->out, "Content-Type", type);
        if (bad == 0 && c->gcp->key.quota_project && !r->anonymous)
                bad = http_out_header(&c->out, "X-Goog-User-Project", c->gcp->key.quota_project);
        for (size_t i = 0; bad == 0 && r->headers && r->headers[i]; i++)
                bad = add_header(c, r->headers[i]);
        return bad;
}

int gcp_call(struct gcp *g, const struct gcp_request *r, gcp_call_fn done, void *arg,
             struct gcp_call **ret, struct nb_err *err)
{
        NB_CLEANUP(call_freep) struct gcp_call *c = calloc(1, sizeof(*c));
        int bad;

        if (!c)
                return nb_fail(err, NB_E_NOMEM, "no memory for a call");
        c->gcp = g;
        c->req = *r;
        c->done = done;
        c->arg = arg;
        c->out.method = nb_strdup(r->method);
        c->out.url = nb_strdup(r->url);
        if (!c->out.method || !c->out.url)
                return nb_fail(err, NB_E_NOMEM, "no memory for a call");
        if (add_headers(c, r) < 0)
                return nb_fail(err, NB_E_INVALID, "a header of a call is not one line");
        bad = loop_timer(g->loop, on_timer, c, &c->timer, err);
        if (bad == 0)
                bad = begin(c, err);
        if (bad < 0)
                return bad;
        g->n_calls++;
        *ret = NB_TAKE(c);
        return 0;
}

void gcp_call_cancel(struct gcp_call *c)
{
        if (!c)
                return;
        c->gcp->n_calls--;
        call_free(c);
}
