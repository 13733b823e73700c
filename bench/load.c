/* SPDX-License-Identifier: Apache-2.0 */

/*
 * load.c - signed pushes over a few keep-alive connections, as fast as the
 * server answers
 *
 *         load PORT PATH CONNECTIONS SECONDS [BYTES]
 *
 * Each push is its own: a delivery id and a commit of its own.  All are signed
 * before the clock starts, so that this end is never the slow one; cpu in the
 * report is its share of a core.  Prints one line of JSON: answers by status,
 * rate, latency.  Loopback only.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <nbcid/clock.h>
#include <nbcid/crypto.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#define SECRET "bench-secret"
#define LATENCIES (1 << 22)
#define SIGNED_PER_SECOND 100000
#define DIGITS 40

struct conn {
        int fd;
        char in[4096];
        size_t in_len;
        uint64_t since_us;
};

static struct {
        struct sockaddr_in addr;
        const char *path;
        char *body; /* the commit's 40 digits stand at after */
        char *after;
        size_t body_len;
        char (*macs)[2 * NB_SHA256_SIZE + 1]; /* of push 1, 2, ... */
        uint64_t n_macs;
        double signing_s;
        uint64_t sent, answers[600], reconnects;
        uint32_t *latency;
        size_t n_latency;
} load;

static void die(const char *what)
{
        perror(what);
        exit(1);
}

/* A push of about n bytes, as GitHub pads them: with commits. */
static void make_body(size_t n)
{
        static const char head[] = "{\"ref\":\"refs/heads/main\",\"before\":\"%040d\",\"after\":\"";
        struct nb_buf b = NB_BUF(n + 65536);

        (void)nb_buf_printf(&b, head, 1);
        size_t at = b.len;
        (void)nb_buf_printf(&b,
                            "%040d\",\"created\":false,\"deleted\":false,\"forced\":false,"
                            "\"repository\":{\"id\":1,\"full_name\":\"acme/notebooks\","
                            "\"default_branch\":\"main\"},\"pusher\":{\"name\":\"ada\"},"
                            "\"head_commit\":{\"message\":\"Train it\"},\"commits\":[",
                            0);
        for (int i = 0; b.len + 400 < n; i++)
                (void)nb_buf_printf(&b,
                                    "%s{\"id\":\"%040d\",\"message\":\"Work on notebook %d, with "
                                    "a message of the usual length\",\"timestamp\":"
                                    "\"2026-11-23T20:52:00Z\",\"author\":{\"name\":\"Ada\","
                                    "\"email\":\"ada@example.org\"},\"added\":[],\"removed\":[],"
                                    "\"modified\":[\"notebooks/train-%d.ipynb\"]}",
                                    i ? "," : "", i, i, i);
        (void)nb_buf_puts(&b, "]}");
        load.body_len = b.len;
        load.body = nb_buf_steal(&b);
        load.after = load.body + at;
}

static void commit_of(uint64_t push, char ret[DIGITS + 1])
{
        (void)nb_fmt(ret, DIGITS + 1, "%020d%020llu", (int)getpid(), (unsigned long long)push);
}

static void sign_all(uint64_t n)
{
        uint8_t mac[NB_SHA256_SIZE];
        char digits[DIGITS + 1];

        load.macs = nb_alloc_array((size_t)n + 1, sizeof(*load.macs));
        for (load.n_macs = 1; load.n_macs <= n; load.n_macs++) {
                commit_of(load.n_macs, digits);
                memcpy(load.after, digits, DIGITS);
                nb_hmac_sha256(SECRET, strlen(SECRET), load.body, load.body_len, mac);
                nb_hex(load.macs[load.n_macs], mac, sizeof(mac));
        }
}

static void next_request(struct conn *c)
{
        uint64_t push = ++load.sent;
        char digits[DIGITS + 1], head[512];
        struct iovec v[2] = {{head, 0}, {load.body, load.body_len}};

        if (push >= load.n_macs) {
                fprintf(stderr, "more pushes than were signed\n");
                exit(1);
        }
        commit_of(push, digits);
        memcpy(load.after, digits, DIGITS);
        (void)nb_fmt(head, sizeof(head),
                     "POST %s HTTP/1.1\r\nHost: localhost\r\n"
                     "Content-Type: application/json\r\nX-GitHub-Event: push\r\n"
                     "X-GitHub-Delivery: bench-%d-%llu\r\n"
                     "X-Hub-Signature-256: sha256=%s\r\nContent-Length: %zu\r\n\r\n",
                     load.path, (int)getpid(), (unsigned long long)push, load.macs[push],
                     load.body_len);
        v[0].iov_len = strlen(head);
        c->in_len = 0;
        c->since_us = nb_mono_us(&nb_clock_real);
        /* Blocking, so all of it; when it fails, the answer's absence tells. */
        (void)!sendmsg(c->fd, &(struct msghdr){.msg_iov = v, .msg_iovlen = 2}, MSG_NOSIGNAL);
}

