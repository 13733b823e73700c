/* SPDX-License-Identifier: Apache-2.0 */
/* GIT_PREPARE on repositories of this disk: what changed, and what is refused. */
#include <pthread.h>

#include "gitfix.h"

static const char *url_of(const char *dir)
{
        return text("file://%s", AT("%s", dir));
}

/* A repository with one commit that holds a.ipynb; answers the commit. */
static const char *repo(const char *dir)
{
        return sh(dir, "git init -q . && mkdir nb && echo '{\"a\": 1}' >a.ipynb && "
                       "git add -A && git commit -q -m 'first' && git rev-parse HEAD");
}

TEST(first_push_takes_every_notebook)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id;

        repo("first");
        sh("first", "echo 'x = 1' >.nbcid.toml; echo text >readme.md; echo '{}' >nb/b.ipynb");
        id = commit("first", "Two notebooks\n\nand a body");
        struct git_request r = prepare_of("first", url_of("first"), id);
        r.before = ZEROS;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_STR(a.commit, id);
        CHECK_STR(a.title, "Two notebooks");
        CHECK_STR(a.repo_config, "x = 1\n");
        CHECK_INT(a.n_repo_config, 6);
        CHECK_INT(a.n_changed, 2);
        CHECK_STR(a.changed[0].path, "a.ipynb");
        CHECK_STR(a.changed[1].path, "nb/b.ipynb");
        CHECK_CHANGE(&a, "nb/b.ipynb", GIT_ADDED);
        CHECK_INT(a.changed[1].size, 3);
        CHECK_STR(slurp(AT("extract-first/0")), "{\"a\": 1}\n");
        CHECK_STR(slurp(AT("extract-first/1")), "{}\n");
        CHECK_INT(a.warnings.n, 0);

        struct stat st;
        CHECK(stat(r.mirror, &st) == 0);
        CHECK_INT(st.st_mode & 0777, 0700);
        CHECK_STR(sh("mirrors/first.git", text("git rev-parse refs/nbcid/%s", id)), id);
        git_answer_done(&a);
}

TEST(every_kind_of_change_is_named)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *before, *after;

        repo("kinds");
        sh("kinds", "for n in same gone edited twice; do seq 1 300 | sed \"s/^/$n /\" >$n.ipynb; "
                    "done; seq 400 600 >moved.ipynb; echo '{\"t\"}' >typed.ipynb; echo '{\"m\"}' "
                    ">mode.ipynb;"
                    "mkdir -p deep/.ipynb_checkpoints .ipynb_checkpoints x.ipynb");
        before = commit("kinds", "before");
        sh("kinds", "git rm -q gone.ipynb; git mv moved.ipynb 'nb/moved here.IPYNB';"
                    "git mv edited.ipynb nb/edited.ipynb; echo more >>nb/edited.ipynb;"
                    "cp twice.ipynb copy.ipynb; echo more >>twice.ipynb;"
                    "rm typed.ipynb; ln -s a.ipynb typed.ipynb; chmod +x mode.ipynb;"
                    "echo '{}' >'it''s \"quoted\".ipynb'; echo '{}' >'gr\xc3\xbc\xc3\x9f.ipynb';"
                    "printf '{\"n\": 1}' >\"$(printf 'two\\nlines.ipynb')\";"
                    "echo '{}' >deep/.ipynb_checkpoints/c.ipynb;"
                    "echo '{}' >.ipynb_checkpoints/c.ipynb; echo '{}' >x.ipynb/in.ipynb;"
                    "echo '{}' >not.ipynb.txt");
        after = commit("kinds", "after");
        struct git_request r = prepare_of("kinds", url_of("kinds"), after);
        r.before = before;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_CHANGE(&a, "nb/moved here.IPYNB", GIT_RENAMED);
        CHECK_CHANGE(&a, "nb/edited.ipynb", GIT_RENAMED);
        CHECK_CHANGE(&a, "copy.ipynb", GIT_COPIED);
        CHECK_CHANGE(&a, "twice.ipynb", GIT_MODIFIED);
        CHECK_CHANGE(&a, "mode.ipynb", GIT_MODIFIED);
        CHECK_CHANGE(&a, "typed.ipynb", GIT_TYPE_CHANGED);
        CHECK_INT(changed(&a, "typed.ipynb")->oddity, GIT_SYMLINK);
        CHECK_CHANGE(&a, "its \"quoted\".ipynb", GIT_ADDED);
        CHECK_CHANGE(&a, "gr\xc3\xbc\xc3\x9f.ipynb", GIT_ADDED);
        CHECK_CHANGE(&a, "two\nlines.ipynb", GIT_ADDED);
        CHECK_CHANGE(&a, "x.ipynb/in.ipynb", GIT_ADDED);
        CHECK_INT(a.n_changed, 10);
        for (size_t i = 0; i < a.n_changed; i++) {
                bool there = exists(AT("extract-kinds/%zu", i));
                CHECK(there == (a.changed[i].oddity == GIT_REGULAR));
                CHECK(i == 0 || strcmp(a.changed[i - 1].path, a.changed[i].path) < 0);
                if (strcmp(a.changed[i].path, "two\nlines.ipynb") == 0)
                        CHECK_STR(slurp(AT("extract-kinds/%zu", i)), "{\"n\": 1}");
        }
        git_answer_done(&a);
}

