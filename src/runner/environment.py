# SPDX-License-Identifier: Apache-2.0
"""What the runner asks of interpreters: who are you, what is installed, build an environment.

    environment.py describe          version and platform, as JSON
    environment.py packages          the same with what this interpreter can import
    environment.py build SPEC.json   make a virtual environment; events at descriptor 3

A build runs in a sandbox of its own, since packages may run code when they are built. It says
what it does on standard output, which is the log, and what is installed at the end as events.
Every Python from 3.8 on must be able to run this.
"""
import glob
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig

EVENTS_FD = 3
EXIT_FAILED = 1  # the installer said why
EXIT_NO_VENV = 90  # known to the runner
SEEDED = ('pip', 'setuptools', 'wheel')  # what a new virtual environment brings


def describe():
    return {'version': platform.python_version(), 'platform': sysconfig.get_platform(),
            'implementation': sys.implementation.name}


def canonical(name):
    return re.sub(r'[-_.]+', '-', name).lower()


def origin(dist):
    """The URL that a distribution was asked for by, in the words of a requirement; or None."""
    try:
        said = json.loads(dist.read_text('direct_url.json') or 'null')
        url = said['url']
        vcs = said.get('vcs_info')
        if vcs:
            return f'{vcs["vcs"]}+{url}@{vcs["commit_id"]}'
        digest = (said.get('archive_info') or {}).get('hash')
        return f'{url}#{digest}' if digest else url
    except (TypeError, KeyError, ValueError, AttributeError):
        return None


def installed(path=None):
    """{canonical name: (name, version, line of a lock)}; the first on the path counts."""
    from importlib.metadata import distributions
    found = {}
    for dist in distributions(**({} if path is None else {'path': path})):
        try:
            name, version = dist.metadata['Name'], dist.version
        except Exception:  # half removed by hand
            continue
        if not name or not version:
            continue
        url = origin(dist)
        line = f'{name} @ {url}' if url else f'{name}=={version}'
        found.setdefault(canonical(name), (name, version, line))
    return found


def packages():
    found = installed()
    return {**describe(), 'packages': {name: v for name, v, _ in sorted(found.values())},
            'lock': sorted(line for _, _, line in found.values())}


def emit(event, **fields):
    os.write(EVENTS_FD, json.dumps({'event': event, **fields}).encode() + b'\n')


