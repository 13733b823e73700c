/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.c - nb_rm_tree() of fs.h
 *
 * The tree was written by strangers: it may be deeper than a stack or a table
 * of descriptors, and somebody may still be moving things in it.  So the way
 * down is a list on the heap; only the nearest OPEN_LEVELS directories stay
 * open; a directory is entered by openat2(2) from its parent's descriptor, not
 * through symbolic links and not into another mount; and going up by ".." is
 * believed only when it leads to the directory that was left.
 */
#include <nbcid/fs.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <nbcid/str.h>

#define OPEN_LEVELS 16
#define MAX_REREADS 2
#define MAX_LEVELS ((size_t)1 << 20)

struct level {
        dev_t dev;
        ino_t ino;
        char *name; /* in the parent; owned */
        DIR *dir;   /* NULL: closed on the way down */
        int rereads;
};

struct walk {
        struct level *levels;
        size_t n, cap;
};

static void walk_done(struct walk *w)
{
        for (size_t i = 0; i < w->n; i++) {
                if (w->levels[i].dir)
                        (void)closedir(w->levels[i].dir);
                free(w->levels[i].name);
        }
        free(w->levels);
}

static int open_dir_raw(int dirfd, const char *name, int flags, bool below)
{
        struct open_how how = {
                .flags = (uint64_t)(unsigned)(O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | flags),
                .resolve = below ? RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV : 0,
        };
        long fd;

        do
                fd = syscall(SYS_openat2, dirfd, name, &how, sizeof(how));
        while (fd < 0 && errno == EINTR);
        return (int)fd;
}

/* Open a directory for reading and changing, after giving its owner, us, the
 * rights to do so; fd or -1 with errno.  The detour over O_PATH makes sure
 * that what gets the new mode is a directory and no link to somewhere else. */
