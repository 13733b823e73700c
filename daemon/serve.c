/* SPDX-License-Identifier: Apache-2.0 */

/* serve.c - build the house, open the door, turn off the light */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <link.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include <nbcid/clock.h>
#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>
#include <nbcid/web.h>

#include "app.h"

struct server {
        struct config *config;
        char *config_file, *db_path, *self;
        int lock_fd, state_fd;
        struct metrics metrics;
        struct worker *worker;
        struct web *web;
        uint64_t watchdog_us;
};

static void server_done(struct server *s)
{
        s->web = web_free(s->web);
        s->worker = worker_free(s->worker);
        config_unref(s->config);
        free(s->config_file);
        free(s->db_path);
        free(s->self);
        nb_closep(&s->state_fd);
        nb_closep(&s->lock_fd);
}

/* One daemon per state directory: the lock goes with the process. */
static int take_state(struct server *s, struct nb_err *err)
{
        const char *dir = s->config->state_dir;
        static const char *const below[] = {"mirrors", "workspaces", "artifacts", "runs",
                                            "environments"};
        int r;

        r = nb_mkdirs(AT_FDCWD, dir, 0700, err);
        if (r < 0)
                return nb_wrap(err, r, "[server] state_dir");
        s->state_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->state_fd < 0)
                return nb_fail_errno(err, errno, "[server] state_dir %s", dir);
        s->lock_fd = openat(s->state_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (s->lock_fd < 0)
                return nb_fail_errno(err, errno, "%s/lock", dir);
        if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
                return nb_fail(err, NB_E_CONFLICT,
                               "another nbcid runs on %s; stop it, or give this one a state_dir of "
                               "its own",
                               dir);
        for (size_t i = 0; i < NB_ARRAY_SIZE(below); i++) {
                r = nb_mkdirs(s->state_fd, below[i], 0700, err);
                if (r < 0)
                        return r;
        }
        s->db_path = nb_asprintf("%s/nbcid.db", dir);
        return s->db_path ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

/* The one socket that systemd passed, or -1. */
static int passed_socket(int *ret, struct nb_err *err)
{
        int n = sd_listen_fds(1);

        if (n < 0)
                return nb_fail_errno(err, -n, "socket activation");
        if (n > 1)
                return nb_fail(err, NB_E_INVALID, "systemd passed %d sockets; give one", n);
        *ret = n == 1 ? SD_LISTEN_FDS_START : -1;
        return 0;
}

static int build_house(struct server *s, struct nb_err *err)
{
        int fd = -1, r;

        r = take_state(s, err);
        if (r < 0)
                return r;
        s->self = realpath("/proc/self/exe", NULL);
        if (!s->self)
                return nb_fail_errno(err, errno, "/proc/self/exe");
        r = worker_new(&(struct worker_deps){.config = s->config,
                                             .db_path = s->db_path,
                                             .self = s->self,
                                             .metrics = &s->metrics},
                       &s->worker, err);
        if (r < 0)
                return r;
        r = passed_socket(&fd, err);
        if (r < 0)
                return r;
        r = web_new(&(struct web_deps){.config = s->config,
                                       .clock = &nb_clock_real,
                                       .db_path = s->db_path,
                                       .state_dirfd = s->state_fd,
                                       .metrics = &s->metrics,
                                       .wake = worker_wake,
                                       .wake_arg = s->worker,
                                       .listen_fd = fd},
                    &s->web, err);
        if (r < 0)
                return r;
        return worker_start(s->worker, err);
}

/* Code that only start-up ran (symbol resolution, library constructors) stays
 * mapped for nothing: let go of the read-only pages, they fault in again from
 * the page cache if ever wanted.  Only segments that were never writable, so
 * no relocation is lost. */
static int forget_segment(struct dl_phdr_info *info, size_t size, void *arg)
{
        const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

        for (int i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *p = &info->dlpi_phdr[i];
                uintptr_t from = info->dlpi_addr + p->p_vaddr;
                uintptr_t to = from + p->p_memsz;

                if (p->p_type != PT_LOAD || (p->p_flags & PF_W) || info->dlpi_addr == 0)
                        continue;
                from &= ~(page - 1);
                (void)madvise((void *)from, to - from, MADV_DONTNEED);
        }
        return 0;
}

static void forget_startup(void)
{
        malloc_trim(0);
        dl_iterate_phdr(forget_segment, NULL);
}

static bool same_words(const struct nb_strv *a, const struct nb_strv *b)
{
        bool same = a->n == b->n;

        for (size_t i = 0; same && i < a->n; i++)
                same = nb_streq(a->v[i], b->v[i]);
        return same;
}

static bool same_place(const struct config_place *a, const struct config_place *b)
{
        return nb_streq(a->region, b->region) && nb_streq(a->machine_type, b->machine_type) &&
               nb_streq(a->accelerator_type, b->accelerator_type) &&
               a->accelerator_count == b->accelerator_count && a->spot == b->spot;
}

static bool same_lists(const struct config_vertex *a, const struct config_vertex *b)
{
        bool same = a->n_fallbacks == b->n_fallbacks && a->n_rules == b->n_rules;

        for (size_t i = 0; same && i < a->n_fallbacks; i++)
                same = same_place(&a->fallbacks[i], &b->fallbacks[i]);
        for (size_t i = 0; same && i < a->n_rules; i++)
                same = nb_streq(a->rules[i].image, b->rules[i].image) &&
                       same_words(&a->rules[i].run, &b->rules[i].run) &&
                       a->rules[i].entrypoint == b->rules[i].entrypoint;
        return same;
}

static bool same_vertex(const struct config_vertex *a, const struct config_vertex *b)
{
        return nb_streq(a->project, b->project) && nb_streq(a->region, b->region) &&
               nb_streq(a->bucket, b->bucket) && a->credentials.n == b->credentials.n &&
               (a->credentials.n == 0 ||
                memcmp(a->credentials.data, b->credentials.data, a->credentials.n) == 0) &&
               nb_streq(a->machine_type, b->machine_type) &&
               nb_streq(a->accelerator_type, b->accelerator_type) &&
               a->accelerator_count == b->accelerator_count &&
               nb_streq(a->container_uri, b->container_uri) && nb_streq(a->image, b->image) &&
               nb_streq(a->service_account, b->service_account) &&
               nb_streq(a->network, b->network) && nb_streq(a->api_url, b->api_url) &&
               nb_streq(a->storage_url, b->storage_url) && nb_streq(a->token_url, b->token_url) &&
               a->spot == b->spot && nb_streq(a->disk_type, b->disk_type) &&
               a->disk_gb == b->disk_gb && same_words(&a->run, &b->run) &&
               a->poll_us == b->poll_us && a->submissions_per_minute == b->submissions_per_minute &&
               a->queue_max_us == b->queue_max_us && nb_streq(a->logging_url, b->logging_url) &&
               a->workspace == b->workspace && a->max_workspace == b->max_workspace &&
               same_lists(a, b);
}

static bool same_house(const struct config *a, const struct config *b, const char **ret_key)
{
        *ret_key = NULL;
        if (!nb_streq(a->listen, b->listen))
                *ret_key = "[server] listen";
        else if (!nb_streq(a->state_dir, b->state_dir))
                *ret_key = "[server] state_dir";
        else if (a->max_connections != b->max_connections)
                *ret_key = "[server] max_connections";
        else if (a->max_connections_per_ip != b->max_connections_per_ip)
                *ret_key = "[server] max_connections_per_ip";
        else if (a->n_executors != b->n_executors)
                *ret_key = "[[executor]]";
        for (size_t i = 0; !*ret_key && i < a->n_executors; i++) {
                const struct config_executor *x = &a->executors[i], *y = &b->executors[i];

                if (!nb_streq(x->name, y->name) || !nb_streq(x->kind, y->kind) ||
                    x->slots != y->slots || x->memory_max != y->memory_max ||
                    x->processes_max != y->processes_max || x->sandbox != y->sandbox ||
                    !nb_streq(x->python, y->python) || !same_vertex(&x->vertex, &y->vertex))
                        *ret_key = "[[executor]]";
        }
        return !*ret_key;
}

static void reload(struct server *s)
{
        NB_CLEANUP(config_unrefp) struct config *c = NULL;
        const char *key;
        struct nb_err err;
        int r;

        (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, nb_mono_us(&nb_clock_real));
        r = config_load(s->config_file, &c, &err);
        if (r == 0 && !same_house(s->config, c, &key))
                r = nb_fail(&err, NB_E_CONFLICT, "%s: %s changes only with a restart",
                            s->config_file, key);
        atomic_store(&s->metrics.config_last_reload_ok, r == 0);
        if (r < 0) {
                nb_log_err(LOG_ERR, &err, "reload refused; the old configuration stays");
                (void)sd_notifyf(0,
                                 "READY=1\nSTATUS=Reload refused, the old configuration stays: "
                                 "%s",
                                 err.msg);
                return;
        }
        web_reconfigure(s->web, c);
        worker_reconfigure(s->worker, c);
        config_unref(s->config);
        s->config = NB_TAKE(c);
        atomic_store(&s->metrics.config_loaded_ms, nb_now_ms(&nb_clock_real));
        nb_log(LOG_NOTICE, "configuration reloaded", NB_F_STR("file", s->config_file));
        (void)sd_notify(0, "READY=1\nSTATUS=Configuration reloaded");
}

/* Tell systemd how we are; ping only when worker, http thread and store are
 * well. */
static void tell_systemd(struct server *s)
{
        struct worker_state w = worker_state(s->worker);
        uint64_t limit = s->watchdog_us ? s->watchdog_us : 60 * NB_US_PER_S;

        (void)sd_notifyf(0, "STATUS=%u running, %u preparing, %u statuses on their way", w.running,
                         w.preparing, w.sending);
        if (w.silence_us < limit && web_silence_us(s->web) < limit)
                (void)sd_notify(0, "WATCHDOG=1");
        else
                nb_log(LOG_CRIT, "a thread is stuck; the watchdog is not pinged",
                       NB_F_INT("worker_silent_ms", w.silence_us / 1000),
                       NB_F_INT("http_silent_ms", web_silence_us(s->web) / 1000));
}

/* SIGTERM: start nothing new and give jobs drain_timeout; a second one ends
 * the wait.  Jobs that go on are adopted by the next start. */
static void drain(struct server *s, const sigset_t *signals)
{
        uint64_t until = nb_mono_us(&nb_clock_real) + s->config->drain_timeout_us;

        (void)sd_notify(0, "STOPPING=1\nSTATUS=Draining");
        nb_log(LOG_NOTICE, "stopping", NB_F_INT("drain_ms", s->config->drain_timeout_us / 1000));
        worker_drain(s->worker);
        while (nb_mono_us(&nb_clock_real) < until) {
                struct worker_state w = worker_state(s->worker);
                struct timespec wait = {.tv_nsec = 200 * 1000 * 1000};

                if (w.ended || (w.idle && w.running == 0))
                        return;
                (void)sd_notify(0, "WATCHDOG=1");
                switch (sigtimedwait(signals, NULL, &wait)) {
                case SIGTERM:
                case SIGINT:
                        return;
                default:
                        break;
                }
        }
}

/* Until told to stop; answers an exit status. */
static int serve_signals(struct server *s, const sigset_t *signals)
{
        struct timespec wait = {.tv_sec = 5};

        if (s->watchdog_us && s->watchdog_us / 3 < 5 * NB_US_PER_S)
                wait = (struct timespec){.tv_sec = (time_t)(s->watchdog_us / 3 / NB_US_PER_S),
                                         .tv_nsec =
                                                 (long)(s->watchdog_us / 3 % NB_US_PER_S * 1000)};
        for (;;) {
                switch (sigtimedwait(signals, NULL, &wait)) {
                case SIGHUP:
                        reload(s);
                        break;
                case SIGTERM:
                case SIGINT:
                        drain(s, signals);
                        return EXIT_FINE;
                default:
                        if (worker_state(s->worker).ended) {
                                nb_log(LOG_CRIT, "the worker has ended, and so do we");
                                return EXIT_INFRASTRUCTURE;
                        }
                        tell_systemd(s);
                        break;
                }
        }
}

static int serve(struct server *s)
{
        struct nb_err err;
        sigset_t signals;

        /* Before the first thread, so that all inherit the mask. */
        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGHUP);
        sigaddset(&signals, SIGCHLD);
        pthread_sigmask(SIG_BLOCK, &signals, NULL);
        sigdelset(&signals, SIGCHLD);
        (void)signal(SIGPIPE, SIG_IGN);
        (void)signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of write(), not our end */
        umask(0077);

        if (config_load(s->config_file, &s->config, &err) < 0) {
                fprintf(stderr, "nbcid: %s\n", err.msg);
                return EXIT_USAGE;
        }
        if (build_house(s, &err) < 0) {
                fprintf(stderr, "nbcid: %s\n", err.msg);
                return err.code == NB_E_INVALID ? EXIT_USAGE : EXIT_INFRASTRUCTURE;
        }
        if (sd_watchdog_enabled(0, &s->watchdog_us) <= 0)
                s->watchdog_us = 0;
        atomic_store(&s->metrics.config_loaded_ms, nb_now_ms(&nb_clock_real));
        atomic_store(&s->metrics.config_last_reload_ok, true);
        nb_log(LOG_NOTICE, "ready", NB_F_STR("address", web_address(s->web)),
               NB_F_STR("state_dir", s->config->state_dir), NB_F_STR("version", NBCID_VERSION));
        forget_startup();
        (void)sd_notify(0, "READY=1\nSTATUS=Ready");
        return serve_signals(s, &signals);
}

