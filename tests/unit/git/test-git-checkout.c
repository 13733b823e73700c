/* SPDX-License-Identifier: Apache-2.0 */
/* GIT_CHECKOUT: trees to files, links, submodules. */
#include "gitfix.h"

static char sesame[] = "sesame-token-42";
static const struct nb_secret good_token = {sesame, sizeof(sesame) - 1};

static const char *url_of(const char *dir)
{
        return text("file://%s", AT("%s", dir));
}

static const char *repo(const char *dir)
{
        return sh(dir, "git init -q . && echo '{\"a\": 1}' >a.ipynb && git add -A && "
                       "git commit -q -m 'first' && git rev-parse HEAD");
}

TEST(a_tree_is_written_as_it_is)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        struct stat st;
        const char *id;

        repo("plain");
        sh("plain", "mkdir -p d/e; printf 'one\\r\\ntwo\\n' >d/e/crlf.txt; echo run >d/run;"
                    "chmod +x d/run; ln -s ../a.ipynb d/link; ln -s nowhere dangling;"
                    "printf '* text eol=lf\\n*.txt filter=evil ident\\n' >.gitattributes;"
                    "echo x >'new'\"$(printf '\\n')\"'line'; git -c core.safecrlf=false add -A");
        /* As stored, whatever the attributes say. */
        id = sh("plain", "o=$(git hash-object -w --no-filters d/e/crlf.txt);"
                         "git update-index --cacheinfo 100644,$o,d/e/crlf.txt;"
                         "git commit -q -m files; git rev-parse HEAD");
        struct git_request r = checkout_of("plain", url_of("plain"), id);
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_STR(a.commit, id);
        CHECK_STR(a.title, "files");
        CHECK_INT(a.warnings.n, 0);
        CHECK_STR(slurp(AT("workspaces/plain/a.ipynb")), "{\"a\": 1}\n");
        CHECK_STR(slurp(AT("workspaces/plain/d/e/crlf.txt")), "one\r\ntwo\n");
        CHECK_STR(slurp(AT("workspaces/plain/d/link")), "{\"a\": 1}\n");
        CHECK(exists(AT("workspaces/plain/dangling")));
        CHECK(!exists(AT("workspaces/plain/.git")));
        CHECK(stat(AT("workspaces/plain/d/run"), &st) == 0 && (st.st_mode & 0777) == 0755);
        CHECK(stat(AT("workspaces/plain/a.ipynb"), &st) == 0 && (st.st_mode & 0777) == 0644);
        CHECK(stat(AT("workspaces/plain"), &st) == 0 && (st.st_mode & 0777) == 0700);
        CHECK_STR(sh("plain", text("git ls-files | wc -l; test $(git ls-files -z | tr -cd '\\0' | "
                                   "wc -c) = $(cd '%s' && find . ! -type d -print0 | "
                                   "tr -cd '\\0' | wc -c)",
                                   r.workspace)),
                  "7");
        git_answer_done(&a);
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_CONFLICT, "not empty");
}

TEST(links_that_leave_are_left_out)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id;

        repo("links");
        /* a/b/up is the root; deep walks two above it, though it looks tame. */
        sh("links", "mkdir -p a/b; ln -s ../.. a/b/up; ln -s a/b/up/../../etc deep;"
                    "ln -s /etc/passwd absolute; ln -s ../outside climbs; ln -s a/../.. dots;"
                    "ln -s ../../a.ipynb a/b/fine; ln -s loop loop");
        id = commit("links", "links");
        struct git_request r = checkout_of("links", url_of("links"), id);
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK(!exists(AT("workspaces/links/absolute")));
        CHECK(!exists(AT("workspaces/links/climbs")));
        CHECK(!exists(AT("workspaces/links/dots")));
        CHECK(!exists(AT("workspaces/links/deep")));
        CHECK(exists(AT("workspaces/links/a/b/up")));
        CHECK(exists(AT("workspaces/links/loop")));
        CHECK_STR(slurp(AT("workspaces/links/a/b/fine")), "{\"a\": 1}\n");
        CHECK(warned(&a, "symlink absolute leaves the repository"));
        CHECK(warned(&a, "symlink deep leaves the repository"));
        CHECK_INT(a.warnings.n, 4);
        git_answer_done(&a);
}

