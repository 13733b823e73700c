/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* embed.h - files that tools/embed.py put into the binary */

#include <stddef.h>

struct nb_embed {
        const char *name;          /* file name without directory */
        const unsigned char *data; /* a NUL follows, not counted in size */
        size_t size;
        const char *sha256; /* lower-case hex */
};
