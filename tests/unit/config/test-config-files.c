/* SPDX-License-Identifier: Apache-2.0 */
/* config.toml as a file: secrets, and the example that ships */
#include "nbtest.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <nbcid/config.h>
#include <nbcid/fs.h>

#include "../../../src/config/parse.h"

#define GITHUB "[[forge]]\nname = \"gh\"\nkind = \"github\"\nwebhook_secret_file = \"hook\"\n"
#define SIGNING_TOKEN "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="

static void write_file(const char *dir, const char *name, const char *text)
{
        nb_auto_free char *path = nb_asprintf("%s/%s", dir, name);
        struct nb_err err;

        CHECK(path);
        CHECK_OK(nb_write_file(AT_FDCWD, path, text, strlen(text), 0644, false, &err), &err);
}

/* A fresh directory below the test's own; owned. */
static char *new_dir(const char *name)
{
        char *path = nb_asprintf("%s/%s", nbtest_tmpdir(), name);

        CHECK(path && mkdir(path, 0755) == 0);
        return path;
}

static int load(const char *dir, const char *text, struct config **ret, struct nb_err *err)
{
        nb_auto_free char *path = nb_asprintf("%s/config.toml", dir);

        CHECK(path);
        write_file(dir, "config.toml", text);
        return config_load(path, ret, err);
}

TEST(secrets_are_found_beside_the_file)
{
        nb_auto_free char *dir = new_dir("beside");
        NB_CLEANUP(config_unrefp) struct config *c = NULL;
        struct nb_err err;

        unsetenv("CREDENTIALS_DIRECTORY");
        write_file(dir, "hook", "two words\n");
        write_file(dir, "token", "operator\n");
        CHECK_OK(load(dir, GITHUB "[auth]\noperator_token_file = \"token\"\nread = \"token\"\n", &c,
                      &err),
                 &err);
        CHECK_STR(c->forges[0].secrets[0].data, "two words");
        CHECK_INT(c->forges[0].secrets[0].n, 9);
        CHECK_INT(c->forges[0].secrets[1].n, 0);
        CHECK_STR(c->operator_token.data, "operator");
        CHECK(c->read_needs_token);
}

TEST(secrets_are_found_in_the_credentials_directory)
{
        nb_auto_free char *dir = new_dir("there"), *creds = new_dir("credentials");
        nb_auto_free char *text = nb_asprintf(GITHUB "token_file = \"%s/absolute\"\n", dir);
        NB_CLEANUP(config_unrefp) struct config *c = NULL;
        struct nb_err err;

        CHECK(text);
        setenv("CREDENTIALS_DIRECTORY", creds, 1);
        write_file(dir, "hook", "wrong");
        write_file(creds, "hook", "right");
        write_file(dir, "absolute", "t0ken");
        CHECK_OK(load(dir, text, &c, &err), &err);
        unsetenv("CREDENTIALS_DIRECTORY");
        CHECK_STR(c->forges[0].secrets[0].data, "right");
        CHECK_STR(c->forges[0].token.data, "t0ken");
}

TEST(secrets_that_cannot_be_used_are_refused)
{
        nb_auto_free char *dir = new_dir("bad"), *directory = new_dir("bad/directory");
        struct config *c = NULL;
        struct nb_err err;
        static const struct {
                const char *text, *said;
        } cases[] = {
                {GITHUB "token_file = \"none\"\n", ":5: key 'token_file' in [[forge]]: "},
                {GITHUB "token_file = \"none\"\n", "/bad/none: No such file"},
                {GITHUB "token_file = \"none\"\n", "$CREDENTIALS_DIRECTORY"},
                {GITHUB "token_file = \"empty\"\n", "empty"},
                {GITHUB "token_file = \"newlines\"\n", "empty"},
                {GITHUB "token_file = \"directory\"\n", "/bad/directory is not a regular file"},
                {GITHUB "token_file = \"lines\"\n", "more than one word"},
                {GITHUB "ssh_key_file = \"lines\"\n", "private key in PEM"},
                {"[auth]\noperator_token_file = \"lines\"\n", "more than one word"},
                {"[[forge]]\nname = \"x\"\nkind = \"gitlab\"\nsigning_token_file = \"hook\"\n",
                 "does not hold a signing token"},
                {"[[forge]]\nname = \"x\"\nkind = \"gitlab\"\nsigning_token_file = \"badsign\"\n",
                 "does not hold a signing token"},
                {"[[forge]]\nname = \"x\"\nkind = \"gitlab\"\nsigning_token_file = \"nosign\"\n",
                 "does not hold a signing token"},
                /* the first by line, though all are tried */
                {"[[forge]]\nname = \"x\"\nkind = \"github\"\ntoken_file = \"none\"\n"
                 "webhook_secret_file = \"none\"\n[auth]\noperator_token_file = \"none\"\n",
                 ":4: key 'token_file'"},
        };

        CHECK(directory);
        write_file(dir, "hook", "secret");
        write_file(dir, "empty", "");
        write_file(dir, "newlines", "\n\r\n");
        write_file(dir, "lines", "one\ntwo\n");
        write_file(dir, "badsign", "whsec_!!!!");
        write_file(dir, "nosign", "whsec_");
        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++)
                CHECK_ERR(load(dir, cases[i].text, &c, &err), &err, NB_E_INVALID, cases[i].said);
        CHECK(!c);
}

