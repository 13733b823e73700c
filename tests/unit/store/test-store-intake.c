/* SPDX-License-Identifier: Apache-2.0 */
/* deliveries: stored once, merged while queued; what an operator asks for */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store-test.h"

struct one { /* a delivery and its event */
        struct event e;
        struct store_delivery d;
};

static void one_done(struct one *o)
{
        event_done(&o->e);
}
#define ONE(o, id, ref, after) \
        NB_CLEANUP(one_done) struct one o = {.e = event_of("acme/nb", ref, after)}; \
        o.d = (struct store_delivery) \
        { \
                .forge = "hub", .delivery_id = id, .event_name = "push", .headers = "", \
                .body = "body", .n_body = 4, .event = &o.e \
        }

static int64_t accept1(struct fix *f, struct store_delivery *d)
{
        struct store_delivery *const v[] = {d};

        CHECK_OK(store_intake_accept(f->in, v, 1, &f->err), &f->err);
        return d->build;
}

TEST(a_push_is_stored_with_a_queued_build_and_a_note)
{
        FIX(f);
        ONE(o, "id-1", "refs/heads/main", C2);
        struct store_build b;

        snprintf(o.e.before, sizeof(o.e.before), "%s", C1);
        CHECK(accept1(&f, &o.d) > 0);
        CHECK_INT(o.d.kind, ACCEPT_NEW);
        CHECK(!o.d.was_ignored);
        CHECK_INT(q_int(&f,
                        "SELECT count(*) FROM delivery WHERE build = %d AND body = x'626f6479' "
                        "AND received_ms = %d AND event_name = 'push' AND forge = 'hub'",
                        (int)o.d.build, T0),
                  1);
        CHECK_STR(wanted(&f, "nbcid"), "pending | queued | /builds/1");
        CHECK_INT(q_int(&f, "SELECT count(*) FROM outbox WHERE commit_oid = '" C2 "'"), 1);
        CHECK_OK(store_pick_build(f.s, &b, &f.err), &f.err);
        CHECK_INT(b.id, o.d.build);
        CHECK_STR(b.forge, "hub");
        CHECK_INT(b.trigger, TRIGGER_PUSH);
        CHECK_INT(b.event.kind, EVENT_PUSH);
        CHECK_STR(b.event.repository, "acme/nb");
        CHECK_STR(b.event.ref, "refs/heads/main");
        CHECK_STR(b.event.before, C1);
        CHECK_STR(b.event.after, C2);
        CHECK_STR(b.event.default_branch, "main");
        CHECK_STR(b.event.title, "title");
        CHECK_STR(b.event.author, "ada");
        CHECK(!b.only);
        CHECK_INT(b.tries, 0);
        store_build_done(&b);
}

TEST(the_same_delivery_again_names_the_same_build)
{
        FIX(f);
        ONE(a, "id-1", "refs/heads/main", C1);
        ONE(b, "id-1", "refs/heads/other", C2);
        ONE(c, "id-1", "refs/heads/other", C2);
        int64_t id = accept1(&f, &a.d);

        CHECK_INT(accept1(&f, &b.d), id);
        CHECK_INT(b.d.kind, ACCEPT_DUPLICATE);
        CHECK(!b.d.was_ignored);
        /* known by (forge, id) */
        c.d.forge = "lab";
        CHECK(accept1(&f, &c.d) != id);
        CHECK_INT(c.d.kind, ACCEPT_NEW);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM delivery"), 2);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM build"), 2);
}

TEST(duplicates_inside_one_batch)
{
        FIX(f);
        ONE(a, "id-1", "refs/heads/main", C1);
        ONE(b, "id-1", "refs/heads/main", C1);
        ONE(c, "id-2", "refs/heads/main", C2);
        struct store_delivery *const v[] = {&a.d, &b.d, &c.d};

        CHECK_OK(store_intake_accept(f.in, v, 3, &f.err), &f.err);
        CHECK_INT(a.d.kind, ACCEPT_NEW);
        CHECK_INT(b.d.kind, ACCEPT_DUPLICATE);
        CHECK_INT(b.d.build, a.d.build);
        CHECK_INT(c.d.kind, ACCEPT_NEW);
        CHECK(c.d.build != a.d.build);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM delivery"), 2);
}

