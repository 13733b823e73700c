/* SPDX-License-Identifier: Apache-2.0 */

/*
 * sandbox.c - bubblewrap's command line around what strangers wrote
 */

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nbcid/mem.h>
#include <nbcid/sandbox.h>

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
        posix_spawnattr_t at;
        pid_t pid;
        int status = -1, r;

        if (posix_spawn_file_actions_init(&fa) != 0)
                return false;
        if (posix_spawnattr_init(&at) != 0) {
                posix_spawn_file_actions_destroy(&fa);
                return false;
        }
        (void)posix_spawn_file_actions_addopen(&fa, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        (void)posix_spawnattr_setflags(&at, POSIX_SPAWN_SETPGROUP);
        r = posix_spawn(&pid, bwrap, &fa, &at, (char *const *)(uintptr_t)argv, environ);
        posix_spawnattr_destroy(&at);
        posix_spawn_file_actions_destroy(&fa);
        if (r != 0 || waitpid(pid, &status, 0) != pid)
                return false;
        /* It leaves before the first process of its namespace does, which comes to us when we
         * are the subreaper. */
        while (waitpid(-pid, NULL, 0) > 0)
                ;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int sandbox_probe(struct nb_err *err)
{
        nb_auto_free char *bwrap = NULL;

        if (sandbox_find_program("bwrap", &bwrap, NULL) < 0)
                return nb_fail(err, NB_E_NOTFOUND,
                               "there is no bwrap in " SANDBOX_PATH
                               "; install the package bubblewrap");
        if (!bubblewrap_works(bwrap))
                return nb_fail(err, NB_E_INVALID,
                               "%s does not work here; allow user namespaces (sysctl "
                               "user.max_user_namespaces, kernel.unprivileged_userns_clone), in "
                               "a container for its runtime too",
                               bwrap);
        return 0;
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

/* One of the paths that a job's view of the system is changed at. */
struct mount {
        enum { MOUNT_HIDE, MOUNT_SHOW, MOUNT_WRITE } how;
        char *path; /* owned */
};

struct mounts {
        struct mount *v;
        size_t n, cap;
};

static void mounts_done(struct mounts *m)
{
        for (size_t i = 0; i < m->n; i++)
                free(m->v[i].path);
        free(m->v);
}

static int add_mounts(struct mounts *m, const char *const *paths, int how, struct nb_err *err)
{
        for (; paths && *paths; paths++) {
                char *path = how == MOUNT_HIDE ? realpath(*paths, NULL) : nb_strdup(*paths);

                if (!path && how == MOUNT_HIDE)
                        continue;
                if (!path || nb_grow((void **)&m->v, &m->cap, m->n + 1, sizeof(*m->v)) < 0) {
                        free(path);
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
                }
                m->v[m->n++] = (struct mount){.how = how, .path = path};
        }
        return 0;
}

/* What is inside another comes after it. */
static int by_depth(const void *a, const void *b)
{
        const struct mount *x = a, *y = b;
        size_t m = strlen(x->path), n = strlen(y->path);

        return m != n ? (m > n) - (m < n) : (x->how > y->how) - (x->how < y->how);
}

static int mount_paths(struct words *w, const struct sandbox_opts *o, struct nb_err *err)
{
        NB_CLEANUP(mounts_done) struct mounts m = {0};

        if (add_mounts(&m, o->hide, MOUNT_HIDE, err) < 0 ||
            add_mounts(&m, o->show, MOUNT_SHOW, err) < 0 ||
            add_mounts(&m, o->write, MOUNT_WRITE, err) < 0)
                return -NB_E_NOMEM;
        if (m.n)
                qsort(m.v, m.n, sizeof(*m.v), by_depth);
        for (size_t i = 0; i < m.n; i++) {
                if (m.v[i].how == MOUNT_HIDE)
                        hide_path(w, m.v[i].path);
                else
                        words3(w, m.v[i].how == MOUNT_SHOW ? "--ro-bind" : "--bind", m.v[i].path,
                               m.v[i].path);
        }
        return 0;
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
static void wrap_system(const struct sandbox_opts *o, struct words *w)
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
        if (o->memory_max) {
                (void)nb_fmt(size, sizeof(size), "%llu", (unsigned long long)o->memory_max);
                words3(w, "--size", size, NULL);
        }
        words3(w, "--tmpfs", "/dev/shm", NULL);
        hide_dir(w, "/run");
        /* /etc/resolv.conf often points here. */
        words3(w, "--ro-bind-try", "/run/systemd/resolve", "/run/systemd/resolve");
        hide_homes(w, o->python ? o->python : "/");
        if (o->tmp) {
                words3(w, "--bind", o->tmp, "/tmp");
                words3(w, "--bind", o->tmp, "/var/tmp");
        } else {
                hide_dir(w, "/tmp");
                hide_dir(w, "/var/tmp");
        }
        if (o->python)
                show_python(w, o->python);
}

static int wrap(const struct sandbox_opts *o, const char *bwrap, struct words *w,
                struct nb_err *err)
{
        int r;

        word(w, bwrap);
        word(w, "--die-with-parent");
        word(w, "--new-session");
        word(w, "--unshare-pid");
        word(w, "--unshare-ipc");
        word(w, "--unshare-uts");
        if (!o->network)
                word(w, "--unshare-net");
        words3(w, "--cap-drop", "ALL", NULL); /* else root could undo the mounts */
        wrap_system(o, w);
        r = mount_paths(w, o, err);
        words3(w, "--chdir", o->cwd ? o->cwd : "/", NULL);
        word(w, "--");
        return r;
}

int sandbox_wrap(const struct sandbox_opts *o, struct nb_strv *ret, bool *ret_sandboxed,
                 struct nb_err *err)
{
        nb_auto_free char *bwrap = NULL;
        struct words w = {.v = ret};
        struct nb_err why;
        bool use = false;
        int r;

        if (o->kind != SANDBOX_NONE)
                use = sandbox_find_program("bwrap", &bwrap, &why) == 0 && bubblewrap_works(bwrap);
        if (!use && o->kind == SANDBOX_BUBBLEWRAP)
                return nb_fail(err, NB_E_INVALID,
                               "sandbox = \"bubblewrap\", but %s; install the package bubblewrap "
                               "and allow user namespaces, or set sandbox = \"none\"",
                               bwrap ? "bwrap does not work here" : "there is no bwrap here");
        if (use) {
                r = wrap(o, bwrap, &w, err);
                if (r < 0)
                        return r;
        }
        for (const char *const *a = o->argv; *a; a++)
                word(&w, *a);
        if (w.failed)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *ret_sandboxed = use;
        return 0;
}