TEST(files_that_cannot_be_read)
{
        nb_auto_free char *huge = malloc((1 << 20) + 2), *dir = new_dir("huge");
        struct config *c = NULL;
        struct nb_err err;

        CHECK_ERR(config_load("/nonexistent/config.toml", &c, &err), &err, NB_E_NOTFOUND,
                  "/nonexistent/config.toml");
        CHECK(huge);
        memset(huge, '\n', (1 << 20) + 1);
        huge[(1 << 20) + 1] = '\0';
        CHECK_ERR(load(dir, huge, &c, &err), &err, NB_E_LIMIT, "config.toml");
        huge[1 << 20] = '\0';
        CHECK_OK(load(dir, huge, &c, &err), &err);
        c = config_unref(c);
}

/* ---- the example ---- */

static void read_example(struct nb_buf *b)
{
        const char *root = getenv("NBCID_SOURCE_ROOT");
        nb_auto_free char *path = nb_asprintf("%s/config.example.toml", root ? root : ".");
        struct nb_err err;

        CHECK(path);
        CHECK_OK(nb_read_file(AT_FDCWD, path, b, &err), &err);
}

TEST(the_example_loads)
{
        nb_auto_free char *dir = new_dir("example");
        nb_auto_buf text = NB_BUF(CONFIG_MAX_BYTES);
        NB_CLEANUP(config_unrefp) struct config *c = NULL, *d = NULL;
        struct nb_err err;

        read_example(&text);
        write_file(dir, "operator-token", "o");
        write_file(dir, "github-webhook-secret", "h");
        write_file(dir, "github-token", "t");
        write_file(dir, "gitlab-ssh-key", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
        write_file(dir, "gitlab-signing-token", SIGNING_TOKEN "\n");
        write_file(dir, "gitlab-token", "g");
        CHECK_OK(load(dir, nb_buf_str(&text), &c, &err), &err);
        CHECK_INT(c->n_forges, 2);
        CHECK_STR(c->forges[0].clone_base, "https://github.com");
        CHECK_STR(c->forges[1].signing[0].data, SIGNING_TOKEN);
        CHECK_INT(c->n_repositories, 1);
        CHECK_STR(c->repositories[0].executor, "local");
        CHECK_STR(c->public_url, "https://ci.example.org");

        /* what it shows as defaults are the defaults */
        CHECK_OK(config_parse("c.toml", GITHUB, strlen(GITHUB), false, &d, &err), &err);
        CHECK_STR(c->listen, d->listen);
        CHECK_STR(c->state_dir, d->state_dir);
        CHECK_STR(c->forges[0].api_url, d->forges[0].api_url);
        CHECK_STR(c->forges[0].clone_base, d->forges[0].clone_base);
        CHECK_STR(c->executors[0].python, d->executors[0].python);
        for (size_t i = 0; i < config_n_tables; i++)
                for (size_t j = 0; j < config_tables[i].n_keys; j++) {
                        const struct key *k = &config_tables[i].keys[j];
                        bool many = config_tables[i].many;
                        size_t n = k->type == KEY_COUNT || k->type == KEY_CHOICE    ? 4
                                   : k->type == KEY_BOOL || k->type == KEY_SWITCH   ? 1
                                   : k->type == KEY_SIZE || k->type == KEY_DURATION ? 8
                                                                                    : 0;
                        const char *a = (const char *)c, *b = (const char *)d;

                        if (many && !nb_streq(config_tables[i].name, "executor"))
                                continue;
                        if (many) {
                                a = (const char *)c->executors;
                                b = (const char *)d->executors;
                        }
                        if (memcmp(a + k->offset, b + k->offset, n) != 0)
                                FAIL("%s.%s", config_tables[i].name, k->name);
                }
}

/* Does a line of the text between from and to say "key =", commented out or
 * not? */
static bool says(const char *from, const char *to, const char *key)
{
        for (const char *p = from; p && p < to; p = strchr(p, '\n')) {
                p += strspn(p, "\n# ");
                if (nb_starts_with(p, key) && nb_starts_with(p + strlen(key), " = "))
                        return true;
        }
        return false;
}

TEST(the_example_says_every_key)
{
        nb_auto_buf text = NB_BUF(CONFIG_MAX_BYTES);

        read_example(&text);
        for (size_t i = 0; i < config_n_tables; i++) {
                const struct table *t = &config_tables[i];
                nb_auto_free char *head = nb_asprintf(t->many ? "\n[[%s]]\n" : "\n[%s]\n", t->name);

                for (size_t j = 0; j < t->n_keys; j++) {
                        const char *at = nb_buf_str(&text);
                        bool found = t->keys[j].type == KEY_LATER;

                        CHECK(head);
                        while (!found && (at = strstr(at, head))) {
                                const char *end = strstr(at + strlen(head), "\n[");
                                at += strlen(head) - 1;
                                found = says(at, end ? end : at + strlen(at), t->keys[j].name);
                        }
                        if (!found)
                                FAIL("config.example.toml does not say %s in %s", t->keys[j].name,
                                     t->name);
                }
        }
}

NBTEST_MAIN()
