# SPDX-License-Identifier: Apache-2.0
"""The units below a real systemd: boot.sh boots it, inside.py looks."""
import os
import re
import shutil
import subprocess
import sys

import install

HERE = os.path.dirname(os.path.abspath(__file__))
TARGETS = ('sysinit', 'basic', 'shutdown', 'sockets', 'network-online', 'multi-user', 'final',
           'umount')
UNITS = {
    'test.target': '[Unit]\nAllowIsolate=yes\nRequires=inside.service\n',
    'exit.target': '[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\n'
                   'Requires=systemd-exit.service\nAfter=systemd-exit.service\n',
    'inside.service': '''[Unit]
DefaultDependencies=no
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
StandardOutput=append:/mnt/tap.txt
StandardError=append:/mnt/tap.txt
Environment=PYTHONUNBUFFERED=1
ExecStartPre=systemd-sysusers %(sysusers)s
ExecStartPre=systemd-tmpfiles --create %(tmpfiles)s
ExecStart=/usr/bin/python3 -B /run/units/inside.py
''',
    'nbcid.service.d/test.conf': '[Service]\nStandardOutput=append:/mnt/daemon.txt\n'
                                 'StandardError=append:/mnt/daemon.txt\n'
                                 'Environment=ASAN_OPTIONS=detect_leaks=0\n',
}
CONFIG = '''[[forge]]
name = "github"
kind = "github"
webhook_secret_file = "github-webhook-secret"
'''


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as f:
        f.write(text)
    os.chmod(path, mode)


def make_image(root, tar):
    """A shell, and a file of another user than root."""
    said = subprocess.run(['ldd', '/bin/sh'], capture_output=True, text=True, check=True).stdout
    for path in ['/bin/sh', *re.findall(r'(/\S+) \(0x', said)]:
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        shutil.copy(os.path.realpath(path), root + path)
    write(f'{root}/user', '1000\n')
    os.chown(f'{root}/user', 1000, 1000)
    subprocess.run(['tar', '-C', root, '-cf', tar, '.'], check=True)


def lay_out(i):
    units = os.path.join(i.dir, 'units')
    for name in TARGETS:
        write(f'{units}/{name}.target', '[Unit]\nDefaultDependencies=no\n')
    confs = {'sysusers': i.place('lib', 'sysusers.d/nbcid.conf'),
             'tmpfiles': i.place('lib', 'tmpfiles.d/nbcid.conf')}
    for name, text in UNITS.items():
        write(f'{units}/{name}', text.replace('%(sysusers)s', confs['sysusers'])
              .replace('%(tmpfiles)s', confs['tmpfiles']))
    shutil.copy('/lib/systemd/system/systemd-exit.service', units)
    for name in ('nbcid.service', 'nbcid.socket'):
        shutil.copy(i.unit(name), units)
    for name in ('inside.py', '../tap.py'):
        shutil.copy(os.path.join(HERE, name), units)
    os.mkdir(os.path.join(i.dir, 'out'))
    shutil.copy(i.file(i.place('datadir', 'doc/nbcid/podman.conf')), f'{i.dir}/out')
    if shutil.which('podman') and shutil.which('newuidmap'):
        make_image(f'{i.dir}/image', f'{i.dir}/out/image.tar')
    os.rename(i.root, os.path.join(i.dir, 'install'))
    write(f'{i.dir}/install/etc/nbcid/config.toml', CONFIG)
    write(f'{i.dir}/install/etc/nbcid/credentials/github-webhook-secret', 'a secret\n', 0o600)


def main():
    if os.geteuid() != 0:
        print('1..0 # SKIP only root can boot a systemd')
        return 0
    if not os.path.exists('/lib/systemd/systemd'):
        print('1..0 # SKIP there is no systemd here')
        return 0
    with install.Installed(install.arguments()) as i:
        lay_out(i)
        done = subprocess.run([os.path.join(HERE, 'boot.sh'), i.dir], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors='replace')
        tap = os.path.join(i.dir, 'out', 'tap.txt')
        if done.returncode == 77 and not os.path.exists(tap):
            print(f'1..0 # SKIP this machine cannot: {" ".join(done.stdout.split())[-200:]}')
            return 0
        for line in done.stdout.splitlines():
            print('# systemd:', line)
        text = ''
        if os.path.exists(tap):
            with open(tap, errors='replace') as f:
                text = f.read()
        for line in text.splitlines():
            known = line.startswith(('ok ', 'not ok ', '1..', '#'))
            print(line if known else f'# {line}')
        if '1..' not in text:
            print(f'Bail out! systemd ended with {done.returncode} before the tests began')
            return 1
    return 1 if '\nnot ok' in text else 0


if __name__ == '__main__':
    sys.exit(main())
