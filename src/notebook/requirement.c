/* SPDX-License-Identifier: Apache-2.0 */
/* one line of a requirements file to its normal form, and what it may not do */
#include "requirements.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <nbcid/str.h>

#include "text.h"

/* ---- errors and output ---- */

/* What stands between "://" and '@' is nobody's business. */
static void redact(char *s)
{
        for (char *p = s; (p = strstr(p, "://"));) {
                size_t n, at = 0;

                p += 3;
                n = strcspn(p, "/?# \t");
                for (size_t i = 0; i < n; i++)
                        if (p[i] == '@')
                                at = i;
                memset(p, '*', at);
        }
}

int reading_refuse(const char *where, const char *line, struct nb_err *err, const char *fmt, ...)
{
        nb_auto_free char *shown = nb_strndup(line, strnlen(line, 4096));
        char text[400];
        va_list ap;

        if (!shown)
                return nb_fail(err, NB_E_NOMEM, "no memory for requirements");
        redact(shown);
        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        return nb_fail(err, NB_E_INVALID, "%s: \"%.*s\" %s", where,
                       text_shown(shown, strlen(shown)), shown, text);
}

static int full(int r, const char *where, struct nb_err *err)
{
        if (r == -NB_E_LIMIT)
                return nb_fail(err, NB_E_LIMIT,
                               "%s: the requirements are over %zu bytes; list what the notebook "
                               "imports, not everything that is installed",
                               where, REQUIREMENTS_MAX);
        return r < 0 ? nb_fail(err, NB_E_NOMEM, "no memory for requirements") : 0;
}

/* ---- options ---- */

enum option_kind {
        OPTION_FOLLOW,
        OPTION_CONSTRAIN,
        OPTION_EDITABLE,
        OPTION_INDEX,
        OPTION_NO_INDEX,
        OPTION_HASH,
        OPTION_VALUE,
        OPTION_FLAG,
};

static const struct option {
        const char *name;
        char letter;
        enum option_kind kind;
} options[] = {
        {"requirement", 'r', OPTION_FOLLOW},
        {"constraint", 'c', OPTION_CONSTRAIN},
        {"editable", 'e', OPTION_EDITABLE},
        {"index-url", 'i', OPTION_INDEX},
        {"pypi-url", 0, OPTION_INDEX},
        {"extra-index-url", 0, OPTION_INDEX},
        {"find-links", 'f', OPTION_INDEX},
        {"trusted-host", 0, OPTION_INDEX},
        {"no-index", 0, OPTION_NO_INDEX},
        {"hash", 0, OPTION_HASH},
        {"no-binary", 0, OPTION_VALUE},
        {"only-binary", 0, OPTION_VALUE},
        {"pre", 0, OPTION_FLAG},
        {"prefer-binary", 0, OPTION_FLAG},
        {"require-hashes", 0, OPTION_FLAG},
};

/* The options of one line, word for word. */
struct words {
        const char *where, *line; /* for errors */
        const char *p;
        struct nb_buf word;
};

static void words_done(struct words *w)
{
        nb_buf_done(&w->word);
}

/* 1: one more word, 0: no more.  Quotes are taken off as a shell would. */
static int words_next(struct words *w, struct nb_err *err)
{
        char quote = '\0';

        nb_buf_clear(&w->word);
        w->p += strspn(w->p, " \t");
        if (!*w->p)
                return 0;
        for (; *w->p && (quote || (*w->p != ' ' && *w->p != '\t')); w->p++) {
                if (*w->p == '\\')
                        return reading_refuse(w->where, w->line, err,
                                              "has a backslash; write it without");
                if (quote ? *w->p == quote : *w->p == '"' || *w->p == '\'')
                        quote = quote ? '\0' : *w->p;
                else if (nb_buf_putc(&w->word, *w->p == '\t' ? ' ' : *w->p) < 0)
                        return nb_fail(err, NB_E_NOMEM, "no memory for requirements");
        }
        if (quote)
                return reading_refuse(w->where, w->line, err, "has a quote that is not closed");
        return 1;
}

/* The option that a word names; *ret_value is what is glued to it, or NULL.
 * Shortened names, which pip would take, are not known here. */
