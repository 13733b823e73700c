/* SPDX-License-Identifier: Apache-2.0 */

/* engine-process.c - start the engine with a clean environment and limits.
 * fork() is fine here: the runner is a process with one thread. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <nbcid/fs.h>

#include "runner-priv.h"

#define ENGINE_EVENTS_FD 3
#define ENGINE_LINE_MAX (64 * 1024)
#define PER_CORE (64U * 1024 * 1024)

static void limit(int what, rlim_t v)
{
        struct rlimit r;

        if (getrlimit((__rlimit_resource_t)what, &r) == 0) {
                if (r.rlim_max == RLIM_INFINITY || v < r.rlim_max)
                        r = (struct rlimit){.rlim_cur = v, .rlim_max = v};
                (void)setrlimit((__rlimit_resource_t)what, &r);
        }
}

/* How much each process may have, where no cgroup counts for us.  RLIMIT_DATA
 * counts stacks of threads whole, and numerical libraries start one a core with
 * a buffer each: they get room beside the limit, and the runner, who sees what
 * is really used, keeps it.  RLIMIT_NPROC counts the whole user (setrlimit(2)). */
static void limit_without_cgroup(const struct engine_spec *s, unsigned others)
{
        long cores = sysconf(_SC_NPROCESSORS_ONLN);

        if (s->memory_max)
                limit(RLIMIT_DATA, s->memory_max + (rlim_t)(cores > 0 ? cores : 1) * PER_CORE);
        if (s->processes_max)
                limit(RLIMIT_NPROC, (rlim_t)s->processes_max + others);
}

struct child_args {
        const struct engine_spec *spec;
        char **env;
        int control, events, output;
        unsigned others; /* threads that our user has besides */
};

/* After fork, before exec: only what a child of a one-threaded process may
 * do.  A failure is said on the log, which is stderr. */
static _Noreturn void child(const struct child_args *a, pid_t parent)
{
        const struct engine_spec *s = a->spec;
        sigset_t none;
        int score;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(126);
        (void)setsid();
        sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        for (int i = 1; i < NSIG; i++)
                (void)signal(i, SIG_DFL); /* an ignored SIGINT would be inherited by kernels */
        if (dup2(a->control, STDIN_FILENO) < 0 || dup2(a->output, STDOUT_FILENO) < 0 ||
            dup2(a->output, STDERR_FILENO) < 0)
                _exit(126);
        /* dup2 to itself would keep close-on-exec. */
        if (a->events == ENGINE_EVENTS_FD ? fcntl(a->events, F_SETFD, 0) < 0
                                          : dup2(a->events, ENGINE_EVENTS_FD) < 0)
                _exit(126);
        (void)syscall(SYS_close_range, ENGINE_EVENTS_FD + 1, ~0U, 0);
        /* When memory runs out the notebook goes first, not the daemon. */
        score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        if (score >= 0 && write(score, "500", 3) < 0)
                dprintf(STDERR_FILENO, "oom_score_adj: %s\n", strerror(errno));
        if (s->cgroup->dir) {
                int r = cgroup_enter(s->cgroup);

                if (r < 0) {
                        dprintf(STDERR_FILENO, "cannot enter %s: %s\n", s->cgroup->dir,
                                strerror(-r));
                        _exit(126);
                }
        } else {
                limit_without_cgroup(s, a->others);
        }
        limit(RLIMIT_CORE, 0);
        if (!s->in_namespace && chdir(s->cwd) < 0) {
                dprintf(STDERR_FILENO, "cannot enter %s: %s\n", s->cwd, strerror(errno));
                _exit(126);
        }
        execve(s->argv->v[0], s->argv->v, a->env);
        dprintf(STDERR_FILENO, "cannot run %s: %s\n", s->argv->v[0], strerror(errno));
        _exit(127);
}

/* End as the engine ended: the runner reads our status for its. */
static _Noreturn void end_like(int status)
{
        sigset_t none;

        if (!WIFSIGNALED(status))
                _exit(WEXITSTATUS(status));
        sigemptyset(&none);
        (void)signal(WTERMSIG(status), SIG_DFL);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        (void)raise(WTERMSIG(status));
        _exit(128 + WTERMSIG(status));
}

/* Between runner and engine, for the case that the runner is killed: whatever
 * the job left in whatever session comes to us, and goes with us. */
