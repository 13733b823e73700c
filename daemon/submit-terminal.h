/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * submit-terminal.h - progress of a submission, and ^C, for whoever sits there
 *
 * Loop thread only.  On a terminal one line that moves, and a question after
 * ^C; else a line for each change, and SIGINT and SIGTERM cancel.
 */

#include <nbcid/loop.h>
#include <nbcid/submit.h>

struct terminal;
/* Takes SIGINT, SIGTERM and SIGHUP from now on: before the first thread.
 * quiet: nothing is told, the question is asked all the same. */
int terminal_new(struct loop *l, bool quiet, struct terminal **ret, struct nb_err *err);
struct terminal *terminal_free(struct terminal *t); /* NULL is fine; answers NULL */
NB_DEFINE_FREEP(struct terminal *, terminal_free);
/* What signals and answers stop; borrowed until the terminal is freed. */
void terminal_watch(struct terminal *t, struct submit *s);
void terminal_tell(void *terminal, const struct submit_news *n); /* submit_opts.told */
/* End the line that moves. */
void terminal_end(struct terminal *t);
/* Did somebody choose not to wait for the end? */
bool terminal_left(const struct terminal *t);
