/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * site.h - a whole web room in one process: real libmicrohttpd, real flow door,
 * real store; and a client that says exactly the bytes that a test wants.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <nbcid/crypto.h>
#include <nbcid/fs.h>
#include <nbcid/json.h>
#include <nbcid/log.h>
#include <nbcid/num.h>
#include <nbcid/store.h>
#include <nbcid/str.h>
#include <nbcid/web.h>

#include "nbtest.h"

/* All in a header, so that a failed CHECK in here ends the test that called. */
#pragma GCC diagnostic ignored "-Wunused-function"

#define SECRET "a secret of the test"
#define TOKEN "operators-token"

struct site {
        char *dir, *db_path, *listen;
        struct config *config;
        struct store *store;
        struct web *web;
        struct metrics metrics;
        int state_fd;
        atomic_uint wakes;
};

/* Of [server]: who is slow is cut off soon. */
#define SHORT "min_free = \"1MiB\"\nrequest_timeout = \"500ms\"\n"

/* Lines of config.toml: of [server], of [auth] and below; "" for none. */
struct site_opts {
        const char *name, *listen, *server, *auth;
};
static void site_start(struct site *s, const struct site_opts *o);
static void site_stop(struct site *s);
/* The configuration with other lines; a reference of its own. */
static struct config *site_config(struct site *s, const struct site_opts *o);

struct answer { /* owned by the one who asked: answer_done() */
        int status;
        char *head; /* with the status line, ends in an empty line */
        char *body;
        size_t n_body;
};
static void answer_done(struct answer *a);
/* The value of a header, borrowed until the next call, or NULL. */
static const char *answer_header(const struct answer *a, const char *name);

/* A connection; reading from it fails the test after 20 s. */
static int site_dial(struct site *s);
static void say(int fd, const char *text);
static void say_bytes(int fd, const void *p, size_t n);
/* Read one answer; false when the connection ended before it. */
static bool hear(int fd, bool head_only, struct answer *ret);
/* Wait until the peer has closed; answers after how many ms. */
static int64_t hear_end(int fd);
/* Send text, hear the status (0: none) and wait until the server has closed. */
static int refused(struct site *s, const char *text);

static int64_t now_ms(void);
static void pause_ms(long ms);

/* One request on a connection of its own.  headers: whole lines, or "". */
static struct answer ask(struct site *s, const char *method, const char *path, const char *headers);
/* A signed GitHub push; body NULL: one of commit C and title. */
static struct answer push(struct site *s, const char *id, const char *commit, const char *title);
/* Its bytes: owned. */
static char *push_request(const char *id, const char *commit, const char *title, size_t pad,
                          size_t *ret_n);
/* Commit number n: borrowed until the next call. */
static const char *commit_of(unsigned n);

/* A job of a new build that ended so: answers its id; *ret_build.  Texts are
 * the notebook's. */
static int64_t site_job(struct site *s, unsigned commit, const char *title, const char *notebook,
                        const struct run_result *r, int64_t *ret_build);
#define SITE_FINDINGS \
        "[{\"severity\":\"warning\",\"rule\":\"secret\",\"cell\":3,\"cell_line\":2,\"line\":41," \
        "\"message\":\"looks like <b>a token</b>\",\"text\":\"key = ***\",\"remedy\":\"revoke " \
        "it\"}]"
/* A file of the artifacts of a job. */
static void site_artifact(struct site *s, int64_t build, int64_t job, const char *name,
                          const char *text);

static void put(const char *dir, const char *name, const char *text)
{
        nb_auto_free char *path = nb_asprintf("%s/%s", dir, name);
        struct nb_err err;

        CHECK_OK(nb_write_file(AT_FDCWD, path, text, strlen(text), 0600, false, &err), &err);
}

static void wake(void *arg)
{
        atomic_fetch_add((atomic_uint *)arg, 1);
}

static struct config *site_config(struct site *s, const struct site_opts *o)
{
        nb_auto_free char *file = nb_asprintf("%s/config.toml", s->dir), *text = NULL;
        struct config *c = NULL;
        struct nb_err err;

