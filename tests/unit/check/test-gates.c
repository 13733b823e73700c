/* SPDX-License-Identifier: Apache-2.0 */
#include "nbtest.h"

#include <nbcid/num.h>

#include "gate.h"

static struct check *gate(void)
{
        static struct check *c;
        struct nb_err err = {0};

        if (!c)
                CHECK_OK(check_new(&(struct check_opts){.python = "/bin/false",
                                                        .sandbox = SANDBOX_NONE},
                                   &c, &err),
                         &err);
        return c;
}

static void expect(const struct repo_check *levels, const char *text, const char *expected)
{
        gate_expect(gate(), text, &(struct check_job){.levels = levels}, expected);
}

TEST(outputs_must_be_empty_when_asked)
{
        static const char text[] =
                NOTEBOOK(CODE("1") "," CELL("1", OUTPUT("a") "," OUTPUT("b"), "2"), "");

        expect(&(struct repo_check){.outputs_empty = CHECK_OFF}, text, "");
        expect(&(struct repo_check){.outputs_empty = CHECK_WARN}, text, "W outputs_empty@2:0:0");
        expect(&(struct repo_check){.outputs_empty = CHECK_ERROR}, text, "E outputs_empty@2:0:0");
}

TEST(cells_must_have_run_in_order)
{
        static const struct repo_check levels = {.execution_order = CHECK_WARN};

        expect(&levels, NOTEBOOK(CODE("a") "," CODE("b"), ""), ""); /* cleared */
        expect(&levels, NOTEBOOK(CELL("1", "", "a") "," CELL("2", "", "b"), ""), "");
        expect(&levels, NOTEBOOK(CELL("1", "", "a") "," CODE(" ") "," CELL("2", "", "b"), ""), "");
        expect(&levels,
               NOTEBOOK(CELL("1", "", "a") "," TAGGED("skip-execution", "x") "," CELL("2", "", "b"),
                        ""),
               "");
        expect(&levels, NOTEBOOK(CELL("2", "", "a") "," CELL("1", "", "b"), ""),
               "W execution_order@2:0:0");
        expect(&levels, NOTEBOOK(CELL("1", "", "a") "," CELL("1", "", "b"), ""),
               "W execution_order@2:0:0");
        expect(&levels, NOTEBOOK(CELL("1", "", "a") "," CELL("3", "", "b"), ""),
               "W execution_order@2:0:0");
        expect(&levels, NOTEBOOK(CELL("5", "", "a") "," CELL("6", "", "b"), ""),
               "W execution_order@1:0:0");
        expect(&levels, NOTEBOOK(CELL("2", "", "a") "," CELL("3", "", "b"), ""),
               "W execution_order@1:0:0");
        expect(&levels, NOTEBOOK(CELL("0", "", "a") "," CELL("1", "", "b"), ""), "");
        expect(&levels, NOTEBOOK(CELL("0", "", "a") "," CELL("2", "", "b"), ""),
               "W execution_order@2:0:0");
        expect(&levels, NOTEBOOK(CELL("0", "", "a") "," CELL("0", "", "b"), ""),
               "W execution_order@2:0:0");
        expect(&levels, NOTEBOOK(CELL("9223372036854775807", "", "a") "," CELL("1", "", "b"), ""),
               "W execution_order@2:0:0");
        expect(&levels, NOTEBOOK(CELL("1", "", "a") "," CODE("b"), ""), "W execution_order@2:0:0");
        expect(&levels, NOTEBOOK(CELL("9", "", "a") "," CELL("2", "", "b") "," CODE("c"), ""),
               "W execution_order@2:0:0; W execution_order@3:0:0");
}

TEST(what_ran_before_the_first_cell_is_missing)
{
        static const struct repo_check levels = {.execution_order = CHECK_WARN};
        struct findings f;

        gate_check(gate(), NOTEBOOK(CODE(" ") "," CELL("5", "", "a"), ""),
                   &(struct check_job){.levels = &levels}, &f);
        CHECK_INT(f.n, 1);
        CHECK_INT(f.v[0].cell, 2);
        CHECK_STR(f.v[0].message,
                  "the first that was run is [5]: what ran before it is not in the notebook");
        findings_done(&f);
}

