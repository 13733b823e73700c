/* SPDX-License-Identifier: Apache-2.0 */

/* fake.c - an executor without processes, for the story's tests
 *
 * Runs live in a world that outlives the executor, as real ones outlive the
 * daemon: a handle only looks at them. */

#include <errno.h>
#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/str.h>

#include "exec-priv.h"

struct world_run { /* one that began */
        char *ref, *notebook;
        unsigned starts;
        bool cancelled, finished, lost, forgotten;
        struct world_run *next;
};

struct exec_fake_world {
        struct world_run *runs; /* forgotten ones too: starts are counted for ever */
        unsigned starts;
};

struct fake {
        struct exec base; /* first */
        struct exec_fake_world *world;
        struct exec_deps deps;
};

struct fake_run {
        struct exec_run base; /* first */
        struct fake *fake;
        struct world_run *run; /* the world's */
        exec_event_fn fn;
        void *arg;
        struct loop_source *soon;
        bool told, telling, released; /* released from inside its own event: freed after it */
};

struct exec_fake_world *exec_fake_world_new(void)
{
        return calloc(1, sizeof(struct exec_fake_world));
}

static void world_run_free(struct world_run *r)
{
        free(r->ref);
        free(r->notebook);
        free(r);
}

struct exec_fake_world *exec_fake_world_free(struct exec_fake_world *w)
{
        while (w && w->runs) {
                struct world_run *next = w->runs->next;

                world_run_free(w->runs);
                w->runs = next;
        }
        free(w);
        return NULL;
}

static struct world_run *world_find(const struct exec_fake_world *w, const char *ref)
{
        for (struct world_run *r = w->runs; r; r = r->next)
                if (nb_streq(r->ref, ref))
                        return r;
        return NULL;
}

unsigned exec_fake_starts(const struct exec_fake_world *w, const char *ref)
{
        const struct world_run *r = world_find(w, ref);

        return r ? r->starts : 0;
}

unsigned exec_fake_total_starts(const struct exec_fake_world *w)
{
        return w->starts;
}

/* "lost" is lost once for each notebook of this world. */
static bool world_was_lost(const struct exec_fake_world *w, const char *notebook)
{
        for (const struct world_run *r = w->runs; r; r = r->next)
                if (r->lost && nb_streq(r->notebook, notebook))
                        return true;
        return false;
}

static int world_begin(struct exec_fake_world *w, const struct exec_job *job,
                       struct world_run **ret, struct nb_err *err)
{
        struct world_run *r = world_find(w, job->ref);

        if (!r) {
                r = calloc(1, sizeof(*r));
                if (!r)
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
                r->ref = nb_strdup(job->ref);
                if (!r->ref) {
                        world_run_free(r);
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
                }
                r->next = w->runs;
                w->runs = r;
        }
        if (r->starts > 0 && !r->forgotten)
                return nb_fail(err, NB_E_CONFLICT, "run %s was started before", job->ref);
        free(r->notebook);
        r->notebook = nb_strdup(job->notebook);
        if (!r->notebook)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r->cancelled = r->finished = r->forgotten = false;
        r->lost = strstr(r->notebook, "lost") && !world_was_lost(w, r->notebook);
        r->starts++;
        w->starts++;
        *ret = r;
        return 0;
}

/* ---- a run's events ---- */

/* false: the run was released meanwhile. */
static bool tell(struct fake_run *u, const struct exec_event *ev)
{
        u->telling = true;
        u->fn(u->arg, &u->base, ev);
        u->telling = false;
        return !u->released;
}

static bool run_fails(const struct world_run *r)
{
        return strstr(r->notebook, "fail") && !r->cancelled;
}

static struct run_result result_of(const struct world_run *r)
{
        if (r->cancelled)
                return (struct run_result){.class = CLASS_CANCELLED, .cells = 2, .cells_done = 1};
        if (r->lost)
                return (struct run_result){.class = CLASS_LOST,
                                           .reason = nb_strdup("the fake lost it")};
        if (run_fails(r))
                return (struct run_result){.class = CLASS_CELL_ERROR,
                                           .cell = 2,
                                           .cells = 2,
                                           .cells_done = 1,
                                           .ename = nb_strdup("ValueError"),
                                           .evalue = nb_strdup("boom"),
                                           .wall_us = 1000};
        return (struct run_result){
                .class = CLASS_PASSED, .cells = 2, .cells_done = 2, .wall_us = 1000};
}

static void run_free(struct fake_run *u)
{
        free(u);
}

/* One round of the loop after start, attach or cancel. */
static void run_soon(void *arg)
{
        struct fake_run *u = arg;
        struct world_run *r = u->run;
        bool kept;

        u->soon = loop_source_free(u->soon);
        if (u->told)
                return;
        kept = tell(u, &(struct exec_event){.kind = EXEC_RUNNING}) &&
               tell(u, &(struct exec_event){
                               .kind = EXEC_CELL, .cells = 2, .cells_done = 1, .cell = 2});
        if (kept && (r->cancelled || r->finished || !strstr(r->notebook, "slow"))) {
                struct run_result result = result_of(r);

                r->finished = u->told = true;
                kept = tell(u, &(struct exec_event){.kind = EXEC_FINISHED, .result = &result});
                run_result_done(&result);
        }
        if (!kept)
                run_free(u);
}

