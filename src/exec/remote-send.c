/* SPDX-License-Identifier: Apache-2.0 */

/* remote-send.c - stage, submit, find again, cancel */

#include <errno.h>
#include <fcntl.h>

#include <nbcid/log.h>
#include <nbcid/num.h>

#include "remote-priv.h"

#define UPLOAD_TRIES 5
#define LOSSES 5     /* of one run; each has cost some seconds */
#define FIND_TIMES 2 /* without a job: then there is none */
#define ROOM_PAUSE_US (300 * NB_US_PER_S)

/* ---- the notebook ---- */

static void on_uploaded(void *arg, const struct blob_object *o, const struct nb_err *err)
{
        struct far_run *u = arg;

        u->op = NULL;
        if (err) {
                far_finish(u, far_error_class(err), err->msg);
                return;
        }
        if (o)
                u->input_generation = o->generation;
        far_save_job(u, false);
        u->tries = 0;
        far_workspace(u);
}

/* Create only: what is there already is of a former process, and the same. */
void far_upload(struct far_run *u)
{
        nb_auto_free char *path = nb_asprintf("%s/input.ipynb", u->dir);
        nb_auto_fd int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        struct nb_err err;
        int r;

        if (u->record.there) {
                u->tries = 0;
                far_submit(u);
                return;
        }
        u->stage = FAR_UPLOAD;
        if (!far_may_send(u))
                return;
        r = fd < 0 ? nb_fail_errno(&err, errno, "%s", path ? path : u->dir)
                   : blob_put_file(u->far->blob,
                                   &(struct blob_put){.url = u->record.input,
                                                      .content_type = "application/x-ipynb+json"},
                                   fd, on_uploaded, u, &u->op, &err);
        if (r == 0)
                return;
        if (err.code == NB_E_BUSY && u->tries++ < UPLOAD_TRIES)
                loop_timer_arm(u->timer, gcp_backoff(NB_US_PER_S, u->tries, NULL));
        else
                far_finish(u, CLASS_INFRASTRUCTURE, err.msg);
}

/* ---- the job ---- */

static int ask(struct far_run *u, const struct gcp_request *r, gcp_call_fn done,
               struct gcp_call **ret, struct nb_err *err)
{
        return r->url ? gcp_call(u->far->gcp, r, done, u, ret, err)
                      : nb_fail(err, NB_E_NOMEM, "out of memory");
}

/* The job is ours from here on; the run may be gone when this answers. */
static void adopt(struct far_run *u, const struct far_job *j)
{
        nb_auto_free char *link = NULL;

        free(u->name);
        u->name = nb_strdup(j->name);
        if (!u->name) {
                far_finish(u, CLASS_INFRASTRUCTURE, "out of memory");
                return;
        }
        far_save_job(u, false);
        nb_log(LOG_INFO, "job submitted", NB_F_STR("ref", u->ref), NB_F_STR("name", u->name));
        far_watch(u);
        if (u->cancel_asked)
                far_send_cancel(u);
        if (u->far->kind->show_url)
                link = u->far->kind->show_url(u->far->cfg, u->name);
        (void)far_tell(u,
                       &(struct exec_event){.kind = EXEC_SUBMITTED, .name = u->name, .url = link});
}

/* The run may be gone when this answers. */
static void pause_submit(struct far_run *u, enum far_refusal why, const struct nb_err *err)
{
        const bool room = why == FAR_QUOTA || why == FAR_NO_ROOM;
        const uint64_t longest_us = room ? ROOM_PAUSE_US : FAR_PAUSE_MAX_US;
        uint64_t pause = gcp_backoff(u->far->cfg->vertex.poll_us, u->tries++, NULL);

        if (u->cancel_asked) {
                far_finish(u, CLASS_CANCELLED, "cancelled before there was room for it");
                return;
        }
        if (far_now_us(u->far) >= u->queue_until_us) {
                far_finish(u, room ? CLASS_CAPACITY : far_error_class(err), err->msg);
                return;
        }
        if (u->tries == 1)
                nb_log_err(LOG_INFO, err, "a job waits until it can be submitted",
                           NB_F_STR("ref", u->ref));
        far_sent(u);
        u->stage = FAR_PAUSE;
        loop_timer_arm(u->timer, pause < longest_us ? pause : longest_us);
        (void)far_tell(u, &(struct exec_event){.kind = EXEC_WAITS, .why = err->msg});
}

