/* SPDX-License-Identifier: Apache-2.0 */

/* run.c - from a pending job to a run that ended: checkout, start, watch */

#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>

#include "run-priv.h"

/* A start may come with trouble (descriptors, memory, a far executor): as long
 * we ask for the runs of the former process before they count as lost. */
#define ATTACH_US (60 * NB_US_PER_S)

/* ---- the middle: what the executor tells ---- */

/* Cells may end a thousand times a second; people look once.  The last word is
 * kept and written when its time comes. */
static void run_progress(struct run *u, const struct exec_event *ev)
{
        u->cells = ev->cells;
        u->cells_done = ev->cells_done;
        u->cell = ev->cell;
        if (!u->progress) {
                u->progress = true;
                progress_soon(u->flow);
        }
}

void run_store_progress(struct flow *f)
{
        struct nb_err err;

        for (struct run *u = f->runs; u; u = u->next) {
                if (!u->progress || u->stage != RUN_RUNNING)
                        continue;
                if (!u->running_stored) {
                        progress_soon(f);
                        continue;
                }
                u->progress = false;
                /* For people only: the verbs that matter say what is wrong.  A store
                 * that is slow to refuse is not asked for each run. */
                if (store_attempt_progress(f->deps.store, u->attempt.id, u->cells, u->cells_done,
                                           u->cell, &err) < 0 &&
                    err.code != NB_E_CONFLICT) {
                        atomic_fetch_add(&f->deps.metrics->store_errors, 1);
                        progress_soon(f);
                        return;
                }
        }
}

static void run_event(void *arg, struct exec_run *handle, const struct exec_event *ev)
{
        struct run *u = arg;
        const struct run_result *r = ev->result;

        switch (ev->kind) {
        case EXEC_WAITS:
        case EXEC_SUBMITTED:
                return;
        case EXEC_RUNNING:
                flow_look_soon(u->flow);
                return;
        case EXEC_CELL:
                run_progress(u, ev);
                return;
        case EXEC_FINISHED:
                run_result_done(&u->result);
                u->result = *r;
                u->result.ename = nb_strdup(r->ename);
                u->result.evalue = nb_strdup(r->evalue);
                u->result.reason = nb_strdup(r->reason);
                u->result.machine = (struct run_machine){0};
                (void)run_machine_copy(&r->machine, &u->result.machine, NULL);
                u->stage = RUN_COLLECT;
                flow_look_soon(u->flow);
                return;
        }
}

static void run_ask_cancel(struct run *u)
{
        struct nb_err err;

        u->cancel_asked = true;
        if (u->stage == RUN_CHECKOUT)
                atomic_store(&u->work.cancel, true);
        else if (u->stage == RUN_RUNNING && u->handle &&
                 u->handle->exec->ops->cancel(u->handle, &err) < 0)
                nb_log_err(LOG_WARNING, &err, "a run could not be cancelled",
                           NB_F_INT("job", u->attempt.job));
}

/* ---- the beginning: checkout on the pool, then start ---- */

static void checkout_run(struct loop_work *w)
{
        struct run *u = (struct run *)w;
        const struct config *c = u->config;
        struct git_answer answer = {0};
        struct flow_remote m;

        u->r = nb_rm_tree(AT_FDCWD, u->workspace, &u->err);
        if (u->r == 0)
                u->r = flow_remote_init(c, u->attempt.forge, u->attempt.repository, &m, &u->err);
        if (u->r < 0)
                return;
        u->r = git_call(&(struct git_request){.op = GIT_CHECKOUT,
                                              .mirror = m.mirror,
                                              .remote = m.remote,
                                              .limits = {.timeout_us = c->fetch_timeout_us,
                                                         .max_receive = c->max_repository,
                                                         .max_checkout = c->max_repository,
                                                         .max_blob = c->max_notebook},
                                              .commit = u->attempt.commit,
                                              .ref = u->attempt.git_ref,
                                              .workspace = u->workspace,
                                              .cancel = &u->work.cancel},
                        &answer, &u->err);
        for (size_t i = 0; u->r == 0 && i < answer.warnings.n; i++)
                nb_log(LOG_WARNING, "checkout", NB_F_INT("job", u->attempt.job),
                       NB_F_STR("warning", answer.warnings.v[i]));
        git_answer_done(&answer);
        flow_remote_done(&m);
}

