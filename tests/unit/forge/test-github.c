/* SPDX-License-Identifier: Apache-2.0 */
#include "forge-test.h"

#define ZEROS "0000000000000000000000000000000000000000"
#define HEAD "3f1c2a9be0d7485f6a1b0c9d8e7f60514233a2b1"
#define PARENT "9e8d7c6b5a493827160f5e4d3c2b1a0f9e8d7c6b"
#define NOW INT64_C(1767323045)

/* docs.github.com, "Validating webhook deliveries", "Testing the webhook
 * payload validation" */
#define DOC_SECRET "It's a Secret to Everybody"
#define DOC_BODY "Hello, World!"
#define DOC_HEX "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

static const struct forge_ops *ops(void)
{
        return forge_ops_of(FORGE_GITHUB);
}

static struct config_forge account(void)
{
        static char name[] = "hub", api_url[] = "https://api.github.example",
                    clone_base[] = "https://github.example";

        return (struct config_forge){
                .name = name,
                .kind = FORGE_GITHUB,
                .api_url = api_url,
                .clone_base = clone_base,
        };
}

/* ---- authenticate ---- */

static int authenticate(const struct config_forge *f, const char *signature, const char *body,
                        struct nb_err *err)
{
        struct message m = {0};

        message_set(&m, "x-hub-signature-256", signature);
        message_body(&m, body);
        return ops()->authenticate(f, &m.in, NOW, err);
}

TEST(the_documented_signature_is_good)
{
        struct config_forge f = account();
        struct nb_err err;

        f.secrets[0] = SECRET(DOC_SECRET);
        CHECK_OK(authenticate(&f, "sha256=" DOC_HEX, DOC_BODY, &err), &err);
        CHECK_ERR(authenticate(&f, "sha256=" DOC_HEX, DOC_BODY " ", &err), &err, NB_E_DENIED,
                  "does not match");
        CHECK_ERR(authenticate(&f, "sha256=" DOC_HEX, "", &err), &err, NB_E_DENIED,
                  "webhook_secret_file of forge hub");
}

TEST(either_of_two_secrets_is_good)
{
        struct config_forge f = account();
        struct nb_err err;

        f.secrets[0] = SECRET("another");
        CHECK_ERR(authenticate(&f, "sha256=" DOC_HEX, DOC_BODY, &err), &err, NB_E_DENIED,
                  "does not match");
        f.secrets[1] = SECRET(DOC_SECRET);
        CHECK_OK(authenticate(&f, "sha256=" DOC_HEX, DOC_BODY, &err), &err);
        f.secrets[0] = (struct nb_secret){0};
        CHECK_OK(authenticate(&f, "sha256=" DOC_HEX, DOC_BODY, &err), &err);
}

TEST(no_secret_authenticates_nothing)
{
        struct config_forge f = account();
        uint8_t hash[NB_SHA256_SIZE];
        char hex[65], header[80];
        struct nb_err err;

        /* what somebody who guesses an empty secret would send */
        nb_hmac_sha256("", 0, DOC_BODY, strlen(DOC_BODY), hash);
        nb_hex(hex, hash, sizeof(hash));
        CHECK(nb_fmt(header, sizeof(header), "sha256=%s", hex));
        CHECK_ERR(authenticate(&f, header, DOC_BODY, &err), &err, NB_E_DENIED,
                  "no webhook_secret_file");
        f.secrets[1] = SECRET("");
        CHECK_ERR(authenticate(&f, header, DOC_BODY, &err), &err, NB_E_DENIED,
                  "no webhook_secret_file");
}

TEST(what_is_wrong_with_a_signature_is_said)
{
        static const struct {
                const char *header, *says;
        } cases[] = {
                {NULL, "the X-Hub-Signature-256 header is missing; set the webhook's secret"},
                {"", "is missing"},
                {DOC_HEX, "does not begin with \"sha256=\""},
                {"sha1=" DOC_HEX, "does not begin with \"sha256=\""},
                {"SHA256=" DOC_HEX, "does not begin with \"sha256=\""},
                {"sha256=", "has 0 digits, not 64"},
                {"sha256=757107ea0eb2509fc211221cce984b8a", "has 32 digits, not 64"},
                {"sha256=" DOC_HEX "00", "has 66 digits, not 64"},
                {"sha256=757107EA0EB2509FC211221CCE984B8A37570B6D7586C22C46F4379C8B043E17",
                 "not lower-case hex"},
                {"sha256=z57107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
                 "not lower-case hex"},
                {"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e16",
                 "does not match"},
                {"sha256=857107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
                 "does not match"},
        };
        struct config_forge f = account();

        f.secrets[0] = SECRET(DOC_SECRET);
        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                struct nb_err err;
                CHECK_ERR(authenticate(&f, cases[i].header, DOC_BODY, &err), &err, NB_E_DENIED,
                          cases[i].says);
        }
}

