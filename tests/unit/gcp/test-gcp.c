/* SPDX-License-Identifier: Apache-2.0 */

/* Tokens, calls and operations, against a server that answers as told. */

#include <time.h>

#include "world.h"

/* What the server does and has seen.  Its threads write, one at a time; the
 * test reads when an answer has come. */
struct play {
        int tokens;         /* given out */
        int expires_in;     /* of them */
        int fail_tokens;    /* so many answers are 503 before */
        const char *refuse; /* body of a 400 for tokens */
        int date_off_s;     /* the server's clock against ours */
        bool no_flavor;     /* of the metadata server */
        int fail_calls;     /* so many calls are answered with fail_status; 0: reset */
        int fail_status;
        const char *fail_headers;
        bool every_401; /* no token is good */
        int done_after; /* an operation is done at that look */
        const char *operation_end;
        char form[8192], auth[256], body[256], user_project[64], subject_header[64];
        int asked_tokens, asked_calls, looked;
};

static void say_date(const struct play *p, char *buf, size_t size)
{
        time_t t = time(NULL) + p->date_off_s;
        struct tm tm;

        gmtime_r(&t, &tm);
        strftime(buf, size, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
}

static void play_token(struct play *p, const struct web_request *r, struct nb_buf *out)
{
        nb_auto_free char *answer = NULL;
        char date[64];

        p->asked_tokens++;
        (void)nb_fmt(p->form, sizeof(p->form), "%.*s", (int)r->n_body, r->body);
        say_date(p, date, sizeof(date));
        if (p->fail_tokens > 0) {
                p->fail_tokens--;
                web_answer(out, 503, date, "");
        } else if (p->refuse) {
                web_answer(out, 400, date, p->refuse);
        } else {
                answer = nb_asprintf("{\"access_token\":\"tok-%d\",\"expires_in\":\"%d\","
                                     "\"token_type\":\"Bearer\"}",
                                     ++p->tokens, p->expires_in ? p->expires_in : 3599);
                web_answer(out, 200, p->no_flavor ? "" : "Metadata-Flavor: Google\r\n", answer);
        }
}

static void play_call(struct play *p, const struct web_request *r, struct nb_buf *out)
{
        nb_auto_free char *want = nb_asprintf("Bearer tok-%d", p->tokens);

        p->asked_calls++;
        web_header(r, "Authorization", p->auth, sizeof(p->auth));
        web_header(r, "X-Goog-User-Project", p->user_project, sizeof(p->user_project));
        (void)nb_fmt(p->body, sizeof(p->body), "%.*s", (int)r->n_body, r->body);
        if (p->fail_calls > 0) {
                p->fail_calls--;
                if (p->fail_status)
                        web_answer(out, p->fail_status, p->fail_headers ? p->fail_headers : "",
                                   "{\"error\":{\"message\":\"later\"}}");
                return;
        }
        if (p->every_401 || !nb_streq(p->auth, want))
                web_answer(out, 401, "", "{\"error\":{\"status\":\"UNAUTHENTICATED\"}}");
        else
                web_answer(out, 200, "X-Seen: yes\r\n", "{\"ok\":true}");
}

static void serve(void *arg, const struct web_request *r, struct nb_buf *out)
{
        struct play *p = arg;
        nb_auto_free char *answer = NULL;
        char date[32];
        time_t end = time(NULL) + 1800;
        struct tm tm;

        if (nb_streq(r->target, "/token") || nb_starts_with(r->target, "/computeMetadata/")) {
                play_token(p, r, out);
        } else if (nb_streq(r->target, "/subject")) {
                web_header(r, "X-Subject", p->subject_header, sizeof(p->subject_header));
                web_answer(out, 200, "", "{\"value\":\"from-url\"}");
        } else if (nb_streq(r->target, "/impersonate")) {
                web_header(r, "Authorization", p->auth, sizeof(p->auth));
                (void)nb_fmt(p->body, sizeof(p->body), "%.*s", (int)r->n_body, r->body);
                gmtime_r(&end, &tm);
                strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
                answer = nb_asprintf("{\"accessToken\":\"imp\",\"expireTime\":\"%s\"}", date);
                web_answer(out, 200, "", answer);
        } else if (nb_starts_with(r->target, "/v1/projects/p/operations/")) {
                web_answer(out, 200, "",
                           ++p->looked >= p->done_after ? p->operation_end : "{\"name\":\"x\"}");
        } else {
                play_call(p, r, out);
        }
}

/* ---- asking for tokens ---- */

struct asked {
        struct world *w;
        struct gcp_token_wait *wait;
        int calls;
        char token[64];
        struct nb_err err;
};

static void on_token(void *arg, const char *token, const struct nb_err *err)
{
        struct asked *a = arg;

        CHECK(!token != !err);
        a->wait = NULL;
        a->calls++;
        (void)nb_fmt(a->token, sizeof(a->token), "%s", token ? token : "");
        if (err)
                a->err = *err;
}

static void get(struct world *w, struct asked *a)
{
        *a = (struct asked){.w = w};
        CHECK_OK(gcp_token_get(w->gcp, on_token, a, &a->wait, &w->err), &w->err);
        CHECK_INT(a->calls, 0);
}

static void get_now(struct world *w, struct asked *a)
{
        get(w, a);
        world_wait(w, &a->calls, 1);
}

static void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *fmt, ...)
{
        char cmd[4000];
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(cmd, sizeof(cmd), fmt, ap);
        va_end(ap);
        CHECK(n > 0 && (size_t)n < sizeof(cmd));
        CHECK_INT(system(cmd), 0);
}

