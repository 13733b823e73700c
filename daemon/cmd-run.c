/* SPDX-License-Identifier: Apache-2.0 */

/* cmd-run.c - `nbcid run NOTEBOOK`: one notebook, here, now */

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include <nbcid/buf.h>
#include <nbcid/check.h>
#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/notebook_environment.h>
#include <nbcid/num.h>
#include <nbcid/runner.h>
#include <nbcid/str.h>

#include "app.h"

#define NOTEBOOK_MAX ((size_t)256 * 1024 * 1024)

static void run_help(FILE *f)
{
        fputs("Usage: nbcid run [OPTION...] NOTEBOOK\n"
              "\n"
              "Run a notebook from top to bottom in a fresh kernel, as the daemon runs a job:\n"
              "in what --environment says, in the image that the notebook names (see --podman),\n"
              "else in this machine's default environment.\n"
              "\n"
              "  -o, --output FILE        where the executed notebook goes (NAME.executed.ipynb)\n"
              "      --workspace DIR      what the notebook may see and write; NOTEBOOK is then\n"
              "                           relative to it (default: the notebook's directory)\n"
              "      --environment FILE   JSON object: what to run in (kernel, requirements, "
              "python,\n"
              "                           image, ...), as the daemon's API shows it\n"
              "      --allow KIND         what its requirements may do beside naming packages:\n"
              "                           vcs, url, file, editable or index, as [environments]\n"
              "                           allow; again for more (none)\n"
              "      --kernel NAME        kernelspec to use instead of the notebook's own\n"
              "  -p, --parameter NAME VALUE   set a parameter; again for more\n"
              "      --parameters FILE    parameters from a JSON object; -p wins\n"
              "      --python PROGRAM     interpreter with nbclient (python3)\n"
              "      --timeout D          of the whole run, as 2h, 30m, 90s (none)\n"
              "      --cell-timeout D     of one cell (none)\n"
              "      --memory-max SIZE    as 4GiB (none)\n"
              "      --processes-max N    (none)\n"
              "      --max-output SIZE    bytes of outputs (none)\n"
              "      --sandbox KIND       auto (default), bubblewrap, none\n"
              "      --hide PATH          what the notebook must not see; again for more\n"
              "      --environments DIR   keep built environments there\n"
              "                           (~/.cache/nbcid/environments)\n"
              "      --environments-max SIZE  remove the least recently used above that (20GiB)\n"
              "      --build-timeout D    of one environment (30m)\n"
              "      --index-url URL      package index (that of pip)\n"
              "      --pip-config FILE    configuration of pip for builds\n"
              "      --uv PROGRAM         build with it when it is there (uv); \"\": with pip\n"
              "      --conda PROGRAM      for conda environments (micromamba or conda)\n"
              "      --podman PROGRAM     run notebooks that name an image in it\n"
              "      --image-fallback F   without --podman: refuse (default), or default: run\n"
              "                           such notebooks in the default environment\n"
              "      --run-dir DIR        keep log.txt, events.jsonl and the notebook there;\n"
              "                           it must exist and be new\n"
              "      --events-fd N        write events there too, one JSON object a line\n"
              "      --language NAME      choose a kernel of this language if NAME is missing\n"
              "      --cgroup DIR         delegated cgroup v2 directory for limits\n"
              "  -q, --quiet              no progress and no warnings on standard error\n"
              "\n"
              "Exit status: 0 passed, 1 the notebook failed, 2 wrong usage, 3 infrastructure.\n",
              f);
}

enum {
        OPT_WORKSPACE = 256,
        OPT_KERNEL,
        OPT_LANGUAGE,
        OPT_PYTHON,
        OPT_TIMEOUT,
        OPT_CELL_TIMEOUT,
        OPT_MEMORY_MAX,
        OPT_PROCESSES_MAX,
        OPT_MAX_OUTPUT,
        OPT_SANDBOX,
        OPT_HIDE,
        OPT_RUN_DIR,
        OPT_EVENTS_FD,
        OPT_CGROUP,
        OPT_PARAMETERS,
        OPT_ENVIRONMENT,
        OPT_ALLOW,
        OPT_ENVIRONMENTS,
        OPT_ENVIRONMENTS_MAX,
        OPT_BUILD_TIMEOUT,
        OPT_INDEX_URL,
        OPT_PIP_CONFIG,
        OPT_UV,
        OPT_CONDA,
        OPT_PODMAN,
        OPT_IMAGE_FALLBACK,
};

static int parse_fallback(const char *s, bool *ret, struct nb_err *err)
{
        *ret = nb_streq(s, "default");
        return *ret || nb_streq(s, "refuse")
                       ? 0
                       : nb_fail(err, NB_E_INVALID, "\"%s\" is none of refuse, default", s);
}

static int parse_allow(const char *s, unsigned *bits, struct nb_err *err)
{
        unsigned bit;

        if (!requirements_allow_parse(s, &bit))
                return nb_fail(err, NB_E_INVALID,
                               "\"%s\" is none of vcs, url, file, editable, index", s);
        *bits |= bit;
        return 0;
}

