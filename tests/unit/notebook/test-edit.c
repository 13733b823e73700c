/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/buf.h>
#include <nbcid/notebook.h>
#include <nbcid/str.h>

#include "nbtest.h"

#define MAX ((size_t)1 << 20)

static void check_set(const char *before, const char *key, const char *json, const char *after)
{
        nb_auto_buf b = NB_BUF(MAX), again = NB_BUF(MAX);
        struct nb_err err = {0};
        int r = notebook_set_metadata("x", before, strlen(before), key, json, &b, &err);

        CHECK_OK(r, &err);
        CHECK_INT(r, nb_streq(before, after));
        CHECK_STR(nb_buf_str(&b), after);
        /* the second time it is so already */
        r = notebook_set_metadata("x", b.data, b.len, key, json, &again, &err);
        CHECK_OK(r, &err);
        CHECK_INT(r, 1);
        CHECK_STR(nb_buf_str(&again), after);
}

static void check_cell(const char *before, size_t i, bool replace, const char *json,
                       const char *after)
{
        nb_auto_buf b = NB_BUF(MAX);
        struct nb_err err = {0};

        CHECK_OK(notebook_put_cell("x", before, strlen(before), i, replace, json, &b, &err), &err);
        CHECK_STR(nb_buf_str(&b), after);
}

#define LINES(metadata) \
        "{\n \"cells\": [],\n \"metadata\": " metadata ",\n \"nbformat\": 4,\n" \
        " \"nbformat_minor\": 5\n}\n"
#define SHORT(metadata) \
        "{\"metadata\":" metadata ",\"nbformat\":4,\"nbformat_minor\":4,\"cells\":[]}"
#define WIDE(metadata) \
        "{\"cells\": [], \"metadata\": " metadata ", \"nbformat\": 4, \"nbformat_minor\": 4}"

TEST(members_of_a_notebook_in_lines)
{
        check_set(
                LINES("{}"), "x", "[1, {\"b\":{},\"a\":[]}]",
                LINES("{\n  \"x\": [\n   1,\n   {\n    \"a\": [],\n    \"b\": {}\n   }\n  ]\n }"));
        check_set(LINES("{ \n }"), "x", "1", LINES("{\n  \"x\": 1\n }"));
        check_set(LINES("{\n  \"b\": 1\n }"), "a", "true",
                  LINES("{\n  \"a\": true,\n  \"b\": 1\n }"));
        check_set(LINES("{\n  \"b\": 1\n }"), "c", "null",
                  LINES("{\n  \"b\": 1,\n  \"c\": null\n }"));
        check_set(LINES("{\n  \"a\": {\"q\": 1},\n  \"c\": \"}\\\"\"\n }"), "b", "\"é\\n\"",
                  LINES("{\n  \"a\": {\"q\": 1},\n  \"b\": \"é\\n\",\n  \"c\": \"}\\\"\"\n }"));
}

TEST(an_order_of_ones_own_is_kept)
{
        check_set(LINES("{\n  \"c\": 1,\n  \"a\": 2\n }"), "b", "3",
                  LINES("{\n  \"c\": 1,\n  \"a\": 2,\n  \"b\": 3\n }"));
        /* by code point, as Python sorts: U+E000 before U+10000 */
        check_set(WIDE("{\"\xee\x80\x80\": 1}"), "\xf0\x90\x80\x80", "2",
                  WIDE("{\"\xee\x80\x80\": 1, \"\xf0\x90\x80\x80\": 2}"));
}

TEST(a_member_is_replaced)
{
        check_set(LINES("{\n  \"a\": {\n   \"x\": [\n    1\n   ]\n  },\n  \"b\": 1\n }"), "a", "[]",
                  LINES("{\n  \"a\": [],\n  \"b\": 1\n }"));
        check_set(LINES("{\n  \"a\" : 12.50,\n  \"b\": 1\n }"), "a", "{\"x\": 1}",
                  LINES("{\n  \"a\" : {\n   \"x\": 1\n  },\n  \"b\": 1\n }"));
        check_set(SHORT("{\"a\":\"\\\\\",\"b\":1}"), "a", "\"\"", SHORT("{\"a\":\"\",\"b\":1}"));
        /* a key is what it decodes to */
        check_set(SHORT("{\"\\u0061\":1}"), "a", "2", SHORT("{\"\\u0061\":2}"));
}

TEST(what_it_says_already_is_left_alone)
{
        check_set(LINES("{\n  \"a\": [1,\n 2, {\"y\":1, \"x\":\"\\u00e9\"}]\n }"), "a",
                  "[1,2,{\"x\":\"é\",\"y\":1}]",
                  LINES("{\n  \"a\": [1,\n 2, {\"y\":1, \"x\":\"\\u00e9\"}]\n }"));
}

TEST(notebooks_on_one_line)
{
        check_set(SHORT("{}"), "a", "{\"x\":[1,2]}", SHORT("{\"a\":{\"x\":[1,2]}}"));
        check_set(WIDE("{}"), "a", "{\"x\":[1,2]}", WIDE("{\"a\": {\"x\": [1, 2]}}"));
        check_set(SHORT("{\"b\":1}"), "a", "0", SHORT("{\"a\":0,\"b\":1}"));
        check_set(WIDE("{\"a\": 1}"), "b", "0", WIDE("{\"a\": 1, \"b\": 0}"));
        /* only the metadata is on one line */
        check_set(LINES("{\"b\": 1}"), "a", "[1]", LINES("{\"a\": [1], \"b\": 1}"));
}

