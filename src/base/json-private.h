/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* json-private.h - what the writer lends to the tree, inside the room */

#include <nbcid/json.h>

/* Before a value that is written by hand: its comma, and the checks. */
void json_out_value(struct nb_json_out *o);
/* s in quotes, escaped; no comma. */
void json_out_text(struct nb_buf *b, const char *s);
