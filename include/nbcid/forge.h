/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * forge.h - what differs between forges
 *
 * Pure functions over values: no socket, no clock, no store; any thread.
 * One file per forge.  Which forge a delivery is from is bound to the URL it
 * came to, never guessed from headers.
 */

#include <stdint.h>

#include <nbcid/config.h>
#include <nbcid/err.h>
#include <nbcid/httpmsg.h>
#include <nbcid/model.h>

/* What parse_event() found. */
struct forge_event {
        struct event event; /* filled when the answer is 1; owned */
        char *ignored;      /* answer 0: why it is of no interest, owned */
};
void forge_event_done(struct forge_event *e);

struct forge_ops {
        const char *name; /* "github" */

        /* Is this delivery authentic for the account?  Over the raw body,
         * constant time, before anything is parsed.  0, or -NB_E_DENIED.
         * now_s: UTC seconds, for signatures that carry a time. */
        int (*authenticate)(const struct config_forge *f, const struct http_in *req, int64_t now_s,
                            struct nb_err *err);

        /* The id that the forge gives all tries of one delivery: owned; made
         * from the body's hash when no header has it.  0 or < 0. */
        int (*delivery_id)(const struct http_in *req, char **ret, struct nb_err *err);

        /* Its signature covers the body and nothing else, and no two events have
         * equal bodies: what comes again under another id is a replay. */
        bool body_is_all;

        /* The event's name as the forge has it ("push", "Push Hook"), borrowed
         * from req, "" when there is none. */
        const char *(*event_name)(const struct http_in *req);

        /* Read a delivery that authenticate() passed.  1: ret->event is
         * filled; 0: of no interest, ret->ignored says why (ping, unknown
         * event, branch deletion; tags are answered as EVENT_TAG and decided
         * by flow); < 0: malformed, NB_E_INVALID or NB_E_LIMIT. */
        int (*parse_event)(const struct http_in *req, struct forge_event *ret, struct nb_err *err);

        /* Write the request that sets a commit status. */
        int (*status_request)(const struct config_forge *f, const struct note *n,
                              struct http_out *ret, struct nb_err *err);

        /* Judge the reply.  *ret_wait_s: with NOTE_RETRY, seconds the forge
         * asks to wait, or 0 when it did not say. */
        enum note_verdict (*status_reply)(const struct http_in *resp, int64_t now_s,
                                          uint32_t *ret_wait_s);
};

/* Never NULL. */
const struct forge_ops *forge_ops_of(enum forge_kind k);

/* URL to clone a repository from: clone_base/NAME.git, the name percent-
 * encoded and checked (no "..", no empty part, no leading "-").  Owned. */
int forge_clone_url(const struct config_forge *f, const char *repository, char **ret,
                    struct nb_err *err);
