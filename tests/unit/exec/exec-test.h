/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* exec-test.h - an executor under test, which can be restarted, and what its runs told.
 *
 * local starts real runners and kernels: the program is one when its first argument is
 * "run".  Its cases are skipped where python has no nbclient. */

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <nbcid/exec.h>
#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "../../../daemon/app.h"
#include "nbtest.h"

#define PYTHON "/usr/bin/python3"
#define PATIENCE_US (60 * NB_US_PER_S)

struct side { /* an executor under test, which can be "restarted" */
        bool local;
        struct exec_fake_world *world;
        struct config_executor cfg;
        struct exec_deps deps;
        struct loop *loop;
        struct exec *exec;
        char *state_dir, *workspace, *self;
};

struct seen { /* what a run told */
        unsigned running, cells, finished;
        bool release_when_finished, release_when_running, inside;
        struct run_result result;
        char reason[200];
};

static inline bool have_nbclient(void)
{
        static int answer = -1;

        if (answer < 0)
                answer = system(PYTHON " -c 'import nbclient, ipykernel' 2>/dev/null") == 0;
        return answer;
}

static inline void side_open(struct side *s)
{
        struct nb_err err;

        CHECK_OK(s->local ? exec_open(&s->cfg, &s->deps, &s->exec, &err)
                          : exec_fake_open(s->world, &s->deps, &s->exec, &err),
                 &err);
}

static inline struct side side_new(bool local)
{
        static unsigned n;
        struct side s = {.local = local,
                         .cfg = {.name = (char *)(uintptr_t) "here",
                                 .kind = (char *)(uintptr_t) "local",
                                 .python = (char *)(uintptr_t)PYTHON,
                                 .sandbox = SANDBOX_AUTO}};
        struct nb_err err;

        s.self = realpath("/proc/self/exe", NULL);
        s.state_dir = nb_asprintf("%s/state-%u", nbtest_tmpdir(), n);
        s.workspace = nb_asprintf("%s/workspace-%u", nbtest_tmpdir(), n++);
        CHECK_OK(nb_mkdirs(AT_FDCWD, s.state_dir, 0700, &err), &err);
        CHECK_OK(nb_mkdirs(AT_FDCWD, s.workspace, 0700, &err), &err);
        CHECK_OK(loop_new(1, &s.loop, &err), &err);
        s.deps = (struct exec_deps){
                .loop = s.loop, .clock = &nb_clock_real, .state_dir = s.state_dir, .self = s.self};
        if (!local)
                s.world = exec_fake_world_new();
        side_open(&s);
        return s;
}

static inline void side_done(struct side *s)
{
        exec_close(s->exec);
        loop_free(s->loop);
        exec_fake_world_free(s->world);
        free(s->self);
        free(s->state_dir);
        free(s->workspace);
}

static inline void side_restart(struct side *s)
{
        s->exec = exec_close(s->exec);
        side_open(s);
}

/* A notebook of code cells, NULL-terminated JSON strings. */
static inline void put_notebook(const struct side *s, const char *name, const char *const *cells)
{
        nb_auto_buf b = NB_BUF(64 * 1024);
        nb_auto_free char *path = nb_asprintf("%s/%s", s->workspace, name);
        struct nb_err err;

        nb_buf_puts(&b, "{\"nbformat\":4,\"nbformat_minor\":4,\"metadata\":{},\"cells\":[");
        for (size_t i = 0; cells[i]; i++)
                nb_buf_printf(&b,
                              "%s{\"cell_type\":\"code\",\"metadata\":{},\"outputs\":[],"
                              "\"execution_count\":null,\"source\":%s}",
                              i ? "," : "", cells[i]);
        nb_buf_puts(&b, "]}");
        CHECK_OK(nb_write_file(AT_FDCWD, path, nb_buf_str(&b), b.len, 0600, false, &err), &err);
}