static int parse_u32(const char *s, uint32_t max, uint32_t *ret, struct nb_err *err)
{
        uint64_t v;
        int r = nb_parse_u64(s, 0, max, &v, err);

        if (r == 0)
                *ret = (uint32_t)v;
        return r;
}

/* Options that are texts: where they go, or NULL. */
static const char **text_option(struct runner_opts *o, int opt)
{
        switch (opt) {
        case 'o':
                return &o->output;
        case OPT_WORKSPACE:
                return &o->workspace;
        case OPT_KERNEL:
                return &o->kernel;
        case OPT_LANGUAGE:
                return &o->language;
        case OPT_PYTHON:
                return &o->python;
        case OPT_RUN_DIR:
                return &o->run_dir;
        case OPT_CGROUP:
                return &o->cgroup;
        case OPT_ENVIRONMENT:
                return &o->environment;
        case OPT_ENVIRONMENTS:
                return &o->environments;
        case OPT_INDEX_URL:
                return &o->index_url;
        case OPT_PIP_CONFIG:
                return &o->pip_config;
        case OPT_UV:
                return &o->uv;
        case OPT_CONDA:
                return &o->conda;
        case OPT_PODMAN:
                return &o->podman;
        default:
                return NULL;
        }
}

/* One option; 0, or < 0 with what is wrong with its value. */
static int take_option(struct runner_opts *o, struct nb_strv *hide, int opt, const char *value,
                       struct nb_err *err)
{
        const char **text = text_option(o, opt);
        uint32_t fd;
        int r;

        if (text) {
                *text = value;
                return 0;
        }
        switch (opt) {
        case 'q':
                o->quiet = true;
                return 0;
        case OPT_HIDE:
                return nb_strv_add(hide, value) < 0 ? nb_fail(err, NB_E_NOMEM, "out of memory") : 0;
        case OPT_TIMEOUT:
                return nb_parse_duration(value, &o->timeout_us, err);
        case OPT_CELL_TIMEOUT:
                return nb_parse_duration(value, &o->cell_timeout_us, err);
        case OPT_MEMORY_MAX:
                return nb_parse_size(value, &o->memory_max, err);
        case OPT_MAX_OUTPUT:
                return nb_parse_size(value, &o->max_output, err);
        case OPT_PROCESSES_MAX:
                return parse_u32(value, 1 << 20, &o->processes_max, err);
        case OPT_ENVIRONMENTS_MAX:
                return nb_parse_size(value, &o->environments_max, err);
        case OPT_BUILD_TIMEOUT:
                return nb_parse_duration(value, &o->build_timeout_us, err);
        case OPT_ALLOW:
                return parse_allow(value, &o->allow, err);
        case OPT_IMAGE_FALLBACK:
                return parse_fallback(value, &o->image_fallback, err);
        case OPT_SANDBOX:
                return sandbox_kind_parse(value, &o->sandbox, err);
        case OPT_EVENTS_FD:
                r = parse_u32(value, 1 << 20, &fd, err);
                if (r == 0)
                        o->events_fd = (int)fd;
                return r;
        default:
                return nb_fail(err, NB_E_INVALID, "unknown option");
        }
}

