/* SPDX-License-Identifier: Apache-2.0 */
#include "shared.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <nbcid/buf.h>

#define REF_MAX 1024
#define DELIVERY_ID_MAX 200
#define NAME_CHARS 64   /* of an event's name that we show */
#define TITLE_CHARS 200 /* of a commit's first line */
#define AUTHOR_CHARS 100

const char *forge_header(const struct http_in *m, const char *name)
{
        const char *value = http_in_header(m, name);

        return value && value[0] ? value : NULL;
}

int forge_delivery_id(const char *header, const char *id, char **ret, struct nb_err *err)
{
        char *copy;

        if (strnlen(id, DELIVERY_ID_MAX + 1) > DELIVERY_ID_MAX)
                return nb_fail(err, NB_E_INVALID, "the %s header is over %d bytes long", header,
                               DELIVERY_ID_MAX);
        for (const char *s = id; *s; s++)
                if (*s <= ' ' || *s > '~')
                        return nb_fail(err, NB_E_INVALID,
                                       "the %s header has a character that is not visible ASCII",
                                       header);
        copy = nb_strdup(id);
        if (!copy)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *ret = copy;
        return 0;
}

int forge_delivery_id_of_body(const struct http_in *req, char **ret, struct nb_err *err)
{
        uint8_t hash[NB_SHA256_SIZE];
        char hex[2 * NB_SHA256_SIZE + 1];
        char *id;

        nb_sha256(req->body, req->n_body, hash);
        nb_hex(hex, hash, sizeof(hash));
        id = nb_asprintf("sha256:%s", hex);
        if (!id)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *ret = id;
        return 0;
}

int forge_ignore(struct forge_event *ret, struct nb_err *err, const char *fmt, ...)
{
        nb_auto_buf b = NB_BUF(4096);
        char *why;
        va_list ap;

        va_start(ap, fmt);
        nb_buf_vprintf(&b, fmt, ap);
        va_end(ap);
        why = nb_buf_steal(&b);
        if (!why)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        *ret = (struct forge_event){.ignored = why};
        return 0;
}

int forge_ignore_name(struct forge_event *ret, const char *what, const char *name,
                      struct nb_err *err)
{
        nb_auto_free char *clean = NULL, *cut = NULL;

        clean = nb_utf8_clean(name, strnlen(name, 4 * NAME_CHARS + 1), true);
        cut = nb_utf8_cut(clean, NAME_CHARS);
        if (!cut)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        return forge_ignore(ret, err, "%s \"%s\" starts no build", what, cut);
}

/* git-check-ref-format(1), rules 1 to 10: git lets no other ref exist, so what
 * breaks them was not sent by a forge that is sane. */
static bool ref_sane(const char *ref)
{
        const char *part = ref;

        for (const char *s = ref; *s; s++)
                if ((unsigned char)*s <= ' ' || *s == 0x7f || strchr("~^:?*[\\", *s))
                        return false;
        if (strstr(ref, "..") || strstr(ref, "@{") || nb_ends_with(ref, "."))
                return false;
        for (;;) {
                size_t n = strcspn(part, "/");
                if (n == 0 || part[0] == '.' || (n >= 5 && memcmp(part + n - 5, ".lock", 5) == 0))
                        return false;
                if (!part[n])
                        return true;
                part += n + 1;
        }
}

static int check_ref(const char *what, const char *ref, struct nb_err *err)
{
        if (strnlen(ref, REF_MAX + 1) > REF_MAX)
                return nb_fail(err, NB_E_INVALID, "%s is over %d bytes long", what, REF_MAX);
        if (!ref_sane(ref))
                return nb_fail(err, NB_E_INVALID, "%s is not a name that git allows", what);
        return 0;
}

static int check_push(const struct forge_push *p, struct nb_err *err)
{
        const struct {
                const char *name, *value;
        } needed[] = {
                {"repository's name", p->repository},
                {"ref", p->ref},
                {"commit (\"after\")", p->after},
        };
        int r;

        for (size_t i = 0; i < NB_ARRAY_SIZE(needed); i++)
                if (!needed[i].value)
                        return nb_fail(err, NB_E_INVALID, "the payload has no %s", needed[i].name);
        r = forge_check_repository(p->kind, p->repository, err);
        if (r == 0)
                r = check_ref("\"ref\"", p->ref, err);
        if (r == 0 && p->default_branch && p->default_branch[0])
                r = check_ref("\"default_branch\"", p->default_branch, err);
        if (r < 0)
                return r;
        if (!nb_oid_valid(p->after))
                return nb_fail(err, NB_E_INVALID, "\"after\" is not 40 or 64 hex digits");
        if (p->before && p->before[0] && !nb_oid_valid(p->before))
                return nb_fail(err, NB_E_INVALID, "\"before\" is not 40 or 64 hex digits");
        return 0;
}

/* git writes ids in lower case, and they are keys of ours. */
static void copy_oid(char ret[NB_OID_HEX_SIZE], const char *oid)
{
        size_t n = strlen(oid);

        for (size_t i = 0; i < n; i++)
                ret[i] = oid[i] >= 'A' && oid[i] <= 'F' ? (char)(oid[i] + ('a' - 'A')) : oid[i];
        ret[n] = '\0';
}

/* The first line of n bytes, cleaned and cut, through ret; NULL when it is
 * empty.  false when memory is out. */
static bool first_line(const char *s, size_t n, size_t max_chars, char **ret)
{
        nb_auto_free char *clean = NULL;
        size_t len = 0;

        while (len < n && s[len] != '\n' && s[len] != '\r')
                len++;
        while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
                len--;
        if (len == 0)
                return true;
        clean = nb_utf8_clean(s, len, true);
        *ret = nb_utf8_cut(clean, max_chars);
        return *ret != NULL;
}

static bool fill_event(const struct forge_push *p, enum event_kind kind, struct event *e)
{
        e->kind = kind;
        e->repository = nb_strdup(p->repository);
        e->ref = nb_strdup(p->ref);
        if (!e->repository || !e->ref)
                return false;
        copy_oid(e->after, p->after);
        if (p->before && p->before[0] && !nb_oid_is_zero(p->before))
                copy_oid(e->before, p->before);
        if (p->default_branch && p->default_branch[0]) {
                e->default_branch = nb_strdup(p->default_branch);
                if (!e->default_branch)
                        return false;
        }
        if (p->message && !first_line(p->message, p->n_message, TITLE_CHARS, &e->title))
                return false;
        return !p->author || first_line(p->author, strlen(p->author), AUTHOR_CHARS, &e->author);
}

int forge_push_event(const struct forge_push *p, struct forge_event *ret, struct nb_err *err)
{
        struct forge_event e = {0};
        enum event_kind kind;
        int r;

        r = check_push(p, err);
        if (r < 0)
                return r;
        if (nb_starts_with(p->ref, "refs/heads/"))
                kind = EVENT_PUSH;
        else if (nb_starts_with(p->ref, "refs/tags/"))
                kind = EVENT_TAG;
        else
                return forge_ignore(ret, err, "%s is neither a branch nor a tag", p->ref);
        if (p->deleted || nb_oid_is_zero(p->after))
                return forge_ignore(ret, err, "%s deleted", kind == EVENT_PUSH ? "branch" : "tag");
        if (!fill_event(p, kind, &e.event)) {
                forge_event_done(&e);
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        *ret = e;
        return 1;
}
