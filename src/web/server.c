/* SPDX-License-Identifier: Apache-2.0 */

/*
 * server.c - connections, bodies, deadlines and the thread
 *
 * libmicrohttpd (0.9.75) is driven from outside: MHD_run() when its epoll
 * descriptor is ready.  A delivery whose body is complete waits suspended; when
 * MHD has nothing more to read, all that wait are committed together, resumed
 * and answered by the next MHD_run().  Nobody stays suspended over a round, as
 * MHD_stop_daemon() demands (manual, "MHD_suspend_connection").
 *
 * MHD's own timeout is one of idleness, which a sender of one byte a second
 * never meets.  A connection therefore has a deadline for what it is doing, and
 * is shut down when that has passed; MHD then sees the end of it.
 */

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <nbcid/log.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "web-priv.h"

#define ROUND_MS 1000
#define SCAN_US (100 * NB_US_PER_MS)
#define STOP_US (5 * NB_US_PER_S)
#define HEAD_MEMORY 32768 /* of one connection: request line, headers, read buffer */
#define GATHER_MAX 32     /* looks for more deliveries before a commit */
#define GATHER_ENOUGH 64  /* deliveries */
#define GATHER_NS 150000  /* pause in which none arrives, after which none is waited for */
#define CROWD_US 10000
#define LARGE_BODY 1048576
#define TURNS_MAX 16      /* commits before the clock is looked at again */
#define ANSWER_RATE 16384 /* bytes a second that a reader must manage */

enum conn_phase {
        CONN_WAITING, /* for a request */
        CONN_READING, /* one */
        CONN_ANSWERING,
};

struct exchange {             /* one request on its connection */
        struct web_request q; /* first: the same address */
        struct conn *conn;
        char *target;
        bool begun, queued;
};

struct conn {
        struct conn *prev, *next;
        struct MHD_Connection *mhd;
        struct exchange *x; /* NULL between requests */
        enum conn_phase phase;
        uint64_t deadline_us;
        uint64_t delivered_us; /* its last delivery */
        bool shut;
};

struct web {
        struct web_app app;
        struct web_listener listener;
        struct MHD_Daemon *mhd;
        struct conn *conns;
        struct web_request **waiting; /* deliveries, for their commit; max_connections fit */
        size_t n_waiting;
        uint64_t scanned_us;

        pthread_t thread;
        bool started;
        int wake_fd, epoll_fd;
        atomic_bool stop;
        _Atomic(struct config *) next_config;
        atomic_uint_fast64_t beat_us;
};

static uint64_t now_us(void)
{
        return nb_mono_us(&nb_clock_real);
}

/* ---- connections ---- */

static void conn_phase(struct web *w, struct conn *c, enum conn_phase phase, uint64_t more_us)
{
        c->phase = phase;
        c->deadline_us = now_us() + w->app.config->request_timeout_us + more_us;
}

static void exchange_free(struct web *w, struct exchange *x)
{
        if (!x)
                return;
        request_done(&w->app, &x->q);
        free(x->target);
        free(x);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
        struct web *w = cls;
        struct conn *c = *context;

        if (code == MHD_CONNECTION_NOTIFY_STARTED) {
                c = calloc(1, sizeof(*c));
                if (!c)
                        return; /* its first request is refused */
                c->mhd = mhd;
                c->next = w->conns;
                if (c->next)
                        c->next->prev = c;
                w->conns = c;
                conn_phase(w, c, CONN_WAITING, 0);
                *context = c;
        } else if (c) {
                exchange_free(w, c->x);
                if (c->prev)
                        c->prev->next = c->next;
                else
                        w->conns = c->next;
                if (c->next)
                        c->next->prev = c->prev;
                free(c);
                *context = NULL;
        }
}

static struct conn *conn_of(struct MHD_Connection *mhd)
{
        const union MHD_ConnectionInfo *i =
                MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

        return i ? i->socket_context : NULL;
}

/* The request line is here; its answer becomes *con_cls. */
static void *on_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
        struct web *w = cls;
        struct conn *c = conn_of(mhd);
        struct exchange *x = c ? calloc(1, sizeof(*x)) : NULL;

        if (!x)
                return NULL;
        reply_init(&x->q.reply);
        x->conn = c;
        x->target = nb_strdup(target);
        if (!x->target) {
                free(x);
                return NULL;
        }
        exchange_free(w, c->x);
        c->x = x;
        conn_phase(w, c, CONN_READING, 0);
        return x;
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
        struct web *w = cls;
        struct exchange *x = *con_cls;

        *con_cls = NULL;
        if (!x)
                return;
        x->conn->x = NULL;
        conn_phase(w, x->conn, CONN_WAITING, 0);
        exchange_free(w, x);
}