static _Noreturn void guard(const struct child_args *a, pid_t runner)
{
        sigset_t all;
        pid_t self = getpid(), engine;

        sigfillset(&all);
        (void)sigprocmask(SIG_SETMASK, &all, NULL);
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || getppid() != runner)
                _exit(126);
        limit(RLIMIT_CORE, 0);
        engine = fork();
        if (engine < 0) {
                dprintf(a->output, "fork: %s\n", strerror(errno));
                _exit(126);
        }
        if (engine == 0)
                child(a, self);
        (void)syscall(SYS_close_range, 0, ~0U, 0);
        for (;;) {
                pid_t pid;
                int status;

                (void)sigwaitinfo(&all, NULL);
                if (getppid() != runner) {
                        tree_kill();
                        _exit(126);
                }
                while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                        if (pid == engine)
                                end_like(status);
        }
}

/* Nothing is inherited: no token, no credential directory. */
static int make_env(const struct engine_spec *s, struct nb_strv *ret, struct nb_err *err)
{
        const char *home = s->home;
        bool ok = nb_strv_add(ret, "PATH=" SANDBOX_PATH) == 0 &&
                  nb_strv_add(ret, "LANG=C.UTF-8") == 0 && nb_strv_add(ret, "TERM=dumb") == 0 &&
                  nb_strv_add(ret, "PYTHONUNBUFFERED=1") == 0 &&
                  /* Else the debugger of ipykernel fills the log with warnings. */
                  nb_strv_add(ret, "PYDEVD_DISABLE_FILE_VALIDATION=1") == 0 &&
                  nb_strv_add(ret, "NBCID=1") == 0 && nb_strv_add(ret, "CI=true") == 0 &&
                  nb_strv_add_take(ret, nb_asprintf("HOME=%s", home)) == 0 &&
                  nb_strv_add_take(ret, nb_asprintf("JUPYTER_RUNTIME_DIR=%s/runtime", home)) == 0;

        for (const char *const *e = s->env; e && *e; e++)
                ok = nb_strv_add(ret, *e) == 0 && ok;
        return ok ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

int engine_start(const struct engine_spec *s, struct engine *ret, struct nb_err *err)
{
        NB_CLEANUP(nb_strv_done) struct nb_strv env = {0};
        nb_auto_fd int ev_r = -1, ev_w = -1, out_r = -1, out_w = -1, ctl_r = -1, ctl_w = -1,
                       pidfd = -1;
        pid_t pid, self = getpid();
        struct child_args a;
        int p[2], r;

        r = make_env(s, &env, err);
        if (r < 0)
                return r;
        if (pipe2(p, O_CLOEXEC) < 0)
                return nb_fail_errno(err, errno, "pipe");
        ev_r = p[0];
        ev_w = p[1];
        if (pipe2(p, O_CLOEXEC) < 0)
                return nb_fail_errno(err, errno, "pipe");
        out_r = p[0];
        out_w = p[1];
        if (pipe2(p, O_CLOEXEC) < 0)
                return nb_fail_errno(err, errno, "pipe");
        ctl_r = p[0];
        ctl_w = p[1];
        if (fcntl(ev_r, F_SETFL, O_NONBLOCK) < 0 || fcntl(out_r, F_SETFL, O_NONBLOCK) < 0)
                return nb_fail_errno(err, errno, "fcntl");
        a = (struct child_args){.spec = s,
                                .env = env.v,
                                .control = ctl_r,
                                .events = ev_w,
                                .output = out_w,
                                .others = tree_threads_of_user()};
        pid = fork();
        if (pid < 0)
                return nb_fail_errno(err, errno, "fork");
        if (pid == 0)
                guard(&a, self);
        pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (pidfd < 0) {
                r = nb_fail_errno(err, errno, "pidfd_open");
                (void)kill(pid, SIGKILL);
                (void)waitpid(pid, NULL, 0);
                return r;
        }
        *ret = (struct engine){.pid = pid,
                               .pidfd = NB_TAKE_FD(pidfd),
                               .events_fd = NB_TAKE_FD(ev_r),
                               .output_fd = NB_TAKE_FD(out_r),
                               .control_fd = NB_TAKE_FD(ctl_w),
                               .events = NB_BUF(ENGINE_LINE_MAX)};
        return 0;
}

void engine_done(struct engine *e)
{
        nb_closep(&e->pidfd);
        nb_closep(&e->events_fd);
        nb_closep(&e->output_fd);
        nb_closep(&e->control_fd);
        e->pidfd = e->events_fd = e->output_fd = e->control_fd = -1;
        nb_buf_done(&e->events);
}
