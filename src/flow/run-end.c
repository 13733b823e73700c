/* SPDX-License-Identifier: Apache-2.0 */

/* run-end.c - from the end of a run to its verdict: collect, judge, store */

#include <errno.h>
#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/notebook.h>
#include <nbcid/num.h>

#include "run-priv.h"

struct run *run_free(struct run *u)
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

void run_unlink(struct run *u)
{
        struct run **at = &u->flow->runs;

        while (*at != u)
                at = &(*at)->next;
        *at = u->next;
        u->flow->n_runs--;
}

void run_release(struct run *u)
{
        if (u->handle)
                u->handle->exec->ops->release(u->handle);
        u->handle = NULL;
}

void run_end(struct run *u, enum run_class class, const char *reason)
{
        char *text = nb_utf8_clean(reason, strlen(reason), true);
        struct run_machine machine = u->result.machine; /* it ran there all the same */
        uint64_t wall_us = u->result.wall_us;

        u->result.machine = (struct run_machine){0};
        run_result_done(&u->result);
        u->result = (struct run_result){
                .class = class, .reason = text, .machine = machine, .wall_us = wall_us};
        u->stage = RUN_READY;
        flow_look_soon(u->flow);
}

void run_again(struct run *u, const struct nb_err *err, const char *what)
{
        if (!u->trouble)
                nb_log_err(LOG_ERR, err, "trouble with a run; trying again every second",
                           NB_F_STR("step", what), NB_F_INT("build", u->attempt.build),
                           NB_F_INT("job", u->attempt.job), NB_F_STR("ref", u->attempt.ref));
        u->trouble = true;
        flow_again(u->flow);
}

/* ---- judge what came out, on the pool ---- */

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

/* A run that did not pass keeps its own words; one that did has nothing to
 * show for it. */
static void run_unjudged(struct run *u, const struct nb_err *err)
{
        nb_auto_free char *why = NULL;

        if (u->result.class != CLASS_PASSED) {
                u->stage = RUN_READY;
                flow_look_soon(u->flow);
                return;
        }
        why = nb_asprintf("the executed notebook is missing or broken: %s", err->msg);
        run_end(u, CLASS_INFRASTRUCTURE, why ? why : "the executed notebook is missing");
}

static void judge_done(struct loop_work *w)
{
        struct run *u = (struct run *)w;

        if (!u->flow) {
                run_free(u);
                return;
        }
        if (u->r < 0) {
                run_unjudged(u, &u->err);
                return;
        }
        u->stage = RUN_READY;
        flow_look_soon(u->flow);
}

/* An earlier attempt of this job may have left its own files there, which must
 * not speak for this one. */
static int collect_into(struct run *u, struct nb_err *err)
{
        static const char *const names[] = {"executed.ipynb", "log.txt", "environment.json",
                                            "environment.lock", "environment.log.txt"};
        nb_auto_fd int dir = -1;
        int r;

        r = nb_mkdirs(AT_FDCWD, u->artifacts, 0700, err);
        if (r < 0)
                return r;
        dir = open(u->artifacts, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return nb_fail_errno(err, errno, "%s", u->artifacts);
        for (size_t i = 0; i < NB_ARRAY_SIZE(names); i++)
                if (unlinkat(dir, names[i], 0) < 0 && errno != ENOENT)
                        return nb_fail_errno(err, errno, "%s/%s", u->artifacts, names[i]);
        u->handle->max_executed = u->config->max_notebook + u->config->max_output;
        return u->handle->exec->ops->collect(u->handle, dir, err);
}

/* Log and notebook must be safe before the result is stored, since the run
 * directory goes right after: while the disk refuses, we come again.  The
 * others do not wait for that: what hinders may be of this run alone. */
void run_collect(struct run *u)
{
        struct nb_err err;

        if (collect_into(u, &err) < 0) {
                if (nb_errc_policy(err.code)->retry)
                        run_again(u, &err, "collect");
                else
                        run_unjudged(u, &err);
                return;
        }
        u->stage = RUN_JUDGE;
        u->work.run = judge_run;
        u->work.done = judge_done;
        if (loop_submit(u->flow->deps.loop, &u->work, &err) < 0) {
                u->stage = RUN_COLLECT;
                run_again(u, &err, "judge");
        }
}

/* ---- store ---- */

/* When to try an errored attempt again; 0: not. */
static int64_t run_retry_at(const struct run *u)
{
        struct flow *f = u->flow;

        /* Nobody would ever pick a job whose executor is gone. */
        if (!run_class_retry(u->result.class) || u->cancel_asked || !u->exec ||
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

bool run_store(struct run *u)
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
