/* SPDX-License-Identifier: Apache-2.0 */
#include "server.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nbcid/buf.h>
#include <nbcid/err.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

struct connection {
        struct server *server;
        unsigned index;
        int fd;
        struct nb_buf in;
        size_t n_head, n_body; /* of the request in hand */
        char method[16], path[128];
};

static bool say(struct connection *c, const char *p, size_t n)
{
        while (n > 0) {
                ssize_t r = send(c->fd, p, n, MSG_NOSIGNAL);
                if (r <= 0)
                        return false;
                p += r;
                n -= (size_t)r;
        }
        return true;
}

static bool say_text(struct connection *c, const char *text)
{
        return say(c, text, strlen(text));
}

/* More bytes from the client; false at the end. */
static bool hear(struct connection *c)
{
        char some[4096];
        ssize_t n = recv(c->fd, some, sizeof(some), 0);

        return n > 0 && nb_buf_append(&c->in, some, (size_t)n) == 0;
}

static size_t content_length(const char *head)
{
        const char *p = strcasestr(head, "\r\nContent-Length: ");
        char digits[24] = "";
        uint64_t n = 0;

        if (!p)
                return 0;
        p += strlen("\r\nContent-Length: ");
        nb_assert(nb_fmt(digits, sizeof(digits), "%.*s", (int)strcspn(p, "\r"), p));
        nb_assert(nb_parse_u64(digits, 0, SIZE_MAX, &n, NULL) == 0);
        return (size_t)n;
}

/* Read one request, head and body. */
static bool hear_request(struct connection *c)
{
        nb_auto_free char *head = NULL;
        char *end;

        while (!(end = memmem(nb_buf_str(&c->in), c->in.len, "\r\n\r\n", 4)))
                if (!hear(c))
                        return false;
        c->n_head = (size_t)(end - c->in.data) + 4;
        head = nb_strndup(c->in.data, c->n_head);
        nb_assert(head);
        if (sscanf(head, "%15s %127s", c->method, c->path) != 2)
                return false;
        c->n_body = content_length(head);
        while (c->in.len < c->n_head + c->n_body)
                if (!hear(c))
                        return false;
        return true;
}

static bool say_ok(struct connection *c)
{
        return say_text(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Test:  some text \r\n"
                           "X-Test: second\r\nX-Empty:\r\n\r\nfine\n");
}

static bool say_bytes(struct connection *c, uint64_t n)
{
        static const char block[1024] = {[0 ... 1023] = 'x'};
        char head[96];

        (void)nb_fmt(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n",
                     (unsigned long long)n);
        if (!say_text(c, head))
                return false;
        if (nb_streq(c->method, "HEAD"))
                return true;
        for (; n > 0; n -= n < sizeof(block) ? n : sizeof(block))
                if (!say(c, block, n < sizeof(block) ? n : sizeof(block)))
                        return false;
        return true;
}

static bool say_echo(struct connection *c)
{
        char head[96];

        (void)nb_fmt(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
                     c->n_head + c->n_body);
        return say_text(c, head) && say(c, c->in.data, c->n_head + c->n_body);
}

static bool say_for_ever(struct connection *c, const char *start, const char *again)
{
        bool alive = say_text(c, start);

        while (alive)
                alive = say_text(c, again);
        return false;
}

static bool hold(struct connection *c)
{
        struct server *s = c->server;
        struct pollfd fds[] = {{.fd = s->gate, .events = POLLIN},
                               {.fd = c->fd, .events = POLLIN | POLLRDHUP}};
        unsigned held = atomic_fetch_add(&s->held, 1) + 1, max = atomic_load(&s->held_max);

        while (held > max && !atomic_compare_exchange_weak(&s->held_max, &max, held))
                ;
        (void)poll(fds, 2, -1);
        atomic_fetch_sub(&s->held, 1);
        return fds[0].revents != 0 && say_ok(c);
}

static bool reset(struct connection *c)
{
        struct linger now = {.l_onoff = 1, .l_linger = 0};

        /* with this, closing sends a reset */
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        return false;
}

