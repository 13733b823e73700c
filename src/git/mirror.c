/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <nbcid/fs.h>
#include <nbcid/str.h>

#include "git-priv.h"

#define LOCK_NAME "nbcid.lock"

/* The sweeper may remove a mirror while we wait: is what we locked still what
 * the path names? */
static bool lock_is_current(int fd, const char *file)
{
        struct stat a, b;

        return fstat(fd, &a) == 0 && stat(file, &b) == 0 && a.st_dev == b.st_dev &&
               a.st_ino == b.st_ino;
}

static int lock_take(int fd, bool exclusive)
{
        int r;

        do
                r = flock(fd, exclusive ? LOCK_EX : LOCK_SH);
        while (r < 0 && errno == EINTR);
        return r;
}

static int lock_open(const char *path, bool exclusive, int *ret, struct nb_err *err)
{
        nb_auto_free char *file = nb_asprintf("%s/" LOCK_NAME, path);

        if (!file)
                return nb_fail(err, NB_E_NOMEM, "no memory for a path");
        for (;;) {
                int r = nb_mkdirs(AT_FDCWD, path, 0700, err);
                if (r < 0)
                        return nb_wrap(err, r, "mirror %s", path);
                nb_auto_fd int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
                if (fd < 0 && errno == ENOENT)
                        continue; /* swept between the two calls */
                if (fd < 0)
                        return nb_fail_errno(err, errno, "cannot open %s", file);
                if (lock_take(fd, exclusive) < 0)
                        return nb_fail_errno(err, errno, "cannot lock %s", file);
                if (lock_is_current(fd, file)) {
                        *ret = NB_TAKE_FD(fd);
                        return 0;
                }
        }
}

static void repo_close(struct git_mirror *m)
{
        git_odb_free(m->odb);
        git_repository_free(m->repo);
        m->odb = NULL;
        m->repo = NULL;
}

static int repo_open(struct git_mirror *m)
{
        int r = git_repository_open_ext(&m->repo, m->path,
                                        GIT_REPOSITORY_OPEN_NO_SEARCH | GIT_REPOSITORY_OPEN_BARE |
                                                GIT_REPOSITORY_OPEN_NO_DOTGIT,
                                        NULL);

        if (r == 0)
                r = git_repository_odb(&m->odb, m->repo);
        if (r < 0)
                repo_close(m);
        return r;
}

/* A helper that was killed while it wrote such a file left libgit2's lock on it,
 * which nobody else would ever remove.  Whoever writes has the mirror to
 * himself, so the lock is nobody's. */
static bool file_unlock(const struct git_mirror *m, const char *name)
{
        nb_auto_free char *file = nb_asprintf("%s/%s.lock", m->path, name);

        nb_assert(m->exclusive);
        return file && unlink(file) == 0;
}

static int repo_make(struct git_mirror *m, struct nb_err *err)
{
        git_repository_init_options o = GIT_REPOSITORY_INIT_OPTIONS_INIT;
        git_repository *made = NULL;
        int r;

        (void)file_unlock(m, "config");
        (void)file_unlock(m, "HEAD");
        o.flags = GIT_REPOSITORY_INIT_BARE | GIT_REPOSITORY_INIT_NO_DOTGIT_DIR;
        r = git_repository_init_ext(&made, m->path, &o);
        git_repository_free(made);
        if (r == 0)
                r = repo_open(m);
        return r < 0 ? git_raise(err, NB_E_IO, r, "cannot make the mirror %s", m->path) : 0;
}

int mirror_lock(struct git_mirror *m, bool exclusive, struct nb_err *err)
{
        if (m->exclusive == exclusive)
                return 0;
        if (lock_take(m->lock_fd, exclusive) < 0)
                return nb_fail_errno(err, errno, "cannot lock the mirror %s", m->path);
        m->exclusive = exclusive;
        return 0;
}

int mirror_open(const char *path, bool exclusive, struct git_mirror *ret, struct nb_err *err)
{
        NB_CLEANUP(mirror_close) struct git_mirror m = {.lock_fd = -1, .exclusive = exclusive};
        int r;

        m.path = nb_strdup(path);
        if (!m.path)
                return nb_fail(err, NB_E_NOMEM, "no memory for a path");
        r = lock_open(path, exclusive, &m.lock_fd, err);
        if (r < 0)
                return r;
        if (repo_open(&m) < 0) {
                /* Never made, or a crash came between: making it is idempotent.
                 * Another process may have come first while we held no lock. */
                r = mirror_lock(&m, true, err);
                if (r == 0 && repo_open(&m) < 0)
                        r = repo_make(&m, err);
                if (r == 0)
                        r = mirror_lock(&m, exclusive, err);
                if (r < 0)
                        return r;
        }
        *ret = m;
        m = (struct git_mirror){.lock_fd = -1};
        return 0;
}

