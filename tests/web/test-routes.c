/* SPDX-License-Identifier: Apache-2.0 */

/* test-routes.c - what each address answers */

#include <sys/stat.h>

#include "site.h"

TEST(every_address_answers_and_others_do_not)
{
        static const char *const unknown[] = {"/x",
                                              "/api",
                                              "/api/v1/builds/",
                                              "/api/v1/builds/0",
                                              "/api/v1/builds/01",
                                              "/api/v1/builds/-1",
                                              "/api/v1/builds/x",
                                              "/api/v1/builds/9223372036854775808",
                                              "/api/v1/builds/1/cancelled",
                                              "/api/v1/jobs/1/log/x",
                                              "/assets/",
                                              "/assets/other.css",
                                              "/assets/..",
                                              "/assets/%2e%2e",
                                              "//",
                                              "/builds/2",
                                              "/jobs/2",
                                              "/api/v1/builds/2",
                                              "/api/v1/jobs/2",
                                              "/api/v1/jobs/2/log"};
        static const char *const known[] = {"/",
                                            "/builds/1",
                                            "/jobs/1",
                                            "/healthz",
                                            "/readyz",
                                            "/metrics",
                                            "/api/v1/builds",
                                            "/api/v1/builds/1",
                                            "/api/v1/jobs/1",
                                            "/api/v1/jobs/1/log",
                                            "/api/v1/jobs/1/notebook",
                                            "/assets/style.css",
                                            "/?state=failed&repository=acme/notebooks",
                                            "/api/v1/builds?unknown=1"};
        static const char *const posts[] = {"/api/v1/builds/1/cancel", "/api/v1/builds/1/retry",
                                            "/api/v1/jobs/1/retry"};
        int64_t build;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "routes"});
        CHECK_INT(site_job(&s, 1, "One", "a.ipynb", &failed, &build), 1);
        site_artifact(&s, 1, 1, "log.txt", "a line\n");
        site_artifact(&s, 1, 1, "executed.ipynb", "{}");
        for (size_t i = 0; i < NB_ARRAY_SIZE(known); i++) {
                check_status(&s, "GET", known[i], "", 200);
                check_status(&s, "HEAD", known[i], "", 200);
                check_status(&s, "POST", known[i], "Content-Length: 0\r\n", 405);
                check_status(&s, "DELETE", known[i], "", 405);
        }
        for (size_t i = 0; i < NB_ARRAY_SIZE(unknown); i++) {
                check_status(&s, "GET", unknown[i], "", 404);
                check_status(&s, "GET", unknown[i], "Accept: text/html\r\n", 404);
        }
        for (size_t i = 0; i < NB_ARRAY_SIZE(posts); i++)
                check_status(&s, "GET", posts[i], "", 405);
        check_status(&s, "GET", "/hooks/github", "", 405);
        check_status(&s, "POST", "/hooks/nobody", "Content-Length: 0\r\n", 404);
        check_status(&s, "GET", "/?state=%zz", "", 400);
        check_status(&s, "GET", "/?state=%ff", "", 400);
        check_status(&s, "GET", "/?state=odd", "", 400);
        check_status(&s, "GET", "/api/v1/builds?limit=201", "", 400);
        check_status(&s, "GET", "/api/v1/builds?before=x", "", 400);
        check_status(&s, "GET", "/?a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q", "", 400);
        site_stop(&s);
}

TEST(head_is_get_without_the_body_and_allow_says_what_goes)
{
        struct answer a, b;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "head"});
        a = ask(&s, "GET", "/", "");
        b = ask(&s, "HEAD", "/", "");
        CHECK_INT(b.n_body, 0);
        CHECK(a.n_body > 100);
        CHECK_STR(answer_header(&a, "Content-Type"), "text/html; charset=utf-8");
        CHECK(strstr(answer_header(&b, "Content-Security-Policy"), "style-src 'self'"));
        answer_done(&a);
        answer_done(&b);
        a = ask(&s, "PUT", "/healthz", "");
        CHECK_STR(answer_header(&a, "Allow"), "GET, HEAD");
        answer_done(&a);
        a = ask(&s, "GET", "/api/v1/builds/1/retry", "");
        CHECK_STR(answer_header(&a, "Allow"), "POST");
        answer_done(&a);
        site_stop(&s);
}

