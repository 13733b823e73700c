/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * format.h - the format check's inside: its table, and what it holds
 *
 * The rules of nbformat 4.0 to 4.5 are one table (format-table.c): which array
 * or object (spot) has which members, of which types, in which minor versions,
 * for which kinds of cell or output.  But a notebook says its version at its
 * end, and a cell may say its kind at its end.  So each finding carries when
 * it counts, and is kept or dropped as soon as that is known.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbcid/finding.h>
#include <nbcid/json.h>

#include "set.h"

/* ---- the table ---- */

enum spot {
        SPOT_NONE, /* not looked into */
        SPOT_ROOT,
        SPOT_METADATA,
        SPOT_KERNELSPEC,
        SPOT_LANGUAGE_INFO,
        SPOT_CELLS,
        SPOT_CELL,
        SPOT_CELL_METADATA,
        SPOT_EXECUTION, /* metadata.execution of a cell */
        SPOT_TAGS,
        SPOT_TEXT, /* an array of strings */
        SPOT_ATTACHMENTS,
        SPOT_BUNDLE, /* mime types and their data */
        SPOT_OUTPUTS,
        SPOT_OUTPUT,
        SPOT__COUNT,
};

/* JSON types, one bit each. */
enum {
        IS_NULL = 1,
        IS_BOOL = 2,
        IS_WHOLE = 4,    /* written without point and exponent */
        IS_FRACTION = 8, /* any other number */
        IS_STRING = 16,
        IS_ARRAY = 32,
        IS_OBJECT = 64,
};

/* Kinds of cells and of outputs, one bit each. */
enum {
        CELL_CODE = 1,
        CELL_MARKDOWN = 2,
        CELL_RAW = 4,
        CELL_KNOWN = 7,
        OUTPUT_RESULT = 1,
        OUTPUT_DISPLAY = 2,
        OUTPUT_STREAM = 4,
        OUTPUT_ERROR = 8,
        OUTPUT_KNOWN = 15,
        KIND_OTHER = 16, /* of a newer minor version */
        KIND_ANY = 255,
};
#define KIND_BITS 6 /* none, and each of the above */

/* Minor versions, one bit each; those after 4.5 share one. */
#define MINOR_NEWEST 5
#define MINOR_BIT(m) (1u << (m))
#define MINORS_NEWER MINOR_BIT(MINOR_NEWEST + 1)
#define MINORS_ALL (2 * MINORS_NEWER - 1)
#define MINORS_KNOWN (MINORS_ALL & ~MINORS_NEWER) /* these admit no other members */
#define MINORS_FROM(m) (MINORS_ALL & ~(MINOR_BIT(m) - 1))

/* Whose kind decides. */
enum family { FAMILY_NONE, FAMILY_CELL, FAMILY_OUTPUT };

/* What is asked of a value beside its type. */
enum ask {
        ASK_NOTHING,
        ASK_NBFORMAT,
        ASK_NBFORMAT_MINOR,
        ASK_CELL_TYPE,
        ASK_OUTPUT_TYPE,
        ASK_ID,
        ASK_NAME, /* of a cell: not empty, one line */
        ASK_TAG,
        ASK_SCROLLED,
        ASK_COUNT,    /* 0 or more */
        ASK_POSITIVE, /* 1 or more */
};

struct rule {
        const char *key; /* of a member; of an item, what texts call it */
        size_t len;
        unsigned types;
        enum ask ask;
        enum spot array, object; /* what is inside, when it is one */
        unsigned minors;
        unsigned kinds;    /* that have it */
        unsigned required; /* kinds that must have it */
};

#define RULES_MAX 10
#define NEEDED_IS_KNOWN (1u << RULES_MAX)

struct shape {
        const char *name; /* in texts: "a code cell" is made of kind and this */
        enum family family;
        bool closed; /* has no other members */
        struct rule members[RULES_MAX];
        const struct rule *items; /* each item of the array, or other member of the object */
};

extern const struct shape format_shapes[SPOT__COUNT];
/* The rule of a member, NULL when it is free; *ret_index is its bit in seen,
 * RULES_MAX when it is no member by name. */
