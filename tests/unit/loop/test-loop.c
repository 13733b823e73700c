/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <nbtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <nbcid/loop.h>
#include <nbcid/num.h>

/* Far more than anything here takes; reaching it is a failure. */
#define PATIENCE (20 * NB_US_PER_S)

static uint64_t now(void)
{
        return nb_mono_us(&nb_clock_real);
}

/* Step until *flag is at least want. */
static void step_until(struct loop *l, const int *flag, int want)
{
        uint64_t end = now() + PATIENCE;
        struct nb_err err;

        while (*flag < want) {
                CHECK(now() < end);
                CHECK_OK(loop_step(l, PATIENCE, &err), &err);
        }
}

/* Dispatch all that is ready without waiting. */
static void step_dry(struct loop *l)
{
        struct nb_err err;
        int r;

        do {
                r = loop_step(l, 0, &err);
                CHECK_OK(r, &err);
        } while (r > 0);
}

struct probe {
        struct loop *loop;
        struct loop_source *source, *other;
        int calls, fd;
        uint32_t revents;
        uint64_t at;
};

static void count(void *arg)
{
        struct probe *p = arg;

        p->calls++;
        p->at = now();
}

static void count_io(void *arg, int fd, uint32_t revents)
{
        struct probe *p = arg;

        p->calls++;
        p->fd = fd;
        p->revents = revents;
}

static void free_self_io(void *arg, int fd, uint32_t revents)
{
        struct probe *p = arg;

        p->calls++;
        p->source = loop_source_free(p->source);
}

static void free_both_io(void *arg, int fd, uint32_t revents)
{
        struct probe *p = arg;

        p->calls++;
        p->source = loop_source_free(p->source);
        p->other = loop_source_free(p->other);
}

static void free_self(void *arg)
{
        struct probe *p = arg;

        p->calls++;
        p->source = loop_source_free(p->source);
}

static void make_pipe(int fds[2])
{
        CHECK(pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
}

TEST(io_tells_what_is_ready)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct probe p = {0};
        struct nb_err err;
        int fds[2], again[2];
        char c;

        make_pipe(fds);
        CHECK_OK(loop_new(1, &l, &err), &err);
        CHECK_OK(loop_io(l, fds[0], EPOLLIN, count_io, &p, &p.source, &err), &err);
        CHECK_INT(loop_step(l, 1000, &err), 0);
        CHECK(write(fds[1], "x", 1) == 1);
        CHECK_INT(loop_step(l, PATIENCE, &err), 1);
        CHECK_INT(p.calls, 1);
        CHECK_INT(p.fd, fds[0]);
        CHECK(p.revents & EPOLLIN);
        CHECK(read(fds[0], &c, 1) == 1);
        CHECK_INT(loop_step(l, 0, &err), 0);

        /* no events: silent; the end of the other side is told all the same */
        CHECK_OK(loop_io_events(p.source, 0, &err), &err);
        CHECK(write(fds[1], "x", 1) == 1);
        CHECK_INT(loop_step(l, 1000, &err), 0);
        CHECK_OK(loop_io_events(p.source, EPOLLIN, &err), &err);
        CHECK_INT(loop_step(l, PATIENCE, &err), 1);
        CHECK_INT(p.calls, 2);

        CHECK_ERR(loop_io(l, fds[0], EPOLLIN, count_io, &p, &p.other, &err), &err, NB_E_CONFLICT,
                  "descriptor");
        CHECK(!p.other);
        p.source = loop_source_free(p.source);
        close(fds[0]);
        close(fds[1]);
        make_pipe(again); /* same numbers, nothing left of the old source */
        CHECK_OK(loop_io(l, again[1], EPOLLOUT, count_io, &p, &p.source, &err), &err);
        CHECK_INT(loop_step(l, PATIENCE, &err), 1);
        CHECK(p.revents & EPOLLOUT);
        loop_source_free(p.source);
        close(again[0]);
        close(again[1]);
}

