/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * walk.h - one pass over a notebook's JSON that knows where it is
 *
 * Checks the shape that both readers (head, judge) rely on and tells them the
 * members they care about as they go by; all else is skipped without being
 * kept, so memory does not grow with the notebook.  A notebook that one reader
 * takes, the other takes too.  Members may come in any order.  Shape: nbformat
 * JSON schemas v4.0 to v4.5.  Pure; any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/err.h>
#include <nbcid/json.h>

/* The members that are looked at, named by their path.  From WALK_CELL on they
 * are parts of a cell. */
enum walk_member {
        WALK_NONE,
        WALK_ROOT,
        WALK_NBFORMAT,
        WALK_NBFORMAT_MINOR,
        WALK_METADATA,
        WALK_EXECUTION, /* metadata.execution */
        WALK_ALLOW_ERRORS,
        WALK_ENVIRONMENT, /* metadata.environment */
        WALK_ENVIRONMENT_KERNEL,
        WALK_ENVIRONMENT_NAME,
        WALK_ENVIRONMENT_URI,
        WALK_KERNELSPEC, /* metadata.kernelspec */
        WALK_KERNELSPEC_NAME,
        WALK_KERNELSPEC_LANGUAGE,
        WALK_LANGUAGE_INFO, /* metadata.language_info */
        WALK_LANGUAGE_INFO_NAME,
        WALK_REQUIREMENTS,      /* metadata.requirements */
        WALK_REQUIREMENT,       /* an item of it */
        WALK_REQUIREMENTS_LOCK, /* metadata.requirements_lock */
        WALK_ENV,               /* metadata.env */
        WALK_ENV_CONTAINER,
        WALK_CONTAINER, /* metadata.container */
        WALK_PAPERMILL, /* metadata.papermill */
        WALK_PAPERMILL_EXCEPTION,
        WALK_PYTHON_PACKAGES, /* metadata.python_packages */
        WALK_PYTHON_PACKAGE,  /* an item of it */
        WALK_PYTHON_PACKAGE_NAME,
        WALK_PYTHON_PACKAGE_VERSION,
        WALK_CELLS,
        WALK_CELL,
        WALK_CELL_TYPE,
        WALK_SOURCE,
        WALK_SOURCE_LINE,
        WALK_CELL_METADATA,
        WALK_TAGS,
        WALK_TAG,
        WALK_OUTPUTS,
        WALK_EXECUTION_COUNT,
        WALK_OUTPUT,
        WALK_OUTPUT_TYPE,
        WALK_ENAME,
        WALK_EVALUE,
        WALK_OUTPUT_TEXT, /* of a stream */
        WALK_OUTPUT_TEXT_LINE,
        WALK_OUTPUT_DATA,
        WALK_OUTPUT_PLAIN, /* data["text/plain"] */
        WALK_OUTPUT_PLAIN_LINE,
        WALK_OUTPUT_HTML, /* data["text/html"] */
        WALK_OUTPUT_HTML_LINE,
        WALK_OUTPUT_MARKDOWN, /* data["text/markdown"] */
        WALK_OUTPUT_MARKDOWN_LINE,
        WALK_TRACEBACK, /* of an error */
        WALK_TRACEBACK_LINE,
        WALK__COUNT,
};

enum walk_type {
        WALK_NULL,
        WALK_BOOL,
        WALK_INTEGER,  /* whole and in the range of int64_t */
        WALK_FRACTION, /* any other number */
        WALK_STRING,
        WALK_ARRAY,
        WALK_OBJECT,
        WALK_TYPE__COUNT,
};

struct walk_value { /* borrowed for the length of the call */
        enum walk_type type;
        const char *s; /* of a string; not NUL-terminated */
        size_t n;
        int64_t i; /* of a whole number */
        bool yes;  /* of a boolean */
};

enum walk_cell_type { WALK_CODE = 1, WALK_MARKDOWN, WALK_RAW };

struct walk_cell {
        int64_t number; /* 1-based over all cells */
        enum walk_cell_type type;
        bool inked;   /* its source has more than white space */
        bool skip;    /* tagged skip-execution */
        bool raises;  /* tagged raises-exception */
        bool counted; /* has an execution_count */
};

/* What a reader wants to hear; each answers 0, or < 0 with err filled. */
struct walk_ops {
        /* A looked-at member begins; its type is one that it may have. */
        int (*value)(void *arg, enum walk_member m, const struct walk_value *v, struct nb_err *err);
        /* An array or object whose inside was looked at ends.  NULL: never mind. */
        int (*end)(void *arg, enum walk_member m, struct nb_err *err);
};

#define WALK_DEPTH 8 /* of the deepest member above, and one to spare */

struct walk {
        const struct walk_ops *ops;
        void *arg;
        struct {
                enum walk_member place;
                uint64_t seen; /* its members, one bit each */
                struct nb_json_pos at;
        } stack[WALK_DEPTH];
        unsigned depth;
        unsigned skipped;       /* levels inside a value that is not looked at */
        enum walk_member next;  /* whose value comes next */
        struct nb_json_pos pos; /* of the token at hand */
        bool refused;           /* by us, not by the JSON reader ... */
        struct nb_json_pos at;  /* ... and for what stands here */
        int64_t nbformat, nbformat_minor;
        struct walk_cell cell; /* the current or last one */
};

/* Walk n bytes at p; name is what texts begin with: "name:LINE:COLUMN: ...;
 * remedy".  NB_E_INVALID, NB_E_LIMIT (over max_bytes, too deep), NB_E_NOMEM, or
 * what ops answered.  w is for reading, within ops and after success. */
int walk_notebook(const char *name, const char *p, size_t n, uint64_t max_bytes,
                  const struct walk_ops *ops, void *arg, struct walk *w, struct nb_err *err);

/* Would a runner run it?  nbclient's rule: code, not blank, not skipped. */
bool walk_cell_runs(const struct walk_cell *c);
/* Is there nothing but white space (that of Python's str.strip()) in it? */
bool walk_blank(const char *s, size_t n);
