/* SPDX-License-Identifier: Apache-2.0 */

/* test-exec-local.c - what local alone promises: runners that are killed or hang, links, sandboxes
 */

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "exec-test.h"

static pid_t runner_of(struct side *s, const char *ref)
{
        nb_auto_free char *path = nb_asprintf("%s/runs/%s/started", s->state_dir, ref);
        nb_auto_buf text = NB_BUF(128);
        struct nb_err err;

        CHECK_OK(nb_read_file(AT_FDCWD, path, &text, &err), &err);
        return (pid_t)strtol(nb_buf_str(&text), NULL, 10);
}

TEST(a_killed_runner_is_lost_and_takes_all_with_it)
{
        static const char *const forks[] = {
                "\"import os, subprocess, time\\n"
                "p = subprocess.Popen(['sleep', '4711'], start_new_session=True)\\n"
                "open('ready', 'w').write('x')\"",
                "\"time.sleep(600)\"", NULL};

        if (!have_nbclient())
                return;
        for (int sandbox = 0; sandbox < 2; sandbox++) {
                struct side s = side_new(true);
                struct seen seen = {0}, again = {0};
                struct exec_run *run;
                struct nb_err err;
                uint64_t until;
                nb_auto_free char *ready = nb_asprintf("%s/ready", s.workspace);
                nb_auto_free char *find = nb_asprintf("pgrep -f '%s[/]runs/r-1/' >/dev/null || "
                                                      "pgrep -f '^sleep 4711' >/dev/null",
                                                      s.state_dir);

                s.cfg.sandbox = sandbox ? SANDBOX_AUTO : SANDBOX_NONE;
                side_restart(&s);
                put_notebook(&s, "forks.ipynb", forks);
                CHECK_OK(start(&s, "r-1", "forks.ipynb", &seen, &run, &err), &err);
                until = nb_mono_us(&nb_clock_real) + PATIENCE_US;
                while (access(ready, F_OK) < 0 && nb_mono_us(&nb_clock_real) < until)
                        CHECK_OK(loop_step(s.loop, 20 * NB_US_PER_MS, &err), &err);
                CHECK(system(find) == 0);
                CHECK(kill(runner_of(&s, "r-1"), SIGKILL) == 0);
                step_until(&s, &seen.finished);
                CHECK_INT(seen.result.class, CLASS_LOST);
                s.exec->ops->release(run);
                CHECK_OK(attach(&s, "r-1", &again, &run, &err), &err);
                step_until(&s, &again.finished);
                CHECK_INT(again.result.class, CLASS_LOST);
                s.exec->ops->release(run);
                until = nb_mono_us(&nb_clock_real) + 10 * NB_US_PER_S;
                while (system(find) == 0 && nb_mono_us(&nb_clock_real) < until)
                        usleep(20000);
                CHECK(system(find) != 0);
                side_done(&s);
        }
}

TEST(a_runner_that_hangs_does_not_keep_its_slot)
{
        struct side s = side_new(true);
        nb_auto_free char *started = nb_asprintf("%s/runs/r-1/started", s.state_dir);
        uint64_t until = nb_mono_us(&nb_clock_real) + PATIENCE_US;
        struct seen seen = {0};
        struct exec_run *run;
        struct nb_err err;
        pid_t runner;

        if (!have_nbclient()) {
                side_done(&s);
                return;
        }
        s.deps.overdue_us = 5 * NB_US_PER_S;
        side_restart(&s);
        put_notebook(&s, "slow.ipynb", slow);
        CHECK_OK(start(&s, "r-1", "slow.ipynb", &seen, &run, &err), &err);
        while (access(started, F_OK) < 0 && nb_mono_us(&nb_clock_real) < until)
                CHECK_OK(loop_step(s.loop, 20 * NB_US_PER_MS, &err), &err);
        runner = runner_of(&s, "r-1");
        CHECK(kill(runner, SIGSTOP) == 0);
        /* The next process knows until when, too. */
        s.exec->ops->release(run);
        s.deps.overdue_us = 0;
        side_restart(&s);
        CHECK_OK(attach(&s, "r-1", &seen, &run, &err), &err);
        step_until(&s, &seen.finished);
        CHECK_INT(seen.result.class, CLASS_LOST);
        CHECK(strstr(seen.reason, "the runner hung"));
        s.exec->ops->release(run);
        CHECK(waitpid(runner, NULL, 0) == runner);
        side_done(&s);
}

