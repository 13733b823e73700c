/* SPDX-License-Identifier: Apache-2.0 */

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>

#include "flow-priv.h"

/* Wall clocks jump and timers do not: what waits is looked at so often. */
#define DUE_MAX_US (60 * NB_US_PER_S)

void flow_look_soon(struct flow *f)
{
        f->look_soon = true;
        loop_timer_arm(f->look, 0);
}

void flow_again(struct flow *f)
{
        f->again = true;
}

static bool disk_is_low(struct flow *f)
{
        const uint64_t now = nb_mono_us(f->deps.clock);
        uint64_t left;

        if (f->disk_looked_us != 0 && now - f->disk_looked_us < FLOW_RETRY_US)
                return f->disk_low;
        f->disk_looked_us = now;
        /* When it cannot be told, whoever writes will. */
        if (nb_free_bytes(f->config->state_dir, &left, NULL) < 0)
                left = UINT64_MAX;
        if (f->disk_low != (left < f->config->min_free)) {
                f->disk_low = !f->disk_low;
                nb_log(f->disk_low ? LOG_ERR : LOG_NOTICE,
                       f->disk_low ? "the disk of state_dir is below [server] min_free: nothing "
                                     "new is started; free some space, or shorten [retention]"
                                   : "the disk of state_dir has room again",
                       NB_F_INT("free_mib", left >> 20),
                       NB_F_INT("min_free_mib", f->config->min_free >> 20));
        }
        return f->disk_low;
}

bool flow_may_start(struct flow *f)
{
        if (f->draining)
                return false;
        if (!disk_is_low(f))
                return true;
        flow_again(f);
        return false;
}

void progress_soon(struct flow *f)
{
        if (f->progress_armed)
                return;
        f->progress_armed = true;
        loop_timer_arm(f->progress, FLOW_PROGRESS_US);
}

static void progress_due(void *arg)
{
        struct flow *f = arg;

        f->progress_armed = false;
        run_store_progress(f);
}

bool flow_store_failed(struct flow *f, const struct nb_err *err, const char *what)
{
        atomic_fetch_add(&f->deps.metrics->store_errors, 1);
        if (!f->store_trouble)
                nb_log_err(LOG_ERR, err, "the database refused; trying again every second",
                           NB_F_STR("verb", what));
        f->store_trouble = true;
        return false;
}

int64_t flow_backoff_ms(const struct flow *f, uint32_t n)
{
        uint64_t base = f->deps.retry_base_us ? f->deps.retry_base_us : 10 * NB_US_PER_S;
        uint64_t ms = base / NB_US_PER_MS;

        for (uint32_t i = 0; i < n && ms < 3600 * 1000; i++)
                ms *= 2;
        return (int64_t)(ms < 3600 * 1000 ? ms : 3600 * 1000);
}

static bool cancel_look(struct flow *f)
{
        struct nb_err err;
        int64_t build;
        int r;

        while ((r = store_pick_cancel(f->deps.store, &build, &err)) > 0) {
                nb_log(LOG_INFO, "build cancelled", NB_F_INT("build", build));
                prepare_cancel(f, build);
                run_cancel(f, build);
        }
        return r == 0 || flow_store_failed(f, &err, "pick_cancel");
}

static void arm_due(struct flow *f)
{
        struct nb_err err;
        uint64_t in_us = UINT64_MAX;
        int64_t due_ms, now = nb_now_ms(f->deps.clock), pause_ms = notes_pause_end(f);

        if (store_next_due(f->deps.store, &due_ms, &err) < 0) {
                (void)flow_store_failed(f, &err, "next_due");
                loop_timer_arm(f->due, FLOW_RETRY_US);
                return;
        }
        if (pause_ms < due_ms)
                due_ms = pause_ms;
        if (due_ms <= now) /* told once, see there */
                in_us = NB_US_PER_S / 5;
        else if (due_ms != INT64_MAX)
                in_us = (uint64_t)(due_ms - now) < DUE_MAX_US / NB_US_PER_MS
                                ? (uint64_t)(due_ms - now) * NB_US_PER_MS
                                : DUE_MAX_US;
        if (f->again && in_us > FLOW_RETRY_US)
                in_us = FLOW_RETRY_US;
        loop_timer_arm(f->due, in_us);
}

static void flow_look(void *arg)
{
        struct flow *f = arg;
        bool well;

        f->look_soon = f->again = false;
        if (!f->recovered) /* what is in the store may be in nobody's hand yet */
                return;
        well = cancel_look(f);
        well = well && prepare_look(f);
        well = well && run_look(f);
        well = well && notes_look(f);
        if (!well) {
                loop_timer_arm(f->due, FLOW_RETRY_US);
                return;
        }
        if (f->store_trouble)
                nb_log(LOG_NOTICE, "the database works again");
        f->store_trouble = false;
        arm_due(f);
}

int flow_new(const struct flow_deps *d, struct flow **ret, struct nb_err *err)
{
        NB_CLEANUP(flow_freep) struct flow *f = NULL;
        int r;

        f = calloc(1, sizeof(*f));
        if (!f)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        f->deps = *d;
        f->config = config_ref(d->config);
        r = loop_timer(d->loop, flow_look, f, &f->look, err);
        if (r < 0)
                return r;
        r = loop_timer(d->loop, flow_look, f, &f->due, err);
        if (r == 0)
                r = loop_timer(d->loop, progress_due, f, &f->progress, err);
        if (r < 0)
                return r;
        *ret = NB_TAKE(f);
        return 0;
}

struct flow *flow_free(struct flow *f)
{
        if (!f)
                return NULL;
        prepare_abandon(f);
        run_abandon(f);
        notes_abandon(f);
        sweep_abandon(f);
        loop_source_free(f->look);
        loop_source_free(f->due);
        loop_source_free(f->progress);
        for (size_t i = 0; i < f->n_pauses; i++)
                free(f->pauses[i].forge);
        free(f->pauses);
        config_unref(f->config);
        free(f);
        return NULL;
}

void flow_poke(struct flow *f)
{
        flow_look_soon(f);
}

void flow_reconfigure(struct flow *f, struct config *c)
{
        config_unref(f->config);
        f->config = config_ref(c);
        f->disk_looked_us = 0;
        flow_look_soon(f);
}

void flow_drain(struct flow *f)
{
        f->draining = true;
}

bool flow_idle(const struct flow *f)
{
        return !f->look_soon && !f->preps && !f->runs && !f->sends && !f->sweep;
}

struct flow_load flow_load(const struct flow *f)
{
        return (struct flow_load){
                .preparing = f->n_preps, .running = f->n_runs, .sending = f->n_sends};
}

void flow_artifact_dir(int64_t build, int64_t job, char *buf, size_t size)
{
        (void)nb_fmt(buf, size, "artifacts/%lld/%lld", (long long)build, (long long)job);
}
