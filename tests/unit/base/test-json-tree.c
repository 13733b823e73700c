/* SPDX-License-Identifier: Apache-2.0 */

/* test-json-tree.c - the tree, once it is read */

#include "json-test.h"

TEST(the_tree_is_read_by_path)
{
        struct nb_json_tree *t =
                tree("{\"repository\":{\"full_name\":\"a/b\",\"id\":9007199254740993,\"fork\":true,"
                     "\"topics\":[\"x\",\"y\",null]},\"size\":1.5}");
        const struct nb_json *v = nb_json_root(t);
        const char *key = NULL;
        double d = 0;
        int64_t i = 0;
        bool b = false;
        size_t n = 0;

        CHECK_STR(nb_json_type_name(nb_json_type(v)), "object");
        CHECK_STR(nb_json_str(nb_json_at(v, "repository", "full_name", NULL), &n), "a/b");
        CHECK_INT(n, 3);
        CHECK(nb_json_int(nb_json_at(v, "repository", "id", NULL), &i));
        CHECK(i == 9007199254740993);
        CHECK(nb_json_bool(nb_json_at(v, "repository", "fork", NULL), &b) && b);
        CHECK(nb_json_double(nb_json_get(v, "size"), &d) && d == 1.5);
        CHECK(nb_json_at(v, NULL) == v);
        CHECK_INT(nb_json_size(nb_json_at(v, "repository", "topics", NULL)), 3);
        CHECK_INT(nb_json_size(v), 2);
        v = nb_json_at(v, "repository", "topics", NULL);
        CHECK_STR(nb_json_str(nb_json_index(v, 1), NULL), "y");
        CHECK(nb_json_type(nb_json_index(v, 2)) == NB_JSON_NULL);
        CHECK(!nb_json_index(v, 3));
        v = nb_json_member(nb_json_root(t), 1, &key);
        CHECK_STR(key, "size");
        CHECK(nb_json_type(v) == NB_JSON_NUMBER);
        nb_json_free(t);
}

TEST(what_is_missing_or_of_another_type_answers_nothing)
{
        struct nb_json_tree *t = tree("{\"a\":[1,\"s\"],\"n\":null}");
        const struct nb_json *root = nb_json_root(t), *list = nb_json_get(root, "a");
        const struct nb_json *const none[] = {NULL, nb_json_get(root, "b"), nb_json_get(list, "a"),
                                              nb_json_at(root, "b", "c", NULL),
                                              nb_json_at(root, "a", "c", NULL)};
        const char *key = "kept";
        int64_t i = 42;
        bool b = true;
        double d = 4.5;
        size_t n = 7;

        for (size_t k = 0; k < NB_ARRAY_SIZE(none); k++) {
                CHECK(!none[k]);
                CHECK(!nb_json_get(none[k], "x") && !nb_json_index(none[k], 0) &&
                      !nb_json_member(none[k], 0, &key) && !nb_json_str(none[k], &n) &&
                      !nb_json_int(none[k], &i) && !nb_json_double(none[k], &d) &&
                      !nb_json_bool(none[k], &b) && nb_json_size(none[k]) == 0);
                CHECK(nb_json_type(none[k]) == NB_JSON_NULL);
                CHECK_INT(nb_json_where(none[k]).line, 1);
        }
        CHECK(!nb_json_str(list, &n) && !nb_json_int(list, &i) && !nb_json_bool(list, &b));
        CHECK(!nb_json_index(root, 0) && !nb_json_member(list, 0, &key));
        CHECK(!nb_json_int(nb_json_index(list, 1), &i));
        CHECK(!nb_json_str(nb_json_index(list, 0), &n));
        CHECK(!nb_json_bool(nb_json_get(root, "n"), &b));
        CHECK_INT(i, 42);
        CHECK_INT(n, 7);
        CHECK_STR(key, "kept");
        CHECK(b && d == 4.5);
        CHECK(!nb_json_free(t));
        CHECK(!nb_json_free(NULL));
}

TEST(keys_are_compared_whole)
{
        struct nb_json_tree *t = tree("{\"ab\":1,\"a\":2,\"\":3,\"a\\\"\\u00e9\":4}");
        int64_t i;

        CHECK(nb_json_int(nb_json_get(nb_json_root(t), "a"), &i) && i == 2);
        CHECK(nb_json_int(nb_json_get(nb_json_root(t), ""), &i) && i == 3);
        CHECK(nb_json_int(nb_json_get(nb_json_root(t), "a\"\xc3\xa9"), &i) && i == 4);
        CHECK(!nb_json_get(nb_json_root(t), "abc"));
        nb_json_free(t);
}

