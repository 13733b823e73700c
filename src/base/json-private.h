/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* json-private.h - what JSON's files lend each other, inside the room */

#include <nbcid/json.h>

/* Bytes of one number; more digits than any reader keeps. */
#define JSON_NUMBER_MAX 1000

/* Before a value that is written by hand: its comma, and the checks. */
void json_out_value(struct nb_json_out *o);
/* s in quotes, escaped; no comma. */
void json_out_text(struct nb_buf *b, const char *s);

/* Bytes that one special sequence has at most: two \uXXXX. */
#define JSON_SEQUENCE_MAX 12

/* What json_scan() stopped at. */
enum json_scan { JSON_SCAN_END, JSON_SCAN_CUT, JSON_SCAN_BAD };
/* Look through p[i..n) for what yajl must not see: bytes that are not UTF-8,
 * halves of surrogate pairs, vertical tabs and form feeds.  *i moves to the
 * first, and *ret_what says what it is (JSON_SCAN_BAD); to a sequence that the
 * end cuts off (JSON_SCAN_CUT), unless last says that nothing follows; or to n. */
enum json_scan json_scan(const char *p, size_t n, bool last, size_t *i, const char **ret_what);
/* How many of the bytes, which json_scan() has been over, are the inside of a
 * string that goes on after them: no quote, whole escapes of one character. */
size_t json_string_run(const char *p, size_t n);
/* Behind the number at start, or 0: it is none, or longer than any may be. */
size_t json_skip_number(const char *p, size_t n, size_t start);
/* From i, the first byte that does not simply belong to a string, or n. */
size_t json_skip_plain(const char *p, size_t n, size_t i);
/* How many newlines. */
size_t json_count_lines(const char *p, size_t n);

/* The first parts of json-quick's skip_plain() and of json_count_lines(), in large steps:
 * the place they got to, which is where they began when the processor has no such steps. */
size_t json_skip_wide(const char *p, size_t n, size_t i, unsigned *high);
size_t json_count_wide(const char *p, size_t n, size_t *lines);

/* Free; of a secret after wiping all of it. */
void json_free_text(void *p, bool secret);