static int run_start(struct run *u, struct nb_err *err)
{
        const struct exec_ops *ops = u->exec->exec->ops;
        struct exec_job job = {
                .ref = u->attempt.ref,
                .forge = u->attempt.forge,
                .repository = u->attempt.repository,
                .commit = u->attempt.commit,
                .workspace = u->workspace,
                .notebook = u->attempt.notebook,
                .environment = &u->attempt.environment,
                .timeout_us = u->attempt.timeout_us,
                .cell_timeout_us = u->attempt.cell_timeout_us,
                .max_output = u->config->max_output,
        };
        int r;

        r = ops->start(u->exec->exec, &job, run_event, u, &u->handle, err);
        if (r < 0 && err->code == NB_E_CONFLICT)
                r = ops->attach(u->exec->exec, u->attempt.ref, run_event, u, &u->handle, err);
        return r;
}

static void checkout_done(struct loop_work *w)
{
        struct run *u = (struct run *)w;
        struct nb_err err;

        if (!u->flow) {
                run_free(u);
                return;
        }
        if (u->cancel_asked) {
                run_end(u, CLASS_CANCELLED, "cancelled before it started");
                return;
        }
        if (u->r < 0) {
                run_end(u, CLASS_INFRASTRUCTURE, u->err.msg);
                return;
        }
        if (run_start(u, &err) < 0) {
                run_end(u, CLASS_INFRASTRUCTURE, err.msg);
                return;
        }
        u->stage = RUN_RUNNING;
        flow_look_soon(u->flow);
}

static const struct flow_exec *find_exec(const struct flow *f, const char *name)
{
        for (size_t i = 0; i < f->deps.n_execs; i++)
                if (nb_streq(f->deps.execs[i].name, name))
                        return &f->deps.execs[i];
        return NULL;
}

/* u has its attempt: put it among the others.  What fails is how it ended. */
static bool run_begin(struct flow *f, struct run *u)
{
        const struct store_attempt *a = &u->attempt;
        char dir[64];

        flow_artifact_dir(a->build, a->job, dir, sizeof(dir));
        u->config = config_ref(f->config);
        u->workspace = nb_asprintf("%s/workspaces/%s", f->config->state_dir, a->ref);
        u->artifacts = nb_asprintf("%s/%s", f->config->state_dir, dir);
        u->exec = find_exec(f, a->executor);
        u->cancel_asked = a->cancelled;
        u->running_stored = a->state == JOB_RUNNING;
        u->flow = f;
        u->next = f->runs;
        f->runs = u;
        f->n_runs++;
        if (!u->workspace || !u->artifacts)
                run_end(u, CLASS_INFRASTRUCTURE, "out of memory");
        else if (!u->exec)
                run_end(u, CLASS_LOST, "its executor is not in the configuration any more");
        return u->stage != RUN_READY;
}

static void run_checkout(struct run *u)
{
        struct nb_err err;

        u->stage = RUN_CHECKOUT;
        u->work.run = checkout_run;
        u->work.done = checkout_done;
        if (loop_submit(u->flow->deps.loop, &u->work, &err) < 0)
                run_end(u, CLASS_INFRASTRUCTURE, err.msg);
}

static void run_attach(struct run *u)
{
        struct nb_err err;
        int r = u->exec->exec->ops->attach(u->exec->exec, u->attempt.ref, run_event, u, &u->handle,
                                           &err);

        if (r == 0) {
                u->stage = RUN_RUNNING;
                u->trouble = false;
                if (u->cancel_asked)
                        run_ask_cancel(u);
                flow_look_soon(u->flow);
        } else if (err.code == NB_E_NOTFOUND && u->cancel_asked) {
                run_end(u, CLASS_CANCELLED, "cancelled before it started");
        } else if (err.code == NB_E_NOTFOUND) {
                run_checkout(u); /* the intent was stored, the act never happened */
        } else if (nb_errc_policy(err.code)->retry &&
                   nb_mono_us(u->flow->deps.clock) < u->attach_until_us) {
                u->stage = RUN_ATTACH; /* given up now, it would run twice */
                run_again(u, &err, "attach");
        } else {
                run_end(u, CLASS_LOST, err.msg);
        }
}

static int attempt_copy(const struct store_attempt *a, struct store_attempt *ret,
                        struct nb_err *err)
{
        NB_CLEANUP(store_attempt_done) struct store_attempt c = *a;
        int r;

