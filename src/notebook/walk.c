/* SPDX-License-Identifier: Apache-2.0 */
#include "walk.h"

#include <stdio.h>
#include <string.h>

#include <nbcid/mem.h>
#include <nbcid/str.h>

#include "remedy.h"
#include "text.h"

#define BIT(t) (1u << (t))
#define TEXT BIT(WALK_STRING)
#define MAYBE_TEXT (TEXT | BIT(WALK_NULL))
#define ANY (BIT(WALK_TYPE__COUNT) - 1)

/* Jupyter frontends nest outputs (widget state, plots) tens of levels deep. */
#define MAX_DEPTH 256

struct member {
        const char *key;     /* NULL: an item of an array */
        const char *shown;   /* in texts */
        enum walk_member in; /* the array or object that has it */
        enum walk_type opens;
        unsigned types;
        bool required;
};

/* Types are as strict as running needs.  What extensions write (environment,
 * requirements, execution) may be of any type: others use these names too. */
static const struct member members[WALK__COUNT] = {
        [WALK_ROOT] = {NULL, "the notebook", WALK_NONE, WALK_OBJECT, BIT(WALK_OBJECT), false},
        [WALK_NBFORMAT] = {"nbformat", "nbformat", WALK_ROOT, 0, BIT(WALK_INTEGER), true},
        [WALK_NBFORMAT_MINOR] = {"nbformat_minor", "nbformat_minor", WALK_ROOT, 0,
                                 BIT(WALK_INTEGER), true},
        [WALK_METADATA] = {"metadata", "metadata", WALK_ROOT, WALK_OBJECT, BIT(WALK_OBJECT), true},
        [WALK_EXECUTION] = {"execution", "metadata.execution", WALK_METADATA, WALK_OBJECT, ANY,
                            false},
        [WALK_ALLOW_ERRORS] = {"allow_errors", "metadata.execution.allow_errors", WALK_EXECUTION, 0,
                               ANY, false},
        [WALK_ENVIRONMENT] = {"environment", "metadata.environment", WALK_METADATA, WALK_OBJECT,
                              ANY, false},
        [WALK_ENVIRONMENT_KERNEL] = {"kernel", "metadata.environment.kernel", WALK_ENVIRONMENT, 0,
                                     MAYBE_TEXT, false},
        [WALK_ENVIRONMENT_NAME] = {"name", "metadata.environment.name", WALK_ENVIRONMENT, 0,
                                   MAYBE_TEXT, false},
        [WALK_ENVIRONMENT_URI] = {"uri", "metadata.environment.uri", WALK_ENVIRONMENT, 0,
                                  MAYBE_TEXT, false},
        [WALK_KERNELSPEC] = {"kernelspec", "metadata.kernelspec", WALK_METADATA, WALK_OBJECT,
                             BIT(WALK_OBJECT) | BIT(WALK_NULL), false},
        [WALK_KERNELSPEC_NAME] = {"name", "metadata.kernelspec.name", WALK_KERNELSPEC, 0,
                                  MAYBE_TEXT, false},
        [WALK_KERNELSPEC_LANGUAGE] = {"language", "metadata.kernelspec.language", WALK_KERNELSPEC,
                                      0, MAYBE_TEXT, false},
        [WALK_LANGUAGE_INFO] = {"language_info", "metadata.language_info", WALK_METADATA,
                                WALK_OBJECT, BIT(WALK_OBJECT) | BIT(WALK_NULL), false},
        [WALK_LANGUAGE_INFO_NAME] = {"name", "metadata.language_info.name", WALK_LANGUAGE_INFO, 0,
                                     MAYBE_TEXT, false},
        [WALK_REQUIREMENTS] = {"requirements", "metadata.requirements", WALK_METADATA, WALK_ARRAY,
                               ANY, false},
        [WALK_REQUIREMENT] = {NULL, "an item of metadata.requirements", WALK_REQUIREMENTS, 0, TEXT,
                              false},
        [WALK_REQUIREMENTS_LOCK] = {"requirements_lock", "metadata.requirements_lock",
                                    WALK_METADATA, 0, ANY, false},
        [WALK_ENV] = {"env", "metadata.env", WALK_METADATA, WALK_OBJECT, ANY, false},
        [WALK_ENV_CONTAINER] = {"container", "metadata.env.container", WALK_ENV, 0, ANY, false},
        [WALK_CONTAINER] = {"container", "metadata.container", WALK_METADATA, 0, ANY, false},
        [WALK_PAPERMILL] = {"papermill", "metadata.papermill", WALK_METADATA, WALK_OBJECT, ANY,
                            false},
        [WALK_PAPERMILL_EXCEPTION] = {"exception", "metadata.papermill.exception", WALK_PAPERMILL,
                                      0, ANY, false},
        [WALK_PYTHON_PACKAGES] = {"python_packages", "metadata.python_packages", WALK_METADATA,
                                  WALK_ARRAY, ANY, false},
        [WALK_PYTHON_PACKAGE] = {NULL, "an item of metadata.python_packages", WALK_PYTHON_PACKAGES,
                                 WALK_OBJECT, TEXT | BIT(WALK_OBJECT), false},
        [WALK_PYTHON_PACKAGE_NAME] = {"name", "name of an item of metadata.python_packages",
                                      WALK_PYTHON_PACKAGE, 0, TEXT, true},
        [WALK_PYTHON_PACKAGE_VERSION] = {"version",
                                         "version of an item of metadata.python_packages",
                                         WALK_PYTHON_PACKAGE, 0, MAYBE_TEXT, false},
        [WALK_CELLS] = {"cells", "cells", WALK_ROOT, WALK_ARRAY, BIT(WALK_ARRAY), true},
        [WALK_CELL] = {NULL, "the cell", WALK_CELLS, WALK_OBJECT, BIT(WALK_OBJECT), false},
        [WALK_CELL_TYPE] = {"cell_type", "cell_type", WALK_CELL, 0, TEXT, true},
        [WALK_SOURCE] = {"source", "source", WALK_CELL, WALK_ARRAY, TEXT | BIT(WALK_ARRAY), true},
        [WALK_SOURCE_LINE] = {NULL, "an item of source", WALK_SOURCE, 0, TEXT, false},
        [WALK_CELL_METADATA] = {"metadata", "metadata", WALK_CELL, WALK_OBJECT, BIT(WALK_OBJECT),
                                true},
        [WALK_TAGS] = {"tags", "metadata.tags", WALK_CELL_METADATA, WALK_ARRAY, BIT(WALK_ARRAY),
                       false},
        [WALK_TAG] = {NULL, "an item of metadata.tags", WALK_TAGS, 0, TEXT, false},
        /* required of code cells: see check_complete() */
        [WALK_OUTPUTS] = {"outputs", "outputs", WALK_CELL, WALK_ARRAY, BIT(WALK_ARRAY), true},
        [WALK_EXECUTION_COUNT] = {"execution_count", "execution_count", WALK_CELL, 0,
                                  BIT(WALK_INTEGER) | BIT(WALK_NULL), true},
        /* outputs are cleared before a run, so that bad ones do no harm */
        [WALK_OUTPUT] = {NULL, "an output", WALK_OUTPUTS, WALK_OBJECT, ANY, false},
        [WALK_OUTPUT_TYPE] = {"output_type", "output_type", WALK_OUTPUT, 0, ANY, false},
        [WALK_ENAME] = {"ename", "ename", WALK_OUTPUT, 0, ANY, false},
        [WALK_EVALUE] = {"evalue", "evalue", WALK_OUTPUT, 0, ANY, false},
        [WALK_OUTPUT_TEXT] = {"text", "text", WALK_OUTPUT, WALK_ARRAY, ANY, false},
        [WALK_OUTPUT_TEXT_LINE] = {NULL, "an item of text", WALK_OUTPUT_TEXT, 0, ANY, false},
        [WALK_OUTPUT_DATA] = {"data", "data", WALK_OUTPUT, WALK_OBJECT, ANY, false},
        [WALK_OUTPUT_PLAIN] = {"text/plain", "text/plain", WALK_OUTPUT_DATA, WALK_ARRAY, ANY,
                               false},
        [WALK_OUTPUT_PLAIN_LINE] = {NULL, "an item of text/plain", WALK_OUTPUT_PLAIN, 0, ANY,
                                    false},
        [WALK_OUTPUT_HTML] = {"text/html", "text/html", WALK_OUTPUT_DATA, WALK_ARRAY, ANY, false},
        [WALK_OUTPUT_HTML_LINE] = {NULL, "an item of text/html", WALK_OUTPUT_HTML, 0, ANY, false},
        [WALK_OUTPUT_MARKDOWN] = {"text/markdown", "text/markdown", WALK_OUTPUT_DATA, WALK_ARRAY,
                                  ANY, false},
        [WALK_OUTPUT_MARKDOWN_LINE] = {NULL, "an item of text/markdown", WALK_OUTPUT_MARKDOWN, 0,
                                       ANY, false},
        [WALK_TRACEBACK] = {"traceback", "traceback", WALK_OUTPUT, WALK_ARRAY, ANY, false},
        [WALK_TRACEBACK_LINE] = {NULL, "an item of traceback", WALK_TRACEBACK, 0, ANY, false},
};
_Static_assert(WALK__COUNT <= 64, "one bit each");

