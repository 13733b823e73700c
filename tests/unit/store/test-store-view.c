/* SPDX-License-Identifier: Apache-2.0 */
/* pages: filters, pages by key, rows as the verbs left them, gauges */
#include "store-test.h"

struct list {
        int n, stop_at;
        int64_t ids[20];
};

static int on_build(void *arg, const struct view_build *b)
{
        struct list *l = arg;

        l->ids[l->n++] = b->id;
        return l->n == l->stop_at ? -NB_E_CANCELLED : 0;
}

static struct list list_of(struct fix *f, const struct view_filter *filter)
{
        struct list l = {0};

        CHECK_INT(store_view_builds(f->v, filter, on_build, &l, &f->err), l.n);
        return l;
}

TEST(pages_by_filter_and_key)
{
        FIX(f);
        struct list l;

        push(&f, "acme/a", C1); /* 1 */
        push(&f, "acme/b", C1); /* 2 */
        push(&f, "acme/a", C2); /* 3 */
        push(&f, "acme/a", C3); /* 4 */
        CHECK_INT(pick(&f), 1);
        CHECK(prepare(&f, 1, 0));

        l = list_of(&f, &(struct view_filter){.state = -1, .limit = 3});
        CHECK(l.n == 3 && l.ids[0] == 4 && l.ids[1] == 3 && l.ids[2] == 2);
        l = list_of(&f, &(struct view_filter){.state = -1, .limit = 3, .before = 2});
        CHECK(l.n == 1 && l.ids[0] == 1);
        l = list_of(&f, &(struct view_filter){.state = -1, .limit = 9, .repository = "acme/a"});
        CHECK(l.n == 3 && l.ids[0] == 4 && l.ids[1] == 3 && l.ids[2] == 1);
        l = list_of(&f, &(struct view_filter){.state = BUILD_QUEUED, .limit = 9});
        CHECK(l.n == 3 && l.ids[0] == 4 && l.ids[2] == 2);
        l = list_of(&f, &(struct view_filter){.state = BUILD_QUEUED,
                                              .limit = 9,
                                              .repository = "acme/a",
                                              .before = 4});
        CHECK(l.n == 1 && l.ids[0] == 3);
        l = list_of(&f, &(struct view_filter){.state = BUILD_FAILED, .limit = 9});
        CHECK_INT(l.n, 0);
        l = list_of(&f, &(struct view_filter){.state = -1, .limit = 9, .repository = "acme/z"});
        CHECK_INT(l.n, 0);
        l = (struct list){.stop_at = 2};
        CHECK_INT(store_view_builds(f.v, &(struct view_filter){.state = -1, .limit = 9}, on_build,
                                    &l, &f.err),
                  -NB_E_CANCELLED);
        CHECK_INT(l.n, 2);
}

static int on_running(void *arg, const struct view_build *b)
{
        CHECK_INT(b->id, 1);
        CHECK_STR(b->forge, "hub");
        CHECK_STR(b->repository, "acme/nb");
        CHECK_STR(b->ref, "refs/heads/main");
        CHECK_STR(b->commit, C1);
        CHECK_STR(b->title, "prepared");
        CHECK_STR(b->author, "ada");
        CHECK(!b->reason);
        CHECK_INT(b->trigger, TRIGGER_PUSH);
        CHECK_INT(b->state, BUILD_RUNNING);
        CHECK_INT(b->created_ms, T0);
        CHECK_INT(b->started_ms, T0);
        CHECK_INT(b->finished_ms, 0);
        CHECK_INT(b->retry_of, 0);
        CHECK_INT(b->jobs, 2);
        CHECK_INT(b->jobs_final, 1);
        CHECK_INT(b->jobs_passed, 0);
        *(bool *)arg = b->cancelling;
        return 0;
}

static int on_job(void *arg, const struct view_job *j)
{
        int64_t *last = arg;

        CHECK(j->id > *last);
        *last = j->id;
        CHECK_INT(j->build, 1);
        CHECK_STR(j->forge, "hub");
        CHECK_STR(j->repository, "acme/nb");
        CHECK_STR(j->commit, C1);
        CHECK_STR(j->kind, "notebook");
        CHECK_STR(j->executor, "local");
        CHECK(strstr(j->environment, "\"kernel\":\"python3\""));
        CHECK(j->artifacts);
        if (j->id == 1) {
                CHECK_STR(j->notebook, "a.ipynb");
                CHECK_INT(j->state, JOB_FAILED);
                CHECK_INT(j->class, CLASS_CELL_ERROR);
                CHECK_STR(j->reason, "cell 7: ValueError: shapes (3,) (4,)");
                CHECK_STR(j->ename, "ValueError");
                CHECK_STR(j->evalue, "shapes (3,) (4,)");
                CHECK_INT(j->cell, 7);
                CHECK_INT(j->cells, 3);
                CHECK_INT(j->cells_done, 2);
                CHECK_INT(j->started_ms, T0);
                CHECK_INT(j->finished_ms, T0);
        } else {
                CHECK_STR(j->notebook, "b.ipynb");
                CHECK_INT(j->state, JOB_PENDING);
                CHECK_INT(j->class, CLASS_NONE);
                CHECK(!j->reason && !j->ename && !j->evalue);
        }
        return 0;
}

static int on_attempt(void *arg, const struct view_attempt *a)
{
        const char *instance = arg;
        char ref[40];

        snprintf(ref, sizeof(ref), "nbcid-%s-1", instance);
        CHECK_STR(a->ref, ref);
        CHECK_INT(a->id, 1);
        CHECK_INT(a->number, 1);
        CHECK_STR(a->executor, "local");
        CHECK_INT(a->state, JOB_FAILED);
        CHECK_INT(a->class, CLASS_CELL_ERROR);
        CHECK_STR(a->reason, "cell 7: ValueError: shapes (3,) (4,)");
        CHECK_INT(a->started_ms, T0);
        CHECK_INT(a->wall_us, 2000000);
        return 0;
}