        c.ref = nb_strdup(a->ref);
        c.executor = nb_strdup(a->executor);
        c.forge = nb_strdup(a->forge);
        c.repository = nb_strdup(a->repository);
        c.git_ref = nb_strdup(a->git_ref);
        c.commit = nb_strdup(a->commit);
        c.notebook = nb_strdup(a->notebook);
        c.environment = (struct nb_environment){0};
        r = nb_environment_copy(&a->environment, &c.environment, err);
        if (r < 0)
                return r;
        if (!c.ref || !c.executor || !c.forge || !c.repository || !c.git_ref || !c.commit ||
            !c.notebook)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *ret = c;
        c = (struct store_attempt){0};
        return 0;
}

int run_adopt(struct flow *f, const struct store_attempt *a, struct nb_err *err)
{
        NB_CLEANUP(run_freep) struct run *u = calloc(1, sizeof(*u));
        int r;

        if (!u)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        /* The row is borrowed; the run keeps its own. */
        r = attempt_copy(a, &u->attempt, err);
        if (r < 0)
                return r;
        u->attach_until_us = nb_mono_us(f->deps.clock) + ATTACH_US;
        if (run_begin(f, u))
                run_attach(u);
        (void)NB_TAKE(u);
        return 0;
}

/* ---- what is due ---- */

static uint32_t runs_of(const struct flow *f, const struct flow_exec *x)
{
        uint32_t n = 0;

        for (const struct run *u = f->runs; u; u = u->next)
                n += u->exec == x;
        return n;
}

static bool run_store_running(struct run *u)
{
        struct nb_err err;

        if (store_attempt_running(u->flow->deps.store, u->attempt.id, &err) < 0 &&
            err.code != NB_E_CONFLICT)
                return flow_store_failed(u->flow, &err, "attempt_running");
        u->running_stored = true;
        nb_log(LOG_INFO, "job running", NB_F_INT("build", u->attempt.build),
               NB_F_INT("job", u->attempt.job), NB_F_STR("repository", u->attempt.repository),
               NB_F_STR("notebook", u->attempt.notebook), NB_F_STR("ref", u->attempt.ref));
        return true;
}

/* false: the store failed. */
static bool run_advance(struct run *u)
{
        if (u->stage == RUN_READY)
                return run_store(u);
        if (u->stage == RUN_RUNNING && !u->running_stored)
                return run_store_running(u);
        if (u->stage == RUN_COLLECT)
                run_collect(u);
        else if (u->stage == RUN_ATTACH)
                run_attach(u);
        return true;
}

/* Pick a job and begin with it.  1: one was taken, 0: none is due.  All that
 * can fail without a trace does so before it is picked. */
static int run_next(struct flow *f, struct store_room *rooms, struct nb_err *err)
{
        NB_CLEANUP(run_freep) struct run *u = calloc(1, sizeof(*u));
        int r;

        if (!u)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        for (size_t i = 0; i < f->deps.n_execs; i++) {
                const struct flow_exec *x = &f->deps.execs[i];
                uint32_t used = runs_of(f, x);

                rooms[i].executor = x->name;
                rooms[i].free = x->slots > used ? x->slots - used : 0;
        }
        r = store_pick_job(f->deps.store, rooms, f->deps.n_execs, f->config->jobs_per_repository,
                           &u->attempt, err);
        if (r <= 0)
                return r;
        if (run_begin(f, u))
                run_checkout(u);
        (void)NB_TAKE(u);
        return 1;
}

bool run_look(struct flow *f)
{
        nb_auto_free struct store_room *rooms = NULL;
        struct nb_err err;
        int r = 1;

        for (struct run *at = f->runs, *next; at; at = next) {
                next = at->next;
                if (!run_advance(at))
                        return false;
        }
        rooms = nb_alloc_array(f->deps.n_execs, sizeof(*rooms));
        if (!rooms) {
                flow_again(f);
                return true;
        }
        while (r > 0 && flow_may_start(f))
                r = run_next(f, rooms, &err);
        return r >= 0 || flow_store_failed(f, &err, "pick_job");
}

void run_cancel(struct flow *f, int64_t build)
{
        for (struct run *u = f->runs; u; u = u->next)
                if (u->attempt.build == build)
                        run_ask_cancel(u);
}

bool run_has_ref(const struct flow *f, const char *ref)
{
        for (const struct run *u = f->runs; u; u = u->next)
                if (nb_streq(u->attempt.ref, ref))
                        return true;
        return false;
}

void run_abandon(struct flow *f)
{
        while (f->runs) {
                struct run *u = f->runs;
                bool on_pool = u->stage == RUN_CHECKOUT || u->stage == RUN_JUDGE;

                run_release(u);
                run_unlink(u);
                u->flow = NULL;
                atomic_store(&u->work.cancel, true);
                if (!on_pool)
                        run_free(u);
        }
}
