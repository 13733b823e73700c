/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How each kind of credentials turns into an access token:
 *   metadata server      GET, with the header that shows that we mean it
 *   service account      a JWT that our key signs, for a token
 *   authorized user      a refresh token, for a token
 *   external account     a subject token from elsewhere (ask-subject.c), for a
 *                        federated token, perhaps for that of a service account
 */

#include "gcp-priv.h"

#include <time.h>

#include <nbcid/num.h>

#define JWT_SECONDS 3600 /* Google's most */
#define AGAIN_MAX 3      /* answers that say "try again" in words */
#define SKEW_MS 60000    /* Google tolerates some; what is over is told */

static const struct nb_json_limits limits = {
        .bytes = 65536, .depth = 8, .values = 500, .secret = true};

void gcp_wipe_buf(struct nb_buf *b)
{
        if (b->data)
                nb_wipe(b->data, b->cap);
        nb_buf_done(b);
}

int gcp_json(const char *what, const char *p, size_t n, struct nb_json_tree **ret,
             struct nb_err *err)
{
        int r = nb_json_read(p, n, &limits, ret, NULL, err);

        if (r == -NB_E_NOMEM)
                return r;
        /* No more of the text: it may be a secret, if not the expected one. */
        return r < 0 ? nb_fail(err, NB_E_REMOTE, "%s did not answer with JSON", what) : 0;
}

int gcp_form(struct nb_buf *b, const char *name, const char *value)
{
        char *encoded = nb_url_encode(value, false);
        int r;

        if (!encoded)
                return -NB_E_NOMEM;
        (void)nb_buf_puts(b, b->len > 0 ? "&" : "");
        (void)nb_buf_puts(b, name);
        (void)nb_buf_putc(b, '=');
        r = nb_buf_puts(b, encoded);
        nb_wipe(encoded, strlen(encoded));
        free(encoded);
        return r;
}

/* A form of secrets is at full size from the start, so that growing leaves no
 * copy behind. */
static int start_body(struct gcp *g, struct nb_err *err)
{
        gcp_wipe_buf(&g->ask_body);
        g->ask_body.max = (size_t)128 << 10;
        if (nb_buf_reserve(&g->ask_body, g->ask_body.max - 1) < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory to ask for a token");
        return 0;
}

static void fail(struct gcp *g, const struct nb_err *err)
{
        struct nb_err copy = *err;

        gcp_wipe_buf(&g->ask_body);
        gcp_token_failed(g, &copy);
}

/* ---- what came back ---- */

/* expires_in, which some servers write as text.  Microseconds. */
static uint64_t life_of(const struct nb_json *v)
{
        const char *s = nb_json_str(v, NULL);
        uint64_t seconds = 0;
        int64_t i;

        if (nb_json_int(v, &i) && i > 0)
                seconds = (uint64_t)i;
        else if (nb_parse_u64(s, 1, UINT32_MAX, &seconds, NULL) < 0)
                return 0;
        return (seconds < 86400 ? seconds : 86400) * NB_US_PER_S;
}

static bool is_token(const char *s, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)s[i] <= 0x20 || (unsigned char)s[i] >= 0x7f)
                        return false;
        return n > 0;
}

static int take_token(struct gcp *g, const struct http_in *resp, struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        const struct nb_json *o;
        const char *token;
        size_t n = 0;
        uint64_t life;
        int r = gcp_json(g->key.token_url ? g->key.token_url : g->metadata_host, resp->body,
                         resp->n_body, &tree, err);

        if (r < 0)
                return r;
        o = nb_json_root(tree);
        token = nb_json_str(nb_json_get(o, "access_token"), &n);
        life = life_of(nb_json_get(o, "expires_in"));
        if (!token || !is_token(token, n) || life == 0)
                return nb_fail(err, NB_E_REMOTE,
                               "the answer for %s holds no access_token, or no expires_in",
                               g->key.identity);
        gcp_wipe_buf(&g->ask_body);
        gcp_token_set(g, token, n, life);
        return 0;
}

/* RFC 9110 section 5.6.7: "Wed, 25 Nov 2026 13:52:11 GMT" */
static bool read_date(const char *s, int64_t *ret_ms)
{
        struct tm tm = {0};
        const char *end = s ? strptime(s, "%a, %d %b %Y %H:%M:%S GMT", &tm) : NULL;

        if (!end || *end)
                return false;
        *ret_ms = (int64_t)timegm(&tm) * 1000;
        return true;
}

