/* SPDX-License-Identifier: Apache-2.0 */
/* one requirement: a name with comparisons (PEP 508), or a URL or a path */
#include "requirements.h"

#include <string.h>
#include <strings.h>

#include <nbcid/str.h>

#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define NAME_CHARS ALNUM "._-"
#define BLANK " \t"

/* ---- names and comparisons ---- */

static const char *after_name(const char *s)
{
        size_t n = strspn(s, NAME_CHARS);

        return n > 0 && strchr(ALNUM, s[0]) && strchr(ALNUM, s[n - 1]) ? s + n : NULL;
}

/* Behind "[one,two]" when there is one; NULL: it is broken. */
static const char *after_extras(const char *s)
{
        s += strspn(s, BLANK);
        if (*s != '[')
                return s;
        s++;
        s += strspn(s, BLANK);
        while (*s != ']') {
                s = after_name(s);
                if (!s)
                        return NULL;
                s += strspn(s, BLANK);
                if (*s != ',')
                        return *s == ']' ? s + 1 : NULL;
                s++;
                s += strspn(s, BLANK);
                if (*s == ']')
                        return NULL;
        }
        return s + 1;
}

static size_t operator_len(const char *s)
{
        static const char *const all[] = {"===", "==", "~=", "!=", "<=", ">=", "<", ">"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(all); i++)
                if (nb_starts_with(s, all[i]))
                        return strlen(all[i]);
        return 0;
}

static const char *versions_wrong(const char **at)
{
        const char *s = *at;

        do {
                s += strspn(s, BLANK);
                size_t op = operator_len(s);
                if (op == 0 && *s == '=')
                        return "has a single '='; write == for exactly that version";
                if (op == 0)
                        return "has something behind the name that is no comparison; write a "
                               "version as in name>=1.2 or name==1.2";
                s += op;
                s += strspn(s, BLANK);
                size_t n = op == 3 ? strcspn(s, " \t,;)") : strspn(s, ALNUM "._*+!-");
                if (n == 0)
                        return "has a comparison without a version; write one as in name>=1.2";
                s += n;
                s += strspn(s, BLANK);
                if (*s != ',')
                        break;
                s++;
                s += strspn(s, BLANK);
        } while (*s && *s != ';' && *s != ')');
        *at = s;
        return NULL;
}

static const char *marker_wrong(const char *s)
{
        const char *begin = s;
        char quote = '\0';

        s += strspn(s, BLANK);
        if (!*s)
                return "has nothing behind the ';'; write a marker such as python_version >= "
                       "\"3.9\" or remove it";
        for (; *s; s++)
                if (quote ? *s == quote : *s == '"' || *s == '\'')
                        quote = quote ? '\0' : *s;
        if (quote)
                return "has a quote that is not closed";
        return canonical_is_marker(begin)
                       ? NULL
                       : "has something behind the ';' that is no marker; write one such as "
                         "python_version >= \"3.9\" or remove it";
}

const char *direct_spec_wrong(const char *s)
{
        const char *wrong, *name = s;
        bool paren;

        s = after_name(s);
        if (!s)
                return strchr(ALNUM, *name)
                               ? "has a name that ends in '.', '-' or '_'"
                               : "does not begin with the name of a package (letters, digits, '.', "
                                 "'-' and '_')";
        s = after_extras(s);
        if (!s)
                return "has extras that are broken; write them as in name[one,two]";
        s += strspn(s, BLANK);
        paren = *s == '(';
        s += paren;
        if (paren || (*s && *s != ';')) {
                wrong = versions_wrong(&s);
                if (wrong)
                        return wrong;
        }
        if (paren && *s++ != ')')
                return "has a parenthesis that is not closed";
        s += strspn(s, BLANK);
        if (!*s)
                return NULL;
        return *s == ';' ? marker_wrong(s + 1)
                         : "has something behind the version that does not belong there; write "
                           "one requirement a line";
}

/* ---- URLs and paths ---- */

/* Length of "scheme" before a ':', 0 when none is there. */
static size_t scheme_len(const char *s)
{
        size_t n = strspn(s, ALNUM "+.-");

        return n > 1 && s[n] == ':' && !strchr("0123456789+.-", s[0]) ? n : 0;
}

static bool is_archive(const char *s, size_t n)
{
        static const char *const ends[] = {".whl",    ".zip",     ".tar",    ".tgz",
                                           ".tbz",    ".txz",     ".tlz",    ".tar.gz",
                                           ".tar.xz", ".tar.bz2", ".tar.lz", ".tar.lzma"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(ends); i++) {
                size_t k = strlen(ends[i]);
                if (n > k && strncasecmp(s + n - k, ends[i], k) == 0)
                        return true;
        }
        return false;
}

static unsigned kind_of(const char *s)
{
        static const char *const vcs[] = {"git+", "hg+", "svn+", "bzr+", "git:"};
        size_t scheme = scheme_len(s), word = strcspn(s, " \t;"), all = strcspn(s, ";");

        for (size_t i = 0; i < NB_ARRAY_SIZE(vcs); i++)
                if (strncasecmp(s, vcs[i], strlen(vcs[i])) == 0)
                        return REQUIREMENTS_VCS;
        if (scheme == 4 && strncasecmp(s, "file", 4) == 0)
                return REQUIREMENTS_FILE;
        if (scheme > 0)
                return REQUIREMENTS_URL;
        while (all > 0 && strchr(BLANK, s[all - 1]))
                all--;
        /* To pip "a>= 1.zip" is a file.  "name[x]/" is no name either; a '/' in a version or
         * marker is no path. */
        if (s[0] == '.' || s[0] == '/' || s[0] == '~' || s[0] == '\\' || is_archive(s, all) ||
            (strcspn(s, "/\\") < word && strcspn(s, "/\\") < strcspn(s, "<>=!([\"'")))
                return REQUIREMENTS_FILE;
        return 0;
}

