/* SPDX-License-Identifier: Apache-2.0 */

/* test-env.c - keys of environments, lines of locks, and what installers say */

#include <sys/mman.h>
#include <sys/stat.h>

#include "../../../src/runner/env-priv.h"
#include "nbtest.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <nbcid/crypto.h>
#include <nbcid/fs.h>

static struct env_python python(const char *version)
{
        return (struct env_python){.implementation = (char *)(uintptr_t) "cpython",
                                   .version = (char *)(uintptr_t)version,
                                   .platform = (char *)(uintptr_t) "linux-x86_64"};
}

static void key_of(const char *requirements, const char *constraints, const char *conda,
                   const struct env_python *python, char ret[ENV_KEY_SIZE])
{
        struct nb_environment want = {.requirements = nb_strdup(requirements),
                                      .constraints = nb_strdup(constraints),
                                      .conda = nb_strdup(conda)};
        struct nb_err err;

        CHECK_OK(env_key(&want, python, ret, &err), &err);
        nb_environment_done(&want);
}

TEST(a_key_names_what_counts)
{
        struct env_python p = python("3.11.2"), q = python("3.11.3");
        char a[ENV_KEY_SIZE], b[ENV_KEY_SIZE];

        key_of("numpy==1.0\npandas\n", NULL, NULL, &p, a);
        CHECK_INT(strlen(a), ENV_KEY_SIZE - 1);
        key_of("  pandas  \n# why\n\nNumPy==1.0\r\nnumpy==1.0", NULL, NULL, &p, b);
        CHECK_STR(a, b);
        key_of("numpy==1.1\npandas\n", NULL, NULL, &p, b);
        CHECK(!nb_streq(a, b));
        key_of("numpy==1.0\npandas\n", NULL, NULL, &q, b);
        CHECK(!nb_streq(a, b));
        key_of("numpy==1.0\npandas\n", "pytz<2020\n", NULL, &p, b);
        CHECK(!nb_streq(a, b));
        key_of("a\n", "d\n", NULL, &p, a);
        key_of("a\nconstraints\nd\n", NULL, NULL, &p, b);
        CHECK(!nb_streq(a, b));
        key_of("Zope_.Interface==1_0", NULL, NULL, &p, a);
        key_of("zope-interface==1_0", NULL, NULL, &p, b);
        CHECK_STR(a, b);
        key_of("zope-interface==1-0", NULL, NULL, &p, b);
        CHECK(!nb_streq(a, b));
        key_of("", NULL, NULL, &p, a);
        key_of("", NULL, "", &p, b);
        CHECK(!nb_streq(a, b));
}

TEST(what_was_asked_leads_to_what_was_built)
{
        nb_auto_free char *dir = nb_asprintf("%s/asked", nbtest_tmpdir());
        static char requirements[] = "numpy==1.0\n", version[] = "3.11";
        static const char key[] =
                "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        const struct nb_environment e = {.requirements = requirements},
                                    other = {.requirements = requirements, .python = version},
                                    none = {.requirements = NULL};
        struct env_store s = ENV_STORE_NONE;
        nb_auto_free char *bin = nb_asprintf("%s/%s/bin", dir, key), *want = NULL;
        nb_auto_free char *manifest = nb_asprintf("%s.json", key), *python = NULL;
        struct nb_err err;

        CHECK_OK(env_store_open(dir, &s, &err), &err);
        CHECK_INT(runner_environment_python(dir, "/bin/sh", &e, &python, &err), 0);
        env_asked_note(&s, "/bin/sh", &e, key);
        CHECK_INT(runner_environment_python(dir, "/bin/sh", &e, &python, &err), 0);
        CHECK_OK(nb_mkdirs(AT_FDCWD, bin, 0700, &err), &err);
        want = nb_asprintf("%s/python", bin);
        CHECK(symlink("/bin/sh", want) == 0);
        /* not whole before its manifest is there */
        CHECK_INT(runner_environment_python(dir, "/bin/sh", &e, &python, &err), 0);
        CHECK_OK(nb_write_file(s.fd, manifest, "{}", 2, 0600, false, &err), &err);
        CHECK_INT(runner_environment_python(dir, "/bin/sh", &e, &python, &err), 1);
        CHECK_STR(python, want);
        CHECK_INT(runner_environment_python(dir, "/bin/sh", &other, &python, &err), 0);
        CHECK_INT(runner_environment_python(dir, "/bin/sh", &none, &python, &err), 0);
        CHECK_INT(runner_environment_python(dir, "/bin/cat", &e, &python, &err), 0);
        env_asked_sweep(&s);
        CHECK(unlink(want) == 0 && rmdir(bin) == 0);
        CHECK_INT(unlinkat(s.fd, key, AT_REMOVEDIR), 0);
        env_asked_sweep(&s);
        CHECK_INT(unlinkat(s.fd, manifest, 0), 0);
        CHECK(rmdir(dir) == 0);
        env_store_done(&s);
}

