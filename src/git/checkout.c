/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GIT_CHECKOUT: a tree to files.  Our own writer, because git_checkout_tree()
 * applies filters, wants a repository in place and cannot leave out a link.
 * Everything is made new (O_EXCL, mkdirat) below directory descriptors and no
 * link is ever followed, so nothing in the tree can lead a write elsewhere.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <nbcid/fs.h>
#include <nbcid/str.h>

#include "git-priv.h"

#define BLOCK UINT64_C(4096) /* what an entry costs on disk at least */

struct unit {       /* one tree to write: the repository or a submodule */
        char *path; /* below the workspace, without '/' at its end; "" */
        struct origin origin;
        char *mirror;
        git_oid commit;
        unsigned depth; /* of submodules */
};

struct writer {
        struct git_job *job;
        int root;
        uint64_t bytes;
        struct nb_strv links; /* paths of links made */
        struct unit *units;
        size_t n_units, cap_units;
        /* of the unit being written: */
        char path[TREE_PATH_MAX + 1];
        size_t n_path;
        struct nb_strv gitlinks; /* paths below the workspace */
        git_oid *gitlink_ids;
        size_t cap_ids;
};

static void writer_done(struct writer *w)
{
        for (size_t i = 0; i < w->n_units; i++) {
                free(w->units[i].path);
                free(w->units[i].mirror);
                origin_done(&w->units[i].origin);
        }
        free(w->units);
        free(w->gitlink_ids);
        nb_strv_done(&w->gitlinks);
        nb_strv_done(&w->links);
        nb_closep(&w->root);
}

static int path_fail(const struct writer *w, struct nb_err *err, enum nb_errc code, const char *why)
{
        nb_auto_free char *shown = path_shown(w->path, w->n_path);

        return nb_fail(err, code, "\"%.300s\": %s", shown ? shown : "?", why);
}

static int os_fail(const struct writer *w, struct nb_err *err, int num)
{
        nb_auto_free char *shown = path_shown(w->path, w->n_path);

        if (num == EEXIST)
                return nb_fail(err, NB_E_INVALID, "the commit holds \"%.300s\" twice",
                               shown ? shown : "?");
        return nb_fail_errno(err, num, "cannot write \"%.300s\"", shown ? shown : "?");
}

/* Entries count as whole blocks, else a million empty files were free. */
static int spend(struct writer *w, uint64_t n, struct nb_err *err)
{
        w->bytes += (n / BLOCK + 1) * BLOCK;
        if (n > w->job->r->limits.max_checkout || w->bytes > w->job->r->limits.max_checkout)
                return nb_fail(err, NB_E_LIMIT,
                               "the checkout needs more than %llu bytes; raise [limits] "
                               "max_repository",
                               (unsigned long long)w->job->r->limits.max_checkout);
        return 0;
}

static int write_file(struct writer *w, struct git_mirror *m, int dir, const struct tree_entry *e,
                      struct nb_err *err)
{
        auto_object git_odb_object *o = NULL;
        mode_t mode = e->mode & 0100 ? 0755 : 0644;
        int r = blob_open(m->odb, &e->id, w->job->r->limits.max_checkout - w->bytes, &o, err);

        if (r == -NB_E_LIMIT)
                return spend(w, w->job->r->limits.max_checkout, err);
        if (r == 0)
                r = spend(w, git_odb_object_size(o), err);
        if (r < 0)
                return r;
        nb_auto_fd int fd =
                openat(dir, e->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 || fchmod(fd, mode) < 0)
                return os_fail(w, err, errno);
        r = nb_write_all(fd, git_odb_object_data(o), git_odb_object_size(o), err);
        return r < 0 ? path_fail(w, err, (enum nb_errc) - r, "cannot be written") : 0;
}

/* Does target, read at path without following other links, leave the
 * workspace? */
static bool link_leaves(const char *path, const char *target)
{
        int depth = 0;

        if (target[0] == '/')
                return true;
        for (const char *p = path; *p; p++)
                depth += *p == '/';
        for (const char *p = target; *p;) {
                size_t n = strcspn(p, "/");
                if (n == 2 && p[0] == '.' && p[1] == '.')
                        depth--;
                else if (n && !(n == 1 && p[0] == '.'))
                        depth++;
                if (depth < 0)
                        return true;
                p += n;
                p += *p == '/';
        }
        return false;
}

static void link_warn(struct writer *w, const char *path)
{
        nb_auto_free char *shown = path_shown(path, strlen(path));

        job_warn(w->job, "symlink %s leaves the repository and is left out", shown ? shown : "?");
}

