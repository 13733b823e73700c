/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * spawn.h - our own binary as a helper process
 *
 * By posix_spawn alone, as the caller may be one of several threads; what must
 * be done inside the child is done by our own code.
 */

#include <sys/types.h>

#include <nbcid/err.h>

/* Starts the running binary (or $NBCID_SELF, for tests) with these arguments
 * and this environment, all of it: descriptors 0 to 2 are fds (borrowed) and
 * there are no others, "/" is its directory, its process group is its own, no
 * signal is blocked or ignored.  *ret is the caller's to wait for, and the
 * group's to kill.  what names it in errors: "git helper".  Any thread; does
 * not block.  NB_E_IO. */
int nb_spawn_self(const char *what, char *const argv[], char *const env[], const int fds[3],
                  pid_t *ret, struct nb_err *err);
