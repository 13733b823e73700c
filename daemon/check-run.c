/* SPDX-License-Identifier: Apache-2.0 */

/*
 * check-run.c - files through the gate, by threads that take the next file each
 *
 * Nobody is in charge of the output: whoever has done a file, and finds that the
 * one to be told next is done, tells it and those after it.  So one thread is
 * as good as many, and with one no other is started.
 */

#include "check-run.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nbcid/fs.h>

#include "check-files.h"

/* Files that may be done before one ahead of them: while one of some megabytes is checked, a
 * thousand small ones are. */
#define SLOTS 2048
#define KEPT_MAX ((size_t)16 << 20) /* of a buffer, for the next file */
#define PIECE ((size_t)64 << 10)
/* A process that parses starts no faster than so many notebooks are parsed. */
#define FILES_FOR_A_PROCESS 16

struct result {
        struct checked c;
        struct checker *by;
        struct result *next; /* of those that are told and its to free */
};

struct entry {
        char *path;
        struct nb_err *refused; /* NULL: it is to be checked */
};

struct check_crew {
        const struct check_run *r;
        pthread_mutex_t lock;
        pthread_cond_t changed; /* n, told or all grew, held shrank, or stop */
        /* under lock */
        struct entry *files;
        size_t n, cap;
        size_t stdin_at;    /* index of the first "-" */
        size_t taken, told; /* files; done has those between */
        uint64_t held;      /* bytes of text */
        bool all;           /* no more files are added */
        bool telling, stop;
        bool starved;               /* no memory for a result */
        struct result *done[SLOTS]; /* NULL: not yet */
        /* of the thread that adds */
        struct checker *checkers; /* jobs of them; the first is that thread's own */
        unsigned jobs, started;
};

/* What one thread has for itself. */
struct checker {
        struct check_crew *crew;
        pthread_t thread;
        struct check *check;
        struct rules rules;
        struct nb_buf text; /* kept: fresh memory costs more than reading into it */
        /* Under the crew's lock.  Who asked for memory gives it back: with the other threads'
         * malloc() each has a lock to wait for. */
        struct result *told;
};

/* ---- rules ---- */

#define RULE(name_) \
        { \
#name_, offsetof(struct repo_check, name_) \
        }

static const struct {
        const char *name;
        size_t at;
} rules[] = {
        RULE(format),        RULE(syntax),
        RULE(outputs_empty), RULE(execution_order),
        RULE(kernelspec),    RULE(absolute_paths),
        RULE(secrets),       RULE(size),
        RULE(parameters),    RULE(parameters_unknown),
};

unsigned check_rule_bit(const char *name)
{
        for (size_t i = 0; i < NB_ARRAY_SIZE(rules); i++)
                if (nb_streq(name, rules[i].name))
                        return 1u << i;
        return 0;
}

static struct repo_check levels_of(const struct repo_config *config, unsigned only)
{
        struct repo_check levels = config ? config->check : repo_check_default;

        for (size_t i = 0; only && i < NB_ARRAY_SIZE(rules); i++)
                if (!(only & 1u << i))
                        *(enum check_level *)(void *)((char *)&levels + rules[i].at) = CHECK_OFF;
        return levels;
}

/* ---- one notebook ---- */

static int read_stdin(struct nb_buf *ret, struct nb_err *err)
{
        nb_auto_free char *piece = malloc(PIECE);
        ssize_t n;

        if (!piece)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        while ((n = read(STDIN_FILENO, piece, PIECE)) != 0) {
                if (n < 0 && errno != EINTR)
                        return nb_fail_errno(err, errno, "cannot read");
                if (n > 0 && nb_buf_append(ret, piece, (size_t)n) < 0)
                        return nb_fail(err, NB_E_LIMIT,
                                       "standard input is over %zu MiB; write it to a file, which "
                                       "is read in pieces, and name that",
                                       ret->max >> 20);
        }
        return 0;
}

/* Too large to be held. */
static int check_large_file(struct checker *k, int fd, uint64_t n, const struct repo_config *config,
                            struct checked *ret, struct nb_err *err)
{
        const struct repo_check levels = levels_of(config, k->crew->r->only);
        const struct check_job job = {.levels = &levels};

        if (nb_strv_add(&ret->notes, "over 256 MiB: format and size alone are checked") < 0)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        return check_large(k->check, fd, n, &job, &ret->found, err);
}

static int check_text(struct checker *k, const char *path, const struct repo_config *config,
                      struct checked *ret, struct nb_err *err)
{
        const struct repo_check levels = levels_of(config, k->crew->r->only);
        NB_CLEANUP(nb_strv_done) struct nb_strv names = {0};
        struct check_job job = {.levels = &levels};
        const struct nb_strv *notes;
        int r = 0;