const struct rule *format_rule(enum spot spot, const char *key, size_t n, size_t *ret_index);
/* The members that must be there, one bit each; kind may be 0, not said. */
unsigned format_needed(enum spot spot, unsigned kind);
/* "code", "stream"; NULL for others. */
const char *format_kind_name(enum family family, unsigned kind);
/* Its bit, or that of "other". */
unsigned format_kind(enum family family, const char *s, size_t n);

/* ---- what is found ---- */

struct when {
        unsigned minors, cell, output;
};

enum what {
        WHAT_TYPE,
        WHAT_REQUIRED,
        WHAT_FORBIDDEN,
        WHAT_TWICE, /* the same key */
        WHAT_KIND,  /* no such cell_type or output_type */
        WHAT_ID,
        WHAT_NAME,
        WHAT_TAG,
        WHAT_TAG_TWICE,
        WHAT_SCROLLED,
        WHAT_RANGE,
        WHAT_NO_ID,
        WHAT_ID_TWICE,
        WHAT__COUNT,
};

/* Kept in short until the end says that it counts. */
struct held {
        enum what what;
        struct when when;
        struct nb_json_pos at;
        enum spot spot; /* of the array or object */
        unsigned kind;  /* of the cell or output that it is, when known */
        const struct rule *rule;
        unsigned type; /* that it has */
        int64_t cell;
        size_t cell_line;
        char *path;   /* owned; NULL: of a cell, or of a member of it */
        char *detail; /* owned: the key or value, cleaned; or NULL */
};

/* Findings of one what and when share their fate, so beyond the ceiling they
 * are only counted. */
struct tally {
        enum what what;
        struct when when;
        size_t kept, more;
};
#define TALLIES_MAX 128

struct frame {
        enum spot spot;
        bool array;
        struct when when;
        unsigned kind; /* 0: not yet said */
        unsigned seen; /* members, one bit each */
        size_t index;  /* of the item at hand, plus 1 */
        const struct rule *next;
        size_t first; /* findings held before it */
        /* the member at hand, for paths: its rule's key, or a cut copy */
        const struct rule *member;
        char key[60];
        unsigned key_n;
        unsigned marked;                    /* members whose place is in keys */
        struct nb_json_pos begin;           /* of itself */
        struct nb_json_pos keys[RULES_MAX]; /* of members that its kind may forbid */
};
#define FRAMES_MAX 10

struct notebook_format {
        struct nb_json_reader *reader;
        uint64_t max_bytes;
        struct findings *to;
        struct frame stack[FRAMES_MAX];
        unsigned depth;
        size_t skipped; /* levels inside a value that is not looked into */
        int64_t cell;   /* 1-based, 0 outside */
        struct set ids, tags;
        /* members of a spot that a kind must have, and the id; by the kind's bit */
        uint16_t needed[SPOT__COUNT][KIND_BITS]; /* 0: not yet worked out */
        struct held *held;
        size_t n_held, cap_held;
        struct tally tallies[TALLIES_MAX];
        size_t n_tallies;
        /* what nbformat and nbformat_minor are */
        bool has_major, has_minor;
        int64_t major, minor;
        struct nb_json_pos major_at, minor_at;
        uint64_t fed; /* bytes */
        bool ended;   /* by an error that is told */
};

/* What format.c makes of the text; arg is the struct notebook_format. */
extern const struct nb_json_events format_events;

/* Keep a finding until it is known whether it counts.  at is NULL for the place
 * at hand; rule may be NULL; s (what it is about: a key or value) too. */
int format_hold(struct notebook_format *f, enum what what, struct when when,
                const struct nb_json_pos *at, const struct rule *rule, unsigned type, const char *s,
                size_t n, struct nb_err *err);
/* Before the piece of text is gone. */
void format_locate(struct notebook_format *f);
/* The kind of the frame on top is known now: drop what does not count for it. */
void format_settle(struct notebook_format *f, enum family family, unsigned kind);
/* Give out what counts, in the order of the text. */
int format_tell(struct notebook_format *f, unsigned minors, struct nb_err *err);
void format_drop_all(struct notebook_format *f);
/* One finding of its own, before or after the table's. */
int format_say(struct notebook_format *f, enum finding_severity severity, const char *rule,
               struct nb_json_pos at, const char *path, const char *message, const char *remedy,
               struct nb_err *err);
