/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Uploads.  The pool reads and sums the next piece of the source; the loop
 * sends it.  What fits in one piece goes in one request with its metadata; a
 * larger one opens a session and goes piece by piece.  After a failure the
 * session is asked how much it has; what it lost, or a session that is gone,
 * is begun again from the first byte.
 */

#include "blob-priv.h"

#define BOUNDARY "nbcid-7d1f5a0c2e9b"
#define HEADROOM ((size_t)8 << 10) /* before the piece, for the metadata */
#define TAILROOM ((size_t)64)
#define FAILURES_MAX 8 /* in a row, without progress */
#define RESTARTS_MAX 3
#define TIMEOUT_US (600 * NB_US_PER_S)
#define STALL_US (60 * NB_US_PER_S)

struct put {
        struct blob_op op; /* first */
        char *content_type;
        int64_t if_generation;
        struct source *source;
        struct sums sums;

        /* The piece in hand: n bytes from base on, sent from off on. */
        char *memory, *piece;
        size_t room, n, off;
        uint64_t base;
        bool carry; /* piece[n] is the next one's first byte */
        bool last;

        char *session; /* an address that is a credential; wiped */
        unsigned failures, restarts;
        bool rewind;
        bool asked;    /* the session, instead of sending it something */
        bool only_sum; /* there is an object already */
};

static void go_on(struct put *p);
static void ask_session(struct put *p);
static void restart(struct put *p, const char *why);

static void forget_session(struct put *p)
{
        if (p->session)
                nb_wipe(p->session, strlen(p->session));
        free(p->session);
        p->session = NULL;
}

static void put_free(struct blob_op *op)
{
        struct put *p = (struct put *)op;

        forget_session(p);
        source_free(p->source);
        sums_done(&p->sums);
        free(p->content_type);
        free(p->memory);
        free(p);
}

static void fail(struct put *p, const struct nb_err *err)
{
        op_fail(&p->op, err);
}

/* ---- reading: on the pool ---- */

static void read_piece(struct blob_op *op)
{
        struct put *p = (struct put *)op;
        size_t n = 0;
        ssize_t r = 1;

        if (p->rewind) {
                op->result = p->source->rewind(p->source, &op->err);
                if (op->result < 0)
                        return;
                sums_reset(&p->sums);
                p->rewind = p->carry = false;
        }
        if (p->carry)
                p->piece[n++] = p->piece[p->n];
        /* One byte more than a piece shows whether this is the last. */
        while (n <= p->room && r > 0 && !atomic_load(&op->work.cancel)) {
                r = p->source->read(p->source, p->piece + n, p->room + 1 - n, &op->err);
                n += r > 0 ? (size_t)r : 0;
        }
        op->result = r < 0 ? (int)r : 0;
        p->last = n <= p->room;
        p->carry = !p->last;
        p->n = p->last ? n : p->room;
        if (r < 0)
                return;
        sums_add(&p->sums, p->piece, p->n);
        if (p->last)
                sums_end(&p->sums);
}

static void on_piece(struct blob_op *op)
{
        struct put *p = (struct put *)op;

        if (op->result < 0)
                fail(p, &op->err);
        else
                go_on(p);
}

static void next_piece(struct put *p)
{
        struct nb_err err;

        p->base += p->n;
        p->off = 0;
        if (op_pool(&p->op, read_piece, on_piece, &err) < 0)
                fail(p, &err);
}

/* ---- the end ---- */

static void on_removed(void *arg, const struct http_in *resp, const struct gcp_error *e,
                       const struct nb_err *err)
{
        struct put *p = arg;

        p->op.call = NULL;
        fail(p, &p->op.err);
}

static void remove_damaged(struct put *p, const struct blob_object *o)
{
        char query[48];
        nb_auto_free char *url = NULL;
        const struct gcp_request r = {.method = "DELETE", .idempotent = true};
        struct gcp_request with = r;

        (void)nb_fail(
                &p->op.err, NB_E_REMOTE,
                "arrived damaged (%llu bytes instead of %llu, or other sums), and is removed; "
                "upload it again",
                (unsigned long long)o->size, (unsigned long long)p->sums.n);
        (void)nb_fmt(query, sizeof(query), "generation=%lld", (long long)o->generation);
        url = gcs_object_url(p->op.blob->base, &p->op.url, query);
        with.url = url;
        if (op_call(&p->op, &with, on_removed, NULL) < 0)
                fail(p, &p->op.err);
}

