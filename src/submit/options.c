/* SPDX-License-Identifier: Apache-2.0 */

/* options.c - from what is asked for to an executor's configuration */

#include <errno.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "submit-priv.h"

#define JOB_ID_MAX 100

char *submit_keep(struct submit *s, char *owned)
{
        return nb_strv_add_take(&s->kept, owned) == 0 ? s->kept.v[s->kept.n - 1] : NULL;
}

/* ---- the executor ---- */

static int choose_executor(struct submit *s, struct nb_err *err)
{
        const struct config *c = s->config;
        const struct config_executor *x = NULL;

        if (s->o.executor)
                x = config_find_executor(c, s->o.executor);
        else
                for (size_t i = 0; i < c->n_executors && !x; i++)
                        if (nb_streq(c->executors[i].kind, "vertex"))
                                x = &c->executors[i];
        if (!x && s->o.executor)
                return nb_fail(err, NB_E_INVALID,
                               s->own ? "--executor: without --config there are vertex and local, "
                                        "not \"%s\""
                                      : "--executor: the configuration has none of the name \"%s\"",
                               s->o.executor);
        if (!x)
                return nb_fail(err, NB_E_INVALID,
                               "%s has no executor of kind vertex; name another with --executor",
                               c->file);
        s->cfg = *x;
        /* Whoever names a machine or a place means that one. */
        if (s->o.region || s->o.machine_type || s->o.accelerator_type)
                s->cfg.vertex.n_fallbacks = 0;
        s->cfg.vertex.workspace = WORKSPACE_NONE; /* the folder, if any, is sent before */
        s->far = nb_streq(x->kind, "vertex");
        if (s->own) /* these two are not said yet */
                s->cfg.vertex.project = s->cfg.vertex.bucket = NULL;
        return 0;
}

/* The options that are keys of [[executor]]. */
static int take_keys(struct submit *s, struct nb_err *err)
{
        struct config_vertex *v = &s->cfg.vertex;
        const struct {
                const char *option, *key, *value;
                char **target;
        } keys[] = {
                {"--project-id", "project", s->o.project, &v->project},
                {"--region", "region", s->o.region, &v->region},
                {"--bucket-name", "bucket", s->o.bucket, &v->bucket},
                {"--worker-machine-type", "machine_type", s->o.machine_type, &v->machine_type},
                {"--accelerator-type", "accelerator_type", s->o.accelerator_type,
                 &v->accelerator_type},
                {"--container-uri", "image", s->o.image, &v->image},
                {"--service-account", "service_account", s->o.service_account, &v->service_account},
                {"--api-url", "api_url", s->o.api_url, &v->api_url},
                {"--storage-url", "storage_url", s->o.storage_url, &v->storage_url},
                {"--logging-url", "logging_url", s->o.logging_url, &v->logging_url},
                {"--token-url", "token_url", s->o.token_url, &v->token_url},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(keys); i++) {
                const char *wrong;

                if (!keys[i].value)
                        continue;
                if (!s->far)
                        return nb_fail(err, NB_E_INVALID,
                                       "%s is for executors that are far away, and \"%s\" runs "
                                       "notebooks here",
                                       keys[i].option, s->cfg.name);
                wrong = config_executor_wrong(keys[i].key, keys[i].value);
                if (wrong)
                        return nb_fail(err, NB_E_INVALID, "%s: \"%.100s\" %s", keys[i].option,
                                       keys[i].value, wrong);
                *keys[i].target = submit_keep(s, nb_strdup(keys[i].value));
                if (!*keys[i].target)
                        return no_memory(err);
        }
        return 0;
}

/* ---- files ---- */

static int check_far(const char *option, const char *url, bool object, struct nb_err *err)
{
        NB_CLEANUP(blob_url_done) struct blob_url u = {0};
        int r = blob_url_parse(url, &u, err);

        if (r < 0)
                return nb_wrap(err, r, "%s", option);
        if (object && (!*u.name || nb_ends_with(u.name, "/")))
                return nb_fail(err, NB_E_INVALID,
                               "%s: \"%.100s\" names no object; write gs://bucket/name.ipynb",
                               option, url);
        return 0;
}

/* Where it will be written, hours later. */
static int check_local_output(const char *path, const char *input, struct nb_err *err)
{
        nb_auto_free char *dir = nb_strdup(path);
        char *slash = dir ? strrchr(dir, '/') : NULL;
        const char *where = !slash ? "." : slash == dir ? "/" : dir;
        struct stat st, in;

        if (!dir)
                return no_memory(err);
        if (slash && slash != dir)
                *slash = '\0';
        if (stat(where, &st) < 0)
                return nb_fail(err, NB_E_INVALID,
                               "--output-notebook: the directory %s cannot be used: %s; make it",
                               where, strerror(errno));
        if (!S_ISDIR(st.st_mode) || access(where, W_OK | X_OK) < 0)
                return nb_fail(err, NB_E_INVALID, "--output-notebook: nothing can be written to %s",
                               where);
        if (stat(path, &st) < 0)
                return 0;
        if (!S_ISREG(st.st_mode))
                return nb_fail(err, NB_E_INVALID, "--output-notebook: %s is no file", path);
        if (stat(input, &in) == 0 && in.st_dev == st.st_dev && in.st_ino == st.st_ino)
                return nb_fail(err, NB_E_INVALID,
                               "--output-notebook is --input-notebook, which would be lost");
        return 0;
}