static const struct option run_options[] = {
        {"output", required_argument, NULL, 'o'},
        {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {"parameter", required_argument, NULL, 'p'},
        {"parameters", required_argument, NULL, OPT_PARAMETERS},
        {"workspace", required_argument, NULL, OPT_WORKSPACE},
        {"kernel", required_argument, NULL, OPT_KERNEL},
        {"language", required_argument, NULL, OPT_LANGUAGE},
        {"python", required_argument, NULL, OPT_PYTHON},
        {"timeout", required_argument, NULL, OPT_TIMEOUT},
        {"cell-timeout", required_argument, NULL, OPT_CELL_TIMEOUT},
        {"memory-max", required_argument, NULL, OPT_MEMORY_MAX},
        {"processes-max", required_argument, NULL, OPT_PROCESSES_MAX},
        {"max-output", required_argument, NULL, OPT_MAX_OUTPUT},
        {"sandbox", required_argument, NULL, OPT_SANDBOX},
        {"hide", required_argument, NULL, OPT_HIDE},
        {"run-dir", required_argument, NULL, OPT_RUN_DIR},
        {"events-fd", required_argument, NULL, OPT_EVENTS_FD},
        {"cgroup", required_argument, NULL, OPT_CGROUP},
        {"environment", required_argument, NULL, OPT_ENVIRONMENT},
        {"allow", required_argument, NULL, OPT_ALLOW},
        {"environments", required_argument, NULL, OPT_ENVIRONMENTS},
        {"environments-max", required_argument, NULL, OPT_ENVIRONMENTS_MAX},
        {"build-timeout", required_argument, NULL, OPT_BUILD_TIMEOUT},
        {"index-url", required_argument, NULL, OPT_INDEX_URL},
        {"pip-config", required_argument, NULL, OPT_PIP_CONFIG},
        {"uv", required_argument, NULL, OPT_UV},
        {"conda", required_argument, NULL, OPT_CONDA},
        {"podman", required_argument, NULL, OPT_PODMAN},
        {"image-fallback", required_argument, NULL, OPT_IMAGE_FALLBACK},
        {0},
};

/* Owned texts of JSON objects, or NULL: of --parameters, and of -p, which wins
 * wherever it stands. */
struct given {
        char *file, *one_by_one;
};

static void given_done(struct given *g)
{
        free(g->file);
        free(g->one_by_one);
}

/* -p has two words, of which getopt knows the first. */
static int take_parameter(struct given *g, int opt, int argc, char **argv, struct nb_err *err)
{
        const char *name = optarg;

        if (opt == OPT_PARAMETERS)
                return parameters_read(&g->file, optarg, err);
        return parameters_set(&g->one_by_one, name, optind < argc ? argv[optind++] : NULL, err);
}

/* A name that is misspelt would change nothing, without a word.  What is wrong with the
 * notebook otherwise, the run says. */
static void warn_of_unknown(const struct runner_opts *o)
{
        NB_CLEANUP(nb_strv_done) struct nb_strv warnings = {0};
        nb_auto_buf text = NB_BUF(NOTEBOOK_MAX);
        nb_auto_free char *path = o->workspace && o->notebook[0] != '/'
                                          ? nb_asprintf("%s/%s", o->workspace, o->notebook)
                                          : nb_strdup(o->notebook);
        struct nb_err err;

        if (!path || nb_read_file(AT_FDCWD, path, &text, &err) < 0 ||
            check_unknown_parameters(o->notebook, nb_buf_str(&text), text.len, o->parameters,
                                     &warnings, &err) < 0)
                return;
        for (size_t i = 0; i < warnings.n; i++)
                fprintf(stderr, "%s\n", warnings.v[i]);
}

/* "dir/train.ipynb" -> "dir/train.executed.ipynb"; owned. */
static char *default_output(const char *notebook)
{
        size_t n = strlen(notebook);

        if (nb_ends_with_nocase(notebook, ".ipynb"))
                n -= strlen(".ipynb");
        return nb_asprintf("%.*s.executed.ipynb", (int)n, notebook);
}

/* Where environments are kept when nobody says; owned, or NULL. */
static char *default_environments(void)
{
        const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

        if (cache && cache[0] == '/')
                return nb_asprintf("%s/nbcid/environments", cache);
        return home && home[0] == '/' ? nb_asprintf("%s/.cache/nbcid/environments", home) : NULL;
}

int cmd_run(int argc, char **argv)
{
        struct runner_opts o = {.events_fd = -1,
                                .python = "python3",
                                .sandbox = SANDBOX_AUTO,
                                .uv = "uv",
                                .environments_max = UINT64_C(20) << 30,
                                .build_timeout_us = 1800 * NB_US_PER_S};
        nb_auto_free char *output = NULL, *text = NULL, *environments = NULL;
        NB_CLEANUP(nb_strv_done) struct nb_strv hide = {0};
        NB_CLEANUP(given_done) struct given given = {0};
        struct run_result result = {0};
        struct nb_err err;
        int opt, index = 0, r;

        nb_log_setup(NB_LOG_STDERR, LOG_WARNING);
        while ((opt = getopt_long(argc, argv, "o:p:qh", run_options, &index)) != -1) {
                if (opt == 'h') {
                        run_help(stdout);
                        return EXIT_FINE;
                }
                if (opt == '?') {
                        run_help(stderr);
                        return EXIT_USAGE;
                }
                r = opt == 'p' || opt == OPT_PARAMETERS
                            ? take_parameter(&given, opt, argc, argv, &err)
                            : take_option(&o, &hide, opt, optarg, &err);
                if (r < 0) {
                        fprintf(stderr, "nbcid run: %s: %s\n", argv[optind - 1], err.msg);
                        return EXIT_USAGE;
                }
        }
        if (argc - optind != 1) {
                run_help(stderr);
                return EXIT_USAGE;
        }
        o.notebook = argv[optind];
        o.hide = (const char *const *)hide.v;
        if (parameters_join(&given.file, given.one_by_one, &err) < 0) {
                fprintf(stderr, "nbcid run: parameters: %s\n", err.msg);
                return EXIT_USAGE;
        }
        o.parameters = given.file;
        if (o.parameters && !o.quiet)
                warn_of_unknown(&o);
        if (!o.environments)
                o.environments = environments = default_environments();
        if (!o.output && !o.run_dir)
                o.output = output = default_output(o.notebook);
        r = runner_run(&o, &result, &err);
        if (r < 0) {
                fprintf(stderr, "nbcid run: %s\n", err.msg);
                return err.code == NB_E_INVALID || err.code == NB_E_NOTFOUND ? EXIT_USAGE
                                                                             : EXIT_INFRASTRUCTURE;
        }
        if (!o.quiet && (text = run_result_text(&result)))
                fprintf(stderr, "%s: %s\n", o.notebook, text);
        run_result_done(&result);
        return r;
}
