/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to a remote.  Only objects are downloaded; refs of the mirror are
 * ours to set, so branches that were deleted or renamed at the remote cannot
 * collide with what an earlier fetch left behind.
 */
#include <ctype.h>
#include <strings.h>

#include <nbcid/num.h>
#include <nbcid/str.h>

#include "git-priv.h"

struct fetch {
        struct git_job *job;
        struct git_mirror *m;
        const struct origin *o;
        const struct fetch_wish *w;
        git_remote *remote;
        const git_remote_head **heads; /* borrowed from remote */
        size_t n_heads;
        unsigned asked;      /* how often credentials were wanted */
        enum nb_errc reason; /* why a callback of ours gave up; NB_OK: it did not */
        char why[300];
};

static int give_up(struct fetch *f, enum nb_errc reason, const char *why)
{
        f->reason = reason;
        nb_fmt(f->why, sizeof(f->why), "%s", why);
        return GIT_EUSER;
}

/* git_credential_acquire_cb.  libgit2 asks again when the answer was refused. */
static int on_credentials(git_credential **ret, const char *url, const char *user, unsigned allowed,
                          void *arg)
{
        struct fetch *f = arg;
        const struct git_remote *r = &f->job->r->remote;
        bool own = origin_same(f->o, &f->job->origin), ssh = f->o->scheme == ORIGIN_SSH;
        const struct nb_secret *secret = ssh ? r->ssh_key : r->token;
        const char *name = user ? user : r->username ? r->username : "git";

        if (ssh && allowed == GIT_CREDENTIAL_USERNAME)
                return git_credential_username_new(ret, name);
        if (!own)
                return give_up(f, NB_E_DENIED,
                               "it asks for credentials, and those of the repository are not "
                               "for this host");
        if (!secret || !secret->n)
                return give_up(f, NB_E_DENIED,
                               ssh ? "it asks for a key; set ssh_key_file of the forge"
                                   : "it asks for credentials; set token_file of the forge");
        if (f->asked++)
                return give_up(f, NB_E_DENIED,
                               /* libssh2 before 1.11 signs RSA with SHA-1 only, which OpenSSH
                                * 8.8 and GitHub refuse. */
                               ssh ? "it refuses the key in ssh_key_file of the forge; an "
                                     "ed25519 key works where an RSA key may not"
                                   : "it refuses the token in token_file of the forge");
        if (ssh && (allowed & GIT_CREDENTIAL_SSH_MEMORY))
                return git_credential_ssh_key_memory_new(ret, name, NULL, secret->data, NULL);
        if (!ssh && (allowed & GIT_CREDENTIAL_USERPASS_PLAINTEXT))
                return git_credential_userpass_plaintext_new(ret, name, secret->data);
        return give_up(f, NB_E_DENIED, "it wants a kind of credentials that is not supported");
}

/* "SHA256:" and base64 without padding, as ssh-keygen -l prints it. */
static bool fingerprint_matches(const unsigned char hash[NB_SHA256_SIZE], const char *want)
{
        nb_auto_buf b = NB_BUF(64);

        if (!want || !nb_starts_with(want, "SHA256:") ||
            nb_base64_encode(hash, NB_SHA256_SIZE, &b) < 0)
                return false;
        want += strlen("SHA256:");
        size_t n = strcspn(nb_buf_str(&b), "=");
        return strcspn(want, "=") == n && strncmp(nb_buf_str(&b), want, n) == 0;
}

/* git_transport_certificate_check_cb */
static int on_certificate(git_cert *cert, int valid, const char *host, void *arg)
{
        struct fetch *f = arg;
        const char *want = f->job->r->remote.ssh_host_key;

        if (cert->cert_type != GIT_CERT_HOSTKEY_LIBSSH2)
                return GIT_PASSTHROUGH; /* libgit2's own verdict on TLS stands */
        const git_cert_hostkey *key = (const git_cert_hostkey *)cert;
        if (!origin_same(f->o, &f->job->origin) || !want || !*want)
                return give_up(f, NB_E_DENIED,
                               "no host key is known for it; set ssh_host_key of the forge");
        if (!(key->type & GIT_CERT_SSH_SHA256) || !fingerprint_matches(key->hash_sha256, want))
                return give_up(f, NB_E_DENIED,
                               "its host key is not the one in ssh_host_key of the forge");
        return 0;
}

