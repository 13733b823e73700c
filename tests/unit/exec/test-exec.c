/* SPDX-License-Identifier: Apache-2.0 */

/*
 * test-exec.c - one contract, held by every executor: the fake and local
 *
 * local starts real runners and kernels: this program is one when its first
 * argument is "run".  Its cases are skipped where python has no nbclient.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

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

static bool have_nbclient(void)
{
        static int answer = -1;

        if (answer < 0)
                answer = system(PYTHON " -c 'import nbclient, ipykernel' 2>/dev/null") == 0;
        return answer;
}

static void side_open(struct side *s)
{
        struct nb_err err;

        CHECK_OK(s->local ? exec_open(&s->cfg, &s->deps, &s->exec, &err)
                          : exec_fake_open(s->world, &s->deps, &s->exec, &err),
                 &err);
}

static struct side side_new(bool local)
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

static void side_done(struct side *s)
{
        exec_close(s->exec);
        loop_free(s->loop);
        exec_fake_world_free(s->world);
        free(s->self);
        free(s->state_dir);
        free(s->workspace);
}

static void side_restart(struct side *s)
{
        s->exec = exec_close(s->exec);
        side_open(s);
}

/* A notebook of code cells, NULL-terminated JSON strings. */
static void put_notebook(const struct side *s, const char *name, const char *const *cells)
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

static const char *const passing[] = {"\"print(1)\"", "\"print(2)\"", NULL};
static const char *const failing[] = {"\"x = 1\"", "\"raise ValueError('boom')\"", NULL};
static const char *const slow[] = {"\"x = 1\"", "\"import time; time.sleep(600)\"", NULL};

static void on_event(void *arg, struct exec_run *run, const struct exec_event *ev)
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

