/* SPDX-License-Identifier: Apache-2.0 */
/* choosing the next build and the next job, so that no repository starves */
#include "rows.h"

#include <inttypes.h>

#include <nbcid/str.h>

/* ---- builds ---- */

static int build_choose(struct db *d, int64_t *ret, struct nb_err *err)
{
        int r = stmt_int(d, SQL_BUILD_HEAD, BINDS(), ret, err);

        return r != 0 ? r : stmt_int(d, SQL_BUILD_FAIR, BINDS(), ret, err);
}

static int oid_copy(struct stmt *q, const char *name, char ret[NB_OID_HEX_SIZE], struct nb_err *err)
{
        const char *s = col_text(q, name);

        if (!s || !nb_fmt(ret, NB_OID_HEX_SIZE, "%s", s))
                return col_fail(q, name, err);
        return 0;
}

static int build_fill(struct stmt *q, struct store_build *b, struct nb_err *err)
{
        const char *kind = col_text(q, "kind");
        int r;

        b->id = col_int(q, "id");
        b->tries = (uint32_t)col_int(q, "tries");
        b->event.kind = nb_streq(kind, "tag") ? EVENT_TAG : EVENT_PUSH;
        if (!trigger_parse(col_text(q, "cause"), &b->trigger))
                return col_fail(q, "cause", err);
        if ((r = oid_copy(q, "before_oid", b->event.before, err)) < 0 ||
            (r = oid_copy(q, "after_oid", b->event.after, err)) < 0 ||
            (r = col_dup(q, "forge", &b->forge, err)) < 0 ||
            (r = col_dup(q, "repository", &b->event.repository, err)) < 0 ||
            (r = col_dup(q, "ref", &b->event.ref, err)) < 0 ||
            (r = col_dup(q, "default_branch", &b->event.default_branch, err)) < 0 ||
            (r = col_dup(q, "title", &b->event.title, err)) < 0 ||
            (r = col_dup(q, "author", &b->event.author, err)) < 0 ||
            (r = col_dup(q, "only_notebook", &b->only, err)) < 0)
                return r;
        return 0;
}

static int build_read(struct db *d, int64_t id, struct store_build *b, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(d, SQL_BUILD_GET, BINDS(B_INT(id)), &q, err);

        if (r < 0)
                return r;
        r = stmt_step(q, err);
        if (r < 0)
                return r;
        nb_assert(r == 1);
        return build_fill(q, b, err);
}

int store_pick_build(struct store *s, struct store_build *ret, struct nb_err *err)
{
        NB_CLEANUP(store_build_done) struct store_build b = {0};
        nb_auto_tx tx = {0};
        int64_t id = 0;
        int r = store_verb(s, "pick_build", err);

        if (r < 0)
                return r;
        r = due_any(&s->db, DUE_BUILD, err);
        if (r <= 0)
                return r;
        r = tx_begin(&s->db, &tx, err);
        if (r < 0)
                return r;
        r = due_wake(&s->db, DUE_BUILD, err);
        if (r < 0)
                return r;
        r = build_choose(&s->db, &id, err);
        if (r < 0)
                return r;
        if (r == 0)
                return tx_commit(&tx, err);
        nb_assert(build_may_move(BUILD_QUEUED, BUILD_PREPARING));
        r = moved(stmt_run(&s->db, SQL_BUILD_PICKED,
                           BINDS(B_INT(id), B_INT(nb_now_ms(s->db.clock))), err),
                  "build", id, err);
        if (r < 0)
                return r;
        r = build_read(&s->db, id, &b, err);
        if (r < 0)
                return r;
        r = tx_commit(&tx, err);
        if (r < 0)
                return r;
        *ret = b;
        b = (struct store_build){0};
        return 1;
}

/* ---- jobs ---- */

struct choice {
        int64_t job, busy; /* how many of its repository are in flight */
};

/* 1: the best job of one executor, 0: it has none to start. */
static int job_choose_of(struct db *d, enum sql id, const char *executor, uint32_t per_repository,
                         struct choice *ret, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(d, id, BINDS(B_TEXT(executor), B_INT(per_repository)), &q, err);

        if (r < 0)
                return r;
        r = stmt_step(q, err);
        if (r == 1)
                *ret = (struct choice){.job = col_int(q, "id"), .busy = col_int(q, "busy")};
        return r;
}

static int job_choose(struct db *d, const struct store_room *rooms, size_t n,
                      uint32_t per_repository, struct choice *ret, struct nb_err *err)
{
        struct choice best = {0}, c;

        for (size_t i = 0; i < n; i++) {
                int r;

                if (rooms[i].free == 0)
                        continue;
                r = job_choose_of(d, SQL_JOB_HEAD, rooms[i].executor, per_repository, &c, err);
                if (r == 0)
                        r = job_choose_of(d, SQL_JOB_FAIR, rooms[i].executor, per_repository, &c,
                                          err);
                if (r < 0)
                        return r;
                if (r == 1 &&
                    (!best.job || c.busy < best.busy || (c.busy == best.busy && c.job < best.job)))
                        best = c;
        }
        if (!best.job)
                return 0;
        *ret = best;
        return 1;
}

/* pending -> submitting, with a new attempt. */
static int job_submit(struct store *s, int64_t job, struct store_attempt *ret, struct nb_err *err)
{
        struct db *d = &s->db;
        nb_auto_stmt *q = NULL;
        int r;

        nb_assert(job_may_move(JOB_PENDING, JOB_SUBMITTING));
        r = moved(stmt_run(d, SQL_JOB_SUBMIT, BINDS(B_INT(job)), err), "job", job, err);
        if (r < 0)
                return r;
        r = stmt_run(d, SQL_ATTEMPT_ADD, BINDS(B_INT(job), B_INT(nb_now_ms(d->clock))), err);
        if (r < 0)
                return r;
        r = stmt_get(d, SQL_ATTEMPT_GET, BINDS(B_INT(db_new_id(d))), &q, err);
        if (r < 0)
                return r;
        r = stmt_step(q, err);
        if (r < 0)
                return r;
        nb_assert(r == 1);
        return attempt_fill(s, q, ret, err);
}

int store_pick_job(struct store *s, const struct store_room *rooms, size_t n,
                   uint32_t per_repository, struct store_attempt *ret, struct nb_err *err)
{
        NB_CLEANUP(store_attempt_done) struct store_attempt a = {0};
        nb_auto_tx tx = {0};
        struct choice c;
        int r = store_verb(s, "pick_job", err);

        if (r < 0)
                return r;
        r = due_any(&s->db, DUE_JOB, err);
        if (r <= 0)
                return r;
        r = tx_begin(&s->db, &tx, err);
        if (r < 0)
                return r;
        r = due_wake(&s->db, DUE_JOB, err);
        if (r < 0)
                return r;
        r = job_choose(&s->db, rooms, n, per_repository, &c, err);
        if (r < 0)
                return r;
        if (r == 0)
                return tx_commit(&tx, err);
        r = job_submit(s, c.job, &a, err);
        if (r < 0)
                return r;
        r = tx_commit(&tx, err);
        if (r < 0)
                return r;
        *ret = a;
        a = (struct store_attempt){0};
        return 1;
}
