/* SPDX-License-Identifier: Apache-2.0 */
/* one SQLite connection: opening, statements, transactions, errors */
#include "db.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include <nbcid/str.h>

/* For another process, and for the process's other writer. */
#define BUSY_TIMEOUT_S 10
/* Pages of 4 KiB after which the log is written back to the database. */
#define WORKER_PAGES 4096
#define INTAKE_PAGES 16384

static const char *const sql_texts[SQL__COUNT] = {
#define X(name, text) [SQL_##name] = text,
        STORE_SQL(X)
#undef X
};

static const char *const sql_names[SQL__COUNT] = {
#define X(name, text) [SQL_##name] = #name,
        STORE_SQL(X)
#undef X
};

/* ---- errors ---- */

static enum nb_errc errc_of(int rc)
{
        switch (rc & 0xff) {
        case SQLITE_NOMEM:
                return NB_E_NOMEM;
        case SQLITE_FULL:
        case SQLITE_IOERR:
        case SQLITE_READONLY:
        case SQLITE_CANTOPEN:
        case SQLITE_PERM:
        case SQLITE_AUTH:
                return NB_E_IO;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
        case SQLITE_PROTOCOL:
                return NB_E_BUSY;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return NB_E_CORRUPT;
        case SQLITE_CONSTRAINT:
                return NB_E_CONFLICT;
        case SQLITE_TOOBIG:
                return NB_E_LIMIT;
        default:
                return NB_E_BUG;
        }
}

static const char *remedy_of(int rc)
{
        switch (rc & 0xff) {
        case SQLITE_FULL:
                return "; the disk is full: free some space, or shorten [retention]";
        case SQLITE_IOERR:
                return "; look at the kernel's log for trouble with this disk";
        case SQLITE_READONLY:
        case SQLITE_CANTOPEN:
        case SQLITE_PERM:
                return "; the file and its directory must be writable for this user";
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
        case SQLITE_PROTOCOL:
                return "; another process holds the database";
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return "; the file is damaged: stop the daemon and restore a copy";
        default:
                return "";
        }
}

int db_fail(struct db *d, int rc, const char *what, struct nb_err *err)
{
        /* the connection's text tells more, as long as it is about this failure */
        const char *text = d->sql && (sqlite3_errcode(d->sql) & 0xff) == (rc & 0xff)
                                   ? sqlite3_errmsg(d->sql)
                                   : sqlite3_errstr(rc);

        return nb_fail_detail(err, errc_of(rc), rc, "database %s: %s: %s%s", d->path, what, text,
                              remedy_of(rc));
}

/* ---- the connection ---- */

/* SQLite would make it readable for all; the files beside it take their mode
 * from it. */
static int make_file(const char *path, struct nb_err *err)
{
        nb_auto_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);

        if (fd < 0)
                return nb_fail_errno(err, errno, "cannot open the database %s", path);
        return 0;
}

/* Some file systems cannot do it, and SQLite then keeps what it had. */
static int set_journal(struct db *d, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(d, SQL_JOURNAL, BINDS(), &q, err);

        if (r < 0)
                return r;
        r = stmt_step(q, err);
        if (r < 0)
                return r;
        if (r == 0 || !nb_streq(col_text(q, "journal_mode"), "wal"))
                return nb_fail(err, NB_E_IO,
                               "database %s: no write-ahead log on this file system; put "
                               "state_dir on a local disk",
                               d->path);
        return 0;
}

/* SQLite tells how long its log is after each commit. */
static int on_commit(void *arg, sqlite3 *sql, const char *name, int pages)
{
        struct db *d = arg;

        d->log_pages = pages;
        return SQLITE_OK;
}

