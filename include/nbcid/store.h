/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * store.h - everything that must survive a crash: the worker's door
 *
 * Each function is one verb of the story and one transaction (WAL,
 * synchronous=FULL): there is no begin or commit for callers and no SQL
 * outside src/store.  Worker thread only.  Every call is bounded work.  What
 * the forge must learn is written to the outbox in the same transaction.
 *
 * All: NB_E_IO (disk full, read-only), NB_E_BUSY, NB_E_CORRUPT; NB_E_CONFLICT
 * when the row is not in the state that the verb starts from (changes() == 0).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/clock.h>
#include <nbcid/err.h>
#include <nbcid/mem.h>
#include <nbcid/model.h>

struct store;

struct store_opts {
        const char *path;             /* a file; WAL files stand beside it */
        const struct nb_clock *clock; /* borrowed */
        /* Tests: called before each verb's transaction with its name, also before
         * those that only read; < 0 makes the verb fail so.  May be NULL. */
        int (*before_verb)(void *arg, const char *verb, struct nb_err *err);
        void *before_verb_arg;
};

/* Creates or migrates the schema.  A schema newer than this program, or a
 * migration whose recorded hash differs, is NB_E_CONFLICT. */
int store_open(const struct store_opts *o, struct store **ret, struct nb_err *err) NB_MUST_USE;
struct store *store_close(struct store *s); /* NULL is fine; answers NULL */
NB_DEFINE_FREEP(struct store *, store_close);

/* Random 8 hex digits made with the database; part of every attempt's ref.
 * Borrowed. */
const char *store_instance(const struct store *s);

/* ---- builds ---- */

struct store_build { /* owned; done with store_build_done() */
        int64_t id;
        char *forge;
        enum trigger trigger;
        struct event event;
        char *only;     /* run just this notebook, or NULL */
        uint32_t tries; /* preparations that errored before */
};
void store_build_done(struct store_build *b);

/* The queued build that is due -> preparing: of the repository with the
 * fewest builds in preparing, the oldest.  1: picked, 0: nothing to do. */
int store_pick_build(struct store *s, struct store_build *ret, struct nb_err *err) NB_MUST_USE;

/* preparing -> queued, to be picked again at not_before_ms; tries + 1; the
 * reason is shown. */
int store_build_again(struct store *s, int64_t build, int64_t not_before_ms, const char *reason,
                      struct nb_err *err) NB_MUST_USE;

struct store_new_job { /* borrowed */
        const char *notebook;
        const char *executor;
        const struct nb_environment *environment; /* NULL when refused */
        int64_t cells;
        uint64_t timeout_us, cell_timeout_us;
        bool notify;                  /* has a commit status of its own */
        const char *refused;          /* failed from birth, with this reason; or NULL */
        enum run_class refused_class; /* CLASS_CHECK (also for CLASS_NONE) or CLASS_ENVIRONMENT */
        const char *findings;         /* of the static gate: JSON array, text; NULL: none */
};
/* preparing -> running with its jobs; -> passed "no notebook changed" when
 * n is 0; -> failed when all are refused.  commit: peeled; note: shown as the
 * build's reason when not NULL (warnings).  *ret_over: it ended. */
int store_build_prepared(struct store *s, int64_t build, const char *commit, const char *title,
                         const char *note, const struct store_new_job *jobs, size_t n,
                         bool *ret_over, struct nb_err *err) NB_MUST_USE;

/* queued, preparing or running -> state, which is BUILD_ERRORED (ours) or
 * BUILD_FAILED (the repository's own fault; not from queued); jobs not final
 * are cancelled.  A build that was asked to stop becomes cancelled.  reason is
 * shown to the user. */
int store_build_trouble(struct store *s, int64_t build, enum build_state state, const char *reason,
                        struct nb_err *err) NB_MUST_USE;

/* Next build whose cancellation was asked for and not yet applied: queued or
 * preparing builds end now, waiting and pending jobs end now, a build without
 * submitted jobs ends now.  1: *ret_build was treated, and its runs are the
 * caller's to cancel; 0: none. */
int store_pick_cancel(struct store *s, int64_t *ret_build, struct nb_err *err) NB_MUST_USE;

/* ---- jobs and attempts ---- */

struct store_room { /* how many more runs an executor takes; borrowed */
        const char *executor;
        uint32_t free;
};

struct store_attempt { /* owned; done with store_attempt_done() */
        int64_t id, job, build;
        uint32_t number; /* 1, 2, ... */
        char *ref;       /* "nbcid-<instance>-<attempt id>" */
        char *executor;
        enum job_state state; /* JOB_SUBMITTING or JOB_RUNNING */
        char *forge, *repository, *git_ref, *commit;
        char *notebook;
        struct nb_environment environment;
        uint64_t timeout_us, cell_timeout_us;
        bool cancelled; /* its build was asked to stop */
};
void store_attempt_done(struct store_attempt *a);

