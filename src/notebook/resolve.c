/* SPDX-License-Identifier: Apache-2.0 */
/* which environment a notebook gets; the order is in notebook_environment.h */
#include <nbcid/notebook_environment.h>

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <nbcid/str.h>

#include "pipfile.h"
#include "text.h"

#define WHY_MAX 2048
#define TOML_JSON_MAX ((size_t)4 << 20) /* of a file of GIT_SUPPORT_MAX bytes */
#define FILE_MAX ((size_t)1 << 20)
#define ENVIRONMENT_SPARE ((size_t)256 * 1024)

/* An answer on its way. */
struct resolving {
        const struct environment_question *q;
        struct reading reading;
        struct requirements requirements;
        struct nb_environment e;
        struct nb_buf why;
        bool python_only; /* is it a notebook that pip serves? */
        bool some;        /* requirements were found, even if there are none in them */
        char python[PYTHON_VERSION_SIZE];
        char runtime[300]; /* what runtime.txt had to do with it, or "" */
        char dir[4096];    /* the notebook's, "" or ended by '/' */
};

static int no_memory(struct nb_err *err)
{
        return nb_fail(err, NB_E_NOMEM, "no memory for an environment");
}

/* Adds to why; what does not fit is cut there, for people only. */
static void because(struct resolving *s, const char *fmt, ...)
        __attribute__((format(printf, 2, 3)));
static void because(struct resolving *s, const char *fmt, ...)
{
        va_list ap;

        if (s->why.len > 0)
                (void)nb_buf_puts(&s->why, ", ");
        va_start(ap, fmt);
        (void)nb_buf_vprintf(&s->why, fmt, ap);
        va_end(ap);
}

static int copy(char **to, const char *from, struct nb_err *err)
{
        if (!from)
                return 0;
        free(*to);
        *to = nb_strdup(from);
        return *to ? 0 : no_memory(err);
}

static bool is_python(const struct nb_environment *e)
{
        const char *language = e->language ? e->language : notebook_kernel_language(e->kernel);

        return !language || notebook_language_is_python(language);
}

/* ---- .nbcid.toml and metadata ---- */

static int read_lines(struct resolving *s, const char *shown, const char *dir, const char *text,
                      struct nb_err *err)
{
        s->some = true;
        return requirements_read(shown, dir, text, strlen(text), s->q->allow, s->q->files,
                                 &s->requirements, err);
}

static int wish_list(struct resolving *s, const struct nb_strv *list, struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(REQUIREMENTS_MAX);

        for (size_t i = 0; i < list->n; i++)
                (void)nb_buf_printf(&text, "%s\n", list->v[i]);
        if (text.failed)
                return nb_fail(err, NB_E_LIMIT, ".nbcid.toml: requirements are over %zu bytes",
                               REQUIREMENTS_MAX);
        because(s, "requirements from .nbcid.toml");
        return read_lines(s, ".nbcid.toml requirements", "", nb_buf_str(&text), err);
}

static int wish_file(struct resolving *s, const char *name, struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(FILE_MAX);
        bool nomem = false;
        nb_auto_free char *path = *name == '/' ? NULL : direct_path("", name, &nomem);
        nb_auto_free char *dir = NULL;
        const char *slash;
        int r;

        if (nomem)
                return no_memory(err);
        if (!path || !*path)
                return nb_fail(err, NB_E_INVALID,
                               ".nbcid.toml: requirements_file \"%.200s\" is outside the "
                               "repository; write its path from the root",
                               name);
        slash = strrchr(path, '/');
        dir = nb_strndup(path, slash ? (size_t)(slash - path) + 1 : 0);
        if (!dir)
                return no_memory(err);
        r = s->q->files->read(s->q->files->arg, path, &text, err);
        if (r == 0)
                return nb_fail(err, NB_E_INVALID,
                               ".nbcid.toml: requirements_file names %.200s, which the commit does "
                               "not have; commit it",
                               path);
        if (r < 0)
                return nb_wrap(err, r, ".nbcid.toml: requirements_file");
        because(s, "requirements from %s, which .nbcid.toml names", path);
        s->some = true;
        return requirements_read(path, dir, nb_buf_str(&text), text.len, s->q->allow, s->q->files,
                                 &s->requirements, err);
}

