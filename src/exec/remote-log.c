/* SPDX-License-Identifier: Apache-2.0 */

/*
 * remote-log.c - what the container wrote, for the job's log
 *
 * Nice to have: whatever goes wrong here is a line in the log, with the address
 * where it can be read, and the result is what it would have been.  The newest
 * lines are asked for first, since an end is what people look for.
 */

#include <nbcid/log.h>
#include <nbcid/num.h>

#include "remote-priv.h"

#define LOG_BYTES ((size_t)1 << 20)
#define LOG_PAGES 20
#define PAGE_SIZE 500
#define PAGE_SMALL 16 /* each may have 256 KiB: so many are not too long for an answer */
#define LOG_LOOKS 2   /* lines take some seconds to get there */
#define LOG_PAUSE_US (3 * NB_US_PER_S)

/* Pages come newest first, the file begins with the oldest. */
static void put_lines(struct far_run *u)
{
        nb_auto_buf b = NB_BUF(LOG_BYTES + ((size_t)64 << 10));
        struct far_log *l = u->log;

        if (l->cut)
                (void)nb_buf_puts(&b, "(the beginning is left out)\n");
        for (size_t i = l->lines.n; i-- > 0;)
                (void)nb_buf_printf(&b, "%s\n", l->lines.v[i]);
        free(l->text);
        l->text = b.len ? nb_buf_steal(&b) : NULL;
        nb_strv_done(&l->lines);
}

void far_log_free(struct far_run *u)
{
        if (!u->log)
                return;
        if (!u->log->done)
                u->far->n_logs--;
        nb_strv_done(&u->log->lines);
        nb_buf_done(&u->log->body);
        free(u->log->token);
        free(u->log->text);
        free(u->log->trouble);
        free(u->log);
        u->log = NULL;
}

static void log_end(struct far_run *u)
{
        put_lines(u);
        u->log->done = true;
        u->far->n_logs--;
        far_look(u);
}

static void take_line(void *arg, const char *text)
{
        struct far_log *l = arg;
        size_t n = strlen(text);

        if (l->cut || l->bytes + n + 1 > LOG_BYTES) {
                l->cut = true;
                return;
        }
        l->bytes += n + 1;
        if (nb_strv_add(&l->lines, text) < 0)
                l->cut = true;
}

static void say_trouble(struct far_run *u, const struct gcp_error *e, const struct nb_err *err)
{
        const struct far *x = u->far;

        if (e && e->http == 403)
                u->log->trouble = nb_asprintf(
                        "%s may not read it; it needs the permission %s on the project: %s",
                        gcp_identity(x->gcp), x->kind->log_permission, e->message);
        else
                u->log->trouble = nb_strdup(err->msg);
}

static void on_page(void *arg, const struct http_in *resp, const struct gcp_error *e,
                    const struct nb_err *err)
{
        struct far_run *u = arg;
        struct far_log *l = u->log;
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        const char *token = NULL;
        struct nb_err why;

        u->call = NULL;
        tree = err ? NULL : far_read_body(resp, &why);
        if (!tree && (err ? err : &why)->code == NB_E_LIMIT && l->page_size > PAGE_SMALL) {
                l->page_size = PAGE_SMALL;
                far_log_ask(u);
                return;
        }
        if (!tree) {
                say_trouble(u, e, err ? err : &why);
                log_end(u);
                return;
        }
        u->far->kind->log_read(nb_json_root(tree), take_line, l, &token);
        free(l->token);
        l->token = nb_strdup(token);
        if (token && !l->cut && ++l->pages < LOG_PAGES) {
                far_log_ask(u);
                return;
        }
        l->cut = l->cut || token;
        if (l->lines.n == 0 && ++l->looks < LOG_LOOKS)
                loop_timer_arm(u->timer, LOG_PAUSE_US);
        else
                log_end(u);
}

void far_log_ask(struct far_run *u)
{
        struct far *x = u->far;
        struct far_log *l = u->log;
        nb_auto_free char *url = x->kind->log_url(x->cfg);
        struct nb_err err;

        nb_buf_clear(&l->body);
        x->kind->log_body(x->cfg, u->name, u->created, l->token, l->page_size, &l->body);
        if (!url || l->body.failed)
                (void)nb_fail(&err, NB_E_NOMEM, "out of memory");
        else if (gcp_call(x->gcp,
                          &(struct gcp_request){.method = "POST",
                                                .url = url,
                                                .body = nb_buf_str(&l->body),
                                                .n_body = l->body.len,
                                                .idempotent = true,
                                                .tries = 3},
                          on_page, u, &u->call, &err) == 0)
                return;
        say_trouble(u, NULL, &err);
        log_end(u);
}

void far_log(struct far_run *u)
{
        struct far *x = u->far;

        u->stage = FAR_LOG;
        if (!x->kind->log_url || !u->name || x->n_logs >= FAR_LOGS) {
                far_look(u); /* when many end at a time, the service's quota is soon used up */
                return;
        }
        nb_assert(!u->log); /* it ends once */
        u->log = calloc(1, sizeof(*u->log));
        if (!u->log) {
                far_look(u);
                return;
        }
        x->n_logs++;
        u->log->page_size = PAGE_SIZE;
        u->log->body = (struct nb_buf)NB_BUF(8192);
        far_log_ask(u);
}