/* A pending job that is due, of an executor with room, of the repository with
 * the fewest submitted and running jobs (below per_repository), oldest first
 * -> submitting, with a new attempt whose ref is committed before anything
 * runs.  1: picked, 0: nothing to do. */
int store_pick_job(struct store *s, const struct store_room *rooms, size_t n,
                   uint32_t per_repository, struct store_attempt *ret,
                   struct nb_err *err) NB_MUST_USE;

/* submitting -> running. */
int store_attempt_running(struct store *s, int64_t attempt, struct nb_err *err) NB_MUST_USE;

/* How far a running attempt is; only for people.  cell: number of the cell
 * that runs, 1-based over all cells. */
int store_attempt_progress(struct store *s, int64_t attempt, int64_t cells, int64_t cells_done,
                           int64_t cell, struct nb_err *err) NB_MUST_USE;

/* submitting or running -> how it ended.  retry_at_ms > 0: the job is pending
 * again from then on, instead of final, unless its build was asked to stop.
 * Closes the build with its last job: *ret_over.  What the job shows as its
 * reason is run_result_text(), for passed jobs r->reason. */
int store_attempt_finished(struct store *s, int64_t attempt, const struct run_result *r,
                           int64_t retry_at_ms, bool *ret_over, struct nb_err *err) NB_MUST_USE;

/* Jobs pending for an executor that is not in names (NULL-terminated) ->
 * errored, with a reason that names it; a transaction for each.  *ret_n: how
 * many. */
int store_fail_orphans(struct store *s, const char *const *names, size_t *ret_n,
                       struct nb_err *err) NB_MUST_USE;

/* ---- outbox ---- */

struct store_note { /* owned; done with store_note_done() */
        int64_t id, seq;
        uint32_t tries;
        char *forge, *repository, *ref, *commit, *context, *text;
        char *target; /* path below public_url: "/builds/17" */
        enum note_state state;
};
void store_note_done(struct store_note *n);

/* Notes that are due and not lent, at most max: the oldest change first.  They
 * stay lent until settled.  One per (forge, repository, commit, context) at a
 * time, so their order is kept; a newer text replaces one not yet lent.
 * Answers how many; ret[0] and on are the caller's then. */
int store_outbox_claim(struct store *s, struct store_note *ret, size_t max,
                       struct nb_err *err) NB_MUST_USE;
struct store_settled {
        int64_t id, seq;
        enum note_verdict verdict;
        int64_t retry_at_ms; /* NOTE_RETRY */
};
/* NOTE_RETRY: due again at retry_at_ms with tries + 1, in the newest words by
 * then.  NOTE_REFUSED: over, until there is another text.  All or none:
 * NB_E_CONFLICT when one of them is not lent. */
int store_outbox_settle(struct store *s, const struct store_settled *v, size_t n,
                        struct nb_err *err) NB_MUST_USE;

/* ---- life ---- */

/* Once after a start: preparing -> queued, lent notes come back, cancels are
 * applied again. */
int store_recover(struct store *s, struct nb_err *err) NB_MUST_USE;
/* Every attempt in submitting or running, oldest first.  fn borrows the row,
 * must not call the store; < 0 stops. */
int store_each_inflight(struct store *s, int (*fn)(void *arg, const struct store_attempt *a),
                        void *arg, struct nb_err *err) NB_MUST_USE;

/* When the next queued build, pending job or note falls due: UTC ms, INT64_MAX
 * when none waits for time.  A time that has come is told once: whoever has no
 * room for what is due need not look again until there is. */
int store_next_due(struct store *s, int64_t *ret_ms, struct nb_err *err) NB_MUST_USE;

/* Builds finished before that time whose artifacts are still on disk, at most
 * max ids.  Answers how many. */
int store_expired_artifacts(struct store *s, int64_t before_ms, int64_t *ret_ids, size_t max,
                            struct nb_err *err) NB_MUST_USE;
int store_artifacts_gone(struct store *s, int64_t build, struct nb_err *err) NB_MUST_USE;
/* Delete at most budget builds finished before that time whose artifacts are
 * gone and whose notes were settled, with their jobs, notes and deliveries; and
 * as many ignored deliveries as old.  1: more left, 0: none. */
int store_prune(struct store *s, int64_t before_ms, unsigned budget,
                struct nb_err *err) NB_MUST_USE;

/* Does the database answer and take a write?  For the watchdog. */
int store_ping(struct store *s, struct nb_err *err) NB_MUST_USE;
