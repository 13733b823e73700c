/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/notebook.h>
#include <nbcid/str.h>

#include "nbtest.h"

#include "fixture.h"

static void check_text(const char *p, size_t n, const char *name, int cells, int executed,
                       int error_cell, const char *ename, const char *evalue)
{
        struct notebook_verdict v;
        struct nb_err err = {0};
        int r = notebook_judge(p, n, &v, &err);

        if (r < 0)
                FAIL("%s: %s", name, err.msg);
        if (v.cells != cells || v.executed != executed || v.error_cell != error_cell)
                FAIL("%s: %lld cells, %lld executed, error in %lld", name, (long long)v.cells,
                     (long long)v.executed, (long long)v.error_cell);
        CHECK_STR(v.ename, ename);
        CHECK_STR(v.evalue, evalue);
        notebook_verdict_done(&v);
        CHECK(!v.ename);
        notebook_verdict_done(&v);
}

static void check_fixture(const char *name, int cells, int executed, int error_cell,
                          const char *ename, const char *evalue)
{
        size_t n;
        nb_auto_free char *p = fixture_read(name, &n);

        check_text(p, n, name, cells, executed, error_cell, ename, evalue);
}

#define CHECK_TEXT(text, ...) check_text((text), strlen(text), (text), __VA_ARGS__)

#define NB(cells, metadata) \
        "{\"cells\":[" cells "],\"metadata\":{" metadata "},\"nbformat\":4,\"nbformat_minor\":4}"
#define CELL(count, metadata, outputs, source) \
        "{\"cell_type\":\"code\",\"execution_count\":" count ",\"metadata\":{" metadata "}," \
        "\"outputs\":[" outputs "],\"source\":" source "}"
#define ERROR(ename, evalue) \
        "{\"ename\":\"" ename "\",\"evalue\":\"" evalue "\",\"output_type\":\"error\"," \
        "\"traceback\":[]}"

TEST(notebooks_that_passed)
{
        check_fixture("passed-4.5.ipynb", 3, 3, 0, NULL, NULL);
        check_fixture("passed-4.4.ipynb", 3, 3, 0, NULL, NULL);
        check_fixture("passed-4.0.ipynb", 3, 3, 0, NULL, NULL);
        check_fixture("fresh.ipynb", 2, 0, 0, NULL, NULL);
        check_fixture("r.ipynb", 1, 1, 0, NULL, NULL);
        check_fixture("widgets.ipynb", 1, 1, 0, NULL, NULL);
}

TEST(notebooks_that_failed)
{
        /* the cell counts from 1 over all cells; colours of the traceback stay there */
        check_fixture("failed.ipynb", 3, 2, 3, "ValueError", "shapes (3,) (4,)");
        check_fixture("cjk.ipynb", 1, 1, 2, "ValueError", "形状が違います: 三と四\n二行目");
}

TEST(errors_that_are_allowed)
{
        check_fixture("allowed-by-tag.ipynb", 2, 2, 0, NULL, NULL);
        check_fixture("allowed-by-notebook.ipynb", 3, 2, 0, NULL, NULL);
        /* the same, said before the cells */
        CHECK_TEXT("{\"metadata\":{\"execution\":{\"allow_errors\":true}},\"nbformat\":4,"
                   "\"nbformat_minor\":4,\"cells\":[" CELL("1", "", ERROR("E", "v"), "\"x\"") "]}",
                   1, 1, 0, NULL, NULL);
        /* not said so: the notebook's own words for something else */
        CHECK_TEXT(NB(CELL("1", "", ERROR("E", "v"), "\"x\""),
                      "\"execution\":{\"allow_errors\":\"true\"}"),
                   1, 1, 1, "E", "v");
        CHECK_TEXT(NB(CELL("1", "", ERROR("E", "v"), "\"x\""), "\"execution\":true"), 1, 1, 1, "E",
                   "v");
        CHECK_TEXT(
                NB(CELL("1", "\"x\":{\"tags\":[\"raises-exception\"]}", ERROR("E", "v"), "\"x\""),
                   ""),
                1, 1, 1, "E", "v");
        /* a tag covers its own cell only */
        CHECK_TEXT(NB(CELL("1", "\"tags\":[\"raises-exception\"]", ERROR("E", "v"),
                           "\"x\"") "," CELL("2", "", ERROR("F", "w"), "\"x\""),
                      ""),
                   2, 2, 2, "F", "w");
}

