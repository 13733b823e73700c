/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* parse.h - config.toml from memory; what the files of this room share */

#include <nbcid/config.h>

#include "table.h"

#define CONFIG_MAX_BYTES ((size_t)1 << 20)

/* All that config.toml can say; also for the test that the example says it. */
extern const struct table config_tables[];
extern const size_t config_n_tables;

/* config_load() of n bytes.  file is the name in errors, and relative secret
 * files are looked for beside it; without secrets none is read, and the
 * function is pure. */
int config_parse(const char *file, const char *p, size_t n, bool secrets, struct config **ret,
                 struct nb_err *err);

/* What cannot be said of one key alone: names that must be unique or known,
 * keys that need each other, defaults that depend on others. */
void config_check(struct reader *r, const struct toml_node *root, struct config *c);

/* Read the files that r->secrets names; their paths are added to files. */
void config_read_secrets(struct reader *r, struct nb_strv *files);

/* ---- checks of single texts: what is wrong, or NULL ---- */
const char *check_listen(const char *text);
const char *check_web_url(const char *text);
const char *check_clone_base(const char *text);
const char *check_allowed(const char *text); /* of [environments] allow */
const char *check_index_url(const char *text);
const char *check_host(const char *text);
const char *check_host_key(const char *text);
const char *check_repository(const char *text);
const char *check_absolute(const char *text);
const char *check_cloud_name(const char *text); /* project, region, machine type */
const char *check_bucket(const char *text);
const char *check_accelerator(const char *text);
const char *check_account(const char *text);
const char *check_network(const char *text);
const char *check_run_word(const char *text);
