/* SPDX-License-Identifier: Apache-2.0 */

/* rundir.c - what the daemon itself writes into and takes out of a run directory */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <nbcid/fs.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "exec-priv.h"

/* ---- until when it may run, for the process that attaches ---- */

int exec_rundir_put_deadline(const char *run_dir, uint64_t deadline_us, struct nb_err *err)
{
        nb_auto_free char *path = nb_asprintf("%s/deadline", run_dir);
        char text[32];

        if (deadline_us == UINT64_MAX)
                return 0;
        if (!path)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        (void)nb_fmt(text, sizeof(text), "%llu\n", (unsigned long long)deadline_us);
        return nb_write_file(AT_FDCWD, path, text, strlen(text), 0600, false, err);
}

uint64_t exec_rundir_deadline(const char *run_dir)
{
        nb_auto_free char *path = nb_asprintf("%s/deadline", run_dir);
        nb_auto_buf text = NB_BUF(64);
        uint64_t v;

        if (!path || nb_read_file(AT_FDCWD, path, &text, NULL) < 0 || !text.len)
                return UINT64_MAX;
        text.data[strcspn(text.data, "\n")] = '\0';
        return nb_parse_u64(text.data, 0, UINT64_MAX, &v, NULL) == 0 ? v : UINT64_MAX;
}

/* ---- what it left ---- */

/* Nothing there, or something that is not for us: that is an answer.  Out of
 * descriptors or memory is none, and a passed run must not be lost for it. */
static int not_there(const char *what, struct nb_err *err)
{
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == EIO)
                return nb_fail_errno(err, errno, "collect %s", what);
        return 0;
}

/* A job may have put anything there, or shut us out: only a regular file is
 * taken, by its own descriptor, and made readable. */
static int collect_one(int from, const char *name, uint64_t max, int to, struct nb_err *err)
{
        nb_auto_fd int fd = openat(from, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        char path[64];
        struct stat st;

        if (fd < 0)
                return not_there(name, err);
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return 0;
        if (max && (uint64_t)st.st_size > max)
                return nb_fail(err, NB_E_LIMIT,
                               "%s has %llu bytes and may have %llu (max_notebook and max_output "
                               "in [limits]); print less",
                               name, (unsigned long long)st.st_size, (unsigned long long)max);
        (void)nb_fmt(path, sizeof(path), "/proc/self/fd/%d", fd);
        (void)chmod(path, 0600);
        return nb_wrap(err, nb_link_or_copy(from, name, to, name, err), "collect %s", name);
}

int exec_rundir_collect(const char *run_dir, uint64_t max_executed, int dirfd, struct nb_err *err)
{
        static const char *const names[] = {"log.txt", "environment.json", "environment.lock",
                                            "environment.log.txt"};
        nb_auto_fd int dir = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        nb_auto_fd int closed = -1, out = -1;
        char path[64];
        int r = 0;

        if (dir < 0)
                return not_there(run_dir, err);
        for (size_t i = 0; r == 0 && i < NB_ARRAY_SIZE(names); i++)
                r = collect_one(dir, names[i], 0, dirfd, err);
        if (r < 0)
                return r;
        closed = openat(dir, "out", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (closed < 0)
                return not_there("out", err);
        (void)nb_fmt(path, sizeof(path), "/proc/self/fd/%d", closed);
        (void)chmod(path, 0700);
        out = openat(dir, "out", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (out < 0)
                return not_there("out", err);
        return collect_one(out, "executed.ipynb", max_executed, dirfd, err);
}
