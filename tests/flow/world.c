/* SPDX-License-Identifier: Apache-2.0 */

#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <time.h>

#include <nbcid/crypto.h>
#include <nbcid/fs.h>
#include <nbcid/json.h>
#include <nbcid/log.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#include "nbtest.h"
#include "world.h"

#define SECRET "a secret of the test"

/* ---- shell and origin ---- */

char *shell_line(const char *fmt, ...)
{
        char line[4096];
        nb_auto_free char *cmd = NULL;
        va_list ap;
        FILE *p;

        va_start(ap, fmt);
        CHECK(vasprintf(&cmd, fmt, ap) >= 0);
        va_end(ap);
        p = popen(cmd, "r");
        CHECK(p);
        if (!fgets(line, sizeof(line), p))
                line[0] = '\0';
        CHECK_INT(pclose(p), 0);
        line[strcspn(line, "\n")] = '\0';
        return nb_strdup(line);
}

char *origin_make(const char *script)
{
        static unsigned n;
        char *dir = nb_asprintf("%s/origin-%u", nbtest_tmpdir(), n++);

        free(shell_line("set -e; export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null "
                        "GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a "
                        "GIT_COMMITTER_EMAIL=a@example.org; mkdir -p %s/acme; cd %s; "
                        "git init -q --bare -b main acme/notebooks.git; "
                        "git clone -q acme/notebooks.git work 2>/dev/null; cd work; "
                        "git checkout -q -b main 2>/dev/null || true; "
                        "nb() { printf '{\"cells\": [{\"cell_type\": \"code\", \"metadata\": {}, "
                        "\"outputs\": [], \"execution_count\": null, \"source\": \"%%s\"}], "
                        "\"metadata\": {}, \"nbformat\": 4, \"nbformat_minor\": 4}\\n' \"$2\" "
                        "> \"$1\"; }; "
                        "%s",
                        dir, dir, script));
        return dir;
}

/* ---- the forge: a recorder of statuses ---- */

struct recorder {
        struct httpc base;
        struct world *world;
};
struct recorded {
        struct httpc_request base;
        struct world *world;
        httpc_done_fn done;
        void *arg;
        struct loop_source *later;
};

static void reply(void *arg)
{
        struct recorded *r = arg;
        struct world *w = r->world;
        struct nb_err err = {.code = NB_E_REMOTE, .msg = "connection refused"};
        struct http_header wait = {.name = "Retry-After", .value = w->retry_after};
        struct http_in resp = {.status = w->answer,
                               .headers = &wait,
                               .n_headers = w->retry_after != NULL,
                               .body = "{}",
                               .n_body = 2};

        loop_source_free(r->later);
        r->done(r->arg, w->answer ? &resp : NULL, w->answer ? NULL : &err);
        free(r);
}

static void record(struct world *w, const struct http_out *req)
{
        static const struct nb_json_limits limits = {.bytes = 65536, .depth = 4};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
        struct nb_err err;
        const struct nb_json *o;

        CHECK_OK(nb_json_read(req->body, req->n_body, &limits, &t, NULL, &err), &err);
        o = nb_json_root(t);
        w->statuses = realloc(w->statuses, (w->n_statuses + 1) * sizeof(*w->statuses));
        CHECK(w->statuses);
        w->statuses[w->n_statuses++] = (struct status){
                .context = nb_strdup(nb_json_str(nb_json_get(o, "context"), NULL)),
                .state = nb_strdup(nb_json_str(nb_json_get(o, "state"), NULL)),
                .text = nb_strdup(nb_json_str(nb_json_get(o, "description"), NULL)),
        };
}

static int recorder_send(struct httpc *h, const struct http_out *req, httpc_done_fn done, void *arg,
                         struct httpc_request **ret, struct nb_err *err)
{
        struct world *w = ((struct recorder *)h)->world;
        struct recorded *r = calloc(1, sizeof(*r));

        CHECK(r);
        w->posts++;
        if (w->answer >= 200 && w->answer < 300)
                record(w, req);
        r->base.httpc = h;
        r->world = w;
        r->done = done;
        r->arg = arg;
        *ret = &r->base;
        return loop_defer(w->loop, reply, r, &r->later, err);
}

static void recorder_cancel(struct httpc_request *req)
{
        struct recorded *r = (struct recorded *)req;

        loop_source_free(r->later);
        free(r);
}

static void recorder_free(struct httpc *h)
{
        free(h);
}

static const struct httpc_ops recorder_ops = {recorder_send, recorder_cancel, recorder_free};

/* ---- the world ---- */

