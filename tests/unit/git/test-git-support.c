/* SPDX-License-Identifier: Apache-2.0 */
/* Files beside changed notebooks that say what they need, and GIT_FILE. */
#include "gitfix.h"

static const struct git_support *support(const struct git_answer *a, const char *path)
{
        for (size_t i = 0; i < a->n_support; i++)
                if (strcmp(a->support[i].path, path) == 0)
                        return &a->support[i];
        FAIL("%s is not among the %zu files", path, a->n_support);
}

static const char *content(const struct git_answer *a, const char *extract, const char *path)
{
        return slurp(AT("%s/s%zu", extract, (size_t)(support(a, path) - a->support)));
}

/* Commits what script leaves and prepares it. */
static struct git_answer prepare(const char *name, const char *script)
{
        struct git_answer a = {0};
        struct nb_err err = {0};

        sh(name, text("git init -q .\n%s", script));
        struct git_request r =
                prepare_of(name, text("file://%s", AT("%s", name)), commit(name, "x"));
        CHECK_OK(git_call(&r, &a, &err), &err);
        return a;
}

TEST(files_on_the_way_to_the_root_are_extracted)
{
        struct git_answer a = prepare(
                "way", "mkdir -p a/b a-b other && echo '{}' >a/b/x.ipynb && echo '{}' >a.ipynb\n"
                       "for d in . a a/b a-b other; do echo $d >$d/requirements.txt; done\n"
                       "echo lock >a/Pipfile.lock; echo pip >a/b/Pipfile; echo py >pyproject.toml\n"
                       "echo yml >a/b/environment.yml; echo yaml >a/environment.yaml\n"
                       "echo python-3.11 >runtime.txt; echo no >a/dev-requirements.txt\n"
                       "mkdir a/runtime.txt; echo x >a/runtime.txt/y");

        CHECK_INT(a.n_changed, 2);
        CHECK_INT(a.n_support, 9);
        CHECK_STR(content(&a, "extract-way", "requirements.txt"), ".\n");
        CHECK_STR(content(&a, "extract-way", "a/requirements.txt"), "a\n");
        CHECK_STR(content(&a, "extract-way", "a/b/requirements.txt"), "a/b\n");
        CHECK_STR(content(&a, "extract-way", "a/Pipfile.lock"), "lock\n");
        CHECK_STR(content(&a, "extract-way", "a/b/environment.yml"), "yml\n");
        CHECK_STR(content(&a, "extract-way", "runtime.txt"), "python-3.11\n");
        CHECK_INT(support(&a, "pyproject.toml")->size, 3);
        CHECK(!a.binder && !a.dot_binder);
        git_answer_done(&a);
}

TEST(what_is_no_plain_file_is_named_and_not_read)
{
        struct git_answer a = prepare(
                "odd", "echo '{}' >x.ipynb; ln -s /etc/passwd requirements.txt\n"
                       "head -c 1048577 /dev/zero | tr '\\0' '#' >Pipfile\n"
                       "head -c 1048576 /dev/zero | tr '\\0' '#' >Pipfile.lock\n"
                       "printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:x\\n' "
                       ">pyproject.toml");

        CHECK_INT(support(&a, "requirements.txt")->oddity, GIT_SYMLINK);
        CHECK_INT(support(&a, "Pipfile")->oddity, GIT_TOO_BIG);
        CHECK_INT(support(&a, "Pipfile.lock")->oddity, GIT_REGULAR);
        CHECK_INT(support(&a, "pyproject.toml")->oddity, GIT_LFS);
        for (size_t i = 0; i < a.n_support; i++)
                CHECK(exists(AT("extract-odd/s%zu", i)) == (a.support[i].oddity == GIT_REGULAR));
        git_answer_done(&a);
}

TEST(the_roots_binder_directory_is_looked_at)
{
        struct git_answer a = prepare(
                "binder", "mkdir -p nb binder/deep nb/.binder; echo '{}' >nb/x.ipynb\n"
                          "echo b >binder/requirements.txt; echo d >binder/deep/requirements.txt\n"
                          "echo n >nb/.binder/requirements.txt");

        CHECK(a.binder && !a.dot_binder);
        CHECK_INT(a.n_support, 1);
        CHECK_STR(content(&a, "extract-binder", "binder/requirements.txt"), "b\n");
        git_answer_done(&a);

        /* a notebook in it changes nothing: each file once */
        a = prepare("binder2", "mkdir .binder; echo '{}' >.binder/x.ipynb; "
                               "echo b >.binder/environment.yml");
        CHECK(!a.binder && a.dot_binder);
        CHECK_INT(a.n_support, 1);
        git_answer_done(&a);
}

static int look(const char *name, const char *id, const char *path, struct git_answer *a,
                struct nb_err *err)
{
        struct git_request r = prepare_of(name, text("file://%s", AT("%s", name)), id);

        r.op = GIT_FILE;
        r.extract_dir = AT("look-%s", name);
        r.path = path;
        return git_call(&r, a, err);
}

TEST(one_file_is_found_by_name)
{
        struct git_answer a = prepare("one", "mkdir -p reqs/base; echo '{}' >x.ipynb; "
                                             "echo numpy >reqs/base/all.txt; ln -s x reqs/link"),
                          b = {0};
        struct nb_err err = {0};

        CHECK_OK(look("one", a.commit, "reqs/base/all.txt", &b, &err), &err);
        CHECK_INT(b.n_support, 1);
        CHECK_STR(content(&b, "look-one", "reqs/base/all.txt"), "numpy\n");
        git_answer_done(&b);
        CHECK_OK(look("one", a.commit, "reqs/link", &b, &err), &err);
        CHECK_INT(b.support[0].oddity, GIT_SYMLINK);
        git_answer_done(&b);
        static const char *const absent[] = {"reqs", "reqs/none.txt", "x.ipynb/y", "none/all.txt"};
        for (size_t i = 0; i < NB_ARRAY_SIZE(absent); i++) {
                CHECK_OK(look("one", a.commit, absent[i], &b, &err), &err);
                CHECK_INT(b.n_support, 0);
                git_answer_done(&b);
        }
        static const char *const bad[] = {"../x",    "/etc/passwd", "",
                                          "reqs//x", ".git/config", "reqs/./x"};
        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++)
                CHECK_ERR(look("one", a.commit, bad[i], &b, &err), &err, NB_E_INVALID,
                          "is not the path of a file");
        CHECK_ERR(look("one", "1111111111111111111111111111111111111111", "x", &b, &err), &err,
                  NB_E_BUSY, "is not in the mirror any more");
        git_answer_done(&a);
}

GITFIX_MAIN()
