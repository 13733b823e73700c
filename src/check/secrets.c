/* SPDX-License-Identifier: Apache-2.0 */

/*
 * secrets.c - what looks like a secret, and how it is kept out of sight
 *
 * Tokens by the shapes that their makers chose so that they can be found, and
 * passwords by the name of what they are given to.  Shapes: the documentation
 * of each service.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "check-priv.h"

#define TOLD_MAX 50       /* of one notebook */
#define URL_USER_MAX 600U /* bytes of a URL from its colon to the @ behind the password */
#define REMEDY \
        "revoke it: whoever can read the repository has it, and its history keeps it; take " \
        "secrets from the environment or a secret manager"

#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGIT "0123456789"
#define ALNUM UPPER LOWER DIGIT
#define URL64 ALNUM "-_"

struct shape {
        const char *kind, *prefix, *chars;
        size_t min, max; /* of what follows the prefix */
        bool mixed;      /* has small and capital letters and digits: the prefix says little */
};

static const struct shape shapes[] = {
        {"an AWS access key", "AKIA", UPPER DIGIT, 16, 16, false},
        {"an AWS access key", "ASIA", UPPER DIGIT, 16, 16, false},
        {"a GitHub token", "ghp_", ALNUM, 36, 255, false},
        {"a GitHub token", "gho_", ALNUM, 36, 255, false},
        {"a GitHub token", "ghu_", ALNUM, 36, 255, false},
        {"a GitHub token", "ghs_", ALNUM, 36, 255, false},
        {"a GitHub token", "ghr_", ALNUM, 36, 255, false},
        {"a GitHub token", "github_pat_", ALNUM "_", 40, 255, false},
        {"a GitLab token", "glpat-", URL64, 20, 255, false},
        {"a Slack token", "xoxa-", ALNUM "-", 10, 255, false},
        {"a Slack token", "xoxb-", ALNUM "-", 10, 255, false},
        {"a Slack token", "xoxp-", ALNUM "-", 10, 255, false},
        {"a Slack token", "xoxr-", ALNUM "-", 10, 255, false},
        {"a Slack token", "xoxs-", ALNUM "-", 10, 255, false},
        {"a Google API key", "AIza", URL64, 35, 35, false},
        {"a Stripe key", "sk_live_", ALNUM, 16, 255, false},
        {"a Stripe key", "rk_live_", ALNUM, 16, 255, false},
        {"an OpenAI or Anthropic key", "sk-", URL64, 32, 255, true},
        {"a Hugging Face token", "hf_", ALNUM, 30, 64, true},
        {"an npm token", "npm_", ALNUM, 36, 36, false},
        {"a PyPI token", "pypi-AgEIcHlwaS5vcmc", URL64, 40, 400, false},
};

/* Tables, as every byte of every output is asked. */
static const bool word[256] = {
        ['0' ... '9'] = true,
        ['A' ... 'Z'] = true,
        ['a' ... 'z'] = true,
        ['_'] = true,
};
/* What the shapes begin with, and JSON web tokens. */
static const bool first[256] = {
        ['A'] = true, ['g'] = true, ['x'] = true, ['s'] = true, ['r'] = true,
        ['h'] = true, ['n'] = true, ['p'] = true, ['e'] = true,
};

static bool is_word(char c)
{
        return word[(unsigned char)c];
}

static size_t span(const char *s, size_t n, const char *chars)
{
        size_t i = 0;

        while (i < n && s[i] && strchr(chars, s[i]))
                i++;
        return i;
}

static bool has_any(const char *s, size_t n, const char *chars)
{
        for (size_t i = 0; i < n; i++)
                if (s[i] && strchr(chars, s[i]))
                        return true;
        return false;
}

static bool begins(const char *s, size_t n, const char *with)
{
        return n >= strlen(with) && memcmp(s, with, strlen(with)) == 0;
}

/* joined: behind a '-', where a token whose letters have one has begun before, if
 * at all.  Else a long row of beginnings would be gone through from each of them. */
static bool find_shape(const char *s, size_t n, size_t at, bool joined, struct secret *ret)
{
        for (size_t i = 0; i < NB_ARRAY_SIZE(shapes); i++) {
                const struct shape *x = &shapes[i];
                size_t prefix = strlen(x->prefix), len;

                if (!begins(s + at, n - at, x->prefix) || (joined && strchr(x->chars, '-')))
                        continue;
                len = n - at - prefix;
                len = span(s + at + prefix, len < x->max + 1 ? len : x->max + 1, x->chars);
                if (len < x->min || len > x->max)
                        continue;
                if (x->mixed &&
                    !(has_any(s + at + prefix, len, UPPER) &&
                      has_any(s + at + prefix, len, LOWER) && has_any(s + at + prefix, len, DIGIT)))
                        continue;
                /* as documentations have it: AKIAIOSFODNN7EXAMPLE */
                if (memmem(s + at, prefix + len, "EXAMPLE", 7))
                        continue;
                *ret = (struct secret){x->kind, at, at + prefix + len};
                return true;
        }
        return false;
}

