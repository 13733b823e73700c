/* SPDX-License-Identifier: Apache-2.0 */

/*
 * remote.c - executors that are far away: the life of a run
 *
 *   PREPARE -> UPLOAD -> SUBMIT -> WATCH -> FETCH -> LOOK -> FINISHED
 *                 ^        |  ^
 *                 |      PAUSE (no room, or refused for now)
 *                 +-- FIND (what became of it is not known, or a former process knew)
 *
 * A submission is never sent a second time before the service was asked, twice,
 * for a job with this attempt's label.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>

#include "exec-priv.h"
#include "remote-priv.h"

bool far_state_final(enum far_state s)
{
        return s == FAR_SUCCEEDED || s == FAR_FAILED || s == FAR_CANCELLED || s == FAR_EXPIRED ||
               s == FAR_PARTIAL;
}

void far_label(const char *text, char ret[FAR_LABEL_SIZE])
{
        uint8_t hash[NB_SHA256_SIZE];
        size_t n = strlen(text);
        bool fits = n > 0 && n < FAR_LABEL_SIZE;

        for (size_t i = 0; fits && i < n; i++) {
                char c = text[i];

                if (c >= 'A' && c <= 'Z')
                        c = (char)(c - 'A' + 'a');
                fits = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
                ret[i] = c;
        }
        if (fits) {
                ret[n] = '\0';
                return;
        }
        nb_sha256(text, n, hash);
        nb_hex(ret, hash, 20);
}

/* ---- the executor ---- */

void far_close(struct exec *base)
{
        struct far *x = (struct far *)base;

        nb_assert(!x->runs);
        far_cleans_done(x);
        far_extras_done(x);
        far_poll_done(x);
        blob_free(x->blob);
        gcp_free(x->gcp);
        httpc_free(x->httpc);
        free(x->dir);
        free(x);
}

static void far_closep(struct far **x)
{
        if (*x)
                far_close(&(*x)->base);
}

static int open_cloud(struct far *x, struct nb_err *err)
{
        const struct config_vertex *v = &x->cfg->vertex;
        int r;

        r = httpc_curl_new(x->deps.loop,
                           &(struct httpc_opts){.timeout_us = 60 * NB_US_PER_S,
                                                .max_response = 8 << 20,
                                                .max_connections = 16,
                                                .multiplex = true},
                           &x->httpc, err);
        if (r == 0)
                r = gcp_new(&(struct gcp_opts){.loop = x->deps.loop,
                                               .httpc = x->httpc,
                                               .clock = x->deps.clock,
                                               .key = v->credentials.n ? &v->credentials : NULL,
                                               .token_url = v->token_url},
                            &x->gcp, err);
        if (r == 0)
                r = blob_new(&(struct blob_opts){.loop = x->deps.loop,
                                                 .gcp = x->gcp,
                                                 .url = v->storage_url},
                             &x->blob, err);
        return r;
}

int far_open(const struct far_kind *kind, const struct exec_ops *ops,
             const struct config_executor *cfg, const struct exec_deps *deps, struct exec **ret,
             struct nb_err *err)
{
        NB_CLEANUP(far_closep) struct far *x = calloc(1, sizeof(*x));
        int r;

        if (!x)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        x->base.ops = ops;
        x->cfg = cfg;
        x->kind = kind;
        x->deps = *deps;
        x->dir = nb_asprintf("%s/remote/%s", deps->state_dir, cfg->name);
        if (!x->dir)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        far_paces_init(x);
        r = nb_mkdirs(AT_FDCWD, x->dir, 0700, err);
        if (r == 0)
                r = far_poll_init(x, err);
        if (r == 0)
                r = open_cloud(x, err);
        if (r < 0)
                return r;
        nb_log(LOG_INFO, "jobs run far away", NB_F_STR("executor", cfg->name),
               NB_F_STR("kind", kind->name), NB_F_STR("identity", gcp_identity(x->gcp)));
        *ret = &NB_TAKE(x)->base;
        return 0;
}

/* ---- whose turn it is ---- */

bool far_may_send(struct far_run *u)
{
        if (!u->sends && u->far->n_sends >= FAR_SENDS) {
                u->waits = true;
                return false;
        }
        u->far->n_sends += !u->sends;
        u->sends = true;
        u->waits = false;
        return true;
}

bool far_may_send_more(struct far *x)
{
        if (x->n_sends >= FAR_SENDS)
                return false;
        x->n_sends++;
        return true;
}

void far_sent_more(struct far *x)
{
        struct far_run *oldest = NULL;

        x->n_sends--;
        for (struct far_run *u = x->runs; u; u = u->next)
                if (u->waits)
                        oldest = u;
        if (oldest && far_may_send(oldest))
                loop_timer_arm(oldest->timer, 0);
}