static void may_not(struct far_run *u, const struct nb_err *err)
{
        nb_auto_free char *text =
                nb_asprintf("%s: does %s have the roles of docs/google-cloud.md there, and is the "
                            "project right?",
                            err->msg, gcp_identity(u->far->gcp));

        far_finish(u, far_error_class(err), text ? text : err->msg);
}

static void submit_refused(struct far_run *u, const struct gcp_error *e, const struct nb_err *err)
{
        enum far_refusal why = u->far->kind->refusal(e->code, e->message);

        if (e->unsure) /* it may be there: a second one would cost a second time */
                far_find_begin(u);
        else if (why == FAR_NO_ROOM && !u->cancel_asked && far_place_next(u, e->message))
                return;
        else if (err->code == NB_E_BUSY ||
                 ((err->code == NB_E_REMOTE || err->code == NB_E_TIMEOUT) &&
                  u->tries < UPLOAD_TRIES))
                pause_submit(u, why, err);
        else if (err->code == NB_E_DENIED && !u->cancel_asked)
                may_not(u, err);
        else
                far_finish(u, u->cancel_asked ? CLASS_CANCELLED : far_error_class(err), err->msg);
}

static void on_submitted(void *arg, const struct http_in *resp, const struct gcp_error *e,
                         const struct nb_err *err)
{
        struct far_run *u = arg;
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        struct far_job j;

        u->call = NULL;
        u->asked = !err || e->unsure;
        if (err) {
                submit_refused(u, e, err);
                return;
        }
        tree = far_read_body(resp, NULL);
        if (tree && u->far->kind->read(nb_json_root(tree), &j) &&
            nb_streq(j.label, u->record.label))
                adopt(u, &j);
        else
                far_find_begin(u); /* it was taken, and we cannot read as what */
}

void far_submit(struct far_run *u)
{
        nb_auto_free char *url =
                u->far->kind->submit_url(u->far->cfg, u->record.project, u->record.here.at.region);
        struct nb_err err;

        u->stage = FAR_PAUSE;
        if (!far_turn(u, &u->far->submits)) {
                far_sent(u);
                return;
        }
        if (!far_may_send(u)) {
                u->paced = true;
                return;
        }
        u->stage = FAR_SUBMIT;
        u->asked = true;
        if (ask(u,
                &(struct gcp_request){.method = "POST",
                                      .url = url,
                                      .body = u->record.here.body,
                                      .n_body = strlen(u->record.here.body)},
                on_submitted, &u->call, &err) < 0)
                far_finish(u, CLASS_INFRASTRUCTURE, err.msg);
}

/* ---- was it submitted? ---- */

/* Is a the one to keep, and not b?  One that was cancelled was a second one;
 * else the older one. */
static bool is_better(const struct far_job *a, const struct far_job *b)
{
        if (!b->name || (a->state == FAR_CANCELLED) != (b->state == FAR_CANCELLED))
                return !b->name || b->state == FAR_CANCELLED;
        return strcmp(a->created ? a->created : "", b->created ? b->created : "") < 0;
}

void far_find_begin(struct far_run *u)
{
        far_sent(u);
        u->stage = FAR_FIND;
        u->asked = true;
        u->finds = 0;
        loop_timer_arm(u->timer, u->far->cfg->vertex.poll_us);
}

static void found_none(struct far_run *u)
{
        if (++u->finds < FIND_TIMES)
                loop_timer_arm(u->timer, far_lost_us(u->far));
        else if (u->cancel_asked)
                far_finish(u, CLASS_CANCELLED, "cancelled before it was submitted");
        else if (++u->losses > LOSSES)
                far_finish(u, CLASS_INFRASTRUCTURE,
                           "every submission was lost on its way to the service");
        else
                far_upload(u);
}

