/* SPDX-License-Identifier: Apache-2.0 */

/* syntax.c - asks the warm process which cells are no code, and believes it no
 * more than its answer parses */

#include <stdlib.h>
#include <string.h>

#include <nbcid/clock.h>
#include <nbcid/json.h>

#include "check-priv.h"

#define REMEDY "mend the cell and save the notebook"
#define UNCHECKED_REMEDY \
        "the notebook is not refused for this; what is wrong, if anything is, shows when it runs"

#define KERNEL_TIME_FACTOR 6 /* some kernels take a while to start */

/* Is the cell one whose syntax matters?  What is not run, and what may fail,
 * may be anything. */
static bool is_asked(const struct notebook_cell *c)
{
        return c->type == NOTEBOOK_CODE && c->inked && !c->skip &&
               !nb_strv_has(&c->tags, "raises-exception");
}

/* False when there is nothing to ask. */
static bool request_write(const struct checking *k, const char *kernel, struct nb_buf *b)
{
        size_t asked = 0;

        for (size_t i = 0; i < k->source.n; i++)
                asked += is_asked(&k->source.cells[i]);
        (void)nb_buf_printf(b, "cells %zu%s%s\n", asked, kernel ? " " : "", kernel ? kernel : "");
        for (size_t i = 0; i < k->source.n; i++) {
                const struct notebook_cell *c = &k->source.cells[i];

                if (!is_asked(c))
                        continue;
                (void)nb_buf_printf(b, "%zu %zu\n", i + 1, c->n);
                (void)nb_buf_append(b, c->source, c->n);
        }
        return asked > 0;
}

/* One item of the answer; false when it makes no sense. */
static bool take_item(struct checking *k, const struct nb_json *v, int *ret, struct nb_err *err)
{
        const char *text = nb_json_str(nb_json_get(v, "message"), NULL);
        int64_t cell, line, column, more;
        bool checked;

        if (nb_json_int(nb_json_get(v, "more"), &more)) {
                *ret = 0;
                k->ret->more += more > 0 && (uint64_t)more <= k->source.n ? (size_t)more : 0;
                return true;
        }
        if (!text || !nb_json_int(nb_json_get(v, "cell"), &cell) ||
            !nb_json_int(nb_json_get(v, "line"), &line) ||
            !nb_json_int(nb_json_get(v, "column"), &column) || cell < 1 ||
            (uint64_t)cell > k->source.n || line < 0 || column < 0 ||
            !nb_json_bool(nb_json_get(v, "checked"), &checked))
                return false;
        nb_auto_free char *clean = nb_utf8_clean(text, strlen(text), true);
        char *shown = checked ? clean ? nb_utf8_cut(clean, 400) : NULL
                              : nb_asprintf("syntax not checked: %s", clean ? clean : "");
        *ret = found_in_cell(k, checked && !k->source.allow_errors ? k->levels->syntax : CHECK_WARN,
                             "syntax", cell, (size_t)line, (size_t)column, shown,
                             checked ? REMEDY : UNCHECKED_REMEDY, err);
        return true;
}

static int not_checked(struct checking *k, const char *why, struct nb_err *err)
{
        char *text = nb_starts_with(why, "syntax not checked")
                             ? nb_strdup(why)
                             : nb_asprintf("syntax not checked: %s", why);

        return found_in_file(k, CHECK_WARN, "syntax", 0, (struct nb_json_pos){0}, text,
                             UNCHECKED_REMEDY, err);
}

