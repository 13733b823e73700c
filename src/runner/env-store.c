/* SPDX-License-Identifier: Apache-2.0 */

/* env-store.c - the directory of environments: locked, checked, kept small */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <nbcid/clock.h>
#include <nbcid/crypto.h>
#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>

#include "env-priv.h"

#define LOOK_EVERY_MS 100                     /* at a lock that another holds */
#define PATIENCE_US (24 * 3600 * NB_US_PER_S) /* where neither job nor build has a limit */
#define TREE_TEXT_MAX ((size_t)128 << 20)     /* of all files of one environment: describe() */

static const struct nb_json_limits manifest_limits = {.bytes = ENV_TEXT_MAX, .depth = 4};

int env_store_open(const char *path, struct env_store *ret, struct nb_err *err)
{
        NB_CLEANUP(env_store_done) struct env_store s = ENV_STORE_NONE;
        int r = nb_mkdirs(AT_FDCWD, path, 0700, err);

        if (r < 0)
                return nb_wrap(err, r, "directory of environments");
        s.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        s.path = realpath(path, NULL);
        if (s.fd < 0 || !s.path)
                return nb_fail_errno(err, errno, "%s", path);
        *ret = s;
        s = ENV_STORE_NONE;
        return 0;
}

void env_store_done(struct env_store *s)
{
        nb_closep(&s->fd);
        free(s->path);
        *s = ENV_STORE_NONE;
}

char *env_store_name(const char *key, const char *suffix)
{
        return nb_asprintf("%s%s", key, suffix);
}

/* ---- locks ---- */

static int try_lock(const struct env_store *s, const char *name, int how, int *ret_fd,
                    struct nb_err *err)
{
        nb_auto_free char *file = env_store_name(name, ".flock");
        nb_auto_fd int fd = -1;

