/* SPDX-License-Identifier: Apache-2.0 */

/* run.c - from a pending job to its verdict: checkout, start, watch, collect,
 * judge, store */

#include <errno.h>
#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/notebook.h>
#include <nbcid/num.h>

#include "flow-priv.h"

enum run_stage {
        RUN_CHECKOUT, /* on the pool */
        RUN_RUNNING,  /* the executor has it */
        RUN_COLLECT,  /* it ended; what it left is to be taken */
        RUN_JUDGE,    /* on the pool */
        RUN_READY,    /* result is to be stored */
};

struct run {
        struct loop_work work; /* first: the pool hands this back */
        struct flow *flow;     /* NULL: abandoned */
        struct run *next;
        struct config *config;
        struct store_attempt attempt;
        const struct flow_exec *exec;
        struct exec_run *handle;
        enum run_stage stage;
        char *workspace, *artifacts;
        bool cancel_asked, running_stored;
        bool progress; /* to be written: */
        int64_t cells, cells_done, cell;
        struct run_result result;

        /* filled on the pool */
        int r;
        struct nb_err err;
};

static struct run *run_free(struct run *u)
{
        if (!u)
                return NULL;
        config_unref(u->config);
        store_attempt_done(&u->attempt);
        run_result_done(&u->result);
        free(u->workspace);
        free(u->artifacts);
        free(u);
        return NULL;
}
NB_DEFINE_FREEP(struct run *, run_free);

static void run_unlink(struct run *u)
{
        struct run **at = &u->flow->runs;

        while (*at != u)
                at = &(*at)->next;
        *at = u->next;
}

static void run_release(struct run *u)
{
        if (u->handle)
                u->handle->exec->ops->release(u->handle);
        u->handle = NULL;
}

/* It never ran, or we cannot tell: class and reason in place of a verdict. */
static void run_end(struct run *u, enum run_class class, const char *reason)
{
        run_result_done(&u->result);
        u->result = (struct run_result){.class = class,
                                        .reason = nb_utf8_clean(reason, strlen(reason), true)};
        u->stage = RUN_READY;
        flow_look_soon(u->flow);
}

/* ---- the end: judge what came out, on the pool ---- */

/* The executed notebook speaks too: a run that passed must have left one
 * without errors, whatever the executor believes. */
static void judge_verdict(struct run_result *r, struct notebook_verdict *v)
{
        if (v->error_cell == 0 || (r->class != CLASS_PASSED && r->class != CLASS_CELL_ERROR))
                return;
        if (r->class == CLASS_PASSED || !r->ename) {
                r->class = CLASS_CELL_ERROR;
                r->cell = v->error_cell;
                free(r->ename);
                free(r->evalue);
                r->ename = NB_TAKE(v->ename);
                r->evalue = NB_TAKE(v->evalue);
        }
}

