/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* request.h - one request in libcurl's terms and what came back so far;
 * private to room httpc */

#include <stdbool.h>

#include <curl/curl.h>

#include <nbcid/buf.h>
#include <nbcid/httpc.h>

struct request {
        struct httpc_request base; /* first */
        httpc_done_fn done;
        void *arg;
        struct loop_source *deadline;
        uint64_t timeout_us;
        bool over; /* done() is running or the request is cancelled */

        CURL *easy;
        struct curl_slist *headers; /* wiped: may hold a token */
        char *own_body;             /* wiped */
        const char *body;           /* that one or the sender's */
        size_t n_body;
        char *origin; /* "https://host:port", for texts */

        /* The answer.  Headers are kept as name NUL value NUL. */
        struct nb_buf in_headers, in_body;
        size_t n_in_headers;
        bool headers_over;
        enum nb_errc trouble; /* why a callback of ours stopped libcurl */
        char curl_text[CURL_ERROR_SIZE];
};

/* Copies what it needs of req.  opts has no zero fields (but ca_file).  Not
 * yet with a multi handle, a deadline or a done function. */
int request_new(const struct http_out *req, const struct httpc_how *how,
                const struct httpc_opts *opts, struct request **ret, struct nb_err *err);
/* Not with a multi handle any more. */
struct request *request_free(struct request *r);
NB_DEFINE_FREEP(struct request *, request_free);

/* Tell done() how it ended, exactly once. */
void request_tell(struct request *r, CURLcode result);
void request_tell_timeout(struct request *r);
