/* SPDX-License-Identifier: Apache-2.0 */

/* env-judge.c - texts of installers: names of environments, locks, and why a
 * build failed.  Pure. */

#include <ctype.h>
#include <strings.h>

#include <nbcid/crypto.h>

#include "env-priv.h"

#define REASON_MAX 400

/* ---- keys ---- */

/* The next line of *at without white space around it; false at the end. */
static bool next_line(const char **at, const char **ret, size_t *ret_n)
{
        const char *p = *at;
        size_t n = strcspn(p, "\n");

        if (!*p)
                return false;
        *at = p + n + (p[n] == '\n');
        while (n && isspace((unsigned char)*p)) {
                p++;
                n--;
        }
        while (n && isspace((unsigned char)p[n - 1]))
                n--;
        *ret = p;
        *ret_n = n;
        return true;
}

/* A package's name has many spellings (PEP 503); lines that do not begin with
 * one are left alone. */
static char *plain_line(const char *s, size_t n)
{
        char *line = nb_strndup(s, n), *to = line;
        size_t name = 0;

        if (!line || !isalnum((unsigned char)*line))
                return line;
        while (isalnum((unsigned char)line[name]) || (line[name] && strchr("-_.", line[name])))
                name++;
        for (size_t i = 0; i < name; i++) {
                bool mark = strchr("-_.", line[i]);

                if (!mark)
                        *to++ = (char)tolower((unsigned char)line[i]);
                else if (i == 0 || to[-1] != '-')
                        *to++ = '-';
        }
        memmove(to, line + name, n - name + 1);
        return line;
}

