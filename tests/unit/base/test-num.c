/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include <nbcid/clock.h>
#include <nbcid/mem.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "nbtest.h"

TEST(u64_over_its_range)
{
        struct nb_err err;
        uint64_t v = 99;

        CHECK_OK(nb_parse_u64("0", 0, UINT64_MAX, &v, &err), &err);
        CHECK(v == 0);
        CHECK_OK(nb_parse_u64("18446744073709551615", 0, UINT64_MAX, &v, &err), &err);
        CHECK(v == UINT64_MAX);
        CHECK_OK(nb_parse_u64("007", 7, 7, &v, &err), &err);
        CHECK(v == 7);
        CHECK_ERR(nb_parse_u64("18446744073709551616", 0, UINT64_MAX, &v, &err), &err, NB_E_INVALID,
                  "from 0 to 18446744073709551615");
        CHECK_ERR(nb_parse_u64("8", 1, 7, &v, &err), &err, NB_E_INVALID, "\"8\" is not");
        CHECK_ERR(nb_parse_u64("0", 1, 7, &v, &err), &err, NB_E_INVALID, "from 1 to 7");
        CHECK(v == 7);
}

TEST(u64_takes_digits_only)
{
        static const char *const bad[] = {"",   " 1",  "1 ", "+1", "-1", "0x1", "1e3",
                                          "1.", "1_0", "a",  "\n", "١",  NULL};
        struct nb_err err;
        uint64_t v;

        for (size_t i = 0; bad[i]; i++)
                CHECK_ERR(nb_parse_u64(bad[i], 0, 100, &v, &err), &err, NB_E_INVALID,
                          "whole number");
        CHECK_ERR(nb_parse_u64(NULL, 0, 100, &v, &err), &err, NB_E_INVALID, "whole number");
}

TEST(i64_over_its_range)
{
        struct nb_err err;
        int64_t v;

        CHECK_OK(nb_parse_i64("-9223372036854775808", INT64_MIN, INT64_MAX, &v, &err), &err);
        CHECK(v == INT64_MIN);
        CHECK_OK(nb_parse_i64("9223372036854775807", INT64_MIN, INT64_MAX, &v, &err), &err);
        CHECK(v == INT64_MAX);
        CHECK_OK(nb_parse_i64("-0", -1, 1, &v, &err), &err);
        CHECK(v == 0);
        CHECK_ERR(nb_parse_i64("-9223372036854775809", INT64_MIN, INT64_MAX, &v, &err), &err,
                  NB_E_INVALID, "from -9223372036854775808");
        CHECK_ERR(nb_parse_i64("9223372036854775808", INT64_MIN, INT64_MAX, &v, &err), &err,
                  NB_E_INVALID, "to 9223372036854775807");
        CHECK_ERR(nb_parse_i64("-", -9, 9, &v, &err), &err, NB_E_INVALID, "whole");
        CHECK_ERR(nb_parse_i64("--1", -9, 9, &v, &err), &err, NB_E_INVALID, "whole");
        CHECK_ERR(nb_parse_i64("+1", -9, 9, &v, &err), &err, NB_E_INVALID, "whole");
        CHECK_ERR(nb_parse_i64("-10", -9, 9, &v, &err), &err, NB_E_INVALID, "from -9 to 9");
}

TEST(sizes)
{
        static const struct {
                const char *s;
                uint64_t v;
        } good[] = {
                {"100B", 100},
                {"0B", 0},
                {"512KiB", 512 << 10},
                {"25MiB", 25 << 20},
                {"4GiB", UINT64_C(4) << 30},
                {"2TiB", UINT64_C(2) << 40},
                {"16777215TiB", UINT64_C(16777215) << 40},
        };
        static const char *const bad[] = {
                "",      "100",    "1.5GiB", "25MB",        "25mib",
                "4 GiB", "-1B",    "GiB",    "16777216TiB", "18446744073709551616B",
                "4GiBs", "4GiB4B", "B",      "0x10B",       NULL};
        struct nb_err err;
        uint64_t v;

        for (size_t i = 0; i < NB_ARRAY_SIZE(good); i++) {
                CHECK_OK(nb_parse_size(good[i].s, &v, &err), &err);
                CHECK(v == good[i].v);
        }
        v = 5;
        for (size_t i = 0; bad[i]; i++)
                CHECK_ERR(nb_parse_size(bad[i], &v, &err), &err, NB_E_INVALID, "write 25MiB, 4GiB");
        CHECK_ERR(nb_parse_size(NULL, &v, &err), &err, NB_E_INVALID, "write 25MiB, 4GiB");
        CHECK(v == 5);
}

