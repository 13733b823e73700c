/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/fs.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <nbcid/crypto.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "file.h"

#define CHUNK ((size_t)64 << 10)

ssize_t nb_read_some(int fd, void *p, size_t n)
{
        ssize_t r;

        do
                r = read(fd, p, n);
        while (r < 0 && errno == EINTR);
        return r;
}

int nb_open_regular(int dirfd, const char *path, int flags, struct stat *ret_st, struct nb_err *err)
{
        nb_auto_fd int fd =
                openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | flags);

        if (fd < 0)
                return nb_fail_errno(err, errno, "cannot open %s", path);
        if (fstat(fd, ret_st) < 0)
                return nb_fail_errno(err, errno, "cannot look at %s", path);
        if (!S_ISREG(ret_st->st_mode))
                return nb_fail(err, NB_E_INVALID, "%s is not a regular file", path);
        return NB_TAKE_FD(fd);
}

/* The size that the kernel told is a hint: the file may grow, and those of
 * /proc claim to be empty.  One byte more is asked for, so that a file that did not grow
 * is read with one call.  What goes beyond comes in small pieces, so that finding
 * the end does not double a large buffer. */
static int read_all(int fd, size_t hint, size_t room, struct nb_buf *ret, const char *path,
                    struct nb_err *err)
{
        const size_t reserved = hint < room ? hint + 1 : hint; /* and a byte for the NUL */

        for (size_t got = 0;;) {
                char extra[4096];
                const bool hinted = hint > 0 && got <= hint;
                ssize_t n;
                int r = hinted ? nb_buf_reserve(ret, reserved - got) : 0;

                if (r < 0)
                        return nb_fail(err, NB_E_NOMEM, "no memory to read %s", path);
                n = hinted ? nb_read_some(fd, ret->data + ret->len, hint - got + 1)
                           : nb_read_some(fd, extra, sizeof(extra));
                if (n < 0)
                        return nb_fail_errno(err, errno, "cannot read %s", path);
                if ((size_t)n > room - got)
                        return nb_fail(err, NB_E_LIMIT,
                                       "%s is larger than the %zu bytes allowed for it", path,
                                       room);
                if (hinted)
                        ret->len += (size_t)n;
                else if (nb_buf_append(ret, extra, (size_t)n) < 0)
                        return nb_fail(err, NB_E_NOMEM, "no memory to read %s", path);
                got += (size_t)n;
                if (n == 0 || (hinted && got == hint))
                        return 0;
        }
}

int nb_read_open(int fd, uint64_t size, const char *path, struct nb_buf *ret, struct nb_err *err)
{
        size_t before = ret->len;
        size_t room = ret->max > before ? ret->max - before : 0;
        int r;

        if (ret->failed)
                return nb_fail(err, NB_E_BUG, "%s is to be read into a buffer that failed", path);
        if (size > room)
                return nb_fail(err, NB_E_LIMIT,
                               "%s has %" PRIu64 " bytes, more than the %zu allowed for it", path,
                               size, room);
        r = read_all(fd, (size_t)size, room, ret, path, err);
        if (r < 0)
                ret->len = before;
        if (ret->data)
                ret->data[ret->len] = '\0';
        return r;
}

int nb_read_file(int dirfd, const char *path, struct nb_buf *ret, struct nb_err *err)
{
        struct stat st;
        nb_auto_fd int fd = nb_open_regular(dirfd, path, 0, &st, err);

        return fd < 0 ? fd : nb_read_open(fd, (uint64_t)st.st_size, path, ret, err);
}

int nb_write_all(int fd, const void *p, size_t n, struct nb_err *err)
{
        const char *at = p;

        while (n > 0) {
                ssize_t r = write(fd, at, n);
                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0)
                        return nb_fail_errno(err, r < 0 ? errno : ENOSPC,
                                             "cannot write (%zu bytes left)", n);
                at += r;
                n -= (size_t)r;
        }
        return 0;
}

/* The name of a new temporary file in the directory of path; owned. */
static char *temp_beside(const char *path)
{
        const char *slash = strrchr(path, '/');
        size_t n_dir = slash ? (size_t)(slash - path) + 1 : 0;
        uint8_t random[8];
        char hex[2 * sizeof(random) + 1];

        nb_random(random, sizeof(random));
        nb_hex(hex, random, sizeof(random));
        return nb_asprintf("%.*s.nbcid-%s.tmp", (int)n_dir, path, hex);
}

static int sync_dir_of(int dirfd, const char *path, struct nb_err *err)
{
        const char *slash = strrchr(path, '/');
        nb_auto_free char *dir =
                slash ? nb_strndup(path, (size_t)(slash - path) + 1) : nb_strdup(".");
        nb_auto_fd int fd = -1;

        if (!dir)
                return nb_fail(err, NB_E_NOMEM, "no memory for a path");
        fd = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return nb_fail_errno(err, errno, "cannot open the directory of %s", path);
        if (fsync(fd) < 0)
                return nb_fail_errno(err, errno, "cannot flush the directory of %s", path);
        return 0;
}

static int fill_temp(int fd, const void *p, size_t n, unsigned mode, bool sync, struct nb_err *err)
{
        int r = nb_write_all(fd, p, n, err);

        if (r < 0)
                return r;
        /* what the caller asked for, whatever the umask took away */
        if (fchmod(fd, mode) < 0)
                return nb_fail_errno(err, errno, "cannot set mode %04o", mode);
        if (sync && fsync(fd) < 0)
                return nb_fail_errno(err, errno, "cannot flush to disk");
        return 0;
}

