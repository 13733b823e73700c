/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's side: start the helper, hand it the request, wait for the
 * answer, the deadline or the cancel flag, and leave nothing behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <nbcid/clock.h>
#include <nbcid/num.h>
#include <nbcid/spawn.h>
#include <nbcid/str.h>

#include "git-priv.h"

#define STEP_MS 50                   /* how late a cancel flag may be seen */
#define STDERR_MAX ((size_t)4 << 10) /* of the helper's last words */

struct call {
        const struct git_request *r;
        uint64_t deadline;
        pid_t pid;
        int in, out, errors; /* our ends; -1 when done with */
        size_t sent;
        struct nb_buf request, answer, words;
};

static void call_done(struct call *c)
{
        if (c->pid > 0) {
                int status;
                (void)kill(-c->pid, SIGKILL);
                while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
                        ;
        }
        nb_closep(&c->in);
        nb_closep(&c->out);
        nb_closep(&c->errors);
        if (c->request.data)
                nb_wipe(c->request.data, c->request.cap);
        nb_buf_done(&c->request);
        nb_buf_done(&c->answer);
        nb_buf_done(&c->words);
}

/* What the helper sees of our environment: nothing but where trusted
 * certificates are, for hosts with a private authority. */
struct env {
        char *v[6];
        char *file, *dir;
};

static void env_done(struct env *e)
{
        free(e->file);
        free(e->dir);
}

static int env_make(struct env *e, struct nb_err *err)
{
        /* posix_spawn() wants pointers to non-const. */
        static char home[] = "HOME=/nonexistent", path[] = "PATH=/usr/bin:/bin",
                    lang[] = "LC_ALL=C";
        const char *file = secure_getenv("SSL_CERT_FILE"), *dir = secure_getenv("SSL_CERT_DIR");
        size_t n = 0;

        e->v[n++] = home;
        e->v[n++] = path;
        e->v[n++] = lang;
        if (file)
                e->v[n++] = e->file = nb_asprintf("SSL_CERT_FILE=%s", file);
        if (dir)
                e->v[n++] = e->dir = nb_asprintf("SSL_CERT_DIR=%s", dir);
        e->v[n] = NULL;
        return (file && !e->file) || (dir && !e->dir)
                       ? nb_fail(err, NB_E_NOMEM, "no memory to start the git helper")
                       : 0;
}

static int helper_start(struct call *c, const int fds[3], struct nb_err *err)
{
        static char name[] = "nbcid", verb[] = "git-helper";
        char *const argv[] = {name, verb, NULL};
        NB_CLEANUP(env_done) struct env env = {0};
        int r = env_make(&env, err);

        return r < 0 ? r : nb_spawn_self("git helper", argv, env.v, fds, &c->pid, err);
}

static int call_start(struct call *c, struct nb_err *err)
{
        int in[2], out[2] = {-1, -1}, errors[2] = {-1, -1}, r;

        /* A socket, so that a helper that died is EPIPE and not SIGPIPE. */
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) < 0)
                return nb_fail_errno(err, errno, "cannot make a socket for the git helper");
        r = pipe2(out, O_CLOEXEC) < 0 || pipe2(errors, O_CLOEXEC) < 0
                    ? nb_fail_errno(err, errno, "cannot make a pipe for the git helper")
                    : 0;
        if (r == 0)
                r = helper_start(c, (const int[]){in[1], out[1], errors[1]}, err);
        nb_closep(&in[1]);
        nb_closep(&out[1]);
        nb_closep(&errors[1]);
        c->in = in[0];
        c->out = out[0];
        c->errors = errors[0];
        return r;
}