TEST(durations)
{
        static const struct {
                const char *s;
                uint64_t us;
        } good[] = {
                {"90d", UINT64_C(90) * 86400 * 1000000},
                {"2h", UINT64_C(7200) * 1000000},
                {"30m", UINT64_C(1800) * 1000000},
                {"15s", 15000000},
                {"250ms", 250000},
                {"1h30m", UINT64_C(5400) * 1000000},
                {"1d2h3m4s5ms", UINT64_C(93784005) * 1000},
                {"1m1ms", 60001000},
                {"0s", 0},
                {"90m", UINT64_C(5400) * 1000000},
        };
        static const char *const bad[] = {
                "",     "5",   "h",          "1.5h",          "1h 30m", "30m1h",
                "1h1h", "-1s", "1week",      "1hm",           "1h5",    "1ms1s",
                "10us", "1H",  "213503983d", "213503982d24h", NULL};
        struct nb_err err;
        uint64_t v;

        for (size_t i = 0; i < NB_ARRAY_SIZE(good); i++) {
                CHECK_OK(nb_parse_duration(good[i].s, &v, &err), &err);
                if (v != good[i].us)
                        FAIL("%s is %" PRIu64, good[i].s, v);
        }
        v = 5;
        for (size_t i = 0; bad[i]; i++)
                CHECK_ERR(nb_parse_duration(bad[i], &v, &err), &err, NB_E_INVALID,
                          "write 90d, 2h, 30m");
        CHECK_ERR(nb_parse_duration(NULL, &v, &err), &err, NB_E_INVALID, "write 90d");
        CHECK(v == 5);
}

TEST(a_long_value_is_shown_in_part)
{
        char s[4000];
        struct nb_err err;
        uint64_t v;

        memset(s, '7', sizeof(s) - 1);
        s[sizeof(s) - 1] = '\0';
        CHECK_ERR(nb_parse_size(s, &v, &err), &err, NB_E_INVALID, "write 25MiB");
        CHECK_ERR(nb_parse_duration(s, &v, &err), &err, NB_E_INVALID, "as in 1h30m");
}

static void check_time(int64_t ms)
{
        char buf[NB_RFC3339_SIZE], want[64];
        int64_t s = ms / 1000 - (ms % 1000 < 0), rest = ms - s * 1000;
        time_t t = (time_t)s;
        struct tm tm;

        CHECK(gmtime_r(&t, &tm));
        snprintf(want, sizeof(want), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)rest);
        nb_rfc3339(ms, buf);
        CHECK_STR(buf, want);
}

/* Against the C library: every day of years 0 to 9999, at a moving time of
 * day. */
TEST(rfc3339_is_right_on_every_day)
{
        int64_t n = 0;

        for (int64_t day = -719528; day <= 2932896; day++)
                check_time(day * 86400000 + (day * 7919 + n++ * 104729) % 86400000 * (day >= 0));
        for (int64_t day = 0; day <= 2932896; day += 97) {
                check_time(day * 86400000);
                check_time(day * 86400000 + 86399999);
        }
}

TEST(rfc3339_has_four_digits_of_year_always)
{
        char buf[NB_RFC3339_SIZE];

        nb_rfc3339(0, buf);
        CHECK_STR(buf, "1970-01-01T00:00:00.000Z");
        nb_rfc3339(INT64_C(1795467120123), buf);
        CHECK_STR(buf, "2026-11-23T20:52:00.123Z");
        nb_rfc3339(INT64_C(253402300799999), buf);
        CHECK_STR(buf, "9999-12-31T23:59:59.999Z");
        nb_rfc3339(INT64_MAX, buf);
        CHECK_STR(buf, "9999-12-31T23:59:59.999Z");
        nb_rfc3339(-1, buf);
        CHECK_STR(buf, "1969-12-31T23:59:59.999Z");
        nb_rfc3339(INT64_MIN, buf);
        CHECK_STR(buf, "0000-01-01T00:00:00.000Z");
}

TEST(the_real_clock_runs)
{
        uint64_t a = nb_mono_us(&nb_clock_real), b = nb_mono_us(&nb_clock_real);
        int64_t before = (int64_t)time(NULL) - 1, now = nb_now_ms(&nb_clock_real) / 1000;

        CHECK(a > 0 && b >= a);
        CHECK(now >= before && now <= before + 60);
}

NBTEST_MAIN()
