/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/buf.h>
#include <nbcid/notebook.h>
#include <nbcid/str.h>

#include "nbtest.h"

#define MAX ((size_t)1 << 20)

#define CODE(tags) \
        "{\"cell_type\":\"code\",\"execution_count\":null,\"metadata\":{\"tags\":[" tags "]}," \
        "\"outputs\":[],\"source\":\"\"}"
#define TEXT(tags) "{\"cell_type\":\"raw\",\"metadata\":{\"tags\":[" tags "]},\"source\":\"\"}"
#define NB(cells, metadata, minor) \
        "{\"cells\":[" cells "],\"metadata\":{" metadata \
        "},\"nbformat\":4,\"nbformat_minor\":" minor "}"
#define INJECTED(source) \
        "{\"cell_type\":\"code\",\"execution_count\":null,\"metadata\":{\"tags\":[" \
        "\"injected-parameters\"]},\"outputs\":[],\"source\":[" source "]}"
#define X1 INJECTED("\"# Parameters\\n\",\"x = 1\"")

static void check_inject(const char *before, const char *parameters, int answer, const char *after)
{
        nb_auto_buf b = NB_BUF(MAX), again = NB_BUF(MAX);
        struct nb_err err = {0};
        int r = notebook_inject("x", before, strlen(before), parameters, "python", &b, &err);

        CHECK_OK(r, &err);
        CHECK_INT(r, answer);
        CHECK_STR(nb_buf_str(&b), after);
        r = notebook_inject("x", b.data, b.len, parameters, "python", &again, &err);
        CHECK_OK(r, &err);
        CHECK_INT(r, 0);
        CHECK_STR(nb_buf_str(&again), after);
}

#define P "\"parameters\""
#define I "\"injected-parameters\""

TEST(where_the_cell_goes)
{
        check_inject(NB(CODE("") "," CODE("\"a\"," P) "," CODE(P), "", "4"), "{\"x\":1}", 0,
                     NB(CODE("") "," CODE("\"a\"," P) "," X1 "," CODE(P), "", "4"));
        check_inject(NB(CODE(P), "", "4"), "{\"x\":1}", 0, NB(CODE(P) "," X1, "", "4"));
        /* an earlier one is replaced, wherever it is */
        check_inject(NB(CODE(P) "," CODE("") "," CODE(I) "," CODE(I), "", "4"), "{\"x\":1}", 0,
                     NB(CODE(P) "," CODE("") "," X1 "," CODE(I), "", "4"));
        /* only code counts */
        check_inject(NB(TEXT(P) "," TEXT(I) "," CODE(P), "", "4"), "{\"x\":1}", 0,
                     NB(TEXT(P) "," TEXT(I) "," CODE(P) "," X1, "", "4"));
        check_inject(NB(TEXT(P) "," CODE(""), "", "4"), "{\"x\":1}", 1,
                     NB(X1 "," TEXT(P) "," CODE(""), "", "4"));
        check_inject(NB("", "", "4"), "{\"x\":1}", 1, NB(X1, "", "4"));
        /* nothing to say */
        check_inject(NB(CODE(P), "", "4"), "{}", 0, NB(CODE(P), "", "4"));
}

#define WITH_ID(id) \
        "{\"cell_type\":\"code\",\"execution_count\":null,\"id\":\"" id "\",\"metadata\":{" \
        "\"tags\":[\"injected-parameters\"]},\"outputs\":[],\"source\":[\"# Parameters\\n\"," \
        "\"x = 1\"]}"

static void id_of(const char *before, char (*ret)[9])
{
        nb_auto_buf b = NB_BUF(MAX);
        struct nb_err err = {0};
        const char *id;

        CHECK_OK(notebook_inject("x", before, strlen(before), "{\"x\":1}", "python", &b, &err),
                 &err);
        id = strstr(nb_buf_str(&b), "null,\"id\":\"");
        CHECK(id && strlen(id) > 20);
        id += strlen("null,\"id\":\"");
        CHECK(id[8] == '"');
        CHECK(strspn(id, "0123456789abcdef") == 8);
        (void)nb_fmt(*ret, sizeof(*ret), "%.8s", id);
}

