/* SPDX-License-Identifier: Apache-2.0 */

/* test-life.c - the server from its socket to its stop: under load, configured anew, told to end */

#include <pthread.h>
#include <sys/stat.h>

#include "site.h"

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