/* 1: .nbcid.toml decides, 0: it has nothing to say. */
static int from_wish(struct resolving *s, struct nb_err *err)
{
        const struct repo_wish *w = s->q->wish;
        int r = 0;

        if (w->executors_default) {
                because(s, "the executor's default, as .nbcid.toml says");
                return 1;
        }
        if (!w->image && !w->requirements && !w->requirements_file)
                return 0;
        if (w->requirements && w->requirements_file)
                return nb_fail(err, NB_E_INVALID,
                               ".nbcid.toml: both requirements and requirements_file are said for "
                               "%.200s; keep one",
                               s->q->notebook);
        if (w->image) {
                because(s, "image from .nbcid.toml");
                r = copy(&s->e.image, w->image, err);
        }
        if (r == 0 && s->python_only && w->requirements)
                r = wish_list(s, w->requirements, err);
        if (r == 0 && s->python_only && w->requirements_file)
                r = wish_file(s, w->requirements_file, err);
        return r < 0 ? r : 1;
}

static int metadata_requirements(struct resolving *s, struct nb_err *err)
{
        const struct notebook_head *h = s->q->head;
        char shown[256];
        int r;

        (void)nb_fmt(shown, sizeof(shown), "%.*s %s", (int)nb_utf8_prefix(s->q->notebook, 100),
                     s->q->notebook, h->requirements_from);
        because(s, "%s from the notebook's %s",
                h->pipfile_lock ? "locked requirements" : "requirements", h->requirements_from);
        s->reading.depth = 0;
        s->some = true;
        if (h->environment.requirements)
                return read_lines(s, shown, s->dir, h->environment.requirements, err);
        r = h->pipfile_lock ? pipfile_read_lock(&s->reading, shown, s->dir, h->pipfile_lock,
                                                strlen(h->pipfile_lock), s->python, err)
                            : pipfile_read(&s->reading, shown, s->dir, h->pipfile,
                                           strlen(h->pipfile), s->python, err);
        return r;
}

static int from_metadata(struct resolving *s, struct nb_err *err)
{
        const struct notebook_head *h = s->q->head;
        const bool packages =
                s->python_only && (h->environment.requirements || h->pipfile || h->pipfile_lock);
        int r = 0;

        if (!h->environment.image && !packages)
                return 0;
        if (h->environment.image) {
                because(s, "image from the notebook's %s", h->image_from);
                r = copy(&s->e.image, h->environment.image, err);
        }
        if (r == 0 && packages)
                r = metadata_requirements(s, err);
        return r < 0 ? r : 1;
}

/* ---- files ---- */

typedef int (*read_fn)(struct resolving *s, const char *path, const char *dir, const char *p,
                       size_t n, struct nb_err *err);

static int read_requirements(struct resolving *s, const char *path, const char *dir, const char *p,
                             size_t n, struct nb_err *err)
{
        int r = requirements_read(path, dir, p, n, s->q->allow, s->q->files, &s->requirements, err);

        s->some = true;
        return r < 0 ? r : 1;
}

static int read_lock(struct resolving *s, const char *path, const char *dir, const char *p,
                     size_t n, struct nb_err *err)
{
        int r = pipfile_read_lock(&s->reading, path, dir, p, n, s->python, err);

        s->some = true;
        return r < 0 ? r : 1;
}

static int read_pipfile(struct resolving *s, const char *path, const char *dir, const char *p,
                        size_t n, struct nb_err *err)
{
        nb_auto_buf json = NB_BUF(TOML_JSON_MAX);
        int r = config_toml_json(path, p, n, &json, err);

        if (r == 0)
                r = pipfile_read(&s->reading, path, dir, nb_buf_str(&json), json.len, s->python,
                                 err);
        s->some = true;
        return r < 0 ? r : 1;
}

static int read_pyproject(struct resolving *s, const char *path, const char *dir, const char *p,
                          size_t n, struct nb_err *err)
{
        nb_auto_buf json = NB_BUF(TOML_JSON_MAX);
        int r = config_toml_json(path, p, n, &json, err);

        if (r == 0)
                r = pyproject_read(&s->reading, path, dir, nb_buf_str(&json), json.len, s->python,
                                   err);
        s->some = r > 0;
        return r;
}