        text = nb_asprintf("[server]\nstate_dir = \"%s\"\nlisten = \"%s\"\n"
                           "public_url = \"https://ci.example.org\"\n%s\n"
                           "%s\n"
                           "[[forge]]\nname = \"github\"\nkind = \"github\"\n"
                           "webhook_secret_file = \"secret\"\n"
                           "[[forge]]\nname = \"gitlab\"\nkind = \"gitlab\"\n"
                           "webhook_secret_file = \"secret\"\n"
                           "[[repository]]\nforge = \"github\"\nname = \"acme/*\"\n"
                           "[[repository]]\nforge = \"gitlab\"\nname = \"acme/**\"\n",
                           s->dir, s->listen, o->server ? o->server : "min_free = \"1MiB\"",
                           o->auth ? o->auth : "[auth]\noperator_token_file = \"token\"");
        put(s->dir, "config.toml", text);
        CHECK_OK(config_load(file, &c, &err), &err);
        return c;
}

static void site_start(struct site *s, const struct site_opts *o)
{
        struct nb_err err;

        nb_log_setup(getenv("NBTEST_LOG") ? NB_LOG_STDERR : NB_LOG_NONE, LOG_DEBUG);
        *s = (struct site){.state_fd = -1};
        s->dir = nb_asprintf("%s/%s", nbtest_tmpdir(), o->name);
        CHECK_OK(nb_mkdirs(AT_FDCWD, s->dir, 0700, &err), &err);
        s->listen = o->listen ? nb_strdup(o->listen) : nb_asprintf("unix:%s/http", s->dir);
        s->db_path = nb_asprintf("%s/nbcid.db", s->dir);
        put(s->dir, "secret", SECRET);
        put(s->dir, "token", TOKEN);
        s->config = site_config(s, o);
        s->state_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(s->state_fd >= 0);
        CHECK_OK(store_open(&(struct store_opts){.path = s->db_path, .clock = &nb_clock_real},
                            &s->store, &err),
                 &err);
        CHECK_OK(web_new(&(struct web_deps){.config = s->config,
                                            .clock = &nb_clock_real,
                                            .db_path = s->db_path,
                                            .state_dirfd = s->state_fd,
                                            .metrics = &s->metrics,
                                            .wake = wake,
                                            .wake_arg = &s->wakes,
                                            .listen_fd = -1},
                         &s->web, &err),
                 &err);
}

static void site_stop(struct site *s)
{
        s->web = web_free(s->web);
        s->store = store_close(s->store);
        s->config = config_unref(s->config);
        nb_closep(&s->state_fd);
        free(s->dir);
        free(s->db_path);
        free(s->listen);
}

/* ---- the client ---- */

