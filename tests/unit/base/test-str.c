/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include <nbcid/str.h>

#include "nbtest.h"

TEST(ends_and_starts)
{
        CHECK(nb_streq(NULL, NULL) && !nb_streq(NULL, "") && !nb_streq("", NULL));
        CHECK(nb_streq("a", "a") && !nb_streq("a", "b"));
        CHECK(nb_starts_with("abc", "ab") && nb_starts_with("abc", "") &&
              !nb_starts_with("a", "ab"));
        CHECK(nb_ends_with("x.ipynb", ".ipynb") && !nb_ends_with("b", ".ipynb") &&
              nb_ends_with("x", ""));
        CHECK(nb_ends_with_nocase("X.IPynb", ".ipYNB") && !nb_ends_with_nocase("xipynb", ".ipynb"));
        CHECK(!nb_ends_with_nocase("x[", "{"));
}

TEST(copies)
{
        nb_auto_free char *a = nb_strdup("abc");
        nb_auto_free char *b = nb_strndup("abc", 2);
        nb_auto_free char *c = nb_asprintf("%d-%s", 7, "x");

        CHECK_STR(a, "abc");
        CHECK_STR(b, "ab");
        CHECK_STR(c, "7-x");
        CHECK(!nb_strdup(NULL) && !nb_strndup(NULL, 3));
}

TEST(fmt_says_when_it_cut)
{
        char buf[6];

        CHECK(nb_fmt(buf, sizeof(buf), "%d", 12345));
        CHECK_STR(buf, "12345");
        CHECK(!nb_fmt(buf, sizeof(buf), "%d", 123456));
        CHECK_STR(buf, "12345");
        CHECK(!nb_fmt(buf, sizeof(buf), "abc\xe2\x82\xac"));
        CHECK_STR(buf, "abc");
        CHECK(nb_fmt(buf, sizeof(buf), "ab\xe2\x82\xac"));
        CHECK_STR(buf, "ab\xe2\x82\xac");
        CHECK(!nb_fmt(buf, sizeof(buf), "ab\xf0\x9f\x99\x82"));
        CHECK_STR(buf, "ab");
        CHECK(!nb_fmt(buf, 1, "a"));
        CHECK_STR(buf, "");
        CHECK(!nb_fmt(buf, 0, "a"));
}

/* What RFC 3629 section 4 allows, by its definition: encode every scalar value
 * and see that it is taken, and that every other short string is not. */
TEST(utf8_is_rfc_3629)
{
        size_t taken = 0;

        for (uint32_t c = 0; c <= 0x110010; c++) {
                char s[4];
                size_t n;
                bool want = c < 0xd800 || (c > 0xdfff && c < 0x110000);

                if (c < 0x80)
                        n = 1, s[0] = (char)c;
                else if (c < 0x800)
                        n = 2, s[0] = (char)(0xc0 | c >> 6);
                else if (c < 0x10000)
                        n = 3, s[0] = (char)(0xe0 | c >> 12);
                else
                        n = 4, s[0] = (char)(0xf0 | c >> 18);
                for (size_t i = 1; i < n; i++)
                        s[i] = (char)(0x80 | (c >> (6 * (n - 1 - i)) & 0x3f));
                if (nb_utf8_valid(s, n, NULL) != want)
                        FAIL("U+%04X", c);
                for (size_t cut = 1; cut < n; cut++)
                        CHECK(!nb_utf8_valid(s, cut, NULL));
        }
        for (unsigned i = 0; i < 1u << 24; i++) {
                char s[3] = {(char)(i >> 16), (char)(i >> 8), (char)i};
                if ((unsigned char)s[0] >= 0x80 && nb_utf8_valid(s, 3, NULL))
                        taken++;
        }
        /* one of three bytes, or one of two and an ASCII one */
        CHECK_INT(taken, (0xffff - 0x800 + 1 - 0x800) + 1920 * 128);
}

TEST(utf8_says_where)
{
        size_t bad = 99;

        CHECK(nb_utf8_valid("a\xc3\xa9z", 4, &bad));
        CHECK_INT(bad, 99);
        CHECK(!nb_utf8_valid("a\xc3\xa9\xc0\x80", 5, &bad));
        CHECK_INT(bad, 3);
        CHECK(!nb_utf8_valid("ab\xed\xa0\x80", 5, &bad));
        CHECK_INT(bad, 2);
        CHECK(nb_utf8_valid("", 0, NULL) && nb_utf8_valid("a\0b", 3, NULL));
}

static void check_clean(const char *in, size_t n, bool one_line, const char *want)
{
        nb_auto_free char *s = nb_utf8_clean(in, n, one_line);

        CHECK_STR(s, want);
}