static int write_link(struct writer *w, struct git_mirror *m, int dir, const struct tree_entry *e,
                      struct nb_err *err)
{
        auto_object git_odb_object *o = NULL;
        int r = blob_open(m->odb, &e->id, TREE_PATH_MAX, &o, err);

        if (r < 0)
                return r == -NB_E_LIMIT
                               ? path_fail(w, err, NB_E_INVALID, "a link with an endless target")
                               : r;
        nb_auto_free char *target = nb_strndup(git_odb_object_data(o), git_odb_object_size(o));
        if (!target)
                return nb_fail(err, NB_E_NOMEM, "no memory for a link");
        if (strlen(target) != git_odb_object_size(o) || !*target)
                return path_fail(w, err, NB_E_INVALID, "a link without a valid target");
        r = spend(w, 0, err);
        if (r < 0)
                return r;
        if (link_leaves(w->path, target)) {
                link_warn(w, w->path);
                return 0;
        }
        if (symlinkat(target, dir, e->name) < 0)
                return os_fail(w, err, errno);
        return nb_strv_add(&w->links, w->path) < 0
                       ? nb_fail(err, NB_E_NOMEM, "no memory for a link")
                       : 0;
}

static int make_dir(struct writer *w, int dir, const char *name, struct nb_err *err)
{
        int r = spend(w, 0, err);

        if (r < 0)
                return r;
        if (mkdirat(dir, name, 0700) < 0 || fchmodat(dir, name, 0755, 0) < 0)
                return os_fail(w, err, errno);
        return 0;
}

