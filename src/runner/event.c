/* SPDX-License-Identifier: Apache-2.0 */

/* event.c - events.jsonl, both ways */

#include <nbcid/json.h>

#include "runner-priv.h"

#define EVENT_MAX (64 * 1024)

static const struct {
        const char *name;
        enum runner_event_kind kind;
} kinds[] = {
        {"kernel_ready", RUNNER_KERNEL_READY},   {"cell_started", RUNNER_CELL_STARTED},
        {"cell_finished", RUNNER_CELL_FINISHED}, {"cell_failed", RUNNER_CELL_FAILED},
        {"finished", RUNNER_FINISHED},
};

void runner_event_done(struct runner_event *ev)
{
        run_result_done(&ev->result);
        *ev = (struct runner_event){0};
}

static char *text_of(const struct nb_json *o, const char *key)
{
        size_t n;
        const char *s = nb_json_str(nb_json_get(o, key), &n);

        return s ? nb_utf8_clean(s, n, true) : NULL;
}

static uint64_t u64_of(const struct nb_json *o, const char *key)
{
        int64_t v = 0;

        (void)nb_json_int(nb_json_get(o, key), &v);
        return v > 0 ? (uint64_t)v : 0;
}

static void read_result(const struct nb_json *o, struct run_result *r)
{
        const char *class = nb_json_str(nb_json_get(o, "class"), NULL);

        r->class = CLASS_NONE;
        if (class)
                (void)run_class_parse(class, &r->class);
        (void)nb_json_int(nb_json_get(o, "cell"), &r->cell);
        (void)nb_json_int(nb_json_get(o, "cells"), &r->cells);
        (void)nb_json_int(nb_json_get(o, "cells_done"), &r->cells_done);
        r->ename = text_of(o, "ename");
        r->evalue = text_of(o, "evalue");
        r->reason = text_of(o, "reason");
        r->wall_us = u64_of(o, "wall_us");
        r->cpu_us = u64_of(o, "cpu_us");
        r->mem_peak = u64_of(o, "memory_peak");
        r->signo = (int)u64_of(o, "signo");
}

int runner_event_parse(const char *line, size_t n, struct runner_event *ret, struct nb_err *err)
{
        static const struct nb_json_limits limits = {.bytes = EVENT_MAX, .depth = 4, .values = 200};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        const struct nb_json *o;
        const char *name;
        int r;

        r = nb_json_read(line, n, &limits, &tree, NULL, err);
        if (r < 0)
                return nb_wrap(err, r, "event of the runner");
        o = nb_json_root(tree);
        name = nb_json_str(nb_json_get(o, "event"), NULL);
        if (!name)
                return nb_fail(err, NB_E_INVALID, "an event of the runner has no \"event\"");
        *ret = (struct runner_event){.kind = RUNNER_OTHER};
        for (size_t i = 0; i < NB_ARRAY_SIZE(kinds); i++)
                if (nb_streq(kinds[i].name, name))
                        ret->kind = kinds[i].kind;
        read_result(o, &ret->result);
        ret->cell = ret->result.cell;
        ret->cells = ret->result.cells;
        ret->cells_done = ret->result.cells_done;
        (void)nb_json_double(nb_json_get(o, "seconds"), &ret->seconds);
        return 0;
}

/* What ended is said in two ways: in the words of job states, for people, and by
 * its class, for programs. */
static const char *status_word(enum run_class c)
{
        return job_state_name(run_class_state(c));
}

static void write_finished(struct nb_json_out *o, const struct run_result *r)
{
        nb_json_kv_str(o, "status", status_word(r->class));
        nb_json_kv_str(o, "class", run_class_name(r->class));
        if (r->reason)
                nb_json_kv_str(o, "reason", r->reason);
        nb_json_kv_int(o, "wall_us", (int64_t)r->wall_us);
        nb_json_kv_int(o, "cpu_us", (int64_t)r->cpu_us);
        nb_json_kv_int(o, "memory_peak", (int64_t)r->mem_peak);
        if (r->signo)
                nb_json_kv_int(o, "signo", r->signo);
}

int runner_event_write(struct nb_buf *b, const struct runner_event *ev)
{
        struct nb_json_out o = NB_JSON_OUT(b);
        const char *name = "other";

        for (size_t i = 0; i < NB_ARRAY_SIZE(kinds); i++)
                if (kinds[i].kind == ev->kind)
                        name = kinds[i].name;
        nb_json_open_object(&o);
        nb_json_kv_str(&o, "event", name);
        if (ev->kind == RUNNER_FINISHED)
                write_finished(&o, &ev->result);
        if (ev->cell > 0)
                nb_json_kv_int(&o, "cell", ev->cell);
        if (ev->result.ename)
                nb_json_kv_str(&o, "ename", ev->result.ename);
        if (ev->result.evalue)
                nb_json_kv_str(&o, "evalue", ev->result.evalue);
        if (ev->cells > 0) {
                nb_json_kv_int(&o, "cells", ev->cells);
                nb_json_kv_int(&o, "cells_done", ev->cells_done);
        }
        if (ev->kind == RUNNER_CELL_FINISHED) {
                nb_json_key(&o, "seconds");
                nb_json_put_double(&o, ev->seconds);
        }
        nb_json_close(&o);
        (void)nb_buf_putc(b, '\n');
        return b->failed ? -NB_E_NOMEM : 0;
}