TEST(a_start_that_came_to_nothing_cannot_come_back)
{
        struct side s = side_new(true);
        nb_auto_free char *dir = nb_asprintf("%s/runs/r-1", s.state_dir);
        struct seen seen = {0};
        struct exec_run *run;
        struct nb_err err;
        nb_auto_fd int old = -1;
        nb_auto_free char *fd = NULL;
        int status;
        pid_t pid;

        /* As if the daemon had died between its mkdir and its runner's first step. */
        CHECK_OK(nb_mkdirs(AT_FDCWD, dir, 0700, &err), &err);
        old = open(dir, O_RDONLY | O_DIRECTORY);
        put_notebook(&s, "pass.ipynb", passing);
        CHECK_ERR(attach(&s, "r-1", &seen, &run, &err), &err, NB_E_NOTFOUND, "r-1");
        CHECK_OK(nb_mkdirs(AT_FDCWD, dir, 0700, &err), &err);
        fd = nb_asprintf("/proc/self/fd/%d", old);
        pid = fork();
        if (pid == 0) {
                if (chdir(s.workspace) < 0 || !freopen("/dev/null", "w", stderr))
                        _exit(126);
                execl(s.self, s.self, "run", "-q", "--run-dir", fd, "pass.ipynb", NULL);
                _exit(126);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 126);
        CHECK(rmdir(dir) == 0); /* it left nothing in the new one */
        side_done(&s);
}

TEST(attach_waits_for_a_runner_that_has_just_taken_the_lock)
{
        struct side s = side_new(true);
        nb_auto_free char *dir = nb_asprintf("%s/runs/r-1", s.state_dir);
        nb_auto_free char *lock = nb_asprintf("%s/lock", dir);
        nb_auto_free char *started = nb_asprintf("%s/started", dir);
        nb_auto_free char *events = nb_asprintf("%s/events.jsonl", dir);
        static const char last[] = "{\"event\":\"finished\",\"class\":\"passed\"}\n";
        struct seen seen = {0};
        struct exec_run *run;
        struct nb_err err;
        int ready[2], go[2];
        pid_t pid;
        char c;

        CHECK_OK(nb_mkdirs(AT_FDCWD, dir, 0700, &err), &err);
        CHECK(pipe(ready) == 0 && pipe(go) == 0);
        pid = fork();
        if (pid == 0) {
                int fd = open(lock, O_RDWR | O_CREAT, 0600);
                nb_auto_free char *text = nb_asprintf("%d 1\n", (int)getpid());

                if (flock(fd, LOCK_EX) < 0 || write(ready[1], "x", 1) != 1 ||
                    read(go[0], &c, 1) != 1)
                        _exit(1);
                if (nb_write_file(AT_FDCWD, events, last, strlen(last), 0600, false, &err) < 0 ||
                    nb_write_file(AT_FDCWD, started, text, strlen(text), 0600, false, &err) < 0 ||
                    read(go[0], &c, 1) != 1)
                        _exit(1);
                _exit(0);
        }
        CHECK(read(ready[0], &c, 1) == 1);
        CHECK_OK(attach(&s, "r-1", &seen, &run, &err), &err);
        step_on(&s);
        CHECK_INT(seen.finished, 0);
        CHECK(write(go[1], "x", 1) == 1);
        step_on(&s);
        CHECK_INT(seen.finished, 0);
        CHECK(write(go[1], "x", 1) == 1);
        step_until(&s, &seen.finished);
        CHECK_INT(seen.result.class, CLASS_PASSED);
        CHECK(waitpid(pid, NULL, 0) == pid);
        s.exec->ops->release(run);
        for (int i = 0; i < 2; i++) {
                close(ready[i]);
                close(go[i]);
        }
        side_done(&s);
}

