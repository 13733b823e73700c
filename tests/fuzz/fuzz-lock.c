/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes as a file of requirements beside a notebook.  The first byte says
 * which: Pipfile.lock, Pipfile, pyproject.toml, environment.yml, runtime.txt,
 * or the Pipfile or lock in a notebook's metadata.  What comes out is what
 * requirements.txt could have said.
 */

#include <string.h>

#include <nbcid/notebook_environment.h>
#include <nbcid/str.h>

#include "fuzz.h"

static const char *const names[] = {"n/Pipfile.lock",
                                    "n/Pipfile",
                                    "n/pyproject.toml",
                                    "n/environment.yml",
                                    "n/runtime.txt",
                                    NULL,
                                    NULL};

struct commit {
        const char *name, *p;
        size_t n;
};

static bool has_file(void *arg, const char *path)
{
        return nb_streq(((const struct commit *)arg)->name, path);
}

static int read_file(void *arg, const char *path, struct nb_buf *ret, struct nb_err *err)
{
        const struct commit *c = arg;

        if (!nb_streq(c->name, path))
                return 0;
        return nb_buf_append(ret, c->p, c->n) < 0 ? nb_fail(err, NB_E_LIMIT, "n/: big") : 1;
}

static void check_answer(const struct nb_environment *e)
{
        struct requirements again = REQUIREMENTS_INIT;
        const char *text = e->requirements ? e->requirements : "";

        PROPERTY(e->why && *e->why && !strchr(e->why, '\n'));
        PROPERTY(!e->python ||
                 (strlen(e->python) < 16 && e->python[0] >= '0' && e->python[0] <= '9' &&
                  !e->python[strspn(e->python, "0123456789.")]));
        PROPERTY(requirements_read("again", "n/", text, strlen(text), 0, NULL, &again, NULL) == 0);
        PROPERTY(strcmp(nb_buf_str(&again.text), text) == 0);
        requirements_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const size_t which = size > 0 ? data[0] % NB_ARRAY_SIZE(names) : 0;
        const char *p = size > 0 ? (const char *)data + 1 : "";
        struct commit commit = {names[which], p, size > 0 ? size - 1 : 0};
        const struct notebook_files files = {.read = read_file, .has = has_file, .arg = &commit};
        const struct repo_wish wish = {0};
        struct notebook_head head = {.requirements_from = "metadata.requirements"};
        nb_auto_free char *text = nb_strndup(p, commit.n);
        struct nb_environment e;
        struct nb_err err = {0};
        int r;

        if (which == 5)
                head.pipfile = text;
        if (which == 6)
                head.pipfile_lock = text;
        r = environment_resolve(
                &(struct environment_question){
                        .notebook = "n/x.ipynb", .head = &head, .wish = &wish, .files = &files},
                &e, &err);
        if (r == 0) {
                check_answer(&e);
                nb_environment_done(&e);
        } else {
                PROPERTY(r == -NB_E_INVALID || r == -NB_E_LIMIT);
                PROPERTY(strncmp(err.msg, "n/", 2) == 0);
                PROPERTY(nb_utf8_valid(err.msg, strlen(err.msg), NULL));
        }
        return 0;
}
