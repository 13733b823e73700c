/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * db.h - one connection to the database, its statements and transactions
 *
 * Private to the store.  A connection belongs to one thread.  SQLite's codes
 * become nb_err here and nowhere else: FULL, IOERR, READONLY, CANTOPEN are
 * NB_E_IO, BUSY and LOCKED NB_E_BUSY, CORRUPT and NOTADB NB_E_CORRUPT,
 * CONSTRAINT NB_E_CONFLICT; the extended code is kept in detail.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include <nbcid/clock.h>
#include <nbcid/embed.h>
#include <nbcid/err.h>
#include <nbcid/mem.h>

#include "sql.h"

struct db;

struct stmt {
        struct db *db;
        sqlite3_stmt *q; /* NULL until it is first used */
        enum sql id;
        int bad; /* SQLite's code of a bind that failed */
        bool busy, stepped;
};

struct db {
        sqlite3 *sql;
        char *path;
        const struct nb_clock *clock; /* borrowed; NULL when read-only */
        int log_pages, log_done;      /* worker: in the log, and written back of it */
        struct stmt stmts[SQL__COUNT];
};

enum db_mode {
        DB_CREATE, /* made when it is not there */
        DB_WRITE,
        DB_READ,
};

/* vfs.c: for connections that commit with synchronous=FULL and no other way. */
#define GATHER_VFS "nbcid-gather"
int gather_vfs_register(void) NB_MUST_USE; /* once; answers SQLite's code */

/* d is zeroed; on failure it is done again. */
int db_open(struct db *d, const char *path, enum db_mode mode, const struct nb_clock *clock,
            struct nb_err *err) NB_MUST_USE;
void db_done(struct db *d); /* zeroed and half-built are fine */
/* Fail with SQLite's code rc. */
int db_fail(struct db *d, int rc, const char *what, struct nb_err *err);
/* Text without parameters and rows, of migrations and pragmas only. */
int db_exec(struct db *d, const char *sql, struct nb_err *err) NB_MUST_USE;
/* Id of the row just inserted. */
int64_t db_new_id(const struct db *d);

/* ---- statements ---- */

enum bind_type { BIND_END, BIND_INT, BIND_TEXT, BIND_BLOB };
struct bind { /* ?1, ?2, ... in order; borrowed until the statement is done */
        enum bind_type type;
        int64_t i; /* the number, or the size of a blob */
        const void *p;
};
#define B_INT(v_) ((struct bind){.type = BIND_INT, .i = (int64_t)(v_)})
#define B_TEXT(v_) ((struct bind){.type = BIND_TEXT, .p = (v_)}) /* NULL binds NULL */
#define B_BLOB(p_, n_) ((struct bind){.type = BIND_BLOB, .p = (p_), .i = (int64_t)(n_)})
#define BINDS(...) ((const struct bind[]){__VA_ARGS__ __VA_OPT__(, ){0}})

/* Prepared at its first use, bound, not yet stepped.  Given back by the
 * cleanup; until then it may not be taken again. */
int stmt_get(struct db *d, enum sql id, const struct bind *b, struct stmt **ret,
             struct nb_err *err) NB_MUST_USE;
void stmt_donep(struct stmt **q); /* asserts that it was stepped */
#define nb_auto_stmt NB_CLEANUP(stmt_donep) struct stmt
/* 1: a row, 0: no more. */
int stmt_step(struct stmt *q, struct nb_err *err) NB_MUST_USE;
/* Get, run to its end, give back.  Answers how many rows it changed. */
int stmt_run(struct db *d, enum sql id, const struct bind *b, struct nb_err *err) NB_MUST_USE;
/* The same for one number: 1: first column of the first row (NULL is 0), 0: no
 * row. */
int stmt_int(struct db *d, enum sql id, const struct bind *b, int64_t *ret,
             struct nb_err *err) NB_MUST_USE;

/* Columns by name; an unknown name asserts.  Text is borrowed until the next
 * step, NULL for NULL; NULL as a number is 0. */
int64_t col_int(struct stmt *q, const char *name);
const char *col_text(struct stmt *q, const char *name);
/* Owned copy, NULL for NULL.  NB_E_NOMEM. */
int col_dup(struct stmt *q, const char *name, char **ret, struct nb_err *err) NB_MUST_USE;
/* NB_E_CORRUPT: what a column holds is none of its values. */
int col_fail(struct stmt *q, const char *name, struct nb_err *err);

/* ---- transactions ---- */

struct tx {
        struct db *db; /* NULL: not open */
        bool relaxed;
};
/* Takes the write lock at once, so that nothing inside can be busy. */
int tx_begin(struct db *d, struct tx *ret, struct nb_err *err) NB_MUST_USE;
/* The same, but the commit is not forced to the disk: it survives the death of
 * the process, not a power cut.  For what is only repeated then: a status sent
 * twice, a progress bar. */
int tx_begin_relaxed(struct db *d, struct tx *ret, struct nb_err *err) NB_MUST_USE;
int tx_commit(struct tx *t, struct nb_err *err) NB_MUST_USE;
void tx_done(struct tx *t); /* rolls back unless it was committed */
#define nb_auto_tx NB_CLEANUP(tx_done) struct tx

/* turn.c: the process's writers, one after the other.  false: it took that
 * long. */
bool turn_take(unsigned seconds) NB_MUST_USE;
void turn_give(void);

/* ---- schema ---- */

extern const struct nb_embed store_migrations[];
/* Bring the schema up to date with a list; NB_E_CONFLICT when it cannot be. */
int store_migrate(struct db *d, const struct nb_embed *list, struct nb_err *err) NB_MUST_USE;
