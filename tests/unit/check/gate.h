/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* gate.h - notebooks for the tests of the gate.  After nbtest.h. */

#include <nbcid/check.h>

/* A notebook of these cells, each JSON text of a whole cell or a source. */
#define NOTEBOOK(cells, metadata) \
        "{\"cells\":[" cells "],\"metadata\":{" metadata "},\"nbformat\":4,\"nbformat_minor\":4}"
#define CELL(count, outputs, source) \
        "{\"cell_type\":\"code\",\"execution_count\":" count \
        ",\"metadata\":{},\"outputs\":[" outputs "],\"source\":\"" source "\"}"
#define CODE(source) CELL("null", "", source)
#define TAGGED(tag, source) \
        "{\"cell_type\":\"code\",\"execution_count\":null,\"metadata\":{\"tags\":[\"" tag \
        "\"]},\"outputs\":[],\"source\":\"" source "\"}"
#define OUTPUT(text) "{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":\"" text "\"}"

/* "rule@cell:line:column" of each, severity first: "E syntax@2:1:5; ..." */
__attribute__((unused)) static void gate_list(const struct findings *f, char *buf, size_t size)
{
        size_t n = 0;

        buf[0] = '\0';
        for (size_t i = 0; i < f->n && n < size; i++) {
                const struct finding *x = &f->v[i];

                n += (size_t)snprintf(buf + n, size - n, "%s%c %s@%lld:%zu:%zu", i ? "; " : "",
                                      x->severity == FINDING_ERROR ? 'E' : 'W', x->rule,
                                      (long long)x->cell, x->cell_line, x->cell_column);
        }
}

static void gate_check(struct check *c, const char *text, const struct check_job *job,
                       struct findings *f)
{
        struct nb_err err = {0};

        *f = (struct findings){.max = 100};
        CHECK_OK(check_notebook(c, "t.ipynb", text, strlen(text), job, f, &err), &err);
}

__attribute__((unused)) static void gate_expect(struct check *c, const char *text,
                                                const struct check_job *job, const char *expected)
{
        struct findings f;
        char list[1024];

        gate_check(c, text, job, &f);
        gate_list(&f, list, sizeof(list));
        CHECK_STR(list, expected);
        findings_done(&f);
}

/* The test is its own syntax helper. */
#define GATE_MAIN() \
        int main(int argc, char **argv) \
        { \
                if (argc > 1 && strcmp(argv[1], "syntax-helper") == 0) \
                        return check_helper_main(argc - 1, argv + 1); \
                return nbtest_run(argc, argv); \
        }
