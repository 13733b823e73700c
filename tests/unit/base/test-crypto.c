/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include <nbcid/crypto.h>
#include <nbcid/fs.h>
#include <nbcid/str.h>

#include "nbtest.h"

static void check_hmac(const void *key, size_t n_key, const void *p, size_t n, const char *want)
{
        uint8_t mac[NB_SHA256_SIZE];
        char hex[2 * NB_SHA256_SIZE + 1];

        nb_hmac_sha256(key, n_key, p, n, mac);
        nb_hex(hex, mac, sizeof(mac));
        CHECK_STR(hex, want);
}

/* docs.github.com, "Validating webhook deliveries" */
TEST(hmac_of_the_forge)
{
        static const char key[] = "It's a Secret to Everybody", body[] = "Hello, World!";

        check_hmac(key, sizeof(key) - 1, body, sizeof(body) - 1,
                   "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
}

/* RFC 4231 section 4, cases 1, 2, 3, 6 and 7; and the empty key and text. */
TEST(hmac_of_rfc_4231)
{
        static const char long_text[] =
                "This is a test using a larger than block-size key and a larger than block-size "
                "data. The key needs to be hashed before being used by the HMAC algorithm.";
        uint8_t key[131], text[50];

        memset(key, 0x0b, 20);
        check_hmac(key, 20, "Hi There", 8,
                   "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        check_hmac("Jefe", 4, "what do ya want for nothing?", 28,
                   "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        memset(key, 0xaa, sizeof(key));
        memset(text, 0xdd, sizeof(text));
        check_hmac(key, 20, text, 50,
                   "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
        check_hmac(key, 131, "Test Using Larger Than Block-Size Key - Hash Key First", 54,
                   "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
        check_hmac(key, 131, long_text, sizeof(long_text) - 1,
                   "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
        check_hmac(NULL, 0, NULL, 0,
                   "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(pieces_are_one_text)
{
        static const struct nb_piece pieces[] = {{"Hel", 3}, {NULL, 0}, {"lo, W", 5}, {"orld!", 5}};
        uint8_t a[NB_SHA256_SIZE], b[NB_SHA256_SIZE];

        nb_hmac_sha256("key", 3, "Hello, World!", 13, a);
        nb_hmac_sha256_pieces("key", 3, pieces, NB_ARRAY_SIZE(pieces), b);
        CHECK(memcmp(a, b, sizeof(a)) == 0);
        nb_hmac_sha256_pieces("key", 3, pieces, 3, b);
        CHECK(memcmp(a, b, sizeof(a)) != 0);
}

/* FIPS 180-4 examples */
TEST(sha256)
{
        uint8_t hash[NB_SHA256_SIZE];
        char hex[65];

        nb_sha256("abc", 3, hash);
        nb_hex(hex, hash, sizeof(hash));
        CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        nb_sha256(NULL, 0, hash);
        nb_hex(hex, hash, sizeof(hash));
        CHECK_STR(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void *hash_much(void *arg)
{
        for (int i = 0; i < 2000; i++) {
                uint8_t mac[NB_SHA256_SIZE];

                nb_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac);
                if (mac[0] != 0x5b || mac[31] != 0x43)
                        return arg;
        }
        return NULL;
}

TEST(threads_do_not_disturb_each_other)
{
        pthread_t t[4];

        for (size_t i = 0; i < 4; i++)
                CHECK(pthread_create(&t[i], NULL, hash_much, t) == 0);
        for (size_t i = 0; i < 4; i++) {
                void *r;
                CHECK(pthread_join(t[i], &r) == 0);
                CHECK(!r);
        }
}

TEST(comparing)
{
        CHECK(nb_ct_equal("abc", "abd", 2) && !nb_ct_equal("abc", "abd", 3));
        CHECK(nb_ct_equal(NULL, NULL, 0));
        CHECK(nb_ct_streq("token", 5, "token", 5));
        CHECK(!nb_ct_streq("token", 5, "tokeN", 5) && !nb_ct_streq("token", 5, "Token", 5));
        CHECK(!nb_ct_streq("token", 5, "toke", 4) && !nb_ct_streq("token", 5, "tokent", 6));
        /* behind the secret its first byte is compared, which must not help */
        CHECK(!nb_ct_streq("a", 1, "aa", 2) && !nb_ct_streq("aa", 2, "a", 1));
        CHECK(!nb_ct_streq("a", 1, "", 0) && !nb_ct_streq("", 0, "a", 1));
        CHECK(nb_ct_streq("", 0, "", 0) && nb_ct_streq(NULL, 0, NULL, 0));
        CHECK(nb_ct_streq("a\0b", 3, "a\0b", 3) && !nb_ct_streq("a\0b", 3, "a\0c", 3));
        /* a difference of 256 in the lengths is one too */
        char long_[258];
        memset(long_, 'a', sizeof(long_));
        CHECK(!nb_ct_streq(long_, 1, long_, 257) && !nb_ct_streq(long_, 257, long_, 1));
}

TEST(wiping)
{
        char s[] = "secret";

        nb_wipe(s, sizeof(s));
        for (size_t i = 0; i < sizeof(s); i++)
                CHECK_INT(s[i], 0);
        nb_wipe(NULL, 0);
}

TEST(random_bytes_differ)
{
        static uint8_t a[5000], b[5000];
        size_t zeros = 0;

        nb_random(a, sizeof(a));
        nb_random(b, sizeof(b));
        CHECK(memcmp(a, b, 32) != 0);
        for (size_t i = 0; i < sizeof(a); i++)
                zeros += a[i] == 0;
        CHECK(zeros < 100); /* 20 are expected */
        nb_random(NULL, 0);
}

/* RFC 4648 section 10 */
TEST(base64_both_ways)
{
        static const char *const pairs[][2] = {
                {"", ""},
                {"f", "Zg=="},
                {"fo", "Zm8="},
                {"foo", "Zm9v"},
                {"foob", "Zm9vYg=="},
                {"fooba", "Zm9vYmE="},
                {"foobar", "Zm9vYmFy"},
        };
        uint8_t all[256];
        struct nb_err err;

        for (size_t i = 0; i < NB_ARRAY_SIZE(pairs); i++) {
                nb_auto_buf coded = NB_BUF(100);
                nb_auto_buf plain = NB_BUF(100);

                CHECK_INT(nb_base64_encode(pairs[i][0], strlen(pairs[i][0]), &coded), 0);
                CHECK_STR(nb_buf_str(&coded), pairs[i][1]);
                CHECK_OK(nb_base64_decode(pairs[i][1], strlen(pairs[i][1]), &plain, &err), &err);
                CHECK_STR(nb_buf_str(&plain), pairs[i][0]);
        }
        for (int i = 0; i < 256; i++)
                all[i] = (uint8_t)(i * 7 + 3);
        for (size_t n = 0; n <= 256; n++) {
                nb_auto_buf coded = NB_BUF(1000);
                nb_auto_buf plain = NB_BUF(1000);

                CHECK_INT(nb_buf_puts(&plain, "head"), 0);
                CHECK_INT(nb_base64_encode(all, n, &coded), 0);
                CHECK_OK(nb_base64_decode(coded.data, coded.len, &plain, &err), &err);
                CHECK(plain.len == n + 4 && memcmp(plain.data + 4, all, n) == 0);
        }
}

TEST(base64_is_strict)
{
        static const char *const bad[] = {
                "Z",    "Zg",   "Zg=",  "Zg==\n",   "Zg= =",    "Z===", "====",    "=Zg=", "Zh==",
                "Zm9=", "Zm-v", "Zm_v", "Zg==Zg==", "Zm9vZg=g", "Zm 9", "Zm9\xc3", NULL};
        struct nb_err err;
        nb_auto_buf b = NB_BUF(100);
        nb_auto_buf tiny = NB_BUF(2);

        CHECK_INT(nb_buf_puts(&b, "x"), 0);
        for (size_t i = 0; bad[i]; i++) {
                CHECK_ERR(nb_base64_decode(bad[i], strlen(bad[i]), &b, &err), &err, NB_E_INVALID,
                          "not base64");
                CHECK_STR(nb_buf_str(&b), "x");
                CHECK_INT(b.len, 1);
        }
        CHECK_ERR(nb_base64_decode("Zm9v", 4, &tiny, &err), &err, NB_E_LIMIT, "no room");
        nb_buf_clear(&tiny);
        CHECK_INT(nb_base64_encode("a", 1, &tiny), -NB_E_LIMIT);
}

static const char *put_file(const char *name, const void *p, size_t n)
{
        static char path[200];
        struct nb_err err;

        CHECK(nb_fmt(path, sizeof(path), "%s/%s", nbtest_tmpdir(), name));
        CHECK_OK(nb_write_file(AT_FDCWD, path, p, n, 0600, false, &err), &err);
        return path;
}

TEST(secrets_lose_their_newline)
{
        struct nb_secret s = {0};
        struct nb_err err;

        CHECK_OK(nb_secret_read(put_file("a", " t0p\nsecret \r\n\n", 15), &s, &err), &err);
        CHECK_STR(s.data, " t0p\nsecret ");
        CHECK_INT(s.n, 12);
        nb_secret_done(&s);
        CHECK(!s.data && s.n == 0);
        nb_secret_done(&s);
        nb_secret_done(NULL);
}

TEST(secrets_that_are_none)
{
        nb_auto_free char *big = calloc(1, 65537);
        struct nb_secret s = {0};
        struct nb_err err;
        char fifo[200];

        CHECK(big);
        memset(big, 'k', 65537);
        CHECK_ERR(nb_secret_read(put_file("empty", "", 0), &s, &err), &err, NB_E_INVALID,
                  "empty is empty");
        CHECK_ERR(nb_secret_read(put_file("lines", "\n\r\n", 3), &s, &err), &err, NB_E_INVALID,
                  "empty");
        CHECK_ERR(nb_secret_read("/nonexistent/token", &s, &err), &err, NB_E_NOTFOUND,
                  "/nonexistent/token");
        CHECK_ERR(nb_secret_read(nbtest_tmpdir(), &s, &err), &err, NB_E_INVALID, "regular file");
        CHECK_ERR(nb_secret_read(put_file("big", big, 65537), &s, &err), &err, NB_E_LIMIT,
                  "over 65536 bytes");
        CHECK(nb_fmt(fifo, sizeof(fifo), "%s/fifo", nbtest_tmpdir()));
        CHECK(mkfifo(fifo, 0600) == 0);
        CHECK_ERR(nb_secret_read(fifo, &s, &err), &err, NB_E_INVALID, "regular file");
        CHECK(!s.data);
        CHECK_OK(nb_secret_read(put_file("full", big, 65536), &s, &err), &err);
        CHECK_INT(s.n, 65536);
        nb_secret_done(&s);
}

NBTEST_MAIN()
