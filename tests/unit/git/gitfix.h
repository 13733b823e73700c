/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gitfix.h - real repositories for the tests of room git
 *
 * The test program is its own git helper: git_call() starts /proc/self/exe
 * with "git-helper", which GITFIX_MAIN() answers.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <nbcid/clock.h>
#include <nbcid/fs.h>
#include <nbcid/git.h>
#include <nbcid/num.h>

#include "nbtest.h"

#define UNUSED __attribute__((unused))
#define ZEROS "0000000000000000000000000000000000000000"

/* What git does here depends on nothing of this host. */
UNUSED static void gitfix_env(void)
{
        static const char *const set[][2] = {
                {"GIT_CONFIG_NOSYSTEM", "1"},     {"GIT_CONFIG_GLOBAL", "/dev/null"},
                {"GIT_AUTHOR_NAME", "A"},         {"GIT_AUTHOR_EMAIL", "a@example.org"},
                {"GIT_COMMITTER_NAME", "A"},      {"GIT_COMMITTER_EMAIL", "a@example.org"},
                {"GIT_CONFIG_COUNT", "3"},        {"GIT_CONFIG_KEY_0", "init.defaultBranch"},
                {"GIT_CONFIG_VALUE_0", "main"},   {"GIT_CONFIG_KEY_1", "protocol.file.allow"},
                {"GIT_CONFIG_VALUE_1", "always"}, {"GIT_CONFIG_KEY_2", "advice.detachedHead"},
                {"GIT_CONFIG_VALUE_2", "false"},
        };
        for (size_t i = 0; i < sizeof(set) / sizeof(set[0]); i++)
                setenv(set[i][0], set[i][1], 1);
}

#define GITFIX_MAIN() \
        int main(int argc, char **argv) \
        { \
                if (argc == 2 && strcmp(argv[1], "git-helper") == 0) \
                        return git_helper_main(0, 1); \
                gitfix_env(); \
                return nbtest_run(argc, argv); \
        }

/* Owned by the program until its end: tests make few. */
UNUSED static const char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
UNUSED static const char *text(const char *fmt, ...)
{
        static char ring[128][4096];
        static unsigned at;
        char *p = ring[at++ % 128];
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(p, sizeof(ring[0]), fmt, ap);
        va_end(ap);
        return p;
}

/* A path in the private directory. */
#define AT(...) text("%s/%s", nbtest_tmpdir(), text(__VA_ARGS__))

/* Run a script in a directory of the private one (made when absent); its first
 * line of output is answered. */
UNUSED static const char *sh(const char *dir, const char *script)
{
        static char ring[256][512];
        static unsigned at;
        char *line = ring[at++ % 256];
        const char *cmd = text("mkdir -p '%s' && cd '%s' && set -e\n%s", AT("%s", dir),
                               AT("%s", dir), script);
        FILE *f = popen(cmd, "r");

        line[0] = '\0';
        if (!f)
                FAIL("popen: %s", strerror(errno));
        if (!fgets(line, sizeof(ring[0]), f))
                line[0] = '\0';
        while (fgetc(f) != EOF)
                ;
        if (pclose(f) != 0)
                FAIL("in %s: %s", dir, script);
        line[strcspn(line, "\n")] = '\0';
        return line;
}

/* Commit all of a work tree and answer the new commit. */
UNUSED static const char *commit(const char *dir, const char *title)
{
        return sh(dir, text("git add -A && git commit -q --allow-empty -m '%s' && "
                            "git rev-parse HEAD",
                            title));
}

UNUSED static bool exists(const char *path)
{
        struct stat st;

        return lstat(path, &st) == 0;
}

/* Content of a file, or NULL; one at a time. */
UNUSED static const char *slurp(const char *path)
{
        static char data[65536];
        FILE *f = fopen(path, "re");
        size_t n;

        if (!f)
                return NULL;
        n = fread(data, 1, sizeof(data) - 1, f);
        fclose(f);
        data[n] = '\0';
        return data;
}

