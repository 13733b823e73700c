/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The format check: the JSON reader's events against the table.
 *
 * The verdict is nbformat.validate()'s: it refuses what is an error here and
 * takes what is a warning, such as a cell without an id, which it mends itself
 * while it warns.  tests/oracle compares the two; where they differ on purpose,
 * the list and the reasons are there.
 */

#include "format.h"

#include <string.h>

#include <nbcid/mem.h>

#include "text.h"

#define ID_MAX 64

static const struct when always = {MINORS_ALL, KIND_ANY, KIND_ANY};

/* When a rule of this frame counts. */
static struct when when_rule(const struct frame *top, const struct rule *rule)
{
        struct when w = top->when;

        w.minors &= rule->minors;
        if (format_shapes[top->spot].family == FAMILY_CELL)
                w.cell &= rule->kinds;
        else if (format_shapes[top->spot].family == FAMILY_OUTPUT)
                w.output &= rule->kinds;
        return w;
}

/* ---- values ---- */

/* A value that is no array or object, or the bracket that opens one. */
struct value {
        unsigned type;
        const char *s; /* of a string or number; else "" */
        size_t n;
};

static bool is_id(const char *s, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)s[i];
                bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';

                if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '_')
                        return false;
        }
        return n >= 1 && n <= ID_MAX;
}

static int ask_id(struct notebook_format *f, struct when w, const struct rule *rule,
                  const struct value *v, struct nb_err *err)
{
        int r;

        if (!is_id(v->s, v->n))
                return format_hold(f, WHAT_ID, w, NULL, rule, v->type, v->s, v->n, err);
        r = set_add(&f->ids, v->s, v->n, err);
        if (r != 0)
                return r < 0 ? r : 0;
        return format_hold(f, WHAT_ID_TWICE, w, NULL, rule, v->type, v->s, v->n, err);
}

static int ask_tag(struct notebook_format *f, struct when w, const struct rule *rule,
                   const struct value *v, struct nb_err *err)
{
        int r;

        if (v->n == 0 || memchr(v->s, ',', v->n))
                return format_hold(f, WHAT_TAG, w, NULL, rule, v->type, v->s, v->n, err);
        r = set_add(&f->tags, v->s, v->n, err);
        if (r != 0)
                return r < 0 ? r : 0;
        return format_hold(f, WHAT_TAG_TWICE, w, NULL, rule, v->type, v->s, v->n, err);
}

/* The version is judged at the end. */
static void note_version(struct notebook_format *f, enum ask ask, const struct value *v)
{
        int64_t i;

        /* beyond 64 bits is still negative, or newer than all */
        if (!nb_json_number_int(v->s, v->n, &i))
                i = v->s[0] == '-' ? INT64_MIN : INT64_MAX;
        if (ask == ASK_NBFORMAT) {
                f->has_major = true;
                f->major = i;
                f->major_at = nb_json_reader_mark(f->reader);
        } else {
                f->has_minor = true;
                f->minor = i;
                f->minor_at = nb_json_reader_mark(f->reader);
        }
}

static int ask_kind(struct notebook_format *f, struct when w, const struct rule *rule,
                    const struct value *v, struct nb_err *err)
{
        struct frame *top = &f->stack[f->depth - 1];
        enum family family = format_shapes[top->spot].family;

        top->kind = format_kind(family, v->type == IS_STRING ? v->s : NULL, v->n);
        if (format_kind_name(family, top->kind))
                return 0;
        w.minors &= MINORS_KNOWN;
        return format_hold(f, WHAT_KIND, w, NULL, rule, v->type, v->s, v->n, err);
}

/* true, false or "auto"; and 0 and 1, which Python cannot tell from booleans. */
static bool scrolled_ok(const struct value *v)
{
        double d;

        if (v->type == IS_STRING)
                return text_is(v->s, v->n, "auto");
        if (v->type & (IS_WHOLE | IS_FRACTION))
                return nb_json_number_double(v->s, v->n, &d) && (d == 0 || d == 1);
        return v->type == IS_BOOL;
}

