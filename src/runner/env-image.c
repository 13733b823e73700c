/* SPDX-License-Identifier: Apache-2.0 */

/*
 * env-image.c - a kernel in a container image, by podman
 *
 * Only the kernel runs in the container; the engine stays here and talks to it
 * over the loopback interface, for which the container keeps this host's
 * network, as every job does.  Images are kept below the environments, once for
 * all jobs, and not in a home: a job's home is its own.
 */

#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nbcid/clock.h>
#include <nbcid/crypto.h>
#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>

#include "env-priv.h"

#define REMOVE_US (20 * NB_US_PER_S)
#define RUNROOT_MAX 50 /* podman 4: "the specified runroot is longer than 50 characters" */

/* Where podman keeps what is lost when this host starts anew: beside the images, or, where it finds
 * that too long, in /tmp: a directory there that is ours nobody else can have put there, or
 * replace, as /tmp is sticky. */
static int runroot(const char *base, char **ret, struct nb_err *err)
{
        nb_auto_free char *path = nb_asprintf("%s/containers/run", base);
        char hex[2 * NB_SHA256_SIZE + 1];
        uint8_t hash[NB_SHA256_SIZE];
        struct stat st;

        if (path && strlen(path) > RUNROOT_MAX) {
                nb_sha256(base, strlen(base), hash);
                nb_hex(hex, hash, sizeof(hash));
                free(path);
                path = nb_asprintf("/tmp/nbcid-%u-%.16s", (unsigned)geteuid(), hex);
                if (path && mkdir(path, 0700) < 0 && errno != EEXIST)
                        return nb_fail_errno(err, errno, "%s", path);
                if (path && (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) ||
                             st.st_uid != geteuid() || (st.st_mode & 022)))
                        return nb_fail(err, NB_E_DENIED,
                                       "%s is not a directory that is ours alone; remove it", path);
        }
        if (!path)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *ret = path;
        path = NULL;
        return 0;
}

static int add_podman(const struct env_context *c, const struct env *e, struct nb_strv *v,
                      struct nb_err *err)
{
        const char *base = c->opts->environments;
        nb_auto_free char *run = NULL;
        int r = runroot(base, &run, err);

        if (r == 0 && (nb_strv_add(v, e->podman) < 0 ||
                       nb_strv_add_take(v, nb_asprintf("--root=%s/containers/storage", base)) < 0 ||
                       nb_strv_add_take(v, nb_asprintf("--runroot=%s", run)) < 0))
                r = nb_fail(err, NB_E_NOMEM, "out of memory");
        return r;
}

static int step(const struct env_context *c, const struct env *e, const char *const *words,
                char **ret_log, enum run_class *ret_class, struct nb_err *err)
{
        NB_CLEANUP(nb_strv_done) struct nb_strv argv = {0};
        nb_auto_free char *home = nb_asprintf("%s/home", c->dir->path);
        int r = add_podman(c, e, &argv, err), status;

        for (; r == 0 && *words; words++)
                if (nb_strv_add(&argv, *words) < 0)
                        r = nb_fail(err, NB_E_NOMEM, "out of memory");
        if (r < 0 || !home)
                return r < 0 ? r : nb_fail(err, NB_E_NOMEM, "out of memory");
        return env_step(c,
                        &(struct env_step){.argv = (const char *const *)argv.v,
                                           .home = home,
                                           .cwd = c->dir->path},
                        &status, ret_log, ret_class, err);
}

/* podman also reads images from files and from other programs of this host, by
 * words in front ("docker-archive:/a/b"): those are not the notebook's. */
bool env_image_remote(const char *image)
{
        static const char *const from[] = {"containers-storage",
                                           "dir",
                                           "docker-archive",
                                           "docker-daemon",
                                           "oci",
                                           "oci-archive",
                                           "ostree",
                                           "sif",
                                           "tarball"};
        const size_t n = strcspn(image, ":/"),
                     port = strspn(image + n + (image[n] != 0), "0123456789");

        if (image[n] != ':')
                return true;
        for (size_t i = 0; i < NB_ARRAY_SIZE(from); i++)
                if (strlen(from[i]) == n && strncasecmp(image, from[i], n) == 0)
                        return false;
        /* HOST:PORT/PATH, NAME:TAG[@DIGEST], docker://HOST/PATH */
        if (strchr(image + n, '/'))
                return (port > 0 && image[n + 1 + port] == '/') ||
                       nb_starts_with(image, "docker://");
        return true;
}

static int pull(const struct env_context *c, const struct env *e, enum run_class *ret_class,
                struct nb_err *err)
{
        const char *const exists[] = {"image", "exists", "--", e->image, NULL};
        const char *const get[] = {"pull", "--quiet", "--", e->image, NULL};
        nb_auto_free char *log = NULL, *pulled = NULL, *reason = NULL;
        int r = step(c, e, exists, &log, ret_class, err);

        if (r == 1)
                r = step(c, e, get, &pulled, ret_class, err);
        if (r != 1)
                return r;
        *ret_class = env_judge_podman(pulled, &reason);
        return nb_fail(err, *ret_class == CLASS_ENVIRONMENT ? NB_E_INVALID : NB_E_REMOTE,
                       "the image %.200s cannot be pulled: %s", e->image,
                       reason ? reason : "podman does not say why");
}

