/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/crypto.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
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

/* ret has the size of the digest at hand. */
static void digest_end(EVP_MD_CTX *ctx, uint8_t *ret)
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

int nb_base64url_encode(const void *p, size_t n, struct nb_buf *ret)
{
        size_t before = ret->len;
        int r = nb_base64_encode(p, n, ret);

        if (r < 0)
                return r;
        for (size_t i = before; i < ret->len; i++) {
                if (ret->data[i] == '+')
                        ret->data[i] = '-';
                else if (ret->data[i] == '/')
                        ret->data[i] = '_';
        }
        while (ret->len > before && ret->data[ret->len - 1] == '=')
                ret->len--;
        if (ret->data)
                ret->data[ret->len] = '\0';
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

/* --- MD5 ---------------------------------------------------------------- */

struct nb_md5 {
        EVP_MD_CTX *ctx;
};

static void md5_start(struct nb_md5 *m)
{
        int ok = EVP_DigestInit_ex2(m->ctx, EVP_md5(), NULL);

        nb_assert(ok == 1);
}

struct nb_md5 *nb_md5_new(void)
{
        NB_CLEANUP(nb_md5_freep) struct nb_md5 *m = calloc(1, sizeof(*m));

        if (!m)
                return NULL;
        m->ctx = EVP_MD_CTX_new();
        if (!m->ctx)
                return NULL;
        md5_start(m);
        return NB_TAKE(m);
}

void nb_md5_add(struct nb_md5 *m, const void *p, size_t n)
{
        digest_add(m->ctx, p, n);
}

void nb_md5_end(struct nb_md5 *m, uint8_t ret[NB_MD5_SIZE])
{
        digest_end(m->ctx, ret);
        md5_start(m);
}

struct nb_md5 *nb_md5_free(struct nb_md5 *m)
{
        if (m)
                EVP_MD_CTX_free(m->ctx);
        free(m);
        return NULL;
}

/* --- RS256 -------------------------------------------------------------- */

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192

struct nb_rs256 {
        EVP_PKEY *key;
};

/* What people paste instead. */
static const struct {
        const char *marker, *what;
} not_keys[] = {
        {"-----BEGIN ENCRYPTED PRIVATE KEY-----",
         "an encrypted private key; give one without a passphrase"},
        {"-----BEGIN PUBLIC KEY-----", "a public key, not a private key"},
        {"-----BEGIN RSA PUBLIC KEY-----", "a public key, not a private key"},
        {"-----BEGIN CERTIFICATE-----", "a certificate, not a private key"},
        {"-----BEGIN OPENSSH PRIVATE KEY-----", "a key for ssh; give one in PKCS#8 PEM"},
};

static int refuse_pem(const char *pem, size_t n, struct nb_err *err)
{
        for (size_t i = 0; i < NB_ARRAY_SIZE(not_keys); i++)
                if (memmem(pem, n, not_keys[i].marker, strlen(not_keys[i].marker)))
                        return nb_fail(err, NB_E_INVALID, "it is %s", not_keys[i].what);
        if (memmem(pem, n, "PRIVATE KEY-----", strlen("PRIVATE KEY-----")))
                return nb_fail(err, NB_E_INVALID,
                               "its private key is cut short or damaged; copy it again, with "
                               "its line breaks");
        return nb_fail(err, NB_E_INVALID,
                       "it is not a private key: no \"-----BEGIN PRIVATE KEY-----\"");
}

/* In place of OpenSSL's own, which asks at the terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
        return -1;
}

int nb_rs256_new(const char *pem, size_t n, struct nb_rs256 **ret, struct nb_err *err)
{
        NB_CLEANUP(nb_rs256_freep) struct nb_rs256 *k = calloc(1, sizeof(*k));
        BIO *bio = n <= SECRET_MAX ? BIO_new_mem_buf(pem, (int)n) : NULL;

        if (!k || !bio) {
                BIO_free(bio);
                return n > SECRET_MAX ? refuse_pem(pem, n, err)
                                      : nb_fail(err, NB_E_NOMEM, "no memory for a private key");
        }
        k->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
        BIO_free(bio);
        ERR_clear_error();
        if (!k->key)
                return refuse_pem(pem, n, err);
        if (EVP_PKEY_get_base_id(k->key) != EVP_PKEY_RSA)
                return nb_fail(err, NB_E_INVALID, "it is a private key, but not an RSA one");
        if (EVP_PKEY_get_bits(k->key) < RSA_BITS_MIN || EVP_PKEY_get_bits(k->key) > RSA_BITS_MAX)
                return nb_fail(err, NB_E_INVALID, "its RSA key has %d bits, not %d to %d",
                               EVP_PKEY_get_bits(k->key), RSA_BITS_MIN, RSA_BITS_MAX);
        *ret = NB_TAKE(k);
        return 0;
}

int nb_rs256_sign(const struct nb_rs256 *k, const void *p, size_t n, struct nb_buf *ret,
                  struct nb_err *err)
{
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        size_t n_sig = (size_t)EVP_PKEY_get_size(k->key);
        int ok = 0, r = nb_buf_reserve(ret, n_sig);

        if (ctx && r == 0)
                ok = EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->key) == 1 &&
                     EVP_DigestSign(ctx, (unsigned char *)ret->data + ret->len, &n_sig, p, n) == 1;
        EVP_MD_CTX_free(ctx);
        ERR_clear_error();
        if (r < 0)
                return nb_fail(err, (enum nb_errc) - r, "no room for a signature");
        if (!ok) {
                ret->data[ret->len] = '\0';
                return nb_fail(err, NB_E_INVALID,
                               "the private key does not sign; its numbers do not fit together");
        }
        ret->len += n_sig;
        ret->data[ret->len] = '\0';
        return 0;
}

struct nb_rs256 *nb_rs256_free(struct nb_rs256 *k)
{
        if (k)
                EVP_PKEY_free(k->key);
        free(k);
        return NULL;
}

/* --- secrets ------------------------------------------------------------ */

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

int nb_secret_set(struct nb_secret *ret, const char *p, size_t n)
{
        char *data = malloc(n + 1);

        if (!data)
                return -1;
        memcpy(data, p, n);
        data[n] = '\0';
        nb_secret_done(ret);
        *ret = (struct nb_secret){data, n};
        return 0;
}
