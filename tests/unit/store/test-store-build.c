/* SPDX-License-Identifier: Apache-2.0 */
/* builds: fair picking, every move and every refused move, cancel, recover */
#include "store-test.h"

TEST(the_oldest_first_and_nothing_twice)
{
        FIX(f);
        int64_t a = push(&f, "acme/nb", C1), b = push(&f, "acme/nb", C2);

        CHECK_INT(pick(&f), a);
        CHECK_INT(q_int(&f, "SELECT started_ms FROM build WHERE id = %d", (int)a), T0);
        CHECK_INT(pick(&f), b);
        CHECK_INT(pick(&f), 0);
}

TEST(the_repository_with_the_fewest_in_preparing_comes_first)
{
        FIX(f);
        int64_t a1 = push(&f, "acme/a", C1), a2 = push(&f, "acme/a", C2);
        int64_t a3 = push(&f, "acme/a", C3), b1 = push(&f, "acme/b", C1);
        int64_t b2 = push(&f, "acme/b", C2), c1 = push(&f, "acme/c", C1);

        CHECK_INT(pick(&f), a1);
        CHECK_INT(pick(&f), b1);
        CHECK_INT(pick(&f), c1);
        CHECK_INT(pick(&f), a2); /* one each in preparing: the oldest */
        CHECK_INT(pick(&f), b2);
        CHECK_INT(pick(&f), a3);
}

/* Behind a flood that is longer than the first look reaches. */
TEST(a_flood_does_not_hide_the_others)
{
        FIX(f);
        int64_t first = 0, other;

        for (int i = 0; i < 100; i++) {
                char oid[41];
                int64_t id;

                snprintf(oid, sizeof(oid), "%040d", i);
                id = push(&f, "acme/flood", oid);
                first = first ? first : id;
        }
        other = push(&f, "zoo/quiet", C1);
        CHECK_INT(pick(&f), first);
        CHECK_INT(pick(&f), other);
        CHECK_INT(pick(&f), first + 1);
}

TEST(again_waits_for_its_time_and_counts)
{
        FIX(f);
        int64_t a = push(&f, "acme/nb", C1), due;
        struct store_build b;

        CHECK_INT(pick(&f), a);
        CHECK_OK(store_build_again(f.s, a, T0 + 1000, "remote is down", &f.err), &f.err);
        CHECK_STR(q_text(&f, "SELECT reason FROM build"), "remote is down");
        CHECK_INT(pick(&f), 0);
        CHECK_OK(store_next_due(f.s, &due, &f.err), &f.err);
        CHECK_INT(due, T0 + 1000);
        f.now = T0 + 999;
        CHECK_INT(pick(&f), 0);
        f.now = T0 + 1000;
        CHECK_OK(store_pick_build(f.s, &b, &f.err), &f.err);
        CHECK_INT(b.id, a);
        CHECK_INT(b.tries, 1);
        store_build_done(&b);
        CHECK_OK(store_next_due(f.s, &due, &f.err), &f.err);
        CHECK(due == INT64_MAX);
}

TEST(what_has_fallen_due_is_told_once)
{
        FIX(f);
        int64_t a = push(&f, "acme/nb", C1), due;

        CHECK_INT(pick(&f), a);
        CHECK_OK(store_build_again(f.s, a, T0 + 10, "x", &f.err), &f.err);
        f.now += 20;
        CHECK_OK(store_next_due(f.s, &due, &f.err), &f.err);
        CHECK_INT(due, T0 + 10);
        CHECK_OK(store_next_due(f.s, &due, &f.err), &f.err);
        CHECK(due == INT64_MAX);
        CHECK_INT(pick(&f), a);
}

TEST(prepared_makes_jobs)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1);

        CHECK_INT(pick(&f), id);
        CHECK(!prepare(&f, id, 5));
        CHECK_STR(build_state_of(&f, id), "running");
        CHECK_STR(wanted(&f, "nbcid"), "running | running 5 notebooks | /builds/1");
        CHECK_STR(wanted(&f, "nbcid/b.ipynb"), "pending | queued | /jobs/2");
        CHECK_INT(q_int(&f, "SELECT jobs FROM build"), 5);
        CHECK_STR(q_text(&f, "SELECT title FROM build"), "prepared");
        CHECK_STR(q_text(&f, "SELECT reason FROM build"), "(null)");
}

