/* SPDX-License-Identifier: Apache-2.0 */

/* remote-end.c - a job ended: read its notebook back */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <nbcid/log.h>
#include <nbcid/num.h>

#include "remote-priv.h"

#define FETCH_US (6 * 3600 * NB_US_PER_S) /* a result that took hours is worth the wait */

/* All places of the history, without what was said there. */
static void say_places(struct far_run *u)
{
        nb_auto_buf b = NB_BUF(sizeof(u->end.reason) - 1);
        const char *last = "";

        for (const char *p = u->record.history; *p; p += strcspn(p, "\n"), p += *p == '\n') {
                (void)nb_buf_printf(&b, "%s%.*s",
                                    b.len ? ", " : "no machine was free: ", (int)strcspn(p, ":\n"),
                                    p);
                last = p + strcspn(p, ":\n");
        }
        if (!b.failed && nb_buf_printf(&b, "%.*s", (int)strcspn(last, "\n"), last) == 0)
                (void)nb_fmt(u->end.reason, sizeof(u->end.reason), "%s", nb_buf_str(&b));
}

void far_ended(struct far_run *u, const struct far_job *j)
{
        u->far->kind->end(j, u->cancel_asked, u->record.timeout_us, &u->end);
        if (u->gave_up && !u->cancel_asked && u->end.class == CLASS_CANCELLED) {
                u->end.class = CLASS_CAPACITY;
                (void)nb_fmt(u->end.reason, sizeof(u->end.reason),
                             "no machine was free for it in time (queue_timeout)");
        }
        far_save_job(u, true);
        free(u->created);
        u->created = nb_strdup(j->created);
        if (u->end.no_room && !u->cancel_asked && !u->gave_up &&
            far_place_next(u, j->message ? j->message : u->end.reason)) {
                gcp_call_cancel(NB_TAKE(u->cancel_call));
                return;
        }
        gcp_call_cancel(NB_TAKE(u->cancel_call));
        loop_timer_arm(u->timer, UINT64_MAX);
        if (u->end.no_room && u->record.history)
                say_places(u);
        /* What never ran has left nothing. */
        if (u->end.look || j->started)
                far_fetch(u);
        else
                far_look(u);
}

static void fetched(struct far_run *u)
{
        nb_auto_free char *from = nb_asprintf("%s/executed.part", u->dir);
        nb_auto_free char *to = nb_asprintf("%s/executed.ipynb", u->dir);

        nb_closep(&u->fd);
        u->fd = -1;
        u->has_output = from && to && rename(from, to) == 0;
        far_log(u);
}

/* false: it is not worth while, or no longer. */
static bool fetch_again(struct far_run *u, const struct nb_err *err)
{
        if (u->end.class == CLASS_CANCELLED || u->cancel_asked ||
            far_now_us(u->far) >= u->fetch_until_us)
                return false;
        if (u->fetches++ == 0)
                nb_log_err(LOG_WARNING, err, "a notebook cannot be read back; trying again",
                           NB_F_STR("ref", u->ref));
        loop_timer_arm(u->timer, gcp_backoff(NB_US_PER_S, u->fetches, NULL));
        return true;
}

static void on_fetched(void *arg, const struct blob_object *o, const struct nb_err *err)
{
        struct far_run *u = arg;
        int64_t before = u->input_generation > u->record.newer_than ? u->input_generation
                                                                    : u->record.newer_than;

        u->op = NULL;
        if (!err && o && o->generation <= before) {
                far_finish(u, CLASS_INFRASTRUCTURE,
                           "the notebook at the output's address is older than the input");
        } else if (!err) {
                fetched(u);
        } else if (nb_errc_policy(err->code)->retry && fetch_again(u, err)) {
                return;
        } else if (err->code == NB_E_NOTFOUND || u->end.class == CLASS_CANCELLED) {
                far_log(u);                   /* there is none, or nobody needs it */
        } else if (err->code == NB_E_LIMIT) { /* the notebook's own doing, and so again */
                u->too_large = true;
                (void)nb_fmt(u->end.reason, sizeof(u->end.reason),
                             "its outputs are over the limit: write less, or raise max_output of "
                             "[limits]: %s",
                             err->msg);
                far_log(u);
        } else {
                far_finish(u, far_error_class(err), err->msg);
        }
}

#define METADATA_BYTES ((uint64_t)64 << 10) /* that whatever runs a notebook adds */
#define UNSEEN_BYTES (256 << 20)            /* of one that ran where it was */

uint64_t far_most_bytes(const struct far_run *u)
{
        nb_auto_free char *path = nb_asprintf("%s/input.ipynb", u->dir);
        struct stat st;

        if (!path || stat(path, &st) < 0)
                st.st_size = u->record.there ? UNSEEN_BYTES : 0;
        return (uint64_t)st.st_size + u->record.max_output + METADATA_BYTES;
}

void far_fetch(struct far_run *u)
{
        nb_auto_free char *path = nb_asprintf("%s/executed.part", u->dir);
        struct nb_err err;
        int r;

        u->stage = FAR_FETCH;
        if (!far_may_send(u))
                return;
        if (u->fetch_until_us == 0)
                u->fetch_until_us = far_now_us(u->far) + FETCH_US;
        nb_closep(&u->fd);
        u->fd = path ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
        r = u->fd < 0 ? nb_fail_errno(&err, errno, "%s", u->dir)
                      : blob_get_file(u->far->blob, u->record.output, 0, far_most_bytes(u), u->fd,
                                      on_fetched, u, &u->op, &err);
        /* Descriptors, memory or the disk are used up here, which passes. */
        if (r < 0 && (err.code == NB_E_INVALID || !fetch_again(u, &err)))
                far_finish(u, CLASS_INFRASTRUCTURE, err.msg);
}