static int write_gitlink(struct writer *w, int dir, const struct tree_entry *e, struct nb_err *err)
{
        int r = make_dir(w, dir, e->name, err);

        if (r < 0)
                return r;
        if (w->gitlinks.n >= GIT_SUBMODULES_MAX)
                return nb_fail(err, NB_E_LIMIT, "the commit has more than %zu submodules",
                               GIT_SUBMODULES_MAX);
        if (nb_grow((void **)&w->gitlink_ids, &w->cap_ids, w->gitlinks.n + 1,
                    sizeof(*w->gitlink_ids)) < 0 ||
            nb_strv_add(&w->gitlinks, w->path) < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory for submodules");
        w->gitlink_ids[w->gitlinks.n - 1] = e->id;
        return 0;
}

static int write_tree(struct writer *w, struct git_mirror *m, const git_oid *tree, int dir,
                      unsigned depth, struct nb_err *err);

static int write_entry(struct writer *w, struct git_mirror *m, int dir, const struct tree_entry *e,
                       unsigned depth, struct nb_err *err)
{
        const char *why = name_refused(e->name, e->n_name);

        if (why)
                return entry_refused(w->path, w->n_path, why, err);
        if (++w->job->entries > GIT_ENTRIES_MAX)
                return nb_fail(err, NB_E_LIMIT, "the commit has more than %llu entries",
                               (unsigned long long)GIT_ENTRIES_MAX);
        switch (ENTRY_TYPE(e->mode)) {
        case ENTRY_FILE:
                return write_file(w, m, dir, e, err);
        case ENTRY_LINK:
                return write_link(w, m, dir, e, err);
        case ENTRY_MODULE:
                return write_gitlink(w, dir, e, err);
        default:
                break;
        }
        int r = make_dir(w, dir, e->name, err);
        if (r < 0)
                return r;
        nb_auto_fd int sub = openat(dir, e->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub < 0)
                return os_fail(w, err, errno);
        return write_tree(w, m, &e->id, sub, depth + 1, err);
}

static int write_tree(struct writer *w, struct git_mirror *m, const git_oid *tree, int dir,
                      unsigned depth, struct nb_err *err)
{
        NB_CLEANUP(tree_close) struct tree t = {0};
        size_t n = w->n_path;
        struct tree_entry e;
        int r = tree_open(m->odb, tree, &t, err);

        if (depth > GIT_DEPTH_MAX)
                return path_fail(w, err, NB_E_INVALID, "directories nest too deep");
        while (r == 0 && (r = tree_next(&t, &e, err)) > 0) {
                size_t slash = n ? 1 : 0;
                if (n + slash + e.n_name > TREE_PATH_MAX)
                        return path_fail(w, err, NB_E_INVALID, "the path has more than 4095 bytes");
                if (slash)
                        w->path[n] = '/';
                memcpy(w->path + n + slash, e.name, e.n_name + 1);
                w->n_path = n + slash + e.n_name;
                r = write_entry(w, m, dir, &e, depth, err);
                w->n_path = n;
                w->path[n] = '\0';
        }
        return r;
}

static int unit_add(struct writer *w, const char *path, const struct origin *o, char *mirror_take,
                    const git_oid *commit, unsigned depth, struct nb_err *err)
{
        nb_auto_free char *mirror = mirror_take;
        struct unit u = {.commit = *commit, .depth = depth};
        int r;

        if (w->n_units > GIT_SUBMODULES_MAX)
                return nb_fail(err, NB_E_LIMIT, "the commit has more than %zu submodules",
                               GIT_SUBMODULES_MAX);
        if (nb_grow((void **)&w->units, &w->cap_units, w->n_units + 1, sizeof(*w->units)) < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory for submodules");
        u.path = nb_strdup(path);
        if (!mirror || !u.path) {
                free(u.path);
                return nb_fail(err, NB_E_NOMEM, "no memory for submodules");
        }
        r = origin_copy(o, &u.origin, err);
        if (r < 0) {
                free(u.path);
                return r;
        }
        u.mirror = NB_TAKE(mirror);
        w->units[w->n_units++] = u;
        return 0;
}

/* .gitmodules of a tree; a bad one costs its submodules, not the build. */
static int modules_load(struct writer *w, struct git_mirror *m, const git_oid *tree,
                        struct modules *ret, struct nb_err *err)
{
        auto_object git_odb_object *o = NULL;
        struct tree_entry e;
        int r = tree_find(m->odb, tree, ".gitmodules", &e, err);

        if (r <= 0)
                return r;
        if (ENTRY_TYPE(e.mode) != ENTRY_FILE) {
                job_warn(w->job, ".gitmodules is not a regular file and is ignored");
                return 0;
        }
        r = blob_open(m->odb, &e.id, GIT_CONFIG_MAX, &o, err);
        if (r == 0)
                r = modules_parse(git_odb_object_data(o), git_odb_object_size(o), ret, err);
        if (r == -NB_E_LIMIT || r == -NB_E_INVALID) {
                job_warn(w->job, ".gitmodules is ignored: %s", err->msg);
                return 0;
        }
        return r;
}

/* Queue the submodules that the unit just written asks for. */
static int units_find(struct writer *w, const struct unit *u, const struct modules *modules,
                      struct nb_err *err)
{
        size_t n_base = *u->path ? strlen(u->path) + 1 : 0;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < w->gitlinks.n; i++) {
                NB_CLEANUP(origin_done) struct origin o = {0};
                const char *path = w->gitlinks.v[i];
                const char *url = modules_url(modules, path + n_base);
                nb_auto_free char *shown = path_shown(path, strlen(path));
                if (!url) {
                        job_warn(w->job,
                                 "submodule %s is left empty: .gitmodules does not say "
                                 "where it comes from",
                                 shown);
                        continue;
                }
                if (u->depth >= GIT_SUBMODULE_DEPTH_MAX) {
                        job_warn(w->job,
                                 "submodule %s is left empty: more than %u within each "
                                 "other",
                                 shown, GIT_SUBMODULE_DEPTH_MAX);
                        continue;
                }
                r = submodule_origin(w->job, &u->origin, url, shown, &o, err);
                if (r > 0)
                        r = unit_add(w, path, &o, submodule_mirror(w->job->r->mirror, &o),
                                     &w->gitlink_ids[i], u->depth + 1, err);
        }
        return r < 0 ? r : 0;
}

/* The mirror, open for reading and with the commit in it. */
static int unit_open(struct writer *w, const struct unit *u, struct git_mirror *m, git_commit **ret,
                     struct nb_err *err)
{
        struct fetch_wish wish = {.id = &u->commit};
        int r = mirror_open(u->mirror, false, m, err);

        if (r == 0)
                r = mirror_commit(m, &u->commit, ret, err);
        if (r != 0)
                return r < 0 ? r : 0;
        r = mirror_lock(m, true, err);
        if (r == 0 && !git_odb_exists(m->odb, &u->commit))
                r = fetch_run(w->job, m, &u->origin, &wish, err);
        if (r == 0)
                r = mirror_keep(m, &u->commit, err);
        if (r == 0)
                r = mirror_lock(m, false, err);
        if (r == 0)
                r = mirror_commit(m, &u->commit, ret, err);
        if (r == 0)
                return nb_fail(err, NB_E_CORRUPT, "commit %s was fetched and is not there",
                               git_oid_tostr_s(&u->commit));
        return r < 0 ? r : 0;
}

static int unit_write(struct writer *w, const struct unit *u, struct git_mirror *m,
                      struct modules *modules, struct nb_err *err)
{
        auto_commit git_commit *commit = NULL;
        int r = unit_open(w, u, m, &commit, err);

        if (r < 0)
                return r;
        if (!*u->path) {
                r = answer_commit(w->job->answer, commit, err);
                if (r < 0)
                        return r;
        }
        nb_auto_fd int dir =
                nb_open_beneath(w->root, *u->path ? u->path : ".", O_RDONLY | O_DIRECTORY, 0, err);
        if (dir < 0)
                return dir;
        w->n_path = strlen(u->path);
        memcpy(w->path, u->path, w->n_path + 1);
        nb_strv_done(&w->gitlinks);
        r = write_tree(w, m, git_commit_tree_id(commit), dir, 0, err);
        if (r == 0 && w->gitlinks.n)
                r = modules_load(w, m, git_commit_tree_id(commit), modules, err);
        return r;
}

static int unit_run(struct writer *w, size_t i, struct nb_err *err)
{
        NB_CLEANUP(modules_done) struct modules modules = {0};
        NB_CLEANUP(mirror_close) struct git_mirror m = {.lock_fd = -1};
        struct unit u = w->units[i]; /* the array may move; what it points to does not */
        int r = unit_write(w, &u, &m, &modules, err);

        if (r == -NB_E_CORRUPT) {
                /* What is written cannot be taken back here: the next try
                 * finds an empty mirror and fetches. */
                struct nb_err was = *err;
                r = m.repo ? mirror_lock(&m, true, err) : 0;
                if (r == 0 && m.repo)
                        r = mirror_reset(&m, err);
                if (r == 0)
                        r = nb_fail(err, NB_E_BUSY,
                                    "the mirror %s was damaged and is made anew: "
                                    "%s",
                                    u.mirror, was.msg);
        }
        if (r == 0)
                r = units_find(w, &u, &modules, err);
        if (r == 0 || !*u.path)
                return r;
        nb_auto_free char *shown = path_shown(u.path, strlen(u.path));
        return nb_wrap(err, r, "submodule %s", shown ? shown : "?");
}

/* Several harmless links can still lead out together: let the kernel walk. */
static void links_check(struct writer *w)
{
        struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH};

        for (size_t i = 0; i < w->links.n; i++) {
                const char *path = w->links.v[i];
                int fd, tries = 0;
                do /* EAGAIN: something on this host was renamed meanwhile */
                        fd = (int)syscall(SYS_openat2, w->root, path, &how, sizeof(how));
                while (fd < 0 && errno == EAGAIN && ++tries < 1000);
                bool leaves = fd < 0 && (errno == EXDEV || errno == EAGAIN);
                nb_closep(&fd);
                /* ENOENT and ELOOP lead nowhere, which is harmless. */
                if (!leaves)
                        continue;
                (void)unlinkat(w->root, path, 0);
                link_warn(w, path);
        }
}

