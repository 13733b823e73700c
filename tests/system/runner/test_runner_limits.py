#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`nbcid run` at its limits: memory, processes, output; the sandbox; real notebooks.

Usage: test_runner_limits.py NBCID [PART-OF-A-TEST'S-NAME]. Prints TAP. As test_runner.py.
"""
import json
import os
import socket
import subprocess
import tempfile
import threading
import time

from runner_world import (
    FIXTURES, NBCID, PYTHON, Run, at_most, has_kernel, kernels_of, main, needs_module,
    needs_sandbox, notebook, tap, wait_no_run_since, wait_none)

TESTS = tap.Tests()


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


if __name__ == '__main__':
    main(TESTS)
