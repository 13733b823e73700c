/* SPDX-License-Identifier: Apache-2.0 */

/* What the format check has found: held until it is known whether it counts,
 * then put into words. */

#include "format.h"

#include <stdlib.h>
#include <string.h>

#include <nbcid/buf.h>
#include <nbcid/mem.h>
#include <nbcid/str.h>

#include "text.h"

#define PATH_BYTES 1000
#define MESSAGE_BYTES 1000

static const struct {
        const char *rule;
        enum finding_severity severity;
        const char *remedy;
} whats[WHAT__COUNT] = {
        [WHAT_TYPE] = {"format/type", FINDING_ERROR, TEXT_REMEDY},
        [WHAT_REQUIRED] = {"format/required", FINDING_ERROR, TEXT_REMEDY},
        [WHAT_FORBIDDEN] = {"format/forbidden", FINDING_ERROR,
                            "remove it, or move it into \"metadata\", which may hold anything"},
        [WHAT_TWICE] = {"format/duplicate-key", FINDING_ERROR,
                        "keep one of the two: programs differ in which they read"},
        [WHAT_KIND] = {"format/enum", FINDING_ERROR, TEXT_REMEDY},
        [WHAT_ID] = {"format/id", FINDING_ERROR,
                     "remove the id: Jupyter gives the cell a new one when it saves the notebook"},
        [WHAT_NAME] = {"format/pattern", FINDING_ERROR,
                       "give the cell a name of one line, or remove it"},
        [WHAT_TAG] = {"format/pattern", FINDING_ERROR,
                      "make one tag of each part, without commas, and none that is empty"},
        [WHAT_TAG_TWICE] = {"format/unique", FINDING_ERROR, "keep one of the two tags"},
        [WHAT_SCROLLED] = {"format/enum", FINDING_ERROR, TEXT_REMEDY},
        [WHAT_RANGE] = {"format/range", FINDING_ERROR, TEXT_REMEDY},
        [WHAT_NO_ID] = {"format/missing-id", FINDING_WARNING,
                        "open the notebook in Jupyter and save it: each cell gets an id then"},
        [WHAT_ID_TWICE] = {"format/duplicate-id", FINDING_WARNING,
                           "open the notebook in Jupyter and save it: the second cell gets a "
                           "new id then"},
};

/* ---- paths ---- */

static bool is_word(const char *s, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)s[i];
                bool letter = ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_';

                if (!letter && (i == 0 || c < '0' || c > '9'))
                        return false;
        }
        return n > 0;
}

static void put_key(struct nb_buf *b, const char *s, size_t n)
{
        nb_auto_free char *clean = NULL;

        if (is_word(s, n)) {
                if (b->len > 0)
                        nb_buf_putc(b, '.');
                nb_buf_append(b, s, n);
                return;
        }
        clean = nb_utf8_clean(s, n, true);
        nb_buf_printf(b, "[\"%s\"]", clean ? clean : "");
}

/* cells[2].outputs[0].data["image/png"], to the member at hand, or to the array
 * or object itself. */
static char *path_of(const struct notebook_format *f, bool member)
{
        nb_auto_buf b = NB_BUF(PATH_BYTES);

        for (unsigned i = 0; i < f->depth - !member; i++) {
                const struct frame *at = &f->stack[i];

                if (at->array)
                        nb_buf_printf(&b, "[%zu]", at->index - 1);
                else if (at->member)
                        put_key(&b, at->member->key, at->member->len);
                else
                        put_key(&b, at->key, at->key_n);
        }
        return nb_strdup(nb_buf_str(&b));
}

/* ---- what is held ---- */

static bool same_when(struct when a, struct when b)
{
        return a.minors == b.minors && a.cell == b.cell && a.output == b.output;
}

/* The tally of the two, made if it is new; NULL when there are too many, which
 * the table's few combinations cannot reach. */
static struct tally *tally_of(struct notebook_format *f, enum what what, struct when when)
{
        for (size_t i = 0; i < f->n_tallies; i++)
                if (f->tallies[i].what == what && same_when(f->tallies[i].when, when))
                        return &f->tallies[i];
        nb_assert(f->n_tallies < TALLIES_MAX);
        f->tallies[f->n_tallies] = (struct tally){.what = what, .when = when};
        return &f->tallies[f->n_tallies++];
}

