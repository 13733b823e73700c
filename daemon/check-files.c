/* SPDX-License-Identifier: Apache-2.0 */
#include "check-files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nbcid/check.h>
#include <nbcid/fs.h>

#include "app.h"

#define RULES_FILE ".nbcid.toml"
#define RULES_BYTES ((size_t)256 << 10)
#define DEPTH_MAX 64

void rules_done(struct rules *r)
{
        free(r->dir);
        free(r->root);
        if (r->loaded)
                repo_config_done(&r->config);
        *r = (struct rules){.forced = r->forced};
}

static int no_memory(struct nb_err *err)
{
        return nb_fail(err, NB_E_NOMEM, "out of memory");
}

static int load(struct rules *r, const char *file, struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(RULES_BYTES);
        int rc = nb_read_file(AT_FDCWD, file, &text, err);

        if (rc == 0)
                rc = repo_config_parse(nb_buf_str(&text), text.len, &r->config, err);
        r->loaded = rc == 0;
        return rc < 0 ? nb_wrap(err, rc, "%s", file) : 0;
}

/* From dir (absolute) up to the repository's root; owned, NULL: none. */
static char *find_up(const char *dir)
{
        nb_auto_free char *at = nb_strdup(dir);

        while (at) {
                nb_auto_free char *file = nb_asprintf("%s/" RULES_FILE, at);
                nb_auto_free char *git = nb_asprintf("%s/.git", at);
                char *slash = strrchr(at, '/');

                if (file && access(file, F_OK) == 0)
                        return nb_strdup(*at ? at : "/");
                if (!slash || (git && access(git, F_OK) == 0))
                        return NULL;
                *slash = '\0';
        }
        return NULL;
}

int rules_find(struct rules *r, const char *dir, const struct repo_config **ret, struct nb_err *err)
{
        nb_auto_free char *real = NULL, *file = NULL;
        int rc = 0;

        if (!r->dir || (!r->forced && !nb_streq(r->dir, dir))) {
                rules_done(r);
                real = realpath(dir, NULL);
                if (!real)
                        return nb_fail_errno(err, errno, "%s", dir);
                r->root = r->forced ? files_dir(r->forced) : find_up(real);
                if (r->root)
                        file = r->forced ? nb_strdup(r->forced)
                                         : nb_asprintf("%s/" RULES_FILE, r->root);
                if (r->root && !file)
                        return no_memory(err);
                if (file)
                        rc = load(r, file, err);
                if (rc < 0)
                        return rc;
                r->dir = nb_strdup(dir);
                if (!r->dir)
                        return no_memory(err);
        }
        *ret = r->loaded ? &r->config : NULL;
        return 0;
}

char *files_dir(const char *path)
{
        const char *slash = strrchr(path, '/');

        if (!slash)
                return nb_strdup(".");
        return slash == path ? nb_strdup("/") : nb_strndup(path, (size_t)(slash - path));
}

/* Its path as the globs of the rules see it, below where they are; owned, NULL
 * when memory is out. */
static char *relative(const struct rules *r, const char *path)
{
        nb_auto_free char *real = realpath(path, NULL), *root = realpath(r->root, NULL);

        if (real && root && nb_starts_with(real, root) && real[strlen(root)] == '/')
                return nb_strdup(real + strlen(root) + 1);
        return nb_strdup(path);
}

/* 1: yes, 0: no. */
static int wanted(struct rules *r, const char *dir, const char *path, struct nb_err *err)
{
        const struct repo_config *config;
        int rc = rules_find(r, dir, &config, err);

        if (rc < 0 || !config)
                return rc < 0 ? rc : 1;
        nb_auto_free char *below = relative(r, path);
        return below ? repo_config_wants(config, below) : no_memory(err);
}

int rules_parameters(const struct rules *r, const char *path, struct nb_strv *ret,
                     struct nb_err *err)
{
        nb_auto_free char *below = NULL, *json = NULL;
        int rc;

