/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/config.h>

#include <string.h>

#include "table.h"

#include "repo-environment.h"

#define DIGITS "0123456789"
#define WORD "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS "._-"

const struct choice environment_choices[] = {
        {"auto", ENVIRONMENT_AUTO}, {"default", ENVIRONMENT_DEFAULT}, {NULL, 0}};

const struct choice workspace_choices[] = {{"none", 1 + WORKSPACE_NONE},
                                           {"archive", 1 + WORKSPACE_ARCHIVE},
                                           {"folder", 1 + WORKSPACE_FOLDER},
                                           {NULL, 0}};

/* It may end in a command line: no option, no shell text. */
static bool is_word(const char *text, const char *chars, size_t max)
{
        return strlen(text) <= max && !text[strspn(text, chars)] && !strchr(".-/:@+", text[0]);
}

const char *check_image(const char *text)
{
        return is_word(text, WORD "/:@+", 512)
                       ? NULL
                       : "is not a container image; write HOST/PATH:TAG of at most 512 characters";
}

const char *check_kernel(const char *text)
{
        return is_word(text, WORD, 128)
                       ? NULL
                       : "is not the name of a kernel; use letters, digits, '.', '_' and '-', at "
                         "most 128 of them";
}

const char *check_python(const char *text)
{
        size_t major = strspn(text, DIGITS);
        size_t minor = text[major] == '.' ? strspn(text + major + 1, DIGITS) : 0;

        return major == 1 && minor > 0 && minor < 4 && !text[major + 1 + minor]
                       ? NULL
                       : "is not a version of Python; write one as in \"3.11\"";
}

/* What later text says replaces what earlier text said of the same matter:
 * where packages come from is one matter. */
static void say(const struct repo_environment *e, struct repo_wish *w)
{
        const bool packages = e->image || e->requirements.n > 0 || e->requirements_file;

        if (e->kernel)
                w->kernel = e->kernel;
        if (e->python)
                w->python = e->python;
        if (e->workspace)
                w->workspace = workspace_kind_name((enum workspace_kind)(e->workspace - 1));
        if (!packages && e->choice == ENVIRONMENT_UNSAID)
                return;
        w->executors_default = e->choice == ENVIRONMENT_DEFAULT;
        w->image = w->executors_default ? NULL : e->image;
        w->requirements = w->executors_default || e->requirements.n == 0 ? NULL : &e->requirements;
        w->requirements_file = w->executors_default ? NULL : e->requirements_file;
}

void repo_config_environment(const struct repo_config *c, const char *path, struct repo_wish *ret)
{
        *ret = (struct repo_wish){0};
        if (!c)
                return;
        say(&c->environment, ret);
        for (size_t i = 0; i < c->n_jobs; i++)
                if (nb_glob_match(c->jobs[i].notebook, path))
                        say(&c->jobs[i].environment, ret);
}
