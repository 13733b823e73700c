/* SPDX-License-Identifier: Apache-2.0 */

/*
 * local.c - runs on this machine: a runner process (`nbcid run`) each
 *
 * The runner outlives us, so all that counts is in its run directory (see
 * runner.h) and nothing depends on being its parent: its end is seen through a
 * pidfd, its events are read from a file, a run of a former process is taken
 * up in the same way as one of our own.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>
#include <nbcid/runner.h>
#include <nbcid/sandbox.h>
#include <nbcid/str.h>

#include "exec-priv.h"

#define EVENTS_EVERY_US (300 * NB_US_PER_MS)
#define EVENT_LINE_MAX (64 * 1024)
#define ATTACH_EVERY_US (50 * NB_US_PER_MS)
#define ATTACH_TIMEOUT_US (5 * NB_US_PER_S)   /* from a runner's lock to its "started" */
#define BUILD_TIMEOUT_US (1800 * NB_US_PER_S) /* of the runner, when nothing is configured */
#define SPARE_US (600 * NB_US_PER_S)          /* for all that a runner does beside */
#define CANCEL_US (120 * NB_US_PER_S)         /* from "end" to the end */
#define KILL_US (30 * NB_US_PER_S)            /* from SIGKILL to the end */

struct local {
        struct exec base;           /* first */
        struct config_executor cfg; /* a copy: configurations come and go; name, python owned */
        struct exec_deps deps;
        char *runs_dir, *cgroup;
};

struct local_run {
        struct exec_run base; /* first */
        struct local *local;
        char *dir;
        exec_event_fn fn;
        void *arg;
        int pidfd;   /* -1: not known yet, or over */
        pid_t child; /* to be reaped; 0: not our child */
        pid_t runner;
        uint64_t attach_until_us; /* "started" is waited for as long */
        uint64_t deadline_us;     /* when the runner is killed; UINT64_MAX: never */
        bool overdue;             /* it was */
        bool cancel_asked;
        bool telling, released; /* released from inside its own event: freed after it */
        struct loop_source *ended, *timer;
        int events_fd;
        struct nb_buf line;
        bool finished;
        struct run_result result;
};

static void local_close(struct exec *x)
{
        struct local *l = (struct local *)x;

        free(l->cfg.name);
        free(l->cfg.python);
        free(l->runs_dir);
        free(l->cgroup);
        free(l);
}

static int local_open(const struct config_executor *cfg, const struct exec_deps *deps,
                      struct exec **ret, struct nb_err *err)
{
        struct local *l = calloc(1, sizeof(*l));
        struct nb_err why;
        int r;

        if (!l)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        l->base.ops = &exec_local_ops;
        l->cfg = *cfg;
        l->cfg.name = nb_strdup(cfg->name);
        l->cfg.python = nb_strdup(cfg->python);
        l->cfg.kind = NULL;
        l->deps = *deps;
        l->runs_dir = nb_asprintf("%s/runs", deps->state_dir);
        r = l->runs_dir && l->cfg.name && l->cfg.python
                    ? nb_mkdirs(AT_FDCWD, l->runs_dir, 0700, err)
                    : nb_fail(err, NB_E_NOMEM, "out of memory");
        if (r < 0) {
                local_close(&l->base);
                return r;
        }
        l->cgroup = exec_delegated_cgroup(&why);
        nb_log(LOG_INFO, l->cgroup ? "jobs are limited by cgroups" : "jobs are limited by rlimits",
               NB_F_STR("executor", cfg->name), NB_F_STR("why", l->cgroup ? l->cgroup : why.msg));
        if (cfg->sandbox == SANDBOX_AUTO && sandbox_probe(&why) < 0)
                nb_log(LOG_WARNING,
                       "jobs run without a sandbox and see what this user sees; sandbox = "
                       "\"bubblewrap\" refuses them, \"none\" says that this is wanted",
                       NB_F_STR("executor", cfg->name), NB_F_STR("why", why.msg));
        *ret = &l->base;
        return 0;
}

/* ---- what the runner says ---- */

