/* SPDX-License-Identifier: Apache-2.0 */
/* what holds between the keys of config.toml */
#include "parse.h"

#include <inttypes.h>
#include <string.h>

#include <nbcid/str.h>

#include "suggest.h"

struct check {
        struct reader *r;
        const struct toml_node *root;
        struct config *c;
};

static const struct table *table_of(const char *name)
{
        size_t i = 0;

        while (!nb_streq(config_tables[i].name, name)) {
                i++;
                nb_assert(i < config_n_tables);
        }
        return &config_tables[i];
}

/* The i-th [[name]] as it stands in the file. */
static const struct toml_node *element(const struct check *k, const char *name, size_t i)
{
        const struct toml_node *n = toml_get(k->root, name);

        nb_assert(n && i < n->n_children);
        return &n->children[i];
}

/* Where the file says the key, or where the table begins when it does not. */
static uint32_t line_of(const struct toml_node *table, const char *key)
{
        const struct toml_node *n = toml_get(table, key);

        return n ? n->line : table->line;
}

/* A default that is not in the table. */
static void set_default(const struct check *k, char **target, char *text_take)
{
        if (!text_take)
                k->r->nomem = true;
        *target = text_take;
}

/* ---- [[forge]] ---- */

/* Both files may be named, but the next one only beside the one in use. */
static void check_rotation(const struct check *k, const struct toml_node *n, const char *now,
                           const char *next)
{
        if (toml_get(n, next) && !toml_get(n, now))
                reader_refuse_key(k->r, table_of("forge"), next, line_of(n, next),
                                  "needs '%s' beside it", now);
}

static void check_forge_secrets(const struct check *k, const struct config_forge *f,
                                const struct toml_node *n)
{
        bool signs = toml_get(n, "signing_token_file");

        check_rotation(k, n, "webhook_secret_file", "webhook_secret_file_next");
        check_rotation(k, n, "signing_token_file", "signing_token_file_next");
        if (signs && f->kind != FORGE_GITLAB)
                reader_refuse_key(k->r, table_of("forge"), "signing_token_file",
                                  line_of(n, "signing_token_file"),
                                  "is for kind = \"gitlab\" only; use webhook_secret_file");
        if (!signs && !toml_get(n, "webhook_secret_file"))
                reader_refuse(k->r, n->line,
                              "[[forge]] '%s' has no webhook_secret_file%s: anybody could send "
                              "it events; write the secret into a file and name it here",
                              f->name, f->kind == FORGE_GITLAB ? " and no signing_token_file" : "");
}

static void check_forge(const struct check *k, size_t i)
{
        static const char *const api_urls[FORGE_KIND__COUNT] = {
                [FORGE_GITHUB] = "https://api.github.com",
                [FORGE_GITLAB] = "https://gitlab.com",
        };
        static const char *const clone_bases[FORGE_KIND__COUNT] = {
                [FORGE_GITHUB] = "https://github.com",
                [FORGE_GITLAB] = "https://gitlab.com",
        };
        struct config_forge *f = &k->c->forges[i];
        const struct toml_node *n = element(k, "forge", i);

        if (config_find_forge(k->c, f->name) != f)
                reader_refuse_key(k->r, table_of("forge"), "name", line_of(n, "name"),
                                  "there is a [[forge]] '%s' already; give each its own name",
                                  f->name);
        check_forge_secrets(k, f, n);
        if (!f->api_url)
                set_default(k, &f->api_url, nb_strdup(api_urls[f->kind]));
        if (!f->clone_base)
                set_default(k, &f->clone_base, nb_strdup(clone_bases[f->kind]));
        if (!f->clone_base || !nb_starts_with(f->clone_base, "ssh:"))
                return;
        if (!toml_get(n, "ssh_key_file") || !f->ssh_host_key)
                reader_refuse_key(k->r, table_of("forge"), "clone_base", line_of(n, "clone_base"),
                                  "ssh needs '%s' too; add it",
                                  f->ssh_host_key ? "ssh_key_file" : "ssh_host_key");
}

/* ---- [[repository]] ---- */

static void refuse_unknown(const struct check *k, const struct toml_node *n, const char *key,
                           const char *name, const struct suggestion *best)
{
        uint32_t line = line_of(n, key);

        if (best->found)
                reader_refuse_key(k->r, table_of("repository"), key, line,
                                  "there is no [[%s]] '%s'; did you mean '%s'?", key, name,
                                  best->found);
        else
                reader_refuse_key(k->r, table_of("repository"), key, line,
                                  "there is no [[%s]] '%s'; add one of that name", key, name);
}

