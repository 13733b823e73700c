/* SPDX-License-Identifier: Apache-2.0 */
#include "shared.h"

#include <stdlib.h>
#include <string.h>

#include <nbcid/buf.h>
#include <nbcid/num.h>

#define TARGET_URL_MAX 4096
#define WAIT_MAX_S 3600 /* no forge's limit lasts longer; asking once an hour offends none */
#define DENIED_WAIT_S 300
#define HASH_BYTES 4

/* Replace each character above U+FFFF: in well-formed UTF-8, those are the ones
 * of four bytes. */
static void keep_bmp(char *s)
{
        static const char replacement[] = "\xef\xbf\xbd";
        char *to = s;

        while (*s) {
                if ((unsigned char)*s >= 0xf0) {
                        memcpy(to, replacement, 3);
                        to += 3;
                        s += 4;
                } else {
                        *to++ = *s++;
                }
        }
        *to = '\0';
}

static char *clean_text(const char *text)
{
        char *clean = nb_utf8_clean(text, strlen(text), true);

        if (clean)
                keep_bmp(clean);
        return clean;
}

char *forge_status_text(const char *text, size_t max_chars)
{
        nb_auto_free char *clean = clean_text(text);

        return nb_utf8_cut(clean, max_chars);
}

char *forge_status_context(const char *context, size_t max_chars)
{
        nb_auto_free char *clean = clean_text(context);
        uint8_t hash[NB_SHA256_SIZE];
        char hex[2 * HASH_BYTES + 1];
        size_t all;

        if (!clean)
                return NULL;
        all = strlen(clean);
        if (nb_streq(clean, context) && nb_utf8_prefix(clean, max_chars) == all)
                return NB_TAKE(clean);
        nb_sha256(context, strlen(context), hash);
        nb_hex(hex, hash, HASH_BYTES);
        return nb_asprintf("%.*s\xe2\x80\xa6%s",
                           (int)nb_utf8_prefix(clean, max_chars - 1 - strlen(hex)), clean, hex);
}

int forge_status_check(const struct config_forge *f, const struct note *n, struct nb_err *err)
{
        int r;

        if (f->token.n == 0)
                return nb_fail(err, NB_E_DENIED,
                               "forge %s has no token_file; commit statuses need one", f->name);
        for (size_t i = 0; i < f->token.n; i++)
                if (f->token.data[i] <= ' ' || f->token.data[i] > '~')
                        return nb_fail(err, NB_E_DENIED,
                                       "forge %s: token_file has a character that no token has; "
                                       "it must hold the token and nothing else",
                                       f->name);
        r = forge_check_repository(f->kind, n->repository, err);
        if (r < 0)
                return r;
        if (!nb_oid_valid(n->commit))
                return nb_fail(err, NB_E_INVALID, "the commit is not 40 or 64 hex digits");
        if (n->target_url && strnlen(n->target_url, TARGET_URL_MAX + 1) > TARGET_URL_MAX)
                return nb_fail(err, NB_E_LIMIT, "the URL of the page is over %d bytes long",
                               TARGET_URL_MAX);
        return 0;
}

/* http_out_header() with a value that must not stay behind in memory. */
static int add_token(struct http_out *m, const char *header, const char *prefix,
                     const struct nb_secret *token)
{
        char *value = nb_asprintf("%s%s", prefix, token->data);
        int r;

        if (!value)
                return -1;
        r = http_out_header(m, header, value);
        nb_wipe(value, strlen(value));
        free(value);
        return r;
}

int forge_status_post_take(const struct config_forge *f, struct forge_post *p, struct http_out *ret,
                           struct nb_err *err)
{
        NB_CLEANUP(http_out_done) struct http_out m = {.url = NB_TAKE(p->url)};
        bool ok;

        m.n_body = p->body->len;
        m.body = nb_buf_steal(p->body);
        m.method = nb_strdup("POST");
        ok = m.url && m.body && m.method &&
             add_token(&m, p->token_header, p->token_prefix, &f->token) == 0 &&
             http_out_header(&m, "Content-Type", "application/json") == 0;
        for (size_t i = 0; ok && i < p->n_more; i++)
                ok = http_out_header(&m, p->more[i].name, p->more[i].value) == 0;
        if (!ok)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *ret = m;
        m = (struct http_out){0};
        return 0;
}

static uint32_t clamp_wait(uint64_t s)
{
        return s < 1 ? 1 : s > WAIT_MAX_S ? WAIT_MAX_S : (uint32_t)s;
}

uint32_t forge_retry_after(const struct http_in *resp)
{
        const char *value = forge_header(resp, "Retry-After");
        uint64_t s;

        if (!value)
                return 0;
        if (nb_parse_u64(value, 0, UINT64_MAX, &s, NULL) < 0)
                return FORGE_LIMITED_WAIT_S;
        return clamp_wait(s);
}

uint32_t forge_wait_until(const struct http_in *resp, const char *header, int64_t now_s)
{
        const char *value = forge_header(resp, header);
        int64_t at;

        if (!value || nb_parse_i64(value, 0, INT64_MAX, &at, NULL) < 0)
                return FORGE_LIMITED_WAIT_S;
        return at > now_s ? clamp_wait((uint64_t)at - (uint64_t)now_s) : 1;
}

bool forge_body_has(const struct http_in *resp, const char *text)
{
        return resp->n_body > 0 && memmem(resp->body, resp->n_body, text, strlen(text));
}

enum note_verdict forge_status_verdict(const struct http_in *resp, uint32_t *ret_wait_s)
{
        *ret_wait_s = 0;
        if (resp->status >= 200 && resp->status < 300)
                return NOTE_ACCEPTED;
        if (resp->status == 401) {
                /* the operator may be about to put a new token in place */
                *ret_wait_s = DENIED_WAIT_S;
                return NOTE_RETRY;
        }
        if (resp->status == 408 || resp->status >= 500) {
                *ret_wait_s = forge_retry_after(resp);
                return NOTE_RETRY;
        }
        return NOTE_REFUSED;
}