/* git_indexer_progress_cb */
static int on_progress(const git_indexer_progress *p, void *arg)
{
        struct fetch *f = arg;

        if (f->job->received + p->received_bytes <= f->job->r->limits.max_receive)
                return 0;
        return give_up(f, NB_E_LIMIT,
                       "it sends more than is allowed; raise [limits] max_repository");
}

/* libgit2 1.5 tells an HTTP status only in its text (transports/http.c). */
static int http_status(const char *text)
{
        static const char mark[] = "status code: ";
        const char *p = strstr(text, mark);
        int v = 0;

        if (!p)
                return 0;
        for (p += sizeof(mark) - 1; isdigit((unsigned char)*p) && v < 1000; p++)
                v = v * 10 + (*p - '0');
        return v;
}

static enum nb_errc remote_class(int rc, const char *text, int klass)
{
        if (klass == GIT_ERROR_NOMEMORY)
                return NB_E_LIMIT;
        /* While it works out what we have already. */
        if (klass == GIT_ERROR_ODB || klass == GIT_ERROR_OBJECT || klass == GIT_ERROR_REFERENCE)
                return NB_E_CORRUPT;
        if (strstr(text, "No space left") || strstr(text, "Disk quota"))
                return NB_E_IO;
        if (rc == GIT_EAUTH || rc == GIT_ECERTIFICATE || strstr(text, "cannot redirect from"))
                return NB_E_DENIED;
        switch (http_status(text)) {
        case 401:
        case 403:
                return NB_E_DENIED;
        case 404:
        case 410:
                return NB_E_NOTFOUND;
        default:
                break;
        }
        /* ssh has no status, so the words of GitHub and GitLab decide; the
         * others are libgit2's for a path of this disk. */
        if (rc == GIT_ENOTFOUND || strcasestr(text, "repository not found") ||
            strstr(text, "failed to resolve path") || strstr(text, "could not find repository"))
                return NB_E_NOTFOUND;
        return NB_E_REMOTE;
}

static int fetch_fail(struct fetch *f, int rc, struct nb_err *err)
{
        const git_error *e = git_error_last();
        const char *text = e && e->message ? e->message : "no reason given";
        enum nb_errc code = f->reason ? f->reason : remote_class(rc, text, e ? e->klass : 0);
        const char *hint = "";

        if (f->reason)
                return nb_fail_detail(err, code, rc, "fetch of %s: %s", f->o->url, f->why);
        if (code == NB_E_NOTFOUND && f->o->scheme != ORIGIN_FILE)
                hint = " (there is no such repository, or the token has no access to it)";
        else if (code == NB_E_DENIED && http_status(text) == 403)
                hint = " (the token may not read it)";
        return git_raise(err, code, rc, "fetch of %s%s", f->o->url, hint);
}

static void callbacks_set(struct fetch *f, git_remote_callbacks *cb)
{
        cb->credentials = on_credentials;
        cb->certificate_check = on_certificate;
        cb->transfer_progress = on_progress;
        cb->payload = f;
}

static void fetch_disconnect(struct fetch *f)
{
        git_remote_free(f->remote);
        f->remote = NULL;
        f->heads = NULL;
        f->n_heads = 0;
}