TEST(nobody_waits_for_ever_for_an_environment)
{
        NB_CLEANUP(env_store_done) struct env_store store = ENV_STORE_NONE;
        nb_auto_free char *dir = nb_asprintf("%s/waited-for", nbtest_tmpdir());
        nb_auto_fd int held = -1, other = -1;
        struct nb_err err;

        CHECK_INT(env_store_patience(&(struct runner_opts){.timeout_us = 7}), 7);
        CHECK_INT(env_store_patience(&(struct runner_opts){.build_timeout_us = 7}), 14);
        CHECK_INT(env_store_patience(&(struct runner_opts){.uv = ""}), 86400000000LL);
        CHECK_OK(env_store_open(dir, &store, &err), &err);
        CHECK_OK(env_store_lock(&store, "a", true, 0, -1, &held, &err), &err);
        CHECK_ERR(env_store_lock(&store, "a", true, 0, -1, &other, &err), &err, NB_E_TIMEOUT,
                  "another job still builds");
}

TEST(a_lock_has_no_options)
{
        static const char *const fine[] = {"numpy==1.26.4", "a==1!2.0+local.1",
                                           "x @ git+https://e.org/x@0123#egg=x", "zope.i==1"};
        static const char *const wrong[] = {"",         "-r x",    "--index-url=http://evil",
                                            "numpy",    "numpy==", "numpy==1 --pre",
                                            "numpy>=1", "a @ b",   "a @ file:///x y",
                                            "a==1;x",   "a==1\\",  "é==1",
                                            ".a==1"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(fine); i++)
                CHECK(env_lock_line_valid(fine[i]));
        for (size_t i = 0; i < NB_ARRAY_SIZE(wrong); i++)
                CHECK(!env_lock_line_valid(wrong[i]));
}

TEST(a_package_is_found_however_it_is_spelt)
{
        CHECK(env_names_package("numpy\nIPykernel>=6\n", "ipykernel"));
        CHECK(env_names_package("a__b[x]", "A-.b"));
        CHECK(!env_names_package("ipykernel-extra\nxipykernel\n# ipykernel\n", "ipykernel"));
        CHECK(!env_names_package("", "ipykernel"));
}

TEST(a_version_is_compared_by_its_parts)
{
        CHECK(env_version_is("3.11.7", "3.11"));
        CHECK(env_version_is("3.11.7", "3.11.7"));
        CHECK(!env_version_is("3.11.7", "3.1"));
        CHECK(!env_version_is("3.11", "3.11.7"));
}

static void judged(enum run_class class, const char *reason, const char *log)
{
        nb_auto_free char *said = NULL;

        CHECK_INT(env_judge(log, &said), class);
        CHECK_STR(said, reason);
}

