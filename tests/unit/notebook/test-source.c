/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/notebook.h>

#include "nbtest.h"

#include "fixture.h"

#define MANY (1024 * 1024)

static const char nb[] = /* lines of the file are counted by the tests below */
        "{\n"
        " \"cells\": [\n"
        "  {\"cell_type\": \"markdown\", \"metadata\": {}, \"source\": []},\n"
        "  {\n"
        "   \"cell_type\": \"code\",\n"
        "   \"execution_count\": 3,\n"
        "   \"metadata\": {\"tags\": [\"parameters\", \"x\"]},\n"
        "   \"outputs\": [\n"
        "    {\"output_type\": \"stream\", \"name\": \"stdout\", \"text\": [\"one\\n\", "
        "\"two\"]},\n"
        "    {\"output_type\": \"display_data\", \"metadata\": {},\n"
        "     \"data\": {\"image/png\": \"AAAA\", \"text/plain\": \"three\"}}\n"
        "   ],\n"
        "   \"source\": [\n"
        "    \"a = 1\\n\",\n"
        "    \"\\u00e9\\ud83d\\ude00\\tb\\u000ac\\n\",\n"
        "    \"\xc3\xa9 = '\\\\n'\"\n"
        "   ]\n"
        "  },\n"
        "  {\"cell_type\": \"code\", \"execution_count\": null, \"metadata\": {}, \"outputs\": [],"
        " \"source\": \"x\\n\\ny\"}\n"
        " ],\n"
        " \"metadata\": {\"kernelspec\": {\"name\": \"ir\", \"display_name\": \"R\","
        " \"language\": \"R\"}},\n"
        " \"nbformat\": 4,\n"
        " \"nbformat_minor\": 4\n"
        "}\n";

struct heard {
        char text[256];
        int64_t cell;
        size_t line;
};

static int hear(void *arg, int64_t cell, const char *s, size_t n, struct nb_json_pos at,
                struct nb_err *err)
{
        struct heard *h = arg;
        size_t len = strlen(h->text);

        snprintf(h->text + len, sizeof(h->text) - len, "[%.*s]", (int)n, s);
        h->cell = cell;
        h->line = at.line;
        return 0;
}

static void read_nb(struct heard *h, struct notebook_source *ret)
{
        struct nb_err err = {0};

        CHECK_OK(notebook_source_read("t.ipynb", nb, strlen(nb), MANY, h ? hear : NULL, h, ret,
                                      &err),
                 &err);
}

static void check_place(const struct notebook_cell *c, size_t line, size_t column, size_t file_line,
                        const char *begins)
{
        struct nb_json_pos pos = notebook_place(nb, strlen(nb), c, line, column);
        size_t bol = pos.offset;

        CHECK_INT(pos.line, file_line);
        if (!begins)
                return;
        if (strncmp(nb + pos.offset, begins, strlen(begins)) != 0)
                FAIL("\"%.10s\" stands there, not \"%s\"", nb + pos.offset, begins);
        while (bol > 0 && nb[bol - 1] != '\n')
                bol--;
        CHECK_INT(pos.column, pos.offset - bol + 1);
}

TEST(cells_come_with_what_checks_ask_for)
{
        struct notebook_source s;

        read_nb(NULL, &s);
        CHECK_INT(s.n, 3);
        CHECK_STR(s.language, "R");
        CHECK_STR(s.kernel, "ir");
        CHECK_INT(s.kernel_at.line, 21);
        CHECK(s.cells[0].type == NOTEBOOK_MARKDOWN && s.cells[0].n == 0 && !s.cells[0].inked);
        CHECK(s.cells[1].type == NOTEBOOK_CODE);
        CHECK_STR(s.cells[1].source, "a = 1\n\xc3\xa9\xf0\x9f\x98\x80\tb\nc\n\xc3\xa9 = '\\n'");
        CHECK_INT(s.cells[1].n, strlen(s.cells[1].source));
        CHECK(s.cells[1].counted && s.cells[1].execution_count == 3 && s.cells[1].outputs == 2);
        CHECK_INT(s.cells[1].outs.line, 9);
        CHECK(nb_strv_has(&s.cells[1].tags, "parameters") && s.cells[1].tags.n == 2);
        CHECK(!s.cells[2].counted && s.cells[2].outputs == 0 && s.cells[2].tags.n == 0);
        notebook_source_done(&s);
        notebook_source_done(&s);
}

