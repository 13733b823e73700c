/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* run-priv.h - what run.c (an attempt up to its end) and run-end.c (from there
 * on) share */

#include "flow-priv.h"

enum run_stage {
        RUN_ATTACH,   /* of a former process, and the executor could not tell yet */
        RUN_CHECKOUT, /* on the pool */
        RUN_RUNNING,  /* the executor has it */
        RUN_COLLECT,  /* it ended; what it left is to be taken */
        RUN_JUDGE,    /* on the pool */
        RUN_READY,    /* result is to be stored */
};

struct run {
        struct loop_work work; /* first: the pool hands this back */
        struct flow *flow;     /* NULL: abandoned */
        struct run *next;
        struct config *config;
        struct store_attempt attempt;
        const struct flow_exec *exec; /* NULL: not in the configuration any more */
        struct exec_run *handle;
        enum run_stage stage;
        char *workspace, *artifacts;
        bool cancel_asked, running_stored;
        bool trouble;             /* said once: collecting or attaching failed */
        uint64_t attach_until_us; /* RUN_ATTACH: then it is lost */
        bool progress;            /* to be written: */
        int64_t cells, cells_done, cell;
        struct run_result result;

        /* filled on the pool */
        int r;
        struct nb_err err;
};

struct run *run_free(struct run *u); /* NULL is fine; answers NULL */
NB_DEFINE_FREEP(struct run *, run_free);
void run_unlink(struct run *u);
void run_release(struct run *u);
/* It never ran, or we cannot tell: class and reason in place of a verdict. */
void run_end(struct run *u, enum run_class class, const char *reason);
/* Something of this run alone failed and is tried again in a second. */
void run_again(struct run *u, const struct nb_err *err, const char *what);

/* RUN_COLLECT: take what the run left, then judge it. */
void run_collect(struct run *u);
/* RUN_READY: store the verdict and clean up.  false: the store failed; else the
 * item is gone. */
bool run_store(struct run *u);
