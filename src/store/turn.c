/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whose turn it is to write: the process's writers queue here, first come
 * first served, before they ask SQLite for its lock
 *
 * SQLite's waiting is a poll with growing sleeps.  Beside a writer that comes
 * back at once, a sleeper then finds the lock taken for seconds: deliveries
 * would wait as long as the worker is busy.  The queue is the process's, as
 * its database is; several databases (in tests) only wait more than they must.
 */
#include "db.h"

#include <pthread.h>
#include <time.h>

struct waiter {
        struct waiter *next;
        pthread_cond_t called;
        bool mine;
};

static struct {
        pthread_mutex_t lock;
        bool taken;
        struct waiter *first;
} turn = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void waiter_init(struct waiter *w)
{
        pthread_condattr_t attr;

        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&w->called, &attr);
        pthread_condattr_destroy(&attr);
}

bool turn_take(unsigned seconds)
{
        struct waiter w = {0}, **at;
        struct timespec end;
        int r = 0;

        pthread_mutex_lock(&turn.lock);
        if (!turn.taken) {
                turn.taken = true;
                pthread_mutex_unlock(&turn.lock);
                return true;
        }
        waiter_init(&w);
        for (at = &turn.first; *at; at = &(*at)->next)
                ;
        *at = &w;
        clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += (time_t)seconds;
        while (!w.mine && r == 0)
                r = pthread_cond_timedwait(&w.called, &turn.lock, &end);
        if (!w.mine) {
                for (at = &turn.first; *at != &w; at = &(*at)->next)
                        ;
                *at = w.next;
        }
        pthread_mutex_unlock(&turn.lock);
        pthread_cond_destroy(&w.called);
        return w.mine;
}

void turn_give(void)
{
        struct waiter *w;

        pthread_mutex_lock(&turn.lock);
        nb_assert(turn.taken);
        w = turn.first;
        turn.taken = w != NULL;
        if (w) {
                turn.first = w->next;
                w->mine = true;
                pthread_cond_signal(&w->called);
        }
        pthread_mutex_unlock(&turn.lock);
}