static int fetch_connect(struct fetch *f, struct nb_err *err)
{
        git_remote_create_options co = GIT_REMOTE_CREATE_OPTIONS_INIT;
        git_remote_connect_options o = GIT_REMOTE_CONNECT_OPTIONS_INIT;
        int r;

        fetch_disconnect(f);
        f->asked = 0;
        co.repository = f->m->repo;
        co.flags = GIT_REMOTE_CREATE_SKIP_INSTEADOF | GIT_REMOTE_CREATE_SKIP_DEFAULT_FETCHSPEC;
        r = git_remote_create_with_opts(&f->remote, f->o->url, &co);
        if (r < 0)
                return fetch_fail(f, r, err);
        callbacks_set(f, &o.callbacks);
        o.proxy_opts.type = GIT_PROXY_NONE;
        /* Within one host libgit2 still follows, which renamed repositories need. */
        o.follow_redirects = GIT_REMOTE_REDIRECT_NONE;
        r = git_remote_connect_ext(f->remote, GIT_DIRECTION_FETCH, &o);
        if (r == 0)
                r = git_remote_ls(&f->heads, &f->n_heads, f->remote);
        return r < 0 ? fetch_fail(f, r, err) : 0;
}

static const git_remote_head *head_named(const struct fetch *f, const char *name)
{
        for (size_t i = 0; i < f->n_heads; i++)
                if (nb_streq(f->heads[i]->name, name))
                        return f->heads[i];
        return NULL;
}

static const git_remote_head *head_with(const struct fetch *f, const git_oid *id)
{
        for (size_t i = 0; i < f->n_heads; i++)
                if (nb_starts_with(f->heads[i]->name, "refs/") &&
                    !nb_ends_with(f->heads[i]->name, "^{}") && git_oid_equal(&f->heads[i]->oid, id))
                        return f->heads[i];
        return NULL;
}

static int spec_add(struct nb_strv *l, const char *src, const char *dst)
{
        return nb_strv_add_take(l, nb_asprintf("+%s:%s", src, dst));
}

static int download(struct fetch *f, struct nb_strv *specs, struct nb_err *err)
{
        git_fetch_options o = GIT_FETCH_OPTIONS_INIT;
        git_strarray list = {specs->v, specs->n};
        int r;

        if (specs->n == 0)
                return 0;
        callbacks_set(f, &o.callbacks);
        o.prune = GIT_FETCH_NO_PRUNE;
        o.update_fetchhead = 0;
        o.download_tags = GIT_REMOTE_DOWNLOAD_TAGS_NONE;
        o.proxy_opts.type = GIT_PROXY_NONE;
        o.follow_redirects = GIT_REMOTE_REDIRECT_NONE;
        r = git_remote_download(f->remote, &list, &o);
        f->job->received += git_remote_stats(f->remote)->received_bytes;
        return r < 0 ? fetch_fail(f, r, err) : 0;
}

static bool have_wanted(const struct fetch *f)
{
        return !f->w->id || git_odb_exists(f->m->odb, f->w->id);
}

/* The branch's tip, and id by its own name: by a ref that shows it, or by its
 * hex, which servers allow that have uploadpack.allowAnySHA1InWant or
 * allowReachableSHA1InWant (GitHub and GitLab do). */
