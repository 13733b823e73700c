/* SPDX-License-Identifier: Apache-2.0 */

/* Uploads and downloads, against a store that loses, cuts and damages. */

#include <sys/stat.h>

#include "blob-test.h"

TEST(a_small_object_goes_in_one_request)
{
        static const size_t sizes[] = {0, 1, 100000, 8 * MIB};

        for (size_t i = 0; i < NB_ARRAY_SIZE(sizes); i++) {
                struct fixture f;
                struct ended e;

                set_up(&f, sizes[i]);
                put(&f, &e, 0);
                check_stored(&f, &e);
                CHECK_INT(f.store.wholes, 1);
                CHECK_INT(f.store.sessions, 0);
                tear_down(&f);
        }
}

TEST(a_large_object_goes_in_pieces)
{
        struct fixture f;
        struct ended e;

        set_up(&f, 8 * MIB + 1);
        put(&f, &e, 0);
        check_stored(&f, &e);
        CHECK_INT(f.store.pieces, 2);
        CHECK_INT(f.store.max_piece, 8 * MIB);
        CHECK_STR(f.store.last_range, "bytes 8388608-8388608/8388609");
        CHECK_INT(f.store.wholes, 0);
        tear_down(&f);
}

TEST(a_small_upload_survives_trouble)
{
        struct fixture f;
        struct ended e;

        set_up(&f, 1000);
        FAULTS(&f, BUSY, RESET, BUSY);
        put(&f, &e, 0);
        check_stored(&f, &e);
        tear_down(&f);
}

/* The first try worked and its answer was lost: 412 on the second is no error. */
TEST(a_lost_answer_is_found_by_its_content)
{
        struct fixture f;
        struct ended e;

        set_up(&f, 1000);
        FAULTS(&f, LOST);
        put(&f, &e, 0);
        check_stored(&f, &e);
        CHECK(f.store.wholes >= 2);
        f.data[0] ^= 1;
        put(&f, &e, 0);
        CHECK_INT(e.err.code, NB_E_CONFLICT);
        CHECK(strstr(e.err.msg,
                     "gs://bucket/dir/a b#1.ipynb: is there already with other content"));
        put(&f, &e, 101); /* over exactly that one */
        check_stored(&f, &e);
        tear_down(&f);
}

TEST(without_a_precondition_nothing_is_sent_twice)
{
        struct fixture f;
        struct ended e;

        set_up(&f, 1000);
        FAULTS(&f, RESET);
        put(&f, &e, BLOB_ANY);
        CHECK_INT(e.err.code, NB_E_REMOTE);
        CHECK_INT(f.store.wholes, 1);
        tear_down(&f);
}

static void trouble(const enum fault *v, size_t n, unsigned sessions)
{
        struct fixture f;
        struct ended e;

        set_up(&f, 20 * MIB + 12345);
        faults(&f, v, n);
        put(&f, &e, 0);
        check_stored(&f, &e);
        CHECK_INT(f.store.sessions, sessions);
        tear_down(&f);
}

TEST(a_session_survives_trouble)
{
        static const enum fault part[] = {FINE, PART, BUSY, RESET, FINE, PART, PART};
        static const enum fault lost[] = {LOST, FINE, LOST, LOST, FINE, LOST};
        static const enum fault gone[] = {FINE, FINE, GONE};
        static const enum fault forgotten[] = {FINE, FINE, FORGOTTEN};

        trouble(part, NB_ARRAY_SIZE(part), 1);
        trouble(lost, 4, 2);
        trouble(gone, NB_ARRAY_SIZE(gone), 2);
        trouble(forgotten, NB_ARRAY_SIZE(forgotten), 2);
}

/* The answer to the last piece is lost: the session says 200 when asked. */
TEST(the_last_answer_is_asked_for)
{
        static const enum fault v[] = {FINE, FINE, FINE, LOST};

        trouble(v, NB_ARRAY_SIZE(v), 1);
}

TEST(a_large_object_that_is_there_is_compared)
{
        struct fixture f;
        struct ended e;

        set_up(&f, 9 * MIB);
        put(&f, &e, 0);
        check_stored(&f, &e);
        put(&f, &e, 0);
        check_stored(&f, &e);
        f.data[8 * MIB] ^= 1;
        put(&f, &e, 0);
        CHECK_INT(e.err.code, NB_E_CONFLICT);
        tear_down(&f);
}

TEST(sessions_that_never_end_well_are_given_up)
{
        static const enum fault gone[] = {FINE, GONE, FINE, GONE, FINE, GONE, FINE, GONE};
        static const enum fault busy[] = {FINE, BUSY, BUSY, BUSY, BUSY, BUSY, BUSY, BUSY, BUSY};
        static const enum fault elsewhere[] = {ELSEWHERE};
        struct fixture f;
        struct ended e;

        set_up(&f, 9 * MIB);
        faults(&f, gone, NB_ARRAY_SIZE(gone));
        put(&f, &e, 0);
        CHECK(strstr(e.err.msg, "begun 3 times"));
        faults(&f, busy, NB_ARRAY_SIZE(busy));
        put(&f, &e, 0);
        CHECK(strstr(e.err.msg, "answers 503"));
        faults(&f, elsewhere, NB_ARRAY_SIZE(elsewhere));
        put(&f, &e, 0);
        CHECK(strstr(e.err.msg, "another host"));
        tear_down(&f);
}

