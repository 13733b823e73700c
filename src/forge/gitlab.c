/* SPDX-License-Identifier: Apache-2.0 */

/*
 * GitLab.  Deliveries: docs.gitlab.com, "Webhooks", "Webhook events" and
 * "System hooks"; signatures: the Standard Webhooks specification, section
 * "Signature scheme".  Statuses: "Commits API", "Set commit pipeline status".
 */

#include "shared.h"

#include <stdlib.h>
#include <string.h>

#include <nbcid/json.h>
#include <nbcid/num.h>

#include "pick.h"

#define TOLERANCE_S 300 /* of webhook-timestamp, both ways */
#define KEY_MAX 4096
#define SIGNATURE_MAX 64 /* bytes; SHA-256 has 32 */
#define NAME_CHARS 255
#define DESCRIPTION_CHARS 255
#define MESSAGE_MAX 1024 /* bytes of a commit message; its first line is shown */

/* ---- authentic? ---- */

/* Key of a signing token: base64 after "whsec_".  The token's text itself is
 * not the key. */
static bool signing_key(const struct nb_secret *token, struct nb_buf *ret)
{
        static const char prefix[] = "whsec_";
        const char *s = token->data;
        size_t n = token->n;

        if (n >= sizeof(prefix) - 1 && memcmp(s, prefix, sizeof(prefix) - 1) == 0) {
                s += sizeof(prefix) - 1;
                n -= sizeof(prefix) - 1;
        }
        return n > 0 && nb_base64_decode(s, n, ret, NULL) == 0 && ret->len > 0;
}

static int check_timestamp(const char *text, int64_t now_s, struct nb_err *err)
{
        int64_t at;

        if (nb_parse_i64(text, 0, INT64_MAX, &at, NULL) < 0)
                return nb_fail(err, NB_E_DENIED,
                               "the webhook-timestamp header is not in seconds since 1970");
        if (at < now_s - TOLERANCE_S || at > now_s + TOLERANCE_S)
                return nb_fail(err, NB_E_DENIED,
                               "the webhook-timestamp header is over %d s off our clock; was this "
                               "sent before, or is a clock wrong?",
                               TOLERANCE_S);
        return 0;
}

/* Is one of the signatures in the list "v1,BASE64 v1,BASE64" the one wanted?
 * Other versions are passed over. */
static bool list_has(const char *list, const uint8_t wanted[NB_SHA256_SIZE])
{
        nb_auto_buf given = NB_BUF(SIGNATURE_MAX);
        bool has = false;

        while (*list) {
                size_t n = strcspn(list, " ");
                nb_buf_clear(&given);
                if (n > 3 && memcmp(list, "v1,", 3) == 0 &&
                    nb_base64_decode(list + 3, n - 3, &given, NULL) == 0 &&
                    given.len == NB_SHA256_SIZE && nb_ct_equal(given.data, wanted, NB_SHA256_SIZE))
                        has = true;
                list += n;
                list += strspn(list, " ");
        }
        return has;
}

static int check_signature(const struct config_forge *f, const struct http_in *req,
                           const char *list, int64_t now_s, struct nb_err *err)
{
        const char *id = forge_header(req, "webhook-id");
        const char *time = forge_header(req, "webhook-timestamp");
        bool usable = false, good = false;
        int r;

        if (!id || !time)
                return nb_fail(err, NB_E_DENIED, "the %s header is missing",
                               id ? "webhook-timestamp" : "webhook-id");
        r = check_timestamp(time, now_s, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < NB_ARRAY_SIZE(f->signing) && !good; i++) {
                const struct nb_piece pieces[] = {
                        {id, strlen(id)},         {".", 1}, {time, strlen(time)}, {".", 1},
                        {req->body, req->n_body},
                };
                nb_auto_buf key = NB_BUF(KEY_MAX);
                uint8_t wanted[NB_SHA256_SIZE];
                if (f->signing[i].n > 0 && signing_key(&f->signing[i], &key)) {
                        usable = true;
                        nb_hmac_sha256_pieces(key.data, key.len, pieces, NB_ARRAY_SIZE(pieces),
                                              wanted);
                        good = list_has(list, wanted);
                }
                nb_wipe(key.data, key.len);
        }
        if (!usable)
                return nb_fail(err, NB_E_DENIED,
                               "forge %s: signing_token_file holds no token as GitLab shows it "
                               "(whsec_ and base64)",
                               f->name);
        if (!good)
                return nb_fail(err, NB_E_DENIED,
                               "the webhook-signature header does not match; is the webhook's "
                               "signing token the one in signing_token_file of forge %s?",
                               f->name);
        return 0;
}

