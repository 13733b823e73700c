/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Downloads.  First the metadata, which say generation, size and sums; then
 * pieces of that very generation, each sent for again by the rules of gcp_call
 * and written on the pool; at the end the sums.  Objects that are stored
 * compressed come as they are stored, which is what the sums are of.
 */

#include "blob-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define DAMAGED_MAX 3

struct get {
        struct blob_op op; /* first */
        int fd;            /* our own */
        uint64_t max, at;
        struct nb_json_tree *metadata;
        struct blob_object object; /* borrows from metadata */
        struct sums sums;
        char *piece;
        size_t n;
        unsigned damaged;
};

static void get_free(struct blob_op *op)
{
        struct get *g = (struct get *)op;

        nb_closep(&g->fd);
        nb_json_free(g->metadata);
        sums_done(&g->sums);
        free(g->piece);
        free(g);
}

/* As op_finish(), with texts that live until it is told. */
static void finish(struct get *g)
{
        struct nb_json_tree *metadata = NB_TAKE(g->metadata);
        struct blob_object o = g->object;

        op_finish(&g->op, &o, NULL);
        nb_json_free(metadata);
}

static void ask_piece(struct get *g);

/* ---- on the pool ---- */

static int write_at(int fd, const char *p, size_t n, uint64_t at, struct nb_err *err)
{
        while (n > 0) {
                ssize_t r = pwrite(fd, p, n, (off_t)at);
                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0)
                        return nb_fail_errno(err, errno, "cannot write what is downloaded");
                p += r;
                n -= (size_t)r;
                at += (uint64_t)r;
        }
        return 0;
}

static void write_piece(struct blob_op *op)
{
        struct get *g = (struct get *)op;

        op->result = 0;
        /* Also for an empty object; and what was there before is cut off. */
        if (g->at == 0 && ftruncate(g->fd, (off_t)g->object.size) < 0)
                op->result = nb_fail_errno(&op->err, errno, "cannot write what is downloaded");
        if (op->result == 0)
                op->result = write_at(g->fd, g->piece, g->n, g->at, &op->err);
        sums_add(&g->sums, g->piece, g->n);
        if (g->at + g->n == g->object.size)
                sums_end(&g->sums);
}

static void on_written(struct blob_op *op)
{
        struct get *g = (struct get *)op;
        struct nb_err err;

        if (op->result < 0) {
                op_fail(op, &op->err);
                return;
        }
        g->at += g->n;
        if (g->at < g->object.size) {
                ask_piece(g);
        } else if (sums_match(&g->sums, &g->object)) {
                finish(g);
        } else if (++g->damaged >= DAMAGED_MAX) {
                (void)nb_fail(&err, NB_E_REMOTE,
                              "came damaged %d times: its sums are not those that the store names",
                              DAMAGED_MAX);
                op_fail(op, &err);
        } else {
                sums_reset(&g->sums);
                g->at = 0;
                ask_piece(g);
        }
}

/* ---- pieces ---- */

static int take_piece(struct get *g, const struct http_in *resp, struct nb_err *err)
{
        uint64_t left = g->object.size - g->at;
        size_t want = left < PIECE ? (size_t)left : PIECE;
        const char *range = http_in_header(resp, "Content-Range");
        bool whole = resp->status == 200 && g->at == 0 && want == g->object.size;

        if (resp->n_body != want || (!whole && !gcs_is_piece(range, g->at, want, g->object.size)))
                return nb_fail(
                        err, NB_E_REMOTE,
                        "the store answers with %zu bytes (%s) instead of the %zu from %llu on",
                        resp->n_body, range ? range : "no range", want, (unsigned long long)g->at);
        memcpy(g->piece, resp->body, want);
        g->n = want;
        return op_pool(&g->op, write_piece, on_written, err);
}

static void on_bytes(void *arg, const struct http_in *resp, const struct gcp_error *e,
                     const struct nb_err *err)
{
        struct get *g = arg;
        struct nb_err why;

        g->op.call = NULL;
        if (err)
                op_fail(&g->op, err);
        else if (take_piece(g, resp, &why) < 0)
                op_fail(&g->op, &why);
}

