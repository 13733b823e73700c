/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Credential files: those of a service account, of gcloud's user, and of
 * workload identity federation.  The last kind tells us where to send tokens,
 * and is handed around as if it were no secret; so only Google's own hosts
 * are believed, unless the operator says otherwise, and nothing is executed.
 */

#include "gcp-priv.h"

#include <nbcid/err.h>

#define TOKEN_URL "https://oauth2.googleapis.com/token"

static const struct nb_json_limits limits = {
        .bytes = 65536, .depth = 8, .values = 500, .secret = true};

static int no_memory(struct nb_err *err)
{
        return nb_fail(err, NB_E_NOMEM, "no memory for credentials");
}

/* Copy member name; a missing one leaves NULL unless it is needed. */
static int take_text(const struct nb_json *o, const char *name, bool needed, char **ret,
                     struct nb_err *err)
{
        const struct nb_json *v = nb_json_get(o, name);
        size_t n = 0;
        const char *s = nb_json_str(v, &n);

        if (!v && !needed)
                return 0;
        if (!v)
                return nb_fail(err, NB_E_INVALID, "it has no \"%s\"; download it again", name);
        if (!s || n == 0)
                return nb_fail(err, NB_E_INVALID, "its \"%s\" is no text, or an empty one", name);
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
                        return nb_fail(err, NB_E_INVALID, "its \"%s\" has control characters",
                                       name);
        free(*ret);
        *ret = nb_strdup(s);
        return *ret ? 0 : no_memory(err);
}

static int take_secret(const struct nb_json *o, const char *name, struct nb_secret *ret,
                       struct nb_err *err)
{
        size_t n = 0;
        const char *s = nb_json_str(nb_json_get(o, name), &n);

        if (!s || n == 0)
                return nb_fail(err, NB_E_INVALID, "it has no \"%s\"; download it again", name);
        return nb_secret_set(ret, s, n) == 0 ? 0 : no_memory(err);
}

/* The authority of an https address; false for anything else. */
static bool https_host(const char *url, const char **ret, size_t *ret_n)
{
        if (!url || !nb_starts_with(url, "https://"))
                return false;
        *ret = url + strlen("https://");
        *ret_n = strcspn(*ret, "/?#");
        return *ret_n > 0 && !memchr(*ret, '@', *ret_n) && !memchr(*ret, '\\', *ret_n);
}

static bool is_googles(const char *url)
{
        static const char *const names[] = {"googleapis.com", "accounts.google.com"};
        const char *host;
        size_t n;

        if (!https_host(url, &host, &n))
                return false;
        if (n > 4 && memcmp(host + n - 4, ":443", 4) == 0)
                n -= 4;
        for (size_t i = 0; i < NB_ARRAY_SIZE(names); i++) {
                size_t k = strlen(names[i]);
                if (n >= k && memcmp(host + n - k, names[i], k) == 0 &&
                    (n == k || host[n - k - 1] == '.'))
                        return true;
        }
        return false;
}

static bool same_origin(const char *a, const char *b)
{
        const char *path_a = strstr(a, "://"), *path_b = strstr(b, "://");
        size_t n_a, n_b;

        if (!path_a || !path_b)
                return false;
        n_a = (size_t)(path_a - a) + 3 + strcspn(path_a + 3, "/?#");
        n_b = (size_t)(path_b - b) + 3 + strcspn(path_b + 3, "/?#");
        return n_a == n_b && memcmp(a, b, n_a) == 0;
}

static int check_url(const char *name, const char *url, const char *operators, struct nb_err *err)
{
        if (is_googles(url) || (operators && same_origin(url, operators)))
                return 0;
        return nb_fail(
                err, NB_E_INVALID,
                "its \"%s\" is \"%s\", which is not https at googleapis.com: tokens would go "
                "to strangers; if that host is meant, name it in the configuration",
                name, url);
}

/* The operator's address wins; else the file's, which must be Google's. */
static int take_token_url(const struct nb_json *o, const char *name, const char *operators,
                          const char *standard, struct gcp_key *k, struct nb_err *err)
{
        int r = take_text(o, name, !standard, &k->token_url, err);

        if (r < 0)
                return r;
        if (operators || !k->token_url) {
                free(k->token_url);
                k->token_url = nb_strdup(operators ? operators : standard);
                return k->token_url ? 0 : no_memory(err);
        }
        return check_url(name, k->token_url, NULL, err);
}

