/* SPDX-License-Identifier: Apache-2.0 */

/* runner.c - watch one engine from start to end */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <nbcid/clock.h>
#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>

#include "runner-priv.h"

#define LOG_MAX (16 * 1024 * 1024)    /* what a job may print beside its notebook */
#define EVENTS_MAX (64 * 1024 * 1024) /* of events.jsonl, but for the last line */
#define GRACE_US (15 * NB_US_PER_S)   /* between "save yourself" and the kill */
#define MEASURE_US (200 * NB_US_PER_MS)
#define MEASURE_NEAR_US (50 * NB_US_PER_MS) /* when more than half of the memory is used */
#define MEASURE_SHARE 20                    /* measuring takes at most 1/20 of one core */
#define ROUND_READS 64                      /* a job that never stops printing waits its turn */

struct runner {
        const struct runner_opts *o;
        struct rundir dir;
        struct rundir_paths paths;
        char *python;
        int signal_fd;
        uint64_t log_bytes, log_dropped, event_bytes;
        struct cgroup cgroup;
        struct engine engine;
        struct seen seen;
        uint64_t started_us, deadline_us, kill_at_us, measure_at_us;
        uint64_t mem_peak, host_oom_kills;
        bool sandboxed, engine_gone;
};

static void runner_done(struct runner *u)
{
        engine_done(&u->engine);
        cgroup_done(&u->cgroup);
        seen_done(&u->seen);
        nb_closep(&u->signal_fd);
        rundir_done(&u->dir);
        rundir_paths_done(&u->paths);
        free(u->python);
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

static void see_event(struct runner *u, const char *line, size_t n)
{
        struct runner_event ev;
        struct nb_err err;

        if (runner_event_parse(line, n, &ev, &err) < 0) {
                nb_log_err(LOG_WARNING, &err, "the engine said something odd");
                return;
        }
        if (ev.cells > 0) {
                u->seen.cells = ev.cells;
                u->seen.cells_done = ev.cells_done;
        }
        if (ev.kind == RUNNER_CELL_STARTED)
                u->seen.cell = ev.cell;
        if (ev.kind == RUNNER_OTHER && !u->seen.engine_ended) {
                /* engine_end: the only other thing it says */
                u->seen.engine_ended = true;
                u->seen.end = ev.result;
                ev.result = (struct run_result){0};
        } else if (ev.kind != RUNNER_OTHER && ev.kind != RUNNER_FINISHED) {
                put_event(u, &ev, false);
                say_progress(u, &ev);
        }
        runner_event_done(&ev);
}

static void read_events(struct runner *u)
{
        struct nb_buf *b = &u->engine.events;
        char *nl;

        for (int i = 0; i < ROUND_READS; i++) {
                ssize_t n;

                if (nb_buf_reserve(b, 4096) < 0) { /* a line beyond its ceiling */
                        nb_buf_clear(b);
                        continue;
                }
                n = read(u->engine.events_fd, b->data + b->len, 4096);
                if (n <= 0)
                        return;
                b->len += (size_t)n;
                b->data[b->len] = '\0';
                while ((nl = memchr(b->data, '\n', b->len))) {
                        size_t line = (size_t)(nl - b->data);

                        see_event(u, b->data, line);
                        memmove(b->data, nl + 1, b->len - line - 1);
                        b->len -= line + 1;
                }
        }
}

static void read_output(struct runner *u)
{
        char buf[16384];
        struct nb_err err;

        for (int i = 0; i < ROUND_READS; i++) {
                ssize_t n = read(u->engine.output_fd, buf, sizeof(buf));
                size_t keep = n > 0 ? (size_t)n : 0;

                if (n <= 0)
                        return;
                if (u->log_bytes + keep > LOG_MAX)
                        keep = (size_t)(LOG_MAX - u->log_bytes);
                u->log_dropped += (size_t)n - keep;
                u->log_bytes += keep;
                if (keep && nb_write_all(u->dir.log_fd, buf, keep, &err) < 0)
                        u->log_dropped += keep;
        }
}

/* Ask the engine to save and leave; after GRACE_US it is killed. */
static void ask_to_end(struct runner *u)
{
        if (u->kill_at_us != UINT64_MAX)
                return;
        u->kill_at_us = nb_mono_us(&nb_clock_real) + GRACE_US;
        nb_closep(&u->engine.control_fd);
        u->engine.control_fd = -1;
}

static void read_signals(struct runner *u)
{
        struct signalfd_siginfo si;

        while (read(u->signal_fd, &si, sizeof(si)) == sizeof(si))
                if (si.ssi_signo != SIGCHLD && !u->seen.engine_ended) {
                        u->seen.cancelled = !u->seen.timed_out;
                        ask_to_end(u);
                }
}

/* Without a cgroup the sums over the tree are ours to watch: kill what is
 * biggest, as the kernel would, or all that is too many. */
static void watch_tree(struct runner *u, uint64_t now)
{
        uint64_t max = u->o->memory_max, cost, every = MEASURE_US;
        struct tree_use use;

        if (now < u->measure_at_us)
                return;
        tree_measure(&use);
        if (use.memory > u->mem_peak)
                u->mem_peak = use.memory;
        if (!u->cgroup.dir && max && use.biggest && use.memory > max &&
            tree_measure_exact() > max) {
                u->seen.oom = true;
                (void)kill(use.biggest, SIGKILL);
        }
        if (!u->cgroup.dir && u->o->processes_max && use.processes > u->o->processes_max) {
                u->seen.too_many = true;
                tree_prune(SANDBOX_CHAIN(u->sandboxed));
        }
        cost = nb_mono_us(&nb_clock_real) - now;
        if (max && use.memory > max / 2)
                every = MEASURE_NEAR_US;
        u->measure_at_us = now + (every > cost * MEASURE_SHARE ? every : cost * MEASURE_SHARE);
}

/* Until something has to be looked at. */
static int wait_ms(const struct runner *u, uint64_t now)
{
        uint64_t until = u->measure_at_us;

        if (u->deadline_us < until && u->deadline_us > now)
                until = u->deadline_us;
        if (u->kill_at_us < until)
                until = u->kill_at_us;
        return until > now ? (int)((until - now) / NB_US_PER_MS) + 1 : 0;
}

static void watch(struct runner *u)
{
        struct pollfd fds[] = {{.fd = u->engine.events_fd, .events = POLLIN},
                               {.fd = u->engine.output_fd, .events = POLLIN},
                               {.fd = u->signal_fd, .events = POLLIN},
                               {.fd = u->engine.pidfd, .events = POLLIN}};

        while (!u->engine_gone) {
                uint64_t now = nb_mono_us(&nb_clock_real);

                if (now >= u->deadline_us && !u->seen.cancelled && !u->seen.timed_out &&
                    !u->seen.engine_ended) {
                        u->seen.timed_out = true;
                        ask_to_end(u);
                }
                if (now >= u->kill_at_us)
                        break;
                watch_tree(u, now);
                (void)poll(fds, NB_ARRAY_SIZE(fds), wait_ms(u, nb_mono_us(&nb_clock_real)));
                if (fds[2].revents)
                        read_signals(u);
                read_events(u);
                read_output(u);
                if (fds[0].revents & POLLHUP)
                        fds[0].fd = -1;
                if (fds[1].revents & POLLHUP)
                        fds[1].fd = -1;
                if (fds[3].revents &&
                    waitpid(u->engine.pid, &u->seen.exit_status, WNOHANG) == u->engine.pid)
                        u->engine_gone = true;
                /* It has said all: what lingers after that (a kernel that ignores its
                 * shutdown) has as long as a kill would have. */
                if (u->seen.engine_ended && u->kill_at_us == UINT64_MAX)
                        u->kill_at_us = now + GRACE_US;
        }
}

/* ---- after ---- */

static void end_tree(struct runner *u)
{
        struct cgroup_use use;

        if (!u->engine_gone) {
                (void)kill(u->engine.pid, SIGKILL);
                (void)waitpid(u->engine.pid, &u->seen.exit_status, 0);
        }
        tree_kill();
        u->seen.host_oom_kills = tree_host_oom_kills() - u->host_oom_kills;
        read_events(u); /* a pipe holds less than one round reads */
        read_output(u);
        if (u->log_dropped)
                dprintf(u->dir.log_fd,
                        "\n[%llu bytes more were not kept: the log is limited to %d "
                        "MiB]\n",
                        (unsigned long long)u->log_dropped, LOG_MAX >> 20);
        if (u->cgroup.dir) {
                cgroup_read(&u->cgroup, &use);
                u->seen.oom = u->seen.oom || use.oom_kills > 0;
                if (use.memory_peak > u->mem_peak)
                        u->mem_peak = use.memory_peak;
        }
}

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

static void finish(struct runner *u, struct run_result *ret)
{
        struct runner_event ev = {.kind = RUNNER_FINISHED};
        struct rusage ru;
        struct nb_err err;

        end_tree(u);
        result_judge(&u->seen, &ev.result);
        ev.result.wall_us = nb_mono_us(&nb_clock_real) - u->started_us;
        ev.result.mem_peak = u->mem_peak;
        if (getrusage(RUSAGE_CHILDREN, &ru) == 0)
                ev.result.cpu_us =
                        (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * NB_US_PER_S +
                        (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
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
 * stays: notebooks load data. */
static int engine_argv(struct runner *u, struct nb_strv *ret, struct nb_err *err)
{
        nb_auto_free char *out = nb_asprintf("%s/out", u->dir.path);
        nb_auto_free char *home = nb_asprintf("%s/home", u->dir.path);
        nb_auto_free char *tmp = nb_asprintf("%s/tmp", u->dir.path);
        nb_auto_free char *engine = nb_asprintf("%s/engine.py", u->dir.path);
        nb_auto_free char *spec = nb_asprintf("%s/spec.json", u->dir.path);
        const char *const argv[] = {u->python, engine, spec, NULL};
        const char *const show[] = {engine, spec, NULL};
        const char *const write[] = {u->paths.workspace, out, home, NULL};

        if (!out || !home || !tmp || !engine || !spec)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        return sandbox_wrap(&(struct sandbox_opts){.kind = u->o->sandbox,
                                                   .python = u->python,
                                                   .hide = u->o->hide,
                                                   .show = show,
                                                   .write = write,
                                                   .tmp = tmp,
                                                   .cwd = u->paths.cwd,
                                                   .memory_max = u->o->memory_max,
                                                   .network = true,
                                                   .argv = argv},
                            ret, &u->sandboxed, err);
}

static int start_engine(struct runner *u, struct nb_err *err)
{
        const struct runner_opts *o = u->o;
        NB_CLEANUP(nb_strv_done) struct nb_strv argv = {0};
        nb_auto_free char *home = nb_asprintf("%s/home", u->dir.path);
        int r;

        if (!home)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = engine_argv(u, &argv, err);
        if (r < 0)
                return r;
        u->started_us = nb_mono_us(&nb_clock_real);
        u->deadline_us = o->timeout_us ? u->started_us + o->timeout_us : UINT64_MAX;
        u->kill_at_us = UINT64_MAX;
        u->host_oom_kills = tree_host_oom_kills();
        u->seen.timeout_us = o->timeout_us;
        u->seen.memory_max = o->memory_max;
        u->seen.processes_max = o->processes_max;
        return engine_start(&(struct engine_spec){.argv = &argv,
                                                  .home = home,
                                                  .cwd = u->paths.cwd,
                                                  .memory_max = o->memory_max,
                                                  .processes_max = o->processes_max,
                                                  .cgroup = &u->cgroup,
                                                  .in_namespace = u->sandboxed},
                            &u->engine, err);
}

/* From the taken directory to a running engine.  *ret_class: whose fault a
 * failure is. */
static int start(struct runner *u, enum run_class *ret_class, struct nb_err *err)
{
        int r = rundir_find_paths(u->o, &u->paths, err);

        *ret_class = r == -NB_E_INVALID || r == -NB_E_NOTFOUND ? CLASS_CHECK : CLASS_INFRASTRUCTURE;
        if (r < 0)
                return r;
        if (u->o->parameters) {
                r = runner_inject(&u->dir, u->o, &u->paths, err);
                *ret_class = r == -NB_E_INVALID ? CLASS_CHECK : CLASS_INFRASTRUCTURE;
                if (r < 0)
                        return r;
        }
        r = sandbox_find_program(u->o->python, &u->python, err);
        if (r == 0)
                r = rundir_fill(&u->dir, u->o, &u->paths, err);
        if (r == 0 && u->o->cgroup)
                r = cgroup_make(u->o->cgroup, u->o->memory_max, u->o->processes_max, &u->cgroup,
                                err);
        return r < 0 ? r : start_engine(u, err);
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
        struct runner u = {
                .o = o,
                .dir = RUNDIR_NONE,
                .signal_fd = -1,
                .engine = {.pidfd = -1, .events_fd = -1, .output_fd = -1, .control_fd = -1}};
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
        r = start(&u, &class, err);
        if (r < 0) {
                /* Whoever waits for this directory must learn it. */
                struct runner_event ev = {
                        .kind = RUNNER_FINISHED,
                        .result = {.class = class, .reason = nb_strdup(err->msg)}};

                put_event(&u, &ev, true);
                runner_event_done(&ev);
                return r;
        }
        watch(&u);
        finish(&u, ret);
        return exit_status(ret->class);
}
