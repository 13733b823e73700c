/* SPDX-License-Identifier: Apache-2.0 */
/* the worker's connection: open, close, recover, ping */
#include "rows.h"

#include <nbcid/str.h>

int store_verb(struct store *s, const char *verb, struct nb_err *err)
{
        return s->before_verb ? s->before_verb(s->before_verb_arg, verb, err) : 0;
}

int store_begin(struct store *s, const char *verb, struct tx *ret, struct nb_err *err)
{
        int r = store_verb(s, verb, err);

        return r < 0 ? r : tx_begin(&s->db, ret, err);
}

int store_begin_relaxed(struct store *s, const char *verb, struct tx *ret, struct nb_err *err)
{
        int r = store_verb(s, verb, err);

        return r < 0 ? r : tx_begin_relaxed(&s->db, ret, err);
}

static int read_instance(struct store *s, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        const char *text;
        int r = stmt_get(&s->db, SQL_INSTANCE, BINDS(), &q, err);

        if (r < 0)
                return r;
        r = stmt_step(q, err);
        if (r < 0)
                return r;
        text = r == 1 ? col_text(q, "instance") : NULL;
        if (!text || strlen(text) != INSTANCE_SIZE - 1)
                return nb_fail(err, NB_E_CORRUPT,
                               "database %s: meta does not name the instance; restore a copy",
                               s->db.path);
        nb_assert(nb_fmt(s->instance, sizeof(s->instance), "%s", text));
        return 0;
}

int store_open(const struct store_opts *o, struct store **ret, struct nb_err *err)
{
        NB_CLEANUP(store_closep) struct store *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        s->before_verb = o->before_verb;
        s->before_verb_arg = o->before_verb_arg;
        r = db_open(&s->db, o->path, DB_CREATE, o->clock, err);
        if (r < 0)
                return r;
        r = store_migrate(&s->db, store_migrations, err);
        if (r < 0)
                return r;
        r = read_instance(s, err);
        if (r < 0)
                return r;
        *ret = NB_TAKE(s);
        return 0;
}

struct store *store_close(struct store *s)
{
        if (s) {
                db_done(&s->db);
                free(s);
        }
        return NULL;
}

const char *store_instance(const struct store *s)
{
        return s->instance;
}

int store_recover(struct store *s, struct nb_err *err)
{
        static const enum sql steps[] = {SQL_RECOVER_BUILDS, SQL_RECOVER_CANCELS,
                                         SQL_RECOVER_NOTES};
        nb_auto_tx tx = {0};
        int r = store_begin(s, "recover", &tx, err);

        if (r < 0)
                return r;
        nb_assert(build_may_move(BUILD_PREPARING, BUILD_QUEUED));
        for (size_t i = 0; i < NB_ARRAY_SIZE(steps); i++) {
                r = stmt_run(&s->db, steps[i], BINDS(), err);
                if (r < 0)
                        return r;
        }
        return tx_commit(&tx, err);
}

int store_ping(struct store *s, struct nb_err *err)
{
        nb_auto_tx tx = {0};
        int r = store_begin(s, "ping", &tx, err);

        if (r < 0)
                return r;
        r = stmt_run(&s->db, SQL_PING, BINDS(B_INT(nb_now_ms(s->db.clock))), err);
        if (r < 0)
                return r;
        return tx_commit(&tx, err);
}
