/* SPDX-License-Identifier: Apache-2.0 */

/* parameters.c - is there a cell for the parameters that were declared, and
 * does it know them? */

#include <stdlib.h>
#include <string.h>

#include "check-priv.h"

#define SHOWN_MAX 20 /* names that a cell has, in a message */
#define SHOWN_BYTES 100
#define VALUE_DEPTH 16 /* of what can be put in, too */

static bool is_name(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '.' || (unsigned char)c >= 0x80;
}

static size_t blanks(const char *s, size_t n)
{
        size_t i = 0;

        while (i < n && (s[i] == ' ' || s[i] == '\t'))
                i++;
        return i;
}

static size_t name_len(const char *s, size_t n)
{
        size_t i = 0;

        while (i < n && is_name(s[i]))
                i++;
        return i;
}

/* Bytes of a word that may stand before a name (Bash, Julia). */
static size_t keyword(const char *s, size_t n)
{
        static const char *const words[] = {"export ",   "declare ", "local ",
                                            "readonly ", "const ",   "global "};

        for (size_t i = 0; i < NB_ARRAY_SIZE(words); i++)
                if (n >= strlen(words[i]) && memcmp(s, words[i], strlen(words[i])) == 0)
                        return strlen(words[i]);
        return 0;
}

/* Does `=` or `<-`, maybe after a type, follow? */
static bool is_assigned(const char *s, size_t n)
{
        size_t i = blanks(s, n);

        if (i < n && s[i] == ':') {
                while (i < n && s[i] != '=')
                        i++;
        }
        if (n - i >= 2 && s[i] == '<' && (s[i + 1] == '-' || s[i + 1] == '<'))
                return true;
        return i < n && s[i] == '=' && (i + 1 == n || s[i + 1] != '=');
}

/* The declared names, sorted: a cell is gone through once for all of them. */
struct declared {
        struct declared_name {
                const char *name;
                bool assigned;
        } * v;
        size_t n;
        struct nb_strv there; /* what the cell assigns, for people: a few, none twice */
        bool more, nomem;
};

static void declared_done(struct declared *d)
{
        free(d->v);
        nb_strv_done(&d->there);
}

static int by_name(const void *a, const void *b)
{
        const struct declared_name *x = a, *y = b;

        return strcmp(x->name, y->name);
}

