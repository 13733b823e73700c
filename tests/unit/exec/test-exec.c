/* SPDX-License-Identifier: Apache-2.0 */

/* test-exec.c - one contract, held by every executor: the fake and local */

#include <errno.h>
#include <sys/stat.h>

#include "exec-test.h"

TEST(a_run_tells_once_how_it_ended)
{
        FOR_EACH_SIDE(s)
        {
                struct seen pass = {0}, fail = {0};
                struct exec_run *a, *b;
                struct nb_err err;

                put_notebook(&s, "pass.ipynb", passing);
                put_notebook(&s, "fail.ipynb", failing);
                CHECK_OK(start(&s, "r-1", "pass.ipynb", &pass, &a, &err), &err);
                CHECK_OK(start(&s, "r-2", "fail.ipynb", &fail, &b, &err), &err);
                step_until(&s, &pass.finished);
                step_until(&s, &fail.finished);
                step_on(&s);
                CHECK_INT(pass.result.class, CLASS_PASSED);
                CHECK_INT(pass.running, 1);
                CHECK(pass.cells > 0);
                CHECK_INT(fail.result.class, CLASS_CELL_ERROR);
                CHECK_INT(fail.result.cell, 2);
                CHECK_STR(fail.result.ename, "ValueError");
                CHECK_STR(fail.result.evalue, "boom");
                s.exec->ops->release(a);
                s.exec->ops->release(b);
                run_result_done(&pass.result);
                run_result_done(&fail.result);
        }
}

TEST(a_handle_may_be_released_from_its_own_event)
{
        FOR_EACH_SIDE(s)
        {
                struct seen pass = {.release_when_finished = true};
                struct seen early = {.release_when_running = true};
                struct exec_run *run;
                struct nb_err err;

                put_notebook(&s, "pass.ipynb", passing);
                CHECK_OK(start(&s, "r-1", "pass.ipynb", &pass, &run, &err), &err);
                CHECK_OK(start(&s, "r-2", "pass.ipynb", &early, &run, &err), &err);
                step_until(&s, &pass.finished);
                step_until(&s, &early.running);
                step_on(&s);
                CHECK_INT(early.finished, 0);
                CHECK_INT(early.cells, 0);
                run_result_done(&pass.result);
        }
}

TEST(a_reference_is_used_once)
{
        FOR_EACH_SIDE(s)
        {
                struct seen one = {0}, two = {0};
                struct exec_run *run, *again;
                struct nb_err err;

                put_notebook(&s, "pass.ipynb", passing);
                CHECK_OK(start(&s, "r-1", "pass.ipynb", &one, &run, &err), &err);
                CHECK_ERR(start(&s, "r-1", "pass.ipynb", &two, &again, &err), &err, NB_E_CONFLICT,
                          "r-1");
                step_until(&s, &one.finished);
                CHECK_ERR(start(&s, "r-1", "pass.ipynb", &two, &again, &err), &err, NB_E_CONFLICT,
                          "r-1");
                CHECK_INT(one.result.class, CLASS_PASSED);
                s.exec->ops->release(run);
                run_result_done(&one.result);
                if (s.world)
                        CHECK_INT(exec_fake_starts(s.world, "r-1"), 1);
        }
}

TEST(cancelled_at_once_or_later_is_cancelled)
{
        FOR_EACH_SIDE(s)
        {
                struct seen now = {0}, later = {0};
                struct exec_run *a, *b;
                struct nb_err err;

                put_notebook(&s, "slow.ipynb", slow);
                CHECK_OK(start(&s, "r-1", "slow.ipynb", &now, &a, &err), &err);
                CHECK_OK(s.exec->ops->cancel(a, &err), &err);
                CHECK_OK(start(&s, "r-2", "slow.ipynb", &later, &b, &err), &err);
                step_until(&s, &later.cells);
                CHECK_INT(later.finished, 0);
                CHECK_OK(s.exec->ops->cancel(b, &err), &err);
                CHECK_OK(s.exec->ops->cancel(b, &err), &err);
                step_until(&s, &now.finished);
                step_until(&s, &later.finished);
                CHECK_OK(s.exec->ops->cancel(b, &err), &err);
                step_on(&s);
                CHECK_INT(now.result.class, CLASS_CANCELLED);
                CHECK_INT(later.result.class, CLASS_CANCELLED);
                s.exec->ops->release(a);
                s.exec->ops->release(b);
        }
}