/* ---- delivery id and name ---- */

TEST(delivery_ids)
{
        struct message m = {0};
        nb_auto_free char *id = NULL, *same = NULL, *given = NULL;
        char longest[202];
        struct nb_err err;

        message_body(&m, "{}");
        CHECK_OK(ops()->delivery_id(&m.in, &id, &err), &err);
        CHECK_STR(id, "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        message_set(&m, "X-GitHub-Delivery", "");
        CHECK_OK(ops()->delivery_id(&m.in, &same, &err), &err);
        CHECK_STR(same, id);
        message_set(&m, "X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958");
        CHECK_OK(ops()->delivery_id(&m.in, &given, &err), &err);
        CHECK_STR(given, "72d3162e-cc78-11e3-81ab-4c9367dc0958");

        memset(longest, 'a', 201);
        longest[201] = '\0';
        message_set(&m, "X-GitHub-Delivery", longest);
        CHECK_ERR(ops()->delivery_id(&m.in, &given, &err), &err, NB_E_INVALID, "over 200 bytes");
        longest[200] = '\0';
        nb_freep(&given);
        CHECK_OK(ops()->delivery_id(&m.in, &given, &err), &err);
        CHECK_INT(strlen(given), 200);
        message_set(&m, "X-GitHub-Delivery", "a b");
        CHECK_ERR(ops()->delivery_id(&m.in, &given, &err), &err, NB_E_INVALID, "visible ASCII");
        message_set(&m, "X-GitHub-Delivery", "\xc3\xa4");
        CHECK_ERR(ops()->delivery_id(&m.in, &given, &err), &err, NB_E_INVALID, "visible ASCII");
}

TEST(event_names)
{
        struct message m = {0};

        CHECK_STR(ops()->event_name(&m.in), "");
        message_set(&m, "X-GITHUB-EVENT", "push");
        CHECK_STR(ops()->event_name(&m.in), "push");
        CHECK_STR(ops()->name, "github");
}

/* ---- events ---- */

static int parse_as(const char *event, const char *type, const char *body, struct forge_event *ret,
                    struct nb_err *err)
{
        struct message m = {0};

        message_set(&m, "X-GitHub-Event", event);
        message_set(&m, "Content-Type", type);
        message_body(&m, body);
        return ops()->parse_event(&m.in, ret, err);
}

static int parse(const char *body, struct forge_event *ret, struct nb_err *err)
{
        return parse_as("push", "application/json", body, ret, err);
}

TEST(a_push)
{
        nb_auto_free char *text = fixture("github/push.json");
        NB_CLEANUP(forge_event_done) struct forge_event e = {0};
        struct nb_err err;

        CHECK_INT(parse(text, &e, &err), 1);
        CHECK_INT(e.event.kind, EVENT_PUSH);
        CHECK_STR(e.event.repository, "acme/notebooks");
        CHECK_STR(e.event.ref, "refs/heads/main");
        CHECK_STR(e.event.before, PARENT);
        CHECK_STR(e.event.after, HEAD);
        CHECK_STR(e.event.default_branch, "main");
        CHECK_STR(e.event.title, "Train with a smaller step");
        CHECK_STR(e.event.author, "ada");
        CHECK(!e.ignored);
}

TEST(a_new_branch_has_no_before)
{
        nb_auto_free char *text = fixture("github/push-new-branch.json");
        NB_CLEANUP(forge_event_done) struct forge_event e = {0};
        struct nb_err err;

        CHECK_INT(parse(text, &e, &err), 1);
        CHECK_STR(e.event.ref, "refs/heads/feature/r\xc3\xa9sum\xc3\xa9");
        CHECK_STR(e.event.before, "");
        CHECK_STR(e.event.after, HEAD);
}

TEST(a_tag)
{
        nb_auto_free char *text = fixture("github/push-tag.json");
        NB_CLEANUP(forge_event_done) struct forge_event e = {0};
        struct nb_err err;

        CHECK_INT(parse(text, &e, &err), 1);
        CHECK_INT(e.event.kind, EVENT_TAG);
        CHECK_STR(e.event.ref, "refs/tags/v1.0");
        CHECK_STR(e.event.after, "c0ffee00d15ea5e5ba5eba11feedfacecafef00d");
}

TEST(sha256_repositories)
{
        nb_auto_free char *text = fixture("github/push-sha256.json");
        NB_CLEANUP(forge_event_done) struct forge_event e = {0};
        struct nb_err err;

        CHECK_INT(parse(text, &e, &err), 1);
        CHECK_INT(strlen(e.event.after), 64);
        CHECK_INT(strlen(e.event.before), 64);
}

TEST(what_starts_no_build_says_why)
{
        static const struct {
                const char *event, *file, *why;
        } cases[] = {
                {"ping", "github/ping.json", "ping"},
                {"push", "github/push-delete-branch.json", "branch deleted"},
                {"issues", "github/issues.json", "event \"issues\" starts no build"},
                {"a\tb\xff", "github/issues.json", "event \"a b\xef\xbf\xbd\" starts no build"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                nb_auto_free char *text = fixture(cases[i].file);
                NB_CLEANUP(forge_event_done) struct forge_event e = {0};
                struct nb_err err;
                CHECK_INT(parse_as(cases[i].event, "application/json", text, &e, &err), 0);
                CHECK_STR(e.ignored, cases[i].why);
                CHECK(!e.event.ref);
        }
}

/* A push payload with one thing changed, and what becomes of it. */
static void check_change(const char *old, const char *new, int answer, const char *says)
{
        nb_auto_free char *whole = fixture("github/push.json");
        nb_auto_free char *text = with(whole, old, new);
        NB_CLEANUP(forge_event_done) struct forge_event e = {0};
        struct nb_err err = {0};
        int r = parse(text, &e, &err);
        const char *said = r < 0 ? err.msg : e.ignored ? e.ignored : "";

        if (r != answer || !strstr(said, says))
                FAIL("%s -> %s: answered %d, \"%s\"", old, new, r, said);
}

TEST(deletions_in_every_spelling)
{
        check_change("\"deleted\": false", "\"deleted\": true", 0, "branch deleted");
        check_change("\"after\": \"" HEAD, "\"after\": \"" ZEROS, 0, "branch deleted");
        check_change("\"after\": \"" HEAD, "\"after\": \"" ZEROS "000000000000000000000000", 0,
                     "branch deleted");
        check_change("\"deleted\": false", "\"deleted\": null", 1, "");
        check_change("refs/heads/main", "refs/tags/a\", \"deleted\": true, \"x\": \"",
                     -NB_E_INVALID, "\"deleted\" is given twice");
}

TEST(other_refs_start_no_build)
{
        check_change("refs/heads/main", "refs/notes/commits", 0,
                     "refs/notes/commits is neither a branch nor a tag");
        check_change("refs/heads/main", "refs/pull/1/head", 0, "neither a branch nor a tag");
        check_change("refs/heads/main", "main", 0, "neither a branch nor a tag");
}

TEST(malformed_refs)
{
        static const char *const bad[] = {
                "",
                "refs/heads/",
                "refs/heads//a",
                "refs/heads/a..b",
                "refs/heads/a b",
                "refs/heads/a\\u0007",
                "refs/heads/a\\u007f",
                "refs/heads/a\\n",
                "refs/heads/a~1",
                "refs/heads/a^",
                "refs/heads/a:b",
                "refs/heads/a?",
                "refs/heads/*",
                "refs/heads/[a",
                "refs/heads/a\\\\b",
                "refs/heads/.a",
                "refs/heads/a.lock",
                "refs/heads/a.lock/b",
                "refs/heads/a.",
                "refs/heads/a@{1}",
                "/refs/heads/a",
                "refs/heads/../../etc",
        };
        char longest[1024 + 1], *text;
        nb_auto_free char *whole = fixture("github/push.json");

        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++)
                check_change("refs/heads/main", bad[i], -NB_E_INVALID,
                             "\"ref\" is not a name that git allows");
        check_change("refs/heads/main", "refs/heads/a\\u0000", -NB_E_INVALID, "NUL");
        check_change("\"refs/heads/main\"", "null", -NB_E_INVALID, "no ref");
        check_change("\"refs/heads/main\"", "7", -NB_E_INVALID, "\"ref\" is a number");
        check_change("\"default_branch\": \"main\"", "\"default_branch\": \"a..b\"", -NB_E_INVALID,
                     "\"default_branch\" is not a name");

        memset(longest, 'a', sizeof(longest));
        memcpy(longest, "refs/heads/", 11);
        longest[1024] = '\0';
        text = with(whole, "refs/heads/main", longest);
        NB_CLEANUP(forge_event_done) struct forge_event e = {0};
        struct nb_err err;
        CHECK_INT(parse(text, &e, &err), 1);
        CHECK_INT(strlen(e.event.ref), 1024);
        free(text);
        text = nb_asprintf("%sb", longest);
        check_change("refs/heads/main", text, -NB_E_INVALID, "\"ref\" is over 1024 bytes");
        free(text);
}

TEST(malformed_commits)
{
        check_change("\"after\": \"" HEAD, "\"after\": \"" HEAD "0", -NB_E_INVALID,
                     "\"after\" is not 40 or 64 hex digits");
        check_change("\"after\": \"3", "\"after\": \"g", -NB_E_INVALID, "\"after\" is not");
        check_change("\"after\": \"" HEAD, "\"after\": \"", -NB_E_INVALID, "\"after\" is not");
        check_change("\"after\": \"" HEAD "\"", "\"after\": null", -NB_E_INVALID, "no commit");
        check_change("\"after\"", "\"After\"", -NB_E_INVALID, "no commit");
        check_change("\"before\": \"9", "\"before\": \"-", -NB_E_INVALID, "\"before\" is not");
        check_change("\"before\": \"" PARENT "\"", "\"before\": null", 1, "");
        check_change("\"head_commit\": {", "\"head_commit\": null, \"x\": {", 1, "");
        check_change("\"head_commit\": {", "\"head_commit\": [], \"x\": {", -NB_E_INVALID,
                     "\"head_commit\" is an array, not an object");
}

TEST(malformed_repositories)
{
        static const char *const bad[] = {
                "acme",
                "",
                "acme/",
                "/notebooks",
                "acme/../notebooks",
                "acme/..",
                "../notebooks",
                "acme/a/b",
                "acme//b",
                "acme/note books",
                "acme/n\\u00e4",
                "acme/a%2fb",
                "-a/b",
                "a/-b",
                "a/.",
                "./b",
                "a/b..c",
                "a/b\\nc",
                "a/b?c",
                "a/b#c",
                "a/b@c",
                "a:b/c",
        };
        nb_auto_free char *name = NULL;
        char part[510];

        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++)
                check_change("acme/notebooks\"",
                             nb_fmt(part, sizeof(part), "%s\"", bad[i]) ? part : "", -NB_E_INVALID,
                             "the repository's name has");
        check_change("acme/notebooks\"", "A.c_m-e/9.x\"", 1, "");
        check_change("\"full_name\"", "\"fullname\"", -NB_E_INVALID, "no repository's name");

        memset(part, 'a', sizeof(part));
        part[509] = '\0';
        name = nb_asprintf("a/%saa", part);
        check_change("acme/notebooks", name, -NB_E_INVALID, "over 512 bytes");
}

