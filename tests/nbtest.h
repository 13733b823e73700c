/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * nbtest.h - the whole test framework: TAP out, one function per test
 *
 *         TEST(buf_keeps_its_ceiling) { ... CHECK(x == y); CHECK_STR(a, "b"); }
 *         NBTEST_MAIN()
 *
 * A failed CHECK says where and what and ends that test only.  An argument
 * runs the tests whose name contains it.  nbtest_tmpdir() is removed at exit.
 */

#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct nbtest {
        const char *name;
        void (*fn)(void);
        struct nbtest *next;
};
static struct nbtest *nbtest_first;
__attribute__((unused)) static struct nbtest **nbtest_last = &nbtest_first;
static jmp_buf nbtest_out;
static char nbtest_dir[64];

#define TEST(name_) \
        static void nbtest_fn_##name_(void); \
        static struct nbtest nbtest_##name_ = {#name_, nbtest_fn_##name_, NULL}; \
        __attribute__((constructor)) static void nbtest_add_##name_(void) \
        { \
                *nbtest_last = &nbtest_##name_; \
                nbtest_last = &nbtest_##name_.next; \
        } \
        static void nbtest_fn_##name_(void)

/* Leaves the test at once; what the test holds leaks, which only a failing
 * test does. */
#define FAIL(...) \
        do { \
                printf("# %s:%d: ", __FILE__, __LINE__); \
                printf(__VA_ARGS__); \
                printf("\n"); \
                longjmp(nbtest_out, 1); \
        } while (0)
#define CHECK(cond) \
        do { \
                if (!(cond)) \
                        FAIL("not true: %s", #cond); \
        } while (0)
#define CHECK_STR(a, b) \
        do { \
                const char *a_ = (a), *b_ = (b); \
                if (!a_ || !b_ ? a_ != b_ : strcmp(a_, b_) != 0) \
                        FAIL("%s is \"%s\", not \"%s\"", #a, a_ ? a_ : "(null)", \
                             b_ ? b_ : "(null)"); \
        } while (0)
#define CHECK_INT(a, b) \
        do { \
                long long a_ = (long long)(a), b_ = (long long)(b); \
                if (a_ != b_) \
                        FAIL("%s is %lld, not %lld", #a, a_, b_); \
        } while (0)
/* Processor time of this process so far, in seconds. */
__attribute__((unused)) static double nbtest_cpu(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
/* That work of one size took some eight times as long as with an eighth of it, and not the square
 * of that, on a machine of whatever speed and under valgrind: times are processor time. */
#define CHECK_LINEAR(eighth, whole) \
        do { \
                double e_ = (eighth), w_ = (whole); \
                if (w_ > 24 * (e_ > 0.01 ? e_ : 0.01)) \
                        FAIL("%.3f s, and %.3f s for an eighth", w_, e_); \
        } while (0)
/* r is 0 or positive; else the nb_err's text is shown. */
#define CHECK_OK(r, err) \
        do { \
                int r_ = (r); \
                if (r_ < 0) \
                        FAIL("%s answered %d: %s", #r, r_, (err)->msg); \
        } while (0)
/* r failed with that class, and its text contains part. */
#define CHECK_ERR(r, err, code_, part) \
        do { \
                int r_ = (r); \
                if (r_ != -(int)(code_)) \
                        FAIL("%s answered %d, not %d: %s", #r, r_, -(int)(code_), \
                             r_ < 0 ? (err)->msg : ""); \
                if (!strstr((err)->msg, (part))) \
                        FAIL("%s said \"%s\" without \"%s\"", #r, (err)->msg, (part)); \
        } while (0)

/* A private directory for this program, made at the first call. */
__attribute__((unused)) static const char *nbtest_tmpdir(void)
{
        if (!nbtest_dir[0]) {
                snprintf(nbtest_dir, sizeof(nbtest_dir), "/tmp/nbtest-XXXXXX");
                if (!mkdtemp(nbtest_dir))
                        abort();
        }
        return nbtest_dir;
}

/* 0, or 1 when a CHECK failed.  Apart from the loop, whose variables a longjmp
 * might clobber. */
static int nbtest_one(const struct nbtest *t)
{
        if (setjmp(nbtest_out))
                return 1;
        t->fn();
        return 0;
}

__attribute__((unused)) static int nbtest_run(int argc, char **argv)
{
        int n = 0, failed = 0;

        setvbuf(stdout, NULL, _IOLBF, 0);
        for (struct nbtest *t = nbtest_first; t; t = t->next) {
                if (argc > 1 && !strstr(t->name, argv[1]))
                        continue;
                int bad = nbtest_one(t);
                printf("%sok %d %s\n", bad ? "not " : "", ++n, t->name);
                failed += bad;
        }
        printf("1..%d\n", n);
        if (nbtest_dir[0]) {
                char cmd[96];
                snprintf(cmd, sizeof(cmd), "rm -rf %s", nbtest_dir);
                if (system(cmd) != 0)
                        failed++;
        }
        return failed ? 1 : 0;
}

#define NBTEST_MAIN() \
        int main(int argc, char **argv) \
        { \
                return nbtest_run(argc, argv); \
        }
