/* SPDX-License-Identifier: Apache-2.0 */
#include "json-test.h"

static void same_in_pieces(const char *text, size_t n, const struct nb_json_limits *limits);

/* Reading the n bytes fails with that class, at that place, with that text. */
static void refused(const char *text, size_t n, const struct nb_json_limits *limits,
                    enum nb_errc code, size_t line, size_t column, const char *part)
{
        struct nb_json_tree *t = NULL;
        struct nb_json_pos pos = {0};
        struct nb_err err = {0};
        char place[64];
        int r = nb_json_read(text, n, limits, &t, &pos, &err);

        skip_agrees(text, n);
        CHECK_ERR(r, &err, code, part);
        CHECK(!t);
        snprintf(place, sizeof(place), "line %zu, column %zu: ", line, column);
        CHECK_ERR(r, &err, code, place);
        CHECK(strncmp(err.msg, place, strlen(place)) == 0);
        CHECK(!strchr(err.msg, '\n'));
        CHECK_INT(pos.line, line);
        CHECK_INT(pos.column, column);
        CHECK(pos.offset <= n);
        /* the tree refuses more; and of a text that is too long, a piece may be fine */
        if (!strstr(part, "twice") && !strstr(part, "u0000") && n < 200 && n <= limits->bytes)
                same_in_pieces(text, n, limits);
}

/* --- events ------------------------------------------------------------- */

static int say(void *arg, const char *what)
{
        return nb_buf_puts(arg, what);
}
static int say_null(void *arg, struct nb_err *err)
{
        return say(arg, "null ");
}
static int say_boolean(void *arg, bool v, struct nb_err *err)
{
        return say(arg, v ? "true " : "false ");
}
static int say_number(void *arg, const char *s, size_t n, struct nb_err *err)
{
        return nb_buf_printf(arg, "n(%.*s) ", (int)n, s);
}
static int say_string(void *arg, const char *s, size_t n, struct nb_err *err)
{
        return nb_buf_printf(arg, "s(%.*s) ", (int)n, s);
}
static int say_key(void *arg, const char *s, size_t n, struct nb_err *err)
{
        return nb_buf_printf(arg, "k(%.*s) ", (int)n, s);
}
static int say_map(void *arg, struct nb_err *err)
{
        return say(arg, "{ ");
}
static int say_map_end(void *arg, struct nb_err *err)
{
        return say(arg, "} ");
}
static int say_array(void *arg, struct nb_err *err)
{
        return say(arg, "[ ");
}
static int say_array_end(void *arg, struct nb_err *err)
{
        return say(arg, "] ");
}

static const struct nb_json_events say_events = {
        .null = say_null,
        .boolean = say_boolean,
        .number = say_number,
        .string = say_string,
        .map_start = say_map,
        .map_key = say_key,
        .map_end = say_map_end,
        .array_start = say_array,
        .array_end = say_array_end,
};

/* What came of a text: its events, and the end or the error. */
struct outcome {
        struct nb_buf said;
        struct nb_json_pos pos;
        struct nb_err err;
        int r;
};

static struct outcome in_pieces(const char *text, size_t n, size_t step,
                                const struct nb_json_limits *limits)
{
        struct outcome o = {.said = NB_BUF(1000)};
        struct nb_json_reader *r = NULL;

        CHECK_OK(nb_json_reader_new(limits, &say_events, &o.said, &r, &o.err), &o.err);
        for (size_t i = 0; i < n && o.r == 0; i += step) {
                /* a copy of its own, which a reader that looks back would miss */
                size_t len = n - i < step ? n - i : step;
                char *piece = malloc(len);

                memcpy(piece, text + i, len);
                o.r = nb_json_reader_feed(r, piece, len, &o.err);
                free(piece);
        }
        if (o.r == 0)
                o.r = nb_json_reader_end(r, &o.err);
        o.pos = nb_json_reader_mark(r);
        nb_json_reader_free(r);
        return o;
}