TEST(duplicate_keys_are_malformed)
{
        check_change("\"after\": \"" HEAD "\"",
                     "\"after\": \"" HEAD "\", \"after\": \"" PARENT "\"", -NB_E_INVALID,
                     "push: line 4, column");
        check_change("\"after\": \"" HEAD "\"",
                     "\"after\": \"" HEAD "\", \"after\": \"" PARENT "\"", -NB_E_INVALID,
                     "\"after\" is given twice");
        check_change("\"repository\": {",
                     "\"repository\": {\"full_name\": \"evil/x\"}, \"repository\": {",
                     -NB_E_INVALID, "\"repository\" is given twice");
        /* of no interest to us, and so nobody's business */
        check_change("\"compare\":", "\"compare\": 1, \"compare\":", 1, "");
}

TEST(titles_and_authors_are_one_clean_line)
{
        nb_auto_free char *whole = fixture("github/push.json"), *text = NULL, *long_title = NULL;
        struct forge_event e;
        struct nb_err err;
        char a[600];

        /* the commit is there twice, in "commits" and as "head_commit" */
        text = with(strstr(whole, "head_commit"), "Train with a smaller step",
                    "a\\u0000\\u001b[1m\\tb \\r\\nc");
        long_title =
                nb_asprintf("%.*s%s", (int)(strstr(whole, "head_commit") - whole), whole, text);
        CHECK_INT(parse(long_title, &e, &err), 1);
        CHECK_STR(e.event.title, "a  [1m b");
        forge_event_done(&e);

        memset(a, 'a', sizeof(a));
        a[599] = '\0';
        nb_freep(&text);
        nb_freep(&long_title);
        text = with(strstr(whole, "head_commit"), "Train with a smaller step", a);
        long_title =
                nb_asprintf("%.*s%s", (int)(strstr(whole, "head_commit") - whole), whole, text);
        CHECK_INT(parse(long_title, &e, &err), 1);
        CHECK_INT(strlen(e.event.title), 199 + strlen("…"));
        forge_event_done(&e);

        check_change("Train with a smaller step\\n", "\\n", 1, "");
        nb_freep(&text);
        text = with(whole, "\"pusher\"", "\"x\"");
        CHECK_INT(parse(text, &e, &err), 1);
        CHECK_STR(e.event.author, "ada");
        forge_event_done(&e);
}

