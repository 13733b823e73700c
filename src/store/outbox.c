/* SPDX-License-Identifier: Apache-2.0 */
/* commit statuses owed to forges: lent one at a time, settled by the reply */
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

int store_outbox_claim(struct store *s, struct store_note *ret, struct nb_err *err)
{
        NB_CLEANUP(store_note_done) struct store_note n = {0};
        nb_auto_tx tx = {0};
        int r = store_verb(s, "outbox_claim", err);

        if (r < 0)
                return r;
        r = due_any(&s->db, DUE_NOTE, err);
        if (r <= 0)
                return r;
        r = tx_begin_relaxed(&s->db, &tx, err);
        if (r < 0)
                return r;
        r = due_wake(&s->db, DUE_NOTE, err);
        if (r < 0)
                return r;
        r = note_choose(&s->db, &n, err);
        if (r < 0)
                return r;
        if (r == 0)
                return tx_commit(&tx, err);
        r = moved(stmt_run(&s->db, SQL_NOTE_LEND, BINDS(B_INT(n.id), B_INT(n.seq)), err), "note",
                  n.id, err);
        if (r < 0)
                return r;
        r = tx_commit(&tx, err);
        if (r < 0)
                return r;
        *ret = n;
        n = (struct store_note){0};
        return 1;
}

int store_outbox_settle(struct store *s, int64_t id, int64_t seq, enum note_verdict v,
                        int64_t retry_at_ms, struct nb_err *err)
{
        nb_auto_tx tx = {0};
        int r = store_begin_relaxed(s, "outbox_settle", &tx, err);

        if (r < 0)
                return r;
        if (v == NOTE_RETRY)
                r = stmt_run(&s->db, SQL_NOTE_AGAIN,
                             BINDS(B_INT(id), B_INT(seq), B_INT(retry_at_ms > 0 ? retry_at_ms : 0)),
                             err);
        else
                r = stmt_run(&s->db, SQL_NOTE_DONE,
                             BINDS(B_INT(id), B_INT(seq), B_INT(v == NOTE_REFUSED)), err);
        r = moved(r, "note", id, err);
        if (r < 0)
                return r;
        return tx_commit(&tx, err);
}
