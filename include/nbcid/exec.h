/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * exec.h - run one notebook somewhere, and say once how it ended
 *
 * Here or far away.  Worker (loop) thread only; no call blocks: what is slow
 * is started and reported by event.
 */

#include <stdbool.h>
#include <stdint.h>

#include <nbcid/clock.h>
#include <nbcid/config.h>
#include <nbcid/err.h>
#include <nbcid/loop.h>
#include <nbcid/mem.h>
#include <nbcid/model.h>

struct exec;     /* one configured executor */
struct exec_run; /* one attempt that it runs */

/* Where the files of a job are far away, when its submitter decides that; gs://
 * addresses, borrowed.  Executors that run here do not look at it. */
struct exec_place {
        const char *prefix; /* ends in '/'; what is below it goes with forget() */
        const char *input;  /* where the notebook is put, */
        bool there;         /* or where it is already: nothing is put */
        const char *output;
        int64_t newer_than; /* the output's generation must be; 0: than the input that was put */
        const char *folder; /* a directory of files for the notebook, without '/' at the end; */
        const char *cwd;    /* in it: where the notebook is to run; both or neither */
        const char *title;  /* what the service shows */
};

struct exec_job {        /* borrowed for the length of start() */
        const char *ref; /* unique and stored before start(); names the run */
        const char *forge, *repository, *commit; /* with a place: NULL */
        const struct exec_place *place;          /* NULL: the executor's own way */
        const char *workspace;                   /* absolute: this job's checkout */
        const char *notebook;                    /* path below workspace */
        const struct nb_environment *environment;
        uint64_t timeout_us, cell_timeout_us;
        uint64_t max_output; /* bytes of outputs it may produce */
};

enum exec_event_kind {
        EXEC_WAITS,     /* there is no room yet, it will be tried again: why */
        EXEC_SUBMITTED, /* the service has it, as name */
        EXEC_RUNNING,
        EXEC_CELL,     /* progress */
        EXEC_FINISHED, /* exactly once, never from inside start() or attach(), never after
                        * release() */
};
struct exec_event { /* borrowed */
        enum exec_event_kind kind;
        const char *why, *name;
        const char *url;                 /* of name, for people; or NULL */
        int64_t cells, cells_done, cell; /* EXEC_CELL; cell is 1-based over all cells */
        const struct run_result *result; /* EXEC_FINISHED */
};
typedef void (*exec_event_fn)(void *arg, struct exec_run *run, const struct exec_event *ev);

#define EXEC_CAP_SURVIVES (1u << 0) /* runs outlive a daemon restart */
#define EXEC_CAP_ISOLATES (1u << 1) /* a job cannot see the daemon's files */
#define EXEC_CAP_IMAGES (1u << 2)   /* runs container images */

struct exec_deps { /* borrowed; outlive the executor */
        struct loop *loop;
        const struct nb_clock *clock;
        const char *state_dir;   /* runs/ below it is the executor's own */
        const char *self;        /* path of the nbcid binary */
        const char *const *hide; /* what jobs must not see; NULL-terminated, or NULL */
        uint64_t environments_max, build_timeout_us; /* 0: what the runner thinks best */
        const char *index_url, *pip_config;          /* or NULL */
        uint64_t overdue_us; /* for tests: a run that takes longer has hung; 0: by the timeouts */
};

struct exec_ops {
        const char *name; /* "local" */
        unsigned caps;
        int (*open)(const struct config_executor *cfg, const struct exec_deps *deps,
                    struct exec **ret, struct nb_err *err);
        void (*close)(struct exec *x); /* every run was released before */
        /* Begin.  0: there is a run and it will finish.  A ref in use is
         * NB_E_CONFLICT: attach() to it. */
        int (*start)(struct exec *x, const struct exec_job *job, exec_event_fn fn, void *arg,
                     struct exec_run **ret, struct nb_err *err);
        /* Find a run again after a restart; one that ended meanwhile still tells
         * its result.  NB_E_NOTFOUND: it never began, and now cannot begin. */
        int (*attach)(struct exec *x, const char *ref, exec_event_fn fn, void *arg,
                      struct exec_run **ret, struct nb_err *err);
        /* Ask it to stop; the answer is EXEC_FINISHED (CLASS_CANCELLED, unless it
         * ended by itself before). */
        int (*cancel)(struct exec_run *run, struct nb_err *err);
        /* After FINISHED: link or copy "executed.ipynb", "log.txt",
         * "environment.json", "environment.lock" and "environment.log.txt" into
         * dirfd, as far as they exist; repeatable until forget().  Contents are a
         * stranger's: only regular files are taken.  NB_E_LIMIT: the notebook has
         * more than run->max_executed bytes and was not taken; the others were. */
        int (*collect)(struct exec_run *run, int dirfd, struct nb_err *err);
        /* Free the handle, without another event; fine from its own event.  A run
         * that lives goes on, for attach() by the next process. */
        void (*release)(struct exec_run *run);
        /* Remove what the run left behind (its result is stored).  Not while it
         * runs; unknown refs are fine.  May block for as long as removing a small
         * directory takes: workspaces are not the executor's. */
        void (*forget)(struct exec *x, const char *ref);
        /* Has all that forget() began come to an end?  NULL: it has at once. */
        bool (*idle)(const struct exec *x);
        /* Once after a restart: end and forget every run left behind whose ref
         * keep() does not want. */
        void (*sweep)(struct exec *x, bool (*keep)(void *arg, const char *ref), void *arg);
};

/* Each implementation embeds these first. */
struct exec {
        const struct exec_ops *ops;
};
struct exec_run {
        struct exec *exec;
        uint64_t max_executed; /* set by the caller before collect(); 0: any size */
};

/* The executor of that configuration's kind; cfg is borrowed and lives longer.
 * NB_E_INVALID: no such kind, or credentials that are none. */
int exec_open(const struct config_executor *cfg, const struct exec_deps *deps, struct exec **ret,
              struct nb_err *err);
/* Warn of jobs far away whose executor is not configured any more: nobody looks at them. */
void exec_say_left(const struct config *c);
struct exec *exec_close(struct exec *x); /* NULL is fine; answers NULL */
NB_DEFINE_FREEP(struct exec *, exec_close);

/* A fake that ships for flow's tests: no process; runs live in a world that
 * outlives the executor, so that a restart can be played. */
struct exec_fake_world;
struct exec_fake_world *exec_fake_world_new(void);
struct exec_fake_world *exec_fake_world_free(struct exec_fake_world *w);
/* Notebooks whose path contains "fail" end in a cell error, "lost" as lost
 * (once per notebook and world), "slow" only when cancelled, others pass;
 * each after one round of the loop.  collect() writes a matching notebook. */
int exec_fake_open(struct exec_fake_world *w, const struct exec_deps *deps, struct exec **ret,
                   struct nb_err *err);
/* Runs begun in this world for that ref: more than 1 is a bug. */
unsigned exec_fake_starts(const struct exec_fake_world *w, const char *ref);
unsigned exec_fake_total_starts(const struct exec_fake_world *w);
