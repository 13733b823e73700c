/* SPDX-License-Identifier: Apache-2.0 */
/* Files that say what a notebook needs: those on its way to the root, and
 * GIT_FILE, any one of them by name. */
#include <errno.h>
#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/str.h>

#include "git-priv.h"

#define SUPPORT_TOTAL_MAX (UINT64_C(64) << 20) /* bytes of all of them */

struct support {
        struct git_job *job;
        git_odb *odb;
        int dir; /* where they are written to */
        uint64_t total;
        size_t cap;
};

static bool is_support(const char *name)
{
        static const char *const names[] = {
                "requirements.txt", "Pipfile.lock",     "Pipfile",    "pyproject.toml",
                "environment.yml",  "environment.yaml", "runtime.txt"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(names); i++)
                if (nb_streq(name, names[i]))
                        return true;
        return false;
}

/* Its bytes to the disk, or why they are not there. */
static int support_extract(struct support *s, const struct tree_entry *e, size_t index,
                           struct git_support *ret, struct nb_err *err)
{
        auto_object git_odb_object *o = NULL;
        char name[32];
        int r = blob_size(s->odb, &e->id, &ret->size, err);

        if (r < 0)
                return r;
        if (ENTRY_TYPE(e->mode) == ENTRY_LINK)
                ret->oddity = GIT_SYMLINK;
        else if (ret->size > GIT_SUPPORT_MAX)
                ret->oddity = GIT_TOO_BIG;
        if (ret->oddity != GIT_REGULAR)
                return 0;
        s->total += ret->size;
        if (s->total > SUPPORT_TOTAL_MAX)
                return nb_fail(err, NB_E_LIMIT,
                               "the files of requirements beside the changed notebooks have more "
                               "than %llu bytes; push fewer notebooks at once",
                               (unsigned long long)SUPPORT_TOTAL_MAX);
        r = blob_open(s->odb, &e->id, GIT_SUPPORT_MAX, &o, err);
        if (r < 0)
                return r;
        if (is_lfs_pointer(o)) {
                ret->oddity = GIT_LFS;
                return 0;
        }
        nb_fmt(name, sizeof(name), "s%zu", index);
        return extract_write(s->dir, name, o, err);
}

/* path is taken, also on failure. */
static int support_add_take(struct support *s, char *path, const struct tree_entry *e,
                            struct nb_err *err)
{
        struct git_answer *a = s->job->answer;
        struct git_support *to;
        int r;

        if (!path ||
            nb_grow((void **)&a->support, &s->cap, a->n_support + 1, sizeof(*a->support)) < 0) {
                free(path);
                return nb_fail(err, NB_E_NOMEM, "no memory for the files beside notebooks");
        }
        to = &a->support[a->n_support++];
        *to = (struct git_support){.path = path};
        r = support_extract(s, e, a->n_support - 1, to, err);
        return r < 0 ? nb_wrap(err, r, "%s", path) : 0;
}

/* ---- on the way from the notebooks to the root ---- */

/* Paths that lie in one directory: they stand together, for all are sorted. */
struct range {
        const struct git_changed *v;
        size_t n;
};

static size_t first_not_below(const struct range *g, const char *prefix)
{
        size_t from = 0, n = g->n;

        while (n > 0) {
                size_t half = n / 2;
                if (strcmp(g->v[from + half].path, prefix) < 0) {
                        from += half + 1;
                        n -= half + 1;
                } else {
                        n = half;
                }
        }
        return from;
}

static struct range range_in(const struct range *g, const char *prefix)
{
        struct range in = {.v = g->v + first_not_below(g, prefix)};

        while (in.v + in.n < g->v + g->n && nb_starts_with(in.v[in.n].path, prefix))
                in.n++;
        return in;
}

static int visit(struct support *s, const git_oid *id, const char *prefix, const struct range *g,
                 struct nb_err *err);

