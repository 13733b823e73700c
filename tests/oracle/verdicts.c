/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads paths, one a line, from standard input; for each, checks the format
 * and writes one line of JSON:
 *
 *         {"path":"a.ipynb","findings":[{"severity":"error","rule":"format/type",
 *          "line":3,"column":9,"path":"cells[0].id","message":"..."}],"more":0}
 *
 * Each notebook is fed in pieces of an odd size, and again as a whole; what is
 * found must be the same.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nbcid/buf.h>
#include <nbcid/json.h>
#include <nbcid/mem.h>
#include <nbcid/notebook.h>

#define KEPT_MAX 20
#define PIECE 4093
#define BYTES_MAX ((size_t)256 << 20)

_Noreturn static void give_up(const char *path, const char *why)
{
        fprintf(stderr, "%s: %s\n", path, why);
        exit(1);
}

static void read_file(const char *path, struct nb_buf *b)
{
        nb_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        if (fd < 0)
                give_up(path, "cannot open it");
        do {
                if (nb_buf_reserve(b, 1 << 16) < 0)
                        give_up(path, "too large");
                n = read(fd, b->data + b->len, 1 << 16);
                if (n < 0)
                        give_up(path, "cannot read it");
                b->len += (size_t)n;
        } while (n > 0);
}

static void check_pieces(const char *path, const struct nb_buf *b, struct findings *to)
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
                give_up(path, err.msg);
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

static void check(const char *path)
{
        NB_CLEANUP(findings_done) struct findings whole = {.max = KEPT_MAX};
        NB_CLEANUP(findings_done) struct findings pieces = {.max = KEPT_MAX};
        nb_auto_buf text = NB_BUF(BYTES_MAX), out = NB_BUF(1 << 20);
        struct nb_json_out o = NB_JSON_OUT(&out);
        struct nb_err err;

        read_file(path, &text);
        if (notebook_check_format(nb_buf_str(&text), text.len, BYTES_MAX, &whole, &err) < 0)
                give_up(path, err.msg);
        check_pieces(path, &text, &pieces);
        if (whole.n != pieces.n || whole.more != pieces.more)
                give_up(path, "in pieces, another number of findings");
        for (size_t i = 0; i < whole.n; i++)
                if (!same(&whole.v[i], &pieces.v[i]))
                        give_up(path, "in pieces, other findings");
        nb_json_open_object(&o);
        nb_json_kv_str(&o, "path", path);
        put(&o, &whole);
        nb_json_close(&o);
        if (out.failed || puts(nb_buf_str(&out)) == EOF)
                give_up(path, "cannot write what was found");
}

int main(void)
{
        char *line = NULL;
        size_t cap = 0;
        ssize_t n;

        while ((n = getline(&line, &cap, stdin)) > 0) {
                if (line[n - 1] == '\n')
                        line[n - 1] = '\0';
                check(line);
        }
        free(line);
        return 0;
}
