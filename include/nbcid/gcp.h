/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gcp.h - calls to Google's APIs as one identity
 *
 * Loop thread only, nothing blocks.  Every asynchronous call completes exactly
 * once, never from inside the call that began it, and never after its cancel;
 * handles are invalid when their completion begins.  Tokens, keys and
 * assertions are kept in memory that is wiped, and are never logged nor part
 * of an error's text.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/buf.h>
#include <nbcid/clock.h>
#include <nbcid/crypto.h>
#include <nbcid/err.h>
#include <nbcid/httpc.h>
#include <nbcid/json.h>
#include <nbcid/loop.h>

struct gcp; /* one identity and the way to Google */

/* Borrowed for gcp_new(), but for the three at the top, which live longer than
 * the gcp. */
struct gcp_opts {
        struct loop *loop;
        struct httpc *httpc;
        const struct nb_clock *clock;
        const char *credentials;     /* a file as gcloud or the console writes it (service_account,
                                        authorized_user, external_account); NULL: the metadata
                                        server of the machine */
        const struct nb_secret *key; /* the content of such a file, read before; or NULL */
        const char *scope;           /* NULL: cloud-platform */
        const char *token_url;       /* the operator's, instead of the file's, to any host */
        const char *metadata_host;   /* "host[:port]"; NULL: GCE_METADATA_HOST, or
                                        metadata.google.internal */
        uint64_t backoff_us;         /* the first pause before a retry; 0: 1 s */
};

/* The file that gcloud's tools would take: GOOGLE_APPLICATION_CREDENTIALS, or
 * the one that gcloud leaves in the home directory when it is there, or NULL
 * (then use the metadata server).  Owned; *ret is set on success. */
int gcp_credentials_find(char **ret, struct nb_err *err);

/* Reads and checks the file (blocking: at start).  -NB_E_INVALID says what is
 * wrong with it and what to do; nothing is sent yet. */
int gcp_new(const struct gcp_opts *o, struct gcp **ret, struct nb_err *err);
/* All calls and waits were done or cancelled (asserted).  NULL is fine;
 * answers NULL. */
struct gcp *gcp_free(struct gcp *g);
NB_DEFINE_FREEP(struct gcp *, gcp_free);

/* Borrowed.  Who this is, for people ("ci@p.iam.gserviceaccount.com" or "the
 * metadata server"), never NULL; the project that the file names, or NULL. */
const char *gcp_identity(const struct gcp *g);
const char *gcp_project(const struct gcp *g);

/* --- tokens -------------------------------------------------------------- */

struct gcp_token_wait;
/* One of token and err is NULL; token is borrowed for the call.  err:
 * NB_E_DENIED (the credentials are refused; a wrong clock is named, with the
 * minutes), NB_E_REMOTE, NB_E_TIMEOUT, NB_E_INVALID, NB_E_NOTFOUND (a file
 * of a subject token), NB_E_NOMEM. */
typedef void (*gcp_token_fn)(void *arg, const char *token, const struct nb_err *err);
/* The token in hand, or a new one 225 s before its end; all who wait share
 * one refresh.  A token that still lives is given out when its refresh fails. */
int gcp_token_get(struct gcp *g, gcp_token_fn done, void *arg, struct gcp_token_wait **ret,
                  struct nb_err *err);
void gcp_token_cancel(struct gcp_token_wait *w); /* NULL is fine */
/* An API has answered 401 to this token: the next get refreshes.  Nothing
 * happens when it is no longer the one in hand. */
void gcp_token_rejected(struct gcp *g, const char *token);

/* --- calls --------------------------------------------------------------- */

/* What an API said, as far as it said it. */
struct gcp_error {
        int http;       /* status, 0: no answer */
        int code;       /* google.rpc.Code, 0: not given */
        unsigned tries; /* requests sent; with more than one, a 409 or 412 may be one's own doing */
        bool unsure;    /* the request may have had its effect all the same */
        char status[32];   /* "RESOURCE_EXHAUSTED" */
        char reason[64];   /* "conditionNotMet", or ErrorInfo's reason */
        char message[400]; /* one line */
};

