/* SPDX-License-Identifier: Apache-2.0 */

/* reply.c - answers as values: what every answer says, and how refusals look */

#include <stdarg.h>

#include <nbcid/json.h>
#include <nbcid/log.h>
#include <nbcid/str.h>

#include "web-priv.h"

#define CSP_NOTHING "default-src 'none'; frame-ancestors 'none'"
#define CSP_PAGE \
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; " \
        "base-uri 'none'; frame-ancestors 'none'"

void reply_init(struct web_reply *r)
{
        *r = (struct web_reply){.fd = -1};
}

void reply_done(struct web_reply *r)
{
        nb_buf_done(&r->body);
        nb_closep(&r->fd);
        reply_init(r);
}

void reply_header(struct web_reply *r, const char *name, const char *fmt, ...)
{
        size_t i = r->n_headers;
        va_list ap;

        nb_assert(i < NB_ARRAY_SIZE(r->headers));
        r->headers[i].name = name;
        va_start(ap, fmt);
        (void)vsnprintf(r->headers[i].value, sizeof(r->headers[i].value), fmt, ap);
        va_end(ap);
        r->n_headers++;
}

void reply_each_header(const struct web_reply *r,
                       void (*fn)(void *arg, const char *name, const char *value), void *arg)
{
        fn(arg, "Content-Type", r->type);
        fn(arg, "Cache-Control", r->cache);
        fn(arg, "Content-Security-Policy", r->csp);
        fn(arg, "X-Content-Type-Options", "nosniff");
        fn(arg, "X-Frame-Options", "DENY");
        fn(arg, "Referrer-Policy", "no-referrer");
        for (size_t i = 0; i < r->n_headers; i++)
                fn(arg, r->headers[i].name, r->headers[i].value);
        if (r->close)
                fn(arg, "Connection", "close");
}

struct nb_buf *reply_start(struct web_reply *r, int status, const char *type)
{
        reply_done(r);
        r->status = status;
        r->type = type;
        r->csp = nb_starts_with(type, "text/html") ? CSP_PAGE : CSP_NOTHING;
        r->cache = "no-store";
        r->body = NB_BUF(WEB_ANSWER_MAX);
        return &r->body;
}

void reply_text(struct web_reply *r, int status, const char *text)
{
        struct nb_buf *b = reply_start(r, status, "text/plain; charset=utf-8");

        (void)nb_buf_printf(b, "%s\n", text);
}

/* RFC 9110 section 15, RFC 6585 section 5 */
const char *reply_phrase(int status)
{
        switch (status) {
        case 400:
                return "Bad Request";
        case 401:
                return "Unauthorized";
        case 403:
                return "Forbidden";
        case 404:
                return "Not Found";
        case 405:
                return "Method Not Allowed";
        case 409:
                return "Conflict";
        case 413:
                return "Content Too Large";
        case 431:
                return "Request Header Fields Too Large";
        case 503:
                return "Service Unavailable";
        default:
                return "Internal Server Error";
        }
}

/* A person's browser went astray: answer in its language. */
static bool wants_page(const struct web_request *q)
{
        const char *accept;

        if (q->route)
                return q->route->page;
        accept = request_header(q, "Accept");
        return accept && strstr(accept, "text/html");
}

void reply_problem(struct web_app *a, struct web_request *q, int status, const char *fmt, ...)
{
        const char *phrase = reply_phrase(status);
        struct nb_json_out o;
        struct nb_buf *b;
        char detail[600];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(detail, sizeof(detail), fmt, ap);
        va_end(ap);
        if (wants_page(q)) {
                b = reply_start(&q->reply, status, "text/html; charset=utf-8");
                html_top(b, phrase, NULL, 0);
                html(b, "<h1>%s</h1>\n<p>%s</p>\n<p><a href=\"/\">All builds</a></p>\n", phrase,
                     detail);
                html_bottom(b);
        } else {
                b = reply_start(&q->reply, status, "application/problem+json");
                o = NB_JSON_OUT(b);
                nb_json_open_object(&o);
                nb_json_kv_str(&o, "type", "about:blank");
                nb_json_kv_str(&o, "title", phrase);
                nb_json_kv_int(&o, "status", status);
                nb_json_kv_str(&o, "detail", detail);
                nb_json_close(&o);
        }
        if (status == 503)
                reply_header(&q->reply, "Retry-After", WEB_RETRY_AFTER);
}

void reply_failure(struct web_app *a, struct web_request *q, const struct nb_err *err)
{
        bool later = nb_errc_policy(err->code)->retry;

        atomic_fetch_add(&a->deps.metrics->store_errors, 1);
        nb_log_err(LOG_ERR, err, "a request cannot be answered", NB_F_STR("path", q->target.path));
        reply_problem(a, q, later ? 503 : 500, "the server failed; its log says why");
}

void reply_check(struct web_app *a, struct web_request *q)
{
        if (!q->reply.body.failed)
                return;
        nb_log(LOG_ERR, "an answer became too long, or memory is out",
               NB_F_STR("path", q->target.path));
        reply_problem(a, q, 500, "the answer is too long");
}