/* However a text is cut into pieces, the same comes of it. */
static void same_in_pieces(const char *text, size_t n, const struct nb_json_limits *limits)
{
        struct outcome whole = {.said = NB_BUF(1000)};

        whole.r = nb_json_parse(text, n, limits, &say_events, &whole.said, &whole.pos, &whole.err);
        for (size_t step = 1; step <= n && step < 40; step++) {
                struct outcome o = in_pieces(text, n, step, limits);

                CHECK_STR(nb_buf_str(&o.said), nb_buf_str(&whole.said));
                CHECK_INT(o.r, whole.r);
                /* what of a word is shown ends with the piece */
                if (o.r < 0)
                        CHECK(strncmp(o.err.msg, whole.err.msg, strcspn(whole.err.msg, "'")) == 0);
                CHECK_INT(o.pos.offset, whole.pos.offset);
                CHECK_INT(o.pos.line, whole.pos.line);
                CHECK_INT(o.pos.column, whole.pos.column);
                nb_buf_done(&o.said);
        }
        nb_buf_done(&whole.said);
}

TEST(events_come_in_order)
{
        static const char text[] = " {\"a\" : [1, -2.50e+3, \"x\\ny\", true],\n\"b\":{} , \"c\":"
                                   "[false,null,\"\"]} \r\n\t";
        nb_auto_buf b = NB_BUF(1000);
        struct nb_json_pos pos;
        struct nb_err err;

        CHECK_OK(nb_json_parse(text, strlen(text), &wide, &say_events, &b, &pos, &err), &err);
        CHECK_STR(nb_buf_str(&b), "{ k(a) [ n(1) n(-2.50e+3) s(x\ny) true ] k(b) { } k(c) "
                                  "[ false null s() ] } ");
        CHECK_INT(pos.line, 2);
        CHECK_INT(pos.offset, strrchr(text, '}') + 1 - text);
        same_in_pieces(text, strlen(text), &wide);
}

TEST(pieces_may_be_cut_anywhere)
{
        static const char *const texts[] = {
                "0",
                " -12.5e+3 ",
                "\"\"",
                "[\"\\\"\\\\\", \"\\\\\\\"\"]\n",
                ("{\"\\u00e9\" :\n\"\\ud83d\\uDE00\" , \"\xe2\x82\xac\xf0\x9f\x98\x80\":[ "
                 "true,\nfalse ] }"),
                "[[],{},[{\"a\":null}],\r\n\"a longer text that many pieces cut\"]",
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(texts); i++)
                same_in_pieces(texts[i], strlen(texts[i]), &wide);
}

/* Of long strings the middle goes, and nothing else: not what is wrong in it. */
TEST(long_strings_may_lose_their_middle)
{
        static const struct {
                const char *text, *said;
        } cases[] = {
                {"[\"abcdefghijklmnopqrstuvwxyz\",7]", "[ s(abc"},
                {"[\"abcdefghijklmnopqrst\\n\\\"\\\\z\", 8, \"x\"]", "[ s(abc"},
                {"[\"abcdefghijklmnopqrst\\u00e9\xc3\xa9z\"]", "[ s(abc"},
                {"[\"abcdefghijklmnop\nrst\"]", "[ "},
                {"[\"abcdefghijklmnop\\qrst\"]", "[ "},
                {"[\"abcdefghijklmnopqrst\\", "[ "},
        };
        struct nb_json_limits l = {.bytes = 1000, .depth = 4};

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++)
                for (size_t step = 1; step < 12; step++) {
                        const char *text = cases[i].text;
                        struct outcome all, some;

                        l.keep = 0;
                        all = in_pieces(text, strlen(text), step, &l);
                        l.keep = 4;
                        some = in_pieces(text, strlen(text), step, &l);
                        CHECK_INT(some.r, all.r);
                        CHECK_INT(some.pos.offset, all.pos.offset);
                        CHECK_INT(some.pos.column, all.pos.column);
                        if (all.r < 0)
                                CHECK_STR(some.err.msg, all.err.msg);
                        CHECK(nb_starts_with(nb_buf_str(&some.said), cases[i].said));
                        CHECK(some.said.len <= all.said.len);
                        if (all.r == 0)
                                CHECK(some.said.len < all.said.len - 5);
                        nb_buf_done(&all.said);
                        nb_buf_done(&some.said);
                }
}

struct marks {
        struct nb_json_reader *reader;
        struct nb_json_pos at[8];
        size_t n;
};