static int by_text(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static int put_lines(struct nb_buf *b, const char *requirements, struct nb_err *err)
{
        NB_CLEANUP(nb_strv_done) struct nb_strv lines = {0};
        const char *p;
        size_t n;

        while (next_line(&requirements, &p, &n))
                if (n && *p != '#' && nb_strv_add_take(&lines, plain_line(p, n)) < 0)
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
        if (lines.n)
                qsort(lines.v, lines.n, sizeof(*lines.v), by_text);
        for (size_t i = 0; i < lines.n; i++)
                if (i == 0 || !nb_streq(lines.v[i], lines.v[i - 1]))
                        nb_buf_printf(b, "%s\n", lines.v[i]);
        return 0;
}

int env_key(const struct nb_environment *want, const struct env_python *python,
            char ret[ENV_KEY_SIZE], struct nb_err *err)
{
        const char *conda = want->conda;
        nb_auto_buf b = NB_BUF(2 * NB_ENVIRONMENT_MAX);
        uint8_t hash[NB_SHA256_SIZE];
        int r = 0;

        nb_buf_printf(&b, "nbcid environment %d\n%s %s %s\n%s\n", ENV_FORMAT,
                      python->implementation, python->version, python->platform,
                      conda ? "conda" : "pip");
        if (conda)
                nb_buf_puts(&b, conda);
        else
                r = put_lines(&b, want->requirements ? want->requirements : "", err);
        if (r == 0 && !conda && want->constraints) {
                /* behind an empty line, as no requirement is: there is a package of this name */
                nb_buf_puts(&b, "\nconstraints\n");
                r = put_lines(&b, want->constraints, err);
        }
        if (r == 0 && b.failed)
                r = nb_fail(err, NB_E_LIMIT, "the requirements are too long");
        if (r < 0)
                return r;
        nb_sha256(nb_buf_str(&b), b.len, hash);
        nb_hex(ret, hash, sizeof(hash));
        return 0;
}

/* ---- requirements and locks ---- */

#define NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

bool env_lock_line_valid(const char *line)
{
        size_t n = strspn(line, NAME_CHARS);

        if (n == 0 || n > 200 || !isalnum((unsigned char)line[0]) || strlen(line) > 2000)
                return false;
        if (nb_starts_with(line + n, "==")) {
                line += n + 2;
                return *line && strspn(line, NAME_CHARS "+!") == strlen(line);
        }
        if (!nb_starts_with(line + n, " @ "))
                return false;
        line += n + 3;
        if (!strstr(line, "://"))
                return false;
        for (; *line; line++)
                if (*line <= 0x20 || *line >= 0x7f || *line == '\\')
                        return false;
        return true;
}

bool env_lock_line_wanted(const char *line, const char *requirements)
{
        const char *p;
        size_t n;

        if (!strstr(line, " @ "))
                return true;
        for (const char *at = requirements; at && next_line(&at, &p, &n);) {
                const char *marker = memchr(p, ';', n);

                n = marker ? (size_t)(marker - p) : n;
                if (n > 1 && memcmp(p, "--", 2) == 0 && !nb_starts_with(p, "--editable"))
                        continue;
                if (memchr(p, '/', n) || memchr(p, '@', n))
                        return true;
        }
        return false;
}

/* PEP 503: case counts for nothing, and runs of "-", "_" and "." are the same. */
static bool same_name(const char *a, size_t n, const char *b)
{
        size_t i = 0;

        while (i < n && *b) {
                bool x = strchr("-_.", a[i]), y = strchr("-_.", *b);

                if (x != y || (!x && tolower((unsigned char)a[i]) != tolower((unsigned char)*b)))
                        return false;
                do
                        i++;
                while (x && i < n && strchr("-_.", a[i]));
                do
                        b++;
                while (x && *b && strchr("-_.", *b));
        }
        return i == n && !*b;
}

bool env_names_package(const char *requirements, const char *name)
{
        const char *p;
        size_t n;

        while (next_line(&requirements, &p, &n)) {
                size_t k = strspn(p, NAME_CHARS);

                if (k && k <= n && same_name(p, k, name))
                        return true;
        }
        return false;
}

/* ---- why it failed ---- */

static bool holds(const char *line, size_t n, const char *words)
{
        return memmem(line, n, words, strlen(words));
}

static bool holds_any(const char *line, size_t n, const char *const *words)
{
        for (; *words; words++)
                if (holds(line, n, *words))
                        return true;
        return false;
}

/* pip goes on with what it has when the index cannot be asked, and ends with
 * "No matching distribution found": so these are looked for first. */
static bool is_unreachable(const char *line, size_t n)
{
        static const char *const words[] = {"NewConnectionError",
                                            "ConnectTimeoutError",
                                            "ReadTimeoutError",
                                            "Max retries exceeded",
                                            "ConnectionResetError",
                                            "RemoteDisconnected",
                                            "IncompleteRead",
                                            "SSLError",
                                            "SSLCertVerificationError",
                                            "ProxyError",
                                            "Temporary failure in name resolution",
                                            "Name or service not known",
                                            "Network is unreachable",
                                            "No route to host",
                                            "Connection refused",
                                            "error sending request",
                                            "tcp connect error",
                                            "dns error",
                                            "operation timed out",
                                            "network timeout",
                                            "No space left on device",
                                            "Server Error",
                                            "server error (5",
                                            "Could not resolve host",
                                            "is not a trusted or secure host",
                                            "Could not connect to server",
                                            "dial tcp",
                                            "i/o timeout",
                                            "connection reset by peer",
                                            "TLS handshake timeout",
                                            NULL};

        /* One that a later try made good; of the last try there is another line. */
        if (holds(line, n, "Retrying (Retry("))
                return false;
        if (holds(line, n, "Could not fetch URL"))
                return !holds(line, n, "404 Client Error") && !holds(line, n, "410 Client Error");
        return holds_any(line, n, words);
}

static char *reason_of(const char *line, size_t n)
{
        nb_auto_free char *clean = nb_utf8_clean(line, n, true);
        size_t k = 0;

        for (size_t i = 0; clean && clean[i]; i++) /* indentation between joined lines */
                if (clean[i] != ' ' || (k && clean[k - 1] != ' '))
                        clean[k++] = clean[i];
        if (clean)
                clean[k] = '\0';
        return clean ? nb_utf8_cut(clean, REASON_MAX) : NULL;
}

static bool begins(const char *line, size_t n, const char *prefix)
{
        size_t k = strlen(prefix);

        return n >= k && memcmp(line, prefix, k) == 0;
}

/* Skip a prefix of the line. */
static bool skip(const char **p, size_t *n, const char *prefix)
{
        size_t k = strlen(prefix);

        if (*n < k || strncasecmp(*p, prefix, k) != 0)
                return false;
        *p += k;
        *n -= k;
        while (*n && **p == ' ') {
                (*p)++;
                (*n)--;
        }
        return true;
}

/* The line that tells most, and how much it tells. */
struct best {
        unsigned worth;
        const char *p;
        size_t n;
        const char *detail; /* what stands behind "╰─>", or causes a conflict */
        size_t n_detail;
        unsigned causes;        /* lines of the detail that pip lists */
        const char *collecting; /* the package that pip is at */
        size_t n_collecting;
};

static void offer(struct best *b, const char *p, size_t n, unsigned worth)
{
        if (worth > b->worth) {
                b->worth = worth;
                b->p = p;
                b->n = n;
                b->detail = NULL;
        }
}

/* pip begins what it has to say with "ERROR:", and what a build has with
 * "error:"; uv with "error:", or a cross and branches below it. */
static void look_at(struct best *b, const char *line, size_t n)
{
        static const char *const telling[] = {"Could not find a version that satisfies",
                                              "Invalid requirement",
                                              "Cannot install",
                                              "requires a different Python",
                                              "not a supported wheel",
                                              "Failed to build",
                                              NULL};
        const char *p = line;

        if (skip(&p, &n, "Collecting ")) {
                b->collecting = p;
                b->n_collecting = n;
                return;
        }
        if (b->p && b->causes < 2 && (holds(p, n, " depends on ") || begins(p, n, "The user "))) {
                if (b->causes++ == 0)
                        b->detail = p;
                b->n_detail = (size_t)(p + n - b->detail);
                return;
        }
        if (skip(&p, &n, "╰─> ") || skip(&p, &n, "╰─▶ ") || skip(&p, &n, "cause: ")) {
                if (b->p && !b->detail && !holds(p, n, "See above for output") &&
                    !holds(p, n, "lines of output")) {
                        b->detail = p;
                        b->n_detail = n;
                }
                return;
        }
        if (skip(&p, &n, "× "))
                offer(b, p, n, holds(p, n, "did not run successfully") ? 1 : 4);
        else if (skip(&p, &n, "error: "))
                offer(b, p, n,
                      holds_any(p, n, telling)                      ? 5
                      : holds(p, n, "subprocess-exited-with-error") ? 1
                      : nb_starts_with(line, "ERROR")               ? 3
                                                                    : 2);
        else if (holds(p, n, "LibMambaUnsatisfiableError") || holds(p, n, "PackagesNotFoundError"))
                offer(b, p, n, 4);
}

/* The causes of a conflict, each on its line, as one. */
static char *causes_of(const struct best *b)
{
        nb_auto_free char *lines = nb_strndup(b->detail, b->n_detail);

        for (char *p = lines; p && (p = strchr(p, '\n')); p++)
                *p = ';';
        return lines ? reason_of(lines, strlen(lines)) : NULL;
}

static char *best_reason(const struct best *b)
{
        nb_auto_free char *line = b->p ? reason_of(b->p, b->n) : NULL;
        nb_auto_free char *detail = NULL, *both = NULL;

        if (line && b->detail)
                detail = b->causes > 1 ? causes_of(b) : reason_of(b->detail, b->n_detail);
        else if (line && b->collecting && nb_starts_with(line, "Encountered error"))
                detail = reason_of(b->collecting, b->n_collecting);
        else
                return NB_TAKE(line);
        if (nb_ends_with(line, "."))
                line[strlen(line) - 1] = '\0';
        both = detail ? nb_asprintf("%s: %s", line, detail) : NULL;
        return both ? nb_utf8_cut(both, REASON_MAX) : NULL;
}

enum run_class env_judge(const char *log, char **ret_reason)
{
        struct best best = {0};
        const char *p;
        size_t n;

        *ret_reason = NULL;
        for (const char *at = log; next_line(&at, &p, &n);) {
                if (is_unreachable(p, n)) {
                        (void)(skip(&p, &n, "error:") || skip(&p, &n, "warning:") ||
                               skip(&p, &n, "cause:"));
                        *ret_reason = reason_of(p, n);
                        return CLASS_INFRASTRUCTURE;
                }
                look_at(&best, p, n);
        }
        *ret_reason = best_reason(&best);
        return best.p ? CLASS_ENVIRONMENT : CLASS_INFRASTRUCTURE;
}

enum run_class env_judge_podman(const char *log, char **ret_reason)
{
        static const char *const refused[] = {
                "manifest unknown", "not found",         "unauthorized",    "denied",
                "name unknown",     "invalid reference", "did not resolve", NULL};
        enum run_class class = CLASS_INFRASTRUCTURE;
        const char *p;
        size_t n;

        *ret_reason = NULL;
        for (const char *at = log; next_line(&at, &p, &n);) {
                if (!skip(&p, &n, "error: "))
                        continue;
                free(*ret_reason);
                *ret_reason = reason_of(p, n);
                if (is_unreachable(p, n))
                        return CLASS_INFRASTRUCTURE;
                if (holds_any(p, n, refused))
                        class = CLASS_ENVIRONMENT;
        }
        return class;
}