static void ask_piece(struct get *g)
{
        uint64_t left = g->object.size - g->at;
        size_t n = left < PIECE ? (size_t)left : PIECE;
        char query[64], range[96];
        const char *const headers[] = {"Accept-Encoding: gzip", range, NULL};
        nb_auto_free char *url = NULL;
        struct gcp_request r = {
                .method = "GET",
                .headers = headers,
                .idempotent = true,
                .timeout_us = 600 * NB_US_PER_S,
                .stall_us = 60 * NB_US_PER_S,
                .max_response = n + 1,
        };
        struct nb_err err;
        int bad = 0;

        g->n = 0;
        if (n == 0) { /* no range is satisfiable, and none is needed */
                bad = op_pool(&g->op, write_piece, on_written, &err);
        } else {
                (void)nb_fmt(query, sizeof(query), "alt=media&generation=%lld",
                             (long long)g->object.generation);
                (void)nb_fmt(range, sizeof(range), "Range: bytes=%llu-%llu",
                             (unsigned long long)g->at, (unsigned long long)(g->at + n - 1));
                url = gcs_object_url(g->op.blob->base, &g->op.url, query);
                r.url = url;
                bad = op_call(&g->op, &r, on_bytes, &err);
        }
        if (bad < 0)
                op_fail(&g->op, &err);
}

/* ---- metadata ---- */

static int take_metadata(struct get *g, const struct http_in *resp, struct nb_err *err)
{
        int r = gcs_read_json(resp, &g->metadata, err);

        if (r == 0)
                r = gcs_read_object(nb_json_root(g->metadata), &g->object, err);
        if (r < 0)
                return r;
        if (g->fd < 0)
                return 0;
        if (g->object.size > g->max)
                return nb_fail(err, NB_E_LIMIT, "has %llu bytes; %llu are allowed",
                               (unsigned long long)g->object.size, (unsigned long long)g->max);
        if (!g->object.has_crc32c && !g->object.has_md5)
                return nb_fail(err, NB_E_REMOTE, "has no sums, so nobody could see damage");
        g->piece = malloc((g->object.size < PIECE ? (size_t)g->object.size : PIECE) + 1);
        return g->piece ? sums_init(&g->sums, err)
                        : nb_fail(err, NB_E_NOMEM, "no memory for a download");
}

static void on_metadata(void *arg, const struct http_in *resp, const struct gcp_error *e,
                        const struct nb_err *err)
{
        struct get *g = arg;
        struct nb_err why;

        g->op.call = NULL;
        if (err)
                op_fail(&g->op, err);
        else if (take_metadata(g, resp, &why) < 0)
                op_fail(&g->op, &why);
        else if (g->fd < 0)
                finish(g);
        else
                ask_piece(g);
}

static int get_start(struct blob *b, const char *url, int64_t generation, uint64_t max, int fd,
                     blob_fn done, void *arg, struct blob_op **ret, struct nb_err *err)
{
        NB_CLEANUP(op_freep) struct blob_op *guard = NULL;
        struct get *g = calloc(1, sizeof(*g));
        char query[48] = "";
        nb_auto_free char *address = NULL;
        struct gcp_request r = {.method = "GET", .idempotent = true};
        int bad;

        if (!g)
                return nb_fail(err, NB_E_NOMEM, "no memory for a download");
        g->fd = -1;
        g->max = max;
        g->op.free = get_free;
        guard = &g->op;
        bad = op_init(&g->op, b, url, get_free, done, arg, err);
        if (bad < 0)
                return bad;
        if (fd >= 0 && (g->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
                return nb_fail_errno(err, errno, "cannot write what is downloaded");
        if (generation > 0)
                (void)nb_fmt(query, sizeof(query), "generation=%lld", (long long)generation);
        address = gcs_object_url(b->base, &g->op.url, query);
        r.url = address;
        bad = op_call(&g->op, &r, on_metadata, err);
        if (bad < 0)
                return bad;
        op_started(NB_TAKE(guard), ret);
        return 0;
}

int blob_get_file(struct blob *b, const char *url, int64_t generation, uint64_t max, int fd,
                  blob_fn done, void *arg, struct blob_op **ret, struct nb_err *err)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return nb_fail_errno(err, errno, "cannot write what is downloaded");
        if (!S_ISREG(st.st_mode))
                return nb_fail(err, NB_E_INVALID, "downloads go into regular files only");
        return get_start(b, url, generation, max, fd, done, arg, ret, err);
}

int blob_stat(struct blob *b, const char *url, blob_fn done, void *arg, struct blob_op **ret,
              struct nb_err *err)
{
        return get_start(b, url, 0, 0, -1, done, arg, ret, err);
}