static bool all_zeros(const struct value *v)
{
        return v->n >= 2 && v->s[1] == '0';
}

/* What is asked of the value beside its type, which is right. */
static int ask(struct notebook_format *f, struct when w, const struct rule *rule,
               const struct value *v, struct nb_err *err)
{
        enum what what = WHAT_RANGE;
        bool ok = true;

        switch (rule->ask) {
        case ASK_NOTHING:
                return 0;
        case ASK_NBFORMAT:
        case ASK_NBFORMAT_MINOR:
                note_version(f, rule->ask, v);
                return 0;
        case ASK_CELL_TYPE:
        case ASK_OUTPUT_TYPE:
                return ask_kind(f, w, rule, v, err);
        case ASK_ID:
                return ask_id(f, w, rule, v, err);
        case ASK_TAG:
                return ask_tag(f, w, rule, v, err);
        case ASK_NAME:
                what = WHAT_NAME;
                ok = v->n > 0 && !memchr(v->s, '\n', v->n);
                break;
        case ASK_SCROLLED:
                what = WHAT_SCROLLED;
                ok = scrolled_ok(v);
                break;
        case ASK_COUNT:
                ok = v->type != IS_WHOLE || v->s[0] != '-' || all_zeros(v);
                break;
        case ASK_POSITIVE:
                ok = v->s[0] != '-' && v->s[0] != '0';
                break;
        }
        if (ok)
                return 0;
        return format_hold(f, what, w, NULL, rule, v->type, v->s, v->n, err);
}

static void push(struct notebook_format *f, enum spot spot, bool array, struct when w)
{
        struct frame *top = &f->stack[f->depth++];

        nb_assert(f->depth <= FRAMES_MAX);
        top->spot = spot;
        top->array = array;
        top->when = w;
        top->kind = top->seen = top->marked = top->key_n = 0;
        top->member = NULL;
        top->index = 0;
        top->next = NULL;
        top->first = f->n_held;
        if (format_shapes[spot].members[0].key)
                top->begin = nb_json_reader_mark(f->reader);
        else
                top->begin = (struct nb_json_pos){.line = 1};
        if (spot == SPOT_CELL)
                f->cell = (int64_t)f->stack[f->depth - 2].index;
        else if (spot == SPOT_TAGS)
                set_clear(&f->tags);
}

static int begin_root(struct notebook_format *f, const struct value *v, struct nb_err *err)
{
        int r;

        if (v->type == IS_OBJECT) {
                push(f, SPOT_ROOT, false, always);
                return 0;
        }
        f->ended = true;
        r = format_say(f, FINDING_ERROR, "format/type", nb_json_reader_mark(f->reader), NULL,
                       "a notebook is a JSON object, and this is not one",
                       "this is not a notebook: give it another name, or take the notebook from an "
                       "earlier commit",
                       err);
        return r < 0 ? r : nb_fail(err, NB_E_CANCELLED, "it is told");
}

static int begin(struct notebook_format *f, const struct value *v, struct nb_err *err)
{
        bool container = v->type & (IS_ARRAY | IS_OBJECT);
        const struct rule *rule;
        struct frame *top;
        enum spot spot;
        struct when w;
        int r = 0;

        if (f->skipped > 0) {
                f->skipped += container;
                return 0;
        }
        if (f->depth == 0)
                return begin_root(f, v, err);
        top = &f->stack[f->depth - 1];
        rule = top->next;
        top->index++;
        if (!rule) {
                f->skipped = container;
                return 0;
        }
        if (!(rule->types & v->type)) {
                f->skipped = container;
                return format_hold(f, WHAT_TYPE, when_rule(top, rule), NULL, rule, v->type, v->s,
                                   v->n, err);
        }
        if (!container && rule->ask == ASK_NOTHING)
                return 0;
        w = when_rule(top, rule);
        if (rule->ask != ASK_NOTHING)
                r = ask(f, w, rule, v, err);
        if (!container || r < 0)
                return r;
        spot = v->type == IS_ARRAY ? rule->array : rule->object;
        if (spot == SPOT_NONE) {
                f->skipped = 1;
                return 0;
        }
        push(f, spot, v->type == IS_ARRAY, w);
        /* an array has one rule for all; an object looks it up for each key */
        if (v->type == IS_ARRAY)
                f->stack[f->depth - 1].next = format_shapes[spot].items;
        return 0;
}

