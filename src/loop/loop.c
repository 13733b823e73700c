/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/loop.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#include "pool.h"

/* Timers may be late by this much, so that neighbours share a wake-up. */
#define TIMER_ACCURACY_US 1000

struct loop {
        sd_event *event;
        struct pool *pool;
        struct loop_source *pool_waker;
        unsigned n_sources;
        uint64_t n_dispatched;
        bool in_step, exit;
};

struct loop_source {
        struct loop *loop;
        sd_event_source *source;
        int eventfd; /* a waker's, else -1 */
        union {
                void (*io)(void *arg, int fd, uint32_t revents);
                void (*plain)(void *arg);
        } fn;
        void *arg;
};

/*
 * The handlers below touch their source for the last time before they call
 * out: the callback may free it.  sd-event itself holds what it dispatches.
 * They answer 0, because a negative answer would switch the source off.
 */

static int on_io(sd_event_source *e, int fd, uint32_t revents, void *userdata)
{
        struct loop_source *s = userdata;

        s->loop->n_dispatched++;
        s->fn.io(s->arg, fd, revents);
        return 0;
}

static int on_plain_io(sd_event_source *e, int fd, uint32_t revents, void *userdata)
{
        struct loop_source *s = userdata;

        s->loop->n_dispatched++;
        s->fn.plain(s->arg);
        return 0;
}

static int on_waker(sd_event_source *e, int fd, uint32_t revents, void *userdata)
{
        struct loop_source *s = userdata;
        uint64_t n;

        /* Taken down before fn looks, so that a wake during fn is not lost. */
        if (read(fd, &n, sizeof(n)) < 0)
                return 0;
        s->loop->n_dispatched++;
        s->fn.plain(s->arg);
        return 0;
}

static int on_time(sd_event_source *e, uint64_t usec, void *userdata)
{
        struct loop_source *s = userdata;

        s->loop->n_dispatched++;
        s->fn.plain(s->arg);
        return 0;
}

static int on_defer(sd_event_source *e, void *userdata)
{
        struct loop_source *s = userdata;

        s->loop->n_dispatched++;
        s->fn.plain(s->arg);
        return 0;
}

static void on_pool(void *arg)
{
        struct loop *l = arg;

        pool_reap(l->pool);
}

int loop_new(unsigned threads, struct loop **ret, struct nb_err *err)
{
        NB_CLEANUP(loop_freep) struct loop *l = calloc(1, sizeof(*l));
        int r;

        if (!l)
                return nb_fail(err, NB_E_NOMEM, "no memory for an event loop");
        r = sd_event_new(&l->event);
        if (r < 0)
                return nb_fail_errno(err, -r, "cannot make an event loop");
        r = loop_waker(l, on_pool, l, &l->pool_waker, err);
        if (r < 0)
                return r;
        r = pool_new(threads, l->pool_waker, &l->pool, err);
        if (r < 0)
                return r;
        *ret = NB_TAKE(l);
        return 0;
}

struct loop *loop_free(struct loop *l)
{
        if (!l)
                return NULL;
        nb_assert(!l->in_step);
        if (l->pool)
                pool_drain(l->pool);
        l->pool = pool_free(l->pool);
        l->pool_waker = loop_source_free(l->pool_waker);
        nb_assert(l->n_sources == 0);
        sd_event_unref(l->event);
        free(l);
        return NULL;
}

int loop_step(struct loop *l, uint64_t timeout_us, struct nb_err *err)
{
        uint64_t before = l->n_dispatched;
        int r;

        nb_assert(!l->in_step);
        l->in_step = true;
        r = sd_event_run(l->event, timeout_us);
        l->in_step = false;
        if (r < 0)
                return nb_fail_errno(err, -r, "the event loop cannot wait");
        return l->n_dispatched != before;
}

int loop_run(struct loop *l, struct nb_err *err)
{
        int r = 0;

        /* A flag of ours, because an sd_event that was told to exit never
         * runs again, and there may be work to wait for. */
        while (!l->exit && r >= 0)
                r = loop_step(l, UINT64_MAX, err);
        l->exit = false;
        return r < 0 ? r : 0;
}

void loop_exit(struct loop *l)
{
        l->exit = true;
}

static struct loop_source *source_new(struct loop *l, void *arg, struct nb_err *err)
{
        struct loop_source *s = malloc(sizeof(*s));

        if (!s) {
                (void)nb_fail(err, NB_E_NOMEM, "no memory for an event source");
                return NULL;
        }
        *s = (struct loop_source){.loop = l, .eventfd = -1, .arg = arg};
        l->n_sources++;
        return s;
}

struct loop_source *loop_source_free(struct loop_source *s)
{
        if (!s)
                return NULL;
        sd_event_source_disable_unref(s->source);
        if (s->eventfd >= 0)
                (void)close(s->eventfd);
        s->loop->n_sources--;
        free(s);
        return NULL;
}

