/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * flow.h - the story of a push, and nothing else
 *
 * The only room that decides.  Two doors: struct flow is the worker's (every
 * decision: one store verb, then act, then wait to be called; acting twice is
 * harmless, so a restart replays the acting from what the store says), and
 * struct flow_door is the http thread's (is this delivery for us, and
 * committing it before the reply).
 */

#include <nbcid/clock.h>
#include <nbcid/config.h>
#include <nbcid/err.h>
#include <nbcid/exec.h>
#include <nbcid/httpc.h>
#include <nbcid/httpmsg.h>
#include <nbcid/loop.h>
#include <nbcid/metrics.h>
#include <nbcid/model.h>
#include <nbcid/store.h>

/* ---- the worker's door; worker thread only ---- */

struct flow;
struct flow_exec { /* an open executor under its configured name */
        const char *name;
        uint32_t slots;
        struct exec *exec;
};
struct flow_deps {             /* borrowed; outlive the flow */
        struct config *config; /* flow takes its own reference */
        const struct nb_clock *clock;
        struct loop *loop;
        struct store *store;
        struct httpc *httpc;
        struct metrics *metrics;
        const struct flow_exec *execs;
        size_t n_execs;
        uint64_t retry_base_us; /* first pause before trying again; 0: 10 s */
        uint64_t sweep_us;      /* from the start to the first sweep; 0: a minute */
};
int flow_new(const struct flow_deps *d, struct flow **ret, struct nb_err *err);
/* Releases runs (they live on), cancels requests and pool work, waits for
 * nothing.  Pool work still in hand keeps what it needs until its done(). */
struct flow *flow_free(struct flow *f); /* NULL is fine; answers NULL */
NB_DEFINE_FREEP(struct flow *, flow_free);

/* Once: pick up what a former process left; nothing happens before.  < 0: a
 * part of it may be done; call it again. */
int flow_recover(struct flow *f, struct nb_err *err);
/* Something may have changed in the store: look.  Cheap when nothing has. */
void flow_poke(struct flow *f);
/* Use another configuration from now on (limits, forges, repositories). */
void flow_reconfigure(struct flow *f, struct config *c);
/* Start nothing new. */
void flow_drain(struct flow *f);
/* Nothing in hand: no preparation, no run, no request. */
bool flow_idle(const struct flow *f);
/* For STATUS=: "2 running, 5 queued". */
struct flow_load {
        unsigned preparing, running, sending;
};
struct flow_load flow_load(const struct flow *f);

/* ---- the http thread's door; that thread only ---- */

struct flow_door;
struct flow_door_deps { /* borrowed */
        const char *db_path;
        const struct nb_clock *clock;
        struct config *config; /* the door takes its own reference */
        struct metrics *metrics;
        void (*wake)(void *arg); /* tell the worker; thread-safe */
        void *wake_arg;
};
int flow_door_new(const struct flow_door_deps *d, struct flow_door **ret, struct nb_err *err);
struct flow_door *flow_door_free(struct flow_door *d);
NB_DEFINE_FREEP(struct flow_door *, flow_door_free);
void flow_door_reconfigure(struct flow_door *d, struct config *c);

struct flow_delivery; /* one request on its way; owned by whoever read it */

/* Authenticate and understand a complete request to /hooks/FORGE.  No I/O.
 * The body is borrowed until the delivery is freed.  NB_E_NOTFOUND: no such
 * forge; NB_E_DENIED; NB_E_INVALID, NB_E_LIMIT: malformed. */
int flow_door_read(struct flow_door *d, const char *forge, const struct http_in *req,
                   struct flow_delivery **ret, struct nb_err *err);
/* Commit n deliveries in one transaction, then wake the worker.  NB_E_BUSY:
 * the backlog is full; NB_E_IO: the disk is: nothing was stored, the sender
 * should come again. */
int flow_door_commit(struct flow_door *d, struct flow_delivery *const *v, size_t n,
                     struct nb_err *err);
struct flow_answer {
        int64_t build; /* 0: ignored */
        bool duplicate;
        const char *ignored; /* why; borrowed from the delivery */
};
/* After a commit. */
struct flow_answer flow_delivery_answer(const struct flow_delivery *v);
struct flow_delivery *flow_delivery_free(struct flow_delivery *v);

/* What an operator asks for; errors of store_intake.h. */
int flow_door_cancel(struct flow_door *d, int64_t build, struct nb_err *err);
int flow_door_retry_build(struct flow_door *d, int64_t build, int64_t *ret_build,
                          struct nb_err *err);
int flow_door_retry_job(struct flow_door *d, int64_t job, int64_t *ret_build, struct nb_err *err);
/* Ready to accept?  NB_E_IO, NB_E_BUSY with the reason. */
int flow_door_ready(struct flow_door *d, struct nb_err *err);

/* Where a job's artifacts are, below state_dir: "artifacts/BUILD/JOB". */
void flow_artifact_dir(int64_t build, int64_t job, char *buf, size_t size);
