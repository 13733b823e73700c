/* SPDX-License-Identifier: Apache-2.0 */

/* What one request may have otherwise than its client. */

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "calls.h"

static void send_how(struct fixture *f, struct call *c, const char *method, const char *url,
                     const struct httpc_how *how)
{
        nb_auto_free char *m = nb_strdup(method);
        nb_auto_free char *u = nb_strdup(url);
        struct http_out out = {.method = m, .url = u};

        free(c->body);
        *c = (struct call){.f = f};
        CHECK_OK(httpc_send_how(f->httpc, &out, how, on_done, c, &c->request, &f->err), &f->err);
        CHECK_INT(c->calls, 0);
}

TEST(a_large_body_is_borrowed)
{
        const size_t n = (size_t)3 << 20;
        nb_auto_free char *large = malloc(n);
        nb_auto_free char *url = NULL;
        struct fixture f;
        struct call c = {0};

        CHECK(large);
        memset(large, 'z', n);
        set_up(&f, (struct httpc_opts){0});
        url = url_of(&f, "/echo");
        send_how(&f, &c, "PUT", url,
                 &(struct httpc_how){.body = large, .n_body = n, .max_response = 2 * n});
        wait_calls(&f, &c.calls, 1);
        CHECK_INT(c.status, 200);
        CHECK(c.n_body > n && memcmp(c.body + c.n_body - n, large, n) == 0);
        for (size_t i = 0; i < n; i++)
                CHECK(large[i] == 'z'); /* not wiped */
        free(c.body);
        tear_down(&f);
}

TEST(limits_of_one_request_are_its_own)
{
        nb_auto_free char *bytes = NULL;
        nb_auto_free char *held = NULL;
        struct fixture f;
        struct call c = {0};

        set_up(&f, (struct httpc_opts){.max_response = 100});
        bytes = url_of(&f, "/bytes/2000");
        held = url_of(&f, "/hold");
        send_how(&f, &c, "GET", bytes, &(struct httpc_how){.max_response = 2000});
        wait_calls(&f, &c.calls, 1);
        CHECK_INT(c.status, 200);
        CHECK_INT(c.n_body, 2000);
        send_how(&f, &c, "GET", bytes, &(struct httpc_how){.max_response = 1999});
        wait_calls(&f, &c.calls, 1);
        CHECK_INT(c.err.code, NB_E_LIMIT);
        CHECK(strstr(c.err.msg, "1999 bytes"));
        send_how(&f, &c, "GET", held, &(struct httpc_how){.timeout_us = 40000});
        wait_calls(&f, &c.calls, 1);
        CHECK_INT(c.err.code, NB_E_TIMEOUT);
        CHECK(strstr(c.err.msg, "40 ms"));
        send_how(&f, &c, "GET", held, &(struct httpc_how){.stall_us = 1});
        wait_calls(&f, &c.calls, 1);
        CHECK_INT(c.err.code, NB_E_TIMEOUT);
        CHECK(strstr(c.err.msg, "reached in time"));
        free(c.body);
        tear_down(&f);
}

/* A port that is bound and where nobody listens. */
static unsigned dead_port(int *ret_fd)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t n = sizeof(a);

        *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(bind(*ret_fd, (struct sockaddr *)&a, sizeof(a)) == 0);
        CHECK(getsockname(*ret_fd, (struct sockaddr *)&a, &n) == 0);
        return ntohs(a.sin_port);
}

TEST(a_request_past_the_proxy)
{
        nb_auto_free char *url = NULL;
        nb_auto_free char *proxy = NULL;
        struct fixture f;
        struct call c = {0};
        int fd;

        set_up(&f, (struct httpc_opts){0});
        proxy = nb_asprintf("http://127.0.0.1:%u", dead_port(&fd));
        url = url_of(&f, "/ok");
        unsetenv("no_proxy");
        setenv("http_proxy", proxy, 1);
        send_how(&f, &c, "GET", url, &(struct httpc_how){0});
        wait_calls(&f, &c.calls, 1);
        CHECK_INT(c.err.code, NB_E_REMOTE);
        CHECK(httpc_unsent(&c.err));
        send_how(&f, &c, "GET", url, &(struct httpc_how){.no_proxy = true});
        wait_calls(&f, &c.calls, 1);
        CHECK_INT(c.status, 200);
        unsetenv("http_proxy");
        close(fd);
        free(c.body);
        tear_down(&f);
}

