/* SPDX-License-Identifier: Apache-2.0 */

/* cgroup.c - cgroup v2 limits below a delegated directory
 * (kernel documentation, admin-guide/cgroup-v2) */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include <nbcid/fs.h>
#include <nbcid/num.h>

#include "runner-priv.h"

static int write_value(const char *dir, const char *file, const char *value, struct nb_err *err)
{
        nb_auto_free char *path = nb_asprintf("%s/%s", dir, file);
        nb_auto_fd int fd = -1;

        if (!path)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
                return nb_fail_errno(err, errno, "%s", path);
        return nb_wrap(err, nb_write_all(fd, value, strlen(value), err), "%s", path);
}

int cgroup_make(const char *parent, uint64_t memory_max, uint32_t processes_max, struct cgroup *ret,
                struct nb_err *err)
{
        struct cgroup c = {.dir = nb_asprintf("%s/job-%d", parent, (int)getpid())};
        char value[32];
        int r = 0;

        if (!c.dir)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        if (mkdir(c.dir, 0755) < 0) {
                r = nb_fail_errno(err, errno, "%s", c.dir);
                free(c.dir);
                return r;
        }
        if (memory_max) {
                (void)nb_fmt(value, sizeof(value), "%llu", (unsigned long long)memory_max);
                r = write_value(c.dir, "memory.max", value, err);
        }
        if (r == 0 && processes_max) {
                (void)nb_fmt(value, sizeof(value), "%u", processes_max);
                r = write_value(c.dir, "pids.max", value, err);
        }
        if (r < 0) {
                cgroup_done(&c);
                return r;
        }
        *ret = c;
        return 0;
}

int cgroup_enter(const struct cgroup *c)
{
        int dir, fd, r;

        dir = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return -errno;
        fd = openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        r = fd < 0 || write(fd, "0", 1) != 1 ? -errno : 0;
        if (fd >= 0)
                close(fd);
        close(dir);
        return r;
}

/* "NAME VALUE" of a flat keyed file, or the whole file when name is NULL. */
static uint64_t read_value(const char *dir, const char *file, const char *name)
{
        nb_auto_free char *path = nb_asprintf("%s/%s", dir, file);
        nb_auto_buf text = NB_BUF(4096);
        uint64_t v = 0;
        const char *p;

        if (!path || nb_read_file(AT_FDCWD, path, &text, NULL) < 0)
                return 0;
        p = nb_buf_str(&text);
        if (name) {
                p = strstr(p, name);
                if (!p)
                        return 0;
                p += strlen(name) + 1;
        }
        nb_auto_free char *digits = nb_strndup(p, strspn(p, "0123456789"));

        return digits && nb_parse_u64(digits, 0, UINT64_MAX, &v, NULL) == 0 ? v : 0;
}

void cgroup_read(const struct cgroup *c, struct cgroup_use *ret)
{
        *ret = (struct cgroup_use){
                .oom_kills = read_value(c->dir, "memory.events", "oom_kill"),
                .memory_peak = read_value(c->dir, "memory.peak", NULL),
        };
}

void cgroup_done(struct cgroup *c)
{
        struct nb_err ignored;

        if (!c->dir)
                return;
        (void)write_value(c->dir, "cgroup.kill", "1", &ignored);
        /* Empty a moment after the last process is reaped. */
        for (int i = 0; i < 200 && rmdir(c->dir) < 0 && errno == EBUSY; i++)
                nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
        free(c->dir);
        c->dir = NULL;
}
