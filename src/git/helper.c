/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <nbcid/fs.h>
#include <nbcid/str.h>

#include "git-priv.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif

/* A hostile pack may ask for any amount of memory; an honest one of the size
 * that [limits] allows does not need this much. */
#define HELPER_MEMORY ((rlim_t)4 << 30)
#define HELPER_MAPPED ((size_t)1 << 30)

void job_warn(struct git_job *job, const char *fmt, ...)
{
        nb_auto_buf b = NB_BUF(8192);
        va_list ap;

        if (job->answer->warnings.n >= GIT_WARNINGS_MAX) {
                job->warnings_cut++;
                return;
        }
        va_start(ap, fmt);
        int r = nb_buf_vprintf(&b, fmt, ap);
        va_end(ap);
        nb_auto_free char *text =
                r < 0 ? NULL : nb_utf8_clean(nb_buf_str(&b), strlen(nb_buf_str(&b)), true);
        if (!text || nb_strv_add(&job->answer->warnings, text) < 0)
                job->warnings_cut++;
}

int git_raise(struct nb_err *err, enum nb_errc code, int rc, const char *fmt, ...)
{
        const git_error *e = git_error_last();
        const char *reason = e && e->message && rc < 0 ? e->message : "no reason given";
        nb_auto_free char *clean = nb_utf8_clean(reason, strnlen(reason, 300), true);
        char text[480];
        va_list ap;

        if (e && e->klass == GIT_ERROR_NOMEMORY)
                code = NB_E_LIMIT;
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        return nb_fail_detail(err, code, rc, "%s: %s", text, clean ? clean : "");
}

char *path_shown(const char *path, size_t n)
{
        nb_auto_buf b = NB_BUF(4 * TREE_PATH_MAX + 16);
        size_t bad, at = 0;

        while (at < n) {
                bool ok = nb_utf8_valid(path + at, n - at, &bad);
                size_t good = ok ? n - at : bad;
                for (size_t i = 0; i < good; i++, at++) {
                        unsigned char c = (unsigned char)path[at];
                        if (c < 0x20 || c == 0x7f)
                                (void)nb_buf_printf(&b, "\\x%02x", c);
                        else
                                (void)nb_buf_putc(&b, (char)c);
                }
                if (!ok)
                        (void)nb_buf_printf(&b, "\\x%02x", (unsigned char)path[at++]);
        }
        return b.failed ? NULL : b.len ? nb_buf_steal(&b) : nb_strdup("");
}

static void limits_set(void)
{
        struct rlimit files, none = {0, 0};

        (void)setrlimit(RLIMIT_CORE, &none); /* a core would hold the token */
        /* A mirror has as many packs as it had fetches. */
        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                files.rlim_cur = files.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &files);
        }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
        !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
        struct rlimit memory = {HELPER_MEMORY, HELPER_MEMORY};
        (void)setrlimit(RLIMIT_AS, &memory);
#endif
}

int helper_library(struct nb_err *err)
{
        static const git_config_level_t levels[] = {GIT_CONFIG_LEVEL_PROGRAMDATA,
                                                    GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_XDG,
                                                    GIT_CONFIG_LEVEL_GLOBAL};
        int r = git_libgit2_init();

        if (r < 0)
                return git_raise(err, NB_E_IO, r, "cannot start libgit2");
        /* The configuration of this host's git is not ours (url.insteadOf,
         * proxies, credential helpers). */
        for (size_t i = 0; i < NB_ARRAY_SIZE(levels); i++)
                (void)git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, levels[i], "");
        /* Mirrors are ours whoever runs us; file remotes are the operator's. */
        (void)git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
        (void)git_libgit2_opts(GIT_OPT_ENABLE_FSYNC_GITDIR, 1);
        /* The indexer hashed everything on its way in. */
        (void)git_libgit2_opts(GIT_OPT_ENABLE_STRICT_HASH_VERIFICATION, 0);
        (void)git_libgit2_opts(GIT_OPT_SET_MWINDOW_MAPPED_LIMIT, HELPER_MAPPED);
        (void)git_libgit2_opts(GIT_OPT_SET_MWINDOW_FILE_LIMIT, (size_t)256);
        return 0;
}