TEST(a_push_is_kept_once_and_what_is_not_for_us_is_said)
{
        struct answer a;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "push"});
        a = push(&s, "d1", commit_of(1), "One");
        CHECK_INT(a.status, 202);
        CHECK_STR(a.body, "{\"build\":1}");
        answer_done(&a);
        a = push(&s, "d1", commit_of(1), "One");
        CHECK_INT(a.status, 200);
        CHECK_STR(a.body, "{\"build\":1,\"duplicate\":true}");
        answer_done(&a);
        CHECK(atomic_load(&s.wakes) >= 1);
        a = ask(&s, "POST", "/hooks/github",
                "X-GitHub-Event: push\r\nX-GitHub-Delivery: x\r\nContent-Length: 0\r\n");
        CHECK_INT(a.status, 401);
        CHECK(strstr(a.body, "\"status\":401"));
        answer_done(&a);
        a = ask(&s, "POST", "/hooks/nobody", "Content-Length: 0\r\n");
        CHECK_INT(a.status, 404);
        answer_done(&a);
        CHECK_INT(atomic_load(&s.metrics.deliveries[DELIVERY_ACCEPTED]), 1);
        CHECK_INT(atomic_load(&s.metrics.deliveries[DELIVERY_DUPLICATE]), 1);
        CHECK_INT(atomic_load(&s.metrics.deliveries[DELIVERY_DENIED]), 1);
        CHECK(atomic_load(&s.metrics.delivery_seconds.count) >= 3);
        site_stop(&s);
}

static struct answer deliver(struct site *s, const char *path, const char *headers,
                             const char *body)
{
        nb_auto_free char *text = nb_asprintf("%sContent-Length: %zu\r\n", headers, strlen(body));
        nb_auto_free char *all =
                nb_asprintf("POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s", path, text, body);
        int fd = site_dial(s);
        struct answer a;

        say(fd, all);
        CHECK(hear(fd, false, &a));
        (void)close(fd);
        return a;
}

static char *github_headers(const char *event, const char *id, const char *body)
{
        uint8_t mac[NB_SHA256_SIZE];
        char hex[65];

        nb_hmac_sha256(SECRET, strlen(SECRET), body, strlen(body), mac);
        nb_hex(hex, mac, sizeof(mac));
        return nb_asprintf("Content-Type: application/json\r\nX-GitHub-Event: %s\r\n"
                           "X-GitHub-Delivery: %s\r\nX-Hub-Signature-256: sha256=%s\r\n",
                           event, id, hex);
}

TEST(both_forges_and_what_they_send_beside_pushes)
{
        nb_auto_free char *ping = github_headers("ping", "p1", "{}");
        nb_auto_free char *broken = github_headers("push", "p2", "{\"ref\":");
        nb_auto_free char *file =
                nb_asprintf("%s/tests/fixtures/gitlab/push.json", getenv("NBCID_SOURCE_ROOT"));
        nb_auto_buf body = NB_BUF(1 << 20);
        struct answer a;
        struct site s;
        struct nb_err err;

        site_start(&s, &(struct site_opts){.name = "forges"});
        a = deliver(&s, "/hooks/github", ping, "{}");
        CHECK_INT(a.status, 200);
        CHECK(nb_starts_with(a.body, "{\"ignored\":\""));
        answer_done(&a);
        a = deliver(&s, "/hooks/github", broken, "{\"ref\":");
        CHECK_INT(a.status, 400);
        answer_done(&a);
        CHECK_OK(nb_read_file(AT_FDCWD, file, &body, &err), &err);
        a = deliver(&s, "/hooks/gitlab",
                    "Content-Type: application/json\r\nX-Gitlab-Event: Push Hook\r\n"
                    "X-Gitlab-Token: " SECRET "\r\nX-Gitlab-Event-UUID: u1\r\n"
                    "X-Gitlab-Webhook-UUID: w1\r\n",
                    nb_buf_str(&body));
        CHECK_INT(a.status, 202);
        answer_done(&a);
        a = deliver(&s, "/hooks/gitlab",
                    "Content-Type: application/json\r\nX-Gitlab-Event: Push Hook\r\n"
                    "X-Gitlab-Token: wrong\r\n",
                    nb_buf_str(&body));
        CHECK_INT(a.status, 401);
        answer_done(&a);
        site_stop(&s);
}

