/* SPDX-License-Identifier: Apache-2.0 */

/* hook.c - deliveries of forges: read one by one, committed together */

#include <nbcid/json.h>
#include <nbcid/log.h>

#include "web-priv.h"

#define BATCH_MAX 64

bool hook_is(const struct web_route *r)
{
        return r->handler == hook_post;
}

void hook_busy(struct web_app *a, struct web_request *q)
{
        atomic_fetch_add(&a->deps.metrics->deliveries[DELIVERY_BUSY], 1);
        reply_problem(a, q, 503, "the server cannot keep this delivery now; try again later");
}

void hook_post(struct web_app *a, struct web_request *q)
{
        const struct http_in in = {.method = q->method,
                                   .path = q->target.path,
                                   .headers = q->headers,
                                   .n_headers = q->n_headers,
                                   .body = nb_buf_str(&q->body),
                                   .n_body = q->body.len};
        struct nb_err err;
        int r = flow_door_read(a->door, q->match.name, &in, &q->delivery, &err);

        if (r == 0)
                return;
        if (r == -NB_E_DENIED || r == -NB_E_NOTFOUND)
                reply_problem(a, q, nb_errc_policy(err.code)->http, "%s", err.msg);
        else if (r == -NB_E_INVALID || r == -NB_E_LIMIT)
                reply_problem(a, q, 400, "%s", err.msg);
        else
                hook_busy(a, q);
        app_log_refused(a, q, err.msg);
}

static void answer(struct web_app *a, struct web_request *q)
{
        struct flow_answer v = flow_delivery_answer(q->delivery);
        bool accepted = !v.ignored && !v.duplicate;
        struct nb_buf *b = reply_start(&q->reply, accepted ? 202 : 200, "application/json");
        struct nb_json_out o = NB_JSON_OUT(b);

        nb_json_open_object(&o);
        if (v.ignored) {
                nb_json_kv_str(&o, "ignored", v.ignored);
        } else {
                nb_json_kv_int(&o, "build", v.build);
                if (v.duplicate)
                        nb_json_kv_bool(&o, "duplicate", true);
        }
        nb_json_close(&o);
        reply_check(a, q);
}

static void refuse(struct web_app *a, struct web_request *q, const struct nb_err *err)
{
        hook_busy(a, q);
        app_log_refused(a, q, err->msg);
}

static int commit(struct web_app *a, struct web_request *const *v, size_t n, struct nb_err *err)
{
        struct flow_delivery *d[BATCH_MAX];
        int r;

        for (size_t i = 0; i < n; i++)
                d[i] = v[i]->delivery;
        r = flow_door_commit(a->door, d, n, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                answer(a, v[i]);
        return 0;
}

static void commit_batch(struct web_app *a, struct web_request *const *v, size_t n)
{
        struct nb_err err;
        int r = commit(a, v, n, &err);

        if (r == 0)
                return;
        if (n == 1 || r == -NB_E_BUSY || r == -NB_E_IO) {
                for (size_t i = 0; i < n; i++)
                        refuse(a, v[i], &err);
                return;
        }
        /* It may be the fault of one: its neighbours shall not suffer. */
        for (size_t i = 0; i < n; i++)
                if (commit(a, &v[i], 1, &err) < 0)
                        refuse(a, v[i], &err);
}

void hook_commit(struct web_app *a, struct web_request *const *v, size_t n)
{
        while (n > 0) {
                size_t k = n < BATCH_MAX ? n : BATCH_MAX;

                commit_batch(a, v, k);
                v += k;
                n -= k;
        }
}
