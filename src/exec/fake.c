/* SPDX-License-Identifier: Apache-2.0 */

/*
 * fake.c - an executor without processes, for flow's tests
 *
 * Runs live in a world that outlives the executor, as real ones outlive the
 * daemon: a test plays a restart by closing and opening on the same world.
 */

#include <nbcid/fs.h>
#include <nbcid/str.h>

#include "exec-priv.h"

enum fake_state { FAKE_RUNNING, FAKE_OVER };

struct fake_entry { /* one run that the world knows */
        char *ref, *notebook;
        enum fake_state state;
        enum run_class class;
        unsigned starts;
        struct fake_entry *next;
};

struct exec_fake_world {
        struct fake_entry *entries;
        struct nb_strv lost; /* notebooks that were lost once already */
        unsigned starts;
};

struct fake {
        struct exec base; /* first */
        struct exec_fake_world *world;
        struct exec_deps deps;
};

struct fake_run {
        struct exec_run base; /* first */
        struct fake_entry *entry;
        exec_event_fn fn;
        void *arg;
        struct loop_source *later;
};

struct exec_fake_world *exec_fake_world_new(void)
{
        return calloc(1, sizeof(struct exec_fake_world));
}

struct exec_fake_world *exec_fake_world_free(struct exec_fake_world *w)
{
        while (w && w->entries) {
                struct fake_entry *e = w->entries;

                w->entries = e->next;
                free(e->ref);
                free(e->notebook);
                free(e);
        }
        if (w)
                nb_strv_done(&w->lost);
        free(w);
        return NULL;
}

static struct fake_entry *find(const struct exec_fake_world *w, const char *ref)
{
        struct fake_entry *e = w->entries;

        while (e && !nb_streq(e->ref, ref))
                e = e->next;
        return e;
}

unsigned exec_fake_starts(const struct exec_fake_world *w, const char *ref)
{
        const struct fake_entry *e = find(w, ref);

        return e ? e->starts : 0;
}

unsigned exec_fake_total_starts(const struct exec_fake_world *w)
{
        return w->starts;
}

static void fake_close(struct exec *x)
{
        free(x);
}

static enum run_class class_of(struct exec_fake_world *w, const char *notebook)
{
        if (strstr(notebook, "fail"))
                return CLASS_CELL_ERROR;
        if (strstr(notebook, "lost") && !nb_strv_has(&w->lost, notebook))
                return nb_strv_add(&w->lost, notebook) == 0 ? CLASS_LOST : CLASS_INFRASTRUCTURE;
        return CLASS_PASSED;
}

static void tell(void *arg)
{
        struct fake_run *u = arg;
        struct run_result r = {.class = u->entry->class, .cells = 2, .cells_done = 2};

        u->later = loop_source_free(u->later);
        if (u->entry->class == CLASS_CELL_ERROR) {
                r.cell = 2;
                r.cells_done = 1;
                r.ename = nb_strdup("ValueError");
                r.evalue = nb_strdup("boom");
        }
        u->fn(u->arg, &u->base, &(struct exec_event){.kind = EXEC_FINISHED, .result = &r});
        run_result_done(&r);
}

/* Slow ones have nothing to tell until they are cancelled. */
static int tell_soon(struct fake_run *u, struct nb_err *err)
{
        struct fake *x = (struct fake *)u->base.exec;

        if (u->entry->state != FAKE_OVER || u->later)
                return 0;
        return loop_defer(x->deps.loop, tell, u, &u->later, err);
}

static void fake_release(struct exec_run *run)
{
        struct fake_run *u = (struct fake_run *)run;

        loop_source_free(u->later);
        free(u);
}

static int handle(struct fake *x, struct fake_entry *e, exec_event_fn fn, void *arg,
                  struct exec_run **ret, struct nb_err *err)
{
        struct fake_run *u = calloc(1, sizeof(*u));
        int r;