TEST(cells_of_4_5_have_an_id_of_their_own)
{
        char first[9], same[9], second[9];
        nb_auto_free char *other = NULL, *replaced = NULL;

        id_of(NB("", "", "5"), &first);
        id_of(NB("{\"cell_type\":\"raw\",\"id\":\"a\",\"metadata\":{},\"source\":\"\"}", "", "5"),
              &same);
        CHECK_STR(first, same);
        /* taken by another cell */
        other = nb_asprintf(NB("{\"cell_type\":\"raw\",\"id\":\"%s\",\"metadata\":{},"
                               "\"source\":\"\"}",
                               "", "5"),
                            first);
        id_of(other, &second);
        CHECK(!nb_streq(first, second));
        /* the cell that goes does not count */
        replaced = nb_asprintf(NB(WITH_ID("%s"), "", "5"), first);
        id_of(replaced, &second);
        CHECK_STR(first, second);
}

static void check_source(const char *language, const char *parameters, const char *source)
{
        nb_auto_buf b = NB_BUF(MAX);
        nb_auto_buf text = NB_BUF(MAX);
        const struct nb_json_limits limits = {.bytes = MAX, .depth = 8};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        struct nb_err err = {0};
        const struct nb_json *lines;
        static const char before[] = NB("", "", "4");

        CHECK_OK(notebook_inject("x", before, strlen(before), parameters, language, &b, &err),
                 &err);
        CHECK_OK(nb_json_read(b.data, b.len, &limits, &tree, NULL, &err), &err);
        lines = nb_json_get(nb_json_index(nb_json_get(nb_json_root(tree), "cells"), 0), "source");
        for (size_t i = 0; i < nb_json_size(lines); i++)
                (void)nb_buf_puts(&text, nb_json_str(nb_json_index(lines, i), NULL));
        CHECK(nb_starts_with(nb_buf_str(&text), "# Parameters\n"));
        CHECK_STR(nb_buf_str(&text) + strlen("# Parameters\n"), source);
}

#define ALL \
        "{\"i\":-3,\"big\":123456789012345678901234567890,\"f\":0.5,\"e\":1e300,\"t\":true," \
        "\"n\":null,\"s\":\"a\",\"l\":[1,\"b\",[]],\"d\":{\"k k\":{\"x\":[null]},\"m\":{}}}"

TEST(values)
{
        check_source("Python", ALL,
                     "i = -3\nbig = 123456789012345678901234567890\nf = 0.5\ne = 1e300\nt = True\n"
                     "n = None\ns = \"a\"\nl = [1, \"b\", []]\n"
                     "d = {\"k k\": {\"x\": [None]}, \"m\": {}}");
        check_source("R", ALL,
                     "i = -3\nbig = 123456789012345678901234567890\nf = 0.5\ne = 1e300\nt = TRUE\n"
                     "n = NULL\ns = \"a\"\nl = list(1, \"b\", list())\n"
                     "d = list(\"k k\" = list(\"x\" = list(NULL)), \"m\" = list())");
        check_source("julia", ALL,
                     "i = -3\nbig = 123456789012345678901234567890\nf = 0.5\ne = 1e300\nt = true\n"
                     "n = nothing\ns = \"a\"\nl = [1, \"b\", []]\n"
                     "d = Dict(\"k k\" => Dict(\"x\" => [nothing]), \"m\" => Dict())");
        check_source("bash",
                     "{\"i\":-3,\"f\":1e300,\"t\":false,\"n\":null,\"s\":\"a b\","
                     "\"l\":[1,\"b c\",null,true],\"m\":[]}",
                     "i=-3\nf=1e300\nt=false\nn=\ns='a b'\nl=(1 'b c' '' true)\nm=()");
}

#define NASTY \
        "{\"s\":\"'\\\"\\\\ $(x) `y` ${z} #{w} !q %s " \
        "\\n\\r\\t\\u0001\\u007f\\u0085é\\u2028\\u202e\"}"

TEST(texts_stay_texts)
{
        check_source("python", NASTY,
                     "s = \"'\\\"\\\\ $(x) `y` ${z} #{w} !q %s "
                     "\\n\\r\\t\\u0001\\u007f\\u0085é\\u2028\\u202e\"");
        check_source("R", NASTY,
                     "s = \"'\\\"\\\\ $(x) `y` ${z} #{w} !q %s "
                     "\\n\\r\\t\\u0001\\u007f\\u0085é\\u2028\\u202e\"");
        check_source("julia", NASTY,
                     "s = \"'\\\"\\\\ \\$(x) `y` \\${z} #{w} !q %s "
                     "\\n\\r\\t\\u0001\\u007f\\u0085é\\u2028\\u202e\"");
        check_source("bash", NASTY,
                     "s=$'\\047\"\\134 $(x) `y` ${z} #{w} \\041q %s "
                     "\\n\\r\\t\\001\\177\\302\\205é\\342\\200\\250\\342\\200\\256'");
        check_source("bash", "{\"s\":\"it's $(x) \\\\ !\"}", "s='it'\\''s $(x) \\ !'");
}

