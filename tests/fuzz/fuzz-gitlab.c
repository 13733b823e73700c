/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any request as a delivery from GitLab: no token or signature but the right
 * one passes, and what parses can be built.
 */

#include <nbcid/buf.h>
#include <nbcid/crypto.h>

#include "fuzz-forge.h"

static int authenticate(const struct config_forge *f, const struct http_in *in)
{
        struct nb_err err;
        int r = forge_ops_of(FORGE_GITLAB)->authenticate(f, in, FUZZ_NOW, &err);

        PROPERTY(r == 0 || r == -NB_E_DENIED);
        if (r < 0)
                fuzz_check_line(err.msg);
        return r;
}

/* Whatever token is given, only a secret that equals it lets it in. */
static void check_token(const struct config_forge *plain, const struct fuzz_request *r)
{
        const char *given = http_in_header(&r->in, "X-Gitlab-Token");
        nb_auto_free char *longer = nb_asprintf("%sx", given ? given : "");
        size_t n = given ? strlen(given) : 0;
        struct config_forge f = *plain;

        PROPERTY(longer);
        f.secrets[0] = (struct nb_secret){longer, n + 1};
        PROPERTY(authenticate(&f, &r->in) < 0);
        f.secrets[1] = (struct nb_secret){longer, n};
        PROPERTY((authenticate(&f, &r->in) == 0) == (n > 0));
        f.secrets[0].n = 0;
        PROPERTY((authenticate(&f, &r->in) == 0) == (n > 0));
        if (n > 0) {
                longer[n - 1] ^= 1;
                PROPERTY(authenticate(&f, &r->in) < 0);
        }
}

static void check_signature(const struct config_forge *f, struct fuzz_request *r)
{
        static const char key[] = "0123456789abcdef01234567"; /* of the signing token */
        const struct nb_piece pieces[] = {{"id.1767323045.", 14}, {r->in.body, r->in.n_body}};
        struct config_forge both = *f, other = *f;
        static char wrong[] = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY4", token[] = "token";
        uint8_t hash[NB_SHA256_SIZE];
        nb_auto_buf list = NB_BUF(1000);

        PROPERTY(authenticate(f, &r->in) < 0);
        nb_hmac_sha256_pieces(key, sizeof(key) - 1, pieces, 2, hash);
        nb_buf_puts(&list, "v1,");
        PROPERTY(nb_base64_encode(hash, sizeof(hash), &list) == 0);
        fuzz_request_put(r, "webhook-signature", list.data);
        fuzz_request_put(r, "webhook-timestamp", "1767323045");
        fuzz_request_put(r, "webhook-id", "id");
        PROPERTY(authenticate(f, &r->in) == 0);
        other.signing[0] = (struct nb_secret){wrong, sizeof(wrong) - 1};
        PROPERTY(authenticate(&other, &r->in) < 0);
        /* a wrong signature spoils a right token */
        other.secrets[0] = (struct nb_secret){token, sizeof(token) - 1};
        fuzz_request_put(r, "x-gitlab-token", token);
        PROPERTY(authenticate(&other, &r->in) < 0);
        both.secrets[0] = other.secrets[0];
        PROPERTY(authenticate(&both, &r->in) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static char name[] = "lab", base[] = "https://gitlab.example",
                    signing[] = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
        struct config_forge f = {
                .name = name, .kind = FORGE_GITLAB, .api_url = base, .clone_base = base};
        struct fuzz_request r;

        fuzz_request_read(data, size, &r);
        fuzz_check_parse(&f, &r.in);
        fuzz_check_delivery_id(&f, &r.in);
        fuzz_check_reply(&f, &r.in);
        check_token(&f, &r);
        f.signing[0] = (struct nb_secret){signing, sizeof(signing) - 1};
        check_signature(&f, &r);
        free(r.head);
        return 0;
}
