/* SPDX-License-Identifier: Apache-2.0 */

/*
 * submit.c - one notebook, from begin to end
 *
 *   look at it -> who and where -> the folder -> the executor -> its end -> bring it back
 *
 * Straight on, round by round of the caller's loop; the executor does what the
 * daemon's does: stages, submits once, polls, cancels, reads back and judges.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <nbcid/fs.h>

#include "submit-priv.h"

#define CLEAN_US (60 * NB_US_PER_S)
#define CLEAN_EVERY_US NB_US_PER_S

/* ---- news ---- */

void submit_tell(struct submit *s, enum submit_stage stage, const char *text)
{
        s->stage = stage;
        if (s->o.told)
                s->o.told(s->o.arg, &(struct submit_news){.stage = stage,
                                                          .job = s->job,
                                                          .name = s->name,
                                                          .url = s->url,
                                                          .text = text,
                                                          .cells = s->cells,
                                                          .cells_done = s->cells_done});
}

static void take_end(struct submit *s, const struct run_result *r)
{
        run_result_done(&s->result);
        s->result = *r;
        s->result.ename = nb_strdup(r->ename);
        s->result.evalue = nb_strdup(r->evalue);
        s->result.reason = nb_strdup(r->reason);
        s->result.machine = (struct run_machine){0};
        (void)run_machine_copy(&r->machine, &s->result.machine, NULL);
        s->finished = true;
}

static void on_event(void *arg, struct exec_run *run, const struct exec_event *ev)
{
        struct submit *s = arg;

        switch (ev->kind) {
        case EXEC_WAITS:
                submit_tell(s, SUBMIT_NO_ROOM, ev->why);
                return;
        case EXEC_SUBMITTED:
                s->submitted = true;
                free(s->name);
                free(s->url);
                s->name = nb_strdup(ev->name);
                s->url = nb_strdup(ev->url);
                s->over = s->over || !s->wait || s->leave;
                submit_tell(s, s->cancelling ? SUBMIT_CANCELLING : SUBMIT_QUEUED, NULL);
                return;
        case EXEC_CELL:
                s->cells = ev->cells;
                s->cells_done = ev->cells_done;
                if (!s->cancelling)
                        submit_tell(s, SUBMIT_RUNNING, NULL);
                return;
        case EXEC_RUNNING:
                if (!s->cancelling)
                        submit_tell(s, SUBMIT_RUNNING, NULL);
                return;
        case EXEC_FINISHED:
                take_end(s, ev->result);
                return;
        }
}

/* ---- the executor ---- */

/* Where environments that were built are found again, as by `nbcid run`. */
static char *local_state(void)
{
        const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

        if (cache && cache[0] == '/')
                return nb_asprintf("%s/nbcid", cache);
        return home && home[0] == '/' ? nb_asprintf("%s/.cache/nbcid", home) : NULL;
}

static int open_executor(struct submit *s, struct nb_err *err)
{
        const struct config *c = s->config;
        const struct exec_deps deps = {.loop = s->o.loop,
                                       .clock = &nb_clock_real,
                                       .state_dir = s->state,
                                       .self = s->o.self,
                                       .hide = (const char *const *)c->secret_files.v,
                                       .environments_max = c->environments_max,
                                       .build_timeout_us = c->build_timeout_us,
                                       .index_url = c->index_url,
                                       .pip_config = c->pip_config};

        return exec_open(&s->cfg, &deps, &s->exec, err);
}

static int start(struct submit *s, struct nb_err *err)
{
        const struct exec_place place = {.prefix = s->prefix,
                                         .input = s->input,
                                         .there = s->there,
                                         .output = s->far_output,
                                         .newer_than = s->newer_than,
                                         .folder = s->folder,
                                         .cwd = s->cwd,
                                         .title = s->job};
        const struct exec_job job = {.ref = s->ref,
                                     .place = s->far ? &place : NULL,
                                     .workspace = s->workspace,
                                     .notebook = s->notebook,
                                     .environment = &s->head.environment,
                                     .timeout_us = s->o.max_running_us,
                                     .cell_timeout_us = s->o.max_running_us,
                                     .max_output = s->config->max_output};
        int r = open_executor(s, err);

        return r < 0 ? r : s->exec->ops->start(s->exec, &job, on_event, s, &s->run, err);
}

static int follow(struct submit *s, struct nb_err *err)
{
        int r = 0;

        while (r >= 0 && !s->finished && !s->over)
                r = loop_step(s->o.loop, UINT64_MAX, err);
        return r < 0 ? r : 0;
}

