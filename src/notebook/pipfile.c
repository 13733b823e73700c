/* SPDX-License-Identifier: Apache-2.0 */
#include "pipfile.h"

#include <string.h>

#include <nbcid/str.h>

#define DIGITS "0123456789"

void python_version(const char *text, char *ret)
{
        size_t major = strspn(text, DIGITS), minor = 0, rest;

        *ret = '\0';
        if (major == 0 || major > 2)
                return;
        if (text[major] == '.')
                minor = strspn(text + major + 1, DIGITS);
        if (minor > 3 || (text[major] == '.' && minor == 0))
                return;
        rest = major + (minor ? minor + 1 : 0);
        if (text[rest] && (text[rest] != '.' || text[rest + strspn(text + rest, DIGITS ".")]))
                return;
        (void)nb_fmt(ret, PYTHON_VERSION_SIZE, "%.*s", (int)rest, text);
}

int foreign_json(const char *shown, const char *p, size_t n, struct nb_json_tree **ret,
                 struct nb_err *err)
{
        static const struct nb_json_limits limits = {.bytes = (size_t)2 << 20,
                                                     .depth = 32,
                                                     .string = (size_t)64 << 10,
                                                     .values = 200000};
        struct nb_json_pos pos;
        int r = nb_json_read(p, n, &limits, ret, &pos, err);

        if (r < 0)
                return nb_wrap(err, r, "%.200s", shown);
        if (nb_json_type(nb_json_root(*ret)) == NB_JSON_OBJECT)
                return 0;
        *ret = nb_json_free(*ret);
        return nb_fail(err, NB_E_INVALID,
                       "%.200s: is no JSON object; write it again with the tool "
                       "that made it",
                       shown);
}

/* ---- one package ---- */

static int no_memory(struct nb_err *err)
{
        return nb_fail(err, NB_E_NOMEM, "no memory for requirements");
}

static int refuse(const char *shown, const struct package *p, struct nb_err *err, const char *what)
{
        return reading_refuse(shown, p->name, err, "%s", what);
}

static const char *text_of(const struct nb_json *table, const char *key)
{
        return nb_json_str(nb_json_get(table, key), NULL);
}

static bool is_true(const struct nb_json *table, const char *key)
{
        bool yes = false;

        return nb_json_bool(nb_json_get(table, key), &yes) && yes;
}

static int put_extras(struct nb_buf *b, const char *shown, const struct package *p,
                      struct nb_err *err)
{
        const struct nb_json *extras = nb_json_get(p->table, "extras");

        for (size_t i = 0; i < nb_json_size(extras); i++) {
                const char *s = nb_json_str(nb_json_index(extras, i), NULL);
                if (!s)
                        return refuse(shown, p, err, "has an extra that is no string");
                (void)nb_buf_printf(b, "%s%s", i ? "," : "[", s);
        }
        if (nb_json_size(extras) > 0)
                (void)nb_buf_putc(b, ']');
        return 0;
}

/* The URL or path, when it comes from somewhere else than an index. */
static bool put_direct(struct nb_buf *b, const struct package *p)
{
        static const char *const vcs[] = {"git", "hg", "svn", "bzr"};
        static const char *const refs[] = {"ref", "rev", "tag", "branch"};
        static const char *const urls[] = {"url", "file", "path"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(vcs); i++) {
                const char *url = text_of(p->table, vcs[i]);
                if (!url)
                        continue;
                (void)nb_buf_printf(b, "%s+%s", vcs[i], url);
                for (size_t k = 0; k < NB_ARRAY_SIZE(refs); k++)
                        if (text_of(p->table, refs[k])) {
                                (void)nb_buf_printf(b, "@%s", text_of(p->table, refs[k]));
                                break;
                        }
                return true;
        }
        for (size_t i = 0; i < NB_ARRAY_SIZE(urls); i++) {
                const char *url = text_of(p->table, urls[i]);
                /* a path that is one word would be taken for the name of a package */
                bool bare = url && nb_streq(urls[i], "path") && *url != '.' && *url != '/';
                if (!url)
                        continue;
                (void)nb_buf_printf(b, "%s%s", bare ? "./" : "", url);
                return true;
        }
        return false;
}