static int read_conda(struct resolving *s, const char *path, const char *dir, const char *p,
                      size_t n, struct nb_err *err)
{
        int r = conda_check(path, p, n, s->q->allow, err);

        (void)dir;
        if (r < 0)
                return r;
        s->e.conda = nb_strndup(p, n);
        return s->e.conda ? 1 : no_memory(err);
}

static const struct candidate {
        const char *name;
        read_fn read;
        const char *what;
} candidates[] = {
        {"environment.yml", read_conda, "conda environment"},
        {"environment.yaml", read_conda, "conda environment"},
        {"Pipfile.lock", read_lock, "locked requirements"},
        {"Pipfile", read_pipfile, "requirements"},
        {"requirements.txt", read_requirements, "requirements"},
        {"pyproject.toml", read_pyproject, "requirements"},
};

/* The file of that name in dir: 1, 0. */
static int fetch(struct resolving *s, const char *dir, const char *name, char **ret_path,
                 struct nb_buf *ret, struct nb_err *err)
{
        const struct notebook_files *f = s->q->files;
        nb_auto_free char *path = nb_asprintf("%s%s", dir, name);
        int r;

        if (!path)
                return no_memory(err);
        if (!f->has(f->arg, path))
                return 0;
        r = f->read(f->arg, path, ret, err);
        if (r > 0)
                *ret_path = NB_TAKE(path);
        return r;
}

/* runtime.txt of repo2docker: "python-3.11", or another language's. */
static int runtime_in(struct resolving *s, const char *dir, struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(FILE_MAX);
        nb_auto_free char *path = NULL, *line = NULL;
        int r = fetch(s, dir, "runtime.txt", &path, &text, err);

        if (r <= 0)
                return r;
        line = nb_strndup(nb_buf_str(&text), strcspn(nb_buf_str(&text), " \t\r\n"));
        if (!line)
                return no_memory(err);
        if (nb_starts_with(line, "python-")) {
                python_version(line + strlen("python-"), s->python);
                if (!*s->python || !strchr(s->python, '.'))
                        return reading_refuse(path, line, err,
                                              "is no version of Python; write python-3.11");
                (void)nb_fmt(s->runtime, sizeof(s->runtime), "Python %s from %s", s->python, path);
                return 1;
        }
        if (nb_starts_with(line, "r-") && s->e.language && strcasecmp(s->e.language, "R") == 0)
                return reading_refuse(path, line, err,
                                      "is refused: R notebooks run with the R of the executor; "
                                      "name an image in .nbcid.toml, or set environment = "
                                      "\"default\" there");
        (void)nb_fmt(s->runtime, sizeof(s->runtime), "%s names no Python and is not read", path);
        return 1;
}

/* 1: the directory has what we look for. */
static int files_in(struct resolving *s, const char *dir, struct nb_err *err)
{
        int r = 0;

        for (size_t i = 0; i < NB_ARRAY_SIZE(candidates) && r == 0; i++) {
                const struct candidate *c = &candidates[i];
                nb_auto_buf text = NB_BUF(FILE_MAX);
                nb_auto_free char *path = NULL;

                r = fetch(s, dir, c->name, &path, &text, err);
                if (r > 0)
                        r = c->read(s, path, dir, nb_buf_str(&text), text.len, err);
                if (r > 0)
                        because(s, "%s from %s (nearest to the notebook)", c->what, path);
        }
        return r;
}

/* The place of dir: the root's may be elsewhere. */
static int directory_of(const struct resolving *s, const char **dir, struct nb_err *err)
{
        const struct notebook_files *f = s->q->files;

        if (**dir)
                return 0;
        if (f->binder && f->dot_binder)
                return nb_fail(err, NB_E_INVALID,
                               "the repository has both binder/ and .binder/; keep one of them");
        if (f->binder)
                *dir = "binder/";
        else if (f->dot_binder)
                *dir = ".binder/";
        return 0;
}

/* "a/b/" -> "a/" -> "" */
static void parent(char *dir)
{
        char *slash;

        dir[strlen(dir) - 1] = '\0';
        slash = strrchr(dir, '/');
        dir[slash ? slash - dir + 1 : 0] = '\0';
}

