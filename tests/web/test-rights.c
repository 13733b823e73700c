/* SPDX-License-Identifier: Apache-2.0 */

/* test-rights.c - what operators may do, who is one, and their metrics */

#include "site.h"

TEST(an_operator_cancels_and_retries)
{
        int64_t build;
        struct answer a;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "operator"});
        CHECK_INT(site_job(&s, 1, "One", "a.ipynb", &failed, &build), 1);
        a = ask(&s, "POST", "/api/v1/builds/1/retry", BEARER "Content-Length: 0\r\n");
        CHECK_INT(a.status, 202);
        CHECK_STR(a.body, "{\"build\":2}");
        answer_done(&a);
        a = ask(&s, "POST", "/api/v1/jobs/1/retry", BEARER);
        CHECK_INT(a.status, 202);
        CHECK_STR(a.body, "{\"build\":3}");
        answer_done(&a);
        a = ask(&s, "POST", "/api/v1/builds/2/cancel", BEARER);
        CHECK_INT(a.status, 202);
        CHECK_STR(a.body, "{\"build\":2}");
        answer_done(&a);
        check_status(&s, "POST", "/api/v1/builds/1/cancel", BEARER, 409);
        check_status(&s, "POST", "/api/v1/builds/2/retry", BEARER, 409);
        check_status(&s, "POST", "/api/v1/builds/99/retry", BEARER, 404);
        check_status(&s, "POST", "/api/v1/builds/99/cancel", BEARER, 404);
        check_status(&s, "POST", "/api/v1/jobs/99/retry", BEARER, 404);
        site_stop(&s);
}

static char *basic(const char *user_password)
{
        nb_auto_buf b = NB_BUF(1024);

        CHECK_INT(nb_base64_encode(user_password, strlen(user_password), &b), 0);
        return nb_asprintf("Authorization: Basic %s\r\n", nb_buf_str(&b));
}

TEST(who_may_read_and_who_may_change)
{
        static const char *const reading[] = {"/", "/api/v1/builds", "/metrics"};
        nb_auto_free char *good = basic("me:" TOKEN), *bad = basic("me:wrong"), *odd = basic(TOKEN);
        struct answer a;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "auth",
                                           .auth = "[auth]\noperator_token_file = \"token\"\n"
                                                   "read = \"token\""});
        for (size_t i = 0; i < NB_ARRAY_SIZE(reading); i++) {
                check_status(&s, "GET", reading[i], "", 401);
                check_status(&s, "GET", reading[i], bad, 401);
                check_status(&s, "GET", reading[i], odd, 401);
                check_status(&s, "GET", reading[i], "Authorization: Basic !!!\r\n", 401);
                check_status(&s, "GET", reading[i], "Authorization: Bearer\r\n", 401);
                check_status(&s, "GET", reading[i], "Authorization: Bearer x\r\n", 401);
                check_status(&s, "GET", reading[i], BEARER, 200);
                check_status(&s, "GET", reading[i], "Authorization: bearer  " TOKEN "\r\n", 200);
                check_status(&s, "GET", reading[i], good, 200);
        }
        check_status(&s, "GET", "/healthz", "", 200);
        check_status(&s, "GET", "/readyz", "", 200);
        check_status(&s, "GET", "/assets/style.css", "", 200);
        a = ask(&s, "GET", "/", "");
        CHECK(nb_starts_with(answer_header(&a, "WWW-Authenticate"), "Basic realm="));
        answer_done(&a);
        a = ask(&s, "POST", "/api/v1/builds/1/cancel", "");
        CHECK_INT(a.status, 401);
        CHECK(nb_starts_with(answer_header(&a, "WWW-Authenticate"), "Bearer "));
        answer_done(&a);
        /* what a browser adds by itself changes nothing */
        check_status(&s, "POST", "/api/v1/builds/1/cancel", good, 401);
        check_status(&s, "POST", "/api/v1/builds/1/cancel", "Authorization: Bearer x\r\n", 401);
        check_status(&s, "POST", "/api/v1/builds/1/cancel", BEARER, 404);
        site_stop(&s);
}

TEST(without_a_token_nothing_can_be_changed)
{
        struct site s;

        site_start(&s, &(struct site_opts){.name = "no-token", .auth = ""});
        check_status(&s, "POST", "/api/v1/builds/1/cancel", BEARER, 403);
        check_status(&s, "POST", "/api/v1/builds/1/cancel", "Authorization: Bearer \r\n", 403);
        check_status(&s, "GET", "/", "", 200);
        site_stop(&s);
}

/* A line of the text format: a comment of two kinds, or name{labels} value. */
static void check_metric_line(const char *line, size_t n)
{
        nb_auto_free char *text = nb_strndup(line, n);
        size_t name = strspn(text, "abcdefghijklmnopqrstuvwxyz_:0123456789");
        const char *s = text + name;
        char *end;

        if (nb_starts_with(text, "# HELP ") || nb_starts_with(text, "# TYPE "))
                return;
        CHECK(name > 0);
        if (*s == '{') {
                s += strcspn(s, "}");
                CHECK(*s == '}' && s[-1] == '"');
                s++;
        }
        CHECK(*s == ' ');
        (void)strtod(s + 1, &end);
        if (end == s + 1 || *end)
                FAIL("no value: %s", text);
}

TEST(metrics_are_valid_and_true)
{
        static const char *const names[] = {
                "nbcid_build_info{version=\"",
                "nbcid_webhook_deliveries_total{result=\"accepted\"} 1\n",
                "nbcid_webhook_request_duration_seconds_bucket{le=\"+Inf\"} 1\n",
                "nbcid_webhook_request_duration_seconds_count 1\n",
                "nbcid_queue_depth{state=\"queued\"} 0\n",
                "nbcid_queue_oldest_age_seconds ",
                "nbcid_job_duration_seconds_sum ",
                "nbcid_jobs_finished_total{class=\"cell_error\"} 0\n",
                "nbcid_status_post_total{result=\"accepted\"} 0\n",
                "nbcid_outbox_waiting ",
                "nbcid_git_errors_total 0\n",
                "nbcid_store_errors_total 0\n",
                "nbcid_db_size_bytes ",
                "nbcid_config_last_reload_successful 0\n",
                "nbcid_config_last_reload_success_timestamp_seconds ",
                "process_resident_memory_bytes ",
                "process_start_time_seconds ",
                "process_open_fds ",
                "process_cpu_seconds_total "};
        int64_t build;
        struct answer a;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "metrics"});
        (void)site_job(&s, 1, "One", "a.ipynb", NULL, &build);
        a = ask(&s, "GET", "/metrics", "");
        CHECK(strstr(answer_header(&a, "Content-Type"), "version=0.0.4"));
        for (const char *line = a.body; *line; line += strcspn(line, "\n") + 1)
                check_metric_line(line, strcspn(line, "\n"));
        for (size_t i = 0; i < NB_ARRAY_SIZE(names); i++)
                if (!strstr(a.body, names[i]))
                        FAIL("not there: %s in\n%s", names[i], a.body);
        answer_done(&a);
        site_stop(&s);
}

NBTEST_MAIN()