static void check_repository_names(const struct check *k, const struct config_repository *repo,
                                   const struct toml_node *n)
{
        struct suggestion forge = SUGGESTION(repo->forge), exec = SUGGESTION(repo->executor);

        if (!config_find_forge(k->c, repo->forge)) {
                for (size_t i = 0; i < k->c->n_forges; i++)
                        suggestion_offer(&forge, k->c->forges[i].name);
                refuse_unknown(k, n, "forge", repo->forge, &forge);
        }
        if (!config_find_executor(k->c, repo->executor)) {
                for (size_t i = 0; i < k->c->n_executors; i++)
                        suggestion_offer(&exec, k->c->executors[i].name);
                refuse_unknown(k, n, "executor", repo->executor, &exec);
        }
}

/* The first that matches is taken: what stands behind it would never be. */
static void check_repository_reached(const struct check *k, size_t i)
{
        const struct config_repository *repo = &k->c->repositories[i];
        bool pattern = strpbrk(repo->name, "*?[\\");

        for (size_t j = 0; j < i; j++) {
                const struct config_repository *before = &k->c->repositories[j];
                bool covered = pattern ? nb_streq(before->name, repo->name)
                                       : nb_glob_match(before->name, repo->name);

                if (!covered || !nb_streq(before->forge, repo->forge))
                        continue;
                reader_refuse_key(k->r, table_of("repository"), "name",
                                  line_of(element(k, "repository", i), "name"),
                                  "is taken by the [[repository]] '%s' on line %" PRIu32
                                  "; put this one above it or remove it",
                                  before->name, element(k, "repository", j)->line);
                return;
        }
}

static void check_repository_table(const struct check *k, size_t i)
{
        struct config_repository *repo = &k->c->repositories[i];

        if (!repo->executor)
                set_default(k, &repo->executor, nb_strdup(k->c->executors[0].name));
        if (!repo->executor)
                return;
        check_repository_names(k, repo, element(k, "repository", i));
        check_repository_reached(k, i);
}

/* ---- [[executor]] and [server] ---- */

static bool run_has(const struct nb_strv *run, const char *a, const char *b)
{
        for (size_t i = 0; i < run->n; i++)
                if (strstr(run->v[i], a) || strstr(run->v[i], b))
                        return true;
        return false;
}

static void check_run(const struct check *k, const char *table, const struct toml_node *n,
                      const struct nb_strv *run)
{
        const struct table shown = {.name = table, .many = true};

        if (run->n > 0 &&
            !(run_has(run, "{input}", "{input_uri}") && run_has(run, "{output}", "{output_uri}")))
                reader_refuse_key(k->r, &shown, "run", line_of(n, "run"),
                                  "names no {input} or no {output}; write it as in [\"papermill\", "
                                  "\"{input}\", \"{output}\"]");
}

/* A fallback is as the executor but for what it says; a machine and its
 * accelerators are one matter. */
static void fill_fallback(const struct check *k, const struct config_vertex *v,
                          struct config_place *p, const struct toml_node *n)
{
        static const struct table shown = {.name = "executor.fallback", .many = true};
        const bool own = p->machine_type || p->accelerator_type;

        if (toml_get(n, "accelerator_count") && !p->accelerator_type)
                reader_refuse_key(k->r, &shown, "accelerator_count",
                                  line_of(n, "accelerator_count"),
                                  "needs 'accelerator_type' beside it");
        if (!own && !p->region && !toml_get(n, "spot"))
                reader_refuse(k->r, n->line,
                              "[[executor.fallback]] is the executor's own machine; say another "
                              "region, machine_type, accelerator_type or spot");
        if (p->region && !nb_streq(p->region, v->region) && v->api_url &&
            !strstr(v->api_url, "{region}"))
                reader_refuse_key(k->r, &shown, "region", line_of(n, "region"),
                                  "is another one than that of the executor, whose api_url has "
                                  "no {region} in it");
        if (!toml_get(n, "spot"))
                p->spot = v->spot;
        if (!own && v->accelerator_type) {
                set_default(k, &p->accelerator_type, nb_strdup(v->accelerator_type));
                p->accelerator_count = v->accelerator_count;
        }
        if (!p->machine_type)
                set_default(k, &p->machine_type, nb_strdup(v->machine_type));
        if (!p->region && v->region)
                set_default(k, &p->region, nb_strdup(v->region));
}

