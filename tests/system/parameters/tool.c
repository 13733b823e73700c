/* SPDX-License-Identifier: Apache-2.0 */

/*
 * tool.c - edits of notebooks for tests in other languages: standard input to
 * standard output
 *
 * tool set KEY JSON | tool inject LANGUAGE JSON.  Exit status: what the
 * function answers, or 2 with its text on standard error.
 */

#include <stdio.h>

#include <nbcid/buf.h>
#include <nbcid/notebook.h>
#include <nbcid/str.h>

#define MAX ((size_t)64 * 1024 * 1024)

int main(int argc, char **argv)
{
        nb_auto_buf in = NB_BUF(MAX), out = NB_BUF(MAX);
        struct nb_err err = {0};
        char piece[65536];
        size_t n;
        int r;

        if (argc != 4)
                return 2;
        while ((n = fread(piece, 1, sizeof(piece), stdin)) > 0)
                if (nb_buf_append(&in, piece, n) < 0)
                        return 2;
        if (nb_streq(argv[1], "set"))
                r = notebook_set_metadata("stdin", nb_buf_str(&in), in.len, argv[2], argv[3], &out,
                                          &err);
        else
                r = notebook_inject("stdin", nb_buf_str(&in), in.len, argv[3], argv[2], &out, &err);
        if (r < 0) {
                fprintf(stderr, "%s\n", err.msg);
                return 2;
        }
        return fwrite(nb_buf_str(&out), 1, out.len, stdout) == out.len ? r : 2;
}
