/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any request as a delivery from GitHub: no signature but the right one passes,
 * and what parses can be built.
 */

#include <nbcid/crypto.h>

#include "fuzz-forge.h"

static int authenticate(const struct config_forge *f, const struct http_in *in)
{
        struct nb_err err;
        int r = forge_ops_of(FORGE_GITHUB)->authenticate(f, in, FUZZ_NOW, &err);

        PROPERTY(r == 0 || r == -NB_E_DENIED);
        if (r < 0)
                fuzz_check_line(err.msg);
        return r;
}

static void check_signature(const struct config_forge *f, struct fuzz_request *r, unsigned flip)
{
        struct config_forge other = *f, none = *f;
        char header[7 + 2 * NB_SHA256_SIZE + 1] = "sha256=";
        uint8_t hash[NB_SHA256_SIZE];

        PROPERTY(authenticate(f, &r->in) < 0);
        nb_hmac_sha256(f->secrets[0].data, f->secrets[0].n, r->in.body, r->in.n_body, hash);
        nb_hex(header + 7, hash, sizeof(hash));
        fuzz_request_put(r, "x-hub-signature-256", header);
        PROPERTY(authenticate(f, &r->in) == 0);
        other.secrets[0].n--;
        PROPERTY(authenticate(&other, &r->in) < 0);
        other.secrets[1] = f->secrets[0];
        PROPERTY(authenticate(&other, &r->in) == 0);
        none.secrets[0].n = 0;
        PROPERTY(authenticate(&none, &r->in) < 0);
        hash[flip / 8 % NB_SHA256_SIZE] ^= (uint8_t)(1u << flip % 8);
        nb_hex(header + 7, hash, sizeof(hash));
        PROPERTY(authenticate(f, &r->in) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static char name[] = "hub", base[] = "https://github.example", secret[] = "no one knows";
        struct config_forge f = {.name = name,
                                 .kind = FORGE_GITHUB,
                                 .api_url = base,
                                 .clone_base = base,
                                 .secrets = {{secret, sizeof(secret) - 1}}};
        struct fuzz_request r;

        fuzz_request_read(data, size, &r);
        fuzz_check_parse(&f, &r.in);
        fuzz_check_delivery_id(&f, &r.in);
        fuzz_check_reply(&f, &r.in);
        check_signature(&f, &r, (unsigned)size);
        free(r.head);
        return 0;
}