static int start(struct side *s, const char *ref, const char *notebook, struct seen *seen,
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

static int attach(struct side *s, const char *ref, struct seen *seen, struct exec_run **ret,
                  struct nb_err *err)
{
        int r;

        seen->inside = true;
        r = s->exec->ops->attach(s->exec, ref, on_event, seen, ret, err);
        seen->inside = false;
        return r;
}

static void step_until(struct side *s, const unsigned *count)
{
        uint64_t until = nb_mono_us(&nb_clock_real) + PATIENCE_US;
        struct nb_err err;

        while (*count == 0 && nb_mono_us(&nb_clock_real) < until)
                CHECK_OK(loop_step(s->loop, 100 * NB_US_PER_MS, &err), &err);
        CHECK(*count > 0);
}

/* A moment in which nothing more may come. */
static void step_on(struct side *s)
{
        struct nb_err err;

        for (int i = 0; i < 5; i++)
                CHECK_OK(loop_step(s->loop, 20 * NB_US_PER_MS, &err), &err);
}

static void wait_gone(struct side *s, const char *ref)
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

TEST(a_run_tells_once_how_it_ended)
{
        FOR_EACH_SIDE(s)
        {
                struct seen pass = {0}, fail = {0};
                struct exec_run *a, *b;
                struct nb_err err;

                put_notebook(&s, "pass.ipynb", passing);
                put_notebook(&s, "fail.ipynb", failing);
                CHECK_OK(start(&s, "r-1", "pass.ipynb", &pass, &a, &err), &err);
                CHECK_OK(start(&s, "r-2", "fail.ipynb", &fail, &b, &err), &err);
                step_until(&s, &pass.finished);
                step_until(&s, &fail.finished);
                step_on(&s);
                CHECK_INT(pass.result.class, CLASS_PASSED);
                CHECK_INT(pass.running, 1);
                CHECK(pass.cells > 0);
                CHECK_INT(fail.result.class, CLASS_CELL_ERROR);
                CHECK_INT(fail.result.cell, 2);
                CHECK_STR(fail.result.ename, "ValueError");
                CHECK_STR(fail.result.evalue, "boom");
                s.exec->ops->release(a);
                s.exec->ops->release(b);
                run_result_done(&pass.result);
                run_result_done(&fail.result);
        }
}

TEST(a_handle_may_be_released_from_its_own_event)
{
        FOR_EACH_SIDE(s)
        {
                struct seen pass = {.release_when_finished = true};
                struct seen early = {.release_when_running = true};
                struct exec_run *run;
                struct nb_err err;

                put_notebook(&s, "pass.ipynb", passing);
                CHECK_OK(start(&s, "r-1", "pass.ipynb", &pass, &run, &err), &err);
                CHECK_OK(start(&s, "r-2", "pass.ipynb", &early, &run, &err), &err);
                step_until(&s, &pass.finished);
                step_until(&s, &early.running);
                step_on(&s);
                CHECK_INT(early.finished, 0);
                CHECK_INT(early.cells, 0);
                run_result_done(&pass.result);
        }
}

TEST(a_reference_is_used_once)
{
        FOR_EACH_SIDE(s)
        {
                struct seen one = {0}, two = {0};
                struct exec_run *run, *again;
                struct nb_err err;

                put_notebook(&s, "pass.ipynb", passing);
                CHECK_OK(start(&s, "r-1", "pass.ipynb", &one, &run, &err), &err);
                CHECK_ERR(start(&s, "r-1", "pass.ipynb", &two, &again, &err), &err, NB_E_CONFLICT,
                          "r-1");
                step_until(&s, &one.finished);
                CHECK_ERR(start(&s, "r-1", "pass.ipynb", &two, &again, &err), &err, NB_E_CONFLICT,
                          "r-1");
                CHECK_INT(one.result.class, CLASS_PASSED);
                s.exec->ops->release(run);
                run_result_done(&one.result);
                if (s.world)
                        CHECK_INT(exec_fake_starts(s.world, "r-1"), 1);
        }
}

TEST(cancelled_at_once_or_later_is_cancelled)
{
        FOR_EACH_SIDE(s)
        {
                struct seen now = {0}, later = {0};
                struct exec_run *a, *b;
                struct nb_err err;

                put_notebook(&s, "slow.ipynb", slow);
                CHECK_OK(start(&s, "r-1", "slow.ipynb", &now, &a, &err), &err);
                CHECK_OK(s.exec->ops->cancel(a, &err), &err);
                CHECK_OK(start(&s, "r-2", "slow.ipynb", &later, &b, &err), &err);
                step_until(&s, &later.cells);
                CHECK_INT(later.finished, 0);
                CHECK_OK(s.exec->ops->cancel(b, &err), &err);
                CHECK_OK(s.exec->ops->cancel(b, &err), &err);
                step_until(&s, &now.finished);
                step_until(&s, &later.finished);
                CHECK_OK(s.exec->ops->cancel(b, &err), &err);
                step_on(&s);
                CHECK_INT(now.result.class, CLASS_CANCELLED);
                CHECK_INT(later.result.class, CLASS_CANCELLED);
                s.exec->ops->release(a);
                s.exec->ops->release(b);
        }
}

TEST(a_restart_finds_what_runs_and_what_ended)
{
        FOR_EACH_SIDE(s)
        {
                struct seen before = {0}, after = {0}, ended = {0}, twice = {0}, done = {0};
                struct exec_run *a, *b;
                struct nb_err err;

                put_notebook(&s, "slow.ipynb", slow);
                put_notebook(&s, "fail.ipynb", failing);
                CHECK_OK(start(&s, "r-1", "slow.ipynb", &before, &a, &err), &err);
                CHECK_OK(start(&s, "r-2", "fail.ipynb", &done, &b, &err), &err);
                step_until(&s, &done.finished);
                s.exec->ops->release(a);
                s.exec->ops->release(b);
                side_restart(&s);
                step_on(&s);
                CHECK_INT(before.finished, 0);

                CHECK_OK(attach(&s, "r-1", &after, &a, &err), &err);
                CHECK_OK(attach(&s, "r-2", &ended, &b, &err), &err);
                step_until(&s, &ended.finished);
                CHECK_INT(ended.result.class, CLASS_CELL_ERROR);
                CHECK_STR(ended.result.evalue, "boom");
                CHECK_OK(s.exec->ops->cancel(a, &err), &err);
                step_until(&s, &after.finished);
                CHECK_INT(after.result.class, CLASS_CANCELLED);
                s.exec->ops->release(a);
                s.exec->ops->release(b);

                /* Still, until it is forgotten. */
                CHECK_OK(attach(&s, "r-2", &twice, &b, &err), &err);
                step_until(&s, &twice.finished);
                CHECK_INT(twice.result.class, CLASS_CELL_ERROR);
                s.exec->ops->release(b);
                s.exec->ops->forget(s.exec, "r-2");
                wait_gone(&s, "r-2");
                CHECK_ERR(attach(&s, "r-2", &twice, &b, &err), &err, NB_E_NOTFOUND, "r-2");
                if (s.world)
                        CHECK_INT(exec_fake_total_starts(s.world), 2);
                run_result_done(&done.result);
                run_result_done(&ended.result);
                run_result_done(&twice.result);
        }
}

TEST(what_never_began_cannot_be_found)
{
        FOR_EACH_SIDE(s)
        {
                struct seen seen = {0};
                struct exec_run *run;
                struct nb_err err;

                CHECK_ERR(attach(&s, "r-9", &seen, &run, &err), &err, NB_E_NOTFOUND, "r-9");
                s.exec->ops->forget(s.exec, "r-9");
                put_notebook(&s, "pass.ipynb", passing);
                CHECK_OK(start(&s, "r-9", "pass.ipynb", &seen, &run, &err), &err);
                step_until(&s, &seen.finished);
                s.exec->ops->release(run);
        }
}

TEST(collect_takes_the_notebook_and_the_log_again_and_again)
{
        FOR_EACH_SIDE(s)
        {
                nb_auto_free char *to = nb_asprintf("%s/artifacts", s.workspace);
                nb_auto_fd int dir = -1;
                struct seen seen = {0};
                struct exec_run *run;
                struct nb_err err;

                put_notebook(&s, "fail.ipynb", failing);
                CHECK_OK(start(&s, "r-1", "fail.ipynb", &seen, &run, &err), &err);
                step_until(&s, &seen.finished);
                CHECK_OK(nb_mkdirs(AT_FDCWD, to, 0700, &err), &err);
                dir = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                for (int i = 0; i < 2; i++) {
                        nb_auto_buf text = NB_BUF(1 << 20);

                        CHECK_OK(s.exec->ops->collect(run, dir, &err), &err);
                        CHECK_OK(nb_read_file(dir, "executed.ipynb", &text, &err), &err);
                        CHECK(strstr(nb_buf_str(&text), "ValueError"));
                        CHECK(faccessat(dir, "log.txt", F_OK, 0) == 0);
                }
                s.exec->ops->release(run);
                run_result_done(&seen.result);
        }
}

static bool keep_two(void *arg, const char *ref)
{
        (void)arg;
        return nb_streq(ref, "r-2");
}

TEST(a_sweep_forgets_what_nobody_wants)
{
        FOR_EACH_SIDE(s)
        {
                struct seen one = {0}, two = {0}, three = {0};
                struct exec_run *a, *b, *c;
                struct nb_err err;

                put_notebook(&s, "pass.ipynb", passing);
                put_notebook(&s, "slow.ipynb", slow);
                CHECK_OK(start(&s, "r-1", "pass.ipynb", &one, &a, &err), &err);
                CHECK_OK(start(&s, "r-2", "pass.ipynb", &two, &b, &err), &err);
                CHECK_OK(start(&s, "r-3", "slow.ipynb", &three, &c, &err), &err);
                step_until(&s, &one.finished);
                step_until(&s, &two.finished);
                step_until(&s, &three.cells);
                s.exec->ops->release(a);
                s.exec->ops->release(b);
                s.exec->ops->release(c);
                side_restart(&s);
                s.exec->ops->sweep(s.exec, keep_two, NULL);
                wait_gone(&s, "r-1");
                wait_gone(&s, "r-3");
                CHECK_ERR(attach(&s, "r-1", &one, &a, &err), &err, NB_E_NOTFOUND, "r-1");
                two = (struct seen){0};
                CHECK_OK(attach(&s, "r-2", &two, &b, &err), &err);
                step_until(&s, &two.finished);
                s.exec->ops->release(b);
        }
}

TEST(the_fake_loses_a_notebook_once)
{
        struct side s = side_new(false);
        struct seen one = {0}, two = {0};
        struct exec_run *run;
        struct nb_err err;

        CHECK_OK(start(&s, "r-1", "lost.ipynb", &one, &run, &err), &err);
        step_until(&s, &one.finished);
        CHECK_INT(one.result.class, CLASS_LOST);
        s.exec->ops->release(run);
        s.exec->ops->forget(s.exec, "r-1");
        CHECK_OK(start(&s, "r-2", "lost.ipynb", &two, &run, &err), &err);
        step_until(&s, &two.finished);
        CHECK_INT(two.result.class, CLASS_PASSED);
        s.exec->ops->release(run);
        CHECK_INT(exec_fake_total_starts(s.world), 2);
        side_done(&s);
}

/* ---- local alone ---- */

static pid_t runner_of(struct side *s, const char *ref)
{
        nb_auto_free char *path = nb_asprintf("%s/runs/%s/started", s->state_dir, ref);
        nb_auto_buf text = NB_BUF(128);
        struct nb_err err;

        CHECK_OK(nb_read_file(AT_FDCWD, path, &text, &err), &err);
        return (pid_t)strtol(nb_buf_str(&text), NULL, 10);
}

TEST(a_killed_runner_is_lost_and_takes_all_with_it)
{
        static const char *const forks[] = {
                "\"import os, subprocess, time\\n"
                "p = subprocess.Popen(['sleep', '4711'], start_new_session=True)\\n"
                "open('ready', 'w').write('x')\"",
                "\"time.sleep(600)\"", NULL};

        if (!have_nbclient())
                return;
        for (int sandbox = 0; sandbox < 2; sandbox++) {
                struct side s = side_new(true);
                struct seen seen = {0}, again = {0};
                struct exec_run *run;
                struct nb_err err;
                uint64_t until;
                nb_auto_free char *ready = nb_asprintf("%s/ready", s.workspace);
                nb_auto_free char *find = nb_asprintf("pgrep -f '%s[/]runs/r-1/' >/dev/null || "
                                                      "pgrep -f '^sleep 4711' >/dev/null",
                                                      s.state_dir);

                s.cfg.sandbox = sandbox ? SANDBOX_AUTO : SANDBOX_NONE;
                side_restart(&s);
                put_notebook(&s, "forks.ipynb", forks);
                CHECK_OK(start(&s, "r-1", "forks.ipynb", &seen, &run, &err), &err);
                until = nb_mono_us(&nb_clock_real) + PATIENCE_US;
                while (access(ready, F_OK) < 0 && nb_mono_us(&nb_clock_real) < until)
                        CHECK_OK(loop_step(s.loop, 20 * NB_US_PER_MS, &err), &err);
                CHECK(system(find) == 0);
                CHECK(kill(runner_of(&s, "r-1"), SIGKILL) == 0);
                step_until(&s, &seen.finished);
                CHECK_INT(seen.result.class, CLASS_LOST);
                s.exec->ops->release(run);
                CHECK_OK(attach(&s, "r-1", &again, &run, &err), &err);
                step_until(&s, &again.finished);
                CHECK_INT(again.result.class, CLASS_LOST);
                s.exec->ops->release(run);
                until = nb_mono_us(&nb_clock_real) + 10 * NB_US_PER_S;
                while (system(find) == 0 && nb_mono_us(&nb_clock_real) < until)
                        usleep(20000);
                CHECK(system(find) != 0);
                side_done(&s);
        }
}

TEST(a_runner_that_hangs_does_not_keep_its_slot)
{
        struct side s = side_new(true);
        nb_auto_free char *started = nb_asprintf("%s/runs/r-1/started", s.state_dir);
        uint64_t until = nb_mono_us(&nb_clock_real) + PATIENCE_US;
        struct seen seen = {0};
        struct exec_run *run;
        struct nb_err err;
        pid_t runner;

        if (!have_nbclient()) {
                side_done(&s);
                return;
        }
        s.deps.overdue_us = 5 * NB_US_PER_S;
        side_restart(&s);
        put_notebook(&s, "slow.ipynb", slow);
        CHECK_OK(start(&s, "r-1", "slow.ipynb", &seen, &run, &err), &err);
        while (access(started, F_OK) < 0 && nb_mono_us(&nb_clock_real) < until)
                CHECK_OK(loop_step(s.loop, 20 * NB_US_PER_MS, &err), &err);
        runner = runner_of(&s, "r-1");
        CHECK(kill(runner, SIGSTOP) == 0);
        /* The next process knows until when, too. */
        s.exec->ops->release(run);
        s.deps.overdue_us = 0;
        side_restart(&s);
        CHECK_OK(attach(&s, "r-1", &seen, &run, &err), &err);
        step_until(&s, &seen.finished);
        CHECK_INT(seen.result.class, CLASS_LOST);
        CHECK(strstr(seen.reason, "the runner hung"));
        s.exec->ops->release(run);
        CHECK(waitpid(runner, NULL, 0) == runner);
        side_done(&s);
}

TEST(a_start_that_came_to_nothing_cannot_come_back)
{
        struct side s = side_new(true);
        nb_auto_free char *dir = nb_asprintf("%s/runs/r-1", s.state_dir);
        struct seen seen = {0};
        struct exec_run *run;
        struct nb_err err;
        nb_auto_fd int old = -1;
        nb_auto_free char *fd = NULL;
        int status;
        pid_t pid;

        /* As if the daemon had died between its mkdir and its runner's first step. */
        CHECK_OK(nb_mkdirs(AT_FDCWD, dir, 0700, &err), &err);
        old = open(dir, O_RDONLY | O_DIRECTORY);
        put_notebook(&s, "pass.ipynb", passing);
        CHECK_ERR(attach(&s, "r-1", &seen, &run, &err), &err, NB_E_NOTFOUND, "r-1");
        CHECK_OK(nb_mkdirs(AT_FDCWD, dir, 0700, &err), &err);
        fd = nb_asprintf("/proc/self/fd/%d", old);
        pid = fork();
        if (pid == 0) {
                if (chdir(s.workspace) < 0 || !freopen("/dev/null", "w", stderr))
                        _exit(126);
                execl(s.self, s.self, "run", "-q", "--run-dir", fd, "pass.ipynb", NULL);
                _exit(126);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 126);
        CHECK(rmdir(dir) == 0); /* it left nothing in the new one */
        side_done(&s);
}

TEST(attach_waits_for_a_runner_that_has_just_taken_the_lock)
{
        struct side s = side_new(true);
        nb_auto_free char *dir = nb_asprintf("%s/runs/r-1", s.state_dir);
        nb_auto_free char *lock = nb_asprintf("%s/lock", dir);
        nb_auto_free char *started = nb_asprintf("%s/started", dir);
        nb_auto_free char *events = nb_asprintf("%s/events.jsonl", dir);
        static const char last[] = "{\"event\":\"finished\",\"class\":\"passed\"}\n";
        struct seen seen = {0};
        struct exec_run *run;
        struct nb_err err;
        int ready[2], go[2];
        pid_t pid;
        char c;

        CHECK_OK(nb_mkdirs(AT_FDCWD, dir, 0700, &err), &err);
        CHECK(pipe(ready) == 0 && pipe(go) == 0);
        pid = fork();
        if (pid == 0) {
                int fd = open(lock, O_RDWR | O_CREAT, 0600);
                nb_auto_free char *text = nb_asprintf("%d 1\n", (int)getpid());

                if (flock(fd, LOCK_EX) < 0 || write(ready[1], "x", 1) != 1 ||
                    read(go[0], &c, 1) != 1)
                        _exit(1);
                if (nb_write_file(AT_FDCWD, events, last, strlen(last), 0600, false, &err) < 0 ||
                    nb_write_file(AT_FDCWD, started, text, strlen(text), 0600, false, &err) < 0 ||
                    read(go[0], &c, 1) != 1)
                        _exit(1);
                _exit(0);
        }
        CHECK(read(ready[0], &c, 1) == 1);
        CHECK_OK(attach(&s, "r-1", &seen, &run, &err), &err);
        step_on(&s);
        CHECK_INT(seen.finished, 0);
        CHECK(write(go[1], "x", 1) == 1);
        step_on(&s);
        CHECK_INT(seen.finished, 0);
        CHECK(write(go[1], "x", 1) == 1);
        step_until(&s, &seen.finished);
        CHECK_INT(seen.result.class, CLASS_PASSED);
        CHECK(waitpid(pid, NULL, 0) == pid);
        s.exec->ops->release(run);
        for (int i = 0; i < 2; i++) {
                close(ready[i]);
                close(go[i]);
        }
        side_done(&s);
}

TEST(collect_takes_no_links_and_opens_what_was_closed)
{
        struct side s = side_new(true);
        nb_auto_free char *dir = nb_asprintf("%s/runs/r-1", s.state_dir);
        nb_auto_free char *out = nb_asprintf("%s/out", dir);
        nb_auto_free char *nb = nb_asprintf("%s/out/executed.ipynb", dir);
        nb_auto_free char *log = nb_asprintf("%s/log.txt", dir);
        nb_auto_free char *to = nb_asprintf("%s/artifacts", s.workspace);
        nb_auto_fd int target = -1;
        struct seen seen = {0};
        struct exec_run *run;
        struct nb_err err;
        struct stat st;

        CHECK_OK(nb_mkdirs(AT_FDCWD, out, 0700, &err), &err);
        CHECK_OK(nb_mkdirs(AT_FDCWD, to, 0700, &err), &err);
        target = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        nb_auto_free char *started = nb_asprintf("%s/started", dir);
        CHECK_OK(nb_write_file(AT_FDCWD, started, "1 1\n", 4, 0600, false, &err), &err);
        CHECK(symlink("/etc/passwd", nb) == 0 && symlink("/etc/passwd", log) == 0);
        CHECK_OK(attach(&s, "r-1", &seen, &run, &err), &err);
        step_until(&s, &seen.finished);
        CHECK_INT(seen.result.class, CLASS_LOST);
        CHECK_OK(s.exec->ops->collect(run, target, &err), &err);
        CHECK(fstatat(target, "executed.ipynb", &st, AT_SYMLINK_NOFOLLOW) < 0);
        CHECK(fstatat(target, "log.txt", &st, AT_SYMLINK_NOFOLLOW) < 0);

        CHECK(unlink(nb) == 0 && mkfifo(nb, 0600) == 0);
        CHECK_OK(s.exec->ops->collect(run, target, &err), &err);
        CHECK(fstatat(target, "executed.ipynb", &st, AT_SYMLINK_NOFOLLOW) < 0);

        CHECK(unlink(nb) == 0 && rmdir(out) == 0 && symlink("/etc", out) == 0);
        CHECK_OK(s.exec->ops->collect(run, target, &err), &err);
        CHECK(fstatat(target, "executed.ipynb", &st, AT_SYMLINK_NOFOLLOW) < 0);
        CHECK(stat("/etc", &st) == 0 && (st.st_mode & 0777) == 0755);

        CHECK(unlink(out) == 0 && mkdir(out, 0700) == 0);
        CHECK_OK(nb_write_file(AT_FDCWD, nb, "{}", 2, 0000, false, &err), &err);
        CHECK(chmod(out, 0) == 0);
        CHECK_OK(s.exec->ops->collect(run, target, &err), &err);
        CHECK(fstatat(target, "executed.ipynb", &st, AT_SYMLINK_NOFOLLOW) == 0);
        CHECK_INT(st.st_mode & 0777, 0600);

        /* sparse, and larger than a notebook may be */
        CHECK(unlinkat(target, "executed.ipynb", 0) == 0 && truncate(nb, INT64_C(1) << 40) == 0);
        run->max_executed = 1 << 20;
        CHECK_ERR(s.exec->ops->collect(run, target, &err), &err, NB_E_LIMIT,
                  "executed.ipynb has 1099511627776 bytes");
        CHECK(fstatat(target, "executed.ipynb", &st, AT_SYMLINK_NOFOLLOW) < 0);
        CHECK(truncate(nb, 1 << 20) == 0);
        CHECK_OK(s.exec->ops->collect(run, target, &err), &err);
        CHECK(fstatat(target, "executed.ipynb", &st, AT_SYMLINK_NOFOLLOW) == 0);
        s.exec->ops->release(run);
        side_done(&s);
}

/* No mounts any more, for this process and its children: bubblewrap cannot
 * work then, whoever runs it. */
static bool forbid_mounts(void)
{
        struct sock_filter deny[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mount, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {NB_ARRAY_SIZE(deny), deny};

        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
               prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* The log of an executor that is opened in such a process. */
static char *log_without_mounts(struct side *s, enum sandbox_kind kind)
{
        nb_auto_free char *path = nb_asprintf("%s/log", s->state_dir);
        nb_auto_buf text = NB_BUF(65536);
        struct nb_err err;
        int status;
        pid_t pid;

        s->exec = exec_close(s->exec);
        s->cfg.sandbox = kind;
        pid = fork();
        if (pid == 0) {
                int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

                if (fd < 0 || dup2(fd, STDERR_FILENO) < 0 || !forbid_mounts())
                        _exit(1);
                nb_log_setup(NB_LOG_STDERR, LOG_INFO);
                _exit(exec_open(&s->cfg, &s->deps, &s->exec, &err) < 0 ? 2 : 0);
        }
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
        CHECK_INT(status, 0);
        CHECK_OK(nb_read_file(AT_FDCWD, path, &text, &err), &err);
        return nb_buf_steal(&text);
}

TEST(a_machine_without_a_sandbox_is_warned_of)
{
        struct side s = side_new(true);
        nb_auto_free char *automatic = log_without_mounts(&s, SANDBOX_AUTO);
        nb_auto_free char *none = log_without_mounts(&s, SANDBOX_NONE);

        CHECK(strstr(automatic, "\"warning\""));
        CHECK(strstr(automatic, "without a sandbox"));
        CHECK(strstr(automatic, "bwrap"));
        CHECK(!strstr(none, "without a sandbox"));
        side_done(&s);
}

TEST(a_kind_that_is_not_there_is_named)
{
        struct config_executor cfg = {.name = (char *)(uintptr_t) "x",
                                      .kind = (char *)(uintptr_t) "moon"};
        struct exec_deps deps = {.state_dir = "/nonexistent"};
        struct exec *x;
        struct nb_err err;

        CHECK_ERR(exec_open(&cfg, &deps, &x, &err), &err, NB_E_INVALID, "moon");
}

int main(int argc, char **argv)
{
        if (argc > 1 && nb_streq(argv[1], "run"))
                return cmd_run(argc - 1, argv + 1);
        nb_log_setup(NB_LOG_NONE, LOG_INFO);
        return nbtest_run(argc, argv);
}
