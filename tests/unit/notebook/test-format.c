/* SPDX-License-Identifier: Apache-2.0 */
#include "nbtest.h"

#include <nbcid/json.h>
#include <nbcid/mem.h>
#include <nbcid/notebook.h>
#include <nbcid/str.h>

#include "fixture.h"

#define MAX_BYTES (1u << 20)

static struct findings check(const char *p, size_t n)
{
        struct findings f = {.max = 100};
        struct nb_err err;

        CHECK_OK(notebook_check_format(p, n, MAX_BYTES, &f, &err), &err);
        return f;
}

/* A notebook of one minor version with these cells. */
static char *notebook(int minor, const char *cells)
{
        char *p = nb_asprintf("{\"cells\":[\n%s\n],\n\"metadata\":{},\n\"nbformat\":4,\n"
                              "\"nbformat_minor\":%d}\n",
                              cells, minor);

        CHECK(p);
        return p;
}

/* What is found, one a line: "error format/type 2:5 cell 1 cells[0].id: message". */
static char *told(const struct findings *f)
{
        nb_auto_buf b = NB_BUF(1 << 16);

        for (size_t i = 0; i < f->n; i++) {
                const struct finding *x = &f->v[i];

                CHECK(x->remedy && *x->remedy && !strchr(x->message, '\n'));
                nb_buf_printf(&b, "%s%s %s %zu:%zu cell %lld %s: %s", i ? "\n" : "",
                              x->severity == FINDING_ERROR ? "error" : "warning", x->rule, x->line,
                              x->column, (long long)x->cell, x->path ? x->path : "-", x->message);
        }
        return nb_buf_steal(&b);
}

static void text_finds(const char *text, const char *want)
{
        struct findings f = check(text, strlen(text));
        nb_auto_free char *got = told(&f);

        CHECK_STR(got ? got : "", want);
        findings_done(&f);
}

static void finds(int minor, const char *cells, const char *want)
{
        nb_auto_free char *text = notebook(minor, cells);

        text_finds(text, want);
}

#define CODE(rest) \
        "{\"cell_type\":\"code\",\"metadata\":{},\"source\":[],\"outputs\":[],\"execution_" \
        "count\":" \
        "null" rest "}"
#define OUTPUT(o) \
        "{\"cell_type\":\"code\",\"metadata\":{},\"source\":[],\"execution_count\":1,\"outputs\":" \
        "[" o "]}"

TEST(good_notebooks_have_no_findings)
{
        static const char *const names[] = {"passed-4.0.ipynb", "passed-4.4.ipynb",
                                            "passed-4.5.ipynb", "widgets.ipynb",
                                            "r.ipynb",          "cjk.ipynb"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(names); i++) {
                size_t n;
                nb_auto_free char *p = fixture_read(names[i], &n);
                struct findings f = check(p, n);
                nb_auto_free char *got = told(&f);

                CHECK_STR(got ? got : "", "");
                findings_done(&f);
        }
}

TEST(a_finding_says_where_what_and_how_to_help)
{
        nb_auto_free char *text = notebook(
                4, CODE("") ",\n{\"cell_type\": \"markdown\", \"metadata\": {},\n  \"source\": 5}");
        struct findings f = check(text, strlen(text));

        CHECK_INT(f.n, 1);
        CHECK(f.v[0].severity == FINDING_ERROR);
        CHECK_STR(f.v[0].rule, "format/type");
        CHECK_INT(f.v[0].line, 4);
        CHECK_INT(f.v[0].column, 13);
        CHECK_INT(f.v[0].cell, 2);
        CHECK_STR(f.v[0].path, "cells[1].source");
        CHECK_STR(f.v[0].message, "\"source\" is a whole number, not a string or an array");
        CHECK(strstr(f.v[0].remedy, "open the notebook in Jupyter"));
        findings_done(&f);
}

