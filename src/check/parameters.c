/* SPDX-License-Identifier: Apache-2.0 */

/* parameters.c - is there a cell for the parameters that were declared, and
 * does it know them? */

#include <string.h>

#include "check-priv.h"

static bool is_name(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '.' || (unsigned char)c >= 0x80;
}

static size_t blanks(const char *s, size_t n)
{
        size_t i = 0;

        while (i < n && (s[i] == ' ' || s[i] == '\t'))
                i++;
        return i;
}

static size_t name_len(const char *s, size_t n)
{
        size_t i = 0;

        while (i < n && is_name(s[i]))
                i++;
        return i;
}

/* Bytes of a word that may stand before a name (Bash, Julia). */
static size_t keyword(const char *s, size_t n)
{
        static const char *const words[] = {"export ",   "declare ", "local ",
                                            "readonly ", "const ",   "global "};

        for (size_t i = 0; i < NB_ARRAY_SIZE(words); i++)
                if (n >= strlen(words[i]) && memcmp(s, words[i], strlen(words[i])) == 0)
                        return strlen(words[i]);
        return 0;
}

/* Does `=` or `<-`, maybe after a type, follow? */
static bool is_assigned(const char *s, size_t n)
{
        size_t i = blanks(s, n);

        if (i < n && s[i] == ':') {
                while (i < n && s[i] != '=')
                        i++;
        }
        if (n - i >= 2 && s[i] == '<' && (s[i + 1] == '-' || s[i + 1] == '<'))
                return true;
        return i < n && s[i] == '=' && (i + 1 == n || s[i + 1] != '=');
}

/* Does the line (of n bytes) assign it: name = ..., a, name = ..., name: int =
 * ..., name <- ...? */
static bool line_assigns(const char *s, size_t n, const char *name)
{
        bool seen = false;
        size_t i = blanks(s, n);

        for (i += keyword(s + i, n - i);;) {
                size_t len = name_len(s + i, n - i);

                if (len == 0)
                        return false;
                seen = seen || (len == strlen(name) && memcmp(s + i, name, len) == 0);
                i += len;
                i += blanks(s + i, n - i);
                if (i >= n || s[i] != ',')
                        return seen && is_assigned(s + i, n - i);
                i++;
                i += blanks(s + i, n - i);
        }
}

static bool cell_assigns(const struct notebook_cell *c, const char *name)
{
        const char *s = c->source, *end = c->source + c->n;

        while (s < end) {
                const char *newline = memchr(s, '\n', (size_t)(end - s));
                const char *eol = newline ? newline : end;

                /* a = 1; b = 2 */
                for (const char *semi; (semi = memchr(s, ';', (size_t)(eol - s))); s = semi + 1)
                        if (line_assigns(s, (size_t)(semi - s), name))
                                return true;
                if (line_assigns(s, (size_t)(eol - s), name))
                        return true;
                s = eol + 1;
        }
        return false;
}

int check_parameters(struct checking *k, struct nb_err *err)
{
        const char *const *names = k->job->parameters;
        int64_t cell = 0;
        int r = 0;

        if (!names || !*names)
                return 0;
        for (size_t i = 0; !cell && i < k->source.n; i++)
                if (k->source.cells[i].type == NOTEBOOK_CODE &&
                    nb_strv_has(&k->source.cells[i].tags, "parameters"))
                        cell = (int64_t)i + 1;
        if (!cell)
                return found_in_file(k, k->levels->parameters, "parameters", 0,
                                     (struct nb_json_pos){0},
                                     nb_strdup("parameters are declared, and no cell is tagged "
                                               "\"parameters\""),
                                     "tag the cell that holds the defaults in Jupyter, or take the "
                                     "parameters out of .nbcid.toml",
                                     err);
        for (; r == 0 && *names; names++)
                if (!cell_assigns(&k->source.cells[cell - 1], *names))
                        r = found_in_cell(k, k->levels->parameters_unknown, "parameters_unknown",
                                          cell, 0, 0,
                                          nb_asprintf("parameter \"%.100s\" is declared, and this "
                                                      "cell does not assign it",
                                                      *names),
                                          "give it a default in the cell, or mend its name in "
                                          ".nbcid.toml",
                                          err);
        return r;
}
