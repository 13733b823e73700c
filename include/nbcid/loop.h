/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * loop.h - one thread that waits for everything, and a few that block for it
 *
 * A loop belongs to the thread that runs it; every function here is for that
 * thread unless it says "any thread".  Callbacks run on it, never from inside
 * the call that registered them.  A source's free function may be called from
 * its own callback or another's; no callback comes after it.  Over sd-event.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <nbcid/clock.h>
#include <nbcid/err.h>
#include <nbcid/mem.h>

struct loop;
struct loop_source; /* owned by whoever made it */

/* threads: how many pool threads (1..16), started at the first loop_submit()
 * with signals blocked (but for those that only a fault of the thread itself
 * raises).  Time is CLOCK_MONOTONIC, also in tests. */
int loop_new(unsigned threads, struct loop **ret, struct nb_err *err);
/* Waits for pool work in hand to end (their done() is called), then frees.
 * Not from a callback.  Every source was freed before; asserts so.  NULL is
 * fine; answers NULL. */
struct loop *loop_free(struct loop *l);
NB_DEFINE_FREEP(struct loop *, loop_free);

/* Run until loop_exit(); 0, or < 0 when waiting itself failed.  May be called
 * again after it. */
int loop_run(struct loop *l, struct nb_err *err);
/* One round: wait at most timeout_us (UINT64_MAX: for ever), dispatch at
 * least one of what is ready.  1: something was dispatched, 0: nothing (a
 * signal may cut the wait short).  Not from a callback. */
int loop_step(struct loop *l, uint64_t timeout_us, struct nb_err *err);
/* End loop_run() after the callback in hand; before loop_run(), the next one
 * ends at once. */
void loop_exit(struct loop *l);

/* events: EPOLLIN | EPOLLOUT.  fd stays the caller's, who frees the source
 * before closing it.  One source per descriptor: a second one for the same is
 * -NB_E_CONFLICT. */
int loop_io(struct loop *l, int fd, uint32_t events,
            void (*fn)(void *arg, int fd, uint32_t revents), void *arg, struct loop_source **ret,
            struct nb_err *err);
int loop_io_events(struct loop_source *s, uint32_t events, struct nb_err *err);
/* A timer, unarmed at birth; loop_timer_arm(s, UINT64_MAX) disarms; after
 * firing it is unarmed.  In microseconds from now (not from the beginning of
 * the round); never early, late by 1 ms more than the loop is busy. */
int loop_timer(struct loop *l, void (*fn)(void *arg), void *arg, struct loop_source **ret,
               struct nb_err *err);
void loop_timer_arm(struct loop_source *s, uint64_t in_us);
/* Tell once when the process behind pidfd has ended (our child or not); does
 * not reap, does not take the descriptor. */
int loop_pidfd(struct loop *l, int pidfd, void (*fn)(void *arg), void *arg,
               struct loop_source **ret, struct nb_err *err);
/* Call fn once in the next round.  Free the source to forget it. */
int loop_defer(struct loop *l, void (*fn)(void *arg), void *arg, struct loop_source **ret,
               struct nb_err *err);
struct loop_source *loop_source_free(struct loop_source *s); /* NULL is fine; answers NULL */
NB_DEFINE_FREEP(struct loop_source *, loop_source_free);

/* Another thread's way in: a source whose fn runs on the loop after any
 * number of loop_wake() calls since the last time.  Everything that the other
 * thread wrote before loop_wake() is visible to fn. */
int loop_waker(struct loop *l, void (*fn)(void *arg), void *arg, struct loop_source **ret,
               struct nb_err *err);
/* Any thread; async-signal-safe, keeps errno.  The caller sees to it that the
 * waker is not freed meanwhile. */
void loop_wake(struct loop_source *waker);

/*
 * Blocking work.  run() is called on a pool thread and sees nothing but its
 * own item; done() is called later on the loop thread, always, exactly once,
 * and may free it.  Between loop_submit() and done() the loop thread keeps off
 * the item, but for setting cancel, which run() may look at.  Items are begun
 * in the order of their submission; pool threads have 512 KiB of stack.
 */
struct loop_work {
        void (*run)(struct loop_work *w);
        void (*done)(struct loop_work *w);
        atomic_bool cancel;
        struct loop_work *next; /* private to loop */
};
/* Never calls run() or done() itself; may be called from done().  < 0: no
 * thread could be started, and the item is still the caller's. */
int loop_submit(struct loop *l, struct loop_work *w, struct nb_err *err);
/* Items submitted whose done() has not begun. */
unsigned loop_work_pending(const struct loop *l);

/* Remove a directory and all below it on the pool, some time; dir is taken
 * (NULL is fine).  A failure is logged. */
void loop_remove_tree_take(struct loop *l, char *dir);
