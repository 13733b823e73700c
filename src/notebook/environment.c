/* SPDX-License-Identifier: Apache-2.0 */
#include "environment.h"

#include <stdlib.h>
#include <string.h>

#include <nbcid/str.h>

#include "text.h"

#define KERNEL_MAX 128
#define IMAGE_MAX 512
#define LANGUAGE_MAX 64 /* characters, like the next */
#define NAME_MAX_CHARS 256
#define REQUIREMENTS_MAX (64 * 1024)
#define PIPFILE_MAX (1024 * 1024)

static bool is_alnum(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Only letters, digits and these, and first a letter, a digit or '_': neither
 * an option, nor "..", nor shell text. */
static bool is_word(const char *s, size_t n, const char *more)
{
        if (n == 0 || (!is_alnum(s[0]) && s[0] != '_'))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!is_alnum(s[i]) && (s[i] == '\0' || !strchr(more, s[i])))
                        return false;
        return true;
}

/* No control characters: C0, DEL, and C1, which in UTF-8 is C2 80 to C2 9F. */
static bool is_printable(const char *s, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)s[i];
                if (c < 0x20 || c == 0x7f)
                        return false;
                if (c == 0xc2 && i + 1 < n && (unsigned char)s[i + 1] <= 0x9f)
                        return false;
        }
        return true;
}

static int keep(char **to, const struct walk_value *v, struct nb_err *err)
{
        char *s = nb_strndup(v->s, v->n);

        if (!s)
                return nb_fail(err, NB_E_NOMEM, "no memory for the notebook's metadata");
        free(*to);
        *to = s;
        return 0;
}

static int take_kernel(char **to, const char *where, const struct walk_value *v, struct nb_err *err)
{
        /* jupyter_client finds kernels by directories of this name */
        if (v->n > KERNEL_MAX || !is_word(v->s, v->n, "._-"))
                return nb_fail(err, NB_E_INVALID,
                               "%s \"%.*s\" is not the name of a kernel (letters, digits, '.', "
                               "'_' and '-', at most %d); choose the kernel again in Jupyter and "
                               "save the notebook",
                               where, text_shown(v->s, v->n), v->s, KERNEL_MAX);
        return keep(to, v, err);
}

static int take_uri(char **to, const char *where, const struct walk_value *v, struct nb_err *err)
{
        if (v->n > IMAGE_MAX || !is_word(v->s, v->n, "._-/:@+"))
                return nb_fail(err, NB_E_INVALID,
                               "%s \"%.*s\" is not a container image (HOST/PATH:TAG of at most %d "
                               "characters); correct it, or remove it",
                               where, text_shown(v->s, v->n), v->s, IMAGE_MAX);
        return keep(to, v, err);
}

static int take_language(char **to, const char *where, const struct walk_value *v,
                         struct nb_err *err)
{
        int r = keep(to, v, err);

        if (r < 0)
                return r;
        if (!is_printable(v->s, v->n) || nb_utf8_prefix(*to, LANGUAGE_MAX) != v->n)
                return nb_fail(err, NB_E_INVALID,
                               "%s \"%.*s\" is not the name of a language (at most %d printable "
                               "characters); choose the kernel again in Jupyter and save the "
                               "notebook",
                               where, text_shown(v->s, v->n), v->s, LANGUAGE_MAX);
        return 0;
}

/* For people only, so that nothing is wrong with any name. */
static int take_name(char **to, const struct walk_value *v, struct nb_err *err)
{
        size_t n = v->n < 4 * (NAME_MAX_CHARS + 1) ? v->n : 4 * (NAME_MAX_CHARS + 1);
        nb_auto_free char *clean = nb_utf8_clean(v->s, n, true);
        char *cut = nb_utf8_cut(clean, NAME_MAX_CHARS);

        if (!cut)
                return nb_fail(err, NB_E_NOMEM, "no memory for the notebook's metadata");
        free(*to);
        *to = cut;
        return 0;
}

/* A line each: a line break inside would make two of one. */
static int take_requirement(struct nb_buf *b, const char *where, const struct walk_value *v,
                            struct nb_err *err)
{
        int r = 0;

