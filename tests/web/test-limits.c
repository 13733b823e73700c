/* SPDX-License-Identifier: Apache-2.0 */

/* test-limits.c - what strangers may not do to the server, and many at a time */

#include <pthread.h>
#include <sys/stat.h>

#include "site.h"

#define SHORT "min_free = \"1MiB\"\nrequest_timeout = \"500ms\"\n"
/* The deadline, what MHD and the scan round it up by, and a slow machine. */
#define SHORT_MS 4000

static int64_t now_ms(void)
{
        return (int64_t)(nb_mono_us(&nb_clock_real) / 1000);
}

static void pause_ms(long ms)
{
        (void)usleep((useconds_t)(ms * 1000));
}

/* Send text and hear what comes; the connection must be ended by the server. */
static int refused(struct site *s, const char *text)
{
        int fd = site_dial(s), status = 0;
        struct answer a;

        say(fd, text);
        if (hear(fd, false, &a)) {
                status = a.status;
                answer_done(&a);
                (void)hear_end(fd);
        }
        (void)close(fd);
        return status;
}

TEST(a_body_is_too_large)
{
        static char block[65536];
        struct answer a;
        struct site s;
        int fd;

        memset(block, ' ', sizeof(block));
        site_start(&s, &(struct site_opts){.name = "large"});
        /* refused before a byte of it was read, also for those who ask first */
        CHECK_INT(refused(&s, "POST /hooks/github HTTP/1.1\r\nHost: x\r\n"
                              "Content-Length: 30000000\r\n\r\n"),
                  413);
        CHECK_INT(refused(&s, "POST /hooks/github HTTP/1.1\r\nHost: x\r\n"
                              "Expect: 100-continue\r\nContent-Length: 30000000\r\n\r\n"),
                  413);
        CHECK_INT(refused(&s, "POST /api/v1/builds/1/cancel HTTP/1.1\r\nHost: x\r\n"
                              "Authorization: Bearer " TOKEN "\r\nContent-Length: 65537\r\n\r\n"),
                  413);
        CHECK_INT(refused(&s, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n"), 413);
        /* who sends all the same hears of it */
        fd = site_dial(&s);
        say(fd, "POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 31457280\r\n\r\n");
        for (int i = 0; i < 480; i++)
                say_bytes(fd, block, sizeof(block));
        CHECK(hear(fd, false, &a));
        CHECK_INT(a.status, 413);
        answer_done(&a);
        (void)close(fd);
        CHECK_INT(atomic_load(&s.metrics.deliveries[DELIVERY_TOO_LARGE]), 3);
        /* as large as is allowed: read, and unsigned */
        fd = site_dial(&s);
        say(fd, "POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 26214400\r\n\r\n");
        for (int i = 0; i < 400; i++)
                say_bytes(fd, block, sizeof(block));
        CHECK(hear(fd, false, &a));
        CHECK_INT(a.status, 401);
        answer_done(&a);
        (void)close(fd);
        site_stop(&s);
}

TEST(chunks_are_counted)
{
        nb_auto_free char *text = NULL, *chunked = NULL;
        char *body;
        size_t n;
        struct answer a;
        struct site s;
        int fd;

        site_start(&s, &(struct site_opts){.name = "chunks",
                                           .server = "min_free = \"1MiB\"\nmax_body = \"1KiB\""});
        text = push_request("c1", commit_of(1), "One", 0, &n);
        body = strstr(text, "Content-Length");
        CHECK(body);
        *body = '\0';
        body = strstr(body + 1, "\r\n\r\n") + 4;
        chunked = nb_asprintf("%sTransfer-Encoding: chunked\r\n\r\n5\r\n%.5s\r\n%zx\r\n%s\r\n"
                              "0\r\n\r\n",
                              text, body, strlen(body + 5), body + 5);
        fd = site_dial(&s);
        say(fd, chunked);
        CHECK(hear(fd, false, &a));
        CHECK_INT(a.status, 202);
        answer_done(&a);
        (void)close(fd);
        /* over the limit: refused at its end, which it may reach */
        free(chunked);
        chunked = nb_asprintf("POST /hooks/github HTTP/1.1\r\nHost: x\r\n"
                              "Transfer-Encoding: chunked\r\n\r\n%x\r\n%01025d\r\n0\r\n\r\n",
                              1025, 0);
        fd = site_dial(&s);
        say(fd, chunked);
        CHECK(hear(fd, false, &a));
        CHECK_INT(a.status, 413);
        answer_done(&a);
        (void)close(fd);
        /* never-ending: cut off */
        fd = site_dial(&s);
        say(fd, "POST /hooks/github HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (int i = 0; i < 10000; i++)
                say(fd, "10\r\n0123456789abcdef\r\n");
        (void)hear_end(fd);
        (void)close(fd);
        site_stop(&s);
}

TEST(requests_that_are_none)
{
        static const char *const wrong[] = {
                "POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                "Content-Length: 6\r\n\r\n12345",
                "POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 5x\r\n\r\n12345",
                "POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n12345",
                "POST /hooks/github HTTP/1.1\r\nHost: x\r\n"
                "Content-Length: 99999999999999999999999\r\n\r\n12345",
                "GET http://x/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                "GET / HTTP/9\r\n\r\n",
                "\x16\x03\x01\x02 garbage\r\n\r\n\r\n",
                "POST /hooks/github HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                "zz\r\n\r\n"};
        nb_auto_buf many = NB_BUF(1 << 20), big = NB_BUF(1 << 20);
        struct site s;

        site_start(&s, &(struct site_opts){.name = "none", .server = SHORT});
        for (size_t i = 0; i < NB_ARRAY_SIZE(wrong); i++) {
                int status = refused(&s, wrong[i]);

                if (status != 0 && (status < 400 || status > 505))
                        FAIL("request %zu was answered %d", i, status);
        }
        (void)nb_buf_puts(&many, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        for (int i = 0; i < 120; i++)
                (void)nb_buf_printf(&many, "X-%d: y\r\n", i);
        (void)nb_buf_puts(&many, "\r\n");
        CHECK_INT(refused(&s, nb_buf_str(&many)), 431);
        (void)nb_buf_printf(&big, "GET /%040000d HTTP/1.1\r\nHost: x\r\n\r\n", 0);
        CHECK(refused(&s, nb_buf_str(&big)) != 200);
        nb_buf_clear(&big);
        (void)nb_buf_printf(&big, "GET / HTTP/1.1\r\nHost: x\r\nX: %040000d\r\n\r\n", 0);
        CHECK(refused(&s, nb_buf_str(&big)) != 200);
        site_stop(&s);
}

/* Send text byte after byte until the server hangs up; answers after how long. */
static int64_t trickle(struct site *s, const char *begin, const char *drop)
{
        int fd = site_dial(s);
        int64_t start = now_ms();
        const char *p = drop;

        say(fd, begin);
        while (now_ms() - start < 15000) {
                char c;

                if (send(fd, p, 1, MSG_NOSIGNAL) < 0)
                        break;
                p = p[1] ? p + 1 : drop;
                if (recv(fd, &c, 1, MSG_DONTWAIT) == 0)
                        break;
                pause_ms(50);
        }
        (void)close(fd);
        return now_ms() - start;
}

TEST(slow_senders_are_cut_off)
{
        struct site s;
        int64_t ms;
        int fd;

        site_start(&s, &(struct site_opts){.name = "slow", .server = SHORT});
        fd = site_dial(&s); /* says nothing */
        ms = hear_end(fd);
        CHECK(ms >= 300 && ms < SHORT_MS);
        (void)close(fd);
        CHECK(trickle(&s, "", "GET /a") < SHORT_MS);
        CHECK(trickle(&s, "GET / HTTP/1.1\r\n", "X: y\r\n") < SHORT_MS);
        CHECK(trickle(&s, "POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n",
                      "x") < SHORT_MS);
        CHECK(trickle(&s,
                      "POST /hooks/github HTTP/1.1\r\nHost: x\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n",
                      "1\r\nx\r\n") < SHORT_MS);
        /* a connection that stays open after an answer */
        fd = site_dial(&s);
        for (int i = 0; i < 3; i++) {
                struct answer a;

                say(fd, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
                CHECK(hear(fd, false, &a));
                answer_done(&a);
                pause_ms(200); /* together longer than the deadline of one */
        }
        CHECK(hear_end(fd) < SHORT_MS);
        (void)close(fd);
        site_stop(&s);
}

TEST(half_open_connections_do_not_starve_others)
{
        struct answer a;
        struct site s;
        int fd[4], last;
        int64_t start;

        site_start(&s,
                   &(struct site_opts){.name = "starve", .server = SHORT "max_connections = 4"});
        start = now_ms();
        for (int i = 0; i < 4; i++) {
                fd[i] = site_dial(&s);
                say(fd[i], "GET / HT");
        }
        last = site_dial(&s);
        say(last, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        CHECK(hear(last, false, &a));
        CHECK_INT(a.status, 200);
        CHECK(now_ms() - start < SHORT_MS);
        answer_done(&a);
        (void)close(last);
        for (int i = 0; i < 4; i++)
                (void)close(fd[i]);
        site_stop(&s);
}

TEST(one_address_has_its_share_of_connections)
{
        struct answer a;
        struct site s;
        int fd[3];

        site_start(&s, &(struct site_opts){.name = "share",
                                           .listen = "127.0.0.1:0",
                                           .server = "min_free = \"1MiB\"\n"
                                                     "max_connections_per_ip = 2"});
        CHECK(nb_starts_with(web_address(s.web), "127.0.0.1:"));
        CHECK(!nb_ends_with(web_address(s.web), ":0"));
        for (int i = 0; i < 2; i++) {
                fd[i] = site_dial(&s);
                say(fd[i], "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
                CHECK(hear(fd[i], false, &a));
                CHECK_INT(a.status, 200);
                answer_done(&a);
        }
        fd[2] = site_dial(&s);
        CHECK(hear_end(fd[2]) < 10000);
        for (int i = 0; i < 3; i++)
                (void)close(fd[i]);
        site_stop(&s);
}

TEST(bodies_in_flight_have_a_bound_together)
{
        static const char head[] = "POST /hooks/github HTTP/1.1\r\nHost: x\r\n"
                                   "Content-Length: 65536\r\n\r\n";
        static char block[65000];
        int fd[4], status = 0;
        struct answer a;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "flight",
                                           .server = "min_free = \"1MiB\"\nmax_body = \"64KiB\""});
        memset(block, ' ', sizeof(block));
        for (int i = 0; i < 4; i++) {
                fd[i] = site_dial(&s);
                say(fd[i], head);
                say_bytes(fd[i], block, sizeof(block));
        }
        /* as soon as the server has read all of them, the next has no room */
        for (int64_t start = now_ms(); status != 503 && now_ms() - start < 5000;) {
                const struct timeval moment = {.tv_usec = 100000};
                int next = site_dial(&s);
                char c;

                CHECK_INT(setsockopt(next, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof(moment)), 0);
                say(next, head);
                if (recv(next, &c, 1, MSG_PEEK) == 1) {
                        CHECK(hear(next, false, &a));
                        status = a.status;
                        CHECK_STR(answer_header(&a, "Retry-After"), "30");
                        answer_done(&a);
                }
                (void)close(next);
        }
        CHECK_INT(status, 503);
        CHECK(atomic_load(&s.metrics.deliveries[DELIVERY_BUSY]) >= 1);
        for (int i = 0; i < 4; i++) {
                say_bytes(fd[i], block, 65536 - sizeof(block));
                CHECK(hear(fd[i], false, &a));
                CHECK_INT(a.status, 401);
                answer_done(&a);
                (void)close(fd[i]);
        }
        a = push(&s, "d1", commit_of(1), "room again");
        CHECK_INT(a.status, 202);
        answer_done(&a);
        site_stop(&s);
}

TEST(a_full_disk_and_a_full_queue_are_said)
{
        struct answer a;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "disk", .server = "min_free = \"1000TiB\""});
        a = ask(&s, "GET", "/readyz", "");
        CHECK_INT(a.status, 503);
        CHECK(strstr(a.body, "min_free"));
        answer_done(&a);
        a = ask(&s, "GET", "/healthz", "");
        CHECK_INT(a.status, 200);
        answer_done(&a);
        a = push(&s, "d1", commit_of(1), "One");
        CHECK_INT(a.status, 503);
        CHECK_STR(answer_header(&a, "Retry-After"), "30");
        CHECK(!strstr(a.body, "min_free"));
        answer_done(&a);
        CHECK_INT(atomic_load(&s.metrics.deliveries[DELIVERY_BUSY]), 1);
        site_stop(&s);
        site_start(&s, &(struct site_opts){.name = "queue",
                                           .server = "min_free = \"1MiB\"\nmax_backlog = 1"});
        a = push(&s, "d1", commit_of(1), "One");
        CHECK_INT(a.status, 202);
        answer_done(&a);
        a = push(&s, "d2", commit_of(2), "Two");
        CHECK_INT(a.status, 503);
        answer_done(&a);
        a = ask(&s, "GET", "/readyz", "");
        CHECK_INT(a.status, 503);
        answer_done(&a);
        site_stop(&s);
}

#define CROWD 40

/* N deliveries that become complete at the same time. */
static void push_crowd(struct site *s, unsigned round)
{
        char *text[CROWD];
        size_t n[CROWD];
        int fd[CROWD];

        for (unsigned i = 0; i < CROWD; i++) {
                nb_auto_free char *id = nb_asprintf("r%u-%u", round, i);

                text[i] = push_request(id, commit_of(round * CROWD + i), "x", 9000, &n[i]);
                fd[i] = site_dial(s);
                say_bytes(fd[i], text[i], n[i] - 1);
        }
        for (unsigned i = 0; i < CROWD; i++)
                say_bytes(fd[i], text[i] + n[i] - 1, 1);
        for (unsigned i = 0; i < CROWD; i++) {
                struct answer a;

                CHECK(hear(fd[i], false, &a));
                CHECK_INT(a.status, 202);
                answer_done(&a);
                (void)close(fd[i]);
                free(text[i]);
        }
}

TEST(many_deliveries_are_committed_together)
{
        unsigned round = 0, before;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "crowd"});
        do { /* the scheduler may serve them one by one, but not for ever */
                before = atomic_load(&s.wakes);
                push_crowd(&s, round++);
        } while (atomic_load(&s.wakes) - before > CROWD / 2 && round < 20);
        CHECK(round < 20);
        CHECK_INT(atomic_load(&s.metrics.deliveries[DELIVERY_ACCEPTED]), round * CROWD);
        site_stop(&s);
}

TEST(requests_behind_one_another_on_one_connection)
{
        nb_auto_free char *a_push = NULL, *both = NULL;
        struct answer a;
        struct site s;
        size_t n;
        int fd;

        site_start(&s, &(struct site_opts){.name = "pipeline"});
        a_push = push_request("d1", commit_of(1), "One", 0, &n);
        both = nb_asprintf("%sGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n%s", a_push, a_push);
        fd = site_dial(&s);
        say(fd, both);
        CHECK(hear(fd, false, &a));
        CHECK_INT(a.status, 202);
        answer_done(&a);
        CHECK(hear(fd, false, &a));
        CHECK_STR(a.body, "ok\n");
        answer_done(&a);
        CHECK(hear(fd, false, &a));
        CHECK_STR(a.body, "{\"build\":1,\"duplicate\":true}");
        answer_done(&a);
        (void)close(fd);
        site_stop(&s);
}

struct pusher {
        struct site *s;
        unsigned first;
        unsigned accepted;
};

static void *push_many(void *arg)
{
        struct pusher *p = arg;

        for (unsigned i = 0; i < 25; i++) {
                nb_auto_free char *id = nb_asprintf("t%u", p->first + i);
                char commit[41];
                size_t n;
                nb_auto_free char *text = NULL;
                struct answer a = {0};
                int fd = site_dial(p->s);

                (void)nb_fmt(commit, sizeof(commit), "%040x", p->first + i + 1);
                text = push_request(id, commit, "x", 100, &n);
                say_bytes(fd, text, n);
                if (hear(fd, false, &a) && a.status == 202)
                        p->accepted++;
                answer_done(&a);
                (void)close(fd);
        }
        return NULL;
}

TEST(another_configuration_comes_while_deliveries_do)
{
        struct pusher p[4];
        pthread_t t[4];
        struct answer a;
        struct site s;

        site_start(&s, &(struct site_opts){.name = "reload"});
        for (unsigned i = 0; i < 4; i++) {
                p[i] = (struct pusher){.s = &s, .first = i * 1000};
                CHECK_INT(pthread_create(&t[i], NULL, push_many, &p[i]), 0);
        }
        for (int i = 0; i < 30; i++) {
                struct config *c = site_config(
                        &s, &(struct site_opts){.server = i % 2 ? "min_free = \"1MiB\""
                                                                : "min_free = \"2MiB\""});

                web_reconfigure(s.web, c);
                config_unref(c);
                pause_ms(3);
        }
        for (unsigned i = 0; i < 4; i++) {
                CHECK_INT(pthread_join(t[i], NULL), 0);
                CHECK_INT(p[i].accepted, 25);
        }
        CHECK(web_silence_us(s.web) < 10 * NB_US_PER_S);
        /* and it holds */
        {
                struct config *c = site_config(
                        &s,
                        &(struct site_opts){.server = "min_free = \"1MiB\"\nmax_body = \"1KiB\""});

                web_reconfigure(s.web, c);
                config_unref(c);
        }
        a = ask(&s, "GET", "/healthz", "");
        answer_done(&a);
        CHECK_INT(refused(&s, "POST /hooks/github HTTP/1.1\r\nHost: x\r\n"
                              "Content-Length: 2000\r\n\r\n"),
                  413);
        site_stop(&s);
}

static void *free_web(void *arg)
{
        struct site *s = arg;

        s->web = web_free(s->web);
        return NULL;
}

TEST(a_stop_finishes_what_is_in_hand)
{
        size_t n;
        nb_auto_free char *text = push_request("d1", commit_of(1), "One", 0, &n);
        struct answer a;
        struct site s;
        pthread_t t;
        int fd, idle, stuck;
        int64_t start;

        site_start(&s, &(struct site_opts){.name = "stop"});
        idle = site_dial(&s);
        fd = site_dial(&s);
        say_bytes(fd, text, n - 10);
        a = ask(&s, "GET", "/healthz", ""); /* now it has been read */
        answer_done(&a);
        CHECK_INT(pthread_create(&t, NULL, free_web, &s), 0);
        pause_ms(100);
        say_bytes(fd, text + n - 10, 10);
        CHECK(hear(fd, false, &a));
        CHECK_INT(a.status, 202);
        answer_done(&a);
        start = now_ms();
        CHECK_INT(pthread_join(t, NULL), 0);
        CHECK(now_ms() - start < 4000);
        (void)close(fd);
        (void)close(idle);
        site_stop(&s);
        /* who is stuck is left behind */
        site_start(&s, &(struct site_opts){.name = "stuck", .server = SHORT});
        stuck = site_dial(&s);
        say(stuck, "POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n");
        a = ask(&s, "GET", "/healthz", "");
        answer_done(&a);
        start = now_ms();
        site_stop(&s);
        CHECK(now_ms() - start < 7000);
        (void)close(stuck);
}

TEST(unix_sockets_are_taken_over_only_when_nobody_listens)
{
        nb_auto_free char *path = NULL;
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        struct web *second = NULL;
        struct stat st;
        struct answer a;
        struct nb_err err;
        struct site s;
        int stale;

        /* left behind by a process that died */
        path = nb_asprintf("%s/stale-socket", nbtest_tmpdir());
        CHECK(nb_fmt(un.sun_path, sizeof(un.sun_path), "%s", path));
        stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK_INT(bind(stale, (struct sockaddr *)&un, sizeof(un)), 0);
        (void)close(stale);
        {
                nb_auto_free char *spec = nb_asprintf("unix:%s", path);

                site_start(&s, &(struct site_opts){.name = "unix", .listen = spec});
                CHECK_STR(web_address(s.web), spec);
        }
        CHECK_INT(stat(path, &st), 0);
        CHECK_INT(st.st_mode & 07777, 0660);
        a = ask(&s, "GET", "/healthz", "");
        answer_done(&a);
        CHECK_ERR(web_new(&(struct web_deps){.config = s.config,
                                             .clock = &nb_clock_real,
                                             .db_path = s.db_path,
                                             .state_dirfd = s.state_fd,
                                             .metrics = &s.metrics,
                                             .listen_fd = -1},
                          &second, &err),
                  &err, NB_E_CONFLICT, "another process listens");
        a = ask(&s, "GET", "/healthz", "");
        CHECK_INT(a.status, 200);
        answer_done(&a);
        site_stop(&s);
        CHECK(stat(path, &st) < 0);
}

TEST(a_passed_socket_is_used)
{
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        struct answer a;
        struct nb_err err;
        struct site s;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        CHECK(nb_fmt(un.sun_path, sizeof(un.sun_path), "%s/passed.sock", nbtest_tmpdir()));
        CHECK_INT(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
        CHECK_INT(listen(fd, 5), 0);
        site_start(&s, &(struct site_opts){.name = "passed"});
        s.web = web_free(s.web);
        CHECK_OK(web_new(&(struct web_deps){.config = s.config,
                                            .clock = &nb_clock_real,
                                            .db_path = s.db_path,
                                            .state_dirfd = s.state_fd,
                                            .metrics = &s.metrics,
                                            .listen_fd = fd},
                         &s.web, &err),
                 &err);
        CHECK(nb_ends_with(web_address(s.web), "/passed.sock"));
        a = ask(&s, "GET", "/healthz", "");
        CHECK_INT(a.status, 200);
        answer_done(&a);
        site_stop(&s);
        CHECK_INT(access(un.sun_path, F_OK), 0); /* whoever made it removes it */
}

NBTEST_MAIN()
