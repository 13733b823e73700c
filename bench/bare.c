/* SPDX-License-Identifier: Apache-2.0 */

/* bare.c - the least that libmicrohttpd can do: read a body, check its HMAC,
 * answer 202.  Nothing is stored: the limit that intake is measured against. */

#include <microhttpd.h>
#include <signal.h>

#include <nbcid/buf.h>
#include <nbcid/crypto.h>
#include <nbcid/num.h>
#include <nbcid/str.h>

#define SECRET "bench-secret"

static enum MHD_Result answer(void *arg, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *data, size_t *n,
                              void **state)
{
        struct nb_buf *b = *state;
        struct MHD_Response *r;
        enum MHD_Result queued;
        uint8_t mac[NB_SHA256_SIZE];
        char want[72] = "sha256=";
        const char *given;
        bool good;

        if (!b) {
                *state = b = calloc(1, sizeof(*b));
                if (!b)
                        return MHD_NO;
                b->max = 1 << 20;
                return MHD_YES;
        }
        if (*n) {
                (void)nb_buf_append(b, data, *n);
                *n = 0;
                return MHD_YES;
        }
        nb_hmac_sha256(SECRET, strlen(SECRET), nb_buf_str(b), b->len, mac);
        nb_hex(want + 7, mac, sizeof(mac));
        given = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "X-Hub-Signature-256");
        good = given && nb_ct_streq(want, strlen(want), given, strlen(given));
        nb_buf_done(b);
        free(b);
        *state = NULL;
        r = MHD_create_response_from_buffer(14, (void *)(uintptr_t) "{\"build\": 17}\n",
                                            MHD_RESPMEM_PERSISTENT);
        queued = MHD_queue_response(c, good ? 202 : 401, r);
        MHD_destroy_response(r);
        return queued;
}

int main(void)
{
        struct MHD_Daemon *d = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL,
                                                answer, NULL, MHD_OPTION_END);
        sigset_t set;
        int sig;

        if (!d)
                return 1;
        printf("port %d\n", MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT)->port);
        fflush(stdout);
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        (void)sigwait(&set, &sig);
        MHD_stop_daemon(d);
        return 0;
}