static void check_vertex(const struct check *k, struct config_executor *x,
                         const struct toml_node *n)
{
        static const char *const needed[] = {"project", "region", "bucket"};
        struct config_vertex *v = &x->vertex;

        for (size_t i = 0; i < NB_ARRAY_SIZE(needed); i++)
                if (!toml_get(n, needed[i]))
                        reader_refuse(k->r, n->line,
                                      "[[executor]] '%s' has no key '%s'; kind = \"vertex\" "
                                      "needs it",
                                      x->name, needed[i]);
        if (toml_get(n, "accelerator_count") && !v->accelerator_type)
                reader_refuse_key(k->r, table_of("executor"), "accelerator_count",
                                  line_of(n, "accelerator_count"),
                                  "needs 'accelerator_type' beside it");
        check_run(k, "executor", n, &v->run);
        for (size_t i = 0; i < v->n_rules; i++)
                check_run(k, "executor.rule", &toml_get(n, "rule")->children[i], &v->rules[i].run);
        for (size_t i = 0; i < v->n_fallbacks; i++)
                fill_fallback(k, v, &v->fallbacks[i], &toml_get(n, "fallback")->children[i]);
}

/* What a kind does not read is a mistake, not a wish. */
static void check_kind(const struct check *k, struct config_executor *x, const struct toml_node *n)
{
        static const char *const far[] = {"project",
                                          "region",
                                          "bucket",
                                          "credentials_file",
                                          "machine_type",
                                          "accelerator_type",
                                          "accelerator_count",
                                          "container_uri",
                                          "image",
                                          "service_account",
                                          "network",
                                          "api_url",
                                          "storage_url",
                                          "token_url",
                                          "spot",
                                          "disk_type",
                                          "disk_gb",
                                          "run",
                                          "poll_interval",
                                          "submissions_per_minute",
                                          "queue_timeout",
                                          "logging_url",
                                          "workspace",
                                          "max_workspace",
                                          "fallback",
                                          "rule"};

        if (nb_streq(x->kind, "vertex")) {
                check_vertex(k, x, n);
                return;
        }
        for (size_t i = 0; i < NB_ARRAY_SIZE(far); i++)
                if (toml_get(n, far[i]))
                        reader_refuse_key(k->r, table_of("executor"), far[i], line_of(n, far[i]),
                                          "is for kind = \"vertex\" only; remove it");
}

static void check_executors(const struct check *k)
{
        struct config *c = k->c;

        for (size_t i = 0; i < c->n_executors; i++)
                check_kind(k, &c->executors[i], element(k, "executor", i));

        for (size_t i = 0; i < c->n_executors; i++)
                if (config_find_executor(c, c->executors[i].name) != &c->executors[i])
                        reader_refuse_key(k->r, table_of("executor"), "name",
                                          line_of(element(k, "executor", i), "name"),
                                          "there is an [[executor]] '%s' already; give each its "
                                          "own name",
                                          c->executors[i].name);
        if (c->n_executors)
                return;
        free(c->executors); /* executor = [] leaves an array without elements */
        c->executors = nb_alloc_array(1, sizeof(*c->executors));
        if (!c->executors) {
                k->r->nomem = true;
                return;
        }
        c->n_executors = 1;
        set_default(k, &c->executors[0].name, nb_strdup("local"));
        reader_fill_defaults(k->r, table_of("executor"), &c->executors[0]);
}

static void check_server(const struct check *k)
{
        const struct toml_node *n = toml_get(k->root, "server");

        if (k->c->public_url)
                return;
        if (n && nb_starts_with(k->c->listen, "unix:"))
                reader_refuse_key(k->r, table_of("server"), "listen", line_of(n, "listen"),
                                  "a Unix socket has no URL for links in statuses; add public_url");
        else
                set_default(k, &k->c->public_url, nb_asprintf("http://%s", k->c->listen));
}

void config_check(struct reader *r, const struct toml_node *root, struct config *c)
{
        const struct check k = {r, root, c};

        check_server(&k);
        check_executors(&k);
        for (size_t i = 0; i < c->n_forges; i++)
                check_forge(&k, i);
        for (size_t i = 0; i < c->n_repositories && !r->nomem; i++)
                check_repository_table(&k, i);
}