/* 1 when it makes no sense, which was told: whoever speaks so is not asked again. */
static int take_answer(struct checking *k, const struct nb_buf *b, struct nb_err *err)
{
        const struct nb_json_limits limits = {.bytes = PROCESS_ANSWER_MAX, .depth = 4};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
        const struct nb_json *root;
        struct nb_err why;
        int r = nb_json_read(nb_buf_str(b), b->len, &limits, &t, NULL, &why);

        if (r == -NB_E_NOMEM)
                return nb_fail(err, NB_E_NOMEM, "%s", why.msg);
        if (r < 0) {
                r = not_checked(k, why.msg, err);
                return r < 0 ? r : 1;
        }
        root = nb_json_root(t);
        for (size_t i = 0; i < nb_json_size(root); i++) {
                if (!take_item(k, nb_json_index(root, i), &r, err)) {
                        r = not_checked(k, "the answer makes no sense", err);
                        return r < 0 ? r : 1;
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The process of that interpreter: a warm one, or the place for one. */
static struct warm *find_warm(struct check *c, const char *python)
{
        struct warm *w;

        for (size_t i = 0; i < CHECK_PYTHONS; i++)
                if (nb_streq(c->syntax[i].python, python))
                        return &c->syntax[i];
        w = &c->syntax[c->next];
        c->next = (c->next + 1) % CHECK_PYTHONS;
        if (w->process.pid)
                process_stop(&w->process);
        free(w->python);
        w->python = NULL;
        return w;
}

/* Each notebook of a push may take its time, all of them together may not hold
 * up the pushes that wait behind. */
static bool is_spent(const struct check *c)
{
        return c->o.budget_us && c->waited_us >= c->o.budget_us;
}

static int ask(struct checking *k, struct warm *w, const char *mode, const char *python,
               const struct nb_buf *request, struct nb_err *err)
{
        const uint64_t begin = nb_mono_us(&nb_clock_real);
        struct check *c = k->check;
        const uint64_t timeout =
                c->o.timeout_us * (w == &c->kernel ? KERNEL_TIME_FACTOR : UINT64_C(1));
        nb_auto_buf answer = NB_BUF(PROCESS_ANSWER_MAX);
        struct nb_err why;
        int r = 0;

        if (is_spent(c))
                return not_checked(k, "the notebooks of this push before it took too long", err);
        if (!w->python && !(w->python = nb_strdup(python)))
                return nb_fail(err, NB_E_NOMEM, "no memory to check syntax");
        if (!w->process.pid)
                r = process_start(&(struct process_opts){.mode = mode,
                                                         .python = python,
                                                         .sandbox = c->o.sandbox,
                                                         .hide = c->o.hide,
                                                         .memory_max = c->o.memory_max},
                                  &w->process, &why);
        if (r == 0)
                r = process_ask(&w->process, request, timeout, &answer, &why);
        c->waited_us += nb_mono_us(&nb_clock_real) - begin;
        if (r == 0) {
                r = take_answer(k, &answer, err);
                if (r > 0)
                        process_stop(&w->process);
                return r < 0 ? r : 0;
        }
        if (w->process.pid)
                process_stop(&w->process);
        return r == -NB_E_NOMEM ? nb_fail(err, NB_E_NOMEM, "%s", why.msg)
                                : not_checked(k, why.msg, err);
}

static int check_other(struct checking *k, struct nb_buf *request, struct nb_err *err)
{
        struct check *c = k->check;

        if (!c->o.kernel_check || !k->source.kernel) {
                if (!request_write(k, NULL, request))
                        return 0;
                return check_note(k,
                                  nb_asprintf(c->o.kernel_check
                                                      ? "cells in %s are not checked: the "
                                                        "notebook names no kernel"
                                                      : "cells in %s are not checked (use "
                                                        "--kernel-check)",
                                              k->source.language),
                                  err);
        }
        if (!request_write(k, k->source.kernel, request))
                return 0;
        return ask(k, &c->kernel, "kernel", c->o.python, request, err);
}

int check_syntax(struct checking *k, struct nb_err *err)
{
        const char *python = k->job->python ? k->job->python : k->check->o.python;
        /* each cell costs its source and two numbers, and a kernel is named */
        nb_auto_buf request = NB_BUF(k->source.text.len + 64 * (k->source.n + 4) +
                                     (k->source.kernel ? strlen(k->source.kernel) : 0));

        if (k->levels->syntax == CHECK_OFF)
                return 0;
        if (!notebook_language_is_python(k->source.language))
                return check_other(k, &request, err);
        if (!request_write(k, NULL, &request))
                return 0;
        if (request.failed)
                return nb_fail(err, NB_E_NOMEM, "no memory to check syntax");
        return ask(k, find_warm(k->check, python), "syntax", python, &request, err);
}