        if (!u)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        u->base.exec = &x->base;
        u->entry = e;
        u->fn = fn;
        u->arg = arg;
        r = tell_soon(u, err);
        if (r < 0) {
                fake_release(&u->base);
                return r;
        }
        *ret = &u->base;
        return 0;
}

static int fake_start(struct exec *base, const struct exec_job *job, exec_event_fn fn, void *arg,
                      struct exec_run **ret, struct nb_err *err)
{
        struct fake *x = (struct fake *)base;
        struct fake_entry *e;

        if (find(x->world, job->ref))
                return nb_fail(err, NB_E_CONFLICT, "run %s was started before", job->ref);
        e = calloc(1, sizeof(*e));
        if (!e)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        e->ref = nb_strdup(job->ref);
        e->notebook = nb_strdup(job->notebook);
        e->state = strstr(job->notebook, "slow") ? FAKE_RUNNING : FAKE_OVER;
        e->class = class_of(x->world, job->notebook);
        e->starts = 1;
        e->next = x->world->entries;
        x->world->entries = e;
        x->world->starts++;
        return handle(x, e, fn, arg, ret, err);
}

static int fake_attach(struct exec *base, const char *ref, exec_event_fn fn, void *arg,
                       struct exec_run **ret, struct nb_err *err)
{
        struct fake *x = (struct fake *)base;
        struct fake_entry *e = find(x->world, ref);

        if (!e)
                return nb_fail(err, NB_E_NOTFOUND, "run %s never began", ref);
        return handle(x, e, fn, arg, ret, err);
}

static int fake_cancel(struct exec_run *run, struct nb_err *err)
{
        struct fake_run *u = (struct fake_run *)run;

        if (u->entry->state == FAKE_RUNNING) {
                u->entry->state = FAKE_OVER;
                u->entry->class = CLASS_CANCELLED;
        }
        return tell_soon(u, err);
}

static int fake_collect(struct exec_run *run, int dirfd, struct nb_err *err)
{
        static const char good[] = "[]", bad[] = "[{\"output_type\": \"error\", \"ename\": "
                                                 "\"ValueError\", \"evalue\": \"boom\", "
                                                 "\"traceback\": []}]";
        const struct fake_run *u = (const struct fake_run *)run;
        nb_auto_free char *text = NULL;
        int r;

        text = nb_asprintf("{\"cells\": [{\"cell_type\": \"code\", \"execution_count\": 1, "
                           "\"metadata\": {}, \"outputs\": [], \"source\": \"1\"}, "
                           "{\"cell_type\": \"code\", \"execution_count\": 2, \"metadata\": {}, "
                           "\"outputs\": %s, \"source\": \"2\"}], \"metadata\": {}, "
                           "\"nbformat\": 4, \"nbformat_minor\": 4}\n",
                           u->entry->class == CLASS_CELL_ERROR ? bad : good);
        if (!text)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = nb_write_file(dirfd, "executed.ipynb", text, strlen(text), 0600, false, err);
        if (r == 0)
                r = nb_write_file(dirfd, "log.txt", "fake\n", 5, 0600, false, err);
        return r;
}

static void fake_forget(struct exec *base, const char *ref)
{
        /* Kept in the world: a second start of the same ref is a bug to be seen. */
}

static void fake_sweep(struct exec *base, bool (*keep)(void *arg, const char *ref), void *arg)
{
}

static int fake_open(const struct config_executor *cfg, const struct exec_deps *deps,
                     struct exec **ret, struct nb_err *err)
{
        return nb_fail(err, NB_E_INVALID, "the fake executor is opened with a world");
}

static const struct exec_ops fake_ops = {
        .name = "fake",
        .caps = EXEC_CAP_SURVIVES,
        .open = fake_open,
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
        x->base.ops = &fake_ops;
        x->world = w;
        x->deps = *deps;
        *ret = &x->base;
        return 0;
}
