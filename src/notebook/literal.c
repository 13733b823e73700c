/* SPDX-License-Identifier: Apache-2.0 */
#include "literal.h"

#include <string.h>
#include <strings.h>

#include <nbcid/mem.h>
#include <nbcid/str.h>

#include "text.h"

#define NAME_MAX_BYTES 128

struct literal_language {
        const char *name;   /* as kernels say it */
        const char *shown;  /* as people do */
        const char *assign; /* between name and value */
        const char *null, *yes, *no;
        const char *array[3];  /* before, between, after the elements */
        const char *object[3]; /* NULL: it has none */
        const char *pair;      /* between a key and its value */
        bool flat;             /* arrays hold scalars only */
        bool underscore;       /* a name may begin with one */
        bool empty_key;        /* "" is a key like others */
        void (*put_text)(struct nb_buf *b, const char *s);
        const char *reserved; /* names that cannot be assigned to; a space before and after each */
};

/* ---- texts ---- */

/* A character of well-formed UTF-8. */
static uint32_t decode(const char *s, size_t *ret_n)
{
        const unsigned char *u = (const unsigned char *)s;

        if (u[0] < 0x80) {
                *ret_n = 1;
                return u[0];
        }
        if (u[0] < 0xe0) {
                *ret_n = 2;
                return (u[0] & 0x1fU) << 6 | (u[1] & 0x3fU);
        }
        if (u[0] < 0xf0) {
                *ret_n = 3;
                return (u[0] & 0x0fU) << 12 | (u[1] & 0x3fU) << 6 | (u[2] & 0x3fU);
        }
        *ret_n = 4;
        return (u[0] & 0x07U) << 18 | (u[1] & 0x3fU) << 12 | (u[2] & 0x3fU) << 6 | (u[3] & 0x3fU);
}

/* Control characters, ends of lines, and those that make text look like other
 * text: they are written as what they are. */
