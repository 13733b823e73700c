/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * submit.h - one notebook, by hand, to an executor: `nbcid submit`
 *
 * The daemon's story for one notebook and without its database: check it,
 * stage it, let the executor run it, bring it back.  One submission belongs to
 * the thread that runs its loop.
 */

#include <stdbool.h>
#include <stdint.h>

#include <nbcid/buf.h>
#include <nbcid/config.h>
#include <nbcid/err.h>
#include <nbcid/loop.h>
#include <nbcid/mem.h>
#include <nbcid/model.h>

enum submit_wait {
        SUBMIT_BY_OUTPUT, /* for a local output; gs:// is submitted and left */
        SUBMIT_WAIT,
        SUBMIT_LEAVE,
};

enum submit_stage {
        SUBMIT_CHECKING,
        SUBMIT_SENDING, /* files, and the request */
        SUBMIT_NO_ROOM, /* the service refuses for now, with a text; it is tried again */
        SUBMIT_QUEUED,  /* the service has it */
        SUBMIT_RUNNING,
        SUBMIT_CANCELLING,
        SUBMIT_CLEANING, /* it ended; what was staged is removed */
};
const char *submit_stage_text(enum submit_stage s); /* "waiting for a machine" */

struct submit_news { /* borrowed */
        enum submit_stage stage;
        const char *job;           /* its id */
        const char *name, *url;    /* the service's name for it, a page for people; or NULL */
        const char *text;          /* one line more, or NULL */
        int64_t cells, cells_done; /* 0: not known */
};

struct submit_opts {                 /* borrowed; texts NULL: not said */
        const char *input;           /* path, or gs:// */
        const char *output;          /* the same; default: the input's with "_output" */
        const char *input_folder;    /* path or gs:// of files that the notebook needs */
        const char *parameters;      /* JSON object, text */
        const char *job_id;          /* default: from the notebook's name and the time */
        const struct config *config; /* NULL: config_builtin()'s */
        const char *executor;        /* its name; default: the first of kind "vertex" */
        /* These win over the executor's own. */
        const char *project, *region, *bucket, *machine_type, *accelerator_type, *image,
                *service_account, *api_url, *storage_url, *logging_url, *token_url;
        uint64_t max_running_us; /* 0: nine hours */
        enum submit_wait wait;
        bool no_check;    /* of the syntax */
        const char *self; /* path of this binary */
        struct loop *loop;
        /* Whenever something changed; from the loop, and from submit_run(). */
        void (*told)(void *arg, const struct submit_news *n);
        void *arg;
};

enum submit_outcome {
        SUBMIT_ENDED,     /* result says how */
        SUBMIT_LEFT,      /* it goes on without us */
        SUBMIT_UNCHECKED, /* findings: nothing was submitted */
};

struct submit_end { /* texts owned, NULL: not known; done with submit_end_done() */
        enum submit_outcome outcome;
        struct run_result result;
        struct nb_buf findings; /* for people, of the check */
        char *job, *name, *url, *kind, *project, *region, *image;
        char *input;  /* where the job reads it */
        char *output; /* the executed notebook: a path, or gs://; NULL: there is none */
};
void submit_end_done(struct submit_end *e);

struct submit;
/* Checks what can be checked without anything else.  NB_E_INVALID names the
 * option. */
int submit_new(const struct submit_opts *o, struct submit **ret, struct nb_err *err);
/* From begin to end, on the loop.  After an error nothing was submitted, or it
 * was cancelled before it was, and nothing of it is left. */
int submit_run(struct submit *s, struct submit_end *ret, struct nb_err *err);
/* Only from a callback on the loop.  Before it is submitted, nothing will be;
 * after that: cancel it and wait for its end, or leave it as it is. */
void submit_stop(struct submit *s, bool cancel);
struct submit *submit_free(struct submit *s); /* NULL is fine; answers NULL */
NB_DEFINE_FREEP(struct submit *, submit_free);

/* Pure: "dir/train.ipynb" -> "dir/train_output.ipynb"; owned. */
char *submit_output_of(const char *input);
/* Pure: "job_train_ipynb_2026_01_02_03_04_05_123456", in UTC; owned. */
char *submit_job_id(const char *input, int64_t us_since_1970);