/* A JWT from another time is an invalid_grant like any other; only the server's
 * Date shows which clock is wrong. */
static void explain(struct gcp *g, const struct http_in *resp, const struct gcp_error *e,
                    struct nb_err *err)
{
        struct nb_err was = *err;
        int64_t theirs, ahead;
        const char *date = resp ? http_in_header(resp, "Date") : NULL;

        if (!nb_streq(e->status, "invalid_grant")) {
                (void)nb_wrap(err, -1, "no access token for %s", g->key.identity);
                return;
        }
        ahead = read_date(date, &theirs) ? nb_now_ms(g->clock) - theirs : 0;
        if (ahead > SKEW_MS || ahead < -SKEW_MS)
                (void)nb_fail(
                        err, NB_E_DENIED,
                        "no access token for %s: this machine's clock is %lld minutes %s (the "
                        "server says %s); set it, and keep it right with NTP (%s)",
                        g->key.identity, (long long)((ahead < 0 ? -ahead : ahead) + 30000) / 60000,
                        ahead < 0 ? "behind" : "ahead", date, was.msg);
        else
                (void)nb_fail(err, NB_E_DENIED,
                              "no access token for %s: %s; was the key, the account or the login "
                              "removed? make a new one",
                              g->key.identity, was.msg);
}

static bool says_again(const struct gcp_error *e)
{
        return nb_streq(e->status, "internal_failure") || nb_streq(e->status, "server_error") ||
               nb_streq(e->status, "temporarily_unavailable");
}

static void on_again(void *arg)
{
        struct gcp *g = arg;
        struct nb_err err;

        if (gcp_ask(g, &err) < 0)
                fail(g, &err);
}

static void on_failed(struct gcp *g, const struct http_in *resp, const struct gcp_error *e,
                      const struct nb_err *err)
{
        struct nb_err why = *err;

        if (says_again(e) && ++g->n_asked < AGAIN_MAX &&
            (g->ask_again || loop_timer(g->loop, on_again, g, &g->ask_again, NULL) == 0)) {
                loop_timer_arm(g->ask_again, gcp_backoff(g->backoff_us, g->n_asked, NULL));
                return;
        }
        g->n_asked = 0;
        explain(g, resp, e, &why);
        fail(g, &why);
}

static void on_token(void *arg, const struct http_in *resp, const struct gcp_error *e,
                     const struct nb_err *err)
{
        struct gcp *g = arg;
        struct nb_err why;

        g->ask = NULL;
        if (err) {
                on_failed(g, resp, e, err);
                return;
        }
        g->n_asked = 0;
        if (take_token(g, resp, &why) < 0)
                fail(g, &why);
}

static int post_form(struct gcp *g, gcp_call_fn done, struct nb_err *err)
{
        const struct gcp_request r = {
                .method = "POST",
                .url = g->key.token_url,
                .body = g->ask_body.data,
                .n_body = g->ask_body.len,
                .content_type = "application/x-www-form-urlencoded",
                .idempotent = true,
                .anonymous = true,
        };

        if (g->ask_body.failed)
                return nb_fail(err, NB_E_LIMIT, "the credentials of %s are too long",
                               g->key.identity);
        return gcp_call(g, &r, done, g, &g->ask, err);
}

/* ---- service account ---- */

static int put_jwt(struct gcp *g, struct nb_buf *jwt, struct nb_err *err)
{
        nb_auto_buf header = NB_BUF(4096);
        nb_auto_buf claims = NB_BUF(16384);
        nb_auto_buf sig = NB_BUF(4096);
        struct nb_json_out h = NB_JSON_OUT(&header), c = NB_JSON_OUT(&claims);
        int64_t now = nb_now_ms(g->clock) / 1000;
        int r;

        nb_json_open_object(&h);
        nb_json_kv_str(&h, "alg", "RS256");
        nb_json_kv_str(&h, "typ", "JWT");
        if (g->key.key_id)
                nb_json_kv_str(&h, "kid", g->key.key_id);
        nb_json_close(&h);
        nb_json_open_object(&c);
        nb_json_kv_str(&c, "iss", g->key.identity);
        nb_json_kv_str(&c, "scope", g->scope);
        nb_json_kv_str(&c, "aud", g->key.audience);
        nb_json_kv_int(&c, "iat", now);
        nb_json_kv_int(&c, "exp", now + JWT_SECONDS);
        nb_json_close(&c);
        (void)nb_base64url_encode(header.data, header.len, jwt);
        (void)nb_buf_putc(jwt, '.');
        (void)nb_base64url_encode(claims.data, claims.len, jwt);
        if (header.failed || claims.failed || jwt->failed)
                return nb_fail(err, NB_E_LIMIT, "the credentials of %s are too long",
                               g->key.identity);
        r = nb_rs256_sign(g->key.key, jwt->data, jwt->len, &sig, err);
        if (r < 0)
                return nb_wrap(err, r, "%s", g->key.identity);
        (void)nb_buf_putc(jwt, '.');
        (void)nb_base64url_encode(sig.data, sig.len, jwt);
        return 0;
}

