/* SPDX-License-Identifier: Apache-2.0 */

/* api.c - builds and jobs as JSON, and what an operator may ask for */

#include <nbcid/json.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "web-priv.h"

struct writer {
        struct web_app *app;
        struct nb_json_out out;
        uint32_t left;   /* rows that still belong to the answer */
        int64_t last_id; /* of those written */
        bool more;
};

static void put_time(struct nb_json_out *o, const char *key, int64_t ms)
{
        char text[NB_RFC3339_SIZE];

        if (ms != 0)
                nb_rfc3339(ms, text);
        nb_json_kv_str(o, key, ms != 0 ? text : NULL);
}

static void put_number(struct nb_json_out *o, const char *key, int64_t v)
{
        nb_json_key(o, key);
        if (v != 0)
                nb_json_put_int(o, v);
        else
                nb_json_put_null(o);
}

static void put_seconds(struct nb_json_out *o, const char *key, int64_t ms)
{
        nb_json_key(o, key);
        if (ms > 0)
                nb_json_put_double(o, (double)ms / 1000);
        else
                nb_json_put_null(o);
}

static void put_url(struct writer *w, const char *what, int64_t id)
{
        char url[1200];

        (void)nb_fmt(url, sizeof(url), "%s/%s/%lld", w->app->config->public_url, what,
                     (long long)id);
        nb_json_kv_str(&w->out, "url", url);
}

/* An open object: jobs may follow. */
static int put_build(void *arg, const struct view_build *b)
{
        struct writer *w = arg;
        struct nb_json_out *o = &w->out;

        nb_json_open_object(o);
        nb_json_kv_int(o, "id", b->id);
        nb_json_kv_str(o, "repository", b->repository);
        nb_json_kv_str(o, "forge", b->forge);
        nb_json_kv_str(o, "ref", b->ref);
        nb_json_kv_str(o, "commit", b->commit);
        nb_json_kv_str(o, "trigger", trigger_name(b->trigger));
        nb_json_kv_str(o, "state", build_state_name(b->state));
        nb_json_kv_bool(o, "cancelling", b->cancelling);
        nb_json_kv_str(o, "reason", b->reason);
        nb_json_kv_str(o, "title", b->title);
        nb_json_kv_str(o, "author", b->author);
        put_number(o, "retry_of", b->retry_of);
        nb_json_key(o, "counts");
        nb_json_open_object(o);
        nb_json_kv_int(o, "jobs", b->jobs);
        nb_json_kv_int(o, "final", b->jobs_final);
        nb_json_kv_int(o, "passed", b->jobs_passed);
        nb_json_close(o);
        put_time(o, "created_at", b->created_ms);
        put_time(o, "started_at", b->started_ms);
        put_time(o, "finished_at", b->finished_ms);
        put_url(w, "builds", b->id);
        return 0;
}

static int put_listed_build(void *arg, const struct view_build *b)
{
        struct writer *w = arg;

        if (w->left == 0) {
                w->more = true;
                return 0;
        }
        w->left--;
        w->last_id = b->id;
        put_build(w, b);
        nb_json_close(&w->out);
        return 0;
}

/* An open object: attempts may follow. */
static int put_job(void *arg, const struct view_job *j)
{
        struct writer *w = arg;
        struct nb_json_out *o = &w->out;
        const char *class = run_class_name(j->class);

        nb_json_open_object(o);
        nb_json_kv_int(o, "id", j->id);
        nb_json_kv_int(o, "build", j->build);
        nb_json_kv_str(o, "notebook", j->notebook);
        nb_json_kv_str(o, "kind", j->kind);
        nb_json_kv_str(o, "state", job_state_name(j->state));
        nb_json_kv_str(o, "class", class[0] ? class : NULL);
        nb_json_kv_str(o, "reason", j->reason);
        put_number(o, "cell", j->cell);
        nb_json_kv_str(o, "ename", j->ename);
        nb_json_kv_str(o, "evalue", j->evalue);
        nb_json_kv_str(o, "executor", j->executor);
        nb_json_key(o, "environment");
        if (j->environment && j->environment[0])
                nb_json_put_raw(o, j->environment);
        else
                nb_json_put_null(o);
        nb_json_key(o, "findings");
        nb_json_put_raw(o, j->findings && j->findings[0] ? j->findings : "[]");
        put_time(o, "created_at", j->created_ms);
        put_time(o, "started_at", j->started_ms);
        put_time(o, "finished_at", j->finished_ms);
        put_seconds(o, "seconds",
                    j->finished_ms - j->started_ms > 0 && j->started_ms > 0
                            ? j->finished_ms - j->started_ms
                            : 0);
        nb_json_kv_int(o, "cells", j->cells);
        nb_json_kv_int(o, "cells_done", j->cells_done);
        put_url(w, "jobs", j->id);
        return 0;
}

