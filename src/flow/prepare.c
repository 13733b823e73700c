/* SPDX-License-Identifier: Apache-2.0 */

/* prepare.c - from a queued build to its jobs: fetch, diff, read, decide */

#include <fcntl.h>

#include <nbcid/forge.h>
#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>

#include "flow-priv.h"

/* Tries of a remote that does not answer: with the default pause the last one
 * is some 10 minutes after the first. */
#define PREPARE_TRIES 7

struct prep {
        struct loop_work work; /* first: the pool hands this back */
        struct flow *flow;     /* NULL: abandoned */
        struct prep *next;
        struct config *config;
        struct store_build build;
        char *extract_dir;
        bool ready, cancelled, told;

        /* filled on the pool */
        int r;
        struct nb_err err;
        struct git_answer answer;
        struct plan plan;
};

void flow_remote_done(struct flow_remote *r)
{
        free(r->url);
        free(r->mirror);
        free(r->hosts);
        *r = (struct flow_remote){0};
}

int flow_remote_init(const struct config *c, const char *forge, const char *repository,
                     struct flow_remote *ret, struct nb_err *err)
{
        const struct config_forge *f = config_find_forge(c, forge);
        nb_auto_free char *name = NULL;
        struct flow_remote m = {0};
        int r;

        if (!f)
                return nb_fail(err, NB_E_INVALID,
                               "forge \"%s\" is not in the configuration any more", forge);
        r = forge_clone_url(f, repository, &m.url, err);
        if (r < 0)
                return r;
        name = nb_url_encode(repository, false);
        m.mirror = name ? nb_asprintf("%s/mirrors/%s/%s.git", c->state_dir, forge, name) : NULL;
        m.hosts = nb_alloc_array(f->submodule_hosts.n + 1, sizeof(*m.hosts));
        if (!m.mirror || !m.hosts) {
                flow_remote_done(&m);
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        for (size_t i = 0; i < f->submodule_hosts.n; i++)
                m.hosts[i] = f->submodule_hosts.v[i];
        *ret = m;
        ret->remote = (struct git_remote){
                .url = ret->url,
                .username = f->kind == FORGE_GITLAB ? "oauth2" : "x-access-token",
                .token = &f->token,
                .ssh_key = &f->ssh_key,
                .ssh_host_key = f->ssh_host_key,
                .submodule_hosts = ret->hosts,
        };
        return 0;
}

static int prep_git(struct prep *p, struct nb_err *err)
{
        const struct config *c = p->config;
        struct flow_remote m;
        int r;

        r = flow_remote_init(c, p->build.forge, p->build.event.repository, &m, err);
        if (r < 0)
                return r;
        if (!config_find_repository(c, p->build.forge, p->build.event.repository)) {
                flow_remote_done(&m);
                return nb_fail(err, NB_E_INVALID,
                               "repository %s is not in the configuration any more",
                               p->build.event.repository);
        }
        r = nb_rm_tree(AT_FDCWD, p->extract_dir, err);
        if (r == 0)
                r = nb_mkdirs(AT_FDCWD, p->extract_dir, 0700, err);
        if (r == 0)
                r = git_call(
                        &(struct git_request){
                                .op = GIT_PREPARE,
                                .mirror = m.mirror,
                                .remote = m.remote,
                                .limits = {.timeout_us = c->fetch_timeout_us,
                                           .max_receive = c->max_repository,
                                           .max_checkout = c->max_repository,
                                           .max_blob = c->max_notebook},
                                .commit = p->build.event.after,
                                .ref = p->build.event.ref,
                                .before = p->build.event.before,
                                .default_branch = p->build.event.default_branch,
                                .extract_dir = p->extract_dir,
                                .cancel = &p->work.cancel,
                        },
                        &p->answer, err);
        flow_remote_done(&m);
        return r;
}

/* One more file of the commit, out of the mirror. */
static int prep_look(void *arg, const char *path, struct git_answer *ret, char **ret_file,
                     struct nb_err *err)
{
        struct prep *p = arg;
        const struct config *c = p->config;
        nb_auto_free char *dir = nb_asprintf("%s/look", p->extract_dir);
        nb_auto_free char *file = nb_asprintf("%s/look/s0", p->extract_dir);
        struct flow_remote m;
        int r;

