/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * model.h - the nouns of nbcid, their states and their legal moves
 *
 * Values only: no I/O, any thread.  Names of states, classes and triggers are
 * stored in the database and shown in the API: they never change.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/buf.h>
#include <nbcid/err.h>
#include <nbcid/mem.h>

/* ---- builds ---- */

enum build_state {
        BUILD_QUEUED,
        BUILD_PREPARING,
        BUILD_RUNNING,
        BUILD_PASSED,
        BUILD_FAILED,
        BUILD_ERRORED,
        BUILD_CANCELLED,
        BUILD_STATE__COUNT,
};
const char *build_state_name(enum build_state v); /* "queued" */
bool build_state_parse(const char *name, enum build_state *ret);
bool build_state_final(enum build_state s);
/* Is from -> to a legal move?  The one table. */
bool build_may_move(enum build_state from, enum build_state to);

enum trigger {
        TRIGGER_PUSH,
        TRIGGER_PULL_REQUEST,
        TRIGGER_SCHEDULE,
        TRIGGER_MANUAL,
        TRIGGER__COUNT
};
const char *trigger_name(enum trigger v); /* "push" */
bool trigger_parse(const char *name, enum trigger *ret);

/* ---- jobs ---- */

enum job_state {
        JOB_WAITING, /* needs others */
        JOB_PENDING,
        JOB_SUBMITTING,
        JOB_RUNNING,
        JOB_PASSED,
        JOB_FAILED,  /* the notebook is wrong */
        JOB_ERRORED, /* we, the engine or the network are */
        JOB_TIMED_OUT,
        JOB_CANCELLED,
        JOB_SKIPPED,
        JOB_STATE__COUNT,
};
const char *job_state_name(enum job_state v); /* "timed_out" */
bool job_state_parse(const char *name, enum job_state *ret);
bool job_state_final(enum job_state s);
bool job_may_move(enum job_state from, enum job_state to);

/* Why a run ended as it did. */
enum run_class {
        CLASS_NONE, /* not ended yet; name "" */
        CLASS_PASSED,
        CLASS_CELL_ERROR,     /* a cell raised */
        CLASS_TIMEOUT,        /* of the job or of a cell */
        CLASS_OUT_OF_MEMORY,  /* the kernel was killed for it, or MemoryError */
        CLASS_SIGNAL,         /* the kernel died of a signal, or left before the last cell */
        CLASS_KERNEL_START,   /* the kernel did not come up */
        CLASS_NO_KERNEL,      /* no such kernelspec */
        CLASS_CHECK,          /* refused before running: not a notebook, invalid, syntax */
        CLASS_ENVIRONMENT,    /* its requirements cannot be met */
        CLASS_LOST,           /* we can no longer tell */
        CLASS_INFRASTRUCTURE, /* git, disk, executor */
        CLASS_CAPACITY,       /* no machine was free, or the quota of machines is used up */
        CLASS_RATE_LIMIT,     /* a service would not take so many requests */
        CLASS_PERMISSION,     /* a service refused us: rights or credentials */
        CLASS_CONFIGURATION,  /* what the operator wrote cannot be */
        CLASS_CANCELLED,
        CLASS__COUNT,
};
const char *run_class_name(enum run_class v); /* "cell_error" */
bool run_class_parse(const char *name, enum run_class *ret);
/* The final job state that a class means: CELL_ERROR -> JOB_FAILED, LOST ->
 * JOB_ERRORED (and may be retried), ...  Asserts c != CLASS_NONE. */
enum job_state run_class_state(enum run_class c);
/* May another attempt end better, with nobody doing anything meanwhile? */
bool run_class_retry(enum run_class c);

/* ---- an event that asks for a build ---- */

#define NB_OID_HEX_SIZE 65 /* SHA-1 or SHA-256 in hex, and NUL */

enum event_kind { EVENT_PUSH, EVENT_TAG, EVENT_KIND__COUNT };

struct event { /* everything owned; done with event_done() */
        enum event_kind kind;
        char *repository;             /* "acme/notebooks"; as the forge spells it */
        char *ref;                    /* "refs/heads/main" */
        char before[NB_OID_HEX_SIZE]; /* "" when the branch is new or it is not known */
        char after[NB_OID_HEX_SIZE];  /* what to build; may be a tag object */
        char *default_branch;         /* "main", or NULL */
        char *title;                  /* first line of the head commit's message, or NULL */
        char *author;                 /* who pushed, for people, or NULL */
};
void event_done(struct event *e);
/* 40 or 64 hex digits? */
bool nb_oid_valid(const char *hex);
/* All zeros: git's and the forges' "does not exist". */
bool nb_oid_is_zero(const char *hex);
/* Short name of a ref for people: "main" of "refs/heads/main". */
const char *ref_short(const char *ref);

