/* SPDX-License-Identifier: Apache-2.0 */

/*
 * remote-poll.c - one look at all jobs, again and again
 *
 * The list has those that live; whoever is missing in it has ended, was
 * deleted, or is too new for it, and is asked for by its name, which the
 * service answers from its own records.  So a list stays as short as what is
 * in flight, whatever has ended before.
 *
 * Pages and questions for single jobs share one allowance, and take turns in
 * using it, so that neither a list of a hundred pages nor a thousand ends at
 * once make us go over the service's quota: the looks become rarer instead.
 */

#include <nbcid/log.h>
#include <nbcid/num.h>

#include "remote-priv.h"

#define PAGES_MAX 10000 /* a list that does not end is none */
#define CHAINS_MIN 64
#define NOTFOUND_CODE 5 /* google.rpc.Code; a 404 without one is not the service's */

struct nb_json_tree *far_read_body(const struct http_in *resp, struct nb_err *err)
{
        /* A notebook may log any JSON; a page of jobs has some thousand values. */
        static const struct nb_json_limits limits = {
                .bytes = 8 << 20, .depth = 32, .values = 100000};
        struct nb_json_tree *tree = NULL;

        return nb_json_read(resp->body, resp->n_body, &limits, &tree, NULL, err) < 0 ? NULL : tree;
}

/* ---- those that are watched ---- */

/* FNV-1a; labels are ours, so that nobody chooses them to collide. */
static struct far_run **chain_of(struct far_poll *p, const char *label)
{
        uint64_t h = 0xcbf29ce484222325;

        for (; *label; label++)
                h = (h ^ (uint8_t)*label) * 0x100000001b3;
        return &p->by_label[(h ^ (h >> 32)) & (p->n_chains - 1)];
}

static void chain(struct far_poll *p, struct far_run *u)
{
        struct far_run **at = chain_of(p, u->record.label);

        u->chain = *at;
        *at = u;
}

/* Long chains are slow, and no reason to give up: memory may be had later. */
static void grow(struct far_poll *p)
{
        struct far_run **before = p->by_label, *next;
        size_t n = p->n_chains;
        struct far_run **more = nb_alloc_array(2 * n, sizeof(struct far_run *));

        if (!more)
                return;
        p->by_label = more;
        p->n_chains = 2 * n;
        for (size_t i = 0; i < n; i++)
                for (struct far_run *u = before[i]; u; u = next) {
                        next = u->chain;
                        chain(p, u);
                }
        free(before);
}

static struct far_run *watched(struct far_poll *p, const char *label)
{
        struct far_run *u = *chain_of(p, label);

        while (u && !nb_streq(u->record.label, label))
                u = u->chain;
        return u;
}

static void set_missing(struct far_run *u, bool missing)
{
        u->far->poll.n_missing += (unsigned)missing - (unsigned)u->missing;
        u->missing = missing;
}

void far_unwatch(struct far_run *u)
{
        struct far_poll *p = &u->far->poll;
        struct far_run **at;

        if (u->stage == FAR_WATCH && u->call)
                p->n_gets--;
        set_missing(u, false);
        if (!u->watched)
                return;
        at = chain_of(p, u->record.label);
        while (*at != u)
                at = &(*at)->chain;
        *at = u->chain;
        u->watched = false;
        p->n--;
}

/* ---- when ---- */

static void step(void *arg);

static void step_in(struct far *x, uint64_t in_us)
{
        loop_timer_arm(x->poll.timer, in_us);
}

void far_poll_soon(struct far *x)
{
        struct far_poll *p = &x->poll;
        uint64_t due = far_now_us(x) + x->cfg->vertex.poll_us;

        p->pause_us = x->cfg->vertex.poll_us;
        p->changed = true;
        if (!p->looking && (p->due_us == 0 || p->due_us > due)) {
                p->due_us = due;
                step_in(x, 0);
        }
}

/* The look is over.  A long one was its own pause. */
static void again(struct far *x, bool trouble)
{
        struct far_poll *p = &x->poll;
        uint64_t least = x->cfg->vertex.poll_us, now = far_now_us(x);
        uint64_t pause = p->changed ? least : p->pause_us + p->pause_us / 2;

        if (trouble && pause < 2 * p->pause_us)
                pause = 2 * p->pause_us;
        if (pause > FAR_PAUSE_MAX_US)
                pause = FAR_PAUSE_MAX_US;
        p->pause_us = pause;
        p->changed = p->looking = false;
        free(NB_TAKE(p->token));
        p->due_us = p->began_us + pause;
        if (p->due_us < now + least)
                p->due_us = now + least;
        step_in(x, 0);
}

