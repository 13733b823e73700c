/* SPDX-License-Identifier: Apache-2.0 */
#include "nbtest.h"

#include <nbcid/num.h>

#include "check-priv.h"
#include "gate.h"

/* Put together here, so that scanners of this repository stay calm. */
#define A36 "abcdefghijklmnopqrstuvwxyzABCDEFGH12"
#define AWS \
        "AKIA" \
        "ABCDEFGHIJKLMNOP"
#define GH "ghp_" A36

TEST(shapes_of_tokens)
{
        static const struct {
                const char *text, *kind; /* NULL: none */
                bool code;
        } cases[] = {
                {"x " AWS " y", "an AWS access key", false},
                {"AKIA"
                 "IOSFODNN7EXAMPLE",
                 NULL, true}, /* of the documentation */
                {AWS "Q", NULL, true},
                {"\x1b[38;5;124m" AWS, "an AWS access key", false}, /* as tracebacks have it */
                {"\x1b[m" AWS, "an AWS access key", false},
                {"[1m" AWS, NULL, false},
                {"m" AWS, NULL, false},
                {"x" AWS, NULL, true},
                {GH, "a GitHub token", false},
                {"github_pat_" A36 "_" A36, "a GitHub token", false},
                {"ghp_short", NULL, true},
                {"glpat-"
                 "abcdefghij0123456789",
                 "a GitLab token", false},
                {"xoxb-"
                 "1234567890-abc",
                 "a Slack token", false},
                {"AIza"
                 "abcdefghijklmnopqrstuvwxyz012345678",
                 "a Google API key", false},
                {"sk_live_"
                 "abcdefgh12345678",
                 "a Stripe key", false},
                {"sk_test_"
                 "abcdefgh12345678",
                 NULL, false},
                {"sk-" A36, "an OpenAI or Anthropic key", false},
                {"sk-learn-is-a-library-with-a-very-long-name", NULL, false},
                {"task-" A36, NULL, false},
                {"hf_"
                 "abcdefghijABCDEFGHIJ0123456789abcd",
                 "a Hugging Face token", false},
                {"eyJ"
                 "hbGciOiJIUzI1NiJ9"
                 ".eyJ"
                 "zdWIiOiIxMjM0In0"
                 ".abcdefghijk",
                 "a JSON web token", false},
                {"eyJhbGciOiJIUzI1NiJ9", NULL, false},
                {"-----BEGIN RSA "
                 "PRIVATE KEY-----\nMIIE\n-----END RSA "
                 "PRIVATE KEY-----",
                 "a private key", false},
                {"-----BEGIN CERTIFICATE-----\nMIIE", NULL, false},
                {"x = 'postgres://ann:q7Rt2mXz91Lk@db.x.org/y'", "a password in a URL", false},
                {"https://:q7Rt2mXz91Lk@x.org", "a password in a URL", false},
                {"https://ann:q7Rt2mXz91Lk/@x.org", NULL, false},
                {"https://x.org:8080/q7Rt2mXz91Lk@y", NULL, false},
                {"https://user:password@host", NULL, false},
                {"https://ann:{q7Rt2mXz91Lk}@x.org", NULL, false},
                {"https://ann:q7Rt2mXz91Lk", NULL, false},
                {"password = 'q7Rt2mXz91Lk'", "a password or token", true},
                {"password = 'q7Rt2mXz91Lk'", NULL, false}, /* in outputs shapes alone count */
                {"d['api_key'] = r\"q7Rt2mXz91Lk\"", "a password or token", true},
                {"{\"db-password\": \"q7Rt2mXz91Lk\"}", "a password or token", true},
                {"connect(user='q7Rt2mXz91Lk')", NULL, true},
                {"password = 'your-password-here1'", "a password or token", true},
                {"password = os.environ['DB_PASSWORD_1']", NULL, true},
                {"password == 'q7Rt2mXz91Lk'", NULL, true},
                {"token = 'aaaaaaaaaaaa1'", NULL, true},
                {"token = f'{a}{b}0123456789'", NULL, true},
                {"secret = '/etc/secret/key01'", NULL, true},
                {"token_url = 'https://x.org/a1b2c3d4'", NULL, true},
                {"tokenizer = 'bert-base-uncased'", NULL, true},
                {"password = 'q7Rt2mXz91Lk", NULL, true},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                struct secret x = {0};
                bool found =
                        secret_find(cases[i].text, strlen(cases[i].text), 0, cases[i].code, &x);

                if (found != !!cases[i].kind)
                        FAIL("\"%s\": %s", cases[i].text, found ? x.kind : "nothing");
                if (found)
                        CHECK_STR(x.kind, cases[i].kind);
        }
}

/* A row of beginnings, none of which is a secret: each is looked at once.  Were
 * each gone through to the end of the row, this took hours. */