void submit_stop(struct submit *s, bool cancel)
{
        struct nb_err err;

        if (!s->run) {
                s->hurry = s->stopped;
                s->stopped = true;
        } else if (cancel || !s->far) {
                s->cancelling = true;
                submit_tell(s, SUBMIT_CANCELLING, NULL);
                (void)s->exec->ops->cancel(s->run, &err);
        } else {
                s->leave = true;
                s->over = s->submitted;
        }
}

/* ---- its end ---- */

/* The executed notebook, if there is one: 1. */
static int bring_back(struct submit *s, struct nb_err *err)
{
        nb_auto_free char *path = nb_asprintf("%s/result", s->dir);
        nb_auto_free char *from = nb_asprintf("%s/result/executed.ipynb", s->dir);
        nb_auto_fd int dir = -1;
        mode_t mask;
        int r;

        if (!path || !from)
                return no_memory(err);
        r = nb_mkdirs(AT_FDCWD, path, 0700, err);
        if (r < 0)
                return r;
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return nb_fail_errno(err, errno, "%s", path);
        r = s->exec->ops->collect(s->run, dir, err);
        if (r < 0 || faccessat(dir, "executed.ipynb", F_OK, 0) < 0)
                return r;
        if (is_far(s->output))
                return 1;
        mask = umask(077);
        (void)umask(mask);
        (void)chmod(from, 0666 & ~mask);
        r = nb_link_or_copy(AT_FDCWD, from, AT_FDCWD, s->output, err);
        return r < 0 ? nb_wrap(err, r, "the executed notebook cannot be written") : 1;
}

/* The executor removes what it staged in its own time. */
static int wait_clean(struct submit *s, struct nb_err *err)
{
        const uint64_t until = nb_mono_us(&nb_clock_real) + CLEAN_US;
        const struct exec_ops *ops = s->exec->ops;

        while (ops->idle && !ops->idle(s->exec)) {
                if (s->stopped || nb_mono_us(&nb_clock_real) > until)
                        return nb_fail(err, NB_E_TIMEOUT, "some of it stays at %s", s->prefix);
                if (loop_step(s->o.loop, CLEAN_EVERY_US, err) < 0)
                        return -(int)err->code;
        }
        return 0;
}

static int clean(struct submit *s, struct nb_err *err)
{
        nb_auto_free char *folder = s->folder_own ? nb_asprintf("%s/", s->folder_own) : NULL;
        int r;

        submit_tell(s, SUBMIT_CLEANING, NULL);
        if (folder) /* many at a time; the executor removes the rest, one by one */
                (void)objects_remove(s, folder, err);
        s->exec->ops->forget(s->exec, s->ref);
        r = wait_clean(s, err);
        /* Without a job nobody reads it; the executor may have been refused to ask. */
        return r == 0 && s->far && !s->submitted ? objects_remove(s, s->prefix, err) : r;
}

static bool fill(struct submit *s, struct submit_end *e)
{
        const struct config_vertex *v = &s->cfg.vertex;
        const char *image = v->image                    ? v->image
                            : s->head.environment.image ? s->head.environment.image
                                                        : v->container_uri;
        const char *input = s->far ? s->input : s->o.input;

        e->job = nb_strdup(s->job);
        e->kind = nb_strdup(s->cfg.kind);
        e->input = nb_strdup(input);
        e->name = NB_TAKE(s->name);
        e->url = NB_TAKE(s->url);
        if (s->far) {
                e->project = nb_strdup(v->project);
                e->region = nb_strdup(v->region);
                e->image = nb_strdup(image);
        }
        return e->job && e->kind;
}

static int finish(struct submit *s, struct submit_end *ret, struct nb_err *err)
{
        struct nb_err why;
        int r, cleaned;

        if (!s->finished) {
                ret->outcome = SUBMIT_LEFT;
                ret->output = nb_strdup(s->far_output);
                s->exec->ops->release(s->run);
                s->run = NULL;
                return fill(s, ret) ? 0 : no_memory(err);
        }
        r = bring_back(s, err);
        s->exec->ops->release(s->run);
        s->run = NULL;
        cleaned = r < 0 ? 0 : clean(s, &why); /* what cannot be written stays where it is */
        if (cleaned < 0)
                submit_tell(s, SUBMIT_CLEANING, why.msg);
        if (r < 0 && s->far)
                return nb_fail(err, NB_E_IO, "it is at %s: %s", s->far_output, err->msg);
        if (r < 0)
                return nb_fail(err, NB_E_IO, "%s", err->msg);
        ret->outcome = SUBMIT_ENDED;
        ret->output = r == 1 ? nb_strdup(s->output) : NULL;
        ret->result = s->result;
        s->result = (struct run_result){0};
        return fill(s, ret) ? 0 : no_memory(err);
}

