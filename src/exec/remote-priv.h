/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * remote-priv.h - what the files of the far executors' engine share
 *
 * All that must outlive the process is in remote/EXECUTOR/REF below the state
 * directory, and goes only when nothing of the run is left far away:
 *
 *   input.ipynb     what is staged
 *   record.json     how it is submitted; written last, so that without it
 *                   nothing was sent, and with it a job may be there
 *   place           which of the places in the record it has come to, and why;
 *                   none: the first
 *   job-PLACE       the job's name, once it is known: the service's lists may
 *                   lag behind, and a job that was deleted is not begun again;
 *                   and the generation of what was staged
 *   executed.ipynb, log.txt   for collect()
 */

#include <nbcid/blob.h>
#include <nbcid/gcp.h>
#include <nbcid/httpc.h>
#include <nbcid/str.h>

#include "remote.h"

#define FAR_RECORD_MAX ((size_t)1 << 20)
#define FAR_PAUSE_MAX_US (60 * NB_US_PER_S)
/* A request whose sender has gone may still be on its way, and lists lag behind:
 * before the last look for what it has done. */
#define FAR_LOST_US (10 * NB_US_PER_S)
/* A list that is filtered may have empty pages before the one with the job. */
#define FAR_FIND_PAGES 100
#define FAR_GETS 8   /* jobs that are asked for one by one, at a time */
#define FAR_LOGS 8   /* logs that are read at a time; others have a link only */
#define FAR_CLEANS 8 /* runs that are cleaned up after, at a time */
/* What is staged, submitted or read back at a time: as many as there are
 * connections; each has up to 8 MiB in memory.  Other runs wait without a
 * descriptor or a request. */
#define FAR_SENDS 16

/* So many at once, then one after the other. */
struct far_pace {
        uint64_t every_us, burst;
        uint64_t paid_us; /* when the requests so far are paid for */
};

struct far_run;
struct far_clean;
struct far_extra;

/* The looks at all jobs, for remote-poll.c. */
struct far_poll {
        struct loop_source *timer;
        struct far_run **by_label; /* chains of those that are watched */
        size_t n, n_chains;        /* a power of 2 */
        struct gcp_call *list;     /* a page of a look */
        char *group, *region;      /* what is asked for */
        char *token;               /* of the next page, or NULL */
        uint64_t round, began_us, due_us, pause_us;
        unsigned pages, n_gets, n_missing;
        bool looking;          /* between the first page and the last */
        bool changed, trouble; /* trouble: said once */
        bool got;              /* the last request was for one job */
};

struct far {
        struct exec base;                  /* first */
        const struct config_executor *cfg; /* outlives us */
        const struct far_kind *kind;
        struct exec_deps deps;
        char *dir; /* remote/NAME */
        struct httpc *httpc;
        struct gcp *gcp;
        struct blob *blob;
        struct far_run *runs; /* that somebody holds */
        struct far_extra *extras;
        struct far_clean *cleans;
        unsigned n_cleans, n_logs;

        struct far_poll poll;
        struct far_pace asks;    /* looks, and for jobs one by one */
        struct far_pace finds;   /* by label: when something went wrong, and to clean up */
        struct far_pace submits; /* as the configuration says */
        unsigned n_sends;
};

enum far_stage {
        FAR_PREPARE, /* on the pool: the notebook with its parameters, the record */
        FAR_UPLOAD,
        FAR_SUBMIT, /* the request is on its way */
        FAR_PAUSE,  /* until it may be sent again */
        FAR_FIND,   /* was it submitted? */
        FAR_WATCH,  /* the service has it */
        FAR_FETCH,  /* it ended; the notebook is read back */
        FAR_LOG,    /* what the container wrote is read */
        FAR_LOOK,   /* on the pool: what does the notebook show? */
        FAR_ENDING, /* to be told in the next round */
        FAR_TOLD,
};

struct far_item; /* on the pool */
struct far_record;
struct far_staging; /* the rest of the checkout on its way */

struct far_place { /* owned */
        struct config_place at;
        char *body; /* what submits it there; NULL while it is watched */
};
void far_place_done(struct far_place *p);
/* Where a job at that place writes: never where one before it may have, unless its
 * submitter said where; owned. */
