/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* page.h - pieces that several pages share */

#include "web-priv.h"

#define PAGE_REFRESH "3" /* seconds, while something still moves */
#define PAGE_COMMIT_SIZE 16

/* The first characters of a commit, in buf. */
const char *page_short_commit(const char *commit, char buf[PAGE_COMMIT_SIZE]);
/* The same as a link to the forge where there is one. */
void page_commit(struct web_app *a, struct nb_buf *b, const char *forge, const char *repository,
                 const char *commit);
/* "cell 7: ValueError: shapes …", or the reason, or nothing. */
void page_failure(struct nb_buf *b, const struct view_job *j);
/* "3 of 12" cells. */
void page_progress(struct nb_buf *b, const struct view_job *j);
/* How long; until now when to_ms is 0; "–" when from_ms is. */
void page_span(struct nb_buf *b, int64_t from_ms, int64_t to_ms, int64_t now_ms);
/* What a job ran in, as it was found; nothing when that is not known. */
void page_environment(struct web_app *a, struct nb_buf *b, int64_t build, int64_t job);
/* <dt>name</dt><dd>, left open. */
void page_row(struct nb_buf *b, const char *name);
