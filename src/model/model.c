/* SPDX-License-Identifier: Apache-2.0 */
/* states, their names and their legal moves; values and their destroyers */
#include <nbcid/model.h>

#include <stdlib.h>
#include <string.h>

#include <nbcid/err.h>
#include <nbcid/str.h>

/* Index of name in a full table of n names. */
static bool name_parse(const char *const *names, unsigned n, const char *name, unsigned *ret)
{
        if (!name)
                return false;
        for (unsigned i = 0; i < n; i++)
                if (nb_streq(names[i], name)) {
                        *ret = i;
                        return true;
                }
        return false;
}

/* The two functions of each enum that is stored by name. */
#define DEFINE_NAMES(prefix, type, table, count) \
        const char *prefix##_name(type v) \
        { \
                nb_assert((unsigned)v < (unsigned)(count)); \
                return table[v]; \
        } \
        bool prefix##_parse(const char *name, type *ret) \
        { \
                unsigned i; \
\
                if (!name_parse(table, (unsigned)(count), name, &i)) \
                        return false; \
                *ret = (type)i; \
                return true; \
        }

static const char *const build_states[BUILD_STATE__COUNT] = {
        [BUILD_QUEUED] = "queued",       [BUILD_PREPARING] = "preparing",
        [BUILD_RUNNING] = "running",     [BUILD_PASSED] = "passed",
        [BUILD_FAILED] = "failed",       [BUILD_ERRORED] = "errored",
        [BUILD_CANCELLED] = "cancelled",
};
DEFINE_NAMES(build_state, enum build_state, build_states, BUILD_STATE__COUNT)

static const char *const triggers[TRIGGER__COUNT] = {
        [TRIGGER_PUSH] = "push",
        [TRIGGER_PULL_REQUEST] = "pull_request",
        [TRIGGER_SCHEDULE] = "schedule",
        [TRIGGER_MANUAL] = "manual",
};
DEFINE_NAMES(trigger, enum trigger, triggers, TRIGGER__COUNT)

static const char *const job_states[JOB_STATE__COUNT] = {
        [JOB_WAITING] = "waiting", [JOB_PENDING] = "pending",     [JOB_SUBMITTING] = "submitting",
        [JOB_RUNNING] = "running", [JOB_PASSED] = "passed",       [JOB_FAILED] = "failed",
        [JOB_ERRORED] = "errored", [JOB_TIMED_OUT] = "timed_out", [JOB_CANCELLED] = "cancelled",
        [JOB_SKIPPED] = "skipped",
};
DEFINE_NAMES(job_state, enum job_state, job_states, JOB_STATE__COUNT)

static const char *const run_classes[CLASS__COUNT] = {
        [CLASS_NONE] = "",
        [CLASS_PASSED] = "passed",
        [CLASS_CELL_ERROR] = "cell_error",
        [CLASS_TIMEOUT] = "timeout",
        [CLASS_OUT_OF_MEMORY] = "out_of_memory",
        [CLASS_SIGNAL] = "signal",
        [CLASS_KERNEL_START] = "kernel_start",
        [CLASS_NO_KERNEL] = "no_kernel",
        [CLASS_CHECK] = "check",
        [CLASS_ENVIRONMENT] = "environment",
        [CLASS_LOST] = "lost",
        [CLASS_INFRASTRUCTURE] = "infrastructure",
        [CLASS_CAPACITY] = "capacity",
        [CLASS_RATE_LIMIT] = "rate_limit",
        [CLASS_PERMISSION] = "permission",
        [CLASS_CONFIGURATION] = "configuration",
        [CLASS_CANCELLED] = "cancelled",
};
DEFINE_NAMES(run_class, enum run_class, run_classes, CLASS__COUNT)

static const char *const note_states[NOTE_STATE__COUNT] = {
        [NOTE_PENDING] = "pending", [NOTE_RUNNING] = "running", [NOTE_SUCCESS] = "success",
        [NOTE_FAILURE] = "failure", [NOTE_ERROR] = "error",     [NOTE_CANCELLED] = "cancelled",
};
DEFINE_NAMES(note_state, enum note_state, note_states, NOTE_STATE__COUNT)

/* ---- legal moves: for each state the set of states that may follow ---- */

#define TO(state) (1u << (state))

static const unsigned build_moves[BUILD_STATE__COUNT] = {
        [BUILD_QUEUED] = TO(BUILD_PREPARING) | TO(BUILD_CANCELLED) | TO(BUILD_ERRORED),
        /* queued: a restart found a checkout that will never end, or the
         * remote was broken and is asked again; passed: no notebook changed;
         * failed: the check refused every notebook */
        [BUILD_PREPARING] = TO(BUILD_QUEUED) | TO(BUILD_RUNNING) | TO(BUILD_PASSED) |
                            TO(BUILD_FAILED) | TO(BUILD_ERRORED) | TO(BUILD_CANCELLED),
        [BUILD_RUNNING] =
                TO(BUILD_PASSED) | TO(BUILD_FAILED) | TO(BUILD_ERRORED) | TO(BUILD_CANCELLED),
};

