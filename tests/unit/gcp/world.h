/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* world.h - a client of Google, a server that plays Google, and a clock that
 * the test sets; for the tests of gcp and blob */

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>

#include <nbtest.h>

#include <nbcid/fs.h>
#include <nbcid/gcp.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "web.h"

#define PATIENCE (30 * NB_US_PER_S)

struct world {
        struct loop *loop;
        struct httpc *httpc;
        struct web *web;
        struct gcp *gcp;
        struct nb_clock clock;
        int64_t ahead_ms; /* of both clocks, before the real ones */
        char token_url[128], base[128];
        struct nb_err err;
};

static inline int64_t world_now_ms(void *arg)
{
        return nb_now_ms(&nb_clock_real) + ((struct world *)arg)->ahead_ms;
}

static inline uint64_t world_mono_us(void *arg)
{
        return nb_mono_us(&nb_clock_real) +
               (uint64_t)((struct world *)arg)->ahead_ms * NB_US_PER_MS;
}

static inline void world_start(struct world *w, web_fn fn, void *arg)
{
        const struct httpc_opts o = {0};

        *w = (struct world){0};
        w->clock = (struct nb_clock){world_now_ms, world_mono_us, w};
        setenv("no_proxy", "*", 1);
        signal(SIGPIPE, SIG_IGN);
        CHECK_OK(loop_new(2, &w->loop, &w->err), &w->err);
        CHECK_OK(httpc_curl_new(w->loop, &o, &w->httpc, &w->err), &w->err);
        w->web = web_start(fn, arg);
        CHECK(nb_fmt(w->base, sizeof(w->base), "http://127.0.0.1:%u", web_port(w->web)));
        CHECK(nb_fmt(w->token_url, sizeof(w->token_url), "%s/token", w->base));
}

/* With a credentials file, or NULL for the metadata server at our own. */
static inline int world_try_gcp(struct world *w, const char *credentials)
{
        const struct gcp_opts o = {
                .loop = w->loop,
                .httpc = w->httpc,
                .clock = &w->clock,
                .credentials = credentials,
                .token_url = w->token_url,
                .metadata_host = w->base + strlen("http://"),
                .backoff_us = NB_US_PER_MS,
        };

        return gcp_new(&o, &w->gcp, &w->err);
}

static inline void world_gcp(struct world *w, const char *credentials)
{
        CHECK_OK(world_try_gcp(w, credentials), &w->err);
}

static inline void world_stop(struct world *w)
{
        gcp_free(w->gcp);
        httpc_free(w->httpc);
        loop_free(w->loop);
        if (w->web)
                web_stop(w->web);
}

static inline void world_wait(struct world *w, const int *calls, int want)
{
        uint64_t end = nb_mono_us(&nb_clock_real) + PATIENCE;

        while (*calls < want) {
                CHECK(nb_mono_us(&nb_clock_real) < end);
                CHECK_OK(loop_step(w->loop, NB_US_PER_S, &w->err), &w->err);
        }
        CHECK_INT(*calls, want);
}

/* A file in the test's directory; the path is borrowed, good for some calls. */
static inline const char *put_text(const char *name, const char *text)
{
        static char path[8][200];
        static unsigned i;
        struct nb_err err;

        i = (i + 1) % 8;
        CHECK(nb_fmt(path[i], sizeof(path[i]), "%s/%s", nbtest_tmpdir(), name));
        CHECK_OK(nb_write_file(AT_FDCWD, path[i], text, strlen(text), 0600, false, &err), &err);
        return path[i];
}

/* A user's credentials: the shortest that work. */
static inline const char *put_user(void)
{
        return put_text("user.json", "{\"type\":\"authorized_user\",\"client_id\":\"c\","
                                     "\"client_secret\":\"s+/\",\"refresh_token\":\"r&t\"}");
}