/* Three parts of base64url, the first two of them JSON objects. */
static bool find_jwt(const char *s, size_t n, size_t at, struct secret *ret)
{
        size_t i = at;

        for (int part = 0; part < 3; part++) {
                size_t len;

                if (part < 2 && !begins(s + i, n - i, "eyJ"))
                        return false;
                len = span(s + i, n - i, URL64);
                if (len < 10)
                        return false;
                i += len;
                if (part < 2 && (i >= n || s[i++] != '.'))
                        return false;
        }
        *ret = (struct secret){"a JSON web token", at, i};
        return true;
}

static bool find_pem(const char *s, size_t n, size_t at, struct secret *ret)
{
        static const char end[] = "-----END ";
        const char *kind, *last;
        size_t stop = n;

        if (!begins(s + at, n - at, "-----BEGIN "))
                return false;
        kind = memmem(s + at, n - at < 64 ? n - at : 64, "PRIVATE KEY-----", 16);
        if (!kind)
                return false;
        last = memmem(kind, n - (size_t)(kind - s), end, strlen(end));
        if (last) {
                size_t from = (size_t)(last - s) + strlen(end);
                const char *dashes = memmem(s + from, n - from, "-----", 5);

                stop = dashes ? (size_t)(dashes - s) + 5 : n;
        }
        *ret = (struct secret){"a private key", at, stop};
        return true;
}

/* ---- passwords ---- */

/* Bits per byte. */
static double entropy(const char *s, size_t n)
{
        size_t count[256] = {0};
        double bits = 0;

        for (size_t i = 0; i < n; i++)
                count[(unsigned char)s[i]]++;
        for (size_t i = 0; i < NB_ARRAY_SIZE(count); i++)
                if (count[i])
                        bits -= (double)count[i] / (double)n * log2((double)count[i] / (double)n);
        return bits;
}

static bool is_random(const char *s, size_t n)
{
        return n >= 12 && n <= 512 && has_any(s, n, DIGIT) && has_any(s, n, UPPER LOWER) &&
               !has_any(s, n, " \t{}<>$%\\") && s[0] != '/' && s[0] != '.' && s[0] != '~' &&
               !memmem(s, n, "://", 3) && !memmem(s, n, "xxx", 3) && !memmem(s, n, "...", 3) &&
               entropy(s, n) >= 3.3;
}

static bool is_secret_name(const char *s, size_t n)
{
        static const char *const words[] = {"password", "passwd",     "pwd",        "secret",
                                            "token",    "api_key",    "apikey",     "api-key",
                                            "authkey",  "access_key", "private_key"};

        for (size_t i = 0; i < n; i++)
                for (size_t w = 0; w < NB_ARRAY_SIZE(words); w++) {
                        size_t len = strlen(words[w]);

                        if (len <= n - i && strncasecmp(s + i, words[w], len) == 0)
                                return true;
                }
        return false;
}

/* Is what stands before the quote at `at` a name of secrets and a sign that
 * gives it a value? */
static bool is_given(const char *s, size_t at)
{
        size_t i = at, end;

        while (i > 0 && strchr("rbfuRBFU", s[i - 1]) && s[i - 1])
                i--;
        while (i > 0 && (s[i - 1] == ' ' || s[i - 1] == '\t'))
                i--;
        if (i > 0 && (s[i - 1] == '=' || s[i - 1] == ':'))
                i--;
        else if (i > 1 && s[i - 1] == '-' && s[i - 2] == '<')
                i -= 2;
        else
                return false;
        while (i > 0 && s[i - 1] && strchr(" \t'\"])", s[i - 1]))
                i--;
        end = i;
        while (i > 0 && end - i < 100 && (is_word(s[i - 1]) || s[i - 1] == '-'))
                i--;
        return is_secret_name(s + i, end - i);
}

static bool find_password(const char *s, size_t n, size_t at, struct secret *ret)
{
        size_t i = at + 1;

        if ((s[at] != '\'' && s[at] != '"') || !is_given(s, at))
                return false;
        while (i < n && s[i] != s[at] && s[i] != '\n')
                i++;
        if (i >= n || s[i] != s[at] || !is_random(s + at + 1, i - at - 1))
                return false;
        *ret = (struct secret){"a password or token", at + 1, i};
        return true;
}

