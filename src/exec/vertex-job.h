/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* vertex-job.h - the two of struct far_kind that describe a job */

#include "remote.h"

char *vertex_image(const struct config_executor *cfg, const struct nb_environment *e,
                   char **ret_why);
int vertex_plan(const struct config_executor *cfg, const struct far_plan *p, struct nb_buf *ret,
                struct nb_err *err);

/* vertex-folder.c: words before a command, of a shell script that takes a
 * directory in two parts; and the member env. */
void vertex_put_cwd(struct nb_json_out *o, const char *script, const char *url);
void vertex_put_env(struct nb_json_out *o, const struct exec_place *place);
