/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* runner-priv.h - what the runner's files share.  One process, one thread. */

#include <sys/types.h>

#include <nbcid/runner.h>
#include <nbcid/sandbox.h>
#include <nbcid/str.h>

#define NOTEBOOK_MAX ((size_t)512 * 1024 * 1024) /* bytes of one that is read before it runs */

/* Processes from the guard to the engine, both included. */
#define SANDBOX_CHAIN(sandboxed) ((sandboxed) ? 4U : 2U)

/* ---- tree.c: every process below us ---- */

struct tree_use {
        uint64_t memory; /* anonymous and shared memory of all, bytes */
        pid_t biggest;   /* whose own is the most; 0: none */
        unsigned processes;
};
void tree_measure(struct tree_use *ret);
/* Proportional memory of all: dear, and right where pages are shared. */
uint64_t tree_measure_exact(void);
/* SIGKILL all of it but so many: root, its oldest child, the oldest child of
 * that, and so on. */
void tree_prune(pid_t root, unsigned kept);
/* SIGKILL all of it until nothing is left (we are the subreaper), reaping; ten
 * seconds at most. */
void tree_kill(void);
/* Threads of our user on this machine, ours or not. */
unsigned tree_threads_of_user(void);
/* How often the kernel killed for want of memory since boot, anywhere here. */
uint64_t tree_host_oom_kills(void);

/* ---- cgroup.c: limits where a cgroup v2 directory was delegated ---- */

struct cgroup {
        char *dir; /* NULL: none */
};
/* Make one for this process's job below parent with its limits. */
int cgroup_make(const char *parent, uint64_t memory_max, uint32_t processes_max, struct cgroup *ret,
                struct nb_err *err);
/* In the child, before exec: move in.  Async-signal-safe.  0 or -errno. */
int cgroup_enter(const struct cgroup *c);
struct cgroup_use {
        uint64_t oom_kills, memory_peak;
};
void cgroup_read(const struct cgroup *c, struct cgroup_use *ret);
/* Kill what is in it and remove it. */
void cgroup_done(struct cgroup *c);

/* ---- engine-process.c: the engine and what it says ---- */

struct engine {
        pid_t pid; /* of its guard, which ends as it ends */
        int pidfd, events_fd, output_fd;
        int control_fd;       /* its standard input: closing it asks the engine to save and leave */
        struct nb_buf events; /* the line that is being read */
};
struct engine_spec {
        const struct nb_strv *argv;
        const char *const *env; /* "NAME=VALUE" beside those that all have, or NULL */
        const char *home;       /* $HOME of the job */
        const char *cwd;
        uint64_t memory_max;
        uint32_t processes_max;
        const struct cgroup *cgroup; /* whose dir may be NULL */
        bool in_namespace;           /* bubblewrap changes directory itself */
};
int engine_start(const struct engine_spec *s, struct engine *ret, struct nb_err *err);
void engine_done(struct engine *e);
#define ENGINE_EXIT_NO_NBCLIENT 97 /* of engine.py */

/* ---- result.c: from what was seen to a verdict ---- */

struct seen {              /* texts owned */
        bool engine_ended; /* "engine_end" came: end holds it; its class is NONE when we had
                            * asked it to stop */
        struct run_result end;
        int64_t cell, cells, cells_done; /* the cell that runs or ran last */
        bool timed_out, cancelled, oom, too_many;
        int exit_status; /* wait status of the engine */
        uint64_t timeout_us, memory_max, host_oom_kills;
        uint32_t processes_max;
};
void seen_done(struct seen *s);
/* host_oom_kills counts those since the start. */
void result_judge(const struct seen *s, struct run_result *ret);

/* ---- watch.c: one child with all that it starts, from its start to its end ---- */

struct run_log { /* a file that grows to max bytes */
        int fd;
        uint64_t max, bytes, dropped;
};
#define RUN_LOG_MAX (UINT64_C(16) << 20)
void log_put(struct run_log *l, const char *p, size_t n);
/* Say how much was not kept. */
void log_end(struct run_log *l);

/* Was this process asked to end since the last look?  Takes the signals. */
bool watch_cancelled(int signal_fd);

struct watch {
        /* Set by the caller, and borrowed. */
        int signal_fd;
        struct run_log *log, *copy; /* where output goes; copy: there too, or NULL */
        void (*on_line)(void *arg, const char *line, size_t n); /* of the events */
        void *arg;
        bool hasty; /* killed when it is to end, without time to save */
        /* Its own. */
        struct engine engine;
        struct cgroup cgroup;
        struct seen seen; /* engine_ended, end and the cells are on_line's to set */
        uint64_t deadline_us, kill_at_us, measure_at_us, mem_peak, host_oom_kills;
        bool sandboxed, gone;
};
#define WATCH_NONE .engine = {.pidfd = -1, .events_fd = -1, .output_fd = -1, .control_fd = -1}
struct watch_spec {                     /* borrowed */
        const struct runner_opts *opts; /* limits */
        const struct nb_strv *argv;
        const char *const *env;
        const char *home, *cwd;
        uint64_t timeout_us; /* 0: none */
        bool sandboxed;
};
int watch_start(struct watch *w, const struct watch_spec *s, struct nb_err *err);
/* Until the child is gone or has to go. */
void watch_run(struct watch *w);
/* Kill what it left, and read what it had said. */
void watch_end(struct watch *w);
void watch_done(struct watch *w);

/* ---- rundir.c: the run directory, and what the engine finds in it ---- */

struct rundir {
        char *path; /* absolute */
        int fd, lock_fd, events_fd, log_fd;
        bool temporary; /* removed at the end */
};
#define RUNDIR_NONE ((struct rundir){.fd = -1, .lock_fd = -1, .events_fd = -1, .log_fd = -1})
#define RUNDIR_TAKEN 4 /* and exit status then: another runner is or was here */
/* Take it (path NULL: make one), say "started" and open events and log.  0 or
 * RUNDIR_TAKEN. */
int rundir_take(const char *path, struct rundir *ret, struct nb_err *err);
void rundir_done(struct rundir *d);

struct rundir_paths { /* owned, absolute */
        char *workspace, *cwd, *notebook;
};
/* NB_E_INVALID, NB_E_NOTFOUND: the notebook is not there, or elsewhere. */
int rundir_find_paths(const struct runner_opts *o, struct rundir_paths *ret, struct nb_err *err);
void rundir_paths_done(struct rundir_paths *p);
/* Write the notebook that has want's parameters, and let p name that.  A line
 * in the log when they are set at the top.  NB_E_INVALID: they do not fit the
 * notebook. */
int runner_inject(const struct rundir *d, const struct runner_opts *o,
                  const struct nb_environment *want, struct rundir_paths *p, struct nb_err *err);
/* Programs, and empty directories. */
int rundir_fill(const struct rundir *d, struct nb_err *err);
struct rundir_kernel {               /* borrowed, NULL when not said */
        const char *name, *language; /* of the kernelspec to look for */
        const char *prefix;          /* of a virtual environment that goes before the executor's */
        const char *image;           /* with container: the command line in front of a kernel */
        const struct nb_strv *container;
};
/* spec.json */
int rundir_tell_engine(const struct rundir *d, const struct runner_opts *o,
                       const struct rundir_paths *p, const struct rundir_kernel *k,
                       struct nb_err *err);
