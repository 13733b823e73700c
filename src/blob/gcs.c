/* SPDX-License-Identifier: Apache-2.0 */

/* The JSON API of Google Cloud Storage: addresses, metadata, answers.  Pure. */

#include "blob-priv.h"

static const struct nb_json_limits limits = {
        .bytes = (size_t)8 << 20, .depth = 16, .values = 400000};

/* A name is one part of a path: its '/' become %2F. */
char *gcs_object_url(const char *base, const struct blob_url *u, const char *query)
{
        nb_auto_free char *name = nb_url_encode(u->name, false);

        return name ? nb_asprintf("%s/storage/v1/b/%s/o/%s%s%s", base, u->bucket, name,
                                  *query ? "?" : "", query)
                    : NULL;
}

char *gcs_upload_url(const char *base, const struct blob_url *u, const char *type,
                     int64_t if_generation)
{
        nb_auto_free char *name = nb_url_encode(u->name, false);
        char match[48] = "";

        if (!name)
                return NULL;
        if (if_generation != BLOB_ANY)
                (void)nb_fmt(match, sizeof(match), "&ifGenerationMatch=%lld",
                             (long long)if_generation);
        return nb_asprintf("%s/upload/storage/v1/b/%s/o?uploadType=%s&name=%s%s", base, u->bucket,
                           type, name, match);
}

char *gcs_list_url(const char *base, const struct blob_url *u, const char *page)
{
        nb_auto_free char *prefix = nb_url_encode(u->name, false);
        nb_auto_free char *token = nb_url_encode(page ? page : "", false);

        if (!prefix || !token)
                return NULL;
        return nb_asprintf("%s/storage/v1/b/%s/o?maxResults=1000%s%s%s%s", base, u->bucket,
                           *prefix ? "&prefix=" : "", prefix, *token ? "&pageToken=" : "", token);
}

char *gcs_bucket_url(const char *base, const char *bucket)
{
        return nb_asprintf("%s/storage/v1/b/%s", base, bucket);
}

char *gcs_buckets_url(const char *base, const char *project)
{
        nb_auto_free char *p = nb_url_encode(project, false);

        return p ? nb_asprintf("%s/storage/v1/b?project=%s", base, p) : NULL;
}

static void put_base64(struct nb_json_out *o, const char *key, const void *p, size_t n)
{
        nb_auto_buf text = NB_BUF(64);

        (void)nb_base64_encode(p, n, &text);
        nb_json_kv_str(o, key, nb_buf_str(&text));
}

void gcs_put_metadata(struct nb_buf *out, const char *name, const char *content_type,
                      const uint32_t *crc32c, const uint8_t *md5)
{
        struct nb_json_out o = NB_JSON_OUT(out);

        nb_json_open_object(&o);
        nb_json_kv_str(&o, "name", name);
        nb_json_kv_str(&o, "contentType", content_type);
        if (crc32c) {
                const uint8_t big[] = {(uint8_t)(*crc32c >> 24), (uint8_t)(*crc32c >> 16),
                                       (uint8_t)(*crc32c >> 8), (uint8_t)*crc32c};
                put_base64(&o, "crc32c", big, sizeof(big));
        }
        if (md5)
                put_base64(&o, "md5Hash", md5, NB_MD5_SIZE);
        nb_json_close(&o);
}

static bool read_base64(const struct nb_json *v, uint8_t *p, size_t n)
{
        nb_auto_buf bytes = NB_BUF(64);
        const char *s = nb_json_str(v, NULL);

        if (!s || nb_base64_decode(s, strlen(s), &bytes, NULL) < 0 || bytes.len != n)
                return false;
        memcpy(p, bytes.data, n);
        return true;
}

/* 64-bit numbers are texts in Google's JSON. */
static bool read_u64(const struct nb_json *v, uint64_t max, uint64_t *ret)
{
        int64_t i;

        if (nb_json_int(v, &i) && i >= 0) {
                *ret = (uint64_t)i;
                return *ret <= max;
        }
        return nb_parse_u64(nb_json_str(v, NULL), 0, max, ret, NULL) == 0;
}

int gcs_read_object(const struct nb_json *v, struct blob_object *ret, struct nb_err *err)
{
        struct blob_object o = {
                .name = nb_json_str(nb_json_get(v, "name"), NULL),
                .content_type = nb_json_str(nb_json_get(v, "contentType"), NULL),
                .updated = nb_json_str(nb_json_get(v, "updated"), NULL),
        };
        uint64_t generation;
        uint8_t crc[4];

        if (!o.name || !read_u64(nb_json_get(v, "generation"), INT64_MAX, &generation) ||
            !read_u64(nb_json_get(v, "size"), INT64_MAX, &o.size))
                return nb_fail(
                        err, NB_E_REMOTE,
                        "Cloud Storage describes an object without name, size or generation");
        o.generation = (int64_t)generation;
        o.has_crc32c = read_base64(nb_json_get(v, "crc32c"), crc, sizeof(crc));
        if (o.has_crc32c)
                o.crc32c = (uint32_t)crc[0] << 24 | (uint32_t)crc[1] << 16 | (uint32_t)crc[2] << 8 |
                           crc[3];
        o.has_md5 = read_base64(nb_json_get(v, "md5Hash"), o.md5, sizeof(o.md5));
        *ret = o;
        return 0;
}

int gcs_read_json(const struct http_in *resp, struct nb_json_tree **ret, struct nb_err *err)
{
        int r = nb_json_read(resp->body, resp->n_body, &limits, ret, NULL, err);

        return r < 0 ? nb_wrap(err, r, "the answer of Cloud Storage") : 0;
}

bool gcs_read_persisted(const char *range, uint64_t *ret)
{
        uint64_t last;

        *ret = 0;
        if (!range)
                return true;
        if (nb_starts_with(range, "bytes="))
                range += strlen("bytes=");
        if (!nb_starts_with(range, "0-") || nb_parse_u64(range + 2, 0, INT64_MAX, &last, NULL) < 0)
                return false;
        *ret = last + 1;
        return true;
}

bool gcs_is_piece(const char *content_range, uint64_t at, uint64_t n, uint64_t total)
{
        char want[96];

        (void)nb_fmt(want, sizeof(want), "bytes %llu-%llu/%llu", (unsigned long long)at,
                     (unsigned long long)(at + n - 1), (unsigned long long)total);
        return nb_streq(content_range, want);
}