TEST(a_new_branch_is_compared_with_where_it_left)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id;

        repo("branch");
        sh("branch", "git checkout -q -b side; echo '{}' >side.ipynb");
        id = commit("branch", "side");
        sh("branch", "git checkout -q main; echo '{}' >later.ipynb");
        commit("branch", "main goes on");
        struct git_request r = prepare_of("branch", url_of("branch"), id);
        r.ref = "refs/heads/side";
        r.before = ZEROS;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.n_changed, 1);
        CHECK_STR(a.changed[0].path, "side.ipynb");
        git_answer_done(&a);

        /* No common ancestor: all of it is new. */
        sh("branch", "git checkout -q --orphan lone; git rm -q --cached -r .; rm -f *.ipynb;"
                     "echo '{}' >lone.ipynb");
        id = commit("branch", "lone");
        r = prepare_of("branch", url_of("branch"), id);
        r.ref = "refs/heads/lone";
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.n_changed, 1);
        CHECK_STR(a.changed[0].path, "lone.ipynb");
        git_answer_done(&a);
}

TEST(an_unknown_before_is_not_an_error)
{
        static const char lost[] = "1234567890123456789012345678901234567890";
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id, *top;

        repo("unknown");
        sh("unknown", "git checkout -q -b side; echo '{}' >side.ipynb");
        id = commit("unknown", "side");
        top = sh("unknown", "git rev-parse main");
        struct git_request r = prepare_of("unknown", url_of("unknown"), id);
        r.ref = "refs/heads/side";
        r.before = lost;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.n_changed, 1);
        CHECK(warned(&a, "compared with the default branch"));
        git_answer_done(&a);

        /* On the default branch that would mean that nothing changed. */
        r = prepare_of("unknown", url_of("unknown"), top);
        r.before = lost;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.n_changed, 1);
        CHECK(warned(&a, "every notebook counts"));
        git_answer_done(&a);
}

TEST(force_pushed_commits_are_found)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *first, *second, *third;

        repo("force");
        sh("force", "echo 1 >b.ipynb");
        first = commit("force", "will be overwritten");
        sh("force", "git reset -q --hard HEAD~1; echo 2 >c.ipynb");
        second = commit("force", "overwrites");
        struct git_request r = prepare_of("force", url_of("force"), first);
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_STR(a.commit, first);
        git_answer_done(&a);

        /* Compared with what the branch was, not with its past. */
        r = prepare_of("force", url_of("force"), second);
        r.before = first;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.n_changed, 1);
        CHECK_CHANGE(&a, "c.ipynb", GIT_ADDED);
        git_answer_done(&a);

        /* The mirror never saw the commit before: it is fetched. */
        sh("force", "git reset -q --hard HEAD~1; echo 3 >d.ipynb");
        third = commit("force", "overwrites again");
        r = prepare_of("force-fresh", url_of("force"), third);
        r.before = second;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.n_changed, 1);
        CHECK_CHANGE(&a, "d.ipynb", GIT_ADDED);
        git_answer_done(&a);

        r.commit = "1234567890123456789012345678901234567890";
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_NOTFOUND, "is not in file://");
}

