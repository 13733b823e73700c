/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The tree is a tape: one array of 16-byte nodes in the order of the text, so
 * that reading allocates three blocks, whatever the text.  A container is
 * followed by what is in it; a member is a key node and its value.  Texts are
 * kept in a second block, each where it stood in the JSON text: decoded it is
 * shorter than with its quotes, so there is always room for its NUL.
 */

#include <nbcid/json.h>

#include <stdarg.h>

#include <nbcid/mem.h>

#include "json-private.h"

/* Bits for a length or a count in a node; text as long as that is refused. */
#define N_BITS 29
/* Element i of a container that holds only single nodes is found by adding i;
 * of another one by walking when it is this small; else by its index. */
#define WALK_MAX 64
#define NONE UINT32_MAX

struct nb_json {
        uint32_t self;  /* its number on the tape, which leads to the tree */
        uint32_t start; /* offset in the JSON text */
        uint32_t type : 3;
        uint32_t n : N_BITS; /* bytes, elements or members; of a boolean, its value */
        uint32_t next;       /* the node after all of this one; while open, the parent */
};

union slot {
        struct nb_json v;
        uint32_t index[4]; /* numbers of the children, behind the last one */
};

struct nb_json_tree {
        char *text;
        uint32_t *lines; /* where each line begins */
        size_t n_lines;
        size_t cap;
        uint32_t used;
        unsigned depth;
        bool secret;
        union slot slots[];
};

struct build {
        struct nb_json_tree *t;
        struct nb_json_pos pos; /* the reader says here where it is */
        uint32_t open;          /* innermost open container, or NONE */
        unsigned depth;
};

static const union slot *slots_of(const struct nb_json *v)
{
        return (const union slot *)v - v->self;
}

static const struct nb_json_tree *tree_of(const struct nb_json *v)
{
        const char *slots = (const char *)slots_of(v);

        return (const struct nb_json_tree *)(const void *)(slots -
                                                           offsetof(struct nb_json_tree, slots));
}

static bool is_container(const struct nb_json *v)
{
        return v->type == NB_JSON_ARRAY || v->type == NB_JSON_OBJECT;
}

/* The NUL-terminated text of a string, key or number. */
static const char *text_of(const struct nb_json *v)
{
        return tree_of(v)->text + v->start + (v->type == NB_JSON_STRING);
}

/* --- building ----------------------------------------------------------- */

static int node_add(struct build *b, enum nb_json_type type, size_t n, struct nb_err *err)
{
        struct nb_json_tree *t = b->t;

        if (t->used >= t->cap)
                return nb_fail(err, NB_E_BUG, "the JSON tree has more values than were counted");
        if (b->open != NONE) {
                struct nb_json *parent = &t->slots[b->open].v;

                /* In an object every other node is a value, which its key has counted. */
                if (parent->type == NB_JSON_ARRAY)
                        parent->n++;
        }
        t->slots[t->used].v = (struct nb_json){
                .self = t->used,
                .start = (uint32_t)b->pos.offset,
                .type = type,
                .n = (uint32_t)n & ((1u << N_BITS) - 1),
                .next = t->used + 1,
        };
        t->used++;
        return 0;
}

static int text_add(struct build *b, enum nb_json_type type, const char *s, size_t n,
                    struct nb_err *err)
{
        char *at = b->t->text + b->pos.offset + (type == NB_JSON_STRING);

        if (type == NB_JSON_STRING && memchr(s, '\0', n))
                return nb_fail(err, NB_E_INVALID, "\\u0000 has no place in this text");
        memcpy(at, s, n);
        at[n] = '\0';
        return node_add(b, type, n, err);
}

static int on_null(void *arg, struct nb_err *err)
{
        return node_add(arg, NB_JSON_NULL, 0, err);
}

static int on_boolean(void *arg, bool v, struct nb_err *err)
{
        return node_add(arg, NB_JSON_BOOL, v, err);
}

static int on_number(void *arg, const char *s, size_t n, struct nb_err *err)
{
        return text_add(arg, NB_JSON_NUMBER, s, n, err);
}

static int on_string(void *arg, const char *s, size_t n, struct nb_err *err)
{
        return text_add(arg, NB_JSON_STRING, s, n, err);
}

static int on_key(void *arg, const char *s, size_t n, struct nb_err *err)
{
        struct build *b = arg;

        b->t->slots[b->open].v.n++;
        return text_add(b, NB_JSON_STRING, s, n, err);
}

static int container_open(struct build *b, enum nb_json_type type, struct nb_err *err)
{
        uint32_t self = b->t->used;
        int r = node_add(b, type, 0, err);

        if (r < 0)
                return r;
        b->t->slots[self].v.next = b->open;
        b->open = self;
        if (++b->depth > b->t->depth)
                b->t->depth = b->depth;
        return 0;
}