TEST(what_pip_says_of_requirements_is_the_reason)
{
        judged(CLASS_ENVIRONMENT,
               "Could not find a version that satisfies the requirement colour==9 (from versions: "
               "1.0, 2.0)",
               "Collecting colour==9\nERROR: Could not find a version that satisfies the "
               "requirement colour==9 (from versions: 1.0, 2.0)\nERROR: No matching distribution "
               "found for colour==9\n");
        judged(CLASS_ENVIRONMENT, "Invalid requirement: 'a b': Expected end (from line 1)",
               "ERROR: Invalid requirement: 'a b': Expected end (from line 1)\n");
        judged(CLASS_ENVIRONMENT,
               "Cannot install a==1 and b==1 because these package versions have conflicting "
               "dependencies: a 1 depends on c==1; b 1 depends on c==2",
               "ERROR: Cannot install a==1 and b==1 because these package versions have "
               "conflicting dependencies.\n\nThe conflict is caused by:\n    a 1 depends on c==1\n "
               "   b 1 depends "
               "on c==2\n"
               "ERROR: ResolutionImpossible: for help visit https://x\n");
        judged(CLASS_ENVIRONMENT,
               "Cannot install a==1 and a==2 because these package versions have conflicting "
               "dependencies: The user requested a==1; The user requested a==2",
               "ERROR: Cannot install a==1 and a==2 because these package versions have "
               "conflicting dependencies.\n\nThe conflict is caused by:\n"
               "    The user requested a==1\n    The user requested a==2\n\n"
               "ERROR: ResolutionImpossible: for help visit https://x\n");
        judged(CLASS_ENVIRONMENT, "Encountered error while it was built: bad==1",
               "Collecting good\nCollecting bad==1\n  error: subprocess-exited-with-error\n  × "
               "python setup.py egg_info did not run "
               "successfully.\n  │ exit code: 1\n  ╰─> [6 lines of output]\n      boom\nerror: "
               "metadata-generation-failed\n\n× Encountered error while it was built.\n╰─> See "
               "above for output.\n");
}

TEST(what_uv_says_of_requirements_is_the_reason)
{
        judged(CLASS_ENVIRONMENT,
               "No solution found when resolving dependencies: Because there is no version of "
               "colour==9 and you require colour==9, your requirements are unsatisfiable.",
               "Using Python 3.11.2\nerror: No solution found when resolving dependencies\n  "
               "cause: "
               "Because there is no version of colour==9 and you require colour==9, your "
               "requirements are unsatisfiable.\n");
        judged(CLASS_INFRASTRUCTURE,
               "HTTP status server error (503 Service Unavailable) for url (http://x/)",
               "error: Request failed after 3 retries in 10.5s\n  cause: Failed to fetch: x\n  "
               "cause: HTTP status server error (503 Service Unavailable) for url (http://x/)\n");
}

TEST(an_unreachable_index_is_not_the_notebook_s_fault)
{
        judged(CLASS_INFRASTRUCTURE,
               "Could not fetch URL http://x/colour/: connection error: Max retries exceeded - "
               "skipping",
               "WARNING: Retrying (Retry(total=0)) after connection broken by "
               "'NewConnectionError()'\nERROR: No matching distribution found for colour\n"
               "Could not fetch URL http://x/colour/: connection error: Max retries exceeded - "
               "skipping\n");
        judged(CLASS_INFRASTRUCTURE, "Could not fetch URL http://x/: 503 Server Error - skipping",
               "Could not fetch URL http://x/: 503 Server Error - skipping\nERROR: No matching "
               "distribution found for colour\n");
        /* It was reached again, and has no such package. */
        judged(CLASS_ENVIRONMENT, "No matching distribution found for colour",
               "WARNING: Retrying (Retry(total=4)) after connection broken by "
               "'NewConnectionError()'\nCould not fetch URL http://x/colour/: 404 Client Error: "
               "Not Found - skipping\nERROR: No matching distribution found for colour\n");
        judged(CLASS_INFRASTRUCTURE, NULL, "nothing that anybody knows\n");
        judged(CLASS_INFRASTRUCTURE, NULL, "");
}

