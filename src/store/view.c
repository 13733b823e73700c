/* SPDX-License-Identifier: Apache-2.0 */
/* rows for pages and the API */
#include "rows.h"

#include <nbcid/store_view.h>
#include <nbcid/str.h>

int store_view_open(const char *path, struct store_view **ret, struct nb_err *err)
{
        NB_CLEANUP(store_view_closep) struct store_view *v = calloc(1, sizeof(*v));
        int r;

        if (!v)
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        r = db_open(&v->db, path, DB_READ, NULL, err);
        if (r < 0)
                return r;
        *ret = NB_TAKE(v);
        return 0;
}

struct store_view *store_view_close(struct store_view *v)
{
        if (v) {
                db_done(&v->db);
                free(v);
        }
        return NULL;
}

/* Step through q; row() hands one out. */
static int each(struct stmt *q, int (*row)(struct stmt *q, void *fn, void *arg, struct nb_err *err),
                void *fn, void *arg, struct nb_err *err)
{
        int n = 0, r;

        while ((r = stmt_step(q, err)) == 1) {
                r = row(q, fn, arg, err);
                if (r < 0)
                        return r;
                n++;
        }
        return r < 0 ? r : n;
}

/* A pointer to function does not fit void *: it goes by its address. */
typedef int build_fn(void *arg, const struct view_build *b);
typedef int job_fn(void *arg, const struct view_job *j);
typedef int attempt_fn(void *arg, const struct view_attempt *a);

/* ---- builds ---- */

static int build_row(struct stmt *q, void *fn, void *arg, struct nb_err *err)
{
        struct view_build b = {
                .id = col_int(q, "id"),
                .forge = col_text(q, "forge"),
                .repository = col_text(q, "repository"),
                .ref = col_text(q, "ref"),
                .commit = col_text(q, "commit_oid"),
                .title = col_text(q, "title"),
                .author = col_text(q, "author"),
                .reason = col_text(q, "reason"),
                .created_ms = col_int(q, "created_ms"),
                .started_ms = col_int(q, "started_ms"),
                .finished_ms = col_int(q, "finished_ms"),
                .retry_of = col_int(q, "retry_of"),
                .jobs = col_int(q, "jobs"),
                .jobs_final = col_int(q, "jobs_final"),
                .jobs_passed = col_int(q, "jobs_passed"),
        };

        if (!trigger_parse(col_text(q, "cause"), &b.trigger))
                return col_fail(q, "cause", err);
        if (!build_state_parse(col_text(q, "state"), &b.state))
                return col_fail(q, "state", err);
        b.cancelling = col_int(q, "cancel") != 0 && !build_state_final(b.state);
        return (*(build_fn **)fn)(arg, &b);
}

int store_view_builds(struct store_view *v, const struct view_filter *f,
                      int (*fn)(void *arg, const struct view_build *b), void *arg,
                      struct nb_err *err)
{
        const char *state = f->state >= 0 ? build_state_name((enum build_state)f->state) : NULL;
        const struct bind before = B_INT(f->before > 0 ? f->before : INT64_MAX);
        const struct bind limit = B_INT(f->limit);
        nb_auto_stmt *q = NULL;
        int r;

        if (f->repository && state)
                r = stmt_get(&v->db, SQL_VIEW_BUILDS_OF_IN,
                             BINDS(before, limit, B_TEXT(f->repository), B_TEXT(state)), &q, err);
        else if (f->repository)
                r = stmt_get(&v->db, SQL_VIEW_BUILDS_OF,
                             BINDS(before, limit, B_TEXT(f->repository)), &q, err);
        else if (state)
                r = stmt_get(&v->db, SQL_VIEW_BUILDS_IN, BINDS(before, limit, B_TEXT(state)), &q,
                             err);
        else
                r = stmt_get(&v->db, SQL_VIEW_BUILDS, BINDS(before, limit), &q, err);
        return r < 0 ? r : each(q, build_row, &fn, arg, err);
}

int store_view_build(struct store_view *v, int64_t id,
                     int (*fn)(void *arg, const struct view_build *b), void *arg,
                     struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(&v->db, SQL_VIEW_BUILD, BINDS(B_INT(id)), &q, err);

        return r < 0 ? r : each(q, build_row, &fn, arg, err);
}

/* ---- jobs ---- */

