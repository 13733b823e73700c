#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench.py BUILD [intake|idle|restart|changes|first ...]: nbcid against peers and limits.

Both sides of every ratio are measured in the same run, in turns, since hardware is noisy. Prints
Markdown tables. Loopback only, bounded in time. See README.md beside this file.
"""
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'tests', 'system'))
import harness  # noqa: E402
from harness import Repo, World, notebook, wait_for  # noqa: E402
from report import limit, table, verdict  # noqa: E402

SECRET = 'bench-secret'
CONNECTIONS, SECONDS, ROUNDS = 16, 5, 5
# Intake: the server under test has one core for itself, all the rest of the world the other.
SERVER_CORE, LOAD_CORE = sorted(os.sched_getaffinity(0))[:2] \
    if len(os.sched_getaffinity(0)) > 1 else (0, 0)
DRAIN_SECONDS = 60  # at most, until webhook has run what it accepted


def memory(pid):
    """RSS, its anonymous part, and proportional size, in MiB."""
    out = {}
    with open(f'/proc/{pid}/smaps_rollup') as f:
        for line in f:
            key, *rest = line.split()
            if key in ('Rss:', 'Pss:', 'Anonymous:'):
                out[key[:-1]] = int(rest[0]) / 1024
    return out


def pinned(core, *argv):
    """The words that run argv on one core only, and before other work of the machine if we may."""
    first = ['chrt', '--rr', '1'] if os.geteuid() == 0 else []
    return [*first, 'taskset', '-c', str(core), *argv]


def load(build, port, path):
    argv = [f'{build}/bench/bench-load', str(port), path, str(CONNECTIONS), str(SECONDS)]
    done = subprocess.run(pinned(LOAD_CORE, *argv), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def world(build, **config):
    harness.SECRET = SECRET
    return World(f'{build}/daemon/nbcid', **config)


# ---- intake ----

def webhook_server(tmp):
    """Debian's webhook with the same rule, running /bin/true."""
    port = 20000 + os.getpid() % 20000
    hooks = os.path.join(tmp, 'hooks.json')
    with open(hooks, 'w') as f:
        json.dump([{'id': 'bench', 'execute-command': '/bin/true', 'trigger-rule': {'match': {
            'type': 'payload-hmac-sha256', 'secret': SECRET,
            'parameter': {'source': 'header', 'name': 'X-Hub-Signature-256'}}}}], f)
    proc = subprocess.Popen(pinned(SERVER_CORE, 'webhook', '-hooks', hooks, '-ip', '127.0.0.1',
                                   '-port', str(port)),
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1)
    return proc, port


def cpu_ticks(pid):
    """Of the process and of its children that have ended."""
    with open(f'/proc/{pid}/stat') as f:
        return sum(int(x) for x in f.read().rsplit(')', 1)[1].split()[11:15])


def children(pid):
    count = 0
    for task in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{task}/children') as f:
            count += len(f.read().split())
    return count


def drain(pid):
    """Wait until the process has no child and is at rest: when that began, monotonic. A webhook
    answers before it runs its command, so what it accepted is not yet done."""
    until = time.monotonic() + DRAIN_SECONDS
    rest, ticks = time.monotonic(), cpu_ticks(pid)
    while time.monotonic() < rest + 0.5:
        if children(pid) > 0 or cpu_ticks(pid) != ticks:
            rest, ticks = time.monotonic(), cpu_ticks(pid)
        if time.monotonic() > until:
            raise AssertionError(f'webhook still works {DRAIN_SECONDS} s after the last push')
        time.sleep(0.01)
    return rest


def idle_priority(pid):
    """The forge of the world answers statuses when the load generator has nothing to do."""
    os.sched_setaffinity(pid, {LOAD_CORE})
    os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))


