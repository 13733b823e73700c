/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * env-priv.h - what a job's kernel runs in: looked for, built, kept, told
 *
 * Environments are kept in one directory, by their key (see env_key()):
 *
 *   KEY/             the virtual environment; it holds its own path, so it is
 *                    built in place
 *   KEY.flock        exclusively locked to build or remove it, shared to use it
 *   KEY.json         written last: what is in it, and the hash of its tree.  A
 *                    directory that does not match is removed and built again
 *   KEY.lock.txt     exactly what was installed; stays when KEY/ is removed
 *   KEY.log.txt      how it was built
 */

#include <nbcid/json.h>

#include "runner-priv.h"

#define ENV_FORMAT 1 /* of the builder: part of every key */
#define ENV_KEY_SIZE (2 * 32 + 1)
#define ENV_TEXT_MAX ((size_t)4 << 20) /* of a lock, of what is told of one environment */

struct env_context { /* borrowed */
        const struct runner_opts *opts;
        const struct rundir *dir;
        const char *python; /* the executor's */
        int signal_fd;
        struct run_log *log;
};

/* ---- env-python.c: interpreters ---- */

struct env_python { /* owned */
        char *path, *version, *platform, *implementation;
};
void env_python_done(struct env_python *p);
/* Ask the interpreter at path. */
int env_python_ask(const struct env_context *c, const char *path, struct env_python *ret,
                   struct nb_err *err);
/* Is "3.11.7" a "3.11"? */
bool env_version_is(const char *version, const char *wanted);
/* The executor's python, or one of that version (NULL: any).  NB_E_NOTFOUND
 * names those that are there. */
int env_python_find(const struct env_context *c, const char *version, struct env_python *ret,
                    struct nb_err *err);

struct env_probe { /* a small trusted program whose output is wanted */
        pid_t pid;
        int fd;
};
#define ENV_PROBE_NONE ((struct env_probe){.fd = -1})
/* home: its HOME; NULL: none, and what it says on stderr is not wanted. */
int env_probe_start(const char *const *argv, const char *home, struct env_probe *ret,
                    struct nb_err *err);
/* Wait for its end and append what it said to ret; it is killed after
 * timeout_us.  Answers its exit status, or 128 and its signal. */
int env_probe_finish(struct env_probe *p, uint64_t timeout_us, struct nb_buf *ret,
                     struct nb_err *err);
void env_probe_done(struct env_probe *p);

/* ---- env-judge.c: pure ---- */

/* Names the environment by what want says of its packages: of requirements and
 * constraints the lines count, not their order, nor comments, nor how a
 * package's name is spelt. */
int env_key(const struct nb_environment *want, const struct env_python *python,
            char ret[ENV_KEY_SIZE], struct nb_err *err);
/* Is it a line that a lock may hold: "name==version" or "name @ url", without
 * options or spaces beside those? */
bool env_lock_line_valid(const char *line);
/* A package that is built can say of itself, and of others, that they were
 * installed from a URL.  Only where the requirements, which were held against the
 * policy, name one may the lock have one. */
bool env_lock_line_wanted(const char *line, const char *requirements);
/* Do the requirements name that package? */
bool env_names_package(const char *requirements, const char *name);
/* Why pip, uv or conda failed, from what they printed: CLASS_ENVIRONMENT (the
 * requirements are wrong) or CLASS_INFRASTRUCTURE (the index was not reached,
 * the disk is full); *ret_reason is their own line, owned, or NULL. */
enum run_class env_judge(const char *log, char **ret_reason);
/* The same for podman, of which each command says "Error: ..."; the class is that of a pull. */
enum run_class env_judge_podman(const char *log, char **ret_reason);

/* ---- env-store.c: the directory of environments ---- */

struct env_store {
        int fd;
        char *path;
};
#define ENV_STORE_NONE ((struct env_store){.fd = -1})
int env_store_open(const char *path, struct env_store *ret, struct nb_err *err);
void env_store_done(struct env_store *s);
/* How long to wait for one that another builds, in us: as long as the job may take, and never for
 * ever. */
uint64_t env_store_patience(const struct runner_opts *o);
/* Lock NAME.flock; *ret_fd keeps it.  NB_E_TIMEOUT, NB_E_CANCELLED. */
int env_store_lock(const struct env_store *s, const char *name, bool exclusive, uint64_t until_us,
                   int signal_fd, int *ret_fd, struct nb_err *err);
