/* SPDX-License-Identifier: Apache-2.0 */

/* cmd-config.c - `nbcid config check` */

#include <getopt.h>
#include <stdio.h>

#include <nbcid/str.h>

#include "app.h"

static void config_help(FILE *f)
{
        fputs("Usage: nbcid config check [FILE]\n"
              "\n"
              "Read the configuration as `nbcid serve` would, with its secrets, and say what is\n"
              "wrong: file, line, key, remedy.  FILE is " APP_CONFIG_FILE " by default.\n"
              "Secret names are looked up below $CREDENTIALS_DIRECTORY, else beside FILE.\n"
              "Exit status: 0 fine, 2 something is wrong.\n",
              f);
}

int cmd_config(int argc, char **argv)
{
        static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
        NB_CLEANUP(config_unrefp) struct config *c = NULL;
        const char *file = APP_CONFIG_FILE;
        struct nb_err err;
        int opt;

        while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
                config_help(opt == 'h' ? stdout : stderr);
                return opt == 'h' ? EXIT_FINE : EXIT_USAGE;
        }
        if (optind >= argc || !nb_streq(argv[optind], "check") || argc - optind > 2) {
                config_help(stderr);
                return EXIT_USAGE;
        }
        if (argc - optind == 2)
                file = argv[optind + 1];
        if (config_load(file, &c, &err) < 0) {
                fprintf(stderr, "%s\n", err.msg);
                return EXIT_USAGE;
        }
        printf("%s: fine: %zu forge%s, %zu repositor%s, %zu executor%s, listens on %s\n", file,
               c->n_forges, c->n_forges == 1 ? "" : "s", c->n_repositories,
               c->n_repositories == 1 ? "y" : "ies", c->n_executors, c->n_executors == 1 ? "" : "s",
               c->listen);
        return EXIT_FINE;
}