static int workspace_open(const char *path, int *ret, struct nb_err *err)
{
        int r = nb_mkdirs(AT_FDCWD, path, 0700, err);
        size_t n = 0;

        if (r < 0)
                return nb_wrap(err, r, "workspace %s", path);
        nb_auto_fd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return nb_fail_errno(err, errno, "cannot open the workspace %s", path);
        DIR *d = opendir(path);
        if (!d)
                return nb_fail_errno(err, errno, "cannot read the workspace %s", path);
        while (n < 3 && readdir(d))
                n++; /* "." and ".." are two */
        closedir(d);
        if (n > 2)
                return nb_fail(err, NB_E_CONFLICT, "the workspace %s is not empty", path);
        *ret = NB_TAKE_FD(fd);
        return 0;
}

int checkout_run(struct git_job *job, struct nb_err *err)
{
        NB_CLEANUP(writer_done) struct writer w = {.job = job, .root = -1};
        git_oid id;
        int r = request_commit(job->r, &id, err);

        if (r == 0)
                r = workspace_open(job->r->workspace, &w.root, err);
        if (r == 0)
                r = unit_add(&w, "", &job->origin, nb_strdup(job->r->mirror), &id, 0, err);
        for (size_t i = 0; r == 0 && i < w.n_units; i++)
                r = unit_run(&w, i, err);
        if (r == 0)
                links_check(&w);
        return r;
}
