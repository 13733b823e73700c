/* SPDX-License-Identifier: Apache-2.0 */

/* test-event.c - events.jsonl, both ways */

#include <string.h>

#include <nbcid/runner.h>
#include <nbcid/str.h>

#include "nbtest.h"

static int parse(const char *line, struct runner_event *ev, struct nb_err *err)
{
        return runner_event_parse(line, strlen(line), ev, err);
}

static void write_line(struct nb_buf *b, const struct runner_event *ev)
{
        CHECK_INT(runner_event_write(b, ev), 0);
        CHECK(b->len > 0 && b->data[b->len - 1] == '\n');
        CHECK(memchr(b->data, '\n', b->len) == b->data + b->len - 1);
        b->data[--b->len] = '\0';
}

TEST(events_of_the_house_read_as_written_there)
{
        struct runner_event ev;
        struct nb_err err;

        CHECK_OK(parse("{\"event\":\"kernel_ready\"}", &ev, &err), &err);
        CHECK_INT(ev.kind, RUNNER_KERNEL_READY);
        runner_event_done(&ev);
        CHECK_OK(parse("{\"event\":\"cell_started\",\"cell\":3}", &ev, &err), &err);
        CHECK_INT(ev.kind, RUNNER_CELL_STARTED);
        CHECK_INT(ev.cell, 3);
        runner_event_done(&ev);
        CHECK_OK(parse("{\"event\":\"cell_finished\",\"cell\":3,\"seconds\":0.41}", &ev, &err),
                 &err);
        CHECK_INT(ev.kind, RUNNER_CELL_FINISHED);
        CHECK(ev.seconds > 0.40 && ev.seconds < 0.42);
        runner_event_done(&ev);
}

TEST(finished_goes_round_with_every_class)
{
        for (int c = CLASS_PASSED; c < CLASS__COUNT; c++) {
                nb_auto_buf b = NB_BUF(64 * 1024);
                struct runner_event out = {.kind = RUNNER_FINISHED,
                                           .cell = 4,
                                           .cells = 9,
                                           .cells_done = 3,
                                           .result = {.class = (enum run_class)c,
                                                      .ename = nb_strdup("ValueError"),
                                                      .evalue = nb_strdup("\"\\ \t 数据 é"),
                                                      .reason = nb_strdup("why"),
                                                      .wall_us = 12345678,
                                                      .cpu_us = 2345678,
                                                      .mem_peak = UINT64_C(5) << 32,
                                                      .signo = 11}};
                struct runner_event in;
                struct nb_err err;

                write_line(&b, &out);
                CHECK_OK(runner_event_parse(b.data, b.len, &in, &err), &err);
                CHECK_INT(in.kind, RUNNER_FINISHED);
                CHECK_INT(in.result.class, c);
                CHECK_INT(in.result.cell, 4);
                CHECK_INT(in.result.cells, 9);
                CHECK_INT(in.result.cells_done, 3);
                CHECK_STR(in.result.ename, "ValueError");
                CHECK_STR(in.result.evalue, "\"\\   数据 é");
                CHECK_STR(in.result.reason, "why");
                CHECK_INT(in.result.wall_us, 12345678);
                CHECK_INT(in.result.cpu_us, 2345678);
                CHECK_INT(in.result.mem_peak, UINT64_C(5) << 32);
                CHECK_INT(in.result.signo, 11);
                runner_event_done(&in);
                runner_event_done(&out);
        }
}

TEST(status_is_the_word_for_the_class)
{
        static const struct {
                enum run_class class;
                const char *status;
        } rows[] = {{CLASS_PASSED, "\"status\":\"passed\""},
                    {CLASS_CELL_ERROR, "\"status\":\"failed\""},
                    {CLASS_TIMEOUT, "\"status\":\"timed_out\""},
                    {CLASS_LOST, "\"status\":\"errored\""},
                    {CLASS_CANCELLED, "\"status\":\"cancelled\""}};

        for (size_t i = 0; i < NB_ARRAY_SIZE(rows); i++) {
                nb_auto_buf b = NB_BUF(4096);

                write_line(&b, &(struct runner_event){.kind = RUNNER_FINISHED,
                                                      .result = {.class = rows[i].class}});
                CHECK(strstr(b.data, rows[i].status));
        }
}

TEST(unknown_events_and_classes_are_skipped_not_refused)
{
        struct runner_event ev;
        struct nb_err err;

        CHECK_OK(parse("{\"event\":\"gpu_ready\",\"more\":[1,{}]}", &ev, &err), &err);
        CHECK_INT(ev.kind, RUNNER_OTHER);
        runner_event_done(&ev);
        CHECK_OK(parse("{\"event\":\"finished\",\"class\":\"melted\"}", &ev, &err), &err);
        CHECK_INT(ev.kind, RUNNER_FINISHED);
        CHECK_INT(ev.result.class, CLASS_NONE);
        runner_event_done(&ev);
}

TEST(strange_lines_are_refused_without_harm)
{
        static const char *const bad[] = {"",
                                          "{",
                                          "[]",
                                          "3",
                                          "null",
                                          "{\"event\":3}",
                                          "{\"event\":\"finished\"",
                                          "{\"event\":\"\xff\"}",
                                          "{\"event\":\"a\",\"event\":\"b\"}"};
        struct runner_event ev;
        struct nb_err err;

        for (size_t i = 0; i < NB_ARRAY_SIZE(bad); i++)
                CHECK_INT(parse(bad[i], &ev, &err), -NB_E_INVALID);
        CHECK_INT(parse("{\"event\":[[[[[[[[1]]]]]]]]}", &ev, &err), -NB_E_LIMIT);
}

TEST(members_of_wrong_types_count_as_not_said)
{
        struct runner_event ev;
        struct nb_err err;

        CHECK_OK(parse("{\"event\":\"finished\",\"class\":7,\"cell\":\"x\",\"ename\":[],"
                       "\"wall_us\":-5,\"signo\":1.5,\"seconds\":\"a\"}",
                       &ev, &err),
                 &err);
        CHECK_INT(ev.result.class, CLASS_NONE);
        CHECK_INT(ev.cell, 0);
        CHECK(!ev.result.ename);
        CHECK_INT(ev.result.wall_us, 0);
        CHECK_INT(ev.result.signo, 0);
        runner_event_done(&ev);
}

TEST(a_full_buffer_is_told)
{
        nb_auto_buf b = NB_BUF(16);

        CHECK_INT(runner_event_write(&b, &(struct runner_event){.kind = RUNNER_KERNEL_READY}),
                  -NB_E_NOMEM);
}

NBTEST_MAIN()
