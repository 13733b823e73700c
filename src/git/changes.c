/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two trees side by side.  Equal subtrees are skipped by their ids, so the
 * cost follows the size of the change and not that of the repository.
 */
#include <nbcid/str.h>

#include "git-priv.h"

struct walk {
        struct git_job *job;
        git_odb *odb;
        struct changes *out;
        char path[TREE_PATH_MAX + 1]; /* of the directory, with a '/' at its end, or "" */
        size_t n_path;
};

static void change_done(struct change *c)
{
        free(c->path);
}

void changes_done(struct changes *c)
{
        if (!c)
                return;
        for (size_t i = 0; i < c->n; i++)
                change_done(&c->v[i]);
        for (size_t i = 0; i < c->n_gone; i++)
                change_done(&c->gone[i]);
        free(c->v);
        free(c->gone);
        *c = (struct changes){0};
}

/* "dir/name", owned; *ret_n its length. */
static char *entry_path(const struct walk *w, const struct tree_entry *e, size_t *ret_n)
{
        char *path = malloc(w->n_path + e->n_name + 1);

        if (!path)
                return NULL;
        memcpy(path, w->path, w->n_path);
        memcpy(path + w->n_path, e->name, e->n_name + 1);
        *ret_n = w->n_path + e->n_name;
        return path;
}

/* The same for people; NULL when memory is out. */
static char *entry_shown(const struct walk *w, const struct tree_entry *e)
{
        size_t n;
        nb_auto_free char *path = entry_path(w, e, &n);

        return path ? path_shown(path, n) : NULL;
}

static bool is_notebook(const struct tree_entry *e)
{
        return ENTRY_TYPE(e->mode) != ENTRY_TREE && nb_ends_with_nocase(e->name, ".ipynb");
}

static int entry_check(struct walk *w, const struct tree_entry *e, struct nb_err *err)
{
        const char *why = name_refused(e->name, e->n_name);
        size_t n;

        if (!why && w->n_path + e->n_name > TREE_PATH_MAX)
                why = "a path of more than 4095 bytes";
        if (!why)
                return 0;
        nb_auto_free char *path = entry_path(w, e, &n);
        return entry_refused(path ? path : "?", path ? n : 1, why, err);
}

/* A notebook of the tree after (e), whose old entry is old or NULL. */
static int note_change(struct walk *w, const struct tree_entry *old, const struct tree_entry *e,
                       struct nb_err *err)
{
        bool utf8 =
                nb_utf8_valid(w->path, w->n_path, NULL) && nb_utf8_valid(e->name, e->n_name, NULL);
        struct changes *out = w->out;
        size_t n;