static const char *const type_names[WALK_TYPE__COUNT] = {
        [WALK_NULL] = "null",
        [WALK_BOOL] = "a boolean",
        [WALK_INTEGER] = "a whole number",
        [WALK_FRACTION] = "a fraction or a number out of range",
        [WALK_STRING] = "a string",
        [WALK_ARRAY] = "an array",
        [WALK_OBJECT] = "an object",
};

static int refuse(const struct walk *w, enum walk_member m, const char *what, struct nb_err *err)
{
        char where[48] = "";

        if (m >= WALK_CELL)
                (void)nb_fmt(where, sizeof(where), "cell %lld: ", (long long)w->cell.number);
        return nb_fail(err, NB_E_INVALID, "%s%s %s; " TEXT_REMEDY, where, members[m].shown, what);
}

static int refuse_type(const struct walk *w, enum walk_member m, enum walk_type is,
                       struct nb_err *err)
{
        char what[160];
        const char *sep = ", not ";
        int n = snprintf(what, sizeof(what), "is %s", type_names[is]);

        for (unsigned t = 0; t < WALK_TYPE__COUNT; t++)
                if (members[m].types & BIT(t) && n > 0 && (size_t)n < sizeof(what)) {
                        n += snprintf(what + n, sizeof(what) - (size_t)n, "%s%s", sep,
                                      type_names[t]);
                        sep = " or ";
                }
        return refuse(w, m, what, err);
}

