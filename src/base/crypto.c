/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/crypto.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "file.h"

#define BLOCK 64 /* of SHA-256, FIPS 180-4 figure 1 */
#define SECRET_MAX ((size_t)64 << 10)

/* Fetched once: OpenSSL 3 otherwise looks the algorithm up, under a lock, in
 * every call, which costs more than hashing a small body. */
static EVP_MD *sha256;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void fetch_sha256(void)
{
        sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        nb_assert(sha256);
}

static EVP_MD_CTX *digest_new(void)
{
        EVP_MD_CTX *ctx;

        nb_assert(pthread_once(&sha256_once, fetch_sha256) == 0);
        ctx = EVP_MD_CTX_new();
        nb_assert(ctx);
        return ctx;
}

/* Neither can fail for SHA-256 but for want of a few hundred bytes. */
static void digest_start(EVP_MD_CTX *ctx)
{
        int ok = EVP_DigestInit_ex2(ctx, sha256, NULL);

        nb_assert(ok == 1);
}

static void digest_add(EVP_MD_CTX *ctx, const void *p, size_t n)
{
        int ok = n == 0 ? 1 : EVP_DigestUpdate(ctx, p, n);

        nb_assert(ok == 1);
}

static void digest_end(EVP_MD_CTX *ctx, uint8_t ret[NB_SHA256_SIZE])
{
        int ok = EVP_DigestFinal_ex(ctx, ret, NULL);

        nb_assert(ok == 1);
}

void nb_sha256(const void *p, size_t n, uint8_t ret[NB_SHA256_SIZE])
{
        EVP_MD_CTX *ctx = digest_new();

        digest_start(ctx);
        digest_add(ctx, p, n);
        digest_end(ctx, ret);
        EVP_MD_CTX_free(ctx);
}

static void start_padded(EVP_MD_CTX *ctx, const uint8_t key[BLOCK], uint8_t pad)
{
        uint8_t block[BLOCK];

        for (size_t i = 0; i < BLOCK; i++)
                block[i] = key[i] ^ pad;
        digest_start(ctx);
        digest_add(ctx, block, BLOCK);
        nb_wipe(block, sizeof(block));
}

/* RFC 2104 section 2 over one digest context: four times as fast as OpenSSL's
 * own HMAC() for a small body, whose set-up looks up both MAC and digest. */
void nb_hmac_sha256_pieces(const void *key, size_t n_key, const struct nb_piece *pieces, size_t n,
                           uint8_t ret[NB_SHA256_SIZE])
{
        EVP_MD_CTX *ctx = digest_new();
        uint8_t block[BLOCK] = {0}, inner[NB_SHA256_SIZE];

        if (n_key > BLOCK) {
                digest_start(ctx);
                digest_add(ctx, key, n_key);
                digest_end(ctx, block);
        } else if (n_key > 0) {
                memcpy(block, key, n_key);
        }
        start_padded(ctx, block, 0x36);
        for (size_t i = 0; i < n; i++)
                digest_add(ctx, pieces[i].p, pieces[i].n);
        digest_end(ctx, inner);
        start_padded(ctx, block, 0x5c);
        digest_add(ctx, inner, sizeof(inner));
        digest_end(ctx, ret);
        nb_wipe(block, sizeof(block));
        nb_wipe(inner, sizeof(inner));
        EVP_MD_CTX_free(ctx);
}

void nb_hmac_sha256(const void *key, size_t n_key, const void *p, size_t n,
                    uint8_t ret[NB_SHA256_SIZE])
{
        nb_hmac_sha256_pieces(key, n_key, &(struct nb_piece){p, n}, 1, ret);
}

bool nb_ct_equal(const void *a, const void *b, size_t n)
{
        return n == 0 || CRYPTO_memcmp(a, b, n) == 0;
}

bool nb_ct_streq(const char *secret, size_t n_secret, const char *given, size_t n_given)
{
        const volatile unsigned char *s = (const volatile unsigned char *)secret;
        const volatile unsigned char *g = (const volatile unsigned char *)given;
        volatile unsigned char diff = n_secret != n_given;

        if (n_secret == 0)
                return n_given == 0;
        for (size_t i = 0; i < n_given; i++) {
                /* beyond the secret its first byte is read; the lengths differ
                 * then anyway */
                size_t inside = (size_t)0 - (size_t)(i < n_secret);
                diff = (unsigned char)(diff | (s[i & inside] ^ g[i]));
        }
        return diff == 0;
}

void nb_wipe(void *p, size_t n)
{
        if (p && n > 0)
                explicit_bzero(p, n);
}

void nb_random(void *p, size_t n)
{
        unsigned char *at = p;

        while (n > 0) {
                ssize_t r = getrandom(at, n, 0);
                nb_assert(r > 0 || (r < 0 && errno == EINTR));
                if (r > 0) {
                        at += r;
                        n -= (size_t)r;
                }
        }
}

