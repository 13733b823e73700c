/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * httpc.h - send a request, get one answer
 *
 * Loop thread only; nothing blocks (names are resolved by libcurl's own
 * thread).  https and http only, redirects off, TLS verified, answer bodies
 * bounded, every request has a deadline.  The door is a table so that flow's
 * tests put a recorder in its place.
 *
 * The process ignores or blocks SIGPIPE: OpenSSL writes to sockets whose other
 * side may be gone.  Proxies are taken from the environment as curl does
 * (https_proxy, no_proxy).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/err.h>
#include <nbcid/httpmsg.h>
#include <nbcid/loop.h>

struct httpc;
struct httpc_request; /* valid until done() or httpc_cancel() */

/* Exactly once, never from inside httpc_send(), never after httpc_cancel().
 * One of resp and err is NULL.  resp is borrowed for the call; any status is
 * an answer, redirects too; its body is never NULL and NUL-terminated; of
 * several header blocks (1xx) it has the last one's, without trailers.  err:
 * NB_E_REMOTE (no answer, TLS), NB_E_TIMEOUT, NB_E_LIMIT (answer too large),
 * NB_E_NOMEM; its text names scheme, host and port and never the rest of the
 * address, which may hold a token.  The request's handle is invalid when the
 * call begins; sending, and cancelling others, is fine from inside it. */
typedef void (*httpc_done_fn)(void *arg, const struct http_in *resp, const struct nb_err *err);

/* What one request wants otherwise than its client; zero is as the client. */
struct httpc_how {
        uint64_t timeout_us;
        uint64_t stall_us; /* end with NB_E_TIMEOUT when nothing has moved for as long (in whole
                              seconds, rounded up); 0: no such limit */
        size_t max_response;
        /* Sent instead of the request's own body, which is empty then: large,
         * so not copied, and no secret, so not wiped.  Borrowed, and not
         * changed, until done() or httpc_cancel(). */
        const void *body;
        size_t n_body;
        bool no_proxy; /* whatever the environment says */
        /* On a new connection: on one that idled, and that the server closes
         * before it answers, libcurl sends a request a second time on its own,
         * whatever its method. */
        bool once;
};

struct httpc_ops {
        int (*send)(struct httpc *h, const struct http_out *req, httpc_done_fn done, void *arg,
                    struct httpc_request **ret, struct nb_err *err);
        void (*cancel)(struct httpc_request *r);
        void (*free)(struct httpc *h);
        int (*send_how)(struct httpc *h, const struct http_out *req, const struct httpc_how *how,
                        httpc_done_fn done, void *arg, struct httpc_request **ret,
                        struct nb_err *err);
};
/* Each implementation embeds these first. */
struct httpc {
        const struct httpc_ops *ops;
};
struct httpc_request {
        struct httpc *httpc;
};

/* Borrowed for httpc_curl_new(); what is zero gets the default named here. */
struct httpc_opts {
        uint64_t connect_timeout_us; /* 10 s */
        uint64_t timeout_us;      /* 30 s: from send to done, waiting for a connection included */
        size_t max_response;      /* bytes of body; 1 MiB.  Headers: 64 KiB, fixed */
        unsigned max_connections; /* 16; requests over that wait for their turn */
        const char *user_agent;   /* "nbcid/0.1.0"; forges require one */
        const char *ca_file;      /* PEM bundle instead of the host's, or NULL */
        /* HTTP/2 where the server offers it over TLS: many requests share a
         * connection then, and its death is that of all of them. */
        bool multiplex;
};
/* Requests of one httpc that are under way or wait for a connection; the next
 * one is refused. */
#define HTTPC_MAX_PENDING 1024

/* The libcurl one.  l is borrowed and freed later than this.  All requests
 * were done or cancelled before free (asserted), which is not called from a
 * done function. */
int httpc_curl_new(struct loop *l, const struct httpc_opts *o, struct httpc **ret,
                   struct nb_err *err);
struct httpc *httpc_free(struct httpc *h); /* NULL is fine; answers NULL */
NB_DEFINE_FREEP(struct httpc *, httpc_free);

/* req is borrowed for the call; what is copied of its headers and body is
 * wiped when the request ends.  A body goes with any method but HEAD.
 * -NB_E_INVALID: the address is none of http or https, or method or a header
 * is malformed; -NB_E_BUSY: HTTPC_MAX_PENDING was reached; -NB_E_NOMEM.  done
 * is not called then. */
static inline int httpc_send(struct httpc *h, const struct http_out *req, httpc_done_fn done,
                             void *arg, struct httpc_request **ret, struct nb_err *err)
{
        return h->ops->send(h, req, done, arg, ret, err);
}
/* The same; how is borrowed for the call, but for its body. */
static inline int httpc_send_how(struct httpc *h, const struct http_out *req,
                                 const struct httpc_how *how, httpc_done_fn done, void *arg,
                                 struct httpc_request **ret, struct nb_err *err)
{
        return h->ops->send_how(h, req, how, done, arg, ret, err);
}
/* Is it certain that the server never saw the request that ended with this
 * error (no name, no connection, no TLS)?  Then it may be sent again, whatever
 * it does. */
bool httpc_unsent(const struct nb_err *err);
/* NULL is fine.  The answer, if any comes, is not heard. */
static inline void httpc_cancel(struct httpc_request *r)
{
        if (r)
                r->httpc->ops->cancel(r);
}
