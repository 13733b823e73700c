/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* check-run.h - the files of `nbcid check` through the gate, on all processors */

#include <nbcid/check.h>
#include <nbcid/err.h>
#include <nbcid/finding.h>
#include <nbcid/str.h>

#define CHECK_RUN_WHOLE ((size_t)256 << 20) /* larger files are read in pieces */
#define CHECK_RUN_JOBS_MAX 256

/* What became of one file. */
struct checked {
        struct findings found;
        struct nb_strv notes; /* for people: what was not checked */
        bool failed;          /* it could not be read or checked, and err says why */
        struct nb_err err;
};

/* The bit of a rule, as [check] of .nbcid.toml names it; 0: there is none such. */
unsigned check_rule_bit(const char *name);

struct check_run {              /* all borrowed */
        struct check_opts opts; /* of the other threads' checks */
        struct check *check;    /* of the calling thread */
        const char *config;     /* instead of the .nbcid.toml of each file, or NULL */
        unsigned only;          /* bits of rules, the others are off; 0: none is */
        unsigned jobs;          /* at most so many threads; 0: one for each processor */
        const struct nb_strv *files;
        /* Each file in the order of files, whichever is done first: by any of the
         * threads, one at a time.  May change c.  False: that is enough. */
        bool (*tell)(void *arg, const char *path, struct checked *c);
        void *arg;
};

/* Check all files.  Blocks.  What is held is bounded, whatever their number: text of at
 * most one largest file in sum, and results of some hundred files that wait for
 * one before them.  Of "-" the first is standard input, any other empty.
 * -NB_E_NOMEM only: then no file is checked. */
int check_run(const struct check_run *r, struct nb_err *err);