TEST(a_value_that_is_cut_looks_cut)
{
        nb_auto_free char *text = notebook(
                5, "{\"cell_type\":\"markdown\",\"metadata\":{\"tags\":[\"\"]},\"source\":[],"
                   "\"id\":\"aaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbbccccc\"}");
        struct findings f = check(text, strlen(text));

        CHECK_INT(f.n, 2);
        CHECK_STR(f.v[0].message, "a tag is empty");
        CHECK(strstr(f.v[0].remedy, "none that is empty"));
        CHECK(strstr(f.v[1].message, "bbbbbbbbbb\xe2\x80\xa6\" is not of 1 to 64 letters"));
        findings_done(&f);
}

TEST(members_belong_to_kinds_that_may_come_late)
{
        finds(4, "{\"outputs\":[],\"metadata\":{},\"source\":\"\",\"cell_type\":\"raw\"}",
              "error format/forbidden 2:2 cell 1 cells[0].outputs: \"outputs\" is no member of a "
              "raw cell");
        finds(4, "{\"cell_type\":\"raw\",\"outputs\":5,\"metadata\":{},\"source\":\"\"}",
              "error format/forbidden 2:20 cell 1 cells[0].outputs: \"outputs\" is no member of a "
              "raw cell");
        finds(4,
              "{\"attachments\":{\"a\":1},\"metadata\":{},\"source\":\"\",\"cell_type\":\"raw\"}",
              "error format/type 2:21 cell 1 cells[0].attachments.a: this attachment is a whole "
              "number, not an object");
        /* what is wrong inside of what does not belong there is not told too */
        finds(4,
              OUTPUT("{\"data\":{\"a/"
                     "b\":1},\"output_type\":\"stream\",\"name\":\"\",\"text\":\"\"}"),
              "error format/forbidden 2:79 cell 1 cells[0].outputs[0].data: \"data\" is no member "
              "of a stream output");
        finds(4,
              OUTPUT("{\"ename\":5,\"evalue\":\"\",\"traceback\":[1],\"output_type\":\"error\"}"),
              "error format/type 2:87 cell 1 cells[0].outputs[0].ename: \"ename\" is a whole "
              "number, not a string\n"
              "error format/type 2:114 cell 1 cells[0].outputs[0].traceback[0]: this line of text "
              "is a whole number, not a string");
        finds(4,
              "{\"metadata\":{\"collapsed\":1,\"format\":2},\"source\":\"\",\"cell_type\":\"raw\"}",
              "error format/type 2:37 cell 1 cells[0].metadata.format: \"format\" is a whole "
              "number, not a string");
}

TEST(minors_differ)
{
        static const char id[] = CODE(",\"id\":\"a\"");

        finds(4, id,
              "error format/forbidden 2:83 cell 1 cells[0].id: \"id\" came with nbformat 4.5, "
              "and this notebook is older");
        finds(5, id, "");
        finds(5, CODE(""),
              "warning format/missing-id 2:1 cell 1 cells[0]: a code cell has no \"id\"");
        finds(5, CODE(",\"id\":\"a b\""),
              "error format/id 2:88 cell 1 cells[0].id: the id \"a b\" is not of 1 to 64 letters, "
              "digits, hyphens and underscores");
        finds(5, CODE(",\"id\":\"a\"") "," CODE(",\"id\":\"a\""),
              "warning format/duplicate-id 2:180 cell 2 cells[1].id: the id \"a\" is an earlier "
              "cell's too");
        finds(2, "{\"cell_type\":\"raw\",\"metadata\":{\"jupyter\":1},\"source\":\"\"}", "");
        finds(3, "{\"cell_type\":\"raw\",\"metadata\":{\"jupyter\":1},\"source\":\"\"}",
              "error format/type 2:42 cell 1 cells[0].metadata.jupyter: \"jupyter\" is a whole "
              "number, not an object");
}

TEST(newer_minors_are_read_loosely)
{
        finds(7, "{\"cell_type\":\"new\",\"metadata\":{},\"id\":\"a\",\"more\":1}",
              "warning format/version 6:18 cell 0 nbformat_minor: nbformat 4.7 is newer than 4.5, "
              "the newest that nbcid knows, so it is checked loosely");
        finds(7, "{\"cell_type\":\"raw\",\"metadata\":{},\"id\":\"a\",\"more\":1}",
              "warning format/version 6:18 cell 0 nbformat_minor: nbformat 4.7 is newer than 4.5, "
              "the newest that nbcid knows, so it is checked loosely\n"
              "error format/required 2:1 cell 1 cells[0]: a raw cell has no \"source\"");
        finds(5, "{\"cell_type\":\"new\",\"metadata\":{},\"id\":\"a\"}",
              "error format/enum 2:14 cell 1 cells[0].cell_type: \"cell_type\" is none of code, "
              "markdown and raw: \"new\"");
}