/* Paths and queries are decoded by us, or not at all. */
static size_t no_unescape(void *cls, struct MHD_Connection *mhd, char *s)
{
        return strlen(s);
}

static __attribute__((format(printf, 2, 0))) void on_log(void *cls, const char *fmt, va_list ap)
{
        char text[256];

        (void)vsnprintf(text, sizeof(text), fmt, ap);
        nb_log(LOG_DEBUG, "libmicrohttpd", NB_F_STR("text", text));
}

/* Shut down whoever takes too long; counts those whose request is in hand. */
static size_t scan(struct web *w, uint64_t now)
{
        size_t busy = 0;

        for (struct conn *c = w->conns; c; c = c->next) {
                busy += c->phase != CONN_WAITING && !c->shut;
                if (now > c->deadline_us && !c->shut) {
                        const union MHD_ConnectionInfo *i =
                                MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_CONNECTION_FD);

                        c->shut = true;
                        if (i)
                                (void)shutdown(i->connect_fd, SHUT_RDWR);
                        if (c->x && c->x->begun && c->phase == CONN_READING)
                                app_log_refused(&w->app, &c->x->q, "it took too long to arrive");
                }
        }
        w->scanned_us = now;
        return busy;
}

/* ---- requests ---- */

static enum MHD_Result add_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
        struct web_request *q = cls;

        if (q->n_headers == WEB_HEADERS_MAX) {
                q->too_many_headers = true;
                return MHD_NO;
        }
        q->headers[q->n_headers++] =
                (struct http_header){.name = name, .value = value ? value : ""};
        return MHD_YES;
}

static void send_header(void *arg, const char *name, const char *value)
{
        /* Refused only for what HTTP does not allow in a header. */
        (void)MHD_add_response_header(arg, name, value);
}

static struct MHD_Response *make_response(struct web_reply *r, uint64_t *ret_size)
{
        struct MHD_Response *resp;

        if (r->fd >= 0) {
                *ret_size = r->fd_size;
                resp = MHD_create_response_from_fd64(r->fd_size, r->fd);
                if (resp)
                        r->fd = -1; /* MHD's now */
        } else if (r->asset) {
                *ret_size = r->asset->size;
                resp = MHD_create_response_from_buffer(
                        r->asset->size, (void *)(uintptr_t)r->asset->data, MHD_RESPMEM_PERSISTENT);
        } else {
                size_t n = r->body.len;
                char *p = nb_buf_steal(&r->body);

                *ret_size = n;
                if (!p)
                        return NULL;
                resp = MHD_create_response_from_buffer(n, p, MHD_RESPMEM_MUST_FREE);
                if (!resp)
                        free(p);
        }
        return resp;
}

static enum MHD_Result send_reply(struct web *w, struct exchange *x)
{
        struct web_reply *r = &x->q.reply;
        struct MHD_Response *resp;
        enum MHD_Result done;
        uint64_t size;

        request_drop_body(&w->app, &x->q);
        resp = make_response(r, &size);
        if (!resp)
                return MHD_NO;
        reply_each_header(r, send_header, resp);
        if (x->q.route && hook_is(x->q.route) && x->q.complete_us > 0)
                metric_observe(&w->app.deps.metrics->delivery_seconds, now_us() - x->q.complete_us);
        x->queued = true;
        conn_phase(w, x->conn, CONN_ANSWERING, size * NB_US_PER_S / ANSWER_RATE);
        done = MHD_queue_response(x->conn->mhd, (unsigned)r->status, resp);
        MHD_destroy_response(resp);
        return done;
}

/* Headers are complete. */
static enum MHD_Result begin(struct web *w, struct exchange *x, const char *method)
{
        struct web_request *q = &x->q;

        x->begun = true;
        q->method = method;
        (void)MHD_get_connection_values(x->conn->mhd, MHD_HEADER_KIND, add_header, q);
        request_begin(&w->app, q, x->target);
        /* An answer before the body makes MHD close the connection after it:
         * without a body it waits for the request's end. */
        return q->reply.close ? send_reply(w, x) : MHD_YES;
}

static enum MHD_Result finish(struct web *w, struct exchange *x)
{
        struct web_request *q = &x->q;

