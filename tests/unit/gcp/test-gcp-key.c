/* SPDX-License-Identifier: Apache-2.0 */

/* Credential files, good and bad; what APIs say; pauses.  No network. */

#include "../../../src/gcp/gcp-priv.h"

#include <nbtest.h>

#include <nbcid/num.h>

static void good(const char *text, const char *operators, struct gcp_key *k)
{
        struct nb_err err;

        CHECK_OK(gcp_key_parse(text, strlen(text), operators, k, &err), &err);
}

static void bad(const char *text, const char *says)
{
        struct gcp_key k;
        struct nb_err err;
        int r = gcp_key_parse(text, strlen(text), NULL, &k, &err);

        CHECK(r == -NB_E_INVALID || r == -NB_E_DENIED);
        if (!strstr(err.msg, says))
                FAIL("said \"%s\" without \"%s\"", err.msg, says);
}

TEST(a_user_of_gcloud)
{
        struct gcp_key k;

        good("{\"type\":\"authorized_user\",\"client_id\":\"c\",\"client_secret\":\"s\","
             "\"refresh_token\":\"r\",\"quota_project_id\":\"q\"}",
             NULL, &k);
        CHECK_INT(k.kind, GCP_AUTHORIZED_USER);
        CHECK_STR(k.token_url, "https://oauth2.googleapis.com/token");
        CHECK_STR(k.quota_project, "q");
        CHECK_STR(k.refresh_token.data, "r");
        gcp_key_done(&k);
}

TEST(a_workload_identity)
{
        struct gcp_key k;

        good("{\"type\":\"external_account\",\"audience\":\"//iam.googleapis.com/p\","
             "\"subject_token_type\":\"urn:ietf:params:oauth:token-type:jwt\","
             "\"token_url\":\"https://sts.googleapis.com/v1/token\","
             "\"credential_source\":{\"url\":\"http://x/\",\"headers\":{\"A\":\"b\"},"
             "\"format\":{\"type\":\"json\",\"subject_token_field_name\":\"value\"}},"
             "\"service_account_impersonation_url\":\"https://iamcredentials.googleapis.com/v1/"
             "projects/-/serviceAccounts/ci@p.iam.gserviceaccount.com:generateAccessToken\"}",
             NULL, &k);
        CHECK_STR(k.identity, "ci@p.iam.gserviceaccount.com");
        CHECK_STR(k.source_field, "value");
        CHECK_STR(k.source_headers.v[0], "A: b");
        gcp_key_done(&k);
}

#define EXTERNAL(url_, source_) \
        "{\"type\":\"external_account\",\"audience\":\"a\",\"subject_token_type\":\"t\"," \
        "\"token_url\":\"" url_ "\",\"credential_source\":" source_ "}"
#define STS "https://sts.googleapis.com/v1/token"

TEST(bad_files_say_what_they_are)
{
        bad("", "not the JSON of a key");
        bad("[]", "array");
        bad("-----BEGIN PRIVATE KEY-----\nMII", "it is PEM");
        bad("{}", "no \"type\"");
        bad("{\"installed\":{}}", "OAuth client");
        bad("{\"type\":\"impersonated_service_account\"}", "impersonated_service_account");
        bad("{\"type\":\"service_account\"}", "client_email");
        bad("{\"type\":\"service_account\",\"client_email\":\"a@b\"}", "make a new key for a@b");
        bad("{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key\":\"x\"}",
            "\"private_key\": it is not a private key");
        bad("{\"type\":\"service_account\",\"client_email\":\"a\\nb\",\"private_key\":\"x\"}",
            "control characters");
        bad("{\"type\":\"authorized_user\",\"client_id\":\"c\",\"client_secret\":\"s\"}",
            "refresh_token");
        bad(EXTERNAL(STS, "{\"executable\":{\"command\":\"rm\"}}"), "executable");
        bad(EXTERNAL(STS, "{\"environment_id\":\"aws1\"}"), "AWS");
        bad(EXTERNAL(STS, "{}"), "\"file\" or an \"url\"");
        bad(EXTERNAL(STS, "{\"file\":\"/a\",\"url\":\"http://b\"}"), "not both");
        bad(EXTERNAL(STS, "{\"file\":\"/a\",\"format\":{\"type\":\"xml\"}}"), "xml");
        bad(EXTERNAL(STS, "{\"url\":\"http://a\",\"headers\":{\"A\":\"b\\r\\nC: d\"}}"),
            "one line");
}