static int mark_string(void *arg, const char *s, size_t n, struct nb_err *err)
{
        struct marks *m = arg;

        m->at[m->n] = nb_json_reader_mark(m->reader);
        if (m->n % 2) /* at once or later, the answer is one */
                nb_json_reader_locate(m->reader, &m->at[m->n]);
        m->n++;
        return 0;
}

TEST(places_are_told_when_asked)
{
        static const char text[] = "[\"a\", \"b\\\"\\\\\",\n  \"\\\\\\\"\",\n\n \"d\" ]";
        static const struct nb_json_events ev = {.string = mark_string};

        for (size_t step = 1; step < sizeof(text); step++) {
                struct marks m = {0};
                struct nb_err err;

                CHECK_OK(nb_json_reader_new(&wide, &ev, &m, &m.reader, &err), &err);
                for (size_t i = 0; i < strlen(text); i += step) {
                        size_t left = strlen(text) - i;

                        CHECK_OK(nb_json_reader_feed(m.reader, text + i, left < step ? left : step,
                                                     &err),
                                 &err);
                        for (size_t k = 0; k < m.n; k++)
                                nb_json_reader_locate(m.reader, &m.at[k]);
                }
                CHECK_OK(nb_json_reader_end(m.reader, &err), &err);
                nb_json_reader_free(m.reader);
                CHECK_INT(m.n, 4);
                CHECK(m.at[0].offset == 1 && m.at[0].line == 1 && m.at[0].column == 2);
                CHECK(m.at[1].offset == 6 && m.at[1].line == 1 && m.at[1].column == 7);
                CHECK(m.at[2].offset == 17 && m.at[2].line == 2 && m.at[2].column == 3);
                CHECK(m.at[3].offset == 27 && m.at[3].line == 4 && m.at[3].column == 2);
        }
}

TEST(events_may_all_be_missing)
{
        static const struct nb_json_events none = {0};
        static const char text[] = "{\"a\":[1,\"b\",true,null]}";
        struct nb_err err;

        CHECK_OK(nb_json_parse(text, strlen(text), &wide, &none, NULL, NULL, &err), &err);
        CHECK_ERR(nb_json_parse(text, 5, &wide, &none, NULL, NULL, &err), &err, NB_E_INVALID,
                  "line 1, column 6: ");
        CHECK_INT(nb_json_parse(text, 5, &wide, &none, NULL, NULL, NULL), -NB_E_INVALID);
}

TEST(a_number_alone_is_a_value)
{
        nb_auto_buf b = NB_BUF(1000);
        struct nb_json_pos pos;
        struct nb_err err;

        CHECK_OK(nb_json_parse("  -12", 5, &wide, &say_events, &b, &pos, &err), &err);
        CHECK_STR(nb_buf_str(&b), "n(-12) ");
        CHECK_INT(pos.offset, 5);
}

static int refuse_seven(void *arg, const char *s, size_t n, struct nb_err *err)
{
        struct nb_json_pos *pos = arg;

        CHECK(pos->line == 2);
        if (n == 1 && *s == '7')
                return nb_fail(err, NB_E_DENIED, "no sevens");
        return 0;
}

TEST(a_callback_stops_with_its_own_error)
{
        static const struct nb_json_events ev = {.number = refuse_seven};
        static const char text[] = "[\n 6, 7, x";
        struct nb_json_pos pos;
        struct nb_err err;

        CHECK_ERR(nb_json_parse(text, strlen(text), &wide, &ev, &pos, &pos, &err), &err,
                  NB_E_DENIED, "line 2, column 5: no sevens");
        CHECK_INT(pos.offset, 6);
}

TEST(events_let_nul_through_and_the_tree_does_not)
{
        nb_auto_buf b = NB_BUF(1000);
        struct nb_err err;

        CHECK_OK(nb_json_parse("\"a\\u0000b\"", 10, &wide,
                               &(struct nb_json_events){.string = say_string}, &b, NULL, &err),
                 &err);
        refused("[\"a\\u0000b\"]", 12, &wide, NB_E_INVALID, 1, 2, "\\u0000");
        refused("{\"a\\u0000b\":1}", 14, &wide, NB_E_INVALID, 1, 2, "\\u0000");
}

/* --- what is refused ---------------------------------------------------- */

