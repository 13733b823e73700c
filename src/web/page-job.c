/* SPDX-License-Identifier: Apache-2.0 */

/* page-job.c - the page of one job: where it failed, in what, how often */

#include <nbcid/json.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "page.h"

#define TAIL_MAX 8192 /* bytes of the log's end */

struct job {
        struct web_app *app;
        struct nb_buf *b;
        int64_t now_ms, build;
        bool final, artifacts;
        unsigned rows;
};

static void put_text_row(struct nb_buf *b, const char *name, const char *text)
{
        if (!text || !text[0])
                return;
        page_row(b, name);
        html(b, "%s</dd>\n", text);
}

static void put_pre_row(struct nb_buf *b, const char *name, const char *text)
{
        if (!text || !text[0])
                return;
        page_row(b, name);
        html(b, "<pre>%s</pre></dd>\n", text);
}

static int64_t int_of(const struct nb_json *o, const char *key)
{
        int64_t v = 0;

        return nb_json_int(nb_json_get(o, key), &v) ? v : 0;
}

/* "cell 3 line 2", "line 41 column 7", or nothing. */
static void put_place(struct nb_buf *b, const struct nb_json *o)
{
        int64_t cell = int_of(o, "cell"), cell_line = int_of(o, "cell_line");
        int64_t line = int_of(o, "line"), column = int_of(o, "column");

        if (cell > 0)
                html(b, "cell %lld", (long long)cell);
        if (cell > 0 && cell_line > 0)
                html(b, " line %lld", (long long)cell_line);
        if (line > 0)
                html(b, "%s<span class=\"dim\">line %lld", cell > 0 ? " " : "", (long long)line);
        if (line > 0 && column > 0)
                html(b, " column %lld", (long long)column);
        if (line > 0)
                html(b, " of the file</span>");
        if (cell > 0 || line > 0)
                html(b, ": ");
}

static void put_finding(struct nb_buf *b, const struct nb_json *o)
{
        const char *severity = nb_json_str(nb_json_get(o, "severity"), NULL);
        const char *text = nb_json_str(nb_json_get(o, "text"), NULL);
        const char *remedy = nb_json_str(nb_json_get(o, "remedy"), NULL);

        html(b, "<li><span class=\"badge %s\">%s</span> ",
             nb_streq(severity, "error") ? "failed" : "errored", severity);
        put_place(b, o);
        html(b, "%s <code>%s</code>", nb_json_str(nb_json_get(o, "message"), NULL),
             nb_json_str(nb_json_get(o, "rule"), NULL));
        if (text && text[0])
                html(b, "<pre>%s</pre>", text);
        if (remedy && remedy[0])
                html(b, "<div class=\"dim\">%s</div>", remedy);
        html(b, "</li>\n");
}

/* What the static gate found before anything ran. */
static void put_findings(struct nb_buf *b, const char *json)
{
        static const struct nb_json_limits limits = {.bytes = 4 << 20, .depth = 4};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
        size_t n;

        if (!json || nb_json_read(json, strlen(json), &limits, &t, NULL, NULL) < 0)
                return;
        n = nb_json_size(nb_json_root(t));
        if (n == 0)
                return;
        html(b, "<h2>Findings before the run</h2>\n<ul class=\"findings\">\n");
        for (size_t i = 0; i < n; i++)
                put_finding(b, nb_json_index(nb_json_root(t), i));
        html(b, "</ul>\n");
}

/* What it asked for and why we think so; texts of the notebook. */
static void put_environment(struct nb_buf *b, const char *text)
{
        static const struct nb_json_limits limits = {.bytes = 1 << 20, .depth = 4};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
        const struct nb_json *o;

        if (!text || !text[0] || nb_json_read(text, strlen(text), &limits, &t, NULL, NULL) < 0)
                return;
        o = nb_json_root(t);
        put_text_row(b, "Kernel", nb_json_str(nb_json_get(o, "kernel"), NULL));
        put_text_row(b, "Language", nb_json_str(nb_json_get(o, "language"), NULL));
        put_text_row(b, "Image", nb_json_str(nb_json_get(o, "image"), NULL));
        put_text_row(b, "Environment", nb_json_str(nb_json_get(o, "name"), NULL));
        put_text_row(b, "Python", nb_json_str(nb_json_get(o, "python"), NULL));
        put_pre_row(b, "Requirements", nb_json_str(nb_json_get(o, "requirements"), NULL));
        put_pre_row(b, "Conda", nb_json_str(nb_json_get(o, "conda"), NULL));
        put_pre_row(b, "Parameters", nb_json_str(nb_json_get(o, "parameters"), NULL));
        put_text_row(b, "Taken from", nb_json_str(nb_json_get(o, "why"), NULL));
}

