/* SPDX-License-Identifier: Apache-2.0 */

/*
 * test-far-restart.c - stop the process after store verb k, for every k, while
 * notebooks run as custom jobs of Vertex AI
 *
 * As test-restart.c, with the real executor and Google's stand-in, which far.py
 * starts and names in the environment.  Whenever the process stops: the end is
 * the same, no notebook becomes two jobs, and nothing stays in the bucket.
 */

#include <dirent.h>

#include <nbcid/git.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "nbtest.h"
#include "world.h"

static char *origin, *before, *after, *executor;

static void make_origin(void)
{
        const char *url = getenv("NBCID_GOOGLE_URL"), *dir = getenv("NBCID_GOOGLE_DIR");

        if (origin)
                return;
        if (!url || !dir)
                FAIL("run by far.py");
        executor = nb_asprintf("kind = \"vertex\"\nproject = \"acme-notebooks\"\n"
                               "region = \"us-central1\"\nbucket = \"acme-nb\"\n"
                               "credentials_file = \"%s/service-account.json\"\n"
                               "container_uri = \"docker.io/acme/notebooks:1\"\n"
                               "api_url = \"%s/{region}\"\nstorage_url = \"%s\"\n"
                               "token_url = \"%s/token\"\npoll_interval = \"50ms\"\n",
                               dir, url, url, url);
        origin = origin_make("echo hello > README; git add .; git commit -qm base; "
                             "nb pass.ipynb 1; nb fail.ipynb 1/0; "
                             "git add .; git commit -qm 'Train it'; git push -q origin main");
        before = shell_line("git -C %s/work rev-parse HEAD^", origin);
        after = shell_line("git -C %s/work rev-parse HEAD", origin);
}

/* How often word is in the answer of the stand-in's control API. */
static int64_t control(const char *path, const char *word)
{
        nb_auto_free char *n = shell_line("curl -sf --noproxy '*' '%s/__control/%s' | "
                                          "grep -o '%s' | wc -l",
                                          getenv("NBCID_GOOGLE_URL"), path, word);
        int64_t v = -1;

        CHECK(nb_parse_i64(n, 0, INT64_MAX, &v, NULL) == 0);
        return v;
}

static int64_t jobs(void)
{
        return control("jobs", "\"createTime\"");
}

static bool record_is_empty(struct world *w)
{
        nb_auto_free char *path = nb_asprintf("%s/remote/vertex", w->dir);
        DIR *d = opendir(path);
        bool empty = true;

        for (struct dirent *e; d && (e = readdir(d));)
                empty = empty && e->d_name[0] == '.';
        if (d)
                closedir(d);
        return empty;
}

static void make_world(struct world *w, unsigned k)
{
        nb_auto_free char *name = nb_asprintf("far-%u", k);

        world_init(w, name, origin);
        w->executor = "vertex";
        w->real = executor;
        config_unref(w->config);
        w->config = world_config(w, "min_free = \"1MiB\"", NULL, "[limits]\nretries = 0\n");
        w->stop_after = k ? k : UINT32_MAX;
}

/* How long a notebook took is no part of the end. */
static void hide_seconds(char *dump)
{
        for (char *p = dump; (p = strstr(p, " in ")); p += 4) {
                size_t n = strspn(p + 4, "0123456789. ms");

                memmove(p + 4, p + 4 + n, strlen(p + 4 + n) + 1);
        }
}

/* Push, stop after verb k of the first process (0: never), go on to the end. */
static char *play(unsigned k, int64_t *ret_jobs, bool *ret_died)
{
        const int64_t jobs_before = jobs();
        struct world w;
        char *dump;

        make_world(&w, k);
        if (world_start(&w)) {
                (void)world_push(&w, "d1", before, after);
                world_run(&w);
        } else {
                (void)world_push(&w, "d1", before, after);
        }
        *ret_died = w.dead;
        if (*ret_died) {
                world_stop(&w);
                w.stop_after = 0;
                CHECK(world_start(&w));
                world_run(&w);
        }
        world_until(&w, record_is_empty);
        world_stop(&w);
        dump = world_dump(&w);
        hide_seconds(dump);
        *ret_jobs = jobs() - jobs_before;
        world_done(&w);
        CHECK_INT(control("objects?bucket=acme-nb", "\"generation\""), 0);
        return dump;
}

TEST(every_place_to_stop_has_the_same_end)
{
        nb_auto_free char *whole = NULL;
        const char *part = getenv("NBCID_PART"); /* "K/N": every Nth place, from the Kth on */
        unsigned k = 1, parts = 1, tried = 0;
        int64_t n;
        bool died;

        make_origin();
        whole = play(0, &n, &died);
        CHECK(!died);
        CHECK_INT(n, 2);
        CHECK(strstr(whole, "ZeroDivisionError"));
        if (part)
                CHECK(sscanf(part, "%u/%u", &k, &parts) == 2 && k > 0 && parts > 0);
        for (;; k += parts, tried++) {
                nb_auto_free char *dump = play(k, &n, &died);

                if (!died)
                        break;
                if (strcmp(dump, whole) != 0)
                        FAIL("stopped after verb %u:\n%s\nnot:\n%s", k, dump, whole);
                if (n != 2)
                        FAIL("stopped after verb %u: %lld jobs, not 2", k, (long long)n);
        }
        printf("# %u places to stop\n", tried);
        CHECK(tried > 15);
}

WORLD_MAIN()