        if (levels.parameters != CHECK_OFF || levels.parameters_unknown != CHECK_OFF)
                r = rules_parameters(&k->rules, path, &names, err);
        job.parameters = (const char *const *)names.v;
        if (r == 0)
                r = check_notebook(k->check, path, nb_buf_str(&k->text), k->text.len, &job,
                                   &ret->found, err);
        notes = check_notes(k->check);
        for (size_t i = 0; r == 0 && i < notes->n; i++)
                if (nb_strv_add(&ret->notes, notes->v[i]) < 0)
                        r = nb_fail(err, NB_E_NOMEM, "out of memory");
        return r;
}

/* Wait until so much text may be held. */
static void hold(struct check_crew *c, uint64_t bytes)
{
        pthread_mutex_lock(&c->lock);
        /* alone it may always go on, and those that are ahead end */
        while (c->held > 0 && c->held + bytes > CHECK_RUN_WHOLE)
                pthread_cond_wait(&c->changed, &c->lock);
        c->held += bytes;
        pthread_mutex_unlock(&c->lock);
}

static void let_go(struct checker *k, uint64_t bytes)
{
        struct check_crew *c = k->crew;

        if (k->text.cap > KEPT_MAX)
                nb_buf_done(&k->text);
        pthread_mutex_lock(&c->lock);
        c->held -= bytes;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->lock);
}

static int check_stdin(struct checker *k, size_t i, const struct repo_config *config,
                       struct checked *ret, struct nb_err *err)
{
        int r = 0;

        hold(k->crew, CHECK_RUN_WHOLE);
        if (i == k->crew->stdin_at)
                r = read_stdin(&k->text, err);
        if (r == 0)
                r = check_text(k, "-", config, ret, err);
        let_go(k, CHECK_RUN_WHOLE);
        return r;
}

static int check_file(struct checker *k, const char *path, const struct repo_config *config,
                      struct checked *ret, struct nb_err *err)
{
        struct stat st;
        nb_auto_fd int fd = nb_open_regular(AT_FDCWD, path, 0, &st, err);
        int r;

        if (fd < 0)
                return fd;
        if ((uint64_t)st.st_size > CHECK_RUN_WHOLE)
                return check_large_file(k, fd, (uint64_t)st.st_size, config, ret, err);
        hold(k->crew, (uint64_t)st.st_size);
        r = nb_read_open(fd, (uint64_t)st.st_size, path, &k->text, err);
        if (r == 0)
                r = check_text(k, path, config, ret, err);
        let_go(k, (uint64_t)st.st_size);
        return r;
}

static int check_one(struct checker *k, size_t i, const char *path, struct checked *ret,
                     struct nb_err *err)
{
        nb_auto_free char *dir = files_dir(path);
        const struct repo_config *config;
        int r;

        if (!dir)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = rules_find(&k->rules, dir, &config, err);
        if (r < 0)
                return r;
        nb_buf_clear(&k->text);
        return nb_streq(path, "-") ? check_stdin(k, i, config, ret, err)
                                   : check_file(k, path, config, ret, err);
}

/* ---- many ---- */

static void free_results(struct result *list)
{
        while (list) {
                struct result *next = list->next;

                findings_done(&list->c.found);
                nb_strv_done(&list->c.notes);
                free(list);
                list = next;
        }
}

/* Under lock, but not while it checks. */
static void check_next(struct checker *k)
{
        struct check_crew *c = k->crew;
        const size_t i = c->taken++;
        const struct entry file = c->files[i];
        struct result *told = k->told, *x;

        k->told = NULL;
        pthread_mutex_unlock(&c->lock);
        free_results(told);
        x = calloc(1, sizeof(*x));
        if (x) {
                x->by = k;
                x->c.found.max = CHECK_FINDINGS_MAX;
                if (file.refused)
                        x->c.err = *file.refused;
                x->c.failed = file.refused || check_one(k, i, file.path, &x->c, &x->c.err) < 0;
        }
        pthread_mutex_lock(&c->lock);
        c->done[i % SLOTS] = x;
        c->starved = c->starved || !x;
        c->stop = c->stop || !x;
        pthread_cond_broadcast(&c->changed);
}

static bool can_tell(const struct check_crew *c)
{
        return !c->telling && !c->stop && c->told < c->taken && c->done[c->told % SLOTS];
}

/* Under lock, but not while it tells. */
static void tell_next(struct check_crew *c)
{
        struct result *x = c->done[c->told % SLOTS];
        const char *path = c->files[c->told].path;
        bool more;

        c->telling = true;
        pthread_mutex_unlock(&c->lock);
        more = c->r->tell(c->r->arg, path, &x->c);
        pthread_mutex_lock(&c->lock);
        c->done[c->told % SLOTS] = NULL;
        c->told++;
        x->next = x->by->told;
        x->by->told = x;
        c->telling = false;
        c->stop = c->stop || !more;
        pthread_cond_broadcast(&c->changed);
}

