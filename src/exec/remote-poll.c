/* SPDX-License-Identifier: Apache-2.0 */

/*
 * remote-poll.c - one look at all jobs, again and again
 *
 * The list has those that live; whoever is missing in it has ended, was
 * deleted, or is too new for it, and is asked for by its name, which the
 * service answers from its own records.  So a list stays as short as what is
 * in flight, whatever has ended before.
 */

#include <nbcid/log.h>
#include <nbcid/num.h>

#include "remote-priv.h"

#define PAGE_US (600 * NB_US_PER_MS) /* a page on average: under 2 requests a second */

struct nb_json_tree *far_read_body(const struct http_in *resp, struct nb_err *err)
{
        static const struct nb_json_limits limits = {.bytes = 8 << 20, .depth = 32};
        struct nb_json_tree *tree = NULL;

        return nb_json_read(resp->body, resp->n_body, &limits, &tree, NULL, err) < 0 ? NULL : tree;
}

static void arm(struct far *x, uint64_t in_us)
{
        x->due_us = far_now_us(x) + in_us;
        loop_timer_arm(x->tick, in_us);
}

void far_poll_soon(struct far *x)
{
        x->pause_us = x->cfg->vertex.poll_us;
        if (x->list) {
                x->changed = true;
                return;
        }
        if (x->due_us == 0 || x->due_us > far_now_us(x) + x->pause_us)
                arm(x, x->pause_us);
}

static void again(struct far *x, bool trouble)
{
        uint64_t pause = x->changed ? x->cfg->vertex.poll_us : x->pause_us + x->pause_us / 2;

        if (trouble && pause < 2 * x->pause_us)
                pause = 2 * x->pause_us;
        if (pause > FAR_PAUSE_MAX_US)
                pause = FAR_PAUSE_MAX_US;
        if (x->pages > 1 && pause < x->pages * PAGE_US)
                pause = x->pages * PAGE_US;
        x->pause_us = pause;
        x->changed = false;
        arm(x, pause);
}

void far_watch(struct far_run *u)
{
        u->stage = FAR_WATCH;
        u->since = u->far->round;
        u->state = FAR_WAITING;
        far_poll_soon(u->far);
}

bool far_is_overdue(const struct far_run *u)
{
        return (u->cancel_asked || u->gave_up) && far_now_us(u->far) > u->cancel_until_us;
}

/* What there may be is ended by forget(), which does not give up. */
void far_finish_overdue(struct far_run *u)
{
        if (u->cancel_asked)
                far_finish(u, CLASS_CANCELLED, "cancelled; the service has not ended it yet");
        else
                far_finish(u, CLASS_INFRASTRUCTURE,
                           "no machine was free for it in time (queue_timeout); the service has "
                           "not ended it yet");
}

/* The run may be gone when it answers. */
static void take(struct far_run *u, const struct far_job *j)
{
        struct far *x = u->far;

        if (j->state != u->state) {
                x->changed = true;
                u->state = j->state;
        }
        if (far_state_final(j->state)) {
                far_ended(u, j);
                return;
        }
        if (j->state == FAR_RUNNING && !u->told_running) {
                u->told_running = true;
                if (!far_tell(u, &(struct exec_event){.kind = EXEC_RUNNING}))
                        return;
        }
        if (far_is_overdue(u)) {
                far_finish_overdue(u);
        } else if (j->state == FAR_WAITING && !u->gave_up && far_now_us(x) > u->queue_until_us) {
                u->gave_up = true;
                if (!u->cancel_asked)
                        u->cancel_until_us = far_now_us(x) + far_cancel_us(x);
                far_send_cancel(u);
        }
}

/* ---- one by one ---- */

static void ask_missing(struct far *x);

static void on_get(void *arg, const struct http_in *resp, const struct gcp_error *e,
                   const struct nb_err *err)
{
        struct far_run *u = arg;
        struct far *x = u->far;
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        struct far_job j;

        u->call = NULL;
        u->seen = x->round;
        x->n_gets--;
        if (err && e && e->http == 404)
                far_finish(u, u->cancel_asked ? CLASS_CANCELLED : CLASS_LOST,
                           "the job was deleted by somebody else before it had told its result");
        else if (!err)
                tree = far_read_body(resp, NULL);
        if (tree && x->kind->read(nb_json_root(tree), &j))
                take(u, &j);
        ask_missing(x);
}

