/* SPDX-License-Identifier: Apache-2.0 */

/* test-trouble.c - disks, executors and stores that refuse, restarts at bad
 * moments, reloads that take things away */

#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/git.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "nbtest.h"
#include "world.h"

#define ZERO "0000000000000000000000000000000000000000"
#define DAY_MS (86400 * INT64_C(1000))

static char *head_of(const char *origin)
{
        return shell_line("git -C %s/work rev-parse HEAD", origin);
}

/* One push that makes the named notebooks. */
static char *origin_of(const char *notebooks)
{
        nb_auto_free char *script = nb_asprintf("for n in %s; do nb $n.ipynb 1; done; git add .; "
                                                "git commit -qm a; git push -q origin main",
                                                notebooks);

        return origin_make(script);
}

static char *play_refusing(const char *origin, const char *after, unsigned k, bool at_recovery,
                           unsigned *ret_starts, bool *ret_refused)
{
        nb_auto_free char *name = nb_asprintf("refuse-%u-%d", k, at_recovery);
        struct world w;
        char *dump;

        world_init(&w, name, origin);
        w.refuse_at = at_recovery ? k : 0;
        CHECK(world_start(&w));
        if (!at_recovery)
                w.refuse_at = w.verbs + k;
        (void)world_push(&w, "d1", ZERO, after);
        world_run(&w);
        *ret_refused = w.verbs >= w.refuse_at;
        CHECK_INT(w.refusals, 0);
        world_stop(&w);
        dump = world_dump(&w);
        *ret_starts = exec_fake_total_starts(w.machine);
        world_done(&w);
        return dump;
}

TEST(a_store_that_refuses_for_a_while_delays_the_story_and_changes_nothing)
{
        nb_auto_free char *origin = origin_of("pass fail lost"), *after = head_of(origin);
        nb_auto_free char *whole = NULL;
        unsigned starts, again, k = 1;
        bool refused;

        whole = play_refusing(origin, after, 100000, false, &starts, &refused);
        CHECK(!refused);
        CHECK_INT(starts, 4);
        for (;; k++) {
                nb_auto_free char *dump = play_refusing(origin, after, k, false, &again, &refused);

                if (!refused)
                        break;
                if (strcmp(dump, whole) != 0 || again != starts)
                        FAIL("refused verb %u: %u runs and\n%s\nnot %u and\n%s", k, again, dump,
                             starts, whole);
        }
        printf("# %u places to refuse\n", k - 1);
        CHECK(k > 20);
        for (k = 1; k <= 3; k++) { /* recover, fail_orphans, each_inflight */
                nb_auto_free char *dump = play_refusing(origin, after, k, true, &again, &refused);

                CHECK_STR(dump, whole);
                CHECK_INT(again, starts);
        }
}

static bool one_running(struct world *w)
{
        return exec_fake_total_starts(w->machine) > 0;
}

static bool two_running(struct world *w)
{
        return exec_fake_total_starts(w->machine) > 1;
}

TEST(a_recovery_that_fails_is_repeated_and_runs_nothing_twice)
{
        nb_auto_free char *origin = origin_of("slow1 slow2"), *after = head_of(origin);
        nb_auto_free char *dump = NULL;
        struct nb_err err;
        struct world w;

        world_init(&w, "half-way", origin);
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        world_until(&w, two_running);
        world_stop(&w);
        w.refuse_at = 3;
        CHECK(world_start(&w));
        w.refuse_at = 0;
        CHECK_INT(flow_load(w.flow).running, 2);
        CHECK_OK(flow_door_cancel(w.door, 1, &err), &err);
        flow_poke(w.flow);
        world_run(&w);
        dump = world_dump(&w);
        CHECK(strstr(dump, "build 1 cancelled"));
        CHECK_INT(exec_fake_total_starts(w.machine), 2);
        world_stop(&w);
        world_done(&w);
}

TEST(a_cancel_that_a_crash_left_behind_is_applied_by_the_next_start)
{
        nb_auto_free char *origin = origin_of("slow1 slow2 slow3"), *after = head_of(origin);
        nb_auto_free char *dump = NULL;
        struct nb_err err;
        struct world w;

        world_init(&w, "cancel-pending", origin);
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        world_until(&w, two_running);
        CHECK_OK(flow_door_cancel(w.door, 1, &err), &err);
        world_stop(&w);
        CHECK(world_start(&w));
        world_run(&w);
        dump = world_dump(&w);
        CHECK(strstr(dump, "build 1 cancelled"));
        CHECK(strstr(dump, "slow1.ipynb cancelled"));
        CHECK(strstr(dump, "slow3.ipynb cancelled"));
        CHECK(strstr(world_last_status(&w, "nbcid/slow2.ipynb"), "cancelled"));
        CHECK_INT(exec_fake_total_starts(w.machine), 2);
        world_stop(&w);
        world_done(&w);
}

