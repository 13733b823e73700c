/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request and an answer as JSON.  Both ends are this binary, so a shape
 * that does not fit is a bug of ours; the answer's content is a stranger's and
 * is bounded all the same.  Secrets and file content travel in base64.
 */
#include <nbcid/str.h>

#include "git-priv.h"

static const char *const change_names[] = {
        [GIT_ADDED] = "added",   [GIT_MODIFIED] = "modified",         [GIT_RENAMED] = "renamed",
        [GIT_COPIED] = "copied", [GIT_TYPE_CHANGED] = "type-changed",
};
_Static_assert(NB_ARRAY_SIZE(change_names) == GIT_CHANGE__COUNT, "a name for each change");

const char *git_change_name(enum git_change c)
{
        nb_assert(c < GIT_CHANGE__COUNT);
        return change_names[c];
}

void git_answer_done(struct git_answer *a)
{
        if (!a)
                return;
        for (size_t i = 0; i < a->n_changed; i++)
                free(a->changed[i].path);
        free(a->changed);
        for (size_t i = 0; i < a->n_support; i++)
                free(a->support[i].path);
        free(a->support);
        free(a->title);
        free(a->repo_config);
        nb_strv_done(&a->warnings);
        *a = (struct git_answer){0};
}

void git_wire_done(struct git_wire *w)
{
        if (!w)
                return;
        nb_secret_done(&w->token);
        nb_secret_done(&w->ssh_key);
        nb_json_free(w->tree);
        free(w->hosts);
        *w = (struct git_wire){0};
}

static void put_bytes(struct nb_json_out *o, const char *key, const void *p, size_t n)
{
        nb_auto_buf b = NB_BUF(GIT_REQUEST_MAX);

        if (nb_base64_encode(p, n, &b) < 0)
                o->buf->failed = true;
        nb_json_kv_str(o, key, nb_buf_str(&b));
        if (b.data)
                nb_wipe(b.data, b.cap);
}

static void put_secret(struct nb_json_out *o, const char *key, const struct nb_secret *s)
{
        if (s && s->n)
                put_bytes(o, key, s->data, s->n);
}

/* Would the other side read another text than we have? */
static const char *request_refused(const struct git_request *r)
{
        const char *const texts[] = {
                r->mirror, r->remote.url, r->remote.username, r->remote.ssh_host_key, r->commit,
                r->ref,    r->before,     r->default_branch,  r->extract_dir,         r->workspace,
                r->path};

        for (size_t i = 0; i < NB_ARRAY_SIZE(texts); i++)
                if (texts[i] && !nb_utf8_valid(texts[i], strlen(texts[i]), NULL))
                        return texts[i];
        return NULL;
}

int git_request_write(const struct git_request *r, struct nb_buf *ret, struct nb_err *err)
{
        struct nb_json_out o = NB_JSON_OUT(ret);
        const char *bad = request_refused(r);

        if (bad) {
                nb_auto_free char *shown = path_shown(bad, strlen(bad));
                return nb_fail(err, NB_E_INVALID, "\"%.300s\" is not UTF-8", shown ? shown : "?");
        }
        nb_json_open_object(&o);
        nb_json_kv_int(&o, "op", r->op);
        nb_json_kv_str(&o, "mirror", r->mirror);
        nb_json_kv_str(&o, "url", r->remote.url);
        nb_json_kv_str(&o, "username", r->remote.username);
        nb_json_kv_str(&o, "ssh_host_key", r->remote.ssh_host_key);
        put_secret(&o, "token", r->remote.token);
        put_secret(&o, "ssh_key", r->remote.ssh_key);
        nb_json_key(&o, "submodule_hosts");
        nb_json_open_array(&o);
        for (const char *const *h = r->remote.submodule_hosts; h && *h; h++)
                nb_json_put_str(&o, *h);
        nb_json_close(&o);
        nb_json_kv_int(&o, "max_receive", (int64_t)(r->limits.max_receive & INT64_MAX));
        nb_json_kv_int(&o, "max_checkout", (int64_t)(r->limits.max_checkout & INT64_MAX));
        nb_json_kv_int(&o, "max_blob", (int64_t)(r->limits.max_blob & INT64_MAX));
        nb_json_kv_str(&o, "commit", r->commit);
        nb_json_kv_str(&o, "ref", r->ref);
        nb_json_kv_str(&o, "before", r->before);
        nb_json_kv_str(&o, "default_branch", r->default_branch);
        nb_json_kv_str(&o, "extract_dir", r->extract_dir);
        nb_json_kv_str(&o, "workspace", r->workspace);
        nb_json_kv_str(&o, "path", r->path);
        nb_json_close(&o);
        return ret->failed
                       ? nb_fail(err, NB_E_LIMIT, "the request to git is over %zu bytes", ret->max)
                       : 0;
}

