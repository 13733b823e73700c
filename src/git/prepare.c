/* SPDX-License-Identifier: Apache-2.0 */
/* GIT_PREPARE: the commit into the mirror, its changed notebooks out of it. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <nbcid/fs.h>
#include <nbcid/str.h>

#include "git-priv.h"

static bool ref_valid(const char *name)
{
        int valid = 0;

        return git_reference_name_is_valid(&valid, name) == 0 && valid;
}

static int oid_parse(const char *hex, const char *what, git_oid *ret, struct nb_err *err)
{
        uint8_t raw[32];

        if (strlen(hex) == 64 && nb_unhex(hex, 64, raw, 32))
                return nb_fail(err, NB_E_INVALID,
                               "%s %s is a SHA-256 id; this build's libgit2 reads SHA-1 "
                               "repositories only",
                               what, hex);
        if (!nb_unhex(hex, strlen(hex), ret->id, GIT_OID_RAWSZ))
                return nb_fail(err, NB_E_INVALID, "%s \"%.80s\" is not 40 hex digits", what, hex);
        return 0;
}

int request_commit(const struct git_request *r, git_oid *ret, struct nb_err *err)
{
        int rc = oid_parse(r->commit, "commit", ret, err);

        if (rc < 0)
                return rc;
        if (git_oid_is_zero(ret))
                return nb_fail(err, NB_E_INVALID,
                               "the commit is all zeros: the push deleted its ref");
        return 0;
}

int answer_commit(struct git_answer *a, git_commit *c, struct nb_err *err)
{
        const char *title = git_commit_summary(c);

        git_oid_tostr(a->commit, sizeof(a->commit), git_commit_id(c));
        if (!title)
                return 0;
        nb_auto_free char *clean = nb_utf8_clean(title, strnlen(title, 4096), true);
        a->title = clean ? nb_utf8_cut(clean, 200) : NULL;
        return a->title ? 0 : nb_fail(err, NB_E_NOMEM, "no memory for the title of a commit");
}

struct prepare {
        struct git_job *job;
        struct git_mirror *m;
        git_oid id, before;
        bool before_known;  /* the push named one */
        const char *branch; /* the default branch, or NULL */
        bool on_branch;     /* the push is to the default branch */
};

static int prepare_names(struct prepare *p, struct nb_err *err)
{
        const struct git_request *r = p->job->r;
        nb_auto_free char *name = NULL;
        int rc = request_commit(r, &p->id, err);

        if (rc < 0)
                return rc;
        if (r->before && *r->before) {
                rc = oid_parse(r->before, "commit before the push", &p->before, err);
                if (rc < 0)
                        return rc;
                p->before_known = !git_oid_is_zero(&p->before);
        }
        if (r->ref && !ref_valid(r->ref))
                return nb_fail(err, NB_E_INVALID, "\"%.200s\" is not the name of a ref", r->ref);
        if (r->default_branch && *r->default_branch) {
                name = nb_asprintf("refs/heads/%s", r->default_branch);
                if (!name)
                        return nb_fail(err, NB_E_NOMEM, "no memory for a ref");
                if (!ref_valid(name))
                        return nb_fail(err, NB_E_INVALID, "\"%.200s\" is not the name of a branch",
                                       r->default_branch);
                p->branch = r->default_branch;
                p->on_branch = nb_streq(r->ref, name);
        }
        return 0;
}

/* The commit to build, fetched when the mirror has not got it. */
static int prepare_commit(struct prepare *p, git_commit **ret, struct nb_err *err)
{
        struct fetch_wish w = {.id = &p->id, .ref = p->job->r->ref};
        int r = mirror_commit(p->m, &p->id, ret, err);

        if (r < 0)
                return r;
        if (r == 0) {
                /* The tip of the default branch is worth the bytes only when
                 * the merge base will be wanted. */
                if (!p->before_known || !git_odb_exists(p->m->odb, &p->before))
                        w.branch = p->branch;
                r = fetch_run(p->job, p->m, &p->job->origin, &w, err);
                if (r == 0)
                        r = mirror_commit(p->m, &p->id, ret, err);
                if (r < 0)
                        return r;
                if (r == 0)
                        return nb_fail(err, NB_E_CORRUPT, "commit %s was fetched and is not there",
                                       git_oid_tostr_s(&p->id));
        }
        return mirror_keep(p->m, &p->id, err);
}

