/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <nbcid/fs.h>
#include <nbcid/str.h>

#include "nbtest.h"

/* A fresh directory for one test. */
static int fresh_dir(const char *name)
{
        nb_auto_free char *path = nb_asprintf("%s/%s", nbtest_tmpdir(), name);
        int fd;

        umask(022);
        CHECK(path && mkdir(path, 0755) == 0);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(fd >= 0);
        return fd;
}

static void put(int dirfd, const char *path, const char *text)
{
        struct nb_err err;

        CHECK_OK(nb_write_file(dirfd, path, text, strlen(text), 0644, false, &err), &err);
}

static void check_content(int dirfd, const char *path, const char *want)
{
        nb_auto_buf b = NB_BUF(1000);
        struct nb_err err;

        CHECK_OK(nb_read_file(dirfd, path, &b, &err), &err);
        CHECK_STR(nb_buf_str(&b), want);
}

static int count_entries(int dirfd)
{
        DIR *d = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        int n = 0;

        CHECK(d);
        while (readdir(d))
                n++;
        closedir(d);
        return n - 2;
}

static bool exists(int dirfd, const char *path)
{
        struct stat st;

        return fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

TEST(reading_keeps_to_the_limit)
{
        nb_auto_fd int dir = fresh_dir("read");
        nb_auto_buf exact = NB_BUF(7);
        nb_auto_buf small = NB_BUF(6);
        struct nb_err err;

        put(dir, "f", "hello");
        CHECK_INT(nb_buf_puts(&exact, "> "), 0);
        CHECK_OK(nb_read_file(dir, "f", &exact, &err), &err);
        CHECK_STR(nb_buf_str(&exact), "> hello");
        CHECK_INT(nb_buf_puts(&small, "> "), 0);
        CHECK_ERR(nb_read_file(dir, "f", &small, &err), &err, NB_E_LIMIT, "f has 5 bytes");
        CHECK_STR(nb_buf_str(&small), "> ");
        CHECK(!small.failed);
        CHECK_ERR(nb_read_file(dir, "g", &small, &err), &err, NB_E_NOTFOUND, "cannot open g");
        CHECK_ERR(nb_read_file(dir, ".", &small, &err), &err, NB_E_INVALID, "regular");
        CHECK(mkfifoat(dir, "fifo", 0600) == 0);
        CHECK_ERR(nb_read_file(dir, "fifo", &small, &err), &err, NB_E_INVALID, "regular");
}

TEST(reading_what_grew_or_shrank_since_it_was_looked_at)
{
        nb_auto_fd int dir = fresh_dir("grown");
        struct nb_err err;

        put(dir, "f", "hello");
        for (uint64_t size = 0; size < 8; size++)
                for (size_t max = size; max < 9; max++) {
                        nb_auto_fd int fd = openat(dir, "f", O_RDONLY | O_CLOEXEC);
                        nb_auto_buf b = NB_BUF(max);
                        int r = nb_read_open(fd, size, "f", &b, &err);

                        if (max < 5)
                                CHECK_ERR(r, &err, NB_E_LIMIT, "larger than the");
                        else
                                CHECK_OK(r, &err);
                        CHECK_STR(nb_buf_str(&b), max < 5 ? "" : "hello");
                }
}

TEST(reading_files_without_a_size)
{
        nb_auto_buf b = NB_BUF(1 << 20);
        nb_auto_buf small = NB_BUF(3);
        struct nb_err err;

        CHECK_OK(nb_read_file(AT_FDCWD, "/proc/self/status", &b, &err), &err);
        CHECK(b.len > 100 && nb_starts_with(b.data, "Name:"));
        CHECK_ERR(nb_read_file(AT_FDCWD, "/proc/self/status", &small, &err), &err, NB_E_LIMIT,
                  "larger than the 3 bytes");
        CHECK_INT(small.len, 0);
        CHECK(!small.failed);
}

TEST(reading_a_large_file)
{
        nb_auto_fd int dir = fresh_dir("large");
        nb_auto_buf in = NB_BUF(1 << 20);
        nb_auto_buf out = NB_BUF(1 << 20);
        struct nb_err err;

        for (int i = 0; i < 100000; i++)
                CHECK_INT(nb_buf_printf(&in, "%d\n", i), 0);
        CHECK_OK(nb_write_file(dir, "f", in.data, in.len, 0600, true, &err), &err);
        CHECK_OK(nb_read_file(dir, "f", &out, &err), &err);
        CHECK(out.len == in.len && memcmp(in.data, out.data, in.len) == 0);
        CHECK(strlen(out.data) == out.len);
}

TEST(writing_replaces_whole_files)
{
        nb_auto_fd int dir = fresh_dir("write");
        struct nb_err err;
        struct stat st;

        put(dir, "f", "old");
        CHECK_OK(nb_write_file(dir, "f", "new!", 4, 0640, true, &err), &err);
        check_content(dir, "f", "new!");
        CHECK(fstatat(dir, "f", &st, 0) == 0);
        CHECK_INT(st.st_mode & 07777, 0640);
        CHECK_OK(nb_write_file(dir, "empty", NULL, 0, 0666, false, &err), &err);
        CHECK(fstatat(dir, "empty", &st, 0) == 0);
        CHECK(st.st_size == 0 && (st.st_mode & 07777) == 0666);
        CHECK_INT(count_entries(dir), 2);
}

TEST(writing_that_fails_leaves_nothing)
{
        nb_auto_fd int dir = fresh_dir("write-fails");
        struct nb_err err;

        CHECK(mkdirat(dir, "d", 0755) == 0);
        CHECK_ERR(nb_write_file(dir, "d", "x", 1, 0600, false, &err), &err, NB_E_IO, "d: cannot");
        CHECK_ERR(nb_write_file(dir, "no/f", "x", 1, 0600, false, &err), &err, NB_E_NOTFOUND,
                  "beside no/f");
        CHECK_INT(count_entries(dir), 1);
        put(dir, "d/f", "deep");
        check_content(dir, "d/f", "deep");
}

TEST(writing_replaces_a_link_not_its_target)
{
        nb_auto_fd int dir = fresh_dir("write-link");
        struct nb_err err;

        put(dir, "target", "safe");
        CHECK(symlinkat("target", dir, "link") == 0);
        CHECK_OK(nb_write_file(dir, "link", "x", 1, 0600, false, &err), &err);
        check_content(dir, "target", "safe");
        check_content(dir, "link", "x");
}

TEST(mkdirs)
{
        nb_auto_fd int dir = fresh_dir("mkdirs");
        nb_auto_free char *absolute = nb_asprintf("%s/mkdirs/p/q", nbtest_tmpdir());
        struct nb_err err;
        struct stat st;

        CHECK_OK(nb_mkdirs(dir, "a//b/c/", 0750, &err), &err);
        CHECK(fstatat(dir, "a/b/c", &st, 0) == 0 && S_ISDIR(st.st_mode));
        CHECK_INT(st.st_mode & 0777, 0750);
        CHECK_OK(nb_mkdirs(dir, "a/b/c", 0750, &err), &err);
        CHECK_OK(nb_mkdirs(dir, ".", 0750, &err), &err);
        CHECK_OK(nb_mkdirs(AT_FDCWD, absolute, 0700, &err), &err);
        CHECK(exists(dir, "p/q"));
        CHECK_OK(nb_mkdirs(AT_FDCWD, "/", 0700, &err), &err);
        CHECK(symlinkat("a", dir, "link") == 0);
        CHECK_OK(nb_mkdirs(dir, "link/d", 0700, &err), &err);
        CHECK(exists(dir, "a/d"));
        put(dir, "f", "x");
        CHECK_ERR(nb_mkdirs(dir, "f", 0700, &err), &err, NB_E_CONFLICT, "not a directory");
        CHECK_ERR(nb_mkdirs(dir, "f/g", 0700, &err), &err, NB_E_IO, "f/g: Not a directory");
}

TEST(open_beneath_stays_beneath)
{
        nb_auto_fd int dir = fresh_dir("beneath");
        static const char *const bad[] = {"../beneath/f", "/etc/passwd", "d/../../x", "link",
                                          "dirlink/f",    "up/x",        NULL};
        struct nb_err err;
        int fd;

        put(dir, "f", "inside");
        CHECK(mkdirat(dir, "d", 0755) == 0);
        put(dir, "d/f", "inside");
        CHECK(symlinkat("f", dir, "link") == 0);
        CHECK(symlinkat("d", dir, "dirlink") == 0);
        CHECK(symlinkat("..", dir, "up") == 0);
        for (size_t i = 0; bad[i]; i++)
                CHECK_ERR(nb_open_beneath(dir, bad[i], O_RDONLY, 0, &err), &err, NB_E_DENIED,
                          "leads");
        CHECK_ERR(nb_open_beneath(dir, "none", O_RDONLY, 0600, &err), &err, NB_E_NOTFOUND, "none");
        fd = nb_open_beneath(dir, "d/../d/f", O_RDONLY, 0600, &err);
        CHECK_OK(fd, &err);
        CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        close(fd);
        fd = nb_open_beneath(dir, "d/new", O_WRONLY | O_CREAT | O_EXCL, 0600, &err);
        CHECK_OK(fd, &err);
        close(fd);
        CHECK_ERR(nb_open_beneath(dir, "d/new", O_WRONLY | O_CREAT | O_EXCL, 0600, &err), &err,
                  NB_E_CONFLICT, "d/new");
}

TEST(rm_tree_takes_everything_and_follows_nothing)
{
        nb_auto_fd int dir = fresh_dir("rm");
        struct nb_err err;

        CHECK_OK(nb_mkdirs(dir, "keep/sub", 0755, &err), &err);
        put(dir, "keep/f", "precious");
        CHECK_OK(nb_mkdirs(dir, "t/a/b", 0755, &err), &err);
        CHECK_OK(nb_mkdirs(dir, "t/empty", 0755, &err), &err);
        put(dir, "t/a/f", "x");
        put(dir, "t/.hidden", "x");
        CHECK(mkfifoat(dir, "t/fifo", 0600) == 0);
        CHECK(symlinkat("../../keep", dir, "t/a/link") == 0);
        CHECK(symlinkat("/nonexistent", dir, "t/dangling") == 0);
        CHECK(symlinkat("keep", dir, "toplink") == 0);
        CHECK_OK(nb_rm_tree(dir, "t/", &err), &err);
        CHECK(!exists(dir, "t"));
        CHECK_OK(nb_rm_tree(dir, "toplink", &err), &err);
        check_content(dir, "keep/f", "precious");
        CHECK(symlinkat("keep", dir, "toplink") == 0);
        CHECK_OK(nb_rm_tree(dir, "toplink/", &err), &err);
        CHECK(!exists(dir, "toplink"));
        check_content(dir, "keep/f", "precious");
        CHECK_OK(nb_rm_tree(dir, "t", &err), &err);
        CHECK_OK(nb_rm_tree(dir, "none/at/all", &err), &err);
        CHECK_OK(nb_rm_tree(dir, "keep/f", &err), &err);
        CHECK_OK(nb_rm_tree(dir, "keep", &err), &err);
        CHECK_INT(count_entries(dir), 0);
}

TEST(rm_tree_wants_a_name)
{
        static const char *const bad[] = {"", "/", "//", ".", "..", "a/.", "a/..", "./", NULL};
        nb_auto_fd int dir = fresh_dir("rm-names");
        struct nb_err err;

        put(dir, "f", "x");
        for (size_t i = 0; bad[i]; i++)
                CHECK_ERR(nb_rm_tree(dir, bad[i], &err), &err, NB_E_INVALID, "does not name");
        CHECK(exists(dir, "f"));
}

/* A directory in memory where there is one: a disk is slow at making and
 * removing as much as the deep and wide tests do.  The path is to be removed. */
static int quick_dir(char path[64])
{
        int fd;

        CHECK(nb_fmt(path, 64, "/dev/shm/nbtest-XXXXXX"));
        if (!mkdtemp(path)) {
                CHECK(nb_fmt(path, 64, "%s/quick-XXXXXX", nbtest_tmpdir()));
                CHECK(mkdtemp(path));
        }
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(fd >= 0);
        return fd;
}

/* 10000 levels with side branches at some, so that each way of going back up
 * is used; with too few descriptors for one per level. */
TEST(rm_tree_goes_deep)
{
        char path[64];
        nb_auto_fd int dir = quick_dir(path);
        struct rlimit old, few;
        struct nb_err err;
        nb_auto_fd int at = dup(dir);
        int r;

        CHECK(at >= 0);
        for (int i = 0; i < 10000; i++) {
                int next;

                CHECK(mkdirat(at, "d", 0755) == 0);
                if (i % 100 == 0) {
                        put(at, "a-file", "x");
                        CHECK(mkdirat(at, "z", 0755) == 0 && mkdirat(at, "z/y", 0755) == 0);
                }
                next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                CHECK(next >= 0);
                close(at);
                at = next;
        }
        CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
        few = old;
        few.rlim_cur = 64;
        CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
        r = nb_rm_tree(dir, "d", &err);
        CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
        CHECK_OK(r, &err);
        CHECK(!exists(dir, "d"));
        CHECK(exists(dir, "z/y"));
        CHECK_INT(count_entries(dir), 2);
        CHECK_OK(nb_rm_tree(AT_FDCWD, path, &err), &err);
}

TEST(rm_tree_goes_wide)
{
        char path[64];
        nb_auto_fd int dir = quick_dir(path);
        struct nb_err err;

        for (int i = 0; i < 2000; i++) {
                char name[64];
                CHECK(nb_fmt(name, sizeof(name), "t/%d/sub", i));
                CHECK_OK(nb_mkdirs(dir, name, 0755, &err), &err);
        }
        CHECK_OK(nb_rm_tree(dir, "t", &err), &err);
        CHECK_INT(count_entries(dir), 0);
        CHECK_OK(nb_rm_tree(AT_FDCWD, path, &err), &err);
}

/* Rights mean nothing to root, hence a child that gives them up. */
static int as_nobody(int (*fn)(int dirfd, struct nb_err *err), int dirfd, struct nb_err *err)
{
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                if (geteuid() == 0 &&
                    (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0))
                        _exit(99);
                int r = fn(dirfd, err);
                if (r != 0)
                        printf("# %d %s\n", r, err->msg);
                fflush(stdout);
                _exit(-r);
        }
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
        return -WEXITSTATUS(status);
}

