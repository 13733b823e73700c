/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * server.h - an HTTP server on loopback that behaves as badly as asked
 *
 * The path says what a request gets:
 *   /ok /empty /limited /redirect /echo /early /trailers /folded   an answer
 *   /bytes/N                      N bytes, announced
 *   /hold                         the answer of /ok when the gate is open
 *   /stream /headers              no end
 *   /reset /half /garbage         no answer
 */

#include <pthread.h>
#include <stdatomic.h>

#define SERVER_CONNECTIONS_MAX 2048

struct server {
        int listener, gate; /* gate: an eventfd, readable for good when open */
        unsigned port;
        pthread_t acceptor;
        pthread_mutex_t lock;
        int fds[SERVER_CONNECTIONS_MAX]; /* -1: closed.  Under lock */
        pthread_t threads[SERVER_CONNECTIONS_MAX];
        unsigned n; /* under lock */
        atomic_uint accepted, asked, answered, held, held_max;
};

/* Aborts the test program when it cannot. */
struct server *server_start(void);
void server_open_gate(struct server *s);
/* Closes all connections, ends all threads. */
void server_stop(struct server *s);
