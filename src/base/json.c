/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The reader over yajl 2's event parser, and what yajl leaves to its callers:
 * limits, positions, RFC 8259 where yajl is lenient (overlong UTF-8, lone
 * surrogates, \v and \f as white space, an unclosed string after the value),
 * and errors of one line.
 */

#include <nbcid/json.h>

#include <math.h>

#include <yajl/yajl_parse.h>

#include <nbcid/mem.h>
#include <nbcid/str.h>

/* Bytes of one number; more digits than any reader keeps. */
#define NUMBER_MAX 1000

enum after { AFTER_NOTHING, AFTER_OPEN, AFTER_KEY, AFTER_VALUE };

struct reader {
        const char *p;
        size_t n; /* yajl gets this much: up to the first byte that cannot be JSON */
        const struct nb_json_limits *limits;
        const struct nb_json_events *ev;
        void *arg;
        struct nb_err *err;
        struct nb_json_pos *pos; /* of the token at hand */
        yajl_handle yajl;
        size_t end;    /* where the token before it ended */
        size_t seen;   /* newlines are counted up to here ... */
        size_t line;   /* ... and this is the line there */
        size_t bol;    /* and where that line begins */
        size_t values; /* so far */
        unsigned depth;
        enum after after;
        int failed; /* by us, not by yajl: our answer */
};

/* Offsets only grow, so all calls together read the text once. */
static struct nb_json_pos pos_of(struct reader *r, size_t offset)
{
        for (; r->seen < offset; r->seen++)
                if (r->p[r->seen] == '\n') {
                        r->line++;
                        r->bol = r->seen + 1;
                }
        return (struct nb_json_pos){offset, r->line, offset - r->bol + 1};
}

/* Put the place before the text of the error ret. */
static int fail_here(struct reader *r, int ret)
{
        return nb_wrap(r->err, ret, "line %zu, column %zu", r->pos->line, r->pos->column);
}

static int fail_at(struct reader *r, size_t offset, int ret)
{
        *r->pos = pos_of(r, offset);
        return fail_here(r, ret);
}

