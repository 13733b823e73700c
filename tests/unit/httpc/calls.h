/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* calls.h - a client, a server, and requests that remember what came of them;
 * for the tests of httpc */

#include <nbtest.h>
#include <signal.h>

#include <nbcid/httpc.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "server.h"

/* Far more than anything here takes; reaching it is a failure. */
#define PATIENCE (30 * NB_US_PER_S)

struct fixture {
        struct loop *loop;
        struct httpc *httpc;
        struct server *server;
        struct nb_err err;
};

static inline uint64_t now(void)
{
        return nb_mono_us(&nb_clock_real);
}

static inline void set_up(struct fixture *f, struct httpc_opts o)
{
        *f = (struct fixture){0};
        setenv("no_proxy", "*", 1);
        signal(SIGPIPE, SIG_IGN);
        CHECK_OK(loop_new(1, &f->loop, &f->err), &f->err);
        CHECK_OK(httpc_curl_new(f->loop, &o, &f->httpc, &f->err), &f->err);
        f->server = server_start();
}

static inline void tear_down(struct fixture *f)
{
        httpc_free(f->httpc);
        loop_free(f->loop);
        server_stop(f->server);
}

/* One request and what came of it. */
struct call {
        struct fixture *f;
        struct httpc_request *request;
        struct call *cancel; /* from done: cancel that one too */
        const char *then;    /* from done: send this path as next */
        struct call *next;
        int calls, status;
        struct nb_err err;
        bool has_method;
        char *body;
        size_t n_body, n_headers;
        char test[64], *test_lower, location[64], retry[16], early[8], late[8], trailer[8];
        char empty[8];
};

static inline void get(struct fixture *f, struct call *c, const char *path);

static inline void keep(const struct http_in *resp, const char *name, char *to, size_t size)
{
        const char *v = http_in_header(resp, name);

        (void)nb_fmt(to, size, "%s", v ? v : "(none)");
}

static inline void on_done(void *arg, const struct http_in *resp, const struct nb_err *err)
{
        struct call *c = arg;

        c->request = NULL;
        c->calls++;
        CHECK(!resp != !err);
        if (err) {
                c->err = *err;
        } else {
                c->status = resp->status;
                c->has_method = resp->method || resp->path;
                c->n_headers = resp->n_headers;
                c->n_body = resp->n_body;
                CHECK(resp->body && resp->body[resp->n_body] == '\0');
                free(c->body);
                c->body = malloc(resp->n_body + 1);
                CHECK(c->body);
                memcpy(c->body, resp->body, resp->n_body + 1);
                keep(resp, "x-TEST", c->test, sizeof(c->test));
                keep(resp, "X-Empty", c->empty, sizeof(c->empty));
                keep(resp, "location", c->location, sizeof(c->location));
                keep(resp, "Retry-After", c->retry, sizeof(c->retry));
                keep(resp, "X-Early", c->early, sizeof(c->early));
                keep(resp, "X-Late", c->late, sizeof(c->late));
                keep(resp, "X-Trailer", c->trailer, sizeof(c->trailer));
        }
        if (c->cancel && c->cancel->request) {
                httpc_cancel(c->cancel->request);
                c->cancel->request = NULL;
        }
        if (c->then)
                get(c->f, c->next, c->then);
}

static inline char *url_of(struct fixture *f, const char *path)
{
        char *u = nb_asprintf("http://127.0.0.1:%u%s", f->server->port, path);

        CHECK(u);
        return u;
}

static inline int try_send(struct fixture *f, struct call *c, const char *method, const char *url,
                           const char *header, const char *body, size_t n_body)
{
        char *h[] = {nb_strdup(header)};
        struct http_out out = {.method = nb_strdup(method),
                               .url = nb_strdup(url),
                               .headers = h,
                               .n_headers = header ? 1 : 0,
                               .n_body = n_body};
        int r;

        if (n_body > 0) {
                out.body = malloc(n_body);
                CHECK(out.body);
                memcpy(out.body, body, n_body);
        }
        c->f = f;
        r = httpc_send(f->httpc, &out, on_done, c, &c->request, &f->err);
        CHECK_INT(c->calls, 0); /* never from inside send */
        /* borrowed for the call only: spoil it before it goes */
        for (size_t i = 0; i < n_body; i++)
                out.body[i] = '?';
        free(out.method);
        free(out.url);
        free(out.body);
        free(h[0]);
        return r;
}

static inline void get(struct fixture *f, struct call *c, const char *path)
{
        nb_auto_free char *url = url_of(f, path);

        CHECK_OK(try_send(f, c, "GET", url, NULL, NULL, 0), &f->err);
}

static inline void wait_calls(struct fixture *f, const int *calls, int want)
{
        uint64_t end = now() + PATIENCE;

        while (*calls < want) {
                CHECK(now() < end);
                CHECK_OK(loop_step(f->loop, NB_US_PER_S, &f->err), &f->err);
        }
        CHECK_INT(*calls, want);
}

/* Step until the server holds that many requests. */
static inline void wait_held(struct fixture *f, unsigned want)
{
        uint64_t end = now() + PATIENCE;

        while (atomic_load(&f->server->held) != want) {
                CHECK(now() < end);
                CHECK_OK(loop_step(f->loop, NB_US_PER_MS, &f->err), &f->err);
        }
}

/* GET path and wait for its end. */
static inline void fetch(struct fixture *f, struct call *c, const char *path)
{
        free(c->body);
        *c = (struct call){0};
        get(f, c, path);
        wait_calls(f, &c->calls, 1);
}
