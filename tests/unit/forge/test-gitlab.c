/* SPDX-License-Identifier: Apache-2.0 */
#include "forge-test.h"

#define ZEROS "0000000000000000000000000000000000000000"
#define HEAD "3f1c2a9be0d7485f6a1b0c9d8e7f60514233a2b1"
#define PARENT "9e8d7c6b5a493827160f5e4d3c2b1a0f9e8d7c6b"
#define TAG "c0ffee00d15ea5e5ba5eba11feedfacecafef00d"

/* Made with Python's hmac and base64 modules: keys of the bytes 0..31 and
 * 100..131, body, id and time as below; the last with the token's own text as
 * the key, which is the classic mistake. */
#define NOW INT64_C(1767323045)
#define BODY "{\"object_kind\":\"push\"}"
#define ID "f3b1c2d4-0000-4000-8000-000000000001"
#define TIME "1767323045"
#define TOKEN_1 "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define TOKEN_2 "whsec_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoM="
#define SIGNED_1 "v1,q9pMAzvm5BVBCjACsC3R1goR1AJSj3lHTg4moKo48Co="
#define SIGNED_2 "v1,H0jYm9CSklstAt4QUOGy5xaOK9IjAM4zk1upnQH1PUg="
#define SIGNED_BY_TEXT "v1,6Mlx1jvZwUUY60p3cOLhOn/KjGlg7lKhOhT5EFeG+Pc="

static const struct forge_ops *ops(void)
{
        return forge_ops_of(FORGE_GITLAB);
}

static struct config_forge account(void)
{
        static char name[] = "lab", api_url[] = "https://gitlab.example",
                    clone_base[] = "https://gitlab.example";

        return (struct config_forge){
                .name = name,
                .kind = FORGE_GITLAB,
                .api_url = api_url,
                .clone_base = clone_base,
        };
}

/* ---- the plain token ---- */

static int with_token(const struct config_forge *f, const char *token, struct nb_err *err)
{
        struct message m = {0};

        message_set(&m, "x-gitlab-token", token);
        message_body(&m, BODY);
        return ops()->authenticate(f, &m.in, NOW, err);
}

TEST(tokens)
{
        struct config_forge f = account();
        struct nb_err err;

        f.secrets[0] = SECRET("s3cret");
        CHECK_OK(with_token(&f, "s3cret", &err), &err);
        CHECK_ERR(with_token(&f, NULL, &err), &err, NB_E_DENIED,
                  "the X-Gitlab-Token header is missing; set the webhook's secret token");
        CHECK_ERR(with_token(&f, "", &err), &err, NB_E_DENIED, "is missing");
        CHECK_ERR(with_token(&f, "s3cre", &err), &err, NB_E_DENIED, "does not match");
        CHECK_ERR(with_token(&f, "s3crets", &err), &err, NB_E_DENIED, "does not match");
        CHECK_ERR(with_token(&f, "S3cret", &err), &err, NB_E_DENIED,
                  "webhook_secret_file of forge lab");
        f.secrets[1] = SECRET("next");
        CHECK_OK(with_token(&f, "s3cret", &err), &err);
        CHECK_OK(with_token(&f, "next", &err), &err);
        CHECK_ERR(with_token(&f, "other", &err), &err, NB_E_DENIED, "does not match");
        f.secrets[0] = (struct nb_secret){0};
        CHECK_OK(with_token(&f, "next", &err), &err);
        CHECK_ERR(with_token(&f, "s3cret", &err), &err, NB_E_DENIED, "does not match");
}

TEST(no_secret_authenticates_nothing)
{
        struct config_forge f = account();
        struct nb_err err;

        CHECK_ERR(with_token(&f, "", &err), &err, NB_E_DENIED, "nothing can authenticate");
        CHECK_ERR(with_token(&f, "x", &err), &err, NB_E_DENIED, "nothing can authenticate");
        CHECK_ERR(with_token(&f, NULL, &err), &err, NB_E_DENIED, "nothing can authenticate");
        f.secrets[0] = SECRET("");
        CHECK_ERR(with_token(&f, "", &err), &err, NB_E_DENIED, "nothing can authenticate");
}

/* ---- signatures ---- */

/* A delivery signed rightly by TOKEN_1. */
static struct message signed_delivery(void)
{
        struct message m = {0};

