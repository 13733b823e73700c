/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes as a notebook: what is refused says where, what is taken before a
 * run can be judged after it, the counts agree, and no name that comes out can
 * be a path, an option or shell text.
 */

#include <string.h>

#include <nbcid/notebook.h>
#include <nbcid/str.h>

#include "fuzz.h"

#define MAX_BYTES (1 << 16)

static void check_refusal(int r, const struct nb_err *err, const char *name)
{
        PROPERTY(r == -(int)err->code);
        PROPERTY(err->code == NB_E_INVALID || err->code == NB_E_LIMIT);
        PROPERTY(nb_starts_with(err->msg, name) && err->msg[strlen(name)] == ':');
        PROPERTY(!strchr(err->msg, '\n'));
}

static void check_name(const char *s, size_t max, const char *allowed)
{
        if (!s)
                return;
        PROPERTY(*s && strlen(s) <= max && strspn(s, allowed) == strlen(s));
        PROPERTY(*s != '.' && *s != '-' && *s != '/');
}

#define WORD "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

static void check_head(const struct notebook_head *h)
{
        const struct nb_environment *e = &h->environment;

        PROPERTY(h->nbformat == 4 && h->nbformat_minor >= 0);
        PROPERTY(h->code_cells >= 0 && h->code_cells <= h->cells);
        PROPERTY(e->why && *e->why);
        check_name(e->kernel, 128, WORD);
        check_name(e->image, 512, WORD "/:@+");
        PROPERTY(!e->requirements || *e->requirements);
}

static void check_text(const char *s)
{
        PROPERTY(s && nb_utf8_valid(s, strlen(s), NULL));
        PROPERTY(nb_utf8_prefix(s, 1000) == strlen(s));
        PROPERTY(!strchr(s, '\x1b'));
}

static void check_verdict(const struct notebook_verdict *v)
{
        PROPERTY(v->executed >= 0 && v->executed <= v->cells);
        PROPERTY(v->error_cell >= 0);
        if (v->error_cell > 0) {
                PROPERTY(v->cells > 0);
                check_text(v->ename);
                check_text(v->evalue);
        } else {
                PROPERTY(!v->ename && !v->evalue);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *p = (const char *)data;
        struct notebook_head h;
        struct notebook_verdict v;
        struct nb_err err = {0};
        int r_head = notebook_read_head("fuzz.ipynb", p, size, MAX_BYTES, &h, &err), r;

        if (r_head < 0)
                check_refusal(r_head, &err, "fuzz.ipynb");
        else
                check_head(&h);
        r = notebook_judge(p, size, &v, &err);
        if (r < 0)
                check_refusal(r, &err, "the executed notebook");
        else
                check_verdict(&v);
        if (r_head == 0) {
                PROPERTY(r == 0);
                PROPERTY(v.cells <= h.code_cells);
                PROPERTY(v.error_cell <= h.cells);
                notebook_head_done(&h);
        }
        if (r == 0)
                notebook_verdict_done(&v);
        return 0;
}
