/* SPDX-License-Identifier: Apache-2.0 */

/* test-environment.c - which environment the jobs of a push get */

#include <nbcid/git.h>
#include <nbcid/str.h>

#include "../../src/flow/flow-priv.h"
#include "nbtest.h"
#include "world.h"

#define ZERO "0000000000000000000000000000000000000000"

struct found {
        int64_t build;
        const char *notebook;
        char environment[4096], reason[1024];
        enum job_state state;
        enum run_class class;
};

static int find_job(void *arg, const struct view_job *j)
{
        struct found *f = arg;

        if (!nb_streq(j->notebook, f->notebook))
                return 0;
        snprintf(f->environment, sizeof(f->environment), "%s", j->environment);
        snprintf(f->reason, sizeof(f->reason), "%s", j->reason ? j->reason : "");
        f->state = j->state;
        f->class = j->class;
        return 0;
}

/* What the store shows of the job of that notebook. */
static struct found job_of(struct world *w, int64_t build, const char *notebook)
{
        struct found f = {.notebook = notebook, .state = JOB_STATE__COUNT};
        struct store_view *v = NULL;
        struct nb_err err;

        CHECK_OK(store_view_open(w->db_path, &v, &err), &err);
        CHECK_OK(store_view_jobs(v, build, find_job, &f, &err), &err);
        store_view_close(v);
        CHECK(f.state != JOB_STATE__COUNT);
        return f;
}

static void check_has(const struct found *f, const char *part)
{
        if (!strstr(f->environment, part))
                FAIL("%s: %s is without %s", f->notebook, f->environment, part);
}

static void push_all(struct world *w, const char *origin)
{
        nb_auto_free char *after = shell_line("git -C %s/work rev-parse HEAD", origin);

        CHECK(world_start(w));
        (void)world_push(w, "d1", ZERO, after);
        world_run(w);
}

TEST(each_job_gets_what_stands_nearest_to_its_notebook)
{
        nb_auto_free char *origin = origin_make(
                "mkdir -p train/deep eval reqs; nb train/deep/a.ipynb 1; nb eval/b.ipynb 2; "
                "nb c.ipynb 3; nb d.ipynb 4; nb e.ipynb 5; echo '-r ../reqs/base.txt' "
                ">train/requirements.txt; echo 'numpy  # why' >reqs/base.txt; "
                "echo flask >requirements.txt; echo python-3.11 >runtime.txt; "
                "ln -s ../requirements.txt eval/requirements.txt; "
                "printf '[[job]]\\nnotebook = \"c.ipynb\"\\nrequirements_file = "
                "\"reqs/base.txt\"\\n"
                "[[job]]\\nnotebook = \"d.ipynb\"\\nenvironment = \"default\"\\n' >.nbcid.toml; "
                "git add .; git commit -qm x; git push -q origin main");
        struct found f;
        struct world w;
        struct nb_err err;
        int64_t build;

        world_init(&w, "nearest", origin);
        push_all(&w, origin);
        f = job_of(&w, 1, "train/deep/a.ipynb");
        CHECK_INT(f.state, JOB_PASSED);
        check_has(&f, "\"requirements\":\"numpy\\n\"");
        check_has(&f, "\"python\":\"3.11\"");
        check_has(&f,
                  "\"why\":\"requirements from train/requirements.txt (nearest to the notebook)");
        f = job_of(&w, 1, "c.ipynb");
        check_has(&f, "\"requirements\":\"numpy\\n\"");
        check_has(&f, "requirements from reqs/base.txt, which .nbcid.toml names");
        f = job_of(&w, 1, "d.ipynb");
        CHECK(!strstr(f.environment, "requirements\""));
        check_has(&f, "the executor's default, as .nbcid.toml says");
        f = job_of(&w, 1, "e.ipynb");
        check_has(&f, "\"requirements\":\"flask\\n\"");

        /* what cannot be given is told before anything runs */
        f = job_of(&w, 1, "eval/b.ipynb");
        CHECK_INT(f.state, JOB_FAILED);
        CHECK_INT(f.class, CLASS_ENVIRONMENT);
        CHECK(strstr(f.reason, "eval/requirements.txt is a symbolic link"));
        CHECK(strstr(world_last_status(&w, "nbcid/eval/b.ipynb"),
                     "failure: eval/requirements.txt is a symbolic link"));
        CHECK_INT(exec_fake_total_starts(w.machine), 4);

        /* a retry of one notebook resolves the same way */
        CHECK_OK(flow_door_retry_job(w.door, 5, &build, &err), &err);
        flow_poke(w.flow);
        world_run(&w);
        f = job_of(&w, build, "train/deep/a.ipynb");
        check_has(&f, "\"requirements\":\"numpy\\n\"");
        check_has(&f,
                  "\"why\":\"requirements from train/requirements.txt (nearest to the notebook)");
        world_stop(&w);
        world_done(&w);
}

TEST(a_refusal_names_the_line_of_the_file_that_another_names)
{
        nb_auto_free char *origin =
                origin_make("mkdir -p nb more; nb nb/a.ipynb 1; nb nb/b.ipynb 1; "
                            "echo '-r ../more/deep.txt' >nb/requirements.txt; "
                            "printf 'numpy\\n-e ../x\\n' >more/deep.txt; "
                            "git add .; git commit -qm x; git push -q origin main");
        struct found f;
        struct world w;

        world_init(&w, "refusal", origin);
        push_all(&w, origin);
        f = job_of(&w, 1, "nb/b.ipynb");
        CHECK_INT(f.class, CLASS_ENVIRONMENT);
        CHECK(nb_starts_with(f.reason, "more/deep.txt:2: \"-e ../x\" is refused: "));
        CHECK_INT(exec_fake_total_starts(w.machine), 0);
        world_stop(&w);
        world_done(&w);
}

/* Else a daemon that is to stop waits for the gate of every notebook. */
TEST(a_plan_ends_when_its_build_is_cancelled)
{
        nb_auto_free char *origin = origin_make("true");
        struct git_changed changed[] = {{.path = (char *)(uintptr_t) "a.ipynb"}};
        struct git_answer answer = {.changed = changed, .n_changed = 1};
        atomic_bool cancel = true;
        struct plan_files files = {.answer = &answer, .dir = "/nonexistent", .cancel = &cancel};
        const struct store_build build = {.event = {.repository = (char *)(uintptr_t) "a/b"}};
        const struct plan_gate gate = {0};
        struct plan plan = {0};
        struct nb_err err = {0};
        struct world w;

        world_init(&w, "cancelled", origin);
        CHECK_INT(plan_make(w.config, "github", &build, &files, &gate, &plan, &err),
                  -NB_E_CANCELLED);
        cancel = false;
        CHECK_INT(plan_make(w.config, "github", &build, &files, &gate, &plan, &err),
                  -NB_E_NOTFOUND); /* it began to read */
        plan_files_done(&files);
        world_done(&w);
}

WORLD_MAIN()
