/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "calls.h"

TEST(an_answer_comes_whole)
{
        struct fixture f;
        struct call c = {0};

        set_up(&f, (struct httpc_opts){0});
        fetch(&f, &c, "/ok");
        CHECK_INT(c.status, 200);
        CHECK_STR(c.body, "fine\n");
        CHECK_INT(c.n_headers, 4);
        CHECK_STR(c.test, "some text"); /* trimmed; the first of two */
        CHECK_STR(c.empty, "");
        CHECK_STR(c.retry, "(none)");
        CHECK(!c.has_method);
        free(c.body);
        tear_down(&f);
}

TEST(other_statuses_are_answers)
{
        struct fixture f;
        struct call c = {0};

        set_up(&f, (struct httpc_opts){0});
        fetch(&f, &c, "/redirect");
        CHECK_INT(c.status, 302); /* not followed */
        CHECK_STR(c.location, "/ok");
        CHECK_INT(atomic_load(&f.server->asked), 1);
        fetch(&f, &c, "/empty");
        CHECK_INT(c.status, 204);
        CHECK_INT(c.n_body, 0);
        CHECK_STR(c.body, "");
        CHECK_STR(c.test, "yes");
        fetch(&f, &c, "/limited");
        CHECK_INT(c.status, 429);
        CHECK_STR(c.retry, "7");
        CHECK_STR(c.body, "later");
        free(c.body);
        tear_down(&f);
}

TEST(headers_are_those_of_the_answer)
{
        struct fixture f;
        struct call c = {0};

        set_up(&f, (struct httpc_opts){0});
        fetch(&f, &c, "/early");
        CHECK_INT(c.status, 201);
        CHECK_STR(c.early, "(none)");
        CHECK_STR(c.late, "yes");
        fetch(&f, &c, "/trailers");
        CHECK_STR(c.body, "body");
        CHECK_STR(c.test, "head");
        CHECK_STR(c.trailer, "(none)");
        fetch(&f, &c, "/folded");
        CHECK_STR(c.test, "one two");
        free(c.body);
        tear_down(&f);
}

/* Send to /echo and leave what the server saw in c->body. */
static void echo(struct fixture *f, struct call *c, const char *method, const char *header,
                 const char *body, size_t n)
{
        nb_auto_free char *url = url_of(f, "/echo?a=b");

        free(c->body);
        *c = (struct call){0};
        CHECK_OK(try_send(f, c, method, url, header, body, n), &f->err);
        wait_calls(f, &c->calls, 1);
        CHECK_INT(c->status, 200);
        CHECK(nb_starts_with(c->body, method));
        CHECK(nb_starts_with(c->body + strlen(method), " /echo?a=b HTTP/1.1\r\n"));
}

TEST(a_request_goes_as_asked)
{
        static const char *const with_length[] = {"POST", "PUT", "PATCH"};
        static const char bytes[] = "a\0b";
        struct fixture f;
        struct call c = {0};

        set_up(&f, (struct httpc_opts){.user_agent = "tester/1"});
        echo(&f, &c, "POST", "Content-Type: application/json", bytes, 3);
        CHECK(strstr(c.body, "\r\nContent-Type: application/json\r\n"));
        CHECK(strstr(c.body, "\r\nContent-Length: 3\r\n"));
        CHECK(strstr(c.body, "\r\nUser-Agent: tester/1\r\n"));
        CHECK(memcmp(c.body + c.n_body - 3, bytes, 3) == 0);
        for (size_t i = 0; i < NB_ARRAY_SIZE(with_length); i++) {
                echo(&f, &c, with_length[i], "X-Empty: ", NULL, 0);
                CHECK(strstr(c.body, "\r\nContent-Length: 0\r\n"));
                CHECK(strstr(c.body, "\r\nX-Empty:\r\n"));
                CHECK(!strcasestr(c.body, "\r\nContent-Type:"));
        }
        echo(&f, &c, "DELETE", "Authorization: Bearer t0ken", NULL, 0);
        CHECK(strstr(c.body, "\r\nAuthorization: Bearer t0ken\r\n"));
        CHECK(!strstr(c.body, "Content-Length"));
        echo(&f, &c, "DELETE", NULL, "body", 4);
        CHECK(nb_ends_with(c.body, "\r\n\r\nbody"));
        echo(&f, &c, "GET", NULL, NULL, 0);
        CHECK(nb_ends_with(c.body, "\r\n\r\n"));
        echo(&f, &c, "GET", NULL, "odd", 3);
        CHECK(nb_ends_with(c.body, "\r\n\r\nodd"));
        free(c.body);
        tear_down(&f);
}

