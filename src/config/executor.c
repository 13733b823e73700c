/* SPDX-License-Identifier: Apache-2.0 */

/* executor.c - executors without a file: what may be said on a command line */

#include <string.h>

#include <nbcid/str.h>

#include "parse.h"

static const struct key *find_key(const char *name)
{
        for (size_t t = 0; t < config_n_tables; t++) {
                if (!nb_streq(config_tables[t].name, "executor"))
                        continue;
                for (size_t i = 0; i < config_tables[t].n_keys; i++)
                        if (nb_streq(config_tables[t].keys[i].name, name))
                                return &config_tables[t].keys[i];
        }
        return NULL;
}

const char *config_executor_wrong(const char *key, const char *text)
{
        const struct key *k = find_key(key);

        nb_assert(k && (k->type == KEY_TEXT || k->type == KEY_URL));
        return k->check ? k->check(text) : NULL;
}

int config_builtin(struct config **ret, struct nb_err *err)
{
        static const char text[] = "[[executor]]\n"
                                   "name = \"vertex\"\n"
                                   "kind = \"vertex\"\n"
                                   "project = \"not-said\"\n"
                                   "region = \"us-central1\"\n"
                                   "bucket = \"not-said\"\n"
                                   "[[executor]]\n"
                                   "name = \"local\"\n"
                                   "kind = \"local\"\n"
                                   "image_fallback = \"default\"\n";

        return config_parse("without configuration", text, strlen(text), false, ret, err);
}
