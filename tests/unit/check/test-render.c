/* SPDX-License-Identifier: Apache-2.0 */
#include "nbtest.h"

#include <nbcid/check.h>
#include <nbcid/json.h>

static struct finding one(void)
{
        return (struct finding){.severity = FINDING_ERROR,
                                .rule = "syntax",
                                .line = 41,
                                .column = 9,
                                .cell = 3,
                                .cell_line = 2,
                                .cell_column = 3,
                                .message = nb_strdup("SyntaxError: 100%: '(' was never closed"),
                                .remedy = nb_strdup("mend it"),
                                .text = nb_strdup("\t\xc3\xa9(" /* tab, e acute */)};
}

static struct findings list(void)
{
        struct findings f = {.max = 2};
        struct finding x = one(), bare = {.rule = "size", .message = nb_strdup("too large")},
                       more = {.rule = "size"};
        struct nb_err err;

        CHECK_OK(findings_add_take(&f, &x, &err), &err);
        CHECK_OK(findings_add_take(&f, &bare, &err), &err);
        CHECK_OK(findings_add_take(&f, &more, &err), &err);
        return f;
}

TEST(people_see_the_line_and_a_caret)
{
        struct findings f = list();
        nb_auto_buf b = NB_BUF(4096), colour = NB_BUF(4096);

        check_render_human("a\nb.ipynb", &f, false, &b);
        CHECK_STR(nb_buf_str(&b), "a b.ipynb:41:9: cell 3 line 2: error[syntax]: SyntaxError: "
                                  "100%: '(' was never closed\n"
                                  "  | \t\xc3\xa9(\n"
                                  "  | \t ^\n"
                                  "  remedy: mend it\n"
                                  "a b.ipynb: warning[size]: too large\n"
                                  "a b.ipynb: and 1 more\n");
        check_render_human("t", &f, true, &colour);
        CHECK(strstr(nb_buf_str(&colour), "\x1b[1;31merror[syntax]:\x1b[0m "));
        findings_done(&f);
}

TEST(places_in_the_json_are_named)
{
        struct findings f = {.max = 8};
        nb_auto_buf b = NB_BUF(4096), github = NB_BUF(4096);
        struct nb_err err;
        struct finding in_cell = {.severity = FINDING_ERROR,
                                  .rule = "format/type",
                                  .path = nb_strdup("cells[2].execution_count"),
                                  .message = nb_strdup("no number"),
                                  .cell = 3,
                                  .line = 1,
                                  .column = 70};
        struct finding of_file = {.severity = FINDING_WARNING,
                                  .rule = "format/version",
                                  .path = nb_strdup("nbformat\x1b_minor"),
                                  .message = nb_strdup("too new"),
                                  .line = 1,
                                  .column = 32};

        CHECK_OK(findings_add_take(&f, &in_cell, &err), &err);
        CHECK_OK(findings_add_take(&f, &of_file, &err), &err);
        check_render_human("a.ipynb", &f, false, &b);
        CHECK_STR(nb_buf_str(&b),
                  "a.ipynb:1:70: cell 3, cells[2].execution_count: error[format/type]: no number\n"
                  "a.ipynb:1:32: nbformat _minor: warning[format/version]: too new\n");
        check_render_github("a.ipynb", &f, &github);
        CHECK(strstr(nb_buf_str(&github), "line=1,col=70,title=format/type::cell 3: no number%0A"
                                          "cells[2].execution_count\n"));
        findings_done(&f);
}

/* As actions/runner reads a log: after white space, or anywhere. */
static bool has_command(const char *log)
{
        for (const char *line = log; *line; line = strchr(line, '\n') + 1) {
                const char *s = line + strspn(line, " \t");

                if (nb_starts_with(s, "\xe2\x80\x83")) /* a wide space */
                        s += 3;
                if (nb_starts_with(s, "::"))
                        return true;
        }
        return strstr(log, "##[");
}

