/* SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <math.h>
#include <sys/wait.h>

#include <nbcid/json.h>
#include <nbcid/mem.h>
#include <nbcid/str.h>

#include "nbtest.h"

#define MIB ((size_t)1 << 20)
/* Quadratic would not end with 4 MiB either, and AddressSanitizer takes its time with each. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LARGE (4 * MIB)
#endif
#endif
#ifndef LARGE
#define LARGE (25 * MIB)
#endif

static const struct nb_json_limits wide = {.bytes = 64 * MIB, .depth = 64};

/* --- numbers ------------------------------------------------------------ */

TEST(whole_numbers_are_judged_by_value)
{
        static const struct {
                const char *text;
                int64_t v;
        } good[] = {
                {"0", 0},
                {"-0", 0},
                {"0.000e5", 0},
                {"0e-99", 0},
                {"7", 7},
                {"-7", -7},
                {"1e3", 1000},
                {"1E+3", 1000},
                {"1.0", 1},
                {"-1.50e1", -15},
                {"1500e-2", 15},
                {"10203.04e2", 1020304},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN},
                {"922337203685477580.7e1", INT64_MAX},
                {"9223372036854775807000e-3", INT64_MAX},
                {"0.0000000000000000000000001e25", 1},
                {"100000000000000000000000000000e-29", 1},
                {"9007199254740993", 9007199254740993},
        };
        static const char *const bad[] = {
                "1.5",
                "1e-1",
                "15e-1",
                "0.1",
                "1e19",
                "1e999999999999999999999",
                "1e-999999999999999999999",
                "9223372036854775808",
                "-9223372036854775809",
                "18446744073709551617",
                "99999999999999999999999",
                /* no JSON numbers at all */
                "",
                "-",
                ".",
                ".5",
                "1e",
                "1e+",
                "1e1.5",
                "1.1.1",
                "x",
                "1x",
                " 1",
                "0x10",
                "nan",
        };
        int64_t v;

        for (size_t i = 0; i < NB_ARRAY_SIZE(good); i++) {
                v = 12345;
                if (!nb_json_number_int(good[i].text, strlen(good[i].text), &v) || v != good[i].v)
                        FAIL("%s became %lld", good[i].text, (long long)v);
        }
        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++) {
                v = 12345;
                if (nb_json_number_int(bad[i], strlen(bad[i]), &v) || v != 12345)
                        FAIL("%s became %lld", bad[i], (long long)v);
        }
}

TEST(doubles_are_finite)
{
        static const struct {
                const char *text;
                double v;
        } good[] = {
                {"0", 0},           {"-2.5e3", -2500},
                {"1e308", 1e308},   {"1.7976931348623157e308", DBL_MAX},
                {"5e-324", 5e-324}, {"1e-400", 0},
                {"0.1", 0.1},
        };
        static const char *const bad[] = {"1e309", "-1e999", "",   "inf", "nan", "-inf",
                                          "0x10",  " 1",     "1 ", "1e",  "-",   "1-1"};
        double v;

        for (size_t i = 0; i < NB_ARRAY_SIZE(good); i++) {
                v = 12345;
                if (!nb_json_number_double(good[i].text, strlen(good[i].text), &v) ||
                    v != good[i].v)
                        FAIL("%s became %g", good[i].text, v);
        }
        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++)
                if (nb_json_number_double(bad[i], strlen(bad[i]), &v))
                        FAIL("%s became %g", bad[i], v);
}

/* --- writer ------------------------------------------------------------- */

TEST(commas_and_colons_place_themselves)
{
        nb_auto_buf b = NB_BUF(1000);
        struct nb_json_out o = NB_JSON_OUT(&b);

        nb_json_open_object(&o);
        nb_json_kv_str(&o, "s", "x");
        nb_json_kv_str(&o, "none", NULL);
        nb_json_kv_int(&o, "i", INT64_MIN);
        nb_json_kv_bool(&o, "b", true);
        nb_json_key(&o, "empty");
        nb_json_open_array(&o);
        nb_json_close(&o);
        nb_json_key(&o, "list");
        nb_json_open_array(&o);
        nb_json_put_int(&o, 0);
        nb_json_open_object(&o);
        nb_json_close(&o);
        nb_json_put_bool(&o, false);
        nb_json_put_raw(&o, "{\"raw\":1}");
        nb_json_put_null(&o);
        nb_json_put_double(&o, 0.5);
        nb_json_put_str(&o, "");
        nb_json_open_array(&o);
        nb_json_put_int(&o, INT64_MAX);
        nb_json_close(&o);
        nb_json_close(&o);
        nb_json_close(&o);
        CHECK(!b.failed);
        CHECK_STR(nb_buf_str(&b),
                  "{\"s\":\"x\",\"none\":null,\"i\":-9223372036854775808,\"b\":true,\"empty\":[],"
                  "\"list\":[0,{},false,{\"raw\":1},null,0.5,\"\",[9223372036854775807]]}");
}