static enum walk_member find(enum walk_member in, const char *key, size_t n)
{
        for (unsigned m = WALK_ROOT; m < WALK__COUNT; m++) {
                const struct member *x = &members[m];
                if (x->in == in && (key ? x->key && text_is(key, n, x->key) : !x->key))
                        return m;
        }
        return WALK_NONE;
}

/* ---- what the members mean ---- */

/* Bytes of the white space at s (n > 0 bytes long), 0 when there is none. */
static size_t space_len(const char *s, size_t n)
{
        static const char *const wide[] = {"\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80",
                                           "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf",
                                           "\xe2\x81\x9f", "\xe3\x80\x80"};
        unsigned char c = (unsigned char)s[0];

        if (c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f))
                return 1;
        if (c < 0x80)
                return 0;
        for (size_t i = 0; i < NB_ARRAY_SIZE(wide); i++)
                if (text_begins(s, n, wide[i]))
                        return strlen(wide[i]);
        /* U+2000 to U+200A */
        return text_begins(s, n, "\xe2\x80") && n >= 3 && (unsigned char)s[2] <= 0x8a ? 3 : 0;
}

bool walk_blank(const char *s, size_t n)
{
        size_t len;

        for (size_t i = 0; i < n; i += len) {
                len = space_len(s + i, n - i);
                if (len == 0)
                        return false;
        }
        return true;
}

bool walk_cell_runs(const struct walk_cell *c)
{
        return c->type == WALK_CODE && c->inked && !c->skip;
}

static int check_version(int64_t v, struct nb_err *err)
{
        if (v < 4)
                return nb_fail(err, NB_E_INVALID,
                               "nbformat %lld is not supported; open and save it with a current "
                               "Jupyter, or run `jupyter nbconvert --to notebook`",
                               (long long)v);
        if (v > 4)
                return nb_fail(err, NB_E_INVALID,
                               "nbformat %lld is newer than nbformat 4, the newest that nbcid "
                               "knows; save the notebook as nbformat 4, or update nbcid",
                               (long long)v);
        return 0;
}

static int take_cell_type(struct walk *w, const struct walk_value *v, struct nb_err *err)
{
        if (text_is(v->s, v->n, "code"))
                w->cell.type = WALK_CODE;
        else if (text_is(v->s, v->n, "markdown"))
                w->cell.type = WALK_MARKDOWN;
        else if (text_is(v->s, v->n, "raw"))
                w->cell.type = WALK_RAW;
        else
                return nb_fail(
                        err, NB_E_INVALID,
                        "cell %lld: cell_type \"%.*s\" is not code, markdown or raw; " TEXT_REMEDY,
                        (long long)w->cell.number, text_shown(v->s, v->n), v->s);
        return 0;
}