static void check_refused(const char *metadata, const char *language, const char *parameters,
                          const char *part)
{
        nb_auto_buf b = NB_BUF(MAX);
        nb_auto_free char *nb = nb_asprintf("{\"cells\":[],\"metadata\":{%s},\"nbformat\":4,"
                                            "\"nbformat_minor\":4}",
                                            metadata);
        struct nb_err err = {0};

        CHECK_ERR(notebook_inject("x.ipynb", nb, strlen(nb), parameters, language, &b, &err), &err,
                  NB_E_INVALID, part);
}

TEST(names)
{
        static const char *const bad[] = {
                "",      "1x",    "a b",  "a-b",   "a.b",      "é",
                "a\\nb", "a=1;b", "$(x)", "x\\\"", "x\\u200b", "a[0]",
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++) {
                static const char *const languages[] = {"python", "R", "julia", "bash"};
                nb_auto_free char *json = nb_asprintf("{\"%s\":1}", bad[i]);

                for (size_t k = 0; k < NB_ARRAY_SIZE(languages); k++)
                        check_refused("", languages[k], json, "has no such names");
        }
        check_refused("", "python", "{\"ok\":1,\"lambda\":1}", "parameter 'lambda'");
        check_refused("", "R", "{\"TRUE\":1}", "parameter 'TRUE': R does not let");
        check_refused("", "R", "{\"_x\":1}", "parameter '_x': R has no such names");
        check_refused("", "julia", "{\"end\":1}", "parameter 'end'");
        check_refused("", "bash", "{\"UID\":1}", "parameter 'UID'");
        check_source("python", "{\"_x\":1,\"end\":2,\"UID\":3}", "_x = 1\nend = 2\nUID = 3");
        check_source("R", "{\"lambda\":1}", "lambda = 1");
        check_source("bash", "{\"lambda\":1,\"if\":2}", "lambda=1\nif=2");
}

TEST(values_that_a_language_lacks)
{
        check_refused("", "bash", "{\"d\":{}}", "parameter 'd': Bash cannot hold a table");
        check_refused("", "bash", "{\"d\":[[]]}", "parameter 'd': Bash cannot hold an array in");
        check_refused("", "R", "{\"d\":{\"\":1}}", "parameter 'd': R has no empty keys");
        check_refused("", "python", "{\"d\":1e999}", "parameter 'd': the number 1e999 is out of");
        check_source("python", "{\"d\":{\"\":1}}", "d = {\"\": 1}");
}

TEST(the_language_is_the_notebooks)
{
        nb_auto_buf b = NB_BUF(MAX);
        struct nb_err err = {0};
        static const char *const metadata[] = {
                "\"language_info\":{\"name\":\"R\"},\"kernelspec\":{\"language\":\"python\"}",
                "\"kernelspec\":{\"name\":\"x\",\"language\":\"r\"}",
                "\"kernelspec\":{\"name\":\"ir\"}",
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(metadata); i++) {
                nb_auto_free char *nb =
                        nb_asprintf("{\"cells\":[],\"metadata\":{%s},\"nbformat\":4,"
                                    "\"nbformat_minor\":4}",
                                    metadata[i]);

                nb_buf_clear(&b);
                CHECK_OK(notebook_inject("x", nb, strlen(nb), "{\"x\":true}", NULL, &b, &err),
                         &err);
                CHECK(strstr(nb_buf_str(&b), "x = TRUE"));
        }
        check_refused("", NULL, "{\"x\":1}", "x.ipynb: parameters need to know");
        check_refused("\"kernelspec\":{\"name\":\"irrational\"}", NULL, "{\"x\":1}", "names none");
        check_refused("\"language_info\":{\"name\":\"scala\"}", NULL, "{\"x\":1}",
                      "cannot be written in scala");
        check_refused("", "python", "[]", "the parameters: write a JSON object");
        check_refused("", "python", "{\"x\":1,\"x\":2}", "the parameters: line 1");
        check_refused("", "python", "{\"x\":\"\\u0000\"}", "\\u0000 has no place");
}

NBTEST_MAIN()