static int site_dial(struct site *s)
{
        const char *address = web_address(s->web);
        const struct timeval limit = {.tv_sec = 20};
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        struct sockaddr_in in = {.sin_family = AF_INET};
        bool local = nb_starts_with(address, "unix:");
        uint64_t port;
        int fd;

        fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(fd >= 0);
        CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
        CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
        if (local) {
                CHECK(nb_fmt(un.sun_path, sizeof(un.sun_path), "%s", address + strlen("unix:")));
                CHECK_INT(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
        } else {
                CHECK_INT(nb_parse_u64(strrchr(address, ':') + 1, 1, 65535, &port, NULL), 0);
                in.sin_port = htons((uint16_t)port);
                in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
                CHECK_INT(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
        }
        return fd;
}

static void say_bytes(int fd, const void *p, size_t n)
{
        const char *s = p;

        /* A server that has heard enough hangs up: hear() tells. */
        while (n > 0) {
                ssize_t r = send(fd, s, n, MSG_NOSIGNAL);

                if (r <= 0)
                        return;
                s += r;
                n -= (size_t)r;
        }
}

static void say(int fd, const char *text)
{
        say_bytes(fd, text, strlen(text));
}

static bool head_complete(const struct nb_buf *b)
{
        return b->len >= 4 && memcmp(b->data + b->len - 4, "\r\n\r\n", 4) == 0;
}

static bool hear(int fd, bool head_only, struct answer *ret)
{
        struct nb_buf head = NB_BUF(65536), body = NB_BUF(64 << 20);
        struct answer a = {0};
        const char *length;
        uint64_t n = 0;
        char c;

        while (!head_complete(&head)) {
                ssize_t r = recv(fd, &c, 1, 0);

                if (r < 0 && errno == EAGAIN)
                        FAIL("no answer in 20 s");
                if (r <= 0) {
                        nb_buf_done(&head);
                        return false;
                }
                CHECK_INT(nb_buf_putc(&head, c), 0);
        }
        a.head = nb_buf_steal(&head);
        CHECK(nb_starts_with(a.head, "HTTP/1.1 "));
        a.status = (int)strtol(a.head + 9, NULL, 10);
        if (a.status == 100) { /* Continue */
                answer_done(&a);
                return hear(fd, head_only, ret);
        }
        length = answer_header(&a, "Content-Length");
        if (length && !head_only && a.status != 304)
                CHECK_INT(nb_parse_u64(length, 0, 64 << 20, &n, NULL), 0);
        CHECK_INT(nb_buf_reserve(&body, n + 1), 0);
        while (body.len < n) {
                ssize_t r = recv(fd, body.data + body.len, n - body.len, 0);

                CHECK(r > 0);
                body.len += (size_t)r;
        }
        body.data[body.len] = '\0';
        a.n_body = body.len;
        a.body = nb_buf_steal(&body);
        *ret = a;
        return true;
}

static int64_t hear_end(int fd)
{
        uint64_t start = nb_mono_us(&nb_clock_real);
        char space[4096];
        ssize_t r;

        while ((r = recv(fd, space, sizeof(space), 0)) > 0)
                continue;
        CHECK(r == 0 || errno == ECONNRESET);
        return (int64_t)((nb_mono_us(&nb_clock_real) - start) / 1000);
}

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

static int64_t now_ms(void)
{
        return (int64_t)(nb_mono_us(&nb_clock_real) / 1000);
}

static void pause_ms(long ms)
{
        (void)usleep((useconds_t)(ms * 1000));
}

static void answer_done(struct answer *a)
{
        free(a->head);
        free(a->body);
        *a = (struct answer){0};
}

static const char *answer_header(const struct answer *a, const char *name)
{
        static _Thread_local char value[1024];
        size_t n = strlen(name);

        for (const char *s = strstr(a->head, "\r\n"); s && s[2] != '\r'; s = strstr(s + 2, "\r\n"))
                if (strncasecmp(s + 2, name, n) == 0 && s[2 + n] == ':') {
                        s += 2 + n + 1;
                        s += strspn(s, " ");
                        (void)nb_fmt(value, sizeof(value), "%.*s", (int)strcspn(s, "\r"), s);
                        return value;
                }
        return NULL;
}

static struct answer ask(struct site *s, const char *method, const char *path, const char *headers)
{
        nb_auto_free char *text =
                nb_asprintf("%s %s HTTP/1.1\r\nHost: test\r\n%s\r\n", method, path, headers);
        struct answer a;
        int fd = site_dial(s);

        say(fd, text);
        if (!hear(fd, strcmp(method, "HEAD") == 0, &a))
                FAIL("%s %s: the connection ended without an answer", method, path);
        (void)close(fd);
        return a;
}

static const char *commit_of(unsigned n)
{
        static char text[41];

        (void)nb_fmt(text, sizeof(text), "%040x", n + 1);
        return text;
}

static char *push_request(const char *id, const char *commit, const char *title, size_t pad,
                          size_t *ret_n)
{
        nb_auto_free char *body = NULL, *spaces = malloc(pad + 1);
        uint8_t mac[NB_SHA256_SIZE];
        char hex[65], *text;

        CHECK(spaces);
        memset(spaces, ' ', pad);
        spaces[pad] = '\0';
        body = nb_asprintf("{\"ref\":\"refs/heads/main\",\"before\":\"%040d\",\"after\":\"%s\","
                           "\"deleted\":false,\"repository\":{\"full_name\":\"acme/notebooks\","
                           "\"default_branch\":\"main\"},\"head_commit\":{\"message\":\"%s\"},"
                           "\"pusher\":{\"name\":\"ada\"}}%s",
                           0, commit, title, spaces);
        nb_hmac_sha256(SECRET, strlen(SECRET), body, strlen(body), mac);
        nb_hex(hex, mac, sizeof(mac));
        text = nb_asprintf("POST /hooks/github HTTP/1.1\r\nHost: test\r\n"
                           "Content-Type: application/json\r\nX-GitHub-Event: push\r\n"
                           "X-GitHub-Delivery: %s\r\nX-Hub-Signature-256: sha256=%s\r\n"
                           "Content-Length: %zu\r\n\r\n%s",
                           id, hex, strlen(body), body);
        CHECK(text);
        *ret_n = strlen(text);
        return text;
}

static struct answer push(struct site *s, const char *id, const char *commit, const char *title)
{
        size_t n;
        nb_auto_free char *text = push_request(id, commit, title, 0, &n);
        struct answer a;
        int fd = site_dial(s);

        say_bytes(fd, text, n);
        if (!hear(fd, false, &a))
                FAIL("the connection ended without an answer");
        (void)close(fd);
        return a;
}

/* ---- what a worker would do ---- */

static int64_t site_job(struct site *s, unsigned commit, const char *title, const char *notebook,
                        const struct run_result *r, int64_t *ret_build)
{
        static unsigned n;
        nb_auto_free char *id = nb_asprintf("job-%u", n++);
        static char kernel[] = "python3", language[] = "python", packages[] = "numpy<2\npandas",
                    why[] = "notebook metadata.kernelspec";
        const struct nb_environment env = {
                .kernel = kernel, .language = language, .requirements = packages, .why = why};
        const struct store_new_job job = {.notebook = notebook,
                                          .executor = "local",
                                          .environment = &env,
                                          .findings = SITE_FINDINGS,
                                          .cells = 9,
                                          .timeout_us = NB_US_PER_S,
                                          .cell_timeout_us = NB_US_PER_S,
                                          .notify = true};
        const struct store_room room = {.executor = "local", .free = 1};
        struct answer a = push(s, id, commit_of(commit), title);
        struct store_attempt t;
        struct store_build b;
        struct nb_err err;
        int64_t job_id;
        bool over;

        CHECK_INT(a.status, 202);
        answer_done(&a);
        CHECK_OK(store_pick_build(s->store, &b, &err), &err);
        CHECK_OK(store_build_prepared(s->store, b.id, commit_of(commit), title, NULL, &job, 1,
                                      &over, &err),
                 &err);
        CHECK_INT(store_pick_job(s->store, &room, 1, 4, &t, &err), 1);
        CHECK_OK(store_attempt_running(s->store, t.id, &err), &err);
        CHECK_OK(store_attempt_progress(s->store, t.id, 9, 6, 7, &err), &err);
        if (r)
                CHECK_OK(store_attempt_finished(s->store, t.id, r, 0, &over, &err), &err);
        job_id = t.job;
        *ret_build = b.id;
        store_attempt_done(&t);
        store_build_done(&b);
        return job_id;
}

static void site_artifact(struct site *s, int64_t build, int64_t job, const char *name,
                          const char *text)
{
        nb_auto_free char *file = NULL;
        char dir[64];
        struct nb_err err;

        flow_artifact_dir(build, job, dir, sizeof(dir));
        CHECK_OK(nb_mkdirs(s->state_fd, dir, 0700, &err), &err);
        file = nb_asprintf("%s/%s", dir, name);
        CHECK_OK(nb_write_file(s->state_fd, file, text, strlen(text), 0600, false, &err), &err);
}

/* ---- how runs ended ---- */

__attribute__((unused)) static char ename[] = "ValueError", evalue[] = "<b>shapes</b> (3,) & (4,)";
__attribute__((unused)) static const struct run_result failed = {.class = CLASS_CELL_ERROR,
                                                                 .cell = 7,
                                                                 .ename = ename,
                                                                 .evalue = evalue,
                                                                 .cells = 9,
                                                                 .cells_done = 7,
                                                                 .wall_us = 3400000};
__attribute__((unused)) static const struct run_result passed = {
        .class = CLASS_PASSED, .cells = 9, .cells_done = 9, .wall_us = 1000000};

/* ---- answers ---- */

#define BEARER "Authorization: Bearer " TOKEN "\r\n"

static struct nb_json_tree *json_of(const struct answer *a)
{
        static const struct nb_json_limits limits = {.bytes = 1 << 24, .depth = 16};
        struct nb_json_tree *t = NULL;
        struct nb_err err;

        CHECK_OK(nb_json_read(a->body, a->n_body, &limits, &t, NULL, &err), &err);
        return t;
}

static int64_t int_at(const struct nb_json *v, const char *key)
{
        int64_t n = 0;

        CHECK(nb_json_int(nb_json_get(v, key), &n));
        return n;
}

static void check_status(struct site *s, const char *method, const char *path, const char *headers,
                         int status)
{
        struct answer a = ask(s, method, path, headers);

        if (a.status != status)
                FAIL("%s %s: %d, not %d: %s", method, path, a.status, status, a.body);
        CHECK_STR(answer_header(&a, "X-Content-Type-Options"), "nosniff");
        CHECK_STR(answer_header(&a, "Referrer-Policy"), "no-referrer");
        CHECK_STR(answer_header(&a, "X-Frame-Options"), "DENY");
        CHECK(answer_header(&a, "Content-Security-Policy"));
        CHECK(answer_header(&a, "Cache-Control"));
        if (status >= 400 && !nb_starts_with(answer_header(&a, "Content-Type"), "text/"))
                CHECK_STR(answer_header(&a, "Content-Type"), "application/problem+json");
        answer_done(&a);
}
