/* SPDX-License-Identifier: Apache-2.0 */

/* main.c - argv: which subcommand */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <nbcid/check.h>
#include <nbcid/git.h>
#include <nbcid/str.h>

#include "app.h"

static int cmd_git_helper(int argc, char **argv)
{
        return git_helper_main(STDIN_FILENO, STDOUT_FILENO);
}

static const struct {
        const char *name, *what; /* what NULL: not for people */
        int (*run)(int argc, char **argv);
} commands[] = {
        {"serve", "receive webhooks and run notebooks: the daemon", cmd_serve},
        {"config", "check the configuration", cmd_config},
        {"run", "run one notebook here", cmd_run},
        {"submit", "run one notebook on a machine of Google Cloud", cmd_submit},
        {"env", "print or store what a notebook needs to be run again", cmd_env},
        {"check", "say what is wrong with notebooks, without running them", cmd_check},
        {"git-helper", NULL, cmd_git_helper},
        {"syntax-helper", NULL, check_helper_main},
};

static void help(FILE *f)
{
        fputs("Usage: nbcid COMMAND [OPTION...]\n\nCI/CD for Jupyter notebooks.\n\n", f);
        for (size_t i = 0; i < NB_ARRAY_SIZE(commands); i++)
                if (commands[i].what)
                        fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].what);
        fputs("\n`nbcid COMMAND --help` tells more.  `nbcid --version` prints the version.\n", f);
}

/* A descriptor that is closed is given to the next file or socket that is opened, and what is
 * meant for people would go there.  In its place stands one that cannot be used for what it is. */
static bool hold_standard_files(void)
{
        static const int useless[] = {O_WRONLY, O_RDONLY, O_RDONLY};

        for (int fd = 0; fd <= STDERR_FILENO; fd++)
                if (fcntl(fd, F_GETFD) < 0 &&
                    (errno != EBADF || open("/dev/null", useless[fd]) != fd))
                        return false;
        return true;
}

int main(int argc, char **argv)
{
        static char name[32]; /* what getopt begins its complaints with */

        if (!hold_standard_files())
                return EXIT_INFRASTRUCTURE;
        if (argc < 2) {
                help(stderr);
                return EXIT_USAGE;
        }
        if (nb_streq(argv[1], "--help") || nb_streq(argv[1], "help")) {
                help(stdout);
                return EXIT_FINE;
        }
        if (nb_streq(argv[1], "--version")) {
                puts("nbcid " NBCID_VERSION);
                return EXIT_FINE;
        }
        for (size_t i = 0; i < NB_ARRAY_SIZE(commands); i++)
                if (nb_streq(argv[1], commands[i].name)) {
                        (void)snprintf(name, sizeof(name), "nbcid %s", commands[i].name);
                        argv[1] = name;
                        return commands[i].run(argc - 1, argv + 1);
                }
        fprintf(stderr, "nbcid: there is no command \"%s\"\n\n", argv[1]);
        help(stderr);
        return EXIT_USAGE;
}
