/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A directory as a tar archive that is made while it is read: POSIX.1-2017
 * "pax Interchange Format".  Names are sorted, owners are root, times are one
 * fixed day and of modes only the executable bit counts, so that the same tree
 * is the same bytes and a transfer may begin again.  Nobody should write there
 * meanwhile; whoever does gets an error and not a broken archive.
 */

#include "blob-priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#define BLOCK 512
#define LEVELS_MAX 64
#define ENTRIES_MAX 1000000
#define PATH_BYTES_MAX 4096
#define MTIME 315532800 /* 1980: tools complain of 1970 */
#define SIZE_OCTAL_MAX (UINT64_C(077777777777))

/* POSIX.1-2017, pax, "ustar Interchange Format" */
struct header {
        char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type;
        char link[100], magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155];
        char rest[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is one block");

struct level {
        int fd;
        size_t n_path; /* of the path above it */
        struct nb_strv names;
        size_t next;
};

struct tar {
        struct source base;
        char *dir;
        struct level levels[LEVELS_MAX];
        size_t n_levels, n_entries;
        struct nb_buf path;    /* of the entry in hand */
        struct nb_buf pending; /* headers, padding, the end */
        size_t pending_at;
        int fd; /* of the file in hand, or -1 */
        uint64_t left, size;
        bool begun, ended;
};

/* ---- headers ---- */

static void put_octal(char *p, size_t size, uint64_t v)
{
        char text[32];

        (void)nb_fmt(text, sizeof(text), "%0*llo", (int)size - 1, (unsigned long long)v);
        memcpy(p, text, size); /* with its NUL */
}

static void put_header(struct nb_buf *b, const char *name, const char *link, unsigned mode,
                       uint64_t size, char type)
{
        struct header h = {.type = type, .magic = "ustar", .version = {'0', '0'}};
        unsigned sum = 0;

        memcpy(h.name, name, strnlen(name, sizeof(h.name)));
        memcpy(h.link, link, strnlen(link, sizeof(h.link)));
        put_octal(h.mode, sizeof(h.mode), mode);
        put_octal(h.uid, sizeof(h.uid), 0);
        put_octal(h.gid, sizeof(h.gid), 0);
        put_octal(h.size, sizeof(h.size), size <= SIZE_OCTAL_MAX ? size : 0);
        put_octal(h.mtime, sizeof(h.mtime), MTIME);
        put_octal(h.major, sizeof(h.major), 0);
        put_octal(h.minor, sizeof(h.minor), 0);
        memset(h.checksum, ' ', sizeof(h.checksum));
        for (size_t i = 0; i < sizeof(h); i++)
                sum += ((const unsigned char *)&h)[i];
        put_octal(h.checksum, 7, sum);
        (void)nb_buf_append(b, &h, sizeof(h));
}

static void pad(struct nb_buf *b, uint64_t n)
{
        static const char zeros[BLOCK];

        if (n % BLOCK != 0)
                (void)nb_buf_append(b, zeros, BLOCK - (size_t)(n % BLOCK));
}

/* "25 path=some/name\n": the number counts its own digits. */
static void put_record(struct nb_buf *b, const char *key, const char *value)
{
        size_t n = strlen(key) + strlen(value) + 3, all = n, before;
        char digits[24];

        do {
                before = all;
                (void)nb_fmt(digits, sizeof(digits), "%zu", all);
                all = n + strlen(digits);
        } while (all != before);
        (void)nb_buf_printf(b, "%zu %s=%s\n", all, key, value);
}

static int put_entry(struct tar *t, const char *link, unsigned mode, uint64_t size, char type,
                     struct nb_err *err)
{
        const char *path = nb_buf_str(&t->path);
        nb_auto_buf records = NB_BUF(4 * PATH_BYTES_MAX);
        char digits[24];

        if (strlen(path) > sizeof(((struct header *)0)->name))
                put_record(&records, "path", path);
        if (strlen(link) > sizeof(((struct header *)0)->link))
                put_record(&records, "linkpath", link);
        if (size > SIZE_OCTAL_MAX) {
                (void)nb_fmt(digits, sizeof(digits), "%llu", (unsigned long long)size);
                put_record(&records, "size", digits);
        }
        if (records.len > 0) {
                put_header(&t->pending, "PaxHeaders/entry", "", 0644, records.len, 'x');
                (void)nb_buf_append(&t->pending, records.data, records.len);
                pad(&t->pending, records.len);
        }
        put_header(&t->pending, path, link, mode, size, type);
        if (records.failed || t->pending.failed)
                return nb_fail(err, NB_E_LIMIT, "%s/%s: the name is too long", t->dir, path);
        return 0;
}

/* ---- the tree ---- */

static int by_name(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_names(struct tar *t, int fd, struct nb_strv *names, struct nb_err *err)
{
        int again = fcntl(fd, F_DUPFD_CLOEXEC, 3); /* closedir() closes it */
        DIR *d = again < 0 ? NULL : fdopendir(again);
        struct dirent *e;
        int r = 0;

        if (!d) {
                r = nb_fail_errno(err, errno, "cannot read %s/%s", t->dir, nb_buf_str(&t->path));
                nb_closep(&again);
                return r;
        }
        rewinddir(d);
        while (r == 0 && (errno = 0, e = readdir(d)) != NULL) {
                if (nb_streq(e->d_name, ".") || nb_streq(e->d_name, ".."))
                        continue;
                if (++t->n_entries > ENTRIES_MAX)
                        r = nb_fail(err, NB_E_LIMIT, "%s has over %d entries", t->dir, ENTRIES_MAX);
                else if (nb_strv_add(names, e->d_name) < 0)
                        r = nb_fail(err, NB_E_NOMEM, "no memory for the names in %s", t->dir);
        }
        if (r == 0 && errno != 0)
                r = nb_fail_errno(err, errno, "cannot read %s/%s", t->dir, nb_buf_str(&t->path));
        (void)closedir(d);
        if (r == 0 && names->n > 0)
                qsort(names->v, names->n, sizeof(*names->v), by_name);
        return r;
}

static void close_level(struct level *l)
{
        nb_closep(&l->fd);
        nb_strv_done(&l->names);
        *l = (struct level){.fd = -1};
}

/* Go down into a directory; its path ends in '/' already, but for the top. */
static int enter(struct tar *t, int dirfd, const char *name, struct nb_err *err)
{
        struct level *l = &t->levels[t->n_levels];
        int r;

        if (t->n_levels == LEVELS_MAX)
                return nb_fail(err, NB_E_LIMIT, "%s/%s is over %d levels deep", t->dir,
                               nb_buf_str(&t->path), LEVELS_MAX);
        *l = (struct level){.n_path = t->path.len};
        l->fd = openat(dirfd, name,
                       O_RDONLY | O_DIRECTORY | O_CLOEXEC | (dirfd < 0 ? 0 : O_NOFOLLOW));
        if (l->fd < 0)
                return nb_fail_errno(err, errno, "cannot read %s/%s", t->dir, nb_buf_str(&t->path));
        t->n_levels++;
        r = read_names(t, l->fd, &l->names, err);
        return r;
}

static int add_file(struct tar *t, int dirfd, const char *name, struct nb_err *err)
{
        struct stat st;

        t->fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (t->fd < 0 || fstat(t->fd, &st) < 0)
                return nb_fail_errno(err, errno, "cannot read %s/%s", t->dir, nb_buf_str(&t->path));
        if (!S_ISREG(st.st_mode))
                return nb_fail(err, NB_E_CONFLICT, "%s/%s changed while it was uploaded", t->dir,
                               nb_buf_str(&t->path));
        t->size = t->left = (uint64_t)st.st_size;
        return put_entry(t, "", st.st_mode & 0111 ? 0755 : 0644, t->size, '0', err);
}

static int add_link(struct tar *t, int dirfd, const char *name, struct nb_err *err)
{
        char target[PATH_MAX];
        ssize_t n = readlinkat(dirfd, name, target, sizeof(target) - 1);

        if (n < 0)
                return nb_fail_errno(err, errno, "cannot read %s/%s", t->dir, nb_buf_str(&t->path));
        target[n] = '\0';
        return put_entry(t, target, 0777, 0, '2', err);
}

static int add(struct tar *t, int dirfd, const char *name, struct nb_err *err)
{
        struct stat st;
        int r;

        if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return nb_fail_errno(err, errno, "cannot read %s/%s", t->dir, nb_buf_str(&t->path));
        if (S_ISREG(st.st_mode))
                return add_file(t, dirfd, name, err);
        if (S_ISLNK(st.st_mode))
                return add_link(t, dirfd, name, err);
        if (!S_ISDIR(st.st_mode))
                return nb_fail(
                        err, NB_E_INVALID,
                        "%s/%s is no file, directory or link; an archive has no place for it",
                        t->dir, nb_buf_str(&t->path));
        if (nb_buf_putc(&t->path, '/') < 0)
                return nb_fail(err, NB_E_LIMIT, "%s: a path is over %d bytes", t->dir,
                               PATH_BYTES_MAX);
        r = put_entry(t, "", 0755, 0, '5', err);
        return r < 0 ? r : enter(t, dirfd, name, err);
}

/* The next entry's headers into pending, or the end's. */
static int next(struct tar *t, struct nb_err *err)
{
        static const char end[2 * BLOCK];
        struct level *l;
        const char *name;

        nb_buf_clear(&t->pending);
        t->pending_at = 0;
        if (!t->begun) {
                t->begun = true;
                return enter(t, AT_FDCWD, t->dir, err);
        }
        l = &t->levels[t->n_levels - 1];
        if (l->next == l->names.n) {
                close_level(l);
                if (--t->n_levels > 0)
                        return 0;
                t->ended = true;
                return nb_buf_append(&t->pending, end, sizeof(end)) == 0
                               ? 0
                               : nb_fail(err, NB_E_NOMEM, "no memory for an archive");
        }
        name = l->names.v[l->next++];
        t->path.len = l->n_path;
        if (nb_buf_puts(&t->path, name) < 0)
                return nb_fail(err, NB_E_LIMIT, "%s: a path is over %d bytes", t->dir,
                               PATH_BYTES_MAX);
        return add(t, l->fd, name, err);
}

/* ---- reading ---- */

static ssize_t read_content(struct tar *t, char *p, size_t n, struct nb_err *err)
{
        ssize_t r;

        if (n > t->left)
                n = (size_t)t->left;
        do
                r = read(t->fd, p, n);
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return nb_fail_errno(err, errno, "cannot read %s/%s", t->dir, nb_buf_str(&t->path));
        if (r == 0)
                return nb_fail(err, NB_E_CONFLICT, "%s/%s became shorter while it was uploaded",
                               t->dir, nb_buf_str(&t->path));
        t->left -= (uint64_t)r;
        return r;
}

static ssize_t tar_read(struct source *s, char *p, size_t n, struct nb_err *err)
{
        struct tar *t = (struct tar *)s;
        int r;

        for (;;) {
                size_t pending = t->pending.len - t->pending_at;

                if (pending > 0) {
                        n = n < pending ? n : pending;
                        memcpy(p, t->pending.data + t->pending_at, n);
                        t->pending_at += n;
                        return (ssize_t)n;
                }
                if (t->fd >= 0 && t->left > 0)
                        return read_content(t, p, n, err);
                if (t->ended)
                        return 0;
                if (t->fd >= 0) {
                        nb_closep(&t->fd);
                        t->fd = -1;
                        nb_buf_clear(&t->pending);
                        t->pending_at = 0;
                        pad(&t->pending, t->size);
                        continue;
                }
                r = next(t, err);
                if (r < 0)
                        return r;
        }
}

static int tar_rewind(struct source *s, struct nb_err *err)
{
        struct tar *t = (struct tar *)s;

        while (t->n_levels > 0)
                close_level(&t->levels[--t->n_levels]);
        nb_closep(&t->fd);
        t->fd = -1;
        nb_buf_clear(&t->path);
        nb_buf_clear(&t->pending);
        t->pending_at = 0;
        t->n_entries = 0;
        t->left = t->size = 0;
        t->begun = t->ended = false;
        return 0;
}

static void tar_free(struct source *s)
{
        struct tar *t = (struct tar *)s;

        (void)tar_rewind(s, NULL);
        nb_buf_done(&t->path);
        nb_buf_done(&t->pending);
        free(t->dir);
        free(t);
}

int source_tree(const char *dir, struct source **ret, struct nb_err *err)
{
        struct tar *t = calloc(1, sizeof(*t));

        if (!t)
                return nb_fail(err, NB_E_NOMEM, "no memory for an archive");
        t->base = (struct source){UINT64_MAX, tar_read, tar_rewind, tar_free};
        t->fd = -1;
        t->path = NB_BUF(PATH_BYTES_MAX);
        t->pending = NB_BUF(8 * PATH_BYTES_MAX);
        t->dir = nb_strdup(dir);
        if (!t->dir) {
                tar_free(&t->base);
                return nb_fail(err, NB_E_NOMEM, "no memory for an archive");
        }
        *ret = &t->base;
        return 0;
}
