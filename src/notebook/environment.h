/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * environment.h - what a notebook's metadata asks to run in
 *
 * Collected member by member, in any order, checked at once: what comes from
 * here may end in a command line or a request of others.  Variants: the
 * pre-save hook of DLVM and Workbench images writes metadata.environment
 * {type, name, uri, kernel} (older ones no kernel; "remote-" kernels no uri and
 * no kernelspec; "local-" kernels a kernelspec that the image does not have);
 * Jupyter writes metadata.kernelspec and metadata.language_info.  Before there was
 * metadata.environment, the schema of self-contained notebooks had
 * metadata.container and metadata.python_packages, its tools
 * metadata.env.container.  jupyterlab-requirements (thoth) writes a Pipfile as
 * JSON text into metadata.requirements, and its lock into requirements_lock.
 */

#include <stdbool.h>

#include <nbcid/buf.h>
#include <nbcid/err.h>
#include <nbcid/notebook.h>

#include "walk.h"

struct environment_draft { /* texts owned; done with environment_done() */
        char *kernel, *uri, *name;
        char *env_container, *container; /* older places of uri */
        char *spec_name, *spec_language;
        char *language;
        struct nb_buf requirements;
        struct nb_buf packages;  /* metadata.python_packages, as requirements */
        char *package, *version; /* of its item in hand */
        char *pipfile, *pipfile_lock;
        bool foreign; /* metadata.requirements is of a tool whose format we do not read */
};

/* Take a member of the walk; others are none of its business and fine. */
/* An array or object that the walk looked into ends. */
int environment_end(struct environment_draft *d, enum walk_member m, struct nb_err *err);
int environment_take(struct environment_draft *d, enum walk_member m, const struct walk_value *v,
                     struct nb_err *err);
/* Choose.  d is left half empty: only environment_done() is for it. */
int environment_finish(struct environment_draft *d, struct notebook_head *ret, struct nb_err *err);
void environment_done(struct environment_draft *d);
