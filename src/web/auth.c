/* SPDX-License-Identifier: Apache-2.0 */

/* auth.c - who asks: the operator's token as Bearer (RFC 6750), or for reading
 * as the password of Basic (RFC 7617), which is what a browser can send */

#include <nbcid/crypto.h>
#include <nbcid/str.h>

#include "web-priv.h"

#define AUTH_MAX 8192

/* The credentials behind "SCHEME ", or NULL. */
static const char *credentials(const char *header, const char *scheme)
{
        size_t n = strlen(scheme);

        if (!header || strncasecmp(header, scheme, n) != 0 || header[n] != ' ')
                return NULL;
        header += n;
        return header + strspn(header, " ");
}

static bool token_is(const struct config *c, const char *given, size_t n)
{
        return nb_ct_streq(c->operator_token.data, c->operator_token.n, given, n);
}

static bool basic_is(const struct config *c, const char *text)
{
        nb_auto_buf b = NB_BUF(AUTH_MAX);
        const char *colon;
        bool ok = false;

        if (nb_base64_decode(text, strlen(text), &b, NULL) == 0 && b.len > 0) {
                colon = memchr(b.data, ':', b.len);
                if (colon)
                        ok = token_is(c, colon + 1, b.len - (size_t)(colon + 1 - b.data));
        }
        if (b.data)
                nb_wipe(b.data, b.len);
        return ok;
}

bool auth_check(struct web_app *a, struct web_request *q, enum web_access access)
{
        const struct config *c = a->config;
        const char *header = request_header(q, "Authorization"), *given;

        if (access == ACCESS_OPEN || (access == ACCESS_READ && !c->read_needs_token))
                return true;
        if (c->operator_token.n == 0) {
                reply_problem(a, q, 403,
                              "no operator token is configured here: set operator_token_file in "
                              "[auth]");
                return false;
        }
        given = credentials(header, "Bearer");
        if (given && token_is(c, given, strlen(given)))
                return true;
        /* Never for what changes something: a browser sends Basic by itself,
         * also when another site made it ask. */
        given = access == ACCESS_READ ? credentials(header, "Basic") : NULL;
        if (given && basic_is(c, given))
                return true;
        reply_problem(a, q, 401,
                      header ? "this is not the operator token" : "the operator token is needed");
        if (access == ACCESS_READ)
                reply_header(&q->reply, "WWW-Authenticate",
                             "Basic realm=\"" WEB_SECRET_REALM "\", charset=\"UTF-8\"");
        else
                reply_header(&q->reply, "WWW-Authenticate",
                             "Bearer realm=\"" WEB_SECRET_REALM "\"");
        return false;
}
