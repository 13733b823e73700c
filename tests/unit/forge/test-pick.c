/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/buf.h>
#include <nbcid/str.h>

#include "../../../src/forge/pick.h"
#include "nbtest.h"

enum { REF, NAME, BRANCH, FLAG, NOTE, ID, TEXT, N_SPECS };

static const struct pick_spec specs[N_SPECS] = {
        [REF] = {"ref", PICK_STRING, .max = 8},
        [NAME] = {"repo.full.name", PICK_STRING, .max = 8},
        [BRANCH] = {"repo.branch", PICK_STRING, .max = 8},
        [FLAG] = {"flag", PICK_BOOL},
        [NOTE] = {"note", PICK_STRING, .max = 4, .text = true},
        [ID] = {"list.[].id", PICK_STRING, .max = 8},
        [TEXT] = {"list.[].text", PICK_STRING, .max = 8, .text = true},
};

/* What the elements had: "id=text " of each. */
static int on_element(void *arg, struct pick_value *v, struct nb_err *err)
{
        return nb_buf_printf(arg, "%s=%s ", v[ID].s ? v[ID].s : "-", v[TEXT].s ? v[TEXT].s : "-");
}

static int pick(const char *text, struct pick_value *v, struct nb_buf *elements, struct nb_err *err)
{
        return pick_json(text, strlen(text), specs, N_SPECS, v, on_element, elements, err);
}

TEST(takes_what_is_asked_for)
{
        static const char text[] =
                "{\"x\":{\"ref\":\"no\",\"repo\":{\"branch\":\"no\"}},\"ref\":\"main\",\"y\":[[{"
                "\"ref\":1}],2],"
                "\"repo\":{\"z\":{\"name\":\"no\"},\"full\":{\"name\":\"a/"
                "b\",\"deep\":{\"name\":3}},"
                "\"branch\":null,\"id\":9},\"flag\":true,\"id\":\"no\",\"name\":7}";
        struct pick_value v[N_SPECS] = {0};
        nb_auto_buf elements = NB_BUF(100);
        struct nb_err err;

        CHECK_OK(pick(text, v, &elements, &err), &err);
        CHECK_STR(v[REF].s, "main");
        CHECK_STR(v[NAME].s, "a/b");
        CHECK_INT(v[NAME].n, 3);
        CHECK_INT(v[BRANCH].found, PICK_NULL);
        CHECK_INT(v[FLAG].found, PICK_GIVEN);
        CHECK(v[FLAG].b);
        CHECK_INT(v[NOTE].found, PICK_ABSENT);
        CHECK_INT(elements.len, 0);
        pick_done(v, N_SPECS);
}

TEST(visits_the_elements_of_an_array)
{
        static const char text[] =
                "{\"list\":[{\"id\":\"1\",\"text\":\"a\",\"more\":[{\"id\":5}],\"deep\":{\"id\":6}}"
                ","
                "{\"text\":\"b\"},null,{},{\"id\":\"4\",\"text\":null}],\"ref\":\"r\"}";
        struct pick_value v[N_SPECS] = {0};
        nb_auto_buf elements = NB_BUF(100);
        struct nb_err err;

        CHECK_OK(pick(text, v, &elements, &err), &err);
        CHECK_STR(nb_buf_str(&elements), "1=a -=b -=- 4=- ");
        CHECK_INT(v[ID].found, PICK_ABSENT);
        CHECK_STR(v[REF].s, "r");
        pick_done(v, N_SPECS);
}

TEST(null_on_the_way_is_absent)
{
        struct pick_value v[N_SPECS] = {0};
        struct nb_err err;

        CHECK_OK(pick("{\"repo\":null,\"list\":null,\"ref\":null}", v, NULL, &err), &err);
        CHECK_INT(v[NAME].found, PICK_ABSENT);
        CHECK_INT(v[REF].found, PICK_NULL);
        pick_done(v, N_SPECS);
}

TEST(texts_for_people_are_cut_at_a_character)
{
        struct pick_value v[N_SPECS] = {0};
        struct nb_err err;

        CHECK_OK(pick("{\"note\":\"abc\xc3\xa4"
                      "d\"}",
                      v, NULL, &err),
                 &err);
        CHECK_STR(v[NOTE].s, "abc");
        pick_done(v, N_SPECS);
        CHECK_OK(pick("{\"note\":\"a\\u0000b\"}", v, NULL, &err), &err);
        CHECK_INT(v[NOTE].n, 3);
        CHECK_INT(v[NOTE].s[2], 'b');
        pick_done(v, N_SPECS);
}

