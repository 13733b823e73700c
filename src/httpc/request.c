/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include <stdlib.h>
#include <string.h>

#include <nbcid/crypto.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#define MAX_RESPONSE_HEADERS ((size_t)64 * 1024)

/* ---- what comes in ---- */

static size_t stop(struct request *r, int why)
{
        r->trouble = (enum nb_errc) - why;
        return 0; /* libcurl ends the transfer with CURLE_WRITE_ERROR */
}

/* RFC 9112 section 5.2: a folded line continues the value before it. */
static int add_folded(struct request *r, const char *p, size_t n)
{
        if (r->n_in_headers == 0)
                return 0;
        r->in_headers.len--; /* the NUL of the value */
        (void)nb_buf_putc(&r->in_headers, ' ');
        (void)nb_buf_append(&r->in_headers, p, n);
        return nb_buf_putc(&r->in_headers, '\0');
}

static int add_header(struct request *r, const char *name, size_t n_name, const char *value,
                      size_t n_value)
{
        int bad;

        (void)nb_buf_append(&r->in_headers, name, n_name);
        (void)nb_buf_putc(&r->in_headers, '\0');
        (void)nb_buf_append(&r->in_headers, value, n_value);
        bad = nb_buf_putc(&r->in_headers, '\0');
        if (bad == 0)
                r->n_in_headers++;
        return bad;
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t';
}

static void trim(const char **p, size_t *n)
{
        while (*n > 0 && is_blank(**p)) {
                ++*p;
                --*n;
        }
        while (*n > 0 && (is_blank((*p)[*n - 1]) || (*p)[*n - 1] == '\r' || (*p)[*n - 1] == '\n'))
                --*n;
}

/* libcurl gives whole lines, the status line and trailers among them. */
static size_t on_header(char *line, size_t size, size_t nmemb, void *userdata)
{
        struct request *r = userdata;
        size_t all = size * nmemb, n = all;
        const char *p = line, *colon;
        bool folded;
        int bad = 0;

        if (n >= 5 && memcmp(p, "HTTP/", 5) == 0) {
                /* The next block: the one before was interim. */
                nb_buf_clear(&r->in_headers);
                r->n_in_headers = 0;
                r->headers_over = false;
                return all;
        }
        folded = n > 0 && is_blank(*p);
        trim(&p, &n);
        if (n == 0 && !folded)
                r->headers_over = true;
        if (r->headers_over || n == 0 || memchr(p, '\0', n))
                return all;
        colon = memchr(p, ':', n);
        if (folded) {
                bad = add_folded(r, p, n);
        } else if (colon && colon > p) {
                const char *value = colon + 1;
                size_t n_value = n - (size_t)(value - p);

                trim(&value, &n_value);
                bad = add_header(r, p, (size_t)(colon - p), value, n_value);
        }
        return bad < 0 ? stop(r, bad) : all;
}

static size_t on_body(char *p, size_t size, size_t nmemb, void *userdata)
{
        struct request *r = userdata;
        int bad = nb_buf_append(&r->in_body, p, size * nmemb);

        return bad < 0 ? stop(r, bad) : size * nmemb;
}

/* ---- what goes out ---- */

static int no_memory(struct nb_err *err)
{
        return nb_fail(err, NB_E_NOMEM, "no memory for an HTTP request");
}

static void urlp_free(CURLU **u)
{
        curl_url_cleanup(*u);
}

static void curlp_free(char **s)
{
        curl_free(*s);
}

static int set_origin(struct request *r, const char *url, struct nb_err *err)
{
        NB_CLEANUP(urlp_free) CURLU *u = curl_url();
        NB_CLEANUP(curlp_free) char *scheme = NULL;
        NB_CLEANUP(curlp_free) char *host = NULL;
        NB_CLEANUP(curlp_free) char *port = NULL;
        CURLUcode c;

        if (!u)
                return no_memory(err);
        c = curl_url_set(u, CURLUPART_URL, url, 0);
        if (c == CURLUE_OK)
                c = curl_url_get(u, CURLUPART_SCHEME, &scheme, 0);
        if (c == CURLUE_OK)
                c = curl_url_get(u, CURLUPART_HOST, &host, 0);
        if (c == CURLUE_OUT_OF_MEMORY)
                return no_memory(err);
        if (c != CURLUE_OK)
                return nb_fail_detail(err, NB_E_INVALID, (int)c,
                                      "the address of a request is no URL (%s); look at the "
                                      "addresses in the configuration",
                                      curl_url_strerror(c));
        if (!nb_streq(scheme, "http") && !nb_streq(scheme, "https"))
                return nb_fail(err, NB_E_INVALID,
                               "\"%s\" is not a scheme for requests to %s; use https or http",
                               scheme, host);
        c = curl_url_get(u, CURLUPART_PORT, &port, 0);
        if (c != CURLUE_OK && c != CURLUE_NO_PORT)
                return no_memory(err);
        r->origin = nb_asprintf("%s://%s%s%s", scheme, host, port ? ":" : "", port ? port : "");
        return r->origin ? 0 : no_memory(err);
}