static int open_dir(int dirfd, const char *name, bool below)
{
        nb_auto_fd int handle = open_dir_raw(dirfd, name, O_PATH, below);
        struct stat st;
        char self[40];

        /* not the owner: the mode may do as it is, and openat() will tell */
        if (handle < 0 || fstat(handle, &st) < 0)
                return -1;
        if ((st.st_mode & 0700) != 0700) {
                (void)nb_fmt(self, sizeof(self), "/proc/self/fd/%d", handle);
                if (chmod(self, (st.st_mode & 07777) | 0700) < 0 && errno != EPERM)
                        return -1;
        }
        return openat(handle, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* The descriptor becomes the new deepest level. */
static int push_take(struct walk *w, int fd_, const char *name, struct nb_err *err)
{
        nb_auto_fd int fd = fd_;
        nb_auto_free char *copy = nb_strdup(name);
        struct stat st;
        DIR *dir;

        if (w->n >= MAX_LEVELS)
                return nb_fail(err, NB_E_LIMIT,
                               "directories are nested over %zu deep; remove some by hand",
                               MAX_LEVELS);
        if (!copy || nb_grow((void **)&w->levels, &w->cap, w->n + 1, sizeof(*w->levels)) < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory to walk a tree");
        if (fstat(fd, &st) < 0)
                return nb_fail_errno(err, errno, "cannot look at %s", name);
        dir = fdopendir(fd);
        if (!dir)
                return nb_fail_errno(err, errno, "cannot read the directory %s", name);
        (void)NB_TAKE_FD(fd);
        w->levels[w->n++] = (struct level){st.st_dev, st.st_ino, NB_TAKE(copy), dir, 0};
        if (w->n > OPEN_LEVELS) {
                struct level *far = &w->levels[w->n - 1 - OPEN_LEVELS];
                if (far->dir)
                        (void)closedir(NB_TAKE(far->dir));
        }
        return 0;
}

/* Open the parent of the deepest level again, when it was closed. */
static int reopen_parent(struct walk *w, struct nb_err *err)
{
        struct level *here = &w->levels[w->n - 1], *up = here - 1;
        nb_auto_fd int fd = -1;
        struct stat st;

        if (up->dir)
                return 0;
        fd = openat(dirfd(here->dir), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return nb_fail_errno(err, errno, "cannot go back up from %s", here->name);
        if (st.st_dev != up->dev || st.st_ino != up->ino)
                return nb_fail(err, NB_E_CONFLICT,
                               "%s was moved while it was being removed; end what works there",
                               here->name);
        up->dir = fdopendir(fd);
        if (!up->dir)
                return nb_fail_errno(err, errno, "cannot read the directory %s", up->name);
        (void)NB_TAKE_FD(fd);
        return 0;
}

/* The deepest level has been read to its end: remove it from its parent. */
static int pop(struct walk *w, int top_dirfd, struct nb_err *err)
{
        struct level *here = &w->levels[w->n - 1];
        int r = w->n > 1 ? reopen_parent(w, err) : 0;

        if (r < 0)
                return r;
        if (unlinkat(w->n > 1 ? dirfd(here[-1].dir) : top_dirfd, here->name, AT_REMOVEDIR) < 0 &&
            errno != ENOENT) {
                /* some file systems skip entries while others are removed */
                if (errno == ENOTEMPTY && here->rereads++ < MAX_REREADS) {
                        rewinddir(here->dir);
                        return 0;
                }
                return nb_fail_errno(err, errno, "cannot remove the directory %s", here->name);
        }
        (void)closedir(here->dir);
        free(here->name);
        w->n--;
        return 0;
}

/* Remove one entry of the deepest level, or go down into it. */
static int remove_entry(struct walk *w, const struct dirent *e, struct nb_err *err)
{
        const struct level *here = &w->levels[w->n - 1];
        int at = dirfd(here->dir), fd;

        /* unlink(2) of a directory is EISDIR on Linux and changes nothing */
        if (e->d_type != DT_DIR) {
                if (unlinkat(at, e->d_name, 0) == 0 || errno == ENOENT)
                        return 0;
                if (errno != EISDIR)
                        return nb_fail_errno(err, errno, "cannot remove %s/%s", here->name,
                                             e->d_name);
        }
        fd = open_dir(at, e->d_name, true);
        if (fd >= 0)
                return push_take(w, fd, e->d_name, err);
        if (errno == ENOENT)
                return 0;
        if (errno == EXDEV)
                return nb_fail_detail(err, NB_E_CONFLICT, EXDEV,
                                      "%s/%s is a mount point; unmount it first", here->name,
                                      e->d_name);
        return nb_fail_errno(err, errno, "cannot open the directory %s/%s", here->name, e->d_name);
}

static int walk_run(struct walk *w, int top_dirfd, struct nb_err *err)
{
        while (w->n > 0) {
                struct level *here = &w->levels[w->n - 1];
                const struct dirent *e;
                int r = 0;

                errno = 0;
                e = readdir(here->dir);
                if (!e && errno != 0)
                        r = nb_fail_errno(err, errno, "cannot read the directory %s", here->name);
                else if (!e)
                        r = pop(w, top_dirfd, err);
                else if (!nb_streq(e->d_name, ".") && !nb_streq(e->d_name, ".."))
                        r = remove_entry(w, e, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* An owned copy without trailing slashes, which would make O_NOFOLLOW follow;
 * NULL when there is no name at the end that can be removed. */
static char *plain_path(const char *path)
{
        size_t n = strlen(path);
        const char *name;
        char *copy;

        while (n > 0 && path[n - 1] == '/')
                n--;
        copy = nb_strndup(path, n);
        if (!copy)
                return NULL;
        name = strrchr(copy, '/');
        name = name ? name + 1 : copy;
        if (nb_streq(name, "") || nb_streq(name, ".") || nb_streq(name, ".."))
                copy[0] = '\0';
        return copy;
}

int nb_rm_tree(int dirfd, const char *path, struct nb_err *err)
{
        nb_auto_free char *plain = plain_path(path);
        NB_CLEANUP(walk_done) struct walk w = {0};
        int fd, r;

        if (!plain)
                return nb_fail(err, NB_E_NOMEM, "no memory for the path of %s", path);
        if (!plain[0])
                return nb_fail(err, NB_E_INVALID, "\"%s\" does not name a tree to remove", path);
        if (unlinkat(dirfd, plain, 0) == 0 || errno == ENOENT)
                return 0;
        if (errno != EISDIR)
                return nb_fail_errno(err, errno, "cannot remove %s", plain);
        fd = open_dir(dirfd, plain, false);
        if (fd < 0)
                return nb_fail_errno(err, errno, "cannot open the directory %s", plain);
        r = push_take(&w, fd, plain, err);
        if (r == 0)
                r = walk_run(&w, dirfd, err);
        return r < 0 ? nb_wrap(err, r, "while removing %s", plain) : 0;
}