/* ---- the story ---- */

static int make_dirs(struct submit *s, struct nb_err *err)
{
        const char *tmp = getenv("TMPDIR");

        s->dir = nb_asprintf("%s/nbcid-submit-XXXXXX", tmp && *tmp == '/' ? tmp : "/tmp");
        if (!s->dir)
                return no_memory(err);
        if (!mkdtemp(s->dir)) {
                int r = nb_fail_errno(err, errno, "a temporary directory %s", s->dir);

                free(NB_TAKE(s->dir));
                return r;
        }
        s->state = s->far ? NULL : local_state();
        if (s->state && nb_mkdirs(AT_FDCWD, s->state, 0700, NULL) < 0)
                free(NB_TAKE(s->state));
        if (!s->state)
                s->state = nb_strdup(s->dir);
        return s->state ? 0 : no_memory(err);
}

static int prepare_far(struct submit *s, struct nb_err *err)
{
        NB_CLEANUP(nb_strv_done) struct nb_strv files = {0};
        int r = cloud_project(s, err);

        if (r == 0)
                r = cloud_place(s, err);
        if (r == 0)
                r = folder_look(s, &files, err);
        if (r == 0 && s->stopped)
                r = nb_fail(err, NB_E_CANCELLED, "nothing was submitted");
        return r < 0 ? r : folder_put(s, &files, err);
}

/* Of an executor that did not begin. */
static void drop_folder(struct submit *s)
{
        struct nb_err err;

        if (s->folder_own && objects_remove(s, s->prefix, &err) < 0)
                submit_tell(s, SUBMIT_SENDING, err.msg);
}

int submit_run(struct submit *s, struct submit_end *ret, struct nb_err *err)
{
        NB_CLEANUP(submit_end_done) struct submit_end end = {.findings = NB_BUF(1 << 20)};
        int r;

        submit_tell(s, SUBMIT_CHECKING, NULL);
        r = make_dirs(s, err);
        if (r == 0 && s->far)
                r = cloud_open(s, err);
        if (r == 0 && is_far(s->o.input))
                r = cloud_get_input(s, err);
        if (r == 0)
                r = submit_look(s, &end.findings, err);
        if (r < 0)
                return r;
        if (r == 1) {
                end.outcome = SUBMIT_UNCHECKED;
        } else {
                for (size_t i = 0; i < s->notes.n; i++)
                        submit_tell(s, SUBMIT_CHECKING, s->notes.v[i]);
                submit_tell(s, SUBMIT_SENDING, NULL);
                r = s->far ? prepare_far(s, err) : 0;
                if (r == 0)
                        r = start(s, err);
                if (r < 0)
                        drop_folder(s);
                if (r == 0)
                        r = follow(s, err);
                if (r == 0)
                        r = finish(s, &end, err);
        }
        if (r < 0)
                return r;
        *ret = end;
        end = (struct submit_end){0};
        return 0;
}

int submit_new(const struct submit_opts *o, struct submit **ret, struct nb_err *err)
{
        NB_CLEANUP(submit_freep) struct submit *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return no_memory(err);
        s->o = *o;
        r = submit_read_options(s, err);
        if (r < 0)
                return r;
        *ret = NB_TAKE(s);
        return 0;
}

void submit_end_done(struct submit_end *e)
{
        char *texts[] = {e->job,    e->name,  e->url,   e->kind,  e->project,
                         e->region, e->image, e->input, e->output};

        for (size_t i = 0; i < NB_ARRAY_SIZE(texts); i++)
                free(texts[i]);
        run_result_done(&e->result);
        nb_buf_done(&e->findings);
        *e = (struct submit_end){0};
}

struct submit *submit_free(struct submit *s)
{
        if (!s)
                return NULL;
        char *texts[] = {s->job,        s->ref,      s->output, s->state,
                         s->workspace,  s->notebook, s->prefix, s->input,
                         s->far_output, s->folder,   s->cwd,    s->folder_top,
                         s->folder_own, s->skip,     s->name,   s->url};

        if (s->run)
                s->exec->ops->release(s->run);
        exec_close(s->exec);
        cloud_close(s);
        if (s->dir)
                (void)nb_rm_tree(AT_FDCWD, s->dir, NULL);
        free(s->dir);
        for (size_t i = 0; i < NB_ARRAY_SIZE(texts); i++)
                free(texts[i]);
        notebook_head_done(&s->head);
        run_result_done(&s->result);
        nb_strv_done(&s->notes);
        nb_strv_done(&s->kept);
        nb_secret_done(&s->key);
        config_unref(s->own);
        free(s);
        return NULL;
}
