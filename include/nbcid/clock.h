/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * clock.h - what time it is, settable in tests
 *
 * _ms is milliseconds of UTC since 1970, for people and the database; _us is
 * microseconds of CLOCK_MONOTONIC, for waiting.  They never mix.
 */

#include <stdbool.h>
#include <stdint.h>

struct nb_clock {
        int64_t (*now_ms)(void *arg);
        uint64_t (*mono_us)(void *arg);
        void *arg;
};

extern const struct nb_clock nb_clock_real; /* any thread */

static inline int64_t nb_now_ms(const struct nb_clock *c)
{
        return c->now_ms(c->arg);
}
static inline uint64_t nb_mono_us(const struct nb_clock *c)
{
        return c->mono_us(c->arg);
}

/* RFC 3339 UTC with milliseconds: "2026-11-23T20:52:00.123Z" (24 + NUL), in the
 * proleptic Gregorian calendar.  A time outside the years 0000 to 9999, for
 * which RFC 3339 has no spelling, becomes the first or last one inside. */
#define NB_RFC3339_SIZE 32
void nb_rfc3339(int64_t ms, char buf[NB_RFC3339_SIZE]);