static void held_done(struct held *h)
{
        free(h->path);
        free(h->detail);
}

int format_hold(struct notebook_format *f, enum what what, struct when when,
                const struct nb_json_pos *at, const struct rule *rule, unsigned type, const char *s,
                size_t n, struct nb_err *err)
{
        struct tally *tally;
        struct frame *top = &f->stack[f->depth - 1];
        /* A notebook of 4.5 has a finding for each id, until its end says that it
         * is of 4.5: those make do without texts of their own. */
        bool cell = top->spot == SPOT_CELL && rule;
        struct held *h;

        if (what == WHAT_FORBIDDEN && rule)
                s = NULL;
        if (!when.minors || !when.cell || !when.output)
                return 0;
        tally = tally_of(f, what, when);
        if (tally->kept >= f->to->max) {
                tally->more++;
                return 0;
        }
        if (nb_grow((void **)&f->held, &f->cap_held, f->n_held + 1, sizeof(*h)) < 0)
                return nb_fail(err, NB_E_NOMEM, "no memory for a finding");
        h = &f->held[f->n_held];
        *h = (struct held){
                .what = what,
                .when = when,
                .at = at ? *at : nb_json_reader_mark(f->reader),
                .spot = top->spot,
                .kind = top->kind,
                .rule = rule,
                .type = type,
                .cell = f->cell,
        };
        if (top->spot == SPOT_TEXT && f->stack[f->depth - 2].spot == SPOT_CELL)
                h->cell_line = top->index;
        if (!cell)
                h->path = path_of(f, what != WHAT_REQUIRED);
        if (s) {
                nb_auto_free char *clean = nb_utf8_clean(s, (size_t)text_shown(s, n), true);

                h->detail = clean && (size_t)text_shown(s, n) < n
                                    ? nb_asprintf("%s\xe2\x80\xa6", clean)
                                    : NB_TAKE(clean);
        }
        if ((!cell && !h->path) || (s && !h->detail)) {
                held_done(h);
                return nb_fail(err, NB_E_NOMEM, "no memory for a finding");
        }
        f->n_held++;
        tally->kept++;
        return 0;
}

static unsigned *mask_of(struct when *when, enum family family)
{
        return family == FAMILY_CELL ? &when->cell : &when->output;
}

/* What is settled counts for any kind; false when it does not count. */
static bool settle_when(struct when *when, enum family family, unsigned kind)
{
        unsigned *mask = mask_of(when, family);
        bool counts = *mask == KIND_ANY || *mask & kind;

        *mask = KIND_ANY;
        return counts;
}

static void settle_tallies(struct notebook_format *f, enum family family, unsigned kind)
{
        size_t old = f->n_tallies;

        for (size_t i = 0; i < old; i++) {
                struct tally t = f->tallies[i], *into;

                if (*mask_of(&t.when, family) == KIND_ANY || t.kept == 0)
                        continue;
                f->tallies[i].kept = f->tallies[i].more = 0;
                if (!settle_when(&t.when, family, kind))
                        continue;
                into = tally_of(f, t.what, t.when);
                into->kept += t.kept;
                into->more += t.more;
        }
}

void format_settle(struct notebook_format *f, enum family family, unsigned kind)
{
        const struct frame *top = &f->stack[f->depth - 1];
        size_t n = top->first;

        if (f->n_held == n)
                return;
        settle_tallies(f, family, kind);
        for (size_t i = top->first; i < f->n_held; i++) {
                struct held *h = &f->held[i];
                struct tally *tally;

                if (h->spot == top->spot && !h->kind)
                        h->kind = top->kind;
                if (!settle_when(&h->when, family, kind)) {
                        held_done(h);
                        continue;
                }
                tally = tally_of(f, h->what, h->when);
                if (tally->kept > f->to->max) {
                        tally->kept--;
                        tally->more++;
                        held_done(h);
                        continue;
                }
                f->held[n++] = *h;
        }
        f->n_held = n;
}

