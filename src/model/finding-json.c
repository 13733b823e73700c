/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/finding.h>
#include <nbcid/json.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

const char *finding_severity_name(enum finding_severity s)
{
        return s == FINDING_ERROR ? "error" : "warning";
}

static void put_place(struct nb_json_out *o, const char *key, size_t v)
{
        if (v > 0)
                nb_json_kv_int(o, key, (int64_t)v);
}

static void put_text(struct nb_json_out *o, const char *key, const char *s)
{
        if (s)
                nb_json_kv_str(o, key, s);
}

void findings_write_json(const struct findings *f, struct nb_buf *ret)
{
        struct nb_json_out o = NB_JSON_OUT(ret);

        nb_json_open_array(&o);
        for (size_t i = 0; i < f->n; i++) {
                const struct finding *x = &f->v[i];

                nb_json_open_object(&o);
                nb_json_kv_str(&o, "severity", finding_severity_name(x->severity));
                put_text(&o, "rule", x->rule);
                put_place(&o, "cell", (size_t)(x->cell > 0 ? x->cell : 0));
                put_place(&o, "cell_line", x->cell_line);
                put_place(&o, "cell_column", x->cell_column);
                put_place(&o, "line", x->line);
                put_place(&o, "column", x->column);
                put_text(&o, "path", x->path);
                put_text(&o, "message", x->message);
                put_text(&o, "remedy", x->remedy);
                put_text(&o, "text", x->text);
                put_place(&o, "text_column", x->text_column);
                nb_json_close(&o);
        }
        if (f->more > 0) {
                char message[64];

                (void)nb_fmt(message, sizeof(message), "and %zu more", f->more);
                nb_json_open_object(&o);
                nb_json_kv_str(&o, "severity", finding_severity_name(FINDING_WARNING));
                nb_json_kv_str(&o, "rule", "more");
                nb_json_kv_str(&o, "message", message);
                nb_json_close(&o);
        }
        nb_json_close(&o);
}
