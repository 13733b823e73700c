/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* check-files.h - which notebooks `nbcid check` looks at, and by which rules */

#include <nbcid/config.h>
#include <nbcid/err.h>

/* The .nbcid.toml that holds for a directory, as long as the next is asked for. */
struct rules {
        char *dir;          /* asked for last, or NULL */
        char *root;         /* where the file is, or NULL: there is none */
        const char *forced; /* of --config, borrowed, or NULL */
        bool loaded;
        struct repo_config config;
};
void rules_done(struct rules *r);
/* *ret is borrowed until the next call; NULL when there is no such file.
 * NB_E_INVALID and others name the file. */
int rules_find(struct rules *r, const char *dir, const struct repo_config **ret,
               struct nb_err *err);

/* Names of the parameters that the rules found last declare for a notebook. */
int rules_parameters(const struct rules *r, const char *path, struct nb_strv *ret,
                     struct nb_err *err);

/* All notebooks below a directory, sorted, but those in .ipynb_checkpoints and
 * .git, and those that rules leave out; or the file itself, whatever it is.  Each is
 * given to found as soon as it is, which takes the path, also when it fails; that ends it.
 * What below cannot be read, and a directory whose rules are broken, is given to refused, which
 * borrows both; what is beside it is looked into. */
typedef int (*files_found_t)(void *arg, char *path, struct nb_err *err);
typedef int (*files_refused_t)(void *arg, const char *path, const struct nb_err *why,
                               struct nb_err *err);
int files_find(struct rules *r, const char *path, files_found_t found, files_refused_t refused,
               void *arg, struct nb_err *err);
/* "a/b" of "a/b/c.ipynb", "." of "c.ipynb"; owned, NULL when memory is out. */
char *files_dir(const char *path);