static void finish(struct put *p, const struct http_in *resp)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        struct blob_object o = {0};
        struct nb_err err;
        int r = gcs_read_json(resp, &tree, &err);

        if (r == 0)
                r = gcs_read_object(nb_json_root(tree), &o, &err);
        if (r < 0)
                fail(p, &err);
        else if (!sums_match(&p->sums, &o))
                remove_damaged(p, &o);
        else
                op_finish(&p->op, &o, NULL);
}

/* Somebody's object is there: perhaps ours, of a try whose answer was lost. */
static void on_there(void *arg, const struct http_in *resp, const struct gcp_error *e,
                     const struct nb_err *err)
{
        struct put *p = arg;
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        struct blob_object o;
        struct nb_err why;

        p->op.call = NULL;
        if (err) {
                fail(p, err);
        } else if (gcs_read_json(resp, &tree, &why) < 0 ||
                   gcs_read_object(nb_json_root(tree), &o, &why) < 0) {
                fail(p, &why);
        } else if (sums_match(&p->sums, &o)) {
                op_finish(&p->op, &o, NULL);
        } else {
                (void)nb_fail(&why, NB_E_CONFLICT,
                              "is there already with other content (generation %lld); choose "
                              "another name or remove it",
                              (long long)o.generation);
                fail(p, &why);
        }
}

/* 412: the precondition does not hold. */
static void compare(struct put *p)
{
        nb_auto_free char *url = gcs_object_url(p->op.blob->base, &p->op.url, "");
        const struct gcp_request r = {.method = "GET", .url = url, .idempotent = true};
        struct nb_err why;

        if (!p->last) { /* told before all was read: sum the rest */
                p->only_sum = true;
                next_piece(p);
        } else if (op_call(&p->op, &r, on_there, &why) < 0) {
                fail(p, &why);
        }
}

/* ---- one request ---- */

static void on_whole(void *arg, const struct http_in *resp, const struct gcp_error *e,
                     const struct nb_err *err)
{
        struct put *p = arg;

        p->op.call = NULL;
        if (!err)
                finish(p, resp);
        else if (e->http == 412)
                compare(p);
        else
                fail(p, err);
}

static void send_whole(struct put *p)
{
        static const char tail[] = "\r\n--" BOUNDARY "--\r\n";
        nb_auto_buf head = NB_BUF(HEADROOM);
        nb_auto_free char *url =
                gcs_upload_url(p->op.blob->base, &p->op.url, "multipart", p->if_generation);
        struct gcp_request r = {
                .method = "POST",
                .url = url,
                .content_type = "multipart/related; boundary=" BOUNDARY,
                .idempotent = p->if_generation != BLOB_ANY,
                .timeout_us = TIMEOUT_US,
                .stall_us = STALL_US,
        };
        struct nb_err err;

        (void)nb_buf_puts(&head, "--" BOUNDARY "\r\nContent-Type: application/json; "
                                 "charset=UTF-8\r\n\r\n");
        gcs_put_metadata(&head, p->op.url.name, p->content_type, &p->sums.crc32c, p->sums.md5_sum);
        (void)nb_buf_printf(&head, "\r\n--" BOUNDARY "\r\nContent-Type: %s\r\n\r\n",
                            p->content_type);
        if (head.failed) {
                (void)nb_fail(&err, NB_E_LIMIT, "the metadata is over %zu bytes", HEADROOM);
                fail(p, &err);
                return;
        }
        memcpy(p->piece - head.len, head.data, head.len);
        memcpy(p->piece + p->n, tail, sizeof(tail) - 1);
        r.body = p->piece - head.len;
        r.n_body = head.len + p->n + sizeof(tail) - 1;
        if (op_call(&p->op, &r, on_whole, &err) < 0)
                fail(p, &err);
}

/* ---- a session ---- */

/* The session's address goes where we went, and nowhere else. */
static bool is_ours(const char *base, const char *location)
{
        size_t n = strcspn(strstr(base, "://") ? strstr(base, "://") + 3 : base, "/");

        n += strstr(base, "://") ? (size_t)(strstr(base, "://") + 3 - base) : 0;
        return location && strncmp(base, location, n) == 0 && location[n] == '/';
}

static void on_session(void *arg, const struct http_in *resp, const struct gcp_error *e,
                       const struct nb_err *err)
{
        struct put *p = arg;
        const char *location = resp ? http_in_header(resp, "Location") : NULL;
        struct nb_err why;

        p->op.call = NULL;
        if (err && e->http == 412) {
                compare(p);
        } else if (err) {
                fail(p, err);
        } else if (!is_ours(p->op.blob->base, location)) {
                (void)nb_fail(&why, NB_E_REMOTE,
                              "the store opens an upload at another host, or at none");
                fail(p, &why);
        } else {
                p->session = nb_strdup(location);
                (void)nb_fail(&why, NB_E_NOMEM, "no memory for an upload");
                if (p->session)
                        go_on(p);
                else
                        fail(p, &why);
        }
}

