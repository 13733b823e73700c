/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* store-test.h - a database of its own for each test, with a clock to turn */

#include <nbtest.h>

#include <nbcid/store.h>
#include <nbcid/store_intake.h>
#include <nbcid/store_view.h>
#include <nbcid/str.h>

#include "../../../src/store/rows.h"

#define C1 "1111111111111111111111111111111111111111"
#define C2 "2222222222222222222222222222222222222222"
#define C3 "3333333333333333333333333333333333333333"
#define T0 1000000

struct fix {
        int64_t now;
        struct nb_clock clock;
        char path[96];
        struct store *s;
        struct store_intake *in;
        struct store_view *v;
        unsigned n_deliveries;
        struct nb_err err;
};

static int64_t fix_now(void *arg)
{
        return ((struct fix *)arg)->now;
}

__attribute__((unused)) static void fix_open(struct fix *f)
{
        const struct store_opts o = {.path = f->path, .clock = &f->clock};

        CHECK_OK(store_open(&o, &f->s, &f->err), &f->err);
        CHECK_OK(store_intake_open(f->path, &f->clock, &f->in, &f->err), &f->err);
        CHECK_OK(store_view_open(f->path, &f->v, &f->err), &f->err);
}

__attribute__((unused)) static void fix_close(struct fix *f)
{
        f->v = store_view_close(f->v);
        f->in = store_intake_close(f->in);
        f->s = store_close(f->s);
}

__attribute__((unused)) static void fix_done(struct fix *f)
{
        fix_close(f);
}

/* struct fix f with an empty database. */
__attribute__((unused)) static void fix_init(struct fix *f)
{
        static unsigned n;

        *f = (struct fix){.now = T0, .clock = {.now_ms = fix_now, .arg = f}};
        snprintf(f->path, sizeof(f->path), "%s/%u.db", nbtest_tmpdir(), n++);
        fix_open(f);
}
#define FIX(f) \
        NB_CLEANUP(fix_done) struct fix f; \
        fix_init(&f)

/* One number by SQL, read on the worker's connection. */
__attribute__((unused, format(printf, 2, 3))) static int64_t q_int(struct fix *f, const char *fmt,
                                                                   ...)
{
        sqlite3_stmt *q = NULL;
        int64_t v = -1;
        char sql[1000];
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(sql, sizeof(sql), fmt, ap);
        va_end(ap);
        if (sqlite3_prepare_v2(f->s->db.sql, sql, -1, &q, NULL) != SQLITE_OK)
                FAIL("%s: %s", sql, sqlite3_errmsg(f->s->db.sql));
        if (sqlite3_step(q) == SQLITE_ROW)
                v = sqlite3_column_int64(q, 0);
        sqlite3_finalize(q);
        return v;
}

/* One text by SQL, "(null)" for NULL, "(none)" without a row; valid until the
 * next call. */
__attribute__((unused, format(printf, 2, 3))) static const char *q_text(struct fix *f,
                                                                        const char *fmt, ...)
{
        static char text[2000];
        sqlite3_stmt *q = NULL;
        char sql[1000];
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(sql, sizeof(sql), fmt, ap);
        va_end(ap);
        if (sqlite3_prepare_v2(f->s->db.sql, sql, -1, &q, NULL) != SQLITE_OK)
                FAIL("%s: %s", sql, sqlite3_errmsg(f->s->db.sql));
        snprintf(text, sizeof(text), "(none)");
        if (sqlite3_step(q) == SQLITE_ROW) {
                const char *s = (const char *)sqlite3_column_text(q, 0);
                snprintf(text, sizeof(text), "%s", s ? s : "(null)");
        }
        sqlite3_finalize(q);
        return text;
}

__attribute__((unused, format(printf, 2, 3))) static void q_run(struct fix *f, const char *fmt, ...)
{
        char sql[1000];
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(sql, sizeof(sql), fmt, ap);
        va_end(ap);
        if (sqlite3_exec(f->s->db.sql, sql, NULL, NULL, NULL) != SQLITE_OK)
                FAIL("%s: %s", sql, sqlite3_errmsg(f->s->db.sql));
}

static struct event event_of(const char *repository, const char *ref, const char *after)
{
        struct event e = {
                .kind = EVENT_PUSH,
                .repository = nb_strdup(repository),
                .ref = nb_strdup(ref),
                .title = nb_strdup("title"),
                .author = nb_strdup("ada"),
                .default_branch = nb_strdup("main"),
        };

        snprintf(e.after, sizeof(e.after), "%s", after);
        return e;
}