char *far_output_url(const struct far_record *r, unsigned place);
/* For people: "n1-standard-4 with 1 NVIDIA_TESLA_T4 in us-central1"; owned. */
char *far_place_text(const struct config_place *p);

struct far_record {                    /* owned */
        char *prefix, *input, *output; /* gs:// */
        char *project;                 /* another one may be in the configuration by now */
        char *fixed_output;            /* its submitter's, at every place; or NULL */
        bool there;                    /* the input is, and is not ours */
        int64_t newer_than;            /* the output's generation must be */
        char *label, *group;
        char *note; /* for the log, or NULL */
        enum workspace_kind workspace_kind;
        char *workspace, *workspace_dir; /* gs://, and the checkout; NULL: none */
        uint64_t timeout_us, max_output;
        unsigned place, n_places; /* where it has come to */
        struct far_place here;    /* that one */
        char *image, *why;        /* in what it runs, and who says so */
        char *history;            /* lines: where there was no machine; or NULL */
};
void far_record_done(struct far_record *r);
/* All but place and history. */
int far_record_write(const struct far_record *r, const struct far_place *places, struct nb_buf *ret,
                     struct nb_err *err);
int far_record_read(const char *dir, struct far_record *ret, struct nb_err *err);
/* With place set to another one: here becomes that. */
int far_record_read_place(const char *dir, struct far_record *r, struct nb_err *err);

struct far_log {              /* of the container */
        struct nb_strv lines; /* the newest first */
        size_t bytes;
        struct nb_buf body; /* of the request */
        char *token;
        unsigned pages, looks;
        unsigned page_size;
        bool cut, done;
        char *text, *trouble; /* then one of them, or none when it wrote nothing */
};

struct far_run {
        struct exec_run base; /* first */
        struct far *far;
        struct far_run *next;
        char *ref, *dir;
        struct far_record record;
        exec_event_fn fn;
        void *arg;
        enum far_stage stage;
        bool telling, released; /* released from inside its own event: freed after it */
        bool cancel_asked, told_running;
        bool gave_up;   /* it waited too long, */
        bool runs_over; /* or ran too long */
        bool paced;     /* its timer is armed for a turn that it has */
        bool asked;     /* a job may be there, or was */
        bool attached;  /* a former process may have sent anything */
        bool sends;     /* is one of FAR_SENDS */
        bool waits;     /* to be one; its timer is then armed */

        struct loop_source *timer;
        struct gcp_call *call, *cancel_call;
        struct blob_op *op;
        struct far_item *item;
        struct far_staging *staging;
        int fd; /* of the notebook that comes in */

        struct far_log *log; /* once it was asked for */

        char *name;    /* of the job, once known */
        char *created; /* when, once it has ended; or NULL */
        int64_t input_generation;
        unsigned tries, finds, find_pages, losses, fetches;
        uint64_t queue_until_us, run_until_us, cancel_until_us, fetch_until_us;
        struct far_run *chain; /* of by_label */
        uint64_t since, seen;  /* rounds */
        bool watched;          /* by_label has it */
        bool missing;          /* a whole look did not show it */
        enum far_state state;
        struct far_end end;
        char *message; /* the service's last word */
        bool has_output, too_large;
        struct run_result result;
};

static inline uint64_t far_now_us(const struct far *x)
{
        return nb_mono_us(x->deps.clock);
}
/* Then a job whose end was asked for is not waited for: 10 minutes, most often. */
static inline uint64_t far_cancel_us(const struct far *x)
{
        return 120 * x->cfg->vertex.poll_us;
}
/* The service ends it when its time is over; if not, we do, as long after: 1 hour,
 * most often. */
static inline uint64_t far_over_us(const struct far *x)
{
        return 720 * x->cfg->vertex.poll_us;
}
static inline uint64_t far_lost_us(const struct far *x)
{
        return x->cfg->vertex.poll_us > FAR_LOST_US ? x->cfg->vertex.poll_us : FAR_LOST_US;
}

