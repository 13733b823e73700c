/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* httpmsg.h - HTTP messages as plain values, for rooms that translate and
 * rooms that send.  Part of room model. */

#include <stddef.h>
#include <stdint.h>

#include <nbcid/mem.h>

struct http_header {
        const char *name, *value;
};

/* A request or a response that came in; everything borrowed. */
struct http_in {
        const char *method; /* NULL for a response */
        const char *path;   /* NULL for a response */
        int status;         /* 0 for a request */
        const struct http_header *headers;
        size_t n_headers;
        const char *body;
        size_t n_body;
};

/* First value of that header (any case), or NULL. */
const char *http_in_header(const struct http_in *m, const char *name);

/* A request to send; everything owned. */
struct http_out {
        char *method, *url;
        char **headers; /* "Name: value"; may hold a token: never logged, wiped by done */
        size_t n_headers;
        char *body;
        size_t n_body;
};
void http_out_done(struct http_out *m);
/* Append "name: value"; 0, or -1 when memory is out or either holds a control
 * character (RFC 9110 section 5.5) that would break the message. */
int http_out_header(struct http_out *m, const char *name, const char *value);