/* false: the run was released meanwhile. */
static bool tell(struct local_run *u, const struct exec_event *ev)
{
        u->telling = true;
        u->fn(u->arg, &u->base, ev);
        u->telling = false;
        return !u->released;
}

static bool tell_progress(struct local_run *u, enum exec_event_kind kind,
                          const struct runner_event *ev)
{
        return tell(u, &(struct exec_event){.kind = kind,
                                            .cells = ev->cells,
                                            .cells_done = ev->cells_done,
                                            .cell = ev->cell});
}

static bool take_line(struct local_run *u, const char *p, size_t n)
{
        struct runner_event ev;
        struct nb_err err;
        bool go_on = true;

        if (runner_event_parse(p, n, &ev, &err) < 0)
                return true; /* half a line of a runner that was killed */
        switch (ev.kind) {
        case RUNNER_KERNEL_READY:
                go_on = tell_progress(u, EXEC_RUNNING, &ev);
                break;
        case RUNNER_CELL_STARTED:
        case RUNNER_CELL_FINISHED:
                go_on = tell_progress(u, EXEC_CELL, &ev);
                break;
        case RUNNER_FINISHED:
                run_result_done(&u->result);
                u->result = ev.result;
                ev.result = (struct run_result){0};
                u->finished = u->result.class != CLASS_NONE;
                break;
        case RUNNER_CELL_FAILED: /* "finished" says it again */
        case RUNNER_OTHER:
                break;
        }
        runner_event_done(&ev);
        return go_on;
}

/* Each whole line in u->line.  false: released meanwhile. */
static bool take_lines(struct local_run *u)
{
        size_t from = 0;
        char *nl;

        while ((nl = memchr(u->line.data + from, '\n', u->line.len - from))) {
                size_t to = (size_t)(nl - u->line.data);

                if (!take_line(u, u->line.data + from, to - from))
                        return false;
                from = to + 1;
        }
        memmove(u->line.data, u->line.data + from, u->line.len - from);
        u->line.len -= from;
        return true;
}

/* What is new in events.jsonl.  false: released meanwhile. */
static bool read_events(struct local_run *u)
{
        nb_auto_free char *path = NULL;

        if (u->events_fd < 0) {
                path = nb_asprintf("%s/events.jsonl", u->dir);
                u->events_fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        }
        while (u->events_fd >= 0) {
                ssize_t n;

                if (nb_buf_reserve(&u->line, 8192) < 0)
                        nb_buf_clear(&u->line); /* longer than any event */
                if (nb_buf_reserve(&u->line, 8192) < 0)
                        return true;
                n = read(u->events_fd, u->line.data + u->line.len, 8192);
                if (n <= 0)
                        return true;
                u->line.len += (size_t)n;
                if (!take_lines(u))
                        return false;
        }
        return true;
}

/* ---- runs ---- */

static void run_free(struct local_run *u)
{
        nb_closep(&u->pidfd);
        nb_closep(&u->events_fd);
        nb_buf_done(&u->line);
        run_result_done(&u->result);
        free(u->dir);
        free(u);
}

static void local_release(struct exec_run *run)
{
        struct local_run *u = (struct local_run *)run;

        u->ended = loop_source_free(u->ended);
        u->timer = loop_source_free(u->timer);
        u->released = true;
        if (!u->telling)
                run_free(u);
}

static struct run_result lost_result(const struct local_run *u)
{
        return (struct run_result){
                .class = CLASS_LOST,
                .reason = nb_strdup(u->overdue ? "the runner hung, long after all that it "
                                                 "waits for had to end, and was killed"
                                               : "the runner was killed before it could "
                                                 "tell")};
}

static void run_ended(void *arg)
{
        struct local_run *u = arg;
        bool kept;

        if (u->child > 0)
                (void)waitpid(u->child, NULL, WNOHANG);
        u->child = 0;
        u->ended = loop_source_free(u->ended);
        u->timer = loop_source_free(u->timer);
        kept = read_events(u);
        nb_closep(&u->pidfd);
        u->pidfd = -1;
        if (kept && !u->finished) {
                run_result_done(&u->result);
                u->result = lost_result(u);
                exec_cgroup_remove(u->local->cgroup, u->runner);
        }
        if (!kept || !tell(u, &(struct exec_event){.kind = EXEC_FINISHED, .result = &u->result}))
                run_free(u);
}

