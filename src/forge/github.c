/* SPDX-License-Identifier: Apache-2.0 */

/*
 * GitHub.  Deliveries: docs.github.com, "Validating webhook deliveries" and
 * "Webhook events and payloads" (push, ping).  Statuses: "REST API endpoints
 * for commit statuses".  Limits: "Rate limits for the REST API".
 */

#include "shared.h"

#include <stdlib.h>
#include <string.h>

#include <nbcid/json.h>

#include "pick.h"

#define SIGNATURE_HEADER "X-Hub-Signature-256"
#define SIGNATURE_PREFIX "sha256="
/* 141 and 256 are answered with 422 */
#define DESCRIPTION_CHARS 140
#define CONTEXT_CHARS 255
#define MESSAGE_MAX 1024 /* bytes of a commit message; its first line is shown */

/* ---- deliveries ---- */

/* Binary form of the signature header, or what is wrong with it. */
static int read_signature(const struct http_in *req, uint8_t ret[NB_SHA256_SIZE],
                          struct nb_err *err)
{
        const char *hex = forge_header(req, SIGNATURE_HEADER);
        size_t n;

        if (!hex)
                return nb_fail(err, NB_E_DENIED,
                               "the " SIGNATURE_HEADER
                               " header is missing; set the webhook's secret");
        if (!nb_starts_with(hex, SIGNATURE_PREFIX))
                return nb_fail(err, NB_E_DENIED,
                               "the " SIGNATURE_HEADER
                               " header does not begin with \"" SIGNATURE_PREFIX "\"");
        hex += strlen(SIGNATURE_PREFIX);
        n = strlen(hex);
        if (n != (size_t)2 * NB_SHA256_SIZE)
                return nb_fail(err, NB_E_DENIED,
                               "the " SIGNATURE_HEADER
                               " header has %zu digits, not %d: it was cut or altered on the way",
                               n, 2 * NB_SHA256_SIZE);
        if (strspn(hex, "0123456789abcdef") != n || !nb_unhex(hex, n, ret, NB_SHA256_SIZE))
                return nb_fail(err, NB_E_DENIED,
                               "the " SIGNATURE_HEADER
                               " header has characters that are not lower-case hex digits");
        return 0;
}

static int github_authenticate(const struct config_forge *f, const struct http_in *req,
                               int64_t now_s, struct nb_err *err)
{
        uint8_t given[NB_SHA256_SIZE], wanted[NB_SHA256_SIZE];
        bool configured = false;
        int r;

        r = read_signature(req, given, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < NB_ARRAY_SIZE(f->secrets); i++) {
                /* an empty key would let everybody sign */
                if (f->secrets[i].n == 0)
                        continue;
                configured = true;
                nb_hmac_sha256(f->secrets[i].data, f->secrets[i].n, req->body, req->n_body, wanted);
                if (nb_ct_equal(given, wanted, sizeof(wanted)))
                        return 0;
        }
        if (!configured)
                return nb_fail(err, NB_E_DENIED,
                               "forge %s has no webhook_secret_file; nothing can authenticate",
                               f->name);
        return nb_fail(err, NB_E_DENIED,
                       "the signature does not match; is the webhook's secret the one in "
                       "webhook_secret_file of forge %s?",
                       f->name);
}

static int github_delivery_id(const struct http_in *req, char **ret, struct nb_err *err)
{
        const char *id = forge_header(req, "X-GitHub-Delivery");

        return id ? forge_delivery_id("X-GitHub-Delivery", id, ret, err)
                  : forge_delivery_id_of_body(req, ret, err);
}

static const char *github_event_name(const struct http_in *req)
{
        const char *name = http_in_header(req, "X-GitHub-Event");

        return name ? name : "";
}

static bool is_media_type(const char *value, const char *type)
{
        for (; *type; type++, value++) {
                char c = *value >= 'A' && *value <= 'Z' ? (char)(*value + ('a' - 'A')) : *value;
                if (c != *type)
                        return false;
        }
        return *value == '\0' || *value == ';' || *value == ' ' || *value == '\t';
}