static int64_t world_now(void *arg)
{
        return nb_now_ms(&nb_clock_real) + ((struct world *)arg)->offset_ms;
}

static uint64_t world_mono(void *arg)
{
        return nb_mono_us(&nb_clock_real) + (uint64_t)((struct world *)arg)->offset_ms * 1000;
}

static int before_verb(void *arg, const char *verb, struct nb_err *err)
{
        struct world *w = arg;

        if (w->refusals > 0) {
                w->refusals--;
                return nb_fail(err, NB_E_IO, "refused %s", verb);
        }
        if (++w->verbs == w->refuse_at) {
                w->refusals = 2;
                return nb_fail(err, NB_E_IO, "refused %s", verb);
        }
        if (w->stop_after == 0 || w->verbs <= w->stop_after)
                return 0;
        w->dead = true;
        return nb_fail(err, NB_E_IO, "crashed before %s", verb);
}

static void put(const char *dir, const char *name, const char *text)
{
        nb_auto_free char *path = nb_asprintf("%s/%s", dir, name);
        struct nb_err err;

        CHECK_OK(nb_write_file(AT_FDCWD, path, text, strlen(text), 0600, false, &err), &err);
}

struct config *world_config(struct world *w, const char *server, const char *forge,
                            const char *more)
{
        nb_auto_free char *text = NULL, *file = NULL;
        struct config *c = NULL;
        struct nb_err err;

        forge = forge ? forge : "github";
        text = nb_asprintf("[server]\nstate_dir = \"%s\"\n%s\n"
                           "[[forge]]\nname = \"%s\"\nkind = \"github\"\n"
                           "clone_base = \"file://%s\"\nwebhook_secret_file = \"secret\"\n"
                           "token_file = \"token\"\n"
                           "[[repository]]\nforge = \"%s\"\nname = \"acme/*\"\n"
                           "[[executor]]\nname = \"%s\"\nslots = 2\n%s\n%s",
                           w->dir, server, forge, w->origin, forge, w->executor,
                           w->real ? w->real : "kind = \"local\"", more);
        put(w->dir, "config.toml", text);
        file = nb_asprintf("%s/config.toml", w->dir);
        CHECK_OK(config_load(file, &c, &err), &err);
        return c;
}

void world_init(struct world *w, const char *name, const char *origin)
{
        struct nb_err err;

        nb_log_setup(getenv("NBTEST_LOG") ? NB_LOG_STDERR : NB_LOG_NONE, LOG_DEBUG);
        *w = (struct world){.answer = 201};
        w->clock = (struct nb_clock){world_now, world_mono, w};
        w->dir = nb_asprintf("%s/%s", nbtest_tmpdir(), name);
        CHECK_OK(nb_mkdirs(AT_FDCWD, w->dir, 0700, &err), &err);
        w->db_path = nb_asprintf("%s/nbcid.db", w->dir);
        put(w->dir, "secret", SECRET);
        put(w->dir, "token", "ghp_test");
        w->origin = nb_strdup(origin);
        w->executor = "local";
        w->slots = 2;
        w->config = world_config(w, "min_free = \"1MiB\"", NULL, "");
        w->machine = exec_fake_world_new();
        CHECK(w->machine);
}

void world_done(struct world *w)
{
        for (size_t i = 0; i < w->n_statuses; i++) {
                free(w->statuses[i].context);
                free(w->statuses[i].state);
                free(w->statuses[i].text);
        }
        free(w->statuses);
        exec_fake_world_free(w->machine);
        config_unref(w->config);
        free(w->dir);
        free(w->db_path);
        free(w->origin);
}

/* The fake executor, but for calls that its machine refuses. */
static struct exec_ops troubled;
static const struct exec_ops *well;
static struct world *troubled_world;

static int troubled_attach(struct exec *x, const char *ref, exec_event_fn fn, void *arg,
                           struct exec_run **ret, struct nb_err *err)
{
        if (troubled_world->attach_refusals == 0)
                return well->attach(x, ref, fn, arg, ret, err);
        troubled_world->attach_refusals--;
        return nb_fail(err, NB_E_IO, "no descriptor is left");
}

static int troubled_collect(struct exec_run *run, int dirfd, struct nb_err *err)
{
        if (troubled_world->collect_refusals == 0)
                return well->collect(run, dirfd, err);
        troubled_world->collect_refusals--;
        return nb_fail(err, NB_E_IO, "the disk is full");
}

static void make_trouble(struct world *w)
{
        troubled_world = w;
        well = w->exec->ops;
        troubled = *well;
        troubled.attach = troubled_attach;
        troubled.collect = troubled_collect;
        w->exec->ops = &troubled;
}

