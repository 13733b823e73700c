/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * runner.h - take one notebook through a Jupyter kernel: `nbcid run`
 *
 * The runner is a process of its own that outlives the daemon.  It supervises
 * an engine (today a small Python program on nbclient, embedded in the binary;
 * nobody else knows that) in a sandbox, keeps the limits, kills the whole tree
 * at the end and leaves everything in its run directory:
 *
 *   lock           held (flock) for as long as the runner lives
 *   started        "PID STARTTIME\n", written once after lock was taken; a
 *                  second runner for the same directory leaves without a trace
 *   events.jsonl   one event a line, the last is "finished"
 *   log.txt        what kernel and engine wrote; bounded
 *   out/executed.ipynb   saved again and again while it runs
 *   out/injected.ipynb   with parameters: the notebook that is run, see below
 *   environment.json     in what it ran: interpreter, packages, hash, host
 *   environment.lock     exactly what was installed there, as pip requirements
 *   environment.log.txt  how the environment was built, if this run built it
 *
 * Events: {"event":"kernel_ready"}, {"event":"cell_started","cell":3,"cells":9,
 * "cells_done":2}, {"event":"cell_finished","cell":3,"seconds":0.41,...},
 * {"event":"cell_failed","cell":4,"ename":"ValueError","evalue":"..."},
 * {"event":"finished","status":"passed|failed|errored|timed_out|cancelled",
 * "class":"...", ...}.  "cell" is 1-based over all cells.
 *
 * With parameters, what is run is a copy of the notebook that has one cell more
 * (see notebook_inject()); the working directory stays the notebook's own.  The
 * cells that events count, and what fails, are those of this copy, which is what
 * executed.ipynb shows.  Parameters that do not fit (a name, the language) end
 * the run with class "check" before anything starts; when no cell is tagged
 * "parameters", a line of log.txt says that they went to the top.
 */

#include <stdbool.h>
#include <stdint.h>

#include <nbcid/buf.h>
#include <nbcid/config.h>
#include <nbcid/err.h>
#include <nbcid/model.h>
#include <nbcid/str.h>

struct runner_opts {             /* borrowed */
        const char *notebook;    /* path; relative to workspace when that is given */
        const char *workspace;   /* NULL: the notebook's directory */
        const char *run_dir;     /* NULL: a temporary one, removed at the end */
        const char *output;      /* where to put the executed notebook; NULL: only in run_dir */
        const char *const *hide; /* what the job must not see: directories become empty, files
                                  * unreadable; NULL-terminated, or NULL */
        const char *parameters;  /* JSON object, text; or NULL: the environment's */
        const char *environment; /* file with a struct nb_environment; NULL: the image
                                  * that the notebook's metadata names, if any */
        unsigned allow;          /* enum requirements_allow: what environment may do */
        const char *kernel, *language; /* wanted kernelspec; else the environment's, else the
                                        * notebook's own; or NULL */
        const char *python;            /* interpreter of the engine */
        enum sandbox_kind sandbox;
        uint64_t timeout_us, cell_timeout_us; /* 0: none */
        uint64_t memory_max;                  /* bytes; 0: none */
        uint32_t processes_max;               /* 0: none */
        uint64_t max_output;                  /* bytes; 0: none */
        int events_fd;                        /* also write events here; -1: no */
        const char *cgroup;                   /* delegated cgroup v2 directory to make ours below,
                                               * or NULL */
        const char *environments;             /* directory in which they are kept, or NULL */
        uint64_t environments_max;            /* bytes that it may have; 0: any */
        uint64_t build_timeout_us;          /* of an environment, or of pulling an image; 0: none */
        const char *uv;                     /* the program to build with, when it is there; "":
                                             * pip */
        const char *conda;                  /* the same for conda environments; NULL: micromamba or
                                             * conda */
        const char *index_url, *pip_config; /* package index; file for pip; or NULL */
        const char *podman;                 /* runs images; NULL: none are run */
        bool image_fallback;                /* then run in the default environment instead */
        bool quiet;                         /* no progress for people on stderr */
};

/* Run it.  SIGTERM and SIGINT cancel (the notebook is saved).  Its own
 * process only.  Fills ret when the answer is >= 0: exit status 0 passed, 1
 * failed, 3 infrastructure; 4: another runner has this directory. */
int runner_run(const struct runner_opts *o, struct run_result *ret, struct nb_err *err);

/* Names of the kernelspecs that a job of this interpreter finds, before its own
 * environment brings more.  Reads a few directories; any thread.  NB_E_NOMEM. */
int runner_kernels(const char *python, struct nb_strv *ret, struct nb_err *err);

/* The interpreter of the environment that a former run built for e below dir,
 * with python as its executor's: 1 and *ret, owned; 0: there is none.  It may be
 * removed at any time.  Starts nothing; any thread. */
int runner_environment_python(const char *dir, const char *python, const struct nb_environment *e,
                              char **ret, struct nb_err *err);

/* ---- the two sides of events.jsonl ---- */

enum runner_event_kind {
        RUNNER_KERNEL_READY,
        RUNNER_CELL_STARTED,
        RUNNER_CELL_FINISHED,
        RUNNER_CELL_FAILED,
        RUNNER_FINISHED,
        RUNNER_OTHER, /* an event of a newer runner: skip */
};
struct runner_event { /* texts owned by result; done with runner_event_done() */
        enum runner_event_kind kind;
        int64_t cell, cells, cells_done;
        double seconds;
        struct run_result result; /* FINISHED: whole; CELL_FAILED: cell, ename, evalue */
};
/* One line without its newline.  NB_E_INVALID when it is no event. */
int runner_event_parse(const char *line, size_t n, struct runner_event *ret, struct nb_err *err);
/* Append the line with its newline. */
int runner_event_write(struct nb_buf *b, const struct runner_event *ev);
void runner_event_done(struct runner_event *ev);
