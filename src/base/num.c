/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/num.h>

#include <inttypes.h>
#include <string.h>

#include <nbcid/mem.h>
#include <nbcid/str.h>

/* Enough of a value to find it again in a file. */
#define SHOWN 40

/* The digits at *s; false when there are none or the number is too large. */
static bool take_digits(const char **s, uint64_t *ret)
{
        const char *p = *s;
        uint64_t v = 0;

        for (; *p >= '0' && *p <= '9'; p++)
                if (nb_mul_overflow(v, 10, &v) || nb_add_overflow(v, (uint64_t)(*p - '0'), &v))
                        return false;
        if (p == *s)
                return false;
        *s = p;
        *ret = v;
        return true;
}

static int shown(const char *s)
{
        return (int)nb_utf8_prefix(s, SHOWN);
}

int nb_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret, struct nb_err *err)
{
        const char *p = s ? s : "";
        uint64_t v;

        if (!take_digits(&p, &v) || *p || v < min || v > max)
                return nb_fail(err, NB_E_INVALID,
                               "\"%.*s\" is not a whole number from %" PRIu64 " to %" PRIu64,
                               s ? shown(s) : 0, s ? s : "", min, max);
        *ret = v;
        return 0;
}

int nb_parse_i64(const char *s, int64_t min, int64_t max, int64_t *ret, struct nb_err *err)
{
        const char *p = s ? s : "";
        bool negative = *p == '-';
        uint64_t v;
        int64_t out;

        if (negative)
                p++;
        if (!take_digits(&p, &v) || *p || v > (uint64_t)INT64_MAX + negative)
                goto refuse;
        /* 0 - v in unsigned arithmetic, because -INT64_MIN does not exist */
        out = (int64_t)(negative ? 0 - v : v);
        if (out < min || out > max)
                goto refuse;
        *ret = out;
        return 0;
refuse:
        return nb_fail(err, NB_E_INVALID,
                       "\"%.*s\" is not a whole number from %" PRId64 " to %" PRId64,
                       s ? shown(s) : 0, s ? s : "", min, max);
}

struct unit {
        const char *name;
        uint64_t factor;
};

int nb_parse_size(const char *s, uint64_t *ret, struct nb_err *err)
{
        static const struct unit units[] = {
                {"B", 1},
                {"KiB", UINT64_C(1) << 10},
                {"MiB", UINT64_C(1) << 20},
                {"GiB", UINT64_C(1) << 30},
                {"TiB", UINT64_C(1) << 40},
        };
        const char *p = s ? s : "";
        uint64_t v;

        if (take_digits(&p, &v))
                for (size_t i = 0; i < NB_ARRAY_SIZE(units); i++)
                        if (nb_streq(p, units[i].name) &&
                            !nb_mul_overflow(v, units[i].factor, &v)) {
                                *ret = v;
                                return 0;
                        }
        return nb_fail(err, NB_E_INVALID,
                       "\"%.*s\" is not a size; write 25MiB, 4GiB, 512KiB or 100B: a whole number "
                       "below 16 EiB and its unit (B, KiB, MiB, GiB, TiB) without a space",
                       s ? shown(s) : 0, s ? s : "");
}

/* One number and unit at *s, where the unit is finer than units[*at - 1]. */
static bool take_span(const char **s, const struct unit *units, size_t n, size_t *at,
                      uint64_t *total)
{
        uint64_t v;
        size_t len;

        if (!take_digits(s, &v))
                return false;
        len = strspn(*s, "dhms");
        for (size_t i = *at; i < n; i++) {
                if (strlen(units[i].name) != len || strncmp(*s, units[i].name, len) != 0)
                        continue;
                if (nb_mul_overflow(v, units[i].factor, &v) || nb_add_overflow(*total, v, total))
                        return false;
                *s += len;
                *at = i + 1;
                return true;
        }
        return false;
}

int nb_parse_duration(const char *s, uint64_t *ret_us, struct nb_err *err)
{
        static const struct unit units[] = {
                {"d", 86400 * NB_US_PER_S}, {"h", 3600 * NB_US_PER_S}, {"m", 60 * NB_US_PER_S},
                {"s", NB_US_PER_S},         {"ms", NB_US_PER_MS},
        };
        const char *p = s ? s : "";
        uint64_t total = 0;
        size_t at = 0;

        do {
                if (!take_span(&p, units, NB_ARRAY_SIZE(units), &at, &total))
                        return nb_fail(err, NB_E_INVALID,
                                       "\"%.*s\" is not a duration; write 90d, 2h, 30m, 15s or "
                                       "250ms, or several in falling order as in 1h30m",
                                       s ? shown(s) : 0, s ? s : "");
        } while (*p);
        *ret_us = total;
        return 0;
}
