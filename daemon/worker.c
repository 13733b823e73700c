/* SPDX-License-Identifier: Apache-2.0 */

/* worker.c - the worker thread: a loop, and the flow on it */

#include <pthread.h>
#include <stdatomic.h>

#include <nbcid/clock.h>
#include <nbcid/exec.h>
#include <nbcid/flow.h>
#include <nbcid/httpc.h>
#include <nbcid/log.h>
#include <nbcid/loop.h>
#include <nbcid/num.h>
#include <nbcid/store.h>
#include <nbcid/str.h>

#include "app.h"

#define POOL_THREADS 4
#define HIDE_MAX 1024 /* files that jobs must not see */
#define HEARTBEAT_US (1 * NB_US_PER_S)
#define DRAIN_BEAT_US (100 * NB_US_PER_MS)
#define PING_EVERY 10 /* heartbeats: a ping writes, and an idle disk should sleep */

struct worker {
        struct worker_deps deps;
        struct loop *loop;
        struct store *store;
        struct httpc *httpc;
        struct exec **execs;
        struct flow_exec *flow_execs;
        size_t n_execs;
        struct flow *flow;
        /* Executors look at this at each start, so it never moves: every secret's
         * file of this configuration and those before.  NULL-terminated. */
        char *hide[HIDE_MAX + 1];
        size_t n_hide;
        struct loop_source *waker, *heartbeat, *recovery;
        pthread_t thread;
        bool started;
        unsigned beats;
        bool draining;       /* the flow was told */
        bool store_ill;      /* the last ping said so */
        bool recovery_waits; /* said once */

        /* said by other threads */
        atomic_bool stop, drain;
        _Atomic(struct config *) next_config;
        /* said by the worker */
        atomic_uint preparing, running, sending;
        atomic_bool idle, ended;
        atomic_uint_fast64_t alive_us;
};

static void worker_tell(struct worker *w)
{
        struct flow_load load = flow_load(w->flow);

        atomic_store(&w->preparing, load.preparing);
        atomic_store(&w->running, load.running);
        atomic_store(&w->sending, load.sending);
        atomic_store(&w->idle, w->draining && flow_idle(w->flow));
}

static int hide_secrets(struct worker *w, const struct config *c, struct nb_err *err)
{
        for (size_t i = 0; i < c->secret_files.n; i++) {
                const char *file = c->secret_files.v[i];
                size_t k = 0;

                while (k < w->n_hide && !nb_streq(w->hide[k], file))
                        k++;
                if (k < w->n_hide)
                        continue;
                if (k == HIDE_MAX)
                        return nb_fail(err, NB_E_LIMIT,
                                       "jobs can see %s: a restart forgets the files of secrets "
                                       "that are used no more, of which there are too many",
                                       file);
                w->hide[k] = nb_strdup(file);
                if (!w->hide[k])
                        return nb_fail(err, NB_E_NOMEM, "out of memory: jobs can see %s", file);
                w->n_hide++;
        }
        return 0;
}

static void worker_woken(void *arg)
{
        struct worker *w = arg;
        struct config *c = atomic_exchange(&w->next_config, NULL);
        struct nb_err err;

        if (c) {
                if (hide_secrets(w, c, &err) < 0)
                        nb_log_err(LOG_CRIT, &err, "a secret is not hidden; restart the daemon");
                flow_reconfigure(w->flow, c);
                config_unref(c);
        }
        if (atomic_load(&w->drain) && !w->draining) {
                w->draining = true;
                flow_drain(w->flow);
                loop_timer_arm(w->heartbeat, DRAIN_BEAT_US); /* somebody waits for it */
        }
        if (atomic_load(&w->stop))
                loop_exit(w->loop);
        flow_poke(w->flow);
}

static void worker_beat(void *arg)
{
        struct worker *w = arg;
        struct nb_err err;

        if (w->beats++ % PING_EVERY == 0) {
                bool refused = store_ping(w->store, &err) < 0;

                /* A full disk is trouble that the flow waits out; a restart would
                 * not help.  For a database that is broken or stuck it may: we stay
                 * silent until a ping is well again. */
                w->store_ill = refused && err.code != NB_E_IO;
                if (refused)
                        nb_log_err(LOG_WARNING, &err, "the database does not take a write");
        }
        if (!w->store_ill)
                atomic_store(&w->alive_us, nb_mono_us(&nb_clock_real));
        worker_tell(w);
        loop_timer_arm(w->heartbeat, w->draining ? DRAIN_BEAT_US : HEARTBEAT_US);
}

/* A start on a full disk waits for room, as everything later does. */
static void worker_recover(void *arg)
{
        struct worker *w = arg;
        struct nb_err err;

        if (flow_recover(w->flow, &err) == 0)
                return;
        if (!nb_errc_policy(err.code)->retry) {
                nb_log_err(LOG_CRIT, &err, "recovery failed");
                loop_exit(w->loop);
                return;
        }
        if (!w->recovery_waits)
                nb_log_err(LOG_ERR, &err, "recovery failed; trying again every second");
        w->recovery_waits = true;
        loop_timer_arm(w->recovery, HEARTBEAT_US);
}

static void *worker_main(void *arg)
{
        struct worker *w = arg;
        struct nb_err err;

        pthread_setname_np(pthread_self(), "worker");
        loop_timer_arm(w->recovery, 0);
        worker_beat(w);
        if (loop_run(w->loop, &err) < 0)
                nb_log_err(LOG_CRIT, &err, "the worker's loop failed");
        atomic_store(&w->ended, !atomic_load(&w->stop));
        return NULL;
}

