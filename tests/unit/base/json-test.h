/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* json-test.h - what the tests of JSON share */

#include <nbcid/json.h>
#include <nbcid/mem.h>
#include <nbcid/str.h>

#include "nbtest.h"

#define MIB ((size_t)1 << 20)

static const struct nb_json_limits wide = {.bytes = 64 * MIB, .depth = 64};

/* nb_json_skip() lets through what nb_json_parse() does, whatever this file
 * tries; and nothing behind the n bytes is read. */
static inline void skip_agrees(const char *text, size_t n)
{
        nb_auto_free char *exact = malloc(n ? n : 1); /* valgrind and ASan watch its end */
        bool whole;
        size_t end;

        memcpy(exact, text, n);
        end = nb_json_skip(exact, n, 0, wide.depth);
        whole = end > 0 && nb_json_space(exact, n, end) == n && nb_utf8_valid(exact, n, NULL);
        CHECK(end <= n);
        CHECK_INT(whole, nb_json_parse(text, n, &wide, &(struct nb_json_events){0}, NULL, NULL,
                                       NULL) == 0);
}

/* Read text into a tree with limits; the caller frees it. */
static inline struct nb_json_tree *tree(const char *text)
{
        struct nb_json_tree *t = NULL;
        struct nb_err err;

        skip_agrees(text, strlen(text));
        CHECK_OK(nb_json_read(text, strlen(text), &wide, &t, NULL, &err), &err);
        return t;
}