/* A tree object as bytes: python expressions for the entries. */
static const char *crafted(const char *dir, const char *entries)
{
        return sh(dir, text("file=$(git rev-parse HEAD:a.ipynb); tree=$(git rev-parse HEAD^{tree});"
                            "link=$(printf /tmp | git hash-object -w --stdin);"
                            "near=$(printf a.ipynb | git hash-object -w --stdin);"
                            "export file tree link near; python3 -c '\n"
                            "import os, sys\n"
                            "def e(mode, name, what):\n"
                            "    return mode.encode() + b\" \" + name.encode() + b\"\\0\" + "
                            "bytes.fromhex(os.environ[what])\n"
                            "sys.stdout.buffer.write(%s)' |"
                            "git hash-object -t tree -w --literally --stdin >../tree;"
                            "git commit-tree -m crafted $(cat ../tree) >../id;"
                            "git update-ref refs/heads/bad $(cat ../id); cat ../id",
                            entries));
}

TEST(a_name_twice_is_refused)
{
        static const char *const trees[] = {
                "e(\"120000\", \"x\", \"near\") + e(\"40000\", \"x\", \"tree\")",
                "e(\"120000\", \"x\", \"near\") + e(\"100644\", \"x\", \"file\")",
                "e(\"100644\", \"x\", \"file\") + e(\"100644\", \"x\", \"file\")",
                "e(\"40000\", \"x\", \"tree\") + e(\"160000\", \"x\", \"tree\")",
                "e(\"40000\", \"x\", \"tree\") + e(\"120000\", \"x\", \"near\")",
        };
        struct git_answer a = {0};
        struct nb_err err = {0};

        repo("twice");
        for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
                const char *id = crafted("twice", trees[i]);
                struct git_request r = checkout_of(text("twice-%zu", i), url_of("twice"), id);
                CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_INVALID, "twice");
        }
        /* Through a link to outside: the link is not made, the directory is
         * the workspace's own. */
        const char *id = crafted("twice", "e(\"120000\", \"x\", \"link\") + "
                                          "e(\"40000\", \"x\", \"tree\")");
        struct git_request r = checkout_of("twice-link", url_of("twice"), id);
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK(exists(AT("workspaces/twice-link/x/a.ipynb")) && !exists("/tmp/a.ipynb"));
        git_answer_done(&a);
}

TEST(the_size_of_a_checkout_is_bounded)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id;

        repo("size");
        sh("size", "head -c 100000 /dev/zero >zeros");
        id = commit("size", "zeros");
        struct git_request r = checkout_of("size", url_of("size"), id);
        r.limits.max_checkout = 90000;
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_LIMIT, "max_repository");

        /* A few objects that are a billion files. */
        id = sh("size",
                "o=$(git hash-object -w --stdin </dev/null); "
                "t=$(for i in 0 1 2 3 4 5 6 7 8 9; do printf '100644 blob %s\\t%s\\n' $o $i; done |"
                " git mktree); for n in 1 2 3 4 5 6 7 8; do "
                "t=$(for i in 0 1 2 3 4 5 6 7 8 9; do printf '040000 tree %s\\t%s\\n' $t $i; done |"
                " git mktree); done; c=$(git commit-tree -m bomb $t);"
                "git update-ref refs/heads/bomb $c; echo $c");
        r = checkout_of("bomb", url_of("size"), id);
        r.limits.max_checkout = 4 << 20;
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_LIMIT, "max_repository");

        id = sh("size", "t=$(git rev-parse HEAD^{tree}); for n in $(seq 300); do "
                        "t=$(printf '040000 tree %s\\td\\n' $t | git mktree); done;"
                        "c=$(git commit-tree -m deep $t); git update-ref refs/heads/deep $c;"
                        "echo $c");
        r = checkout_of("deep", url_of("size"), id);
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_INVALID, "too deep");
        r = prepare_of("deep", url_of("size"), id);
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_INVALID, "deeper");
}

