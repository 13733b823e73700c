/* SPDX-License-Identifier: Apache-2.0 */

/* cmd-check.c - `nbcid check PATH...`: what is wrong, without running anything */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nbcid/check.h>
#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>
#include <nbcid/sandbox.h>
#include <nbcid/str.h>

#include "app.h"
#include "check-files.h"
#include "check-run.h"

#define OUTPUT_MAX ((size_t)1 << 30)
#define OUTPUT_AT_ONCE ((size_t)32 << 10)

static void check_help(FILE *f)
{
        fputs("Usage: nbcid check [OPTION...] PATH...\n"
              "\n"
              "Say what is wrong with notebooks, without running them: format, syntax, and what\n"
              ".nbcid.toml asks for in [check].  A PATH is a notebook, a directory (all below\n"
              "it that .nbcid.toml does not leave out), or - for standard input.\n"
              "\n"
              "      --format FORMAT      human (default), json, sarif (2.1.0), github\n"
              "      --kernel-check       ask the kernels of languages other than Python; needs\n"
              "                           jupyter_client\n"
              "      --python PROGRAM     whose syntax and IPython hold (python3)\n"
              "      --config FILE        .nbcid.toml to use instead of the one found upwards\n"
              "      --sandbox KIND       of the process that parses: auto (default),\n"
              "                           bubblewrap, none\n"
              "      --strict             warnings are errors\n"
              "      --only RULE          of [check] this one alone; may be given more than once\n"
              "      --jobs N             files at the same time; 0, the default: as many as "
              "there\n"
              "                           are processors\n"
              "\n"
              "Exit status: 0 no error, 1 errors were found, 2 wrong usage or a file that cannot\n"
              "be read.\n",
              f);
}

enum format { FORMAT_HUMAN, FORMAT_JSON, FORMAT_SARIF, FORMAT_GITHUB };

struct run {
        enum format format;
        bool strict, terminal, colour, unreadable, broken;
        const char *python; /* as given, or NULL */
        struct check_run checks;
        struct nb_buf out;
        struct nb_json_out json;
        struct check_sarif sarif;
        size_t notebooks, errors, warnings;
};

enum {
        OPT_FORMAT = 256,
        OPT_KERNEL_CHECK,
        OPT_PYTHON,
        OPT_CONFIG,
        OPT_SANDBOX,
        OPT_STRICT,
        OPT_ONLY,
        OPT_JOBS,
};

static const struct option check_options[] = {
        {"format", required_argument, NULL, OPT_FORMAT},
        {"kernel-check", no_argument, NULL, OPT_KERNEL_CHECK},
        {"python", required_argument, NULL, OPT_PYTHON},
        {"config", required_argument, NULL, OPT_CONFIG},
        {"sandbox", required_argument, NULL, OPT_SANDBOX},
        {"strict", no_argument, NULL, OPT_STRICT},
        {"only", required_argument, NULL, OPT_ONLY},
        {"jobs", required_argument, NULL, OPT_JOBS},
        {"help", no_argument, NULL, 'h'},
        {0},
};

/* Index of the word, or -1 after saying what it may be. */
static int choose(const char *option, const char *s, const char *const *words)
{
        for (int i = 0; words[i]; i++)
                if (nb_streq(s, words[i]))
                        return i;
        fprintf(stderr, "nbcid check: --%s: \"%s\" is none of", option, s);
        for (int i = 0; words[i]; i++)
                fprintf(stderr, "%s %s", i ? "," : "", words[i]);
        fputc('\n', stderr);
        return -1;
}

static bool take_only(struct run *x, const char *value)
{
        unsigned bit = check_rule_bit(value);

        if (!bit)
                fprintf(stderr,
                        "nbcid check: --only: \"%s\" is no rule of [check]; see "
                        "nbcid.toml(5)\n",
                        value);
        x->checks.only |= bit;
        return bit != 0;
}

static bool take_jobs(struct run *x, const char *value)
{
        struct nb_err err;
        uint64_t n;

        if (nb_parse_u64(value, 0, CHECK_RUN_JOBS_MAX, &n, &err) < 0) {
                fprintf(stderr, "nbcid check: --jobs: %s\n", err.msg);
                return false;
        }
        x->checks.jobs = (unsigned)n;
        return true;
}