TEST(a_lock_has_urls_only_where_requirements_have)
{
        CHECK(env_lock_line_wanted("a==1", "a\n"));
        CHECK(!env_lock_line_wanted("a @ file:///srv/a.whl", "a\n"));
        CHECK(!env_lock_line_wanted("a @ https://h/a.whl", NULL));
        CHECK(!env_lock_line_wanted("a @ https://h/a.whl", "a ; x == \"://@\"\n"));
        CHECK(!env_lock_line_wanted("a @ https://h/a.whl", "--index-url https://h/\na\n"));
        CHECK(env_lock_line_wanted("a @ file:///a.whl", "b\n/a.whl\n"));
        CHECK(env_lock_line_wanted("a @ git+https://h/a@1", "--editable git+https://h/a\n"));
        CHECK(env_lock_line_wanted("a @ https://h/a.whl", "a @ https://h/a.whl\n"));
}

TEST(a_tree_that_is_too_deep_is_the_packages_fault)
{
        char name[51] = "", path[] = "/tmp/nbtest-XXXXXX", hash[ENV_KEY_SIZE];
        NB_CLEANUP(env_store_done) struct env_store s = ENV_STORE_NONE;
        struct nb_err err;
        uint64_t bytes;
        int at;

        memset(name, 'd', sizeof(name) - 1);
        CHECK(mkdtemp(path));
        CHECK_OK(env_store_open(path, &s, &err), &err);
        at = dup(s.fd);
        for (int i = 0; i < 200; i++) {
                int next;

                CHECK(mkdirat(at, i ? name : "key", 0700) == 0);
                next = openat(at, i ? name : "key", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                close(at);
                at = next;
        }
        close(at);
        CHECK_INT(env_store_measure(&s, "key", 0, hash, &bytes, &err), -NB_E_LIMIT);
        CHECK_OK(env_store_remove(&s, "key", &err), &err);
        CHECK(rmdir(path) == 0);
}

#define BUILT_MS 9000 /* after the times that the test sets, and before now */

static void hash_of(const struct env_store *s, char ret[ENV_KEY_SIZE])
{
        struct nb_err err;
        uint64_t bytes;

        CHECK_OK(env_store_measure(s, "key", BUILT_MS, ret, &bytes, &err), &err);
}

TEST(a_change_of_the_same_size_is_seen)
{
        nb_auto_free char *dir = nb_asprintf("%s/measured", nbtest_tmpdir());
        NB_CLEANUP(env_store_done) struct env_store s = ENV_STORE_NONE;
        struct timespec times[2] = {{.tv_sec = 7}, {.tv_sec = 7, .tv_nsec = 8}};
        char a[ENV_KEY_SIZE], b[ENV_KEY_SIZE];
        static const char file[] = "key/a.py", cached[] = "key/__pycache__/a.pyc";
        struct nb_err err;

        CHECK_OK(env_store_open(dir, &s, &err), &err);
        CHECK_OK(nb_mkdirs(s.fd, "key/__pycache__", 0700, &err), &err);
        CHECK_OK(nb_write_file(s.fd, file, "a = 1", 5, 0644, false, &err), &err);
        CHECK(utimensat(s.fd, file, times, 0) == 0);
        hash_of(&s, a);
        /* Reading it, or what Python keeps of it, is no change; nor is a new name of the whole. */
        times[0].tv_sec = 8;
        CHECK(utimensat(s.fd, file, times, 0) == 0);
        CHECK_OK(nb_write_file(s.fd, cached, "x", 1, 0600, false, &err), &err);
        CHECK(renameat(s.fd, "key", s.fd, "other") == 0 &&
              renameat(s.fd, "other", s.fd, "key") == 0);
        hash_of(&s, b);
        CHECK_STR(a, b);
        /* Bytecode of the build's own time is a part of it. */
        CHECK(utimensat(s.fd, cached, times, 0) == 0);
        hash_of(&s, b);
        CHECK(!nb_streq(a, b));
        CHECK(unlinkat(s.fd, cached, 0) == 0);
        times[1].tv_nsec = 9;
        CHECK(utimensat(s.fd, file, times, 0) == 0);
        hash_of(&s, b);
        CHECK(!nb_streq(a, b));
        times[1].tv_nsec = 8;
        CHECK(utimensat(s.fd, file, times, 0) == 0 && fchmodat(s.fd, file, 0755, 0) == 0);
        hash_of(&s, b);
        CHECK(!nb_streq(a, b));
        CHECK(fchmodat(s.fd, file, 0644, 0) == 0);
        hash_of(&s, b);
        CHECK_STR(a, b);
        CHECK_OK(env_store_remove(&s, "key", &err), &err);
        CHECK(rmdir(dir) == 0);
}

static int found(const struct env_store *s, const char *tree)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
        nb_auto_free char *text = nb_asprintf("{\"tree\":\"%s\"}", tree);
        struct nb_err err;

        CHECK_OK(nb_write_file(s->fd, "key.json", text, strlen(text), 0600, false, &err), &err);
        return env_store_find(s, "key", &t, &err);
}

