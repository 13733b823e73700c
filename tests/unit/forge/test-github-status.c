/* SPDX-License-Identifier: Apache-2.0 */
#include "forge-test.h"

#define HEAD "3f1c2a9be0d7485f6a1b0c9d8e7f60514233a2b1"
#define NOW INT64_C(1767323045)

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

/* ---- statuses ---- */

static struct note a_note(void)
{
        return (struct note){
                .repository = "acme/notebooks",
                .ref = "refs/heads/main",
                .commit = HEAD,
                .context = "nbcid/train/fit.ipynb",
                .state = NOTE_FAILURE,
                .text = "cell 7: ValueError: shapes (3,) (4,)",
                .target_url = "https://ci.example.org/jobs/9",
        };
}

TEST(a_status)
{
        struct config_forge f = account();
        NB_CLEANUP(http_out_done) struct http_out m = {0};
        struct note n = a_note();
        struct nb_err err;

        f.token = SECRET("ghp_abc");
        CHECK_OK(ops()->status_request(&f, &n, &m, &err), &err);
        CHECK_STR(m.method, "POST");
        CHECK_STR(m.url, "https://api.github.example/repos/acme/notebooks/statuses/" HEAD);
        CHECK_STR(sent_header(&m, "Authorization"), "Bearer ghp_abc");
        CHECK_STR(sent_header(&m, "Accept"), "application/vnd.github+json");
        CHECK_STR(sent_header(&m, "X-GitHub-Api-Version"), "2022-11-28");
        CHECK_STR(sent_header(&m, "Content-Type"), "application/json");
        CHECK_STR(m.body, "{\"state\":\"failure\",\"target_url\":\"https://ci.example.org/jobs/9\","
                          "\"description\":\"cell 7: ValueError: shapes (3,) (4,)\","
                          "\"context\":\"nbcid/train/fit.ipynb\"}");
        CHECK_INT(m.n_body, strlen(m.body));
}

/* The JSON member of a status of this note; owned. */
static char *status_member(const struct note *n, const char *key)
{
        struct config_forge f = account();
        NB_CLEANUP(http_out_done) struct http_out m = {0};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
        const struct nb_json_limits limits = {.bytes = 1 << 20, .depth = 4};
        const char *s;
        struct nb_err err;

        f.token = SECRET("ghp_abc");
        CHECK_OK(ops()->status_request(&f, n, &m, &err), &err);
        CHECK_OK(nb_json_read(m.body, m.n_body, &limits, &t, NULL, &err), &err);
        s = nb_json_str(nb_json_get(nb_json_root(t), key), NULL);
        return nb_strdup(s);
}

static void check_member(const struct note *n, const char *key, const char *value)
{
        nb_auto_free char *s = status_member(n, key);

        CHECK_STR(s, value);
}

TEST(states)
{
        static const char *const states[NOTE_STATE__COUNT] = {
                [NOTE_PENDING] = "pending", [NOTE_RUNNING] = "pending", [NOTE_SUCCESS] = "success",
                [NOTE_FAILURE] = "failure", [NOTE_ERROR] = "error",     [NOTE_CANCELLED] = "error",
        };
        struct note n = a_note();

        for (n.state = 0; n.state < NOTE_STATE__COUNT; n.state++)
                check_member(&n, "state", states[n.state]);
}

/* n times s, owned. */
static char *times(const char *s, size_t n)
{
        nb_auto_buf b = NB_BUF(100000);

        while (n-- > 0)
                nb_buf_puts(&b, s);
        return nb_buf_steal(&b);
}

TEST(descriptions_are_cut_by_character)
{
        nb_auto_free char *fits = times("ä", 140), *over = times("ä", 141), *cut = NULL;
        nb_auto_free char *most = times("ä", 139);
        struct note n = a_note();

        n.text = fits;
        check_member(&n, "description", fits);
        n.text = over;
        cut = nb_asprintf("%s…", most);
        check_member(&n, "description", cut);
        n.text = "a\nb\tc";
        check_member(&n, "description", "a b c");
        n.text = "\xf0\x9f\x90\x9b ok \xff";
        check_member(&n, "description", "\xef\xbf\xbd ok \xef\xbf\xbd");
        n.text = NULL;
        check_member(&n, "description", "");
        n.target_url = NULL;
        check_member(&n, "target_url", NULL);
}

TEST(contexts_stay_unique)
{
        nb_auto_free char *fits = times("a", 255), *one = NULL, *two = NULL, *again = NULL;
        nb_auto_free char *over = times("a", 256), *other = times("a", 257), *bug = NULL;
        struct note n = a_note();

        n.context = fits;
        check_member(&n, "context", fits);
        n.context = over;
        one = status_member(&n, "context");
        again = status_member(&n, "context");
        CHECK_STR(one, again);
        CHECK_INT(nb_utf8_prefix(one, 255), strlen(one));
        CHECK_INT(nb_utf8_prefix(one, 254) == strlen(one), 0);
        CHECK(strstr(one, "aaa…"));
        n.context = other;
        two = status_member(&n, "context");
        CHECK(!nb_streq(one, two));
        n.context = "nbcid/\xf0\x9f\x90\x9b.ipynb";
        bug = status_member(&n, "context");
        CHECK(nb_starts_with(bug, "nbcid/\xef\xbf\xbd.ipynb…"));
        CHECK_INT(strlen(bug), strlen("nbcid/\xef\xbf\xbd.ipynb…") + 8);
}