/* What the walk itself must know of a member. */
static int note(struct walk *w, enum walk_member m, const struct walk_value *v, struct nb_err *err)
{
        int r = 0;

        /* not a switch: most members are the reader's business */
        if (m == WALK_NBFORMAT) {
                w->nbformat = v->i;
                r = check_version(v->i, err);
        } else if (m == WALK_NBFORMAT_MINOR) {
                w->nbformat_minor = v->i;
                if (w->nbformat_minor < 0)
                        r = refuse(w, m, "is negative", err);
        } else if (m == WALK_CELL_TYPE) {
                r = take_cell_type(w, v, err);
        } else if ((m == WALK_SOURCE && v->type == WALK_STRING) || m == WALK_SOURCE_LINE) {
                w->cell.inked = w->cell.inked || !walk_blank(v->s, v->n);
        } else if (m == WALK_TAG) {
                w->cell.skip = w->cell.skip || text_is(v->s, v->n, "skip-execution");
                w->cell.raises = w->cell.raises || text_is(v->s, v->n, "raises-exception");
        } else if (m == WALK_EXECUTION_COUNT) {
                w->cell.counted = v->type == WALK_INTEGER;
        }
        return r;
}

/* ---- events ---- */

static int begin(struct walk *w, const struct walk_value *v, struct nb_err *err)
{
        bool container = v->type == WALK_ARRAY || v->type == WALK_OBJECT;
        enum walk_member place = w->depth > 0 ? w->stack[w->depth - 1].place : WALK_NONE;
        enum walk_member m;
        int r;

        if (w->skipped > 0) {
                w->skipped += container;
                return 0;
        }
        m = w->depth > 0 && members[place].opens == WALK_OBJECT ? w->next : find(place, NULL, 0);
        if (m == WALK_NONE) {
                w->skipped += container;
                return 0;
        }
        if (m == WALK_CELL)
                w->cell = (struct walk_cell){.number = w->cell.number + 1};
        if (!(members[m].types & BIT(v->type)))
                return refuse_type(w, m, v->type, err);
        r = note(w, m, v, err);
        if (r < 0)
                return r;
        r = w->ops->value(w->arg, m, v, err);
        if (r < 0 || !container)
                return r;
        if (members[m].opens != v->type) {
                w->skipped = 1;
                return 0;
        }
        nb_assert(w->depth < WALK_DEPTH);
        w->stack[w->depth].place = m;
        w->stack[w->depth].seen = 0;
        w->stack[w->depth++].at = w->pos;
        return 0;
}

/* What an object lacks is told where it begins. */
static int check_complete(struct walk *w, unsigned depth, struct nb_err *err)
{
        enum walk_member place = w->stack[depth].place;

        for (unsigned m = WALK_ROOT; m < WALK__COUNT; m++) {
                if (members[m].in != place || !members[m].required ||
                    w->stack[depth].seen & UINT64_C(1) << m)
                        continue;
                if ((m == WALK_OUTPUTS || m == WALK_EXECUTION_COUNT) && w->cell.type != WALK_CODE)
                        continue;
                w->at = w->stack[depth].at;
                return refuse(w, m, "is missing", err);
        }
        return 0;
}

static int end(struct walk *w, struct nb_err *err)
{
        int r;

        if (w->skipped > 0) {
                w->skipped--;
                return 0;
        }
        nb_assert(w->depth > 0);
        w->depth--;
        r = check_complete(w, w->depth, err);
        if (r < 0 || !w->ops->end)
                return r;
        return w->ops->end(w->arg, w->stack[w->depth].place, err);
}

static int key(struct walk *w, const char *s, size_t n, struct nb_err *err)
{
        uint64_t bit;

        if (w->skipped > 0)
                return 0;
        w->next = find(w->stack[w->depth - 1].place, s, n);
        if (w->next == WALK_NONE)
                return 0;
        bit = UINT64_C(1) << w->next;
        if (w->stack[w->depth - 1].seen & bit)
                return refuse(w, w->next, "is there twice, and readers differ in which they take",
                              err);
        w->stack[w->depth - 1].seen |= bit;
        return 0;
}

static int told(struct walk *w, int r)
{
        if (r < 0) {
                w->refused = true;
                if (w->at.line == 0)
                        w->at = w->pos;
        }
        return r;
}

static int on_null(void *arg, struct nb_err *err)
{
        return told(arg, begin(arg, &(struct walk_value){.type = WALK_NULL}, err));
}

static int on_boolean(void *arg, bool yes, struct nb_err *err)
{
        return told(arg, begin(arg, &(struct walk_value){.type = WALK_BOOL, .yes = yes}, err));
}

static int on_number(void *arg, const char *s, size_t n, struct nb_err *err)
{
        struct walk_value v = {.type = WALK_FRACTION};

        if (nb_json_number_int(s, n, &v.i))
                v.type = WALK_INTEGER;
        return told(arg, begin(arg, &v, err));
}

