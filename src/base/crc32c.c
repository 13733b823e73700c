/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/crypto.h>

#include <endian.h>
#include <pthread.h>
#include <string.h>

/* The reflected polynomial of RFC 3720 section 12.1 (Castagnoli); neither
 * OpenSSL nor zlib has it. */
#define POLYNOMIAL UINT32_C(0x82f63b78)
#define SLICES 8

/* table[k][b]: what byte b becomes when k more bytes have followed it. */
static uint32_t table[SLICES][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void fill_table(void)
{
        for (uint32_t b = 0; b < 256; b++) {
                uint32_t v = b;

                for (int bit = 0; bit < 8; bit++)
                        v = v >> 1 ^ (v & 1 ? POLYNOMIAL : 0);
                table[0][b] = v;
        }
        for (uint32_t b = 0; b < 256; b++)
                for (int k = 1; k < SLICES; k++)
                        table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 0xff];
}

uint32_t nb_crc32c(uint32_t crc, const void *p, size_t n)
{
        const unsigned char *at = p;

        nb_assert(pthread_once(&table_once, fill_table) == 0);
        crc = ~crc;
        /* Eight bytes in one step: eight look-ups that do not wait for each
         * other, where byte by byte each waits for the one before. */
        for (; n >= SLICES; n -= SLICES, at += SLICES) {
                uint64_t v;

                memcpy(&v, at, sizeof(v));
                v = le64toh(v) ^ crc;
                crc = 0;
                for (int k = 0; k < SLICES; k++)
                        crc ^= table[SLICES - 1 - k][v >> 8 * k & 0xff];
        }
        for (; n > 0; n--, at++)
                crc = crc >> 8 ^ table[0][(crc ^ *at) & 0xff];
        return ~crc;
}
