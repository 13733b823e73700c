/* SPDX-License-Identifier: Apache-2.0 */

/* remote-record.c - what a run of a far executor leaves for later processes */

#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>

#include "remote-priv.h"

void far_record_done(struct far_record *r)
{
        char *texts[] = {r->project,       r->fixed_output, r->prefix, r->input,   r->output,
                         r->label,         r->group,        r->note,   r->history, r->workspace,
                         r->workspace_dir, r->image,        r->why};

        for (size_t i = 0; i < NB_ARRAY_SIZE(texts); i++)
                free(texts[i]);
        far_place_done(&r->here);
        *r = (struct far_record){0};
}

static void write_place(struct nb_json_out *o, const struct far_place *p)
{
        nb_json_open_object(o);
        nb_json_kv_str(o, "region", p->at.region);
        nb_json_kv_str(o, "machine_type", p->at.machine_type);
        if (p->at.accelerator_type) {
                nb_json_kv_str(o, "accelerator_type", p->at.accelerator_type);
                nb_json_kv_int(o, "accelerator_count", p->at.accelerator_count);
        }
        nb_json_kv_bool(o, "spot", p->at.spot);
        nb_json_kv_str(o, "body", p->body);
        nb_json_close(o);
}

int far_record_write(const struct far_record *r, const struct far_place *places, struct nb_buf *ret,
                     struct nb_err *err)
{
        struct nb_json_out o = NB_JSON_OUT(ret);

        nb_json_open_object(&o);
        nb_json_kv_str(&o, "project", r->project);
        nb_json_kv_str(&o, "prefix", r->prefix);
        nb_json_kv_str(&o, "input", r->input);
        nb_json_kv_str(&o, "label", r->label);
        nb_json_kv_str(&o, "group", r->group);
        if (r->note)
                nb_json_kv_str(&o, "note", r->note);
        nb_json_kv_str(&o, "image", r->image);
        nb_json_kv_str(&o, "why", r->why);
        if (r->workspace) {
                nb_json_kv_str(&o, "workspace_kind", workspace_kind_name(r->workspace_kind));
                nb_json_kv_str(&o, "workspace", r->workspace);
                nb_json_kv_str(&o, "workspace_dir", r->workspace_dir);
        }
        if (r->fixed_output)
                nb_json_kv_str(&o, "fixed_output", r->fixed_output);
        if (r->there)
                nb_json_kv_bool(&o, "there", true);
        if (r->newer_than)
                nb_json_kv_int(&o, "newer_than", r->newer_than);
        nb_json_kv_int(&o, "timeout_us", (int64_t)r->timeout_us);
        nb_json_kv_int(&o, "max_output", (int64_t)r->max_output);
        nb_json_key(&o, "places");
        nb_json_open_array(&o);
        for (unsigned i = 0; i < r->n_places; i++)
                write_place(&o, &places[i]);
        nb_json_close(&o);
        nb_json_close(&o);
        return ret->failed ? nb_fail(err, NB_E_LIMIT, "the record of a run is too long") : 0;
}

static bool take(const struct nb_json *o, const char *key, char **ret)
{
        *ret = nb_strdup(nb_json_str(nb_json_get(o, key), NULL));
        return *ret != NULL;
}

static bool take_place(const struct nb_json *o, struct far_place *p)
{
        int64_t count = 0;

        if (!take(o, "region", &p->at.region) || !take(o, "machine_type", &p->at.machine_type) ||
            !take(o, "body", &p->body))
                return false;
        if (take(o, "accelerator_type", &p->at.accelerator_type) &&
            (!nb_json_int(nb_json_get(o, "accelerator_count"), &count) || count < 1 || count > 64))
                return false;
        p->at.accelerator_count = (uint32_t)count;
        return nb_json_bool(nb_json_get(o, "spot"), &p->at.spot);
}

/* The file that says where it has come to; without one it is at the first. */
static void read_where(const char *dir, struct far_record *r)
{
        nb_auto_buf text = NB_BUF(64 * 1024);
        nb_auto_free char *path = nb_asprintf("%s/place", dir);
        nb_auto_free char *number = NULL;
        uint64_t place;
        const char *p;
        size_t n;

        if (!path || nb_read_file(AT_FDCWD, path, &text, NULL) < 0)
                return;
        p = nb_buf_str(&text);
        n = strcspn(p, "\n");
        number = nb_strndup(p, n);
        if (!number || nb_parse_u64(number, 0, r->n_places - 1, &place, NULL) < 0)
                return;
        r->place = (unsigned)place;
        r->history = p[n] ? nb_strdup(p + n + 1) : NULL;
}