static int on_array_start(void *arg, struct nb_err *err)
{
        return container_open(arg, NB_JSON_ARRAY, err);
}

static int on_map_start(void *arg, struct nb_err *err)
{
        return container_open(arg, NB_JSON_OBJECT, err);
}

/* How many nodes a container has on the tape when each child is a single one. */
static uint32_t flat_size(const struct nb_json *v)
{
        return v->type == NB_JSON_OBJECT ? 2 * v->n : v->n;
}

static uint32_t index_slots(const struct nb_json *v)
{
        return (v->n + 3) / 4;
}

/* Has the container (closed, its nodes end before end) an index?  Its slots
 * are on top of its nodes, so that it never looks flat. */
static bool has_index(const struct nb_json *v, uint32_t end)
{
        return v->n > WALK_MAX && end - v->self - 1 != flat_size(v);
}

/* The child after the one at i; of an object, the next key. */
static uint32_t next_child(const struct nb_json *v, uint32_t i)
{
        const union slot *slots = slots_of(v);

        return slots[v->type == NB_JSON_OBJECT ? i + 1 : i].v.next;
}

static int container_close(struct build *b, struct nb_err *err)
{
        struct nb_json_tree *t = b->t;
        struct nb_json *v = &t->slots[b->open].v;
        uint32_t first = t->used, parent = v->next;

        if (has_index(v, t->used)) {
                if (t->cap - t->used < index_slots(v))
                        return nb_fail(err, NB_E_BUG, "the JSON tree has no room for an index");
                t->used += index_slots(v);
                for (uint32_t i = 0, at = v->self + 1; i < v->n; i++, at = next_child(v, at))
                        t->slots[first + i / 4].index[i % 4] = at;
        }
        v->next = t->used;
        b->open = parent;
        b->depth--;
        return 0;
}

static int on_array_end(void *arg, struct nb_err *err)
{
        return container_close(arg, err);
}

/* Find child i: an element, or the key of a member. */
static const struct nb_json *child(const struct nb_json *v, size_t i)
{
        const union slot *slots = slots_of(v);
        uint32_t at = v->self + 1;

        if (v->next - at == flat_size(v))
                return &slots[at + (v->type == NB_JSON_OBJECT ? 2 * i : i)].v;
        if (has_index(v, v->next))
                return &slots[slots[v->next - index_slots(v) + i / 4].index[i % 4]].v;
        while (i--)
                at = next_child(v, at);
        return &slots[at].v;
}

/* Order keys by anything that brings equal ones together, in text order. */
static int key_compare(const void *pa, const void *pb)
{
        const struct nb_json *a = *(const struct nb_json *const *)pa;
        const struct nb_json *b = *(const struct nb_json *const *)pb;
        int d;

        if (a->n != b->n)
                return a->n < b->n ? -1 : 1;
        d = memcmp(text_of(a), text_of(b), a->n);
        return d ? d : (a->start > b->start) - (a->start < b->start);
}

static bool key_equal(const struct nb_json *a, const struct nb_json *b)
{
        return a->n == b->n && memcmp(text_of(a), text_of(b), a->n) == 0;
}

/* The first key that stands in the object v a second time, or NULL; keys has
 * room for all of them.  Sorting, because no choice of keys makes it slow. */
static const struct nb_json *find_duplicate(const struct nb_json *v, const struct nb_json **keys)
{
        const struct nb_json *ret = NULL;
        uint32_t at = v->self + 1;

        for (uint32_t i = 0; i < v->n; i++, at = next_child(v, at))
                keys[i] = &slots_of(v)[at].v;
        qsort(keys, v->n, sizeof(*keys), key_compare);
        for (uint32_t i = 1; i < v->n; i++)
                if (key_equal(keys[i - 1], keys[i]) && (!ret || keys[i]->start < ret->start))
                        ret = keys[i];
        return ret;
}

static int on_map_end(void *arg, struct nb_err *err)
{
        struct build *b = arg;
        const struct nb_json *v = &b->t->slots[b->open].v, *again;
        const struct nb_json *few[32];
        nb_auto_free const struct nb_json **many = NULL;

        if (v->n > NB_ARRAY_SIZE(few)) {
                many = nb_alloc_array(v->n, sizeof(*many));
                if (!many)
                        return nb_fail(err, NB_E_NOMEM, "no memory to compare %u keys",
                                       (unsigned)v->n);
        }
        again = find_duplicate(v, many ? many : few);
        if (again) {
                b->pos = nb_json_where(again);
                return nb_fail(err, NB_E_INVALID, "the object has this key twice");
        }
        return container_close(b, err);
}

static const struct nb_json_events build_events = {
        .null = on_null,
        .boolean = on_boolean,
        .number = on_number,
        .string = on_string,
        .map_start = on_map_start,
        .map_key = on_key,
        .map_end = on_map_end,
        .array_start = on_array_start,
        .array_end = on_array_end,
};