static void wipe_slist(struct curl_slist *l)
{
        for (struct curl_slist *i = l; i; i = i->next)
                nb_wipe(i->data, strlen(i->data));
        curl_slist_free_all(l);
}

static int add_line(struct request *r, const char *line, struct nb_err *err)
{
        struct curl_slist *l = curl_slist_append(r->headers, line);

        if (!l)
                return no_memory(err);
        r->headers = l;
        return 0;
}

static int add_out_header(struct request *r, const char *line, struct nb_err *err)
{
        size_t n_name = strcspn(line, ":");
        const char *value = line + n_name + 1;
        nb_auto_free char *empty = NULL;

        /* RFC 9110 section 5: a line break would begin another header. */
        if (n_name == 0 || line[n_name] == '\0' || strpbrk(line, "\r\n"))
                return nb_fail(err, NB_E_INVALID,
                               "a header for %s is not one line of \"name: value\"", r->origin);
        if (value[strspn(value, " \t")] != '\0')
                return add_line(r, line, err);
        /* "Name:" takes a header away in libcurl, "Name;" sends an empty one. */
        empty = nb_asprintf("%.*s;", (int)n_name, line);
        return empty ? add_line(r, empty, err) : no_memory(err);
}

static int set_headers(struct request *r, const struct http_out *req, struct nb_err *err)
{
        /* libcurl would call every body a form, and wait a second for a
         * "100 Continue" before a large one; a caller's own line still counts. */
        int bad = add_line(r, "Content-Type:", err);

        if (bad == 0)
                bad = add_line(r, "Expect:", err);
        for (size_t i = 0; bad == 0 && i < req->n_headers; i++)
                bad = add_out_header(r, req->headers[i], err);
        return bad;
}

#define SET(option, value) \
        do { \
                if (c == CURLE_OK) \
                        c = curl_easy_setopt(r->easy, option, value); \
        } while (0)

static CURLcode set_method(struct request *r, const char *method)
{
        bool get = nb_streq(method, "GET"), post = nb_streq(method, "POST");
        CURLcode c = CURLE_OK;

        if (nb_streq(method, "HEAD")) {
                SET(CURLOPT_NOBODY, 1L);
                return c;
        }
        if (r->n_body > 0 || post || nb_streq(method, "PUT") || nb_streq(method, "PATCH")) {
                SET(CURLOPT_POST, 1L);
                SET(CURLOPT_POSTFIELDS, r->body ? r->body : ""); /* not copied */
                SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->n_body);
                get = false;
        }
        if (!get && !post)
                SET(CURLOPT_CUSTOMREQUEST, method);
        return c;
}

static bool is_https(const char *url)
{
        return strncasecmp(url, "https:", strlen("https:")) == 0;
}

/* One request per connection, so that cancelling one hurts no other; or many,
 * and then new ones wait until the first connection has shown what it can. */
