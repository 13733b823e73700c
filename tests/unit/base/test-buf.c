/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/buf.h>
#include <nbcid/err.h>

#include "nbtest.h"

TEST(a_new_buffer_is_the_empty_text)
{
        nb_auto_buf b = NB_BUF(10);

        CHECK_STR(nb_buf_str(&b), "");
        CHECK_INT(nb_buf_append(&b, NULL, 0), 0);
        CHECK_STR(nb_buf_str(&b), "");
}

TEST(bytes_are_appended_and_ended)
{
        nb_auto_buf b = NB_BUF(100);

        CHECK_INT(nb_buf_puts(&b, "ab"), 0);
        CHECK_INT(nb_buf_putc(&b, 'c'), 0);
        CHECK_INT(nb_buf_append(&b, "d\0e", 3), 0);
        CHECK_INT(b.len, 6);
        CHECK(memcmp(b.data, "abcd\0e", 7) == 0);
        nb_buf_clear(&b);
        CHECK_STR(nb_buf_str(&b), "");
        CHECK_INT(nb_buf_printf(&b, "%s-%05d", "x", 42), 0);
        CHECK_STR(nb_buf_str(&b), "x-00042");
}

TEST(the_ceiling_is_exact)
{
        for (size_t max = 0; max < 80; max++) {
                nb_auto_buf b = NB_BUF(max);

                for (size_t i = 0; i < max; i++)
                        CHECK_INT(nb_buf_putc(&b, 'x'), 0);
                CHECK_INT(b.len, max);
                CHECK(b.cap <= max + 1);
                CHECK(!b.failed);
                CHECK_INT(nb_buf_putc(&b, 'y'), -NB_E_LIMIT);
                CHECK(b.failed);
                CHECK_INT(b.len, max);
                CHECK_INT(strlen(nb_buf_str(&b)), max);
        }
}

TEST(a_failure_stays_until_cleared)
{
        nb_auto_buf b = NB_BUF(4);

        CHECK_INT(nb_buf_puts(&b, "ab"), 0);
        CHECK_INT(nb_buf_puts(&b, "cde"), -NB_E_LIMIT);
        CHECK_INT(nb_buf_puts(&b, "c"), -NB_E_LIMIT);
        CHECK_INT(nb_buf_printf(&b, "c"), -NB_E_LIMIT);
        CHECK_STR(nb_buf_str(&b), "ab");
        CHECK(b.failed);
        nb_buf_clear(&b);
        CHECK(!b.failed);
        CHECK_INT(nb_buf_puts(&b, "wxyz"), 0);
        CHECK_STR(nb_buf_str(&b), "wxyz");
}

TEST(printf_is_whole_or_nothing)
{
        nb_auto_buf b = NB_BUF(70);

        CHECK_INT(nb_buf_puts(&b, "head "), 0);
        CHECK_INT(nb_buf_printf(&b, "%064d", 7), 0);
        CHECK_INT(b.len, 69);
        CHECK_INT(nb_buf_printf(&b, "%d", 12), -NB_E_LIMIT);
        CHECK_INT(b.len, 69);
        CHECK_INT(strlen(b.data), 69);
}

TEST(absurd_sizes_are_refused)
{
        nb_auto_buf b = NB_BUF(SIZE_MAX);

        CHECK_INT(nb_buf_puts(&b, "abc"), 0);
        CHECK_INT(nb_buf_reserve(&b, SIZE_MAX), -NB_E_LIMIT);
        nb_buf_clear(&b);
        CHECK_INT(nb_buf_puts(&b, "abc"), 0);
        CHECK_INT(nb_buf_reserve(&b, SIZE_MAX - 3), -NB_E_LIMIT);
        CHECK_STR(nb_buf_str(&b), "abc");
}

TEST(reserve_gives_room)
{
        nb_auto_buf b = NB_BUF(1000);

        CHECK_INT(nb_buf_puts(&b, "a"), 0);
        CHECK_INT(nb_buf_reserve(&b, 999), 0);
        memset(b.data + b.len, 'z', 999);
        b.len += 999;
        b.data[b.len] = '\0';
        CHECK_INT(strlen(b.data), 1000);
        CHECK_INT(nb_buf_reserve(&b, 1), -NB_E_LIMIT);
}

TEST(done_keeps_the_ceiling)
{
        struct nb_buf b = NB_BUF(7);

        CHECK_INT(nb_buf_puts(&b, "abc"), 0);
        nb_buf_done(&b);
        CHECK(!b.data && b.len == 0 && b.cap == 0 && b.max == 7);
        nb_buf_done(&b);
        nb_buf_done(NULL);
        CHECK_INT(nb_buf_puts(&b, "1234567"), 0);
        nb_buf_done(&b);
}

TEST(steal_moves_the_content)
{
        nb_auto_buf b = NB_BUF(5);
        nb_auto_free char *s = NULL;
        nb_auto_free char *empty = NULL;

        CHECK_INT(nb_buf_puts(&b, "abc"), 0);
        s = nb_buf_steal(&b);
        CHECK_STR(s, "abc");
        CHECK_INT(b.len, 0);
        CHECK(!b.data);
        empty = nb_buf_steal(&b);
        CHECK_STR(empty, "");
        CHECK_INT(nb_buf_puts(&b, "abcdef"), -NB_E_LIMIT);
        CHECK(!nb_buf_steal(&b));
        CHECK_INT(nb_buf_puts(&b, "again"), 0);
}

TEST(arrays_are_checked_and_zeroed)
{
        nb_auto_free int *a = NULL;
        size_t cap = 0;

        CHECK(!nb_alloc_array(SIZE_MAX / 2, 3));
        void *none = nb_alloc_array(0, 8);
        CHECK(none);
        free(none);
        for (size_t need = 1; need < 3000; need += 7) {
                size_t before = cap;
                CHECK_INT(nb_grow((void **)&a, &cap, need, sizeof(*a)), 0);
                CHECK(cap >= need);
                for (size_t i = before; i < cap; i++) {
                        CHECK_INT(a[i], 0);
                        a[i] = (int)i;
                }
        }
        size_t before = cap;
        int *was = a;
        CHECK_INT(nb_grow((void **)&a, &cap, SIZE_MAX / 2, sizeof(*a)), -1);
        CHECK(cap == before && a == was && a[10] == 10);
}

TEST(take_leaves_nothing_behind)
{
        char *p = strdup("x");
        int fd = dup(0);
        nb_auto_free char *q = NB_TAKE(p);
        nb_auto_fd int fd2 = NB_TAKE_FD(fd);

        CHECK(!p && q);
        CHECK(fd == -1 && fd2 >= 0);
}

NBTEST_MAIN()