TEST(a_large_body_goes_at_once)
{
        const size_t n = (size_t)2 * 1024 * 1024;
        nb_auto_free char *large = malloc(n);
        struct fixture f;
        struct call c = {0};

        CHECK(large);
        memset(large, 'y', n);
        set_up(&f, (struct httpc_opts){.max_response = 2 * n});
        echo(&f, &c, "PUT", NULL, large, n);
        CHECK(!strstr(c.body, "Expect:")); /* no waiting for a 100 */
        CHECK(c.n_body > n && memcmp(c.body + c.n_body - n, large, n) == 0);
        free(c.body);
        tear_down(&f);
}

TEST(head_has_no_body_and_no_limit)
{
        struct fixture f;
        struct call c = {0};
        nb_auto_free char *url = NULL;

        set_up(&f, (struct httpc_opts){.max_response = 10});
        url = url_of(&f, "/bytes/1000000");
        CHECK_OK(try_send(&f, &c, "HEAD", url, NULL, NULL, 0), &f.err);
        wait_calls(&f, &c.calls, 1);
        CHECK_INT(c.status, 200);
        CHECK_INT(c.n_body, 0);
        free(c.body);
        tear_down(&f);
}

TEST(answers_are_bounded)
{
        static const char *const too_much[] = {"/bytes/4097", "/bytes/4000000000", "/stream",
                                               "/headers"};
        struct fixture f;
        struct call c = {0};

        set_up(&f, (struct httpc_opts){.max_response = 4096});
        fetch(&f, &c, "/bytes/4096");
        CHECK_INT(c.status, 200);
        CHECK_INT(c.n_body, 4096);
        for (size_t i = 0; i < NB_ARRAY_SIZE(too_much); i++) {
                fetch(&f, &c, too_much[i]);
                CHECK_INT(c.err.code, NB_E_LIMIT);
                CHECK(strstr(c.err.msg, "4096 bytes of body or 65536 of headers"));
        }
        fetch(&f, &c, "/ok");
        CHECK_INT(c.status, 200);
        free(c.body);
        tear_down(&f);
}

TEST(a_silent_server_is_left_at_the_deadline)
{
        struct fixture f;
        struct call c = {0};
        char place[64];
        uint64_t t0;

        set_up(&f, (struct httpc_opts){.timeout_us = 50000});
        (void)nb_fmt(place, sizeof(place), "http://127.0.0.1:%u within 50 ms", f.server->port);
        t0 = now();
        fetch(&f, &c, "/hold?token=secret");
        CHECK(now() >= t0 + 50000);
        CHECK_INT(c.err.code, NB_E_TIMEOUT);
        CHECK(strstr(c.err.msg, place));
        CHECK(!strstr(c.err.msg, "secret"));
        free(c.body);
        tear_down(&f);
}

TEST(the_deadline_counts_while_waiting_for_a_connection)
{
        struct fixture f;
        struct call a = {0}, b = {0}, c = {0};

        set_up(&f, (struct httpc_opts){.timeout_us = 100000, .max_connections = 1});
        get(&f, &a, "/hold");
        get(&f, &b, "/ok"); /* never gets a connection */
        wait_calls(&f, &b.calls, 1);
        CHECK_INT(a.calls, 1);
        CHECK_INT(a.err.code, NB_E_TIMEOUT);
        CHECK_INT(b.err.code, NB_E_TIMEOUT);
        fetch(&f, &c, "/ok");
        CHECK_INT(c.status, 200);
        free(c.body);
        tear_down(&f);
}

TEST(no_answer_is_a_remote_error)
{
        static const char *const paths[] = {"/reset?token=secret", "/half", "/garbage"};
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t n = sizeof(a);
        nb_auto_free char *url = NULL;
        nb_auto_fd int closed = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct fixture f;
        struct call c = {0};

        set_up(&f, (struct httpc_opts){0});
        for (size_t i = 0; i < NB_ARRAY_SIZE(paths); i++) {
                fetch(&f, &c, paths[i]);
                CHECK_INT(c.err.code, NB_E_REMOTE);
                CHECK(c.err.detail != 0);
                CHECK(strstr(c.err.msg, "no answer from http://127.0.0.1:"));
                CHECK(!strstr(c.err.msg, "secret"));
        }
        /* bound and not listening: refused, and nobody else gets the number */
        CHECK(bind(closed, (struct sockaddr *)&a, sizeof(a)) == 0);
        CHECK(getsockname(closed, (struct sockaddr *)&a, &n) == 0);
        url = nb_asprintf("http://user:secret@127.0.0.1:%u/", ntohs(a.sin_port));
        c = (struct call){0};
        CHECK_OK(try_send(&f, &c, "GET", url, NULL, NULL, 0), &f.err);
        wait_calls(&f, &c.calls, 1);
        CHECK_INT(c.err.code, NB_E_REMOTE);
        CHECK(strstr(c.err.msg, "check the address"));
        CHECK(!strstr(c.err.msg, "secret"));
        tear_down(&f);
}

