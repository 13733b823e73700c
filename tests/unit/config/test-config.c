/* SPDX-License-Identifier: Apache-2.0 */
#include "nbtest.h"

#include <nbcid/buf.h>
#include <nbcid/config.h>
#include <nbcid/num.h>

#include "../../../src/config/parse.h"
#include "../../../src/config/suggest.h"

#define S NB_US_PER_S
#define GITHUB "[[forge]]\nname = \"gh\"\nkind = \"github\"\nwebhook_secret_file = \"hook\"\n"
#define VERTEX "[[executor]]\nname = \"v\"\nkind = \"vertex\"\n"
#define VERTEX_FULL VERTEX "project = \"p\"\nregion = \"r\"\nbucket = \"bkt\"\n"

static int parse(const char *text, struct config **ret, struct nb_err *err)
{
        return config_parse("c.toml", text, strlen(text), false, ret, err);
}

TEST(an_empty_file_is_all_defaults)
{
        NB_CLEANUP(config_unrefp) struct config *c = NULL;
        struct nb_err err;

        CHECK_OK(parse("", &c, &err), &err);
        CHECK_STR(c->file, "c.toml");
        CHECK_STR(c->listen, "127.0.0.1:8080");
        CHECK_STR(c->public_url, "http://127.0.0.1:8080");
        CHECK_STR(c->state_dir, "/var/lib/nbcid");
        CHECK_INT(c->max_body, 25 << 20);
        CHECK_INT(c->max_connections, 512);
        CHECK_INT(c->max_connections_per_ip, 64);
        CHECK_INT(c->request_timeout_us, 10 * S);
        CHECK_INT(c->max_backlog, 10000);
        CHECK_INT(c->min_free, 256 << 20);
        CHECK_INT(c->drain_timeout_us, 0);
        CHECK_INT(c->operator_token.n, 0);
        CHECK(!c->read_needs_token);
        CHECK_INT(c->timeout_us, 7200 * S);
        CHECK_INT(c->cell_timeout_us, 1800 * S);
        CHECK_INT(c->retries, 2);
        CHECK_INT(c->jobs_per_repository, 4);
        CHECK_INT(c->status_per_notebook, 20);
        CHECK_INT(c->fetch_timeout_us, 600 * S);
        CHECK_INT(c->max_repository, INT64_C(4) << 30);
        CHECK_INT(c->max_notebook, 256 << 20);
        CHECK_INT(c->max_output, 256 << 20);
        CHECK_INT(c->max_notebooks, 1000);
        CHECK_INT(c->keep_builds_us, 90 * 86400 * S);
        CHECK_INT(c->keep_artifacts_us, 30 * 86400 * S);
        CHECK_INT(c->n_forges, 0);
        CHECK_INT(c->n_repositories, 0);
        CHECK_INT(c->n_executors, 1);
        CHECK_STR(c->executors[0].name, "local");
        CHECK_STR(c->executors[0].kind, "local");
        CHECK_INT(c->executors[0].slots, 2);
        CHECK_INT(c->executors[0].memory_max, INT64_C(4) << 30);
        CHECK_INT(c->executors[0].processes_max, 512);
        CHECK_INT(c->executors[0].sandbox, SANDBOX_AUTO);
        CHECK_STR(c->executors[0].python, "python3");
        CHECK(!c->executors[0].podman && !c->executors[0].image_fallback);
        CHECK_INT(c->environments_max, INT64_C(20) << 30);
        CHECK_INT(c->build_timeout_us, INT64_C(1800) * 1000000);
        CHECK(!c->index_url && !c->pip_config);
        CHECK_INT(c->allow.n, 0);
}

