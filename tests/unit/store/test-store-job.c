/* SPDX-License-Identifier: Apache-2.0 */
/* jobs and attempts: fair picking, runs, retries, how a build ends by them */
#include "store-test.h"

static const struct store_room local = {"local", 100};

/* The job picked, 0: none. */
static int64_t pick_of(struct fix *f, const struct store_room *rooms, size_t n, uint32_t per_repo)
{
        struct store_attempt a;
        int64_t job;
        int r = store_pick_job(f->s, rooms, n, per_repo, &a, &f->err);

        CHECK_OK(r, &f->err);
        if (r == 0)
                return 0;
        job = a.job;
        store_attempt_done(&a);
        return job;
}

/* A running build of one job, for an executor. */
static int64_t job_on(struct fix *f, const char *repository, const char *executor)
{
        const struct store_new_job job = {.notebook = "a.ipynb", .executor = executor};
        int64_t id = push(f, repository, C1);
        bool over;

        CHECK_INT(pick(f), id);
        CHECK_OK(store_build_prepared(f->s, id, C1, NULL, NULL, &job, 1, &over, &f->err), &f->err);
        return q_int(f, "SELECT id FROM job WHERE build = %d", (int)id);
}

TEST(an_attempt_knows_all_that_a_run_needs)
{
        FIX(f);
        const struct nb_environment env = {
                .kernel = (char *)(uintptr_t) "ir",
                .language = (char *)(uintptr_t) "R",
                .image = (char *)(uintptr_t) "r-base:4",
                .name = (char *)(uintptr_t) "common-cpu",
                .requirements = (char *)(uintptr_t) "a==1\nb \"quoted\" \xc3\xa9\n",
                .why = (char *)(uintptr_t) "notebook metadata",
        };
        const struct store_new_job job = {.notebook = "d/a.ipynb",
                                          .executor = "local",
                                          .environment = &env,
                                          .cells = 12,
                                          .timeout_us = UINT64_C(7200000000),
                                          .cell_timeout_us = 60};
        int64_t id = push(&f, "acme/nb", C2);
        struct store_attempt a;
        char ref[64];
        bool over;

        CHECK_INT(pick(&f), id);
        CHECK_OK(store_build_prepared(f.s, id, C3, NULL, NULL, &job, 1, &over, &f.err), &f.err);
        CHECK_INT(store_pick_job(f.s, &local, 1, 1, &a, &f.err), 1);
        snprintf(ref, sizeof(ref), "nbcid-%s-1", store_instance(f.s));
        CHECK_STR(a.ref, ref);
        CHECK_INT(a.build, id);
        CHECK_INT(a.number, 1);
        CHECK_INT(a.state, JOB_SUBMITTING);
        CHECK_STR(a.executor, "local");
        CHECK_STR(a.forge, "hub");
        CHECK_STR(a.repository, "acme/nb");
        CHECK_STR(a.git_ref, "refs/heads/main");
        CHECK_STR(a.commit, C3);
        CHECK_STR(a.notebook, "d/a.ipynb");
        CHECK_STR(a.environment.kernel, "ir");
        CHECK_STR(a.environment.language, "R");
        CHECK_STR(a.environment.image, "r-base:4");
        CHECK_STR(a.environment.name, "common-cpu");
        CHECK_STR(a.environment.requirements, env.requirements);
        CHECK_STR(a.environment.why, "notebook metadata");
        CHECK(a.timeout_us == UINT64_C(7200000000));
        CHECK(a.cell_timeout_us == 60);
        CHECK(!a.cancelled);
        store_attempt_done(&a);
        CHECK_INT(store_pick_job(f.s, &local, 1, 1, &a, &f.err), 0);
}

TEST(an_environment_has_a_ceiling)
{
        FIX(f);
        nb_auto_free char *big = calloc(1, 2 << 20);
        struct nb_environment env = {.requirements = big};
        const struct store_new_job job = {
                .notebook = "a.ipynb", .executor = "local", .environment = &env};
        int64_t id = push(&f, "acme/nb", C1);
        bool over;

        CHECK(big);
        memset(big, 'x', (2 << 20) - 1);
        CHECK_INT(pick(&f), id);
        CHECK_ERR(store_build_prepared(f.s, id, C1, NULL, NULL, &job, 1, &over, &f.err), &f.err,
                  NB_E_LIMIT, "a.ipynb");
        CHECK_STR(build_state_of(&f, id), "preparing");
}

