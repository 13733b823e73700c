/* SPDX-License-Identifier: Apache-2.0 */

/* test-story.c - a push from the signed delivery to the last status */

#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/git.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "nbtest.h"
#include "world.h"

#define ZERO "0000000000000000000000000000000000000000"

static char *head_of(const char *origin, const char *rev)
{
        return shell_line("git -C %s/work rev-parse %s", origin, rev);
}

static char *origin_of_many(void)
{
        return origin_make("echo hello > README; git add .; git commit -qm base; "
                           "nb pass.ipynb 1; nb fail.ipynb 2; nb lost.ipynb 3; "
                           "echo 'not json' > broken.ipynb; "
                           "git add .; git commit -qm 'Train it'; git push -q origin main");
}

TEST(a_push_runs_its_notebooks_and_the_commit_shows_it)
{
        nb_auto_free char *origin = origin_of_many(), *dump = NULL;
        nb_auto_free char *before = head_of(origin, "HEAD^"), *after = head_of(origin, "HEAD");
        nb_auto_free char *notebook = NULL;
        struct world w;

        world_init(&w, "story", origin);
        CHECK(world_start(&w));
        CHECK_INT(world_push(&w, "d1", before, after).build, 1);
        CHECK(world_push(&w, "d1", before, after).duplicate);
        world_run(&w);
        dump = world_dump(&w);
        CHECK(strstr(dump, "build 1 failed jobs 4/4/2"));
        CHECK(strstr(dump, "pass.ipynb passed passed"));
        CHECK(strstr(dump, "lost.ipynb passed passed"));
        CHECK(strstr(dump, "fail.ipynb failed cell_error"));
        CHECK(strstr(dump, "broken.ipynb failed check"));
        CHECK(strstr(world_last_status(&w, "nbcid"), "failure: "));
        CHECK(strstr(world_last_status(&w, "nbcid/pass.ipynb"), "success: "));
        CHECK(strstr(world_last_status(&w, "nbcid/fail.ipynb"), "failure: cell "));
        CHECK(strstr(world_last_status(&w, "nbcid/broken.ipynb"), "broken.ipynb:1:1"));
        CHECK_INT(exec_fake_total_starts(w.machine), 4); /* lost.ipynb twice */
        notebook = nb_asprintf("%s/artifacts/1", w.dir);
        CHECK_INT(access(notebook, F_OK), 0);
        world_stop(&w);
        world_done(&w);
}

TEST(no_notebook_changed_is_passed_with_a_note)
{
        nb_auto_free char *origin =
                origin_make("nb a.ipynb 1; git add .; git commit -qm a; echo x > README; "
                            "git add .; git commit -qm b; git push -q origin main");
        nb_auto_free char *before = head_of(origin, "HEAD^"), *after = head_of(origin, "HEAD");
        nb_auto_free char *dump = NULL;
        struct world w;

        world_init(&w, "nothing", origin);
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", before, after);
        world_run(&w);
        dump = world_dump(&w);
        CHECK(strstr(dump, "build 1 passed jobs 0/0/0"));
        CHECK_STR(world_last_status(&w, "nbcid"), "success: no notebook changed");
        world_stop(&w);
        world_done(&w);
}

TEST(the_repositorys_own_file_decides_what_runs_and_its_mistakes_are_its_own)
{
        nb_auto_free char *origin = origin_make(
                "mkdir scratch; nb a.ipynb 1; nb scratch/b.ipynb 1; "
                "printf '[notebooks]\\nexclude = [\"scratch/**\"]\\n' > .nbcid.toml; git add .; "
                "git commit -qm one; printf '[notebooks]\\nexlude = []\\n' > .nbcid.toml; "
                "nb a.ipynb 2; git add .; git commit -qm two; git push -q origin main");
        nb_auto_free char *one = head_of(origin, "HEAD^"), *two = head_of(origin, "HEAD");
        nb_auto_free char *dump = NULL;
        struct world w;

        world_init(&w, "own-file", origin);
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, one);
        world_run(&w);
        (void)world_push(&w, "d2", one, two);
        world_run(&w);
        dump = world_dump(&w);
        CHECK(strstr(dump, "build 1 passed jobs 1/1/1"));
        CHECK(!strstr(dump, "scratch/b.ipynb"));
        CHECK(strstr(dump, "build 2 failed jobs 0/0/0"));
        CHECK(strstr(dump, "exlude"));
        world_stop(&w);
        world_done(&w);
}

TEST(an_unreachable_remote_is_retried_and_then_the_commit_says_why)
{
        nb_auto_free char *origin =
                origin_make("nb a.ipynb 1; git add .; git commit -qm a; git push -q origin main");
        nb_auto_free char *after = head_of(origin, "HEAD"), *dump = NULL;
        struct world w;

        world_init(&w, "unreachable", origin);
        free(shell_line("mv %s/acme %s/away", origin, origin));
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        world_run(&w);
        dump = world_dump(&w);
        CHECK(strstr(dump, "build 1 errored"));
        CHECK(strstr(world_last_status(&w, "nbcid"), "error: "));
        world_stop(&w);
        world_done(&w);
}

