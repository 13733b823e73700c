/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * world.h - a whole flow in one process: real store, real git over file://,
 * real loop; a fake executor and a recorder in the forge's place, both of which
 * outlive a "crash" of the flow.
 */

#include <nbcid/check.h>
#include <nbcid/exec.h>
#include <nbcid/flow.h>
#include <nbcid/loop.h>
#include <nbcid/store.h>
#include <nbcid/store_view.h>

struct status { /* one that the forge took; owned */
        char *context, *state, *text;
};

struct world {
        char *dir, *db_path, *origin;
        struct config *config;
        struct nb_clock clock;
        int64_t offset_ms; /* added to the real time */
        struct metrics metrics;
        struct exec_fake_world *machine;

        /* the forge */
        struct status *statuses;
        size_t n_statuses;
        int answer;              /* HTTP status to give; 0: no answer at all */
        const char *retry_after; /* header that goes with it, or NULL */
        unsigned posts;

        /* the process: these end with world_stop() */
        struct loop *loop;
        struct store *store;
        struct httpc *httpc;
        struct exec *exec;
        struct flow_exec flow_exec;
        struct flow *flow;
        struct flow_door *door;

        const char *executor;       /* its name; "local" */
        const char *real;           /* keys of a real one in the fake's place, or NULL */
        uint32_t slots;             /* 2 */
        uint64_t sweep_us;          /* as in struct flow_deps */
        unsigned verbs, stop_after; /* 0: never */
        unsigned refuse_at;         /* this verb and two more answer NB_E_IO; 0: none */
        unsigned refusals;          /* so many verbs more do */
        unsigned attach_refusals, collect_refusals; /* so many calls of the executor do */
        bool dead;                                  /* the store answers no more: time to crash */
};

/* A world in its own directory below nbtest_tmpdir(); origin is the directory
 * of the bare repositories. */
void world_init(struct world *w, const char *name, const char *origin);
void world_done(struct world *w);
/* Another configuration, for world_start() or for flow_reconfigure(): the usual
 * one with other [server] keys, forge (NULL: "github") and with more text. */
struct config *world_config(struct world *w, const char *server, const char *forge,
                            const char *more);
/* A process starts: opens all and recovers.  false: the store died in it. */
bool world_start(struct world *w);
/* The process ends, at once and without a word to anyone. */
void world_stop(struct world *w);
/* Go on until nothing is left to do (waiting is skipped), or the store died.
 * Fails the test after a minute. */
void world_run(struct world *w);
/* Rounds of the loop until cond(w) holds; fails the test after a minute. */
void world_until(struct world *w, bool (*cond)(struct world *w));
/* Deliver a signed push of after (of branch main), as GitHub would. */
struct flow_answer world_push(struct world *w, const char *id, const char *before,
                              const char *after);
/* The same for another repository. */
struct flow_answer world_push_to(struct world *w, const char *repository, const char *id,
                                 const char *before, const char *after);
/* Owned text: every build and job with its end, and the last status of each
 * context. */
char *world_dump(struct world *w);
const char *world_last_status(const struct world *w, const char *context);

/* A bare repository DIR/acme/notebooks.git, by the git command; shell runs in
 * a clone of it.  What the script prints is in *ret (first line each). */
char *origin_make(const char *script);
char *shell_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Test programs are their own git helper. */
#define WORLD_MAIN() \
        int main(int argc, char **argv) \
        { \
                if (argc > 1 && strcmp(argv[1], "git-helper") == 0) \
                        return git_helper_main(0, 1); \
                if (argc > 1 && strcmp(argv[1], "syntax-helper") == 0) \
                        return check_helper_main(argc - 1, argv + 1); \
                return nbtest_run(argc, argv); \
        }
