/* SPDX-License-Identifier: Apache-2.0 */

/* The format check from its first byte to its last, and what it says of the
 * notebook as a whole: its version, its size, that it is no JSON. */

#include "format.h"

#include <stdlib.h>
#include <string.h>

#include <nbcid/mem.h>
#include <nbcid/notebook.h>
#include <nbcid/str.h>

#include "remedy.h"
#include "text.h"

#define MAX_DEPTH 256
/* Bytes of a string from which on the rest does not matter: images. */
#define KEEP ((size_t)1 << 20)

int notebook_format_new(uint64_t max_bytes, struct findings *to, struct notebook_format **ret,
                        struct nb_err *err)
{
        const struct nb_json_limits limits = {.bytes = SIZE_MAX, .depth = MAX_DEPTH, .keep = KEEP};
        struct notebook_format *f = calloc(1, sizeof(*f));
        int r;

        if (!f)
                return nb_fail(err, NB_E_NOMEM, "no memory to check a notebook");
        f->max_bytes = max_bytes;
        f->to = to;
        set_init(&f->ids);
        set_init(&f->tags);
        r = nb_json_reader_new(&limits, &format_events, f, &f->reader, err);
        if (r < 0) {
                notebook_format_free(f);
                return r;
        }
        *ret = f;
        return 0;
}

struct notebook_format *notebook_format_free(struct notebook_format *f)
{
        if (!f)
                return NULL;
        nb_json_reader_free(f->reader);
        format_drop_all(f);
        set_done(&f->ids);
        set_done(&f->tags);
        free(f);
        return NULL;
}

/* What counts when the version is known, or when the text broke off before. */
static unsigned minors_of(const struct notebook_format *f)
{
        if (!f->has_minor)
                return MINOR_BIT(MINOR_NEWEST);
        if (f->minor > MINOR_NEWEST)
                return MINORS_NEWER;
        return MINOR_BIT(f->minor < 0 ? 0 : f->minor);
}

/* Another major version: its rules are others, so that only this is told. */
static int tell_major(struct notebook_format *f, struct nb_err *err)
{
        char text[128];

        format_drop_all(f);
        if (f->major > 4) {
                (void)nb_fmt(text, sizeof(text),
                             "nbformat %lld is unknown: 4 is the newest that nbcid knows",
                             (long long)f->major);
                return format_say(f, FINDING_ERROR, "format/version", f->major_at, "nbformat", text,
                                  "save the notebook as nbformat 4, or update nbcid", err);
        }
        (void)nb_fmt(text, sizeof(text),
                     "nbformat %lld is %s nbformat 4, which Jupyter writes "
                     "since 2015",
                     (long long)f->major, f->major < 1 ? "no version; it should be" : "older than");
        return format_say(f, FINDING_ERROR, "format/version", f->major_at, "nbformat", text,
                          "open and save the notebook in a current Jupyter, or run `jupyter "
                          "nbconvert --to notebook --inplace` on it",
                          err);
}

static int tell_minor(struct notebook_format *f, struct nb_err *err)
{
        char text[128];

        if (f->minor < 0)
                return format_say(f, FINDING_ERROR, "format/version", f->minor_at, "nbformat_minor",
                                  "nbformat_minor is negative", TEXT_REMEDY, err);
        (void)nb_fmt(text, sizeof(text),
                     "nbformat 4.%lld is newer than 4.5, the newest that nbcid knows, so it is "
                     "checked loosely",
                     (long long)f->minor);
        return format_say(f, FINDING_WARNING, "format/version", f->minor_at, "nbformat_minor", text,
                          "update nbcid, or save the notebook as nbformat 4.5", err);
}

static int tell(struct notebook_format *f, unsigned minors, struct nb_err *err)
{
        int r = 0;

        if (f->has_major && f->major != 4)
                return tell_major(f, err);
        if (f->has_minor && (f->minor < 0 || f->minor > MINOR_NEWEST))
                r = tell_minor(f, err);
        return r < 0 ? r : format_tell(f, minors, err);
}

/* The JSON reader stopped: what was found before it, then this. */
static int tell_json(struct notebook_format *f, int ret, const char *p, size_t n, size_t base,
                     const struct nb_err *e, struct nb_err *err)
{
        struct nb_json_pos at = nb_json_reader_mark(f->reader);
        const char *text = text_begins(e->msg, strlen(e->msg), "line ") ? strstr(e->msg, ": ") : 0;
        size_t i = at.offset > base ? at.offset - base : 0;
        int r;

        if (ret == -NB_E_CANCELLED) /* no object, and that is told */
                return 0;
        f->ended = true;
        if (ret == -NB_E_NOMEM)
                return nb_fail(err, NB_E_NOMEM, "%s", e->msg);
        r = tell(f, f->has_minor ? minors_of(f) : MINORS_KNOWN, err);
        if (r < 0)
                return r;
        return format_say(f, FINDING_ERROR, ret == -NB_E_LIMIT ? "format/limit" : "format/json", at,
                          NULL, text ? text + 2 : e->msg,
                          ret == -NB_E_LIMIT ? "clear the notebook's outputs and save it"
                                             : remedy_json(p, n, i, base == 0),
                          err);
}

static int tell_size(struct notebook_format *f, struct nb_err *err)
{
        char text[128];

        f->ended = true;
        (void)nb_fmt(text, sizeof(text), "the notebook has more than %llu bytes",
                     (unsigned long long)f->max_bytes);
        return format_say(f, FINDING_ERROR, "format/limit", (struct nb_json_pos){0, 1, 1}, NULL,
                          text, "clear its outputs, or ask the operator to raise max_notebook",
                          err);
}

static int feed(struct notebook_format *f, const char *p, size_t n, bool last, struct nb_err *err)
{
        struct nb_err e;
        int r;

        if (f->ended || n == 0)
                return 0;
        if (n > f->max_bytes - f->fed)
                return tell_size(f, err);
        r = last ? nb_json_reader_feed_last(f->reader, p, n, &e)
                 : nb_json_reader_feed(f->reader, p, n, &e);
        if (r == 0)
                format_locate(f);
        else
                r = tell_json(f, r, p, n, f->fed, &e, err);
        f->fed += n;
        return r;
}

int notebook_format_feed(struct notebook_format *f, const char *p, size_t n, struct nb_err *err)
{
        return feed(f, p, n, false, err);
}

int notebook_format_end(struct notebook_format *f, struct nb_err *err)
{
        struct nb_err e;
        int r;

        if (f->ended)
                return 0;
        r = nb_json_reader_end(f->reader, &e);
        if (r < 0)
                return tell_json(f, r, "", 0, f->fed, &e, err);
        f->ended = true;
        return tell(f, minors_of(f), err);
}

int notebook_check_format(const char *p, size_t n, uint64_t max_bytes, struct findings *to,
                          struct nb_err *err)
{
        NB_CLEANUP(notebook_format_freep) struct notebook_format *f = NULL;
        int r = notebook_format_new(max_bytes, to, &f, err);

        if (r == 0)
                r = feed(f, p, n, true, err);
        if (r == 0)
                r = notebook_format_end(f, err);
        return r;
}