static bool take_option(struct run *x, int opt, const char *value)
{
        static const char *const formats[] = {"human", "json", "sarif", "github", NULL};
        struct nb_err err;
        int i;

        switch (opt) {
        case OPT_FORMAT:
                i = choose("format", value, formats);
                x->format = (enum format)(i < 0 ? 0 : i);
                return i >= 0;
        case OPT_SANDBOX:
                if (sandbox_kind_parse(value, &x->checks.opts.sandbox, &err) == 0)
                        return true;
                fprintf(stderr, "nbcid check: --sandbox: %s\n", err.msg);
                return false;
        case OPT_KERNEL_CHECK:
                x->checks.opts.kernel_check = true;
                return true;
        case OPT_PYTHON:
                x->python = value;
                return true;
        case OPT_CONFIG:
                x->checks.config = value;
                return true;
        case OPT_STRICT:
                x->strict = true;
                return true;
        case OPT_ONLY:
                return take_only(x, value);
        case OPT_JOBS:
                return take_jobs(x, value);
        default:
                return false;
        }
}

/* ---- output ---- */

static bool flush(struct run *x)
{
        struct nb_err err;

        if (x->broken) /* that was told */
                return false;
        x->broken = true;
        if (x->out.failed)
                fprintf(stderr, "nbcid check: over %zu bytes of output, or no memory for it\n",
                        OUTPUT_MAX);
        else if (nb_write_all(STDOUT_FILENO, nb_buf_str(&x->out), x->out.len, &err) < 0)
                fprintf(stderr, "nbcid check: standard output: %s\n", err.msg);
        else
                x->broken = false;
        nb_buf_clear(&x->out);
        return !x->broken;
}

static void render_json(struct run *x, const char *name, const struct findings *f,
                        const struct nb_strv *notes)
{
        nb_auto_buf list = NB_BUF(OUTPUT_MAX);

        findings_write_json(f, &list);
        x->out.failed = x->out.failed || list.failed;
        nb_json_open_object(&x->json);
        nb_json_kv_str(&x->json, "path", name);
        nb_json_key(&x->json, "findings");
        nb_json_put_raw(&x->json, nb_buf_str(&list));
        nb_json_kv_int(&x->json, "more", (int64_t)f->more);
        nb_json_key(&x->json, "notes");
        nb_json_open_array(&x->json);
        for (size_t i = 0; i < notes->n; i++)
                nb_json_put_str(&x->json, notes->v[i]);
        nb_json_close(&x->json);
        nb_json_close(&x->json);
}

static void render(struct run *x, const char *name, const struct findings *f,
                   const struct nb_strv *notes)
{
        switch (x->format) {
        case FORMAT_HUMAN:
                check_render_human(name, f, x->colour, &x->out);
                for (size_t i = 0; i < notes->n; i++)
                        (void)nb_buf_printf(&x->out, "%s: note: %s\n", name, notes->v[i]);
                break;
        case FORMAT_JSON:
                render_json(x, name, f, notes);
                break;
        case FORMAT_SARIF:
                check_sarif_add(&x->sarif, name, f);
                break;
        case FORMAT_GITHUB:
                check_render_github(name, f, &x->out);
                break;
        }
}

static void begin(struct run *x)
{
        if (x->format == FORMAT_SARIF)
                check_sarif_begin(&x->sarif, NBCID_VERSION, &x->out);
        if (x->format != FORMAT_JSON)
                return;
        nb_json_open_object(&x->json);
        nb_json_key(&x->json, "notebooks");
        nb_json_open_array(&x->json);
}

static const char *plural(size_t n)
{
        return n == 1 ? "" : "s";
}

static void end(struct run *x)
{
        if (x->format == FORMAT_SARIF)
                check_sarif_end(&x->sarif);
        if (x->format == FORMAT_JSON) {
                nb_json_close(&x->json);
                nb_json_kv_int(&x->json, "errors", (int64_t)x->errors);
                nb_json_kv_int(&x->json, "warnings", (int64_t)x->warnings);
                nb_json_close(&x->json);
        }
        if (x->format == FORMAT_HUMAN)
                (void)nb_buf_printf(&x->out, "%zu notebook%s: %zu error%s, %zu warning%s\n",
                                    x->notebooks, plural(x->notebooks), x->errors,
                                    plural(x->errors), x->warnings, plural(x->warnings));
        else if (x->format != FORMAT_GITHUB)
                (void)nb_buf_putc(&x->out, '\n');
}

/* ---- one notebook ---- */

static void count(struct run *x, struct findings *f)
{
        x->notebooks++;
        for (size_t i = 0; i < f->n; i++) {
                if (x->strict)
                        f->v[i].severity = FINDING_ERROR;
                if (f->v[i].severity == FINDING_ERROR)
                        x->errors++;
                else
                        x->warnings++;
        }
}

/* A path that cannot be read is told, and the others are checked. */
static void complain(struct run *x, const char *path, const struct nb_err *err)
{
        nb_auto_free char *clean = nb_utf8_clean(path, strlen(path), true); /* as in messages */
        const char *shown = clean ? clean : "?", *sep = strstr(err->msg, shown) ? "" : shown;

        fprintf(stderr, "nbcid check: %s%s%s\n", sep, *sep ? ": " : "", err->msg);
        x->unreadable = true;
}

