/* SPDX-License-Identifier: Apache-2.0 */
#include <nbcid/spawn.h>

#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>

#include <nbcid/mem.h>

struct spawn {
        posix_spawn_file_actions_t files;
        posix_spawnattr_t attr;
        bool ready;
};

static void spawn_done(struct spawn *s)
{
        if (!s->ready)
                return;
        posix_spawn_file_actions_destroy(&s->files);
        posix_spawnattr_destroy(&s->attr);
}

/* Answers an errno, as posix_spawn() does. */
static int spawn_init(struct spawn *s, const int fds[3])
{
        sigset_t none, all;
        int r = posix_spawn_file_actions_init(&s->files);

        if (r)
                return r;
        r = posix_spawnattr_init(&s->attr);
        if (r) {
                posix_spawn_file_actions_destroy(&s->files);
                return r;
        }
        s->ready = true;
        sigemptyset(&none);
        sigfillset(&all);
        for (int i = 0; r == 0 && i < 3; i++)
                r = posix_spawn_file_actions_adddup2(&s->files, fds[i], i);
        if (r == 0)
                r = posix_spawn_file_actions_addclosefrom_np(&s->files, 3);
        if (r == 0)
                r = posix_spawn_file_actions_addchdir_np(&s->files, "/");
        if (r == 0)
                r = posix_spawnattr_setflags(&s->attr, POSIX_SPAWN_SETPGROUP |
                                                               POSIX_SPAWN_SETSIGMASK |
                                                               POSIX_SPAWN_SETSIGDEF);
        if (r == 0)
                r = posix_spawnattr_setpgroup(&s->attr, 0);
        if (r == 0)
                r = posix_spawnattr_setsigmask(&s->attr, &none);
        return r ? r : posix_spawnattr_setsigdefault(&s->attr, &all);
}

int nb_spawn_self(const char *what, char *const argv[], char *const env[], const int fds[3],
                  pid_t *ret, struct nb_err *err)
{
        const char *self = secure_getenv("NBCID_SELF");
        NB_CLEANUP(spawn_done) struct spawn s = {.ready = false};
        pid_t pid;
        int r;

        if (!self || !*self)
                self = "/proc/self/exe"; /* also right when the file was replaced by an upgrade */
        r = spawn_init(&s, fds);
        if (r == 0)
                r = posix_spawn(&pid, self, &s.files, &s.attr, argv, env);
        if (r != 0)
                return nb_fail_detail(err, NB_E_IO, r, "cannot start the %s %s: %s", what, self,
                                      strerrordesc_np(r));
        *ret = pid;
        return 0;
}
