/* SPDX-License-Identifier: Apache-2.0 */

/* cmd-submit.c - `nbcid submit`: one notebook, to where the machines are */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>
#include <nbcid/str.h>
#include <nbcid/submit.h>

#include "app.h"
#include "submit-terminal.h"

#define POOL_THREADS 4

static void submit_help(FILE *f)
{
        fputs("Usage: nbcid submit --input-notebook NOTEBOOK [OPTION...]\n"
              "\n"
              "Run one notebook as a job of Google's Vertex AI, in the container that it names.\n"
              "\n"
              "      --input-notebook NOTEBOOK   a path, or gs://bucket/name\n"
              "      --output-notebook NOTEBOOK  the same (NAME_output.ipynb beside the input): a\n"
              "                           path is waited for, gs:// is submitted and left\n"
              "      --input-folder DIR   files that the notebook needs: a directory, which is\n"
              "                           copied into the bucket, or gs://bucket/folder\n"
              "  -p, --parameter NAME VALUE   set a parameter; again for more\n"
              "      --parameters FILE    parameters from a JSON object; -p wins\n"
              "      --project-id ID      (that of the credentials)\n"
              "      --region REGION      (us-central1)\n"
              "      --job-id ID          what the job is called (from notebook and time)\n"
              "      --worker-machine-type TYPE   the same: --master-type (n1-standard-4)\n"
              "      --accelerator-type TYPE      one GPU, as NVIDIA_TESLA_T4 (none)\n"
              "      --container-uri IMAGE        (metadata.environment.uri of the notebook)\n"
              "      --bucket-name NAME   for what comes and goes; created when there is none\n"
              "                           (PROJECT-notebook-training)\n"
              "      --max-running-time D as 3600 (seconds), 90m, 9h (9h)\n"
              "      --service-account A  that the job runs as\n"
              "      --wait, --no-wait    whatever the output is\n"
              "      --config FILE        a config.toml with executors\n"
              "      --executor NAME      of it (the first of kind vertex); without --config:\n"
              "                           vertex, or local, which runs the notebook here\n"
              "      --no-check           do not look at the syntax of its cells before\n"
              "      --json               the result as one JSON object on standard output\n"
              "  -q, --quiet              no progress on standard error\n"
              "      --api-url URL, --storage-url URL, --logging-url URL, --token-url URL\n"
              "                           other endpoints\n"
              "\n"
              "Credentials are those of Google's own tools: GOOGLE_APPLICATION_CREDENTIALS, what\n"
              "`gcloud auth application-default login` left, or the machine's.\n"
              "\n"
              "Exit status: 0 passed, or submitted and left; 1 the notebook failed; 2 wrong "
              "usage,\n"
              "cancelled; 2 wrong usage, nothing was submitted; 3 infrastructure, or the end was\n"
              "not waited for after all.\n",
              f);
}

enum {
        OPT_INPUT = 256,
        OPT_OUTPUT,
        OPT_FOLDER,
        OPT_PARAMETERS,
        OPT_PROJECT,
        OPT_REGION,
        OPT_JOB,
        OPT_MACHINE,
        OPT_ACCELERATOR,
        OPT_CONTAINER,
        OPT_BUCKET,
        OPT_TIME,
        OPT_ACCOUNT,
        OPT_WAIT,
        OPT_NO_WAIT,
        OPT_CONFIG,
        OPT_EXECUTOR,
        OPT_NO_CHECK,
        OPT_JSON,
        OPT_API_URL,
        OPT_STORAGE_URL,
        OPT_LOGGING_URL,
        OPT_TOKEN_URL,
};