TEST(ignored_deliveries_are_remembered)
{
        FIX(f);
        ONE(a, "id-1", "", "");
        ONE(b, "id-1", "", "");

        a.d.event = b.d.event = NULL;
        a.d.ignored = b.d.ignored = "ping";
        CHECK_INT(accept1(&f, &a.d), 0);
        CHECK_INT(a.d.kind, ACCEPT_IGNORED);
        CHECK_INT(accept1(&f, &b.d), 0);
        CHECK_INT(b.d.kind, ACCEPT_DUPLICATE);
        CHECK(b.d.was_ignored);
        CHECK_STR(q_text(&f, "SELECT ignored FROM delivery"), "ping");
        CHECK_INT(q_int(&f, "SELECT count(*) FROM build"), 0);
}

TEST(a_batch_is_all_or_none)
{
        FIX(f);
        ONE(a, "id-1", "refs/heads/main", C1);
        ONE(b, "id-2", "", "");
        struct store_delivery *const v[] = {&a.d, &b.d};

        b.d.event = NULL; /* and no reason: the table refuses it */
        CHECK_ERR(store_intake_accept(f.in, v, 2, &f.err), &f.err, NB_E_CONFLICT, "constraint");
        CHECK_INT(q_int(&f, "SELECT count(*) FROM delivery"), 0);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM build"), 0);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM outbox"), 0);
        b.d.ignored = "ping";
        CHECK_OK(store_intake_accept(f.in, v, 2, &f.err), &f.err);
        CHECK_INT(a.d.kind, ACCEPT_NEW);
}

TEST(pushes_of_one_commit_merge_while_queued)
{
        FIX(f);
        ONE(a, "id-1", "refs/heads/main", C1);
        ONE(b, "id-2", "refs/heads/main", C1);
        ONE(c, "id-3", "refs/heads/main", C2);
        ONE(d, "id-4", "refs/heads/dev", C1);
        ONE(e, "id-5", "refs/heads/main", C1);
        ONE(g, "id-6", "refs/heads/main", C1);
        int64_t id = accept1(&f, &a.d);

        CHECK_INT(accept1(&f, &b.d), id);
        CHECK_INT(b.d.kind, ACCEPT_NEW);
        CHECK(accept1(&f, &c.d) != id); /* another commit */
        CHECK(accept1(&f, &d.d) != id); /* another ref */
        e.d.forge = "lab";
        CHECK(accept1(&f, &e.d) != id);
        CHECK_INT(pick(&f), id);
        CHECK(accept1(&f, &g.d) != id); /* it is being prepared */
        CHECK_INT(q_int(&f, "SELECT count(*) FROM delivery WHERE build = %d", (int)id), 2);
}

TEST(a_body_that_comes_again_under_another_id_makes_nothing)
{
        FIX(f);
        ONE(a, "id-1", "refs/heads/main", C1);
        ONE(b, "id-2", "refs/heads/main", C1);
        ONE(c, "id-3", "refs/heads/main", C1);
        ONE(g, "id-4", "refs/heads/main", C1);
        int64_t id;

        a.d.replay = b.d.replay = c.d.replay = true;
        id = accept1(&f, &a.d);
        CHECK_INT(a.d.kind, ACCEPT_NEW);
        CHECK_INT(accept1(&f, &b.d), id); /* queued still */
        CHECK_INT(b.d.kind, ACCEPT_DUPLICATE);
        CHECK_INT(pick(&f), id);
        CHECK(prepare(&f, id, 0));
        CHECK_INT(accept1(&f, &b.d), id); /* it has ended */
        CHECK_INT(b.d.kind, ACCEPT_DUPLICATE);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM delivery"), 1);
        /* as long, but another */
        c.d.body = "bodY";
        CHECK(accept1(&f, &c.d) != id);
        CHECK_INT(c.d.kind, ACCEPT_NEW);
        /* where equal bodies may be two events */
        CHECK(accept1(&f, &g.d) != id);
        CHECK_INT(g.d.kind, ACCEPT_NEW);
}