/* A runner keeps all deadlines itself; one that is stopped, or waits for a disk
 * that does not answer, keeps none, and would have its slot for ever.  false:
 * nothing is left to watch. */
static bool run_hurry(struct local_run *u)
{
        uint64_t now = nb_mono_us(&nb_clock_real);

        if (now < u->deadline_us)
                return true;
        if (u->overdue) {
                /* Whatever keeps it in the kernel, it does nothing any more when that is over. */
                nb_log(LOG_ERR, "a runner cannot be killed; its run is given up",
                       NB_F_STR("directory", u->dir), NB_F_INT("pid", u->runner));
                run_ended(u);
                return false;
        }
        nb_log(LOG_WARNING, "a runner that hangs is killed", NB_F_STR("directory", u->dir),
               NB_F_INT("pid", u->runner));
        u->overdue = true;
        u->deadline_us = now + KILL_US;
        (void)syscall(SYS_pidfd_send_signal, u->pidfd, SIGKILL, NULL, 0);
        return true;
}

static void run_tick(void *arg)
{
        struct local_run *u = arg;

        if (!read_events(u))
                run_free(u);
        else if (run_hurry(u))
                loop_timer_arm(u->timer, EVENTS_EVERY_US);
}

/* When a runner that started now has hung.  It waits for another that builds its
 * environment as long as the job may run, then builds, then runs. */
static uint64_t deadline_from(const struct local *l, const struct exec_job *job)
{
        uint64_t build = l->deps.build_timeout_us ? l->deps.build_timeout_us : BUILD_TIMEOUT_US;
        uint64_t all = l->deps.overdue_us ? l->deps.overdue_us
                                          : 2 * job->timeout_us + 2 * build + SPARE_US;

        return job->timeout_us || l->deps.overdue_us ? nb_mono_us(&nb_clock_real) + all
                                                     : UINT64_MAX;
}

static void local_run_freep(struct local_run **u)
{
        if (*u)
                local_release(&(*u)->base);
}

static int run_make(struct local *l, const char *ref, exec_event_fn fn, void *arg,
                    struct local_run **ret, struct nb_err *err)
{
        struct local_run *u = calloc(1, sizeof(*u));

        if (!u)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        u->base.exec = &l->base;
        u->local = l;
        u->fn = fn;
        u->arg = arg;
        u->pidfd = u->events_fd = -1;
        u->deadline_us = UINT64_MAX;
        u->line = NB_BUF(EVENT_LINE_MAX);
        u->dir = nb_asprintf("%s/%s", l->runs_dir, ref);
        if (!u->dir) {
                local_release(&u->base);
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        *ret = u;
        return 0;
}

/* Watch the process behind u->pidfd. */
static int run_watch(struct local_run *u, struct nb_err *err)
{
        struct loop *loop = u->local->deps.loop;
        int r;

        r = loop_pidfd(loop, u->pidfd, run_ended, u, &u->ended, err);
        if (r == 0)
                r = loop_timer(loop, run_tick, u, &u->timer, err);
        if (r == 0)
                loop_timer_arm(u->timer, EVENTS_EVERY_US);
        return r;
}

static bool has_started(const struct local_run *u)
{
        nb_auto_free char *path = nb_asprintf("%s/started", u->dir);

        return !path || access(path, F_OK) == 0;
}

/* A start that failed leaves neither a process nor a directory. */
static void unstart(struct local_run *u)
{
        struct nb_err ignored;

        if (u->child > 0) {
                (void)kill(u->child, SIGKILL);
                (void)waitpid(u->child, NULL, 0);
        }
        (void)nb_rm_tree(AT_FDCWD, u->dir, &ignored);
}

static int local_start(struct exec *x, const struct exec_job *job, exec_event_fn fn, void *arg,
                       struct exec_run **ret, struct nb_err *err)
{
        struct local *l = (struct local *)x;
        NB_CLEANUP(local_run_freep) struct local_run *u = NULL;
        int r;

