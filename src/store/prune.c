/* SPDX-License-Identifier: Apache-2.0 */
/* retention: what is old goes in small slices */
#include "rows.h"

/* Rows deleted of one build in one call: many deliveries may have merged. */
#define DELIVERIES_AT_ONCE 256

int store_expired_artifacts(struct store *s, int64_t before_ms, int64_t *ret_ids, size_t max,
                            struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int n = 0, r = store_verb(s, "expired_artifacts", err);

        if (r < 0)
                return r;
        r = stmt_get(&s->db, SQL_ARTIFACTS_OLD, BINDS(B_INT(before_ms), B_INT(max)), &q, err);
        if (r < 0)
                return r;
        while ((r = stmt_step(q, err)) == 1)
                ret_ids[n++] = col_int(q, "id");
        return r < 0 ? r : n;
}

int store_artifacts_gone(struct store *s, int64_t build, struct nb_err *err)
{
        nb_auto_tx tx = {0};
        int r = store_begin(s, "artifacts_gone", &tx, err);

        if (r < 0)
                return r;
        r = moved(stmt_run(&s->db, SQL_ARTIFACTS_GONE, BINDS(B_INT(build)), err), "build", build,
                  err);
        if (r < 0)
                return r;
        return tx_commit(&tx, err);
}

/* 1: gone, 0: more of its deliveries are left. */
static int prune_build(struct db *d, int64_t id, struct nb_err *err)
{
        static const enum sql steps[] = {SQL_PRUNE_ATTEMPTS, SQL_PRUNE_JOBS, SQL_PRUNE_NOTES,
                                         SQL_PRUNE_BUILD};
        int r = stmt_run(d, SQL_PRUNE_DELIVERIES, BINDS(B_INT(id), B_INT(DELIVERIES_AT_ONCE)), err);

        if (r < 0)
                return r;
        if (r == DELIVERIES_AT_ONCE)
                return 0;
        for (size_t i = 0; i < NB_ARRAY_SIZE(steps); i++) {
                r = stmt_run(d, steps[i], BINDS(B_INT(id)), err);
                if (r < 0)
                        return r;
        }
        return 1;
}

int store_prune(struct store *s, int64_t before_ms, unsigned budget, struct nb_err *err)
{
        nb_auto_tx tx = {0};
        int64_t more = 0;
        int r = store_verb(s, "prune", err);

        /* mostly there is nothing to do, and no write lock to take */
        if (r < 0)
                return r;
        r = stmt_int(&s->db, SQL_PRUNE_MORE, BINDS(B_INT(before_ms)), &more, err);
        if (r <= 0)
                return r;
        r = tx_begin(&s->db, &tx, err);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < budget; i++) {
                int64_t id = 0;

                r = stmt_int(&s->db, SQL_PRUNE_NEXT, BINDS(B_INT(before_ms)), &id, err);
                if (r == 1)
                        r = prune_build(&s->db, id, err);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
        }
        r = stmt_run(&s->db, SQL_PRUNE_IGNORED, BINDS(B_INT(before_ms), B_INT(budget)), err);
        if (r < 0)
                return r;
        r = stmt_int(&s->db, SQL_PRUNE_MORE, BINDS(B_INT(before_ms)), &more, err);
        if (r < 0)
                return r;
        more = r;
        r = tx_commit(&tx, err);
        return r < 0 ? r : (int)more;
}