static const unsigned job_moves[JOB_STATE__COUNT] = {
        [JOB_WAITING] = TO(JOB_PENDING) | TO(JOB_SKIPPED) | TO(JOB_CANCELLED),
        /* failed: class check, before anything was submitted */
        [JOB_PENDING] = TO(JOB_SUBMITTING) | TO(JOB_FAILED) | TO(JOB_ERRORED) | TO(JOB_CANCELLED),
        /* a run may have ended before we looked; pending is the next attempt */
        [JOB_SUBMITTING] = TO(JOB_RUNNING) | TO(JOB_PENDING) | TO(JOB_PASSED) | TO(JOB_FAILED) |
                           TO(JOB_ERRORED) | TO(JOB_TIMED_OUT) | TO(JOB_CANCELLED),
        [JOB_RUNNING] = TO(JOB_PENDING) | TO(JOB_PASSED) | TO(JOB_FAILED) | TO(JOB_ERRORED) |
                        TO(JOB_TIMED_OUT) | TO(JOB_CANCELLED),
};

bool build_may_move(enum build_state from, enum build_state to)
{
        nb_assert((unsigned)from < BUILD_STATE__COUNT && (unsigned)to < BUILD_STATE__COUNT);
        return build_moves[from] & TO(to);
}

bool build_state_final(enum build_state s)
{
        nb_assert((unsigned)s < BUILD_STATE__COUNT);
        return build_moves[s] == 0;
}

bool job_may_move(enum job_state from, enum job_state to)
{
        nb_assert((unsigned)from < JOB_STATE__COUNT && (unsigned)to < JOB_STATE__COUNT);
        return job_moves[from] & TO(to);
}

bool job_state_final(enum job_state s)
{
        nb_assert((unsigned)s < JOB_STATE__COUNT);
        return job_moves[s] == 0;
}

enum job_state run_class_state(enum run_class c)
{
        static const enum job_state states[CLASS__COUNT] = {
                [CLASS_PASSED] = JOB_PASSED,          [CLASS_CELL_ERROR] = JOB_FAILED,
                [CLASS_TIMEOUT] = JOB_TIMED_OUT,      [CLASS_OUT_OF_MEMORY] = JOB_FAILED,
                [CLASS_SIGNAL] = JOB_FAILED,          [CLASS_KERNEL_START] = JOB_ERRORED,
                [CLASS_NO_KERNEL] = JOB_FAILED,       [CLASS_CHECK] = JOB_FAILED,
                [CLASS_ENVIRONMENT] = JOB_FAILED,     [CLASS_LOST] = JOB_ERRORED,
                [CLASS_INFRASTRUCTURE] = JOB_ERRORED, [CLASS_CAPACITY] = JOB_ERRORED,
                [CLASS_RATE_LIMIT] = JOB_ERRORED,     [CLASS_PERMISSION] = JOB_ERRORED,
                [CLASS_CONFIGURATION] = JOB_ERRORED,  [CLASS_CANCELLED] = JOB_CANCELLED,
        };

        nb_assert(c != CLASS_NONE && (unsigned)c < CLASS__COUNT);
        return states[c];
}

bool run_class_retry(enum run_class c)
{
        return run_class_state(c) == JOB_ERRORED && c != CLASS_PERMISSION &&
               c != CLASS_CONFIGURATION;
}

/* ---- commits and refs ---- */

bool nb_oid_valid(const char *hex)
{
        size_t n = hex ? strnlen(hex, NB_OID_HEX_SIZE) : 0;

        return (n == 40 || n == 64) && strspn(hex, "0123456789abcdefABCDEF") == n;
}

bool nb_oid_is_zero(const char *hex)
{
        return nb_oid_valid(hex) && hex[strspn(hex, "0")] == '\0';
}

const char *ref_short(const char *ref)
{
        static const char *const prefixes[] = {"refs/heads/", "refs/tags/"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(prefixes); i++)
                if (nb_starts_with(ref, prefixes[i]))
                        return ref + strlen(prefixes[i]);
        return ref;
}

/* ---- destroyers ---- */

void event_done(struct event *e)
{
        if (!e)
                return;
        free(e->repository);
        free(e->ref);
        free(e->default_branch);
        free(e->title);
        free(e->author);
        *e = (struct event){0};
}

void run_machine_done(struct run_machine *m)
{
        free(m->type);
        free(m->accelerator);
        free(m->region);
        *m = (struct run_machine){0};
}

int run_machine_copy(const struct run_machine *m, struct run_machine *ret, struct nb_err *err)
{
        NB_CLEANUP(run_machine_done) struct run_machine c = *m;

        c.type = nb_strdup(m->type);
        c.accelerator = nb_strdup(m->accelerator);
        c.region = nb_strdup(m->region);
        if ((m->type && !c.type) || (m->accelerator && !c.accelerator) || (m->region && !c.region))
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *ret = c;
        c = (struct run_machine){0};
        return 0;
}

void run_result_done(struct run_result *r)
{
        if (!r)
                return;
        free(r->ename);
        free(r->evalue);
        free(r->reason);
        run_machine_done(&r->machine);
        *r = (struct run_result){0};
}
