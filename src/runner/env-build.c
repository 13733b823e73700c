/* SPDX-License-Identifier: Apache-2.0 */

/*
 * env-build.c - make one environment, in the sandbox
 *
 * Packages run code of strangers when they are built.  A build sees the system
 * read-only, its own directory and the network; no job's workspace, no other
 * environment.  It has no cache that others share: what one build wrote there,
 * another would install.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <nbcid/clock.h>
#include <nbcid/fs.h>

#include "env-priv.h"

#define BUILD_LOG_MAX (UINT64_C(4) << 20)
#define EXIT_NO_VENV 90 /* of environment.py */

/* ---- one step ---- */

static void no_line(void *arg, const char *line, size_t n)
{
}

static char *read_back(int fd)
{
        nb_auto_buf text = NB_BUF(BUILD_LOG_MAX + 4096);
        char path[64];

        (void)nb_fmt(path, sizeof(path), "/proc/self/fd/%d", fd);
        return nb_read_file(AT_FDCWD, path, &text, NULL) < 0 || text.len == 0 ? nb_strdup("")
                                                                              : nb_buf_steal(&text);
}

static int judge_step(const struct env_context *c, const struct watch *w, enum run_class *ret_class,
                      struct nb_err *err)
{
        const struct seen *s = &w->seen;

        *ret_class = CLASS_CANCELLED;
        if (s->cancelled)
                return nb_fail(err, NB_E_CANCELLED, "cancelled");
        /* A slow index is more likely than a package that cannot be built in time: tried
         * again. */
        *ret_class = CLASS_INFRASTRUCTURE;
        if (s->timed_out)
                return nb_fail(err, NB_E_TIMEOUT,
                               "building the environment took longer than %llu s; raise "
                               "build_timeout in [environments] if it needs more",
                               (unsigned long long)(c->opts->build_timeout_us / 1000000));
        *ret_class = CLASS_ENVIRONMENT;
        if (s->oom)
                return nb_fail(err, NB_E_LIMIT,
                               "building the environment ran out of memory (memory_max is %llu "
                               "MiB)",
                               (unsigned long long)(c->opts->memory_max >> 20));
        if (s->too_many)
                return nb_fail(err, NB_E_LIMIT,
                               "building the environment needed more than %u processes "
                               "(processes_max)",
                               c->opts->processes_max);
        *ret_class = CLASS_INFRASTRUCTURE;
        if (!WIFEXITED(s->exit_status))
                return nb_fail(err, NB_E_IO, "the build of the environment was killed by SIG%s",
                               sigabbrev_np(WTERMSIG(s->exit_status)));
        return 0;
}