TEST(a_bad_descriptor_is_refused)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct probe p = {0};
        struct nb_err err;
        int fds[2];

        make_pipe(fds);
        close(fds[0]);
        close(fds[1]);
        CHECK_OK(loop_new(1, &l, &err), &err);
        CHECK_ERR(loop_io(l, fds[0], EPOLLIN, count_io, &p, &p.source, &err), &err, NB_E_IO,
                  "descriptor");
        CHECK_ERR(loop_pidfd(l, fds[0], count, &p, &p.source, &err), &err, NB_E_IO,
                  "process descriptor");
        CHECK(!p.source);
}

TEST(a_source_may_free_itself_and_others)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct probe p = {0}, q = {0};
        struct nb_err err;
        int a[2], b[2];

        make_pipe(a);
        make_pipe(b);
        CHECK(write(a[1], "x", 1) == 1 && write(b[1], "x", 1) == 1);
        CHECK_OK(loop_new(1, &l, &err), &err);
        CHECK_OK(loop_io(l, a[0], EPOLLIN, free_self_io, &p, &p.source, &err), &err);
        step_dry(l);
        CHECK_INT(p.calls, 1);

        /* both are ready; whichever comes first forbids the other */
        CHECK_OK(loop_io(l, a[0], EPOLLIN, free_both_io, &q, &q.source, &err), &err);
        CHECK_OK(loop_io(l, b[0], EPOLLIN, free_both_io, &q, &q.other, &err), &err);
        step_dry(l);
        CHECK_INT(q.calls, 1);

        p.calls = 0;
        CHECK_OK(loop_timer(l, free_self, &p, &p.source, &err), &err);
        loop_timer_arm(p.source, 0);
        step_until(l, &p.calls, 1);
        CHECK_OK(loop_defer(l, free_self, &p, &p.source, &err), &err);
        step_until(l, &p.calls, 2);
        CHECK_OK(loop_waker(l, free_self, &p, &p.source, &err), &err);
        loop_wake(p.source);
        step_until(l, &p.calls, 3);
        CHECK(!p.source);
        for (int i = 0; i < 2; i++) {
                close(a[i]);
                close(b[i]);
        }
}

TEST(timers_fire_in_order_and_once)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct probe soon = {0}, late = {0}, never = {0};
        struct nb_err err;
        uint64_t t0;

        CHECK_OK(loop_new(1, &l, &err), &err);
        CHECK_OK(loop_timer(l, count, &late, &late.source, &err), &err);
        CHECK_OK(loop_timer(l, count, &soon, &soon.source, &err), &err);
        CHECK_OK(loop_timer(l, count, &never, &never.source, &err), &err);
        CHECK_INT(loop_step(l, 0, &err), 0); /* unarmed at birth */
        t0 = now();
        loop_timer_arm(never.source, 1000);
        loop_timer_arm(never.source, UINT64_MAX);
        loop_timer_arm(late.source, 30000);
        loop_timer_arm(soon.source, 10000);
        step_until(l, &late.calls, 1);
        CHECK_INT(soon.calls, 1);
        CHECK(soon.at >= t0 + 10000);
        CHECK(late.at >= t0 + 30000);
        CHECK(late.at > soon.at);
        CHECK_INT(loop_step(l, 40000, &err), 0);
        CHECK_INT(soon.calls, 1);
        CHECK_INT(never.calls, 0);

        loop_timer_arm(soon.source, UINT64_MAX - 1); /* the sum overflows: never */
        CHECK_INT(loop_step(l, 1000, &err), 0);
        loop_timer_arm(soon.source, 0);
        step_until(l, &soon.calls, 2);
        loop_source_free(soon.source);
        loop_source_free(late.source);
        loop_source_free(never.source);
}

static void rearm(void *arg)
{
        struct probe *p = arg;

        if (++p->calls < 3)
                loop_timer_arm(p->source, 1000);
}

TEST(a_timer_rearms_itself)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct probe p = {0};
        struct nb_err err;

        CHECK_OK(loop_new(1, &l, &err), &err);
        CHECK_OK(loop_timer(l, rearm, &p, &p.source, &err), &err);
        loop_timer_arm(p.source, 1000);
        step_until(l, &p.calls, 3);
        CHECK_INT(loop_step(l, 5000, &err), 0);
        loop_source_free(p.source);
}

