/* SPDX-License-Identifier: Apache-2.0 */

/* test-environment.c - which environment the jobs of a push get */

#include <fcntl.h>
#include <sys/stat.h>

#include <nbcid/fs.h>
#include <nbcid/git.h>
#include <nbcid/sandbox.h>
#include <nbcid/str.h>

#include "../../src/flow/flow-priv.h"
#include "../../src/runner/env-priv.h"
#include "nbtest.h"
#include "world.h"

#define ZERO "0000000000000000000000000000000000000000"

struct found {
        int64_t build;
        const char *notebook;
        char environment[4096], reason[1024], findings[4096];
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
        snprintf(f->findings, sizeof(f->findings), "%s", j->findings ? j->findings : "");
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

/* The environment of "flask", as if a run had built it: its Python finds nothing
 * wrong with any cell. */
static void build_flask(struct world *w)
{
        static const char key[] =
                "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        static const char python[] =
                "#!/usr/bin/python3\nimport sys\nwhile True:\n"
                "    head = sys.stdin.buffer.readline().split()\n"
                "    if not head:\n        break\n"
                "    for _ in range(int(head[1])):\n"
                "        sys.stdin.buffer.read(int(sys.stdin.buffer.readline().split()[1]))\n"
                "    print('[]', flush=True)\n";
        static char requirements[] = "flask\n";
        const struct nb_environment e = {.requirements = requirements};
        nb_auto_free char *dir = nb_asprintf("%s/environments", w->config->state_dir);
        nb_auto_free char *bin = nb_asprintf("%s/%s/bin", dir, key);
        nb_auto_free char *file = nb_asprintf("%s/python", bin);
        nb_auto_free char *mark = nb_asprintf("%s/%s/pyvenv.cfg", dir, key);
        nb_auto_free char *manifest = nb_asprintf("%s/%s.json", dir, key);
        NB_CLEANUP(env_store_done) struct env_store store = ENV_STORE_NONE;
        nb_auto_free char *own = NULL;
        struct nb_err err;

        CHECK_OK(env_store_open(dir, &store, &err), &err);
        CHECK_OK(nb_mkdirs(AT_FDCWD, bin, 0755, &err), &err);
        CHECK_OK(nb_write_file(AT_FDCWD, file, python, strlen(python), 0755, false, &err), &err);
        CHECK_OK(nb_write_file(AT_FDCWD, mark, "", 0, 0644, false, &err), &err);
        CHECK_OK(nb_write_file(AT_FDCWD, manifest, "{}", 2, 0600, false, &err), &err);
        CHECK_OK(sandbox_find_program(w->config->executors[0].python, &own, &err), &err);
        env_asked_note(&store, own, &e, key);
}

TEST(syntax_is_what_the_environments_own_python_says)
{
        nb_auto_free char *origin = origin_make(
                "mkdir -p new none bad; nb new/a.ipynb 'x = ('; nb none/b.ipynb 'x = ('; "
                "nb bad/c.ipynb 'x = ('; echo ' Flask' >new/requirements.txt; "
                "echo '-e ../..' >bad/requirements.txt; "
                "git add .; git commit -qm x; git push -q origin main");
        struct found f;
        struct world w;

        world_init(&w, "python", origin);
        build_flask(&w);
        push_all(&w, origin);
        f = job_of(&w, 1, "new/a.ipynb");
        CHECK_INT(f.state, JOB_PASSED);
        CHECK_STR(f.findings, "[]");
        f = job_of(&w, 1, "none/b.ipynb");
        CHECK_INT(f.class, CLASS_CHECK);
        CHECK(strstr(f.findings, "'(' was never closed"));
        /* what has no environment has findings all the same */
        f = job_of(&w, 1, "bad/c.ipynb");
        CHECK_INT(f.class, CLASS_ENVIRONMENT);
        CHECK(strstr(f.findings, "'(' was never closed"));
        world_stop(&w);
        world_done(&w);
}

WORLD_MAIN()
