/* SPDX-License-Identifier: Apache-2.0 */

/* Waiting for a google.longrunning.Operation. */

#include "gcp-priv.h"

#include <nbcid/num.h>

#define FIRST_US (2 * NB_US_PER_S)
#define MOST_US (30 * NB_US_PER_S)

static const struct nb_json_limits limits = {
        .bytes = (size_t)1 << 20, .depth = 40, .values = 20000};

struct gcp_operation {
        struct gcp *gcp;
        char *url, *name;
        gcp_operation_fn done;
        void *arg;
        struct gcp_call *call;
        struct loop_source *timer;
        uint64_t deadline_us, pause_us;
};

static struct gcp_operation *operation_free(struct gcp_operation *o)
{
        if (!o)
                return NULL;
        gcp_call_cancel(o->call);
        loop_source_free(o->timer);
        free(o->url);
        free(o->name);
        free(o);
        return NULL;
}
NB_DEFINE_FREEP(struct gcp_operation *, operation_free);

static void finish(struct gcp_operation *o, const struct nb_json *response,
                   const struct gcp_error *e, const struct nb_err *err)
{
        gcp_operation_fn done = o->done;
        void *arg = o->arg;

        operation_free(o);
        done(arg, response, e, err);
}

static void fail(struct gcp_operation *o, const struct nb_err *err)
{
        const struct gcp_error e = {0};

        finish(o, NULL, &e, err);
}

static void look(struct gcp_operation *o, const struct http_in *resp)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        struct gcp_error e = {.http = resp->status, .tries = 1};
        const struct nb_json *op, *error;
        struct nb_err err;
        bool over = false;

        if (nb_json_read(resp->body, resp->n_body, &limits, &tree, NULL, &err) < 0) {
                (void)nb_wrap(&err, -1, "operation %s", o->name);
                fail(o, &err);
                return;
        }
        op = nb_json_root(tree);
        error = nb_json_get(op, "error");
        (void)nb_json_bool(nb_json_get(op, "done"), &over);
        if (over && error) {
                gcp_status_read(error, &e);
                (void)nb_fail(&err, NB_E_REMOTE, "operation %s failed: %s%s%s", o->name, e.status,
                              e.message[0] ? ": " : "", e.message);
                finish(o, NULL, &e, &err);
        } else if (over) {
                finish(o, nb_json_get(op, "response"), NULL, NULL);
        } else if (nb_mono_us(o->gcp->clock) >= o->deadline_us) {
                (void)nb_fail(&err, NB_E_TIMEOUT, "operation %s is not done in time", o->name);
                fail(o, &err);
        } else {
                loop_timer_arm(o->timer, o->pause_us);
                o->pause_us = o->pause_us * 3 / 2 < MOST_US ? o->pause_us * 3 / 2 : MOST_US;
        }
}

static void on_answer(void *arg, const struct http_in *resp, const struct gcp_error *e,
                      const struct nb_err *err)
{
        struct gcp_operation *o = arg;
        struct nb_err why;

        o->call = NULL;
        if (!err) {
                look(o, resp);
                return;
        }
        why = *err;
        (void)nb_wrap(&why, -1, "operation %s", o->name);
        finish(o, NULL, e, &why);
}

static int poll_now(struct gcp_operation *o, struct nb_err *err)
{
        const struct gcp_request r = {.method = "GET", .url = o->url, .idempotent = true};

        return gcp_call(o->gcp, &r, on_answer, o, &o->call, err);
}

static void on_timer(void *arg)
{
        struct gcp_operation *o = arg;
        struct nb_err err;

        if (poll_now(o, &err) < 0)
                fail(o, &err);
}

/* The name comes out of an answer and goes into an address. */
static bool is_name(const char *s)
{
        return s && strstr(s, "operations/") && !strstr(s, "..") && *s != '/' &&
               s[strspn(s,
                        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~/")] ==
                       '\0';
}

int gcp_operation_wait(struct gcp *g, const char *base, const char *name, uint64_t timeout_us,
                       gcp_operation_fn done, void *arg, struct gcp_operation **ret,
                       struct nb_err *err)
{
        NB_CLEANUP(operation_freep) struct gcp_operation *o = calloc(1, sizeof(*o));
        int r;

        if (!o)
                return nb_fail(err, NB_E_NOMEM, "no memory to wait for an operation");
        if (!is_name(name))
                return nb_fail(err, NB_E_INVALID, "\"%.100s\" is no name of an operation",
                               name ? name : "");
        *o = (struct gcp_operation){
                .gcp = g,
                .url = nb_asprintf("%s%s", base, name),
                .name = nb_strdup(name),
                .done = done,
                .arg = arg,
                .deadline_us = nb_mono_us(g->clock) + timeout_us,
                .pause_us = FIRST_US,
        };
        if (!o->url || !o->name)
                return nb_fail(err, NB_E_NOMEM, "no memory to wait for an operation");
        r = loop_timer(g->loop, on_timer, o, &o->timer, err);
        if (r == 0)
                r = poll_now(o, err);
        if (r < 0)
                return r;
        *ret = NB_TAKE(o);
        return 0;
}

void gcp_operation_cancel(struct gcp_operation *o)
{
        operation_free(o);
}
