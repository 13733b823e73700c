/* SPDX-License-Identifier: Apache-2.0 */
/* pip's requirements files, line by line and into the files that they name */
#include "requirements.h"

#include <stdlib.h>
#include <string.h>

#include <nbcid/str.h>

#include "text.h"

#define FILES_MAX 64
#define WHERE_MAX 300

static const struct {
        const char *name;
        unsigned bit;
} allows[] = {
        {"vcs", REQUIREMENTS_VCS},     {"url", REQUIREMENTS_URL},
        {"file", REQUIREMENTS_FILE},   {"editable", REQUIREMENTS_EDITABLE},
        {"index", REQUIREMENTS_INDEX},
};

bool requirements_allow_parse(const char *name, unsigned *ret)
{
        for (size_t i = 0; i < NB_ARRAY_SIZE(allows); i++)
                if (nb_streq(name, allows[i].name)) {
                        *ret = allows[i].bit;
                        return true;
                }
        return false;
}

const char *requirements_allow_name(size_t i)
{
        return i < NB_ARRAY_SIZE(allows) ? allows[i].name : NULL;
}

void requirements_done(struct requirements *r)
{
        if (!r)
                return;
        nb_buf_done(&r->text);
        nb_buf_done(&r->constraints);
}

/* ---- lines ---- */

/* Bytes of the line break at s, 0: none.  All that Python's splitlines() takes
 * for one: pip reads what we write with it. */
static size_t break_len(const char *s, size_t n)
{
        unsigned char c = (unsigned char)s[0];

        if (c == '\r')
                return n > 1 && s[1] == '\n' ? 2 : 1;
        if ((c >= '\n' && c <= '\f') || (c >= 0x1c && c <= 0x1e))
                return 1;
        if (text_begins(s, n, "\xc2\x85"))
                return 2;
        return text_begins(s, n, "\xe2\x80\xa8") || text_begins(s, n, "\xe2\x80\xa9") ? 3 : 0;
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t';
}

/* Cut off a comment (a '#' at the start or behind white space) and the white
 * space at both ends; answers the text. */
static char *bare(char *s)
{
        size_t n;

        for (char *p = s; *p; p++)
                if (*p == '#' && (p == s || is_blank(p[-1]))) {
                        *p = '\0';
                        break;
                }
        n = strlen(s);
        while (n > 0 && is_blank(s[n - 1]))
                s[--n] = '\0';
        return s + strspn(s, " \t");
}

/* A logical line is in hand. */
static int take_line(struct reading *g, const char *shown, size_t number, const char *dir,
                     struct nb_buf *line, struct nb_err *err)
{
        nb_auto_free char *text = nb_buf_steal(line);
        char where[WHERE_MAX];
        char *s;

        if (!text)
                return nb_fail(err, NB_E_NOMEM, "no memory for requirements");
        s = bare(text);
        nb_fmt(where, sizeof(where), "%.*s:%zu", (int)nb_utf8_prefix(shown, 200), shown, number);
        return *s ? reading_line(g, where, dir, s, err) : 0;
}

static int read_lines(struct reading *g, const char *shown, const char *dir, const char *p,
                      size_t n, struct nb_err *err)
{
        nb_auto_buf line = NB_BUF(REQUIREMENTS_LINE_MAX);
        size_t number = 1, first = 0;
        int r = 0;

        for (size_t i = 0; i < n && r == 0; number++) {
                size_t len = 0, brk = 0, keep;
                bool comment, more;

                while (i + len < n && !(brk = break_len(p + i + len, n - i - len)))
                        len++;
                keep = 0;
                while (keep < len && is_blank(p[i + keep]))
                        keep++;
                comment = keep < len && p[i + keep] == '#';
                more = len > 0 && p[i + len - 1] == '\\' && !comment;
                keep = len;
                while (more && keep > 0 && p[i + keep - 1] == '\\')
                        keep--;
                if (first == 0)
                        first = number;
                /* a comment ends a line that was to be continued */
                if (comment)
                        r = nb_buf_putc(&line, ' ');
                if (r == 0)
                        r = nb_buf_append(&line, p + i, keep);
                if (r < 0)
                        return nb_fail(err, NB_E_LIMIT, "%.200s:%zu: the line is over %zu bytes",
                                       shown, number, REQUIREMENTS_LINE_MAX);
                i += len + brk;
                if (more && i < n)
                        continue;
                r = take_line(g, shown, first, dir, &line, err);
                first = 0;
        }
        return r;
}

static int read_text(struct reading *g, const char *shown, const char *dir, const char *p, size_t n,
                     struct nb_err *err)
{
        size_t bad;

        if (text_begins(p, n, "\xff\xfe") || text_begins(p, n, "\xfe\xff"))
                return nb_fail(err, NB_E_INVALID, "%.200s: is UTF-16; save it as UTF-8", shown);
        if (text_begins(p, n, "\xef\xbb\xbf")) {
                p += 3;
                n -= 3;
        }
        if (!nb_utf8_valid(p, n, &bad))
                return nb_fail(err, NB_E_INVALID, "%.200s: byte %zu is not UTF-8; save it as UTF-8",
                               shown, bad + 1);
        if (memchr(p, '\0', n))
                return nb_fail(err, NB_E_INVALID, "%.200s: holds a NUL byte; save it as text",
                               shown);
        return read_lines(g, shown, dir, p, n, err);
}