void far_sent(struct far_run *u)
{
        u->waits = false;
        if (!u->sends)
                return;
        u->sends = false;
        far_sent_more(u->far);
}

/* ---- a run ---- */

static void run_free(struct far_run *u)
{
        far_log_free(u);
        free(u->created);
        far_record_done(&u->record);
        run_result_done(&u->result);
        free(u->ref);
        free(u->dir);
        free(u->name);
        free(u->message);
        free(u);
}

void far_release(struct exec_run *run)
{
        struct far_run *u = (struct far_run *)run, **at = &u->far->runs;

        u->timer = loop_source_free(u->timer);
        far_sent(u);
        far_unwatch(u);
        gcp_call_cancel(NB_TAKE(u->call));
        gcp_call_cancel(NB_TAKE(u->cancel_call));
        blob_cancel(NB_TAKE(u->op));
        far_staging_cancel(NB_TAKE(u->staging));
        nb_closep(&u->fd);
        u->fd = -1;
        if (u->item)
                far_item_orphan(NB_TAKE(u->item));
        while (*at && *at != u)
                at = &(*at)->next;
        if (*at)
                *at = u->next;
        u->released = true;
        if (!u->telling)
                run_free(u);
}

static void far_run_freep(struct far_run **u)
{
        if (*u)
                far_release(&(*u)->base);
}

bool far_tell(struct far_run *u, const struct exec_event *ev)
{
        u->telling = true;
        u->fn(u->arg, &u->base, ev);
        u->telling = false;
        if (!u->released)
                return true;
        run_free(u);
        return false;
}

void far_tell_finished(struct far_run *u)
{
        u->stage = FAR_TOLD;
        (void)far_tell(u, &(struct exec_event){.kind = EXEC_FINISHED, .result = &u->result});
}

enum run_class far_error_class(const struct nb_err *err)
{
        static const struct {
                enum nb_errc code;
                enum run_class class;
        } table[] = {
                {NB_E_DENIED, CLASS_PERMISSION},
                {NB_E_INVALID, CLASS_CONFIGURATION},
                {NB_E_NOTFOUND, CLASS_CONFIGURATION}, /* a bucket, a project */
                {NB_E_BUSY, CLASS_RATE_LIMIT},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(table); i++)
                if (table[i].code == err->code)
                        return table[i].class;
        return CLASS_INFRASTRUCTURE;
}

void far_put_machine(struct far_run *u)
{
        const struct config_place *at = &u->record.here.at;
        const struct run_machine m = {
                .type = at->machine_type,
                .accelerator = at->accelerator_type,
                .accelerators = at->accelerator_type ? at->accelerator_count : 0,
                .region = at->region,
                .spot = at->spot,
                .started_ms = u->end.started_ms,
                .ended_ms = u->end.ended_ms,
        };

        if (u->name) /* else it has never had one */
                (void)run_machine_copy(&m, &u->result.machine, NULL);
}

void far_finish(struct far_run *u, enum run_class class, const char *reason)
{
        far_sent(u);
        run_result_done(&u->result);
        u->result = (struct run_result){.class = class,
                                        .reason = nb_utf8_clean(reason, strlen(reason), true),
                                        .wall_us = u->end.run_us};
        far_put_machine(u);
        if (!u->name && !u->asked && u->stage != FAR_PREPARE)
                far_save_job(u, true); /* so that nobody looks for one, or must be allowed to */
        u->stage = FAR_ENDING;
        loop_timer_arm(u->timer, 0);
}

static void on_timer(void *arg)
{
        struct far_run *u = arg;

        switch (u->stage) {
        case FAR_UPLOAD:
                far_upload(u);
                return;
        case FAR_PAUSE:
                far_submit(u);
                return;
        case FAR_FIND:
                u->find_pages = 0;
                if (far_turn(u, &u->far->finds))
                        far_find(u, NULL);
                return;
        case FAR_WATCH: /* the cancellation was refused for now */
                far_send_cancel(u);
                return;
        case FAR_FETCH:
                far_fetch(u);
                return;
        case FAR_LOG:
                far_log_ask(u);
                return;
        case FAR_ENDING:
                far_tell_finished(u);
                return;
        case FAR_PREPARE:
        case FAR_SUBMIT:
        case FAR_LOOK:
        case FAR_TOLD:
                return;
        }
}

static int run_make(struct far *x, const char *ref, exec_event_fn fn, void *arg,
                    struct far_run **ret, struct nb_err *err)
{
        NB_CLEANUP(far_run_freep) struct far_run *u = calloc(1, sizeof(*u));
        int r;