TEST(builds_and_jobs_as_json)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL, *u = NULL;
        const struct nb_json *o;
        int64_t build, job;
        struct answer a;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "json"});
        job = site_job(&s, 1, "One", "train/a.ipynb", &failed, &build);
        a = ask(&s, "GET", "/api/v1/builds/1", "");
        t = json_of(&a);
        o = nb_json_root(t);
        CHECK_INT(int_at(o, "id"), build);
        CHECK_STR(nb_json_str(nb_json_get(o, "repository"), NULL), "acme/notebooks");
        CHECK_STR(nb_json_str(nb_json_get(o, "forge"), NULL), "github");
        CHECK_STR(nb_json_str(nb_json_get(o, "ref"), NULL), "refs/heads/main");
        CHECK_STR(nb_json_str(nb_json_get(o, "commit"), NULL), commit_of(1));
        CHECK_STR(nb_json_str(nb_json_get(o, "trigger"), NULL), "push");
        CHECK_STR(nb_json_str(nb_json_get(o, "state"), NULL), "failed");
        CHECK_STR(nb_json_str(nb_json_get(o, "url"), NULL), "https://ci.example.org/builds/1");
        CHECK_STR(nb_json_str(nb_json_get(o, "author"), NULL), "ada");
        CHECK(nb_ends_with(nb_json_str(nb_json_get(o, "created_at"), NULL), "Z"));
        CHECK_INT(nb_json_type(nb_json_get(o, "retry_of")), NB_JSON_NULL);
        CHECK_INT(int_at(nb_json_get(o, "counts"), "jobs"), 1);
        o = nb_json_index(nb_json_get(o, "jobs"), 0);
        CHECK_INT(int_at(o, "id"), job);
        CHECK_STR(nb_json_str(nb_json_get(o, "state"), NULL), "failed");
        CHECK_STR(nb_json_str(nb_json_get(o, "class"), NULL), "cell_error");
        answer_done(&a);
        a = ask(&s, "GET", "/api/v1/jobs/1", "");
        u = json_of(&a);
        o = nb_json_root(u);
        CHECK_INT(int_at(o, "build"), build);
        CHECK_INT(int_at(o, "cell"), 7);
        CHECK_INT(int_at(o, "cells"), 9);
        CHECK_INT(int_at(o, "cells_done"), 7);
        CHECK_STR(nb_json_str(nb_json_get(o, "notebook"), NULL), "train/a.ipynb");
        CHECK_STR(nb_json_str(nb_json_get(o, "ename"), NULL), "ValueError");
        CHECK_STR(nb_json_str(nb_json_at(o, "environment", "kernel", NULL), NULL), "python3");
        CHECK_INT(nb_json_size(nb_json_get(o, "attempts")), 1);
        o = nb_json_index(nb_json_get(o, "attempts"), 0);
        CHECK_INT(int_at(o, "number"), 1);
        CHECK_STR(nb_json_str(nb_json_get(o, "state"), NULL), "failed");
        answer_done(&a);
        site_stop(&s);
}

