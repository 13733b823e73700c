/* SPDX-License-Identifier: Apache-2.0 */

/* tree.c - every process below us: how much memory, and the end of them.
 * We are their subreaper, so whatever daemonises comes back to us. */

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <nbcid/clock.h>
#include <nbcid/num.h>

#include "runner-priv.h"

#define TREE_MAX (1 << 22) /* no kernel has more pids: PID_MAX_LIMIT, include/linux/threads.h */

struct process {
        pid_t pid, parent;
        uint64_t threads, started; /* clock ticks since boot */
        uid_t uid;
        bool below, kept;
};

struct processes {
        struct process *v;
        size_t n, cap;
};

static void processes_done(struct processes *all)
{
        free(all->v);
}

/* A field of /proc/PID/stat by its number, from 4 on; the name before them may
 * hold anything but is closed by the last parenthesis (proc(5)). */
static bool stat_field(const char *text, int field, uint64_t *ret)
{
        const char *p = strrchr(text, ')');
        char digits[24];
        size_t n;

        for (int at = 2; p && at < field; at++)
                p = strchr(p + 1, ' ');
        if (!p)
                return false;
        p++;
        n = strspn(p, "0123456789");
        if (n == 0 || n >= sizeof(digits))
                return false;
        memcpy(digits, p, n);
        digits[n] = '\0';
        return nb_parse_u64(digits, 0, UINT64_MAX, ret, NULL) == 0;
}

static bool read_process(pid_t pid, struct process *ret)
{
        char path[64], text[1024];
        uint64_t parent, threads, started;
        struct stat st;
        ssize_t n;

        (void)nb_fmt(path, sizeof(path), "/proc/%d/stat", (int)pid);
        nb_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0 || (n = read(fd, text, sizeof(text) - 1)) <= 0)
                return false;
        text[n] = '\0';
        if (!stat_field(text, 4, &parent) || !stat_field(text, 20, &threads) ||
            !stat_field(text, 22, &started) || fstat(fd, &st) < 0)
                return false;
        *ret = (struct process){.pid = pid,
                                .parent = (pid_t)parent,
                                .threads = threads,
                                .started = started,
                                .uid = st.st_uid};
        return true;
}

static int by_pid(const void *a, const void *b)
{
        const struct process *x = a, *y = b;

        return (x->pid > y->pid) - (x->pid < y->pid);
}

static int by_age(const void *a, const void *b)
{
        const struct process *x = a, *y = b;

        if (x->started != y->started)
                return x->started < y->started ? -1 : 1;
        return by_pid(a, b);
}

static void list_all(struct processes *all)
{
        DIR *d = opendir("/proc");

        for (struct dirent *e; d && (e = readdir(d));) {
                uint64_t pid;

                if (!isdigit((unsigned char)e->d_name[0]) ||
                    nb_parse_u64(e->d_name, 1, TREE_MAX, &pid, NULL) < 0)
                        continue;
                if (nb_grow((void **)&all->v, &all->cap, all->n + 1, sizeof(*all->v)) < 0)
                        break;
                if (read_process((pid_t)pid, &all->v[all->n]))
                        all->n++;
        }
        if (d)
                closedir(d);
}

/* Keep our descendants, however deep.  Rounds, since pids wrap; one or two of
 * them as a rule. */
static void list_below(struct processes *all)
{
        pid_t me = getpid();
        bool more = true;
        size_t n = 0;

        list_all(all);
        if (all->n == 0)
                return;
        qsort(all->v, all->n, sizeof(*all->v), by_pid);
        while (more) {
                more = false;
                for (size_t i = 0; i < all->n; i++) {
                        struct process *p = &all->v[i];
                        const struct process key = {.pid = p->parent};
                        const struct process *parent;

                        if (p->below)
                                continue;
                        parent = bsearch(&key, all->v, all->n, sizeof(*all->v), by_pid);
                        p->below = p->parent == me || (parent && parent->below);
                        more = more || p->below;
                }
        }
        for (size_t i = 0; i < all->n; i++)
                if (all->v[i].below)
                        all->v[n++] = all->v[i];
        all->n = n;
}

/* Sum of lines "KEY:   N kB" of a /proc file whose key is one of two; 0 when
 * it cannot be read. */