static bool is_direct(const struct package *p)
{
        nb_auto_buf ignored = NB_BUF(REQUIREMENTS_LINE_MAX);

        return put_direct(&ignored, p);
}

/* Pipenv lets each variable of a marker be a key of its own. */
static void put_markers(struct nb_buf *b, const struct package *p, const char *marker)
{
        static const char *const names[] = {"os_name",
                                            "sys_platform",
                                            "platform_machine",
                                            "platform_python_implementation",
                                            "platform_release",
                                            "platform_system",
                                            "platform_version",
                                            "python_version",
                                            "python_full_version",
                                            "implementation_name",
                                            "implementation_version"};
        const char *own = text_of(p->table, "markers"), *sep = " ; ";

        if (own && *own) {
                (void)nb_buf_printf(b, marker ? "%s(%s)" : "%s%s", sep, own);
                sep = " and ";
        }
        for (size_t i = 0; i < NB_ARRAY_SIZE(names); i++) {
                const char *v = text_of(p->table, names[i]);
                if (!v)
                        continue;
                (void)nb_buf_printf(b, "%s%s %s", sep, names[i], v);
                sep = " and ";
        }
        if (marker)
                (void)nb_buf_printf(b, "%s%s", sep, marker);
}

static int put_hashes(struct nb_buf *b, const char *shown, const struct package *p,
                      struct nb_err *err)
{
        const struct nb_json *hashes = nb_json_get(p->table, "hashes");

        for (size_t i = 0; i < nb_json_size(hashes); i++) {
                const char *s = nb_json_str(nb_json_index(hashes, i), NULL);
                if (!s)
                        return refuse(shown, p, err, "has a hash that is no string");
                (void)nb_buf_printf(b, " --hash=%s", s);
        }
        return 0;
}

int package_add(struct reading *g, const char *shown, const char *dir, const struct package *p,
                const char *marker, struct nb_err *err)
{
        nb_auto_buf line = NB_BUF(REQUIREMENTS_LINE_MAX), direct = NB_BUF(REQUIREMENTS_LINE_MAX);
        const bool elsewhere = put_direct(&direct, p), editable = is_true(p->table, "editable");
        const bool path = elsewhere && text_of(p->table, "path");
        int r;

        /* a name that were an option would be taken for one */
        if (direct_spec_wrong(p->name) || strpbrk(p->name, " \t[(<>=!~;,"))
                return refuse(shown, p, err, "is not the name of a package");
        if (elsewhere && editable)
                (void)nb_buf_printf(&line, path ? "-e %s" : "-e %s#egg=%s", nb_buf_str(&direct),
                                    p->name);
        else if (path)
                (void)nb_buf_puts(&line, nb_buf_str(&direct));
        else
                (void)nb_buf_puts(&line, p->name);
        if (!elsewhere || !editable) {
                r = put_extras(&line, shown, p, err);
                if (r < 0)
                        return r;
                if (elsewhere && !path)
                        (void)nb_buf_printf(&line, " @ %s", nb_buf_str(&direct));
                else if (!elsewhere)
                        (void)nb_buf_puts(&line, p->version);
                put_markers(&line, p, marker);
                r = elsewhere ? 0 : put_hashes(&line, shown, p, err);
                if (r < 0)
                        return r;
        }
        if (line.failed || direct.failed)
                return refuse(shown, p, err, "is over 65536 bytes");
        return reading_line(g, shown, dir, nb_buf_str(&line), err);
}

/* ---- the files ---- */

/* Where packages come from, when that is not the usual place. */
static int read_sources(struct reading *g, const char *shown, const char *dir,
                        const struct nb_json *sources, struct nb_err *err)
{
        static const char *const usual[] = {"https://pypi.org/simple", "https://pypi.org/simple/",
                                            "https://pypi.python.org/simple",
                                            "https://pypi.python.org/simple/"};
        const char *option = "--index-url";

        for (size_t i = 0; i < nb_json_size(sources); i++) {
                const char *url = text_of(nb_json_index(sources, i), "url");
                bool known = false;

                if (!url)
                        return nb_fail(err, NB_E_INVALID,
                                       "%.200s: source %zu has no url; write one or remove it",
                                       shown, i + 1);
                for (size_t k = 0; k < NB_ARRAY_SIZE(usual); k++)
                        known = known || nb_streq(url, usual[k]);
                /* what comes first replaces the usual index */
                if (!known || i > 0) {
                        nb_auto_free char *line = nb_asprintf("%s %s", option, url);
                        if (!line)
                                return no_memory(err);
                        int r = reading_line(g, shown, dir, line, err);
                        if (r < 0)
                                return r;
                }
                option = "--extra-index-url";
        }
        return 0;
}