/* A key of openssl's in the JSON in which Google gives it. */
static const char *put_service_account(void)
{
        const char *dir = nbtest_tmpdir();
        nb_auto_buf pem = NB_BUF(65536);
        nb_auto_buf text = NB_BUF(65536);
        struct nb_json_out o = NB_JSON_OUT(&text);
        nb_auto_free char *path = nb_asprintf("%s/key.pem", dir);
        struct nb_err err;

        run("openssl genrsa -out %s/key.pem 2048 2>/dev/null && openssl rsa -in %s/key.pem -pubout "
            "-out %s/pub.pem 2>/dev/null",
            dir, dir, dir);
        CHECK_OK(nb_read_file(AT_FDCWD, path, &pem, &err), &err);
        nb_json_open_object(&o);
        nb_json_kv_str(&o, "type", "service_account");
        nb_json_kv_str(&o, "project_id", "my-project");
        nb_json_kv_str(&o, "private_key_id", "kid1");
        nb_json_kv_str(&o, "private_key", nb_buf_str(&pem));
        nb_json_kv_str(&o, "client_email", "ci@my-project.iam.gserviceaccount.com");
        nb_json_kv_str(&o, "token_uri", "https://oauth2.googleapis.com/token");
        nb_json_close(&o);
        return put_text("sa.json", nb_buf_str(&text));
}

TEST(a_service_account_signs_what_openssl_verifies)
{
        static const char prefix[] =
                "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
        const char *dir = nbtest_tmpdir();
        struct play p = {0};
        struct world w;
        struct asked a;

        if (system("openssl version >/dev/null 2>&1") != 0) {
                printf("# skipped: no openssl command\n");
                return;
        }
        world_start(&w, serve, &p);
        world_gcp(&w, put_service_account());
        CHECK_STR(gcp_project(w.gcp), "my-project");
        get_now(&w, &a);
        CHECK_STR(a.token, "tok-1");
        CHECK(nb_starts_with(p.form, prefix));
        (void)put_text("jwt", p.form + strlen(prefix));
        run("cd %s && python3 - <<'EOF'\n"
            "import base64, json, time\n"
            "d = lambda s: base64.urlsafe_b64decode(s + '=' * (-len(s) %% 4))\n"
            "h, c, s = open('jwt').read().split('.')\n"
            "open('signed', 'w').write(h + '.' + c)\n"
            "open('sig', 'wb').write(d(s))\n"
            "h, c = json.loads(d(h)), json.loads(d(c))\n"
            "assert h == {'alg': 'RS256', 'typ': 'JWT', 'kid': 'kid1'}, h\n"
            "assert c['iss'] == 'ci@my-project.iam.gserviceaccount.com', c\n"
            "assert c['aud'] == 'https://oauth2.googleapis.com/token', c\n"
            "assert c['scope'] == 'https://www.googleapis.com/auth/cloud-platform', c\n"
            "assert abs(c['iat'] - time.time()) < 60 and c['exp'] == c['iat'] + 3600, c\n"
            "EOF\n",
            dir);
        run("cd %s && openssl dgst -sha256 -verify pub.pem -signature sig signed >/dev/null", dir);
        world_stop(&w);
}

