/* SPDX-License-Identifier: Apache-2.0 */
/* Where a submodule may come from.  Its URL is written by whoever pushes. */
#include <nbcid/str.h>

#include "git-priv.h"

static int refused(struct git_job *job, const char *shown, const char *what, const char *why)
{
        job_warn(job, "submodule %s is left empty: %s%s", shown, what, why);
        return 0;
}

/* Beside or below the repository: "/srv/git/a.git" lets "/srv/git/b.git" in. */
static bool file_is_near(const struct origin *main, const struct origin *o)
{
        const char *slash;
        size_t n = strlen(main->path);

        while (n > 1 && main->path[n - 1] == '/')
                n--;
        slash = memrchr(main->path, '/', n);
        n = (size_t)(slash - main->path) + 1;
        return n > 1 && strncmp(main->path, o->path, n) == 0;
}

static bool host_allowed(const struct git_job *job, const struct origin *o)
{
        const char *const *hosts = job->r->remote.submodule_hosts;

        for (size_t i = 0; hosts && hosts[i]; i++)
                if (origin_matches(o, hosts[i]))
                        return true;
        return false;
}

int submodule_origin(struct git_job *job, const struct origin *base, const char *url,
                     const char *shown, struct origin *ret, struct nb_err *err)
{
        NB_CLEANUP(origin_done) struct origin o = {0};
        const struct origin *own = &job->origin;
        struct nb_err why = {0};
        int r = origin_resolve(base, url, &o, &why);

        if (r < 0)
                return refused(job, shown, why.msg, "");
        if (o.scheme == ORIGIN_FILE) {
                if (own->scheme != ORIGIN_FILE || !file_is_near(own, &o))
                        return refused(job, shown, o.url, " is not beside the repository");
        } else if (own->scheme != ORIGIN_SSH && o.scheme == ORIGIN_SSH &&
                   origin_same_host(own, &o)) {
                /* git@host:path in .gitmodules is how people write it; over
                 * http(s) the same host has it too, and there we have a token. */
                struct origin moved = {0};
                r = origin_move(own, o.path, &moved, err);
                if (r < 0)
                        return r;
                origin_done(&o);
                o = moved;
        } else if (!origin_same(own, &o) && !host_allowed(job, &o)) {
                return refused(job, shown, o.host,
                               " is not allowed; see submodule_hosts of the forge");
        } else if (o.scheme == ORIGIN_SSH && !origin_same(own, &o)) {
                return refused(job, shown, o.host,
                               " is allowed over https only: its ssh host key is not known");
        }
        *ret = o;
        o = (struct origin){0};
        return 1;
}

char *submodule_mirror(const char *mirror, const struct origin *o)
{
        const char *slash = strrchr(mirror, '/');
        uint8_t hash[NB_SHA256_SIZE];
        char hex[2 * NB_SHA256_SIZE + 1];

        nb_sha256(o->url, strlen(o->url), hash);
        nb_hex(hex, hash, sizeof(hash));
        return nb_asprintf("%.*s/sub/%s.git", slash ? (int)(slash - mirror) : 0, mirror, hex);
}
