/* SPDX-License-Identifier: Apache-2.0 */

/* look.c - a notebook is looked at before anything is rented for it */

#include <fcntl.h>

#include <nbcid/check.h>
#include <nbcid/finding.h>
#include <nbcid/fs.h>

#include "submit-priv.h"

static int check_text(struct submit *s, const struct nb_buf *text, struct findings *found,
                      struct nb_err *err)
{
        /* What runs somewhere else: only what could not run anywhere. */
        static const struct repo_check levels = {.format = CHECK_ERROR, .syntax = CHECK_ERROR};
        const struct check_opts opts = {.python = s->cfg.python,
                                        .sandbox = s->cfg.sandbox,
                                        .max_notebook = s->config->max_notebook};
        const struct check_job job = {.levels = &levels};
        NB_CLEANUP(check_freep) struct check *check = NULL;
        int r;

        if (s->o.no_check)
                return notebook_check_format(nb_buf_str(text), text->len, s->config->max_notebook,
                                             found, err);
        r = check_new(&opts, &check, err);
        return r < 0 ? r
                     : check_notebook(check, s->o.input, nb_buf_str(text), text->len, &job, found,
                                      err);
}

static int try_parameters(struct submit *s, const struct nb_buf *text, struct nb_err *err)
{
        nb_auto_buf done = NB_BUF(text->len + 2 * NOTEBOOK_EDIT_MAX);
        int r;

        if (!s->o.parameters)
                return 0;
        r = notebook_inject(s->o.input, nb_buf_str(text), text->len, s->o.parameters,
                            s->head.environment.language, &done, err);
        if (r == 1 && nb_strv_add(&s->notes, "no cell is tagged \"parameters\": the parameters go "
                                             "to the top, and the notebook's own values win") < 0)
                return no_memory(err);
        if (r == 0)
                r = check_unknown_parameters(s->o.input, nb_buf_str(text), text->len,
                                             s->o.parameters, &s->notes, err);
        return r < 0 ? r : 0;
}

static int check_image(struct submit *s, struct nb_err *err)
{
        const struct config_vertex *v = &s->cfg.vertex;

        if (!s->far || v->image || s->head.environment.image || v->container_uri)
                return 0;
        return nb_fail(err, NB_E_INVALID,
                       "%s does not say in which container it runs (metadata.environment.uri); "
                       "name the image with --container-uri",
                       s->o.input);
}

int submit_look(struct submit *s, struct nb_buf *findings, struct nb_err *err)
{
        NB_CLEANUP(findings_done) struct findings found = {.max = CHECK_FINDINGS_MAX};
        nb_auto_buf text = NB_BUF(s->config->max_notebook);
        nb_auto_fd int dir = open(s->workspace, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct nb_environment *e = &s->head.environment;
        int r = dir < 0 ? nb_fail(err, NB_E_NOTFOUND, "%s cannot be opened", s->workspace)
                        : nb_read_file(dir, s->notebook, &text, err);

        if (r < 0)
                return nb_wrap(err, r, "--input-notebook");
        r = check_text(s, &text, &found, err);
        if (r < 0)
                return r;
        if (findings_refuse(&found)) {
                check_render_human(s->o.input, &found, false, findings);
                return 1;
        }
        r = notebook_read_head(s->o.input, nb_buf_str(&text), text.len, s->config->max_notebook,
                               &s->head, err);
        if (r == 0)
                r = check_image(s, err);
        if (r == 0)
                r = try_parameters(s, &text, err);
        if (r < 0)
                return r;
        if (s->far && e->requirements && *e->requirements &&
            nb_strv_add(&s->notes, "its requirements are not installed there: the image must have "
                                   "them") < 0)
                return no_memory(err);
        if (s->o.parameters) {
                free(e->parameters);
                e->parameters = nb_strdup(s->o.parameters);
                if (!e->parameters)
                        return no_memory(err);
        }
        return 0;
}