        r = run_make(l, job->ref, fn, arg, &u, err);
        if (r < 0)
                return r;
        if (mkdir(u->dir, 0700) < 0)
                return errno == EEXIST
                               ? nb_fail(err, NB_E_CONFLICT, "run %s was started before", job->ref)
                               : nb_fail_errno(err, errno, "%s", u->dir);
        u->deadline_us = deadline_from(l, job);
        r = exec_rundir_put_deadline(u->dir, u->deadline_us, err);
        if (r == 0)
                r = exec_spawn_runner(&(struct exec_spawn){.cfg = &l->cfg,
                                                           .deps = &l->deps,
                                                           .cgroup = l->cgroup,
                                                           .job = job,
                                                           .dir = u->dir},
                                      &u->child, err);
        if (r == 0) {
                u->runner = u->child;
                u->pidfd = (int)syscall(SYS_pidfd_open, u->child, 0);
                r = u->pidfd < 0 ? nb_fail_errno(err, errno, "pidfd_open") : run_watch(u, err);
        }
        if (r < 0) {
                unstart(u);
                return r;
        }
        *ret = &NB_TAKE(u)->base;
        return 0;
}

/* The pid that "started" names; 0 when it cannot be read. */
static pid_t started_pid(const char *dir)
{
        nb_auto_free char *path = nb_asprintf("%s/started", dir);
        nb_auto_buf text = NB_BUF(128);
        uint64_t pid = 0;

        if (!path || nb_read_file(AT_FDCWD, path, &text, NULL) < 0 || !text.len)
                return 0;
        text.data[strcspn(text.data, " \n")] = '\0';
        return nb_parse_u64(text.data, 1, INT32_MAX, &pid, NULL) == 0 ? (pid_t)pid : 0;
}

/* Does a runner hold the lock?  If not, *ret_fd has it now. */
static int lock_held(const char *dir, int *ret_fd, struct nb_err *err)
{
        nb_auto_free char *path = nb_asprintf("%s/lock", dir);
        nb_auto_fd int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

        if (fd < 0)
                return nb_fail_errno(err, errno, "%s/lock", dir);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? 1 : nb_fail_errno(err, errno, "%s", path);
        *ret_fd = NB_TAKE_FD(fd);
        return 0;
}

/* A descriptor of the runner that holds the lock of dir; -1: there is none
 * (any more); -2: it has not said yet who it is, or we could not look. */
static int runner_pidfd(const char *dir, pid_t *ret_pid, struct nb_err *err)
{
        nb_auto_fd int lock = -1, again = -1, pidfd = -1;
        int r = lock_held(dir, &lock, err);

        *ret_pid = started_pid(dir);
        if (r == 0)
                return -1;
        if (r < 0 || *ret_pid == 0)
                return -2;
        pidfd = (int)syscall(SYS_pidfd_open, *ret_pid, 0);
        /* Still locked: so it lived all the while, and the number was its own. */
        return pidfd >= 0 && lock_held(dir, &again, err) == 1 ? NB_TAKE_FD(pidfd) : -1;
}

static void attach_look(void *arg)
{
        struct local_run *u = arg;
        struct nb_err err;
        uint64_t now = nb_mono_us(&nb_clock_real);

        u->pidfd = runner_pidfd(u->dir, &u->runner, &err);
        if (u->pidfd == -2 && now < u->attach_until_us) {
                u->pidfd = -1;
                loop_timer_arm(u->timer, ATTACH_EVERY_US);
                return;
        }
        u->timer = loop_source_free(u->timer);
        if (u->pidfd < 0 || run_watch(u, &err) < 0) {
                run_ended(u);
                return;
        }
        if (u->cancel_asked)
                (void)syscall(SYS_pidfd_send_signal, u->pidfd, SIGTERM, NULL, 0);
}

/* It ended while nobody looked, or is about to say who it is: look in the next
 * round. */
static int attach_later(struct local_run *u, struct nb_err *err)
{
        int r = loop_timer(u->local->deps.loop, attach_look, u, &u->timer, err);

        u->attach_until_us = nb_mono_us(&nb_clock_real) + ATTACH_TIMEOUT_US;
        if (r == 0)
                loop_timer_arm(u->timer, 0);
        return r;
}

static int local_attach(struct exec *x, const char *ref, exec_event_fn fn, void *arg,
                        struct exec_run **ret, struct nb_err *err)
{
        struct local *l = (struct local *)x;
        NB_CLEANUP(local_run_freep) struct local_run *u = NULL;
        nb_auto_fd int lock = -1;
        int r;