/* scheme://user:password@host, from the colon on. */
static bool find_url(const char *s, size_t n, size_t at, struct secret *ret)
{
        const size_t most = n - at < URL_USER_MAX ? n : at + URL_USER_MAX;
        size_t i = at + 3, colon = 0;

        if (!begins(s + at, n - at, "://"))
                return false;
        for (; i < most && s[i] != '@'; i++) {
                if (!s[i] || strchr("/?#'\"`<> \t\r\n", s[i]))
                        return false;
                if (s[i] == ':' && !colon)
                        colon = i;
        }
        if (i == most || !colon || !is_random(s + colon + 1, i - colon - 1))
                return false;
        *ret = (struct secret){"a password in a URL", colon + 1, i};
        return true;
}

/* Does an escape sequence for colours end before at?  Its m is no letter of a word. */
static bool is_coloured(const char *s, size_t at)
{
        size_t i = at - 1, least = at > 24 ? at - 24 : 0;

        if (s[i] != 'm')
                return false;
        while (i > least && s[i - 1] && strchr(DIGIT ";", s[i - 1]))
                i--;
        return i > 1 && s[i - 1] == '[' && s[i - 2] == '\x1b';
}

bool secret_find(const char *s, size_t n, size_t from, bool code, struct secret *ret)
{
        for (size_t i = from; i < n; i++) {
                const char c = s[i];
                const bool joined = i > 0 && s[i - 1] == '-';

                if ((c == '-' && find_pem(s, n, i, ret)) || (c == ':' && find_url(s, n, i, ret)))
                        return true;
                if (code && (c == '"' || c == '\'') && find_password(s, n, i, ret))
                        return true;
                if (!first[(unsigned char)c] || (i > 0 && is_word(s[i - 1]) && !is_coloured(s, i)))
                        continue;
                if (find_shape(s, n, i, joined, ret) ||
                    (c == 'e' && !joined && find_jwt(s, n, i, ret)))
                        return true;
        }
        return false;
}

char *secret_cover(const char *s, size_t n, size_t begin, size_t end)
{
        char *copy = malloc(end - begin + 1); /* a NUL is no end here */
        struct secret x = {.end = 0};

        if (!copy)
                return NULL;
        memcpy(copy, s + begin, end - begin);
        copy[end - begin] = '\0';
        while (secret_find(s, n, x.end, true, &x) && x.begin < end)
                for (size_t i = x.begin > begin ? x.begin : begin; i < x.end && i < end; i++)
                        if (copy[i - begin] != '\n')
                                copy[i - begin] = '*';
        return copy;
}

/* ---- the gate ---- */

static char *text_of(const char *kind, const char *where)
{
        return nb_asprintf("this looks like %s in %s", kind, where);
}

int check_output_secrets(void *checking, int64_t cell, const char *s, size_t n,
                         struct nb_json_pos at, struct nb_err *err)
{
        struct checking *k = checking;
        struct secret x = {.end = 0};
        int r = 0;

        while (r == 0 && k->secrets < TOLD_MAX && secret_find(s, n, x.end, false, &x)) {
                k->secrets++;
                r = found_in_file(k, k->levels->secrets, "secret", cell, at,
                                  text_of(x.kind, "an output"), REMEDY, err);
        }
        return r;
}

/* Line and column of an offset, going on from where the last one was. */
struct cursor {
        size_t at, line, column;
};

static void cursor_move(struct cursor *c, const char *s, size_t to)
{
        for (; c->at < to; c->at++) {
                if (s[c->at] == '\n') {
                        c->line++;
                        c->column = 1;
                } else if (((unsigned char)s[c->at] & 0xc0) != 0x80) {
                        c->column++;
                }
        }
}

int check_secrets(struct checking *k, struct nb_err *err)
{
        int r = 0;

        if (k->levels->secrets == CHECK_OFF)
                return 0;
        for (size_t i = 0; i < k->source.n; i++) {
                const struct notebook_cell *c = &k->source.cells[i];
                struct cursor cursor = {.line = 1, .column = 1};
                struct secret x = {.end = 0};

                while (r == 0 && k->secrets < TOLD_MAX &&
                       secret_find(c->source, c->n, x.end, c->type == NOTEBOOK_CODE, &x)) {
                        k->secrets++;
                        cursor_move(&cursor, c->source, x.begin);
                        r = found_in_cell(k, k->levels->secrets, "secret", (int64_t)i + 1,
                                          cursor.line, cursor.column, text_of(x.kind, "the source"),
                                          REMEDY, err);
                }
        }
        return r;
}
