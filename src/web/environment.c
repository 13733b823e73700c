/* SPDX-License-Identifier: Apache-2.0 */

/*
 * environment.c - in what a job ran: asked for, why, and what was found there
 *
 * The job's row says what was asked for; environment.json and environment.lock
 * among its artifacts say what was there.  They name packages that a stranger's
 * requirements brought, so they are read and checked before they are shown.
 */

#include <errno.h>
#include <unistd.h>

#include <nbcid/json.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "page.h"

#define REPORT_MAX ((size_t)4 << 20)

struct asked {
        struct nb_json_out out;
        int64_t build;
};

/* What kind of environment was asked for; NULL: the job was refused before that was known. */
static const char *what_of(const char *environment)
{
        NB_CLEANUP(nb_environment_done) struct nb_environment e = {0};

        if (!environment || !*environment || nb_streq(environment, "{}"))
                return NULL;
        if (nb_environment_read(environment, strlen(environment), &e, NULL) < 0)
                return "default";
        if (e.image)
                return "image";
        if (e.conda)
                return "conda";
        return e.requirements ? "requirements" : "default";
}

static int put_asked(void *arg, const struct view_job *j)
{
        struct asked *a = arg;
        struct nb_json_out *o = &a->out;

        a->build = j->build;
        nb_json_open_object(o);
        nb_json_kv_int(o, "job", j->id);
        nb_json_kv_str(o, "notebook", j->notebook);
        nb_json_kv_str(o, "executor", j->executor);
        nb_json_kv_str(o, "what", what_of(j->environment));
        nb_json_key(o, "requested");
        nb_json_put_raw(o, j->environment && j->environment[0] ? j->environment : "{}");
        return 0;
}

/* The whole artifact; false: there is none, or it is no use. */
static bool artifact_text(struct web_app *a, int64_t build, int64_t job, const char *name,
                          struct nb_buf *ret)
{
        nb_auto_fd int fd = -1;
        uint64_t size = 0;
        ssize_t n;

        fd = artifact_open(a, build, job, name, &size, NULL);
        if (fd < 0 || size > ret->max || nb_buf_reserve(ret, (size_t)size + 1) < 0)
                return false;
        while (ret->len < size) {
                n = pread(fd, ret->data + ret->len, (size_t)size - ret->len, (off_t)ret->len);
                if (n <= 0)
                        return false;
                ret->len += (size_t)n;
        }
        ret->data[ret->len] = '\0';
        return true;
}

static struct nb_json_tree *read_report(struct web_app *a, int64_t build, int64_t job,
                                        struct nb_buf *text)
{
        static const struct nb_json_limits limits = {.bytes = REPORT_MAX, .depth = 8};
        struct nb_json_tree *t = NULL;

        if (!artifact_text(a, build, job, "environment.json", text) ||
            nb_json_read(nb_buf_str(text), text->len, &limits, &t, NULL, NULL) < 0)
                return NULL;
        return t;
}

static void put_report(struct web_app *a, int64_t build, int64_t job, struct nb_json_out *o)
{
        nb_auto_buf text = NB_BUF(REPORT_MAX);
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = read_report(a, build, job, &text);

        nb_json_key(o, "found");
        if (t)
                nb_json_put_raw(o, nb_buf_str(&text));
        else
                nb_json_put_null(o);
}

static void put_lock(struct web_app *a, int64_t build, int64_t job, struct nb_json_out *o)
{
        nb_auto_buf text = NB_BUF(REPORT_MAX);
        nb_auto_free char *clean = NULL;

        if (artifact_text(a, build, job, "environment.lock", &text))
                clean = nb_utf8_clean(nb_buf_str(&text), text.len, false);
        nb_json_kv_str(o, "lock", clean);
}

void api_environment(struct web_app *a, struct web_request *q)
{
        struct asked w = {.out = NB_JSON_OUT(reply_start(&q->reply, 200, "application/json"))};
        struct nb_err err;
        int r = store_view_job(a->view, q->match.id, put_asked, &w, &err);

        if (r < 0) {
                reply_failure(a, q, &err);
                return;
        }
        if (r == 0) {
                reply_problem(a, q, 404, "There is no job %lld.", (long long)q->match.id);
                return;
        }
        put_report(a, w.build, q->match.id, &w.out);
        put_lock(a, w.build, q->match.id, &w.out);
        nb_json_close(&w.out);
}

static bool artifact_there(struct web_app *a, int64_t build, int64_t job, const char *name)
{
        nb_auto_fd int fd = -1;
        uint64_t size = 0;

        fd = artifact_open(a, build, job, name, &size, NULL);
        return fd >= 0;
}

static void put_link(struct nb_buf *b, int64_t job, const char *what, const char *text)
{
        html(b, "<a href=\"/api/v1/jobs/%lld/environment%s\">%s</a> ", (long long)job, what, text);
}

static const char *shown(const struct nb_json *o, const char *key)
{
        const char *text = nb_json_str(nb_json_get(o, key), NULL);

        return text ? text : "?";
}

void page_environment(struct web_app *a, struct nb_buf *b, int64_t build, int64_t job)
{
        nb_auto_buf text = NB_BUF(REPORT_MAX);
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = read_report(a, build, job, &text);
        const struct nb_json *o = t ? nb_json_root(t) : NULL;
        const char *version = nb_json_str(nb_json_get(o, "version"), NULL);
        const struct nb_json *machine = nb_json_get(o, "machine");
        const char *type = nb_json_str(nb_json_get(machine, "type"), NULL);
        const char *accelerator = nb_json_str(nb_json_get(machine, "accelerator"), NULL);
        const char *note = nb_json_str(nb_json_get(o, "note"), NULL);

        if (!o)
                return;
        html(b, "<h2>Environment</h2>\n<p>");
        if (type)
                html(b, "%s%s%s in %s, image %s (%s). ", type, accelerator ? " with " : "",
                     accelerator ? accelerator : "", shown(machine, "region"), shown(o, "image"),
                     shown(o, "why"));
        if (version)
                html(b, "Python %s, %lld packages. ", version,
                     (long long)nb_json_size(nb_json_get(o, "packages")));
        if (note) /* a status says it of a job that passed only */
                html(b, "Note: %s. ", note);
        html(b, "</p>\n<p class=\"links\">");
        put_link(b, job, "", "Whole report");
        if (artifact_there(a, build, job, "environment.lock"))
                put_link(b, job, "/lock", "Exact packages");
        if (artifact_there(a, build, job, "environment.log.txt"))
                put_link(b, job, "/log", "How it was built");
        html(b, "</p>\n");
}
