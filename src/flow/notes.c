/* SPDX-License-Identifier: Apache-2.0 */

/* notes.c - drain the outbox: commit statuses owed to forges */

#include <nbcid/forge.h>
#include <nbcid/log.h>
#include <nbcid/num.h>

#include "flow-priv.h"

/* A status that was not taken in 40 tries (a day and a half) is of no use any
 * more. */
#define NOTE_TRIES 40
#define PAUSE_DOUBLINGS 11 /* of a second: some half an hour */

struct send {
        struct flow *flow;
        struct send *next;
        struct store_note note;
        const struct forge_ops *ops;
        struct httpc_request *request;
        bool ready;
        enum note_verdict verdict;
        int64_t retry_at_ms;
};

static struct send *send_free(struct send *s)
{
        if (!s)
                return NULL;
        store_note_done(&s->note);
        free(s);
        return NULL;
}

static void send_unlink(struct send *s)
{
        struct send **at = &s->flow->sends;

        while (*at != s)
                at = &(*at)->next;
        *at = s->next;
        s->flow->n_sends--;
}

/* ---- forges that said "wait", which means all of their statuses ---- */

static struct flow_pause *find_pause(const struct flow *f, const char *forge)
{
        for (size_t i = 0; i < f->n_pauses; i++)
                if (nb_streq(f->pauses[i].forge, forge))
                        return &f->pauses[i];
        return NULL;
}

static int64_t paused_until(const struct flow *f, const char *forge)
{
        const struct flow_pause *p = find_pause(f, forge);

        return p ? p->until_ms : 0;
}

/* NULL when memory is out: the forge will say it again. */
static struct flow_pause *add_pause(struct flow *f, const char *forge)
{
        struct flow_pause *p = nb_alloc_array(f->n_pauses + 1, sizeof(*p));
        char *name = nb_strdup(forge);

        if (!p || !name) {
                free(p);
                free(name);
                return NULL;
        }
        for (size_t i = 0; i < f->n_pauses; i++)
                p[i] = f->pauses[i];
        p[f->n_pauses] = (struct flow_pause){.forge = name};
        free(f->pauses);
        f->pauses = p;
        return &p[f->n_pauses++];
}

/* As long as it asked for, and longer each time in vain: a forge that says "a
 * second" for a day must not use up the tries of every note.  Several answers
 * to what was on its way at once are one pause. */
static void pause_forge(struct flow *f, const char *forge, uint32_t wait_s)
{
        struct flow_pause *p = find_pause(f, forge);
        int64_t now = nb_now_ms(f->deps.clock), until;

        if (!p)
                p = add_pause(f, forge);
        if (!p)
                return;
        if (p->until_ms <= now && p->times < PAUSE_DOUBLINGS)
                p->times++;
        until = now + ((int64_t)1000 << p->times);
        if (until < now + (int64_t)wait_s * 1000)
                until = now + (int64_t)wait_s * 1000;
        if (until > p->until_ms)
                p->until_ms = until;
}

static void forge_took(struct flow *f, const char *forge)
{
        struct flow_pause *p = find_pause(f, forge);

        if (p)
                p->times = 0;
}

int64_t notes_pause_end(const struct flow *f)
{
        int64_t end = INT64_MAX, now = nb_now_ms(f->deps.clock);

        for (size_t i = 0; i < f->n_pauses; i++)
                if (f->pauses[i].until_ms > now && f->pauses[i].until_ms < end)
                        end = f->pauses[i].until_ms;
        return end;
}

/* Then what is owed stays where it is: to lend it costs it a try. */
static bool all_paused(const struct flow *f)
{
        int64_t now = nb_now_ms(f->deps.clock);

        for (size_t i = 0; i < f->config->n_forges; i++)
                if (paused_until(f, f->config->forges[i].name) <= now)
                        return false;
        return f->config->n_forges > 0;
}

/* ---- replies ---- */

static int64_t note_retry_at(const struct send *s, uint32_t wait_s)
{
        struct flow *f = s->flow;
        int64_t now = nb_now_ms(f->deps.clock), until = paused_until(f, s->note.forge);

        if (wait_s > 0)
                return until > now ? until : now + (int64_t)wait_s * 1000;
        return now + flow_backoff_ms(f, s->note.tries);
}

/* The verdict is known; the store learns it in the next look. */
static void send_judged(struct send *s, enum note_verdict v, uint32_t wait_s, const char *why)
{
        s->verdict = v;
        s->ready = true;
        if (v == NOTE_RETRY && s->note.tries + 1 >= NOTE_TRIES)
                s->verdict = NOTE_REFUSED;
        if (v == NOTE_RETRY && wait_s > 0)
                pause_forge(s->flow, s->note.forge, wait_s);
        if (s->verdict == NOTE_RETRY)
                s->retry_at_ms = note_retry_at(s, wait_s);
        if (s->verdict == NOTE_ACCEPTED)
                forge_took(s->flow, s->note.forge);
        else
                nb_log(s->verdict == NOTE_REFUSED ? LOG_WARNING : LOG_INFO,
                       s->verdict == NOTE_REFUSED ? "a commit status was given up"
                                                  : "a commit status will be tried again",
                       NB_F_STR("forge", s->note.forge), NB_F_STR("repository", s->note.repository),
                       NB_F_STR("commit", s->note.commit), NB_F_STR("context", s->note.context),
                       NB_F_STR("why", why), NB_F_INT("tries", s->note.tries + 1));
        flow_look_soon(s->flow);
}

