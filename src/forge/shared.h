/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * shared.h - what the forges have in common; private to the room
 *
 * Each forge's file says where a value stands; what a sane value is, and what
 * becomes of it, is decided here once.  Pure; any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/buf.h>
#include <nbcid/forge.h>

extern const struct forge_ops forge_github;
extern const struct forge_ops forge_gitlab;

/* ---- names ---- */

/* "owner/name", for GitLab "group/.../name": parts of letters, digits, '.', '_'
 * and '-', none empty, none led by '-', no "..", 512 bytes at most; else
 * NB_E_INVALID. */
int forge_check_repository(enum forge_kind kind, const char *name, struct nb_err *err);

/* ---- deliveries (push.c) ---- */

/* Like http_in_header(), but an empty value counts as none. */
const char *forge_header(const struct http_in *m, const char *name);

/* Owned copy of the id that a header gave: 1 to 200 visible ASCII characters,
 * else NB_E_INVALID.  header is for the text. */
int forge_delivery_id(const char *header, const char *id, char **ret, struct nb_err *err);
/* Owned "sha256:" and the body's hash: the same for each try of one delivery. */
int forge_delivery_id_of_body(const struct http_in *req, char **ret, struct nb_err *err);

/* Answer 0 with the reason in ret; < 0 when memory is out. */
int forge_ignore(struct forge_event *ret, struct nb_err *err, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* The same for an event of that name, which may hold anything. */
int forge_ignore_name(struct forge_event *ret, const char *what, const char *name,
                      struct nb_err *err);

/* A push as a forge's payload told it; texts borrowed, NULL: not said. */
struct forge_push {
        enum forge_kind kind;
        const char *repository, *ref, *before, *after;
        bool deleted; /* besides an after of zeros */
        const char *default_branch;
        const char *message; /* of the head commit; n_message bytes of UTF-8 */
        size_t n_message;
        const char *author;
};
/* Check it and make the answer of parse_event() of it. */
int forge_push_event(const struct forge_push *p, struct forge_event *ret, struct nb_err *err);

/* ---- statuses (status.c) ---- */

/* Bytes of a request's body: texts are cut and the URL is bounded, so that even
 * with every character escaped it fits. */
#define FORGE_STATUS_MAX ((size_t)64 << 10)

/* Owned text for people of at most max_chars code points: one line, UTF-8,
 * nothing above U+FFFF.  GitHub answers 422 "description doesn't accept 4-byte
 * Unicode" otherwise; NULL when memory is out. */
char *forge_status_text(const char *text, size_t max_chars);
/* The same for a name by which the forge tells statuses apart: one that had to
 * be changed ends in a hash of the whole, so that two never become one. */
char *forge_status_context(const char *context, size_t max_chars);

/* Can this note be sent: repository, commit and URL sane, a token there?
 * NB_E_DENIED when there is none. */
int forge_status_check(const struct config_forge *f, const struct note *n, struct nb_err *err);

/* What differs between the requests that set a status. */
struct forge_post {
        char *url;           /* taken, freed on failure too; NULL: memory was out */
        struct nb_buf *body; /* JSON text; emptied */
        const char *token_header, *token_prefix;
        const struct http_header *more; /* n_more other headers */
        size_t n_more;
};
int forge_status_post_take(const struct config_forge *f, struct forge_post *p, struct http_out *ret,
                           struct nb_err *err);

/* What replies have in common: 2xx, 401, 408, 5xx; anything else is refused.
 * *ret_wait_s as for status_reply(). */
enum note_verdict forge_status_verdict(const struct http_in *resp, uint32_t *ret_wait_s);
/* Seconds of a Retry-After header (RFC 9110 section 10.2.3), 1 to an hour; 0:
 * there is none.  A date, which no forge sends, counts as a minute. */
uint32_t forge_retry_after(const struct http_in *resp);
/* Seconds until the time (UTC seconds) in that header, 1 to an hour; a minute
 * when it says nothing usable. */
uint32_t forge_wait_until(const struct http_in *resp, const char *header, int64_t now_s);
/* Does the body hold that text, in the case given? */
bool forge_body_has(const struct http_in *resp, const char *text);

#define FORGE_LIMITED_WAIT_S 60 /* when a forge limits and does not say how long */
