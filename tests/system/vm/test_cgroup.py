#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_cgroup.py NBCID: the limits of cgroup v2, under a kernel that has them.

Machines with cgroup v1 controllers never run this part of the runner, so it has its own command:

    tools/install-deps --vm && tests/system/vm/test_cgroup.py build/dev/daemon/nbcid

Boots Debian's kernel in qemu (emulated: no /dev/kvm is needed, some three minutes), with this
machine's file system below a scratch layer, and runs `nbcid run --cgroup` there with a notebook
that fits, one that takes too much memory and one that starts too many processes. Prints TAP.
"""
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile

MODULES = ['virtio_pci', '9pnet_virtio', '9p', 'overlay']
DEADLINE = 900  # s; an emulated processor is some twenty times slower than a real one
MEMORY, PROCESSES = '400MiB', '100'
CELLS = {
    'fits': 'print(open("/proc/self/cgroup").read())',
    'hog': 'x = []\nwhile True:\n    x.append(bytearray(5_000_000))',
    'crowd': 'import subprocess\np = [subprocess.Popen(["sleep", "60"]) for _ in range(400)]',
}
BEGIN, END = '--- result ', '--- end of the results'

# The first process of the machine: a layer for writing over our own file system.
INIT = '''#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev
for m in @MODULES@; do $B insmod /$m; done
$B mkdir -p /lower /upper /new
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro root /lower
$B mount -t tmpfs -o size=1g tmpfs /upper
$B mkdir -p /upper/u /upper/w
$B mount -t overlay -o lowerdir=/lower,upperdir=/upper/u,workdir=/upper/w overlay /new
$B mount -t proc proc /new/proc
$B mount -t sysfs sysfs /new/sys
$B mount -t devtmpfs dev /new/dev
$B mount -t tmpfs tmpfs /new/run
$B mkdir -p /new/dev/shm
$B mount -t tmpfs tmpfs /new/dev/shm
$B mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
exec $B switch_root /new @JOB@
'''

JOB = '''#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
ip link set lo up
mkdir /sys/fs/cgroup/daemon /sys/fs/cgroup/jobs
echo +memory +pids >/sys/fs/cgroup/cgroup.subtree_control
echo +memory +pids >/sys/fs/cgroup/jobs/cgroup.subtree_control
cd @DIR@
for name in @NAMES@; do
        mkdir /run/$name
        @NBCID@ run -q --sandbox none --run-dir /run/$name --cgroup /sys/fs/cgroup/jobs \\
                --memory-max @MEMORY@ --processes-max @PROCESSES@ --timeout 5m $name.ipynb
        echo "@BEGIN@$name $?"
        tail -n 1 /run/$name/events.jsonl
        tr '\\n' ' ' </run/$name/out/executed.ipynb
        echo
        ls /sys/fs/cgroup/jobs | grep -c '^job-'
done
echo "@END@"
sync
echo o >/proc/sysrq-trigger
sleep 10
'''


def fill(text, **values):
    for name, value in values.items():
        text = text.replace(f'@{name}@', value)
    return text


def write(path, text, mode=0o755):
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)
    os.chmod(path, mode)


def run(*argv, **kwargs):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, **kwargs).stdout


def kernel(tmp):
    """Debian's kernel package, unpacked and not installed: (version, root)."""
    depends = run('apt-cache', 'depends', 'linux-image-amd64')
    package = next(line.split()[-1] for line in depends.splitlines() if 'Depends:' in line)
    run('apt-get', 'download', '-q', package, cwd=tmp, stderr=subprocess.DEVNULL)
    deb = next(name for name in os.listdir(tmp) if name.endswith('.deb'))
    root = os.path.join(tmp, 'kernel')
    run('dpkg', '-x', os.path.join(tmp, deb), root)
    version = package[len('linux-image-'):]
    run('depmod', '-b', root, version)
    return version, root