TEST(lists_are_paged_and_filtered)
{
        nb_auto_free char *next = NULL;
        struct answer a;
        struct site s;
        size_t seen = 0, pages = 0;

        site_start(&s, &(struct site_opts){.name = "paging"});
        for (unsigned i = 0; i < 7; i++) {
                nb_auto_free char *id = nb_asprintf("d%u", i);

                a = push(&s, id, commit_of(i), "x");
                CHECK_INT(a.status, 202);
                answer_done(&a);
        }
        next = nb_strdup("/api/v1/builds?limit=3&state=queued&repository=acme%2fnotebooks");
        while (next) {
                NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
                const struct nb_json *v;

                a = ask(&s, "GET", next, "");
                CHECK_INT(a.status, 200);
                t = json_of(&a);
                v = nb_json_get(nb_json_root(t), "builds");
                for (size_t i = 0; i < nb_json_size(v); i++)
                        CHECK_INT(int_at(nb_json_index(v, i), "id"), 7 - (int64_t)seen++);
                CHECK(!nb_json_get(nb_json_index(v, 0), "jobs"));
                pages++;
                free(next);
                next = nb_strdup(nb_json_str(nb_json_get(nb_json_root(t), "next"), NULL));
                CHECK(!next || strstr(next, "repository=acme/notebooks&state=queued&limit=3&"));
                answer_done(&a);
        }
        CHECK_INT(seen, 7);
        CHECK_INT(pages, 3);
        a = ask(&s, "GET", "/api/v1/builds?state=passed", "");
        CHECK_STR(a.body, "{\"builds\":[],\"next\":null}");
        answer_done(&a);
        a = ask(&s, "GET", "/?limit=3&before=6", "");
        CHECK(strstr(a.body, "href=\"/builds/5\"") && !strstr(a.body, "href=\"/builds/6\""));
        CHECK(strstr(a.body, "?limit=3&#38;before=3\">Older builds"));
        CHECK(strstr(a.body, "Newest builds"));
        CHECK_STR(answer_header(&a, "Refresh"), "10");
        answer_done(&a);
        a = ask(&s, "GET", "/?repository=acme/none", "");
        CHECK(strstr(a.body, "No build matches"));
        answer_done(&a);
        site_stop(&s);
}

TEST(pages_escape_every_strangers_text)
{
        static const char *const pages[] = {"/", "/builds/1", "/jobs/1",
                                            "/?repository=%22%3E%3Cscript%3E"};
        int64_t build;
        struct answer a;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "escape"});
        (void)site_job(&s, 1, "<script>alert('x')</script>", "a\\\"<img src=x>.ipynb", &failed,
                       &build);
        site_artifact(&s, 1, 1, "log.txt", "</pre><script>alert(1)</script>\n");
        for (size_t i = 0; i < NB_ARRAY_SIZE(pages); i++) {
                a = ask(&s, "GET", pages[i], "");
                CHECK_INT(a.status, 200);
                CHECK(!strstr(a.body, "<script"));
                CHECK(!strstr(a.body, "<img"));
                CHECK(!strstr(a.body, "<b>shapes"));
                answer_done(&a);
        }
        a = ask(&s, "GET", "/jobs/1", "");
        CHECK(strstr(a.body, "cell 7: ValueError: &#60;b&#62;shapes&#60;/b&#62; (3,) &#38; (4,)"));
        CHECK(strstr(a.body, "&#60;/pre&#62;&#60;script&#62;alert(1)"));
        CHECK(strstr(a.body, "pandas"));
        CHECK(strstr(a.body, "href=\"/api/v1/jobs/1/log\""));
        CHECK(!answer_header(&a, "Refresh"));
        answer_done(&a);
        a = ask(&s, "GET", "/builds/1", "");
        CHECK(strstr(a.body, "cell 7: ValueError"));
        CHECK(strstr(a.body, "&#60;script&#62;alert(&#39;x&#39;)&#60;/script&#62;"));
        answer_done(&a);
        site_stop(&s);
}

