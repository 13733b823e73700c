/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * git-priv.h - what the files of room git share
 *
 * git-call.c and git-wire.c run in the daemon; all the rest runs in the helper
 * process, which has one thread, serves one request and ends.
 */

#include <git2.h>

#include <nbcid/buf.h>
#include <nbcid/git.h>
#include <nbcid/json.h>

#define GIT_REQUEST_MAX ((size_t)1 << 20)  /* bytes of a request on the wire */
#define GIT_ANSWER_MAX ((size_t)64 << 20)  /* bytes of an answer on the wire */
#define GIT_CONFIG_MAX ((size_t)256 << 10) /* bytes of .nbcid.toml and of .gitmodules */
#define GIT_CHANGED_MAX ((size_t)20000)    /* changed notebooks of one push */
#define GIT_ENTRIES_MAX UINT64_C(20000000) /* tree entries looked at in one request */
#define GIT_DEPTH_MAX 100u                 /* directories within each other */
#define TREE_PATH_MAX ((size_t)4095)       /* bytes of a path (Linux PATH_MAX less NUL) */
#define GIT_WARNINGS_MAX ((size_t)100)
#define GIT_SUBMODULES_MAX ((size_t)200)
#define GIT_SUBMODULE_DEPTH_MAX 8u

/* ---- git-wire.c: the two JSON texts ---- */

/* A request read back: r borrows from the rest. */
struct git_wire {
        struct git_request r;
        struct nb_json_tree *tree;
        struct nb_secret token, ssh_key;
        const char **hosts;
};
void git_wire_done(struct git_wire *w);
int git_request_write(const struct git_request *r, struct nb_buf *ret, struct nb_err *err);
int git_request_read(const char *p, size_t n, struct git_wire *ret, struct nb_err *err);
void git_answer_write(const struct git_answer *a, struct nb_buf *ret);
void git_failure_write(const struct nb_err *e, struct nb_buf *ret);
/* 0 with *ret filled, or the helper's own failure, or -NB_E_BUG when it is
 * not an answer. */
int git_answer_read(const char *p, size_t n, struct git_answer *ret, struct nb_err *err);

/* ---- origin.c: URLs, taken apart and put together again ---- */

enum origin_scheme { ORIGIN_HTTPS, ORIGIN_HTTP, ORIGIN_SSH, ORIGIN_FILE };

struct origin { /* all owned */
        enum origin_scheme scheme;
        char *user;        /* ssh only, else NULL */
        char *host;        /* lower case; "" for file */
        unsigned port;     /* the effective one; 0 for file */
        char *path;        /* begins with '/', has no ".." */
        char *url;         /* put together from the above: no password, no surprises */
        bool had_userinfo; /* http(s): the text named a user; url does not */
};
void origin_done(struct origin *o);
/* text: a URL of the four schemes, "user@host:path" or "/path".  Errors never
 * repeat what stands before an '@'. */
int origin_parse(const char *text, struct origin *ret, struct nb_err *err);
/* text may also be relative to base ("./", "../"), see gitsubmodules(7). */
int origin_resolve(const struct origin *base, const char *text, struct origin *ret,
                   struct nb_err *err);
/* The same place on another origin's scheme, host and port. */
int origin_move(const struct origin *to, const char *path, struct origin *ret, struct nb_err *err);
int origin_copy(const struct origin *o, struct origin *ret, struct nb_err *err);
bool origin_same_host(const struct origin *a, const struct origin *b);
bool origin_same(const struct origin *a, const struct origin *b); /* scheme, host and port */
/* Does "host" (default port) or "host:port" name o? */
bool origin_matches(const struct origin *o, const char *host);

/* ---- helper.c ---- */

/* Start libgit2 with nothing of this host's configuration. */
int helper_library(struct nb_err *err);

