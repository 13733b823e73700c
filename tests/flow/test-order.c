/* SPDX-License-Identifier: Apache-2.0 */

/* test-order.c - whose turn it is: repositories, jobs, statuses */

#include <nbcid/git.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "nbtest.h"
#include "world.h"

#define ZERO "0000000000000000000000000000000000000000"

static char *head_of(const char *dir)
{
        return shell_line("git -C %s rev-parse main", dir);
}

/* acme/notebooks with the first list, acme/other with the second. */
static char *origin_of_two(const char *one, const char *other)
{
        nb_auto_free char *script =
                nb_asprintf("for n in %s; do nb $n.ipynb 1; done; git add .; git commit -qm a; "
                            "git push -q origin main; git clone -q --bare ../acme/notebooks.git "
                            "../acme/other.git 2>/dev/null; git rm -q '*.ipynb'; "
                            "for n in %s; do nb $n.ipynb 1; done; git add .; git commit -qm b; "
                            "git push -q ../acme/other.git main",
                            one, other);

        return origin_make(script);
}

static void push_two(struct world *w)
{
        nb_auto_free char *a = nb_asprintf("%s/acme/notebooks.git", w->origin);
        nb_auto_free char *b = nb_asprintf("%s/acme/other.git", w->origin);
        nb_auto_free char *one = head_of(a), *other = head_of(b);

        CHECK_INT(world_push_to(w, "acme/notebooks", "d1", ZERO, one).build, 1);
        CHECK_INT(world_push_to(w, "acme/other", "d2", ZERO, other).build, 2);
}

static bool has(struct world *w, const char *text)
{
        nb_auto_free char *dump = world_dump(w);

        return strstr(dump, text) != NULL;
}

static bool other_passed(struct world *w)
{
        return has(w, "build 2 passed");
}

TEST(a_repository_at_its_limit_does_not_keep_others_waiting)
{
        nb_auto_free char *origin = origin_of_two("slow1 slow2 slow3", "x y z");
        struct nb_err err;
        struct world w;

        world_init(&w, "limit", origin);
        config_unref(w.config);
        w.config = world_config(&w, "", NULL, "[limits]\njobs_per_repository = 1\n");
        CHECK(world_start(&w));
        push_two(&w);
        world_until(&w, other_passed);
        CHECK_INT(flow_load(w.flow).running, 1); /* a slot is free, and not for slow2 */
        CHECK(has(&w, "slow2.ipynb pending"));
        CHECK_OK(flow_door_cancel(w.door, 1, &err), &err);
        flow_poke(w.flow);
        world_run(&w);
        CHECK_INT(exec_fake_total_starts(w.machine), 4);
        world_stop(&w);
        world_done(&w);
}

static bool both_prepared(struct world *w)
{
        return has(w, "build 1 running") && has(w, "build 2 running");
}

static int first_attempt(void *arg, const struct view_attempt *a)
{
        if (*(int64_t *)arg == 0)
                *(int64_t *)arg = a->id;
        return 0;
}

static int take_id(void *arg, const struct view_job *j)
{
        *(int64_t *)arg = j->id;
        return 0;
}

TEST(the_second_slot_is_for_the_repository_that_has_none)
{
        nb_auto_free char *origin = origin_of_two("a b c d e f", "x");
        struct store_view *v = NULL;
        struct nb_err err;
        int64_t attempt = 0, job = 0;
        struct world w;

        world_init(&w, "fair", origin);
        w.slots = 0;
        CHECK(world_start(&w));
        push_two(&w);
        world_until(&w, both_prepared);
        world_stop(&w);
        w.slots = 2;
        CHECK(world_start(&w));
        world_run(&w);
        CHECK(has(&w, "build 1 passed jobs 6/6/6"));
        CHECK(has(&w, "x.ipynb passed"));
        CHECK_OK(store_view_open(w.db_path, &v, &err), &err);
        /* Which of the two was prepared first, and so numbered, is chance. */
        CHECK_INT(store_view_jobs(v, 2, take_id, &job, &err), 1);
        CHECK_OK(store_view_attempts(v, job, first_attempt, &attempt, &err), &err);
        store_view_close(v);
        CHECK(attempt <= 2); /* before b to f, whose push is older */
        world_stop(&w);
        world_done(&w);
}