TEST(forges_have_defaults_by_kind)
{
        NB_CLEANUP(config_unrefp) struct config *c = NULL;
        struct nb_err err;
        static const char text[] =
                GITHUB "[[forge]]\nname = \"gl\"\nkind = \"gitlab\"\nsigning_token_file = \"s\"\n"
                       "[[forge]]\nname = \"own\"\nkind = \"gitlab\"\nwebhook_secret_file = \"s\"\n"
                       "api_url = \"http://[::1]:8080/gitlab///\"\nclone_base = "
                       "\"file:///srv/git/\"\ntags = true\nsubmodule_hosts = [\"a.b\", \"c:22\"]\n";

        CHECK_OK(parse(text, &c, &err), &err);
        CHECK_INT(c->n_forges, 3);
        CHECK_INT(c->forges[0].kind, FORGE_GITHUB);
        CHECK_STR(c->forges[0].api_url, "https://api.github.com");
        CHECK_STR(c->forges[0].clone_base, "https://github.com");
        CHECK(!c->forges[0].tags);
        CHECK_INT(c->forges[1].kind, FORGE_GITLAB);
        CHECK_STR(c->forges[1].api_url, "https://gitlab.com");
        CHECK_STR(c->forges[1].clone_base, "https://gitlab.com");
        CHECK_STR(c->forges[2].api_url, "http://[::1]:8080/gitlab");
        CHECK_STR(c->forges[2].clone_base, "file:///srv/git");
        CHECK(c->forges[2].tags);
        CHECK_INT(c->forges[2].submodule_hosts.n, 2);
        CHECK_STR(c->forges[2].submodule_hosts.v[1], "c:22");
        CHECK(config_find_forge(c, "gl") == &c->forges[1]);
        CHECK(!config_find_forge(c, "g"));
        CHECK_STR(forge_kind_name(FORGE_GITHUB), "github");
        CHECK_STR(forge_kind_name(FORGE_GITLAB), "gitlab");
}

TEST(repositories_and_branches_are_globs)
{
        NB_CLEANUP(config_unrefp) struct config *c = NULL;
        struct nb_err err;
        const struct config_repository *r;
        static const char text[] =
                "[[executor]]\nname = \"big\"\n[[executor]]\nname = \"small\"\n" GITHUB
                "[[repository]]\nforge = \"gh\"\nname = \"acme/notebooks\"\n"
                "branches = [\"main\", \"release/*\"]\nexecutor = \"small\"\n"
                "[[repository]]\nforge = \"gh\"\nname = \"acme/*\"\n";

        CHECK_OK(parse(text, &c, &err), &err);
        r = config_find_repository(c, "gh", "acme/notebooks");
        CHECK(r == &c->repositories[0]);
        CHECK_STR(r->executor, "small");
        CHECK(config_branch_wanted(r, "main"));
        CHECK(config_branch_wanted(r, "release/1"));
        CHECK(!config_branch_wanted(r, "release/1/2"));
        CHECK(!config_branch_wanted(r, "mainly"));
        r = config_find_repository(c, "gh", "acme/other");
        CHECK(r == &c->repositories[1]);
        CHECK_STR(r->executor, "big");
        CHECK(config_branch_wanted(r, "feature/x/y"));
        CHECK(!config_find_repository(c, "gh", "acme/group/other"));
        CHECK(!config_find_repository(c, "gl", "acme/notebooks"));
        CHECK(config_find_executor(c, "small") == &c->executors[1]);
        CHECK(!config_find_executor(c, "local"));
}

#define REPO(rest) GITHUB "[[repository]]\nforge = \"gh\"\nname = \"a/b\"\n" rest