static int download_exact(struct fetch *f, struct nb_err *err)
{
        NB_CLEANUP(nb_strv_done) struct nb_strv specs = {0};
        const git_oid *id = f->w->id;
        int r = 0;

        if (f->w->branch) {
                nb_auto_free char *name = nb_asprintf("refs/heads/%s", f->w->branch);
                if (!name)
                        return nb_fail(err, NB_E_NOMEM, "no memory for a refspec");
                if (head_named(f, name))
                        r = spec_add(&specs, name, name);
        }
        if (r == 0 && id && !git_odb_exists(f->m->odb, id)) {
                const git_remote_head *h = head_with(f, id);
                char hex[GIT_OID_HEXSZ + 1], dst[GIT_OID_HEXSZ + 16];
                git_oid_tostr(hex, sizeof(hex), id);
                nb_fmt(dst, sizeof(dst), "refs/nbcid/%s", hex);
                r = h ? spec_add(&specs, h->name, dst) : spec_add(&specs, hex, dst);
        }
        if (r < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory for a refspec");
        return download(f, &specs, err);
}

/* All branches, and the ref that the push named. */
static int download_branches(struct fetch *f, struct nb_err *err)
{
        NB_CLEANUP(nb_strv_done) struct nb_strv specs = {0};
        int r = spec_add(&specs, "refs/heads/*", "refs/heads/*");

        if (r == 0 && f->w->ref && !nb_starts_with(f->w->ref, "refs/heads/") &&
            head_named(f, f->w->ref))
                r = spec_add(&specs, f->w->ref, f->w->ref);
        if (r < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory for a refspec");
        return download(f, &specs, err);
}

static int note_branch(struct fetch *f, struct nb_err *err)
{
        const git_remote_head *h;

        if (!f->w->branch)
                return 0;
        nb_auto_free char *name = nb_asprintf("refs/heads/%s", f->w->branch);
        if (!name)
                return nb_fail(err, NB_E_NOMEM, "no memory for a ref");
        h = head_named(f, name);
        if (!h || !git_odb_exists(f->m->odb, &h->oid))
                return 0;
        return mirror_set_branch(f->m, f->w->branch, &h->oid, err);
}

static int fetch_tries(struct fetch *f, struct nb_err *err)
{
        int r = fetch_connect(f, err);

        if (r < 0)
                return r;
        r = download_exact(f, err);
        if (r == 0 && f->o->scheme == ORIGIN_FILE && !have_wanted(f))
                r = fetch_file_exact(f->m, f->o, f->w->id, on_progress, f, err);
        if (r < 0 && f->reason)
                return fetch_fail(f, r, err); /* ours: a limit or credentials */
        if (r >= 0 && have_wanted(f))
                return note_branch(f, err);
        if (f->w->exact_only)
                return nb_fail(err, NB_E_NOTFOUND, "%s does not give commit %s", f->o->url,
                               git_oid_tostr_s(f->w->id));
        /* A refused id ends a connection; so does a cut one, and then this is
         * the second try. */
        r = fetch_connect(f, err);
        if (r == 0)
                r = download_branches(f, err);
        if (r == 0)
                r = note_branch(f, err);
        if (r == 0 && !have_wanted(f))
                r = nb_fail(err, NB_E_NOTFOUND,
                            "commit %s is not in %s any more: no branch reaches it and the "
                            "server does not give it by its id",
                            git_oid_tostr_s(f->w->id), f->o->url);
        return r;
}

/* mbedTLS, which Debian's libgit2 uses, does not look at these by itself. */
static int authorities_load(struct nb_err *err)
{
        const char *file = getenv("SSL_CERT_FILE"), *dir = getenv("SSL_CERT_DIR");
        int r = 0;

        file = file && *file ? file : NULL;
        dir = dir && *dir ? dir : NULL;
        if (file || dir)
                r = git_libgit2_opts(GIT_OPT_SET_SSL_CERT_LOCATIONS, file, dir);
        return r < 0 ? git_raise(err, NB_E_IO, r, "cannot load SSL_CERT_FILE or SSL_CERT_DIR") : 0;
}

int fetch_run(struct git_job *job, struct git_mirror *m, const struct origin *o,
              const struct fetch_wish *w, struct nb_err *err)
{
        struct fetch f = {.job = job, .m = m, .o = o, .w = w};
        int r = 0;

        if (o->scheme == ORIGIN_SSH &&
            (!job->r->remote.ssh_host_key || !*job->r->remote.ssh_host_key))
                return nb_fail(err, NB_E_DENIED,
                               "fetch of %s: no host key is known for it; set ssh_host_key of "
                               "the forge",
                               o->url);
        if (o->scheme == ORIGIN_HTTPS)
                r = authorities_load(err);
        if (r == 0)
                r = fetch_tries(&f, err);
        fetch_disconnect(&f);
        return r;
}
