/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * table.h - a configuration file as a table: key, type, range, default, target
 *
 * A reader goes through a TOML tree by such tables and fills structs.  It goes
 * on after a mistake and keeps the one that stands first in the file.  Pure;
 * any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/crypto.h>
#include <nbcid/err.h>

#include "toml.h"

enum key_type {
        KEY_TEXT,     /* char * */
        KEY_URL,      /* char *, slashes at the end taken off */
        KEY_LIST,     /* struct nb_strv */
        KEY_BOOL,     /* bool */
        KEY_COUNT,    /* uint32_t */
        KEY_SIZE,     /* uint64_t, bytes */
        KEY_DURATION, /* uint64_t, microseconds */
        KEY_CHOICE,   /* an enum */
        KEY_SWITCH,   /* bool, by the value of a choice */
        KEY_SECRET,   /* struct nb_secret, filled later from the file named */
        KEY_JSON,     /* char *, a table as the text of a JSON object */
        KEY_TABLES,   /* [[TABLE.key]]: as its table says, from the struct of this one */
        KEY_LATER,    /* none: known, and refused by this version */
        KEY_TYPE__COUNT,
};

struct choice {
        const char *name; /* NULL ends the list */
        int value;        /* -1: known, and refused by this version */
};

struct table;

struct key {
        const char *name;
        enum key_type type;
        bool required;
        bool zero;                    /* numbers: 0 too, though below min; KEY_LIST: [] too */
        size_t offset;                /* of the target in the table's struct */
        const char *def;              /* as it would be written; NULL: the target stays zero */
        const char *min, *max;        /* of numbers, as they would be written */
        const struct choice *choices; /* KEY_CHOICE, KEY_SWITCH; KEY_TEXT: or NULL */
        /* What is wrong with a text or an element, NULL when nothing is. */
        const char *(*check)(const char *text);
        const char *(*check_secret)(const struct nb_secret *s);
        const struct table *tables; /* KEY_TABLES: what they may say; offset stays 0 */
};

struct table {
        const char *name;
        bool many;  /* [[name]] */
        bool later; /* known, and refused by this version */
        const struct key *keys;
        size_t n_keys;
        /* Where in the file's struct: many: a pointer at offset and a size_t
         * at offset_n to an array of size bytes an element; else keys count
         * their offsets from the file's struct itself. */
        size_t offset, offset_n, size;
        size_t max; /* many: how many at most */
};

/* A secret that a file names, to be read later. */
struct secret_ref {
        const struct table *table;
        const struct key *key;
        const char *text; /* borrowed from the tree */
        uint32_t line;
        struct nb_secret *target;
};

struct reader {
        const char *file; /* as errors show it */
        uint32_t line;    /* of the first mistake; 0: none */
        bool nomem;
        struct nb_err err;
        struct secret_ref *secrets;
        size_t n_secrets, cap_secrets;
};
void reader_done(struct reader *r);
/* Note the mistake "FILE:LINE: text" unless one is known further up. */
void reader_refuse(struct reader *r, uint32_t line, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* The same with "key 'KEY' in [TABLE]: " before the text. */
void reader_refuse_key(struct reader *r, const struct table *t, const char *key, uint32_t line,
                       const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* 0, or the first mistake. */
int reader_result(const struct reader *r, struct nb_err *err);

/* Parse the text; *ret is owned: toml_free().  Errors as FILE:LINE:COLUMN. */
int reader_parse(const char *file, const char *p, size_t n, struct toml_node **ret,
                 struct nb_err *err);
/* Fill the zeroed struct at target, defaults for all that root does not say. */
void reader_fill(struct reader *r, const struct table *tables, size_t n_tables,
                 const struct toml_node *root, void *target);
/* Give one element of a [[table]] its defaults. */
void reader_fill_defaults(struct reader *r, const struct table *t, void *element);
/* Free, and wipe the secrets of, all that the tables may have put into target. */
void tables_done(const struct table *tables, size_t n_tables, void *target);

/* Checks that several tables use; NULL when fine. */
const char *check_name(const char *text); /* of a forge or an executor */
const char *check_glob(const char *text);

static inline void toml_freep(struct toml_node **p)
{
        toml_free(*p);
}