TEST(tags_are_peeled_and_merges_compared_as_trees)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *base = repo("merge"), *id, *tag;

        sh("merge", "git checkout -q -b side; echo '{}' >side.ipynb");
        commit("merge", "side");
        sh("merge", "git checkout -q main; echo text >readme");
        commit("merge", "main");
        id = sh("merge", "git merge -q --no-ff -m merged side; git tag -a -m 'a tag' v1;"
                         "git rev-parse HEAD");
        tag = sh("merge", "git rev-parse v1");
        struct git_request r = prepare_of("merge", url_of("merge"), tag);
        r.ref = "refs/tags/v1";
        r.before = base;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_STR(a.commit, id);
        CHECK_STR(a.title, "merged");
        CHECK_INT(a.n_changed, 1);
        CHECK_STR(a.changed[0].path, "side.ipynb");
        git_answer_done(&a);

        r.commit = sh("merge", "git rev-parse 'HEAD^{tree}'");
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_INVALID, "is a tree and names no commit");
}

TEST(a_commit_at_hand_is_not_fetched_again)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *before = repo("away"), *id;

        sh("away", "echo '{}' >b.ipynb");
        id = commit("away", "second");
        struct git_request r = prepare_of("away", url_of("away"), id);
        CHECK_OK(git_call(&r, &a, &err), &err);
        git_answer_done(&a);
        sh(".", "mv away moved-away");
        r.before = before;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.n_changed, 1);
        git_answer_done(&a);
        r.commit = "1234567890123456789012345678901234567890";
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_NOTFOUND, "away");
}

TEST(oddities_are_named_and_not_extracted)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id;

        repo("odd");
        sh("odd", "ln -s /etc/passwd link.ipynb; head -c 3000 /dev/zero >big.ipynb;"
                  "printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:%064d\\n"
                  "size 12\\n' 1 >lfs.ipynb; echo '{}' >\"$(printf 'caf\\351.ipynb')\"");
        id = commit("odd", "odd");
        struct git_request r = prepare_of("odd", url_of("odd"), id);
        r.limits.max_blob = 2000;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.n_changed, 4);
        CHECK_INT(changed(&a, "link.ipynb")->oddity, GIT_SYMLINK);
        CHECK_INT(changed(&a, "big.ipynb")->oddity, GIT_TOO_BIG);
        CHECK_INT(changed(&a, "big.ipynb")->size, 3000);
        CHECK_INT(changed(&a, "lfs.ipynb")->oddity, GIT_LFS);
        CHECK_INT(changed(&a, "a.ipynb")->oddity, GIT_REGULAR);
        CHECK(exists(AT("extract-odd/0")));
        CHECK(!exists(AT("extract-odd/1")) && !exists(AT("extract-odd/2")));
        CHECK(!exists(AT("extract-odd/3")));
        CHECK(warned(&a, "caf\\xe9.ipynb is not run: its name is not UTF-8"));
        git_answer_done(&a);
}

TEST(a_config_that_is_no_small_file_is_ignored_aloud)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id;

        repo("config");
        sh("config", "ln -s a.ipynb .nbcid.toml");
        id = commit("config", "link");
        struct git_request r = prepare_of("config", url_of("config"), id);
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK(!a.repo_config);
        CHECK(warned(&a, ".nbcid.toml is not a regular file"));
        git_answer_done(&a);
        sh("config", "rm .nbcid.toml; head -c 300000 /dev/zero >.nbcid.toml");
        r.commit = commit("config", "large");
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK(!a.repo_config);
        CHECK(warned(&a, ".nbcid.toml is ignored"));
        git_answer_done(&a);
}

