/* SPDX-License-Identifier: Apache-2.0 */

/* What has no content: removing, listing, buckets. */

#include "blob-priv.h"

struct admin {
        struct blob_op op; /* first */
        /* list */
        void (*each)(void *arg, const struct blob_object *o);
        unsigned max, n;
        /* bucket */
        char *project;
        bool created; /* or taken */
        struct nb_buf body;
};

static void admin_free(struct blob_op *op)
{
        struct admin *a = (struct admin *)op;

        free(a->project);
        nb_buf_done(&a->body);
        free(a);
}

static int admin_new(struct blob *b, const char *url, blob_fn done, void *arg, struct admin **ret,
                     struct nb_err *err)
{
        struct admin *a = calloc(1, sizeof(*a));
        int r;

        if (!a)
                return nb_fail(err, NB_E_NOMEM, "no memory for a request");
        a->body = NB_BUF(4096);
        r = op_init(&a->op, b, url, admin_free, done, arg, err);
        if (r < 0)
                op_free(&a->op);
        else
                *ret = a;
        return r;
}

static int start(struct admin *a, const struct gcp_request *r, gcp_call_fn done,
                 struct blob_op **ret, struct nb_err *err)
{
        int bad = op_call(&a->op, r, done, err);

        if (bad < 0)
                op_free(&a->op);
        else
                op_started(&a->op, ret);
        return bad;
}

/* ---- delete ---- */

static void on_deleted(void *arg, const struct http_in *resp, const struct gcp_error *e,
                       const struct nb_err *err)
{
        struct admin *a = arg;

        a->op.call = NULL;
        if (err && e->http != 404)
                op_fail(&a->op, err);
        else
                op_finish(&a->op, NULL, NULL);
}

static int delete_start(struct admin *a, int64_t generation, struct blob_op **ret,
                        struct nb_err *err)
{
        char query[48] = "";
        nb_auto_free char *address = NULL;
        /* Without a generation a second try may hit what came in between. */
        struct gcp_request r = {.method = "DELETE", .idempotent = generation > 0};

        if (generation > 0)
                (void)nb_fmt(query, sizeof(query), "generation=%lld", (long long)generation);
        address = gcs_object_url(a->op.blob->base, &a->op.url, query);
        r.url = address;
        return start(a, &r, on_deleted, ret, err);
}

int blob_delete(struct blob *b, const char *url, int64_t generation, blob_fn done, void *arg,
                struct blob_op **ret, struct nb_err *err)
{
        struct admin *a = NULL;
        int bad = admin_new(b, url, done, arg, &a, err);

        return bad < 0 ? bad : delete_start(a, generation, ret, err);
}

int blob_delete_listed(struct blob *b, const char *bucket, const char *name, int64_t generation,
                       blob_fn done, void *arg, struct blob_op **ret, struct nb_err *err)
{
        nb_auto_free char *url = nb_asprintf("gs://%s", bucket);
        struct admin *a = NULL;
        int bad = url ? admin_new(b, url, done, arg, &a, err)
                      : nb_fail(err, NB_E_NOMEM, "no memory for a request");

        if (bad < 0)
                return bad;
        free(a->op.url.name);
        a->op.url.name = nb_strdup(name);
        if (!a->op.url.name || !*name) {
                op_free(&a->op);
                return nb_fail(err, *name ? NB_E_NOMEM : NB_E_INVALID, "an object has no name");
        }
        return delete_start(a, generation, ret, err);
}

/* ---- list ---- */

static int ask_page(struct admin *a, const char *page, gcp_call_fn done, struct nb_err *err)
{
        nb_auto_free char *url = gcs_list_url(a->op.blob->base, &a->op.url, page);
        const struct gcp_request r = {
                .method = "GET", .url = url, .idempotent = true, .max_response = (size_t)8 << 20};

        return op_call(&a->op, &r, done, err);
}

static void on_page(void *arg, const struct http_in *resp, const struct gcp_error *e,
                    const struct nb_err *err);

/* 1: there is another page, asked for. */
static int take_page(struct admin *a, const struct http_in *resp, struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        const struct nb_json *items;
        const char *page;
        struct blob_object o;
        int r = gcs_read_json(resp, &tree, err);

        if (r < 0)
                return r;
        items = nb_json_get(nb_json_root(tree), "items");
        for (size_t i = 0; i < nb_json_size(items); i++) {
                r = gcs_read_object(nb_json_index(items, i), &o, err);
                if (r < 0)
                        return r;
                if (a->n++ == a->max)
                        return nb_fail(err, NB_E_LIMIT, "there are over %u objects", a->max);
                a->each(a->op.arg, &o);
        }
        page = nb_json_str(nb_json_get(nb_json_root(tree), "nextPageToken"), NULL);
        if (!page || !*page)
                return 0;
        r = ask_page(a, page, on_page, err);
        return r < 0 ? r : 1;
}

