/* SPDX-License-Identifier: Apache-2.0 */
/* the http thread's connection: deliveries and what an operator asks for */
#include "rows.h"

#include <inttypes.h>

#include <nbcid/store_intake.h>
#include <nbcid/str.h>

static const char *const kinds[EVENT_KIND__COUNT] = {
        [EVENT_PUSH] = "push",
        [EVENT_TAG] = "tag",
};

int store_intake_open(const char *path, const struct nb_clock *clock, struct store_intake **ret,
                      struct nb_err *err)
{
        NB_CLEANUP(store_intake_closep) struct store_intake *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        r = db_open(&s->db, path, DB_WRITE, clock, err);
        if (r < 0)
                return r;
        *ret = NB_TAKE(s);
        return 0;
}

struct store_intake *store_intake_close(struct store_intake *s)
{
        if (s) {
                db_done(&s->db);
                free(s);
        }
        return NULL;
}

/* ---- deliveries ---- */

/* Other builds of the same commit: *ret_owner of its notes, *ret_merge a queued
 * one of the same event; 0: none. */
static int build_same(struct db *d, const char *forge, const struct event *e, int64_t *ret_owner,
                      int64_t *ret_merge, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(d, SQL_BUILD_SAME,
                         BINDS(B_TEXT(e->after), B_TEXT(e->repository), B_TEXT(forge),
                               B_TEXT(e->ref), B_TEXT(kinds[e->kind])),
                         &q, err);

        if (r < 0)
                return r;
        r = stmt_step(q, err);
        if (r < 0)
                return r;
        *ret_owner = col_int(q, "owner");
        *ret_merge = col_int(q, "id");
        return 0;
}

static int build_add(struct db *d, const char *forge, const struct event *e, int64_t owner,
                     int64_t now, int64_t *ret, struct nb_err *err)
{
        /* a tag's after may be a tag object: its commit is not known yet */
        const char *commit = e->kind == EVENT_PUSH ? e->after : NULL;
        struct note_place place = {
                .forge = forge, .repository = e->repository, .ref = e->ref, .commit = commit};
        int r = stmt_run(d, SQL_BUILD_ADD,
                         BINDS(B_TEXT(forge), B_TEXT(e->repository), B_TEXT(kinds[e->kind]),
                               B_TEXT(e->ref), B_TEXT(e->before), B_TEXT(e->after), B_TEXT(commit),
                               commit && owner ? B_INT(owner) : B_TEXT(NULL),
                               B_TEXT(e->default_branch), B_TEXT(e->title), B_TEXT(e->author),
                               B_INT(now)),
                         err);

        if (r < 0)
                return r;
        *ret = place.build = db_new_id(d);
        place.owner = owner ? owner : place.build;
        return note_build(d, &place, NOTE_PENDING, "queued", err);
}

/* 1: the very body was here, for *ret_build. */
static int find_replayed(struct db *d, const struct store_delivery *v, int64_t *ret_build,
                         struct nb_err *err)
{
        return stmt_int(d, SQL_DELIVERY_SAME,
                        BINDS(B_TEXT(v->event->after), B_TEXT(v->event->repository),
                              B_TEXT(v->forge), B_INT(v->n_body), B_BLOB(v->body, v->n_body)),
                        ret_build, err);
}

static int accept_one(struct db *d, struct store_delivery *v, int64_t now, struct nb_err *err)
{
        const struct event *e = v->event;
        int64_t build = 0, owner = 0;
        int r = stmt_int(d, SQL_DELIVERY_FIND, BINDS(B_TEXT(v->delivery_id), B_TEXT(v->forge)),
                         &build, err);

        if (r < 0)
                return r;
        v->was_ignored = false;
        if (r == 1) {
                v->kind = ACCEPT_DUPLICATE;
                v->build = build;
                v->was_ignored = build == 0;
                return 0;
        }
        if (e) {
                r = build_same(d, v->forge, e, &owner, &build, err);
                if (r == 0 && v->replay && owner) {
                        r = find_replayed(d, v, &build, err);
                        if (r == 1) {
                                v->kind = ACCEPT_DUPLICATE;
                                v->build = build;
                                return 0;
                        }
                }
                if (r == 0 && build == 0)
                        r = build_add(d, v->forge, e, owner, now, &build, err);
                if (r < 0)
                        return r;
        }
        r = stmt_run(d, SQL_DELIVERY_ADD,
                     BINDS(B_TEXT(v->forge), B_TEXT(v->delivery_id), B_TEXT(v->event_name),
                           B_INT(now), e ? B_INT(build) : B_TEXT(NULL),
                           B_TEXT(e ? NULL : v->ignored), B_TEXT(v->headers),
                           B_BLOB(v->body, v->n_body)),
                     err);
        if (r < 0)
                return r;
        v->kind = e ? ACCEPT_NEW : ACCEPT_IGNORED;
        v->build = build;
        return 0;
}

