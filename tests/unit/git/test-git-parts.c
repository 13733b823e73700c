/* SPDX-License-Identifier: Apache-2.0 */
/* The pure pieces of room git: names, URLs, .gitmodules, the wire. */
#include <nbcid/str.h>

#include "../../../src/git/git-priv.h"
#include "nbtest.h"

static void check_origin(const char *in, const char *out)
{
        NB_CLEANUP(origin_done) struct origin o = {0};
        struct nb_err err = {0};

        CHECK_OK(origin_parse(in, &o, &err), &err);
        CHECK_STR(o.url, out);
}

TEST(urls_are_put_together_again)
{
        check_origin("https://GitHub.com/a/b.git", "https://github.com/a/b.git");
        check_origin("HTTPS://h:443/a", "https://h/a");
        check_origin("http://h:8080/a", "http://h:8080/a");
        check_origin("https://me:pw@h/a", "https://h/a");
        check_origin("https://a@b@h/a", "https://h/a");
        check_origin("ssh://git@h:2222/a", "ssh://git@h:2222/a");
        check_origin("git@h:a/b.git", "ssh://git@h/a/b.git");
        check_origin("http://[::1]:80/a", "http://[::1]/a");
        check_origin("file:///srv/a b.git", "file:///srv/a b.git");
        check_origin("/srv/a.git", "file:///srv/a.git");
}

TEST(urls_that_can_be_misread_are_refused)
{
        static const char *const bad[] = {
                "",
                "git://h/a",
                "ext::sh -c x",
                "relative/path",
                "https://",
                "https:///a",
                "https://h",
                "https://h/",
                "https://h:0/a",
                "https://h:65536/a",
                "https://h:x/a",
                "https://h /a",
                "https://h/a b",
                "https://h/a\r\nX: y",
                "https://h/../a",
                "https://h/a/..",
                "https://[::1/a",
                "https://-h/a",
                "ssh://u:p@h/a",
                "ssh://-oProxy=x@h/'a",
                "ssh://git@h/a';x",
                "file://host/a",
                "file:///a/../b",
                "file:///a%2e",
        };
        struct origin o;
        struct nb_err err;

        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++) {
                int r = origin_parse(bad[i], &o, &err);
                if (r != -NB_E_INVALID)
                        FAIL("\"%s\" is taken", bad[i]);
        }
}

TEST(relative_urls_follow_git)
{
        static const char *const cases[][3] = {
                {"https://h/o/r.git", "../x.git", "https://h/o/x.git"},
                {"https://h/o/r.git/", "../x.git", "https://h/o/x.git"},
                {"https://h/o/r.git", "./x", "https://h/o/r.git/x"},
                {"https://h:8443/o/r", "../../p/x", "https://h:8443/p/x"},
                {"ssh://git@h/o/r", "../x", "ssh://git@h/o/x"},
                {"file:///srv/a", "../b", "file:///srv/b"},
                {"https://h/o/r", "https://other/x", "https://other/x"},
                {"https://h/o/r", "../../../x", NULL},
                {"https://h/o/r", "../a/../../x", NULL},
                {"https://h/o/r", "x", NULL},
        };
        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                NB_CLEANUP(origin_done) struct origin base = {0};
                NB_CLEANUP(origin_done) struct origin o = {0};
                struct nb_err err = {0};
                CHECK_OK(origin_parse(cases[i][0], &base, &err), &err);
                int r = origin_resolve(&base, cases[i][1], &o, &err);
                CHECK((r == 0) == (cases[i][2] != NULL));
                CHECK_STR(o.url, cases[i][2]);
        }
}

TEST(a_host_is_named_with_its_port)
{
        NB_CLEANUP(origin_done) struct origin o = {0};
        NB_CLEANUP(origin_done) struct origin p = {0};
        struct nb_err err = {0};

        CHECK_OK(origin_parse("https://git.example.org/a", &o, &err), &err);
        CHECK_OK(origin_parse("https://git.example.org:8443/a", &p, &err), &err);
        CHECK(origin_matches(&o, "git.example.org") && origin_matches(&o, "GIT.example.org:443"));
        CHECK(!origin_matches(&o, "example.org") && !origin_matches(&o, "git.example.org.evil"));
        CHECK(!origin_matches(&p, "git.example.org"));
        CHECK(origin_matches(&p, "git.example.org:8443"));
        CHECK(!origin_same(&o, &p) && origin_same_host(&o, &p));
}

