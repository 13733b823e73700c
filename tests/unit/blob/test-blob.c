/* SPDX-License-Identifier: Apache-2.0 */

/* Uploads and downloads, against a store that loses, cuts and damages. */

#include <sys/stat.h>

#include <nbcid/blob.h>
#include <nbcid/crypto.h>

#include "../gcp/world.h"
#include "store.h"

#define MIB ((size_t)1 << 20)

struct fixture {
        struct world w;
        struct store store;
        struct blob *blob;
        char *data; /* random */
        size_t n;
};

struct ended {
        struct blob_op *op;
        int calls;
        bool has_object;
        struct blob_object o; /* texts are gone */
        struct nb_err err;
        unsigned each;
        char names[200];
};

static void on_done(void *arg, const struct blob_object *o, const struct nb_err *err)
{
        struct ended *e = arg;

        e->op = NULL;
        e->calls++;
        e->has_object = o != NULL;
        if (o)
                e->o = *o;
        if (err)
                e->err = *err;
}

static void set_up(struct fixture *f, size_t n)
{
        struct blob_opts o = {.backoff_us = NB_US_PER_MS};

        *f = (struct fixture){.n = n};
        world_start(&f->w, store_serve, &f->store);
        (void)nb_fmt(f->store.base, sizeof(f->store.base), "%s", f->w.base);
        f->store.session_if = -1;
        f->store.clock = 100;
        world_gcp(&f->w, put_user());
        o.loop = f->w.loop;
        o.gcp = f->w.gcp;
        o.url = f->w.base;
        CHECK_OK(blob_new(&o, &f->blob, &f->w.err), &f->w.err);
        f->data = malloc(n + 1);
        CHECK(f->data);
        nb_random(f->data, n);
}

static void tear_down(struct fixture *f)
{
        blob_free(f->blob);
        world_stop(&f->w);
        store_done(&f->store);
        free(f->data);
}

static void faults(struct fixture *f, const enum fault *v, size_t n)
{
        f->store.faults = v;
        f->store.n_faults = n;
}
#define FAULTS(f, ...) \
        faults(f, (const enum fault[]){__VA_ARGS__}, \
               sizeof((const enum fault[]){__VA_ARGS__}) / sizeof(enum fault))

static void put(struct fixture *f, struct ended *e, int64_t if_generation)
{
        const struct blob_put p = {.url = "gs://bucket/dir/a b#1.ipynb",
                                   .if_generation = if_generation};

        *e = (struct ended){0};
        CHECK_OK(blob_put_bytes(f->blob, &p, f->data, f->n, on_done, e, &e->op, &f->w.err),
                 &f->w.err);
        CHECK_INT(e->calls, 0);
        world_wait(&f->w, &e->calls, 1);
}

/* The upload succeeded, and the store has exactly our bytes. */
static void check_stored(struct fixture *f, const struct ended *e)
{
        const struct stored *o = store_find(&f->store, "dir/a b#1.ipynb");

        if (!e->has_object)
                FAIL("failed: %s", e->err.msg);
        CHECK(o);
        CHECK_INT(o->n, f->n);
        CHECK(memcmp(o->data, f->data, f->n) == 0);
        CHECK_INT(e->o.generation, o->generation);
        CHECK_INT(e->o.size, f->n);
        CHECK_INT(f->store.n_faults, 0);
}

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

/* ---- files, trees ---- */

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

static void sh(const char *cmd)
{
        nb_auto_free char *line = nb_asprintf("cd %s && %s", nbtest_tmpdir(), cmd);

        CHECK(line);
        CHECK_INT(system(line), 0);
}

static void put_tree(struct fixture *f, struct ended *e, const char *dir)
{
        const struct blob_put p = {.url = "gs://bucket/dir/a b#1.ipynb",
                                   .content_type = "application/x-tar; a=octet-stream",
                                   .if_generation = BLOB_ANY};
        nb_auto_free char *path = nb_asprintf("%s/%s", nbtest_tmpdir(), dir);

        *e = (struct ended){0};
        CHECK_OK(blob_put_tree(f->blob, &p, path, on_done, e, &e->op, &f->w.err), &f->w.err);
        world_wait(&f->w, &e->calls, 1);
}

