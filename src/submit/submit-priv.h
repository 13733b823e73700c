/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* submit-priv.h - what the files of a submission share */

#include <nbcid/blob.h>
#include <nbcid/crypto.h>
#include <nbcid/exec.h>
#include <nbcid/gcp.h>
#include <nbcid/httpc.h>
#include <nbcid/notebook.h>
#include <nbcid/num.h>
#include <nbcid/str.h>
#include <nbcid/submit.h>

#define SUBMIT_LANES 8 /* transfers at a time */

struct submit {
        struct submit_opts o; /* texts are the caller's */
        struct config *own;   /* when the caller has none */
        const struct config *config;
        struct config_executor cfg; /* a copy: its texts are the configuration's, or in kept */
        struct nb_strv kept;
        struct nb_secret key;
        bool far, wait;

        char *job, *ref;
        char *output; /* as asked for, or implied */
        char *dir;    /* temporary: what comes and goes */
        char *state;  /* the executor's */
        char *workspace, *notebook;
        struct notebook_head head;
        struct nb_strv notes; /* for people, in the order in which they came up */

        /* far away */
        struct httpc *httpc;
        struct gcp *gcp;
        struct blob *blob;
        char *prefix, *input, *far_output, *folder, *cwd;
        char *folder_top, *folder_own; /* what is uploaded, to where; NULL: nothing */
        char *skip; /* in it: the notebook, which is staged with its parameters */
        bool there; /* the input */
        int64_t newer_than;

        struct exec *exec;
        struct exec_run *run;
        struct run_result result;
        char *name, *url;
        enum submit_stage stage;
        int64_t cells, cells_done;
        bool stopped, hurry; /* outside of the run; hurry: again, so whatever it costs */
        bool submitted, leave, cancelling, finished, over;
};

static inline bool is_far(const char *path)
{
        return path && nb_starts_with(path, "gs://");
}
static inline int no_memory(struct nb_err *err)
{
        return nb_fail(err, NB_E_NOMEM, "out of memory");
}

/* submit.c */
void submit_tell(struct submit *s, enum submit_stage stage, const char *text);

/* options.c: fill s from its options; nothing is asked of anybody */
int submit_read_options(struct submit *s, struct nb_err *err);
/* A copy that lives as long as s; NULL when memory is out. */
char *submit_keep(struct submit *s, char *owned);

/* look.c: is it a notebook that can be run?  1: no, and findings say why. */
int submit_look(struct submit *s, struct nb_buf *findings, struct nb_err *err);

/* cloud.c */
int cloud_open(struct submit *s, struct nb_err *err);
int cloud_project(struct submit *s, struct nb_err *err);
/* The input to s->dir. */
int cloud_get_input(struct submit *s, struct nb_err *err);
/* The bucket, what is at the output's address, and all addresses. */
int cloud_place(struct submit *s, struct nb_err *err);
void cloud_close(struct submit *s);
/* Wait until *done; NB_E_CANCELLED when we are told to stop; with anyway, when
 * we are told twice. */
int cloud_wait(struct submit *s, const bool *done, bool anyway, struct nb_err *err);

/* crowd.c: the same for each of many, some at a time */
struct crowd { /* borrowed */
        struct submit *s;
        size_t n;
        int (*begin)(void *arg, size_t i, blob_fn done, void *done_arg, struct blob_op **ret,
                     struct nb_err *err);
        void *arg;
        bool anyway; /* also when we were told to stop, once */
};
int crowd_run(const struct crowd *c, struct nb_err *err);

/* folder.c */
/* Are all names and files fine?  Nothing is sent. */
int folder_look(struct submit *s, struct nb_strv *ret_files, struct nb_err *err);
int folder_put(struct submit *s, const struct nb_strv *files, struct nb_err *err);
/* Remove all objects below an address that ends in '/', also after we were
 * told to stop. */
int objects_remove(struct submit *s, const char *prefix, struct nb_err *err);