int loop_io(struct loop *l, int fd, uint32_t events,
            void (*fn)(void *arg, int fd, uint32_t revents), void *arg, struct loop_source **ret,
            struct nb_err *err)
{
        NB_CLEANUP(loop_source_freep) struct loop_source *s = source_new(l, arg, err);
        int r;

        if (!s)
                return -NB_E_NOMEM;
        s->fn.io = fn;
        r = sd_event_add_io(l->event, &s->source, fd, events, on_io, s);
        if (r < 0)
                return nb_fail_errno(err, -r, "cannot watch descriptor %d", fd);
        *ret = NB_TAKE(s);
        return 0;
}

int loop_io_events(struct loop_source *s, uint32_t events, struct nb_err *err)
{
        int r = sd_event_source_set_io_events(s->source, events);

        if (r < 0)
                return nb_fail_errno(err, -r, "cannot watch descriptor %d for other events",
                                     sd_event_source_get_io_fd(s->source));
        return 0;
}

int loop_timer(struct loop *l, void (*fn)(void *arg), void *arg, struct loop_source **ret,
               struct nb_err *err)
{
        NB_CLEANUP(loop_source_freep) struct loop_source *s = source_new(l, arg, err);
        int r;

        if (!s)
                return -NB_E_NOMEM;
        s->fn.plain = fn;
        r = sd_event_add_time(l->event, &s->source, CLOCK_MONOTONIC, UINT64_MAX, TIMER_ACCURACY_US,
                              on_time, s);
        if (r < 0)
                return nb_fail_errno(err, -r, "cannot make a timer");
        loop_timer_arm(s, UINT64_MAX);
        *ret = NB_TAKE(s);
        return 0;
}

void loop_timer_arm(struct loop_source *s, uint64_t in_us)
{
        uint64_t at;
        int r;

        /* sd_event_source_set_time_relative() counts from when the round
         * began, which may be long ago: timers would fire early. */
        if (__builtin_add_overflow(nb_mono_us(&nb_clock_real), in_us, &at))
                at = UINT64_MAX;
        r = sd_event_source_set_time(s->source, at);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->source,
                                                at == UINT64_MAX ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
        nb_assert(r >= 0); /* fails for no timer, or after fork() only */
}

int loop_pidfd(struct loop *l, int pidfd, void (*fn)(void *arg), void *arg,
               struct loop_source **ret, struct nb_err *err)
{
        NB_CLEANUP(loop_source_freep) struct loop_source *s = source_new(l, arg, err);
        int r;

        if (!s)
                return -NB_E_NOMEM;
        s->fn.plain = fn;
        /* Plain input and not sd_event_add_child_pidfd(), which reaps with
         * waitid() and hence knows nothing of processes that are not ours:
         * those adopted after a restart. */
        r = sd_event_add_io(l->event, &s->source, pidfd, EPOLLIN, on_plain_io, s);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->source, SD_EVENT_ONESHOT);
        if (r < 0)
                return nb_fail_errno(err, -r, "cannot watch process descriptor %d", pidfd);
        *ret = NB_TAKE(s);
        return 0;
}

int loop_defer(struct loop *l, void (*fn)(void *arg), void *arg, struct loop_source **ret,
               struct nb_err *err)
{
        NB_CLEANUP(loop_source_freep) struct loop_source *s = source_new(l, arg, err);
        int r;

        if (!s)
                return -NB_E_NOMEM;
        s->fn.plain = fn;
        r = sd_event_add_defer(l->event, &s->source, on_defer, s); /* born as a one-shot */
        if (r < 0)
                return nb_fail_errno(err, -r, "cannot defer a call");
        *ret = NB_TAKE(s);
        return 0;
}

int loop_waker(struct loop *l, void (*fn)(void *arg), void *arg, struct loop_source **ret,
               struct nb_err *err)
{
        NB_CLEANUP(loop_source_freep) struct loop_source *s = source_new(l, arg, err);
        int r;

        if (!s)
                return -NB_E_NOMEM;
        s->fn.plain = fn;
        s->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s->eventfd < 0)
                return nb_fail_errno(err, errno, "cannot make an eventfd");
        r = sd_event_add_io(l->event, &s->source, s->eventfd, EPOLLIN, on_waker, s);
        if (r < 0)
                return nb_fail_errno(err, -r, "cannot watch an eventfd");
        *ret = NB_TAKE(s);
        return 0;
}

void loop_wake(struct loop_source *waker)
{
        static const uint64_t one = 1;
        int saved = errno;

        /* The one failure is a full counter, and then a wake is due anyway. */
        if (write(waker->eventfd, &one, sizeof(one)) < 0)
                errno = saved;
}

int loop_submit(struct loop *l, struct loop_work *w, struct nb_err *err)
{
        return pool_submit(l->pool, w, err);
}

unsigned loop_work_pending(const struct loop *l)
{
        return pool_pending(l->pool);
}
