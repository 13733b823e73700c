/* SPDX-License-Identifier: Apache-2.0 */

/* nbformat 4.0 to 4.5, from its JSON schemas, as one table. */

#include "format.h"

#include <string.h>

#include <nbcid/mem.h>

#include "text.h"

#define TEXT (IS_STRING | IS_ARRAY)
#define COUNT (IS_WHOLE | IS_NULL)
#define ANYTHING 127
#define ALL MINORS_ALL
/* Newer minors are read loosely: what a mime type holds is theirs. */
#define KNOWN MINORS_KNOWN

#define KEY(s) (s), sizeof(s) - 1
#define CODE CELL_CODE
#define PROSE (CELL_MARKDOWN | CELL_RAW)
#define CELLS CELL_KNOWN
#define SHOWN (OUTPUT_RESULT | OUTPUT_DISPLAY)

/* clang-format off */
/* Items; their "key" is what texts call them. */
static const struct rule a_cell = {
        KEY("this cell"), IS_OBJECT, ASK_NOTHING, 0, SPOT_CELL, ALL, KIND_ANY, 0};
static const struct rule an_output = {
        KEY("this output"), IS_OBJECT, ASK_NOTHING, 0, SPOT_OUTPUT, ALL, KIND_ANY, 0};
static const struct rule a_line = {
        KEY("this line of text"), IS_STRING, ASK_NOTHING, 0, 0, ALL, KIND_ANY, 0};
static const struct rule a_time = {
        KEY("this time of an execution"), IS_STRING, ASK_NOTHING, 0, 0, ALL, KIND_ANY, 0};
static const struct rule a_tag = {
        KEY("this tag"), IS_STRING, ASK_TAG, 0, 0, ALL, KIND_ANY, 0};
static const struct rule an_attachment = {
        KEY("this attachment"), IS_OBJECT, ASK_NOTHING, 0, SPOT_BUNDLE, ALL, KIND_ANY, 0};
static const struct rule mime_data = {
        KEY("the data of this mime type"), TEXT, ASK_NOTHING, SPOT_TEXT, 0, KNOWN, KIND_ANY, 0};

/* key, types, what else is asked, inside as an array, inside as an object,
 * minors, kinds that have it, kinds that must */
