/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* pool.h - the threads behind loop_submit(), private to room loop.  Every
 * function is for the loop thread. */

#include <nbcid/loop.h>

#define POOL_THREADS_MAX 16

struct pool;

/* waker is borrowed and outlives the pool; its fn calls pool_reap(). */
int pool_new(unsigned threads, struct loop_source *waker, struct pool **ret, struct nb_err *err);
/* Nothing is pending (asserted); joins the threads.  NULL is fine. */
struct pool *pool_free(struct pool *p);

int pool_submit(struct pool *p, struct loop_work *w, struct nb_err *err);
/* Call done() of what has ended. */
void pool_reap(struct pool *p);
/* The same until nothing is pending; waits. */
void pool_drain(struct pool *p);
unsigned pool_pending(const struct pool *p);