TEST(ids_are_lower_case)
{
        nb_auto_free char *whole = fixture("github/push.json");
        nb_auto_free char *text = with(whole, "\"after\": \"3f1c2a9b", "\"after\": \"3F1C2A9B");
        NB_CLEANUP(forge_event_done) struct forge_event e = {0};
        struct nb_err err;

        CHECK_INT(parse(text, &e, &err), 1);
        CHECK_STR(e.event.after, HEAD);
}

TEST(not_json)
{
        struct forge_event e;
        struct nb_err err;

        CHECK_ERR(parse("", &e, &err), &err, NB_E_INVALID, "empty");
        CHECK_ERR(parse("{", &e, &err), &err, NB_E_INVALID, "push: line 1");
        CHECK_ERR(parse("[]", &e, &err), &err, NB_E_INVALID, "not an object");
        CHECK_ERR(parse("{\"x\":\"\xff\"}", &e, &err), &err, NB_E_INVALID, "UTF-8");
        CHECK_ERR(parse("{}", &e, &err), &err, NB_E_INVALID, "no repository's name");
        CHECK_ERR(parse_as(NULL, "application/json", "{}", &e, &err), &err, NB_E_INVALID,
                  "the X-GitHub-Event header is missing");
}

TEST(forms)
{
        nb_auto_free char *json = fixture("github/push.json"), *form = NULL, *mixed = NULL;
        static const char type[] = "application/x-www-form-urlencoded";
        nb_auto_free char *encoded = nb_url_encode(json, false);
        struct forge_event e;
        struct nb_err err;

        form = nb_asprintf("payload=%s", encoded);
        CHECK_INT(parse_as("push", type, form, &e, &err), 1);
        CHECK_STR(e.event.after, HEAD);
        CHECK_STR(e.event.title, "Train with a smaller step");
        forge_event_done(&e);
        mixed = nb_asprintf("a=b&&%s&c=d&", form);
        CHECK_INT(parse_as("push", "Application/X-WWW-Form-Urlencoded; charset=utf-8", mixed, &e,
                           &err),
                  1);
        forge_event_done(&e);
        nb_freep(&mixed);
        mixed = nb_asprintf("%s&%s", form, form);
        CHECK_ERR(parse_as("push", type, mixed, &e, &err), &err, NB_E_INVALID, "\"payload\" twice");
        CHECK_ERR(parse_as("push", type, "", &e, &err), &err, NB_E_INVALID, "no \"payload\"");
        CHECK_ERR(parse_as("push", type, "x=payload=1", &e, &err), &err, NB_E_INVALID,
                  "no \"payload\"");
        CHECK_ERR(parse_as("push", type, "payload", &e, &err), &err, NB_E_INVALID,
                  "no \"payload\"");
        CHECK_ERR(parse_as("push", type, "payload=%7", &e, &err), &err, NB_E_INVALID,
                  "not percent-encoded");
        CHECK_ERR(parse_as("push", type, json, &e, &err), &err, NB_E_INVALID, "no \"payload\"");
        CHECK_ERR(parse_as("push", "application/json", form, &e, &err), &err, NB_E_INVALID,
                  "line 1");
}

TEST(content_types)
{
        nb_auto_free char *json = fixture("github/push.json");
        static const char *const bad[] = {NULL,          "",
                                          "text/plain",  "application/jsonx",
                                          "application", "application/json2; charset=utf-8"};
        struct forge_event e;
        struct nb_err err;

        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++)
                CHECK_ERR(parse_as("push", bad[i], json, &e, &err), &err, NB_E_INVALID,
                          "set the webhook's content type");
        CHECK_INT(parse_as("push", "application/JSON;charset=utf-8", json, &e, &err), 1);
        forge_event_done(&e);
}

NBTEST_MAIN()
