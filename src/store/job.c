/* SPDX-License-Identifier: Apache-2.0 */
/* jobs and their attempts: from submitting to their end */
#include "rows.h"

#include <inttypes.h>

#include <nbcid/str.h>

/* ---- rows ---- */

void store_attempt_done(struct store_attempt *a)
{
        if (!a)
                return;
        free(a->ref);
        free(a->executor);
        free(a->forge);
        free(a->repository);
        free(a->git_ref);
        free(a->commit);
        free(a->notebook);
        nb_environment_done(&a->environment);
        *a = (struct store_attempt){0};
}

int attempt_fill(struct store *s, struct stmt *q, struct store_attempt *a, struct nb_err *err)
{
        const char *environment;
        int r;

        a->id = col_int(q, "id");
        a->job = col_int(q, "job");
        a->build = col_int(q, "build");
        a->number = (uint32_t)col_int(q, "number");
        a->timeout_us = (uint64_t)col_int(q, "timeout_us");
        a->cell_timeout_us = (uint64_t)col_int(q, "cell_timeout_us");
        a->cancelled = col_int(q, "cancel") != 0;
        if (!job_state_parse(col_text(q, "state"), &a->state))
                return col_fail(q, "state", err);
        a->ref = nb_asprintf("nbcid-%s-%" PRId64, s->instance, a->id);
        if (!a->ref)
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        if ((r = col_dup(q, "executor", &a->executor, err)) < 0 ||
            (r = col_dup(q, "forge", &a->forge, err)) < 0 ||
            (r = col_dup(q, "repository", &a->repository, err)) < 0 ||
            (r = col_dup(q, "ref", &a->git_ref, err)) < 0 ||
            (r = col_dup(q, "commit_oid", &a->commit, err)) < 0 ||
            (r = col_dup(q, "notebook", &a->notebook, err)) < 0)
                return r;
        environment = col_text(q, "environment");
        r = nb_environment_read(environment, strlen(environment), &a->environment, err);
        if (r == -NB_E_INVALID || r == -NB_E_LIMIT)
                return nb_fail(err, NB_E_CORRUPT, "job %lld: %s; restore a copy", (long long)a->job,
                               err->msg);
        return r;
}

struct job_row {
        int64_t id;
        const char *notebook; /* borrowed */
        bool notify;
        enum job_state state;
};

/* An attempt that is submitting or running, and its job. */
struct flight {
        struct store_attempt a;
        struct job_row job;
        int64_t owner; /* of its commit's notes */
};

static void flight_done(struct flight *f)
{
        store_attempt_done(&f->a);
}

static int flight_load(struct store *s, int64_t attempt, struct flight *f, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(&s->db, SQL_ATTEMPT_GET, BINDS(B_INT(attempt)), &q, err);

        if (r < 0)
                return r;
        r = stmt_step(q, err);
        if (r < 0)
                return r;
        if (r == 0)
                return nb_fail(err, NB_E_CONFLICT, "there is no attempt %" PRId64, attempt);
        r = attempt_fill(s, q, &f->a, err);
        if (r < 0)
                return r;
        f->owner = col_int(q, "owner");
        f->job = (struct job_row){
                .id = f->a.job, .notebook = f->a.notebook, .notify = col_int(q, "notify") != 0};
        if (!job_state_parse(col_text(q, "job_state"), &f->job.state))
                return col_fail(q, "job_state", err);
        if (job_state_final(f->a.state))
                return nb_fail(err, NB_E_CONFLICT, "attempt %" PRId64 " has ended: it is %s",
                               attempt, job_state_name(f->a.state));
        return 0;
}

/* ---- ends ---- */

/* A job from one state to a final one, its notes, and the build's end with the
 * last of them. */
static int job_end(struct db *d, struct build_row *b, const struct job_row *j,
                   const struct run_result *res, const char *text, struct nb_err *err)
{
        const struct note_place place = place_of(b);
        const enum job_state to = run_class_state(res->class);
        const char *reason = to == JOB_PASSED ? res->reason : text;
        int r;

        nb_assert(job_may_move(j->state, to));
        r = moved(stmt_run(d, SQL_JOB_END,
                           BINDS(B_INT(j->id), B_TEXT(job_state_name(j->state)),
                                 B_TEXT(job_state_name(to)), B_TEXT(run_class_name(res->class)),
                                 B_TEXT(reason), B_TEXT(res->ename), B_TEXT(res->evalue),
                                 B_INT(res->cell), B_INT(res->cells), B_INT(res->cells_done),
                                 B_INT(nb_now_ms(d->clock))),
                           err),
                  "job", j->id, err);
        if (r < 0)
                return r;
        if (j->notify) {
                r = note_job(d, &place, j->id, j->notebook, note_of_job(to), text, err);
                if (r < 0)
                        return r;
        }
        r = build_count(d, b, 1, to == JOB_PASSED, err);
        if (r < 0)
                return r;
        return b->jobs_final == b->jobs ? build_close(d, b, err) : note_progress(d, b, err);
}

