/* SPDX-License-Identifier: Apache-2.0 */

/* test-limits.c - what strangers may not do to the server */

#include "site.h"

/* The deadline, what MHD and the scan round it up by, and a slow machine. */
#define SHORT_MS 4000

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

NBTEST_MAIN()