TEST(no_notebook_is_passed)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1);

        CHECK_INT(pick(&f), id);
        CHECK(prepare(&f, id, 0));
        CHECK_STR(build_state_of(&f, id), "passed");
        CHECK_STR(q_text(&f, "SELECT reason FROM build"), "no notebook changed");
        CHECK_STR(wanted(&f, "nbcid"), "success | no notebook changed | /builds/1");
        CHECK_INT(q_int(&f, "SELECT artifacts FROM build"), 0);
}

TEST(refused_notebooks_are_failed_from_birth)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1);
        const struct nb_environment env = {0};
        const struct store_new_job jobs[] = {
                {.notebook = "bad.ipynb",
                 .executor = "local",
                 .notify = true,
                 .refused = "not JSON: line 3"},
                {.notebook = "env.ipynb",
                 .executor = "local",
                 .refused = "requirements.txt:1: no",
                 .refused_class = CLASS_ENVIRONMENT},
                {.notebook = "good.ipynb", .executor = "local", .environment = &env},
        };
        bool over;

        CHECK_INT(pick(&f), id);
        CHECK_OK(store_build_prepared(f.s, id, C1, NULL, "careful", jobs, 3, &over, &f.err),
                 &f.err);
        CHECK(!over);
        CHECK_STR(wanted(&f, "nbcid/bad.ipynb"), "failure | not JSON: line 3 | /jobs/1");
        CHECK_STR(wanted(&f, "nbcid/good.ipynb"), "(none)"); /* not to be notified */
        CHECK_STR(wanted(&f, "nbcid"), "running | 2 of 3 notebooks done | /builds/1");
        CHECK_STR(q_text(&f, "SELECT class FROM job WHERE id = 1"), "check");
        CHECK_STR(q_text(&f, "SELECT class FROM job WHERE id = 2"), "environment");
        CHECK_STR(q_text(&f, "SELECT state FROM job WHERE id = 2"), "failed");
        CHECK_STR(q_text(&f, "SELECT reason FROM build"), "careful");
        CHECK_STR(q_text(&f, "SELECT title FROM build"), "title");
        CHECK(finish(&f, start(&f), CLASS_PASSED));
        CHECK_STR(build_state_of(&f, id), "failed");
        CHECK_STR(wanted(&f, "nbcid"),
                  "failure | 2 of 3 notebooks failed: bad.ipynb: not JSON: line 3 | /builds/1");
        CHECK_STR(q_text(&f, "SELECT reason FROM build"), "careful");

        id = push(&f, "acme/nb", C2);
        CHECK_INT(pick(&f), id);
        CHECK_OK(store_build_prepared(f.s, id, C2, NULL, NULL, jobs, 1, &over, &f.err), &f.err);
        CHECK(over);
        CHECK_STR(build_state_of(&f, id), "failed");
        CHECK_STR(wanted(&f, "nbcid"),
                  "failure | 1 of 1 notebook failed: bad.ipynb: not JSON: line 3 | /builds/2");
}

/* ---- every verb from every state: only the table's moves happen ---- */

static int v_again(struct fix *f, int64_t id)
{
        return store_build_again(f->s, id, 0, "x", &f->err);
}
static int v_prepared(struct fix *f, int64_t id)
{
        const struct store_new_job job = {.notebook = "a.ipynb", .executor = "local"};
        bool over;

        return store_build_prepared(f->s, id, C1, NULL, NULL, &job, 1, &over, &f->err);
}
static int v_errored(struct fix *f, int64_t id)
{
        return store_build_trouble(f->s, id, BUILD_ERRORED, "our fault", &f->err);
}
static int v_failed(struct fix *f, int64_t id)
{
        return store_build_trouble(f->s, id, BUILD_FAILED, "your fault", &f->err);
}