TEST(other_indents_and_line_ends)
{
        check_set("{\r\n\t\"metadata\": {},\r\n\t\"nbformat\": 4,\r\n\t\"nbformat_minor\": 4,\r\n"
                  "\t\"cells\": []\r\n}\r\n",
                  "a", "[1]",
                  "{\r\n\t\"metadata\": {\r\n\t\t\"a\": [\r\n\t\t\t1\r\n\t\t]\r\n\t},\r\n"
                  "\t\"nbformat\": 4,\r\n\t\"nbformat_minor\": 4,\r\n\t\"cells\": []\r\n}\r\n");
        check_set("{\n    \"metadata\":{\n        \"b\":1\n    },\n    \"nbformat\":4,\n"
                  "    \"nbformat_minor\":4,\n    \"cells\":[]}",
                  "c", "[1]",
                  "{\n    \"metadata\":{\n        \"b\":1,\n        \"c\":[\n            1\n"
                  "        ]\n    },\n    \"nbformat\":4,\n    \"nbformat_minor\":4,\n"
                  "    \"cells\":[]}");
        /* indent=0 of Python's json */
        check_set(
                "{\n\"cells\": [],\n\"metadata\": {},\n\"nbformat\": 4,\n\"nbformat_minor\": 4\n}",
                "a", "[1]",
                "{\n\"cells\": [],\n\"metadata\": {\n\"a\": [\n1\n]\n},\n\"nbformat\": 4,\n"
                "\"nbformat_minor\": 4\n}");
}

#define CELLS(cells) "{\"cells\":[" cells "],\"metadata\":{},\"nbformat\":4,\"nbformat_minor\":4}"
#define A "{\"cell_type\":\"raw\",\"metadata\":{},\"source\":\"a]}\"}"
#define B "{\"cell_type\":\"raw\",\"metadata\":{\"x\":[{}]},\"source\":\"b\"}"

TEST(cells)
{
        check_cell(CELLS(""), 0, false, A, CELLS(A));
        check_cell(CELLS(A), 0, false, B, CELLS(B "," A));
        check_cell(CELLS(A), 1, false, B, CELLS(A "," B));
        check_cell(CELLS(A "," A), 1, false, B, CELLS(A "," B "," A));
        check_cell(CELLS(A "," A), 1, true, B, CELLS(A "," B));
        check_cell("{\n \"cells\": [\n  " A "\n ],\n \"metadata\": {},\n \"nbformat\": 4,\n"
                   " \"nbformat_minor\": 4\n}\n",
                   1, false, "{\"source\":[],\"cell_type\":\"raw\",\"metadata\":{}}",
                   "{\n \"cells\": [\n  " A ",\n  {\n   \"cell_type\": \"raw\",\n"
                   "   \"metadata\": {},\n   \"source\": []\n  }\n ],\n \"metadata\": {},\n"
                   " \"nbformat\": 4,\n \"nbformat_minor\": 4\n}\n");
}

static void check_refused(const char *text, const char *json, enum nb_errc code, const char *part)
{
        nb_auto_buf b = NB_BUF(MAX);
        struct nb_err err = {0};

        CHECK_ERR(notebook_set_metadata("x", text, strlen(text), "a", json, &b, &err), &err, code,
                  part);
}

TEST(refused)
{
        nb_auto_buf b = NB_BUF(MAX), small = NB_BUF(90);
        struct nb_err err = {0};

        check_refused("\xef\xbb\xbf" SHORT("{}"), "1", NB_E_INVALID, "byte order mark");
        check_refused("[]", "1", NB_E_INVALID, "x:1:1: the notebook is an array");
        check_refused("{\"metadata\":{},\"nbformat\":3,\"nbformat_minor\":0}", "1", NB_E_INVALID,
                      "nbformat 3 is not supported");
        check_refused(SHORT("{\"a\":1,\"a\":2}"), "1", NB_E_INVALID, "metadata.a is there twice");
        check_refused(SHORT("{}"), "{", NB_E_INVALID, "line 1");
        CHECK_ERR(notebook_put_cell("x", CELLS(A), strlen(CELLS(A)), 2, false, A, &b, &err), &err,
                  NB_E_INVALID, "no cell 3 of 1");
        CHECK_ERR(notebook_put_cell("x", CELLS(A), strlen(CELLS(A)), 1, true, A, &b, &err), &err,
                  NB_E_INVALID, "no cell 2 of 1");
        CHECK_ERR(notebook_set_metadata("x", SHORT("{}"), strlen(SHORT("{}")), "a",
                                        "\"0123456789012345678901234567890123456789\"", &small,
                                        &err),
                  &err, NB_E_LIMIT, "over 90 bytes");
}

TEST(a_key_with_a_nul_is_no_other_key)
{
        check_set(SHORT("{\"a\\u0000b\":1}"), "a", "2", SHORT("{\"a\\u0000b\":1,\"a\":2}"));
}

NBTEST_MAIN()