TEST(what_the_server_may_have_seen_is_not_unsent)
{
        static const char *const paths[] = {"/reset", "/half", "/garbage"};
        struct fixture f;
        struct call c = {0};

        set_up(&f, (struct httpc_opts){0});
        for (size_t i = 0; i < NB_ARRAY_SIZE(paths); i++) {
                fetch(&f, &c, paths[i]);
                CHECK_INT(c.err.code, NB_E_REMOTE);
                CHECK(!httpc_unsent(&c.err));
        }
        free(c.body);
        tear_down(&f);
}

TEST(what_must_not_be_sent_twice_is_not)
{
        nb_auto_free char *url = NULL;
        struct fixture f;
        struct call c = {0};

        set_up(&f, (struct httpc_opts){0});
        url = url_of(&f, "/reset");
        fetch(&f, &c, "/ok"); /* leaves an idle connection */
        send_how(&f, &c, "POST", url, &(struct httpc_how){.once = true});
        wait_calls(&f, &c.calls, 1);
        CHECK_INT(c.err.code, NB_E_REMOTE);
        CHECK_INT(atomic_load(&f.server->asked), 2);
        free(c.body);
        tear_down(&f);
}

/* An HTTP/2 server of node; its port, or 0 without one.  It answers with how
 * many connections it has seen. */
static unsigned h2_start(const char *dir, pid_t *ret_pid)
{
        static const char script[] =
                "const fs=require('fs');let n=0;const s=require('http2').createSecureServer({key:"
                "fs.readFileSync('key.pem'),cert:fs.readFileSync('cert.pem'),allowHTTP1:true});"
                "s.on('secureConnection',()=>n++);s.on('request',(q,r)=>setTimeout(()=>r.end("
                "q.httpVersion+' '+n),50));s.listen(0,'127.0.0.1',()=>console.log(s.address()"
                ".port));";
        nb_auto_free char *make = nb_asprintf(
                "cd %s && node --version >/dev/null 2>&1 && openssl req -x509 -newkey rsa:2048 "
                "-nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout "
                "key.pem -out cert.pem 2>/dev/null",
                dir);
        unsigned port = 0;
        int fds[2];
        FILE *said;

        CHECK(make);
        if (system(make) != 0)
                return 0;
        CHECK(pipe2(fds, O_CLOEXEC) == 0);
        *ret_pid = fork();
        CHECK(*ret_pid >= 0);
        if (*ret_pid == 0) {
                if (chdir(dir) == 0 && dup2(fds[1], STDOUT_FILENO) >= 0)
                        execlp("node", "node", "-e", script, (char *)NULL);
                _exit(127);
        }
        close(fds[1]);
        said = fdopen(fds[0], "r");
        CHECK(said);
        (void)!fscanf(said, "%u", &port);
        fclose(said);
        CHECK(port != 0);
        return port;
}

TEST(many_requests_share_a_connection_over_http2)
{
        nb_auto_free char *ca = nb_asprintf("%s/cert.pem", nbtest_tmpdir());
        nb_auto_free char *url = NULL;
        struct call calls[40] = {0};
        struct fixture f;
        unsigned port;
        pid_t pid = -1;

        port = h2_start(nbtest_tmpdir(), &pid);
        if (port == 0) {
                printf("# skipped: no node, or no openssl command\n");
                return;
        }
        url = nb_asprintf("https://127.0.0.1:%u/", port);
        CHECK(ca && url);
        set_up(&f, (struct httpc_opts){.ca_file = ca, .multiplex = true});
        for (size_t i = 0; i < NB_ARRAY_SIZE(calls); i++)
                send_how(&f, &calls[i], "GET", url, &(struct httpc_how){0});
        httpc_cancel(calls[7].request); /* hurts no other */
        for (size_t i = 0; i < NB_ARRAY_SIZE(calls); i++) {
                if (i == 7)
                        continue;
                wait_calls(&f, &calls[i].calls, 1);
                CHECK_INT(calls[i].status, 200);
                CHECK_STR(calls[i].body, "2.0 1");
                free(calls[i].body);
        }
        CHECK_INT(calls[7].calls, 0);
        CHECK(kill(pid, SIGKILL) == 0);
        CHECK_INT(waitpid(pid, NULL, 0), pid);
        tear_down(&f);
}

NBTEST_MAIN()