const struct shape format_shapes[SPOT__COUNT] = {
        [SPOT_ROOT] = {"the notebook", FAMILY_NONE, true, {
                {KEY("metadata"), IS_OBJECT, ASK_NOTHING, 0, SPOT_METADATA, ALL, KIND_ANY, KIND_ANY},
                {KEY("nbformat_minor"), IS_WHOLE, ASK_NBFORMAT_MINOR, 0, 0, ALL, KIND_ANY, KIND_ANY},
                {KEY("nbformat"), IS_WHOLE, ASK_NBFORMAT, 0, 0, ALL, KIND_ANY, KIND_ANY},
                {KEY("cells"), IS_ARRAY, ASK_NOTHING, SPOT_CELLS, 0, ALL, KIND_ANY, KIND_ANY},
        }, NULL},
        [SPOT_METADATA] = {"metadata", FAMILY_NONE, false, {
                {KEY("kernelspec"), IS_OBJECT, ASK_NOTHING, 0, SPOT_KERNELSPEC, ALL, KIND_ANY, 0},
                {KEY("language_info"), IS_OBJECT, ASK_NOTHING, 0, SPOT_LANGUAGE_INFO, ALL, KIND_ANY, 0},
                {KEY("orig_nbformat"), IS_WHOLE, ASK_POSITIVE, 0, 0, ALL, KIND_ANY, 0},
                {KEY("title"), IS_STRING, ASK_NOTHING, 0, 0, MINORS_FROM(2), KIND_ANY, 0},
                {KEY("authors"), IS_ARRAY, ASK_NOTHING, 0, 0, MINORS_FROM(2), KIND_ANY, 0},
        }, NULL},
        [SPOT_KERNELSPEC] = {"metadata.kernelspec", FAMILY_NONE, false, {
                {KEY("name"), IS_STRING, ASK_NOTHING, 0, 0, ALL, KIND_ANY, KIND_ANY},
                {KEY("display_name"), IS_STRING, ASK_NOTHING, 0, 0, ALL, KIND_ANY, KIND_ANY},
        }, NULL},
        [SPOT_LANGUAGE_INFO] = {"metadata.language_info", FAMILY_NONE, false, {
                {KEY("name"), IS_STRING, ASK_NOTHING, 0, 0, ALL, KIND_ANY, KIND_ANY},
                {KEY("codemirror_mode"), IS_STRING | IS_OBJECT, ASK_NOTHING, 0, 0, ALL, KIND_ANY, 0},
                {KEY("file_extension"), IS_STRING, ASK_NOTHING, 0, 0, ALL, KIND_ANY, 0},
                {KEY("mimetype"), IS_STRING, ASK_NOTHING, 0, 0, ALL, KIND_ANY, 0},
                {KEY("pygments_lexer"), IS_STRING, ASK_NOTHING, 0, 0, ALL, KIND_ANY, 0},
        }, NULL},
        [SPOT_CELLS] = {"cells", FAMILY_NONE, false, {{0}}, &a_cell},
        /* A missing id is mended by nbformat itself: see format.c. */
        [SPOT_CELL] = {"cell", FAMILY_CELL, true, {
                {KEY("cell_type"), ANYTHING, ASK_CELL_TYPE, 0, 0, ALL, KIND_ANY, KIND_ANY},
                {KEY("id"), IS_STRING, ASK_ID, 0, 0, MINORS_FROM(5), CELLS, 0},
                {KEY("metadata"), IS_OBJECT, ASK_NOTHING, 0, SPOT_CELL_METADATA, ALL, KIND_ANY, KIND_ANY},
                {KEY("source"), TEXT, ASK_NOTHING, SPOT_TEXT, 0, ALL, CELLS, CELLS},
                {KEY("attachments"), IS_OBJECT, ASK_NOTHING, 0, SPOT_ATTACHMENTS, ALL, PROSE, 0},
                {KEY("outputs"), IS_ARRAY, ASK_NOTHING, SPOT_OUTPUTS, 0, ALL, CODE, CODE},
                {KEY("execution_count"), COUNT, ASK_COUNT, 0, 0, ALL, CODE, CODE},
        }, NULL},
        [SPOT_CELL_METADATA] = {"metadata", FAMILY_CELL, false, {
                {KEY("name"), IS_STRING, ASK_NAME, 0, 0, ALL, KIND_ANY, 0},
                {KEY("tags"), IS_ARRAY, ASK_NOTHING, SPOT_TAGS, 0, ALL, KIND_ANY, 0},
                {KEY("jupyter"), IS_OBJECT, ASK_NOTHING, 0, 0, MINORS_FROM(3), CELLS, 0},
                {KEY("format"), IS_STRING, ASK_NOTHING, 0, 0, ALL, CELL_RAW, 0},
                {KEY("execution"), IS_OBJECT, ASK_NOTHING, 0, SPOT_EXECUTION, MINORS_FROM(4), CODE, 0},
                {KEY("collapsed"), IS_BOOL, ASK_NOTHING, 0, 0, ALL, CODE, 0},
                {KEY("scrolled"), ANYTHING, ASK_SCROLLED, 0, 0, ALL, CODE, 0},
        }, NULL},
        [SPOT_EXECUTION] = {"metadata.execution", FAMILY_NONE, false, {{0}}, &a_time},
        [SPOT_TAGS] = {"metadata.tags", FAMILY_NONE, false, {{0}}, &a_tag},
        [SPOT_TEXT] = {"text", FAMILY_NONE, false, {{0}}, &a_line},
        [SPOT_ATTACHMENTS] = {"attachments", FAMILY_NONE, false, {{0}}, &an_attachment},
        [SPOT_BUNDLE] = {"data", FAMILY_NONE, false, {{0}}, &mime_data},
        [SPOT_OUTPUTS] = {"outputs", FAMILY_NONE, false, {{0}}, &an_output},
        [SPOT_OUTPUT] = {"output", FAMILY_OUTPUT, true, {
                {KEY("output_type"), ANYTHING, ASK_OUTPUT_TYPE, 0, 0, ALL, KIND_ANY, KIND_ANY},
                {KEY("data"), IS_OBJECT, ASK_NOTHING, 0, SPOT_BUNDLE, ALL, SHOWN, SHOWN},
                {KEY("metadata"), IS_OBJECT, ASK_NOTHING, 0, 0, ALL, SHOWN, SHOWN},
                {KEY("execution_count"), COUNT, ASK_COUNT, 0, 0, ALL, OUTPUT_RESULT, OUTPUT_RESULT},
                {KEY("name"), IS_STRING, ASK_NOTHING, 0, 0, ALL, OUTPUT_STREAM, OUTPUT_STREAM},
                {KEY("text"), TEXT, ASK_NOTHING, SPOT_TEXT, 0, ALL, OUTPUT_STREAM, OUTPUT_STREAM},
                {KEY("ename"), IS_STRING, ASK_NOTHING, 0, 0, ALL, OUTPUT_ERROR, OUTPUT_ERROR},
                {KEY("evalue"), IS_STRING, ASK_NOTHING, 0, 0, ALL, OUTPUT_ERROR, OUTPUT_ERROR},
                {KEY("traceback"), IS_ARRAY, ASK_NOTHING, SPOT_TEXT, 0, ALL, OUTPUT_ERROR, OUTPUT_ERROR},
        }, NULL},
};
/* clang-format on */

