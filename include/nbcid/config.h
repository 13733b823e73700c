/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * config.h - what the operator and the repository's owner wrote
 *
 * config.toml is a table of (key, type, range, default, target); an unknown
 * key, a wrong type or a value out of range is NB_E_INVALID whose text is
 * "FILE:LINE: key 'KEY' in [TABLE]: what is wrong; remedy", and of several
 * mistakes the one that stands first.  TOML that does not parse is
 * "FILE:LINE:COLUMN: what is wrong".  Every key has a default but the secrets;
 * config.example.toml explains them all.  A loaded config is immutable and reference-counted: any
 * thread may read it while it holds a reference.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/buf.h>
#include <nbcid/crypto.h>
#include <nbcid/err.h>
#include <nbcid/mem.h>
#include <nbcid/str.h>

enum forge_kind { FORGE_GITHUB, FORGE_GITLAB, FORGE_KIND__COUNT };
const char *forge_kind_name(enum forge_kind k);

/* [[forge]] */
struct config_forge {
        char *name; /* [a-z0-9-]+, unique; /hooks/NAME */
        enum forge_kind kind;
        char *api_url;    /* no slash at the end; default by kind */
        char *clone_base; /* "https://github.com"; also http, ssh, file; default by kind */
        struct nb_secret secrets[2]; /* webhook_secret_file, webhook_secret_file_next; n 0: unset */
        struct nb_secret signing[2]; /* GitLab signing tokens (whsec_...), same two files:
                                      * signing_token_file, signing_token_file_next */
        struct nb_secret token;      /* token_file: API and git over http(s) */
        struct nb_secret ssh_key;    /* ssh_key_file: private key for ssh clone_base */
        char *ssh_host_key;          /* "SHA256:..." fingerprint the ssh host must show */
        struct nb_strv submodule_hosts; /* hosts submodules may come from beside clone_base's */
        bool tags;                      /* build tag pushes too; default false */
};

/* [[repository]] */
struct config_repository {
        char *forge;
        char *name;              /* "acme/notebooks", or a glob of names */
        struct nb_strv branches; /* globs of short branch names; default "**" */
        char *executor;          /* default: the first executor; always a known one */
};

enum sandbox_kind { SANDBOX_AUTO, SANDBOX_BUBBLEWRAP, SANDBOX_NONE };
const char *sandbox_kind_name(enum sandbox_kind k);
/* NB_E_INVALID, with the names that there are. */
int sandbox_kind_parse(const char *s, enum sandbox_kind *ret, struct nb_err *err);

/* What of the checkout beside the notebook goes to an executor that does not
 * see our disk. */
enum workspace_kind { WORKSPACE_NONE, WORKSPACE_ARCHIVE, WORKSPACE_FOLDER, WORKSPACE_KIND__COUNT };
const char *workspace_kind_name(enum workspace_kind k);
bool workspace_kind_parse(const char *s, enum workspace_kind *ret);

/* A kind of machine, and where. */
struct config_place {
        char *region, *machine_type;
        char *accelerator_type; /* or NULL */
        uint32_t accelerator_count;
        bool spot;
};

/* [[executor.rule]]: how images of a name run notebooks */
struct config_rule {
        char *image; /* glob */
        struct nb_strv run;
        bool entrypoint; /* run goes to the image's own entry point, and does not replace it */
};

/* [[executor]] of kind "vertex": notebooks as custom jobs of Vertex AI.  Texts
 * are NULL when not said. */
struct config_vertex {
        char *project, *region, *bucket; /* always there */
        struct nb_secret credentials;    /* credentials_file; n 0: the metadata server */
        char *machine_type;              /* default "n1-standard-4" */
        char *accelerator_type;
        uint32_t accelerator_count; /* default 1; of that type */
        char *container_uri;        /* the image of notebooks that name none */
        char *image;                /* the image of all, whatever they name */
        char *service_account, *network;
        char *api_url; /* may have "{region}" in it */
        char *storage_url, *token_url, *logging_url;
        bool spot;
        char *disk_type;                 /* default "pd-ssd" */
        uint32_t disk_gb;                /* default 100 */
        struct nb_strv run;              /* words of the command; empty: by image */
        uint64_t poll_us;                /* the shortest pause between two looks; default 5 s */
        uint32_t submissions_per_minute; /* at most; default 58 */
        uint64_t queue_max_us;           /* a machine is waited for as long; default 1 d */
        enum workspace_kind workspace;   /* of jobs that do not say; default none */
        uint64_t max_workspace;          /* bytes; default 2 GiB */
        /* [[executor.fallback]]: tried in turn when there is no machine; what one does not
         * say is filled in */
        struct config_place *fallbacks;
        size_t n_fallbacks;
        struct config_rule *rules; /* the first that matches holds; before run */
        size_t n_rules;
};
/* Place 0 is the executor's own, then the fallbacks; borrowed. */
struct config_place config_vertex_place(const struct config_vertex *v, size_t i);