TEST(errors_name_place_and_cause)
{
        static const struct {
                const char *text;
                size_t line, column;
                const char *part;
        } cases[] = {
                {"", 1, 1, "empty"},
                {" \n ", 2, 2, "empty"},
                {"[1 2]", 1, 4, "expect ',' or ']', at '2'"},
                {"[1,\n\n \"a\" \"bc\"]", 3, 6, "expect ',' or ']', at '\"'"},
                {"[1,,2]", 1, 4, "at ','"},
                {"[,1]", 1, 2, "at ','"},
                {"[1,]", 1, 4, "at ']'"},
                {"[1:2]", 1, 3, "at ':'"},
                {"[1}", 1, 3, "at '}'"},
                {"]", 1, 1, "at ']'"},
                {"{\"a\" 1}", 1, 6, "colon"},
                {"{\"a\",1}", 1, 5, "colon"},
                {"{\"a\"::1}", 1, 6, "at ':'"},
                {"{\"a\":}", 1, 6, "at '}'"},
                {"{\"a\":1 \"b\":2}", 1, 8, "expect ',' or '}', at '\"'"},
                {"{\"a\":1,}", 1, 8, "key"},
                {"{a:1}", 1, 2, "at 'a'"},
                {"{1:1}", 1, 2, "key"},
                {"{'a':1}", 1, 2, "at '''"},
                {"[NaN]", 1, 2, "at 'NaN'"},
                {"[Infinity]", 1, 2, "at 'Infinity'"},
                {"[1, -Infinity]", 1, 6, "minus sign, at 'I'"},
                {"[nul]", 1, 2, "at 'nul'"},
                {"[True]", 1, 2, "at 'True'"},
                {"[truE]", 1, 2, "at 'truE'"},
                {"[undefined]", 1, 2, "at 'undefined'"},
                {"[01]", 1, 3, "expect ',' or ']', at '1'"},
                {"[1.]", 1, 4, "decimal point, at ']'"},
                {"[.5]", 1, 2, "at '.'"},
                {"[+1]", 1, 2, "at '+'"},
                {"[1e]", 1, 4, "exponent"},
                {"[0x10]", 1, 3, "at 'x'"},
                {"// no\n1", 1, 1, "comment"},
                {"[1 /* no */]", 1, 4, "comment"},
                {"[\"a\nb\"]", 1, 4, "inside string, at byte 0x0a"},
                {"[\"tab\tb\"]", 1, 6, "byte 0x09"},
                {"[\"a\\qb\"]", 1, 5, "at 'q'"},
                {"[\"a\\u12g4\"]", 1, 8, "at 'g'"},
                {"[1\v]", 1, 3, "vertical tab"},
                {"[1,\n\f2]", 2, 1, "form feed"},
                {"\f", 1, 1, "form feed"},
                {"[1,\v}", 1, 4, "vertical tab"},
                {"1\v", 1, 2, "after the end"},
                {"\xef\xbb\xbf{}", 1, 1, "byte order mark"},
                {"[\xc3\xa9]", 1, 2, "at '\xc3\xa9'"},
                {"{} x", 1, 4, "after the end"},
                {"{}\n{}", 2, 1, "after the end"},
                {"[] \"unclosed", 1, 4, "after the end"},
                {"1 2", 1, 3, "after the end"},
                {"[]]", 1, 3, "after the end"},
                {"[] /*", 1, 4, "after the end"},
                {"null,", 1, 5, "after the end"},
                {"[", 1, 2, "inside an array or object"},
                {"[1,\n", 2, 1, "inside an array or object"},
                {"{\"a\":", 1, 6, "inside an array or object"},
                {"[tru", 1, 5, "inside an array or object"},
                {"tru", 1, 4, "inside a value"},
                {"-", 1, 2, "inside a value"},
                {"1.", 1, 3, "inside a value"},
                {"[1,\n \"abc", 2, 2, "string has no end"},
                {"\"abc\\", 1, 1, "string has no end"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++)
                refused(cases[i].text, strlen(cases[i].text), &wide, NB_E_INVALID, cases[i].line,
                        cases[i].column, cases[i].part);
}

TEST(a_nul_byte_is_not_the_end)
{
        refused("[1]\0[2]", 7, &wide, NB_E_INVALID, 1, 4, "after the end");
        refused("[\0]", 3, &wide, NB_E_INVALID, 1, 2, "byte 0x00");
        refused("[\"\0\"]", 5, &wide, NB_E_INVALID, 1, 3, "byte 0x00");
}

TEST(utf8_is_strict)
{
        static const struct {
                const char *text;
                size_t column;
        } cases[] = {
                {"[\"a\xff\"]", 4},             /* never a first byte */
                {"[\"a\xc0\x80\"]", 4},         /* overlong NUL */
                {"[\"a\xe0\x80\xaf\"]", 4},     /* overlong slash */
                {"[\"a\xed\xa0\x80\"]", 4},     /* a surrogate */
                {"[\"a\xf4\x90\x80\x80\"]", 4}, /* U+110000 */
                {"[\"\xc3\xa9\xc3\"]", 5},      /* cut short */
                {"{\"\x80\":1}", 3},            /* in a key */
                {"\xff", 1},
                {"[12\xff]", 4},
                {"[\"a\"]\xff", 6},
                {"[\"\xe2\x82", 3},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++)
                refused(cases[i].text, strlen(cases[i].text), &wide, NB_E_INVALID, 1,
                        cases[i].column, "UTF-8");
        /* What is wrong earlier is said first. */
        refused("[1 2, \"\xff\"]", 10, &wide, NB_E_INVALID, 1, 4, "',' or ']'");
        refused("1 2\xff", 4, &wide, NB_E_INVALID, 1, 3, "after the end");
}

TEST(surrogates_come_in_pairs)
{
        static const struct {
                const char *text;
                size_t column;
        } cases[] = {
                {"[\"\\ud800\"]", 3},
                {"[\"\\udc00\"]", 3},
                {"[\"\\uDC00\\uD800\"]", 3},
                {"[\"\\udc00\\udc00\"]", 3},
                {"[\"\\ud800\\u0041\"]", 3},
                {"[\"\\ud800\\ud800\"]", 3},
                {"[\"\\ud800\\\\x\"]", 3},
                {"[\"\\ud800x\"]", 3},
                {"[\"\\ud83d\\ude00\\udbff\"]", 15},
                {"[\"\\u0\\ud83d\\ud83d\"]", 6},
                {"[\"\\\\\\ud800\"]", 5},
                {"{\"\\udfff\":1}", 3},
        };
        struct nb_json_tree *t;

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++)
                refused(cases[i].text, strlen(cases[i].text), &wide, NB_E_INVALID, 1,
                        cases[i].column, "surrogate");
        t = tree("[\"\\ud83d\\uDE00 \\\\ud800 \\ud7ff\\ue000\"]");
        CHECK_STR(nb_json_str(nb_json_index(nb_json_root(t), 0), NULL),
                  "\xf0\x9f\x98\x80 \\ud800 \xed\x9f\xbf\xee\x80\x80");
        nb_json_free(t);
}

