/* SPDX-License-Identifier: Apache-2.0 */

/* changes.c - `changes MIRROR BEFORE AFTER`: the changed notebooks of a push,
 * as the git helper finds them; for a race with git diff-tree */

#include <stdio.h>

#include "../src/git/git-priv.h"

int main(int argc, char **argv)
{
        struct nb_err err;
        size_t n;

        if (argc != 4) {
                fprintf(stderr, "usage: changes MIRROR BEFORE AFTER\n");
                return 2;
        }
        if (git_changes_of(argv[1], argv[2], argv[3], &n, &err) < 0) {
                fprintf(stderr, "%s\n", err.msg);
                return 1;
        }
        printf("%zu\n", n);
        return 0;
}