static int job_again(struct db *d, const struct build_row *b, const struct job_row *j,
                     const char *why, int64_t retry_at_ms, struct nb_err *err)
{
        const struct note_place place = place_of(b);
        nb_auto_free char *text = nb_asprintf("retrying: %s", why);
        int r;

        if (!text)
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        nb_assert(job_may_move(j->state, JOB_PENDING));
        r = moved(stmt_run(d, SQL_JOB_AGAIN,
                           BINDS(B_INT(j->id), B_TEXT(job_state_name(j->state)), B_INT(retry_at_ms),
                                 B_TEXT(text)),
                           err),
                  "job", j->id, err);
        if (r < 0 || !j->notify)
                return r;
        return note_job(d, &place, j->id, j->notebook, NOTE_PENDING, text, err);
}

static int attempt_end(struct db *d, const struct flight *f, const struct run_result *res,
                       const char *text, struct nb_err *err)
{
        const enum job_state to = run_class_state(res->class);
        const struct run_machine *m = &res->machine;

        nb_assert(job_may_move(f->a.state, to));
        return moved(
                stmt_run(d, SQL_ATTEMPT_END,
                         BINDS(B_INT(f->a.id), B_TEXT(job_state_name(f->a.state)),
                               B_TEXT(job_state_name(to)), B_TEXT(run_class_name(res->class)),
                               B_TEXT(to == JOB_PASSED ? res->reason : text),
                               B_INT(nb_now_ms(d->clock)), B_INT(res->wall_us), B_INT(res->cpu_us),
                               B_INT(res->mem_peak), B_TEXT(m->type), B_TEXT(m->accelerator),
                               B_INT(m->accelerators), B_TEXT(m->region), B_INT(m->spot),
                               B_INT(m->started_ms), B_INT(m->ended_ms)),
                         err),
                "attempt", f->a.id, err);
}

/* ---- verbs ---- */

int store_attempt_running(struct store *s, int64_t attempt, struct nb_err *err)
{
        NB_CLEANUP(flight_done) struct flight f = {0};
        nb_auto_tx tx = {0};
        const int64_t now = nb_now_ms(s->db.clock);
        int r = store_begin(s, "attempt_running", &tx, err);

        if (r < 0)
                return r;
        r = flight_load(s, attempt, &f, err);
        if (r < 0)
                return r;
        nb_assert(job_may_move(JOB_SUBMITTING, JOB_RUNNING));
        r = moved(stmt_run(&s->db, SQL_ATTEMPT_RUN, BINDS(B_INT(attempt), B_INT(now)), err),
                  "attempt", attempt, err);
        if (r < 0)
                return r;
        r = moved(stmt_run(&s->db, SQL_JOB_RUN, BINDS(B_INT(f.a.job), B_INT(now)), err), "job",
                  f.a.job, err);
        if (r >= 0 && f.job.notify) {
                const struct note_place place = {.forge = f.a.forge,
                                                 .repository = f.a.repository,
                                                 .ref = f.a.git_ref,
                                                 .commit = f.a.commit,
                                                 .owner = f.owner,
                                                 .build = f.a.build};
                r = note_job(&s->db, &place, f.a.job, f.a.notebook, NOTE_RUNNING, "running", err);
        }
        if (r < 0)
                return r;
        return tx_commit(&tx, err);
}

int store_attempt_progress(struct store *s, int64_t attempt, int64_t cells, int64_t cells_done,
                           int64_t cell, struct nb_err *err)
{
        nb_auto_tx tx = {0};
        int r = store_begin_relaxed(s, "attempt_progress", &tx, err);

        if (r < 0)
                return r;
        r = moved(stmt_run(&s->db, SQL_JOB_PROGRESS,
                           BINDS(B_INT(attempt), B_INT(cells), B_INT(cells_done), B_INT(cell)),
                           err),
                  "attempt", attempt, err);
        if (r < 0)
                return r;
        return tx_commit(&tx, err);
}

