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
#include <nbcid/notebook.h>

#include "check-files.h"

#define SLOTS 256                  /* files that may be done before one ahead of them */
#define KEPT_MAX ((size_t)4 << 20) /* of a buffer, for the next file */
#define PIECE ((size_t)64 << 10)
/* A process that parses starts no faster than so many notebooks are parsed. */
#define FILES_FOR_A_PROCESS 16

struct slot {
        bool done;
        struct checked c;
};

struct crew {
        const struct check_run *r;
        size_t stdin_at; /* its index */
        pthread_mutex_t lock;
        pthread_cond_t changed; /* told grew, held shrank, or stop */
        /* under lock */
        size_t taken, told; /* files; slots are those between */
        uint64_t held;      /* bytes of text */
        bool telling, stop;
        struct slot slots[SLOTS]; /* what is not done belongs to who took it */
};

/* What one thread has for itself. */
struct checker {
        struct crew *crew;
        pthread_t thread;
        struct check *check;
        struct rules rules;
        struct nb_buf text; /* kept: fresh memory costs more than reading into it */
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

/* Too large to be held: the format alone, piece by piece. */
static int check_pieces(int fd, struct findings *f, struct nb_err *err)
{
        NB_CLEANUP(notebook_format_freep) struct notebook_format *format = NULL;
        nb_auto_free char *piece = malloc(PIECE);
        int r = piece ? notebook_format_new(UINT64_MAX, f, &format, err)
                      : nb_fail(err, NB_E_NOMEM, "out of memory");
        ssize_t n;

        while (r == 0 && (n = read(fd, piece, PIECE)) != 0) {
                if (n < 0 && errno != EINTR)
                        return nb_fail_errno(err, errno, "cannot read");
                if (n > 0)
                        r = notebook_format_feed(format, piece, (size_t)n, err);
        }
        return r < 0 ? r : notebook_format_end(format, err);
}

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
                        return nb_fail(err, NB_E_LIMIT, "over %zu bytes", ret->max);
        }
        return 0;
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
static void hold(struct crew *c, uint64_t bytes)
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
        struct crew *c = k->crew;

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
        if ((uint64_t)st.st_size > CHECK_RUN_WHOLE) {
                if (nb_strv_add(&ret->notes, "over 256 MiB: the format alone is checked") < 0)
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
                return check_pieces(fd, &ret->found, err);
        }
        hold(k->crew, (uint64_t)st.st_size);
        r = nb_read_open(fd, (uint64_t)st.st_size, path, &k->text, err);
        if (r == 0)
                r = check_text(k, path, config, ret, err);
        let_go(k, (uint64_t)st.st_size);
        return r;
}

static int check_one(struct checker *k, size_t i, struct checked *ret, struct nb_err *err)
{
        const char *path = k->crew->r->files->v[i];
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

/* Under lock, but not while it checks. */
static void check_next(struct checker *k)
{
        struct crew *c = k->crew;
        const size_t i = c->taken++;
        struct checked *to = &c->slots[i % SLOTS].c;

        pthread_mutex_unlock(&c->lock);
        *to = (struct checked){.found = {.max = CHECK_FINDINGS_MAX}};
        to->failed = check_one(k, i, to, &to->err) < 0;
        pthread_mutex_lock(&c->lock);
        c->slots[i % SLOTS].done = true;
        pthread_cond_broadcast(&c->changed);
}

static void checked_done(struct checked *c)
{
        findings_done(&c->found);
        nb_strv_done(&c->notes);
}

static bool can_tell(const struct crew *c)
{
        return !c->telling && !c->stop && c->told < c->taken && c->slots[c->told % SLOTS].done;
}

/* Under lock, but not while it tells. */
static void tell_next(struct crew *c)
{
        struct slot *s = &c->slots[c->told % SLOTS];
        bool more;

        c->telling = true;
        pthread_mutex_unlock(&c->lock);
        more = c->r->tell(c->r->arg, c->r->files->v[c->told], &s->c);
        checked_done(&s->c);
        pthread_mutex_lock(&c->lock);
        s->done = false;
        c->told++;
        c->telling = false;
        c->stop = c->stop || !more;
        pthread_cond_broadcast(&c->changed);
}

static void work(struct checker *k)
{
        struct crew *c = k->crew;

        pthread_mutex_lock(&c->lock);
        for (;;) {
                if (can_tell(c))
                        tell_next(c);
                else if (c->stop || c->taken == c->r->files->n)
                        break; /* who has one in hand tells the rest */
                else if (c->taken - c->told < SLOTS)
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

static unsigned jobs_of(const struct check_run *r)
{
        size_t each = r->opts.cold ? 1 : FILES_FOR_A_PROCESS;
        size_t useful = (r->files->n + each - 1) / each;
        unsigned jobs = r->jobs;
        cpu_set_t cpus;

        if (jobs == 0)
                jobs = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? (unsigned)CPU_COUNT(&cpus)
                                                                      : 1;
        if (jobs > CHECK_RUN_JOBS_MAX)
                jobs = CHECK_RUN_JOBS_MAX;
        return jobs < useful ? jobs : (unsigned)useful;
}

static void run_crew(struct crew *c, struct checker *all, unsigned jobs)
{
        unsigned started = 1;

        for (unsigned i = 0; i < jobs; i++)
                all[i] = (struct checker){.crew = c,
                                          .rules = {.forced = c->r->config},
                                          .text = NB_BUF(CHECK_RUN_WHOLE)};
        all[0].check = c->r->check;
        while (started < jobs &&
               pthread_create(&all[started].thread, NULL, thread_main, &all[started]) == 0)
                started++;
        work(&all[0]);
        for (unsigned i = 1; i < started; i++)
                pthread_join(all[i].thread, NULL);
        checker_done(&all[0]);
        /* those that were done and not told, as nobody wants to hear more */
        for (; c->told < c->taken; c->told++)
                if (c->slots[c->told % SLOTS].done)
                        checked_done(&c->slots[c->told % SLOTS].c);
}

int check_run(const struct check_run *r, struct nb_err *err)
{
        const unsigned jobs = jobs_of(r);
        nb_auto_free struct crew *c = calloc(1, sizeof(*c));
        nb_auto_free struct checker *all = nb_alloc_array(jobs, sizeof(*all));

        if (jobs == 0)
                return 0;
        if (!c || !all)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        c->r = r;
        c->stdin_at = SIZE_MAX;
        for (size_t i = r->files->n; i > 0; i--)
                if (nb_streq(r->files->v[i - 1], "-"))
                        c->stdin_at = i - 1;
        pthread_mutex_init(&c->lock, NULL);
        pthread_cond_init(&c->changed, NULL);
        run_crew(c, all, jobs);
        pthread_cond_destroy(&c->changed);
        pthread_mutex_destroy(&c->lock);
        return 0;
}
