/* SPDX-License-Identifier: Apache-2.0 */
/* pyproject.toml: [project] of PEP 621, and Poetry's own table */
#include "pipfile.h"

#include <stdlib.h>
#include <string.h>

#include <nbcid/str.h>

#define DIGITS "0123456789"
#define PARTS 8

/* ---- [project] ---- */

/* "==3.11.*" names a version of Python; a range leaves it to the runner. */
static void read_requires_python(const char *s, char *ret)
{
        char text[PYTHON_VERSION_SIZE];
        size_t n;

        s += strspn(s, " ");
        if (!nb_starts_with(s, "=="))
                return;
        s += 2 + strspn(s + 2, " ");
        n = strlen(s);
        if (nb_ends_with(s, ".*"))
                n -= 2;
        if (nb_fmt(text, sizeof(text), "%.*s", (int)n, s))
                python_version(text, ret);
}

static int read_project(struct reading *g, const char *shown, const char *dir,
                        const struct nb_json *list, struct nb_err *err)
{
        if (nb_json_type(list) != NB_JSON_ARRAY)
                return nb_fail(err, NB_E_INVALID,
                               "%.200s: dependencies in [project] is no array of strings", shown);
        for (size_t i = 0; i < nb_json_size(list); i++) {
                const char *line = nb_json_str(nb_json_index(list, i), NULL);
                int r;

                if (!line)
                        return nb_fail(err, NB_E_INVALID,
                                       "%.200s: element %zu of dependencies in [project] is no "
                                       "string",
                                       shown, i + 1);
                line += strspn(line, " \t");
                if (*line == '-' || !*line)
                        return reading_refuse(shown, line, err,
                                              "does not begin with the name of a package");
                r = reading_line(g, shown, dir, line, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- Poetry's versions ---- */

struct version {
        unsigned long v[PARTS];
        size_t n;
};

/* All of "1.2.3"; false for anything else (pre-releases, epochs). */
static bool parse_version(const char *s, size_t n, struct version *ret)
{
        *ret = (struct version){0};
        for (size_t i = 0; i < n;) {
                size_t d = strspn(s + i, DIGITS);
                if (d == 0 || d > 9 || i + d > n || ret->n == PARTS)
                        return false;
                ret->v[ret->n++] = strtoul(s + i, NULL, 10);
                i += d;
                if (i == n)
                        return true;
                if (s[i++] != '.')
                        return false;
        }
        return false;
}

/* The first version that is too new when part i may not change. */
static void put_next(struct nb_buf *b, const struct version *v, size_t i)
{
        for (size_t k = 0; k < v->n; k++)
                (void)nb_buf_printf(b, "%s%lu", k ? "." : "",
                                    k < i    ? v->v[k]
                                    : k == i ? v->v[k] + 1
                                             : 0);
}

/* One comparison of n bytes; false when it is not understood. */
static bool put_comparison(struct nb_buf *b, const char *s, size_t n)
{
        struct version v;
        char op = n > 0 ? s[0] : '\0';
        size_t keep = 0;

        if ((op == '^' || (op == '~' && (n < 2 || s[1] != '=')))) {
                size_t skip = 1 + strspn(s + 1, " ");
                if (skip > n || !parse_version(s + skip, n - skip, &v))
                        return false;
                if (op == '~')
                        keep = v.n > 1 ? 1 : 0;
                else /* up to the first part that is not 0 */
                        while (keep + 1 < v.n && v.v[keep] == 0)
                                keep++;
                (void)nb_buf_printf(b, ">=%.*s,<", (int)(n - skip), s + skip);
                put_next(b, &v, keep);
                return true;
        }
        if (op >= '0' && op <= '9') { /* exactly, or "1.2.*" */
                (void)nb_buf_printf(b, "==%.*s", (int)n, s);
                return true;
        }
        if (!op || !strchr("<>=!~", op))
                return false;
        if (op == '=' && n > 1 && s[1] != '=') /* Poetry's own spelling of == */
                (void)nb_buf_putc(b, '=');
        return nb_buf_append(b, s, n) == 0;
}

/* Comparisons of Poetry as those of PEP 440; false when they have no such
 * form. */
static bool put_versions(struct nb_buf *b, const char *s)
{
        s += strspn(s, " ");
        if (nb_streq(s, "*"))
                return true;
        if (strchr(s, '|'))
                return false;
        for (;;) {
                size_t n = strcspn(s, ",");
                size_t len = n;

                while (len > 0 && s[len - 1] == ' ')
                        len--;
                if (!put_comparison(b, s, len))
                        return false;
                if (!s[n])
                        return true;
                (void)nb_buf_putc(b, ',');
                s += n + 1;
                s += strspn(s, " ");
        }
}

/* "^3.9" of a dependency as a marker. */
static bool put_python(struct nb_buf *b, const char *s)
{
        nb_auto_buf all = NB_BUF(1024);
        const char *sep = "";

        if (!put_versions(&all, s))
                return false;
        for (const char *p = nb_buf_str(&all); *p;) {
                size_t n = strcspn(p, ","), op = strspn(p, "<>=!~");
                bool full = nb_starts_with(p, "==") && p[n - 1] == '*';
                if (full || op == 0 || op > n)
                        return false;
                (void)nb_buf_printf(b, "%spython_version %.*s \"%.*s\"", sep, (int)op, p,
                                    (int)(n - op), p + op);
                sep = " and ";
                p += n + (p[n] == ',');
        }
        return !all.failed;
}

static int read_poetry_one(struct reading *g, const char *shown, const char *dir, const char *name,
                           const struct nb_json *v, struct nb_err *err)
{
        nb_auto_buf versions = NB_BUF(4096), marker = NB_BUF(4096);
        const bool table = nb_json_type(v) == NB_JSON_OBJECT;
        const struct nb_json *version = table ? nb_json_get(v, "version") : v;
        const struct nb_json *python = table ? nb_json_get(v, "python") : NULL;
        struct package p = {.name = name, .table = table ? v : NULL};
        bool optional = false;

        if (nb_json_bool(nb_json_get(p.table, "optional"), &optional) && optional)
                return 0;
        if (version || !table) {
                const char *s = nb_json_str(version, NULL);
                if (!s || !put_versions(&versions, s) || versions.failed)
                        return reading_refuse(
                                shown, name, err,
                                "in [tool.poetry.dependencies] has versions that pip "
                                "cannot be told; write one string of comparisons such "
                                "as \">=1.2,<2\"");
        }
        if (python && (!nb_json_str(python, NULL) ||
                       !put_python(&marker, nb_json_str(python, NULL)) || marker.failed))
                return reading_refuse(shown, name, err,
                                      "in [tool.poetry.dependencies] has a python that pip cannot "
                                      "be told; write comparisons such as \">=3.9\"");
        p.version = nb_buf_str(&versions);
        return package_add(g, shown, dir, &p, marker.len > 0 ? nb_buf_str(&marker) : NULL, err);
}

static int read_poetry(struct reading *g, const char *shown, const char *dir,
                       const struct nb_json *table, struct nb_err *err)
{
        int r = 0;

        if (nb_json_type(table) != NB_JSON_OBJECT)
                return nb_fail(err, NB_E_INVALID, "%.200s: [tool.poetry.dependencies] is no table",
                               shown);
        for (size_t i = 0; i < nb_json_size(table) && r == 0; i++) {
                const char *name;
                const struct nb_json *v = nb_json_member(table, i, &name);
                /* the interpreter is no package: pip says so when it does not fit */
                if (!nb_streq(name, "python"))
                        r = read_poetry_one(g, shown, dir, name, v, err);
        }
        return r;
}

int pyproject_read(struct reading *g, const char *shown, const char *dir, const char *p, size_t n,
                   char *ret_python, struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        const struct nb_json *root, *project, *poetry;
        const char *python;
        int r = foreign_json(shown, p, n, &tree, err);

        *ret_python = '\0';
        if (r < 0)
                return r;
        root = nb_json_root(tree);
        project = nb_json_at(root, "project", "dependencies", NULL);
        poetry = nb_json_at(root, "tool", "poetry", "dependencies", NULL);
        if (!project && !poetry)
                return 0;
        python = nb_json_str(nb_json_at(root, "project", "requires-python", NULL), NULL);
        if (python)
                read_requires_python(python, ret_python);
        /* Poetry 2 writes both, and [project] is what others read */
        r = project ? read_project(g, shown, dir, project, err)
                    : read_poetry(g, shown, dir, poetry, err);
        return r < 0 ? r : 1;
}