TEST(fair_among_repositories_and_bounded_in_each)
{
        FIX(f);
        int64_t a1 = job_on(&f, "acme/a", "local"), a2 = job_on(&f, "acme/a", "local");
        int64_t a3 = job_on(&f, "acme/a", "local"), b1 = job_on(&f, "acme/b", "local");

        CHECK_INT(pick_of(&f, &local, 1, 2), a1);
        CHECK_INT(pick_of(&f, &local, 1, 2), b1);
        CHECK_INT(pick_of(&f, &local, 1, 2), a2);
        CHECK_INT(pick_of(&f, &local, 1, 2), 0); /* two of acme/a are in flight */
        CHECK_INT(pick_of(&f, &local, 1, 0), 0);
        CHECK_INT(pick_of(&f, &local, 1, 3), a3);
}

TEST(only_executors_with_room)
{
        FIX(f);
        const struct store_room rooms[] = {{"local", 0}, {"slurm", 1}, {"idle", 1}};
        const struct store_room both[] = {{"slurm", 1}, {"local", 1}};
        int64_t a = job_on(&f, "acme/a", "local"), b = job_on(&f, "acme/b", "slurm");
        int64_t c = job_on(&f, "acme/c", "slurm");

        CHECK_INT(pick_of(&f, rooms, 1, 9), 0);
        CHECK_INT(pick_of(&f, rooms, 3, 9), b);
        /* the oldest of all, whatever the order of rooms */
        CHECK_INT(pick_of(&f, both, 2, 9), a);
        CHECK_INT(pick_of(&f, both, 2, 9), c);
        CHECK_INT(pick_of(&f, NULL, 0, 9), 0);
}

/* Fewest in flight counts over all executors. */
TEST(a_flood_does_not_hide_the_others)
{
        FIX(f);
        const struct store_room slurm = {"slurm", 1};
        int64_t first = job_on(&f, "acme/flood", "slurm"), other;

        for (int i = 0; i < 100; i++)
                (void)job_on(&f, "acme/flood", "local");
        other = job_on(&f, "zoo/quiet", "local");
        CHECK_INT(pick_of(&f, &slurm, 1, 9), first);
        CHECK_INT(pick_of(&f, &local, 1, 9), other);
        CHECK_INT(pick_of(&f, &local, 1, 9), first + 1);
        CHECK_INT(pick_of(&f, &local, 1, 2), 0);
}

TEST(running_and_progress)
{
        FIX(f);
        int64_t a, b;

        running(&f, "acme/nb", 2);
        a = start(&f);
        CHECK_ERR(store_attempt_progress(f.s, a, 3, 1, 2, &f.err), &f.err, NB_E_CONFLICT,
                  "attempt 1");
        f.now += 7;
        CHECK_OK(store_attempt_running(f.s, a, &f.err), &f.err);
        CHECK_STR(job_state_of(&f, a), "running");
        CHECK_INT(q_int(&f, "SELECT started_ms FROM job WHERE id = 1"), T0 + 7);
        CHECK_STR(wanted(&f, "nbcid/a.ipynb"), "running | running | /jobs/1");
        CHECK_ERR(store_attempt_running(f.s, a, &f.err), &f.err, NB_E_CONFLICT, "attempt 1");
        CHECK_ERR(store_attempt_running(f.s, 99, &f.err), &f.err, NB_E_CONFLICT, "attempt 99");
        CHECK_OK(store_attempt_progress(f.s, a, 4, 1, 2, &f.err), &f.err);
        CHECK_INT(q_int(&f, "SELECT cells * 100 + cells_done * 10 + cell FROM job WHERE id = 1"),
                  412);
        b = start(&f);
        CHECK(!finish(&f, a, CLASS_PASSED));
        CHECK_ERR(store_attempt_progress(f.s, a, 4, 1, 2, &f.err), &f.err, NB_E_CONFLICT,
                  "attempt 1");
        CHECK(b > a);
}