static int parse_service_account(const struct nb_json *o, const char *token_url, struct gcp_key *k,
                                 struct nb_err *err)
{
        size_t n = 0;
        const char *pem = nb_json_str(nb_json_get(o, "private_key"), &n);
        int r = take_text(o, "client_email", true, &k->identity, err);

        if (r == 0)
                r = take_text(o, "private_key_id", false, &k->key_id, err);
        if (r == 0)
                r = take_text(o, "token_uri", false, &k->audience, err);
        if (r == 0)
                r = take_token_url(o, "token_uri", token_url, TOKEN_URL, k, err);
        if (r < 0)
                return r;
        if (!k->audience && !(k->audience = nb_strdup(TOKEN_URL)))
                return no_memory(err);
        if (!pem)
                return nb_fail(err, NB_E_INVALID,
                               "it has no \"private_key\"; make a new key for %s and download it",
                               k->identity);
        r = nb_rs256_new(pem, n, &k->key, err);
        return nb_wrap(err, r, "\"private_key\"");
}

static int parse_authorized_user(const struct nb_json *o, const char *token_url, struct gcp_key *k,
                                 struct nb_err *err)
{
        int r = take_text(o, "client_id", true, &k->client_id, err);

        if (r == 0)
                r = take_secret(o, "client_secret", &k->client_secret, err);
        if (r == 0)
                r = take_secret(o, "refresh_token", &k->refresh_token, err);
        if (r == 0)
                r = take_token_url(o, "token_uri", token_url, TOKEN_URL, k, err);
        if (r < 0)
                return r;
        k->identity = nb_asprintf("the user of client %s", k->client_id);
        return k->identity ? 0 : no_memory(err);
}

static int take_source_headers(const struct nb_json *headers, struct gcp_key *k, struct nb_err *err)
{
        for (size_t i = 0; i < nb_json_size(headers); i++) {
                const char *name = NULL;
                const char *value = nb_json_str(nb_json_member(headers, i, &name), NULL);
                struct http_out check = {0};
                int bad;

                if (!name || !value)
                        return nb_fail(err, NB_E_INVALID,
                                       "the headers of its \"credential_source\" are not texts");
                bad = http_out_header(&check, name, value);
                http_out_done(&check);
                if (bad < 0)
                        return nb_fail(err, NB_E_INVALID,
                                       "header \"%s\" of its \"credential_source\" is not one line",
                                       name);
                if (nb_strv_add_take(&k->source_headers, nb_asprintf("%s: %s", name, value)) < 0)
                        return no_memory(err);
        }
        return 0;
}

static int take_format(const struct nb_json *format, struct gcp_key *k, struct nb_err *err)
{
        const char *type = nb_json_str(nb_json_get(format, "type"), NULL);

        if (!type || nb_streq(type, "text"))
                return 0;
        if (!nb_streq(type, "json"))
                return nb_fail(
                        err, NB_E_INVALID,
                        "its \"credential_source\" has format \"%s\"; text or json are known",
                        type);
        return take_text(format, "subject_token_field_name", true, &k->source_field, err);
}

static int take_source(const struct nb_json *source, struct gcp_key *k, struct nb_err *err)
{
        int r;

        if (nb_json_get(source, "executable"))
                return nb_fail(
                        err, NB_E_DENIED,
                        "its \"credential_source\" is an executable, and nothing that such a "
                        "file names is run; use a file or an url");
        if (nb_json_get(source, "environment_id"))
                return nb_fail(err, NB_E_INVALID,
                               "its \"credential_source\" is AWS's; use a file or an url");
        r = take_text(source, "file", false, &k->source_file, err);
        if (r == 0)
                r = take_text(source, "url", false, &k->source_url, err);
        if (r == 0)
                r = take_source_headers(nb_json_get(source, "headers"), k, err);
        if (r == 0)
                r = take_format(nb_json_get(source, "format"), k, err);
        if (r < 0)
                return r;
        if (!k->source_file == !k->source_url)
                return nb_fail(err, NB_E_INVALID,
                               "its \"credential_source\" needs a \"file\" or an \"url\", and not "
                               "both");
        return 0;
}

/* "…/serviceAccounts/ci@p.iam.gserviceaccount.com:generateAccessToken" */
static char *impersonated(const char *url)
{
        const char *name = strrchr(url, '/');

        name = name ? name + 1 : url;
        return nb_strndup(name, strcspn(name, ":"));
}