        if (q->reply.status == 0 && !q->delivery) {
                q->complete_us = now_us();
                request_finish(&w->app, q);
        }
        if (q->reply.status != 0)
                return send_reply(w, x);
        w->waiting[w->n_waiting++] = q;
        x->conn->delivered_us = q->complete_us;
        MHD_suspend_connection(x->conn->mhd);
        return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *n_upload, void **con_cls)
{
        struct web *w = cls;
        struct exchange *x = *con_cls;
        size_t n = *n_upload;

        if (!x)
                return MHD_NO; /* no memory for it */
        if (!x->begun)
                return begin(w, x, method);
        if (n > 0) {
                *n_upload = 0;
                return request_take(&w->app, &x->q, upload, n) ? MHD_YES : MHD_NO;
        }
        return x->queued ? MHD_YES : finish(w, x);
}

/* ---- rounds ---- */

static void commit_waiting(struct web *w)
{
        hook_commit(&w->app, w->waiting, w->n_waiting);
        for (size_t i = 0; i < w->n_waiting; i++)
                MHD_resume_connection(((struct exchange *)w->waiting[i])->conn->mhd);
        w->n_waiting = 0;
}

static uint64_t mhd_timeout_ms(struct web *w)
{
        MHD_UNSIGNED_LONG_LONG ms;

        return MHD_get_timeout(w->mhd, &ms) == MHD_YES ? ms : UINT64_MAX;
}

/* Connections that are sending deliveries just now, or have in the last few
 * milliseconds: whose next is likely to come at once. */
static size_t crowd(const struct web *w)
{
        uint64_t now = now_us();
        size_t n = 0;

        for (const struct conn *c = w->conns; c; c = c->next)
                n += now - c->delivered_us < CROWD_US;
        return n < GATHER_ENOUGH ? n : GATHER_ENOUGH;
}

/* Read on, for a moment, until all that may be expected have arrived: a commit
 * costs about the same for one delivery as for many.  A sender that is alone
 * does not wait. */
static void gather(struct web *w)
{
        const struct timespec moment = {.tv_nsec = GATHER_NS};
        size_t enough = crowd(w);

        for (int i = 0; i < GATHER_MAX && w->n_waiting < enough; i++) {
                struct pollfd p = {.fd = w->epoll_fd, .events = POLLIN};

                if (mhd_timeout_ms(w) != 0 && ppoll(&p, 1, &moment, NULL) <= 0)
                        break;
                (void)MHD_run(w->mhd);
        }
}

/* The MHD_run() of the next turn resumes and answers; after the last, MHD's
 * own descriptor says at once that there is something to do. */
static void run(struct web *w)
{
        for (int turn = 0; turn < TURNS_MAX; turn++) {
                (void)MHD_run(w->mhd);
                if (w->n_waiting == 0)
                        break;
                gather(w);
                commit_waiting(w);
        }
}

static void wait_for_work(struct web *w)
{
        struct pollfd p[] = {{.fd = w->epoll_fd, .events = POLLIN},
                             {.fd = w->wake_fd, .events = POLLIN}};
        uint64_t ms = mhd_timeout_ms(w), n;

        if (poll(p, NB_ARRAY_SIZE(p), ms < ROUND_MS ? (int)ms : ROUND_MS) > 0 && p[1].revents)
                (void)!read(w->wake_fd, &n, sizeof(n));
}

static void take_config(struct web *w)
{
        struct config *c = atomic_exchange(&w->next_config, NULL);

        if (!c)
                return;
        flow_door_reconfigure(w->app.door, c);
        config_unref(w->app.config);
        w->app.config = c;
}

static void *serve(void *arg)
{
        struct web *w = arg;
        uint64_t stop_us = 0;
        bool stopping = false;
        size_t busy = 1;

        while (!stopping || (busy > 0 && now_us() < stop_us)) {
                uint64_t now;

                wait_for_work(w);
                take_config(w);
                run(w);
                now = now_us();
                atomic_store(&w->beat_us, now);
                if (stopping || now - w->scanned_us > SCAN_US)
                        busy = scan(w, now);
                if (!stopping && atomic_load(&w->stop)) {
                        stopping = true;
                        stop_us = now + STOP_US;
                        (void)MHD_quiesce_daemon(w->mhd);
                        busy = scan(w, now);
                }
        }
        return NULL;
}

/* ---- the door ---- */

