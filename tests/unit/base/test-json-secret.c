/* SPDX-License-Identifier: Apache-2.0 */

/* What a secret's text leaves on the heap: every block that the JSON reader
 * gives back is looked at before it goes (the linker puts our free() in place
 * of libc's, for all code of this program but libraries'). */

#include <malloc.h>
#include <string.h>

#include <nbcid/json.h>
#include <nbcid/mem.h>

#include "nbtest.h"

#define TOKEN "ya29.open-sesame"

static unsigned found;

void __real_free(void *p); /* NOLINT: the linker's names */
void __wrap_free(void *p); /* NOLINT */

void __wrap_free(void *p) /* NOLINT */
{
        if (p && memmem(p, malloc_usable_size(p), TOKEN, strlen(TOKEN)))
                found++;
        __real_free(p);
}

static int ignore(void *arg, const char *s, size_t n, struct nb_err *err)
{
        return 0;
}

/* Escaped, so that yajl decodes it into a buffer that grows as it goes. */
static void text_of(struct nb_buf *b, size_t before)
{
        nb_buf_puts(b, "{\"access_token\": \"");
        nb_buf_puts(b, "\\u0079a29.open\\u002dsesame");
        for (size_t i = 0; i < before; i++)
                nb_buf_puts(b, "\\u0078");
        nb_buf_puts(b, "\", \"expires_in\": 3599}");
}

static unsigned left_by(size_t more, bool secret, bool tree)
{
        static const struct nb_json_events ev = {.string = ignore};
        const struct nb_json_limits limits = {.bytes = 1 << 20, .depth = 2, .secret = secret};
        nb_auto_buf b = NB_BUF(1 << 20);
        struct nb_json_tree *t = NULL;
        struct nb_err err;

        text_of(&b, more);
        CHECK(!b.failed);
        found = 0;
        if (tree) {
                CHECK_OK(nb_json_read(b.data, b.len, &limits, &t, NULL, &err), &err);
                CHECK(strncmp(nb_json_str(nb_json_get(nb_json_root(t), "access_token"), NULL),
                              TOKEN, strlen(TOKEN)) == 0);
                nb_json_free(t);
        } else {
                CHECK_OK(nb_json_parse(b.data, b.len, &limits, &ev, NULL, NULL, &err), &err);
        }
        return found;
}

TEST(a_secrets_text_is_wiped_before_it_is_freed)
{
        static const size_t more[] = {0, 100, 20000, 100000};

        for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
                for (int tree = 0; tree < 2; tree++)
                        CHECK(left_by(more[i], true, tree) == 0);
}

TEST(the_look_finds_what_is_not_wiped)
{
        CHECK(left_by(0, false, true) > 0);
}

NBTEST_MAIN()
