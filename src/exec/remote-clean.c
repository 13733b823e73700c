/* SPDX-License-Identifier: Apache-2.0 */

/*
 * remote-clean.c - nothing of a run stays far away
 *
 * Its directory is the record of what there may be, and goes last: what a
 * process could not remove, the next one's sweep finds.
 */

#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>

#include "remote-priv.h"

#define OBJECTS_MAX 1000
#define TRIES 8
#define ROUNDS 60       /* looks at a job that does not end */
#define CANCEL_AGAIN 20 /* of them */
#define PARK_US (900 * NB_US_PER_S)

struct far_clean {
        struct far *far;
        struct far_clean *next;
        char *ref, *dir, *name;
        struct far_record record;
        struct loop_source *timer;
        struct gcp_call *call;
        struct blob_op *op;
        struct nb_strv objects;
        unsigned rounds, tries;
        bool active, begun, ended, cancelled, more;
        bool paced;       /* its timer is armed for a turn that it has */
        bool blind;       /* its record cannot be read: end its jobs, wherever they may be */
        size_t place;     /* of the configuration, then */
        bool alive, seen; /* on a page of this look, or before */
        unsigned pages;
};

static void clean_free(struct far_clean *c)
{
        struct far_clean **at = &c->far->cleans;

        while (*at && *at != c)
                at = &(*at)->next;
        if (*at)
                *at = c->next;
        c->far->n_cleans -= c->active;
        loop_source_free(c->timer);
        gcp_call_cancel(c->call);
        blob_cancel(c->op);
        nb_strv_done(&c->objects);
        far_record_done(&c->record);
        free(c->ref);
        free(c->dir);
        free(c->name);
        free(c);
}

static void clean_more(struct far *x);

/* It failed for long: later all of it once more, by us or by the next start. */
static void clean_park(struct far_clean *c, const struct nb_err *err)
{
        struct far *x = c->far;

        nb_log_err(LOG_WARNING, err, "what a run left could not be removed; trying again later",
                   NB_F_STR("ref", c->ref));
        if (!c->timer) {
                clean_free(c);
                clean_more(x);
                return;
        }
        gcp_call_cancel(NB_TAKE(c->call));
        blob_cancel(NB_TAKE(c->op));
        nb_strv_done(&c->objects);
        far_record_done(&c->record);
        free(c->name);
        c->name = NULL;
        c->rounds = c->tries = c->pages = 0;
        c->active = c->begun = c->ended = c->cancelled = c->more = c->alive = c->seen = false;
        c->paced = c->blind = false;
        c->place = 0;
        x->n_cleans--;
        loop_timer_arm(c->timer, PARK_US);
        clean_more(x);
}

static void clean_failed(struct far_clean *c, const struct nb_err *err)
{
        if (nb_errc_policy(err->code)->retry && c->timer && ++c->tries < TRIES)
                loop_timer_arm(c->timer, gcp_backoff(NB_US_PER_S, c->tries, NULL));
        else
                clean_park(c, err);
}

static void clean_end(struct far_clean *c)
{
        struct far *x = c->far;

        loop_remove_tree_take(x->deps.loop, NB_TAKE(c->dir));
        clean_free(c);
        clean_more(x);
}

/* ---- its objects ---- */

static void delete_next(struct far_clean *c);
static void list_objects(struct far_clean *c);

static void on_deleted(void *arg, const struct blob_object *o, const struct nb_err *err)
{
        struct far_clean *c = arg;

        c->op = NULL;
        if (err)
                clean_failed(c, err);
        else
                delete_next(c);
}

static void delete_next(struct far_clean *c)
{
        const char *bucket = c->record.prefix + strlen("gs://");
        nb_auto_free char *object = NULL, *number = NULL;
        nb_auto_free char *name_of_bucket = nb_strndup(bucket, strcspn(bucket, "/"));
        int64_t generation = 0;
        const char *name;
        struct nb_err err;

        if (c->objects.n == 0) {
                if (c->more)
                        list_objects(c);
                else
                        clean_end(c);
                return;
        }
        object = c->objects.v[--c->objects.n];
        c->objects.v[c->objects.n] = NULL;
        name = object + strcspn(object, " ");
        number = nb_strndup(object, (size_t)(name - object));
        /* With its generation it is safe to say again. */
        (void)nb_parse_i64(number, 0, INT64_MAX, &generation, NULL);
        /* What the notebook wrote there may have any name. */
        if (!name_of_bucket || !*name)
                (void)nb_fail(&err, NB_E_NOMEM, "out of memory");
        else if (blob_delete_listed(c->far->blob, name_of_bucket, name + 1, generation, on_deleted,
                                    c, &c->op, &err) == 0)
                return;
        clean_failed(c, &err);
}