static int read_all(int fd, struct nb_buf *ret, struct nb_err *err)
{
        for (;;) {
                /* Once and for all: growing would leave copies of secrets. */
                if (nb_buf_reserve(ret, GIT_REQUEST_MAX - ret->len) < 0)
                        return nb_fail(err, NB_E_NOMEM, "no memory for the request");
                ssize_t n = read(fd, ret->data + ret->len, GIT_REQUEST_MAX - ret->len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return nb_fail_errno(err, errno, "cannot read the request");
                if (n == 0)
                        return 0;
                ret->len += (size_t)n;
                if (ret->len == GIT_REQUEST_MAX)
                        return nb_fail(err, NB_E_BUG, "the request is over %zu bytes",
                                       GIT_REQUEST_MAX);
        }
}

static int job_run(const struct git_request *r, struct git_answer *a, struct nb_err *err)
{
        struct git_job job = {.r = r, .answer = a};
        int rc = origin_parse(r->remote.url, &job.origin, err);

        if (rc < 0)
                return rc;
        if (job.origin.had_userinfo && job.origin.scheme != ORIGIN_SSH)
                rc = nb_fail(err, NB_E_INVALID,
                             "the URL of %s holds a user name or password; use token_file of "
                             "the forge",
                             job.origin.host);
        else
                rc = r->op == GIT_PREPARE ? prepare_run(&job, err)
                     : r->op == GIT_FILE  ? look_run(&job, err)
                                          : checkout_run(&job, err);
        if (rc == 0 && job.warnings_cut)
                (void)nb_strv_add_take(&a->warnings, nb_asprintf("%zu more warnings are not shown",
                                                                 job.warnings_cut));
        origin_done(&job.origin);
        return rc;
}

/* A server may put what we sent it into its error text. */
static void redact(struct nb_err *err, const struct nb_secret *s)
{
        char *p;

        if (!s->data || s->n < 4)
                return;
        while ((p = strstr(err->msg, s->data)))
                memset(p, '*', s->n);
}

int git_helper_main(int in_fd, int out_fd)
{
        NB_CLEANUP(git_answer_done) struct git_answer a = {0};
        nb_auto_buf in = NB_BUF(GIT_REQUEST_MAX + 1), out = NB_BUF(GIT_ANSWER_MAX);
        struct git_wire w = {0};
        struct nb_err err = {0};
        int r;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* no daemon, no use for an answer */
        (void)prctl(PR_SET_DUMPABLE, 0);        /* jobs of the same user must not look in */
        (void)signal(SIGPIPE, SIG_IGN);
        (void)umask(077);
        limits_set();
        r = read_all(in_fd, &in, &err);
        if (r == 0)
                r = git_request_read(nb_buf_str(&in), in.len, &w, &err);
        if (in.data)
                nb_wipe(in.data, in.cap);
        if (r == 0)
                r = helper_library(&err);
        if (r == 0)
                r = job_run(&w.r, &a, &err);
        if (r == 0) {
                git_answer_write(&a, &out);
                if (out.failed)
                        r = nb_fail(&err, NB_E_LIMIT, "the answer is over %zu bytes",
                                    GIT_ANSWER_MAX);
        }
        if (r < 0) {
                redact(&err, &w.token);
                nb_buf_clear(&out);
                git_failure_write(&err, &out);
        }
        git_wire_done(&w);
        (void)git_libgit2_shutdown();
        (void)prctl(PR_SET_DUMPABLE, 1); /* the secrets are wiped; leak checkers want in */
        return nb_write_all(out_fd, nb_buf_str(&out), out.len, &err) < 0 ? 1 : 0;
}