/* What the text can come to: lines, and nodes, of which each but the first
 * stands after one of [ { , : outside a string. */
static void text_count(const char *p, size_t n, size_t *ret_nodes, size_t *ret_lines)
{
        size_t nodes = 1, lines = 1;
        bool quoted = false;

        for (size_t i = 0; i < n; i++) {
                char c = p[i];

                if (c == '"')
                        quoted = !quoted;
                else if (quoted)
                        i += c == '\\';
                else if (c == '[' || c == '{' || c == ',' || c == ':')
                        nodes++;
                else if (c == '\n')
                        lines++;
        }
        *ret_nodes = nodes;
        *ret_lines = lines;
}

static int tree_new(const char *p, size_t n, const struct nb_json_limits *limits,
                    struct nb_json_tree **ret, struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
        size_t nodes, lines, k = 0;

        text_count(p, n, &nodes, &lines);
        /* A value more than the limit is refused before it becomes a node. */
        if (limits->values && limits->values < nodes / 2)
                nodes = 2 * limits->values + 2;
        /* An index takes a slot for four children, of which it has over WALK_MAX. */
        nodes += nodes / 4 + nodes / WALK_MAX + 1;
        t = nb_alloc_array(sizeof(*t) / sizeof(t->slots[0]) + 1 + nodes, sizeof(t->slots[0]));
        if (!t)
                return nb_fail(err, NB_E_NOMEM, "no memory for a JSON tree of %zu nodes", nodes);
        *t = (struct nb_json_tree){.cap = nodes, .n_lines = lines, .secret = limits->secret};
        t->text = malloc(n + 1);
        t->lines = nb_alloc_array(lines, sizeof(t->lines[0]));
        if (!t->text || !t->lines)
                return nb_fail(err, NB_E_NOMEM, "no memory for a JSON tree of %zu bytes", n);
        t->lines[k++] = 0;
        /* A newline inside a string is refused later; it is only not counted. */
        for (size_t i = 0; i < n && k < lines; i++)
                if (p[i] == '\n')
                        t->lines[k++] = (uint32_t)i + 1;
        *ret = NB_TAKE(t);
        return 0;
}

int nb_json_read(const char *p, size_t n, const struct nb_json_limits *limits,
                 struct nb_json_tree **ret, struct nb_json_pos *ret_pos, struct nb_err *err)
{
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *t = NULL;
        struct nb_json_limits own = *limits;
        struct build b = {.open = NONE};
        int r;

        if (own.bytes >= 1u << N_BITS)
                own.bytes = (1u << N_BITS) - 1;
        r = tree_new(p, n <= own.bytes ? n : 0, &own, &t, err);
        if (r < 0)
                return r;
        b.t = t;
        r = nb_json_parse(p, n, &own, &build_events, &b, &b.pos, err);
        if (ret_pos)
                *ret_pos = b.pos;
        if (r < 0)
                return r;
        *ret = NB_TAKE(t);
        return 0;
}

struct nb_json_tree *nb_json_free(struct nb_json_tree *t)
{
        if (t) {
                json_free_text(t->text, t->secret);
                free(t->lines);
                free(t);
        }
        return NULL;
}

/* --- reading ------------------------------------------------------------ */

const struct nb_json *nb_json_root(const struct nb_json_tree *t)
{
        return &t->slots[0].v;
}

enum nb_json_type nb_json_type(const struct nb_json *v)
{
        return v ? (enum nb_json_type)v->type : NB_JSON_NULL;
}

const char *nb_json_type_name(enum nb_json_type t)
{
        static const char *const names[NB_JSON_TYPE__COUNT] = {
                [NB_JSON_NULL] = "null",     [NB_JSON_BOOL] = "boolean",
                [NB_JSON_NUMBER] = "number", [NB_JSON_STRING] = "string",
                [NB_JSON_ARRAY] = "array",   [NB_JSON_OBJECT] = "object",
        };

        nb_assert(t < NB_JSON_TYPE__COUNT);
        return names[t];
}

struct nb_json_pos nb_json_where(const struct nb_json *v)
{
        const struct nb_json_tree *t;
        size_t low = 0, high;

        if (!v)
                return (struct nb_json_pos){0, 1, 1};
        t = tree_of(v);
        /* The last line that begins at or before it. */
        for (high = t->n_lines; high - low > 1;) {
                size_t mid = low + (high - low) / 2;

                if (t->lines[mid] <= v->start)
                        low = mid;
                else
                        high = mid;
        }
        return (struct nb_json_pos){v->start, low + 1, v->start - t->lines[low] + 1};
}