static void where_is(const char *text, const struct nb_json *v, const char *at, size_t line,
                     size_t column)
{
        struct nb_json_pos pos = nb_json_where(v);

        CHECK_INT(pos.offset, at - text);
        CHECK_INT(pos.line, line);
        CHECK_INT(pos.column, column);
}

TEST(every_value_knows_where_it_stood)
{
        static const char text[] = "\n\n {\"a\\\"\\u0041,:[\" : [ \"q\\\\\" ,[] ,\n"
                                   "[[ 12.5e1],\ttrue]\n,null],\"b\":{\"c\":\r\n\"\xc3\xa9\\n\","
                                   "\"d\" :  -7}}";
        struct nb_json_tree *t = tree(text);
        const struct nb_json *root = nb_json_root(t), *list;
        const char *key;

        where_is(text, root, strchr(text, '{'), 3, 2);
        list = nb_json_member(root, 0, &key);
        CHECK_STR(key, "a\"A,:[");
        where_is(text, list, strstr(text, "[ \"q"), 3, 20);
        where_is(text, nb_json_index(list, 0), strstr(text, "\"q"), 3, 22);
        where_is(text, nb_json_index(list, 1), strstr(text, "[] "), 3, 29);
        where_is(text, nb_json_index(list, 2), strstr(text, "[[ "), 4, 1);
        list = nb_json_index(list, 2);
        where_is(text, nb_json_index(list, 0), strstr(text, "[ 12"), 4, 2);
        where_is(text, nb_json_index(nb_json_index(list, 0), 0), strstr(text, "12.5"), 4, 4);
        where_is(text, nb_json_index(list, 1), strstr(text, "true"), 4, 13);
        where_is(text, nb_json_index(nb_json_member(root, 0, &key), 3), strstr(text, "null"), 5, 2);
        where_is(text, nb_json_at(root, "b", NULL), strstr(text, "{\"c"), 5, 12);
        where_is(text, nb_json_at(root, "b", "c", NULL), strstr(text, "\"\xc3"), 6, 1);
        where_is(text, nb_json_at(root, "b", "d", NULL), strstr(text, "-7"), 6, 15);
        nb_json_free(t);
}

/* Elements are single nodes, or many, or many in a container that is large. */
TEST(elements_and_members_are_found_in_any_shape)
{
        static const char *const tails[] = {"", "0", "[[1],2]"};
        const size_t sizes[] = {1, 2, 63, 64, 65, 66, 67, 68, 1000};

        for (size_t k = 0; k < NB_ARRAY_SIZE(tails) * NB_ARRAY_SIZE(sizes); k++) {
                size_t n = sizes[k / NB_ARRAY_SIZE(tails)];
                nb_auto_buf b = NB_BUF(MIB), again = NB_BUF(MIB);
                struct nb_json_out o = NB_JSON_OUT(&b);
                struct nb_json_tree *t;
                const char *key;
                char name[32];
                int64_t v;

                nb_json_open_object(&o);
                for (size_t i = 0; i < n; i++) {
                        snprintf(name, sizeof(name), "k%zu", i);
                        nb_json_key(&o, name);
                        nb_json_open_array(&o);
                        nb_json_put_int(&o, (int64_t)i);
                        if (*tails[k % NB_ARRAY_SIZE(tails)])
                                nb_json_put_raw(&o, tails[k % NB_ARRAY_SIZE(tails)]);
                        nb_json_close(&o);
                }
                nb_json_key(&o, "list");
                nb_json_open_array(&o);
                for (size_t i = 0; i < n; i++) {
                        nb_json_put_int(&o, (int64_t)i);
                        if (*tails[k % NB_ARRAY_SIZE(tails)])
                                nb_json_put_raw(&o, tails[k % NB_ARRAY_SIZE(tails)]);
                }
                nb_json_close(&o);
                nb_json_close(&o);
                t = tree(nb_buf_str(&b));
                for (size_t i = 0; i < n; i++) {
                        const struct nb_json *list = nb_json_get(nb_json_root(t), "list");
                        size_t step = nb_json_size(list) / n;

                        snprintf(name, sizeof(name), "k%zu", i);
                        list = nb_json_index(list, i * step);
                        CHECK(nb_json_int(list, &v) && v == (int64_t)i);
                        list = nb_json_member(nb_json_root(t), i, &key);
                        CHECK_STR(key, name);
                        CHECK(list == nb_json_get(nb_json_root(t), name));
                        CHECK(nb_json_int(nb_json_index(list, 0), &v) && v == (int64_t)i);
                }
                CHECK(!nb_json_member(nb_json_root(t), n + 1, &key));
                nb_json_put_value(&NB_JSON_OUT(&again), nb_json_root(t));
                CHECK_STR(nb_buf_str(&again), nb_buf_str(&b));
                nb_json_free(t);
        }
}

NBTEST_MAIN()