static void send_some(struct call *c)
{
        ssize_t n = send(c->in, c->request.data + c->sent, c->request.len - c->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return;
        if (n > 0)
                c->sent += (size_t)n;
        if (n >= 0 && c->sent < c->request.len)
                return;
        nb_closep(&c->in); /* the end, or the helper is gone: its words say why */
        c->in = -1;
}

/* 1 while there may be more, 0 at the end. */
static int receive_some(int *fd, struct nb_buf *b, bool cut, struct nb_err *err)
{
        char chunk[16384];
        ssize_t n = read(*fd, chunk, sizeof(chunk));

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return 1;
        if (n < 0)
                return nb_fail_errno(err, errno, "cannot read from the git helper");
        if (n == 0) {
                nb_closep(fd);
                *fd = -1;
                return 0;
        }
        if (nb_buf_append(b, chunk, (size_t)n) < 0) {
                if (!cut)
                        return nb_fail(err, NB_E_LIMIT, "the git helper's answer is over %zu bytes",
                                       b->max);
                b->failed = false; /* the first words are kept */
        }
        return 1;
}

static void duration_text(char *buf, size_t size, uint64_t us)
{
        if (us >= 60 * NB_US_PER_S && us % (60 * NB_US_PER_S) == 0)
                nb_fmt(buf, size, "%llu min", (unsigned long long)(us / (60 * NB_US_PER_S)));
        else
                nb_fmt(buf, size, "%.1f s", (double)us / (double)NB_US_PER_S);
}

static int call_check(const struct call *c, struct nb_err *err)
{
        const char *what = c->r->op == GIT_CHECKOUT ? "checkout" : "fetch";
        char text[32];

        if (c->r->cancel && atomic_load(c->r->cancel))
                return nb_fail(err, NB_E_CANCELLED, "git %s was cancelled", what);
        if (nb_mono_us(&nb_clock_real) < c->deadline)
                return 0;
        duration_text(text, sizeof(text), c->r->limits.timeout_us);
        return nb_fail(err, NB_E_TIMEOUT,
                       "git %s of %s took longer than %s; raise [limits] fetch_timeout", what,
                       c->r->remote.url, text);
}

/* Until the helper has closed both of its ends, which a process that ends
 * does. */
static int call_pump(struct call *c, struct nb_err *err)
{
        int r = 0;

        while (r >= 0 && (c->out >= 0 || c->errors >= 0)) {
                struct pollfd p[3] = {{.fd = c->in, .events = POLLOUT},
                                      {.fd = c->out, .events = POLLIN},
                                      {.fd = c->errors, .events = POLLIN}};
                r = call_check(c, err);
                if (r < 0)
                        return r;
                if (poll(p, 3, STEP_MS) < 0 && errno != EINTR)
                        return nb_fail_errno(err, errno, "cannot wait for the git helper");
                if (p[0].revents)
                        send_some(c);
                if (p[1].revents)
                        r = receive_some(&c->out, &c->answer, false, err);
                if (r >= 0 && p[2].revents)
                        r = receive_some(&c->errors, &c->words, true, err);
        }
        return r < 0 ? r : 0;
}

/* It has closed its pipes and has nothing left to do but end. */
static int call_reap(struct call *c, int *ret_status, struct nb_err *err)
{
        for (;;) {
                pid_t pid = waitpid(c->pid, ret_status, WNOHANG);
                if (pid == c->pid) {
                        (void)kill(-c->pid, SIGKILL); /* it has no children; be sure */
                        c->pid = 0;
                        return 0;
                }
                if (pid < 0 && errno != EINTR)
                        return nb_fail_errno(err, errno, "the git helper cannot be waited for");
                int r = call_check(c, err);
                if (r < 0)
                        return r;
                (void)poll(NULL, 0, 1);
        }
}

static int call_judge(struct call *c, int status, struct git_answer *ret, struct nb_err *err)
{
        nb_auto_free char *words = nb_utf8_clean(nb_buf_str(&c->words), c->words.len, true);
        const char *said = words && *words ? words : "it said nothing";

        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
                return nb_fail(err, NB_E_IO,
                               "the git helper was killed, perhaps because memory ran out: %.200s",
                               said);
        /* It reads what a stranger's server sends; a crash is that server's. */
        if (WIFSIGNALED(status))
                return nb_fail(err, NB_E_REMOTE, "the git helper died of signal %d at %s: %.200s",
                               WTERMSIG(status), c->r->remote.url, said);
        if (WEXITSTATUS(status) != 0 || c->answer.len == 0)
                return nb_fail(err, NB_E_BUG, "the git helper ended with status %d: %.200s",
                               WEXITSTATUS(status), said);
        return git_answer_read(nb_buf_str(&c->answer), c->answer.len, ret, err);
}

int git_call(const struct git_request *r, struct git_answer *ret, struct nb_err *err)
{
        NB_CLEANUP(call_done)
        struct call c = {.r = r,
                         .in = -1,
                         .out = -1,
                         .errors = -1,
                         .request = NB_BUF(GIT_REQUEST_MAX - 1),
                         .answer = NB_BUF(GIT_ANSWER_MAX),
                         .words = NB_BUF(STDERR_MAX)};
        struct nb_err own;
        int status = -1, rc;

        if (!err)
                err = &own; /* texts are passed on below */
        c.deadline = nb_mono_us(&nb_clock_real) + r->limits.timeout_us;
        /* In one piece: growing would leave copies of the secrets behind. */
        if (nb_buf_reserve(&c.request, GIT_REQUEST_MAX / 2) < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory for a request to git");
        rc = call_check(&c, err);
        if (rc == 0)
                rc = git_request_write(r, &c.request, err);
        if (rc == 0)
                rc = call_start(&c, err);
        if (rc == 0)
                rc = call_pump(&c, err);
        if (rc == 0)
                rc = call_reap(&c, &status, err);
        return rc < 0 ? rc : call_judge(&c, status, ret, err);
}
