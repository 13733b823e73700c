/* SPDX-License-Identifier: Apache-2.0 */
#include <nbtest.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

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

struct item {
        struct loop_work work; /* first: the pool hands this back */
        struct loop *loop;
        pthread_t loop_thread;
        int *n_done;
        bool in_submit, on_loop_thread, resubmit, ran;
        char name[16];
        bool blocked, faults_open;
        size_t stack;
        atomic_bool *gate;
        int cancelled_seen;
};

static void item_run(struct loop_work *w)
{
        struct item *i = (struct item *)w;
        pthread_attr_t attr;
        sigset_t set;

        i->ran = true;
        i->on_loop_thread = pthread_equal(pthread_self(), i->loop_thread);
        pthread_getname_np(pthread_self(), i->name, sizeof(i->name));
        pthread_sigmask(SIG_BLOCK, NULL, &set);
        i->blocked = sigismember(&set, SIGTERM) == 1 && sigismember(&set, SIGCHLD) == 1 &&
                     sigismember(&set, SIGPIPE) == 1 && sigismember(&set, SIGHUP) == 1;
        i->faults_open = sigismember(&set, SIGSEGV) == 0;
        if (pthread_getattr_np(pthread_self(), &attr) == 0) {
                pthread_attr_getstacksize(&attr, &i->stack);
                pthread_attr_destroy(&attr);
        }
        while (i->gate && !atomic_load(i->gate) && !atomic_load(&w->cancel))
                sched_yield();
        i->cancelled_seen = atomic_load(&w->cancel);
}

static void item_done(struct loop_work *w)
{
        struct item *i = (struct item *)w;
        struct nb_err err;

        CHECK(i->ran && !i->in_submit);
        CHECK(pthread_equal(pthread_self(), i->loop_thread));
        ++*i->n_done;
        if (i->resubmit) {
                i->resubmit = i->ran = false;
                CHECK_OK(loop_submit(i->loop, w, &err), &err);
        }
}

static void item_done_free(struct loop_work *w)
{
        item_done(w);
        free(w);
}

static struct item item(struct loop *l, int *n_done)
{
        return (struct item){.work = {.run = item_run, .done = item_done},
                             .loop = l,
                             .loop_thread = pthread_self(),
                             .n_done = n_done};
}

static void submit(struct loop *l, struct item *i)
{
        struct nb_err err;

        i->in_submit = true;
        CHECK_OK(loop_submit(l, &i->work, &err), &err);
        i->in_submit = false;
}

TEST(pool_threads_are_set_up)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct nb_err err;
        struct item i;
        sigset_t before, after;
        int done = 0;

        CHECK_OK(loop_new(2, &l, &err), &err);
        pthread_sigmask(SIG_BLOCK, NULL, &before);
        i = item(l, &done);
        submit(l, &i);
        pthread_sigmask(SIG_BLOCK, NULL, &after);
        for (int s = 1; s < NSIG; s++)
                CHECK_INT(sigismember(&before, s), sigismember(&after, s));
        CHECK_INT(loop_work_pending(l), 1);
        step_until(l, &done, 1);
        CHECK_INT(loop_work_pending(l), 0);
        CHECK(!i.on_loop_thread);
        CHECK(strncmp(i.name, "nbcid-pool-", 11) == 0);
        CHECK(i.blocked && i.faults_open);
        CHECK(i.stack >= 512 * 1024 && i.stack <= 1024 * 1024);
}

TEST(two_thousand_items_on_four_threads)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct nb_err err;
        int done = 0;

        CHECK_OK(loop_new(4, &l, &err), &err);
        for (int n = 0; n < 2000; n++) {
                struct item *i = malloc(sizeof(*i));
                CHECK(i);
                *i = item(l, &done);
                i->work.done = item_done_free;
                submit(l, i);
                if (n % 100 == 0)
                        step_dry(l);
        }
        step_until(l, &done, 2000);
        CHECK_INT(done, 2000);
        CHECK_INT(loop_work_pending(l), 0);
}

TEST(done_may_submit_again)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct nb_err err;
        struct item i;
        int done = 0;

        CHECK_OK(loop_new(1, &l, &err), &err);
        i = item(l, &done);
        i.resubmit = true;
        submit(l, &i);
        step_until(l, &done, 2);
        CHECK_INT(loop_work_pending(l), 0);
}

TEST(cancel_is_seen_by_run)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        atomic_bool closed = false;
        struct nb_err err;
        struct item i, next;
        int done = 0;

        CHECK_OK(loop_new(1, &l, &err), &err);
        i = item(l, &done);
        next = item(l, &done);
        i.gate = &closed;
        submit(l, &i);
        submit(l, &next); /* behind the first, on the one thread */
        CHECK_INT(loop_step(l, 2000, &err), 0);
        CHECK_INT(loop_work_pending(l), 2);
        atomic_store(&i.work.cancel, true);
        step_until(l, &done, 2);
        CHECK_INT(i.cancelled_seen, 1);
        CHECK_INT(next.cancelled_seen, 0);
}

TEST(loop_free_waits_for_work_in_hand)
{
        NB_CLEANUP(loop_freep) struct loop *l = NULL;
        struct nb_err err;
        struct item items[32];
        int done = 0;

        CHECK_OK(loop_new(3, &l, &err), &err);
        for (size_t n = 0; n < 32; n++) {
                items[n] = item(l, &done);
                items[n].resubmit = n == 5;
                submit(l, &items[n]);
        }
        CHECK_INT(done, 0);
        l = loop_free(l);
        CHECK(!l);
        CHECK_INT(done, 33);
        CHECK(!loop_free(NULL) && !loop_source_free(NULL));
}

NBTEST_MAIN()
