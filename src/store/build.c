/* SPDX-License-Identifier: Apache-2.0 */
/* builds: from queued to their end */
#include "rows.h"

#include <inttypes.h>

#include <nbcid/str.h>

/* ---- rows ---- */

void build_row_done(struct build_row *b)
{
        free(b->forge);
        free(b->repository);
        free(b->ref);
        free(b->commit);
        *b = (struct build_row){0};
}

int build_load(struct db *d, int64_t id, struct build_row *ret, struct nb_err *err)
{
        nb_auto_build_row b = {.id = id};
        nb_auto_stmt *q = NULL;
        int r = stmt_get(d, SQL_BUILD_GET, BINDS(B_INT(id)), &q, err);

        if (r < 0)
                return r;
        r = stmt_step(q, err);
        if (r < 0)
                return r;
        if (r == 0)
                return nb_fail(err, NB_E_CONFLICT, "there is no build %" PRId64, id);
        if (!build_state_parse(col_text(q, "state"), &b.state))
                return col_fail(q, "state", err);
        b.owner = col_int(q, "owner");
        if (b.owner == 0)
                b.owner = id;
        b.cancel = col_int(q, "cancel");
        b.jobs = col_int(q, "jobs");
        b.jobs_final = col_int(q, "jobs_final");
        b.jobs_passed = col_int(q, "jobs_passed");
        if ((r = col_dup(q, "forge", &b.forge, err)) < 0 ||
            (r = col_dup(q, "repository", &b.repository, err)) < 0 ||
            (r = col_dup(q, "ref", &b.ref, err)) < 0 ||
            (r = col_dup(q, "commit_oid", &b.commit, err)) < 0)
                return r;
        *ret = b;
        b = (struct build_row){0};
        return 0;
}

int build_load_in(struct db *d, int64_t id, enum build_state state, struct build_row *ret,
                  struct nb_err *err)
{
        int r = build_load(d, id, ret, err);

        if (r < 0)
                return r;
        if (ret->state == state)
                return 0;
        r = nb_fail(err, NB_E_CONFLICT, "build %" PRId64 " is %s, not %s", id,
                    build_state_name(ret->state), build_state_name(state));
        build_row_done(ret);
        return r;
}

int moved(int changes, const char *what, int64_t id, struct nb_err *err)
{
        if (changes == 0)
                return nb_fail(err, NB_E_CONFLICT,
                               "%s %" PRId64 " is not in the state that this starts from", what,
                               id);
        return changes < 0 ? changes : 0;
}

/* ---- ends ---- */

int build_count(struct db *d, struct build_row *b, int64_t n_final, int64_t n_passed,
                struct nb_err *err)
{
        int r = moved(stmt_run(d, SQL_BUILD_COUNT,
                               BINDS(B_INT(b->id), B_INT(n_final), B_INT(n_passed)), err),
                      "build", b->id, err);

        if (r < 0)
                return r;
        b->jobs_final += n_final;
        b->jobs_passed += n_passed;
        nb_assert(b->jobs_final <= b->jobs);
        return 0;
}

int build_end(struct db *d, struct build_row *b, enum build_state to, const char *reason,
              const char *text, struct nb_err *err)
{
        const struct note_place place = place_of(b);
        int r;

        nb_assert(build_state_final(to) && build_may_move(b->state, to));
        r = moved(stmt_run(d, SQL_BUILD_END,
                           BINDS(B_INT(b->id), B_TEXT(build_state_name(b->state)),
                                 B_TEXT(build_state_name(to)), B_TEXT(reason),
                                 B_INT(nb_now_ms(d->clock))),
                           err),
                  "build", b->id, err);
        if (r < 0)
                return r;
        b->state = to;
        return note_build(d, &place, note_of_build(to), text, err);
}

/* Somebody who asked for a stop is told that it stopped, whatever else went
 * wrong on the way; but what passed has passed. */
static int state_of_end(struct db *d, const struct build_row *b, enum build_state *ret,
                        struct nb_err *err)
{
        static const struct {
                enum job_state one, other;
                enum build_state to;
        } bad[] = {
                {JOB_FAILED, JOB_TIMED_OUT, BUILD_FAILED},
                {JOB_ERRORED, JOB_ERRORED, BUILD_ERRORED},
        };
        enum build_state to = b->jobs_passed == b->jobs ? BUILD_PASSED : BUILD_CANCELLED;

        for (size_t i = 0; to == BUILD_CANCELLED && !b->cancel && i < NB_ARRAY_SIZE(bad); i++) {
                int64_t n = 0;
                int r = stmt_int(d, SQL_JOB_TALLY,
                                 BINDS(B_INT(b->id), B_TEXT(job_state_name(bad[i].one)),
                                       B_TEXT(job_state_name(bad[i].other))),
                                 &n, err);
                if (r < 0)
                        return r;
                if (n > 0)
                        to = bad[i].to;
        }
        *ret = to;
        return 0;
}

