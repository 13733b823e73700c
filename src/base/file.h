/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* file.h - what fs.c, tree.c and crypto.c share.  Blocking; any thread. */

#include <stddef.h>
#include <sys/stat.h>

#include <nbcid/err.h>

/* Open an existing regular file for reading; anything else, such as a FIFO
 * that nobody writes to, is -NB_E_INVALID without waiting.  Answers the
 * descriptor, the caller's, with *ret_st filled, or < 0. */
int nb_open_regular(int dirfd, const char *path, int flags, struct stat *ret_st,
                    struct nb_err *err);
/* read(2) through EINTR: bytes read, 0 at the end, or -1 with errno. */
ssize_t nb_read_some(int fd, void *p, size_t n);
