/* SPDX-License-Identifier: Apache-2.0 */

/* sarif.c - findings as a SARIF 2.1.0 log (OASIS), which code scanners read */

#include "check-priv.h"

void check_sarif_begin(struct check_sarif *s, const char *version, struct nb_buf *ret)
{
        *s = (struct check_sarif){.out = NB_JSON_OUT(ret), .version = version};
        nb_json_open_object(&s->out);
        nb_json_kv_str(&s->out, "$schema", "https://json.schemastore.org/sarif-2.1.0.json");
        nb_json_kv_str(&s->out, "version", "2.1.0");
        nb_json_key(&s->out, "runs");
        nb_json_open_array(&s->out);
        nb_json_open_object(&s->out);
        nb_json_key(&s->out, "results");
        nb_json_open_array(&s->out);
}

static void put_physical(struct nb_json_out *o, const char *name, const struct finding *f)
{
        nb_auto_free char *uri = nb_url_encode(name, true);

        nb_json_key(o, "physicalLocation");
        nb_json_open_object(o);
        nb_json_key(o, "artifactLocation");
        nb_json_open_object(o);
        nb_json_kv_str(o, "uri", uri ? uri : "");
        nb_json_close(o);
        if (f->line > 0) {
                nb_json_key(o, "region");
                nb_json_open_object(o);
                nb_json_kv_int(o, "startLine", (int64_t)f->line);
                nb_json_close(o);
        }
        nb_json_close(o);
}

static void put_logical(struct nb_json_out *o, const struct finding *f)
{
        nb_auto_free char *path =
                f->path ? nb_strdup(f->path) : nb_asprintf("cells[%lld]", (long long)f->cell - 1);

        if (!f->path && f->cell == 0)
                return;
        nb_json_key(o, "logicalLocations");
        nb_json_open_array(o);
        nb_json_open_object(o);
        nb_json_kv_str(o, "fullyQualifiedName", path ? path : "");
        nb_json_close(o);
        nb_json_close(o);
}

/* One text, since viewers show no other: place in the cell, message, remedy. */
static void put_message(struct nb_json_out *o, const struct finding *f)
{
        nb_auto_buf b = NB_BUF(1 << 14);

        if (f->cell > 0)
                (void)nb_buf_printf(&b, "cell %lld", (long long)f->cell);
        if (f->cell > 0 && f->cell_line > 0)
                (void)nb_buf_printf(&b, " line %zu", f->cell_line);
        (void)nb_buf_printf(&b, "%s%s", f->cell > 0 ? ": " : "", f->message ? f->message : "");
        if (f->remedy)
                (void)nb_buf_printf(&b, "; %s", f->remedy);
        nb_json_key(o, "message");
        nb_json_open_object(o);
        nb_json_kv_str(o, "text", nb_buf_str(&b));
        nb_json_close(o);
}

void check_sarif_add(struct check_sarif *s, const char *name, const struct findings *f)
{
        struct nb_json_out *o = &s->out;

        for (size_t i = 0; i < f->n; i++) {
                const struct finding *x = &f->v[i];

                if (!nb_strv_has(&s->rules, x->rule) && nb_strv_add(&s->rules, x->rule) < 0)
                        o->buf->failed = true;
                nb_json_open_object(o);
                nb_json_kv_str(o, "ruleId", x->rule);
                nb_json_kv_str(o, "level", finding_severity_name(x->severity));
                put_message(o, x);
                nb_json_key(o, "locations");
                nb_json_open_array(o);
                nb_json_open_object(o);
                put_physical(o, name, x);
                put_logical(o, x);
                nb_json_close(o);
                nb_json_close(o);
                nb_json_close(o);
        }
}

void check_sarif_end(struct check_sarif *s)
{
        struct nb_json_out *o = &s->out;

        nb_json_close(o); /* results */
        nb_json_key(o, "tool");
        nb_json_open_object(o);
        nb_json_key(o, "driver");
        nb_json_open_object(o);
        nb_json_kv_str(o, "name", "nbcid");
        nb_json_kv_str(o, "version", s->version);
        nb_json_key(o, "rules");
        nb_json_open_array(o);
        for (size_t i = 0; i < s->rules.n; i++) {
                nb_json_open_object(o);
                nb_json_kv_str(o, "id", s->rules.v[i]);
                nb_json_close(o);
        }
        nb_json_close(o);
        nb_json_close(o); /* driver */
        nb_json_close(o); /* tool */
        nb_json_close(o); /* run */
        nb_json_close(o);
        nb_json_close(o);
        nb_strv_done(&s->rules);
}