void format_locate(struct notebook_format *f)
{
        for (size_t i = 0; i < f->n_held; i++)
                nb_json_reader_locate(f->reader, &f->held[i].at);
        for (unsigned i = 0; i < f->depth; i++) {
                struct frame *at = &f->stack[i];

                nb_json_reader_locate(f->reader, &at->begin);
                for (size_t k = 0; k < RULES_MAX; k++)
                        if (at->marked & 1u << k)
                                nb_json_reader_locate(f->reader, &at->keys[k]);
        }
        /* these are told only when they are not 4.0 to 4.5 */
        if (f->has_major && f->major != 4)
                nb_json_reader_locate(f->reader, &f->major_at);
        if (f->has_minor && (f->minor < 0 || f->minor > MINOR_NEWEST))
                nb_json_reader_locate(f->reader, &f->minor_at);
}

void format_drop_all(struct notebook_format *f)
{
        for (size_t i = 0; i < f->n_held; i++)
                held_done(&f->held[i]);
        free(f->held);
        f->held = NULL;
        f->n_held = f->cap_held = f->n_tallies = 0;
}

/* ---- words ---- */

static const char *const type_names[] = {"null",     "a boolean", "a whole number", "a number",
                                         "a string", "an array",  "an object"};

static const char *type_name(unsigned type)
{
        return type ? type_names[__builtin_ctz(type)] : "nothing";
}

/* "a code cell", "a stream output", "metadata.kernelspec". */
static void put_owner(struct nb_buf *b, const struct held *h)
{
        const struct shape *shape = &format_shapes[h->spot];
        const char *kind = format_kind_name(shape->family, h->kind);
        bool vowel;

        if (shape->family == FAMILY_NONE || !shape->closed) {
                nb_buf_puts(b, shape->name);
                return;
        }
        kind = kind ? kind : "";
        vowel = strchr("aeiou", *kind ? *kind : *shape->name);
        nb_buf_printf(b, "%s %s%s%s", vowel ? "an" : "a", kind, *kind ? " " : "", shape->name);
}

static void put_type(struct nb_buf *b, const struct held *h)
{
        const char *sep = ", not ";
        bool item = format_shapes[h->spot].items == h->rule;

        nb_buf_printf(b, item ? "%s is %s" : "\"%s\" is %s", h->rule->key, type_name(h->type));
        for (unsigned t = IS_NULL; t <= IS_OBJECT; t *= 2)
                if (h->rule->types & t) {
                        nb_buf_printf(b, "%s%s", sep, type_name(t));
                        sep = " or ";
                }
}

static void put_forbidden(struct nb_buf *b, const struct held *h)
{
        if (h->rule && h->rule->minors != MINORS_ALL) {
                nb_buf_printf(b, "\"%s\" came with nbformat 4.%d, and this notebook is older",
                              h->rule->key, __builtin_ctz(h->rule->minors));
                return;
        }
        nb_buf_printf(b, "\"%s\" is no member of ", h->rule ? h->rule->key : h->detail);
        put_owner(b, h);
}

static void put_kind(struct nb_buf *b, const struct held *h)
{
        if (h->type != IS_STRING)
                nb_buf_printf(b, "\"%s\" is %s, not a string", h->rule->key, type_name(h->type));
        else
                nb_buf_printf(b, "\"%s\" is none of %s: \"%s\"", h->rule->key,
                              h->spot == SPOT_CELL
                                      ? "code, markdown and raw"
                                      : "execute_result, display_data, stream and error",
                              h->detail);
}

