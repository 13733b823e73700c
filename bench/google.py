#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""google.py BUILD [jobs|staging|archive ...]: notebooks in Google Cloud, against limits and a peer.

Run it by tests/fakes/google_fake/environment.py. Google is the strict stand-in of tests/fakes, on
loopback. Prints Markdown tables and exits with 1 when a limit is missed. See README.md beside this.
"""
import base64
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'tests', 'system'))
import google_world  # noqa: E402
import harness  # noqa: E402
from google_world import BUCKET  # noqa: E402
from report import limit, table, verdict  # noqa: E402

# jobs
JOBS, A_PUSH = 10_000, 20
SETTLE, WINDOW = 60, 120
ENDS, ENDS_A_SECOND = 80, 1  # as many as Google's quota lets be submitted
RATE_MAX, RSS_MAX, CPU_MAX = 2.0, 64, 2.0
# staging
NOTEBOOKS, NOTEBOOK, ROUNDS = 1000, 1_000_000, 3
CONNECTIONS_MAX, RATIO_MAX = 16, 1.25
# archive
ARCHIVES = (128 << 20, 2 << 30)
GROWTH_MAX = 4  # MiB of RSS, from the small one to the large one


def note(text):
    print(f'# {time.strftime("%H:%M:%S")} {text}', file=sys.stderr, flush=True)


# ---- ten thousand jobs ----

def memory(pid):
    """(RSS now, the most so far) in MiB."""
    with open(f'/proc/{pid}/status') as f:
        kb = dict(re.findall(r'^(VmRSS|VmHWM):\s+(\d+) kB', f.read(), re.M))
    return int(kb['VmRSS']) / 1024, int(kb['VmHWM']) / 1024


def cpu_seconds(pid):
    """Of the process alone; what its helpers took is told by the second number."""
    with open(f'/proc/{pid}/stat') as f:
        ticks = [int(x) for x in f.read().rsplit(')', 1)[1].split()[11:15]]
    hz = os.sysconf('SC_CLK_TCK')
    return (ticks[0] + ticks[1]) / hz, (ticks[2] + ticks[3]) / hz


def make_commits(repo, count):
    """A chain of commits, each with other notebooks and nothing else: [oid]."""
    lines = ['reset refs/heads/main\n', f'from {repo.base}\n\n']
    for c in range(count):
        lines.append('commit refs/heads/main\ncommitter Ada <ada@example.org> 1 +0000\n'
                     'data 2\nx\n')
        lines.append('deleteall\nM 100644 inline .nbcid.toml\n')
        toml = '[check]\nsyntax = "off"\n'
        lines.append(f'data {len(toml)}\n{toml}\n')
        for i in range(A_PUSH):
            text = harness.notebook(f'print({c}, {i})')
            lines.append(f'M 100644 inline n{c}-{i}.ipynb\ndata {len(text)}\n{text}\n')
    subprocess.run(['git', '-C', repo.bare, 'fast-import', '--quiet', '--force'], check=True,
                   input=''.join(lines).encode(), env=repo.env)
    done = subprocess.run(['git', '-C', repo.bare, 'rev-list', '--reverse', f'{repo.base}..main'],
                          check=True, stdout=subprocess.PIPE, text=True, env=repo.env)
    return done.stdout.split()


def count_jobs(w, state):
    db = sqlite3.connect(f'file:{w.state}/nbcid.db?mode=ro', uri=True)
    try:
        return db.execute('SELECT count(*) FROM job WHERE state = ?', (state,)).fetchone()[0]
    finally:
        db.close()


def created(g):
    ops = g.control('GET', 'stats?op=vertex.customJobs.create')['ops']
    return sum(n.get('200', 0) for n in ops.values())


def submit_all(g, w):
    """Real pushes, until all jobs run: seconds it took."""
    repo = harness.Repo(w)
    began, before = time.monotonic(), repo.base
    for after in make_commits(repo, JOBS // A_PUSH):
        status, answer = w.push(repo, before, after)
        assert status == 202, (status, answer)
        before = after
    last = -1
    while (now := count_jobs(w, 'running')) < JOBS:
        if now // 1000 > last:
            last = now // 1000
            note(f'{now} jobs run, RSS {memory(w.proc.pid)[0]:.1f} MiB')
        assert time.monotonic() - began < 3600, 'jobs are not submitted'
        time.sleep(2)
    # A job of ours runs from the moment that its executor has it, which may be still staging.
    while created(g) < JOBS:
        assert time.monotonic() - began < 3600, 'jobs are not created'
        time.sleep(2)
    return time.monotonic() - began


def watch(g, w, seconds, during=lambda: None):
    """What the daemon costs, and asks for, in so long: a dict."""
    g.control('DELETE', 'requests')
    cpu, start = cpu_seconds(w.proc.pid), time.monotonic()
    most = 0
    while time.monotonic() < start + seconds:
        during()
        most = max(most, memory(w.proc.pid)[0])
        time.sleep(0.5)
    span = time.monotonic() - start
    after = cpu_seconds(w.proc.pid)
    stats = g.control('GET', 'stats?op=vertex.*')
    ops = {op.rpartition('.')[2]: sum(n.values()) for op, n in stats['ops'].items()}
    return {'rate': (ops.get('list', 0) + ops.get('get', 0)) / span, 'ops': ops, 'rss': most,
            'cpu': 100 * (after[0] - cpu[0]) / span, 'second': stats['most_in_a_second'],
            'helpers': 100 * (after[1] - cpu[1]) / span}


def row(name, r):
    limit(r['rate'] <= RATE_MAX, f'{name}: {r["rate"]:.2f} requests a second')
    limit(r['rss'] <= RSS_MAX, f'{name}: {r["rss"]:.1f} MiB')
    limit(r['cpu'] <= CPU_MAX, f'{name}: {r["cpu"]:.2f} % of a core')
    return (name, f'{r["rate"]:.2f}', r['second'], f'{r["rss"]:.1f}', f'{r["cpu"]:.2f} %',
            ', '.join(f'{n} {op}' for op, n in sorted(r['ops'].items())))


class Ends:
    """Ends jobs at a steady rate, and looks when the daemon knows."""

    def __init__(self, g, w, ids):
        self.g, self.w, self.ids, self.began = g, w, list(ids), time.monotonic()

    def __call__(self):
        due = int((time.monotonic() - self.began) * ENDS_A_SECOND)
        while self.ids and ENDS - len(self.ids) < due:
            self.g.control('POST', f'jobs/{self.ids.pop()}', {'action': 'end',
                                                              'state': 'SUCCEEDED'})


def jobs(build):
    print(f'## {JOBS:,} custom jobs in flight')
    g = google_world.Google('--rule', json.dumps({'mode': 'timer', 'run': 1e6, 'queue': 0,
                                                  'pending': 0}))
    w = harness.World(f'{build}/daemon/nbcid', repository='executor = "vertex"',
                      limits=f'retries = 0\njobs_per_repository = {2 * JOBS}\n'
                             'status_per_notebook = 0\n',
                      extra=g.executor(f'slots = {2 * JOBS}\nsubmissions_per_minute = 100000',
                                       poll='5s'))
    rows = []
    try:
        w.start(env={'no_proxy': '*'})
        taken = submit_all(g, w)
        note(f'{JOBS} jobs were submitted in {taken:.0f} s')
        time.sleep(SETTLE)
        peak = memory(w.proc.pid)[1]
        rows.append(row('all run', watch(g, w, WINDOW)))
        known = sorted(j['id'] for j in g.jobs())[:ENDS]
        rows.append(row(f'{ENDS_A_SECOND} a second ends', watch(g, w, WINDOW, Ends(g, w, known))))
        harness.wait_for('the daemon to know of all ends',
                         lambda: count_jobs(w, 'running') == JOBS - ENDS, 120)
        w.stop(signal.SIGKILL)
        g.control('DELETE', 'requests')
        start = time.monotonic()
        w.start(env={'no_proxy': '*'})
        ready = time.monotonic() - start
        time.sleep(SETTLE)
        recovery = cpu_seconds(w.proc.pid)[0]
        rows.append(row('after kill -9 and start', watch(g, w, WINDOW)))
        total = len(g.jobs())
        limit(total == JOBS, f'{total} jobs were created for {JOBS} notebooks')
        table(['', f'requests/s (at most {RATE_MAX:g})', 'most in one second',
               f'MiB of RSS, most (at most {RSS_MAX})', f'CPU of a core (at most {CPU_MAX:g} %)',
               f'requests in {WINDOW} s'], rows)
        print(f'Submitted in {taken:.0f} s; most RSS until then {peak:.1f} MiB. Ready '
              f'{ready:.2f} s after kill -9, with {recovery:.1f} s of CPU in the first {SETTLE} s; {total} jobs '
              f'created for {JOBS} notebooks.', flush=True)
    finally:  # some minutes: each job has a workspace
        w.close()
        g.close()


# ---- a thousand notebooks ----

class Gcs:
    """tests/system/google/gcs.c: rooms gcp and blob as a program."""

    def __init__(self, build, g, more=()):
        self.words = [f'{build}/tests/system/google/gcs', '--credentials',
                      f'{g.dir}/service-account.json', '--token-url', f'{g.url}/token', '--url',
                      g.url, *more]

    def __call__(self, *words):
        """(lines, {s, cpu, mib})"""
        done = subprocess.run([*self.words, *map(str, words)], stdout=subprocess.PIPE, text=True,
                              env={**os.environ, 'no_proxy': '*', 'GCS_USAGE': '1'}, check=True)
        found = re.search(r'^([\d.]+) s, ([\d.]+) s of CPU, (\d+) KiB at most$', done.stdout, re.M)
        return done.stdout.splitlines(), {'s': float(found[1]), 'cpu': float(found[2]),
                                          'mib': int(found[3]) / 1024}


def empty(g):
    for o in g.objects():
        g.control('POST', 'objects', {'bucket': BUCKET, 'name': o['name'], 'action': 'delete'})


def curl(g, tmp, token):
    """The same uploads by curl, told all of them beforehand: {s, cpu, mib}."""
    body = os.path.join(tmp, 'body')
    config = os.path.join(tmp, 'curl.txt')
    with open(config, 'w') as f:
        for i in range(NOTEBOOKS):
            name = urllib.parse.quote(f'peer/{i}.ipynb', safe='')
            f.write(f'{"next" if i else ""}\nurl = "{g.url}/upload/storage/v1/b/{BUCKET}/o?'
                    f'uploadType=multipart&name={name}&ifGenerationMatch=0"\n'
                    f'request = "POST"\nupload-file = "{body}"\noutput = "/dev/null"\n'
                    f'header = "Authorization: Bearer {token}"\nheader = "Expect:"\n'
                    'header = "Content-Type: multipart/related; boundary=x"\nfail\nsilent\n')
    start = time.monotonic()
    proc = subprocess.Popen(['curl', '-Z', '--parallel-immediate', '--parallel-max',
                             str(CONNECTIONS_MAX), '-K', config], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, env={**os.environ, 'no_proxy': '*'})
    _, status, usage = os.wait4(proc.pid, 0)
    proc.returncode = os.waitstatus_to_exitcode(status)
    assert proc.returncode == 0, f'curl: {proc.returncode}'
    return {'s': time.monotonic() - start, 'cpu': usage.ru_utime + usage.ru_stime,
            'mib': usage.ru_maxrss / 1024}


class Front:
    """nghttpx before the stand-in: HTTP/2 over TLS, as Google's own servers have it."""

    def __init__(self, g, tmp):
        self.key, self.ca, self.log = (os.path.join(tmp, n) for n in ('key', 'ca.pem', 'access'))
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                        'ec_paramgen_curve:P-256', '-nodes', '-days', '1', '-subj', '/CN=localhost',
                        '-addext', 'subjectAltName=DNS:localhost', '-keyout', self.key, '-out',
                        self.ca], check=True, stderr=subprocess.DEVNULL)
        port = 20000 + os.getpid() % 20000
        self.url = f'https://localhost:{port}'
        self.proc = subprocess.Popen(
            ['nghttpx', '--conf=/dev/null', '--no-ocsp', f'-f127.0.0.1,{port}',
             f'-b127.0.0.1,{g.proc.port}', '--frontend-http2-window-size=1M',
             '--frontend-http2-connection-window-size=16M', f'--accesslog-file={self.log}',
             '--accesslog-format=$remote_port $alpn', '--workers=1', self.key, self.ca],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        harness.wait_for('nghttpx', lambda: self.listens(port), 30)

    @staticmethod
    def listens(port):
        with socket.socket() as s:
            return s.connect_ex(('127.0.0.1', port)) == 0

    def seen(self):
        """(connections, protocols) since the last question."""
        with open(self.log) as f:
            lines = [line.split() for line in f]
        os.truncate(self.log, 0)
        return len({p for p, _ in lines}), {a for _, a in lines}

    def close(self):
        self.proc.terminate()
        self.proc.wait()


def staging(build):
    print(f'## Staging {NOTEBOOKS:,} notebooks of 1 MB')
    tmp = tempfile.mkdtemp(prefix='nbcid-bench-')
    g = google_world.Google()
    runs = {'nbcid': [], 'curl': [], 'nbcid, HTTP/2': []}
    front = Front(g, tmp)
    try:
        gcs, gcs2 = Gcs(build, g), Gcs(build, g, ['--url', front.url, '--ca', front.ca])
        path, data = os.path.join(tmp, 'notebook'), os.urandom(NOTEBOOK // 2).hex().encode()
        with open(path, 'wb') as f:
            f.write(data)
        with open(os.path.join(tmp, 'body'), 'wb') as f:
            md5 = base64.b64encode(hashlib.md5(data).digest())
            f.write(b'--x\r\nContent-Type: application/json\r\n\r\n{"md5Hash": "' + md5 + b'"}'
                    b'\r\n--x\r\nContent-Type: text/plain\r\n\r\n' + data + b'\r\n--x--\r\n')
        for _ in range(ROUNDS):
            for who in runs:
                token = gcs('token')[0][0]
                before, fake = g.control('GET', 'stats')['server'], cpu_seconds(g.proc.proc.pid)[0]
                if who == 'nbcid':
                    used = gcs('many', f'gs://{BUCKET}/ours', path, NOTEBOOKS, 32)[1]
                elif who == 'curl':
                    used = curl(g, tmp, token)
                else:
                    used = gcs2('many', f'gs://{BUCKET}/ours', path, NOTEBOOKS, 32)[1]
                after = g.control('GET', 'stats')['server']
                used['fake'] = (cpu_seconds(g.proc.proc.pid)[0] - fake) / used['s']
                used['opened'] = after['opened'] - before['opened'] - 1  # the question itself
                if who == 'nbcid, HTTP/2':
                    used['opened'], protocols = front.seen()
                    assert protocols == {'h2'}, protocols
                assert len(g.objects()) == NOTEBOOKS
                runs[who].append(used)
                empty(g)
    finally:
        front.close()
        g.close()
        shutil.rmtree(tmp)

    def median(who, key):
        return statistics.median(r[key] for r in runs[who])
    ratio = median('nbcid', 's') / median('curl', 's')
    opened = max(r['opened'] for who in runs if who != 'curl' for r in runs[who])
    limit(ratio <= RATIO_MAX, f'staging: {ratio:.2f} times curl')
    limit(opened <= CONNECTIONS_MAX, f'staging: {opened} connections')
    table([f'medians of {ROUNDS}, in turns', 's', 'MB/s', 'times curl', 'CPU s', 'MiB of RSS',
           'connections opened', "the stand-in's use of a core"],
          [(who, f'{median(who, "s"):.2f}', f'{NOTEBOOKS * NOTEBOOK / 1e6 / median(who, "s"):.0f}',
            f'{median(who, "s") / median("curl", "s"):.2f}', f'{median(who, "cpu"):.2f}',
            f'{median(who, "mib"):.0f}', max(r['opened'] for r in runs[who]),
            f'{100 * median(who, "fake"):.0f} %') for who in runs])


# ---- two gigabytes ----

def archive(build):
    print('## A workspace as one archive')
    tmp = tempfile.mkdtemp(prefix='nbcid-bench-')
    g = google_world.Google()
    rows, most = [], []
    try:
        gcs = Gcs(build, g)
        for size in ARCHIVES:
            tree = os.path.join(tmp, str(size))
            os.mkdir(tree)
            for i in range(8):
                with open(os.path.join(tree, f'part{i}'), 'wb') as f:
                    for _ in range(size // 8 >> 20):
                        f.write(os.urandom(1 << 20))
            lines, used = gcs('tree', f'gs://{BUCKET}/{size}.tar', tree)
            shutil.rmtree(tree)
            stored = int(next(x for x in lines if x.startswith(f'{size}.tar ')).split()[2])
            assert stored >= size, (stored, size)
            most.append(used['mib'])
            rows.append((f'{size >> 20:,} MiB up, as tar', f'{used["s"]:.1f}', f'{used["cpu"]:.1f}',
                         f'{used["mib"]:.1f}'))
    finally:
        g.close()
        shutil.rmtree(tmp)
    limit(most[-1] - most[0] <= GROWTH_MAX, f'archive: {most[0]:.1f} MiB became {most[-1]:.1f}')
    table(['', 's', 'CPU s of ours', f'most MiB of RSS (may grow by {GROWTH_MAX})'], rows)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    build = os.path.abspath(sys.argv[1])
    subprocess.run(['meson', 'compile', '-C', build, 'nbcid', 'gcs'], check=True,
                   stdout=subprocess.DEVNULL)
    for name in sys.argv[2:] or ['jobs', 'staging', 'archive']:
        globals()[name](build)
    return verdict()


if __name__ == '__main__':
    sys.exit(main())
