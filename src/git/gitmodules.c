/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The syntax of git-config(1), section "Syntax", as far as .gitmodules(5)
 * needs it.  libgit2's reader would follow [include] to files of this host.
 */
#include <ctype.h>
#include <strings.h>

#include <nbcid/str.h>

#include "git-priv.h"

struct reader {
        const char *p, *end;
        size_t line;
};

void modules_done(struct modules *m)
{
        if (!m)
                return;
        for (size_t i = 0; i < m->n; i++) {
                free(m->v[i].path);
                free(m->v[i].url);
        }
        free(m->v);
        *m = (struct modules){0};
}

const char *modules_url(const struct modules *m, const char *path)
{
        for (size_t i = 0; i < m->n; i++)
                if (m->v[i].url && nb_streq(m->v[i].path, path))
                        return m->v[i].url;
        return NULL;
}

static int malformed(const struct reader *in, const char *what, struct nb_err *err)
{
        return nb_fail(err, NB_E_INVALID, ".gitmodules:%zu: %s", in->line, what);
}

static int peek(const struct reader *in)
{
        return in->p < in->end ? (unsigned char)*in->p : EOF;
}

static int next(struct reader *in)
{
        int c = peek(in);

        if (c != EOF)
                in->p++;
        if (c == '\n')
                in->line++;
        return c;
}

static void skip_line(struct reader *in)
{
        int c;

        while ((c = next(in)) != EOF && c != '\n')
                ;
}

/* After '['.  *ret_ours: is it [submodule "..."]? */
static int read_section(struct reader *in, bool *ret_ours, struct nb_err *err)
{
        nb_auto_buf name = NB_BUF(256);
        bool quoted = false;
        int c;

        while ((c = peek(in)) != EOF && (isalnum(c) || c == '-' || c == '.'))
                (void)nb_buf_putc(&name, (char)next(in));
        while (peek(in) == ' ' || peek(in) == '\t')
                next(in);
        if (peek(in) == '"') {
                quoted = true;
                next(in);
                while ((c = next(in)) != '"') {
                        if (c == '\\')
                                c = next(in);
                        if (c == EOF || c == '\n')
                                return malformed(in, "a section's name does not end", err);
                }
        }
        if (next(in) != ']')
                return malformed(in, "a section's head does not end", err);
        *ret_ours = quoted && !name.failed && strcasecmp(nb_buf_str(&name), "submodule") == 0;
        return 0;
}

static int read_escape(struct reader *in, struct nb_buf *v, struct nb_err *err)
{
        int c = next(in);

        switch (c) {
        case '\r':
                if (next(in) != '\n')
                        break;
                return 0;
        case '\n': /* goes on in the next line */
                return 0;
        case 'n':
                return nb_buf_putc(v, '\n');
        case 't':
                return nb_buf_putc(v, '\t');
        case 'b':
                return nb_buf_putc(v, '\b');
        case '\\':
        case '"':
                return nb_buf_putc(v, (char)c);
        default:
                break;
        }
        return malformed(in, "an unknown escape", err);
}

/* After '=': up to the end of the line; spaces outside of quotes are dropped
 * at both ends. */
static int read_value(struct reader *in, struct nb_buf *v, struct nb_err *err)
{
        bool quoted = false;
        size_t keep = 0;
        int c;

        while ((c = peek(in)) != EOF) {
                if (c == '\n' && !quoted)
                        break;
                next(in);
                if (c == '\n' || c == '\0')
                        return malformed(in, "a value does not end", err);
                if (!quoted && (c == '#' || c == ';')) {
                        skip_line(in);
                        break;
                }
                if (c == '"') {
                        quoted = !quoted;
                        keep = v->len;
                } else if (c == '\\') {
                        int r = read_escape(in, v, err);
                        if (r < 0)
                                return v->failed ? malformed(in, "a value is too long", err) : r;
                        keep = v->len;
                } else if (quoted || !isspace(c)) {
                        (void)nb_buf_putc(v, (char)c);
                        keep = v->len;
                } else if (v->len) {
                        (void)nb_buf_putc(v, (char)c);
                }
        }
        if (quoted || v->failed)
                return malformed(in, quoted ? "a quote does not end" : "a value is too long", err);
        if (v->len > keep)
                v->data[v->len = keep] = '\0';
        return 0;
}

static int read_key(struct reader *in, struct module *m, struct nb_err *err)
{
        nb_auto_buf key = NB_BUF(256), value = NB_BUF(TREE_PATH_MAX + 1);
        char **into = NULL;
        int c, r = 0;

        while ((c = peek(in)) != EOF && (isalnum(c) || c == '-'))
                (void)nb_buf_putc(&key, (char)next(in));
        if (!key.len || key.failed)
                return malformed(in, "a key was expected", err);
        while (peek(in) == ' ' || peek(in) == '\t')
                next(in);
        if (peek(in) == '=') {
                next(in);
                r = read_value(in, &value, err);
        } else {
                skip_line(in);
        }
        if (r < 0 || !m)
                return r;
        if (strcasecmp(nb_buf_str(&key), "path") == 0)
                into = &m->path;
        else if (strcasecmp(nb_buf_str(&key), "url") == 0)
                into = &m->url;
        if (!into)
                return 0;
        free(*into);
        *into = nb_strdup(nb_buf_str(&value));
        return *into ? 0 : nb_fail(err, NB_E_NOMEM, "no memory for .gitmodules");
}

int modules_parse(const char *p, size_t n, struct modules *ret, struct nb_err *err)
{
        NB_CLEANUP(modules_done) struct modules m = {0};
        struct reader in = {.p = p, .end = p + n, .line = 1};
        struct module *current = NULL;
        bool ours = false;
        int c, r = 0;

        if (n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
                in.p += 3;
        while (r == 0 && (c = peek(&in)) != EOF) {
                if (isspace(c)) {
                        next(&in);
                } else if (c == '#' || c == ';') {
                        skip_line(&in);
                } else if (c == '[') {
                        next(&in);
                        r = read_section(&in, &ours, err);
                        current = NULL;
                        if (r < 0 || !ours)
                                continue;
                        if (nb_grow((void **)&m.v, &m.cap, m.n + 1, sizeof(*m.v)) < 0)
                                r = nb_fail(err, NB_E_NOMEM, "no memory for .gitmodules");
                        else
                                current = &m.v[m.n++];
                } else {
                        r = read_key(&in, current, err);
                }
        }
        if (r < 0)
                return r;
        *ret = m;
        m = (struct modules){0};
        return 0;
}
