/* SPDX-License-Identifier: Apache-2.0 */
#include "web.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nbcid/err.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#define CONNECTIONS_MAX 256

struct web {
        int listener;
        unsigned port;
        web_fn fn;
        void *arg;
        pthread_t acceptor;
        pthread_mutex_t lock, handler;
        int fds[CONNECTIONS_MAX]; /* -1: closed.  Under lock */
        pthread_t threads[CONNECTIONS_MAX];
        unsigned n; /* under lock */
        atomic_uint accepted;
};

struct connection {
        struct web *web;
        unsigned index;
        int fd;
};

static bool hear(int fd, struct nb_buf *in)
{
        static _Thread_local char some[65536];
        ssize_t n = recv(fd, some, sizeof(some), 0);

        return n > 0 && nb_buf_append(in, some, (size_t)n) == 0;
}

void web_header(const struct web_request *r, const char *name, char *buf, size_t size)
{
        nb_auto_free char *pattern = nb_asprintf("\r\n%s:", name);
        const char *p = strcasestr(r->head, pattern);

        buf[0] = '\0';
        if (!p)
                return;
        p += strlen(pattern);
        p += strspn(p, " ");
        (void)nb_fmt(buf, size, "%.*s", (int)strcspn(p, "\r"), p);
}

void web_answer(struct nb_buf *out, int status, const char *headers, const char *body)
{
        (void)nb_buf_printf(out, "HTTP/1.1 %d Whatever\r\n%sContent-Length: %zu\r\n\r\n%s", status,
                            headers, strlen(body), body);
}

static bool send_all(int fd, const char *p, size_t n)
{
        while (n > 0) {
                ssize_t r = send(fd, p, n, MSG_NOSIGNAL);
                if (r <= 0)
                        return false;
                p += r;
                n -= (size_t)r;
        }
        return true;
}

/* One request and its answer; false: close. */
static bool serve_one(struct connection *c, struct nb_buf *in)
{
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        nb_auto_buf out = NB_BUF((size_t)64 << 20);
        nb_auto_free char *head = NULL;
        struct web_request r = {0};
        char length[32];
        uint64_t n_body = 0;
        size_t n_head;
        char *end;

        while (!(end = memmem(nb_buf_str(in), in->len, "\r\n\r\n", 4)))
                if (!hear(c->fd, in))
                        return false;
        n_head = (size_t)(end - in->data) + 4;
        head = nb_strndup(in->data, n_head);
        nb_assert(head);
        if (sscanf(head, "%7s %2047s", r.method, r.target) != 2)
                return false;
        r.head = head;
        web_header(&r, "Content-Length", length, sizeof(length));
        if (*length)
                nb_assert(nb_parse_u64(length, 0, SIZE_MAX, &n_body, NULL) == 0);
        while (in->len < n_head + n_body)
                if (!hear(c->fd, in))
                        return false;
        r.body = in->data + n_head;
        r.n_body = n_body;
        pthread_mutex_lock(&c->web->handler);
        c->web->fn(c->web->arg, &r, &out);
        pthread_mutex_unlock(&c->web->handler);
        if (out.len == 0) {
                (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
                return false;
        }
        if (!send_all(c->fd, out.data, out.len))
                return false;
        in->len -= n_head + n_body;
        memmove(in->data, in->data + n_head + n_body, in->len);
        in->data[in->len] = '\0';
        return !strcasestr(out.data, "\r\nConnection: close");
}

static void *serve(void *arg)
{
        struct connection *c = arg;
        struct nb_buf in = NB_BUF((size_t)64 << 20);

        while (serve_one(c, &in))
                ;
        pthread_mutex_lock(&c->web->lock);
        c->web->fds[c->index] = -1;
        close(c->fd);
        pthread_mutex_unlock(&c->web->lock);
        nb_buf_done(&in);
        free(c);
        return NULL;
}

static void *accept_all(void *arg)
{
        struct web *w = arg;
        int fd;

        while ((fd = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                struct connection *c = calloc(1, sizeof(*c));

                nb_assert(c);
                c->web = w;
                c->fd = fd;
                pthread_mutex_lock(&w->lock);
                nb_assert(w->n < CONNECTIONS_MAX);
                c->index = w->n++;
                w->fds[c->index] = fd;
                nb_assert(pthread_create(&w->threads[c->index], NULL, serve, c) == 0);
                pthread_mutex_unlock(&w->lock);
                atomic_fetch_add(&w->accepted, 1);
        }
        return NULL;
}

struct web *web_start(web_fn fn, void *arg)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t n = sizeof(a);
        struct web *w = calloc(1, sizeof(*w));

        nb_assert(w);
        w->fn = fn;
        w->arg = arg;
        pthread_mutex_init(&w->lock, NULL);
        pthread_mutex_init(&w->handler, NULL);
        w->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        nb_assert(w->listener >= 0);
        nb_assert(bind(w->listener, (struct sockaddr *)&a, sizeof(a)) == 0);
        nb_assert(listen(w->listener, 128) == 0);
        nb_assert(getsockname(w->listener, (struct sockaddr *)&a, &n) == 0);
        w->port = ntohs(a.sin_port);
        nb_assert(pthread_create(&w->acceptor, NULL, accept_all, w) == 0);
        return w;
}

unsigned web_port(const struct web *w)
{
        return w->port;
}

unsigned web_connections(const struct web *w)
{
        return atomic_load(&w->accepted);
}

void web_stop(struct web *w)
{
        shutdown(w->listener, SHUT_RDWR); /* ends accept4() */
        pthread_join(w->acceptor, NULL);
        pthread_mutex_lock(&w->lock);
        for (unsigned i = 0; i < w->n; i++)
                if (w->fds[i] >= 0)
                        shutdown(w->fds[i], SHUT_RDWR);
        pthread_mutex_unlock(&w->lock);
        for (unsigned i = 0; i < w->n; i++)
                pthread_join(w->threads[i], NULL);
        close(w->listener);
        pthread_mutex_destroy(&w->lock);
        pthread_mutex_destroy(&w->handler);
        free(w);
}
