/* SPDX-License-Identifier: Apache-2.0 */

/* Bytes in memory or in a file, to be sent. */

#include "blob-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

struct bytes {
        struct source base;
        const char *p;
        size_t n, at;
};

static ssize_t bytes_read(struct source *s, char *p, size_t n, struct nb_err *err)
{
        struct bytes *b = (struct bytes *)s;

        if (n > b->n - b->at)
                n = b->n - b->at;
        if (n > 0)
                memcpy(p, b->p + b->at, n);
        b->at += n;
        return (ssize_t)n;
}

static int bytes_rewind(struct source *s, struct nb_err *err)
{
        ((struct bytes *)s)->at = 0;
        return 0;
}

static void bytes_free(struct source *s)
{
        free(s);
}

int source_bytes(const void *p, size_t n, struct source **ret, struct nb_err *err)
{
        struct bytes *b = calloc(1, sizeof(*b));

        if (!b)
                return nb_fail(err, NB_E_NOMEM, "no memory for an upload");
        b->base = (struct source){n, bytes_read, bytes_rewind, bytes_free};
        b->p = p;
        b->n = n;
        *ret = &b->base;
        return 0;
}

struct file {
        struct source base;
        int fd;
        uint64_t at;
};

/* A file that has become longer is found out by the byte behind its end. */
static ssize_t file_read(struct source *s, char *p, size_t n, struct nb_err *err)
{
        struct file *f = (struct file *)s;
        ssize_t r;

        do
                r = pread(f->fd, p, n, (off_t)f->at);
        while (r < 0 && errno == EINTR);
        if (r < 0)
                return nb_fail_errno(err, errno, "cannot read what is to be uploaded");
        f->at += (uint64_t)r;
        if (f->at > s->total || (r == 0 && n > 0 && f->at < s->total))
                return nb_fail(err, NB_E_CONFLICT,
                               "the file changed its size while it was uploaded");
        return r;
}

static int file_rewind(struct source *s, struct nb_err *err)
{
        ((struct file *)s)->at = 0;
        return 0;
}

static void file_free(struct source *s)
{
        struct file *f = (struct file *)s;

        nb_closep(&f->fd);
        free(f);
}

int source_file(int fd, struct source **ret, struct nb_err *err)
{
        NB_CLEANUP(source_freep) struct source *guard = NULL;
        struct file *f = calloc(1, sizeof(*f));
        struct stat st;

        if (!f)
                return nb_fail(err, NB_E_NOMEM, "no memory for an upload");
        f->base = (struct source){0, file_read, file_rewind, file_free};
        guard = &f->base;
        f->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (f->fd < 0 || fstat(f->fd, &st) < 0)
                return nb_fail_errno(err, errno, "cannot read what is to be uploaded");
        if (!S_ISREG(st.st_mode))
                return nb_fail(err, NB_E_INVALID, "what is to be uploaded is no regular file");
        f->base.total = (uint64_t)st.st_size;
        *ret = NB_TAKE(guard);
        return 0;
}
