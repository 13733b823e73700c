/* SPDX-License-Identifier: Apache-2.0 */
/* the table of config.toml, and the life of what was read by it */
#include <nbcid/config.h>

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>

#include <nbcid/fs.h>

#include "parse.h"
#include "repo-environment.h"

const char *forge_kind_name(enum forge_kind k)
{
        static const char *const names[FORGE_KIND__COUNT] = {
                [FORGE_GITHUB] = "github",
                [FORGE_GITLAB] = "gitlab",
        };

        nb_assert((unsigned)k < FORGE_KIND__COUNT);
        return names[k];
}

static const struct choice forge_kinds[] = {
        {"github", FORGE_GITHUB}, {"gitlab", FORGE_GITLAB}, {"gitea", -1},
        {"forgejo", -1},          {"bitbucket", -1},        {0},
};
static const struct choice executor_kinds[] = {
        {"local", 0}, {"slurm", -1}, {"kubernetes", -1}, {"vertex", 0}, {0},
};
static const struct choice sandbox_kinds[] = {
        {"auto", SANDBOX_AUTO},
        {"bubblewrap", SANDBOX_BUBBLEWRAP},
        {"none", SANDBOX_NONE},
        {0},
};

const char *sandbox_kind_name(enum sandbox_kind k)
{
        for (size_t i = 0; sandbox_kinds[i].name; i++)
                if (sandbox_kinds[i].value == (int)k)
                        return sandbox_kinds[i].name;
        nb_assert(false); /* each kind has a name */
        return NULL;
}

int sandbox_kind_parse(const char *s, enum sandbox_kind *ret, struct nb_err *err)
{
        for (size_t i = 0; sandbox_kinds[i].name; i++)
                if (nb_streq(sandbox_kinds[i].name, s)) {
                        *ret = (enum sandbox_kind)sandbox_kinds[i].value;
                        return 0;
                }
        return nb_fail(err, NB_E_INVALID, "\"%.100s\" is none of auto, bubblewrap, none", s);
}

static const struct choice workspace_kinds[] = {{"none", WORKSPACE_NONE},
                                                {"archive", WORKSPACE_ARCHIVE},
                                                {"folder", WORKSPACE_FOLDER},
                                                {0}};

const char *workspace_kind_name(enum workspace_kind k)
{
        nb_assert((unsigned)k < WORKSPACE_KIND__COUNT);
        return workspace_kinds[k].name;
}

bool workspace_kind_parse(const char *s, enum workspace_kind *ret)
{
        for (size_t i = 0; workspace_kinds[i].name; i++)
                if (nb_streq(workspace_kinds[i].name, s)) {
                        *ret = (enum workspace_kind)workspace_kinds[i].value;
                        return true;
                }
        return false;
}

static const struct choice container_kinds[] = {{"none", false}, {"podman", true}, {0}};
static const struct choice fallbacks[] = {{"refuse", false}, {"default", true}, {0}};
static const struct choice entrypoints[] = {{"replace", false}, {"image", true}, {0}};
static const struct choice readers[] = {{"public", false}, {"token", true}, {0}};

/* ---- secrets that must be fit for where they go ---- */

/* RFC 9110 section 5.5: it becomes part of a header. */
static const char *check_token(const struct nb_secret *s)
{
        for (size_t i = 0; i < s->n; i++)
                if (s->data[i] <= 0x20 || s->data[i] >= 0x7f)
                        return "the file holds more than one word of ASCII; leave only the token "
                               "in it";
        return NULL;
}

/* Standard Webhooks, section "Signature scheme": whsec_ and base64. */
static const char *check_signing_token(const struct nb_secret *s)
{
        static const char prefix[] = "whsec_";
        size_t n = sizeof(prefix) - 1;
        nb_auto_buf key = NB_BUF(64 << 10);
        const char *wrong = NULL;

        if (s->n <= n || memcmp(s->data, prefix, n) != 0 ||
            nb_base64_decode(s->data + n, s->n - n, &key, NULL) < 0)
                wrong = "the file does not hold a signing token, which is whsec_ and base64; an "
                        "older secret token belongs into webhook_secret_file";
        if (key.data)
                nb_wipe(key.data, key.len);
        return wrong;
}