class Intake:
    """The three servers, each on the one core, and what was measured of each."""

    def __init__(self, build):
        self.build = build
        self.tmp = tempfile.mkdtemp(prefix='nbcid-bench-')
        # Pushes are accepted and not worked on: the repository's server is down.
        self.world = w = world(build, server='max_backlog = 10000000')
        for p in (w.git, w.forge):
            idle_priority(p.proc.pid)
        with open(w.git_mode, 'w') as f:
            f.write('stall')
        w.wrapper = pinned(SERVER_CORE)
        w.start()
        self.webhook, webhook_port = webhook_server(self.tmp)
        self.bare = subprocess.Popen(pinned(SERVER_CORE, f'{build}/bench/bench-bare'),
                                     stdout=subprocess.PIPE, text=True)
        bare_port = int(self.bare.stdout.readline().split()[1])
        self.servers = {'nbcid': (w.proc.pid, w.port, '/hooks/github'),
                        'webhook': (self.webhook.pid, webhook_port, '/hooks/bench'),
                        'bare': (self.bare.pid, bare_port, '/')}
        self.runs = {name: [] for name in self.servers}
        self.idle = {name: memory(pid)['Rss'] for name, (pid, _, _) in self.servers.items()}

    def measure(self, name):
        pid, port, path = self.servers[name]
        start = time.monotonic()
        r = load(self.build, port, path)
        assert r['other'] == 0, (name, r)
        r['rss'] = memory(pid)['Rss']
        r['done'] = r['per_second']
        if name == 'webhook':
            # The signing before the first push is no time of webhook's.
            r['done'] = r['accepted'] / (drain(pid) - start - r['signing'])
        self.runs[name].append(r)

    def median(self, name, key):
        return statistics.median(r[key] for r in self.runs[name])

    def count_lost(self):
        """Kill nbcid and look. What was sent and not answered when the time was over may be
        stored too."""
        accepted = sum(r['accepted'] for r in self.runs['nbcid'])
        self.world.stop(signal.SIGKILL)
        db = sqlite3.connect(f'{self.world.state}/nbcid.db')
        stored = db.execute('SELECT count(*) FROM delivery').fetchone()[0]
        db.close()
        return accepted, stored, max(0, accepted - stored)

    def close(self):
        for p in (self.webhook, self.bare):
            p.terminate()
            p.wait()
        self.world.close()
        shutil.rmtree(self.tmp)


def intake(build):
    print(f'## Intake: signed 10 KB pushes, {CONNECTIONS} connections')
    assert SERVER_CORE != LOAD_CORE, 'this one needs two cores'
    bench = Intake(build)
    try:
        for _ in range(ROUNDS):
            for name in bench.servers:
                bench.measure(name)
        accepted, stored, lost = bench.count_lost()
    finally:
        bench.close()
    ours = bench.median('nbcid', 'per_second')
    rows = []
    for name, label in (('nbcid', 'nbcid, each push fsynced'), ('webhook', 'webhook 2.8, /bin/true'),
                        ('bare', 'bare libmicrohttpd + HMAC, nothing stored')):
        answered, done = bench.median(name, 'per_second'), bench.median(name, 'done')
        rows.append((label, f'{answered:.0f}', f'{done:.0f}', f'{bench.median(name, "p50_ms"):.2f}',
                     f'{bench.median(name, "p99_ms"):.2f}', f'{ours / answered:.2f}',
                     f'{ours / done:.2f}', f'{100 * bench.median(name, "cpu"):.0f} %'))
    table([f'server, on one core (medians of {ROUNDS})', 'answered/s', 'done/s', 'p50 ms', 'p99 ms',
           'nbcid / answered', 'nbcid / done', 'load generator, of its core'], rows)
    print(f'accepted {accepted:,}, stored {stored:,}, lost {lost}')
    for name in bench.servers:
        print(f'RSS of {name}: {bench.idle[name]:.1f} MiB idle, after each round '
              + ', '.join(f'{r["rss"]:.1f}' for r in bench.runs[name]))
    return ours / bench.median('webhook', 'per_second') >= 10 and lost == 0


# ---- a full database ----