        if (!u)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        u->base.exec = &x->base;
        u->far = x;
        u->fn = fn;
        u->arg = arg;
        u->fd = -1;
        u->ref = nb_strdup(ref);
        u->dir = nb_asprintf("%s/%s", x->dir, ref);
        u->queue_until_us = far_now_us(x) + x->cfg->vertex.queue_max_us;
        if (!u->ref || !u->dir)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = loop_timer(x->deps.loop, on_timer, u, &u->timer, err);
        if (r < 0)
                return r;
        u->next = x->runs;
        x->runs = u;
        *ret = NB_TAKE(u);
        return 0;
}

/* The job's own wish, else the executor's. */
static int fill_workspace(struct far_run *u, const struct exec_job *job)
{
        struct far_record *r = &u->record;

        r->workspace_kind = u->far->cfg->vertex.workspace;
        if (job->environment && job->environment->workspace)
                (void)workspace_kind_parse(job->environment->workspace, &r->workspace_kind);
        if (r->workspace_kind == WORKSPACE_NONE)
                return 0;
        r->workspace =
                nb_asprintf("%s%s", r->prefix,
                            r->workspace_kind == WORKSPACE_FOLDER ? "workspace/" : "workspace.tar");
        r->workspace_dir = nb_strdup(job->workspace);
        return r->workspace && r->workspace_dir ? 0 : -NB_E_NOMEM;
}

/* Nothing that a stranger chose is in the name. */
static void place_own(const char *bucket, const struct exec_job *job, struct far_record *r)
{
        nb_auto_free char *repository = nb_asprintf("%s/%s", job->forge, job->repository);
        uint8_t hash[NB_SHA256_SIZE];
        char id[17];

        if (!repository)
                return;
        nb_sha256(repository, strlen(repository), hash);
        nb_hex(id, hash, 8);
        r->prefix = nb_asprintf("gs://%s/nbcid/%s/%s/%s/", bucket, id, job->commit, r->label);
        r->input = r->prefix ? nb_asprintf("%sinput.ipynb", r->prefix) : NULL;
        r->output = r->prefix ? far_output_url(r, 0) : NULL;
}

static void place_given(const struct exec_place *p, struct far_record *r)
{
        r->prefix = nb_strdup(p->prefix);
        r->input = nb_strdup(p->input);
        r->fixed_output = nb_strdup(p->output);
        r->output = r->fixed_output ? far_output_url(r, 0) : NULL;
        r->there = p->there;
        r->newer_than = p->newer_than;
}

static void fill_labels(const char *ref, struct far_record *r)
{
        nb_auto_free char *group = nb_strdup(ref);
        char *dash = group ? strrchr(group, '-') : NULL;
        char label[FAR_LABEL_SIZE];

        if (!group)
                return;
        if (dash && dash > group)
                *dash = '\0';
        far_label(ref, label);
        r->label = nb_strdup(label);
        far_label(group, label);
        r->group = nb_strdup(label);
}