TEST(names_that_lead_elsewhere_are_refused)
{
        static const char *const names[] = {
                "..",
                ".",
                "/etc",
                "a/b",
                ".git",
                ".GIT",
                ".git.",
                ".git ",
                "git~1",
                "GIT~1",
                ".gIt. ",
                ".git::$DATA",
                ".g\\xe2\\x80\\x8cit",
                ".git\\\\x",
                "x\\\\.git",
        };
        struct git_answer a = {0};
        struct nb_err err = {0};

        repo("hostile");
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                /* As a directory with a notebook in it, and as a file. */
                for (int dir = 0; dir < 2; dir++) {
                        const char *id =
                                sh("hostile",
                                   text("o=$(git rev-parse HEAD%s); python3 -c '\n"
                                        "import sys\n"
                                        "sys.stdout.buffer.write(b\"%s %s\\0\" + "
                                        "bytes.fromhex(\"'$o'\"))' |"
                                        "git hash-object -t tree -w --literally --stdin >../tree;"
                                        "git commit-tree -m hostile $(cat ../tree) >../id;"
                                        "git update-ref refs/heads/bad $(cat ../id); cat ../id",
                                        dir ? "^{tree}" : ":a.ipynb", dir ? "40000" : "100644",
                                        names[i]));
                        const char *name = text("hostile-%zu-%d", i, dir);
                        struct git_request r = prepare_of(name, url_of("hostile"), id);
                        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_INVALID,
                                  "cannot be checked out safely");
                        r = checkout_of(name, url_of("hostile"), id);
                        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_INVALID,
                                  "cannot be checked out safely");
                        CHECK(!exists(AT("etc")) && !exists(AT("workspaces/a.ipynb")));
                }
        }
}

TEST(bad_requests_are_refused)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id = repo("requests");
        struct git_request r = prepare_of("requests", url_of("requests"), ZEROS);

        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_INVALID, "deleted");
        r.commit = "main";
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_INVALID, "not 40 hex digits");
        r.commit = id;
        r.ref = "refs/heads/*";
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_INVALID, "not the name of a ref");
        r.ref = NULL;
        r.default_branch = "a..b";
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_INVALID, "not the name of a branch");
        r.default_branch = NULL;
        r.remote.url = "https://user:sesame@example.org/x.git";
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_INVALID, "token_file");
        CHECK(!strstr(err.msg, "sesame") && !strstr(err.msg, "user:"));
        r.remote.url = "ext::sh -c true";
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_INVALID, "https, http, ssh or file");
        r.remote.url = "ssh://git@example.org/x.git";
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_DENIED, "ssh_host_key");
        r.remote.url = url_of("does-not-exist");
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_NOTFOUND, "does-not-exist");
}

TEST(limits_hold)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id;

        repo("limits");
        sh("limits", "head -c 400000 /dev/urandom >noise; head -c 5000 /dev/zero >z.ipynb");
        id = commit("limits", "noise");
        struct git_request r = prepare_of("limits", url_of("limits"), id);
        r.limits.max_receive = 100000;
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_LIMIT, "max_repository");
        r.limits.max_receive = 1 << 20;
        r.limits.max_checkout = 4000;
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_LIMIT, "max_repository");
        r.limits.max_checkout = 1 << 20;
        CHECK_OK(git_call(&r, &a, &err), &err);
        git_answer_done(&a);
        r.limits.timeout_us = 1;
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_TIMEOUT, "fetch_timeout");
}

TEST(a_damaged_mirror_is_made_anew)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id = repo("damage");
        struct git_request r = prepare_of("damage", url_of("damage"), id);

        CHECK_OK(git_call(&r, &a, &err), &err);
        git_answer_done(&a);
        sh("mirrors/damage.git", "for f in objects/pack/*.pack; do chmod u+w $f; "
                                 "printf XXXX | dd of=$f bs=1 seek=14 conv=notrunc 2>&1; "
                                 "truncate -s -40 $f; done");
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK(warned(&a, "made anew"));
        CHECK_INT(a.n_changed, 1);
        git_answer_done(&a);

        /* And one whose making was cut short. */
        sh("mirrors/damage.git", "rm -rf HEAD refs; touch config.lock HEAD.lock");
        CHECK_OK(git_call(&r, &a, &err), &err);
        git_answer_done(&a);
}