static void connect_to(struct conn *c, int ep)
{
        int one = 1;

        if (c->fd >= 0)
                close(c->fd);
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&load.addr, sizeof(load.addr)) < 0)
                die("connect");
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev) < 0)
                die("epoll_ctl");
}

/* 1: an answer is complete, 0: more to come, -1: the server hung up. */
static int receive(struct conn *c, int *ret_status)
{
        ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - 1 - c->in_len, 0);
        const char *end, *length;
        uint64_t status, body = 0;

        if (n <= 0)
                return -1;
        c->in_len += (size_t)n;
        c->in[c->in_len] = '\0';
        end = strstr(c->in, "\r\n\r\n");
        if (!end)
                return 0;
        length = strcasestr(c->in, "\r\nContent-Length: ");
        if (length && length < end) {
                char *digits = nb_strndup(length + 18, strspn(length + 18, "0123456789"));

                (void)nb_parse_u64(digits, 0, 1 << 20, &body, NULL);
                free(digits);
        }
        if (c->in_len < (size_t)(end - c->in) + 4 + body)
                return 0;
        c->in[12] = '\0';
        if (nb_parse_u64(c->in + 9, 100, 599, &status, NULL) < 0)
                return -1;
        *ret_status = (int)status;
        return 1;
}

static int by_value(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return x < y ? -1 : x > y;
}

static double percentile(double p)
{
        if (load.n_latency == 0)
                return 0;
        return load.latency[(size_t)((double)(load.n_latency - 1) * p)] / 1000.0;
}

static double cpu_seconds(void)
{
        struct rusage u;

        (void)getrusage(RUSAGE_SELF, &u);
        return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
               (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void report(double seconds, double cpu)
{
        uint64_t good = load.answers[200] + load.answers[202];

        qsort(load.latency, load.n_latency, sizeof(load.latency[0]), by_value);
        printf("{\"accepted\": %llu, \"per_second\": %.0f, \"busy\": %llu, \"other\": %llu, "
               "\"reconnects\": %llu, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"cpu\": %.2f, "
               "\"signing\": %.3f}\n",
               (unsigned long long)good, (double)good / seconds,
               (unsigned long long)load.answers[503],
               (unsigned long long)(load.n_latency - good - load.answers[503]),
               (unsigned long long)load.reconnects, percentile(0.5), percentile(0.99),
               cpu / seconds, load.signing_s);
}

static void handle(struct conn *c, int ep)
{
        uint64_t now;
        int status, r = receive(c, &status);

        if (r == 0)
                return;
        if (r < 0) {
                load.reconnects++;
                connect_to(c, ep);
        } else {
                now = nb_mono_us(&nb_clock_real);
                load.answers[status]++;
                if (load.n_latency < LATENCIES)
                        load.latency[load.n_latency++] = (uint32_t)(now - c->since_us);
        }
        next_request(c);
}

int main(int argc, char **argv)
{
        uint64_t port, n, seconds, bytes = 10240, start, end;
        struct epoll_event ev[64];
        struct conn *conns;
        double cpu;
        int ep = epoll_create1(EPOLL_CLOEXEC);

        if (argc < 5 || nb_parse_u64(argv[1], 1, 65535, &port, NULL) < 0 ||
            nb_parse_u64(argv[3], 1, 256, &n, NULL) < 0 ||
            nb_parse_u64(argv[4], 1, 60, &seconds, NULL) < 0 ||
            (argc > 5 && nb_parse_u64(argv[5], 600, 1 << 20, &bytes, NULL) < 0)) {
                fprintf(stderr, "usage: load PORT PATH CONNECTIONS SECONDS [BYTES]\n");
                return 2;
        }
        load.addr = (struct sockaddr_in){.sin_family = AF_INET,
                                         .sin_port = htons((uint16_t)port),
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        load.path = argv[2];
        load.latency = nb_alloc_array(LATENCIES, sizeof(*load.latency));
        make_body((size_t)bytes);
        start = nb_mono_us(&nb_clock_real);
        sign_all(seconds * SIGNED_PER_SECOND);
        load.signing_s = (double)(nb_mono_us(&nb_clock_real) - start) / 1e6;
        conns = nb_alloc_array((size_t)n, sizeof(*conns));
        cpu = cpu_seconds();
        start = nb_mono_us(&nb_clock_real);
        end = start + seconds * NB_US_PER_S;
        for (size_t i = 0; i < n; i++) {
                conns[i].fd = -1;
                connect_to(&conns[i], ep);
                next_request(&conns[i]);
        }
        while (nb_mono_us(&nb_clock_real) < end) {
                int k = epoll_wait(ep, ev, NB_ARRAY_SIZE(ev), 100);

                for (int i = 0; i < k; i++)
                        handle(ev[i].data.ptr, ep);
        }
        report((double)(nb_mono_us(&nb_clock_real) - start) / 1e6, cpu_seconds() - cpu);
        return 0;
}
