/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room git over ssh, with a real sshd ($NBCID_SSHD or /usr/sbin/sshd) that
 * lets the user of this test in.  Where there is none, or it cannot run here
 * (as root it wants a user "sshd"), the tests say so and pass; but not in CI,
 * which has installed one (tools/install-deps --test).
 */
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "gitfix.h"

/* libgit2 1.5 and libssh2 1.10 forget a little when a connection is refused; no other test
 * lets it. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
        return "leak:libgit2.so\nleak:libssh2.so";
}

struct sshd {
        pid_t pid;
        unsigned port;
        char *user, *fingerprint;
        struct nb_secret key, other_key;
};

static void sshd_stop(struct sshd *s)
{
        int status;

        if (s->pid > 0) {
                kill(s->pid, SIGTERM);
                waitpid(s->pid, &status, 0);
        }
        nb_secret_done(&s->key);
        nb_secret_done(&s->other_key);
        free(s->user);
        free(s->fingerprint);
}

/* Does it listen?  Its own line on stderr says so. */
static bool sshd_ready(int fd)
{
        char line[512];
        bool ready = false;
        FILE *f = fdopen(fd, "r");

        while (f && !ready && fgets(line, sizeof(line), f)) {
                ready = strstr(line, "Server listening") != NULL;
                if (!ready)
                        printf("# sshd: %s", line);
        }
        /* Left open: a closed stderr would end sshd. */
        return ready;
}

static bool without_sshd(const char *why)
{
        printf("# %s\n", why);
        CHECK(!getenv("CI") && "CI has an sshd that runs");
        return false;
}

static bool sshd_start(struct sshd *s)
{
        const char *program = getenv("NBCID_SSHD");
        const struct passwd *pw = getpwuid(getuid());
        struct nb_err err = {0};
        int out[2];

        if (!program)
                program = "/usr/sbin/sshd";
        if (access(program, X_OK) != 0 || !pw || (getuid() == 0 && !getpwnam("sshd")))
                return without_sshd("no sshd here");
        /* The package leaves this to its service. */
        if (getuid() == 0)
                (void)!mkdir("/run/sshd", 0755);
        s->user = strdup(pw->pw_name);
        /* Ports are picked by hand: sshd cannot say which one it got. */
        s->port = 20000 + (unsigned)getpid() % 20000;
        sh("ssh", "ssh-keygen -q -t ed25519 -N '' -f host; "
                  "ssh-keygen -q -t ed25519 -N '' -f me; cp me.pub allowed;"
                  "ssh-keygen -q -t ed25519 -N '' -f other");
        s->fingerprint = strdup(sh("ssh", "ssh-keygen -lf host.pub | cut -d' ' -f2"));
        CHECK_OK(nb_secret_read(AT("ssh/me"), &s->key, &err), &err);
        CHECK_OK(nb_secret_read(AT("ssh/other"), &s->other_key, &err), &err);
        sh("ssh", text("cat >config <<'X'\nListenAddress 127.0.0.1\nPort %u\nHostKey %s\n"
                       "AuthorizedKeysFile %s\nStrictModes no\nPasswordAuthentication no\n"
                       "PidFile none\nUsePAM no\nPermitRootLogin yes\nX\n",
                       s->port, AT("ssh/host"), AT("ssh/allowed")));
        CHECK(pipe2(out, O_CLOEXEC) == 0);
        fflush(stdout);
        s->pid = fork();
        if (s->pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGTERM); /* a failed test stops nothing */
                dup2(out[1], 2);
                execl(program, program, "-D", "-e", "-f", AT("ssh/config"), (char *)NULL);
                _exit(127);
        }
        close(out[1]);
        if (sshd_ready(out[0]))
                return true;
        sshd_stop(s);
        return without_sshd("sshd does not start here");
}

TEST(ssh_needs_the_right_host_key_and_the_right_key)
{
        struct sshd s = {0};
        struct git_answer a = {0};
        struct nb_err err = {0};
        const char *id;

        if (!sshd_start(&s))
                return;
        id = sh("far", "git init -q . && echo '{}' >a.ipynb && git add -A &&"
                       "git commit -q -m first && git rev-parse HEAD");
        struct git_request r =
                prepare_of("far", text("ssh://%s@127.0.0.1:%u%s", s.user, s.port, AT("far")), id);
        r.remote.ssh_key = &s.key;
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_DENIED, "no host key is known");
        r.remote.ssh_host_key = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_DENIED, "host key is not the one");
        r.remote.ssh_host_key = s.fingerprint;
        r.remote.ssh_key = NULL;
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_DENIED, "set ssh_key_file");
        r.remote.ssh_key = &s.other_key;
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_DENIED, "refuses the key");
        r.remote.ssh_key = &s.key;
        CHECK_OK(git_call(&r, &a, &err), &err);
        CHECK_INT(a.n_changed, 1);
        git_answer_done(&a);
        r.remote.url = text("ssh://%s@127.0.0.1:%u%s", s.user, s.port, AT("not-there"));
        r.mirror = AT("mirrors/not-there.git");
        CHECK_ERR(git_call(&r, &a, &err), &err, NB_E_REMOTE, "not-there");
        sshd_stop(&s);
}

GITFIX_MAIN()
