/* SPDX-License-Identifier: Apache-2.0 */

/*
 * vertex-job.c - the description of a custom job: image, command, machine
 *
 * Pure.  Facts: custom_job.proto, machine_resources.proto of googleapis; what is
 * left out has a default there, so everything that matters is said.
 */

#include <nbcid/num.h>
#include <nbcid/str.h>

#include "vertex-job.h"

#define NAME_MAX_CHARS 128

/* Where images have moved to: the old registry's names are in the metadata of
 * notebooks for good. */
static const struct {
        const char *from, *to;
} registries[] = {
        {"gcr.io/deeplearning-platform-release/",
         "us-docker.pkg.dev/deeplearning-platform-release/gcr.io/"},
        {"us.gcr.io/deeplearning-platform-release/",
         "us-docker.pkg.dev/deeplearning-platform-release/gcr.io/"},
        {"eu.gcr.io/deeplearning-platform-release/",
         "europe-docker.pkg.dev/deeplearning-platform-release/gcr.io/"},
        {"asia.gcr.io/deeplearning-platform-release/",
         "asia-docker.pkg.dev/deeplearning-platform-release/gcr.io/"},
};

/* What an image runs notebooks with, when the configuration does not say. */
static const char *const with_nbexecutor[] = {"nbexecutor", "--input-notebook={input_uri}",
                                              "--output-notebook={output_uri}",
                                              "--kernel-name={kernel}", NULL};
static const char *const with_papermill[] = {"papermill",      "{input}",  "{output}",
                                             "--kernel",       "{kernel}", "--execution-timeout",
                                             "{cell_timeout}", NULL};
static const struct {
        const char *part; /* of the image's name */
        const char *const *run;
} runners[] = {
        {"deeplearning-platform-release/", with_nbexecutor},
        {"", with_papermill},
};