static const struct {
        const char *text, *said;
} bad[] = {
        /* not TOML */
        {"[server]\nlisten = \n", "c.toml:2:"},
        {"[server\n", "c.toml:1:"},
        {"[server]\n[server]\n", "c.toml:2:"},
        {"[auth]\nread = \"public\"\nread = \"token\"\n", "c.toml:3:"},
        {"[auth]\nread = \"\xff\"\n", "c.toml:2:"},
        /* not known */
        {"\n[sever]\n", "c.toml:2: table 'sever' is not known; did you mean 'server'?"},
        {"[[forges]]\n", "c.toml:1: table 'forges' is not known; did you mean 'forge'?"},
        {"[bananas]\n", "c.toml:1: table 'bananas' is not known; remove it"},
        {"timeout = 3\n", "c.toml:1: key 'timeout' stands in no table"},
        {"[server]\nmax_bdy = 1\n",
         "c.toml:2: key 'max_bdy' in [server]: is not known; did you mean 'max_body'?"},
        {"[server]\nbananas = 1\n", "c.toml:2: key 'bananas' in [server]: is not known; remove it"},
        {"[[executor]]\nname = \"x\"\n\nslot = 2\n",
         "c.toml:4: key 'slot' in [[executor]]: is not known; did you mean 'slots'?"},
        /* tables of the wrong shape */
        {"[forge]\nname = \"x\"\n", "c.toml:1: 'forge' is to be a table; write [[forge]]"},
        {"[[server]]\n", "c.toml:1: 'server' is to be a table; write [server]"},
        {"server = 1\n", "c.toml:1: 'server' is to be a table; write [server]"},
        {"executor = [1]\n", "c.toml:1: 'executor' is to be a table; write [[executor]]"},
        /* the wrong type */
        {"[server]\nlisten = 8080\n",
         "c.toml:2: key 'listen' in [server]: expected a string, found a whole number"},
        {"[server]\nmax_body = 100\n", "expected a size in quotes, as in \"25MiB\", found"},
        {"[limits]\ntimeout = 3.5\n", "expected a duration in quotes, as in \"2h\" or \"30s\""},
        {"[limits]\nretries = \"2\"\n", "expected a whole number, without quotes, found a string"},
        {"[limits]\nretries = 2026-01-01\n", "found a date or a time"},
        {GITHUB "tags = \"yes\"\n", "expected true or false, without quotes, found a string"},
        {GITHUB "tags = {}\n", "found a table"},
        {GITHUB "token_file = true\n",
         "expected the name of a file in quotes, found true or false"},
        {REPO("branches = \"main\"\n"),
         "c.toml:8: key 'branches' in [[repository]]: expected an "
         "array of strings, as in [\"one\", \"two\"], found a string"},
        {REPO("branches = [\"main\",\n 2]\n"), "c.toml:9: key 'branches' in [[repository]]"},
        {REPO("branches = []\n"), "is an empty array"},
        /* out of range, or not a value */
        {"[limits]\nretries = 11\n",
         "c.toml:2: key 'retries' in [limits]: 11 is out of range; write 0 to 10"},
        {"[limits]\nretries = -1\n", "\"-1\" is not a whole number from 0 to"},
        {"[limits]\ntimeout = \"0s\"\n", "0s is out of range; write 10ms to 30d"},
        {"[limits]\ntimeout = \"2 hours\"\n", "\"2 hours\" is not a duration"},
        {"[server]\nmax_body = \"25MB\"\n", "\"25MB\" is not a size"},
        {"[server]\nmax_body = \"2GiB\"\n", "2GiB is out of range; write 1KiB to 1GiB"},
        {"[[executor]]\nname = \"x\"\nmemory_max = \"1KiB\"\n", "write 0 or 16MiB to 1024TiB"},
        {"[[executor]]\nname = \"x\"\ncontainers = \"docker\"\n",
         "write one of \"none\", \"podman\""},
        {"[environments]\nindex_url = \"https://user:word@e.org/simple\"\n",
         "a user or a password"},
        {"[environments]\npip_config = \"pip.conf\"\n", "not an absolute path"},
        {"[environments]\nallow = [\"vcs\", \"all\"]\n", "none of \"vcs\", \"url\""},
        {"[[executor]]\nname = \"x\"\npython = \"\"\n", "is empty"},
        {"[[executor]]\nname = \"x\"\npython = \"a\\nb\"\n", "has a control character"},
        {"[[executor]]\nname = \"x\"\npython = \"a\\u0000b\"\n", "c.toml:3:1: a NUL"},
        {"[[executor]]\nname = \"Big One\"\n",
         "c.toml:2: key 'name' in [[executor]]: is not a name"},
        {"[auth]\nread = \"everybody\"\n",
         "\"everybody\" is not known; write one of \"public\", \"token\""},
        {"[[executor]]\nname = \"x\"\nsandbox = \"docker\"\n",
         "write one of \"auto\", \"bubblewrap\", \"none\""},
        /* of later versions */
        {"[[executor]]\nname = \"x\"\nkind = \"slurm\"\n", "not supported"},
        {"[[executor]]\nname = \"x\"\nkind = \"kubernetes\"\n", "not supported"},
        {"[[executor]]\nname = \"x\"\nkind = \"aws\"\n", "\"aws\" is not known; write one of"},
        {"[[executor]]\nname = \"x\"\nproject = \"p\"\n",
         "key 'project' in [[executor]]: is for kind = \"vertex\" only; remove it"},
        {VERTEX "region = \"r\"\nbucket = \"bkt\"\n", "[[executor]] 'v' has no key 'project'"},
        {VERTEX "project = \"p\"\nregion = \"r/x\"\n", "not a name of Google Cloud"},
        {VERTEX "bucket = \"gs://b\"\n", "leave the gs:// out"},
        {VERTEX "bucket = \"a/../b\"\n", "not the name of a bucket"},
        {VERTEX_FULL "accelerator_count = 1\n", "needs 'accelerator_type' beside it"},
        {VERTEX_FULL "container_uri = \"x; rm\"\n", "is not a container image"},
        {VERTEX_FULL "service_account = \"me\"\n", "is not a service account"},
        {VERTEX_FULL "network = \"default\"\n", "is not a network"},
        {VERTEX_FULL "run = [\"papermill\", \"{input}\"]\n", "names no {input} or no {output}"},
        {VERTEX_FULL "[[executor.fallback]]\n", "is the executor's own machine; say another"},
        {VERTEX_FULL "fallback = [{ machine_typ = \"x\" }]\n",
         "key 'machine_typ' in [[executor.fallback]]: is not known; did you mean 'machine_type'?"},
        {VERTEX_FULL "fallback = [\"us-east1\"]\n", "expected tables, as in [[executor.fallback]]"},
        {VERTEX_FULL "fallback = { region = \"r2\" }\n", "expected tables"},
        {VERTEX_FULL "[[executor.fallback]]\naccelerator_count = 2\nregion = \"r2\"\n",
         "key 'accelerator_count' in [[executor.fallback]]: needs 'accelerator_type'"},
        {VERTEX_FULL "api_url = \"https://e.org\"\n[[executor.fallback]]\nregion = \"r2\"\n",
         "no {region} in it"},
        {VERTEX_FULL "[[executor.rule]]\nimage = \"*\"\nrun = [\"x\"]\n",
         "key 'run' in [[executor.rule]]: names no {input} or no {output}"},
        {VERTEX_FULL "[[executor.rule]]\nrun = [\"x\"]\n", "[[executor.rule]] has no key 'image'"},
        {"[[executor]]\nname = \"x\"\n[[executor.fallback]]\nregion = \"r\"\n",
         "is for kind = \"vertex\" only"},
        {VERTEX_FULL "run = [\"papermill\", \"{inptu}\"]\n", "a word in braces that is none of"},
        {"[[forge]]\nname = \"x\"\nkind = \"gitea\"\n",
         "\"gitea\" is not supported by this version"},
        {"[[forge]]\nname = \"x\"\nkind = \"bitbucket\"\n", "\"bitbucket\" is not supported"},
        {"[[forge]]\nname = \"x\"\nkind = \"cvs\"\n", "write one of \"github\", \"gitlab\""},
        /* keys that are needed */
        {"\n[[forge]]\nkind = \"github\"\n", "c.toml:2: [[forge]] has no key 'name'; add name = "},
        {"[[forge]]\nname = \"x\"\n", "[[forge]] has no key 'kind'"},
        {GITHUB "[[repository]]\nname = \"a/b\"\n", "c.toml:5: [[repository]] has no key 'forge'"},
        {GITHUB "[[repository]]\nforge = \"gh\"\n", "c.toml:5: [[repository]] has no key 'name'"},
        {"[[executor]]\nslots = 1\n", "[[executor]] has no key 'name'"},
        {"[[forge]]\nname = \"x\"\nkind = \"github\"\n", "c.toml:1: [[forge]] 'x' has no "
                                                         "webhook_secret_file: anybody could"},
        {"[[forge]]\nname = \"x\"\nkind = \"gitlab\"\n",
         "has no webhook_secret_file and no signing_token_file"},
        {GITHUB "signing_token_file = \"s\"\n",
         "c.toml:5: key 'signing_token_file' in [[forge]]: is for kind = \"gitlab\" only"},
        {"[[forge]]\nname = \"x\"\nkind = \"gitlab\"\nsigning_token_file = \"s\"\n"
         "webhook_secret_file_next = \"n\"\n",
         "c.toml:5: key 'webhook_secret_file_next' in [[forge]]: needs 'webhook_secret_file'"},
        {"[[forge]]\nname = \"x\"\nkind = \"gitlab\"\nwebhook_secret_file = \"s\"\n"
         "signing_token_file_next = \"n\"\n",
         "needs 'signing_token_file' beside it"},
        {GITHUB "clone_base = \"ssh://git@h\"\nssh_key_file = \"k\"\n",
         "c.toml:5: key 'clone_base' in [[forge]]: ssh needs 'ssh_host_key' too"},
        {GITHUB "clone_base = \"ssh://git@h\"\nssh_host_key = "
                "\"SHA256:0123456789012345678901234567890123456789012\"\n",
         "ssh needs 'ssh_key_file' too"},
        {"[server]\nlisten = \"unix:/run/x\"\n", "add public_url"},
        /* names */
        {GITHUB GITHUB, "c.toml:6: key 'name' in [[forge]]: there is a [[forge]] 'gh' already"},
        {"[[executor]]\nname = \"x\"\n[[executor]]\nname = \"x\"\n",
         "c.toml:4: key 'name' in [[executor]]: there is an [[executor]] 'x' already"},
        {GITHUB "[[repository]]\nname = \"a/b\"\nforge = \"gx\"\n",
         "c.toml:7: key 'forge' in [[repository]]: there is no [[forge]] 'gx'; did you mean 'gh'?"},
        {GITHUB "[[repository]]\nname = \"a/b\"\nforge = \"other\"\n",
         "there is no [[forge]] 'other'; add one"},
        {REPO("executor = \"locale\"\n"),
         "c.toml:8: key 'executor' in [[repository]]: there is no [[executor]] 'locale'; did you "
         "mean 'local'?"},
        {REPO("[[repository]]\nforge = \"gh\"\nname = \"a/b\"\n"),
         "c.toml:10: key 'name' in [[repository]]: is taken by the [[repository]] 'a/b' on line 5"},
        {GITHUB "[[repository]]\nforge = \"gh\"\nname = \"a/*\"\n[[repository]]\nforge = \"gh\"\n"
                "name = \"a/b\"\n",
         "c.toml:10: key 'name' in [[repository]]: is taken by the [[repository]] 'a/*'"},
        {REPO("branches = [\"main\",\n\"[\"]\n"), "c.toml:9: key 'branches' in [[repository]]: is "
                                                  "not a glob"},
        {GITHUB "[[repository]]\nforge = \"gh\"\nname = \"acme\"\n", "is not OWNER/NAME"},
        {GITHUB "[[repository]]\nforge = \"gh\"\nname = \"/a/b\"\n", "is not OWNER/NAME"},
        {GITHUB "[[repository]]\nforge = \"gh\"\nname = \"a/[\"\n", "is not a glob"},
        /* the first by line, whatever the order of the checks */
        {"[server]\nlistn = 1\n[limits]\nretries = \"x\"\n", "c.toml:2: key 'listn'"},
        {"[limits]\nretries = \"x\"\n[server]\nlistn = 1\n", "c.toml:2: key 'retries'"},
        {"[[forge]]\nkind = \"cvs\"\n[bananas]\n", "c.toml:1: [[forge]] has no key 'name'"},
};