TEST(no_merge_with_what_is_not_a_plain_queued_push)
{
        FIX(f);
        ONE(a, "id-1", "refs/heads/main", C1);
        ONE(b, "id-2", "refs/heads/main", C1);
        ONE(c, "id-3", "refs/heads/main", C1);
        int64_t first = accept1(&f, &a.d), second, retry;

        CHECK_OK(store_intake_cancel(f.in, first, &f.err), &f.err);
        second = accept1(&f, &b.d);
        CHECK(second != first);
        CHECK_OK(store_build_trouble(f.s, second, BUILD_ERRORED, "x", &f.err), &f.err);
        CHECK_OK(store_intake_retry(f.in, second, 0, &retry, &f.err), &f.err);
        CHECK(accept1(&f, &c.d) != retry);
}

TEST(a_tag_owes_no_note_until_its_commit_is_known)
{
        FIX(f);
        ONE(a, "id-1", "refs/tags/v1", C3);
        struct store_build b;

        a.e.kind = EVENT_TAG;
        CHECK(accept1(&f, &a.d) > 0);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM outbox"), 0);
        CHECK_OK(store_pick_build(f.s, &b, &f.err), &f.err);
        CHECK_INT(b.event.kind, EVENT_TAG);
        store_build_done(&b);
        CHECK(!prepare(&f, a.d.build, 1));
        CHECK_STR(wanted(&f, "nbcid"), "running | running 1 notebook | /builds/1");
        CHECK_INT(q_int(&f, "SELECT count(*) FROM outbox WHERE commit_oid = '" C3 "'"), 2);
}

TEST(bodies_of_all_sizes)
{
        FIX(f);
        ONE(a, "id-1", "refs/heads/main", C1);
        ONE(b, "id-2", "refs/heads/main", C1);
        nb_auto_free char *body = malloc(25 << 20);

        CHECK(body);
        memset(body, 'x', 25 << 20);
        a.d.body = body;
        a.d.n_body = 25 << 20;
        accept1(&f, &a.d);
        b.d.body = NULL;
        b.d.n_body = 0;
        accept1(&f, &b.d);
        CHECK_INT(q_int(&f, "SELECT length(body) FROM delivery WHERE id = 1"), 25 << 20);
        CHECK_INT(q_int(&f, "SELECT length(body) FROM delivery WHERE id = 2"), 0);
}

static int64_t size_of(const char *path)
{
        struct stat st;

        CHECK_INT(stat(path, &st), 0);
        return st.st_size;
}