def initrd(tmp, version, root, job):
    tree = os.path.join(tmp, 'initrd')
    for name in ('bin', 'proc', 'sys', 'dev'):
        os.makedirs(os.path.join(tree, name))
    shutil.copy(shutil.which('busybox'), os.path.join(tree, 'bin/busybox'))
    names = []
    for module in MODULES:
        for line in run('modprobe', '-d', root, '-S', version, '--show-depends',
                        module).splitlines():
            path = line.split()[1]
            if os.path.basename(path) not in names:
                names.append(os.path.basename(path))
                shutil.copy(path, tree)
    write(os.path.join(tree, 'init'), fill(INIT, MODULES=' '.join(names), JOB=job))
    out = os.path.join(tmp, 'initrd.cpio')
    with open(out, 'wb') as f:
        files = run('find', '.', cwd=tree)
        subprocess.run(['cpio', '-o', '-H', 'newc', '--quiet'], cwd=tree, check=True, stdout=f,
                       input=files.encode())
    return out


def boot(tmp, nbcid):
    for name, source in CELLS.items():
        write(os.path.join(tmp, name + '.ipynb'), json.dumps({
            'nbformat': 4, 'nbformat_minor': 4, 'cells': [
                {'cell_type': 'code', 'metadata': {}, 'outputs': [], 'execution_count': None,
                 'source': source}],
            'metadata': {'kernelspec': {'name': 'python3', 'display_name': 'Python 3',
                                        'language': 'python'}}}), 0o644)
    job = os.path.join(tmp, 'job')
    write(job, fill(JOB, DIR=tmp, NAMES=' '.join(CELLS), NBCID=nbcid, MEMORY=MEMORY,
                    PROCESSES=PROCESSES, BEGIN=BEGIN, END=END))
    version, root = kernel(tmp)
    argv = ['qemu-system-x86_64', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-m', '3000',
            '-smp', '2', '-nographic', '-no-reboot', '-net', 'none',
            '-kernel', f'{root}/boot/vmlinuz-{version}',
            '-initrd', initrd(tmp, version, root, job), '-append', 'console=ttyS0 quiet panic=1',
            '-virtfs', 'local,path=/,mount_tag=root,security_model=none,readonly=on,'
                       'multidevs=remap']
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False,
                          timeout=DEADLINE)
    return done.stdout.decode(errors='replace').replace('\r', '')


def results(console):
    """name -> (exit status, last event, executed notebook, cgroups left)."""
    if END not in console:
        raise AssertionError('the machine did not get to the end:\n' + console[-4000:])
    out = {}
    for part in console.split(BEGIN)[1:]:
        lines = [line for line in part.splitlines() if line and not line.startswith('[')]
        name, status = lines[0].split()
        out[name] = (int(status), json.loads(lines[1]), json.loads(lines[2]), int(lines[3]))
    return out


def check(out):
    status, event, executed, left = out['fits']
    text = ''.join(executed['cells'][0]['outputs'][0]['text'])
    yield 'a job runs in a cgroup of its own', status == 0 and '0::/jobs/job-' in text
    yield 'its peak of memory is told', 50 << 20 < event['memory_peak'] < 400 << 20
    yield 'its cgroup is removed', left == 0
    status, event, _, left = out['hog']
    yield 'memory.max ends a job as out of memory', \
        status == 1 and event['class'] == 'out_of_memory' and '400 MiB' in event['reason']
    yield 'its cgroup is removed too', left == 0
    status, event, _, left = out['crowd']
    yield 'pids.max bounds processes', \
        status == 1 and event['class'] == 'cell_error' and event['ename'] == 'BlockingIOError'
    yield 'the processes that it did start are gone', left == 0


def main():
    # Not below /run or /tmp when those are not on the file system that is shown.
    tmp = tempfile.mkdtemp(prefix='nbcid-vm-', dir='/var/tmp')
    os.chmod(tmp, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    bad = n = 0
    try:
        out = results(boot(tmp, os.path.abspath(sys.argv[1])))
        for n, (what, good) in enumerate(check(out), 1):
            bad += not good
            print(f'{"" if good else "not "}ok {n} {what}', flush=True)
        if bad:
            print('\n'.join(f'# {name}: {result}' for name, result in out.items()))
    finally:
        shutil.rmtree(tmp)
    print(f'1..{n}')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