static bool half(struct connection *c)
{
        (void)say_text(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst part");
        return false;
}

static bool garbage(struct connection *c)
{
        (void)say_text(c, "SSH-2.0-OpenSSH_9.2p1\r\n");
        return false;
}

static const struct {
        const char *path, *answer;
} plain[] = {
        {"/empty", "HTTP/1.1 204 No Content\r\nX-Test: yes\r\n\r\n"},
        {"/limited", "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\n"
                     "Content-Length: 5\r\n\r\nlater"},
        {"/redirect", "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n"},
        {"/early", "HTTP/1.1 103 Early Hints\r\nX-Early: yes\r\n\r\n"
                   "HTTP/1.1 201 Created\r\nX-Late: yes\r\nContent-Length: 0\r\n\r\n"},
        {"/trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Test: head\r\n\r\n"
                      "4\r\nbody\r\n0\r\nX-Trailer: yes\r\n\r\n"},
        {"/folded", "HTTP/1.1 200 OK\r\nX-Test: one\r\n\ttwo\r\nContent-Length: 0\r\n\r\n"},
};

/* False: close the connection. */
static bool answer(struct connection *c)
{
        uint64_t n;

        for (size_t i = 0; i < NB_ARRAY_SIZE(plain); i++)
                if (nb_streq(c->path, plain[i].path))
                        return say_text(c, plain[i].answer);
        if (nb_starts_with(c->path, "/bytes/") &&
            nb_parse_u64(c->path + 7, 0, UINT32_MAX, &n, NULL) == 0)
                return say_bytes(c, n);
        if (nb_starts_with(c->path, "/echo"))
                return say_echo(c);
        if (nb_starts_with(c->path, "/hold"))
                return hold(c);
        if (nb_streq(c->path, "/stream"))
                return say_for_ever(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                                    "10\r\n0123456789abcdef\r\n");
        if (nb_streq(c->path, "/headers"))
                return say_for_ever(c, "HTTP/1.1 200 OK\r\n", "X-Some: of the very many\r\n");
        if (nb_starts_with(c->path, "/reset"))
                return reset(c);
        if (nb_streq(c->path, "/half"))
                return half(c);
        if (nb_streq(c->path, "/garbage"))
                return garbage(c);
        return say_ok(c);
}

static void *serve(void *arg)
{
        struct connection *c = arg;
        struct server *s = c->server;

        while (hear_request(c)) {
                size_t rest = c->in.len - c->n_head - c->n_body;

                atomic_fetch_add(&s->asked, 1);
                if (!answer(c))
                        break;
                atomic_fetch_add(&s->answered, 1);
                memmove(c->in.data, c->in.data + c->n_head + c->n_body, rest);
                c->in.len = rest;
        }
        pthread_mutex_lock(&s->lock);
        s->fds[c->index] = -1;
        close(c->fd);
        pthread_mutex_unlock(&s->lock);
        nb_buf_done(&c->in);
        free(c);
        return NULL;
}

static void *accept_all(void *arg)
{
        struct server *s = arg;
        int fd;

        while ((fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                struct connection *c = calloc(1, sizeof(*c));

                nb_assert(c);
                c->server = s;
                c->fd = fd;
                c->in = NB_BUF((size_t)8 * 1024 * 1024);
                pthread_mutex_lock(&s->lock);
                nb_assert(s->n < SERVER_CONNECTIONS_MAX);
                c->index = s->n++;
                s->fds[c->index] = fd;
                nb_assert(pthread_create(&s->threads[c->index], NULL, serve, c) == 0);
                pthread_mutex_unlock(&s->lock);
                atomic_fetch_add(&s->accepted, 1);
        }
        return NULL;
}

struct server *server_start(void)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t n = sizeof(a);
        struct server *s = calloc(1, sizeof(*s));

        nb_assert(s);
        pthread_mutex_init(&s->lock, NULL);
        s->gate = eventfd(0, EFD_CLOEXEC);
        s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        nb_assert(s->gate >= 0 && s->listener >= 0);
        nb_assert(bind(s->listener, (struct sockaddr *)&a, sizeof(a)) == 0);
        nb_assert(listen(s->listener, 128) == 0);
        nb_assert(getsockname(s->listener, (struct sockaddr *)&a, &n) == 0);
        s->port = ntohs(a.sin_port);
        nb_assert(pthread_create(&s->acceptor, NULL, accept_all, s) == 0);
        return s;
}

void server_open_gate(struct server *s)
{
        nb_assert(eventfd_write(s->gate, 1) == 0);
}

void server_stop(struct server *s)
{
        shutdown(s->listener, SHUT_RDWR); /* ends accept4() */
        pthread_join(s->acceptor, NULL);
        server_open_gate(s);
        pthread_mutex_lock(&s->lock);
        for (unsigned i = 0; i < s->n; i++)
                if (s->fds[i] >= 0)
                        shutdown(s->fds[i], SHUT_RDWR);
        pthread_mutex_unlock(&s->lock);
        for (unsigned i = 0; i < s->n; i++)
                pthread_join(s->threads[i], NULL);
        close(s->listener);
        close(s->gate);
        pthread_mutex_destroy(&s->lock);
        free(s);
}