def fill(w, n):
    """A database with n finished builds of two jobs each, made by the daemon's own schema."""
    w.start()
    w.stop()
    db = sqlite3.connect(f'{w.state}/nbcid.db')
    now = int(time.time() * 1000)

    def columns(table_name):
        return {r[1]: r for r in db.execute(f'PRAGMA table_info({table_name})')}

    def insert(table_name, rows):
        known = columns(table_name)
        keys = list(rows[0])
        assert all(k in known for k in keys), (keys, list(known))
        db.executemany(f'INSERT INTO {table_name} ({",".join(keys)}) VALUES '
                       f'({",".join("?" * len(keys))})', [list(r.values()) for r in rows])

    insert('build', [dict(id=i, forge='github', repository=f'acme/r{i % 50}', kind='push',
                          ref='refs/heads/main', before_oid='1' * 40,
                          after_oid=hashlib.sha1(str(i).encode()).hexdigest(),
                          commit_oid=hashlib.sha1(str(i).encode()).hexdigest(), title='Train it',
                          author='ada', cause='push', state='passed', created_ms=now - i,
                          started_ms=now - i, finished_ms=now - i, jobs=2, jobs_final=2,
                          jobs_passed=2) for i in range(1, n + 1)])
    insert('job', [dict(build=1 + i // 2, position=i % 2, forge='github',
                        repository=f'acme/r{(1 + i // 2) % 50}', kind='notebook',
                        notebook=f'n{i % 2}.ipynb', executor='local', environment='{}',
                        timeout_us=1, cell_timeout_us=1, notify=1, state='passed',
                        **{'class': 'passed'}, created_ms=now, started_ms=now, finished_ms=now)
                   for i in range(2 * n)])
    insert('delivery', [dict(forge='github', delivery_id=f'd{i}', event_name='push',
                             received_ms=now, build=i, headers='', body=b'x' * 2000)
                        for i in range(1, n + 1)])
    db.commit()
    db.close()


def idle(build):
    print('## Idle memory with 10,000 finished builds')
    w = world(build)
    try:
        fill(w, 10000)
        w.start()
        w.get('/api/v1/builds')
        time.sleep(15)
        m = memory(w.proc.pid)
    finally:
        w.close()
    table(['', 'MiB', 'limit'], [('RSS', f'{m["Rss"]:.1f}', '10'), ('of it anonymous',
          f'{m["Anonymous"]:.1f}', ''), ('proportional (PSS)', f'{m["Pss"]:.1f}', '')])
    return m['Rss'] <= 10


def restart(build):
    print('## Restart to ready with 100,000 builds')
    w = world(build)
    times = []
    try:
        fill(w, 100000)
        for _ in range(5):
            start = time.monotonic()
            w.start()
            while w.request('GET', '/readyz')[0] != 200:
                pass
            times.append(time.monotonic() - start)
            w.stop(signal.SIGKILL)
    finally:
        w.close()
    table(['', 's', 'limit'], [('exec to 200 from /readyz, median of 5',
          f'{statistics.median(times):.3f}', '0.2'), ('worst', f'{max(times):.3f}', '')])
    return statistics.median(times) < 0.2


# ---- changed notebooks ----

def median_ms(times, fn):
    taken = []
    for _ in range(times):
        start = time.monotonic()
        fn()
        taken.append((time.monotonic() - start) * 1000)
    return statistics.median(taken)


