/* SPDX-License-Identifier: Apache-2.0 */

/* env-look.c - ask an interpreter of Python what a notebook needs */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nbcid/buf.h>
#include <nbcid/clock.h>
#include <nbcid/embed.h>
#include <nbcid/num.h>

#include "app.h"

#define ANSWER_MAX ((size_t)4 * 1024 * 1024)
#define PATIENCE_US (60 * NB_US_PER_S)

extern const struct nb_embed embed_env[];

/* All that comes until the end; -NB_E_TIMEOUT when that does not come. */
static int read_answer(int fd, struct nb_buf *ret, struct nb_err *err)
{
        uint64_t until = nb_mono_us(&nb_clock_real) + PATIENCE_US;

        for (;;) {
                struct pollfd p = {.fd = fd, .events = POLLIN};
                uint64_t now = nb_mono_us(&nb_clock_real);
                ssize_t n;

                if (now >= until)
                        return nb_fail(err, NB_E_TIMEOUT, "no answer within a minute");
                if (poll(&p, 1, (int)((until - now) / NB_US_PER_MS) + 1) <= 0)
                        continue;
                if (nb_buf_reserve(ret, 65536) < 0)
                        return nb_fail(err, NB_E_LIMIT, "an answer of over %zu bytes", ret->max);
                n = read(fd, ret->data + ret->len, 65536);
                if (n < 0 && errno != EINTR)
                        return nb_fail_errno(err, errno, "pipe");
                if (n == 0)
                        return 0;
                if (n > 0) {
                        ret->len += (size_t)n;
                        ret->data[ret->len] = '\0';
                }
        }
}

static int start(const char *const *argv, int *ret_fd, pid_t *ret_pid, struct nb_err *err)
{
        nb_auto_fd int from = -1, to = -1;
        posix_spawn_file_actions_t fa;
        int p[2], r;

        if (pipe2(p, O_CLOEXEC) < 0)
                return nb_fail_errno(err, errno, "pipe");
        from = p[0];
        to = p[1];
        if (posix_spawn_file_actions_init(&fa) != 0)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        (void)posix_spawn_file_actions_addopen(&fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        (void)posix_spawn_file_actions_adddup2(&fa, to, STDOUT_FILENO);
        r = posix_spawnp(ret_pid, argv[0], &fa, NULL, (char *const *)(uintptr_t)argv, environ);
        posix_spawn_file_actions_destroy(&fa);
        if (r != 0)
                return nb_fail_errno(err, r, "%s", argv[0]);
        *ret_fd = NB_TAKE_FD(from);
        return 0;
}

int env_look(const char *python, const char *path, struct nb_json_tree **ret, struct nb_err *err)
{
        const struct nb_json_limits limits = {.bytes = ANSWER_MAX, .depth = 64};
        const char *const argv[] = {
                python ? python : "python3", "-c", (const char *)embed_env[0].data,
                python ? "given" : "choose", path, NULL};
        nb_auto_buf answer = NB_BUF(ANSWER_MAX);
        nb_auto_fd int fd = -1;
        int status = -1, r;
        pid_t pid;

        r = start(argv, &fd, &pid, err);
        if (r < 0)
                return r;
        r = read_answer(fd, &answer, err);
        if (r < 0)
                (void)kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (r < 0)
                return nb_wrap(err, r, "%s", argv[0]);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                return nb_fail(err, NB_E_REMOTE, "%s could not look at it; it says why above",
                               argv[0]);
        r = nb_json_read(nb_buf_str(&answer), answer.len, &limits, ret, NULL, err);
        return r < 0 ? nb_wrap(err, r, "what %s says", argv[0]) : 0;
}