static int make_locked(int dir, struct nb_err *err)
{
        int r = nb_mkdirs(dir, "t/locked/in", 0755, err);

        if (r == 0)
                r = nb_mkdirs(dir, "t/blind/in", 0755, err);
        if (r == 0)
                r = nb_write_file(dir, "t/locked/in/f", "x", 1, 0400, false, err);
        if (r == 0 &&
            (fchmodat(dir, "t/locked/in", 0500, 0) < 0 || fchmodat(dir, "t/locked", 0500, 0) < 0 ||
             fchmodat(dir, "t/blind/in", 0, 0) < 0 || fchmodat(dir, "t/blind", 0, 0) < 0 ||
             fchmodat(dir, "t", 0, 0) < 0))
                r = nb_fail_errno(err, errno, "chmod");
        if (r == 0 && unlinkat(dir, "t/locked/in/f", 0) == 0)
                r = nb_fail(err, NB_E_BUG, "rights do not matter here");
        return r;
}

static int remove_t(int dir, struct nb_err *err)
{
        return nb_rm_tree(dir, "t", err);
}

TEST(rm_tree_opens_locked_directories)
{
        nb_auto_fd int dir = fresh_dir("locked");
        struct nb_err err;

        CHECK(chmod(nbtest_tmpdir(), 0755) == 0);
        CHECK(fchmod(dir, 0777) == 0);
        CHECK_INT(as_nobody(make_locked, dir, &err), 0);
        CHECK_INT(as_nobody(remove_t, dir, &err), 0);
        CHECK(!exists(dir, "t"));
}