TEST(the_kernel_must_be_one_of_the_executor)
{
        static const char *const kernels[] = {"python3", "ir", NULL};
        static const struct repo_check levels = {.kernelspec = CHECK_ERROR};
        const struct check_job job = {.levels = &levels, .kernels = kernels};
        static const char good[] = NOTEBOOK("", "\"kernelspec\":{\"name\":\"ir\"}"),
                          bad[] = NOTEBOOK("", "\"kernelspec\":{\"name\":\"conda-x\"}");
        struct findings f;

        gate_expect(gate(), good, &job, "");
        gate_expect(gate(), NOTEBOOK("", ""), &job, "E kernelspec@0:0:0");
        gate_check(gate(), bad, &job, &f);
        CHECK_INT(f.n, 1);
        CHECK_STR(f.v[0].message, "the executor has no kernel \"conda-x\"; it has: python3, ir");
        CHECK_INT(f.v[0].line, 1);
        CHECK(f.v[0].column > 40);
        findings_done(&f);
        expect(&levels, bad, "");
        CHECK_INT(check_notes(gate())->n, 1); /* unknown kernels are said, not guessed */
}

TEST(a_notebook_may_be_too_large)
{
        static const char text[] = NOTEBOOK(CODE("1"), "");

        expect(&(struct repo_check){.size = CHECK_WARN, .max_size = 20}, text, "W size@0:0:0");
        expect(&(struct repo_check){.size = CHECK_WARN, .max_size = sizeof(text) - 1}, text, "");
}

TEST(a_path_is_cut_between_characters)
{
        static const struct repo_check levels = {.absolute_paths = CHECK_ERROR};
        const struct check_job job = {.levels = &levels};
        nb_auto_buf cell = NB_BUF(1 << 16);
        nb_auto_free char *text = NULL;
        struct findings f;

        (void)nb_buf_puts(&cell, "'~/a");
        for (int i = 0; i < 100; i++)
                (void)nb_buf_puts(&cell, "\xc3\xa9");
        text = nb_asprintf(NOTEBOOK(CODE("%s'"), ""), nb_buf_str(&cell));
        gate_check(gate(), text, &job, &f);
        CHECK_INT(f.n, 1);
        CHECK(nb_utf8_valid(f.v[0].message, strlen(f.v[0].message), NULL));
        findings_done(&f);
}

TEST(paths_of_one_machine)
{
        static const struct repo_check levels = {.absolute_paths = CHECK_WARN};
        static const struct {
                const char *source, *expected;
        } cases[] = {
                {"open('/home/ann/x.csv')", "W absolute_paths@1:1:7"},
                {"p = 1\\nq = r\\\"/Users/ann/x\\\"", "W absolute_paths@1:2:7"},
                {"'C:\\\\Users\\\\x'", "W absolute_paths@1:1:2"},
                {"f('~/data', \\\"\\\"\\\"/root/x\\\"\\\"\\\")",
                 "W absolute_paths@1:1:4; W absolute_paths@1:1:16"},
                {"!cp /content/drive/a b", "W absolute_paths@1:1:5"},
                {"  %cd ~/work", "W absolute_paths@1:1:7"},
                {"a = !ls /home/ann", "W absolute_paths@1:1:9"},
                {"a != b; c = %who /x \\n!cat $HOME/x", "W absolute_paths@1:2:6"},
                {"a = '=' + b % c; d == '/data/x'", "W absolute_paths@1:1:24"},
                {"\\n%%bash -s\\ncat x #/home/ann\\n# /home/ann\\ncat <~/x /tmp/x ${HOME}/x#1",
                 "W absolute_paths@1:5:6; W absolute_paths@1:5:17"},
                {"%%bashful\\ncat /home/ann", ""},
                {"s = '''\\n''' + '/mnt/x'", "W absolute_paths@1:2:8"},
                {"'it\\\\'s' + '/home/x'", "W absolute_paths@1:1:12"},
                {"'file:///home/x'", "W absolute_paths@1:1:2"},
                {"'/dev/null' + '/tmp/x' + '/usr/bin/env' + '/etc/hosts'", ""},
                {"# '/home/ann'", ""},
                {"'https://x/home/ann' + 'see /home/ann'", ""},
                {"a = b %home", ""},
                {"'12:30' + 'a://b' + '/home/'", ""},
                {"'unterminated /\\n'/home/x'", "W absolute_paths@1:2:2"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                nb_auto_free char *text = nb_asprintf(NOTEBOOK(CODE("%s"), ""), cases[i].source);

                expect(&levels, text, cases[i].expected);
        }
}

TEST(all_of_a_bash_cell_is_commands)
{
        static const struct repo_check levels = {.absolute_paths = CHECK_WARN};

        expect(&levels,
               NOTEBOOK(CODE("x=1\\ncp /scratch/ann/a ."), "\"kernelspec\":{\"name\":\"bash\"}"),
               "W absolute_paths@1:2:4");
}

TEST(parameters_need_a_cell_that_knows_them)
{
        static const char *const names[] = {"alpha", "beta", NULL}, *const none[] = {NULL};
        static const struct repo_check levels = {.parameters = CHECK_ERROR,
                                                 .parameters_unknown = CHECK_WARN};
        static const struct {
                const char *source, *expected;
        } cases[] = {
                {"alpha = 1\\nbeta: int = 2", ""},
                {"alpha, beta = 1, 2", ""},
                {"alpha <- 1; beta <- 2", ""},
                {"export alpha=1\\nconst beta = 2", ""},
                {"alpha::Int = 1\\nbeta=2", ""},
                {"alpha == 1\\nbeta = 2", "W parameters_unknown@1:0:0"},
                {"alphabet = 1\\nbeta = 2", "W parameters_unknown@1:0:0"},
                {"# alpha = 1", "W parameters_unknown@1:0:0; W parameters_unknown@1:0:0"},
                {"", "W parameters_unknown@1:0:0; W parameters_unknown@1:0:0"},
        };
        struct check_job job = {.levels = &levels, .parameters = names};

        gate_expect(gate(), NOTEBOOK(CODE("alpha = 1"), ""), &job, "E parameters@0:0:0");
        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                nb_auto_free char *text =
                        nb_asprintf(NOTEBOOK(TAGGED("parameters", "%s"), ""), cases[i].source);

                gate_expect(gate(), text, &job, cases[i].expected);
        }
        job.parameters = none;
        gate_expect(gate(), NOTEBOOK(CODE("1"), ""), &job, "");
}