const struct nb_json *nb_json_get(const struct nb_json *object, const char *key)
{
        const union slot *slots;
        size_t n = strlen(key);
        uint32_t at;

        if (nb_json_type(object) != NB_JSON_OBJECT)
                return NULL;
        slots = slots_of(object);
        at = object->self + 1;
        for (uint32_t i = 0; i < object->n; i++, at = next_child(object, at))
                if (slots[at].v.n == n && memcmp(text_of(&slots[at].v), key, n) == 0)
                        return &slots[at + 1].v;
        return NULL;
}

const struct nb_json *nb_json_at(const struct nb_json *v, ...)
{
        const char *key;
        va_list ap;

        va_start(ap, v);
        while (v && (key = va_arg(ap, const char *)))
                v = nb_json_get(v, key);
        va_end(ap);
        return v;
}

size_t nb_json_size(const struct nb_json *v)
{
        return v && is_container(v) ? v->n : 0;
}

const struct nb_json *nb_json_index(const struct nb_json *array, size_t i)
{
        if (nb_json_type(array) != NB_JSON_ARRAY || i >= array->n)
                return NULL;
        return child(array, i);
}

const struct nb_json *nb_json_member(const struct nb_json *object, size_t i, const char **ret_key)
{
        const struct nb_json *key;

        if (nb_json_type(object) != NB_JSON_OBJECT || i >= object->n)
                return NULL;
        key = child(object, i);
        *ret_key = text_of(key);
        return &slots_of(key)[key->self + 1].v;
}

const char *nb_json_str(const struct nb_json *v, size_t *ret_n)
{
        if (nb_json_type(v) != NB_JSON_STRING)
                return NULL;
        if (ret_n)
                *ret_n = v->n;
        return text_of(v);
}

bool nb_json_int(const struct nb_json *v, int64_t *ret)
{
        return nb_json_type(v) == NB_JSON_NUMBER && nb_json_number_int(text_of(v), v->n, ret);
}

bool nb_json_double(const struct nb_json *v, double *ret)
{
        return nb_json_type(v) == NB_JSON_NUMBER && nb_json_number_double(text_of(v), v->n, ret);
}

bool nb_json_bool(const struct nb_json *v, bool *ret)
{
        if (nb_json_type(v) != NB_JSON_BOOL)
                return false;
        *ret = v->n;
        return true;
}

/* --- writing ------------------------------------------------------------ */

/* A container that is being written. */
struct level {
        const struct nb_json *v;
        uint32_t written;
};

static void put_one(struct nb_buf *b, const struct nb_json *v)
{
        switch ((enum nb_json_type)v->type) {
        case NB_JSON_NULL:
                nb_buf_puts(b, "null");
                break;
        case NB_JSON_BOOL:
                nb_buf_puts(b, v->n ? "true" : "false");
                break;
        case NB_JSON_NUMBER:
                nb_buf_append(b, text_of(v), v->n);
                break;
        case NB_JSON_STRING:
                json_out_text(b, text_of(v));
                break;
        case NB_JSON_ARRAY:
                nb_buf_putc(b, '[');
                break;
        case NB_JSON_OBJECT:
                nb_buf_putc(b, '{');
                break;
        case NB_JSON_TYPE__COUNT:
                break;
        }
}

/* Walk the tape from v.  The levels are kept beside it and not by recursion:
 * their number is what the text's author and the reader's limit allowed. */
static void put_nodes(struct nb_buf *b, const struct nb_json *v, struct level *levels)
{
        const union slot *slots = slots_of(v);
        uint32_t at = v->self;
        unsigned depth = 0;

        do {
                const struct nb_json *now = &slots[at].v;

                put_one(b, now);
                at = now->next;
                if (is_container(now)) {
                        levels[depth++] = (struct level){.v = now};
                        at = now->self + 1;
                }
                while (depth > 0 && levels[depth - 1].written == levels[depth - 1].v->n) {
                        now = levels[--depth].v;
                        nb_buf_putc(b, now->type == NB_JSON_ARRAY ? ']' : '}');
                        at = now->next;
                }
                if (depth > 0) {
                        struct level *top = &levels[depth - 1];

                        if (top->written++ > 0)
                                nb_buf_putc(b, ',');
                        if (top->v->type == NB_JSON_OBJECT) {
                                put_one(b, &slots[at++].v);
                                nb_buf_putc(b, ':');
                        }
                }
        } while (depth > 0);
}

void nb_json_put_value(struct nb_json_out *o, const struct nb_json *v)
{
        struct level few[32];
        nb_auto_free struct level *many = NULL;
        unsigned depth;

        if (!v) {
                nb_json_put_null(o);
                return;
        }
        json_out_value(o);
        depth = tree_of(v)->depth;
        if (depth > NB_ARRAY_SIZE(few)) {
                many = nb_alloc_array(depth, sizeof(*many));
                if (!many) {
                        o->buf->failed = true;
                        return;
                }
        }
        put_nodes(o->buf, v, many ? many : few);
}
