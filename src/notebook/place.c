/* SPDX-License-Identifier: Apache-2.0 */

/*
 * place.c - from a line of a cell back to the file
 *
 * A source is a string, or an array of strings, in JSON that was found well.
 * It is read again from where it begins, for the few places that are asked
 * for: keeping the place of every line would cost more than the sources.
 */

#include <nbcid/notebook.h>

struct placing {
        const char *p;
        size_t n;
        struct nb_json_pos pos;    /* in the file */
        size_t line, column;       /* in the cell, of what stands there */
        size_t to_line, to_column; /* what is looked for */
        struct nb_json_pos end;    /* of the string that was read last */
};

static void step(struct placing *x, size_t bytes)
{
        x->pos.offset += bytes;
        x->pos.column += bytes;
}

static unsigned hex4(const char *s)
{
        unsigned v = 0;

        for (int i = 0; i < 4; i++) {
                unsigned c = (unsigned char)s[i] | 0x20U;
                v = v * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
        }
        return v & 0xffffU;
}

/* Bytes in the file of the character at s, of which left remain; *ret_newline:
 * it is a line's end. */
static size_t character(const char *s, size_t left, bool *ret_newline)
{
        size_t n = 1;
        unsigned unit;

        *ret_newline = false;
        if (*s != '\\') {
                while (n < left && ((unsigned char)s[n] & 0xc0) == 0x80)
                        n++;
                return n;
        }
        if (left < 2 || s[1] != 'u' || left < 6) {
                *ret_newline = left >= 2 && s[1] == 'n';
                return left < 2 ? left : 2;
        }
        unit = hex4(s + 2);
        *ret_newline = unit == '\n';
        return (unit & 0xfc00U) == 0xd800U && left >= 12 ? 12 : 6;
}

/* One string, whose quote stands at pos.  Is the place in it? */
static bool place_string(struct placing *x)
{
        bool newline;

        step(x, 1);
        while (x->pos.offset < x->n && x->p[x->pos.offset] != '"') {
                size_t len = character(x->p + x->pos.offset, x->n - x->pos.offset, &newline);

                if (x->line == x->to_line && (x->column >= x->to_column || newline))
                        return true;
                x->column++;
                if (newline) {
                        x->line++;
                        x->column = 1;
                }
                step(x, len);
        }
        x->end = x->pos;
        if (x->pos.offset < x->n)
                step(x, 1);
        return false;
}

struct nb_json_pos notebook_place(const char *p, size_t n, const struct notebook_cell *c,
                                  size_t line, size_t column)
{
        struct placing x = {.p = p,
                            .n = n,
                            .pos = c->at,
                            .line = 1,
                            .column = 1,
                            .to_line = line,
                            .to_column = column ? column : 1,
                            .end = c->at};
        bool array = c->at.offset < n && p[c->at.offset] == '[';

        if (array)
                step(&x, 1);
        while (x.pos.offset < n && p[x.pos.offset] != ']') {
                char ch = p[x.pos.offset];

                if (ch == '"') {
                        if (place_string(&x))
                                return x.pos;
                        if (!array)
                                break;
                        continue;
                }
                step(&x, 1);
                if (ch == '\n') {
                        x.pos.line++;
                        x.pos.column = 1;
                }
        }
        /* the end of the last line, or of none */
        return x.line == line ? x.end : (struct nb_json_pos){0};
}
