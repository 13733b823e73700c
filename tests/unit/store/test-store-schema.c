/* SPDX-License-Identifier: Apache-2.0 */
/* the schema: every statement prepares, names agree with the model, migrations */
#include "store-test.h"

TEST(every_statement_prepares)
{
        FIX(f);
        static const char *const texts[SQL__COUNT] = {
#define X(name, text) [SQL_##name] = text,
                STORE_SQL(X)
#undef X
        };

        for (size_t i = 0; i < SQL__COUNT; i++) {
                sqlite3_stmt *q = NULL;

                CHECK(texts[i]);
                if (sqlite3_prepare_v2(f.s->db.sql, texts[i], -1, &q, NULL) != SQLITE_OK)
                        FAIL("%s: %s", texts[i], sqlite3_errmsg(f.s->db.sql));
                CHECK(q);
                sqlite3_finalize(q);
        }
}

/* No statement may walk a table that grows with history. */
TEST(no_statement_scans_a_whole_table)
{
        FIX(f);
        static const struct {
                const char *name, *text;
        } all[] = {
#define X(name, text) {#name, text},
                STORE_SQL(X)
#undef X
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(all); i++) {
                nb_auto_free char *sql = nb_asprintf("EXPLAIN QUERY PLAN %s", all[i].text);
                /* from one repository to the next, not through all rows of a forge */
                bool leaps = !strstr(all[i].name, "_FAIR");
                sqlite3_stmt *q = NULL;

                if (sqlite3_prepare_v2(f.s->db.sql, sql, -1, &q, NULL) != SQLITE_OK)
                        FAIL("%s: %s", sql, sqlite3_errmsg(f.s->db.sql));
                while (sqlite3_step(q) == SQLITE_ROW) {
                        const char *step = (const char *)sqlite3_column_text(q, 3);
                        /* the gauge counts; schema_migration is short */
                        bool scan = nb_starts_with(step, "SCAN ") && !strstr(step, "USING") &&
                                    !strstr(step, "CONSTANT ROW") && !strstr(step, " h") &&
                                    !strstr(step, "schema") && !strstr(step, "sqlite_master") &&
                                    !strstr(step, "pragma") && !strstr(step, "SCAN q") &&
                                    !strstr(step, "(subquery");

                        if (scan)
                                FAIL("%s: %s", all[i].name, step);
                        leaps = leaps || strstr(step, "forge=? AND repository>?");
                }
                if (!leaps)
                        FAIL("%s goes through all rows", all[i].name);
                sqlite3_finalize(q);
        }
}

/* Inserting each name of an enumeration passes the table's CHECK. */
TEST(the_tables_know_every_name_of_the_model)
{
        FIX(f);
        int64_t a;

        running(&f, "acme/nb", 1);
        a = start(&f);
        for (int i = 0; i < BUILD_STATE__COUNT; i++)
                q_run(&f, "UPDATE build SET state = '%s', finished_ms = %s",
                      build_state_name((enum build_state)i),
                      build_state_final((enum build_state)i) ? "1" : "NULL");
        for (int i = 0; i < TRIGGER__COUNT; i++)
                q_run(&f, "UPDATE build SET cause = '%s'", trigger_name((enum trigger)i));
        for (int i = 0; i < JOB_STATE__COUNT; i++)
                q_run(&f, "UPDATE job SET state = '%s'", job_state_name((enum job_state)i));
        for (int i = CLASS_NONE + 1; i < CLASS__COUNT; i++)
                q_run(&f, "UPDATE attempt SET state = '%s' WHERE id = %d",
                      job_state_name(run_class_state((enum run_class)i)), (int)a);
        for (int i = 0; i < NOTE_STATE__COUNT; i++)
                q_run(&f, "UPDATE outbox SET state = '%s'", note_state_name((enum note_state)i));
        CHECK(sqlite3_exec(f.s->db.sql, "UPDATE job SET state = 'dancing'", NULL, NULL, NULL) ==
              SQLITE_CONSTRAINT_CHECK);
}

TEST(the_connection_is_set_up)
{
        FIX(f);

        CHECK_STR(q_text(&f, "PRAGMA journal_mode"), "wal");
        CHECK_INT(q_int(&f, "PRAGMA synchronous"), 2);
        CHECK_INT(q_int(&f, "PRAGMA foreign_keys"), 1);
        CHECK_INT(q_int(&f, "PRAGMA trusted_schema"), 0);
        CHECK_INT(q_int(&f, "PRAGMA cell_size_check"), 1);
        CHECK_INT(q_int(&f, "PRAGMA user_version"), 3);
}

TEST(the_instance_stays)
{
        FIX(f);
        FIX(g);
        char was[16];

        CHECK_INT(strlen(store_instance(f.s)), 8);
        CHECK_INT(strspn(store_instance(f.s), "0123456789abcdef"), 8);
        CHECK(strcmp(store_instance(f.s), store_instance(g.s)) != 0);
        snprintf(was, sizeof(was), "%s", store_instance(f.s));
        fix_close(&f);
        fix_open(&f);
        CHECK_STR(store_instance(f.s), was);
}

static int reopen(struct fix *f)
{
        const struct store_opts o = {.path = f->path, .clock = &f->clock};

        return store_open(&o, &f->s, &f->err);
}

