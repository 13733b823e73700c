/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* requirements.h - reading requirements, for the readers of other formats */

#include <nbcid/notebook_environment.h>

#define REQUIREMENTS_DEPTH 8
#define REQUIREMENTS_LINE_MAX ((size_t)64 * 1024) /* joined; a lock has many hashes to a line */

struct reading {
        unsigned allow;
        const struct notebook_files *files; /* or NULL */
        struct requirements *out;
        bool constraints; /* what is read now only constrains */
        const char *chain[REQUIREMENTS_DEPTH];
        unsigned depth, n_files;
};

/* Add one requirement or option, as a line of a requirements file has it,
 * trimmed, joined and without comment.  where is what errors begin with; dir is
 * where paths in it count from. */
int reading_line(struct reading *g, const char *where, const char *dir, const char *line,
                 struct nb_err *err);

/* Read the file that -r or -c (constrain) names; line is for errors. */
int reading_follow(struct reading *g, const char *where, const char *line, const char *dir,
                   const char *value, bool constrain, struct nb_err *err);

/* "where: "line" what", with passwords of URLs taken out of line. */
int reading_refuse(const char *where, const char *line, struct nb_err *err, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));

/* ---- direct.c: requirements that are no names of an index's packages ---- */

/* Is it (or what stands behind "name @") a URL or a path?  Sets *ret to where
 * that begins, and answers the bit that allows it; 0: a name. */
unsigned direct_kind(const char *line, const char **ret);
/* Refuse the URL or path (of that kind) in line when it may not be used. */
int direct_check(const struct reading *g, unsigned kind, const char *where, const char *dir,
                 const char *line, const char *at, struct nb_err *err);
/* The same for the URL of an index or of links. */
int direct_check_index(const struct reading *g, const char *where, const char *line,
                       const char *url, struct nb_err *err);
/* path as seen from dir, without "." and ".."; owned; NULL: it leaves the
 * repository (or memory is out: *ret_nomem). */
char *direct_path(const char *dir, const char *path, bool *ret_nomem);
/* What is wrong with "name[extras] (comparisons); marker", NULL: nothing. */
const char *direct_spec_wrong(const char *s);

/* Hold environment.yml, n bytes at p, against the policy. */
int conda_check(const char *path, const char *p, size_t n, unsigned allow, struct nb_err *err);

/* ---- canonical.c: one text for what means the same, appended to b ---- */

/* "name[b, A] (>=1)" as direct_spec_wrong() takes it: the name as PEP 503 has it,
 * extras in order, no spaces, "name[A,b]>=1 ; marker". */
int canonical_put(struct nb_buf *b, const char *spec);
/* "name @ url", "url" or a path, with at where direct_kind() found that.  What
 * stands there is kept as it is. */
int canonical_put_direct(struct nb_buf *b, const char *spec, const char *at);
/* Is it made of what markers are made of?  Nothing in it begins with a dash. */
bool canonical_is_marker(const char *s);
/* Any line: one space for each run of white space outside of quotes. */
int canonical_put_spaced(struct nb_buf *b, const char *s);
