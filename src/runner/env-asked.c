/* SPDX-License-Identifier: Apache-2.0 */

/*
 * env-asked.c - from what is asked for to the environment that has it
 *
 * An environment's key needs the version of an interpreter, and so a process
 * to ask it.  For those who only want to know what is there already, a small
 * file named by the words of the request says which key it led to last.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <nbcid/crypto.h>
#include <nbcid/fs.h>
#include <nbcid/sandbox.h>

#include "env-priv.h"

#define SUFFIX ".asked"
#define NAME_SIZE (ENV_KEY_SIZE + sizeof(SUFFIX))

static int asked_name(const char *python, const struct nb_environment *e, char ret[NAME_SIZE],
                      struct nb_err *err)
{
        const struct nb_environment what = {.requirements = e->requirements,
                                            .constraints = e->constraints,
                                            .conda = e->conda,
                                            .python = e->python};
        nb_auto_buf text = NB_BUF(NB_ENVIRONMENT_MAX + 8192);
        uint8_t hash[NB_SHA256_SIZE];
        char hex[ENV_KEY_SIZE];
        int r = nb_environment_write(&what, &text, err);

        if (r < 0)
                return r;
        if (nb_buf_puts(&text, python) < 0)
                return nb_fail(err, NB_E_LIMIT, "the path of an interpreter is too long");
        nb_sha256(nb_buf_str(&text), text.len, hash);
        nb_hex(hex, hash, sizeof(hash));
        (void)nb_fmt(ret, NAME_SIZE, "%s" SUFFIX, hex);
        return 0;
}

/* The key in that file; false: there is none. */
static bool read_key(int dir, const char *name, char ret[ENV_KEY_SIZE])
{
        nb_auto_buf text = NB_BUF(ENV_KEY_SIZE);

        if (nb_read_file(dir, name, &text, NULL) < 0 || text.len != ENV_KEY_SIZE - 1 ||
            strspn(nb_buf_str(&text), "0123456789abcdef") != ENV_KEY_SIZE - 1)
                return false;
        memcpy(ret, nb_buf_str(&text), ENV_KEY_SIZE);
        return true;
}

void env_asked_note(const struct env_store *s, const char *python,
                    const struct nb_environment *want, const char *key)
{
        char name[NAME_SIZE], now[ENV_KEY_SIZE];
        struct nb_err ignored; /* it only saves others a moment */

        if (asked_name(python, want, name, &ignored) == 0 &&
            !(read_key(s->fd, name, now) && nb_streq(now, key)))
                (void)nb_write_file(s->fd, name, key, strlen(key), 0600, false, &ignored);
}

void env_asked_sweep(const struct env_store *s)
{
        nb_auto_fd int fd = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

        if (d)
                (void)NB_TAKE_FD(fd);
        for (struct dirent *e; d && (e = readdir(d));) {
                char key[ENV_KEY_SIZE];

                if (nb_ends_with(e->d_name, SUFFIX) &&
                    !(read_key(s->fd, e->d_name, key) && faccessat(s->fd, key, F_OK, 0) == 0))
                        (void)unlinkat(s->fd, e->d_name, 0);
        }
        if (d)
                closedir(d);
}

int runner_environment_python(const char *dir, const char *python, const struct nb_environment *e,
                              char **ret, struct nb_err *err)
{
        nb_auto_free char *program = NULL, *found = NULL, *manifest = NULL;
        nb_auto_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char name[NAME_SIZE], key[ENV_KEY_SIZE];
        int r;

        if (fd < 0 || e->image || (!e->requirements && !e->conda && !e->python) ||
            sandbox_find_program(python, &program, NULL) < 0)
                return 0;
        r = asked_name(program, e, name, err);
        if (r < 0)
                return r;
        if (!read_key(fd, name, key))
                return 0;
        manifest = env_store_name(key, ".json"); /* written when it was whole */
        found = nb_asprintf("%s/%s/bin/python", dir, key);
        if (!manifest || !found)
                return nb_fail(err, NB_E_NOMEM, "out of memory");
        if (faccessat(fd, manifest, F_OK, 0) < 0 || access(found, X_OK) < 0)
                return 0;
        *ret = NB_TAKE(found);
        return 1;
}