/* ---- how a run ended ---- */

/* On what a run was, where the executor makes a machine for it; texts owned.
 * type NULL: not known, and the rest is nothing then. */
struct run_machine {
        char *type, *accelerator, *region; /* the last two may be NULL */
        int64_t accelerators;
        bool spot;                    /* it could have been taken away */
        int64_t started_ms, ended_ms; /* as the service tells; 0: not said */
};
void run_machine_done(struct run_machine *m);
int run_machine_copy(const struct run_machine *m, struct run_machine *ret, struct nb_err *err);

struct run_result { /* texts owned; done with run_result_done() */
        enum run_class class;
        int64_t cell;              /* number of the failing cell, 1-based over all cells; 0: none */
        char *ename, *evalue;      /* of the failing cell, or NULL */
        char *reason;              /* one line for people, or NULL */
        int64_t cells, cells_done; /* code cells that would run, that ended */
        uint64_t wall_us, cpu_us, mem_peak; /* 0: not known */
        int signo;                          /* CLASS_SIGNAL: which, or 0 */
        struct run_machine machine;
};
void run_result_done(struct run_result *r);
/* Owned one line: "cell 7: ValueError: shapes (3,) (4,)", "timed out in cell 3
 * after 2 h", ...; clean UTF-8 of some 1000 characters at most, never empty.
 * NULL when memory is out. */
char *run_result_text(const struct run_result *r);

/* ---- what a notebook asks to run in ---- */

struct nb_environment {     /* texts owned, NULL when not said */
        char *kernel;       /* kernelspec name to look for first */
        char *language;     /* "python", "R": for choosing another kernel */
        char *image;        /* container image */
        char *name;         /* metadata.environment.name, as written */
        char *requirements; /* pip requirements, one a line, checked; "" is none at all */
        char *constraints;  /* pip's constraints for them, in the same form: for pip -c */
        char *conda;        /* text of an environment.yml */
        char *python;       /* "3.11": version of the interpreter */
        char *parameters;   /* JSON object, text: values for the cell tagged "parameters" */
        char *workspace;    /* "none", "archive", "folder": what of the checkout goes along */
        char *why;          /* where it was taken from: "notebook metadata.environment" */
};
void nb_environment_done(struct nb_environment *e);
int nb_environment_copy(const struct nb_environment *e, struct nb_environment *ret,
                        struct nb_err *err);
/* The JSON object that is stored with a job, handed to the runner and shown;
 * members that are NULL are left out.  e may be NULL: an empty object. */
#define NB_ENVIRONMENT_MAX ((size_t)1024 * 1024) /* bytes of it */
int nb_environment_write(const struct nb_environment *e, struct nb_buf *ret, struct nb_err *err);
/* Members that it does not know, or that are no strings, are skipped. */
int nb_environment_read(const char *json, size_t n, struct nb_environment *ret, struct nb_err *err);
/* The same of what somebody wrote by hand: they are refused by name, since a misspelt one would be
 * without effect.  NB_E_INVALID, NB_E_LIMIT, NB_E_NOMEM. */
int nb_environment_read_given(const char *json, size_t n, struct nb_environment *ret,
                              struct nb_err *err);

/* ---- commit statuses ---- */

enum note_state {
        NOTE_PENDING,
        NOTE_RUNNING,
        NOTE_SUCCESS,
        NOTE_FAILURE,
        NOTE_ERROR,
        NOTE_CANCELLED,
        NOTE_STATE__COUNT,
};
const char *note_state_name(enum note_state v); /* "pending" */
bool note_state_parse(const char *name, enum note_state *ret);

/* What a commit should show at its forge.  Borrowed texts. */
struct note {
        const char *repository, *ref, *commit;
        const char *context; /* "nbcid" or "nbcid/train.ipynb" */
        enum note_state state;
        const char *text;       /* one line, any length: forges cut */
        const char *target_url; /* absolute, or NULL */
};

/* Reading of a forge's reply to a note. */
enum note_verdict {
        NOTE_ACCEPTED,
        NOTE_RETRY,
        NOTE_REFUSED, /* again unchanged is useless */
        NOTE_VERDICT__COUNT,
};
