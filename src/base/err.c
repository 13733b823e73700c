/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/err.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "utf8.h"

static const struct nb_errc_policy policies[NB_E__COUNT] = {
        [NB_OK] = {"ok", 200, LOG_DEBUG, false},
        [NB_E_NOMEM] = {"nomem", 503, LOG_ERR, true},
        [NB_E_INVALID] = {"invalid", 400, LOG_WARNING, false},
        [NB_E_DENIED] = {"denied", 401, LOG_WARNING, false},
        [NB_E_NOTFOUND] = {"notfound", 404, LOG_NOTICE, false},
        [NB_E_CONFLICT] = {"conflict", 409, LOG_NOTICE, false},
        [NB_E_LIMIT] = {"limit", 413, LOG_WARNING, false},
        [NB_E_BUSY] = {"busy", 503, LOG_NOTICE, true},
        [NB_E_TIMEOUT] = {"timeout", 504, LOG_WARNING, true},
        [NB_E_CANCELLED] = {"cancelled", 503, LOG_INFO, false},
        [NB_E_IO] = {"io", 500, LOG_ERR, true},
        [NB_E_REMOTE] = {"remote", 502, LOG_WARNING, true},
        [NB_E_CORRUPT] = {"corrupt", 500, LOG_CRIT, false},
        [NB_E_BUG] = {"bug", 500, LOG_CRIT, false},
};

const struct nb_errc_policy *nb_errc_policy(enum nb_errc code)
{
        nb_assert((unsigned)code < NB_E__COUNT);
        return &policies[code];
}

/* One line of well-formed text, whatever the arguments brought along; done in
 * place, so that it cannot fail. */
static void make_line(char *s, size_t n)
{
        size_t step;

        for (size_t i = 0; i < n; i += step) {
                uint32_t c = nb_utf8_decode(s + i, n - i, &step);
                if (c >= NB_UTF8_BAD)
                        s[i] = '?';
                else if (nb_utf8_is_control(c))
                        memset(s + i, ' ', step);
        }
}

/* Format into msg, leaving room for keep bytes more; answers the length. */
static __attribute__((format(printf, 4, 0))) size_t fill(char *msg, size_t size, size_t keep,
                                                         const char *fmt, va_list ap)
{
        int r = vsnprintf(msg, size, fmt, ap);
        size_t n;

        if (r < 0) {
                static const char sorry[] = "(the text of this error cannot be formatted)";
                memcpy(msg, sorry, sizeof(sorry));
                r = (int)sizeof(sorry) - 1;
        }
        n = (size_t)r;
        if (n > size - 1 - keep)
                n = nb_utf8_trim(msg, size - 1 - keep);
        msg[n] = '\0';
        make_line(msg, n);
        return n;
}

int nb_err_raise(struct nb_err *err, enum nb_errc code, int detail, const char *file, int line,
                 const char *fmt, ...)
{
        nb_assert(code > NB_OK && code < NB_E__COUNT);
        if (err) {
                /* not straight into err: err->msg may be one of the arguments */
                struct nb_err e = {.code = code, .detail = detail, .file = file, .line = line};
                va_list ap;

                va_start(ap, fmt);
                (void)fill(e.msg, sizeof(e.msg), 0, fmt, ap);
                va_end(ap);
                *err = e;
        }
        return -(int)code;
}

int nb_err_errno(struct nb_err *err, int num, const char *file, int line, const char *fmt, ...)
{
        enum nb_errc code = num == ENOENT   ? NB_E_NOTFOUND
                            : num == ENOMEM ? NB_E_NOMEM
                            : num == EEXIST ? NB_E_CONFLICT
                                            : NB_E_IO;

        if (err) {
                struct nb_err e = {.code = code, .detail = num, .file = file, .line = line};
                char space[64];
                const char *why = strerror_r(num, space, sizeof(space));
                size_t n_why = strnlen(why, 128), n;
                va_list ap;

                va_start(ap, fmt);
                n = fill(e.msg, sizeof(e.msg), n_why + 2, fmt, ap);
                va_end(ap);
                memcpy(e.msg + n, ": ", 2);
                memcpy(e.msg + n + 2, why, n_why);
                e.msg[n + 2 + n_why] = '\0';
                *err = e;
        }
        return -(int)code;
}

int nb_wrap(struct nb_err *err, int r, const char *fmt, ...)
{
        char msg[sizeof(err->msg)];
        size_t n, n_old;
        va_list ap;

        if (!err || r >= 0)
                return r;
        va_start(ap, fmt);
        n = fill(msg, sizeof(msg), 2, fmt, ap);
        va_end(ap);
        memcpy(msg + n, ": ", 2);
        n += 2;
        n_old = strnlen(err->msg, sizeof(err->msg) - 1);
        if (n_old > sizeof(msg) - 1 - n)
                n_old = nb_utf8_trim(err->msg, sizeof(msg) - 1 - n);
        memcpy(msg + n, err->msg, n_old);
        msg[n + n_old] = '\0';
        memcpy(err->msg, msg, n + n_old + 1);
        return r;
}

_Noreturn void nb_assert_fail(const char *expr, const char *file, int line)
{
        char text[512];
        int n = snprintf(text, sizeof(text), "nbcid: broken contract: %s at %s:%d\n", expr, file,
                         line);

        if (n > 0 && write(STDERR_FILENO, text, strnlen(text, sizeof(text))) < 0)
                abort();
        abort();
}
