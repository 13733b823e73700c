/* SPDX-License-Identifier: Apache-2.0 */

/* crowd.c - one operation for each of many files, some at a time */

#include "submit-priv.h"

struct lane {
        struct state *state;
        struct blob_op *op;
};

struct state {
        const struct crowd *c;
        struct lane lanes[SUBMIT_LANES];
        size_t next;
        unsigned flying;
        bool landed; /* since we looked */
        struct nb_err err;
        bool failed;
};

static void on_done(void *arg, const struct blob_object *o, const struct nb_err *err)
{
        struct lane *l = arg;

        l->op = NULL;
        l->state->flying--;
        l->state->landed = true;
        if (err && !l->state->failed) {
                l->state->failed = true;
                l->state->err = *err;
        }
}

/* Give each empty lane the next one. */
static void fill(struct state *t)
{
        for (size_t i = 0; i < SUBMIT_LANES && !t->failed && t->next < t->c->n; i++) {
                struct lane *l = &t->lanes[i];

                if (l->op)
                        continue;
                if (t->c->begin(t->c->arg, t->next, on_done, l, &l->op, &t->err) < 0) {
                        t->failed = true;
                        return;
                }
                t->flying++;
                t->next++;
        }
}

int crowd_run(const struct crowd *c, struct nb_err *err)
{
        struct state t = {.c = c};
        int r = 0;

        for (size_t i = 0; i < SUBMIT_LANES; i++)
                t.lanes[i].state = &t;
        for (fill(&t); t.flying > 0 && !t.failed && r == 0; fill(&t)) {
                t.landed = false;
                r = cloud_wait(c->s, &t.landed, c->anyway, err);
        }
        /* What is on its way would arrive after whoever cleans up. */
        while (t.flying > 0) {
                t.landed = false;
                if (cloud_wait(c->s, &t.landed, true, NULL) < 0)
                        break;
        }
        for (size_t i = 0; i < SUBMIT_LANES; i++)
                blob_cancel(t.lanes[i].op);
        return t.failed ? nb_fail(err, t.err.code, "%s", t.err.msg) : r;
}
