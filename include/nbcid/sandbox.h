/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * sandbox.h - a command line that runs a stranger's program with little in sight
 *
 * What is wrapped sees the system read-only, a process list of its own, an
 * empty /run, no homes, /tmp as it is told, and nothing that is hidden from it.
 * Limits, environment and deadline are the caller's.  Any thread; blocks for
 * the milliseconds that it takes to ask whether bubblewrap works here.
 */

#include <stdbool.h>
#include <stdint.h>

#include <nbcid/config.h>
#include <nbcid/err.h>
#include <nbcid/str.h>

#define SANDBOX_PATH "/usr/local/bin:/usr/bin:/bin" /* the jobs' PATH */

struct sandbox_opts { /* borrowed; absolute paths */
        enum sandbox_kind kind;
        const char *python;       /* interpreter whose prefix must be seen, or NULL */
        const char *const *hide;  /* directories become empty, files unreadable;
                                   * NULL-terminated, or NULL; what is not there is skipped */
        const char *const *show;  /* read-only though hidden by the above, or NULL */
        const char *const *write; /* writable, or NULL */
        const char *tmp;          /* directory that is /tmp and /var/tmp inside; NULL: an
                                   * empty one of 1 MiB */
        const char *cwd;          /* NULL: "/" */
        uint64_t memory_max;      /* of /dev/shm; 0: none */
        bool network;             /* false: an empty network of its own */
        const char *const *argv;  /* absolute program and arguments, NULL-terminated */
};

/* What is to be executed: bubblewrap with argv inside, or argv as it is when
 * there is no sandbox (then cwd is the caller's to set).  Of hide, show and
 * write the longer path wins, so that a secret inside a workspace is none; of
 * equal ones hide loses.  show and write must exist.  Appends to ret, which is
 * to be done with on failure too.  NB_E_INVALID: bubblewrap is demanded and
 * does not work here. */
int sandbox_wrap(const struct sandbox_opts *o, struct nb_strv *ret, bool *ret_sandboxed,
                 struct nb_err *err);
/* Does bubblewrap work here?  0, or NB_E_NOTFOUND, NB_E_INVALID with the reason
 * and the remedy. */
int sandbox_probe(struct nb_err *err);
/* Absolute path of a program, looked up in SANDBOX_PATH; one with a slash must
 * only be there.  Owned.  NB_E_NOTFOUND. */
int sandbox_find_program(const char *name, char **ret, struct nb_err *err);
