/* SPDX-License-Identifier: Apache-2.0 */

/* check.c - one notebook through all rules, and how a finding is made */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "check-priv.h"

#define DEFAULT_TIMEOUT_US UINT64_C(10000000)
#define DEFAULT_MEMORY (UINT64_C(1) << 30)
#define DEFAULT_NOTEBOOK (UINT64_C(256) << 20)
#define TEXT_MAX 200              /* characters of a line that is shown */
#define TEXT_LEAST (TEXT_MAX / 4) /* of them behind the column, if there are */
#define PIECE ((size_t)64 << 10)
#define LINE_MAX_BYTES ((size_t)4 * (TEXT_MAX + 1))

int check_new(const struct check_opts *o, struct check **ret, struct nb_err *err)
{
        NB_CLEANUP(check_freep) struct check *c = calloc(1, sizeof(*c));
        struct nb_err why;

        if (!c)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        c->o = *o;
        if (!c->o.python)
                c->o.python = "python3";
        if (!c->o.timeout_us)
                c->o.timeout_us = DEFAULT_TIMEOUT_US;
        if (!c->o.memory_max)
                c->o.memory_max = DEFAULT_MEMORY;
        if (!c->o.max_notebook)
                c->o.max_notebook = DEFAULT_NOTEBOOK;
        c->kernel.process = PROCESS_NONE;
        for (size_t i = 0; i < CHECK_PYTHONS; i++)
                c->syntax[i].process = PROCESS_NONE;
        c->syntax[0].python = nb_strdup(c->o.python);
        if (!c->syntax[0].python)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        c->next = 1;
        /* a failure comes again, and is told, when a notebook asks */
        if (!c->o.cold)
                (void)process_start(&(struct process_opts){.mode = "syntax",
                                                           .python = c->o.python,
                                                           .sandbox = c->o.sandbox,
                                                           .hide = c->o.hide,
                                                           .memory_max = c->o.memory_max},
                                    &c->syntax[0].process, &why);
        *ret = NB_TAKE(c);
        return 0;
}

struct check *check_free(struct check *c)
{
        if (!c)
                return NULL;
        for (size_t i = 0; i < CHECK_PYTHONS; i++) {
                if (c->syntax[i].process.pid)
                        process_stop(&c->syntax[i].process);
                free(c->syntax[i].python);
        }
        if (c->kernel.process.pid)
                process_stop(&c->kernel.process);
        free(c->kernel.python);
        nb_strv_done(&c->notes);
        free(c);
        return NULL;
}

const struct nb_strv *check_notes(const struct check *c)
{
        return &c->notes;
}

int check_note(struct checking *k, char *note_taken, struct nb_err *err)
{
        return nb_strv_add_take(&k->check->notes, note_taken) < 0
                       ? nb_fail(err, NB_E_NOMEM, "no memory for a note")
                       : 0;
}

/* ---- findings ---- */

static enum finding_severity severity_of(enum check_level level)
{
        return level == CHECK_ERROR ? FINDING_ERROR : FINDING_WARNING;
}

static int add(struct checking *k, enum check_level level, struct finding *f, const char *remedy,
               struct nb_err *err)
{
        f->severity = severity_of(level);
        if (remedy)
                f->remedy = nb_strdup(remedy);
        if (!f->message || (remedy && !f->remedy)) {
                finding_done(f);
                return nb_fail(err, NB_E_NOMEM, "no memory for a finding");
        }
        return findings_add_take(k->ret, f, err);
}

int found_in_file(struct checking *k, enum check_level level, const char *rule, int64_t cell,
                  struct nb_json_pos at, char *message, const char *remedy, struct nb_err *err)
{
        struct finding f = {.rule = rule,
                            .line = at.line,
                            .column = at.column,
                            .cell = cell,
                            .message = message};

        if (level == CHECK_OFF) {
                free(message);
                return 0;
        }
        return add(k, level, &f, remedy, err);
}

/* Begin and end of a line (1-based) in the source; false when it has none such. */
static bool line_bounds(const struct notebook_cell *c, size_t line, size_t *ret_begin,
                        size_t *ret_end)
{
        const char *s = c->source, *end = c->source + c->n, *newline;

        for (size_t i = 1; i < line; i++) {
                newline = memchr(s, '\n', (size_t)(end - s));
                if (!newline)
                        return false;
                s = newline + 1;
        }
        newline = memchr(s, '\n', (size_t)(end - s));
        *ret_begin = (size_t)(s - c->source);
        *ret_end = (size_t)((newline ? newline : end) - c->source);
        return true;
}

