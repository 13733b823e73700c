/* SPDX-License-Identifier: Apache-2.0 */

/* route.c - the table of what the server answers */

#include <nbcid/str.h>

#include "web-priv.h"

static const struct web_route routes[] = {
        {"POST", "/hooks/{name}", hook_post, ACCESS_OPEN, false},
        {"GET", "/healthz", health_get, ACCESS_OPEN, false},
        {"GET", "/readyz", ready_get, ACCESS_OPEN, false},
        {"GET", "/metrics", metrics_get, ACCESS_READ, false},
        {"GET", "/api/v1/builds", api_builds, ACCESS_READ, false},
        {"GET", "/api/v1/builds/{id}", api_build, ACCESS_READ, false},
        {"POST", "/api/v1/builds/{id}/cancel", api_cancel, ACCESS_OPERATOR, false},
        {"POST", "/api/v1/builds/{id}/retry", api_retry_build, ACCESS_OPERATOR, false},
        {"GET", "/api/v1/jobs/{id}", api_job, ACCESS_READ, false},
        {"GET", "/api/v1/jobs/{id}/environment", api_environment, ACCESS_READ, false},
        {"GET", "/api/v1/jobs/{id}/environment/lock", artifact_lock, ACCESS_READ, false},
        {"GET", "/api/v1/jobs/{id}/environment/log", artifact_environment_log, ACCESS_READ, false},
        {"GET", "/api/v1/jobs/{id}/log", artifact_log, ACCESS_READ, false},
        {"GET", "/api/v1/jobs/{id}/notebook", artifact_notebook, ACCESS_READ, false},
        {"POST", "/api/v1/jobs/{id}/retry", api_retry_job, ACCESS_OPERATOR, false},
        {"GET", "/", page_builds, ACCESS_READ, true},
        {"GET", "/builds/{id}", page_build, ACCESS_READ, true},
        {"GET", "/jobs/{id}", page_job, ACCESS_READ, true},
        {"GET", "/assets/{name}", asset_get, ACCESS_OPEN, false},
};

/* A positive number without leading zeros: one thing has one address. */
static bool match_id(const char *s, size_t n, int64_t *ret)
{
        int64_t v = 0;

        if (n == 0 || s[0] == '0')
                return false;
        for (size_t i = 0; i < n; i++)
                if (s[i] < '0' || s[i] > '9' || __builtin_mul_overflow(v, 10, &v) ||
                    __builtin_add_overflow(v, s[i] - '0', &v))
                        return false;
        *ret = v;
        return true;
}

static bool match_name(const char *s, size_t n, struct web_match *m)
{
        if (n == 0 || n >= sizeof(m->name))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!(s[i] >= 'a' && s[i] <= 'z') && !(s[i] >= '0' && s[i] <= '9') &&
                    !strchr("-_.", s[i]))
                        return false;
        memcpy(m->name, s, n);
        m->name[n] = '\0';
        return true;
}

static bool match_pattern(const char *pattern, const char *path, struct web_match *m)
{
        while (*pattern) {
                size_t n = strcspn(path, "/");

                if (nb_starts_with(pattern, "{id}")) {
                        if (!match_id(path, n, &m->id))
                                return false;
                        pattern += strlen("{id}");
                        path += n;
                } else if (nb_starts_with(pattern, "{name}")) {
                        if (!match_name(path, n, m))
                                return false;
                        pattern += strlen("{name}");
                        path += n;
                } else if (*pattern++ != *path++) {
                        return false;
                }
        }
        return !*path;
}

const struct web_route *route_find(const char *method, const char *path, struct web_match *ret,
                                   const char **ret_allow)
{
        if (strcmp(method, "HEAD") == 0)
                method = "GET";
        *ret_allow = NULL;
        for (size_t i = 0; i < NB_ARRAY_SIZE(routes); i++) {
                const struct web_route *r = &routes[i];
                struct web_match m = {0};

                if (!match_pattern(r->pattern, path, &m))
                        continue;
                if (strcmp(method, r->method) != 0) {
                        /* no pattern of ours has both */
                        *ret_allow = strcmp(r->method, "GET") == 0 ? "GET, HEAD" : r->method;
                        return NULL;
                }
                *ret = m;
                return r;
        }
        return NULL;
}