TEST(a_token_is_kept_and_renewed_early)
{
        struct play p = {.expires_in = 3600};
        struct world w;
        struct asked a;

        world_start(&w, serve, &p);
        world_gcp(&w, put_user());
        get_now(&w, &a);
        CHECK_STR(p.form, "grant_type=refresh_token&client_id=c&client_secret=s%2B%2F&"
                          "refresh_token=r%26t");
        w.ahead_ms = (3600 - 227) * 1000;
        get_now(&w, &a);
        CHECK_STR(a.token, "tok-1");
        w.ahead_ms = (3600 - 224) * 1000;
        p.refuse = "{\"error\":\"invalid_scope\"}";
        get_now(&w, &a); /* the old one lives */
        CHECK_STR(a.token, "tok-1");
        w.ahead_ms = 3601 * 1000;
        get_now(&w, &a);
        CHECK_INT(a.err.code, NB_E_INVALID);
        CHECK(strstr(a.err.msg, "invalid_scope"));
        p.refuse = NULL;
        get_now(&w, &a);
        CHECK_STR(a.token, "tok-2");
        world_stop(&w);
}

TEST(all_who_wait_share_one_refresh)
{
        struct play p = {.fail_tokens = 2};
        struct asked a[20];
        struct world w;

        world_start(&w, serve, &p);
        world_gcp(&w, put_user());
        for (size_t i = 0; i < NB_ARRAY_SIZE(a); i++)
                get(&w, &a[i]);
        gcp_token_cancel(a[3].wait);
        gcp_token_cancel(a[0].wait);
        for (size_t i = 1; i < NB_ARRAY_SIZE(a); i++) {
                if (i == 3)
                        continue;
                world_wait(&w, &a[i].calls, 1);
                CHECK_STR(a[i].token, "tok-1");
        }
        CHECK_INT(a[0].calls + a[3].calls, 0);
        CHECK_INT(p.asked_tokens, 3); /* two 503, one token */
        world_stop(&w);
}

static void skewed(int date_off_s, const char *says)
{
        struct play p = {.refuse = "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid "
                                   "JWT\"}",
                         .date_off_s = date_off_s};
        struct world w;
        struct asked a;

        world_start(&w, serve, &p);
        world_gcp(&w, put_user());
        get_now(&w, &a);
        CHECK_INT(a.err.code, NB_E_DENIED);
        if (!strstr(a.err.msg, says))
                FAIL("said \"%s\" without \"%s\"", a.err.msg, says);
        world_stop(&w);
}

TEST(a_wrong_clock_is_named)
{
        skewed(3600, "clock is 60 minutes behind");
        skewed(-300, "clock is 5 minutes ahead");
        skewed(0, "was the key, the account or the login removed?");
}

TEST(words_for_again_are_obeyed)
{
        struct play p = {.refuse = "{\"error\":\"temporarily_unavailable\"}"};
        struct world w;
        struct asked a;

        world_start(&w, serve, &p);
        world_gcp(&w, put_user());
        get_now(&w, &a);
        CHECK_INT(p.asked_tokens, 3);
        CHECK(strstr(a.err.msg, "temporarily_unavailable"));
        world_stop(&w);
}

TEST(the_metadata_server_must_say_that_it_is_one)
{
        struct play p = {0};
        struct world w;
        struct asked a;

        world_start(&w, serve, &p);
        world_gcp(&w, NULL);
        get_now(&w, &a);
        CHECK_STR(a.token, "tok-1");
        gcp_token_rejected(w.gcp, "tok-0");
        get_now(&w, &a);
        CHECK_STR(a.token, "tok-1");
        gcp_token_rejected(w.gcp, "tok-1");
        p.no_flavor = true;
        get_now(&w, &a);
        CHECK_INT(a.err.code, NB_E_REMOTE);
        CHECK(strstr(a.err.msg, "no metadata server of Google"));
        world_stop(&w);
}

static void federated(const char *source, struct world *w, struct play *p, struct asked *a)
{
        nb_auto_free char *text = NULL;

        world_start(w, serve, p);
        text = nb_asprintf("{\"type\":\"external_account\",\"audience\":\"//aud\","
                           "\"subject_token_type\":\"urn:jwt\",\"token_url\":\"%s\","
                           "\"credential_source\":%s}",
                           w->token_url, source);
        world_gcp(w, put_text("external.json", text));
        get_now(w, a);
        world_stop(w);
}

TEST(a_subject_token_from_a_file_is_exchanged)
{
        struct play p = {0};
        struct world w;
        struct asked a;
        nb_auto_free char *source =
                nb_asprintf("{\"file\":\"%s\"}", put_text("subject", "the-subject\n"));

        federated(source, &w, &p, &a);
        CHECK_STR(a.token, "tok-1");
        CHECK(strstr(p.form, "&subject_token=the-subject&"));
        CHECK(strstr(p.form, "&audience=%2F%2Faud&"));
        federated("{\"file\":\"/nonexistent/subject\"}", &w, &p, &a);
        CHECK_INT(a.err.code, NB_E_NOTFOUND);
}

