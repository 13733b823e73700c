/* SPDX-License-Identifier: Apache-2.0 */

/* rundir.c - the run directory: taken once, by one runner */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <nbcid/embed.h>
#include <nbcid/fs.h>
#include <nbcid/json.h>
#include <nbcid/num.h>

#include "runner-priv.h"

extern const struct nb_embed embed_engine[];

static int absolute(const char *path, char **ret, struct nb_err *err)
{
        *ret = realpath(path, NULL);
        return *ret ? 0 : nb_fail_errno(err, errno, "%s", path);
}

void rundir_paths_done(struct rundir_paths *p)
{
        free(p->workspace);
        free(p->cwd);
        free(p->notebook);
        *p = (struct rundir_paths){0};
}

/* Is path below dir, both without links? */
static bool is_below(const char *path, const char *dir)
{
        size_t n = strlen(dir);

        return strncmp(path, dir, n) == 0 && path[n] == '/';
}

int rundir_find_paths(const struct runner_opts *o, struct rundir_paths *ret, struct nb_err *err)
{
        NB_CLEANUP(rundir_paths_done) struct rundir_paths p = {0};
        nb_auto_free char *joined = NULL, *dir = NULL;
        struct stat st;
        int r;

        joined = o->workspace ? nb_asprintf("%s/%s", o->workspace, o->notebook)
                              : nb_strdup(o->notebook);
        if (!joined)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = absolute(joined, &p.notebook, err);
        if (r < 0)
                return r;
        dir = nb_strdup(p.notebook);
        p.cwd = dir ? nb_strdup(dirname(dir)) : NULL;
        if (!p.cwd)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = absolute(o->workspace ? o->workspace : p.cwd, &p.workspace, err);
        if (r < 0)
                return r;
        if (nb_streq(p.workspace, "/"))
                return nb_fail(err, NB_E_INVALID,
                               "the workspace would be the whole system; put %s into a directory",
                               o->notebook);
        /* A link in the checkout must not take the job elsewhere. */
        if (!is_below(p.notebook, p.workspace))
                return nb_fail(err, NB_E_INVALID,
                               "%s leads out of the workspace; put the notebook itself there, "
                               "not a link",
                               o->notebook);
        if (stat(p.notebook, &st) < 0)
                return nb_fail_errno(err, errno, "%s", p.notebook);
        if (!S_ISREG(st.st_mode))
                return nb_fail(err, NB_E_INVALID, "%s is not a regular file", o->notebook);
        *ret = p;
        p = (struct rundir_paths){0};
        return 0;
}

/* Field 22 of /proc/self/stat: with the pid it names this process for good. */
static uint64_t start_time(void)
{
        nb_auto_buf b = NB_BUF(4096);
        uint64_t v = 0;
        char *p;

        if (nb_read_file(AT_FDCWD, "/proc/self/stat", &b, NULL) < 0)
                return 0;
        p = strrchr(b.data, ')');
        for (int field = 2; p && field < 22; field++)
                p = strchr(p + 1, ' ');
        if (p) {
                p++;
                p[strcspn(p, " ")] = '\0';
                (void)nb_parse_u64(p, 0, UINT64_MAX, &v, NULL);
        }
        return v;
}

static int say_started(const struct rundir *d, struct nb_err *err)
{
        nb_auto_free char *text =
                nb_asprintf("%d %llu\n", (int)getpid(), (unsigned long long)start_time());

        if (!text)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        if (faccessat(d->fd, "started", F_OK, 0) == 0)
                return RUNDIR_TAKEN; /* one was here before: a run happens once */
        return nb_write_file(d->fd, "started", text, strlen(text), 0600, true, err);
}

