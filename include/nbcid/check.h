/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * check.h - the static gate: what is wrong with a notebook before it runs
 *
 * Nothing of a notebook is executed.  Cells are parsed by the interpreter and
 * the IPython of their environment, in a process of their own (our binary as
 * `nbcid syntax-helper`) that is warm for a whole push, sandboxed and limited.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/buf.h>
#include <nbcid/config.h>
#include <nbcid/err.h>
#include <nbcid/finding.h>
#include <nbcid/json.h>
#include <nbcid/mem.h>
#include <nbcid/str.h>

#define CHECK_FINDINGS_MAX 100 /* a sensible .max of struct findings */

struct check_opts {         /* texts borrowed; they outlive the check */
        const char *python; /* program name or path; NULL: "python3" */
        enum sandbox_kind sandbox;
        const char *const *hide; /* from the process; NULL-terminated, or NULL */
        uint64_t timeout_us;     /* for one notebook, six times that with a kernel; 0: 10 s */
        uint64_t budget_us;      /* of waiting for the processes, for all notebooks; 0: any */
        uint64_t memory_max;     /* of the process, bytes; 0: 1 GiB */
        bool kernel_check;       /* ask kernels about languages other than Python */
        uint64_t max_notebook;   /* bytes; 0: 256 MiB */
        bool cold;               /* start no process before it is asked */
};

/* One push: holds the warm processes.  Blocks; one thread at a time, and several
 * threads have one each.  The process starts here and is not waited for, so that it is
 * ready when it is asked; it ends with the thread that called. */
struct check;
int check_new(const struct check_opts *o, struct check **ret, struct nb_err *err);
struct check *check_free(struct check *c); /* NULL is fine; answers NULL */
NB_DEFINE_FREEP(struct check *, check_free);

struct check_job {                       /* borrowed */
        const struct repo_check *levels; /* NULL: repo_check_default */
        const char *const *parameters;   /* declared names; NULL-terminated, or NULL */
        const char *const *kernels;      /* that the executor has; NULL: unknown */
        const char *python;              /* of the notebook's environment; NULL: opts.python */
};

/* Adds all findings of a notebook of n bytes at p to ret, graver or milder by
 * levels, in the order of rules.  Whatever goes wrong with the process is a
 * warning.  No text of a finding shows a secret that the rule "secret" knows.
 * -NB_E_NOMEM only. */
int check_notebook(struct check *c, const char *name, const char *p, size_t n,
                   const struct check_job *job, struct findings *ret, struct nb_err *err);

/* The same of a notebook of n bytes that is too large to be held: its format and
 * its size alone.  Reads fd (borrowed) from where it is to the end.  -NB_E_NOMEM, and what read()
 * fails with. */
int check_large(struct check *c, int fd, uint64_t n, const struct check_job *job,
                struct findings *ret, struct nb_err *err);

/* The names in the JSON object of a notebook's parameters; appended to ret.
 * -NB_E_INVALID and -NB_E_LIMIT when it is none, is too large or nests deeper than
 * notebook_inject() takes; -NB_E_NOMEM. */
int check_parameter_names(const char *json, struct nb_strv *ret, struct nb_err *err);
/* Which names of that object the notebook's cell tagged "parameters" does not assign:
 * a line for people about each, beginning with the notebook's name; appended to ret.
 * Nothing of a notebook without such a cell, or that is none.  No process is started.
 * Fails as the one above. */
int check_unknown_parameters(const char *name, const char *p, size_t n, const char *json,
                             struct nb_strv *ret, struct nb_err *err);

/* What was not checked in the last notebook, for people: "cells in R are not
 * checked (use --kernel-check)".  Borrowed until the next. */
const struct nb_strv *check_notes(const struct check *c);

/* ---- rendering: appended to a buffer; failed says when it is full ---- */

/* train.ipynb: cell 3 line 2 (line 41 of the file): error[syntax]: ...
 * with the line, a caret and the remedy below it. */
void check_render_human(const char *name, const struct findings *f, bool colour,
                        struct nb_buf *ret);
/* Workflow commands of GitHub: ::error file=...,line=...::... */
void check_render_github(const char *name, const struct findings *f, struct nb_buf *ret);
/* SARIF 2.1.0: begin, each notebook, end.  version is borrowed until then.
 * Regions have lines only: columns are counted in bytes here, and never there. */
struct check_sarif {
        struct nb_json_out out;
        struct nb_strv rules;
        const char *version;
};
void check_sarif_begin(struct check_sarif *s, const char *version, struct nb_buf *ret);
void check_sarif_add(struct check_sarif *s, const char *name, const struct findings *f);
void check_sarif_end(struct check_sarif *s);

/* What `nbcid syntax-helper` runs: limits itself, and becomes the sandboxed
 * interpreter.  Answers an exit status only when that fails. */
int check_helper_main(int argc, char **argv);