static const char base64_digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int nb_base64_encode(const void *p, size_t n, struct nb_buf *ret)
{
        const unsigned char *in = p;
        size_t groups = n / 3 + (n % 3 != 0), len;
        char *out;
        int r;

        if (__builtin_mul_overflow(groups, 4, &len))
                len = SIZE_MAX;
        r = nb_buf_reserve(ret, len);
        if (r < 0)
                return r;
        out = ret->data + ret->len;
        for (size_t i = 0; i < n; i += 3) {
                size_t left = n - i;
                uint32_t v = (uint32_t)in[i] << 16;

                v |= left > 1 ? (uint32_t)in[i + 1] << 8 : 0;
                v |= left > 2 ? (uint32_t)in[i + 2] : 0;
                *out++ = base64_digits[v >> 18];
                *out++ = base64_digits[v >> 12 & 63];
                *out++ = left > 1 ? base64_digits[v >> 6 & 63] : '=';
                *out++ = left > 2 ? base64_digits[v & 63] : '=';
        }
        *out = '\0';
        ret->len += len;
        return 0;
}

static int base64_value(char c)
{
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters, of which the last pad are '='; false when they are not
 * base64.  Bits behind the last byte must be 0: two spellings of one value
 * would let two readers disagree. */
static bool base64_group(const char *s, size_t pad, uint32_t *ret)
{
        uint32_t v = 0;

        for (size_t i = 0; i < 4; i++) {
                int digit = i < 4 - pad ? base64_value(s[i]) : 0;
                if (digit < 0)
                        return false;
                v = v << 6 | (uint32_t)digit;
        }
        *ret = v;
        return (v & ((UINT32_C(1) << 8 * pad) - 1)) == 0;
}

int nb_base64_decode(const char *s, size_t n, struct nb_buf *ret, struct nb_err *err)
{
        size_t pad = 0, len;
        char *out;
        int r;

        if (n % 4 != 0)
                return nb_fail(err, NB_E_INVALID,
                               "not base64: %zu characters are not a multiple of 4", n);
        while (pad < 2 && pad < n && s[n - 1 - pad] == '=')
                pad++;
        len = n / 4 * 3 - pad;
        r = nb_buf_reserve(ret, len);
        if (r < 0)
                return nb_fail(err, (enum nb_errc) - r, "no room for %zu bytes out of base64", len);
        out = ret->data + ret->len;
        for (size_t i = 0; i < n; i += 4) {
                size_t missing = i + 4 == n ? pad : 0;
                uint32_t v;

                if (!base64_group(s + i, missing, &v)) {
                        ret->data[ret->len] = '\0';
                        return nb_fail(err, NB_E_INVALID,
                                       "not base64: the four characters from %zu on", i);
                }
                for (size_t k = 0; k < 3 - missing; k++)
                        *out++ = (char)(v >> (16 - 8 * k) & 0xff);
        }
        *out = '\0';
        ret->len += len;
        return 0;
}

static void wipe_pagep(char **p)
{
        if (*p) {
                nb_wipe(*p, SECRET_MAX + 1);
                free(*p);
        }
}

int nb_secret_read(const char *path, struct nb_secret *ret, struct nb_err *err)
{
        struct stat st;
        nb_auto_fd int fd = nb_open_regular(AT_FDCWD, path, 0, &st, err);
        /* at full size from the start, so that no realloc() leaves a copy */
        NB_CLEANUP(wipe_pagep) char *page = fd < 0 ? NULL : malloc(SECRET_MAX + 1);
        char *data;
        size_t n = 0;
        ssize_t r;

        if (fd < 0)
                return nb_wrap(err, fd, "secret");
        if (!page)
                return nb_fail(err, NB_E_NOMEM, "no memory to read the secret %s", path);
        while (n <= SECRET_MAX && (r = nb_read_some(fd, page + n, SECRET_MAX + 1 - n)) != 0) {
                if (r < 0)
                        return nb_fail_errno(err, errno, "cannot read the secret %s", path);
                n += (size_t)r;
        }
        if (n > SECRET_MAX)
                return nb_fail(err, NB_E_LIMIT, "the secret %s is over %zu bytes", path,
                               SECRET_MAX);
        while (n > 0 && (page[n - 1] == '\n' || page[n - 1] == '\r'))
                n--;
        if (n == 0)
                return nb_fail(err, NB_E_INVALID, "the secret %s is empty; write it into the file",
                               path);
        data = malloc(n + 1);
        if (!data)
                return nb_fail(err, NB_E_NOMEM, "no memory to read the secret %s", path);
        memcpy(data, page, n);
        data[n] = '\0';
        *ret = (struct nb_secret){data, n};
        return 0;
}

void nb_secret_done(struct nb_secret *s)
{
        if (!s)
                return;
        nb_wipe(s->data, s->n);
        free(s->data);
        *s = (struct nb_secret){0};
}
