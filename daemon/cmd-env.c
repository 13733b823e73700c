/* SPDX-License-Identifier: Apache-2.0 */

/* cmd-env.c - `nbcid env NOTEBOOK...`: what it needs to be run again */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <nbcid/fs.h>
#include <nbcid/log.h>
#include <nbcid/notebook.h>
#include <nbcid/str.h>

#include "app.h"

#define NOTEBOOK_MAX ((size_t)512 * 1024 * 1024)
#define OUTPUT_MAX ((size_t)64 * 1024 * 1024)

static void env_help(FILE *f)
{
        fputs("Usage: nbcid env [OPTION...] NOTEBOOK...\n"
              "\n"
              "Print what each notebook needs to be run again: interpreter, kernel, and the\n"
              "packages that metadata.requirements lists or, without that, its cells import.\n"
              "Nothing of a notebook is run.\n"
              "\n"
              "      --write          store it in the notebook, as metadata.environment and\n"
              "                       metadata.requirements; no other byte changes\n"
              "      --python PYTHON  interpreter whose packages count (default: that of the\n"
              "                       notebook's kernel, else python3)\n"
              "      --format FORMAT  text (default) or json\n"
              "\n"
              "Exit status: 0 fine, 1 something could not be found out, 2 wrong usage.\n",
              f);
}

struct env_opts {
        const char *python;
        bool write, json;
};

struct subject { /* texts owned */
        const char *name;
        char *path; /* absolute, without links: what is written is the notebook itself */
        struct stat st;
        struct nb_buf text;
        struct nb_json_tree *found;
        const char *said; /* static: what became of --write; or NULL */
};

static void subject_done(struct subject *s)
{
        free(s->path);
        nb_buf_done(&s->text);
        nb_json_free(s->found);
}

static int subject_read(struct subject *s, const struct env_opts *o, struct nb_err *err)
{
        struct notebook_head head;
        int r;

        s->path = realpath(s->name, NULL);
        if (!s->path || stat(s->path, &s->st) < 0)
                return nb_fail_errno(err, errno, "%s", s->name);
        r = nb_read_file(AT_FDCWD, s->path, &s->text, err);
        if (r == 0)
                r = notebook_read_head(s->name, nb_buf_str(&s->text), s->text.len, NOTEBOOK_MAX,
                                       &head, err);
        if (r < 0)
                return r;
        notebook_head_done(&head);
        r = env_look(o->python, s->path, &s->found, err);
        return r < 0 ? nb_wrap(err, r, "%s", s->name) : 0;
}

/* ---- --write ---- */

/* metadata.KEY becomes what was found.  1: it was so. */
static int set(struct subject *s, const char *key, const char *member, struct nb_err *err)
{
        nb_auto_buf json = NB_BUF(NOTEBOOK_EDIT_MAX);
        nb_auto_buf to = NB_BUF(NOTEBOOK_MAX);
        struct nb_json_out out = NB_JSON_OUT(&json);
        struct nb_buf swap;
        int r;

        nb_json_put_value(&out, nb_json_get(nb_json_root(s->found), member));
        if (json.failed)
                return nb_fail(err, NB_E_LIMIT, "%s: metadata.%s is too long", s->name, key);
        r = notebook_set_metadata(s->name, nb_buf_str(&s->text), s->text.len, key,
                                  nb_buf_str(&json), &to, err);
        if (r < 0)
                return r;
        swap = s->text;
        s->text = to;
        to = swap;
        return r;
}