TEST(a_malformed_request_is_refused)
{
        static const char *const urls[] = {"ftp://127.0.0.1/x",
                                           "file:///etc/passwd",
                                           "gopher://127.0.0.1/",
                                           "127.0.0.1/x",
                                           "http://",
                                           "",
                                           "http://a b/"};
        static const char *const headers[] = {"X: a\r\nY: b", "X: a\nY: b", "no colon", ": none"};
        struct fixture f;
        struct call c = {0};
        nb_auto_free char *url = NULL;

        set_up(&f, (struct httpc_opts){0});
        url = url_of(&f, "/ok");
        for (size_t i = 0; i < NB_ARRAY_SIZE(urls); i++)
                CHECK_ERR(try_send(&f, &c, "GET", urls[i], NULL, NULL, 0), &f.err, NB_E_INVALID,
                          "");
        for (size_t i = 0; i < NB_ARRAY_SIZE(headers); i++)
                CHECK_ERR(try_send(&f, &c, "GET", url, headers[i], NULL, 0), &f.err, NB_E_INVALID,
                          "header");
        CHECK_ERR(try_send(&f, &c, "GET", NULL, NULL, NULL, 0), &f.err, NB_E_INVALID, "address");
        CHECK_ERR(try_send(&f, &c, NULL, url, NULL, NULL, 0), &f.err, NB_E_INVALID, "method");
        CHECK_ERR(try_send(&f, &c, "GET /x", url, NULL, NULL, 0), &f.err, NB_E_INVALID, "method");
        CHECK(!c.request);
        CHECK_INT(loop_step(f.loop, 0, &f.err), 0);
        CHECK_INT(c.calls, 0);
        tear_down(&f);
}

/* A TLS server by the openssl command; its port, or 0 without the command. */
static unsigned tls_start(const char *dir, pid_t *ret_pid)
{
        nb_auto_free char *make = nb_asprintf(
                "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 "
                "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem 2>/dev/null",
                dir);
        char line[128] = "";
        unsigned port = 0;
        int fds[2];
        FILE *said;

        CHECK(make && pipe2(fds, O_CLOEXEC) == 0);
        if (system(make) != 0) {
                close(fds[0]);
                close(fds[1]);
                return 0;
        }
        *ret_pid = fork();
        CHECK(*ret_pid >= 0);
        if (*ret_pid == 0) {
                if (chdir(dir) == 0 && dup2(fds[1], STDOUT_FILENO) >= 0 &&
                    close(STDERR_FILENO) == 0)
                        execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-www",
                               "-cert", "cert.pem", "-key", "key.pem", (char *)NULL);
                _exit(127);
        }
        close(fds[1]);
        said = fdopen(fds[0], "r");
        CHECK(said);
        while (port == 0 && fgets(line, sizeof(line), said))
                (void)!sscanf(line, "ACCEPT 127.0.0.1:%u", &port);
        fclose(said);
        CHECK(port != 0);
        return port;
}

static void tls_fetch(const char *ca_file, const char *url, struct call *c)
{
        struct fixture f;

        set_up(&f, (struct httpc_opts){.ca_file = ca_file});
        CHECK_OK(try_send(&f, c, "GET", url, NULL, NULL, 0), &f.err);
        wait_calls(&f, &c->calls, 1);
        free(c->body);
        tear_down(&f);
}

TEST(tls_is_verified)
{
        const char *dir = nbtest_tmpdir();
        nb_auto_free char *ca = nb_asprintf("%s/cert.pem", dir);
        nb_auto_free char *url = NULL;
        nb_auto_free char *other_name = NULL;
        struct call unknown = {0}, trusted = {0}, misnamed = {0};
        unsigned port;
        pid_t pid = -1;

        port = tls_start(dir, &pid);
        if (port == 0) {
                printf("# skipped: no openssl command\n");
                return;
        }
        url = nb_asprintf("https://127.0.0.1:%u/", port);
        other_name = nb_asprintf("https://localhost:%u/", port);
        CHECK(ca && url && other_name);
        tls_fetch(NULL, url, &unknown);
        tls_fetch(ca, url, &trusted);
        tls_fetch(ca, other_name, &misnamed);
        CHECK(kill(pid, SIGKILL) == 0);
        CHECK_INT(waitpid(pid, NULL, 0), pid);
        CHECK_INT(unknown.err.code, NB_E_REMOTE);
        CHECK(strstr(unknown.err.msg, "certificate"));
        CHECK_INT(trusted.status, 200);
        CHECK_INT(misnamed.err.code, NB_E_REMOTE);
        CHECK(strstr(misnamed.err.msg, "subject name"));
}

NBTEST_MAIN()