static int read_tree(const char *dir, struct nb_json_tree **ret, struct nb_err *err)
{
        static const struct nb_json_limits limits = {.bytes = FAR_RECORD_MAX, .depth = 4};
        nb_auto_buf text = NB_BUF(FAR_RECORD_MAX);
        nb_auto_free char *path = nb_asprintf("%s/record.json", dir);
        int r;

        if (!path)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = nb_read_file(AT_FDCWD, path, &text, err);
        return r < 0 ? r : nb_json_read(nb_buf_str(&text), text.len, &limits, ret, NULL, err);
}

static int not_ours(const char *dir, struct nb_err *err)
{
        return nb_fail(err, NB_E_CORRUPT, "%s/record.json is not what this version writes", dir);
}

int far_record_read(const char *dir, struct far_record *ret, struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        NB_CLEANUP(far_record_done) struct far_record rec = {0};
        const struct nb_json *o, *places;
        int64_t timeout, max;
        int r = read_tree(dir, &tree, err);

        if (r < 0)
                return r;
        o = nb_json_root(tree);
        places = nb_json_get(o, "places");
        rec.n_places = (unsigned)nb_json_size(places);
        if (!take(o, "project", &rec.project) || !take(o, "prefix", &rec.prefix) ||
            !take(o, "input", &rec.input) || !take(o, "label", &rec.label) ||
            !take(o, "group", &rec.group) || rec.n_places == 0 ||
            !nb_json_int(nb_json_get(o, "timeout_us"), &timeout) ||
            !nb_json_int(nb_json_get(o, "max_output"), &max) || timeout < 0 || max < 0)
                return not_ours(dir, err);
        read_where(dir, &rec);
        if (!take_place(nb_json_index(places, rec.place), &rec.here))
                return not_ours(dir, err);
        (void)take(o, "fixed_output", &rec.fixed_output);
        rec.output = far_output_url(&rec, rec.place);
        if (!rec.output)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        (void)take(o, "note", &rec.note);
        (void)take(o, "image", &rec.image);
        (void)take(o, "why", &rec.why);
        (void)nb_json_bool(nb_json_get(o, "there"), &rec.there);
        (void)nb_json_int(nb_json_get(o, "newer_than"), &rec.newer_than);
        if (take(o, "workspace", &rec.workspace) &&
            (!take(o, "workspace_dir", &rec.workspace_dir) ||
             !workspace_kind_parse(nb_json_str(nb_json_get(o, "workspace_kind"), NULL),
                                   &rec.workspace_kind)))
                return not_ours(dir, err);
        rec.timeout_us = (uint64_t)timeout;
        rec.max_output = (uint64_t)max;
        *ret = rec;
        rec = (struct far_record){0};
        return 0;
}

int far_record_read_place(const char *dir, struct far_record *r, struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        NB_CLEANUP(far_place_done) struct far_place here = {0};
        nb_auto_free char *output = NULL;
        int result = read_tree(dir, &tree, err);

        if (result < 0)
                return result;
        if (!take_place(nb_json_index(nb_json_get(nb_json_root(tree), "places"), r->place), &here))
                return not_ours(dir, err);
        output = far_output_url(r, r->place);
        if (!output)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        far_place_done(&r->here);
        r->here = here;
        here = (struct far_place){0};
        free(r->output);
        r->output = NB_TAKE(output);
        return 0;
}

/* Without it a later process asks for the label; so this need not be on disk.
 * Before there is a job it says how old the input is, which its output must not be. */
void far_save_job(const struct far_run *u, bool ended)
{
        nb_auto_free char *path = nb_asprintf("%s/job-%u", u->dir, u->record.place);
        nb_auto_free char *text =
                nb_asprintf("%s\n%lld\n%s", u->name ? u->name : "", (long long)u->input_generation,
                            ended ? "ended\n" : "");
        struct nb_err err;

        if (!path || !text)
                return;
        if (nb_write_file(AT_FDCWD, path, text, strlen(text), 0600, false, &err) < 0)
                nb_log_err(LOG_WARNING, &err, "a job's name could not be kept",
                           NB_F_STR("ref", u->ref));
}

void far_read_job(const char *dir, unsigned place, char **ret_name, int64_t *ret_generation,
                  bool *ret_ended)
{
        nb_auto_buf text = NB_BUF(4096);
        nb_auto_free char *path = nb_asprintf("%s/job-%u", dir, place);
        nb_auto_free char *number = NULL;
        const char *p;
        size_t n;

        *ret_name = NULL;
        *ret_generation = 0;
        *ret_ended = false;
        if (!path || nb_read_file(AT_FDCWD, path, &text, NULL) < 0)
                return;
        p = nb_buf_str(&text);
        n = strcspn(p, "\n");
        if (p[n] != '\n')
                return;
        *ret_name = n > 0 ? nb_strndup(p, n) : NULL;
        p += n + 1;
        number = nb_strndup(p, strcspn(p, "\n"));
        (void)nb_parse_i64(number, 0, INT64_MAX, ret_generation, NULL);
        *ret_ended = strstr(p, "\nended\n") != NULL;
}