int build_close(struct db *d, struct build_row *b, struct nb_err *err)
{
        nb_auto_free char *text = NULL;
        enum build_state to;
        bool plain;
        int r;

        nb_assert(b->jobs_final == b->jobs);
        r = state_of_end(d, b, &to, err);
        if (r < 0)
                return r;
        r = text_of_end(d, b, to, &text, err);
        if (r < 0)
                return r;
        /* the state says it all */
        plain = to == BUILD_CANCELLED || (to == BUILD_PASSED && b->jobs > 0);
        return build_end(d, b, to, plain ? NULL : text, text, err);
}

/* ---- verbs ---- */

void store_build_done(struct store_build *b)
{
        if (!b)
                return;
        free(b->forge);
        event_done(&b->event);
        free(b->only);
        *b = (struct store_build){0};
}

int store_build_again(struct store *s, int64_t build, int64_t not_before_ms, const char *reason,
                      struct nb_err *err)
{
        nb_auto_tx tx = {0};
        int r = store_begin(s, "build_again", &tx, err);

        if (r < 0)
                return r;
        nb_assert(build_may_move(BUILD_PREPARING, BUILD_QUEUED));
        r = moved(stmt_run(&s->db, SQL_BUILD_AGAIN,
                           BINDS(B_INT(build), B_INT(not_before_ms > 0 ? not_before_ms : 0),
                                 B_TEXT(reason)),
                           err),
                  "build", build, err);
        if (r < 0)
                return r;
        return tx_commit(&tx, err);
}

/* One job of a build that was prepared, with its note. */
static int job_add(struct db *d, const struct build_row *b, const struct store_new_job *j,
                   size_t position, struct nb_err *err)
{
        const struct note_place place = place_of(b);
        const enum run_class refusal =
                j->refused_class == CLASS_NONE ? CLASS_CHECK : j->refused_class;
        const enum job_state state = j->refused ? run_class_state(refusal) : JOB_PENDING;
        const int64_t now = nb_now_ms(d->clock);
        nb_auto_buf environment = NB_BUF(NB_ENVIRONMENT_MAX);
        int r = nb_environment_write(j->environment, &environment, err);

        nb_assert(!j->refused || state == JOB_FAILED); /* nothing ran that could have erred */
        if (r < 0)
                return nb_wrap(err, r, "%s", j->notebook);
        r = stmt_run(
                d, SQL_JOB_ADD,
                BINDS(B_INT(b->id), B_INT(position), B_TEXT(b->forge), B_TEXT(b->repository),
                      B_TEXT(j->notebook), B_TEXT(j->executor), B_TEXT(nb_buf_str(&environment)),
                      B_INT(j->timeout_us), B_INT(j->cell_timeout_us), B_INT(j->notify),
                      B_TEXT(job_state_name(state)),
                      B_TEXT(run_class_name(j->refused ? refusal : CLASS_NONE)), B_TEXT(j->refused),
                      B_INT(j->cells), B_INT(now), j->refused ? B_INT(now) : B_TEXT(NULL),
                      B_TEXT(j->findings ? j->findings : "[]")),
                err);
        if (r < 0)
                return r;
        if (!j->notify)
                return 0;
        return note_job(d, &place, db_new_id(d), j->notebook,
                        j->refused ? NOTE_FAILURE : NOTE_PENDING,
                        j->refused ? j->refused : "queued", err);
}

/* Its commit is known now, or known better. */
static int commit_set(struct db *d, struct build_row *b, const char *commit, struct nb_err *err)
{
        int64_t owner = 0;
        int r;

        if (nb_streq(b->commit, commit))
                return 0;
        r = stmt_int(d, SQL_BUILD_OWNER,
                     BINDS(B_TEXT(commit), B_TEXT(b->repository), B_TEXT(b->forge)), &owner, err);
        if (r < 0)
                return r;
        free(b->commit);
        b->commit = nb_strdup(commit);
        b->owner = owner ? owner : b->id;
        return b->commit ? 0 : nb_fail(err, NB_E_NOMEM, "memory is out");
}

static int build_run(struct db *d, struct build_row *b, struct nb_err *err)
{
        int r;

        nb_assert(build_may_move(b->state, BUILD_RUNNING));
        r = moved(stmt_run(d, SQL_BUILD_RUN, BINDS(B_INT(b->id)), err), "build", b->id, err);
        if (r < 0)
                return r;
        b->state = BUILD_RUNNING;
        return note_progress(d, b, err);
}