static const struct option submit_options[] = {
        {"input-notebook", required_argument, NULL, OPT_INPUT},
        {"output-notebook", required_argument, NULL, OPT_OUTPUT},
        {"input-folder", required_argument, NULL, OPT_FOLDER},
        {"parameter", required_argument, NULL, 'p'},
        {"parameters", required_argument, NULL, OPT_PARAMETERS},
        {"project-id", required_argument, NULL, OPT_PROJECT},
        {"region", required_argument, NULL, OPT_REGION},
        {"job-id", required_argument, NULL, OPT_JOB},
        {"worker-machine-type", required_argument, NULL, OPT_MACHINE},
        {"master-type", required_argument, NULL, OPT_MACHINE},
        {"accelerator-type", required_argument, NULL, OPT_ACCELERATOR},
        {"container-uri", required_argument, NULL, OPT_CONTAINER},
        {"bucket-name", required_argument, NULL, OPT_BUCKET},
        {"max-running-time", required_argument, NULL, OPT_TIME},
        {"service-account", required_argument, NULL, OPT_ACCOUNT},
        {"wait", no_argument, NULL, OPT_WAIT},
        {"no-wait", no_argument, NULL, OPT_NO_WAIT},
        {"config", required_argument, NULL, OPT_CONFIG},
        {"executor", required_argument, NULL, OPT_EXECUTOR},
        {"no-check", no_argument, NULL, OPT_NO_CHECK},
        {"json", no_argument, NULL, OPT_JSON},
        {"quiet", no_argument, NULL, 'q'},
        {"api-url", required_argument, NULL, OPT_API_URL},
        {"storage-url", required_argument, NULL, OPT_STORAGE_URL},
        {"logging-url", required_argument, NULL, OPT_LOGGING_URL},
        {"token-url", required_argument, NULL, OPT_TOKEN_URL},
        {"help", no_argument, NULL, 'h'},
        {0},
};

struct asked { /* texts of JSON objects are owned, others argv's */
        struct submit_opts opts;
        const char *config;
        char *file, *one_by_one; /* parameters */
        bool json, quiet;
};

static void asked_done(struct asked *a)
{
        free(a->file);
        free(a->one_by_one);
}

static const char **text_option(struct asked *a, int opt)
{
        struct submit_opts *o = &a->opts;

        switch (opt) {
        case OPT_INPUT:
                return &o->input;
        case OPT_OUTPUT:
                return &o->output;
        case OPT_FOLDER:
                return &o->input_folder;
        case OPT_PROJECT:
                return &o->project;
        case OPT_REGION:
                return &o->region;
        case OPT_JOB:
                return &o->job_id;
        case OPT_MACHINE:
                return &o->machine_type;
        case OPT_ACCELERATOR:
                return &o->accelerator_type;
        case OPT_CONTAINER:
                return &o->image;
        case OPT_BUCKET:
                return &o->bucket;
        case OPT_ACCOUNT:
                return &o->service_account;
        case OPT_EXECUTOR:
                return &o->executor;
        case OPT_CONFIG:
                return &a->config;
        case OPT_API_URL:
                return &o->api_url;
        case OPT_STORAGE_URL:
                return &o->storage_url;
        case OPT_LOGGING_URL:
                return &o->logging_url;
        case OPT_TOKEN_URL:
                return &o->token_url;
        default:
                return NULL;
        }
}

/* Seconds, as the tool before this one had it, or a duration of ours. */
static int parse_time(const char *s, uint64_t *ret_us, struct nb_err *err)
{
        uint64_t v = 0;
        int r = s[strspn(s, "0123456789")] ? nb_parse_duration(s, &v, err)
                                           : nb_parse_u64(s, 1, 28 * 86400, &v, err);

        if (r < 0)
                return r;
        *ret_us = s[strspn(s, "0123456789")] ? v : v * NB_US_PER_S;
        return *ret_us >= NB_US_PER_S ? 0
                                      : nb_fail(err, NB_E_INVALID, "\"%s\" is under a second", s);
}

static int take_option(struct asked *a, int opt, int argc, char **argv, struct nb_err *err)
{
        const char **text = text_option(a, opt);
        const char *name = optarg;

        if (text) {
                *text = optarg;
                return 0;
        }
        switch (opt) {
        case 'p': /* has two words, of which getopt knows the first */
                return parameters_set(&a->one_by_one, name, optind < argc ? argv[optind++] : NULL,
                                      err);
        case OPT_PARAMETERS:
                return parameters_read(&a->file, optarg, err);
        case OPT_TIME:
                return parse_time(optarg, &a->opts.max_running_us, err);
        case OPT_WAIT:
                a->opts.wait = SUBMIT_WAIT;
                return 0;
        case OPT_NO_WAIT:
                a->opts.wait = SUBMIT_LEAVE;
                return 0;
        case OPT_NO_CHECK:
                a->opts.no_check = true;
                return 0;
        case OPT_JSON:
                a->json = true;
                return 0;
        case 'q':
                a->quiet = true;
                return 0;
        default:
                return nb_fail(err, NB_E_INVALID, "unknown option");
        }
}