TEST(a_damaged_mirror_is_busy_once)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id = repo("broken");
        struct git_request r = checkout_of("broken", url_of("broken"), id);

        CHECK_OK(git_call(&r, &a, &err), &err);
        git_answer_done(&a);
        sh("mirrors/broken.git", "chmod u+w objects/pack/*.pack;"
                                 "for f in objects/pack/*.pack; do truncate -s -40 $f; done");
        r.workspace = AT("workspaces/broken-2");
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_BUSY, "made anew");
        r.workspace = AT("workspaces/broken-3");
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK(exists(AT("workspaces/broken-3/a.ipynb")));
        git_answer_done(&a);
}

TEST(submodules_come_along)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id;

        repo("inner");
        sh("inner", "git mv a.ipynb inner.ipynb; git commit -q -m inner");
        repo("lib");
        sh("lib", "git mv a.ipynb lib.ipynb; git submodule --quiet add ../inner parts/inner");
        commit("lib", "lib");
        repo("super");
        sh("super", "git submodule --quiet add ../lib 'libs/the lib'; "
                    "git -C 'libs/the lib' submodule --quiet update --init");
        id = commit("super", "super");
        struct git_request r = checkout_of("super", url_of("super"), id);
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.warnings.n, 0);
        CHECK_STR(a.title, "super");
        CHECK(exists(AT("workspaces/super/libs/the lib/lib.ipynb")));
        CHECK(exists(AT("workspaces/super/libs/the lib/parts/inner/inner.ipynb")));
        CHECK(!exists(AT("workspaces/super/libs/the lib/.git")));
        CHECK(exists(AT("mirrors/sub")));
        git_answer_done(&a);

        /* Once more, with the mirrors only. */
        sh(".", "mv lib lib-away; mv inner inner-away");
        r.workspace = AT("workspaces/super-2");
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK(exists(AT("workspaces/super-2/libs/the lib/parts/inner/inner.ipynb")));
        git_answer_done(&a);

        /* Not even a mirror: an error, not an empty directory. */
        sh(".", "rm -rf mirrors/sub");
        r.workspace = AT("workspaces/super-3");
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_NOTFOUND, "submodule libs/the lib");
}

TEST(submodules_from_elsewhere_stay_empty)
{
        static const char *const urls[] = {
                "https://evil.example/x.git",
                "http://127.0.0.1:1/x.git",
                "ssh://git@evil.example/x.git",
                "git@evil.example:x.git",
                "file:///etc",
                "/etc",
                "../../../../etc",
                "../far/../../etc",
                "ext::sh -c 'touch /tmp/pwned'",
                "-u./payload",
                "git://127.0.0.1/x",
        };
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *head = repo("away/empty");

        for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
                sh("away/empty", text("cat >.gitmodules <<'X'\n[submodule \"m\"]\n\tpath = m\n"
                                      "\turl = %s\nX\n"
                                      "git add .gitmodules; git update-index --add --cacheinfo "
                                      "160000,%s,m; git commit -q -m 'm %zu'",
                                      urls[i], head, i));
                const char *id = sh("away/empty", "git rev-parse HEAD");
                struct git_request r = checkout_of(text("empty-%zu", i), url_of("away/empty"), id);
                CHECK_OK(git_call(&r, &a, &err), &err);
                CHECK(warned(&a, "submodule m is left empty"));
                CHECK(exists(AT("workspaces/empty-%zu/m", i)));
                CHECK_STR(sh(text("workspaces/empty-%zu/m", i), "ls -A"), "");
                git_answer_done(&a);
        }
        /* And one that .gitmodules does not know. */
        sh("away/empty", "git rm -q --cached .gitmodules; git commit -q -m none");
        struct git_request r = checkout_of("empty-none", url_of("away/empty"),
                                           sh("away/empty", "git rev-parse HEAD"));
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK(warned(&a, ".gitmodules does not say"));
        git_answer_done(&a);
}