static void get_one(struct far_run *u)
{
        struct far *x = u->far;
        nb_auto_free char *url = x->kind->job_url(x->cfg, u->name);
        struct nb_err err;

        if (url &&
            gcp_call(x->gcp, &(struct gcp_request){.method = "GET", .url = url, .idempotent = true},
                     on_get, u, &u->call, &err) == 0)
                x->n_gets++;
}

static void ask_missing(struct far *x)
{
        if (x->list)
                return;
        for (struct far_run *u = x->runs; u && x->n_gets < FAR_GETS; u = u->next)
                if (u->stage == FAR_WATCH && !u->call && u->since < x->round && u->seen < x->round)
                        get_one(u);
}

/* ---- all at once ---- */

static void list_page(struct far *x, const char *token);

static struct far_run *run_of(struct far *x, const char *label)
{
        for (struct far_run *u = x->runs; u; u = u->next)
                if (nb_streq(u->record.label, label))
                        return u;
        return NULL;
}

static void take_listed(struct far *x, const struct nb_json *v)
{
        struct far_job j;
        struct far_run *u;

        if (!x->kind->read(v, &j))
                return;
        u = run_of(x, j.label);
        if (!u || u->stage != FAR_WATCH || u->call)
                return;
        if (!nb_streq(u->name, j.name)) {
                /* A list that lagged behind hid the first one from us. */
                if (!far_state_final(j.state))
                        far_cancel_extra(x, j.name);
                return;
        }
        u->seen = x->round;
        take(u, &j);
}

/* The service is asked region by region, in their order; most often there is
 * one.  false: that was the last. */
static bool next_region(struct far *x)
{
        const char *next = NULL;

        for (const struct far_run *u = x->runs; u; u = u->next) {
                const char *region = u->record.here.at.region;

                if (u->stage == FAR_WATCH && (!x->region || strcmp(region, x->region) > 0) &&
                    (!next || strcmp(region, next) < 0))
                        next = region;
        }
        free(x->region);
        x->region = nb_strdup(next);
        return x->region != NULL;
}

static void on_list(void *arg, const struct http_in *resp, const struct gcp_error *e,
                    const struct nb_err *err)
{
        struct far *x = arg;
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        const struct nb_json *list;
        const char *token = NULL;
        struct nb_err why;

        x->list = NULL;
        tree = err ? NULL : far_read_body(resp, &why);
        if (!tree) {
                nb_log_err(x->trouble ? LOG_DEBUG : LOG_WARNING, err ? err : &why,
                           "jobs could not be looked at; trying again",
                           NB_F_STR("executor", x->cfg->name));
                x->trouble = true;
                again(x, true);
                return;
        }
        x->trouble = false;
        x->pages++;
        list = x->kind->read_list(nb_json_root(tree), &token);
        for (size_t i = 0; i < nb_json_size(list); i++)
                take_listed(x, nb_json_index(list, i));
        if (token || next_region(x)) {
                list_page(x, token);
                return;
        }
        ask_missing(x);
        again(x, false);
}

static void list_page(struct far *x, const char *token)
{
        nb_auto_free char *url = x->kind->alive_url(x->cfg, x->region, x->group, token);
        struct nb_err err;

        if (!url ||
            gcp_call(x->gcp, &(struct gcp_request){.method = "GET", .url = url, .idempotent = true},
                     on_list, x, &x->list, &err) < 0)
                again(x, true);
}

void far_tick(void *arg)
{
        struct far *x = arg;
        struct far_run *u;

        x->due_us = 0;
        /* Also while the service answers nothing. */
        for (u = x->runs; u; u = u->next)
                if (u->stage == FAR_WATCH && !u->call && far_is_overdue(u))
                        far_finish_overdue(u);
        u = x->runs;
        while (u && u->stage != FAR_WATCH)
                u = u->next;
        if (!u || x->list)
                return; /* far_watch() comes again */
        free(x->group);
        x->group = nb_strdup(u->record.group);
        x->round++;
        x->pages = 0;
        free(x->region);
        x->region = NULL;
        if (x->group && next_region(x))
                list_page(x, NULL);
        else
                again(x, true);
}