TEST(what_is_wrong_is_malformed)
{
        static const struct {
                const char *text, *says;
        } cases[] = {
                {"", "empty"},
                {"3", "the payload is a number, not an object"},
                {"null", "the payload is null, not an object"},
                {"true", "the payload is a boolean, not an object"},
                {"\"x\"", "the payload is a string, not an object"},
                {"[]", "the payload is an array, not an object"},
                {"{\"ref\":3}", "\"ref\" is a number, not a string"},
                {"{\"ref\":{}}", "\"ref\" is an object, not a string"},
                {"{\"ref\":[\"a\"]}", "\"ref\" is an array, not a string"},
                {"{\"ref\":true}", "\"ref\" is a boolean, not a string"},
                {"{\"flag\":\"true\"}", "\"flag\" is a string, not a boolean"},
                {"{\"flag\":[]}", "\"flag\" is an array, not a boolean"},
                {"{\"repo\":\"x\"}", "\"repo\" is a string, not an object"},
                {"{\"repo\":[{\"branch\":\"x\"}]}", "\"repo\" is an array, not an object"},
                {"{\"repo\":{\"full\":1}}", "\"repo.full\" is a number, not an object"},
                {"{\"list\":{\"id\":\"x\"}}", "\"list\" is an object, not an array"},
                {"{\"list\":[\"x\"]}", "\"list.[]\" is a string, not an object"},
                {"{\"list\":[[]]}", "\"list.[]\" is an array, not an object"},
                {"{\"list\":[{\"id\":1}]}", "\"list.[].id\" is a number, not a string"},
                {"{\"ref\":\"123456789\"}", "over the limit of 8"},
                {"{\"ref\":\"a\\u0000b\"}", "NUL"},
                {"{\"ref\":\"a\",\"ref\":\"a\"}", "\"ref\" is given twice"},
                {"{\"ref\":null,\"ref\":\"a\"}", "\"ref\" is given twice"},
                {"{\"\\u0072ef\":\"a\",\"ref\":\"b\"}", "\"ref\" is given twice"},
                {"{\"repo\":{\"branch\":\"a\"},\"repo\":{\"full\":{\"name\":\"b\"}}}",
                 "\"repo\" is given twice"},
                {"{\"repo\":{\"full\":{},\"full\":{}}}", "\"repo.full\" is given twice"},
                {"{\"list\":[{\"id\":\"a\",\"id\":\"b\"}]}", "\"list.[].id\" is given twice"},
                {"{\"list\":[],\"list\":[]}", "\"list\" is given twice"},
                {"{\"ref\":\"a\"", "end"},
                {"{\"ref\":\"a\"}}", "more text"},
        };

        for (size_t i = 0; i < NB_ARRAY_SIZE(cases); i++) {
                struct pick_value v[N_SPECS] = {0};
                nb_auto_buf elements = NB_BUF(100);
                struct nb_err err = {0};
                int r = pick(cases[i].text, v, &elements, &err);
                if (r != -NB_E_INVALID || !strstr(err.msg, cases[i].says))
                        FAIL("case %zu: %s: answered %d, %s", i, cases[i].text, r, err.msg);
                for (size_t k = 0; k < N_SPECS; k++)
                        CHECK(v[k].found == PICK_ABSENT && !v[k].s);
        }
}

TEST(the_same_key_in_two_elements_is_no_duplicate)
{
        struct pick_value v[N_SPECS] = {0};
        nb_auto_buf elements = NB_BUF(100);
        struct nb_err err;

        CHECK_OK(pick("{\"list\":[{\"id\":\"a\"},{\"id\":\"b\"}],\"x\":1,\"x\":2}", v, &elements,
                      &err),
                 &err);
        CHECK_STR(nb_buf_str(&elements), "a=- b=- ");
        pick_done(v, N_SPECS);
}

TEST(an_element_may_stop_it)
{
        struct pick_value v[N_SPECS] = {0};
        nb_auto_buf elements = NB_BUF(4);
        struct nb_err err = {0};
        static const char text[] = "{\"ref\":\"a\",\"list\":[{\"id\":\"a\"},{\"id\":\"b\"}]}";

        CHECK_INT(pick(text, v, &elements, &err), -NB_E_LIMIT);
        CHECK(!v[REF].s);
}

TEST(depth_is_bounded)
{
        nb_auto_buf b = NB_BUF(1000);
        struct pick_value v[N_SPECS] = {0};
        struct nb_err err;

        nb_buf_puts(&b, "{\"x\":");
        for (int i = 0; i < 64; i++)
                nb_buf_putc(&b, '[');
        CHECK_ERR(pick(nb_buf_str(&b), v, NULL, &err), &err, NB_E_LIMIT, "64");
}

NBTEST_MAIN()
