/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* runner-priv.h - what the runner's files share.  One process, one thread. */

#include <sys/types.h>

#include <nbcid/runner.h>
#include <nbcid/sandbox.h>
#include <nbcid/str.h>

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
/* SIGKILL all of it but the oldest so many. */
void tree_prune(unsigned oldest);
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
        const char *home; /* $HOME of the job */
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
/* With o->parameters: write the notebook that has them, and let p name that.  A
 * line in the log when they are set at the top.  NB_E_INVALID: they do not fit
 * the notebook. */
int runner_inject(const struct rundir *d, const struct runner_opts *o, struct rundir_paths *p,
                  struct nb_err *err);
/* engine.py, spec.json and empty directories. */
int rundir_fill(const struct rundir *d, const struct runner_opts *o, const struct rundir_paths *p,
                struct nb_err *err);
