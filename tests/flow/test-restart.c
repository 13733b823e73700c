/* SPDX-License-Identifier: Apache-2.0 */

/*
 * test-restart.c - stop the process after store verb k, for every k
 *
 * What the world outside saw (runs begun, statuses taken) stays; a new process
 * recovers; the end must be the same as without the stop, and nothing may have
 * run twice.
 */

#include <nbcid/git.h>
#include <nbcid/str.h>

#include "nbtest.h"
#include "world.h"

static char *origin, *before, *after;

static void make_origin(void)
{
        if (origin)
                return;
        origin = origin_make("echo hello > README; git add .; git commit -qm base; "
                             "nb pass.ipynb 1; nb fail.ipynb 2; nb lost.ipynb 3; "
                             "echo 'not json' > broken.ipynb; "
                             "git add .; git commit -qm 'Train it'; git push -q origin main");
        before = shell_line("git -C %s/work rev-parse HEAD^", origin);
        after = shell_line("git -C %s/work rev-parse HEAD", origin);
}

/* Push, stop after verb k of the first process (0: never), go on to the end.
 * *ret_verbs: verbs of the first process; *ret_died: it was stopped. */
static char *play(unsigned k, unsigned *ret_starts, bool *ret_died)
{
        nb_auto_free char *name = nb_asprintf("restart-%u", k);
        struct world w;
        char *dump;

        world_init(&w, name, origin);
        w.stop_after = k ? k : UINT32_MAX;
        if (world_start(&w)) {
                (void)world_push(&w, "d1", before, after);
                world_run(&w);
        } else {
                (void)world_push(&w, "d1", before, after);
        }
        *ret_died = w.dead;
        world_stop(&w);
        if (*ret_died) {
                w.stop_after = 0;
                CHECK(world_start(&w));
                world_run(&w);
                world_stop(&w);
        }
        dump = world_dump(&w);
        *ret_starts = exec_fake_total_starts(w.machine);
        world_done(&w);
        return dump;
}

TEST(every_place_to_stop_has_the_same_end)
{
        nb_auto_free char *whole = NULL;
        unsigned starts, k = 1;
        bool died;

        make_origin();
        whole = play(0, &starts, &died);
        CHECK(!died);
        CHECK_INT(starts, 4);
        for (;; k++) {
                unsigned again;
                nb_auto_free char *dump = play(k, &again, &died);

                if (!died)
                        break;
                if (strcmp(dump, whole) != 0)
                        FAIL("stopped after verb %u:\n%s\nnot:\n%s", k, dump, whole);
                if (again != starts)
                        FAIL("stopped after verb %u: %u runs, not %u", k, again, starts);
        }
        printf("# %u places to stop\n", k - 1);
        CHECK(k > 20);
}

WORLD_MAIN()