__attribute__((unused)) static const char *const passing[] = {"\"print(1)\"", "\"print(2)\"", NULL};
__attribute__((unused)) static const char *const failing[] = {"\"x = 1\"",
                                                              "\"raise ValueError('boom')\"", NULL};
__attribute__((unused)) static const char *const slow[] = {
        "\"x = 1\"", "\"import time; time.sleep(600)\"", NULL};

static inline void on_event(void *arg, struct exec_run *run, const struct exec_event *ev)
{
        struct seen *seen = arg;

        if (seen->inside)
                abort(); /* an event from inside start() or attach() */
        if (seen->finished)
                abort(); /* an event after the last one */
        seen->running += ev->kind == EXEC_RUNNING;
        seen->cells += ev->kind == EXEC_CELL;
        if (ev->kind == EXEC_RUNNING && seen->release_when_running)
                run->exec->ops->release(run);
        if (ev->kind != EXEC_FINISHED)
                return;
        seen->finished++;
        seen->result = (struct run_result){.class = ev->result->class,
                                           .cell = ev->result->cell,
                                           .ename = nb_strdup(ev->result->ename),
                                           .evalue = nb_strdup(ev->result->evalue)};
        snprintf(seen->reason, sizeof(seen->reason), "%s",
                 ev->result->reason ? ev->result->reason : "");
        if (seen->release_when_finished)
                run->exec->ops->release(run);
}

static inline int start(struct side *s, const char *ref, const char *notebook, struct seen *seen,
                        struct exec_run **ret, struct nb_err *err)
{
        struct exec_job job = {
                .ref = ref, .workspace = s->workspace, .notebook = notebook, .max_output = 1 << 20};
        int r;

        seen->inside = true;
        r = s->exec->ops->start(s->exec, &job, on_event, seen, ret, err);
        seen->inside = false;
        return r;
}

static inline int attach(struct side *s, const char *ref, struct seen *seen, struct exec_run **ret,
                         struct nb_err *err)
{
        int r;

        seen->inside = true;
        r = s->exec->ops->attach(s->exec, ref, on_event, seen, ret, err);
        seen->inside = false;
        return r;
}

static inline void step_until(struct side *s, const unsigned *count)
{
        uint64_t until = nb_mono_us(&nb_clock_real) + PATIENCE_US;
        struct nb_err err;

        while (*count == 0 && nb_mono_us(&nb_clock_real) < until)
                CHECK_OK(loop_step(s->loop, 100 * NB_US_PER_MS, &err), &err);
        CHECK(*count > 0);
}

/* A moment in which nothing more may come. */
static inline void step_on(struct side *s)
{
        struct nb_err err;

        for (int i = 0; i < 5; i++)
                CHECK_OK(loop_step(s->loop, 20 * NB_US_PER_MS, &err), &err);
}

static inline void wait_gone(struct side *s, const char *ref)
{
        nb_auto_free char *dir = nb_asprintf("%s/runs/%s", s->state_dir, ref);
        uint64_t until = nb_mono_us(&nb_clock_real) + PATIENCE_US;
        struct nb_err err;

        while (s->local && access(dir, F_OK) == 0 && nb_mono_us(&nb_clock_real) < until)
                CHECK_OK(loop_step(s->loop, 20 * NB_US_PER_MS, &err), &err);
        CHECK(access(dir, F_OK) < 0);
}

/* Runs the rest of the test for the fake, then for local. */
#define FOR_EACH_SIDE(s) \
        for (int which_ = 0; which_ < (have_nbclient() ? 2 : 1); which_++) \
                for (struct side s = side_new(which_ == 1), *once_ = &s; once_; \
                     side_done(&s), once_ = NULL)

static inline int exec_test_main(int argc, char **argv)
{
        if (argc > 1 && nb_streq(argv[1], "run"))
                return cmd_run(argc - 1, argv + 1);
        nb_log_setup(NB_LOG_NONE, LOG_INFO);
        return nbtest_run(argc, argv);
}
