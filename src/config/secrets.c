/* SPDX-License-Identifier: Apache-2.0 */
#include "parse.h"

#include <string.h>

#include <nbcid/str.h>

/* Where a secret's file is.  systemd.exec(5), LoadCredential=: the service
 * manager names the directory in the environment. */
static char *secret_path(const char *config_file, const char *name)
{
        const char *dir = getenv("CREDENTIALS_DIRECTORY");
        const char *slash = strrchr(config_file, '/');

        if (name[0] == '/')
                return nb_strdup(name);
        if (dir && *dir)
                return nb_asprintf("%s/%s", dir, name);
        if (slash)
                return nb_asprintf("%.*s/%s", (int)(slash - config_file), config_file, name);
        return nb_strdup(name);
}

void config_read_secrets(struct reader *r, struct nb_strv *files)
{
        for (size_t i = 0; i < r->n_secrets; i++) {
                const struct secret_ref *s = &r->secrets[i];
                nb_auto_free char *path = secret_path(r->file, s->text);
                const char *wrong = NULL;
                struct nb_err err;

                if (!path || nb_strv_add(files, path) < 0) {
                        r->nomem = true;
                        return;
                }
                if (nb_secret_read(path, s->target, &err) < 0) {
                        reader_refuse_key(r, s->table, s->key->name, s->line,
                                          "%s; a relative name is looked for in "
                                          "$CREDENTIALS_DIRECTORY, or else beside this file",
                                          err.msg);
                        continue;
                }
                if (s->key->check_secret)
                        wrong = s->key->check_secret(s->target);
                if (wrong)
                        reader_refuse_key(r, s->table, s->key->name, s->line, "%s: %s", path,
                                          wrong);
        }
}
