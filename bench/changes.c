/* SPDX-License-Identifier: Apache-2.0 */

/* changes.c - `changes MIRROR BEFORE AFTER TIMES`: the changed notebooks of a
 * push, as the git helper finds them, so many times; for a race with git
 * diff-tree --stdin.  The mirror is opened anew each time, as by a helper. */

#include <stdio.h>

#include <nbcid/num.h>

#include "../src/git/git-priv.h"

int main(int argc, char **argv)
{
        struct nb_err err;
        uint64_t times;
        size_t n = 0;

        if (argc != 5 || nb_parse_u64(argv[4], 1, 1000, &times, NULL) < 0) {
                fprintf(stderr, "usage: changes MIRROR BEFORE AFTER TIMES\n");
                return 2;
        }
        while (times-- > 0)
                if (git_changes_of(argv[1], argv[2], argv[3], &n, &err) < 0) {
                        fprintf(stderr, "%s\n", err.msg);
                        return 1;
                }
        printf("%zu\n", n);
        return 0;
}
