/* SPDX-License-Identifier: Apache-2.0 */
#include "remedy.h"

#include "text.h"

const char *remedy_json(const char *p, size_t n, size_t offset, bool begins)
{
        size_t bol = offset < n ? offset : n;

        while (bol > 0 && p[bol - 1] != '\n')
                bol--;
        if (begins && n == 0)
                return "the file is empty: save the notebook again";
        if (begins && text_begins(p, n, "version https://git-lfs.github.com/"))
                return "this is a Git LFS pointer, not the notebook: keep notebooks in git itself";
        if (begins && text_begins(p, n, "\xef\xbb\xbf"))
                return "save the file as UTF-8 without a byte order mark";
        if (text_begins(p + bol, n - bol, "<<<<<<<") || text_begins(p + bol, n - bol, "=======") ||
            text_begins(p + bol, n - bol, ">>>>>>>"))
                return "this is an unresolved merge conflict: resolve it and commit again";
        /* Python writes and reads these; JSON has no such numbers */
        if (offset < n && (text_begins(p + offset, n - offset, "NaN") ||
                           text_begins(p + offset, n - offset, "Infinity") ||
                           text_begins(p + offset, n - offset, "-Infinity")))
                return "this number is not JSON: clear the output that shows it and save the "
                       "notebook";
        return "the file is not JSON, so Jupyter cannot open it either: take it from an earlier "
               "commit, or repair it with a text editor";
}
