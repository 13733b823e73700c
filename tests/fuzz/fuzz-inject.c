/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes as a notebook and as its parameters: the first byte chooses the
 * language, a line break ends the parameters.  What comes out is a notebook
 * with one cell more, or one replaced, and a second injection changes nothing;
 * metadata that is set is there, and the second time was there already.
 */

#include <string.h>

#include <nbcid/notebook.h>
#include <nbcid/str.h>

#include "fuzz.h"

#define MAX_BYTES (1 << 16)
#define MAX_OUT ((size_t)4 << 20)

static void check_refusal(int r, const struct nb_err *err)
{
        PROPERTY(r == -(int)err->code);
        PROPERTY(err->code == NB_E_INVALID || err->code == NB_E_LIMIT);
        PROPERTY(*err->msg && !strchr(err->msg, '\n'));
}

struct counts {
        int64_t cells, code_cells;
};

/* False: it is refused, as its metadata may be. */
static bool count(const char *p, size_t n, struct counts *ret)
{
        struct notebook_head head;
        struct nb_err err;

        if (notebook_read_head("fuzz.ipynb", p, n, UINT64_MAX, &head, &err) < 0)
                return false;
        *ret = (struct counts){.cells = head.cells, .code_cells = head.code_cells};
        notebook_head_done(&head);
        return true;
}

static void check_injected(const char *p, size_t n, const char *parameters, const char *language)
{
        nb_auto_buf out = NB_BUF(MAX_OUT), again = NB_BUF(MAX_OUT);
        struct counts before, after;
        struct nb_err err = {0};
        int r = notebook_inject("fuzz.ipynb", p, n, parameters, language, &out, &err);

        if (r < 0) {
                check_refusal(r, &err);
                return;
        }
        if (!count(p, n, &before))
                return;
        PROPERTY(count(nb_buf_str(&out), out.len, &after));
        PROPERTY(after.cells == before.cells || after.cells == before.cells + 1);
        PROPERTY(after.cells - before.cells == after.code_cells - before.code_cells);
        PROPERTY(r == 0 || after.cells > before.cells);
        PROPERTY(notebook_inject("fuzz.ipynb", nb_buf_str(&out), out.len, parameters, language,
                                 &again, &err) == 0);
        PROPERTY(nb_streq(nb_buf_str(&out), nb_buf_str(&again)));
}

static void check_metadata(const char *p, size_t n, const char *json)
{
        nb_auto_buf out = NB_BUF(MAX_OUT), again = NB_BUF(MAX_OUT);
        struct counts before, after;
        struct nb_err err = {0};
        int r = notebook_set_metadata("fuzz.ipynb", p, n, "nbcid", json, &out, &err);

        if (r < 0) {
                check_refusal(r, &err);
                return;
        }
        PROPERTY(r == 0 || out.len == n);
        if (!count(p, n, &before))
                return;
        PROPERTY(count(nb_buf_str(&out), out.len, &after));
        PROPERTY(after.cells == before.cells);
        PROPERTY(notebook_set_metadata("fuzz.ipynb", nb_buf_str(&out), out.len, "nbcid", json,
                                       &again, &err) == 1);
        PROPERTY(nb_streq(nb_buf_str(&out), nb_buf_str(&again)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const languages[] = {NULL, "python", "R", "julia", "bash", "scala"};
        const char *p = (const char *)data, *nl = size > 0 ? memchr(p, '\n', size) : NULL;
        nb_auto_free char *json = NULL;
        size_t n;

        if (!nl || size > MAX_BYTES)
                return 0;
        json = nb_strndup(p + 1, nl > p ? (size_t)(nl - p - 1) : 0);
        n = size - (size_t)(nl + 1 - p);
        if (!json)
                return 0;
        check_injected(nl + 1, n, json, languages[data[0] % NB_ARRAY_SIZE(languages)]);
        check_metadata(nl + 1, n, json);
        return 0;
}
