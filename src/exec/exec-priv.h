/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* exec-priv.h - what the executors' files share */

#include <sys/types.h>

#include <nbcid/exec.h>

extern const struct exec_ops exec_local_ops;
extern const struct exec_ops exec_vertex_ops;

/* The cgroup v2 directory in which jobs' cgroups can be made, with memory and
 * pids controllers, when one was delegated to us (systemd's Delegate=); owned,
 * or NULL with why in err.  Moves this process into a child of its own cgroup,
 * since a cgroup with children may hold no processes. */
char *exec_delegated_cgroup(struct nb_err *err);

/* Kill and remove what a runner that was killed left in jobs (NULL: nothing is
 * done).  Does not wait. */
void exec_cgroup_remove(const char *jobs, pid_t runner);

struct exec_spawn { /* borrowed */
        const struct config_executor *cfg;
        const struct exec_deps *deps;
        const char *cgroup; /* or NULL */
        const struct exec_job *job;
        const char *dir; /* the run directory, just made */
};
/* Start its runner; *ret is a child of ours. */
int exec_spawn_runner(const struct exec_spawn *s, pid_t *ret, struct nb_err *err);

/* ---- rundir.c ---- */

/* When its runner is to be killed, by the monotonic clock, which counts on
 * through a restart of ours; UINT64_MAX: never. */
int exec_rundir_put_deadline(const char *run_dir, uint64_t deadline_us, struct nb_err *err);
uint64_t exec_rundir_deadline(const char *run_dir);
/* See collect() in exec.h. */
int exec_rundir_collect(const char *run_dir, uint64_t max_executed, int dirfd, struct nb_err *err);