/* ---- what came of it ---- */

static void put_text(struct nb_json_out *o, const char *key, const char *text)
{
        if (text)
                nb_json_kv_str(o, key, text);
}

static void put_machine(struct nb_json_out *o, const struct run_machine *m)
{
        if (!m->type)
                return;
        nb_json_key(o, "machine");
        nb_json_open_object(o);
        nb_json_kv_str(o, "type", m->type);
        put_text(o, "accelerator", m->accelerator);
        if (m->accelerator)
                nb_json_kv_int(o, "accelerators", m->accelerators);
        put_text(o, "region", m->region);
        nb_json_kv_bool(o, "spot", m->spot);
        nb_json_close(o);
}

static void put_result(struct nb_json_out *o, const struct run_result *r)
{
        nb_auto_free char *text = run_result_text(r);

        nb_json_kv_str(o, "class", run_class_name(r->class));
        put_text(o, "reason", text);
        if (r->cell > 0)
                nb_json_kv_int(o, "cell", r->cell);
        put_text(o, "ename", r->ename);
        put_text(o, "evalue", r->evalue);
        nb_json_kv_int(o, "cells", r->cells);
        nb_json_kv_int(o, "cells_done", r->cells_done);
        nb_json_key(o, "seconds");
        nb_json_put_double(o, (double)r->wall_us / (double)NB_US_PER_S);
        put_machine(o, &r->machine);
}

static bool asked_wrongly(const struct nb_err *err)
{
        return err->code == NB_E_INVALID || err->code == NB_E_NOTFOUND || err->code == NB_E_LIMIT ||
               err->code == NB_E_DENIED;
}

static const char *state_of(const struct submit_end *e, const struct nb_err *err)
{
        if (!e && err->code == NB_E_CANCELLED)
                return job_state_name(JOB_CANCELLED);
        if (!e && !asked_wrongly(err))
                return job_state_name(JOB_ERRORED);
        if (!e || e->outcome == SUBMIT_UNCHECKED)
                return "refused";
        if (e->outcome == SUBMIT_LEFT)
                return "submitted";
        return job_state_name(run_class_state(e->result.class));
}

/* e NULL: err says why there is none. */
static void print_json(const struct submit_end *e, const struct nb_err *err)
{
        nb_auto_buf b = NB_BUF(4 << 20);
        struct nb_json_out o = NB_JSON_OUT(&b);

        nb_json_open_object(&o);
        nb_json_kv_str(&o, "state", state_of(e, err));
        if (!e) {
                nb_json_kv_str(&o, "class", nb_errc_policy(err->code)->name);
                nb_json_kv_str(&o, "reason", err->msg);
        } else if (e->outcome == SUBMIT_UNCHECKED) {
                nb_json_kv_str(&o, "class", run_class_name(CLASS_CHECK));
                nb_json_kv_str(&o, "reason", nb_buf_str(&e->findings));
        } else {
                if (e->outcome == SUBMIT_ENDED)
                        put_result(&o, &e->result);
                put_text(&o, "executor", e->kind);
                put_text(&o, "job_id", e->job);
                put_text(&o, "name", e->name);
                put_text(&o, "url", e->url);
                put_text(&o, "project", e->project);
                put_text(&o, "region", e->region);
                put_text(&o, "image", e->image);
                put_text(&o, "input", e->input);
                put_text(&o, "output", e->output);
        }
        nb_json_close(&o);
        (void)nb_buf_putc(&b, '\n');
        if (nb_write_all(STDOUT_FILENO, nb_buf_str(&b), b.len, NULL) < 0)
                fputs("nbcid submit: standard output cannot be written\n", stderr);
}

