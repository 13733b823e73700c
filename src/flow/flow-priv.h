/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * flow-priv.h - what the files of the story share
 *
 * An item in hand (a preparation, a run, a status on its way) is one struct on
 * one list of the flow.  When the flow is freed while a pool thread still holds
 * the item, its flow pointer becomes NULL and its done() only frees it.
 * An item whose result could not be stored stays on its list with ready set;
 * flow_look() tries again, so a full disk delays the story and loses nothing.
 * Nothing new is started below the disk floor: it would only fail.
 */

#include <nbcid/check.h>
#include <nbcid/flow.h>
#include <nbcid/git.h>
#include <nbcid/str.h>

#define FLOW_PREPARATIONS 2 /* at once: network and disk bound, pool has 4 threads */
#define FLOW_SENDS 8        /* statuses on their way at once */
#define FLOW_PROGRESS_US (1 * NB_US_PER_S)
#define FLOW_RETRY_US (1 * NB_US_PER_S)

struct prep;
struct run;
struct send;
struct sweep;

/* A forge that asked us to wait. */
struct flow_pause {
        char *forge;
        int64_t until_ms;
        unsigned times; /* pauses since it last took a status */
};

struct flow {
        struct flow_deps deps;
        struct config *config;
        struct loop_source *look, *due, *progress, *sweep_timer;
        struct prep *preps;
        struct run *runs;
        struct send *sends;
        struct sweep *sweep;
        struct flow_pause *pauses;
        size_t n_pauses;
        unsigned n_preps, n_runs, n_sends;
        bool recovered, draining, look_soon, progress_armed;
        bool again;         /* something waits for a second and then for a look */
        bool store_trouble; /* said once until it works again */
        bool disk_low;      /* when last looked at; said once as well */
        uint64_t disk_looked_us;
};

/* Look at the store in the next round of the loop. */
void flow_look_soon(struct flow *f);
/* Look in a second: something failed that is not the store. */
void flow_again(struct flow *f);
/* May anything new be started?  No when draining or below the disk floor. */
bool flow_may_start(struct flow *f);
/* Have the progress of runs written within a second. */
void progress_soon(struct flow *f);
/* A store verb failed: say it once, try everything again soon.  Answers false
 * so that callers can hand it on. */
bool flow_store_failed(struct flow *f, const struct nb_err *err, const char *what);
/* Pause before try number n + 1: base * 2^n, at most an hour. */
int64_t flow_backoff_ms(const struct flow *f, uint32_t n);

/* ---- plan.c, plan-files.c: which notebooks become jobs; pure over files, pool thread ---- */

struct plan_job {
        char *notebook, *refused;
        enum run_class refused_class; /* CLASS_CHECK or CLASS_ENVIRONMENT */
        char *findings;               /* JSON array, text; NULL: none */
        struct nb_environment environment;
        int64_t cells;
        uint64_t timeout_us, cell_timeout_us;
};
struct plan {
        struct plan_job *jobs;
        size_t n;
        char *executor; /* of all jobs */
        char *wrong;    /* the repository's own fault: the build fails with this */
        char *note;     /* warnings for people, or NULL */
};
void plan_done(struct plan *p);
/* Files of the commit that git extracted, and those that it is asked for
 * later. */
struct plan_files {
        const struct git_answer *answer;
        const char *dir; /* where they were extracted to */
        /* GIT_FILE: extract the file at path to *ret_file, owned; the answer is
         * the caller's.  < 0: as git_call(). */
        int (*look)(void *arg, const char *path, struct git_answer *ret, char **ret_file,
                    struct nb_err *err);
        void *arg;
        atomic_bool *cancel; /* set by another thread: plan_make() ends; may be NULL */
        struct plan_file {
                char *path, *text;
                size_t n;
                struct nb_err err; /* code NB_OK: none */
                bool absent;
        } * cache; /* what look() brought */
        size_t n_cache, cap_cache;
        size_t cached; /* bytes */
};
void plan_files_done(struct plan_files *f);
/* The callbacks of struct notebook_files. */
int plan_files_read(void *arg, const char *path, struct nb_buf *ret, struct nb_err *err);
bool plan_files_has(void *arg, const char *path);

/* The static gate of one build, in plan-check.c.  Its process starts with
 * begin, so that it is warm when the notebooks are here. */
struct plan_gate {
        struct check *check;
        const char *python;     /* of the executor; borrowed from the configuration */
        char *environments;     /* directory in which the executor keeps them */
        const char **hide;      /* what the process must not see; NULL-terminated */
        struct nb_strv kernels; /* that the executor has; empty: not known */
};
int plan_gate_begin(const struct config *c, const struct config_executor *x, struct plan_gate *ret,
                    struct nb_err *err);
void plan_gate_end(struct plan_gate *g);
/* Fill j->findings, and j->refused when an error is among them and nothing is
 * known that is wrong.  j->environment is what it would run in. */
int plan_gate_check(const struct plan_gate *g, const struct repo_config *rc, const char *p,
                    size_t n, struct plan_job *j, struct nb_err *err);

/* f has what git answered and extracted.  -NB_E_CANCELLED between two notebooks:
 * a thousand of them may take the gate minutes. */
int plan_make(const struct config *c, const char *forge, const struct store_build *b,
              struct plan_files *f, const struct plan_gate *gate, struct plan *ret,
              struct nb_err *err);
/* The one that runs the jobs of a repository. */
const struct config_executor *plan_executor_of(const struct config *c, const char *forge,
                                               const char *repository);

/* ---- prepare.c ---- */
/* Pick and start preparations while there is room.  false: the store failed. */
bool prepare_look(struct flow *f);
void prepare_cancel(struct flow *f, int64_t build);
void prepare_abandon(struct flow *f);
/* Remote of a repository as git wants it; *ret_url and hosts are borrowed
 * from c or owned through it.  Shared with checkouts. */
struct flow_remote {
        char *url, *mirror;
        const char **hosts;
        struct git_remote remote; /* borrows the above and the config */
};
int flow_remote_init(const struct config *c, const char *forge, const char *repository,
                     struct flow_remote *ret, struct nb_err *err);
void flow_remote_done(struct flow_remote *r);

/* ---- run.c ---- */
bool run_look(struct flow *f);
void run_cancel(struct flow *f, int64_t build);
void run_abandon(struct flow *f);
/* Take up an attempt that a former process left; a is copied.  < 0: nothing
 * was done. */
int run_adopt(struct flow *f, const struct store_attempt *a, struct nb_err *err);
void run_store_progress(struct flow *f);
bool run_has_ref(const struct flow *f, const char *ref);

/* ---- notes.c ---- */
bool notes_look(struct flow *f);
/* When the next forge's pause ends; INT64_MAX: none is paused. */
int64_t notes_pause_end(const struct flow *f);
void notes_abandon(struct flow *f);

/* ---- sweep.c ---- */
/* Old artifacts and rows, now and every hour. */
void sweep_start(struct flow *f);
void sweep_abandon(struct flow *f);
/* After a restart: remove workspaces that nothing in hand uses. */
void sweep_leftovers(struct flow *f);