struct git_job {
        const struct git_request *r;
        struct origin origin;
        struct git_answer *answer;
        uint64_t received; /* bytes of finished downloads */
        uint64_t entries;  /* tree entries looked at */
        size_t warnings_cut;
};
/* Add a warning, cleaned to one line; the list has a ceiling. */
void job_warn(struct git_job *job, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Raise from libgit2's answer rc; its last error text is appended. */
int git_raise(struct nb_err *err, enum nb_errc code, int rc, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
/* path made presentable: bytes that are not UTF-8 as \xNN, control characters
 * too.  Owned, NULL when memory is out. */
char *path_shown(const char *path, size_t n);

/* ---- mirror.c ---- */

struct git_mirror {
        char *path;
        int lock_fd;
        bool exclusive;
        git_repository *repo;
        git_odb *odb;
};
/* Open the bare repository, made when absent, under its lock: shared to read,
 * exclusive to write.  Waits for the lock without end; the caller's parent
 * keeps the deadline.  Hold one mirror at a time: mirrors of submodules may
 * name each other in circles. */
int mirror_open(const char *path, bool exclusive, struct git_mirror *ret, struct nb_err *err);
void mirror_close(struct git_mirror *m);
/* Change the lock; what was read before may be stale after. */
int mirror_lock(struct git_mirror *m, bool exclusive, struct nb_err *err);
/* Throw all content away (exclusive lock) and begin afresh. */
int mirror_reset(struct git_mirror *m, struct nb_err *err);
/* The commit that id names, tags peeled: 1, 0 absent, -NB_E_INVALID when it
 * is something else. */
int mirror_commit(struct git_mirror *m, const git_oid *id, git_commit **ret, struct nb_err *err);
/* Keep id reachable as refs/nbcid/<id>. */
int mirror_keep(struct git_mirror *m, const git_oid *id, struct nb_err *err);
/* Remember the tip of a remote branch. */
int mirror_set_branch(struct git_mirror *m, const char *branch, const git_oid *id,
                      struct nb_err *err);
/* The tip as last remembered: 1 or 0. */
int mirror_branch(struct git_mirror *m, const char *branch, git_oid *ret, struct nb_err *err);

/* ---- fetch.c, fetch-file.c ---- */

struct fetch_wish {
        const git_oid *id;  /* to have afterwards; may be NULL */
        const char *ref;    /* where it may be found, or NULL */
        const char *branch; /* its tip is wanted too when it exists, or NULL */
        bool exact_only;    /* do not look for id below the branches */
};
/* Bring what w names into m (exclusive lock).  The token and key of the
 * request are used only when o is the request's own origin. */
int fetch_run(struct git_job *job, struct git_mirror *m, const struct origin *o,
              const struct fetch_wish *w, struct nb_err *err);
/* A commit that no ref of a repository on this disk reaches, which libgit2's
 * local transport never sends.  1, or 0 when it is not there. */
int fetch_file_exact(struct git_mirror *m, const struct origin *o, const git_oid *id,
                     git_indexer_progress_cb progress, void *arg, struct nb_err *err);

/* ---- tree.c: trees as they are stored, with nothing believed ---- */

struct tree {
        git_odb_object *object;
        const char *p, *end;
};
struct tree_entry {
        const char *name; /* borrowed from the tree, NUL-terminated */
        size_t n_name;
        unsigned mode; /* S_IFMT decides; permissions may be odd in old trees */
        git_oid id;
};
#define ENTRY_TREE 0040000u
#define ENTRY_FILE 0100000u
#define ENTRY_LINK 0120000u
#define ENTRY_MODULE 0160000u
#define ENTRY_TYPE(mode) ((mode)&0170000u)

int tree_open(git_odb *odb, const git_oid *id, struct tree *ret, struct nb_err *err);
void tree_close(struct tree *t);
int tree_next(struct tree *t, struct tree_entry *ret, struct nb_err *err); /* 1, or 0 at the end */
/* git's order of entries: a directory sorts as if its name ended in '/'. */
int tree_compare(const struct tree_entry *a, const struct tree_entry *b);
/* Why a name cannot be written to disk safely, or NULL.  Static storage. */
const char *name_refused(const char *name, size_t n);
/* Raise that; path is where the entry is. */
int entry_refused(const char *path, size_t n, const char *why, struct nb_err *err);
/* Entry name of a tree: 1, or 0 when there is none. */
int tree_find(git_odb *odb, const git_oid *tree, const char *name, struct tree_entry *ret,
              struct nb_err *err);
/* A blob of at most max bytes, owned; -NB_E_LIMIT, unread, when larger. */
int blob_open(git_odb *odb, const git_oid *id, uint64_t max, git_odb_object **ret,
              struct nb_err *err);
int blob_size(git_odb *odb, const git_oid *id, uint64_t *ret, struct nb_err *err);

/* ---- changes.c, similar.c ---- */

struct change {
        char *path; /* owned, UTF-8 */
        enum git_change kind;
        unsigned mode, old_mode;
        git_oid id, old_id;
};
struct changes {
        struct change *v; /* in the tree after; sorted by path */
        size_t n, cap;
        struct change *gone; /* notebooks that are no more: sources of renames */
        size_t n_gone, cap_gone;
};
void changes_done(struct changes *c);
/* Notebooks that differ between two trees; before NULL: every notebook of
 * after is added.  Notebooks copied from one that did not change count as
 * added, as for `git diff -C`. */
int changes_of(struct git_job *job, git_odb *odb, const git_oid *before, const git_oid *after,
               struct changes *ret, struct nb_err *err);
/* Turn additions into renames and copies. */
int changes_match(git_odb *odb, struct changes *c, struct nb_err *err);

/* The whole of the above on an existing mirror, without a helper: for bench/.
 * before and after are hex ids of commits; before NULL: all.  *ret_n gets the
 * number of changed notebooks. */
int git_changes_of(const char *mirror, const char *before, const char *after, size_t *ret_n,
                   struct nb_err *err);

/* ---- prepare.c, support.c, checkout.c, submodules.c, gitmodules.c ---- */

int prepare_run(struct git_job *job, struct nb_err *err);
/* The request's commit as an id; not all zeros. */
int request_commit(const struct git_request *r, git_oid *ret, struct nb_err *err);
/* Id and title into the answer. */
int answer_commit(struct git_answer *a, git_commit *c, struct nb_err *err);
/* A blob as a file of that name in dir. */
int extract_write(int dir, const char *name, git_odb_object *o, struct nb_err *err);
/* Does a Git LFS pointer stand in the place of the content? */
bool is_lfs_pointer(git_odb_object *o);
/* Extract what stands beside the answer's changed notebooks. */
int support_extract_all(struct git_job *job, git_odb *odb, const git_oid *tree, int dir,
                        struct nb_err *err);
int look_run(struct git_job *job, struct nb_err *err); /* GIT_FILE */
int checkout_run(struct git_job *job, struct nb_err *err);

struct module {
        char *path, *url;
};
struct modules {
        struct module *v;
        size_t n, cap;
};
void modules_done(struct modules *m);
/* The [submodule "..."] sections of a .gitmodules text (git-config(1) syntax);
 * includes are not followed.  Pure. */
int modules_parse(const char *p, size_t n, struct modules *ret, struct nb_err *err);
const char *modules_url(const struct modules *m, const char *path); /* or NULL */

/* May a submodule of base with this url be fetched?  1 and *ret, or 0 and a
 * warning about shown. */
int submodule_origin(struct git_job *job, const struct origin *base, const char *url,
                     const char *shown, struct origin *ret, struct nb_err *err);
/* Where its mirror is: owned path, NULL when memory is out. */
char *submodule_mirror(const char *mirror, const struct origin *o);

#define auto_object NB_CLEANUP(git_odb_object_freep)
#define auto_commit NB_CLEANUP(git_commit_freep)
static inline void git_odb_object_freep(git_odb_object **o)
{
        git_odb_object_free(*o);
}
static inline void git_commit_freep(git_commit **c)
{
        git_commit_free(*c);
}
