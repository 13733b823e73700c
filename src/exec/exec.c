/* SPDX-License-Identifier: Apache-2.0 */

/* exec.c - the kinds of executors this build knows */

#include <dirent.h>

#include <nbcid/log.h>
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

static bool is_empty(const char *dir)
{
        DIR *d = opendir(dir);
        bool empty = true;

        for (struct dirent *e; d && empty && (e = readdir(d));)
                empty = e->d_name[0] == '.';
        if (d)
                closedir(d);
        return empty;
}

static bool is_far(const struct config *c, const char *name)
{
        const struct config_executor *x = config_find_executor(c, name);

        return x && !nb_streq(x->kind, exec_local_ops.name);
}

void exec_say_left(const struct config *c)
{
        nb_auto_free char *remote = nb_asprintf("%s/remote", c->state_dir);
        DIR *d = remote ? opendir(remote) : NULL;

        for (struct dirent *e; d && (e = readdir(d));) {
                nb_auto_free char *dir = nb_asprintf("%s/%s", remote, e->d_name);

                if (e->d_name[0] == '.' || !dir || is_empty(dir) || is_far(c, e->d_name))
                        continue;
                nb_log(LOG_WARNING,
                       "an executor that is not configured any more has left jobs, which may go on "
                       "and cost; configure it as it was until its directory is empty",
                       NB_F_STR("executor", e->d_name), NB_F_STR("directory", dir));
        }
        if (d)
                closedir(d);
}

struct exec *exec_close(struct exec *x)
{
        if (x)
                x->ops->close(x);
        return NULL;
}
