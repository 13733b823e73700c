# SPDX-License-Identifier: Apache-2.0
"""A real podman, an image made of this machine's own files, and a registry that has it."""
import glob
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import threading

from environment_world import MINOR, Store
from runner_world import PYTHON, tap

# Debian's podman would use crun and systemd's cgroups, which not every machine that runs tests can.
# The limits are such as any process may have; the registry speaks HTTP.
PODMAN = '''#!/bin/sh
root=$1 run=$2 command=$3
shift 3
case $command in
run) set -- --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 "$@" ;;
pull) set -- --tls-verify=false "$@" ;;
esac
exec podman "$root" "$run" --runtime runc --cgroup-manager cgroupfs "$command" "$@"
'''
STDLIB = f'/usr/lib/python{MINOR}'
SITE = '/usr/lib/python3/dist-packages'
PROGRAMS = ('/usr/bin/python3', '/bin/bash', '/bin/sh', '/bin/stty')
BASH = {'argv': ['python3', '-m', 'bash_kernel', '-f', '{connection_file}'],
        'display_name': 'Bash', 'language': 'bash', 'env': {'PS1': '$'}}
SCRIPTS = {'jupyter': 'jupyter_core.command import main',
           'jupyter-kernelspec': 'jupyter_client.kernelspecapp import KernelSpecApp as main; '
                                 'main = main.launch_instance'}


def run(*argv, **options):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f'{argv}: {done.stdout[-2000:]}{done.stderr[-2000:]}'
    return done.stdout


def libraries(paths):
    """What the dynamic loader would load for these files."""
    found = set()
    for path in paths:
        said = subprocess.run(['ldd', path], capture_output=True, text=True, check=False).stdout
        found.update(re.findall(r'(/\S+) \(0x', said))
    return found


def fill(root):
    """A root directory: this machine's Python and shells, the kernels from the index, and the
    programs that say which there are."""
    for place in 'tmp', 'dev', 'proc', 'sys', 'etc', 'root':
        os.makedirs(f'{root}/{place}')
    for link in 'bin', 'lib', 'lib64':
        os.makedirs(f'{root}/usr/{link}')
        os.symlink(f'usr/{link}', f'{root}/{link}')
    shutil.copytree(STDLIB, root + STDLIB, symlinks=True,
                    ignore=shutil.ignore_patterns('test', '__pycache__', 'config-*', 'sitecustomize.py'))
    run(PYTHON, '-m', 'venv', f'{root}.venv')
    run(f'{root}.venv/bin/pip', 'install', '--quiet', '--no-compile', '--target', root + SITE,
        'ipykernel', 'bash_kernel')
    for path in PROGRAMS:
        shutil.copy(os.path.realpath(path), f'{root}/usr/bin/{os.path.basename(path)}')
    os.symlink('python3', f'{root}/usr/bin/python')
    for path in libraries([*PROGRAMS, *glob.glob(f'{root}{STDLIB}/lib-dynload/*.so'),
                           *glob.glob(f'{root}{SITE}/**/*.so', recursive=True)]):
        if not path.startswith(root):
            os.makedirs(os.path.dirname(root + path), exist_ok=True)
            shutil.copy(os.path.realpath(path), root + path)
    for name, what in SCRIPTS.items():
        with open(f'{root}/usr/bin/{name}', 'w', encoding='ascii') as f:
            f.write(f'#!/usr/bin/python3\nfrom {what}\nmain()\n')
        os.chmod(f.name, 0o755)
    os.makedirs(f'{root}/usr/share/jupyter/kernels/bash')
    with open(f'{root}/usr/share/jupyter/kernels/bash/kernel.json', 'w', encoding='ascii') as f:
        json.dump(BASH, f)


