/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* json-reader.h - what the two halves of the reader share: json-event.c, what
 * yajl tells us, and json.c, what we tell yajl. */

#include "json-private.h"

#include <yajl/yajl_parse.h>

enum after { AFTER_NOTHING, AFTER_OPEN, AFTER_KEY, AFTER_VALUE, AFTER_MARK };

/* As much of a token that the end of a piece has cut as an error text shows. */
#define SHOWN_MAX 48

struct nb_json_reader {
        struct nb_json_limits limits;
        const struct nb_json_events *ev;
        void *arg;
        struct nb_json_pos *pos; /* kept up to date before each event; or NULL */
        struct nb_err *err;      /* of the call at hand */
        yajl_handle yajl;
        /* the piece at hand */
        const char *p;
        size_t n;
        size_t base;  /* its offset in the text */
        size_t quick; /* bytes of it that json_quick() has told, and yajl not seen */
        size_t first_line, first_bol; /* the line that it begins in, and where that begins */
        size_t next_line, next_bol;   /* the same of the piece after it */
        /* newlines are counted up to seen, somewhere in the piece */
        size_t seen, line, bol;
        /* bytes that are held back until what cuts them is there */
        char tail[JSON_SEQUENCE_MAX];
        size_t tail_n;
        /* a token that began in an earlier piece */
        bool open;
        struct nb_json_pos open_at;
        char open_text[SHOWN_MAX];
        size_t open_n;
        /* the last token */
        size_t end; /* and, between pieces, the white space after it */
        size_t len; /* LEN_STRING: has quotes */
        enum after after;
        size_t values; /* so far */
        unsigned depth;
        bool last;             /* nothing is fed after the piece at hand */
        bool done;             /* the value at the top has ended */
        struct nb_json_pos at; /* of the failure, or of that end */
        int failed;
};

#define LEN_STRING SIZE_MAX

extern const yajl_callbacks json_callbacks;

/* The place of an offset in the piece at hand.  Costs the distance to the one
 * asked for before. */
struct nb_json_pos json_pos_of(struct nb_json_reader *r, size_t offset);
/* Where the token at hand begins; false when that is in an earlier piece. */
bool json_token_offset(const struct nb_json_reader *r, size_t *ret);
/* Tell what is told quickly of the n bytes at r->p, which begin the text; r->quick is
 * how many, to the end of a token, and they are well-formed.  yajl goes on there as if
 * it had seen them.  0, or what a callback or a limit said. */
int json_quick(struct nb_json_reader *r, size_t n);
/* Put the place before the text of the error ret. */
int json_fail_here(struct nb_json_reader *r, struct nb_json_pos at, int ret);
