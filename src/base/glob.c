/* SPDX-License-Identifier: Apache-2.0 */
/*
 * glob.c - the glob of str.h
 *
 * A pattern is a row of components between slashes; a component matches
 * exactly one component of the path, or is "**", which matches any number of
 * them.  Both for "*" inside a component and for "**" between components it is
 * enough to remember the last star and to try it one longer: an earlier star
 * that took less would only have left more for the later one.  A run of
 * components of p bytes is tried at each component of the path once, and costs
 * at most p times the bytes of the components that it meets; hence
 * O(pattern * path), without memory.
 */
#include <nbcid/str.h>

#include <string.h>

#include "utf8.h"

struct span {
        const char *p, *end;
};

static uint32_t next_char(struct span *s)
{
        size_t len;
        uint32_t c = nb_utf8_decode(s->p, (size_t)(s->end - s->p), &len);

        s->p += len;
        return c;
}

/* One character of a class, unquoted; false when the class is not closed. */
static bool class_char(struct span *pat, uint32_t *ret)
{
        if (pat->p == pat->end)
                return false;
        *ret = next_char(pat);
        if (*ret == '\\') {
                if (pat->p == pat->end)
                        return false;
                *ret = next_char(pat);
        }
        return true;
}

/* Read the class behind its '[' and say whether c is in it; *ok is false when
 * it does not parse. */
static bool match_class(struct span *pat, uint32_t c, bool *ok)
{
        bool negate = false, found = false, first = true;
        uint32_t low, high;

        *ok = false;
        if (pat->p < pat->end && (*pat->p == '!' || *pat->p == '^')) {
                negate = true;
                pat->p++;
        }
        for (; pat->p < pat->end; first = false) {
                if (*pat->p == ']' && !first) {
                        pat->p++;
                        *ok = true;
                        return found != negate;
                }
                /* [[:alpha:]] would quietly mean something else here */
                if (*pat->p == '[' && pat->end - pat->p > 1 && pat->p[1] == ':')
                        return false;
                if (!class_char(pat, &low))
                        return false;
                high = low;
                if (pat->end - pat->p > 1 && pat->p[0] == '-' && pat->p[1] != ']') {
                        pat->p++;
                        if (!class_char(pat, &high))
                                return false;
                }
                if (c >= low && c <= high)
                        found = true;
        }
        return false;
}

/* One element of the pattern against one character of the path; both move on
 * only when they match. */
static bool match_one(struct span *pat, struct span *s)
{
        struct span p = *pat, t = *s;
        uint32_t c = next_char(&t);
        uint32_t want = next_char(&p);
        bool ok;

        if (want == '[') {
                if (!match_class(&p, c, &ok))
                        return false;
        } else if (want == '\\') {
                if (next_char(&p) != c)
                        return false;
        } else if (want != '?' && want != c) {
                return false;
        }
        *pat = p;
        *s = t;
        return true;
}

static bool match_component(struct span pat, struct span s)
{
        const char *star = NULL;
        struct span retry = s;

        while (s.p < s.end) {
                if (pat.p < pat.end && *pat.p == '*') {
                        star = ++pat.p;
                        retry = s;
                } else if (pat.p == pat.end || !match_one(&pat, &s)) {
                        if (!star)
                                return false;
                        pat.p = star;
                        (void)next_char(&retry);
                        s = retry;
                }
        }
        while (pat.p < pat.end && *pat.p == '*')
                pat.p++;
        return pat.p == pat.end;
}

/* The component at p; its end is a '/' or the NUL. */
static struct span component(const char *p)
{
        return (struct span){p, strchrnul(p, '/')};
}

/* What follows a component: NULL behind the last one. */
static const char *behind(struct span c)
{
        return *c.end ? c.end + 1 : NULL;
}

static bool is_globstar(struct span c)
{
        return c.end - c.p == 2 && memcmp(c.p, "**", 2) == 0;
}

bool nb_glob_match(const char *pattern, const char *path)
{
        const char *pat = pattern, *s = path, *star = NULL, *retry = NULL;

        if (!nb_glob_valid(pattern))
                return false;
        while (s) {
                struct span here = component(s);

                if (pat && is_globstar(component(pat))) {
                        star = behind(component(pat));
                        /* at the end it takes all that is left, which is at
                         * least one component: x/ and ** do not match x */
                        if (!star)
                                return true;
                        pat = star;
                        retry = s;
                        continue;
                }
                if (pat && match_component(component(pat), here)) {
                        pat = behind(component(pat));
                        s = behind(here);
                        continue;
                }
                if (!star)
                        return false;
                pat = star;
                retry = behind(component(retry));
                s = retry;
        }
        return !pat;
}

bool nb_glob_valid(const char *pattern)
{
        for (const char *p = pattern; p;) {
                struct span c = component(p);
                bool ok = true;

                p = behind(c);
                while (c.p < c.end && ok) {
                        uint32_t want = next_char(&c);
                        if (want == '[') {
                                (void)match_class(&c, 0, &ok);
                        } else if (want == '\\') {
                                ok = c.p < c.end;
                                if (ok)
                                        (void)next_char(&c);
                        }
                }
                if (!ok)
                        return false;
        }
        return true;
}