/* GNU tar unpacks what we packed, and finds the same. */
TEST(a_tree_comes_back)
{
        struct fixture f;
        struct ended e;
        const struct stored *o;
        nb_auto_free char *tar = nb_asprintf("%s/t.tar", nbtest_tmpdir());
        nb_auto_free char *first = NULL;
        size_t n;

        sh("mkdir -p tree/sub/empty 'tree/a dir' && echo hi >tree/b.txt && : >tree/zero && "
           "echo x >tree/run && chmod 755 tree/run && ln -s ../b.txt tree/sub/link && "
           "d=$(printf 'n%.0s' $(seq 90)) && mkdir -p tree/$d/$d && echo deep >tree/$d/$d/$d && "
           "ln -s $d/$d/$d tree/longlink && printf 'u' >'tree/\xc3\xbc.txt' && "
           "head -c 20000000 /dev/urandom >tree/big && head -c 512 /dev/zero >tree/block");
        set_up(&f, 1);
        put_tree(&f, &e, "tree");
        if (!e.has_object)
                FAIL("failed: %s", e.err.msg);
        o = store_find(&f.store, "dir/a b#1.ipynb");
        CHECK(f.store.sessions == 1 && o->n % 512 == 0);
        CHECK_OK(nb_write_file(AT_FDCWD, tar, o->data, o->n, 0600, false, &f.w.err), &f.w.err);
        sh("mkdir out && tar -C out --warning=no-timestamp -xf t.tar && diff -r --no-dereference "
           "tree out && test -x out/run && test ! -x out/b.txt && test -L out/longlink && "
           "test -d out/sub/empty");
        n = o->n;
        first = malloc(n);
        CHECK(first);
        memcpy(first, o->data, n);
        sh("touch -d 2001-01-01 tree/b.txt"); /* the same tree is the same bytes */
        put_tree(&f, &e, "tree");
        o = store_find(&f.store, "dir/a b#1.ipynb");
        CHECK(o->n == n && memcmp(first, o->data, n) == 0);
        sh("mkfifo tree/pipe");
        put_tree(&f, &e, "tree");
        CHECK_INT(e.err.code, NB_E_INVALID);
        CHECK(strstr(e.err.msg, "tree/pipe is no file"));
        put_tree(&f, &e, "nonesuch");
        CHECK_INT(e.err.code, NB_E_NOTFOUND);
        tear_down(&f);
}

/* A session that is gone in the middle: the tree is read again. */
TEST(a_tree_is_begun_again)
{
        static const enum fault v[] = {FINE, FINE, GONE, FINE, FINE, PART};
        struct fixture f;
        struct ended e;

        sh("mkdir -p big && head -c 20000000 /dev/urandom >big/big");
        set_up(&f, 1);
        faults(&f, v, NB_ARRAY_SIZE(v));
        put_tree(&f, &e, "big");
        CHECK(e.has_object);
        CHECK_INT(f.store.sessions, 2);
        CHECK_INT(e.o.size, store_find(&f.store, "dir/a b#1.ipynb")->n);
        tear_down(&f);
}

/* ---- the rest ---- */

static void on_each(void *arg, const struct blob_object *o)
{
        struct ended *e = arg;
        size_t at = strlen(e->names);

        e->each++;
        (void)nb_fmt(e->names + at, sizeof(e->names) - at, "%s ", o->name);
}

