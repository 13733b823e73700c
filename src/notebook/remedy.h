/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* remedy.h - what helps when a notebook is no JSON.  Pure. */

#include <stdbool.h>
#include <stddef.h>

/* By what stands at offset of the n bytes at p, a piece of the text; begins:
 * the first one, with the text's beginning.  Static. */
const char *remedy_json(const char *p, size_t n, size_t offset, bool begins);