static int open_in(const struct rundir *d, const char *name, int *ret, struct nb_err *err)
{
        *ret = openat(d->fd, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
        return *ret < 0 ? nb_fail_errno(err, errno, "%s/%s", d->path, name) : 0;
}

/* Everything is relative to the descriptor: a daemon that gave this run up has
 * removed the directory, and may have made another of that name. */
static int take(struct rundir *d, struct nb_err *err)
{
        int r;

        d->lock_fd = openat(d->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (d->lock_fd < 0)
                return nb_fail_errno(err, errno, "%s/lock", d->path);
        if (flock(d->lock_fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? RUNDIR_TAKEN
                                            : nb_fail_errno(err, errno, "%s/lock", d->path);
        r = say_started(d, err);
        if (r == 0)
                r = open_in(d, "log.txt", &d->log_fd, err);
        if (r == 0)
                r = open_in(d, "events.jsonl", &d->events_fd, err);
        return r;
}

int rundir_take(const char *path, struct rundir *ret, struct nb_err *err)
{
        NB_CLEANUP(rundir_done) struct rundir d = RUNDIR_NONE;
        char temporary[] = "/tmp/nbcid-run-XXXXXX";
        int r;

        if (!path) {
                path = mkdtemp(temporary);
                if (!path)
                        return nb_fail_errno(err, errno, "%s", temporary);
                d.temporary = true;
        }
        d.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (d.fd < 0)
                return nb_fail_errno(err, errno, "%s", path);
        r = absolute(path, &d.path, err);
        if (r == 0)
                r = take(&d, err);
        if (r != 0)
                return r;
        *ret = d;
        d = RUNDIR_NONE;
        return 0;
}

void rundir_done(struct rundir *d)
{
        struct nb_err ignored;

        nb_closep(&d->events_fd);
        nb_closep(&d->log_fd);
        if (d->temporary && d->path)
                (void)nb_rm_tree(AT_FDCWD, d->path, &ignored);
        nb_closep(&d->lock_fd);
        nb_closep(&d->fd);
        free(d->path);
        *d = RUNDIR_NONE;
}

int rundir_tell_engine(const struct rundir *d, const struct runner_opts *o,
                       const struct rundir_paths *p, const struct rundir_kernel *k,
                       struct nb_err *err)
{
        nb_auto_buf b = NB_BUF(64 * 1024);
        struct nb_json_out j = NB_JSON_OUT(&b);
        nb_auto_free char *out = nb_asprintf("%s/out/executed.ipynb", d->path);

        if (!out)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        nb_json_open_object(&j);
        nb_json_kv_str(&j, "notebook", p->notebook);
        nb_json_kv_str(&j, "output", out);
        nb_json_kv_str(&j, "cwd", p->cwd);
        nb_json_kv_str(&j, "kernel", k->name);
        nb_json_kv_str(&j, "language", k->language);
        nb_json_kv_str(&j, "prefix", k->prefix);
        nb_json_kv_str(&j, "image", k->image);
        nb_json_key(&j, "container");
        nb_json_open_array(&j);
        for (size_t i = 0; k->container && i < k->container->n; i++)
                nb_json_put_str(&j, k->container->v[i]);
        nb_json_close(&j);
        nb_json_key(&j, "cell_timeout");
        nb_json_put_double(&j, (double)o->cell_timeout_us / (double)NB_US_PER_S);
        nb_json_kv_int(&j, "max_output", (int64_t)o->max_output);
        nb_json_close(&j);
        if (b.failed)
                return nb_fail(err, NB_E_LIMIT, "what the engine is told is too long");
        return nb_write_file(d->fd, "spec.json", nb_buf_str(&b), b.len, 0600, false, err);
}

int rundir_fill(const struct rundir *d, struct nb_err *err)
{
        static const char *const dirs[] = {"out", "home", "home/runtime", "tmp"};
        int r = 0;

        for (size_t i = 0; r == 0 && i < NB_ARRAY_SIZE(dirs); i++)
                r = nb_mkdirs(d->fd, dirs[i], 0700, err);
        for (const struct nb_embed *e = embed_engine; r == 0 && e->name; e++)
                r = nb_write_file(d->fd, e->name, e->data, e->size, 0600, false, err);
        return r;
}