void far_watch(struct far_run *u)
{
        struct far_poll *p = &u->far->poll;

        far_sent(u);
        u->stage = FAR_WATCH;
        u->since = p->round;
        u->state = FAR_WAITING;
        set_missing(u, false);
        /* Ten thousand of these are in flight, and the record has it. */
        free(NB_TAKE(u->record.here.body));
        if (!p->group) /* one for all: of this installation */
                p->group = nb_strdup(u->record.group);
        if (!u->watched) {
                if (p->n >= p->n_chains)
                        grow(p);
                chain(p, u);
                u->watched = true;
                p->n++;
        }
        far_poll_soon(u->far);
}

/* ---- what a job's state means ---- */

bool far_is_overdue(const struct far_run *u)
{
        return (u->cancel_asked || u->gave_up) && far_now_us(u->far) > u->cancel_until_us;
}

/* What there may be is ended by forget(), which does not give up. */
void far_finish_overdue(struct far_run *u)
{
        if (u->cancel_asked)
                far_finish(u, CLASS_CANCELLED, "cancelled; the service has not ended it yet");
        else if (u->runs_over)
                far_finish(u, CLASS_TIMEOUT,
                           "its time was over, and the service has not ended it yet");
        else
                far_finish(u, CLASS_INFRASTRUCTURE,
                           "no machine was free for it in time (queue_timeout); the service has "
                           "not ended it yet");
}

static bool is_late(struct far_run *u)
{
        uint64_t now = far_now_us(u->far);

        if (u->state == FAR_RUNNING && u->run_until_us == 0)
                u->run_until_us = now + u->record.timeout_us + far_over_us(u->far);
        u->runs_over = u->state == FAR_RUNNING && now > u->run_until_us;
        return u->runs_over || (u->state == FAR_WAITING && now > u->queue_until_us);
}

/* The run may be gone when it answers. */
static void take(struct far_run *u, const struct far_job *j)
{
        struct far *x = u->far;

        if (j->state != u->state) {
                x->poll.changed = true;
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
        } else if (!u->gave_up && is_late(u)) {
                u->gave_up = true;
                if (!u->cancel_asked)
                        u->cancel_until_us = far_now_us(x) + far_cancel_us(x);
                far_send_cancel(u);
        }
}

static void say_trouble(struct far *x, const struct nb_err *err)
{
        nb_log_err(x->poll.trouble ? LOG_DEBUG : LOG_WARNING, err,
                   "jobs could not be looked at; trying again", NB_F_STR("executor", x->cfg->name));
        x->poll.trouble = true;
}

/* ---- one by one ---- */

static void on_get(void *arg, const struct http_in *resp, const struct gcp_error *e,
                   const struct nb_err *err)
{
        struct far_run *u = arg;
        struct far *x = u->far;
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        struct far_job j;

        u->call = NULL;
        set_missing(u, false);
        u->seen = x->poll.round;
        x->poll.n_gets--;
        if (err && e && e->http == 404 && e->code == NOTFOUND_CODE)
                far_finish(u, u->cancel_asked ? CLASS_CANCELLED : CLASS_LOST,
                           "the job was deleted by somebody else before it had told its result; "
                           "run it again, and let nobody delete jobs that have not ended");
        else if (err && err->code == NB_E_NOTFOUND) /* says a proxy, or a wrong api_url */
                say_trouble(x, err);
        else if (!err)
                tree = far_read_body(resp, NULL);
        if (tree && x->kind->read(nb_json_root(tree), &j))
                take(u, &j);
        step_in(x, 0);
}

static struct far_run *next_missing(const struct far *x)
{
        if (x->poll.n_missing == 0 || x->poll.n_gets >= FAR_GETS)
                return NULL;
        for (struct far_run *u = x->runs; u; u = u->next)
                if (u->missing && u->stage == FAR_WATCH && !u->call)
                        return u;
        return NULL;
}

static void get_one(struct far_run *u)
{
        struct far *x = u->far;
        nb_auto_free char *url = x->kind->job_url(x->cfg, u->name);
        struct nb_err err;

        if (url &&
            gcp_call(x->gcp, &(struct gcp_request){.method = "GET", .url = url, .idempotent = true},
                     on_get, u, &u->call, &err) == 0)
                x->poll.n_gets++;
        else
                set_missing(u, false); /* the next look says it again */
}

/* ---- all at once ---- */

static void take_listed(struct far *x, const struct nb_json *v)
{
        struct far_job j;
        struct far_run *u;

        if (!x->kind->read(v, &j))
                return;
        u = watched(&x->poll, j.label);
        if (!u || u->stage != FAR_WATCH || u->call)
                return;
        if (!nb_streq(u->name, j.name)) {
                /* A list that lagged behind hid the first one from us. */
                if (!far_state_final(j.state))
                        far_cancel_extra(x, j.name);
                return;
        }
        u->seen = x->poll.round;
        set_missing(u, false);
        take(u, &j);
}