static int job_row(struct stmt *q, void *fn, void *arg, struct nb_err *err)
{
        struct view_job j = {
                .id = col_int(q, "id"),
                .build = col_int(q, "build"),
                .forge = col_text(q, "forge"),
                .repository = col_text(q, "repository"),
                .commit = col_text(q, "commit_oid"),
                .notebook = col_text(q, "notebook"),
                .kind = col_text(q, "kind"),
                .executor = col_text(q, "executor"),
                .environment = col_text(q, "environment"),
                .findings = col_text(q, "findings"),
                .reason = col_text(q, "reason"),
                .ename = col_text(q, "ename"),
                .evalue = col_text(q, "evalue"),
                .cell = col_int(q, "cell"),
                .cells = col_int(q, "cells"),
                .cells_done = col_int(q, "cells_done"),
                .created_ms = col_int(q, "created_ms"),
                .started_ms = col_int(q, "started_ms"),
                .finished_ms = col_int(q, "finished_ms"),
                .artifacts = col_int(q, "artifacts") != 0,
        };

        if (!job_state_parse(col_text(q, "state"), &j.state))
                return col_fail(q, "state", err);
        if (!run_class_parse(col_text(q, "class"), &j.class))
                return col_fail(q, "class", err);
        return (*(job_fn **)fn)(arg, &j);
}

int store_view_jobs(struct store_view *v, int64_t build,
                    int (*fn)(void *arg, const struct view_job *j), void *arg, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(&v->db, SQL_VIEW_JOBS, BINDS(B_INT(build)), &q, err);

        return r < 0 ? r : each(q, job_row, &fn, arg, err);
}

int store_view_job(struct store_view *v, int64_t id, int (*fn)(void *arg, const struct view_job *j),
                   void *arg, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(&v->db, SQL_VIEW_JOB, BINDS(B_INT(id)), &q, err);

        return r < 0 ? r : each(q, job_row, &fn, arg, err);
}

/* ---- attempts ---- */

static int attempt_row(struct stmt *q, void *fn, void *arg, struct nb_err *err)
{
        struct view_attempt a = {
                .id = col_int(q, "id"),
                .number = col_int(q, "number"),
                .ref = col_text(q, "ref"),
                .executor = col_text(q, "executor"),
                .reason = col_text(q, "reason"),
                .created_ms = col_int(q, "created_ms"),
                .started_ms = col_int(q, "started_ms"),
                .finished_ms = col_int(q, "finished_ms"),
                .wall_us = (uint64_t)col_int(q, "wall_us"),
                .cpu_us = (uint64_t)col_int(q, "cpu_us"),
                .mem_peak = (uint64_t)col_int(q, "mem_peak"),
                .machine_type = col_text(q, "machine_type"),
                .accelerator = col_text(q, "accelerator"),
                .region = col_text(q, "region"),
                .accelerators = col_int(q, "accelerators"),
                .machine_started_ms = col_int(q, "machine_started_ms"),
                .machine_ended_ms = col_int(q, "machine_ended_ms"),
                .spot = col_int(q, "spot") != 0,
        };

        if (!job_state_parse(col_text(q, "state"), &a.state))
                return col_fail(q, "state", err);
        if (!run_class_parse(col_text(q, "class"), &a.class))
                return col_fail(q, "class", err);
        return (*(attempt_fn **)fn)(arg, &a);
}

int store_view_attempts(struct store_view *v, int64_t job,
                        int (*fn)(void *arg, const struct view_attempt *a), void *arg,
                        struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(&v->db, SQL_VIEW_ATTEMPTS, BINDS(B_INT(job)), &q, err);

        return r < 0 ? r : each(q, attempt_row, &fn, arg, err);
}

/* ---- gauges ---- */

static int gauge_builds(struct db *d, struct view_gauges *g, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(d, SQL_GAUGE_BUILDS, BINDS(), &q, err);

        if (r < 0)
                return r;
        while ((r = stmt_step(q, err)) == 1) {
                enum build_state s;

                if (!build_state_parse(col_text(q, "state"), &s))
                        return col_fail(q, "state", err);
                g->builds[s] = col_int(q, "n");
        }
        return r;
}

static int gauge_jobs(struct db *d, struct view_gauges *g, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(d, SQL_GAUGE_JOBS, BINDS(), &q, err);

        if (r < 0)
                return r;
        while ((r = stmt_step(q, err)) == 1) {
                enum job_state s;

                if (!job_state_parse(col_text(q, "state"), &s))
                        return col_fail(q, "state", err);
                g->jobs[s] = col_int(q, "n");
        }
        return r;
}

int store_view_gauges(struct store_view *v, struct view_gauges *ret, struct nb_err *err)
{
        struct view_gauges g = {0};
        int r;

        if ((r = gauge_builds(&v->db, &g, err)) < 0 || (r = gauge_jobs(&v->db, &g, err)) < 0 ||
            (r = stmt_int(&v->db, SQL_GAUGE_OUTBOX, BINDS(), &g.outbox_waiting, err)) < 0 ||
            (r = stmt_int(&v->db, SQL_GAUGE_OLDEST, BINDS(), &g.oldest_queued_ms, err)) < 0 ||
            (r = stmt_int(&v->db, SQL_GAUGE_SIZE, BINDS(), &g.db_bytes, err)) < 0)
                return r;
        *ret = g;
        return 0;
}