TEST(collect_takes_no_links_and_opens_what_was_closed)
{
        struct side s = side_new(true);
        nb_auto_free char *dir = nb_asprintf("%s/runs/r-1", s.state_dir);
        nb_auto_free char *out = nb_asprintf("%s/out", dir);
        nb_auto_free char *nb = nb_asprintf("%s/out/executed.ipynb", dir);
        nb_auto_free char *log = nb_asprintf("%s/log.txt", dir);
        nb_auto_free char *to = nb_asprintf("%s/artifacts", s.workspace);
        nb_auto_fd int target = -1;
        struct seen seen = {0};
        struct exec_run *run;
        struct nb_err err;
        struct stat st;

        CHECK_OK(nb_mkdirs(AT_FDCWD, out, 0700, &err), &err);
        CHECK_OK(nb_mkdirs(AT_FDCWD, to, 0700, &err), &err);
        target = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        nb_auto_free char *started = nb_asprintf("%s/started", dir);
        CHECK_OK(nb_write_file(AT_FDCWD, started, "1 1\n", 4, 0600, false, &err), &err);
        CHECK(symlink("/etc/passwd", nb) == 0 && symlink("/etc/passwd", log) == 0);
        CHECK_OK(attach(&s, "r-1", &seen, &run, &err), &err);
        step_until(&s, &seen.finished);
        CHECK_INT(seen.result.class, CLASS_LOST);
        CHECK_OK(s.exec->ops->collect(run, target, &err), &err);
        CHECK(fstatat(target, "executed.ipynb", &st, AT_SYMLINK_NOFOLLOW) < 0);
        CHECK(fstatat(target, "log.txt", &st, AT_SYMLINK_NOFOLLOW) < 0);

        CHECK(unlink(nb) == 0 && mkfifo(nb, 0600) == 0);
        CHECK_OK(s.exec->ops->collect(run, target, &err), &err);
        CHECK(fstatat(target, "executed.ipynb", &st, AT_SYMLINK_NOFOLLOW) < 0);

        CHECK(unlink(nb) == 0 && rmdir(out) == 0 && symlink("/etc", out) == 0);
        CHECK_OK(s.exec->ops->collect(run, target, &err), &err);
        CHECK(fstatat(target, "executed.ipynb", &st, AT_SYMLINK_NOFOLLOW) < 0);
        CHECK(stat("/etc", &st) == 0 && (st.st_mode & 0777) == 0755);

        CHECK(unlink(out) == 0 && mkdir(out, 0700) == 0);
        CHECK_OK(nb_write_file(AT_FDCWD, nb, "{}", 2, 0000, false, &err), &err);
        CHECK(chmod(out, 0) == 0);
        CHECK_OK(s.exec->ops->collect(run, target, &err), &err);
        CHECK(fstatat(target, "executed.ipynb", &st, AT_SYMLINK_NOFOLLOW) == 0);
        CHECK_INT(st.st_mode & 0777, 0600);

        /* sparse, and larger than a notebook may be */
        CHECK(unlinkat(target, "executed.ipynb", 0) == 0 && truncate(nb, INT64_C(1) << 40) == 0);
        run->max_executed = 1 << 20;
        CHECK_ERR(s.exec->ops->collect(run, target, &err), &err, NB_E_LIMIT,
                  "executed.ipynb has 1099511627776 bytes");
        CHECK(fstatat(target, "executed.ipynb", &st, AT_SYMLINK_NOFOLLOW) < 0);
        CHECK(truncate(nb, 1 << 20) == 0);
        CHECK_OK(s.exec->ops->collect(run, target, &err), &err);
        CHECK(fstatat(target, "executed.ipynb", &st, AT_SYMLINK_NOFOLLOW) == 0);
        s.exec->ops->release(run);
        side_done(&s);
}

/* No mounts any more, for this process and its children: bubblewrap cannot
 * work then, whoever runs it. */
static bool forbid_mounts(void)
{
        struct sock_filter deny[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mount, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {NB_ARRAY_SIZE(deny), deny};

        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
               prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* The log of an executor that is opened in such a process. */
static char *log_without_mounts(struct side *s, enum sandbox_kind kind)
{
        nb_auto_free char *path = nb_asprintf("%s/log", s->state_dir);
        nb_auto_buf text = NB_BUF(65536);
        struct nb_err err;
        int status;
        pid_t pid;

        s->exec = exec_close(s->exec);
        s->cfg.sandbox = kind;
        pid = fork();
        if (pid == 0) {
                int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

                if (fd < 0 || dup2(fd, STDERR_FILENO) < 0 || !forbid_mounts())
                        _exit(1);
                nb_log_setup(NB_LOG_STDERR, LOG_INFO);
                _exit(exec_open(&s->cfg, &s->deps, &s->exec, &err) < 0 ? 2 : 0);
        }
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
        CHECK_INT(status, 0);
        CHECK_OK(nb_read_file(AT_FDCWD, path, &text, &err), &err);
        return nb_buf_steal(&text);
}

TEST(a_machine_without_a_sandbox_is_warned_of)
{
        struct side s = side_new(true);
        nb_auto_free char *automatic = log_without_mounts(&s, SANDBOX_AUTO);
        nb_auto_free char *none = log_without_mounts(&s, SANDBOX_NONE);

        CHECK(strstr(automatic, "\"warning\""));
        CHECK(strstr(automatic, "without a sandbox"));
        CHECK(strstr(automatic, "bwrap"));
        CHECK(!strstr(none, "without a sandbox"));
        side_done(&s);
}

TEST(a_kind_that_is_not_there_is_named)
{
        struct config_executor cfg = {.name = (char *)(uintptr_t) "x",
                                      .kind = (char *)(uintptr_t) "moon"};
        struct exec_deps deps = {.state_dir = "/nonexistent"};
        struct exec *x;
        struct nb_err err;

        CHECK_ERR(exec_open(&cfg, &deps, &x, &err), &err, NB_E_INVALID, "moon");
}

int main(int argc, char **argv)
{
        return exec_test_main(argc, argv);
}
