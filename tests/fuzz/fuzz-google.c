/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes as a credentials file, and as the answer of an API: a file that is
 * taken sends tokens to Google only; an error always has its class and one
 * line of text.
 */

#include <string.h>

#include <nbcid/gcp.h>
#include <nbcid/str.h>

#include "../../src/gcp/gcp-priv.h"
#include "fuzz.h"

static void check_key(const char *p, size_t n)
{
        struct gcp_key k;
        struct nb_err err;
        int r = gcp_key_parse(p, n, NULL, &k, &err);

        if (r < 0) {
                PROPERTY(err.code == NB_E_INVALID || err.code == NB_E_LIMIT ||
                         err.code == NB_E_DENIED);
                PROPERTY(nb_utf8_valid(err.msg, strlen(err.msg), NULL));
                PROPERTY(!strpbrk(err.msg, "\r\n"));
                return;
        }
        PROPERTY(k.identity && *k.identity);
        PROPERTY(nb_starts_with(k.token_url, "https://"));
        PROPERTY(strstr(k.token_url, "googleapis.com") ||
                 strstr(k.token_url, "accounts.google.com"));
        PROPERTY(k.kind != GCP_EXTERNAL || !k.source_file != !k.source_url);
        gcp_key_done(&k);
        PROPERTY(!k.identity);
}

static void check_error(const char *p, size_t n)
{
        const struct http_in in = {.status = 429, .body = p, .n_body = n};
        struct gcp_error e;
        struct nb_err err;

        PROPERTY(gcp_error_read("https://host/secret", &in, &e, &err) == -NB_E_BUSY);
        PROPERTY(e.http == 429 && e.code >= 0 && e.code <= 16);
        PROPERTY(strlen(e.message) < sizeof(e.message) && !strpbrk(e.message, "\r\n"));
        PROPERTY(nb_utf8_valid(e.message, strlen(e.message), NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        nb_auto_free char *copy = malloc(size + 1);

        if (!copy)
                return 0;
        if (size > 0)
                memcpy(copy, data, size);
        copy[size] = '\0'; /* as a secret and an answer have it */
        check_key(copy, size);
        check_error(copy, size);
        return 0;
}
