/* SPDX-License-Identifier: Apache-2.0 */

/* env-python.c - interpreters of this machine, asked who they are */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <nbcid/clock.h>
#include <nbcid/num.h>

#include "env-priv.h"

#define ASK_US (20 * NB_US_PER_S)
#define OLDEST 6 /* python3.6, the first one that a user may still have */
#define NEWEST 30

void env_python_done(struct env_python *p)
{
        free(p->path);
        free(p->version);
        free(p->platform);
        free(p->implementation);
        *p = (struct env_python){0};
}

/* ---- a small program's output ---- */

void env_probe_done(struct env_probe *p)
{
        if (p->pid > 0) {
                (void)kill(p->pid, SIGKILL);
                (void)waitpid(p->pid, NULL, 0);
        }
        nb_closep(&p->fd);
        *p = ENV_PROBE_NONE;
}

static int fill(posix_spawn_file_actions_t *fa, posix_spawnattr_t *at, int out, bool errors)
{
        sigset_t none, all;
        int r;

        sigemptyset(&none);
        sigfillset(&all);
        r = posix_spawn_file_actions_addopen(fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(fa, out, STDOUT_FILENO);
        if (r == 0 && errors)
                r = posix_spawn_file_actions_adddup2(fa, out, STDERR_FILENO);
        else if (r == 0)
                r = posix_spawn_file_actions_addopen(fa, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_addclosefrom_np(fa, 3);
        if (r == 0)
                r = posix_spawnattr_setsigmask(at, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(at, &all);
        if (r == 0)
                r = posix_spawnattr_setflags(at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        return r;
}

int env_probe_start(const char *const *argv, const char *home, struct env_probe *ret,
                    struct nb_err *err)
{
        nb_auto_free char *at_home = nb_asprintf("HOME=%s", home ? home : "/nonexistent");
        const char *const env[] = {"PATH=" SANDBOX_PATH, "LANG=C.UTF-8", at_home, NULL};
        nb_auto_fd int in = -1, out = -1;
        posix_spawn_file_actions_t fa;
        posix_spawnattr_t at;
        pid_t pid;
        int p[2], r;

        if (!at_home)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        if (pipe2(p, O_CLOEXEC) < 0)
                return nb_fail_errno(err, errno, "pipe");
        in = p[0];
        out = p[1];
        if (posix_spawn_file_actions_init(&fa) != 0)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        if (posix_spawnattr_init(&at) != 0) {
                posix_spawn_file_actions_destroy(&fa);
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        r = fill(&fa, &at, out, home != NULL);
        if (r == 0)
                r = posix_spawn(&pid, argv[0], &fa, &at, (char *const *)(uintptr_t)argv,
                                (char *const *)(uintptr_t)env);
        posix_spawnattr_destroy(&at);
        posix_spawn_file_actions_destroy(&fa);
        if (r != 0)
                return nb_fail_errno(err, r, "cannot start %s", argv[0]);
        *ret = (struct env_probe){.pid = pid, .fd = NB_TAKE_FD(in)};
        return 0;
}

int env_probe_finish(struct env_probe *p, uint64_t timeout_us, struct nb_buf *ret,
                     struct nb_err *err)
{
        uint64_t until = nb_mono_us(&nb_clock_real) + timeout_us;
        struct pollfd fd = {.fd = p->fd, .events = POLLIN};
        ssize_t n;
        int status = 0;
        pid_t ended = 0;

        for (;;) {
                uint64_t now = nb_mono_us(&nb_clock_real);

                if (nb_buf_reserve(ret, 16384) < 0 || now >= until)
                        return nb_fail(err, NB_E_TIMEOUT, "it did not answer in time");
                if (poll(&fd, 1, (int)((until - now) / 1000) + 1) <= 0)
                        continue;
                n = read(p->fd, ret->data + ret->len, 16383);
                if (n <= 0)
                        break;
                ret->len += (size_t)n;
                ret->data[ret->len] = '\0';
        }
        /* It has closed its output, so it is about to end; the kill is for one that is not. */
        for (int i = 0; i < 200 && (ended = waitpid(p->pid, &status, WNOHANG)) == 0; i++)
                (void)poll(NULL, 0, 5);
        if (ended == 0)
                return nb_fail(err, NB_E_TIMEOUT, "it did not end in time");
        p->pid = 0;
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* ---- who are you? ---- */

static char *member(const struct nb_json_tree *t, const char *key)
{
        return nb_strdup(nb_json_str(nb_json_get(nb_json_root(t), key), NULL));
}

int env_python_ask(const struct env_context *c, const char *path, struct env_python *ret,
                   struct nb_err *err)
{
        static const struct nb_json_limits limits = {.bytes = 4096, .depth = 2};
        nb_auto_free char *script = nb_asprintf("%s/environment.py", c->dir->path);
        const char *const argv[] = {path, "-I", "-S", script, "describe", NULL};
        NB_CLEANUP(env_probe_done) struct env_probe probe = ENV_PROBE_NONE;
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
        NB_CLEANUP(env_python_done) struct env_python p = {0};
        nb_auto_buf said = NB_BUF(64 * 1024);
        int r;

        if (!script)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = env_probe_start(argv, NULL, &probe, err);
        if (r == 0)
                r = env_probe_finish(&probe, ASK_US, &said, err);
        if (r > 0)
                r = nb_fail(err, NB_E_INVALID, "it ended with status %d", r);
        if (r == 0)
                r = nb_json_read(nb_buf_str(&said), said.len, &limits, &t, NULL, err);
        if (r < 0)
                return nb_wrap(err, r, "%s, asked for its version", path);
        p = (struct env_python){.path = nb_strdup(path),
                                .version = member(t, "version"),
                                .platform = member(t, "platform"),
                                .implementation = member(t, "implementation")};
        if (!p.path || !p.version || !p.platform || !p.implementation)
                return nb_fail(err, NB_E_INVALID, "%s does not say what it is", path);
        *ret = p;
        p = (struct env_python){0};
        return 0;
}

bool env_version_is(const char *version, const char *wanted)
{
        size_t n = strlen(wanted);

        nb_assert(version); /* of an interpreter that was asked */
        return strncmp(version, wanted, n) == 0 && (version[n] == '\0' || version[n] == '.');
}

/* "3.11.2 (/usr/bin/python3), python3.9": what a notebook may ask for. */
static char *list_there(const struct env_python *own)
{
        nb_auto_buf b = NB_BUF(4096);

        nb_buf_printf(&b, "%s (%s)", own->version, own->path);
        for (int minor = OLDEST; minor <= NEWEST; minor++) {
                nb_auto_free char *path = NULL;
                char name[32];

                (void)nb_fmt(name, sizeof(name), "python3.%d", minor);
                if (!env_version_is(own->version, name + strlen("python")) &&
                    sandbox_find_program(name, &path, NULL) == 0)
                        nb_buf_printf(&b, ", %s", name);
        }
        return nb_buf_steal(&b);
}

int env_python_find(const struct env_context *c, const char *version, struct env_python *ret,
                    struct nb_err *err)
{
        NB_CLEANUP(env_python_done) struct env_python p = {0};
        nb_auto_free char *name = NULL, *path = NULL, *there = NULL;
        size_t n;
        int r = env_python_ask(c, c->python, &p, err);

        if (r < 0)
                return r;
        if (version && !env_version_is(p.version, version)) {
                struct env_python other;

                /* "3.11.4" is looked for as python3.11. */
                n = strcspn(version, ".");
                n += version[n] ? 1 + strcspn(version + n + 1, ".") : 0;
                name = nb_asprintf("python%.*s", (int)n, version);
                there = list_there(&p);
                if (!name || !there)
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
                if (strspn(version, "0123456789.") != strlen(version) ||
                    sandbox_find_program(name, &path, NULL) < 0 ||
                    env_python_ask(c, path, &other, err) < 0)
                        return nb_fail(err, NB_E_NOTFOUND,
                                       "the notebook asks for Python %.40s, which is not on this "
                                       "host; there is: %s",
                                       version, there);
                env_python_done(&p);
                p = other;
                if (!env_version_is(p.version, version))
                        return nb_fail(err, NB_E_NOTFOUND,
                                       "the notebook asks for Python %.40s, and %s is %s; there "
                                       "is: %s",
                                       version, path, p.version, there);
        }
        *ret = p;
        p = (struct env_python){0};
        return 0;
}
