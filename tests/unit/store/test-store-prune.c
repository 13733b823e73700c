/* SPDX-License-Identifier: Apache-2.0 */
/* retention: artifacts first, then rows, in slices */
#include "store-test.h"

static void ignored(struct fix *f, const char *id)
{
        struct store_delivery d = {.forge = "hub",
                                   .delivery_id = id,
                                   .event_name = "ping",
                                   .headers = "",
                                   .body = "",
                                   .ignored = "ping"};
        struct store_delivery *const v[] = {&d};

        CHECK_OK(store_intake_accept(f->in, v, 1, &f->err), &f->err);
}

static void send_all(struct fix *f)
{
        struct store_note n;

        while (store_outbox_claim(f->s, &n, 1, &f->err) == 1) {
                CHECK_OK(store_outbox_settle(f->s,
                                             &(struct store_settled){n.id, n.seq, NOTE_ACCEPTED, 0},
                                             1, &f->err),
                         &f->err);
                store_note_done(&n);
        }
}

TEST(artifacts_expire_once)
{
        FIX(f);
        int64_t ids[4], id = running(&f, "acme/nb", 1);

        CHECK_INT(store_expired_artifacts(f.s, T0 + 9, ids, 4, &f.err), 0);
        CHECK_ERR(store_artifacts_gone(f.s, id, &f.err), &f.err, NB_E_CONFLICT, "build 1");
        CHECK(finish(&f, start(&f), CLASS_PASSED));
        CHECK_INT(store_expired_artifacts(f.s, T0, ids, 4, &f.err), 0);
        CHECK_INT(store_expired_artifacts(f.s, T0 + 1, ids, 0, &f.err), 0);
        CHECK_INT(store_expired_artifacts(f.s, T0 + 1, ids, 4, &f.err), 1);
        CHECK_INT(ids[0], id);
        /* rows stay as long as their files do */
        CHECK_INT(store_prune(f.s, T0 + 1, 9, &f.err), 0);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM build"), 1);
        CHECK_OK(store_artifacts_gone(f.s, id, &f.err), &f.err);
        CHECK_ERR(store_artifacts_gone(f.s, id, &f.err), &f.err, NB_E_CONFLICT, "build 1");
        CHECK_INT(store_expired_artifacts(f.s, T0 + 1, ids, 4, &f.err), 0);
}

TEST(old_builds_go_with_all_that_is_theirs)
{
        FIX(f);
        int64_t old = running(&f, "acme/nb", 2), young, open;

        push(&f, "acme/nb", C3);
        open = push(&f, "acme/open", C1);
        CHECK(!finish(&f, start(&f), CLASS_PASSED));
        CHECK(finish(&f, start(&f), CLASS_PASSED));
        CHECK_OK(store_artifacts_gone(f.s, old, &f.err), &f.err);
        ignored(&f, "ping-1");
        f.now += 100;
        young = push(&f, "acme/new", C2);
        CHECK_OK(store_build_trouble(f.s, young, BUILD_ERRORED, "x", &f.err), &f.err);
        ignored(&f, "ping-2");
        send_all(&f);

        CHECK_INT(store_prune(f.s, T0 + 50, 9, &f.err), 0);
        CHECK_STR(build_state_of(&f, old), "(none)");
        CHECK_STR(build_state_of(&f, young), "errored");
        CHECK_STR(build_state_of(&f, open), "queued");
        CHECK_INT(q_int(&f, "SELECT count(*) FROM build"), 3);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM job"), 0);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM attempt"), 0);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM delivery"), 4);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM outbox"), 3);
        CHECK_INT(store_prune(f.s, T0 + 50, 9, &f.err), 0);
}

TEST(in_slices)
{
        FIX(f);

        for (int i = 0; i < 5; i++) {
                char id[16];
                int64_t b;

                snprintf(id, sizeof(id), "ping-%d", i);
                ignored(&f, id);
                b = push(&f, "acme/nb", C1);
                CHECK_OK(store_build_trouble(f.s, b, BUILD_ERRORED, "x", &f.err), &f.err);
        }
        send_all(&f);
        CHECK_INT(store_prune(f.s, T0 + 1, 2, &f.err), 1);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM build"), 3);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM delivery"), 6);
        CHECK_INT(store_prune(f.s, T0 + 1, 2, &f.err), 1);
        CHECK_INT(store_prune(f.s, T0 + 1, 2, &f.err), 0);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM delivery"), 0);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM outbox"), 0);
}

TEST(many_deliveries_of_one_build)
{
        FIX(f);
        int64_t id = 0;

        for (int i = 0; i < 300; i++)
                id = push(&f, "acme/nb", C1);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM build"), 1);
        CHECK_OK(store_build_trouble(f.s, id, BUILD_ERRORED, "x", &f.err), &f.err);
        send_all(&f);
        CHECK_INT(store_prune(f.s, T0 + 1, 1, &f.err), 1);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM delivery"), 44);
        CHECK_STR(build_state_of(&f, id), "errored");
        CHECK_INT(store_prune(f.s, T0 + 1, 1, &f.err), 0);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM delivery"), 0);
}

/* A forge that was away longer than we keep builds still gets the last word. */
TEST(a_build_stays_until_its_notes_are_sent)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1), done;
        struct store_note n;

        CHECK_OK(store_build_trouble(f.s, id, BUILD_ERRORED, "x", &f.err), &f.err);
        send_all(&f);
        CHECK_OK(store_intake_retry(f.in, id, 0, &done, &f.err), &f.err);
        CHECK_OK(store_build_trouble(f.s, done, BUILD_ERRORED, "x", &f.err), &f.err);
        /* the first one's text was replaced: it has nothing to say any more */
        CHECK_INT(store_prune(f.s, T0 + 1, 9, &f.err), 0);
        CHECK_STR(build_state_of(&f, id), "(none)");
        CHECK_STR(build_state_of(&f, done), "errored");
        CHECK_INT(store_outbox_claim(f.s, &n, 1, &f.err), 1);
        CHECK_INT(store_prune(f.s, T0 + 1, 9, &f.err), 0);
        CHECK_STR(build_state_of(&f, done), "errored");
        CHECK_OK(store_outbox_settle(f.s, &(struct store_settled){n.id, n.seq, NOTE_REFUSED, 0}, 1,
                                     &f.err),
                 &f.err);
        store_note_done(&n);
        CHECK_INT(store_prune(f.s, T0 + 1, 9, &f.err), 0);
        CHECK_STR(build_state_of(&f, done), "(none)");
        CHECK_INT(q_int(&f, "SELECT count(*) FROM outbox"), 0);
}

TEST(a_note_of_a_commit_that_a_younger_build_shows_stays)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1), again;

        CHECK_OK(store_build_trouble(f.s, id, BUILD_ERRORED, "x", &f.err), &f.err);
        f.now += 10;
        CHECK_OK(store_intake_retry(f.in, id, 0, &again, &f.err), &f.err);
        send_all(&f);
        CHECK_INT(store_prune(f.s, T0 + 1, 9, &f.err), 0);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM build"), 1);
        CHECK_STR(wanted(&f, "nbcid"), "pending | queued | /builds/2");
        CHECK_INT(q_int(&f, "SELECT retry_of FROM build"), id);
}

NBTEST_MAIN()