static void judge_run(struct loop_work *w)
{
        struct run *u = (struct run *)w;
        nb_auto_fd int dir = open(u->artifacts, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        nb_auto_buf text = NB_BUF(u->config->max_notebook + u->config->max_output);
        struct notebook_verdict v = {0};

        u->r = dir < 0 ? nb_fail_errno(&u->err, errno, "%s", u->artifacts)
                       : nb_read_file(dir, "executed.ipynb", &text, &u->err);
        if (u->r == 0)
                u->r = notebook_judge(nb_buf_str(&text), text.len, &v, &u->err);
        if (u->r == 0)
                judge_verdict(&u->result, &v);
        notebook_verdict_done(&v);
}

static void judge_done(struct loop_work *w)
{
        struct run *u = (struct run *)w;

        if (!u->flow) {
                run_free(u);
                return;
        }
        if (u->r < 0 && u->result.class == CLASS_PASSED) {
                nb_auto_free char *why =
                        nb_asprintf("the executed notebook is missing or broken: %s", u->err.msg);
                run_end(u, CLASS_INFRASTRUCTURE, why ? why : "the executed notebook is missing");
                return;
        }
        u->stage = RUN_READY;
        flow_look_soon(u->flow);
}

/* Take log and notebook out of the run.  They must be safe before the result
 * is stored, since the run directory goes right after.  false: the disk
 * refused, and we come again. */
static bool run_collect(struct run *u)
{
        struct nb_err err;
        nb_auto_fd int dir = -1;
        int r;

        r = nb_mkdirs(AT_FDCWD, u->artifacts, 0700, &err);
        if (r == 0) {
                dir = open(u->artifacts, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                r = dir < 0 ? nb_fail_errno(&err, errno, "%s", u->artifacts)
                            : u->handle->exec->ops->collect(u->handle, dir, &err);
        }
        if (r < 0)
                return flow_store_failed(u->flow, &err, "collect");
        u->stage = RUN_JUDGE;
        u->work.run = judge_run;
        u->work.done = judge_done;
        if (loop_submit(u->flow->deps.loop, &u->work, &err) < 0) {
                u->stage = RUN_COLLECT;
                return flow_store_failed(u->flow, &err, "judge");
        }
        return true;
}

/* When to try an errored attempt again; 0: not. */
static int64_t run_retry_at(const struct run *u)
{
        struct flow *f = u->flow;

        if (run_class_state(u->result.class) != JOB_ERRORED || u->cancel_asked ||
            u->attempt.number > u->config->retries)
                return 0;
        return nb_now_ms(f->deps.clock) + flow_backoff_ms(f, u->attempt.number - 1);
}

static void run_log_end(const struct run *u, int64_t retry_at, bool over)
{
        nb_auto_free char *text = run_result_text(&u->result);

        nb_log(LOG_INFO, retry_at ? "attempt ended, another follows" : "job ended",
               NB_F_INT("build", u->attempt.build), NB_F_INT("job", u->attempt.job),
               NB_F_STR("repository", u->attempt.repository),
               NB_F_STR("notebook", u->attempt.notebook),
               NB_F_STR("result", run_class_name(u->result.class)), NB_F_STR("text", text));
        if (over)
                nb_log(LOG_INFO, "build ended", NB_F_INT("build", u->attempt.build),
                       NB_F_STR("repository", u->attempt.repository));
}

/* Store the verdict, then clean up.  true: the item is gone. */
static bool run_store(struct run *u)
{
        struct flow *f = u->flow;
        struct nb_err err;
        bool over = false;
        int64_t retry_at = run_retry_at(u);
        int r;

        r = store_attempt_finished(f->deps.store, u->attempt.id, &u->result, retry_at, &over, &err);
        if (r < 0 && err.code != NB_E_CONFLICT)
                return flow_store_failed(f, &err, "attempt_finished");
        if (r == 0) {
                run_log_end(u, retry_at, over);
                atomic_fetch_add(&f->deps.metrics->jobs_finished[u->result.class], 1);
                metric_observe(&f->deps.metrics->job_seconds, u->result.wall_us);
        }
        run_release(u);
        if (u->exec)
                u->exec->exec->ops->forget(u->exec->exec, u->attempt.ref);
        loop_remove_tree_take(f->deps.loop, NB_TAKE(u->workspace));
        run_unlink(u);
        run_free(u);
        return true;
}

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
                /* For people only: the verbs that matter say what is wrong. */
                if (store_attempt_progress(f->deps.store, u->attempt.id, u->cells, u->cells_done,
                                           u->cell, &err) < 0)
                        atomic_fetch_add(&f->deps.metrics->store_errors, 1);
        }
}

