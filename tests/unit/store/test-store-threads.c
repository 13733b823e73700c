/* SPDX-License-Identifier: Apache-2.0 */
/* the http thread and the worker at once, each with its connections */
#include "store-test.h"

#include <pthread.h>
#include <stdatomic.h>

#define ROUNDS 60
#define BATCH 4

struct both {
        struct fix *f;
        atomic_bool intake_over;
        _Atomic int64_t accepted, ended;
        char trouble[600]; /* of the http thread */
};

static int count_row(void *arg, const struct view_build *b)
{
        (*(int64_t *)arg)++;
        return b->id > 0 ? 0 : -NB_E_CORRUPT;
}

/* One batch, a page and the gauges.  false: t->trouble says why. */
static bool intake_round(struct both *t, int round)
{
        struct event e[BATCH];
        struct store_delivery d[BATCH], *v[BATCH];
        char ids[BATCH][32];
        struct view_gauges g;
        struct nb_err err = {0};
        int64_t rows = 0;
        int r;

        for (int i = 0; i < BATCH; i++) {
                char oid[41];

                snprintf(oid, sizeof(oid), "%040d", round * BATCH + i);
                snprintf(ids[i], sizeof(ids[i]), "%d-%d", round, i);
                e[i] = event_of(i % 2 ? "acme/a" : "acme/b", "refs/heads/main", oid);
                d[i] = (struct store_delivery){.forge = "hub",
                                               .delivery_id = ids[i],
                                               .event_name = "push",
                                               .headers = "",
                                               .body = "{}",
                                               .n_body = 2,
                                               .event = &e[i]};
                v[i] = &d[i];
        }
        r = store_intake_accept(t->f->in, v, BATCH, &err);
        if (r == 0 && round % 8 == 0)
                r = store_intake_cancel(t->f->in, d[0].build, &err);
        if (r == -NB_E_CONFLICT) /* the worker was faster */
                r = 0;
        if (r == 0)
                r = store_view_builds(t->f->v, &(struct view_filter){.state = -1, .limit = 10},
                                      count_row, &rows, &err);
        if (r >= 0)
                r = store_view_gauges(t->f->v, &g, &err);
        for (int i = 0; i < BATCH; i++)
                event_done(&e[i]);
        if (r < 0)
                snprintf(t->trouble, sizeof(t->trouble), "%s", err.msg);
        else
                atomic_fetch_add(&t->accepted, BATCH);
        return r >= 0;
}

static void *intake_main(void *arg)
{
        struct both *t = arg;

        for (int i = 0; i < ROUNDS && intake_round(t, i); i++)
                ;
        atomic_store(&t->intake_over, true);
        return NULL;
}

/* One look of the worker: does it find anything to do? */
static bool work(struct fix *f)
{
        struct store_note n;
        int64_t id;
        bool busy = false;

        while (store_pick_cancel(f->s, &id, &f->err) == 1)
                busy = true;
        id = pick(f);
        if (id) {
                prepare(f, id, (size_t)(id % 3));
                busy = true;
        }
        id = start(f);
        if (id) {
                CHECK_OK(store_attempt_running(f->s, id, &f->err), &f->err);
                finish(f, id, CLASS_PASSED);
                busy = true;
        }
        if (store_outbox_claim(f->s, &n, &f->err) == 1) {
                CHECK_OK(store_outbox_settle(f->s, n.id, n.seq, NOTE_ACCEPTED, 0, &f->err),
                         &f->err);
                store_note_done(&n);
                busy = true;
        }
        return busy;
}

TEST(intake_and_worker_write_at_once)
{
        FIX(f);
        struct both t = {.f = &f};
        pthread_t http;
        bool over;

        CHECK_INT(pthread_create(&http, NULL, intake_main, &t), 0);
        do {
                over = atomic_load(&t.intake_over);
        } while (work(&f) || !over);
        pthread_join(http, NULL);
        CHECK_STR(t.trouble, "");
        CHECK_INT(t.accepted, ROUNDS * BATCH);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM build"), ROUNDS * BATCH);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM build WHERE state NOT IN "
                            "('passed', 'cancelled')"),
                  0);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM outbox WHERE seq <> done_seq"), 0);
        CHECK_STR(q_text(&f, "PRAGMA integrity_check"), "ok");
        CHECK_STR(q_text(&f, "PRAGMA foreign_key_check"), "(none)");
}

NBTEST_MAIN()