TEST(mistakes_are_named_with_their_place)
{
        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++) {
                struct config *c = NULL;
                struct nb_err err = {0};

                CHECK_ERR(parse(bad[i].text, &c, &err), &err, NB_E_INVALID, bad[i].said);
                CHECK(!strncmp(err.msg, "c.toml:", 7));
                CHECK(!c);
        }
}

TEST(addresses_and_urls)
{
        static const struct {
                const char *(*check)(const char *text);
                const char *text;
                bool fine;
        } cases[] = {
                {check_listen, "127.0.0.1:8080", true},
                {check_listen, "0.0.0.0:0", true},
                {check_listen, "[::1]:80", true},
                {check_listen, "unix:/run/nbcid/http.sock", true},
                {check_listen, "localhost:80", false},
                {check_listen, "127.0.0.1", false},
                {check_listen, "127.0.0.1:", false},
                {check_listen, "127.0.0.1:65536", false},
                {check_listen, "127.0.0.1:123456789", false},
                {check_listen, "::1:80", false},
                {check_listen, "[::1:80", false},
                {check_listen, "[]:80", false},
                {check_listen, ":80", false},
                {check_listen, "[:80", false},
                {check_listen, "unix:", false},
                {check_listen, "unix:relative", false},
                {check_listen,
                 "unix:/123456789012345678901234567890123456789012345678901234567890"
                 "12345678901234567890123456789012345678901234567",
                 false},
                {check_web_url, "https://h", true},
                {check_web_url, "http://127.0.0.1:8080/api/v4", true},
                {check_web_url, "https://[::1]", true},
                {check_web_url, "https://[::1]:80/x", true},
                {check_web_url, "https:/h", false},
                {check_web_url, "https://", false},
                {check_web_url, "ftp://h", false},
                {check_web_url, "https://u@h", false},
                {check_web_url, "https://u:p@h/x", false},
                {check_web_url, "https://h:0", false},
                {check_web_url, "https://h:x", false},
                {check_web_url, "https://h?x", false},
                {check_web_url, "https://h/#x", false},
                {check_web_url, "https://h/a b", false},
                {check_web_url, "https://\xc3\xa9", false},
                {check_web_url, "https://-h", false},
                {check_web_url, "https://[::1", false},
                {check_clone_base, "https://github.com", true},
                {check_clone_base, "ssh://git@h:2222", true},
                {check_clone_base, "ssh://h", true},
                {check_clone_base, "file:///srv", true},
                {check_clone_base, "file://srv", false},
                {check_clone_base, "ssh://git:pw@h", false},
                {check_clone_base, "ssh://", false},
                {check_clone_base, "git@github.com:acme", false},
                {check_clone_base, "https://t@github.com", false},
                {check_clone_base, "git://h", false},
                {check_host, "a.example.org", true},
                {check_host, "a:22", true},
                {check_host, "a:b", false},
                {check_host, "a/b", false},
                {check_host, "https://a", false},
                {check_host_key, "SHA256:uNiVztksCsDhcc0u9e8BrXTXYbTGJN2RkF8tIAbQyE4=", false},
                {check_host_key, "SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDvKOxmhkr1tTIY9aQ", true},
                {check_host_key, "MD5:16:27", false},
                {check_repository, "**", true},
                {check_repository, "acme/*", true},
                {check_repository, "acme/", false},
                {check_repository, "*", false},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++)
                if ((cases[i].check(cases[i].text) == NULL) != cases[i].fine)
                        FAIL("%s", cases[i].text);
}

