/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * pick.h - take a few values out of a large JSON text without building it
 *
 * A payload is megabytes at worst and we want ten short texts of it, so the
 * events of json.h are matched against a table of paths and the rest is only
 * checked.  What is picked must be unambiguous: a path, or any object on the
 * way to it, given twice is malformed, for two readers could take two answers
 * from it.  Pure; any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/err.h>

enum pick_type { PICK_STRING, PICK_BOOL };

struct pick_spec {
        /* Keys from the root, parted by dots; "[]" stands for each element of
         * an array: "repository.full_name", "commits.[].id".  One table may
         * name one array. */
        const char *path;
        enum pick_type type;
        size_t max; /* bytes of a string */
        bool text;  /* for people: a longer one is cut, a NUL in it is kept; else both are malformed
                     */
};

enum pick_found { PICK_ABSENT, PICK_NULL, PICK_GIVEN };

struct pick_value { /* texts owned; done with pick_done() */
        enum pick_found found;
        char *s; /* PICK_GIVEN string: NUL-terminated */
        size_t n;
        bool b;
};

#define PICK_MAX_SPECS 16
#define PICK_MAX_LEVELS 4

/* After each object in the array that the table names: the values under it are
 * filled, and emptied once this returns.  Answers 0, or < 0 to stop.  A text
 * that turns out to be malformed or unusual is read a second time, from its
 * first element on. */
typedef int (*pick_element_fn)(void *arg, struct pick_value *values, struct nb_err *err);

/* values[i] is what specs[i] found; n_specs of each.  The root is an object,
 * else NB_E_INVALID, as are a wrong type, a duplicate and a text over its max;
 * null is allowed everywhere.  element may be NULL when no path has "[]".
 * values must be zeroed; on failure they are emptied. */
int pick_json(const char *p, size_t n, const struct pick_spec *specs, size_t n_specs,
              struct pick_value *values, pick_element_fn element, void *arg, struct nb_err *err);
void pick_done(struct pick_value *values, size_t n);