static void on_page(void *arg, const struct http_in *resp, const struct gcp_error *e,
                    const struct nb_err *err)
{
        struct admin *a = arg;
        struct nb_err why;
        int r;

        a->op.call = NULL;
        if (err) {
                op_fail(&a->op, err);
                return;
        }
        r = take_page(a, resp, &why);
        if (r < 0)
                op_fail(&a->op, &why);
        else if (r == 0)
                op_finish(&a->op, NULL, NULL);
}

int blob_list(struct blob *b, const char *prefix_url, unsigned max,
              void (*each)(void *arg, const struct blob_object *o), blob_fn done, void *arg,
              struct blob_op **ret, struct nb_err *err)
{
        struct admin *a = NULL;
        int bad = admin_new(b, prefix_url, done, arg, &a, err);

        if (bad < 0)
                return bad;
        a->each = each;
        a->max = max;
        bad = ask_page(a, NULL, on_page, err);
        if (bad < 0)
                op_free(&a->op);
        else
                op_started(&a->op, ret);
        return bad;
}

/* ---- bucket ---- */

static void on_bucket(void *arg, const struct http_in *resp, const struct gcp_error *e,
                      const struct nb_err *err);

static int ask_bucket(struct admin *a, struct nb_err *err)
{
        nb_auto_free char *url = gcs_bucket_url(a->op.blob->base, a->op.url.bucket);
        const struct gcp_request r = {.method = "GET", .url = url, .idempotent = true};

        return op_call(&a->op, &r, on_bucket, err);
}

static void on_created(void *arg, const struct http_in *resp, const struct gcp_error *e,
                       const struct nb_err *err)
{
        struct admin *a = arg;
        struct nb_err why;

        a->op.call = NULL;
        if (!err) {
                op_finish(&a->op, NULL, NULL);
        } else if (e->http == 409) { /* by us, with a lost answer, or by somebody else: look */
                a->created = true;
                if (ask_bucket(a, &why) < 0)
                        op_fail(&a->op, &why);
        } else {
                op_fail(&a->op, err);
        }
}

static void create(struct admin *a)
{
        nb_auto_free char *url = gcs_buckets_url(a->op.blob->base, a->project);
        const struct gcp_request r = {.method = "POST",
                                      .url = url,
                                      .body = a->body.data,
                                      .n_body = a->body.len,
                                      .idempotent = true};
        struct nb_err err;

        if (op_call(&a->op, &r, on_created, &err) < 0)
                op_fail(&a->op, &err);
}

static void on_bucket(void *arg, const struct http_in *resp, const struct gcp_error *e,
                      const struct nb_err *err)
{
        struct admin *a = arg;
        struct nb_err why;

        a->op.call = NULL;
        if (!err) {
                op_finish(&a->op, NULL, NULL);
                return;
        }
        why = *err;
        if (e->http == 404 && a->project && !a->created) {
                create(a);
                return;
        }
        if (e->http == 404)
                (void)nb_fail(&why, NB_E_NOTFOUND, "there is no such bucket; create it");
        else if (e->http == 403)
                (void)nb_fail(&why, NB_E_DENIED,
                              "%s may not see this bucket: it belongs to another project, or "
                              "storage.buckets.get is missing (%s)",
                              gcp_identity(a->op.blob->gcp), err->msg);
        op_fail(&a->op, &why);
}

static void put_bucket(struct nb_buf *b, const char *bucket, const char *location)
{
        struct nb_json_out o = NB_JSON_OUT(b);

        nb_json_open_object(&o);
        nb_json_kv_str(&o, "name", bucket);
        nb_json_kv_str(&o, "location", location);
        nb_json_key(&o, "iamConfiguration");
        nb_json_open_object(&o);
        nb_json_key(&o, "uniformBucketLevelAccess");
        nb_json_open_object(&o);
        nb_json_kv_bool(&o, "enabled", true);
        nb_json_close(&o);
        nb_json_close(&o);
        nb_json_close(&o);
}

int blob_bucket(struct blob *b, const char *bucket, const char *project, const char *location,
                blob_fn done, void *arg, struct blob_op **ret, struct nb_err *err)
{
        nb_auto_free char *url = nb_asprintf("gs://%s", bucket);
        NB_CLEANUP(op_freep) struct blob_op *guard = NULL;
        struct admin *a = NULL;
        int bad;

        if (!url)
                return nb_fail(err, NB_E_NOMEM, "no memory for a request");
        bad = admin_new(b, url, done, arg, &a, err);
        if (bad < 0)
                return bad;
        guard = &a->op;
        if (*a->op.url.name)
                return nb_fail(err, NB_E_INVALID, "\"%.100s\" is no name of a bucket", bucket);
        if (project) {
                a->project = nb_strdup(project);
                put_bucket(&a->body, bucket, location);
        }
        if (project && (!a->project || a->body.failed))
                return nb_fail(err, NB_E_NOMEM, "no memory for a request");
        bad = ask_bucket(a, err);
        if (bad < 0)
                return bad;
        op_started(NB_TAKE(guard), ret);
        return 0;
}