void mirror_close(struct git_mirror *m)
{
        repo_close(m);
        nb_closep(&m->lock_fd); /* unlocks */
        free(m->path);
        *m = (struct git_mirror){.lock_fd = -1};
}

int mirror_reset(struct git_mirror *m, struct nb_err *err)
{
        DIR *d;
        int r = 0;

        repo_close(m);
        d = opendir(m->path);
        if (!d)
                return nb_fail_errno(err, errno, "cannot read %s", m->path);
        for (struct dirent *e; r == 0 && (e = readdir(d));)
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
                    strcmp(e->d_name, LOCK_NAME) != 0)
                        r = nb_rm_tree(dirfd(d), e->d_name, err);
        closedir(d);
        return r < 0 ? r : repo_make(m, err);
}

#define KEEP_SIZE (sizeof("refs/nbcid/") + GIT_OID_HEXSZ)

static void keep_name(char buf[KEEP_SIZE], const git_oid *id)
{
        nb_fmt(buf, KEEP_SIZE, "refs/nbcid/%s", git_oid_tostr_s(id));
}

static bool is_kept(struct git_mirror *m, const git_oid *id)
{
        char name[KEEP_SIZE];
        git_oid now;

        keep_name(name, id);
        return git_reference_name_to_id(&now, m->repo, name) == 0 && git_oid_equal(&now, id);
}

int mirror_commit(struct git_mirror *m, const git_oid *id, git_commit **ret, struct nb_err *err)
{
        git_object *o = NULL, *peeled = NULL;
        int r = git_object_lookup(&o, m->repo, id, GIT_OBJECT_ANY);

        /* That we kept it means that we had it. */
        if (r == GIT_ENOTFOUND && !is_kept(m, id))
                return 0;
        if (r < 0)
                return git_raise(err, NB_E_CORRUPT, r, "commit %s", git_oid_tostr_s(id));
        r = git_object_peel(&peeled, o, GIT_OBJECT_COMMIT);
        if (r < 0) {
                const char *type = git_object_type2string(git_object_type(o));
                bool tag = git_object_type(o) == GIT_OBJECT_TAG;
                git_object_free(o);
                if (tag && r == GIT_ENOTFOUND)
                        return git_raise(err, NB_E_CORRUPT, r, "tag %s", git_oid_tostr_s(id));
                return nb_fail(err, NB_E_INVALID, "%s is a %s and names no commit",
                               git_oid_tostr_s(id), type);
        }
        git_object_free(o);
        *ret = (git_commit *)peeled;
        return 1;
}

static int ref_set(struct git_mirror *m, const char *name, const git_oid *id, struct nb_err *err)
{
        git_reference *ref = NULL;
        int r = git_reference_create(&ref, m->repo, name, id, true, NULL);

        if (r == GIT_ELOCKED && file_unlock(m, name))
                r = git_reference_create(&ref, m->repo, name, id, true, NULL);
        git_reference_free(ref);
        return r < 0 ? git_raise(err, NB_E_IO, r, "cannot set %s in %s", name, m->path) : 0;
}

int mirror_keep(struct git_mirror *m, const git_oid *id, struct nb_err *err)
{
        char name[KEEP_SIZE];

        keep_name(name, id);
        return is_kept(m, id) ? 0 : ref_set(m, name, id, err);
}

int mirror_set_branch(struct git_mirror *m, const char *branch, const git_oid *id,
                      struct nb_err *err)
{
        nb_auto_free char *name = nb_asprintf("refs/heads/%s", branch);

        return name ? ref_set(m, name, id, err) : nb_fail(err, NB_E_NOMEM, "no memory for a ref");
}

int mirror_branch(struct git_mirror *m, const char *branch, git_oid *ret, struct nb_err *err)
{
        nb_auto_free char *name = nb_asprintf("refs/heads/%s", branch);

        if (!name)
                return nb_fail(err, NB_E_NOMEM, "no memory for a ref");
        return git_reference_name_to_id(ret, m->repo, name) == 0 ? 1 : 0;
}
