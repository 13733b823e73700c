/* SPDX-License-Identifier: Apache-2.0 */
#include "nbtest.h"

#include <signal.h>

#include <nbcid/httpmsg.h>
#include <nbcid/model.h>
#include <nbcid/str.h>

struct move {
        int from, to;
};

/* Counts the legal pairs of the full product and compares each with the list;
 * states whose row is empty must call themselves final. */
#define CHECK_MOVES(list, count, type, may_move, final) \
        do { \
                size_t legal_ = 0; \
                for (int from_ = 0; from_ < (count); from_++) { \
                        size_t row_ = 0; \
                        for (int to_ = 0; to_ < (count); to_++) { \
                                bool listed_ = false; \
                                for (size_t i_ = 0; i_ < NB_ARRAY_SIZE(list); i_++) \
                                        listed_ |= \
                                                (list)[i_].from == from_ && (list)[i_].to == to_; \
                                if (may_move((type)from_, (type)to_) != listed_) \
                                        FAIL("%d -> %d", from_, to_); \
                                row_ += listed_; \
                        } \
                        CHECK_INT(final((type)from_), row_ == 0); \
                        legal_ += row_; \
                } \
                CHECK_INT(legal_, NB_ARRAY_SIZE(list)); \
        } while (0)

TEST(builds_move_by_the_table)
{
        static const struct move legal[] = {
                {BUILD_QUEUED, BUILD_PREPARING},    {BUILD_QUEUED, BUILD_CANCELLED},
                {BUILD_QUEUED, BUILD_ERRORED},      {BUILD_PREPARING, BUILD_QUEUED},
                {BUILD_PREPARING, BUILD_RUNNING},   {BUILD_PREPARING, BUILD_PASSED},
                {BUILD_PREPARING, BUILD_FAILED},    {BUILD_PREPARING, BUILD_ERRORED},
                {BUILD_PREPARING, BUILD_CANCELLED}, {BUILD_RUNNING, BUILD_PASSED},
                {BUILD_RUNNING, BUILD_FAILED},      {BUILD_RUNNING, BUILD_ERRORED},
                {BUILD_RUNNING, BUILD_CANCELLED},
        };

        CHECK_MOVES(legal, BUILD_STATE__COUNT, enum build_state, build_may_move, build_state_final);
        CHECK_INT(NB_ARRAY_SIZE(legal), 13);
}

TEST(jobs_move_by_the_table)
{
        static const struct move legal[] = {
                {JOB_WAITING, JOB_PENDING},    {JOB_WAITING, JOB_SKIPPED},
                {JOB_WAITING, JOB_CANCELLED},  {JOB_PENDING, JOB_SUBMITTING},
                {JOB_PENDING, JOB_FAILED},     {JOB_PENDING, JOB_CANCELLED},
                {JOB_PENDING, JOB_ERRORED},    {JOB_SUBMITTING, JOB_RUNNING},
                {JOB_SUBMITTING, JOB_PENDING}, {JOB_SUBMITTING, JOB_ERRORED},
                {JOB_SUBMITTING, JOB_FAILED},  {JOB_SUBMITTING, JOB_CANCELLED},
                {JOB_SUBMITTING, JOB_PASSED},  {JOB_SUBMITTING, JOB_TIMED_OUT},
                {JOB_RUNNING, JOB_PASSED},     {JOB_RUNNING, JOB_FAILED},
                {JOB_RUNNING, JOB_ERRORED},    {JOB_RUNNING, JOB_TIMED_OUT},
                {JOB_RUNNING, JOB_CANCELLED},  {JOB_RUNNING, JOB_PENDING},
        };

        CHECK_MOVES(legal, JOB_STATE__COUNT, enum job_state, job_may_move, job_state_final);
        CHECK_INT(NB_ARRAY_SIZE(legal), 20);
}

