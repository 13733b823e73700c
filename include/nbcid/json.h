/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * json.h - JSON in and out, with limits on everything
 *
 * Reading is by events (nothing is kept) or into a small read-only tree.  Both
 * are over yajl's event parser; limits are counted in our callbacks.  JSON is
 * RFC 8259 to the letter: comments, NaN, text after the value, a byte order
 * mark, overlong UTF-8 and lone surrogates (\ud800 without \udc00 to \udfff
 * after it) are refused.  Errors are NB_E_INVALID (not JSON, not UTF-8) or
 * NB_E_LIMIT, begin with "line 3, column 14: " (1-based, columns in bytes) and
 * fill ret_pos.  Any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/buf.h>
#include <nbcid/err.h>

/* A number is never longer than 1000 bytes. */
struct nb_json_limits {
        size_t bytes;   /* of the whole text */
        unsigned depth; /* of arrays and objects; 0 lets none in */
        size_t string;  /* bytes of one string or key, decoded; 0: no limit of its own */
        size_t values;  /* values in all, keys not counted; 0: no limit of its own */
        /* Of text in pieces: of a string that is longer, callbacks may get less from
         * its middle, so that it need not be kept until it ends; 0: all of it. */
        size_t keep;
        bool secret; /* copies of text are wiped before they are freed: it holds a credential */
};

struct nb_json_pos {
        size_t offset, line, column;
};

/* Events.  A callback answers 0, or < 0 to stop with err filled (line and
 * column are put before its text, and its answer is nb_json_parse's).  Strings
 * are decoded UTF-8, may hold NUL bytes and have no NUL after them; a number
 * comes as its text: nb_json_number_int(), nb_json_number_double().  All are
 * borrowed for the length of the callback.  NULL callbacks are skipped.
 * *ret_pos (may be NULL) is, in a callback, the first byte of the value, key
 * or bracket at hand (a callback that fails may move it to the place that it
 * complains of); after a failure, where it was; after success, the end of the
 * value. */
struct nb_json_events {
        int (*null)(void *arg, struct nb_err *err);
        int (*boolean)(void *arg, bool v, struct nb_err *err);
        int (*number)(void *arg, const char *s, size_t n, struct nb_err *err);
        int (*string)(void *arg, const char *s, size_t n, struct nb_err *err);
        int (*map_start)(void *arg, struct nb_err *err);
        int (*map_key)(void *arg, const char *s, size_t n, struct nb_err *err);
        int (*map_end)(void *arg, struct nb_err *err);
        int (*array_start)(void *arg, struct nb_err *err);
        int (*array_end)(void *arg, struct nb_err *err);
        /* Does the text of a string, or of a key, that came now not matter?  Then it may
         * come as it is written, with its escapes.  Who answers is read to faster. */
        bool (*idle)(void *arg, bool key);
};
int nb_json_parse(const char *p, size_t n, const struct nb_json_limits *limits,
                  const struct nb_json_events *ev, void *arg, struct nb_json_pos *ret_pos,
                  struct nb_err *err);

/* The same for text that comes in pieces, cut anywhere; nothing is kept of a
 * piece but the string or number that its end has cut.  Places are counted
 * when they are asked for, so a reader without questions is a fast one. */
struct nb_json_reader;
/* *limits is copied, ev and arg are borrowed until the reader is freed. */
int nb_json_reader_new(const struct nb_json_limits *limits, const struct nb_json_events *ev,
                       void *arg, struct nb_json_reader **ret, struct nb_err *err);
struct nb_json_reader *nb_json_reader_free(struct nb_json_reader *r); /* NULL is fine */
NB_DEFINE_FREEP(struct nb_json_reader *, nb_json_reader_free);
/* Answers of callbacks and errors as above; after one, only mark and free. */
int nb_json_reader_feed(struct nb_json_reader *r, const char *p, size_t n, struct nb_err *err);
/* The same for the last piece, or the whole: only end comes after it. */
int nb_json_reader_feed_last(struct nb_json_reader *r, const char *p, size_t n, struct nb_err *err);
int nb_json_reader_end(struct nb_json_reader *r, struct nb_err *err);
/* In a callback: where the value, key or bracket at hand begins.  After a
 * failure: where it was; after success: the end of the value.  Its line may be
 * 0, until nb_json_reader_locate() fills line and column: in a callback or after
 * feed, before the next feed. */
struct nb_json_pos nb_json_reader_mark(const struct nb_json_reader *r);
void nb_json_reader_locate(struct nb_json_reader *r, struct nb_json_pos *mark);

/* Past what nobody asked for, ten times as fast: behind the white space at i,
 * or behind the value that begins there (white space before it is fine) and
 * nests at most depth (<= 64) deep.  0: that is no value; nb_json_parse() says
 * why.  Both agree on everything but UTF-8, which is nb_utf8_valid()'s here. */
size_t nb_json_space(const char *p, size_t n, size_t i);
size_t nb_json_skip(const char *p, size_t n, size_t i, unsigned depth);

/* The text of a JSON number as a whole number: 12, 1e3 and 1.0 are, 1.5 and
 * 1e-3 are not; false when it has a fraction or is out of range. */
