/* SPDX-License-Identifier: Apache-2.0 */

/* process.c - the daemon's side of a helper that stays for a whole push */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <nbcid/clock.h>
#include <nbcid/sandbox.h>
#include <nbcid/spawn.h>
#include <nbcid/str.h>

#include "check-priv.h"

static int argv_make(const struct process_opts *o, struct nb_strv *ret)
{
        int r = nb_strv_add(ret, "nbcid");

        r |= nb_strv_add(ret, "syntax-helper");
        r |= nb_strv_add(ret, o->mode);
        r |= nb_strv_add(ret, o->python);
        r |= nb_strv_add(ret, sandbox_kind_name(o->sandbox));
        r |= nb_strv_add_take(ret, nb_asprintf("%llu", (unsigned long long)o->memory_max));
        for (const char *const *h = o->hide; h && *h; h++)
                r |= nb_strv_add(ret, *h);
        return r;
}

static int spawn_helper(const struct process_opts *o, const int fds[3], pid_t *ret,
                        struct nb_err *err)
{
        /* an environment is of pointers to non-const */
        static char path[] = "PATH=" SANDBOX_PATH, home[] = "HOME=/nonexistent",
                    lang[] = "LC_ALL=C.UTF-8";
        char *const env[] = {path, home, lang, NULL};
        NB_CLEANUP(nb_strv_done) struct nb_strv argv = {0};

        if (argv_make(o, &argv) < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory to start the syntax helper");
        return nb_spawn_self("syntax helper", argv.v, env, fds, ret, err);
}

int process_start(const struct process_opts *o, struct process *ret, struct nb_err *err)
{
        nb_auto_fd int ours = -1, theirs = -1, errors = -1, their_errors = -1;
        struct process p = PROCESS_NONE;
        int pair[2], r;

        /* A socket, so that a helper that died is EPIPE and not SIGPIPE. */
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return nb_fail_errno(err, errno, "cannot make a socket for the syntax helper");
        ours = pair[0];
        theirs = pair[1];
        if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
                return nb_fail_errno(err, errno, "cannot make a pipe for the syntax helper");
        errors = pair[0];
        their_errors = pair[1];
        r = spawn_helper(o, (const int[]){theirs, theirs, their_errors}, &p.pid, err);
        if (r < 0)
                return r;
        p.fd = NB_TAKE_FD(ours);
        p.errors = NB_TAKE_FD(errors);
        *ret = p;
        return 0;
}

void process_stop(struct process *p)
{
        int status;

        if (p->pid > 0) {
                (void)kill(-p->pid, SIGKILL);
                while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
                        ;
        }
        nb_closep(&p->fd);
        nb_closep(&p->errors);
        *p = PROCESS_NONE;
}

/* The last of what it says on standard error; the rest is read and forgotten. */
static void hear(struct process *p)
{
        char chunk[256];
        ssize_t n;

        while ((n = read(p->errors, chunk, sizeof(chunk))) > 0) {
                size_t have = strlen(p->words), room = sizeof(p->words) - 1;

                if (have + (size_t)n > room) {
                        size_t drop = have + (size_t)n - room;

                        memmove(p->words, p->words + drop, have - drop + 1);
                        have -= drop;
                }
                for (ssize_t i = 0; i < n; i++)
                        p->words[have++] = chunk[i] ? chunk[i] : ' ';
                p->words[have] = '\0';
        }
        if (n == 0) {
                nb_closep(&p->errors);
                p->errors = -1;
        }
}

/* The last line that it said. */
static int ended(struct process *p, struct nb_err *err)
{
        char *last = p->words;

        if (p->errors >= 0)
                hear(p);
        for (size_t n = strlen(last); n > 0 && last[n - 1] == '\n'; n--)
                last[n - 1] = '\0';
        for (char *s = p->words; *s; s++)
                if (*s == '\n' && s[1])
                        last = s + 1;
        return nb_fail(err, NB_E_REMOTE, "the process that parses it ended: %.300s",
                       *last ? last : "it said nothing, perhaps because memory ran out");
}

/* 1: the answer is whole, 0: not yet. */
static int receive(struct process *p, struct nb_buf *answer, struct nb_err *err)
{
        char chunk[16384];
        ssize_t n = recv(p->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0)
                return ended(p, err);
        if (nb_buf_append(answer, chunk, (size_t)n) < 0)
                return nb_fail(err, NB_E_LIMIT,
                               "the answer of the process that parses it is over "
                               "%zu bytes",
                               answer->max);
        return answer->data[answer->len - 1] == '\n';
}

static int transmit(struct process *p, const struct nb_buf *request, size_t *sent,
                    struct nb_err *err)
{
        ssize_t n = send(p->fd, request->data + *sent, request->len - *sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno != EAGAIN && errno != EINTR)
                return ended(p, err);
        if (n > 0)
                *sent += (size_t)n;
        return 0;
}

int process_ask(struct process *p, const struct nb_buf *request, uint64_t timeout_us,
                struct nb_buf *answer, struct nb_err *err)
{
        const uint64_t deadline = nb_mono_us(&nb_clock_real) + timeout_us;
        size_t sent = 0;
        int r = 0;

        for (;;) {
                const uint64_t now = nb_mono_us(&nb_clock_real);
                struct pollfd fds[2] = {
                        {.fd = p->fd,
                         .events = (short)(POLLIN | (sent < request->len ? POLLOUT : 0))},
                        {.fd = p->errors, .events = POLLIN}};

                if (now >= deadline)
                        return nb_fail(err, NB_E_TIMEOUT,
                                       "syntax not checked: took longer than "
                                       "%.1f s",
                                       (double)timeout_us / 1e6);
                if (poll(fds, 2, (int)((deadline - now) / 1000 % 1000000) + 1) < 0 &&
                    errno != EINTR)
                        return nb_fail_errno(err, errno, "cannot wait for the syntax helper");
                if (fds[1].revents)
                        hear(p);
                if (fds[0].revents & POLLOUT)
                        r = transmit(p, request, &sent, err);
                if (r == 0 && fds[0].revents & (POLLIN | POLLHUP | POLLERR))
                        r = receive(p, answer, err);
                if (r != 0)
                        return r < 0 ? r : 0;
        }
}
