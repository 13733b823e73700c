/* SPDX-License-Identifier: Apache-2.0 */

/* recover.c - once after a start: find again what a former process left */

#include <nbcid/log.h>

#include "flow-priv.h"

struct inflight {
        struct flow *flow;
        struct nb_err *err;
};

static int adopt_one(void *arg, const struct store_attempt *a)
{
        struct inflight *in = arg;

        if (run_has_ref(in->flow, a->ref)) /* by a recovery that failed half way */
                return 0;
        nb_log(LOG_INFO, "taking up an attempt of a former process", NB_F_INT("job", a->job),
               NB_F_STR("ref", a->ref), NB_F_STR("state", job_state_name(a->state)));
        return run_adopt(in->flow, a, in->err);
}

static bool keep_ref(void *arg, const char *ref)
{
        return run_has_ref(arg, ref);
}

/* Executors may have gone from the configuration while jobs waited for them. */
static int fail_orphans(struct flow *f, struct nb_err *err)
{
        nb_auto_free const char **names = nb_alloc_array(f->deps.n_execs + 1, sizeof(const char *));
        size_t n = 0;
        int r;

        if (!names)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        for (size_t i = 0; i < f->deps.n_execs; i++)
                names[i] = f->deps.execs[i].name;
        r = store_fail_orphans(f->deps.store, names, &n, err);
        if (r == 0 && n > 0)
                nb_log(LOG_WARNING, "jobs whose executor is gone were ended", NB_F_INT("jobs", n));
        return r;
}

int flow_recover(struct flow *f, struct nb_err *err)
{
        struct inflight in = {.flow = f, .err = err};
        int r;

        r = store_recover(f->deps.store, err);
        if (r == 0)
                r = fail_orphans(f, err);
        if (r == 0)
                r = store_each_inflight(f->deps.store, adopt_one, &in, err);
        if (r < 0)
                return nb_wrap(err, r, "recovery");
        for (size_t i = 0; i < f->deps.n_execs; i++)
                f->deps.execs[i].exec->ops->sweep(f->deps.execs[i].exec, keep_ref, f);
        f->recovered = true;
        sweep_leftovers(f);
        sweep_start(f);
        flow_look_soon(f);
        return 0;
}