unsigned direct_kind(const char *line, const char **ret)
{
        const char *s = after_name(line);

        *ret = line;
        if (s)
                s = after_extras(s);
        if (s) {
                s += strspn(s, BLANK);
                if (*s == '@') {
                        *ret = s + 1 + strspn(s + 1, BLANK);
                        unsigned kind = kind_of(*ret);
                        return kind ? kind : REQUIREMENTS_FILE;
                }
        }
        return kind_of(line);
}

/* Does the URL carry a user's name or password that is a secret?  The user of
 * ssh is none. */
static bool has_credentials(const char *url)
{
        const char *host = strstr(url, "://"), *at = NULL;
        size_t n, scheme = scheme_len(url);

        if (!host)
                return false;
        host += 3;
        n = strcspn(host, "/?# \t");
        for (size_t i = 0; i < n; i++)
                if (host[i] == '@')
                        at = host + i;
        if (!at)
                return false;
        bool ssh = scheme >= 3 && strncasecmp(url + scheme - 3, "ssh", 3) == 0;
        return !ssh || memchr(host, ':', (size_t)(at - host));
}

char *direct_path(const char *dir, const char *path, bool *ret_nomem)
{
        nb_auto_free char *all = nb_asprintf("%s%s", dir, path);
        char *out = all ? nb_strdup("") : NULL;
        size_t n_out = 0;

        *ret_nomem = !out;
        if (!out)
                return NULL;
        free(out);
        out = nb_strdup(all); /* never longer */
        *ret_nomem = !out;
        for (const char *p = all; out && *p;) {
                size_t n = strcspn(p, "/");
                if (n == 2 && memcmp(p, "..", 2) == 0) {
                        if (n_out == 0) {
                                free(out);
                                return NULL;
                        }
                        while (n_out > 0 && out[--n_out] != '/')
                                ;
                } else if (n > 0 && !(n == 1 && *p == '.')) {
                        if (n_out > 0)
                                out[n_out++] = '/';
                        memmove(out + n_out, p, n);
                        n_out += n;
                }
                p += n + (p[n] == '/');
        }
        if (out)
                out[n_out] = '\0';
        return out;
}

static const char *kind_text(unsigned kind)
{
        if (kind == REQUIREMENTS_VCS)
                return "it is installed from a repository, not from the package index; name a "
                       "release, or ask the operator for \"vcs\" in [environments] allow "
                       "(nbcid run: --allow vcs)";
        if (kind == REQUIREMENTS_URL)
                return "it is installed from a URL, not from the package index; name a release, or "
                       "ask the operator for \"url\" in [environments] allow (nbcid run: --allow "
                       "url)";
        return "it is installed from a file or directory; name a release, or ask the operator for "
               "\"file\" in [environments] allow (nbcid run: --allow file)";
}

int direct_check(const struct reading *g, unsigned kind, const char *where, const char *dir,
                 const char *line, const char *at, struct nb_err *err)
{
        bool nomem;

        if (!*at)
                return reading_refuse(where, line, err,
                                      "has nothing behind the '@'; write a URL or remove it");
        if (!(g->allow & kind))
                return reading_refuse(where, line, err, "is refused: %s", kind_text(kind));
        if (has_credentials(at))
                return reading_refuse(where, line, err,
                                      "is refused: a password in a URL is shown to all who see "
                                      "the job; give it to pip on the host that runs notebooks");
        if (kind != REQUIREMENTS_FILE || scheme_len(at) > 0 || *at == '/')
                return 0;
        nb_auto_free char *path = nb_strndup(at, strcspn(at, " \t;["));
        nb_auto_free char *full = path ? direct_path(dir, path, &nomem) : NULL;
        if (!path || (!full && nomem))
                return nb_fail(err, NB_E_NOMEM, "no memory for requirements");
        if (!full || *at == '~')
                return reading_refuse(where, line, err,
                                      "is refused: it is outside the repository; commit it, or "
                                      "name a release");
        return 0;
}

int direct_check_index(const struct reading *g, const char *where, const char *line,
                       const char *url, struct nb_err *err)
{
        bool http = strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;

        if (!(g->allow & REQUIREMENTS_INDEX))
                return reading_refuse(where, line, err,
                                      "is refused: it changes where packages come from; remove it, "
                                      "or ask the operator for \"index\" in [environments] allow "
                                      "(nbcid run: --allow index)");
        if (has_credentials(url))
                return reading_refuse(where, line, err,
                                      "is refused: a password in a URL is shown to all who see "
                                      "the job; give it to pip on the host that runs notebooks");
        if (!http && !(g->allow & REQUIREMENTS_FILE))
                return reading_refuse(where, line, err, "is refused: it is no http URL; %s",
                                      kind_text(REQUIREMENTS_FILE));
        return 0;
}