static const char *check_private_key(const struct nb_secret *s)
{
        if (!nb_starts_with(s->data, "-----BEGIN "))
                return "the file does not hold a private key in PEM or OpenSSH form";
        return NULL;
}

static const char *check_cloud_key(const struct nb_secret *s)
{
        return nb_starts_with(s->data, "{") ? NULL
                                            : "the file does not hold a key of Google Cloud, which "
                                              "is JSON; download it again";
}

/* ---- the table ---- */

#define AT(type, field) .offset = offsetof(struct type, field)

static const struct key server_keys[] = {
        {"listen", KEY_TEXT, AT(config, listen), .def = "127.0.0.1:8080", .check = check_listen},
        {"public_url", KEY_URL, AT(config, public_url), .check = check_web_url},
        {"state_dir", KEY_TEXT, AT(config, state_dir), .def = "/var/lib/nbcid",
         .check = check_absolute},
        {"max_body", KEY_SIZE, AT(config, max_body), "25MiB", "1KiB", "1GiB"},
        {"max_connections", KEY_COUNT, AT(config, max_connections), "512", "1", "65536"},
        {"max_connections_per_ip", KEY_COUNT, AT(config, max_connections_per_ip), "64", "1",
         "65536", .zero = true},
        {"request_timeout", KEY_DURATION, AT(config, request_timeout_us), "10s", "100ms", "10m"},
        {"max_backlog", KEY_COUNT, AT(config, max_backlog), "10000", "1", "10000000"},
        {"min_free", KEY_SIZE, AT(config, min_free), "256MiB", "0B", "1024TiB"},
        {"drain_timeout", KEY_DURATION, AT(config, drain_timeout_us), "0s", "0s", "1d"},
};

static const struct key auth_keys[] = {
        {"operator_token_file", KEY_SECRET, AT(config, operator_token),
         .check_secret = check_token},
        {"read", KEY_SWITCH, AT(config, read_needs_token), .def = "public", .choices = readers},
};

static const struct key forge_keys[] = {
        {"name", KEY_TEXT, true, AT(config_forge, name), .check = check_name},
        {"kind", KEY_CHOICE, true, AT(config_forge, kind), .choices = forge_kinds},
        {"api_url", KEY_URL, AT(config_forge, api_url), .check = check_web_url},
        {"clone_base", KEY_URL, AT(config_forge, clone_base), .check = check_clone_base},
        {"webhook_secret_file", KEY_SECRET, AT(config_forge, secrets[0])},
        {"webhook_secret_file_next", KEY_SECRET, AT(config_forge, secrets[1])},
        {"signing_token_file", KEY_SECRET, AT(config_forge, signing[0]),
         .check_secret = check_signing_token},
        {"signing_token_file_next", KEY_SECRET, AT(config_forge, signing[1]),
         .check_secret = check_signing_token},
        {"token_file", KEY_SECRET, AT(config_forge, token), .check_secret = check_token},
        {"ssh_key_file", KEY_SECRET, AT(config_forge, ssh_key), .check_secret = check_private_key},
        {"ssh_host_key", KEY_TEXT, AT(config_forge, ssh_host_key), .check = check_host_key},
        {"submodule_hosts", KEY_LIST, AT(config_forge, submodule_hosts), .zero = true,
         .check = check_host},
        {"tags", KEY_BOOL, AT(config_forge, tags), .def = "false"},
};

static const struct key repository_keys[] = {
        {"forge", KEY_TEXT, true, AT(config_repository, forge), .check = check_name},
        {"name", KEY_TEXT, true, AT(config_repository, name), .check = check_repository},
        {"branches", KEY_LIST, AT(config_repository, branches), .def = "**", .check = check_glob},
        {"executor", KEY_TEXT, AT(config_repository, executor), .check = check_name},
};

