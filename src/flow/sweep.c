/* SPDX-License-Identifier: Apache-2.0 */

/* sweep.c - old artifacts, old rows, and directories that nothing needs */

#include <dirent.h>
#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>

#include "flow-priv.h"

#define SWEEP_EVERY_US (3600 * NB_US_PER_S)
#define SWEEP_BUILDS 100 /* in one round: bounded work between other work */
#define PRUNE_BUILDS 10  /* in one transaction, each with up to a thousand jobs */
#define GONE ".gone-"

/* Out of the way first, since a preparation in its place may begin before it is
 * removed.  When that fails, whoever needs the place clears it. */
static void sweep_leftover(struct flow *f, const char *dir, const char *name)
{
        nb_auto_free char *from = nb_asprintf("%s/%s", dir, name);
        nb_auto_free char *to = nb_asprintf("%s/" GONE "%s", dir, name);

        if (!from || !to || rename(from, to) < 0)
                return;
        loop_remove_tree_take(f->deps.loop, NB_TAKE(to));
}

void sweep_leftovers(struct flow *f)
{
        nb_auto_free char *dir = nb_asprintf("%s/workspaces", f->config->state_dir);
        NB_CLEANUP(nb_strv_done) struct nb_strv names = {0};
        DIR *d = dir ? opendir(dir) : NULL;

        for (struct dirent *e; d && (e = readdir(d));)
                if (nb_starts_with(e->d_name, GONE)) /* of a sweep that was cut short */
                        loop_remove_tree_take(f->deps.loop, nb_asprintf("%s/%s", dir, e->d_name));
                else if (e->d_name[0] != '.' && !run_has_ref(f, e->d_name))
                        (void)nb_strv_add(&names, e->d_name);
        if (d)
                closedir(d);
        for (size_t i = 0; i < names.n; i++)
                sweep_leftover(f, dir, names.v[i]);
}

/* ---- retention ---- */

struct sweep {
        struct loop_work work;
        struct flow *flow; /* NULL: abandoned */
        char *state_dir;
        int64_t ids[SWEEP_BUILDS];
        size_t n;
};

static void sweep_run(struct loop_work *w)
{
        struct sweep *s = (struct sweep *)w;
        size_t kept = 0;

        for (size_t i = 0; i < s->n && !atomic_load(&w->cancel); i++) {
                nb_auto_free char *dir =
                        nb_asprintf("%s/artifacts/%lld", s->state_dir, (long long)s->ids[i]);
                struct nb_err err;

                if (!dir)
                        continue;
                if (nb_rm_tree(AT_FDCWD, dir, &err) == 0)
                        s->ids[kept++] = s->ids[i]; /* gone: the store may know */
                else
                        nb_log_err(LOG_WARNING, &err, "old artifacts could not be removed",
                                   NB_F_STR("directory", dir));
        }
        s->n = kept;
}

static void sweep_round(void *arg);

static void sweep_done(struct loop_work *w)
{
        struct sweep *s = (struct sweep *)w;
        struct flow *f = s->flow;
        struct nb_err err;
        size_t i = 0;

        while (f && i < s->n && store_artifacts_gone(f->deps.store, s->ids[i], &err) == 0)
                i++;
        if (f) {
                f->sweep = NULL;
                if (i > 0)
                        nb_log(LOG_INFO, "old artifacts removed", NB_F_INT("builds", i));
                /* Again at once while whole rounds succeed. */
                loop_timer_arm(f->sweep_timer, i == SWEEP_BUILDS ? 0 : SWEEP_EVERY_US);
        }
        free(s->state_dir);
        free(s);
}

static int64_t before_ms(const struct flow *f, uint64_t keep_us)
{
        return nb_now_ms(f->deps.clock) - (int64_t)(keep_us / NB_US_PER_MS);
}

/* A build's artifacts are not kept for longer than the build. */
static uint64_t keep_artifacts_us(const struct config *c)
{
        return c->keep_artifacts_us < c->keep_builds_us ? c->keep_artifacts_us : c->keep_builds_us;
}

static int sweep_artifacts(struct flow *f, struct nb_err *err)
{
        struct sweep *s = calloc(1, sizeof(*s));
        int r = -1;

        if (s)
                s->state_dir = nb_strdup(f->config->state_dir);
        if (!s || !s->state_dir) {
                free(s);
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        }
        r = store_expired_artifacts(f->deps.store, before_ms(f, keep_artifacts_us(f->config)),
                                    s->ids, SWEEP_BUILDS, err);
        if (r > 0) {
                s->n = (size_t)r;
                s->flow = f;
                s->work.run = sweep_run;
                s->work.done = sweep_done;
                r = loop_submit(f->deps.loop, &s->work, err);
                if (r == 0) {
                        f->sweep = s;
                        return 1;
                }
        }
        free(s->state_dir);
        free(s);
        return r;
}

static void sweep_round(void *arg)
{
        struct flow *f = arg;
        struct nb_err err;
        int r;

        r = store_prune(f->deps.store, before_ms(f, f->config->keep_builds_us), PRUNE_BUILDS, &err);
        if (r == 0)
                r = sweep_artifacts(f, &err); /* 1: sweep_done() arms the timer */
        else if (r > 0) {
                loop_timer_arm(f->sweep_timer, 0);
                return;
        }
        if (r < 0)
                nb_log_err(LOG_WARNING, &err, "sweeping failed; again in an hour");
        if (r <= 0)
                loop_timer_arm(f->sweep_timer, SWEEP_EVERY_US);
}

void sweep_start(struct flow *f)
{
        struct nb_err err;

        if (loop_timer(f->deps.loop, sweep_round, f, &f->sweep_timer, &err) < 0) {
                nb_log_err(LOG_ERR, &err, "old builds will not be swept until the next start");
                return;
        }
        /* Not at once: a start has better things to do. */
        loop_timer_arm(f->sweep_timer, f->deps.sweep_us ? f->deps.sweep_us : 60 * NB_US_PER_S);
}

void sweep_abandon(struct flow *f)
{
        if (f->sweep) {
                f->sweep->flow = NULL;
                atomic_store(&f->sweep->work.cancel, true);
        }
        f->sweep = NULL;
        f->sweep_timer = loop_source_free(f->sweep_timer);
}
