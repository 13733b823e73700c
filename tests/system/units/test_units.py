# SPDX-License-Identifier: Apache-2.0
"""What is installed: all of it there, and sound in the eyes of systemd's own tools."""
import json
import os
import re
import shutil
import subprocess
import sys

import install

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import tap  # noqa: E402

NOBODY = 65534
PYTHON = '/usr/bin/python3'  # Debian's, which has nbclient
NOTEBOOK = '''
import ctypes, mmap, multiprocessing, os, socket, sqlite3, subprocess, tempfile, threading
def square(n, q):
    q.put(n * n)
q = multiprocessing.Queue()
p = multiprocessing.Process(target=square, args=(7, q))
p.start()
assert q.get(timeout=60) == 49
p.join()
t = threading.Thread(target=lambda: None)
t.start()
t.join()
assert subprocess.run(['/bin/sh', '-c', 'exit 3']).returncode == 3
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
with tempfile.NamedTemporaryFile() as f:
    sqlite3.connect(f.name).execute('CREATE TABLE t(x)')
socket.create_server(('127.0.0.1', 0)).close()
os.sched_setaffinity(0, os.sched_getaffinity(0))
try:
    import numpy
    numpy.linalg.inv(numpy.random.rand(200, 200))
except ImportError:
    pass
'''


def need(program):
    if not shutil.which(program):
        raise tap.Skip(f'there is no {program} here')


