/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * pipfile.h - what other tools say of requirements, as requirements
 *
 * All of them end in reading_line(), so that one policy holds for all.  Texts
 * begin with shown.
 */

#include <nbcid/json.h>

#include "requirements.h"

/* A version of Python for the runner, "3.11" of "3.11.4"; "" when text is no
 * version. */
#define PYTHON_VERSION_SIZE 16
void python_version(const char *text, char *ret);

/* Pipfile.lock, JSON text: each package of "default" with its hashes.
 * python: "" or what it asks for.
 * Format: https://github.com/pypa/pipfile, plette's schemas */
int pipfile_read_lock(struct reading *g, const char *shown, const char *dir, const char *p,
                      size_t n, char *ret_python, struct nb_err *err);
/* Pipfile, as JSON text: each package of "packages". */
int pipfile_read(struct reading *g, const char *shown, const char *dir, const char *p, size_t n,
                 char *ret_python, struct nb_err *err);
/* pyproject.toml, as JSON text: 1; 0 when it names no dependencies (it
 * configures tools alone, or has them computed).
 * Format: PEP 621, and Poetry's https://python-poetry.org/docs/dependency-specification/ */
int pyproject_read(struct reading *g, const char *shown, const char *dir, const char *p, size_t n,
                   char *ret_python, struct nb_err *err);

/* For both: one package by name with the members of its table. */
struct package {
        const char *name;
        const struct nb_json *table; /* an object */
        const char *version;         /* comparisons; "" is any */
};
/* Its line to *ret: extras, URLs, markers and hashes as the table has them.
 * marker: one more, or NULL. */
int package_add(struct reading *g, const char *shown, const char *dir, const struct package *p,
                const char *marker, struct nb_err *err);
/* The tree of a JSON text of a stranger. */
int foreign_json(const char *shown, const char *p, size_t n, struct nb_json_tree **ret,
                 struct nb_err *err);
