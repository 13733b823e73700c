/* SPDX-License-Identifier: Apache-2.0 */

/*
 * replay.c - a fuzz target without a fuzzer: each file of the corpus
 * directories that are given goes through it once.  TAP; a property that does
 * not hold ends the program before its plan, which fails the test.
 */

#include <dirent.h>
#include <stdbool.h>
#include <sys/stat.h>

#include <nbcid/mem.h>

#include "fuzz.h"

/* A corpus file is small; a larger one is a mistake. */
#define INPUT_MAX ((size_t)16 << 20)

static int replay_file(const char *path)
{
        nb_auto_free uint8_t *data = NULL;
        struct stat st;
        FILE *f;
        size_t n;

        f = fopen(path, "rbe");
        if (!f || fstat(fileno(f), &st) != 0 || st.st_size < 0 || (size_t)st.st_size > INPUT_MAX) {
                if (f)
                        fclose(f);
                return -1;
        }
        /* Exactly as large as the input, so that a sanitizer sees each byte too far. */
        data = malloc((size_t)st.st_size ? (size_t)st.st_size : 1);
        n = data ? fread(data, 1, (size_t)st.st_size, f) : 0;
        fclose(f);
        if (!data || n != (size_t)st.st_size)
                return -1;
        (void)LLVMFuzzerTestOneInput(data, n);
        return 0;
}

static int visible(const struct dirent *e)
{
        return e->d_name[0] != '.';
}

/* How many files of the directory did not go through; -1: not a directory. */
static int replay_directory(const char *dir, int *count)
{
        struct dirent **names;
        int n = scandir(dir, &names, visible, alphasort), failed = 0;
        char path[4096];

        for (int i = 0; i < n; i++) {
                bool fits = snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name) <
                            (int)sizeof(path);
                bool ok = fits && replay_file(path) == 0;

                printf("%sok %d %s\n", ok ? "" : "not ", ++*count, names[i]->d_name);
                fflush(stdout);
                failed += !ok;
                free(names[i]);
        }
        if (n >= 0)
                free(names);
        return n < 0 ? -1 : failed;
}

int main(int argc, char **argv)
{
        int count = 0, failed = 0;

        for (int i = 1; i < argc; i++) {
                int r = replay_directory(argv[i], &count);

                if (r < 0)
                        printf("# %s cannot be read\n", argv[i]);
                failed += r != 0;
        }
        printf("1..%d\n", count);
        return failed || count == 0 ? 1 : 0;
}
