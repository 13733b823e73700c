/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite's own VFS, but for the log of the intake connection: its writes are
 * gathered
 *
 * A commit appends its pages to the log one by one, each with a write for 24
 * bytes of header and one for 4096 of page: over a hundred calls for a batch
 * of pushes, all of them adjacent.  Here they become one for each 120 KiB.
 *
 * Nobody may look for them earlier than they are written: a connection with
 * synchronous=FULL calls xSync after the last and before it tells the others
 * of them, and whatever else it calls on the log flushes first.  So the
 * worker's connection, which also commits without a sync, must not use this.
 * A write that fails late fails the xSync, and thereby the commit.
 */
#include "db.h"

#include <string.h>

/* The write below takes no more than 131071 bytes at once (os_unix.c). */
#define GATHER_MAX ((size_t)120 * 1024)

struct log_file {
        sqlite3_file head; /* first: SQLite's view of it */
        sqlite3_file *real;
        char *data; /* NULL until the first write */
        size_t n;
        sqlite3_int64 at; /* where they belong */
};

static struct log_file *log_of(sqlite3_file *f)
{
        return (struct log_file *)(void *)f;
}

static int flush(struct log_file *l)
{
        size_t n = l->n;

        l->n = 0;
        return n ? l->real->pMethods->xWrite(l->real, l->data, (int)n, l->at) : SQLITE_OK;
}

static int log_close(sqlite3_file *f)
{
        struct log_file *l = log_of(f);
        int rc = flush(l), closed = l->real->pMethods->xClose(l->real);

        free(l->data);
        return rc != SQLITE_OK ? rc : closed;
}

static int log_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
        struct log_file *l = log_of(f);

        if (l->n > 0 && (at != l->at + (sqlite3_int64)l->n || (size_t)n > GATHER_MAX - l->n)) {
                int rc = flush(l);
                if (rc != SQLITE_OK)
                        return rc;
        }
        if (!l->data)
                l->data = malloc(GATHER_MAX);
        if (!l->data || (size_t)n > GATHER_MAX)
                return l->real->pMethods->xWrite(l->real, p, n, at);
        if (l->n == 0)
                l->at = at;
        memcpy(l->data + l->n, p, (size_t)n);
        l->n += (size_t)n;
        return SQLITE_OK;
}

/* Everything else first writes what was gathered. */
#define AFTER_FLUSH(f, method, ...) \
        struct log_file *l = log_of(f); \
        int rc = flush(l); \
        return rc == SQLITE_OK ? l->real->pMethods->method(l->real, ##__VA_ARGS__) : rc

static int log_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
        AFTER_FLUSH(f, xRead, p, n, at);
}

static int log_truncate(sqlite3_file *f, sqlite3_int64 size)
{
        AFTER_FLUSH(f, xTruncate, size);
}

static int log_sync(sqlite3_file *f, int flags)
{
        AFTER_FLUSH(f, xSync, flags);
}

static int log_size(sqlite3_file *f, sqlite3_int64 *ret)
{
        AFTER_FLUSH(f, xFileSize, ret);
}

static int log_lock(sqlite3_file *f, int level)
{
        AFTER_FLUSH(f, xLock, level);
}

static int log_unlock(sqlite3_file *f, int level)
{
        AFTER_FLUSH(f, xUnlock, level);
}

static int log_reserved(sqlite3_file *f, int *ret)
{
        AFTER_FLUSH(f, xCheckReservedLock, ret);
}

static int log_control(sqlite3_file *f, int op, void *arg)
{
        AFTER_FLUSH(f, xFileControl, op, arg);
}

static int log_sector_size(sqlite3_file *f)
{
        return log_of(f)->real->pMethods->xSectorSize(log_of(f)->real);
}

static int log_character(sqlite3_file *f)
{
        return log_of(f)->real->pMethods->xDeviceCharacteristics(log_of(f)->real);
}

/* Version 1: shared memory and mapping are the database file's. */
static const sqlite3_io_methods log_methods = {
        .iVersion = 1,
        .xClose = log_close,
        .xRead = log_read,
        .xWrite = log_write,
        .xTruncate = log_truncate,
        .xSync = log_sync,
        .xFileSize = log_size,
        .xLock = log_lock,
        .xUnlock = log_unlock,
        .xCheckReservedLock = log_reserved,
        .xFileControl = log_control,
        .xSectorSize = log_sector_size,
        .xDeviceCharacteristics = log_character,
};

static sqlite3_vfs *system_vfs;

static int vfs_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
        struct log_file *l = log_of(f);
        int rc;

        if (!(flags & SQLITE_OPEN_WAL))
                return system_vfs->xOpen(system_vfs, name, f, flags, ret_flags);
        *l = (struct log_file){.real = (sqlite3_file *)(void *)(l + 1)};
        rc = system_vfs->xOpen(system_vfs, name, l->real, flags, ret_flags);
        if (rc == SQLITE_OK)
                l->head.pMethods = &log_methods;
        return rc;
}

int gather_vfs_register(void)
{
        static sqlite3_vfs vfs;

        system_vfs = sqlite3_vfs_find(NULL);
        if (!system_vfs)
                return SQLITE_ERROR;
        vfs = *system_vfs;
        vfs.pNext = NULL;
        vfs.zName = GATHER_VFS;
        vfs.szOsFile += (int)sizeof(struct log_file);
        vfs.xOpen = vfs_open;
        return sqlite3_vfs_register(&vfs, 0);
}
