/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The reader over yajl 2's event parser, and what yajl leaves to its callers:
 * limits, positions, RFC 8259 where yajl is lenient (overlong UTF-8, lone
 * surrogates, \v and \f as white space, an unclosed string after the value),
 * and errors of one line.
 * Text comes in pieces; a whole text is one piece.
 */

#include "json-reader.h"

#include <malloc.h>
#include <string.h>

#include <nbcid/crypto.h>
#include <nbcid/mem.h>
#include <nbcid/str.h>

static int fail_at(struct nb_json_reader *r, size_t offset, int ret)
{
        return json_fail_here(r, json_pos_of(r, offset), ret);
}

static bool is_space(char c)
{
        return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static size_t skip_space(const struct nb_json_reader *r, size_t i)
{
        while (i < r->n && is_space(r->p[i]))
                i++;
        return i;
}

/* --- errors ------------------------------------------------------------- */

/* What stands at s, for an error text: the word, or else the character. */
static void excerpt(const char *s, size_t max, bool word, char *buf, size_t size)
{
        unsigned char c = (unsigned char)s[0];
        size_t n = 0;

        if (c < 0x20 || c == 0x7f) {
                nb_fmt(buf, size, "byte 0x%02x", c);
                return;
        }
        while (word && n < max && n < 32 && ((s[n] | 0x20) >= 'a' && (s[n] | 0x20) <= 'z'))
                n++;
        if (n == 0)
                do
                        n++;
                while (n < max && ((unsigned char)s[n] & 0xc0) == 0x80);
        nb_fmt(buf, size, "'%.*s'", (int)n, s);
}

/* Append to the text of the token that an earlier piece began. */
static void open_append(struct nb_json_reader *r)
{
        size_t n = sizeof(r->open_text) - r->open_n;

        n = n < r->n ? n : r->n;
        memcpy(r->open_text + r->open_n, r->p, n);
        r->open_n += n;
}

/* Where in the piece the token begins that follows the last one. */
static size_t skip_gap(struct nb_json_reader *r)
{
        size_t i = skip_space(r, r->end - r->base);

        if (i < r->n && ((r->after == AFTER_KEY && r->p[i] == ':') ||
                         (r->after == AFTER_VALUE && r->p[i] == ',' && r->depth > 0))) {
                r->after = AFTER_MARK;
                i = skip_space(r, i + 1);
        }
        return i;
}

/* yajl refused a token of this piece, or one that ends in it; its words, our
 * place. */
static int fail_grammar(struct nb_json_reader *r)
{
        unsigned char *own = yajl_get_error(r->yajl, 0, NULL, 0);
        const char *text = own ? (const char *)own : "";
        const char *what = strstr(text, "error: ");
        size_t consumed = r->quick + yajl_get_bytes_consumed(r->yajl);
        size_t i = r->open ? 0 : skip_gap(r), max = r->n - i;
        const char *s = r->p + i;
        struct nb_json_pos at;
        bool word = true;
        char shown[64];
        int ret;

        if (r->open) {
                open_append(r);
                s = r->open_text;
                max = r->open_n;
        }
        at = r->open ? r->open_at : json_pos_of(r, r->base + i);
        /* Inside strings and numbers, yajl knows the very byte. */
        if (max > 0 && strstr(text, "lexical") && (r->open || i < consumed) && consumed < r->n &&
            memchr("\"-0123456789", *s, 12)) {
                s = r->p + consumed;
                max = r->n - consumed;
                at = json_pos_of(r, r->base + consumed);
                word = false;
        }
        what = what ? what + strlen("error: ") : "this is not JSON";
        if (max == 0)
                ret = nb_fail(r->err, NB_E_INVALID, "%.*s", (int)strcspn(what, ".\n"), what);
        else if (at.offset == 0 && max >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0)
                ret = nb_fail(r->err, NB_E_INVALID, "the text begins with a byte order mark");
        else {
                excerpt(s, max, word, shown, sizeof(shown));
                ret = nb_fail(r->err, NB_E_INVALID, "%.*s, at %s", (int)strcspn(what, ".\n"), what,
                              shown);
        }
        if (own)
                yajl_free_error(r->yajl, own);
        return json_fail_here(r, at, ret);
}

/* The text ended in a token, or before one. */
static int fail_early_end(struct nb_json_reader *r)
{
        if (r->open && r->open_text[0] == '"')
                return json_fail_here(r, r->open_at,
                                      nb_fail(r->err, NB_E_INVALID, "this string has no end"));
        if (!r->open && r->after == AFTER_NOTHING)
                return fail_at(r, r->base + r->n,
                               nb_fail(r->err, NB_E_INVALID, "the text is empty"));
        return fail_at(r, r->base + r->n,
                       nb_fail(r->err, NB_E_INVALID,
                               r->depth > 0 ? "the text ends inside an array or object"
                                            : "the text ends inside a value"));
}

/* --- pieces ------------------------------------------------------------- */

/* What the piece ends in: white space, or a token that the next one ends. */
static void note_open(struct nb_json_reader *r)
{
        size_t i;

        if (r->open) {
                open_append(r);
                return;
        }
        if (r->after == AFTER_VALUE && r->depth == 0) {
                if (!r->done) /* nobody reads on from there: the line may stay open */
                        r->at = r->last && !r->pos ? (struct nb_json_pos){.offset = r->end}
                                                   : json_pos_of(r, r->end);
                r->done = true;
                return;
        }
        i = skip_gap(r);
        if (i == r->n) {
                r->end = r->base + i;
                return;
        }
        r->open = true;
        r->open_at = json_pos_of(r, r->base + i);
        r->open_n = r->n - i < sizeof(r->open_text) ? r->n - i : sizeof(r->open_text);
        memcpy(r->open_text, r->p + i, r->open_n);
}

/* The bytes of the piece at hand are gone from here on. */
static void leave_piece(struct nb_json_reader *r)
{
        struct nb_json_pos end;

        if (r->last && r->done)
                return;
        end = json_pos_of(r, r->base + r->n);
        r->next_line = end.line;
        r->next_bol = r->bol;
}

static void next_piece(struct nb_json_reader *r, const char *p, size_t n)
{
        r->base += r->n;
        r->p = p;
        r->n = n;
        r->quick = 0;
        r->seen = r->base;
        r->line = r->first_line = r->next_line;
        r->bol = r->first_bol = r->next_bol;
}

/* Give yajl the rest of the piece, which json_scan() has been over. */
static int take_rest(struct nb_json_reader *r)
{
        const char *p = r->p;
        const size_t n = r->n;
        yajl_status status = yajl_parse(r->yajl, (const unsigned char *)p + r->quick, n - r->quick);

        if (r->failed)
                return r->failed;
        if (r->after == AFTER_VALUE && r->depth == 0 && !r->open) {
                size_t i = skip_space(r, r->end > r->base ? r->end - r->base : 0);

                if (i < n)
                        return fail_at(r, r->base + i,
                                       nb_fail(r->err, NB_E_INVALID,
                                               "there is more text after the end of the value"));
        } else if (status != yajl_status_ok) {
                return fail_grammar(r);
        }
        note_open(r);
        leave_piece(r);
        return 0;
}

static int take_piece(struct nb_json_reader *r, const char *p, size_t n)
{
        next_piece(r, p, n);
        return take_rest(r);
}

/* The byte after the piece can be no part of JSON. */
static int fail_bad(struct nb_json_reader *r, unsigned char c, const char *what)
{
        bool space = c == '\v' || c == '\f';
        size_t offset = r->base + r->n;

        if (space && r->open && r->open_text[0] == '"')
                return fail_at(r, offset,
                               nb_fail(r->err, NB_E_INVALID,
                                       "invalid character inside string, at byte 0x%02x", c));
        if (space && r->depth == 0 && (r->open || r->after == AFTER_VALUE))
                what = "there is more text after the end of the value";
        return fail_at(r, offset, nb_fail(r->err, NB_E_INVALID, "%s", what));
}

/* Leave out the middle of a long string, which yajl would keep until its end;
 * answers how many bytes of the n. */
static size_t skip_middle(struct nb_json_reader *r, const char *p, size_t n)
{
        size_t at = r->base + r->n;

        if (!r->limits.keep || !r->open || r->open_text[0] != '"' ||
            at - r->open_at.offset <= r->limits.keep)
                return 0;
        n = json_string_run(p, n);
        if (n > 0) {
                next_piece(r, p, n);
                leave_piece(r);
        }
        return n;
}

/* What needs no yajl; r->quick is how much.  If anything, the piece has begun. */
static int take_quick(struct nb_json_reader *r, const char *p, size_t n)
{
        int ret;

        next_piece(r, p, n);
        ret = json_quick(r, n);
        if (ret == 0 && r->quick == 0)
                r->n = 0;
        return ret;
}

/* Scan and take what can be taken; what the end cuts off waits in the tail. */
static int take_text(struct nb_json_reader *r, const char *p, size_t n, bool last)
{
        const char *what = NULL;
        enum json_scan stop;
        size_t i = 0, skipped = 0;
        int ret = 0;

        if (r->ev->idle && r->base + r->n == 0) {
                ret = take_quick(r, p, n);
                if (ret < 0)
                        return ret;
                skipped = i = r->quick;
        }
        stop = json_scan(p, n, last, &i, &what);
        if (skipped > 0) {
                r->n = i;
                ret = take_rest(r);
        } else {
                skipped = skip_middle(r, p, i);
                if (i > skipped)
                        ret = take_piece(r, p + skipped, i - skipped);
        }
        if (i == 0) /* nothing of it, but the one before is gone */
                next_piece(r, p, 0);
        if (ret < 0 || stop == JSON_SCAN_END)
                return ret;
        if (stop == JSON_SCAN_BAD)
                return fail_bad(r, (unsigned char)p[i], what);
        nb_assert(n - i < sizeof(r->tail));
        memcpy(r->tail, p + i, n - i);
        r->tail_n = n - i;
        return 0;
}

/* Complete the sequence in the tail with the first bytes at *p. */
static int take_tail(struct nb_json_reader *r, const char **p, size_t *n)
{
        char both[2 * JSON_SEQUENCE_MAX];
        size_t held = r->tail_n, more = *n < JSON_SEQUENCE_MAX ? *n : JSON_SEQUENCE_MAX;
        const char *what = NULL;
        size_t i = 0, end;
        enum json_scan stop = JSON_SCAN_CUT;

        if (held == 0 || *n == 0)
                return 0;
        memcpy(both, r->tail, held);
        memcpy(both + held, *p, more);
        for (end = held + 1; end <= held + more && i == 0 && stop == JSON_SCAN_CUT; end++)
                stop = json_scan(both, end, false, &i, &what);
        if (i == 0 && stop == JSON_SCAN_BAD) {
                next_piece(r, "", 0);
                return fail_bad(r, (unsigned char)both[0], what);
        }
        /* Now yajl may have it; what else was looked at comes again. */
        nb_assert(i == 0 || (i >= held && i <= sizeof(r->tail)));
        r->tail_n = i > 0 ? 0 : held + more;
        nb_assert(r->tail_n < sizeof(r->tail));
        memcpy(r->tail, both, i > 0 ? i : r->tail_n);
        *p += i > 0 ? i - held : more;
        *n -= i > 0 ? i - held : more;
        return i > 0 ? take_piece(r, r->tail, i) : 0;
}

static int feed(struct nb_json_reader *r, const char *p, size_t n, bool last)
{
        size_t had = r->base + r->n + r->tail_n;
        int ret;

        r->last = last;
        if (n > r->limits.bytes - had) {
                next_piece(r, r->tail, r->tail_n);
                leave_piece(r);
                next_piece(r, p, r->limits.bytes - had);
                r->failed = fail_at(
                        r, r->limits.bytes,
                        nb_fail(r->err, NB_E_LIMIT, "the text is over %zu bytes", r->limits.bytes));
                return r->failed;
        }
        ret = take_tail(r, &p, &n);
        if (ret == 0 && n > 0)
                ret = take_text(r, p, n, last);
        if (ret < 0)
                r->failed = ret;
        return ret;
}

static int finish(struct nb_json_reader *r)
{
        size_t n = r->tail_n;
        int ret = 0;

        r->tail_n = 0;
        if (n > 0) /* the last text leaves no tail of its own */
                ret = take_text(r, r->tail, n, true);
        if (ret < 0)
                return ret;
        next_piece(r, "", 0);
        if (yajl_complete_parse(r->yajl) != yajl_status_ok)
                return r->failed ? r->failed : fail_early_end(r);
        if (!r->done)
                r->at = json_pos_of(r, r->base);
        r->done = true;
        if (r->pos)
                *r->pos = r->at;
        return 0;
}

/* --- the whole ---------------------------------------------------------- */

/* yajl decodes strings into memory of its own.  Of a secret's text none of it
 * goes back to the heap as it is. */
static void *alloc_some(void *ctx, size_t n)
{
        return malloc(n);
}

void json_free_text(void *p, bool secret)
{
        if (secret)
                nb_wipe(p, malloc_usable_size(p));
        free(p);
}

static void free_wiped(void *ctx, void *p)
{
        json_free_text(p, true);
}

static void *realloc_wiped(void *ctx, void *p, size_t n)
{
        size_t old = malloc_usable_size(p);
        void *more = malloc(n);

        if (more && p)
                memcpy(more, p, old < n ? old : n);
        if (more)
                free_wiped(ctx, p);
        return more;
}

static yajl_alloc_funcs wiping = {
        .malloc = alloc_some, .realloc = realloc_wiped, .free = free_wiped};

static int reader_init(struct nb_json_reader *r, const struct nb_json_limits *limits,
                       const struct nb_json_events *ev, void *arg, struct nb_err *err)
{
        *r = (struct nb_json_reader){.limits = *limits,
                                     .ev = ev,
                                     .arg = arg,
                                     .p = "",
                                     .line = 1,
                                     .first_line = 1,
                                     .next_line = 1};
        r->yajl = yajl_alloc(&json_callbacks, limits->secret ? &wiping : NULL, r);
        if (!r->yajl)
                return nb_fail(err, NB_E_NOMEM, "no memory to read JSON");
        /* json_scan() checks UTF-8 more strictly. */
        yajl_config(r->yajl, yajl_dont_validate_strings, 1);
        return 0;
}

int nb_json_reader_new(const struct nb_json_limits *limits, const struct nb_json_events *ev,
                       void *arg, struct nb_json_reader **ret, struct nb_err *err)
{
        struct nb_json_reader *r = malloc(sizeof(*r));
        int e = r ? reader_init(r, limits, ev, arg, err)
                  : nb_fail(err, NB_E_NOMEM, "no memory to read JSON");

        if (e < 0) {
                free(r);
                return e;
        }
        *ret = r;
        return 0;
}

struct nb_json_reader *nb_json_reader_free(struct nb_json_reader *r)
{
        if (r)
                yajl_free(r->yajl);
        free(r);
        return NULL;
}

int nb_json_reader_feed(struct nb_json_reader *r, const char *p, size_t n, struct nb_err *err)
{
        nb_assert(!r->failed);
        r->err = err;
        return feed(r, p, n, false);
}

int nb_json_reader_feed_last(struct nb_json_reader *r, const char *p, size_t n, struct nb_err *err)
{
        nb_assert(!r->failed);
        r->err = err;
        return feed(r, p, n, true);
}

int nb_json_reader_end(struct nb_json_reader *r, struct nb_err *err)
{
        nb_assert(!r->failed);
        r->err = err;
        r->failed = finish(r);
        return r->failed;
}

struct nb_json_pos nb_json_reader_mark(const struct nb_json_reader *r)
{
        struct nb_json_pos mark = {0};

        if (r->failed || r->done)
                return r->at;
        return json_token_offset(r, &mark.offset) ? mark : r->open_at;
}

void nb_json_reader_locate(struct nb_json_reader *r, struct nb_json_pos *mark)
{
        if (mark->line > 0)
                return;
        nb_assert(mark->offset >= r->base && mark->offset <= r->base + r->n);
        *mark = json_pos_of(r, mark->offset);
}

int nb_json_parse(const char *p, size_t n, const struct nb_json_limits *limits,
                  const struct nb_json_events *ev, void *arg, struct nb_json_pos *ret_pos,
                  struct nb_err *err)
{
        struct nb_json_reader r;
        int ret = reader_init(&r, limits, ev, arg, err);

        if (ret < 0)
                return ret;
        r.err = err;
        r.pos = ret_pos;
        ret = feed(&r, p, n, true);
        if (ret == 0)
                ret = finish(&r);
        yajl_free(r.yajl);
        return ret;
}