TEST(skipping_ends_where_the_value_ends)
{
        static const struct {
                const char *text;
                size_t at, depth, end;
        } cases[] = {
                {"{\"a\": [1, {}], \"b\":2}", 5, 2, 13},
                {"{\"a\": [1, {}], \"b\":2}", 5, 1, 0}, /* too deep */
                {"{\"a\":1}", 1, 0, 4},                 /* a key is a string */
                {"[[],[]]", 1, 1, 3},
                {"[-0.5e+10,1]", 1, 0, 9},
                {"\"eight by\\\"te\" ", 0, 0, 14},
                {"\"12345678\x1f\"", 0, 0, 0},
                {"true", 4, 0, 0},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++)
                CHECK_INT(nb_json_skip(cases[i].text, strlen(cases[i].text), cases[i].at,
                                       (unsigned)cases[i].depth),
                          cases[i].end);
        CHECK_INT(nb_json_space(" \n\t\r\v", 5, 0), 4);
}

TEST(duplicate_keys_are_refused)
{
        struct nb_json_tree *t;

        refused("{\"a\":1,\n \"b\":2, \"a\":3}", 22, &wide, NB_E_INVALID, 2, 9, "twice");
        refused("{\"a\":1,\"\\u0061\":3}", 18, &wide, NB_E_INVALID, 1, 8, "twice");
        refused("[{\"\":1,\"\":3}]", 13, &wide, NB_E_INVALID, 1, 8, "twice");
        refused("{\"z\":1,\"b\":1,\"b\":2,\"z\":2}", 25, &wide, NB_E_INVALID, 1, 14, "twice");
        t = tree("{\"a\":{\"a\":1},\"b\":[{\"a\":1},{\"a\":1}],\"A\":0,\"aa\":0}");
        nb_json_free(t);
}

