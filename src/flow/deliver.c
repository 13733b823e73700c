/* SPDX-License-Identifier: Apache-2.0 */

/* deliver.c - the http thread's door: is this push for us, and keeping it */

#include <nbcid/forge.h>
#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>
#include <nbcid/store_intake.h>

#include "flow-priv.h"

#define DISK_LOOK_US (1 * NB_US_PER_S) /* statvfs is cheap, not free */

struct flow_door {
        struct flow_door_deps deps;
        struct config *config;
        struct store_intake *intake;
        /* Queued builds are at most this many: counted last, plus accepted since.
         * Only when that reaches the limit is it worth counting again. */
        uint32_t backlog;
        bool backlog_known;
        uint64_t disk_looked_us;
        uint64_t disk_free;
        uint64_t pinged_us; /* the store last took a write that was no delivery */
};

struct flow_delivery {
        struct store_delivery row;
        struct forge_event found;
        char *forge, *id, *event_name, *headers, *ignored;
};

int flow_door_new(const struct flow_door_deps *d, struct flow_door **ret, struct nb_err *err)
{
        NB_CLEANUP(flow_door_freep) struct flow_door *door = calloc(1, sizeof(*door));
        int r;

        if (!door)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        door->deps = *d;
        door->config = config_ref(d->config);
        r = store_intake_open(d->db_path, d->clock, &door->intake, err);
        if (r < 0)
                return r;
        *ret = NB_TAKE(door);
        return 0;
}

struct flow_door *flow_door_free(struct flow_door *d)
{
        if (!d)
                return NULL;
        store_intake_close(d->intake);
        config_unref(d->config);
        free(d);
        return NULL;
}

void flow_door_reconfigure(struct flow_door *d, struct config *c)
{
        config_unref(d->config);
        d->config = config_ref(c);
}

struct flow_delivery *flow_delivery_free(struct flow_delivery *v)
{
        if (!v)
                return NULL;
        forge_event_done(&v->found);
        free(v->forge);
        free(v->id);
        free(v->event_name);
        free(v->headers);
        free(v->ignored);
        free(v);
        return NULL;
}
NB_DEFINE_FREEP(struct flow_delivery *, flow_delivery_free);

/* What a later reader may want to know of the request; never a signature or
 * token. */
static int keep_headers(const struct http_in *req, char **ret, struct nb_err *err)
{
        static const char *const wanted[] = {"Content-Type",        "User-Agent",
                                             "X-GitHub-Event",      "X-GitHub-Delivery",
                                             "X-GitHub-Hook-ID",    "X-Gitlab-Event",
                                             "X-Gitlab-Event-UUID", "X-Gitlab-Webhook-UUID",
                                             "Idempotency-Key",     "webhook-id"};
        nb_auto_buf b = NB_BUF(4096);

        for (size_t i = 0; i < NB_ARRAY_SIZE(wanted); i++) {
                const char *v = http_in_header(req, wanted[i]);

                if (v && strlen(v) <= 256)
                        (void)nb_buf_printf(&b, "%s: %s\n", wanted[i], v);
        }
        *ret = b.failed ? NULL : nb_strdup(nb_buf_str(&b));
        return *ret ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");
}

/* Why the configuration does not want this event, or NULL. */
static char *unwanted(const struct config *c, const struct config_forge *f, const struct event *e)
{
        const struct config_repository *r = config_find_repository(c, f->name, e->repository);

        if (!r)
                return nb_asprintf("repository %s is not configured for forge %s", e->repository,
                                   f->name);
        if (e->kind == EVENT_TAG)
                return f->tags ? NULL : nb_asprintf("tag pushes are not configured");
        if (!config_branch_wanted(r, ref_short(e->ref)))
                return nb_asprintf("branch %s is not configured", ref_short(e->ref));
        return NULL;
}

static int read_event(struct flow_door *d, const struct config_forge *f, const struct http_in *req,
                      struct flow_delivery *v, struct nb_err *err)
{
        const struct forge_ops *ops = forge_ops_of(f->kind);
        int r;

        r = ops->delivery_id(req, &v->id, err);
        if (r < 0)
                return r;
        r = ops->parse_event(req, &v->found, err);
        if (r < 0)
                return r;
        if (r == 0)
                v->ignored = NB_TAKE(v->found.ignored);
        else
                v->ignored = unwanted(d->config, f, &v->found.event);
        v->forge = nb_strdup(f->name);
        v->event_name = nb_utf8_clean(ops->event_name(req), strlen(ops->event_name(req)), true);
        if (!v->forge || !v->event_name || (r == 0 && !v->ignored))
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        return keep_headers(req, &v->headers, err);
}

int flow_door_read(struct flow_door *d, const char *forge, const struct http_in *req,
                   struct flow_delivery **ret, struct nb_err *err)
{
        const struct config_forge *f = config_find_forge(d->config, forge);
        NB_CLEANUP(flow_delivery_freep) struct flow_delivery *v = NULL;
        int r;