def changes(build):
    """The diff as the git helper does it, mirror opened anew each time; git as a command, and
    git's own floor: many diffs in one process with everything cached. The helper's own start is
    not in it: it is paid by the fetch that goes before."""
    print('## Changed notebooks in a repository of 100,000 files')
    tmp = tempfile.mkdtemp(prefix='nbcid-bench-')
    env = {**os.environ, 'GIT_CONFIG_GLOBAL': '/dev/null', 'GIT_CONFIG_NOSYSTEM': '1'}
    mirror = f'{tmp}/m.git'

    def git(*argv, **kw):
        return subprocess.run(['git', '-C', mirror, *argv], check=True, env=env,
                              stdout=subprocess.PIPE, **kw).stdout.decode().strip()

    def path(i):
        return f'd{i // 1000}/e{i // 50 % 20}/f{i}.{"ipynb" if i % 10 == 0 else "py"}'
    rows, well = [], True
    try:
        subprocess.run(['git', 'init', '-q', '--bare', mirror], check=True, env=env)
        lines = ['blob\nmark :1\ndata 2\n1\n', 'blob\nmark :2\ndata 2\n2\n',
                 'commit refs/heads/base\ncommitter a <a@example.org> 1 +0000\ndata 1\na\n']
        lines += [f'M 100644 :1 {path(i)}\n' for i in range(100000)]
        for name, step in (('small', 5000), ('large', 10)):
            lines.append(f'commit refs/heads/{name}\ncommitter a <a@example.org> 2 +0000\n'
                         'data 1\nb\nfrom refs/heads/base\n')
            lines += [f'M 100644 :2 {path(i)}\n' for i in range(0, 100000, step)]
        git('fast-import', '--quiet', input=''.join(lines).encode())
        a = git('rev-parse', 'base')
        for name, times in (('small', 100), ('large', 40)):
            b = git('rev-parse', name)
            n = len(git('diff-tree', '-r', '--name-only', a, b).split())
            found = subprocess.run([f'{build}/bench/bench-changes', mirror, a, b, '1'],
                                   check=True, stdout=subprocess.PIPE).stdout
            assert int(found) == n, (found, n)
            ours = median_ms(7, lambda: subprocess.run(
                [f'{build}/bench/bench-changes', mirror, a, b, str(times)], check=True,
                stdout=subprocess.DEVNULL)) / times
            command = median_ms(21, lambda: git('diff-tree', '-r', '--name-only', a, b))
            pairs = (f'{b} {a}\n' * times).encode()
            floor = median_ms(7, lambda: git('diff-tree', '-r', '--name-only', '--stdin',
                                             input=pairs)) / times
            rows.append((f'{n:,} notebooks changed', f'{ours:.2f}', f'{command:.2f}',
                         f'{floor:.2f}', f'{ours / command:.2f}'))
            well = well and ours <= command
    finally:
        shutil.rmtree(tmp)
    table(['ms a push', 'nbcid', 'git diff-tree -r --name-only', 'the same, --stdin, amortised',
           'nbcid / git'], rows)
    return well


# ---- webhook to first running job ----

def first(build):
    print('## From webhook to first running job, warm mirror')
    w = world(build)
    warm, cold = [], []
    try:
        w.start()
        repo = Repo(w)
        before = repo.commit({'a.ipynb': notebook('1')})
        w.build(repo, repo.base, before)
        number = 1

        def one(times, old, new, ref):
            nonlocal number
            number += 1
            start = time.monotonic()
            w.push(repo, old, new, ref=ref)
            while True:
                jobs = w.get(f'/api/v1/builds/{number}')['jobs']
                if any(j['state'] in ('running', 'passed') for j in jobs):
                    break
                time.sleep(0.001)
            times.append(time.monotonic() - start)
            w.wait_build(number)
        for i in range(9):
            after = repo.commit({'a.ipynb': notebook(f'{i}')})
            one(cold, before, after, 'refs/heads/main')
            one(warm, before, after, f'refs/heads/b{i}')  # the mirror has it by now
            before = after
    finally:
        w.close()
    rows = []
    for label, times in (('commit is in the mirror', warm),
                         ('commit is fetched (from git http-backend behind Python)', cold)):
        rows.append((label, f'{statistics.median(times) * 1000:.0f}',
                     f'{max(times) * 1000:.0f}', '100'))
    table(['push sent to job running, 9 pushes', 'median ms', 'worst ms', 'limit'], rows)
    return statistics.median(warm) < 0.1


def main():
    build = os.path.abspath(sys.argv[1])
    all_of_them = {'intake': intake, 'idle': idle, 'restart': restart, 'changes': changes,
                   'first': first}
    names = sys.argv[2:] or list(all_of_them)
    subprocess.run(['meson', 'compile', '-C', build, 'bench-tools'], check=True,
                   stdout=subprocess.DEVNULL)
    for name in names:
        limit(all_of_them[name](build), name)
    sys.exit(verdict())


main()
