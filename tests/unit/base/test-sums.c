/* SPDX-License-Identifier: Apache-2.0 */

/* Checksums and signatures of cloud stores: CRC-32C, MD5, base64url, RS256. */

#include <fcntl.h>

#include <nbcid/crypto.h>
#include <nbcid/fs.h>
#include <nbcid/str.h>

#include "nbtest.h"

/* RFC 3720 appendix B.4, and the check value of the catalogue of CRCs. */
TEST(crc32c_of_the_standard)
{
        uint8_t zeros[32] = {0}, ones[32], rising[32];

        memset(ones, 0xff, sizeof(ones));
        for (size_t i = 0; i < sizeof(rising); i++)
                rising[i] = (uint8_t)i;
        CHECK_INT(nb_crc32c(0, zeros, sizeof(zeros)), 0x8a9136aa);
        CHECK_INT(nb_crc32c(0, ones, sizeof(ones)), 0x62a8ab43);
        CHECK_INT(nb_crc32c(0, rising, sizeof(rising)), 0x46dd794e);
        CHECK_INT(nb_crc32c(0, "123456789", 9), 0xe3069283);
        CHECK_INT(nb_crc32c(0, "", 0), 0);
}

TEST(crc32c_in_pieces_is_that_of_the_whole)
{
        unsigned char p[300];

        nb_random(p, sizeof(p));
        for (size_t cut = 0; cut <= sizeof(p); cut++)
                CHECK_INT(nb_crc32c(nb_crc32c(0, p, cut), p + cut, sizeof(p) - cut),
                          nb_crc32c(0, p, sizeof(p)));
}

/* RFC 1321 appendix A.5 */
TEST(md5_of_the_standard)
{
        NB_CLEANUP(nb_md5_freep) struct nb_md5 *m = nb_md5_new();
        uint8_t sum[NB_MD5_SIZE];
        char hex[2 * NB_MD5_SIZE + 1];

        CHECK(m);
        nb_md5_add(m, "message ", 8);
        nb_md5_add(m, "digest", 6);
        nb_md5_end(m, sum);
        nb_hex(hex, sum, sizeof(sum));
        CHECK_STR(hex, "f96b697d7cb7938d525a2f31aaf161d0");
        nb_md5_end(m, sum); /* it has started anew */
        nb_hex(hex, sum, sizeof(sum));
        CHECK_STR(hex, "d41d8cd98f00b204e9800998ecf8427e");
}

TEST(base64url_has_neither_padding_nor_plus_nor_slash)
{
        nb_auto_buf b = NB_BUF(100);

        CHECK_INT(nb_base64url_encode("", 0, &b), 0);
        CHECK_STR(nb_buf_str(&b), "");
        CHECK_INT(nb_base64url_encode("\xfb\xff\xfe", 3, &b), 0);
        CHECK_INT(nb_base64url_encode("\xff", 1, &b), 0);
        CHECK_INT(nb_base64url_encode("\xff\xff", 2, &b), 0);
        CHECK_STR(nb_buf_str(&b), "-__-_w__8");
        CHECK_INT(b.len, 9);
}

static const char *in_dir(const char *name)
{
        static char path[4][200];
        static unsigned i;

        i = (i + 1) % 4;
        CHECK(nb_fmt(path[i], sizeof(path[i]), "%s/%s", nbtest_tmpdir(), name));
        return path[i];
}

static void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *fmt, ...)
{
        char cmd[900];
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(cmd, sizeof(cmd), fmt, ap);
        va_end(ap);
        CHECK(n > 0 && (size_t)n < sizeof(cmd));
        CHECK_INT(system(cmd), 0);
}

static bool have_openssl(void)
{
        if (system("openssl version >/dev/null 2>&1") == 0)
                return true;
        printf("# skipped: no openssl command\n");
        return false;
}

static void read_pem(const char *path, struct nb_buf *b)
{
        struct nb_err err;

        nb_buf_clear(b);
        CHECK_OK(nb_read_file(AT_FDCWD, path, b, &err), &err);
}

TEST(openssl_verifies_what_rs256_signs)
{
        static const char text[] = "header.payload";
        NB_CLEANUP(nb_rs256_freep) struct nb_rs256 *k = NULL;
        nb_auto_buf pem = NB_BUF(65536);
        nb_auto_buf sig = NB_BUF(4096);
        struct nb_err err;

        if (!have_openssl())
                return;
        run("openssl genrsa -out %s 2048 2>/dev/null", in_dir("key.pem"));
        run("openssl rsa -in %s -pubout -out %s 2>/dev/null", in_dir("key.pem"), in_dir("pub.pem"));
        read_pem(in_dir("key.pem"), &pem);
        CHECK_OK(nb_rs256_new(pem.data, pem.len, &k, &err), &err);
        CHECK_OK(nb_rs256_sign(k, text, strlen(text), &sig, &err), &err);
        CHECK_INT(sig.len, 256);
        CHECK_OK(nb_write_file(AT_FDCWD, in_dir("sig"), sig.data, sig.len, 0600, false, &err),
                 &err);
        CHECK_OK(nb_write_file(AT_FDCWD, in_dir("text"), text, strlen(text), 0600, false, &err),
                 &err);
        run("openssl dgst -sha256 -verify %s -signature %s %s >/dev/null", in_dir("pub.pem"),
            in_dir("sig"), in_dir("text"));
}

static void refuse(const char *pem, size_t n, const char *says)
{
        struct nb_rs256 *k = NULL;
        struct nb_err err;

        CHECK_ERR(nb_rs256_new(pem, n, &k, &err), &err, NB_E_INVALID, says);
        CHECK(!k);
}

TEST(what_is_no_rsa_key_is_called_by_its_name)
{
        nb_auto_buf pem = NB_BUF(65536);

        refuse("", 0, "not a private key");
        refuse("hello", 5, "not a private key");
        if (!have_openssl())
                return;
        run("openssl genrsa -out %s 2048 2>/dev/null", in_dir("k.pem"));
        read_pem(in_dir("k.pem"), &pem);
        refuse(pem.data, pem.len - 300, "cut short");
        memset(pem.data + 200, 'A', 300);
        refuse(pem.data, pem.len, "damaged");
        run("openssl rsa -in %s -pubout -out %s 2>/dev/null", in_dir("k.pem"), in_dir("p.pem"));
        read_pem(in_dir("p.pem"), &pem);
        refuse(pem.data, pem.len, "a public key");
        run("openssl rsa -in %s -aes128 -passout pass:x -out %s 2>/dev/null", in_dir("k.pem"),
            in_dir("e.pem"));
        read_pem(in_dir("e.pem"), &pem);
        refuse(pem.data, pem.len, "passphrase");
        run("openssl genrsa -out %s 1024 2>/dev/null", in_dir("short.pem"));
        read_pem(in_dir("short.pem"), &pem);
        refuse(pem.data, pem.len, "1024 bits");
        run("openssl ecparam -name prime256v1 -genkey -noout 2>/dev/null | "
            "openssl pkcs8 -topk8 -nocrypt -out %s",
            in_dir("ec.pem"));
        read_pem(in_dir("ec.pem"), &pem);
        refuse(pem.data, pem.len, "not an RSA one");
}

NBTEST_MAIN()
