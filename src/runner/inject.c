/* SPDX-License-Identifier: Apache-2.0 */

/* inject.c - the notebook with its parameters, beside what it becomes */

#include <fcntl.h>
#include <string.h>

#include <nbcid/fs.h>
#include <nbcid/notebook.h>

#include "runner-priv.h"

/* In out/, which the sandbox shows. */
#define INJECTED "out/injected.ipynb"
#define AT_THE_TOP \
        "nbcid: no cell is tagged \"parameters\", so that the parameters are set at the top; " \
        "values " \
        "that the notebook sets itself come later and win.  Tag the cell that sets them.\n"

int runner_inject(const struct rundir *d, const struct runner_opts *o,
                  const struct nb_environment *want, struct rundir_paths *p, struct nb_err *err)
{
        const char *language = o->language ? o->language : want->language;
        nb_auto_buf from = NB_BUF(NOTEBOOK_MAX), to = NB_BUF(NOTEBOOK_MAX);
        nb_auto_free char *path = nb_asprintf("%s/" INJECTED, d->path);
        int r, top;

        if (!path)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = nb_read_file(AT_FDCWD, p->notebook, &from, err);
        if (r < 0)
                return r;
        top = notebook_inject(o->notebook, nb_buf_str(&from), from.len, want->parameters, language,
                              &to, err);
        if (top < 0)
                return top;
        if (top) {
                r = nb_write_all(d->log_fd, AT_THE_TOP, strlen(AT_THE_TOP), err);
                if (!o->quiet)
                        fputs(AT_THE_TOP, stderr);
        }
        if (r == 0)
                r = nb_mkdirs(d->fd, "out", 0700, err);
        if (r == 0)
                r = nb_write_file(d->fd, INJECTED, nb_buf_str(&to), to.len, 0600, false, err);
        if (r < 0)
                return r;
        free(p->notebook);
        p->notebook = NB_TAKE(path);
        return 0;
}
