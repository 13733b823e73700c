/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* check-priv.h - what the files of the gate share */

#include <sys/types.h>

#include <nbcid/check.h>
#include <nbcid/notebook.h>

/* ---- process.c: a warm helper and its pipe ---- */

#define PROCESS_ANSWER_MAX ((size_t)1 << 20)

struct process {
        pid_t pid;       /* 0: none */
        int fd;          /* its standard input and output */
        int errors;      /* its standard error */
        char words[512]; /* the last of that */
};
#define PROCESS_NONE ((struct process){.fd = -1, .errors = -1})

struct process_opts {     /* borrowed */
        const char *mode; /* "syntax" or "kernel" */
        const char *python;
        enum sandbox_kind sandbox;
        const char *const *hide;
        uint64_t memory_max;
};
int process_start(const struct process_opts *o, struct process *ret, struct nb_err *err);
/* One request, one line of answer (without its newline).  -NB_E_TIMEOUT,
 * -NB_E_REMOTE (it ended, with its last words), -NB_E_LIMIT, -NB_E_IO; after
 * any of them it is to be stopped. */
int process_ask(struct process *p, const struct nb_buf *request, uint64_t timeout_us,
                struct nb_buf *answer, struct nb_err *err);
void process_stop(struct process *p);

/* ---- check.c ---- */

#define CHECK_PYTHONS 4 /* warm interpreters */

struct warm {
        char *python;
        struct process process;
};

struct check {
        struct check_opts o;
        struct warm syntax[CHECK_PYTHONS], kernel;
        unsigned next; /* whose place is given up next */
        uint64_t waited_us;
        struct nb_strv notes;
};

/* One notebook in hand. */
struct checking {
        struct check *check;
        const char *name, *p;
        size_t n;
        const struct check_job *job;
        const struct repo_check *levels;
        struct notebook_source source;
        struct findings *ret;
        unsigned secrets; /* told so far */
        char *covered;    /* see covered_source(); of cell, 0: none */
        int64_t covered_cell;
};

/* A finding in a cell: line and column in its source (0: unknown), message
 * taken (NULL: memory is out), remedy borrowed (may be NULL).  The text of the line comes with it,
 * its secrets covered. */
int found_in_cell(struct checking *k, enum check_level level, const char *rule, int64_t cell,
                  size_t line, size_t column, char *message, const char *remedy,
                  struct nb_err *err);
/* The same for a place of the file, cell 0 for none. */
int found_in_file(struct checking *k, enum check_level level, const char *rule, int64_t cell,
                  struct nb_json_pos at, char *message, const char *remedy, struct nb_err *err);
int check_note(struct checking *k, char *note_taken, struct nb_err *err);

/* ---- syntax.c ---- */
int check_syntax(struct checking *k, struct nb_err *err);

/* ---- gates.c, order.c: each knows its level ---- */
int check_size(struct checking *k, struct nb_err *err);
int check_gates(struct checking *k, struct nb_err *err);
int check_parameters(struct checking *k, struct nb_err *err);
int check_paths(struct checking *k, struct nb_err *err);

/* ---- secrets.c ---- */

struct secret {
        const char *kind;  /* "a GitHub token"; static */
        size_t begin, end; /* offsets in the text */
};
/* The first secret at or after from; false when there is none.  code: also
 * passwords that are assigned. */
bool secret_find(const char *s, size_t n, size_t from, bool code, struct secret *ret);
/* Owned copy of the bytes from begin to end with all secrets of the whole as
 * stars; NULL when memory is out. */
char *secret_cover(const char *s, size_t n, size_t begin, size_t end);
/* Those of the cells; those of outputs come while the notebook is read. */
int check_secrets(struct checking *k, struct nb_err *err);
int check_output_secrets(void *checking, int64_t cell, const char *s, size_t n,
                         struct nb_json_pos at, struct nb_err *err);