static void each_object(void *arg, const struct blob_object *o)
{
        struct far_clean *c = arg;

        (void)nb_strv_add_take(&c->objects,
                               nb_asprintf("%lld %s", (long long)o->generation, o->name));
}

static void on_objects(void *arg, const struct blob_object *o, const struct nb_err *err)
{
        struct far_clean *c = arg;

        c->op = NULL;
        c->more = err && err->code == NB_E_LIMIT; /* those first, then the others */
        if (err && err->code == NB_E_NOTFOUND)
                clean_end(c); /* no bucket, so nothing in it */
        else if (err && !c->more)
                clean_failed(c, err);
        else
                delete_next(c);
}

static void list_objects(struct far_clean *c)
{
        struct nb_err err;

        nb_strv_done(&c->objects);
        if (blob_list(c->far->blob, c->record.prefix, OBJECTS_MAX, each_object, on_objects, c,
                      &c->op, &err) < 0)
                clean_failed(c, &err);
}

/* ---- its job ---- */

static void find_jobs(struct far_clean *c, const char *token);

static bool look_blindly(struct far_clean *c)
{
        const struct config_vertex *v = &c->far->cfg->vertex;
        struct far_record *r = &c->record;
        char label[FAR_LABEL_SIZE];

        far_record_done(r);
        far_label(c->ref, label);
        r->label = nb_strdup(label);
        r->project = nb_strdup(v->project);
        r->here.at.region = nb_strdup(config_vertex_place(v, c->place).region);
        c->blind = true;
        return r->label && r->project && r->here.at.region;
}

/* What it staged is not known, and stays, as its record does. */
static void end_blindly(struct far_clean *c)
{
        struct far *x = c->far;

        nb_log(LOG_WARNING,
               "a run's record cannot be read; its jobs are ended, but what it staged stays: "
               "remove "
               "it from the bucket, then the record's directory",
               NB_F_STR("ref", c->ref), NB_F_STR("bucket", x->cfg->vertex.bucket),
               NB_F_STR("directory", c->dir));
        clean_free(c);
        clean_more(x);
}

static void next_blindly(struct far_clean *c)
{
        struct nb_err err;

        c->rounds = 0;
        c->seen = false;
        if (c->place++ == c->far->cfg->vertex.n_fallbacks)
                end_blindly(c);
        else if (look_blindly(c))
                find_jobs(c, NULL);
        else
                clean_failed(c, (nb_fail(&err, NB_E_NOMEM, "out of memory"), &err));
}

/* Where it was before, another of its jobs may have been overlooked. */
static void job_done(struct far_clean *c)
{
        struct nb_err err;

        if (c->blind) {
                next_blindly(c);
                return;
        }
        if (c->record.place == 0) {
                list_objects(c);
                return;
        }
        c->record.place--;
        c->ended = false;
        c->rounds = 1; /* it is long since, so that one look is enough */
        if (far_record_read_place(c->dir, &c->record, &err) < 0)
                clean_failed(c, &err);
        else
                find_jobs(c, NULL);
}

