/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* parameters.h - parameters of a notebook: a table of TOML as a JSON object */

#include "toml.h"

/* What is wrong with the table and on which line; or NULL, and *ret is the text
 * of a JSON object with the members as they are written, owned (NULL: memory
 * is out). */
const char *parameters_text(const struct toml_node *n, char **ret, uint32_t *ret_line);
