/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* blob-priv.h - what the files of room blob share */

#include <nbcid/blob.h>
#include <nbcid/json.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

/* A multiple of 256 KiB, as Cloud Storage demands; also the most that goes in
 * one request with its metadata. */
#define PIECE ((size_t)8 << 20)

/* ---- op.c: an operation and its end ---- */

struct blob {
        struct loop *loop;
        struct gcp *gcp;
        char *base; /* no '/' at the end */
        uint64_t backoff_us;
        unsigned n_ops;
};

/* Each kind embeds it first. */
struct blob_op {
        struct loop_work work; /* first */
        struct blob *blob;     /* NULL: cancelled while the pool has it */
        struct blob_url url;
        void (*free)(struct blob_op *op); /* what the kind has, and the memory */
        struct gcp_call *call;
        struct loop_source *timer;
        bool in_pool;
        blob_fn done;
        void *arg;

        void (*run)(struct blob_op *op);  /* on the pool */
        void (*then)(struct blob_op *op); /* on the loop again, unless cancelled */
        int result;                       /* run()'s, with err */
        struct nb_err err;
};

/* url may be NULL.  On failure the caller still has op, for op_free(). */
int op_init(struct blob_op *op, struct blob *b, const char *url,
            void (*free_kind)(struct blob_op *), blob_fn done, void *arg, struct nb_err *err);
/* The operation has begun: hand it to the caller. */
void op_started(struct blob_op *op, struct blob_op **ret);
struct blob_op *op_free(struct blob_op *op);
NB_DEFINE_FREEP(struct blob_op *, op_free);
/* The end: frees op, then tells.  One of o and err may be given. */
void op_finish(struct blob_op *op, const struct blob_object *o, const struct nb_err *err);
void op_fail(struct blob_op *op, const struct nb_err *err); /* err may be op's own */
int op_pool(struct blob_op *op, void (*run)(struct blob_op *), void (*then)(struct blob_op *),
            struct nb_err *err);
/* gcp_call() whose handle is op->call; done gets op. */
int op_call(struct blob_op *op, const struct gcp_request *r, gcp_call_fn done, struct nb_err *err);

/* ---- gcs.c: Cloud Storage's words; pure.  Texts are owned, NULL: no memory ---- */

char *gcs_object_url(const char *base, const struct blob_url *u, const char *query);
/* type: "multipart" or "resumable" */
char *gcs_upload_url(const char *base, const struct blob_url *u, const char *type,
                     int64_t if_generation);
char *gcs_list_url(const char *base, const struct blob_url *u, const char *page);
char *gcs_bucket_url(const char *base, const char *bucket);
char *gcs_buckets_url(const char *base, const char *project);
/* Metadata for an upload; crc32c and md5 may be NULL.  Check out->failed. */
void gcs_put_metadata(struct nb_buf *out, const char *name, const char *content_type,
                      const uint32_t *crc32c, const uint8_t *md5);
int gcs_read_object(const struct nb_json *v, struct blob_object *ret, struct nb_err *err);
int gcs_read_json(const struct http_in *resp, struct nb_json_tree **ret, struct nb_err *err);
/* The Range of a 308: how many bytes the server has; none without one. */
bool gcs_read_persisted(const char *range, uint64_t *ret);
/* "bytes 0-9/100" is a piece of n bytes from at on? */
bool gcs_is_piece(const char *content_range, uint64_t at, uint64_t n, uint64_t total);

/* ---- source.c, tar.c: bytes to send, read on the pool ---- */

struct source {
        uint64_t total; /* UINT64_MAX: not known */
        /* Up to n bytes; 0 is the end.  -NB_E_X. */
        ssize_t (*read)(struct source *s, char *p, size_t n, struct nb_err *err);
        int (*rewind)(struct source *s, struct nb_err *err);
        void (*free)(struct source *s);
};
int source_bytes(const void *p, size_t n, struct source **ret, struct nb_err *err);
int source_file(int fd, struct source **ret, struct nb_err *err); /* bounded */
int source_tree(const char *dir, struct source **ret, struct nb_err *err);
static inline struct source *source_free(struct source *s)
{
        if (s)
                s->free(s);
        return NULL;
}
NB_DEFINE_FREEP(struct source *, source_free);

/* ---- sums ---- */

struct sums {
        uint64_t n;
        uint32_t crc32c;
        struct nb_md5 *md5;
        uint8_t md5_sum[NB_MD5_SIZE];
};
int sums_init(struct sums *s, struct nb_err *err);
void sums_add(struct sums *s, const void *p, size_t n);
void sums_end(struct sums *s);   /* fills md5_sum; starts md5 anew */
void sums_reset(struct sums *s); /* as after init */
void sums_done(struct sums *s);
/* Is the object what was summed? */
bool sums_match(const struct sums *s, const struct blob_object *o);
