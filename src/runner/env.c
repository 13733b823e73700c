/* SPDX-License-Identifier: Apache-2.0 */

/* env.c - what a job asks to run in, found or built */

#include <fcntl.h>

#include <nbcid/clock.h>
#include <nbcid/fs.h>
#include <nbcid/notebook.h>
#include <nbcid/notebook_environment.h>

#include "env-priv.h"

#define ROUNDS 5 /* of looking again after others */
#define BUILDS 2 /* for one job: between its first and its use another may have removed it */

void env_done(struct env *e)
{
        env_probe_done(&e->probe);
        nb_environment_done(&e->want);
        env_python_done(&e->python);
        nb_json_free(e->manifest);
        nb_closep(&e->lock_fd);
        free(e->dir);
        free(e->kernel_python);
        free(e->image);
        free(e->container);
        free(e->podman);
        free(e->note);
        *e = ENV_NONE;
}

/* Parameters given by hand win over those of the file. */
static int join_parameters(const char *given, struct nb_environment *e, struct nb_err *err)
{
        nb_auto_buf all = NB_BUF(NB_ENVIRONMENT_MAX);
        int r;

        if (!given)
                return 0;
        r = nb_json_merge(e->parameters ? e->parameters : "{}", given, &all, err);
        if (r < 0)
                return r;
        free(e->parameters);
        e->parameters = nb_buf_steal(&all);
        return e->parameters ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

/* By hand, nobody has looked into the notebook yet.  Of what it asks for, only the image
 * is for choose_image() to judge; the rest is not installed here, which is said. */
static int ask_notebook(const struct runner_opts *o, const char *notebook, struct nb_environment *e,
                        struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(NOTEBOOK_MAX);
        NB_CLEANUP(notebook_head_done) struct notebook_head head = {0};
        struct nb_err why;
        int r = nb_read_file(AT_FDCWD, notebook, &text, &why);

        if (r == 0)
                r = notebook_read_head(o->notebook, nb_buf_str(&text), text.len, NOTEBOOK_MAX,
                                       &head, &why);
        if (r == -NB_E_NOMEM)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        if (r < 0) { /* what it is, the engine judges: it takes older ones, too */
                if (!o->quiet)
                        fprintf(stderr, "what the notebook asks to run in is not known: %s\n",
                                why.msg);
                return 0;
        }
        e->image = NB_TAKE(head.environment.image);
        if (!e->image && head.requirements_from && !o->quiet)
                fprintf(stderr,
                        "%s: what its %s names is not installed: it runs in this machine's default "
                        "environment; name it in --environment FILE\n",
                        o->notebook, head.requirements_from);
        return 0;
}

int env_ask(const struct runner_opts *o, const char *notebook, struct nb_environment *ret,
            struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(NB_ENVIRONMENT_MAX);
        NB_CLEANUP(nb_environment_done) struct nb_environment e = {0};
        int r = 0;

        if (o->environment) {
                struct nb_err why;

                r = nb_read_file(AT_FDCWD, o->environment, &text, &why);
                if (r == 0)
                        r = nb_environment_read_given(nb_buf_str(&text), text.len, &e, &why);
                if (r < 0) /* whoever wrote the file is to blame, not the notebook */
                        return nb_fail(err, NB_E_IO, "%s: %s", o->environment, why.msg);
        } else {
                r = ask_notebook(o, notebook, &e, err);
        }
        if (r == 0)
                r = join_parameters(o->parameters, &e, err);
        if (r < 0)
                return r;
        *ret = e;
        e = (struct nb_environment){0};
        return 0;
}

/* ---- images ---- */

static int refuse_image(const struct runner_opts *o, const char *image, struct nb_err *err)
{
        if (!o->environment)
                return nb_fail(err, NB_E_INVALID,
                               "the notebook asks for the image %.200s, and nothing here runs "
                               "images: give --podman podman, or --image-fallback default to run "
                               "in this machine's default environment, or --environment FILE with "
                               "what to run in instead",
                               image);
        return nb_fail(err, NB_E_INVALID,
                       "the notebook asks for the image %.200s, and this executor runs no images; "
                       "set containers = \"podman\" in its [[executor]], use an executor that can, "
                       "or set image_fallback = \"default\" to run in the default environment",
                       image);
}

/* 1: it will run in an image; 0: in none. */
static int choose_image(const struct env_context *c, struct env *e, struct nb_err *err)
{
        const struct runner_opts *o = c->opts;
        const struct nb_environment *w = &e->want;
        const bool packages = (w->requirements && *w->requirements) || w->conda;
        const bool own = !w->requirements && !w->conda;
        const char *where =
                own ? "the executor's own environment" : "an environment of its requirements";

        if (!w->image)
                return 0;
        if (o->podman) {
                e->image = nb_strdup(w->image);
                if (packages)
                        e->note = nb_asprintf("ran in the image %.200s as it is: the requirements "
                                              "that the notebook names beside it are not installed "
                                              "there",
                                              w->image);
                return e->image && (e->note || !packages)
                               ? 1
                               : nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        if (!o->image_fallback)
                return refuse_image(o, e->want.image, err);
        if (!o->quiet)
                fprintf(stderr,
                        "%s: runs in %s, not in the image %.200s that it asks for (--podman "
                        "PROGRAM "
                        "runs images)\n",
                        o->notebook, own ? "this machine's default environment" : where, w->image);
        e->note = nb_asprintf("ran in %s, not in the image %.200s that the notebook asks for "
                              "(image_fallback = \"default\")",
                              where, w->image);
        return e->note ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

/* ---- environments ---- */

/* Shared by those that use it, exclusive for the one that builds: so it is
 * built once, however many wait. */
static int take(const struct env_context *c, const struct env_store *s, struct env *e,
                enum run_class *ret_class, struct nb_err *err)
{
        uint64_t until = nb_mono_us(&nb_clock_real) + env_store_patience(c->opts);
        int builds = 0;

        for (int i = 0; i < ROUNDS; i++) {
                nb_auto_fd int lock = -1, use = -1;
                int r;

                *ret_class = CLASS_INFRASTRUCTURE;
                r = env_store_lock(s, e->key, false, until, c->signal_fd, &use, err);
                if (r == 0)
                        r = env_store_find(s, e->key, &e->manifest, err);
                if (r == 1) {
                        env_store_touch(s, e->key);
                        e->lock_fd = NB_TAKE_FD(use);
                        return 0;
                }
                nb_closep(&use);
                use = -1;
                if (r == 0)
                        r = env_store_lock(s, e->key, true, until, c->signal_fd, &lock, err);
                if (r == -NB_E_CANCELLED)
                        *ret_class = CLASS_CANCELLED;
                if (r < 0)
                        return r;
                r = env_store_find(s, e->key, &e->manifest, err);
                /* One that is never whole, as its packages may see to, is not built on and on. */
                if (r == 0 && ++builds > BUILDS)
                        break;
                if (r == 0)
                        r = env_build(c, s, e, ret_class, err);
                else if (r == 1)
                        e->manifest = nb_json_free(e->manifest);
                if (r < 0)
                        return r;
                e->built = e->built || r == 0;
        }
        return nb_fail(err, NB_E_BUSY,
                       "an environment was removed or damaged as soon as it was built; raise "
                       "max_size in [environments], or look who writes into %s",
                       s->path);
}

static int take_environment(const struct env_context *c, struct env *e, enum run_class *ret_class,
                            struct nb_err *err)
{
        NB_CLEANUP(env_store_done) struct env_store store = ENV_STORE_NONE;
        int r;

        if (!c->opts->environments)
                return nb_fail(err, NB_E_INVALID,
                               "no directory for environments; name one with --environments");
        r = env_store_open(c->opts->environments, &store, err);
        if (r < 0)
                return r;
        if (e->image)
                return env_image(c, &store, e, ret_class, err);
        r = env_key(&e->want, &e->python, e->key, err);
        if (r == 0)
                r = take(c, &store, e, ret_class, err);
        if (r < 0)
                return r;
        env_asked_note(&store, c->python, &e->want, e->key);
        if (e->built && c->opts->environments_max)
                env_store_shrink(&store, c->opts->environments_max);
        if (e->built)
                env_asked_sweep(&store);
        e->dir = nb_asprintf("%s/%s", store.path, e->key);
        e->kernel_python = nb_asprintf("%s/%s/bin/python", store.path, e->key);
        return e->dir && e->kernel_python ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

/* A file of requirements may come from anywhere.  pip reads files that they name, and
 * shows what is in them. */
static int hold(const struct runner_opts *o, struct nb_environment *want, struct nb_err *err)
{
        const char *slash = o->environment ? strrchr(o->environment, '/') : NULL;

        return o->environment
                       ? environment_hold(slash ? slash + 1 : o->environment, o->allow, want, err)
                       : 0;
}

int env_prepare(const struct env_context *c, struct env *ret, enum run_class *ret_class,
                struct nb_err *err)
{
        NB_CLEANUP(env_done) struct env e = ENV_NONE;
        const struct nb_environment *w = &e.want;
        int r = 0;

        e.want = ret->want;
        ret->want = (struct nb_environment){0};
        r = hold(c->opts, &e.want, err);
        if (r == 0)
                r = choose_image(c, &e, err);
        if (r == -NB_E_INVALID || r == -NB_E_LIMIT)
                *ret_class = CLASS_ENVIRONMENT;
        if (r == 0 && (w->requirements || w->conda || w->python)) {
                r = env_python_find(c, w->python, &e.python, err);
                if (r == -NB_E_NOTFOUND)
                        *ret_class = CLASS_ENVIRONMENT;
                /* Its own version and nothing else is what the executor has anyway. */
                if (r == 0)
                        r = w->requirements || w->conda || !nb_streq(e.python.path, c->python);
        }
        if (r == 1)
                r = take_environment(c, &e, ret_class, err);
        if (r < 0)
                return r;
        *ret = e;
        e = ENV_NONE;
        return 0;
}