static void work(struct checker *k)
{
        struct check_crew *c = k->crew;

        pthread_mutex_lock(&c->lock);
        for (;;) {
                if (can_tell(c))
                        tell_next(c);
                else if (c->stop || (c->all && c->taken == c->n))
                        break; /* who has one in hand tells the rest */
                else if (c->taken < c->n && c->taken - c->told < SLOTS)
                        check_next(k);
                else
                        pthread_cond_wait(&c->changed, &c->lock);
        }
        pthread_mutex_unlock(&c->lock);
}

static void checker_done(struct checker *k)
{
        rules_done(&k->rules);
        nb_buf_done(&k->text);
}

static void *thread_main(void *arg)
{
        struct checker *k = arg;
        const struct check_run *r = k->crew->r;
        struct nb_err err;

        /* one that cannot begin is not missed: the first one can */
        if (check_new(&r->opts, &k->check, &err) == 0)
                work(k);
        check_free(k->check);
        checker_done(k);
        return NULL;
}

/* ---- the crew ---- */

static unsigned jobs_of(const struct check_run *r)
{
        unsigned jobs = r->jobs;
        cpu_set_t cpus;

        if (jobs == 0)
                jobs = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? (unsigned)CPU_COUNT(&cpus)
                                                                      : 1;
        return jobs < CHECK_RUN_JOBS_MAX ? jobs : CHECK_RUN_JOBS_MAX;
}

int check_crew_new(const struct check_run *r, struct check_crew **ret, struct nb_err *err)
{
        const unsigned jobs = jobs_of(r);
        nb_auto_free struct check_crew *c = calloc(1, sizeof(*c));
        nb_auto_free struct checker *all = nb_alloc_array(jobs, sizeof(*all));

        if (!c || !all)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        for (unsigned i = 0; i < jobs; i++)
                all[i] = (struct checker){
                        .crew = c, .rules = {.forced = r->config}, .text = NB_BUF(CHECK_RUN_WHOLE)};
        all[0].check = r->check;
        c->r = r;
        c->stdin_at = SIZE_MAX;
        c->checkers = NB_TAKE(all);
        c->jobs = jobs;
        c->started = 1;
        pthread_mutex_init(&c->lock, NULL);
        pthread_cond_init(&c->changed, NULL);
        *ret = NB_TAKE(c);
        return 0;
}

/* When the files are worth one more; that it does not begin is not missed. */
static void start_next(struct check_crew *c)
{
        const size_t each = c->r->opts.cold ? 1 : FILES_FOR_A_PROCESS;
        struct checker *k = &c->checkers[c->started];

        if (c->started < c->jobs && c->n > c->started * each &&
            pthread_create(&k->thread, NULL, thread_main, k) == 0)
                c->started++;
}

static int add(struct check_crew *c, struct entry file, struct nb_err *err)
{
        int r;

        if (!file.path)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        pthread_mutex_lock(&c->lock);
        r = nb_grow((void **)&c->files, &c->cap, c->n + 1, sizeof(*c->files));
        if (r == 0) {
                if (c->stdin_at == SIZE_MAX && nb_streq(file.path, "-"))
                        c->stdin_at = c->n;
                c->files[c->n++] = file;
                pthread_cond_broadcast(&c->changed);
        }
        pthread_mutex_unlock(&c->lock);
        if (r < 0)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        start_next(c);
        return 0;
}

int check_crew_add(struct check_crew *c, char *path, struct nb_err *err)
{
        int r = add(c, (struct entry){.path = path}, err);

        if (r < 0)
                free(path);
        return r;
}

int check_crew_refuse(struct check_crew *c, const char *path, const struct nb_err *why,
                      struct nb_err *err)
{
        nb_auto_free char *copy = nb_strdup(path);
        nb_auto_free struct nb_err *refused = malloc(sizeof(*refused));
        int r;

        if (!refused)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *refused = *why;
        r = add(c, (struct entry){copy, refused}, err);
        if (r < 0)
                return r;
        copy = NULL;
        refused = NULL;
        return 0;
}

int check_crew_finish(struct check_crew *c, struct nb_err *err)
{
        bool starved;

        pthread_mutex_lock(&c->lock);
        c->all = true;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->lock);
        work(&c->checkers[0]);
        for (unsigned i = 1; i < c->started; i++)
                pthread_join(c->checkers[i].thread, NULL);
        checker_done(&c->checkers[0]);
        for (unsigned i = 0; i < c->started; i++)
                free_results(c->checkers[i].told);
        /* those that were done and not told, as nobody wants to hear more */
        for (; c->told < c->taken; c->told++)
                free_results(c->done[c->told % SLOTS]);
        for (size_t i = 0; i < c->n; i++) {
                free(c->files[i].path);
                free(c->files[i].refused);
        }
        free(c->files);
        free(c->checkers);
        pthread_cond_destroy(&c->changed);
        pthread_mutex_destroy(&c->lock);
        starved = c->starved;
        free(c);
        return starved ? nb_fail(err, NB_E_NOMEM, "out of memory") : 0;
}