static bool is_hidden(uint32_t c)
{
        return c < 0x20 || (c >= 0x7f && c <= 0x9f) || (c >= 0x200b && c <= 0x200f) ||
               (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
}

static char short_escape(uint32_t c)
{
        if (c == '\n')
                return 'n';
        if (c == '\t')
                return 't';
        return c == '\r' ? 'r' : 0;
}

/* In double quotes; special: what takes a backslash. */
static void put_quoted(struct nb_buf *b, const char *s, const char *special)
{
        size_t n;

        (void)nb_buf_putc(b, '"');
        for (; *s; s += n) {
                uint32_t c = decode(s, &n);

                if (c < 0x80 && strchr(special, (int)c))
                        (void)nb_buf_printf(b, "\\%c", (char)c);
                else if (short_escape(c))
                        (void)nb_buf_printf(b, "\\%c", short_escape(c));
                else if (is_hidden(c))
                        (void)nb_buf_printf(b, "\\u%04x", c);
                else
                        (void)nb_buf_append(b, s, n);
        }
        (void)nb_buf_putc(b, '"');
}

static void put_text_python(struct nb_buf *b, const char *s)
{
        put_quoted(b, s, "\"\\");
}

/* "$(f())" and "$x" would be looked into. */
static void put_text_julia(struct nb_buf *b, const char *s)
{
        put_quoted(b, s, "\"\\$");
}

static bool any_hidden(const char *s)
{
        size_t n;

        for (; *s; s += n)
                if (is_hidden(decode(s, &n)))
                        return true;
        return false;
}

/* The kernel types this into a terminal, which obeys control characters even
 * inside of quotes: then $'...', with an octal number for each byte that is
 * not plain.  '!' is for readers of history, who know fewer quotes. */
static void put_text_bash(struct nb_buf *b, const char *s)
{
        bool hidden = any_hidden(s);
        size_t n;

        (void)nb_buf_puts(b, hidden ? "$'" : "'");
        for (; *s; s += n) {
                uint32_t c = decode(s, &n);

                if (!hidden && c == '\'')
                        (void)nb_buf_puts(b, "'\\''");
                else if (hidden && short_escape(c))
                        (void)nb_buf_printf(b, "\\%c", short_escape(c));
                else if (hidden && (is_hidden(c) || (c < 0x80 && strchr("'\\!", (int)c))))
                        for (size_t i = 0; i < n; i++)
                                (void)nb_buf_printf(b, "\\%03o", (unsigned)(unsigned char)s[i]);
                else
                        (void)nb_buf_append(b, s, n);
        }
        (void)nb_buf_putc(b, '\'');
}

/* ---- languages ---- */

static const struct literal_language languages[] = {
        {.name = "python",
         .shown = "Python",
         .assign = " = ",
         .null = "None",
         .yes = "True",
         .no = "False",
         .array = {"[", ", ", "]"},
         .object = {"{", ", ", "}"},
         .pair = ": ",
         .underscore = true,
         .empty_key = true,
         .put_text = put_text_python,
         .reserved = " False None True __debug__ and as assert async await break class continue "
                     "def del elif else except finally for from global if import in is lambda "
                     "nonlocal not or pass raise return try while with yield "},
        {.name = "R",
         .shown = "R",
         .assign = " = ",
         .null = "NULL",
         .yes = "TRUE",
         .no = "FALSE",
         .array = {"list(", ", ", ")"},
         .object = {"list(", ", ", ")"},
         .pair = " = ",
         .put_text = put_text_python,
         .reserved = " FALSE Inf NA NA_character_ NA_complex_ NA_integer_ NA_real_ NULL NaN TRUE "
                     "break else for function if in next repeat while "},
        {.name = "julia",
         .shown = "Julia",
         .assign = " = ",
         .null = "nothing",
         .yes = "true",
         .no = "false",
         .array = {"[", ", ", "]"},
         .object = {"Dict(", ", ", ")"},
         .pair = " => ",
         .underscore = true,
         .empty_key = true,
         .put_text = put_text_julia,
         .reserved = " baremodule begin break catch const continue do else elseif end export false "
                     "finally for function global if import in isa let local macro module quote "
                     "return struct true try using where while "},
        {.name = "bash",
         .shown = "Bash",
         .assign = "=",
         .null = "",
         .yes = "true",
         .no = "false",
         .array = {"(", " ", ")"},
         .flat = true,
         .underscore = true,
         .put_text = put_text_bash,
         /* those that bash itself has made read-only */
         .reserved = " BASHOPTS BASH_VERSINFO EUID PPID SHELLOPTS UID "},
};

const struct literal_language *literal_language_find(const char *name)
{
        for (size_t i = 0; name && i < NB_ARRAY_SIZE(languages); i++)
                if (strcasecmp(name, languages[i].name) == 0)
                        return &languages[i];
        return NULL;
}

/* ---- values ---- */

struct writer {
        const struct literal_language *l;
        struct nb_buf *b;
        const char *name; /* the parameter, for errors */
        struct nb_err *err;
};

#define SHOWN(text) text_shown((text), strlen(text)), (text)

static int put_number(const struct writer *w, const struct nb_json *v)
{
        nb_auto_buf text = NB_BUF(1024);
        struct nb_json_out out = NB_JSON_OUT(&text);
        bool whole;
        double d;

        nb_json_put_value(&out, v);
        if (text.failed)
                return nb_fail(w->err, NB_E_NOMEM, "out of memory");
        whole = !strpbrk(nb_buf_str(&text), ".eE");
        /* R has doubles only, and reads what is beyond as infinite. */
        if (!nb_json_double(v, &d) && (!whole || nb_streq(w->l->name, "R")))
                return nb_fail(w->err, NB_E_INVALID,
                               "parameter '%s': the number %.*s is out of range; write it as a "
                               "string",
                               w->name, SHOWN(nb_buf_str(&text)));
        (void)nb_buf_append(w->b, text.data, text.len);
        return 0;
}

static int put_value(const struct writer *w, const struct nb_json *v, unsigned depth);

static int put_children(const struct writer *w, const struct nb_json *v, bool object,
                        unsigned depth)
{
        const char *const *marks = object ? w->l->object : w->l->array;
        int r = 0;

        (void)nb_buf_puts(w->b, marks[0]);
        for (size_t i = 0; r == 0 && i < nb_json_size(v); i++) {
                const char *key = NULL;
                const struct nb_json *child =
                        object ? nb_json_member(v, i, &key) : nb_json_index(v, i);

                if (i > 0)
                        (void)nb_buf_puts(w->b, marks[1]);
                if (key && !*key && !w->l->empty_key)
                        return nb_fail(w->err, NB_E_INVALID,
                                       "parameter '%s': %s has no empty keys; name it", w->name,
                                       w->l->shown);
                if (key) {
                        w->l->put_text(w->b, key);
                        (void)nb_buf_puts(w->b, w->l->pair);
                }
                /* an element that is written as nothing would be none */
                if (w->l->flat && nb_json_type(child) == NB_JSON_NULL)
                        w->l->put_text(w->b, "");
                else
                        r = put_value(w, child, depth + 1);
        }
        (void)nb_buf_puts(w->b, marks[2]);
        return r;
}

/* The reader has bounded the depth. */
static int put_value(const struct writer *w, const struct nb_json *v, unsigned depth)
{
        enum nb_json_type t = nb_json_type(v);
        bool yes = false;

        if (t == NB_JSON_NUMBER)
                return put_number(w, v);
        if (t == NB_JSON_ARRAY || t == NB_JSON_OBJECT) {
                if (w->l->flat && (depth > 0 || t == NB_JSON_OBJECT))
                        return nb_fail(w->err, NB_E_INVALID,
                                       "parameter '%s': %s cannot hold %s; use names of their own, "
                                       "or a string of JSON",
                                       w->name, w->l->shown,
                                       t == NB_JSON_OBJECT ? "a table" : "an array in an array");
                return put_children(w, v, t == NB_JSON_OBJECT, depth);
        }
        if (t == NB_JSON_STRING)
                w->l->put_text(w->b, nb_json_str(v, NULL));
        else if (nb_json_bool(v, &yes))
                (void)nb_buf_puts(w->b, yes ? w->l->yes : w->l->no);
        else
                (void)nb_buf_puts(w->b, w->l->null);
        return 0;
}

static int check_name(const struct writer *w)
{
        static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789_";
        const char *name = w->name;
        char spaced[NAME_MAX_BYTES + 3];

        if (!*name || strlen(name) > NAME_MAX_BYTES || name[strspn(name, word)] ||
            (*name >= '0' && *name <= '9') || (*name == '_' && !w->l->underscore))
                return nb_fail(w->err, NB_E_INVALID,
                               "parameter '%.*s': %s has no such names; use letters, digits and "
                               "'_', a letter first, at most %d of them",
                               SHOWN(name), w->l->shown, NAME_MAX_BYTES);
        (void)nb_fmt(spaced, sizeof(spaced), " %s ", name);
        if (strstr(w->l->reserved, spaced))
                return nb_fail(w->err, NB_E_INVALID,
                               "parameter '%s': %s does not let anybody assign to this name; "
                               "choose another",
                               name, w->l->shown);
        return 0;
}

int literal_write(const struct literal_language *l, const struct nb_json *parameters,
                  struct nb_buf *ret, struct nb_err *err)
{
        struct writer w = {.l = l, .b = ret, .err = err};

        (void)nb_buf_puts(ret, "# Parameters");
        for (size_t i = 0; i < nb_json_size(parameters); i++) {
                const struct nb_json *v = nb_json_member(parameters, i, &w.name);
                int r = check_name(&w);

                if (r < 0)
                        return r;
                (void)nb_buf_printf(ret, "\n%s%s", w.name, l->assign);
                r = put_value(&w, v, 0);
                if (r < 0)
                        return r;
        }
        if (ret->failed)
                return nb_fail(err, NB_E_LIMIT, "the parameters are over %zu bytes as %s", ret->max,
                               l->shown);
        return 0;
}
