/* SPDX-License-Identifier: Apache-2.0 */
#include "blob-priv.h"

#define NAME_MAX_BYTES 1024

static bool is_alnum(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* cloud.google.com/storage/docs/buckets#naming, as far as it keeps an address
 * in one piece; the rest the store knows better. */
static int check_bucket(const char *s, size_t n, struct nb_err *err)
{
        bool fine = n >= 3 && n <= 222 && is_alnum(s[0]) && is_alnum(s[n - 1]);

        for (size_t i = 0; i < n; i++) {
                fine = fine && (is_alnum(s[i]) || s[i] == '-' || s[i] == '_' || s[i] == '.');
                fine = fine && !(s[i] == '.' && i > 0 && s[i - 1] == '.');
        }
        if (fine)
                return 0;
        return nb_fail(err, NB_E_INVALID,
                       "\"%.*s\" is no name of a bucket: 3 to 222 of a-z, 0-9, '-', '_' and '.', "
                       "with a letter or digit at both ends",
                       (int)(n < 80 ? n : 80), s);
}

static int check_part(const char *s, size_t n, const char *all, struct nb_err *err)
{
        if (n == 0)
                return nb_fail(err, NB_E_INVALID, "the object name \"%.100s\" has an empty part",
                               all);
        if ((n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
                return nb_fail(err, NB_E_INVALID,
                               "the object name \"%.100s\" has a part \"%.*s\"; write the path out",
                               all, (int)n, s);
        return 0;
}

static int check_name(const char *name, struct nb_err *err)
{
        size_t n = strlen(name);

        if (n > NAME_MAX_BYTES)
                return nb_fail(err, NB_E_INVALID,
                               "the object name \"%.100s...\" has %zu bytes; %d is the most", name,
                               n, NAME_MAX_BYTES);
        if (!nb_utf8_valid(name, n, NULL))
                return nb_fail(err, NB_E_INVALID, "the object name \"%.100s\" is not UTF-8", name);
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)name[i];
                bool c1 = c == 0xc2 && (unsigned char)name[i + 1] < 0xa0;
                if (c < 0x20 || c == 0x7f || c1)
                        return nb_fail(err, NB_E_INVALID,
                                       "the object name \"%.100s\" has a control character", name);
        }
        for (const char *p = name; *p;) {
                size_t part = strcspn(p, "/");
                int r = check_part(p, part, name, err);
                if (r < 0)
                        return r;
                p += part;
                p += *p == '/';
        }
        return 0;
}

int blob_url_parse(const char *text, struct blob_url *ret, struct nb_err *err)
{
        NB_CLEANUP(blob_url_done) struct blob_url u = {0};
        const char *bucket = text ? text + strlen("gs://") : NULL;
        size_t n;
        int r;

        if (!text || !nb_starts_with(text, "gs://"))
                return nb_fail(err, NB_E_INVALID, "\"%.100s\" is not gs://bucket/name",
                               text ? text : "");
        n = strcspn(bucket, "/");
        r = check_bucket(bucket, n, err);
        if (r == 0 && bucket[n])
                r = check_name(bucket + n + 1, err);
        if (r < 0)
                return r;
        u.bucket = nb_strndup(bucket, n);
        u.name = nb_strdup(bucket[n] ? bucket + n + 1 : "");
        if (!u.bucket || !u.name)
                return nb_fail(err, NB_E_NOMEM, "no memory for an address");
        *ret = (struct blob_url){NB_TAKE(u.bucket), NB_TAKE(u.name)};
        return 0;
}

void blob_url_done(struct blob_url *u)
{
        if (!u)
                return;
        free(u->bucket);
        free(u->name);
        *u = (struct blob_url){0};
}
