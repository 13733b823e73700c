/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/buf.h>

#include <stdio.h>
#include <string.h>

#include <nbcid/err.h>

void nb_buf_done(struct nb_buf *b)
{
        if (!b)
                return;
        free(b->data);
        *b = NB_BUF(b->max);
}

void nb_buf_clear(struct nb_buf *b)
{
        b->len = 0;
        b->failed = false;
        if (b->data)
                b->data[0] = '\0';
}

static int fail(struct nb_buf *b, enum nb_errc code)
{
        b->failed = true;
        return -(int)code;
}

int nb_buf_reserve(struct nb_buf *b, size_t n)
{
        size_t need, cap = b->cap;
        char *bigger;

        if (b->failed || n > b->max || b->len > b->max - n)
                return fail(b, NB_E_LIMIT);
        if (__builtin_add_overflow(b->len + n, 1, &need))
                return fail(b, NB_E_LIMIT);
        if (need <= cap)
                return 0;
        if (cap < 32)
                cap = 32;
        while (cap < need)
                if (__builtin_mul_overflow(cap, 2, &cap))
                        cap = need;
        /* need <= max + 1 here, so that the ceiling never cuts below it */
        if (cap - 1 > b->max)
                cap = b->max + 1;
        bigger = realloc(b->data, cap);
        if (!bigger)
                return fail(b, NB_E_NOMEM);
        bigger[b->len] = '\0';
        b->data = bigger;
        b->cap = cap;
        return 0;
}

int nb_buf_append(struct nb_buf *b, const void *p, size_t n)
{
        int r = nb_buf_reserve(b, n);

        if (r < 0)
                return r;
        if (n > 0)
                memcpy(b->data + b->len, p, n);
        b->len += n;
        b->data[b->len] = '\0';
        return 0;
}

int nb_buf_puts(struct nb_buf *b, const char *s)
{
        return nb_buf_append(b, s, strlen(s));
}

int nb_buf_putc(struct nb_buf *b, char c)
{
        return nb_buf_append(b, &c, 1);
}

int nb_buf_vprintf(struct nb_buf *b, const char *fmt, va_list ap)
{
        size_t room;
        va_list again;
        int n, r;

        r = nb_buf_reserve(b, 0);
        if (r < 0)
                return r;
        room = b->cap - b->len;
        va_copy(again, ap);
        n = vsnprintf(b->data + b->len, room, fmt, ap);
        if (n >= 0 && (size_t)n >= room) {
                b->data[b->len] = '\0';
                r = nb_buf_reserve(b, (size_t)n);
                if (r == 0)
                        n = vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        }
        va_end(again);
        if (r < 0)
                return r;
        if (n < 0) {
                b->data[b->len] = '\0';
                return fail(b, NB_E_LIMIT);
        }
        b->len += (size_t)n;
        return 0;
}

int nb_buf_printf(struct nb_buf *b, const char *fmt, ...)
{
        va_list ap;
        int r;

        va_start(ap, fmt);
        r = nb_buf_vprintf(b, fmt, ap);
        va_end(ap);
        return r;
}

const char *nb_buf_str(const struct nb_buf *b)
{
        return b->data ? b->data : "";
}

char *nb_buf_steal(struct nb_buf *b)
{
        char *s = NULL;

        if (!b->failed)
                s = b->data ? NB_TAKE(b->data) : calloc(1, 1);
        nb_buf_done(b);
        return s;
}
