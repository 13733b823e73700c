/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * blob.h - files in an object store, for executors that do not see our disk
 *
 * Today's store is Google Cloud Storage, gs://bucket/name.  Loop thread only;
 * files are read and written on the pool, in pieces, so that memory is about
 * 8 MiB for each transfer whatever its size.  Every operation completes
 * exactly once, never from inside the call that began it, and never after its
 * cancel; its handle is invalid when the completion begins.
 *
 * What is sent and what is received is verified by CRC-32C or MD5; an object
 * that arrived damaged is removed again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/crypto.h>
#include <nbcid/err.h>
#include <nbcid/gcp.h>
#include <nbcid/loop.h>

struct blob;    /* a store */
struct blob_op; /* an operation on its way */

struct blob_opts {
        struct loop *loop; /* these two live longer than the blob */
        struct gcp *gcp;
        const char *url;     /* NULL: https://storage.googleapis.com */
        uint64_t backoff_us; /* first pause before an upload goes on; 0: 1 s */
};
int blob_new(const struct blob_opts *o, struct blob **ret, struct nb_err *err);
/* All operations were done or cancelled (asserted).  NULL is fine; answers
 * NULL. */
struct blob *blob_free(struct blob *b);
NB_DEFINE_FREEP(struct blob *, blob_free);

/* --- names --------------------------------------------------------------- */

/* Both owned.  name is "" when the address is that of a bucket. */
struct blob_url {
        char *bucket, *name;
};
/* "gs://bucket/name".  -NB_E_INVALID when it is no such address, when the
 * bucket's name cannot be one, or when the object's is longer than 1024 bytes,
 * is not UTF-8, has control characters, or a part that is empty, "." or "..".
 * One '/' at the end is fine (a folder).  Pure, any thread. */
int blob_url_parse(const char *text, struct blob_url *ret, struct nb_err *err);
void blob_url_done(struct blob_url *u);

/* --- objects ------------------------------------------------------------- */

/* Texts are borrowed for the call that brings it. */
struct blob_object {
        const char *name;
        int64_t generation; /* of this content; grows with each new one */
        uint64_t size;
        bool has_crc32c, has_md5; /* a composed object has no MD5 */
        uint32_t crc32c;
        uint8_t md5[NB_MD5_SIZE];
        const char *content_type; /* or NULL */
        const char *updated;      /* RFC 3339, or NULL */
};
/* o or err is NULL.  Both are NULL after what has no object (delete, bucket).
 * err's classes are those of gcp_call, and of what the file system says. */
typedef void (*blob_fn)(void *arg, const struct blob_object *o, const struct nb_err *err);

#define BLOB_ANY (-1) /* whatever is there; then a lost answer is not tried again */

/* Borrowed for the call. */
struct blob_put {
        const char *url;
        const char *content_type; /* NULL: application/octet-stream */
        int64_t if_generation;    /* 0: create only; that very generation; BLOB_ANY.  Else
                                     NB_E_CONFLICT; but an object that is there already with
                                     the same content is what was wanted */
};
/* p is borrowed until the end. */
int blob_put_bytes(struct blob *b, const struct blob_put *put, const void *p, size_t n,
                   blob_fn done, void *arg, struct blob_op **ret, struct nb_err *err);
/* A regular file, from its beginning, whatever its offset; fd stays the
 * caller's and may be closed at once.  It must not change meanwhile:
 * NB_E_CONFLICT. */
int blob_put_file(struct blob *b, const struct blob_put *put, int fd, blob_fn done, void *arg,
                  struct blob_op **ret, struct nb_err *err);
/* The directory's content as a tar archive (POSIX pax), sorted, without
 * owners and times, so that the same tree is the same bytes.  Symbolic links
 * stay links.  NB_E_INVALID for sockets, devices and pipes; NB_E_LIMIT for over
 * 64 levels or a million entries. */
int blob_put_tree(struct blob *b, const struct blob_put *put, const char *dir, blob_fn done,
                  void *arg, struct blob_op **ret, struct nb_err *err);

/* Write an object to fd, a regular file open for writing, from its beginning,
 * whose size becomes the object's; fd stays the caller's and may be closed at
 * once.  generation 0 is the latest; what is there is read to the end even if
 * replaced meanwhile.  Over max bytes: NB_E_LIMIT before anything is written.
 * After another failure the file's content is undefined. */
int blob_get_file(struct blob *b, const char *url, int64_t generation, uint64_t max, int fd,
                  blob_fn done, void *arg, struct blob_op **ret, struct nb_err *err);
int blob_stat(struct blob *b, const char *url, blob_fn done, void *arg, struct blob_op **ret,
              struct nb_err *err);
/* Only that generation, or with 0 the latest.  One that is not there is
 * removed: no error. */
int blob_delete(struct blob *b, const char *url, int64_t generation, blob_fn done, void *arg,
                struct blob_op **ret, struct nb_err *err);
/* The same for an object that a list of its bucket has shown, whatever its name:
 * others may write names that we would not. */
int blob_delete_listed(struct blob *b, const char *bucket, const char *name, int64_t generation,
                       blob_fn done, void *arg, struct blob_op **ret, struct nb_err *err);
/* All objects whose names begin as that of prefix_url, in the order of their
 * names: each() for every one, then done().  each() does not cancel.  Over max
 * objects: NB_E_LIMIT after that many. */
int blob_list(struct blob *b, const char *prefix_url, unsigned max,
              void (*each)(void *arg, const struct blob_object *o), blob_fn done, void *arg,
              struct blob_op **ret, struct nb_err *err);
/* Is there the bucket, and may we see it?  With project and location (NULL:
 * neither) it is created when there is none. */
int blob_bucket(struct blob *b, const char *bucket, const char *project, const char *location,
                blob_fn done, void *arg, struct blob_op **ret, struct nb_err *err);

/* NULL is fine.  What was sent may have its effect. */
void blob_cancel(struct blob_op *op);