static const struct key limits_keys[] = {
        {"timeout", KEY_DURATION, AT(config, timeout_us), "2h", "10ms", "30d"},
        {"cell_timeout", KEY_DURATION, AT(config, cell_timeout_us), "30m", "10ms", "30d"},
        {"retries", KEY_COUNT, AT(config, retries), "2", "0", "10"},
        {"jobs_per_repository", KEY_COUNT, AT(config, jobs_per_repository), "4", "1", "100000"},
        {"status_per_notebook", KEY_COUNT, AT(config, status_per_notebook), "20", "0", "1000"},
        {"fetch_timeout", KEY_DURATION, AT(config, fetch_timeout_us), "10m", "10ms", "1d"},
        {"max_repository", KEY_SIZE, AT(config, max_repository), "4GiB", "4KiB", "1024TiB"},
        {"max_notebook", KEY_SIZE, AT(config, max_notebook), "256MiB", "1KiB", "4GiB"},
        {"max_output", KEY_SIZE, AT(config, max_output), "256MiB", "1KiB", "1TiB"},
        {"max_notebooks", KEY_COUNT, AT(config, max_notebooks), "1000", "1", "100000"},
};

static const struct key fallback_keys[] = {
        {"region", KEY_TEXT, AT(config_place, region), .check = check_cloud_name},
        {"machine_type", KEY_TEXT, AT(config_place, machine_type), .check = check_cloud_name},
        {"accelerator_type", KEY_TEXT, AT(config_place, accelerator_type),
         .check = check_accelerator},
        {"accelerator_count", KEY_COUNT, AT(config_place, accelerator_count), "1", "1", "64"},
        {"spot", KEY_BOOL, AT(config_place, spot), .def = "false"},
};

static const struct key rule_keys[] = {
        {"image", KEY_TEXT, true, AT(config_rule, image), .check = check_glob},
        {"run", KEY_LIST, true, AT(config_rule, run), .check = check_run_word},
        {"entrypoint", KEY_SWITCH, AT(config_rule, entrypoint), .def = "replace",
         .choices = entrypoints},
};