static int open_execs(struct worker *w, struct nb_err *err)
{
        const struct config *c = w->deps.config;
        struct exec_deps deps = {.loop = w->loop,
                                 .clock = &nb_clock_real,
                                 .state_dir = c->state_dir,
                                 .self = w->deps.self,
                                 .hide = (const char *const *)w->hide,
                                 .environments_max = c->environments_max,
                                 .build_timeout_us = c->build_timeout_us,
                                 .index_url = c->index_url,
                                 .pip_config = c->pip_config};
        int r;

        r = hide_secrets(w, c, err);
        if (r < 0)
                return r;
        w->execs = nb_alloc_array(c->n_executors, sizeof(*w->execs));
        w->flow_execs = nb_alloc_array(c->n_executors, sizeof(*w->flow_execs));
        if (!w->execs || !w->flow_execs)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        for (size_t i = 0; i < c->n_executors; i++) {
                r = exec_open(&c->executors[i], &deps, &w->execs[i], err);
                if (r < 0)
                        return nb_wrap(err, r, "executor %s", c->executors[i].name);
                w->flow_execs[i] = (struct flow_exec){.name = c->executors[i].name,
                                                      .slots = c->executors[i].slots,
                                                      .exec = w->execs[i]};
                w->n_execs++;
        }
        exec_say_left(c);
        return 0;
}

int worker_new(const struct worker_deps *d, struct worker **ret, struct nb_err *err)
{
        NB_CLEANUP(worker_freep) struct worker *w = calloc(1, sizeof(*w));
        int r;

        if (!w)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        w->deps = *d;
        config_ref(w->deps.config); /* executors borrow from it for as long as we live */
        atomic_store(&w->alive_us, nb_mono_us(&nb_clock_real));
        r = store_open(&(struct store_opts){.path = d->db_path, .clock = &nb_clock_real}, &w->store,
                       err);
        if (r == 0)
                r = loop_new(POOL_THREADS, &w->loop, err);
        if (r == 0)
                r = httpc_curl_new(w->loop,
                                   &(struct httpc_opts){.connect_timeout_us = 10 * NB_US_PER_S,
                                                        .timeout_us = 30 * NB_US_PER_S,
                                                        .max_response = 1 << 20,
                                                        .max_connections = 16,
                                                        .user_agent = "nbcid/" NBCID_VERSION},
                                   &w->httpc, err);
        if (r == 0)
                r = open_execs(w, err);
        if (r == 0)
                r = flow_new(&(struct flow_deps){.config = d->config,
                                                 .clock = &nb_clock_real,
                                                 .loop = w->loop,
                                                 .store = w->store,
                                                 .httpc = w->httpc,
                                                 .metrics = d->metrics,
                                                 .execs = w->flow_execs,
                                                 .n_execs = w->n_execs},
                             &w->flow, err);
        if (r == 0)
                r = loop_waker(w->loop, worker_woken, w, &w->waker, err);
        if (r == 0)
                r = loop_timer(w->loop, worker_beat, w, &w->heartbeat, err);
        if (r == 0)
                r = loop_timer(w->loop, worker_recover, w, &w->recovery, err);
        if (r < 0)
                return r;
        *ret = NB_TAKE(w);
        return 0;
}

int worker_start(struct worker *w, struct nb_err *err)
{
        int r = pthread_create(&w->thread, NULL, worker_main, w);

        if (r != 0)
                return nb_fail_errno(err, r, "cannot start the worker thread");
        w->started = true;
        return 0;
}

struct worker *worker_free(struct worker *w)
{
        if (!w)
                return NULL;
        if (w->started) {
                atomic_store(&w->stop, true);
                loop_wake(w->waker);
                pthread_join(w->thread, NULL);
        }
        flow_free(w->flow);
        loop_source_free(w->waker);
        loop_source_free(w->heartbeat);
        loop_source_free(w->recovery);
        for (size_t i = 0; i < w->n_execs; i++)
                exec_close(w->execs[i]);
        httpc_free(w->httpc);
        loop_free(w->loop);
        store_close(w->store);
        config_unref(atomic_exchange(&w->next_config, NULL));
        config_unref(w->deps.config);
        for (size_t i = 0; i < w->n_hide; i++)
                free(w->hide[i]);
        free(w->execs);
        free(w->flow_execs);
        free(w);
        return NULL;
}

void worker_wake(void *worker)
{
        struct worker *w = worker;

        loop_wake(w->waker);
}

void worker_reconfigure(struct worker *w, struct config *c)
{
        config_unref(atomic_exchange(&w->next_config, config_ref(c)));
        loop_wake(w->waker);
}

void worker_drain(struct worker *w)
{
        atomic_store(&w->drain, true);
        loop_wake(w->waker);
}

struct worker_state worker_state(const struct worker *w)
{
        const uint64_t alive_us = atomic_load(&w->alive_us), now = nb_mono_us(&nb_clock_real);

        return (struct worker_state){
                .preparing = atomic_load(&w->preparing),
                .running = atomic_load(&w->running),
                .sending = atomic_load(&w->sending),
                .idle = atomic_load(&w->idle),
                .silence_us = now > alive_us ? now - alive_us : 0,
                .ended = atomic_load(&w->ended),
        };
}