/* What vfs.c may keep back, and until when. */
TEST(writes_to_the_log_are_gathered_and_never_late)
{
        FIX(f); /* registers it */
        sqlite3_vfs *vfs = sqlite3_vfs_find(GATHER_VFS);
        nb_auto_free sqlite3_file *log = vfs ? calloc(1, (size_t)vfs->szOsFile) : NULL;
        const sqlite3_io_methods *m;
        static char big[125000], back[5];
        char database[104], path[112];
        sqlite3_int64 size;

        CHECK(log);
        snprintf(database, sizeof(database), "%s-test", f.path);
        snprintf(path, sizeof(path), "%s-wal", database);
        /* it takes its mode from the database */
        nb_auto_fd int fd = open(database, O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        CHECK(fd >= 0);
        CHECK_INT(vfs->xOpen(vfs, path, log,
                             SQLITE_OPEN_WAL | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL),
                  SQLITE_OK);
        m = log->pMethods;
        CHECK_INT(m->xWrite(log, "abc", 3, 0), SQLITE_OK);
        CHECK_INT(m->xWrite(log, "defgh", 5, 3), SQLITE_OK);
        CHECK_INT(size_of(path), 0);
        CHECK_INT(m->xRead(log, back, 4, 2), SQLITE_OK);
        CHECK_STR(back, "cdef");
        CHECK_INT(m->xWrite(log, "X", 1, 8), SQLITE_OK);
        CHECK_INT(m->xSync(log, SQLITE_SYNC_NORMAL), SQLITE_OK);
        CHECK_INT(size_of(path), 9);
        CHECK_INT(m->xWrite(log, "Y", 1, 9), SQLITE_OK);
        CHECK_INT(m->xFileSize(log, &size), SQLITE_OK);
        CHECK_INT(size, 10);
        /* not adjacent, and more than it holds: still in their order */
        CHECK_INT(m->xWrite(log, "1", 1, 10), SQLITE_OK);
        CHECK_INT(m->xWrite(log, "2", 1, 0), SQLITE_OK);
        CHECK_INT(size_of(path), 11);
        CHECK_INT(m->xWrite(log, big, sizeof(big), 1), SQLITE_OK);
        CHECK_INT(size_of(path), 1 + (int64_t)sizeof(big));
        CHECK_INT(m->xWrite(log, "Z", 1, 300000), SQLITE_OK);
        CHECK_INT(m->xTruncate(log, 3), SQLITE_OK);
        CHECK_INT(size_of(path), 3);
        for (int i = 0; i < 100; i++)
                CHECK_INT(m->xWrite(log, big, 4096, 3 + 4096 * i), SQLITE_OK);
        CHECK_INT(m->xSync(log, SQLITE_SYNC_NORMAL), SQLITE_OK);
        CHECK_INT(size_of(path), 3 + 4096 * 100);
        CHECK_INT(m->xTruncate(log, 3), SQLITE_OK);
        CHECK_INT(m->xWrite(log, "end", 3, 3), SQLITE_OK);
        CHECK_INT(m->xClose(log), SQLITE_OK);
        CHECK_INT(size_of(path), 6);
        unlink(path);
        unlink(database);
}

/* Pages that leave the cache before the commit, and are read back. */
TEST(a_batch_larger_than_the_cache_is_whole)
{
        enum { N = 6, SIZE = 700001 };
        FIX(f);
        struct store_delivery d[N], *v[N];
        nb_auto_free char *body = malloc(SIZE);

        CHECK(body);
        for (size_t i = 0; i < SIZE; i++)
                body[i] = (char)('a' + i % 23);
        for (int i = 0; i < N; i++) {
                static const char *const ids[N] = {"1", "2", "3", "4", "5", "6"};

                d[i] = (struct store_delivery){.forge = "hub",
                                               .delivery_id = ids[i],
                                               .event_name = "push",
                                               .headers = "",
                                               .body = body,
                                               .n_body = SIZE,
                                               .ignored = "no"};
                v[i] = &d[i];
        }
        for (int round = 0; round < 2; round++) {
                CHECK_OK(store_intake_accept(f.in, v, N, &f.err), &f.err);
                CHECK_INT(d[N - 1].kind, round == 0 ? ACCEPT_IGNORED : ACCEPT_DUPLICATE);
        }
        CHECK_INT(q_int(&f, "SELECT count(*) FROM delivery WHERE length(body) = %d", SIZE), N);
        CHECK_INT(q_int(&f, "SELECT count(DISTINCT body) FROM delivery"), 1);
        CHECK_INT(q_int(&f, "SELECT substr(body, 700000) = x'%02x%02x' FROM delivery LIMIT 1",
                        body[SIZE - 2], body[SIZE - 1]),
                  1);
        CHECK_INT(q_int(&f, "SELECT count(*) FROM pragma_integrity_check "
                            "WHERE integrity_check = 'ok'"),
                  1);
}

TEST(backlog_counts_queued_builds_up_to_a_cap)
{
        FIX(f);
        uint32_t n;

        CHECK_OK(store_intake_backlog(f.in, 10, &n, &f.err), &f.err);
        CHECK_INT(n, 0);
        push(&f, "a/1", C1);
        push(&f, "a/2", C1);
        push(&f, "a/3", C1);
        CHECK_OK(store_intake_backlog(f.in, 10, &n, &f.err), &f.err);
        CHECK_INT(n, 3);
        CHECK_OK(store_intake_backlog(f.in, 2, &n, &f.err), &f.err);
        CHECK_INT(n, 2);
        CHECK(pick(&f) > 0);
        CHECK_OK(store_intake_backlog(f.in, 10, &n, &f.err), &f.err);
        CHECK_INT(n, 2);
}

TEST(cancel_wants_a_build_that_has_not_ended)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1);

        CHECK_ERR(store_intake_cancel(f.in, 99, &f.err), &f.err, NB_E_NOTFOUND, "no build 99");
        CHECK_OK(store_intake_cancel(f.in, id, &f.err), &f.err);
        CHECK_OK(store_intake_cancel(f.in, id, &f.err), &f.err);
        CHECK_OK(store_pick_cancel(f.s, &id, &f.err), &f.err);
        CHECK_ERR(store_intake_cancel(f.in, id, &f.err), &f.err, NB_E_CONFLICT, "it is cancelled");
}