static int put_build_job(void *arg, const struct view_job *j)
{
        struct writer *w = arg;

        put_job(w, j);
        nb_json_close(&w->out);
        return 0;
}

/* What it ran on, and how long the service had it running: what it costs. */
static void put_machine(struct nb_json_out *o, const struct view_attempt *t)
{
        int64_t ms = t->machine_started_ms && t->machine_ended_ms > t->machine_started_ms
                             ? t->machine_ended_ms - t->machine_started_ms
                             : 0;

        nb_json_key(o, "machine");
        if (!t->machine_type) {
                nb_json_put_null(o);
                return;
        }
        nb_json_open_object(o);
        nb_json_kv_str(o, "type", t->machine_type);
        nb_json_kv_str(o, "accelerator", t->accelerator);
        nb_json_kv_int(o, "accelerators", t->accelerators);
        nb_json_kv_str(o, "region", t->region);
        nb_json_kv_bool(o, "spot", t->spot);
        put_time(o, "started_at", t->machine_started_ms);
        put_time(o, "ended_at", t->machine_ended_ms);
        put_seconds(o, "seconds", ms);
        nb_json_close(o);
}

static int put_attempt(void *arg, const struct view_attempt *t)
{
        struct nb_json_out *o = &((struct writer *)arg)->out;
        const char *class = run_class_name(t->class);

        nb_json_open_object(o);
        nb_json_kv_int(o, "id", t->id);
        nb_json_kv_int(o, "number", t->number);
        nb_json_kv_str(o, "ref", t->ref);
        nb_json_kv_str(o, "executor", t->executor);
        nb_json_kv_str(o, "state", job_state_name(t->state));
        nb_json_kv_str(o, "class", class[0] ? class : NULL);
        nb_json_kv_str(o, "reason", t->reason);
        put_time(o, "created_at", t->created_ms);
        put_time(o, "started_at", t->started_ms);
        put_time(o, "finished_at", t->finished_ms);
        put_seconds(o, "seconds", (int64_t)(t->wall_us / 1000));
        put_seconds(o, "cpu_seconds", (int64_t)(t->cpu_us / 1000));
        put_number(o, "memory_peak_bytes", (int64_t)t->mem_peak);
        put_machine(o, t);
        nb_json_close(o);
        return 0;
}

/* ---- the filter of lists ---- */

bool filter_parse(struct web_app *a, struct web_request *q, struct view_filter *ret)
{
        const char *state = target_param(&q->target, "state");
        const char *limit = target_param(&q->target, "limit");
        const char *before = target_param(&q->target, "before");
        uint64_t n = WEB_LIMIT_DEFAULT;
        enum build_state s = BUILD_QUEUED;
        int64_t id = 0;
        struct nb_err err;

        if (state && !build_state_parse(state, &s)) {
                reply_problem(a, q, 400,
                              "state is not one of queued, preparing, running, passed, failed, "
                              "errored, cancelled");
                return false;
        }
        if (limit && nb_parse_u64(limit, 1, WEB_LIMIT_MAX, &n, &err) < 0) {
                reply_problem(a, q, 400, "limit: %s", err.msg);
                return false;
        }
        if (before && nb_parse_i64(before, 1, INT64_MAX, &id, &err) < 0) {
                reply_problem(a, q, 400, "before: %s", err.msg);
                return false;
        }
        *ret = (struct view_filter){.repository = target_param(&q->target, "repository"),
                                    .state = state ? (int)s : -1,
                                    .before = id,
                                    .limit = (uint32_t)n};
        return true;
}

void filter_query(struct nb_buf *b, const struct view_filter *f, int64_t before)
{
        char mark = '?';

        if (f->repository) {
                nb_auto_free char *text = nb_url_encode(f->repository, true);

                (void)nb_buf_printf(b, "%crepository=%s", mark, text ? text : "");
                mark = '&';
        }
        if (f->state >= 0) {
                (void)nb_buf_printf(b, "%cstate=%s", mark,
                                    build_state_name((enum build_state)f->state));
                mark = '&';
        }
        if (f->limit != WEB_LIMIT_DEFAULT) {
                (void)nb_buf_printf(b, "%climit=%u", mark, f->limit);
                mark = '&';
        }
        if (before > 0)
                (void)nb_buf_printf(b, "%cbefore=%lld", mark, (long long)before);
}

