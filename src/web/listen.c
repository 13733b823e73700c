/* SPDX-License-Identifier: Apache-2.0 */

/* listen.c - the listening socket */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <nbcid/num.h>
#include <nbcid/str.h>

#include "web-priv.h"

#define BACKLOG 1024

static int listen_on(int fd, const void *addr, socklen_t n, const char *spec, struct nb_err *err)
{
        if (bind(fd, addr, n) < 0)
                return nb_fail_errno(err, errno, "cannot bind to %s", spec);
        if (listen(fd, BACKLOG) < 0)
                return nb_fail_errno(err, errno, "cannot listen on %s", spec);
        return 0;
}

/* Does somebody listen at that path? */
static bool answered(const struct sockaddr_un *un)
{
        nb_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        /* EAGAIN: its queue is full, so it lives */
        return fd >= 0 && (connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 ||
                           errno == EAGAIN || errno == EINPROGRESS);
}

static int open_unix(const char *path, struct web_listener *l, struct nb_err *err)
{
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        struct stat st;
        int r;

        if (!nb_fmt(un.sun_path, sizeof(un.sun_path), "%s", path))
                return nb_fail(err, NB_E_INVALID, "the path of the socket %s is too long", path);
        if (lstat(path, &st) == 0) {
                if (!S_ISSOCK(st.st_mode))
                        return nb_fail(err, NB_E_CONFLICT, "%s exists and is no socket", path);
                if (answered(&un))
                        return nb_fail(err, NB_E_CONFLICT, "another process listens on unix:%s",
                                       path);
                if (unlink(path) < 0 && errno != ENOENT)
                        return nb_fail_errno(err, errno, "cannot remove the stale socket %s", path);
        }
        l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (l->fd < 0)
                return nb_fail_errno(err, errno, "cannot make a socket");
        /* bind() gives the socket the mode of its descriptor less the umask, so
         * there is no moment in which others may connect. */
        if (fchmod(l->fd, 0660) < 0)
                return nb_fail_errno(err, errno, "cannot set the mode of %s", path);
        r = listen_on(l->fd, &un, sizeof(un), path, err);
        if (r < 0)
                return r;
        l->unlink = nb_strdup(path);
        if (!l->unlink)
                return nb_fail(err, NB_E_NOMEM, "memory is out");
        if (chmod(path, 0660) < 0)
                return nb_fail_errno(err, errno, "cannot set the mode of %s", path);
        return 0;
}

union any_address {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
};

/* "127.0.0.1:80", "[::1]:80" */
static bool parse_address(const char *spec, union any_address *a, socklen_t *n)
{
        const char *colon = strrchr(spec, ':');
        char host[INET6_ADDRSTRLEN + 2];
        uint64_t port;

        *a = (union any_address){0};
        if (!colon || nb_parse_u64(colon + 1, 0, UINT16_MAX, &port, NULL) < 0 ||
            !nb_fmt(host, sizeof(host), "%.*s", (int)(colon - spec), spec))
                return false;
        if (host[0] == '[' && nb_ends_with(host, "]")) {
                host[strlen(host) - 1] = '\0';
                a->in6.sin6_family = AF_INET6;
                a->in6.sin6_port = htons((uint16_t)port);
                *n = sizeof(a->in6);
                return inet_pton(AF_INET6, host + 1, &a->in6.sin6_addr) == 1;
        }
        a->in.sin_family = AF_INET;
        a->in.sin_port = htons((uint16_t)port);
        *n = sizeof(a->in);
        return inet_pton(AF_INET, host, &a->in.sin_addr) == 1;
}

static int open_inet(const char *spec, struct web_listener *l, struct nb_err *err)
{
        union any_address a;
        const int on = 1;
        socklen_t n;

        if (!parse_address(spec, &a, &n))
                return nb_fail(err, NB_E_INVALID,
                               "listen address %s: write \"127.0.0.1:8080\", \"[::1]:8080\" or "
                               "\"unix:/run/nbcid/http.sock\"",
                               spec);
        l->fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (l->fd < 0 || setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
                return nb_fail_errno(err, errno, "cannot make a socket for %s", spec);
        return listen_on(l->fd, &a, n, spec, err);
}

/* Where it really listens. */
static int find_address(struct web_listener *l, struct nb_err *err)
{
        union any_address a = {0};
        socklen_t n = sizeof(a);
        char host[INET6_ADDRSTRLEN] = "";

        if (getsockname(l->fd, &a.any, &n) < 0)
                return nb_fail_errno(err, errno, "the listening socket has no address");
        switch (a.any.sa_family) {
        case AF_UNIX:
                l->unix_socket = true;
                l->address = nb_asprintf("unix:%.*s", (int)sizeof(a.un.sun_path), a.un.sun_path);
                break;
        case AF_INET:
                (void)inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof(host));
                l->address = nb_asprintf("%s:%u", host, ntohs(a.in.sin_port));
                break;
        case AF_INET6:
                (void)inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof(host));
                l->address = nb_asprintf("[%s]:%u", host, ntohs(a.in6.sin6_port));
                break;
        default:
                return nb_fail(err, NB_E_INVALID, "the passed socket is of an unknown kind");
        }
        return l->address ? 0 : nb_fail(err, NB_E_NOMEM, "memory is out");
}

/* A passed socket comes as it likes. */
static int adopt(int fd, struct nb_err *err)
{
        int flags = fcntl(fd, F_GETFL), on = 0;
        socklen_t n = sizeof(on);

        if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &n) < 0 || !on)
                return nb_fail(err, NB_E_INVALID, "the passed descriptor is no listening socket");
        if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return nb_fail_errno(err, errno, "cannot prepare the passed socket");
        return 0;
}

int listener_open(const char *spec, int fd, struct web_listener *ret, struct nb_err *err)
{
        struct web_listener l = {.fd = fd};
        int r;

        if (fd >= 0)
                r = adopt(fd, err);
        else if (nb_starts_with(spec, "unix:"))
                r = open_unix(spec + strlen("unix:"), &l, err);
        else
                r = open_inet(spec, &l, err);
        if (r == 0)
                r = find_address(&l, err);
        if (r < 0) {
                listener_done(&l);
                return r;
        }
        *ret = l;
        return 0;
}

void listener_done(struct web_listener *l)
{
        nb_closep(&l->fd);
        if (l->unlink)
                (void)unlink(l->unlink);
        free(l->unlink);
        free(l->address);
        *l = (struct web_listener){.fd = -1};
}
