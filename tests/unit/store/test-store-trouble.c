/* SPDX-License-Identifier: Apache-2.0 */
/* disks that are full, databases that are busy, processes that die */
#include "store-test.h"

#include <sys/stat.h>
#include <sys/wait.h>

TEST(a_full_disk_loses_nothing_and_heals)
{
        FIX(f);
        NB_CLEANUP(event_done) struct event e = event_of("acme/nb", "refs/heads/main", C2);
        nb_auto_free char *body = calloc(1, 100000);
        struct store_delivery d = {.forge = "hub",
                                   .delivery_id = "big",
                                   .event_name = "push",
                                   .headers = "",
                                   .body = body,
                                   .n_body = 100000,
                                   .event = &e};
        struct store_delivery *const v[] = {&d};
        int64_t id = push(&f, "acme/nb", C1);

        CHECK(body);
        CHECK_OK(db_exec(&f.in->db, "PRAGMA max_page_count = 1", &f.err), &f.err);
        CHECK_ERR(store_intake_accept(f.in, v, 1, &f.err), &f.err, NB_E_IO, "disk is full");
        CHECK_INT(f.err.detail & 0xff, SQLITE_FULL);
        CHECK_ERR(store_intake_accept(f.in, v, 1, &f.err), &f.err, NB_E_IO, f.path);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM delivery"), 1);
        /* the other connection is not held up */
        CHECK_INT(pick(&f), id);
        CHECK_OK(db_exec(&f.in->db, "PRAGMA max_page_count = 1000000", &f.err), &f.err);
        CHECK_OK(store_intake_accept(f.in, v, 1, &f.err), &f.err);
        CHECK_INT(d.kind, ACCEPT_NEW);
}

TEST(a_database_that_cannot_be_written)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1);

        CHECK_OK(db_exec(&f.s->db, "PRAGMA query_only = on", &f.err), &f.err);
        CHECK_ERR(store_ping(f.s, &f.err), &f.err, NB_E_IO, "must be writable");
        CHECK_ERR(store_build_trouble(f.s, id, BUILD_ERRORED, "x", &f.err), &f.err, NB_E_IO,
                  f.path);
        CHECK_OK(db_exec(&f.s->db, "PRAGMA query_only = off", &f.err), &f.err);
        CHECK_OK(store_ping(f.s, &f.err), &f.err);
        CHECK_INT(pick(&f), id);
}

TEST(a_database_that_somebody_holds)
{
        FIX(f);

        CHECK_OK(db_exec(&f.in->db, "BEGIN IMMEDIATE", &f.err), &f.err);
        sqlite3_busy_timeout(f.s->db.sql, 20);
        CHECK_ERR(store_ping(f.s, &f.err), &f.err, NB_E_BUSY, "another process");
        CHECK_OK(db_exec(&f.in->db, "ROLLBACK", &f.err), &f.err);
        CHECK_OK(store_ping(f.s, &f.err), &f.err);
}

TEST(rows_that_make_no_sense)
{
        FIX(f);
        struct store_attempt a;
        const struct store_room room = {"local", 1};

        running(&f, "acme/nb", 1);
        q_run(&f, "UPDATE job SET environment = '{'");
        CHECK_ERR(store_pick_job(f.s, &room, 1, 1, &a, &f.err), &f.err, NB_E_CORRUPT,
                  "environment");
        CHECK_INT(q_int(&f, "SELECT count(*) FROM attempt"), 0);
        q_run(&f, "UPDATE job SET environment = '{}', class = 'dancing', state = 'failed'");
        q_run(&f, "PRAGMA ignore_check_constraints = on");
        q_run(&f, "UPDATE build SET state = 'dancing'");
        CHECK_ERR(store_build_trouble(f.s, 1, BUILD_ERRORED, "x", &f.err), &f.err, NB_E_CORRUPT,
                  "dancing");
}

/* ---- the log ---- */

static off_t size_of(const char *path, const char *more)
{
        nb_auto_free char *name = nb_asprintf("%s%s", path, more);
        struct stat st;

        return stat(name, &st) == 0 ? st.st_size : -1;
}

static void big_delivery(struct fix *f, const char *id)
{
        nb_auto_free char *body = calloc(1, 25 << 20);
        struct store_delivery d = {.forge = "hub",
                                   .delivery_id = id,
                                   .event_name = "push",
                                   .headers = "",
                                   .body = body,
                                   .n_body = 25 << 20,
                                   .ignored = "big"};
        struct store_delivery *const v[] = {&d};

        CHECK(body);
        CHECK_OK(store_intake_accept(f->in, v, 1, &f->err), &f->err);
}