static int ask_service_account(struct gcp *g, struct nb_err *err)
{
        NB_CLEANUP(gcp_wipe_buf) struct nb_buf jwt = NB_BUF(65536);
        int r = nb_buf_reserve(&jwt, jwt.max - 1);

        if (r < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory for a signature");
        r = put_jwt(g, &jwt, err);
        if (r < 0)
                return r;
        (void)gcp_form(&g->ask_body, "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
        (void)gcp_form(&g->ask_body, "assertion", nb_buf_str(&jwt));
        return post_form(g, on_token, err);
}

/* ---- authorized user ---- */

static int ask_user(struct gcp *g, struct nb_err *err)
{
        (void)gcp_form(&g->ask_body, "grant_type", "refresh_token");
        (void)gcp_form(&g->ask_body, "client_id", g->key.client_id);
        (void)gcp_form(&g->ask_body, "client_secret", g->key.client_secret.data);
        (void)gcp_form(&g->ask_body, "refresh_token", g->key.refresh_token.data);
        return post_form(g, on_token, err);
}

/* ---- metadata server ---- */

static void on_metadata(void *arg, const struct http_in *resp, const struct gcp_error *e,
                        const struct nb_err *err)
{
        struct gcp *g = arg;
        struct nb_err why;
        const char *flavor = resp ? http_in_header(resp, "Metadata-Flavor") : NULL;

        if (!resp) {
                g->ask = NULL;
                why = *err;
                (void)nb_wrap(&why, -1,
                              "no metadata server, so this is no machine of Google Cloud: name a "
                              "credentials file");
                fail(g, &why);
        } else if (!nb_streq(flavor, "Google")) {
                g->ask = NULL;
                (void)nb_fail(&why, NB_E_REMOTE,
                              "%s answers and is no metadata server of Google; name a credentials "
                              "file, or run on Google Cloud",
                              g->metadata_host);
                fail(g, &why);
        } else if (err && e->http == 404) {
                g->ask = NULL;
                (void)nb_fail(&why, NB_E_NOTFOUND,
                              "this machine has no service account; give it one, or name a "
                              "credentials file");
                fail(g, &why);
        } else {
                on_token(arg, resp, e, err);
        }
}

static int ask_metadata(struct gcp *g, struct nb_err *err)
{
        nb_auto_free char *scope = nb_url_encode(g->scope, false);
        nb_auto_free char *path = nb_asprintf("instance/service-accounts/default/token?scopes=%s",
                                              scope ? scope : "");

        if (!scope || !path)
                return nb_fail(err, NB_E_NOMEM, "no memory to ask for a token");
        return gcp_metadata_get(g, path, on_metadata, g, &g->ask, err);
}

/* ---- external account ---- */

/* RFC 3339 with Z, as Google writes it: "2026-11-25T14:52:11Z" */
static uint64_t life_until(struct gcp *g, const char *s)
{
        struct tm tm = {0};
        const char *end = s ? strptime(s, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
        int64_t left;

        if (!end || (*end != 'Z' && *end != '.'))
                return 0;
        left = (int64_t)timegm(&tm) * 1000 - nb_now_ms(g->clock);
        return left > 0 && left <= 12 * 3600 * INT64_C(1000) ? (uint64_t)left * NB_US_PER_MS : 0;
}

static int take_impersonated(struct gcp *g, const struct http_in *resp, struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        const char *token;
        size_t n = 0;
        uint64_t life;
        int r = gcp_json("the address for impersonation", resp->body, resp->n_body, &tree, err);

        if (r < 0)
                return r;
        token = nb_json_str(nb_json_get(nb_json_root(tree), "accessToken"), &n);
        life = life_until(g, nb_json_str(nb_json_get(nb_json_root(tree), "expireTime"), NULL));
        if (!token || !is_token(token, n))
                return nb_fail(err, NB_E_REMOTE, "the answer for %s holds no accessToken",
                               g->key.identity);
        gcp_wipe_buf(&g->ask_body);
        /* With a clock that disagrees, what was asked for counts. */
        gcp_token_set(g, token, n, life ? life : JWT_SECONDS * NB_US_PER_S);
        return 0;
}

static void on_impersonated(void *arg, const struct http_in *resp, const struct gcp_error *e,
                            const struct nb_err *err)
{
        struct gcp *g = arg;
        struct nb_err why;

        g->ask = NULL;
        if (err)
                on_failed(g, resp, e, err);
        else if (take_impersonated(g, resp, &why) < 0)
                fail(g, &why);
}

static int impersonate(struct gcp *g, const char *federated, struct nb_err *err)
{
        char *bearer = nb_asprintf("Authorization: Bearer %s", federated);
        const char *const headers[] = {bearer, NULL};
        struct nb_json_out o = NB_JSON_OUT(&g->ask_body);
        struct gcp_request r = {
                .method = "POST",
                .url = g->key.impersonation_url,
                .headers = headers,
                .idempotent = true,
                .anonymous = true,
        };
        int bad;

        if (!bearer)
                return nb_fail(err, NB_E_NOMEM, "no memory to ask for a token");
        bad = start_body(g, err);
        if (bad == 0) {
                nb_json_open_object(&o);
                nb_json_key(&o, "scope");
                nb_json_open_array(&o);
                nb_json_put_str(&o, g->scope);
                nb_json_close(&o);
                nb_json_kv_str(&o, "lifetime", "3600s");
                nb_json_close(&o);
                r.body = g->ask_body.data;
                r.n_body = g->ask_body.len;
                bad = gcp_call(g, &r, on_impersonated, g, &g->ask, err);
        }
        nb_wipe(bearer, strlen(bearer));
        free(bearer);
        return bad;
}

static int take_federated(struct gcp *g, const struct http_in *resp, struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        const char *token;
        size_t n = 0;
        int r = gcp_json(g->key.token_url, resp->body, resp->n_body, &tree, err);

        if (r < 0)
                return r;
        token = nb_json_str(nb_json_get(nb_json_root(tree), "access_token"), &n);
        if (!token || !is_token(token, n))
                return nb_fail(err, NB_E_REMOTE, "the answer of %s holds no access_token",
                               g->key.token_url);
        return impersonate(g, token, err);
}

static void on_federated(void *arg, const struct http_in *resp, const struct gcp_error *e,
                         const struct nb_err *err)
{
        struct gcp *g = arg;
        struct nb_err why;

        g->ask = NULL;
        if (err)
                on_failed(g, resp, e, err);
        else if (take_federated(g, resp, &why) < 0)
                fail(g, &why);
}

static void on_subject(struct gcp *g, const char *token, const struct nb_err *err)
{
        static const char kind[] = "urn:ietf:params:oauth:token-type:access_token";
        struct nb_err why;

        if (err) {
                fail(g, err);
                return;
        }
        (void)gcp_form(&g->ask_body, "grant_type",
                       "urn:ietf:params:oauth:grant-type:token-exchange");
        (void)gcp_form(&g->ask_body, "audience", g->key.audience);
        (void)gcp_form(&g->ask_body, "scope", g->scope);
        (void)gcp_form(&g->ask_body, "requested_token_type", kind);
        (void)gcp_form(&g->ask_body, "subject_token", token);
        (void)gcp_form(&g->ask_body, "subject_token_type", g->key.subject_type);
        if (post_form(g, g->key.impersonation_url ? on_federated : on_token, &why) < 0)
                fail(g, &why);
}

/* ---- all of them ---- */

int gcp_ask(struct gcp *g, struct nb_err *err)
{
        int r = start_body(g, err);

        if (r < 0)
                return r;
        switch (g->key.kind) {
        case GCP_SERVICE_ACCOUNT:
                return ask_service_account(g, err);
        case GCP_AUTHORIZED_USER:
                return ask_user(g, err);
        case GCP_EXTERNAL:
                return gcp_subject_get(g, on_subject, err);
        case GCP_METADATA:
        default:
                return ask_metadata(g, err);
        }
}

void gcp_ask_cancel(struct gcp *g)
{
        gcp_subject_cancel(g);
        gcp_call_cancel(g->ask);
        g->ask = NULL;
        g->ask_again = loop_source_free(g->ask_again);
        gcp_wipe_buf(&g->ask_body);
        g->asking = false;
}
