/* SPDX-License-Identifier: Apache-2.0 */

/* request.c - one request from its headers to its answer */

#include <nbcid/log.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "web-priv.h"

#define LOG_LINES_PER_SECOND 10
#define BODIES_FACTOR 4  /* all bodies at a time: so many max_body */
#define SMALL_SHARE 16   /* of max_body: bodies that may use one max_body more */
#define DISCARD_FACTOR 4 /* of a refused body is read: so many max_body */

const char *request_header(const struct web_request *q, const char *name)
{
        return http_in_header(&(struct http_in){.headers = q->headers, .n_headers = q->n_headers},
                              name);
}

void request_drop_body(struct web_app *a, struct web_request *q)
{
        q->delivery = flow_delivery_free(q->delivery); /* borrows the body */
        a->bodies -= q->body.len;
        nb_buf_done(&q->body);
}

void request_done(struct web_app *a, struct web_request *q)
{
        request_drop_body(a, q);
        target_done(&q->target);
        reply_done(&q->reply);
}

void app_log_refused(struct web_app *a, const struct web_request *q, const char *why)
{
        uint64_t second = nb_mono_us(&nb_clock_real) / NB_US_PER_S;

        if (second != a->log_second) {
                if (a->log_dropped > 0)
                        nb_log(LOG_NOTICE, "more refused requests than were logged",
                               NB_F_INT("count", a->log_dropped));
                a->log_second = second;
                a->log_lines = a->log_dropped = 0;
        }
        if (a->log_lines == LOG_LINES_PER_SECOND) {
                a->log_dropped++;
                return;
        }
        a->log_lines++;
        nb_log(LOG_NOTICE, "request refused", NB_F_STR("method", q->method),
               NB_F_STR("path", q->target.path),
               NB_F_STR("forge", q->route && hook_is(q->route) ? q->match.name : NULL),
               NB_F_INT("status", q->reply.status), NB_F_STR("why", why));
}

static unsigned count_header(const struct web_request *q, const char *name)
{
        unsigned n = 0;

        for (size_t i = 0; i < q->n_headers; i++)
                n += strcasecmp(q->headers[i].name, name) == 0;
        return n;
}

/* RFC 9112 section 6.3: two opinions about where the body ends are an attempt
 * at smuggling when a proxy stands in between. */
static bool framing_ambiguous(const struct web_request *q)
{
        unsigned lengths = count_header(q, "Content-Length");
        unsigned codings = count_header(q, "Transfer-Encoding");

        return lengths + codings > 1;
}

static bool has_body(const struct web_request *q)
{
        return request_header(q, "Content-Length") || request_header(q, "Transfer-Encoding");
}

/* total: of the whole body.  Large bodies are read before anyone knows whose
 * they are; the reserve keeps strangers who send them slowly from shutting out
 * pushes, which are small. */
static bool no_room_for(const struct web_app *a, uint64_t n, uint64_t total)
{
        uint64_t max = a->config->max_body * BODIES_FACTOR;

        if (total <= a->config->max_body / SMALL_SHARE)
                max += a->config->max_body;
        return a->bodies + n > max;
}

static void refuse_too_large(struct web_app *a, struct web_request *q)
{
        if (hook_is(q->route))
                atomic_fetch_add(&a->deps.metrics->deliveries[DELIVERY_TOO_LARGE], 1);
        reply_problem(a, q, 413, "the body is over %zu bytes", q->max_body);
}

static void refuse_no_room(struct web_app *a, struct web_request *q)
{
        if (hook_is(q->route))
                hook_busy(a, q);
        else
                reply_problem(a, q, 503, "too many requests are being read; try again later");
}

/* What the headers say about the body. */
static bool check_framing(struct web_app *a, struct web_request *q)
{
        const char *length = request_header(q, "Content-Length");
        uint64_t n = 0;

        if (q->too_many_headers) {
                reply_problem(a, q, 431, "the request has over %d headers", WEB_HEADERS_MAX);
        } else if (framing_ambiguous(q)) {
                reply_problem(a, q, 400, "the length of the body is given twice");
        } else if (length && nb_parse_u64(length, 0, UINT64_MAX, &n, NULL) < 0) {
                reply_problem(a, q, 400, "Content-Length is no number");
        } else if (n > q->max_body) {
                refuse_too_large(a, q);
        } else if (no_room_for(a, n, length ? n : q->max_body)) {
                refuse_no_room(a, q);
        } else {
                /* No more than was announced: the buffer grows no further. */
                q->body = NB_BUF(length ? n : q->max_body);
                return true;
        }
        return false;
}

static bool find_route(struct web_app *a, struct web_request *q, const char *target)
{
        const char *allow;
        struct nb_err err;

        if (target_parse(target, &q->target, &err) < 0) {
                reply_problem(a, q, err.code == NB_E_NOMEM ? 503 : 400, "%s", err.msg);
                return false;
        }
        q->route = route_find(q->method, q->target.path, &q->match, &allow);
        if (q->route)
                return true;
        if (allow) {
                reply_problem(a, q, 405, "this address knows %s only", allow);
                reply_header(&q->reply, "Allow", "%s", allow);
        } else {
                reply_problem(a, q, 404, "there is nothing at this address");
        }
        return false;
}

void request_begin(struct web_app *a, struct web_request *q, const char *target)
{
        if (find_route(a, q, target)) {
                q->max_body = hook_is(q->route) ? a->config->max_body : WEB_SMALL_BODY;
                if (auth_check(a, q, q->route->access) && check_framing(a, q))
                        return;
                app_log_refused(a, q, reply_phrase(q->reply.status));
        }
        q->reply.close = has_body(q);
}

bool request_take(struct web_app *a, struct web_request *q, const char *p, size_t n)
{
        if (!q->too_large && !q->no_room) {
                q->too_large = n > q->max_body - q->body.len;
                q->no_room = !q->too_large &&
                             (no_room_for(a, n, q->body.max) || nb_buf_append(&q->body, p, n) < 0);
                if (!q->too_large && !q->no_room) {
                        a->bodies += n;
                        return true;
                }
                request_drop_body(a, q);
        }
        /* No answer may be given before the body has ended.  Whoever sends for
         * ever is cut off. */
        q->n_discarded += n;
        return q->n_discarded <= (uint64_t)q->max_body * DISCARD_FACTOR;
}

void request_finish(struct web_app *a, struct web_request *q)
{
        if (q->too_large || q->no_room) {
                if (q->too_large)
                        refuse_too_large(a, q);
                else
                        refuse_no_room(a, q);
                app_log_refused(a, q, reply_phrase(q->reply.status));
                return;
        }
        q->route->handler(a, q);
        reply_check(a, q);
}
