/* SPDX-License-Identifier: Apache-2.0 */

/* result.c - from what was seen to a verdict with one honest class */

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "runner-priv.h"

void seen_done(struct seen *s)
{
        run_result_done(&s->end);
}

static void set(struct run_result *r, enum run_class c, char *reason)
{
        r->class = c;
        free(r->reason);
        r->reason = reason;
}

static char *span(uint64_t us)
{
        uint64_t s = us / 1000000;

        if (s >= 3600 && s % 3600 == 0)
                return nb_asprintf("%llu h", (unsigned long long)(s / 3600));
        if (s >= 60 && s % 60 == 0)
                return nb_asprintf("%llu min", (unsigned long long)(s / 60));
        return nb_asprintf("%g s", (double)us / 1e6);
}

/* The engine left without a word. */
static void judge_silent(const struct seen *s, struct run_result *r)
{
        int st = s->exit_status;

        if (WIFEXITED(st) && WEXITSTATUS(st) == ENGINE_EXIT_NO_NBCLIENT)
                set(r, CLASS_INFRASTRUCTURE,
                    nb_asprintf("the executor's python has no nbclient; install it there "
                                "(Debian: python3-nbclient python3-ipykernel), or set python in "
                                "[[executor]]"));
        else if (WIFSIGNALED(st))
                set(r, CLASS_INFRASTRUCTURE,
                    nb_asprintf("the engine was killed by SIG%s; its log says more",
                                sigabbrev_np(WTERMSIG(st))));
        else
                set(r, CLASS_INFRASTRUCTURE,
                    nb_asprintf("the engine ended early with status %d; its log says more",
                                WEXITSTATUS(st)));
}

/* Memory ran out for the kernel, whoever noticed. */
static bool ran_out(const struct seen *s)
{
        const char *ename = s->end.ename, *evalue = s->end.evalue;

        if (s->end.class == CLASS_PASSED)
                return false; /* it lost a process that it could do without */
        if (s->oom)
                return true;
        if (s->end.class == CLASS_SIGNAL && s->end.signo == SIGKILL && s->host_oom_kills > 0)
                return true;
        /* MemoryError, numpy's _ArrayMemoryError, torch's OutOfMemoryError; R has words only. */
        return s->end.class == CLASS_CELL_ERROR &&
               ((ename && nb_ends_with(ename, "MemoryError")) ||
                (evalue && strstr(evalue, "cannot allocate vector of size")));
}

static char *out_of_memory(const struct seen *s, int64_t cell)
{
        nb_auto_free char *limit = s->memory_max
                                           ? nb_asprintf(" (memory_max is %llu MiB)",
                                                         (unsigned long long)(s->memory_max >> 20))
                                           : nb_strdup("");

        if (!limit)
                return NULL;
        return cell > 0 ? nb_asprintf("out of memory in cell %lld%s", (long long)cell, limit)
                        : nb_asprintf("out of memory%s", limit);
}

static char *timed_out(const struct seen *s, int64_t cell)
{
        nb_auto_free char *after = span(s->timeout_us);

        if (!after)
                return NULL;
        return cell > 0 ? nb_asprintf("timed out in cell %lld after %s", (long long)cell, after)
                        : nb_asprintf("timed out after %s, before the first cell", after);
}

void result_judge(const struct seen *s, struct run_result *ret)
{
        struct run_result r = {.cells = s->cells, .cells_done = s->cells_done};

        r.cell = s->end.cell > 0 ? s->end.cell : s->cell;
        r.signo = s->end.signo;
        r.ename = nb_strdup(s->end.ename);
        r.evalue = nb_strdup(s->end.evalue);
        if (ran_out(s)) {
                set(&r, CLASS_OUT_OF_MEMORY, out_of_memory(s, r.cell));
        } else if (s->too_many && s->end.class != CLASS_PASSED) {
                set(&r, CLASS_SIGNAL,
                    nb_asprintf("killed for having more than %u processes (processes_max)",
                                s->processes_max));
                r.signo = SIGKILL;
        } else if (s->end.class != CLASS_NONE) { /* it came first */
                set(&r, s->end.class, nb_strdup(s->end.reason));
                if (r.class == CLASS_PASSED)
                        r.cell = 0;
        } else if (s->cancelled) {
                set(&r, CLASS_CANCELLED, NULL);
        } else if (s->timed_out) {
                set(&r, CLASS_TIMEOUT, timed_out(s, r.cell));
        } else {
                judge_silent(s, &r);
        }
        *ret = r;
}