static bool one_running(struct world *w)
{
        return flow_load(w->flow).running > 0 && exec_fake_total_starts(w->machine) > 0;
}

TEST(a_cancelled_build_stops_its_run_and_says_so)
{
        nb_auto_free char *origin = origin_make("nb slow.ipynb 1; git add .; git commit -qm a; "
                                                "git push -q origin main");
        nb_auto_free char *after = head_of(origin, "HEAD"), *dump = NULL;
        struct nb_err err;
        struct world w;

        world_init(&w, "cancel", origin);
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        world_until(&w, one_running);
        CHECK_OK(flow_door_cancel(w.door, 1, &err), &err);
        flow_poke(w.flow);
        world_run(&w);
        dump = world_dump(&w);
        CHECK(strstr(dump, "build 1 cancelled"));
        CHECK(strstr(dump, "slow.ipynb cancelled"));
        CHECK(strstr(world_last_status(&w, "nbcid"), "error: cancelled"));
        CHECK_ERR(flow_door_cancel(w.door, 1, &err), &err, NB_E_CONFLICT, "");
        world_stop(&w);
        world_done(&w);
}

TEST(a_retry_is_a_new_build_of_the_same_event_or_of_one_notebook)
{
        nb_auto_free char *origin = origin_of_many(), *dump = NULL;
        nb_auto_free char *before = head_of(origin, "HEAD^"), *after = head_of(origin, "HEAD");
        struct nb_err err;
        struct world w;
        int64_t build = 0;

        world_init(&w, "retry", origin);
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", before, after);
        world_run(&w);
        /* GitHub's signature says nothing of the id: no way to a build */
        CHECK(world_push(&w, "d2", before, after).duplicate);
        CHECK_INT(world_push(&w, "d3", before, after).build, 1);
        CHECK_OK(flow_door_retry_build(w.door, 1, &build, &err), &err);
        CHECK_INT(build, 2);
        flow_poke(w.flow);
        world_run(&w);
        CHECK_OK(flow_door_retry_job(w.door, 1, &build, &err), &err);
        CHECK_INT(build, 3);
        flow_poke(w.flow);
        world_run(&w);
        dump = world_dump(&w);
        CHECK(strstr(dump, "build 2 failed jobs 4/4/2"));
        CHECK(strstr(dump, "build 3 failed jobs 1/1/0")); /* job 1 is broken.ipynb */
        CHECK_ERR(flow_door_retry_build(w.door, 99, &build, &err), &err, NB_E_NOTFOUND, "99");
        world_stop(&w);
        world_done(&w);
}

TEST(statuses_wait_for_a_forge_that_is_down_and_only_the_last_ones_are_sent)
{
        nb_auto_free char *origin =
                origin_make("nb a.ipynb 1; git add .; git commit -qm a; git push -q origin main");
        nb_auto_free char *after = head_of(origin, "HEAD");
        struct world w;

        world_init(&w, "down", origin);
        w.answer = 0;
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        for (int i = 0; i < 200 && flow_load(w.flow).sending + w.posts < 3; i++)
                (void)loop_step(w.loop, 20 * NB_US_PER_MS, NULL);
        while (w.posts < 5) { /* it was tried, and tried again */
                w.offset_ms += 3600 * 1000;
                flow_poke(w.flow);
                (void)loop_step(w.loop, 20 * NB_US_PER_MS, NULL);
        }
        CHECK_INT(w.n_statuses, 0);
        w.answer = 201;
        w.offset_ms += 3600 * 1000;
        flow_poke(w.flow);
        world_run(&w);
        CHECK_STR(world_last_status(&w, "nbcid"), "success: 1 notebook passed");
        CHECK(strstr(world_last_status(&w, "nbcid/a.ipynb"), "success: "));
        world_stop(&w);
        world_done(&w);
}

TEST(a_forge_that_refuses_a_status_for_good_is_not_asked_again)
{
        nb_auto_free char *origin =
                origin_make("nb a.ipynb 1; git add .; git commit -qm a; git push -q origin main");
        nb_auto_free char *after = head_of(origin, "HEAD"), *dump = NULL;
        unsigned posts;
        struct world w;

        world_init(&w, "refused", origin);
        w.answer = 404;
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        world_run(&w);
        posts = w.posts;
        w.offset_ms += 7200 * 1000;
        flow_poke(w.flow);
        world_run(&w);
        CHECK_INT(w.posts, posts);
        dump = world_dump(&w);
        CHECK(strstr(dump, "build 1 passed"));
        world_stop(&w);
        world_done(&w);
}

WORLD_MAIN()
