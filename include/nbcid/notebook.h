/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * notebook.h - what can be known of a notebook from its bytes
 *
 * Pure over bytes; any thread (large ones: the pool).  Facts: nbformat 4.0 to
 * 4.5 JSON schemas; environment variants as DLVM and Workbench images write.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/buf.h>
#include <nbcid/err.h>
#include <nbcid/finding.h>
#include <nbcid/json.h>
#include <nbcid/model.h>
#include <nbcid/str.h>

/* What a notebook says of itself before a run. */
struct notebook_head { /* owned; done with notebook_head_done() */
        int64_t nbformat, nbformat_minor;
        int64_t cells, code_cells;
        struct nb_environment environment;
        char *pipfile, *pipfile_lock; /* JSON texts as jupyterlab-requirements writes them, unread;
                                       * NULL when environment.requirements is set */
        const char *kernel_from, *image_from, *requirements_from; /* "metadata.kernelspec"; static;
                                                                   * NULL: not said */
        bool requirements_unread; /* metadata.requirements is in a format of which nothing is known
                                   */
};
void notebook_head_done(struct notebook_head *h);

/* Read and check the shape (JSON, nbformat 4, cells and their required
 * members).  name is used in texts: "train.ipynb:3:17: ...".  NB_E_INVALID,
 * NB_E_LIMIT (over max_bytes, nested over 256 deep, requirements over 64 KiB)
 * or NB_E_NOMEM; the text names file:line:column and the remedy.  Streamed:
 * memory does not grow with the notebook.
 *
 * environment: kernel is metadata.environment.kernel, else kernelspec.name;
 * language is language_info.name, else kernelspec.language; image is
 * environment.uri, else the older env.container or container; all NULL when not
 * said.  A kernel is a word of letters,
 * digits, '.', '_' and '-', a letter, digit or '_' first; an image also has
 * '/', ':', '@' and '+'; others are NB_E_INVALID.  requirements is set when
 * metadata.requirements, or the older metadata.python_packages, is an array that
 * is not empty.  Each of its lines is as the notebook has it: it may be an option
 * of pip.  why is never NULL. */
int notebook_read_head(const char *name, const char *p, size_t n, uint64_t max_bytes,
                       struct notebook_head *ret, struct nb_err *err);

/* The language of kernels of that name, whatever version it adds, as language_info.name has
 * it ("python", "R", "julia", ...): for notebooks whose tools write a kernel only.  NULL: not
 * known, as of names that people make up, most of which are Python's.  NULL is fine.  Static. */
const char *notebook_kernel_language(const char *kernel);
/* Is it Python, under any of the names that notebooks have for it?  NULL is not. */
bool notebook_language_is_python(const char *language);

/* What an executed notebook shows. */
struct notebook_verdict {   /* owned; done with notebook_verdict_done() */
        int64_t cells;      /* code cells with source that would run */
        int64_t executed;   /* of them, with an execution_count */
        int64_t missing;    /* of them, without one, and no SystemExit as below before it */
        bool stopped;       /* metadata.papermill.exception, and no such SystemExit */
        int64_t error_cell; /* 1-based over all cells, of the first unexpected error; 0: none */
        char *ename, *evalue;
};
void notebook_verdict_done(struct notebook_verdict *v);

/* Streamed: memory does not grow with outputs.  Only cells that would run
 * count (nbclient's rule: code, source not blank, no tag skip-execution), and
 * of their error outputs neither what the notebook allows (cell tag
 * raises-exception, metadata.execution.allow_errors) nor a SystemExit with ""
 * or "0" (papermill's rule).  ename and evalue are set when error_cell is,
 * cleaned (evalue may have several lines) and at most 1000 characters long.
 * Takes every notebook that notebook_read_head() takes.  NB_E_INVALID,
 * NB_E_LIMIT or NB_E_NOMEM, in texts that begin "the executed notebook:3:17: ". */
int notebook_judge(const char *p, size_t n, struct notebook_verdict *ret, struct nb_err *err);

/* Check the whole format: the rules of nbformat 4.0 to 4.5 for the minor
 * version that the notebook says, all that is broken in one pass, appended to
 * to with rules "format/...".  An error is what nbformat.validate() refuses; a
 * warning is what it mends or lets pass: a cell without id, an id that is there
 * twice, a minor version after 4.5 (checked loosely, as it does).  Stricter than
 * it on purpose: only nbformat 4; JSON to the letter (no NaN, no lone
 * surrogates, no known key twice); nested at most 256 deep; max_bytes.  What is
 * not JSON ends the check.  Fails with NB_E_NOMEM only. */
int notebook_check_format(const char *p, size_t n, uint64_t max_bytes, struct findings *to,
                          struct nb_err *err);

/* The same for a notebook that comes in pieces, cut anywhere (a finding about
 * what follows the first MiB of a name or tag may be missed).  Memory does not
 * grow with the notebook, but by some twenty bytes for each cell id.  to is borrowed; errors are
 * appended at the end, or when the text turns out to be no JSON; what is fed after that is not
 * read. */