TEST(objects_are_listed_and_removed)
{
        struct fixture f;
        struct ended e = {0};

        set_up(&f, 10);
        f.store.page = 2;
        for (int i = 0; i < 5; i++) {
                char url[64];
                const struct blob_put p = {.url = url};
                e = (struct ended){0};
                (void)nb_fmt(url, sizeof(url), "gs://bucket/%s/%d", i == 3 ? "other" : "run", i);
                CHECK_OK(blob_put_bytes(f.blob, &p, f.data, f.n, on_done, &e, &e.op, &f.w.err),
                         &f.w.err);
                world_wait(&f.w, &e.calls, 1);
        }
        e = (struct ended){0};
        CHECK_OK(blob_list(f.blob, "gs://bucket/run/", 10, on_each, on_done, &e, &e.op, &f.w.err),
                 &f.w.err);
        world_wait(&f.w, &e.calls, 1);
        CHECK_STR(e.names, "run/0 run/1 run/2 run/4 ");
        CHECK_INT(e.err.code, 0);
        e = (struct ended){0};
        CHECK_OK(blob_list(f.blob, "gs://bucket", 3, on_each, on_done, &e, &e.op, &f.w.err),
                 &f.w.err);
        world_wait(&f.w, &e.calls, 1);
        CHECK_INT(e.err.code, NB_E_LIMIT);
        CHECK_INT(e.each, 3);
        for (int i = 0; i < 2; i++) { /* the second time it is gone */
                e = (struct ended){0};
                CHECK_OK(blob_delete(f.blob, "gs://bucket/run/1", 0, on_done, &e, &e.op, &f.w.err),
                         &f.w.err);
                world_wait(&f.w, &e.calls, 1);
                CHECK_INT(e.err.code, 0);
                CHECK_INT(f.store.n_objects, 4);
        }
        tear_down(&f);
}

static void bucket(struct fixture *f, struct ended *e, const char *project)
{
        *e = (struct ended){0};
        CHECK_OK(blob_bucket(f->blob, "p-notebook-training", project, "us-central1", on_done, e,
                             &e->op, &f->w.err),
                 &f->w.err);
        world_wait(&f->w, &e->calls, 1);
}

TEST(a_bucket_is_created_once)
{
        struct fixture f;
        struct ended e;

        set_up(&f, 1);
        bucket(&f, &e, NULL);
        CHECK_INT(e.err.code, NB_E_NOTFOUND);
        CHECK(strstr(e.err.msg, "create it"));
        bucket(&f, &e, "p");
        CHECK_INT(e.err.code, 0);
        CHECK(f.store.bucket_exists);
        bucket(&f, &e, "p");
        CHECK_INT(e.err.code, 0);
        f.store.bucket_foreign = true;
        bucket(&f, &e, "p");
        CHECK_INT(e.err.code, NB_E_DENIED);
        CHECK(strstr(e.err.msg, "another project"));
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

TEST(addresses_of_objects)
{
        static const char *const bad[] = {
                "",
                "bucket/x",
                "s3://bucket/x",
                "gs://",
                "gs:///x",
                "gs://ab/x",
                "gs://Bucket/x",
                "gs://-ab/x",
                "gs://a..b/x",
                "gs://a b/x",
                "gs://abc//x",
                "gs://abc/a//b",
                "gs://abc/../x",
                "gs://abc/a/..",
                "gs://abc/./x",
                "gs://abc/a\nb",
                "gs://abc/a\x7f",
                "gs://abc/\xff",
                "gs://abc/\xc2\x85",
        };
        static const char *const good[] = {"gs://abc", "gs://abc/", "gs://abc/a b/c..d/..e/f.",
                                           "gs://a.b-c_d/\xc3\xbc#?*[x].ipynb", "gs://abc/dir/"};
        nb_auto_free char *large = calloc(1, 2000);
        struct blob_url u;
        struct nb_err err;

        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++)
                CHECK_ERR(blob_url_parse(bad[i], &u, &err), &err, NB_E_INVALID, "");
        for (size_t i = 0; i < NB_ARRAY_SIZE(good); i++) {
                CHECK_OK(blob_url_parse(good[i], &u, &err), &err);
                blob_url_done(&u);
        }
        CHECK(large);
        memset(large, 'x', 1500);
        memcpy(large, "gs://abc/", 9);
        CHECK_ERR(blob_url_parse(large, &u, &err), &err, NB_E_INVALID, "1024");
        CHECK_ERR(blob_url_parse(NULL, &u, &err), &err, NB_E_INVALID, "gs://bucket/name");
}

NBTEST_MAIN()