static const struct option *option_find(const char *word, const char **ret_value)
{
        *ret_value = NULL;
        for (size_t i = 0; i < NB_ARRAY_SIZE(options); i++) {
                const struct option *o = &options[i];
                size_t n = strlen(o->name);

                if (word[0] == '-' && word[1] == '-') {
                        if (strncmp(word + 2, o->name, n) != 0 ||
                            (word[2 + n] && word[2 + n] != '='))
                                continue;
                        *ret_value = word[2 + n] ? word + 3 + n : NULL;
                        return o;
                }
                if (o->letter && word[0] == '-' && word[1] == o->letter) {
                        *ret_value = word[2] ? word + 2 : NULL;
                        return o;
                }
        }
        return NULL;
}

static bool is_value(const char *s)
{
        return *s && !s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "._-,:")];
}

static bool is_hash(const char *s)
{
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789");

        return n > 0 && s[n] == ':' && s[n + 1] &&
               !s[n + 1 + strspn(s + n + 1, "0123456789abcdefABCDEF")];
}

static int option_editable(struct reading *g, const struct words *w, const char *dir,
                           const char *value, struct nb_err *err)
{
        const char *at;
        unsigned kind;

        if (!(g->allow & REQUIREMENTS_EDITABLE))
                return reading_refuse(w->where, w->line, err,
                                      "is refused: an editable install runs the code of a "
                                      "directory; name a release, or ask the operator for "
                                      "\"editable\" in [environments] allow (nbcid run: --allow "
                                      "editable)");
        kind = direct_kind(value, &at);
        if (kind == 0) /* a bare word is a directory to -e */
                kind = REQUIREMENTS_FILE;
        return direct_check(g, kind, w->where, dir, w->line, at, err);
}

/* One option with its value, which is NULL for flags. */
static int option_apply(struct reading *g, const struct words *w, const char *dir,
                        const struct option *o, const char *value, struct nb_err *err)
{
        struct nb_buf *b = &g->out->text;
        int r = 0;

        switch (o->kind) {
        case OPTION_FOLLOW:
        case OPTION_CONSTRAIN:
                return reading_follow(g, w->where, w->line, dir, value, o->kind == OPTION_CONSTRAIN,
                                      err);
        case OPTION_EDITABLE:
                r = option_editable(g, w, dir, value, err);
                break;
        case OPTION_INDEX:
        case OPTION_NO_INDEX:
                r = direct_check_index(
                        g, w->where, w->line,
                        o->kind == OPTION_NO_INDEX || nb_streq(o->name, "trusted-host") ? "https://"
                                                                                        : value,
                        err);
                break;
        case OPTION_HASH:
                return reading_refuse(w->where, w->line, err,
                                      "is a hash without a requirement; write both on one line");
        case OPTION_VALUE:
                if (!value || !is_value(value))
                        r = reading_refuse(w->where, w->line, err,
                                           "does not name packages; write --%s name,name or "
                                           "--%s :all:",
                                           o->name, o->name);
                break;
        case OPTION_FLAG:
                break;
        }
        if (r < 0)
                return r;
        r = nb_buf_printf(b, "--%s", o->name);
        if (r == 0 && value)
                r = nb_buf_printf(b, strpbrk(value, " \t") ? " \"%s\"\n" : " %s\n", value);
        else if (r == 0)
                r = nb_buf_putc(b, '\n');
        return full(r, w->where, err);
}

static bool takes_value(enum option_kind k)
{
        return k != OPTION_FLAG && k != OPTION_NO_INDEX;
}

static int option_unknown(const struct words *w, struct nb_err *err)
{
        return reading_refuse(w->where, w->line, err,
                              "is refused: %.80s is no option that requirements may have here; "
                              "remove it",
                              nb_buf_str(&w->word));
}

/* The value of the option in hand: glued to it, or the next word. */
static int option_value(struct words *w, const struct option *o, const char *glued, char **ret,
                        struct nb_err *err)
{
        *ret = NULL;
        if (!takes_value(o->kind))
                return glued ? option_unknown(w, err) : 0;
        if (!glued) {
                int r = words_next(w, err);
                if (r < 0)
                        return r;
                glued = nb_buf_str(&w->word);
        }
        if (!*glued || *glued == '-' || *glued == '#') /* as its own word a comment */
                return reading_refuse(w->where, w->line, err, "lacks a value behind --%s", o->name);
        if (strpbrk(glued, "'\"") || strstr(glued, " #"))
                return reading_refuse(
                        w->where, w->line, err,
                        "has a quote or a comment inside of a value; write it without");
        *ret = nb_strdup(glued);
        return *ret ? 0 : nb_fail(err, NB_E_NOMEM, "no memory for requirements");
}

