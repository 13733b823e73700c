/* SPDX-License-Identifier: Apache-2.0 */

/*
 * remote-workspace.c - the rest of the checkout goes along with the notebook
 *
 * As one archive or file by file.  What a former process has put there already
 * is the same again, so that all of it can be sent once more.
 */

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <sys/stat.h>

#include <nbcid/log.h>
#include <nbcid/num.h>

#include "remote-priv.h"

#define FOLDER_FILES 10000 /* more belong into an archive */
#define ARCHIVE_FILES 1000000
#define FOLDER_OPS 8
#define TRIES 5

struct slot {
        struct far_staging *staging;
        struct blob_op *op;
};

struct far_staging {
        struct loop_work work; /* first; on the pool while it walks */
        struct far_run *run;   /* NULL: cancelled meanwhile */
        char *dir;
        bool list; /* the names are wanted */
        uint64_t max, bytes;
        size_t n, max_n;
        struct nb_strv names; /* below dir */
        int r;
        struct nb_err err;
        bool walking;

        size_t next;
        unsigned flying, tries;
        struct slot slots[FOLDER_OPS];
        struct loop_source *timer;
};

static void staging_free(struct far_staging *s)
{
        loop_source_free(s->timer);
        nb_strv_done(&s->names);
        free(s->dir);
        free(s);
}

void far_staging_cancel(struct far_staging *s)
{
        if (!s)
                return;
        for (; s->flying > 1; s->flying--)
                far_sent_more(s->run->far);
        s->run = NULL;
        if (s->walking) {
                atomic_store(&s->work.cancel, true);
                return;
        }
        for (size_t i = 0; i < FOLDER_OPS; i++)
                blob_cancel(s->slots[i].op);
        staging_free(s);
}

static void staging_end(struct far_run *u, enum run_class class, const char *reason)
{
        far_staging_cancel(NB_TAKE(u->staging));
        far_finish(u, class, reason);
}

/* ---- on the pool: what is there? ---- */

static int count_file(struct far_staging *s, const FTSENT *e)
{
        const char *name = e->fts_path + strlen(s->dir) + 1;

        s->bytes += (uint64_t)e->fts_statp->st_size;
        s->n++;
        if (s->bytes > s->max)
                return nb_fail(&s->err, NB_E_LIMIT,
                               "the checkout has more than the %llu MiB of max_workspace of the "
                               "executor; say workspace = \"none\" in .nbcid.toml, or take large "
                               "files out of the repository",
                               (unsigned long long)(s->max >> 20));
        if (s->n > s->max_n)
                return nb_fail(&s->err, NB_E_LIMIT,
                               "the checkout has more than %zu files; say workspace = \"%s\" in "
                               ".nbcid.toml",
                               s->max_n, s->list ? "archive" : "none");
        if (s->list && nb_strv_add(&s->names, name) < 0)
                return nb_fail(&s->err, NB_E_NOMEM, "out of memory");
        return 0;
}

static void walk_run(struct loop_work *w)
{
        struct far_staging *s = (struct far_staging *)w;
        char *const roots[] = {s->dir, NULL};
        FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);

        if (!fts) {
                s->r = nb_fail_errno(&s->err, errno, "%s", s->dir);
                return;
        }
        for (FTSENT *e; s->r == 0 && !atomic_load(&s->work.cancel);) {
                errno = 0;
                e = fts_read(fts);
                if (!e) {
                        if (errno)
                                s->r = nb_fail_errno(&s->err, errno, "%s", s->dir);
                        break;
                }
                if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS)
                        s->r = nb_fail_errno(&s->err, e->fts_errno, "%s", e->fts_path);
                else if (e->fts_info == FTS_F) /* links have no object to be */
                        s->r = count_file(s, e);
        }
        (void)fts_close(fts);
}

/* ---- a folder, file by file ---- */

static void send_more(struct far_staging *s);

static void on_file(void *arg, const struct blob_object *o, const struct nb_err *err)
{
        struct slot *slot = arg;
        struct far_staging *s = slot->staging;
        struct far_run *u = s->run;

        slot->op = NULL;
        if (s->flying-- > 1)
                far_sent_more(u->far);
        if (err) {
                staging_end(u, far_error_class(err), err->msg);
                return;
        }
        send_more(s);
}

