/* SPDX-License-Identifier: Apache-2.0 */

/* Strings of all lengths around those at which the reader takes larger steps, each with
 * something odd at each of its places: read the quick way and by yajl, they are the same. */

#include <nbcid/json.h>
#include <nbcid/mem.h>

#include "nbtest.h"

#define LENGTH_MAX 170 /* more than two large steps after the small ones */

struct heard {
        struct nb_json_reader *reader;
        struct nb_buf text;
        bool idle;
};

static int on_string(void *arg, const char *s, size_t n, struct nb_err *err)
{
        struct heard *h = arg;
        struct nb_json_pos at = nb_json_reader_mark(h->reader);

        nb_json_reader_locate(h->reader, &at);
        CHECK(nb_buf_printf(&h->text, "%zu:%zu:%zu:", at.offset, at.line, at.column) == 0);
        /* who is idle gets strings as they are written */
        return nb_buf_append(&h->text, s, h->idle ? 0 : n);
}

static bool is_idle(void *arg, bool key)
{
        return ((struct heard *)arg)->idle;
}

/* Without ev->idle all is yajl's. */
static void read_it(const char *p, size_t n, bool quick, bool idle, struct nb_buf *ret)
{
        static const struct nb_json_limits limits = {.bytes = 1 << 20, .depth = 4};
        const struct nb_json_events ev = {.string = on_string, .idle = quick ? is_idle : NULL};
        struct heard h = {.text = NB_BUF(1 << 20), .idle = idle};
        struct nb_err err = {0};
        int r;

        CHECK_OK(nb_json_reader_new(&limits, &ev, &h, &h.reader, &err), &err);
        r = nb_json_reader_feed(h.reader, p, n, &err);
        if (r == 0)
                r = nb_json_reader_end(h.reader, &err);
        CHECK(nb_buf_printf(&h.text, " %d %s", r, r < 0 ? err.msg : "") == 0);
        nb_json_reader_free(h.reader);
        *ret = h.text;
}

static void same_both_ways(const struct nb_buf *text)
{
        nb_auto_free char *exact = malloc(text->len); /* valgrind and ASan watch its end */

        CHECK(exact);
        memcpy(exact, text->data, text->len);
        for (int idle = 0; idle < 2; idle++) {
                nb_auto_buf quick = {0}, yajl = {0};

                read_it(exact, text->len, true, idle, &quick);
                read_it(exact, text->len, false, idle, &yajl);
                CHECK_STR(nb_buf_str(&quick), nb_buf_str(&yajl));
        }
}

/* A string of n plain bytes, with what at each place near its end and some before. */
static void everywhere(const char *what, size_t n)
{
        char plain[LENGTH_MAX];

        memset(plain, 'a', sizeof(plain));
        for (size_t at = n < 40 ? 0 : n - 40; at <= n; at += 1 + (n - at) / 4) {
                nb_auto_buf text = NB_BUF(4096);

                CHECK(nb_buf_printf(&text, "[\"%.*s%s%.*s\", \"end\"]\n", (int)at, plain, what,
                                    (int)(n - at), plain) == 0);
                same_both_ways(&text);
        }
}

TEST(odd_bytes_are_seen_wherever_they_stand)
{
        static const char *const odd[] = {"",        "\"",   "\\n",  "\\\"", "\\u00e9",
                                          "\\ud800", "\\x",  "\x01", "\x1f", "\xc3\xa9",
                                          "\xff",    "\xc3", "\x7f", "\n",   "\\"};

        for (size_t n = 0; n < LENGTH_MAX; n += n < 60 ? 15 : 3)
                for (size_t k = 0; k < NB_ARRAY_SIZE(odd); k++)
                        everywhere(odd[k], n);
}

TEST(lines_are_counted_in_large_steps)
{
        nb_auto_buf text = NB_BUF(1 << 20), found = {0};

        CHECK(nb_buf_puts(&text, "[") == 0);
        for (int i = 0; i < 1000; i++)
                CHECK(nb_buf_printf(&text, "%.*s%d,", i % 5, "\n\n\n\n", i) == 0);
        CHECK(nb_buf_puts(&text, "\"end\"]") == 0);
        read_it(text.data, text.len, true, true, &found);
        CHECK_STR(nb_buf_str(&found), "5891:2001:5: 0 ");
}

NBTEST_MAIN()
