/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* str.h - text: views, UTF-8, globs, lists.  Pure; any thread. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/mem.h>

bool nb_streq(const char *a, const char *b); /* NULL equals NULL only */
bool nb_starts_with(const char *s, const char *prefix);
bool nb_ends_with(const char *s, const char *suffix);
bool nb_ends_with_nocase(const char *s, const char *suffix); /* ASCII case */

/* Owned copies; NULL when memory is out or s is NULL. */
char *nb_strdup(const char *s);
char *nb_strndup(const char *s, size_t n);
char *nb_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Write into a fixed array; answers true when all of it fitted.  A cut never
 * splits a UTF-8 character. */
bool nb_fmt(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Is it well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms)?
 * ret_bad (may be NULL) gets the offset of the first bad byte. */
bool nb_utf8_valid(const char *s, size_t n, size_t *ret_bad);
/* Owned copy with each bad byte as U+FFFD; control characters other than \n
 * and \t become spaces when one_line is false, all of them when true.  NUL and
 * C1 (U+0080 to U+009F) are control characters.  NULL when memory is out. */
char *nb_utf8_clean(const char *s, size_t n, bool one_line);
/* Length in bytes of the longest prefix with at most max_chars code points. */
size_t nb_utf8_prefix(const char *s, size_t max_chars);
/* Owned copy cut to max_chars code points, the last being "…" when cut. */
char *nb_utf8_cut(const char *s, size_t max_chars);

/* gitignore-like glob of a whole path: * and ? do not match '/', ** matches
 * any number of directories ("**" + "/x", "x/" + "**", "a/" + "**" + "/b"),
 * [a-z] and [!a-z] classes, backslash quotes.  Case-sensitive.  Runs in
 * O(pattern * path) for any input, without memory.
 * A leading dot is nothing special; "x/" + "**" does not match "x" itself; ** is
 * two plain stars when it is not alone between slashes; ? and a class match
 * one UTF-8 character, or one byte that is none.  A pattern that is not valid
 * matches nothing. */
bool nb_glob_match(const char *pattern, const char *path);
/* Does the pattern parse (classes closed before the next '/', no backslash at
 * the end of a component, no [:name:])? */
bool nb_glob_valid(const char *pattern);

/* A NULL-terminated list of owned strings.  nb_strv_add answers 0 or -1. */
struct nb_strv {
        char **v; /* NULL when empty */
        size_t n, cap;
};
int nb_strv_add(struct nb_strv *l, const char *s);
int nb_strv_add_take(struct nb_strv *l, char *s); /* frees s on failure; NULL s fails */
void nb_strv_done(struct nb_strv *l);
bool nb_strv_has(const struct nb_strv *l, const char *s);

/* Lower-case hex of n bytes into buf (2 n + 1 bytes). */
void nb_hex(char *buf, const uint8_t *p, size_t n);
/* Inverse; accepts both cases; false unless exactly 2 n hex digits (out may be
 * partly written then). */
bool nb_unhex(const char *s, size_t len, uint8_t *out, size_t n);

/* Percent-encode all but RFC 3986 unreserved characters (and '/' when
 * keep_slash); owned, NULL when memory is out. */
char *nb_url_encode(const char *s, bool keep_slash);
/* Decode a form value (+ is space, %XX) of n bytes; owned, NUL-terminated,
 * *ret_n (may be NULL) its length; NULL when a %XX is malformed or memory is out. */
char *nb_url_decode(const char *s, size_t n, size_t *ret_n);
