/* SPDX-License-Identifier: Apache-2.0 */
/*
 * what waits for its time: not_before_ms of queued builds, pending jobs, notes
 *
 * What falls due gets not_before_ms 0 once.  So choosing looks at due rows
 * only, and a row that is due while there is no room for it does not keep the
 * worker's timer firing.
 */
#include "rows.h"

static const struct {
        enum sql any, next, wake;
} dues[DUE__COUNT] = {
        [DUE_BUILD] = {SQL_BUILD_ANY_DUE, SQL_BUILD_NEXT, SQL_BUILD_WAKE},
        [DUE_JOB] = {SQL_JOB_ANY_DUE, SQL_JOB_NEXT, SQL_JOB_WAKE},
        [DUE_NOTE] = {SQL_NOTE_HEAD, SQL_NOTE_NEXT, SQL_NOTE_WAKE},
};

/* When the next one falls due; INT64_MAX: none waits. */
static int next_of(struct db *d, enum due_kind k, int64_t *ret, struct nb_err *err)
{
        int64_t ms = 0;
        int r = stmt_int(d, dues[k].next, BINDS(), &ms, err);

        if (r < 0)
                return r;
        *ret = ms > 0 ? ms : INT64_MAX;
        return 0;
}

int due_any(struct db *d, enum due_kind k, struct nb_err *err)
{
        int64_t v;
        int r = stmt_int(d, dues[k].any, BINDS(), &v, err);

        if (r != 0)
                return r;
        r = next_of(d, k, &v, err);
        if (r < 0)
                return r;
        return v <= nb_now_ms(d->clock);
}

int due_wake(struct db *d, enum due_kind k, struct nb_err *err)
{
        int r = stmt_run(d, dues[k].wake, BINDS(B_INT(nb_now_ms(d->clock))), err);

        return r < 0 ? r : 0;
}

int store_next_due(struct store *s, int64_t *ret_ms, struct nb_err *err)
{
        nb_auto_tx tx = {0};
        int64_t now = nb_now_ms(s->db.clock), ms[DUE__COUNT], least = INT64_MAX;
        int r = store_verb(s, "next_due", err);

        if (r < 0)
                return r;
        for (size_t k = 0; k < DUE__COUNT; k++) {
                r = next_of(&s->db, (enum due_kind)k, &ms[k], err);
                if (r < 0)
                        return r;
                if (ms[k] < least)
                        least = ms[k];
        }
        if (least <= now) {
                /* told this once */
                r = tx_begin(&s->db, &tx, err);
                for (size_t k = 0; r >= 0 && k < DUE__COUNT; k++)
                        if (ms[k] <= now)
                                r = due_wake(&s->db, (enum due_kind)k, err);
                if (r >= 0)
                        r = tx_commit(&tx, err);
                if (r < 0)
                        return r;
        }
        *ret_ms = least;
        return 0;
}
