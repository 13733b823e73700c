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
 * Jupyter writes metadata.kernelspec and metadata.language_info.
 */

#include <stdbool.h>

#include <nbcid/buf.h>
#include <nbcid/err.h>
#include <nbcid/model.h>

#include "walk.h"

struct environment_draft { /* texts owned; done with environment_done() */
        char *kernel, *uri, *name;
        char *spec_name, *spec_language;
        char *language;
        struct nb_buf requirements;
        bool foreign; /* metadata.requirements is of a tool whose format we do not read */
};

/* Take a member of the walk; others are none of its business and fine. */
int environment_take(struct environment_draft *d, enum walk_member m, const struct walk_value *v,
                     struct nb_err *err);
/* Choose.  d is left half empty: only environment_done() is for it. */
int environment_finish(struct environment_draft *d, struct nb_environment *ret, struct nb_err *err);
void environment_done(struct environment_draft *d);
