/* SPDX-License-Identifier: Apache-2.0 */

/* remote-item.c - what a far executor does on the pool: stage a notebook on
 * disk, and look at the one that came back */

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/notebook.h>
#include <nbcid/num.h>

#include "remote-priv.h"

#define LOG_TEXT_MAX ((size_t)2 << 20)
#define NOTEBOOK_BYTES ((size_t)1 << 30) /* the plan has refused those over [limits] */

struct far_item {
        struct loop_work work; /* first */
        struct far_run *run;   /* NULL: released meanwhile */
        char *dir, *text;      /* the record, or the log */
        char *report;          /* in what it ran */
        char *workspace, *notebook, *parameters, *language;
        struct notebook_verdict verdict;
        bool has_output, there;
        bool unwritten; /* r is of what was to be written here */
        uint64_t max;
        int r;
        struct nb_err err;
};

static void item_free(struct far_item *i)
{
        free(i->dir);
        free(i->text);
        free(i->report);
        free(i->workspace);
        free(i->notebook);
        free(i->parameters);
        free(i->language);
        notebook_verdict_done(&i->verdict);
        free(i);
}

static void item_freep(struct far_item **i)
{
        if (*i)
                item_free(*i);
}

void far_item_orphan(struct far_item *i)
{
        i->run = NULL;
        atomic_store(&i->work.cancel, true);
}

/* ---- before ---- */

static int inject(const struct far_item *i, int from, int to, struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(NOTEBOOK_BYTES), done = NB_BUF(NOTEBOOK_BYTES);
        int r = nb_read_file(from, i->notebook, &text, err);

        if (r == 0)
                r = notebook_inject(i->notebook, nb_buf_str(&text), text.len, i->parameters,
                                    i->language, &done, err);
        if (r < 0)
                return r;
        return nb_write_file(to, "input.ipynb", nb_buf_str(&done), done.len, 0600, false, err);
}

static int sync_one(int dir, const char *name, const char *dir_name, struct nb_err *err)
{
        nb_auto_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

        return fd >= 0 && fsync(fd) == 0
                       ? 0
                       : nb_fail_errno(err, errno, "flush %s/%s to the disk", dir_name, name);
}

/* The record says what there is, so that comes first; then the directory that
 * both are in. */
static int write_record(const struct far_item *i, int to, struct nb_err *err)
{
        int r = i->there && !i->parameters ? 0 : sync_one(to, "input.ipynb", i->dir, err);

        if (r == 0)
                r = nb_write_file(to, "record.json", i->text, strlen(i->text), 0600, true, err);
        return r < 0 ? r : sync_one(to, "..", i->dir, err);
}

