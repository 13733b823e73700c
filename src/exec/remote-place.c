/* SPDX-License-Identifier: Apache-2.0 */

/*
 * remote-place.c - another machine, or another region, when there is none
 *
 * A job that found no machine has ended; the next one has the same label, and
 * its place as another, so that each is found again by both.  Which place it is
 * is in a file that is on the disk before anything is sent there: one that was
 * refused at the place before has left no job to lead here again.
 */

#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>

#include "remote-priv.h"

#define HISTORY_MAX 8192

static void place_done(struct config_place *p)
{
        free(p->region);
        free(p->machine_type);
        free(p->accelerator_type);
        *p = (struct config_place){0};
}

void far_place_done(struct far_place *p)
{
        place_done(&p->at);
        free(p->body);
        *p = (struct far_place){0};
}

void far_places_free(struct far_place *places, size_t n)
{
        for (size_t i = 0; places && i < n; i++)
                far_place_done(&places[i]);
        free(places);
}

char *far_output_url(const struct far_record *r, unsigned place)
{
        if (r->fixed_output)
                return nb_strdup(r->fixed_output);
        return place == 0 ? nb_asprintf("%soutput.ipynb", r->prefix)
                          : nb_asprintf("%soutput-%u.ipynb", r->prefix, place);
}

char *far_place_text(const struct config_place *p)
{
        nb_auto_buf b = NB_BUF(512);

        (void)nb_buf_puts(&b, p->machine_type);
        if (p->accelerator_type)
                (void)nb_buf_printf(&b, " with %u %s", p->accelerator_count, p->accelerator_type);
        (void)nb_buf_printf(&b, " in %s%s", p->region, p->spot ? " (spot)" : "");
        return nb_buf_steal(&b);
}

static int make_place(struct far_run *u, const struct exec_job *job, unsigned i,
                      struct far_place *ret, struct nb_err *err)
{
        const struct config_place at = config_vertex_place(&u->far->cfg->vertex, i);
        nb_auto_free char *output = far_output_url(&u->record, i);
        nb_auto_buf body = NB_BUF(56 * 1024);
        int r;

        if (!output)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = u->far->kind->plan(u->far->cfg,
                               &(struct far_plan){.job = job,
                                                  .label = u->record.label,
                                                  .group = u->record.group,
                                                  .input = u->record.input,
                                                  .output = output,
                                                  .workspace_kind = u->record.workspace_kind,
                                                  .workspace = u->record.workspace,
                                                  .place = i},
                               &body, err);

        if (r < 0)
                return r;
        ret->at.region = nb_strdup(at.region);
        ret->at.machine_type = nb_strdup(at.machine_type);
        ret->at.accelerator_type = nb_strdup(at.accelerator_type);
        ret->at.accelerator_count = at.accelerator_count;
        ret->at.spot = at.spot;
        ret->body = nb_buf_steal(&body);
        return ret->at.region && ret->at.machine_type && ret->body &&
                               !ret->at.accelerator_type == !at.accelerator_type
                       ? 0
                       : nb_fail(err, NB_E_NOMEM, "out of memory");
}

int far_places_make(struct far_run *u, const struct exec_job *job, struct far_place **ret,
                    struct nb_err *err)
{
        const unsigned n = 1 + (unsigned)u->far->cfg->vertex.n_fallbacks;
        struct far_place *places = nb_alloc_array(n, sizeof(*places));
        int r = places ? 0 : nb_fail(err, NB_E_NOMEM, "out of memory");

        for (unsigned i = 0; r == 0 && i < n; i++)
                r = make_place(u, job, i, &places[i], err);
        if (r < 0) {
                far_places_free(places, n);
                return r;
        }
        u->record.n_places = n;
        *ret = places;
        return 0;
}

static bool add_history(struct far_record *r, const char *text)
{
        nb_auto_buf b = NB_BUF(2 * HISTORY_MAX);
        nb_auto_free char *where = far_place_text(&r->here.at);
        nb_auto_free char *line = nb_utf8_clean(text, strnlen(text, 300), true);
        unsigned lines = 0;
        char *all;

        for (const char *p = r->history; p && *p; p++)
                lines += *p == '\n';
        if (lines > r->place || (r->history && strlen(r->history) > HISTORY_MAX))
                return true; /* it waits here, and said so before */
        (void)nb_buf_printf(&b, "%s%s: %s\n", r->history ? r->history : "", where ? where : "?",
                            line ? line : "?");
        all = nb_buf_steal(&b);
        if (!all)
                return false;
        free(r->history);
        r->history = all;
        return true;
}

static int save_place(const struct far_run *u, unsigned place, struct nb_err *err)
{
        nb_auto_free char *path = nb_asprintf("%s/place", u->dir);
        nb_auto_free char *text = nb_asprintf("%u\n%s", place, u->record.history);

        return path && text ? nb_write_file(AT_FDCWD, path, text, strlen(text), 0600, true, err)
                            : nb_fail(err, NB_E_NOMEM, "out of memory");
}

bool far_place_next(struct far_run *u, const char *text)
{
        struct far_record *r = &u->record;
        nb_auto_free char *from = far_place_text(&r->here.at), *to = NULL;
        struct nb_err err;
        int result = 0;

        if (r->n_places == 1 || !add_history(r, text) || r->place + 1 >= r->n_places)
                return false;
        result = save_place(u, r->place + 1, &err);
        if (result == 0) {
                r->place++;
                result = far_record_read_place(u->dir, r, &err);
        }
        if (result < 0) {
                nb_log_err(LOG_WARNING, &err, "a job could not be tried elsewhere",
                           NB_F_STR("ref", u->ref));
                return false;
        }
        to = far_place_text(&r->here.at);
        nb_log(LOG_INFO, "no machine for a job; it is tried elsewhere", NB_F_STR("ref", u->ref),
               NB_F_STR("from", from ? from : "?"), NB_F_STR("to", to ? to : "?"),
               NB_F_STR("why", text));
        free(u->name);
        u->name = NULL;
        far_save_job(u, false);
        u->end = (struct far_end){0};
        u->run_until_us = 0;
        u->asked = false;
        u->tries = u->finds = u->losses = 0;
        if (u->attached)
                far_find_begin(u);
        else
                far_submit(u);
        return true;
}