int store_build_prepared(struct store *s, int64_t build, const char *commit, const char *title,
                         const char *note, const struct store_new_job *jobs, size_t n,
                         bool *ret_over, struct nb_err *err)
{
        nb_auto_tx tx = {0};
        nb_auto_build_row b = {0};
        bool over;
        int r = store_begin(s, "build_prepared", &tx, err);

        if (r < 0)
                return r;
        r = build_load_in(&s->db, build, BUILD_PREPARING, &b, err);
        if (r < 0)
                return r;
        r = commit_set(&s->db, &b, commit, err);
        if (r < 0)
                return r;
        b.jobs = (int64_t)n;
        for (size_t i = 0; i < n; i++)
                b.jobs_final += jobs[i].refused != NULL;
        r = moved(stmt_run(&s->db, SQL_BUILD_FACTS,
                           BINDS(B_INT(build), B_TEXT(commit),
                                 b.owner == build ? B_TEXT(NULL) : B_INT(b.owner), B_TEXT(title),
                                 B_TEXT(note), B_INT(b.jobs), B_INT(b.jobs_final)),
                           err),
                  "build", build, err);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = job_add(&s->db, &b, &jobs[i], i, err);
        if (r < 0)
                return r;
        over = b.jobs_final == b.jobs;
        r = over ? build_close(&s->db, &b, err) : build_run(&s->db, &b, err);
        if (r < 0)
                return r;
        r = tx_commit(&tx, err);
        if (r < 0)
                return r;
        *ret_over = over;
        return 0;
}

/* Per-notebook notes of the jobs just cancelled; an equal note is not owed
 * twice. */
static int notes_of_stopped(struct db *d, const struct build_row *b, struct nb_err *err)
{
        const struct note_place place = place_of(b);
        nb_auto_stmt *q = NULL;
        int r = stmt_get(d, SQL_JOBS_STOPPED, BINDS(B_INT(b->id)), &q, err);

        if (r < 0)
                return r;
        while ((r = stmt_step(q, err)) == 1) {
                r = note_job(d, &place, col_int(q, "id"), col_text(q, "notebook"), NOTE_CANCELLED,
                             "cancelled", err);
                if (r < 0)
                        return r;
        }
        return r;
}

/* Jobs of a running build that were not submitted -> cancelled; with flying,
 * also those that were, and their attempts. */
static int jobs_cancel(struct db *d, struct build_row *b, bool flying, const char *reason,
                       struct nb_err *err)
{
        const struct bind *binds = BINDS(B_INT(b->id), B_TEXT(reason), B_INT(nb_now_ms(d->clock)));
        int n, r = stmt_run(d, SQL_JOBS_STOP, binds, err);

        if (r < 0)
                return r;
        n = r;
        if (flying) {
                r = stmt_run(d, SQL_ATTEMPTS_DROP, binds, err);
                if (r < 0)
                        return r;
                r = stmt_run(d, SQL_JOBS_DROP, binds, err);
                if (r < 0)
                        return r;
                n += r;
        }
        r = build_count(d, b, n, 0, err);
        return r < 0 ? r : notes_of_stopped(d, b, err);
}

int store_build_trouble(struct store *s, int64_t build, enum build_state state, const char *reason,
                        struct nb_err *err)
{
        nb_auto_tx tx = {0};
        nb_auto_build_row b = {0};
        int r;

        nb_assert(state == BUILD_ERRORED || state == BUILD_FAILED);
        r = store_begin(s, "build_trouble", &tx, err);
        if (r < 0)
                return r;
        r = build_load(&s->db, build, &b, err);
        if (r < 0)
                return r;
        if (!build_may_move(b.state, state))
                return nb_fail(err, NB_E_CONFLICT, "build %" PRId64 " is %s and cannot become %s",
                               build, build_state_name(b.state), build_state_name(state));
        if (b.state == BUILD_RUNNING) {
                r = jobs_cancel(&s->db, &b, true, "the build ended before it", err);
                if (r < 0)
                        return r;
        }
        r = moved(stmt_run(&s->db, SQL_BUILD_REASON, BINDS(B_INT(build), B_TEXT(reason)), err),
                  "build", build, err);
        if (r < 0)
                return r;
        r = b.cancel ? build_end(&s->db, &b, BUILD_CANCELLED, reason, "cancelled", err)
                     : build_end(&s->db, &b, state, reason, reason, err);
        if (r < 0)
                return r;
        return tx_commit(&tx, err);
}

int store_pick_cancel(struct store *s, int64_t *ret_build, struct nb_err *err)
{
        nb_auto_tx tx = {0};
        nb_auto_build_row b = {0};
        int64_t id = 0;
        int r = store_verb(s, "pick_cancel", err);

        /* the write lock is taken only when there is something to do; nobody
         * else makes that undone */
        if (r < 0)
                return r;
        r = stmt_int(&s->db, SQL_CANCEL_NEXT, BINDS(), &id, err);
        if (r <= 0)
                return r;
        r = tx_begin(&s->db, &tx, err);
        if (r < 0)
                return r;
        r = build_load(&s->db, id, &b, err);
        if (r < 0)
                return r;
        r = moved(stmt_run(&s->db, SQL_CANCEL_DONE, BINDS(B_INT(id)), err), "build", id, err);
        if (r < 0)
                return r;
        if (b.state == BUILD_RUNNING) {
                r = jobs_cancel(&s->db, &b, false, "cancelled", err);
                if (r >= 0 && b.jobs_final == b.jobs)
                        r = build_close(&s->db, &b, err);
        } else {
                r = build_end(&s->db, &b, BUILD_CANCELLED, NULL, "cancelled", err);
        }
        if (r < 0)
                return r;
        r = tx_commit(&tx, err);
        if (r < 0)
                return r;
        *ret_build = id;
        return 1;
}
