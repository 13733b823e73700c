/* SPDX-License-Identifier: Apache-2.0 */

/* remote-record.c - what a run of a far executor leaves for later processes */

#include <fcntl.h>

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/num.h>

#include "remote-priv.h"

void far_record_done(struct far_record *r)
{
        char *texts[] = {r->prefix, r->input, r->output, r->label, r->group, r->body, r->note};

        for (size_t i = 0; i < NB_ARRAY_SIZE(texts); i++)
                free(texts[i]);
        *r = (struct far_record){0};
}

int far_record_write(const struct far_record *r, struct nb_buf *ret, struct nb_err *err)
{
        struct nb_json_out o = NB_JSON_OUT(ret);

        nb_json_open_object(&o);
        nb_json_kv_str(&o, "prefix", r->prefix);
        nb_json_kv_str(&o, "input", r->input);
        nb_json_kv_str(&o, "output", r->output);
        nb_json_kv_str(&o, "label", r->label);
        nb_json_kv_str(&o, "group", r->group);
        nb_json_kv_str(&o, "body", r->body);
        if (r->note)
                nb_json_kv_str(&o, "note", r->note);
        nb_json_kv_int(&o, "timeout_us", (int64_t)r->timeout_us);
        nb_json_kv_int(&o, "max_output", (int64_t)r->max_output);
        nb_json_close(&o);
        return ret->failed ? nb_fail(err, NB_E_LIMIT, "the record of a run is too long") : 0;
}

static bool take(const struct nb_json *o, const char *key, char **ret)
{
        *ret = nb_strdup(nb_json_str(nb_json_get(o, key), NULL));
        return *ret != NULL;
}

int far_record_read(const char *dir, struct far_record *ret, struct nb_err *err)
{
        static const struct nb_json_limits limits = {.bytes = FAR_RECORD_MAX, .depth = 4};
        nb_auto_buf text = NB_BUF(FAR_RECORD_MAX);
        nb_auto_free char *path = nb_asprintf("%s/record.json", dir);
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *tree = NULL;
        NB_CLEANUP(far_record_done) struct far_record rec = {0};
        const struct nb_json *o;
        int64_t timeout, max;
        int r;

        if (!path)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        r = nb_read_file(AT_FDCWD, path, &text, err);
        if (r == 0)
                r = nb_json_read(nb_buf_str(&text), text.len, &limits, &tree, NULL, err);
        if (r < 0)
                return r;
        o = nb_json_root(tree);
        if (!take(o, "prefix", &rec.prefix) || !take(o, "input", &rec.input) ||
            !take(o, "output", &rec.output) || !take(o, "label", &rec.label) ||
            !take(o, "group", &rec.group) || !take(o, "body", &rec.body) ||
            !nb_json_int(nb_json_get(o, "timeout_us"), &timeout) ||
            !nb_json_int(nb_json_get(o, "max_output"), &max) || timeout < 0 || max < 0)
                return nb_fail(err, NB_E_CORRUPT, "%s is not what this version writes", path);
        (void)take(o, "note", &rec.note);
        rec.timeout_us = (uint64_t)timeout;
        rec.max_output = (uint64_t)max;
        *ret = rec;
        rec = (struct far_record){0};
        return 0;
}

/* Without it a later process asks for the label; so this need not be on disk. */
void far_save_job(const struct far_run *u, bool ended)
{
        nb_auto_free char *path = nb_asprintf("%s/job", u->dir);
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

void far_read_job(const char *dir, char **ret_name, int64_t *ret_generation, bool *ret_ended)
{
        nb_auto_buf text = NB_BUF(4096);
        nb_auto_free char *path = nb_asprintf("%s/job", dir);
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
        if (n == 0 || p[n] != '\n')
                return;
        *ret_name = nb_strndup(p, n);
        p += n + 1;
        number = nb_strndup(p, strcspn(p, "\n"));
        (void)nb_parse_i64(number, 0, INT64_MAX, ret_generation, NULL);
        *ret_ended = strstr(p, "\nended\n") != NULL;
}
