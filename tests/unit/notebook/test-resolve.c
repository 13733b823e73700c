/* SPDX-License-Identifier: Apache-2.0 */
/* Which environment a notebook gets, from whatever says so. */
#include <nbcid/notebook_environment.h>
#include <nbcid/str.h>

#include "nbtest.h"

#define NB(metadata) \
        "{\"cells\":[],\"metadata\":{" metadata "},\"nbformat\":4,\"nbformat_minor\":4}"
#define PY "\"kernelspec\":{\"name\":\"python3\",\"language\":\"python\"}"
#define R_ "\"kernelspec\":{\"name\":\"ir\",\"language\":\"R\"}"
#define KERNEL ", kernel from metadata.kernelspec"

/* A commit: path, content, ...; content NULL: a symbolic link. */
static int read_file(void *arg, const char *path, struct nb_buf *ret, struct nb_err *err)
{
        for (const char *const *f = arg; *f; f += 2) {
                if (!nb_streq(f[0], path))
                        continue;
                if (!f[1])
                        return nb_fail(err, NB_E_INVALID, "%s is a symbolic link", path);
                return nb_buf_puts(ret, f[1]) < 0 ? nb_fail(err, NB_E_NOMEM, "out") : 1;
        }
        return 0;
}

static bool has_file(void *arg, const char *path)
{
        for (const char *const *f = arg; *f; f += 2)
                if (nb_streq(f[0], path))
                        return true;
        return false;
}

static const char *const no_files[] = {NULL};

struct answer {
        struct nb_environment e;
        char error[512]; /* "" when there is none */
};
static struct answer last;

static bool commit_has(const char *const *commit, const char *prefix)
{
        for (; *commit; commit += 2)
                if (nb_starts_with(*commit, prefix))
                        return true;
        return false;
}

/* The environment of the notebook a/b/x.ipynb. */
static const struct nb_environment *resolve(const char *notebook, const char *toml,
                                            const char *const *commit, unsigned allow)
{
        NB_CLEANUP(notebook_head_done) struct notebook_head head = {0};
        NB_CLEANUP(repo_config_done) struct repo_config repo = {0};
        const struct notebook_files files = {.read = read_file,
                                             .has = has_file,
                                             .binder = commit_has(commit, "binder/"),
                                             .dot_binder = commit_has(commit, ".binder/"),
                                             .arg = (void *)(uintptr_t)commit};
        struct repo_wish wish;
        struct nb_err err = {0};

        nb_environment_done(&last.e);
        last.error[0] = '\0';
        CHECK_OK(repo_config_parse(toml, strlen(toml), &repo, &err), &err);
        CHECK_OK(
                notebook_read_head("a/b/x.ipynb", notebook, strlen(notebook), 1 << 20, &head, &err),
                &err);
        repo_config_environment(&repo, "a/b/x.ipynb", &wish);
        if (environment_resolve(&(struct environment_question){.notebook = "a/b/x.ipynb",
                                                               .head = &head,
                                                               .wish = &wish,
                                                               .allow = allow,
                                                               .files = &files},
                                &last.e, &err) < 0) {
                CHECK(err.code == NB_E_INVALID || err.code == NB_E_LIMIT);
                snprintf(last.error, sizeof(last.error), "%s", err.msg);
        }
        return &last.e;
}

static void check_why(const char *why)
{
        CHECK_STR(last.error, "");
        CHECK_STR(last.e.why, why);
}

static void check_error(const char *part)
{
        if (!strstr(last.error, part))
                FAIL("\"%s\" without \"%s\"", last.error, part);
}

TEST(nothing_said_is_the_executors_default)
{
        const struct nb_environment *e = resolve(NB(PY), "", no_files, 0);

        check_why("the executor's default" KERNEL);
        CHECK_STR(e->kernel, "python3");
        CHECK_STR(e->language, "python");
        CHECK_STR(e->requirements, NULL);
        CHECK_STR(e->image, NULL);
        (void)resolve(NB(""), "", no_files, 0);
        check_why("the executor's default");
        e = resolve(NB(PY ",\"requirements\":{\"pandas\":\"*\"},\"environment\":\"x\""), "",
                    no_files, 0);
        check_why("the executor's default" KERNEL
                  ", metadata.requirements is no list of pip requirements and is not read");
        CHECK_STR(e->requirements, NULL);
}

