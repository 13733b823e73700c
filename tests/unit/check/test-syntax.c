/* SPDX-License-Identifier: Apache-2.0 */

/* The warm process: real Python, and programs that misbehave in its place. */
#include "nbtest.h"

#include <fcntl.h>

#include <nbcid/fs.h>

#include "gate.h"

static const struct repo_check levels = {.syntax = CHECK_ERROR};
static const struct check_job job = {.levels = &levels};

static struct check *make(const char *python, uint64_t timeout_us)
{
        struct check *c;
        struct nb_err err = {0};

        CHECK_OK(check_new(&(struct check_opts){.python = python,
                                                .sandbox = SANDBOX_NONE,
                                                .timeout_us = timeout_us},
                           &c, &err),
                 &err);
        return c;
}

TEST(cells_that_are_no_python_are_found)
{
        struct check *c = make("/usr/bin/python3", 60000000);

        gate_expect(c, NOTEBOOK(CODE("a = 1") "," CODE("b = 2\\nprint((b)"), ""), &job,
                    "E syntax@2:2:6");
        gate_expect(c, NOTEBOOK(CODE("a = 1"), ""), &job, "");
        gate_expect(c,
                    NOTEBOOK(TAGGED("skip-execution", "(") "," TAGGED("raises-exception", "("), ""),
                    &job, "");
        gate_expect(c, NOTEBOOK(CODE("("), "\"execution\":{\"allow_errors\":true}"), &job,
                    "W syntax@1:1:1");
        gate_expect(c, NOTEBOOK("", ""), &job, "");
        check_free(c);
}

TEST(of_a_long_line_the_place_is_shown)
{
        struct check *c = make("/usr/bin/python3", 60000000);
        nb_auto_buf line = NB_BUF(1 << 16), human = NB_BUF(1 << 16);
        struct findings f;

        for (int i = 0; i < 2000; i++)
                (void)nb_buf_puts(&line, "\xc3\xa9");
        nb_auto_free char *text =
                nb_asprintf(NOTEBOOK(CODE("%s = 1 2 # %s"), ""), nb_buf_str(&line), "later");
        gate_check(c, text, &job, &f);
        CHECK_INT(f.n, 1);
        CHECK_INT(f.v[0].cell_column, 2006); /* the 2 */
        check_render_human("t.ipynb", &f, false, &human);
        const char *shown = strstr(nb_buf_str(&human), "  | \xe2\x80\xa6\xc3\xa9"),
                   *caret = shown ? strstr(shown, "^\n") : NULL, *two;

        CHECK(shown && caret);
        two = strstr(shown, "2 # later\n");
        CHECK(two && two < caret);
        /* of two bytes each but for the dots, of three, and " = 1 " */
        const size_t letters = (size_t)(two - shown - 4 - 3 - 5) / 2;
        CHECK_INT(caret - strrchr(shown, '|'), (ptrdiff_t)(2 + 1 + letters + 5));
        findings_done(&f);
        check_free(c);
}

TEST(cells_that_are_not_told_are_counted)
{
        struct check *c = make("/usr/bin/python3", 60000000);
        nb_auto_buf cells = NB_BUF(1 << 20);
        struct findings f;

        for (int i = 0; i < 130; i++)
                (void)nb_buf_printf(&cells, "%s" CODE("("), i ? "," : "");
        nb_auto_free char *text = nb_asprintf(NOTEBOOK("%s", ""), nb_buf_str(&cells));
        gate_check(c, text, &job, &f);
        CHECK_INT(f.n, 100);
        CHECK_INT(f.more, 30);
        findings_done(&f);
        check_free(c);
}

static void expect_unchecked(const char *python, uint64_t timeout_us, const char *part)
{
        struct check *c = make(python, timeout_us);
        struct findings f;

        for (int i = 0; i < 2; i++) { /* it is started again */
                gate_check(c, NOTEBOOK(CODE("("), ""), &job, &f);
                CHECK_INT(f.n, 1);
                CHECK(f.v[0].severity == FINDING_WARNING);
                CHECK(f.v[0].remedy && !strchr(f.v[0].message, '\n'));
                CHECK(f.v[0].message[strlen(f.v[0].message) - 1] != ' ');
                if (!strstr(f.v[0].message, part))
                        FAIL("\"%s\" lacks \"%s\"", f.v[0].message, part);
                findings_done(&f);
        }
        check_free(c);
}

