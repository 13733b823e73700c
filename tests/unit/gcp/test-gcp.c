/* SPDX-License-Identifier: Apache-2.0 */

/* Calls and operations, against a server that answers as told. */

#include "play.h"
#include "world.h"

/* ---- calls ---- */

struct called {
        struct gcp_call *call;
        int calls, status;
        struct gcp_error e;
        struct nb_err err;
};

static void on_called(void *arg, const struct http_in *resp, const struct gcp_error *e,
                      const struct nb_err *err)
{
        struct called *c = arg;

        CHECK(!e == !err);
        c->call = NULL;
        c->calls++;
        c->status = resp ? resp->status : 0;
        if (err) {
                c->err = *err;
                c->e = *e;
        }
}

static void call(struct world *w, struct called *c, bool idempotent)
{
        nb_auto_free char *url = nb_asprintf("%s/api", w->base);
        const struct gcp_request r = {.method = "POST",
                                      .url = url,
                                      .body = "{\"a\":1}",
                                      .n_body = 7,
                                      .idempotent = idempotent};

        *c = (struct called){0};
        CHECK_OK(gcp_call(w->gcp, &r, on_called, c, &c->call, &w->err), &w->err);
        CHECK_INT(c->calls, 0);
}

static void call_now(struct world *w, struct called *c, bool idempotent)
{
        call(w, c, idempotent);
        world_wait(w, &c->calls, 1);
}

TEST(a_call_has_the_token_and_its_body)
{
        struct play p = {0};
        struct called c;
        struct world w;

        world_start(&w, play_serve, &p);
        world_gcp(&w, put_user());
        call_now(&w, &c, false);
        CHECK_INT(c.status, 200);
        CHECK_STR(p.auth, "Bearer tok-1");
        CHECK_STR(p.body, "{\"a\":1}");
        CHECK_STR(p.user_project, "");
        world_stop(&w);
}

TEST(one_forced_refresh_on_401)
{
        struct play p = {0};
        struct called c;
        struct world w;

        world_start(&w, play_serve, &p);
        world_gcp(&w, put_user());
        call_now(&w, &c, false);
        p.tokens = 7; /* the server has forgotten tok-1 */
        call_now(&w, &c, false);
        CHECK_INT(c.status, 200);
        CHECK_STR(p.auth, "Bearer tok-8");
        p.every_401 = true;
        p.asked_calls = 0;
        call_now(&w, &c, true);
        CHECK_INT(c.e.http, 401);
        CHECK_INT(c.err.code, NB_E_DENIED);
        CHECK_INT(p.asked_calls, 2);
        world_stop(&w);
}

TEST(idempotent_calls_are_sent_again)
{
        static const int statuses[] = {0, 408, 429, 500, 502, 503, 504};
        struct play p = {0};
        struct called c;
        struct world w;

        world_start(&w, play_serve, &p);
        world_gcp(&w, put_user());
        for (size_t i = 0; i < NB_ARRAY_SIZE(statuses); i++) {
                p.fail_calls = 3;
                p.fail_status = statuses[i];
                p.asked_calls = 0;
                call_now(&w, &c, true);
                CHECK_INT(c.status, 200);
                CHECK_INT(p.asked_calls, 4);
        }
        p.fail_calls = 1000;
        p.fail_status = 503;
        p.asked_calls = 0;
        call_now(&w, &c, true);
        CHECK_INT(c.e.http, 503);
        CHECK_INT(c.e.tries, 6);
        CHECK_INT(p.asked_calls, 6);
        CHECK(strstr(c.err.msg, "later"));
        p.fail_status = 403;
        p.asked_calls = 0;
        call_now(&w, &c, true);
        CHECK_INT(p.asked_calls, 1);
        CHECK_INT(c.err.code, NB_E_DENIED);
        CHECK(!c.e.unsure);
        world_stop(&w);
}

