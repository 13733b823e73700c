/* SPDX-License-Identifier: Apache-2.0 */

/* cmd-check.c - `nbcid check PATH...`: what is wrong, without running anything */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nbcid/check.h>
#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/notebook.h>
#include <nbcid/str.h>

#include "app.h"
#include "check-files.h"

#define WHOLE_MAX ((size_t)256 << 20) /* larger ones are read in pieces */
#define OUTPUT_MAX ((size_t)1 << 30)

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
              "\n"
              "Exit status: 0 no error, 1 errors were found, 2 wrong usage or a file that cannot\n"
              "be read.\n",
              f);
}

enum format { FORMAT_HUMAN, FORMAT_JSON, FORMAT_SARIF, FORMAT_GITHUB };

struct run {
        enum format format;
        bool strict, colour, unreadable;
        struct check_opts opts;
        struct rules rules;
        struct check *check;
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
};

static const struct option check_options[] = {
        {"format", required_argument, NULL, OPT_FORMAT},
        {"kernel-check", no_argument, NULL, OPT_KERNEL_CHECK},
        {"python", required_argument, NULL, OPT_PYTHON},
        {"config", required_argument, NULL, OPT_CONFIG},
        {"sandbox", required_argument, NULL, OPT_SANDBOX},
        {"strict", no_argument, NULL, OPT_STRICT},
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
                if (sandbox_kind_parse(value, &x->opts.sandbox, &err) == 0)
                        return true;
                fprintf(stderr, "nbcid check: --sandbox: %s\n", err.msg);
                return false;
        case OPT_KERNEL_CHECK:
                x->opts.kernel_check = true;
                return true;
        case OPT_PYTHON:
                x->opts.python = value;
                return true;
        case OPT_CONFIG:
                x->rules.forced = value;
                return true;
        case OPT_STRICT:
                x->strict = true;
                return true;
        default:
                return false;
        }
}

/* ---- output ---- */

static bool flush(struct run *x)
{
        struct nb_err err;
        bool failed = x->out.failed;

        if (!failed && nb_write_all(STDOUT_FILENO, nb_buf_str(&x->out), x->out.len, &err) < 0) {
                fprintf(stderr, "nbcid check: standard output: %s\n", err.msg);
                failed = true;
        }
        nb_buf_clear(&x->out);
        return !failed;
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

/* Too large to be held: the format alone, piece by piece. */
static int check_pieces(int fd, struct findings *f, struct nb_err *err)
{
        NB_CLEANUP(notebook_format_freep) struct notebook_format *format = NULL;
        static char piece[1 << 16];
        ssize_t n;
        int r = notebook_format_new(UINT64_MAX, f, &format, err);

        while (r == 0 && (n = read(fd, piece, sizeof(piece))) != 0) {
                if (n < 0 && errno != EINTR)
                        return nb_fail_errno(err, errno, "cannot read");
                if (n > 0)
                        r = notebook_format_feed(format, piece, (size_t)n, err);
        }
        return r < 0 ? r : notebook_format_end(format, err);
}

static int check_large(struct run *x, const char *path, struct nb_err *err)
{
        NB_CLEANUP(findings_done) struct findings found = {.max = CHECK_FINDINGS_MAX};
        NB_CLEANUP(nb_strv_done) struct nb_strv notes = {0};
        nb_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
        int r;

        if (fd < 0)
                return nb_fail_errno(err, errno, "cannot open");
        if (nb_strv_add(&notes, "over 256 MiB: the format alone is checked") < 0)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = check_pieces(fd, &found, err);
        if (r < 0)
                return r;
        count(x, &found);
        render(x, path, &found, &notes);
        return 0;
}

static int read_stdin(struct nb_buf *ret, struct nb_err *err)
{
        static char piece[1 << 16];
        ssize_t n;

        while ((n = read(STDIN_FILENO, piece, sizeof(piece))) != 0) {
                if (n < 0 && errno != EINTR)
                        return nb_fail_errno(err, errno, "cannot read");
                if (n > 0 && nb_buf_append(ret, piece, (size_t)n) < 0)
                        return nb_fail(err, NB_E_LIMIT, "over %zu bytes", ret->max);
        }
        return 0;
}

static int check_one(struct run *x, const char *path, struct nb_err *err)
{
        NB_CLEANUP(findings_done) struct findings found = {.max = CHECK_FINDINGS_MAX};
        nb_auto_buf text = NB_BUF(WHOLE_MAX);
        nb_auto_free char *dir = files_dir(path);
        NB_CLEANUP(nb_strv_done) struct nb_strv names = {0};
        const struct repo_config *config;
        struct check_job job = {0};
        struct stat st;
        int r;

        if (!dir)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = rules_find(&x->rules, dir, &config, err);
        if (r < 0)
                return r;
        if (nb_streq(path, "-"))
                r = read_stdin(&text, err);
        else if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size > WHOLE_MAX)
                return check_large(x, path, err);
        else
                r = nb_read_file(AT_FDCWD, path, &text, err);
        if (r == 0)
                r = rules_parameters(&x->rules, path, &names, err);
        job.levels = config ? &config->check : NULL;
        job.parameters = (const char *const *)names.v;
        if (r == 0)
                r = check_notebook(x->check, path, nb_buf_str(&text), text.len, &job, &found, err);
        if (r < 0)
                return r;
        count(x, &found);
        render(x, path, &found, check_notes(x->check));
        return 0;
}

/* A path that cannot be read is told, and the others are checked. */
static void complain(struct run *x, const char *path, const struct nb_err *err)
{
        const char *sep = strstr(err->msg, path) ? "" : path;

        fprintf(stderr, "nbcid check: %s%s%s\n", sep, *sep ? ": " : "", err->msg);
        x->unreadable = true;
}

static int check_all(struct run *x, char **paths)
{
        NB_CLEANUP(nb_strv_done) struct nb_strv files = {0};
        struct nb_err err;

        for (; *paths; paths++)
                if (files_find(&x->rules, *paths, &files, &err) < 0)
                        complain(x, *paths, &err);
        begin(x);
        for (size_t i = 0; i < files.n; i++) {
                if (check_one(x, files.v[i], &err) < 0)
                        complain(x, files.v[i], &err);
                /* the others are one document */
                if ((x->format == FORMAT_HUMAN || x->format == FORMAT_GITHUB) && !flush(x))
                        return EXIT_USAGE;
        }
        end(x);
        if (!flush(x) || x->unreadable)
                return EXIT_USAGE;
        return x->errors > 0 ? EXIT_NOTEBOOK_FAILED : EXIT_FINE;
}

static bool wants_colour(void)
{
        const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

        return isatty(STDOUT_FILENO) && !(no && *no) && term && !nb_streq(term, "dumb");
}

int cmd_check(int argc, char **argv)
{
        struct run x = {.opts = {.python = "python3", .max_notebook = WHOLE_MAX},
                        .out = NB_BUF(OUTPUT_MAX),
                        .colour = wants_colour()};
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
        if (check_new(&x.opts, &x.check, &err) < 0) {
                fprintf(stderr, "nbcid check: %s\n", err.msg);
                return EXIT_INFRASTRUCTURE;
        }
        status = check_all(&x, argv + optind);
        check_free(x.check);
        rules_done(&x.rules);
        nb_buf_done(&x.out);
        return status;
}