static void prepare_run(struct loop_work *w)
{
        struct far_item *i = (struct far_item *)w;
        nb_auto_fd int from = open(i->workspace, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        nb_auto_fd int to = open(i->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (from < 0 || to < 0)
                i->r = nb_fail_errno(&i->err, errno, "%s", from < 0 ? i->workspace : i->dir);
        else if (i->parameters)
                i->r = inject(i, from, to, &i->err);
        else if (!i->there)
                i->r = nb_link_or_copy(from, i->notebook, to, "input.ipynb", &i->err);
        if (i->r == 0)
                i->r = write_record(i, to, &i->err);
}

static void prepare_done(struct loop_work *w)
{
        NB_CLEANUP(item_freep) struct far_item *i = (struct far_item *)w;
        struct far_run *u = i->run;

        if (!u)
                return;
        u->item = NULL;
        if (u->cancel_asked)
                far_finish(u, CLASS_CANCELLED, "cancelled before it was submitted");
        else if (i->r < 0)
                far_finish(u,
                           i->err.code == NB_E_INVALID || i->err.code == NB_E_LIMIT
                                   ? CLASS_CHECK
                                   : CLASS_INFRASTRUCTURE,
                           i->err.msg);
        else
                far_upload(u);
}

int far_prepare(struct far_run *u, const struct exec_job *job, char *record_take,
                struct nb_err *err)
{
        NB_CLEANUP(item_freep) struct far_item *i = calloc(1, sizeof(*i));
        nb_auto_free char *record = record_take;
        const struct nb_environment *e = job->environment;
        int r;

        if (!i)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        i->work.run = prepare_run;
        i->work.done = prepare_done;
        i->dir = nb_strdup(u->dir);
        i->text = NB_TAKE(record);
        i->workspace = nb_strdup(job->workspace);
        i->notebook = nb_strdup(job->notebook);
        i->there = u->record.there;
        i->parameters = nb_strdup(e ? e->parameters : NULL);
        i->language = nb_strdup(e ? e->language : NULL);
        if (!i->dir || !i->text || !i->workspace || !i->notebook ||
            (e && e->parameters && !i->parameters))
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = loop_submit(u->far->deps.loop, &i->work, err);
        if (r < 0)
                return r;
        i->run = u;
        u->item = NB_TAKE(i);
        return 0;
}

/* ---- after ---- */

/* Runners other than papermill leave what it wrote before it was sent. */
static bool stopped_before(int dir)
{
        nb_auto_buf text = NB_BUF(NOTEBOOK_BYTES);
        struct notebook_verdict v = {0};
        bool stopped = nb_read_file(dir, "input.ipynb", &text, NULL) == 0 &&
                       notebook_judge(nb_buf_str(&text), text.len, &v, NULL) == 0 && v.stopped;

        notebook_verdict_done(&v);
        return stopped;
}

static void look_run(struct loop_work *w)
{
        struct far_item *i = (struct far_item *)w;
        nb_auto_buf text = NB_BUF(i->max);
        nb_auto_fd int dir = open(i->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (dir < 0) {
                i->r = nb_fail_errno(&i->err, errno, "%s", i->dir);
                return;
        }
        i->r = nb_write_file(dir, "log.txt", i->text, strlen(i->text), 0600, false, &i->err);
        if (i->r == 0 && i->report)
                i->r = nb_write_file(dir, "environment.json", i->report, strlen(i->report), 0600,
                                     false, &i->err);
        i->unwritten = i->r < 0;
        if (i->r == 0 && i->has_output)
                i->r = nb_read_file(dir, "executed.ipynb", &text, &i->err);
        if (i->r == 0 && i->has_output)
                i->r = notebook_judge(nb_buf_str(&text), text.len, &i->verdict, &i->err);
        if (i->r == 0 && i->has_output)
                i->r = far_same(dir, i->there, nb_buf_str(&text), text.len, &i->err);
        if (i->r == 0 && i->verdict.stopped && i->verdict.missing == 0 && stopped_before(dir))
                i->verdict.stopped = false;
}

static void conclude(struct far_run *u, enum run_class class, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
static void conclude(struct far_run *u, enum run_class class, const char *fmt, ...)
{
        nb_auto_buf b = NB_BUF(4096);
        va_list ap;

        va_start(ap, fmt);
        (void)nb_buf_vprintf(&b, fmt, ap);
        va_end(ap);
        u->result.class = class;
        u->result.reason = b.len ? nb_utf8_clean(nb_buf_str(&b), b.len, true) : NULL;
}

/* The container ended badly; was it the notebook? */
static void conclude_bad(struct far_run *u, const struct far_item *i)
{
        const struct notebook_verdict *v = &i->verdict;

        if (!i->has_output && (u->end.status == 126 || u->end.status == 127))
                conclude(u, CLASS_ENVIRONMENT,
                         "the image does not have the command that runs notebooks; see run of the "
                         "executor, or take another image: %s",
                         u->end.reason);
        else if (!i->has_output)
                conclude(u, CLASS_INFRASTRUCTURE, "it left no notebook: %s", u->end.reason);
        else if (v->cells > 0 && v->executed == 0)
                conclude(u, CLASS_NO_KERNEL,
                         "no cell ran, the image may lack the notebook's kernel: %s",
                         u->end.reason);
        else
                conclude(u, CLASS_SIGNAL, "the kernel left before the last cell: %s",
                         u->end.reason);
}

/* The job says that it succeeded; does the notebook?  false: it does. */
static bool conclude_unfinished(struct far_run *u, const struct notebook_verdict *v)
{
        if (v->missing > 0)
                conclude(u, CLASS_INFRASTRUCTURE,
                         "the job succeeded, but only %lld of the %lld cells ran; does its command "
                         "end when the notebook does?",
                         (long long)v->executed, (long long)v->cells);
        else if (v->stopped)
                conclude(u, CLASS_INFRASTRUCTURE,
                         "the job succeeded, but papermill has noted that an exception ended the "
                         "notebook; does its command tell papermill's exit status?");
        return v->missing > 0 || v->stopped;
}

/* It passed, on another machine than it was to have. */
static void conclude_elsewhere(struct far_run *u)
{
        const char *first = u->record.history;
        nb_auto_free char *here = far_place_text(&u->record.here.at);

        conclude(u, CLASS_PASSED, "on %s, since there was no %.*s", here ? here : "another machine",
                 (int)strcspn(first, ":\n"), first);
}

static void conclude_all(struct far_run *u, struct far_item *i)
{
        struct notebook_verdict *v = &i->verdict;

        u->result = (struct run_result){
                .cells = v->cells, .cells_done = v->executed, .wall_us = u->end.run_us};
        if (u->too_large) {
                u->result.class = CLASS_CELL_ERROR; /* as where it runs here */
                u->result.ename = nb_strdup("OutputLimit");
                u->result.evalue = nb_strdup(u->end.reason);
        } else if (u->end.look && i->r < 0) {
                conclude(u, CLASS_INFRASTRUCTURE, "%s: %s",
                         i->unwritten ? "what the job left cannot be kept here"
                                      : "the executed notebook is broken",
                         i->err.msg);
        } else if (u->end.look && v->error_cell > 0) {
                u->result.class = CLASS_CELL_ERROR;
                u->result.cell = v->error_cell;
                u->result.ename = NB_TAKE(v->ename);
                u->result.evalue = NB_TAKE(v->evalue);
        } else if (u->end.must && !i->has_output) {
                conclude(u, CLASS_INFRASTRUCTURE,
                         "the job succeeded, but left no notebook at %s; does its command write "
                         "{output}?",
                         u->record.output);
        } else if (u->end.must && conclude_unfinished(u, v)) {
                return;
        } else if (u->end.look && !u->end.must && u->end.class == CLASS_CELL_ERROR) {
                conclude_bad(u, i);
        } else if (u->end.class == CLASS_PASSED && u->record.history) {
                conclude_elsewhere(u);
        } else {
                conclude(u, u->end.class, "%s", u->end.reason);
        }
}

static void look_done(struct loop_work *w)
{
        NB_CLEANUP(item_freep) struct far_item *i = (struct far_item *)w;
        struct far_run *u = i->run;

        if (!u)
                return;
        u->item = NULL;
        run_result_done(&u->result);
        conclude_all(u, i);
        far_put_machine(u);
        far_tell_finished(u);
}

static char *log_text(const struct far_run *u)
{
        nb_auto_buf b = NB_BUF(LOG_TEXT_MAX);
        nb_auto_free char *place = far_place_text(&u->record.here.at);
        nb_auto_free char *link = u->name && u->far->kind->show_url
                                          ? u->far->kind->show_url(u->far->cfg, u->name)
                                          : NULL;

        for (const char *p = u->record.history, *end; p && *p; p = end + 1) {
                end = p + strcspn(p, "\n");
                (void)nb_buf_printf(&b, "no machine: %.*s\n", (int)(end - p), p);
                if (!*end)
                        break;
        }
        (void)nb_buf_printf(&b, "machine: %s\n", place ? place : "?");
        (void)nb_buf_printf(&b, "job: %s\n", u->name ? u->name : "(none)");
        if (link)
                (void)nb_buf_printf(&b, "its logs: %s\n", link);
        if (u->record.note)
                (void)nb_buf_printf(&b, "note: %s\n", u->record.note);
        if (u->end.reason[0])
                (void)nb_buf_printf(&b, "end: %s\n", u->end.reason);
        if (u->record.here.body)
                (void)nb_buf_printf(&b, "submitted: %s\n", u->record.here.body);
        if (u->log && u->log->trouble)
                (void)nb_buf_printf(&b, "the container's log: %s\n", u->log->trouble);
        else if (u->log && u->log->text)
                (void)nb_buf_printf(&b, "\nthe container's log:\n%s", u->log->text);
        return nb_buf_steal(&b);
}

/* As the runner's, as far as it is known of a machine that is gone. */
static char *report_text(const struct far_run *u)
{
        const struct far_record *r = &u->record;
        nb_auto_buf b = NB_BUF(256 * 1024);
        struct nb_json_out o = NB_JSON_OUT(&b);

        nb_json_open_object(&o);
        nb_json_kv_str(&o, "hash", NULL);
        nb_json_kv_bool(&o, "lock", false);
        nb_json_kv_bool(&o, "built", false);
        nb_json_kv_str(&o, "why", r->why);
        nb_json_kv_str(&o, "image", r->image);
        nb_json_kv_str(&o, "note", r->note);
        nb_json_kv_str(&o, "job", u->name);
        nb_json_key(&o, "machine");
        nb_json_open_object(&o);
        nb_json_kv_str(&o, "type", r->here.at.machine_type);
        nb_json_kv_str(&o, "accelerator", r->here.at.accelerator_type);
        nb_json_kv_int(&o, "accelerators",
                       r->here.at.accelerator_type ? r->here.at.accelerator_count : 0);
        nb_json_kv_str(&o, "region", r->here.at.region);
        nb_json_kv_bool(&o, "spot", r->here.at.spot);
        nb_json_close(&o);
        nb_json_close(&o);
        return nb_buf_steal(&b);
}

void far_look(struct far_run *u)
{
        NB_CLEANUP(item_freep) struct far_item *i = calloc(1, sizeof(*i));
        struct nb_err err;
        int r;

        far_sent(u);
        u->stage = FAR_LOOK;
        if (!u->record.here.body) /* not kept while it ran; the log does without, too */
                (void)far_record_read_place(u->dir, &u->record, NULL);
        if (i) {
                i->work.run = look_run;
                i->work.done = look_done;
                i->dir = nb_strdup(u->dir);
                i->text = log_text(u);
                i->report = u->name ? report_text(u) : NULL;
                i->has_output = u->has_output;
                i->there = u->record.there;
                i->max = far_most_bytes(u);
        }
        r = i && i->dir && i->text ? loop_submit(u->far->deps.loop, &i->work, &err)
                                   : nb_fail(&err, NB_E_NOMEM, "out of memory");
        if (r < 0) {
                far_finish(u, CLASS_INFRASTRUCTURE, err.msg);
                return;
        }
        i->run = u;
        u->item = NB_TAKE(i);
}