static int check_token(const struct config_forge *f, const struct http_in *req, struct nb_err *err)
{
        const char *given = forge_header(req, "X-Gitlab-Token");
        bool good = false;

        if (!given)
                return nb_fail(err, NB_E_DENIED,
                               "the X-Gitlab-Token header is missing; set the webhook's secret "
                               "token");
        for (size_t i = 0; i < NB_ARRAY_SIZE(f->secrets); i++)
                /* an empty secret is none */
                if (f->secrets[i].n > 0 &&
                    nb_ct_streq(f->secrets[i].data, f->secrets[i].n, given, strlen(given)))
                        good = true;
        if (!good)
                return nb_fail(err, NB_E_DENIED,
                               "the X-Gitlab-Token header does not match; is the webhook's secret "
                               "token the one in webhook_secret_file of forge %s?",
                               f->name);
        return 0;
}

/* Either proof will do while a hook is moved from the plain token to signing,
 * but a signature that is there and wrong is never overlooked. */
static int gitlab_authenticate(const struct config_forge *f, const struct http_in *req,
                               int64_t now_s, struct nb_err *err)
{
        bool tokens = f->secrets[0].n > 0 || f->secrets[1].n > 0;
        bool signing = f->signing[0].n > 0 || f->signing[1].n > 0;
        const char *list = http_in_header(req, "webhook-signature");

        if (!tokens && !signing)
                return nb_fail(err, NB_E_DENIED,
                               "forge %s has neither webhook_secret_file nor signing_token_file; "
                               "nothing can authenticate",
                               f->name);
        if (signing && list)
                return check_signature(f, req, list, now_s, err);
        if (!tokens)
                return nb_fail(err, NB_E_DENIED,
                               "the webhook-signature header is missing; set the webhook's signing "
                               "token");
        return check_token(f, req, err);
}

/* ---- what it says ---- */

static int gitlab_delivery_id(const struct http_in *req, char **ret, struct nb_err *err)
{
        static const char *const headers[] = {"webhook-id", "Idempotency-Key"};
        nb_auto_free char *both = NULL;
        const char *event, *hook;

        for (size_t i = 0; i < NB_ARRAY_SIZE(headers); i++) {
                const char *id = forge_header(req, headers[i]);
                if (id)
                        return forge_delivery_id(headers[i], id, ret, err);
        }
        /* neither is enough by itself: one event goes to several hooks */
        event = forge_header(req, "X-Gitlab-Event-UUID");
        hook = forge_header(req, "X-Gitlab-Webhook-UUID");
        if (!event || !hook)
                return forge_delivery_id_of_body(req, ret, err);
        both = nb_asprintf("%s/%s", event, hook);
        if (!both)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        return forge_delivery_id("X-Gitlab-Event-UUID", both, ret, err);
}

static const char *gitlab_event_name(const struct http_in *req)
{
        const char *name = http_in_header(req, "X-Gitlab-Event");

        return name ? name : "";
}

static bool is_push_kind(const char *kind)
{
        return nb_streq(kind, "push") || nb_streq(kind, "tag_push");
}

enum { KIND, NAME, KIND__COUNT };

/* A system hook's header does not say which event it is.  1: a push; 0: no;
 * ret->ignored says so.  Looked at on its own, for other events may have
 * anything under the names that a push has. */
