/* SPDX-License-Identifier: Apache-2.0 */

#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/notebook.h>

#include "flow-priv.h"

static void plan_job_done(struct plan_job *j)
{
        free(j->notebook);
        free(j->refused);
        nb_environment_done(&j->environment);
}

void plan_done(struct plan *p)
{
        for (size_t i = 0; i < p->n; i++)
                plan_job_done(&p->jobs[i]);
        free(p->jobs);
        free(p->executor);
        free(p->wrong);
        free(p->note);
        *p = (struct plan){0};
}

/* What is wrong with a changed path before anyone looks inside; owned. */
static char *oddity_text(const struct config *c, const struct git_changed *g)
{
        switch (g->oddity) {
        case GIT_SYMLINK:
                return nb_asprintf("%s is a symbolic link; commit the notebook itself", g->path);
        case GIT_TOO_BIG:
                return nb_asprintf("%s has %llu bytes, more than the %llu of [limits] "
                                   "max_notebook; clear its outputs",
                                   g->path, (unsigned long long)g->size,
                                   (unsigned long long)c->max_notebook);
        case GIT_LFS:
                return nb_asprintf("%s is a Git LFS pointer, not a notebook; take notebooks out "
                                   "of LFS (git lfs untrack) and commit it again",
                                   g->path);
        case GIT_REGULAR:
        case GIT_ODDITY__COUNT:
                break;
        }
        return nb_asprintf("%s cannot be read", g->path);
}

static int plan_one(const struct config *c, const struct repo_config *rc,
                    const struct git_changed *g, const char *file, struct plan_job *ret,
                    struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(c->max_notebook);
        struct notebook_head head = {0};
        struct nb_err why;

        *ret = (struct plan_job){.notebook = nb_strdup(g->path)};
        if (!ret->notebook)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        repo_config_limits(rc, c, g->path, &ret->timeout_us, &ret->cell_timeout_us);
        if (g->oddity != GIT_REGULAR) {
                ret->refused = oddity_text(c, g);
                return ret->refused ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        if (nb_read_file(AT_FDCWD, file, &text, err) < 0)
                return nb_wrap(err, -(int)err->code, "extracted %s", g->path);
        if (notebook_read_head(g->path, nb_buf_str(&text), text.len, c->max_notebook, &head, &why) <
            0) {
                if (why.code == NB_E_NOMEM)
                        return nb_fail(err, NB_E_NOMEM, "%s", why.msg);
                ret->refused = nb_strdup(why.msg);
                return ret->refused ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        ret->cells = head.code_cells;
        ret->environment = head.environment;
        head.environment = (struct nb_environment){0};
        notebook_head_done(&head);
        return 0;
}

/* The one executor of this repository; its own file may name it again, and
 * no other. */
static int plan_executor(const struct config *c, const char *forge, const char *repository,
                         const struct repo_config *rc, struct plan *p, struct nb_err *err)
{
        const struct config_repository *r = config_find_repository(c, forge, repository);
        const char *name = r && r->executor ? r->executor : c->executors[0].name;

        if (rc->executor && !nb_streq(rc->executor, name)) {
                p->wrong = nb_asprintf(".nbcid.toml: executor \"%s\" is not allowed for this "
                                       "repository; use \"%s\" or leave the key out",
                                       rc->executor, name);
                return p->wrong ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        p->executor = nb_strdup(name);
        return p->executor ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

static int plan_notes(const struct git_answer *a, struct plan *p, struct nb_err *err)
{
        nb_auto_buf b = NB_BUF(8192);

        for (size_t i = 0; i < a->warnings.n; i++)
                if (nb_buf_printf(&b, "%s%s", i ? "; " : "", a->warnings.v[i]) < 0)
                        break; /* the rest is in the log: see prepare.c */
        if (a->warnings.n == 0)
                return 0;
        p->note = nb_utf8_clean(nb_buf_str(&b), b.len, true);
        return p->note ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

static int plan_jobs(const struct config *c, const struct repo_config *rc,
                     const struct store_build *b, const struct git_answer *a, const char *dir,
                     struct plan *p, struct nb_err *err)
{
        size_t wanted = 0;
        int r;

        for (size_t i = 0; i < a->n_changed; i++)
                wanted += repo_config_wants(rc, a->changed[i].path);
        if (!b->only && wanted > c->max_notebooks) {
                p->wrong = nb_asprintf("%zu notebooks changed, more than the %u of [limits] "
                                       "max_notebooks; exclude some in .nbcid.toml or push less "
                                       "at once",
                                       wanted, c->max_notebooks);
                return p->wrong ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        p->jobs = nb_alloc_array(wanted ? wanted : 1, sizeof(*p->jobs));
        if (!p->jobs)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        for (size_t i = 0; i < a->n_changed; i++) {
                const char *path = a->changed[i].path;
                nb_auto_free char *file = NULL;

                if (!repo_config_wants(rc, path) || (b->only && !nb_streq(b->only, path)))
                        continue;
                file = nb_asprintf("%s/%zu", dir, i);
                if (!file)
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
                r = plan_one(c, rc, &a->changed[i], file, &p->jobs[p->n], err);
                p->n++; /* counted first: plan_done() frees what a failure left */
                if (r < 0)
                        return r;
        }
        return 0;
}

int plan_make(const struct config *c, const char *forge, const struct store_build *b,
              const struct git_answer *a, const char *dir, struct plan *ret, struct nb_err *err)
{
        struct repo_config rc = {0};
        struct nb_err why;
        struct plan p = {0};
        int r;

        r = repo_config_parse(a->repo_config ? a->repo_config : "", a->n_repo_config, &rc, &why);
        if (r < 0) {
                p.wrong = nb_strdup(why.msg);
                if (!p.wrong)
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
                *ret = p;
                return 0;
        }
        r = plan_executor(c, forge, b->event.repository, &rc, &p, err);
        if (r == 0)
                r = plan_notes(a, &p, err);
        if (r == 0 && !p.wrong)
                r = plan_jobs(c, &rc, b, a, dir, &p, err);
        repo_config_done(&rc);
        if (r < 0) {
                plan_done(&p);
                return r;
        }
        *ret = p;
        return 0;
}
