/* SPDX-License-Identifier: Apache-2.0 */

/* plan-files.c - files of a commit for those who decide what notebooks need */

#include <fcntl.h>

#include <nbcid/fs.h>

#include "flow-priv.h"

/* Of one build; its notebooks mostly name the same few. */
#define FILES_MAX 256
#define BYTES_MAX ((size_t)32 << 20)

void plan_files_done(struct plan_files *f)
{
        for (size_t i = 0; i < f->n_cache; i++) {
                free(f->cache[i].path);
                free(f->cache[i].text);
        }
        free(f->cache);
        f->cache = NULL;
        f->n_cache = f->cap_cache = 0;
}

static const struct git_support *near(const struct plan_files *f, const char *path)
{
        for (size_t i = 0; i < f->answer->n_support; i++)
                if (nb_streq(f->answer->support[i].path, path))
                        return &f->answer->support[i];
        return NULL;
}

bool plan_files_has(void *arg, const char *path)
{
        return near(arg, path) != NULL;
}

/* Why a file is not to be read, if it is so. */
static int odd(const struct git_support *s, struct nb_err *err)
{
        switch (s->oddity) {
        case GIT_REGULAR:
                return 0;
        case GIT_SYMLINK:
                return nb_fail(err, NB_E_INVALID,
                               "%s is a symbolic link; commit the file itself in its place",
                               s->path);
        case GIT_TOO_BIG:
                return nb_fail(err, NB_E_LIMIT,
                               "%s has %llu bytes, more than %zu; list what the notebooks import, "
                               "not everything that is installed",
                               s->path, (unsigned long long)s->size, GIT_SUPPORT_MAX);
        case GIT_LFS:
        case GIT_ODDITY__COUNT:
                break;
        }
        return nb_fail(err, NB_E_INVALID,
                       "%s is a Git LFS pointer; take it out of LFS (git lfs untrack) and commit "
                       "it again",
                       s->path);
}

static int read_near(const struct plan_files *f, const struct git_support *s, struct nb_buf *ret,
                     struct nb_err *err)
{
        nb_auto_free char *file = nb_asprintf("%s/s%zu", f->dir, (size_t)(s - f->answer->support));
        int r = odd(s, err);

        if (r < 0)
                return r;
        if (!file)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = nb_read_file(AT_FDCWD, file, ret, err);
        return r < 0 ? nb_fail(err, NB_E_IO, "extracted %s cannot be read", s->path) : 1;
}

/* Ask git; what it says of the file is kept, what it says of itself is not. */
static int look(struct plan_files *f, const char *path, struct plan_file *ret, struct nb_err *err)
{
        NB_CLEANUP(git_answer_done) struct git_answer a = {0};
        nb_auto_free char *file = NULL;
        nb_auto_buf text = NB_BUF(GIT_SUPPORT_MAX);
        int r = f->look(f->arg, path, &a, &file, err);

        if (r < 0)
                return r;
        *ret = (struct plan_file){.absent = a.n_support == 0};
        if (ret->absent || odd(&a.support[0], &ret->err) < 0)
                return 0;
        r = nb_read_file(AT_FDCWD, file, &text, err);
        if (r < 0)
                return nb_fail(err, NB_E_IO, "extracted %s cannot be read", path);
        ret->n = text.len;
        ret->text = text.len > 0 ? nb_buf_steal(&text) : nb_strdup("");
        return ret->text ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

static int look_once(struct plan_files *f, const char *path, const struct plan_file **ret,
                     struct nb_err *err)
{
        struct plan_file *to;
        int r;

        for (size_t i = 0; i < f->n_cache; i++)
                if (nb_streq(f->cache[i].path, path)) {
                        *ret = &f->cache[i];
                        return 0;
                }
        if (f->n_cache == FILES_MAX || f->cached > BYTES_MAX)
                return nb_fail(err, NB_E_LIMIT,
                               "%s is one file too many: the notebooks of a push may name %d files "
                               "of requirements",
                               path, FILES_MAX);
        if (nb_grow((void **)&f->cache, &f->cap_cache, f->n_cache + 1, sizeof(*f->cache)) < 0)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        to = &f->cache[f->n_cache];
        r = look(f, path, to, err);
        if (r < 0)
                return r;
        to->path = nb_strdup(path);
        f->n_cache++; /* counted first: plan_files_done() frees what a failure left */
        if (!to->path)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        f->cached += to->n;
        *ret = to;
        return 0;
}

int plan_files_read(void *arg, const char *path, struct nb_buf *ret, struct nb_err *err)
{
        struct plan_files *f = arg;
        const struct git_support *s = near(f, path);
        const struct plan_file *file = NULL;
        int r;

        if (s)
                return read_near(f, s, ret, err);
        r = look_once(f, path, &file, err);
        if (r < 0)
                return r;
        if (file->err.code != NB_OK)
                return nb_fail(err, file->err.code, "%s", file->err.msg);
        if (file->absent)
                return 0;
        return nb_buf_append(ret, file->text, file->n) < 0
                       ? nb_fail(err, NB_E_NOMEM, "out of memory")
                       : 1;
}