#define KEYS(keys_) .keys = (keys_), .n_keys = NB_ARRAY_SIZE(keys_)
/* [[name]] below an [[executor]] */
#define IN_VERTEX(field, count) \
        .many = true, .offset = offsetof(struct config_executor, vertex.field), \
        .offset_n = offsetof(struct config_executor, vertex.n_##field), \
        .size = sizeof(*((struct config_vertex *)NULL)->field), .max = (count)

static const struct table fallback_table = {"executor.fallback", KEYS(fallback_keys),
                                            IN_VERTEX(fallbacks, 16)};
static const struct table rule_table = {"executor.rule", KEYS(rule_keys), IN_VERTEX(rules, 64)};

static const struct key executor_keys[] = {
        {"name", KEY_TEXT, true, AT(config_executor, name), .check = check_name},
        {"kind", KEY_TEXT, AT(config_executor, kind), .def = "local", .choices = executor_kinds},
        {"slots", KEY_COUNT, AT(config_executor, slots), "2", "1", "100000"},
        {"memory_max", KEY_SIZE, AT(config_executor, memory_max), "4GiB", "16MiB", "1024TiB",
         .zero = true},
        {"processes_max", KEY_COUNT, AT(config_executor, processes_max), "512", "16", "4194304"},
        {"sandbox", KEY_CHOICE, AT(config_executor, sandbox), .def = "auto",
         .choices = sandbox_kinds},
        {"python", KEY_TEXT, AT(config_executor, python), .def = "python3"},
        {"containers", KEY_SWITCH, AT(config_executor, podman), .def = "none",
         .choices = container_kinds},
        {"image_fallback", KEY_SWITCH, AT(config_executor, image_fallback), .def = "refuse",
         .choices = fallbacks},
        {"project", KEY_TEXT, AT(config_executor, vertex.project), .check = check_cloud_name},
        {"region", KEY_TEXT, AT(config_executor, vertex.region), .check = check_cloud_name},
        {"bucket", KEY_TEXT, AT(config_executor, vertex.bucket), .check = check_bucket},
        {"credentials_file", KEY_SECRET, AT(config_executor, vertex.credentials),
         .check_secret = check_cloud_key},
        {"machine_type", KEY_TEXT, AT(config_executor, vertex.machine_type), .def = "n1-standard-4",
         .check = check_cloud_name},
        {"accelerator_type", KEY_TEXT, AT(config_executor, vertex.accelerator_type),
         .check = check_accelerator},
        {"accelerator_count", KEY_COUNT, AT(config_executor, vertex.accelerator_count), "1", "1",
         "64"},
        {"container_uri", KEY_TEXT, AT(config_executor, vertex.container_uri),
         .check = check_image},
        {"image", KEY_TEXT, AT(config_executor, vertex.image), .check = check_image},
        {"service_account", KEY_TEXT, AT(config_executor, vertex.service_account),
         .check = check_account},
        {"network", KEY_TEXT, AT(config_executor, vertex.network), .check = check_network},
        {"api_url", KEY_URL, AT(config_executor, vertex.api_url), .check = check_web_url},
        {"storage_url", KEY_URL, AT(config_executor, vertex.storage_url), .check = check_web_url},
        {"token_url", KEY_URL, AT(config_executor, vertex.token_url), .check = check_web_url},
        {"spot", KEY_BOOL, AT(config_executor, vertex.spot), .def = "false"},
        {"disk_type", KEY_TEXT, AT(config_executor, vertex.disk_type), .def = "pd-ssd",
         .check = check_cloud_name},
        {"disk_gb", KEY_COUNT, AT(config_executor, vertex.disk_gb), "100", "100", "64000"},
        {"run", KEY_LIST, AT(config_executor, vertex.run), .check = check_run_word},
        {"poll_interval", KEY_DURATION, AT(config_executor, vertex.poll_us), "5s", "50ms", "60s"},
        {"submissions_per_minute", KEY_COUNT, AT(config_executor, vertex.submissions_per_minute),
         "58", "1", "100000"},
        {"queue_timeout", KEY_DURATION, AT(config_executor, vertex.queue_max_us), "1d", "1s",
         "30d"},
        {"logging_url", KEY_URL, AT(config_executor, vertex.logging_url), .check = check_web_url},
        {"workspace", KEY_CHOICE, AT(config_executor, vertex.workspace), .def = "none",
         .choices = workspace_kinds},
        {"max_workspace", KEY_SIZE, AT(config_executor, vertex.max_workspace), "2GiB", "1MiB",
         "1TiB"},
        {"fallback", KEY_TABLES, .tables = &fallback_table},
        {"rule", KEY_TABLES, .tables = &rule_table},
};

static const struct key environments_keys[] = {
        {"max_size", KEY_SIZE, AT(config, environments_max), "20GiB", "1MiB", "1024TiB"},
        {"build_timeout", KEY_DURATION, AT(config, build_timeout_us), "30m", "1s", "1d"},
        {"index_url", KEY_URL, AT(config, index_url), .check = check_index_url},
        {"pip_config", KEY_TEXT, AT(config, pip_config), .check = check_absolute},
        {"allow", KEY_LIST, AT(config, allow), .zero = true, .check = check_allowed},
};

static const struct key retention_keys[] = {
        {"builds", KEY_DURATION, AT(config, keep_builds_us), "90d", "1s", "36500d"},
        {"artifacts", KEY_DURATION, AT(config, keep_artifacts_us), "30d", "1s", "36500d"},
};

#define MANY(field, count) \
        .many = true, .offset = offsetof(struct config, field), \
        .offset_n = offsetof(struct config, n_##field), \
        .size = sizeof(*((struct config *)NULL)->field), .max = (count)

const struct table config_tables[] = {
        {"server", KEYS(server_keys)},
        {"auth", KEYS(auth_keys)},
        {"forge", KEYS(forge_keys), MANY(forges, 64)},
        {"repository", KEYS(repository_keys), MANY(repositories, 10000)},
        {"limits", KEYS(limits_keys)},
        {"executor", KEYS(executor_keys), MANY(executors, 64)},
        {"environments", KEYS(environments_keys)},
        {"retention", KEYS(retention_keys)},
};
const size_t config_n_tables = NB_ARRAY_SIZE(config_tables);

/* ---- reading ---- */

struct holder {
        struct config config; /* first, so that one pointer is both */
        atomic_uint refs;
};

int config_parse(const char *file, const char *p, size_t n, bool secrets, struct config **ret,
                 struct nb_err *err)
{
        NB_CLEANUP(toml_freep) struct toml_node *root = NULL;
        NB_CLEANUP(reader_done) struct reader r = {.file = file};
        NB_CLEANUP(config_unrefp) struct config *c = NULL;
        struct holder *h;
        int result;

        result = reader_parse(file, p, n, &root, err);
        if (result < 0)
                return result;
        h = calloc(1, sizeof(*h));
        if (!h)
                return nb_fail(err, NB_E_NOMEM, "%s: out of memory", file);
        atomic_init(&h->refs, 1);
        c = &h->config;
        c->file = nb_strdup(file);
        if (!c->file)
                r.nomem = true;
        reader_fill(&r, config_tables, config_n_tables, root, c);
        /* each step trusts what the one before has found fine */
        result = reader_result(&r, err);
        if (result < 0)
                return result;
        config_check(&r, root, c);
        result = reader_result(&r, err);
        if (result < 0)
                return result;
        if (secrets)
                config_read_secrets(&r, &c->secret_files);
        result = reader_result(&r, err);
        if (result < 0)
                return result;
        *ret = NB_TAKE(c);
        return 0;
}

int config_load(const char *path, struct config **ret, struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(CONFIG_MAX_BYTES);
        int r = nb_read_file(AT_FDCWD, path, &text, err);

        if (r < 0)
                return nb_wrap(err, r, "configuration");
        return config_parse(path, nb_buf_str(&text), text.len, true, ret, err);
}

struct config *config_ref(struct config *c)
{
        atomic_fetch_add_explicit(&((struct holder *)c)->refs, 1, memory_order_relaxed);
        return c;
}

struct config *config_unref(struct config *c)
{
        struct holder *h = (struct holder *)c;

        if (!c || atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) != 1)
                return NULL;
        tables_done(config_tables, config_n_tables, c);
        nb_strv_done(&c->secret_files);
        free(c->file);
        free(h);
        return NULL;
}

/* ---- asking ---- */

const struct config_forge *config_find_forge(const struct config *c, const char *name)
{
        for (size_t i = 0; i < c->n_forges; i++)
                if (nb_streq(c->forges[i].name, name))
                        return &c->forges[i];
        return NULL;
}

const struct config_executor *config_find_executor(const struct config *c, const char *name)
{
        for (size_t i = 0; i < c->n_executors; i++)
                if (nb_streq(c->executors[i].name, name))
                        return &c->executors[i];
        return NULL;
}

const struct config_repository *config_find_repository(const struct config *c, const char *forge,
                                                       const char *name)
{
        for (size_t i = 0; i < c->n_repositories; i++)
                if (nb_streq(c->repositories[i].forge, forge) &&
                    nb_glob_match(c->repositories[i].name, name))
                        return &c->repositories[i];
        return NULL;
}

struct config_place config_vertex_place(const struct config_vertex *v, size_t i)
{
        return i == 0 ? (struct config_place){.region = v->region,
                                              .machine_type = v->machine_type,
                                              .accelerator_type = v->accelerator_type,
                                              .accelerator_count = v->accelerator_count,
                                              .spot = v->spot}
                      : v->fallbacks[i - 1];
}

bool config_branch_wanted(const struct config_repository *r, const char *branch)
{
        for (size_t i = 0; i < r->branches.n; i++)
                if (nb_glob_match(r->branches.v[i], branch))
                        return true;
        return false;
}
