/* SPDX-License-Identifier: Apache-2.0 */
#include "nbtest.h"

#include <nbcid/buf.h>
#include <nbcid/config.h>
#include <nbcid/num.h>

#define S NB_US_PER_S

static int parse(const char *text, struct repo_config *ret, struct nb_err *err)
{
        return repo_config_parse(text, strlen(text), ret, err);
}

TEST(an_empty_file_wants_all)
{
        NB_CLEANUP(repo_config_done) struct repo_config c = {0};
        struct nb_err err;

        CHECK_OK(repo_config_parse(NULL, 0, &c, &err), &err);
        CHECK(repo_config_wants(&c, "a/b.ipynb"));
        CHECK(repo_config_wants(NULL, "a/b.ipynb"));
        CHECK(!c.executor && !c.timeout_us && !c.cell_timeout_us && !c.n_jobs);
}

TEST(all_of_it)
{
        NB_CLEANUP(repo_config_done) struct repo_config c = {0};
        struct nb_err err;
        static const char text[] = "\xef\xbb\xbf# with a byte order mark\r\n"
                                   "[notebooks]\r\ninclude = [\"**/*.ipynb\"]\n"
                                   "exclude = [\"scratch/**\", \"old.ipynb\"]\n"
                                   "[defaults]\nexecutor = \"local\"\ntimeout = \"1h\"\n"
                                   "cell_timeout = \"10m\"\n"
                                   "[[job]]\nnotebook = \"train/*.ipynb\"\ntimeout = \"90m\"\n"
                                   "[[job]]\nnotebook = \"train/big.ipynb\"\n"
                                   "cell_timeout = \"20m\"\n";

        CHECK_OK(parse(text, &c, &err), &err);
        CHECK_INT(c.include.n, 1);
        CHECK_INT(c.exclude.n, 2);
        CHECK_STR(c.exclude.v[1], "old.ipynb");
        CHECK_STR(c.executor, "local");
        CHECK_INT(c.timeout_us, 3600 * S);
        CHECK_INT(c.cell_timeout_us, 600 * S);
        CHECK_INT(c.n_jobs, 2);
        CHECK_STR(c.jobs[1].notebook, "train/big.ipynb");
        CHECK_INT(c.jobs[1].timeout_us, 0);
        CHECK_INT(c.jobs[1].cell_timeout_us, 1200 * S);
}

TEST(levels_of_checks)
{
        NB_CLEANUP(repo_config_done) struct repo_config none = {0}, some = {0};
        struct nb_err err;

        CHECK_OK(parse("", &none, &err), &err);
        CHECK(memcmp(&none.check, &repo_check_default, sizeof(none.check)) == 0);
        CHECK_OK(parse("[check]\nsyntax = \"off\"\nsecrets = \"error\"\nsize = \"warn\"\n"
                       "max_size = \"1MiB\"\n",
                       &some, &err),
                 &err);
        CHECK(some.check.syntax == CHECK_OFF && some.check.secrets == CHECK_ERROR);
        CHECK(some.check.size == CHECK_WARN && some.check.max_size == 1 << 20);
        CHECK(some.check.format == CHECK_ERROR);
}

