/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * edit.h - where the members of metadata and the cells stand in a notebook's
 * text, and how the text is laid out
 *
 * What is added is written as the rest is, so that a diff shows only what was
 * added.  Layouts: one member a line (nbformat's: one space a level, keys
 * sorted), and all on one line.  Pure; any thread.
 */

#include <stdbool.h>
#include <stddef.h>

#include <nbcid/buf.h>
#include <nbcid/err.h>
#include <nbcid/json.h>

struct edit_slice { /* borrowed */
        const char *s;
        size_t n;
};

struct edit_layout {              /* borrowed from the notebook's text */
        bool lines;               /* a member a line, at the top */
        const char *newline;      /* static */
        struct edit_slice indent; /* of one level */
        struct edit_slice colon;  /* between a key and its value */
        struct edit_slice comma;  /* between members of one line */
};

struct edit_item {
        size_t at;         /* where it begins: its key, or of a cell the value itself */
        size_t begin, end; /* its value */
        char *key;         /* owned; of a cell: its id.  NULL: none, or one with a NUL */
};

struct edit_place {         /* the object "metadata" or the array "cells" */
        size_t open, close; /* its brackets */
        struct edit_item *items;
        size_t n, cap;
        struct edit_layout layout;
};

/* p is a notebook that walk_notebook() took.  NB_E_LIMIT (over a million
 * items), NB_E_NOMEM. */
int edit_find(const char *p, size_t n, const char *member, struct edit_place *ret,
              struct nb_err *err);
void edit_place_done(struct edit_place *e);

/* Append what p becomes when json is item i of the place: in the place of the
 * one that is there when replace, else before it (i == place->n: behind the
 * last).  key NULL: an item of an array. */
int edit_splice(const char *p, size_t n, const struct edit_place *place, size_t i, bool replace,
                const char *key, const struct nb_json *json, struct nb_buf *ret,
                struct nb_err *err);
