/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* blob-test.h - a client of Cloud Storage, a store that it talks to, and how an operation ended */

#include <nbcid/blob.h>
#include <nbcid/crypto.h>

#include "../gcp/world.h"
#include "store.h"

#define MIB ((size_t)1 << 20)

struct fixture {
        struct world w;
        struct store store;
        struct blob *blob;
        char *data; /* random */
        size_t n;
};

struct ended {
        struct blob_op *op;
        int calls;
        bool has_object;
        struct blob_object o; /* texts are gone */
        struct nb_err err;
        unsigned each;
        char names[200];
};

static inline void on_done(void *arg, const struct blob_object *o, const struct nb_err *err)
{
        struct ended *e = arg;

        e->op = NULL;
        e->calls++;
        e->has_object = o != NULL;
        if (o)
                e->o = *o;
        if (err)
                e->err = *err;
}

static inline void set_up(struct fixture *f, size_t n)
{
        struct blob_opts o = {.backoff_us = NB_US_PER_MS};

        *f = (struct fixture){.n = n};
        world_start(&f->w, store_serve, &f->store);
        (void)nb_fmt(f->store.base, sizeof(f->store.base), "%s", f->w.base);
        f->store.session_if = -1;
        f->store.clock = 100;
        world_gcp(&f->w, put_user());
        o.loop = f->w.loop;
        o.gcp = f->w.gcp;
        o.url = f->w.base;
        CHECK_OK(blob_new(&o, &f->blob, &f->w.err), &f->w.err);
        f->data = malloc(n + 1);
        CHECK(f->data);
        nb_random(f->data, n);
}

static inline void tear_down(struct fixture *f)
{
        blob_free(f->blob);
        world_stop(&f->w);
        store_done(&f->store);
        free(f->data);
}

static inline void faults(struct fixture *f, const enum fault *v, size_t n)
{
        f->store.faults = v;
        f->store.n_faults = n;
}
#define FAULTS(f, ...) \
        faults(f, (const enum fault[]){__VA_ARGS__}, \
               sizeof((const enum fault[]){__VA_ARGS__}) / sizeof(enum fault))

static inline void put(struct fixture *f, struct ended *e, int64_t if_generation)
{
        const struct blob_put p = {.url = "gs://bucket/dir/a b#1.ipynb",
                                   .if_generation = if_generation};

        *e = (struct ended){0};
        CHECK_OK(blob_put_bytes(f->blob, &p, f->data, f->n, on_done, e, &e->op, &f->w.err),
                 &f->w.err);
        CHECK_INT(e->calls, 0);
        world_wait(&f->w, &e->calls, 1);
}

/* The upload succeeded, and the store has exactly our bytes. */
static inline void check_stored(struct fixture *f, const struct ended *e)
{
        const struct stored *o = store_find(&f->store, "dir/a b#1.ipynb");

        if (!e->has_object)
                FAIL("failed: %s", e->err.msg);
        CHECK(o);
        CHECK_INT(o->n, f->n);
        CHECK(memcmp(o->data, f->data, f->n) == 0);
        CHECK_INT(e->o.generation, o->generation);
        CHECK_INT(e->o.size, f->n);
        CHECK_INT(f->store.n_faults, 0);
}
