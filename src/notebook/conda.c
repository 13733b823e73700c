/* SPDX-License-Identifier: Apache-2.0 */
/* environment.yml: only as much of YAML as can be held against the policy */
#include "requirements.h"

#include <string.h>

#include <nbcid/str.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define KEY LETTERS DIGITS "_-"

static bool is_blank(char c)
{
        return c == ' ' || c == '\t';
}

/* "[a, b>=1]", of words that are no options, URLs nor paths. */
static bool is_plain_list(const char *at, size_t n)
{
        static const char plain[] = LETTERS DIGITS "_.,=<>~+ -";
        bool begins = true;

        if (n < 2 || *at != '[' || at[n - 1] != ']' || strspn(at + 1, plain) != n - 2)
                return false;
        for (size_t i = 1; i < n - 1; i++) {
                if (begins && at[i] == '-')
                        return false;
                begins = at[i] == ',' || (begins && at[i] == ' ');
        }
        return true;
}

/* YAML has many ways to write a list.  What conda_item() is to see stands as
 * "- text"; everything else that could hold an item is refused.  at is the first
 * byte behind the indentation and behind "- " or "key: ", of n bytes. */
static const char *conda_odd(const char *at, size_t n)
{
        if (n == 0 || *at == '#' || is_plain_list(at, n))
                return NULL;
        if (strchr("[{&*!|>?%@`", *at))
                return "is YAML of a kind that is not read here; write a list as lines of \"- "
                       "NAME\"";
        if (*at == '"' && memchr(at, '\\', n))
                return "has an escape; write the text itself";
        if ((*at == '"' || *at == '\'') && (n < 2 || !memchr(at + 1, *at, n - 1)))
                return "has a quote that is not closed in its line";
        return NULL;
}

/* Why a line (n bytes without its end) is refused: an item that does not stand as
 * "- TEXT" could hide from the policy.  NULL: it is not. */
static const char *conda_line_odd(const char *line, size_t n)
{
        size_t i = 0, key;
        const char *odd;

        while (n > 0 && strchr(" \t\r", line[n - 1]))
                n--;
        if (memchr(line, '\r', n) || memmem(line, n, "\xc2\x85", 2) ||
            memmem(line, n, "\xe2\x80\xa8", 3) || memmem(line, n, "\xe2\x80\xa9", 3))
                return "has a line end that not all readers know; write it again";
        while (i < n && is_blank(line[i]))
                i++;
        if (i == n || line[i] == '#' || (i == 0 && (n == 3) && memcmp(line, "---", 3) == 0))
                return NULL;
        if (line[i] == '-' && i + 1 < n && is_blank(line[i + 1])) {
                for (i += 2; i < n && is_blank(line[i]);)
                        i++;
                if (i + 1 < n && line[i] == '-' && is_blank(line[i + 1]))
                        return "is a list in a list; write one item a line";
                odd = conda_odd(line + i, n - i);
                if (odd)
                        return odd;
                key = i + strspn(line + i, KEY);
                /* "- pip: [...]" */
                return key < n && line[key] == ':' && (key + 1 == n || line[key + 1] == ' ')
                               ? conda_odd(line + key + 1 + strspn(line + key + 1, " "),
                                           n - key - 1 - strspn(line + key + 1, " "))
                               : NULL;
        }
        if (line[i] == '-' && i + 1 == n)
                return "is an item without its text; write both in one line";
        key = i + strspn(line + i, KEY);
        if (key == i || key >= n || line[key] != ':' || (key + 1 < n && !is_blank(line[key + 1])))
                return "is neither \"KEY: TEXT\" nor \"- TEXT\"; write it so";
        for (key++; key < n && is_blank(line[key]);)
                key++;
        return conda_odd(line + key, n - key);
}

/* An item "- text" of a YAML list, when it is one of a kind that pip or conda
 * would fetch from elsewhere: it is under the policy of requirements. */
static int conda_item(unsigned allow, const char *where, const char *item, struct nb_err *err)
{
        struct requirements unused = REQUIREMENTS_INIT;
        struct reading g = {.allow = allow, .out = &unused};
        const char *at;
        int r = 0;

        if (*item == '-' || strstr(item, "://") ||
            (!strstr(item, "::") && direct_kind(item, &at) == REQUIREMENTS_FILE)) {
                /* channels are indexes, and stand like packages */
                bool channel = *item != '-' && (g.allow & REQUIREMENTS_INDEX) &&
                               (nb_starts_with(item, "https:") || nb_starts_with(item, "http:"));
                r = channel ? direct_check_index(&g, where, item, item, err)
                            : reading_line(&g, where, "", item, err);
        }
        requirements_done(&unused);
        return r;
}

int conda_check(const char *path, const char *p, size_t n, unsigned allow, struct nb_err *err)
{
        size_t number = 0;

        if (n > REQUIREMENTS_MAX)
                return nb_fail(err, NB_E_LIMIT, "%.200s: has %zu bytes and may have %zu", path, n,
                               REQUIREMENTS_MAX);
        if (memchr(p, '\0', n) || !nb_utf8_valid(p, n, NULL))
                return nb_fail(err, NB_E_INVALID, "%.200s: is not UTF-8 text; save it as UTF-8",
                               path);
        for (const char *l = p, *end; l < p + n; l = end + 1) {
                char where[300];
                size_t skip, len;

                end = memchr(l, '\n', (size_t)(p + n - l));
                end = end ? end : p + n;
                number++;
                (void)nb_fmt(where, sizeof(where), "%.*s:%zu", (int)nb_utf8_prefix(path, 200), path,
                             number);
                const char *odd = conda_line_odd(l, (size_t)(end - l));
                if (odd) {
                        nb_auto_free char *shown = nb_strndup(l, (size_t)(end - l));
                        return shown ? reading_refuse(where, shown, err, "%s", odd)
                                     : nb_fail(err, NB_E_NOMEM, "no memory for an environment");
                }
                skip = strspn(l, " \t");
                if (l + skip >= end || l[skip] != '-' ||
                    (l[skip + 1] != ' ' && l[skip + 1] != '\t'))
                        continue;
                skip += 1 + strspn(l + skip + 1, " \t\"'");
                len = l + skip < end ? (size_t)(end - l) - skip : 0;
                while (len > 0 && strchr(" \t\r\"'", l[skip + len - 1]))
                        len--;
                nb_auto_free char *item = nb_strndup(l + skip, len);
                char *comment = item ? strstr(item, " #") : NULL;
                if (!item)
                        return nb_fail(err, NB_E_NOMEM, "no memory for an environment");
                if (comment)
                        *comment = '\0';
                int r = conda_item(allow, where, item, err);
                if (r < 0)
                        return r;
        }
        return 0;
}