static int send_file(struct far_staging *s, const char *name, struct slot *slot, struct nb_err *err)
{
        nb_auto_free char *path = nb_asprintf("%s/%s", s->dir, name);
        nb_auto_free char *url = nb_asprintf("%s%s", s->run->record.workspace, name);
        nb_auto_fd int fd = path ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
        int r;

        if (!path || !url)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        if (fd < 0)
                return nb_fail_errno(err, errno, "%s", path);
        r = blob_put_file(s->run->far->blob, &(struct blob_put){.url = url}, fd, on_file, slot,
                          &slot->op, err);
        if (r < 0 && err->code == NB_E_INVALID)
                return nb_wrap(err, r,
                               "%s cannot be the name of an object; say workspace = \"archive\" "
                               "in .nbcid.toml",
                               name);
        return r;
}

static void send_more(struct far_staging *s)
{
        struct far_run *u = s->run;
        struct nb_err err;

        while (s->next < s->names.n && s->flying < FOLDER_OPS &&
               (s->flying == 0 || far_may_send_more(u->far))) {
                size_t i = 0;

                while (s->slots[i].op)
                        i++;
                s->slots[i].staging = s;
                if (send_file(s, s->names.v[s->next], &s->slots[i], &err) == 0) {
                        s->next++;
                        s->flying++;
                        s->tries = 0;
                        continue;
                }
                if (s->flying > 0)
                        far_sent_more(u->far);
                if (err.code == NB_E_BUSY && s->flying > 0) {
                        return; /* the next one that arrives makes room */
                } else if (err.code == NB_E_BUSY && s->tries++ < TRIES) {
                        loop_timer_arm(s->timer, gcp_backoff(NB_US_PER_S, s->tries, NULL));
                        return;
                } else {
                        staging_end(u,
                                    err.code == NB_E_INVALID ? CLASS_CHECK : CLASS_INFRASTRUCTURE,
                                    err.msg);
                        return;
                }
        }
        if (s->next < s->names.n || s->flying > 0)
                return;
        far_staging_cancel(NB_TAKE(u->staging));
        far_submit(u);
}

static void on_timer(void *arg)
{
        send_more(arg);
}

/* ---- an archive ---- */

static void on_archived(void *arg, const struct blob_object *o, const struct nb_err *err)
{
        struct far_run *u = arg;

        u->op = NULL;
        if (err)
                far_finish(u, far_error_class(err), err->msg);
        else
                far_submit(u);
}

static void send_archive(struct far_run *u)
{
        struct nb_err err;

        if (blob_put_tree(u->far->blob,
                          &(struct blob_put){.url = u->record.workspace,
                                             .content_type = "application/x-tar"},
                          u->record.workspace_dir, on_archived, u, &u->op, &err) < 0)
                far_finish(u, err.code == NB_E_INVALID ? CLASS_CHECK : CLASS_INFRASTRUCTURE,
                           err.msg);
}

static void walk_done(struct loop_work *w)
{
        struct far_staging *s = (struct far_staging *)w;
        struct far_run *u = s->run;

        s->walking = false;
        if (!u) {
                staging_free(s);
                return;
        }
        if (s->r < 0) {
                nb_auto_free char *why = nb_strdup(s->err.msg);

                staging_end(u, s->err.code == NB_E_LIMIT ? CLASS_CHECK : CLASS_INFRASTRUCTURE,
                            why ? why : "out of memory");
        } else if (s->list) {
                send_more(s);
        } else {
                far_staging_cancel(NB_TAKE(u->staging));
                send_archive(u);
        }
}

void far_workspace(struct far_run *u)
{
        struct far_staging *s;
        struct nb_err err;
        int r;

        if (u->record.workspace_kind == WORKSPACE_NONE) {
                far_submit(u);
                return;
        }
        s = calloc(1, sizeof(*s));
        if (!s) {
                far_finish(u, CLASS_INFRASTRUCTURE, "out of memory");
                return;
        }
        s->work.run = walk_run;
        s->work.done = walk_done;
        s->run = u;
        s->list = u->record.workspace_kind == WORKSPACE_FOLDER;
        s->max = u->far->cfg->vertex.max_workspace;
        s->max_n = s->list ? FOLDER_FILES : ARCHIVE_FILES;
        s->dir = nb_strdup(u->record.workspace_dir);
        u->staging = s;
        r = s->dir ? loop_timer(u->far->deps.loop, on_timer, s, &s->timer, &err)
                   : nb_fail(&err, NB_E_NOMEM, "out of memory");
        if (r == 0)
                r = loop_submit(u->far->deps.loop, &s->work, &err);
        if (r < 0)
                staging_end(u, CLASS_INFRASTRUCTURE, err.msg);
        else
                s->walking = true;
}
