/* SPDX-License-Identifier: Apache-2.0 */

#include <nbcid/metrics.h>

static const uint64_t bounds_us[METRIC_BUCKETS - 1] = {
        1000,    5000,     10000,    50000,     100000,     500000,    1000000,
        5000000, 30000000, 60000000, 300000000, 1800000000, 3600000000};

const char *const metric_bucket_names[METRIC_BUCKETS] = {"0.001", "0.005", "0.01", "0.05", "0.1",
                                                         "0.5",   "1",     "5",    "30",   "60",
                                                         "300",   "1800",  "3600", "+Inf"};

void metric_observe(struct metric_histogram *h, uint64_t us)
{
        unsigned i = 0;

        while (i < METRIC_BUCKETS - 1 && us > bounds_us[i])
                i++;
        atomic_fetch_add_explicit(&h->buckets[i], 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&h->sum_us, us, memory_order_relaxed);
        atomic_fetch_add_explicit(&h->count, 1, memory_order_relaxed);
}
