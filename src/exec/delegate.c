/* SPDX-License-Identifier: Apache-2.0 */

/* delegate.c - is a cgroup v2 subtree ours?  (kernel documentation,
 * admin-guide/cgroup-v2, "Delegation" and "No Internal Process Constraint") */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <nbcid/fs.h>
#include <nbcid/str.h>

#include "exec-priv.h"

static int put(const char *dir, const char *file, const char *text, struct nb_err *err)
{
        nb_auto_free char *path = nb_asprintf("%s/%s", dir, file);
        nb_auto_fd int fd = path ? open(path, O_WRONLY | O_CLOEXEC) : -1;

        if (fd < 0)
                return nb_fail_errno(err, errno, "%s/%s", dir, file);
        return nb_wrap(err, nb_write_all(fd, text, strlen(text), err), "%s", path);
}

/* Our own directory: the line "0::/path" of /proc/self/cgroup. */
static char *own_cgroup(struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(64 * 1024);
        const char *p;

        if (nb_read_file(AT_FDCWD, "/proc/self/cgroup", &text, err) < 0)
                return NULL;
        p = nb_buf_str(&text);
        while (p && !nb_starts_with(p, "0::/")) {
                p = strchr(p, '\n');
                p = p ? p + 1 : NULL;
        }
        if (!p || strcspn(p + 4, "\n") == 0) {
                (void)nb_fail(err, NB_E_NOTFOUND, "this process has no cgroup v2 of its own");
                return NULL;
        }
        p += 3;
        return nb_asprintf("/sys/fs/cgroup%.*s", (int)strcspn(p, "\n"), p);
}

/* Cgroups of runners that were killed stay behind, empty: others are busy. */
static void sweep_jobs(const char *jobs)
{
        DIR *d = opendir(jobs);

        for (struct dirent *e; d && (e = readdir(d));)
                if (nb_starts_with(e->d_name, "job-"))
                        (void)unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
        if (d)
                closedir(d);
}

char *exec_delegated_cgroup(struct nb_err *err)
{
        nb_auto_free char *base = own_cgroup(err), *own = NULL, *jobs = NULL;
        char pid[16];

        if (!base)
                return NULL;
        own = nb_asprintf("%s/daemon", base);
        jobs = nb_asprintf("%s/jobs", base);
        if (!own || !jobs)
                return NULL;
        if ((mkdir(own, 0755) < 0 && errno != EEXIST) ||
            (mkdir(jobs, 0755) < 0 && errno != EEXIST)) {
                (void)nb_fail_errno(err, errno, "%s is not delegated to us", base);
                return NULL;
        }
        (void)nb_fmt(pid, sizeof(pid), "%d", (int)getpid());
        if (put(own, "cgroup.procs", pid, err) < 0 ||
            put(base, "cgroup.subtree_control", "+memory +pids", err) < 0 ||
            put(jobs, "cgroup.subtree_control", "+memory +pids", err) < 0)
                return NULL;
        sweep_jobs(jobs);
        return NB_TAKE(jobs);
}

void exec_cgroup_remove(const char *jobs, pid_t runner)
{
        nb_auto_free char *dir = jobs ? nb_asprintf("%s/job-%d", jobs, (int)runner) : NULL;
        struct nb_err ignored;

        if (!dir || runner <= 0 || access(dir, F_OK) < 0)
                return;
        (void)put(dir, "cgroup.kill", "1", &ignored);
        /* Busy until the kernel is done with it; the next start sweeps what stays. */
        (void)rmdir(dir);
}