TEST(long_rows_take_no_longer_than_their_length)
{
        static const char *const rows[] = {"eyJ-",        "sk-",         "xoxb-",
                                           "glpat-",      "AIza-",       "pypi-AgEIcHlwaS5vcmc-",
                                           "eyJ-eyJ-.",   "-----BEGIN ", "token='token=\"",
                                           "'token=]]]]", "://a:b"};
        enum { SIZE = 500000 };
        nb_auto_free char *s = malloc(SIZE);

        CHECK(s);
        for (size_t i = 0; i < NB_ARRAY_SIZE(rows); i++) {
                struct secret x;
                double began, eighth;

                for (size_t k = 0; k < SIZE; k++)
                        s[k] = rows[i][k % strlen(rows[i])];
                began = nbtest_cpu();
                CHECK(!secret_find(s, SIZE / 8, 0, true, &x));
                eighth = nbtest_cpu() - began;
                began = nbtest_cpu();
                CHECK(!secret_find(s, SIZE, 0, true, &x));
                CHECK_LINEAR(eighth, nbtest_cpu() - began);
        }
}

static void check_cover(const char *text, size_t begin, size_t end, const char *expected)
{
        nb_auto_free char *covered = secret_cover(text, strlen(text), begin, end);

        CHECK_STR(covered, expected);
}

TEST(secrets_become_stars)
{
        static const char pem[] = "k='''-----BEGIN "
                                  "PRIVATE KEY-----\nAAAA\n-----END "
                                  "PRIVATE KEY-----'''";

        check_cover("a = '" AWS "'; b = '" AWS "'", 0, 54,
                    "a = '********************'; b = '********************'");
        check_cover("no secret", 3, 9, "secret");
        /* a line in the midst of a key shows nothing of it */
        check_cover(pem, 33, 37, "****");
}

TEST(a_secret_behind_a_nul_is_covered_too)
{
        static const char text[] = "a\0b = '" AWS "'";
        nb_auto_free char *covered = secret_cover(text, sizeof(text) - 1, 0, sizeof(text) - 1);

        CHECK(covered && memcmp(covered, "a\0b = '********************'", sizeof(text)) == 0);
}

TEST(a_secret_is_told_and_never_shown)
{
        static const char text[] = NOTEBOOK(
                CELL("1", OUTPUT("the token is " GH),
                     "t = '" GH
                     "'; f((") ","
                               "{\"cell_type\":\"markdown\",\"metadata\":{},\"source\":\"see " AWS
                               "\"}",
                "");
        static const struct repo_check levels = {.secrets = CHECK_ERROR};
        struct check *c;
        struct findings f;
        struct nb_err err = {0};
        nb_auto_buf json = NB_BUF(1 << 16), human = NB_BUF(1 << 16);
        char list[512];

        CHECK_OK(check_new(&(struct check_opts){.python = "/bin/false", .sandbox = SANDBOX_NONE},
                           &c, &err),
                 &err);
        gate_check(c, text, &(struct check_job){.levels = &levels}, &f);
        gate_list(&f, list, sizeof(list));
        CHECK_STR(list, "E secret@1:0:0; E secret@1:1:6; E secret@2:1:5");
        findings_write_json(&f, &json);
        check_render_human("t.ipynb", &f, false, &human);
        CHECK(!strstr(nb_buf_str(&json), A36) && !strstr(nb_buf_str(&human), A36));
        CHECK(!strstr(nb_buf_str(&json), AWS) && !strstr(nb_buf_str(&human), AWS));
        CHECK(strstr(nb_buf_str(&human), "see ****"));
        findings_done(&f);
        check_free(c);
}

TEST(all_that_an_output_shows_is_looked_at)
{
        static const char text[] = NOTEBOOK(
                CELL("1",
                     "{\"output_type\":\"error\",\"ename\":\"E\",\"evalue\":\"no " AWS
                     "\",\"traceback\":[\"a\",\"\\u001b[31m" GH "\\u001b[0m\"]}",
                     "a") "," CELL("2",
                                   "{\"output_type\":\"display_data\",\"metadata\":{},\"data\":{"
                                   "\"text/html\":[\"<b>" GH "</b>\"],"
                                   "\"text/markdown\":\"*" GH "*\","
                                   "\"text/plain\":\"" AWS "\",\"image/png\":\"" AWS "\"}}",
                                   "b"),
                "");
        static const struct repo_check levels = {.secrets = CHECK_WARN};
        struct check *c;
        struct nb_err err = {0};

        CHECK_OK(check_new(&(struct check_opts){.python = "/bin/false", .sandbox = SANDBOX_NONE},
                           &c, &err),
                 &err);
        gate_expect(c, text, &(struct check_job){.levels = &levels},
                    "W secret@1:0:0; W secret@1:0:0; "
                    "W secret@2:0:0; W secret@2:0:0; W secret@2:0:0");
        check_free(c);
}

TEST(a_notebook_full_of_secrets_says_so_fifty_times)
{
        static const struct repo_check levels = {.secrets = CHECK_WARN};
        nb_auto_buf source = NB_BUF(1 << 20);
        struct check *c;
        struct findings f;
        struct nb_err err = {0};

        for (int i = 0; i < 500; i++)
                (void)nb_buf_puts(&source, AWS "\\n");
        nb_auto_free char *text = nb_asprintf(NOTEBOOK(CODE("%s"), ""), nb_buf_str(&source));
        CHECK_OK(check_new(&(struct check_opts){.python = "/bin/false", .sandbox = SANDBOX_NONE},
                           &c, &err),
                 &err);
        gate_check(c, text, &(struct check_job){.levels = &levels}, &f);
        CHECK_INT(f.n, 50);
        CHECK_INT(f.v[49].cell_line, 50);
        findings_done(&f);
        check_free(c);
}

GATE_MAIN()