def run(*argv, chatty=False, **kw):
    """Output of a command that must succeed and, unless chatty, not complain."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=120, **kw)
    if done.returncode or done.stderr and not chatty:
        raise AssertionError(f'{argv}: status {done.returncode}\n{done.stdout[-4000:]}'
                             f'{done.stderr[-4000:]}')
    return done.stdout


def everything_is_installed(i):
    o = i.options
    want = [os.path.join(o.unit_dir, 'nbcid.service'), os.path.join(o.unit_dir, 'nbcid.socket'),
            i.place('lib', 'sysusers.d/nbcid.conf'), i.place('lib', 'tmpfiles.d/nbcid.conf'),
            i.place('mandir', 'man1/nbcid.1'), i.place('mandir', 'man5/nbcid.toml.5'),
            *(i.place('datadir', 'doc/nbcid', x)
              for x in ('config.example.toml', 'README.md', 'LICENSE', 'podman.conf'))]
    if o.nbcid:
        want.append(i.place('bindir', 'nbcid'))
    got = ['/' + os.path.relpath(os.path.join(d, f), i.root)
           for d, _, files in os.walk(i.root) for f in files]
    tap.equal(sorted(got), sorted(want))
    for path in got:
        mode = os.stat(i.file(path)).st_mode & 0o777
        tap.equal((path, mode), (path, 0o755 if path.endswith('/bin/nbcid') else 0o644))


def units_verify(i):
    """As on the machine it is installed for: that machine's units beside ours, our binary, our
    manual pages."""
    need('systemd-analyze')
    root = os.path.join(i.dir, 'verify')
    shutil.copytree(i.root, root)
    shutil.copytree('/lib/systemd/system', os.path.join(root, 'lib/systemd/system'), symlinks=True,
                    dirs_exist_ok=True)
    for program in ('/usr/bin/kill', i.place('bindir', 'nbcid')):
        path = os.path.join(root, program.lstrip('/'))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.exists(path):
            shutil.copy(shutil.which('kill'), path)
    man = 'yes' if shutil.which('man') else 'no'
    run('systemd-analyze', 'verify', f'--root={root}', f'--man={man}', 'nbcid.service',
        'nbcid.socket', env={**os.environ, 'MANPATH': i.file(i.place('mandir'))})


def exposure_is_at_most_3(i):
    need('systemd-analyze')
    out = run('systemd-analyze', 'security', '--offline=true', '--no-pager', '--threshold=30',
              i.unit('nbcid.service'))
    found = re.search(r'Overall exposure level for nbcid\.service: (\d+\.\d+)', out)
    if not found or float(found[1]) > 3.0:
        raise AssertionError(out)


def user_is_made(i):
    """systemd-sysusers in a root of its own."""
    need('systemd-sysusers')
    conf = i.file(i.place('lib', 'sysusers.d/nbcid.conf'))
    assert "Creating user 'nbcid'" in subprocess.run(
        ['systemd-sysusers', '--dry-run', '--root=' + i.dir, conf], check=True, timeout=60,
        stderr=subprocess.PIPE, text=True).stderr
    if os.geteuid() != 0:
        raise tap.Skip('only root can write owners')
    root = os.path.join(i.dir, 'sysusers')
    os.makedirs(os.path.join(root, 'etc'))
    run('systemd-sysusers', f'--root={root}', conf, chatty=True)
    with open(os.path.join(root, 'etc/passwd')) as f:
        users = [line.split(':') for line in f]
    tap.equal([(u[0], u[5]) for u in users], [('nbcid', '/var/lib/nbcid')])
    run('systemd-tmpfiles', '--create', f'--root={root}',
        i.file(i.place('lib', 'tmpfiles.d/nbcid.conf')))
    modes = {path: (os.stat(os.path.join(root, path)).st_mode & 0o777,
                    os.stat(os.path.join(root, path)).st_uid)
             for path in ('etc/nbcid', 'etc/nbcid/credentials', 'run/nbcid')}
    tap.equal(modes, {'etc/nbcid': (0o755, 0), 'etc/nbcid/credentials': (0o700, 0),
                      'run/nbcid': (0o755, int(users[0][2]))})


def credentials_are_those_of_the_example(i):
    with open(i.file(i.place('datadir', 'doc/nbcid/config.example.toml'))) as f:
        want = set(re.findall(r'^(?:# )?\w+_(?:file|file_next|key_file) = "([^"/]+)"', f.read(),
                              re.M))
    loaded = dict(v.split(':', 1) for v in i.setting('nbcid.service', 'LoadCredential'))
    tap.equal(loaded, {name: f'/etc/nbcid/credentials/{name}' for name in want})
    tap.equal(sorted(i.setting('nbcid.service', 'SetCredential')),
              sorted(f'{name}:\\n' for name in want))


def proc_stays_uncovered(i):
    """What covers files of /proc takes bubblewrap its own /proc: the kernel's rule is tried here,
    too, for a systemd that leaves the old root mounted would hide it."""
    for key in ('ProtectKernelTunables', 'ProtectKernelLogs', 'ProtectHostname', 'ProcSubset',
                'MemoryDenyWriteExecute', 'PrivateDevices', 'PrivateTmp', 'RemoveIPC'):
        tap.equal((key, i.setting('nbcid.service', key)), (key, []))
    need('bwrap')
    if os.geteuid() != 0:
        raise tap.Skip('only root can cover files of /proc')
    sandbox = ('setpriv --reuid 65534 --clear-groups bwrap --unshare-user --unshare-pid '
               '--ro-bind / / --proc /proc true')
    plain = subprocess.run(['unshare', '-m', 'sh', '-c', f'cd / && {sandbox}'], timeout=60,
                           stderr=subprocess.PIPE, text=True)
    if plain.returncode:
        raise tap.Skip(f'no sandbox here: {plain.stderr.strip()}')
    covered = subprocess.run(['unshare', '-m', 'sh', '-c',
                              f'cd / && mount --bind /proc/sys /proc/sys && {sandbox}'],
                             timeout=60, stderr=subprocess.PIPE, text=True)
    if covered.returncode == 0 or 'mount proc' not in covered.stderr:
        raise AssertionError(f'bubblewrap does with a covered /proc: {covered.stderr}')


def syscall_sets():
    """{'@set': [names]} as systemd-analyze prints them."""
    sets, name = {}, None
    for line in run('systemd-analyze', 'syscall-filter', '--no-pager', chatty=True).splitlines():
        word = line.strip()
        if line.startswith('@'):
            name = sets.setdefault(word, [])
        elif not line.startswith(' '):
            name = None
        elif name is not None and not word.startswith('#'):
            name.append(word)
    return sets


def allowed_syscalls(i):
    sets, allowed = syscall_sets(), set()
    # systemd.exec(5): @default is allowed whenever there is a list of what is allowed.
    todo = ['@default'] + ' '.join(i.setting('nbcid.service', 'SystemCallFilter')).split()
    while todo:
        name = todo.pop()
        if name.startswith('@'):
            todo += sets[name]
        else:
            allowed.add(name)
    return allowed


def kernel_needs_no_more_syscalls(i):
    """A notebook in a sandbox under strace, as a user without rights."""
    if not i.options.nbcid:
        raise tap.Skip('this build has no nbcid')
    for program in ('strace', 'bwrap', 'systemd-analyze'):
        need(program)
    allowed = allowed_syscalls(i)
    for name in ('mount', 'umount2', 'pivot_root', 'clone', 'execve', 'seccomp'):
        assert name in allowed, name
    for name in ('kexec_load', 'init_module', 'bpf', 'ptrace', 'chroot', 'swapon', 'reboot'):
        assert name not in allowed, name
    work = os.path.join(i.dir, 'kernel')
    os.makedirs(os.path.join(work, 'out'))
    with open(os.path.join(work, 'out', 'n.ipynb'), 'w') as f:
        json.dump({'cells': [{'cell_type': 'code', 'metadata': {}, 'outputs': [],
                              'execution_count': None, 'source': NOTEBOOK}],
                   'metadata': {'kernelspec': {'name': 'python3', 'language': 'python',
                                               'display_name': 'python3'}},
                   'nbformat': 4, 'nbformat_minor': 4}, f)
    # The binary may be where only root can look.
    shutil.copy(i.options.nbcid, os.path.join(work, 'nbcid'))
    argv = ['strace', '-f', '-qq', '-o', 'trace', './nbcid', 'run', '--sandbox', 'bubblewrap',
            '--python', PYTHON, '--timeout', '100s', '-o', 'out/executed.ipynb', 'out/n.ipynb']
    if os.geteuid() == 0:
        for path in (work, os.path.join(work, 'out'), os.path.join(work, 'out', 'n.ipynb')):
            os.chown(path, NOBODY, NOBODY)
        argv = ['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups'] + argv
    done = subprocess.run(argv, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=200,
                          env={'PATH': '/usr/bin:/bin', 'LANG': 'C.UTF-8', 'HOME': work,
                               'TMPDIR': work, 'ASAN_OPTIONS': 'detect_leaks=0'})
    if done.returncode:
        raise AssertionError(f'status {done.returncode}\n{done.stdout}')
    with open(os.path.join(work, 'trace'), errors='replace') as f:
        # PID name(...) or PID <... name resumed>
        used = set(re.findall(r'^\d+ +(?:<\.\.\. )?([a-z_0-9]+)[( ]', f.read(), re.M))
    assert {'mount', 'pivot_root', 'execve'} <= used, used
    tap.equal(sorted(used - allowed), [])


if __name__ == '__main__':
    with install.Installed(install.arguments()) as installed:
        tap.run([everything_is_installed, units_verify, exposure_is_at_most_3, user_is_made,
                 credentials_are_those_of_the_example, proc_stays_uncovered,
                 kernel_needs_no_more_syscalls], installed)