int nb_write_file(int dirfd, const char *path, const void *p, size_t n, unsigned mode, bool sync,
                  struct nb_err *err)
{
        nb_auto_free char *temp = temp_beside(path);
        nb_auto_fd int fd = -1;
        int r;

        if (!temp)
                return nb_fail(err, NB_E_NOMEM, "no memory for the path of %s", path);
        fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return nb_fail_errno(err, errno, "cannot create a file beside %s", path);
        r = fill_temp(fd, p, n, mode, sync, err);
        if (r == 0 && renameat(dirfd, temp, dirfd, path) < 0)
                r = nb_fail_errno(err, errno, "cannot put the new file in place");
        if (r < 0) {
                (void)unlinkat(dirfd, temp, 0);
                return nb_wrap(err, r, "%s", path);
        }
        return sync ? sync_dir_of(dirfd, path, err) : 0;
}

int nb_mkdirs(int dirfd, const char *path, unsigned mode, struct nb_err *err)
{
        nb_auto_free char *copy = nb_strdup(path);
        struct stat st;

        if (!copy)
                return nb_fail(err, NB_E_NOMEM, "no memory for the path of %s", path);
        for (char *p = copy; *p;) {
                p += strspn(p, "/");
                p += strcspn(p, "/");
                char was = *p;
                *p = '\0';
                /* "/" alone has no name to make */
                if (mkdirat(dirfd, copy, mode) < 0 && errno != EEXIST)
                        return nb_fail_errno(err, errno, "cannot make the directory %s", copy);
                *p = was;
        }
        if (fstatat(dirfd, path, &st, 0) < 0)
                return nb_fail_errno(err, errno, "cannot look at %s", path);
        if (!S_ISDIR(st.st_mode))
                return nb_fail(err, NB_E_CONFLICT, "%s exists and is not a directory", path);
        return 0;
}

int nb_open_beneath(int dirfd, const char *path, int flags, unsigned mode, struct nb_err *err)
{
        bool creates = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
        struct open_how how = {
                .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                /* openat2(2): a mode where nothing is created is EINVAL */
                .mode = creates ? mode & 07777 : 0,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };
        long fd = -1;

        /* EAGAIN: something was renamed while ".." was looked up */
        for (int i = 0; i < 32; i++) {
                fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
                if (fd >= 0)
                        return (int)fd;
                if (errno != EAGAIN && errno != EINTR)
                        break;
        }
        if (errno == ELOOP)
                return nb_fail_detail(err, NB_E_DENIED, ELOOP, "%s leads through a symbolic link",
                                      path);
        if (errno == EXDEV)
                return nb_fail_detail(err, NB_E_DENIED, EXDEV, "%s leads out of its directory",
                                      path);
        return nb_fail_errno(err, errno, "cannot open %s", path);
}

static int copy_all(int from, int to, struct nb_err *err)
{
        nb_auto_free char *space = malloc(CHUNK);
        ssize_t n;

        if (!space)
                return nb_fail(err, NB_E_NOMEM, "no memory to copy a file");
        while ((n = nb_read_some(from, space, CHUNK)) > 0) {
                int r = nb_write_all(to, space, (size_t)n, err);
                if (r < 0)
                        return r;
        }
        return n < 0 ? nb_fail_errno(err, errno, "cannot read") : 0;
}

static int copy_to_temp(int from, int dirfd, const char *temp, unsigned mode, struct nb_err *err)
{
        nb_auto_fd int fd =
                openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        int r;

        if (fd < 0)
                return nb_fail_errno(err, errno, "cannot create a copy");
        r = copy_all(from, fd, err);
        if (r == 0 && fchmod(fd, mode) < 0)
                r = nb_fail_errno(err, errno, "cannot set mode %04o", mode);
        if (r < 0)
                (void)unlinkat(dirfd, temp, 0);
        return r;
}

int nb_link_or_copy(int src_dirfd, const char *src, int dst_dirfd, const char *dst,
                    struct nb_err *err)
{
        nb_auto_free char *temp = temp_beside(dst);
        struct stat st;
        nb_auto_fd int fd = nb_open_regular(src_dirfd, src, O_NOFOLLOW, &st, err);
        char self[40];
        int r = 0;

        if (fd < 0)
                return fd;
        if (!temp)
                return nb_fail(err, NB_E_NOMEM, "no memory for the path of %s", dst);
        /* through the descriptor, so that the file linked is the one that was
         * looked at; every refusal (EXDEV, EPERM, EMLINK, no /proc) has the
         * same answer */
        (void)nb_fmt(self, sizeof(self), "/proc/self/fd/%d", fd);
        if (linkat(AT_FDCWD, self, dst_dirfd, temp, AT_SYMLINK_FOLLOW) < 0)
                r = copy_to_temp(fd, dst_dirfd, temp, st.st_mode & 0777, err);
        if (r < 0)
                return nb_wrap(err, r, "%s from %s", dst, src);
        if (renameat(dst_dirfd, temp, dst_dirfd, dst) < 0)
                r = nb_fail_errno(err, errno, "cannot put %s in place", dst);
        /* rename(2) between two links to one file does nothing and keeps both */
        (void)unlinkat(dst_dirfd, temp, 0);
        return r;
}

int nb_free_bytes(const char *path, uint64_t *ret, struct nb_err *err)
{
        struct statvfs st;

        if (statvfs(path, &st) < 0)
                return nb_fail_errno(err, errno, "cannot look at the file system of %s", path);
        if (nb_mul_overflow((uint64_t)st.f_bavail, (uint64_t)st.f_frsize, ret))
                *ret = UINT64_MAX;
        return 0;
}