static void run_event(void *arg, struct exec_run *handle, const struct exec_event *ev)
{
        struct run *u = arg;
        const struct run_result *r = ev->result;

        switch (ev->kind) {
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

static int run_new(struct flow *f, struct store_attempt *a, struct run **ret, struct nb_err *err)
{
        NB_CLEANUP(run_freep) struct run *u = calloc(1, sizeof(*u));
        char dir[64];

        if (!u)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        flow_artifact_dir(a->build, a->job, dir, sizeof(dir));
        u->config = config_ref(f->config);
        u->workspace = nb_asprintf("%s/workspaces/%s", f->config->state_dir, a->ref);
        u->artifacts = nb_asprintf("%s/%s", f->config->state_dir, dir);
        if (!u->workspace || !u->artifacts)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        u->exec = find_exec(f, a->executor);
        u->cancel_asked = a->cancelled;
        u->running_stored = a->state == JOB_RUNNING;
        u->attempt = *a;
        *a = (struct store_attempt){0};
        u->flow = f;
        u->next = f->runs;
        f->runs = u;
        *ret = NB_TAKE(u);
        return 0;
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

int run_adopt(struct flow *f, const struct store_attempt *a, struct nb_err *err)
{
        struct store_attempt copy = *a;
        struct run *u;
        int r;

        /* The row is borrowed; the run keeps its own. */
        copy.ref = nb_strdup(a->ref);
        copy.executor = nb_strdup(a->executor);
        copy.forge = nb_strdup(a->forge);
        copy.repository = nb_strdup(a->repository);
        copy.git_ref = nb_strdup(a->git_ref);
        copy.commit = nb_strdup(a->commit);
        copy.notebook = nb_strdup(a->notebook);
        copy.environment = (struct nb_environment){.kernel = nb_strdup(a->environment.kernel),
                                                   .language = nb_strdup(a->environment.language),
                                                   .image = nb_strdup(a->environment.image)};
        r = run_new(f, &copy, &u, err);
        if (r < 0) {
                store_attempt_done(&copy);
                return r;
        }
        if (!u->exec) {
                run_end(u, CLASS_LOST, "its executor is not in the configuration any more");
                return 0;
        }
        r = u->exec->exec->ops->attach(u->exec->exec, u->attempt.ref, run_event, u, &u->handle,
                                       err);
        if (r == 0) {
                u->stage = RUN_RUNNING;
                if (u->cancel_asked)
                        run_ask_cancel(u);
        } else if (err->code != NB_E_NOTFOUND) {
                run_end(u, CLASS_LOST, err->msg);
        } else if (u->cancel_asked) {
                run_end(u, CLASS_CANCELLED, "cancelled before it started");
        } else {
                run_checkout(u); /* the intent was stored, the act never happened */
        }
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

static bool run_advance(struct run *u)
{
        struct flow *f = u->flow;
        struct nb_err err;

        if (u->stage == RUN_READY)
                return run_store(u);
        if (u->stage == RUN_COLLECT)
                return run_collect(u);
        if (u->stage == RUN_RUNNING && !u->running_stored) {
                if (store_attempt_running(f->deps.store, u->attempt.id, &err) < 0 &&
                    err.code != NB_E_CONFLICT)
                        return flow_store_failed(f, &err, "attempt_running");
                u->running_stored = true;
                nb_log(LOG_INFO, "job running", NB_F_INT("build", u->attempt.build),
                       NB_F_INT("job", u->attempt.job),
                       NB_F_STR("repository", u->attempt.repository),
                       NB_F_STR("notebook", u->attempt.notebook), NB_F_STR("ref", u->attempt.ref));
        }
        return true;
}

bool run_look(struct flow *f)
{
        nb_auto_free struct store_room *rooms = NULL;
        struct store_attempt a = {0};
        struct nb_err err;
        struct run *u;
        int r;

        for (struct run *at = f->runs, *next; at; at = next) {
                next = at->next;
                if (!run_advance(at))
                        return false;
        }
        rooms = nb_alloc_array(f->deps.n_execs ? f->deps.n_execs : 1, sizeof(*rooms));
        if (!rooms)
                return true;
        while (!f->draining) {
                for (size_t i = 0; i < f->deps.n_execs; i++) {
                        const struct flow_exec *x = &f->deps.execs[i];
                        uint32_t used = runs_of(f, x);

                        rooms[i].executor = x->name;
                        rooms[i].free = x->slots > used ? x->slots - used : 0;
                }
                r = store_pick_job(f->deps.store, rooms, f->deps.n_execs,
                                   f->config->jobs_per_repository, &a, &err);
                if (r < 0)
                        return flow_store_failed(f, &err, "pick_job");
                if (r == 0)
                        return true;
                if (run_new(f, &a, &u, &err) < 0) {
                        /* The attempt is in the store: the next start adopts it. */
                        store_attempt_done(&a);
                        return flow_store_failed(f, &err, "start of a run");
                }
                run_checkout(u);
        }
        return true;
}

void run_cancel(struct flow *f, int64_t build)
{
        for (struct run *u = f->runs; u; u = u->next)
                if (u->attempt.build == build)
                        run_ask_cancel(u);
}

unsigned run_count(const struct flow *f)
{
        unsigned n = 0;

        for (const struct run *u = f->runs; u; u = u->next)
                n++;
        return n;
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
