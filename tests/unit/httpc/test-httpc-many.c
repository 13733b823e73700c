/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/wait.h>

#include "calls.h"

TEST(fifty_at_once_share_four_connections)
{
        static struct call calls[50];
        struct fixture f;
        uint64_t end;
        int done = 0;

        set_up(&f, (struct httpc_opts){.max_connections = 4});
        for (int i = 0; i < 50; i++)
                get(&f, &calls[i], "/hold");
        wait_held(&f, 4);
        server_open_gate(f.server);
        for (end = now() + PATIENCE; done < 50;) {
                CHECK(now() < end);
                CHECK_OK(loop_step(f.loop, NB_US_PER_S, &f.err), &f.err);
                done = 0;
                for (int i = 0; i < 50; i++)
                        done += calls[i].calls;
        }
        for (int i = 0; i < 50; i++) {
                CHECK_INT(calls[i].calls, 1);
                CHECK_INT(calls[i].status, 200);
                CHECK_STR(calls[i].body, "fine\n");
                free(calls[i].body);
        }
        CHECK_INT(atomic_load(&f.server->held_max), 4);
        CHECK_INT(atomic_load(&f.server->accepted), 4);
        CHECK_INT(atomic_load(&f.server->asked), 50);
        tear_down(&f);
}

TEST(connections_are_used_again)
{
        struct fixture f;
        struct call c = {0};

        set_up(&f, (struct httpc_opts){0});
        for (int i = 0; i < 5; i++) {
                fetch(&f, &c, "/ok");
                CHECK_INT(c.status, 200);
        }
        CHECK_INT(atomic_load(&f.server->accepted), 1);
        free(c.body);
        tear_down(&f);
}

TEST(nothing_is_heard_after_cancel)
{
        struct fixture f;
        struct call at_once = {0}, held = {0}, c = {0};

        set_up(&f, (struct httpc_opts){.max_connections = 2});
        get(&f, &at_once, "/ok");
        httpc_cancel(at_once.request);
        httpc_cancel(NULL);
        get(&f, &held, "/hold");
        wait_held(&f, 1);
        httpc_cancel(held.request);
        wait_held(&f, 0); /* the connection was closed */
        fetch(&f, &c, "/ok");
        CHECK_INT(c.status, 200);
        CHECK_INT(at_once.calls + held.calls, 0);
        free(c.body);
        tear_down(&f);
}

TEST(done_may_cancel_others)
{
        struct fixture f;
        struct call a = {0}, b = {0}, waiting = {0}, c = {0};

        set_up(&f, (struct httpc_opts){.max_connections = 2});
        a.cancel = &b;
        b.cancel = &a;
        get(&f, &a, "/hold");
        get(&f, &b, "/hold");
        get(&f, &waiting, "/hold");
        wait_held(&f, 2);
        server_open_gate(f.server);
        /* both answers are on their way before the first is read */
        for (uint64_t end = now() + PATIENCE; atomic_load(&f.server->answered) < 2;) {
                CHECK(now() < end);
                usleep(200);
        }
        wait_calls(&f, &waiting.calls, 1);
        CHECK_INT(a.calls + b.calls, 1);
        CHECK_INT(waiting.status, 200);
        fetch(&f, &c, "/ok");
        CHECK_INT(a.calls + b.calls, 1);
        free(a.body);
        free(b.body);
        free(waiting.body);
        free(c.body);
        tear_down(&f);
}

TEST(done_at_a_deadline_may_cancel_and_send)
{
        struct fixture f;
        struct call a = {0}, b = {0}, next = {0};

        set_up(&f, (struct httpc_opts){.timeout_us = 100000, .max_connections = 1});
        a.cancel = &b;
        a.then = "/ok";
        a.next = &next;
        get(&f, &a, "/hold");
        get(&f, &b, "/hold");
        wait_calls(&f, &next.calls, 1);
        CHECK_INT(a.err.code, NB_E_TIMEOUT);
        CHECK_INT(b.calls, 0);
        CHECK_INT(next.status, 200);
        free(next.body);
        tear_down(&f);
}

TEST(done_may_send)
{
        struct fixture f;
        struct call a = {0}, b = {0}, c = {0};

        set_up(&f, (struct httpc_opts){.max_connections = 1});
        a.then = b.then = "/ok";
        a.next = &b;
        b.next = &c;
        get(&f, &a, "/reset");
        wait_calls(&f, &c.calls, 1);
        CHECK_INT(a.err.code, NB_E_REMOTE);
        CHECK_INT(b.status, 200);
        CHECK_INT(c.status, 200);
        free(b.body);
        free(c.body);
        tear_down(&f);
}

TEST(pending_requests_are_bounded)
{
        static struct call calls[HTTPC_MAX_PENDING];
        struct fixture f;
        struct call c = {0};
        nb_auto_free char *url = NULL;

        set_up(&f, (struct httpc_opts){.max_connections = 1});
        url = url_of(&f, "/hold");
        for (size_t i = 0; i < HTTPC_MAX_PENDING; i++)
                CHECK_OK(try_send(&f, &calls[i], "GET", url, NULL, NULL, 0), &f.err);
        CHECK_ERR(try_send(&f, &c, "GET", url, NULL, NULL, 0), &f.err, NB_E_BUSY, "1024");
        wait_held(&f, 1);
        for (size_t i = 0; i < HTTPC_MAX_PENDING; i++)
                httpc_cancel(calls[i].request);
        fetch(&f, &c, "/ok");
        CHECK_INT(c.status, 200);
        for (size_t i = 0; i < HTTPC_MAX_PENDING; i++)
                CHECK_INT(calls[i].calls, 0);
        free(c.body);
        tear_down(&f);
}

static void free_with_pending(void)
{
        char method[] = "GET", url[] = "http://127.0.0.1:9/";
        struct http_out out = {.method = method, .url = url};
        struct httpc_opts o = {0};
        struct httpc_request *r = NULL;
        struct httpc *h = NULL;
        struct loop *l = NULL;

        if (loop_new(1, &l, NULL) == 0 && httpc_curl_new(l, &o, &h, NULL) == 0 &&
            httpc_send(h, &out, on_done, NULL, &r, NULL) == 0)
                httpc_free(h);
}

TEST(freeing_with_requests_pending_is_a_broken_contract)
{
        int status;
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0) {
                (void)close(STDERR_FILENO);
                free_with_pending();
                _exit(0);
        }
        CHECK_INT(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

NBTEST_MAIN()