/* The source of a cell without its secrets, kept for its next finding; NULL when
 * memory is out. */
static const char *covered_source(struct checking *k, int64_t cell)
{
        const struct notebook_cell *c = &k->source.cells[cell - 1];

        if (k->covered_cell != cell) {
                free(k->covered);
                k->covered = secret_cover(c->source, c->n, 0, c->n);
                k->covered_cell = k->covered ? cell : 0;
        }
        return k->covered;
}

/* The line as it is shown, around the column when it is long; *ret_from is that of the first
 * character, 0 for the first of the line.  NULL when memory is out or there is none. */
static char *line_text(struct checking *k, int64_t cell, size_t line, size_t column,
                       size_t *ret_from)
{
        const size_t left = column > TEXT_MAX - TEXT_LEAST ? column - (TEXT_MAX - TEXT_LEAST) : 0;
        size_t begin, end;

        *ret_from = 0;
        if (line == 0 || !line_bounds(&k->source.cells[cell - 1], line, &begin, &end))
                return NULL;
        const char *s = covered_source(k, cell);
        for (size_t i = 0; s && i < left && begin < end; i++)
                do
                        begin++;
                while (begin < end && ((unsigned char)s[begin] & 0xc0) == 0x80);
        /* no more than is shown of a line that may be the whole file */
        size_t n = end - begin < LINE_MAX_BYTES ? end - begin : LINE_MAX_BYTES;
        nb_auto_free char *clean = s ? nb_utf8_clean(s + begin, n, false) : NULL,
                          *cut = clean ? nb_utf8_cut(clean, TEXT_MAX) : NULL;

        if (left == 0 || !cut)
                return NB_TAKE(cut);
        *ret_from = left; /* that of the dots */
        return nb_asprintf("\xe2\x80\xa6%s", cut);
}

int found_in_cell(struct checking *k, enum check_level level, const char *rule, int64_t cell,
                  size_t line, size_t column, char *message, const char *remedy, struct nb_err *err)
{
        const struct notebook_cell *c = &k->source.cells[cell - 1];
        struct finding f = {.rule = rule,
                            .cell = cell,
                            .cell_line = line,
                            .cell_column = column,
                            .message = message};
        struct nb_json_pos at;

        if (level == CHECK_OFF) {
                free(message);
                return 0;
        }
        /* Place and text cost a walk through the cell each: not for one that is only
         * counted, as there may be one in each line. */
        if (findings_keep(k->ret, severity_of(level))) {
                at = notebook_place(k->p, k->n, c, line ? line : 1, column);
                f.line = at.line;
                f.column = at.column;
                f.text = line_text(k, cell, line, column, &f.text_column);
        }
        return add(k, level, &f, remedy, err);
}

/* ---- one notebook ---- */

/* What the format check shows of the file may show secrets too. */
static int cover_texts(struct findings *f, size_t from, struct nb_err *err)
{
        for (size_t i = from; i < f->n; i++) {
                char **texts[] = {&f->v[i].text, &f->v[i].message, &f->v[i].path};

                for (size_t t = 0; t < NB_ARRAY_SIZE(texts); t++) {
                        const char *s = *texts[t];
                        struct secret secret;

                        if (!s || !secret_find(s, strlen(s), 0, true, &secret))
                                continue;
                        char *covered = secret_cover(s, strlen(s), 0, strlen(s));
                        if (!covered)
                                return nb_fail(err, NB_E_NOMEM, "no memory for a finding");
                        free(*texts[t]);
                        *texts[t] = covered;
                }
        }
        return 0;
}

static int read_pieces(int fd, struct findings *ret, struct nb_err *err)
{
        NB_CLEANUP(notebook_format_freep) struct notebook_format *format = NULL;
        nb_auto_free char *piece = malloc(PIECE);
        int r = piece ? notebook_format_new(UINT64_MAX, ret, &format, err)
                      : nb_fail(err, NB_E_NOMEM, "out of memory");
        ssize_t n;

        while (r == 0 && (n = read(fd, piece, PIECE)) != 0) {
                if (n < 0 && errno != EINTR)
                        return nb_fail_errno(err, errno, "cannot read");
                if (n > 0)
                        r = notebook_format_feed(format, piece, (size_t)n, err);
        }
        return r < 0 ? r : notebook_format_end(format, err);
}