static int is_system_push(const struct http_in *req, struct forge_event *ret, struct nb_err *err)
{
        static const struct pick_spec specs[KIND__COUNT] = {
                [KIND] = {"object_kind", PICK_STRING, .max = 256},
                [NAME] = {"event_name", PICK_STRING, .max = 256},
        };
        struct pick_value v[KIND__COUNT] = {0};
        const char *kind;
        int r;

        r = pick_json(req->body, req->n_body, specs, KIND__COUNT, v, NULL, NULL, err);
        if (r < 0)
                return r;
        kind = v[KIND].s ? v[KIND].s : v[NAME].s;
        if (is_push_kind(kind))
                r = 1;
        else
                r = forge_ignore_name(ret, "system event", kind ? kind : "", err);
        pick_done(v, KIND__COUNT);
        return r;
}

enum {
        OBJECT_KIND,
        EVENT_NAME,
        REF,
        BEFORE,
        AFTER,
        CHECKOUT_SHA,
        PATH,
        DEFAULT_BRANCH,
        USERNAME,
        USER_NAME,
        COMMIT_ID,
        COMMIT_MESSAGE,
        PUSH__COUNT,
};

struct head_commit {
        char *message; /* owned */
        size_t n;
};

/* Keep the message of the commit that was pushed.  GitLab writes its ids before
 * the list; were it otherwise, the build would lack a title. */
static int keep_head(void *arg, struct pick_value *v, struct nb_err *err)
{
        struct head_commit *head = arg;
        const char *id = v[COMMIT_ID].s;

        if (!id || (!nb_streq(id, v[AFTER].s) && !nb_streq(id, v[CHECKOUT_SHA].s)))
                return 0;
        free(head->message);
        head->n = v[COMMIT_MESSAGE].n;
        head->message = NB_TAKE(v[COMMIT_MESSAGE].s);
        return 0;
}

static int parse_push(const struct http_in *req, struct forge_event *ret, struct nb_err *err)
{
        static const struct pick_spec specs[PUSH__COUNT] = {
                [OBJECT_KIND] = {"object_kind", PICK_STRING, .max = 256},
                [EVENT_NAME] = {"event_name", PICK_STRING, .max = 256},
                [REF] = {"ref", PICK_STRING, .max = 4096},
                [BEFORE] = {"before", PICK_STRING, .max = 128},
                [AFTER] = {"after", PICK_STRING, .max = 128},
                [CHECKOUT_SHA] = {"checkout_sha", PICK_STRING, .max = 128},
                [PATH] = {"project.path_with_namespace", PICK_STRING, .max = 4096},
                [DEFAULT_BRANCH] = {"project.default_branch", PICK_STRING, .max = 4096},
                [USERNAME] = {"user_username", PICK_STRING, .max = 512, .text = true},
                [USER_NAME] = {"user_name", PICK_STRING, .max = 512, .text = true},
                [COMMIT_ID] = {"commits.[].id", PICK_STRING, .max = 128},
                [COMMIT_MESSAGE] = {"commits.[].message", PICK_STRING, .max = MESSAGE_MAX,
                                    .text = true},
        };
        struct pick_value v[PUSH__COUNT] = {0};
        struct head_commit head = {0};
        struct forge_push push;
        int r;

        r = pick_json(req->body, req->n_body, specs, PUSH__COUNT, v, keep_head, &head, err);
        if (r == 0 && !is_push_kind(v[OBJECT_KIND].s ? v[OBJECT_KIND].s : v[EVENT_NAME].s))
                r = nb_fail(err, NB_E_INVALID, "\"object_kind\" is neither push nor tag_push");
        if (r == 0) {
                push = (struct forge_push){
                        .kind = FORGE_GITLAB,
                        .repository = v[PATH].s,
                        .ref = v[REF].s,
                        .before = v[BEFORE].s,
                        .after = v[AFTER].s,
                        /* also of a tag on something that is no commit */
                        .deleted = v[CHECKOUT_SHA].found == PICK_NULL,
                        .default_branch = v[DEFAULT_BRANCH].s,
                        .message = head.message,
                        .n_message = head.n,
                        .author = v[USERNAME].n ? v[USERNAME].s : v[USER_NAME].s,
                };
                r = forge_push_event(&push, ret, err);
        }
        pick_done(v, PUSH__COUNT);
        free(head.message);
        return r;
}