static void open_session(struct put *p)
{
        nb_auto_buf metadata = NB_BUF(HEADROOM);
        nb_auto_free char *url =
                gcs_upload_url(p->op.blob->base, &p->op.url, "resumable", p->if_generation);
        nb_auto_free char *type = nb_asprintf("X-Upload-Content-Type: %s", p->content_type);
        char length[64];
        const char *const headers[] = {type, p->source->total == UINT64_MAX ? NULL : length, NULL};
        struct gcp_request r = {
                .method = "POST",
                .url = url,
                .content_type = "application/json; charset=UTF-8",
                .headers = headers,
                .idempotent = true, /* a session that nobody uses is nothing */
        };
        struct nb_err err;
        int bad = 0;

        (void)nb_fmt(length, sizeof(length), "X-Upload-Content-Length: %llu",
                     (unsigned long long)p->source->total);
        gcs_put_metadata(&metadata, p->op.url.name, p->content_type, NULL, NULL);
        if (!type || metadata.failed)
                bad = nb_fail(&err, NB_E_LIMIT, "the metadata is over %zu bytes", HEADROOM);
        /* The piece's headroom outlives the call, and is not in use. */
        memcpy(p->memory, nb_buf_str(&metadata), metadata.len);
        r.body = p->memory;
        r.n_body = metadata.len;
        if (bad == 0)
                bad = op_call(&p->op, &r, on_session, &err);
        if (bad < 0)
                fail(p, &err);
}

static void on_timer(void *arg)
{
        ask_session(arg);
}

/* After trouble: wait, ask how much is there, go on from it. */
static void recover(struct put *p, const struct gcp_error *e, const struct nb_err *err)
{
        bool again = e->http == 0 || e->http == 408 || e->http == 429 || e->http >= 500;

        if (e->http == 404 || e->http == 410)
                restart(p, err->msg);
        else if (e->http == 412)
                compare(p);
        else if (!again || err->code == NB_E_NOMEM || ++p->failures >= FAILURES_MAX)
                fail(p, err);
        else
                loop_timer_arm(p->op.timer,
                               gcp_backoff(p->op.blob->backoff_us, p->failures - 1, NULL));
}

/* 308: the session has that many bytes. */
static void on_persisted(struct put *p, const struct http_in *resp)
{
        struct nb_err err;
        uint64_t have;

        if (!gcs_read_persisted(http_in_header(resp, "Range"), &have) || have < p->base ||
            have > p->base + p->n || (p->last && have == p->base + p->n)) {
                restart(p, "the session lost what it had confirmed");
                return;
        }
        if (have > p->base + p->off) {
                p->failures = 0;
        } else if (!p->asked && ++p->failures >= FAILURES_MAX) {
                (void)nb_fail(&err, NB_E_REMOTE, "the store confirms nothing of what it is sent");
                fail(p, &err);
                return;
        }
        p->off = (size_t)(have - p->base);
        if (p->off == p->n)
                next_piece(p);
        else
                go_on(p);
}

static void on_sent(void *arg, const struct http_in *resp, const struct gcp_error *e,
                    const struct nb_err *err)
{
        struct put *p = arg;

        p->op.call = NULL;
        if (err)
                recover(p, e, err);
        else if (resp->status == 308)
                on_persisted(p, resp);
        else
                finish(p, resp);
}

static void put_session(struct put *p, const char *range, const char *body, size_t n)
{
        const char *const headers[] = {range, NULL};
        const struct gcp_request r = {
                .method = "PUT",
                .url = p->session,
                .body = body,
                .n_body = n,
                .content_type = p->content_type,
                .headers = headers,
                .idempotent = true, /* the same bytes for the same place */
                .anonymous = true,  /* the address is the credential */
                .also = 308,
                .tries = 1,
                .timeout_us = TIMEOUT_US,
                .stall_us = STALL_US,
        };
        struct nb_err err;

        if (op_call(&p->op, &r, on_sent, &err) < 0)
                fail(p, &err);
}

/* What stands behind the '/' of a Content-Range. */
static void total_text(const struct put *p, char *buf, size_t size)
{
        uint64_t total = p->last ? p->base + p->n : p->source->total;

        if (total != UINT64_MAX)
                (void)nb_fmt(buf, size, "%llu", (unsigned long long)total);
        else
                (void)nb_fmt(buf, size, "*");
}