static void send_replied(void *arg, const struct http_in *resp, const struct nb_err *err)
{
        struct send *s = arg;
        nb_auto_free char *why = NULL;
        uint32_t wait_s = 0;
        enum note_verdict v;

        s->request = NULL;
        if (!resp) {
                send_judged(s, NOTE_RETRY, 0, err->msg);
                return;
        }
        v = s->ops->status_reply(resp, nb_now_ms(s->flow->deps.clock) / 1000, &wait_s);
        if (v != NOTE_ACCEPTED)
                why = nb_asprintf("HTTP %d: %.300s", resp->status, resp->n_body ? resp->body : "");
        send_judged(s, v, wait_s, why);
}

static int send_request(struct send *s, struct nb_err *err)
{
        struct flow *f = s->flow;
        const struct config_forge *forge = config_find_forge(f->config, s->note.forge);
        nb_auto_free char *url = NULL;
        struct http_out req = {0};
        int r;

        if (!forge)
                return nb_fail(err, NB_E_DENIED, "the forge is not in the configuration any more");
        s->ops = forge_ops_of(forge->kind);
        url = nb_asprintf("%s%s", f->config->public_url, s->note.target);
        if (!url)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = s->ops->status_request(forge,
                                   &(struct note){.repository = s->note.repository,
                                                  .ref = s->note.ref,
                                                  .commit = s->note.commit,
                                                  .context = s->note.context,
                                                  .state = s->note.state,
                                                  .text = s->note.text,
                                                  .target_url = url},
                                   &req, err);
        if (r == 0)
                r = httpc_send(f->deps.httpc, &req, send_replied, s, &s->request, err);
        http_out_done(&req);
        return r;
}

static void send_settled(struct send *s)
{
        atomic_fetch_add(&s->flow->deps.metrics->status_posts[s->verdict], 1);
        send_unlink(s);
        send_free(s);
}

/* n > 0 sends that are ready; < 0: they stay in hand. */
static int settle(struct flow *f, struct send *const *v, size_t n, struct nb_err *err)
{
        struct store_settled rows[FLOW_SENDS] = {0};
        int r;

        for (size_t i = 0; i < n; i++)
                rows[i] = (struct store_settled){v[i]->note.id, v[i]->note.seq, v[i]->verdict,
                                                 v[i]->retry_at_ms};
        r = store_outbox_settle(f->deps.store, rows, n, err);
        /* nobody waits any more for what is not lent */
        if (r < 0 && (r != -NB_E_CONFLICT || n > 1))
                return r;
        for (size_t i = 0; i < n; i++)
                send_settled(v[i]);
        return 0;
}

static int settle_ready(struct flow *f, struct nb_err *err)
{
        struct send *ready[FLOW_SENDS];
        size_t n = 0;
        int r;

        for (struct send *s = f->sends; s; s = s->next)
                if (s->ready)
                        ready[n++] = s;
        r = n > 0 ? settle(f, ready, n, err) : 0;
        if (r != -NB_E_CONFLICT)
                return r;
        r = 0;
        for (size_t i = 0; r == 0 && i < n; i++)
                r = settle(f, &ready[i], 1, err);
        return r;
}

/* Put it on its way. */
static void send_begin(struct send *s)
{
        struct flow *f = s->flow;
        int64_t until = paused_until(f, s->note.forge);
        struct nb_err why;
        int r;

        s->next = f->sends;
        f->sends = s;
        f->n_sends++;
        if (until > nb_now_ms(f->deps.clock)) {
                s->verdict = NOTE_RETRY;
                s->retry_at_ms = until;
                s->ready = true;
                flow_look_soon(f);
        } else if ((r = send_request(s, &why)) < 0) {
                send_judged(s, nb_errc_policy(why.code)->retry ? NOTE_RETRY : NOTE_REFUSED, 0,
                            why.msg);
        }
}

/* Lend as many notes as there is room for; memory for them comes first, as a
 * note that is lent must be in hand. */
static int send_more(struct flow *f, struct nb_err *err)
{
        struct store_note notes[FLOW_SENDS];
        struct send *sends[FLOW_SENDS] = {0};
        size_t room = FLOW_SENDS - f->n_sends, n = 0;
        int r = 0;

        while (n < room && (sends[n] = calloc(1, sizeof(*sends[n]))))
                n++;
        if (n > 0)
                r = store_outbox_claim(f->deps.store, notes, n, err);
        else if (room > 0)
                r = nb_fail(err, NB_E_NOMEM, "out of memory");
        for (size_t i = 0; i < n; i++) {
                if (r <= 0 || i >= (size_t)r) {
                        send_free(sends[i]);
                        continue;
                }
                sends[i]->flow = f;
                sends[i]->note = notes[i];
                send_begin(sends[i]);
        }
        return r;
}

bool notes_look(struct flow *f)
{
        struct nb_err err;

        if (settle_ready(f, &err) < 0)
                return flow_store_failed(f, &err, "outbox_settle");
        if (!all_paused(f) && send_more(f, &err) < 0)
                return flow_store_failed(f, &err, "outbox_claim");
        return true;
}

void notes_abandon(struct flow *f)
{
        while (f->sends) {
                struct send *s = f->sends;

                httpc_cancel(s->request);
                send_unlink(s);
                send_free(s);
        }
}
