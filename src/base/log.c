/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/log.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION /* the place is our caller's, not here */
#include <systemd/sd-journal.h>

#include <nbcid/clock.h>
#include <nbcid/mem.h>
#include <nbcid/str.h>

#include "utf8.h"

#define VALUE_MAX 1024    /* bytes of one value */
#define MESSAGE_MAX 4096  /* of the journal's line for people */
#define SPACE_MAX 32768   /* of all that one event says */
#define END_ROOM 256      /* of that, kept for the end of a JSON line */
#define JOURNAL_FIELDS 40 /* the fixed ones and the event's */
#define ELLIPSIS "\xe2\x80\xa6"

/* Written by nb_log_setup() before the first thread, read by all. */
static enum nb_log_target log_target = NB_LOG_STDERR;
static int log_max = LOG_INFO;

/* All of one event is laid out here, without malloc(): an event about want of
 * memory must come out too. */
struct space {
        size_t len;
        bool full;
        char data[SPACE_MAX];
};

static void put(struct space *o, const char *p, size_t n)
{
        if (o->full || n > sizeof(o->data) - o->len) {
                o->full = true;
                return;
        }
        memcpy(o->data + o->len, p, n);
        o->len += n;
}

static void put_text(struct space *o, const char *s)
{
        put(o, s, strlen(s));
}

static void put_int(struct space *o, int64_t v)
{
        char text[24];

        (void)nb_fmt(text, sizeof(text), "%" PRId64, v);
        put_text(o, text);
}

/* The character at s as it will be seen; *ret_step gets how far to go on. */
static const char *clean_char(const char *s, size_t *ret_step, size_t *ret_n)
{
        uint32_t c = nb_utf8_decode(s, strnlen(s, 4), ret_step);

        if (c >= NB_UTF8_BAD) {
                *ret_n = strlen(NB_UTF8_REPLACEMENT);
                return NB_UTF8_REPLACEMENT;
        }
        if (nb_utf8_is_control(c)) {
                *ret_n = 1;
                return " ";
        }
        *ret_n = *ret_step;
        return s;
}

/* How much of s needs no care: printable ASCII without quotes and backslashes,
 * which is nearly all that is ever logged. */
static size_t plain_prefix(const char *s)
{
        size_t n = 0;

        while (s[n] >= ' ' && s[n] <= '~' && s[n] != '"' && s[n] != '\\')
                n++;
        return n;
}

/* One value as one line: well-formed, without control characters, at most
 * VALUE_MAX bytes; quotes and backslashes escaped when it goes between quotes. */
static void put_value(struct space *o, const char *s, bool quoted)
{
        size_t total = plain_prefix(s), max = VALUE_MAX, step, n;

        if (s[total] == '\0' && total <= max) {
                put(o, s, total);
                return;
        }
        total = 0;
        for (const char *p = s; *p && total <= max; p += step, total += n)
                (void)clean_char(p, &step, &n);
        if (total > max)
                max -= strlen(ELLIPSIS);
        for (total = 0; *s; s += step, total += n) {
                const char *c = clean_char(s, &step, &n);
                if (total + n > max) {
                        put_text(o, ELLIPSIS);
                        return;
                }
                if (quoted && (*c == '"' || *c == '\\'))
                        put_text(o, "\\");
                put(o, c, n);
        }
}

static void put_field_value(struct space *o, const struct nb_field *f, bool quoted)
{
        if (!f->s) {
                put_int(o, f->i);
                return;
        }
        if (quoted)
                put_text(o, "\"");
        put_value(o, f->s, quoted);
        if (quoted)
                put_text(o, "\"");
}

/* Take back what was put since before when it did not fit below max: a field
 * comes whole or not at all. */
static bool keep(struct space *o, size_t before, size_t max)
{
        if (!o->full && o->len <= max)
                return true;
        o->len = before;
        o->full = false;
        return false;
}

/* "../../src/base/err.c" from the compiler: the room and the file are enough. */
static const char *short_place(const char *file)
{
        const char *p = file + strlen(file);
        int slashes = 0;

        while (p > file && !(p[-1] == '/' && ++slashes == 2))
                p--;
        return p;
}

