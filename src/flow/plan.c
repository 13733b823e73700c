/* SPDX-License-Identifier: Apache-2.0 */

#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/notebook.h>
#include <nbcid/notebook_environment.h>

#include "flow-priv.h"

static void plan_job_done(struct plan_job *j)
{
        free(j->notebook);
        free(j->refused);
        free(j->findings);
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

/* What all notebooks of a build are planned with. */
struct planning {
        const struct config *config;
        const struct repo_config *repo;
        const struct store_build *build;
        struct plan_files *files;
        const struct plan_gate *gate;
};

/* The job fails with why, which is the notebook's or the repository's fault;
 * anything else is ours and fails the preparation. */
static int plan_refuse(struct plan_job *j, enum run_class class, const struct nb_err *why,
                       struct nb_err *err)
{
        if (why->code != NB_E_INVALID && why->code != NB_E_LIMIT)
                return nb_fail(err, why->code, "%s: %s", j->notebook, why->msg);
        j->refused_class = class;
        j->refused = nb_strdup(why->msg);
        return j->refused ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

/* The notebook's bytes and what they say of it.  0 with refused set, too. */
static int plan_read(const struct planning *p, const struct git_changed *g, struct nb_buf *text,
                     struct plan_job *j, struct notebook_head *head, struct nb_err *err)
{
        nb_auto_free char *file =
                nb_asprintf("%s/%zu", p->files->dir, (size_t)(g - p->files->answer->changed));
        struct nb_err why;

        if (!file)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        if (g->oddity != GIT_REGULAR) {
                j->refused_class = CLASS_CHECK;
                j->refused = oddity_text(p->config, g);
                return j->refused ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        if (nb_read_file(AT_FDCWD, file, text, err) < 0)
                return nb_wrap(err, -(int)err->code, "extracted %s", g->path);
        if (notebook_read_head(g->path, nb_buf_str(text), text->len, p->config->max_notebook, head,
                               &why) < 0)
                return plan_refuse(j, CLASS_CHECK, &why, err);
        j->cells = head->code_cells;
        return 0;
}

/* Bits of the names in [environments] allow, which the configuration has
 * checked. */
static unsigned plan_allow(const struct nb_strv *names)
{
        unsigned bits = 0, bit;

        for (size_t i = 0; i < names->n; i++)
                if (requirements_allow_parse(names->v[i], &bit))
                        bits |= bit;
        return bits;
}

/* What it runs in.  0 with refused set, too. */
static int plan_environment(const struct planning *p, const struct notebook_head *head,
                            struct plan_job *j, struct nb_err *err)
{
        const struct notebook_files files = {.read = plan_files_read,
                                             .has = plan_files_has,
                                             .binder = p->files->answer->binder,
                                             .dot_binder = p->files->answer->dot_binder,
                                             .arg = p->files};
        struct repo_wish wish;
        struct nb_err why;

        repo_config_environment(p->repo, j->notebook, &wish);
        if (environment_resolve(
                    &(struct environment_question){.notebook = j->notebook,
                                                   .head = head,
                                                   .wish = &wish,
                                                   .allow = plan_allow(&p->config->allow),
                                                   .files = &files},
                    &j->environment, &why) < 0)
                return plan_refuse(j, CLASS_ENVIRONMENT, &why, err);
        j->environment.workspace = nb_strdup(wish.workspace);
        return wish.workspace && !j->environment.workspace
                       ? nb_fail(err, NB_E_NOMEM, "out of memory")
                       : 0;
}

static int plan_one(const struct planning *p, const struct git_changed *g, struct plan_job *ret,
                    struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(p->config->max_notebook);
        NB_CLEANUP(notebook_head_done) struct notebook_head head = {0};
        nb_auto_free char *parameters = NULL;
        struct nb_err why;
        int r;

        *ret = (struct plan_job){.notebook = nb_strdup(g->path)};
        if (!ret->notebook)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        repo_config_limits(p->repo, p->config, g->path, &ret->timeout_us, &ret->cell_timeout_us);
        r = repo_config_parameters(p->repo, g->path, &parameters, &why);
        if (r < 0)
                return plan_refuse(ret, CLASS_CHECK, &why, err);
        r = plan_read(p, g, &text, ret, &head, err);
        if (r == 0 && !ret->refused)
                r = plan_environment(p, &head, ret, err);
        ret->environment.parameters = NB_TAKE(parameters);
        if (r == 0 && text.len > 0)
                r = plan_gate_check(p->gate, p->repo, nb_buf_str(&text), text.len, ret, err);
        return r;
}

const struct config_executor *plan_executor_of(const struct config *c, const char *forge,
                                               const char *repository)
{
        const struct config_repository *r = config_find_repository(c, forge, repository);
        const struct config_executor *x =
                r && r->executor ? config_find_executor(c, r->executor) : NULL;

        return x ? x : &c->executors[0];
}

/* The one executor of this repository; its own file may name it again, and
 * no other. */
static int plan_executor(const struct config *c, const char *forge, const char *repository,
                         const struct repo_config *rc, struct plan *p, struct nb_err *err)
{
        const char *name = plan_executor_of(c, forge, repository)->name;

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

static int plan_jobs(const struct planning *g, struct plan *p, struct nb_err *err)
{
        const struct git_answer *a = g->files->answer;
        const char *only = g->build->only;
        size_t wanted = 0;
        int r;

        for (size_t i = 0; i < a->n_changed; i++)
                wanted += repo_config_wants(g->repo, a->changed[i].path);
        if (!only && wanted > g->config->max_notebooks) {
                p->wrong = nb_asprintf("%zu notebooks changed, more than the %u of [limits] "
                                       "max_notebooks; exclude some in .nbcid.toml or push less "
                                       "at once",
                                       wanted, g->config->max_notebooks);
                return p->wrong ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        p->jobs = nb_alloc_array(wanted ? wanted : 1, sizeof(*p->jobs));
        if (!p->jobs)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        for (size_t i = 0; i < a->n_changed; i++) {
                const char *path = a->changed[i].path;

                if (!repo_config_wants(g->repo, path) || (only && !nb_streq(only, path)))
                        continue;
                if (g->files->cancel && atomic_load(g->files->cancel))
                        return nb_fail(err, NB_E_CANCELLED, "the preparation was cancelled");
                r = plan_one(g, &a->changed[i], &p->jobs[p->n], err);
                p->n++; /* counted first: plan_done() frees what a failure left */
                if (r < 0)
                        return r;
        }
        return 0;
}

int plan_make(const struct config *c, const char *forge, const struct store_build *b,
              struct plan_files *f, const struct plan_gate *gate, struct plan *ret,
              struct nb_err *err)
{
        const struct git_answer *a = f->answer;
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
                r = plan_jobs(&(struct planning){c, &rc, b, f, gate}, &p, err);
        repo_config_done(&rc);
        if (r < 0) {
                plan_done(&p);
                return r;
        }
        *ret = p;
        return 0;
}