static int put_back(const struct subject *s, struct nb_err *err)
{
        struct notebook_head head;
        struct stat now;
        int r = notebook_read_head(s->name, nb_buf_str(&s->text), s->text.len, NOTEBOOK_MAX, &head,
                                   err);

        if (r < 0) /* what would be written, we ourselves could not read */
                return r;
        notebook_head_done(&head);
        if (stat(s->path, &now) < 0)
                return nb_fail_errno(err, errno, "%s", s->path);
        if (now.st_ino != s->st.st_ino || now.st_size != s->st.st_size ||
            now.st_mtim.tv_sec != s->st.st_mtim.tv_sec ||
            now.st_mtim.tv_nsec != s->st.st_mtim.tv_nsec)
                return nb_fail(err, NB_E_CONFLICT, "%s has changed meanwhile; try again", s->name);
        r = nb_write_file(AT_FDCWD, s->path, nb_buf_str(&s->text), s->text.len,
                          s->st.st_mode & 07777, true, err);
        /* Root writes the files of others, and they stay theirs. */
        if (r == 0 && geteuid() == 0 && (s->st.st_uid != 0 || s->st.st_gid != getegid()) &&
            chown(s->path, s->st.st_uid, s->st.st_gid) < 0)
                r = nb_fail_errno(err, errno, "chown %s", s->path);
        return r;
}

static int subject_write(struct subject *s, struct nb_err *err)
{
        const struct nb_json *found = nb_json_root(s->found);
        const char *source = nb_json_str(nb_json_get(found, "source"), NULL);
        int r, same;

        if (nb_json_size(nb_json_get(found, "unresolved")) > 0) {
                s->said = "not written, since not all is known";
                return 0;
        }
        same = set(s, "environment", "environment", err);
        if (same < 0)
                return same;
        /* Whoever reads an empty list takes it for not said. */
        if (nb_streq(source, "imports") && nb_json_size(nb_json_get(found, "requirements")) > 0) {
                r = set(s, "requirements", "requirements", err);
                if (r < 0)
                        return r;
                same = same && r;
        }
        s->said = same ? "says so already" : "written";
        return same ? 0 : put_back(s, err);
}

/* ---- what is said ---- */

static void say(struct nb_buf *b, const char *label, const char *text, const char *more)
{
        nb_auto_free char *t = nb_utf8_clean(text, strlen(text), true);
        nb_auto_free char *m = more ? nb_utf8_clean(more, strlen(more), true) : NULL;

        (void)nb_buf_printf(b, "  %-13s %s%s%s%s\n", label, t ? t : "", m ? " (" : "", m ? m : "",
                            m ? ")" : "");
}

static const char *text_of(const struct nb_json *v, const char *key, const char *otherwise)
{
        const char *s = nb_json_str(nb_json_get(v, key), NULL);

        return s ? s : otherwise;
}

static void say_text(const struct subject *s, struct nb_buf *b)
{
        const struct nb_json *found = nb_json_root(s->found), *v;
        const struct nb_json *python = nb_json_get(found, "interpreter");
        const struct nb_json *kernel = nb_json_get(found, "kernel");
        nb_auto_free char *interpreter = nb_asprintf("%s %s", text_of(python, "language", ""),
                                                     text_of(python, "version", ""));
        nb_auto_free char *name = nb_utf8_clean(s->name, strlen(s->name), true);

        (void)nb_buf_printf(b, "%s\n", name ? name : "");
        say(b, "interpreter", interpreter ? interpreter : "", text_of(python, "path", NULL));
        say(b, "kernel", text_of(kernel, "name", ""), NULL);
        v = nb_json_get(found, "requirements");
        if (nb_json_type(v) == NB_JSON_ARRAY) {
                const char *source = text_of(found, "source", "");
                char n[24];

                (void)nb_fmt(n, sizeof(n), "%zu", nb_json_size(v));
                say(b, "requirements", n,
                    nb_streq(source, "imports") ? "from its imports" : "as it lists them");
                for (size_t i = 0; i < nb_json_size(v); i++)
                        say(b, "", nb_json_str(nb_json_index(v, i), NULL), NULL);
        }
        v = nb_json_get(found, "unresolved");
        for (size_t i = 0; i < nb_json_size(v); i++) {
                const struct nb_json *u = nb_json_index(v, i);
                const char *where = text_of(u, "where", NULL);
                nb_auto_free char *text =
                        nb_asprintf("%s%s%s%s %s", text_of(u, "what", ""), where ? " (" : "",
                                    where ? where : "", where ? ")" : "", text_of(u, "text", ""));

                say(b, "unknown", text ? text : "", NULL);
        }
        v = nb_json_get(found, "notes");
        for (size_t i = 0; i < nb_json_size(v); i++)
                say(b, "note", nb_json_str(nb_json_index(v, i), NULL), NULL);
        if (s->said)
                say(b, "metadata", s->said, NULL);
}

