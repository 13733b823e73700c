/* SPDX-License-Identifier: Apache-2.0 */

/* parameters.c - values for a notebook from the command line */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <nbcid/buf.h>
#include <nbcid/fs.h>
#include <nbcid/json.h>
#include <nbcid/notebook.h>
#include <nbcid/str.h>

#include "app.h"

#define DIGITS "0123456789"

/* "-007" is -7; false when it is no whole number, or longer than JSON's are. */
static bool put_whole(struct nb_json_out *o, const char *s)
{
        const char *digits = s + (*s == '-' || *s == '+');
        size_t n = strlen(digits);
        char text[1000];

        if (n == 0 || digits[strspn(digits, DIGITS)] || n > sizeof(text) - 2)
                return false;
        while (digits[0] == '0' && digits[1])
                digits++;
        (void)nb_fmt(text, sizeof(text), "%s%s", *s == '-' && *digits != '0' ? "-" : "", digits);
        nb_json_put_raw(o, text);
        return true;
}

/* "1.5", ".5", "5.", "1e3"; not "inf", "nan" or "0x1p3". */
static bool put_fraction(struct nb_json_out *o, const char *s)
{
        const char *at = s + (*s == '-' || *s == '+');
        size_t before = strspn(at, DIGITS), after = 0, dot = at[before] == '.';
        double v;

        if (dot)
                after = strspn(at + before + 1, DIGITS);
        at += before + dot + after;
        if (before + after == 0)
                return false;
        if (*at == 'e' || *at == 'E') {
                at++;
                at += *at == '-' || *at == '+';
                if (!*at)
                        return false;
                at += strspn(at, DIGITS);
        }
        v = strtod(s, NULL);
        if (*at || v > 1.7976931348623157e308 || v < -1.7976931348623157e308)
                return false;
        nb_json_put_fraction(o, v);
        return true;
}

static void put_guess(struct nb_json_out *o, const char *s)
{
        if (nb_streq(s, "True") || nb_streq(s, "False"))
                nb_json_put_bool(o, *s == 'T');
        else if (nb_streq(s, "None"))
                nb_json_put_null(o);
        else if (!put_whole(o, s) && !put_fraction(o, s))
                nb_json_put_str(o, s);
}

/* *all, owned or NULL, gets the members of json; those win. */
static int merge(char **all, const char *json, struct nb_err *err)
{
        nb_auto_buf b = NB_BUF(NOTEBOOK_PARAMETERS_MAX);
        int r = nb_json_merge(*all ? *all : "{}", json, &b, err);
        char *merged;

        if (r < 0)
                return r;
        merged = nb_buf_steal(&b);
        if (!merged)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        free(*all);
        *all = merged;
        return 0;
}

int parameters_set(char **all, const char *name, const char *value, struct nb_err *err)
{
        nb_auto_buf b = NB_BUF(NOTEBOOK_PARAMETERS_MAX);
        struct nb_json_out o = NB_JSON_OUT(&b);

        if (!value)
                return nb_fail(err, NB_E_INVALID, "write -p NAME VALUE");
        nb_json_open_object(&o);
        nb_json_key(&o, name);
        put_guess(&o, value);
        nb_json_close(&o);
        if (b.failed)
                return nb_fail(err, NB_E_LIMIT, "the value is over %zu bytes", b.max);
        return merge(all, nb_buf_str(&b), err);
}

int parameters_read(char **all, const char *path, struct nb_err *err)
{
        nb_auto_buf b = NB_BUF(NOTEBOOK_PARAMETERS_MAX);
        int r = nb_read_file(AT_FDCWD, path, &b, err);

        if (r == 0)
                r = merge(all, nb_buf_str(&b), err);
        return r < 0 && err->code == NB_E_INVALID ? nb_wrap(err, r, "%s", path) : r;
}

int parameters_join(char **all, const char *more, struct nb_err *err)
{
        return more ? merge(all, more, err) : 0;
}