        if (!is_printable(v->s, v->n))
                return nb_fail(
                        err, NB_E_INVALID,
                        "\"%.*s\" in %s holds a control character; write one pip requirement, "
                        "such as \"pandas>=2\", an item",
                        text_shown(v->s, v->n), v->s, where);
        if (walk_blank(v->s, v->n))
                return 0;
        b->max = REQUIREMENTS_MAX;
        if (b->len > 0)
                r = nb_buf_putc(b, '\n');
        if (r == 0)
                r = nb_buf_append(b, v->s, v->n);
        if (r == -NB_E_LIMIT)
                return nb_fail(
                        err, NB_E_LIMIT,
                        "%s is over %d bytes; list what the notebook imports, not everything "
                        "that is installed",
                        where, REQUIREMENTS_MAX);
        if (r < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory for the notebook's metadata");
        return 0;
}

/* Another tool's document, to be read later. */
static int take_pipfile(char **to, const char *where, const struct walk_value *v,
                        struct nb_err *err)
{
        if (v->n > PIPFILE_MAX)
                return nb_fail(err, NB_E_LIMIT,
                               "%s is over %d bytes; list what the notebook imports, not "
                               "everything that is installed",
                               where, PIPFILE_MAX);
        return keep(to, v, err);
}

/* {name, version} as a requirement. */
int environment_end(struct environment_draft *d, enum walk_member m, struct nb_err *err)
{
        nb_auto_free char *name = NULL, *version = NULL, *line = NULL;
        const char *op = "";

        if (m != WALK_PYTHON_PACKAGE || !d->package)
                return 0;
        name = NB_TAKE(d->package);
        version = NB_TAKE(d->version);
        if (version && *version >= '0' && *version <= '9')
                op = "==";
        line = nb_asprintf("%s%s%s", name, op, version ? version : "");
        if (!line)
                return nb_fail(err, NB_E_NOMEM, "no memory for the notebook's metadata");
        return take_requirement(&d->packages, "metadata.python_packages",
                                &(struct walk_value){.s = line, .n = strlen(line)}, err);
}

/* Members of the two lists. */
static int take_list(struct environment_draft *d, enum walk_member m, const struct walk_value *v,
                     struct nb_err *err)
{
        if (m == WALK_REQUIREMENT)
                return take_requirement(&d->requirements, "metadata.requirements", v, err);
        if (v->type != WALK_STRING)
                return 0;
        if (m == WALK_PYTHON_PACKAGE)
                return take_requirement(&d->packages, "metadata.python_packages", v, err);
        if (m == WALK_PYTHON_PACKAGE_NAME)
                return keep(&d->package, v, err);
        return m == WALK_PYTHON_PACKAGE_VERSION ? keep(&d->version, v, err) : 0;
}

int environment_take(struct environment_draft *d, enum walk_member m, const struct walk_value *v,
                     struct nb_err *err)
{
        bool text = v->type == WALK_STRING && v->n > 0;

