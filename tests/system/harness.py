# SPDX-License-Identifier: Apache-2.0
"""What the system tests share: a real daemon, a real git server, a strict stand-in for the forge.

Everything listens on loopback ports that the system picks. Every wait has a deadline. Each process
that is started here is ended here, by its pid.
"""
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FAKES = os.path.join(ROOT, 'tests', 'fakes')
SECRET = 'a webhook secret of the tests'
TOKEN = 'ghp_a_token_of_the_tests'
OPERATOR = 'an-operator-token-of-the-tests'
ZERO = '0' * 40
FINAL = ('passed', 'failed', 'errored', 'cancelled')
PYTHON = '/usr/bin/python3'  # Debian's, which has nbclient
SLOW = float(os.environ.get('NBCID_TEST_SLOW', '1'))  # valgrind and sanitizers: more patience


def wait_for(what, cond, timeout=60):
    """The first true answer of cond(); fails with what after timeout seconds."""
    until = time.monotonic() + timeout * SLOW
    while True:
        answer = cond()
        if answer:
            return answer
        if time.monotonic() > until:
            raise AssertionError(f'waited {timeout * SLOW:g} s in vain for {what}')
        time.sleep(0.02)


def notebook(*cells, kernel='python3', language='python', metadata=None, minor=4):
    code = [{'cell_type': 'code', 'metadata': {}, 'outputs': [], 'execution_count': None,
             'source': c} for c in cells]
    meta = {'kernelspec': {'name': kernel, 'language': language, 'display_name': kernel}}
    meta.update(metadata or {})
    return json.dumps({'cells': code, 'metadata': meta, 'nbformat': 4, 'nbformat_minor': minor},
                      indent=1)


class Process:
    """A helper that ends when its standard input is closed and prints "port N"."""

    def __init__(self, *argv, env=None):
        self.proc = subprocess.Popen([sys.executable, *argv, '--stdin'], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True,
                                     env={**os.environ, **(env or {})})
        line = self.proc.stdout.readline()
        if not line.startswith('port '):
            raise AssertionError(f'{argv[0]} said {line!r}')
        self.port = int(line.split()[1])

    def close(self):
        self.proc.stdin.close()
        try:
            self.proc.wait(10)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        self.proc.stdout.close()


