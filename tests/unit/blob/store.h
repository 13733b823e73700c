/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * store.h - a small Cloud Storage in C, which does as badly as it is told
 *
 * Faults are taken one for each request to which they can happen, in order.
 */

#include <stdbool.h>
#include <stdint.h>

#include "../gcp/web.h"

enum fault {
        FINE,
        BUSY,      /* 503, nothing done */
        RESET,     /* no answer, nothing done */
        LOST,      /* no answer, and done */
        PART,      /* a session takes 256 KiB of a piece, then 503 */
        GONE,      /* a session is 410 from now on */
        FORGOTTEN, /* a session loses all but 256 KiB */
        DAMAGED,   /* a flipped byte is stored, or sent */
        CUT,       /* half of the body is sent, announced as whole */
        ELSEWHERE, /* a session opens at another host */
};

#define STORE_OBJECTS 64

struct stored {
        char name[300], type[64];
        char *data;
        size_t n;
        int64_t generation;
};

struct store {
        char base[128]; /* "http://127.0.0.1:port" */
        bool bucket_exists, bucket_foreign;
        struct stored objects[STORE_OBJECTS];
        size_t n_objects, page; /* objects in a page of a list; 0: 1000 */
        int64_t clock;
        const enum fault *faults;
        size_t n_faults;

        /* one session */
        char session_name[300];
        int64_t session_if;
        char *session_data;
        size_t session_n;
        unsigned session_id;
        bool session_gone;

        unsigned requests, pieces, sessions, wholes, downloads, max_piece;
        char last_range[96];
};

void store_serve(void *arg, const struct web_request *r, struct nb_buf *out);
struct stored *store_find(struct store *s, const char *name);
void store_done(struct store *s);
