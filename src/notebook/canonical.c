/* SPDX-License-Identifier: Apache-2.0 */
/* one text for all spellings of a requirement: PEP 508 with the names of PEP 503 */
#include "requirements.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <nbcid/mem.h>
#include <nbcid/str.h>

#define BLANK " \t"
#define WORD_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._"
#define NAME_CHARS WORD_CHARS "-"

int canonical_put_spaced(struct nb_buf *b, const char *s)
{
        char quote = '\0';
        int r = 0;

        for (size_t i = 0; s[i] && r == 0; i++) {
                if (quote ? s[i] == quote : s[i] == '"' || s[i] == '\'')
                        quote = quote ? '\0' : s[i];
                if (s[i] != ' ' && s[i] != '\t')
                        r = nb_buf_putc(b, s[i]);
                else if (quote || (i > 0 && s[i - 1] != ' ' && s[i - 1] != '\t'))
                        r = nb_buf_putc(b, ' ');
        }
        return r;
}

/* PEP 503: case counts for nothing, and runs of "-", "_" and "." are one "-". */
static int put_name(struct nb_buf *b, const char *s, size_t n)
{
        int r = 0;

        for (size_t i = 0; i < n && r == 0; i++) {
                bool mark = strchr("-_.", s[i]);

                if (!mark)
                        r = nb_buf_putc(b, (char)tolower((unsigned char)s[i]));
                else if (!strchr("-_.", s[i + 1]))
                        r = nb_buf_putc(b, '-');
        }
        return r;
}

static int by_text(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "[b, a]" at *at, which is moved behind it, to "[a,b]".  Extras keep their
 * spelling: pips before 23.3 do not know them by another one. */
static int put_extras(struct nb_buf *b, const char **at)
{
        NB_CLEANUP(nb_strv_done) struct nb_strv all = {0};
        const char *s = *at + strspn(*at, BLANK);
        const char *separator = "[";
        int r = 0;

        if (*s != '[')
                return 0;
        for (s++; *s != ']' && r == 0;) {
                size_t n;

                s += strspn(s, BLANK ",");
                n = strspn(s, NAME_CHARS);
                if (n > 0)
                        r = nb_strv_add_take(&all, nb_strndup(s, n));
                s += n;
        }
        *at = s + 1;
        if (all.n)
                qsort(all.v, all.n, sizeof(*all.v), by_text);
        for (size_t i = 0; i < all.n && r == 0; i++) {
                if (i > 0 && nb_streq(all.v[i], all.v[i - 1]))
                        continue;
                r = nb_buf_printf(b, "%s%s", separator, all.v[i]);
                separator = ",";
        }
        return r < 0 || all.n == 0 ? r : nb_buf_putc(b, ']');
}

/* Length of the word, operator, parenthesis or string at s; 0: none of them. */
static size_t token_len(const char *s)
{
        static const char *const operators[] = {
                "===", "==", "~=", "!=", "<=", ">=", "<", ">", "(", ")"};
        size_t n = strspn(s, WORD_CHARS);

        if (*s == '"' || *s == '\'') {
                const char *end = strchr(s + 1, *s);
                return end ? (size_t)(end - s) + 1 : 0;
        }
        for (size_t i = 0; n == 0 && i < NB_ARRAY_SIZE(operators); i++)
                if (nb_starts_with(s, operators[i]))
                        n = strlen(operators[i]);
        return n;
}

bool canonical_is_marker(const char *s)
{
        bool any = false;

        for (s += strspn(s, BLANK); *s; s += strspn(s, BLANK)) {
                size_t n = token_len(s);

                if (n == 0)
                        return false;
                any = true;
                s += n;
        }
        return any;
}

/* A string in double quotes where it can be; tabs are spaces as elsewhere. */
static int put_token(struct nb_buf *b, const char *s, size_t n)
{
        bool other = *s == '\'' && !memchr(s, '"', n);
        int r = 0;

        for (size_t i = 0; i < n && r == 0; i++) {
                char c = s[i] == '\t' ? ' ' : s[i];

                r = nb_buf_putc(b, other && c == '\'' ? '"' : c);
        }
        return r;
}

/* One space between what it is made of, but for parentheses. */
static int put_marker(struct nb_buf *b, const char *s)
{
        int r = nb_buf_puts(b, " ; ");
        bool glue = true;

        for (s += strspn(s, BLANK); *s && r == 0; s += strspn(s, BLANK)) {
                size_t n = token_len(s);

                if (!glue && *s != ')')
                        r = nb_buf_putc(b, ' ');
                if (r == 0)
                        r = put_token(b, s, n);
                glue = *s == '(';
                s += n;
        }
        return r;
}

/* Comparisons and what follows.  Their order is kept: people read it. */
static int put_versions(struct nb_buf *b, const char *s)
{
        int r = 0;

        s += strspn(s, BLANK);
        s += *s == '(';
        for (; *s && *s != ';' && r == 0; s++)
                if (!strchr(BLANK ")", *s))
                        r = nb_buf_putc(b, *s);
        return r < 0 || !*s ? r : put_marker(b, s + 1);
}

int canonical_put(struct nb_buf *b, const char *spec)
{
        size_t name = strspn(spec, NAME_CHARS);
        const char *s = spec + name;
        int r = put_name(b, spec, name);

        if (r == 0)
                r = put_extras(b, &s);
        return r < 0 ? r : put_versions(b, s);
}

int canonical_put_direct(struct nb_buf *b, const char *spec, const char *at)
{
        size_t name = strspn(spec, NAME_CHARS), url = strcspn(at, BLANK);
        const char *s = spec + name, *rest = at + url + strspn(at + url, BLANK);
        bool glued = url > 1 && at[url - 1] == ';'; /* "url; marker" */
        int r;

        if (*rest == ';')
                rest++;
        else if (glued)
                url--;
        else if (*rest)
                return canonical_put_spaced(b, spec);
        /* With a space before it, that would be a comment or an option. */
        if (at == spec || *at == '#' || *at == '-' ||
            (*rest ? !canonical_is_marker(rest) : rest[-1] == ';'))
                return canonical_put_spaced(b, spec);
        r = put_name(b, spec, name);
        if (r == 0)
                r = put_extras(b, &s);
        if (r == 0)
                r = nb_buf_puts(b, " @ ");
        if (r == 0)
                r = nb_buf_append(b, at, url);
        return r < 0 || !*rest ? r : put_marker(b, rest);
}