TEST(what_an_older_nbcid_noted_is_built_again)
{
        nb_auto_free char *dir = nb_asprintf("%s/noted", nbtest_tmpdir());
        NB_CLEANUP(env_store_done) struct env_store s = ENV_STORE_NONE;
        static const char of_names_and_sizes[] = "/a.py 5\n";
        uint8_t hash[NB_SHA256_SIZE];
        char hex[ENV_KEY_SIZE];
        struct nb_err err;

        CHECK_OK(env_store_open(dir, &s, &err), &err);
        CHECK_OK(nb_mkdirs(s.fd, "key", 0700, &err), &err);
        CHECK_OK(nb_write_file(s.fd, "key/a.py", "a = 1", 5, 0644, false, &err), &err);
        nb_sha256(of_names_and_sizes, strlen(of_names_and_sizes), hash);
        nb_hex(hex, hash, sizeof(hash));
        CHECK_INT(found(&s, hex), 0);
        hash_of(&s, hex);
        CHECK_INT(found(&s, hex), 1);
        CHECK_OK(env_store_remove(&s, "key", &err), &err);
        CHECK(rmdir(dir) == 0);
}

TEST(images_come_from_registries)
{
        static const char *const remote[] = {
                "quay.io/a/b:1",      "localhost:5000/a", "alpine",       "alpine:3.18",
                "docker://quay.io/x", "a@sha256:0123",    "jupyter/base", "oci.example.org/dir:1"};
        static const char *const local[] = {"docker-archive:/srv/x.tar",
                                            "oci:out",
                                            "OCI:out:1",
                                            "dir:/srv/x",
                                            "docker-daemon:private:1",
                                            "oci-archive:x/y",
                                            "sif:x",
                                            "ostree:x@/y",
                                            "newer:/srv/x"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(remote); i++)
                if (!env_image_remote(remote[i]))
                        FAIL("%s is refused", remote[i]);
        for (size_t i = 0; i < NB_ARRAY_SIZE(local); i++)
                if (env_image_remote(local[i]))
                        FAIL("%s is taken", local[i]);
}

/* As a build has it that is made again in one run: what log_end() said of the
 * first one stands beyond the limit already. */
TEST(a_log_that_is_continued_takes_no_more_than_fits)
{
        static const char text[] = "0123456789";
        NB_CLEANUP(nb_closep) int fd = memfd_create("log", MFD_CLOEXEC);
        struct run_log l = {.fd = fd, .max = 4};
        struct stat st;

        CHECK(fd >= 0);
        log_put(&l, text, 10);
        CHECK_INT(l.bytes, 4);
        CHECK_INT(l.dropped, 6);
        log_end(&l);
        CHECK(fstat(fd, &st) == 0 && st.st_size > 4);
        l.bytes = (uint64_t)st.st_size;
        log_put(&l, text, 10);
        CHECK_INT(l.dropped, 10);
        CHECK_INT(l.bytes, st.st_size);
        CHECK(fstat(fd, &st) == 0);
        CHECK_INT(st.st_size, l.bytes);
}

NBTEST_MAIN()
