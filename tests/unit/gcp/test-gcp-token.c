/* SPDX-License-Identifier: Apache-2.0 */

/* Tokens of all kinds of credentials, against a server that answers as told. */

#include "play.h"
#include "world.h"

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
        world_start(&w, play_serve, &p);
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

        world_start(&w, play_serve, &p);
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

        world_start(&w, play_serve, &p);
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

        world_start(&w, play_serve, &p);
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

        world_start(&w, play_serve, &p);
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

        world_start(&w, play_serve, &p);
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

        world_start(w, play_serve, p);
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

        world_start(&w, play_serve, &p);
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

NBTEST_MAIN()