TEST(other_majors_are_told_apart)
{
        text_finds(
                "{\"worksheets\":[], \"metadata\":{}, \"nbformat\":3, \"nbformat_minor\":0}",
                "error format/version 1:45 cell 0 nbformat: nbformat 3 is older than nbformat 4, "
                "which Jupyter writes since 2015");
        text_finds("{\"nbformat\": 5}",
                   "error format/version 1:14 cell 0 nbformat: nbformat 5 is unknown: 4 is the "
                   "newest that nbcid knows");
        text_finds("{\"cells\":[],\"metadata\":{},\"nbformat\":4.0,\"nbformat_minor\":2}",
                   "error format/type 1:38 cell 0 nbformat: \"nbformat\" is a number, not a whole "
                   "number");
        text_finds("{\"cells\":[],\"metadata\":{},\"nbformat\":4,\"nbformat_minor\":-1}",
                   "error format/version 1:57 cell 0 nbformat_minor: nbformat_minor is negative");
        text_finds("{}",
                   "error format/required 1:1 cell 0 -: the notebook has no \"metadata\"\n"
                   "error format/required 1:1 cell 0 -: the notebook has no \"nbformat_minor\"\n"
                   "error format/required 1:1 cell 0 -: the notebook has no \"nbformat\"\n"
                   "error format/required 1:1 cell 0 -: the notebook has no \"cells\"");
}

TEST(values_are_looked_at)
{
        finds(4,
              "{\"cell_type\":\"raw\",\"metadata\":{\"tags\":[\"a\",\"b,c\",\"a\",\"\"],\"name\":"
              "\"\"},"
              "\"source\":[\"x\",1]}",
              "error format/pattern 2:44 cell 1 cells[0].metadata.tags[1]: the tag \"b,c\" has a "
              "comma\n"
              "error format/unique 2:50 cell 1 cells[0].metadata.tags[2]: the cell has the tag "
              "\"a\" "
              "twice\n"
              "error format/pattern 2:54 cell 1 cells[0].metadata.tags[3]: a tag is empty\n"
              "error format/pattern 2:65 cell 1 cells[0].metadata.name: the cell's name is empty\n"
              "error format/type 2:83 cell 1 cells[0].source[1]: this line of text is a whole "
              "number, not a string");
        finds(4,
              OUTPUT("{\"output_type\":\"execute_result\",\"metadata\":{},\"execution_count\":-1,"
                     "\"data\":{\"application/x+json\":1,\"application/json\":[1],\"a/json\":1}}"),
              "error format/range 2:142 cell 1 cells[0].outputs[0].execution_count: "
              "\"execution_count\" is -1 and must be 0 or more\n"
              "error format/type 2:208 cell 1 cells[0].outputs[0].data[\"a/json\"]: the data of "
              "this "
              "mime type is a whole number, not a string or an array");
        finds(4, "{\"cell_type\":\"raw\",\"metadata\":{},\"source\":\"\",\"source\":\"\"}",
              "error format/duplicate-key 2:46 cell 1 cells[0].source: \"source\" is there twice");
}

TEST(what_is_no_json_ends_the_check)
{
        text_finds("", "error format/json 1:1 cell 0 -: the text is empty");
        text_finds("[1]",
                   "error format/type 1:1 cell 0 -: a notebook is a JSON object, and this is "
                   "not one");
        text_finds("{\"cells\":[5,\n\"x\"",
                   "error format/type 1:11 cell 0 cells[0]: this cell is a whole number, not an "
                   "object\n"
                   "error format/type 2:1 cell 0 cells[1]: this cell is a string, not an object\n"
                   "error format/json 2:4 cell 0 -: the text ends inside an array or object");
        text_finds("{\"cells\":[NaN]}",
                   "error format/json 1:11 cell 0 -: invalid char in json text, at 'NaN'");
}