static int parse_external(const struct nb_json *o, const char *token_url, struct gcp_key *k,
                          struct nb_err *err)
{
        int r = take_text(o, "audience", true, &k->audience, err);

        if (r == 0)
                r = take_text(o, "subject_token_type", true, &k->subject_type, err);
        if (r == 0)
                r = take_token_url(o, "token_url", token_url, NULL, k, err);
        if (r == 0)
                r = take_source(nb_json_get(o, "credential_source"), k, err);
        if (r == 0)
                r = take_text(o, "service_account_impersonation_url", false, &k->impersonation_url,
                              err);
        if (r == 0 && k->impersonation_url)
                r = check_url("service_account_impersonation_url", k->impersonation_url, token_url,
                              err);
        if (r < 0)
                return r;
        k->identity = k->impersonation_url ? impersonated(k->impersonation_url)
                                           : nb_asprintf("an identity of %s", k->audience);
        return k->identity ? 0 : no_memory(err);
}

static const struct {
        const char *type;
        enum gcp_kind kind;
        int (*parse)(const struct nb_json *o, const char *token_url, struct gcp_key *k,
                     struct nb_err *err);
} kinds[] = {
        {"service_account", GCP_SERVICE_ACCOUNT, parse_service_account},
        {"authorized_user", GCP_AUTHORIZED_USER, parse_authorized_user},
        {"external_account", GCP_EXTERNAL, parse_external},
};

static int parse_kind(const struct nb_json *o, const char *token_url, struct gcp_key *k,
                      struct nb_err *err)
{
        const char *type = nb_json_str(nb_json_get(o, "type"), NULL);

        for (size_t i = 0; i < NB_ARRAY_SIZE(kinds); i++)
                if (nb_streq(type, kinds[i].type)) {
                        k->kind = kinds[i].kind;
                        return kinds[i].parse(o, token_url, k, err);
                }
        if (!type && (nb_json_get(o, "installed") || nb_json_get(o, "web")))
                return nb_fail(err, NB_E_INVALID,
                               "it is an OAuth client and not a key; make a service account and "
                               "download its key");
        if (!type)
                return nb_fail(err, NB_E_INVALID,
                               "it has no \"type\"; a key of a service account has "
                               "\"type\": \"service_account\"");
        return nb_fail(err, NB_E_INVALID,
                       "its \"type\" is \"%s\"; service_account, authorized_user and "
                       "external_account are known",
                       type);
}

int gcp_key_parse(const char *p, size_t n, const char *token_url, struct gcp_key *ret,
                  struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        NB_CLEANUP(gcp_key_done) struct gcp_key k = {0};
        const struct nb_json *o;
        int r;

        if (memmem(p, n, "-----BEGIN", 10) == p)
                return nb_fail(err, NB_E_INVALID,
                               "it is PEM; give the JSON file in which the key was downloaded");
        r = nb_json_read(p, n, &limits, &tree, NULL, err);
        if (r < 0)
                return nb_wrap(err, r, "it is not the JSON of a key");
        o = nb_json_root(tree);
        if (nb_json_type(o) != NB_JSON_OBJECT)
                return nb_fail(err, NB_E_INVALID, "it is not the JSON of a key, but %s",
                               nb_json_type_name(nb_json_type(o)));
        r = parse_kind(o, token_url, &k, err);
        if (r == 0)
                r = take_text(o, "project_id", false, &k.project, err);
        if (r == 0)
                r = take_text(o, "quota_project_id", false, &k.quota_project, err);
        if (r < 0)
                return r;
        *ret = k;
        k = (struct gcp_key){0};
        return 0;
}

void gcp_key_done(struct gcp_key *k)
{
        char *texts[] = {k->identity,    k->project,    k->quota_project, k->token_url,
                         k->audience,    k->key_id,     k->client_id,     k->subject_type,
                         k->source_file, k->source_url, k->source_field,  k->impersonation_url};

        for (size_t i = 0; i < NB_ARRAY_SIZE(texts); i++)
                free(texts[i]);
        nb_rs256_free(k->key);
        nb_secret_done(&k->client_secret);
        nb_secret_done(&k->refresh_token);
        for (size_t i = 0; i < k->source_headers.n; i++) /* may hold a token */
                nb_wipe(k->source_headers.v[i], strlen(k->source_headers.v[i]));
        nb_strv_done(&k->source_headers);
        *k = (struct gcp_key){0};
}
