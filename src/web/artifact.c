/* SPDX-License-Identifier: Apache-2.0 */

/*
 * artifact.c - logs and executed notebooks, and the files in the binary
 *
 * What a notebook wrote is a stranger's: it is sent as text or as a download,
 * in a sandbox, and only a regular file that lies in the job's own directory.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <nbcid/fs.h>
#include <nbcid/str.h>

#include "web-priv.h"

#define CSP_SANDBOX "default-src 'none'; sandbox"

int artifact_open(struct web_app *a, int64_t build, int64_t job, const char *name,
                  uint64_t *ret_size, struct nb_err *err)
{
        nb_auto_fd int fd = -1;
        char dir[64], path[128];
        struct stat st;

        flow_artifact_dir(build, job, dir, sizeof(dir));
        (void)nb_fmt(path, sizeof(path), "%s/%s", dir, name);
        fd = nb_open_beneath(a->deps.state_dirfd, path, O_RDONLY | O_NONBLOCK, 0, err);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return nb_fail_errno(err, errno, "%s", path);
        if (!S_ISREG(st.st_mode))
                return nb_fail(err, NB_E_DENIED, "%s is no regular file", path);
        *ret_size = (uint64_t)st.st_size;
        return NB_TAKE_FD(fd);
}

struct found {
        int64_t build;
        bool final;
        char file[160]; /* "train.ipynb", harmless in a header */
};

/* RFC 6266: only what needs no quoting. */
static void file_name(const char *notebook, char *buf, size_t size)
{
        const char *slash = strrchr(notebook, '/');
        const char *s = slash ? slash + 1 : notebook;
        size_t n = 0;

        for (; *s && n + 1 < size; s++) {
                bool plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
                             (*s >= '0' && *s <= '9') || strchr("-_.", *s);

                if (n == 0 && *s == '.') /* no hidden files for whoever saves it */
                        plain = false;
                buf[n++] = plain ? *s : '_';
        }
        buf[n] = '\0';
}

static int find(void *arg, const struct view_job *j)
{
        struct found *f = arg;

        f->build = j->build;
        f->final = job_state_final(j->state);
        file_name(j->notebook, f->file, sizeof(f->file));
        return 0;
}

/* shown: the file's name where it is shown as text, "job-7.log"; NULL: it is
 * a download under the notebook's name. */
static void send_artifact(struct web_app *a, struct web_request *q, const char *name,
                          const char *type, const char *shown)
{
        struct found f = {0};
        uint64_t size = 0;
        struct nb_err err;
        int r = store_view_job(a->view, q->match.id, find, &f, &err), fd;

        if (r < 0) {
                reply_failure(a, q, &err);
                return;
        }
        if (r == 0) {
                reply_text(&q->reply, 404, "there is no such job");
                return;
        }
        fd = artifact_open(a, f.build, q->match.id, name, &size, &err);
        if (fd < 0) {
                reply_text(&q->reply, 404,
                           f.final ? "there is none, or it was removed when its time was over"
                                   : "there is none yet: the job has not ended");
                return;
        }
        (void)reply_start(&q->reply, 200, type);
        q->reply.csp = CSP_SANDBOX;
        q->reply.fd = fd;
        q->reply.fd_size = size;
        if (!shown)
                reply_header(&q->reply, "Content-Disposition", "attachment; filename=\"%s\"",
                             f.file);
        else
                reply_header(&q->reply, "Content-Disposition", "inline; filename=\"job-%lld%s\"",
                             (long long)q->match.id, shown);
}

void artifact_log(struct web_app *a, struct web_request *q)
{
        send_artifact(a, q, "log.txt", "text/plain; charset=utf-8", ".log");
}

void artifact_lock(struct web_app *a, struct web_request *q)
{
        send_artifact(a, q, "environment.lock", "text/plain; charset=utf-8", "-environment.lock");
}

void artifact_environment_log(struct web_app *a, struct web_request *q)
{
        send_artifact(a, q, "environment.log.txt", "text/plain; charset=utf-8", "-environment.log");
}

void artifact_notebook(struct web_app *a, struct web_request *q)
{
        send_artifact(a, q, "executed.ipynb", "application/x-ipynb+json", NULL);
}

void asset_get(struct web_app *a, struct web_request *q)
{
        const struct nb_embed *e = web_assets;
        const char *known = request_header(q, "If-None-Match");
        char tag[80];

        while (e->name && strcmp(e->name, q->match.name) != 0)
                e++;
        if (!e->name) {
                reply_problem(a, q, 404, "there is no such file");
                return;
        }
        (void)nb_fmt(tag, sizeof(tag), "\"%.32s\"", e->sha256);
        (void)reply_start(&q->reply, known && strstr(known, tag) ? 304 : 200,
                          nb_ends_with(e->name, ".css") ? "text/css; charset=utf-8"
                                                        : "application/octet-stream");
        /* Pages name the content in the address (?v=). */
        q->reply.cache = "public, max-age=31536000, immutable";
        reply_header(&q->reply, "ETag", "%s", tag);
        if (q->reply.status == 200)
                q->reply.asset = e;
}