class Registry:
    """Serves one image by the OCI distribution specification, section "Pull", out of what
    "podman save --format docker-dir" made of it."""

    def __init__(self, directory, name):
        self.asked = []
        self.broken = False
        with open(f'{directory}/manifest.json', 'rb') as f:
            manifest = f.read()
        digest = 'sha256:' + hashlib.sha256(manifest).hexdigest()
        kind = json.loads(manifest)['mediaType']
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_GET(self):
                registry.asked.append(self.path)
                blob = re.fullmatch(f'/v2/{name}/blobs/sha256:([0-9a-f]{{64}})', self.path)
                if registry.broken:
                    self.answer(503, b'{"errors":[{"code":"UNAVAILABLE"}]}')
                elif self.path == '/v2/':
                    self.answer(200, b'{}')
                elif self.path in (f'/v2/{name}/manifests/1', f'/v2/{name}/manifests/{digest}'):
                    self.answer(200, manifest, kind)
                elif blob and os.path.exists(f'{directory}/{blob[1]}'):
                    self.answer(200, f'{directory}/{blob[1]}', 'application/octet-stream')
                else:
                    self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN",'
                                     b'"message":"manifest unknown"}]}')

            do_HEAD = do_GET

            def answer(self, code, body, kind='application/json'):
                file = isinstance(body, str)
                self.send_response(code)
                self.send_header('Content-Type', kind)
                self.send_header('Docker-Distribution-Api-Version', 'registry/2.0')
                self.send_header('Content-Length',
                                 str(os.path.getsize(body) if file else len(body)))
                if not file and code == 200:
                    self.send_header('Docker-Content-Digest',
                                     'sha256:' + hashlib.sha256(body).hexdigest())
                self.end_headers()
                if self.command == 'HEAD':
                    return
                if not file:
                    self.wfile.write(body)
                    return
                with open(body, 'rb') as f:
                    shutil.copyfileobj(f, self.wfile)

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.host = f'127.0.0.1:{self.server.server_address[1]}'
        self.image = f'{self.host}/{name}:1'

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class World:
    """A registry with an image, and a store of environments that will have it."""

    def __init__(self, image=None):
        """image: a directory that another World has made."""
        self.image = image
        self.registry = None
        self.store = Store()
        self.base = f'{self.store.base}/world'
        digest = hashlib.sha256(self.store.path.encode()).hexdigest()
        # Below the store it would be too long for podman.
        self.runroot = f'/tmp/nbcid-{os.geteuid()}-{digest[:16]}'
        os.mkdir(self.base)
        self.program = f'{self.base}/podman'
        with open(self.program, 'w', encoding='ascii') as f:
            f.write(PODMAN)
        os.chmod(self.program, 0o755)
        self.made = (self.program, f'--root={self.base}/made', f'--runroot={self.base}/r')

    def build(self):
        for program in 'podman', 'runc', 'ldd':
            if not shutil.which(program):
                raise tap.Skip(f'there is no {program}')
        if self.image:
            self.must_work('unshare', 'true')
        else:
            self.make()
        self.registry = Registry(self.image, 'acme/notebooks')

    def must_work(self, *words):
        tried = subprocess.run([*self.made, *words], capture_output=True, text=True, check=False)
        if tried.returncode:
            raise tap.Skip(f'podman does not work here: {tried.stderr.strip()[-300:]}')

    def make(self):
        """The image; and see whether podman can run it, without us."""
        root, self.image = f'{self.base}/root', f'{self.base}/image'
        fill(root)
        # Of root's files alone: they can be had by a user to whom no other users are lent.
        run('sh', '-c', 'tar -C "$0" --owner=0 --group=0 -c . | "$@"', root, *self.made, 'import',
            '-', 'made:1')
        self.must_work('run', '--rm', '--network=host', 'made:1', 'python3', '-c',
                       'import ipykernel')
        run(*self.made, 'save', '--quiet', '--format', 'docker-dir', '--output', self.image,
            'made:1')

    def run(self, source, *options, image=None, **fields):
        return self.store.run(None, source, '--podman', self.program, *options,
                              image=image or self.registry.image, **fields)

    def containers(self):
        return run(self.program, f'--root={self.store.path}/containers/storage',
                   f'--runroot={self.runroot}', 'ps', '--all', '--quiet').split()

    def close(self):
        if self.registry:
            self.registry.close()
        for storage in f'{self.base}/made', f'{self.store.path}/containers/storage':
            # podman leaves its storage mounted upon itself.
            if os.path.ismount(f'{storage}/overlay'):
                run('umount', f'{storage}/overlay')
        if self.registry and os.geteuid():
            run(self.program, *self.made[1:], 'system', 'migrate')  # ends its process that waits
        shutil.rmtree(self.runroot, ignore_errors=True)
        self.store.__exit__()