int env_image(const struct env_context *c, const struct env_store *store, struct env *e,
              enum run_class *ret_class, struct nb_err *err)
{
        uint64_t until = nb_mono_us(&nb_clock_real) + env_store_patience(c->opts);
        char name[sizeof("image-") + 2 * NB_SHA256_SIZE], hex[2 * NB_SHA256_SIZE + 1];
        uint8_t hash[NB_SHA256_SIZE];
        nb_auto_fd int lock = -1;
        struct stat st;
        int r;

        *ret_class = CLASS_ENVIRONMENT;
        if (!env_image_remote(e->image))
                return nb_fail(err, NB_E_INVALID,
                               "the image %.200s is refused: it would be read from this host; name "
                               "one of a registry, as in quay.io/NAME/IMAGE:TAG",
                               e->image);
        *ret_class = CLASS_INFRASTRUCTURE;
        r = sandbox_find_program(c->opts->podman, &e->podman, err);
        if (r == 0)
                r = nb_mkdirs(store->fd, "containers", 0700, err);
        if (r == 0)
                r = nb_mkdirs(c->dir->fd, "home", 0700, err);
        if (r < 0)
                return nb_wrap(err, r, "containers = \"podman\"");
        nb_sha256(e->image, strlen(e->image), hash);
        nb_hex(hex, hash, sizeof(hash));
        (void)nb_fmt(name, sizeof(name), "image-%s", hex);
        r = env_store_lock(store, name, true, until, c->signal_fd, &lock, err);
        if (r == -NB_E_CANCELLED)
                *ret_class = CLASS_CANCELLED;
        if (r < 0)
                return r;
        r = pull(c, e, ret_class, err);
        if (r < 0)
                return r;
        /* It was here: nothing was done, and nothing is to be told. */
        if (fstatat(c->dir->fd, "environment.log.txt", &st, 0) == 0 && st.st_size == 0)
                (void)unlinkat(c->dir->fd, "environment.log.txt", 0);
        nb_random(hash, sizeof(hash));
        nb_hex(hex, hash, sizeof(hash));
        e->container = nb_asprintf("nbcid-%.32s", hex);
        return e->container ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

int env_image_argv(const struct env_context *c, const struct env *e, const char *workspace,
                   const char *home, const char *cwd, struct nb_strv *ret, struct nb_err *err)
{
        /* Whoever the image would be: root in there is the user that we are, who owns the
         * workspace. */
        static const char *const fixed[] = {"run",
                                            "--rm",
                                            "--network=host",
                                            "--pull=never",
                                            "--user=0:0",
                                            "--cap-drop=all",
                                            "--security-opt=no-new-privileges",
                                            "--env=PYTHONUNBUFFERED=1",
                                            "--env=NBCID=1",
                                            "--env=CI=true"};
        int r = add_podman(c, e, ret, err);
        bool ok = r == 0;

        for (size_t i = 0; i < NB_ARRAY_SIZE(fixed); i++)
                ok = ok && nb_strv_add(ret, fixed[i]) == 0;
        ok = ok && nb_strv_add_take(ret, nb_asprintf("--name=%s", e->container)) == 0 &&
             nb_strv_add_take(ret, nb_asprintf("--env=HOME=%s", home)) == 0 &&
             nb_strv_add_take(ret, nb_asprintf("--volume=%s:%s", workspace, workspace)) == 0 &&
             nb_strv_add_take(ret, nb_asprintf("--volume=%s:%s", home, home)) == 0 &&
             nb_strv_add_take(ret, nb_asprintf("--workdir=%s", cwd)) == 0 &&
             nb_strv_add(ret, "--") == 0 && nb_strv_add(ret, e->image) == 0;
        if (r == 0 && !ok)
                r = nb_fail(err, NB_E_NOMEM, "out of memory");
        return r;
}

void env_image_end(const struct env_context *c, const struct env *e)
{
        const char *const words[] = {"rm", "--force",    "--ignore", "--time=0",
                                     "--", e->container, NULL};
        nb_auto_free char *home = nb_asprintf("%s/home", c->dir->path);
        NB_CLEANUP(env_probe_done) struct env_probe probe = ENV_PROBE_NONE;
        NB_CLEANUP(nb_strv_done) struct nb_strv argv = {0};
        nb_auto_buf said = NB_BUF(64 * 1024);
        nb_auto_free char *why = NULL;
        struct nb_err err;
        int r = add_podman(c, e, &argv, &err);

        for (size_t i = 0; r == 0 && words[i]; i++)
                if (!home || nb_strv_add(&argv, words[i]) < 0)
                        r = nb_fail(&err, NB_E_NOMEM, "out of memory");
        if (r == 0)
                r = env_probe_start((const char *const *)argv.v, home, &probe, &err);
        if (r == 0)
                r = env_probe_finish(&probe, REMOVE_US, &said, &err);
        if (r > 0) {
                (void)env_judge_podman(nb_buf_str(&said), &why);
                r = nb_fail(&err, NB_E_REMOTE, "podman: %s", why ? why : "it does not say why");
        }
        if (r < 0)
                nb_log_err(LOG_WARNING, &err,
                           "a container was not removed; \"podman --root=STORAGE rm\" does",
                           NB_F_STR("container", e->container),
                           NB_F_STR("storage", argv.n > 1 ? argv.v[1] + strlen("--root=") : ""));
}
