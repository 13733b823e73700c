/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* app.h - what the files of the roof share: subcommands and the worker */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <nbcid/config.h>
#include <nbcid/err.h>
#include <nbcid/json.h>
#include <nbcid/metrics.h>
#include <nbcid/str.h>

/* Exit statuses of every subcommand. */
enum {
        EXIT_FINE = 0,
        EXIT_NOTEBOOK_FAILED = 1,
        EXIT_USAGE = 2, /* wrong usage or configuration */
        EXIT_INFRASTRUCTURE = 3,
};

/* Each gets argv from its own name on and answers an exit status. */
int cmd_serve(int argc, char **argv);
int cmd_config(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_env(int argc, char **argv);
int cmd_submit(int argc, char **argv);

/* ---- parameters.c: JSON objects, as text; *all is owned, NULL is none yet ---- */

/* -p NAME VALUE, with the type that papermill guesses: True, False, None, whole
 * numbers, fractions; else a string, which inf, nan and 1_000 are too. */
int parameters_set(char **all, const char *name, const char *value, struct nb_err *err);
/* The members of a JSON file; of *all when both have a name, the file's. */
int parameters_read(char **all, const char *path, struct nb_err *err);
/* Those of more, which may be NULL; they win. */
int parameters_join(char **all, const char *more, struct nb_err *err);

/* ---- env-look.c: what a notebook needs, asked of an interpreter of Python ---- */

/* Run the program that looks (env.py), which parses the notebook's cells and runs
 * none of it.  python NULL: that of its kernel, else python3.  path is absolute.
 * The tree is owned; see env.py for what is in it.  A minute at most. */
int env_look(const char *python, const char *path, struct nb_json_tree **ret, struct nb_err *err);
int cmd_check(int argc, char **argv);

/* Default of --config. */
#define APP_CONFIG_FILE "/etc/nbcid/config.toml"

/* ---- worker.c: the one worker thread ---- */

struct worker;
struct worker_deps { /* borrowed; outlive it */
        struct config *config;
        const char *db_path;
        const char *self; /* path of this binary */
        struct metrics *metrics;
};
/* Opens the store (creating or migrating it), the executors and the loop; the
 * thread runs, and recovers, from worker_start() on. */
int worker_new(const struct worker_deps *d, struct worker **ret, struct nb_err *err);
int worker_start(struct worker *w, struct nb_err *err);
/* Stops and joins the thread.  NULL is fine; answers NULL. */
struct worker *worker_free(struct worker *w);
NB_DEFINE_FREEP(struct worker *, worker_free);

/* The rest: any thread. */
void worker_wake(void *worker);
void worker_reconfigure(struct worker *w, struct config *c); /* takes its own reference */
/* Start nothing new. */
void worker_drain(struct worker *w);
struct worker_state {
        unsigned preparing, running, sending;
        uint64_t silence_us; /* since the loop last went round with a store that answers */
        bool idle;           /* told to drain, and nothing is in hand any more */
        bool ended;          /* its thread has, and was not told to: nothing gets done any more */
};
struct worker_state worker_state(const struct worker *w);