/* --- limits ------------------------------------------------------------- */

TEST(limits_are_exact)
{
        struct nb_json_limits l = {.bytes = 100, .depth = 2, .string = 3, .values = 5};
        struct nb_json_tree *t = NULL;
        struct nb_err err;
        char big[1100];

        CHECK_OK(nb_json_read("{\"abc\":[\"\\u0061bc\",1,2]}", 24, &l, &t, NULL, &err), &err);
        t = nb_json_free(t);
        refused("[[1],[[1]]]", 11, &l, NB_E_LIMIT, 1, 7, "over 2 deep");
        refused("[{\"a\":{}}]", 10, &l, NB_E_LIMIT, 1, 7, "over 2 deep");
        refused("[\"abcd\"]", 8, &l, NB_E_LIMIT, 1, 2, "a string of over 3 bytes");
        refused("{\"abcd\":1}", 10, &l, NB_E_LIMIT, 1, 2, "a key of over 3 bytes");
        refused("[1,2,3,4,\n5]", 12, &l, NB_E_LIMIT, 2, 1, "over 5 values");
        l.bytes = 4;
        refused("[\n1 ]", 5, &l, NB_E_LIMIT, 2, 3, "the text is over 4 bytes");
        l.depth = 0;
        refused("[]", 2, &l, NB_E_LIMIT, 1, 1, "over 0 deep");
        CHECK_OK(nb_json_read("1", 1, &l, &t, NULL, &err), &err);
        t = nb_json_free(t);

        memset(big, '1', sizeof(big));
        refused(big, 1001, &wide, NB_E_LIMIT, 1, 1, "a number of over 1000 bytes");
        CHECK_OK(nb_json_read(big, 1000, &wide, &t, NULL, &err), &err);
        t = nb_json_free(t);
}

static int count_array(void *arg, struct nb_err *err)
{
        ++*(size_t *)arg;
        return 0;
}

TEST(deep_nesting_meets_the_limit_or_goes_through)
{
        const size_t n = 1000 * 1000;
        struct nb_json_limits l = {.bytes = 2 * n, .depth = 2000};
        const struct nb_json_events ev = {.array_start = count_array};
        nb_auto_free char *text = malloc(2 * n);
        size_t arrays = 0;
        struct nb_err err;

        CHECK(text);
        memset(text, '[', n);
        memset(text + n, ']', n);
        refused(text, n, &l, NB_E_LIMIT, 1, 2001, "over 2000 deep");
        /* However large the limit, no stack of ours or of the library ends. */
        l.depth = 2000000;
        CHECK_OK(nb_json_parse(text, 2 * n, &l, &ev, &arrays, NULL, &err), &err);
        CHECK_INT(arrays, n);
}

TEST(a_deep_tree_is_no_recursion)
{
        const size_t n = 100 * 1000;
        const struct nb_json_limits l = {.bytes = 10 * n, .depth = 1000000};
        nb_auto_buf in = NB_BUF(10 * n), out = NB_BUF(10 * n);
        struct nb_json_tree *t = NULL;
        struct nb_err err;

        for (size_t i = 0; i < n; i++)
                nb_buf_puts(&in, i % 2 ? "{\"a\":" : "[0,");
        nb_buf_putc(&in, '1');
        refused(in.data, in.len, &l, NB_E_INVALID, 1, in.len + 1, "inside an array or object");
        for (size_t i = n; i-- > 0;)
                nb_buf_putc(&in, i % 2 ? '}' : ']');
        CHECK_OK(nb_json_read(in.data, in.len, &l, &t, NULL, &err), &err);
        nb_json_put_value(&NB_JSON_OUT(&out), nb_json_root(t));
        CHECK(!in.failed && !out.failed);
        CHECK_STR(nb_buf_str(&out), nb_buf_str(&in));
        nb_json_free(t);
}

/* --- tree --------------------------------------------------------------- */

NBTEST_MAIN()