static const char *text_at(const struct nb_json *v, const char *key)
{
        return nb_json_str(nb_json_get(v, key), NULL);
}

static uint64_t number_at(const struct nb_json *v, const char *key)
{
        int64_t n;

        return nb_json_int(nb_json_get(v, key), &n) && n >= 0 ? (uint64_t)n : 0;
}

static int bytes_at(const struct nb_json *v, const char *key, char **ret, size_t *ret_n,
                    struct nb_err *err)
{
        nb_auto_buf b = NB_BUF(GIT_REQUEST_MAX);
        size_t n;
        const char *s = nb_json_str(nb_json_get(v, key), &n);
        int r;

        if (!s)
                return 0;
        /* In one piece, so that no shorter copy of a secret is left behind. */
        if (nb_buf_reserve(&b, n) < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory for %s", key);
        r = nb_base64_decode(s, n, &b, err);
        if (r < 0)
                return r;
        *ret_n = b.len;
        *ret = nb_buf_steal(&b);
        return *ret ? 0 : nb_fail(err, NB_E_NOMEM, "no memory for %s", key);
}

static int hosts_read(const struct nb_json *v, struct git_wire *w, struct nb_err *err)
{
        const struct nb_json *list = nb_json_get(v, "submodule_hosts");
        size_t n = nb_json_size(list);

        w->hosts = nb_alloc_array(n + 1, sizeof(*w->hosts));
        if (!w->hosts)
                return nb_fail(err, NB_E_NOMEM, "no memory for a request");
        for (size_t i = 0; i < n; i++)
                w->hosts[i] = nb_json_str(nb_json_index(list, i), NULL);
        w->r.remote.submodule_hosts = w->hosts;
        return 0;
}

/* Has it got what its op needs? */
static bool request_whole(const struct git_request *r)
{
        if (!r->mirror || r->mirror[0] != '/' || !r->remote.url || !r->commit)
                return false;
        if (r->op == GIT_CHECKOUT)
                return r->workspace;
        return r->extract_dir && (r->op == GIT_PREPARE || r->path);
}

static int request_fill(const struct nb_json *v, struct git_wire *w, struct nb_err *err)
{
        const uint64_t op = number_at(v, "op");
        struct git_request *r = &w->r;
        int rc;

        *r = (struct git_request){
                .op = op == GIT_PREPARE    ? GIT_PREPARE
                      : op == GIT_CHECKOUT ? GIT_CHECKOUT
                                           : GIT_FILE,
                .mirror = text_at(v, "mirror"),
                .remote = {.url = text_at(v, "url"),
                           .username = text_at(v, "username"),
                           .ssh_host_key = text_at(v, "ssh_host_key"),
                           .token = &w->token,
                           .ssh_key = &w->ssh_key},
                .limits = {.max_receive = number_at(v, "max_receive"),
                           .max_checkout = number_at(v, "max_checkout"),
                           .max_blob = number_at(v, "max_blob")},
                .commit = text_at(v, "commit"),
                .ref = text_at(v, "ref"),
                .before = text_at(v, "before"),
                .default_branch = text_at(v, "default_branch"),
                .extract_dir = text_at(v, "extract_dir"),
                .workspace = text_at(v, "workspace"),
                .path = text_at(v, "path"),
        };
        if (!request_whole(r))
                return nb_fail(err, NB_E_BUG, "a request to git lacks a field");
        rc = bytes_at(v, "token", &w->token.data, &w->token.n, err);
        if (rc == 0)
                rc = bytes_at(v, "ssh_key", &w->ssh_key.data, &w->ssh_key.n, err);
        return rc < 0 ? rc : hosts_read(v, w, err);
}

int git_request_read(const char *p, size_t n, struct git_wire *ret, struct nb_err *err)
{
        static const struct nb_json_limits limits = {.bytes = GIT_REQUEST_MAX, .depth = 4};
        struct nb_json_pos pos;
        int r;

        *ret = (struct git_wire){0};
        r = nb_json_read(p, n, &limits, &ret->tree, &pos, err);
        if (r == 0)
                r = request_fill(nb_json_root(ret->tree), ret, err);
        if (r < 0)
                git_wire_done(ret);
        return r;
}

void git_answer_write(const struct git_answer *a, struct nb_buf *ret)
{
        struct nb_json_out o = NB_JSON_OUT(ret);

        nb_json_open_object(&o);
        nb_json_kv_str(&o, "commit", a->commit);
        nb_json_kv_str(&o, "title", a->title);
        if (a->repo_config)
                put_bytes(&o, "repo_config", a->repo_config, a->n_repo_config);
        nb_json_key(&o, "changed");
        nb_json_open_array(&o);
        for (size_t i = 0; i < a->n_changed; i++) {
                nb_json_open_object(&o);
                nb_json_kv_str(&o, "path", a->changed[i].path);
                nb_json_kv_int(&o, "change", a->changed[i].change);
                nb_json_kv_int(&o, "oddity", a->changed[i].oddity);
                nb_json_kv_int(&o, "size", (int64_t)a->changed[i].size);
                nb_json_close(&o);
        }
        nb_json_close(&o);
        nb_json_key(&o, "support");
        nb_json_open_array(&o);
        for (size_t i = 0; i < a->n_support; i++) {
                nb_json_open_object(&o);
                nb_json_kv_str(&o, "path", a->support[i].path);
                nb_json_kv_int(&o, "oddity", a->support[i].oddity);
                nb_json_kv_int(&o, "size", (int64_t)a->support[i].size);
                nb_json_close(&o);
        }
        nb_json_close(&o);
        nb_json_kv_bool(&o, "binder", a->binder);
        nb_json_kv_bool(&o, "dot_binder", a->dot_binder);
        nb_json_key(&o, "warnings");
        nb_json_open_array(&o);
        for (size_t i = 0; i < a->warnings.n; i++)
                nb_json_put_str(&o, a->warnings.v[i]);
        nb_json_close(&o);
        nb_json_close(&o);
}

void git_failure_write(const struct nb_err *e, struct nb_buf *ret)
{
        struct nb_json_out o = NB_JSON_OUT(ret);

        nb_json_open_object(&o);
        nb_json_kv_int(&o, "error", e->code);
        nb_json_kv_int(&o, "detail", e->detail);
        nb_json_kv_str(&o, "message", e->msg);
        nb_json_close(&o);
}

static int changed_read(const struct nb_json *list, struct git_answer *a, struct nb_err *err)
{
        size_t n = nb_json_size(list);

        if (n == 0)
                return 0;
        a->changed = nb_alloc_array(n, sizeof(*a->changed));
        if (!a->changed)
                return nb_fail(err, NB_E_NOMEM, "no memory for %zu notebooks", n);
        for (size_t i = 0; i < n; i++) {
                const struct nb_json *v = nb_json_index(list, i);
                const char *path = text_at(v, "path");
                uint64_t change = number_at(v, "change"), oddity = number_at(v, "oddity");
                if (!path || change >= GIT_CHANGE__COUNT || oddity >= GIT_ODDITY__COUNT)
                        return nb_fail(err, NB_E_BUG, "the git helper names an unknown change");
                a->changed[i] = (struct git_changed){.change = (enum git_change)change,
                                                     .oddity = (enum git_oddity)oddity,
                                                     .size = number_at(v, "size")};
                a->changed[i].path = nb_strdup(path);
                if (!a->changed[i].path)
                        return nb_fail(err, NB_E_NOMEM, "no memory for %zu notebooks", n);
                a->n_changed = i + 1;
        }
        return 0;
}

static int support_read(const struct nb_json *list, struct git_answer *a, struct nb_err *err)
{
        size_t n = nb_json_size(list);

        if (n == 0)
                return 0;
        a->support = nb_alloc_array(n, sizeof(*a->support));
        if (!a->support)
                return nb_fail(err, NB_E_NOMEM, "no memory for %zu files", n);
        for (size_t i = 0; i < n; i++) {
                const struct nb_json *v = nb_json_index(list, i);
                const char *path = text_at(v, "path");
                uint64_t oddity = number_at(v, "oddity");

                if (!path || oddity >= GIT_ODDITY__COUNT)
                        return nb_fail(err, NB_E_BUG, "the git helper names an unknown file");
                a->support[i] = (struct git_support){.path = nb_strdup(path),
                                                     .oddity = (enum git_oddity)oddity,
                                                     .size = number_at(v, "size")};
                if (!a->support[i].path)
                        return nb_fail(err, NB_E_NOMEM, "no memory for %zu files", n);
                a->n_support = i + 1;
        }
        return 0;
}

static int failure_read(const struct nb_json *v, struct nb_err *err)
{
        uint64_t code = number_at(v, "error");
        const char *text = text_at(v, "message");
        int64_t detail;

        if (code == NB_OK || code >= NB_E__COUNT || !text ||
            !nb_json_int(nb_json_get(v, "detail"), &detail))
                return nb_fail(err, NB_E_BUG, "the git helper names an unknown failure");
        return nb_fail_detail(err, (enum nb_errc)code, (int)detail, "%s", text);
}

static int answer_fill(const struct nb_json *v, struct git_answer *a, struct nb_err *err)
{
        const struct nb_json *warnings = nb_json_get(v, "warnings");
        const char *commit = text_at(v, "commit"), *title = text_at(v, "title");
        int r;

        if (!commit || !nb_fmt(a->commit, sizeof(a->commit), "%s", commit))
                return nb_fail(err, NB_E_BUG, "the git helper names no commit");
        if (title) {
                a->title = nb_strdup(title);
                if (!a->title)
                        return nb_fail(err, NB_E_NOMEM, "no memory for a title");
        }
        for (size_t i = 0; i < nb_json_size(warnings); i++)
                if (nb_strv_add(&a->warnings, nb_json_str(nb_json_index(warnings, i), NULL)) < 0)
                        return nb_fail(err, NB_E_NOMEM, "no memory for warnings");
        (void)nb_json_bool(nb_json_get(v, "binder"), &a->binder);
        (void)nb_json_bool(nb_json_get(v, "dot_binder"), &a->dot_binder);
        r = bytes_at(v, "repo_config", &a->repo_config, &a->n_repo_config, err);
        if (r == 0)
                r = changed_read(nb_json_get(v, "changed"), a, err);
        return r < 0 ? r : support_read(nb_json_get(v, "support"), a, err);
}

int git_answer_read(const char *p, size_t n, struct git_answer *ret, struct nb_err *err)
{
        static const struct nb_json_limits limits = {.bytes = GIT_ANSWER_MAX, .depth = 4};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        NB_CLEANUP(git_answer_done) struct git_answer a = {0};
        struct nb_json_pos pos;
        const struct nb_json *v;
        int r = nb_json_read(p, n, &limits, &tree, &pos, err);

        if (r < 0) {
                struct nb_err was = *err;
                return nb_fail(err, NB_E_BUG, "the git helper's answer is not JSON: %s", was.msg);
        }
        v = nb_json_root(tree);
        if (nb_json_get(v, "error"))
                return failure_read(v, err);
        r = answer_fill(v, &a, err);
        if (r < 0)
                return r;
        *ret = a;
        a = (struct git_answer){0};
        return 0;
}
