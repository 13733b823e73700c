/* SPDX-License-Identifier: Apache-2.0 */

/* What the text of a JSON number is worth. */

#include "json-private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Decimal digits of a number, without the zeros at its ends: value is
 * digits * 10^exponent. */
struct decimal {
        bool negative;
        uint64_t digits;
        long exponent;
};

/* The exponent's text; held within what no mantissa of ours can undo. */
static bool parse_exponent(const char *s, const char *end, long *ret)
{
        bool negative = s < end && *s == '-';
        long v = 0;

        if (s < end && (*s == '-' || *s == '+'))
                s++;
        if (s == end)
                return false;
        for (; s < end; s++) {
                if (*s < '0' || *s > '9')
                        return false;
                if (v < 1000000000)
                        v = v * 10 + *s - '0';
        }
        *ret = negative ? -v : v;
        return true;
}

/* False when the text is no number or has more digits than 64 bits hold. */
static bool parse_decimal(const char *s, const char *end, struct decimal *ret)
{
        struct decimal d = {.negative = s < end && *s == '-'};
        long zeros = 0, exponent = 0;
        bool point = false;

        s += d.negative;
        if (s == end || *s < '0' || *s > '9')
                return false;
        for (; s < end && *s != 'e' && *s != 'E'; s++) {
                if (*s == '.' && !point) {
                        point = true;
                        continue;
                }
                if (*s < '0' || *s > '9')
                        return false;
                if (point)
                        d.exponent--;
                zeros++;
                if (*s == '0')
                        continue;
                /* The zeros wait until a digit follows that needs them. */
                for (; zeros > 0 && d.digits > 0; zeros--)
                        if (__builtin_mul_overflow(d.digits, 10, &d.digits))
                                return false;
                zeros = 0;
                if (__builtin_add_overflow(d.digits, (uint64_t)(*s - '0'), &d.digits))
                        return false;
        }
        if (s < end && !parse_exponent(s + 1, end, &exponent))
                return false;
        d.exponent += zeros + exponent;
        *ret = d;
        return true;
}

bool nb_json_number_int(const char *s, size_t n, int64_t *ret)
{
        struct decimal d;
        uint64_t max;

        if (n == 0 || n > JSON_NUMBER_MAX || !parse_decimal(s, s + n, &d))
                return false;
        if (d.digits == 0)
                d.exponent = 0;
        if (d.exponent < 0)
                return false;
        max = (uint64_t)INT64_MAX + d.negative;
        for (; d.exponent > 0; d.exponent--)
                if (__builtin_mul_overflow(d.digits, 10, &d.digits))
                        return false;
        if (d.digits > max)
                return false;
        *ret = d.negative ? (int64_t)(0 - d.digits) : (int64_t)d.digits;
        return true;
}

bool nb_json_number_double(const char *s, size_t n, double *ret)
{
        char text[JSON_NUMBER_MAX + 1];
        char *end;
        double v;

        /* strtod alone would take spaces, hexadecimal, inf and nan.  Its
         * decimal point is '.', because nbcid never calls setlocale(). */
        if (n == 0 || n > JSON_NUMBER_MAX || !memchr("-0123456789", s[0], 11))
                return false;
        memcpy(text, s, n);
        text[n] = '\0';
        if (strspn(text, "-+.eE0123456789") != n)
                return false;
        v = strtod(text, &end);
        if (end != text + n || !isfinite(v))
                return false;
        *ret = v;
        return true;
}
