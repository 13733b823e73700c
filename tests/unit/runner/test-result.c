/* SPDX-License-Identifier: Apache-2.0 */

/* test-result.c - one honest class for all that can be seen */

#include <signal.h>
#include <sys/wait.h>

#include "../../../src/runner/runner-priv.h"
#include "nbtest.h"

static struct run_result judge(struct seen s)
{
        struct run_result r;

        result_judge(&s, &r);
        return r;
}

#define ENDED(...) .engine_ended = true, .end = {__VA_ARGS__}

TEST(what_the_engine_said_counts)
{
        struct run_result r = judge((struct seen){
                .cell = 3, .cells = 3, .cells_done = 3, ENDED(.class = CLASS_PASSED)});

        CHECK_INT(r.class, CLASS_PASSED);
        CHECK_INT(r.cell, 0);
        CHECK_INT(r.cells_done, 3);
        run_result_done(&r);
        r = judge((struct seen){.cell = 3,
                                ENDED(.class = CLASS_CELL_ERROR, .cell = 4,
                                      .ename = (char[]){"KeyError"}, .evalue = (char[]){"'x'"})});
        CHECK_INT(r.class, CLASS_CELL_ERROR);
        CHECK_INT(r.cell, 4);
        CHECK_STR(r.ename, "KeyError");
        CHECK_STR(r.evalue, "'x'");
        run_result_done(&r);
}

TEST(memory_has_many_names)
{
        static const char *const enames[] = {"MemoryError", "_ArrayMemoryError",
                                             "OutOfMemoryError"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(enames); i++) {
                nb_auto_free char *ename = nb_strdup(enames[i]);
                struct run_result r = judge(
                        (struct seen){.memory_max = UINT64_C(4) << 30,
                                      ENDED(.class = CLASS_CELL_ERROR, .cell = 2, .ename = ename)});

                CHECK_INT(r.class, CLASS_OUT_OF_MEMORY);
                CHECK_STR(r.reason, "out of memory in cell 2 (memory_max is 4096 MiB)");
                run_result_done(&r);
        }
}

TEST(a_killed_kernel_ran_out_when_somebody_counted_it)
{
        struct seen s = {.cell = 2, ENDED(.class = CLASS_SIGNAL, .signo = SIGKILL)};
        struct run_result r = judge(s);

        CHECK_INT(r.class, CLASS_SIGNAL);
        CHECK_INT(r.signo, SIGKILL);
        run_result_done(&r);
        s.host_oom_kills = 1;
        r = judge(s);
        CHECK_INT(r.class, CLASS_OUT_OF_MEMORY);
        run_result_done(&r);
        s.end.signo = SIGSEGV;
        r = judge(s);
        CHECK_INT(r.class, CLASS_SIGNAL);
        run_result_done(&r);
        s = (struct seen){.oom = true, ENDED(.class = CLASS_CELL_ERROR, .cell = 1)};
        r = judge(s);
        CHECK_INT(r.class, CLASS_OUT_OF_MEMORY);
        run_result_done(&r);
        s = (struct seen){.oom = true, .exit_status = SIGKILL}; /* the engine itself */
        r = judge(s);
        CHECK_INT(r.class, CLASS_OUT_OF_MEMORY);
        run_result_done(&r);
        s = (struct seen){.oom = true, ENDED(.class = CLASS_PASSED)};
        r = judge(s);
        CHECK_INT(r.class, CLASS_PASSED);
        run_result_done(&r);
}

TEST(what_came_first_counts)
{
        struct seen s = {.cancelled = true, ENDED(.class = CLASS_NONE)};
        struct run_result r = judge(s);

        CHECK_INT(r.class, CLASS_CANCELLED);
        run_result_done(&r);
        s.end.class = CLASS_PASSED;
        r = judge(s);
        CHECK_INT(r.class, CLASS_PASSED);
        run_result_done(&r);
        s = (struct seen){.timed_out = true, .cell = 3, .timeout_us = UINT64_C(7200000000)};
        r = judge(s);
        CHECK_INT(r.class, CLASS_TIMEOUT);
        CHECK_STR(r.reason, "timed out in cell 3 after 2 h");
        run_result_done(&r);
        s.cell = 0;
        s.timeout_us = 1500000;
        r = judge(s);
        CHECK_STR(r.reason, "timed out after 1.5 s, before the first cell");
        run_result_done(&r);
}

TEST(a_silent_end_is_ours)
{
        struct run_result r = judge((struct seen){.exit_status = SIGSEGV});

        CHECK_INT(r.class, CLASS_INFRASTRUCTURE);
        CHECK_STR(r.reason, "the engine was killed by SIGSEGV; its log says more");
        run_result_done(&r);
        r = judge((struct seen){.exit_status = 3 << 8});
        CHECK_INT(r.class, CLASS_INFRASTRUCTURE);
        CHECK_STR(r.reason, "the engine ended early with status 3; its log says more");
        run_result_done(&r);
        r = judge((struct seen){.exit_status = ENGINE_EXIT_NO_NBCLIENT << 8});
        CHECK_INT(r.class, CLASS_INFRASTRUCTURE);
        CHECK(strstr(r.reason, "python3-nbclient"));
        run_result_done(&r);
}

TEST(too_many_processes_are_named)
{
        struct run_result r =
                judge((struct seen){.too_many = true,
                                    .processes_max = 512,
                                    ENDED(.class = CLASS_SIGNAL, .cell = 2, .signo = SIGKILL)});

        CHECK_INT(r.class, CLASS_SIGNAL);
        CHECK(strstr(r.reason, "512 processes"));
        run_result_done(&r);
}

NBTEST_MAIN()