static int check_files(struct submit *s, struct nb_err *err)
{
        const struct submit_opts *o = &s->o;
        struct stat st;
        int r = 0;

        if (!s->far && (is_far(o->input) || is_far(o->output) || is_far(o->input_folder)))
                return nb_fail(err, NB_E_INVALID,
                               "the executor \"%s\" runs notebooks here, and reads and writes no "
                               "gs:// addresses",
                               s->cfg.name);
        if (is_far(o->input))
                r = check_far("--input-notebook", o->input, true, err);
        if (r == 0 && is_far(s->output))
                r = check_far("--output-notebook", s->output, true, err);
        if (r == 0 && is_far(o->input_folder))
                r = check_far("--input-folder", o->input_folder, false, err);
        if (r < 0)
                return r;
        if (nb_streq(o->input, s->output))
                return nb_fail(err, NB_E_INVALID,
                               "--output-notebook is --input-notebook, which would be lost");
        if (o->input_folder && !is_far(o->input_folder) &&
            (stat(o->input_folder, &st) < 0 || !S_ISDIR(st.st_mode)))
                return nb_fail(err, NB_E_INVALID, "--input-folder: %s is no directory",
                               o->input_folder);
        return is_far(s->output) ? 0 : check_local_output(s->output, o->input, err);
}

/* The notebook's place on this disk: its own directory, or the folder. */
static int find_workspace(struct submit *s, struct nb_err *err)
{
        nb_auto_free char *path = realpath(s->o.input, NULL);
        nb_auto_free char *folder = NULL;
        size_t n;

        if (!path)
                return nb_fail(err, errno == ENOENT ? NB_E_NOTFOUND : NB_E_INVALID,
                               "--input-notebook: %s: %s", s->o.input, strerror(errno));
        if (s->o.input_folder && !is_far(s->o.input_folder)) {
                folder = realpath(s->o.input_folder, NULL);
                if (!folder)
                        return nb_fail_errno(err, errno, "--input-folder: %s", s->o.input_folder);
                n = strlen(folder);
                if (nb_starts_with(path, folder) && path[n] == '/') {
                        s->notebook = nb_strdup(path + n + 1);
                        s->skip = nb_strdup(s->notebook);
                        s->workspace = nb_strdup(folder);
                }
                s->folder_top = NB_TAKE(folder);
        }
        if (!s->notebook) {
                char *slash = strrchr(path, '/');

                s->notebook = nb_strdup(slash + 1);
                s->workspace =
                        slash == path ? nb_strdup("/") : nb_strndup(path, (size_t)(slash - path));
        }
        return s->notebook && s->workspace ? 0 : no_memory(err);
}

/* ---- the rest ---- */

static int name_job(struct submit *s, struct nb_err *err)
{
        static const char letters[] =
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
        const char *given = s->o.job_id;
        struct timeval now;
        uint8_t random[4];
        char hex[9];

        if (given && (!*given || strlen(given) > JOB_ID_MAX || given[0] == '-' ||
                      strspn(given, letters) != strlen(given)))
                return nb_fail(err, NB_E_INVALID,
                               "--job-id: \"%.120s\" is none: 1 to %d letters, digits, '_' and "
                               "'-', not '-' first",
                               given, JOB_ID_MAX);
        gettimeofday(&now, NULL);
        s->job = given ? nb_strdup(given)
                       : submit_job_id(s->o.input,
                                       (int64_t)now.tv_sec * 1000000 + (int64_t)now.tv_usec);
        /* The service has no ids of ours: so that what was submitted is found again,
         * and nothing else is, whoever uses an id twice. */
        nb_random(random, sizeof(random));
        nb_hex(hex, random, sizeof(random));
        s->ref = s->job ? nb_asprintf("%s-%s", s->job, hex) : NULL;
        return s->ref ? 0 : no_memory(err);
}

static int choose_wait(struct submit *s, struct nb_err *err)
{
        s->wait = s->o.wait == SUBMIT_WAIT || (s->o.wait == SUBMIT_BY_OUTPUT && !is_far(s->output));
        return s->wait || s->far ? 0
                                 : nb_fail(err, NB_E_INVALID,
                                           "--no-wait: what runs here ends with nbcid submit; "
                                           "leave it out");
}

int submit_read_options(struct submit *s, struct nb_err *err)
{
        int r = 0;

        if (!s->o.input || !*s->o.input)
                return nb_fail(err, NB_E_INVALID, "--input-notebook is required");
        if (!s->o.config)
                r = config_builtin(&s->own, err);
        if (r < 0)
                return r;
        s->config = s->o.config ? s->o.config : s->own;
        if (!s->o.max_running_us)
                s->o.max_running_us = 9 * 3600 * NB_US_PER_S;
        s->output = s->o.output ? nb_strdup(s->o.output) : submit_output_of(s->o.input);
        if (!s->output)
                return no_memory(err);
        r = choose_executor(s, err);
        if (r == 0)
                r = take_keys(s, err);
        if (r == 0)
                r = check_files(s, err);
        if (r == 0)
                r = choose_wait(s, err);
        if (r == 0 && !is_far(s->o.input))
                r = find_workspace(s, err);
        return r < 0 ? r : name_job(s, err);
}