TEST(a_timer_counts_from_now_and_not_from_the_round)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct probe p = {0};
        struct nb_err err;
        uint64_t t0;

        CHECK_OK(loop_new(1, &l, &err), &err);
        CHECK_OK(loop_timer(l, count, &p, &p.source, &err), &err);
        CHECK_INT(loop_step(l, 0, &err), 0);
        t0 = now();
        while (now() < t0 + 50000)
                ; /* the loop was busy elsewhere */
        t0 = now();
        loop_timer_arm(p.source, 30000);
        step_until(l, &p.calls, 1);
        CHECK(p.at >= t0 + 30000);
        loop_source_free(p.source);
}

TEST(defer_is_called_once_and_later)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct probe p = {0}, forgotten = {0};
        struct nb_err err;

        CHECK_OK(loop_new(1, &l, &err), &err);
        CHECK_OK(loop_defer(l, count, &p, &p.source, &err), &err);
        CHECK_OK(loop_defer(l, count, &forgotten, &forgotten.source, &err), &err);
        CHECK_INT(p.calls, 0);
        loop_source_free(forgotten.source);
        CHECK_INT(loop_step(l, PATIENCE, &err), 1);
        CHECK_INT(p.calls, 1);
        CHECK_INT(loop_step(l, 0, &err), 0);
        CHECK_INT(p.calls, 1);
        CHECK_INT(forgotten.calls, 0);
        loop_source_free(p.source);
}

static void again(void *arg)
{
        struct probe *p = arg;
        struct nb_err err;

        p->calls++;
        loop_source_free(p->source);
        CHECK_OK(loop_defer(p->loop, again, p, &p->source, &err), &err);
}

TEST(a_deferred_call_does_not_starve_descriptors)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct probe p = {0}, io = {0};
        struct nb_err err;
        int fds[2];

        make_pipe(fds);
        CHECK_OK(loop_new(1, &l, &err), &err);
        p.loop = l;
        CHECK_OK(loop_defer(l, again, &p, &p.source, &err), &err);
        CHECK_OK(loop_io(l, fds[0], EPOLLIN, free_self_io, &io, &io.source, &err), &err);
        CHECK(write(fds[1], "x", 1) == 1);
        for (int i = 0; i < 8 && io.calls == 0; i++)
                CHECK_INT(loop_step(l, 0, &err), 1);
        CHECK_INT(io.calls, 1);
        CHECK(p.calls > 0);
        loop_source_free(p.source);
        close(fds[0]);
        close(fds[1]);
}

static void leave(void *arg)
{
        struct probe *p = arg;

        p->calls++;
        loop_exit(p->loop);
}

TEST(run_ends_at_exit_and_runs_again)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct probe p = {0};
        struct nb_err err;

        CHECK_OK(loop_new(1, &l, &err), &err);
        p.loop = l;
        CHECK_OK(loop_timer(l, leave, &p, &p.source, &err), &err);
        for (int i = 1; i <= 3; i++) {
                loop_timer_arm(p.source, 1000);
                CHECK_OK(loop_run(l, &err), &err);
                CHECK_INT(p.calls, i);
        }
        loop_exit(l);
        CHECK_OK(loop_run(l, &err), &err); /* at once */
        CHECK_INT(p.calls, 3);
        loop_source_free(p.source);
}

/* A process that lives until the write end of the pipe is closed. */
static pid_t start_child(int fds[2])
{
        pid_t pid = fork();
        char c;

        CHECK(pid >= 0);
        if (pid > 0) {
                close(fds[0]);
                return pid;
        }
        close(fds[1]);
        (void)!read(fds[0], &c, 1);
        _exit(7);
}

TEST(pidfd_tells_the_end_and_does_not_reap)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct probe p = {0};
        struct nb_err err;
        int fds[2], pidfd, status;
        pid_t pid;

        CHECK(pipe2(fds, O_CLOEXEC) == 0);
        pid = start_child(fds);
        pidfd = pidfd_open(pid, 0);
        CHECK(pidfd >= 0);
        CHECK_OK(loop_new(1, &l, &err), &err);
        CHECK_OK(loop_pidfd(l, pidfd, count, &p, &p.source, &err), &err);
        CHECK_INT(loop_step(l, 2000, &err), 0);
        close(fds[1]);
        step_until(l, &p.calls, 1);
        CHECK_INT(loop_step(l, 2000, &err), 0); /* once, though it is still readable */
        CHECK_INT(waitpid(pid, &status, WNOHANG), pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
        loop_source_free(p.source);
        close(pidfd);
}