static void written_as(const char *s, const char *want)
{
        nb_auto_buf b = NB_BUF(1000);

        nb_json_put_str(&NB_JSON_OUT(&b), s);
        CHECK_STR(nb_buf_str(&b), want);
}

TEST(strings_are_escaped)
{
        written_as("a\"b\\c/d", "\"a\\\"b\\\\c/d\"");
        written_as("\b\f\n\r\t\x01\x1f\x7f", "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"");
        written_as("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
                   "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
}

TEST(bytes_that_are_not_utf8_are_replaced)
{
        written_as("a\xff"
                   "b",
                   "\"a\xef\xbf\xbd"
                   "b\"");
        written_as("\xc3", "\"\xef\xbf\xbd\"");
        written_as("\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\"");
        written_as("\xc0\x80\xc3\xa9", "\"\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9\"");
        written_as("\xed\xa0\x80\"", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\\\"\"");
}

TEST(doubles_read_back_the_same)
{
        static const double values[] = {0,      -0.0,    0.1,     1.0 / 3,
                                        1e21,   -2.5e-7, DBL_MAX, DBL_MIN,
                                        5e-324, 1e15,    123456,  0.30000000000000004};

        for (size_t i = 0; i < NB_ARRAY_SIZE(values); i++) {
                nb_auto_buf b = NB_BUF(100);
                struct nb_json_tree *t = NULL;
                struct nb_err err;
                double v;

                nb_json_put_double(&NB_JSON_OUT(&b), values[i]);
                CHECK_OK(nb_json_read(b.data, b.len, &wide, &t, NULL, &err), &err);
                CHECK(nb_json_double(nb_json_root(t), &v));
                CHECK(v == values[i] && !signbit(v) == !signbit(values[i]));
                nb_json_free(t);
        }
        for (int i = 0; i < 3; i++) {
                nb_auto_buf b = NB_BUF(100);

                nb_json_put_double(&NB_JSON_OUT(&b), i == 0 ? NAN : i == 1 ? INFINITY : -INFINITY);
                CHECK_STR(nb_buf_str(&b), "null");
        }
}

TEST(a_full_buffer_is_told_once_at_the_end)
{
        nb_auto_buf b = NB_BUF(20);
        struct nb_json_out o = NB_JSON_OUT(&b);

        nb_json_open_object(&o);
        for (int i = 0; i < 10; i++)
                nb_json_kv_int(&o, "key", i);
        nb_json_close(&o);
        CHECK(b.failed);
        CHECK(b.len <= 20);
}

static void two_values(struct nb_json_out *o)
{
        nb_json_put_int(o, 1);
        nb_json_put_int(o, 2);
}
static void value_for_key(struct nb_json_out *o)
{
        nb_json_open_object(o);
        nb_json_put_int(o, 1);
}
static void key_in_array(struct nb_json_out *o)
{
        nb_json_open_array(o);
        nb_json_key(o, "a");
}
static void key_without_value(struct nb_json_out *o)
{
        nb_json_open_object(o);
        nb_json_key(o, "a");
        nb_json_close(o);
}
static void close_of_nothing(struct nb_json_out *o)
{
        nb_json_close(o);
}
static void too_many_levels(struct nb_json_out *o)
{
        for (int i = 0; i < 64; i++)
                nb_json_open_array(o);
}

TEST(misuse_is_a_broken_contract)
{
        void (*const cases[])(struct nb_json_out *) = {two_values,       value_for_key,
                                                       key_in_array,     key_without_value,
                                                       close_of_nothing, too_many_levels};

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                int status = 0;
                pid_t pid;

                fflush(stdout);
                pid = fork();
                CHECK(pid >= 0);
                if (pid == 0) {
                        nb_auto_buf b = NB_BUF(1000);

                        if (!freopen("/dev/null", "w", stderr))
                                _exit(1);
                        cases[i](&NB_JSON_OUT(&b));
                        _exit(0);
                }
                CHECK(waitpid(pid, &status, 0) == pid);
                CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        }
}

TEST(sixty_three_levels_are_fine)
{
        struct nb_json_limits enough = {.bytes = 1000, .depth = 63};
        const struct nb_json_events none = {0};
        struct nb_err err;
        nb_auto_buf b = NB_BUF(1000);
        struct nb_json_out o = NB_JSON_OUT(&b);

        for (int i = 0; i < 63; i++) {
                if (i % 2) {
                        nb_json_open_object(&o);
                        nb_json_key(&o, "k");
                } else {
                        nb_json_open_array(&o);
                        nb_json_put_int(&o, i);
                }
        }
        nb_json_put_null(&o);
        for (int i = 0; i < 63; i++)
                nb_json_close(&o);
        CHECK(!b.failed);
        CHECK(nb_starts_with(nb_buf_str(&b), "[0,{\"k\":[2,{\"k\":[4,"));
        CHECK(strstr(nb_buf_str(&b), "{\"k\":[62,null]}]}]}"));
        CHECK_OK(nb_json_parse(b.data, b.len, &enough, &none, NULL, NULL, &err), &err);
        enough.depth--;
        CHECK_ERR(nb_json_parse(b.data, b.len, &enough, &none, NULL, NULL, &err), &err, NB_E_LIMIT,
                  "over 62 deep");
}

TEST(values_of_a_tree_are_written_as_they_are)
{
        static const char text[] =
                "{\"a\":[1.50e+3,-0,true,false,null,[],{},[[],[{}]]],\"\\u00e9\\n\":\"\\u0022\"}";
        nb_auto_buf b = NB_BUF(1000);
        struct nb_json_out o = NB_JSON_OUT(&b);
        struct nb_json_tree *t = NULL;
        struct nb_err err;

        CHECK_OK(nb_json_read(text, strlen(text), &wide, &t, NULL, &err), &err);
        nb_json_open_array(&o);
        nb_json_put_value(&o, NULL);
        nb_json_put_value(&o, nb_json_get(nb_json_root(t), "a"));
        nb_json_put_value(&o, nb_json_index(nb_json_get(nb_json_root(t), "a"), 1));
        nb_json_open_object(&o);
        nb_json_key(&o, "k");
        nb_json_put_value(&o, nb_json_root(t));
        nb_json_close(&o);
        nb_json_close(&o);
        CHECK_STR(
                nb_buf_str(&b),
                "[null,[1.50e+3,-0,true,false,null,[],{},[[],[{}]]],-0,{\"k\":"
                "{\"a\":[1.50e+3,-0,true,false,null,[],{},[[],[{}]]],\"\xc3\xa9\\n\":\"\\\"\"}}]");
        nb_json_free(t);
}

/* --- size --------------------------------------------------------------- */

/* With pairs of keys compared, this would not end before the test's deadline. */
static int merged(const char *a, const char *b, size_t max, char **ret, struct nb_err *err)
{
        nb_auto_buf out = NB_BUF(max);
        int r = nb_json_merge(a, b, &out, err);

        *ret = r == 0 ? nb_buf_steal(&out) : NULL;
        return r;
}

TEST(a_fraction_stays_one)
{
        static const double v[] = {2, -0.0, 0.1, 1e300, 1e15, 123456789012345680, INFINITY};
        nb_auto_buf b = NB_BUF(200);
        struct nb_json_out o = NB_JSON_OUT(&b);

        nb_json_open_array(&o);
        for (size_t i = 0; i < NB_ARRAY_SIZE(v); i++)
                nb_json_put_fraction(&o, v[i]);
        nb_json_put_double(&o, 2);
        nb_json_close(&o);
        CHECK_STR(nb_buf_str(&b), "[2.0,-0.0,0.1,1e+300,1e+15,1.2345678901234568e+17,null,2]");
}

TEST(two_objects_become_one)
{
        struct nb_err err = {0};
        char *s = NULL;

        CHECK_OK(merged("{\"z\":1,\"a\": [1.50]}", "{\"b\":{},\"z\":\"q\"}", 100, &s, &err), &err);
        CHECK_STR(s, "{\"z\":\"q\",\"a\":[1.50],\"b\":{}}");
        free(s);
        CHECK_OK(merged("{}", "{}", 100, &s, &err), &err);
        CHECK_STR(s, "{}");
        free(s);
        CHECK_ERR(merged("{}", "[]", 100, &s, &err), &err, NB_E_INVALID, "write a JSON object");
        CHECK_ERR(merged("{\"a\":1,\"a\":2}", "{}", 100, &s, &err), &err, NB_E_INVALID, "line 1");
        CHECK_ERR(merged("{\"a\":1}", "{\"b\":2}", 10, &s, &err), &err, NB_E_LIMIT,
                  "over 10 bytes");
}

TEST(very_many_keys_take_no_time)
{
        const int n = 400000;
        nb_auto_buf b = NB_BUF(64 * MIB);
        struct nb_json_out o = NB_JSON_OUT(&b);
        struct nb_json_tree *t = NULL;
        struct nb_json_pos pos;
        struct nb_err err;
        char key[32];

        nb_json_open_object(&o);
        for (int i = 0; i < n; i++) {
                snprintf(key, sizeof(key), "key-%07d", (int)((int64_t)i * 7919 % n));
                nb_json_kv_int(&o, key, i);
        }
        nb_json_close(&o);
        CHECK_OK(nb_json_read(b.data, b.len, &wide, &t, NULL, &err), &err);
        CHECK_INT(nb_json_size(nb_json_root(t)), n);
        t = nb_json_free(t);

        /* The first key once more at the end. */
        b.len--;
        nb_buf_puts(&b, ",\n\"key-0000000\":0}");
        CHECK_ERR(nb_json_read(b.data, b.len, &wide, &t, &pos, &err), &err, NB_E_INVALID,
                  "line 2, column 1: the object has this key twice");
        CHECK(!t);
        CHECK_INT(pos.offset, b.len - strlen("\"key-0000000\":0}"));
}

/* Walked from the front each time, this would not end either. */
TEST(very_many_elements_take_no_time)
{
        const size_t n = 400000;
        nb_auto_buf b = NB_BUF(64 * MIB);
        struct nb_json_tree *t = NULL;
        struct nb_err err;
        int64_t v;

        nb_buf_putc(&b, '[');
        for (size_t i = 0; i < n; i++)
                nb_buf_printf(&b, "%s[%zu]", i ? "," : "", i);
        nb_buf_putc(&b, ']');
        CHECK_OK(nb_json_read(b.data, b.len, &wide, &t, NULL, &err), &err);
        for (size_t i = 0; i < n; i++) {
                const struct nb_json *element = nb_json_index(nb_json_root(t), i);

                CHECK(nb_json_int(nb_json_index(element, 0), &v) && v == (int64_t)i);
        }
        nb_json_free(t);
}

static int count_value(void *arg, const char *s, size_t n, struct nb_err *err)
{
        *(size_t *)arg += n;
        return 0;
}

/* Each of these has made one JSON reader or another quadratic. */
TEST(twenty_five_megabytes_are_read)
{
        static const char *const pieces[] = {"[1],", "\\n", "\\u00e9", "x", "\"\",\n", "\n\n\n\n"};
        const struct nb_json_events ev = {.string = count_value, .number = count_value};

        for (size_t k = 0; k < NB_ARRAY_SIZE(pieces); k++) {
                bool in_string = k >= 1 && k <= 3;
                nb_auto_buf b = NB_BUF(LARGE + MIB), again = NB_BUF(2 * LARGE + MIB);
                struct nb_json_tree *t = NULL;
                struct nb_err err;
                size_t bytes = 0;

                nb_buf_puts(&b, in_string ? "[\"" : "[");
                while (b.len < LARGE)
                        nb_buf_puts(&b, pieces[k]);
                nb_buf_puts(&b, in_string ? "\",0]" : "0]");
                CHECK(!b.failed);
                CHECK_OK(nb_json_parse(b.data, b.len, &wide, &ev, &bytes, NULL, &err), &err);
                CHECK(bytes > 0);
                CHECK_OK(nb_json_read(b.data, b.len, &wide, &t, NULL, &err), &err);
                nb_json_put_value(&NB_JSON_OUT(&again), nb_json_root(t));
                CHECK(!again.failed);
                if (k == 0 || k == 1 || k == 3)
                        CHECK(again.len == b.len && memcmp(again.data, b.data, b.len) == 0);
                nb_json_free(t);
        }
}

NBTEST_MAIN()
