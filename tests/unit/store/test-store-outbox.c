/* SPDX-License-Identifier: Apache-2.0 */
/* the outbox: in order for each context, newest text, one on its way at a time */
#include "store-test.h"

/* Claim and settle at once.  The text, or "" when nothing is due; valid until
 * the next call. */
static const char *send_one(struct fix *f, enum note_verdict v, int64_t retry_at_ms)
{
        static char text[200];
        struct store_note n;
        int r = store_outbox_claim(f->s, &n, 1, &f->err);

        CHECK_OK(r, &f->err);
        if (r == 0)
                return "";
        snprintf(text, sizeof(text), "%s: %s", n.context, n.text);
        CHECK_OK(store_outbox_settle(f->s, &(struct store_settled){n.id, n.seq, v, retry_at_ms}, 1,
                                     &f->err),
                 &f->err);
        store_note_done(&n);
        return text;
}

TEST(a_note_says_where_and_what)
{
        FIX(f);
        struct store_note n;

        push(&f, "acme/nb", C2);
        CHECK_INT(store_outbox_claim(f.s, &n, 1, &f.err), 1);
        CHECK_STR(n.forge, "hub");
        CHECK_STR(n.repository, "acme/nb");
        CHECK_STR(n.ref, "refs/heads/main");
        CHECK_STR(n.commit, C2);
        CHECK_STR(n.context, "nbcid");
        CHECK_STR(n.text, "queued");
        CHECK_STR(n.target, "/builds/1");
        CHECK_INT(n.state, NOTE_PENDING);
        CHECK_INT(n.tries, 0);
        CHECK_OK(store_outbox_settle(f.s, &(struct store_settled){n.id, n.seq, NOTE_ACCEPTED, 0}, 1,
                                     &f.err),
                 &f.err);
        CHECK_ERR(store_outbox_settle(f.s, &(struct store_settled){n.id, n.seq, NOTE_ACCEPTED, 0},
                                      1, &f.err),
                  &f.err, NB_E_CONFLICT, "note 1");
        store_note_done(&n);
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "");
}

TEST(several_are_lent_and_settled_together)
{
        FIX(f);
        struct store_settled v[4] = {0};
        struct store_note n[4];

        push(&f, "acme/nb", C1);
        f.now++;
        push(&f, "acme/nb", C2);
        f.now++;
        push(&f, "acme/nb", C3);
        CHECK_INT(store_outbox_claim(f.s, n, 2, &f.err), 2);
        CHECK_STR(n[0].commit, C1);
        CHECK_STR(n[1].commit, C2);
        CHECK_INT(store_outbox_claim(f.s, n + 2, 2, &f.err), 1);
        CHECK_STR(n[2].commit, C3);
        CHECK_INT(store_outbox_claim(f.s, n + 3, 1, &f.err), 0);
        for (int i = 0; i < 3; i++)
                v[i] = (struct store_settled){n[i].id, n[i].seq, NOTE_ACCEPTED, 0};
        v[1].verdict = NOTE_RETRY;
        v[3] = (struct store_settled){99, 1, NOTE_ACCEPTED, 0};
        /* all or none */
        CHECK_ERR(store_outbox_settle(f.s, v, 4, &f.err), &f.err, NB_E_CONFLICT, "note 99");
        CHECK_INT(q_int(&f, "SELECT count(*) FROM outbox WHERE lent_seq > 0"), 3);
        CHECK_OK(store_outbox_settle(f.s, v, 3, &f.err), &f.err);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM outbox WHERE done_seq = 1"), 2);
        CHECK_INT(q_int(&f, "SELECT tries FROM outbox WHERE commit_oid = '" C2 "'"), 1);
        for (int i = 0; i < 3; i++)
                store_note_done(&n[i]);
}

TEST(newer_replaces_unsent)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1);

        CHECK_INT(pick(&f), id);
        CHECK(prepare(&f, id, 0));
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid: no notebook changed");
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "");
}