static struct declared_name *find_name(const struct declared *d, const char *s, size_t n)
{
        for (size_t low = 0, high = d->n; low < high;) {
                size_t middle = low + (high - low) / 2;
                int r = strncmp(d->v[middle].name, s, n);

                if (r == 0 && !d->v[middle].name[n])
                        return &d->v[middle];
                if (r < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return NULL;
}

/* The cell assigns s, of n bytes. */
static void see_name(struct declared *d, const char *s, size_t n)
{
        struct declared_name *known = find_name(d, s, n);
        nb_auto_free char *name = NULL;

        if (known)
                known->assigned = true;
        if (d->there.n == SHOWN_MAX || n > SHOWN_BYTES) {
                d->more = true;
                return;
        }
        name = nb_strndup(s, n);
        d->nomem = !name || (!nb_strv_has(&d->there, name) && nb_strv_add(&d->there, name) < 0) ||
                   d->nomem;
}

/* Mark what the line (of n bytes) assigns: name = ..., a, name = ..., name: int
 * = ..., name <- ... */
static void see_line(struct declared *d, const char *s, size_t n)
{
        size_t i = blanks(s, n), begin, len;

        i += keyword(s + i, n - i);
        begin = i;
        for (;;) {
                len = name_len(s + i, n - i);
                if (len == 0)
                        return;
                i += len;
                i += blanks(s + i, n - i);
                if (i >= n || s[i] != ',')
                        break;
                i++;
                i += blanks(s + i, n - i);
        }
        if (!is_assigned(s + i, n - i))
                return;
        for (size_t at = begin; at < i; at += len ? len : 1) {
                len = name_len(s + at, i - at);
                if (len)
                        see_name(d, s + at, len);
        }
}

static void see_cell(struct declared *d, const struct notebook_cell *c)
{
        const char *s = c->source, *end = c->source + c->n;

        while (s < end) {
                const char *newline = memchr(s, '\n', (size_t)(end - s));
                const char *eol = newline ? newline : end;

                /* a = 1; b = 2 */
                for (const char *semi; (semi = memchr(s, ';', (size_t)(eol - s))); s = semi + 1)
                        see_line(d, s, (size_t)(semi - s));
                see_line(d, s, (size_t)(eol - s));
                s = eol + 1;
        }
}

/* Owned, NULL when memory is out. */
static char *unknown_text(const struct declared *d, const char *name)
{
        nb_auto_buf b = NB_BUF(SHOWN_MAX * (SHOWN_BYTES + 2) + 1024);

        nb_buf_printf(&b, "parameter \"%.*s\" is set, and this cell does not assign it",
                      (int)nb_utf8_prefix(name, SHOWN_BYTES), name);
        for (size_t i = 0; i < d->there.n; i++)
                nb_buf_printf(&b, "%s%s", i ? ", " : "; it assigns: ", d->there.v[i]);
        if (d->there.n > 0 && d->more)
                nb_buf_puts(&b, ", and more");
        /* names are any letters that are not ASCII, and what looks like them */
        return b.failed ? NULL : nb_utf8_clean(nb_buf_str(&b), b.len, true);
}

static int check_names(struct checking *k, int64_t cell, struct nb_err *err)
{
        const char *const *names = k->job->parameters;
        NB_CLEANUP(declared_done) struct declared d = {0};
        int r = 0;

        while (names[d.n])
                d.n++;
        d.v = nb_alloc_array(d.n, sizeof(*d.v));
        if (!d.v)
                return nb_fail(err, NB_E_NOMEM, "no memory to check parameters");
        for (size_t i = 0; i < d.n; i++)
                d.v[i] = (struct declared_name){.name = names[i]};
        qsort(d.v, d.n, sizeof(*d.v), by_name);
        see_cell(&d, &k->source.cells[cell - 1]);
        if (d.nomem)
                return nb_fail(err, NB_E_NOMEM, "no memory to check parameters");
        for (; r == 0 && *names; names++)
                if (!find_name(&d, *names, strlen(*names))->assigned)
                        r = found_in_cell(k, k->levels->parameters_unknown, "parameters_unknown",
                                          cell, 0, 0, unknown_text(&d, *names),
                                          "give it a default in the cell, or mend its name in "
                                          ".nbcid.toml",
                                          err);
        return r;
}

int check_parameters(struct checking *k, struct nb_err *err)
{
        const char *const *names = k->job->parameters;
        int64_t cell = 0;

        if (!names || !*names)
                return 0;
        for (size_t i = 0; !cell && i < k->source.n; i++)
                if (k->source.cells[i].type == NOTEBOOK_CODE &&
                    nb_strv_has(&k->source.cells[i].tags, "parameters"))
                        cell = (int64_t)i + 1;
        if (!cell)
                return found_in_file(k, k->levels->parameters, "parameters", 0,
                                     (struct nb_json_pos){0},
                                     nb_strdup("parameters are declared, and no cell is tagged "
                                               "\"parameters\""),
                                     "tag the cell that holds the defaults in Jupyter, or take the "
                                     "parameters out of .nbcid.toml",
                                     err);
        return check_names(k, cell, err);
}

/* ---- parameters of a command line ---- */

int check_parameter_names(const char *json, struct nb_strv *ret, struct nb_err *err)
{
        const struct nb_json_limits limits = {.bytes = NOTEBOOK_PARAMETERS_MAX,
                                              .depth = VALUE_DEPTH};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
        int r = nb_json_read(json, strlen(json), &limits, &t, NULL, err);
        const char *key;

        if (r == 0 && nb_json_type(nb_json_root(t)) != NB_JSON_OBJECT)
                return nb_fail(err, NB_E_INVALID, "parameters are one JSON object");
        for (size_t i = 0; r == 0 && i < nb_json_size(nb_json_root(t)); i++) {
                (void)nb_json_member(nb_json_root(t), i, &key);
                if (nb_strv_add(ret, key) < 0)
                        r = nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        return r;
}

static int add_warning(const char *name, const struct finding *f, struct nb_strv *ret,
                       struct nb_err *err)
{
        nb_auto_free char *line = nb_asprintf("%s: cell %lld: warning: %s; mend its name, or give "
                                              "it a default there",
                                              name, (long long)f->cell, f->message);

        return line && nb_strv_add(ret, line) == 0 ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

int check_unknown_parameters(const char *name, const char *p, size_t n, const char *json,
                             struct nb_strv *ret, struct nb_err *err)
{
        static const struct repo_check levels = {.parameters_unknown = CHECK_WARN};
        /* whoever holds the text has found it small enough */
        const struct check_opts opts = {.cold = true, .max_notebook = n};
        NB_CLEANUP(findings_done) struct findings found = {.max = CHECK_FINDINGS_MAX};
        NB_CLEANUP(nb_strv_done) struct nb_strv names = {0};
        NB_CLEANUP(check_freep) struct check *check = NULL;
        struct check_job job = {.levels = &levels};
        int r = check_parameter_names(json, &names, err);

        job.parameters = (const char *const *)names.v;
        if (r == 0)
                r = check_new(&opts, &check, err);
        if (r == 0)
                r = check_notebook(check, name, p, n, &job, &found, err);
        for (size_t i = 0; r == 0 && i < found.n; i++) /* others: it is no notebook */
                if (nb_streq(found.v[i].rule, "parameters_unknown"))
                        r = add_warning(name, &found.v[i], ret, err);
        return r;
}