TEST(other_calls_are_sent_once_and_say_whether_they_may_have_acted)
{
        static const struct {
                int status;
                bool unsure;
        } cases[] = {{0, true}, {408, true}, {500, true}, {503, true}, {429, false}, {400, false}};
        struct play p = {0};
        struct called c;
        struct world w;

        world_start(&w, play_serve, &p);
        world_gcp(&w, put_user());
        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                p.fail_calls = 1;
                p.fail_status = cases[i].status;
                p.asked_calls = 0;
                call_now(&w, &c, false);
                CHECK_INT(p.asked_calls, 1);
                CHECK_INT(c.e.http, cases[i].status);
                CHECK_INT(c.e.unsure, cases[i].unsure);
                CHECK_INT(c.e.tries, 1);
        }
        world_stop(&w);
}

TEST(retry_after_is_obeyed)
{
        struct play p = {.fail_calls = 1, .fail_status = 429, .fail_headers = "Retry-After: 1\r\n"};
        struct called c;
        struct world w;
        uint64_t t0;

        world_start(&w, play_serve, &p);
        world_gcp(&w, put_user());
        t0 = nb_mono_us(&nb_clock_real);
        call_now(&w, &c, true);
        CHECK_INT(c.status, 200);
        CHECK(nb_mono_us(&nb_clock_real) - t0 >= NB_US_PER_S);
        world_stop(&w);
}

TEST(cancelled_calls_are_silent)
{
        struct play p = {.fail_calls = 3, .fail_status = 503};
        struct called a, b;
        struct world w;

        world_start(&w, play_serve, &p);
        world_gcp(&w, put_user());
        call(&w, &a, true); /* waits for its token */
        gcp_call_cancel(a.call);
        call_now(&w, &b, true);
        CHECK_INT(b.status, 200);
        call(&w, &a, true);
        CHECK_OK(loop_step(w.loop, NB_US_PER_S, &w.err), &w.err);
        gcp_call_cancel(a.call);
        call_now(&w, &b, true);
        CHECK_INT(a.calls, 0);
        world_stop(&w);
}

/* ---- operations ---- */

struct operated {
        struct gcp_operation *op;
        int calls;
        char model[64];
        struct gcp_error e;
        struct nb_err err;
};

static void on_operation(void *arg, const struct nb_json *response, const struct gcp_error *e,
                         const struct nb_err *err)
{
        struct operated *o = arg;
        const char *s = nb_json_str(nb_json_get(response, "model"), NULL);

        o->op = NULL;
        o->calls++;
        (void)nb_fmt(o->model, sizeof(o->model), "%s", s ? s : "");
        if (err) {
                o->err = *err;
                o->e = *e;
        }
}

static void operate(struct world *w, struct operated *o, uint64_t timeout_us)
{
        nb_auto_free char *base = nb_asprintf("%s/v1/", w->base);

        *o = (struct operated){0};
        CHECK_OK(gcp_operation_wait(w->gcp, base, "projects/p/operations/7", timeout_us,
                                    on_operation, o, &o->op, &w->err),
                 &w->err);
        world_wait(w, &o->calls, 1);
}

TEST(an_operation_is_waited_for)
{
        struct play p = {.done_after = 2,
                         .operation_end = "{\"done\":true,\"response\":{\"model\":\"m\"}}"};
        struct operated o;
        struct world w;

        world_start(&w, play_serve, &p);
        world_gcp(&w, put_user());
        operate(&w, &o, 60 * NB_US_PER_S);
        CHECK_STR(o.model, "m");
        p.operation_end = "{\"done\":true,\"error\":{\"code\":8,\"message\":\"no GPU\"}}";
        operate(&w, &o, 60 * NB_US_PER_S);
        CHECK_INT(o.e.code, 8);
        CHECK(strstr(o.err.msg, "RESOURCE_EXHAUSTED: no GPU"));
        p.done_after = 1000;
        operate(&w, &o, 0);
        CHECK_INT(o.err.code, NB_E_TIMEOUT);
        CHECK_ERR(gcp_operation_wait(w.gcp, "http://x/v1/", "projects/../operations/1", 1,
                                     on_operation, &o, &o.op, &w.err),
                  &w.err, NB_E_INVALID, "no name of an operation");
        world_stop(&w);
}

NBTEST_MAIN()
