/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <nbcid/crypto.h>
#include <nbcid/err.h>
#include <nbcid/json.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#define KIB256 ((size_t)256 << 10)

struct stored *store_find(struct store *s, const char *name)
{
        for (size_t i = 0; i < s->n_objects; i++)
                if (nb_streq(s->objects[i].name, name))
                        return &s->objects[i];
        return NULL;
}

void store_done(struct store *s)
{
        for (size_t i = 0; i < s->n_objects; i++)
                free(s->objects[i].data);
        free(s->session_data);
}

static enum fault fault(struct store *s)
{
        if (s->n_faults == 0)
                return FINE;
        s->n_faults--;
        return *s->faults++;
}

static void save(struct store *s, const char *name, const char *p, size_t n, enum fault f)
{
        struct stored *o = store_find(s, name);

        if (!o) {
                nb_assert(s->n_objects < STORE_OBJECTS);
                o = &s->objects[s->n_objects++];
                *o = (struct stored){0};
        }
        free(o->data);
        o->data = malloc(n + 1);
        nb_assert(o->data && nb_fmt(o->name, sizeof(o->name), "%s", name));
        if (n > 0)
                memcpy(o->data, p, n);
        if (f == DAMAGED && n > 0)
                o->data[n / 2] ^= 1;
        o->n = n;
        o->generation = ++s->clock;
}

static void put_metadata(struct nb_json_out *o, const struct stored *x)
{
        NB_CLEANUP(nb_md5_freep) struct nb_md5 *m = nb_md5_new();
        uint32_t crc = nb_crc32c(0, x->data, x->n);
        uint8_t big[] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8),
                         (uint8_t)crc};
        uint8_t md5[NB_MD5_SIZE];
        nb_auto_buf b64 = NB_BUF(64);
        char number[24];

        nb_md5_add(m, x->data, x->n);
        nb_md5_end(m, md5);
        nb_json_open_object(o);
        nb_json_kv_str(o, "name", x->name);
        (void)nb_fmt(number, sizeof(number), "%lld", (long long)x->generation);
        nb_json_kv_str(o, "generation", number);
        (void)nb_fmt(number, sizeof(number), "%zu", x->n);
        nb_json_kv_str(o, "size", number);
        (void)nb_base64_encode(big, sizeof(big), &b64);
        nb_json_kv_str(o, "crc32c", nb_buf_str(&b64));
        nb_buf_clear(&b64);
        (void)nb_base64_encode(md5, sizeof(md5), &b64);
        nb_json_kv_str(o, "md5Hash", nb_buf_str(&b64));
        nb_json_close(o);
}

static void say_object(struct nb_buf *out, const struct stored *x)
{
        nb_auto_buf json = NB_BUF(4096);
        struct nb_json_out o = NB_JSON_OUT(&json);

        put_metadata(&o, x);
        web_answer(out, 200, "", nb_buf_str(&json));
}

static bool query(const struct web_request *r, const char *key, char *buf, size_t size)
{
        nb_auto_free char *question = nb_asprintf("?%s=", key);
        nb_auto_free char *ampersand = nb_asprintf("&%s=", key);
        const char *p = strstr(r->target, question);
        nb_auto_free char *value = NULL;

        if (!p)
                p = strstr(r->target, ampersand);
        if (!p)
                return false;
        p += strlen(question);
        value = nb_url_decode(p, strcspn(p, "&"), NULL);
        nb_assert(value && nb_fmt(buf, size, "%s", value));
        return true;
}

static bool holds(struct store *s, const char *name, int64_t if_generation)
{
        const struct stored *o = store_find(s, name);

        return if_generation < 0 || (o ? o->generation : 0) == if_generation;
}

static int64_t precondition(const struct web_request *r)
{
        char text[32];
        int64_t v = -1;

        if (query(r, "ifGenerationMatch", text, sizeof(text)))
                nb_assert(nb_parse_i64(text, 0, INT64_MAX, &v, NULL) == 0);
        return v;
}

