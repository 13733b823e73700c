/* SPDX-License-Identifier: Apache-2.0 */

/* env-report.c - in what a job ran, for whoever wants to run it again */

#include <fcntl.h>
#include <sys/utsname.h>

#include <nbcid/clock.h>
#include <nbcid/fs.h>
#include <nbcid/num.h>

#include "env-priv.h"

#define ASK_US (5 * NB_US_PER_S) /* for the packages of the default environment */

/* PRETTY_NAME of os-release(5), or "Linux". */
static char *os_name(void)
{
        static const char key[] = "PRETTY_NAME=";
        nb_auto_buf text = NB_BUF(64 * 1024);
        const char *p;

        if (nb_read_file(AT_FDCWD, "/etc/os-release", &text, NULL) < 0)
                return nb_strdup("Linux");
        p = nb_buf_str(&text);
        while (p && !nb_starts_with(p, key)) {
                p = strchr(p, '\n');
                p = p ? p + 1 : NULL;
        }
        if (!p)
                return nb_strdup("Linux");
        p += strlen(key);
        p += *p == '"';
        return nb_utf8_clean(p, strcspn(p, "\"\n"), true);
}

static void put_host(struct nb_json_out *o)
{
        nb_auto_free char *os = os_name();
        struct utsname u;

        nb_json_key(o, "host");
        nb_json_open_object(o);
        if (uname(&u) == 0) {
                nb_json_kv_str(o, "hostname", u.nodename);
                nb_json_kv_str(o, "os", os);
                nb_json_kv_str(o, "kernel", u.release);
                nb_json_kv_str(o, "machine", u.machine);
        }
        nb_json_kv_int(o, "cpus", sysconf(_SC_NPROCESSORS_ONLN));
        nb_json_close(o);
}

static void put_member(struct nb_json_out *o, const struct nb_json_tree *t, const char *key)
{
        const struct nb_json *v = t ? nb_json_get(nb_json_root(t), key) : NULL;

        if (!v)
                return;
        nb_json_key(o, key);
        nb_json_put_value(o, v);
}

static int write_report(const struct env_context *c, const struct env *e,
                        const struct nb_json_tree *found, struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(ENV_TEXT_MAX + 64 * 1024);
        struct nb_json_out o = NB_JSON_OUT(&text);
        const struct nb_json_tree *t = e->manifest ? e->manifest : found;

        nb_json_open_object(&o);
        if (!e->image)
                nb_json_kv_str(&o, "interpreter", e->dir ? e->kernel_python : c->python);
        put_member(&o, t, "version");
        put_member(&o, t, "platform");
        nb_json_kv_str(&o, "hash", e->key[0] ? e->key : NULL);
        put_member(&o, e->manifest, "builder");
        nb_json_key(&o, "lock");
        if (e->manifest)
                nb_json_put_value(&o, nb_json_get(nb_json_root(e->manifest), "lock"));
        else
                nb_json_put_bool(&o, false);
        nb_json_kv_bool(&o, "built", e->built);
        nb_json_kv_str(&o, "why", e->want.why);
        nb_json_kv_str(&o, "image", e->image);
        nb_json_kv_str(&o, "note", e->note);
        put_host(&o);
        put_member(&o, t, "packages");
        nb_json_close(&o);
        if (text.failed)
                return nb_fail(err, NB_E_LIMIT, "the environment has too many packages to tell");
        return nb_write_file(c->dir->fd, "environment.json", nb_buf_str(&text), text.len, 0600,
                             false, err);
}

/* What was frozen when the environment was built, or is installed beside the
 * executor's python. */
static int write_lock(const struct env_context *c, const struct env *e,
                      const struct nb_json_tree *found, struct nb_err *err)
{
        nb_auto_buf text = NB_BUF(ENV_TEXT_MAX);
        int r = 0;

        if (e->dir) {
                nb_auto_free char *path = nb_asprintf("%s.lock.txt", e->dir);

                if (!path)
                        return nb_fail(err, NB_E_NOMEM, "out of memory");
                r = nb_read_file(AT_FDCWD, path, &text, err);
        } else {
                const struct nb_json *lines = nb_json_get(nb_json_root(found), "lock");

                for (size_t i = 0; i < nb_json_size(lines); i++) {
                        const char *line = nb_json_str(nb_json_index(lines, i), NULL);

                        if (line && env_lock_line_valid(line))
                                nb_buf_printf(&text, "%s\n", line);
                }
        }
        return r < 0 ? r
                     : nb_write_file(c->dir->fd, "environment.lock", nb_buf_str(&text), text.len,
                                     0600, false, err);
}

void env_report_ask(const struct env_context *c, struct env *e)
{
        nb_auto_free char *script = nb_asprintf("%s/environment.py", c->dir->path);
        const char *const argv[] = {c->python, "-I", script, "packages", NULL};
        const char *const show[] = {script, NULL};
        NB_CLEANUP(nb_strv_done) struct nb_strv wrapped = {0};
        struct nb_err ignored;
        bool sandboxed;

        if (e->dir || e->image || !script || e->probe.fd >= 0)
                return;
        if (sandbox_wrap(&(struct sandbox_opts){.kind = c->opts->sandbox,
                                                .python = c->python,
                                                .hide = c->opts->hide,
                                                .show = show,
                                                .argv = argv},
                         &wrapped, &sandboxed, &ignored) == 0)
                (void)env_probe_start((const char *const *)wrapped.v, NULL, &e->probe, &ignored);
}

int env_report(const struct env_context *c, struct env *e, bool last, struct nb_err *err)
{
        static const struct nb_json_limits limits = {.bytes = ENV_TEXT_MAX, .depth = 4};
        NB_CLEANUP(nb_json_freep) struct nb_json_tree *found = NULL;
        nb_auto_buf said = NB_BUF(ENV_TEXT_MAX);
        int r = 0;

        if (last && e->probe.fd < 0)
                return 0; /* it is told already */
        if (last)
                r = env_probe_finish(&e->probe, ASK_US, &said, err);
        if (r > 0)
                r = nb_fail(err, NB_E_INVALID, "who was asked ended with status %d", r);
        env_probe_done(&e->probe);
        if (r == 0 && last)
                r = nb_json_read(nb_buf_str(&said), said.len, &limits, &found, NULL, err);
        if (r < 0)
                return nb_wrap(err, r, "packages of %s", c->python);
        r = write_report(c, e, found, err);
        if (r == 0 && (e->dir || found))
                r = write_lock(c, e, found, err);
        return r;
}
