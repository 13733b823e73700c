/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/notebook.h>

#include <stdlib.h>

#include <nbcid/str.h>

#include "text.h"
#include "walk.h"

#define TEXT_MAX 1000 /* characters of ename and of evalue */

/* An error output; texts owned. */
struct raised {
        bool is; /* there is one */
        char *ename, *evalue;
};

struct judging {
        struct walk walk;
        bool allow_errors;    /* the notebook does; it may say so after its cells */
        struct raised output; /* of the output at hand, whatever it turns out to be */
        struct raised cell;   /* the first of the cell, whose tags may come later */
        struct raised first;  /* of the notebook ... */
        int64_t first_cell;   /* ... and its cell */
        int64_t cells, executed, missing;
        bool exits;  /* the cell at hand ended the notebook early and well ... */
        bool exited; /* ... or one before did */
        bool exception;
};

static void raised_done(struct raised *x)
{
        free(x->ename);
        free(x->evalue);
        *x = (struct raised){0};
}

static void raised_move(struct raised *to, struct raised *from)
{
        raised_done(to);
        *to = *from;
        *from = (struct raised){0};
}

static int take_text(char **to, const struct walk_value *v, bool one_line, struct nb_err *err)
{
        /* A character has at most 4 bytes; one more than is kept shows that
         * there were more. */
        size_t n = v->n < 4 * (TEXT_MAX + 1) ? v->n : 4 * (TEXT_MAX + 1);
        nb_auto_free char *clean = NULL;
        char *cut;

        if (v->type != WALK_STRING)
                return 0;
        clean = nb_utf8_clean(v->s, n, one_line);
        cut = nb_utf8_cut(clean, TEXT_MAX);
        if (!cut)
                return nb_fail(err, NB_E_NOMEM, "no memory for a cell's error");
        free(*to);
        *to = cut;
        return 0;
}

static int on_value(void *arg, enum walk_member m, const struct walk_value *v, struct nb_err *err)
{
        struct judging *j = arg;

        if (m == WALK_ALLOW_ERRORS)
                j->allow_errors = v->type == WALK_BOOL && v->yes;
        else if (m == WALK_PAPERMILL_EXCEPTION)
                j->exception = v->type == WALK_BOOL && v->yes;
        else if (m == WALK_OUTPUT_TYPE)
                j->output.is = v->type == WALK_STRING && text_is(v->s, v->n, "error");
        else if (m == WALK_ENAME)
                return take_text(&j->output.ename, v, true, err);
        else if (m == WALK_EVALUE)
                return take_text(&j->output.evalue, v, false, err);
        return 0;
}

/* sys.exit(0) ends a notebook early and well; papermill's rule. */
static bool is_clean_exit(const struct raised *x)
{
        return nb_streq(x->ename, "SystemExit") &&
               (!x->evalue || !x->evalue[0] || nb_streq(x->evalue, "0"));
}

static void end_output(struct judging *j)
{
        if (j->output.is && is_clean_exit(&j->output))
                j->exits = true;
        else if (j->output.is && !j->cell.is)
                raised_move(&j->cell, &j->output);
        raised_done(&j->output);
}

static void end_cell(struct judging *j)
{
        const struct walk_cell *c = &j->walk.cell;

        if (walk_cell_runs(c)) {
                j->cells++;
                j->executed += c->counted;
                j->missing += !c->counted && !j->exited;
                j->exited = j->exited || (j->exits && c->counted);
                if (j->cell.is && !c->raises && !j->first.is) {
                        raised_move(&j->first, &j->cell);
                        j->first_cell = c->number;
                }
        }
        j->exits = false;
        raised_done(&j->cell);
}

static int on_end(void *arg, enum walk_member m, struct nb_err *err)
{
        if (m == WALK_OUTPUT)
                end_output(arg);
        else if (m == WALK_CELL)
                end_cell(arg);
        return 0;
}

static void judging_done(struct judging *j)
{
        raised_done(&j->output);
        raised_done(&j->cell);
        raised_done(&j->first);
}

int notebook_judge(const char *p, size_t n, struct notebook_verdict *ret, struct nb_err *err)
{
        static const struct walk_ops ops = {.value = on_value, .end = on_end};
        NB_CLEANUP(judging_done) struct judging j = {0};
        struct notebook_verdict v;
        int r;

        r = walk_notebook("the executed notebook", p, n, UINT64_MAX, &ops, &j, &j.walk, err);
        if (r < 0)
                return r;
        v = (struct notebook_verdict){.cells = j.cells,
                                      .executed = j.executed,
                                      .missing = j.missing,
                                      .stopped = j.exception && !j.exited};
        if (j.first.is && !j.allow_errors) {
                /* a kernel may leave either out */
                if (!j.first.ename || !j.first.ename[0]) {
                        free(j.first.ename);
                        j.first.ename = nb_strdup("Error");
                }
                if (!j.first.evalue)
                        j.first.evalue = nb_strdup("");
                if (!j.first.ename || !j.first.evalue)
                        return nb_fail(err, NB_E_NOMEM, "no memory for a cell's error");
                v.error_cell = j.first_cell;
                v.ename = NB_TAKE(j.first.ename);
                v.evalue = NB_TAKE(j.first.evalue);
        }
        *ret = v;
        return 0;
}

void notebook_verdict_done(struct notebook_verdict *v)
{
        if (!v)
                return;
        free(v->ename);
        free(v->evalue);
        *v = (struct notebook_verdict){0};
}
