/* SPDX-License-Identifier: Apache-2.0 */
/* normal-form: a requirements file from standard input to its normal form;
 * for test_pip.py.  Exit status: 0; 1 refused, with the text on standard error. */
#include <stdio.h>
#include <string.h>

#include <nbcid/notebook_environment.h>

int main(int argc, char **argv)
{
        static char text[1 << 20];
        struct requirements r = REQUIREMENTS_INIT;
        struct nb_err err;
        size_t n = fread(text, 1, sizeof(text), stdin);
        unsigned allow = argc > 1 && strcmp(argv[1], "--all") == 0 ? ~0u : 0;
        int bad = requirements_read("r.txt", "", text, n, allow, NULL, &r, &err);

        if (bad < 0)
                fprintf(stderr, "%s\n", err.msg);
        else
                fputs(nb_buf_str(&r.text), stdout);
        requirements_done(&r);
        return bad < 0;
}