static int line_of_options(struct reading *g, const char *where, const char *dir, const char *line,
                           struct nb_err *err)
{
        NB_CLEANUP(words_done) struct words w = {where, line, line, NB_BUF(REQUIREMENTS_LINE_MAX)};
        int r;

        while ((r = words_next(&w, err)) > 0) {
                nb_auto_free char *value = NULL;
                const char *glued;
                const struct option *o = option_find(nb_buf_str(&w.word), &glued);

                if (!o)
                        return option_unknown(&w, err);
                r = option_value(&w, o, glued, &value, err);
                if (r == 0)
                        r = option_apply(g, &w, dir, o, value, err);
                if (r < 0)
                        return r;
        }
        return r;
}

/* ---- requirements ---- */

/* Behind the requirement only hashes may stand: other options of pip run the
 * build of a package with arguments. */
static int put_hashes(struct nb_buf *b, const char *where, const char *line, const char *rest,
                      struct nb_err *err)
{
        NB_CLEANUP(words_done) struct words w = {where, line, rest, NB_BUF(REQUIREMENTS_LINE_MAX)};
        int r;

        while ((r = words_next(&w, err)) > 0) {
                nb_auto_free char *value = NULL;
                const char *glued;
                const struct option *o = option_find(nb_buf_str(&w.word), &glued);

                if (!o || o->kind != OPTION_HASH)
                        return option_unknown(&w, err);
                r = option_value(&w, o, glued, &value, err);
                if (r < 0)
                        return r;
                if (!value || !is_hash(value))
                        return reading_refuse(where, line, err,
                                              "has a hash that is none; write --hash=sha256:HEX");
                r = full(nb_buf_printf(b, " --hash=%s", value), where, err);
                if (r < 0)
                        return r;
        }
        return r;
}

/* Where the options of a requirement begin: at a word with a dash. */
static size_t requirement_len(const char *line)
{
        size_t n = 0;

        for (const char *p = line; *p; p++)
                if (*p == '-' && p > line && (p[-1] == ' ' || p[-1] == '\t'))
                        break;
                else
                        n = (size_t)(p - line) + 1;
        while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'))
                n--;
        return n;
}

static int line_of_requirement(struct reading *g, const char *where, const char *dir,
                               const char *line, struct nb_err *err)
{
        struct nb_buf *b = g->constraints ? &g->out->constraints : &g->out->text;
        size_t n = requirement_len(line);
        nb_auto_free char *spec = nb_strndup(line, n);
        const char *at, *wrong;
        unsigned kind;
        int r;

        if (!spec)
                return nb_fail(err, NB_E_NOMEM, "no memory for requirements");
        kind = direct_kind(spec, &at);
        if (kind) {
                r = direct_check(g, kind, where, dir, line, at, err);
                if (r < 0)
                        return r;
        } else {
                wrong = direct_spec_wrong(spec);
                if (wrong)
                        return reading_refuse(where, line, err, "%s", wrong);
        }
        r = full(kind ? canonical_put_direct(b, spec, at) : canonical_put(b, spec), where, err);
        if (r == 0)
                r = put_hashes(b, where, line, line + n, err);
        return r < 0 ? r : full(nb_buf_putc(b, '\n'), where, err);
}

/* pip puts environment variables into what looks like this. */
static bool has_variable(const char *s)
{
        for (; (s = strstr(s, "${")); s += 2) {
                size_t n = strspn(s + 2, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
                if (n > 0 && s[2 + n] == '}')
                        return true;
        }
        return false;
}

int reading_line(struct reading *g, const char *where, const char *dir, const char *line,
                 struct nb_err *err)
{
        for (const char *p = line; *p; p++)
                if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
                        return reading_refuse(where, line, err,
                                              "holds a control character; write it again");
        /* at the start of what we write it would be taken for a byte order mark */
        if (strstr(line, "\xef\xbb\xbf"))
                return reading_refuse(where, line, err,
                                      "holds a byte order mark (U+FEFF); write it again");
        /* at its end it would join two lines of ours, behind which it stood no more */
        if (*line && line[strlen(line) - 1] == '\\')
                return reading_refuse(where, line, err, "ends in a backslash; write it without");
        if (has_variable(line))
                return reading_refuse(where, line, err,
                                      "is refused: it reads a variable of the host's environment; "
                                      "write the value itself");
        return *line == '-' ? line_of_options(g, where, dir, line, err)
                            : line_of_requirement(g, where, dir, line, err);
}