/* ---- lists below an executor ---- */

TEST(a_fallback_is_as_the_executor_but_for_what_it_says)
{
        static const char text[] =
                VERTEX_FULL "accelerator_type = \"NVIDIA_TESLA_T4\"\naccelerator_count = 2\n"
                            "spot = true\n"
                            "[[executor.fallback]]\nregion = \"r2\"\n"
                            "[[executor.fallback]]\nmachine_type = \"n1-standard-8\"\n"
                            "[[executor.fallback]]\naccelerator_type = \"NVIDIA_L4\"\n"
                            "spot = false\n"
                            "[[executor.rule]]\nimage = \"*/x:*\"\n"
                            "run = [\"a\", \"{input}\", \"{output}\"]\nentrypoint = \"image\"\n";
        NB_CLEANUP(config_unrefp) struct config *c = NULL;
        const struct config_vertex *v;
        struct config_place p;
        struct nb_err err;

        CHECK_OK(config_parse("c.toml", text, strlen(text), true, &c, &err), &err);
        v = &c->executors[0].vertex;
        CHECK_INT(v->n_fallbacks, 3);
        p = config_vertex_place(v, 0);
        CHECK_STR(p.region, "r");
        p = config_vertex_place(v, 1);
        CHECK_STR(p.region, "r2");
        CHECK_STR(p.machine_type, "n1-standard-4");
        CHECK_STR(p.accelerator_type, "NVIDIA_TESLA_T4");
        CHECK_INT(p.accelerator_count, 2);
        CHECK(p.spot);
        p = config_vertex_place(v, 2);
        CHECK_STR(p.region, "r");
        CHECK_STR(p.machine_type, "n1-standard-8");
        CHECK(!p.accelerator_type);
        p = config_vertex_place(v, 3);
        CHECK_STR(p.machine_type, "n1-standard-4");
        CHECK_STR(p.accelerator_type, "NVIDIA_L4");
        CHECK_INT(p.accelerator_count, 1);
        CHECK(!p.spot);
        CHECK_INT(v->n_rules, 1);
        CHECK(v->rules[0].entrypoint);
}

