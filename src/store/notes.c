/* SPDX-License-Identifier: Apache-2.0 */
/* what the forge must learn, and in which words */
#include "rows.h"

#include <inttypes.h>

#include <nbcid/str.h>

#define SUMMARY "nbcid"

static const char *plural(int64_t n)
{
        return n == 1 ? "" : "s";
}

static int put(struct db *d, const struct note_place *p, const char *context, enum note_state state,
               const char *text, const char *target, struct nb_err *err)
{
        int r = stmt_run(d, SQL_NOTE_PUT,
                         BINDS(B_INT(p->owner), B_TEXT(context), B_TEXT(p->forge),
                               B_TEXT(p->repository), B_TEXT(p->commit), B_TEXT(p->ref),
                               B_INT(p->build), B_TEXT(note_state_name(state)), B_TEXT(text),
                               B_TEXT(target), B_INT(nb_now_ms(d->clock))),
                         err);

        return r < 0 ? r : 0;
}

int note_build(struct db *d, const struct note_place *p, enum note_state state, const char *text,
               struct nb_err *err)
{
        char target[48];

        if (!p->commit)
                return 0;
        nb_assert(nb_fmt(target, sizeof(target), "/builds/%" PRId64, p->build));
        return put(d, p, SUMMARY, state, text, target, err);
}

int note_job(struct db *d, const struct note_place *p, int64_t job, const char *notebook,
             enum note_state state, const char *text, struct nb_err *err)
{
        nb_auto_free char *context = NULL;
        char target[48];

        context = nb_asprintf(SUMMARY "/%s", notebook);
        if (!context)
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        nb_assert(nb_fmt(target, sizeof(target), "/jobs/%" PRId64, job));
        return put(d, p, context, state, text, target, err);
}

struct note_place place_of(const struct build_row *b)
{
        return (struct note_place){.forge = b->forge,
                                   .repository = b->repository,
                                   .ref = b->ref,
                                   .commit = b->commit,
                                   .owner = b->owner,
                                   .build = b->id};
}

enum note_state note_of_job(enum job_state s)
{
        switch (s) {
        case JOB_PASSED:
                return NOTE_SUCCESS;
        case JOB_FAILED:
        case JOB_TIMED_OUT:
                return NOTE_FAILURE;
        case JOB_ERRORED:
                return NOTE_ERROR;
        case JOB_CANCELLED:
        case JOB_SKIPPED:
                return NOTE_CANCELLED;
        case JOB_WAITING:
        case JOB_PENDING:
        case JOB_SUBMITTING:
        case JOB_RUNNING:
        case JOB_STATE__COUNT:
                break;
        }
        nb_assert(false && "a final state");
        return NOTE_ERROR;
}

enum note_state note_of_build(enum build_state s)
{
        switch (s) {
        case BUILD_PASSED:
                return NOTE_SUCCESS;
        case BUILD_FAILED:
                return NOTE_FAILURE;
        case BUILD_ERRORED:
                return NOTE_ERROR;
        case BUILD_CANCELLED:
                return NOTE_CANCELLED;
        case BUILD_QUEUED:
        case BUILD_PREPARING:
        case BUILD_RUNNING:
        case BUILD_STATE__COUNT:
                break;
        }
        nb_assert(false && "a final state");
        return NOTE_ERROR;
}

int note_progress(struct db *d, const struct build_row *b, struct nb_err *err)
{
        const struct note_place place = place_of(b);
        char text[96];

        if (b->jobs_final == 0)
                nb_assert(nb_fmt(text, sizeof(text), "running %" PRId64 " notebook%s", b->jobs,
                                 plural(b->jobs)));
        else
                nb_assert(nb_fmt(text, sizeof(text), "%" PRId64 " of %" PRId64 " notebook%s done",
                                 b->jobs_final, b->jobs, plural(b->jobs)));
        return note_build(d, &place, NOTE_RUNNING, text, err);
}

/* "1 of 5 notebooks failed: train.ipynb cell 7: ValueError: shapes (3,) (4,)":
 * how many ended in either state, and the first of them. */
static int text_of_bad(struct db *d, const struct build_row *b, enum job_state one,
                       enum job_state other, const char *word, char **ret, struct nb_err *err)
{
        const struct bind *which =
                BINDS(B_INT(b->id), B_TEXT(job_state_name(one)), B_TEXT(job_state_name(other)));
        nb_auto_stmt *q = NULL;
        const char *notebook, *reason;
        enum run_class class;
        int64_t n = 0;
        bool sentence;
        int r = stmt_int(d, SQL_JOB_TALLY, which, &n, err);

        if (r < 0)
                return r;
        r = stmt_get(d, SQL_JOB_FIRST, which, &q, err);
        if (r < 0)
                return r;
        r = stmt_step(q, err);
        if (r < 0)
                return r;
        nb_assert(r == 1);
        notebook = col_text(q, "notebook");
        reason = col_text(q, "reason");
        if (!run_class_parse(col_text(q, "class"), &class))
                return col_fail(q, "class", err);
        /* "train.ipynb cell 7: ...", "train.ipynb timed out" read on by themselves;
         * what the check says begins with "train.ipynb:3:17" */
        sentence = class == CLASS_CELL_ERROR || class == CLASS_TIMEOUT;
        if (reason && nb_starts_with(reason, notebook))
                notebook = "";
        *ret = nb_asprintf("%" PRId64 " of %" PRId64 " notebook%s %s: %s%s%s", n, b->jobs,
                           plural(b->jobs), word, notebook,
                           !*notebook ? "" : (sentence ? " " : ": "), reason ? reason : word);
        return *ret ? 0 : nb_fail(err, NB_E_NOMEM, "memory is out");
}

int text_of_end(struct db *d, const struct build_row *b, enum build_state to, char **ret,
                struct nb_err *err)
{
        char *text;

        if (to == BUILD_FAILED)
                return text_of_bad(d, b, JOB_FAILED, JOB_TIMED_OUT, "failed", ret, err);
        if (to == BUILD_ERRORED)
                return text_of_bad(d, b, JOB_ERRORED, JOB_ERRORED, "errored", ret, err);
        if (to == BUILD_CANCELLED)
                text = nb_strdup("cancelled");
        else if (b->jobs == 0)
                text = nb_strdup("no notebook changed");
        else
                text = nb_asprintf("%" PRId64 " notebook%s passed", b->jobs, plural(b->jobs));
        if (!text)
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        *ret = text;
        return 0;
}
