#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Environments of `nbcid run`: real virtual environments, real pip, real kernels.

Usage: test_environment.py NBCID [PART-OF-A-TEST'S-NAME]. Prints TAP. The packages come from an
index that this program serves, but for tests that say "real index" in their names: those are
skipped where it does not answer. Its ipykernel is a stand-in that starts Debian's.
"""
import base64
import contextlib
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile

import test_runner
from test_runner import NBCID, PYTHON, Run, has_kernel, needs_sandbox, notebook, tap

TESTS = tap.Tests()
VERSION = subprocess.run([PYTHON, '-c', 'import platform; print(platform.python_version())'],
                         capture_output=True, text=True, check=True).stdout.strip()
MINOR = '.'.join(VERSION.split('.')[:2])
PIP = ('--uv', '')
KERNEL = '''
import sys
sys.path.append('/usr/lib/python3/dist-packages')
from ipykernel import kernelapp
if __name__ == '__main__':
    kernelapp.launch_new_instance()
'''


# ---- packages and an index of them ----

def wheel(name, version, files=None, requires=()):
    """A wheel is a zip: (file name, bytes)."""
    info = f'{name}-{version}.dist-info'
    files = dict(files or {f'{name}.py': f'__version__ = {version!r}\n'})
    files[f'{info}/METADATA'] = (f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'
                                 + ''.join(f'Requires-Dist: {r}\n' for r in requires))
    files[f'{info}/WHEEL'] = ('Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n'
                              'Tag: py3-none-any\n')
    record = ''
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=')
        record += f'{path},sha256={digest.decode()},{len(text.encode())}\n'
    files[f'{info}/RECORD'] = record + f'{info}/RECORD,,\n'
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as z:
        for path, text in files.items():
            z.writestr(path, text)
    return f'{name}-{version}-py3-none-any.whl', out.getvalue()


def sdist(name, version, setup):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w:gz') as t:
        for path, text in (('setup.py', setup),
                           ('PKG-INFO', f'Metadata-Version: 1.0\nName: {name}\n'
                                        f'Version: {version}\n')):
            member = tarfile.TarInfo(f'{name}-{version}/{path}')
            member.size = len(text)
            t.addfile(member, io.BytesIO(text.encode()))
    return f'{name}-{version}.tar.gz', out.getvalue()


class Index:
    """A package index (PEP 503) on the loopback interface."""

    def __init__(self, *packages, mode='fine'):
        self.files = {}  # package -> {file: bytes}
        self.mode = mode  # or 503, or 'hangs'
        self.asked = []
        self.waiting = threading.Event()
        self.go_on = threading.Event()
        for p in packages or (wheel('colour', '1.0'), wheel('colour', '2.0')):
            self.add(p)
        self.add(wheel('ipykernel', '99.0', {'ipykernel_launcher.py': KERNEL}))
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_GET(self):
                index.answer(self)

            do_HEAD = do_GET

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f'http://127.0.0.1:{self.server.server_address[1]}/simple'

    def add(self, package):
        name, data = package
        self.files.setdefault(name.split('-')[0].replace('_', '-'), {})[name] = data

    def answer(self, q):
        self.asked.append(q.path)
        parts = q.path.strip('/').split('/')
        code, body = 404, b'not here'
        if self.mode == 'hangs':
            self.waiting.set()
            self.go_on.wait(60)
        if self.mode == 503:
            code = 503
        elif parts[0] == 'simple' and len(parts) == 2 and parts[1] in self.files:
            links = ''.join(f'<a href="/file/{parts[1]}/{f}">{f}</a>\n'
                            for f in self.files[parts[1]])
            code, body = 200, f'<!DOCTYPE html><html><body>{links}</body></html>'.encode()
        elif parts[0] == 'file' and parts[2] in self.files.get(parts[1], {}):
            code, body = 200, self.files[parts[1]][parts[2]]
        kind = 'text/html' if parts[0] == 'simple' else 'application/octet-stream'
        try:
            q.send_response(code)
            q.send_header('Content-Type', kind)
            q.send_header('Content-Length', str(len(body)))
            q.end_headers()
            if q.command == 'GET':
                q.wfile.write(body)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


class Store:
    """A directory for environments, and the options that name it."""

    def __enter__(self):
        self.base = tempfile.mkdtemp(prefix='nbcid-test-')
        self.path = os.path.join(self.base, 'environments')
        self.n = 0
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.base, ignore_errors=True)

    def run(self, index, source, *options, sandbox='auto', kernel='python3', language='python',
            **environment):
        self.n += 1
        file = os.path.join(self.base, f'environment-{self.n}.json')
        with open(file, 'w', encoding='utf-8') as f:
            json.dump({'why': 'the test says so', **environment}, f)
        nb = notebook(*([source] if isinstance(source, str) else source), kernel=kernel,
                      language=language)
        url = ('--index-url', index if isinstance(index, str) else index.url) if index else ()
        tool = () if '--uv' in options else PIP
        return Run(nb, '--environment', file, '--environments', self.path, *url, *tool, *options,
                   sandbox=sandbox)

    def names(self, end=''):
        return sorted(n for n in os.listdir(self.path) if n.endswith(end)) \
            if os.path.isdir(self.path) else []

    def keys(self):
        return [n for n in self.names() if len(n) == 64]

    def whole(self):
        return [n[:-5] for n in self.names('.json')]


def of_run(run, name):
    path = os.path.join(run.run_dir, name)
    if not os.path.exists(path):
        return None
    with open(path, encoding='utf-8') as f:
        text = f.read()
    return json.loads(text) if name.endswith('.json') else text


IMPORT = 'import colour; print(colour.__version__)'


# ---- what is built and used ----

@TESTS.test
def requirements_are_what_the_kernel_imports():
    look = ('import os, sys; print(sys.prefix == os.environ["VIRTUAL_ENV"], '
            'os.environ["PATH"].split(":")[0] == sys.prefix + "/bin", sys.prefix)')
    with Index() as index, Store() as store:
        with store.run(index, [IMPORT, look, '!colour-says'], requirements='colour==1.0') as r:
            r.ended('passed', 0)
            assert r.text(0) == '1.0\n'
            assert r.text(1).startswith('True True ' + store.path), r.text(1)
            report = of_run(r, 'environment.json')
            assert report['built'] is True and report['lock'] is False, report
            assert report['version'] == VERSION and report['packages']['colour'] == '1.0'
            assert report['builder'].startswith('pip '), report
            assert report['why'] == 'the test says so' and report['host']['cpus'] > 0
            assert [report['hash']] == store.keys() == store.whole()
            assert of_run(r, 'environment.lock') == 'colour==1.0\nipykernel==99.0\n'
            assert 'colour' in of_run(r, 'environment.log.txt') and 'colour' in r.log()
        asked = len(index.asked)
        with store.run(index, IMPORT, requirements='\n# the same\n  colour==1.0 ') as r:
            r.ended('passed', 0)
            assert of_run(r, 'environment.json')['built'] is False
            assert of_run(r, 'environment.log.txt') is None
            assert of_run(r, 'environment.lock') == 'colour==1.0\nipykernel==99.0\n'
            print(f'# an environment that is there: {r.seconds:.1f} s')
        assert len(index.asked) == asked and len(store.keys()) == 1


@TESTS.test
def no_requirements_at_all_is_an_empty_environment():
    with Index() as index, Store() as store:
        source = ('import importlib.util as u, sys; '
                  'sys.path = [p for p in sys.path if "dist-packages" not in p]; '
                  'print(u.find_spec("nbclient"))')
        with store.run(index, source, requirements='') as r:
            r.ended('passed', 0)
            assert r.text(0) == 'None\n', r.text(0)


@TESTS.test
def without_requirements_the_executor_s_own_packages_are_reported():
    for sandbox in ('auto', 'none'):
        with Store() as store, store.run(None, 'print(1)', sandbox=sandbox) as r:
            r.ended('passed', 0)
            report = of_run(r, 'environment.json')
            assert report['interpreter'] == PYTHON and report['version'] == VERSION
            assert 'nbclient' in report['packages'] and report['built'] is False
            assert 'nbclient==' in of_run(r, 'environment.lock')
            assert not store.keys()


@TESTS.test
def a_lock_is_installed_again_though_the_index_has_newer():
    with Index(wheel('colour', '1.0')) as index, Store() as store:
        with store.run(index, IMPORT, requirements='colour') as r:
            r.ended('passed', 0)
            assert r.text(0) == '1.0\n'
        index.add(wheel('colour', '2.0'))
        for key in store.keys():
            shutil.rmtree(os.path.join(store.path, key))
        with store.run(index, IMPORT, requirements='colour') as r:
            r.ended('passed', 0)
            assert r.text(0) == '1.0\n'
            report = of_run(r, 'environment.json')
            assert report['lock'] is True and report['built'] is True
        with store.run(index, IMPORT, requirements='colour>=1') as r:
            r.ended('passed', 0)
            assert r.text(0) == '2.0\n'


@TESTS.test
def constraints_bound_what_requirements_bring():
    with Index() as index, Store() as store:
        for constraints, version in ((None, '2.0'), ('colour<2', '1.0')):
            with store.run(index, IMPORT, requirements='colour', constraints=constraints) as r:
                r.ended('passed', 0)
                assert r.text(0) == version + '\n'
                key = of_run(r, 'environment.json')['hash']
        assert len(store.keys()) == 2
        # An earlier lock is what they led to, and is not asked again.
        shutil.rmtree(os.path.join(store.path, key))
        with store.run(index, IMPORT, requirements='colour', constraints='colour<2') as r:
            r.ended('passed', 0)
            assert r.text(0) == '1.0\n' and of_run(r, 'environment.json')['lock'] is True
            assert 'constraints.txt' not in of_run(r, 'environment.log.txt')


@TESTS.test
def requirements_with_hashes_are_held_to_them():
    package = wheel('colour', '1.0')
    right = hashlib.sha256(package[1]).hexdigest()
    with Index(package) as index, Store() as store:
        with store.run(index, IMPORT, requirements=f'colour==1.0 --hash=sha256:{right}') as r:
            r.ended('passed', 0)  # with ipykernel, which has no hash
            assert of_run(r, 'environment.lock') == 'colour==1.0\nipykernel==99.0\n'
        # ipykernel keeps to constraints and options, and changes nothing that was pinned
        index.add(wheel('ipykernel', '100.0', {'ipykernel_launcher.py': 'raise SystemExit(9)'}))
        index.add(wheel('ipykernel', '98.0', {'ipykernel_launcher.py': KERNEL},
                        requires=['colour']))
        index.add(wheel('colour', '2.0'))
        with store.run(index, IMPORT,
                       requirements=f'--only-binary :all:\ncolour==1.0 --hash=sha256:{right}',
                       constraints=f'ipykernel<99 --hash=sha256:{right}\ncolour<3') as r:
            r.ended('passed', 0)
            assert of_run(r, 'environment.lock') == 'colour==1.0\nipykernel==98.0\n'
            log = of_run(r, 'environment.log.txt')
            assert log.count('pip install') == 2, log
        wrong = '0' * 64
        with store.run(index, IMPORT, requirements=f'colour==1.0 --hash=sha256:{wrong}') as r:
            end = r.ended('environment', 1)
            assert 'hash' in end['reason'].lower(), end
        assert len(store.whole()) == 2


@TESTS.test
def a_damaged_environment_is_built_again():
    with Index() as index, Store() as store:
        with store.run(index, IMPORT, requirements='colour==1.0') as r:
            r.ended('passed', 0)
        (key,) = store.keys()
        site = os.path.join(store.path, key, 'lib', f'python{MINOR}', 'site-packages')

        def change():  # of the same size
            size = os.path.getsize(f'{site}/colour.py')
            with open(f'{site}/colour.py', 'r+') as f:
                text = f.read().replace('1.0', '6.6')
                f.seek(0)
                f.write(text)
            assert os.path.getsize(f'{site}/colour.py') == size and '6.6' in text
        for damage in (change, lambda: os.remove(f'{site}/colour.py'),
                       lambda: os.remove(f'{store.path}/{key}.json'),
                       lambda: open(f'{store.path}/{key}.json', 'w').write('{"tree":')):
            damage()
            with store.run(index, IMPORT, requirements='colour==1.0') as r:
                r.ended('passed', 0)
                assert r.text(0) == '1.0\n'
                assert of_run(r, 'environment.json')['built'] is True
        # What Python writes on its own is no damage.
        os.makedirs(f'{site}/__pycache__', exist_ok=True)
        open(f'{site}/__pycache__/x.pyc', 'w').close()
        with store.run(index, IMPORT, requirements='colour==1.0') as r:
            r.ended('passed', 0)
            assert of_run(r, 'environment.json')['built'] is False


@TESTS.test
def many_at_once_build_once():
    with Index() as index, Store() as store:
        runs = [store.run(index, IMPORT, requirements='colour==2.0') for _ in range(3)]
        for r in runs:
            r.ended('passed', 0)
            assert r.text(0) == '2.0\n'
        built = [of_run(r, 'environment.json')['built'] for r in runs]
        assert sorted(built) == [False, False, True], built
        assert sum('/file/colour/' in p for p in index.asked) == 1, index.asked
        for r in runs:
            r.__exit__()


@TESTS.test
def what_a_killed_builder_left_is_built_again():
    with Index(mode='hangs') as index, Store() as store:
        with store.run(index, IMPORT, requirements='colour==1.0') as r:
            assert index.waiting.wait(60)
            (key,) = store.keys()
            r.process.kill()
            r.wait()
        assert os.path.exists(f'{store.path}/{key}/bin/python') and not store.whole()
        index.mode = 'fine'
        index.go_on.set()
        with store.run(index, IMPORT, requirements='colour==1.0') as r:
            r.ended('passed', 0)
            assert r.text(0) == '1.0\n' and store.whole() == [key]


@TESTS.test
def the_least_recently_used_go_but_not_those_in_use():
    with Index() as index, Store() as store:
        little = ('--environments-max', '1MiB')
        with store.run(index, IMPORT, requirements='colour==1.0') as r:
            r.ended('passed', 0)
        first = store.whole()
        with store.run(index, 'import time; time.sleep(600)', requirements='colour==1.0') as used:
            used.until('cell_started')
            with store.run(index, IMPORT, *little, requirements='colour==2.0') as r:
                r.ended('passed', 0)
            assert len(store.whole()) == 2
            used.process.terminate()
            used.ended('cancelled', 1)
        with store.run(index, IMPORT, *little, requirements='colour') as r:
            r.ended('passed', 0)
            assert store.whole() == store.keys() == [of_run(r, 'environment.json')['hash']]
        assert f'{first[0]}.lock.txt' in store.names()  # it would be built the same


# ---- failures, each with its class ----

def refused(store, index, requirements, *words, cls='environment', code=1, options=()):
    with store.run(index, IMPORT, *options, requirements=requirements) as r:
        last = r.ended(cls, code)
        print(f'# {last["reason"]}')
        for word in words:
            assert word in last['reason'], (word, last['reason'], r.log()[-2000:])
        assert of_run(r, 'environment.log.txt'), 'no log'
        assert not store.keys() and not store.whole() and not store.names('.lock.txt')
        return r.seconds


@TESTS.test
def requirements_that_cannot_be_met_fail_with_pip_s_line():
    bad = sdist('broken', '1.0', 'raise SystemExit("this never builds")\n')
    with Index(wheel('colour', '1.0'), wheel('needs_one', '1.0', requires=['colour==1.0']),
               wheel('needs_two', '1.0', requires=['colour==2.0']), wheel('colour', '2.0'),
               bad) as index, Store() as store:
        refused(store, index, 'colour==9', 'colour==9', 'from versions: 1.0, 2.0')
        refused(store, index, 'nothing-of-this-name', 'nothing-of-this-name')
        refused(store, index, 'colour~=1', 'nvalid requirement')
        refused(store, index, 'needs_one\nneeds_two', 'needs', 'conflicting dependencies')
        refused(store, index, 'broken==1.0', 'broken')


@TESTS.test
def an_index_that_is_not_there_is_not_the_notebook_s_fault():
    with Index(mode=503) as index, Store() as store:
        refused(store, index, 'colour', '503', cls='infrastructure', code=3)
        gone = 'http://127.0.0.1:9/simple'
        refused(store, gone, 'colour', 'onnection', cls='infrastructure', code=3)
        for wrong in ('http://nbcid-test.invalid/simple', 'https://nbcid-test.invalid/simple'):
            refused(store, wrong, 'colour', 'nbcid-test.invalid', cls='infrastructure', code=3)


@TESTS.test
def a_build_has_its_deadline_and_can_be_cancelled():
    with Index(mode='hangs') as index, Store() as store:
        took = refused(store, index, 'colour', 'build_timeout', cls='infrastructure', code=3,
                       options=('--build-timeout', '8s'))
        assert took < 20, took
    with Index(mode='hangs') as index, Store() as store:
        with store.run(index, IMPORT, requirements='colour') as r:
            assert index.waiting.wait(60)
            with store.run(index, IMPORT, requirements='colour') as waits:
                end = time.monotonic() + 30
                while time.monotonic() < end and not os.path.exists(waits.run_dir + '/started'):
                    time.sleep(0.01)
                time.sleep(0.5)
                waits.process.terminate()
                waits.ended('cancelled', 1)
            with store.run(index, IMPORT, '--timeout', '2s', requirements='colour') as waits:
                last = waits.ended('infrastructure', 3)
                assert 'another job' in last['reason'], last
            r.process.terminate()
            began = time.monotonic()
            r.ended('cancelled', 1)
            assert time.monotonic() - began < 5
            assert not store.keys() and not store.whole()


@TESTS.test
def a_python_that_is_not_here_is_named_with_those_that_are():
    with Index() as index, Store() as store:
        for wanted in ('3.99', '2', '3.11.999', '3.1; touch /tmp/nbcid-owned'):
            with store.run(index, 'print(1)', python=wanted) as r:
                last = r.ended('environment', 1)
                assert wanted in last['reason'] and VERSION in last['reason'], last
        assert not os.path.exists('/tmp/nbcid-owned')
        with store.run(index, 'import sys; print(sys.prefix)', python=MINOR) as r:
            r.ended('passed', 0)
            assert r.text(0) == '/usr\n' and not store.keys()


@TESTS.test
def environments_that_are_no_json_are_our_fault():
    for text in ('', '{', '[]' * 3):
        with tempfile.NamedTemporaryFile('w', suffix='.json') as f:
            f.write(text)
            f.flush()
            with Run(notebook('print(1)'), '--environment', f.name) as r:
                r.ended('infrastructure', 3)


@TESTS.test
def requirements_of_a_file_are_held_against_the_policy():
    cases = (({'requirements': '-r /etc/passwd\n'}, '-r /etc/passwd', 'write their lines'),
             ({'requirements': 'a\n-c /etc/passwd\n'}, 'requirements:2', 'write their lines'),
             ({'requirements': '-e .\n'}, '-e .', '--allow editable'),
             ({'requirements': 'a @ file:///etc\n'}, 'file:///etc', '--allow file'),
             ({'requirements': 'a @ git+https://x.example/a'}, 'git+https', '--allow vcs'),
             ({'requirements': 'a ==== 1'}, 'requirements:1', 'one requirement a line'),
             ({'requirements': '--index-url https://x.example/'}, '--index-url', '--allow index'),
             ({'requirements': '', 'constraints': '-r /etc/passwd'}, 'constraints:1', '-r /etc'),
             ({'requirements': '', 'constraints': '--pre'}, 'constraints', 'options'),
             ({'conda': 'dependencies:\n- pip:\n  - -r /etc/passwd\n'}, 'conda:3', 'refused'))
    with Store() as store:
        for environment, *said in cases:
            with store.run(None, 'print(1)', **environment) as r:
                reason = r.ended('environment', 1)['reason']
                assert 'environment-' in reason and 'root:' not in reason + r.log(), reason
                assert all(s in reason for s in said), (environment, reason)
                assert of_run(r, 'environment.log.txt') is None
        for kinds in (('all',), ('vcs', 'url,file')):
            allow = [word for k in kinds for word in ('--allow', k)]
            with store.run(None, 'print(1)', *allow) as r:
                assert r.wait().status == 2 and 'none of vcs, url' in r.stderr(), r.stderr()


@TESTS.test
def a_file_may_do_what_is_allowed_by_hand():
    with Index() as index, Store() as store:
        here = f'--index-url {index.url}\ncolour==1.0\n'
        with store.run('http://127.0.0.1:9', IMPORT, '--allow', 'vcs', '--allow', 'index',
                       requirements=here) as r:
            r.ended('passed', 0)
            assert r.text(0) == '1.0\n'
        there = f'colour @ {index.url[:-6]}file/colour/colour-2.0-py3-none-any.whl\n'
        with store.run(index, IMPORT, '--allow', 'url', requirements=there) as r:
            r.ended('passed', 0)
            assert r.text(0) == '2.0\n'
        with store.run(index, IMPORT, '--allow', 'index', requirements='-r /etc/passwd') as r:
            assert '-r /etc/passwd' in r.ended('environment', 1)['reason']


# ---- kernels ----

@TESTS.test
def kernel_names_are_forgiven():
    with Index() as index, Store() as store:
        for kernel, options in (('conda-env-tf-py', ()), ('local-python3', ()),
                                ('python3', ('--kernel', 'tf2-2-11'))):
            with store.run(index, IMPORT, *options, kernel=kernel, requirements='colour==1.0') as r:
                r.ended('passed', 0)
                assert r.text(0) == '1.0\n'
        with store.run(index, IMPORT, kernel='x', language='cobol', requirements='colour==1.0') as r:
            last = r.ended('no_kernel', 1)
            assert 'python3' in last['reason']
        if has_kernel('ir'):
            with store.run(index, 'cat(1 + 1)', kernel='ir', language='R',
                           requirements='colour==1.0') as r:
                r.ended('passed', 0)
                assert '2' in r.text(0)


@TESTS.test
def kernelspecs_of_the_environment_are_its_own():
    other = json.dumps({'argv': ['python3', '-m', 'ipykernel_launcher', '-f', '{connection_file}'],
                        'display_name': 'other', 'language': 'python', 'env': {'OTHER': 'yes'}})
    package = wheel('other', '1.0', {
        'other.py': '', 'other-1.0.data/data/share/jupyter/kernels/other/kernel.json': other})
    with Index(package) as index, Store() as store:
        look = 'import os, sys; print(os.environ.get("OTHER"), sys.prefix)'
        with store.run(index, look, kernel='other', requirements='other') as r:
            r.ended('passed', 0)
            assert r.text(0).startswith('yes ' + store.path), r.text(0)


# ---- who may write where ----

@TESTS.test
def a_job_cannot_change_its_environment():
    needs_sandbox()
    source = ('import sys\ntry:\n    open(sys.prefix + "/x", "w")\n    print("written")\n'
              'except OSError as e:\n    print(e.strerror)')
    with Index() as index, Store() as store:
        with store.run(index, source, '--hide', store.base, requirements='colour',
                       sandbox='bubblewrap') as r:
            r.ended('passed', 0)
            assert r.text(0) == 'Read-only file system\n', r.text(0)
        (key,) = store.keys()
        assert not os.path.exists(f'{store.path}/{key}/x')


@TESTS.test
def a_build_sees_and_writes_little():
    needs_sandbox()
    setup = '''
import glob, os
from setuptools import setup
seen = []
for path in SECRETS:
    try:
        seen.append(open(path).read())
    except OSError:
        pass
for path in PLACES:
    try:
        open(path + '/planted', 'w').close()
        seen.append('wrote ' + path)
    except OSError:
        pass
seen += [k for k in os.environ if 'TOKEN' in k]
setup(name='curious', version='1.0', py_modules=[], description=repr(seen))
'''
    look = ('from importlib.metadata import metadata; print(metadata("curious")["Summary"])')
    with Index() as index, Store() as store:
        with store.run(index, IMPORT, requirements='colour') as r:
            r.ended('passed', 0)
        (key,) = store.keys()
        with open(f'{store.base}/secret', 'w') as f:
            f.write('TOP SECRET')
        places = [f'{store.path}/{key}', '/usr/lib/python3', '/etc', '/var/lib']
        index.add(sdist('curious', '1.0', f'SECRETS = {[store.base + "/secret"]}\n'
                                          f'PLACES = {places}\n' + setup))
        os.environ['NBCID_TEST_TOKEN'] = 'hunter2'
        with store.run(index, look, '--hide', store.base, sandbox='bubblewrap',
                       requirements='curious') as r:
            last = r.wait().events()[-1]
            if last['class'] == 'environment' and 'setuptools' in r.log():
                raise tap.Skip('pip builds in isolation, and there is no setuptools to build with')
            r.ended('passed', 0)
            assert r.text(0) == '[]\n', r.text(0)
        assert not os.path.exists(f'{store.path}/{key}/planted')


# ---- images and conda ----

@TESTS.test
def an_image_is_refused_or_replaced_where_none_are_run():
    with Store() as store:
        with store.run(None, 'print(1)', image='gcr.io/deeplearning/tf2') as r:
            last = r.ended('environment', 1)
            assert 'gcr.io/deeplearning/tf2' in last['reason'] and 'podman' in last['reason']
            assert 'image_fallback' in last['reason']
        with store.run(None, 'print(1)', '--image-fallback', 'default', image='gcr.io/x/y') as r:
            last = r.ended('passed', 0)
            assert 'gcr.io/x/y' in last['reason'], last
        with store.run(None, 'print(1)', '--podman', '/nonexistent/podman', image='x') as r:
            last = r.ended('infrastructure', 3)
            assert '/nonexistent/podman' in last['reason']


@TESTS.test
def by_hand_the_image_that_the_notebook_names_counts():
    nb = notebook('print(1)', environment={'uri': 'gcr.io/deeplearning/tf2'})
    with Run(nb, quiet=False) as r:
        last = r.ended('environment', 1)
        for part in ('gcr.io/deeplearning/tf2', '--podman', '--image-fallback', '--environment'):
            assert part in last['reason'] and part in r.stderr(), (last, r.stderr())
    with Run(nb, '--image-fallback', 'default', quiet=False) as r:
        last = r.ended('passed', 0)
        assert 'gcr.io/deeplearning/tf2' in last['reason'], last
        line, = [x for x in r.stderr().splitlines() if 'runs in this machine' in x]
        assert 'gcr.io/deeplearning/tf2' in line and '--podman' in line, line
    with Run(nb, '--podman', '/nonexistent/podman') as r:
        assert '/nonexistent/podman' in r.ended('infrastructure', 3)['reason']
    with tempfile.NamedTemporaryFile('w', suffix='.json') as f:
        f.write('{}')
        f.flush()
        with Run(nb, '--environment', f.name, quiet=False) as r:
            r.ended('passed', 0)
            assert 'image' not in r.stderr(), r.stderr()
    with Run(notebook('print(1)', requirements=['colour==1.0']), quiet=False) as r:
        r.ended('passed', 0)
        assert 'metadata.requirements names is not installed' in r.stderr(), r.stderr()


@TESTS.test
def conda_is_refused_with_the_remedy_where_it_is_not():
    if shutil.which('micromamba') or shutil.which('conda'):
        raise tap.Skip('there is a conda here')
    with Store() as store, store.run(None, 'print(1)', conda='dependencies: [numpy]\n') as r:
        last = r.ended('environment', 1)
        assert 'micromamba' in last['reason'] and 'requirements.txt' in last['reason']


FAKE_PODMAN = r'''#!/usr/bin/python3
import json, os, signal, sys
argv = sys.argv[1:]
with open(LOG, 'a') as f:
    f.write(json.dumps(argv) + '\n')
def die(text):
    print('Error: ' + text, file=sys.stderr)
    sys.exit(125)
if not (argv[0].startswith('--root=/') and argv[1].startswith('--runroot=/')):
    die('where is my storage?')
argv = argv[2:]
if not set(os.environ) <= {'PATH', 'LANG', 'TERM', 'PYTHONUNBUFFERED', 'NBCID', 'CI', 'HOME',
                           'JUPYTER_RUNTIME_DIR', 'PYDEVD_DISABLE_FILE_VALIDATION', 'LC_CTYPE',
                           'JPY_PARENT_PID', 'DEBUGINFOD_URLS', 'FORCE_COLOR', 'CLICOLOR',
                           'CLICOLOR_FORCE', 'JPY_SESSION_NAME', 'PYTHONEXECUTABLE', 'PWD'}:
    die('environment: ' + repr(sorted(os.environ)))
there = os.path.exists(LOG + '.pulled')
if argv[:3] == ['image', 'exists', '--'] and len(argv) == 4:
    sys.exit(0 if there else 1)
if argv[:3] == ['pull', '--quiet', '--'] and len(argv) == 4:
    if 'none' in argv[3]:
        die('initializing source docker://x: reading manifest latest in x: manifest unknown')
    if 'away' in argv[3]:
        die('pinging registry x: Get "https://x/v2/": dial tcp: lookup x: no such host')
    open(LOG + '.pulled', 'w').close()
    sys.exit(0)
if argv[:1] == ['rm']:
    sys.exit(0 if argv[1:5] == ['--force', '--ignore', '--time=0', '--'] and len(argv) == 6 else 1)
if argv[:1] != ['run']:
    die('unknown command ' + argv[0])
options, rest = argv[1:argv.index('--')], argv[argv.index('--') + 1:]
for need in ('--rm', '--network=host', '--pull=never', '--user=0:0', '--cap-drop=all',
             '--security-opt=no-new-privileges'):
    options.remove(need) if need in options else die('no ' + need)
seen = {}
for o in options:
    name, _, value = o.partition('=')
    if name not in ('--name', '--env', '--volume', '--workdir'):
        die('unknown flag ' + o)
    seen.setdefault(name, []).append(value)
if not there:
    die('no such image: ' + rest[0])
command = rest[1:]
# What an image has is in its name: nothing but python and R; a jupyter that lists a kernel called
# sum, and is loud or slow.
if command[:1] == ['jupyter']:
    if command != ['jupyter', 'kernelspec', 'list', '--json']:
        die('unknown words of jupyter: ' + repr(command))
    if 'jupyter' not in rest[0]:
        print('Error: crun: executable file `jupyter` not found in $PATH', file=sys.stderr)
        sys.exit(127)
    if 'slow' in rest[0]:
        open(LOG + '.asked', 'w').close()
        signal.pause()
    if 'loud' in rest[0]:
        print('x' * (8 << 20))
    kernels = {name: {'resource_dir': '/opt/kernels/' + name, 'spec': {
        'argv': ['/opt/conda/bin/python', '{resource_dir}/kernel.py', '{connection_file}'],
        'display_name': name, 'language': language, 'metadata': {},
        'env': {'SUM': 'a=b', 'PATH': '/opt/bin:${PATH}'}}}
        for name, language in (('sum', 'Summa'), ('also', 'summa'), ('py', 'python'))}
    kernels['odd'], kernels['none'] = {'spec': {'argv': 7}}, []
    kernels['bad'] = {'resource_dir': '/', 'spec': {**kernels['sum']['spec'], 'argv': ['a', 7]}}
    print('Entered start.sh with args: jupyter kernelspec list --json')
    print(json.dumps({'kernelspecs': kernels}, indent=2))
    sys.exit(0)
if command[:3] == ['python', '-m', 'ipykernel_launcher'] and command[3] == '-f':
    file, kernel = command[4], ['/usr/bin/python3', *command[1:]]
elif command[:5] == ['R', '--slave', '-e', 'IRkernel::main()', '--args'] and 'with-r' in rest[0]:
    file, kernel = command[5], ['/usr/bin/R', *command[1:]]
elif command[0] == '/opt/conda/bin/python' and 'jupyter' in rest[0]:
    if command[1] not in ('/opt/kernels/sum/kernel.py', '/opt/kernels/also/kernel.py') or \
            'SUM=a=b' not in seen['--env'] or any(e.startswith('PATH=') for e in seen['--env']):
        die('not what the kernelspec says: ' + repr(argv))
    file = command[2]
    kernel = ['/usr/bin/python3', '-m', 'ipykernel_launcher', '-f', file]
    seen['--env'].append('KERNEL=' + command[1])
else:
    die('not a kernel: ' + repr(rest))
mounts = [v.split(':')[0] for v in seen['--volume']]
if not all(os.path.isdir(m) for m in mounts) or not file.startswith(tuple(m + '/' for m in mounts)):
    die('the connection file is not mounted')
os.chdir(seen['--workdir'][0])
os.environ.update(v.split('=', 1) for v in seen['--env'])
os.environ['IN_IMAGE'] = rest[0]
os.execv(kernel[0], kernel)
'''


@contextlib.contextmanager
def fake_podman():
    """(store, options, file that notes the calls)"""
    with Store() as store:
        fake, log = store.base + '/podman', store.base + '/log'
        with open(fake, 'w') as f:
            f.write(FAKE_PODMAN.replace('LOG', repr(log)))
        os.chmod(fake, 0o755)
        yield store, ('--podman', fake), log


def runs_of(log):
    with open(log) as f:
        calls = [json.loads(line)[2:] for line in f]
    runs = [c[c.index('--') + 2:] for c in calls if c[0] == 'run']
    os.remove(log)
    return [words[0] for words in runs]


@TESTS.test
def an_image_runs_in_a_strict_fake_podman():
    look = 'import os; print(os.environ["IN_IMAGE"], os.getcwd(), os.path.exists("nb.ipynb"))'
    image = 'docker.io/acme/tf:2; touch /tmp/nbcid-owned'
    with fake_podman() as (store, use, log):
        with store.run(None, look, *use, image='none') as r:
            last = r.ended('environment', 1)
            assert 'manifest unknown' in last['reason'] and of_run(r, 'environment.log.txt')
        with store.run(None, look, *use, image='away') as r:
            last = r.ended('infrastructure', 3)
            assert 'no such host' in last['reason']
        for pulled in (True, False):
            with store.run(None, look, *use, image=image, kernel='tf2-2-11') as r:
                r.ended('passed', 0)
                assert r.text(0) == f'{image} {r.workspace} True\n', r.text(0)
                assert of_run(r, 'environment.json')['image'] == image
        with open(log) as f:
            calls = [json.loads(line)[2:] for line in f]
        assert sum(c[:1] == ['pull'] and c[3] == image for c in calls) == 1, calls
        assert [c[0] for c in calls].count('rm') == [c[0] for c in calls].count('run') == 2
        assert not os.path.exists('/tmp/nbcid-owned')
        going = 'open("going", "w").close(); import time; time.sleep(600)'
        with store.run(None, ['print("a")', going], *use, image=image) as r:
            r.until_file('going')
            r.process.terminate()
            r.ended('cancelled', 1)
            assert r.outputs(1)[-1]['ename'] == 'KeyboardInterrupt', r.outputs(1)


@TESTS.test
def an_image_is_asked_for_kernels_other_than_its_python():
    look = 'import os; print(os.environ.get("KERNEL"), os.environ.get("SUM"))'
    with fake_podman() as (store, use, log):
        # By its name; else the first of that language; of a Python nothing needs to be asked.
        for kernel, language, chosen, asked in (
                ('sum', 'Summa', '/opt/kernels/sum/kernel.py', True),
                ('SUM', '', '/opt/kernels/sum/kernel.py', True),
                ('summa-1.9', 'Summa', '/opt/kernels/also/kernel.py', True),
                ('conda-env-py', 'python', None, False)):
            with store.run(None, look, *use, image='acme/jupyter', kernel=kernel,
                           language=language) as r:
                r.ended('passed', 0)
                assert r.text(0) == f'{chosen} {"a=b" if asked else None}\n', r.text(0)
                assert runs_of(log)[:-1] == ['jupyter'] * asked
        with store.run(None, look, *use, image='acme/jupyter', kernel='x', language='cobol') as r:
            last = r.ended('no_kernel', 1)
            assert last['reason'].endswith('none for cobol; the image has: also, py, sum'), last
        with store.run(None, look, *use, image='acme/jupyter-loud', kernel='sum',
                       language='Summa') as r:
            last = r.ended('no_kernel', 1)
            assert 'does not say' in last['reason'] and 'ir, python3' in last['reason'], last
        with store.run(None, look, *use, image='acme/jupyter-slow', kernel='sum',
                       language='Summa') as r:
            r.until_file(log + '.asked')
            r.process.terminate()
            r.ended('cancelled', 1)


@TESTS.test
def an_image_without_jupyter_may_have_r():
    with fake_podman() as (store, use, log):
        with store.run(None, 'print(1)', *use, image='acme/tf', kernel='julia-1.9',
                       language='julia') as r:
            last = r.ended('no_kernel', 1)
            assert 'status 127' in last['reason'], last
            assert last['reason'].endswith('could only be: ir, python3'), last
            assert '`jupyter` not found' in r.log()
        with store.run(None, 'cat(1)', *use, image='acme/tf', kernel='ir', language='R') as r:
            last = r.ended('kernel_start', 3)
        if not has_kernel('ir'):
            raise tap.Skip('there is no R kernel')
        runs_of(log)
        with store.run(None, 'cat(Sys.getenv("IN_IMAGE"), 1 + 1)', *use, image='acme/with-r',
                       kernel='r-4.2', language='R') as r:
            r.ended('passed', 0)
            assert r.text(0) == 'acme/with-r 2', r.text(0)
            assert runs_of(log) == ['jupyter', 'R']


# ---- other builders ----

FAKE_MICROMAMBA = r'''#!/usr/bin/python3
import json, os, subprocess, sys
argv = sys.argv[1:]
if argv == ['--version']:
    print('1.5.8')
    sys.exit(0)
if argv[0] not in ('create', 'install') or argv[1:4] != ['-y', '-q', '-p']:
    sys.exit('unknown: ' + repr(argv))
prefix, rest = argv[4], argv[5:]
site = prefix + '/lib/pythonMINOR/site-packages'
def put(name, version):
    os.makedirs(f'{site}/{name}-{version}.dist-info', exist_ok=True)
    with open(f'{site}/{name}-{version}.dist-info/METADATA', 'w') as f:
        f.write(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
    os.makedirs(prefix + '/conda-meta', exist_ok=True)
    with open(f'{prefix}/conda-meta/{name}.json', 'w') as f:
        json.dump({'url': f'https://conda.example/noarch/{name}-{version}.conda', 'md5': 'abc'}, f)
if argv[0] == 'install':
    assert rest == ['ipykernel'], rest
    put('ipykernel', '99')
    sys.exit(0)
assert rest[0] == '--file' and len(rest) == 2, rest
text = open(rest[1]).read()
if 'nothing' in text:
    sys.exit('error    libmamba Could not solve for environment specs\n'
             'critical libmamba LibMambaUnsatisfiableError: nothing provides requested nothing')
assert rest[1].endswith('.yml') == (not text.startswith('@EXPLICIT')), rest
subprocess.run(['/usr/bin/python3', '-m', 'venv', '--without-pip', '--system-site-packages', prefix],
               check=True)
put('fromconda', '3')
if text.startswith('@EXPLICIT'):
    put('ipykernel', '99')
'''


@TESTS.test
def conda_environments_are_built_by_a_strict_fake_micromamba():
    with Store() as store:
        fake = store.base + '/micromamba'
        with open(fake, 'w') as f:
            f.write(FAKE_MICROMAMBA.replace('MINOR', MINOR))
        os.chmod(fake, 0o755)
        use = ('--conda', fake)
        with store.run(None, 'print(1)', *use, conda='dependencies: [nothing]\n') as r:
            last = r.ended('environment', 1)
            assert 'nothing provides' in last['reason'], last
        for exact in (False, True):
            with store.run(None, 'import sys; print(sys.prefix)', *use,
                           conda='dependencies: [fromconda]\n') as r:
                r.ended('passed', 0)
                assert r.text(0).startswith(store.path)
                report = of_run(r, 'environment.json')
                assert report['lock'] is exact and report['builder'] == 'micromamba 1.5.8', report
                assert report['packages']['fromconda'] == '3'
                assert of_run(r, 'environment.lock').startswith('@EXPLICIT\nhttps://conda.example')
            shutil.rmtree(os.path.join(store.path, store.keys()[0]))


def fetched(*packages):
    """A virtual environment with packages of the real index, made once below the build
    directory."""
    where = os.path.join(os.path.dirname(NBCID), '..', 'tests', 'environment-tools')
    if not os.path.exists(f'{where}/done'):
        shutil.rmtree(where, ignore_errors=True)
        subprocess.run([PYTHON, '-m', 'venv', where], check=True, stdout=subprocess.DEVNULL)
        if subprocess.run([f'{where}/bin/pip', 'install', '-q', '--retries', '1', *packages],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            raise tap.Skip('the real index does not answer')
        open(f'{where}/done', 'w').close()
    return os.path.realpath(where)


@TESTS.test
def uv_of_the_real_index_builds_the_same():
    uv = fetched('uv') + '/bin/uv'
    with Index() as index, Store() as store:
        with store.run(index, IMPORT, '--uv', uv, requirements='colour==1.0') as r:
            r.ended('passed', 0)
            assert r.text(0) == '1.0\n'
            assert of_run(r, 'environment.json')['builder'].startswith('uv '), r.log()
            assert of_run(r, 'environment.lock') == 'colour==1.0\nipykernel==99.0\n'
        shutil.rmtree(os.path.join(store.path, store.keys()[0]))
        with store.run(index, IMPORT, '--uv', uv, requirements='colour==1.0') as r:
            r.ended('passed', 0)
            assert of_run(r, 'environment.json')['lock'] is True


@TESTS.test
def uv_of_the_real_index_fails_by_the_same_classes():
    uv = ('--uv', fetched('uv') + '/bin/uv')
    with Index(wheel('needs_one', '1.0', requires=['colour==1.0']), wheel('colour', '1.0'),
               wheel('needs_two', '1.0', requires=['colour==2.0']), wheel('colour', '2.0'),
               ) as index, Store() as store:
        refused(store, index, 'colour==9', 'colour==9', options=uv)
        refused(store, index, 'nothing-of-this-name', 'nothing-of-this-name', options=uv)
        refused(store, index, 'colour~=1', options=uv)
        refused(store, index, 'needs_one\nneeds_two', 'needs', options=uv)
        index.mode = 503
        refused(store, index, 'colour', cls='infrastructure', code=3, options=uv)
        for url in ('http://127.0.0.1:9/simple', 'https://nbcid-test.invalid/simple'):
            refused(store, url, 'colour', cls='infrastructure', code=3, options=uv)


@TESTS.test
def packages_of_the_real_index_run():
    fetched('uv')  # or skip
    source = ('import idna, ipykernel, sys; print(idna.__version__, '
              'ipykernel.__file__.startswith(sys.prefix))')
    with Store() as store, store.run(None, source, requirements='idna==3.7') as r:
        r.ended('passed', 0)
        assert r.text(0) == '3.7 True\n', r.text(0)
        lock = of_run(r, 'environment.lock')
        assert 'idna==3.7\n' in lock and 'ipykernel==' in lock and 'pip==' not in lock
        print(f'# built in and run: {r.seconds:.1f} s')


if __name__ == '__main__':
    test_runner.main(TESTS)