/* Of the text, or where there is none of what fd has. */
static int check_format(struct checking *k, int fd, struct nb_err *err)
{
        const size_t before = k->ret->n;
        int r;

        if (k->levels->format == CHECK_OFF)
                return 0;
        r = k->p ? notebook_check_format(k->p, k->n, k->check->o.max_notebook, k->ret, err)
                 : read_pieces(fd, k->ret, err);
        for (size_t i = before; k->levels->format == CHECK_WARN && i < k->ret->n; i++)
                k->ret->v[i].severity = FINDING_WARNING;
        return r;
}

/* Past ":123" of a text that has it, else NULL. */
static const char *colon_number(const char *s, size_t *ret)
{
        size_t v = 0;

        if (!s || s[0] != ':' || s[1] < '0' || s[1] > '9')
                return NULL;
        for (s++; *s >= '0' && *s <= '9'; s++)
                if (__builtin_mul_overflow(v, (size_t)10, &v) ||
                    __builtin_add_overflow(v, (size_t)(*s - '0'), &v))
                        return NULL;
        *ret = v;
        return s;
}

/* "name:LINE:COLUMN: text" of the reader becomes a finding. */
static int refused(struct checking *k, const struct nb_err *why, struct nb_err *err)
{
        struct nb_json_pos at = {0}, none = {0};
        const size_t n = nb_utf8_prefix(k->name, 200);
        const char *text = strncmp(why->msg, k->name, n) == 0 ? why->msg + n : NULL;

        text = colon_number(text, &at.line);
        text = colon_number(text, &at.column);
        if (!text || !nb_starts_with(text, ": ")) {
                text = why->msg;
                at = none;
        } else {
                text += 2;
        }
        return found_in_file(k, CHECK_ERROR, "format/json", 0, at, nb_strdup(text), NULL, err);
}

/* Is the format all that is asked for, so that no source needs to be read? */
static bool is_format_alone(const struct repo_check *l)
{
        return l->format == CHECK_ERROR && !(l->syntax || l->outputs_empty || l->execution_order ||
                                             l->kernelspec || l->absolute_paths || l->secrets ||
                                             l->size || l->parameters || l->parameters_unknown);
}

static int check_sources(struct checking *k, struct nb_err *err)
{
        int r = check_syntax(k, err);

        if (r == 0)
                r = check_gates(k, err);
        if (r == 0)
                r = check_paths(k, err);
        if (r == 0)
                r = check_secrets(k, err);
        return r == 0 ? check_parameters(k, err) : r;
}

int check_notebook(struct check *c, const char *name, const char *p, size_t n,
                   const struct check_job *job, struct findings *ret, struct nb_err *err)
{
        struct checking k = {.check = c,
                             .name = name,
                             .p = p,
                             .n = n,
                             .job = job,
                             .levels = job->levels ? job->levels : &repo_check_default,
                             .ret = ret};
        const size_t before = ret->n;
        struct nb_err why;
        int r;

        nb_strv_done(&c->notes);
        r = check_format(&k, -1, err);
        if (r < 0)
                return r;
        if (is_format_alone(k.levels))
                return cover_texts(ret, before, err);
        r = notebook_source_read(name, p, n, c->o.max_notebook,
                                 k.levels->secrets != CHECK_OFF ? check_output_secrets : NULL, &k,
                                 &k.source, &why);
        if (r == -NB_E_NOMEM)
                return nb_wrap(err, nb_fail(err, NB_E_NOMEM, "%s", why.msg), "%s", name);
        if (r < 0)
                r = findings_refuse(ret) ? 0 : refused(&k, &why, err);
        else
                r = check_sources(&k, err);
        free(k.covered);
        notebook_source_done(&k.source);
        return r < 0 ? r : cover_texts(ret, before, err);
}

int check_large(struct check *c, int fd, uint64_t n, const struct check_job *job,
                struct findings *ret, struct nb_err *err)
{
        struct checking k = {.check = c,
                             .n = n,
                             .job = job,
                             .levels = job->levels ? job->levels : &repo_check_default,
                             .ret = ret};
        const size_t before = ret->n;
        int r;

        nb_strv_done(&c->notes);
        r = check_format(&k, fd, err);
        if (r == 0)
                r = check_size(&k, err);
        return r < 0 ? r : cover_texts(ret, before, err);
}