static void ask_session(struct put *p)
{
        char total[24], range[64];

        total_text(p, total, sizeof(total));
        (void)nb_fmt(range, sizeof(range), "Content-Range: bytes */%s", total);
        p->asked = true;
        put_session(p, range, NULL, 0);
}

static void send_piece(struct put *p)
{
        uint64_t from = p->base + p->off, to = p->base + p->n - 1;
        char total[24], range[96];

        total_text(p, total, sizeof(total));
        (void)nb_fmt(range, sizeof(range), "Content-Range: bytes %llu-%llu/%s",
                     (unsigned long long)from, (unsigned long long)to, total);
        p->asked = false;
        put_session(p, range, p->piece + p->off, p->n - p->off);
}

static void restart(struct put *p, const char *why)
{
        struct nb_err err;

        forget_session(p);
        if (++p->restarts > RESTARTS_MAX) {
                (void)nb_fail(&err, NB_E_REMOTE, "the upload was begun %d times: %s", RESTARTS_MAX,
                              why);
                fail(p, &err);
                return;
        }
        p->failures = 0;
        p->rewind = true;
        p->base = 0;
        p->n = 0;
        next_piece(p);
}

static void go_on(struct put *p)
{
        if (p->only_sum && !p->last)
                next_piece(p);
        else if (p->only_sum)
                compare(p);
        else if (!p->session && p->base == 0 && p->last)
                send_whole(p);
        else if (!p->session)
                open_session(p);
        else
                send_piece(p);
}

/* ---- the door ---- */

static bool is_type(const char *s)
{
        return *s && strlen(s) <= 200 &&
               s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                           "!#$&^_.+-/;= ")] == '\0';
}

static int put_start(struct blob *b, const struct blob_put *put, struct source **source,
                     blob_fn done, void *arg, struct blob_op **ret, struct nb_err *err)
{
        NB_CLEANUP(op_freep) struct blob_op *guard = NULL;
        const char *type = put->content_type ? put->content_type : "application/octet-stream";
        struct put *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return nb_fail(err, NB_E_NOMEM, "no memory for an upload");
        p->source = NB_TAKE(*source);
        p->op.free = put_free;
        guard = &p->op;
        r = op_init(&p->op, b, put->url, put_free, done, arg, err);
        if (r < 0)
                return r;
        if (*p->op.url.name == '\0' || nb_ends_with(p->op.url.name, "/"))
                return nb_fail(err, NB_E_INVALID, "\"%.200s\" names no object", put->url);
        if (!is_type(type))
                return nb_fail(err, NB_E_INVALID, "\"%.100s\" is no content type", type);
        p->if_generation = put->if_generation;
        p->content_type = nb_strdup(type);
        p->room = p->source->total < PIECE ? (size_t)p->source->total : PIECE;
        p->memory = malloc(HEADROOM + p->room + 1 + TAILROOM);
        if (!p->memory || !p->content_type)
                return nb_fail(err, NB_E_NOMEM, "no memory for an upload");
        p->piece = p->memory + HEADROOM;
        r = sums_init(&p->sums, err);
        if (r == 0)
                r = loop_timer(b->loop, on_timer, p, &p->op.timer, err);
        if (r == 0)
                r = op_pool(&p->op, read_piece, on_piece, err);
        if (r < 0)
                return r;
        op_started(NB_TAKE(guard), ret);
        return 0;
}

int blob_put_bytes(struct blob *b, const struct blob_put *put, const void *p, size_t n,
                   blob_fn done, void *arg, struct blob_op **ret, struct nb_err *err)
{
        NB_CLEANUP(source_freep) struct source *s = NULL;
        int r = source_bytes(p, n, &s, err);

        return r < 0 ? r : put_start(b, put, &s, done, arg, ret, err);
}

int blob_put_file(struct blob *b, const struct blob_put *put, int fd, blob_fn done, void *arg,
                  struct blob_op **ret, struct nb_err *err)
{
        NB_CLEANUP(source_freep) struct source *s = NULL;
        int r = source_file(fd, &s, err);

        return r < 0 ? r : put_start(b, put, &s, done, arg, ret, err);
}

int blob_put_tree(struct blob *b, const struct blob_put *put, const char *dir, blob_fn done,
                  void *arg, struct blob_op **ret, struct nb_err *err)
{
        NB_CLEANUP(source_freep) struct source *s = NULL;
        int r = source_tree(dir, &s, err);

        return r < 0 ? r : put_start(b, put, &s, done, arg, ret, err);
}
