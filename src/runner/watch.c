/* SPDX-License-Identifier: Apache-2.0 */

/* watch.c - one child with all that it starts, from its start to its end */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <nbcid/clock.h>
#include <nbcid/fs.h>
#include <nbcid/num.h>

#include "runner-priv.h"

#define GRACE_US (15 * NB_US_PER_S) /* between "save yourself" and the kill */
#define MEASURE_US (200 * NB_US_PER_MS)
#define MEASURE_NEAR_US (50 * NB_US_PER_MS) /* when more than half of the memory is used */
#define MEASURE_SHARE 20                    /* measuring takes at most 1/20 of one core */
#define ROUND_READS 64                      /* a job that never stops printing waits its turn */

void log_put(struct run_log *l, const char *p, size_t n)
{
        struct nb_err err;
        /* a log that is continued may be over its limit by the words of log_end() */
        const uint64_t room = l->bytes < l->max ? l->max - l->bytes : 0;
        const size_t keep = n < room ? n : (size_t)room;

        l->dropped += n - keep;
        l->bytes += keep;
        if (keep && nb_write_all(l->fd, p, keep, &err) < 0)
                l->dropped += keep;
}

void log_end(struct run_log *l)
{
        if (l->dropped)
                dprintf(l->fd,
                        "\n[%llu bytes more were not kept: the log is limited to %llu "
                        "MiB]\n",
                        (unsigned long long)l->dropped, (unsigned long long)(l->max >> 20));
        l->dropped = 0;
}

static void read_events(struct watch *w)
{
        struct nb_buf *b = &w->engine.events;
        char *nl;

        for (int i = 0; i < ROUND_READS; i++) {
                ssize_t n;

                if (nb_buf_reserve(b, 4096) < 0) { /* a line beyond its ceiling */
                        nb_buf_clear(b);
                        continue;
                }
                n = read(w->engine.events_fd, b->data + b->len, 4096);
                if (n <= 0)
                        return;
                b->len += (size_t)n;
                b->data[b->len] = '\0';
                while ((nl = memchr(b->data, '\n', b->len))) {
                        size_t line = (size_t)(nl - b->data);

                        w->on_line(w->arg, b->data, line);
                        memmove(b->data, nl + 1, b->len - line - 1);
                        b->len -= line + 1;
                }
        }
}

static void read_output(struct watch *w)
{
        char buf[16384];

        for (int i = 0; i < ROUND_READS; i++) {
                ssize_t n = read(w->engine.output_fd, buf, sizeof(buf));

                if (n <= 0)
                        return;
                log_put(w->log, buf, (size_t)n);
                if (w->copy)
                        log_put(w->copy, buf, (size_t)n);
        }
}

/* Ask the child to save and leave; after GRACE_US it is killed. */
static void ask_to_end(struct watch *w)
{
        if (w->kill_at_us != UINT64_MAX)
                return;
        w->kill_at_us = nb_mono_us(&nb_clock_real) + (w->hasty ? 0 : GRACE_US);
        nb_closep(&w->engine.control_fd);
        w->engine.control_fd = -1;
}

bool watch_cancelled(int signal_fd)
{
        struct signalfd_siginfo si;
        bool asked = false;

        while (read(signal_fd, &si, sizeof(si)) == sizeof(si))
                asked = asked || si.ssi_signo != SIGCHLD;
        return asked;
}

static void read_signals(struct watch *w)
{
        if (watch_cancelled(w->signal_fd) && !w->seen.engine_ended) {
                w->seen.cancelled = !w->seen.timed_out;
                ask_to_end(w);
        }
}

/* Without a cgroup the sums over the tree are ours to watch: kill what is
 * biggest, as the kernel would, or all that is too many. */
static void watch_tree(struct watch *w, uint64_t now)
{
        uint64_t max = w->seen.memory_max, cost, every = MEASURE_US;
        struct tree_use use;

        if (now < w->measure_at_us)
                return;
        tree_measure(&use);
        if (use.memory > w->mem_peak)
                w->mem_peak = use.memory;
        if (!w->cgroup.dir && max && use.biggest && use.memory > max &&
            tree_measure_exact() > max) {
                w->seen.oom = true;
                (void)kill(use.biggest, SIGKILL);
        }
        if (!w->cgroup.dir && w->seen.processes_max && use.processes > w->seen.processes_max) {
                w->seen.too_many = true;
                tree_prune(w->engine.pid, SANDBOX_CHAIN(w->sandboxed));
        }
        cost = nb_mono_us(&nb_clock_real) - now;
        if (max && use.memory > max / 2)
                every = MEASURE_NEAR_US;
        w->measure_at_us = now + (every > cost * MEASURE_SHARE ? every : cost * MEASURE_SHARE);
}

