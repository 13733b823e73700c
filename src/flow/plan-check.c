/* SPDX-License-Identifier: Apache-2.0 */

/* plan-check.c - the static gate in front of a build's jobs */

#include <nbcid/json.h>
#include <nbcid/num.h>
#include <nbcid/runner.h>

#include "flow-priv.h"

/* As long as a thousand usual notebooks take ten times over. */
#define SYNTAX_BUDGET_US (120 * NB_US_PER_S)
#define FINDINGS_BYTES ((size_t)1 << 20) /* of one job, as JSON */

/* The daemon's state and every secret; the notebooks come through a pipe. */
static int hide(const struct config *c, const char ***ret, struct nb_err *err)
{
        const char **v = nb_alloc_array(c->secret_files.n + 2, sizeof(*v));

        if (!v)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        v[0] = c->state_dir;
        for (size_t i = 0; i < c->secret_files.n; i++)
                v[i + 1] = c->secret_files.v[i];
        *ret = v;
        return 0;
}

int plan_gate_begin(const struct config *c, const struct config_executor *x, struct plan_gate *ret,
                    struct nb_err *err)
{
        struct plan_gate g = {.python = x->python};
        int r = hide(c, &g.hide, err);

        g.environments = nb_asprintf("%s/environments", c->state_dir);
        if (r == 0 && !g.environments)
                r = nb_fail(err, NB_E_NOMEM, "out of memory");
        if (r == 0 && nb_streq(x->kind, "local")) /* what images have is not known */
                r = runner_kernels(x->python, &g.kernels, err);
        if (r == 0)
                r = check_new(&(struct check_opts){.python = x->python,
                                                   .sandbox = x->sandbox,
                                                   .hide = g.hide,
                                                   .budget_us = SYNTAX_BUDGET_US,
                                                   .max_notebook = c->max_notebook},
                              &g.check, err);
        if (r < 0) {
                plan_gate_end(&g);
                return r;
        }
        *ret = g;
        return 0;
}

void plan_gate_end(struct plan_gate *g)
{
        check_free(g->check);
        free(g->environments);
        free(g->hide);
        nb_strv_done(&g->kernels);
        *g = (struct plan_gate){0};
}

/* The names of what the repository wants to set. */
static int parameter_names(const char *json, struct nb_strv *ret, struct nb_err *err)
{
        static const struct nb_json_limits limits = {.bytes = NB_ENVIRONMENT_MAX, .depth = 16};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
        const char *name;
        int r = json ? nb_json_read(json, strlen(json), &limits, &t, NULL, err) : 0;

        for (size_t i = 0; r == 0 && t && i < nb_json_size(nb_json_root(t)); i++) {
                (void)nb_json_member(nb_json_root(t), i, &name);
                if (nb_strv_add(ret, name) < 0)
                        r = nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        return r;
}

/* What was found, for the job's row.  A list that is too long is cut at a whole
 * finding, and says how many more there are. */
static int write_findings(struct findings *f, char **ret, struct nb_err *err)
{
        while (f->n > 0) {
                nb_auto_buf text = NB_BUF(FINDINGS_BYTES);

                findings_write_json(f, &text);
                if (!text.failed) {
                        *ret = nb_buf_steal(&text);
                        return *ret ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
                }
                finding_done(&f->v[--f->n]);
                f->more++;
        }
        return 0;
}

static int refuse(struct plan_job *j, const struct findings *f, struct nb_err *err)
{
        if (j->refused || !findings_refuse(f))
                return 0;
        j->refused_class = CLASS_CHECK;
        j->refused = findings_text(f);
        return j->refused ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

int plan_gate_check(const struct plan_gate *g, const struct repo_config *rc, const char *p,
                    size_t n, struct plan_job *j, struct nb_err *err)
{
        NB_CLEANUP(findings_done) struct findings found = {.max = CHECK_FINDINGS_MAX};
        NB_CLEANUP(nb_strv_done) struct nb_strv names = {0};
        nb_auto_free char *python = NULL;
        int r = parameter_names(j->environment.parameters, &names, err);

        /* Syntax is what the Python says that will run it. */
        if (r == 0)
                r = runner_environment_python(g->environments, g->python, &j->environment, &python,
                                              err);
        if (r >= 0)
                r = check_notebook(
                        g->check, j->notebook, p, n,
                        &(struct check_job){
                                .levels = &rc->check,
                                .parameters = (const char *const *)names.v,
                                .kernels = g->kernels.n ? (const char *const *)g->kernels.v : NULL,
                                .python = python,
                        },
                        &found, err);
        if (r == 0)
                r = refuse(j, &found, err);
        return r < 0 ? r : write_findings(&found, &j->findings, err);
}