class Build:
    def __init__(self, spec):
        self.spec = spec
        self.dir = spec['directory']
        self.python = os.path.join(self.dir, 'bin', 'python')
        self.pip_log = os.path.join(spec['tmp'], 'pip.log')
        self.builder = None
        self.requirements = spec['requirements']
        self.file = os.path.basename(self.requirements)  # so that errors name no path of ours

    def call(self, *argv):
        print('$', *argv, flush=True)
        return subprocess.run(argv, stdin=subprocess.DEVNULL, check=False,
                              cwd=os.path.dirname(self.requirements)).returncode

    def site(self):
        found = {os.path.realpath(p)
                 for p in glob.glob(glob.escape(self.dir) + '/lib*/python3.*/site-packages')}
        return sorted(found)

    def make(self):
        if self.spec['conda']:
            return True
        if self.spec['uv']:
            return self.call(self.spec['uv'], 'venv', '--no-project', '--allow-existing',
                             '--python', self.spec['python'], self.dir) == 0
        return self.call(self.spec['python'], '-I', '-m', 'venv', self.dir) == 0

    def install(self):
        spec = self.spec
        if spec['conda']:
            code = self.call(spec['conda'], 'create', '-y', '-q', '-p', self.dir, '--file',
                             self.file)
            if code == 0 and not spec['exact'] and 'ipykernel' not in installed(self.site()):
                code = self.call(spec['conda'], 'install', '-y', '-q', '-p', self.dir,
                                 'ipykernel')
            return code == 0
        options = ['--no-deps'] if spec['exact'] else []
        if spec['constrained']:
            options += ['-c', 'constraints.txt']
        if not self.install_packages(*options, '-r', self.file):
            return False
        return not spec['kernel_apart'] or self.add_kernel()

    def install_packages(self, *what):
        if self.spec['uv']:
            return self.call(self.spec['uv'], 'pip', 'install', '--python', self.python,
                             '--compile-bytecode', *what) == 0
        code = self.call(self.python, '-I', '-m', 'pip', 'install', '--log', self.pip_log,
                         '--no-cache-dir', '--progress-bar', 'off', '--no-color', *what)
        if code:
            self.tell_unreachable()
        return code == 0

    def lines(self, name):
        path = os.path.join(os.path.dirname(self.requirements), name)
        with open(path, encoding='utf-8') as f:
            return f.read().splitlines()

    def add_kernel(self):
        """ipykernel beside packages that came with hashes, of which it changes none."""
        found = installed(self.site())
        if 'ipykernel' in found:
            return True
        pins = [f'{name}=={version}' for name, version, _ in found.values()]
        if self.spec['constrained']:
            pins += [re.sub(r'\s--hash\S+', '', line) for line in self.lines('constraints.txt')]
        wanted = [line for line in self.lines(self.file) if line.startswith('--')
                  and not line.startswith(('--require-hashes', '--editable'))]
        for name, text in ('pins.txt', pins), ('kernel.txt', wanted + ['ipykernel']):
            with open(os.path.join(self.spec['tmp'], name), 'w', encoding='utf-8') as f:
                f.writelines(line + '\n' for line in text)
        return self.install_packages('-c', os.path.join(self.spec['tmp'], 'pins.txt'),
                                     '-r', os.path.join(self.spec['tmp'], 'kernel.txt'))

    def tell_unreachable(self):
        """Only its detailed log says so when pip could not ask the index."""
        try:
            with open(self.pip_log, encoding='utf-8', errors='replace') as f:
                seen = dict.fromkeys(line[line.index('Could not fetch URL'):].strip()
                                     for line in f if 'Could not fetch URL' in line)
        except OSError:
            return
        for line in list(seen)[-20:]:
            print(line, flush=True)

    def version_of_builder(self, seed):
        tool = self.spec['uv'] or self.spec['conda']
        if not tool:
            return 'pip ' + seed.get('pip', ('', '?'))[1]
        said = subprocess.run([tool, '--version'], capture_output=True, text=True, check=False)
        name = os.path.basename(tool)
        return f'{name} {(said.stdout.split() or ["?"] * 2)[-1 if name != "uv" else 1]}'

    def conda_lock(self):
        """The explicit list that conda and micromamba install again."""
        urls = []
        for path in sorted(glob.glob(glob.escape(self.dir) + '/conda-meta/*.json')):
            with open(path, encoding='utf-8') as f:
                meta = json.load(f)
            if meta.get('url'):
                urls.append(meta['url'] + ('#' + meta['md5'] if meta.get('md5') else ''))
        return ['@EXPLICIT'] + urls

    def tell(self, seed):
        found = installed(self.site())
        for key, (name, version, line) in sorted(found.items()):
            noise = key in SEEDED and seed.get(key, ('', None))[1] == version
            lock = None if noise or self.spec['conda'] else line
            emit('package', name=name, version=version, lock=lock)
        for line in self.conda_lock() if self.spec['conda'] else []:
            emit('lock', lock=line)
        emit('built', builder=self.builder)

    def run(self):
        if not self.make():
            return EXIT_NO_VENV
        seed = installed(self.site())
        self.builder = self.version_of_builder(seed)
        if not self.install():
            return EXIT_FAILED
        self.tell(seed)
        return 0


def main():
    if sys.argv[1] == 'describe':
        print(json.dumps(describe()))
    elif sys.argv[1] == 'packages':
        print(json.dumps(packages()))
    else:
        with open(sys.argv[2], encoding='utf-8') as f:
            sys.exit(Build(json.load(f)).run())


main()