static void whole(struct store *s, const struct web_request *r, struct nb_buf *out)
{
        enum fault f = fault(s);
        const char *data = memmem(r->body, r->n_body, "octet-stream\r\n\r\n", 16);
        char name[300];
        size_t n;

        s->wholes++;
        if (f == BUSY)
                web_answer(out, 503, "", "");
        if (f == BUSY || f == RESET)
                return;
        nb_assert(data && query(r, "name", name, sizeof(name)));
        data += 16;
        n = r->n_body - (size_t)(data - r->body);
        nb_assert(n >= 26 && memcmp(data + n - 26, "\r\n--nbcid-", 10) == 0);
        n -= 26;
        if (!holds(s, name, precondition(r))) {
                web_answer(out, 412, "", "{\"error\":{\"code\":412,\"message\":\"m\"}}");
                return;
        }
        save(s, name, data, n, f);
        if (f != LOST)
                say_object(out, store_find(s, name));
}

static void open_session(struct store *s, const struct web_request *r, struct nb_buf *out)
{
        char headers[300];
        enum fault f = fault(s);

        s->sessions++;
        if (f == BUSY)
                web_answer(out, 503, "", "");
        if (f == BUSY || f == RESET)
                return;
        nb_assert(query(r, "name", s->session_name, sizeof(s->session_name)));
        s->session_if = precondition(r);
        s->session_n = 0;
        s->session_gone = false;
        (void)nb_fmt(headers, sizeof(headers), "Location: %s/session/%u\r\n",
                     f == ELSEWHERE ? "http://127.0.0.2:1" : s->base, ++s->session_id);
        if (f != LOST)
                web_answer(out, 200, headers, "");
}

static void say_308(struct store *s, struct nb_buf *out)
{
        char range[64] = "";

        if (s->session_n > 0)
                (void)nb_fmt(range, sizeof(range), "Range: bytes=0-%zu\r\n", s->session_n - 1);
        web_answer(out, 308, range, "");
}

static void complete(struct store *s, struct nb_buf *out, enum fault f)
{
        if (!holds(s, s->session_name, s->session_if)) {
                web_answer(out, 412, "", "");
                return;
        }
        save(s, s->session_name, s->session_data, s->session_n, f);
        s->session_if = -1;
        if (f != LOST)
                say_object(out, store_find(s, s->session_name));
}

/* A piece "bytes a-b/total" or a question "bytes * /total". */
static void session(struct store *s, const struct web_request *r, struct nb_buf *out)
{
        unsigned long long a = 0, b = 0, total = 0;
        char range[96];
        enum fault f = FINE;
        bool known, question;
        size_t n = r->n_body;

        web_header(r, "Content-Range", range, sizeof(range));
        (void)nb_fmt(s->last_range, sizeof(s->last_range), "%s", range);
        question = nb_starts_with(range, "bytes */");
        known = !nb_ends_with(range, "/*");
        if (question) {
                nb_assert(n == 0 && (!known || sscanf(range, "bytes */%llu", &total) == 1));
        } else {
                nb_assert(sscanf(range, "bytes %llu-%llu/%llu", &a, &b, &total) >= 2);
                nb_assert(b - a + 1 == n);
                /* pieces but the last are multiples of 256 KiB, or end at one */
                nb_assert((known && b + 1 == total) || (b + 1) % KIB256 == 0);
                s->pieces++;
                s->max_piece = n > s->max_piece ? (unsigned)n : s->max_piece;
                f = fault(s);
        }
        s->session_gone = s->session_gone || f == GONE;
        if (s->session_gone) {
                web_answer(out, 410, "", "");
                return;
        }
        if (f == BUSY)
                web_answer(out, 503, "", "");
        if (f == BUSY || f == RESET)
                return;
        if (f == FORGOTTEN) {
                s->session_n = KIB256;
                web_answer(out, 503, "", "");
                return;
        }
        if (!question) {
                nb_assert(a <= s->session_n);
                if (f == PART && n > KIB256)
                        n = KIB256;
                s->session_data = realloc(s->session_data, (size_t)a + n + 1);
                nb_assert(s->session_data);
                memcpy(s->session_data + a, r->body, n);
                s->session_n = (size_t)a + n;
                if (f == PART) {
                        web_answer(out, 503, "", "");
                        return;
                }
        }
        if (known && s->session_n == total)
                complete(s, out, f);
        else if (f != LOST)
                say_308(s, out);
}

static void get(struct store *s, const struct web_request *r, const struct stored *o,
                struct nb_buf *out)
{
        unsigned long long a = 0, b = o->n - 1;
        enum fault f = fault(s);
        char range[64], generation[32];
        size_t n, at;