static int gitlab_parse_event(const struct http_in *req, struct forge_event *ret,
                              struct nb_err *err)
{
        const char *name = gitlab_event_name(req);
        int r = 1;

        if (!name[0])
                return nb_fail(err, NB_E_INVALID, "the X-Gitlab-Event header is missing");
        if (nb_streq(name, "System Hook"))
                r = is_system_push(req, ret, err);
        else if (!nb_streq(name, "Push Hook") && !nb_streq(name, "Tag Push Hook"))
                return forge_ignore_name(ret, "event", name, err);
        if (r == 1)
                r = parse_push(req, ret, err);
        return nb_wrap(err, r, "push");
}

/* ---- statuses ---- */

static int gitlab_status_request(const struct config_forge *f, const struct note *n,
                                 struct http_out *ret, struct nb_err *err)
{
        static const char *const states[NOTE_STATE__COUNT] = {
                [NOTE_PENDING] = "pending", [NOTE_RUNNING] = "running",
                [NOTE_SUCCESS] = "success", [NOTE_FAILURE] = "failed",
                [NOTE_ERROR] = "failed",    [NOTE_CANCELLED] = "canceled",
        };
        nb_auto_free char *project = NULL, *text = NULL, *name = NULL;
        nb_auto_buf body = NB_BUF(FORGE_STATUS_MAX);
        struct nb_json_out o = NB_JSON_OUT(&body);
        struct forge_post post;
        int r;

        r = forge_status_check(f, n, err);
        if (r < 0)
                return r;
        nb_assert((unsigned)n->state < NOTE_STATE__COUNT);
        project = nb_url_encode(n->repository, false);
        text = forge_status_text(n->text ? n->text : "", DESCRIPTION_CHARS);
        name = forge_status_context(n->context, NAME_CHARS);
        if (!project || !text || !name)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        nb_json_open_object(&o);
        nb_json_kv_str(&o, "state", states[n->state]);
        nb_json_kv_str(&o, "name", name);
        /* without it, GitLab guesses which of the commit's pipelines is meant */
        if (n->ref)
                nb_json_kv_str(&o, "ref", ref_short(n->ref));
        if (n->target_url)
                nb_json_kv_str(&o, "target_url", n->target_url);
        nb_json_kv_str(&o, "description", text);
        nb_json_close(&o);
        post = (struct forge_post){
                .url = nb_asprintf("%s/api/v4/projects/%s/statuses/%s", f->api_url, project,
                                   n->commit),
                .body = &body,
                .token_header = "PRIVATE-TOKEN",
                .token_prefix = "",
        };
        return forge_status_post_take(f, &post, ret, err);
}

static enum note_verdict gitlab_status_reply(const struct http_in *resp, int64_t now_s,
                                             uint32_t *ret_wait_s)
{
        if (resp->status == 400 && forge_body_has(resp, "Cannot transition status via")) {
                /* it has that state already, or is past it: nothing is left to send */
                *ret_wait_s = 0;
                return NOTE_ACCEPTED;
        }
        if (resp->status == 429) {
                *ret_wait_s = forge_retry_after(resp);
                if (*ret_wait_s == 0)
                        *ret_wait_s = forge_wait_until(resp, "RateLimit-Reset", now_s);
                return NOTE_RETRY;
        }
        if (resp->status == 409) {
                /* another status of this commit is being written */
                *ret_wait_s = forge_retry_after(resp);
                return NOTE_RETRY;
        }
        return forge_status_verdict(resp, ret_wait_s);
}

const struct forge_ops forge_gitlab = {
        .name = "gitlab",
        .authenticate = gitlab_authenticate,
        .delivery_id = gitlab_delivery_id,
        .event_name = gitlab_event_name,
        .parse_event = gitlab_parse_event,
        .status_request = gitlab_status_request,
        .status_reply = gitlab_status_reply,
};
