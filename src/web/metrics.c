/* SPDX-License-Identifier: Apache-2.0 */

/* metrics.c - liveness, readiness, and numbers in the text format of Prometheus
 * (prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4) */

#include <dirent.h>
#include <fcntl.h>
#include <time.h>

#include <nbcid/fs.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "web-priv.h"

#ifndef NBCID_VERSION
#error "the build defines NBCID_VERSION"
#endif

void health_get(struct web_app *a, struct web_request *q)
{
        reply_text(&q->reply, 200, "ok");
}

void ready_get(struct web_app *a, struct web_request *q)
{
        struct nb_err err;

        if (flow_door_ready(a->door, &err) == 0)
                reply_text(&q->reply, 200, "ready");
        else
                reply_text(&q->reply, 503, err.msg);
}

static void head(struct nb_buf *b, const char *name, const char *type, const char *help)
{
        (void)nb_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static unsigned long long load(atomic_uint_fast64_t *v)
{
        return atomic_load_explicit(v, memory_order_relaxed);
}

static void counter(struct nb_buf *b, const char *name, const char *help, atomic_uint_fast64_t *v)
{
        head(b, name, "counter", help);
        (void)nb_buf_printf(b, "%s %llu\n", name, load(v));
}

static void gauge(struct nb_buf *b, const char *name, const char *help, double v)
{
        head(b, name, "gauge", help);
        (void)nb_buf_printf(b, "%s %.17g\n", name, v);
}

/* The sum of the buckets is the count, so that what is shown never contradicts
 * itself while others add. */
static void histogram(struct nb_buf *b, const char *name, const char *help,
                      struct metric_histogram *h)
{
        unsigned long long sum = 0;

        head(b, name, "histogram", help);
        for (unsigned i = 0; i < METRIC_BUCKETS; i++) {
                sum += load(&h->buckets[i]);
                (void)nb_buf_printf(b, "%s_bucket{le=\"%s\"} %llu\n", name, metric_bucket_names[i],
                                    sum);
        }
        (void)nb_buf_printf(b, "%s_sum %.6f\n%s_count %llu\n", name, (double)load(&h->sum_us) / 1e6,
                            name, sum);
}

static const char *const delivery_names[DELIVERY_RESULT__COUNT] = {
        [DELIVERY_ACCEPTED] = "accepted",   [DELIVERY_DUPLICATE] = "duplicate",
        [DELIVERY_IGNORED] = "ignored",     [DELIVERY_DENIED] = "denied",
        [DELIVERY_MALFORMED] = "malformed", [DELIVERY_TOO_LARGE] = "too_large",
        [DELIVERY_BUSY] = "busy",
};
static const char *const verdict_names[NOTE_VERDICT__COUNT] = {
        [NOTE_ACCEPTED] = "accepted",
        [NOTE_RETRY] = "retry",
        [NOTE_REFUSED] = "refused",
};

static void put_counters(struct nb_buf *b, struct metrics *m)
{
        head(b, "nbcid_webhook_deliveries_total", "counter", "Deliveries of forges by their end.");
        for (unsigned i = 0; i < DELIVERY_RESULT__COUNT; i++)
                (void)nb_buf_printf(b, "nbcid_webhook_deliveries_total{result=\"%s\"} %llu\n",
                                    delivery_names[i], load(&m->deliveries[i]));
        histogram(b, "nbcid_webhook_request_duration_seconds",
                  "From the last byte of a delivery to its answer.", &m->delivery_seconds);
        histogram(b, "nbcid_job_duration_seconds", "How long jobs ran.", &m->job_seconds);
        head(b, "nbcid_jobs_finished_total", "counter", "Jobs that ended, by why.");
        for (unsigned i = CLASS_NONE + 1; i < CLASS__COUNT; i++)
                (void)nb_buf_printf(b, "nbcid_jobs_finished_total{class=\"%s\"} %llu\n",
                                    run_class_name((enum run_class)i), load(&m->jobs_finished[i]));
        head(b, "nbcid_status_post_total", "counter", "Commit statuses sent, by the answer.");
        for (unsigned i = 0; i < NOTE_VERDICT__COUNT; i++)
                (void)nb_buf_printf(b, "nbcid_status_post_total{result=\"%s\"} %llu\n",
                                    verdict_names[i], load(&m->status_posts[i]));
        counter(b, "nbcid_git_errors_total", "Fetches and checkouts that failed.", &m->git_errors);
        counter(b, "nbcid_store_errors_total", "Database operations that failed.",
                &m->store_errors);
        gauge(b, "nbcid_config_last_reload_successful", "1 when the last (re)load succeeded.",
              atomic_load(&m->config_last_reload_ok) ? 1 : 0);
        gauge(b, "nbcid_config_last_reload_success_timestamp_seconds",
              "When the configuration was last read with success.",
              (double)atomic_load(&m->config_loaded_ms) / 1000);
}

static int put_gauges(struct web_app *a, struct nb_buf *b, struct nb_err *err)
{
        static const enum job_state waiting[] = {JOB_WAITING, JOB_PENDING, JOB_SUBMITTING,
                                                 JOB_RUNNING};
        static const enum build_state before[] = {BUILD_QUEUED, BUILD_PREPARING};
        int64_t now = nb_now_ms(a->deps.clock);
        struct view_gauges g;
        int r = store_view_gauges(a->view, &g, err);

        if (r < 0)
                return r;
        head(b, "nbcid_queue_depth", "gauge",
             "Builds queued and preparing; jobs waiting, pending, submitting and running.");
        for (size_t i = 0; i < NB_ARRAY_SIZE(before); i++)
                (void)nb_buf_printf(b, "nbcid_queue_depth{state=\"%s\"} %lld\n",
                                    build_state_name(before[i]), (long long)g.builds[before[i]]);
        for (size_t i = 0; i < NB_ARRAY_SIZE(waiting); i++)
                (void)nb_buf_printf(b, "nbcid_queue_depth{state=\"%s\"} %lld\n",
                                    job_state_name(waiting[i]), (long long)g.jobs[waiting[i]]);
        gauge(b, "nbcid_queue_oldest_age_seconds", "Age of the oldest build or job that waits.",
              g.oldest_queued_ms > 0 && now > g.oldest_queued_ms
                      ? (double)(now - g.oldest_queued_ms) / 1000
                      : 0);
        gauge(b, "nbcid_outbox_waiting", "Commit statuses not yet sent.", (double)g.outbox_waiting);
        gauge(b, "nbcid_db_size_bytes", "Size of the database.", (double)g.db_bytes);
        return 0;
}

/* ---- the process, of proc(5) ---- */

static unsigned open_fds(void)
{
        DIR *d = opendir("/proc/self/fd");
        unsigned n = 0;

        if (!d)
                return 0;
        while (readdir(d))
                n++;
        (void)closedir(d);
        return n > 3 ? n - 3 : 0; /* ".", "..", and the directory itself */
}

static double resident_bytes(void)
{
        nb_auto_buf b = NB_BUF(4096);
        uint64_t pages;
        char *second;

        /* proc(5): "size resident shared ..." */
        if (nb_read_file(AT_FDCWD, "/proc/self/statm", &b, NULL) < 0 || !b.data ||
            !(second = strchr(b.data, ' ')))
                return 0;
        second++;
        second[strcspn(second, " ")] = '\0';
        if (nb_parse_u64(second, 0, UINT64_MAX, &pages, NULL) < 0)
                return 0;
        return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double cpu_seconds(void)
{
        struct timespec t;

        if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) < 0)
                return 0;
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void put_process(struct web_app *a, struct nb_buf *b)
{
        gauge(b, "process_resident_memory_bytes", "Resident memory.", resident_bytes());
        gauge(b, "process_start_time_seconds", "When the server started, seconds since 1970.",
              (double)a->started_ms / 1000);
        gauge(b, "process_open_fds", "Open file descriptors.", open_fds());
        head(b, "process_cpu_seconds_total", "counter", "Processor time used.");
        (void)nb_buf_printf(b, "process_cpu_seconds_total %.6f\n", cpu_seconds());
}

void metrics_get(struct web_app *a, struct web_request *q)
{
        struct nb_buf *b = reply_start(&q->reply, 200, "text/plain; version=0.0.4; charset=utf-8");
        struct nb_err err;

        head(b, "nbcid_build_info", "gauge", "1, with the version as label.");
        (void)nb_buf_printf(b, "nbcid_build_info{version=\"%s\"} 1\n", NBCID_VERSION);
        put_counters(b, a->deps.metrics);
        put_process(a, b);
        if (put_gauges(a, b, &err) < 0)
                reply_failure(a, q, &err);
}