/* ---- members ---- */

/* A member that this kind of cell or output, or this minor, does not have.
 * While the kind is unknown, its place is noted. */
static int check_allowed(struct notebook_format *f, struct frame *top, const struct rule *rule,
                         size_t index, struct nb_err *err)
{
        struct when w = top->when;

        if (rule->minors != MINORS_ALL) {
                w.minors &= MINORS_KNOWN & ~rule->minors;
                return format_hold(f, WHAT_FORBIDDEN, w, NULL, rule, 0, rule->key, rule->len, err);
        }
        if (rule->kinds == KIND_ANY)
                return 0;
        if (!top->kind) {
                top->marked |= 1u << index;
                top->keys[index] = nb_json_reader_mark(f->reader);
                return 0;
        }
        if (rule->kinds & top->kind || top->kind == KIND_OTHER)
                return 0;
        w.minors &= MINORS_KNOWN;
        return format_hold(f, WHAT_FORBIDDEN, w, NULL, rule, 0, rule->key, rule->len, err);
}

static int key(struct notebook_format *f, const char *s, size_t n, struct nb_err *err)
{
        struct frame *top = &f->stack[f->depth - 1];
        const struct shape *shape = &format_shapes[top->spot];
        size_t i;

        if (f->skipped > 0)
                return 0;
        top->next = format_rule(top->spot, s, n, &i);
        top->member = i < RULES_MAX ? top->next : NULL;
        if (i == RULES_MAX) {
                struct when w = top->when;

                top->key_n = (unsigned)text_shown(s, n);
                memcpy(top->key, s, top->key_n);
                w.minors &= MINORS_KNOWN;
                return shape->closed ? format_hold(f, WHAT_FORBIDDEN, w, NULL, NULL, 0, s, n, err)
                                     : 0;
        }
        if (top->seen & 1u << i)
                return format_hold(f, WHAT_TWICE, when_rule(top, top->next), NULL, top->next, 0, s,
                                   n, err);
        top->seen |= 1u << i;
        return shape->closed ? check_allowed(f, top, top->next, i, err) : 0;
}

/* ---- the end of an array or object ---- */

/* What its kind, which it said late, does not have. */
static int check_marked(struct notebook_format *f, struct frame *top, struct nb_err *err)
{
        const struct rule *rules = format_shapes[top->spot].members;
        struct when w = top->when;
        int r = 0;

        w.minors &= MINORS_KNOWN;
        for (size_t i = 0; i < RULES_MAX && r == 0; i++)
                if (top->marked & 1u << i && !(rules[i].kinds & top->kind)) {
                        top->member = &rules[i];
                        r = format_hold(f, WHAT_FORBIDDEN, w, &top->keys[i], &rules[i], 0,
                                        rules[i].key, rules[i].len, err);
                }
        return r;
}

static int check_required(struct notebook_format *f, struct frame *top, struct nb_err *err)
{
        const struct shape *shape = &format_shapes[top->spot];
        int r = 0;

        for (size_t i = 0; i < RULES_MAX && shape->members[i].key && r == 0; i++) {
                const struct rule *rule = &shape->members[i];
                bool has = top->seen & 1u << i;

                if (!has && (rule->required == KIND_ANY || rule->required & top->kind))
                        r = format_hold(f, WHAT_REQUIRED, top->when, &top->begin, rule, 0, NULL, 0,
                                        err);
                else if (!has && rule->ask == ASK_ID)
                        r = format_hold(f, WHAT_NO_ID, when_rule(top, rule), &top->begin, rule, 0,
                                        NULL, 0, err);
        }
        return r;
}