TEST(a_job_keeps_how_it_ended)
{
        FIX(f);
        const struct run_result r = {.class = CLASS_CELL_ERROR,
                                     .cell = 7,
                                     .ename = (char *)(uintptr_t) "ValueError",
                                     .evalue = (char *)(uintptr_t) "shapes (3,) (4,)",
                                     .cells = 9,
                                     .cells_done = 6,
                                     .wall_us = 1,
                                     .cpu_us = 2,
                                     .mem_peak = 3};
        bool over = false;
        int64_t id = running(&f, "acme/nb", 1), a = start(&f);

        f.now += 9;
        CHECK_OK(store_attempt_finished(f.s, a, &r, 0, &over, &f.err), &f.err);
        CHECK(over);
        CHECK_STR(q_text(&f, "SELECT state || '|' || class || '|' || reason || '|' || ename || "
                             "'|' || evalue || '|' || cell || '|' || cells || '|' || cells_done "
                             "|| '|' || finished_ms FROM job"),
                  "failed|cell_error|cell 7: ValueError: shapes (3,) (4,)|ValueError|"
                  "shapes (3,) (4,)|7|9|6|1000009");
        CHECK_STR(q_text(&f, "SELECT state || '|' || class || '|' || wall_us || cpu_us || "
                             "mem_peak || '|' || finished_ms FROM attempt"),
                  "failed|cell_error|123|1000009");
        CHECK_STR(wanted(&f, "nbcid/a.ipynb"),
                  "failure | cell 7: ValueError: shapes (3,) (4,) | /jobs/1");
        CHECK_STR(build_state_of(&f, id), "failed");
        CHECK_STR(q_text(&f, "SELECT reason FROM build"),
                  "1 of 1 notebook failed: a.ipynb cell 7: ValueError: shapes (3,) (4,)");
        CHECK_ERR(store_attempt_finished(f.s, a, &r, 0, &over, &f.err), &f.err, NB_E_CONFLICT,
                  "has ended: it is failed");
        CHECK_ERR(store_attempt_finished(f.s, 99, &r, 0, &over, &f.err), &f.err, NB_E_CONFLICT,
                  "no attempt 99");
}

TEST(every_class_ends_a_job)
{
        FIX(f);

        for (int c = CLASS_NONE + 1; c < CLASS__COUNT; c++) {
                int64_t a;

                running(&f, "acme/nb", 1);
                a = start(&f);
                CHECK(finish(&f, a, (enum run_class)c));
                CHECK_STR(job_state_of(&f, a), job_state_name(run_class_state((enum run_class)c)));
        }
}

