/* SPDX-License-Identifier: Apache-2.0 */

/* kernels.c - which kernelspecs the engine of an interpreter would find */

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include <nbcid/fs.h>
#include <nbcid/sandbox.h>

#include "runner-priv.h"

#define KERNELS_MAX 200

static bool known(const struct nb_strv *v, const char *name)
{
        for (size_t i = 0; i < v->n; i++)
                if (nb_streq(v->v[i], name))
                        return true;
        return false;
}

static int look_in(const char *dir, struct nb_strv *ret)
{
        DIR *d = opendir(dir);
        int r = 0;

        for (struct dirent *e; d && r == 0 && ret->n < KERNELS_MAX && (e = readdir(d));) {
                nb_auto_free char *spec = nb_asprintf("%s/%s/kernel.json", dir, e->d_name);

                if (!spec)
                        r = -1;
                else if (e->d_name[0] != '.' && access(spec, R_OK) == 0 && !known(ret, e->d_name))
                        r = nb_strv_add(ret, e->d_name);
        }
        if (d)
                closedir(d);
        return r;
}

/* "/opt/venv/bin/python" -> "/opt/venv"; owned. */
static char *prefix_of(const char *program)
{
        nb_auto_free char *prefix = nb_strdup(program);

        for (int i = 0; prefix && i < 2; i++) {
                char *slash = strrchr(prefix, '/');

                if (!slash)
                        return NULL;
                *slash = '\0';
        }
        return NB_TAKE(prefix);
}

int runner_kernels(const char *python, struct nb_strv *ret, struct nb_err *err)
{
        nb_auto_free char *program = NULL, *prefix = NULL, *own = NULL;
        NB_CLEANUP(nb_strv_done) struct nb_strv v = {0};
        int r = 0;

        if (sandbox_find_program(python, &program, err) == 0)
                prefix = prefix_of(program);
        if (prefix)
                own = nb_asprintf("%s/share/jupyter/kernels", prefix);
        /* jupyter_client has this one without a file, where ipykernel is there. */
        r = nb_strv_add(&v, "python3");
        if (r == 0 && own)
                r = look_in(own, &v);
        if (r == 0)
                r = look_in("/usr/local/share/jupyter/kernels", &v);
        if (r == 0)
                r = look_in("/usr/share/jupyter/kernels", &v);
        if (r < 0)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *ret = v;
        v = (struct nb_strv){0};
        return 0;
}