static void put_facts(struct job *p, const struct view_job *j)
{
        struct nb_buf *b = p->b;

        html(b, "<dl>\n");
        put_text_row(b, "Repository", j->repository);
        page_row(b, "Commit");
        page_commit(p->app, b, j->forge, j->repository, j->commit);
        html(b, "</dd>\n");
        page_row(b, "Cells done");
        page_progress(b, j);
        html(b, "</dd>\n");
        page_row(b, "Started");
        html_time_long(b, j->started_ms, p->now_ms);
        html(b, "</dd>\n");
        page_row(b, "Duration");
        page_span(b, j->started_ms, j->finished_ms, p->now_ms);
        html(b, "</dd>\n");
        put_text_row(b, "Executor", j->executor);
        put_environment(b, j->environment);
        html(b, "</dl>\n");
}

static int put_job(void *arg, const struct view_job *j)
{
        struct job *p = arg;
        struct nb_buf *b = p->b;
        char build[64], href[64];

        p->build = j->build;
        p->final = job_state_final(j->state);
        p->artifacts = j->artifacts && p->final && j->started_ms > 0;
        (void)nb_fmt(build, sizeof(build), "Build %lld", (long long)j->build);
        (void)nb_fmt(href, sizeof(href), "/builds/%lld", (long long)j->build);
        html_top(b, j->notebook,
                 (const struct web_crumb[]){{.text = build, .href = href}, {.text = j->notebook}},
                 2);
        html(b, "<h1>");
        html_badge(b, job_state_name(j->state));
        html(b, " %s</h1>\n<p class=\"verdict\">", j->notebook);
        page_failure(b, j);
        html(b, "</p>\n");
        if (p->artifacts)
                html(b,
                     "<p class=\"links\"><a href=\"/api/v1/jobs/%lld/log\">Whole log</a> "
                     "<a href=\"/api/v1/jobs/%lld/notebook\">Executed notebook</a></p>\n",
                     (long long)j->id, (long long)j->id);
        put_facts(p, j);
        put_findings(b, j->findings);
        return 0;
}

static int put_attempt(void *arg, const struct view_attempt *t)
{
        struct job *p = arg;

        if (p->rows++ == 0)
                html(p->b, "<h2>Attempts</h2>\n<div class=\"scroll\"><table>\n<thead><tr>"
                           "<th scope=\"col\">State</th><th scope=\"col\">Attempt</th>"
                           "<th scope=\"col\">Executor</th><th scope=\"col\">Duration</th>"
                           "<th scope=\"col\">Memory</th><th scope=\"col\">Started</th></tr>"
                           "</thead>\n<tbody>\n");
        html(p->b, "<tr><td>");
        html_badge(p->b, job_state_name(t->state));
        html(p->b, "</td><td>%lld<div class=\"dim\">%s</div></td><td>%s</td><td class=\"number\">",
             (long long)t->number, t->reason, t->executor);
        page_span(p->b, t->started_ms, t->finished_ms, p->now_ms);
        html(p->b, "</td><td class=\"number\">");
        if (t->mem_peak > 0)
                html(p->b, "%lld MiB", (long long)((t->mem_peak + 1048575) >> 20));
        else
                html(p->b, "–");
        html(p->b, "</td><td class=\"number\">");
        html_time(p->b, t->started_ms, p->now_ms);
        html(p->b, "</td></tr>\n");
        return 0;
}

/* The end of the log: most often it says what went wrong. */
static void put_log(struct job *p, int64_t id)
{
        nb_auto_buf text = NB_BUF(TAIL_MAX);
        nb_auto_fd int fd = -1;
        uint64_t size = 0, from;
        const char *start;
        ssize_t n;

        fd = artifact_open(p->app, p->build, id, "log.txt", &size, NULL);
        if (fd < 0 || size == 0 || nb_buf_reserve(&text, TAIL_MAX) < 0)
                return;
        from = size > TAIL_MAX ? size - TAIL_MAX : 0;
        n = pread(fd, text.data, TAIL_MAX, (off_t)from);
        if (n <= 0)
                return;
        text.len = (size_t)n;
        text.data[n] = '\0';
        start = text.data;
        if (from > 0) /* begin with a whole line */
                start += strcspn(start, "\n") + (strchr(start, '\n') ? 1 : 0);
        html(p->b, "<h2>%s</h2>\n<pre class=\"log\" tabindex=\"0\">%s</pre>\n",
             from > 0 ? "End of the log" : "Log", start);
}

void page_job(struct web_app *a, struct web_request *q)
{
        struct job p = {.app = a,
                        .b = reply_start(&q->reply, 200, "text/html; charset=utf-8"),
                        .now_ms = nb_now_ms(a->deps.clock)};
        struct nb_err err;
        int r = store_view_job(a->view, q->match.id, put_job, &p, &err);

        if (r == 0) {
                reply_problem(a, q, 404, "There is no job %lld.", (long long)q->match.id);
                return;
        }
        if (r > 0)
                r = store_view_attempts(a->view, q->match.id, put_attempt, &p, &err);
        if (r < 0) {
                reply_failure(a, q, &err);
                return;
        }
        if (p.rows > 0)
                html(p.b, "</tbody></table></div>\n");
        if (p.artifacts) {
                page_environment(a, p.b, p.build, q->match.id);
                put_log(&p, q->match.id);
        }
        html_bottom(p.b);
        if (!p.final)
                reply_header(&q->reply, "Refresh", PAGE_REFRESH);
}