TEST(rm_tree_says_what_it_cannot_remove)
{
        nb_auto_fd int dir = fresh_dir("not-ours");
        struct nb_err err;

        if (geteuid() != 0) {
                printf("# skipped: needs root to make a file of somebody else\n");
                return;
        }
        CHECK(chmod(nbtest_tmpdir(), 0755) == 0);
        CHECK(fchmod(dir, 0777) == 0);
        CHECK_OK(nb_mkdirs(dir, "t/theirs", 0755, &err), &err);
        put(dir, "t/theirs/f", "x");
        CHECK_INT(as_nobody(remove_t, dir, &err), -NB_E_IO);
        CHECK(exists(dir, "t/theirs/f"));
}

TEST(links_and_copies)
{
        nb_auto_fd int dir = fresh_dir("links");
        nb_auto_fd int other = fresh_dir("links2");
        struct nb_err err;
        struct stat a, b;

        put(dir, "f", "content");
        CHECK_OK(nb_link_or_copy(dir, "f", other, "g", &err), &err);
        check_content(other, "g", "content");
        CHECK(fstatat(dir, "f", &a, 0) == 0 && fstatat(other, "g", &b, 0) == 0);
        CHECK(a.st_ino == b.st_ino);
        /* again onto itself, which rename(2) would leave half done */
        CHECK_OK(nb_link_or_copy(dir, "f", other, "g", &err), &err);
        CHECK_INT(count_entries(other), 1);
        put(other, "old", "old");
        CHECK_OK(nb_link_or_copy(dir, "f", other, "old", &err), &err);
        check_content(other, "old", "content");
        CHECK_INT(count_entries(other), 2);
        CHECK(symlinkat("f", dir, "s") == 0);
        CHECK_INT(nb_link_or_copy(dir, "s", other, "h", &err), -NB_E_IO);
        CHECK_ERR(nb_link_or_copy(dir, ".", other, "h", &err), &err, NB_E_INVALID, "regular");
        CHECK_ERR(nb_link_or_copy(dir, "no", other, "h", &err), &err, NB_E_NOTFOUND, "no");
        CHECK_ERR(nb_link_or_copy(dir, "f", other, "no/h", &err), &err, NB_E_NOTFOUND, "no/h");
        CHECK_INT(count_entries(other), 2);
}

