/* SPDX-License-Identifier: Apache-2.0 */

/* submit-terminal.c - what a submission shows, and what ^C does */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <nbcid/num.h>
#include <nbcid/str.h>

#include "submit-terminal.h"

#define WIDTH 80

struct terminal {
        struct loop *loop;
        struct submit *submit;
        struct loop_source *signals, *beat, *keys;
        int fd;
        bool quiet, moves, asks; /* moves: the line does; asks: there is somebody to ask */
        bool drawn, asking, cancelled, left;
        uint64_t since_us;
        enum submit_stage stage;
        bool begun, said_name;
        char job[128], cells[48];
};

/* ---- the line ---- */

static void wipe(struct terminal *t)
{
        if (t->drawn)
                fputs("\r\033[K", stderr);
        t->drawn = false;
}

static void draw(struct terminal *t)
{
        uint64_t s = (nb_mono_us(&nb_clock_real) - t->since_us) / NB_US_PER_S;
        struct winsize w = {0};
        nb_auto_free char *line = NULL, *cut = NULL;

        if (!t->moves || t->asking || !t->begun)
                return;
        if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_col < 20)
                w.ws_col = WIDTH;
        line = nb_asprintf("%s: %s%s, %llu:%02u", t->job, submit_stage_text(t->stage), t->cells,
                           (unsigned long long)(s / 60), (unsigned)(s % 60));
        cut = line ? nb_utf8_cut(line, (size_t)w.ws_col - 1) : NULL;
        fprintf(stderr, "\r\033[K%s", cut ? cut : "");
        fflush(stderr);
        t->drawn = true;
}

static void on_beat(void *arg)
{
        struct terminal *t = arg;

        draw(t);
        loop_timer_arm(t->beat, NB_US_PER_S);
}

static void say(struct terminal *t, const char *text)
{
        nb_auto_free char *clean = nb_utf8_clean(text, strlen(text), true);

        wipe(t);
        fprintf(stderr, "%s: %s\n", t->job, clean ? clean : "");
}

void terminal_tell(void *terminal, const struct submit_news *n)
{
        struct terminal *t = terminal;
        bool changed = !t->begun || t->stage != n->stage;

        t->stage = n->stage;
        t->begun = true;
        (void)nb_fmt(t->job, sizeof(t->job), "%s", n->job);
        t->cells[0] = '\0';
        if (n->cells > 0 && n->stage == SUBMIT_RUNNING)
                (void)nb_fmt(t->cells, sizeof(t->cells), ", cell %lld of %lld",
                             (long long)n->cells_done, (long long)n->cells);
        if (t->quiet)
                return;
        if (n->name && !t->said_name) {
                say(t, n->name);
                if (n->url)
                        say(t, n->url);
                t->said_name = true;
        }
        if (n->text)
                say(t, n->text);
        else if (!t->moves && changed)
                say(t, submit_stage_text(n->stage));
        draw(t);
}

void terminal_end(struct terminal *t)
{
        t->moves = false;
        wipe(t);
}

bool terminal_left(const struct terminal *t)
{
        return t->left;
}

/* ---- ^C ---- */

static void stop(struct terminal *t, bool cancel)
{
        t->left = t->left || !cancel;
        t->cancelled = t->cancelled || cancel;
        submit_stop(t->submit, cancel);
}

static void asked(struct terminal *t)
{
        t->asking = false;
        t->keys = loop_source_free(t->keys);
        draw(t);
}

static void on_keys(void *arg, int fd, uint32_t revents)
{
        struct terminal *t = arg;
        char line[256];
        ssize_t n = read(fd, line, sizeof(line));

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return;
        asked(t);
        if (n > 0 && (line[0] == 'y' || line[0] == 'Y'))
                stop(t, true);
        else if (n <= 0 || line[0] == 'n' || line[0] == 'N')
                stop(t, false);
}

static bool ask(struct terminal *t)
{
        struct nb_err err;

        if (loop_io(t->loop, STDIN_FILENO, EPOLLIN, on_keys, t, &t->keys, &err) < 0)
                return false;
        wipe(t);
        t->asking = true;
        (void)tcflush(STDIN_FILENO, TCIFLUSH); /* an answer is to this question */
        fputs("\nCancel the job?  y: cancel it; n: leave it running, and stop waiting; Enter: go "
              "on waiting  [y/n] ",
              stderr);
        fflush(stderr);
        return true;
}

static void interrupted(struct terminal *t, bool by_key)
{
        if (t->asking) { /* again: whoever is in a hurry wants no harm done */
                fputc('\n', stderr);
                asked(t);
                stop(t, false);
        } else if (t->cancelled) {
                stop(t, false);
        } else if (t->stage == SUBMIT_CHECKING || t->stage == SUBMIT_CLEANING || !by_key ||
                   !t->asks || !ask(t)) {
                stop(t, true);
        }
}

static void on_signal(void *arg, int fd, uint32_t revents)
{
        struct terminal *t = arg;
        struct signalfd_siginfo i;

        if (read(fd, &i, sizeof(i)) != sizeof(i) || !t->submit)
                return;
        if (i.ssi_signo == SIGHUP)
                stop(t, false);
        else
                interrupted(t, i.ssi_signo == SIGINT);
}

/* ---- */

int terminal_new(struct loop *l, bool quiet, struct terminal **ret, struct nb_err *err)
{
        NB_CLEANUP(terminal_freep) struct terminal *t = calloc(1, sizeof(*t));
        sigset_t set;
        int r;

        if (!t)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        t->loop = l;
        t->fd = -1;
        t->quiet = quiet;
        t->asks = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
        t->moves = !quiet && isatty(STDERR_FILENO);
        t->since_us = nb_mono_us(&nb_clock_real);
        sigemptyset(&set);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGHUP);
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
        t->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (t->fd < 0)
                return nb_fail_errno(err, errno, "signalfd");
        r = loop_io(l, t->fd, EPOLLIN, on_signal, t, &t->signals, err);
        if (r == 0)
                r = loop_timer(l, on_beat, t, &t->beat, err);
        if (r < 0)
                return r;
        loop_timer_arm(t->beat, NB_US_PER_S);
        *ret = NB_TAKE(t);
        return 0;
}

void terminal_watch(struct terminal *t, struct submit *s)
{
        t->submit = s;
}

struct terminal *terminal_free(struct terminal *t)
{
        if (!t)
                return NULL;
        loop_source_free(t->signals);
        loop_source_free(t->beat);
        loop_source_free(t->keys);
        if (t->fd >= 0)
                (void)close(t->fd);
        free(t);
        return NULL;
}
