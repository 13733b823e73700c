/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * web-priv.h - what the files of room web share
 *
 * server.c turns connections into requests and replies into bytes and knows
 * libmicrohttpd; everything else knows only the values below.  All functions
 * are for the http thread unless they say "pure".
 */

#include <nbcid/buf.h>
#include <nbcid/embed.h>
#include <nbcid/httpmsg.h>
#include <nbcid/store_view.h>
#include <nbcid/web.h>

#define WEB_HEADERS_MAX 100
#define WEB_PARAMS_MAX 16
#define WEB_SMALL_BODY 65536          /* of requests that need none */
#define WEB_ANSWER_MAX (32 * 1048576) /* bytes that we write ourselves */
#define WEB_LIMIT_DEFAULT 50
#define WEB_LIMIT_MAX 200
#define WEB_RETRY_AFTER "30"
#define WEB_SECRET_REALM "nbcid"

/* ---- target.c: the request line's target, bytes of a stranger; pure ---- */

struct web_param {
        char *name, *value;
};
struct web_target { /* owned; done with target_done() */
        char *path; /* as sent, without the query */
        struct web_param params[WEB_PARAMS_MAX];
        size_t n_params;
};
/* NB_E_INVALID: no path, a malformed escape, text that is not UTF-8;
 * NB_E_LIMIT: over WEB_PARAMS_MAX parameters. */
int target_parse(const char *text, struct web_target *ret, struct nb_err *err);
void target_done(struct web_target *t);
/* The value of the first such parameter, or NULL when there is none or it is
 * empty (a form's unused field). */
const char *target_param(const struct web_target *t, const char *name);

/* ---- route.c: which request goes where ---- */

struct web_app;
struct web_request;
typedef void web_handler(struct web_app *a, struct web_request *q);

enum web_access {
        ACCESS_OPEN,     /* anybody */
        ACCESS_READ,     /* anybody, or those with the token when read = "token" */
        ACCESS_OPERATOR, /* those with the token */
};
struct web_route {
        const char *method, *pattern; /* "{id}": a positive number, "{name}": one plain word */
        web_handler *handler;
        enum web_access access;
        bool page; /* for people: errors are pages too */
};
struct web_match {
        int64_t id;
        char name[64];
};
/* NULL when there is none; *ret_allow is then NULL, or what Allow: should say.
 * Pure. */
const struct web_route *route_find(const char *method, const char *path, struct web_match *ret,
                                   const char **ret_allow);

/* ---- reply.c: an answer as a value ---- */

struct web_reply {
        int status; /* 0: none yet */
        const char *type, *csp, *cache;
        struct nb_buf body;
        const struct nb_embed *asset; /* in place of body */
        int fd;                       /* in place of body, owned; -1: none */
        uint64_t fd_size;
        struct {
                const char *name;
                char value[300];
        } headers[6];
        size_t n_headers;
        bool close; /* the rest of the request is not wanted */
};
void reply_init(struct web_reply *r);
void reply_done(struct web_reply *r);
/* A header beside those that every answer has; nb_assert when there is no
 * room.  A value that is too long is cut. */
