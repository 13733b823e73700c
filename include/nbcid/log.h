/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * log.h - one line per event: the journal when systemd started us, JSON lines
 * on stderr otherwise
 *
 * Any thread.  Fields are given as pairs after the text:
 *         nb_log(LOG_INFO, "build finished", NB_F_INT("build", 17), NB_F_STR("repository", r));
 * In the journal a field "build" becomes NBCID_BUILD=, and MESSAGE= repeats
 * the fields in words.  Values of strangers are cleaned (UTF-8, no control
 * characters) and cut at 1 KiB here, so that callers need not.  Secrets have
 * no formatter and never come here.
 */

#include <nbcid/err.h>
#include <stdint.h>
#include <syslog.h>

static inline const char *nb_field_text(const char *s)
{
        return s ? s : "";
}

struct nb_field {
        const char *name; /* lower case and _, static */
        const char *s;    /* text, or NULL for the number */
        int64_t i;
};
#define NB_F_STR(name_, s_) ((struct nb_field){.name = (name_), .s = nb_field_text(s_)})
#define NB_F_INT(name_, i_) ((struct nb_field){.name = (name_), .i = (int64_t)(i_)})

/* level: LOG_ERR ... LOG_DEBUG. */
#define nb_log(level, text, ...) \
        nb_log_fields((level), __FILE__, __LINE__, (text), \
                      (const struct nb_field[]){__VA_ARGS__ __VA_OPT__(, ){0}})
/* The same for a filled nb_err; its text, class and place are added as fields. */
#define nb_log_err(level, err, text, ...) \
        nb_log_fields((level), __FILE__, __LINE__, (text), \
                      (const struct nb_field[]){ \
                              NB_F_STR("error", (err)->msg), \
                              NB_F_STR("class", nb_errc_policy((err)->code)->name), \
                              NB_F_STR("error_file", (err)->file), \
                              NB_F_INT("error_line", (err)->line), __VA_ARGS__ __VA_OPT__(, ){0}})
/* fields end with a NULL name; at most 35 of them, and 32 KiB in all, are
 * kept.  errno is left alone.  Never fails and takes no memory. */
void nb_log_fields(int level, const char *file, int line, const char *text,
                   const struct nb_field *fields);

enum nb_log_target {
        NB_LOG_AUTO,   /* the journal when $JOURNAL_STREAM is stderr, else NB_LOG_STDERR */
        NB_LOG_STDERR, /* JSON lines */
        NB_LOG_NONE,   /* tests */
};
/* Before the first thread.  max_level: LOG_INFO by default. */
void nb_log_setup(enum nb_log_target target, int max_level);