        message_set(&m, "webhook-id", ID);
        message_set(&m, "webhook-timestamp", TIME);
        message_set(&m, "webhook-signature", SIGNED_1);
        message_body(&m, BODY);
        return m;
}

static void check_signed(const struct config_forge *f, const char *header, const char *value,
                         int answer, const char *says)
{
        struct message m = signed_delivery();
        struct nb_err err = {0};
        int r;

        m.in.headers = m.headers;
        message_set(&m, header, value);
        r = ops()->authenticate(f, &m.in, NOW, &err);
        if (r != answer || !strstr(err.msg, says))
                FAIL("%s: %s: answered %d, %s", header, value ? value : "(none)", r, err.msg);
}

TEST(signatures)
{
        static const struct {
                const char *header, *value;
                int answer;
                const char *says;
        } cases[] = {
                {"webhook-signature", SIGNED_1, 0, ""},
                {"webhook-signature", "v1,AAAA " SIGNED_1, 0, ""},
                {"webhook-signature", SIGNED_2 " " SIGNED_1 "  v1a,AAAA", 0, ""},
                {"webhook-signature", SIGNED_2, -NB_E_DENIED, "does not match"},
                {"webhook-signature", SIGNED_BY_TEXT, -NB_E_DENIED, "signing_token_file"},
                {"webhook-signature", "", -NB_E_DENIED, "does not match"},
                {"webhook-signature", " ", -NB_E_DENIED, "does not match"},
                {"webhook-signature", "v1,", -NB_E_DENIED, "does not match"},
                {"webhook-signature", "v1,AAAA", -NB_E_DENIED, "does not match"},
                {"webhook-signature",
                 "v2,q9pMAzvm5BVBCjACsC3R1goR1AJSj3lHTg4moKo48Co=", -NB_E_DENIED, "does not match"},
                {"webhook-signature", "q9pMAzvm5BVBCjACsC3R1goR1AJSj3lHTg4moKo48Co=", -NB_E_DENIED,
                 "does not match"},
                {"webhook-signature", "v1,q9pMAzvm5BVBCjACsC3R1goR1AJSj3lHTg4moKo48Co",
                 -NB_E_DENIED, "does not match"},
                {"webhook-signature", NULL, -NB_E_DENIED,
                 "the webhook-signature header is missing; set the webhook's signing token"},
                {"webhook-id", NULL, -NB_E_DENIED, "the webhook-id header is missing"},
                {"webhook-id", "", -NB_E_DENIED, "the webhook-id header is missing"},
                {"webhook-id", ID "2", -NB_E_DENIED, "does not match"},
                {"webhook-timestamp", NULL, -NB_E_DENIED, "webhook-timestamp header is missing"},
                {"webhook-timestamp", "now", -NB_E_DENIED, "not in seconds"},
                {"webhook-timestamp", "-1", -NB_E_DENIED, "not in seconds"},
                {"webhook-timestamp", "99999999999999999999", -NB_E_DENIED, "not in seconds"},
                {"webhook-timestamp", "1767323046", -NB_E_DENIED, "does not match"},
                {"webhook-timestamp", "1767323345", -NB_E_DENIED, "does not match"},
                {"webhook-timestamp", "1767322745", -NB_E_DENIED, "does not match"},
                {"webhook-timestamp", "1767323346", -NB_E_DENIED, "over 300 s off"},
                {"webhook-timestamp", "1767322744", -NB_E_DENIED, "over 300 s off"},
                {"webhook-timestamp", "9223372036854775807", -NB_E_DENIED, "over 300 s off"},
        };
        struct config_forge f = account();

        f.signing[0] = SECRET(TOKEN_1);
        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++)
                check_signed(&f, cases[i].header, cases[i].value, cases[i].answer, cases[i].says);
}

TEST(signatures_are_over_the_body)
{
        struct config_forge f = account();
        struct message m = signed_delivery();
        struct nb_err err;

        f.signing[0] = SECRET(TOKEN_1);
        m.in.headers = m.headers;
        CHECK_OK(ops()->authenticate(&f, &m.in, NOW + 300, &err), &err);
        CHECK_ERR(ops()->authenticate(&f, &m.in, NOW + 301, &err), &err, NB_E_DENIED, "300 s");
        message_body(&m, BODY " ");
        CHECK_ERR(ops()->authenticate(&f, &m.in, NOW, &err), &err, NB_E_DENIED, "does not match");
}