/* ---- kinds ---- */

static const struct {
        enum family family;
        const char *name;
        size_t len;
        unsigned bit;
} kinds[] = {
        {FAMILY_CELL, KEY("code"), CELL_CODE},
        {FAMILY_CELL, KEY("markdown"), CELL_MARKDOWN},
        {FAMILY_CELL, KEY("raw"), CELL_RAW},
        {FAMILY_OUTPUT, KEY("execute_result"), OUTPUT_RESULT},
        {FAMILY_OUTPUT, KEY("display_data"), OUTPUT_DISPLAY},
        {FAMILY_OUTPUT, KEY("stream"), OUTPUT_STREAM},
        {FAMILY_OUTPUT, KEY("error"), OUTPUT_ERROR},
};

const char *format_kind_name(enum family family, unsigned kind)
{
        for (size_t i = 0; i < NB_ARRAY_SIZE(kinds); i++)
                if (kinds[i].family == family && kinds[i].bit == kind)
                        return kinds[i].name;
        return NULL;
}

unsigned format_kind(enum family family, const char *s, size_t n)
{
        for (size_t i = 0; s && i < NB_ARRAY_SIZE(kinds); i++)
                if (n == kinds[i].len && kinds[i].family == family &&
                    memcmp(s, kinds[i].name, n) == 0)
                        return kinds[i].bit;
        return KIND_OTHER;
}

/* ---- members by key ---- */

/* Does Python's regular expression "$" come after p[i]?  It also matches before
 * a newline that ends the text. */
static bool at_end(const char *p, size_t n, size_t i)
{
        return i == n || (i + 1 == n && p[i] == '\n');
}

/* ^application/(.*\+)?json$ holds any JSON; others hold text. */
static bool is_json_mime(const char *p, size_t n)
{
        static const char begin[] = "application/", end[] = "json";
        size_t from = sizeof(begin) - 1, to = n;

        if (!text_begins(p, n, begin))
                return false;
        if (p[n - 1] == '\n')
                to--;
        if (to - from < sizeof(end) - 1 || memcmp(p + to - 4, end, 4) != 0)
                return false;
        to -= 4;
        return to == from || (p[to - 1] == '+' && !memchr(p + from, '\n', to - from));
}

/* ^.*$ */
static bool is_one_line(const char *p, size_t n)
{
        const char *nl = memchr(p, '\n', n);

        return !nl || at_end(p, n, (size_t)(nl - p));
}

const struct rule *format_rule(enum spot spot, const char *key, size_t n, size_t *ret_index)
{
        const struct shape *shape = &format_shapes[spot];

        *ret_index = RULES_MAX;
        for (size_t i = 0; i < RULES_MAX && shape->members[i].key; i++)
                if (n == shape->members[i].len && memcmp(key, shape->members[i].key, n) == 0) {
                        *ret_index = i;
                        return &shape->members[i];
                }
        if (spot == SPOT_BUNDLE && is_json_mime(key, n))
                return NULL;
        if (spot == SPOT_EXECUTION && !is_one_line(key, n))
                return NULL;
        return shape->items;
}

unsigned format_needed(enum spot spot, unsigned kind)
{
        const struct rule *rules = format_shapes[spot].members;
        unsigned needed = 0;

        for (size_t i = 0; i < RULES_MAX && rules[i].key; i++)
                if (rules[i].required == KIND_ANY || rules[i].required & kind ||
                    rules[i].ask == ASK_ID)
                        needed |= 1u << i;
        return needed;
}
