/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libgit2's local transport (transports/local.c) packs what the refs of the
 * source reach and nothing else.  A commit that was force-pushed away is
 * still in the source's object store, so it is packed here.
 */
#include "git-priv.h"

struct local {
        git_repository *source;
        git_revwalk *walk;
        git_packbuilder *pack;
        git_odb_writepack *sink;
        git_indexer_progress stats;
};

static void local_done(struct local *l)
{
        if (l->sink)
                l->sink->free(l->sink);
        git_packbuilder_free(l->pack);
        git_revwalk_free(l->walk);
        git_repository_free(l->source);
}

static int on_ref(git_reference *ref, void *arg)
{
        struct local *l = arg;
        const git_oid *id = git_reference_target(ref);

        /* The source need not know every commit of the mirror. */
        if (id && git_revwalk_hide(l->walk, id) < 0)
                git_error_clear();
        git_reference_free(ref);
        return 0;
}

static int on_bytes(void *p, size_t n, void *arg)
{
        struct local *l = arg;

        l->stats.received_bytes += n;
        return l->sink->append(l->sink, p, n, &l->stats);
}

/* 0, 1 or libgit2's answer < 0. */
static int local_copy(struct local *l, struct git_mirror *m, const git_oid *id,
                      git_indexer_progress_cb progress, void *arg)
{
        git_object *o = NULL, *commit = NULL;
        int r = git_object_lookup(&o, l->source, id, GIT_OBJECT_ANY);

        if (r == GIT_ENOTFOUND)
                return 0;
        if (r == 0)
                r = git_object_peel(&commit, o, GIT_OBJECT_COMMIT);
        if (r == 0)
                r = git_revwalk_new(&l->walk, l->source);
        if (r == 0)
                r = git_revwalk_push(l->walk, git_object_id(commit));
        if (r == 0)
                r = git_reference_foreach(m->repo, on_ref, l);
        if (r == 0)
                r = git_packbuilder_new(&l->pack, l->source);
        if (r == 0)
                r = git_packbuilder_insert_walk(l->pack, l->walk);
        if (r == 0 && git_object_type(o) == GIT_OBJECT_TAG)
                r = git_packbuilder_insert(l->pack, id, NULL);
        if (r == 0)
                r = git_odb_write_pack(&l->sink, m->odb, progress, arg);
        if (r == 0)
                r = git_packbuilder_foreach(l->pack, on_bytes, l);
        if (r == 0)
                r = l->sink->commit(l->sink, &l->stats);
        git_object_free(commit);
        git_object_free(o);
        return r == 0 ? 1 : r < 0 ? r : -1;
}

int fetch_file_exact(struct git_mirror *m, const struct origin *o, const git_oid *id,
                     git_indexer_progress_cb progress, void *arg, struct nb_err *err)
{
        NB_CLEANUP(local_done) struct local l = {0};
        int r = git_repository_open(&l.source, o->path);

        if (r == 0)
                r = local_copy(&l, m, id, progress, arg);
        return r < 0 ? git_raise(err, NB_E_REMOTE, r, "commit %s of %s", git_oid_tostr_s(id),
                                 o->url)
                     : r;
}
