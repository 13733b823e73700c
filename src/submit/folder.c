/* SPDX-License-Identifier: Apache-2.0 */

/* folder.c - the files that a notebook needs, beside it in the bucket */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "submit-priv.h"

#define FILES_MAX 10000
#define DEPTH_MAX 32
#define REMOVE_MAX 1000 /* of one list */

/* ---- what there is ---- */

struct walk {
        struct submit *s;
        struct nb_strv *files;
};

static int walk_dir(struct walk *w, const char *dir, unsigned depth, struct nb_err *err);

static int walk_entry(struct walk *w, const char *path, unsigned depth, struct nb_err *err)
{
        nb_auto_free char *full = nb_asprintf("%s/%s", w->s->folder_top, path);
        nb_auto_free char *url = nb_asprintf("%s/%s", w->s->folder_own, path);
        NB_CLEANUP(blob_url_done) struct blob_url parsed = {0};
        struct stat st;
        int r;

        if (!full || !url)
                return no_memory(err);
        if (lstat(full, &st) < 0)
                return nb_fail_errno(err, errno, "--input-folder: %s", full);
        if (S_ISDIR(st.st_mode))
                return walk_dir(w, path, depth + 1, err);
        if (S_ISLNK(st.st_mode) && stat(full, &st) < 0)
                return nb_fail_errno(err, errno, "--input-folder: %s", full);
        if (!S_ISREG(st.st_mode))
                return nb_fail(err, NB_E_INVALID,
                               "--input-folder: %s is neither a file nor a directory; take it out",
                               full);
        if (nb_streq(path, w->s->skip))
                return 0;
        if (w->files->n == FILES_MAX)
                return nb_fail(err, NB_E_LIMIT,
                               "--input-folder has over %d files; put them into a bucket and give "
                               "its gs:// address",
                               FILES_MAX);
        r = blob_url_parse(url, &parsed, err);
        if (r < 0)
                return nb_wrap(err, r, "--input-folder");
        return nb_strv_add(w->files, path) < 0 ? no_memory(err) : 0;
}

/* Names that begin with a dot stay at home: .git, .ipynb_checkpoints, .env. */
static int walk_dir(struct walk *w, const char *dir, unsigned depth, struct nb_err *err)
{
        nb_auto_free char *full = nb_asprintf("%s/%s", w->s->folder_top, dir);
        DIR *d = full ? opendir(full) : NULL;
        int r = 0;

        if (!d)
                return nb_fail_errno(err, full ? errno : ENOMEM, "--input-folder: %s", dir);
        if (depth > DEPTH_MAX)
                r = nb_fail(err, NB_E_LIMIT, "--input-folder: %s is over %d levels deep", dir,
                            DEPTH_MAX);
        for (struct dirent *e; r == 0 && (e = readdir(d));) {
                nb_auto_free char *path =
                        *dir ? nb_asprintf("%s/%s", dir, e->d_name) : nb_strdup(e->d_name);

                if (e->d_name[0] == '.')
                        continue;
                r = path ? walk_entry(w, path, depth, err) : no_memory(err);
        }
        closedir(d);
        return r;
}

int folder_look(struct submit *s, struct nb_strv *ret_files, struct nb_err *err)
{
        return s->folder_own ? walk_dir(&(struct walk){s, ret_files}, "", 0, err) : 0;
}

/* ---- there ---- */

struct list {
        struct submit *s;
        const struct nb_strv *files;
};

static int begin_put(void *arg, size_t i, blob_fn done, void *done_arg, struct blob_op **ret,
                     struct nb_err *err)
{
        const struct list *l = arg;
        nb_auto_free char *full = nb_asprintf("%s/%s", l->s->folder_top, l->files->v[i]);
        nb_auto_free char *url = nb_asprintf("%s/%s", l->s->folder_own, l->files->v[i]);
        nb_auto_fd int fd = full ? open(full, O_RDONLY | O_CLOEXEC) : -1;

        if (!full || !url)
                return no_memory(err);
        if (fd < 0)
                return nb_fail_errno(err, errno, "--input-folder: %s", full);
        return blob_put_file(l->s->blob, &(struct blob_put){.url = url}, fd, done, done_arg, ret,
                             err);
}

int folder_put(struct submit *s, const struct nb_strv *files, struct nb_err *err)
{
        struct list l = {s, files};

        return crowd_run(&(struct crowd){.s = s, .n = files->n, .begin = begin_put, .arg = &l},
                         err);
}

/* ---- and away ---- */

static int begin_delete(void *arg, size_t i, blob_fn done, void *done_arg, struct blob_op **ret,
                        struct nb_err *err)
{
        const struct list *l = arg;
        const char *name = l->files->v[i] + strcspn(l->files->v[i], " ") + 1;
        const char *bucket = l->s->prefix + strlen("gs://");
        nb_auto_free char *url =
                nb_asprintf("gs://%.*s/%s", (int)strcspn(bucket, "/"), bucket, name);
        nb_auto_free char *number = nb_strndup(l->files->v[i], strcspn(l->files->v[i], " "));
        int64_t generation = 0;

        if (!url || !number)
                return no_memory(err);
        /* With its generation it is safe to say again. */
        (void)nb_parse_i64(number, 0, INT64_MAX, &generation, NULL);
        return blob_delete(l->s->blob, url, generation, done, done_arg, ret, err);
}

struct found {
        struct nb_strv names; /* "generation name" */
        bool done, more;
        struct nb_err err;
        bool failed;
};

static void each_object(void *arg, const struct blob_object *o)
{
        struct found *f = arg;

        (void)nb_strv_add_take(&f->names,
                               nb_asprintf("%lld %s", (long long)o->generation, o->name));
}

static void on_listed(void *arg, const struct blob_object *o, const struct nb_err *err)
{
        struct found *f = arg;

        f->done = true;
        f->more = err && err->code == NB_E_LIMIT;
        f->failed = err && !f->more;
        if (err)
                f->err = *err;
}

static int remove_some(struct submit *s, const char *prefix, struct found *f, struct nb_err *err)
{
        struct list l = {s, &f->names};
        struct blob_op *op;
        int r = blob_list(s->blob, prefix, REMOVE_MAX, each_object, on_listed, f, &op, err);
        if (r < 0)
                return r;
        r = cloud_wait(s, &f->done, true, err);
        if (!f->done)
                blob_cancel(op);
        else if (f->failed)
                r = nb_fail(err, f->err.code, "%s", f->err.msg);
        return r < 0 ? r
                     : crowd_run(&(struct crowd){.s = s,
                                                 .n = f->names.n,
                                                 .begin = begin_delete,
                                                 .arg = &l,
                                                 .anyway = true},
                                 err);
}

int objects_remove(struct submit *s, const char *prefix, struct nb_err *err)
{
        bool more = true;
        int r = 0;

        for (int round = 0; r == 0 && more && round <= FILES_MAX / REMOVE_MAX; round++) {
                struct found f = {0};

                r = remove_some(s, prefix, &f, err);
                more = f.more;
                nb_strv_done(&f.names);
        }
        return nb_wrap(err, r, "some of it stays at %s", prefix);
}