TEST(statuses_that_cannot_be_sent)
{
        nb_auto_free char *url = times("u", 4097);
        struct config_forge f = account();
        struct http_out m;
        struct note n = a_note();
        struct nb_err err;

        CHECK_ERR(ops()->status_request(&f, &n, &m, &err), &err, NB_E_DENIED,
                  "forge hub has no token_file");
        f.token = SECRET("a\r\nX-Evil: 1");
        CHECK_ERR(ops()->status_request(&f, &n, &m, &err), &err, NB_E_DENIED,
                  "token_file has a character");
        f.token = SECRET("good");
        n.repository = "acme/../x";
        CHECK_ERR(ops()->status_request(&f, &n, &m, &err), &err, NB_E_INVALID, "repository");
        n.repository = "acme/x";
        n.commit = "../../user";
        CHECK_ERR(ops()->status_request(&f, &n, &m, &err), &err, NB_E_INVALID, "commit");
        n.commit = HEAD;
        n.target_url = url;
        CHECK_ERR(ops()->status_request(&f, &n, &m, &err), &err, NB_E_LIMIT, "over 4096 bytes");
}

/* ---- replies ---- */

TEST(replies)
{
        static const struct {
                int status;
                const char *retry_after, *remaining, *reset, *body;
                enum note_verdict verdict;
                uint32_t wait;
        } cases[] = {
                {201, NULL, NULL, NULL, "{}", NOTE_ACCEPTED, 0},
                {200, NULL, "0", NULL, "", NOTE_ACCEPTED, 0},
                {401, NULL, NULL, NULL, "", NOTE_RETRY, 300},
                {403, NULL, "4999", NULL, "{\"message\":\"Resource not accessible\"}", NOTE_REFUSED,
                 0},
                {403, NULL, NULL, NULL, "", NOTE_REFUSED, 0},
                {403, "30", NULL, NULL, "", NOTE_RETRY, 30},
                {403, "0", NULL, NULL, "", NOTE_RETRY, 1},
                {403, "Wed, 21 Oct 2026 07:28:00 GMT", NULL, NULL, "", NOTE_RETRY, 60},
                {403, "99999999999999999999", NULL, NULL, "", NOTE_RETRY, 60},
                {403, "90000", NULL, NULL, "", NOTE_RETRY, 3600},
                {403, NULL, "0", "1767323145", "", NOTE_RETRY, 100},
                {403, "7", "0", "1767323145", "", NOTE_RETRY, 7},
                {403, NULL, "0", "1767323000", "", NOTE_RETRY, 1},
                {403, NULL, "0", "soon", "", NOTE_RETRY, 60},
                {403, NULL, "0", NULL, "", NOTE_RETRY, 60},
                {403, NULL, "0", "9223372036854775807", "", NOTE_RETRY, 3600},
                {403, NULL, "14", NULL,
                 "{\"message\":\"You have exceeded a secondary rate limit. Please wait\"}",
                 NOTE_RETRY, 60},
                {429, NULL, "4", "1767323145", "", NOTE_RETRY, 60},
                {429, "2", NULL, NULL, "", NOTE_RETRY, 2},
                {500, NULL, NULL, NULL, "", NOTE_RETRY, 0},
                {502, NULL, NULL, NULL, "", NOTE_RETRY, 0},
                {503, "120", NULL, NULL, "", NOTE_RETRY, 120},
                {408, NULL, NULL, NULL, "", NOTE_RETRY, 0},
                {404, NULL, NULL, NULL, "", NOTE_REFUSED, 0},
                {422, NULL, NULL, NULL, "{\"message\":\"Validation Failed\"}", NOTE_REFUSED, 0},
                {400, NULL, NULL, NULL, "", NOTE_REFUSED, 0},
                {301, NULL, NULL, NULL, "", NOTE_REFUSED, 0},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                struct message m = {.in.status = cases[i].status};
                uint32_t wait = 12345;
                enum note_verdict verdict;
                message_set(&m, "retry-after", cases[i].retry_after);
                message_set(&m, "x-ratelimit-remaining", cases[i].remaining);
                message_set(&m, "x-ratelimit-reset", cases[i].reset);
                message_body(&m, cases[i].body);
                verdict = ops()->status_reply(&m.in, NOW, &wait);
                if (verdict != cases[i].verdict || wait != cases[i].wait)
                        FAIL("case %zu: verdict %d, wait %u", i, (int)verdict, (unsigned)wait);
        }
}

/* ---- clone ---- */

TEST(clone_urls)
{
        struct config_forge f = account();
        nb_auto_free char *url = NULL, *other = NULL;
        struct nb_err err;

        CHECK_OK(forge_clone_url(&f, "acme/note.books_1-x", &url, &err), &err);
        CHECK_STR(url, "https://github.example/acme/note.books_1-x.git");
        f.clone_base = (char[]){"ssh://git@host//"};
        CHECK_OK(forge_clone_url(&f, "a/b", &other, &err), &err);
        CHECK_STR(other, "ssh://git@host/a/b.git");
        CHECK_ERR(forge_clone_url(&f, "a/../b", &url, &err), &err, NB_E_INVALID, "\"..\"");
        CHECK_ERR(forge_clone_url(&f, "a//b", &url, &err), &err, NB_E_INVALID, "empty");
        CHECK_ERR(forge_clone_url(&f, "--upload-pack=x/b", &url, &err), &err, NB_E_INVALID, "'-'");
        CHECK_ERR(forge_clone_url(&f, "a/b/c", &url, &err), &err, NB_E_INVALID, "3 parts");
}

NBTEST_MAIN()