TEST(every_verb_from_every_state)
{
        static const struct {
                int (*verb)(struct fix *f, int64_t id);
                enum build_state to;
                unsigned from; /* bits */
        } verbs[] = {
                {v_again, BUILD_QUEUED, 1u << BUILD_PREPARING},
                {v_prepared, BUILD_RUNNING, 1u << BUILD_PREPARING},
                {v_errored, BUILD_ERRORED,
                 1u << BUILD_QUEUED | 1u << BUILD_PREPARING | 1u << BUILD_RUNNING},
                {v_failed, BUILD_FAILED, 1u << BUILD_PREPARING | 1u << BUILD_RUNNING},
        };
        int moves = 0;
        FIX(f);

        for (size_t v = 0; v < NB_ARRAY_SIZE(verbs); v++)
                for (int s = 0; s < BUILD_STATE__COUNT; s++) {
                        const char *name = build_state_name((enum build_state)s);
                        int64_t id = push(&f, "acme/nb", C1);
                        int r;

                        q_run(&f, "UPDATE build SET state = '%s', finished_ms = %s WHERE id = %d",
                              name, build_state_final((enum build_state)s) ? "5" : "NULL", (int)id);
                        r = verbs[v].verb(&f, id);
                        if (verbs[v].from & 1u << s) {
                                CHECK_OK(r, &f.err);
                                CHECK(build_may_move((enum build_state)s, verbs[v].to));
                                CHECK_STR(build_state_of(&f, id), build_state_name(verbs[v].to));
                                moves++;
                        } else {
                                CHECK_ERR(r, &f.err, NB_E_CONFLICT, "build");
                                CHECK_STR(build_state_of(&f, id), name);
                        }
                        q_run(&f,
                              "UPDATE build SET state = 'passed', finished_ms = 5 "
                              "WHERE id = %d",
                              (int)id);
                }
        CHECK_INT(moves, 7);
        for (size_t v = 0; v < NB_ARRAY_SIZE(verbs); v++)
                CHECK_ERR(verbs[v].verb(&f, 9999), &f.err, NB_E_CONFLICT, "build 9999");
}

TEST(trouble_ends_the_jobs_too)
{
        FIX(f);
        int64_t id = running(&f, "acme/nb", 3), a = start(&f), b = start(&f);
        bool over;
        const struct run_result r = {.class = CLASS_PASSED};

        CHECK(!finish(&f, a, CLASS_PASSED));
        CHECK_OK(store_build_trouble(f.s, id, BUILD_ERRORED, "disk is gone", &f.err), &f.err);
        CHECK_STR(build_state_of(&f, id), "errored");
        CHECK_STR(q_text(&f, "SELECT reason FROM build"), "disk is gone");
        CHECK_STR(wanted(&f, "nbcid"), "error | disk is gone | /builds/1");
        CHECK_STR(wanted(&f, "nbcid/a.ipynb"), "success | 3 cells in 2 s | /jobs/1");
        CHECK_STR(wanted(&f, "nbcid/b.ipynb"), "cancelled | cancelled | /jobs/2");
        CHECK_STR(wanted(&f, "nbcid/c.ipynb"), "cancelled | cancelled | /jobs/3");
        CHECK_INT(q_int(&f, "SELECT jobs_final FROM build"), 3);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM job WHERE state = 'cancelled'"), 2);
        CHECK_STR(q_text(&f, "SELECT state FROM attempt WHERE id = %d", (int)b), "cancelled");
        CHECK_ERR(store_attempt_finished(f.s, b, &r, 0, &over, &f.err), &f.err, NB_E_CONFLICT,
                  "has ended: it is cancelled");
}

/* ---- cancel ---- */

static int64_t cancel(struct fix *f, int64_t id)
{
        int64_t got = 0;
        int r;

        CHECK_OK(store_intake_cancel(f->in, id, &f->err), &f->err);
        r = store_pick_cancel(f->s, &got, &f->err);
        CHECK_INT(r, 1);
        CHECK_INT(got, id);
        CHECK_INT(store_pick_cancel(f->s, &got, &f->err), 0);
        return got;
}

TEST(cancel_while_queued_or_preparing)
{
        FIX(f);
        int64_t a = push(&f, "acme/nb", C1), b = push(&f, "acme/nb", C2);

        cancel(&f, b);
        CHECK_STR(build_state_of(&f, b), "cancelled");
        CHECK_STR(wanted(&f, "nbcid"), "cancelled | cancelled | /builds/2");
        CHECK_INT(pick(&f), a);
        cancel(&f, a);
        CHECK_STR(build_state_of(&f, a), "cancelled");
        CHECK_ERR(v_prepared(&f, a), &f.err, NB_E_CONFLICT, "is cancelled, not preparing");
}

TEST(a_build_asked_to_stop_is_not_picked)
{
        FIX(f);
        int64_t b = running(&f, "acme/zoo", 1), a = push(&f, "acme/nb", C2);

        CHECK_OK(store_intake_cancel(f.in, a, &f.err), &f.err);
        CHECK_OK(store_intake_cancel(f.in, b, &f.err), &f.err);
        CHECK_INT(pick(&f), 0);
        CHECK_INT(start(&f), 0);
}

