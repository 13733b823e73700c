/* SPDX-License-Identifier: Apache-2.0 */

/* names.c - what is called how when nobody says */

#include <time.h>

#include "submit-priv.h"

#define STEM_MAX 60

static const char *last_part(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

char *submit_output_of(const char *input)
{
        static const char ext[] = ".ipynb";
        size_t n = strlen(input);

        if (nb_ends_with_nocase(input, ext) && strlen(last_part(input)) > strlen(ext))
                return nb_asprintf("%.*s_output%s", (int)(n - strlen(ext)), input,
                                   input + n - strlen(ext));
        return nb_asprintf("%s_output", input);
}

/* Each run of other letters becomes one '_'. */
static void put_word(struct nb_buf *b, const char *s, size_t max)
{
        bool gap = false;

        for (size_t n = 0; *s && n < max; s++) {
                char c = *s;
                bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                            (c >= '0' && c <= '9') || c == '_';

                if (!fine && gap)
                        continue;
                (void)nb_buf_putc(b, fine ? c : '_');
                gap = !fine;
                n++;
        }
}

char *submit_job_id(const char *input, int64_t us_since_1970)
{
        nb_auto_buf b = NB_BUF(256);
        time_t seconds = (time_t)(us_since_1970 / 1000000);
        char when[32];
        struct tm tm;

        if (!gmtime_r(&seconds, &tm) || strftime(when, sizeof(when), "%Y_%m_%d_%H_%M_%S", &tm) == 0)
                return NULL;
        (void)nb_buf_puts(&b, "job_");
        put_word(&b, last_part(input), STEM_MAX);
        (void)nb_buf_printf(&b, "_%s_%06d", when, (int)(us_since_1970 % 1000000));
        return nb_buf_steal(&b);
}

const char *submit_stage_text(enum submit_stage s)
{
        switch (s) {
        case SUBMIT_CHECKING:
                return "checking";
        case SUBMIT_SENDING:
                return "submitting";
        case SUBMIT_NO_ROOM:
                return "waiting until it can be submitted";
        case SUBMIT_QUEUED:
                return "waiting for a machine";
        case SUBMIT_RUNNING:
                return "running";
        case SUBMIT_CANCELLING:
                return "being cancelled";
        case SUBMIT_CLEANING:
                return "removing what was staged";
        }
        return "";
}
