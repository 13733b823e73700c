/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* metrics.h - counters that several threads add to and /metrics shows.  Part
 * of room model.  Any thread; they start at 0 with the process. */

#include <stdatomic.h>
#include <stdint.h>

#include <nbcid/model.h>

enum delivery_result {
        DELIVERY_ACCEPTED,
        DELIVERY_DUPLICATE,
        DELIVERY_IGNORED,
        DELIVERY_DENIED,
        DELIVERY_MALFORMED,
        DELIVERY_TOO_LARGE,
        DELIVERY_BUSY,
        DELIVERY_RESULT__COUNT,
};

/* Upper bounds in seconds: .001 .005 .01 .05 .1 .5 1 5 30 60 300 1800 3600 +Inf */
#define METRIC_BUCKETS 14
struct metric_histogram {
        atomic_uint_fast64_t buckets[METRIC_BUCKETS]; /* not cumulative */
        atomic_uint_fast64_t sum_us, count;
};
void metric_observe(struct metric_histogram *h, uint64_t us);
extern const char *const metric_bucket_names[METRIC_BUCKETS]; /* "0.001" ... "+Inf" */

struct metrics {
        atomic_uint_fast64_t deliveries[DELIVERY_RESULT__COUNT];
        struct metric_histogram delivery_seconds; /* request complete to reply */
        atomic_uint_fast64_t jobs_finished[CLASS__COUNT];
        struct metric_histogram job_seconds;
        atomic_uint_fast64_t status_posts[NOTE_VERDICT__COUNT];
        atomic_uint_fast64_t git_errors, store_errors;
        atomic_int_fast64_t config_loaded_ms; /* last successful (re)load, UTC ms */
        atomic_bool config_last_reload_ok;
};
