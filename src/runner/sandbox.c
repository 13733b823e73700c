/* SPDX-License-Identifier: Apache-2.0 */

/*
 * sandbox.c - bubblewrap's command line around the engine
 *
 * The job sees the system read-only, a process list of its own, an empty /tmp,
 * /run and home, its workspace and its run directory's out/ and home/; not the
 * daemon's state nor credentials.  The network stays: notebooks load data.
 */

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "runner-priv.h"

int sandbox_find_program(const char *name, char **ret, struct nb_err *err)
{
        static const char *const dirs[] = {"/usr/local/bin", "/usr/bin", "/bin"};

        if (strchr(name, '/')) {
                *ret = realpath(name, NULL);
                if (!*ret)
                        return nb_fail_errno(err, errno, "%s", name);
                free(*ret); /* only asked whether it is there: a venv's python must keep its
                             * own name */
                *ret = nb_strdup(name);
                return *ret ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        for (size_t i = 0; i < NB_ARRAY_SIZE(dirs); i++) {
                nb_auto_free char *path = nb_asprintf("%s/%s", dirs[i], name);

                if (!path)
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
                if (access(path, X_OK) == 0) {
                        *ret = NB_TAKE(path);
                        return 0;
                }
        }
        return nb_fail(err, NB_E_NOTFOUND,
                       "there is no program \"%s\" in " SANDBOX_PATH "; give its whole path", name);
}

struct words {
        struct nb_strv *v;
        bool failed;
};

static void word(struct words *w, const char *s)
{
        w->failed = w->failed || nb_strv_add(w->v, s) < 0;
}

static void words3(struct words *w, const char *a, const char *b, const char *c)
{
        word(w, a);
        word(w, b);
        if (c)
                word(w, c);
}

/* Does it work here?  User namespaces may be switched off. */
static bool bubblewrap_works(const char *bwrap)
{
        const char *const argv[] = {bwrap,    "--ro-bind", "/",     "/",    "--unshare-pid",
                                    "--proc", "/proc",     "--dev", "/dev", "--cap-drop",
                                    "ALL",    "true",      NULL};
        posix_spawn_file_actions_t fa;
        pid_t pid;
        int status = -1, r;

        if (posix_spawn_file_actions_init(&fa) != 0)
                return false;
        (void)posix_spawn_file_actions_addopen(&fa, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        r = posix_spawn(&pid, bwrap, &fa, NULL, (char *const *)(uintptr_t)argv, environ);
        posix_spawn_file_actions_destroy(&fa);
        return r == 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
               WEXITSTATUS(status) == 0;
}

/* Is path dir, or below it? */
static bool is_below(const char *path, const char *dir)
{
        size_t n = strlen(dir);

        return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* Empty and small: a tmpfs is memory that no process shows. */
static void hide_dir(struct words *w, const char *path)
{
        words3(w, "--size", "1048576", "--tmpfs");
        word(w, path);
}

static void hide_path(struct words *w, const char *path)
{
        nb_auto_free char *real = realpath(path, NULL);
        struct stat st;

        if (!real || stat(real, &st) < 0)
                return;
        if (S_ISDIR(st.st_mode))
                hide_dir(w, real);
        else
                words3(w, "--ro-bind", "/dev/null", real);
}

static void hide_matches(struct words *w, const char *pattern)
{
        glob_t g = {0};

        if (glob(pattern, 0, NULL, &g) == 0)
                for (size_t i = 0; i < g.gl_pathc; i++)
                        hide_path(w, g.gl_pathv[i]);
        globfree(&g);
}

/* Homes hold keys of people.  An interpreter that lives in one (pyenv, conda)
 * keeps that one in sight, but for the usual places of keys. */
static void hide_homes(struct words *w, const char *python)
{
        static const struct {
                const char *dir, *each;
        } homes[] = {{"/root", "/root"}, {"/home", "/home/*"}};
        static const char *const keys[] = {".ssh", ".aws", ".gnupg", ".config/gcloud", ".kube"};
        nb_auto_free char *real = realpath(python, NULL);

        for (size_t i = 0; i < NB_ARRAY_SIZE(homes); i++) {
                if (access(homes[i].dir, F_OK) < 0)
                        continue;
                if (!is_below(python, homes[i].dir) && !(real && is_below(real, homes[i].dir))) {
                        hide_dir(w, homes[i].dir);
                        continue;
                }
                for (size_t k = 0; k < NB_ARRAY_SIZE(keys); k++) {
                        nb_auto_free char *path = nb_asprintf("%s/%s", homes[i].each, keys[k]);

                        if (path)
                                hide_matches(w, path);
                }
        }
}

/* What holds the workspace is hidden before that is shown, the rest after, so
 * that a secret inside a workspace is none. */
static void hide_paths(struct words *w, const struct sandbox_spec *s, bool around)
{
        for (const char *const *h = s->hide; h && *h; h++) {
                nb_auto_free char *real = realpath(*h, NULL);

                if (real && is_below(s->workspace, real) == around)
                        hide_path(w, real);
        }
}

/* A virtual environment may live where the job sees nothing (/tmp). */
static void show_python(struct words *w, const char *python)
{
        nb_auto_free char *prefix = nb_strdup(python);

        for (int i = 0; prefix && i < 2; i++) {
                char *slash = strrchr(prefix, '/');

                if (slash)
                        *slash = '\0';
        }
        if (prefix && prefix[0] == '/' && !nb_streq(prefix, "/usr") && !is_below(prefix, "/root") &&
            !is_below(prefix, "/home"))
                words3(w, "--ro-bind", prefix, prefix);
}

static void show_gpus(struct words *w)
{
        glob_t g = {0};

        if (glob("/dev/nvidia*", 0, NULL, &g) == 0)
                for (size_t i = 0; i < g.gl_pathc; i++)
                        words3(w, "--dev-bind-try", g.gl_pathv[i], g.gl_pathv[i]);
        globfree(&g);
        if (access("/dev/dri", F_OK) == 0)
                words3(w, "--dev-bind-try", "/dev/dri", "/dev/dri");
        if (access("/dev/kfd", F_OK) == 0)
                words3(w, "--dev-bind-try", "/dev/kfd", "/dev/kfd");
}

/* The system as the job sees it, without what is its own. */
static void wrap_system(const struct sandbox_spec *s, struct words *w)
{
        char size[32];

        words3(w, "--ro-bind", "/", "/");
        words3(w, "--dev", "/dev", NULL);
        show_gpus(w);
        words3(w, "--proc", "/proc", NULL);
        /* The kernel asks for root's user id there, not for a capability. */
        if (geteuid() == 0) {
                words3(w, "--ro-bind", "/proc/sys", "/proc/sys");
                words3(w, "--ro-bind-try", "/proc/sysrq-trigger", "/proc/sysrq-trigger");
        }
        if (s->memory_max) {
                (void)nb_fmt(size, sizeof(size), "%llu", (unsigned long long)s->memory_max);
                words3(w, "--size", size, NULL);
        }
        words3(w, "--tmpfs", "/dev/shm", NULL);
        hide_dir(w, "/run");
        /* /etc/resolv.conf often points here. */
        words3(w, "--ro-bind-try", "/run/systemd/resolve", "/run/systemd/resolve");
        hide_homes(w, s->python);
}

static int wrap(const struct sandbox_spec *s, const char *bwrap, struct words *w,
                struct nb_err *err)
{
        nb_auto_free char *out = nb_asprintf("%s/out", s->run_dir);
        nb_auto_free char *home = nb_asprintf("%s/home", s->run_dir);
        nb_auto_free char *tmp = nb_asprintf("%s/tmp", s->run_dir);
        nb_auto_free char *engine = nb_asprintf("%s/engine.py", s->run_dir);
        nb_auto_free char *spec = nb_asprintf("%s/spec.json", s->run_dir);

        if (!out || !home || !tmp || !engine || !spec)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        word(w, bwrap);
        word(w, "--die-with-parent");
        word(w, "--new-session");
        word(w, "--unshare-pid");
        word(w, "--unshare-ipc");
        word(w, "--unshare-uts");
        words3(w, "--cap-drop", "ALL", NULL); /* else root could undo the mounts */
        wrap_system(s, w);
        /* On disk, not in memory, and gone with the run directory. */
        words3(w, "--bind", tmp, "/tmp");
        words3(w, "--bind", tmp, "/var/tmp");
        show_python(w, s->python);
        hide_paths(w, s, true);
        words3(w, "--bind", s->workspace, s->workspace);
        hide_paths(w, s, false);
        words3(w, "--bind", out, out);
        words3(w, "--bind", home, home);
        words3(w, "--ro-bind", engine, engine);
        words3(w, "--ro-bind", spec, spec);
        words3(w, "--chdir", s->cwd, NULL);
        word(w, "--");
        return 0;
}

int sandbox_argv(const struct sandbox_spec *s, struct nb_strv *ret, bool *ret_sandboxed,
                 struct nb_err *err)
{
        nb_auto_free char *bwrap = NULL, *engine = nb_asprintf("%s/engine.py", s->run_dir);
        nb_auto_free char *spec = nb_asprintf("%s/spec.json", s->run_dir);
        struct words w = {.v = ret};
        struct nb_err why;
        bool use = false;
        int r;

        if (!engine || !spec)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        if (s->kind != SANDBOX_NONE)
                use = sandbox_find_program("bwrap", &bwrap, &why) == 0 && bubblewrap_works(bwrap);
        if (!use && s->kind == SANDBOX_BUBBLEWRAP)
                return nb_fail(err, NB_E_INVALID,
                               "sandbox = \"bubblewrap\", but %s; install the package bubblewrap "
                               "and allow user namespaces, or set sandbox = \"none\"",
                               bwrap ? "bwrap does not work here" : "there is no bwrap here");
        if (use) {
                r = wrap(s, bwrap, &w, err);
                if (r < 0)
                        return r;
        }
        word(&w, s->python);
        word(&w, engine);
        word(&w, spec);
        if (w.failed)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *ret_sandboxed = use;
        return 0;
}