int store_intake_accept(struct store_intake *s, struct store_delivery *const *v, size_t n,
                        struct nb_err *err)
{
        nb_auto_tx tx = {0};
        const int64_t now = nb_now_ms(s->db.clock);
        int r = tx_begin(&s->db, &tx, err);

        for (size_t i = 0; r >= 0 && i < n; i++)
                r = accept_one(&s->db, v[i], now, err);
        if (r < 0)
                return r;
        return tx_commit(&tx, err);
}

int store_intake_backlog(struct store_intake *s, uint32_t cap, uint32_t *ret, struct nb_err *err)
{
        int64_t n = 0;
        int r = stmt_int(&s->db, SQL_BACKLOG, BINDS(B_INT(cap)), &n, err);

        if (r < 0)
                return r;
        *ret = (uint32_t)n;
        return 0;
}

/* ---- the operator ---- */

static int not_found(int r, const char *what, int64_t id, struct nb_err *err)
{
        if (r == 0)
                return nb_fail(err, NB_E_NOTFOUND, "there is no %s %" PRId64, what, id);
        return r;
}

/* The state of a build; NB_E_NOTFOUND. */
static int state_of(struct db *d, int64_t build, enum build_state *ret, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(d, SQL_BUILD_GET, BINDS(B_INT(build)), &q, err);

        if (r < 0)
                return r;
        r = not_found(stmt_step(q, err), "build", build, err);
        if (r < 0)
                return r;
        return build_state_parse(col_text(q, "state"), ret) ? 0 : col_fail(q, "state", err);
}

int store_intake_cancel(struct store_intake *s, int64_t build, struct nb_err *err)
{
        nb_auto_tx tx = {0};
        enum build_state state;
        int r = tx_begin(&s->db, &tx, err);

        if (r < 0)
                return r;
        r = state_of(&s->db, build, &state, err);
        if (r < 0)
                return r;
        if (build_state_final(state))
                return nb_fail(err, NB_E_CONFLICT, "build %" PRId64 " has ended: it is %s", build,
                               build_state_name(state));
        /* 0 changes: it was asked before */
        r = stmt_run(&s->db, SQL_CANCEL_ASK, BINDS(B_INT(build)), err);
        if (r < 0)
                return r;
        return tx_commit(&tx, err);
}

/* The build and the notebook of a job. */
static int job_place(struct db *d, int64_t job, int64_t *ret_build, char **ret_notebook,
                     struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(d, SQL_JOB_BUILD, BINDS(B_INT(job)), &q, err);

        if (r < 0)
                return r;
        r = not_found(stmt_step(q, err), "job", job, err);
        if (r < 0)
                return r;
        *ret_build = col_int(q, "build");
        return col_dup(q, "notebook", ret_notebook, err);
}

int store_intake_retry(struct store_intake *s, int64_t build, int64_t job, int64_t *ret_build,
                       struct nb_err *err)
{
        nb_auto_tx tx = {0};
        nb_auto_build_row b = {0};
        nb_auto_free char *only = NULL;
        struct note_place place;
        enum build_state state;
        int64_t id;
        int r = tx_begin(&s->db, &tx, err);

        if (r >= 0 && job > 0)
                r = job_place(&s->db, job, &build, &only, err);
        if (r >= 0)
                r = state_of(&s->db, build, &state, err);
        if (r < 0)
                return r;
        if (!build_state_final(state))
                return nb_fail(err, NB_E_CONFLICT,
                               "build %" PRId64 " has not ended: it is %s; cancel it first", build,
                               build_state_name(state));
        r = stmt_run(&s->db, SQL_BUILD_COPY,
                     BINDS(B_INT(build), B_INT(nb_now_ms(s->db.clock)), B_TEXT(only)), err);
        if (r < 0)
                return r;
        id = db_new_id(&s->db);
        r = build_load(&s->db, id, &b, err);
        if (r < 0)
                return r;
        place = place_of(&b);
        r = note_build(&s->db, &place, NOTE_PENDING, "queued", err);
        if (r < 0)
                return r;
        r = tx_commit(&tx, err);
        if (r < 0)
                return r;
        *ret_build = id;
        return 0;
}

int store_intake_ping(struct store_intake *s, struct nb_err *err)
{
        nb_auto_tx tx = {0};
        int r = tx_begin(&s->db, &tx, err);

        if (r < 0)
                return r;
        r = stmt_run(&s->db, SQL_PING, BINDS(B_INT(nb_now_ms(s->db.clock))), err);
        if (r < 0)
                return r;
        return tx_commit(&tx, err);
}
