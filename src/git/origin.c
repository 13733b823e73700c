/* SPDX-License-Identifier: Apache-2.0 */
/*
 * URLs are taken apart by RFC 3986 section 3 and put together again from
 * checked pieces, so that libgit2's reading of a URL cannot differ from the
 * one that decided who gets the token.
 */
#include <ctype.h>
#include <strings.h>

#include <nbcid/num.h>
#include <nbcid/str.h>

#include "git-priv.h"

static const struct {
        const char *prefix; /* "https://" */
        unsigned port;
} schemes[] = {
        [ORIGIN_HTTPS] = {"https://", 443},
        [ORIGIN_HTTP] = {"http://", 80},
        [ORIGIN_SSH] = {"ssh://", 22},
        [ORIGIN_FILE] = {"file://", 0},
};

void origin_done(struct origin *o)
{
        if (!o)
                return;
        free(o->user);
        free(o->host);
        free(o->path);
        free(o->url);
        *o = (struct origin){0};
}

static int no_memory(struct nb_err *err)
{
        return nb_fail(err, NB_E_NOMEM, "no memory for a URL");
}

static bool host_ok(const char *s)
{
        const char *more = "-._";
        size_t n = strlen(s);

        if (s[0] == '[') {
                if (n < 4 || s[n - 1] != ']')
                        return false;
                s++;
                n -= 2;
                more = ":.";
        }
        for (size_t i = 0; i < n; i++)
                if (!isalnum((unsigned char)s[i]) && !strchr(more, s[i]))
                        return false;
        return n > 0 && s[0] != '-';
}

/* Could the path mean something else to the other side than to us? */
static const char *path_refused(enum origin_scheme scheme, const char *path)
{
        for (const char *p = path; *p; p++) {
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        return "a control character";
                if (scheme == ORIGIN_FILE && *p == '%')
                        return "a '%', which libgit2 cannot open"; /* it decodes it */
                if (scheme == ORIGIN_FILE)
                        continue;
                if (*p == ' ' || *p == '\\' || *p == '"' || *p == '\'')
                        return "a character that must be written as %XX";
        }
        for (const char *p = path; *p;) {
                size_t n = strcspn(++p, "/");
                if (n == 2 && p[0] == '.' && p[1] == '.')
                        return "\"..\"";
                p += n;
        }
        return NULL;
}

/* Check the pieces and write url. */
static int origin_finish(struct origin *o, struct nb_err *err)
{
        const char *why;
        char port[16] = "";

        if (!o->host || !o->path)
                return no_memory(err);
        for (char *p = o->host; *p; p++)
                *p = (char)tolower((unsigned char)*p);
        if (o->scheme != ORIGIN_FILE && !host_ok(o->host))
                return nb_fail(err, NB_E_INVALID, "the URL has no valid host name");
        if (o->path[0] != '/' || o->path[1] == '\0')
                return nb_fail(err, NB_E_INVALID, "the URL %s%s has no path of a repository",
                               schemes[o->scheme].prefix, o->host);
        why = path_refused(o->scheme, o->path);
        if (why)
                return nb_fail(err, NB_E_INVALID, "the path of the URL %s%s... holds %s",
                               schemes[o->scheme].prefix, o->host, why);
        if (o->port != schemes[o->scheme].port)
                nb_fmt(port, sizeof(port), ":%u", o->port);
        o->url = nb_asprintf("%s%s%s%s%s%s", schemes[o->scheme].prefix, o->user ? o->user : "",
                             o->user ? "@" : "", o->host, port, o->path);
        return o->url ? 0 : no_memory(err);
}

/* "host", "host:port", "[v6]:port" */
static int authority_parse(const char *s, size_t n, struct origin *o, struct nb_err *err)
{
        const char *colon = memrchr(s, ':', n), *bracket = memrchr(s, ']', n);
        nb_auto_free char *port = NULL;
        uint64_t v;

        o->port = schemes[o->scheme].port;
        if (colon && (!bracket || colon > bracket)) {
                port = nb_strndup(colon + 1, (size_t)(s + n - colon - 1));
                if (!port)
                        return no_memory(err);
                if (nb_parse_u64(port, 1, 65535, &v, NULL) < 0)
                        return nb_fail(err, NB_E_INVALID,
                                       "the port of the URL is not a number "
                                       "from 1 to 65535");
                o->port = (unsigned)v;
                n = (size_t)(colon - s);
        }
        o->host = nb_strndup(s, n);
        return o->host ? 0 : no_memory(err);
}

static int url_parse(enum origin_scheme scheme, const char *rest, struct origin *ret,
                     struct nb_err *err)
{
        NB_CLEANUP(origin_done) struct origin o = {.scheme = scheme};
        size_t n = strcspn(rest, "/");
        const char *at = memrchr(rest, '@', n), *host = at ? at + 1 : rest;
        size_t n_host = (size_t)(rest + n - host);
        int r;

