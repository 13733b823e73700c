/* SPDX-License-Identifier: Apache-2.0 */

/* spawn.c - start a runner: `nbcid run` with all that it must know */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>

#include <nbcid/fs.h>
#include <nbcid/notebook_environment.h>
#include <nbcid/num.h>
#include <nbcid/sandbox.h>
#include <nbcid/str.h>

#include "exec-priv.h"

#define RUN_DIR_FD 3
#define RUN_DIR_PATH "/proc/self/fd/3"

static void add(struct nb_strv *v, bool *ok, const char *option, char *value)
{
        *ok = nb_strv_add(v, option) == 0 && *ok;
        *ok = nb_strv_add_take(v, value) == 0 && *ok;
}

/* What the policy lets through was decided when the job was planned; a later
 * configuration does not change it. */
static void add_asked(struct nb_strv *v, bool *ok)
{
        add(v, ok, "--environment", nb_strdup(RUN_DIR_PATH "/asked.json"));
        for (size_t i = 0; requirements_allow_name(i); i++)
                add(v, ok, "--allow", nb_strdup(requirements_allow_name(i)));
}

/* Where environments are kept and how they are built. */
static void add_environments(const struct exec_spawn *s, struct nb_strv *v, bool *ok)
{
        const struct exec_deps *d = s->deps;

        add(v, ok, "--environments", nb_asprintf("%s/environments", d->state_dir));
        if (d->environments_max)
                add(v, ok, "--environments-max",
                    nb_asprintf("%lluB", (unsigned long long)d->environments_max));
        if (d->build_timeout_us)
                add(v, ok, "--build-timeout",
                    nb_asprintf("%llums",
                                (unsigned long long)(d->build_timeout_us / NB_US_PER_MS)));
        if (d->index_url)
                add(v, ok, "--index-url", nb_strdup(d->index_url));
        if (d->pip_config)
                add(v, ok, "--pip-config", nb_strdup(d->pip_config));
        if (s->cfg->podman)
                add(v, ok, "--podman", nb_strdup("podman"));
        if (s->cfg->image_fallback)
                add(v, ok, "--image-fallback", nb_strdup("default"));
}

static int write_environment(const struct exec_spawn *s, int dir, struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(NB_ENVIRONMENT_MAX);
        int r;

        if (!s->job->environment)
                return 0;
        r = nb_environment_write(s->job->environment, &text, err);
        return r < 0 ? r
                     : nb_write_file(dir, "asked.json", nb_buf_str(&text), text.len, 0600, false,
                                     err);
}

static int runner_argv(const struct exec_spawn *s, struct nb_strv *v, struct nb_err *err)
{
        const struct config_executor *c = s->cfg;
        const struct exec_job *job = s->job;
        bool ok = nb_strv_add(v, s->deps->self) == 0 && nb_strv_add(v, "run") == 0 &&
                  nb_strv_add(v, "--quiet") == 0;

        /* By descriptor: when attach() of a later process finds that this one came to nothing,
         * and its directory is made anew, a slow runner of ours must not find that. */
        add(v, &ok, "--run-dir", nb_strdup(RUN_DIR_PATH));
        add(v, &ok, "--workspace", nb_strdup(job->workspace));
        add(v, &ok, "--python", nb_strdup(c->python));
        add(v, &ok, "--sandbox", nb_strdup(sandbox_kind_name(c->sandbox)));
        add(v, &ok, "--timeout",
            nb_asprintf("%llums", (unsigned long long)(job->timeout_us / NB_US_PER_MS)));
        add(v, &ok, "--cell-timeout",
            nb_asprintf("%llums", (unsigned long long)(job->cell_timeout_us / NB_US_PER_MS)));
        add(v, &ok, "--memory-max", nb_asprintf("%lluB", (unsigned long long)c->memory_max));
        add(v, &ok, "--processes-max", nb_asprintf("%u", c->processes_max));
        add(v, &ok, "--max-output", nb_asprintf("%lluB", (unsigned long long)job->max_output));
        add(v, &ok, "--hide", nb_strdup(s->deps->state_dir));
        for (const char *const *h = s->deps->hide; h && *h; h++)
                add(v, &ok, "--hide", nb_strdup(*h));
        if (s->cgroup)
                add(v, &ok, "--cgroup", nb_strdup(s->cgroup));
        if (job->environment)
                add_asked(v, &ok);
        add_environments(s, v, &ok);
        ok = nb_strv_add(v, "--") == 0 && ok;
        ok = nb_strv_add(v, job->notebook) == 0 && ok;
        return ok ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

static int fill_spawn(posix_spawn_file_actions_t *fa, posix_spawnattr_t *at, const char *log,
                      int dir)
{
        sigset_t blocked, all;
        int r;

        /* Blocked until the runner reads them: cancelled at once is cancelled, not lost. */
        sigemptyset(&blocked);
        sigaddset(&blocked, SIGTERM);
        sigfillset(&all);
        r = posix_spawn_file_actions_addopen(fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_addopen(fa, STDOUT_FILENO, log,
                                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(fa, STDOUT_FILENO, STDERR_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(fa, dir, RUN_DIR_FD);
        if (r == 0)
                r = posix_spawn_file_actions_addclosefrom_np(fa, RUN_DIR_FD + 1);
        if (r == 0)
                r = posix_spawnattr_setsigmask(at, &blocked);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(at, &all);
        if (r == 0)
                r = posix_spawnattr_setflags(at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                         POSIX_SPAWN_SETSID);
        return r;
}

/* A session of its own: neither a terminal's ^C nor the end of the daemon
 * reaches the runner.  Its environment is ours to write, not the daemon's. */
int exec_spawn_runner(const struct exec_spawn *s, pid_t *ret, struct nb_err *err)
{
        static const char *const env[] = {"PATH=" SANDBOX_PATH, "LANG=C.UTF-8", NULL};
        nb_auto_free char *log = nb_asprintf("%s/runner.txt", s->dir);
        nb_auto_fd int dir = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        posix_spawn_file_actions_t fa;
        NB_CLEANUP(nb_strv_done) struct nb_strv argv = {0};
        posix_spawnattr_t at;
        int r;

        if (dir < 0)
                return nb_fail_errno(err, errno, "%s", s->dir);
        r = write_environment(s, dir, err);
        if (r < 0)
                return r;
        r = runner_argv(s, &argv, err);
        if (r < 0)
                return r;
        if (!log || posix_spawn_file_actions_init(&fa) != 0)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        if (posix_spawnattr_init(&at) != 0) {
                posix_spawn_file_actions_destroy(&fa);
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        r = fill_spawn(&fa, &at, log, dir);
        if (r == 0)
                r = posix_spawn(ret, s->deps->self, &fa, &at, argv.v,
                                (char *const *)(uintptr_t)env);
        posix_spawnattr_destroy(&at);
        posix_spawn_file_actions_destroy(&fa);
        return r ? nb_fail_errno(err, r, "cannot start %s", s->deps->self) : 0;
}