TEST(either_of_two_signing_tokens_is_good)
{
        struct config_forge f = account();

        f.signing[0] = SECRET(TOKEN_1);
        f.signing[1] = SECRET(TOKEN_2);
        check_signed(&f, "webhook-signature", SIGNED_1, 0, "");
        check_signed(&f, "webhook-signature", SIGNED_2, 0, "");
        f.signing[0] = (struct nb_secret){0};
        check_signed(&f, "webhook-signature", SIGNED_1, -NB_E_DENIED, "does not match");
        check_signed(&f, "webhook-signature", SIGNED_2, 0, "");
        /* the prefix is for people */
        f.signing[1] = SECRET("ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoM=");
        check_signed(&f, "webhook-signature", SIGNED_2, 0, "");
}

TEST(signing_tokens_that_are_none)
{
        struct config_forge f = account();

        f.signing[0] = SECRET("whsec_");
        check_signed(&f, "webhook-signature", SIGNED_1, -NB_E_DENIED,
                     "signing_token_file holds no token");
        f.signing[0] = SECRET("whsec_not base64");
        check_signed(&f, "webhook-signature", SIGNED_1, -NB_E_DENIED,
                     "signing_token_file holds no token");
}

TEST(either_kind_suffices_but_a_wrong_signature_does_not_pass)
{
        struct config_forge f = account();
        struct message m = signed_delivery();
        struct nb_err err;

        f.secrets[0] = SECRET("s3cret");
        f.signing[0] = SECRET(TOKEN_1);
        m.in.headers = m.headers;
        CHECK_OK(ops()->authenticate(&f, &m.in, NOW, &err), &err);
        message_set(&m, "X-Gitlab-Token", "s3cret");
        CHECK_OK(ops()->authenticate(&f, &m.in, NOW, &err), &err);
        message_set(&m, "webhook-signature", SIGNED_2);
        CHECK_ERR(ops()->authenticate(&f, &m.in, NOW, &err), &err, NB_E_DENIED, "does not match");
        message_set(&m, "webhook-signature", "");
        CHECK_ERR(ops()->authenticate(&f, &m.in, NOW, &err), &err, NB_E_DENIED, "does not match");
        message_set(&m, "webhook-signature", NULL);
        CHECK_OK(ops()->authenticate(&f, &m.in, NOW, &err), &err);
        message_set(&m, "X-Gitlab-Token", "wrong");
        CHECK_ERR(ops()->authenticate(&f, &m.in, NOW, &err), &err, NB_E_DENIED, "X-Gitlab-Token");
        /* a signature that we have no token for proves nothing either way */
        f.signing[0] = (struct nb_secret){0};
        message_set(&m, "webhook-signature", SIGNED_1);
        CHECK_ERR(ops()->authenticate(&f, &m.in, NOW, &err), &err, NB_E_DENIED, "X-Gitlab-Token");
        message_set(&m, "X-Gitlab-Token", "s3cret");
        CHECK_OK(ops()->authenticate(&f, &m.in, NOW, &err), &err);
}

/* ---- delivery id and name ---- */

static void check_id(const struct message *m, const char *wanted)
{
        nb_auto_free char *id = NULL;
        struct nb_err err;

        CHECK_OK(ops()->delivery_id(&m->in, &id, &err), &err);
        CHECK_STR(id, wanted);
}

TEST(delivery_ids)
{
        static const char of_body[] =
                "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        struct message m = {0};
        nb_auto_free char *id = NULL;
        struct nb_err err;

        message_body(&m, "{}");
        check_id(&m, of_body);
        message_set(&m, "X-Gitlab-Event-UUID", "e");
        check_id(&m, of_body);
        message_set(&m, "X-Gitlab-Webhook-UUID", "w");
        check_id(&m, "e/w");
        message_set(&m, "Idempotency-Key", "k");
        check_id(&m, "k");
        message_set(&m, "webhook-id", "i");
        check_id(&m, "i");
        message_set(&m, "webhook-id", "i\x01");
        CHECK_ERR(ops()->delivery_id(&m.in, &id, &err), &err, NB_E_INVALID, "webhook-id");
        message_set(&m, "webhook-id", "");
        check_id(&m, "k");
        CHECK_STR(ops()->event_name(&m.in), "");
        message_set(&m, "x-gitlab-event", "Push Hook");
        CHECK_STR(ops()->event_name(&m.in), "Push Hook");
        CHECK_STR(ops()->name, "gitlab");
}