static void look_ended(struct far *x)
{
        for (struct far_run *u = x->runs; u; u = u->next)
                if (u->stage == FAR_WATCH && u->since < x->poll.round && u->seen < x->poll.round)
                        set_missing(u, true);
        again(x, false);
}

static void look_failed(struct far *x, const struct nb_err *err)
{
        say_trouble(x, err);
        again(x, true);
}

/* The service is asked region by region, in their order; most often there is
 * one.  false: that was the last. */
static bool next_region(struct far *x)
{
        struct far_poll *p = &x->poll;
        const char *next = NULL;

        for (const struct far_run *u = x->runs; u; u = u->next) {
                const char *region = u->record.here.at.region;

                if (u->stage == FAR_WATCH && (!p->region || strcmp(region, p->region) > 0) &&
                    (!next || strcmp(region, next) < 0))
                        next = region;
        }
        free(p->region);
        p->region = nb_strdup(next);
        return p->region != NULL;
}

static void on_list(void *arg, const struct http_in *resp, const struct gcp_error *e,
                    const struct nb_err *err)
{
        struct far *x = arg;
        struct far_poll *p = &x->poll;
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        const struct nb_json *list;
        const char *token = NULL;
        struct nb_err why;

        p->list = NULL;
        tree = err ? NULL : far_read_body(resp, &why);
        if (!tree) {
                look_failed(x, err ? err : &why);
                return;
        }
        list = x->kind->read_list(nb_json_root(tree), &token);
        free(p->token);
        p->token = nb_strdup(token);
        if (token && (!p->token || ++p->pages > PAGES_MAX)) {
                (void)nb_fail(&why, p->token ? NB_E_LIMIT : NB_E_NOMEM,
                              p->token ? "the list of jobs does not end" : "out of memory");
                look_failed(x, &why);
                return;
        }
        p->trouble = false;
        for (size_t i = 0; i < nb_json_size(list); i++)
                take_listed(x, nb_json_index(list, i));
        if (p->token || next_region(x))
                step_in(x, 0);
        else
                look_ended(x);
}

static void list_page(struct far *x)
{
        struct far_poll *p = &x->poll;
        nb_auto_free char *url =
                p->group ? x->kind->alive_url(x->cfg, p->region, p->group, p->token) : NULL;
        struct nb_err err = {.code = NB_E_NOMEM, .msg = "out of memory"};

        if (!url ||
            gcp_call(x->gcp, &(struct gcp_request){.method = "GET", .url = url, .idempotent = true},
                     on_list, x, &p->list, &err) < 0)
                look_failed(x, &err);
}

/* Also while the service answers nothing. */
static void end_overdue(struct far *x)
{
        for (struct far_run *u = x->runs; u; u = u->next)
                if (u->stage == FAR_WATCH && !u->call && far_is_overdue(u))
                        far_finish_overdue(u);
}

/* Whether there is a reason for a look now. */
static bool look_begins(struct far *x)
{
        struct far_poll *p = &x->poll;

        if (p->due_us == 0 || p->due_us > far_now_us(x))
                return false;
        p->due_us = 0;
        end_overdue(x);
        free(NB_TAKE(p->region));
        if (!next_region(x))
                return false; /* far_watch() comes again */
        p->round++;
        p->pages = 0;
        p->began_us = far_now_us(x);
        p->looking = true;
        return true;
}

/* Send what is due and allowed, and come again when more is. */
static void step(void *arg)
{
        struct far *x = arg;
        struct far_poll *p = &x->poll;
        uint64_t now;

        for (;;) {
                struct far_run *one = next_missing(x);
                bool page = !p->list && (p->looking || look_begins(x));

                if (!one && !page)
                        break;
                if (far_pace_wait_us(&x->asks, far_now_us(x)) > 0) {
                        step_in(x, far_pace_wait_us(&x->asks, far_now_us(x)));
                        return;
                }
                (void)far_pace_take(&x->asks, far_now_us(x));
                p->got = one && !(page && p->got);
                if (p->got)
                        get_one(one);
                else
                        list_page(x);
        }
        now = far_now_us(x);
        if (!p->looking && p->due_us > 0)
                step_in(x, p->due_us > now ? p->due_us - now : 0);
}

int far_poll_init(struct far *x, struct nb_err *err)
{
        struct far_poll *p = &x->poll;

        p->pause_us = x->cfg->vertex.poll_us;
        p->n_chains = CHAINS_MIN;
        p->by_label = nb_alloc_array(p->n_chains, sizeof(struct far_run *));
        if (!p->by_label)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        return loop_timer(x->deps.loop, step, x, &p->timer, err);
}

void far_poll_done(struct far *x)
{
        struct far_poll *p = &x->poll;

        gcp_call_cancel(p->list);
        loop_source_free(p->timer);
        free(p->by_label);
        free(p->group);
        free(p->region);
        free(p->token);
}
