/* SPDX-License-Identifier: Apache-2.0 */

/*
 * valgrind-shim.c - the system calls that Debian 12's valgrind 3.19 does not
 * know, so that the unchanged daemon runs under it
 *
 * Preloaded into the daemon only: libc's syscall() with openat2 (walked part by
 * part without following links), pidfd_open (a pipe that a thread closes when
 * the process ends) and pidfd_send_signal.  All else goes to the kernel.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define FDS 4096

static pid_t pids[FDS]; /* of descriptors that pidfd_open() gave */

static int open_beneath(int dir, const char *path, const struct open_how *how)
{
        int fd = dir, next, last;
        char part[NAME_MAX + 1];

        if (*path == '/' && !(how->resolve & RESOLVE_BENEATH)) {
                fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
                path += strspn(path, "/");
        }
        for (;;) {
                size_t n = strcspn(path, "/");

                if (n == 0 || n > NAME_MAX || (n == 2 && strncmp(path, "..", 2) == 0)) {
                        errno = EXDEV;
                        next = -1;
                } else {
                        memcpy(part, path, n);
                        part[n] = '\0';
                        path += n;
                        path += strspn(path, "/");
                        last = *path == '\0';
                        next = openat(fd, part,
                                      last ? (int)how->flags | O_NOFOLLOW
                                           : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                                      (mode_t)how->mode);
                }
                int saved = errno;
                if (fd != dir)
                        close(fd);
                errno = saved;
                if (next < 0 || *path == '\0')
                        return next;
                fd = next;
        }
}

struct watched {
        pid_t pid;
        int fd;
};

static void *watch(void *arg)
{
        struct watched w = *(struct watched *)arg;
        siginfo_t si;

        free(arg);
        /* A child is waited for and left to be reaped; others are looked at. */
        if (waitid(P_PID, (id_t)w.pid, &si, WEXITED | WNOWAIT) < 0)
                while (kill(w.pid, 0) == 0)
                        nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
        close(w.fd);
        return NULL;
}

static int pidfd_open_(pid_t pid)
{
        struct watched *w = malloc(sizeof(*w));
        sigset_t all, old;
        pthread_t thread;
        int p[2];

        if (kill(pid, 0) < 0 || !w || pipe2(p, O_CLOEXEC) < 0) {
                free(w);
                return -1;
        }
        *w = (struct watched){pid, p[1]};
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, &old);
        if (pthread_create(&thread, NULL, watch, w) != 0)
                abort();
        pthread_detach(thread);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (p[0] < FDS)
                pids[p[0]] = pid;
        return p[0];
}

long syscall(long number, ...)
{
        static long (*real)(long, ...);
        long a[6];
        va_list ap;

        va_start(ap, number);
        for (int i = 0; i < 6; i++)
                a[i] = va_arg(ap, long);
        va_end(ap);
        if (number == SYS_openat2)
                return open_beneath((int)a[0], (const char *)a[1], (const struct open_how *)a[2]);
        if (number == SYS_pidfd_open)
                return pidfd_open_((pid_t)a[0]);
        if (number == SYS_pidfd_send_signal && a[0] >= 0 && a[0] < FDS && pids[a[0]])
                return kill(pids[a[0]], (int)a[1]);
        if (!real)
                *(void **)&real = dlsym(RTLD_NEXT, "syscall");
        return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