TEST(findings_have_a_ceiling_and_an_error_gets_through)
{
        nb_auto_buf cells = NB_BUF(MAX_BYTES);
        struct findings f = {.max = 5};
        nb_auto_free char *text = NULL;
        struct nb_err err;

        for (int i = 0; i < 50; i++)
                nb_buf_puts(&cells, CODE("") ",");
        nb_buf_puts(&cells, "{\"cell_type\":\"raw\",\"metadata\":{}}");
        text = notebook(5, nb_buf_str(&cells));
        CHECK_OK(notebook_check_format(text, strlen(text), MAX_BYTES, &f, &err), &err);
        CHECK_INT(f.n, 5);
        CHECK_INT(f.more, 47);
        CHECK(findings_refuse(&f));
        findings_done(&f);
        CHECK_OK(notebook_check_format(text, strlen(text), 100, &f, &err), &err);
        CHECK_INT(f.n, 1);
        CHECK_STR(f.v[0].rule, "format/limit");
        findings_done(&f);
}

TEST(many_ids_are_told_apart)
{
        nb_auto_buf cells = NB_BUF(MAX_BYTES);
        nb_auto_free char *text = NULL;
        struct findings f;

        for (int i = 0; i < 5000; i++)
                nb_buf_printf(&cells,
                              "{\"cell_type\":\"raw\",\"metadata\":{},\"source\":\"\",\"id\":\"id%"
                              "d\"},\n",
                              i);
        nb_buf_puts(&cells,
                    "{\"cell_type\":\"raw\",\"metadata\":{},\"source\":\"\",\"id\":\"id4321\"}");
        text = notebook(5, nb_buf_str(&cells));
        f = check(text, strlen(text));
        CHECK_INT(f.n, 1);
        CHECK_STR(f.v[0].rule, "format/duplicate-id");
        CHECK_INT(f.v[0].cell, 5001);
        findings_done(&f);
}

/* However a notebook is cut, the same is found. */
TEST(pieces_make_no_difference)
{
        nb_auto_free char *text =
                notebook(4, "{\"outputs\":[{\"name\":1,\n\"text\":[2],\"output_type\":\"stream\"}],"
                            "\"metadata\":{},\n"
                            "\"source\":\"\",\"cell_type\":\"markdown\"},\n" CODE(",\"id\":\"a\""));
        struct findings whole = check(text, strlen(text));
        nb_auto_free char *want = told(&whole);

        CHECK_INT(whole.n, 2);
        for (size_t step = 1; step < 40; step++) {
                struct findings f = {.max = 100};
                struct notebook_format *check = NULL;
                nb_auto_free char *got = NULL;
                struct nb_err err;

                CHECK_OK(notebook_format_new(MAX_BYTES, &f, &check, &err), &err);
                for (size_t i = 0; i < strlen(text); i += step) {
                        size_t left = strlen(text) - i;

                        CHECK_OK(notebook_format_feed(check, text + i, left < step ? left : step,
                                                      &err),
                                 &err);
                }
                CHECK_OK(notebook_format_end(check, &err), &err);
                notebook_format_free(check);
                got = told(&f);
                CHECK_STR(got, want);
                findings_done(&f);
        }
        findings_done(&whole);
}

TEST(images_cost_no_memory)
{
        size_t n, step = 64 * 1024;
        char *big = fixture_big(200, &n);
        struct findings f = {.max = 100};
        struct notebook_format *check = NULL;
        struct nb_err err;
        long before = fixture_peak();

        CHECK_OK(notebook_format_new(n, &f, &check, &err), &err);
        for (size_t i = 0; i < n; i += step)
                CHECK_OK(notebook_format_feed(check, big + i, n - i < step ? n - i : step, &err),
                         &err);
        CHECK_OK(notebook_format_end(check, &err), &err);
        notebook_format_free(check);
        /* the text was resident before; an image of 1 MiB is held twice */
        if (FIXTURE_PEAK_COUNTS)
                CHECK(fixture_peak() - before < 5 * 1024 * 1024);
        findings_done(&f);
        munmap(big, n);
}

NBTEST_MAIN()