static void on_found(void *arg, const struct http_in *resp, const struct gcp_error *e,
                     const struct nb_err *err)
{
        struct far_run *u = arg;
        struct far *x = u->far;
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        const struct nb_json *list;
        struct far_job j, best = {0};
        struct nb_err why;
        const char *token;

        u->call = NULL;
        if (!err)
                tree = far_read_body(resp, &why);
        if (!tree) { /* no answer is not an answer: the job may be there */
                nb_log_err(x->poll.trouble ? LOG_DEBUG : LOG_WARNING, err ? err : &why,
                           "it cannot be asked whether a job was submitted; trying again",
                           NB_F_STR("ref", u->ref));
                x->poll.trouble = true;
                if (far_is_overdue(u))
                        far_finish_overdue(u);
                else if (far_now_us(x) >= u->queue_until_us)
                        far_finish(u, CLASS_LOST, err ? err->msg : why.msg);
                else
                        loop_timer_arm(u->timer, gcp_backoff(x->cfg->vertex.poll_us, 3, NULL));
                return;
        }
        x->poll.trouble = false;
        list = x->kind->read_list(nb_json_root(tree), &token);
        for (size_t i = 0; i < nb_json_size(list); i++)
                if (x->kind->read(nb_json_index(list, i), &j) &&
                    nb_streq(j.label, u->record.label) && is_better(&j, &best))
                        best = j;
        if (!best.name && token && ++u->find_pages < FAR_FIND_PAGES) {
                far_find(u, token);
                return;
        }
        if (!best.name && token) { /* to the end, or it is no answer */
                if (far_now_us(x) >= u->queue_until_us)
                        far_finish(u, CLASS_LOST, "the service's list of jobs does not end");
                else
                        loop_timer_arm(u->timer, FAR_PAUSE_MAX_US);
                return;
        }
        if (!best.name) {
                found_none(u);
                return;
        }
        for (size_t i = 0; i < nb_json_size(list); i++)
                if (x->kind->read(nb_json_index(list, i), &j) &&
                    nb_streq(j.label, u->record.label) && !nb_streq(j.name, best.name) &&
                    !far_state_final(j.state))
                        far_cancel_extra(x, j.name);
        adopt(u, &best);
}

void far_find(struct far_run *u, const char *token)
{
        nb_auto_free char *url =
                u->far->kind->find_url(u->far->cfg, u->record.project, u->record.here.at.region,
                                       u->record.label, (int)u->record.place, token);
        struct nb_err err;

        if (ask(u, &(struct gcp_request){.method = "GET", .url = url, .idempotent = true}, on_found,
                &u->call, &err) < 0)
                loop_timer_arm(u->timer, FAR_PAUSE_MAX_US);
}

/* ---- cancelling ---- */

static void on_cancelled(void *arg, const struct http_in *resp, const struct gcp_error *e,
                         const struct nb_err *err)
{
        struct far_run *u = arg;

        u->cancel_call = NULL;
        /* Over already, or not there: the next look says which. */
        if (err && err->code != NB_E_INVALID && err->code != NB_E_NOTFOUND &&
            err->code != NB_E_CONFLICT) {
                nb_log_err(LOG_WARNING, err, "a job could not be cancelled; trying again",
                           NB_F_STR("ref", u->ref));
                if (u->stage == FAR_WATCH)
                        loop_timer_arm(u->timer, gcp_backoff(u->far->cfg->vertex.poll_us, 1, NULL));
                return;
        }
        far_poll_soon(u->far);
}

void far_send_cancel(struct far_run *u)
{
        nb_auto_free char *url = u->far->kind->cancel_url(u->far->cfg, u->name);
        struct nb_err err;

        if (u->cancel_call)
                return;
        if (ask(u,
                &(struct gcp_request){.method = "POST",
                                      .url = url,
                                      .body = "{}",
                                      .n_body = 2,
                                      .idempotent = true},
                on_cancelled, &u->cancel_call, &err) < 0)
                loop_timer_arm(u->timer, u->far->cfg->vertex.poll_us);
}

struct far_extra {
        struct far *far;
        struct far_extra *next;
        struct gcp_call *call;
};

static void extra_free(struct far_extra *e)
{
        struct far_extra **at = &e->far->extras;

        while (*at != e)
                at = &(*at)->next;
        *at = e->next;
        gcp_call_cancel(e->call);
        free(e);
}

static void on_extra(void *arg, const struct http_in *resp, const struct gcp_error *e,
                     const struct nb_err *err)
{
        struct far_extra *x = arg;

        x->call = NULL;
        if (err)
                nb_log_err(LOG_WARNING, err, "a job that nobody waits for could not be cancelled");
        extra_free(x);
}

void far_cancel_extra(struct far *x, const char *name)
{
        nb_auto_free char *url = x->kind->cancel_url(x->cfg, name);
        struct far_extra *e = calloc(1, sizeof(*e));
        struct nb_err err;

        if (!e)
                return;
        nb_log(LOG_WARNING, "a job that nobody waits for is ended", NB_F_STR("name", name));
        e->far = x;
        e->next = x->extras;
        x->extras = e;
        if (!url || gcp_call(x->gcp,
                             &(struct gcp_request){.method = "POST",
                                                   .url = url,
                                                   .body = "{}",
                                                   .n_body = 2,
                                                   .idempotent = true},
                             on_extra, e, &e->call, &err) < 0)
                extra_free(e);
}

void far_extras_done(struct far *x)
{
        while (x->extras)
                extra_free(x->extras);
}