static int on_machine(void *arg, const struct view_attempt *a)
{
        if (*(bool *)arg) {
                CHECK_STR(a->machine_type, "g2-standard-8");
                CHECK_STR(a->accelerator, "NVIDIA_L4");
                CHECK_INT(a->accelerators, 2);
                CHECK_STR(a->region, "us-east1");
                CHECK(a->spot);
                CHECK_INT(a->machine_started_ms, T0 - 9000);
                CHECK_INT(a->machine_ended_ms, T0 - 1000);
        } else {
                CHECK(!a->machine_type && !a->accelerator && !a->region && !a->spot);
                CHECK_INT(a->accelerators + a->machine_started_ms + a->machine_ended_ms, 0);
        }
        return 0;
}

TEST(attempts_remember_their_machines)
{
        FIX(f);
        char type[] = "g2-standard-8", gpu[] = "NVIDIA_L4", region[] = "us-east1";
        const struct run_result r = {.class = CLASS_PASSED,
                                     .machine = {.type = type,
                                                 .accelerator = gpu,
                                                 .accelerators = 2,
                                                 .region = region,
                                                 .spot = true,
                                                 .started_ms = T0 - 9000,
                                                 .ended_ms = T0 - 1000}};
        bool has = false, over;

        running(&f, "acme/nb", 1);
        CHECK_INT(start(&f), 1);
        CHECK_OK(store_attempt_running(f.s, 1, &f.err), &f.err);
        CHECK_INT(store_view_attempts(f.v, 1, on_machine, &has, &f.err), 1);
        CHECK_OK(store_attempt_finished(f.s, 1, &r, 0, &over, &f.err), &f.err);
        has = true;
        CHECK_INT(store_view_attempts(f.v, 1, on_machine, &has, &f.err), 1);
}

TEST(rows_say_what_the_verbs_did)
{
        FIX(f);
        int64_t last = 0;
        bool cancelling = true;
        char instance[16];

        snprintf(instance, sizeof(instance), "%s", store_instance(f.s));
        running(&f, "acme/nb", 2);
        CHECK_INT(start(&f), 1);
        CHECK_OK(store_attempt_running(f.s, 1, &f.err), &f.err);
        CHECK(!finish(&f, 1, CLASS_CELL_ERROR));
        CHECK_INT(store_view_build(f.v, 1, on_running, &cancelling, &f.err), 1);
        CHECK(!cancelling);
        CHECK_INT(store_view_build(f.v, 2, on_running, &cancelling, &f.err), 0);
        CHECK_INT(store_view_jobs(f.v, 1, on_job, &last, &f.err), 2);
        CHECK_INT(store_view_jobs(f.v, 2, on_job, &last, &f.err), 0);
        last = 1;
        CHECK_INT(store_view_job(f.v, 2, on_job, &last, &f.err), 1);
        CHECK_INT(store_view_job(f.v, 3, on_job, &last, &f.err), 0);
        CHECK_INT(store_view_attempts(f.v, 1, on_attempt, instance, &f.err), 1);
        CHECK_INT(store_view_attempts(f.v, 2, on_attempt, instance, &f.err), 0);
        CHECK_OK(store_intake_cancel(f.in, 1, &f.err), &f.err);
        CHECK_INT(store_view_build(f.v, 1, on_running, &cancelling, &f.err), 1);
        CHECK(cancelling);
}

TEST(gauges_count)
{
        FIX(f);
        struct view_gauges g;
        struct store_note n;

        CHECK_OK(store_view_gauges(f.v, &g, &f.err), &f.err);
        CHECK_INT(g.oldest_queued_ms, 0);
        CHECK_INT(g.outbox_waiting, 0);
        CHECK(g.db_bytes > 4096);
        running(&f, "acme/nb", 3);
        CHECK_INT(start(&f), 1);
        CHECK(start(&f) > 0);
        CHECK(!finish(&f, 1, CLASS_PASSED));
        f.now += 3;
        push(&f, "acme/b", C2);
        f.now += 3;
        push(&f, "acme/c", C2);
        CHECK_INT(store_outbox_claim(f.s, &n, 1, &f.err), 1);
        CHECK_OK(store_view_gauges(f.v, &g, &f.err), &f.err);
        CHECK_INT(g.builds[BUILD_QUEUED], 2);
        CHECK_INT(g.builds[BUILD_RUNNING], 1);
        CHECK_INT(g.builds[BUILD_PASSED], 0);
        CHECK_INT(g.jobs[JOB_PENDING], 1);
        CHECK_INT(g.jobs[JOB_SUBMITTING], 1);
        CHECK_INT(g.jobs[JOB_PASSED], 0);
        CHECK_INT(g.oldest_queued_ms, T0 + 3);
        CHECK_INT(g.outbox_waiting, 6); /* lent ones too */
        CHECK_OK(store_outbox_settle(f.s, &(struct store_settled){n.id, n.seq, NOTE_ACCEPTED, 0}, 1,
                                     &f.err),
                 &f.err);
        store_note_done(&n);
        CHECK_OK(store_view_gauges(f.v, &g, &f.err), &f.err);
        CHECK_INT(g.outbox_waiting, 5);
}

TEST(a_view_cannot_write)
{
        FIX(f);

        CHECK_ERR(db_exec(&f.v->db, "DELETE FROM build", &f.err), &f.err, NB_E_IO, "readonly");
}

NBTEST_MAIN()
