/* SPDX-License-Identifier: Apache-2.0 */

/* test-env.c - keys of environments, lines of locks, and what installers say */

#include "../../../src/runner/env-priv.h"
#include "nbtest.h"

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
        key_of("Zope_.Interface==1_0", NULL, NULL, &p, a);
        key_of("zope-interface==1_0", NULL, NULL, &p, b);
        CHECK_STR(a, b);
        key_of("zope-interface==1-0", NULL, NULL, &p, b);
        CHECK(!nb_streq(a, b));
        key_of("", NULL, NULL, &p, a);
        key_of("", NULL, "", &p, b);
        CHECK(!nb_streq(a, b));
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
               "dependencies: a 1 depends on c==1 b 1 depends on c==2",
               "ERROR: Cannot install a==1 and b==1 because these package versions have "
               "conflicting dependencies.\n\nThe conflict is caused by:\n    a 1 depends on c==1\n "
               "   b 1 depends "
               "on c==2\n"
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
NBTEST_MAIN()
