/* SPDX-License-Identifier: Apache-2.0 */

/* source.c - the sources of a notebook's cells, and nothing of their outputs */

#include <stdlib.h>
#include <string.h>

#include <nbcid/notebook.h>

#include "text.h"
#include "walk.h"

#define LANGUAGE_MAX 64 /* characters */
#define KERNEL_MAX 128

struct reading {
        struct walk walk;
        struct notebook_source s;
        char *kernelspec_language;
        size_t begin; /* of the current cell's source in s.text */
        notebook_output_fn output;
        void *arg;
};

void notebook_source_done(struct notebook_source *s)
{
        if (!s)
                return;
        for (size_t i = 0; i < s->n; i++)
                nb_strv_done(&s->cells[i].tags);
        free(s->cells);
        free(s->language);
        free(s->kernel);
        nb_buf_done(&s->text);
        *s = (struct notebook_source){0};
}

static void reading_done(struct reading *r)
{
        notebook_source_done(&r->s);
        free(r->kernelspec_language);
}

static int no_memory(struct nb_err *err)
{
        return nb_fail(err, NB_E_NOMEM, "no memory for the notebook's sources");
}

static int keep(char **to, const struct walk_value *v, size_t max, struct nb_err *err)
{
        if (v->type != WALK_STRING || v->n == 0)
                return 0;
        nb_auto_free char *clean = nb_utf8_clean(v->s, v->n, true);
        char *cut = clean ? nb_utf8_cut(clean, max) : NULL;

        if (!cut)
                return no_memory(err);
        free(*to);
        *to = cut;
        return 0;
}

static int begin_cell(struct reading *r, struct nb_err *err)
{
        void *cells = r->s.cells;

        if (nb_grow(&cells, &r->s.cap, r->s.n + 1, sizeof(*r->s.cells)) < 0)
                return no_memory(err);
        r->s.cells = cells;
        r->begin = r->s.text.len;
        r->s.n++;
        return 0;
}

static int take_source(struct reading *r, const struct walk_value *v, struct nb_err *err)
{
        return nb_buf_append(&r->s.text, v->s, v->n) < 0 ? no_memory(err) : 0;
}

/* Text that people see, in the output or when they open its traceback. */
static bool is_shown(enum walk_member m)
{
        return m == WALK_EVALUE || m == WALK_OUTPUT_TEXT || m == WALK_OUTPUT_TEXT_LINE ||
               (m >= WALK_OUTPUT_PLAIN && m <= WALK_TRACEBACK_LINE);
}

static int take_output(struct reading *r, const struct walk_value *v, struct nb_err *err)
{
        if (v->type != WALK_STRING || !r->output)
                return 0;
        return r->output(r->arg, r->walk.cell.number, v->s, v->n, r->walk.pos, err);
}

static int take_tag(struct notebook_cell *c, const struct walk_value *v, struct nb_err *err)
{
        /* An item with a NUL inside is no tag that anybody asks for. */
        return nb_strv_add_take(&c->tags, nb_strndup(v->s, v->n)) < 0 ? no_memory(err) : 0;
}

/* What is of the notebook, not of a cell. */
static int take_metadata(struct reading *r, enum walk_member m, const struct walk_value *v,
                         struct nb_err *err)
{
        if (m == WALK_LANGUAGE_INFO_NAME)
                return keep(&r->s.language, v, LANGUAGE_MAX, err);
        if (m == WALK_KERNELSPEC_LANGUAGE)
                return keep(&r->kernelspec_language, v, LANGUAGE_MAX, err);
        if (m == WALK_ALLOW_ERRORS)
                r->s.allow_errors = v->type == WALK_BOOL && v->yes;
        if (m != WALK_KERNELSPEC_NAME)
                return 0;
        r->s.kernel_at = r->walk.pos;
        return keep(&r->s.kernel, v, KERNEL_MAX, err);
}

static int on_value(void *arg, enum walk_member m, const struct walk_value *v, struct nb_err *err)
{
        struct reading *r = arg;
        struct notebook_cell *c = r->s.n ? &r->s.cells[r->s.n - 1] : NULL;

        if (m == WALK_CELL)
                return begin_cell(r, err);
        if (m < WALK_CELL || !c)
                return take_metadata(r, m, v, err);
        /* not a switch: most members are of no interest */
        if (m == WALK_SOURCE) {
                c->at = r->walk.pos;
                return v->type == WALK_STRING ? take_source(r, v, err) : 0;
        }
        if (m == WALK_SOURCE_LINE)
                return take_source(r, v, err);
        if (m == WALK_TAG)
                return take_tag(c, v, err);
        if (m == WALK_EXECUTION_COUNT)
                c->execution_count = v->type == WALK_INTEGER ? v->i : 0;
        if (m == WALK_OUTPUT && c->outputs++ == 0)
                c->outs = r->walk.pos;
        return is_shown(m) ? take_output(r, v, err) : 0;
}

static int on_end(void *arg, enum walk_member m, struct nb_err *err)
{
        struct reading *r = arg;
        struct notebook_cell *c;

        if (m != WALK_CELL)
                return 0;
        c = &r->s.cells[r->s.n - 1];
        c->type = (enum notebook_cell_type)r->walk.cell.type;
        c->n = r->s.text.len - r->begin;
        c->counted = r->walk.cell.counted;
        c->inked = r->walk.cell.inked;
        c->skip = r->walk.cell.skip;
        return nb_buf_putc(&r->s.text, '\0') < 0 ? no_memory(err) : 0;
}

static int finish(struct reading *r, struct notebook_source *ret, struct nb_err *err)
{
        const char *at = nb_buf_str(&r->s.text);

        _Static_assert((int)NOTEBOOK_CODE == (int)WALK_CODE &&
                               (int)NOTEBOOK_MARKDOWN == (int)WALK_MARKDOWN &&
                               (int)NOTEBOOK_RAW == (int)WALK_RAW,
                       "one numbering");
        /* the buffer moves no more */
        for (size_t i = 0; i < r->s.n; i++) {
                r->s.cells[i].source = at;
                at += r->s.cells[i].n + 1;
        }
        if (!r->s.language)
                r->s.language = NB_TAKE(r->kernelspec_language);
        if (!r->s.language) {
                /* some tools write the kernel only */
                const char *known = notebook_kernel_language(r->s.kernel);

                r->s.language = nb_strdup(known ? known : "python");
        }
        if (!r->s.language)
                return no_memory(err);
        *ret = r->s;
        r->s = (struct notebook_source){0};
        return 0;
}

int notebook_source_read(const char *name, const char *p, size_t n, uint64_t max_bytes,
                         notebook_output_fn output, void *arg, struct notebook_source *ret,
                         struct nb_err *err)
{
        static const struct walk_ops ops = {.value = on_value, .end = on_end};
        /* a cell is longer in the file than its source and a NUL */
        NB_CLEANUP(reading_done)
        struct reading r = {.s = {.text = NB_BUF(n)}, .output = output, .arg = arg};
        int rc = walk_notebook(name, p, n, max_bytes, &ops, &r, &r.walk, err);

        return rc < 0 ? rc : finish(&r, ret, err);
}