TEST(names_that_mean_git_are_known_in_every_spelling)
{
        static const char *const bad[] = {"",
                                          ".",
                                          "..",
                                          ".git",
                                          ".Git",
                                          ".git...",
                                          ".git . .",
                                          "git~1",
                                          "GIT~1.",
                                          ".git:x",
                                          "a/b",
                                          ".gi\xe2\x80\x8dt",
                                          "\xef\xbb\xbf.git",
                                          ".git\\a",
                                          "a\\.git"};
        static const char *const good[] = {"...",   ".gitignore", ".gitmodules", "git",  ".git2",
                                           "git~2", "a.git",      "git~10",      "a\\b", "x.ipynb"};
        char nul[300];

        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++)
                if (!name_refused(bad[i], strlen(bad[i])))
                        FAIL("\"%s\" is taken", bad[i]);
        for (size_t i = 0; i < NB_ARRAY_SIZE(good); i++)
                if (name_refused(good[i], strlen(good[i])))
                        FAIL("\"%s\" is refused", good[i]);
        memset(nul, 'a', sizeof(nul));
        CHECK(name_refused(nul, 256) && !name_refused(nul, 255));
}

TEST(gitmodules_are_read_as_git_does)
{
        static const char in[] = "# a comment\n"
                                 "[core]\n\tpath = no\n"
                                 "[submodule \"a\"]\n"
                                 "\tpath = libs/a\n\turl = https://h/a.git ; where\n"
                                 "[Submodule \"b \\\"q\\\"\"] path = \"with # space \"\n"
                                 "\tURL = ../b\\\n/c\n\tactive\n"
                                 "[include]\n\tpath = /etc/passwd\n"
                                 "[submodule \"c\"]\n\turl = nowhere\n";
        NB_CLEANUP(modules_done) struct modules m = {0};
        struct nb_err err = {0};

        CHECK_OK(modules_parse(in, sizeof(in) - 1, &m, &err), &err);
        CHECK_INT(m.n, 3);
        CHECK_STR(modules_url(&m, "libs/a"), "https://h/a.git");
        CHECK_STR(modules_url(&m, "with # space "), "../b/c");
        CHECK(!modules_url(&m, "/etc/passwd") && !modules_url(&m, "no"));
}

TEST(malformed_gitmodules_name_their_line)
{
        static const char *const bad[] = {
                "\n[submodule \"a\n",
                "\n[submodule \"a\"\npath = x\n",
                "\n[submodule \"a\"]\n= x\n",
                "\n[submodule \"a\"] path = \"x\n",
                "\n[submodule \"a\"] path = \\q\n",
        };
        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++) {
                struct modules m = {0};
                struct nb_err err = {0};
                CHECK_ERR(modules_parse(bad[i], strlen(bad[i]), &m, &err), &err, NB_E_INVALID,
                          ".gitmodules:");
        }
}

TEST(a_request_survives_the_wire)
{
        static const char *const hosts[] = {"one.example", "two.example:8443", NULL};
        static char secret[] = "s3cret\xff", key[] = "-----BEGIN\nKEY";
        const struct nb_secret token = {secret, sizeof(secret) - 1}, ssh = {key, sizeof(key) - 1};
        const struct git_request r = {
                .op = GIT_CHECKOUT,
                .mirror = "/m",
                .remote = {.url = "https://h/a",
                           .username = "oauth2",
                           .token = &token,
                           .ssh_key = &ssh,
                           .ssh_host_key = "SHA256:x",
                           .submodule_hosts = hosts},
                .limits = {.max_receive = 1, .max_checkout = UINT64_C(1) << 40, .max_blob = 3},
                .commit = "c0ffee",
                .workspace = "/w \"x\"",
        };
        NB_CLEANUP(git_wire_done) struct git_wire w = {0};
        nb_auto_buf b = NB_BUF(65536);
        struct nb_err err = {0};

        CHECK_OK(git_request_write(&r, &b, &err), &err);
        CHECK(!strstr(nb_buf_str(&b), "s3cret"));
        CHECK_OK(git_request_read(nb_buf_str(&b), b.len, &w, &err), &err);
        CHECK_INT(w.r.op, GIT_CHECKOUT);
        CHECK_STR(w.r.remote.token->data, secret);
        CHECK_INT(w.r.remote.token->n, token.n);
        CHECK_STR(w.r.remote.ssh_key->data, key);
        CHECK_STR(w.r.remote.submodule_hosts[1], "two.example:8443");
        CHECK(!w.r.remote.submodule_hosts[2]);
        CHECK(w.r.limits.max_checkout == UINT64_C(1) << 40);
        CHECK_STR(w.r.workspace, "/w \"x\"");
        CHECK(!w.r.ref && !w.r.before);
}

