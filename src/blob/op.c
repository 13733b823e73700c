/* SPDX-License-Identifier: Apache-2.0 */

/* An operation: how it begins, moves between loop and pool, and ends. */

#include "blob-priv.h"

int blob_new(const struct blob_opts *o, struct blob **ret, struct nb_err *err)
{
        struct blob *b = calloc(1, sizeof(*b));
        size_t n;

        if (!b)
                return nb_fail(err, NB_E_NOMEM, "no memory for a store");
        b->loop = o->loop;
        b->gcp = o->gcp;
        b->backoff_us = o->backoff_us ? o->backoff_us : NB_US_PER_S;
        b->base = nb_strdup(o->url ? o->url : "https://storage.googleapis.com");
        if (!b->base) {
                free(b);
                return nb_fail(err, NB_E_NOMEM, "no memory for a store");
        }
        n = strlen(b->base);
        while (n > 0 && b->base[n - 1] == '/')
                b->base[--n] = '\0';
        *ret = b;
        return 0;
}

struct blob *blob_free(struct blob *b)
{
        if (!b)
                return NULL;
        nb_assert(b->n_ops == 0);
        free(b->base);
        free(b);
        return NULL;
}

int op_init(struct blob_op *op, struct blob *b, const char *url,
            void (*free_kind)(struct blob_op *), blob_fn done, void *arg, struct nb_err *err)
{
        op->blob = b;
        op->free = free_kind;
        op->done = done;
        op->arg = arg;
        return url ? blob_url_parse(url, &op->url, err) : 0;
}

void op_started(struct blob_op *op, struct blob_op **ret)
{
        op->blob->n_ops++;
        *ret = op;
}

struct blob_op *op_free(struct blob_op *op)
{
        if (!op)
                return NULL;
        gcp_call_cancel(op->call);
        loop_source_free(op->timer);
        blob_url_done(&op->url);
        op->free(op);
        return NULL;
}

void op_finish(struct blob_op *op, const struct blob_object *o, const struct nb_err *err)
{
        blob_fn done = op->done;
        void *arg = op->arg;

        op->blob->n_ops--;
        op_free(op);
        done(arg, o, err);
}

void op_fail(struct blob_op *op, const struct nb_err *err)
{
        struct nb_err why = *err;

        (void)nb_wrap(&why, -1, "gs://%s/%s", op->url.bucket ? op->url.bucket : "",
                      op->url.name ? op->url.name : "");
        op_finish(op, NULL, &why);
}

void blob_cancel(struct blob_op *op)
{
        if (!op)
                return;
        op->blob->n_ops--;
        if (op->in_pool) {
                atomic_store(&op->work.cancel, true);
                op->blob = NULL; /* the rest is freed when it is back */
                op->timer = loop_source_free(op->timer);
        } else {
                op_free(op);
        }
}

static void run_work(struct loop_work *w)
{
        struct blob_op *op = (struct blob_op *)w;

        op->run(op);
}

static void work_done(struct loop_work *w)
{
        struct blob_op *op = (struct blob_op *)w;

        op->in_pool = false;
        if (op->blob)
                op->then(op);
        else
                op_free(op);
}

int op_pool(struct blob_op *op, void (*run)(struct blob_op *), void (*then)(struct blob_op *),
            struct nb_err *err)
{
        int r;

        op->work.run = run_work;
        op->work.done = work_done;
        op->run = run;
        op->then = then;
        r = loop_submit(op->blob->loop, &op->work, err);
        op->in_pool = r == 0;
        return r;
}

int op_call(struct blob_op *op, const struct gcp_request *r, gcp_call_fn done, struct nb_err *err)
{
        if (!r->url)
                return nb_fail(err, NB_E_NOMEM, "no memory for an address");
        return gcp_call(op->blob->gcp, r, done, op, &op->call, err);
}

/* ---- sums ---- */

int sums_init(struct sums *s, struct nb_err *err)
{
        *s = (struct sums){.md5 = nb_md5_new()};
        return s->md5 ? 0 : nb_fail(err, NB_E_NOMEM, "no memory for a digest");
}

void sums_add(struct sums *s, const void *p, size_t n)
{
        s->n += n;
        s->crc32c = nb_crc32c(s->crc32c, p, n);
        nb_md5_add(s->md5, p, n);
}

void sums_end(struct sums *s)
{
        nb_md5_end(s->md5, s->md5_sum);
}

void sums_reset(struct sums *s)
{
        nb_md5_end(s->md5, s->md5_sum);
        s->n = 0;
        s->crc32c = 0;
}

void sums_done(struct sums *s)
{
        s->md5 = nb_md5_free(s->md5);
}

bool sums_match(const struct sums *s, const struct blob_object *o)
{
        if (s->n != o->size)
                return false;
        if (o->has_md5 && memcmp(s->md5_sum, o->md5, sizeof(o->md5)) != 0)
                return false;
        if (o->has_crc32c && s->crc32c != o->crc32c)
                return false;
        return o->has_md5 || o->has_crc32c;
}