/* [[executor]] */
struct config_executor {
        char *name;
        char *kind;             /* "local" or "vertex" */
        uint32_t slots;         /* 1..100000, default 2 */
        uint64_t memory_max;    /* bytes a job; default 4 GiB; 0: none */
        uint32_t processes_max; /* of a job; default 512 */
        enum sandbox_kind sandbox;
        char *python;        /* interpreter that runs notebooks; default "python3" */
        bool podman;         /* containers = "podman": it runs images; default "none" */
        bool image_fallback; /* image_fallback = "default": what names an image runs without it
                              * where none are run; default "refuse" */
        struct config_vertex vertex;
};

struct config {
        char *file;                  /* where it was read from */
        struct nb_strv secret_files; /* every secret's file: not for a job's eyes */

        /* [server] */
        char *listen;     /* "127.0.0.1:8080", "[::1]:80", "unix:/path" */
        char *public_url; /* no slash at the end; default "http://" + listen */
        char *state_dir;
        uint64_t max_body;               /* bytes; default 25 MiB */
        uint32_t max_connections;        /* default 512 */
        uint32_t max_connections_per_ip; /* default 64; 0: none */
        uint64_t request_timeout_us;     /* a whole request must arrive in; default 10 s */
        uint32_t max_backlog;      /* queued builds above which intake says 503; default 10000 */
        uint64_t min_free;         /* disk floor in bytes for intake; default 256 MiB */
        uint64_t drain_timeout_us; /* SIGTERM waits so long for jobs; default 0: jobs are left
                                    * running and adopted by the next start */

        /* [auth] */
        struct nb_secret operator_token; /* n 0: changing calls are refused */
        bool read_needs_token;           /* read = "public" | "token" */

        /* [limits] */
        uint64_t timeout_us, cell_timeout_us; /* 2h, 30m */
        uint32_t retries;                     /* of errored attempts; 2 */
        uint32_t jobs_per_repository;         /* 4 */
        uint32_t status_per_notebook;         /* 20 */
        uint64_t fetch_timeout_us;            /* 10m: one git fetch or checkout */
        uint64_t max_repository;              /* bytes a fetch may receive; 4 GiB */
        uint64_t max_notebook;                /* bytes of one notebook; 256 MiB */
        uint64_t max_output;                  /* bytes of outputs a job may produce; 256 MiB */
        uint32_t max_notebooks;               /* jobs of one build; 1000 */

        struct config_forge *forges;
        size_t n_forges;
        struct config_repository *repositories;
        size_t n_repositories;
        struct config_executor *executors; /* never empty: a local one by default */
        size_t n_executors;

        /* [environments] */
        uint64_t environments_max; /* bytes; 20 GiB */
        uint64_t build_timeout_us; /* 30m: to build one, or to pull an image */
        char *index_url;           /* package index, or NULL: that of pip */
        char *pip_config;          /* file for pip, or NULL */
        struct nb_strv allow;      /* what requirements may do beside naming packages: "vcs",
                                    * "url", "file", "editable", "index" */

        /* [retention] */
        uint64_t keep_builds_us, keep_artifacts_us; /* 90d, 30d */
};

/* Read (at most 1 MiB), check, resolve secrets (relative names: below
 * $CREDENTIALS_DIRECTORY when that is set, else beside the file; an empty or
 * unreadable one is NB_E_INVALID at the line that names it).  *ret has one
 * reference.  Blocking; any thread. */
int config_load(const char *path, struct config **ret, struct nb_err *err);
struct config *config_ref(struct config *c);
struct config *config_unref(struct config *c); /* NULL is fine; answers NULL; last one wipes */
NB_DEFINE_FREEP(struct config *, config_unref);

/* Borrowed, or NULL. */
const struct config_forge *config_find_forge(const struct config *c, const char *name);
const struct config_executor *config_find_executor(const struct config *c, const char *name);
/* What is wrong with a text for that key of [[executor]], as the end of a
 * sentence ("is not the name of a bucket; write ..."); NULL: nothing.  There is
 * such a key and it holds one text (asserted).  Pure. */
const char *config_executor_wrong(const char *key, const char *text);
/* A configuration for those who have none: the executors "vertex", whose
 * project and bucket are still to be said, and "local", which runs notebooks
 * that name an image without it; all else by default.  NB_E_NOMEM. */
int config_builtin(struct config **ret, struct nb_err *err);
/* The first [[repository]] of that forge whose name matches; NULL: not ours. */
const struct config_repository *config_find_repository(const struct config *c, const char *forge,
                                                       const char *name);
