/* SPDX-License-Identifier: Apache-2.0 */
/* Room git over smart HTTP: credentials, refusals, broken servers. */
#include <pthread.h>

#include "gitfix.h"

static char sesame[] = "sesame-token-42", wrong[] = "wrong-token-17";
static const struct nb_secret good_token = {sesame, sizeof(sesame) - 1};
static const struct nb_secret bad_token = {wrong, sizeof(wrong) - 1};

/* A bare repository NAME.git with a clone NAME to push from. */
static const char *served(const char *name)
{
        sh(".", text("git init -q --bare '%s.git'", name));
        return sh(name, text("git init -q . && git remote add origin '../%s.git' &&"
                             "echo '{\"a\": 1}' >a.ipynb && git add -A && git commit -q -m first &&"
                             "git push -q origin main && git rev-parse HEAD",
                             name));
}

static const char *http_url(const struct http_server *s, const char *name)
{
        return text("http://127.0.0.1:%u/%s.git", s->port, name);
}

static size_t count_lines(const char *path, const char *with)
{
        static char line[4096];
        size_t n = 0;
        FILE *f = fopen(path, "re");

        while (f && fgets(line, sizeof(line), f))
                n += strstr(line, with) != NULL;
        if (f)
                fclose(f);
        return n;
}

TEST(a_public_repository_needs_no_token_and_gets_none)
{
        struct http_server s = server_start("public", NULL, NULL, "");
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id = served("public");
        struct git_request r = prepare_of("public", http_url(&s, "public"), id);

        r.remote.token = &good_token;
        r.remote.username = "oauth2";
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.n_changed, 1);
        CHECK(count_lines(s.log, "info/refs") > 0);
        CHECK_INT(count_lines(s.log, "Basic"), 0);
        git_answer_done(&a);
        r.commit = sh("public", "echo 2 >b.ipynb; git add -A; git commit -q -m second;"
                                "git push -q origin main; git rev-parse HEAD");
        r.before = id;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.n_changed, 1);
        git_answer_done(&a);
        server_stop(&s);
}

TEST(a_private_repository_gets_the_token)
{
        struct http_server s = server_start("private", "oauth2", sesame, "");
        struct git_answer a = {0};
        struct nb_err err = {0};
        struct git_request r = prepare_of("private", http_url(&s, "private"), served("private"));

        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_DENIED, "set token_file");
        r.remote.username = "oauth2";
        r.remote.token = &bad_token;
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_DENIED, "refuses the token");
        CHECK(!strstr(err.msg, wrong));
        r.remote.token = &good_token;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.n_changed, 1);
        CHECK(count_lines(s.log, "Basic") > 0);
        git_answer_done(&a);
        /* Nothing of it stays on disk. */
        CHECK_STR(sh("mirrors", "grep -r sesame . | head -1; true"), "");
        server_stop(&s);
}

TEST(http_refusals_have_their_classes)
{
        static const struct {
                const char *mode;
                enum nb_errc code;
        } cases[] = {{"status 404", NB_E_NOTFOUND},
                     {"status 403", NB_E_DENIED},
                     {"status 500", NB_E_REMOTE},
                     {"status 503", NB_E_REMOTE}};
        struct http_server s = server_start("refusals", NULL, NULL, "");
        struct git_answer a = {0};
        struct nb_err err = {0};
        struct git_request r = prepare_of("refusals", http_url(&s, "refusals"), served("refusals"));

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                server_mode(&s, cases[i].mode);
                CHECK_ERR(git_call(&r, &a, &err), &err, cases[i].code, "refusals.git");
        }
        server_mode(&s, "");
        r.remote.url = http_url(&s, "not-there");
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_NOTFOUND, "not-there.git");
        r.remote.url = http_url(&s, "refusals");
        CHECK_OK(git_call(&r, &a, &err), &err);
        git_answer_done(&a);
        server_stop(&s);
        CHECK_OK(git_call(&r, &a, &err), &err); /* it has the commit */
        git_answer_done(&a);
        r.commit = "1234567890123456789012345678901234567890";
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_REMOTE, "refusals.git");
}