TEST(jobs_of_an_executor_that_is_gone_end_and_say_so)
{
        nb_auto_free char *origin = origin_of("slow1 slow2 slow3"), *after = head_of(origin);
        nb_auto_free char *dump = NULL;
        struct world w;

        world_init(&w, "executor-gone", origin);
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        world_until(&w, two_running);
        world_stop(&w);
        w.executor = "other";
        config_unref(w.config);
        w.config = world_config(&w, "", NULL, "");
        CHECK(world_start(&w));
        world_run(&w);
        dump = world_dump(&w);
        CHECK(strstr(dump, "build 1 errored jobs 3/3/0"));
        CHECK(strstr(dump, "slow1.ipynb errored lost"));
        CHECK(strstr(dump, "slow3.ipynb errored infrastructure"));
        CHECK(strstr(world_last_status(&w, "nbcid/slow1.ipynb"), "not in the configuration"));
        CHECK(strstr(world_last_status(&w, "nbcid"), "error: "));
        world_stop(&w);
        world_done(&w);
}

TEST(a_run_that_cannot_be_found_for_lack_of_descriptors_is_not_begun_again)
{
        nb_auto_free char *origin = origin_of("slow"), *after = head_of(origin);
        nb_auto_free char *dump = NULL;
        struct nb_err err;
        struct world w;

        world_init(&w, "attach", origin);
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        world_until(&w, one_running);
        world_stop(&w);
        w.attach_refusals = 2;
        CHECK(world_start(&w));
        CHECK_INT(flow_load(w.flow).running, 1);
        CHECK_OK(flow_door_cancel(w.door, 1, &err), &err);
        flow_poke(w.flow);
        world_run(&w);
        CHECK_INT(w.attach_refusals, 0);
        CHECK_INT(exec_fake_total_starts(w.machine), 1);
        dump = world_dump(&w);
        CHECK(strstr(dump, "slow.ipynb cancelled"));
        world_stop(&w);
        world_done(&w);
}

TEST(a_run_that_is_not_found_for_a_minute_is_lost)
{
        nb_auto_free char *origin = origin_of("slow"), *after = head_of(origin), *dump = NULL;
        struct world w;

        world_init(&w, "attach-lost", origin);
        config_unref(w.config);
        w.config = world_config(&w, "", NULL, "[limits]\nretries = 0\n");
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        world_until(&w, one_running);
        world_stop(&w);
        w.attach_refusals = 1000;
        CHECK(world_start(&w));
        w.offset_ms += 61 * 1000;
        flow_poke(w.flow);
        world_run(&w);
        dump = world_dump(&w);
        CHECK(strstr(dump, "slow.ipynb errored lost"));
        world_stop(&w);
        world_done(&w);
}

static bool build_2_over(struct world *w)
{
        nb_auto_free char *dump = world_dump(w);

        return strstr(dump, "build 2 passed") != NULL;
}

TEST(artifacts_that_the_disk_refuses_are_taken_later_and_hold_nobody_up)
{
        nb_auto_free char *origin = origin_of("pass"), *after = head_of(origin), *dump = NULL;
        struct world w;

        world_init(&w, "collect", origin);
        free(shell_line("cp -r %s/acme/notebooks.git %s/acme/other.git", origin, origin));
        CHECK(world_start(&w));
        w.collect_refusals = 1;
        (void)world_push(&w, "d1", ZERO, after);
        world_until(&w, one_running);
        (void)world_push_to(&w, "acme/other", "d2", ZERO, after);
        world_until(&w, build_2_over);
        world_run(&w);
        dump = world_dump(&w);
        CHECK(strstr(dump, "build 1 passed jobs 1/1/1"));
        CHECK_INT(exec_fake_total_starts(w.machine), 2);
        world_stop(&w);
        world_done(&w);
}

TEST(nothing_new_is_started_below_the_disk_floor)
{
        nb_auto_free char *origin = origin_of("pass"), *after = head_of(origin), *dump = NULL;
        struct config *full;
        struct nb_err err;
        struct world w;

        world_init(&w, "floor", origin);
        full = world_config(&w, "min_free = \"900000GiB\"", NULL, "");
        CHECK(world_start(&w));
        flow_reconfigure(w.flow, full);
        (void)world_push(&w, "d1", ZERO, after);
        for (int i = 0; i < 10; i++) {
                CHECK_OK(loop_step(w.loop, 10 * NB_US_PER_MS, &err), &err);
                CHECK_INT(flow_load(w.flow).preparing, 0);
        }
        flow_reconfigure(w.flow, w.config);
        config_unref(full);
        world_run(&w);
        dump = world_dump(&w);
        CHECK(strstr(dump, "build 1 passed jobs 1/1/1"));
        world_stop(&w);
        world_done(&w);
}

static bool preparing(struct world *w)
{
        return flow_load(w->flow).preparing > 0;
}

static bool checking_out(struct world *w)
{
        return flow_load(w->flow).running > 0;
}