/* Does the repository want builds of this short branch name? */
bool config_branch_wanted(const struct config_repository *r, const char *branch);

/* ---- .nbcid.toml: the repository's own file, untrusted ---- */

/* What [defaults] or a [[job]] says of where notebooks run; owned. */
struct repo_environment {
        int choice; /* environment = "auto" | "default" */
        char *image, *kernel, *python, *requirements_file;
        struct nb_strv requirements;
        int workspace; /* 1 + enum workspace_kind; 0: not said */
};

struct repo_job {                             /* [[job]] */
        char *notebook;                       /* glob */
        uint64_t timeout_us, cell_timeout_us; /* 0: not said */
        char *parameters;                     /* JSON object, text; or NULL */
        struct repo_environment environment;
};

enum check_level { CHECK_OFF, CHECK_WARN, CHECK_ERROR };

struct repo_check {              /* [check]: how grave a finding is */
        enum check_level format; /* nbformat's rules; default error */
        enum check_level syntax; /* error */
        enum check_level outputs_empty;
        enum check_level execution_order;    /* warn */
        enum check_level kernelspec;         /* one that the executor has; off */
        enum check_level absolute_paths;     /* off */
        enum check_level secrets;            /* warn */
        enum check_level size;               /* over max_size; off */
        uint64_t max_size;                   /* bytes; 10 MiB */
        enum check_level parameters;         /* declared, but no cell for them; error */
        enum check_level parameters_unknown; /* declared, but not in that cell; warn */
};
extern const struct repo_check repo_check_default;

struct repo_config {
        struct nb_strv include, exclude;      /* globs; include defaults to all */
        char *executor;                       /* or NULL */
        uint64_t timeout_us, cell_timeout_us; /* [defaults]; 0: not said */
        struct repo_environment environment;  /* [defaults] */
        struct repo_job *jobs;
        size_t n_jobs;
        struct repo_check check;
};

/* n bytes of text; at most 256 KiB (else NB_E_LIMIT), 200 elements an array,
 * 200 jobs and 512 bytes a glob.  Errors as above with ".nbcid.toml" as FILE.
 * *ret is done with repo_config_done().  Pure; any thread. */
int repo_config_parse(const char *p, size_t n, struct repo_config *ret, struct nb_err *err);
void repo_config_done(struct repo_config *c);
/* Is this path (".ipynb" in any case is the caller's to check) to be run?
 * Never below .ipynb_checkpoints.  c may be NULL: all. */
bool repo_config_wants(const struct repo_config *c, const char *path);
/* Timeouts that hold for a path: each from the last matching [[job]] that says
 * it, else [defaults], else the operator's limits; never above the operator's.
 * c may be NULL. */
void repo_config_limits(const struct repo_config *c, const struct config *op, const char *path,
                        uint64_t *ret_timeout_us, uint64_t *ret_cell_timeout_us);
/* Parameters that hold for a path: those of all matching [[job]], the later one's
 * value for a name that several have.  *ret is owned: the text of a JSON object
 * in the order of the file, or NULL when no [[job]] says any.  Names are
 * identifiers ([A-Za-z_][A-Za-z0-9_]*, at most 128 bytes), values are what TOML
 * has but dates, nan and inf, nested up to 8 deep.  Each [[job]] has 64 KiB at
 * most, the sum 256 KiB, else NB_E_LIMIT.  c may be NULL. */
int repo_config_parameters(const struct repo_config *c, const char *path, char **ret,
                           struct nb_err *err);

/* What holds for one notebook.  Borrowed from the configuration; NULL: not
 * said. */
struct repo_wish {
        const char *kernel;            /* a word of letters, digits, '.', '_' and '-' */
        const char *image;             /* the same with '/', ':', '@' and '+' */
        const char *python;            /* "3.11" */
        const char *requirements_file; /* a path from the root, as written */
        const struct nb_strv *requirements;
        const char *workspace;  /* "none", "archive", "folder" */
        bool executors_default; /* environment = "default": whatever the notebook and the files
                                 * beside it ask for */
};
/* kernel, python and workspace: each of the last matching [[job]] that says it, else of
 * [defaults].  environment, image, requirements and requirements_file are one
 * matter: all of the last that says any of them.  c may be NULL. */
void repo_config_environment(const struct repo_config *c, const char *path, struct repo_wish *ret);

/* Another tool's TOML, of a stranger, as the text of a JSON object; fractions,
 * dates and times become null.  file is what texts begin with.  NB_E_INVALID,
 * NB_E_LIMIT (over ret->max), NB_E_NOMEM.  Pure; any thread. */
int config_toml_json(const char *file, const char *p, size_t n, struct nb_buf *ret,
                     struct nb_err *err);