TEST(nothing_of_a_stranger_is_a_command_of_github)
{
        static const char *const names[] = {"::error::x.ipynb", " ::x.ipynb",
                                            "\xe2\x80\x83::x.ipynb", "##[debug]x.ipynb",
                                            "a/\n::error::x.ipynb"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(names); i++) {
                struct findings f = {.max = 1};
                struct finding x = one(), more = one();
                nb_auto_buf b = NB_BUF(4096);
                struct nb_err err;

                free(x.text);
                free(x.message);
                x.text = nb_strdup(i % 2 ? "  ::add-mask::a" : "##[add-mask]a");
                x.message = nb_strdup("##[add-mask]\n::add-mask::a");
                CHECK_OK(findings_add_take(&f, &x, &err), &err);
                CHECK_OK(findings_add_take(&f, &more, &err), &err);
                check_render_human(names[i], &f, false, &b);
                CHECK(nb_ends_with(nb_buf_str(&b), ": and 1 more\n"));
                if (has_command(nb_buf_str(&b)))
                        FAIL("%s", nb_buf_str(&b));
                findings_done(&f);
        }
}

TEST(github_gets_its_escapes)
{
        struct findings f = list();
        nb_auto_buf b = NB_BUF(4096);

        check_render_github("a,b:c%.ipynb", &f, &b);
        CHECK_STR(nb_buf_str(&b),
                  "::error file=a%2Cb%3Ac%25.ipynb,line=41,col=9,title=syntax::cell 3 "
                  "line 2: SyntaxError: 100%25: '(' was never closed%0Amend it\n"
                  "::warning file=a%2Cb%3Ac%25.ipynb,title=size::too large\n");
        findings_done(&f);
}

TEST(json_leaves_out_what_is_unknown)
{
        struct findings f = list();
        nb_auto_buf b = NB_BUF(4096);

        findings_write_json(&f, &b);
        CHECK_STR(nb_buf_str(&b),
                  "[{\"severity\":\"error\",\"rule\":\"syntax\",\"cell\":3,\"cell_line\":2,"
                  "\"cell_column\":3,\"line\":41,\"column\":9,\"message\":\"SyntaxError: 100%: '(' "
                  "was never closed\",\"remedy\":\"mend it\",\"text\":\"\\t\xc3\xa9(\"},"
                  "{\"severity\":\"warning\",\"rule\":\"size\",\"message\":\"too large\"},"
                  "{\"severity\":\"warning\",\"rule\":\"more\",\"message\":\"and 1 more\"}]");
        findings_done(&f);
}

TEST(sarif_has_what_its_schema_requires)
{
        const struct nb_json_limits limits = {.bytes = 1 << 16, .depth = 20};
        struct findings f = list();
        nb_auto_buf b = NB_BUF(1 << 16);
        struct check_sarif s;
        struct nb_json_tree *t;
        const struct nb_json *run, *result;
        struct nb_err err;
        int64_t line;

        check_sarif_begin(&s, "1.2", &b);
        check_sarif_add(&s, "a b.ipynb", &f);
        check_sarif_add(&s, "c.ipynb", &f);
        check_sarif_end(&s);
        CHECK_OK(nb_json_read(nb_buf_str(&b), b.len, &limits, &t, NULL, &err), &err);
        CHECK_STR(nb_json_str(nb_json_get(nb_json_root(t), "version"), NULL), "2.1.0");
        run = nb_json_index(nb_json_get(nb_json_root(t), "runs"), 0);
        CHECK_STR(nb_json_str(nb_json_at(run, "tool", "driver", "name", NULL), NULL), "nbcid");
        CHECK_INT(nb_json_size(nb_json_at(run, "tool", "driver", "rules", NULL)), 2);
        CHECK_INT(nb_json_size(nb_json_get(run, "results")), 4);
        result = nb_json_index(nb_json_get(run, "results"), 0);
        CHECK_STR(nb_json_str(nb_json_get(result, "level"), NULL), "error");
        CHECK_STR(nb_json_str(nb_json_at(result, "message", "text", NULL), NULL),
                  "cell 3 line 2: SyntaxError: 100%: '(' was never closed; mend it");
        result =
                nb_json_get(nb_json_index(nb_json_get(result, "locations"), 0), "physicalLocation");
        CHECK_STR(nb_json_str(nb_json_at(result, "artifactLocation", "uri", NULL), NULL),
                  "a%20b.ipynb");
        CHECK(nb_json_int(nb_json_at(result, "region", "startLine", NULL), &line) && line == 41);
        nb_json_free(t);
        findings_done(&f);
}

NBTEST_MAIN()
