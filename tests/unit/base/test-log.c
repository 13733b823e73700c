/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include <nbcid/log.h>
#include <nbcid/str.h>

#include "nbtest.h"

static int real_stderr = -1, capture = -1;

/* From here on stderr is a file, until read_capture(). */
static void start_capture(void)
{
        nb_auto_free char *path = nb_asprintf("%s/log", nbtest_tmpdir());

        CHECK(path);
        real_stderr = dup(STDERR_FILENO);
        capture = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        CHECK(real_stderr >= 0 && capture >= 0);
        CHECK(dup2(capture, STDERR_FILENO) == STDERR_FILENO);
}

static char captured[1 << 20];

static const char *read_capture(void)
{
        ssize_t n = pread(capture, captured, sizeof(captured) - 1, 0);

        dup2(real_stderr, STDERR_FILENO);
        close(real_stderr);
        close(capture);
        CHECK(n >= 0);
        captured[n] = '\0';
        return captured;
}

TEST(one_event_is_one_json_line)
{
        const char *s;
        int line;

        nb_log_setup(NB_LOG_STDERR, LOG_INFO);
        start_capture();
        line = __LINE__ + 1;
        nb_log(LOG_WARNING, "done", NB_F_INT("build", -17), NB_F_STR("repository", "a/b"));
        s = read_capture();
        CHECK(nb_starts_with(s, "{\"time\":\"20"));
        s = strstr(s, "Z\",");
        CHECK(s);
        nb_auto_free char *want =
                nb_asprintf("Z\",\"level\":\"warning\",\"message\":\"done\",\"build\":-17,"
                            "\"repository\":\"a/b\",\"at\":\"base/test-log.c:%d\"}\n",
                            line);
        CHECK_STR(s, want);
}

TEST(no_fields_and_null_values)
{
        const char *s, *null = NULL;

        nb_log_setup(NB_LOG_STDERR, LOG_INFO);
        start_capture();
        nb_log(LOG_INFO, "plain");
        nb_log(LOG_INFO, "null", NB_F_STR("who", null));
        s = read_capture();
        CHECK(strstr(s, "\"message\":\"plain\",\"at\":"));
        CHECK(strstr(s, "\"who\":\"\",\"at\":"));
}

TEST(quiet_levels_stay_quiet)
{
        nb_log_setup(NB_LOG_STDERR, LOG_INFO);
        start_capture();
        nb_log(LOG_DEBUG, "detail");
        nb_log_setup(NB_LOG_STDERR, LOG_DEBUG);
        nb_log(LOG_DEBUG, "wanted");
        nb_log_setup(NB_LOG_NONE, LOG_DEBUG);
        nb_log(LOG_EMERG, "unwanted");
        nb_log_setup(NB_LOG_STDERR, LOG_INFO);
        const char *s = read_capture();
        CHECK(!strstr(s, "detail") && strstr(s, "wanted") && !strstr(s, "unwanted"));
}

TEST(strangers_cannot_forge_lines)
{
        const char *s;

        nb_log_setup(NB_LOG_STDERR, LOG_INFO);
        start_capture();
        nb_log(LOG_INFO, "a\"b\\c\nd",
               NB_F_STR("ref", "x\"}\n{\"level\":\"emerg\"\x1b[2J\xff\xc2\x9b\x7f"));
        s = read_capture();
        CHECK(strstr(s, "\"message\":\"a\\\"b\\\\c d\""));
        CHECK(strstr(s, "\"ref\":\"x\\\"} {\\\"level\\\":\\\"emerg\\\" [2J\xef\xbf\xbd  \""));
        CHECK(strchr(s, '\n') == s + strlen(s) - 1);
        CHECK(nb_utf8_valid(s, strlen(s), NULL));
}

static void check_cut(const char *piece, size_t n, size_t want_len, bool want_cut)
{
        char value[4000] = "";
        size_t len = 0;
        const char *s, *end;

        for (size_t i = 0; i < n; i++, len += strlen(piece))
                memcpy(value + len, piece, strlen(piece) + 1);
        start_capture();
        nb_log(LOG_INFO, "m", NB_F_STR("v", value));
        s = strstr(read_capture(), "\"v\":\"");
        CHECK(s);
        s += 5;
        end = strstr(s, "\",\"at\"");
        CHECK(end);
        CHECK_INT(end - s, want_len);
        CHECK(nb_utf8_valid(s, (size_t)(end - s), NULL));
        CHECK((memcmp(end - 3, "\xe2\x80\xa6", 3) == 0) == want_cut);
}

