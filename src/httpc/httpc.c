/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/httpc.h>

#include <stdlib.h>
#include <sys/epoll.h>

#include <nbcid/num.h>
#include <nbcid/str.h>

#include "request.h"

/* libcurl says which descriptors and how long to wait; the loop waits. */
struct curl_httpc {
        struct httpc base; /* first */
        struct loop *loop;
        struct loop_source *timer; /* libcurl's one */
        CURLM *multi;
        struct httpc_opts opts; /* no zero fields; texts owned */
        char *user_agent, *ca_file;
        unsigned n_pending;
        bool telling; /* a done function is running */
        bool global;  /* curl_global_init() was called */
};

/* Out of the books and out of libcurl, so that done() finds a client in which
 * it may send and cancel. */
static void forget(struct curl_httpc *h, struct request *r)
{
        CURLMcode m = curl_multi_remove_handle(h->multi, r->easy);

        nb_assert(m == CURLM_OK); /* fails inside libcurl's callbacks only */
        loop_timer_arm(r->deadline, UINT64_MAX);
        h->n_pending--;
}

static void tell_ended(struct curl_httpc *h)
{
        CURLMsg *msg;
        int left;

        /* Each round asks anew: done() may have cancelled whoever was next. */
        while ((msg = curl_multi_info_read(h->multi, &left))) {
                CURLcode result = msg->data.result;
                struct request *r = NULL;

                if (msg->msg != CURLMSG_DONE)
                        continue;
                curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&r);
                forget(h, r); /* msg is gone now */
                h->telling = true;
                request_tell(r, result);
                h->telling = false;
                request_free(r);
        }
}

static void act(struct curl_httpc *h, curl_socket_t fd, int events)
{
        int running;

        /* What goes wrong in here belongs to a request and is told as its
         * result; should it not be, its deadline ends it. */
        (void)curl_multi_socket_action(h->multi, fd, events, &running);
        tell_ended(h);
}