/* ---- events ---- */

static int parse_as(const char *event, const char *body, struct forge_event *ret,
                    struct nb_err *err)
{
        struct message m = {0};

        message_set(&m, "X-Gitlab-Event", event);
        message_body(&m, body);
        return ops()->parse_event(&m.in, ret, err);
}

TEST(a_push)
{
        nb_auto_free char *text = fixture("gitlab/push.json");
        NB_CLEANUP(forge_event_done) struct forge_event e = {0};
        struct nb_err err;

        CHECK_INT(parse_as("Push Hook", text, &e, &err), 1);
        CHECK_INT(e.event.kind, EVENT_PUSH);
        CHECK_STR(e.event.repository, "acme/research/notebooks");
        CHECK_STR(e.event.ref, "refs/heads/main");
        CHECK_STR(e.event.before, PARENT);
        CHECK_STR(e.event.after, HEAD);
        CHECK_STR(e.event.default_branch, "main");
        CHECK_STR(e.event.title, "Train with a smaller step");
        CHECK_STR(e.event.author, "ada");
}

TEST(a_new_branch_has_neither_before_nor_title)
{
        nb_auto_free char *text = fixture("gitlab/push-new-branch.json");
        NB_CLEANUP(forge_event_done) struct forge_event e = {0};
        struct nb_err err;

        CHECK_INT(parse_as("Push Hook", text, &e, &err), 1);
        CHECK_STR(e.event.ref, "refs/heads/new");
        CHECK_STR(e.event.before, "");
        CHECK_STR(e.event.after, HEAD);
        CHECK(!e.event.title);
}

TEST(a_tag_is_known_by_its_own_object)
{
        nb_auto_free char *text = fixture("gitlab/tag_push.json");
        NB_CLEANUP(forge_event_done) struct forge_event e = {0};
        struct nb_err err;

        CHECK_INT(parse_as("Tag Push Hook", text, &e, &err), 1);
        CHECK_INT(e.event.kind, EVENT_TAG);
        CHECK_STR(e.event.ref, "refs/tags/v1.0");
        CHECK_STR(e.event.after, TAG);
        CHECK_STR(e.event.title, "Train with a smaller step");
}

TEST(a_system_hook)
{
        nb_auto_free char *text = fixture("gitlab/system-push.json");
        NB_CLEANUP(forge_event_done) struct forge_event e = {0};
        struct nb_err err;

        CHECK_INT(parse_as("System Hook", text, &e, &err), 1);
        CHECK_STR(e.event.after, HEAD);
        CHECK_STR(e.event.repository, "acme/research/notebooks");
}