static void serve_help(FILE *f)
{
        fputs("Usage: nbcid serve [--config FILE] [--log-level LEVEL]\n"
              "\n"
              "Receive webhooks, run changed notebooks, post commit statuses.\n"
              "\n"
              "  -c, --config FILE   default " APP_CONFIG_FILE "\n"
              "      --log-level L   error, warning, notice, info (default), debug\n"
              "\n"
              "SIGTERM stops: nothing new is started, and jobs that still run after [server]\n"
              "drain_timeout are adopted by the next start.  SIGHUP reloads the file.\n"
              "Exit status: 0 stopped, 2 wrong usage or configuration, 3 the machine refused.\n",
              f);
}

static bool log_level(const char *name, int *ret)
{
        static const struct {
                const char *name;
                int level;
        } levels[] = {{"error", LOG_ERR},
                      {"warning", LOG_WARNING},
                      {"notice", LOG_NOTICE},
                      {"info", LOG_INFO},
                      {"debug", LOG_DEBUG}};

        for (size_t i = 0; i < NB_ARRAY_SIZE(levels); i++)
                if (nb_streq(levels[i].name, name)) {
                        *ret = levels[i].level;
                        return true;
                }
        return false;
}

int cmd_serve(int argc, char **argv)
{
        static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                                {"log-level", required_argument, NULL, 'l'},
                                                {"help", no_argument, NULL, 'h'},
                                                {0}};
        struct server s = {.lock_fd = -1, .state_fd = -1};
        const char *file = APP_CONFIG_FILE;
        int level = LOG_INFO, opt, status;

        while ((opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
                if (opt == 'h') {
                        serve_help(stdout);
                        return EXIT_FINE;
                }
                if (opt == 'c') {
                        file = optarg;
                } else if (opt != 'l' || !log_level(optarg, &level)) {
                        serve_help(stderr);
                        return EXIT_USAGE;
                }
        }
        if (optind < argc) {
                fprintf(stderr, "nbcid serve: unexpected argument \"%s\"\n", argv[optind]);
                return EXIT_USAGE;
        }
        nb_log_setup(NB_LOG_AUTO, level);
        s.config_file = nb_strdup(file);
        status = s.config_file ? serve(&s) : EXIT_INFRASTRUCTURE;
        server_done(&s);
        if (status == EXIT_FINE)
                nb_log(LOG_NOTICE, "stopped");
        return status;
}