TEST(paths_are_chosen_by_globs)
{
        static const struct {
                const char *path;
                bool wanted;
        } cases[] = {
                {"a.ipynb", true},
                {"x/y/z.ipynb", true},
                {"a.py", false},
                {"scratch/a.ipynb", false},
                {"scratch/deep/a.ipynb", false},
                {"x/scratch/a.ipynb", true},
                {"old.ipynb", false},
                {"x/old.ipynb", true},
                {".ipynb_checkpoints/a.ipynb", false},
                {"x/.ipynb_checkpoints/a.ipynb", false},
                {"x/.ipynb_checkpoints/y/a.ipynb", false},
                {"x.ipynb_checkpoints/a.ipynb", true},
                {".ipynb_checkpoints2/a.ipynb", true},
                {".ipynb_checkpoints2/.ipynb_checkpoints/a.ipynb", false},
                {"x/.ipynb_checkpoints.ipynb", true},
        };
        NB_CLEANUP(repo_config_done) struct repo_config c = {0}, all = {0};
        struct nb_err err;

        CHECK_OK(parse("[notebooks]\ninclude = [\"**/*.ipynb\"]\nexclude = [\"scratch/**\",\n"
                       "  \"old.ipynb\"]\n",
                       &c, &err),
                 &err);
        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++)
                if (repo_config_wants(&c, cases[i].path) != cases[i].wanted)
                        FAIL("%s", cases[i].path);
        CHECK_OK(parse("[notebooks]\ninclude = [\"**\"]\nexclude = []\n", &all, &err), &err);
        CHECK(repo_config_wants(&all, "scratch/a.ipynb"));
        CHECK(!repo_config_wants(&all, "x/.ipynb_checkpoints/a.ipynb"));
        CHECK(!repo_config_wants(NULL, "x/.ipynb_checkpoints/a.ipynb"));
}

TEST(limits_are_the_last_that_is_said_and_never_above_the_operators)
{
        static const struct {
                const char *path;
                uint64_t timeout_s, cell_timeout_s;
        } cases[] = {
                {"a.ipynb", 3600, 600},
                {"train/a.ipynb", 5400, 600},
                {"train/big.ipynb", 5400, 1200},
                {"huge.ipynb", 7200, 1800},
        };
        const struct config op = {.timeout_us = 7200 * S, .cell_timeout_us = 1800 * S};
        NB_CLEANUP(repo_config_done) struct repo_config c = {0};
        struct nb_err err;
        uint64_t timeout, cell_timeout;
        static const char text[] = "[defaults]\ntimeout = \"1h\"\ncell_timeout = \"10m\"\n"
                                   "[[job]]\nnotebook = \"**/*.ipynb\"\ntimeout = \"1h\"\n"
                                   "[[job]]\nnotebook = \"train/*\"\ntimeout = \"90m\"\n"
                                   "[[job]]\nnotebook = \"**/big.*\"\ncell_timeout = \"20m\"\n"
                                   "[[job]]\nnotebook = \"huge.ipynb\"\ntimeout = \"3h\"\n"
                                   "cell_timeout = \"30d\"\n";

        CHECK_OK(parse(text, &c, &err), &err);
        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                repo_config_limits(&c, &op, cases[i].path, &timeout, &cell_timeout);
                CHECK_INT(timeout, cases[i].timeout_s * S);
                CHECK_INT(cell_timeout, cases[i].cell_timeout_s * S);
        }
        repo_config_limits(NULL, &op, "a.ipynb", &timeout, &cell_timeout);
        CHECK_INT(timeout, 7200 * S);
        CHECK_INT(cell_timeout, 1800 * S);
}