TEST(retry_makes_a_new_build_of_the_same_event)
{
        FIX(f);
        int64_t id = push(&f, "acme/nb", C1), again, third;
        struct store_build b;

        CHECK_ERR(store_intake_retry(f.in, 99, 0, &again, &f.err), &f.err, NB_E_NOTFOUND,
                  "no build 99");
        CHECK_ERR(store_intake_retry(f.in, 0, 99, &again, &f.err), &f.err, NB_E_NOTFOUND,
                  "no job 99");
        CHECK_ERR(store_intake_retry(f.in, id, 0, &again, &f.err), &f.err, NB_E_CONFLICT,
                  "has not ended");
        CHECK_INT(pick(&f), id);
        CHECK(!prepare(&f, id, 2));
        CHECK_ERR(store_intake_retry(f.in, 0, 1, &again, &f.err), &f.err, NB_E_CONFLICT,
                  "has not ended");
        CHECK(!finish(&f, start(&f), CLASS_PASSED));
        CHECK(finish(&f, start(&f), CLASS_CELL_ERROR));

        f.now += 5;
        CHECK_OK(store_intake_retry(f.in, id, 0, &again, &f.err), &f.err);
        CHECK(again > id);
        CHECK_STR(wanted(&f, "nbcid"), "pending | queued | /builds/2");
        CHECK_OK(store_intake_retry(f.in, 0, 2, &third, &f.err), &f.err);

        CHECK_OK(store_pick_build(f.s, &b, &f.err), &f.err);
        CHECK_INT(b.id, again);
        CHECK_INT(b.trigger, TRIGGER_MANUAL);
        CHECK_STR(b.event.after, C1);
        CHECK(!b.only);
        store_build_done(&b);
        CHECK_OK(store_pick_build(f.s, &b, &f.err), &f.err);
        CHECK_INT(b.id, third);
        CHECK_STR(b.only, "b.ipynb");
        store_build_done(&b);
        CHECK_INT(q_int(&f, "SELECT retry_of FROM build WHERE id = %d", (int)third), id);
        CHECK_INT(q_int(&f, "SELECT created_ms FROM build WHERE id = %d", (int)third), T0 + 5);

        /* a retry of one notebook, retried, stays with that notebook */
        CHECK_OK(store_build_trouble(f.s, third, BUILD_ERRORED, "x", &f.err), &f.err);
        CHECK_OK(store_intake_retry(f.in, third, 0, &again, &f.err), &f.err);
        CHECK_STR(q_text(&f, "SELECT only_notebook FROM build WHERE id = %d", (int)again),
                  "b.ipynb");
}

TEST(ping_writes)
{
        FIX(f);

        CHECK_OK(store_intake_ping(f.in, &f.err), &f.err);
        CHECK_INT(q_int(&f, "SELECT pinged_ms FROM meta"), T0);
        f.now++;
        CHECK_OK(store_ping(f.s, &f.err), &f.err);
        CHECK_INT(q_int(&f, "SELECT pinged_ms FROM meta"), T0 + 1);
}

NBTEST_MAIN()
