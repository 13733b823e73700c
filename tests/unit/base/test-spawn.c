/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/spawn.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <nbcid/fs.h>
#include <nbcid/mem.h>

#include "nbtest.h"

TEST(a_helper_starts_with_nothing_of_ours)
{
        static char sh[] = "sh", c[] = "-c",
                    script[] = "echo \"$A:$HOME:$(pwd)\"; kill -s TERM $$; echo blocked",
                    a[] = "A=1";
        char *const argv[] = {sh, c, script, NULL}, *const env[] = {a, NULL};
        NB_CLEANUP(nb_closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        struct nb_err err = {0};
        char said[256] = "";
        sigset_t term;
        pid_t pid = 0;
        int p[2], status = 0;
        ssize_t n;

        CHECK(setenv("NBCID_SELF", "/bin/sh", 1) == 0);
        CHECK(pipe2(p, O_CLOEXEC) == 0);
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        CHECK(sigprocmask(SIG_BLOCK, &term, NULL) == 0);
        CHECK_OK(nb_spawn_self("test helper", argv, env, (const int[]){null, p[1], null}, &pid,
                               &err),
                 &err);
        close(p[1]);
        n = read(p[0], said, sizeof(said) - 1);
        CHECK(n > 0);
        CHECK_INT(getpgid(pid), pid);
        CHECK(waitpid(pid, &status, 0) == pid);
        close(p[0]);
        CHECK_STR(said, "1::/\n");
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

TEST(a_descriptor_without_cloexec_stays_here)
{
        static char sh[] = "sh", c[] = "-c", script[] = "test ! -e /proc/self/fd/100";
        char *const argv[] = {sh, c, script, NULL}, *const env[] = {NULL};
        NB_CLEANUP(nb_closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        struct nb_err err = {0};
        pid_t pid = 0;
        int status = 0;

        CHECK(setenv("NBCID_SELF", "/bin/sh", 1) == 0);
        CHECK_INT(dup2(null, 100), 100);
        CHECK_OK(nb_spawn_self("test helper", argv, env, (const int[]){null, null, null}, &pid,
                               &err),
                 &err);
        CHECK(waitpid(pid, &status, 0) == pid);
        close(100);
        CHECK_INT(status, 0);
}

TEST(a_binary_that_is_not_there_is_told)
{
        static char x[] = "x";
        char *const argv[] = {x, NULL}, *const env[] = {NULL};
        struct nb_err err = {0};
        pid_t pid = 7;

        CHECK(setenv("NBCID_SELF", "/nonexistent/nbcid", 1) == 0);
        CHECK_INT(nb_spawn_self("test helper", argv, env, (const int[]){0, 1, 2}, &pid, &err),
                  -NB_E_IO);
        CHECK_STR(err.msg,
                  "cannot start the test helper /nonexistent/nbcid: No such file or directory");
        CHECK_INT(pid, 7);
}

NBTEST_MAIN()