/* ---- the table itself ---- */

/* Write "[table]\nkey = value" with what the table needs beside. */
static void write_key(struct nb_buf *b, const struct table *t, const struct key *k,
                      const char *value)
{
        nb_buf_clear(b);
        nb_buf_printf(b, t->many ? "[[%s]]\n" : "[%s]\n", t->name);
        for (size_t i = 0; i < t->n_keys; i++)
                if (t->keys[i].required)
                        nb_buf_printf(b, "%s = \"x\"\n", t->keys[i].name);
        if (nb_streq(t->name, "executor") && k->offset >= offsetof(struct config_executor, vertex))
                nb_buf_puts(b, "kind = \"vertex\"\nproject = \"p\"\nregion = \"r\"\n"
                               "bucket = \"bkt\"\naccelerator_type = \"NVIDIA_L4\"\n");
        nb_buf_printf(b, k->type == KEY_COUNT ? "%s = %s\n" : "%s = \"%s\"\n", k->name, value);
}

TEST(both_ends_of_each_range_are_in_it)
{
        size_t ranges = 0;

        for (size_t i = 0; i < config_n_tables; i++)
                for (size_t j = 0; j < config_tables[i].n_keys; j++) {
                        const struct key *k = &config_tables[i].keys[j];
                        nb_auto_buf b = NB_BUF(1 << 16);
                        const char *ends[] = {k->min, k->max};

                        for (size_t e = 0; k->min && e < NB_ARRAY_SIZE(ends); e++) {
                                NB_CLEANUP(config_unrefp) struct config *c = NULL;
                                struct nb_err err;

                                write_key(&b, &config_tables[i], k, ends[e]);
                                CHECK_OK(parse(nb_buf_str(&b), &c, &err), &err);
                                ranges++;
                        }
                }
        CHECK(ranges >= 40);
}