/* Borrowed for the call, but for body. */
struct gcp_request {
        const char *method, *url;
        const void *body; /* borrowed until done or cancel */
        size_t n_body;
        const char *content_type;   /* NULL: application/json when there is a body */
        const char *const *headers; /* more of them, "Name: value", NULL at the end; or NULL */
        bool idempotent;            /* may be sent again when nobody knows what became of it */
        bool anonymous;             /* without a token */
        bool no_proxy;
        int also;       /* a status that is an answer and no error, beside 2xx; 0: none */
        unsigned tries; /* 0: 6 */
        uint64_t timeout_us, stall_us; /* of each try; 0: 60 s, none */
        size_t max_response;           /* 0: the client's */
};

struct gcp_call;
/* err is NULL when the status is 2xx or also; else err and e are not.  resp
 * is NULL when there was no answer.  All borrowed for the call.  Classes by status: 400 INVALID,
 * 401 and 403 DENIED, 404 and 410 NOTFOUND, 409 and 412 CONFLICT, 413 LIMIT, 429 BUSY, 408 and 504
 * TIMEOUT, others REMOTE; what a token or the network brings, besides. */
typedef void (*gcp_call_fn)(void *arg, const struct http_in *resp, const struct gcp_error *e,
                            const struct nb_err *err);
/* Adds the token; after a 401 refreshes it once and sends again.  An
 * idempotent call is sent again, with growing and random pauses or as
 * Retry-After says (60 s at most), after 408, 429, 500, 502, 503, 504 and a lost
 * connection; any other only when it certainly was not sent. */
int gcp_call(struct gcp *g, const struct gcp_request *r, gcp_call_fn done, void *arg,
             struct gcp_call **ret, struct nb_err *err);
void gcp_call_cancel(struct gcp_call *c); /* NULL is fine; what was sent may have its effect */

/* GET a path below computeMetadata/v1/ of the machine's metadata server, such
 * as "project/project-id".  That it is one shows in the answer's header
 * "Metadata-Flavor: Google"; elsewhere there is no answer, after some tries. */
int gcp_metadata_get(struct gcp *g, const char *path, gcp_call_fn done, void *arg,
                     struct gcp_call **ret, struct nb_err *err);

/* Pure.  Fill e from an answer, whose body may be anything, and answer
 * -NB_E_X with err's text naming the host (no more of the address). */
int gcp_error_read(const char *url, const struct http_in *resp, struct gcp_error *e,
                   struct nb_err *err);
/* Pure.  The same of a google.rpc.Status in a body, such as a job's "error";
 * e->http and e->tries stay as they are. */
void gcp_status_read(const struct nb_json *status, struct gcp_error *e);
/* Pure.  A retry's pause, in microseconds: random in the upper half of
 * first * 2^tried, at most 60 s; at least what Retry-After (may be NULL)
 * demands, up to 60 s. */
uint64_t gcp_backoff(uint64_t first_us, unsigned tried, const char *retry_after);

/* --- long-running operations --------------------------------------------- */

struct gcp_operation;
/* response is that member of the finished operation (NULL when it has none);
 * else err and e as of a call, an operation's own error too (e->http is 200
 * then). */
typedef void (*gcp_operation_fn)(void *arg, const struct nb_json *response,
                                 const struct gcp_error *e, const struct nb_err *err);
/* Poll base (such as "https://us-central1-aiplatform.googleapis.com/v1/")
 * followed by name until it is done, every 2 to 30 s, or until timeout_us have
 * passed (-NB_E_TIMEOUT; the operation goes on).  The caller has stored name
 * before, so that it is polled again after a restart. */
int gcp_operation_wait(struct gcp *g, const char *base, const char *name, uint64_t timeout_us,
                       gcp_operation_fn done, void *arg, struct gcp_operation **ret,
                       struct nb_err *err);
void gcp_operation_cancel(struct gcp_operation *o); /* stops waiting only; NULL is fine */