static int start_mhd(struct web *w, struct nb_err *err)
{
        const struct config *c = w->app.config;
        const union MHD_DaemonInfo *info;

        w->mhd = MHD_start_daemon(
                MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
                on_request, w, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET,
                w->listener.fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)c->max_connections,
                MHD_OPTION_PER_IP_CONNECTION_LIMIT,
                w->listener.unix_socket ? 0U : (unsigned)c->max_connections_per_ip,
                MHD_OPTION_CONNECTION_TIMEOUT,
                (unsigned)((c->request_timeout_us + NB_US_PER_S - 1) / NB_US_PER_S),
                MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEAD_MEMORY,
                MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL, MHD_OPTION_URI_LOG_CALLBACK,
                on_target, w, MHD_OPTION_NOTIFY_COMPLETED, on_completed, w,
                MHD_OPTION_NOTIFY_CONNECTION, on_connection, w, MHD_OPTION_SIGPIPE_HANDLED_BY_APP,
                1, MHD_OPTION_END);
        if (!w->mhd)
                return nb_fail(err, NB_E_IO, "cannot start the HTTP server on %s",
                               w->listener.address);
        info = MHD_get_daemon_info(w->mhd, MHD_DAEMON_INFO_EPOLL_FD);
        if (!info || info->epoll_fd < 0)
                return nb_fail(err, NB_E_BUG, "libmicrohttpd has no epoll descriptor");
        w->epoll_fd = info->epoll_fd;
        return 0;
}

/* Signals are main's; and a peer that went away must not end us (SIGPIPE). */
static int start_thread(struct web *w, struct nb_err *err)
{
        sigset_t all, old;
        int e;

        sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        e = pthread_create(&w->thread, NULL, serve, w);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (e != 0)
                return nb_fail_errno(err, e, "cannot start the http thread");
        w->started = true;
        (void)pthread_setname_np(w->thread, "http");
        return 0;
}

static int start(struct web *w, struct nb_err *err)
{
        const struct web_deps *d = &w->app.deps;
        const struct flow_door_deps door = {.db_path = d->db_path,
                                            .clock = d->clock,
                                            .config = w->app.config,
                                            .metrics = d->metrics,
                                            .wake = d->wake,
                                            .wake_arg = d->wake_arg};
        int r;

        /* Left alone, glibc learns from the first large body to keep the memory
         * of the next ones; it has to go back to the system with each. */
        (void)mallopt(M_MMAP_THRESHOLD, LARGE_BODY);
        /* But what some pushes need at once is not asked for anew with each. */
        (void)mallopt(M_TRIM_THRESHOLD, LARGE_BODY);
        w->waiting = nb_alloc_array(w->app.config->max_connections, sizeof(*w->waiting));
        if (!w->waiting)
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (w->wake_fd < 0)
                return nb_fail_errno(err, errno, "eventfd");
        if ((r = flow_door_new(&door, &w->app.door, err)) < 0 ||
            (r = store_view_open(d->db_path, &w->app.view, err)) < 0 || (r = start_mhd(w, err)) < 0)
                return r;
        return start_thread(w, err);
}

int web_new(const struct web_deps *d, struct web **ret, struct nb_err *err)
{
        struct web_listener l = {.fd = -1};
        NB_CLEANUP(web_freep) struct web *w = NULL;
        int r = listener_open(d->config->listen, d->listen_fd, &l, err);

        if (r < 0)
                return r;
        w = calloc(1, sizeof(*w));
        if (!w) {
                listener_done(&l);
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        }
        w->listener = l;
        w->wake_fd = -1;
        w->app.deps = *d;
        w->app.config = config_ref(d->config);
        w->app.started_ms = nb_now_ms(&nb_clock_real);
        atomic_store(&w->beat_us, now_us());
        r = start(w, err);
        if (r < 0)
                return r;
        *ret = NB_TAKE(w);
        return 0;
}

static void ring(struct web *w)
{
        const uint64_t one = 1;

        /* full means that it rings already */
        (void)!write(w->wake_fd, &one, sizeof(one));
}

struct web *web_free(struct web *w)
{
        if (!w)
                return NULL;
        if (w->started) {
                atomic_store(&w->stop, true);
                ring(w);
                (void)pthread_join(w->thread, NULL);
        }
        /* A daemon that was quiesced leaves the socket to us. */
        if (w->mhd) {
                if (!w->started)
                        (void)MHD_quiesce_daemon(w->mhd);
                MHD_stop_daemon(w->mhd);
        }
        listener_done(&w->listener);
        store_view_close(w->app.view);
        flow_door_free(w->app.door);
        config_unref(w->app.config);
        config_unref(atomic_load(&w->next_config));
        nb_closep(&w->wake_fd);
        free(w->waiting);
        free(w);
        return NULL;
}

void web_reconfigure(struct web *w, struct config *c)
{
        config_unref(atomic_exchange(&w->next_config, config_ref(c)));
        ring(w);
}

uint64_t web_silence_us(const struct web *w)
{
        uint64_t now = now_us(), beat = atomic_load(&w->beat_us);

        return now > beat ? now - beat : 0;
}

const char *web_address(const struct web *w)
{
        return w->listener.address;
}
