/* SPDX-License-Identifier: Apache-2.0 */

/*
 * helper.c - the child's side: what has to happen between spawn and exec
 *
 * nbcid syntax-helper MODE PYTHON SANDBOX MEMORY [HIDDEN-PATH...]
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <nbcid/embed.h>
#include <nbcid/num.h>
#include <nbcid/sandbox.h>

#include "check-priv.h"

extern const struct nb_embed embed_check[];

#define CPU_SECONDS 600        /* of a whole push: a backstop, the parent has the deadline */
#define KERNEL_MEMORY_FACTOR 4 /* a Python and a kernel, which map more than they use */

static const char *script(const char *mode)
{
        for (const struct nb_embed *e = embed_check; e->name; e++)
                if (strncmp(e->name, mode, strlen(mode)) == 0 &&
                    nb_streq(e->name + strlen(mode), ".py"))
                        return (const char *)e->data;
        return NULL;
}

/* Nothing is allocated from here to exec: the limit may be below what a
 * sanitizer has mapped. */
static void become(char **argv, uint64_t memory_max)
{
        static char path[] = "PATH=" SANDBOX_PATH, home[] = "HOME=/tmp", lang[] = "LC_ALL=C.UTF-8",
                    pyc[] = "PYTHONDONTWRITEBYTECODE=1", ipython[] = "IPYTHONDIR=/nonexistent";
        char *const env[] = {path, home, lang, pyc, ipython, NULL};
        const struct rlimit core = {0, 0}, cpu = {CPU_SECONDS, CPU_SECONDS},
                            memory = {memory_max, memory_max};

        (void)setrlimit(RLIMIT_CORE, &core);
        (void)setrlimit(RLIMIT_CPU, &cpu);
        (void)setrlimit(RLIMIT_AS, &memory);
        (void)execve(argv[0], argv, env);
}

/* "/x/venv/bin/python" -> "/x/venv" when that is a virtual environment. */
static char *prefix_of(const char *python)
{
        nb_auto_free char *prefix = nb_strdup(python), *mark = NULL;

        for (int i = 0; prefix && i < 2; i++) {
                char *slash = strrchr(prefix, '/');

                if (!slash)
                        return NULL;
                *slash = '\0';
        }
        mark = prefix ? nb_asprintf("%s/pyvenv.cfg", prefix) : NULL;
        return mark && access(mark, F_OK) == 0 ? NB_TAKE(prefix) : NULL;
}

static int prepare(int argc, char **argv, struct nb_strv *ret, uint64_t *ret_memory,
                   struct nb_err *err)
{
        nb_auto_free char *python = NULL, *prefix = NULL;
        const char *code = argc >= 5 ? script(argv[1]) : NULL;
        const char *show[2] = {NULL, NULL};
        struct sandbox_opts o = {0};
        bool sandboxed;
        int r;

        if (!code)
                return nb_fail(err, NB_E_INVALID, "wrong arguments");
        r = sandbox_find_program(argv[2], &python, err);
        if (r == 0)
                r = sandbox_kind_parse(argv[3], &o.kind, err);
        if (r == 0)
                r = nb_parse_u64(argv[4], 1, UINT64_MAX / KERNEL_MEMORY_FACTOR, ret_memory, err);
        if (r < 0)
                return r;
        if (nb_streq(argv[1], "kernel"))
                *ret_memory *= KERNEL_MEMORY_FACTOR;
        /* The environment of a notebook is below what is hidden. */
        prefix = prefix_of(python);
        if (prefix && !nb_streq(prefix, "/usr"))
                show[0] = prefix;
        o.python = python;
        o.show = show;
        o.hide = (const char *const *)(argv + 5);
        /* -S: site-packages are looked for when they are needed */
        o.argv = (const char *const[]){python, "-I",     "-S", "-X", "utf8",
                                       "-W",   "ignore", "-c", code, NULL};
        return sandbox_wrap(&o, ret, &sandboxed, err);
}

int check_helper_main(int argc, char **argv)
{
        NB_CLEANUP(nb_strv_done) struct nb_strv words = {0};
        uint64_t memory = 0;
        struct nb_err err = {.msg = "cannot go to /"};

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* no daemon, no use for an answer */
        if (chdir("/") < 0 || prepare(argc, argv, &words, &memory, &err) < 0) {
                fprintf(stderr, "%s\n", err.msg);
                return 3;
        }
        become(words.v, memory);
        fprintf(stderr, "cannot run %s: %s\n", words.v[0], strerrordesc_np(errno));
        return 3;
}