TEST(an_end_while_the_pool_works_loses_nothing)
{
        bool (*const moments[])(struct world *) = {preparing, checking_out};

        for (size_t i = 0; i < NB_ARRAY_SIZE(moments); i++) {
                nb_auto_free char *origin = origin_of("pass fail"), *after = head_of(origin);
                nb_auto_free char *name = nb_asprintf("pool-%zu", i), *dump = NULL;
                struct world w;

                world_init(&w, name, origin);
                CHECK(world_start(&w));
                (void)world_push(&w, "d1", ZERO, after);
                world_until(&w, moments[i]);
                CHECK(loop_work_pending(w.loop) > 0);
                world_stop(&w);
                CHECK(world_start(&w));
                world_run(&w);
                dump = world_dump(&w);
                CHECK(strstr(dump, "build 1 failed jobs 2/2/1"));
                CHECK_INT(exec_fake_total_starts(w.machine), 2);
                world_stop(&w);
                world_done(&w);
        }
}

TEST(leftovers_of_a_crash_are_removed_and_not_what_replaces_them)
{
        nb_auto_free char *origin = origin_of("pass"), *after = head_of(origin);
        nb_auto_free char *dump = NULL, *left = NULL;
        struct world w;

        world_init(&w, "leftovers", origin);
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        world_stop(&w);
        free(shell_line("d=%s/workspaces; mkdir -p $d/nbcid-0-9 $d/.gone-x; for i in $(seq 300); "
                        "do mkdir -p $d/build-1/$i; : > $d/build-1/$i/0; done",
                        w.dir));
        CHECK(world_start(&w));
        world_run(&w);
        dump = world_dump(&w);
        CHECK(strstr(dump, "build 1 passed jobs 1/1/1"));
        world_stop(&w);
        left = shell_line("ls -A %s/workspaces", w.dir);
        CHECK_STR(left, "");
        world_done(&w);
}

static bool build_1_over(struct world *w)
{
        nb_auto_free char *dump = world_dump(w);

        return w->posts > 1 && strstr(dump, "build 1 passed");
}

TEST(a_forge_that_a_reload_drops_hears_nothing_more)
{
        nb_auto_free char *origin = origin_of("pass"), *after = head_of(origin), *dump = NULL;
        struct config *other;
        struct world w;
        unsigned posts;

        world_init(&w, "dropped", origin);
        other = world_config(&w, "", "elsewhere", "");
        w.answer = 0;
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        world_until(&w, build_1_over);
        flow_reconfigure(w.flow, other);
        (void)world_push(&w, "d2", after, after); /* its door has not heard yet */
        w.answer = 201;
        world_run(&w);
        posts = w.posts;
        w.offset_ms += DAY_MS;
        flow_poke(w.flow);
        world_run(&w);
        CHECK_INT(w.posts, posts);
        CHECK_INT(w.n_statuses, 0);
        dump = world_dump(&w);
        CHECK(strstr(dump, "build 2 errored"));
        CHECK(strstr(dump, "forge \"github\" is not in the configuration any more"));
        config_unref(other);
        world_stop(&w);
        world_done(&w);
}

/* Each ends as soon as it has begun: the pool is quicker than whoever asked it. */
TEST(builds_that_cannot_be_prepared_are_errored_each_of_them)
{
        nb_auto_free char *origin = origin_of("pass"), *after = head_of(origin), *dump = NULL;
        struct config *other;
        struct world w;
        size_t n = 0;

        world_init(&w, "unprepared", origin);
        other = world_config(&w, "", "elsewhere", "");
        CHECK(world_start(&w));
        flow_reconfigure(w.flow, other);
        for (int i = 0; i < 100; i++) {
                nb_auto_free char *name = nb_asprintf("acme/r%d", i);

                (void)world_push_to(&w, name, name, ZERO, after);
        }
        world_run(&w);
        dump = world_dump(&w);
        for (const char *p = dump; (p = strstr(p, " errored jobs 0/0/0 forge")); p++)
                n++;
        CHECK_INT(n, 100);
        config_unref(other);
        world_stop(&w);
        world_done(&w);
}

static bool artifacts_gone(struct world *w)
{
        nb_auto_free char *dir = nb_asprintf("%s/artifacts/1", w->dir);

        return access(dir, F_OK) < 0;
}

static bool build_gone(struct world *w)
{
        nb_auto_free char *dump = world_dump(w);

        return !strstr(dump, "build 1 ");
}

TEST(what_is_old_is_swept_first_the_artifacts_then_the_rows)
{
        nb_auto_free char *origin = origin_of("pass"), *after = head_of(origin);
        struct world w;

        world_init(&w, "sweep", origin);
        CHECK(world_start(&w));
        (void)world_push(&w, "d1", ZERO, after);
        world_run(&w);
        world_stop(&w);
        w.sweep_us = 1;
        w.offset_ms += 29 * DAY_MS;
        CHECK(world_start(&w));
        world_run(&w);
        (void)loop_step(w.loop, 20 * NB_US_PER_MS, NULL);
        CHECK(!artifacts_gone(&w));
        world_stop(&w);
        w.offset_ms += 2 * DAY_MS;
        CHECK(world_start(&w));
        world_until(&w, artifacts_gone);
        CHECK(!build_gone(&w));
        world_run(&w);
        world_stop(&w);
        w.offset_ms += 60 * DAY_MS;
        CHECK(world_start(&w));
        world_until(&w, build_gone);
        world_stop(&w);
        world_done(&w);
}

WORLD_MAIN()
