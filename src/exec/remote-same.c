/* SPDX-License-Identifier: Apache-2.0 */

/* remote-same.c - is the notebook that came back the one that was sent?  Whoever
 * may write to the bucket may have put another one at its address. */

#include <nbcid/fs.h>
#include <nbcid/notebook.h>
#include <nbcid/num.h>

#include "remote-priv.h"

#define NOTEBOOK_BYTES ((size_t)1 << 30)

static bool is_code(const struct notebook_cell *c)
{
        /* Runners that have parameters of their own write this one anew. */
        for (size_t i = 0; i < c->tags.n; i++)
                if (nb_streq(c->tags.v[i], "injected-parameters"))
                        return false;
        return c->type == NOTEBOOK_CODE && c->inked;
}

/* Runners add cells, and leave those that were there as they are. */
static int contains(const struct notebook_source *out, const struct notebook_source *in,
                    struct nb_err *err)
{
        size_t at = 0;

        for (size_t i = 0; i < in->n; i++) {
                const struct notebook_cell *c = &in->cells[i];

                if (!is_code(c))
                        continue;
                while (at < out->n && (out->cells[at].n != c->n ||
                                       memcmp(out->cells[at].source, c->source, c->n) != 0))
                        at++;
                if (at++ == out->n)
                        return nb_fail(err, NB_E_CORRUPT,
                                       "cell %zu of the notebook that was sent is not in it, so "
                                       "another writer has replaced it; let nobody but nbcid and "
                                       "its jobs write to the bucket, and run it again",
                                       i + 1);
        }
        return 0;
}

int far_same(int dir, bool there, const char *output, size_t n, struct nb_err *err)
{
        NB_CLEANUP(notebook_source_done) struct notebook_source in = {0}, out = {0};
        nb_auto_buf text = NB_BUF(NOTEBOOK_BYTES);
        int r = nb_read_file(dir, "input.ipynb", &text, err);

        if (r == -NB_E_NOTFOUND && there)
                return 0; /* it ran where it was, and was never here */
        if (r == 0)
                r = notebook_source_read("what was sent", nb_buf_str(&text), text.len,
                                         NOTEBOOK_BYTES, NULL, NULL, &in, err);
        if (r == 0)
                r = notebook_source_read("the executed notebook", output, n, n, NULL, NULL, &out,
                                         err);
        return r < 0 ? r : contains(&out, &in, err);
}