TEST(long_values_are_cut_at_1_kib)
{
        nb_log_setup(NB_LOG_STDERR, LOG_INFO);
        check_cut("x", 1024, 1024, false);
        check_cut("x", 1025, 1024, true);
        check_cut("\xe2\x82\xac", 341, 1023, false);
        check_cut("\xe2\x82\xac", 342, 1023, true);
        check_cut("\xf0\x9f\x99\x82", 256, 1024, false);
        check_cut("\xf0\x9f\x99\x82", 257, 1023, true);
        check_cut("\xff", 341, 1023, false);
        check_cut("\xff", 342, 1023, true);
}

TEST(too_many_fields_are_counted)
{
        struct nb_field fields[65];
        nb_auto_free char *value = malloc(1025);
        const char *s, *lost;
        size_t kept = 0;

        CHECK(value);
        memset(value, '"', 1024); /* each takes two bytes */
        value[1024] = '\0';
        for (size_t i = 0; i < 64; i++)
                fields[i] = NB_F_STR("v", value);
        fields[64] = (struct nb_field){0};
        nb_log_setup(NB_LOG_STDERR, LOG_INFO);
        start_capture();
        nb_log_fields(LOG_INFO, "x", 1, "m", fields);
        s = read_capture();
        CHECK(strlen(s) <= 32768);
        CHECK(nb_ends_with(s, ",\"at\":\"x:1\"}\n"));
        for (const char *p = s; (p = strstr(p, ",\"v\":\"")); p++)
                kept++;
        lost = strstr(s, "\"fields_lost\":");
        CHECK(lost);
        CHECK(kept > 10 && kept < 64);
        CHECK_INT(strtol(lost + 14, NULL, 10) + (long)kept, 64);
}

TEST(errors_bring_their_place)
{
        struct nb_err err;
        const char *s;

        nb_fail(&err, NB_E_REMOTE, "no answer");
        err.line = 4711;
        nb_log_setup(NB_LOG_STDERR, LOG_INFO);
        start_capture();
        errno = 33;
        nb_log_err(LOG_ERR, &err, "cannot post", NB_F_INT("build", 3));
        CHECK_INT(errno, 33);
        s = read_capture();
        CHECK(strstr(s, "\"error\":\"no answer\",\"class\":\"remote\""));
        CHECK(strstr(s, "test-log.c\",\"error_line\":4711"));
        CHECK(strstr(s, "\"build\":3"));
}

static void *log_much(void *arg)
{
        for (int i = 0; i < 300; i++)
                nb_log(LOG_INFO, "from a thread", NB_F_INT("i", i), NB_F_STR("who", arg));
        return NULL;
}

TEST(lines_of_threads_stay_whole)
{
        static char a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", b[] = "b", c[] = "cc";
        char *names[] = {a, b, c};
        pthread_t t[3];
        size_t lines = 0;

        nb_log_setup(NB_LOG_STDERR, LOG_INFO);
        start_capture();
        for (size_t i = 0; i < 3; i++)
                CHECK(pthread_create(&t[i], NULL, log_much, names[i]) == 0);
        for (size_t i = 0; i < 3; i++)
                CHECK(pthread_join(t[i], NULL) == 0);
        for (const char *s = read_capture(); *s; lines++) {
                const char *end = strchr(s, '\n');
                CHECK(end);
                CHECK(nb_starts_with(s, "{\"time\":") && end[-1] == '}');
                CHECK(memmem(s + 1, (size_t)(end - s), "{\"time\":", 8) == NULL);
                s = end + 1;
        }
        CHECK_INT(lines, 900);
}

/* Stands in for libsystemd's, so that no journal is needed. */
static char entry[1 << 16];
static int entry_fields, journal_answer;