/* One was killed in the middle of writing a reference. */
TEST(a_lock_that_a_killed_helper_left_is_nobodys)
{
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *before, *after;

        repo("locked");
        before = commit("locked", "One");
        struct git_request first = prepare_of("locked", url_of("locked"), before);
        CHECK_OK(git_call(&first, &a, &err), &err);
        git_answer_done(&a);
        sh("locked", "echo '{}' >nb/b.ipynb");
        after = commit("locked", "Two");
        sh("mirrors/locked.git", text("touch refs/nbcid/%s.lock", after));
        struct git_request r = prepare_of("locked", url_of("locked"), after);
        r.before = before;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_CHANGE(&a, "nb/b.ipynb", GIT_ADDED);
        CHECK_STR(sh("mirrors/locked.git", text("git rev-parse refs/nbcid/%s", after)), after);
        git_answer_done(&a);
}

TEST(a_helper_that_fails_is_told)
{
        static const struct {
                const char *script;
                enum nb_errc code;
                const char *part;
        } cases[] = {
                {"kill -SEGV $$", NB_E_REMOTE, "died of signal 11"},
                {"kill -KILL $$", NB_E_IO, "was killed"},
                {"echo 'cannot load libx' >&2; exit 127", NB_E_BUG, "cannot load libx"},
                {"exec 0<&-; exit 0", NB_E_BUG, "ended with status 0"},
                {"echo nonsense", NB_E_BUG, "not JSON"},
                {"yes", NB_E_LIMIT, "answer is over"},
                {"yes >&2", NB_E_TIMEOUT, "fetch_timeout"},
                {"exec >&- 2>&-; sleep 100", NB_E_TIMEOUT, "fetch_timeout"},
        };
        struct git_answer a = {0};
        struct nb_err err = {0};
        struct git_request r = prepare_of("helper", url_of("helper"), ZEROS);

        setenv("NBCID_SELF", AT("helper.sh"), 1);
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_IO, "cannot start the git helper");
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                FILE *f = fopen(AT("helper.sh"), "we");
                CHECK(f);
                fprintf(f, "#!/bin/sh\n%s\n", cases[i].script);
                fclose(f);
                chmod(AT("helper.sh"), 0700);
                r.limits.timeout_us =
                        cases[i].code == NB_E_TIMEOUT ? 300 * NB_US_PER_MS : 60 * NB_US_PER_S;
                CHECK_ERR(git_call(&r, &a, &err), &err, cases[i].code, cases[i].part);
        }
        unsetenv("NBCID_SELF");
}

struct twin {
        pthread_t thread;
        struct git_request r;
        struct git_answer a;
        struct nb_err err;
        int rc;
};

static void *twin_main(void *arg)
{
        struct twin *t = arg;

        t->rc = git_call(&t->r, &t->a, &t->err);
        return NULL;
}

TEST(two_calls_on_one_mirror_take_turns)
{
        struct twin t[4] = {0};
        const char *id;

        repo("twins");
        sh("twins", "for i in $(seq 50); do echo $i >$i.ipynb; done");
        id = commit("twins", "fifty");
        for (size_t i = 0; i < 4; i++) {
                t[i].r = prepare_of("twins", url_of("twins"), id);
                t[i].r.extract_dir = AT("extract-twin-%zu", i);
        }
        for (size_t i = 0; i < 4; i++)
                pthread_create(&t[i].thread, NULL, twin_main, &t[i]);
        for (size_t i = 0; i < 4; i++)
                pthread_join(t[i].thread, NULL);
        for (size_t i = 0; i < 4; i++) {
                CHECK_OK(t[i].rc, &t[i].err);
                CHECK_INT(t[i].a.n_changed, 51);
                git_answer_done(&t[i].a);
        }
}

GITFIX_MAIN()