/* Until something has to be looked at. */
static int wait_ms(const struct watch *w, uint64_t now)
{
        uint64_t until = w->measure_at_us;

        if (w->deadline_us < until && w->deadline_us > now)
                until = w->deadline_us;
        if (w->kill_at_us < until)
                until = w->kill_at_us;
        return until > now ? (int)((until - now) / NB_US_PER_MS) + 1 : 0;
}

void watch_run(struct watch *w)
{
        struct pollfd fds[] = {{.fd = w->engine.events_fd, .events = POLLIN},
                               {.fd = w->engine.output_fd, .events = POLLIN},
                               {.fd = w->signal_fd, .events = POLLIN},
                               {.fd = w->engine.pidfd, .events = POLLIN}};

        while (!w->gone) {
                uint64_t now = nb_mono_us(&nb_clock_real);

                if (now >= w->deadline_us && !w->seen.cancelled && !w->seen.timed_out &&
                    !w->seen.engine_ended) {
                        w->seen.timed_out = true;
                        ask_to_end(w);
                }
                if (now >= w->kill_at_us)
                        break;
                watch_tree(w, now);
                (void)poll(fds, NB_ARRAY_SIZE(fds), wait_ms(w, nb_mono_us(&nb_clock_real)));
                if (fds[2].revents)
                        read_signals(w);
                read_events(w);
                read_output(w);
                if (fds[0].revents & POLLHUP)
                        fds[0].fd = -1;
                if (fds[1].revents & POLLHUP)
                        fds[1].fd = -1;
                if (fds[3].revents &&
                    waitpid(w->engine.pid, &w->seen.exit_status, WNOHANG) == w->engine.pid)
                        w->gone = true;
                /* It has said all: what lingers after that (a kernel that ignores its
                 * shutdown) has as long as a kill would have. */
                if (w->seen.engine_ended && w->kill_at_us == UINT64_MAX)
                        w->kill_at_us = now + GRACE_US;
        }
}

void watch_end(struct watch *w)
{
        struct cgroup_use use;

        if (!w->gone) {
                (void)kill(w->engine.pid, SIGKILL);
                (void)waitpid(w->engine.pid, &w->seen.exit_status, 0);
        }
        tree_kill();
        w->seen.host_oom_kills = tree_host_oom_kills() - w->host_oom_kills;
        read_events(w); /* a pipe holds less than one round reads */
        read_output(w);
        if (w->cgroup.dir) {
                cgroup_read(&w->cgroup, &use);
                w->seen.oom = w->seen.oom || use.oom_kills > 0;
                if (use.memory_peak > w->mem_peak)
                        w->mem_peak = use.memory_peak;
        }
}

void watch_done(struct watch *w)
{
        engine_done(&w->engine);
        cgroup_done(&w->cgroup);
        seen_done(&w->seen);
}

int watch_start(struct watch *w, const struct watch_spec *s, struct nb_err *err)
{
        const struct runner_opts *o = s->opts;
        struct engine_spec e = {.argv = s->argv,
                                .env = s->env,
                                .home = s->home,
                                .cwd = s->cwd,
                                .memory_max = o->memory_max,
                                .processes_max = o->processes_max,
                                .cgroup = &w->cgroup,
                                .in_namespace = s->sandboxed};
        uint64_t now = nb_mono_us(&nb_clock_real);

        if (o->cgroup) {
                int r = cgroup_make(o->cgroup, o->memory_max, o->processes_max, &w->cgroup, err);

                if (r < 0)
                        return r;
        }
        w->deadline_us = s->timeout_us ? now + s->timeout_us : UINT64_MAX;
        w->kill_at_us = UINT64_MAX;
        w->host_oom_kills = tree_host_oom_kills();
        w->sandboxed = s->sandboxed;
        w->seen.timeout_us = s->timeout_us;
        w->seen.memory_max = o->memory_max;
        w->seen.processes_max = o->processes_max;
        return engine_start(&e, &w->engine, err);
}
