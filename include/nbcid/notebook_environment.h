/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * notebook_environment.h - which environment a notebook gets
 *
 * From what the repository's owner, the notebook and the files beside it say to
 * one struct nb_environment.  All of it is a stranger's text.  Pure but for the
 * files that a callback reads; any thread.
 *
 * Errors: NB_E_INVALID and NB_E_LIMIT say what is wrong with the repository's
 * text ("train/requirements.txt:3: "-e ../x" is refused: ...; remedy"), never
 * repeat a password, and are for the person who pushed; NB_E_NOMEM and those
 * of the callback are not.
 */

#include <stdbool.h>
#include <stddef.h>

#include <nbcid/buf.h>
#include <nbcid/config.h>
#include <nbcid/err.h>
#include <nbcid/model.h>
#include <nbcid/notebook.h>

#define REQUIREMENTS_MAX ((size_t)512 * 1024) /* bytes of the normal form */

/* What requirements may do beside naming packages of the configured index:
 * [environments] allow. */
enum requirements_allow {
        REQUIREMENTS_VCS = 1u << 0,      /* "vcs": git+https://... */
        REQUIREMENTS_URL = 1u << 1,      /* "url": an archive by its URL */
        REQUIREMENTS_FILE = 1u << 2,     /* "file": file: URLs and paths */
        REQUIREMENTS_EDITABLE = 1u << 3, /* "editable": -e, also of what the others allow */
        REQUIREMENTS_INDEX = 1u << 4,    /* "index": other indexes and --find-links */
};
/* The bit of such a name; false when it is none. */
bool requirements_allow_parse(const char *name, unsigned *ret);
/* The i-th such name, static; NULL: there are no more. */
const char *requirements_allow_name(size_t i);

/* Files of the commit. */
struct notebook_files {
        /* The content of the file at path (from the root, without "..") to *ret,
         * which is empty: 1; 0 when there is none; NB_E_INVALID, NB_E_LIMIT when
         * it is not to be read (a symbolic link, too big), naming path. */
        int (*read)(void *arg, const char *path, struct nb_buf *ret, struct nb_err *err);
        /* Is there a file (or link) of this path, that of one of the names that
         * environment_resolve() looks for? */
        bool (*has)(void *arg, const char *path);
        bool binder, dot_binder; /* directories of the root */
        void *arg;
};

/* Requirements in their normal form: what pip's requirements file format
 * allows, one a line in the order given, each ended by '\n', without comments,
 * continuations, -r and -c, so that an unchanged meaning is an unchanged text. */
struct requirements { /* owned; done with requirements_done() */
        struct nb_buf text;
        struct nb_buf constraints; /* lines of the files that -c names */
};
#define REQUIREMENTS_INIT \
        ((struct requirements){.text = NB_BUF(REQUIREMENTS_MAX), \
                               .constraints = NB_BUF(REQUIREMENTS_MAX)})
void requirements_done(struct requirements *r);

/* Add the lines of a requirements file.  shown is what texts call it; dir is
 * where -r and -c count from ("" is the root, else "train/"), which are followed
 * within the repository, 8 deep and 64 files in all.  files may be NULL: then -r
 * and -c are refused.  Comparisons, markers and names are checked as far as clear
 * errors need; pip has the last word.
 * Format: https://pip.pypa.io/en/stable/reference/requirements-file-format/ */
int requirements_read(const char *shown, const char *dir, const char *p, size_t n, unsigned allow,
                      const struct notebook_files *files, struct requirements *ret,
                      struct nb_err *err);

/* Hold an environment that did not come from environment_resolve(), but from a file
 * or a server, against the same policy: its requirements and constraints, which
 * become their normal form (one that has it stays), and its conda.  shown is what
 * texts call it.  -r and -c are refused. */
int environment_hold(const char *shown, unsigned allow, struct nb_environment *e,
                     struct nb_err *err);

/*
 * Which environment a notebook gets: the first of these that says something,
 * and no mixture of them, but for the names of the kernel and the language.
 *
 * 1. .nbcid.toml (struct repo_wish): the executor's default, an image,
 *    requirements or a file of them
 * 2. the notebook's metadata: an image, requirements, or a Pipfile and its lock
 *    as jupyterlab-requirements writes them, of which the lock wins
 * 3. files: the nearest directory from the notebook's own up to the root that
 *    has one of, in this order,
 *        environment.yml, environment.yaml
 *        Pipfile.lock
 *        Pipfile
 *        requirements.txt
 *        pyproject.toml  that names dependencies
 *    For the root, its binder or .binder stands in the place of the root itself
 *    when there is one; both are refused.  That is the order in which repo2docker
 *    tries its build packs (conda, Pipfile, Python), and its rule for binder; it
 *    installs a pyproject.toml only as a package, so its place is ours: last,
 *    for many configure tools alone and stand beside requirements.txt.
 *    runtime.txt of the nearest directory that has one names the version of
 *    Python beside all of them but environment.yml.
 * 4. the executor's default
 *
 * Files, and pip's requirements from anywhere, are for Python only: a notebook
 * of another language gets the image that is named or the executor's default.
 * conda is the text of environment.yml; what its items ask for beside names of
 * packages is under the same policy as requirements.  ret->why is one line:
 * "requirements from train/requirements.txt (nearest to the notebook), kernel
 * from metadata.kernelspec".  ret->parameters is not touched: NULL.
 */
struct environment_question { /* borrowed */
        const char *notebook; /* its path */
        const struct notebook_head *head;
        const struct repo_wish *wish;
        unsigned allow;
        const struct notebook_files *files;
};
int environment_resolve(const struct environment_question *q, struct nb_environment *ret,
                        struct nb_err *err);