/* Size of the tree of KEY, and hash of its files' names, sizes, modes and times of change, and of
 * its directories' names and modes; without bytecode that is newer than built_ms (of the wall
 * clock), which Python writes when it likes. */
int env_store_measure(const struct env_store *s, const char *key, int64_t built_ms,
                      char ret[ENV_KEY_SIZE], uint64_t *ret_bytes, struct nb_err *err);
/* 1 and its KEY.json when it is whole; 0: it is not there, or damaged. */
int env_store_find(const struct env_store *s, const char *key, struct nb_json_tree **ret,
                   struct nb_err *err);
int env_store_remove(const struct env_store *s, const char *key, struct nb_err *err);
/* "KEY" + suffix; owned, NULL when memory is out. */
char *env_store_name(const char *key, const char *suffix);
/* Say that it was used now. */
void env_store_touch(const struct env_store *s, const char *key);
/* Remove the least recently used ones that nobody uses, until all together
 * have at most max bytes. */
void env_store_shrink(const struct env_store *s, uint64_t max);

/* ---- env-asked.c: for runner_environment_python() ---- */

/* What want asked for led to key. */
void env_asked_note(const struct env_store *s, const char *python,
                    const struct nb_environment *want, const char *key);
/* Forget what led to environments that are gone. */
void env_asked_sweep(const struct env_store *s);

/* ---- env.c ---- */

struct env { /* what a kernel runs in; owned */
        struct nb_environment want;
        struct env_python python; /* path NULL: not asked for */
        char key[ENV_KEY_SIZE];   /* "": the executor's default */
        char *dir;                /* of the environment; NULL: none */
        char *kernel_python;      /* its interpreter */
        int lock_fd;              /* held for as long as it is used */
        struct nb_json_tree *manifest;
        bool built;
        char *image, *container; /* to run the kernel in, and its name; or NULL */
        char *podman;
        char *note; /* for the result of a job that passed, or NULL */
        struct env_probe probe;
};
#define ENV_NONE ((struct env){.lock_fd = -1, .probe = {.fd = -1}})
void env_done(struct env *e);
/* What opts->environment and opts->parameters ask for; without the former, the
 * notebook at that path. */
int env_ask(const struct runner_opts *o, const char *notebook, struct nb_environment *ret,
            struct nb_err *err);
/* Find or build what ret->want asks for, and fill the rest.  *ret_class: whose
 * fault a failure is.  May take as long as a build. */
int env_prepare(const struct env_context *c, struct env *ret, enum run_class *ret_class,
                struct nb_err *err);

/* ---- env-build.c ---- */

/* Build e->key in store, whose exclusive lock is held; on failure nothing is
 * left but the log. */
int env_build(const struct env_context *c, const struct env_store *store, const struct env *e,
              enum run_class *ret_class, struct nb_err *err);

struct env_step { /* one supervised program of a build; borrowed */
        const char *const *argv;
        const char *const *env;
        const char *home, *cwd;
        bool sandboxed;
        void (*on_line)(void *arg, const char *line, size_t n);
        void *arg;
};
/* Run it with the job's limits and the time of a build; its output goes to
 * environment.log.txt and to the job's log.  0 when it ended well; 1 when not
 * (*ret_status, and what it printed is in *ret_log, owned); < 0 with its class
 * when it was ended by us. */
int env_step(const struct env_context *c, const struct env_step *s, int *ret_status, char **ret_log,
             enum run_class *ret_class, struct nb_err *err);

/* ---- env-image.c: images, by podman ---- */

/* Is it an image of a registry, as podman reads the name? */
bool env_image_remote(const char *image);
/* Have the image here, and name e->container. */
int env_image(const struct env_context *c, const struct env_store *store, struct env *e,
              enum run_class *ret_class, struct nb_err *err);
/* The command line around a kernel in the container, but for the kernel's own
 * words; workspace and home are seen at their own paths. */
int env_image_argv(const struct env_context *c, const struct env *e, const char *workspace,
                   const char *home, const char *cwd, struct nb_strv *ret, struct nb_err *err);
/* Remove what may be left of the container. */
void env_image_end(const struct env_context *c, const struct env *e);

/* ---- env-report.c ---- */

/* environment.json and environment.lock into the run directory; before the
 * engine starts, and again after it when there was a probe. */
int env_report(const struct env_context *c, struct env *e, bool last, struct nb_err *err);
/* Begin to ask the default environment what is in it; e->probe. */
void env_report_ask(const struct env_context *c, struct env *e);