static CURLcode set_version(struct request *r, const char *url, bool multiplex)
{
        CURLcode c = CURLE_OK;

        multiplex = multiplex && is_https(url);
        SET(CURLOPT_HTTP_VERSION,
            multiplex ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
        SET(CURLOPT_PIPEWAIT, multiplex ? 1L : 0L);
        return c;
}

static CURLcode set_how(struct request *r, const struct httpc_how *how)
{
        CURLcode c = CURLE_OK;

        if (how->stall_us > 0) {
                SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
                SET(CURLOPT_LOW_SPEED_TIME, (long)((how->stall_us - 1) / NB_US_PER_S + 1));
        }
        if (how->no_proxy)
                SET(CURLOPT_NOPROXY, "*");
        if (how->once)
                SET(CURLOPT_FRESH_CONNECT, 1L);
        return c;
}

static CURLcode set_policy(struct request *r, const struct httpc_opts *o)
{
        CURLcode c = CURLE_OK;

        SET(CURLOPT_NOSIGNAL, 1L);
        SET(CURLOPT_PROTOCOLS_STR, "http,https");
        SET(CURLOPT_FOLLOWLOCATION, 0L); /* a token is for one host only */
        SET(CURLOPT_SSL_VERIFYPEER, 1L);
        SET(CURLOPT_SSL_VERIFYHOST, 2L);
        SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
        SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(o->connect_timeout_us / NB_US_PER_MS));
        /* Else ending a request would wait for its thread in getaddrinfo(). */
        SET(CURLOPT_QUICK_EXIT, 1L);
        SET(CURLOPT_USERAGENT, o->user_agent);
        if (o->ca_file)
                SET(CURLOPT_CAINFO, o->ca_file);
        return c;
}

static CURLcode set_sinks(struct request *r, bool head)
{
        CURLcode c = CURLE_OK;

        SET(CURLOPT_ERRORBUFFER, r->curl_text);
        SET(CURLOPT_PRIVATE, r);
        SET(CURLOPT_HTTPHEADER, r->headers);
        SET(CURLOPT_HEADERFUNCTION, on_header);
        SET(CURLOPT_HEADERDATA, r);
        SET(CURLOPT_WRITEFUNCTION, on_body);
        SET(CURLOPT_WRITEDATA, r);
        /* Stops before the body when the length is announced; an answer to
         * HEAD announces a length that does not come. */
        if (!head)
                SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)r->in_body.max);
        return c;
}

