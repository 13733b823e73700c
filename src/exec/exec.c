/* SPDX-License-Identifier: Apache-2.0 */

/* exec.c - the kinds of executors this build knows */

#include <nbcid/str.h>

#include "exec-priv.h"

static const struct exec_ops *const kinds[] = {&exec_local_ops, &exec_vertex_ops};

int exec_open(const struct config_executor *cfg, const struct exec_deps *deps, struct exec **ret,
              struct nb_err *err)
{
        for (size_t i = 0; i < NB_ARRAY_SIZE(kinds); i++)
                if (nb_streq(kinds[i]->name, cfg->kind))
                        return kinds[i]->open(cfg, deps, ret, err);
        return nb_fail(err, NB_E_INVALID, "there is no kind of executor \"%s\"", cfg->kind);
}

struct exec *exec_close(struct exec *x)
{
        if (x)
                x->ops->close(x);
        return NULL;
}