static bool is_space(char c)
{
        return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static size_t skip_space(const struct reader *r, size_t i)
{
        while (i < r->n && is_space(r->p[i]))
                i++;
        return i;
}

/* White space to yajl, but not to RFC 8259 (section 2). */
static bool bad_space(const struct reader *r, size_t i)
{
        return i < r->n && (r->p[i] == '\v' || r->p[i] == '\f');
}

static int fail_space(struct reader *r, size_t i)
{
        return fail_at(r, i,
                       nb_fail(r->err, NB_E_INVALID,
                               "vertical tab and form feed are no JSON white space"));
}

/* --- what yajl must not see --------------------------------------------- */

/* The unit of a \uXXXX that stands at i, or -1. */
static int escaped_unit(const char *p, size_t n, size_t i)
{
        int unit = 0;

        if (n < 6 || i > n - 6 || p[i] != '\\' || p[i + 1] != 'u')
                return -1;
        for (size_t k = i + 2; k < i + 6; k++) {
                int c = (unsigned char)p[k], low = c | 0x20;

                if (c >= '0' && c <= '9')
                        unit = unit * 16 + c - '0';
                else if (low >= 'a' && low <= 'f')
                        unit = unit * 16 + low - 'a' + 10;
                else
                        return -1;
        }
        return unit;
}

/* Where the first lone surrogate escape stands, or n.  Looked for before yajl
 * decodes, because yajl 2.1.0 unpatched aborts on some of them.  Backslashes
 * pair up from the left as long as the text is JSON; where it is not, yajl
 * stops earlier than whatever is found here. */
static size_t find_lone_surrogate(const char *p, size_t n)
{
        size_t i = 0;
        const char *at;

        while (i < n && (at = memchr(p + i, '\\', n - i))) {
                i = (size_t)(at - p);
                int unit = escaped_unit(p, n, i);

                if (unit < 0)
                        i += 2;
                else if ((unit & 0xf800) != 0xd800)
                        i += 6;
                else if ((unit & 0xfc00) == 0xd800 &&
                         (escaped_unit(p, n, i + 6) & ~0x3ff) == 0xdc00)
                        i += 12;
                else
                        return i;
        }
        return n;
}

/* Shorten r->n to the text before the first byte that no grammar can save;
 * answers what is wrong there, or NULL. */
static const char *find_bad_bytes(struct reader *r)
{
        const char *what = NULL;
        size_t bad;

        if (!nb_utf8_valid(r->p, r->n, &bad)) {
                r->n = bad;
                what = "this is not UTF-8";
        }
        bad = find_lone_surrogate(r->p, r->n);
        if (bad < r->n) {
                r->n = bad;
                what = "this \\u escape is half a surrogate pair";
        }
        return what;
}

/* --- events ------------------------------------------------------------- */

/* Call an event's function, when there is one. */
#define TELL(r, f, ...) ((r)->ev->f ? (r)->ev->f((r)->arg, ##__VA_ARGS__, (r)->err) : 0)

/* Between the tokens that yajl tells us about stand only white space, commas
 * and colons: walking over them finds where the next one begins. */
static bool token_begin(struct reader *r)
{
        size_t i = r->end;

        while (i < r->n && (is_space(r->p[i]) || r->p[i] == ',' || r->p[i] == ':'))
                i++;
        if (bad_space(r, i)) {
                r->failed = fail_space(r, i);
                return false;
        }
        *r->pos = pos_of(r, i);
        return true;
}

static bool token_end(struct reader *r, size_t len, enum after after, int ret)
{
        r->end = r->pos->offset + len;
        r->after = after;
        if (ret < 0)
                r->failed = fail_here(r, ret);
        return ret >= 0;
}

static bool value_begin(struct reader *r)
{
        if (!token_begin(r))
                return false;
        r->values++;
        if (r->limits->values && r->values > r->limits->values) {
                r->failed = fail_here(
                        r, nb_fail(r->err, NB_E_LIMIT, "over %zu values", r->limits->values));
                return false;
        }
        return true;
}

static bool nest_begin(struct reader *r)
{
        if (!value_begin(r))
                return false;
        if (r->depth >= r->limits->depth) {
                r->failed = fail_here(r, nb_fail(r->err, NB_E_LIMIT,
                                                 "arrays and objects nest over %u deep",
                                                 r->limits->depth));
                return false;
        }
        r->depth++;
        return true;
}

static bool length_ok(struct reader *r, const char *what, size_t n, size_t max)
{
        if (max && n > max)
                r->failed = fail_here(
                        r, nb_fail(r->err, NB_E_LIMIT, "%s of over %zu bytes", what, max));
        return !r->failed;
}

static int on_null(void *arg)
{
        struct reader *r = arg;

        return value_begin(r) && token_end(r, 4, AFTER_VALUE, TELL(r, null));
}

static int on_boolean(void *arg, int v)
{
        struct reader *r = arg;

        return value_begin(r) && token_end(r, v ? 4 : 5, AFTER_VALUE, TELL(r, boolean, v != 0));
}

static int on_number(void *arg, const char *s, size_t n)
{
        struct reader *r = arg;

        return value_begin(r) && length_ok(r, "a number", n, NUMBER_MAX) &&
               token_end(r, n, AFTER_VALUE, TELL(r, number, s, n));
}

/* With escapes, only yajl knows how long the string is in the text; what it
 * has consumed ends with the string that it is telling us about. */
static size_t string_len(const struct reader *r)
{
        return yajl_get_bytes_consumed(r->yajl) - r->pos->offset;
}

static int on_string(void *arg, const unsigned char *s, size_t n)
{
        struct reader *r = arg;

        return value_begin(r) && length_ok(r, "a string", n, r->limits->string) &&
               token_end(r, string_len(r), AFTER_VALUE, TELL(r, string, (const char *)s, n));
}

static int on_map_key(void *arg, const unsigned char *s, size_t n)
{
        struct reader *r = arg;

        return token_begin(r) && length_ok(r, "a key", n, r->limits->string) &&
               token_end(r, string_len(r), AFTER_KEY, TELL(r, map_key, (const char *)s, n));
}

static int on_map_start(void *arg)
{
        struct reader *r = arg;

        return nest_begin(r) && token_end(r, 1, AFTER_OPEN, TELL(r, map_start));
}

static int on_map_end(void *arg)
{
        struct reader *r = arg;

        r->depth--;
        return token_begin(r) && token_end(r, 1, AFTER_VALUE, TELL(r, map_end));
}

static int on_array_start(void *arg)
{
        struct reader *r = arg;

        return nest_begin(r) && token_end(r, 1, AFTER_OPEN, TELL(r, array_start));
}

static int on_array_end(void *arg)
{
        struct reader *r = arg;

        r->depth--;
        return token_begin(r) && token_end(r, 1, AFTER_VALUE, TELL(r, array_end));
}

static const yajl_callbacks callbacks = {
        .yajl_null = on_null,
        .yajl_boolean = on_boolean,
        .yajl_number = on_number,
        .yajl_string = on_string,
        .yajl_start_map = on_map_start,
        .yajl_map_key = on_map_key,
        .yajl_end_map = on_map_end,
        .yajl_start_array = on_array_start,
        .yajl_end_array = on_array_end,
};

/* --- errors ------------------------------------------------------------- */

/* What stands at i, for an error text: the word, or else the character. */
static void excerpt(const struct reader *r, size_t i, bool word, char *buf, size_t size)
{
        unsigned char c = (unsigned char)r->p[i];
        size_t n = 0;

        if (c < 0x20 || c == 0x7f) {
                nb_fmt(buf, size, "byte 0x%02x", c);
                return;
        }
        while (word && i + n < r->n && n < 32 &&
               ((r->p[i + n] | 0x20) >= 'a' && (r->p[i + n] | 0x20) <= 'z'))
                n++;
        if (n == 0)
                do
                        n++;
                while (i + n < r->n && ((unsigned char)r->p[i + n] & 0xc0) == 0x80);
        nb_fmt(buf, size, "'%.*s'", (int)n, r->p + i);
}

/* Where the token begins that yajl could not take. */
static size_t find_bad_token(const struct reader *r)
{
        size_t i = skip_space(r, r->end);

        if (i < r->n && ((r->after == AFTER_KEY && r->p[i] == ':') ||
                         (r->after == AFTER_VALUE && r->p[i] == ',')))
                i = skip_space(r, i + 1);
        return i;
}

/* yajl refused the token at i; its words, our place. */
static int fail_grammar(struct reader *r, size_t i)
{
        unsigned char *own = yajl_get_error(r->yajl, 0, NULL, 0);
        const char *text = own ? (const char *)own : "";
        const char *what = strstr(text, "error: ");
        size_t consumed = yajl_get_bytes_consumed(r->yajl);
        bool word = true;
        char at[64];
        int ret;

        /* Inside strings and numbers, yajl knows the very byte. */
        if (strstr(text, "lexical") && i < consumed && memchr("\"-0123456789", r->p[i], 12)) {
                i = consumed;
                word = false;
        }
        what = what ? what + strlen("error: ") : "this is not JSON";
        if (i >= r->n)
                ret = nb_fail(r->err, NB_E_INVALID, "%.*s", (int)strcspn(what, ".\n"), what);
        else if (i == 0 && r->n >= 3 && memcmp(r->p, "\xef\xbb\xbf", 3) == 0)
                ret = nb_fail(r->err, NB_E_INVALID, "the text begins with a byte order mark");
        else {
                excerpt(r, i, word, at, sizeof(at));
                ret = nb_fail(r->err, NB_E_INVALID, "%.*s, at %s", (int)strcspn(what, ".\n"), what,
                              at);
        }
        if (own)
                yajl_free_error(r->yajl, own);
        return fail_at(r, i, ret);
}

/* The text ended in or before the token at i. */
static int fail_early_end(struct reader *r, size_t i)
{
        if (i < r->n && r->p[i] == '"')
                return fail_at(r, i, nb_fail(r->err, NB_E_INVALID, "this string has no end"));
        if (i == r->n && r->after == AFTER_NOTHING)
                return fail_at(r, i, nb_fail(r->err, NB_E_INVALID, "the text is empty"));
        return fail_at(r, r->n,
                       nb_fail(r->err, NB_E_INVALID,
                               r->depth > 0 ? "the text ends inside an array or object"
                                            : "the text ends inside a value"));
}

/* --- the whole ---------------------------------------------------------- */

static int reader_run(struct reader *r)
{
        const char *bad = find_bad_bytes(r);
        yajl_status status = yajl_parse(r->yajl, (const unsigned char *)r->p, r->n);
        bool ended = status == yajl_status_ok && !bad;
        size_t i;

        if (ended)
                status = yajl_complete_parse(r->yajl);
        if (r->failed)
                return r->failed;
        if (r->after == AFTER_VALUE && r->depth == 0) {
                i = skip_space(r, r->end);
                if (i < r->n)
                        return fail_at(r, i,
                                       nb_fail(r->err, NB_E_INVALID,
                                               "there is more text after the end of the value"));
        } else if (status != yajl_status_ok) {
                i = find_bad_token(r);
                if (bad_space(r, i))
                        return fail_space(r, i);
                return ended ? fail_early_end(r, i) : fail_grammar(r, i);
        }
        if (bad)
                return fail_at(r, r->n, nb_fail(r->err, NB_E_INVALID, "%s", bad));
        *r->pos = pos_of(r, r->end);
        return 0;
}

int nb_json_parse(const char *p, size_t n, const struct nb_json_limits *limits,
                  const struct nb_json_events *ev, void *arg, struct nb_json_pos *ret_pos,
                  struct nb_err *err)
{
        struct nb_json_pos own;
        struct reader r = {
                .p = p,
                .n = n,
                .limits = limits,
                .ev = ev,
                .arg = arg,
                .err = err,
                .pos = ret_pos ? ret_pos : &own,
                .line = 1,
        };
        int ret;

        if (n > limits->bytes)
                return fail_at(
                        &r, limits->bytes,
                        nb_fail(err, NB_E_LIMIT, "the text is over %zu bytes", limits->bytes));
        if (n == 0)
                return fail_early_end(&r, 0);
        r.yajl = yajl_alloc(&callbacks, NULL, &r);
        if (!r.yajl)
                return nb_fail(err, NB_E_NOMEM, "no memory to read JSON");
        /* find_bad_bytes() checks UTF-8 more strictly. */
        yajl_config(r.yajl, yajl_dont_validate_strings, 1);
        ret = reader_run(&r);
        yajl_free(r.yajl);
        return ret;
}

/* --- numbers ------------------------------------------------------------ */

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

        if (n == 0 || n > NUMBER_MAX || !parse_decimal(s, s + n, &d))
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
        char text[NUMBER_MAX + 1];
        char *end;
        double v;

        /* strtod alone would take spaces, hexadecimal, inf and nan.  Its
         * decimal point is '.', because nbcid never calls setlocale(). */
        if (n == 0 || n > NUMBER_MAX || !memchr("-0123456789", s[0], 11))
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
