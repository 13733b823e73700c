/* SPDX-License-Identifier: Apache-2.0 */

/* gates.c - what an owner may ask of outputs, order, kernel and size */

#include <string.h>

#include "check-priv.h"

int check_size(struct checking *k, struct nb_err *err)
{
        if (k->levels->size == CHECK_OFF || k->n <= k->levels->max_size)
                return 0;
        return found_in_file(k, k->levels->size, "size", 0, (struct nb_json_pos){0},
                             nb_asprintf("the notebook has %zu bytes, over the %llu of max_size",
                                         k->n, (unsigned long long)k->levels->max_size),
                             "clear outputs before committing, or raise max_size in .nbcid.toml",
                             err);
}

static int check_kernelspec(struct checking *k, struct nb_err *err)
{
        const char *kernel = k->source.kernel;
        nb_auto_buf have = NB_BUF(400);

        if (k->levels->kernelspec == CHECK_OFF)
                return 0;
        if (!k->job->kernels)
                return check_note(k,
                                  nb_strdup("the kernelspec is not checked: the kernels of the "
                                            "executor are not known here"),
                                  err);
        if (!kernel)
                return found_in_file(k, k->levels->kernelspec, "kernelspec", 0,
                                     (struct nb_json_pos){0},
                                     nb_strdup("the notebook names no kernel"),
                                     "choose a kernel in Jupyter and save the notebook", err);
        for (const char *const *x = k->job->kernels; *x; x++) {
                if (nb_streq(*x, kernel))
                        return 0;
                (void)nb_buf_printf(&have, "%s%s", have.len ? ", " : "", *x);
        }
        return found_in_file(k, k->levels->kernelspec, "kernelspec", 0, k->source.kernel_at,
                             nb_asprintf("the executor has no kernel \"%s\"; it has: %s", kernel,
                                         have.len ? nb_buf_str(&have) : "none"),
                             "choose one of these in Jupyter and save the notebook", err);
}

static int check_outputs(struct checking *k, struct nb_err *err)
{
        int r = 0;

        if (k->levels->outputs_empty == CHECK_OFF)
                return 0;
        for (size_t i = 0; r == 0 && i < k->source.n; i++) {
                const struct notebook_cell *c = &k->source.cells[i];

                if (c->outputs > 0)
                        r = found_in_file(k, k->levels->outputs_empty, "outputs_empty",
                                          (int64_t)i + 1, c->outs,
                                          nb_asprintf("the cell has %zu output%s", c->outputs,
                                                      c->outputs == 1 ? "" : "s"),
                                          "clear all outputs before committing", err);
        }
        return r;
}

/* What is out of order, the first of each kind: where one is, all are likely
 * to be. */
struct order {
        int64_t backwards, gap, missing; /* cell; 0: none */
        int64_t before, count;           /* of the cell that is out of order */
        int64_t gap_before, gap_count;   /* the former -1: it is the first that was run */
        unsigned counted;
};

static void order_read(const struct notebook_source *s, struct order *ret)
{
        struct order o = {0};
        int64_t last = -1, missing = 0; /* some kernels begin with 0 */

        for (size_t i = 0; i < s->n; i++) {
                const struct notebook_cell *c = &s->cells[i];
                int64_t number = (int64_t)i + 1;

                /* blank cells get no count, nor do cells that are not run */
                if (c->type != NOTEBOOK_CODE || !c->inked || c->skip)
                        continue;
                if (!c->counted) {
                        if (!missing)
                                missing = number;
                        continue;
                }
                o.counted++;
                if (c->execution_count <= last && !o.backwards) {
                        o.backwards = number;
                        o.before = last;
                        o.count = c->execution_count;
                }
                if (!o.gap && last < INT64_MAX && c->execution_count > last + (last < 0 ? 2 : 1)) {
                        o.gap = number;
                        o.gap_before = last;
                        o.gap_count = c->execution_count;
                }
                last = c->execution_count;
        }
        o.missing = missing;
        *ret = o;
}

static int check_order(struct checking *k, struct nb_err *err)
{
        static const char remedy[] = "restart the kernel, run all cells, and save the notebook";
        const enum check_level level = k->levels->execution_order;
        struct order o;
        int r = 0;

        if (level == CHECK_OFF)
                return 0;
        order_read(&k->source, &o);
        if (o.counted == 0) /* never run, or cleared: nothing is claimed */
                return 0;
        if (o.backwards)
                r = found_in_cell(k, level, "execution_order", o.backwards, 0, 0,
                                  nb_asprintf("the cell was run as [%lld], and one above it as "
                                              "[%lld]",
                                              (long long)o.count, (long long)o.before),
                                  remedy, err);
        /* in a notebook that is out of order, gaps are no news */
        else if (o.gap)
                r = found_in_cell(k, level, "execution_order", o.gap, 0, 0,
                                  o.gap_before < 0
                                          ? nb_asprintf("the first that was run is [%lld]: what "
                                                        "ran before it is not in the notebook",
                                                        (long long)o.gap_count)
                                          : nb_asprintf("the cell was run as [%lld] after [%lld]: "
                                                        "what ran between is not in the notebook",
                                                        (long long)o.gap_count,
                                                        (long long)o.gap_before),
                                  remedy, err);
        if (r == 0 && o.missing)
                r = found_in_cell(k, level, "execution_order", o.missing, 0, 0,
                                  nb_strdup("the cell was not run, and others were"), remedy, err);
        return r;
}

int check_gates(struct checking *k, struct nb_err *err)
{
        int r = check_size(k, err);

        if (r == 0)
                r = check_kernelspec(k, err);
        if (r == 0)
                r = check_outputs(k, err);
        return r == 0 ? check_order(k, err) : r;
}
