/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * buf.h - growable bytes with a ceiling
 *
 * Every growable buffer names its ceiling when it is born.  A NUL always
 * follows the bytes (not counted), so data is usable as text.  Append answers
 * 0, or -NB_E_LIMIT / -NB_E_NOMEM and leaves the content unchanged; failed
 * stays true until nb_buf_clear(), and appends answer -NB_E_LIMIT as long, so
 * that a row of appends is checked once.  What is appended must not be a part
 * of the buffer.  One thread at a time.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/mem.h>

struct nb_buf {
        char *data; /* owned; "" semantics when NULL: use nb_buf_str() */
        size_t len, cap, max;
        bool failed;
};

#define NB_BUF(max_) ((struct nb_buf){.max = (max_)})

void nb_buf_done(struct nb_buf *b); /* NULL and zeroed are fine; frees, zeroes, keeps max */
void nb_buf_clear(struct nb_buf *b);
int nb_buf_append(struct nb_buf *b, const void *p, size_t n);
int nb_buf_puts(struct nb_buf *b, const char *s);
int nb_buf_putc(struct nb_buf *b, char c);
int nb_buf_printf(struct nb_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int nb_buf_vprintf(struct nb_buf *b, const char *fmt, va_list ap)
        __attribute__((format(printf, 2, 0)));
/* Room for n more bytes at data + len; the caller then adds to len. */
int nb_buf_reserve(struct nb_buf *b, size_t n);
/* Borrowed NUL-terminated content, never NULL. */
const char *nb_buf_str(const struct nb_buf *b);
/* Move the content out as an owned NUL-terminated string; the buffer is empty,
 * and no longer failed, after.  NULL when memory is out or the buffer had failed. */
char *nb_buf_steal(struct nb_buf *b);

#define nb_auto_buf NB_CLEANUP(nb_buf_done) struct nb_buf