static uint64_t read_kb(pid_t pid, const char *file, const char *a, const char *b)
{
        char path[64], line[256];
        uint64_t sum = 0;
        FILE *f;

        (void)nb_fmt(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof(line), f)) {
                uint64_t v;
                char *p = strchr(line, ':'), *end;

                if (!p)
                        continue;
                *p++ = '\0';
                if (!nb_streq(line, a) && !nb_streq(line, b))
                        continue;
                p += strspn(p, " \t");
                end = p + strspn(p, "0123456789");
                *end = '\0';
                if (nb_parse_u64(p, 0, UINT64_MAX / 1024, &v, NULL) == 0)
                        sum += v * 1024;
        }
        if (f)
                fclose(f);
        return sum;
}

static uint64_t own_memory(pid_t pid)
{
        return read_kb(pid, "status", "RssAnon", "RssShmem");
}

void tree_measure(struct tree_use *ret)
{
        NB_CLEANUP(processes_done) struct processes all = {0};
        uint64_t most = 0;

        *ret = (struct tree_use){0};
        list_below(&all);
        for (size_t i = 0; i < all.n; i++) {
                uint64_t own = own_memory(all.v[i].pid);

                ret->memory += own;
                ret->processes++;
                if (own > most) {
                        most = own;
                        ret->biggest = all.v[i].pid;
                }
        }
}

uint64_t tree_measure_exact(void)
{
        NB_CLEANUP(processes_done) struct processes all = {0};
        uint64_t sum = 0;

        list_below(&all);
        for (size_t i = 0; i < all.n; i++) {
                uint64_t own = read_kb(all.v[i].pid, "smaps_rollup", "Pss_Anon", "Pss_Shmem");

                sum += own ? own : own_memory(all.v[i].pid);
        }
        return sum;
}

/* In a list by age. */
static struct process *oldest_child(const struct processes *all, pid_t parent)
{
        for (size_t i = 0; i < all->n; i++)
                if (all->v[i].parent == parent)
                        return &all->v[i];
        return NULL;
}

void tree_prune(pid_t root, unsigned kept)
{
        NB_CLEANUP(processes_done) struct processes all = {0};
        struct process *p;

        list_below(&all);
        if (all.n == 0)
                return;
        qsort(all.v, all.n, sizeof(*all.v), by_age);
        for (size_t i = 0; i < all.n; i++)
                all.v[i].kept = kept > 0 && all.v[i].pid == root;
        /* By descent, not by age alone: what an earlier child of ours left behind is older
         * than all of them. */
        for (; kept > 1 && (p = oldest_child(&all, root)); kept--) {
                p->kept = true;
                root = p->pid;
        }
        /* Stopped first, so that they do not make new ones meanwhile. */
        for (size_t i = 0; i < all.n; i++)
                if (!all.v[i].kept)
                        (void)kill(all.v[i].pid, SIGSTOP);
        for (size_t i = 0; i < all.n; i++)
                if (!all.v[i].kept)
                        (void)kill(all.v[i].pid, SIGKILL);
}

void tree_kill(void)
{
        uint64_t until = nb_mono_us(&nb_clock_real) + 10 * NB_US_PER_S;

        /* Until nobody is left: a process may fork while we look. */
        while (nb_mono_us(&nb_clock_real) < until) {
                NB_CLEANUP(processes_done) struct processes all = {0};

                list_below(&all);
                for (size_t i = 0; i < all.n; i++)
                        (void)kill(all.v[i].pid, SIGSTOP);
                for (size_t i = 0; i < all.n; i++)
                        (void)kill(all.v[i].pid, SIGKILL);
                while (waitpid(-1, NULL, WNOHANG) > 0)
                        ;
                if (all.n == 0)
                        return;
                nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);
        }
}

unsigned tree_threads_of_user(void)
{
        NB_CLEANUP(processes_done) struct processes all = {0};
        uint64_t sum = 0;

        list_all(&all);
        for (size_t i = 0; i < all.n; i++)
                if (all.v[i].uid == getuid())
                        sum += all.v[i].threads;
        return sum < UINT32_MAX ? (unsigned)sum : UINT32_MAX;
}

uint64_t tree_host_oom_kills(void)
{
        char line[128];
        uint64_t v = 0;
        FILE *f = fopen("/proc/vmstat", "re");

        while (f && fgets(line, sizeof(line), f)) {
                line[strcspn(line, "\n")] = '\0';
                if (nb_starts_with(line, "oom_kill "))
                        (void)nb_parse_u64(line + strlen("oom_kill "), 0, UINT64_MAX, &v, NULL);
        }
        if (f)
                fclose(f);
        return v;
}
