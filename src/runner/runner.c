/* SPDX-License-Identifier: Apache-2.0 */

/* runner.c - watch one engine from start to end */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include <nbcid/clock.h>
#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>

#include "env-priv.h"

#define EVENTS_MAX (64 * 1024 * 1024) /* of events.jsonl, but for the last line */

struct runner {
        const struct runner_opts *o;
        struct rundir dir;
        struct rundir_paths paths;
        char *python;
        int signal_fd;
        uint64_t event_bytes, started_us, cpu_before_us;
        struct run_log log; /* what a job prints beside its notebook */
        struct env env;
        struct watch watch;
};

static void runner_done(struct runner *u)
{
        watch_done(&u->watch);
        env_done(&u->env);
        nb_closep(&u->signal_fd);
        rundir_done(&u->dir);
        rundir_paths_done(&u->paths);
        free(u->python);
}

static struct env_context context(struct runner *u)
{
        return (struct env_context){.opts = u->o,
                                    .dir = &u->dir,
                                    .python = u->python,
                                    .signal_fd = u->signal_fd,
                                    .log = &u->log};
}

static uint64_t cpu_us(void)
{
        struct rusage ru;

        if (getrusage(RUSAGE_CHILDREN, &ru) < 0)
                return 0;
        return (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * NB_US_PER_S +
               (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
}

/* ---- while it runs ---- */

static void put_event(struct runner *u, const struct runner_event *ev, bool last)
{
        nb_auto_buf b = NB_BUF(64 * 1024);
        struct nb_err err;

        if (runner_event_write(&b, ev) < 0)
                return;
        u->event_bytes += b.len;
        if (u->event_bytes > EVENTS_MAX && !last)
                return;
        if (nb_write_all(u->dir.events_fd, nb_buf_str(&b), b.len, &err) < 0)
                nb_log_err(LOG_WARNING, &err, "an event could not be written");
        if (last)
                (void)fdatasync(u->dir.events_fd);
        /* Whoever listened may be gone: the file is what counts. */
        if (u->o->events_fd >= 0)
                (void)nb_write_all(u->o->events_fd, nb_buf_str(&b), b.len, &err);
}

static void say_progress(const struct runner *u, const struct runner_event *ev)
{
        if (u->o->quiet)
                return;
        if (ev->kind == RUNNER_KERNEL_READY)
                fprintf(stderr, "kernel ready\n");
        if (ev->kind == RUNNER_CELL_FINISHED)
                fprintf(stderr, "cell %lld done in %.2f s (%lld of %lld)\n", (long long)ev->cell,
                        ev->seconds, (long long)ev->cells_done, (long long)ev->cells);
}

static void see_event(void *arg, const char *line, size_t n)
{
        struct runner *u = arg;
        struct runner_event ev;
        struct nb_err err;

        if (runner_event_parse(line, n, &ev, &err) < 0) {
                nb_log_err(LOG_WARNING, &err, "the engine said something odd");
                return;
        }
        if (ev.cells > 0) {
                u->watch.seen.cells = ev.cells;
                u->watch.seen.cells_done = ev.cells_done;
        }
        if (ev.kind == RUNNER_CELL_STARTED)
                u->watch.seen.cell = ev.cell;
        if (ev.kind == RUNNER_OTHER && !u->watch.seen.engine_ended) {
                /* engine_end: the only other thing it says */
                u->watch.seen.engine_ended = true;
                u->watch.seen.end = ev.result;
                ev.result = (struct run_result){0};
        } else if (ev.kind != RUNNER_OTHER && ev.kind != RUNNER_FINISHED) {
                const struct env_context c = context(u);

                put_event(u, &ev, false);
                say_progress(u, &ev);
                /* Now, so that it does not take its time from the kernel's start. */
                if (ev.kind == RUNNER_KERNEL_READY)
                        env_report_ask(&c, &u->env);
        }
        runner_event_done(&ev);
}

/* ---- after ---- */

static int put_output(struct runner *u, struct nb_err *err)
{
        nb_auto_fd int dir = -1;
        int r;

        if (!u->o->output)
                return 0;
        dir = openat(u->dir.fd, "out", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (dir < 0)
                return nb_fail_errno(err, errno, "%s/out", u->dir.path);
        r = nb_link_or_copy(dir, "executed.ipynb", AT_FDCWD, u->o->output, err);
        return nb_wrap(err, r, "executed notebook");
}

static void report(struct runner *u, bool last)
{
        const struct env_context c = context(u);
        struct nb_err err;

        if (env_report(&c, &u->env, last, &err) < 0)
                nb_log_err(LOG_WARNING, &err, "the environment could not be reported");
}

static void finish(struct runner *u, struct run_result *ret)
{
        const struct env_context c = context(u);
        struct runner_event ev = {.kind = RUNNER_FINISHED};
        struct nb_err err;

        report(u, true);
        watch_end(&u->watch);
        if (u->env.container)
                env_image_end(&c, &u->env);
        log_end(&u->log);
        result_judge(&u->watch.seen, &ev.result);
        if (ev.result.class == CLASS_PASSED && !ev.result.reason)
                ev.result.reason = nb_strdup(u->env.note);
        ev.result.wall_us = nb_mono_us(&nb_clock_real) - u->started_us;
        ev.result.mem_peak = u->watch.mem_peak;
        ev.result.cpu_us = cpu_us() - u->cpu_before_us;
        if (put_output(u, &err) < 0)
                nb_log_err(LOG_WARNING, &err, "the executed notebook could not be put in place");
        ev.cell = ev.result.cell;
        ev.cells = ev.result.cells;
        ev.cells_done = ev.result.cells_done;
        put_event(u, &ev, true);
        *ret = ev.result;
}

/* ---- before ---- */

static int take_signals(struct runner *u, struct nb_err *err)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        sigaddset(&set, SIGCHLD);
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
        (void)signal(SIGPIPE, SIG_IGN);
        u->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (u->signal_fd < 0)
                return nb_fail_errno(err, errno, "signalfd");
        return prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ? nb_fail_errno(err, errno, "prctl") : 0;
}

/* The job sees its workspace and its run directory's out/ and home/, and has
 * its /tmp on disk, where it is no memory and gone with the run.  The network
 * stays: notebooks load data.  In front of a container there is no sandbox: it
 * is one, and podman could not work in ours. */
static int engine_argv(struct runner *u, struct nb_strv *ret, struct nb_err *err)
{
        nb_auto_free char *out = nb_asprintf("%s/out", u->dir.path);
        nb_auto_free char *home = nb_asprintf("%s/home", u->dir.path);
        nb_auto_free char *tmp = nb_asprintf("%s/tmp", u->dir.path);
        nb_auto_free char *engine = nb_asprintf("%s/engine.py", u->dir.path);
        nb_auto_free char *kernel = nb_asprintf("%s/kernel.py", u->dir.path);
        nb_auto_free char *spec = nb_asprintf("%s/spec.json", u->dir.path);
        const char *const argv[] = {u->python, engine, spec, NULL};
        const char *const show[] = {engine, kernel, spec, u->env.dir, NULL};
        const char *const write[] = {u->paths.workspace, out, home, NULL};
        NB_CLEANUP(nb_strv_done) struct nb_strv hide = {0};
        bool ok = out && home && tmp && engine && kernel && spec;

        for (const char *const *h = u->o->hide; h && *h; h++)
                ok = ok && nb_strv_add(&hide, *h) == 0;
        /* It may hold the password of an index. */
        if (u->o->pip_config)
                ok = ok && nb_strv_add(&hide, u->o->pip_config) == 0;
        if (!ok)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        return sandbox_wrap(
                &(struct sandbox_opts){.kind = u->env.image ? SANDBOX_NONE : u->o->sandbox,
                                       .python = u->python,
                                       .hide = (const char *const *)hide.v,
                                       .show = show,
                                       .write = write,
                                       .tmp = tmp,
                                       .cwd = u->paths.cwd,
                                       .memory_max = u->o->memory_max,
                                       .network = true,
                                       .argv = argv},
                ret, &u->watch.sandboxed, err);
}

static int tell_engine(struct runner *u, const char *home, struct nb_err *err)
{
        const struct env_context c = context(u);
        const struct nb_environment *want = &u->env.want;
        NB_CLEANUP(nb_strv_done) struct nb_strv container = {0};
        int r = 0;

        if (u->env.container)
                r = env_image_argv(&c, &u->env, u->paths.workspace, home, u->paths.cwd, &container,
                                   err);
        if (r < 0)
                return r;
        return rundir_tell_engine(
                &u->dir, u->o, &u->paths,
                &(struct rundir_kernel){.name = u->o->kernel ? u->o->kernel : want->kernel,
                                        .language =
                                                u->o->language ? u->o->language : want->language,
                                        .prefix = u->env.dir,
                                        .image = u->env.image,
                                        .container = &container},
                err);
}

static int start_engine(struct runner *u, struct nb_err *err)
{
        NB_CLEANUP(nb_strv_done) struct nb_strv argv = {0};
        nb_auto_free char *home = nb_asprintf("%s/home", u->dir.path);
        int r;

        if (!home)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = tell_engine(u, home, err);
        if (r == 0)
                r = engine_argv(u, &argv, err);
        if (r < 0)
                return r;
        u->watch.signal_fd = u->signal_fd;
        u->watch.log = &u->log;
        u->watch.on_line = see_event;
        u->watch.arg = u;
        u->started_us = nb_mono_us(&nb_clock_real);
        u->cpu_before_us = cpu_us();
        return watch_start(&u->watch,
                           &(struct watch_spec){.opts = u->o,
                                                .argv = &argv,
                                                .home = home,
                                                .cwd = u->paths.cwd,
                                                .timeout_us = u->o->timeout_us,
                                                .sandboxed = u->watch.sandboxed},
                           err);
}

/* What the notebook is to run in.  1: it cannot, and *ret says why. */
static int prepare_environment(struct runner *u, struct run_result *ret, struct nb_err *err)
{
        const struct env_context c = context(u);
        enum run_class class = CLASS_INFRASTRUCTURE;

        if (env_prepare(&c, &u->env, &class, err) == 0) {
                report(u, false);
                return 0;
        }
        log_end(&u->log);
        *ret = (struct run_result){.class = class,
                                   .reason = class == CLASS_CANCELLED ? NULL : nb_strdup(err->msg)};
        return 1;
}

/* From the taken directory to a running engine.  *ret_class: whose fault a
 * failure is.  1: it ended before it began, and *ret says how. */
static int start(struct runner *u, struct run_result *ret, enum run_class *ret_class,
                 struct nb_err *err)
{
        int r = rundir_find_paths(u->o, &u->paths, err);

        *ret_class = r == -NB_E_INVALID || r == -NB_E_NOTFOUND ? CLASS_CHECK : CLASS_INFRASTRUCTURE;
        if (r < 0)
                return r;
        u->log = (struct run_log){.fd = u->dir.log_fd, .max = RUN_LOG_MAX};
        *ret_class = CLASS_INFRASTRUCTURE;
        r = env_ask(u->o, u->paths.notebook, &u->env.want, err);
        if (r == 0 && u->env.want.parameters) {
                r = runner_inject(&u->dir, u->o, &u->env.want, &u->paths, err);
                if (r == -NB_E_INVALID || r == -NB_E_LIMIT)
                        *ret_class = CLASS_CHECK;
        }
        if (r < 0)
                return r;
        r = sandbox_find_program(u->o->python, &u->python, err);
        if (r == 0)
                r = rundir_fill(&u->dir, err);
        if (r == 0)
                r = prepare_environment(u, ret, err);
        return r != 0 ? r : start_engine(u, err);
}

static int exit_status(enum run_class c)
{
        if (c == CLASS_PASSED)
                return 0;
        return run_class_state(c) == JOB_ERRORED ? 3 : 1;
}

int runner_run(const struct runner_opts *o, struct run_result *ret, struct nb_err *err)
{
        NB_CLEANUP(runner_done)
        struct runner u = {.o = o,
                           .dir = RUNDIR_NONE,
                           .signal_fd = -1,
                           .env = ENV_NONE,
                           .watch = {WATCH_NONE}};
        struct runner_event end = {.kind = RUNNER_FINISHED};
        enum run_class class;
        int r;

        r = take_signals(&u, err);
        if (r == 0)
                r = rundir_take(o->run_dir, &u.dir, err);
        if (r == RUNDIR_TAKEN)
                *ret = (struct run_result){.class = CLASS_LOST,
                                           .reason = nb_strdup("another runner has this run "
                                                               "directory, or had it")};
        if (r != 0)
                return r;
        r = start(&u, ret, &class, err);
        if (r == 0) {
                watch_run(&u.watch);
                finish(&u, ret);
                return exit_status(ret->class);
        }
        /* Whoever waits for this directory must learn it. */
        if (r < 0) {
                end.result = (struct run_result){.class = class, .reason = nb_strdup(err->msg)};
                put_event(&u, &end, true);
                runner_event_done(&end);
                return r;
        }
        end.result = *ret;
        put_event(&u, &end, true);
        return exit_status(ret->class);
}