TEST(a_submodule_in_a_circle_ends)
{
        struct git_answer a = {0};
        struct nb_err err = {0};

        /* Each commit holds the one before as a submodule of itself. */
        repo("circle");
        for (int i = 0; i < 12; i++)
                sh("circle", "c=$(git rev-parse HEAD); printf '[submodule \"m\"]\\npath = m\\n"
                             "url = ./\\n' >.gitmodules; git add .gitmodules;"
                             "git update-index --add --cacheinfo 160000,$c,m;"
                             "git commit -q -m again");
        struct git_request r =
                checkout_of("circle", url_of("circle"), sh("circle", "git rev-parse HEAD"));
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK(exists(AT("workspaces/circle/m/m/m/m/m/m/m/m/a.ipynb")));
        CHECK(!exists(AT("workspaces/circle/m/m/m/m/m/m/m/m/m/a.ipynb")));
        CHECK(warned(&a, "more than 8 within each other"));
        git_answer_done(&a);
}

TEST(the_token_goes_to_no_submodule_host)
{
        struct http_server own = server_start("own", "oauth2", sesame, "");
        struct http_server free_for_all = server_start("free", NULL, NULL, "--host 127.0.0.2");
        struct http_server greedy = server_start("greedy", "oauth2", sesame, "--host 127.0.0.2");
        const char *const hosts[] = {text("127.0.0.2:%u", free_for_all.port),
                                     text("127.0.0.2:%u", greedy.port), NULL};
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *head = repo("part"), *id;

        repo("whole");
        sh("whole", text("cat >.gitmodules <<'X'\n"
                         "[submodule \"own\"]\npath = own\nurl = ../part/.git\n"
                         "[submodule \"ssh\"]\npath = ssh\nurl = git@127.0.0.1:part/.git\n"
                         "[submodule \"free\"]\npath = free\nurl = http://127.0.0.2:%u/part/.git\n"
                         "X\ngit add .gitmodules; for p in own ssh free; do "
                         "git update-index --add --cacheinfo 160000,%s,$p; done;"
                         "git commit -q -m whole",
                         free_for_all.port, head));
        id = sh("whole", "git rev-parse HEAD");
        struct git_request r =
                checkout_of("whole", text("http://127.0.0.1:%u/whole", own.port), id);
        r.remote.username = "oauth2";
        r.remote.token = &good_token;
        r.remote.submodule_hosts = hosts;
        /* "/whole" is the work tree; the server wants to see its .git. */
        r.remote.url = text("http://127.0.0.1:%u/whole/.git", own.port);
        sh("whole", "sed -i 's,\\.\\./part/\\.git,../../part/.git,' .gitmodules;"
                    "git add .gitmodules; git commit -q -m fixed");
        r.commit = sh("whole", "git rev-parse HEAD");
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.warnings.n, 0);
        CHECK(exists(AT("workspaces/whole/own/a.ipynb")));
        CHECK(exists(AT("workspaces/whole/ssh/a.ipynb")));
        CHECK(exists(AT("workspaces/whole/free/a.ipynb")));
        CHECK(strstr(slurp(own.log), "Basic"));
        CHECK(!strstr(slurp(free_for_all.log), "Basic"));
        git_answer_done(&a);

        /* A host that is allowed and asks gets nothing. */
        sh("whole", text("sed -i 's,127.0.0.2:%u,127.0.0.2:%u,' .gitmodules; git add .gitmodules;"
                         "git commit -q -m greedy",
                         free_for_all.port, greedy.port));
        r.commit = sh("whole", "git rev-parse HEAD");
        r.workspace = AT("workspaces/whole-2");
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_DENIED, "not for this host");
        CHECK(strstr(slurp(greedy.log), "null") && !strstr(slurp(greedy.log), "Basic"));
        server_stop(&own);
        server_stop(&free_for_all);
        server_stop(&greedy);
}

GITFIX_MAIN()
