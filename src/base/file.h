/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* file.h - what fs.c, tree.c and crypto.c share.  Blocking; any thread. */

#include <stddef.h>
#include <sys/stat.h>

#include <nbcid/fs.h>

/* read(2) through EINTR: bytes read, 0 at the end, or -1 with errno. */
ssize_t nb_read_some(int fd, void *p, size_t n);