static int fill_record(struct far_run *u, const struct exec_job *job, struct nb_err *err)
{
        const struct nb_environment *e = job->environment;
        struct far_record *r = &u->record;

        r->project = nb_strdup(u->far->cfg->vertex.project);
        fill_labels(job->ref, r);
        if (!r->label || !r->group)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        if (job->place)
                place_given(job->place, r);
        else
                place_own(u->far->cfg->vertex.bucket, job, r);
        if (!job->place && r->prefix && fill_workspace(u, job) < 0)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r->image = u->far->kind->image(u->far->cfg, job->environment, &r->why);
        r->timeout_us = job->timeout_us;
        r->max_output = job->max_output;
        if (e && e->requirements && *e->requirements) {
                r->note = nb_asprintf("its requirements are not installed here, the image must "
                                      "have them: %s",
                                      e->why ? e->why : "");
                if (!r->note)
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        return r->project && r->prefix && r->input && r->output
                       ? 0
                       : nb_fail(err, NB_E_NOMEM, "out of memory");
}

/* All that a later process must know; the texts of other places are not kept. */
static int run_plan(struct far_run *u, const struct exec_job *job, char **ret_record,
                    struct nb_err *err)
{
        nb_auto_buf record = NB_BUF(FAR_RECORD_MAX);
        struct far_place *places = NULL;
        int r = fill_record(u, job, err);

        if (r == 0)
                r = far_places_make(u, job, &places, err);
        if (r == 0)
                r = far_record_write(&u->record, places, &record, err);
        if (r == 0) {
                u->record.here = places[0];
                places[0] = (struct far_place){0};
                *ret_record = nb_buf_steal(&record);
                r = *ret_record ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        far_places_free(places, u->record.n_places);
        return r;
}

int far_start(struct exec *base, const struct exec_job *job, exec_event_fn fn, void *arg,
              struct exec_run **ret, struct nb_err *err)
{
        struct far *x = (struct far *)base;
        NB_CLEANUP(far_run_freep) struct far_run *u = NULL;
        nb_auto_free char *record = NULL;
        struct nb_err why;
        int r = run_make(x, job->ref, fn, arg, &u, err);

        if (r < 0)
                return r;
        r = run_plan(u, job, &record, &why);
        if (r < 0 &&
            why.code == NB_E_INVALID) { /* the notebook's own fault, so an end like others */
                far_finish(u, CLASS_ENVIRONMENT, why.msg);
                *ret = &NB_TAKE(u)->base;
                return 0;
        }
        if (r < 0)
                return nb_fail(err, why.code, "%s", why.msg);
        if (mkdir(u->dir, 0700) < 0)
                return errno == EEXIST
                               ? nb_fail(err, NB_E_CONFLICT, "run %s was started before", job->ref)
                               : nb_fail_errno(err, errno, "%s", u->dir);
        u->stage = FAR_PREPARE;
        r = far_prepare(u, job, NB_TAKE(record), err);
        if (r < 0) {
                (void)nb_rm_tree(AT_FDCWD, u->dir, NULL);
                return r;
        }
        *ret = &NB_TAKE(u)->base;
        return 0;
}

/* Whether a job is there is not asked here, since nothing may block: with a
 * record the run goes on by itself, and submits what it staged when, asked
 * twice, the service knows of no such job. */
int far_attach(struct exec *base, const char *ref, exec_event_fn fn, void *arg,
               struct exec_run **ret, struct nb_err *err)
{
        struct far *x = (struct far *)base;
        NB_CLEANUP(far_run_freep) struct far_run *u = NULL;
        bool ended;
        int r = run_make(x, ref, fn, arg, &u, err);

        if (r < 0)
                return r;
        r = far_record_read(u->dir, &u->record, err);
        if (r < 0 && err->code == NB_E_NOTFOUND) {
                r = nb_rm_tree(AT_FDCWD, u->dir, err); /* nothing was sent: it may begin anew */
                return r < 0 ? r : nb_fail(err, NB_E_NOTFOUND, "run %s never began", ref);
        }
        if (r < 0)
                return r;
        u->attached = true;
        far_read_job(u->dir, u->record.place, &u->name, &u->input_generation, &ended);
        if (u->name)
                far_watch(u);
        else
                far_find_begin(u);
        *ret = &NB_TAKE(u)->base;
        return 0;
}

int far_cancel(struct exec_run *run, struct nb_err *err)
{
        struct far_run *u = (struct far_run *)run;

        if (u->cancel_asked)
                return 0;
        u->cancel_asked = true;
        u->cancel_until_us = far_now_us(u->far) + far_cancel_us(u->far);
        switch (u->stage) {
        case FAR_UPLOAD:
                blob_cancel(NB_TAKE(u->op));
                far_staging_cancel(NB_TAKE(u->staging));
                far_finish(u, CLASS_CANCELLED, "cancelled before it was submitted");
                return 0;
        case FAR_PAUSE:
                far_finish(u, CLASS_CANCELLED, "cancelled before there was room for it");
                return 0;
        case FAR_WATCH:
                far_send_cancel(u);
                return 0;
        case FAR_PREPARE: /* these look at cancel_asked when they know more */
        case FAR_SUBMIT:
        case FAR_FIND:
        case FAR_FETCH:
        case FAR_LOG:
        case FAR_LOOK:
        case FAR_ENDING:
        case FAR_TOLD:
                return 0;
        }
        return 0;
}

int far_collect(struct exec_run *run, int dirfd, struct nb_err *err)
{
        static const char *const names[] = {"executed.ipynb", "log.txt", "environment.json"};
        struct far_run *u = (struct far_run *)run;
        nb_auto_fd int dir = open(u->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (dir < 0)
                return errno == ENOENT ? 0 : nb_fail_errno(err, errno, "%s", u->dir);
        for (size_t i = 0; i < NB_ARRAY_SIZE(names); i++)
                if (nb_link_or_copy(dir, names[i], dirfd, names[i], err) < 0 &&
                    err->code != NB_E_NOTFOUND)
                        return nb_wrap(err, -(int)err->code, "collect %s", names[i]);
        return 0;
}

void far_forget(struct exec *base, const char *ref)
{
        far_clean((struct far *)base, ref);
}

void far_sweep(struct exec *base, bool (*keep)(void *arg, const char *ref), void *arg)
{
        struct far *x = (struct far *)base;
        DIR *d = opendir(x->dir);

        for (struct dirent *e; d && (e = readdir(d));)
                if (e->d_name[0] != '.' && !keep(arg, e->d_name))
                        far_clean(x, e->d_name);
        if (d)
                closedir(d);
}
