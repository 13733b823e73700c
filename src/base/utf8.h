/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* utf8.h - the one decoder of UTF-8 (RFC 3629) inside base.  Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values from here on stand for one byte that begins no well-formed character. */
#define NB_UTF8_BAD UINT32_C(0x110000)
/* U+FFFD, shown in the place of such a byte. */
#define NB_UTF8_REPLACEMENT "\xef\xbf\xbd"

/* C0, DEL and C1: the last because terminals obey them too. */
static inline bool nb_utf8_is_control(uint32_t c)
{
        return c < 0x20 || (c >= 0x7f && c <= 0x9f);
}

/* The character at s (n > 0 bytes long), or NB_UTF8_BAD + byte; *ret_len gets
 * its length in bytes, 1 to 4 (1 when bad). */
uint32_t nb_utf8_decode(const char *s, size_t n, size_t *ret_len);
/* n, or less when the n bytes at s end inside a character. */
size_t nb_utf8_trim(const char *s, size_t n);
