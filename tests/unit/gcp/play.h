/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* play.h - a server that gives tokens, takes calls and has operations, as it is told */

#include <stdbool.h>

#include "web.h"

/* What the server does and has seen.  Its threads write, one at a time; the
 * test reads when an answer has come. */
struct play {
        int tokens;         /* given out */
        int expires_in;     /* of them */
        int fail_tokens;    /* so many answers are 503 before */
        const char *refuse; /* body of a 400 for tokens */
        int date_off_s;     /* the server's clock against ours */
        bool no_flavor;     /* of the metadata server */
        int fail_calls;     /* so many calls are answered with fail_status; 0: reset */
        int fail_status;
        const char *fail_headers;
        bool every_401; /* no token is good */
        int done_after; /* an operation is done at that look */
        const char *operation_end;
        char form[8192], auth[256], body[256], user_project[64], subject_header[64];
        int asked_tokens, asked_calls, looked;
};

/* A web_fn; arg is a struct play. */
void play_serve(void *arg, const struct web_request *r, struct nb_buf *out);