TEST(mistakes_are_named_with_their_place)
{
        static const struct {
                const char *text, *said;
        } cases[] = {
                {"[notebooks", ".nbcid.toml:1:"},
                {"[notebook]\n", ".nbcid.toml:1: table 'notebook' is not known; did you mean "
                                 "'notebooks'?"},
                {"[[jobs]]\n", "did you mean 'job'?"},
                {"[server]\n", "table 'server' is not known"},
                {"[notebooks]\nincludes = []\n", ".nbcid.toml:2: key 'includes' in [notebooks]: is "
                                                 "not known; did you mean 'include'?"},
                {"[notebooks]\ninclude = []\n", "is an empty array"},
                {"[notebooks]\ninclude = \"a\"\n", "expected an array of strings"},
                {"[notebooks]\nexclude = [\"a\", 1]\n", "found a whole number in the array"},
                {"[notebooks]\nexclude = [\"a[\"]\n", "is not a glob"},
                {"[notebooks]\nexclude = [\"\"]\n", "is empty"},
                {"[notebooks]\nexclude = [\"a\\u001b\"]\n", "control character"},
                {"[defaults]\nexecutor = \"../x\"\n", "is not a name"},
                {"[defaults]\ntimeout = \"0s\"\n", "0s is out of range; write 1s to 30d"},
                {"[defaults]\ntimeout = 3600\n", "expected a duration in quotes"},
                {"\n[[job]]\ntimeout = \"1h\"\n",
                 ".nbcid.toml:2: [[job]] has no key 'notebook'; add notebook = a string"},
                {"[job]\nnotebook = \"a\"\n", "write [[job]]"},
                {"[[job]]\nnotebook = \"a\"\nmachine = { type = \"t\" }\n",
                 ".nbcid.toml:3: key 'machine' in [[job]]: is not supported by this version"},
                {"[[job]]\nnotebook = \"a\"\nparameters = 2\n",
                 ".nbcid.toml:3: key 'parameters' in [[job]]: expected a table, as in { epochs = 2 "
                 "}, found a whole number"},
                {"[[job]]\nnotebook = \"a\"\n[job.parameters]\na = 1\n\"b c\" = 2\n",
                 ".nbcid.toml:5: key 'parameters' in [[job]]: has a name that is no identifier"},
                {"[[job]]\nnotebook = \"a\"\nparameters = { 1a = 1 }\n", "no identifier"},
                {"[[job]]\nnotebook = \"a\"\nparameters = { \"\" = 1 }\n", "no identifier"},
                {"[[job]]\nnotebook = \"a\"\n[job.parameters]\na = [\n1,\n2026-01-02]\n",
                 ".nbcid.toml:6: key 'parameters' in [[job]]: has a date or a time; put it in"},
                {"[[job]]\nnotebook = \"a\"\nparameters = { a = -inf }\n", "(inf, nan)"},
                {"[[job]]\nnotebook = \"a\"\nparameters = { a = [[[[[[[[1]]]]]]]] }\n",
                 "is nested over 8 deep"},
                {"[[pipeline]]\nname = \"x\"\n[[pipeline.step]]\n",
                 ".nbcid.toml:1: table 'pipeline' is not supported by this version of nbcid"},
                {"[check]\nsyntax = true\n", "key 'syntax' in [check]"},
                {"[check]\nsyntax = \"warning\"\n", "warn"},
                {"[check]\nmax_size = \"1B\"\n", "max_size"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                struct repo_config c = {0};
                struct nb_err err = {0};

                CHECK_ERR(parse(cases[i].text, &c, &err), &err, NB_E_INVALID, cases[i].said);
                CHECK(!strncmp(err.msg, ".nbcid.toml:", 12));
                CHECK(!c.include.v && !c.jobs);
        }
}

static void check_parameters(const char *text, const char *path, const char *wanted)
{
        NB_CLEANUP(repo_config_done) struct repo_config c = {0};
        nb_auto_free char *is = NULL;
        struct nb_err err = {0};

        CHECK_OK(parse(text, &c, &err), &err);
        CHECK_OK(repo_config_parameters(&c, path, &is, &err), &err);
        CHECK_STR(is, wanted);
}

TEST(parameters)
{
        static const char two[] = "[[job]]\nnotebook = \"a*\"\nparameters = { z = 1, b = 2 }\n"
                                  "[[job]]\nnotebook = \"ab\"\nparameters = { c = 3, z = \"q\" }\n"
                                  "[[job]]\nnotebook = \"a\"\ntimeout = \"1s\"\n";
        char *is = NULL;

        check_parameters(two, "a", "{\"z\":1,\"b\":2}");
        check_parameters(two, "ab", "{\"z\":\"q\",\"b\":2,\"c\":3}");
        check_parameters(two, "x", NULL);
        check_parameters("[[job]]\nnotebook = \"a\"\nparameters = {}\n", "a", "{}");
        check_parameters("[[job]]\nnotebook = \"a\"\n[job.parameters]\n"
                         "s = \"\\\"$(x)\\n\u00e9\"\ni = -9223372036854775808\nf = 2.0\n"
                         "g = 1e300\nt = true\nl = [0.1, [], {}]\nd.e.f = 1e2\n",
                         "a",
                         "{\"s\":\"\\\"$(x)\\n\u00e9\",\"i\":-9223372036854775808,\"f\":2.0,"
                         "\"g\":1e+300,\"t\":true,\"l\":[0.1,[],{}],\"d\":{\"e\":{\"f\":100.0}}}");
        CHECK_OK(repo_config_parameters(NULL, "a", &is, NULL), &(struct nb_err){0});
        CHECK(!is);
}

TEST(what_a_stranger_writes_is_bounded)
{
        nb_auto_buf b = NB_BUF(1 << 20);
        struct repo_config c = {0};
        struct nb_err err;

        while (b.len <= 256 << 10)
                nb_buf_puts(&b, "# a comment of no interest at all\n");
        CHECK_ERR(parse(nb_buf_str(&b), &c, &err), &err, NB_E_LIMIT, ".nbcid.toml");

        nb_buf_clear(&b);
        nb_buf_puts(&b, "[[job]]\nnotebook = \"a\"\nparameters = { a = \"");
        while (b.len <= (64 << 10) + 100)
                nb_buf_puts(&b, "0123456789abcdef");
        nb_buf_puts(&b, "\" }\n");
        CHECK_ERR(parse(nb_buf_str(&b), &c, &err), &err, NB_E_INVALID, "is over 65536 bytes");

        nb_buf_clear(&b);
        for (int i = 0; i < 201; i++)
                nb_buf_puts(&b, "[[job]]\nnotebook = \"a\"\n");
        CHECK_ERR(parse(nb_buf_str(&b), &c, &err), &err, NB_E_INVALID, "201 tables [[job]]");

        nb_buf_clear(&b);
        nb_buf_puts(&b, "[notebooks]\ninclude = [\n");
        for (int i = 0; i < 201; i++)
                nb_buf_puts(&b, "\"a\",\n");
        nb_buf_puts(&b, "]\n");
        CHECK_ERR(parse(nb_buf_str(&b), &c, &err), &err, NB_E_INVALID, "has 201 elements");

        nb_buf_clear(&b);
        nb_buf_puts(&b, "[notebooks]\ninclude = [\"");
        for (int i = 0; i < 5000; i++)
                nb_buf_puts(&b, "a");
        nb_buf_puts(&b, "\"]\n");
        CHECK_ERR(parse(nb_buf_str(&b), &c, &err), &err, NB_E_INVALID, "is over 4096 bytes");

        nb_buf_clear(&b);
        nb_buf_puts(&b, "[notebooks]\ninclude = [\"");
        for (int i = 0; i < 513; i++)
                nb_buf_puts(&b, "*");
        nb_buf_puts(&b, "\"]\n");
        CHECK_ERR(parse(nb_buf_str(&b), &c, &err), &err, NB_E_INVALID, "over 512 bytes");

        nb_buf_clear(&b);
        nb_buf_puts(&b, "[notebooks]\n");
        for (int i = 0; i < 5000; i++)
                nb_buf_puts(&b, "k");
        nb_buf_puts(&b, " = 1\n");
        CHECK_ERR(parse(nb_buf_str(&b), &c, &err), &err, NB_E_INVALID, "is not known; remove it");
}

TEST(environments_are_said_for_all_or_for_some)
{
        NB_CLEANUP(repo_config_done) struct repo_config c = {0};
        struct repo_wish w;
        struct nb_err err;
        static const char text[] =
                "[defaults]\nkernel = \"python3\"\nrequirements = [\"numpy\", \"pandas>=2\"]\n"
                "[[job]]\nnotebook = \"train/**\"\nrequirements_file = \"train/r.txt\"\n"
                "python = \"3.11\"\n"
                "[[job]]\nnotebook = \"train/gpu.ipynb\"\nimage = \"h.example/a/b:1@sha256:ab\"\n"
                "kernel = \"conda-env.x-py\"\n"
                "[[job]]\nnotebook = \"plain.ipynb\"\nenvironment = \"default\"\n"
                "[[job]]\nnotebook = \"auto.ipynb\"\nenvironment = \"auto\"\n";

        CHECK_OK(parse(text, &c, &err), &err);
        repo_config_environment(&c, "x.ipynb", &w);
        CHECK_INT(w.requirements->n, 2);
        CHECK_STR(w.requirements->v[1], "pandas>=2");
        CHECK_STR(w.kernel, "python3");
        CHECK(!w.image && !w.python && !w.requirements_file && !w.executors_default);
        repo_config_environment(&c, "train/a.ipynb", &w);
        CHECK(!w.requirements && !w.image);
        CHECK_STR(w.requirements_file, "train/r.txt");
        CHECK_STR(w.python, "3.11");
        CHECK_STR(w.kernel, "python3");
        repo_config_environment(&c, "train/gpu.ipynb", &w);
        CHECK(!w.requirements && !w.requirements_file);
        CHECK_STR(w.image, "h.example/a/b:1@sha256:ab");
        CHECK_STR(w.kernel, "conda-env.x-py");
        CHECK_STR(w.python, "3.11");
        repo_config_environment(&c, "plain.ipynb", &w);
        CHECK(w.executors_default && !w.requirements);
        repo_config_environment(&c, "auto.ipynb", &w);
        CHECK(!w.executors_default && !w.requirements);
        repo_config_environment(NULL, "x.ipynb", &w);
        CHECK(!w.kernel && !w.requirements && !w.executors_default);
}

TEST(environments_cannot_hold_shell_text)
{
        static const char *const rows[][2] = {
                {"image = \"a b\"", "is not a container image"},
                {"image = \"-v/:/x\"", "is not a container image"},
                {"image = \"$(x)\"", "is not a container image"},
                {"kernel = \"../k\"", "is not the name of a kernel"},
                {"kernel = \"--x\"", "is not the name of a kernel"},
                {"python = \"python3\"", "is not a version of Python"},
                {"python = \"3\"", "is not a version of Python"},
                {"python = 3.11", "expected a string, found a broken number"},
                {"requirements = \"r.txt\"", "expected an array of strings"},
                {"requirements = []", "is an empty array"},
                {"requirements_file = [\"a\"]", "expected a string"},
                {"requirements_file = \"\"", "is empty"},
                {"environment = \"none\"", "write one of \"auto\", \"default\""},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(rows); i++) {
                NB_CLEANUP(repo_config_done) struct repo_config c = {0};
                char text[256];
                struct nb_err err;

                snprintf(text, sizeof(text), "[defaults]\n%s", rows[i][0]);
                CHECK_ERR(parse(text, &c, &err), &err, NB_E_INVALID, rows[i][1]);
                snprintf(text, sizeof(text), "[[job]]\nnotebook = \"a\"\n%s", rows[i][0]);
                CHECK_ERR(parse(text, &c, &err), &err, NB_E_INVALID, ".nbcid.toml:3: key '");
        }
}

TEST(other_tools_toml_becomes_json)
{
        nb_auto_buf b = NB_BUF(4096), small = NB_BUF(16);
        struct nb_err err;
        static const char text[] = "a = \"x\\ty\"\nb = [1, true, 1.5, 2020-01-01]\n[c.d]\ne = {}\n"
                                   "[[f]]\ng = -1\n";

        CHECK_OK(config_toml_json("Pipfile", text, strlen(text), &b, &err), &err);
        CHECK_STR(nb_buf_str(&b), "{\"a\":\"x\\ty\",\"b\":[1,true,null,null],"
                                  "\"c\":{\"d\":{\"e\":{}}},\"f\":[{\"g\":-1}]}");
        CHECK_ERR(config_toml_json("Pipfile", text, strlen(text), &small, &err), &err, NB_E_LIMIT,
                  "Pipfile: is over 16 bytes");
        nb_buf_clear(&b);
        CHECK_ERR(config_toml_json("Pipfile", "a", 1, &b, &err), &err, NB_E_INVALID, "Pipfile:1:");
}

NBTEST_MAIN()
