/* SPDX-License-Identifier: Apache-2.0 */

/* render.c - findings for people, and for GitHub's log */

#include <string.h>

#include "check-priv.h"

#define BOLD "\x1b[1m"
#define RED "\x1b[1;31m"
#define YELLOW "\x1b[1;33m"
#define GREEN "\x1b[1;32m"
#define PLAIN "\x1b[0m"

/* The reader of a log of GitHub Actions takes a line that begins with "::", after spaces, for a
 * command, and "##[" wherever it stands.  What a stranger wrote is neither: the latter is parted
 * by a character that has no width, lines of source have a bar in front. */
#define COMMAND "##["
#define BAR "  | "

static void put_harmless(struct nb_buf *b, const char *s)
{
        const char *command;

        while ((command = strstr(s, COMMAND))) {
                nb_buf_append(b, s, (size_t)(command + 2 - s));
                (void)nb_buf_puts(b, "\xe2\x81\xa0");
                s = command + 2;
        }
        (void)nb_buf_puts(b, s);
}

/* Names of files may hold anything. */
static void put_clean(struct nb_buf *b, const char *s)
{
        nb_auto_free char *clean = nb_utf8_clean(s, strlen(s), true);

        put_harmless(b, clean ? clean : "?");
}

/* At the beginning of a line. */
static void put_name(struct nb_buf *b, const char *name)
{
        if (strstr(name, "::") && name[0] != '/' && name[0] != '.')
                (void)nb_buf_puts(b, "./");
        put_clean(b, name);
}

/* "train.ipynb:41:9: ", which editors jump to, or as much of it as is known. */
static void put_file_place(struct nb_buf *b, const char *name, const struct finding *f)
{
        put_name(b, name);
        if (f->line > 0)
                (void)nb_buf_printf(b, ":%zu", f->line);
        if (f->line > 0 && f->column > 0)
                (void)nb_buf_printf(b, ":%zu", f->column);
        (void)nb_buf_putc(b, ':');
}

/* "cell 3 line 2: ", or "cell 3, cells[2].outputs: ": a file may be one line. */
static void put_place(struct nb_buf *b, const struct finding *f)
{
        const bool path = f->path && *f->path;

        if (f->cell > 0)
                (void)nb_buf_printf(b, "cell %lld", (long long)f->cell);
        if (f->cell > 0 && f->cell_line > 0)
                (void)nb_buf_printf(b, " line %zu", f->cell_line);
        if (f->cell > 0 && path)
                (void)nb_buf_puts(b, ", ");
        if (path)
                put_clean(b, f->path);
        if (f->cell > 0 || path)
                (void)nb_buf_puts(b, ": ");
}

/* Below the column, counted in characters; tabs stay tabs, so that it stands
 * right whatever they are worth. */
static void put_caret(struct nb_buf *b, const struct finding *f, const char *on, const char *off)
{
        size_t column = f->text_column ? f->text_column : 1;
        const char *s = f->text;

        if (f->cell_column == 0)
                return;
        (void)nb_buf_puts(b, BAR);
        for (; *s && column < f->cell_column; s++) {
                if (((unsigned char)*s & 0xc0) == 0x80)
                        continue;
                (void)nb_buf_putc(b, *s == '\t' ? '\t' : ' ');
                column++;
        }
        (void)nb_buf_printf(b, "%s^%s\n", on, off);
}

void check_render_human(const char *name, const struct findings *f, bool colour, struct nb_buf *ret)
{
        const char *bold = colour ? BOLD : "", *off = colour ? PLAIN : "";

        for (size_t i = 0; i < f->n; i++) {
                const struct finding *x = &f->v[i];
                const char *on = !colour ? "" : x->severity == FINDING_ERROR ? RED : YELLOW;

                (void)nb_buf_puts(ret, bold);
                put_file_place(ret, name, x);
                (void)nb_buf_printf(ret, "%s ", off);
                put_place(ret, x);
                (void)nb_buf_printf(ret, "%s%s[%s]:%s ", on, finding_severity_name(x->severity),
                                    x->rule, off);
                put_clean(ret, x->message ? x->message : "");
                (void)nb_buf_putc(ret, '\n');
                if (x->text) {
                        (void)nb_buf_puts(ret, BAR);
                        put_harmless(ret, x->text);
                        (void)nb_buf_putc(ret, '\n');
                        put_caret(ret, x, colour ? GREEN : "", off);
                }
                if (x->remedy)
                        (void)nb_buf_printf(ret, "  remedy: %s\n", x->remedy);
        }
        if (f->more > 0) {
                put_name(ret, name);
                (void)nb_buf_printf(ret, ": and %zu more\n", f->more);
        }
}

/* What GitHub's runner decodes: %, \r and \n in the message, : and , in
 * properties as well. */
static void put_command_text(struct nb_buf *b, const char *s, bool property)
{
        for (; *s; s++) {
                if (strchr("%\r\n", *s) || (property && strchr(":,", *s)))
                        (void)nb_buf_printf(b, "%%%02X", (unsigned char)*s);
                else
                        (void)nb_buf_putc(b, *s);
        }
}

void check_render_github(const char *name, const struct findings *f, struct nb_buf *ret)
{
        for (size_t i = 0; i < f->n; i++) {
                const struct finding *x = &f->v[i];

                (void)nb_buf_printf(ret, "::%s file=", finding_severity_name(x->severity));
                put_command_text(ret, name, true);
                if (x->line > 0)
                        (void)nb_buf_printf(ret, ",line=%zu", x->line);
                if (x->line > 0 && x->column > 0)
                        (void)nb_buf_printf(ret, ",col=%zu", x->column);
                (void)nb_buf_puts(ret, ",title=");
                put_command_text(ret, x->rule, true);
                (void)nb_buf_puts(ret, "::");
                if (x->cell > 0)
                        (void)nb_buf_printf(ret, "cell %lld", (long long)x->cell);
                if (x->cell > 0 && x->cell_line > 0)
                        (void)nb_buf_printf(ret, " line %zu", x->cell_line);
                if (x->cell > 0)
                        (void)nb_buf_puts(ret, ": ");
                put_command_text(ret, x->message ? x->message : "", false);
                if (x->path && *x->path) {
                        (void)nb_buf_puts(ret, "%0A");
                        put_command_text(ret, x->path, false);
                }
                if (x->remedy) {
                        (void)nb_buf_puts(ret, "%0A");
                        put_command_text(ret, x->remedy, false);
                }
                (void)nb_buf_putc(ret, '\n');
        }
}