static void on_jobs(void *arg, const struct http_in *resp, const struct gcp_error *e,
                    const struct nb_err *err)
{
        struct far_clean *c = arg;
        struct far *x = c->far;
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        const struct nb_json *list;
        struct nb_err why;
        struct far_job j;
        const char *token;
        bool alive;

        c->call = NULL;
        tree = err ? NULL : far_read_body(resp, &why);
        if (!tree) {
                clean_failed(c, err ? err : &why);
                return;
        }
        list = x->kind->read_list(nb_json_root(tree), &token);
        for (size_t i = 0; i < nb_json_size(list); i++)
                if (x->kind->read(nb_json_index(list, i), &j) &&
                    nb_streq(j.label, c->record.label) && !far_state_final(j.state)) {
                        c->alive = true;
                        if (!c->cancelled)
                                far_cancel_extra(x, j.name);
                }
        if (token && ++c->pages < FAR_FIND_PAGES) {
                find_jobs(c, token);
                return;
        }
        alive = c->alive;
        c->alive = false;
        c->seen = c->seen || alive;
        c->cancelled = alive;
        /* Whoever forgets it now leaves it to run, and to cost, unseen. */
        if (++c->rounds >= ROUNDS && alive) {
                (void)nb_fail(&why, NB_E_REMOTE, "its job does not end");
                clean_park(c, &why);
                return;
        }
        if (alive && c->rounds % CANCEL_AGAIN == 0)
                c->cancelled = false;
        if (alive)
                loop_timer_arm(c->timer, x->cfg->vertex.poll_us);
        else if (!c->name && !c->seen && c->rounds < 2)
                loop_timer_arm(c->timer, far_lost_us(x));
        else
                job_done(c);
}

static void find_jobs(struct far_clean *c, const char *token)
{
        nb_auto_free char *url =
                c->far->kind->find_url(c->far->cfg, c->record.project, c->record.here.at.region,
                                       c->record.label, -1, token);
        uint64_t wait = token || c->paced ? 0 : far_pace_take(&c->far->finds, far_now_us(c->far));
        struct nb_err err;

        c->paced = wait > 0;
        if (wait > 0) {
                loop_timer_arm(c->timer, wait);
                return;
        }
        if (!token)
                c->pages = 0;
        if (!url)
                (void)nb_fail(&err, NB_E_NOMEM, "out of memory");
        else if (gcp_call(c->far->gcp,
                          &(struct gcp_request){.method = "GET", .url = url, .idempotent = true},
                          on_jobs, c, &c->call, &err) == 0)
                return;
        clean_failed(c, &err);
}

static void begin(struct far_clean *c);

static void clean_timer(void *arg)
{
        struct far_clean *c = arg;

        if (!c->active) { /* it was parked */
                c->active = true;
                c->far->n_cleans++;
        }
        if (!c->begun)
                begin(c);
        else if (c->ended)
                job_done(c);
        else
                find_jobs(c, NULL);
}

static void begin(struct far_clean *c)
{
        struct nb_err err;
        int r = far_record_read(c->dir, &c->record, &err);
        int64_t generation;

        if (r < 0 && err.code == NB_E_NOTFOUND) { /* nothing was sent */
                clean_end(c);
                return;
        }
        if (r < 0 && (err.code == NB_E_CORRUPT || err.code == NB_E_INVALID) && look_blindly(c)) {
                c->begun = true;
                clean_timer(c);
                return;
        }
        if (r < 0) {
                clean_failed(c, &err);
                return;
        }
        far_read_job(c->dir, c->record.place, &c->name, &generation, &c->ended);
        c->begun = true;
        clean_timer(c);
}

/* Those that wait, as far as there is room; in the next round of the loop. */
static void clean_more(struct far *x)
{
        struct far_clean *c = x->cleans;
        struct nb_err err;

        for (; c && x->n_cleans < FAR_CLEANS; c = c->next) {
                if (c->active || c->timer)
                        continue;
                if (loop_timer(x->deps.loop, clean_timer, c, &c->timer, &err) < 0)
                        return;
                loop_timer_arm(c->timer, 0);
                c->active = true;
                x->n_cleans++;
        }
}

void far_clean(struct far *x, const char *ref)
{
        nb_auto_free char *dir = nb_asprintf("%s/%s", x->dir, ref);
        struct far_clean *c;

        if (!dir || access(dir, F_OK) < 0)
                return;
        for (c = x->cleans; c; c = c->next)
                if (nb_streq(c->ref, ref))
                        return;
        c = calloc(1, sizeof(*c));
        if (!c)
                return;
        c->far = x;
        c->ref = nb_strdup(ref);
        c->dir = NB_TAKE(dir);
        c->next = x->cleans;
        x->cleans = c;
        if (!c->ref)
                clean_free(c);
        clean_more(x);
}

bool far_idle(const struct exec *base)
{
        const struct far *x = (const struct far *)base;

        return !x->cleans && !x->extras;
}

void far_cleans_done(struct far *x)
{
        while (x->cleans)
                clean_free(x->cleans);
}
