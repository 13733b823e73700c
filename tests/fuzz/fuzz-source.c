/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes as a notebook whose sources are asked for: what the head takes,
 * the source reader takes, and each line of each cell is found in the file,
 * one after the other, with the very character that the cell has.
 */

#include <string.h>

#include <nbcid/notebook.h>

#include "fuzz.h"

#define MAX_BYTES (1 << 16)

static int hear(void *arg, int64_t cell, const char *s, size_t n, struct nb_json_pos at,
                struct nb_err *err)
{
        size_t *last = arg;

        PROPERTY(cell > 0 && at.line > 0 && at.offset > *last);
        *last = at.offset;
        return 0;
}

static void check_cell(const char *p, size_t n, const struct notebook_cell *c)
{
        const char *s = c->source, *end = c->source + c->n;
        size_t line = 1, last = 0;

        PROPERTY(*end == '\0');
        for (;;) {
                const char *newline = memchr(s, '\n', (size_t)(end - s));
                struct nb_json_pos at = notebook_place(p, n, c, line, 1);

                PROPERTY(at.line > 0 && at.offset < n && at.offset > last);
                PROPERTY(at.column <= at.offset + 1);
                /* an escape stands for another character */
                if (s < end && p[at.offset] != '\\')
                        PROPERTY(p[at.offset] == *s);
                last = at.offset;
                if (!newline)
                        break;
                s = newline + 1;
                line++;
                /* a last line without characters ends where the one before does */
                if (s == end)
                        break;
        }
        PROPERTY(notebook_place(p, n, c, line + 1 + (s == end), 1).line == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *p = (const char *)data;
        struct notebook_head h;
        struct notebook_source s;
        struct nb_err err = {0};
        size_t last = 0;
        int r_head = notebook_read_head("fuzz.ipynb", p, size, MAX_BYTES, &h, &err);
        int r = notebook_source_read("fuzz.ipynb", p, size, MAX_BYTES, hear, &last, &s, &err);

        if (r_head == 0) {
                PROPERTY(r == 0 && s.n == (size_t)h.cells);
                notebook_head_done(&h);
        }
        if (r < 0) {
                PROPERTY(r == -(int)err.code && !strncmp(err.msg, "fuzz.ipynb:", 11));
                return 0;
        }
        for (size_t i = 0; i < s.n; i++)
                check_cell(p, size, &s.cells[i]);
        notebook_source_done(&s);
        return 0;
}