int env_step(const struct env_context *c, const struct env_step *s, int *ret_status, char **ret_log,
             enum run_class *ret_class, struct nb_err *err)
{
        NB_CLEANUP(nb_strv_done) struct nb_strv argv = {0};
        nb_auto_fd int log_fd = openat(c->dir->fd, "environment.log.txt",
                                       O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
        struct run_log copy = {.fd = log_fd, .max = BUILD_LOG_MAX};
        NB_CLEANUP(watch_done)
        struct watch w = {.signal_fd = c->signal_fd,
                          .log = c->log,
                          .copy = &copy,
                          .on_line = s->on_line ? s->on_line : no_line,
                          .arg = s->arg,
                          .hasty = true,
                          WATCH_NONE};
        struct stat st;
        int r;

        *ret_class = CLASS_INFRASTRUCTURE;
        if (log_fd < 0 || fstat(log_fd, &st) < 0)
                return nb_fail_errno(err, errno, "%s/environment.log.txt", c->dir->path);
        copy.bytes = (uint64_t)st.st_size;
        for (const char *const *a = s->argv; *a; a++)
                if (nb_strv_add(&argv, *a) < 0)
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = watch_start(&w,
                        &(struct watch_spec){.opts = c->opts,
                                             .argv = &argv,
                                             .env = s->env,
                                             .home = s->home,
                                             .cwd = s->cwd,
                                             .timeout_us = c->opts->build_timeout_us,
                                             .sandboxed = s->sandboxed},
                        err);
        if (r < 0)
                return r;
        watch_run(&w);
        watch_end(&w);
        log_end(&copy);
        r = judge_step(c, &w, ret_class, err);
        if (r < 0)
                return r;
        *ret_status = WEXITSTATUS(w.seen.exit_status);
        if (*ret_status == 0)
                return 0;
        *ret_log = read_back(log_fd);
        return *ret_log ? 1 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

/* ---- what is built ---- */

struct build {
        const struct env_context *c;
        const struct env_store *store;
        const struct env *e;
        char *dir, *in, *tmp, *home, *uv, *conda; /* owned */
        bool exact;                               /* from an earlier lock */
        bool kernel_apart;                        /* ipykernel is installed after all else */
        struct nb_buf lock, packages;             /* lines; members of a JSON object */
        struct nb_json_out out;
        char *builder;
};

static void build_done(struct build *b)
{
        free(b->dir);
        free(b->in);
        free(b->tmp);
        free(b->home);
        free(b->uv);
        free(b->conda);
        free(b->builder);
        nb_buf_done(&b->lock);
        nb_buf_done(&b->packages);
}

/* What the build says at its end.  Its last word may be a stranger's: lines of
 * a lock are checked, the rest is only shown. */
static void see_line(void *arg, const char *line, size_t n)
{
        static const struct nb_json_limits limits = {.bytes = 64 * 1024, .depth = 2};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
        struct build *b = arg;
        const struct nb_json *o;
        const char *name, *version, *lock, *builder;

        if (nb_json_read(line, n, &limits, &t, NULL, NULL) < 0)
                return;
        o = nb_json_root(t);
        name = nb_json_str(nb_json_get(o, "name"), NULL);
        version = nb_json_str(nb_json_get(o, "version"), NULL);
        lock = nb_json_str(nb_json_get(o, "lock"), NULL);
        builder = nb_json_str(nb_json_get(o, "builder"), NULL);
        if (name && version && strlen(name) < 300 && strlen(version) < 300)
                nb_json_kv_str(&b->out, name, version);
        if (lock && !strchr(lock, '\n'))
                nb_buf_printf(&b->lock, "%s\n", lock);
        if (builder) {
                free(b->builder);
                b->builder = nb_strdup(builder);
        }
}

/* ---- before ---- */

/* Whole lines as check_lock() lets them pass: what was cut or scribbled on would install other
 * packages than those that it stands for, or blame the notebook. */
static bool lock_is_ours(const char *text, bool conda)
{
        for (const char *end; *text; text = end + 1) {
                end = strchr(text, '\n');
                nb_auto_free char *line = end ? nb_strndup(text, (size_t)(end - text)) : NULL;

                if (!line || (!conda && !env_lock_line_valid(line)))
                        return false;
        }
        return true;
}

/* The lock of an earlier build, when there is one. */
static int read_lock(struct build *b, struct nb_buf *ret, struct nb_err *err)
{
        nb_auto_free char *name = env_store_name(b->e->key, ".lock.txt");
        int r;

        if (!name)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = nb_read_file(b->store->fd, name, ret, err);
        b->exact = r == 0 && ret->len > 0;
        if (b->exact &&
            (memchr(ret->data, '\0', ret->len) || !lock_is_ours(nb_buf_str(ret), b->e->want.conda)))
                return nb_fail(err, NB_E_CORRUPT,
                               "the lock of this environment is damaged; put %s/%s back, or remove "
                               "it to take what the index has now",
                               b->store->path, name);
        return r == -NB_E_NOTFOUND ? 0 : r;
}

static int write_in(const struct build *b, const char *name, const char *text, size_t n,
                    struct nb_err *err)
{
        nb_auto_free char *path = nb_asprintf("%s/%s", b->in, name);

        if (!path)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        return nb_write_file(AT_FDCWD, path, text, n, 0600, false, err);
}

/* Requirements go through a file: they may be many, and are nobody's business
 * in a list of processes. */
static int write_requirements(struct build *b, struct nb_err *err)
{
        const struct nb_environment *want = &b->e->want;
        nb_auto_buf text = NB_BUF(ENV_TEXT_MAX);
        int r = read_lock(b, &text, err);

        if (r < 0)
                return r;
        if (!b->exact && want->conda) {
                nb_buf_puts(&text, want->conda);
        } else if (!b->exact) {
                const char *wanted = want->requirements ? want->requirements : "";
                const char *bound = want->constraints ? want->constraints : "";

                nb_buf_printf(&text, "%s\n", wanted);
                b->kernel_apart = !env_names_package(wanted, "ipykernel");
                /* Where one line has a hash, pip wants one from all. */
                if (b->kernel_apart && !strstr(wanted, "--hash=") && !strstr(bound, "--hash=") &&
                    !strstr(wanted, "--require-hashes")) {
                        nb_buf_puts(&text, "ipykernel\n");
                        b->kernel_apart = false;
                }
        }
        if (text.failed)
                return nb_fail(err, NB_E_LIMIT, "the requirements are too long");
        if (!b->exact && want->constraints) {
                r = write_in(b, "constraints.txt", want->constraints, strlen(want->constraints),
                             err);
                if (r < 0)
                        return r;
        }
        return write_in(b, want->conda && !b->exact ? "environment.yml" : "requirements.txt",
                        nb_buf_str(&text), text.len, err);
}

static int write_spec(const struct build *b, struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(64 * 1024);
        struct nb_json_out o = NB_JSON_OUT(&text);
        nb_auto_free char *file = nb_asprintf(
                "%s/%s", b->in, b->conda && !b->exact ? "environment.yml" : "requirements.txt");

        if (!file)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        nb_json_open_object(&o);
        nb_json_kv_str(&o, "directory", b->dir);
        nb_json_kv_str(&o, "tmp", b->tmp);
        nb_json_kv_str(&o, "python", b->e->python.path);
        nb_json_kv_str(&o, "requirements", file);
        nb_json_key(&o, "uv");
        nb_json_put_str(&o, b->uv);
        nb_json_key(&o, "conda");
        nb_json_put_str(&o, b->conda);
        nb_json_kv_bool(&o, "exact", b->exact);
        nb_json_kv_bool(&o, "constrained", !b->exact && b->e->want.constraints);
        nb_json_kv_bool(&o, "kernel_apart", b->kernel_apart);
        nb_json_close(&o);
        if (text.failed)
                return nb_fail(err, NB_E_LIMIT, "what the build is told is too long");
        return write_in(b, "spec.json", nb_buf_str(&text), text.len, err);
}

static int find_builder(struct build *b, struct nb_err *err)
{
        const struct runner_opts *o = b->c->opts;

        if (b->e->want.conda) {
                if (o->conda)
                        return sandbox_find_program(o->conda, &b->conda, err);
                if (sandbox_find_program("micromamba", &b->conda, err) == 0 ||
                    sandbox_find_program("conda", &b->conda, err) == 0)
                        return 0;
                return nb_fail(err, NB_E_NOTFOUND,
                               "the notebook asks for a conda environment, and neither micromamba "
                               "nor conda is on this host; install one of them in /usr/local/bin, "
                               "or give the notebook a requirements.txt");
        }
        /* What pip is configured with is nothing that uv reads. */
        if (o->uv && o->uv[0] && !o->pip_config && sandbox_find_program(o->uv, &b->uv, err) < 0 &&
            strchr(o->uv, '/'))
                return -(int)err->code;
        return 0;
}

static int prepare(struct build *b, struct nb_err *err)
{
        static const char *const dirs[] = {"build", "build/in", "build/tmp", "build/home"};
        int r = 0;

        b->dir = nb_asprintf("%s/%s", b->store->path, b->e->key);
        b->in = nb_asprintf("%s/build/in", b->c->dir->path);
        b->tmp = nb_asprintf("%s/build/tmp", b->c->dir->path);
        b->home = nb_asprintf("%s/build/home", b->c->dir->path);
        if (!b->dir || !b->in || !b->tmp || !b->home)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        for (size_t i = 0; r == 0 && i < NB_ARRAY_SIZE(dirs); i++)
                r = nb_mkdirs(b->c->dir->fd, dirs[i], 0700, err);
        if (r == 0)
                r = env_store_remove(b->store, b->e->key, err);
        if (r == 0)
                r = nb_mkdirs(b->store->fd, b->e->key, 0700, err);
        if (r == 0)
                r = write_requirements(b, err);
        return r < 0 ? r : write_spec(b, err);
}

static int build_env(const struct build *b, struct nb_strv *v, struct nb_err *err)
{
        const struct runner_opts *o = b->c->opts;
        bool ok = nb_strv_add(v, "PIP_NO_INPUT=1") == 0 &&
                  nb_strv_add(v, "PIP_DISABLE_PIP_VERSION_CHECK=1") == 0 &&
                  nb_strv_add(v, "PIP_ROOT_USER_ACTION=ignore") == 0 &&
                  nb_strv_add(v, "UV_NO_CONFIG=1") == 0 &&
                  nb_strv_add(v, "UV_SYSTEM_CERTS=1") == 0 && /* the host's certificates, as pip */
                  nb_strv_add(v, "UV_LINK_MODE=copy") == 0 &&
                  nb_strv_add(v, "UV_PYTHON_DOWNLOADS=never") == 0 &&
                  nb_strv_add_take(v, nb_asprintf("UV_CACHE_DIR=%s/uv", b->tmp)) == 0 &&
                  nb_strv_add_take(v, nb_asprintf("MAMBA_ROOT_PREFIX=%s/mamba", b->tmp)) == 0 &&
                  nb_strv_add_take(v, nb_asprintf("CONDA_PKGS_DIRS=%s/pkgs", b->tmp)) == 0 &&
                  nb_strv_add_take(v, nb_asprintf("TMPDIR=%s", b->tmp)) == 0;

        if (o->index_url)
                ok = ok &&
                     nb_strv_add_take(v, nb_asprintf("PIP_INDEX_URL=%s", o->index_url)) == 0 &&
                     nb_strv_add_take(v, nb_asprintf("UV_DEFAULT_INDEX=%s", o->index_url)) == 0;
        if (o->pip_config)
                ok = ok &&
                     nb_strv_add_take(v, nb_asprintf("PIP_CONFIG_FILE=%s", o->pip_config)) == 0;
        return ok ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

/* ---- building ---- */

static int run_build(struct build *b, int *ret_status, char **ret_log, enum run_class *ret_class,
                     struct nb_err *err)
{
        const struct runner_opts *o = b->c->opts;
        nb_auto_free char *script = nb_asprintf("%s/environment.py", b->c->dir->path);
        nb_auto_free char *spec = nb_asprintf("%s/spec.json", b->in);
        const char *python = b->e->python.path;
        const char *const argv[] = {python, "-I", "-S", script, "build", spec, NULL};
        const char *tool = b->uv ? b->uv : b->conda;
        const char *show[5] = {script, b->in}, *write[] = {b->dir, b->tmp, b->home, NULL};
        NB_CLEANUP(nb_strv_done) struct nb_strv wrapped = {0}, env = {0};
        bool sandboxed;
        size_t n = 2;
        int r;

        if (!script || !spec)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        if (tool)
                show[n++] = tool;
        if (o->pip_config)
                show[n++] = o->pip_config;
        r = sandbox_wrap(&(struct sandbox_opts){.kind = o->sandbox,
                                                .python = python,
                                                .hide = o->hide,
                                                .show = show,
                                                .write = write,
                                                .tmp = b->tmp,
                                                .cwd = b->tmp,
                                                .memory_max = o->memory_max,
                                                .network = true,
                                                .argv = argv},
                         &wrapped, &sandboxed, err);
        if (r == 0)
                r = build_env(b, &env, err);
        if (r < 0)
                return r;
        return env_step(b->c,
                        &(struct env_step){.argv = (const char *const *)wrapped.v,
                                           .env = (const char *const *)env.v,
                                           .home = b->home,
                                           .cwd = b->tmp,
                                           .sandboxed = sandboxed,
                                           .on_line = see_line,
                                           .arg = b},
                        ret_status, ret_log, ret_class, err);
}

static int fail_build(const struct build *b, int status, const char *log, enum run_class *ret_class,
                      struct nb_err *err)
{
        nb_auto_free char *reason = NULL;

        if (status == EXIT_NO_VENV) {
                *ret_class = CLASS_INFRASTRUCTURE;
                return nb_fail(err, NB_E_IO,
                               "%s cannot make virtual environments; install uv, or (Debian) "
                               "python3-venv",
                               b->e->python.path);
        }
        *ret_class = env_judge(log, &reason);
        if (!reason && *ret_class == CLASS_ENVIRONMENT)
                reason = nb_strdup("the requirements cannot be installed");
        if (*ret_class == CLASS_ENVIRONMENT && b->exact)
                return nb_fail(
                        err, NB_E_INVALID,
                        "an earlier lock cannot be installed: %s; change the requirements, or "
                        "remove %s/%s.lock.txt to take what the index has now",
                        reason ? reason : "", b->store->path, b->e->key);
        if (*ret_class == CLASS_ENVIRONMENT)
                return nb_fail(err, NB_E_INVALID, "%s", reason ? reason : "");
        if (reason)
                return nb_fail(err, NB_E_REMOTE, "the environment cannot be built now: %s", reason);
        return nb_fail(err, NB_E_IO,
                       "the build of the environment ended with status %d; its log says more",
                       status);
}

/* ---- after ---- */

static int check_lock(const struct build *b, struct nb_err *err)
{
        const char *p = nb_buf_str(&b->lock);

        if (b->lock.failed)
                return nb_fail(err, NB_E_LIMIT, "the environment has too many packages");
        if (b->conda)
                return 0;
        while (*p) {
                size_t n = strcspn(p, "\n");
                nb_auto_free char *line = nb_strndup(p, n);

                if (!line || !env_lock_line_valid(line))
                        return nb_fail(err, NB_E_INVALID, "a package is called \"%.100s\"",
                                       line ? line : "");
                if (!env_lock_line_wanted(line, b->e->want.requirements))
                        return nb_fail(err, NB_E_INVALID,
                                       "a package says that it comes from a URL, which the "
                                       "requirements do not name: \"%.200s\"",
                                       line);
                p += n + 1;
        }
        return 0;
}

static int write_manifest(struct build *b, struct nb_err *err)
{
        const struct env_python *python = &b->e->python;
        nb_auto_free char *name = env_store_name(b->e->key, ".json");
        nb_auto_free char *lock = env_store_name(b->e->key, ".lock.txt");
        nb_auto_buf text = NB_BUF(ENV_TEXT_MAX);
        struct nb_json_out o = NB_JSON_OUT(&text);
        const int64_t built_ms = nb_now_ms(&nb_clock_real);
        char hash[ENV_KEY_SIZE];
        uint64_t bytes;
        int r;

        if (!name || !lock)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = env_store_measure(b->store, b->e->key, built_ms, hash, &bytes, err);
        if (r < 0)
                return r;
        /* The manifest vouches for what stat() says, so it must not outlive a loss of power that
         * the content of the files did not. */
        if (syncfs(b->store->fd) < 0)
                return nb_fail_errno(err, errno, "%s could not be written to the disk",
                                     b->store->path);
        nb_json_close(&b->out);
        if (b->packages.failed)
                return nb_fail(err, NB_E_LIMIT, "the environment has too many packages");
        nb_json_open_object(&o);
        nb_json_kv_str(&o, "tree", hash);
        nb_json_kv_int(&o, "built_ms", built_ms);
        nb_json_kv_int(&o, "bytes", (int64_t)bytes);
        nb_json_kv_str(&o, "version", python->version);
        nb_json_kv_str(&o, "platform", python->platform);
        nb_json_kv_str(&o, "builder", b->builder ? b->builder : "unknown");
        nb_json_kv_bool(&o, "lock", b->exact);
        nb_json_key(&o, "packages");
        nb_json_put_raw(&o, nb_buf_str(&b->packages));
        nb_json_close(&o);
        if (text.failed)
                return nb_fail(err, NB_E_LIMIT, "the environment has too many packages");
        if (!b->exact)
                r = nb_write_file(b->store->fd, lock, nb_buf_str(&b->lock), b->lock.len, 0600, true,
                                  err);
        return r < 0 ? r
                     : nb_write_file(b->store->fd, name, nb_buf_str(&text), text.len, 0600, true,
                                     err);
}

static void keep_log(const struct build *b)
{
        nb_auto_free char *name = env_store_name(b->e->key, ".log.txt");
        struct nb_err ignored;

        if (name)
                (void)nb_link_or_copy(b->c->dir->fd, "environment.log.txt", b->store->fd, name,
                                      &ignored);
        (void)nb_rm_tree(b->c->dir->fd, "build", &ignored);
}

int env_build(const struct env_context *c, const struct env_store *store, const struct env *e,
              enum run_class *ret_class, struct nb_err *err)
{
        NB_CLEANUP(build_done)
        struct build b = {.c = c,
                          .store = store,
                          .e = e,
                          .lock = NB_BUF(ENV_TEXT_MAX),
                          .packages = NB_BUF(ENV_TEXT_MAX)};
        nb_auto_free char *log = NULL;
        struct nb_err ignored;
        int r, status = 0;

        b.out = NB_JSON_OUT(&b.packages);
        nb_json_open_object(&b.out);
        r = find_builder(&b, err);
        /* Only of conda it is the notebook that asks for what is not here. */
        *ret_class =
                r == -NB_E_NOTFOUND && e->want.conda ? CLASS_ENVIRONMENT : CLASS_INFRASTRUCTURE;
        if (r < 0)
                return r;
        r = prepare(&b, err);
        if (r == -NB_E_CORRUPT) /* nothing would change until somebody looks */
                *ret_class = CLASS_CONFIGURATION;
        if (r == 0)
                r = run_build(&b, &status, &log, ret_class, err);
        if (r == 1)
                r = fail_build(&b, status, log, ret_class, err);
        if (r == 0) {
                r = check_lock(&b, err);
                if (r < 0)
                        *ret_class = CLASS_ENVIRONMENT;
                else
                        r = write_manifest(&b, err);
                if (r == -NB_E_LIMIT) /* of what packages may make */
                        *ret_class = CLASS_ENVIRONMENT;
        }
        keep_log(&b);
        if (r < 0)
                (void)env_store_remove(store, e->key, &ignored);
        return r;
}
