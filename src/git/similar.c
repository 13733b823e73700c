/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which added notebooks were there before under another name.  As git's
 * diffcore-rename does it: equal content first, then likeness of at least
 * half, measured by libgit2's hashsig.  Only notebooks are compared, and the
 * work is bounded like diff.renameLimit bounds it.
 */
#include <git2/sys/hashsig.h>

#include "git-priv.h"

#define SIMILAR_MIN 50                   /* percent */
#define SIMILAR_FILES ((size_t)200)      /* on either side; more are not compared */
#define SIMILAR_BLOB ((uint64_t)8 << 20) /* bytes; larger ones are not compared */

struct source {
        const git_oid *id;
        bool gone;  /* else it is still there, changed: a copy's source */
        bool taken; /* a rename has used it up */
        git_hashsig *sig;
};

struct sources {
        struct source *v;
        size_t n;
};

static void sources_done(struct sources *s)
{
        for (size_t i = 0; i < s->n; i++)
                git_hashsig_free(s->v[i].sig);
        free(s->v);
}

static bool is_candidate(const struct change *c)
{
        return c->kind == GIT_ADDED && ENTRY_TYPE(c->mode) == ENTRY_FILE;
}

static int sources_list(const struct changes *c, struct sources *ret, struct nb_err *err)
{
        ret->v = nb_alloc_array(c->n_gone + c->n + 1, sizeof(*ret->v));
        if (!ret->v)
                return nb_fail(err, NB_E_NOMEM, "no memory to look for renames");
        for (size_t i = 0; i < c->n_gone; i++)
                ret->v[ret->n++] = (struct source){.id = &c->gone[i].old_id, .gone = true};
        for (size_t i = 0; i < c->n; i++)
                if (c->v[i].kind == GIT_MODIFIED && ENTRY_TYPE(c->v[i].old_mode) == ENTRY_FILE)
                        ret->v[ret->n++] = (struct source){.id = &c->v[i].old_id};
        return 0;
}

static void match(struct change *c, struct source *s)
{
        c->kind = s->gone && !s->taken ? GIT_RENAMED : GIT_COPIED;
        c->old_id = *s->id;
        s->taken = true;
}

static int by_id(const void *a, const void *b)
{
        const struct source *const *x = a, *const *y = b;
        int r = git_oid_cmp((*x)->id, (*y)->id);

        return r ? r : (int)(*y)->gone - (int)(*x)->gone; /* those that are gone first */
}

/* The best of the sources with that content: an unused one that is gone. */
static struct source *find_equal(struct source **v, size_t n, const git_oid *id)
{
        size_t lo = 0, hi = n;

        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;
                if (git_oid_cmp(v[mid]->id, id) < 0)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        struct source *first = lo < n && git_oid_equal(v[lo]->id, id) ? v[lo] : NULL;
        for (; lo < n && git_oid_equal(v[lo]->id, id); lo++)
                if (v[lo]->gone && !v[lo]->taken)
                        return v[lo];
        return first;
}

static int match_equal(struct changes *c, struct sources *s, struct nb_err *err)
{
        nb_auto_free struct source **v = nb_alloc_array(s->n + 1, sizeof(*v));

        if (!v)
                return nb_fail(err, NB_E_NOMEM, "no memory to look for renames");
        for (size_t i = 0; i < s->n; i++)
                v[i] = &s->v[i];
        qsort(v, s->n, sizeof(*v), by_id);
        for (size_t i = 0; i < c->n; i++) {
                struct source *found =
                        is_candidate(&c->v[i]) ? find_equal(v, s->n, &c->v[i].id) : NULL;
                if (found)
                        match(&c->v[i], found);
        }
        return 0;
}

/* NULL with 0 when it is too large to be compared. */
static int signature(git_odb *odb, const git_oid *id, git_hashsig **ret, struct nb_err *err)
{
        auto_object git_odb_object *o = NULL;
        int r = blob_open(odb, id, SIMILAR_BLOB, &o, err);

        if (r < 0)
                return r == -NB_E_LIMIT ? 0 : r;
        r = git_hashsig_create(ret, git_odb_object_data(o), git_odb_object_size(o),
                               GIT_HASHSIG_NORMAL | GIT_HASHSIG_ALLOW_SMALL_FILES);
        return r < 0 ? git_raise(err, NB_E_NOMEM, r, "signature of %s", git_oid_tostr_s(id)) : 0;
}

static int match_like(git_odb *odb, struct change *c, struct sources *s, struct nb_err *err)
{
        struct source *best = NULL;
        git_hashsig *sig = NULL;
        int best_score = SIMILAR_MIN - 1;
        int r = signature(odb, &c->id, &sig, err);

        if (r < 0 || !sig)
                return r;
        for (size_t i = 0; i < s->n; i++) {
                if (!s->v[i].sig)
                        continue;
                int score = git_hashsig_compare(sig, s->v[i].sig);
                bool better = score > best_score ||
                              (score == best_score && best && best->taken && !s->v[i].taken);
                if (better) {
                        best_score = score;
                        best = &s->v[i];
                }
        }
        git_hashsig_free(sig);
        if (best)
                match(c, best);
        return 0;
}

int changes_match(git_odb *odb, struct changes *c, struct nb_err *err)
{
        NB_CLEANUP(sources_done) struct sources s = {0};
        size_t left = 0;
        int r = sources_list(c, &s, err);

        if (r == 0 && s.n)
                r = match_equal(c, &s, err);
        for (size_t i = 0; i < c->n; i++)
                left += is_candidate(&c->v[i]);
        if (r < 0 || !left || left > SIMILAR_FILES || s.n > SIMILAR_FILES)
                return r;
        for (size_t i = 0; r == 0 && i < s.n; i++)
                r = signature(odb, s.v[i].id, &s.v[i].sig, err);
        for (size_t i = 0; r == 0 && i < c->n; i++)
                if (is_candidate(&c->v[i]))
                        r = match_like(odb, &c->v[i], &s, err);
        return r;
}
