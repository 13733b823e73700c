/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * web.h - HTTP in: hooks, API, pages
 *
 * libmicrohttpd, driven by one thread of its own (external epoll, so that all
 * deliveries which arrived in one round are committed in one transaction:
 * their connections are suspended, the batch commits, then they are resumed).
 * Functions here are for the thread that made it unless they say otherwise.
 */

#include <nbcid/clock.h>
#include <nbcid/config.h>
#include <nbcid/err.h>
#include <nbcid/flow.h>
#include <nbcid/mem.h>
#include <nbcid/metrics.h>

struct web;
struct web_deps {              /* borrowed; outlive it */
        struct config *config; /* web takes its own reference */
        const struct nb_clock *clock;
        const char *db_path;
        int state_dirfd; /* artifacts are served from below it */
        struct metrics *metrics;
        void (*wake)(void *arg); /* tell the worker; thread-safe */
        void *wake_arg;
        int listen_fd; /* a listening socket (socket activation), taken; -1: config->listen */
};
/* Binds and starts the thread; it answers from now on. */
int web_new(const struct web_deps *d, struct web **ret, struct nb_err *err);
/* Stops accepting, finishes what is in hand within 5 s, joins. */
struct web *web_free(struct web *w); /* NULL is fine; answers NULL */
NB_DEFINE_FREEP(struct web *, web_free);

/* Any thread: use another configuration from the next request on. */
void web_reconfigure(struct web *w, struct config *c);
/* Any thread: how many microseconds ago the thread last went round (it goes
 * round at least every second). */
uint64_t web_silence_us(const struct web *w);
/* "127.0.0.1:43817" or "unix:/path": where it really listens.  Borrowed. */
const char *web_address(const struct web *w);
