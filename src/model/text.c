/* SPDX-License-Identifier: Apache-2.0 */
/* the one line that tells people how a run ended */
#include <nbcid/model.h>

#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include <nbcid/buf.h>
#include <nbcid/err.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

/* A notebook may raise with a text of megabytes; forges show some 140. */
#define TEXT_CHARS 500
#define LINE_MAX_BYTES (8 * TEXT_CHARS)

/* "2 h", "1 h 5 min", "3 min 20 s", "3.4 s", "40 ms": what people compare with
 * the limit they set, hence cut, not rounded up. */
static void put_duration(struct nb_buf *b, uint64_t us)
{
        uint64_t s = us / NB_US_PER_S;
        uint64_t tenths = us / (NB_US_PER_S / 10) % 10;

        if (s >= 3600) {
                nb_buf_printf(b, "%" PRIu64 " h", s / 3600);
                if (s / 60 % 60)
                        nb_buf_printf(b, " %" PRIu64 " min", s / 60 % 60);
        } else if (s >= 60) {
                nb_buf_printf(b, "%" PRIu64 " min", s / 60);
                if (s % 60)
                        nb_buf_printf(b, " %" PRIu64 " s", s % 60);
        } else if (s == 0 && tenths == 0) {
                nb_buf_printf(b, "%" PRIu64 " ms", us / NB_US_PER_MS);
        } else if (tenths) {
                nb_buf_printf(b, "%" PRIu64 ".%" PRIu64 " s", s, tenths);
        } else {
                nb_buf_printf(b, "%" PRIu64 " s", s);
        }
}

/* Append the first line of s that says anything, cleaned and cut; false when
 * there is none.  s may be NULL. */
static bool put_line(struct nb_buf *b, const char *s)
{
        nb_auto_free char *clean = NULL, *cut = NULL;
        size_t n;

        if (!s)
                return false;
        s += strspn(s, " \t\r\n");
        /* four bytes a character: what is behind is cut off anyway */
        n = strcspn(s, "\r\n");
        if (n > 4 * (TEXT_CHARS + 1))
                n = nb_utf8_prefix(s, TEXT_CHARS + 1);
        while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
                n--;
        if (n == 0)
                return false;
        clean = nb_utf8_clean(s, n, true);
        cut = clean ? nb_utf8_cut(clean, TEXT_CHARS) : NULL;
        if (!cut) {
                b->failed = true;
                return false;
        }
        nb_buf_puts(b, cut);
        return true;
}

static void put_in_cell(struct nb_buf *b, int64_t cell)
{
        if (cell > 0)
                nb_buf_printf(b, " in cell %" PRId64, cell);
}

/* It passed, but not quite as it asked to. */
static void put_remark(struct nb_buf *b, const char *remark)
{
        nb_auto_buf line = NB_BUF(LINE_MAX_BYTES);

        if (put_line(&line, remark))
                nb_buf_printf(b, "; %s", nb_buf_str(&line));
}

static void put_passed(struct nb_buf *b, const struct run_result *r)
{
        nb_buf_printf(b, "%" PRId64 " cell%s", r->cells, r->cells == 1 ? "" : "s");
        if (r->wall_us) {
                nb_buf_puts(b, " in ");
                put_duration(b, r->wall_us);
        }
        put_remark(b, r->reason);
}

static void put_cell_error(struct nb_buf *b, const struct run_result *r)
{
        bool named;

        if (r->cell > 0)
                nb_buf_printf(b, "cell %" PRId64 ": ", r->cell);
        named = put_line(b, r->ename);
        if (r->evalue && r->evalue[strspn(r->evalue, " \t\r\n")]) {
                if (named)
                        nb_buf_puts(b, ": ");
                (void)put_line(b, r->evalue);
        } else if (!named && !put_line(b, r->reason)) {
                nb_buf_puts(b, r->cell > 0 ? "raised an error" : "a cell raised an error");
        }
}

static void put_signal(struct nb_buf *b, const struct run_result *r)
{
        const char *name = r->signo > 0 ? sigabbrev_np(r->signo) : NULL;

        nb_buf_puts(b, "kernel died");
        put_in_cell(b, r->cell);
        if (name)
                nb_buf_printf(b, ": SIG%s", name);
        else if (r->signo > 0)
                nb_buf_printf(b, ": signal %d", r->signo);
}

static void put_reason(struct nb_buf *b, const struct run_result *r, const char *otherwise)
{
        if (!put_line(b, r->reason))
                nb_buf_puts(b, otherwise);
}

/* long: one case for each class */
char *run_result_text(const struct run_result *r)
{
        nb_auto_buf b = NB_BUF(2 * LINE_MAX_BYTES);

        switch (r->class) {
        case CLASS_NONE:
                put_reason(&b, r, "not ended yet");
                break;
        case CLASS_PASSED:
                put_passed(&b, r);
                break;
        case CLASS_CELL_ERROR:
                put_cell_error(&b, r);
                break;
        case CLASS_TIMEOUT:
                nb_buf_puts(&b, "timed out");
                put_in_cell(&b, r->cell);
                if (r->wall_us) {
                        nb_buf_puts(&b, " after ");
                        put_duration(&b, r->wall_us);
                }
                break;
        case CLASS_OUT_OF_MEMORY:
                nb_buf_puts(&b, "out of memory");
                put_in_cell(&b, r->cell);
                break;
        case CLASS_SIGNAL:
                put_signal(&b, r);
                break;
        case CLASS_KERNEL_START:
                put_reason(&b, r, "the kernel did not start");
                break;
        case CLASS_NO_KERNEL:
                put_reason(&b, r, "the kernel that the notebook names is not installed");
                break;
        case CLASS_CHECK:
                put_reason(&b, r, "not a valid notebook");
                break;
        case CLASS_ENVIRONMENT:
                put_reason(&b, r, "the environment that the notebook wants cannot be made");
                break;
        case CLASS_LOST:
                put_reason(&b, r, "lost sight of the run");
                break;
        case CLASS_INFRASTRUCTURE:
                put_reason(&b, r, "the CI system failed, not the notebook");
                break;
        case CLASS_CAPACITY:
                put_reason(&b, r, "no machine was free for it");
                break;
        case CLASS_RATE_LIMIT:
                put_reason(&b, r, "the executor's service takes no more requests now");
                break;
        case CLASS_PERMISSION:
                put_reason(&b, r, "the executor's service refuses us");
                break;
        case CLASS_CONFIGURATION:
                put_reason(&b, r, "the executor is not configured as it should be");
                break;
        case CLASS_CANCELLED:
                put_reason(&b, r, "cancelled");
                break;
        case CLASS__COUNT:
                break;
        }
        nb_assert(b.len > 0 || b.failed);
        return nb_buf_steal(&b);
}
