/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * git.h - mirrors, changed notebooks, workspaces
 *
 * libgit2 has no deadline for a silent remote and reads hostile packs in its
 * caller's memory, so each request runs in a helper process (our own binary,
 * `nbcid git-helper`): plain data in, plain data out, killed at the deadline.
 * git_call() blocks: pool threads only.  Nothing here reads configuration.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/crypto.h>
#include <nbcid/err.h>
#include <nbcid/mem.h>
#include <nbcid/str.h>

/* Where a repository comes from.  Borrowed texts.  The token goes to url's
 * host only (user "x-access-token" for GitHub, "oauth2" for GitLab). */
struct git_remote {
        const char *url; /* https, http, ssh or file */
        const char *username;
        const struct nb_secret *token;      /* NULL or n 0: none */
        const struct nb_secret *ssh_key;    /* NULL or n 0: none */
        const char *ssh_host_key;           /* "SHA256:...", required for ssh */
        const char *const *submodule_hosts; /* "host" or "host:port", beside url's own;
                                             * NULL-terminated or NULL */
};

struct git_limits {
        uint64_t timeout_us;
        uint64_t max_receive;  /* bytes over the wire */
        uint64_t max_checkout; /* bytes written to a workspace */
        uint64_t max_blob;     /* bytes of one notebook; larger ones are named, not read */
};

enum git_op {
        GIT_PREPARE,  /* fetch the commit into the mirror, list and extract changed notebooks */
        GIT_CHECKOUT, /* write the commit's tree to a workspace, submodules too */
        GIT_FILE,     /* extract one file of a commit that was prepared before */
};

struct git_request { /* borrowed */
        enum git_op op;
        const char *mirror; /* absolute path of the bare repository; made when absent */
        struct git_remote remote;
        struct git_limits limits;
        const char *commit; /* hex of what to build: a commit or an annotated tag */

        /* GIT_PREPARE */
        const char *ref;            /* "refs/heads/main": fetched as a fallback, may be NULL */
        const char *before;         /* hex, or "" */
        const char *default_branch; /* or NULL */
        const char *extract_dir;    /* changed notebooks are written here as 0, 1, 2, ...,
                                     * files beside them as s0, s1, s2, ... */

        /* GIT_CHECKOUT */
        const char *workspace; /* absolute; must not exist or be empty */

        /* GIT_FILE: extract_dir too, where it becomes s0 */
        const char *path; /* from the root, without ".." */

        atomic_bool *cancel; /* set by another thread: the helper is killed; may be NULL */
};

enum git_change {
        GIT_ADDED,
        GIT_MODIFIED,
        GIT_RENAMED,
        GIT_COPIED,
        GIT_TYPE_CHANGED,
        GIT_CHANGE__COUNT
};
const char *git_change_name(enum git_change c);

/* Why a path was not extracted. */
enum git_oddity {
        GIT_REGULAR,
        GIT_SYMLINK, /* the path is a symbolic link */
        GIT_TOO_BIG, /* over max_blob; of support: over GIT_SUPPORT_MAX */
        GIT_LFS,     /* a Git LFS pointer stands in its place */
        GIT_ODDITY__COUNT,
};

struct git_changed {
        char *path; /* valid UTF-8, relative, without ".." */
        enum git_change change;
        enum git_oddity oddity;
        uint64_t size;
};

/* A file that says what notebooks need. */
#define GIT_SUPPORT_MAX ((size_t)1 << 20) /* bytes of one */
struct git_support {
        char *path; /* valid UTF-8, relative, without ".." */
        enum git_oddity oddity;
        uint64_t size;
};

struct git_answer {        /* everything owned */
        char commit[65];   /* peeled */
        char *title;       /* of the commit, or NULL */
        char *repo_config; /* text of .nbcid.toml at the commit, or NULL */
        size_t n_repo_config;
        struct git_changed *changed; /* *.ipynb in any case, without .ipynb_checkpoints;
                                      * sorted by path; i-th is extract_dir/i */
        size_t n_changed;
        /* GIT_PREPARE: requirements.txt, Pipfile.lock, Pipfile, pyproject.toml,
         * environment.yml, environment.yaml and runtime.txt of each directory from
         * a changed notebook up to the root, and of the root's binder and .binder.
         * GIT_FILE: the file, none when there is no file of that path.  The i-th
         * is extract_dir/s<i>. */
        struct git_support *support;
        size_t n_support;
        bool binder, dot_binder; /* the root has a directory of that name */
        struct nb_strv warnings; /* e.g. "submodule data: host evil.example is not allowed" */
};
void git_answer_done(struct git_answer *a);

/* Run one request.  NB_E_REMOTE: unreachable or broken, worth a retry;
 * NB_E_DENIED: credentials or host refused; NB_E_NOTFOUND: no such commit or
 * repository; NB_E_LIMIT, NB_E_TIMEOUT, NB_E_CANCELLED, NB_E_INVALID (a tree
 * that cannot be checked out safely), NB_E_BUSY (the mirror was damaged and is
 * empty now; the next try fetches), NB_E_CONFLICT (the workspace is not empty),
 * NB_E_IO (this host), NB_E_BUG (the helper misbehaves).
 * Any number of calls may run at once: the helper takes a lock file in the
 * mirror, shared while it only reads, and waits for it within the deadline.
 * A workspace is left half written on failure; the caller removes it.
 * Mirrors of submodules are in "sub" beside the mirror.
 * The helper is $NBCID_SELF, else /proc/self/exe, with the one argument
 * "git-helper"; of the environment it gets SSL_CERT_FILE and SSL_CERT_DIR. */
int git_call(const struct git_request *r, struct git_answer *ret, struct nb_err *err);

/* The other side of the pipe: what `nbcid git-helper` runs.  Answers an exit
 * status.  Its own process only. */
int git_helper_main(int in_fd, int out_fd);