/* /dev/shm is a file system of its own nearly everywhere. */
TEST(copies_where_links_cannot_be)
{
        nb_auto_fd int dir = fresh_dir("copy");
        nb_auto_fd int far = -1;
        char far_path[] = "/dev/shm/nbtest-XXXXXX";
        struct nb_err err;
        struct stat a, b;

        if (!mkdtemp(far_path)) {
                printf("# skipped: no /dev/shm\n");
                return;
        }
        far = open(far_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(far >= 0);
        CHECK_OK(nb_write_file(far, "f", "far away", 8, 0440, false, &err), &err);
        CHECK_OK(nb_link_or_copy(far, "f", dir, "g", &err), &err);
        check_content(dir, "g", "far away");
        CHECK(fstatat(far, "f", &a, 0) == 0 && fstatat(dir, "g", &b, 0) == 0);
        CHECK_INT(b.st_mode & 07777, 0440);
        if (a.st_dev == b.st_dev)
                printf("# /dev/shm is not a file system of its own: linked\n");
        CHECK_INT(count_entries(dir), 1);
        CHECK_OK(nb_rm_tree(AT_FDCWD, far_path, &err), &err);
}

TEST(free_bytes)
{
        struct nb_err err;
        uint64_t n = 0;

        CHECK_OK(nb_free_bytes(nbtest_tmpdir(), &n, &err), &err);
        CHECK(n > 0);
        CHECK_ERR(nb_free_bytes("/nonexistent", &n, &err), &err, NB_E_NOTFOUND, "/nonexistent");
}

TEST(write_all)
{
        struct nb_err err;
        int p[2];
        char got[8] = "";

        CHECK(pipe(p) == 0);
        CHECK_OK(nb_write_all(p[1], "hello", 5, &err), &err);
        CHECK_OK(nb_write_all(p[1], NULL, 0, &err), &err);
        CHECK(read(p[0], got, 7) == 5);
        CHECK_STR(got, "hello");
        close(p[0]);
        close(p[1]);
        CHECK_ERR(nb_write_all(p[1], "x", 1, &err), &err, NB_E_IO, "cannot write");
}

NBTEST_MAIN()
