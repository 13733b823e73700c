/* SPDX-License-Identifier: Apache-2.0 */
/* commit statuses owed to forges: lent, and settled by the reply */
#include "rows.h"

void store_note_done(struct store_note *n)
{
        if (!n)
                return;
        free(n->forge);
        free(n->repository);
        free(n->ref);
        free(n->commit);
        free(n->context);
        free(n->text);
        free(n->target);
        *n = (struct store_note){0};
}

static int note_fill(struct stmt *q, struct store_note *n, struct nb_err *err)
{
        int r;

        n->id = col_int(q, "id");
        n->seq = col_int(q, "seq");
        n->tries = (uint32_t)col_int(q, "tries");
        if (!note_state_parse(col_text(q, "state"), &n->state))
                return col_fail(q, "state", err);
        if ((r = col_dup(q, "forge", &n->forge, err)) < 0 ||
            (r = col_dup(q, "repository", &n->repository, err)) < 0 ||
            (r = col_dup(q, "ref", &n->ref, err)) < 0 ||
            (r = col_dup(q, "commit_oid", &n->commit, err)) < 0 ||
            (r = col_dup(q, "context", &n->context, err)) < 0 ||
            (r = col_dup(q, "text", &n->text, err)) < 0 ||
            (r = col_dup(q, "target", &n->target, err)) < 0)
                return r;
        return 0;
}

/* 1: the note whose change is oldest. */
static int note_choose(struct db *d, struct store_note *n, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(d, SQL_NOTE_HEAD, BINDS(), &q, err);

        if (r < 0)
                return r;
        r = stmt_step(q, err);
        if (r <= 0)
                return r;
        r = note_fill(q, n, err);
        return r < 0 ? r : 1;
}

/* 1: one more is lent. */
static int note_lend(struct db *d, struct store_note *n, struct nb_err *err)
{
        int r = note_choose(d, n, err);

        if (r <= 0)
                return r;
        r = moved(stmt_run(d, SQL_NOTE_LEND, BINDS(B_INT(n->id), B_INT(n->seq)), err), "note",
                  n->id, err);
        return r < 0 ? r : 1;
}

/* *ret_n: so many of ret are filled, also when it fails. */
static int claim(struct store *s, struct store_note *ret, size_t max, size_t *ret_n,
                 struct nb_err *err)
{
        nb_auto_tx tx = {0};
        int r = tx_begin_relaxed(&s->db, &tx, err);

        if (r < 0)
                return r;
        r = due_wake(&s->db, DUE_NOTE, err);
        for (*ret_n = 0; r >= 0 && *ret_n < max; ++*ret_n) {
                ret[*ret_n] = (struct store_note){0};
                r = note_lend(&s->db, &ret[*ret_n], err);
                if (r == 0)
                        break;
        }
        return r < 0 ? r : tx_commit(&tx, err);
}

int store_outbox_claim(struct store *s, struct store_note *ret, size_t max, struct nb_err *err)
{
        size_t n = 0;
        int r = store_verb(s, "outbox_claim", err);

        if (r < 0)
                return r;
        r = due_any(&s->db, DUE_NOTE, err);
        if (r <= 0)
                return r;
        r = claim(s, ret, max, &n, err);
        if (r == 0)
                return (int)n;
        while (n > 0)
                store_note_done(&ret[--n]);
        return r;
}

static int settle(struct db *d, const struct store_settled *v, struct nb_err *err)
{
        int r;

        if (v->verdict == NOTE_RETRY)
                r = stmt_run(d, SQL_NOTE_AGAIN,
                             BINDS(B_INT(v->id), B_INT(v->seq),
                                   B_INT(v->retry_at_ms > 0 ? v->retry_at_ms : 0)),
                             err);
        else
                r = stmt_run(d, SQL_NOTE_DONE,
                             BINDS(B_INT(v->id), B_INT(v->seq), B_INT(v->verdict == NOTE_REFUSED)),
                             err);
        return moved(r, "note", v->id, err);
}

int store_outbox_settle(struct store *s, const struct store_settled *v, size_t n,
                        struct nb_err *err)
{
        nb_auto_tx tx = {0};
        int r = store_begin_relaxed(s, "outbox_settle", &tx, err);

        for (size_t i = 0; r >= 0 && i < n; i++)
                r = settle(&s->db, &v[i], err);
        return r < 0 ? r : tx_commit(&tx, err);
}
