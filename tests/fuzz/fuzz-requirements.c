/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Any bytes as requirements.txt: what is taken without any permission has
 * neither URL nor option that reaches out of the index, and is its own normal
 * form; what is refused says where.
 */

#include <string.h>

#include <nbcid/notebook_environment.h>
#include <nbcid/str.h>

#include "fuzz.h"

#define ALL 31u

/* A few files that name each other. */
static int read_file(void *arg, const char *path, struct nb_buf *ret, struct nb_err *err)
{
        (void)arg;
        PROPERTY(*path && *path != '/' && !strstr(path, "//") && !strstr(path, "/../"));
        PROPERTY(!nb_starts_with(path, "../") && !nb_ends_with(path, "/..") && strcmp(path, ".."));
        if (strcmp(path, "d/a.txt") == 0)
                return nb_buf_puts(ret, "a\n-r ../b.txt\n") < 0 ? nb_fail(err, NB_E_NOMEM, "out")
                                                                : 1;
        if (strcmp(path, "b.txt") == 0)
                return nb_buf_puts(ret, "-c d/a.txt\nb>=1") < 0 ? nb_fail(err, NB_E_NOMEM, "out")
                                                                : 1;
        return 0;
}

static void check_plain(const char *text)
{
        PROPERTY(!strstr(text, "${A}"));
        for (const char *p = text; *p;) {
                size_t n = strcspn(p, "\n");

                PROPERTY(n > 0 && p[n] == '\n');
                PROPERTY(p[0] != ' ' && p[n - 1] != ' ' && p[n - 1] != '\\' && p[0] != '#');
                for (size_t i = 0; i < n; i++)
                        PROPERTY((unsigned char)p[i] >= 0x20);
                p += n + 1;
        }
}

/* What needs no permission names packages. */
static void check_harmless(const char *text)
{
        static const char *const ways[] = {
                "-e", "--editable",   "-i", "--index-url", "--extra-index-url",
                "-f", "--find-links", "-r", "-c",          "--trusted-host"};

        for (const char *p = text; *p; p += strcspn(p, "\n") + 1) {
                for (size_t i = 0; i < NB_ARRAY_SIZE(ways); i++)
                        PROPERTY(!nb_starts_with(p, ways[i]));
                PROPERTY(*p == '-' || strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                             "0123456789",
                                             *p));
        }
}

static int read_all(const char *p, size_t n, unsigned allow, struct requirements *ret)
{
        const struct notebook_files files = {.read = read_file};
        struct nb_err err = {0};
        int r = requirements_read("d/fuzz.txt", "d/", p, n, allow, &files, ret, &err);

        if (r < 0) {
                PROPERTY(r == -NB_E_INVALID || r == -NB_E_LIMIT);
                PROPERTY(strncmp(err.msg, "d/", 2) == 0 || strncmp(err.msg, "b.txt", 5) == 0);
                PROPERTY(nb_utf8_valid(err.msg, strlen(err.msg), NULL) && !strchr(err.msg, '\n'));
        }
        return r;
}

static void check_again(const struct requirements *first, unsigned allow)
{
        struct requirements again = REQUIREMENTS_INIT;

        check_plain(nb_buf_str(&first->text));
        check_plain(nb_buf_str(&first->constraints));
        PROPERTY(read_all(nb_buf_str(&first->text), first->text.len, allow, &again) == 0);
        PROPERTY(strcmp(nb_buf_str(&first->text), nb_buf_str(&again.text)) == 0);
        PROPERTY(again.constraints.len == 0);
        requirements_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct requirements strict = REQUIREMENTS_INIT, loose = REQUIREMENTS_INIT;

        if (read_all((const char *)data, size, 0, &strict) == 0) {
                check_again(&strict, 0);
                check_harmless(nb_buf_str(&strict.text));
                check_harmless(nb_buf_str(&strict.constraints));
                /* what is fine without permission is the same with it */
                PROPERTY(read_all((const char *)data, size, ALL, &loose) == 0);
                PROPERTY(strcmp(nb_buf_str(&strict.text), nb_buf_str(&loose.text)) == 0);
        } else if (read_all((const char *)data, size, ALL, &loose) == 0) {
                check_again(&loose, ALL);
        }
        requirements_done(&strict);
        requirements_done(&loose);
        return 0;
}
