/* SPDX-License-Identifier: Apache-2.0 */
#include "remedy.h"

#include <string.h>

#include "text.h"

/* "\\ud8xx" to "\\udfxx" */
static bool is_half(const char *p, size_t n)
{
        return n > 3 && p[0] == '\\' && p[1] == 'u' && (p[2] == 'd' || p[2] == 'D') && p[3] &&
               strchr("89abcdefABCDEF", p[3]);
}

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
        /* Python reads these, too, and writes them, but not as UTF-8 */
        if (offset < n && is_half(p + offset, n - offset))
                return "this is half a character, which no text can hold: clear the output that "
                       "shows it, or mend the string that has it, and save the notebook";
        if (offset < n && (unsigned char)p[offset] >= 0x80)
                return "save the file as UTF-8, the one encoding that notebooks have, or take it "
                       "from an earlier commit";
        return "the file is not JSON, so Jupyter cannot open it either: take it from an earlier "
               "commit, or repair it with a text editor";
}
