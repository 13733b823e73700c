/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes as config.toml: a mistake is named with its line, and what is
 * accepted is complete and agrees with itself.
 */

#include <stdio.h>
#include <string.h>

#include <nbcid/config.h>
#include <nbcid/num.h>

#include "../../src/config/parse.h"
#include "fuzz.h"

#define FILE_NAME "fuzz.toml"

/* "fuzz.toml:LINE:" where the text has that line. */
static void check_refusal(int r, const struct nb_err *err, const uint8_t *data, size_t size)
{
        static const char prefix[] = FILE_NAME ":";
        const size_t n = sizeof(prefix) - 1;
        nb_auto_free char *number = NULL;
        uint64_t lines = 1, line;

        for (size_t i = 0; i < size; i++)
                lines += data[i] == '\n';
        PROPERTY(r == -NB_E_INVALID);
        PROPERTY(strncmp(err->msg, prefix, n) == 0);
        number = nb_strndup(err->msg + n, strcspn(err->msg + n, ":"));
        PROPERTY(number && nb_parse_u64(number, 1, lines, &line, NULL) == 0);
        PROPERTY(nb_utf8_valid(err->msg, strlen(err->msg), NULL));
}

static void check_forge(const struct config *c, const struct config_forge *f)
{
        PROPERTY(config_find_forge(c, f->name) == f);
        PROPERTY(forge_kind_name(f->kind));
        PROPERTY(!check_web_url(f->api_url) && !nb_ends_with(f->api_url, "/"));
        PROPERTY(!check_clone_base(f->clone_base) && !nb_ends_with(f->clone_base, "/"));
        PROPERTY(!nb_starts_with(f->clone_base, "ssh:") || f->ssh_host_key);
}

static void check_config(const struct config *c)
{
        PROPERTY(!check_listen(c->listen) && !check_web_url(c->public_url));
        PROPERTY(c->timeout_us > 0 && c->cell_timeout_us > 0 && c->fetch_timeout_us > 0);
        PROPERTY(c->max_body > 0 && c->max_notebooks > 0 && c->jobs_per_repository > 0);
        PROPERTY(c->n_executors > 0);
        for (size_t i = 0; i < c->n_executors; i++) {
                PROPERTY(config_find_executor(c, c->executors[i].name) == &c->executors[i]);
                PROPERTY(c->executors[i].slots > 0 && nb_streq(c->executors[i].kind, "local"));
        }
        for (size_t i = 0; i < c->n_forges; i++)
                check_forge(c, &c->forges[i]);
        for (size_t i = 0; i < c->n_repositories; i++) {
                const struct config_repository *r = &c->repositories[i];

                PROPERTY(config_find_forge(c, r->forge) && config_find_executor(c, r->executor));
                PROPERTY(nb_glob_valid(r->name) && r->branches.n > 0);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        NB_CLEANUP(config_unrefp) struct config *c = NULL;
        struct nb_err err;
        int r = config_parse(FILE_NAME, (const char *)data, size, false, &c, &err);

        if (r < 0)
                check_refusal(r, &err, data, size);
        else
                check_config(c);
        return 0;
}
