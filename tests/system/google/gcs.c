/* SPDX-License-Identifier: Apache-2.0 */

/*
 * gcs: the rooms gcp and blob by hand, for tests against the stand-in for
 * Google Cloud and for measuring.
 *
 *   gcs --credentials FILE|metadata --token-url URL --metadata-host HOST --url BASE
 *       [--ahead SECONDS] [--ca FILE] COMMAND ...
 *
 *   token                            print a new token
 *   put GS-URL FILE [GENERATION]     -1: whatever is there (default 0: create only)
 *   tree GS-URL DIR
 *   get GS-URL FILE [GENERATION [MAX]]
 *   stat GS-URL
 *   list GS-URL [MAX]
 *   delete GS-URL [GENERATION]
 *   bucket NAME [PROJECT LOCATION]
 *   many GS-URL FILE COUNT PARALLEL  put the file COUNT times, so many at the same time
 *
 * Prints one line for each object, and last "ok", or "error CLASS: why".  With
 * GCS_USAGE in the environment, also seconds and peak memory.
 */

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/resource.h>

#include <nbcid/blob.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

struct tool {
        struct loop *loop;
        struct httpc *httpc;
        struct gcp *gcp;
        struct blob *blob;
        struct nb_clock clock;
        int64_t ahead_ms;
        bool failed;
        /* many */
        const char *prefix;
        int fd;
        uint64_t count, begun, ended, parallel;
};

static int64_t now_ms(void *arg)
{
        return nb_now_ms(&nb_clock_real) + ((struct tool *)arg)->ahead_ms;
}

static uint64_t mono_us(void *arg)
{
        return nb_mono_us(&nb_clock_real);
}

static void end(struct tool *t, const struct nb_err *err)
{
        if (err)
                printf("error %s: %s\n", nb_errc_policy(err->code)->name, err->msg);
        else
                printf("ok\n");
        t->failed = err != NULL;
        loop_exit(t->loop);
}

static void say(void *arg, const struct blob_object *o)
{
        printf("%s %lld %llu\n", o->name, (long long)o->generation, (unsigned long long)o->size);
}

static void on_done(void *arg, const struct blob_object *o, const struct nb_err *err)
{
        if (o)
                say(arg, o);
        end(arg, err);
}

static void on_token(void *arg, const char *token, const struct nb_err *err)
{
        if (token)
                printf("%s\n", token);
        end(arg, err);
}

static int put_more(struct tool *t, struct nb_err *err);

static void on_one(void *arg, const struct blob_object *o, const struct nb_err *err)
{
        struct tool *t = arg;
        struct nb_err why;

        t->ended++;
        if (t->failed)
                return;
        if (err)
                end(t, err);
        else if (t->ended == t->count)
                end(t, NULL);
        else if (put_more(t, &why) < 0)
                end(t, &why);
}

static int put_more(struct tool *t, struct nb_err *err)
{
        while (t->begun < t->count && t->begun - t->ended < t->parallel) {
                nb_auto_free char *url =
                        nb_asprintf("%s/%llu.ipynb", t->prefix, (unsigned long long)t->begun);
                const struct blob_put put = {.url = url};
                struct blob_op *op;
                int r = blob_put_file(t->blob, &put, t->fd, on_one, t, &op, err);

                if (r < 0)
                        return r;
                t->begun++;
        }
        return 0;
}

static int64_t number(const char *s, int64_t otherwise)
{
        int64_t v = otherwise;

        if (s && nb_parse_i64(s, INT64_MIN, INT64_MAX, &v, NULL) < 0)
                v = otherwise;
        return v;
}

static int transfer(struct tool *t, char **a, struct nb_err *err)
{
        bool get = nb_streq(a[0], "get");
        struct blob_op *op;
        struct blob_put put = {.url = a[1]};
        nb_auto_fd int fd =
                open(a[2], get ? O_RDWR | O_CREAT | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0600);

        if (fd < 0)
                return nb_fail(err, NB_E_IO, "cannot open %s", a[2]);
        if (get)
                return blob_get_file(t->blob, a[1], number(a[3], 0),
                                     (uint64_t)(a[3] ? number(a[4], INT64_MAX) : INT64_MAX), fd,
                                     on_done, t, &op, err);
        if (nb_streq(a[0], "put")) {
                put.if_generation = number(a[3], 0);
                return blob_put_file(t->blob, &put, fd, on_done, t, &op, err);
        }
        t->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        t->prefix = a[1];
        t->count = (uint64_t)number(a[3], 1);
        t->parallel = (uint64_t)(a[3] ? number(a[4], 1) : 1);
        return put_more(t, err);
}