static const char *program(const char *name, const char *text)
{
        static char path[256];
        struct nb_err err;

        snprintf(path, sizeof(path), "%s/%s", nbtest_tmpdir(), name);
        CHECK_OK(nb_write_file(AT_FDCWD, path, text, strlen(text), 0755, false, &err), &err);
        return path;
}

TEST(trouble_of_the_process_is_a_warning)
{
        expect_unchecked("/nonexistent/python", 60000000, "/nonexistent/python");
        expect_unchecked(program("silent", "#!/bin/sh\nexit 0\n"), 60000000, "ended");
        expect_unchecked(program("words", "#!/bin/sh\necho no such luck >&2\nexit 1\n"), 60000000,
                         "no such luck");
        expect_unchecked(program("garbage", "#!/bin/sh\nread x\necho garbage\ncat >&2\n"), 60000000,
                         "not checked: ");
        expect_unchecked(program("liar", "#!/bin/sh\nread x\necho '[{\"cell\":7}]'\ncat >&2\n"),
                         60000000, "makes no sense");
        expect_unchecked(program("slow", "#!/bin/sh\nexec sleep 600\n"), 200000,
                         "syntax not checked: took longer than 0.2 s");
}

TEST(a_kernel_may_take_a_while_to_start)
{
        struct check *c;
        struct nb_err err = {0};

        CHECK_OK(check_new(&(struct check_opts){.python = program("kernel", "#!/bin/sh\n"
                                                                            "read x\nsleep 3\n"
                                                                            "echo '[]'\ncat >&2\n"),
                                                .sandbox = SANDBOX_NONE,
                                                .kernel_check = true,
                                                .timeout_us = 2000000},
                           &c, &err),
                 &err);
        gate_expect(c, NOTEBOOK(CODE("f(x)"), "\"kernelspec\":{\"name\":\"ir\"}"), &job, "");
        check_free(c);
}

TEST(slow_notebooks_do_not_hold_up_all_that_wait)
{
        struct check *c;
        struct nb_err err = {0};
        struct findings f;

        CHECK_OK(check_new(&(struct check_opts){.python = program("stuck", "#!/bin/sh\n"
                                                                           "exec sleep 600\n"),
                                                .sandbox = SANDBOX_NONE,
                                                .timeout_us = 200000,
                                                .budget_us = 300000},
                           &c, &err),
                 &err);
        for (int i = 0; i < 3; i++) {
                gate_check(c, NOTEBOOK(CODE("("), ""), &job, &f);
                CHECK_INT(f.n, 1);
                CHECK(f.v[0].severity == FINDING_WARNING);
                CHECK(strstr(f.v[0].message, i < 2 ? "took longer than 0.2 s" : "took too long"));
                findings_done(&f);
        }
        check_free(c);
}

TEST(a_cell_that_takes_all_memory_does_no_harm)
{
        struct check *c = make("/usr/bin/python3", 120000000);
        struct nb_err err = {0};
        const size_t n = 40 << 20;
        nb_auto_buf text = NB_BUF(64 << 20);
        struct findings f = {.max = 10};

        (void)nb_buf_puts(&text, "{\"cells\":[{\"cell_type\":\"code\",\"execution_count\":null,"
                                 "\"metadata\":{},\"outputs\":[],\"source\":\"[");
        CHECK_OK(nb_buf_reserve(&text, n), &err);
        for (size_t i = 0; i < n; i += 2) {
                text.data[text.len++] = '1';
                text.data[text.len++] = ',';
        }
        (void)nb_buf_puts(&text, "]\"}],\"metadata\":{},\"nbformat\":4,\"nbformat_minor\":4}");
        CHECK_OK(check_notebook(c, "t", nb_buf_str(&text), text.len, &job, &f, &err), &err);
        CHECK_INT(f.n, 1);
        CHECK(f.v[0].severity == FINDING_WARNING);
        CHECK(strstr(f.v[0].message, "not checked"));
        findings_done(&f);
        gate_expect(c, NOTEBOOK(CODE("("), ""), &job, "E syntax@1:1:1");
        check_free(c);
}

GATE_MAIN()