TEST(an_unknown_parameter_is_told_with_those_there_are)
{
        static const char *const names[] = {"beta", "nope", NULL};
        static const struct repo_check levels = {.parameters_unknown = CHECK_WARN};
        const struct check_job job = {.levels = &levels, .parameters = names};
        nb_auto_buf source = NB_BUF(4096);
        nb_auto_free char *text = NULL;
        struct findings f;

        gate_check(gate(),
                   NOTEBOOK(TAGGED("parameters", "alpha, beta = 1, 2\\nalpha = 3; g = 1\\nh"), ""),
                   &job, &f);
        CHECK_INT(f.n, 1);
        CHECK_STR(f.v[0].message,
                  "parameter \"nope\" is set, and this cell does not assign it; it assigns: "
                  "alpha, beta, g");
        findings_done(&f);
        gate_check(gate(), NOTEBOOK(TAGGED("parameters", "pass"), ""), &job, &f);
        CHECK_INT(f.n, 2);
        CHECK_STR(f.v[1].message, "parameter \"nope\" is set, and this cell does not assign it");
        findings_done(&f);
        for (int i = 0; i < 30; i++)
                nb_buf_printf(&source, "v%d = 1\\n", i);
        text = nb_asprintf(NOTEBOOK(TAGGED("parameters", "%sbeta = 1"), ""), nb_buf_str(&source));
        gate_check(gate(), text, &job, &f);
        CHECK_INT(f.n, 1);
        CHECK(strstr(f.v[0].message, "v0, v1, v2") && strstr(f.v[0].message, "v19, and more"));
        findings_done(&f);
}

static void warn(const char *text, const char *json, const char *expected)
{
        NB_CLEANUP(nb_strv_done) struct nb_strv lines = {0};
        struct nb_err err;

        CHECK_OK(check_unknown_parameters("a.ipynb", text, strlen(text), json, &lines, &err), &err);
        CHECK_INT(lines.n, *expected ? 1 : 0);
        if (lines.n > 0)
                CHECK_STR(lines.v[0], expected);
}

TEST(parameters_of_a_command_line_are_warned_of)
{
        static const char tagged[] = NOTEBOOK(CODE("1") "," TAGGED("parameters", "alpha = 1"), "");
        NB_CLEANUP(nb_strv_done) struct nb_strv lines = {0};
        struct nb_err err;

        warn(tagged, "{\"alpha\":[{\"a\":1}]}", "");
        warn(tagged, "{}", "");
        warn(tagged, "{\"alpha\":1,\"alhpa\":2}",
             "a.ipynb: cell 2: warning: parameter \"alhpa\" is set, and this cell does not assign "
             "it; it assigns: alpha; mend its name, or give it a default there");
        warn(NOTEBOOK(CODE("1"), ""), "{\"x\":1}", "");
        warn("{", "{\"x\":1}", "");
        CHECK_ERR(check_unknown_parameters("a.ipynb", tagged, strlen(tagged), "{", &lines, &err),
                  &err, NB_E_INVALID, "");
        CHECK_ERR(check_unknown_parameters("a.ipynb", tagged, strlen(tagged), "[1]", &lines, &err),
                  &err, NB_E_INVALID, "one JSON object");
        CHECK_INT(lines.n, 0);
}

