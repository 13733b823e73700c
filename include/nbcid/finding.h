/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * finding.h - what a static check found in a notebook
 *
 * A finding has one place, one line of text and one remedy; a list of them has
 * a ceiling.  Values, no I/O; any thread, one at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/buf.h>
#include <nbcid/err.h>

enum finding_severity { FINDING_WARNING, FINDING_ERROR };

struct finding { /* texts owned */
        enum finding_severity severity;
        const char *rule;    /* static: "format/required", "syntax", "secret", ... */
        size_t line, column; /* of the raw .ipynb, 1-based, columns in bytes; 0: unknown */
        int64_t cell;        /* 1-based over all cells; 0: none */
        size_t cell_line, cell_column; /* inside the cell's source, 1-based; 0: unknown */
        char *path;                    /* JSON path "cells[2].outputs[0].data", or NULL */
        char *message;                 /* one line, without place */
        char *remedy;                  /* one line, or NULL */
        char *text;                    /* the offending source line, for the caret, or NULL ... */
        size_t text_column;            /* ... from here on: the column of its first character when
                                        * the line's beginning is left out; 0: it is not */
};

/* Start with {.max = ceiling}. */
struct findings {
        struct finding *v; /* owned */
        size_t n;
        size_t max;  /* ceiling of n */
        size_t more; /* found beyond it: counted, not kept */
};

void finding_done(struct finding *f);   /* NULL and zeroed are fine */
void findings_done(struct findings *f); /* keeps max */

/* Moves *f in, at the end, also when it fails.  Beyond max it is counted in
 * more; an error takes the place of the last warning then.  0 or NB_E_NOMEM. */
int findings_add_take(struct findings *to, struct finding *f, struct nb_err *err);

/* Would one of that severity be kept?  If not, it needs no place nor text. */
bool findings_keep(const struct findings *f, enum finding_severity severity);

/* Is there an error among those kept?  While max > 0, one that was found is. */
bool findings_refuse(const struct findings *f);

/* One line for a commit status: the first error, else the first warning, with
 * its place ("cell 3 line 2: ...", "cell 3: ..." or "line 14 column 3: ...")
 * and "; and 2 more".  Owned; NULL when there is none, or memory is out. */
char *findings_text(const struct findings *f);

/* Appends a JSON array of objects: severity ("warning", "error"), rule, cell,
 * cell_line, cell_column, line, column, path, message, remedy, text, text_column; what is
 * unknown is left out.  When more is not 0 a last one of rule "more" says it.  The one form for
 * files, rows and the API. */
void findings_write_json(const struct findings *f, struct nb_buf *ret);
const char *finding_severity_name(enum finding_severity s);