TEST(outputs_go_by)
{
        struct heard h = {0};
        struct notebook_source s;

        read_nb(&h, &s);
        CHECK_STR(h.text, "[one\n][two][three]");
        CHECK_INT(h.cell, 2);
        CHECK_INT(h.line, 11);
        notebook_source_done(&s);
}

TEST(a_line_of_a_cell_is_found_in_the_file)
{
        struct notebook_source s;
        const struct notebook_cell *c;

        read_nb(NULL, &s);
        c = &s.cells[1];
        check_place(c, 1, 0, 14, "a = 1");
        check_place(c, 1, 5, 14, "1\\n");
        check_place(c, 1, 99, 14, "\\n\",");
        check_place(c, 2, 1, 15, "\\u00e9");
        check_place(c, 2, 2, 15, "\\ud83d");
        check_place(c, 2, 3, 15, "\\tb");
        check_place(c, 2, 4, 15, "b\\u000a");
        check_place(c, 3, 1, 15, "c\\n");
        check_place(c, 4, 2, 16, " = '");
        check_place(c, 4, 6, 16, "\\\\n'");
        check_place(c, 4, 7, 16, "n'");
        check_place(c, 4, 99, 16, "\"\n");
        check_place(c, 5, 1, 0, NULL);
        check_place(&s.cells[2], 3, 1, 19, "y\"}");
        check_place(&s.cells[2], 2, 1, 19, "\\ny");
        check_place(&s.cells[0], 1, 1, 3, "[]");
        notebook_source_done(&s);
}

TEST(what_is_no_notebook_is_refused_with_its_place)
{
        struct notebook_source s = {.n = 7};
        struct nb_err err = {0};

        CHECK_ERR(notebook_source_read("t.ipynb", "{\"cells\": 3}", 12, MANY, NULL, NULL, &s, &err),
                  &err, NB_E_INVALID, "t.ipynb:1:11: ");
        CHECK_ERR(notebook_source_read("t.ipynb", nb, strlen(nb), 100, NULL, NULL, &s, &err), &err,
                  NB_E_LIMIT, "max_notebook");
        CHECK_INT(s.n, 7);
}

TEST(kernels_are_known_by_their_names)
{
        static const char *const known[][2] = {
                {"python3", "python"},
                {"Python 3 (ipykernel)", "python"},
                {"python_defaultSpec_1", "python"},
                {"xpython", "python"},
                {"ir", "R"},
                {"IR", "R"},
                {"ir-4.2", "R"},
                {"ir33", "R"},
                {"irkernel-like", NULL},
                {"xr", "R"},
                {"julia-1.10", "julia"},
                {"bash", "bash"},
                {"javascript", "javascript"},
                {"java", "java"},
                {"xcpp17", "c++"},
                {"gophernotes", "go"},
                {"my-env", NULL},
                {"", NULL},
                {NULL, NULL},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(known); i++)
                CHECK_STR(notebook_kernel_language(known[i][0]), known[i][1]);
        CHECK(notebook_language_is_python("python") && notebook_language_is_python("IPython") &&
              notebook_language_is_python("python3"));
        CHECK(!notebook_language_is_python("R") && !notebook_language_is_python(NULL));
}

TEST(a_notebook_that_says_no_language_is_python)
{
        static const char text[] =
                "{\"cells\":[],\"metadata\":{},\"nbformat\":4,\"nbformat_minor\":5}";
        static const char julia[] =
                "{\"cells\":[],\"metadata\":{\"kernelspec\":{\"name\":\"julia-1.9\"}},"
                "\"nbformat\":4,\"nbformat_minor\":5}";
        struct notebook_source s;
        struct nb_err err = {0};

        CHECK_OK(notebook_source_read("t", text, strlen(text), MANY, NULL, NULL, &s, &err), &err);
        CHECK_STR(s.language, "python");
        CHECK(!s.kernel && s.n == 0);
        notebook_source_done(&s);
        CHECK_OK(notebook_source_read("t", julia, strlen(julia), MANY, NULL, NULL, &s, &err), &err);
        CHECK_STR(s.language, "julia");
        notebook_source_done(&s);
}

TEST(outputs_cost_no_memory)
{
        size_t n;
        char *big = fixture_big(64, &n);
        struct notebook_source s;
        struct nb_err err = {0};

        CHECK_OK(notebook_source_read("big.ipynb", big, n, n, NULL, NULL, &s, &err), &err);
        CHECK(s.text.cap < MANY);
        munmap(big, n);
        notebook_source_done(&s);
}

NBTEST_MAIN()
