/* SPDX-License-Identifier: Apache-2.0 */
#include "nbtest.h"

#include <nbcid/finding.h>
#include <nbcid/mem.h>
#include <nbcid/str.h>

static void add(struct findings *to, enum finding_severity severity, const char *message)
{
        struct finding f = {
                .severity = severity,
                .rule = "test",
                .line = 14,
                .column = 3,
                .path = nb_strdup("cells[0]"),
                .message = nb_strdup(message),
                .remedy = nb_strdup("mend it"),
                .text = nb_strdup("x = ("),
        };
        struct nb_err err;

        CHECK_OK(findings_add_take(to, &f, &err), &err);
        CHECK(!f.message && !f.path && !f.remedy && !f.text);
}

TEST(findings_keep_their_order)
{
        struct findings f = {.max = 100};

        CHECK(!findings_refuse(&f));
        for (int i = 0; i < 40; i++)
                add(&f, FINDING_WARNING, i == 20 ? "twentieth" : "other");
        CHECK_INT(f.n, 40);
        CHECK_INT(f.more, 0);
        CHECK_STR(f.v[20].message, "twentieth");
        CHECK(!findings_refuse(&f));
        add(&f, FINDING_ERROR, "bad");
        CHECK(findings_refuse(&f));
        findings_done(&f);
        CHECK(!f.v && f.n == 0 && f.max == 100);
        findings_done(NULL);
        finding_done(NULL);
}

TEST(beyond_the_ceiling_they_are_counted)
{
        struct findings f = {.max = 3};

        for (int i = 0; i < 5; i++)
                add(&f, FINDING_WARNING, "warning");
        CHECK_INT(f.n, 3);
        CHECK_INT(f.more, 2);
        add(&f, FINDING_ERROR, "first error");
        CHECK_INT(f.n, 3);
        CHECK_INT(f.more, 3);
        CHECK_STR(f.v[2].message, "first error");
        CHECK(findings_refuse(&f));
        for (int i = 0; i < 4; i++)
                add(&f, FINDING_ERROR, "another");
        CHECK_INT(f.n, 3);
        CHECK_INT(f.more, 7);
        CHECK_STR(f.v[0].message, "first error");
        CHECK_STR(f.v[2].message, "another");
        findings_done(&f);
        add(&(struct findings){.max = 0}, FINDING_ERROR, "none");
}

static void says(struct findings *f, const char *want)
{
        nb_auto_free char *text = findings_text(f);

        CHECK_STR(text, want);
}

TEST(one_line_says_the_first_error)
{
        struct findings f = {.max = 100};

        says(&f, NULL);
        add(&f, FINDING_WARNING, "no id");
        says(&f, "line 14 column 3: no id");
        add(&f, FINDING_ERROR, "not JSON");
        says(&f, "line 14 column 3: not JSON; and 1 more");
        f.v[1].cell = 3;
        says(&f, "cell 3: not JSON; and 1 more");
        f.v[1].cell_line = 2;
        f.more = 5;
        says(&f, "cell 3 line 2: not JSON; and 6 more");
        f.v[1].cell = 0;
        f.v[1].line = 0;
        says(&f, "not JSON; and 6 more");
        findings_done(&f);
}

NBTEST_MAIN()