TEST(tags_may_come_after_outputs)
{
        CHECK_TEXT(NB("{\"outputs\":[" ERROR(
                              "E", "v") "],\"source\":\"x\",\"execution_count\":1,"
                                        "\"metadata\":{\"tags\":[\"a\",\"raises-exception\"]},"
                                        "\"cell_type\":\"code\"}",
                      ""),
                   1, 1, 0, NULL, NULL);
}

TEST(sys_exit)
{
        check_fixture("clean-exit.ipynb", 2, 1, 0, NULL, NULL);
        check_fixture("dirty-exit.ipynb", 1, 1, 1, "SystemExit", "3");
        CHECK_TEXT(NB(CELL("1", "", ERROR("SystemExit", ""), "\"x\""), ""), 1, 1, 0, NULL, NULL);
        CHECK_TEXT(NB(CELL("1", "", ERROR("SystemExit", "0") "," ERROR("E", "v"), "\"x\""), ""), 1,
                   1, 1, "E", "v");
}

TEST(the_first_error_counts)
{
        CHECK_TEXT(NB(CELL("1", "", ERROR("A", "1") "," ERROR("B", "2"),
                           "\"x\"") "," CELL("2", "", ERROR("C", "3"), "\"x\""),
                      ""),
                   2, 2, 1, "A", "1");
}

TEST(cells_that_do_not_run)
{
        check_fixture("skipped.ipynb", 1, 1, 0, NULL, NULL);
        CHECK_TEXT(NB(CELL("null", "", ERROR("Old", "1"), "[\" \\n\",\"\\t\"]"), ""), 0, 0, 0, NULL,
                   NULL);
        CHECK_TEXT(NB(CELL("null", "", "", "\"\\u3000\\u2003\\u00a0\\u0085\\u2028\\u001c\""), ""),
                   0, 0, 0, NULL, NULL);
        /* no white space: ZERO WIDTH SPACE, HYPHEN, NUL */
        CHECK_TEXT(
                NB(CELL("null", "", "", "\"\\u200b\"") "," CELL(
                           "null", "", "", "\"\\u2010\"") "," CELL("null", "", "", "\"\\u0000\""),
                   ""),
                3, 0, 0, NULL, NULL);
        CHECK_TEXT(NB("{\"cell_type\":\"raw\",\"metadata\":{},\"source\":\"x\",\"outputs\":[" ERROR(
                              "E", "v") "]}",
                      ""),
                   0, 0, 0, NULL, NULL);
}

TEST(only_error_outputs_are_errors)
{
        CHECK_TEXT(NB(CELL("1", "",
                           "{\"data\":" ERROR("E", "v") ",\"metadata\":{},\"output_type\":"
                                                        "\"display_data\"},{\"ename\":\"E\","
                                                        "\"output_type\":\"errors\"},"
                                                        "[" ERROR("E", "v") "],\"error\",null",
                           "\"x\""),
                      ""),
                   1, 1, 0, NULL, NULL);
}

TEST(errors_without_words)
{
        CHECK_TEXT(NB(CELL("1", "", "{\"output_type\":\"error\"}", "\"x\""), ""), 1, 1, 1, "Error",
                   "");
        CHECK_TEXT(NB(CELL("1", "", "{\"output_type\":\"error\",\"ename\":\"\",\"evalue\":7}",
                           "\"x\""),
                      ""),
                   1, 1, 1, "Error", "");
}

static void check_ending(const char *p, int missing, bool stopped)
{
        struct notebook_verdict v;
        struct nb_err err = {0};

        if (notebook_judge(p, strlen(p), &v, &err) < 0)
                FAIL("%s: %s", p, err.msg);
        if (v.missing != missing || v.stopped != stopped)
                FAIL("%s: %lld missing, %s", p, (long long)v.missing,
                     v.stopped ? "stopped" : "not stopped");
        notebook_verdict_done(&v);
}

#define EXCEPTION(value) "\"papermill\":{\"exception\":" value "}"
#define OTHERS \
        CELL("null", "", "", "\"\"") \
        "," CELL("null", "\"tags\":[\"skip-execution\"]", "", \
                 "\"x\"") ",{\"cell_type\":" \
                          "\"markdown\",\"metadata\":{},\"source\":\"x\"}"