        if (at && scheme == ORIGIN_SSH) {
                size_t n_user = strcspn(rest, ":@");
                if (rest + n_user != at)
                        return nb_fail(err, NB_E_INVALID,
                                       "a password in an ssh URL is not "
                                       "supported; use a key");
                o.user = nb_strndup(rest, n_user);
                if (!o.user)
                        return no_memory(err);
                for (const char *p = o.user; *p; p++)
                        if (!isalnum((unsigned char)*p) && !strchr("-._", *p))
                                return nb_fail(err, NB_E_INVALID,
                                               "the user of the ssh URL is not a plain name");
        }
        o.had_userinfo = at != NULL;
        if (scheme == ORIGIN_FILE) {
                if (n != 0)
                        return nb_fail(err, NB_E_INVALID, "a file URL begins with file:///");
                o.host = nb_strdup("");
        } else {
                r = authority_parse(host, n_host, &o, err);
                if (r < 0)
                        return r;
        }
        o.path = nb_strdup(rest + n);
        r = origin_finish(&o, err);
        if (r < 0)
                return r;
        *ret = o;
        o = (struct origin){0};
        return 0;
}

int origin_parse(const char *text, struct origin *ret, struct nb_err *err)
{
        if (text[0] == '/')
                return url_parse(ORIGIN_FILE, text, ret, err);
        for (size_t i = 0; i < NB_ARRAY_SIZE(schemes); i++) {
                size_t n = strlen(schemes[i].prefix);
                if (strncasecmp(text, schemes[i].prefix, n) == 0)
                        return url_parse((enum origin_scheme)i, text + n, ret, err);
        }
        /* user@host:path, which ssh URLs write as ssh://user@host/path */
        size_t n = strcspn(text, ":/");
        if (text[n] == ':' && !nb_starts_with(text + n, "://") && memchr(text, '@', n)) {
                const char *path = text + n + 1;
                nb_auto_free char *url = nb_asprintf("%.*s%s%s", (int)(n < 512 ? n : 512), text,
                                                     path[0] == '/' ? "" : "/", path);
                return url ? url_parse(ORIGIN_SSH, url, ret, err) : no_memory(err);
        }
        return nb_fail(err, NB_E_INVALID, "the URL is not one of https, http, ssh or file");
}

int origin_move(const struct origin *to, const char *path, struct origin *ret, struct nb_err *err)
{
        NB_CLEANUP(origin_done) struct origin o = {.scheme = to->scheme, .port = to->port};
        int r;

        if (to->user) {
                o.user = nb_strdup(to->user);
                if (!o.user)
                        return no_memory(err);
        }
        o.host = nb_strdup(to->host);
        o.path = nb_strdup(path);
        r = origin_finish(&o, err);
        if (r < 0)
                return r;
        *ret = o;
        o = (struct origin){0};
        return 0;
}

int origin_copy(const struct origin *o, struct origin *ret, struct nb_err *err)
{
        return origin_move(o, o->path, ret, err);
}

int origin_resolve(const struct origin *base, const char *text, struct origin *ret,
                   struct nb_err *err)
{
        size_t n = strlen(base->path);

        if (!nb_starts_with(text, "./") && !nb_starts_with(text, "../"))
                return origin_parse(text, ret, err);
        while (n > 0 && base->path[n - 1] == '/')
                n--;
        for (;;) {
                if (nb_starts_with(text, "./")) {
                        text += 2;
                } else if (nb_starts_with(text, "../")) {
                        if (n == 0)
                                return nb_fail(err, NB_E_INVALID,
                                               "the relative URL climbs above its host");
                        while (n > 0 && base->path[n - 1] != '/')
                                n--;
                        while (n > 0 && base->path[n - 1] == '/')
                                n--;
                        text += 3;
                } else {
                        break;
                }
        }
        nb_auto_free char *path = nb_asprintf("%.*s/%s", (int)n, base->path, text);
        return path ? origin_move(base, path, ret, err) : no_memory(err);
}

bool origin_same_host(const struct origin *a, const struct origin *b)
{
        return nb_streq(a->host, b->host);
}

bool origin_same(const struct origin *a, const struct origin *b)
{
        return a->scheme == b->scheme && a->port == b->port && origin_same_host(a, b);
}

bool origin_matches(const struct origin *o, const char *host)
{
        NB_CLEANUP(origin_done) struct origin want = {.scheme = o->scheme};

        if (o->scheme == ORIGIN_FILE || authority_parse(host, strlen(host), &want, NULL) < 0)
                return false;
        return strcasecmp(want.host, o->host) == 0 && want.port == o->port;
}