        if (!f)
                return nb_fail(err, NB_E_NOTFOUND, "there is no forge \"%.64s\" here", forge);
        r = forge_ops_of(f->kind)->authenticate(f, req, nb_now_ms(d->deps.clock) / 1000, err);
        if (r < 0) {
                atomic_fetch_add(&d->deps.metrics->deliveries[DELIVERY_DENIED], 1);
                return r;
        }
        v = calloc(1, sizeof(*v));
        if (!v)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = read_event(d, f, req, v, err);
        if (r < 0) {
                atomic_fetch_add(&d->deps.metrics->deliveries[DELIVERY_MALFORMED], 1);
                return r;
        }
        v->row = (struct store_delivery){
                .forge = v->forge,
                .delivery_id = v->id,
                .event_name = v->event_name,
                .headers = v->headers,
                .body = req->body,
                .n_body = req->n_body,
                .replay = forge_ops_of(f->kind)->body_is_all,
                .event = v->ignored ? NULL : &v->found.event,
                .ignored = v->ignored,
        };
        *ret = NB_TAKE(v);
        return 0;
}

static int check_disk(struct flow_door *d, struct nb_err *err)
{
        uint64_t now = nb_mono_us(d->deps.clock);
        int r;

        if (d->disk_looked_us == 0 || now - d->disk_looked_us > DISK_LOOK_US) {
                r = nb_free_bytes(d->config->state_dir, &d->disk_free, err);
                if (r < 0)
                        return r;
                d->disk_looked_us = now;
        }
        if (d->disk_free < d->config->min_free)
                return nb_fail(err, NB_E_IO,
                               "the disk of state_dir has %llu MiB left, less than the %llu MiB of "
                               "[server] min_free",
                               (unsigned long long)(d->disk_free >> 20),
                               (unsigned long long)(d->config->min_free >> 20));
        return 0;
}

static int check_backlog(struct flow_door *d, size_t more, struct nb_err *err)
{
        uint32_t max = d->config->max_backlog;
        int r;

        if (d->backlog_known && d->backlog + more <= max)
                return 0;
        r = store_intake_backlog(d->intake, max, &d->backlog, err);
        if (r < 0)
                return r;
        d->backlog_known = true;
        if (d->backlog >= max)
                return nb_fail(err, NB_E_BUSY, "%u builds are queued, [server] max_backlog is %u",
                               d->backlog, max);
        return 0;
}

static void count_deliveries(struct flow_door *d, struct flow_delivery *const *v, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                enum delivery_result k = DELIVERY_IGNORED;

                if (v[i]->row.kind == ACCEPT_NEW) {
                        k = DELIVERY_ACCEPTED;
                        d->backlog++;
                        nb_log(LOG_INFO, "push accepted", NB_F_INT("build", v[i]->row.build),
                               NB_F_STR("forge", v[i]->forge), NB_F_STR("delivery", v[i]->id),
                               NB_F_STR("repository", v[i]->found.event.repository),
                               NB_F_STR("ref", v[i]->found.event.ref),
                               NB_F_STR("commit", v[i]->found.event.after));
                } else if (v[i]->row.kind == ACCEPT_DUPLICATE) {
                        k = DELIVERY_DUPLICATE;
                }
                atomic_fetch_add(&d->deps.metrics->deliveries[k], 1);
        }
}

int flow_door_commit(struct flow_door *d, struct flow_delivery *const *v, size_t n,
                     struct nb_err *err)
{
        nb_auto_free struct store_delivery **rows = nb_alloc_array(n ? n : 1, sizeof(*rows));
        int r;

        if (!rows)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = check_disk(d, err);
        if (r == 0)
                r = check_backlog(d, n, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                rows[i] = &v[i]->row;
        r = store_intake_accept(d->intake, rows, n, err);
        if (r < 0)
                return r;
        count_deliveries(d, v, n);
        d->deps.wake(d->deps.wake_arg);
        return 0;
}

struct flow_answer flow_delivery_answer(const struct flow_delivery *v)
{
        return (struct flow_answer){
                .build = v->row.build,
                .duplicate = v->row.kind == ACCEPT_DUPLICATE,
                .ignored = v->row.build == 0 ? (v->ignored ? v->ignored : "ignored before") : NULL,
        };
}

int flow_door_cancel(struct flow_door *d, int64_t build, struct nb_err *err)
{
        int r = store_intake_cancel(d->intake, build, err);

        if (r == 0)
                d->deps.wake(d->deps.wake_arg);
        return r;
}

int flow_door_retry_build(struct flow_door *d, int64_t build, int64_t *ret_build,
                          struct nb_err *err)
{
        int r = store_intake_retry(d->intake, build, 0, ret_build, err);

        if (r == 0)
                d->deps.wake(d->deps.wake_arg);
        return r;
}

int flow_door_retry_job(struct flow_door *d, int64_t job, int64_t *ret_build, struct nb_err *err)
{
        int r = store_intake_retry(d->intake, 0, job, ret_build, err);

        if (r == 0)
                d->deps.wake(d->deps.wake_arg);
        return r;
}

int flow_door_ready(struct flow_door *d, struct nb_err *err)
{
        int r = check_disk(d, err);

        if (r == 0)
                r = check_backlog(d, 1, err);
        /* Anybody may ask, as often as he likes: no write to the disk for each. */
        if (r < 0 || (d->pinged_us != 0 && nb_mono_us(d->deps.clock) - d->pinged_us < DISK_LOOK_US))
                return r;
        r = store_intake_ping(d->intake, err);
        d->pinged_us = r == 0 ? nb_mono_us(d->deps.clock) : 0;
        return r;
}