/* Names are in databases: each reads back to its value and to no other. */
#define CHECK_NAMES(type, prefix, count) \
        do { \
                type back_; \
                for (int i_ = 0; i_ < (count); i_++) { \
                        CHECK(prefix##_name((type)i_) != NULL); \
                        CHECK(prefix##_parse(prefix##_name((type)i_), &back_)); \
                        CHECK_INT(back_, i_); \
                } \
                CHECK(!prefix##_parse("Passed", &back_)); \
                CHECK(!prefix##_parse("passe", &back_)); \
                CHECK(!prefix##_parse(NULL, &back_)); \
        } while (0)

TEST(names_read_back)
{
        enum build_state b;

        CHECK_NAMES(enum build_state, build_state, BUILD_STATE__COUNT);
        CHECK_NAMES(enum trigger, trigger, TRIGGER__COUNT);
        CHECK_NAMES(enum job_state, job_state, JOB_STATE__COUNT);
        CHECK_NAMES(enum run_class, run_class, CLASS__COUNT);
        CHECK_NAMES(enum note_state, note_state, NOTE_STATE__COUNT);
        CHECK(!build_state_parse("", &b));
        CHECK_STR(build_state_name(BUILD_PREPARING), "preparing");
        CHECK_STR(trigger_name(TRIGGER_PULL_REQUEST), "pull_request");
        CHECK_STR(job_state_name(JOB_TIMED_OUT), "timed_out");
        CHECK_STR(run_class_name(CLASS_NONE), "");
        CHECK_STR(run_class_name(CLASS_OUT_OF_MEMORY), "out_of_memory");
        CHECK_STR(note_state_name(NOTE_CANCELLED), "cancelled");
}

TEST(classes_mean_a_final_state)
{
        static const struct {
                enum run_class class;
                enum job_state state;
        } cases[] = {
                {CLASS_PASSED, JOB_PASSED},          {CLASS_CELL_ERROR, JOB_FAILED},
                {CLASS_OUT_OF_MEMORY, JOB_FAILED},   {CLASS_SIGNAL, JOB_FAILED},
                {CLASS_NO_KERNEL, JOB_FAILED},       {CLASS_CHECK, JOB_FAILED},
                {CLASS_ENVIRONMENT, JOB_FAILED},     {CLASS_TIMEOUT, JOB_TIMED_OUT},
                {CLASS_KERNEL_START, JOB_ERRORED},   {CLASS_LOST, JOB_ERRORED},
                {CLASS_INFRASTRUCTURE, JOB_ERRORED}, {CLASS_CAPACITY, JOB_ERRORED},
                {CLASS_RATE_LIMIT, JOB_ERRORED},     {CLASS_PERMISSION, JOB_ERRORED},
                {CLASS_CONFIGURATION, JOB_ERRORED},  {CLASS_CANCELLED, JOB_CANCELLED},
        };

        CHECK_INT(NB_ARRAY_SIZE(cases), CLASS__COUNT - 1);
        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                CHECK_INT(run_class_state(cases[i].class), cases[i].state);
                CHECK_INT(run_class_retry(cases[i].class),
                          cases[i].state == JOB_ERRORED && cases[i].class != CLASS_PERMISSION &&
                                  cases[i].class != CLASS_CONFIGURATION);
                CHECK(job_state_final(cases[i].state));
                CHECK(job_may_move(JOB_RUNNING, cases[i].state));
                CHECK(job_may_move(JOB_SUBMITTING, cases[i].state));
        }
}

TEST(object_names)
{
        static const char sha1[] = "0123456789abcdefABCDEF0123456789abcdef01";
        static const char zero[] = "0000000000000000000000000000000000000000";
        char long_one[NB_OID_HEX_SIZE + 1];

        CHECK(nb_oid_valid(sha1));
        CHECK(nb_oid_valid(zero));
        CHECK(nb_oid_is_zero(zero));
        CHECK(!nb_oid_is_zero(sha1));
        CHECK(!nb_oid_is_zero("000"));
        CHECK(!nb_oid_valid(sha1 + 1));
        CHECK(!nb_oid_valid(""));
        CHECK(!nb_oid_valid(NULL));
        CHECK(!nb_oid_valid("g123456789abcdefABCDEF0123456789abcdef01"));
        memset(long_one, '0', sizeof(long_one));
        long_one[64] = '\0';
        CHECK(nb_oid_valid(long_one));
        CHECK(nb_oid_is_zero(long_one));
        long_one[63] = '1';
        CHECK(!nb_oid_is_zero(long_one));
        long_one[64] = '0';
        long_one[65] = '\0';
        CHECK(!nb_oid_valid(long_one));
}

TEST(short_names_of_refs)
{
        CHECK_STR(ref_short("refs/heads/main"), "main");
        CHECK_STR(ref_short("refs/heads/feature/x"), "feature/x");
        CHECK_STR(ref_short("refs/tags/v1"), "v1");
        CHECK_STR(ref_short("refs/pull/1/head"), "refs/pull/1/head");
        CHECK_STR(ref_short("main"), "main");
}

#define S UINT64_C(1000000)
static char evalue[] = "shapes (3,) (4,)\nand a long story";
static char ename[] = "ValueError", blank[] = " \n\t",
            dirty[] = "\n a\x01"
                      "b\xff  \r\nc";
static char reason[] = "disk is full";

TEST(texts_of_results)
{
        static const struct {
                struct run_result r;
                const char *text;
        } cases[] = {
                {{.class = CLASS_PASSED, .cells = 12, .wall_us = 3456789}, "12 cells in 3.4 s"},
                {{.class = CLASS_PASSED, .cells = 1, .wall_us = 40000}, "1 cell in 40 ms"},
                {{.class = CLASS_PASSED, .cells = 0}, "0 cells"},
                {{.class = CLASS_PASSED, .cells = 2, .wall_us = 30 * S + 1}, "2 cells in 30 s"},
                {{.class = CLASS_PASSED, .cells = 2, .wall_us = 200 * S}, "2 cells in 3 min 20 s"},
                {{.class = CLASS_PASSED, .cells = 2, .wall_us = 120 * S}, "2 cells in 2 min"},
                {{.class = CLASS_PASSED, .cells = 2, .wall_us = 3959 * S}, "2 cells in 1 h 5 min"},
                {{.class = CLASS_CELL_ERROR, .cell = 7, .ename = ename, .evalue = evalue},
                 "cell 7: ValueError: shapes (3,) (4,)"},
                {{.class = CLASS_CELL_ERROR, .cell = 7, .ename = ename}, "cell 7: ValueError"},
                {{.class = CLASS_CELL_ERROR, .cell = 7, .ename = ename, .evalue = blank},
                 "cell 7: ValueError"},
                {{.class = CLASS_CELL_ERROR, .cell = 7, .evalue = evalue},
                 "cell 7: shapes (3,) (4,)"},
                {{.class = CLASS_CELL_ERROR, .cell = 7, .evalue = dirty},
                 "cell 7: a b\xef\xbf\xbd"},
                {{.class = CLASS_PASSED, .cells = 2, .reason = reason}, "2 cells; disk is full"},
                {{.class = CLASS_CELL_ERROR, .cell = 7}, "cell 7: raised an error"},
                {{.class = CLASS_CELL_ERROR, .reason = reason}, "disk is full"},
                {{.class = CLASS_CELL_ERROR}, "a cell raised an error"},
                {{.class = CLASS_TIMEOUT, .cell = 3, .wall_us = 7200 * S + 300000},
                 "timed out in cell 3 after 2 h"},
                {{.class = CLASS_TIMEOUT, .cell = 3}, "timed out in cell 3"},
                {{.class = CLASS_TIMEOUT}, "timed out"},
                {{.class = CLASS_OUT_OF_MEMORY, .cell = 5}, "out of memory in cell 5"},
                {{.class = CLASS_OUT_OF_MEMORY}, "out of memory"},
                {{.class = CLASS_SIGNAL, .cell = 4, .signo = SIGSEGV},
                 "kernel died in cell 4: SIGSEGV"},
                {{.class = CLASS_SIGNAL, .cell = 4}, "kernel died in cell 4"},
                {{.class = CLASS_SIGNAL, .signo = 4711}, "kernel died: signal 4711"},
                {{.class = CLASS_KERNEL_START, .reason = reason}, "disk is full"},
                {{.class = CLASS_NO_KERNEL, .reason = reason}, "disk is full"},
                {{.class = CLASS_CHECK, .reason = reason}, "disk is full"},
                {{.class = CLASS_ENVIRONMENT, .reason = reason}, "disk is full"},
                {{.class = CLASS_LOST, .reason = reason}, "disk is full"},
                {{.class = CLASS_INFRASTRUCTURE, .reason = reason}, "disk is full"},
                {{.class = CLASS_CANCELLED, .reason = reason}, "disk is full"},
                {{.class = CLASS_CANCELLED}, "cancelled"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                nb_auto_free char *text = run_result_text(&cases[i].r);
                CHECK_STR(text, cases[i].text);
        }
        for (int c = 0; c < CLASS__COUNT; c++) {
                struct run_result r = {.class = (enum run_class)c, .reason = blank};
                nb_auto_free char *text = run_result_text(&r);
                CHECK(text && *text && !strchr(text, '\n'));
        }
}

TEST(texts_are_bounded)
{
        size_t n = 1 << 20;
        nb_auto_free char *huge = malloc(n + 1), *text = NULL;
        struct run_result r = {.class = CLASS_CELL_ERROR, .cell = 1, .ename = huge, .evalue = huge};

        CHECK(huge);
        memset(huge, '\xff', n);
        huge[n] = '\0';
        text = run_result_text(&r);
        CHECK(text);
        CHECK(strlen(text) < 5000);
        CHECK(nb_utf8_valid(text, strlen(text), NULL));
        CHECK(nb_ends_with(text, "\xe2\x80\xa6"));
}

TEST(destroyers_take_anything)
{
        struct event e = {.repository = strdup("a/b"), .ref = strdup("r"), .author = strdup("x")};
        struct run_result r = {.reason = strdup("because")};
        struct nb_environment env = {.kernel = strdup("python3")};
        struct http_out out = {0};

        event_done(&e);
        CHECK(!e.repository && !e.ref && !e.author);
        run_result_done(&r);
        CHECK(!r.reason);
        nb_environment_done(&env);
        CHECK(!env.kernel);
        event_done(&e);
        run_result_done(&r);
        nb_environment_done(&env);
        http_out_done(&out);
        event_done(NULL);
        run_result_done(NULL);
        nb_environment_done(NULL);
        http_out_done(NULL);
}

TEST(headers_come_in)
{
        static const struct http_header h[] = {
                {"Content-Type", "application/json"},
                {"X-GitHub-Event", "push"},
                {"x-github-event", "ping"},
        };
        struct http_in m = {.headers = h, .n_headers = NB_ARRAY_SIZE(h)};

        CHECK_STR(http_in_header(&m, "content-TYPE"), "application/json");
        CHECK_STR(http_in_header(&m, "X-Github-Event"), "push");
        CHECK(!http_in_header(&m, "Content"));
        CHECK(!http_in_header(&m, "Content-Type-Options"));
        CHECK(!http_in_header(&(struct http_in){0}, "Content-Type"));
}

TEST(headers_go_out_in_one_line)
{
        struct http_out m = {.method = strdup("POST"),
                             .url = strdup("http://x/"),
                             .body = strdup("{}"),
                             .n_body = 2};

        CHECK_INT(http_out_header(&m, "Authorization", "Bearer t"), 0);
        CHECK_INT(http_out_header(&m, "X-Text", "a\tb \xc3\xa9"), 0);
        CHECK_INT(http_out_header(&m, "Evil", "a\r\nHost: b"), -1);
        CHECK_INT(http_out_header(&m, "Evil\n", "a"), -1);
        CHECK_INT(http_out_header(&m, "Evil", "a\x7f"), -1);
        CHECK_INT(m.n_headers, 2);
        CHECK_STR(m.headers[0], "Authorization: Bearer t");
        CHECK_STR(m.headers[1], "X-Text: a\tb \xc3\xa9");
        http_out_done(&m);
        CHECK(!m.headers && !m.n_headers && !m.body && !m.url && !m.method);
}

NBTEST_MAIN()