TEST(a_restart_finds_what_runs_and_what_ended)
{
        FOR_EACH_SIDE(s)
        {
                struct seen before = {0}, after = {0}, ended = {0}, twice = {0}, done = {0};
                struct exec_run *a, *b;
                struct nb_err err;

                put_notebook(&s, "slow.ipynb", slow);
                put_notebook(&s, "fail.ipynb", failing);
                CHECK_OK(start(&s, "r-1", "slow.ipynb", &before, &a, &err), &err);
                CHECK_OK(start(&s, "r-2", "fail.ipynb", &done, &b, &err), &err);
                step_until(&s, &done.finished);
                s.exec->ops->release(a);
                s.exec->ops->release(b);
                side_restart(&s);
                step_on(&s);
                CHECK_INT(before.finished, 0);

                CHECK_OK(attach(&s, "r-1", &after, &a, &err), &err);
                CHECK_OK(attach(&s, "r-2", &ended, &b, &err), &err);
                step_until(&s, &ended.finished);
                CHECK_INT(ended.result.class, CLASS_CELL_ERROR);
                CHECK_STR(ended.result.evalue, "boom");
                CHECK_OK(s.exec->ops->cancel(a, &err), &err);
                step_until(&s, &after.finished);
                CHECK_INT(after.result.class, CLASS_CANCELLED);
                s.exec->ops->release(a);
                s.exec->ops->release(b);

                /* Still, until it is forgotten. */
                CHECK_OK(attach(&s, "r-2", &twice, &b, &err), &err);
                step_until(&s, &twice.finished);
                CHECK_INT(twice.result.class, CLASS_CELL_ERROR);
                s.exec->ops->release(b);
                s.exec->ops->forget(s.exec, "r-2");
                wait_gone(&s, "r-2");
                CHECK_ERR(attach(&s, "r-2", &twice, &b, &err), &err, NB_E_NOTFOUND, "r-2");
                if (s.world)
                        CHECK_INT(exec_fake_total_starts(s.world), 2);
                run_result_done(&done.result);
                run_result_done(&ended.result);
                run_result_done(&twice.result);
        }
}

TEST(what_never_began_cannot_be_found)
{
        FOR_EACH_SIDE(s)
        {
                struct seen seen = {0};
                struct exec_run *run;
                struct nb_err err;

                CHECK_ERR(attach(&s, "r-9", &seen, &run, &err), &err, NB_E_NOTFOUND, "r-9");
                s.exec->ops->forget(s.exec, "r-9");
                put_notebook(&s, "pass.ipynb", passing);
                CHECK_OK(start(&s, "r-9", "pass.ipynb", &seen, &run, &err), &err);
                step_until(&s, &seen.finished);
                s.exec->ops->release(run);
        }
}

TEST(collect_takes_the_notebook_and_the_log_again_and_again)
{
        FOR_EACH_SIDE(s)
        {
                nb_auto_free char *to = nb_asprintf("%s/artifacts", s.workspace);
                nb_auto_fd int dir = -1;
                struct seen seen = {0};
                struct exec_run *run;
                struct nb_err err;

                put_notebook(&s, "fail.ipynb", failing);
                CHECK_OK(start(&s, "r-1", "fail.ipynb", &seen, &run, &err), &err);
                step_until(&s, &seen.finished);
                CHECK_OK(nb_mkdirs(AT_FDCWD, to, 0700, &err), &err);
                dir = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                for (int i = 0; i < 2; i++) {
                        nb_auto_buf text = NB_BUF(1 << 20);

                        CHECK_OK(s.exec->ops->collect(run, dir, &err), &err);
                        CHECK_OK(nb_read_file(dir, "executed.ipynb", &text, &err), &err);
                        CHECK(strstr(nb_buf_str(&text), "ValueError"));
                        CHECK(faccessat(dir, "log.txt", F_OK, 0) == 0);
                }
                s.exec->ops->release(run);
                run_result_done(&seen.result);
        }
}

static bool keep_two(void *arg, const char *ref)
{
        (void)arg;
        return nb_streq(ref, "r-2");
}

TEST(a_sweep_forgets_what_nobody_wants)
{
        FOR_EACH_SIDE(s)
        {
                struct seen one = {0}, two = {0}, three = {0};
                struct exec_run *a, *b, *c;
                struct nb_err err;

                put_notebook(&s, "pass.ipynb", passing);
                put_notebook(&s, "slow.ipynb", slow);
                CHECK_OK(start(&s, "r-1", "pass.ipynb", &one, &a, &err), &err);
                CHECK_OK(start(&s, "r-2", "pass.ipynb", &two, &b, &err), &err);
                CHECK_OK(start(&s, "r-3", "slow.ipynb", &three, &c, &err), &err);
                step_until(&s, &one.finished);
                step_until(&s, &two.finished);
                step_until(&s, &three.cells);
                s.exec->ops->release(a);
                s.exec->ops->release(b);
                s.exec->ops->release(c);
                side_restart(&s);
                s.exec->ops->sweep(s.exec, keep_two, NULL);
                wait_gone(&s, "r-1");
                wait_gone(&s, "r-3");
                CHECK_ERR(attach(&s, "r-1", &one, &a, &err), &err, NB_E_NOTFOUND, "r-1");
                two = (struct seen){0};
                CHECK_OK(attach(&s, "r-2", &two, &b, &err), &err);
                step_until(&s, &two.finished);
                s.exec->ops->release(b);
        }
}

TEST(the_fake_loses_a_notebook_once)
{
        struct side s = side_new(false);
        struct seen one = {0}, two = {0};
        struct exec_run *run;
        struct nb_err err;

        CHECK_OK(start(&s, "r-1", "lost.ipynb", &one, &run, &err), &err);
        step_until(&s, &one.finished);
        CHECK_INT(one.result.class, CLASS_LOST);
        s.exec->ops->release(run);
        s.exec->ops->forget(s.exec, "r-1");
        CHECK_OK(start(&s, "r-2", "lost.ipynb", &two, &run, &err), &err);
        step_until(&s, &two.finished);
        CHECK_INT(two.result.class, CLASS_PASSED);
        s.exec->ops->release(run);
        CHECK_INT(exec_fake_total_starts(s.world), 2);
        side_done(&s);
}

int main(int argc, char **argv)
{
        return exec_test_main(argc, argv);
}