TEST(the_repositorys_file_decides_first)
{
        static const char *const commit[] = {"requirements.txt",
                                             "flask",
                                             "reqs/train.txt",
                                             "-r more.txt\ntorch",
                                             "reqs/more.txt",
                                             "numpy",
                                             NULL};
        static const char nb[] = NB(PY ",\"requirements\":[\"pandas\"],\"environment\":{"
                                       "\"kernel\":\"conda-py\",\"uri\":\"gcr.io/a/b:1\"}");
        const struct nb_environment *e = resolve(
                nb, "[defaults]\nrequirements = [\"scipy >= 1 # x\", \"torch\"]", commit, 0);

        check_why("requirements from .nbcid.toml, kernel from metadata.environment");
        CHECK_STR(e->requirements, "scipy>=1\ntorch\n");
        CHECK_STR(e->image, NULL);
        CHECK_STR(e->kernel, "conda-py");

        e = resolve(nb,
                    "[[job]]\nnotebook = \"a/**\"\nrequirements_file = \"reqs/train.txt\"\n"
                    "python = \"3.12\"\nkernel = \"k\"",
                    commit, 0);
        check_why("requirements from reqs/train.txt, which .nbcid.toml names, Python 3.12 from "
                  ".nbcid.toml, kernel from .nbcid.toml");
        CHECK_STR(e->requirements, "numpy\ntorch\n");
        CHECK_STR(e->python, "3.12");
        CHECK_STR(e->kernel, "k");

        e = resolve(nb, "[defaults]\nimage = \"h/i:1\"", commit, 0);
        check_why("image from .nbcid.toml, kernel from metadata.environment");
        CHECK_STR(e->image, "h/i:1");
        CHECK_STR(e->requirements, NULL);

        e = resolve(nb, "[defaults]\nenvironment = \"default\"", commit, 0);
        check_why("the executor's default, as .nbcid.toml says, kernel from metadata.environment");
        CHECK_STR(e->image, NULL);
        CHECK_STR(e->requirements, NULL);
        CHECK_STR(e->kernel, "conda-py");

        /* a kernel or a python alone leave the rest to the notebook */
        (void)resolve(nb, "[defaults]\nkernel = \"k\"", commit, 0);
        check_why("image from the notebook's metadata.environment, requirements from the "
                  "notebook's metadata.requirements, kernel from .nbcid.toml");
}

TEST(later_jobs_replace_what_earlier_ones_say)
{
        static const char toml[] = "[defaults]\nimage = \"h/i:1\"\n"
                                   "[[job]]\nnotebook = \"**\"\nrequirements = [\"a\"]\n"
                                   "[[job]]\nnotebook = \"other/**\"\nenvironment = \"default\"\n"
                                   "[[job]]\nnotebook = \"a/b/*\"\npython = \"3.9\"\n";
        const struct nb_environment *e = resolve(NB(PY), toml, no_files, 0);

        CHECK_STR(e->image, NULL);
        CHECK_STR(e->requirements, "a\n");
        CHECK_STR(e->python, "3.9");
        (void)resolve(NB(PY ",\"requirements\":[\"b\"]"),
                      "[defaults]\nimage = \"h/i:1\"\n[[job]]\nnotebook = \"**\"\n"
                      "environment = \"auto\"",
                      no_files, 0);
        check_why("requirements from the notebook's metadata.requirements" KERNEL);
}

