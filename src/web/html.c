/* SPDX-License-Identifier: Apache-2.0 */

/* html.c - the one place where text becomes HTML; everything is escaped */

#include <stdarg.h>

#include <nbcid/num.h>
#include <nbcid/str.h>

#include "web-priv.h"

static void escape(struct nb_buf *b, const char *s)
{
        nb_auto_free char *clean = NULL;

        if (!s)
                return;
        clean = nb_utf8_clean(s, strlen(s), false);
        for (s = clean ? clean : ""; *s;) {
                size_t n = strcspn(s, "&<>\"'");

                (void)nb_buf_append(b, s, n);
                s += n;
                if (*s)
                        (void)nb_buf_printf(b, "&#%d;", *s++);
        }
}

void html(struct nb_buf *b, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        while (*fmt) {
                size_t n = strcspn(fmt, "%");

                (void)nb_buf_append(b, fmt, n);
                fmt += n;
                if (!*fmt)
                        break;
                if (nb_starts_with(fmt, "%s")) {
                        escape(b, va_arg(ap, const char *));
                        fmt += strlen("%s");
                } else if (nb_starts_with(fmt, "%lld")) {
                        (void)nb_buf_printf(b, "%lld", va_arg(ap, long long));
                        fmt += strlen("%lld");
                } else {
                        nb_assert(nb_starts_with(fmt, "%%"));
                        (void)nb_buf_putc(b, '%');
                        fmt += strlen("%%");
                }
        }
        va_end(ap);
}

void html_span(int64_t ms, char buf[HTML_SPAN_SIZE])
{
        long long s = ms / 1000;

        if (ms < 0)
                (void)nb_fmt(buf, HTML_SPAN_SIZE, "0 s");
        else if (s < 60)
                (void)nb_fmt(buf, HTML_SPAN_SIZE, "%lld.%lld s", s, (long long)(ms % 1000 / 100));
        else if (s < 3600)
                (void)nb_fmt(buf, HTML_SPAN_SIZE, "%lld min %lld s", s / 60, s % 60);
        else if (s < 86400)
                (void)nb_fmt(buf, HTML_SPAN_SIZE, "%lld h %lld min", s / 3600, s / 60 % 60);
        else
                (void)nb_fmt(buf, HTML_SPAN_SIZE, "%lld d %lld h", s / 86400, s / 3600 % 24);
}

static void ago(int64_t ms, int64_t now_ms, char buf[HTML_SPAN_SIZE])
{
        long long s = (now_ms - ms) / 1000;

        if (s < 5)
                (void)nb_fmt(buf, HTML_SPAN_SIZE, "just now");
        else if (s < 60)
                (void)nb_fmt(buf, HTML_SPAN_SIZE, "%lld s ago", s);
        else if (s < 3600)
                (void)nb_fmt(buf, HTML_SPAN_SIZE, "%lld min ago", s / 60);
        else if (s < 2 * 86400)
                (void)nb_fmt(buf, HTML_SPAN_SIZE, "%lld h ago", s / 3600);
        else
                (void)nb_fmt(buf, HTML_SPAN_SIZE, "%lld days ago", s / 86400);
}

/* "2026-11-23 20:52:00 UTC" */
static void absolute(const char rfc3339[NB_RFC3339_SIZE], char buf[NB_RFC3339_SIZE])
{
        (void)nb_fmt(buf, NB_RFC3339_SIZE, "%.10s %.8s UTC", rfc3339, rfc3339 + 11);
}

static void put_time(struct nb_buf *b, int64_t ms, int64_t now_ms, bool both)
{
        char machine[NB_RFC3339_SIZE], people[NB_RFC3339_SIZE], since[HTML_SPAN_SIZE];

        if (ms == 0) {
                html(b, "–");
                return;
        }
        nb_rfc3339(ms, machine);
        absolute(machine, people);
        ago(ms, now_ms, since);
        if (both)
                html(b, "<time datetime=\"%s\">%s</time> <span class=\"dim\">(%s)</span>", machine,
                     people, since);
        else
                html(b, "<time datetime=\"%s\" title=\"%s\">%s</time>", machine, people, since);
}

void html_time(struct nb_buf *b, int64_t ms, int64_t now_ms)
{
        put_time(b, ms, now_ms, false);
}

void html_time_long(struct nb_buf *b, int64_t ms, int64_t now_ms)
{
        put_time(b, ms, now_ms, true);
}

void html_badge(struct nb_buf *b, const char *state)
{
        char text[32];

        (void)nb_fmt(text, sizeof(text), "%s", state);
        for (char *p = text; *p; p++)
                if (*p == '_')
                        *p = ' ';
        html(b, "<span class=\"badge %s\">%s</span>", state, text);
}

void html_top(struct nb_buf *b, const char *title, const struct web_crumb *crumbs, size_t n)
{
        const struct nb_embed *css = web_assets;
        char version[17];

        (void)nb_fmt(version, sizeof(version), "%s", css->sha256);
        html(b,
             "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
             "<meta name=\"color-scheme\" content=\"light dark\">\n"
             "<title>%s · nbcid</title>\n"
             "<link rel=\"stylesheet\" href=\"/assets/%s?v=%s\">\n"
             "<link rel=\"icon\" href=\"data:,\">\n</head>\n<body>\n"
             "<header><nav aria-label=\"Breadcrumb\"><ol>\n<li><a class=\"brand\" "
             "href=\"/\">nbcid</a></li>\n",
             title, css->name, version);
        for (size_t i = 0; i < n; i++) {
                if (crumbs[i].href)
                        html(b, "<li><a href=\"%s\">%s</a></li>\n", crumbs[i].href, crumbs[i].text);
                else
                        html(b, "<li><span aria-current=\"page\">%s</span></li>\n", crumbs[i].text);
        }
        html(b, "</ol></nav></header>\n<main>\n");
}

void html_bottom(struct nb_buf *b)
{
        html(b, "</main>\n</body>\n</html>\n");
}
