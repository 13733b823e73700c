/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/notebook.h>

#include "environment.h"
#include "walk.h"

struct heading {
        struct walk walk;
        struct environment_draft environment;
        int64_t code_cells;
};

static int on_value(void *arg, enum walk_member m, const struct walk_value *v, struct nb_err *err)
{
        struct heading *h = arg;

        return environment_take(&h->environment, m, v, err);
}

static int on_end(void *arg, enum walk_member m, struct nb_err *err)
{
        struct heading *h = arg;

        int r = environment_end(&h->environment, m, err);

        if (r < 0)
                return r;
        h->code_cells += m == WALK_CELL && h->walk.cell.type == WALK_CODE;
        return 0;
}

static void heading_done(struct heading *h)
{
        environment_done(&h->environment);
}

int notebook_read_head(const char *name, const char *p, size_t n, uint64_t max_bytes,
                       struct notebook_head *ret, struct nb_err *err)
{
        static const struct walk_ops ops = {.value = on_value, .end = on_end};
        NB_CLEANUP(heading_done) struct heading h = {0};
        struct notebook_head head = {0};
        int r;

        r = walk_notebook(name, p, n, max_bytes, &ops, &h, &h.walk, err);
        if (r < 0)
                return r;
        r = environment_finish(&h.environment, &head, err);
        if (r < 0)
                return nb_wrap(err, r, "%s", name);
        head.nbformat = h.walk.nbformat;
        head.nbformat_minor = h.walk.nbformat_minor;
        head.cells = h.walk.cell.number;
        head.code_cells = h.code_cells;
        *ret = head;
        return 0;
}

void notebook_head_done(struct notebook_head *h)
{
        if (!h)
                return;
        nb_environment_done(&h->environment);
        free(h->pipfile);
        free(h->pipfile_lock);
        *h = (struct notebook_head){0};
}