static void on_timer(void *arg)
{
        act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void on_socket(void *arg, int fd, uint32_t revents)
{
        int events = 0;

        /* Trouble is found by reading: libcurl then has errno for its text. */
        if (revents & (EPOLLIN | EPOLLERR | EPOLLHUP))
                events |= CURL_CSELECT_IN;
        if (revents & EPOLLOUT)
                events |= CURL_CSELECT_OUT;
        act(arg, fd, events);
}

static int want_timer(CURLM *multi, long timeout_ms, void *userdata)
{
        struct curl_httpc *h = userdata;

        /* 0 fires in the next round and not in here, as libcurl requires. */
        loop_timer_arm(h->timer, timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * NB_US_PER_MS);
        return 0;
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket_data)
{
        struct curl_httpc *h = userdata;
        struct loop_source *s = socket_data;
        uint32_t events = 0;

        if (what == CURL_POLL_REMOVE) {
                (void)curl_multi_assign(h->multi, fd, NULL);
                loop_source_free(s);
                return 0;
        }
        if (what & CURL_POLL_IN)
                events |= EPOLLIN;
        if (what & CURL_POLL_OUT)
                events |= EPOLLOUT;
        /* A failure is not answered: libcurl would give up every request of
         * this client.  The one concerned ends by its deadline. */
        if (s)
                (void)loop_io_events(s, events, NULL);
        else if (loop_io(h->loop, fd, events, on_socket, h, &s, NULL) == 0)
                (void)curl_multi_assign(h->multi, fd, s);
        return 0;
}

static void on_deadline(void *arg)
{
        struct request *r = arg;
        struct curl_httpc *h = (struct curl_httpc *)r->base.httpc;

        forget(h, r);
        h->telling = true;
        request_tell_timeout(r);
        h->telling = false;
        request_free(r);
}

static int curl_httpc_send_how(struct httpc *base, const struct http_out *req,
                               const struct httpc_how *how, httpc_done_fn done, void *arg,
                               struct httpc_request **ret, struct nb_err *err)
{
        struct curl_httpc *h = (struct curl_httpc *)base;
        NB_CLEANUP(request_freep) struct request *r = NULL;
        CURLMcode m;
        int bad;

        if (h->n_pending >= HTTPC_MAX_PENDING)
                return nb_fail(err, NB_E_BUSY, "%u HTTP requests are pending; try again later",
                               h->n_pending);
        bad = request_new(req, how, &h->opts, &r, err);
        if (bad < 0)
                return bad;
        r->base.httpc = base;
        r->done = done;
        r->arg = arg;
        /* Not CURLOPT_TIMEOUT_MS, which does not watch over a request that
         * waits for a connection. */
        bad = loop_timer(h->loop, on_deadline, r, &r->deadline, err);
        if (bad < 0)
                return bad;
        m = curl_multi_add_handle(h->multi, r->easy);
        if (m != CURLM_OK)
                return nb_fail_detail(err, m == CURLM_OUT_OF_MEMORY ? NB_E_NOMEM : NB_E_BUG, (int)m,
                                      "libcurl does not take a request: %s",
                                      curl_multi_strerror(m));
        loop_timer_arm(r->deadline, r->timeout_us);
        h->n_pending++;
        *ret = &NB_TAKE(r)->base;
        return 0;
}

static int curl_httpc_send(struct httpc *base, const struct http_out *req, httpc_done_fn done,
                           void *arg, struct httpc_request **ret, struct nb_err *err)
{
        return curl_httpc_send_how(base, req, &(struct httpc_how){0}, done, arg, ret, err);
}

static void curl_httpc_cancel(struct httpc_request *base)
{
        struct request *r = (struct request *)base;

        nb_assert(!r->over);
        forget((struct curl_httpc *)r->base.httpc, r);
        request_free(r);
}

static void curl_httpc_free(struct httpc *base)
{
        struct curl_httpc *h = (struct curl_httpc *)base;

        nb_assert(h->n_pending == 0 && !h->telling);
        if (h->multi)
                curl_multi_cleanup(h->multi);
        loop_source_free(h->timer);
        free(h->user_agent);
        free(h->ca_file);
        if (h->global)
                curl_global_cleanup();
        free(h);
}

static const struct httpc_ops curl_ops = {
        .send = curl_httpc_send,
        .send_how = curl_httpc_send_how,
        .cancel = curl_httpc_cancel,
        .free = curl_httpc_free,
};

struct httpc *httpc_free(struct httpc *h)
{
        if (h)
                h->ops->free(h);
        return NULL;
}

static int copy_opts(struct curl_httpc *h, const struct httpc_opts *o, struct nb_err *err)
{
        h->opts = *o;
        if (h->opts.connect_timeout_us == 0)
                h->opts.connect_timeout_us = 10 * NB_US_PER_S;
        if (h->opts.connect_timeout_us < NB_US_PER_MS) /* 0 ms is libcurl's own default */
                h->opts.connect_timeout_us = NB_US_PER_MS;
        if (h->opts.timeout_us == 0)
                h->opts.timeout_us = 30 * NB_US_PER_S;
        if (h->opts.max_response == 0)
                h->opts.max_response = (size_t)1024 * 1024;
        if (h->opts.max_connections == 0)
                h->opts.max_connections = 16;
        h->user_agent = nb_strdup(o->user_agent ? o->user_agent : "nbcid/0.1.0");
        h->ca_file = nb_strdup(o->ca_file);
        if (!h->user_agent || (o->ca_file && !h->ca_file))
                return nb_fail(err, NB_E_NOMEM, "no memory for the HTTP client");
        h->opts.user_agent = h->user_agent;
        h->opts.ca_file = h->ca_file;
        return 0;
}

static CURLMcode set_up(struct curl_httpc *h)
{
        long connections = (long)h->opts.max_connections;
        CURLMcode m;

        m = curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
        if (m == CURLM_OK)
                m = curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
        if (m == CURLM_OK)
                m = curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, want_timer);
        if (m == CURLM_OK)
                m = curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
        if (m == CURLM_OK)
                m = curl_multi_setopt(h->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections);
        if (m == CURLM_OK)
                m = curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, connections);
        return m;
}

int httpc_curl_new(struct loop *l, const struct httpc_opts *o, struct httpc **ret,
                   struct nb_err *err)
{
        struct curl_httpc *h = calloc(1, sizeof(*h));
        NB_CLEANUP(httpc_freep) struct httpc *guard = NULL;
        CURLcode c;
        CURLMcode m;
        int bad;

        if (!h)
                return nb_fail(err, NB_E_NOMEM, "no memory for the HTTP client");
        h->base.ops = &curl_ops;
        h->loop = l;
        guard = &h->base;
        bad = copy_opts(h, o, err);
        if (bad == 0)
                bad = loop_timer(l, on_timer, h, &h->timer, err);
        if (bad < 0)
                return bad;
        c = curl_global_init(CURL_GLOBAL_DEFAULT);
        if (c != CURLE_OK)
                return nb_fail_detail(err, NB_E_IO, (int)c, "libcurl does not start: %s",
                                      curl_easy_strerror(c));
        h->global = true;
        h->multi = curl_multi_init();
        if (!h->multi)
                return nb_fail(err, NB_E_NOMEM, "no memory for the HTTP client");
        m = set_up(h);
        if (m != CURLM_OK)
                return nb_fail_detail(err, NB_E_BUG, (int)m, "libcurl refuses an option: %s",
                                      curl_multi_strerror(m));
        *ret = NB_TAKE(guard);
        return 0;
}