TEST(a_redirect_to_another_host_is_not_followed)
{
        struct http_server s = server_start("redirect", "oauth2", sesame, "");
        struct http_server other = server_start("elsewhere", NULL, NULL, "--host 127.0.0.2");
        struct git_answer a = {0};
        struct nb_err err = {0};
        struct git_request r = prepare_of("redirect", http_url(&s, "redirect"), served("redirect"));

        r.remote.username = "oauth2";
        r.remote.token = &good_token;
        server_mode(&s, text("redirect http://127.0.0.2:%u", other.port));
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_DENIED, "redirect");
        CHECK(!exists(other.log));
        server_stop(&s);
        server_stop(&other);
}

TEST(a_silent_server_costs_the_deadline_and_no_more)
{
        struct http_server s = server_start("silent", NULL, NULL, "");
        struct git_answer a = {0};
        struct nb_err err = {0};
        struct git_request r = prepare_of("silent", http_url(&s, "silent"), served("silent"));
        uint64_t start = nb_mono_us(&nb_clock_real);

        server_mode(&s, "stall");
        r.limits.timeout_us = 700 * NB_US_PER_MS;
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_TIMEOUT,
                  "took longer than 0.7 s; raise [limits] fetch_timeout");
        uint64_t took = nb_mono_us(&nb_clock_real) - start;
        CHECK(took >= 700 * NB_US_PER_MS && took < 20 * NB_US_PER_S);
        /* The helper that was killed holds no lock. */
        server_mode(&s, "");
        r.limits = fix_limits;
        CHECK_OK(git_call(&r, &a, &err), &err);
        git_answer_done(&a);
        server_stop(&s);
}

static void *cancel_later(void *arg)
{
        const struct git_request *r = arg;

        /* When the mirror is there the helper is at work. */
        for (int i = 0; i < 2000 && !exists(text("%s/HEAD", r->mirror)); i++)
                usleep(5000);
        atomic_store(r->cancel, true);
        return NULL;
}

TEST(a_cancelled_call_ends_at_once)
{
        struct http_server s = server_start("cancel", NULL, NULL, "");
        struct git_answer a = {0};
        struct nb_err err = {0};
        atomic_bool cancel = false;
        pthread_t thread;
        struct git_request r = prepare_of("cancel", http_url(&s, "cancel"), served("cancel"));

        server_mode(&s, "stall");
        r.cancel = &cancel;
        CHECK(pthread_create(&thread, NULL, cancel_later, &r) == 0);
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_CANCELLED, "cancelled");
        pthread_join(thread, NULL);
        /* Set before the start: nothing is started. */
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_CANCELLED, "cancelled");
        server_stop(&s);
}

TEST(a_cut_connection_is_worth_a_retry)
{
        struct http_server s = server_start("cut", NULL, NULL, "");
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id;

        served("cut");
        id = sh("cut", "head -c 200000 /dev/urandom >noise; git add -A; git commit -q -m noise;"
                       "git push -q origin main; git rev-parse HEAD");
        struct git_request r = prepare_of("cut", http_url(&s, "cut"), id);
        server_mode(&s, "cut 100000");
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_REMOTE, "cut.git");
        server_mode(&s, "");
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.n_changed, 1);
        git_answer_done(&a);
        server_stop(&s);
}

TEST(more_than_allowed_is_not_received)
{
        struct http_server s = server_start("much", NULL, NULL, "");
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id;

        served("much");
        id = sh("much", "head -c 900000 /dev/urandom >noise; git add -A; git commit -q -m noise;"
                        "git push -q origin main; git rev-parse HEAD");
        struct git_request r = prepare_of("much", http_url(&s, "much"), id);
        r.limits.max_receive = 300000;
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_LIMIT, "max_repository");
        server_stop(&s);
}