bool nb_json_number_int(const char *s, size_t n, int64_t *ret);
/* The nearest double; false when it is out of range. */
bool nb_json_number_double(const char *s, size_t n, double *ret);

/* Tree.  Duplicate keys are NB_E_INVALID (an attacker's way to make two
 * readers disagree).  Strings may hold NUL only as \u0000, which is refused:
 * every text in the tree is a C string. */
enum nb_json_type {
        NB_JSON_NULL,
        NB_JSON_BOOL,
        NB_JSON_NUMBER,
        NB_JSON_STRING,
        NB_JSON_ARRAY,
        NB_JSON_OBJECT,
        NB_JSON_TYPE__COUNT,
};
struct nb_json; /* one value; borrowed from its tree */
struct nb_json_tree;

/* Owned by the caller; does not borrow the text.  Memory is one to four
 * times the text, and at most ten for text like [[1],[1],[1]].  Text of 512 MiB
 * and more is NB_E_LIMIT.  ret_pos may be NULL; it is filled as above. */
int nb_json_read(const char *p, size_t n, const struct nb_json_limits *limits,
                 struct nb_json_tree **ret, struct nb_json_pos *ret_pos, struct nb_err *err);
struct nb_json_tree *nb_json_free(struct nb_json_tree *t); /* NULL is fine; answers NULL */
NB_DEFINE_FREEP(struct nb_json_tree *, nb_json_free);

const struct nb_json *nb_json_root(const struct nb_json_tree *t);
enum nb_json_type nb_json_type(const struct nb_json *v);
const char *nb_json_type_name(enum nb_json_type t); /* "object" */
/* Where the value stands in the text: offset, line, column of its first byte. */
struct nb_json_pos nb_json_where(const struct nb_json *v);
/* nb_json_root() is never NULL.  Of NULL, the type is NB_JSON_NULL and the
 * place the beginning of the text, so that a missing member needs no case of
 * its own. */

/* All of these take NULL and a value of another type, and answer NULL, false
 * or 0 then.  What they answer is borrowed from the tree. */
/* Compares with the keys one after the other. */
const struct nb_json *nb_json_get(const struct nb_json *object, const char *key);
/* Path of keys: nb_json_at(v, "repository", "full_name", NULL). */
const struct nb_json *nb_json_at(const struct nb_json *v, ...) __attribute__((sentinel));
size_t nb_json_size(const struct nb_json *v); /* of an array or object */
const struct nb_json *nb_json_index(const struct nb_json *array, size_t i);
/* Member i of an object; *ret_key gets its key. */
const struct nb_json *nb_json_member(const struct nb_json *object, size_t i, const char **ret_key);
const char *nb_json_str(const struct nb_json *v, size_t *ret_n); /* ret_n may be NULL */
bool nb_json_int(const struct nb_json *v, int64_t *ret);         /* a whole number in range */
bool nb_json_double(const struct nb_json *v, double *ret);
bool nb_json_bool(const struct nb_json *v, bool *ret);

/* Writing, appended to a buffer.  Commas are placed by themselves; each byte
 * that is not UTF-8 becomes U+FFFD; misuse (a value where a key belongs, a
 * second value at the top, over 63 levels open) asserts.  When the buffer
 * fails, what it holds is no JSON: check buf->failed once at the end. */
struct nb_json_out {
        struct nb_buf *buf;
        uint64_t nonempty, object; /* one bit per level */
        unsigned depth;
        bool after_key;
};
#define NB_JSON_OUT(buf_) ((struct nb_json_out){.buf = (buf_)})
void nb_json_open_object(struct nb_json_out *o);
void nb_json_open_array(struct nb_json_out *o);
void nb_json_close(struct nb_json_out *o);
void nb_json_key(struct nb_json_out *o, const char *key);
void nb_json_put_str(struct nb_json_out *o, const char *s); /* NULL writes null */
void nb_json_put_int(struct nb_json_out *o, int64_t v);
void nb_json_put_double(struct nb_json_out *o, double v); /* not finite writes null */
/* The same, and never a whole number to whoever tells 2.0 from 2. */
void nb_json_put_fraction(struct nb_json_out *o, double v);
void nb_json_put_bool(struct nb_json_out *o, bool v);
void nb_json_put_null(struct nb_json_out *o);
/* JSON text of ours as it is (a stored document). */
void nb_json_put_raw(struct nb_json_out *o, const char *json);
/* A value of a tree, of any depth: same values, numbers as they were written,
 * no white space.  NULL writes null. */
void nb_json_put_value(struct nb_json_out *o, const struct nb_json *v);
/* Both are texts of objects: append one with the members of both.  A name that
 * is in both has the second's value at the first's place.  NB_E_INVALID when
 * one is none, NB_E_LIMIT when ret is full.  Not to be called with ret's own
 * bytes. */
int nb_json_merge(const char *first, const char *second, struct nb_buf *ret, struct nb_err *err);
/* key + value in one. */
void nb_json_kv_str(struct nb_json_out *o, const char *key, const char *s);
void nb_json_kv_int(struct nb_json_out *o, const char *key, int64_t v);
void nb_json_kv_bool(struct nb_json_out *o, const char *key, bool v);
