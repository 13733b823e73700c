/* SPDX-License-Identifier: Apache-2.0 */

/* page.c - the page of all builds and the page of one */

#include <nbcid/num.h>
#include <nbcid/str.h>

#include "page.h"

#define REFRESH_LIST "10" /* long enough to fill in the filter */

const char *page_short_commit(const char *commit, char buf[PAGE_COMMIT_SIZE])
{
        (void)nb_fmt(buf, PAGE_COMMIT_SIZE, "%.10s", commit ? commit : "");
        return buf;
}

static bool is_web(const char *url)
{
        return nb_starts_with(url, "https://") || nb_starts_with(url, "http://");
}

void page_commit(struct web_app *a, struct nb_buf *b, const char *forge, const char *repository,
                 const char *commit)
{
        const struct config_forge *f = config_find_forge(a->config, forge);
        nb_auto_free char *name = nb_url_encode(repository, true);
        char text[PAGE_COMMIT_SIZE];

        page_short_commit(commit, text);
        /* Both forges show a commit below the address that git clones from. */
        if (f && name && is_web(f->clone_base))
                html(b, "<a class=\"mono\" href=\"%s/%s/%scommit/%s\">%s</a>", f->clone_base, name,
                     f->kind == FORGE_GITLAB ? "-/" : "", commit, text);
        else
                html(b, "<span class=\"mono\">%s</span>", text);
}

void page_failure(struct nb_buf *b, const struct view_job *j)
{
        if (j->cell > 0 && j->ename) {
                html(b, "<span class=\"fault\">cell %lld: %s%s%s</span>", (long long)j->cell,
                     j->ename, j->evalue && j->evalue[0] ? ": " : "", j->evalue);
        } else if (j->reason && j->reason[0]) {
                html(b, "<span class=\"%s\">%s</span>",
                     j->state == JOB_PASSED || !job_state_final(j->state) ? "dim" : "fault",
                     j->reason);
        }
}

void page_progress(struct nb_buf *b, const struct view_job *j)
{
        if (j->cells > 0)
                html(b, "%lld of %lld", (long long)j->cells_done, (long long)j->cells);
        else
                html(b, "–");
}

void page_span(struct nb_buf *b, int64_t from_ms, int64_t to_ms, int64_t now_ms)
{
        char text[HTML_SPAN_SIZE];

        if (from_ms == 0) {
                html(b, "–");
                return;
        }
        html_span((to_ms ? to_ms : now_ms) - from_ms, text);
        html(b, "%s", text);
}

void page_row(struct nb_buf *b, const char *name)
{
        html(b, "<dt>%s</dt><dd>", name);
}

/* ---- all builds ---- */

struct list {
        struct web_app *app;
        struct nb_buf *b;
        int64_t now_ms, last_id;
        uint32_t left, rows;
        bool more, unfinished;
};

static void put_build_text(struct list *l, const struct view_build *b)
{
        if (b->title && b->title[0])
                html(l->b, "<a href=\"/builds/%lld\">%s</a>", (long long)b->id, b->title);
        else
                html(l->b, "<a href=\"/builds/%lld\">Build %lld</a>", (long long)b->id,
                     (long long)b->id);
        html(l->b, "<div class=\"dim\">");
        page_commit(l->app, l->b, b->forge, b->repository, b->commit);
        if (b->author && b->author[0])
                html(l->b, " by %s", b->author);
        if (b->reason && b->reason[0])
                html(l->b, " · %s", b->reason);
        html(l->b, "</div>");
}

static int put_build_row(void *arg, const struct view_build *b)
{
        struct list *l = arg;

        if (l->left == 0) {
                l->more = true;
                return 0;
        }
        l->left--;
        if (l->rows++ == 0)
                html(l->b,
                     "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">State</th>"
                     "<th scope=\"col\">Build</th><th scope=\"col\">Change</th>"
                     "<th scope=\"col\">Repository</th><th scope=\"col\">Notebooks</th>"
                     "<th scope=\"col\">Duration</th><th scope=\"col\">Arrived</th></tr></thead>\n"
                     "<tbody>\n");
        l->last_id = b->id;
        l->unfinished = l->unfinished || !build_state_final(b->state);
        html(l->b, "<tr><td>");
        html_badge(l->b, build_state_name(b->state));
        html(l->b,
             "</td><td class=\"number\"><a href=\"/builds/%lld\">#%lld</a></td><td class=\"wide\">",
             (long long)b->id, (long long)b->id);
        put_build_text(l, b);
        html(l->b, "</td><td>%s<div class=\"dim\">%s</div></td><td class=\"number\">",
             b->repository, ref_short(b->ref));
        if (b->jobs > 0)
                html(l->b, "%lld of %lld passed", (long long)b->jobs_passed, (long long)b->jobs);
        else
                html(l->b, "–");
        html(l->b, "</td><td class=\"number\">");
        page_span(l->b, b->started_ms, b->finished_ms, l->now_ms);
        html(l->b, "</td><td class=\"number\">");
        html_time(l->b, b->created_ms, l->now_ms);
        html(l->b, "</td></tr>\n");
        return 0;
}

