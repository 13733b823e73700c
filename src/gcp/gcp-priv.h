/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* gcp-priv.h - what the files of room gcp share */

#include <nbcid/crypto.h>
#include <nbcid/gcp.h>
#include <nbcid/str.h>

/* ---- key.c: credential files; pure ---- */

enum gcp_kind {
        GCP_METADATA,
        GCP_SERVICE_ACCOUNT,
        GCP_AUTHORIZED_USER,
        GCP_EXTERNAL,
};

/* All owned; what the kind does not have is NULL. */
struct gcp_key {
        enum gcp_kind kind;
        char *identity; /* for people */
        char *project, *quota_project;
        char *token_url; /* where tokens are asked for */
        char *audience;  /* of a JWT, or of a workload identity pool's provider */
        /* service_account */
        char *key_id;
        struct nb_rs256 *key;
        /* authorized_user */
        char *client_id;
        struct nb_secret client_secret, refresh_token;
        /* external_account */
        char *subject_type;
        char *source_file, *source_url; /* one of them */
        char *source_field;             /* member of a JSON text; NULL: the text itself */
        struct nb_strv source_headers;
        char *impersonation_url;
};

/* token_url (may be NULL) is the operator's.  ret is filled on success. */
int gcp_key_parse(const char *p, size_t n, const char *token_url, struct gcp_key *ret,
                  struct nb_err *err);
void gcp_key_done(struct gcp_key *k);

/* ---- token.c: the token in hand, and who waits for it ---- */

struct gcp_token_wait {
        struct gcp *gcp;
        struct gcp_token_wait *prev, *next;
        gcp_token_fn done;
        void *arg;
        bool ready; /* the result is there and will be told */
};

struct subject; /* ask-subject.c: a subject token being fetched */

struct gcp {
        struct loop *loop;
        struct httpc *httpc;
        const struct nb_clock *clock;
        struct gcp_key key;
        char *scope, *metadata_host;
        uint64_t backoff_us;
        unsigned n_calls;

        struct nb_secret token;
        uint64_t got_us, life_us; /* monotonic; both 0 without a token */
        int64_t got_ms;
        struct nb_err failed; /* of the last refresh, while it is told */

        struct gcp_token_wait waits; /* head of a ring */
        struct loop_source *teller;

        /* The refresh in hand; see ask.c. */
        bool asking;
        struct gcp_call *ask;
        struct subject *subject;
        struct nb_buf ask_body; /* holds secrets; wiped */
        struct loop_source *ask_again;
        unsigned n_asked;
};

/* The refresh is over; exactly one of them. */
void gcp_token_set(struct gcp *g, const char *token, size_t n, uint64_t life_us);
void gcp_token_failed(struct gcp *g, const struct nb_err *err);

/* ---- ask.c, ask-subject.c: how a new token is asked for ---- */

/* Ends in gcp_token_set() or gcp_token_failed(), not from inside; or < 0. */
int gcp_ask(struct gcp *g, struct nb_err *err);
void gcp_ask_cancel(struct gcp *g);
void gcp_wipe_buf(struct nb_buf *b);
/* JSON of a token endpoint or subject source; the tree is the caller's. */
int gcp_json(const char *what, const char *p, size_t n, struct nb_json_tree **ret,
             struct nb_err *err);
int gcp_form(struct nb_buf *b, const char *name, const char *value);

/* The subject token of an external account; err NULL or token NULL. */
typedef void (*subject_fn)(struct gcp *g, const char *token, const struct nb_err *err);
int gcp_subject_get(struct gcp *g, subject_fn done, struct nb_err *err);
void gcp_subject_cancel(struct gcp *g);

/* ---- error.c ---- */

/* "host:port" of an address into a fixed array, for texts. */
void gcp_host(const char *url, char *buf, size_t size);
