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
        if (store_outbox_claim(f->s, &n, 1, &f->err) == 1) {
                CHECK_OK(store_outbox_settle(f->s,
                                             &(struct store_settled){n.id, n.seq, NOTE_ACCEPTED, 0},
                                             1, &f->err),
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

/* ---- turns ---- */

static int64_t ticking(void *arg)
{
        return atomic_fetch_add((_Atomic int64_t *)arg, 1) + T0;
}

struct greedy {
        struct store *s;
        atomic_bool stop;
        _Atomic int64_t writes;
};

static void *greedy_main(void *arg)
{
        struct greedy *g = arg;
        struct nb_err err;

        while (!atomic_load(&g->stop) && store_ping(g->s, &err) == 0)
                atomic_fetch_add(&g->writes, 1);
        return NULL;
}

/* A worker that writes and writes keeps a sender waiting for one write, not
 * for luck; on the average, as the machine may be busy. */
TEST(a_writer_without_pause_does_not_starve_the_other)
{
        FIX(f);
        _Atomic int64_t ticks = 0;
        struct greedy g = {.s = f.s};
        pthread_t worker;

        f.clock = (struct nb_clock){.now_ms = ticking, .arg = &ticks};
        CHECK_INT(pthread_create(&worker, NULL, greedy_main, &g), 0);
        while (atomic_load(&g.writes) == 0)
                ;
        for (int i = 0; i < 200; i++)
                CHECK_OK(store_intake_ping(f.in, &f.err), &f.err);
        atomic_store(&g.stop, true);
        pthread_join(worker, NULL);
        CHECK(g.writes < 200 * 3);
}

static void *counting_main(void *arg)
{
        for (int i = 0; i < 1000; i++) {
                if (!turn_take(10))
                        return NULL;
                ++*(int *)arg; /* the turn is what guards it */
                turn_give();
        }
        return NULL;
}

TEST(one_writer_at_a_time)
{
        pthread_t t[4];
        int count = 0;

        for (size_t i = 0; i < NB_ARRAY_SIZE(t); i++)
                CHECK_INT(pthread_create(&t[i], NULL, counting_main, &count), 0);
        for (size_t i = 0; i < NB_ARRAY_SIZE(t); i++)
                pthread_join(t[i], NULL);
        CHECK_INT(count, 4000);
}

static void *impatient_main(void *arg)
{
        *(bool *)arg = turn_take(1);
        return NULL;
}

TEST(waiting_for_a_turn_has_an_end)
{
        pthread_t t[2];
        bool got[2] = {true, true};

        CHECK(turn_take(1));
        for (size_t i = 0; i < 2; i++)
                CHECK_INT(pthread_create(&t[i], NULL, impatient_main, &got[i]), 0);
        for (size_t i = 0; i < 2; i++)
                pthread_join(t[i], NULL);
        CHECK(!got[0] && !got[1]);
        turn_give();
        CHECK(turn_take(1));
        turn_give();
}

NBTEST_MAIN()