void reply_header(struct web_reply *r, const char *name, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* All headers but Content-Length, in order. */
void reply_each_header(const struct web_reply *r,
                       void (*fn)(void *arg, const char *name, const char *value), void *arg);
/* Begin a 200 (or other) with an empty body of that type. */
struct nb_buf *reply_start(struct web_reply *r, int status, const char *type);
void reply_text(struct web_reply *r, int status, const char *text);
/* application/problem+json (RFC 9457), or a page for people. */
void reply_problem(struct web_app *a, struct web_request *q, int status, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
/* The database or something else of ours failed: logged, and 500 or 503. */
void reply_failure(struct web_app *a, struct web_request *q, const struct nb_err *err);
/* Made without memory for it, the answer becomes a 500. */
void reply_check(struct web_app *a, struct web_request *q);
const char *reply_phrase(int status);

/* ---- a request ---- */

struct web_request {
        const char *method;                          /* borrowed from the connection */
        struct web_target target;                    /* path NULL until it was parsed */
        struct http_header headers[WEB_HEADERS_MAX]; /* borrowed likewise */
        size_t n_headers;
        bool too_many_headers;
        const struct web_route *route;
        struct web_match match;
        size_t max_body;
        struct nb_buf body;
        bool too_large, no_room; /* the body is read, but not kept */
        uint64_t n_discarded;
        struct flow_delivery *delivery; /* waits for its commit */
        uint64_t complete_us;           /* when the last byte was here */
        struct web_reply reply;
};
const char *request_header(const struct web_request *q, const char *name);
void request_done(struct web_app *a, struct web_request *q);
/* Headers are here: find the route, check who asks.  Fills the reply when the
 * request is refused; with reply.close it is to be sent at once. */
void request_begin(struct web_app *a, struct web_request *q, const char *target);
/* n bytes of the body are here.  false: they are too many to go on reading. */
bool request_take(struct web_app *a, struct web_request *q, const char *p, size_t n);
/* The body is complete: answer, or set delivery. */
void request_finish(struct web_app *a, struct web_request *q);
/* What is answered needs its body and delivery no more. */
void request_drop_body(struct web_app *a, struct web_request *q);

struct web_app {
        struct web_deps deps;
        struct config *config; /* a reference */
        struct flow_door *door;
        struct store_view *view;
        int64_t started_ms;
        uint64_t bodies; /* bytes of all bodies in memory */
        /* refused requests are said in the log, but a flood of them is not */
        uint64_t log_second;
        unsigned log_lines, log_dropped;
};
void app_log_refused(struct web_app *a, const struct web_request *q, const char *why);

/* ---- auth.c ---- */

/* May the request pass?  Fills the reply when not. */
bool auth_check(struct web_app *a, struct web_request *q, enum web_access access);

/* ---- hook.c ---- */

void hook_post(struct web_app *a, struct web_request *q);
/* Commit the deliveries of n requests together and fill their replies. */
void hook_commit(struct web_app *a, struct web_request *const *v, size_t n);
bool hook_is(const struct web_route *r);
/* "Busy, come again". */
void hook_busy(struct web_app *a, struct web_request *q);

/* ---- the other handlers ---- */

web_handler api_builds, api_build, api_job, api_cancel, api_retry_build, api_retry_job;
web_handler api_environment;
web_handler artifact_log, artifact_notebook, artifact_lock, artifact_environment_log, asset_get;
web_handler health_get, ready_get, metrics_get;
web_handler page_builds, page_build, page_job;

/* The filter of a list of builds out of the query; false when the reply says
 * what is wrong with it. */
bool filter_parse(struct web_app *a, struct web_request *q, struct view_filter *ret);
/* "?repository=…&state=…&limit=…&before=…", nothing that is not set. */
void filter_query(struct nb_buf *b, const struct view_filter *f, int64_t before);

/* ---- artifact.c ---- */

/* fd of a regular file, or < 0. */
int artifact_open(struct web_app *a, int64_t build, int64_t job, const char *name,
                  uint64_t *ret_size, struct nb_err *err);

/* ---- html.c: text for people; pure ---- */

/* printf of HTML: %s is escaped, %lld a number, %% itself; nothing else. */
void html(struct nb_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "3.4 s", "2 min 5 s", "1 h 3 min", "2 d 4 h". */
#define HTML_SPAN_SIZE 40
void html_span(int64_t ms, char buf[HTML_SPAN_SIZE]);
/* <time> with how long ago, and when in its title; "–" when ms is 0. */
void html_time(struct nb_buf *b, int64_t ms, int64_t now_ms);
/* The same with both in the text. */
void html_time_long(struct nb_buf *b, int64_t ms, int64_t now_ms);
/* <span class="badge …">state</span> */
void html_badge(struct nb_buf *b, const char *state);
/* Everything up to the content, and after it.  The title is escaped. */
struct web_crumb {
        const char *text, *href;
};
void html_top(struct nb_buf *b, const char *title, const struct web_crumb *crumbs, size_t n);
void html_bottom(struct nb_buf *b);

/* ---- listen.c ---- */

struct web_listener {
        int fd;           /* -1: none */
        bool unix_socket; /* no addresses to count by */
        char *unlink;     /* path that we made, or NULL */
        char *address;
};
/* spec as [server] listen; or fd, a listening socket, which is taken. */
int listener_open(const char *spec, int fd, struct web_listener *ret, struct nb_err *err);
void listener_done(struct web_listener *l); /* closes fd, removes what was made */

extern const struct nb_embed web_assets[];
