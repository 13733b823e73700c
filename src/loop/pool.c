/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

#include <nbcid/str.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define POOL_STACK_SIZE ((size_t)512 * 1024)

struct work_list {
        struct loop_work *first, *last;
};

struct pool {
        pthread_mutex_t lock;
        pthread_cond_t has_todo, has_ended;
        struct work_list todo, ended; /* under lock */
        bool stop;                    /* under lock */
        /* The rest is the loop thread's own. */
        struct loop_source *waker;
        unsigned pending;
        unsigned threads_wanted, n_threads;
        pthread_t threads[POOL_THREADS_MAX];
};

static void list_push(struct work_list *l, struct loop_work *w)
{
        w->next = NULL;
        if (l->first)
                l->last->next = w;
        else
                l->first = w;
        l->last = w;
}

static struct loop_work *list_pop(struct work_list *l)
{
        struct loop_work *w = l->first;

        if (w)
                l->first = w->next;
        return w;
}

static void *thread_main(void *arg)
{
        struct pool *p = arg;
        struct loop_work *w;

        pthread_mutex_lock(&p->lock);
        for (;;) {
                bool first;

                while (!p->todo.first && !p->stop)
                        pthread_cond_wait(&p->has_todo, &p->lock);
                w = list_pop(&p->todo);
                if (!w)
                        break;
                pthread_mutex_unlock(&p->lock);
                w->run(w);
                pthread_mutex_lock(&p->lock);
                first = !p->ended.first;
                list_push(&p->ended, w);
                if (!first)
                        continue; /* the loop has not yet answered the last wake */
                pthread_cond_signal(&p->has_ended);
                loop_wake(p->waker);
        }
        pthread_mutex_unlock(&p->lock);
        return NULL;
}

/* What the process is told by signal is for the main thread.  A fault of the
 * thread itself is not held back: it would only lose its report. */
static void block_signals(sigset_t *ret_old)
{
        sigset_t all;

        sigfillset(&all);
        sigdelset(&all, SIGSEGV);
        sigdelset(&all, SIGBUS);
        sigdelset(&all, SIGFPE);
        sigdelset(&all, SIGILL);
        pthread_sigmask(SIG_SETMASK, &all, ret_old);
}

/* Start the threads that are missing; fine when there is one at least. */
static int start_threads(struct pool *p, struct nb_err *err)
{
        pthread_attr_t attr;
        sigset_t old;
        int r;

        r = pthread_attr_init(&attr);
        if (r != 0)
                return nb_fail_errno(err, r, "cannot prepare a pool thread");
        r = pthread_attr_setstacksize(&attr, POOL_STACK_SIZE);
        block_signals(&old);
        while (r == 0 && p->n_threads < p->threads_wanted) {
                char name[16];

                r = pthread_create(&p->threads[p->n_threads], &attr, thread_main, p);
                if (r != 0)
                        break;
                (void)nb_fmt(name, sizeof(name), "nbcid-pool-%u", p->n_threads);
                (void)pthread_setname_np(p->threads[p->n_threads], name); /* for ps only */
                p->n_threads++;
        }
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        pthread_attr_destroy(&attr);
        if (p->n_threads == 0)
                return nb_fail_errno(err, r,
                                     "cannot start a pool thread (look at TasksMax= of the unit "
                                     "and at ulimit -u)");
        return 0;
}

int pool_new(unsigned threads, struct loop_source *waker, struct pool **ret, struct nb_err *err)
{
        struct pool *p;

        nb_assert(threads >= 1 && threads <= POOL_THREADS_MAX);
        p = malloc(sizeof(*p));
        if (!p)
                return nb_fail(err, NB_E_NOMEM, "no memory for the thread pool");
        *p = (struct pool){.lock = PTHREAD_MUTEX_INITIALIZER,
                           .has_todo = PTHREAD_COND_INITIALIZER,
                           .has_ended = PTHREAD_COND_INITIALIZER,
                           .waker = waker,
                           .threads_wanted = threads};
        *ret = p;
        return 0;
}

struct pool *pool_free(struct pool *p)
{
        if (!p)
                return NULL;
        nb_assert(p->pending == 0);
        pthread_mutex_lock(&p->lock);
        p->stop = true;
        pthread_cond_broadcast(&p->has_todo);
        pthread_mutex_unlock(&p->lock);
        for (unsigned i = 0; i < p->n_threads; i++)
                pthread_join(p->threads[i], NULL);
        pthread_cond_destroy(&p->has_ended);
        pthread_cond_destroy(&p->has_todo);
        pthread_mutex_destroy(&p->lock);
        free(p);
        return NULL;
}

int pool_submit(struct pool *p, struct loop_work *w, struct nb_err *err)
{
        if (p->n_threads < p->threads_wanted) {
                int r = start_threads(p, err);
                if (r < 0)
                        return r;
        }
        p->pending++;
        pthread_mutex_lock(&p->lock);
        list_push(&p->todo, w);
        pthread_cond_signal(&p->has_todo);
        pthread_mutex_unlock(&p->lock);
        return 0;
}

static void finish(struct pool *p, struct work_list ended)
{
        struct loop_work *w;

        while ((w = list_pop(&ended))) {
                p->pending--;
                w->done(w); /* w may be gone after this */
        }
}

void pool_reap(struct pool *p)
{
        struct work_list ended;

        pthread_mutex_lock(&p->lock);
        ended = p->ended;
        p->ended = (struct work_list){0};
        pthread_mutex_unlock(&p->lock);
        finish(p, ended);
}

void pool_drain(struct pool *p)
{
        while (p->pending > 0) {
                pthread_mutex_lock(&p->lock);
                while (!p->ended.first)
                        pthread_cond_wait(&p->has_ended, &p->lock);
                pthread_mutex_unlock(&p->lock);
                pool_reap(p);
        }
}

unsigned pool_pending(const struct pool *p)
{
        return p->pending;
}