TEST(wrong_wishes_are_told)
{
        static const char *const commit[] = {"l.txt", NULL, "r.txt", "-e .", NULL, NULL};
        static const char *const rows[][2] = {
                {"requirements_file = \"../x\"", "is outside the repository"},
                {"requirements_file = \"/etc/passwd\"", "is outside the repository"},
                {"requirements_file = \"x.txt\"", "x.txt, which the commit does not have"},
                {"requirements_file = \"l.txt\"", "l.txt is a symbolic link"},
                {"requirements_file = \"r.txt\"", "r.txt:1: \"-e .\" is refused"},
                {"requirements = [\"-i https://a.example\"]",
                 ".nbcid.toml requirements:1: \"-i https://a.example\" is refused"},
                {"requirements = [\"a\"]\nrequirements_file = \"x\"", "keep one"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(rows); i++) {
                nb_auto_free char *toml = nb_asprintf("[defaults]\n%s", rows[i][0]);
                (void)resolve(NB(PY), toml, commit, 0);
                check_error(rows[i][1]);
        }
}

TEST(the_notebooks_metadata_decides_next)
{
        static const char *const commit[] = {"requirements.txt", "flask", NULL};
        const struct nb_environment *e =
                resolve(NB(PY ",\"environment\":{\"name\":\"tf\",\"uri\":\"gcr.io/a/b:1\"}"), "",
                        commit, 0);

        check_why("image from the notebook's metadata.environment" KERNEL);
        CHECK_STR(e->image, "gcr.io/a/b:1");
        CHECK_STR(e->name, "tf");
        CHECK_STR(e->requirements, NULL);
        e = resolve(NB(PY ",\"requirements\":[\"pandas >= 2\",\"numpy\"]"), "", commit, 0);
        check_why("requirements from the notebook's metadata.requirements" KERNEL);
        CHECK_STR(e->requirements, "pandas>=2\nnumpy\n");
        (void)resolve(NB(PY ",\"requirements\":[\"ok\",\"-e ../x\"]"), "", commit, 0);
        check_error("a/b/x.ipynb metadata.requirements:2: \"-e ../x\" is refused");
        /* an empty list says nothing */
        e = resolve(NB(PY ",\"requirements\":[]"), "", commit, 0);
        CHECK_STR(e->requirements, "flask\n");
}

#define PIPFILE(packages) "\"requirements\":\"{\\\"packages\\\":{" packages "}}\""

TEST(thoths_pipfile_and_lock_are_read)
{
        const struct nb_environment *e =
                resolve(NB(PY "," PIPFILE("\\\"pandas\\\":\\\"*\\\",\\\"numpy\\\":\\\">=1\\\"")),
                        "", no_files, 0);

        check_why("requirements from the notebook's metadata.requirements" KERNEL);
        CHECK_STR(e->requirements, "pandas\nnumpy>=1\n");
        e = resolve(NB(PY "," PIPFILE(
                            "\\\"pandas\\\":\\\"*\\\"") ",\"requirements_lock\":\"{"
                                                        "\\\"_meta\\\":{\\\"requires\\\":{"
                                                        "\\\"python_version\\\":\\\"3.8\\\"}},"
                                                        "\\\"default\\\":{\\\"pandas\\\":{"
                                                        "\\\"hashes\\\":[\\\"sha256:ab\\\","
                                                        "\\\"sha256:cd\\\"],"
                                                        "\\\"version\\\":\\\"==1.2.3\\\"}}}\""),
                    "", no_files, 0);
        check_why("locked requirements from the notebook's metadata.requirements_lock" KERNEL);
        CHECK_STR(e->requirements, "pandas==1.2.3 --hash=sha256:ab --hash=sha256:cd\n");
        CHECK_STR(e->python, "3.8");
        (void)resolve(NB(PY ",\"requirements\":\"pandas\""), "", no_files, 0);
        check_error("a/b/x.ipynb metadata.requirements: line 1");
        (void)resolve(NB(PY ",\"requirements\":\"[]\""), "", no_files, 0);
        check_error("is no JSON object");
        (void)resolve(NB(PY "," PIPFILE("\\\"-r x\\\":\\\"*\\\"")), "", no_files, 0);
        check_error("\"-r x\" is not the name of a package");
        (void)resolve(NB(PY "," PIPFILE("\\\"a\\\":{\\\"git\\\":\\\"https://h/a\\\"}")), "",
                      no_files, 0);
        check_error("\"a @ git+https://h/a\" is refused");
}

TEST(the_nearest_file_decides_after_that)
{
        static const char *const near[] = {"requirements.txt",
                                           "far",
                                           "a/requirements.txt",
                                           "near",
                                           "a/b/c/requirements.txt",
                                           "below",
                                           NULL};
        static const char *const far[] = {"requirements.txt", "", "c/requirements.txt", "x", NULL};
        const struct nb_environment *e = resolve(NB(PY), "", near, 0);

        check_why("requirements from a/requirements.txt (nearest to the notebook)" KERNEL);
        CHECK_STR(e->requirements, "near\n");
        e = resolve(NB(PY), "", far, 0);
        CHECK_STR(e->requirements, ""); /* none at all, which is not the default */
}

TEST(one_directory_has_repo2dockers_order)
{
        static const char *const all[] = {"a/b/environment.yml",
                                          "name: x\ndependencies:\n  - numpy\n",
                                          "a/b/environment.yaml",
                                          "dependencies: [a]\n",
                                          "a/b/Pipfile.lock",
                                          "{\"default\":{\"locked\":{\"version\":\"==1\"}}}",
                                          "a/b/Pipfile",
                                          "[packages]\npip = \"*\"\n",
                                          "a/b/requirements.txt",
                                          "req",
                                          "a/b/pyproject.toml",
                                          "[project]\ndependencies = [\"proj\"]\n",
                                          NULL};
        static const char *const answers[] = {NULL,    NULL,    "locked==1\n",
                                              "pip\n", "req\n", "proj\n"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(answers); i++) {
                const struct nb_environment *e = resolve(NB(PY), "", all + 2 * i, 0);
                CHECK_STR(last.error, "");
                CHECK_STR(e->requirements, answers[i]);
                CHECK_STR(e->conda, answers[i] ? NULL : all[2 * i + 1]);
        }
        (void)resolve(NB(PY), "", all, 0);
        check_why("conda environment from a/b/environment.yml (nearest to the notebook)" KERNEL);
        (void)resolve(NB(PY), "", all + 4, 0);
        check_why("locked requirements from a/b/Pipfile.lock (nearest to the notebook)" KERNEL);
}

TEST(binder_stands_in_the_place_of_the_root)
{
        static const char *const binder[] = {"requirements.txt", "root", "binder/requirements.txt",
                                             "bound", NULL};
        static const char *const dot[] = {"requirements.txt", "root", ".binder/postBuild", "x",
                                          NULL};
        static const char *const both[] = {".binder/requirements.txt", "x",
                                           "binder/requirements.txt", "bound", NULL};
        const struct nb_environment *e = resolve(NB(PY), "", binder, 0);

        check_why("requirements from binder/requirements.txt (nearest to the notebook)" KERNEL);
        CHECK_STR(e->requirements, "bound\n");
        (void)resolve(NB(PY), "", dot, 0);
        check_why("the executor's default" KERNEL);
        (void)resolve(NB(PY), "", both, 0);
        check_error("both binder/ and .binder/");
}

TEST(runtime_names_a_python)
{
        static const char *const beside[] = {
                "a/requirements.txt", "x", "a/runtime.txt", "python-3.11.4\n", "runtime.txt",
                "python-3.7",         NULL};
        static const char *const above[] = {
                "a/requirements.txt", "x", "requirements.txt", "no", "runtime.txt",
                "python-3.9",         NULL};
        static const char *const alone[] = {"runtime.txt", "python-3.12", NULL};
        static const char *const wrong[] = {"runtime.txt", "python-latest", NULL};
        static const char *const other[] = {"runtime.txt", "r-2023-05-01", NULL};
        static const char *const lock[] = {
                "Pipfile.lock",
                "{\"_meta\":{\"requires\":{\"python_version\":\"3.8\"}},\"default\":{}}",
                "runtime.txt", "python-3.12", NULL};
        const struct nb_environment *e = resolve(NB(PY), "", beside, 0);

        check_why("requirements from a/requirements.txt (nearest to the notebook), Python 3.11 "
                  "from a/runtime.txt" KERNEL);
        CHECK_STR(e->python, "3.11");
        e = resolve(NB(PY), "", above, 0);
        check_why("requirements from a/requirements.txt (nearest to the notebook), Python 3.9 "
                  "from runtime.txt" KERNEL);
        e = resolve(NB(PY), "", alone, 0);
        check_why("the executor's default, Python 3.12 from runtime.txt" KERNEL);
        CHECK_STR(e->requirements, NULL);
        (void)resolve(NB(PY), "", wrong, 0);
        check_error("runtime.txt: \"python-latest\" is no version of Python");
        e = resolve(NB(PY), "", other, 0);
        check_why("the executor's default, runtime.txt names no Python and is not read" KERNEL);
        (void)resolve(NB(R_), "", other, 0);
        check_error("runtime.txt: \"r-2023-05-01\" is refused: R notebooks run");
        e = resolve(NB(PY), "", lock, 0);
        CHECK_STR(e->python, "3.8");
        e = resolve(NB(PY), "[defaults]\npython = \"3.10\"", beside, 0);
        CHECK_STR(e->python, "3.10");
        CHECK(!strstr(e->why, "3.11"));
}

TEST(other_languages_get_no_pip)
{
        static const char *const commit[] = {"requirements.txt", "-e ../../nothing", NULL};
        const struct nb_environment *e =
                resolve(NB(R_ ",\"requirements\":[\"-x\"],\"environment\":{\"uri\":\"h/r:1\"}"), "",
                        commit, 0);

        check_why("image from the notebook's metadata.environment" KERNEL);
        CHECK_STR(e->requirements, NULL);
        CHECK_STR(e->language, "R");
        (void)resolve(NB(R_), "", commit, 0);
        check_why("the executor's default" KERNEL);
        (void)resolve(NB("\"kernelspec\":{\"name\":\"julia-1.9\"}"), "", commit, 0);
        check_why("the executor's default" KERNEL);
        (void)resolve(NB("\"kernelspec\":{\"name\":\"irkernel-like\"}"), "", commit, 0);
        check_error("requirements.txt:1: \"-e ../../nothing\" is refused");
}

TEST(odd_files_are_refused)
{
        static const char *const rows[][3] = {
                {"requirements.txt", NULL, "requirements.txt is a symbolic link"},
                {"Pipfile.lock", "{", "Pipfile.lock: line 1, column 2"},
                {"Pipfile.lock", "{}", "has no \"default\" packages"},
                {"Pipfile.lock", "{\"default\":[]}", "\"default\" is no object"},
                {"Pipfile.lock", "{\"default\":{\"a\":{}}}", "\"a\" has no version"},
                {"Pipfile.lock", "{\"default\":{\"a\":{\"version\":1}}}",
                 "a version that is no string"},
                {"Pipfile.lock", "{\"default\":{\"a\":{\"version\":\"1\"}}}",
                 "without a comparison"},
                {"Pipfile.lock", "{\"default\":{\"a\":{\"version\":\"==1\",\"hashes\":[\"x\"]}}}",
                 "a hash that is none"},
                {"Pipfile.lock",
                 "{\"_meta\":{\"sources\":[{\"url\":\"https://i.example\"}]},\"default\":{}}",
                 "\"--index-url https://i.example\" is refused"},
                {"Pipfile", "[packages\n", "Pipfile:1:"},
                {"Pipfile", "[packages]\na = {path = \"a\"}", "\"./a\" is refused"},
                {"Pipfile", "[packages]\na = {path = \".\", editable = true}",
                 "\"-e .\" is refused"},
                {"Pipfile", "[packages]\na = 1.5", "a version that is no string"},
                {"pyproject.toml", "[project]\ndependencies = \"x\"", "no array of strings"},
                {"pyproject.toml", "[project]\ndependencies = [\"-r x\"]", "the name of a package"},
                {"pyproject.toml", "[project]\ndependencies = [1]", "element 1 of dependencies"},
                {"pyproject.toml", "x = ", "pyproject.toml:1:"},
                {"environment.yml", "dependencies:\n - pip:\n   - -r ../x.txt",
                 "environment.yml:3: \"-r"},
                {"environment.yml", "dependencies:\n - pip:\n   - \"-e .\"", "\"-e .\" is refused"},
                {"environment.yml", "channels:\n - https://c.example/x",
                 "\"https://c.example/x\" is refused"},
                {"environment.yml", "a: \xff", "is not UTF-8"},
                {"environment.yml", "channels: [https://c.example/x]", "is YAML of a kind"},
                {"environment.yml", "dependencies:\n - pip: [\"-e .\"]", "is YAML of a kind"},
                {"environment.yml", "dependencies:\n- {pip: [-e .]}", "is YAML of a kind"},
                {"environment.yml", "dependencies:\n- pip:\n  - \"\\x2de .\"", "has an escape"},
                {"environment.yml", "dependencies:\n- pip:\n  - >-\n    -e .", "is YAML of a"},
                {"environment.yml", "dependencies:\n- pip:\n  -\n    -e .", "without its text"},
                {"environment.yml", "dependencies:\n- pip:\n  - - -e .", "a list in a list"},
                {"environment.yml", "dependencies:\n- pip:\n  - '-e\n    .'", "not closed"},
                {"environment.yml", "dependencies:\n- pip:\n  - x\n    -e .", "is neither"},
                {"environment.yml", "x: &a -e\ndependencies:\n- *a", "is YAML of a kind"},
                {"environment.yml", "a: 1\r- https://c.example/x", "a line end that"},
                {"environment.yml", "channels:\n  https://c.example/x", "is neither"},
                {"environment.yml", "dependencies:\n- pip: [a, -e .]", "is YAML of a kind"},
                {"environment.yml", "\"dependencies\":\n- a", "is neither"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(rows); i++) {
                const char *const commit[] = {rows[i][0], rows[i][1], NULL};
                (void)resolve(NB(PY), "", commit, 0);
                check_error(rows[i][2]);
        }
}

static const char *one(const char *name, const char *text, unsigned allow)
{
        const char *const commit[] = {name, text, NULL};
        const struct nb_environment *e = resolve(NB(PY), "", commit, allow);

        CHECK_STR(last.error, "");
        return e->requirements;
}

TEST(pipfiles_say_the_same_as_requirements)
{
        static const char lock[] =
                "{\"_meta\":{\"hash\":{},\"pipfile-spec\":6,\"requires\":{},\"sources\":[{\"name\":"
                "\"pypi\",\"url\":\"https://pypi.org/simple\",\"verify_ssl\":true}]},\"default\":{"
                "\"A.b\":{\"extras\":[\"x\",\"y\"],\"hashes\":[\"sha256:01\"],\"index\":\"pypi\","
                "\"markers\":\"python_version >= '3.8'\",\"version\":\"==1.0\"},"
                "\"vcs\":{\"editable\":true,\"git\":\"https://h.example/v.git\",\"ref\":\"abc\"},"
                "\"here\":{\"path\":\".\",\"editable\":true},\"u\":{\"file\":\"https://h/u.whl\"}},"
                "\"develop\":{\"-bad\":{}}}";
        static const char pipfile[] =
                "[[source]]\nurl = \"https://i.example/simple\"\nname = \"i\"\n"
                "[[source]]\nurl = \"https://pypi.org/simple\"\n[packages]\na = \"*\"\n"
                "b = {version = \"~=1.0\", extras = [\"z\"], sys_platform = \"== 'linux'\"}\n"
                "c = {git = \"https://h.example/c\", tag = \"v1\"}\n[dev-packages]\nd = \"*\"\n"
                "[requires]\npython_version = \"3.10\"\n";

        CHECK_STR(one("Pipfile.lock", lock,
                      REQUIREMENTS_VCS | REQUIREMENTS_EDITABLE | REQUIREMENTS_FILE |
                              REQUIREMENTS_URL),
                  "a-b[x,y]==1.0 ; python_version >= \"3.8\" --hash=sha256:01\n"
                  "--editable git+https://h.example/v.git@abc#egg=vcs\n--editable .\n"
                  "u @ https://h/u.whl\n");
        CHECK_STR(one("Pipfile", pipfile, REQUIREMENTS_INDEX | REQUIREMENTS_VCS),
                  "--index-url https://i.example/simple\n"
                  "--extra-index-url https://pypi.org/simple\na\n"
                  "b[z]~=1.0 ; sys_platform == \"linux\"\nc @ git+https://h.example/c@v1\n");
        CHECK_STR(last.e.python, "3.10");
}

TEST(pyproject_names_dependencies_in_two_ways)
{
        static const char *const tools[] = {"pyproject.toml", "[tool.black]\nline-length = 100",
                                            NULL};
        static const char poetry[] =
                "[tool.poetry.dependencies]\npython = \"^3.9\"\na = \"^1.2.3\"\nb = \"^0.2.3\"\n"
                "c = \"^0.0.3\"\nd = \"~1.2.3\"\ne = \"~1\"\nf = \"*\"\ng = \"1.2.*\"\nh = "
                "\"1.2.3\"\n"
                "i = \">=1, <2\"\nj = {version = \"^0\", extras = [\"x\"], optional = false}\n"
                "k = {version = \"~=1.0\", python = \">=3.9,<3.12\", markers = \"os_name == "
                "'x'\"}\n"
                "l = {version = \"1\", optional = true}\nm = \"^1,!=1.5\"\nn = \"=1.0\"\n";
        static const char *const bad[] = {"a = \"^1 || ^2\"",
                                          "a = [{version = \"1\"}]",
                                          "a = \"^1a\"",
                                          "a = \"latest\"",
                                          "a = {version = \"1\", python = \"x\"}",
                                          "a = 1"};

        CHECK_STR(one("pyproject.toml",
                      "[project]\nname = \"x\"\nrequires-python = \"==3.11.*\"\n"
                      "dependencies = [\"numpy>=1\", \"b; os_name == 'x'\"]\n"
                      "[tool.poetry.dependencies]\nno = \"*\"\n",
                      0),
                  "numpy>=1\nb ; os_name == \"x\"\n");
        CHECK_STR(last.e.python, "3.11");
        CHECK_STR(one("pyproject.toml", poetry, 0),
                  "a>=1.2.3,<2.0.0\nb>=0.2.3,<0.3.0\nc>=0.0.3,<0.0.4\nd>=1.2.3,<1.3.0\ne>=1,<2\nf\n"
                  "g==1.2.*\nh==1.2.3\ni>=1,<2\nj[x]>=0,<1\n"
                  "k~=1.0 ; (os_name == \"x\") and python_version >= \"3.9\" and "
                  "python_version < \"3.12\"\nm>=1,<2,!=1.5\nn==1.0\n");
        CHECK_STR(last.e.python, NULL);
        (void)resolve(NB(PY), "", tools, 0);
        check_why("the executor's default" KERNEL);
        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++) {
                nb_auto_free char *text = nb_asprintf("[tool.poetry.dependencies]\n%s", bad[i]);
                const char *const commit[] = {"pyproject.toml", text, NULL};
                (void)resolve(NB(PY), "", commit, 0);
                check_error("in [tool.poetry.dependencies] has");
        }
}

TEST(conda_environments_are_kept_as_they_are)
{
        static const char text[] =
                "name: x # see https://x.example\nchannels:\n  - conda-forge\n"
                "dependencies:\n  - python=3.11\n  - conda-forge::numpy >=1 # http://x\n"
                "  - pip\n  - pip:\n    - requests>=2\n    - \"b @ https://h/b.zip\"\n";
        const char *const commit[] = {"environment.yml", text, "runtime.txt", "python-3.8", NULL};
        const struct nb_environment *e = resolve(NB(PY), "", commit, REQUIREMENTS_URL);

        CHECK_STR(last.error, "");
        CHECK_STR(e->conda, text);
        CHECK_STR(e->requirements, NULL);
        CHECK_STR(e->python, NULL);
        (void)resolve(NB(PY), "", commit, 0);
        check_error("environment.yml:10: \"b @ https://h/b.zip\" is refused");
}

TEST(constraints_stand_apart)
{
        static const char *const commit[] = {"requirements.txt", "-c c.txt\na", "c.txt", "a<2",
                                             NULL};
        const struct nb_environment *e = resolve(NB(PY), "", commit, 0);

        CHECK_STR(e->requirements, "a\n");
        CHECK_STR(e->constraints, "a<2\n");
}

TEST(the_end)
{
        nb_environment_done(&last.e);
}

NBTEST_MAIN()