TEST(never_two_of_one_context_on_their_way)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1);
        struct store_note n, none;

        CHECK_INT(store_outbox_claim(f.s, &n, 1, &f.err), 1);
        CHECK_STR(n.text, "queued");
        CHECK_INT(pick(&f), id);
        CHECK(prepare(&f, id, 0));
        CHECK_INT(store_outbox_claim(f.s, &none, 1, &f.err), 0);
        CHECK_OK(store_outbox_settle(f.s, &(struct store_settled){n.id, n.seq, NOTE_ACCEPTED, 0}, 1,
                                     &f.err),
                 &f.err);
        store_note_done(&n);
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid: no notebook changed");
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "");
}

TEST(the_oldest_change_first)
{
        FIX(f);
        int64_t a;

        a = push(&f, "acme/a", C1);
        f.now++;
        push(&f, "acme/b", C1);
        f.now++;
        CHECK_INT(pick(&f), a);
        CHECK(!prepare(&f, a, 2)); /* a's summary changes again, and keeps its place */
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid: running 2 notebooks");
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid: queued");
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid/a.ipynb: queued");
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid/b.ipynb: queued");
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "");
}

TEST(the_same_is_not_said_twice)
{
        FIX(f);
        const struct run_result r = {.class = CLASS_LOST};
        int64_t a;
        bool over;

        running(&f, "acme/nb", 1);
        a = start(&f);
        CHECK_OK(store_attempt_finished(f.s, a, &r, T0, &over, &f.err), &f.err);
        while (*send_one(&f, NOTE_ACCEPTED, 0))
                ;
        a = start(&f);
        CHECK(a > 0);
        CHECK_OK(store_attempt_finished(f.s, a, &r, T0, &over, &f.err), &f.err);
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "");
}

TEST(retry_waits_and_counts)
{
        FIX(f);
        struct store_note n;
        int64_t due;

        push(&f, "acme/nb", C1);
        CHECK_STR(send_one(&f, NOTE_RETRY, T0 + 100), "nbcid: queued");
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "");
        CHECK_OK(store_next_due(f.s, &due, &f.err), &f.err);
        CHECK_INT(due, T0 + 100);
        f.now = T0 + 100;
        CHECK_INT(store_outbox_claim(f.s, &n, 1, &f.err), 1);
        CHECK_INT(n.tries, 1);
        CHECK_OK(store_outbox_settle(f.s, &(struct store_settled){n.id, n.seq, NOTE_RETRY, 0}, 1,
                                     &f.err),
                 &f.err);
        store_note_done(&n);
        CHECK_INT(store_outbox_claim(f.s, &n, 1, &f.err), 1);
        CHECK_INT(n.tries, 2);
        CHECK_OK(store_outbox_settle(f.s, &(struct store_settled){n.id, n.seq, NOTE_ACCEPTED, 0}, 1,
                                     &f.err),
                 &f.err);
        store_note_done(&n);
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "");
        CHECK_INT(q_int(&f, "SELECT tries FROM outbox"), 0);
}

/* The forge said when; a newer text does not come earlier. */
TEST(a_change_while_waiting_waits_too)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1);

        CHECK_STR(send_one(&f, NOTE_RETRY, T0 + 100), "nbcid: queued");
        CHECK_INT(pick(&f), id);
        CHECK(prepare(&f, id, 0));
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "");
        f.now = T0 + 100;
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid: no notebook changed");
}

TEST(refused_is_not_tried_again_unchanged)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1);

        CHECK_STR(send_one(&f, NOTE_REFUSED, 0), "nbcid: queued");
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "");
        CHECK_INT(q_int(&f, "SELECT refused_seq FROM outbox"), 1);
        CHECK_INT(pick(&f), id);
        CHECK(prepare(&f, id, 0));
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid: no notebook changed");
}

TEST(refused_while_a_newer_one_waits)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1);
        struct store_note n;

        CHECK_INT(store_outbox_claim(f.s, &n, 1, &f.err), 1);
        CHECK_INT(pick(&f), id);
        CHECK(prepare(&f, id, 0));
        CHECK_OK(store_outbox_settle(f.s, &(struct store_settled){n.id, n.seq, NOTE_REFUSED, 0}, 1,
                                     &f.err),
                 &f.err);
        store_note_done(&n);
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid: no notebook changed");
}