TEST(suggestions_are_near)
{
        struct suggestion s = SUGGESTION("timout");

        suggestion_offer(&s, "retries");
        CHECK(!s.found);
        suggestion_offer(&s, "timeout");
        CHECK_STR(s.found, "timeout");
        suggestion_offer(&s, "timouts");
        CHECK_STR(s.found, "timeout");
        s = SUGGESTION("xy");
        suggestion_offer(&s, "on");
        CHECK(!s.found);
}

TEST(nesting_is_bounded)
{
        nb_auto_buf b = NB_BUF(1 << 20);
        struct config *c = NULL;
        struct nb_err err;

        for (int i = 0; i < 100000; i++)
                nb_buf_puts(&b, "a.");
        nb_buf_puts(&b, "a = 1\n");
        CHECK_ERR(parse(nb_buf_str(&b), &c, &err), &err, NB_E_INVALID, "more than 128 dots");
        nb_buf_clear(&b);
        nb_buf_puts(&b, "a = ");
        for (int i = 0; i < 100000; i++)
                nb_buf_puts(&b, "[");
        CHECK_ERR(parse(nb_buf_str(&b), &c, &err), &err, NB_E_INVALID, "c.toml:1:");
        nb_buf_clear(&b);
        nb_buf_puts(&b, "a");
        for (int i = 0; i < 100; i++)
                nb_buf_puts(&b, ".a");
        nb_buf_puts(&b, " = 1\n");
        CHECK_ERR(parse(nb_buf_str(&b), &c, &err), &err, NB_E_INVALID, "nested over 16 deep");
}

