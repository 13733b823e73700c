/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * store_view.h - read-only rows for pages and the API
 *
 * A read-only connection, for the http thread only.  Rows handed to fn are
 * borrowed for the call; fn must not call the view; < 0 stops and is answered.
 * Each call answers the number of rows handed out, or < 0.
 */

#include <nbcid/clock.h>
#include <nbcid/err.h>
#include <nbcid/model.h>

struct store_view;
int store_view_open(const char *path, struct store_view **ret, struct nb_err *err) NB_MUST_USE;
struct store_view *store_view_close(struct store_view *v);
NB_DEFINE_FREEP(struct store_view *, store_view_close);

struct view_build {
        int64_t id;
        const char *forge, *repository, *ref, *commit;
        const char *title, *author, *reason; /* may be NULL */
        enum trigger trigger;
        enum build_state state;
        int64_t created_ms, started_ms, finished_ms; /* 0: not yet */
        int64_t retry_of;                            /* 0: none */
        int64_t jobs, jobs_final, jobs_passed;
        bool cancelling;
};

struct view_job {
        int64_t id, build;
        const char *forge, *repository, *commit;
        const char *notebook, *kind, *executor;
        const char *environment; /* JSON object, text: see nb_environment_write() */
        const char *findings;    /* JSON array, text */
        enum job_state state;
        enum run_class class;
        const char *reason, *ename, *evalue; /* may be NULL */
        int64_t cell, cells, cells_done;
        int64_t created_ms, started_ms, finished_ms;
        bool artifacts; /* log and notebook may still be on disk */
};

struct view_attempt {
        int64_t id, number;
        const char *ref, *executor, *reason;
        enum job_state state;
        enum run_class class;
        int64_t created_ms, started_ms, finished_ms;
        uint64_t wall_us, cpu_us, mem_peak;
        const char *machine_type, *accelerator, *region; /* NULL: not known */
        int64_t accelerators, machine_started_ms, machine_ended_ms;
        bool spot;
};

struct view_filter {
        const char *repository; /* exact, or NULL */
        int state;              /* enum build_state, or -1 */
        int64_t before;         /* ids below this; 0: from the newest */
        uint32_t limit;
};

int store_view_builds(struct store_view *v, const struct view_filter *f,
                      int (*fn)(void *arg, const struct view_build *b), void *arg,
                      struct nb_err *err) NB_MUST_USE;
/* 1 or 0 (no such build). */
int store_view_build(struct store_view *v, int64_t id,
                     int (*fn)(void *arg, const struct view_build *b), void *arg,
                     struct nb_err *err) NB_MUST_USE;
int store_view_jobs(struct store_view *v, int64_t build,
                    int (*fn)(void *arg, const struct view_job *j), void *arg,
                    struct nb_err *err) NB_MUST_USE;
int store_view_job(struct store_view *v, int64_t id, int (*fn)(void *arg, const struct view_job *j),
                   void *arg, struct nb_err *err) NB_MUST_USE;
int store_view_attempts(struct store_view *v, int64_t job,
                        int (*fn)(void *arg, const struct view_attempt *a), void *arg,
                        struct nb_err *err) NB_MUST_USE;

struct view_gauges {
        int64_t builds[BUILD_STATE__COUNT];
        int64_t jobs[JOB_STATE__COUNT]; /* states that are not final only */
        int64_t outbox_waiting;
        int64_t oldest_queued_ms; /* creation time; 0: none */
        int64_t db_bytes;
};
/* Cheap with 100,000 builds. */
int store_view_gauges(struct store_view *v, struct view_gauges *ret,
                      struct nb_err *err) NB_MUST_USE;