/* One entry of a directory that has a changed notebook in it or below. */
static int visit_entry(struct support *s, const struct tree_entry *e, const char *prefix,
                       const struct range *g, struct nb_err *err)
{
        nb_auto_free char *below = NULL;
        struct range in;

        if (++s->job->entries > GIT_ENTRIES_MAX)
                return nb_fail(err, NB_E_LIMIT, "the commit has more than %llu entries",
                               (unsigned long long)GIT_ENTRIES_MAX);
        if ((ENTRY_TYPE(e->mode) == ENTRY_FILE || ENTRY_TYPE(e->mode) == ENTRY_LINK) &&
            is_support(e->name))
                return support_add_take(s, nb_asprintf("%s%s", prefix, e->name), e, err);
        if (ENTRY_TYPE(e->mode) != ENTRY_TREE)
                return 0;
        below = nb_asprintf("%s%s/", prefix, e->name);
        if (!below)
                return nb_fail(err, NB_E_NOMEM, "no memory for the files beside notebooks");
        in = range_in(g, below);
        if (nb_streq(below, "binder/"))
                s->job->answer->binder = true;
        else if (nb_streq(below, ".binder/"))
                s->job->answer->dot_binder = true;
        else if (in.n == 0)
                return 0;
        return visit(s, &e->id, below, &in, err);
}

/* The depth is that of a changed notebook, which GIT_DEPTH_MAX bounds. */
static int visit(struct support *s, const git_oid *id, const char *prefix, const struct range *g,
                 struct nb_err *err)
{
        NB_CLEANUP(tree_close) struct tree t = {0};
        struct tree_entry e;
        int r = tree_open(s->odb, id, &t, err);

        while (r >= 0 && (r = tree_next(&t, &e, err)) > 0)
                r = visit_entry(s, &e, prefix, g, err);
        return r;
}

int support_extract_all(struct git_job *job, git_odb *odb, const git_oid *tree, int dir,
                        struct nb_err *err)
{
        struct support s = {.job = job, .odb = odb, .dir = dir};
        const struct range all = {job->answer->changed, job->answer->n_changed};

        return all.n == 0 ? 0 : visit(&s, tree, "", &all, err);
}

/* ---- one by name ---- */

/* The entry at path: 1, or 0 when nothing is there. */
static int look_find(git_odb *odb, const git_oid *root, const char *path, struct tree_entry *ret,
                     struct nb_err *err)
{
        git_oid tree = *root;

        for (const char *p = path;;) {
                size_t n = strcspn(p, "/");
                nb_auto_free char *name = nb_strndup(p, n);
                int r;

                if (!name)
                        return nb_fail(err, NB_E_NOMEM, "no memory for a path");
                if (name_refused(name, n))
                        return nb_fail(err, NB_E_INVALID, "\"%.300s\" is not the path of a file",
                                       path);
                r = tree_find(odb, &tree, name, ret, err);
                if (r <= 0 || !p[n])
                        return r;
                if (ENTRY_TYPE(ret->mode) != ENTRY_TREE)
                        return 0;
                tree = ret->id;
                p += n + 1;
        }
}

int look_run(struct git_job *job, struct nb_err *err)
{
        NB_CLEANUP(mirror_close) struct git_mirror m = {.lock_fd = -1};
        auto_commit git_commit *commit = NULL;
        const struct git_request *q = job->r;
        struct support s = {.job = job};
        struct tree_entry e = {0};
        git_oid id;
        int r = request_commit(q, &id, err);

        if (r == 0)
                r = mirror_open(q->mirror, false, &m, err);
        if (r == 0)
                r = mirror_commit(&m, &id, &commit, err);
        if (r == 0)
                /* it was there a moment ago: another helper threw the mirror away */
                return nb_fail(err, NB_E_BUSY, "commit %s is not in the mirror any more",
                               q->commit);
        if (r > 0)
                r = answer_commit(job->answer, commit, err);
        if (r == 0)
                r = look_find(m.odb, git_commit_tree_id(commit), q->path, &e, err);
        if (r <= 0)
                return r;
        if (ENTRY_TYPE(e.mode) != ENTRY_FILE && ENTRY_TYPE(e.mode) != ENTRY_LINK)
                return 0; /* a directory, or a submodule */
        r = nb_mkdirs(AT_FDCWD, q->extract_dir, 0700, err);
        if (r < 0)
                return r;
        nb_auto_fd int fd = open(q->extract_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return nb_fail_errno(err, errno, "cannot open %s", q->extract_dir);
        s.odb = m.odb;
        s.dir = fd;
        return support_add_take(&s, nb_strdup(q->path), &e, err);
}