/* ---- -r and -c ---- */

static int follow_path(struct reading *g, const char *where, const char *line, const char *path,
                       struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(2 * REQUIREMENTS_MAX);
        const char *slash = strrchr(path, '/');
        nb_auto_free char *dir = nb_strndup(path, slash ? (size_t)(slash - path) + 1 : 0);
        int r;

        if (!dir)
                return nb_fail(err, NB_E_NOMEM, "no memory for requirements");
        for (unsigned i = 0; i < g->depth; i++)
                if (nb_streq(g->chain[i], path))
                        return reading_refuse(where, line, err,
                                              "leads back to %.200s, which led here; remove one",
                                              path);
        if (g->depth == REQUIREMENTS_DEPTH || g->n_files == FILES_MAX)
                return reading_refuse(where, line, err,
                                      "is one file too many: they may be %d deep and %d in all",
                                      REQUIREMENTS_DEPTH, FILES_MAX);
        r = g->files->read(g->files->arg, path, &text, err);
        if (r < 0)
                return nb_wrap(err, r, "%s", where);
        if (r == 0)
                return reading_refuse(where, line, err,
                                      "names %.200s, which the commit does not have; commit it",
                                      path);
        g->n_files++;
        g->chain[g->depth++] = path;
        r = read_text(g, path, dir, nb_buf_str(&text), text.len, err);
        g->depth--;
        return r;
}

/* REQUIREMENTS_DEPTH bounds the recursion. */
int reading_follow(struct reading *g, const char *where, const char *line, const char *dir,
                   const char *value, bool constrain, struct nb_err *err)
{
        const bool before = g->constraints;
        nb_auto_free char *path = NULL;
        bool nomem = false;
        int r;

        if (strstr(value, "://") || strncmp(value, "file:", 5) == 0)
                return reading_refuse(where, line, err,
                                      "is refused: it reads requirements from a URL; commit the "
                                      "file and name it");
        if (!g->files)
                return reading_refuse(where, line, err,
                                      "is refused: it cannot name files here; write their lines");
        path = *value == '/' || *value == '~' ? NULL : direct_path(dir, value, &nomem);
        if (nomem)
                return nb_fail(err, NB_E_NOMEM, "no memory for requirements");
        if (!path || !*path)
                return reading_refuse(where, line, err,
                                      "is refused: it names a file outside the repository; commit "
                                      "it and name it there");
        g->constraints = before || constrain;
        r = follow_path(g, where, line, path, err);
        g->constraints = before;
        return r;
}

int requirements_read(const char *shown, const char *dir, const char *p, size_t n, unsigned allow,
                      const struct notebook_files *files, struct requirements *ret,
                      struct nb_err *err)
{
        /* shown is the file's path when it is a file, so that a circle is seen at once */
        struct reading g = {
                .allow = allow, .files = files, .out = ret, .chain = {shown}, .depth = 1};

        return read_text(&g, shown, dir, p, n, err);
}

/* The lines at *text, read again; *text becomes their normal form. */
static int hold_lines(const char *shown, const char *what, char **text, unsigned allow,
                      bool constraints, struct nb_err *err)
{
        NB_CLEANUP(requirements_done) struct requirements out = REQUIREMENTS_INIT;
        nb_auto_free char *name = nb_asprintf("%s %s", shown, what);
        struct reading g = {.allow = allow, .out = &out, .constraints = constraints};
        char *held;
        int r;

        if (!*text)
                return 0;
        if (!name)
                return nb_fail(err, NB_E_NOMEM, "no memory for requirements");
        r = read_text(&g, name, "", *text, strlen(*text), err);
        if (r < 0)
                return r;
        /* a constraint that is an option would stand among the requirements */
        if (constraints && out.text.len > 0)
                return nb_fail(err, NB_E_INVALID,
                               "%s: hold options; constraints name packages, options are "
                               "requirements",
                               name);
        held = nb_strdup(nb_buf_str(constraints ? &out.constraints : &out.text));
        if (!held)
                return nb_fail(err, NB_E_NOMEM, "no memory for requirements");
        free(*text);
        *text = held;
        return 0;
}

int environment_hold(const char *shown, unsigned allow, struct nb_environment *e,
                     struct nb_err *err)
{
        nb_auto_free char *conda = e->conda ? nb_asprintf("%s conda", shown) : NULL;
        int r = hold_lines(shown, "requirements", &e->requirements, allow, false, err);

        if (r == 0)
                r = hold_lines(shown, "constraints", &e->constraints, allow, true, err);
        if (r < 0 || !e->conda)
                return r;
        return conda ? conda_check(conda, e->conda, strlen(e->conda), allow, err)
                     : nb_fail(err, NB_E_NOMEM, "no memory for requirements");
}
