/* SPDX-License-Identifier: Apache-2.0 */

/*
 * test-hook.c - a commit that fails, with a door that fails as it is told: one
 * bad delivery must not take its neighbours along, and a full disk is not tried
 * again for each
 */

#include <nbcid/log.h>
#include <nbcid/str.h>

#include "../../src/web/web-priv.h"

#include "nbtest.h"

struct flow_delivery {
        bool bad, committed;
};

static enum nb_errc failure;
static unsigned commits;
static size_t largest;

int flow_door_new(const struct flow_door_deps *d, struct flow_door **ret, struct nb_err *err)
{
        return nb_fail(err, NB_E_BUG, "not here");
}

struct flow_door *flow_door_free(struct flow_door *d)
{
        return NULL;
}

void flow_door_reconfigure(struct flow_door *d, struct config *c)
{
}

int flow_door_read(struct flow_door *d, const char *forge, const struct http_in *req,
                   struct flow_delivery **ret, struct nb_err *err)
{
        return nb_fail(err, failure, "refused for a reason");
}

int flow_door_commit(struct flow_door *d, struct flow_delivery *const *v, size_t n,
                     struct nb_err *err)
{
        commits++;
        largest = n > largest ? n : largest;
        for (size_t i = 0; i < n; i++)
                if (v[i]->bad)
                        return nb_fail(err, failure, "secret detail");
        for (size_t i = 0; i < n; i++)
                v[i]->committed = true;
        return 0;
}

struct flow_answer flow_delivery_answer(const struct flow_delivery *v)
{
        return (struct flow_answer){.build = 7};
}

struct flow_delivery *flow_delivery_free(struct flow_delivery *v)
{
        free(v);
        return NULL;
}

int flow_door_cancel(struct flow_door *d, int64_t build, struct nb_err *err)
{
        return nb_fail(err, failure, "no");
}

int flow_door_retry_build(struct flow_door *d, int64_t build, int64_t *ret_build,
                          struct nb_err *err)
{
        return nb_fail(err, failure, "no");
}

int flow_door_retry_job(struct flow_door *d, int64_t job, int64_t *ret_build, struct nb_err *err)
{
        return nb_fail(err, failure, "no");
}

int flow_door_ready(struct flow_door *d, struct nb_err *err)
{
        return nb_fail(err, failure, "no");
}

void flow_artifact_dir(int64_t build, int64_t job, char *buf, size_t size)
{
        (void)nb_fmt(buf, size, "none");
}

#define N 150

struct hall {
        struct metrics metrics;
        struct web_app app;
        struct web_request *v[N];
};

static struct hall *hall_new(void)
{
        static const struct http_header headers[] = {{"Host", "x"}};
        struct hall *h = calloc(1, sizeof(*h));
        static struct config config = {.max_body = 1000};
        const char *allow;

        CHECK(h);
        commits = 0;
        largest = 0;
        h->app.deps.metrics = &h->metrics;
        h->app.config = &config;
        for (size_t i = 0; i < N; i++) {
                struct web_request *q = calloc(1, sizeof(*q));

                CHECK(q);
                reply_init(&q->reply);
                q->method = "POST";
                q->headers[0] = headers[0];
                q->n_headers = 1;
                q->route = route_find("POST", "/hooks/github", &q->match, &allow);
                q->delivery = calloc(1, sizeof(*q->delivery));
                CHECK(q->route && q->delivery);
                h->v[i] = q;
        }
        return h;
}

static void hall_free(struct hall *h)
{
        for (size_t i = 0; i < N; i++) {
                request_done(&h->app, h->v[i]);
                free(h->v[i]);
        }
        free(h);
}

static size_t count_status(const struct hall *h, int status)
{
        size_t n = 0;

        for (size_t i = 0; i < N; i++)
                n += h->v[i]->reply.status == status;
        return n;
}

TEST(one_bad_delivery_fails_alone)
{
        struct hall *h = hall_new();

        failure = NB_E_CORRUPT;
        h->v[70]->delivery->bad = true;
        hook_commit(&h->app, h->v, N);
        CHECK_INT(largest, 64);
        CHECK_INT(commits, 3 + 64);
        CHECK_INT(count_status(h, 202), N - 1);
        CHECK_INT(h->v[70]->reply.status, 503);
        CHECK(!strstr(nb_buf_str(&h->v[70]->reply.body), "secret"));
        CHECK_STR(nb_buf_str(&h->v[0]->reply.body), "{\"build\":7}");
        CHECK_INT(atomic_load(&h->metrics.deliveries[DELIVERY_BUSY]), 1);
        hall_free(h);
}

TEST(a_full_disk_is_everybodys)
{
        struct hall *h = hall_new();

        failure = NB_E_IO;
        for (size_t i = 0; i < N; i++)
                h->v[i]->delivery->bad = true;
        hook_commit(&h->app, h->v, N);
        CHECK_INT(commits, 3);
        CHECK_INT(count_status(h, 503), N);
        CHECK_INT(atomic_load(&h->metrics.deliveries[DELIVERY_BUSY]), N);
        hall_free(h);
}

TEST(what_cannot_be_read_is_answered_by_its_class)
{
        static const struct {
                enum nb_errc code;
                int status;
        } cases[] = {{NB_E_DENIED, 401}, {NB_E_NOTFOUND, 404}, {NB_E_INVALID, 400},
                     {NB_E_LIMIT, 400},  {NB_E_NOMEM, 503},    {NB_E_IO, 503},
                     {NB_E_BUG, 503}};
        struct hall *h = hall_new();

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                failure = cases[i].code;
                h->v[i]->delivery = flow_delivery_free(h->v[i]->delivery);
                hook_post(&h->app, h->v[i]);
                CHECK_INT(h->v[i]->reply.status, cases[i].status);
                CHECK(!!strstr(nb_buf_str(&h->v[i]->reply.body), "reason") ==
                      (cases[i].status < 500));
        }
        hall_free(h);
}

TEST(wishes_that_cannot_be_granted)
{
        struct hall *h = hall_new();

        failure = NB_E_CONFLICT;
        api_cancel(&h->app, h->v[0]);
        CHECK_INT(h->v[0]->reply.status, 409);
        failure = NB_E_BUSY;
        api_retry_job(&h->app, h->v[1]);
        CHECK_INT(h->v[1]->reply.status, 503);
        failure = NB_E_CORRUPT;
        api_retry_build(&h->app, h->v[2]);
        CHECK_INT(h->v[2]->reply.status, 500);
        CHECK(!strstr(nb_buf_str(&h->v[2]->reply.body), "\"no\""));
        hall_free(h);
}

int main(int argc, char **argv)
{
        nb_log_setup(NB_LOG_NONE, LOG_ERR);
        return nbtest_run(argc, argv);
}