/* The value of "payload=" in a form body; owned. */
static int form_payload(const struct http_in *req, char **ret, size_t *ret_n, struct nb_err *err)
{
        static const char key[] = "payload=";
        size_t n_key = sizeof(key) - 1, n_value = 0;
        const char *value = NULL;

        for (size_t i = 0; i < req->n_body;) {
                const char *s = req->body + i, *amp = memchr(s, '&', req->n_body - i);
                size_t n = amp ? (size_t)(amp - s) : req->n_body - i;
                if (n >= n_key && memcmp(s, key, n_key) == 0) {
                        if (value)
                                return nb_fail(err, NB_E_INVALID, "the form has \"payload\" twice");
                        value = s + n_key;
                        n_value = n - n_key;
                }
                i += n + 1;
        }
        if (!value)
                return nb_fail(err, NB_E_INVALID, "the form has no \"payload\"");
        *ret = nb_url_decode(value, n_value, ret_n);
        if (!*ret)
                return nb_fail(err, NB_E_INVALID, "the form's \"payload\" is not percent-encoded");
        return 0;
}

/* The JSON text of a delivery: borrowed, or owned by *form. */
static int find_payload(const struct http_in *req, char **form, const char **ret, size_t *ret_n,
                        struct nb_err *err)
{
        const char *type = forge_header(req, "Content-Type");
        int r;

        if (type && is_media_type(type, "application/json")) {
                *ret = req->body;
                *ret_n = req->n_body;
                return 0;
        }
        if (!type || !is_media_type(type, "application/x-www-form-urlencoded"))
                return nb_fail(err, NB_E_INVALID,
                               "the Content-Type header is neither application/json nor "
                               "application/x-www-form-urlencoded; set the webhook's content type");
        r = form_payload(req, form, ret_n, err);
        if (r == 0)
                *ret = *form;
        return r;
}

enum {
        REF,
        BEFORE,
        AFTER,
        DELETED,
        FULL_NAME,
        DEFAULT_BRANCH,
        MESSAGE,
        PUSHER,
        SENDER,
        PUSH__COUNT,
};

static int parse_push(const char *p, size_t n, struct forge_event *ret, struct nb_err *err)
{
        static const struct pick_spec specs[PUSH__COUNT] = {
                [REF] = {"ref", PICK_STRING, .max = 4096},
                [BEFORE] = {"before", PICK_STRING, .max = 128},
                [AFTER] = {"after", PICK_STRING, .max = 128},
                [DELETED] = {"deleted", PICK_BOOL},
                [FULL_NAME] = {"repository.full_name", PICK_STRING, .max = 4096},
                [DEFAULT_BRANCH] = {"repository.default_branch", PICK_STRING, .max = 4096},
                [MESSAGE] = {"head_commit.message", PICK_STRING, .max = MESSAGE_MAX, .text = true},
                [PUSHER] = {"pusher.name", PICK_STRING, .max = 512, .text = true},
                [SENDER] = {"sender.login", PICK_STRING, .max = 512, .text = true},
        };
        struct pick_value v[PUSH__COUNT] = {0};
        struct forge_push push;
        int r;

        r = pick_json(p, n, specs, PUSH__COUNT, v, NULL, NULL, err);
        if (r < 0)
                return r;
        push = (struct forge_push){
                .kind = FORGE_GITHUB,
                .repository = v[FULL_NAME].s,
                .ref = v[REF].s,
                .before = v[BEFORE].s,
                .after = v[AFTER].s,
                .deleted = v[DELETED].b,
                .default_branch = v[DEFAULT_BRANCH].s,
                .message = v[MESSAGE].s,
                .n_message = v[MESSAGE].n,
                .author = v[PUSHER].n ? v[PUSHER].s : v[SENDER].s,
        };
        r = forge_push_event(&push, ret, err);
        pick_done(v, PUSH__COUNT);
        return r;
}

static int github_parse_event(const struct http_in *req, struct forge_event *ret,
                              struct nb_err *err)
{
        const char *name = github_event_name(req), *payload = NULL;
        nb_auto_free char *form = NULL;
        size_t n = 0;
        int r;