TEST(what_arrives_damaged_is_removed)
{
        struct fixture f;
        struct ended e;

        set_up(&f, 1000);
        FAULTS(&f, DAMAGED);
        put(&f, &e, 0);
        CHECK_INT(e.err.code, NB_E_REMOTE);
        CHECK(strstr(e.err.msg, "damaged"));
        CHECK_INT(f.store.n_objects, 0);
        tear_down(&f);
}

/* ---- downloads ---- */

static int open_new(const char *name)
{
        nb_auto_free char *path = nb_asprintf("%s/%s", nbtest_tmpdir(), name);
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        CHECK(fd >= 0);
        return fd;
}

static void get(struct fixture *f, struct ended *e, int64_t generation, uint64_t max, int fd)
{
        *e = (struct ended){0};
        CHECK_OK(blob_get_file(f->blob, "gs://bucket/dir/a b#1.ipynb", generation, max, fd, on_done,
                               e, &e->op, &f->w.err),
                 &f->w.err);
        world_wait(&f->w, &e->calls, 1);
}

static void check_file(const struct fixture *f, int fd)
{
        nb_auto_free char *p = malloc(f->n + 1);
        struct stat st;

        CHECK(p && fstat(fd, &st) == 0);
        CHECK_INT(st.st_size, f->n);
        CHECK_INT(pread(fd, p, f->n, 0), f->n);
        CHECK(memcmp(p, f->data, f->n) == 0);
}

static void round_trip(size_t n, const enum fault *v, size_t n_faults)
{
        struct fixture f;
        struct ended e;
        nb_auto_fd int fd = open_new("got");

        CHECK(write(fd, "something longer", 16) == 16);
        set_up(&f, n);
        put(&f, &e, 0);
        check_stored(&f, &e);
        faults(&f, v, n_faults);
        get(&f, &e, 0, UINT64_MAX, fd);
        if (!e.has_object)
                FAIL("failed: %s", e.err.msg);
        check_file(&f, fd);
        CHECK_INT(f.store.n_faults, 0);
        tear_down(&f);
}

TEST(an_object_comes_back)
{
        static const enum fault part[] = {BUSY, CUT, RESET, FINE, CUT, FINE};
        static const enum fault damaged[] = {FINE, DAMAGED, FINE, FINE, DAMAGED, FINE};

        round_trip(0, NULL, 0);
        round_trip(1, NULL, 0);
        round_trip(8 * MIB, NULL, 0);
        round_trip(17 * MIB + 3, part, NB_ARRAY_SIZE(part));
        round_trip(17 * MIB + 3, damaged, NB_ARRAY_SIZE(damaged));
}

TEST(a_download_has_its_bounds)
{
        static const enum fault damaged[] = {DAMAGED, DAMAGED, DAMAGED};
        struct fixture f;
        struct ended e;
        nb_auto_fd int fd = open_new("bounded");

        set_up(&f, 1000);
        get(&f, &e, 0, 1000, fd);
        CHECK_INT(e.err.code, NB_E_NOTFOUND);
        CHECK(strstr(e.err.msg, "No such object"));
        put(&f, &e, 0);
        get(&f, &e, 0, 999, fd);
        CHECK_INT(e.err.code, NB_E_LIMIT);
        CHECK(strstr(e.err.msg, "has 1000 bytes; 999 are allowed"));
        get(&f, &e, 99, 1000, fd);
        CHECK_INT(e.err.code, NB_E_NOTFOUND);
        get(&f, &e, 101, 1000, fd);
        CHECK(e.has_object);
        check_file(&f, fd);
        faults(&f, damaged, NB_ARRAY_SIZE(damaged));
        get(&f, &e, 0, 1000, fd);
        CHECK_INT(e.err.code, NB_E_REMOTE);
        CHECK(strstr(e.err.msg, "came damaged 3 times"));
        tear_down(&f);
}

/* ---- files, and what is not waited for ---- */

TEST(a_file_is_read_from_its_beginning)
{
        const struct blob_put p = {.url = "gs://bucket/dir/a b#1.ipynb"};
        struct fixture f;
        struct ended e = {0};
        int fd = open_new("up");

        set_up(&f, 9 * MIB + 5);
        CHECK_OK(nb_write_all(fd, f.data, f.n, &f.w.err), &f.w.err);
        CHECK_OK(blob_put_file(f.blob, &p, fd, on_done, &e, &e.op, &f.w.err), &f.w.err);
        close(fd); /* ours has been copied */
        world_wait(&f.w, &e.calls, 1);
        check_stored(&f, &e);
        CHECK_STR(f.store.last_range, "bytes 8388608-9437188/9437189");
        tear_down(&f);
}

TEST(cancelled_operations_are_silent)
{
        const struct blob_put p = {.url = "gs://bucket/dir/x"};
        struct fixture f;
        struct ended e = {0}, other;

        set_up(&f, 9 * MIB);
        CHECK_OK(blob_put_bytes(f.blob, &p, f.data, f.n, on_done, &e, &e.op, &f.w.err), &f.w.err);
        blob_cancel(e.op); /* the pool has it */
        CHECK_OK(blob_put_bytes(f.blob, &p, f.data, f.n, on_done, &e, &e.op, &f.w.err), &f.w.err);
        for (int i = 0; i < 6; i++)
                CHECK_OK(loop_step(f.w.loop, 10 * NB_US_PER_MS, &f.w.err), &f.w.err);
        blob_cancel(e.op);
        put(&f, &other, 0);
        check_stored(&f, &other);
        CHECK_INT(e.calls, 0);
        blob_cancel(NULL);
        tear_down(&f);
}

NBTEST_MAIN()