TEST(a_build_ends_as_its_jobs_did)
{
        static const struct {
                enum run_class a, b, c;
                const char *state, *note;
        } cases[] = {
                {CLASS_PASSED, CLASS_PASSED, CLASS_PASSED, "passed",
                 "success | 3 notebooks passed"},
                {CLASS_PASSED, CLASS_CELL_ERROR, CLASS_LOST, "failed",
                 "failure | 1 of 3 notebooks failed: b.ipynb cell 7: ValueError: shapes (3,) "
                 "(4,)"},
                {CLASS_LOST, CLASS_TIMEOUT, CLASS_CELL_ERROR, "failed",
                 "failure | 2 of 3 notebooks failed: b.ipynb timed out after 2 s"},
                {CLASS_PASSED, CLASS_CANCELLED, CLASS_LOST, "errored",
                 "error | 1 of 3 notebooks errored: c.ipynb: lost sight of the run"},
                {CLASS_PASSED, CLASS_CANCELLED, CLASS_CANCELLED, "cancelled",
                 "cancelled | cancelled"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                FIX(f);
                int64_t id = running(&f, "acme/nb", 3), a = start(&f), b = start(&f), c = start(&f);
                char note[200];

                CHECK(!finish(&f, c, cases[i].c));
                CHECK_STR(wanted(&f, "nbcid"), "running | 1 of 3 notebooks done | /builds/1");
                CHECK(!finish(&f, a, cases[i].a));
                CHECK(finish(&f, b, cases[i].b));
                CHECK_STR(build_state_of(&f, id), cases[i].state);
                snprintf(note, sizeof(note), "%s | /builds/1", cases[i].note);
                CHECK_STR(wanted(&f, "nbcid"), note);
        }
}

TEST(a_retry_is_a_new_attempt_later)
{
        FIX(f);
        const struct run_result r = {.class = CLASS_LOST};
        const struct store_room room = {"local", 1};
        int64_t id = running(&f, "acme/nb", 1), a = start(&f), due;
        struct store_attempt again;
        bool over = true;

        CHECK_OK(store_attempt_running(f.s, a, &f.err), &f.err);
        CHECK_OK(store_attempt_finished(f.s, a, &r, T0 + 50, &over, &f.err), &f.err);
        CHECK(!over);
        CHECK_STR(job_state_of(&f, a), "pending");
        CHECK_STR(q_text(&f, "SELECT state FROM attempt"), "errored");
        CHECK_STR(wanted(&f, "nbcid/a.ipynb"),
                  "pending | retrying: lost sight of the run | /jobs/1");
        CHECK_STR(wanted(&f, "nbcid"), "running | running 1 notebook | /builds/1");
        CHECK_STR(q_text(&f, "SELECT reason FROM job"), "retrying: lost sight of the run");
        CHECK_INT(start(&f), 0);
        CHECK_OK(store_next_due(f.s, &due, &f.err), &f.err);
        CHECK_INT(due, T0 + 50);
        f.now = T0 + 50;
        CHECK_INT(store_pick_job(f.s, &room, 1, 1, &again, &f.err), 1);
        CHECK_INT(again.number, 2);
        CHECK(again.id != a);
        CHECK_STR(q_text(&f, "SELECT coalesce(reason, 'none') FROM job"), "none");
        CHECK(finish(&f, again.id, CLASS_PASSED));
        CHECK_STR(build_state_of(&f, id), "passed");
        store_attempt_done(&again);
}

struct seen {
        int n, stop_at;
        int64_t ids[8];
        bool cancelled;
};

static int see(void *arg, const struct store_attempt *a)
{
        struct seen *s = arg;

        s->ids[s->n++] = a->id;
        s->cancelled = s->cancelled || a->cancelled;
        CHECK(a->ref && a->commit && a->environment.kernel);
        return s->n == s->stop_at ? -NB_E_CANCELLED : 0;
}

TEST(what_is_in_flight_is_listed_oldest_first)
{
        FIX(f);
        struct seen all = {0}, one = {.stop_at = 1};
        int64_t a, b, c, id = running(&f, "acme/nb", 4), got;

        a = start(&f);
        b = start(&f);
        c = start(&f);
        CHECK_OK(store_attempt_running(f.s, c, &f.err), &f.err);
        CHECK(!finish(&f, b, CLASS_PASSED));
        CHECK_OK(store_each_inflight(f.s, see, &all, &f.err), &f.err);
        CHECK_INT(all.n, 2);
        CHECK_INT(all.ids[0], a);
        CHECK_INT(all.ids[1], c);
        CHECK(!all.cancelled);
        CHECK_INT(store_each_inflight(f.s, see, &one, &f.err), -NB_E_CANCELLED);
        CHECK_INT(one.n, 1);
        CHECK_OK(store_intake_cancel(f.in, id, &f.err), &f.err);
        CHECK_OK(store_pick_cancel(f.s, &got, &f.err), &f.err);
        CHECK_OK(store_each_inflight(f.s, see, &all, &f.err), &f.err);
        CHECK(all.cancelled);
}

TEST(orphans_of_an_executor_that_is_gone)
{
        FIX(f);
        const char *const names[] = {"slurm", NULL};
        size_t n = 9;
        int64_t id = running(&f, "acme/nb", 3), a = start(&f), other;

        other = job_on(&f, "acme/b", "slurm");
        CHECK_OK(store_fail_orphans(f.s, names, &n, &f.err), &f.err);
        CHECK_INT(n, 2); /* what is in flight is not ours to judge */
        CHECK_STR(wanted(&f, "nbcid/b.ipynb"),
                  "error | executor \"local\" is not configured any more | /jobs/2");
        CHECK_STR(q_text(&f, "SELECT state FROM job WHERE id = %d", (int)other), "pending");
        CHECK(finish(&f, a, CLASS_PASSED));
        CHECK_STR(build_state_of(&f, id), "errored");
        CHECK_OK(store_fail_orphans(f.s, names, &n, &f.err), &f.err);
        CHECK_INT(n, 0);
}

NBTEST_MAIN()