static int from_files(struct resolving *s, struct nb_err *err)
{
        nb_auto_free char *here = nb_strdup(s->dir);
        bool runtime = false, last = false;
        int found = 0;

        if (!here)
                return no_memory(err);
        while (!last && !(found && runtime)) {
                const char *dir = here;
                int r = directory_of(s, &dir, err);

                last = !*here;
                if (r == 0 && s->python_only && !found)
                        r = found = files_in(s, dir, err);
                /* a lock was made for its own version, conda installs one */
                runtime = runtime || s->e.conda || *s->python;
                if (r >= 0 && !runtime) {
                        r = runtime_in(s, dir, err);
                        runtime = r > 0;
                }
                if (r < 0)
                        return r;
                if (!last)
                        parent(here);
        }
        return found;
}

/* ---- the whole ---- */

static int begin(struct resolving *s, struct nb_err *err)
{
        const struct nb_environment *head = &s->q->head->environment;
        const struct repo_wish *w = s->q->wish;
        const char *slash = strrchr(s->q->notebook, '/');
        size_t n = slash ? (size_t)(slash - s->q->notebook) + 1 : 0;
        int r = copy(&s->e.kernel, w->kernel ? w->kernel : head->kernel, err);

        if (!nb_fmt(s->dir, sizeof(s->dir), "%.*s", (int)n, s->q->notebook))
                return nb_fail(err, NB_E_LIMIT, "%.200s: the path is too long", s->q->notebook);
        if (r == 0)
                r = copy(&s->e.language, head->language, err);
        if (r == 0)
                r = copy(&s->e.name, head->name, err);
        s->python_only = is_python(&s->e);
        s->reading = (struct reading){
                .allow = s->q->allow, .files = s->q->files, .out = &s->requirements};
        return r;
}

/* It is stored with the job, and one that is too long must not end the build of
 * all; there has to be room for parameters. */
static int check_size(const struct resolving *s, struct nb_err *err)
{
        nb_auto_buf json = NB_BUF(NB_ENVIRONMENT_MAX - ENVIRONMENT_SPARE);
        int r = nb_environment_write(&s->e, &json, err);

        return r < 0 ? nb_wrap(err, r, "%.200s", s->q->notebook) : 0;
}

static int finish(struct resolving *s, struct nb_err *err)
{
        const struct repo_wish *w = s->q->wish;
        const char *kernel_from = w->kernel ? ".nbcid.toml" : s->q->head->kernel_from;
        int r = 0;

        if (s->some) {
                r = copy(&s->e.requirements, nb_buf_str(&s->requirements.text), err);
                if (r == 0 && s->requirements.constraints.len > 0)
                        r = copy(&s->e.constraints, nb_buf_str(&s->requirements.constraints), err);
        }
        if (r == 0 && w->python) {
                because(s, "Python %s from .nbcid.toml", w->python);
                r = copy(&s->e.python, w->python, err);
        } else if (r == 0 && *s->python) {
                r = copy(&s->e.python, s->python, err);
        }
        if (*s->runtime && !w->python)
                because(s, "%s", s->runtime);
        if (kernel_from)
                because(s, "kernel from %s", kernel_from);
        if (s->q->head->requirements_unread) /* else its author waits for them in vain */
                because(s, "metadata.requirements is no list of pip requirements and is not read");
        if (r < 0)
                return r;
        s->why.failed = false; /* it was cut */
        nb_auto_free char *line = nb_utf8_clean(nb_buf_str(&s->why), s->why.len, true);
        s->e.why = line ? nb_utf8_cut(line, 500) : NULL;
        return s->e.why ? check_size(s, err) : no_memory(err);
}

static void resolving_done(struct resolving *s)
{
        requirements_done(&s->requirements);
        nb_environment_done(&s->e);
        nb_buf_done(&s->why);
}

int environment_resolve(const struct environment_question *q, struct nb_environment *ret,
                        struct nb_err *err)
{
        NB_CLEANUP(resolving_done)
        struct resolving s = {.q = q, .requirements = REQUIREMENTS_INIT, .why = NB_BUF(WHY_MAX)};
        int r = begin(&s, err);

        if (r == 0)
                r = from_wish(&s, err);
        if (r == 0)
                r = from_metadata(&s, err);
        if (r == 0)
                r = from_files(&s, err);
        if (r == 0)
                because(&s, "the executor's default");
        if (r >= 0)
                r = finish(&s, err);
        if (r < 0)
                return r;
        *ret = s.e;
        s.e = (struct nb_environment){0};
        return 0;
}