UNUSED static const struct git_limits fix_limits = {.timeout_us = 60 * NB_US_PER_S,
                                                    .max_receive = 64 << 20,
                                                    .max_checkout = 64 << 20,
                                                    .max_blob = 1 << 20};

/* Requests with everything a test does not care about. */
UNUSED static struct git_request prepare_of(const char *name, const char *url, const char *id)
{
        return (struct git_request){
                .op = GIT_PREPARE,
                .mirror = AT("mirrors/%s.git", name),
                .remote = {.url = url},
                .limits = fix_limits,
                .commit = id,
                .ref = "refs/heads/main",
                .before = "",
                .default_branch = "main",
                .extract_dir = AT("extract-%s", name),
        };
}

UNUSED static struct git_request checkout_of(const char *name, const char *url, const char *id)
{
        return (struct git_request){
                .op = GIT_CHECKOUT,
                .mirror = AT("mirrors/%s.git", name),
                .remote = {.url = url},
                .limits = fix_limits,
                .commit = id,
                .workspace = AT("workspaces/%s", name),
        };
}

UNUSED static const struct git_changed *changed(const struct git_answer *a, const char *path)
{
        for (size_t i = 0; i < a->n_changed; i++)
                if (strcmp(a->changed[i].path, path) == 0)
                        return &a->changed[i];
        FAIL("%s is not among the %zu changed notebooks", path, a->n_changed);
}

#define CHECK_CHANGE(a, path, kind) \
        CHECK_STR(git_change_name(changed((a), (path))->change), git_change_name(kind))

/* Does some warning contain part? */
UNUSED static bool warned(const struct git_answer *a, const char *part)
{
        for (size_t i = 0; i < a->warnings.n; i++)
                if (strstr(a->warnings.v[i], part))
                        return true;
        for (size_t i = 0; i < a->warnings.n; i++)
                printf("# warning: %s\n", a->warnings.v[i]);
        return false;
}

/* ---- tests/fakes/git_http_server.py ---- */

struct http_server {
        pid_t pid;
        int hold; /* its standard input: closed with us, it ends */
        unsigned port;
        const char *log, *mode;
};

UNUSED static struct http_server server_start(const char *name, const char *user,
                                              const char *password, const char *more)
{
        struct http_server s = {.log = AT("%s.log", name), .mode = AT("%s.mode", name)};
        const char *root = getenv("NBCID_SOURCE_ROOT");
        int in[2], out[2];
        char line[64] = "";

        if (!root || pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
                FAIL("NBCID_SOURCE_ROOT is not set, or no pipes");
        s.log = strdup(s.log);
        s.mode = strdup(s.mode);
        const char *cmd = text("exec python3 '%s/tests/fakes/git_http_server.py' --stdin --root "
                               "'%s' --log '%s' --mode-file '%s' %s",
                               root, nbtest_tmpdir(), s.log, s.mode, more);
        fflush(stdout);
        s.pid = fork();
        if (s.pid == 0) {
                dup2(in[0], 0);
                dup2(out[1], 1);
                if (user) {
                        setenv("GIT_HTTP_USER", user, 1);
                        setenv("GIT_HTTP_PASSWORD", password, 1);
                }
                execl("/bin/sh", "sh", "-c", cmd, (char *)NULL);
                _exit(127);
        }
        close(in[0]);
        close(out[1]);
        s.hold = in[1];
        FILE *f = fdopen(out[0], "r");
        if (!f || !fgets(line, sizeof(line), f) || sscanf(line, "port %u", &s.port) != 1)
                FAIL("the git server does not start");
        fclose(f);
        return s;
}

UNUSED static void server_mode(const struct http_server *s, const char *mode)
{
        FILE *f = fopen(s->mode, "we");

        if (!f)
                FAIL("%s", s->mode);
        fputs(mode, f);
        fclose(f);
}

UNUSED static void server_stop(struct http_server *s)
{
        int status;

        close(s->hold);
        waitpid(s->pid, &status, 0);
        free((void *)(uintptr_t)s->log);
        free((void *)(uintptr_t)s->mode);
}