TEST(notebooks_that_did_not_come_to_their_end)
{
        check_ending(NB(CELL("1", "", "", "\"x\"") "," OTHERS, EXCEPTION("null")), 0, false);
        check_ending(NB(CELL("1", "", "", "\"x\"") "," CELL("null", "", "", "\"y\""), ""), 1,
                     false);
        check_ending(NB(CELL("1", "", "", "\"x\""), EXCEPTION("true")), 0, true);
        check_ending(NB(CELL("1", "", "", "\"x\""), EXCEPTION("\"x\"")), 0, false);
        check_ending(NB(CELL("1", "", "", "\"x\""), "\"papermill\":7"), 0, false);
        /* papermill notes an exception there too, and succeeds. */
        check_ending(NB(CELL("1", "", ERROR("SystemExit", "0"), "\"x\"") "," CELL("null", "", "",
                                                                                  "\"y\""),
                        EXCEPTION("true")),
                     0, false);
        check_ending(NB(CELL("null", "", "", "\"w\"") "," CELL("2", "", ERROR("SystemExit", ""),
                                                               "\"x\"") "," CELL("null", "", "",
                                                                                 "\"y\""),
                        ""),
                     1, false);
        check_ending(NB(CELL("1", "", ERROR("SystemExit", "1"), "\"x\"") "," CELL("null", "", "",
                                                                                  "\"y\""),
                        EXCEPTION("true")),
                     1, true);
        check_ending(NB(CELL("null", "", ERROR("SystemExit", "0"), "\"x\"") "," CELL("null", "", "",
                                                                                     "\"y\""),
                        ""),
                     2, false);
}

TEST(texts_are_cleaned)
{
        CHECK_TEXT(NB(CELL("1", "", ERROR("E\\u001b\\nF", "a\\u0000b\\u001b[1m\\nc\\td"), "\"x\""),
                      ""),
                   1, 1, 1, "E  F", "a b [1m\nc\td");
}

TEST(texts_are_cut)
{
        nb_auto_buf b = NB_BUF(4 * 1024 * 1024);
        struct notebook_verdict v;
        struct nb_err err = {0};
        size_t chars = 0;

        nb_buf_puts(&b, "{\"cells\":[{\"cell_type\":\"code\",\"execution_count\":1,\"metadata\":{},"
                        "\"source\":\"x\",\"outputs\":[{\"output_type\":\"error\",\"ename\":\"");
        for (int i = 0; i < 1000; i++)
                nb_buf_putc(&b, 'E');
        nb_buf_puts(&b, "\",\"evalue\":\"");
        for (int i = 0; i < 500000; i++)
                nb_buf_puts(&b, "\xf0\x9f\x90\x8d");
        nb_buf_puts(&b, "\"}]}],\"metadata\":{},\"nbformat\":4,\"nbformat_minor\":4}");
        CHECK(!b.failed);
        CHECK_OK(notebook_judge(b.data, b.len, &v, &err), &err);
        CHECK_INT(strlen(v.ename), 1000);
        CHECK(nb_utf8_valid(v.evalue, strlen(v.evalue), NULL));
        for (const char *s = v.evalue; *s; s++)
                chars += ((unsigned char)*s & 0xc0) != 0x80;
        CHECK_INT(chars, 1000);
        CHECK(nb_ends_with(v.evalue, "\xe2\x80\xa6"));
        notebook_verdict_done(&v);
}

TEST(what_is_no_notebook_is_refused)
{
        static const char *const texts[] = {"", "null", "[]", "{}", "{\"cells\":[]}", NB("{}", "")};
        struct notebook_verdict v = {.cells = -7};
        struct nb_err err = {0};
        size_t n;
        nb_auto_free char *p = fixture_read("truncated.ipynb", &n);

        for (size_t i = 0; i < NB_ARRAY_SIZE(texts); i++)
                CHECK_ERR(notebook_judge(texts[i], strlen(texts[i]), &v, &err), &err, NB_E_INVALID,
                          "the executed notebook:1:");
        CHECK_ERR(notebook_judge(p, n, &v, &err), &err, NB_E_INVALID, "the executed notebook:");
        CHECK_INT(v.cells, -7);
}

TEST(memory_does_not_grow_with_outputs)
{
        struct notebook_verdict v;
        struct nb_err err = {0};
        size_t n;
        char *p = fixture_big(60, &n);
        long before = fixture_peak(), after;

        CHECK_OK(notebook_judge(p, n, &v, &err), &err);
        after = fixture_peak();
        CHECK_INT(v.cells, 61);
        CHECK_INT(v.executed, 61);
        CHECK_INT(v.error_cell, 61);
        CHECK_STR(v.ename, "E");
        if (FIXTURE_PEAK_COUNTS && after - before >= 8 * 1024 * 1024)
                FAIL("judging took %ld bytes", after - before);
        notebook_verdict_done(&v);
        munmap(p, n);
}

NBTEST_MAIN()
