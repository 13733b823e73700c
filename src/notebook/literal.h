/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * literal.h - JSON values as literals of the languages that kernels speak
 *
 * No value and no name can become anything but a value and a name.  Pure; any
 * thread.
 */

#include <nbcid/buf.h>
#include <nbcid/err.h>
#include <nbcid/json.h>

struct literal_language;

/* By the name that kernels and notebooks use, in any case ("python", "R");
 * NULL: none of those that can be written. */
const struct literal_language *literal_language_find(const char *name);

/* Append "# Parameters" and a line "name = value" for each member.  NB_E_INVALID
 * names the parameter and what is wrong with its name or value. */
int literal_write(const struct literal_language *l, const struct nb_json *parameters,
                  struct nb_buf *ret, struct nb_err *err);
