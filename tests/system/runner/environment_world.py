# SPDX-License-Identifier: Apache-2.0
"""Packages, an index of them, and stores of environments, for the programs about environments."""
import base64
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
import zipfile

from runner_world import PYTHON, Run, notebook

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

    def __init__(self, name='environments'):
        self.base = tempfile.mkdtemp(prefix='nbcid-test-')
        self.path = os.path.join(self.base, name)
        self.n = 0

    def __enter__(self):
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


def refused(store, index, requirements, *words, cls='environment', code=1, options=()):
    with store.run(index, IMPORT, *options, requirements=requirements) as r:
        last = r.ended(cls, code)
        print(f'# {last["reason"]}')
        for word in words:
            assert word in last['reason'], (word, last['reason'], r.log()[-2000:])
        assert of_run(r, 'environment.log.txt'), 'no log'
        assert not store.keys() and not store.whole() and not store.names('.lock.txt')
        return r.seconds
