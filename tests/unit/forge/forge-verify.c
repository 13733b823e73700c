/* SPDX-License-Identifier: Apache-2.0 */

/*
 * forge-verify KIND SECRET - what room forge makes of deliveries
 *
 * Standard input is records: a line "HEAD BODY" with the bytes of each, then
 * HEAD bytes of lines "Name: value", then the body.  Each is answered by one
 * line of fields with tabs between them:
 *
 *         event KIND REPOSITORY REF BEFORE AFTER DELIVERY-ID
 *         ignored WHY
 *         denied WHY
 *         malformed WHY
 *
 * For tests that speak to it from other languages.  Exit status 0, or 2 when
 * the input is not such records.
 */

#include <stdio.h>

#include <nbcid/forge.h>
#include <nbcid/mem.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#define PART_MAX ((uint64_t)64 << 20)
#define MAX_HEADERS 64

/* "HEAD BODY\n"; 1, 0 at the end of the input, -1 when it is something else. */
static int read_sizes(size_t *ret_head, size_t *ret_body)
{
        char line[64], *space;
        uint64_t head, body;

        if (!fgets(line, sizeof(line), stdin))
                return ferror(stdin) ? -1 : 0;
        line[strcspn(line, "\n")] = '\0';
        space = strchr(line, ' ');
        if (!space)
                return -1;
        *space = '\0';
        if (nb_parse_u64(line, 0, PART_MAX, &head, NULL) < 0 ||
            nb_parse_u64(space + 1, 0, PART_MAX, &body, NULL) < 0)
                return -1;
        *ret_head = (size_t)head;
        *ret_body = (size_t)body;
        return 1;
}

/* Owned, NUL-terminated; NULL when the input ends before. */
static char *read_part(size_t n)
{
        nb_auto_free char *p = malloc(n + 1);

        if (!p || fread(p, 1, n, stdin) != n)
                return NULL;
        p[n] = '\0';
        return NB_TAKE(p);
}

/* Cut head up into headers. */
static int split_head(char *head, struct http_header *headers, size_t *ret_n)
{
        char *line;
        size_t n = 0;

        while ((line = strsep(&head, "\n"))) {
                char *colon = strstr(line, ": ");
                if (!line[0])
                        continue;
                if (!colon || n == MAX_HEADERS)
                        return -1;
                *colon = '\0';
                headers[n++] = (struct http_header){line, colon + 2};
        }
        *ret_n = n;
        return 0;
}

static void answer(const struct config_forge *f, const struct http_in *in)
{
        const struct forge_ops *ops = forge_ops_of(f->kind);
        NB_CLEANUP(forge_event_done) struct forge_event e = {0};
        nb_auto_free char *id = NULL;
        struct nb_err err;
        int r;

        if (ops->authenticate(f, in, 0, &err) < 0) {
                printf("denied\t%s\n", err.msg);
                return;
        }
        r = ops->parse_event(in, &e, &err);
        if (r < 0 || ops->delivery_id(in, &id, &err) < 0)
                printf("malformed\t%s\n", err.msg);
        else if (r == 0)
                printf("ignored\t%s\n", e.ignored);
        else
                printf("event\t%s\t%s\t%s\t%s\t%s\t%s\n",
                       e.event.kind == EVENT_TAG ? "tag" : "branch", e.event.repository,
                       e.event.ref, e.event.before, e.event.after, id);
}

static int answer_record(const struct config_forge *f)
{
        struct http_header headers[MAX_HEADERS];
        struct http_in in = {.method = "POST", .path = "/hooks/x", .headers = headers};
        nb_auto_free char *head = NULL, *body = NULL;
        size_t n_head;
        int r = read_sizes(&n_head, &in.n_body);

        if (r <= 0)
                return r;
        head = read_part(n_head);
        body = head ? read_part(in.n_body) : NULL;
        if (!body || split_head(head, headers, &in.n_headers) < 0)
                return -1;
        in.body = body;
        answer(f, &in);
        return 1;
}

int main(int argc, char **argv)
{
        struct config_forge f = {.kind = FORGE_KIND__COUNT};
        int r;

        for (int k = 0; argc == 3 && k < FORGE_KIND__COUNT; k++)
                if (nb_streq(forge_ops_of((enum forge_kind)k)->name, argv[1]))
                        f.kind = (enum forge_kind)k;
        if (f.kind == FORGE_KIND__COUNT) {
                fprintf(stderr, "usage: forge-verify KIND SECRET <records\n");
                return 2;
        }
        f.name = argv[1];
        f.secrets[0] = (struct nb_secret){argv[2], strlen(argv[2])};
        do
                r = answer_record(&f);
        while (r > 0);
        if (r < 0)
                fprintf(stderr, "forge-verify: the input is not records\n");
        return r < 0 || fflush(stdout) != 0 ? 2 : 0;
}
