# SPDX-License-Identifier: Apache-2.0
"""What the programs about `nbcid run` share: a run with a place of its own, and its processes."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import tap  # noqa: E402

NBCID = os.path.abspath(sys.argv[1])
PYTHON = '/usr/bin/python3'
PATIENCE = 120
FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../fixtures/notebooks')


def needs_module(name):
    if subprocess.run([PYTHON, '-c', f'import {name}'], stderr=subprocess.DEVNULL).returncode:
        raise tap.Skip(f'{PYTHON} has no {name}')


def needs_sandbox():
    if subprocess.run(['bwrap', '--ro-bind', '/', '/', '--unshare-pid', '--proc', '/proc', 'true'],
                      stderr=subprocess.DEVNULL).returncode:
        raise tap.Skip('bubblewrap does not work here')


def has_kernel(name):
    return os.path.exists(f'/usr/share/jupyter/kernels/{name}') or \
        os.path.exists(f'/usr/local/share/jupyter/kernels/{name}')


def notebook(*cells, kernel='python3', language='python', **metadata):
    out = []
    for i, source in enumerate(cells):
        tags = []
        if isinstance(source, tuple):
            source, tags = source
        out.append({'cell_type': 'code', 'id': f'c{i}', 'metadata': {'tags': tags} if tags else {},
                    'source': source, 'outputs': [], 'execution_count': None})
    spec = {'kernelspec': {'name': kernel, 'display_name': kernel, 'language': language}}
    return {'nbformat': 4, 'nbformat_minor': 5, 'metadata': {**spec, **metadata}, 'cells': out}


class Run:
    """One `nbcid run` with a workspace and a run directory of its own."""

    def __init__(self, nb, *options, sandbox='auto', python=PYTHON, name='nb.ipynb', env=None,
                 text=None, quiet=True, workspace=None):
        self.base = tempfile.mkdtemp(prefix='nbcid-test-')
        self.workspace = workspace or os.path.join(self.base, 'ws')
        self.run_dir = os.path.join(self.base, 'state', 'run')
        os.makedirs(self.run_dir, mode=0o700)
        os.makedirs(self.workspace, exist_ok=True)
        path = os.path.join(self.workspace, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.lexists(path):
            with open(path, 'w', encoding='utf-8') as f:
                f.write(text if text is not None else json.dumps(nb))
        self.stderr_path = os.path.join(self.base, 'stderr')
        self.argv = [NBCID, 'run', '--run-dir', self.run_dir, '--workspace', self.workspace,
                     '--python', python, '--sandbox', sandbox, *options]
        self.argv += (['--quiet'] if quiet else []) + ['--', name]
        self.began = time.monotonic()
        with open(self.stderr_path, 'wb') as err:
            self.process = subprocess.Popen(self.argv, stderr=err, stdin=subprocess.DEVNULL,
                                            env=env, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for root, dirs, _ in os.walk(self.base):
            for d in dirs:
                if not os.path.islink(os.path.join(root, d)):
                    os.chmod(os.path.join(root, d), 0o700)
        shutil.rmtree(self.base, ignore_errors=True)

    def wait(self, timeout=PATIENCE):
        self.process.wait(timeout)
        self.seconds = time.monotonic() - self.began
        self.status = self.process.returncode
        return self

    def events(self):
        try:
            with open(os.path.join(self.run_dir, 'events.jsonl'), encoding='utf-8') as f:
                return [json.loads(line) for line in f if line.endswith('\n')]
        except FileNotFoundError:
            return []

    def until(self, event, **fields):
        """Wait for an event; answers it."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            over = self.process.poll() is not None
            for e in self.events():
                if e['event'] == event and all(e.get(k) == v for k, v in fields.items()):
                    return e
            assert not over, f'no {event} {fields}: {self.events()} {self.log()} {self.stderr()}'
            time.sleep(0.01)
        raise AssertionError(f'no {event}')

    def until_file(self, name):
        path = os.path.join(self.workspace, name)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and not os.path.exists(path):
            assert self.process.poll() is None, self.log()
            time.sleep(0.01)
        with open(path, encoding='utf-8') as f:
            return f.read()

    def log(self):
        with open(os.path.join(self.run_dir, 'log.txt'), encoding='utf-8', errors='replace') as f:
            return f.read()

    def stderr(self):
        with open(self.stderr_path, encoding='utf-8', errors='replace') as f:
            return f.read()

    def executed(self):
        with open(os.path.join(self.run_dir, 'out', 'executed.ipynb'), encoding='utf-8') as f:
            return json.load(f)

    def outputs(self, cell):
        return self.executed()['cells'][cell]['outputs']

    def text(self, cell):
        return ''.join(o.get('text', '') or ''.join(o.get('data', {}).get('text/plain', ''))
                       for o in self.outputs(cell))

    def ended(self, cls, code, **fields):
        """Wait, and check the last event and the exit status."""
        self.wait()
        last = self.events()[-1] if self.events() else {}
        shown = f'{last} {self.log()[-3000:] if os.path.exists(self.run_dir + "/log.txt") else ""}'
        shown += self.stderr()
        assert last.get('event') == 'finished', shown
        assert last.get('class') == cls, shown
        assert self.status == code, (self.status, shown)
        for k, v in fields.items():
            assert last.get(k) == v, (k, shown)
        kinds = [e['event'] for e in self.events()]
        assert kinds.count('finished') == 1, kinds
        return last


def pids_with(text):
    """Processes whose command line contains text."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as f:
                if text.encode() in f.read().replace(b'\0', b' '):
                    found.append(int(pid))
        except OSError:
            pass
    return found


def kernels_of(run):
    found = []
    for pid in pids_with('ipykernel_launcher'):
        try:
            if os.readlink(f'/proc/{pid}/cwd').startswith(run.workspace):
                found.append(pid)
        except OSError:
            pass
    return found


def kernel_of(run):
    pids = kernels_of(run)
    assert len(pids) == 1, pids
    return pids[0]


def wait_for_pids(count, text, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while len(found := pids_with(text)) != count and time.monotonic() < end:
        time.sleep(0.02)
    assert len(found) == count, (found, text)


def wait_none(text, seconds=5):
    wait_for_pids(0, text, seconds)


def at_most(seconds):
    """What a machine that does nothing else keeps easily; others have longer."""
    return seconds * max(1, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


def wait_no_run_since(before):
    """No run directory of its own has stayed; those of others come and go."""
    end = time.monotonic() + PATIENCE
    left = True
    while left and time.monotonic() < end:
        left = [n for n in set(os.listdir('/tmp')) - before if n.startswith('nbcid-run-')]
        time.sleep(0.02)
    assert not left, left


def main(tests):
    if subprocess.run([PYTHON, '-c', 'import nbclient, ipykernel'],
                      stderr=subprocess.DEVNULL).returncode:
        print(f'1..0 # SKIP {PYTHON} has no nbclient and ipykernel')
        return
    tests.run(sys.argv[2] if len(sys.argv) > 2 else '')
