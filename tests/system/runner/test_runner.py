#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`nbcid run` from outside: real kernels, real kills.

Usage: test_runner.py NBCID [PART-OF-A-TEST'S-NAME]. Prints TAP. Needs /usr/bin/python3 with
nbclient and ipykernel; what else is missing (numpy, R, bubblewrap) is skipped by name.
"""
import json
import os
import signal
import subprocess
import tempfile
import time

from runner_world import (
    NBCID, PATIENCE, PYTHON, Run, at_most, kernel_of, kernels_of, main, notebook, pids_with,
    tap, wait_for_pids, wait_no_run_since, wait_none)

TESTS = tap.Tests()


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
            wait_for_pids(2, 'sleep ' + mark)  # one is forked twice, and not yet a sleep
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


TAKE_PORT = """
import json, os, socket, subprocess, sys
mark, connection = sys.argv[1:]
times = open(mark).read() if os.path.exists(mark) else ''
open(mark, 'w').write(times + '.')
if len(times) < int(os.environ.get('TIMES', 1)):
    s = socket.create_server(('127.0.0.1', json.load(open(connection))['iopub_port']))
    subprocess.Popen(['sleep', '60'], pass_fds=[s.fileno()], stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL, start_new_session=True)
    sys.exit('zmq.error.ZMQError: Address already in use')
os.execv('/usr/bin/python3', ['python3', '-m', 'ipykernel_launcher', '-f', connection])
"""


@TESTS.test
def a_kernel_whose_port_was_taken_is_started_again():
    for times, cls, status in (2, 'passed', 0), (3, 'kernel_start', 3):
        with tempfile.TemporaryDirectory() as d, \
                Run(notebook('print(6 * 7)', kernel='broken', language='broken'), sandbox='none',
                    python=fake_prefix(d, ['env', f'TIMES={times}', PYTHON, '-c', TAKE_PORT,
                                           f'{d}/mark', '{connection_file}'])) as r:
            r.ended(cls, status)
            with open(f'{d}/mark', encoding='ascii') as f:
                assert f.read() == '...'
            assert r.log().count('it is started again') == 2
            assert cls != 'passed' or r.text(0) == '42\n'


@TESTS.test
def no_kernel_listens_where_others_are_sent():
    ask = ('import json, ipykernel\n'
           'c = json.loads(ipykernel.get_connection_info())\n'
           'ports = sorted(v for k, v in c.items() if k.endswith("_port"))\n'
           'print(*ports)')
    look = 'print(open("/proc/net/unix").read().count(f"@nbcid/ports/{min(ports)}"))'
    with open('/proc/sys/net/ipv4/ip_local_port_range', encoding='ascii') as f:
        end = int(f.read().split()[0])
    with Run(notebook(ask, look)) as r:
        r.ended('passed', 0)
        ports = list(map(int, r.text(0).split()))
        assert len(set(ports)) == 5 and all(10000 <= p < end for p in ports), (ports, end)
        assert r.text(1) == '1\n', 'other runs may take the same ports'


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


if __name__ == '__main__':
    main(TESTS)