TEST(retried_while_a_newer_one_waits_sends_the_newer)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1);
        struct store_note n;

        CHECK_INT(store_outbox_claim(f.s, &n, 1, &f.err), 1);
        CHECK_INT(pick(&f), id);
        CHECK(prepare(&f, id, 0));
        CHECK_OK(store_outbox_settle(f.s, &(struct store_settled){n.id, n.seq, NOTE_RETRY, T0 + 5},
                                     1, &f.err),
                 &f.err);
        store_note_done(&n);
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "");
        f.now += 5;
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid: no notebook changed");
}

/* What the forge saw last is how it ended, whatever was lost on the way. */
TEST(the_story_of_a_build_as_the_forge_sees_it)
{
        FIX(f);
        int64_t a, b;

        running(&f, "acme/nb", 2);
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid: running 2 notebooks");
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid/a.ipynb: queued");
        a = start(&f);
        b = start(&f);
        f.now++;
        CHECK_OK(store_attempt_running(f.s, a, &f.err), &f.err);
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid/b.ipynb: queued");
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid/a.ipynb: running");
        f.now++;
        CHECK(!finish(&f, a, CLASS_CELL_ERROR));
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid: 1 of 2 notebooks done");
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0),
                  "nbcid/a.ipynb: cell 7: ValueError: shapes (3,) (4,)");
        f.now++;
        CHECK(finish(&f, b, CLASS_PASSED));
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0),
                  "nbcid: 1 of 2 notebooks failed: a.ipynb cell 7: ValueError: shapes (3,) (4,)");
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "nbcid/b.ipynb: 3 cells in 2 s");
        CHECK_STR(send_one(&f, NOTE_ACCEPTED, 0), "");
}

/* A branch, a tag and a retry of one commit: they share its statuses. */
TEST(builds_of_one_commit_share_one_place)
{
        FIX(f);
        NB_CLEANUP(event_done) struct event tag = event_of("acme/nb", "refs/tags/v1", C2);
        NB_CLEANUP(event_done) struct event dev = event_of("acme/nb", "refs/heads/dev", C1);
        NB_CLEANUP(event_done) struct event far = event_of("acme/zoo", "refs/heads/dev", C1);
        struct store_delivery a = {.forge = "hub",
                                   .delivery_id = "tag",
                                   .event_name = "push",
                                   .headers = "",
                                   .body = "",
                                   .event = &tag};
        struct store_delivery b = a, c = a;
        struct store_delivery *const v[] = {&a, &b, &c};
        bool over;
        int64_t again;

        tag.kind = EVENT_TAG;
        b.delivery_id = "dev";
        b.event = &dev;
        c.delivery_id = "far";
        c.event = &far;
        /* the tag is a tag object; its commit is what main shows */
        CHECK_OK(store_intake_accept(f.in, v, 1, &f.err), &f.err);
        CHECK_INT(pick(&f), a.build);
        push(&f, "acme/nb", C1);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM outbox"), 1);
        CHECK_OK(store_build_prepared(f.s, a.build, C1, NULL, NULL, NULL, 0, &over, &f.err),
                 &f.err);
        CHECK_STR(wanted(&f, "nbcid"), "success | no notebook changed | /builds/1");
        CHECK_OK(store_intake_accept(f.in, v + 1, 1, &f.err), &f.err);
        CHECK_STR(wanted(&f, "nbcid"), "pending | queued | /builds/3");
        CHECK_OK(store_intake_retry(f.in, a.build, 0, &again, &f.err), &f.err);
        CHECK_STR(wanted(&f, "nbcid"), "pending | queued | /builds/4");
        CHECK_INT(q_int(&f, "SELECT count(*) FROM outbox"), 1);
        /* the same commit of another repository */
        CHECK_OK(store_intake_accept(f.in, v + 2, 1, &f.err), &f.err);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM outbox"), 2);
}

NBTEST_MAIN()