static void no_wake(void *arg)
{
}

static int open_exec(struct world *w, struct nb_err *err)
{
        const struct exec_deps deps = {.loop = w->loop, .clock = &w->clock, .state_dir = w->dir};

        return w->real ? exec_open(&w->config->executors[0], &deps, &w->exec, err)
                       : exec_fake_open(w->machine, &deps, &w->exec, err);
}

bool world_start(struct world *w)
{
        struct nb_err err;
        struct recorder *h = calloc(1, sizeof(*h));
        unsigned stop_after = w->stop_after;

        CHECK(h);
        h->base.ops = &recorder_ops;
        h->world = w;
        w->httpc = &h->base;
        w->verbs = w->refusals = 0;
        w->dead = false;
        w->stop_after = 0; /* opening is no verb of the story */
        CHECK_OK(store_open(&(struct store_opts){.path = w->db_path,
                                                 .clock = &w->clock,
                                                 .before_verb = before_verb,
                                                 .before_verb_arg = w},
                            &w->store, &err),
                 &err);
        CHECK_OK(loop_new(2, &w->loop, &err), &err);
        CHECK_OK(open_exec(w, &err), &err);
        make_trouble(w);
        w->flow_exec = (struct flow_exec){.name = w->executor, .slots = w->slots, .exec = w->exec};
        CHECK_OK(flow_new(&(struct flow_deps){.config = w->config,
                                              .clock = &w->clock,
                                              .loop = w->loop,
                                              .store = w->store,
                                              .httpc = w->httpc,
                                              .metrics = &w->metrics,
                                              .execs = &w->flow_exec,
                                              .sweep_us = w->sweep_us,
                                              .n_execs = 1},
                          &w->flow, &err),
                 &err);
        CHECK_OK(flow_door_new(&(struct flow_door_deps){.db_path = w->db_path,
                                                        .clock = &w->clock,
                                                        .config = w->config,
                                                        .metrics = &w->metrics,
                                                        .wake = no_wake},
                               &w->door, &err),
                 &err);
        w->stop_after = stop_after;
        while (flow_recover(w->flow, &err) < 0) {
                if (w->dead)
                        return false;
                if (w->refuse_at == 0)
                        FAIL("recovery: %s", err.msg);
        }
        return true;
}

void world_stop(struct world *w)
{
        w->flow = flow_free(w->flow);
        w->door = flow_door_free(w->door);
        w->exec = exec_close(w->exec);
        w->httpc = httpc_free(w->httpc);
        w->loop = loop_free(w->loop);
        w->store = store_close(w->store);
}

/* Everything that waits for a time has it come. */
static bool skip_waiting(struct world *w)
{
        const unsigned stop_after = w->stop_after, refuse_at = w->refuse_at;
        const unsigned verbs = w->verbs, refusals = w->refusals;
        struct nb_err err;
        int64_t due;

        /* the test's own question is no verb of the story */
        w->stop_after = w->refuse_at = w->refusals = 0;
        CHECK_OK(store_next_due(w->store, &due, &err), &err);
        w->stop_after = stop_after;
        w->refuse_at = refuse_at;
        w->verbs = verbs;
        w->refusals = refusals;
        if (due == INT64_MAX)
                return false;
        if (due > nb_now_ms(&w->clock))
                w->offset_ms += due - nb_now_ms(&w->clock) + 1;
        flow_poke(w->flow);
        return true;
}

void world_run(struct world *w)
{
        uint64_t until = nb_mono_us(&nb_clock_real) + 60 * NB_US_PER_S;
        unsigned idle = 0;
        struct nb_err err;

        while (nb_mono_us(&nb_clock_real) < until) {
                if (w->dead)
                        return;
                CHECK_OK(loop_step(w->loop, 50 * NB_US_PER_MS, &err), &err);
                if (w->dead || !flow_idle(w->flow) || skip_waiting(w)) {
                        idle = 0;
                        if (w->refuse_at != 0 && w->verbs >= w->refuse_at) /* waits no second */
                                flow_poke(w->flow);
                        continue;
                }
                /* With a store that refused, idle may mean not to have been told. */
                if (w->refuse_at == 0 || (w->refusals == 0 && ++idle > 3))
                        return;
                flow_poke(w->flow);
        }
        FAIL("the flow is not done after a minute");
}