static int on_string(void *arg, const char *s, size_t n, struct nb_err *err)
{
        return told(arg,
                    begin(arg, &(struct walk_value){.type = WALK_STRING, .s = s, .n = n}, err));
}

static int on_map_start(void *arg, struct nb_err *err)
{
        return told(arg, begin(arg, &(struct walk_value){.type = WALK_OBJECT}, err));
}

static int on_array_start(void *arg, struct nb_err *err)
{
        return told(arg, begin(arg, &(struct walk_value){.type = WALK_ARRAY}, err));
}

static int on_key(void *arg, const char *s, size_t n, struct nb_err *err)
{
        return told(arg, key(arg, s, n, err));
}

static int on_end(void *arg, struct nb_err *err)
{
        return told(arg, end(arg, err));
}

static const struct nb_json_events events = {
        .null = on_null,
        .boolean = on_boolean,
        .number = on_number,
        .string = on_string,
        .map_start = on_map_start,
        .map_key = on_key,
        .map_end = on_end,
        .array_start = on_array_start,
        .array_end = on_end,
};

/* ---- the whole ---- */

/* Looks for the version alone: a notebook of another one is likely to be
 * refused for its cells first. */
struct version {
        unsigned depth;
        bool next;
        bool found; /* and refused */
};

static int version_in(void *arg, struct nb_err *err)
{
        struct version *v = arg;

        v->depth++;
        v->next = false;
        return 0;
}

static int version_out(void *arg, struct nb_err *err)
{
        struct version *v = arg;

        v->depth--;
        return 0;
}

static int version_key(void *arg, const char *s, size_t n, struct nb_err *err)
{
        struct version *v = arg;

        v->next = v->depth == 1 && text_is(s, n, "nbformat");
        return 0;
}

static int version_number(void *arg, const char *s, size_t n, struct nb_err *err)
{
        struct version *v = arg;
        int64_t i;
        int r;

        if (!v->next || !nb_json_number_int(s, n, &i))
                return 0;
        v->next = false;
        r = check_version(i, err);
        v->found = r < 0;
        return r;
}

static const struct nb_json_events version_events = {
        .number = version_number,
        .map_start = version_in,
        .map_key = version_key,
        .map_end = version_out,
        .array_start = version_in,
        .array_end = version_out,
};

/* Put name:line:column in the place of the JSON reader's "line 3, column 14: ". */
static int fail_at(const char *name, const struct nb_json_pos *at, int r, const struct nb_err *e,
                   const char *remedy, struct nb_err *err)
{
        const char *text =
                text_begins(e->msg, strlen(e->msg), "line ") ? strstr(e->msg, ": ") : NULL;

        return nb_fail(err, (enum nb_errc) - r, "%.*s:%zu:%zu: %s%s%s",
                       (int)nb_utf8_prefix(name, 200), name, at->line, at->column,
                       text ? text + 2 : e->msg, remedy ? "; " : "", remedy ? remedy : "");
}

int walk_notebook(const char *name, const char *p, size_t n, uint64_t max_bytes,
                  const struct walk_ops *ops, void *arg, struct walk *w, struct nb_err *err)
{
        const struct nb_json_limits limits = {.bytes = n, .depth = MAX_DEPTH};
        struct version version = {0};
        struct nb_json_pos pos;
        struct nb_err e, e_version;
        const char *remedy = NULL;
        int r;

        *w = (struct walk){.ops = ops, .arg = arg};
        if (n > max_bytes)
                return nb_fail(err, NB_E_LIMIT,
                               "%.*s:1:1: the notebook has %zu bytes and may have %llu; clear its "
                               "outputs, or ask the operator to raise max_notebook",
                               (int)nb_utf8_prefix(name, 200), name, n,
                               (unsigned long long)max_bytes);
        r = nb_json_parse(p, n, &limits, &events, w, &w->pos, &e);
        if (r == 0)
                return 0;
        if (r == -NB_E_INVALID && w->refused && w->nbformat == 0) {
                int r2 = nb_json_parse(p, n, &limits, &version_events, &version, &pos, &e_version);
                if (version.found)
                        return fail_at(name, &pos, r2, &e_version, NULL, err);
        }
        if (!w->refused)
                remedy = r == -NB_E_LIMIT ? "clear the notebook's outputs and save it"
                                          : remedy_json(p, n, w->pos.offset, true);
        return fail_at(name, w->refused ? &w->at : &w->pos, r, &e, remedy, err);
}
