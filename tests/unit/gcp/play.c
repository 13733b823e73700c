/* SPDX-License-Identifier: Apache-2.0 */

/* play.c - what a server of Google answers to tests, see play.h */

#include <time.h>

#include <nbcid/mem.h>
#include <nbcid/str.h>

#include "play.h"

static void say_date(const struct play *p, char *buf, size_t size)
{
        time_t t = time(NULL) + p->date_off_s;
        struct tm tm;

        gmtime_r(&t, &tm);
        strftime(buf, size, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
}

static void play_token(struct play *p, const struct web_request *r, struct nb_buf *out)
{
        nb_auto_free char *answer = NULL;
        char date[64];

        p->asked_tokens++;
        (void)nb_fmt(p->form, sizeof(p->form), "%.*s", (int)r->n_body, r->body);
        say_date(p, date, sizeof(date));
        if (p->fail_tokens > 0) {
                p->fail_tokens--;
                web_answer(out, 503, date, "");
        } else if (p->refuse) {
                web_answer(out, 400, date, p->refuse);
        } else {
                answer = nb_asprintf("{\"access_token\":\"tok-%d\",\"expires_in\":\"%d\","
                                     "\"token_type\":\"Bearer\"}",
                                     ++p->tokens, p->expires_in ? p->expires_in : 3599);
                web_answer(out, 200, p->no_flavor ? "" : "Metadata-Flavor: Google\r\n", answer);
        }
}

static void play_call(struct play *p, const struct web_request *r, struct nb_buf *out)
{
        nb_auto_free char *want = nb_asprintf("Bearer tok-%d", p->tokens);

        p->asked_calls++;
        web_header(r, "Authorization", p->auth, sizeof(p->auth));
        web_header(r, "X-Goog-User-Project", p->user_project, sizeof(p->user_project));
        (void)nb_fmt(p->body, sizeof(p->body), "%.*s", (int)r->n_body, r->body);
        if (p->fail_calls > 0) {
                p->fail_calls--;
                if (p->fail_status)
                        web_answer(out, p->fail_status, p->fail_headers ? p->fail_headers : "",
                                   "{\"error\":{\"message\":\"later\"}}");
                return;
        }
        if (p->every_401 || !nb_streq(p->auth, want))
                web_answer(out, 401, "", "{\"error\":{\"status\":\"UNAUTHENTICATED\"}}");
        else
                web_answer(out, 200, "X-Seen: yes\r\n", "{\"ok\":true}");
}

void play_serve(void *arg, const struct web_request *r, struct nb_buf *out)
{
        struct play *p = arg;
        nb_auto_free char *answer = NULL;
        char date[32];
        time_t end = time(NULL) + 1800;
        struct tm tm;

        if (nb_streq(r->target, "/token") || nb_starts_with(r->target, "/computeMetadata/")) {
                play_token(p, r, out);
        } else if (nb_streq(r->target, "/subject")) {
                web_header(r, "X-Subject", p->subject_header, sizeof(p->subject_header));
                web_answer(out, 200, "", "{\"value\":\"from-url\"}");
        } else if (nb_streq(r->target, "/impersonate")) {
                web_header(r, "Authorization", p->auth, sizeof(p->auth));
                (void)nb_fmt(p->body, sizeof(p->body), "%.*s", (int)r->n_body, r->body);
                gmtime_r(&end, &tm);
                strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
                answer = nb_asprintf("{\"accessToken\":\"imp\",\"expireTime\":\"%s\"}", date);
                web_answer(out, 200, "", answer);
        } else if (nb_starts_with(r->target, "/v1/projects/p/operations/")) {
                web_answer(out, 200, "",
                           ++p->looked >= p->done_after ? p->operation_end : "{\"name\":\"x\"}");
        } else {
                play_call(p, r, out);
        }
}
