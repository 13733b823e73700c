/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * store_intake.h - what may be written from the HTTP side
 *
 * A second connection to the database, for the http thread only: deliveries,
 * and what an operator asks for.  2xx leaves after these have committed.
 * Errors as in store.h.
 */

#include <nbcid/store.h>

struct store_intake;

/* The schema exists already (store_open() was first). */
int store_intake_open(const char *path, const struct nb_clock *clock, struct store_intake **ret,
                      struct nb_err *err) NB_MUST_USE;
struct store_intake *store_intake_close(struct store_intake *s);
NB_DEFINE_FREEP(struct store_intake *, store_intake_close);

enum accept_kind {
        ACCEPT_NEW,       /* a build of its own, or merged with a queued one of the same
                           * (forge, repository, ref, after) */
        ACCEPT_DUPLICATE, /* this delivery id, or with replay its very body, was here: build is
                           * the one it made */
        ACCEPT_IGNORED,
};

struct store_delivery {
        /* in, borrowed */
        const char *forge, *delivery_id, *event_name;
        const char *headers; /* the few that matter, "Name: value" lines */
        const char *body;
        size_t n_body;
        bool replay;               /* look for the same body under another id */
        const struct event *event; /* NULL: ignored */
        const char *ignored;       /* why */
        /* out, of use after success only */
        enum accept_kind kind;
        int64_t build;    /* 0 when ignored */
        bool was_ignored; /* duplicate of an ignored delivery */
};
/* Store n deliveries in one transaction: row, queued build and first note.
 * All or none. */
int store_intake_accept(struct store_intake *s, struct store_delivery *const *v, size_t n,
                        struct nb_err *err) NB_MUST_USE;

/* Queued builds, counted up to cap. */
int store_intake_backlog(struct store_intake *s, uint32_t cap, uint32_t *ret,
                         struct nb_err *err) NB_MUST_USE;

/* Ask for a build to stop; asking again is fine.  NB_E_NOTFOUND; NB_E_CONFLICT
 * when it has ended. */
int store_intake_cancel(struct store_intake *s, int64_t build, struct nb_err *err) NB_MUST_USE;
/* Queue a new build (trigger manual) of the same event as an ended one; job > 0:
 * only that job's notebook (build is ignored then).  NB_E_NOTFOUND;
 * NB_E_CONFLICT when the build has not ended. */
int store_intake_retry(struct store_intake *s, int64_t build, int64_t job, int64_t *ret_build,
                       struct nb_err *err) NB_MUST_USE;
/* Would a write succeed now?  Tries one. */
int store_intake_ping(struct store_intake *s, struct nb_err *err) NB_MUST_USE;
