/* SPDX-License-Identifier: Apache-2.0 */
/* .nbcid.toml, written by whoever may push: bounded, and pure */
#include <nbcid/config.h>

#include <string.h>

#include <nbcid/buf.h>
#include <nbcid/json.h>

#include "table.h"

#include "repo-environment.h"

#define REPO_FILE ".nbcid.toml"
#define REPO_MAX_BYTES ((size_t)256 << 10)

#define AT(type, field) .offset = offsetof(struct type, field)
#define KEYS(keys_) .keys = (keys_), .n_keys = NB_ARRAY_SIZE(keys_)
#define RANGE .min = "1s", .max = "30d"

static const struct key notebooks_keys[] = {
        {"include", KEY_LIST, AT(repo_config, include), .check = check_glob},
        {"exclude", KEY_LIST, AT(repo_config, exclude), .zero = true, .check = check_glob},
};

static const struct key defaults_keys[] = {
        {"executor", KEY_TEXT, AT(repo_config, executor), .check = check_name},
        {"timeout", KEY_DURATION, AT(repo_config, timeout_us), RANGE},
        {"cell_timeout", KEY_DURATION, AT(repo_config, cell_timeout_us), RANGE},
        ENVIRONMENT_KEYS(repo_config),
};

static const struct key job_keys[] = {
        {"notebook", KEY_TEXT, true, AT(repo_job, notebook), .check = check_glob},
        {"timeout", KEY_DURATION, AT(repo_job, timeout_us), RANGE},
        {"cell_timeout", KEY_DURATION, AT(repo_job, cell_timeout_us), RANGE},
        ENVIRONMENT_KEYS(repo_job),
        {"machine", KEY_LATER},
        {"parameters", KEY_JSON, AT(repo_job, parameters)},
};

static const struct choice levels[] = {
        {"off", CHECK_OFF}, {"warn", CHECK_WARN}, {"error", CHECK_ERROR}, {0}};

#define LEVEL(key_, def_) \
        { \
#key_, KEY_CHOICE, AT(repo_config, check.key_), .def = (def_), .choices = levels \
        }

/* as repo_check_default below, which a test compares */
static const struct key check_keys[] = {
        LEVEL(format, "error"),
        LEVEL(syntax, "error"),
        LEVEL(outputs_empty, "off"),
        LEVEL(execution_order, "warn"),
        LEVEL(kernelspec, "off"),
        LEVEL(absolute_paths, "off"),
        LEVEL(secrets, "warn"),
        LEVEL(size, "off"),
        {"max_size", KEY_SIZE, AT(repo_config, check.max_size), .def = "10MiB", .min = "1KiB",
         .max = "1024GiB"},
        LEVEL(parameters, "error"),
        LEVEL(parameters_unknown, "warn"),
};

const struct repo_check repo_check_default = {
        .format = CHECK_ERROR,
        .syntax = CHECK_ERROR,
        .execution_order = CHECK_WARN,
        .secrets = CHECK_WARN,
        .max_size = UINT64_C(10) << 20,
        .parameters = CHECK_ERROR,
        .parameters_unknown = CHECK_WARN,
};

static const struct table repo_tables[] = {
        {"notebooks", KEYS(notebooks_keys)},
        {"defaults", KEYS(defaults_keys)},
        {"job", KEYS(job_keys), .many = true, .offset = offsetof(struct repo_config, jobs),
         .offset_n = offsetof(struct repo_config, n_jobs), .size = sizeof(struct repo_job),
         .max = 200},
        {"pipeline", .later = true, .many = true},
        {"check", KEYS(check_keys)},
};

void repo_config_done(struct repo_config *c)
{
        if (!c)
                return;
        tables_done(repo_tables, NB_ARRAY_SIZE(repo_tables), c);
        *c = (struct repo_config){0};
}

int repo_config_parse(const char *p, size_t n, struct repo_config *ret, struct nb_err *err)
{
        NB_CLEANUP(toml_freep) struct toml_node *root = NULL;
        NB_CLEANUP(reader_done) struct reader r = {.file = REPO_FILE};
        NB_CLEANUP(repo_config_done) struct repo_config c = {0};
        int result;

        if (n > REPO_MAX_BYTES)
                return nb_fail(err, NB_E_LIMIT,
                               REPO_FILE ": %zu bytes are over %zu; make it shorter", n,
                               REPO_MAX_BYTES);
        result = reader_parse(REPO_FILE, p, n, &root, err);
        if (result < 0)
                return result;
        reader_fill(&r, repo_tables, NB_ARRAY_SIZE(repo_tables), root, &c);
        result = reader_result(&r, err);
        if (result < 0)
                return result;
        *ret = c;
        c = (struct repo_config){0};
        return 0;
}

static bool any_matches(const struct nb_strv *globs, const char *path)
{
        for (size_t i = 0; i < globs->n; i++)
                if (nb_glob_match(globs->v[i], path))
                        return true;
        return false;
}

/* Jupyter keeps older copies of notebooks in there. */
static bool is_checkpoint(const char *path)
{
        static const char name[] = ".ipynb_checkpoints";
        const size_t n = sizeof(name) - 1;

        for (const char *p = path; (p = strstr(p, name)); p += n)
                if ((p == path || p[-1] == '/') && p[n] == '/')
                        return true;
        return false;
}

bool repo_config_wants(const struct repo_config *c, const char *path)
{
        if (is_checkpoint(path))
                return false;
        if (!c)
                return true;
        return (c->include.n == 0 || any_matches(&c->include, path)) &&
               !any_matches(&c->exclude, path);
}

static uint64_t lower_limit(uint64_t asked, uint64_t limit)
{
        return asked && asked < limit ? asked : limit;
}

void repo_config_limits(const struct repo_config *c, const struct config *op, const char *path,
                        uint64_t *ret_timeout_us, uint64_t *ret_cell_timeout_us)
{
        uint64_t timeout_us = c ? c->timeout_us : 0;
        uint64_t cell_timeout_us = c ? c->cell_timeout_us : 0;

        /* each of the two by the last that says it */
        for (size_t i = 0; c && i < c->n_jobs; i++) {
                const struct repo_job *j = &c->jobs[i];

                if (!nb_glob_match(j->notebook, path))
                        continue;
                if (j->timeout_us)
                        timeout_us = j->timeout_us;
                if (j->cell_timeout_us)
                        cell_timeout_us = j->cell_timeout_us;
        }
        *ret_timeout_us = lower_limit(timeout_us, op->timeout_us);
        *ret_cell_timeout_us = lower_limit(cell_timeout_us, op->cell_timeout_us);
}

int repo_config_parameters(const struct repo_config *c, const char *path, char **ret,
                           struct nb_err *err)
{
        nb_auto_free char *all = NULL;

        for (size_t i = 0; c && i < c->n_jobs; i++) {
                const struct repo_job *j = &c->jobs[i];
                nb_auto_buf merged = NB_BUF(REPO_MAX_BYTES);
                int r;

                if (!j->parameters || !nb_glob_match(j->notebook, path))
                        continue;
                r = nb_json_merge(all ? all : "{}", j->parameters, &merged, err);
                if (r < 0)
                        return nb_wrap(err, r, REPO_FILE ": parameters of %.*s",
                                       (int)nb_utf8_prefix(path, 200), path);
                free(all);
                all = nb_buf_steal(&merged);
                if (!all)
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        *ret = NB_TAKE(all);
        return 0;
}