TEST(a_subject_token_from_an_address_then_impersonation)
{
        struct play p = {0};
        struct world w;
        struct asked a;
        nb_auto_free char *source = NULL;

        world_start(&w, serve, &p);
        source = nb_asprintf("{\"type\":\"external_account\",\"audience\":\"//aud\","
                             "\"subject_token_type\":\"urn:jwt\",\"token_url\":\"%s\","
                             "\"credential_source\":{\"url\":\"%s/subject\",\"headers\":{"
                             "\"X-Subject\":\"yes\"},\"format\":{\"type\":\"json\","
                             "\"subject_token_field_name\":\"value\"}},"
                             "\"service_account_impersonation_url\":\"%s/impersonate\"}",
                             w.token_url, w.base, w.base);
        world_gcp(&w, put_text("external.json", source));
        get_now(&w, &a);
        CHECK_STR(a.token, "imp");
        CHECK_STR(p.subject_header, "yes");
        CHECK(strstr(p.form, "&subject_token=from-url&"));
        CHECK_STR(p.auth, "Bearer tok-1");
        CHECK_STR(p.body, "{\"scope\":[\"https://www.googleapis.com/auth/cloud-platform\"],"
                          "\"lifetime\":\"3600s\"}");
        world_stop(&w);
}

/* ---- calls ---- */

struct called {
        struct gcp_call *call;
        int calls, status;
        struct gcp_error e;
        struct nb_err err;
};

static void on_called(void *arg, const struct http_in *resp, const struct gcp_error *e,
                      const struct nb_err *err)
{
        struct called *c = arg;

        CHECK(!e == !err);
        c->call = NULL;
        c->calls++;
        c->status = resp ? resp->status : 0;
        if (err) {
                c->err = *err;
                c->e = *e;
        }
}

static void call(struct world *w, struct called *c, bool idempotent)
{
        nb_auto_free char *url = nb_asprintf("%s/api", w->base);
        const struct gcp_request r = {.method = "POST",
                                      .url = url,
                                      .body = "{\"a\":1}",
                                      .n_body = 7,
                                      .idempotent = idempotent};

        *c = (struct called){0};
        CHECK_OK(gcp_call(w->gcp, &r, on_called, c, &c->call, &w->err), &w->err);
        CHECK_INT(c->calls, 0);
}

static void call_now(struct world *w, struct called *c, bool idempotent)
{
        call(w, c, idempotent);
        world_wait(w, &c->calls, 1);
}

TEST(a_call_has_the_token_and_its_body)
{
        struct play p = {0};
        struct called c;
        struct world w;

        world_start(&w, serve, &p);
        world_gcp(&w, put_user());
        call_now(&w, &c, false);
        CHECK_INT(c.status, 200);
        CHECK_STR(p.auth, "Bearer tok-1");
        CHECK_STR(p.body, "{\"a\":1}");
        CHECK_STR(p.user_project, "");
        world_stop(&w);
}

TEST(one_forced_refresh_on_401)
{
        struct play p = {0};
        struct called c;
        struct world w;

        world_start(&w, serve, &p);
        world_gcp(&w, put_user());
        call_now(&w, &c, false);
        p.tokens = 7; /* the server has forgotten tok-1 */
        call_now(&w, &c, false);
        CHECK_INT(c.status, 200);
        CHECK_STR(p.auth, "Bearer tok-8");
        p.every_401 = true;
        p.asked_calls = 0;
        call_now(&w, &c, true);
        CHECK_INT(c.e.http, 401);
        CHECK_INT(c.err.code, NB_E_DENIED);
        CHECK_INT(p.asked_calls, 2);
        world_stop(&w);
}

TEST(idempotent_calls_are_sent_again)
{
        static const int statuses[] = {0, 408, 429, 500, 502, 503, 504};
        struct play p = {0};
        struct called c;
        struct world w;

        world_start(&w, serve, &p);
        world_gcp(&w, put_user());
        for (size_t i = 0; i < NB_ARRAY_SIZE(statuses); i++) {
                p.fail_calls = 3;
                p.fail_status = statuses[i];
                p.asked_calls = 0;
                call_now(&w, &c, true);
                CHECK_INT(c.status, 200);
                CHECK_INT(p.asked_calls, 4);
        }
        p.fail_calls = 1000;
        p.fail_status = 503;
        p.asked_calls = 0;
        call_now(&w, &c, true);
        CHECK_INT(c.e.http, 503);
        CHECK_INT(c.e.tries, 6);
        CHECK_INT(p.asked_calls, 6);
        CHECK(strstr(c.err.msg, "later"));
        p.fail_status = 403;
        p.asked_calls = 0;
        call_now(&w, &c, true);
        CHECK_INT(p.asked_calls, 1);
        CHECK_INT(c.err.code, NB_E_DENIED);
        CHECK(!c.e.unsure);
        world_stop(&w);
}

