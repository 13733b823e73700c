/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* forge-test.h - deliveries and replies for the tests of room forge */

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include <nbcid/buf.h>
#include <nbcid/forge.h>
#include <nbcid/json.h>

#include "nbtest.h"

#define MAX_HEADERS 16

/* A message under construction.  Names and values are borrowed. */
struct message {
        struct http_header headers[MAX_HEADERS];
        struct http_in in;
};

/* Set, replace or (value NULL) take away a header. */
__attribute__((unused)) static void message_set(struct message *m, const char *name,
                                                const char *value)
{
        size_t i = 0;

        while (i < m->in.n_headers && strcmp(m->headers[i].name, name) != 0)
                i++;
        if (!value) {
                if (i < m->in.n_headers)
                        m->headers[i] = m->headers[--m->in.n_headers];
                return;
        }
        CHECK(i < MAX_HEADERS);
        m->headers[i] = (struct http_header){name, value};
        if (i == m->in.n_headers)
                m->in.n_headers++;
        m->in.headers = m->headers;
}

__attribute__((unused)) static void message_body(struct message *m, const char *text)
{
        m->in.body = text;
        m->in.n_body = strlen(text);
}

/* Owned text of a file below tests/fixtures. */
__attribute__((unused)) static char *fixture(const char *name)
{
        const char *root = getenv("NBCID_SOURCE_ROOT");
        nb_auto_buf b = NB_BUF(1 << 20);
        char path[4096], part[4096];
        nb_auto_fd int fd = -1;
        ssize_t n;

        CHECK(nb_fmt(path, sizeof(path), "%s/tests/fixtures/%s", root ? root : ".", name));
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                FAIL("cannot open %s (is NBCID_SOURCE_ROOT set?)", path);
        while ((n = read(fd, part, sizeof(part))) > 0)
                CHECK(nb_buf_append(&b, part, (size_t)n) == 0);
        CHECK(n == 0 && b.len > 0);
        return nb_buf_steal(&b);
}

/* Owned copy of text with the first old replaced by new; it must be there. */
__attribute__((unused)) static char *with(const char *text, const char *old, const char *new)
{
        const char *at = strstr(text, old);

        if (!at)
                FAIL("\"%s\" is not in the text", old);
        return nb_asprintf("%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
}

/* A literal as a secret: it lives as long as the test. */
#define SECRET(text) ((struct nb_secret){.data = (char[]){text}, .n = sizeof(text) - 1})

/* Value of a header of a request, or NULL. */
__attribute__((unused)) static const char *sent_header(const struct http_out *m, const char *name)
{
        for (size_t i = 0; i < m->n_headers; i++)
                if (nb_starts_with(m->headers[i], name) && m->headers[i][strlen(name)] == ':')
                        return m->headers[i] + strlen(name) + 2;
        return NULL;
}