        if (!file)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        fd = openat(s->fd, file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return nb_fail_errno(err, errno, "%s/%s", s->path, file);
        if (flock(fd, how | LOCK_NB) < 0)
                return errno == EWOULDBLOCK
                               ? nb_fail(err, NB_E_BUSY, "%s/%s is in use", s->path, file)
                               : nb_fail_errno(err, errno, "%s/%s", s->path, file);
        *ret_fd = NB_TAKE_FD(fd);
        return 0;
}

uint64_t env_store_patience(const struct runner_opts *o)
{
        if (o->timeout_us)
                return o->timeout_us;
        /* It builds, and perhaps the next one after it, too. */
        return o->build_timeout_us ? 2 * o->build_timeout_us : PATIENCE_US;
}

int env_store_lock(const struct env_store *s, const char *name, bool exclusive, uint64_t until_us,
                   int signal_fd, int *ret_fd, struct nb_err *err)
{
        struct pollfd fd = {.fd = signal_fd, .events = POLLIN};
        int r;

        for (;;) {
                r = try_lock(s, name, exclusive ? LOCK_EX : LOCK_SH, ret_fd, err);
                if (r != -NB_E_BUSY)
                        return r;
                if (nb_mono_us(&nb_clock_real) >= until_us)
                        return nb_fail(err, NB_E_TIMEOUT,
                                       "another job still builds this environment; it is tried "
                                       "again");
                if (poll(&fd, 1, LOOK_EVERY_MS) > 0 && watch_cancelled(signal_fd))
                        return nb_fail(err, NB_E_CANCELLED, "cancelled");
        }
}

/* ---- trees ---- */

static int by_name(const FTSENT **a, const FTSENT **b)
{
        return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* What stat() says, so that the check reads no file: an edit of the same size moves the time. */
static void describe(const FTSENT *e, size_t n_root, struct nb_buf *text)
{
        const struct stat *st = e->fts_statp;

        nb_buf_printf(text, "%s %lld %o %lld.%09ld\n", e->fts_path + n_root, (long long)st->st_size,
                      (unsigned)st->st_mode, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
}

/* Nothing that moves when Python makes a __pycache__ in it; but one that nobody may enter takes
 * all below it away. */
static void describe_directory(const FTSENT *e, size_t n_root, struct nb_buf *text)
{
        nb_buf_printf(text, "%s/ %o\n", e->fts_path + n_root, (unsigned)e->fts_statp->st_mode);
}

/* Python writes bytecode when it likes: only what was there by then is a part of the whole. */
static bool is_later_cache(const FTSENT *e, int64_t built_ms)
{
        const struct timespec t = e->fts_statp->st_mtim;
        const bool later = t.tv_sec == built_ms / 1000 ? t.tv_nsec / 1000000 > built_ms % 1000
                                                       : t.tv_sec > built_ms / 1000;

        return later && nb_streq(e->fts_parent->fts_name, "__pycache__");
}

static int measure(FTS *fts, size_t n_root, int64_t built_ms, struct nb_buf *text, uint64_t *bytes,
                   struct nb_err *err)
{
        FTSENT *e;

        errno = 0;
        while ((e = fts_read(fts))) {
                switch (e->fts_info) {
                case FTS_D:
                        if (!nb_streq(e->fts_name, "__pycache__"))
                                describe_directory(e, n_root, text);
                        break;
                case FTS_DNR:
                case FTS_ERR:
                case FTS_NS:
                        if (e->fts_errno == ENAMETOOLONG)
                                return nb_fail(err, NB_E_LIMIT,
                                               "the packages made directories that are too deep");
                        return nb_fail_errno(err, e->fts_errno, "%s", e->fts_path);
                case FTS_DP:
                        break;
                default:
                        *bytes += (uint64_t)e->fts_statp->st_blocks * 512;
                        if (!is_later_cache(e, built_ms))
                                describe(e, n_root, text);
                        break;
                }
        }
        return errno ? nb_fail_errno(err, errno, "an environment could not be read") : 0;
}

int env_store_measure(const struct env_store *s, const char *key, int64_t built_ms,
                      char ret[ENV_KEY_SIZE], uint64_t *ret_bytes, struct nb_err *err)
{
        nb_auto_free char *root = nb_asprintf("%s/%s", s->path, key);
        nb_auto_buf text = NB_BUF(TREE_TEXT_MAX);
        char *roots[] = {root, NULL};
        uint8_t hash[NB_SHA256_SIZE];
        FTS *fts;
        int r;

        if (!root)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *ret_bytes = 0;
        fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
        if (!fts)
                return nb_fail_errno(err, errno, "%s", root);
        r = measure(fts, strlen(root), built_ms, &text, ret_bytes, err);
        (void)fts_close(fts);
        if (r == 0 && text.failed)
                r = nb_fail(err, NB_E_LIMIT, "%s has too many files", root);
        if (r < 0)
                return r;
        nb_sha256(nb_buf_str(&text), text.len, hash);
        nb_hex(ret, hash, sizeof(hash));
        return 0;
}

static int read_manifest(const struct env_store *s, const char *key, struct nb_json_tree **ret,
                         struct nb_err *err)
{
        nb_auto_free char *name = env_store_name(key, ".json");
        nb_auto_buf text = NB_BUF(ENV_TEXT_MAX);
        int r;

        if (!name)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = nb_read_file(s->fd, name, &text, err);
        return r < 0 ? r
                     : nb_json_read(nb_buf_str(&text), text.len, &manifest_limits, ret, NULL, err);
}

int env_store_find(const struct env_store *s, const char *key, struct nb_json_tree **ret,
                   struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
        char hash[ENV_KEY_SIZE];
        int64_t built_ms = 0;
        struct stat st;
        uint64_t bytes;
        int r;

        r = read_manifest(s, key, &t, err);
        if (r == -NB_E_NOMEM)
                return r;
        if (r < 0 || fstatat(s->fd, key, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
                return 0;
        (void)nb_json_int(nb_json_get(nb_json_root(t), "built_ms"), &built_ms);
        r = env_store_measure(s, key, built_ms, hash, &bytes, err);
        if (r == -NB_E_NOMEM)
                return r;
        if (r < 0 || !nb_streq(hash, nb_json_str(nb_json_get(nb_json_root(t), "tree"), NULL))) {
                nb_log(LOG_WARNING,
                       "an environment is damaged, or was noted by an older nbcid; it is built "
                       "again",
                       NB_F_STR("environment", key));
                return 0;
        }
        *ret = NB_TAKE(t);
        return 1;
}

int env_store_remove(const struct env_store *s, const char *key, struct nb_err *err)
{
        nb_auto_free char *name = env_store_name(key, ".json");
        int r;

        if (!name)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        /* First, so that half a directory is never taken for a whole one.  Whatever it is by now:
         * somebody's hand was here. */
        r = nb_rm_tree(s->fd, name, err);
        return r < 0 ? r : nb_rm_tree(s->fd, key, err);
}

/* ---- the least recently used ---- */

void env_store_touch(const struct env_store *s, const char *key)
{
        nb_auto_free char *name = env_store_name(key, ".json");

        if (name)
                (void)utimensat(s->fd, name, NULL, 0);
}

struct kept {
        char key[ENV_KEY_SIZE];
        struct timespec used;
        uint64_t bytes;
        bool whole; /* it has its KEY.json */
};

struct keeping {
        struct kept *v;
        size_t n, cap;
};

static void keeping_done(struct keeping *k)
{
        free(k->v);
}

static int by_use(const void *a, const void *b)
{
        const struct kept *x = a, *y = b;

        if (x->whole != y->whole)
                return x->whole ? 1 : -1;
        if (x->used.tv_sec != y->used.tv_sec)
                return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
        return (x->used.tv_nsec > y->used.tv_nsec) - (x->used.tv_nsec < y->used.tv_nsec);
}

/* What there is, the one to remove first at the front. */
static void list_kept(const struct env_store *s, struct keeping *ret)
{
        int fd = dup(s->fd);
        DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

        if (!d && fd >= 0)
                close(fd);
        if (d)
                rewinddir(d); /* the position is shared with s->fd */
        for (struct dirent *e; d && (e = readdir(d));) {
                NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
                nb_auto_free char *name = NULL;
                struct kept k = {0};
                struct stat st;
                int64_t bytes = 0;

                if (strlen(e->d_name) != ENV_KEY_SIZE - 1 ||
                    strspn(e->d_name, "0123456789abcdef") != ENV_KEY_SIZE - 1)
                        continue;
                memcpy(k.key, e->d_name, ENV_KEY_SIZE);
                name = env_store_name(k.key, ".json");
                if (name && read_manifest(s, k.key, &t, NULL) == 0 &&
                    fstatat(s->fd, name, &st, 0) == 0) {
                        (void)nb_json_int(nb_json_get(nb_json_root(t), "bytes"), &bytes);
                        k.whole = true;
                        k.used = st.st_mtim;
                        k.bytes = bytes > 0 ? (uint64_t)bytes : 0;
                }
                if (nb_grow((void **)&ret->v, &ret->cap, ret->n + 1, sizeof(*ret->v)) < 0)
                        break;
                ret->v[ret->n++] = k;
        }
        if (d)
                closedir(d);
        if (ret->n)
                qsort(ret->v, ret->n, sizeof(*ret->v), by_use);
}

void env_store_shrink(const struct env_store *s, uint64_t max)
{
        NB_CLEANUP(keeping_done) struct keeping all = {0};
        uint64_t sum = 0;

        list_kept(s, &all);
        for (size_t i = 0; i < all.n; i++)
                sum += all.v[i].bytes;
        for (size_t i = 0; i < all.n; i++) {
                const struct kept *k = &all.v[i];
                nb_auto_fd int lock = -1;
                struct nb_err err;

                /* What a killed builder left goes too; one that builds has the lock. */
                if (k->whole && sum <= max)
                        break;
                if (try_lock(s, k->key, LOCK_EX, &lock, &err) < 0)
                        continue;
                nb_log(LOG_INFO, "an environment is removed", NB_F_STR("environment", k->key));
                if (env_store_remove(s, k->key, &err) < 0)
                        nb_log_err(LOG_WARNING, &err, "an environment could not be removed");
                else
                        sum -= k->bytes;
        }
}
