/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* rows.h - what the store's files share: steps inside one transaction.  None
 * of these begins or commits. */

#include <nbcid/buf.h>
#include <nbcid/store.h>

#include "db.h"

#define INSTANCE_SIZE 9

struct store {
        struct db db;
        char instance[INSTANCE_SIZE];
        int (*before_verb)(void *arg, const char *verb, struct nb_err *err);
        void *before_verb_arg;
};

struct store_intake {
        struct db db;
};

struct store_view {
        struct db db;
};

/* Each verb of the worker begins with one of these. */
int store_verb(struct store *s, const char *verb, struct nb_err *err) NB_MUST_USE;
int store_begin(struct store *s, const char *verb, struct tx *ret, struct nb_err *err) NB_MUST_USE;
int store_begin_relaxed(struct store *s, const char *verb, struct tx *ret,
                        struct nb_err *err) NB_MUST_USE; /* see tx_begin_relaxed() */

/* ---- due.c: rows that wait for their time ---- */

enum due_kind { DUE_BUILD, DUE_JOB, DUE_NOTE, DUE__COUNT };
/* Is there one that is due and marked so, or whose time has come?  1 or 0. */
int due_any(struct db *d, enum due_kind k, struct nb_err *err) NB_MUST_USE;
/* Mark those whose time has come. */
int due_wake(struct db *d, enum due_kind k, struct nb_err *err) NB_MUST_USE;

/* ---- build.c ---- */

struct build_row { /* owned texts */
        int64_t id;
        char *forge, *repository, *ref, *commit; /* commit NULL: not known */
        enum build_state state;
        int64_t owner; /* of the commit's notes; itself unless an older build had the commit */
        int64_t cancel, jobs, jobs_final, jobs_passed;
};
void build_row_done(struct build_row *b);
#define nb_auto_build_row NB_CLEANUP(build_row_done) struct build_row
/* NB_E_CONFLICT: there is none. */
int build_load(struct db *d, int64_t id, struct build_row *ret, struct nb_err *err) NB_MUST_USE;
/* NB_E_CONFLICT unless it is in that state. */
int build_load_in(struct db *d, int64_t id, enum build_state state, struct build_row *ret,
                  struct nb_err *err) NB_MUST_USE;
/* b->state -> to, a final state, with the note that says so.  reason is kept
 * unless there is one already; NULL: none. */
int build_end(struct db *d, struct build_row *b, enum build_state to, const char *reason,
              const char *text, struct nb_err *err) NB_MUST_USE;
/* All its jobs are final: end as they ended. */
int build_close(struct db *d, struct build_row *b, struct nb_err *err) NB_MUST_USE;
/* More jobs have ended, by so many. */
int build_count(struct db *d, struct build_row *b, int64_t n_final, int64_t n_passed,
                struct nb_err *err) NB_MUST_USE;
/* 0 changes of an UPDATE that repeats the old state. */
int moved(int changes, const char *what, int64_t id, struct nb_err *err) NB_MUST_USE;

/* ---- notes.c ---- */

struct note_place { /* borrowed; whose notes: nothing is owed while commit is NULL */
        const char *forge, *repository, *ref, *commit;
        int64_t owner, build;
};
/* The summary of a build. */
int note_build(struct db *d, const struct note_place *p, enum note_state state, const char *text,
               struct nb_err *err) NB_MUST_USE;
int note_job(struct db *d, const struct note_place *p, int64_t job, const char *notebook,
             enum note_state state, const char *text, struct nb_err *err) NB_MUST_USE;
struct note_place place_of(const struct build_row *b);
enum note_state note_of_job(enum job_state s);     /* final states only */
enum note_state note_of_build(enum build_state s); /* final states only */
/* Summary while it runs: how far it is. */
int note_progress(struct db *d, const struct build_row *b, struct nb_err *err) NB_MUST_USE;
/* Owned summary of an end; NB_E_NOMEM. */
int text_of_end(struct db *d, const struct build_row *b, enum build_state to, char **ret,
                struct nb_err *err) NB_MUST_USE;

/* ---- job.c ---- */

/* Fill a zeroed attempt from a row of ATTEMPT_COLUMNS; the caller does it also
 * when this fails. */
int attempt_fill(struct store *s, struct stmt *q, struct store_attempt *a,
                 struct nb_err *err) NB_MUST_USE;
