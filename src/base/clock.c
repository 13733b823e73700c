/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/clock.h>

#include <time.h>

static int64_t real_now_ms(void *arg)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_REALTIME, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t real_mono_us(void *arg)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

const struct nb_clock nb_clock_real = {.now_ms = real_now_ms, .mono_us = real_mono_us};

static char *digits(char *p, int64_t v, int n)
{
        for (int i = n - 1; i >= 0; i--, v /= 10)
                p[i] = (char)('0' + v % 10);
        return p + n;
}

/* Own arithmetic, because gmtime_r() works on time_t and takes a lock in some
 * C libraries; this is called for every log line. */
void nb_rfc3339(int64_t ms, char buf[NB_RFC3339_SIZE])
{
        /* 0000-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z: RFC 3339
         * section 5.6 has four digits for the year and no sign. */
        const int64_t first = INT64_C(-62167219200000), last = INT64_C(253402300799999);
        const int64_t ms_per_day = 86400000;
        int64_t since, day, era, of_era, of_400, year, of_year, month, in_day;
        char *p = buf;

        ms = ms < first ? first : ms > last ? last : ms;
        since = ms - first;
        in_day = since % ms_per_day;
        /* Years are counted from the first of March, so that the leap day is
         * the last of its year; 0000-03-01 is day 60 of the year 0000.  One
         * era of 400 years more keeps the division positive. */
        day = since / ms_per_day - 60 + 146097;
        era = day / 146097;
        of_400 = day % 146097;
        of_era = (of_400 - of_400 / 1460 + of_400 / 36524 - of_400 / 146096) / 365;
        of_year = of_400 - (365 * of_era + of_era / 4 - of_era / 100);
        month = (5 * of_year + 2) / 153; /* 0 is March */
        year = (era - 1) * 400 + of_era + (month >= 10);

        p = digits(p, year, 4);
        *p++ = '-';
        p = digits(p, month < 10 ? month + 3 : month - 9, 2);
        *p++ = '-';
        p = digits(p, of_year - (153 * month + 2) / 5 + 1, 2);
        *p++ = 'T';
        p = digits(p, in_day / 3600000, 2);
        *p++ = ':';
        p = digits(p, in_day / 60000 % 60, 2);
        *p++ = ':';
        p = digits(p, in_day / 1000 % 60, 2);
        *p++ = '.';
        p = digits(p, in_day % 1000, 3);
        *p++ = 'Z';
        *p = '\0';
}