TEST(what_starts_no_build_says_why)
{
        static const struct {
                const char *event, *file, *why;
        } cases[] = {
                {"Push Hook", "gitlab/push-delete-branch.json", "branch deleted"},
                {"Tag Push Hook", "gitlab/tag_push-delete.json", "tag deleted"},
                {"Merge Request Hook", "gitlab/merge_request.json",
                 "event \"Merge Request Hook\" starts no build"},
                {"System Hook", "gitlab/merge_request.json",
                 "system event \"merge_request\" starts no build"},
                {"System Hook", "gitlab/system-project_create.json",
                 "system event \"project_create\" starts no build"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                nb_auto_free char *text = fixture(cases[i].file);
                NB_CLEANUP(forge_event_done) struct forge_event e = {0};
                struct nb_err err;
                CHECK_INT(parse_as(cases[i].event, text, &e, &err), 0);
                CHECK_STR(e.ignored, cases[i].why);
        }
}

/* A push payload with one thing changed, and what becomes of it. */
static void check_change(const char *old, const char *new, int answer, const char *says)
{
        nb_auto_free char *whole = fixture("gitlab/push.json");
        nb_auto_free char *text = with(whole, old, new);
        NB_CLEANUP(forge_event_done) struct forge_event e = {0};
        struct nb_err err = {0};
        int r = parse_as("Push Hook", text, &e, &err);
        const char *said = r < 0          ? err.msg
                           : e.ignored    ? e.ignored
                           : !e.event.ref ? ""
                                          : e.event.repository;

        if (r != answer || !strstr(said, says))
                FAIL("%s -> %s: answered %d, \"%s\"", old, new, r, said);
}

TEST(deletions_in_every_spelling)
{
        check_change("\"checkout_sha\": \"" HEAD "\"", "\"checkout_sha\": null", 0,
                     "branch deleted");
        check_change("\"after\": \"" HEAD, "\"after\": \"" ZEROS, 0, "branch deleted");
        check_change("\"checkout_sha\"", "\"x\"", 1, "");
}

TEST(malformed_pushes)
{
        check_change("\"ref\": \"refs/heads/main\"", "\"ref\": \"refs/heads/a b\"", -NB_E_INVALID,
                     "git allows");
        check_change("\"ref\"", "\"x\"", -NB_E_INVALID, "no ref");
        check_change("\"after\": \"3", "\"after\": \"x", -NB_E_INVALID, "\"after\" is not");
        check_change("\"before\": \"9", "\"before\": \"x", -NB_E_INVALID, "\"before\" is not");
        check_change("\"path_with_namespace\": \"acme/", "\"path_with_namespace\": \"../",
                     -NB_E_INVALID, "\"..\"");
        check_change("\"path_with_namespace\"", "\"path\"", -NB_E_INVALID, "no repository's name");
        check_change("\"project\": {",
                     "\"project\": {\"path_with_namespace\": \"evil/x\"}, \"project\": {",
                     -NB_E_INVALID, "\"project\" is given twice");
        check_change("\"object_kind\": \"push\"", "\"object_kind\": \"note\"", -NB_E_INVALID,
                     "neither push nor tag_push");
        check_change("\"commits\": [", "\"commits\": [7, ", -NB_E_INVALID, "is a number");
        check_change("\"default_branch\": \"main\"", "\"default_branch\": null", 1, "");
        check_change("\"default_branch\": \"main\"", "\"default_branch\": \"\"", 1, "");
}

TEST(nested_groups)
{
        check_change("acme/research/notebooks\",\n  \"def", "a/b\",\n  \"def", 1, "a/b");
        check_change("acme/research/notebooks\",\n  \"def", "a/b/c/d/e\",\n  \"def", 1,
                     "a/b/c/d/e");
        check_change("acme/research/notebooks\",\n  \"def", "a\",\n  \"def", -NB_E_INVALID,
                     "1 parts");
        check_change("acme/research/notebooks\",\n  \"def",
                     "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a\",\n  \"def", -NB_E_INVALID,
                     "23 parts");
}

TEST(not_what_gitlab_sends)
{
        struct forge_event e;
        struct nb_err err;

        CHECK_ERR(parse_as(NULL, "{}", &e, &err), &err, NB_E_INVALID,
                  "the X-Gitlab-Event header is missing");
        CHECK_ERR(parse_as("Push Hook", "", &e, &err), &err, NB_E_INVALID, "empty");
        CHECK_ERR(parse_as("Push Hook", "{}", &e, &err), &err, NB_E_INVALID, "object_kind");
        CHECK_ERR(parse_as("System Hook", "{", &e, &err), &err, NB_E_INVALID, "line 1");
        CHECK_ERR(parse_as("System Hook", "{\"object_kind\":1}", &e, &err), &err, NB_E_INVALID,
                  "\"object_kind\" is a number");
        CHECK_INT(parse_as("System Hook", "{}", &e, &err), 0);
        CHECK_STR(e.ignored, "system event \"\" starts no build");
        forge_event_done(&e);
}

/* ---- statuses ---- */

static struct note a_note(void)
{
        return (struct note){
                .repository = "acme/research/notebooks",
                .ref = "refs/heads/feature/fit",
                .commit = HEAD,
                .context = "nbcid",
                .state = NOTE_RUNNING,
                .text = "3 of 5 notebooks",
                .target_url = "https://ci.example.org/builds/9",
        };
}

TEST(a_status)
{
        struct config_forge f = account();
        NB_CLEANUP(http_out_done) struct http_out m = {0};
        struct note n = a_note();
        struct nb_err err;

        CHECK_ERR(ops()->status_request(&f, &n, &m, &err), &err, NB_E_DENIED,
                  "forge lab has no token_file");
        f.token = SECRET("glpat-abc");
        CHECK_OK(ops()->status_request(&f, &n, &m, &err), &err);
        CHECK_STR(m.method, "POST");
        CHECK_STR(m.url, "https://gitlab.example/api/v4/projects/acme%2Fresearch%2Fnotebooks"
                         "/statuses/" HEAD);
        CHECK_STR(sent_header(&m, "PRIVATE-TOKEN"), "glpat-abc");
        CHECK_STR(sent_header(&m, "Content-Type"), "application/json");
        CHECK_STR(m.body, "{\"state\":\"running\",\"name\":\"nbcid\",\"ref\":\"feature/fit\","
                          "\"target_url\":\"https://ci.example.org/builds/9\","
                          "\"description\":\"3 of 5 notebooks\"}");
}

TEST(states)
{
        static const char *const states[NOTE_STATE__COUNT] = {
                [NOTE_PENDING] = "pending", [NOTE_RUNNING] = "running",
                [NOTE_SUCCESS] = "success", [NOTE_FAILURE] = "failed",
                [NOTE_ERROR] = "failed",    [NOTE_CANCELLED] = "canceled",
        };
        struct config_forge f = account();
        struct note n = a_note();

        f.token = SECRET("glpat-abc");
        for (n.state = 0; n.state < NOTE_STATE__COUNT; n.state++) {
                NB_CLEANUP(http_out_done) struct http_out m = {0};
                nb_auto_free char *wanted = nb_asprintf("{\"state\":\"%s\",", states[n.state]);
                struct nb_err err;
                CHECK_OK(ops()->status_request(&f, &n, &m, &err), &err);
                CHECK(nb_starts_with(m.body, wanted));
        }
}

TEST(replies)
{
        static const struct {
                int status;
                const char *retry_after, *reset, *body;
                enum note_verdict verdict;
                uint32_t wait;
        } cases[] = {
                {201, NULL, NULL, "{}", NOTE_ACCEPTED, 0},
                {400, NULL, NULL,
                 "{\"message\":\"Cannot transition status via :run from :running (Reason(s): "
                 "Status cannot transition via \\\"run\\\")\"}",
                 NOTE_ACCEPTED, 0},
                {400, NULL, NULL, "{\"message\":\"400 Bad request\"}", NOTE_REFUSED, 0},
                {400, NULL, NULL, "", NOTE_REFUSED, 0},
                {401, NULL, NULL, "", NOTE_RETRY, 300},
                {403, NULL, NULL, "{\"message\":\"403 Forbidden\"}", NOTE_REFUSED, 0},
                {404, NULL, NULL, "", NOTE_REFUSED, 0},
                {409, NULL, NULL, "", NOTE_RETRY, 0},
                {409, "5", NULL, "", NOTE_RETRY, 5},
                {429, "12", "1767323145", "Retry later", NOTE_RETRY, 12},
                {429, NULL, "1767323145", "Retry later", NOTE_RETRY, 100},
                {429, NULL, NULL, "Retry later", NOTE_RETRY, 60},
                {500, NULL, NULL, "", NOTE_RETRY, 0},
                {503, "20", NULL, "", NOTE_RETRY, 20},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                struct message m = {.in.status = cases[i].status};
                uint32_t wait = 12345;
                enum note_verdict verdict;
                message_set(&m, "Retry-After", cases[i].retry_after);
                message_set(&m, "RateLimit-Reset", cases[i].reset);
                message_body(&m, cases[i].body);
                verdict = ops()->status_reply(&m.in, NOW, &wait);
                if (verdict != cases[i].verdict || wait != cases[i].wait)
                        FAIL("case %zu: verdict %d, wait %u", i, (int)verdict, (unsigned)wait);
        }
}

TEST(clone_urls)
{
        struct config_forge f = account();
        nb_auto_free char *url = NULL;
        struct nb_err err;

        CHECK_OK(forge_clone_url(&f, "acme/research/notebooks", &url, &err), &err);
        CHECK_STR(url, "https://gitlab.example/acme/research/notebooks.git");
        CHECK_ERR(forge_clone_url(&f, "acme", &url, &err), &err, NB_E_INVALID, "1 parts");
        CHECK_ERR(forge_clone_url(&f, "acme/-x/y", &url, &err), &err, NB_E_INVALID, "'-'");
}

NBTEST_MAIN()
