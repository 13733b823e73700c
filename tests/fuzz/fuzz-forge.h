/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* fuzz-forge.h - what holds for deliveries to any forge.  An input is a
 * request: lines "Name: value", an empty line, the body. */

#include <stdbool.h>
#include <string.h>

#include <nbcid/forge.h>
#include <nbcid/mem.h>
#include <nbcid/str.h>

#include "fuzz.h"

#define FUZZ_NOW INT64_C(1767323045)
#define FUZZ_MAX_HEADERS 12

struct fuzz_request {
        char *head; /* owned copy of the header lines, cut up in place */
        struct http_header headers[FUZZ_MAX_HEADERS + 4];
        struct http_in in; /* the body stands in the input itself */
};

static inline void fuzz_request_read(const uint8_t *data, size_t size, struct fuzz_request *ret)
{
        const char *text = (const char *)data, *blank = size ? memmem(text, size, "\n\n", 2) : NULL;
        size_t n_head = blank ? (size_t)(blank - text) : size;
        char *line, *rest;

        *ret = (struct fuzz_request){.head = nb_strndup(size ? text : "", n_head)};
        PROPERTY(ret->head);
        ret->in.method = "POST";
        ret->in.path = "/hooks/x";
        ret->in.headers = ret->headers;
        ret->in.body = text + (blank ? n_head + 2 : size);
        ret->in.n_body = blank ? size - n_head - 2 : 0;
        rest = ret->head;
        while (ret->in.n_headers < FUZZ_MAX_HEADERS && (line = strsep(&rest, "\n"))) {
                char *colon = strstr(line, ": ");
                if (!colon)
                        continue;
                *colon = '\0';
                ret->headers[ret->in.n_headers++] = (struct http_header){line, colon + 2};
        }
}

/* The same request with one more header in front, where it wins. */
static inline void fuzz_request_put(struct fuzz_request *r, const char *name, const char *value)
{
        memmove(r->headers + 1, r->headers, r->in.n_headers * sizeof(r->headers[0]));
        r->headers[0] = (struct http_header){name, value};
        r->in.n_headers++;
}

static inline void fuzz_check_line(const char *s)
{
        PROPERTY(s && s[0] && !strchr(s, '\n'));
        PROPERTY(nb_utf8_valid(s, strlen(s), NULL));
}

static inline void fuzz_check_oid(const char *oid)
{
        size_t n = strlen(oid);

        PROPERTY(n == 40 || n == 64);
        PROPERTY(strspn(oid, "0123456789abcdef") == n);
        PROPERTY(!nb_oid_is_zero(oid));
}

static inline void fuzz_check_event(const struct config_forge *f, const struct event *e)
{
        const char *prefix = e->kind == EVENT_PUSH ? "refs/heads/" : "refs/tags/";
        nb_auto_free char *url = NULL;

        fuzz_check_oid(e->after);
        if (e->before[0])
                fuzz_check_oid(e->before);
        PROPERTY(strchr(e->repository, '/') && !strstr(e->repository, ".."));
        PROPERTY(!strpbrk(e->repository, " \\:?#@%\n"));
        PROPERTY(nb_starts_with(e->ref, prefix) && e->ref[strlen(prefix)]);
        PROPERTY(strlen(e->ref) <= 1024 && !strstr(e->ref, ".."));
        fuzz_check_line(e->ref);
        if (e->title)
                fuzz_check_line(e->title);
        if (e->author)
                fuzz_check_line(e->author);
        PROPERTY(forge_clone_url(f, e->repository, &url, NULL) == 0);
        PROPERTY(nb_starts_with(url, f->clone_base) && nb_ends_with(url, ".git"));
}

static inline void fuzz_check_parse(const struct config_forge *f, const struct http_in *in)
{
        NB_CLEANUP(forge_event_done) struct forge_event e = {0};
        struct nb_err err;
        int r = forge_ops_of(f->kind)->parse_event(in, &e, &err);

        if (r == 1) {
                PROPERTY(!e.ignored);
                fuzz_check_event(f, &e.event);
        } else if (r == 0) {
                fuzz_check_line(e.ignored);
        } else {
                PROPERTY(r == -NB_E_INVALID || r == -NB_E_LIMIT);
                fuzz_check_line(err.msg);
        }
}

static inline void fuzz_check_delivery_id(const struct config_forge *f, const struct http_in *in)
{
        nb_auto_free char *id = NULL;
        struct nb_err err;
        int r = forge_ops_of(f->kind)->delivery_id(in, &id, &err);

        PROPERTY(r == 0 || r == -NB_E_INVALID);
        if (r < 0)
                return;
        PROPERTY(id[0] && strlen(id) <= 200);
        for (const char *s = id; *s; s++)
                PROPERTY(*s > ' ' && *s <= '~');
}

/* The request taken for a reply. */
static inline void fuzz_check_reply(const struct config_forge *f, const struct http_in *in)
{
        static const int statuses[] = {201, 400, 403, 409, 429, 503};

        for (size_t i = 0; i < NB_ARRAY_SIZE(statuses); i++) {
                struct http_in reply = *in;
                uint32_t wait = UINT32_MAX;
                enum note_verdict v;

                reply.method = reply.path = NULL;
                reply.status = statuses[i];
                v = forge_ops_of(f->kind)->status_reply(&reply, FUZZ_NOW, &wait);
                PROPERTY(v == NOTE_ACCEPTED || v == NOTE_RETRY || v == NOTE_REFUSED);
                PROPERTY(v == NOTE_RETRY ? wait <= 3600 : wait == 0);
                PROPERTY(statuses[i] != 201 || v == NOTE_ACCEPTED);
                PROPERTY((statuses[i] != 429 && statuses[i] != 503) || v == NOTE_RETRY);
        }
}