TEST(tokens_go_to_google_or_where_the_operator_says)
{
        static const char *const urls[] = {
                EXTERNAL("http://sts.googleapis.com/v1/token", "{\"file\":\"/a\"}"),
                EXTERNAL("https://sts.googleapis.com.evil.net/", "{\"file\":\"/a\"}"),
                EXTERNAL("https://evilgoogleapis.com/", "{\"file\":\"/a\"}"),
                EXTERNAL("https://sts.googleapis.com@evil.net/", "{\"file\":\"/a\"}"),
                EXTERNAL("https://evil.net/sts.googleapis.com", "{\"file\":\"/a\"}"),
                EXTERNAL("https://evil.net\\\\.googleapis.com/", "{\"file\":\"/a\"}"),
                EXTERNAL("https://sts.googleapis.com:8443/", "{\"file\":\"/a\"}"),
        };
        struct gcp_key k;

        for (size_t i = 0; i < NB_ARRAY_SIZE(urls); i++)
                bad(urls[i], "strangers");
        good(EXTERNAL("https://sts.us-east1.rep.googleapis.com:443/v1", "{\"file\":\"/a\"}"), NULL,
             &k);
        gcp_key_done(&k);
        good(urls[1], "http://127.0.0.1:1/token", &k);
        CHECK_STR(k.token_url, "http://127.0.0.1:1/token");
        gcp_key_done(&k);
}

static void said(int status, const char *body, enum nb_errc code, const char *says,
                 struct gcp_error *e)
{
        const struct http_in in = {.status = status, .body = body, .n_body = strlen(body)};
        struct nb_err err;

        CHECK_ERR(gcp_error_read("https://u:p@host.example/secret?token=x", &in, e, &err), &err,
                  code, says);
        CHECK(strstr(err.msg, "host.example answers"));
        CHECK(!strstr(err.msg, "secret"));
}

TEST(errors_in_three_dialects_and_none)
{
        struct gcp_error e;

        said(429,
             "{\"error\":{\"code\":429,\"message\":\"slow\\ndown\",\"status\":"
             "\"RESOURCE_EXHAUSTED\",\"details\":[{},{\"@type\":\"x\",\"reason\":\"RATE\"}]}}",
             NB_E_BUSY, "429 RESOURCE_EXHAUSTED RATE: slow down", &e);
        CHECK_INT(e.code, 8);
        CHECK_STR(e.reason, "RATE");
        said(412,
             "{\"error\":{\"code\":412,\"message\":\"m\",\"errors\":[{\"reason\":"
             "\"conditionNotMet\"}]}}",
             NB_E_CONFLICT, "conditionNotMet", &e);
        CHECK_INT(e.code, 0);
        said(400, "{\"error\":\"invalid_grant\",\"error_description\":\"Bad\"}", NB_E_INVALID,
             "400 invalid_grant: Bad", &e);
        CHECK_STR(e.status, "invalid_grant");
        said(404, "Not Found", NB_E_NOTFOUND, "404: Not Found", &e);
        said(502, "<html>", NB_E_REMOTE, "502", &e);
        said(403, "", NB_E_DENIED, "403", &e);
        said(400, "[{\"error\":{\"code\":400,\"status\":\"INVALID_ARGUMENT\"}}]", NB_E_INVALID,
             "INVALID_ARGUMENT", &e);
}

TEST(pauses_grow_and_have_a_ceiling)
{
        for (unsigned tried = 0; tried < 100; tried++) {
                uint64_t full = tried < 6 ? NB_US_PER_S << tried : 60 * NB_US_PER_S;
                uint64_t pause = gcp_backoff(NB_US_PER_S, tried, NULL);
                CHECK(pause >= full / 2 && pause <= full);
        }
        CHECK_INT(gcp_backoff(NB_US_PER_S, 0, "7"), 7 * NB_US_PER_S);
        CHECK_INT(gcp_backoff(NB_US_PER_S, 0, "100000"), 60 * NB_US_PER_S);
        CHECK(gcp_backoff(NB_US_PER_S, 0, "Wed, 25 Nov 2026 13:52:11 GMT") <= NB_US_PER_S);
}

NBTEST_MAIN()