static void put_filter(struct nb_buf *b, const struct view_filter *f)
{
        html(b,
             "<form method=\"get\" action=\"/\" role=\"search\">\n"
             "<label>Repository <input name=\"repository\" value=\"%s\" "
             "placeholder=\"acme/notebooks\"></label>\n"
             "<label>State <select name=\"state\"><option value=\"\">any</option>",
             f->repository);
        for (int s = 0; s < BUILD_STATE__COUNT; s++) {
                const char *name = build_state_name((enum build_state)s);

                html(b, "<option value=\"%s\"", name);
                if (s == f->state)
                        html(b, " selected");
                html(b, ">%s</option>", name);
        }
        html(b, "</select></label>\n<button>Show</button>\n</form>\n");
}

/* The first thing an operator sees: say what to do next. */
static void put_nothing(struct web_app *a, struct nb_buf *b, const struct view_filter *f)
{
        const struct config *c = a->config;

        if (f->repository || f->state >= 0 || f->before > 0) {
                html(b, "<p class=\"empty\">No build matches. <a href=\"/\">Show all builds</a>"
                        "</p>\n");
                return;
        }
        html(b, "<div class=\"empty\">\n<h2>No push has arrived yet</h2>\n");
        if (c->n_forges == 0)
                html(b,
                     "<p>No forge is configured. Add a <code>[[forge]]</code> and a "
                     "<code>[[repository]]</code> table to <code>%s</code> and reload.</p>\n",
                     c->file);
        else
                html(b, "<p>Point a webhook for push events at this server, with content type "
                        "<code>application/json</code> and the secret of the forge:</p>\n<ul>\n");
        for (size_t i = 0; i < c->n_forges; i++)
                html(b, "<li><code>%s/hooks/%s</code></li>\n", c->public_url, c->forges[i].name);
        if (c->n_forges > 0)
                html(b, "</ul>\n<p>A push that changes a notebook then shows up here.</p>\n");
        html(b, "</div>\n");
}

static void put_paging(struct nb_buf *b, const struct view_filter *f, const struct list *l)
{
        nb_auto_buf newest = NB_BUF(65536), next = NB_BUF(65536);

        if (!l->more && f->before == 0)
                return;
        filter_query(&newest, f, 0);
        filter_query(&next, f, l->last_id);
        html(b, "<nav class=\"paging\" aria-label=\"Pages\">");
        if (f->before > 0)
                html(b, "<a href=\"/%s\">Newest builds</a> ", nb_buf_str(&newest));
        if (l->more)
                html(b, "<a rel=\"next\" href=\"/%s\">Older builds</a>", nb_buf_str(&next));
        html(b, "</nav>\n");
}

void page_builds(struct web_app *a, struct web_request *q)
{
        struct view_filter f, wider;
        struct list l;
        struct nb_err err;

        if (!filter_parse(a, q, &f))
                return;
        l = (struct list){.app = a,
                          .b = reply_start(&q->reply, 200, "text/html; charset=utf-8"),
                          .now_ms = nb_now_ms(a->deps.clock),
                          .left = f.limit};
        wider = f;
        wider.limit++;
        html_top(l.b, "Builds", NULL, 0);
        html(l.b, "<h1>Builds</h1>\n");
        put_filter(l.b, &f);
        if (store_view_builds(a->view, &wider, put_build_row, &l, &err) < 0) {
                reply_failure(a, q, &err);
                return;
        }
        if (l.rows > 0)
                html(l.b, "</tbody></table></div>\n");
        else
                put_nothing(a, l.b, &f);
        put_paging(l.b, &f, &l);
        html_bottom(l.b);
        if (l.unfinished)
                reply_header(&q->reply, "Refresh", REFRESH_LIST);
}

/* ---- one build ---- */

