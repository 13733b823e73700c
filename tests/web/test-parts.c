/* SPDX-License-Identifier: Apache-2.0 */

/* test-parts.c - the pure parts: targets, routes, text for people */

#include <nbcid/str.h>

#include "../../src/web/web-priv.h"

#include "nbtest.h"

TEST(targets_are_taken_apart)
{
        struct web_target t;
        struct nb_err err;

        CHECK_OK(target_parse("/a/b?x=1&y=%20z+w&empty=&bare&&x=2&utf=%c3%a9", &t, &err), &err);
        CHECK_STR(t.path, "/a/b");
        CHECK_INT(t.n_params, 6);
        CHECK_STR(target_param(&t, "x"), "1");
        CHECK_STR(target_param(&t, "y"), " z w");
        CHECK(!target_param(&t, "empty") && !target_param(&t, "bare") && !target_param(&t, "no"));
        CHECK_STR(target_param(&t, "utf"), "é");
        target_done(&t);
        CHECK_OK(target_parse("/?", &t, &err), &err);
        CHECK_INT(t.n_params, 0);
        target_done(&t);
}

TEST(targets_that_are_none)
{
        struct web_target t;
        struct nb_err err;

        CHECK_ERR(target_parse("", &t, &err), &err, NB_E_INVALID, "begin with /");
        CHECK_ERR(target_parse("http://x/", &t, &err), &err, NB_E_INVALID, "begin with /");
        CHECK_ERR(target_parse("/?a=%", &t, &err), &err, NB_E_INVALID, "%XX");
        CHECK_ERR(target_parse("/?%g0=a", &t, &err), &err, NB_E_INVALID, "%XX");
        CHECK_ERR(target_parse("/?a=%00", &t, &err), &err, NB_E_INVALID, "%XX");
        CHECK_ERR(target_parse("/?a=%ff", &t, &err), &err, NB_E_INVALID, "UTF-8");
        CHECK_ERR(target_parse("/?a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q", &t, &err), &err, NB_E_LIMIT,
                  "over 16");
}

TEST(routes_are_exact)
{
        struct web_match m;
        const char *allow;

        CHECK(route_find("GET", "/builds/9223372036854775807", &m, &allow));
        CHECK(m.id == INT64_MAX);
        CHECK(!route_find("GET", "/builds/9223372036854775808", &m, &allow) && !allow);
        CHECK(route_find("POST", "/hooks/git-hub.1", &m, &allow));
        CHECK_STR(m.name, "git-hub.1");
        CHECK(!route_find("POST", "/hooks/a/b", &m, &allow) && !allow);
        CHECK(!route_find("POST", "/hooks/A", &m, &allow) && !allow);
        CHECK(!route_find("POST",
                          "/hooks/0123456789012345678901234567890123456789012345678901234567890123",
                          &m, &allow));
        CHECK(!route_find("get", "/healthz", &m, &allow));
        CHECK_STR(allow, "GET, HEAD");
        CHECK(route_find("HEAD", "/healthz", &m, &allow));
        CHECK(!route_find("GET", "/healthz/", &m, &allow) && !allow);
        CHECK(!route_find("GET", "", &m, &allow) && !allow);
}

TEST(text_becomes_html_by_one_way)
{
        const char *volatile nothing = NULL;
        nb_auto_buf b = NB_BUF(4096);

        html(&b, "<a href=\"%s\">%lld %%</a>", "\"><'&\x01\xff", 7LL);
        CHECK_STR(nb_buf_str(&b), "<a href=\"&#34;&#62;&#60;&#39;&#38; \xef\xbf\xbd\">7 %</a>");
        nb_buf_clear(&b);
        html(&b, "%s", nothing);
        CHECK_STR(nb_buf_str(&b), "");
        html_badge(&b, "timed_out");
        CHECK_STR(nb_buf_str(&b), "<span class=\"badge timed_out\">timed out</span>");
}

static const char *span(int64_t ms)
{
        static char buf[HTML_SPAN_SIZE];

        html_span(ms, buf);
        return buf;
}

TEST(durations_and_times_for_people)
{
        nb_auto_buf b = NB_BUF(4096);

        CHECK_STR(span(3449), "3.4 s");
        CHECK_STR(span(0), "0.0 s");
        CHECK_STR(span(-5), "0 s");
        CHECK_STR(span(59999), "59.9 s");
        CHECK_STR(span(125000), "2 min 5 s");
        CHECK_STR(span(3600000 + 180000), "1 h 3 min");
        CHECK_STR(span(INT64_C(50) * 3600 * 1000), "2 d 2 h");
        html_time(&b, INT64_C(1795467120123), INT64_C(1795467120123) + 200000);
        CHECK_STR(nb_buf_str(&b), "<time datetime=\"2026-11-23T20:52:00.123Z\" "
                                  "title=\"2026-11-23 20:52:00 UTC\">3 min ago</time>");
        nb_buf_clear(&b);
        html_time_long(&b, 0, 1);
        CHECK_STR(nb_buf_str(&b), "–");
}

NBTEST_MAIN()
