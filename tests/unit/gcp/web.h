/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * web.h - an HTTP server on loopback whose answers a test writes in C
 *
 * The handler is called on the server's threads, one request at a time.  What
 * it appends to out is sent as it is; when it appends nothing, the connection
 * is reset.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include <nbcid/buf.h>

struct web_request {
        char method[8], target[2048];
        const char *head; /* with the request line; NUL-terminated */
        const char *body;
        size_t n_body;
};
typedef void (*web_fn)(void *arg, const struct web_request *r, struct nb_buf *out);

struct web;
/* Aborts the test program when it cannot. */
struct web *web_start(web_fn fn, void *arg);
unsigned web_port(const struct web *w);
unsigned web_connections(const struct web *w); /* accepted so far */
void web_stop(struct web *w);

/* Value of a request's header, trimmed, into a fixed array; "" when absent. */
void web_header(const struct web_request *r, const char *name, char *buf, size_t size);
/* An answer with a body and more header lines ("A: b\r\n", may be ""). */
void web_answer(struct nb_buf *out, int status, const char *headers, const char *body);
