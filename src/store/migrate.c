/* SPDX-License-Identifier: Apache-2.0 */
/* the schema's version: PRAGMA user_version is how many migrations it has */
#include "db.h"

#include <inttypes.h>

#include <nbcid/str.h>

static int version_of(struct db *d, int64_t *ret, struct nb_err *err)
{
        int r = stmt_int(d, SQL_VERSION, BINDS(), ret, err);

        return r < 0 ? r : 0;
}

/* A file of somebody else's has tables and no version of ours. */
static int check_ours(struct db *d, struct nb_err *err)
{
        int64_t tables = 0;
        int r = stmt_int(d, SQL_TABLES, BINDS(), &tables, err);

        if (r < 0)
                return r;
        if (tables > 0)
                return nb_fail(err, NB_E_CONFLICT,
                               "%s is a database of another program; point state_dir elsewhere",
                               d->path);
        return 0;
}

static int too_new(struct db *d, int64_t version, size_t n, struct nb_err *err)
{
        return nb_fail(err, NB_E_CONFLICT,
                       "database %s has schema %" PRId64 ", this program knows up to %zu: a newer "
                       "nbcid wrote it; run that one, or restore the copy from before the upgrade",
                       d->path, version, n);
}

/* What was applied must be what this program would have applied. */
static int check_applied(struct db *d, const struct nb_embed *list, size_t n, int64_t version,
                         struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int64_t seen = 0;
        int r = stmt_get(d, SQL_MIGRATIONS, BINDS(), &q, err);

        if (r < 0)
                return r;
        while ((r = stmt_step(q, err)) == 1) {
                if (col_int(q, "number") != ++seen || seen > version || seen > (int64_t)n)
                        break;
                if (!nb_streq(col_text(q, "sha256"), list[seen - 1].sha256))
                        return nb_fail(err, NB_E_CONFLICT,
                                       "database %s: migration %s (by %s) is not this program's "
                                       "%s; run the program that made the database, or restore a "
                                       "copy",
                                       d->path, col_text(q, "name"), col_text(q, "program"),
                                       list[seen - 1].name);
        }
        if (r < 0)
                return r;
        if (r == 1 || seen != version)
                return nb_fail(err, NB_E_CORRUPT,
                               "database %s: schema_migration does not tell of %" PRId64
                               " migrations; restore a copy",
                               d->path, version);
        return 0;
}

static int apply(struct db *d, const struct nb_embed *m, int64_t number, struct nb_err *err)
{
        nb_auto_tx tx = {0};
        char version[64];
        int64_t now = 0;
        int r = tx_begin(d, &tx, err);

        if (r < 0)
                return r;
        r = version_of(d, &now, err);
        if (r < 0)
                return r;
        if (now != number - 1)
                return nb_fail(err, NB_E_CONFLICT,
                               "database %s: another process migrates it; stop that one", d->path);
        r = db_exec(d, (const char *)m->data, err);
        if (r < 0)
                return r;
        r = stmt_run(d, SQL_MIGRATED,
                     BINDS(B_INT(number), B_TEXT(m->name), B_TEXT(m->sha256),
                           B_INT(nb_now_ms(d->clock)), B_TEXT(NBCID_PROGRAM)),
                     err);
        if (r < 0)
                return r;
        nb_assert(nb_fmt(version, sizeof(version), "PRAGMA user_version = %" PRId64, number));
        r = db_exec(d, version, err);
        if (r < 0)
                return r;
        return tx_commit(&tx, err);
}

int store_migrate(struct db *d, const struct nb_embed *list, struct nb_err *err)
{
        int64_t version = 0;
        size_t n = 0;
        int r = version_of(d, &version, err);

        if (r < 0)
                return r;
        while (list[n].name)
                n++;
        if (version < 0 || version > (int64_t)n)
                return too_new(d, version, n, err);
        r = version == 0 ? check_ours(d, err) : check_applied(d, list, n, version, err);
        for (size_t i = (size_t)version; r >= 0 && i < n; i++)
                r = nb_wrap(err, apply(d, &list[i], (int64_t)i + 1, err), "migration %s",
                            list[i].name);
        return r;
}