/* What it needs; worked out when it is first asked. */
static unsigned needed(struct notebook_format *f, enum spot spot, unsigned kind)
{
        uint16_t *v = &f->needed[spot][kind ? __builtin_ctz(kind) + 1 : 0];

        if (!*v)
                *v = (uint16_t)(format_needed(spot, kind) | NEEDED_IS_KNOWN);
        return *v & ~NEEDED_IS_KNOWN;
}

static int end(struct notebook_format *f, struct nb_err *err)
{
        struct frame *top = &f->stack[f->depth - 1];
        enum family family;
        int r = 0;

        if (f->skipped > 0) {
                f->skipped--;
                return 0;
        }
        family = format_shapes[top->spot].closed ? format_shapes[top->spot].family : FAMILY_NONE;
        if (needed(f, top->spot, top->kind) & ~top->seen)
                r = check_required(f, top, err);
        if (family != FAMILY_NONE) {
                if (r == 0 && top->kind && top->kind != KIND_OTHER && top->marked)
                        r = check_marked(f, top, err);
                format_settle(f, family, top->kind);
        }
        if (top->spot == SPOT_CELL)
                f->cell = 0;
        f->depth--;
        return r;
}

/* ---- events ---- */

/* A value that nothing is asked of but its type, or not even that: most are. */
static bool easy(struct notebook_format *f, unsigned type)
{
        struct frame *top;

        if (f->skipped > 0)
                return true;
        if (f->depth == 0)
                return false;
        top = &f->stack[f->depth - 1];
        if (top->next && (!(top->next->types & type) || top->next->ask != ASK_NOTHING))
                return false;
        top->index++;
        return true;
}

/* easy(), without going on. */
static bool is_idle(void *arg, bool key)
{
        const struct notebook_format *f = arg;
        const struct frame *top;

        if (f->skipped > 0)
                return true;
        if (key || f->depth == 0)
                return false;
        top = &f->stack[f->depth - 1];
        return !top->next || (top->next->types & IS_STRING && top->next->ask == ASK_NOTHING);
}

static int on_null(void *arg, struct nb_err *err)
{
        return begin(arg, &(struct value){.type = IS_NULL, .s = ""}, err);
}

static int on_boolean(void *arg, bool yes, struct nb_err *err)
{
        return begin(arg, &(struct value){.type = IS_BOOL, .s = ""}, err);
}

static int on_number(void *arg, const char *s, size_t n, struct nb_err *err)
{
        struct value v = {.type = IS_WHOLE, .s = s, .n = n};

        if (((struct notebook_format *)arg)->skipped > 0)
                return 0;
        for (size_t i = 0; i < n; i++)
                if (s[i] == '.' || (s[i] | 0x20) == 'e')
                        v.type = IS_FRACTION;
        return begin(arg, &v, err);
}

/* Apart, so that the many easy ones need no frame on the stack. */
static __attribute__((noinline)) int hard_string(struct notebook_format *f, const char *s, size_t n,
                                                 struct nb_err *err)
{
        return begin(f, &(struct value){.type = IS_STRING, .s = s, .n = n}, err);
}

static int on_string(void *arg, const char *s, size_t n, struct nb_err *err)
{
        return easy(arg, IS_STRING) ? 0 : hard_string(arg, s, n, err);
}

static int on_map_start(void *arg, struct nb_err *err)
{
        return begin(arg, &(struct value){.type = IS_OBJECT, .s = ""}, err);
}

static int on_array_start(void *arg, struct nb_err *err)
{
        return begin(arg, &(struct value){.type = IS_ARRAY, .s = ""}, err);
}

static int on_key(void *arg, const char *s, size_t n, struct nb_err *err)
{
        return key(arg, s, n, err);
}

static int on_end(void *arg, struct nb_err *err)
{
        return end(arg, err);
}

const struct nb_json_events format_events = {
        .null = on_null,
        .boolean = on_boolean,
        .number = on_number,
        .string = on_string,
        .map_start = on_map_start,
        .map_key = on_key,
        .map_end = on_end,
        .array_start = on_array_start,
        .array_end = on_end,
        .idle = is_idle,
};