TEST(a_page_refreshes_while_something_moves)
{
        int64_t build;
        struct answer a;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "moves"});
        (void)site_job(&s, 1, "One", "a.ipynb", NULL, &build);
        a = ask(&s, "GET", "/builds/1", "");
        CHECK_STR(answer_header(&a, "Refresh"), "3");
        CHECK(strstr(a.body, "class=\"badge running\">running<"));
        CHECK(strstr(a.body, "6 of 9"));
        answer_done(&a);
        a = ask(&s, "GET", "/jobs/1", "");
        CHECK_STR(answer_header(&a, "Refresh"), "3");
        answer_done(&a);
        a = ask(&s, "GET", "/api/v1/jobs/1/log", "");
        CHECK_INT(a.status, 404);
        CHECK(strstr(a.body, "not ended"));
        answer_done(&a);
        site_stop(&s);
}

TEST(an_empty_list_says_what_to_do)
{
        struct answer a;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "empty"});
        a = ask(&s, "GET", "/", "");
        CHECK(strstr(a.body, "No push has arrived yet"));
        CHECK(strstr(a.body, "https://ci.example.org/hooks/github"));
        CHECK(strstr(a.body, "<html lang=\"en\">"));
        answer_done(&a);
        site_stop(&s);
}

TEST(artifacts_are_harmless)
{
        nb_auto_free char *big = malloc(3000001);
        int64_t build;
        struct answer a;
        struct site s;

        CHECK(big);
        memset(big, 'x', 3000000);
        big[3000000] = '\0';
        site_start(&s, &(struct site_opts){.name = "artifacts"});
        CHECK_INT(site_job(&s, 1, "One", "d/.na me\\\"é.ipynb", &passed, &build), 1);
        a = ask(&s, "GET", "/api/v1/jobs/1/log", "");
        CHECK_INT(a.status, 404);
        CHECK(strstr(a.body, "removed"));
        answer_done(&a);
        site_artifact(&s, build, 1, "log.txt", big);
        site_artifact(&s, build, 1, "executed.ipynb", "{\"cells\":[]}");
        a = ask(&s, "GET", "/api/v1/jobs/1/log", "");
        CHECK_INT(a.status, 200);
        CHECK_INT(a.n_body, 3000000);
        CHECK(memcmp(a.body, big, 3000000) == 0);
        CHECK_STR(answer_header(&a, "Content-Type"), "text/plain; charset=utf-8");
        CHECK_STR(answer_header(&a, "Content-Security-Policy"), "default-src 'none'; sandbox");
        CHECK(nb_starts_with(answer_header(&a, "Content-Disposition"), "inline"));
        answer_done(&a);
        a = ask(&s, "GET", "/api/v1/jobs/1/notebook", "");
        CHECK_STR(a.body, "{\"cells\":[]}");
        CHECK_STR(answer_header(&a, "Content-Type"), "application/x-ipynb+json");
        CHECK_STR(answer_header(&a, "Content-Disposition"),
                  "attachment; filename=\"_na_me____.ipynb\"");
        CHECK_STR(answer_header(&a, "X-Content-Type-Options"), "nosniff");
        answer_done(&a);
        /* A job could have left a link, or a pipe, in place of the file. */
        CHECK_INT(unlinkat(s.state_fd, "artifacts/1/1/log.txt", 0), 0);
        CHECK_INT(symlinkat("/etc/passwd", s.state_fd, "artifacts/1/1/log.txt"), 0);
        check_status(&s, "GET", "/api/v1/jobs/1/log", "", 404);
        CHECK_INT(unlinkat(s.state_fd, "artifacts/1/1/log.txt", 0), 0);
        CHECK_INT(mkfifoat(s.state_fd, "artifacts/1/1/log.txt", 0600), 0);
        check_status(&s, "GET", "/api/v1/jobs/1/log", "", 404);
        check_status(&s, "GET", "/jobs/1", "", 200);
        site_stop(&s);
}

