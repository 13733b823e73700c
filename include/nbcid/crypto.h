/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* crypto.h - the little of libcrypto that we need.  Any thread, no state.
 * Functions without an answer abort when memory for a digest, a few hundred
 * bytes, is out. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/buf.h>
#include <nbcid/err.h>

#define NB_SHA256_SIZE 32

/* HMAC-SHA256 (RFC 2104) of n bytes.  An empty key is a key; the caller refuses
 * it where it means "not configured". */
void nb_hmac_sha256(const void *key, size_t n_key, const void *p, size_t n,
                    uint8_t ret[NB_SHA256_SIZE]);
/* The same over several pieces in order. */
struct nb_piece {
        const void *p;
        size_t n;
};
void nb_hmac_sha256_pieces(const void *key, size_t n_key, const struct nb_piece *pieces, size_t n,
                           uint8_t ret[NB_SHA256_SIZE]);
void nb_sha256(const void *p, size_t n, uint8_t ret[NB_SHA256_SIZE]);
/* Equal?  Time depends on n only. */
bool nb_ct_equal(const void *a, const void *b, size_t n);
/* Equal texts?  Time depends on the length of given only, not on where they
 * differ nor on the length of secret. */
bool nb_ct_streq(const char *secret, size_t n_secret, const char *given, size_t n_given);
/* Overwrite in a way that the compiler keeps. */
void nb_wipe(void *p, size_t n);
/* Random bytes of the kernel. */
void nb_random(void *p, size_t n);

/* RFC 4648 section 4 base64 with padding; appended to ret. */
int nb_base64_encode(const void *p, size_t n, struct nb_buf *ret);
/* Strict inverse (padding required, no white space, unused bits 0); appended to
 * ret, which is unchanged on failure.  -NB_E_INVALID when it is not base64,
 * -NB_E_LIMIT when ret has no room. */
int nb_base64_decode(const char *s, size_t n, struct nb_buf *ret, struct nb_err *err);

/* RFC 4648 section 5 base64 for URLs, without padding (JWT, RFC 7515 section 2);
 * appended to ret. */
int nb_base64url_encode(const void *p, size_t n, struct nb_buf *ret);

/* CRC-32C (Castagnoli, RFC 3720) of n more bytes after those of crc; start
 * with 0. */
uint32_t nb_crc32c(uint32_t crc, const void *p, size_t n);

/* MD5, against accidents only: object stores name contents by it.  A running
 * digest; one thread at a time. */
#define NB_MD5_SIZE 16
struct nb_md5;
struct nb_md5 *nb_md5_new(void); /* NULL when memory is out */
void nb_md5_add(struct nb_md5 *m, const void *p, size_t n);
/* The digest of all so far; then it starts anew. */
void nb_md5_end(struct nb_md5 *m, uint8_t ret[NB_MD5_SIZE]);
struct nb_md5 *nb_md5_free(struct nb_md5 *m); /* NULL is fine; answers NULL */
NB_DEFINE_FREEP(struct nb_md5 *, nb_md5_free);

/* RSASSA-PKCS1-v1_5 with SHA-256 (RS256 of RFC 7518 section 3.3). */
struct nb_rs256; /* a private key, parsed once; any thread */
/* An unencrypted private RSA key of 2048 to 8192 bits in PEM.  The text is not
 * kept.  -NB_E_INVALID says what it is instead ("a certificate", "a public
 * key", "an encrypted private key", "cut short"). */
int nb_rs256_new(const char *pem, size_t n, struct nb_rs256 **ret, struct nb_err *err);
/* Appends the signature of n bytes to ret.  About a millisecond. */
int nb_rs256_sign(const struct nb_rs256 *k, const void *p, size_t n, struct nb_buf *ret,
                  struct nb_err *err);
struct nb_rs256 *nb_rs256_free(struct nb_rs256 *k); /* wipes; NULL is fine; answers NULL */
NB_DEFINE_FREEP(struct nb_rs256 *, nb_rs256_free);

/* A secret from a credential file.  No formatter takes this type; done()
 * wipes.  data is NUL-terminated, n does not count that. */
struct nb_secret {
        char *data;
        size_t n;
};
/* Read a secret file (at most 64 KiB), trailing newlines (LF, CR) removed.  An
 * empty one, or one that is no regular file, is -NB_E_INVALID; a larger one
 * -NB_E_LIMIT.  The caller owns the secret; no other copy stays in memory. */
int nb_secret_read(const char *path, struct nb_secret *ret, struct nb_err *err);
void nb_secret_done(struct nb_secret *s);
/* A copy of n bytes in ret, whose secret before is wiped; 0, or -1 when memory
 * is out and nothing changed. */
int nb_secret_set(struct nb_secret *ret, const char *p, size_t n);
