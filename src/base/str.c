/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/str.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

bool nb_streq(const char *a, const char *b)
{
        return a && b ? strcmp(a, b) == 0 : a == b;
}

bool nb_starts_with(const char *s, const char *prefix)
{
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool nb_ends_with(const char *s, const char *suffix)
{
        size_t n = strlen(s), n_suffix = strlen(suffix);

        return n >= n_suffix && memcmp(s + n - n_suffix, suffix, n_suffix) == 0;
}

static char lower(char c)
{
        return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Not strcasecmp(): that one follows the locale. */
bool nb_ends_with_nocase(const char *s, const char *suffix)
{
        size_t n = strlen(s), n_suffix = strlen(suffix);

        if (n < n_suffix)
                return false;
        s += n - n_suffix;
        for (size_t i = 0; i < n_suffix; i++)
                if (lower(s[i]) != lower(suffix[i]))
                        return false;
        return true;
}

char *nb_strdup(const char *s)
{
        return s ? strdup(s) : NULL;
}

char *nb_strndup(const char *s, size_t n)
{
        return s ? strndup(s, n) : NULL;
}

char *nb_asprintf(const char *fmt, ...)
{
        char *s;
        va_list ap;
        int r;

        va_start(ap, fmt);
        r = vasprintf(&s, fmt, ap);
        va_end(ap);
        return r < 0 ? NULL : s;
}

bool nb_fmt(char *buf, size_t size, const char *fmt, ...)
{
        va_list ap;
        int r;

        if (size == 0)
                return false;
        va_start(ap, fmt);
        r = vsnprintf(buf, size, fmt, ap);
        va_end(ap);
        if (r < 0)
                buf[0] = '\0';
        else if ((size_t)r >= size)
                buf[nb_utf8_trim(buf, size - 1)] = '\0';
        return r >= 0 && (size_t)r < size;
}

int nb_strv_add_take(struct nb_strv *l, char *s)
{
        if (!s || nb_grow((void **)&l->v, &l->cap, l->n + 2, sizeof(*l->v)) < 0) {
                free(s);
                return -1;
        }
        l->v[l->n++] = s; /* what follows is still the NULL that nb_grow() left */
        return 0;
}

int nb_strv_add(struct nb_strv *l, const char *s)
{
        return nb_strv_add_take(l, nb_strdup(s));
}

void nb_strv_done(struct nb_strv *l)
{
        if (!l)
                return;
        for (size_t i = 0; i < l->n; i++)
                free(l->v[i]);
        free(l->v);
        *l = (struct nb_strv){0};
}

bool nb_strv_has(const struct nb_strv *l, const char *s)
{
        for (size_t i = 0; i < l->n; i++)
                if (nb_streq(l->v[i], s))
                        return true;
        return false;
}