TEST(kinds_of_sandboxes_have_names)
{
        struct nb_err err;

        for (int i = SANDBOX_AUTO; i <= SANDBOX_NONE; i++) {
                enum sandbox_kind k = i == SANDBOX_AUTO ? SANDBOX_NONE : SANDBOX_AUTO;

                CHECK_OK(sandbox_kind_parse(sandbox_kind_name((enum sandbox_kind)i), &k, &err),
                         &err);
                CHECK_INT(k, i);
        }
        CHECK_STR(sandbox_kind_name(SANDBOX_BUBBLEWRAP), "bubblewrap");
        enum sandbox_kind k;
        CHECK_ERR(sandbox_kind_parse("bwrap", &k, &err), &err, NB_E_INVALID, "none of auto");
}

TEST(executors_without_a_file)
{
        NB_CLEANUP(config_unrefp) struct config *c = NULL;
        const struct config_executor *x;
        struct nb_err err;

        CHECK_OK(config_builtin(&c, &err), &err);
        CHECK_INT(c->n_executors, 2);
        x = config_find_executor(c, "vertex");
        CHECK_STR(x->kind, "vertex");
        CHECK_STR(x->vertex.region, "us-central1");
        CHECK_STR(x->vertex.machine_type, "n1-standard-4");
        CHECK_INT(x->vertex.poll_us, 5 * S);
        x = config_find_executor(c, "local");
        CHECK_STR(x->kind, "local");
        CHECK(x->image_fallback);
}

TEST(one_text_for_an_executor)
{
        CHECK(!config_executor_wrong("project", "acme-1"));
        CHECK(strstr(config_executor_wrong("project", "a/b"), "is not a name of Google Cloud"));
        CHECK(strstr(config_executor_wrong("bucket", "gs://b"), "leave the gs:// out"));
        CHECK(config_executor_wrong("image", "a;b"));
        CHECK(!config_executor_wrong("image", "docker.io/a/b@sha256:0"));
        CHECK(config_executor_wrong("api_url", "ftp://x"));
        CHECK(!config_executor_wrong("python", "/usr/bin/python3"));
}

TEST(references_are_counted)
{
        struct config *c = NULL;
        struct nb_err err;

        CHECK_OK(parse("", &c, &err), &err);
        CHECK(config_ref(c) == c);
        CHECK(config_unref(c) == NULL);
        CHECK_STR(c->listen, "127.0.0.1:8080");
        CHECK(config_unref(c) == NULL);
        CHECK(config_unref(NULL) == NULL);
}

NBTEST_MAIN()