        r = run_make(l, ref, fn, arg, &u, err);
        if (r < 0)
                return r;
        if (access(u->dir, F_OK) < 0)
                return nb_fail(err, NB_E_NOTFOUND, "run %s never began", ref);
        r = lock_held(u->dir, &lock, err);
        if (r < 0)
                return r;
        if (r == 0 && !has_started(u)) {
                /* With the directory gone a runner that was just being started finds
                 * nothing to run in. */
                r = nb_rm_tree(AT_FDCWD, u->dir, err);
                return r < 0 ? r : nb_fail(err, NB_E_NOTFOUND, "run %s never began", ref);
        }
        u->deadline_us = exec_rundir_deadline(u->dir);
        r = attach_later(u, err);
        if (r < 0)
                return r;
        *ret = &NB_TAKE(u)->base;
        return 0;
}

static int local_cancel(struct exec_run *run, struct nb_err *err)
{
        struct local_run *u = (struct local_run *)run;
        uint64_t hurried = nb_mono_us(&nb_clock_real) + CANCEL_US;

        if (!u->cancel_asked && !u->overdue && hurried < u->deadline_us)
                u->deadline_us = hurried;
        u->cancel_asked = true;
        if (u->pidfd < 0)
                return 0; /* over already, or asked as soon as it is found */
        if (syscall(SYS_pidfd_send_signal, u->pidfd, SIGTERM, NULL, 0) < 0 && errno != ESRCH)
                return nb_fail_errno(err, errno, "cannot stop %s", u->dir);
        return 0;
}

static int local_collect(struct exec_run *run, int dirfd, struct nb_err *err)
{
        return exec_rundir_collect(((struct local_run *)run)->dir, run->max_executed, dirfd, err);
}

static void local_forget(struct exec *x, const char *ref)
{
        struct local *l = (struct local *)x;
        nb_auto_free char *dir = nb_asprintf("%s/%s", l->runs_dir, ref);

        /* On the pool: a job's home may hold a data set.  What is not there is not
         * removed later either, when a run of that name may have begun. */
        if (dir && access(dir, F_OK) == 0)
                loop_remove_tree_take(l->deps.loop, NB_TAKE(dir));
}

/* Nobody waits for it any more, but it may still run. */
static void end_unwanted(struct local *l, const char *ref)
{
        nb_auto_free char *dir = nb_asprintf("%s/%s", l->runs_dir, ref);
        nb_auto_fd int pidfd = -1;
        struct nb_err err;
        pid_t pid = 0;

        if (!dir)
                return;
        pidfd = runner_pidfd(dir, &pid, &err);
        if (pidfd < 0)
                return;
        nb_log(LOG_WARNING, "a run that nobody waits for is ended", NB_F_STR("ref", ref));
        (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        exec_cgroup_remove(l->cgroup, pid);
}

static void local_sweep(struct exec *x, bool (*keep)(void *arg, const char *ref), void *arg)
{
        struct local *l = (struct local *)x;
        DIR *d = opendir(l->runs_dir);

        for (struct dirent *e; d && (e = readdir(d));)
                if (e->d_name[0] != '.' && !keep(arg, e->d_name)) {
                        end_unwanted(l, e->d_name);
                        local_forget(x, e->d_name);
                }
        if (d)
                closedir(d);
}

const struct exec_ops exec_local_ops = {
        .name = "local",
        .caps = EXEC_CAP_SURVIVES,
        .open = local_open,
        .close = local_close,
        .start = local_start,
        .attach = local_attach,
        .cancel = local_cancel,
        .collect = local_collect,
        .release = local_release,
        .forget = local_forget,
        .sweep = local_sweep,
};