struct notebook_format;
int notebook_format_new(uint64_t max_bytes, struct findings *to, struct notebook_format **ret,
                        struct nb_err *err);
int notebook_format_feed(struct notebook_format *f, const char *p, size_t n, struct nb_err *err);
int notebook_format_end(struct notebook_format *f, struct nb_err *err);
struct notebook_format *notebook_format_free(struct notebook_format *f); /* NULL is fine */
NB_DEFINE_FREEP(struct notebook_format *, notebook_format_free);

/* ---- edits: what is added is written as the rest is, every other byte stays ----
 *
 * name is for texts, as above.  What is no notebook (see notebook_read_head) is
 * refused; so is what ret, to whose end the whole notebook is appended, has no
 * room for: NB_E_LIMIT.  After a failure ret is of no use. */

#define NOTEBOOK_EDIT_MAX ((size_t)4 * 1024 * 1024) /* bytes of the JSON that is put in */

/* metadata.KEY becomes json, a JSON text; at its sorted place when the keys
 * there are sorted, else at the end.  Answers 1 when it says so already: ret
 * is a copy then. */
int notebook_set_metadata(const char *name, const char *p, size_t n, const char *key,
                          const char *json, struct nb_buf *ret, struct nb_err *err);
/* json, the text of a cell, goes before cell i (from 0; the number of cells:
 * behind the last), or in its place when replace.  The cell itself is not
 * checked. */
int notebook_put_cell(const char *name, const char *p, size_t n, size_t i, bool replace,
                      const char *json, struct nb_buf *ret, struct nb_err *err);

#define NOTEBOOK_PARAMETERS_MAX ((size_t)256 * 1024) /* bytes of parameters_json */

/* Give the notebook values, by papermill's rules: a code cell tagged
 * "injected-parameters" behind the first code cell tagged "parameters", in the
 * place of an earlier injection, or else at the top: that answer is 1, since the
 * notebook's own values then come later and win.  No parameters, no cell.
 *
 * parameters_json is an object.  The cell has one assignment each, a literal of
 * the language: "python", "R", "julia" or "bash" in any case; NULL: what
 * the notebook says (language_info, kernelspec).  Texts hold as they are,
 * whatever is in them; whole numbers keep all digits where the language can.
 * NB_E_INVALID: another language; a name that is no identifier there or is
 * reserved; a value that it cannot hold (Bash: tables, arrays in arrays). */
int notebook_inject(const char *name, const char *p, size_t n, const char *parameters_json,
                    const char *language, struct nb_buf *ret, struct nb_err *err);

/* ---- the sources of a notebook, for checks that read code ---- */

enum notebook_cell_type { NOTEBOOK_CODE = 1, NOTEBOOK_MARKDOWN, NOTEBOOK_RAW };

struct notebook_cell {
        enum notebook_cell_type type;
        const char *source; /* its lines joined; a NUL follows, and may be inside */
        size_t n;
        struct nb_strv tags;
        bool counted; /* has an execution_count */
        int64_t execution_count;
        bool inked;              /* more than white space */
        bool skip;               /* tagged skip-execution */
        size_t outputs;          /* how many */
        struct nb_json_pos at;   /* of the value of "source" in the file */
        struct nb_json_pos outs; /* of the first output; line 0: none */
};

struct notebook_source { /* owned; done with notebook_source_done() */
        struct notebook_cell *cells;
        size_t n, cap;
        char *language; /* language_info.name, else kernelspec.language, else that of the
                         * kernel if it is well known, else "python" */
        char *kernel;   /* kernelspec.name, or NULL */
        struct nb_json_pos kernel_at;
        bool allow_errors; /* metadata.execution.allow_errors */
        struct nb_buf text;
};
void notebook_source_done(struct notebook_source *s);

/* A piece of text that an output shows (text of a stream, value and traceback of an
 * error, text/plain, text/html, text/markdown), of the cell with that 1-based number, at that place
 * of the file.  Borrowed; not NUL-terminated.  0, or < 0 with err filled. */
typedef int (*notebook_output_fn)(void *arg, int64_t cell, const char *s, size_t n,
                                  struct nb_json_pos at, struct nb_err *err);

/* Sources are kept and nothing else: memory does not grow with outputs, whose
 * text goes by output (may be NULL).  Takes what notebook_read_head() takes of
 * the shape, and fails as it does. */
int notebook_source_read(const char *name, const char *p, size_t n, uint64_t max_bytes,
                         notebook_output_fn output, void *arg, struct notebook_source *ret,
                         struct nb_err *err);

/* Where the character at line and column (1-based, in code points; column 0:
 * the first) of a cell stands in the file of n bytes at p that the cell was
 * read from; past the end of a line, that end.  line 0 when there is no such
 * line.  Columns of the file are bytes. */
struct nb_json_pos notebook_place(const char *p, size_t n, const struct notebook_cell *c,
                                  size_t line, size_t column);