TEST(clean)
{
        check_clean("a\nb\tc\rd", 7, false, "a\nb\tc d");
        check_clean("a\nb\tc\rd", 7, true, "a b c d");
        check_clean("a\0b\x1b\x7f\xc2\x9bz", 8, true, "a b   z");
        check_clean("\xff\xe2\x82", 3, true, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
        check_clean("\xe2\x82\xac", 3, true, "\xe2\x82\xac");
        check_clean("", 0, true, "");
}

static void check_cut(const char *in, size_t chars, const char *want)
{
        nb_auto_free char *s = nb_utf8_cut(in, chars);

        CHECK_STR(s, want);
}

TEST(cut_counts_characters)
{
        CHECK_INT(nb_utf8_prefix("a\xc3\xa9\xe2\x82\xacz", 0), 0);
        CHECK_INT(nb_utf8_prefix("a\xc3\xa9\xe2\x82\xacz", 2), 3);
        CHECK_INT(nb_utf8_prefix("a\xc3\xa9\xe2\x82\xacz", 3), 6);
        CHECK_INT(nb_utf8_prefix("a\xc3\xa9\xe2\x82\xacz", 99), 7);
        CHECK_INT(nb_utf8_prefix("a\xe2\x82", 2), 2);
        check_cut("abc", 3, "abc");
        check_cut("abcd", 3, "ab\xe2\x80\xa6");
        check_cut("\xc3\xa9\xc3\xa9\xc3\xa9", 2, "\xc3\xa9\xe2\x80\xa6");
        check_cut("abc", 1, "\xe2\x80\xa6");
        check_cut("abc", 0, "");
        check_cut("", 0, "");
}

struct glob_case {
        const char *pattern, *path;
        bool match;
};

TEST(globs)
{
        static const struct glob_case cases[] = {
                {"a.ipynb", "a.ipynb", true},
                {"a.ipynb", "x/a.ipynb", false},
                {"*.ipynb", "a.ipynb", true},
                {"*.ipynb", ".ipynb", true},
                {"*.ipynb", "d/a.ipynb", false},
                {"*.ipynb", "a.ipynb.txt", false},
                {"**/*.ipynb", "a.ipynb", true},
                {"**/*.ipynb", "d/a.ipynb", true},
                {"**/*.ipynb", "d/e/f/a.ipynb", true},
                {"**/*.ipynb", "d/e/f/a.py", false},
                {"scratch/**", "scratch/a", true},
                {"scratch/**", "scratch/a/b/c", true},
                {"scratch/**", "scratch", false},
                {"scratch/**", "scratchy/a", false},
                {"scratch/**", "x/scratch/a", false},
                {"**", "a", true},
                {"**", "a/b/c", true},
                {"**/x", "x", true},
                {"**/x", "a/b/x", true},
                {"**/x", "a/bx", false},
                {"a/**/b", "a/b", true},
                {"a/**/b", "a/x/b", true},
                {"a/**/b", "a/x/y/b", true},
                {"a/**/b", "a/xb", false},
                {"a/**/b", "ab", false},
                {"a/**/b/**/c", "a/b/b/x/c/c", true},
                {"a/**/b/**/c", "a/c/b", false},
                {"**/b/c/**/d", "b/b/c/c/d/d", true},
                {"**/**/x", "x", true},
                {"x/**/**", "x", false},
                {"x/**/**", "x/y", true},
                {"a**b", "axxb", true},
                {"a**b", "ax/xb", false},
                {"***", "a", true},
                {"***", "a/b", false},
                {"?", "a", true},
                {"?", "\xe2\x82\xac", true},
                {"??", "\xe2\x82\xac", false},
                {"?", "\xff", true},
                {"?", "/", false},
                {"a?b", "a/b", false},
                {"[a-c]x", "bx", true},
                {"[a-c]x", "dx", false},
                {"[!a-c]x", "dx", true},
                {"[!a-c]x", "ax", false},
                {"[^a-c]x", "dx", true},
                {"[]a]", "]", true},
                {"[!]a]", "b", true},
                {"[!]a]", "]", false},
                {"[a-]", "-", true},
                {"[-a]", "-", true},
                {"[\\]]", "]", true},
                {"[\\a-\\c]", "b", true},
                {"[z-a]", "m", false},
                {"[\xc3\xa0-\xc3\xbf]", "\xc3\xa9", true},
                {"[\xc3\xa0-\xc3\xbf]", "\xc3", false},
                {"x[!a]y", "x/y", false},
                {"\\*", "*", true},
                {"\\*", "a", false},
                {"a\\b", "ab", true},
                {"\\\\", "\\", true},
                {"\\[a]", "[a]", true},
                {"a*b*c", "a1b2b3c", true},
                {"a*b*c", "a1b2b3", false},
                {"*a", "bab", false},
                {"*ab", "aab", true},
                {"*/x", "a/x", true},
                {"*/x", "x", false},
                {"*", "", true},
                {"", "", true},
                {"", "a", false},
                {"a", "", false},
                {"a/", "a", false},
                {"acme/*", "acme/notebooks", true},
                {"acme/*", "acme/a/b", false},
                {"A", "a", false},
                {"*\xe2\x82\xac", "a\xe2\x82\xac", true},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++)
                if (nb_glob_match(cases[i].pattern, cases[i].path) != cases[i].match)
                        FAIL("\"%s\" %s \"%s\"", cases[i].pattern,
                             cases[i].match ? "should match" : "should not match", cases[i].path);
}

TEST(globs_that_do_not_parse_match_nothing)
{
        static const char *const bad[] = {"[",     "[a",          "a/[b/c]", "[!",   "[]",
                                          "[!]",   "a\\",         "a\\/b",   "[a\\", "[a-",
                                          "[a-\\", "[[:alpha:]]", "[a/b]",   "x/[",  NULL};
        static const char *const good[] = {"",    "a",      "[]]", "[!]]", "**",
                                           "\\[", "[\\\\]", "[[]", NULL};

        for (size_t i = 0; bad[i]; i++) {
                if (nb_glob_valid(bad[i]))
                        FAIL("%s is taken", bad[i]);
                CHECK(!nb_glob_match(bad[i], bad[i]));
                CHECK(!nb_glob_match(bad[i], "a"));
        }
        for (size_t i = 0; good[i]; i++)
                if (!nb_glob_valid(good[i]))
                        FAIL("%s is refused", good[i]);
}

/* The obvious matcher, exponential and right, to compare with. */
static bool slow_component(const char *p, const char *pe, const char *s, const char *se)
{
        if (p == pe)
                return s == se;
        if (*p == '*')
                return slow_component(p + 1, pe, s, se) ||
                       (s < se && slow_component(p, pe, s + 1, se));
        return s < se && (*p == '?' || *p == *s) && slow_component(p + 1, pe, s + 1, se);
}

static bool slow_match(const char *p, const char *s)
{
        const char *pe, *se;

        if (!p || !s)
                return !p && !s;
        pe = strchrnul(p, '/');
        se = strchrnul(s, '/');
        if (pe - p == 2 && memcmp(p, "**", 2) == 0) {
                if (!*pe)
                        return true;
                return slow_match(pe + 1, s) || slow_match(p, *se ? se + 1 : NULL);
        }
        return slow_component(p, pe, s, se) && slow_match(*pe ? pe + 1 : NULL, *se ? se + 1 : NULL);
}

TEST(globs_agree_with_the_obvious_matcher)
{
        static const char pattern_chars[] = "ab*/?*", path_chars[] = "ab/";
        uint64_t x = 88172645463325252;
        size_t matched = 0;

        for (int i = 0; i < 300000; i++) {
                char p[12], s[12];
                size_t n_p, n_s;

                x ^= x << 13, x ^= x >> 7, x ^= x << 17;
                n_p = x % 11, n_s = x / 11 % 11;
                for (size_t k = 0; k < n_p; k++)
                        p[k] = pattern_chars[(x >> (8 + 4 * k)) % 6];
                x ^= x << 13, x ^= x >> 7, x ^= x << 17;
                for (size_t k = 0; k < n_s; k++)
                        s[k] = path_chars[(x >> (8 + 4 * k)) % 3];
                p[n_p] = s[n_s] = '\0';
                if (nb_glob_match(p, s) != slow_match(p, s))
                        FAIL("pattern \"%s\", path \"%s\"", p, s);
                matched += slow_match(p, s);
        }
        CHECK(matched > 5000);
}

static double cpu_seconds(void)
{
        struct timespec t;

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* piece repeated to about n bytes, then tail; owned */
static char *repeat(const char *piece, size_t n, const char *tail)
{
        size_t len = strlen(piece), times = n / len;
        char *s = malloc(times * len + strlen(tail) + 1), *p = s;

        if (!s)
                abort();
        for (size_t i = 0; i < times; i++, p += len)
                memcpy(p, piece, len);
        memcpy(p, tail, strlen(tail) + 1);
        return s;
}

/* Each of these takes a backtracking matcher longer than the world will last.
 * 2 KiB times 4 KiB steps are well under a second even under sanitizers. */
TEST(globs_resist_hostile_patterns)
{
        static const struct {
                const char *piece, *tail, *path_piece, *path_tail;
        } cases[] = {
                {"*a", "b", "a", "c"},
                {"a*", "b", "a", "c"},
                {"**/a/", "b", "a/", "c"},
                {"**/", "b", "a/", "c"},
                {"**/a/*/", "b", "a/", "c"},
                {"**/*a*/", "b", "aaaa/", "c"},
                {"*[!b]", "b", "a", "c"},
                {"?*", "b", "a", "c"},
                {"**/*a*a*a*b/", "x", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/", "c"},
                {"*\xe2\x82\xac", "b", "\xe2\x82\xac", "c"},
                {"*[abcdefghijklmnopqrstuvwxyz]", "!", "a", "c"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                nb_auto_free char *pattern = repeat(cases[i].piece, 2048, cases[i].tail);
                nb_auto_free char *path = repeat(cases[i].path_piece, 4096, cases[i].path_tail);
                double start = cpu_seconds();

                CHECK(!nb_glob_match(pattern, path));
                if (cpu_seconds() - start > 10)
                        FAIL("%s... takes %.1f s", cases[i].piece, cpu_seconds() - start);
        }
}

TEST(lists)
{
        struct nb_strv l = {0};

        CHECK(!nb_strv_has(&l, "a"));
        for (int i = 0; i < 100; i++) {
                char s[8];
                CHECK(nb_fmt(s, sizeof(s), "%d", i));
                CHECK_INT(nb_strv_add(&l, s), 0);
                CHECK(l.n == (size_t)i + 1 && !l.v[l.n]);
        }
        CHECK(nb_strv_has(&l, "0") && nb_strv_has(&l, "99") && !nb_strv_has(&l, "100"));
        CHECK_INT(nb_strv_add_take(&l, NULL), -1);
        CHECK_INT(nb_strv_add(&l, NULL), -1);
        CHECK_INT(nb_strv_add_take(&l, nb_strdup("x")), 0);
        CHECK_INT(l.n, 101);
        nb_strv_done(&l);
        CHECK(!l.v && l.n == 0);
        nb_strv_done(&l);
        nb_strv_done(NULL);
}

TEST(hex)
{
        static const uint8_t bytes[] = {0x00, 0x0f, 0xa5, 0xff};
        uint8_t out[4];
        char s[9];

        nb_hex(s, bytes, 4);
        CHECK_STR(s, "000fa5ff");
        CHECK(nb_unhex("000FA5fF", 8, out, 4) && memcmp(out, bytes, 4) == 0);
        CHECK(!nb_unhex("000fa5f", 7, out, 4) && !nb_unhex("000fa5ff", 8, out, 3));
        CHECK(!nb_unhex("000fa5fg", 8, out, 4) && !nb_unhex("0x0fa5ff", 8, out, 4));
        CHECK(!nb_unhex(" 00fa5ff", 8, out, 4) && !nb_unhex("+00fa5ff", 8, out, 4));
        CHECK(nb_unhex("", 0, out, 0));
}

TEST(percent_encoding)
{
        nb_auto_free char *a = nb_url_encode("a/b c~_.-\xc3\xa9&=+%", false);
        nb_auto_free char *b = nb_url_encode("a/b?", true);

        CHECK_STR(a, "a%2Fb%20c~_.-%C3%A9%26%3D%2B%25");
        CHECK_STR(b, "a/b%3F");
}

TEST(form_decoding)
{
        static const char *const bad[] = {"%", "%4", "a%4", "%zz", "%-1", "%%41", "%4 1", NULL};
        nb_auto_free char *a = NULL;
        nb_auto_free char *all = NULL;
        nb_auto_free char *coded = NULL;
        nb_auto_free char *back = NULL;
        size_t n = 0;

        a = nb_url_decode("a+b%2Bc%00%c3%A9", 16, &n);
        CHECK(a && n == 8 && memcmp(a, "a b+c\0\xc3\xa9", 9) == 0);
        for (size_t i = 0; bad[i]; i++)
                CHECK(!nb_url_decode(bad[i], strlen(bad[i]), &n));
        /* does not read behind n */
        CHECK(!nb_url_decode("%41", 2, &n));
        all = malloc(256);
        CHECK(all);
        for (int i = 1; i < 256; i++)
                all[i - 1] = (char)i;
        all[255] = '\0';
        coded = nb_url_encode(all, false);
        CHECK(coded);
        back = nb_url_decode(coded, strlen(coded), &n);
        CHECK_STR(back, all);
        CHECK_INT(n, 255);
}

NBTEST_MAIN()