/* A push of main; each with a delivery id of its own.  Its build. */
__attribute__((unused)) static int64_t push(struct fix *f, const char *repository,
                                            const char *after)
{
        NB_CLEANUP(event_done) struct event e = event_of(repository, "refs/heads/main", after);
        char id[32];
        struct store_delivery d = {.forge = "hub",
                                   .delivery_id = id,
                                   .event_name = "push",
                                   .headers = "X-Event: push\n",
                                   .body = "{}",
                                   .n_body = 2,
                                   .event = &e};
        struct store_delivery *const v[] = {&d};

        snprintf(id, sizeof(id), "delivery-%u", f->n_deliveries++);
        CHECK_OK(store_intake_accept(f->in, v, 1, &f->err), &f->err);
        return d.build;
}

/* The id of the build picked, 0: none. */
__attribute__((unused)) static int64_t pick(struct fix *f)
{
        struct store_build b;
        int64_t id;
        int r = store_pick_build(f->s, &b, &f->err);

        CHECK_OK(r, &f->err);
        if (r == 0)
                return 0;
        id = b.id;
        store_build_done(&b);
        return id;
}

/* preparing -> running with n jobs a.ipynb, b.ipynb, ..., all with notes. */
__attribute__((unused)) static bool prepare(struct fix *f, int64_t build, size_t n)
{
        static const char *const names[] = {"a.ipynb", "b.ipynb", "c.ipynb", "d.ipynb", "e.ipynb"};
        const struct nb_environment env = {.kernel = (char *)(uintptr_t) "python3"};
        struct store_new_job jobs[5];
        char commit[NB_OID_HEX_SIZE];
        bool over;

        snprintf(commit, sizeof(commit), "%.64s",
                 q_text(f, "SELECT after_oid FROM build WHERE id = %d", (int)build));

        for (size_t i = 0; i < n; i++)
                jobs[i] = (struct store_new_job){.notebook = names[i],
                                                 .executor = "local",
                                                 .environment = &env,
                                                 .cells = 3,
                                                 .timeout_us = 7200,
                                                 .cell_timeout_us = 60,
                                                 .notify = true};
        CHECK_OK(store_build_prepared(f->s, build, commit, "prepared", NULL, jobs, n, &over,
                                      &f->err),
                 &f->err);
        return over;
}

/* A running build with n jobs. */
__attribute__((unused)) static int64_t running(struct fix *f, const char *repository, size_t n)
{
        int64_t id = push(f, repository, C1);

        CHECK_INT(pick(f), id);
        CHECK(!prepare(f, id, n));
        return id;
}

/* The attempt picked for executor "local", 0: none. */
__attribute__((unused)) static int64_t start(struct fix *f)
{
        const struct store_room room = {"local", 100};
        struct store_attempt a;
        int64_t id;
        int r = store_pick_job(f->s, &room, 1, 100, &a, &f->err);

        CHECK_OK(r, &f->err);
        if (r == 0)
                return 0;
        id = a.id;
        store_attempt_done(&a);
        return id;
}

__attribute__((unused)) static bool finish(struct fix *f, int64_t attempt, enum run_class class)
{
        const struct run_result r = {.class = class,
                                     .cell = class == CLASS_CELL_ERROR ? 7 : 0,
                                     .ename = (char *)(uintptr_t) "ValueError",
                                     .evalue = (char *)(uintptr_t) "shapes (3,) (4,)",
                                     .reason = NULL,
                                     .cells = 3,
                                     .cells_done = 2,
                                     .wall_us = 2000000};
        bool over;

        CHECK_OK(store_attempt_finished(f->s, attempt, &r, 0, &over, &f->err), &f->err);
        return over;
}

/* "state text target" wanted for a context at the forge, whatever was sent. */
__attribute__((unused)) static const char *wanted(struct fix *f, const char *context)
{
        return q_text(f,
                      "SELECT state || ' | ' || text || ' | ' || target FROM outbox "
                      "WHERE context = '%s' ORDER BY id DESC LIMIT 1",
                      context);
}

__attribute__((unused)) static const char *build_state_of(struct fix *f, int64_t id)
{
        return q_text(f, "SELECT state FROM build WHERE id = %d", (int)id);
}

__attribute__((unused)) static const char *job_state_of(struct fix *f, int64_t attempt)
{
        return q_text(f, "SELECT j.state FROM job j JOIN attempt a ON a.job = j.id WHERE a.id = %d",
                      (int)attempt);
}