static char *message_of(const struct held *h)
{
        nb_auto_buf b = NB_BUF(MESSAGE_BYTES);

        switch (h->what) {
        case WHAT_TYPE:
                put_type(&b, h);
                break;
        case WHAT_REQUIRED:
        case WHAT_NO_ID:
                put_owner(&b, h);
                nb_buf_printf(&b, " has no \"%s\"", h->rule->key);
                break;
        case WHAT_FORBIDDEN:
                put_forbidden(&b, h);
                break;
        case WHAT_TWICE:
                nb_buf_printf(&b, "\"%s\" is there twice", h->detail);
                break;
        case WHAT_KIND:
                put_kind(&b, h);
                break;
        case WHAT_ID:
                nb_buf_printf(&b,
                              "the id \"%s\" is not of 1 to 64 letters, digits, hyphens and "
                              "underscores",
                              h->detail);
                break;
        case WHAT_NAME:
                nb_buf_printf(&b, "the cell's name is %s",
                              *h->detail ? "of several lines" : "empty");
                break;
        case WHAT_TAG:
                nb_buf_printf(&b, *h->detail ? "the tag \"%s\" has a comma" : "a tag is empty%s",
                              h->detail);
                break;
        case WHAT_TAG_TWICE:
                nb_buf_printf(&b, "the cell has the tag \"%s\" twice", h->detail);
                break;
        case WHAT_SCROLLED:
                nb_buf_puts(&b, "\"scrolled\" is not true, false or \"auto\"");
                break;
        case WHAT_RANGE:
                nb_buf_printf(&b, "\"%s\" is %s and must be %s", h->rule->key, h->detail,
                              h->rule->ask == ASK_POSITIVE ? "1 or more" : "0 or more");
                break;
        case WHAT_ID_TWICE:
                nb_buf_printf(&b, "the id \"%s\" is an earlier cell's too", h->detail);
                break;
        case WHAT__COUNT:
                break;
        }
        return nb_buf_steal(&b);
}

static const char *remedy_of(const struct held *h)
{
        if (h->what == WHAT_FORBIDDEN && h->rule && h->rule->minors != MINORS_ALL)
                return "open the notebook in a current Jupyter and save it";
        return whats[h->what].remedy;
}

/* ---- telling ---- */

int format_say(struct notebook_format *f, enum finding_severity severity, const char *rule,
               struct nb_json_pos at, const char *path, const char *message, const char *remedy,
               struct nb_err *err)
{
        struct finding x = {
                .severity = severity,
                .rule = rule,
                .path = nb_strdup(path),
                .message = nb_strdup(message),
                .remedy = nb_strdup(remedy),
        };

        nb_json_reader_locate(f->reader, &at);
        x.line = at.line;
        x.column = at.column;
        if (!x.message || !x.remedy || (path && !x.path)) {
                finding_done(&x);
                return nb_fail(err, NB_E_NOMEM, "no memory for a finding");
        }
        return findings_add_take(f->to, &x, err);
}

/* Of a cell, or of a member that the table knows. */
static char *cell_path(const struct held *h)
{
        bool whole = h->what == WHAT_REQUIRED || h->what == WHAT_NO_ID;

        return nb_asprintf("cells[%lld]%s%s", (long long)h->cell - 1, whole ? "" : ".",
                           whole ? "" : h->rule->key);
}

static int tell_held(struct notebook_format *f, struct held *h, struct nb_err *err)
{
        struct finding x = {
                .severity = whats[h->what].severity,
                .rule = whats[h->what].rule,
                .line = h->at.line,
                .column = h->at.column,
                .cell = h->cell,
                .cell_line = h->cell_line,
                .message = message_of(h),
                .remedy = nb_strdup(remedy_of(h)),
        };

        if (!h->path)
                x.path = cell_path(h);
        else if (*h->path)
                x.path = NB_TAKE(h->path);
        if (!x.message || !x.remedy || (!h->path && !x.path)) {
                finding_done(&x);
                return nb_fail(err, NB_E_NOMEM, "no memory for a finding");
        }
        return findings_add_take(f->to, &x, err);
}

static bool counts(struct when when, unsigned minors)
{
        return (when.minors & minors) == minors && when.cell == KIND_ANY && when.output == KIND_ANY;
}

static int by_place(const void *a, const void *b)
{
        const struct held *x = a, *y = b;

        return (x->at.offset > y->at.offset) - (x->at.offset < y->at.offset);
}

int format_tell(struct notebook_format *f, unsigned minors, struct nb_err *err)
{
        int r = 0;

        for (size_t i = 0; i < f->n_held; i++)
                nb_json_reader_locate(f->reader, &f->held[i].at);
        if (f->n_held > 0)
                qsort(f->held, f->n_held, sizeof(*f->held), by_place);
        for (size_t i = 0; i < f->n_held && r == 0; i++)
                if (counts(f->held[i].when, minors))
                        r = tell_held(f, &f->held[i], err);
        for (size_t i = 0; i < f->n_tallies; i++)
                if (counts(f->tallies[i].when, minors))
                        f->to->more += f->tallies[i].more;
        return r;
}
