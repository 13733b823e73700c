/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * err.h - how every function of nbcid says that it failed
 *
 * A function returns 0 (or a small documented answer >= 0), or -NB_E_X after
 * filling the caller's struct nb_err.  No allocation, nothing to free, any
 * thread.  Expected answers ("nothing queued") are not errors.
 */

#include <stdbool.h>

/* Classes of failure; each has exactly one policy.  Append only. */
enum nb_errc {
        NB_OK = 0,
        NB_E_NOMEM,    /* allocation failed */
        NB_E_INVALID,  /* input that we were given is malformed */
        NB_E_DENIED,   /* signature, token or permission refused */
        NB_E_NOTFOUND, /* the thing named does not exist */
        NB_E_CONFLICT, /* exists already, or is not in the state required */
        NB_E_LIMIT,    /* a bound of ours was reached */
        NB_E_BUSY,     /* try again later */
        NB_E_TIMEOUT,  /* a deadline passed */
        NB_E_CANCELLED,
        NB_E_IO,      /* this host's kernel or disk refused */
        NB_E_REMOTE,  /* a peer answered wrongly, or not at all */
        NB_E_CORRUPT, /* our own stored data makes no sense */
        NB_E_BUG,     /* a contract inside nbcid was broken */
        NB_E__COUNT,
};

struct nb_err {
        enum nb_errc code;
        int detail;       /* errno, CURLcode, SQLite or libgit2 code; else 0 */
        const char *file; /* where it was first raised; static storage */
        int line;
        char msg[512]; /* one line of well-formed text, cut at a UTF-8 boundary */
};

struct nb_errc_policy {
        const char *name; /* "invalid" */
        int http;         /* status for the peer, e.g. 400 */
        int syslog;       /* priority (LOG_ERR ...) when it reaches the top */
        bool retry;       /* worth trying again unchanged? */
};

/* The policy of a class; never NULL, static storage.  Asserts code < NB_E__COUNT. */
const struct nb_errc_policy *nb_errc_policy(enum nb_errc code);

/* Raise: fill err (may be NULL), answer -code:
 *         return nb_fail(err, NB_E_LIMIT, "the body is over %zu bytes", max);
 * Arguments may be bytes of strangers: in the text a control character becomes
 * a space and a byte that is not UTF-8 a '?'.  err->msg itself may be an
 * argument. */
#define nb_fail(err, code, ...) nb_err_raise((err), (code), 0, __FILE__, __LINE__, __VA_ARGS__)
/* The same with a foreign code (errno, CURLcode, ...) kept in detail. */
#define nb_fail_detail(err, code, detail, ...) \
        nb_err_raise((err), (code), (detail), __FILE__, __LINE__, __VA_ARGS__)
/* NB_E_IO from errno value num; ": <strerror>" is appended to the text.
 * ENOENT becomes NB_E_NOTFOUND, ENOMEM NB_E_NOMEM, EEXIST NB_E_CONFLICT.  A
 * text that is too long is cut, the reason is not. */
#define nb_fail_errno(err, num, ...) nb_err_errno((err), (num), __FILE__, __LINE__, __VA_ARGS__)

int nb_err_raise(struct nb_err *err, enum nb_errc code, int detail, const char *file, int line,
                 const char *fmt, ...) __attribute__((format(printf, 6, 7)));
int nb_err_errno(struct nb_err *err, int num, const char *file, int line, const char *fmt, ...)
        __attribute__((format(printf, 5, 6)));

/* Prefix "<text>: " on the way up; answers r unchanged.  err may be NULL. */
int nb_wrap(struct nb_err *err, int r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#ifdef __clang_analyzer__
/* What every caller relies on, and an analyzer that reads one file cannot see:
 * to raise never answers 0. */
#undef nb_fail
#undef nb_fail_detail
#undef nb_fail_errno
#define nb_fail(err, code, ...) \
        (nb_err_raise((err), (code), 0, __FILE__, __LINE__, __VA_ARGS__), -(int)(code))
#define nb_fail_detail(err, code, detail, ...) \
        (nb_err_raise((err), (code), (detail), __FILE__, __LINE__, __VA_ARGS__), -(int)(code))
#define nb_fail_errno(err, num, ...) \
        (nb_err_errno((err), (num), __FILE__, __LINE__, __VA_ARGS__), -(int)NB_E_IO)
#endif

/* A broken contract inside nbcid: says where on stderr and aborts, in every
 * build.  Never for input. */
#define nb_assert(cond) \
        do { \
                if (__builtin_expect(!(cond), 0)) \
                        nb_assert_fail(#cond, __FILE__, __LINE__); \
        } while (0)
_Noreturn void nb_assert_fail(const char *expr, const char *file, int line);
