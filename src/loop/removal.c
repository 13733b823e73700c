/* SPDX-License-Identifier: Apache-2.0 */

/* removal.c - throw a directory away without waiting for it */

#include <fcntl.h>
#include <stdlib.h>

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/loop.h>

struct removal {
        struct loop_work work; /* first: the pool hands this back */
        char *dir;
};

static void removal_run(struct loop_work *w)
{
        struct removal *m = (struct removal *)w;
        struct nb_err err;

        if (nb_rm_tree(AT_FDCWD, m->dir, &err) < 0)
                nb_log_err(LOG_WARNING, &err, "a directory could not be removed",
                           NB_F_STR("directory", m->dir));
}

static void removal_done(struct loop_work *w)
{
        struct removal *m = (struct removal *)w;

        free(m->dir);
        free(m);
}

void loop_remove_tree_take(struct loop *l, char *dir)
{
        struct removal *m = dir ? calloc(1, sizeof(*m)) : NULL;
        struct nb_err err;

        if (!m) {
                free(dir);
                return;
        }
        m->dir = dir;
        m->work.run = removal_run;
        m->work.done = removal_done;
        if (loop_submit(l, &m->work, &err) < 0) {
                nb_log_err(LOG_WARNING, &err, "a directory stays until the next start",
                           NB_F_STR("directory", dir));
                removal_done(&m->work);
        }
}