/* remote.c */
/* Tell and finish; the run may be gone when they answer (tell: false). */
bool far_tell(struct far_run *u, const struct exec_event *ev);
/* Whose trouble it is when a service answers so. */
enum run_class far_error_class(const struct nb_err *err);
/* In the next round, as this. */
void far_finish(struct far_run *u, enum run_class class, const char *reason);
/* What it ran on, into u->result. */
void far_put_machine(struct far_run *u);
/* Tell FINISHED with u->result; not from inside a call of the owner. */
void far_tell_finished(struct far_run *u);
/* false: others are sending; u's timer comes when it is u's turn. */
bool far_may_send(struct far_run *u);
void far_sent(struct far_run *u);
/* One more for a run that sends; false: others are sending. */
bool far_may_send_more(struct far *x);
void far_sent_more(struct far *x);
/* What the job is called, and whether it is over, or never was, for a later process. */
void far_save_job(const struct far_run *u, bool ended);
/* The three lines of the file "job-PLACE"; *ret_name NULL when it is not known. */
void far_read_job(const char *dir, unsigned place, char **ret_name, int64_t *ret_generation,
                  bool *ret_ended);

/* remote-pace.c */
void far_paces_init(struct far *x);
/* How long until one more may be asked; take: and that one will be. */
uint64_t far_pace_wait_us(const struct far_pace *p, uint64_t now_us);
uint64_t far_pace_take(struct far_pace *p, uint64_t now_us);
/* false: u's timer comes when it is its turn. */
bool far_turn(struct far_run *u, struct far_pace *p);

/* remote-send.c */
void far_upload(struct far_run *u);
void far_submit(struct far_run *u);
/* Look twice for a job with our label, after a pause each. */
void far_find_begin(struct far_run *u);
void far_find(struct far_run *u, const char *token);
void far_send_cancel(struct far_run *u);
/* End a job that nobody watches, and forget it. */
void far_cancel_extra(struct far *x, const char *name);
void far_extras_done(struct far *x);

/* remote-poll.c */
/* Its end was asked for, and nobody will wait for it any longer. */
bool far_is_overdue(const struct far_run *u);
void far_finish_overdue(struct far_run *u);
int far_poll_init(struct far *x, struct nb_err *err);
void far_poll_done(struct far *x);
void far_watch(struct far_run *u);
/* It is released. */
void far_unwatch(struct far_run *u);
void far_poll_soon(struct far *x);
/* The tree of an answer's body, or NULL with err. */
struct nb_json_tree *far_read_body(const struct http_in *resp, struct nb_err *err);

/* remote-log.c */
/* Read it, as far as it may be read, then far_look(). */
void far_log(struct far_run *u);
void far_log_ask(struct far_run *u);
void far_log_free(struct far_run *u);

/* remote-workspace.c */
/* Stage the rest of the checkout when there is one to stage, then submit. */
void far_workspace(struct far_run *u);
void far_staging_cancel(struct far_staging *s); /* NULL is fine */

/* remote-end.c */
/* That an executed notebook may have: what was sent, and the outputs.  It is
 * read at once, so that a stranger's must not have more. */
uint64_t far_most_bytes(const struct far_run *u);

/* remote-place.c */
/* There was no machine, as text says: on to the next place.  false: it was the
 * last. */
bool far_place_next(struct far_run *u, const char *text);
/* All places, as the configuration has them; owned: *ret_n of them. */
int far_places_make(struct far_run *u, const struct exec_job *job, struct far_place **ret,
                    struct nb_err *err);
void far_places_free(struct far_place *places, size_t n);

/* remote-end.c */
void far_ended(struct far_run *u, const struct far_job *j);
void far_fetch(struct far_run *u);

/* remote-item.c: on the pool */
/* record_take: the text of record.json. */
int far_prepare(struct far_run *u, const struct exec_job *job, char *record_take,
                struct nb_err *err);
void far_look(struct far_run *u);
/* The run is no more; its item frees itself. */
void far_item_orphan(struct far_item *i);

/* remote-same.c: on the pool */
/* dir: the run's.  NB_E_CORRUPT: output is not what came of input.ipynb.  there: that may
 * have stayed where it was, and is not compared then. */
int far_same(int dir, bool there, const char *output, size_t n, struct nb_err *err);

/* remote-clean.c */
/* Remove what is left of a run far away, then its directory. */
void far_clean(struct far *x, const char *ref);
void far_cleans_done(struct far *x);