TEST(other_calls_are_sent_once_and_say_whether_they_may_have_acted)
{
        static const struct {
                int status;
                bool unsure;
        } cases[] = {{0, true}, {408, true}, {500, true}, {503, true}, {429, false}, {400, false}};
        struct play p = {0};
        struct called c;
        struct world w;

        world_start(&w, serve, &p);
        world_gcp(&w, put_user());
        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                p.fail_calls = 1;
                p.fail_status = cases[i].status;
                p.asked_calls = 0;
                call_now(&w, &c, false);
                CHECK_INT(p.asked_calls, 1);
                CHECK_INT(c.e.http, cases[i].status);
                CHECK_INT(c.e.unsure, cases[i].unsure);
                CHECK_INT(c.e.tries, 1);
        }
        world_stop(&w);
}

TEST(retry_after_is_obeyed)
{
        struct play p = {.fail_calls = 1, .fail_status = 429, .fail_headers = "Retry-After: 1\r\n"};
        struct called c;
        struct world w;
        uint64_t t0;

        world_start(&w, serve, &p);
        world_gcp(&w, put_user());
        t0 = nb_mono_us(&nb_clock_real);
        call_now(&w, &c, true);
        CHECK_INT(c.status, 200);
        CHECK(nb_mono_us(&nb_clock_real) - t0 >= NB_US_PER_S);
        world_stop(&w);
}

TEST(cancelled_calls_are_silent)
{
        struct play p = {.fail_calls = 3, .fail_status = 503};
        struct called a, b;
        struct world w;

        world_start(&w, serve, &p);
        world_gcp(&w, put_user());
        call(&w, &a, true); /* waits for its token */
        gcp_call_cancel(a.call);
        call_now(&w, &b, true);
        CHECK_INT(b.status, 200);
        call(&w, &a, true);
        CHECK_OK(loop_step(w.loop, NB_US_PER_S, &w.err), &w.err);
        gcp_call_cancel(a.call);
        call_now(&w, &b, true);
        CHECK_INT(a.calls, 0);
        world_stop(&w);
}

/* ---- operations ---- */

struct operated {
        struct gcp_operation *op;
        int calls;
        char model[64];
        struct gcp_error e;
        struct nb_err err;
};

static void on_operation(void *arg, const struct nb_json *response, const struct gcp_error *e,
                         const struct nb_err *err)
{
        struct operated *o = arg;
        const char *s = nb_json_str(nb_json_get(response, "model"), NULL);

        o->op = NULL;
        o->calls++;
        (void)nb_fmt(o->model, sizeof(o->model), "%s", s ? s : "");
        if (err) {
                o->err = *err;
                o->e = *e;
        }
}

static void operate(struct world *w, struct operated *o, uint64_t timeout_us)
{
        nb_auto_free char *base = nb_asprintf("%s/v1/", w->base);

        *o = (struct operated){0};
        CHECK_OK(gcp_operation_wait(w->gcp, base, "projects/p/operations/7", timeout_us,
                                    on_operation, o, &o->op, &w->err),
                 &w->err);
        world_wait(w, &o->calls, 1);
}

TEST(an_operation_is_waited_for)
{
        struct play p = {.done_after = 2,
                         .operation_end = "{\"done\":true,\"response\":{\"model\":\"m\"}}"};
        struct operated o;
        struct world w;

        world_start(&w, serve, &p);
        world_gcp(&w, put_user());
        operate(&w, &o, 60 * NB_US_PER_S);
        CHECK_STR(o.model, "m");
        p.operation_end = "{\"done\":true,\"error\":{\"code\":8,\"message\":\"no GPU\"}}";
        operate(&w, &o, 60 * NB_US_PER_S);
        CHECK_INT(o.e.code, 8);
        CHECK(strstr(o.err.msg, "RESOURCE_EXHAUSTED: no GPU"));
        p.done_after = 1000;
        operate(&w, &o, 0);
        CHECK_INT(o.err.code, NB_E_TIMEOUT);
        CHECK_ERR(gcp_operation_wait(w.gcp, "http://x/v1/", "projects/../operations/1", 1,
                                     on_operation, &o, &o.op, &w.err),
                  &w.err, NB_E_INVALID, "no name of an operation");
        world_stop(&w);
}

NBTEST_MAIN()