/* The commit that the branch pointed to before: 1, or 0 when nobody has it. */
static int prepare_before(struct prepare *p, git_commit **ret, struct nb_err *err)
{
        struct fetch_wish w = {.id = &p->before, .exact_only = true};
        int r;

        if (!p->before_known)
                return 0;
        r = mirror_commit(p->m, &p->before, ret, err);
        if (r != 0)
                return r == -NB_E_INVALID ? 0 : r;
        r = fetch_run(p->job, p->m, &p->job->origin, &w, err);
        if (r == -NB_E_NOTFOUND)
                return 0;
        if (r == 0)
                r = mirror_commit(p->m, &p->before, ret, err);
        return r == -NB_E_INVALID ? 0 : r;
}

/* Where the commit left the default branch: 1, or 0 when there is no such
 * place and every notebook is new. */
static int prepare_base(struct prepare *p, const git_oid *commit, git_commit **ret,
                        struct nb_err *err)
{
        git_oid tip, base;
        int r;

        /* On the default branch itself the base would be the commit, and
         * nothing would ever have changed. */
        if (!p->branch || p->on_branch)
                return 0;
        r = mirror_branch(p->m, p->branch, &tip, err);
        if (r == 0) {
                struct fetch_wish w = {.branch = p->branch};
                r = fetch_run(p->job, p->m, &p->job->origin, &w, err);
                if (r == 0)
                        r = mirror_branch(p->m, p->branch, &tip, err);
        }
        if (r <= 0)
                return r;
        r = git_merge_base(&base, p->m->repo, commit, &tip);
        if (r == GIT_ENOTFOUND)
                return 0;
        if (r < 0)
                return git_raise(err, NB_E_CORRUPT, r, "merge base of %s and %s", p->job->r->commit,
                                 p->branch);
        return mirror_commit(p->m, &base, ret, err);
}

static int describe(struct git_job *job, git_odb *odb, git_commit *c, struct nb_err *err)
{
        struct git_answer *a = job->answer;
        auto_object git_odb_object *o = NULL;
        struct tree_entry e;
        int r;

        r = answer_commit(a, c, err);
        if (r < 0)
                return r;
        r = tree_find(odb, git_commit_tree_id(c), ".nbcid.toml", &e, err);
        if (r <= 0)
                return r;
        if (ENTRY_TYPE(e.mode) != ENTRY_FILE) {
                job_warn(job, ".nbcid.toml is not a regular file and is ignored");
                return 0;
        }
        r = blob_open(odb, &e.id, GIT_CONFIG_MAX, &o, err);
        if (r == -NB_E_LIMIT) {
                job_warn(job, ".nbcid.toml is ignored: %s", err->msg);
                return 0;
        }
        if (r < 0)
                return r;
        a->n_repo_config = git_odb_object_size(o);
        a->repo_config = malloc(a->n_repo_config + 1);
        if (!a->repo_config)
                return nb_fail(err, NB_E_NOMEM, "no memory for .nbcid.toml");
        memcpy(a->repo_config, git_odb_object_data(o), a->n_repo_config);
        a->repo_config[a->n_repo_config] = '\0';
        return 0;
}

/* https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md: a pointer is
 * under 1024 bytes and begins with its version. */
bool is_lfs_pointer(git_odb_object *o)
{
        const char *p = git_odb_object_data(o);
        const size_t n = git_odb_object_size(o);
        static const char *const marks[] = {"version https://git-lfs.github.com/spec/",
                                            "version https://hawser.github.com/spec/"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(marks); i++)
                if (n < 1024 && n > strlen(marks[i]) && memcmp(p, marks[i], strlen(marks[i])) == 0)
                        return true;
        return false;
}

int extract_write(int dir, const char *name, git_odb_object *o, struct nb_err *err)
{
        nb_auto_fd int fd =
                openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return nb_fail_errno(err, errno, "cannot write file %s", name);
        return nb_write_all(fd, git_odb_object_data(o), git_odb_object_size(o), err);
}