TEST(findings_are_shown_and_escaped)
{
        struct site s;
        struct answer a;
        int64_t build;

        site_start(&s, &(struct site_opts){.name = "findings"});
        CHECK_INT(site_job(&s, 1, "One", "a.ipynb", &passed, &build), 1);
        a = ask(&s, "GET", "/api/v1/jobs/1", "");
        CHECK(strstr(a.body, "\"findings\":" SITE_FINDINGS));
        answer_done(&a);
        a = ask(&s, "GET", "/jobs/1", "");
        CHECK(strstr(a.body, "cell 3 line 2 <span class=\"dim\">line 41 of the file</span>: "
                             "looks like &#60;b&#62;a token&#60;/b&#62; <code>secret</code>"));
        CHECK(strstr(a.body, "<pre>key = ***</pre>") && strstr(a.body, "revoke it"));
        answer_done(&a);
        site_stop(&s);
}

TEST(an_environment_is_reported)
{
        struct site s;
        struct answer a;
        int64_t build;

        site_start(&s, &(struct site_opts){.name = "environment"});
        check_status(&s, "GET", "/api/v1/jobs/1/environment", "", 404);
        CHECK_INT(site_job(&s, 1, "One", "a.ipynb", &passed, &build), 1);
        a = ask(&s, "GET", "/api/v1/jobs/1/environment", "");
        CHECK_INT(a.status, 200);
        CHECK(strstr(a.body, "\"what\":\"requirements\",\"requested\":{\"kernel\":\"python3\""));
        CHECK(strstr(a.body, "\"found\":null,\"lock\":null}"));
        answer_done(&a);
        /* what a job could have spoilt is not handed on as JSON */
        site_artifact(&s, build, 1, "environment.json", "{\"version\":");
        a = ask(&s, "GET", "/api/v1/jobs/1/environment", "");
        CHECK(strstr(a.body, "\"found\":null"));
        answer_done(&a);
        site_artifact(&s, build, 1, "environment.json",
                      "{\"version\":\"3.11.2\",\"note\":\"ran in <no> image\",\"packages\":{"
                      "\"numpy\":\"1.26.0\"}}");
        site_artifact(&s, build, 1, "environment.lock", "numpy==1.26.0\n");
        a = ask(&s, "GET", "/api/v1/jobs/1/environment", "");
        CHECK(strstr(a.body, "\"found\":{\"version\":\"3.11.2\","));
        CHECK(strstr(a.body, "\"lock\":\"numpy==1.26.0\\n\""));
        answer_done(&a);
        a = ask(&s, "GET", "/api/v1/jobs/1/environment/lock", "");
        CHECK_STR(a.body, "numpy==1.26.0\n");
        CHECK_STR(answer_header(&a, "Content-Disposition"),
                  "inline; filename=\"job-1-environment.lock\"");
        answer_done(&a);
        check_status(&s, "GET", "/api/v1/jobs/1/environment/log", "", 404);
        a = ask(&s, "GET", "/jobs/1", "");
        CHECK(strstr(a.body, "Python 3.11.2, 1 packages. Note: ran in &#60;no&#62; image."));
        CHECK(strstr(a.body, "href=\"/api/v1/jobs/1/environment/lock\""));
        CHECK(!strstr(a.body, "href=\"/api/v1/jobs/1/environment/log\""));
        answer_done(&a);
        site_stop(&s);
}

TEST(the_stylesheet_is_cached_by_its_content)
{
        nb_auto_free char *condition = NULL;
        struct answer a;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "assets"});
        a = ask(&s, "GET", "/assets/style.css", "");
        CHECK_INT(a.status, 200);
        CHECK_STR(answer_header(&a, "Content-Type"), "text/css; charset=utf-8");
        CHECK(strstr(answer_header(&a, "Cache-Control"), "immutable"));
        condition = nb_asprintf("If-None-Match: %s\r\n", answer_header(&a, "ETag"));
        CHECK(strstr(a.body, "prefers-color-scheme"));
        answer_done(&a);
        a = ask(&s, "GET", "/assets/style.css", condition);
        CHECK_INT(a.status, 304);
        answer_done(&a);
        site_stop(&s);
}

NBTEST_MAIN()