struct one {
        struct web_app *app;
        struct nb_buf *b;
        int64_t now_ms;
        bool final;
        unsigned rows;
};

static int put_build(void *arg, const struct view_build *v)
{
        struct one *o = arg;
        struct nb_buf *b = o->b;
        char title[64];

        o->final = build_state_final(v->state);
        (void)nb_fmt(title, sizeof(title), "Build %lld", (long long)v->id);
        html_top(b, title, &(struct web_crumb){.text = title}, 1);
        html(b, "<h1>");
        html_badge(b, build_state_name(v->state));
        html(b, " %s</h1>\n", v->title && v->title[0] ? v->title : title);
        if (v->reason && v->reason[0])
                html(b, "<p>%s</p>\n", v->reason);
        if (v->cancelling)
                html(b, "<p>Somebody asked to cancel it; what runs is being stopped.</p>\n");
        html(b, "<dl>\n");
        page_row(b, "Repository");
        html(b, "%s <span class=\"dim\">(%s)</span></dd>\n", v->repository, v->forge);
        page_row(b, "Branch or tag");
        html(b, "%s</dd>\n", ref_short(v->ref));
        page_row(b, "Commit");
        page_commit(o->app, b, v->forge, v->repository, v->commit);
        html(b, "</dd>\n");
        if (v->author && v->author[0]) {
                page_row(b, "Author");
                html(b, "%s</dd>\n", v->author);
        }
        page_row(b, "Trigger");
        html(b, "%s", trigger_name(v->trigger));
        if (v->retry_of > 0)
                html(b, ", again after <a href=\"/builds/%lld\">build %lld</a>",
                     (long long)v->retry_of, (long long)v->retry_of);
        html(b, "</dd>\n");
        page_row(b, "Arrived");
        html_time_long(b, v->created_ms, o->now_ms);
        html(b, "</dd>\n");
        page_row(b, "Duration");
        page_span(b, v->started_ms, v->finished_ms, o->now_ms);
        html(b, "</dd>\n</dl>\n<h2>Notebooks</h2>\n");
        return 0;
}

static int put_job_row(void *arg, const struct view_job *j)
{
        struct one *o = arg;

        if (o->rows++ == 0)
                html(o->b, "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">State</th>"
                           "<th scope=\"col\">Notebook</th><th scope=\"col\">Cells</th>"
                           "<th scope=\"col\">Duration</th><th scope=\"col\">Results</th></tr>"
                           "</thead>\n<tbody>\n");
        html(o->b, "<tr><td>");
        html_badge(o->b, job_state_name(j->state));
        html(o->b, "</td><td class=\"wide\"><a href=\"/jobs/%lld\">%s</a><div>", (long long)j->id,
             j->notebook);
        page_failure(o->b, j);
        html(o->b, "</div></td><td class=\"number\">");
        page_progress(o->b, j);
        html(o->b, "</td><td class=\"number\">");
        page_span(o->b, j->started_ms, j->finished_ms, o->now_ms);
        html(o->b, "</td><td class=\"number\">");
        if (j->artifacts && job_state_final(j->state) && j->started_ms > 0)
                html(o->b,
                     "<a href=\"/api/v1/jobs/%lld/log\">log</a> "
                     "<a href=\"/api/v1/jobs/%lld/notebook\">notebook</a>",
                     (long long)j->id, (long long)j->id);
        else
                html(o->b, "–");
        html(o->b, "</td></tr>\n");
        return 0;
}

void page_build(struct web_app *a, struct web_request *q)
{
        struct one o = {.app = a,
                        .b = reply_start(&q->reply, 200, "text/html; charset=utf-8"),
                        .now_ms = nb_now_ms(a->deps.clock)};
        struct nb_err err;
        int r = store_view_build(a->view, q->match.id, put_build, &o, &err);

        if (r == 0) {
                reply_problem(a, q, 404, "There is no build %lld.", (long long)q->match.id);
                return;
        }
        if (r > 0)
                r = store_view_jobs(a->view, q->match.id, put_job_row, &o, &err);
        if (r < 0) {
                reply_failure(a, q, &err);
                return;
        }
        if (o.rows > 0)
                html(o.b, "</tbody></table></div>\n");
        else
                html(o.b, "<p class=\"empty\">%s</p>\n",
                     o.final ? "This build ran no notebook."
                             : "Looking for the notebooks that the push changed.");
        html_bottom(o.b);
        if (!o.final)
                reply_header(&q->reply, "Refresh", PAGE_REFRESH);
}
