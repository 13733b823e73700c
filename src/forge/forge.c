/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/forge.h>

#include <stdlib.h>
#include <string.h>

#include "shared.h"

#define REPOSITORY_MAX 512

static const struct {
        const struct forge_ops *ops;
        /* GitHub has owner/name; GitLab nests groups up to 20 deep
         * (docs.gitlab.com, user/group/subgroups) */
        unsigned max_parts;
} kinds[FORGE_KIND__COUNT] = {
        [FORGE_GITHUB] = {&forge_github, 2},
        [FORGE_GITLAB] = {&forge_gitlab, 22},
};

const struct forge_ops *forge_ops_of(enum forge_kind k)
{
        nb_assert((unsigned)k < FORGE_KIND__COUNT);
        return kinds[k].ops;
}

void forge_event_done(struct forge_event *e)
{
        if (!e)
                return;
        event_done(&e->event);
        free(e->ignored);
        *e = (struct forge_event){0};
}

static bool name_char(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '-';
}

/* The name ends in paths and URLs, hence a list of what is good. */
int forge_check_repository(enum forge_kind kind, const char *name, struct nb_err *err)
{
        unsigned parts = 0;
        const char *s = name;

        nb_assert((unsigned)kind < FORGE_KIND__COUNT);
        if (strnlen(name, REPOSITORY_MAX + 1) > REPOSITORY_MAX)
                return nb_fail(err, NB_E_INVALID, "the repository's name is over %d bytes long",
                               REPOSITORY_MAX);
        for (;;) {
                size_t n = strcspn(s, "/");
                if (n == 0 || s[0] == '-' || (n == 1 && s[0] == '.'))
                        return nb_fail(err, NB_E_INVALID,
                                       "the repository's name has a part that is empty, \".\" "
                                       "or begins with '-'");
                for (size_t i = 0; i < n; i++)
                        if (!name_char(s[i]))
                                return nb_fail(err, NB_E_INVALID,
                                               "the repository's name has a character that is "
                                               "no letter, digit, '.', '_' or '-'");
                parts++;
                if (!s[n])
                        break;
                s += n + 1;
        }
        if (strstr(name, ".."))
                return nb_fail(err, NB_E_INVALID, "the repository's name has \"..\" in it");
        if (parts < 2 || parts > kinds[kind].max_parts)
                return nb_fail(err, NB_E_INVALID, "the repository's name has %u parts, not 2%s",
                               parts, kinds[kind].max_parts > 2 ? " or a few more" : "");
        return 0;
}

int forge_clone_url(const struct config_forge *f, const char *repository, char **ret,
                    struct nb_err *err)
{
        nb_auto_free char *name = NULL, *url = NULL;
        size_t n = strlen(f->clone_base);
        int r;

        r = forge_check_repository(f->kind, repository, err);
        if (r < 0)
                return r;
        while (n > 0 && f->clone_base[n - 1] == '/')
                n--;
        name = nb_url_encode(repository, true);
        url = name ? nb_asprintf("%.*s/%s.git", (int)n, f->clone_base, name) : NULL;
        if (!url)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *ret = NB_TAKE(url);
        return 0;
}