TEST(what_is_no_notebook_is_an_error_whatever_the_level)
{
        struct findings f;

        gate_check(gate(), "{\n x",
                   &(struct check_job){.levels = &(struct repo_check){.format = CHECK_OFF}}, &f);
        CHECK_INT(f.n, 1);
        CHECK_INT(f.v[0].line, 2);
        CHECK_INT(f.v[0].column, 2);
        CHECK(f.v[0].message[0] != ':' && f.v[0].severity == FINDING_ERROR);
        findings_done(&f);
        expect(&(struct repo_check){.format = CHECK_OFF}, "", "E format/json@0:0:0");
}

TEST(the_format_has_a_level)
{
        static const char text[] = NOTEBOOK(
                "{\"cell_type\":\"code\",\"execution_count\":null,\"metadata\":{},\"outputs\":[],"
                "\"source\":\"\",\"colour\":1}",
                "");

        expect(&(struct repo_check){.format = CHECK_ERROR}, text, "E format/forbidden@1:0:0");
        expect(&(struct repo_check){.format = CHECK_WARN}, text, "W format/forbidden@1:0:0");
        expect(&(struct repo_check){.format = CHECK_OFF}, text, "");
}

TEST(other_languages_are_named_as_not_checked)
{
        static const char text[] = NOTEBOOK(CODE("x <- ("), "\"kernelspec\":{\"name\":\"ir\","
                                                            "\"display_name\":\"R\","
                                                            "\"language\":\"R\"}");

        expect(NULL, text, "");
        CHECK_INT(check_notes(gate())->n, 1);
        CHECK_STR(check_notes(gate())->v[0], "cells in R are not checked (use --kernel-check)");
}

TEST(the_last_one_out)
{
        check_free(gate());
        check_free(NULL);
}

/* Of a notebook with a finding in each of its many lines only those that are
 * kept are looked up; of one line with many, its columns are counted once. */
/* A cell of that many bytes of row again and again; answers the seconds. */
static double seconds_for(struct check *c, const struct check_job *job, const char *row,
                          size_t size)
{
        size_t unit = strlen(row), n = size / unit * unit;
        nb_auto_free char *s = calloc(1, size + 1), *text = NULL;
        struct findings f;
        double began;

        CHECK(s);
        for (size_t k = 0; k < n; k++)
                s[k] = row[k % unit];
        text = nb_asprintf(NOTEBOOK(TAGGED("parameters", "%s"), ""), s);
        CHECK(text);
        began = nbtest_cpu();
        gate_check(c, text, job, &f);
        began = nbtest_cpu() - began;
        CHECK_INT(f.n, 100);
        CHECK_STR(f.v[99].rule, "absolute_paths");
        CHECK(f.more > 5000);
        findings_done(&f);
        return began;
}

TEST(many_findings_take_no_longer_than_few)
{
        static const char *const rows[] = {"'~/a',", "'~/a',\\n", "!x=~/=~/=~/=~/"};
        static const struct repo_check levels = {.absolute_paths = CHECK_ERROR,
                                                 .parameters = CHECK_ERROR,
                                                 .parameters_unknown = CHECK_WARN};
        enum { SIZE = 500000 };
        static char names[5000][8];
        const char *list[NB_ARRAY_SIZE(names) + 1] = {NULL};
        struct check_job job = {.levels = &levels, .parameters = list};
        NB_CLEANUP(check_freep) struct check *c = NULL;
        struct nb_err err;

        for (size_t i = 0; i < NB_ARRAY_SIZE(names); i++) {
                (void)nb_fmt(names[i], sizeof(names[i]), "p%zu", i);
                list[i] = names[i];
        }
        CHECK_OK(check_new(&(struct check_opts){.python = NULL}, &c, &err), &err);
        for (size_t i = 0; i < NB_ARRAY_SIZE(rows); i++) {
                double eighth = seconds_for(c, &job, rows[i], SIZE / 8);

                CHECK_LINEAR(eighth, seconds_for(c, &job, rows[i], SIZE));
        }
}

GATE_MAIN()