        if (m == WALK_REQUIREMENTS)
                d->foreign = v->type != WALK_ARRAY && v->type != WALK_NULL && !text;
        if (m == WALK_REQUIREMENT || m == WALK_PYTHON_PACKAGE || m == WALK_PYTHON_PACKAGE_NAME ||
            m == WALK_PYTHON_PACKAGE_VERSION)
                return take_list(d, m, v, err);
        if (!text)
                return 0;
        if (m == WALK_REQUIREMENTS)
                return take_pipfile(&d->pipfile, "metadata.requirements", v, err);
        if (m == WALK_REQUIREMENTS_LOCK)
                return take_pipfile(&d->pipfile_lock, "metadata.requirements_lock", v, err);
        if (m == WALK_ENVIRONMENT_KERNEL)
                return take_kernel(&d->kernel, "metadata.environment.kernel", v, err);
        if (m == WALK_KERNELSPEC_NAME)
                return take_kernel(&d->spec_name, "metadata.kernelspec.name", v, err);
        if (m == WALK_ENVIRONMENT_URI)
                return take_uri(&d->uri, "metadata.environment.uri", v, err);
        if (m == WALK_ENV_CONTAINER)
                return take_uri(&d->env_container, "metadata.env.container", v, err);
        if (m == WALK_CONTAINER)
                return take_uri(&d->container, "metadata.container", v, err);
        if (m == WALK_ENVIRONMENT_NAME)
                return take_name(&d->name, v, err);
        if (m == WALK_LANGUAGE_INFO_NAME)
                return take_language(&d->language, "metadata.language_info.name", v, err);
        if (m == WALK_KERNELSPEC_LANGUAGE)
                return take_language(&d->spec_language, "metadata.kernelspec.language", v, err);
        return 0;
}

struct choice {
        char **text;
        const char *from;
};

/* Take the first of at most three that is there, and say where it came from. */
static char *choose(struct nb_buf *why, const char *what, const struct choice v[3],
                    const char **ret_from)
{
        for (size_t i = 0; i < 3 && v[i].text; i++) {
                if (!*v[i].text)
                        continue;
                (void)nb_buf_printf(why, "%s%s from %s", why->len > 0 ? ", " : "", what, v[i].from);
                *ret_from = v[i].from;
                return NB_TAKE(*v[i].text);
        }
        return NULL;
}

static char *steal(struct nb_buf *b)
{
        return b->len > 0 ? nb_buf_steal(b) : NULL;
}

/* Whose requirements count: a list, else another tool's. */
static void finish_requirements(struct environment_draft *d, struct nb_buf *why,
                                struct notebook_head *h)
{
        nb_auto_free char *list = steal(&d->requirements), *packages = steal(&d->packages);

        h->environment.requirements =
                choose(why, "requirements",
                       (struct choice[3]){{&list, "metadata.requirements"},
                                          {&packages, "metadata.python_packages"}},
                       &h->requirements_from);
        if (h->environment.requirements)
                return;
        h->pipfile =
                choose(why, "Pipfile", (struct choice[3]){{&d->pipfile, "metadata.requirements"}},
                       &h->requirements_from);
        h->pipfile_lock = choose(
                why, "lock", (struct choice[3]){{&d->pipfile_lock, "metadata.requirements_lock"}},
                &h->requirements_from);
}

int environment_finish(struct environment_draft *d, struct notebook_head *ret, struct nb_err *err)
{
        const char *ignored;
        nb_auto_buf why = NB_BUF(1024);
        NB_CLEANUP(notebook_head_done) struct notebook_head h = {0};
        struct nb_environment *e = &h.environment;
        const bool requires = d->requirements.len + d->packages.len > 0;

        e->kernel = choose(&why, "kernel",
                           (struct choice[3]){{&d->kernel, "metadata.environment"},
                                              {&d->spec_name, "metadata.kernelspec"}},
                           &h.kernel_from);
        e->language = choose(&why, "language",
                             (struct choice[3]){{&d->language, "metadata.language_info"},
                                                {&d->spec_language, "metadata.kernelspec"}},
                             &ignored);
        e->image = choose(&why, "image",
                          (struct choice[3]){{&d->uri, "metadata.environment"},
                                             {&d->env_container, "metadata.env.container"},
                                             {&d->container, "metadata.container"}},
                          &h.image_from);
        finish_requirements(d, &why, &h);
        e->name = NB_TAKE(d->name);
        h.requirements_unread = d->foreign;
        if (why.len == 0)
                (void)nb_buf_puts(&why, "the notebook names no kernel");
        if (d->foreign)
                (void)nb_buf_puts(&why, "; metadata.requirements is no list of pip requirements "
                                        "(another tool's format) and is not read");
        e->why = nb_buf_steal(&why);
        if (!e->why || (requires && !e->requirements))
                return nb_fail(err, NB_E_NOMEM, "no memory for the notebook's metadata");
        *ret = h;
        h = (struct notebook_head){0};
        return 0;
}

void environment_done(struct environment_draft *d)
{
        if (!d)
                return;
        free(d->kernel);
        free(d->uri);
        free(d->name);
        free(d->spec_name);
        free(d->spec_language);
        free(d->language);
        free(d->env_container);
        free(d->container);
        nb_buf_done(&d->requirements);
        nb_buf_done(&d->packages);
        free(d->package);
        free(d->version);
        free(d->pipfile);
        free(d->pipfile_lock);
        *d = (struct environment_draft){0};
}
