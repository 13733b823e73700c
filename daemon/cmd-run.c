/* SPDX-License-Identifier: Apache-2.0 */

/* cmd-run.c - `nbcid run NOTEBOOK`: one notebook, here, now */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include <nbcid/log.h>
#include <nbcid/num.h>
#include <nbcid/runner.h>
#include <nbcid/str.h>

#include "app.h"

static void run_help(FILE *f)
{
        fputs("Usage: nbcid run [OPTION...] NOTEBOOK\n"
              "\n"
              "Run a notebook from top to bottom in a fresh kernel, as the daemon would.\n"
              "\n"
              "  -o, --output FILE        where the executed notebook goes (NAME.executed.ipynb)\n"
              "      --workspace DIR      what the notebook may see and write; NOTEBOOK is then\n"
              "                           relative to it (default: the notebook's directory)\n"
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
              "      --run-dir DIR        keep log.txt, events.jsonl and the notebook there;\n"
              "                           it must exist and be new\n"
              "      --events-fd N        write events there too, one JSON object a line\n"
              "      --language NAME      choose a kernel of this language if NAME is missing\n"
              "      --cgroup DIR         delegated cgroup v2 directory for limits\n"
              "  -q, --quiet              no progress on standard error\n"
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
};

static int parse_sandbox(const char *s, enum sandbox_kind *ret, struct nb_err *err)
{
        if (nb_streq(s, "auto"))
                *ret = SANDBOX_AUTO;
        else if (nb_streq(s, "bubblewrap"))
                *ret = SANDBOX_BUBBLEWRAP;
        else if (nb_streq(s, "none"))
                *ret = SANDBOX_NONE;
        else
                return nb_fail(err, NB_E_INVALID, "\"%s\" is none of auto, bubblewrap, none", s);
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

/* One option; 0, or < 0 with what is wrong with its value. */
static int take_option(struct runner_opts *o, struct nb_strv *hide, int opt, const char *value,
                       struct nb_err *err)
{
        uint32_t fd;
        int r;

        switch (opt) {
        case 'o':
                o->output = value;
                return 0;
        case 'q':
                o->quiet = true;
                return 0;
        case OPT_WORKSPACE:
                o->workspace = value;
                return 0;
        case OPT_KERNEL:
                o->kernel = value;
                return 0;
        case OPT_LANGUAGE:
                o->language = value;
                return 0;
        case OPT_PYTHON:
                o->python = value;
                return 0;
        case OPT_HIDE:
                return nb_strv_add(hide, value) < 0 ? nb_fail(err, NB_E_NOMEM, "out of memory") : 0;
        case OPT_RUN_DIR:
                o->run_dir = value;
                return 0;
        case OPT_CGROUP:
                o->cgroup = value;
                return 0;
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
        case OPT_SANDBOX:
                return parse_sandbox(value, &o->sandbox, err);
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

/* "dir/train.ipynb" -> "dir/train.executed.ipynb"; owned. */
static char *default_output(const char *notebook)
{
        size_t n = strlen(notebook);

        if (nb_ends_with_nocase(notebook, ".ipynb"))
                n -= strlen(".ipynb");
        return nb_asprintf("%.*s.executed.ipynb", (int)n, notebook);
}

int cmd_run(int argc, char **argv)
{
        struct runner_opts o = {.events_fd = -1, .python = "python3", .sandbox = SANDBOX_AUTO};
        nb_auto_free char *output = NULL, *text = NULL;
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