TEST(an_answer_survives_the_wire)
{
        struct git_changed changes[] = {{.path = (char[]){"a\n\"b.ipynb"},
                                         .change = GIT_COPIED,
                                         .oddity = GIT_LFS,
                                         .size = 7}};
        struct git_support files[] = {
                {.path = (char[]){"r.txt"}, .oddity = GIT_TOO_BIG, .size = 9}};
        char config[] = "x = 1\0y";
        struct git_answer a = {.commit = "c0ffee",
                               .title = (char[]){"t"},
                               .repo_config = config,
                               .n_repo_config = 7,
                               .changed = changes,
                               .n_changed = 1,
                               .support = files,
                               .n_support = 1,
                               .dot_binder = true};
        NB_CLEANUP(git_answer_done) struct git_answer back = {0};
        nb_auto_buf b = NB_BUF(65536);
        struct nb_err err = {0};

        CHECK(nb_strv_add(&a.warnings, "w") == 0);
        git_answer_write(&a, &b);
        nb_strv_done(&a.warnings);
        CHECK_OK(git_answer_read(nb_buf_str(&b), b.len, &back, &err), &err);
        CHECK_STR(back.commit, "c0ffee");
        CHECK_STR(back.title, "t");
        CHECK_INT(back.n_repo_config, 7);
        CHECK(memcmp(back.repo_config, config, 7) == 0);
        CHECK_STR(back.changed[0].path, "a\n\"b.ipynb");
        CHECK_INT(back.changed[0].change, GIT_COPIED);
        CHECK_INT(back.changed[0].oddity, GIT_LFS);
        CHECK_STR(back.support[0].path, "r.txt");
        CHECK_INT(back.support[0].oddity, GIT_TOO_BIG);
        CHECK_INT(back.support[0].size, 9);
        CHECK(back.dot_binder && !back.binder);
        CHECK_STR(back.warnings.v[0], "w");
}

TEST(a_failure_survives_the_wire)
{
        struct git_answer a = {0};
        struct nb_err err = {0}, back = {0};
        nb_auto_buf b = NB_BUF(65536);

        (void)nb_fail_detail(&err, NB_E_DENIED, -16, "no \"entry\"");
        git_failure_write(&err, &b);
        CHECK_ERR(git_answer_read(nb_buf_str(&b), b.len, &a, &back), &back, NB_E_DENIED,
                  "no \"entry\"");
        CHECK_INT(back.detail, -16);
}

TEST(an_answer_that_makes_no_sense_is_a_bug)
{
        static const char *const bad[] = {
                "",
                "{",
                "[]",
                "{}",
                "{\"error\":0,\"detail\":0,\"message\":\"x\"}",
                "{\"error\":99,\"detail\":0,\"message\":\"x\"}",
                "{\"commit\":\"x\",\"changed\":[{\"path\":\"a\",\"change\":9}]}",
                "{\"commit\":\"x\",\"changed\":[{\"change\":0}]}",
                "{\"commit\":\"x\",\"support\":[{\"path\":\"a\",\"oddity\":9}]}",
                "{\"commit\":\"x\",\"support\":[{\"oddity\":0}]}",
        };
        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++) {
                struct git_answer a = {0};
                struct nb_err err = {0};
                CHECK_ERR(git_answer_read(bad[i], strlen(bad[i]), &a, &err), &err, NB_E_BUG, "");
        }
}

TEST(paths_are_shown_without_surprises)
{
        nb_auto_free char *a = path_shown("a\xff\nb", 4), *b = path_shown("", 0);

        CHECK_STR(a, "a\\xff\\x0ab");
        CHECK_STR(b, "");
}

NBTEST_MAIN()
