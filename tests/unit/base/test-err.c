/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include <nbcid/err.h>
#include <nbcid/str.h>

#include "nbtest.h"

TEST(raise_fills_everything)
{
        struct nb_err err = {0};
        int line = __LINE__ + 1;
        int r = nb_fail(&err, NB_E_LIMIT, "the body is over %d bytes", 5);

        CHECK_INT(r, -NB_E_LIMIT);
        CHECK_INT(err.code, NB_E_LIMIT);
        CHECK_INT(err.detail, 0);
        CHECK_INT(err.line, line);
        CHECK(nb_ends_with(err.file, "test-err.c"));
        CHECK_STR(err.msg, "the body is over 5 bytes");
        CHECK_INT(nb_fail_detail(&err, NB_E_REMOTE, 77, "x"), -NB_E_REMOTE);
        CHECK_INT(err.detail, 77);
}

TEST(nobody_has_to_listen)
{
        CHECK_INT(nb_fail(NULL, NB_E_IO, "x"), -NB_E_IO);
        CHECK_INT(nb_fail_errno(NULL, ENOENT, "x"), -NB_E_NOTFOUND);
        CHECK_INT(nb_wrap(NULL, -NB_E_IO, "x"), -NB_E_IO);
}

TEST(errno_becomes_a_class_and_words)
{
        struct nb_err err;

        CHECK_INT(nb_fail_errno(&err, ENOENT, "cannot open %s", "/a"), -NB_E_NOTFOUND);
        CHECK_STR(err.msg, "cannot open /a: No such file or directory");
        CHECK_INT(err.detail, ENOENT);
        CHECK_INT(nb_fail_errno(&err, ENOMEM, "x"), -NB_E_NOMEM);
        CHECK_INT(nb_fail_errno(&err, EEXIST, "x"), -NB_E_CONFLICT);
        CHECK_INT(nb_fail_errno(&err, EACCES, "x"), -NB_E_IO);
        CHECK_STR(err.msg, "x: Permission denied");
        CHECK_INT(nb_fail_errno(&err, 987654, "x"), -NB_E_IO);
        CHECK(strstr(err.msg, "987654"));
}

TEST(a_long_path_does_not_push_the_reason_out)
{
        char path[2000];
        struct nb_err err;

        memset(path, 'p', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        nb_fail_errno(&err, EACCES, "cannot open %s", path);
        CHECK_INT(strlen(err.msg), sizeof(err.msg) - 1);
        CHECK(nb_ends_with(err.msg, "ppp: Permission denied"));
}

TEST(a_cut_keeps_characters_whole)
{
        static const char *const chars[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x99\x82"};

        for (size_t c = 0; c < 3; c++)
                for (int lead = 0; lead < 8; lead++) {
                        char text[1200];
                        struct nb_err err;
                        size_t n = (size_t)lead;

                        memset(text, 'a', sizeof(text));
                        for (; n + 4 < sizeof(text); n += strlen(chars[c]))
                                memcpy(text + n, chars[c], strlen(chars[c]));
                        text[n] = '\0';
                        nb_fail(&err, NB_E_INVALID, "%s", text);
                        CHECK(nb_utf8_valid(err.msg, strlen(err.msg), NULL));
                        CHECK(strlen(err.msg) > sizeof(err.msg) - 5);
                        CHECK(!strchr(err.msg, '?'));
                        nb_wrap(&err, -NB_E_INVALID, "in %d", lead);
                        CHECK(nb_utf8_valid(err.msg, strlen(err.msg), NULL));
                        CHECK(!strchr(err.msg, '?'));
                        nb_wrap(&err, -NB_E_INVALID, "%s", text);
                        CHECK(nb_utf8_valid(err.msg, strlen(err.msg), NULL));
                        CHECK(!strchr(err.msg, '?'));
                }
}

TEST(the_text_is_one_clean_line)
{
        struct nb_err err;

        nb_fail(&err, NB_E_INVALID, "a\nb\tc\x1b[31md\xff\xc2\x9b%s", "\x7f.");
        CHECK_STR(err.msg, "a b c [31md?   .");
}

TEST(wrap_goes_in_front)
{
        struct nb_err err;
        int r = nb_fail(&err, NB_E_IO, "no space");

        r = nb_wrap(&err, r, "cannot write %s", "x.db");
        CHECK_INT(r, -NB_E_IO);
        CHECK_STR(err.msg, "cannot write x.db: no space");
        CHECK_INT(nb_wrap(&err, 3, "never"), 3);
        CHECK_STR(err.msg, "cannot write x.db: no space");
}

TEST(the_text_may_quote_itself)
{
        struct nb_err err;

        nb_fail(&err, NB_E_IO, "inner");
        nb_fail(&err, NB_E_REMOTE, "outer <%s>", err.msg);
        CHECK_STR(err.msg, "outer <inner>");
        nb_fail_errno(&err, ENOENT, "again <%s>", err.msg);
        CHECK_STR(err.msg, "again <outer <inner>>: No such file or directory");
        nb_wrap(&err, -1, "(%s)", "x");
        CHECK(nb_starts_with(err.msg, "(x): again"));
}

TEST(every_class_has_a_policy)
{
        for (int i = 0; i < NB_E__COUNT; i++) {
                const struct nb_errc_policy *p = nb_errc_policy((enum nb_errc)i);
                CHECK(p && p->name && p->name[0]);
                CHECK(p->http >= 200 && p->http < 600);
                CHECK(p->syslog >= 0 && p->syslog <= 7);
                for (int k = 0; k < i; k++)
                        CHECK(!nb_streq(p->name, nb_errc_policy((enum nb_errc)k)->name));
        }
        CHECK_INT(nb_errc_policy(NB_E_DENIED)->http, 401);
        CHECK_INT(nb_errc_policy(NB_E_LIMIT)->http, 413);
        CHECK(nb_errc_policy(NB_E_REMOTE)->retry);
        CHECK(!nb_errc_policy(NB_E_INVALID)->retry);
}

TEST(a_broken_contract_aborts)
{
        int status, out[2];
        char text[256] = "";
        ssize_t n;
        pid_t pid;

        CHECK(pipe(out) == 0);
        pid = fork();
        if (pid == 0) {
                signal(SIGABRT, SIG_DFL);
                dup2(out[1], STDERR_FILENO);
                nb_assert(1 + 1 == 3);
                _exit(0);
        }
        close(out[1]);
        n = read(out[0], text, sizeof(text) - 1);
        close(out[0]);
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        CHECK(n > 0 && strstr(text, "1 + 1 == 3") && strstr(text, "test-err.c:"));
}

NBTEST_MAIN()