class Repo:
    """A bare repository below the git server's root, and a clone to commit in."""

    def __init__(self, world, name='acme/notebooks', initial=True):
        self.name = name
        self.bare = os.path.join(world.git_root, name + '.git')
        self.work = tempfile.mkdtemp(dir=world.dir, prefix='work-')
        self.env = {**os.environ, 'GIT_CONFIG_GLOBAL': '/dev/null', 'GIT_CONFIG_NOSYSTEM': '1',
                    'GIT_AUTHOR_NAME': 'Ada', 'GIT_AUTHOR_EMAIL': 'ada@example.org',
                    'GIT_COMMITTER_NAME': 'Ada', 'GIT_COMMITTER_EMAIL': 'ada@example.org',
                    'GIT_ALLOW_PROTOCOL': 'file:http'}
        os.makedirs(os.path.dirname(self.bare), exist_ok=True)
        subprocess.run(['git', 'init', '-q', '--bare', '-b', 'main', self.bare], check=True,
                       env=self.env)
        # As GitHub and GitLab have it: any commit can be asked for.
        self.run('git', '-C', self.bare, 'config', 'uploadpack.allowAnySHA1InWant', 'true')
        self.run('git', '-C', self.bare, 'config', 'http.receivepack', 'false')
        subprocess.run(['git', 'clone', '-q', self.bare, self.work], check=True, env=self.env,
                       stderr=subprocess.DEVNULL)
        self.run('git', 'checkout', '-q', '-B', 'main')
        if initial:
            self.base = self.commit({'README.md': 'notebooks\n'})

    def run(self, *argv):
        done = subprocess.run(argv, cwd=self.work, check=True, env=self.env,
                              stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    def commit(self, files, message='Train it', push=True, ref='main'):
        for path, text in files.items():
            full = os.path.join(self.work, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            if text is None:
                os.unlink(full)
            elif isinstance(text, tuple):
                os.symlink(text[1], full)
            else:
                with open(full, 'w' if isinstance(text, str) else 'wb') as f:
                    f.write(text)
        self.run('git', 'add', '-A')
        self.run('git', 'commit', '-q', '--allow-empty', '-m', message)
        if push:
            self.run('git', 'push', '-q', '-f', 'origin', f'HEAD:refs/heads/{ref}')
        return self.run('git', 'rev-parse', 'HEAD')


class World:
    """One test's everything. wrapper: words before nbcid (valgrind)."""

    def __init__(self, nbcid, kind='github', git_auth=False, wrapper=(), **config):
        self.nbcid, self.kind, self.wrapper = nbcid, kind, list(wrapper)
        self.dir = tempfile.mkdtemp(prefix='nbcid-test-')
        self.state = os.path.join(self.dir, 'state')
        self.git_root = os.path.join(self.dir, 'git')
        os.mkdir(self.git_root)
        self.git_log = os.path.join(self.dir, 'git.log')
        self.git_mode = os.path.join(self.dir, 'git.mode')
        user = 'oauth2' if kind == 'gitlab' else 'x-access-token'
        env = {'GIT_HTTP_USER': user, 'GIT_HTTP_PASSWORD': TOKEN} if git_auth else {}
        self.git = Process(os.path.join(FAKES, 'git_http_server.py'), '--root', self.git_root,
                           '--log', self.git_log, '--mode-file', self.git_mode, env=env)
        self.forge = Process(os.path.join(FAKES, f'{kind}_api.py'), '--token', TOKEN,
                             '--git-root', self.git_root)
        self.deliveries = 0
        self.proc = None
        self.port = None
        self.config = {'server': '', 'forge': '', 'repository': '', 'limits': '', 'executor': '',
                       'extra': '', **config}
        for name, text in (('secret', SECRET), ('token', TOKEN), ('operator', OPERATOR)):
            with open(os.path.join(self.dir, name), 'w') as f:
                f.write(text + '\n')
        self.write_config()

    def write_config(self):
        c = self.config
        self.config_file = os.path.join(self.dir, 'config.toml')
        with open(self.config_file, 'w') as f:
            f.write(f'''[server]
listen = "127.0.0.1:0"
public_url = "https://ci.example.org"
state_dir = "{self.state}"
min_free = "1MiB"
{c['server']}
[auth]
operator_token_file = "operator"
[[forge]]
name = "{self.kind}"
kind = "{self.kind}"
api_url = "http://127.0.0.1:{self.forge.port}"
clone_base = "http://127.0.0.1:{self.git.port}"
webhook_secret_file = "secret"
token_file = "token"
{c['forge']}
[[repository]]
forge = "{self.kind}"
name = "acme/*"
{c['repository']}
[limits]
{c['limits']}
[[executor]]
name = "local"
kind = "local"
python = "{PYTHON}"
{c['executor']}
{c['extra']}
''')

    def start(self, wait=True, env=None):
        self.log_path = os.path.join(self.dir, 'daemon.log')
        log = open(self.log_path, 'ab')
        at = log.tell()
        self.proc = subprocess.Popen([*self.wrapper, self.nbcid, 'serve', '-c', self.config_file],
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                     env={**os.environ, **self.preload(), **(env or {})})
        log.close()
        if wait:
            wait_for('the daemon to be ready', lambda: self.read_port(at), 30)
        return self

    def preload(self):
        """A wrapper may want a library in the daemon, and hides where its binary is."""
        if not self.wrapper:
            return {}
        shim = os.environ.get('NBCID_TEST_PRELOAD')
        return {'NBCID_SELF': self.nbcid, **({'LD_PRELOAD': shim} if shim else {})}

    def read_port(self, at):
        if self.proc.poll() is not None:
            raise AssertionError(f'nbcid ended with {self.proc.returncode}: {self.log()[-2000:]}')
        with open(self.log_path, errors='replace') as f:
            f.seek(at)
            for line in f:
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if entry.get('message') == 'ready':
                        self.port = int(entry['address'].rsplit(':', 1)[1])
                        return True
        return False

    def log(self):
        with open(self.log_path, errors='replace') as f:
            return f.read()

    def stop(self, sig=signal.SIGTERM, timeout=30):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(sig)
            self.proc.wait(timeout * SLOW)
        code = self.proc.returncode if self.proc else None
        self.proc = None
        return code

    def close(self, keep=False):
        with contextlib.suppress(Exception):
            self.stop(signal.SIGKILL)
        self.end_runners()
        for p in (self.git, self.forge):
            p.close()
        if keep:
            print(f'# kept {self.dir}')
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def end_runners(self):
        """Runners outlive a daemon on purpose; not a test."""
        runs = os.path.join(self.state, 'runs')
        for ref in os.listdir(runs) if os.path.isdir(runs) else []:
            with contextlib.suppress(OSError, ValueError):
                with open(os.path.join(runs, ref, 'started')) as f:
                    pid = int(f.read().split()[0])
                with open(f'/proc/{pid}/cmdline', 'rb') as f:
                    if ref.encode() in f.read():
                        os.kill(pid, signal.SIGKILL)

    def wait_runner(self):
        """Until a runner runs a cell: its run directory."""
        runs = os.path.join(self.state, 'runs')

        def cell_runs():
            for ref in os.listdir(runs):
                with contextlib.suppress(OSError):
                    with open(os.path.join(runs, ref, 'events.jsonl')) as f:
                        if 'cell_started' in f.read():
                            return os.path.join(runs, ref)
            return None
        return wait_for('a cell to run', cell_runs)

    # ---- HTTP ----

    def request(self, method, path, body=None, headers=None, timeout=30):
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=timeout * SLOW)
        try:
            c.request(method, path, body, headers or {})
            r = c.getresponse()
            return r.status, r.read(), dict(r.getheaders())
        finally:
            c.close()

    def get(self, path):
        status, body, _ = self.request('GET', path)
        assert status == 200, f'GET {path}: {status} {body[:300]}'
        return json.loads(body)

    def post(self, path, token=OPERATOR):
        status, body, _ = self.request('POST', path, b'', {'Authorization': f'Bearer {token}'})
        return status, json.loads(body)

    def payload(self, repo, before, after, ref='refs/heads/main'):
        if self.kind == 'gitlab':
            return {'object_kind': 'push', 'event_name': 'push', 'before': before, 'after': after,
                    'ref': ref, 'checkout_sha': after if after != ZERO else None,
                    'user_username': 'ada', 'project_id': 1,
                    'project': {'id': 1, 'path_with_namespace': repo.name,
                                'git_http_url': 'https://evil.example/x.git',
                                'default_branch': 'main'},
                    'commits': [], 'total_commits_count': 1}
        return {'ref': ref, 'before': before, 'after': after, 'created': before == ZERO,
                'deleted': after == ZERO, 'forced': False, 'commits': [],
                'head_commit': None if after == ZERO else {'id': after, 'message': 'Train it'},
                'repository': {'id': 1, 'full_name': repo.name, 'default_branch': 'main',
                               'clone_url': 'https://evil.example/x.git'},
                'pusher': {'name': 'ada'}, 'sender': {'login': 'ada'}}

    def headers(self, body, delivery, event='push'):
        if self.kind == 'gitlab':
            return {'Content-Type': 'application/json', 'X-Gitlab-Event': 'Push Hook',
                    'X-Gitlab-Token': SECRET, 'Idempotency-Key': delivery}
        mac = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        return {'Content-Type': 'application/json', 'X-GitHub-Event': event,
                'X-GitHub-Delivery': delivery, 'X-Hub-Signature-256': f'sha256={mac}',
                'User-Agent': 'GitHub-Hookshot/test'}

    def push(self, repo, before, after, ref='refs/heads/main', delivery=None):
        """Send the webhook as the forge would: (status, answer)."""
        self.deliveries += 1
        delivery = delivery or f'delivery-{os.getpid()}-{self.deliveries}'
        body = json.dumps(self.payload(repo, before, after, ref)).encode()
        status, answer, _ = self.request('POST', f'/hooks/{self.kind}', body,
                                         self.headers(body, delivery))
        return status, json.loads(answer)

    def build(self, repo, before, after, timeout=120, **kw):
        """Push and wait: the finished build."""
        status, answer = self.push(repo, before, after, **kw)
        assert status == 202, (status, answer)
        return self.wait_build(answer['build'], timeout)

    def wait_build(self, number, timeout=120):
        def done():
            b = self.get(f'/api/v1/builds/{number}')
            return b if b['state'] in FINAL else None
        build = wait_for(f'build {number} to end', done, timeout)
        build['jobs'] = [self.get(f'/api/v1/jobs/{j["id"]}') for j in build['jobs']]
        return build

    def job(self, build, path):
        return next(j for j in build['jobs'] if j['notebook'] == path)

    def artifact(self, job, what):
        status, body, headers = self.request('GET', f'/api/v1/jobs/{job["id"]}/{what}')
        return (body, headers) if status == 200 else (None, headers)

    # ---- the forge ----

    def recorded(self):
        return self.control('GET', '/recorded')

    def control(self, method, path, body=None):
        c = http.client.HTTPConnection('127.0.0.1', self.forge.port, timeout=30)
        try:
            c.request(method, path, json.dumps(body) if body is not None else None)
            text = c.getresponse().read()
            return json.loads(text) if text else None
        finally:
            c.close()

    def statuses(self, sha):
        """Last status of each context of a commit."""
        last = {}
        for s in self.recorded():
            if s['sha'] == sha:
                last[s.get('context') or s.get('name')] = s
        return last

    def wait_status(self, sha, context, states, timeout=60):
        def there():
            s = self.statuses(sha).get(context)
            return s if s and s['state'] in states else None
        return wait_for(f'status {context} of {sha[:8]} to be one of {states}', there, timeout)


def main(tests):
    """Run functions as tests, TAP out. argv: nbcid, options, then names to choose."""
    import argparse
    p = argparse.ArgumentParser()
    p.add_argument('nbcid')
    p.add_argument('--wrapper', default='', help='words before nbcid, e.g. "valgrind -q"')
    p.add_argument('--keep', action='store_true', help='keep the directory of a failed test')
    p.add_argument('--part', default='1/1', help='K/N: of N parts, the tests of the Kth')
    p.add_argument('names', nargs='*')
    o = p.parse_intermixed_args()
    failed = n = 0
    k, parts = map(int, o.part.split('/'))
    for test in tests[k - 1::parts]:
        if o.names and not any(w in test.__name__ for w in o.names):
            continue
        n += 1
        worlds = []

        def make(*args, **kw):
            worlds.append(World(os.path.abspath(o.nbcid), *args, wrapper=o.wrapper.split(), **kw))
            return worlds[-1]
        start = time.monotonic()
        try:
            test(make)
            bad = ''
        except Exception:
            bad = traceback.format_exc()
            for w in worlds:
                with contextlib.suppress(Exception):
                    bad += '\n--- daemon\n' + w.log()[-6000:]
        for w in worlds:
            w.close(keep=bool(bad) and o.keep)
        for line in bad.splitlines():
            print('#', line)
        failed += bool(bad)
        print(f'{"not " if bad else ""}ok {n} {test.__name__} '
              f'# {time.monotonic() - start:.1f} s', flush=True)
    print(f'1..{n}')
    sys.exit(1 if failed else 0)
