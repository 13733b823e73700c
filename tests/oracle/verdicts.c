/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads notebooks from standard input, each as its length in bytes, a newline
 * and the bytes; for each, checks the format and writes a line of JSON:
 *
 *         {"findings":[{"severity":"error","rule":"format/type","line":3,
 *          "column":9,"cell":1,"path":"cells[0].id","message":"..."}],"more":0}
 *
 * Each is fed in pieces of an odd size, and again as a whole; what is found
 * must be the same.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nbcid/buf.h>
#include <nbcid/json.h>
#include <nbcid/mem.h>
#include <nbcid/notebook.h>

#define KEPT_MAX 1000
#define PIECE 4093
#define BYTES_MAX ((size_t)256 << 20)

_Noreturn static void give_up(const char *why)
{
        fprintf(stderr, "verdicts: %s\n", why);
        exit(1);
}

static void read_text(size_t n, struct nb_buf *b)
{
        if (nb_buf_reserve(b, n) < 0)
                give_up("the notebook is too large");
        if (fread(b->data, 1, n, stdin) != n)
                give_up("the input ends inside a notebook");
        b->len = n;
}

static void check_pieces(const struct nb_buf *b, struct findings *to)
{
        struct notebook_format *f;
        struct nb_err err;
        int r = notebook_format_new(BYTES_MAX, to, &f, &err);

        for (size_t i = 0; r == 0 && i < b->len; i += PIECE)
                r = notebook_format_feed(f, b->data + i, b->len - i < PIECE ? b->len - i : PIECE,
                                         &err);
        if (r == 0)
                r = notebook_format_end(f, &err);
        if (r < 0)
                give_up(err.msg);
        notebook_format_free(f);
}

static bool same(const struct finding *a, const struct finding *b)
{
        return a->severity == b->severity && strcmp(a->rule, b->rule) == 0 && a->line == b->line &&
               a->column == b->column && a->cell == b->cell;
}

static void put(struct nb_json_out *o, const struct findings *f)
{
        nb_json_key(o, "findings");
        nb_json_open_array(o);
        for (size_t i = 0; i < f->n; i++) {
                const struct finding *v = &f->v[i];

                nb_json_open_object(o);
                nb_json_kv_str(o, "severity", v->severity == FINDING_ERROR ? "error" : "warning");
                nb_json_kv_str(o, "rule", v->rule);
                nb_json_kv_int(o, "line", (int64_t)v->line);
                nb_json_kv_int(o, "column", (int64_t)v->column);
                nb_json_kv_int(o, "cell", v->cell);
                nb_json_kv_str(o, "path", v->path);
                nb_json_kv_str(o, "message", v->message);
                nb_json_kv_str(o, "remedy", v->remedy);
                nb_json_close(o);
        }
        nb_json_close(o);
        nb_json_kv_int(o, "more", (int64_t)f->more);
}

static void check(size_t n)
{
        NB_CLEANUP(findings_done) struct findings whole = {.max = KEPT_MAX};
        NB_CLEANUP(findings_done) struct findings pieces = {.max = KEPT_MAX};
        nb_auto_buf text = NB_BUF(BYTES_MAX), out = NB_BUF(BYTES_MAX);
        struct nb_json_out o = NB_JSON_OUT(&out);
        struct nb_err err;

        read_text(n, &text);
        if (notebook_check_format(nb_buf_str(&text), text.len, BYTES_MAX, &whole, &err) < 0)
                give_up(err.msg);
        check_pieces(&text, &pieces);
        if (whole.n != pieces.n || whole.more != pieces.more)
                give_up("in pieces, another number of findings");
        for (size_t i = 0; i < whole.n; i++)
                if (!same(&whole.v[i], &pieces.v[i]))
                        give_up("in pieces, other findings");
        nb_json_open_object(&o);
        put(&o, &whole);
        nb_json_close(&o);
        if (out.failed || puts(nb_buf_str(&out)) == EOF)
                give_up("cannot write what was found");
        fflush(stdout);
}

int main(void)
{
        size_t n;

        /* the newline belongs to the length, white space after it to the notebook */
        while (scanf("%zu", &n) == 1 && getchar() == '\n')
                check(n);
        return feof(stdin) ? 0 : 1;
}