TEST(the_log_is_written_back_by_the_worker_and_has_an_end)
{
        FIX(f);

        big_delivery(&f, "1");
        CHECK(size_of(f.path, "") < 1 << 20); /* the sender did not wait for that */
        f.now++;
        CHECK_OK(store_ping(f.s, &f.err), &f.err);
        CHECK(size_of(f.path, "") > 25 << 20);
        /* and without a worker intake sees to it */
        for (int i = 2; i < 8; i++) {
                char id[8];

                snprintf(id, sizeof(id), "%d", i);
                big_delivery(&f, id);
        }
        CHECK(size_of(f.path, "") > 100 << 20);
        CHECK(size_of(f.path, "-wal") < 110 << 20);
}

/* ---- the hook ---- */

struct hook {
        int left; /* verbs that may still pass */
        bool dies;
        char last[32];
};

static int on_verb(void *arg, const char *verb, struct nb_err *err)
{
        struct hook *h = arg;

        snprintf(h->last, sizeof(h->last), "%s", verb);
        if (h->left-- > 0)
                return 0;
        if (h->dies)
                _exit(0);
        return nb_fail(err, NB_E_IO, "no more");
}

static void hooked(struct fix *f, struct hook *h)
{
        const struct store_opts o = {
                .path = f->path, .clock = &f->clock, .before_verb = on_verb, .before_verb_arg = h};

        f->s = store_close(f->s);
        CHECK_OK(store_open(&o, &f->s, &f->err), &f->err);
}

TEST(the_hook_stops_a_verb_before_it_does_anything)
{
        FIX(f);
        struct hook h = {0};
        int64_t id = push(&f, "acme/nb", C1), due;
        struct store_build b;

        hooked(&f, &h);
        CHECK_ERR(store_pick_build(f.s, &b, &f.err), &f.err, NB_E_IO, "no more");
        CHECK_STR(h.last, "pick_build");
        CHECK_ERR(store_next_due(f.s, &due, &f.err), &f.err, NB_E_IO, "no more");
        CHECK_STR(h.last, "next_due");
        CHECK_STR(build_state_of(&f, id), "queued");
        h.left = 1;
        CHECK_INT(pick(&f), id);
}

/* ---- dying at every verb ---- */

/* What a worker does, again and again until nothing is left; what an earlier
 * life left in flight is finished first. */
static int adopt(void *arg, const struct store_attempt *a)
{
        int64_t *ids = arg;

        ids[++ids[0]] = a->id;
        return 0;
}

static int live(struct fix *f)
{
        int64_t flying[9] = {0}, id;
        struct store_note n;
        int sent = 0;

        CHECK_OK(store_recover(f->s, &f->err), &f->err);
        CHECK_OK(store_each_inflight(f->s, adopt, flying, &f->err), &f->err);
        for (int64_t i = 1; i <= flying[0]; i++)
                finish(f, flying[i], CLASS_PASSED);
        while ((id = pick(f)) > 0)
                prepare(f, id, 2);
        while ((id = start(f)) > 0) {
                CHECK_OK(store_attempt_running(f->s, id, &f->err), &f->err);
                finish(f, id, CLASS_PASSED);
        }
        while (store_outbox_claim(f->s, &n, 1, &f->err) == 1) {
                CHECK_OK(store_outbox_settle(f->s,
                                             &(struct store_settled){n.id, n.seq, NOTE_ACCEPTED, 0},
                                             1, &f->err),
                         &f->err);
                store_note_done(&n);
                sent++;
        }
        return sent;
}

TEST(killed_before_any_verb_the_end_is_the_same)
{
        int k, left = 0;

        for (k = 0; left == 0; k++) {
                FIX(f);
                struct hook h = {.left = k, .dies = true};
                pid_t pid;
                int status;

                push(&f, "acme/nb", C1);
                push(&f, "acme/nb", C2);
                fix_close(&f);
                fflush(stdout);
                pid = fork();
                if (pid == 0) {
                        fix_open(&f);
                        hooked(&f, &h);
                        live(&f);
                        _exit(3); /* it was not killed: all verbs are through */
                }
                CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
                left = WEXITSTATUS(status);
                fix_open(&f);
                live(&f);
                CHECK_INT(q_int(&f, "SELECT count(*) FROM build WHERE state = 'passed'"), 2);
                CHECK_INT(q_int(&f, "SELECT count(*) FROM job WHERE state = 'passed'"), 4);
                CHECK_INT(q_int(&f, "SELECT count(*) FROM attempt"), 4);
                CHECK_INT(q_int(&f, "SELECT count(*) FROM outbox WHERE seq = done_seq "
                                    "AND state = 'success'"),
                          6);
        }
        CHECK_INT(left, 3);
        CHECK(k > 20);
}

NBTEST_MAIN()