static int run_later(struct fake_run *u, struct nb_err *err)
{
        return u->soon ? 0 : loop_defer(u->fake->deps.loop, run_soon, u, &u->soon, err);
}

static void fake_release(struct exec_run *run)
{
        struct fake_run *u = (struct fake_run *)run;

        u->soon = loop_source_free(u->soon);
        u->released = true;
        if (!u->telling)
                run_free(u);
}

static int run_make(struct fake *x, struct world_run *r, exec_event_fn fn, void *arg,
                    struct exec_run **ret, struct nb_err *err)
{
        struct fake_run *u = calloc(1, sizeof(*u));
        int e;

        if (!u)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *u = (struct fake_run){.base.exec = &x->base, .fake = x, .run = r, .fn = fn, .arg = arg};
        e = run_later(u, err);
        if (e < 0) {
                run_free(u);
                return e;
        }
        *ret = &u->base;
        return 0;
}

/* ---- the operations ---- */

static int fake_start(struct exec *x, const struct exec_job *job, exec_event_fn fn, void *arg,
                      struct exec_run **ret, struct nb_err *err)
{
        struct fake *f = (struct fake *)x;
        struct world_run *run = NULL;
        int r = world_begin(f->world, job, &run, err);

        return r < 0 ? r : run_make(f, run, fn, arg, ret, err);
}

static int fake_attach(struct exec *x, const char *ref, exec_event_fn fn, void *arg,
                       struct exec_run **ret, struct nb_err *err)
{
        struct fake *f = (struct fake *)x;
        struct world_run *run = world_find(f->world, ref);

        if (!run || run->starts == 0 || run->forgotten)
                return nb_fail(err, NB_E_NOTFOUND, "run %s never began", ref);
        return run_make(f, run, fn, arg, ret, err);
}

static int fake_cancel(struct exec_run *run, struct nb_err *err)
{
        struct fake_run *u = (struct fake_run *)run;

        if (u->run->finished)
                return 0;
        u->run->cancelled = true;
        return run_later(u, err);
}

static const char passed_notebook[] =
        "{\"cells\":[{\"cell_type\":\"markdown\",\"metadata\":{},\"source\":\"# fake\"},"
        "{\"cell_type\":\"code\",\"execution_count\":1,\"metadata\":{},\"outputs\":[],"
        "\"source\":\"x = 1\"},{\"cell_type\":\"code\",\"execution_count\":2,\"metadata\":{},"
        "\"outputs\":[],\"source\":\"x\"}],\"metadata\":{},\"nbformat\":4,"
        "\"nbformat_minor\":4}\n";
static const char failed_notebook[] =
        "{\"cells\":[{\"cell_type\":\"code\",\"execution_count\":1,\"metadata\":{},"
        "\"outputs\":[],\"source\":\"x = 1\"},{\"cell_type\":\"code\",\"execution_count\":2,"
        "\"metadata\":{},\"outputs\":[{\"output_type\":\"error\",\"ename\":\"ValueError\","
        "\"evalue\":\"boom\",\"traceback\":[\"ValueError: boom\"]}],"
        "\"source\":\"raise ValueError('boom')\"}],\"metadata\":{},\"nbformat\":4,"
        "\"nbformat_minor\":4}\n";
static const char log_text[] = "the fake ran\n";

static int fake_collect(struct exec_run *run, int dirfd, struct nb_err *err)
{
        struct fake_run *u = (struct fake_run *)run;
        const char *text = run_fails(u->run) ? failed_notebook : passed_notebook;
        int r;

        r = nb_write_file(dirfd, "log.txt", log_text, strlen(log_text), 0600, false, err);
        if (r < 0 || u->run->lost)
                return r;
        return nb_write_file(dirfd, "executed.ipynb", text, strlen(text), 0600, false, err);
}

static void fake_forget(struct exec *x, const char *ref)
{
        struct world_run *r = world_find(((struct fake *)x)->world, ref);

        if (r && r->finished)
                r->forgotten = true;
}

static void fake_sweep(struct exec *x, bool (*keep)(void *arg, const char *ref), void *arg)
{
        struct fake *f = (struct fake *)x;

        for (struct world_run *r = f->world->runs; r; r = r->next)
                if (!r->forgotten && !keep(arg, r->ref))
                        r->finished = r->forgotten = true;
}

static void fake_close(struct exec *x)
{
        free(x);
}

static const struct exec_ops fake_ops = {
        .name = "fake",
        .caps = EXEC_CAP_SURVIVES,
        .close = fake_close,
        .start = fake_start,
        .attach = fake_attach,
        .cancel = fake_cancel,
        .collect = fake_collect,
        .release = fake_release,
        .forget = fake_forget,
        .sweep = fake_sweep,
};

int exec_fake_open(struct exec_fake_world *w, const struct exec_deps *deps, struct exec **ret,
                   struct nb_err *err)
{
        struct fake *x = calloc(1, sizeof(*x));

        if (!x)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *x = (struct fake){.base.ops = &fake_ops, .world = w, .deps = *deps};
        *ret = &x->base;
        return 0;
}
