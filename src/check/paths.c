/* SPDX-License-Identifier: Apache-2.0 */

/*
 * paths.c - paths that exist on one person's machine only
 *
 * Looked for where a string literal begins, and where a word of a magic or a shell command begins.
 * Homes, and where disks and data are mounted: not all that begins with a slash, since code is full
 * of routes of web servers, and places that every machine has (/tmp, /dev, /usr, /etc) are fine.
 * URLs begin otherwise, and comments are nobody's path.
 */

#include <string.h>
#include <strings.h>

#include "check-priv.h"

#define SHOWN_MAX 80 /* bytes of a path */
#define REMEDY "use a path relative to the notebook, or a parameter"

static bool begins(const char *s, size_t n, const char *with)
{
        return n >= strlen(with) && memcmp(s, with, strlen(with)) == 0;
}

static bool is_letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Does a name begin there?  "/home/" alone may be part of one that is put
 * together. */
static bool is_named(char c)
{
        return c && !strchr("'\" \t\n", c);
}

/* Bytes of the path that begins there, as far as it is shown; 0 for none. */
static size_t path_at(const char *s, size_t n, char quote)
{
        static const char *const homes[] = {
                "/home/", "/Users/",   "/root/",  "~/",     "$HOME/",     "${HOME}/",
                "/mnt/",  "/Volumes/", "/media/", "/data/", "/datasets/", "/scratch/",
                "/srv/",  "/opt/",     "/nfs/",   "/gpfs/", "/lustre/",   "/workspace/",
                "/dbfs/", "/content/", "/kaggle/"};
        bool found = false;
        size_t i = begins(s, n, "file://") ? 7 : 0;
        size_t len = i;

        for (size_t h = 0; !found && h < NB_ARRAY_SIZE(homes); h++)
                found = begins(s + i, n - i, homes[h]) && is_named(s[i + strlen(homes[h])]);
        /* C:\Users, C:/Users; not "a:/", nor a time */
        found = found || (n - i > 3 && is_letter(s[i]) && s[i + 1] == ':' &&
                          (s[i + 2] == '\\' || (s[i + 2] == '/' && s[i + 3] != '/')));
        if (!found)
                return 0;
        while (len < n && len < SHOWN_MAX && s[len] != quote && s[len] != '\n' &&
               (quote || (s[len] != ' ' && s[len] != '\t')))
                len++;
        return len;
}

struct scan {
        struct checking *k;
        int64_t cell;
        const char *s;
        size_t n, at;
        size_t line, bol;    /* where at is */
        size_t told, column; /* where the last one was, so that a long line is counted once */
};

static int tell(struct scan *x, size_t begin, size_t len, struct nb_err *err)
{
        if (x->told < x->bol || x->column == 0) {
                x->told = x->bol;
                x->column = 1;
        }
        for (; x->told < begin; x->told++)
                x->column += ((unsigned char)x->s[x->told] & 0xc0) != 0x80;
        while (len > 0 && ((unsigned char)x->s[begin + len] & 0xc0) == 0x80)
                len--; /* it was cut inside of a character */
        return found_in_cell(
                x->k, x->k->levels->absolute_paths, "absolute_paths", x->cell, x->line, x->column,
                nb_asprintf("the path %.*s is one of another machine", (int)len, x->s + begin),
                REMEDY, err);
}

/* Past a string whose quote is at x->at. */
static int scan_string(struct scan *x, bool multiline, struct nb_err *err)
{
        const char q = x->s[x->at], triple[] = {q, q, q, '\0'};
        const bool three = multiline && begins(x->s + x->at, x->n - x->at, triple);
        size_t len;
        int r = 0;

        x->at += three ? 3 : 1;
        len = path_at(x->s + x->at, x->n - x->at, q);
        if (len > 0)
                r = tell(x, x->at, len, err);
        while (r == 0 && x->at < x->n) {
                if (x->s[x->at] == '\\' && x->at + 1 < x->n) {
                        x->at++;
                } else if (three ? begins(x->s + x->at, x->n - x->at, triple) : x->s[x->at] == q) {
                        x->at += three ? 3 : 1;
                        return 0;
                } else if (x->s[x->at] == '\n' && !three) {
                        return 0; /* unterminated: syntax.c's business */
                }
                if (x->s[x->at] == '\n') {
                        x->line++;
                        x->bol = x->at + 1;
                }
                x->at++;
        }
        return r;
}

/* A magic or a shell command, up to the end of the line or a comment. */
static int scan_command(struct scan *x, struct nb_err *err)
{
        bool word = true, quiet = false;
        int r = 0;

        for (; r == 0 && x->at < x->n && x->s[x->at] != '\n'; x->at++) {
                if (word && x->s[x->at] == '#')
                        quiet = true;
                size_t len = word && !quiet ? path_at(x->s + x->at, x->n - x->at, '\0') : 0;

                if (len > 0)
                        r = tell(x, x->at, len, err);
                word = x->s[x->at] && strchr(" \t='\"<>|;(", x->s[x->at]);
        }
        return r;
}

static int scan_shell(struct scan *x, struct nb_err *err)
{
        int r = 0;

        while (r == 0 && x->at < x->n) {
                r = scan_command(x, err);
                x->at++;
                x->line++;
                x->bol = x->at;
        }
        return r;
}

/* Is it a cell magic whose body is the shell's? */
static bool is_shell(const char *s, size_t n)
{
        static const char *const magics[] = {"%%bash", "%%sh",     "%%script",
                                             "%%!",    "%%system", "%%sx"};
        size_t i = 0;

        while (i < n && s[i] && strchr(" \t\r\n", s[i]))
                i++;
        for (size_t m = 0; m < NB_ARRAY_SIZE(magics); m++) {
                size_t len = strlen(magics[m]);

                if (begins(s + i, n - i, magics[m]) &&
                    (i + len == n || !(is_letter(s[i + len]) || s[i + len] == '_')))
                        return true;
        }
        return false;
}

/* Code of Python, or of another language (python false), of which string literals
 * are known. */
static int scan_cell(struct scan *x, bool python, struct nb_err *err)
{
        bool fresh = true; /* nothing but blanks on this line yet, or behind a = */
        int r = 0;

        while (r == 0 && x->at < x->n) {
                char c = x->s[x->at];

                if (fresh && python && (c == '%' || c == '!')) {
                        r = scan_command(x, err);
                } else if (c == '#') {
                        while (x->at < x->n && x->s[x->at] != '\n')
                                x->at++;
                } else if (c == '"' || c == '\'') {
                        r = scan_string(x, python, err);
                        fresh = false;
                } else {
                        x->at++;
                        if (c == '\n') {
                                x->line++;
                                x->bol = x->at;
                        }
                        fresh = c == '\n' || c == '=' || (fresh && (c == ' ' || c == '\t'));
                }
        }
        return r;
}

int check_paths(struct checking *k, struct nb_err *err)
{
        const bool python = notebook_language_is_python(k->source.language),
                   shell = strcasecmp(k->source.language, "bash") == 0;
        int r = 0;

        if (k->levels->absolute_paths == CHECK_OFF)
                return 0;
        for (size_t i = 0; r == 0 && i < k->source.n; i++) {
                const struct notebook_cell *c = &k->source.cells[i];
                struct scan x = {
                        .k = k, .cell = (int64_t)i + 1, .s = c->source, .n = c->n, .line = 1};

                if (c->type != NOTEBOOK_CODE)
                        continue;
                r = shell || (python && is_shell(c->source, c->n)) ? scan_shell(&x, err)
                                                                   : scan_cell(&x, python, err);
        }
        return r;
}
