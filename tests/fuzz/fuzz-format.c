/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes through the format check: each finding has a place inside the
 * text, one line of words and a remedy; and however the bytes are cut into
 * pieces, the same is found.  The first byte says how they are cut.
 */

#include <string.h>

#include <nbcid/mem.h>
#include <nbcid/notebook.h>
#include <nbcid/str.h>

#include "fuzz.h"

#define MAX_BYTES (1 << 16)
#define KEPT_MAX 6 /* small, so that inputs meet it */

static void check_words(const char *s)
{
        PROPERTY(s && *s && nb_utf8_valid(s, strlen(s), NULL));
        PROPERTY(!strchr(s, '\n') && !strchr(s, '\x1b'));
}

static void check_finding(const struct finding *f, size_t size)
{
        PROPERTY(nb_starts_with(f->rule, "format/"));
        PROPERTY(f->line >= 1 && f->column >= 1 && f->line + f->column <= size + 2);
        PROPERTY(f->cell >= 0 && (size_t)f->cell <= size);
        check_words(f->message);
        check_words(f->remedy);
        if (f->path)
                check_words(f->path);
}

static void check_pieces(const char *p, size_t n, size_t step, struct findings *to)
{
        NB_CLEANUP(notebook_format_freep) struct notebook_format *f = NULL;
        struct nb_err err;

        PROPERTY(notebook_format_new(MAX_BYTES, to, &f, &err) == 0);
        for (size_t i = 0; i < n; i += step) {
                size_t len = n - i < step ? n - i : step;
                /* a copy of its own, which a check that looks back would miss */
                nb_auto_free char *piece = malloc(len);

                PROPERTY(piece);
                memcpy(piece, p + i, len);
                PROPERTY(notebook_format_feed(f, piece, len, &err) == 0);
        }
        PROPERTY(notebook_format_end(f, &err) == 0);
}

static void check_same(const struct finding *a, const struct finding *b)
{
        PROPERTY(a->severity == b->severity && strcmp(a->rule, b->rule) == 0);
        PROPERTY(a->line == b->line && a->column == b->column && a->cell == b->cell);
        PROPERTY(nb_streq(a->path, b->path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        NB_CLEANUP(findings_done) struct findings whole = {.max = KEPT_MAX};
        NB_CLEANUP(findings_done) struct findings pieces = {.max = KEPT_MAX};
        const char *p = (const char *)data;
        size_t step = size > 0 ? data[0] % 97 + 1u : 1;
        nb_auto_free char *line = NULL;
        struct nb_err err;

        if (size > MAX_BYTES)
                size = MAX_BYTES;
        PROPERTY(notebook_check_format(p, size, MAX_BYTES, &whole, &err) == 0);
        for (size_t i = 0; i < whole.n; i++)
                check_finding(&whole.v[i], size);
        PROPERTY(whole.n <= KEPT_MAX && (whole.n == KEPT_MAX || whole.more == 0));
        line = findings_text(&whole);
        PROPERTY(whole.n == 0 || line);
        check_pieces(p, size, step, &pieces);
        PROPERTY(whole.n == pieces.n && whole.more == pieces.more);
        for (size_t i = 0; i < whole.n; i++)
                check_same(&whole.v[i], &pieces.v[i]);
        return 0;
}