static int read_package(struct reading *g, const char *shown, const char *dir, const char *name,
                        const struct nb_json *v, bool locked, struct nb_err *err)
{
        const bool table = nb_json_type(v) == NB_JSON_OBJECT;
        struct package p = {.name = name, .table = table ? v : NULL};
        const char *version = table ? text_of(v, "version") : nb_json_str(v, NULL);
        const struct nb_json *given = table ? nb_json_get(v, "version") : v;

        if (given && !version)
                return refuse(shown, &p, err,
                              "has a version that is no string; write \"*\" or "
                              "comparisons such as \">=1.2\"");
        p.version = !version || nb_streq(version, "*") ? "" : version;
        if (*p.version && !strchr("<>=!~", *p.version))
                return refuse(shown, &p, err,
                              "has a version without a comparison; write \"*\", "
                              "\"==1.2\" or \">=1.2\"");
        if (locked && !*p.version && !is_direct(&p))
                return refuse(shown, &p, err, "has no version; lock it again: pipenv lock");
        return package_add(g, shown, dir, &p, NULL, err);
}

static int read_packages(struct reading *g, const char *shown, const char *dir,
                         const struct nb_json *packages, bool locked, struct nb_err *err)
{
        int r = 0;

        for (size_t i = 0; i < nb_json_size(packages) && r == 0; i++) {
                const char *name;
                const struct nb_json *v = nb_json_member(packages, i, &name);
                r = read_package(g, shown, dir, name, v, locked, err);
        }
        return r;
}

static void read_python(const struct nb_json *requires, char *ret)
{
        const char *full = text_of(requires, "python_full_version");
        const char *some = text_of(requires, "python_version");

        python_version(some ? some : full ? full : "", ret);
}

static int read_tree(struct reading *g, const char *shown, const char *dir,
                     const struct nb_json *root, bool locked, char *ret_python, struct nb_err *err)
{
        const struct nb_json *about = locked ? nb_json_get(root, "_meta") : root;
        const struct nb_json *packages = nb_json_get(root, locked ? "default" : "packages");
        const struct nb_json *sources = nb_json_get(about, "sources");
        int r;

        if (packages && nb_json_type(packages) != NB_JSON_OBJECT)
                return nb_fail(err, NB_E_INVALID,
                               "%.200s: \"%s\" is no object; write it again with pipenv", shown,
                               locked ? "default" : "packages");
        if (locked && !packages)
                return nb_fail(err, NB_E_INVALID,
                               "%.200s: has no \"default\" packages; lock it again: pipenv lock",
                               shown);
        read_python(nb_json_get(about, "requires"), ret_python);
        r = read_sources(g, shown, dir, sources ? sources : nb_json_get(about, "source"), err);
        return r < 0 ? r : read_packages(g, shown, dir, packages, locked, err);
}

static int read_text(struct reading *g, const char *shown, const char *dir, const char *p, size_t n,
                     bool locked, char *ret_python, struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        int r = foreign_json(shown, p, n, &tree, err);

        return r < 0 ? r : read_tree(g, shown, dir, nb_json_root(tree), locked, ret_python, err);
}

int pipfile_read_lock(struct reading *g, const char *shown, const char *dir, const char *p,
                      size_t n, char *ret_python, struct nb_err *err)
{
        return read_text(g, shown, dir, p, n, true, ret_python, err);
}

int pipfile_read(struct reading *g, const char *shown, const char *dir, const char *p, size_t n,
                 char *ret_python, struct nb_err *err)
{
        return read_text(g, shown, dir, p, n, false, ret_python, err);
}