void world_until(struct world *w, bool (*cond)(struct world *w))
{
        uint64_t until = nb_mono_us(&nb_clock_real) + 60 * NB_US_PER_S;
        struct nb_err err;

        while (!cond(w)) {
                if (nb_mono_us(&nb_clock_real) > until)
                        FAIL("what was waited for did not happen in a minute");
                CHECK_OK(loop_step(w->loop, 20 * NB_US_PER_MS, &err), &err);
        }
}

struct flow_answer world_push(struct world *w, const char *id, const char *before,
                              const char *after)
{
        return world_push_to(w, "acme/notebooks", id, before, after);
}

struct flow_answer world_push_to(struct world *w, const char *repository, const char *id,
                                 const char *before, const char *after)
{
        nb_auto_free char *body = NULL;
        struct flow_delivery *v = NULL;
        struct flow_answer a;
        uint8_t mac[NB_SHA256_SIZE];
        char signature[80] = "sha256=";
        struct nb_err err;

        body = nb_asprintf("{\"ref\":\"refs/heads/main\",\"before\":\"%s\",\"after\":\"%s\","
                           "\"deleted\":false,\"repository\":{\"full_name\":\"%s\","
                           "\"default_branch\":\"main\"},\"head_commit\":{\"message\":\"m\"},"
                           "\"pusher\":{\"name\":\"ada\"}}",
                           before, after, repository);
        nb_hmac_sha256(SECRET, strlen(SECRET), body, strlen(body), mac);
        nb_hex(signature + 7, mac, sizeof(mac));
        struct http_header headers[] = {{"Content-Type", "application/json"},
                                        {"X-GitHub-Event", "push"},
                                        {"X-GitHub-Delivery", id},
                                        {"X-Hub-Signature-256", signature}};
        CHECK_OK(flow_door_read(w->door, "github",
                                &(struct http_in){.method = "POST",
                                                  .path = "/hooks/github",
                                                  .headers = headers,
                                                  .n_headers = NB_ARRAY_SIZE(headers),
                                                  .body = body,
                                                  .n_body = strlen(body)},
                                &v, &err),
                 &err);
        CHECK_OK(flow_door_commit(w->door, &v, 1, &err), &err);
        a = flow_delivery_answer(v);
        flow_delivery_free(v);
        a.ignored = NULL;
        if (w->flow)
                flow_poke(w->flow);
        return a;
}

/* ---- what came of it ---- */

static int dump_job(void *arg, const struct view_job *j)
{
        return nb_buf_printf(arg, "  job %lld %s %s %s cell %lld %s: %s\n", (long long)j->id,
                             j->notebook, job_state_name(j->state), run_class_name(j->class),
                             (long long)j->cell, j->ename ? j->ename : "-",
                             j->evalue ? j->evalue : "-");
}

static int dump_build(void *arg, const struct view_build *b)
{
        return nb_buf_printf(arg, "build %lld %s jobs %lld/%lld/%lld %s\n", (long long)b->id,
                             build_state_name(b->state), (long long)b->jobs,
                             (long long)b->jobs_final, (long long)b->jobs_passed,
                             b->reason ? b->reason : "-");
}

static int by_context(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

char *world_dump(struct world *w)
{
        struct nb_buf b = NB_BUF(1 << 20);
        struct store_view *v = NULL;
        struct nb_err err;
        const char *contexts[64];
        size_t n = 0;

        CHECK_OK(store_view_open(w->db_path, &v, &err), &err);
        for (int64_t id = 1; store_view_build(v, id, dump_build, &b, &err) == 1; id++)
                CHECK_OK(store_view_jobs(v, id, dump_job, &b, &err), &err);
        store_view_close(v);
        for (size_t i = 0; i < w->n_statuses; i++) {
                bool known = false;

                for (size_t k = 0; k < n; k++)
                        known = known || strcmp(contexts[k], w->statuses[i].context) == 0;
                if (!known && n < NB_ARRAY_SIZE(contexts))
                        contexts[n++] = w->statuses[i].context;
        }
        qsort(contexts, n, sizeof(contexts[0]), by_context);
        for (size_t i = 0; i < n; i++)
                (void)nb_buf_printf(&b, "status %s: %s\n", contexts[i],
                                    world_last_status(w, contexts[i]));
        return nb_buf_steal(&b);
}

const char *world_last_status(const struct world *w, const char *context)
{
        static char text[512];

        for (size_t i = w->n_statuses; i > 0; i--)
                if (strcmp(w->statuses[i - 1].context, context) == 0) {
                        (void)nb_fmt(text, sizeof(text), "%s: %s", w->statuses[i - 1].state,
                                     w->statuses[i - 1].text);
                        return text;
                }
        return NULL;
}