static int extract_one(struct git_job *job, git_odb *odb, int dir, size_t i, uint64_t *total,
                       const struct change *c, struct git_changed *ret, struct nb_err *err)
{
        auto_object git_odb_object *o = NULL;
        char name[24];
        int r = blob_size(odb, &c->id, &ret->size, err);

        if (r < 0)
                return r;
        if (ENTRY_TYPE(c->mode) == ENTRY_LINK)
                ret->oddity = GIT_SYMLINK;
        else if (ret->size > job->r->limits.max_blob)
                ret->oddity = GIT_TOO_BIG;
        if (ret->oddity != GIT_REGULAR)
                return 0;
        *total += ret->size;
        if (*total > job->r->limits.max_checkout)
                return nb_fail(err, NB_E_LIMIT,
                               "the changed notebooks have more than %llu bytes; raise [limits] "
                               "max_repository",
                               (unsigned long long)job->r->limits.max_checkout);
        r = blob_open(odb, &c->id, job->r->limits.max_blob, &o, err);
        if (r < 0)
                return r;
        if (is_lfs_pointer(o)) {
                ret->oddity = GIT_LFS;
                return 0;
        }
        nb_fmt(name, sizeof(name), "%zu", i);
        return extract_write(dir, name, o, err);
}

static int extract(struct git_job *job, git_odb *odb, const git_oid *tree, struct changes *c,
                   struct nb_err *err)
{
        struct git_answer *a = job->answer;
        const char *dir = job->r->extract_dir;
        uint64_t total = 0;
        int r = nb_mkdirs(AT_FDCWD, dir, 0700, err);

        if (r < 0 || c->n == 0)
                return r;
        nb_auto_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return nb_fail_errno(err, errno, "cannot open %s", dir);
        a->changed = nb_alloc_array(c->n, sizeof(*a->changed));
        if (!a->changed)
                return nb_fail(err, NB_E_NOMEM, "no memory for %zu notebooks", c->n);
        for (size_t i = 0; i < c->n; i++) {
                struct git_changed *out = &a->changed[i];
                out->change = c->v[i].kind;
                r = extract_one(job, odb, fd, i, &total, &c->v[i], out, err);
                if (r < 0) {
                        nb_auto_free char *shown = path_shown(c->v[i].path, strlen(c->v[i].path));
                        return nb_wrap(err, r, "notebook %s", shown ? shown : "?");
                }
                out->path = NB_TAKE(c->v[i].path);
                a->n_changed = i + 1;
        }
        return support_extract_all(job, odb, tree, fd, err);
}

static int prepare_once(struct git_job *job, struct git_mirror *m, struct nb_err *err)
{
        NB_CLEANUP(changes_done) struct changes changes = {0};
        auto_commit git_commit *commit = NULL, *base = NULL;
        struct prepare p = {.job = job, .m = m};
        int r = prepare_names(&p, err);

        if (r == 0)
                r = prepare_commit(&p, &commit, err);
        if (r < 0)
                return r;
        r = prepare_before(&p, &base, err);
        if (r == 0) {
                r = prepare_base(&p, git_commit_id(commit), &base, err);
                if (r >= 0 && p.before_known)
                        job_warn(job, "commit %s, where %s was before, is gone; %s", job->r->before,
                                 job->r->ref ? job->r->ref : "the ref",
                                 r ? "compared with the default branch instead"
                                   : "every notebook counts as changed");
        }
        if (r < 0)
                return r;
        r = changes_of(job, m->odb, base ? git_commit_tree_id(base) : NULL,
                       git_commit_tree_id(commit), &changes, err);
        if (r == 0)
                r = changes_match(m->odb, &changes, err);
        if (r == 0)
                r = describe(job, m->odb, commit, err);
        return r < 0 ? r : extract(job, m->odb, git_commit_tree_id(commit), &changes, err);
}

int prepare_run(struct git_job *job, struct nb_err *err)
{
        NB_CLEANUP(mirror_close) struct git_mirror m = {.lock_fd = -1};
        int r = mirror_open(job->r->mirror, true, &m, err);

        if (r < 0)
                return r;
        r = prepare_once(job, &m, err);
        if (r != -NB_E_CORRUPT)
                return r;
        /* A damaged mirror (power cut, full disk) holds nothing that the
         * remote has not: once more from nothing. */
        git_answer_done(job->answer);
        job->entries = 0;
        job_warn(job, "the mirror was damaged and is made anew: %s", err->msg);
        r = mirror_reset(&m, err);
        if (r == 0)
                r = prepare_once(job, &m, err);
        if (r == -NB_E_CORRUPT) {
                struct nb_err was = *err;
                r = nb_fail(err, NB_E_REMOTE, "%s sends incomplete data: %s", job->origin.url,
                            was.msg);
        }
        return r;
}