int sd_journal_sendv(const struct iovec *v, int n)
{
        size_t len = 0;

        entry_fields = n;
        for (int i = 0; i < n && len + v[i].iov_len + 1 < sizeof(entry); i++) {
                memcpy(entry + len, v[i].iov_base, v[i].iov_len);
                len += v[i].iov_len;
                entry[len++] = '\n';
        }
        entry[len] = '\0';
        return journal_answer;
}

/* Makes stderr the stream that JOURNAL_STREAM names; after start_capture(). */
static void become_journal(void)
{
        nb_auto_free char *stream = NULL;
        struct stat st;

        CHECK(fstat(STDERR_FILENO, &st) == 0);
        stream = nb_asprintf("%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
        CHECK(stream && setenv("JOURNAL_STREAM", stream, 1) == 0);
        nb_log_setup(NB_LOG_AUTO, LOG_INFO);
}

static void leave_journal(void)
{
        unsetenv("JOURNAL_STREAM");
        nb_log_setup(NB_LOG_STDERR, LOG_INFO);
}

TEST(the_journal_gets_fields)
{
        const char *text = "a \"b\"\n";
        nb_auto_free char *want = NULL;
        int line;

        start_capture();
        become_journal();
        line = __LINE__ + 1;
        nb_log(LOG_ERR, "build\nfailed", NB_F_INT("build", 17), NB_F_STR("repo_name", text));
        leave_journal();
        CHECK_STR(read_capture(), "");
        want = nb_asprintf("PRIORITY=3\n"
                           "MESSAGE=build failed build=17 repo_name=\"a \\\"b\\\" \"\n"
                           "CODE_FILE=base/test-log.c\nCODE_LINE=%d\nSYSLOG_IDENTIFIER=nbcid\n"
                           "NBCID_BUILD=17\nNBCID_REPO_NAME=a \"b\" \n",
                           line);
        CHECK_STR(entry, want);
        CHECK_INT(entry_fields, 7);
}

TEST(the_journal_is_not_flooded)
{
        struct nb_field fields[65];
        nb_auto_free char *value = malloc(1025);
        const char *message;

        CHECK(value);
        memset(value, 'x', 1024);
        value[1024] = '\0';
        for (size_t i = 0; i < 64; i++)
                fields[i] = NB_F_STR("v", value);
        fields[64] = (struct nb_field){0};
        start_capture();
        become_journal();
        nb_log_fields(LOG_INFO, "x", 1, "m", fields);
        leave_journal();
        CHECK_STR(read_capture(), "");
        CHECK(entry_fields > 20 && entry_fields <= 40);
        CHECK(strlen(entry) <= 32768 + 40);
        message = strstr(entry, "MESSAGE=");
        CHECK(message && strcspn(message, "\n") <= 4096);
        CHECK(strstr(entry, "SYSLOG_IDENTIFIER=nbcid\n"));
}

TEST(a_refusing_journal_is_no_loss)
{
        start_capture();
        become_journal();
        journal_answer = -ECONNREFUSED;
        nb_log(LOG_INFO, "still here");
        journal_answer = 0;
        leave_journal();
        CHECK(strstr(read_capture(), "\"message\":\"still here\""));
}

/* JOURNAL_STREAM must be believed only when stderr is that very stream. */
TEST(auto_looks_at_stderr)
{
        const char *s;

        entry[0] = '\0';
        unsetenv("JOURNAL_STREAM");
        start_capture();
        nb_log_setup(NB_LOG_AUTO, LOG_INFO);
        nb_log(LOG_INFO, "unset");
        setenv("JOURNAL_STREAM", "1:2", 1);
        nb_log_setup(NB_LOG_AUTO, LOG_INFO);
        nb_log(LOG_INFO, "somebody else's");
        setenv("JOURNAL_STREAM", "rubbish", 1);
        nb_log_setup(NB_LOG_AUTO, LOG_INFO);
        nb_log(LOG_INFO, "not even a number");
        leave_journal();
        s = read_capture();
        CHECK(strstr(s, "unset") && strstr(s, "else's") && strstr(s, "not even a number"));
        CHECK_STR(entry, "");
}

NBTEST_MAIN()
