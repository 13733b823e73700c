/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes as .nbcid.toml, which strangers write: what is accepted stays
 * within the operator's limits and never runs a checkpoint.
 */

#include <string.h>

#include <nbcid/config.h>
#include <nbcid/json.h>

#include "fuzz.h"

static void check_accepted(const struct repo_config *c)
{
        const struct config op = {.timeout_us = 7200, .cell_timeout_us = 1800};
        uint64_t timeout_us, cell_timeout_us;
        struct repo_wish wish;

        PROPERTY(c->n_jobs <= 200 && c->include.n <= 200 && c->exclude.n <= 200);
        for (size_t i = 0; i < c->n_jobs; i++)
                PROPERTY(nb_glob_valid(c->jobs[i].notebook));
        for (size_t i = 0; i < c->include.n; i++)
                PROPERTY(nb_glob_valid(c->include.v[i]));
        repo_config_environment(c, "train/a.ipynb", &wish);
        PROPERTY(!wish.image || !strpbrk(wish.image, " $;|&<>`'\"\\"));
        PROPERTY(!wish.executors_default || (!wish.image && !wish.requirements));
        PROPERTY(!repo_config_wants(c, "a/.ipynb_checkpoints/b.ipynb"));
        repo_config_limits(c, &op, "train/a.ipynb", &timeout_us, &cell_timeout_us);
        PROPERTY(timeout_us > 0 && timeout_us <= op.timeout_us);
        PROPERTY(cell_timeout_us > 0 && cell_timeout_us <= op.cell_timeout_us);
}

static void check_parameters(const struct repo_config *c)
{
        const struct nb_json_limits limits = {.bytes = 256 << 10, .depth = 8};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        nb_auto_free char *text = NULL;
        struct nb_err err;
        int r = repo_config_parameters(c, "train/a.ipynb", &text, &err);

        PROPERTY(r == 0 || r == -NB_E_LIMIT);
        if (!text)
                return;
        PROPERTY(nb_json_read(text, strlen(text), &limits, &tree, NULL, &err) == 0);
        PROPERTY(nb_json_type(nb_json_root(tree)) == NB_JSON_OBJECT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        NB_CLEANUP(repo_config_done) struct repo_config c = {0};
        struct nb_err err;
        int r = repo_config_parse((const char *)data, size, &c, &err);

        if (r < 0) {
                PROPERTY(r == -NB_E_INVALID || r == -NB_E_LIMIT);
                PROPERTY(strncmp(err.msg, ".nbcid.toml:", 12) == 0);
                PROPERTY(nb_utf8_valid(err.msg, strlen(err.msg), NULL));
        } else {
                check_accepted(&c);
                check_parameters(&c);
        }
        return 0;
}