TEST(a_newer_schema_is_refused)
{
        FIX(f);

        q_run(&f, "PRAGMA user_version = 4");
        fix_close(&f);
        CHECK_ERR(reopen(&f), &f.err, NB_E_CONFLICT, "a newer nbcid wrote it");
        CHECK(!f.s);
}

TEST(a_changed_migration_is_refused)
{
        FIX(f);

        q_run(&f, "UPDATE schema_migration SET sha256 = 'other'");
        fix_close(&f);
        CHECK_ERR(reopen(&f), &f.err, NB_E_CONFLICT, "migration 0001-init.sql");
}

TEST(a_history_with_holes_is_refused)
{
        FIX(f);

        q_run(&f, "DELETE FROM schema_migration");
        fix_close(&f);
        CHECK_ERR(reopen(&f), &f.err, NB_E_CORRUPT, "schema_migration");
}

TEST(files_that_are_not_ours)
{
        FIX(f);
        FILE *file;

        q_run(&f, "PRAGMA user_version = 0");
        fix_close(&f);
        CHECK_ERR(reopen(&f), &f.err, NB_E_CONFLICT, "another program");

        file = fopen(f.path, "w");
        CHECK(file);
        for (int i = 0; i < 1000; i++)
                fprintf(file, "no database here\n");
        fclose(file);
        CHECK_ERR(reopen(&f), &f.err, NB_E_CORRUPT, f.path);

        snprintf(f.path, sizeof(f.path), "%s/none/x.db", nbtest_tmpdir());
        CHECK_ERR(reopen(&f), &f.err, NB_E_NOTFOUND, "none/x.db");
        snprintf(f.path, sizeof(f.path), "%s", nbtest_tmpdir());
        CHECK_ERR(reopen(&f), &f.err, NB_E_IO, nbtest_tmpdir());
        CHECK_ERR(store_intake_open("/nonexistent/x.db", &f.clock, &f.in, &f.err), &f.err, NB_E_IO,
                  "/nonexistent/x.db");
        CHECK_ERR(store_view_open("/nonexistent/x.db", &f.v, &f.err), &f.err, NB_E_IO,
                  "/nonexistent/x.db");
}

TEST(only_its_user_may_read_the_file)
{
        nb_auto_free char *cmd = NULL;
        FIX(f);

        cmd = nb_asprintf("test \"$(stat -c %%a %s)$(stat -c %%a %s-wal)\" = 600600", f.path,
                          f.path);
        CHECK_INT(system(cmd), 0);
}

/* ---- a list of our own ---- */

#define STEP(name_, sql_, hash_) \
        { \
                .name = name_, .data = (const unsigned char *)sql_, .size = sizeof(sql_) - 1, \
                .sha256 = hash_ \
        }
#define FIRST \
        STEP("0001-a.sql", \
             "CREATE TABLE schema_migration (number INTEGER PRIMARY KEY, name TEXT, sha256 TEXT, " \
             "applied_ms INTEGER, program TEXT); CREATE TABLE t (x);", \
             "aa")

TEST(migrations_are_applied_once_and_in_order)
{
        FIX(f);
        const struct nb_embed one[] = {FIRST, {0}};
        const struct nb_embed two[] = {
                FIRST, STEP("0002-b.sql", "ALTER TABLE t ADD COLUMN y DEFAULT 7;", "bb"), {0}};
        nb_auto_free char *path = nb_asprintf("%s/list.db", nbtest_tmpdir());
        NB_CLEANUP(db_done) struct db d = {0};

        CHECK_OK(db_open(&d, path, DB_CREATE, &f.clock, &f.err), &f.err);
        CHECK_OK(store_migrate(&d, one, &f.err), &f.err);
        CHECK_OK(db_exec(&d, "INSERT INTO t VALUES (1)", &f.err), &f.err);
        CHECK_OK(store_migrate(&d, one, &f.err), &f.err);
        CHECK_OK(store_migrate(&d, two, &f.err), &f.err);
        CHECK_OK(store_migrate(&d, two, &f.err), &f.err);
        CHECK_OK(db_exec(&d, "SELECT y FROM t", &f.err), &f.err);
        CHECK_ERR(store_migrate(&d, one, &f.err), &f.err, NB_E_CONFLICT, "schema 2");
}

TEST(a_migration_that_fails_leaves_nothing)
{
        FIX(f);
        const struct nb_embed bad[] = {
                FIRST, STEP("0002-b.sql", "CREATE TABLE u (x); CREATE TABLE t (x);", "bb"), {0}};
        const struct nb_embed good[] = {
                FIRST, STEP("0002-b.sql", "CREATE TABLE u (x);", "cc"), {0}};
        nb_auto_free char *path = nb_asprintf("%s/fails.db", nbtest_tmpdir());
        NB_CLEANUP(db_done) struct db d = {0};

        CHECK_OK(db_open(&d, path, DB_CREATE, &f.clock, &f.err), &f.err);
        CHECK_ERR(store_migrate(&d, bad, &f.err), &f.err, NB_E_BUG, "migration 0002-b.sql");
        CHECK_OK(store_migrate(&d, good, &f.err), &f.err);
}

NBTEST_MAIN()