        s->downloads++;
        if (f == BUSY)
                web_answer(out, 503, "", "");
        if (f == BUSY || f == RESET)
                return;
        nb_assert(query(r, "generation", generation, sizeof(generation)));
        web_header(r, "Range", range, sizeof(range));
        nb_assert(sscanf(range, "bytes=%llu-%llu", &a, &b) == 2 && b < o->n);
        n = (size_t)(b - a + 1);
        (void)nb_buf_printf(out,
                            "HTTP/1.1 206 Partial\r\nContent-Length: %zu\r\n"
                            "Content-Range: bytes %llu-%llu/%zu\r\n%s\r\n",
                            n, a, b, o->n, f == CUT ? "Connection: close\r\n" : "");
        at = out->len;
        (void)nb_buf_append(out, o->data + a, f == CUT ? n / 2 : n);
        if (f == DAMAGED)
                out->data[at] ^= 1;
}

static void list(struct store *s, const struct web_request *r, struct nb_buf *out)
{
        nb_auto_buf json = NB_BUF(65536);
        struct nb_json_out o = NB_JSON_OUT(&json);
        char prefix[300] = "", token[32] = "0";
        uint64_t i, n = 0;

        (void)query(r, "prefix", prefix, sizeof(prefix));
        (void)query(r, "pageToken", token, sizeof(token));
        nb_assert(nb_parse_u64(token, 0, 1000, &i, NULL) == 0);
        nb_json_open_object(&o);
        nb_json_key(&o, "items");
        nb_json_open_array(&o);
        for (; i < s->n_objects && n < (s->page ? s->page : 1000); i++)
                if (nb_starts_with(s->objects[i].name, prefix)) {
                        put_metadata(&o, &s->objects[i]);
                        n++;
                }
        nb_json_close(&o);
        if (i < s->n_objects) {
                (void)nb_fmt(token, sizeof(token), "%llu", (unsigned long long)i);
                nb_json_kv_str(&o, "nextPageToken", token);
        }
        nb_json_close(&o);
        web_answer(out, 200, "", nb_buf_str(&json));
}

static void object(struct store *s, const struct web_request *r, const char *rest,
                   struct nb_buf *out)
{
        nb_auto_free char *name = nb_url_decode(rest, strcspn(rest, "?"), NULL);
        struct stored *o = store_find(s, name);
        char generation[32], alt[16] = "";
        int64_t g = 0;
        bool media = query(r, "alt", alt, sizeof(alt));

        if (query(r, "generation", generation, sizeof(generation)))
                nb_assert(nb_parse_i64(generation, 1, INT64_MAX, &g, NULL) == 0);
        if (!o || (g && o->generation != g)) {
                web_answer(out, 404, "",
                           "{\"error\":{\"code\":404,\"message\":\"No such object\"}}");
        } else if (nb_streq(r->method, "DELETE")) {
                free(o->data);
                *o = s->objects[--s->n_objects];
                web_answer(out, 204, "", "");
        } else if (media) {
                get(s, r, o, out);
        } else {
                say_object(out, o);
        }
}

static void bucket(struct store *s, const struct web_request *r, struct nb_buf *out)
{
        bool create = nb_streq(r->method, "POST");

        if (create) {
                web_answer(out, s->bucket_exists ? 409 : 200, "", "{}");
                s->bucket_exists = true;
        } else if (s->bucket_foreign) {
                web_answer(out, 403, "", "{\"error\":{\"message\":\"no access\"}}");
        } else {
                web_answer(out, s->bucket_exists ? 200 : 404, "", "{}");
        }
}

void store_serve(void *arg, const struct web_request *r, struct nb_buf *out)
{
        struct store *s = arg;

        s->requests++;
        if (nb_streq(r->target, "/token"))
                web_answer(out, 200, "", "{\"access_token\":\"t\",\"expires_in\":3600}");
        else if (nb_starts_with(r->target, "/upload/") && strstr(r->target, "uploadType=multipart"))
                whole(s, r, out);
        else if (nb_starts_with(r->target, "/upload/"))
                open_session(s, r, out);
        else if (nb_starts_with(r->target, "/session/"))
                session(s, r, out);
        else if (nb_starts_with(r->target, "/storage/v1/b/bucket/o/"))
                object(s, r, r->target + strlen("/storage/v1/b/bucket/o/"), out);
        else if (nb_starts_with(r->target, "/storage/v1/b/bucket/o"))
                list(s, r, out);
        else
                bucket(s, r, out);
}