TEST(pidfd_tells_of_processes_that_are_not_ours)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct probe p = {0};
        struct nb_err err;
        int hold[2], tell[2], pidfd, status;
        pid_t middle, grandchild = 0;

        CHECK(pipe2(hold, O_CLOEXEC) == 0 && pipe2(tell, O_CLOEXEC) == 0);
        middle = fork();
        CHECK(middle >= 0);
        if (middle == 0) {
                grandchild = start_child(hold);
                (void)!write(tell[1], &grandchild, sizeof(grandchild));
                _exit(0);
        }
        CHECK(read(tell[0], &grandchild, sizeof(grandchild)) == sizeof(grandchild));
        CHECK_INT(waitpid(middle, &status, 0), middle);
        pidfd = pidfd_open(grandchild, 0);
        CHECK(pidfd >= 0);
        CHECK(waitpid(grandchild, &status, WNOHANG) == -1 && errno == ECHILD);
        CHECK_OK(loop_new(1, &l, &err), &err);
        CHECK_OK(loop_pidfd(l, pidfd, free_self, &p, &p.source, &err), &err);
        CHECK_INT(loop_step(l, 2000, &err), 0);
        close(hold[1]);
        step_until(l, &p.calls, 1);
        close(hold[0]);
        close(tell[0]);
        close(tell[1]);
        close(pidfd);
}

struct waking {
        struct loop_source *waker;
        atomic_int sent;
        int seen, calls, wanted;
};

#define WAKES 500

static void *wake_often(void *arg)
{
        struct waking *w = arg;

        for (int i = 0; i < WAKES; i++) {
                atomic_fetch_add(&w->sent, 1);
                loop_wake(w->waker);
        }
        return NULL;
}

static void on_wake(void *arg)
{
        struct waking *w = arg;

        w->calls++;
        w->seen = atomic_load(&w->sent);
}

TEST(wakers_of_several_threads_lose_nothing)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct waking w = {0};
        pthread_t threads[4];
        struct nb_err err;

        CHECK_OK(loop_new(1, &l, &err), &err);
        CHECK_OK(loop_waker(l, on_wake, &w, &w.waker, &err), &err);
        for (int i = 0; i < 4; i++)
                CHECK(pthread_create(&threads[i], NULL, wake_often, &w) == 0);
        step_until(l, &w.seen, 4 * WAKES);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        step_dry(l);
        CHECK(w.calls >= 1 && w.calls <= 4 * WAKES + 1);
        w.calls = 0;
        loop_wake(w.waker);
        loop_wake(w.waker);
        step_dry(l);
        CHECK_INT(w.calls, 1); /* any number of wakes is one call */
        loop_source_free(w.waker);
}

static struct loop_source *signal_waker;

static void on_signal(int sig)
{
        errno = EXDEV;
        loop_wake(signal_waker);
        if (errno != EXDEV)
                _exit(99);
}

TEST(a_signal_handler_may_wake)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct sigaction sa = {.sa_handler = on_signal}, old;
        struct probe p = {0};
        struct nb_err err;

        CHECK_OK(loop_new(1, &l, &err), &err);
        CHECK_OK(loop_waker(l, count, &p, &signal_waker, &err), &err);
        CHECK(sigaction(SIGUSR1, &sa, &old) == 0);
        CHECK(raise(SIGUSR1) == 0);
        step_until(l, &p.calls, 1);
        CHECK(sigaction(SIGUSR1, &old, NULL) == 0);
        loop_source_free(signal_waker);
}

TEST(a_source_left_behind_is_a_broken_contract)
{
        int status;
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0) {
                struct loop_source *s = NULL;
                struct loop *l = NULL;

                (void)prctl(PR_SET_DUMPABLE, 0);
                (void)close(STDERR_FILENO);
                if (loop_new(1, &l, NULL) == 0 && loop_timer(l, count, NULL, &s, NULL) == 0)
                        loop_free(l);
                _exit(0);
        }
        CHECK_INT(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

NBTEST_MAIN()