/* People see a finding when it is there, and before the complaint that comes next;
 * JSON and SARIF are one document. */
static bool tell(void *run, const char *path, struct checked *c)
{
        struct run *x = run;
        const bool lines = x->format == FORMAT_HUMAN || x->format == FORMAT_GITHUB;

        if (c->failed) {
                if (lines && !flush(x))
                        return false;
                complain(x, path, &c->err);
                return true;
        }
        count(x, &c->found);
        render(x, path, &c->found, &c->notes);
        return !lines || !(x->terminal || x->out.len >= OUTPUT_AT_ONCE) || flush(x);
}

static int found(void *crew, char *path, struct nb_err *err)
{
        return check_crew_add(crew, path, err);
}

static int refused(void *crew, const char *path, const struct nb_err *why, struct nb_err *err)
{
        return check_crew_refuse(crew, path, why, err);
}

static int check_all(struct run *x, char **paths)
{
        struct rules rules = {.forced = x->checks.config};
        struct check_crew *crew;
        struct nb_err err, why;
        int r = check_crew_new(&x->checks, &crew, &err), finished;

        if (r < 0) {
                fprintf(stderr, "nbcid check: %s\n", err.msg);
                return EXIT_INFRASTRUCTURE;
        }
        begin(x);
        for (; r == 0 && *paths; paths++)
                if (files_find(&rules, *paths, found, refused, crew, &why) < 0)
                        r = check_crew_refuse(crew, *paths, &why, &err);
        rules_done(&rules);
        finished = check_crew_finish(crew, r < 0 ? &why : &err);
        if (r < 0 || finished < 0) {
                fprintf(stderr, "nbcid check: %s\n", err.msg);
                return EXIT_INFRASTRUCTURE;
        }
        end(x);
        if (!flush(x) || x->unreadable)
                return EXIT_USAGE;
        return x->errors > 0 ? EXIT_NOTEBOOK_FAILED : EXIT_FINE;
}

static bool wants_colour(void)
{
        const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

        return !(no && *no) && term && !nb_streq(term, "dumb");
}

/* The interpreter that was asked for, as the process that parses finds it: that one is
 * not started here.  One that is not there is a mistake, since nothing would be parsed. */
static bool find_python(struct run *x, char **ret)
{
        const bool relative = strchr(x->python, '/') && x->python[0] != '/';
        nb_auto_free char *here = relative ? getcwd(NULL, 0) : NULL, *path = NULL;
        struct nb_err err;
        struct stat st;

        path = here ? nb_asprintf("%s/%s", here, x->python) : nb_strdup(x->python);
        if (!path)
                fputs("nbcid check: out of memory\n", stderr);
        else if (sandbox_find_program(path, ret, &err) < 0)
                fprintf(stderr, "nbcid check: --python: %s\n", err.msg);
        else if (stat(*ret, &st) < 0 || !S_ISREG(st.st_mode) || access(*ret, X_OK) < 0)
                fprintf(stderr, "nbcid check: --python: \"%s\" is not a program\n", x->python);
        else
                return true;
        return false;
}

int cmd_check(int argc, char **argv)
{
        struct run x = {
                .checks = {.opts = {.python = "python3", .max_notebook = CHECK_RUN_WHOLE},
                           .tell = tell,
                           .arg = &x},
                .out = NB_BUF(OUTPUT_MAX),
                .terminal = isatty(STDOUT_FILENO),
        };
        nb_auto_free char *python = NULL;
        struct nb_err err;
        int opt, status;

        nb_log_setup(NB_LOG_STDERR, LOG_WARNING);
        while ((opt = getopt_long(argc, argv, "h", check_options, NULL)) != -1) {
                if (opt == 'h') {
                        check_help(stdout);
                        return EXIT_FINE;
                }
                if (opt == '?') {
                        check_help(stderr);
                        return EXIT_USAGE;
                }
                if (!take_option(&x, opt, optarg))
                        return EXIT_USAGE;
        }
        if (optind == argc) {
                check_help(stderr);
                return EXIT_USAGE;
        }
        x.json = NB_JSON_OUT(&x.out);
        x.colour = x.terminal && wants_colour();
        x.checks.opts.cold = x.checks.only && !(x.checks.only & check_rule_bit("syntax"));
        if (x.python && !x.checks.opts.cold) {
                if (!find_python(&x, &python))
                        return EXIT_USAGE;
                x.checks.opts.python = python;
        }
        if (check_new(&x.checks.opts, &x.checks.check, &err) < 0) {
                fprintf(stderr, "nbcid check: %s\n", err.msg);
                return EXIT_INFRASTRUCTURE;
        }
        status = check_all(&x, argv + optind);
        check_free(x.checks.check);
        nb_buf_done(&x.out);
        return status;
}
