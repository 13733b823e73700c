/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * toml.h - TOML 1.0 text to a small tree with line numbers
 *
 * The C face of toml.cc, which is the only C++ of the program.  Pure; any
 * thread.  Nothing thrown in there comes out.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum toml_type {
        TOML_STRING,
        TOML_INTEGER,
        TOML_FLOAT,
        TOML_BOOLEAN,
        TOML_DATE, /* any of the date and time types */
        TOML_ARRAY,
        TOML_TABLE,
        TOML_TYPE__COUNT,
};

struct toml_node {
        enum toml_type type;
        uint32_t line, column; /* of the key, or of the element of an array; 1-based */
        char *key;             /* NULL for elements of arrays and for the root */
        char *text;            /* TOML_STRING: valid UTF-8 without NUL */
        double number;         /* TOML_FLOAT */
        int64_t integer;       /* TOML_INTEGER; TOML_BOOLEAN: 0 or 1 */
        /* TOML_ARRAY: elements in order; TOML_TABLE: entries by place in the text */
        struct toml_node *children;
        size_t n_children;
};

struct toml_error {
        uint32_t line, column; /* 0: memory was out, no text */
        char text[256];
};

/* Parse n bytes; *ret is owned.  Nesting is bounded (see toml.cc).  0, or -1
 * with err filled. */
int toml_parse(const char *p, size_t n, struct toml_node **ret, struct toml_error *err);
void toml_free(struct toml_node *root); /* NULL is fine */
/* Entry of a table, borrowed; NULL when it has none of that name. */
const struct toml_node *toml_get(const struct toml_node *table, const char *key);

#ifdef __cplusplus
}
#endif