static void log_stderr(int level, const char *file, int line, const char *text,
                       const struct nb_field *fields)
{
        static const char *const names[] = {"emerg",   "alert",  "crit", "err",
                                            "warning", "notice", "info", "debug"};
        struct space o;
        char time[NB_RFC3339_SIZE];
        int64_t lost = 0;

        o.len = 0;
        o.full = false;
        nb_rfc3339(nb_now_ms(&nb_clock_real), time);
        put_text(&o, "{\"time\":\"");
        put_text(&o, time);
        put_text(&o, "\",\"level\":\"");
        put_text(&o, names[level & 7]);
        put_text(&o, "\",\"message\":\"");
        put_value(&o, text, true);
        put_text(&o, "\"");
        for (const struct nb_field *f = fields; f->name; f++) {
                size_t before = o.len;

                put_text(&o, ",\"");
                put_text(&o, f->name);
                put_text(&o, "\":");
                put_field_value(&o, f, true);
                lost += !keep(&o, before, sizeof(o.data) - END_ROOM);
        }
        if (lost > 0) {
                put_text(&o, ",\"fields_lost\":");
                put_int(&o, lost);
        }
        put_text(&o, ",\"at\":\"");
        put(&o, short_place(file), strnlen(short_place(file), END_ROOM / 2));
        put_text(&o, ":");
        put_int(&o, line);
        put_text(&o, "\"}\n");
        /* nobody is left to be told when this fails */
        if (write(STDERR_FILENO, o.data, o.len) < 0)
                return;
}

/* Fields of one journal entry, in order; all of them point into the space. */
struct entry {
        struct space o;
        struct iovec v[JOURNAL_FIELDS];
        int n;
};

static void entry_add(struct entry *e, size_t start)
{
        if (e->n < JOURNAL_FIELDS && keep(&e->o, start, sizeof(e->o.data)))
                e->v[e->n++] = (struct iovec){e->o.data + start, e->o.len - start};
}

/* MESSAGE repeats the fields in words, because it is all that journalctl(1)
 * shows unless asked. */
static void entry_add_message(struct entry *e, const char *text, const struct nb_field *fields)
{
        struct space *o = &e->o;
        size_t start = o->len;

        put_text(o, "MESSAGE=");
        put_value(o, text, false);
        for (const struct nb_field *f = fields; f->name; f++) {
                size_t before = o->len;

                put_text(o, " ");
                put_text(o, f->name);
                put_text(o, "=");
                put_field_value(o, f, true);
                (void)keep(o, before, start + MESSAGE_MAX);
        }
        entry_add(e, start);
}

static void entry_add_field(struct entry *e, const struct nb_field *f)
{
        size_t start = e->o.len;

        put_text(&e->o, "NBCID_");
        for (const char *p = f->name; *p; p++) {
                char c = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
                put(&e->o, &c, 1);
        }
        put_text(&e->o, "=");
        put_field_value(&e->o, f, false);
        entry_add(e, start);
}

static int log_journal(int level, const char *file, int line, const char *text,
                       const struct nb_field *fields)
{
        struct entry e;
        size_t start;

        e.o.len = 0;
        e.o.full = false;
        e.n = 0;
        put_text(&e.o, "PRIORITY=");
        put_int(&e.o, level & 7);
        entry_add(&e, 0);
        entry_add_message(&e, text, fields);
        start = e.o.len;
        put_text(&e.o, "CODE_FILE=");
        put_text(&e.o, short_place(file));
        entry_add(&e, start);
        start = e.o.len;
        put_text(&e.o, "CODE_LINE=");
        put_int(&e.o, line);
        entry_add(&e, start);
        start = e.o.len;
        put_text(&e.o, "SYSLOG_IDENTIFIER=nbcid");
        entry_add(&e, start);
        for (const struct nb_field *f = fields; f->name; f++)
                entry_add_field(&e, f);
        return sd_journal_sendv(e.v, e.n);
}

void nb_log_fields(int level, const char *file, int line, const char *text,
                   const struct nb_field *fields)
{
        int saved = errno;

        if (level > log_max || log_target == NB_LOG_NONE)
                return;
        if (log_target == NB_LOG_STDERR || log_journal(level, file, line, text, fields) < 0)
                log_stderr(level, file, line, text, fields);
        errno = saved;
}

/* systemd.exec(5), JOURNAL_STREAM: "device:inode" of the journal's socket, to
 * be compared because stderr may have been redirected since. */
static bool stderr_is_journal(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        char mine[64];
        struct stat st;

        if (!stream || fstat(STDERR_FILENO, &st) < 0)
                return false;
        (void)nb_fmt(mine, sizeof(mine), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
        return nb_streq(stream, mine);
}

void nb_log_setup(enum nb_log_target target, int max_level)
{
        /* NB_LOG_AUTO is kept as "the journal" from here on */
        if (target == NB_LOG_AUTO && !stderr_is_journal())
                target = NB_LOG_STDERR;
        log_target = target;
        log_max = max_level;
}