static int begin(struct tool *t, int n, char **a, struct nb_err *err)
{
        struct gcp_token_wait *wait;
        struct blob_op *op;
        const struct blob_put create = {.url = n > 1 ? a[1] : NULL};

        if (nb_streq(a[0], "token"))
                return gcp_token_get(t->gcp, on_token, t, &wait, err);
        if (n > 2 && (nb_streq(a[0], "put") || nb_streq(a[0], "get") || nb_streq(a[0], "many")))
                return transfer(t, a, err);
        if (n > 2 && nb_streq(a[0], "tree"))
                return blob_put_tree(t->blob, &create, a[2], on_done, t, &op, err);
        if (n > 1 && nb_streq(a[0], "stat"))
                return blob_stat(t->blob, a[1], on_done, t, &op, err);
        if (n > 1 && nb_streq(a[0], "list"))
                return blob_list(t->blob, a[1], (unsigned)number(a[2], 10000), say, on_done, t, &op,
                                 err);
        if (n > 1 && nb_streq(a[0], "delete"))
                return blob_delete(t->blob, a[1], number(a[2], 0), on_done, t, &op, err);
        if (n > 1 && nb_streq(a[0], "bucket"))
                return blob_bucket(t->blob, a[1], a[2], a[2] ? a[3] : NULL, on_done, t, &op, err);
        return nb_fail(err, NB_E_INVALID, "no such command, or too few words");
}

static int set_up(struct tool *t, int argc, char **argv, struct nb_err *err)
{
        static const struct option options[] = {{"credentials", required_argument, NULL, 'c'},
                                                {"token-url", required_argument, NULL, 't'},
                                                {"metadata-host", required_argument, NULL, 'm'},
                                                {"url", required_argument, NULL, 'u'},
                                                {"ahead", required_argument, NULL, 'a'},
                                                {"ca", required_argument, NULL, 'C'},
                                                {0}};
        struct httpc_opts h = {.multiplex = true};
        struct gcp_opts g = {.clock = &t->clock, .backoff_us = 10 * NB_US_PER_MS};
        struct blob_opts b = {.backoff_us = 10 * NB_US_PER_MS};
        int o, r;

        while ((o = getopt_long(argc, argv, "+", options, NULL)) >= 0) {
                if (o == 'c')
                        g.credentials = nb_streq(optarg, "metadata") ? NULL : optarg;
                else if (o == 't')
                        g.token_url = optarg;
                else if (o == 'm')
                        g.metadata_host = optarg;
                else if (o == 'u')
                        b.url = optarg;
                else if (o == 'C')
                        h.ca_file = optarg;
                else if (o == 'a')
                        t->ahead_ms = number(optarg, 0) * 1000;
        }
        if (optind >= argc)
                return nb_fail(err, NB_E_INVALID, "no command");
        t->clock = (struct nb_clock){now_ms, mono_us, t};
        r = loop_new(4, &t->loop, err);
        if (r == 0)
                r = httpc_curl_new(t->loop, &h, &t->httpc, err);
        g.loop = b.loop = t->loop;
        g.httpc = t->httpc;
        if (r == 0)
                r = gcp_new(&g, &t->gcp, err);
        b.gcp = t->gcp;
        if (r == 0)
                r = blob_new(&b, &t->blob, err);
        return r;
}

int main(int argc, char **argv)
{
        struct tool t = {.fd = -1};
        struct rusage usage;
        struct nb_err err;
        uint64_t t0 = nb_mono_us(&nb_clock_real);
        int r;

        setvbuf(stdout, NULL, _IOLBF, 0);
        signal(SIGPIPE, SIG_IGN);
        r = set_up(&t, argc, argv, &err);
        if (r == 0)
                r = begin(&t, argc - optind, argv + optind, &err);
        if (r == 0)
                r = loop_run(t.loop, &err);
        if (r < 0) {
                printf("error %s: %s\n", nb_errc_policy(err.code)->name, err.msg);
                return 1;
        }
        if (getenv("GCS_USAGE") && getrusage(RUSAGE_SELF, &usage) == 0)
                printf("%.2f s, %.2f s of CPU, %ld KiB at most\n",
                       (double)(nb_mono_us(&nb_clock_real) - t0) / 1e6,
                       (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
                       usage.ru_maxrss);
        if (t.ended < t.begun)
                return 1; /* others are still on their way */
        nb_closep(&t.fd);
        blob_free(t.blob);
        gcp_free(t.gcp);
        httpc_free(t.httpc);
        loop_free(t.loop);
        return t.failed ? 1 : 0;
}