static bool is_method(const char *m)
{
        return m && *m && m[strspn(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")] == '\0';
}

static int set_body(struct request *r, const struct http_out *req, const struct httpc_how *how,
                    struct nb_err *err)
{
        if (how->n_body > 0) {
                nb_assert(req->n_body == 0);
                r->body = how->body;
                r->n_body = how->n_body;
        } else if (req->n_body > 0) {
                r->own_body = malloc(req->n_body);
                if (!r->own_body)
                        return no_memory(err);
                memcpy(r->own_body, req->body, req->n_body);
                r->body = r->own_body;
                r->n_body = req->n_body;
        }
        return 0;
}

int request_new(const struct http_out *req, const struct httpc_how *how,
                const struct httpc_opts *opts, struct request **ret, struct nb_err *err)
{
        NB_CLEANUP(request_freep) struct request *r = calloc(1, sizeof(*r));
        CURLcode c = CURLE_OK;
        int bad;

        if (!r)
                return no_memory(err);
        r->in_headers = NB_BUF(MAX_RESPONSE_HEADERS);
        r->in_body = NB_BUF(how->max_response ? how->max_response : opts->max_response);
        r->timeout_us = how->timeout_us ? how->timeout_us : opts->timeout_us;
        if (!req->url || !is_method(req->method))
                return nb_fail(err, NB_E_INVALID, "a request needs a method and an address");
        bad = set_origin(r, req->url, err);
        if (bad == 0)
                bad = set_headers(r, req, err);
        if (bad == 0)
                bad = set_body(r, req, how, err);
        if (bad < 0)
                return bad;
        r->easy = curl_easy_init();
        if (!r->easy)
                return no_memory(err);
        SET(CURLOPT_URL, req->url);
        if (c == CURLE_OK)
                c = set_method(r, req->method);
        if (c == CURLE_OK)
                c = set_policy(r, opts);
        if (c == CURLE_OK)
                c = set_version(r, req->url, opts->multiplex);
        if (c == CURLE_OK)
                c = set_how(r, how);
        if (c == CURLE_OK)
                c = set_sinks(r, nb_streq(req->method, "HEAD"));
        if (c == CURLE_OUT_OF_MEMORY)
                return no_memory(err);
        if (c != CURLE_OK)
                return nb_fail_detail(err, NB_E_BUG, (int)c,
                                      "libcurl refuses an option (%s); is it older than 7.87?",
                                      curl_easy_strerror(c));
        *ret = NB_TAKE(r);
        return 0;
}

struct request *request_free(struct request *r)
{
        if (!r)
                return NULL;
        loop_source_free(r->deadline);
        curl_easy_cleanup(r->easy);
        wipe_slist(r->headers);
        if (r->own_body)
                nb_wipe(r->own_body, r->n_body);
        free(r->own_body);
        free(r->origin);
        nb_buf_done(&r->in_headers);
        /* An answer may be a token too. */
        if (r->in_body.data)
                nb_wipe(r->in_body.data, r->in_body.len);
        nb_buf_done(&r->in_body);
        free(r);
        return NULL;
}

/* ---- how it ended ---- */

static const struct {
        CURLcode code;
        const char *text;
} remedies[] = {
        {CURLE_COULDNT_RESOLVE_HOST, "; check the name and this host's DNS"},
        {CURLE_COULDNT_RESOLVE_PROXY, "; check the proxy variables in the environment"},
        {CURLE_COULDNT_CONNECT, "; check the address, and that no firewall is in between"},
        {CURLE_PEER_FAILED_VERIFICATION,
         "; if the server is right, add its authority to the certificates of this host"},
        {CURLE_SSL_CACERT_BADFILE, "; check the file with the authorities' certificates"},
};

static const char *remedy(CURLcode c)
{
        for (size_t i = 0; i < NB_ARRAY_SIZE(remedies); i++)
                if (remedies[i].code == c)
                        return remedies[i].text;
        return "";
}

bool httpc_unsent(const struct nb_err *err)
{
        static const CURLcode before[] = {
                CURLE_COULDNT_RESOLVE_HOST,     CURLE_COULDNT_RESOLVE_PROXY,
                CURLE_COULDNT_CONNECT,          CURLE_SSL_CONNECT_ERROR,
                CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE};

        for (size_t i = 0; i < NB_ARRAY_SIZE(before); i++)
                if (err->code == NB_E_REMOTE && err->detail == (int)before[i])
                        return true;
        return false;
}

static void explain(struct request *r, CURLcode c, struct nb_err *err)
{
        const char *text = r->curl_text[0] ? r->curl_text : curl_easy_strerror(c);

        if (r->trouble == NB_E_NOMEM || c == CURLE_OUT_OF_MEMORY)
                (void)nb_fail_detail(err, NB_E_NOMEM, (int)c, "no memory for the answer of %s",
                                     r->origin);
        else if (r->trouble == NB_E_LIMIT || c == CURLE_FILESIZE_EXCEEDED)
                (void)nb_fail_detail(err, NB_E_LIMIT, (int)c,
                                     "the answer of %s is over %zu bytes of body or %zu of headers",
                                     r->origin, r->in_body.max, r->in_headers.max);
        else if (c == CURLE_OPERATION_TIMEDOUT)
                (void)nb_fail_detail(err, NB_E_TIMEOUT, (int)c,
                                     "%s cannot be reached in time: %s%s", r->origin, text,
                                     remedy(CURLE_COULDNT_CONNECT));
        else
                (void)nb_fail_detail(err, NB_E_REMOTE, (int)c, "no answer from %s: %s%s", r->origin,
                                     text, remedy(c));
}

static void tell_answer(struct request *r, struct http_header *headers)
{
        const char *p = nb_buf_str(&r->in_headers);
        struct http_in in = {.headers = headers,
                             .n_headers = r->n_in_headers,
                             .body = nb_buf_str(&r->in_body),
                             .n_body = r->in_body.len};
        long status = 0;

        for (size_t i = 0; i < r->n_in_headers; i++) {
                headers[i].name = p;
                p += strlen(p) + 1;
                headers[i].value = p;
                p += strlen(p) + 1;
        }
        curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
        in.status = (int)status;
        r->done(r->arg, &in, NULL);
}

void request_tell(struct request *r, CURLcode result)
{
        nb_auto_free struct http_header *headers = NULL;
        struct nb_err err;

        r->over = true;
        if (result == CURLE_OK) {
                headers = nb_alloc_array(r->n_in_headers, sizeof(*headers));
                if (headers) {
                        tell_answer(r, headers);
                        return;
                }
                result = CURLE_OUT_OF_MEMORY;
        }
        explain(r, result, &err);
        r->done(r->arg, NULL, &err);
}

void request_tell_timeout(struct request *r)
{
        struct nb_err err;

        r->over = true;
        (void)nb_fail_detail(&err, NB_E_TIMEOUT, CURLE_OPERATION_TIMEDOUT,
                             "no whole answer from %s within %llu ms; it, or the way to it, is too "
                             "slow or overloaded",
                             r->origin, (unsigned long long)(r->timeout_us / NB_US_PER_MS));
        r->done(r->arg, NULL, &err);
}
