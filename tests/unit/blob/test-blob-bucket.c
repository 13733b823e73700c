/* SPDX-License-Identifier: Apache-2.0 */

/* What is more than one object: trees, lists, buckets, and the addresses of all of them. */

#include "blob-test.h"

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

/* ---- buckets ---- */

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
