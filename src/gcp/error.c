/* SPDX-License-Identifier: Apache-2.0 */

/* What Google's APIs say when they refuse: three dialects of JSON, or none. */

#include "gcp-priv.h"

#include <nbcid/num.h>

static const struct nb_json_limits limits = {
        .bytes = (size_t)256 << 10, .depth = 32, .values = 5000};

void gcp_host(const char *url, char *buf, size_t size)
{
        const char *p = strstr(url, "://"), *at;
        size_t n;

        p = p ? p + 3 : url;
        n = strcspn(p, "/?#");
        at = memrchr(p, '@', n);
        if (at) {
                n -= (size_t)(at + 1 - p);
                p = at + 1;
        }
        (void)nb_fmt(buf, size, "%.*s", (int)(n < 255 ? n : 255), p);
}

static void copy(char *buf, size_t size, const struct nb_json *v)
{
        const char *s = nb_json_str(v, NULL);
        nb_auto_free char *line = s ? nb_utf8_clean(s, strlen(s), true) : NULL;

        if (line)
                (void)nb_fmt(buf, size, "%s", line);
}

/* google.rpc.Status, and the older one of Cloud Storage, which differ in where
 * the reason is. */
void gcp_status_read(const struct nb_json *status, struct gcp_error *e)
{
        const struct nb_json *details = nb_json_get(status, "details");
        static const char *const codes[] = {NULL,
                                            "CANCELLED",
                                            "UNKNOWN",
                                            "INVALID_ARGUMENT",
                                            "DEADLINE_EXCEEDED",
                                            "NOT_FOUND",
                                            "ALREADY_EXISTS",
                                            "PERMISSION_DENIED",
                                            "RESOURCE_EXHAUSTED",
                                            "FAILED_PRECONDITION",
                                            "ABORTED",
                                            "OUT_OF_RANGE",
                                            "UNIMPLEMENTED",
                                            "INTERNAL",
                                            "UNAVAILABLE",
                                            "DATA_LOSS",
                                            "UNAUTHENTICATED"};
        int64_t code;

        copy(e->message, sizeof(e->message), nb_json_get(status, "message"));
        copy(e->status, sizeof(e->status), nb_json_get(status, "status"));
        copy(e->reason, sizeof(e->reason),
             nb_json_get(nb_json_index(nb_json_get(status, "errors"), 0), "reason"));
        for (size_t i = 0; !e->reason[0] && i < nb_json_size(details); i++)
                copy(e->reason, sizeof(e->reason),
                     nb_json_get(nb_json_index(details, i), "reason"));
        /* "code" is the HTTP status in an answer's envelope, and google.rpc.Code
         * inside an operation or a job. */
        for (size_t i = 1; i < NB_ARRAY_SIZE(codes); i++)
                if (nb_streq(e->status, codes[i]))
                        e->code = (int)i;
        if (nb_json_int(nb_json_get(status, "code"), &code) && code > 0 &&
            code < (int64_t)NB_ARRAY_SIZE(codes)) {
                e->code = (int)code;
                if (!e->status[0])
                        (void)nb_fmt(e->status, sizeof(e->status), "%s", codes[code]);
        }
}

static void read_body(const char *p, size_t n, struct gcp_error *e)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        nb_auto_free char *line = NULL;
        const struct nb_json *root, *error;

        if (nb_json_read(p, n, &limits, &tree, NULL, NULL) == 0) {
                root = nb_json_root(tree);
                if (nb_json_type(root) == NB_JSON_ARRAY)
                        root = nb_json_index(root, 0);
                error = nb_json_get(root, "error");
                if (nb_json_type(error) == NB_JSON_OBJECT) {
                        gcp_status_read(error, e);
                } else { /* RFC 6749 section 5.2 */
                        copy(e->status, sizeof(e->status), error);
                        copy(e->message, sizeof(e->message),
                             nb_json_get(root, "error_description"));
                }
        } else if (n > 0 && *p != '<') {
                line = nb_utf8_clean(p, n < 300 ? n : 300, true);
                if (line)
                        (void)nb_fmt(e->message, sizeof(e->message), "%s", line);
        }
}

static enum nb_errc class_of(int status)
{
        switch (status) {
        case 400:
                return NB_E_INVALID;
        case 401:
        case 403:
                return NB_E_DENIED;
        case 404:
        case 410:
                return NB_E_NOTFOUND;
        case 409:
        case 412:
                return NB_E_CONFLICT;
        case 413:
                return NB_E_LIMIT;
        case 429:
                return NB_E_BUSY;
        case 408:
        case 504:
                return NB_E_TIMEOUT;
        default:
                return NB_E_REMOTE;
        }
}

int gcp_error_read(const char *url, const struct http_in *resp, struct gcp_error *e,
                   struct nb_err *err)
{
        char host[256];

        *e = (struct gcp_error){.http = resp->status};
        read_body(resp->body, resp->n_body, e);
        gcp_host(url, host, sizeof(host));
        return nb_fail_detail(err, class_of(resp->status), resp->status,
                              "%s answers %d%s%s%s%s%s%s", host, resp->status,
                              e->status[0] ? " " : "", e->status, e->reason[0] ? " " : "",
                              e->reason, e->message[0] ? ": " : "", e->message);
}

uint64_t gcp_backoff(uint64_t first_us, unsigned tried, const char *retry_after)
{
        const uint64_t most = 60 * NB_US_PER_S;
        uint64_t pause = first_us, demanded = 0, random;

        while (tried-- > 0 && pause < most)
                pause *= 2;
        if (pause > most)
                pause = most;
        nb_random(&random, sizeof(random));
        pause -= random % (pause / 2 + 1);
        if (nb_parse_u64(retry_after, 0, UINT32_MAX, &demanded, NULL) < 0)
                demanded = 0; /* a date, or none */
        demanded = demanded < 60 ? demanded * NB_US_PER_S : most;
        return pause > demanded ? pause : demanded;
}
