/* SPDX-License-Identifier: Apache-2.0 */

/* cloud.c - what a submission asks of Google itself, before the executor does */

#include <errno.h>
#include <fcntl.h>

#include <nbcid/fs.h>

#include "submit-priv.h"

int cloud_wait(struct submit *s, const bool *done, bool anyway, struct nb_err *err)
{
        while (!*done) {
                int r;

                if (s->hurry || (s->stopped && !anyway))
                        return nb_fail(err, NB_E_CANCELLED, "nothing was submitted");
                r = loop_step(s->o.loop, UINT64_MAX, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- who we are ---- */

static int read_credentials(struct submit *s, struct nb_err *err)
{
        nb_auto_free char *path = NULL;
        int r;

        if (s->cfg.vertex.credentials.n || !s->own)
                return 0; /* the configuration's; without a file, the machine's */
        r = gcp_credentials_find(&path, err);
        if (r < 0 || !path)
                return r;
        r = nb_secret_read(path, &s->key, err);
        if (r < 0)
                return nb_wrap(err, r, "credentials file %s", path);
        s->cfg.vertex.credentials = s->key;
        return 0;
}

int cloud_open(struct submit *s, struct nb_err *err)
{
        const struct config_vertex *v = &s->cfg.vertex;
        int r = read_credentials(s, err);

        if (r < 0)
                return r;
        r = httpc_curl_new(s->o.loop,
                           &(struct httpc_opts){.timeout_us = 60 * NB_US_PER_S,
                                                .max_response = 8 << 20,
                                                .max_connections = 16,
                                                .multiplex = true},
                           &s->httpc, err);
        if (r == 0)
                r = gcp_new(&(struct gcp_opts){.loop = s->o.loop,
                                               .httpc = s->httpc,
                                               .clock = &nb_clock_real,
                                               .key = v->credentials.n ? &v->credentials : NULL,
                                               .token_url = v->token_url},
                            &s->gcp, err);
        if (r == 0)
                r = blob_new(&(struct blob_opts){.loop = s->o.loop,
                                                 .gcp = s->gcp,
                                                 .url = v->storage_url},
                             &s->blob, err);
        return r;
}

void cloud_close(struct submit *s)
{
        s->blob = blob_free(s->blob);
        s->gcp = gcp_free(s->gcp);
        s->httpc = httpc_free(s->httpc);
}

/* ---- in which project ---- */

struct asked {
        bool done;
        char *text; /* owned */
};

static void on_project(void *arg, const struct http_in *resp, const struct gcp_error *e,
                       const struct nb_err *err)
{
        struct asked *a = arg;

        a->done = true;
        if (!err && nb_streq(http_in_header(resp, "Metadata-Flavor"), "Google"))
                a->text = nb_strndup(resp->body, resp->n_body);
}

static int ask_machine(struct submit *s, char **ret, struct nb_err *err)
{
        struct asked a = {0};
        struct gcp_call *call;
        int r = gcp_metadata_get(s->gcp, "project/project-id", on_project, &a, &call, err);

        if (r < 0)
                return r;
        r = cloud_wait(s, &a.done, false, err);
        if (!a.done)
                gcp_call_cancel(call);
        *ret = a.text;
        return r;
}

int cloud_project(struct submit *s, struct nb_err *err)
{
        const char *named = getenv("GOOGLE_CLOUD_PROJECT"), *wrong;
        char *project = NULL;
        int r = 0;

        if (s->cfg.vertex.project)
                return 0;
        if (!named || !*named)
                named = gcp_project(s->gcp);
        if (named)
                project = nb_strdup(named);
        else if (s->cfg.vertex.credentials.n == 0)
                r = ask_machine(s, &project, err);
        if (r < 0)
                return r;
        if (!project)
                return nb_fail(err, NB_E_INVALID,
                               "in which project?  %s does not say: name it with --project-id",
                               s->cfg.vertex.credentials.n
                                       ? gcp_identity(s->gcp)
                                       : "There are no credentials (see GOOGLE_APPLICATION_"
                                         "CREDENTIALS), and the machine");
        s->cfg.vertex.project = submit_keep(s, project);
        if (!s->cfg.vertex.project)
                return no_memory(err);
        wrong = config_executor_wrong("project", s->cfg.vertex.project);
        return wrong ? nb_fail(err, NB_E_INVALID, "the project \"%.100s\" %s",
                               s->cfg.vertex.project, wrong)
                     : 0;
}

/* ---- storage ---- */

struct answer {
        bool done;
        int64_t generation;
        struct nb_err err;
        bool failed;
};

static void on_answer(void *arg, const struct blob_object *o, const struct nb_err *err)
{
        struct answer *a = arg;

        a->done = true;
        a->generation = o ? o->generation : 0;
        a->failed = err != NULL;
        if (err)
                a->err = *err;
}

/* The end of an operation that r says was begun. */
static int finish(struct submit *s, int r, struct answer *a, struct blob_op *op, struct nb_err *err)
{
        if (r < 0)
                return r;
        r = cloud_wait(s, &a->done, false, err);
        if (!a->done)
                blob_cancel(op);
        return r == 0 && a->failed ? nb_fail(err, a->err.code, "%s", a->err.msg) : r;
}

int cloud_get_input(struct submit *s, struct nb_err *err)
{
        nb_auto_free char *path = NULL;
        nb_auto_fd int fd = -1;
        struct answer a = {0};
        struct blob_op *op = NULL;
        int r;

        s->notebook = nb_strdup("notebook.ipynb");
        s->workspace = nb_asprintf("%s/input", s->dir);
        path = s->workspace ? nb_asprintf("%s/notebook.ipynb", s->workspace) : NULL;
        if (!s->notebook || !path)
                return no_memory(err);
        r = nb_mkdirs(AT_FDCWD, s->workspace, 0700, err);
        if (r < 0)
                return r;
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return nb_fail_errno(err, errno, "%s", path);
        r = blob_get_file(s->blob, s->o.input, 0, s->config->max_notebook, fd, on_answer, &a, &op,
                          err);
        r = finish(s, r, &a, op, err);
        if (r < 0)
                return nb_wrap(err, r, "--input-notebook: %s", s->o.input);
        s->newer_than = a.generation;
        return 0;
}

static int make_bucket(struct submit *s, const char *bucket, struct nb_err *ret_denied,
                       struct nb_err *err)
{
        const struct config_vertex *v = &s->cfg.vertex;
        struct answer a = {0};
        struct blob_op *op = NULL;
        int r = blob_bucket(s->blob, bucket, v->project, v->region, on_answer, &a, &op, err);

        r = finish(s, r, &a, op, err);
        if (r < 0 && err->code == NB_E_DENIED) { /* who may not see it may well write to it */
                *ret_denied = *err;
                return 0;
        }
        return nb_wrap(err, r, "the bucket %s (--bucket-name)", bucket);
}

/* What is there now is not the job's output; and may we look there at all? */
static int look_at_output(struct submit *s, const struct nb_err *denied, struct nb_err *err)
{
        struct answer a = {0};
        struct blob_op *op = NULL;
        int r = blob_stat(s->blob, s->far_output, on_answer, &a, &op, err);

        r = finish(s, r, &a, op, err);
        if (r < 0 && err->code == NB_E_NOTFOUND && !strstr(err->msg, "bucket does not exist"))
                return 0;
        if (r < 0 && denied->code)
                return nb_fail(err, denied->code, "--bucket-name: %s", denied->msg);
        if (r < 0)
                return nb_wrap(err, r, "--output-notebook: %s", s->far_output);
        if (a.generation > s->newer_than)
                s->newer_than = a.generation;
        return 0;
}

/* ---- addresses ---- */

/* The bucket for what is staged; *ret_make: it may have to be made. */
static int choose_bucket(struct submit *s, char **ret, bool *ret_make, struct nb_err *err)
{
        NB_CLEANUP(blob_url_done) struct blob_url u = {0};
        int r;

        *ret_make = true;
        if (s->cfg.vertex.bucket) {
                *ret = nb_strdup(s->cfg.vertex.bucket);
        } else if (is_far(s->o.input)) {
                r = blob_url_parse(s->o.input, &u, err);
                if (r < 0)
                        return r;
                *ret = NB_TAKE(u.bucket);
                *ret_make = false;
        } else { /* "example.com:project" has letters that no bucket has */
                nb_auto_free char *name = nb_strdup(s->cfg.vertex.project);

                for (char *p = name; p && *p; p++)
                        if (*p == ':' || *p == '.')
                                *p = '-';
                *ret = name ? nb_asprintf("%s-notebook-training", name) : NULL;
        }
        return *ret ? 0 : no_memory(err);
}

static int place_folder(struct submit *s, struct nb_err *err)
{
        const char *given = s->o.input_folder;

        if (s->folder_top) {
                s->folder_own = nb_asprintf("%sfolder", s->prefix);
                s->folder = nb_strdup(s->folder_own);
        } else if (given) {
                s->folder = nb_strndup(given, strlen(given) - nb_ends_with(given, "/"));
        } else {
                return 0;
        }
        if (s->skip && s->folder) { /* the notebook is in it, and runs where it is */
                s->input = nb_asprintf("%s/%s", s->folder, s->skip);
                s->cwd = s->input
                                 ? nb_strndup(s->input, (size_t)(strrchr(s->input, '/') - s->input))
                                 : NULL;
        } else {
                s->cwd = nb_strdup(s->folder);
        }
        return s->folder && s->cwd ? 0 : no_memory(err);
}

static int place_all(struct submit *s, const char *bucket, struct nb_err *err)
{
        int r;

        s->prefix = nb_asprintf("gs://%s/nbcid/submit/%s/", bucket, s->ref);
        if (!s->prefix)
                return no_memory(err);
        r = place_folder(s, err);
        if (r < 0)
                return r;
        s->there = is_far(s->o.input) && !s->o.parameters;
        if (s->there)
                s->input = nb_strdup(s->o.input);
        else if (!s->input)
                s->input = nb_asprintf("%sinput.ipynb", s->prefix);
        s->far_output =
                is_far(s->output) ? nb_strdup(s->output) : nb_asprintf("%soutput.ipynb", s->prefix);
        return s->input && s->far_output ? 0 : no_memory(err);
}

int cloud_place(struct submit *s, struct nb_err *err)
{
        nb_auto_free char *bucket = NULL;
        struct nb_err denied = {.code = NB_OK};
        bool make;
        int r = choose_bucket(s, &bucket, &make, err);

        if (r == 0)
                r = place_all(s, bucket, err);
        if (r < 0)
                return r;
        s->cfg.vertex.bucket = submit_keep(s, nb_strdup(bucket));
        if (!s->cfg.vertex.bucket)
                return no_memory(err);
        if (make)
                r = make_bucket(s, bucket, &denied, err);
        return r < 0 ? r : look_at_output(s, &denied, err);
}