        if (ENTRY_TYPE(e->mode) == ENTRY_MODULE || !utf8) {
                nb_auto_free char *shown = entry_shown(w, e);
                job_warn(w->job, "%s is not run: %s", shown ? shown : "a notebook",
                         utf8 ? "it is a submodule" : "its name is not UTF-8");
                return 0;
        }
        if (out->n >= GIT_CHANGED_MAX)
                return nb_fail(err, NB_E_LIMIT, "more than %zu notebooks changed", GIT_CHANGED_MAX);
        if (nb_grow((void **)&out->v, &out->cap, out->n + 1, sizeof(*out->v)) < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory for changed notebooks");
        struct change *c = &out->v[out->n];
        *c = (struct change){.kind = GIT_ADDED, .mode = e->mode, .id = e->id};
        if (old && ENTRY_TYPE(old->mode) != ENTRY_TREE) {
                c->kind = ENTRY_TYPE(old->mode) == ENTRY_TYPE(e->mode) ? GIT_MODIFIED
                                                                       : GIT_TYPE_CHANGED;
                c->old_mode = old->mode;
                c->old_id = old->id;
        }
        c->path = entry_path(w, e, &n);
        if (!c->path)
                return nb_fail(err, NB_E_NOMEM, "no memory for changed notebooks");
        out->n++;
        return 0;
}

/* Only its content matters: what appeared may have been this. */
static int note_gone(struct walk *w, const struct tree_entry *e, struct nb_err *err)
{
        struct changes *out = w->out;

        if (ENTRY_TYPE(e->mode) != ENTRY_FILE || out->n_gone >= GIT_CHANGED_MAX)
                return 0;
        if (nb_grow((void **)&out->gone, &out->cap_gone, out->n_gone + 1, sizeof(*out->gone)) < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory for removed notebooks");
        out->gone[out->n_gone++] = (struct change){.old_mode = e->mode, .old_id = e->id};
        return 0;
}

static int walk_trees(struct walk *w, const git_oid *before, const git_oid *after, unsigned depth,
                      struct nb_err *err);

static int walk_below(struct walk *w, const struct tree_entry *old, const struct tree_entry *e,
                      unsigned depth, struct nb_err *err)
{
        const struct tree_entry *dir = e ? e : old;
        size_t n = w->n_path;
        int r;

        if (nb_streq(dir->name, ".ipynb_checkpoints"))
                return 0;
        if (depth >= GIT_DEPTH_MAX || n + dir->n_name + 1 > TREE_PATH_MAX)
                return nb_fail(err, NB_E_INVALID,
                               "the commit nests directories deeper than %u or paths longer than "
                               "%zu bytes",
                               GIT_DEPTH_MAX, TREE_PATH_MAX);
        memcpy(w->path + n, dir->name, dir->n_name);
        w->path[n + dir->n_name] = '/';
        w->n_path = n + dir->n_name + 1;
        r = walk_trees(w, old ? &old->id : NULL, e ? &e->id : NULL, depth + 1, err);
        w->n_path = n;
        return r;
}

/* One place in both trees; either may be NULL. */
static int walk_pair(struct walk *w, const struct tree_entry *old, const struct tree_entry *e,
                     unsigned depth, struct nb_err *err)
{
        bool old_tree = old && ENTRY_TYPE(old->mode) == ENTRY_TREE;
        bool new_tree = e && ENTRY_TYPE(e->mode) == ENTRY_TREE;
        int r;

        if (++w->job->entries > GIT_ENTRIES_MAX)
                return nb_fail(err, NB_E_LIMIT, "the commit has more than %llu entries",
                               (unsigned long long)GIT_ENTRIES_MAX);
        if (old && e && old->mode == e->mode && git_oid_equal(&old->id, &e->id))
                return 0;
        if (e) {
                r = entry_check(w, e, err);
                if (r < 0)
                        return r;
        }
        if (old_tree || new_tree)
                return walk_below(w, old_tree ? old : NULL, new_tree ? e : NULL, depth, err);
        if (e && is_notebook(e))
                return note_change(w, old, e, err);
        return old && !e && is_notebook(old) ? note_gone(w, old, err) : 0;
}

static int walk_trees(struct walk *w, const git_oid *before, const git_oid *after, unsigned depth,
                      struct nb_err *err)
{
        NB_CLEANUP(tree_close) struct tree old_tree = {0};
        NB_CLEANUP(tree_close) struct tree new_tree = {0};
        struct tree_entry old, e;
        int have_old = 0, have_new = 0, r = 0;
        bool step_old = true, step_new = true;

        if (before)
                r = tree_open(w->odb, before, &old_tree, err);
        if (r == 0 && after)
                r = tree_open(w->odb, after, &new_tree, err);
        while (r == 0) {
                if (step_old)
                        have_old = tree_next(&old_tree, &old, err);
                if (step_new && have_old >= 0)
                        have_new = tree_next(&new_tree, &e, err);
                if (have_old < 0 || have_new < 0)
                        return have_old < 0 ? have_old : have_new;
                if (!have_old && !have_new)
                        return 0;
                /* A file that became a directory sorts elsewhere: two places. */
                int order = !have_old ? 1 : !have_new ? -1 : tree_compare(&old, &e);
                step_old = order <= 0;
                step_new = order >= 0;
                r = walk_pair(w, step_old ? &old : NULL, step_new ? &e : NULL, depth, err);
        }
        return r;
}

static int by_path(const void *a, const void *b)
{
        const struct change *x = a, *y = b;

        return strcmp(x->path, y->path);
}

int changes_of(struct git_job *job, git_odb *odb, const git_oid *before, const git_oid *after,
               struct changes *ret, struct nb_err *err)
{
        NB_CLEANUP(changes_done) struct changes out = {0};
        struct walk w = {.job = job, .odb = odb, .out = &out};
        int r = 0;

        if (!before || !git_oid_equal(before, after))
                r = walk_trees(&w, before, after, 0, err);
        if (r < 0)
                return r;
        if (out.n)
                qsort(out.v, out.n, sizeof(*out.v), by_path);
        for (size_t i = 1; i < out.n; i++)
                if (strcmp(out.v[i - 1].path, out.v[i].path) == 0)
                        return nb_fail(err, NB_E_INVALID, "the commit holds \"%.300s\" twice",
                                       out.v[i].path);
        *ret = out;
        out = (struct changes){0};
        return 0;
}

static int commit_open(git_repository *repo, const char *hex, git_commit **ret, struct nb_err *err)
{
        git_oid id;
        int r = git_oid_fromstr(&id, hex);

        if (r == 0)
                r = git_commit_lookup(ret, repo, &id);
        return r < 0 ? git_raise(err, NB_E_NOTFOUND, r, "commit %s", hex) : 0;
}

int git_changes_of(const char *mirror, const char *before, const char *after, size_t *ret_n,
                   struct nb_err *err)
{
        NB_CLEANUP(mirror_close) struct git_mirror m = {.lock_fd = -1};
        NB_CLEANUP(git_answer_done) struct git_answer answer = {0};
        NB_CLEANUP(changes_done) struct changes c = {0};
        auto_commit git_commit *a = NULL, *b = NULL;
        struct git_job job = {.answer = &answer};
        int r = helper_library(err);

        if (r == 0)
                r = mirror_open(mirror, false, &m, err);
        if (r == 0)
                r = commit_open(m.repo, after, &a, err);
        if (r == 0 && before)
                r = commit_open(m.repo, before, &b, err);
        if (r == 0)
                r = changes_of(&job, m.odb, b ? git_commit_tree_id(b) : NULL, git_commit_tree_id(a),
                               &c, err);
        if (r == 0)
                r = changes_match(m.odb, &c, err);
        if (r == 0)
                *ret_n = c.n;
        return r;
}
