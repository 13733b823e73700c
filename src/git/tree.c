/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees are read in their stored form ("<octal mode> <name>\0<20 bytes>", see
 * gitformat-pack(5) and git's tree-walk.c): libgit2's parsed trees cost an
 * allocation per entry and hide names that we want to refuse by name.
 */
#include <limits.h>
#include <strings.h>

#include "git-priv.h"

int tree_open(git_odb *odb, const git_oid *id, struct tree *ret, struct nb_err *err)
{
        auto_object git_odb_object *o = NULL;
        int r = git_odb_read(&o, odb, id);

        if (r < 0)
                return git_raise(err, NB_E_CORRUPT, r, "tree %s", git_oid_tostr_s(id));
        if (git_odb_object_type(o) != GIT_OBJECT_TREE)
                return nb_fail(err, NB_E_INVALID, "object %s stands where a tree belongs",
                               git_oid_tostr_s(id));
        const char *p = git_odb_object_data(o);
        *ret = (struct tree){.p = p, .end = p + git_odb_object_size(o)};
        ret->object = NB_TAKE(o);
        return 0;
}

void tree_close(struct tree *t)
{
        if (t)
                git_odb_object_free(t->object);
        if (t)
                *t = (struct tree){0};
}

static int tree_malformed(const struct tree *t, struct nb_err *err)
{
        return nb_fail(err, NB_E_INVALID, "tree %s is malformed",
                       git_oid_tostr_s(git_odb_object_id(t->object)));
}

int tree_next(struct tree *t, struct tree_entry *ret, struct nb_err *err)
{
        const char *p = t->p, *nul;
        unsigned mode = 0;

        if (p == t->end)
                return 0;
        for (int digits = 0; p < t->end && *p != ' '; p++) {
                if (*p < '0' || *p > '7' || ++digits > 7)
                        return tree_malformed(t, err);
                mode = mode * 8 + (unsigned)(*p - '0');
        }
        if (p == t->end)
                return tree_malformed(t, err);
        p++;
        nul = memchr(p, '\0', (size_t)(t->end - p));
        if (!nul || t->end - nul - 1 < GIT_OID_RAWSZ)
                return tree_malformed(t, err);
        switch (ENTRY_TYPE(mode)) {
        case ENTRY_TREE:
        case ENTRY_FILE:
        case ENTRY_LINK:
        case ENTRY_MODULE:
                break;
        default:
                return tree_malformed(t, err);
        }
        *ret = (struct tree_entry){.name = p, .n_name = (size_t)(nul - p), .mode = mode};
        memcpy(ret->id.id, nul + 1, GIT_OID_RAWSZ);
        t->p = nul + 1 + GIT_OID_RAWSZ;
        return 1;
}

int tree_compare(const struct tree_entry *a, const struct tree_entry *b)
{
        size_t n = a->n_name < b->n_name ? a->n_name : b->n_name;
        int r = memcmp(a->name, b->name, n);

        if (r)
                return r;
        /* Names end in NUL, so [n] can be read. */
        unsigned char ca = (unsigned char)a->name[n], cb = (unsigned char)b->name[n];
        if (!ca && ENTRY_TYPE(a->mode) == ENTRY_TREE)
                ca = '/';
        if (!cb && ENTRY_TYPE(b->mode) == ENTRY_TREE)
                cb = '/';
        return (ca > cb) - (ca < cb);
}

/* Code points that HFS+ ignores in names: U+200C..200F, 202A..202E, 206A..206F,
 * FEFF (the list that CVE-2014-9390 made known). */
static size_t hfs_ignored(const char *s, size_t n)
{
        const unsigned char *p = (const unsigned char *)s;

        if (n < 3)
                return 0;
        if (p[0] == 0xe2 && p[1] == 0x80 &&
            ((p[2] >= 0x8c && p[2] <= 0x8f) || (p[2] >= 0xaa && p[2] <= 0xae)))
                return 3;
        if (p[0] == 0xe2 && p[1] == 0x81 && p[2] >= 0xaa && p[2] <= 0xaf)
                return 3;
        return p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf ? 3 : 0;
}

/* Would HFS+ take it for ".git"? */
static bool hfs_dotgit(const char *name, size_t n)
{
        char plain[5];
        size_t k = 0;

        for (size_t i = 0; i < n;) {
                size_t skip = hfs_ignored(name + i, n - i);
                if (skip) {
                        i += skip;
                        continue;
                }
                if (k == 4)
                        return false;
                plain[k++] = name[i++];
        }
        plain[k] = '\0';
        return strcasecmp(plain, ".git") == 0;
}

/* Would NTFS take it for ".git"?  It drops dots and spaces at the end, knows
 * the short name GIT~1, and reads ':' as the start of a stream's name. */
static bool ntfs_dotgit(const char *name, size_t n)
{
        size_t k;

        if (n >= 4 && strncasecmp(name, ".git", 4) == 0)
                k = 4;
        else if (n >= 5 && strncasecmp(name, "git~1", 5) == 0)
                k = 5;
        else
                return false;
        while (k < n && (name[k] == '.' || name[k] == ' '))
                k++;
        return k == n || name[k] == ':';
}

const char *name_refused(const char *name, size_t n)
{
        if (n == 0)
                return "an empty name";
        if ((n == 1 && name[0] == '.') || (n == 2 && name[0] == '.' && name[1] == '.'))
                return "a name that means another directory";
        if (memchr(name, '/', n))
                return "a name with a slash in it";
        if (n > NAME_MAX)
                return "a name of more than 255 bytes";
        if (hfs_dotgit(name, n))
                return "a name that means .git";
        /* Windows also separates by backslash. */
        for (size_t i = 0; i <= n;) {
                const char *sep = i < n ? memchr(name + i, '\\', n - i) : NULL;
                size_t end = sep ? (size_t)(sep - name) : n;
                if (ntfs_dotgit(name + i, end - i))
                        return "a name that means .git";
                i = end + 1;
        }
        return NULL;
}

int entry_refused(const char *path, size_t n, const char *why, struct nb_err *err)
{
        nb_auto_free char *shown = path_shown(path, n);

        return nb_fail(err, NB_E_INVALID,
                       "the commit holds %s: \"%.300s\"; it cannot be checked out safely", why,
                       shown ? shown : "?");
}

int tree_find(git_odb *odb, const git_oid *tree, const char *name, struct tree_entry *ret,
              struct nb_err *err)
{
        NB_CLEANUP(tree_close) struct tree t = {0};
        struct tree_entry e;
        int r = tree_open(odb, tree, &t, err);

        if (r < 0)
                return r;
        while ((r = tree_next(&t, &e, err)) > 0) {
                if (strcmp(e.name, name) != 0)
                        continue;
                *ret = e;
                ret->name = name; /* the tree goes away */
                return 1;
        }
        return r;
}

int blob_size(git_odb *odb, const git_oid *id, uint64_t *ret, struct nb_err *err)
{
        git_object_t type;
        size_t size;
        int r = git_odb_read_header(&size, &type, odb, id);

        if (r < 0)
                return git_raise(err, NB_E_CORRUPT, r, "blob %s", git_oid_tostr_s(id));
        if (type != GIT_OBJECT_BLOB)
                return nb_fail(err, NB_E_INVALID, "object %s stands where a blob belongs",
                               git_oid_tostr_s(id));
        *ret = size;
        return 0;
}

int blob_open(git_odb *odb, const git_oid *id, uint64_t max, git_odb_object **ret,
              struct nb_err *err)
{
        uint64_t size = 0;
        int r = blob_size(odb, id, &size, err);

        if (r < 0)
                return r;
        if (size > max)
                return nb_fail(err, NB_E_LIMIT, "it has %llu bytes; %llu are allowed",
                               (unsigned long long)size, (unsigned long long)max);
        r = git_odb_read(ret, odb, id);
        if (r < 0)
                return git_raise(err, NB_E_CORRUPT, r, "blob %s", git_oid_tostr_s(id));
        return 0;
}
