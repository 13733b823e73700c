/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* num.h - numbers from text with their range, sizes and durations.  Pure; any
 * thread.  s may be NULL, which is malformed; error texts show at most 40
 * characters of it and say what to write instead. */

#include <nbcid/err.h>
#include <stddef.h>
#include <stdint.h>

/* Whole decimal text, no sign for u64, no spaces.  0 or -NB_E_INVALID with a
 * text that names the range. */
int nb_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret, struct nb_err *err);
int nb_parse_i64(const char *s, int64_t min, int64_t max, int64_t *ret, struct nb_err *err);
/* "25MiB", "4GiB", "512KiB", "100B", "1.5GiB" is refused.  Bytes. */
int nb_parse_size(const char *s, uint64_t *ret, struct nb_err *err);
/* "90d", "2h", "30m", "15s", "250ms", and sums of falling units "1h30m".
 * Microseconds. */
int nb_parse_duration(const char *s, uint64_t *ret_us, struct nb_err *err);

#define nb_add_overflow(a, b, ret) __builtin_add_overflow((a), (b), (ret))
#define nb_mul_overflow(a, b, ret) __builtin_mul_overflow((a), (b), (ret))

#define NB_US_PER_S UINT64_C(1000000)
#define NB_US_PER_MS UINT64_C(1000)