static int set_up(struct db *d, enum db_mode mode, struct nb_err *err)
{
        static const struct {
                int what, value;
        } configs[] = {
                {SQLITE_DBCONFIG_DEFENSIVE, 1},
                {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
                {SQLITE_DBCONFIG_DQS_DDL, 0},
                {SQLITE_DBCONFIG_DQS_DML, 0},
        };
        int r;

        for (size_t i = 0; i < NB_ARRAY_SIZE(configs); i++)
                (void)sqlite3_db_config(d->sql, configs[i].what, configs[i].value, NULL);
        (void)sqlite3_busy_timeout(d->sql, BUSY_TIMEOUT_S * 1000);
        /* the pages that a verb needs are few, and the system caches the file */
        if (mode == DB_READ)
                return db_exec(d,
                               "PRAGMA query_only = on; PRAGMA cache_size = -512;"
                               "PRAGMA temp_store = memory; PRAGMA cell_size_check = on;",
                               err);
        r = set_journal(d, err);
        if (r < 0)
                return r;
        /* The worker writes the log back beside intake's commits, so that a sender
         * seldom waits for it; but a log that grows all the same is stopped by
         * intake, in its turn: then nobody appends, and the log starts anew. */
        if (mode == DB_CREATE)
                (void)sqlite3_wal_hook(d->sql, on_commit, d);
        else
                (void)sqlite3_wal_autocheckpoint(d->sql, INTAKE_PAGES);
        return db_exec(d,
                       "PRAGMA synchronous = full;"
                       "PRAGMA foreign_keys = on; PRAGMA cache_size = -1024;"
                       "PRAGMA journal_size_limit = 67108864;"
                       "PRAGMA temp_store = memory; PRAGMA cell_size_check = on;"
                       "PRAGMA secure_delete = off;",
                       err);
}

/* Its statistics of memory take a mutex for each malloc(), and nobody asks for
 * them.  Refused once the library is in use: then it goes without. */
static void set_up_library(void)
{
        int rc;

        (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
        rc = gather_vfs_register();
        nb_assert(rc == SQLITE_OK);
}

int db_open(struct db *d, const char *path, enum db_mode mode, const struct nb_clock *clock,
            struct nb_err *err)
{
        int flags = mode == DB_READ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        int r, rc;

        (void)pthread_once(&once, set_up_library);
        nb_assert(sqlite3_threadsafe());
        if (mode == DB_CREATE) {
                r = make_file(path, err);
                if (r < 0)
                        return r;
        }
        d->clock = clock;
        d->path = nb_strdup(path);
        if (!d->path)
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        /* each connection stays on one thread: no mutex of its own */
        rc = sqlite3_open_v2(path, &d->sql, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                             mode == DB_WRITE ? GATHER_VFS : NULL);
        r = rc == SQLITE_OK ? set_up(d, mode, err) : db_fail(d, rc, "open", err);
        if (r < 0)
                db_done(d);
        return r;
}

void db_done(struct db *d)
{
        for (size_t i = 0; i < SQL__COUNT; i++) {
                nb_assert(!d->stmts[i].busy);
                (void)sqlite3_finalize(d->stmts[i].q);
        }
        nb_assert(sqlite3_close(d->sql) == SQLITE_OK);
        free(d->path);
        *d = (struct db){0};
}

int db_exec(struct db *d, const char *sql, struct nb_err *err)
{
        int rc = sqlite3_exec(d->sql, sql, NULL, NULL, NULL);

        return rc == SQLITE_OK ? 0 : db_fail(d, rc, "schema", err);
}

int64_t db_new_id(const struct db *d)
{
        return sqlite3_last_insert_rowid(d->sql);
}

/* ---- statements ---- */

static int bind_one(sqlite3_stmt *q, int i, const struct bind *b)
{
        switch (b->type) {
        case BIND_INT:
                return sqlite3_bind_int64(q, i, b->i);
        case BIND_TEXT:
                return sqlite3_bind_text(q, i, b->p, -1, SQLITE_STATIC);
        case BIND_BLOB:
                /* a NULL pointer would bind NULL */
                return sqlite3_bind_blob64(q, i, b->p ? b->p : "", (sqlite3_uint64)b->i,
                                           SQLITE_STATIC);
        case BIND_END:
                break;
        }
        return SQLITE_MISUSE;
}

int stmt_get(struct db *d, enum sql id, const struct bind *b, struct stmt **ret, struct nb_err *err)
{
        struct stmt *q = &d->stmts[id];
        int rc, n = 0;

        nb_assert(!q->busy);
        if (!q->q) {
                rc = sqlite3_prepare_v3(d->sql, sql_texts[id], -1, SQLITE_PREPARE_PERSISTENT, &q->q,
                                        NULL);
                if (rc != SQLITE_OK)
                        return db_fail(d, rc, sql_names[id], err);
                q->db = d;
                q->id = id;
        }
        q->bad = SQLITE_OK;
        for (; b[n].type != BIND_END && q->bad == SQLITE_OK; n++)
                q->bad = bind_one(q->q, n + 1, &b[n]);
        nb_assert(q->bad != SQLITE_OK || n == sqlite3_bind_parameter_count(q->q));
        q->busy = true;
        q->stepped = false;
        *ret = q;
        return 0;
}

void stmt_donep(struct stmt **pq)
{
        struct stmt *q = *pq;

        if (!q)
                return;
        nb_assert(q->stepped);
        (void)sqlite3_reset(q->q); /* repeats what the step answered */
        (void)sqlite3_clear_bindings(q->q);
        q->busy = false;
}

int stmt_step(struct stmt *q, struct nb_err *err)
{
        int rc;

        nb_assert(q && q->busy);
        rc = q->bad != SQLITE_OK ? q->bad : sqlite3_step(q->q);
        q->stepped = true;
        if (rc == SQLITE_ROW)
                return 1;
        if (rc == SQLITE_DONE)
                return 0;
        return db_fail(q->db, rc, sql_names[q->id], err);
}

int stmt_run(struct db *d, enum sql id, const struct bind *b, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(d, id, b, &q, err);

        if (r < 0)
                return r;
        r = stmt_step(q, err);
        if (r < 0)
                return r;
        nb_assert(r == 0);
        return sqlite3_changes(d->sql);
}

int stmt_int(struct db *d, enum sql id, const struct bind *b, int64_t *ret, struct nb_err *err)
{
        nb_auto_stmt *q = NULL;
        int r = stmt_get(d, id, b, &q, err);

        if (r < 0)
                return r;
        r = stmt_step(q, err);
        if (r == 1)
                *ret = sqlite3_column_int64(q->q, 0);
        return r;
}

static int col_index(struct stmt *q, const char *name)
{
        int n = sqlite3_column_count(q->q);

        for (int i = 0; i < n; i++) {
                const char *s = sqlite3_column_name(q->q, i);
                if (s && strcmp(s, name) == 0)
                        return i;
        }
        nb_assert(false && "a column of that name");
        return -1;
}

int64_t col_int(struct stmt *q, const char *name)
{
        return sqlite3_column_int64(q->q, col_index(q, name));
}

const char *col_text(struct stmt *q, const char *name)
{
        return (const char *)sqlite3_column_text(q->q, col_index(q, name));
}

int col_dup(struct stmt *q, const char *name, char **ret, struct nb_err *err)
{
        const char *s = col_text(q, name);
        char *copy = nb_strdup(s);

        if (s && !copy)
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        *ret = copy;
        return 0;
}

int col_fail(struct stmt *q, const char *name, struct nb_err *err)
{
        const char *s = col_text(q, name);

        return nb_fail(err, NB_E_CORRUPT,
                       "database %s: %s: column %s holds \"%.40s\", which this program does not "
                       "know; restore a copy",
                       q->db->path, sql_names[q->id], name, s ? s : "(null)");
}

/* ---- transactions ---- */

int tx_begin(struct db *d, struct tx *ret, struct nb_err *err)
{
        int r;

        nb_assert(sqlite3_get_autocommit(d->sql));
        if (!turn_take(BUSY_TIMEOUT_S))
                return nb_fail(err, NB_E_BUSY,
                               "database %s: a commit takes over %d s; look at the disk", d->path,
                               BUSY_TIMEOUT_S);
        r = stmt_run(d, SQL_BEGIN, BINDS(), err);
        if (r < 0) {
                turn_give();
                return r;
        }
        ret->db = d;
        return 0;
}

/* Read when a commit is written; a pragma of this kind acts as it is
 * compiled, so that it cannot be one of the kept statements. */
static void set_synchronous(struct db *d, bool full)
{
        (void)sqlite3_exec(d->sql,
                           full ? "PRAGMA synchronous = full" : "PRAGMA synchronous = normal", NULL,
                           NULL, NULL);
}

int tx_begin_relaxed(struct db *d, struct tx *ret, struct nb_err *err)
{
        int r;

        set_synchronous(d, false);
        r = tx_begin(d, ret, err);
        if (r < 0)
                set_synchronous(d, true);
        else
                ret->relaxed = true;
        return r;
}

static void tx_over(struct tx *t)
{
        if (t->relaxed)
                set_synchronous(t->db, true);
        *t = (struct tx){0};
        turn_give();
}

static void write_back(struct db *d)
{
        /* shorter: it was begun anew */
        if (d->log_pages < d->log_done)
                d->log_done = 0;
        if (d->log_pages - d->log_done < WORKER_PAGES)
                return;
        /* what fails here is tried again by later commits: nothing is lost */
        (void)sqlite3_wal_checkpoint_v2(d->sql, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        d->log_done = d->log_pages;
}

int tx_commit(struct tx *t, struct nb_err *err)
{
        struct db *d = t->db;
        int r = stmt_run(d, SQL_COMMIT, BINDS(), err);

        if (r < 0)
                return r;
        tx_over(t);
        write_back(d);
        return 0;
}

void tx_done(struct tx *t)
{
        if (!t->db)
                return;
        /* SQLite rolls back by itself after some failures, not after all */
        if (!sqlite3_get_autocommit(t->db->sql)) {
                int r = stmt_run(t->db, SQL_ROLLBACK, BINDS(), NULL);
                (void)r; /* whatever it says, the transaction is over */
                nb_assert(sqlite3_get_autocommit(t->db->sql));
        }
        tx_over(t);
}