static void say_json(const struct subject *s, struct nb_json_out *out)
{
        const struct nb_json *found = nb_json_root(s->found);

        nb_json_open_object(out);
        nb_json_kv_str(out, "notebook", s->name);
        for (size_t i = 0; i < nb_json_size(found); i++) {
                const char *key;
                const struct nb_json *v = nb_json_member(found, i, &key);

                nb_json_key(out, key);
                nb_json_put_value(out, v);
        }
        if (s->said)
                nb_json_kv_bool(out, "written", nb_streq(s->said, "written"));
        nb_json_close(out);
}

/* ---- all of them ---- */

/* Is all known, and written if it is to be? */
static bool do_one(const char *name, const struct env_opts *o, struct nb_buf *b,
                   struct nb_json_out *out)
{
        NB_CLEANUP(subject_done)
        struct subject s = {.name = name, .text = NB_BUF(NOTEBOOK_MAX)};
        struct nb_err err;
        int r = subject_read(&s, o, &err);

        if (r == 0 && o->write)
                r = subject_write(&s, &err);
        if (r < 0) {
                fprintf(stderr, "nbcid env: %s\n", err.msg);
                if (o->json) {
                        nb_json_open_object(out);
                        nb_json_kv_str(out, "notebook", name);
                        nb_json_kv_str(out, "error", err.msg);
                        nb_json_close(out);
                }
                return false;
        }
        if (o->json)
                say_json(&s, out);
        else
                say_text(&s, b);
        return nb_json_size(nb_json_get(nb_json_root(s.found), "unresolved")) == 0;
}

static int do_all(char **names, const struct env_opts *o)
{
        nb_auto_buf b = NB_BUF(OUTPUT_MAX);
        struct nb_json_out out = NB_JSON_OUT(&b);
        bool fine = true;

        if (o->json)
                nb_json_open_array(&out);
        for (; *names; names++)
                fine = do_one(*names, o, &b, &out) && fine;
        if (o->json) {
                nb_json_close(&out);
                (void)nb_buf_putc(&b, '\n');
        }
        if (b.failed || fwrite(nb_buf_str(&b), 1, b.len, stdout) != b.len || fflush(stdout) != 0) {
                fprintf(stderr, "nbcid env: the output is too long, or cannot be written\n");
                fine = false;
        }
        return fine ? EXIT_FINE : EXIT_NOTEBOOK_FAILED;
}

int cmd_env(int argc, char **argv)
{
        enum { OPT_WRITE = 256, OPT_PYTHON, OPT_FORMAT };
        static const struct option options[] = {
                {"write", no_argument, NULL, OPT_WRITE},
                {"python", required_argument, NULL, OPT_PYTHON},
                {"format", required_argument, NULL, OPT_FORMAT},
                {"help", no_argument, NULL, 'h'},
                {0},
        };
        struct env_opts o = {0};
        int opt;

        nb_log_setup(NB_LOG_STDERR, LOG_WARNING);
        while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
                if (opt == 'h') {
                        env_help(stdout);
                        return EXIT_FINE;
                }
                if (opt == OPT_WRITE)
                        o.write = true;
                else if (opt == OPT_PYTHON)
                        o.python = optarg;
                else if (opt == OPT_FORMAT && nb_streq(optarg, "json"))
                        o.json = true;
                else if (opt == OPT_FORMAT && nb_streq(optarg, "text"))
                        o.json = false;
                else {
                        if (opt == OPT_FORMAT)
                                fprintf(stderr,
                                        "nbcid env: --format: \"%s\" is none of text, json\n",
                                        optarg);
                        else
                                env_help(stderr);
                        return EXIT_USAGE;
                }
        }
        if (optind >= argc) {
                env_help(stderr);
                return EXIT_USAGE;
        }
        return do_all(argv + optind, &o);
}
