#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`nbcid run` from outside: real kernels, real kills.

Usage: test_runner.py NBCID [PART-OF-A-TEST'S-NAME]. Prints TAP. Needs /usr/bin/python3 with
nbclient and ipykernel; what else is missing (numpy, R, bubblewrap) is skipped by name.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import tap  # noqa: E402

NBCID = os.path.abspath(sys.argv[1])
PYTHON = '/usr/bin/python3'
PATIENCE = 120
FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../fixtures/notebooks')
TESTS = tap.Tests()


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


def wait_none(text, seconds=5):
    end = time.monotonic() + seconds
    while pids_with(text) and time.monotonic() < end:
        time.sleep(0.02)
    assert not pids_with(text), pids_with(text)


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


# ---- ends of every kind ----

@TESTS.test
def a_notebook_passes():
    for sandbox in ('auto', 'none'):
        with Run(notebook('x = 20', '', 'print(x + 1)', ('1/0', ['skip-execution'])),
                 sandbox=sandbox) as r:
            last = r.ended('passed', 0, status='passed', cells=2, cells_done=2)
            assert r.text(2) == '21\n'
            assert [e['event'] for e in r.events()] == [
                'kernel_ready', 'cell_started', 'cell_finished', 'cell_started', 'cell_finished',
                'finished']
            assert [e['cell'] for e in r.events() if 'cell' in e] == [1, 1, 3, 3]
            assert last['wall_us'] > 0 and last['cpu_us'] > 0 and last['memory_peak'] > 1 << 20
            assert r.executed()['metadata']['language_info']['name'] == 'python'
            assert os.stat(r.run_dir).st_mode & 0o777 == 0o700
            assert os.listdir(r.workspace) == ['nb.ipynb']


@TESTS.test
def without_a_run_directory_the_notebook_is_put_beside():
    with tempfile.TemporaryDirectory() as d:
        with open(f'{d}/a.ipynb', 'w') as f:
            json.dump(notebook('print(5)'), f)
        before = set(os.listdir('/tmp'))
        p = subprocess.run([NBCID, 'run', '--python', PYTHON, f'{d}/a.ipynb'],
                           capture_output=True, text=True)
        assert p.returncode == 0, p.stderr
        assert 'kernel ready' in p.stderr
        with open(f'{d}/a.executed.ipynb') as f:
            assert json.load(f)['cells'][0]['outputs'][0]['text'] == '5\n'
        wait_no_run_since(before)


@TESTS.test
def a_cell_error_names_cell_and_error():
    with Run(notebook('print("kept")', 'raise ValueError("shapes (3,) (4,)")', 'print(3)')) as r:
        r.ended('cell_error', 1, status='failed', cell=2, ename='ValueError',
                evalue='shapes (3,) (4,)', cells=3, cells_done=1)
        assert r.text(0) == 'kept\n'
        assert r.outputs(1)[0]['output_type'] == 'error'
        assert '\x1b[' in ''.join(r.outputs(1)[0]['traceback'])
        assert r.outputs(2) == []
        assert [e for e in r.events() if e['event'] == 'cell_failed'][0]['cell'] == 2


@TESTS.test
def errors_of_strange_shape_are_told_cleanly():
    with Run(notebook('class E(Exception): pass\nE.__name__ = "E" * 70000\n'
                      'raise E("\\n\\n\\x1b[31mred\\x00\\x07 \\u6570" + "x" * 200000)')) as r:
        last = r.ended('cell_error', 1, cell=1)
        assert last['evalue'].startswith('red'), last['evalue'][:40]
        assert '数' in last['evalue'] and len(last['evalue']) <= 1000 and len(last['ename']) <= 200


@TESTS.test
def a_kernel_that_does_not_answer_is_given_up():
    with Run(notebook('raise ValueError("\\ud800")')) as r:
        r.ended('cell_error', 1, cell=1, ename='NoReply')
        assert r.seconds < at_most(45) and 'surrogates not allowed' in r.log()


@TESTS.test
def a_syntax_error_is_a_cell_error():
    with Run(notebook('print(1)', 'if True print(2)')) as r:
        r.ended('cell_error', 1, cell=2, ename='SyntaxError')


@TESTS.test
def allowed_errors_are_allowed():
    with Run(notebook(('1/0', ['raises-exception']), 'print(2)')) as r:
        r.ended('passed', 0)
    with Run(notebook('1/0', 'print(2)', execution={'allow_errors': True})) as r:
        r.ended('passed', 0)
        assert r.text(1) == '2\n'


@TESTS.test
def a_segfault_is_a_signal():
    with Run(notebook('print("before")', 'import os, signal; os.kill(os.getpid(), signal.SIGSEGV)',
                      'print(3)')) as r:
        r.ended('signal', 1, cell=2, signo=signal.SIGSEGV, cells_done=1)
        assert r.text(0) == 'before\n'
        assert r.outputs(1)[-1]['ename'] == 'DeadKernel'


@TESTS.test
def leaving_in_the_middle_is_no_pass():
    with Run(notebook('import os; os._exit(0)', 'print(2)')) as r:
        last = r.ended('signal', 1, cell=1)
        assert 'exit status 0' in last['reason'] and 'signo' not in last


@TESTS.test
def sys_exit_zero_passes_and_three_fails():
    with Run(notebook('print(1)', 'import sys; sys.exit(0)', 'print(3)')) as r:
        r.ended('passed', 0)
        assert r.outputs(2) == []
    with Run(notebook('import sys; sys.exit(3)')) as r:
        r.ended('cell_error', 1, cell=1, ename='SystemExit', evalue='3')


@TESTS.test
def a_killed_kernel_is_noticed_at_once():
    for sandbox in ('auto', 'none'):
        # The best of some, since others use the machine; nbclient alone looks once a second.
        took = min(seconds_after_a_kill(sandbox) for _ in range(3))
        assert took < 0.5, took
        print(f'# killed kernel: finished after {took:.3f} s ({sandbox})')


def seconds_after_a_kill(sandbox):
    with Run(notebook('print("before")', 'import time; time.sleep(600)'), sandbox=sandbox) as r:
        r.until('cell_started', cell=2)
        time.sleep(0.3)
        pid = kernel_of(r)
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        last = r.ended('signal', 1, cell=2, signo=signal.SIGKILL, cells_done=1)
        assert r.text(0) == 'before\n', last
        return time.monotonic() - began


@TESTS.test
def a_cell_timeout_ends_the_run():
    with Run(notebook('print("a")', 'print("b", flush=True)\nimport time; time.sleep(600)'),
             '--cell-timeout', '1500ms') as r:
        last = r.ended('timeout', 1, status='timed_out', cell=2)
        assert '1.5 s' in last['reason']
        assert r.text(0) == 'a\n' and r.text(1).startswith('b\n')
        assert r.seconds < at_most(15)


@TESTS.test
def a_job_timeout_saves_what_is_done():
    for source in ('import time; time.sleep(600)',
                   'import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass'):
        for limit in (4, 40):  # for a kernel that starts slowly
            with Run(notebook('print("a")', source), '--timeout', f'{limit}s') as r:
                last = r.ended('timeout', 1)
                assert limit - 0.1 < r.seconds < at_most(limit + 8), r.seconds
                if last.get('cell') != 2 and limit < 40:
                    continue
                assert last['reason'] == f'timed out in cell 2 after {limit} s', last
                assert r.text(0) == 'a\n'
                break


@TESTS.test
def a_timeout_before_the_kernel_is_up_is_one():
    with Run(notebook('print(1)'), '--timeout', '100ms') as r:
        last = r.ended('timeout', 1)
        assert 'before the first cell' in last['reason']
        assert r.seconds < at_most(10), r.seconds
        assert r.executed()['cells'][0]['outputs'] == []


@TESTS.test
def cancelling_saves_the_notebook():
    for sandbox in ('auto', 'none'):
        with Run(notebook('print("a")', 'print("b", flush=True)\nimport time; time.sleep(600)'),
                 sandbox=sandbox) as r:
            r.until('cell_started', cell=2)
            time.sleep(0.5)
            began = time.monotonic()
            r.process.terminate()
            r.ended('cancelled', 1, status='cancelled', cells_done=1)
            assert time.monotonic() - began < at_most(6)
            assert r.text(0) == 'a\n' and r.text(1).startswith('b\n')
            assert r.outputs(1)[-1]['ename'] == 'KeyboardInterrupt'


@TESTS.test
def cancelling_before_the_kernel_is_up():
    with Run(notebook('print(1)')) as r:
        end = time.monotonic() + 10
        while not os.path.exists(r.run_dir + '/started') and time.monotonic() < end:
            time.sleep(0.005)
        r.process.terminate()
        r.ended('cancelled', 1)
        assert r.seconds < at_most(10)


@TESTS.test
def a_killed_engine_is_our_fault_and_the_notebook_is_there():
    for sandbox in ('auto', 'none'):
        with Run(notebook('print("a")', 'import time; time.sleep(600)'), sandbox=sandbox) as r:
            r.until('cell_started', cell=2)
            time.sleep(2.2)
            for pid in pids_with(r.run_dir + '/engine.py ' + r.run_dir + '/spec.json'):
                with open(f'/proc/{pid}/comm') as f:
                    if f.read().startswith('python'):
                        os.kill(pid, signal.SIGKILL)
            r.ended('infrastructure', 3)
            assert r.text(0) == 'a\n'
            assert not kernels_of(r)


@TESTS.test
def a_killed_runner_leaves_no_process():
    source = ('import os, subprocess, sys\n'
              'if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n'
              '        os.execvp("sleep", ["sleep", "98765.%d"])\n    os._exit(0)\n'
              'subprocess.Popen(["sleep", "98765.%d"], start_new_session=True)\n')
    for sandbox in ('auto', 'none'):
        mark = f'98765.{os.getpid()}'
        with Run(notebook(source.replace('%d', str(os.getpid())),
                          'import time; time.sleep(600)'), sandbox=sandbox) as r:
            r.until('cell_started', cell=2)
            assert len(pids_with('sleep ' + mark)) == 2
            r.process.kill()
            r.wait()
            wait_none('sleep ' + mark)
            wait_none(r.run_dir + '/')
            assert not kernels_of(r)
            assert r.events()[-1]['event'] != 'finished'


@TESTS.test
def daemonised_grandchildren_are_killed_at_the_end():
    mark = f'87654.{os.getpid()}'
    source = ('import os\nfor i in range(5):\n  if os.fork() == 0:\n    os.setsid()\n'
              '    if os.fork() == 0:\n      os.setsid()\n'
              f'      os.execvp("sleep", ["sleep", "{mark}"])\n    os._exit(0)\n')
    for sandbox in ('auto', 'none'):
        with Run(notebook(source, 'import time; time.sleep(0.5)'), sandbox=sandbox) as r:
            r.until('cell_started', cell=2)
            r.ended('passed', 0)
            assert not pids_with('sleep ' + mark)


# ---- limits ----

@TESTS.test
def memory_max_gives_out_of_memory():
    with Run(notebook('print("a")', 'b = bytearray(3 << 30)'), '--memory-max', '1GiB') as r:
        last = r.ended('out_of_memory', 1, cell=2, status='failed')
        assert '1024 MiB' in last['reason'], last
        assert r.text(0) == 'a\n'


@TESTS.test
def numpy_out_of_memory_has_the_class_too():
    needs_module('numpy')
    with Run(notebook('import numpy as np', 'a = np.ones((40000, 20000))'),
             '--memory-max', '1GiB') as r:
        r.ended('out_of_memory', 1, cell=2)


@TESTS.test
def many_processes_are_summed():
    source = ('import multiprocessing as mp, time\n'
              'def work(i):\n    b = bytearray(b"x") * (120 << 20)\n    time.sleep(8)\n'
              'ps = [mp.Process(target=work, args=(i,)) for i in range(8)]\n'
              '[p.start() for p in ps]\n[p.join() for p in ps]\n'
              'assert all(p.exitcode == 0 for p in ps), [p.exitcode for p in ps]')
    for sandbox in ('auto', 'none'):
        with Run(notebook('print("a")', source), '--memory-max', '600MiB', '--timeout', '90s',
                 sandbox=sandbox) as r:
            last = r.ended('out_of_memory', 1, cell=2)
            assert last['memory_peak'] > 500 << 20
            assert r.text(0) == 'a\n'


@TESTS.test
def shared_pages_are_not_counted_twice():
    source = ('import os, time\nb = bytearray(b"x") * (200 << 20)\npids = []\n'
              'for i in range(6):\n  pid = os.fork()\n  if pid == 0:\n    time.sleep(2)\n'
              '    os._exit(0)\n  pids.append(pid)\n[os.waitpid(p, 0) for p in pids]')
    with Run(notebook(source), '--memory-max', '600MiB') as r:
        r.ended('passed', 0)


@TESTS.test
def the_default_limits_leave_room_for_numpy():
    needs_module('pandas')
    with Run(notebook('import numpy as np, pandas as pd\na = np.random.rand(1500, 1500)\n'
                      'print((a @ a).shape, pd.DataFrame(a).describe().shape)'),
             '--memory-max', '4GiB', '--processes-max', '512') as r:
        r.ended('passed', 0)
        assert '(1500, 1500)' in r.text(0)


@TESTS.test
def a_fork_bomb_is_bounded():
    source = ('import os, time\nfor i in range(150):\n  try:\n    pid = os.fork()\n'
              '  except OSError:\n    break\n  if pid == 0:\n    os.setsid()\n'
              '    time.sleep(600)\n    os._exit(0)\ntime.sleep(30)')
    for sandbox in ('auto', 'none'):
        with Run(notebook('print("a")', source), '--processes-max', '40', sandbox=sandbox) as r:
            last = r.ended('signal', 1, cell=2)
            assert '40 processes' in last['reason'], last
            assert r.seconds < at_most(20)
            assert r.text(0) == 'a\n'
            # Told by the engine: it lives, though it is one of the processes that are counted.
            assert r.outputs(1)[-1]['ename'] == 'DeadKernel', r.outputs(1)
            wait_none(r.run_dir + '/')
            assert not kernels_of(r)


@TESTS.test
def too_much_output_ends_the_run():
    flood = 'while True: print("x" * 10000)'
    stubborn = 'import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n' + flood
    for source in (flood, stubborn):
        with Run(notebook('print("a")', source), '--max-output', '1MiB') as r:
            last = r.ended('cell_error', 1, cell=2, ename='OutputLimit')
            assert '1048576 bytes' in last['evalue']
            assert r.text(0) == 'a\n'
            path = os.path.join(r.run_dir, 'out', 'executed.ipynb')
            assert os.path.getsize(path) < 2 << 20
            assert r.seconds < at_most(25), r.seconds


@TESTS.test
def what_the_kernel_prints_past_its_streams_is_in_a_bounded_log():
    # The kernel's own descriptors are captured; those of its parent, the engine, are the log.
    source = ('import os\nfd = os.open(f"/proc/{os.getppid()}/fd/2", os.O_WRONLY)\n'
              'for i in range(3000): os.write(fd, b"y" * 9999 + b"\\n")')
    with Run(notebook(source), sandbox='none') as r:
        r.ended('passed', 0)
        size = os.path.getsize(r.run_dir + '/log.txt')
        assert 16 << 20 <= size < (16 << 20) + 1000, size
        assert r.log().endswith('the log is limited to 16 MiB]\n'), r.log()[-200:]


@TESTS.test
def a_job_that_never_stops_logging_meets_its_deadline():
    source = ('import os\nfd = os.open(f"/proc/{os.getppid()}/fd/2", os.O_WRONLY)\n'
              'while True: os.write(fd, b"y" * 65536)')
    with Run(notebook(source), '--timeout', '5s', sandbox='none') as r:
        r.ended('timeout', 1)
        assert r.seconds < at_most(14), r.seconds


# ---- kernels ----

@TESTS.test
def no_such_kernel_names_what_there_is():
    for name in ('julia-1.9', '/bin/sh', '../../etc', '$(touch /tmp/nbcid-owned); true', ''):
        with Run(notebook('print(1)', kernel=name or 'x', language='cobol'),
                 *(['--kernel', name] if name else [])) as r:
            last = r.ended('no_kernel', 1)
            assert 'python3' in last['reason'], last
            assert r.executed()['nbformat'] == 4
    assert not os.path.exists('/tmp/nbcid-owned')


@TESTS.test
def another_kernel_of_the_language_will_do():
    with Run(notebook('print(1)', kernel='conda-env-ml-py')) as r:
        r.ended('passed', 0)
        assert 'conda-env-ml-py' in r.log()
    with Run(notebook('print(1)', kernel='local-tf', language=''), '--kernel', 'tf2',
             '--language', 'Python') as r:
        r.ended('passed', 0)


@TESTS.test
def metadata_of_any_shape_is_survived():
    nb = notebook('print(1)')
    nb['metadata'] = {'kernelspec': 'x', 'language_info': 3, 'execution': [1]}
    nb['cells'][0]['metadata'] = {'tags': 'skip-execution'}
    with Run(nb) as r:
        r.ended('passed', 0)


def fake_prefix(base, argv):
    """A venv-like prefix whose only python3 kernel has that argv."""
    os.makedirs(f'{base}/env/bin')
    os.makedirs(f'{base}/env/share/jupyter/kernels/broken')
    with open(f'{base}/env/pyvenv.cfg', 'w') as f:
        f.write('home = /usr/bin\ninclude-system-site-packages = true\n')
    os.symlink(PYTHON, f'{base}/env/bin/python3')
    with open(f'{base}/env/share/jupyter/kernels/broken/kernel.json', 'w') as f:
        json.dump({'argv': argv, 'display_name': 'b', 'language': 'broken'}, f)
    return f'{base}/env/bin/python3'


@TESTS.test
def a_kernel_that_does_not_start_is_told():
    for argv in (['/nonexistent/kernel', '{connection_file}'], ['/bin/false'],
                 ['/bin/sh', '-c', 'echo its own words >&2; exit 3']):
        with tempfile.TemporaryDirectory() as d:
            with Run(notebook('print(1)', kernel='broken', language='broken'),
                     python=fake_prefix(d, argv)) as r:
                last = r.ended('kernel_start', 3)
                assert 'broken' in last['reason']
                assert r.seconds < at_most(30), r.seconds
                if 'sh' in argv[0]:
                    assert 'its own words' in r.log()


@TESTS.test
def a_kernel_that_ignores_everything_is_ended():
    source = ('import signal\nfor s in (signal.SIGINT, signal.SIGTERM): '
              'signal.signal(s, signal.SIG_IGN)\nimport atexit, time\n'
              'atexit.register(time.sleep, 600)')
    with Run(notebook(source)) as r:
        r.ended('passed', 0)
        assert r.seconds < at_most(25), r.seconds


@TESTS.test
def a_python_without_nbclient_is_told_with_the_remedy():
    with tempfile.TemporaryDirectory() as d:
        os.makedirs(f'{d}/bin')
        with open(f'{d}/pyvenv.cfg', 'w') as f:
            f.write('home = /usr/bin\ninclude-system-site-packages = false\n')
        os.symlink(PYTHON, f'{d}/bin/python3')
        with Run(notebook('print(1)'), python=f'{d}/bin/python3') as r:
            last = r.ended('infrastructure', 3)
            assert 'python3-nbclient' in last['reason']
            assert 'nbclient' in r.log() or 'nbformat' in r.log()


@TESTS.test
def errors_at_the_start_are_in_events_too():
    with Run(notebook('1'), python='/nonexistent/python') as r:
        r.wait()
        assert r.events()[-1]['event'] == 'finished'
        assert r.events()[-1]['class'] == 'infrastructure'
        assert '/nonexistent/python' in r.events()[-1]['reason'] and r.status in (2, 3)
    with Run(None, text='{"cells": [') as r:
        r.ended('check', 1)
    with Run(None, text='not json') as r:
        r.ended('check', 1)
    with Run(notebook('1'), '--cgroup', '/nonexistent/cgroup') as r:
        r.wait()
        assert r.events()[-1]['class'] == 'infrastructure'


@TESTS.test
def a_link_out_of_the_workspace_is_refused():
    with tempfile.TemporaryDirectory() as d:
        with open(f'{d}/secret.ipynb', 'w') as f:
            json.dump(notebook('print(1)'), f)
        os.mkdir(f'{d}/ws')
        os.mkdir(f'{d}/ws-other')
        os.symlink('../secret.ipynb', f'{d}/ws/nb.ipynb')
        with Run(None, workspace=f'{d}/ws') as r:
            r.wait()
            assert r.events()[-1]['class'] == 'check', r.events()
            assert 'out of the workspace' in r.events()[-1]['reason']
        os.remove(f'{d}/ws/nb.ipynb')
        os.rename(f'{d}/secret.ipynb', f'{d}/ws-other/x.ipynb')
        os.symlink('../ws-other/x.ipynb', f'{d}/ws/nb.ipynb')
        with Run(None, workspace=f'{d}/ws') as r:
            r.wait()
            assert r.events()[-1]['class'] == 'check', r.events()
        os.remove(f'{d}/ws/nb.ipynb')
        os.mkfifo(f'{d}/ws/nb.ipynb')
        with Run(None, workspace=f'{d}/ws') as r:
            r.wait(20)
            assert r.events()[-1]['class'] == 'check', r.events()


@TESTS.test
def one_run_directory_one_run():
    with Run(notebook('open("count", "a").write("x")', 'import time; time.sleep(1)')) as r:
        others = [subprocess.Popen(r.argv, stderr=subprocess.DEVNULL) for _ in range(4)]
        codes = [p.wait(PATIENCE) for p in others] + [r.wait().status]
        assert sorted(codes) == [0, 4, 4, 4, 4], codes
        with open(r.workspace + '/count') as f:
            assert f.read() == 'x'
        assert [e['event'] for e in r.events()].count('finished') == 1
        assert subprocess.run(r.argv, stderr=subprocess.DEVNULL).returncode == 4


# ---- the sandbox ----

@TESTS.test
def the_sandbox_hides_and_protects():
    needs_sandbox()
    probe = '''
import json, os
def writable(p):
    try:
        with open(p, 'w') as f: f.write('x')
        return True
    except OSError:
        return False
def names(p):
    try: return sorted(os.listdir(p))
    except OSError as e: return repr(e)
def text(p):
    try: return open(p).read()
    except OSError as e: return repr(e)
seen = {'env': dict(os.environ), 'cwd': os.getcwd(), 'pids': len([p for p in os.listdir('/proc') if p.isdigit()]),
 'state': names(STATE), 'secret': text(SECRET), 'inner': text('inner-secret'), 'root': names('/root'), 'home': names('/home'), 'run': names('/run'),
 'tmp': names('/tmp'), 'w_ws': writable('made'), 'w_etc': writable('/etc/nbcid-test'), 'w_usr': writable('/usr/nbcid-test'),
 'w_var': writable('/var/lib/nbcid-test'), 'w_engine': writable(ENGINE), 'w_tmp': writable('/tmp/x'), 'w_shm': writable('/dev/shm/x'),
 'mount': os.system('umount ' + STATE + ' 2>/dev/null; mount -o remount,rw / 2>/dev/null'), 'caps': [l for l in open('/proc/self/status') if l.startswith('CapEff')]}
json.dump(seen, open('seen.json', 'w'))
'''
    with tempfile.TemporaryDirectory() as d:
        os.mkdir(f'{d}/state')
        for name in ('state/db', 'secret'):
            with open(f'{d}/{name}', 'w') as f:
                f.write('TOP SECRET')
        env = {**os.environ, 'NBCID_TEST_TOKEN': 'hunter2', 'CREDENTIALS_DIRECTORY': d}
        ws = f'{d}/ws'
        os.mkdir(ws)
        with open(f'{ws}/inner-secret', 'w') as f:
            f.write('TOP SECRET')
        source = f'STATE, SECRET = {d + "/state"!r}, {d + "/secret"!r}\n'
        source += 'import os; ENGINE = os.environ["HOME"][:-4] + "engine.py"\n' + probe
        with Run(notebook(source), '--hide', f'{d}/state', '--hide', f'{d}/secret', '--hide',
                 f'{ws}/inner-secret', '--hide', f'{d}/missing', env=env, workspace=ws,
                 sandbox='bubblewrap', name='sub/dir/nb.ipynb') as r:
            r.ended('passed', 0)
            seen_path = os.path.join(ws, 'sub/dir/seen.json')
            with open(seen_path) as f:
                seen = json.load(f)
        assert seen['cwd'] == ws + '/sub/dir'
        assert seen['state'] == [], seen['state']
        assert 'TOP' not in seen['secret']
        assert 'hunter2' not in json.dumps(seen['env'])
        assert 'CREDENTIALS_DIRECTORY' not in seen['env']
        assert seen['pids'] <= 6, seen['pids']
        assert seen['root'] == [] and seen['home'] == []
        assert set(seen['run']) <= {'systemd'}, seen['run']
        assert not any('secret' in n or n == 'state' for n in seen['tmp']), seen['tmp']
        for key in ('w_ws', 'w_tmp', 'w_shm'):
            assert seen[key], key
        for key in ('w_etc', 'w_usr', 'w_var', 'w_engine'):
            assert not seen[key], key
        assert seen['caps'][0].split()[1].strip('0') == '', seen['caps']
        assert not os.path.exists('/tmp/x') and not os.path.exists('/dev/shm/x')
        with Run(notebook('print(repr(open("inner-secret").read()))'), '--hide',
                 f'{ws}/inner-secret', workspace=ws, sandbox='bubblewrap') as r:
            r.wait()
            assert 'TOP' not in json.dumps(r.executed())


@TESTS.test
def the_network_is_kept():
    for sandbox in ('auto', 'none'):
        server = socket.create_server(('127.0.0.1', 0))
        got = []

        def serve():
            c, _ = server.accept()
            got.append(c.recv(100))
            c.sendall(b'pong')
            c.close()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        source = (f'import socket; s = socket.create_connection(("127.0.0.1", '
                  f'{server.getsockname()[1]}), 5)\ns.sendall(b"ping"); print(s.recv(10))')
        with Run(notebook(source), sandbox=sandbox) as r:
            r.ended('passed', 0)
            assert 'pong' in r.text(0) and got == [b'ping']
        server.close()


@TESTS.test
def the_environment_is_clean_without_a_sandbox():
    env = {**os.environ, 'NBCID_TEST_TOKEN': 'hunter2'}
    with Run(notebook('import os; print(dict(os.environ)); print(sorted(os.listdir("/proc/self/fd")))',
                      'print(os.getsid(0) == os.getpid(), os.getcwd())'),
             sandbox='none', env=env, name='a/b.ipynb') as r:
        r.ended('passed', 0)
        assert 'hunter2' not in r.text(0)
        assert r.text(1) == f'True {r.workspace}/a\n'


# ---- real input ----

@TESTS.test
def fifty_megabytes_of_output_pass():
    with Run(notebook('for i in range(500): print("x" * 104857)'), '--max-output', '512MiB',
             '--memory-max', '4GiB') as r:
        r.ended('passed', 0)
        assert len(r.text(0)) >= 50 << 20
        assert r.seconds < at_most(60)
        print(f'# 50 MB of output: {r.seconds:.1f} s')


@TESTS.test
def five_thousand_cells_pass():
    with Run(notebook(*[f'x = {i}' if i % 10 else f'print({i})' for i in range(5000)])) as r:
        r.ended('passed', 0, cells=5000, cells_done=5000)
        assert r.text(4990) == '4990\n'
        print(f'# 5000 cells: {r.seconds:.1f} s')


@TESTS.test
def a_print_loop_makes_one_output():
    with Run(notebook('import sys\nfor i in range(2000):\n  print(i); sys.stdout.flush()\n'
                      'print("e", file=sys.stderr)')) as r:
        r.ended('passed', 0)
        assert [o['name'] for o in r.outputs(0)] == ['stdout', 'stderr']
        assert r.text(0).startswith('0\n1\n')


@TESTS.test
def rich_output_is_kept():
    needs_module('matplotlib')
    needs_module('pandas')
    with Run(notebook('%matplotlib inline\nimport matplotlib.pyplot as plt; plt.plot([1,3,2])',
                      'import pandas as pd; pd.DataFrame({"数": [1, 2], "é": ["ñ", "語"]})',
                      'print("\\x1b[31mred\\x1b[0m 漢字 \\U0001f600")',
                      'from IPython.display import display, JSON, clear_output\n'
                      'h = display("a", display_id=True); h.update("b")',
                      'display({"application/json": {"a": float("nan")}}, raw=True)',
                      'for i in range(3): clear_output(wait=True); print(i)')) as r:
        r.ended('passed', 0)
        assert any('image/png' in o.get('data', {}) for o in r.outputs(0)), r.outputs(0)
        assert '語' in json.dumps(r.outputs(1), ensure_ascii=False)
        assert '\x1b[31mred' in r.text(2) and '漢字' in r.text(2)
        assert r.outputs(3)[0]['data']['text/plain'] == "'b'"
        json.dumps(r.outputs(4), allow_nan=False)  # NaN is no JSON
        assert r.text(5) == '2\n'


@TESTS.test
def widget_messages_are_kept():
    source = '''
from ipykernel.comm import Comm
from IPython.display import display
c = Comm(target_name='jupyter.widget', data={'state': {'_model_name': 'IntSliderModel',
    '_model_module': '@jupyter-widgets/controls', '_model_module_version': '1.5.0', 'value': 7},
    'buffer_paths': []}, metadata={'version': '2.0.0'})
display({'application/vnd.jupyter.widget-view+json': {'model_id': c.comm_id,
    'version_major': 2, 'version_minor': 0}, 'text/plain': 'slider'}, raw=True)
'''
    with Run(notebook(source)) as r:
        r.ended('passed', 0)
        states = r.executed()['metadata']['widgets'][
            'application/vnd.jupyter.widget-state+json']['state']
        assert [s['state']['value'] for s in states.values()] == [7]


@TESTS.test
def fixtures_run():
    for name in ('widgets', 'cjk', 'passed-4.0', 'passed-4.4', 'passed-4.5', 'clean-exit'):
        with open(f'{FIXTURES}/{name}.ipynb', encoding='utf-8') as f:
            text = f.read()
        with Run(None, text=text) as r:
            r.wait()
            last = r.events()[-1]
            assert last['class'] in ('passed', 'cell_error'), (name, last, r.log())
            r.executed()


@TESTS.test
def r_runs_beside_python():
    if not has_kernel('ir'):
        raise tap.Skip('no R kernel')
    with Run(notebook('x <- c(1, 2, 3)\nmean(x)', 'print("é 数")', kernel='ir',
                      language='R')) as r:
        r.ended('passed', 0)
        assert '2' in r.text(0) and '数' in r.text(1)
    with Run(notebook('x <- 1', 'stop("no data")', kernel='ir', language='R')) as r:
        last = r.ended('cell_error', 1, cell=2)
        assert 'no data' in last['evalue'], last


@TESTS.test
def a_language_alone_names_its_kernel():
    nb = notebook('cat(6 * 7)')
    nb['metadata'] = {'language_info': {'name': 'R'}}
    with Run(nb) as r:
        if has_kernel('ir'):
            r.ended('passed', 0)
            assert '42' in r.text(0), r.text(0)
        else:
            last = r.ended('no_kernel', 1)
            assert 'names no kernel, and there is none for R' in last['reason'], last
    nb['metadata'] = {'language_info': {'name': 'cobol'}}
    with Run(nb) as r:
        last = r.ended('no_kernel', 1)
        assert 'names no kernel, and there is none for cobol; ' in last['reason'], last
    nb['cells'][0]['source'] = 'print(6 * 7)'
    nb['metadata'] = {}
    with Run(nb) as r:
        r.ended('passed', 0)


@TESTS.test
def the_notebook_is_saved_while_it_runs():
    with Run(notebook('print("a")', 'print("b", flush=True); import time; time.sleep(4)')) as r:
        r.until('cell_started', cell=2)
        time.sleep(2.5)
        assert r.text(0) == 'a\n' and r.text(1) == 'b\n'
        r.process.terminate()
        r.wait()


@TESTS.test
def files_without_permission_do_not_stay():
    with tempfile.TemporaryDirectory() as d:
        with open(f'{d}/a.ipynb', 'w') as f:
            json.dump(notebook('import os\nh = os.environ["HOME"]\nos.makedirs(h + "/x/y")\n'
                               'open(h + "/x/y/z", "w").close()\nos.chmod(h + "/x/y", 0)\n'
                               'os.chmod(h + "/x", 0)'), f)
        before = set(os.listdir('/tmp'))
        p = subprocess.run([NBCID, 'run', '-q', '--python', PYTHON, f'{d}/a.ipynb'])
        assert p.returncode == 0
        wait_no_run_since(before)


@TESTS.test
def the_way_to_a_ready_kernel_is_short():
    code = ('import time, asyncio; t = time.monotonic()\n'
            'from jupyter_client import AsyncKernelManager\n'
            'async def main():\n    km = AsyncKernelManager(kernel_name="python3")\n'
            '    await km.start_kernel(); kc = km.client(); kc.start_channels()\n'
            '    await kc.wait_for_ready(timeout=60)\n    print(time.monotonic() - t)\n'
            '    await km.shutdown_kernel(now=True)\nasyncio.run(main())')
    theirs = min(float(subprocess.run([PYTHON, '-c', code], capture_output=True,
                                      text=True).stdout) for _ in range(3))
    for sandbox in ('auto', 'none'):
        ours = []
        for _ in range(3):
            with Run(notebook('1'), sandbox=sandbox) as r:
                r.until('kernel_ready')
                ours.append(time.monotonic() - r.began)
                r.wait()
        print(f'# kernel ready: {min(ours):.2f} s ({sandbox}), '
              f'jupyter_client alone {theirs:.2f} s')


def main(tests):
    if subprocess.run([PYTHON, '-c', 'import nbclient, ipykernel'],
                      stderr=subprocess.DEVNULL).returncode:
        print(f'1..0 # SKIP {PYTHON} has no nbclient and ipykernel')
        return
    tests.run(sys.argv[2] if len(sys.argv) > 2 else '')


if __name__ == '__main__':
    main(TESTS)
