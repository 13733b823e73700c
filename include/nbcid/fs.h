/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* fs.h - files: bounded reads, atomic writes, careful trees.  Blocking: pool
 * or start-up only, unless a function says "bounded".  Any thread.  Refusals
 * of the kernel are nb_fail_errno()'s classes, with the path in the text. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/buf.h>
#include <nbcid/err.h>

/* Read a whole regular file below dirfd (AT_FDCWD for a plain path), appended
 * to ret whose max is the limit.  -NB_E_LIMIT when larger, -NB_E_NOTFOUND,
 * -NB_E_INVALID when it is no regular file.  On failure the content of ret is
 * what it was, and it has not failed. */
int nb_read_file(int dirfd, const char *path, struct nb_buf *ret, struct nb_err *err);
/* Open an existing regular file for reading; anything else, such as a FIFO
 * that nobody writes to, is -NB_E_INVALID without waiting.  flags are added.
 * Answers the descriptor, the caller's, with *ret_st filled, or < 0. */
struct stat;
int nb_open_regular(int dirfd, const char *path, int flags, struct stat *ret_st,
                    struct nb_err *err);
/* nb_read_file() of one that is open: what is left of it, of about size bytes.
 * path is for texts. */
int nb_read_open(int fd, uint64_t size, const char *path, struct nb_buf *ret, struct nb_err *err);
/* Write path atomically: temporary file beside it (".nbcid-*.tmp"), fsync of
 * file and directory when sync, rename.  mode is exact, whatever the umask.  A
 * symbolic link at path is replaced, not followed. */
int nb_write_file(int dirfd, const char *path, const void *p, size_t n, unsigned mode, bool sync,
                  struct nb_err *err);
/* mkdir -p; existing directories, and links to some, are fine.  mode, less the
 * umask, is that of every directory made.  -NB_E_CONFLICT when path exists and
 * is no directory. */
int nb_mkdirs(int dirfd, const char *path, unsigned mode, struct nb_err *err);
/* Open a path from a stranger below dirfd: openat2(RESOLVE_BENEATH |
 * RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS), O_CLOEXEC added.  mode counts
 * with O_CREAT only.  fd, the caller's, or < 0; -NB_E_DENIED when the path goes
 * through a symbolic link or leaves dirfd.  Pass O_NONBLOCK where a FIFO may
 * lie in wait. */
int nb_open_beneath(int dirfd, const char *path, int flags, unsigned mode, struct nb_err *err);
/* Remove path and all below it without following symlinks; a missing path is
 * success; directories without write permission are opened up first.  Any
 * depth up to 2^20, with at most 20 descriptors.  Stops at the first thing that
 * cannot be removed; -NB_E_CONFLICT at a mount point, which is not entered.
 * -NB_E_INVALID when path ends in no name ("/", ".", "..").  Whoever writes
 * there should have ended. */
int nb_rm_tree(int dirfd, const char *path, struct nb_err *err);
/* Make dst (in dst_dirfd) name the same content as src: a hard link, or a copy
 * where links cannot be; replaces dst atomically.  src must be a regular file,
 * not a symbolic link; a copy has its permissions and is not flushed to disk. */
int nb_link_or_copy(int src_dirfd, const char *src, int dst_dirfd, const char *dst,
                    struct nb_err *err);
/* Free bytes for us on the file system of path (bounded). */
int nb_free_bytes(const char *path, uint64_t *ret, struct nb_err *err);
/* Write all n bytes to fd, through short writes and EINTR; fd is blocking. */
int nb_write_all(int fd, const void *p, size_t n, struct nb_err *err);