/* A server that gives any commit by its id, as GitHub and GitLab do, and one
 * that gives only what its refs show. */
TEST(commits_are_fetched_by_their_id)
{
        static const char *const configs[] = {"uploadpack.allowAnySHA1InWant",
                                              "uploadpack.allowReachableSHA1InWant", NULL};
        struct http_server s = server_start("exact", NULL, NULL, "");
        struct git_answer a = {0};
        struct nb_err err = {0};

        for (size_t i = 0; i < 3; i++) {
                const char *name = text("exact-%zu", i), *lost, *old;
                old = served(name);
                if (configs[i])
                        sh(text("%s.git", name), text("git config %s true", configs[i]));
                lost = sh(name, "echo 1 >lost.ipynb; git add -A; git commit -q -m lost;"
                                "git push -q origin main; git rev-parse HEAD");
                sh(name, "git reset -q --hard HEAD~1; echo 2 >new.ipynb; git add -A;"
                         "git commit -q -m new; git push -q -f origin main");
                /* Superseded: a branch still reaches it. */
                struct git_request r = prepare_of(text("%s-old", name), http_url(&s, name), old);
                CHECK_OK(git_call(&r, &a, &err), &err);
                CHECK_STR(a.commit, old);
                git_answer_done(&a);
                /* Force-pushed away: no branch does. */
                r = prepare_of(text("%s-lost", name), http_url(&s, name), lost);
                r.before = old;
                if (i == 0) {
                        CHECK_OK(git_call(&r, &a, &err), &err);
                        CHECK_INT(a.n_changed, 1);
                        CHECK_STR(a.changed[0].path, "lost.ipynb");
                        git_answer_done(&a);
                } else {
                        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_NOTFOUND,
                                  text("commit %s is not in", lost));
                }
        }
        server_stop(&s);
}

TEST(a_branch_that_became_a_directory_is_no_obstacle)
{
        struct http_server s = server_start("names", NULL, NULL, "");
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id = served("names");
        struct git_request r = prepare_of("names", http_url(&s, "names"), id);

        r.default_branch = "feature";
        r.ref = "refs/heads/feature";
        sh("names", "git push -q origin main:feature");
        CHECK_OK(git_call(&r, &a, &err), &err);
        git_answer_done(&a);
        r.commit = sh("names", "git push -q origin :feature; git checkout -q -b feature/x;"
                               "echo 1 >b.ipynb; git add -A; git commit -q -m b; echo 2 >b.ipynb;"
                               "git commit -q -a -m c; git push -q origin feature/x;"
                               "git rev-parse HEAD~1");
        r.ref = "refs/heads/feature/x";
        r.default_branch = "main";
        r.before = ZEROS;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.n_changed, 1);
        CHECK_STR(a.changed[0].path, "b.ipynb");
        git_answer_done(&a);
        server_stop(&s);
}

TEST(certificates_are_verified)
{
        sh("tls", "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 "
                  "-subj /CN=localhost -addext subjectAltName=DNS:localhost 2>&1");
        struct http_server s = server_start(
                "tls", NULL, NULL, text("--tls '%s' '%s'", AT("tls/cert.pem"), AT("tls/key.pem")));
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id = served("secure");
        struct git_request r =
                prepare_of("secure", text("https://localhost:%u/secure.git", s.port), id);

        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_DENIED, "certificate");
        setenv("SSL_CERT_FILE", AT("tls/cert.pem"), 1);
        CHECK_OK(git_call(&r, &a, &err), &err);
        git_answer_done(&a);
        /* Trusted, but it is another host's. */
        r = prepare_of("secure-2", text("https://127.0.0.1:%u/secure.git", s.port), id);
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_DENIED, "certificate");
        unsetenv("SSL_CERT_FILE");
        server_stop(&s);
}

GITFIX_MAIN()