TEST(cancel_before_anything_was_submitted)
{
        FIX(f);
        int64_t id = running(&f, "acme/nb", 2);

        cancel(&f, id);
        CHECK_STR(build_state_of(&f, id), "cancelled");
        CHECK_STR(wanted(&f, "nbcid/a.ipynb"), "cancelled | cancelled | /jobs/1");
        CHECK_INT(q_int(&f,
                        "SELECT count(*) FROM job WHERE state = 'cancelled' "
                        "AND class = 'cancelled' AND finished_ms = %d",
                        T0),
                  2);
        CHECK_INT(start(&f), 0);
}

TEST(cancel_waits_for_what_is_in_flight)
{
        FIX(f);
        int64_t id = running(&f, "acme/nb", 3), a = start(&f), b = start(&f);

        CHECK_OK(store_attempt_running(f.s, a, &f.err), &f.err);
        cancel(&f, id);
        CHECK_STR(build_state_of(&f, id), "running");
        CHECK_INT(q_int(&f, "SELECT jobs_final FROM build"), 1);
        CHECK(!finish(&f, a, CLASS_CANCELLED));
        /* one that had failed by itself changes nothing */
        CHECK(finish(&f, b, CLASS_CELL_ERROR));
        CHECK_STR(build_state_of(&f, id), "cancelled");
        CHECK_STR(wanted(&f, "nbcid"), "cancelled | cancelled | /builds/1");
}

TEST(what_passed_before_the_cancel_has_passed)
{
        FIX(f);
        int64_t id = running(&f, "acme/nb", 1), a = start(&f), got;

        CHECK_OK(store_intake_cancel(f.in, id, &f.err), &f.err);
        CHECK(finish(&f, a, CLASS_PASSED));
        CHECK_STR(build_state_of(&f, id), "passed");
        CHECK_INT(store_pick_cancel(f.s, &got, &f.err), 0);
}

TEST(no_retry_in_a_build_asked_to_stop)
{
        FIX(f);
        int64_t id = running(&f, "acme/nb", 1), a = start(&f);
        const struct run_result r = {.class = CLASS_LOST};
        bool over = false;

        cancel(&f, id);
        CHECK_OK(store_attempt_finished(f.s, a, &r, T0 + 5, &over, &f.err), &f.err);
        CHECK(over);
        CHECK_STR(job_state_of(&f, a), "errored");
        CHECK_STR(build_state_of(&f, id), "cancelled");
}

TEST(trouble_of_a_build_asked_to_stop_is_cancelled)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1);

        CHECK_INT(pick(&f), id);
        CHECK_OK(store_intake_cancel(f.in, id, &f.err), &f.err);
        CHECK_OK(v_errored(&f, id), &f.err);
        CHECK_STR(build_state_of(&f, id), "cancelled");
}

/* ---- recover ---- */

TEST(recover_puts_back_what_nobody_works_on)
{
        FIX(f);
        int64_t a, b, c, got = 0;
        struct store_note n;

        a = running(&f, "acme/a", 1);
        CHECK(start(&f) > 0);
        cancel(&f, a);
        b = push(&f, "acme/b", C1);
        CHECK_INT(pick(&f), b);
        c = push(&f, "acme/c", C1);
        CHECK_INT(store_outbox_claim(f.s, &n, 1, &f.err), 1);

        fix_close(&f);
        fix_open(&f);
        CHECK_OK(store_recover(f.s, &f.err), &f.err);
        CHECK_STR(build_state_of(&f, b), "queued");
        CHECK_INT(q_int(&f, "SELECT tries FROM build WHERE id = %d", (int)b), 0);
        CHECK_INT(pick(&f), b);
        CHECK_INT(pick(&f), c);
        CHECK_INT(store_pick_cancel(f.s, &got, &f.err), 1);
        CHECK_INT(got, a);
        CHECK_INT(store_pick_cancel(f.s, &got, &f.err), 0);
        CHECK_ERR(store_outbox_settle(f.s, &(struct store_settled){n.id, n.seq, NOTE_ACCEPTED, 0},
                                      1, &f.err),
                  &f.err, NB_E_CONFLICT, "note");
        store_note_done(&n);
        CHECK_INT(store_outbox_claim(f.s, &n, 1, &f.err), 1);
        store_note_done(&n);
}

TEST(ids_never_come_back)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1);

        CHECK_INT(pick(&f), id);
        CHECK(prepare(&f, id, 0));
        q_run(&f, "UPDATE outbox SET done_seq = seq");
        CHECK_INT(store_prune(f.s, T0 + 1, 10, &f.err), 0);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM build"), 0);
        CHECK_INT(push(&f, "acme/nb", C1), id + 1);
}

NBTEST_MAIN()