int store_attempt_finished(struct store *s, int64_t attempt, const struct run_result *res,
                           int64_t retry_at_ms, bool *ret_over, struct nb_err *err)
{
        NB_CLEANUP(flight_done) struct flight f = {0};
        nb_auto_tx tx = {0};
        nb_auto_build_row b = {0};
        nb_auto_free char *text = run_result_text(res);
        bool over;
        int r;

        if (!text)
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        r = store_begin(s, "attempt_finished", &tx, err);
        if (r < 0)
                return r;
        r = flight_load(s, attempt, &f, err);
        if (r < 0)
                return r;
        r = build_load_in(&s->db, f.a.build, BUILD_RUNNING, &b, err);
        if (r < 0)
                return r;
        r = attempt_end(&s->db, &f, res, text, err);
        if (r < 0)
                return r;
        /* nothing starts any more in a build that was asked to stop */
        if (retry_at_ms > 0 && !b.cancel)
                r = job_again(&s->db, &b, &f.job, text, retry_at_ms, err);
        else
                r = job_end(&s->db, &b, &f.job, res, text, err);
        if (r < 0)
                return r;
        over = build_state_final(b.state);
        r = tx_commit(&tx, err);
        if (r < 0)
                return r;
        *ret_over = over;
        return 0;
}

int store_each_inflight(struct store *s, int (*fn)(void *arg, const struct store_attempt *a),
                        void *arg, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = store_verb(s, "each_inflight", err);

        if (r < 0)
                return r;
        r = stmt_get(&s->db, SQL_ATTEMPTS_FLYING, BINDS(), &q, err);
        if (r < 0)
                return r;
        while ((r = stmt_step(q, err)) == 1) {
                NB_CLEANUP(store_attempt_done) struct store_attempt a = {0};

                r = attempt_fill(s, q, &a, err);
                if (r < 0)
                        return r;
                r = fn(arg, &a);
                if (r < 0)
                        return r;
        }
        return r;
}

/* ---- orphans ---- */

/* One pending job of that executor -> errored.  1: there was one. */
static int orphan_fail(struct store *s, const char *executor, struct nb_err *err)
{
        nb_auto_tx tx = {0};
        nb_auto_build_row b = {0};
        nb_auto_stmt *q = NULL;
        nb_auto_free char *text = NULL;
        struct run_result res = {.class = CLASS_INFRASTRUCTURE};
        struct job_row j;
        int r = tx_begin(&s->db, &tx, err);

        if (r < 0)
                return r;
        r = stmt_get(&s->db, SQL_JOB_ORPHAN, BINDS(B_TEXT(executor)), &q, err);
        if (r < 0)
                return r;
        r = stmt_step(q, err);
        if (r <= 0)
                return r;
        r = build_load_in(&s->db, col_int(q, "build"), BUILD_RUNNING, &b, err);
        if (r < 0)
                return r;
        text = nb_asprintf("executor \"%s\" is not configured any more", executor);
        if (!text)
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        res.cells = col_int(q, "cells");
        j = (struct job_row){.id = col_int(q, "id"),
                             .notebook = col_text(q, "notebook"),
                             .notify = col_int(q, "notify") != 0,
                             .state = JOB_PENDING};
        r = job_end(&s->db, &b, &j, &res, text, err);
        if (r < 0)
                return r;
        r = tx_commit(&tx, err);
        return r < 0 ? r : 1;
}

static int executors_of(struct store *s, struct nb_strv *ret, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(&s->db, SQL_JOB_EXECUTORS, BINDS(), &q, err);

        if (r < 0)
                return r;
        while ((r = stmt_step(q, err)) == 1)
                if (nb_strv_add(ret, col_text(q, "executor")) < 0)
                        return nb_fail(err, NB_E_NOMEM, "memory is out");
        return r;
}

int store_fail_orphans(struct store *s, const char *const *names, size_t *ret_n, struct nb_err *err)
{
        NB_CLEANUP(nb_strv_done) struct nb_strv executors = {0};
        size_t n = 0;
        int r = store_verb(s, "fail_orphans", err);

        if (r < 0)
                return r;
        r = executors_of(s, &executors, err);
        for (size_t i = 0; r >= 0 && i < executors.n; i++) {
                bool known = false;

                for (size_t k = 0; names[k]; k++)
                        known = known || nb_streq(names[k], executors.v[i]);
                /* each job its own transaction: intake is let in between */
                while (!known && (r = orphan_fail(s, executors.v[i], err)) == 1)
                        n++;
        }
        if (r < 0)
                return r;
        *ret_n = n;
        return 0;
}