/* Letters that an image's name may have: it comes from a stranger's notebook. */
static bool image_fine(const char *image)
{
        size_t n = strlen(image);

        return n > 0 && n <= 512 && image[0] != '-' &&
               strspn(image,
                      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@+") == n;
}

char *vertex_image(const struct config_executor *cfg, const struct nb_environment *e,
                   char **ret_why)
{
        const struct config_vertex *v = &cfg->vertex;
        const char *image = v->image ? v->image : e && e->image ? e->image : v->container_uri;
        nb_auto_free char *why = NULL;

        if (!image || !image_fine(image))
                return NULL;
        if (v->image || !e || !e->image)
                why = nb_asprintf("%s of executor %s", v->image ? "image" : "container_uri",
                                  cfg->name);
        else
                why = nb_strdup(e->why);
        if (ret_why)
                *ret_why = NB_TAKE(why);
        for (size_t i = 0; i < NB_ARRAY_SIZE(registries); i++)
                if (nb_starts_with(image, registries[i].from))
                        return nb_asprintf("%s%s", registries[i].to,
                                           image + strlen(registries[i].from));
        return nb_strdup(image);
}

/* Managed notebooks name kernels of the machine they were written on. */
static const char *choose_kernel(const struct nb_environment *e)
{
        if (e && e->kernel && !nb_starts_with(e->kernel, "local-") &&
            !nb_starts_with(e->kernel, "remote-"))
                return e->kernel;
        return e && nb_streq(e->language, "R") ? "ir" : "python3";
}

/* text with the known words in braces replaced. */
static void put_word(struct nb_json_out *o, const char *text, const struct far_plan *p)
{
        nb_auto_free char *seconds = nb_asprintf(
                "%llu",
                (unsigned long long)((p->job->cell_timeout_us + NB_US_PER_S - 1) / NB_US_PER_S));
        const struct {
                const char *name, *before, *value;
        } words[] = {
                {"{input}", "/gcs/", p->input + strlen("gs://")},
                {"{output}", "/gcs/", p->output + strlen("gs://")},
                {"{input_uri}", "", p->input},
                {"{output_uri}", "", p->output},
                {"{kernel}", "", choose_kernel(p->job->environment)},
                {"{cell_timeout}", "", seconds ? seconds : ""},
        };
        nb_auto_buf b = NB_BUF(16 * 1024);

        while (*text) {
                size_t i = 0;

                while (i < NB_ARRAY_SIZE(words) && !nb_starts_with(text, words[i].name))
                        i++;
                if (i < NB_ARRAY_SIZE(words)) {
                        (void)nb_buf_puts(&b, words[i].before);
                        (void)nb_buf_puts(&b, words[i].value);
                        text += strlen(words[i].name);
                } else {
                        (void)nb_buf_putc(&b, *text++);
                }
        }
        nb_json_put_str(o, nb_buf_str(&b));
}

/* The command that runs the notebook. */
struct command {
        const char *const *words; /* NULL-terminated, or n of them */
        size_t n;
        bool entrypoint; /* the image's own begins, and takes it as arguments */
};

static struct command choose_command(const struct config_vertex *v, const char *image)
{
        const char *const *words = with_papermill;
        struct command c = {0};

        for (size_t i = 0; i < v->n_rules; i++)
                if (nb_glob_match(v->rules[i].image, image))
                        return (struct command){.words = (const char *const *)v->rules[i].run.v,
                                                .n = v->rules[i].run.n,
                                                .entrypoint = v->rules[i].entrypoint};
        if (v->run.n > 0)
                return (struct command){.words = (const char *const *)v->run.v, .n = v->run.n};
        for (size_t i = NB_ARRAY_SIZE(runners); i-- > 0;)
                if (strstr(image, runners[i].part))
                        words = runners[i].run;
        c.words = words;
        while (words[c.n])
                c.n++;
        /* nbexecutor is an argument of its images' entry point; what other images
         * begin with is not known, so that it is replaced. */
        c.entrypoint = words == with_nbexecutor;
        return c;
}

/* Before the command: go to where the notebook would be in its checkout.  A
 * shell does it, whose text is fixed: names are its arguments.  No "$(" in it,
 * which the service would take for a variable. */
static void put_workspace(struct nb_json_out *o, const struct far_plan *p)
{
        static const char unpack[] =
                "d=\"${TMPDIR:-/tmp}/nbcid-workspace\" && mkdir -p \"$d\" && "
                "tar -xf \"$1\" -C \"$d\" && cd -- \"$d/$2\" && shift 2 && exec \"$@\"";
        static const char enter[] = "cd -- \"$1/$2\" && shift 2 && exec \"$@\"";
        const char *notebook = p->job->notebook, *slash = strrchr(notebook, '/');
        nb_auto_free char *dir = NULL, *from = NULL;

        if (p->job->place && p->job->place->cwd) {
                vertex_put_cwd(o, enter, p->job->place->cwd);
                return;
        }
        if (p->workspace_kind == WORKSPACE_NONE)
                return;
        dir = slash ? nb_strndup(notebook, (size_t)(slash - notebook)) : nb_strdup(".");
        from = nb_asprintf("/gcs/%s", p->workspace + strlen("gs://"));
        nb_json_put_str(o, "sh");
        nb_json_put_str(o, "-c");
        nb_json_put_str(o, p->workspace_kind == WORKSPACE_ARCHIVE ? unpack : enter);
        nb_json_put_str(o, "nbcid");
        nb_json_put_str(o, from ? from : "");
        nb_json_put_str(o, dir ? dir : ".");
}

static void put_container(struct nb_json_out *o, const struct config_vertex *v,
                          const struct far_plan *p, const char *image)
{
        const struct command c = choose_command(v, image);

        nb_json_key(o, "containerSpec");
        nb_json_open_object(o);
        nb_json_kv_str(o, "imageUri", image);
        nb_json_key(o, c.entrypoint ? "args" : "command");
        nb_json_open_array(o);
        put_workspace(o, p);
        for (size_t i = 0; i < c.n; i++)
                put_word(o, c.words[i], p);
        nb_json_close(o);
        vertex_put_env(o, p->job->place);
        nb_json_close(o);
}

static void put_pool(struct nb_json_out *o, const struct config_vertex *v, const struct far_plan *p,
                     const char *image)
{
        const struct config_place at = config_vertex_place(v, p->place);

        nb_json_key(o, "workerPoolSpecs");
        nb_json_open_array(o);
        nb_json_open_object(o);
        nb_json_key(o, "machineSpec");
        nb_json_open_object(o);
        nb_json_kv_str(o, "machineType", at.machine_type);
        if (at.accelerator_type) {
                nb_json_kv_str(o, "acceleratorType", at.accelerator_type);
                nb_json_kv_int(o, "acceleratorCount", at.accelerator_count);
        }
        nb_json_close(o);
        nb_json_kv_str(o, "replicaCount", "1");
        nb_json_key(o, "diskSpec");
        nb_json_open_object(o);
        nb_json_kv_str(o, "bootDiskType", v->disk_type);
        nb_json_kv_int(o, "bootDiskSizeGb", v->disk_gb);
        nb_json_close(o);
        put_container(o, v, p, image);
        nb_json_close(o);
        nb_json_close(o);
}

static void put_scheduling(struct nb_json_out *o, bool spot, uint64_t timeout_us)
{
        char text[32];

        nb_json_key(o, "scheduling");
        nb_json_open_object(o);
        (void)nb_fmt(text, sizeof(text), "%llus",
                     (unsigned long long)((timeout_us + NB_US_PER_S - 1) / NB_US_PER_S));
        nb_json_kv_str(o, "timeout", text);
        nb_json_kv_str(o, "strategy", spot ? "SPOT" : "STANDARD");
        nb_json_kv_bool(o, "restartJobOnWorkerRestart", false);
        /* A second run inside of one job would overwrite the first one's output. */
        nb_json_kv_bool(o, "disableRetries", true);
        nb_json_close(o);
}

static void put_labels(struct nb_json_out *o, const struct far_plan *p)
{
        char commit[FAR_LABEL_SIZE], place[16];

        nb_json_key(o, "labels");
        nb_json_open_object(o);
        nb_json_kv_str(o, "nbcid-attempt", p->label);
        nb_json_kv_str(o, "nbcid-instance", p->group);
        if (p->job->commit) {
                far_label(p->job->commit, commit);
                nb_json_kv_str(o, "nbcid-commit", commit);
        }
        (void)nb_fmt(place, sizeof(place), "%u", p->place);
        nb_json_kv_str(o, "nbcid-place", place);
        nb_json_close(o);
}

int vertex_plan(const struct config_executor *cfg, const struct far_plan *p, struct nb_buf *ret,
                struct nb_err *err)
{
        const struct config_vertex *v = &cfg->vertex;
        nb_auto_free char *image = vertex_image(cfg, p->job->environment, NULL);
        nb_auto_free char *full =
                p->job->place ? nb_strdup(p->job->place->title)
                              : nb_asprintf("%.8s %s", p->job->commit, p->job->notebook);
        nb_auto_free char *shown = full ? nb_utf8_cut(full, NAME_MAX_CHARS) : NULL;
        struct nb_json_out o = NB_JSON_OUT(ret);

        if (!image)
                return nb_fail(err, NB_E_INVALID,
                               "the notebook names no container image that can be used, and the "
                               "executor \"%s\" has none for it: name one in [[job]] of "
                               ".nbcid.toml, or container_uri in config.toml",
                               cfg->name);
        if (!shown)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        nb_json_open_object(&o);
        nb_json_kv_str(&o, "displayName", shown);
        put_labels(&o, p);
        nb_json_key(&o, "jobSpec");
        nb_json_open_object(&o);
        put_pool(&o, v, p, image);
        put_scheduling(&o, config_vertex_place(v, p->place).spot, p->job->timeout_us);
        if (v->service_account)
                nb_json_kv_str(&o, "serviceAccount", v->service_account);
        if (v->network)
                nb_json_kv_str(&o, "network", v->network);
        nb_json_close(&o);
        nb_json_close(&o);
        return ret->failed ? nb_fail(err, NB_E_LIMIT, "the job's description is too long") : 0;
}