        if (!r->loaded)
                return 0;
        below = relative(r, path);
        if (!below)
                return no_memory(err);
        rc = repo_config_parameters(&r->config, below, &json, err);
        if (rc < 0 || !json)
                return rc < 0 ? rc : 0;
        return check_parameter_names(json, ret, err);
}

static int not_skipped(const struct dirent *d)
{
        static const char *const skipped[] = {".", "..", ".git", ".ipynb_checkpoints"};

        for (size_t i = 0; i < NB_ARRAY_SIZE(skipped); i++)
                if (nb_streq(d->d_name, skipped[i]))
                        return 0;
        return 1;
}

/* What a walk carries along. */
struct finder {
        struct rules *rules;
        files_found_t found;
        files_refused_t refused;
        void *arg;
};

struct level {
        const char *dir;
        unsigned depth;
        bool broken; /* its rules: that is told once, and its notebooks are not looked at */
};

static int walk(struct finder *f, const char *dir, unsigned depth, struct nb_err *err);

static int visit(struct finder *f, struct level *at, const struct dirent *entry, struct nb_err *err)
{
        const char *dir = at->dir, *name = entry->d_name;
        nb_auto_free char *path =
                nb_streq(dir, ".")
                        ? nb_strdup(name)
                        : nb_asprintf("%s%s%s", dir, nb_ends_with(dir, "/") ? "" : "/", name);
        unsigned char type = entry->d_type;
        struct nb_err why;
        struct stat st;
        int rc;

        if (!path)
                return no_memory(err);
        if (type == DT_UNKNOWN) { /* some file systems do not say */
                if (lstat(path, &st) < 0) {
                        (void)nb_fail_errno(&why, errno, "%s", path);
                        return f->refused(f->arg, path, &why, err);
                }
                type = (unsigned char)IFTODT(st.st_mode);
        }
        if (type == DT_DIR)
                return walk(f, path, at->depth + 1, err);
        if (at->broken || !nb_ends_with_nocase(name, ".ipynb"))
                return 0;
        if (type != DT_REG && (stat(path, &st) < 0 || !S_ISREG(st.st_mode)))
                return 0; /* a link to something else */
        rc = wanted(f->rules, dir, path, &why);
        if (rc < 0) {
                at->broken = true;
                return f->refused(f->arg, dir, &why, err);
        }
        return rc == 0 ? 0 : f->found(f->arg, NB_TAKE(path), err);
}

static int walk(struct finder *f, const char *dir, unsigned depth, struct nb_err *err)
{
        struct level at = {dir, depth, false};
        struct dirent **names;
        struct nb_err why;
        int n, rc = 0;

        if (depth > DEPTH_MAX) {
                (void)nb_fail(&why, NB_E_LIMIT, "%s: directories are nested over %u deep", dir,
                              DEPTH_MAX);
                return f->refused(f->arg, dir, &why, err);
        }
        n = scandir(dir, &names, not_skipped, alphasort);
        if (n < 0) {
                (void)nb_fail_errno(&why, errno, "%s", dir);
                return f->refused(f->arg, dir, &why, err);
        }
        for (int i = 0; i < n; i++) {
                if (rc == 0)
                        rc = visit(f, &at, names[i], err);
                free(names[i]);
        }
        free(names);
        return rc;
}

int files_find(struct rules *r, const char *path, files_found_t found, files_refused_t refused,
               void *arg, struct nb_err *err)
{
        struct finder f = {r, found, refused, arg};
        struct stat st;
        char *copy;

        if (!nb_streq(path, "-")) {
                if (stat(path, &st) < 0)
                        return nb_fail_errno(err, errno, "%s", path);
                if (S_ISDIR(st.st_mode))
                        return walk(&f, path, 0, err);
        }
        copy = nb_strdup(path);
        return copy ? found(arg, copy, err) : no_memory(err);
}
