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
        /* Each file in the order in which they were added, whichever is done first: by any of
         * the threads, one at a time.  May change c.  False: that is enough. */
        bool (*tell)(void *arg, const char *path, struct checked *c);
        void *arg;
};

/* Files are checked while others are still looked for.  All calls by the thread that called
 * check_crew_new(), and the last is check_crew_finish(). */
struct check_crew;
/* r is borrowed until the end.  -NB_E_NOMEM. */
int check_crew_new(const struct check_run *r, struct check_crew **ret, struct nb_err *err);
/* One more, which another thread may check at once; path is taken, also on error.  Of "-" the
 * first is standard input, any other empty.  -NB_E_NOMEM. */
int check_crew_add(struct check_crew *c, char *path, struct nb_err *err);
/* One that cannot be checked: it is told when it is its turn, as failed for that
 * reason.  path is copied.  -NB_E_NOMEM. */
int check_crew_refuse(struct check_crew *c, const char *path, const struct nb_err *why,
                      struct nb_err *err);
/* Check along until all are told, and free it.  Blocks.  What is held is bounded but for the
 * paths: text of at most one largest file in sum, and results of some thousand files that
 * wait for one before them.  -NB_E_NOMEM: not all are told. */
int check_crew_finish(struct check_crew *c, struct nb_err *err);