static unsigned contexts_of(const struct world *w)
{
        unsigned n = 0;

        for (size_t i = 0; i < w->n_statuses; i++) {
                bool before = false;

                for (size_t k = 0; k < i; k++)
                        before = before || nb_streq(w->statuses[i].context, w->statuses[k].context);
                n += !before;
        }
        return n;
}

static char *many(const char *prefix)
{
        return shell_line("seq -f '%s%%02g' -s ' ' 30", prefix);
}

TEST(thirty_notebooks_have_twenty_statuses_and_one_summary)
{
        nb_auto_free char *names = many("n"), *origin = origin_of_two(names, "x");
        nb_auto_free char *bare = nb_asprintf("%s/acme/notebooks.git", origin);
        nb_auto_free char *after = head_of(bare);
        struct world w;

        world_init(&w, "thirty", origin);
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        world_run(&w);
        CHECK(has(&w, "build 1 passed jobs 30/30/30"));
        CHECK_INT(contexts_of(&w), 21);
        CHECK(world_last_status(&w, "nbcid/n20.ipynb"));
        CHECK(!world_last_status(&w, "nbcid/n21.ipynb"));
        CHECK_STR(world_last_status(&w, "nbcid"), "success: 30 notebooks passed");
        world_stop(&w);
        world_done(&w);
}

TEST(a_forge_that_says_wait_is_left_alone_until_then)
{
        nb_auto_free char *names = many("n"), *origin = origin_of_two(names, "x");
        nb_auto_free char *bare = nb_asprintf("%s/acme/notebooks.git", origin);
        nb_auto_free char *after = head_of(bare);
        unsigned posts;
        struct world w;

        world_init(&w, "wait", origin);
        w.answer = 429;
        w.retry_after = "120";
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        while (!has(&w, "build 1 passed")) {
                CHECK(w.posts <= 8);
                (void)loop_step(w.loop, 20 * NB_US_PER_MS, NULL);
        }
        posts = w.posts;
        CHECK(posts > 0 && posts <= 8);
        w.offset_ms += 60 * 1000;
        flow_poke(w.flow);
        for (int i = 0; i < 5; i++)
                (void)loop_step(w.loop, 10 * NB_US_PER_MS, NULL);
        CHECK_INT(w.posts, posts);
        w.answer = 201;
        w.offset_ms += 61 * 1000;
        flow_poke(w.flow);
        world_run(&w);
        CHECK_INT(contexts_of(&w), 21);
        CHECK_INT(w.posts, posts + 21); /* each once, in its last words */
        CHECK_STR(world_last_status(&w, "nbcid"), "success: 30 notebooks passed");
        world_stop(&w);
        world_done(&w);
}

TEST(a_forge_that_says_wait_a_second_all_day_loses_no_status)
{
        nb_auto_free char *origin = origin_of_two("a", "x");
        nb_auto_free char *bare = nb_asprintf("%s/acme/notebooks.git", origin);
        nb_auto_free char *after = head_of(bare);
        int64_t until;
        struct world w;

        world_init(&w, "all-day", origin);
        w.answer = 429;
        w.retry_after = "1";
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        while (!has(&w, "build 1 passed"))
                (void)loop_step(w.loop, 20 * NB_US_PER_MS, NULL);
        for (until = w.offset_ms + 12 * 3600 * INT64_C(1000); w.offset_ms < until;) {
                w.offset_ms += 60 * 1000;
                flow_poke(w.flow);
                (void)loop_step(w.loop, NB_US_PER_MS, NULL);
                (void)loop_step(w.loop, NB_US_PER_MS, NULL);
        }
        CHECK(w.posts < 100); /* two contexts, more and more seldom */
        w.answer = 201;
        w.offset_ms += 3600 * 1000;
        flow_poke(w.flow);
        world_run(&w);
        CHECK_STR(world_last_status(&w, "nbcid"), "success: 1 notebook passed");
        CHECK(strstr(world_last_status(&w, "nbcid/a.ipynb"), "success: "));
        world_stop(&w);
        world_done(&w);
}

WORLD_MAIN()