/* ---- handlers ---- */

static void begin(struct writer *w, struct web_app *a, struct web_request *q)
{
        *w = (struct writer){.app = a,
                             .out = NB_JSON_OUT(reply_start(&q->reply, 200, "application/json"))};
}

static void missing(struct web_app *a, struct web_request *q, int r, const char *what,
                    const struct nb_err *err)
{
        if (r < 0)
                reply_failure(a, q, err);
        else
                reply_problem(a, q, 404, "there is no %s %lld", what, (long long)q->match.id);
}

void api_builds(struct web_app *a, struct web_request *q)
{
        nb_auto_buf next = NB_BUF(65536);
        struct view_filter f, wider;
        struct writer w;
        struct nb_err err;

        if (!filter_parse(a, q, &f))
                return;
        begin(&w, a, q);
        w.left = f.limit;
        wider = f;
        wider.limit++; /* one more tells whether there is a next page */
        nb_json_open_object(&w.out);
        nb_json_key(&w.out, "builds");
        nb_json_open_array(&w.out);
        if (store_view_builds(a->view, &wider, put_listed_build, &w, &err) < 0) {
                reply_failure(a, q, &err);
                return;
        }
        nb_json_close(&w.out);
        (void)nb_buf_puts(&next, "/api/v1/builds");
        filter_query(&next, &f, w.last_id);
        nb_json_kv_str(&w.out, "next", w.more ? nb_buf_str(&next) : NULL);
        nb_json_close(&w.out);
}

void api_build(struct web_app *a, struct web_request *q)
{
        struct writer w;
        struct nb_err err;
        int r;

        begin(&w, a, q);
        r = store_view_build(a->view, q->match.id, put_build, &w, &err);
        if (r <= 0) {
                missing(a, q, r, "build", &err);
                return;
        }
        nb_json_key(&w.out, "jobs");
        nb_json_open_array(&w.out);
        if (store_view_jobs(a->view, q->match.id, put_build_job, &w, &err) < 0) {
                reply_failure(a, q, &err);
                return;
        }
        nb_json_close(&w.out);
        nb_json_close(&w.out);
}

void api_job(struct web_app *a, struct web_request *q)
{
        struct writer w;
        struct nb_err err;
        int r;

        begin(&w, a, q);
        r = store_view_job(a->view, q->match.id, put_job, &w, &err);
        if (r <= 0) {
                missing(a, q, r, "job", &err);
                return;
        }
        nb_json_key(&w.out, "attempts");
        nb_json_open_array(&w.out);
        if (store_view_attempts(a->view, q->match.id, put_attempt, &w, &err) < 0) {
                reply_failure(a, q, &err);
                return;
        }
        nb_json_close(&w.out);
        nb_json_close(&w.out);
}

/* The answer to an operator's wish. */
static void answer_wish(struct web_app *a, struct web_request *q, int r, int64_t build,
                        const struct nb_err *err)
{
        struct nb_json_out o;

        if (r == -NB_E_NOTFOUND || r == -NB_E_CONFLICT) {
                reply_problem(a, q, nb_errc_policy(err->code)->http, "%s", err->msg);
                return;
        }
        if (r < 0) {
                reply_failure(a, q, err);
                return;
        }
        o = NB_JSON_OUT(reply_start(&q->reply, 202, "application/json"));
        nb_json_open_object(&o);
        nb_json_kv_int(&o, "build", build);
        nb_json_close(&o);
}

void api_cancel(struct web_app *a, struct web_request *q)
{
        struct nb_err err;
        int r = flow_door_cancel(a->door, q->match.id, &err);

        answer_wish(a, q, r, q->match.id, &err);
}

void api_retry_build(struct web_app *a, struct web_request *q)
{
        struct nb_err err;
        int64_t build = 0;
        int r = flow_door_retry_build(a->door, q->match.id, &build, &err);

        answer_wish(a, q, r, build, &err);
}

void api_retry_job(struct web_app *a, struct web_request *q)
{
        struct nb_err err;
        int64_t build = 0;
        int r = flow_door_retry_job(a->door, q->match.id, &build, &err);

        answer_wish(a, q, r, build, &err);
}