        if (!name[0])
                return nb_fail(err, NB_E_INVALID, "the X-GitHub-Event header is missing");
        if (nb_streq(name, "ping"))
                return forge_ignore(ret, err, "ping");
        if (!nb_streq(name, "push"))
                return forge_ignore_name(ret, "event", name, err);
        r = find_payload(req, &form, &payload, &n, err);
        if (r == 0)
                r = parse_push(payload, n, ret, err);
        return nb_wrap(err, r, "push");
}

/* ---- statuses ---- */

static int github_status_request(const struct config_forge *f, const struct note *n,
                                 struct http_out *ret, struct nb_err *err)
{
        /* there is no "running"; a run that we stopped says nothing about the notebook */
        static const char *const states[NOTE_STATE__COUNT] = {
                [NOTE_PENDING] = "pending", [NOTE_RUNNING] = "pending", [NOTE_SUCCESS] = "success",
                [NOTE_FAILURE] = "failure", [NOTE_ERROR] = "error",     [NOTE_CANCELLED] = "error",
        };
        static const struct http_header more[] = {
                {"Accept", "application/vnd.github+json"},
                {"X-GitHub-Api-Version", "2022-11-28"},
        };
        nb_auto_free char *name = NULL, *text = NULL, *context = NULL;
        nb_auto_buf body = NB_BUF(FORGE_STATUS_MAX);
        struct nb_json_out o = NB_JSON_OUT(&body);
        struct forge_post post;
        int r;

        r = forge_status_check(f, n, err);
        if (r < 0)
                return r;
        nb_assert((unsigned)n->state < NOTE_STATE__COUNT);
        name = nb_url_encode(n->repository, true);
        text = forge_status_text(n->text ? n->text : "", DESCRIPTION_CHARS);
        context = forge_status_context(n->context, CONTEXT_CHARS);
        if (!name || !text || !context)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        nb_json_open_object(&o);
        nb_json_kv_str(&o, "state", states[n->state]);
        if (n->target_url)
                nb_json_kv_str(&o, "target_url", n->target_url);
        nb_json_kv_str(&o, "description", text);
        nb_json_kv_str(&o, "context", context);
        nb_json_close(&o);
        post = (struct forge_post){
                .url = nb_asprintf("%s/repos/%s/statuses/%s", f->api_url, name, n->commit),
                .body = &body,
                .token_header = "Authorization",
                .token_prefix = "Bearer ",
                .more = more,
                .n_more = NB_ARRAY_SIZE(more),
        };
        return forge_status_post_take(f, &post, ret, err);
}

/* 403 stands for both "you may not" and "not so fast". */
static enum note_verdict judge_limit(const struct http_in *resp, int64_t now_s,
                                     uint32_t *ret_wait_s)
{
        uint32_t wait = forge_retry_after(resp);

        if (wait == 0 && nb_streq(http_in_header(resp, "X-RateLimit-Remaining"), "0"))
                wait = forge_wait_until(resp, "X-RateLimit-Reset", now_s);
        if (wait == 0 && (resp->status == 429 || forge_body_has(resp, "secondary rate limit") ||
                          forge_body_has(resp, "rate limit exceeded")))
                wait = FORGE_LIMITED_WAIT_S;
        *ret_wait_s = wait;
        return wait ? NOTE_RETRY : NOTE_REFUSED;
}

static enum note_verdict github_status_reply(const struct http_in *resp, int64_t now_s,
                                             uint32_t *ret_wait_s)
{
        if (resp->status == 403 || resp->status == 429)
                return judge_limit(resp, now_s, ret_wait_s);
        return forge_status_verdict(resp, ret_wait_s);
}

const struct forge_ops forge_github = {
        .name = "github",
        .authenticate = github_authenticate,
        .delivery_id = github_delivery_id,
        .body_is_all = true, /* repository.pushed_at is in it */
        .event_name = github_event_name,
        .parse_event = github_parse_event,
        .status_request = github_status_request,
        .status_reply = github_status_reply,
};