        if (!dir || !file)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = flow_remote_init(c, p->build.forge, p->build.event.repository, &m, err);
        if (r < 0)
                return r;
        r = git_call(&(struct git_request){.op = GIT_FILE,
                                           .mirror = m.mirror,
                                           .remote = m.remote,
                                           .limits = {.timeout_us = c->fetch_timeout_us},
                                           .commit = p->answer.commit,
                                           .extract_dir = dir,
                                           .path = path,
                                           .cancel = &p->work.cancel},
                     ret, err);
        flow_remote_done(&m);
        if (r == 0)
                *ret_file = NB_TAKE(file);
        return r;
}

static void prep_run(struct loop_work *w)
{
        struct prep *p = (struct prep *)w;
        struct plan_files files = {.answer = &p->answer,
                                   .dir = p->extract_dir,
                                   .look = prep_look,
                                   .arg = p,
                                   .cancel = &p->work.cancel};
        struct plan_gate gate = {0};
        struct nb_err ignored;

        p->r = plan_gate_begin(
                p->config, plan_executor_of(p->config, p->build.forge, p->build.event.repository),
                &gate, &p->err);
        if (p->r == 0)
                p->r = prep_git(p, &p->err);
        if (p->r == 0)
                p->r = plan_make(p->config, p->build.forge, &p->build, &files, &gate, &p->plan,
                                 &p->err);
        plan_files_done(&files);
        plan_gate_end(&gate);
        (void)nb_rm_tree(AT_FDCWD, p->extract_dir, &ignored);
}

static struct prep *prep_free(struct prep *p)
{
        if (!p)
                return NULL;
        config_unref(p->config);
        store_build_done(&p->build);
        git_answer_done(&p->answer);
        plan_done(&p->plan);
        free(p->extract_dir);
        free(p);
        return NULL;
}
NB_DEFINE_FREEP(struct prep *, prep_free);

static void prep_unlink(struct prep *p)
{
        struct prep **at = &p->flow->preps;

        while (*at != p)
                at = &(*at)->next;
        *at = p->next;
        p->flow->n_preps--;
}

/* The build's jobs as the store wants them, and its verb. */
static int prep_store_jobs(struct prep *p, bool *ret_over, struct nb_err *err)
{
        const struct plan *plan = &p->plan;
        nb_auto_free struct store_new_job *jobs = NULL;

        jobs = nb_alloc_array(plan->n ? plan->n : 1, sizeof(*jobs));
        if (!jobs)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        for (size_t i = 0; i < plan->n; i++)
                jobs[i] = (struct store_new_job){
                        .notebook = plan->jobs[i].notebook,
                        .executor = plan->executor,
                        .environment = plan->jobs[i].refused ? NULL : &plan->jobs[i].environment,
                        .cells = plan->jobs[i].cells,
                        .timeout_us = plan->jobs[i].timeout_us,
                        .cell_timeout_us = plan->jobs[i].cell_timeout_us,
                        .notify = i < p->config->status_per_notebook,
                        .refused = plan->jobs[i].refused,
                        .refused_class = plan->jobs[i].refused_class,
                        .findings = plan->jobs[i].findings,
                };
        return store_build_prepared(p->flow->deps.store, p->build.id, p->answer.commit,
                                    p->answer.title, plan->note, jobs, plan->n, ret_over, err);
}

static int prep_store_failure(struct prep *p, struct nb_err *err)
{
        struct flow *f = p->flow;
        nb_auto_free char *reason = nb_utf8_clean(p->err.msg, strlen(p->err.msg), true);

        if (!p->told) { /* once, however often the store refuses */
                atomic_fetch_add(&f->deps.metrics->git_errors, 1);
                nb_log_err(LOG_WARNING, &p->err, "a build could not be prepared",
                           NB_F_INT("build", p->build.id),
                           NB_F_STR("repository", p->build.event.repository),
                           NB_F_INT("tries", p->build.tries + 1));
        }
        p->told = true;
        if (nb_errc_policy(p->err.code)->retry && p->build.tries + 1 < PREPARE_TRIES)
                return store_build_again(
                        f->deps.store, p->build.id,
                        nb_now_ms(f->deps.clock) + flow_backoff_ms(f, p->build.tries), reason, err);
        return store_build_trouble(f->deps.store, p->build.id, BUILD_ERRORED, reason, err);
}

static int prep_store_result(struct prep *p, struct nb_err *err)
{
        bool over = false;

        if (p->cancelled) /* the store ended the build already */
                return 0;
        if (p->r < 0)
                return prep_store_failure(p, err);
        if (p->plan.wrong)
                return store_build_trouble(p->flow->deps.store, p->build.id, BUILD_FAILED,
                                           p->plan.wrong, err);
        return prep_store_jobs(p, &over, err);
}

/* Store what came of it.  true: the item is gone. */
static bool prep_store(struct prep *p)
{
        struct flow *f = p->flow;
        struct nb_err err;
        int r;

        r = prep_store_result(p, &err);
        if (r < 0 && p->r == 0 && (err.code == NB_E_LIMIT || err.code == NB_E_INVALID)) {
                /* These jobs will never be taken: the build ends with that, or it
                 * would keep all others waiting. */
                p->r = r;
                p->err = err;
                r = prep_store_result(p, &err);
        }
        if (r < 0 && err.code != NB_E_CONFLICT)
                return flow_store_failed(f, &err, "prepared");
        if (r == 0 && p->r == 0 && !p->cancelled)
                nb_log(LOG_INFO, "build prepared", NB_F_INT("build", p->build.id),
                       NB_F_STR("repository", p->build.event.repository),
                       NB_F_STR("commit", p->answer.commit), NB_F_INT("jobs", p->plan.n),
                       NB_F_STR("note", p->plan.wrong ? p->plan.wrong : p->plan.note));
        prep_unlink(p);
        prep_free(p);
        return true;
}

static void prep_done(struct loop_work *w)
{
        struct prep *p = (struct prep *)w;
        struct flow *f = p->flow;

        if (!f) {
                prep_free(p);
                return;
        }
        p->ready = true;
        flow_look_soon(f);
}

/* Pick a build and give it to the pool.  1: one was taken, 0: none is due.
 * Once it is picked nothing may lose it: what fails after that is stored like
 * any other failure of a preparation. */
static int prep_next(struct flow *f, struct nb_err *err)
{
        NB_CLEANUP(prep_freep) struct prep *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = store_pick_build(f->deps.store, &p->build, err);
        if (r <= 0)
                return r;
        p->work.run = prep_run;
        p->work.done = prep_done;
        p->config = config_ref(f->config);
        p->extract_dir = nb_asprintf("%s/workspaces/build-%lld", f->config->state_dir,
                                     (long long)p->build.id);
        p->flow = f;
        p->next = f->preps;
        f->preps = p;
        f->n_preps++;
        /* From here on it is the pool's, which may be through with it already. */
        r = p->extract_dir ? loop_submit(f->deps.loop, &p->work, err)
                           : nb_fail(err, NB_E_NOMEM, "out of memory");
        if (r < 0) {
                p->r = r;
                p->err = *err;
                p->ready = true;
        }
        (void)NB_TAKE(p);
        return 1;
}

bool prepare_look(struct flow *f)
{
        struct nb_err err;
        int r;

        for (struct prep *p = f->preps, *next; p; p = next) {
                next = p->next;
                if (p->ready && !prep_store(p))
                        return false;
        }
        for (r = 1; r > 0 && f->n_preps < FLOW_PREPARATIONS && flow_may_start(f);) {
                r = prep_next(f, &err);
                if (r < 0)
                        return flow_store_failed(f, &err, "pick_build");
        }
        for (struct prep *p = f->preps; p; p = p->next)
                if (p->ready) /* it never reached the pool */
                        flow_look_soon(f);
        return true;
}

void prepare_cancel(struct flow *f, int64_t build)
{
        for (struct prep *p = f->preps; p; p = p->next)
                if (p->build.id == build) {
                        p->cancelled = true;
                        atomic_store(&p->work.cancel, true);
                }
}

void prepare_abandon(struct flow *f)
{
        while (f->preps) {
                struct prep *p = f->preps;

                prep_unlink(p);
                p->flow = NULL;
                atomic_store(&p->work.cancel, true);
                if (p->ready) /* the pool is through with it */
                        prep_free(p);
        }
}