static void print_text(const struct submit_end *e)
{
        nb_auto_free char *text = NULL;

        switch (e->outcome) {
        case SUBMIT_UNCHECKED:
                fputs(nb_buf_str(&e->findings), stderr);
                fputs("nbcid submit: nothing was submitted (--no-check leaves the syntax out)\n",
                      stderr);
                return;
        case SUBMIT_LEFT:
                fprintf(stderr,
                        "%s was submitted, and writes %s\n"
                        "To cancel it: gcloud ai custom-jobs cancel %s --region %s\n",
                        e->job, e->output, e->name ? e->name : e->job, e->region);
                return;
        case SUBMIT_ENDED:
                text = run_result_text(&e->result);
                fprintf(stderr, "%s: %s%s\n", e->job,
                        e->result.class == CLASS_PASSED ? "passed: " : "", text ? text : "");
                if (e->output)
                        fprintf(stderr, "%s: the executed notebook is %s\n", e->job, e->output);
                return;
        }
}

static int status_of(const struct submit_end *e, const struct terminal *t)
{
        switch (e->outcome) {
        case SUBMIT_UNCHECKED:
                return EXIT_NOTEBOOK_FAILED;
        case SUBMIT_LEFT:
                return terminal_left(t) ? EXIT_INFRASTRUCTURE : EXIT_FINE;
        case SUBMIT_ENDED:
                break;
        }
        if (e->result.class == CLASS_PASSED)
                return EXIT_FINE;
        return run_class_state(e->result.class) == JOB_ERRORED ? EXIT_INFRASTRUCTURE
                                                               : EXIT_NOTEBOOK_FAILED;
}

/* ---- */

static int submit_all(struct asked *a, struct submit_end *end, int *ret_status, struct nb_err *err)
{
        NB_CLEANUP(config_unrefp) struct config *config = NULL;
        NB_CLEANUP(loop_freep) struct loop *loop = NULL;
        NB_CLEANUP(terminal_freep) struct terminal *terminal = NULL;
        NB_CLEANUP(submit_freep) struct submit *s = NULL;
        int r = a->config ? config_load(a->config, &config, err) : 0;

        if (r == 0)
                r = loop_new(POOL_THREADS, &loop, err);
        if (r == 0)
                r = terminal_new(loop, a->quiet, &terminal, err);
        if (r < 0)
                return r;
        a->opts.config = config;
        a->opts.parameters = a->file;
        a->opts.self = "/proc/self/exe";
        a->opts.loop = loop;
        a->opts.told = terminal_tell;
        a->opts.arg = terminal;
        r = submit_new(&a->opts, &s, err);
        if (r < 0)
                return r;
        terminal_watch(terminal, s);
        r = submit_run(s, end, err);
        terminal_end(terminal);
        if (r == 0)
                *ret_status = status_of(end, terminal);
        return r;
}

int cmd_submit(int argc, char **argv)
{
        NB_CLEANUP(asked_done) struct asked a = {0};
        NB_CLEANUP(submit_end_done) struct submit_end end = {0};
        struct nb_err err;
        int opt, status = EXIT_FINE;

        nb_log_setup(NB_LOG_STDERR, LOG_ERR); /* what people must know is told otherwise */
        while ((opt = getopt_long(argc, argv, "p:qh", submit_options, NULL)) != -1) {
                if (opt == 'h') {
                        submit_help(stdout);
                        return EXIT_FINE;
                }
                if (opt == '?') {
                        submit_help(stderr);
                        return EXIT_USAGE;
                }
                if (take_option(&a, opt, argc, argv, &err) < 0) {
                        fprintf(stderr, "nbcid submit: %s: %s\n", argv[optind - 1], err.msg);
                        return EXIT_USAGE;
                }
        }
        if (argc != optind || !a.opts.input) {
                fputs(argc != optind ? "nbcid submit: options only; what is to be run goes with "
                                       "--input-notebook\n\n"
                                     : "nbcid submit: --input-notebook is required\n\n",
                      stderr);
                submit_help(stderr);
                return EXIT_USAGE;
        }
        if (parameters_join(&a.file, a.one_by_one, &err) < 0) {
                fprintf(stderr, "nbcid submit: parameters: %s\n", err.msg);
                return EXIT_USAGE;
        }
        if (submit_all(&a, &end, &status, &err) < 0) {
                fprintf(stderr, "nbcid submit: %s\n", err.msg);
                if (a.json)
                        print_json(NULL, &err);
                return asked_wrongly(&err) ? EXIT_USAGE : EXIT_INFRASTRUCTURE;
        }
        print_text(&end);
        if (a.json)
                print_json(&end, NULL);
        return status;
}
