# SPDX-License-Identifier: Apache-2.0
"""Runs as root below the systemd that boot.sh booted: the units as they are, for real."""
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, '/run/units')
import tap  # noqa: E402  (it lies there)

PORT = 8080
SECONDS = 60
NOTEBOOK = '''
import json, mmap, multiprocessing, os, subprocess
mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
def square(n, q):
    q.put(n * n)
q = multiprocessing.Queue()
p = multiprocessing.Process(target=square, args=(7, q))
p.start()
assert q.get(timeout=60) == 49
p.join()
subprocess.Popen(['setsid', 'sleep', '1000'])
status = dict(x.split(':', 1) for x in open('/proc/self/status').read().splitlines())
print(json.dumps({'uid': os.getuid(), 'pids': len([x for x in os.listdir('/proc') if x.isdigit()]),
                  'state': os.listdir('/var/lib/nbcid'), 'run': os.listdir('/run'),
                  'writable': os.access('/usr', os.W_OK), 'seccomp': int(status['Seccomp'])}))
'''


def systemctl(*argv, check=True):
    done = subprocess.run(['systemctl', *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=SECONDS)
    if check and done.returncode:
        raise AssertionError(f'systemctl {argv}: {done.stdout}\n{log()}')
    return done.stdout.strip()


def log():
    with open('/mnt/daemon.txt', errors='replace') as f:
        return f.read()[-4000:]


def show(key, unit='nbcid.service'):
    return systemctl('show', '-P', key, unit)


def wait_for(what, cond):
    until = time.monotonic() + SECONDS
    while not (answer := cond()):
        if time.monotonic() > until:
            raise AssertionError(f'waited {SECONDS} s in vain for {what}\n{log()}')
        time.sleep(0.05)
    return answer


def get(path):
    c = http.client.HTTPConnection('127.0.0.1', PORT, timeout=SECONDS)
    c.request('GET', path)
    status = c.getresponse().status
    c.close()
    return status


def process_status(pid):
    with open(f'/proc/{pid}/status') as f:
        return {k: v.strip() for k, v in (x.split(':', 1) for x in f)}


def drop_in(unit, name, text):
    os.makedirs(f'/run/units/{unit}.d', exist_ok=True)
    with open(f'/run/units/{unit}.d/{name}.conf', 'w') as f:
        f.write(text)
    systemctl('daemon-reload')


def starts_without_socket():
    """With one secret of eight there; the rest are not missed."""
    systemctl('start', 'nbcid.service')
    tap.equal(show('ActiveState'), 'active')
    tap.equal(get('/healthz'), 200)
    s = process_status(show('MainPID'))
    tap.equal((s['CapBnd'].strip('0'), s['CapEff'].strip('0'), s['NoNewPrivs'], s['Seccomp']),
              ('', '', '1', '2'))
    secret = '/run/credentials/nbcid.service/github-webhook-secret'
    read = ['setpriv', '--reuid=nbcid', '--clear-groups', 'cat', secret]
    tap.equal(subprocess.run(read, stdout=subprocess.PIPE).stdout, b'a secret\n')
    read[1] = '--reuid=nobody'
    assert subprocess.run(read, stderr=subprocess.DEVNULL).returncode != 0
    tap.equal(os.stat('/var/lib/nbcid').st_mode & 0o777, 0o700)
    tap.equal(os.stat('/var/lib/nbcid').st_uid, int(s['Uid'].split()[0]))
    assert s['Uid'].split()[0] != '0'


def reloads():
    pid = show('MainPID')
    systemctl('reload', 'nbcid.service')
    tap.equal((show('ActiveState'), show('MainPID')), ('active', pid))
    tap.equal(get('/healthz'), 200)


def runners_outlive_it():
    """What a process in the service's cgroup sees stays: itself, /tmp, /dev/shm."""
    drop_in('nbcid.service', 'left', '[Service]\nExecStartPost=/bin/sh -c "setsid sh -c \''
            'echo here >/tmp/mark; echo here >/dev/shm/nbcid-mark; exec sleep 1000\' &"\n')
    systemctl('restart', 'nbcid.service')

    def sleeper():
        with open('/sys/fs/cgroup' + show('ControlGroup') + '/cgroup.procs') as f:
            pids = f.read().split()
        for pid in pids:
            with open(f'/proc/{pid}/cmdline') as f:
                if f.read() == 'sleep\x001000\x00':
                    return pid
        return None
    pid = wait_for('the process', sleeper)
    os.unlink('/run/units/nbcid.service.d/left.conf')
    systemctl('daemon-reload')
    systemctl('restart', 'nbcid.service')
    tap.equal(get('/healthz'), 200)
    tap.equal(sleeper(), pid)
    for path in ('/tmp/mark', '/dev/shm/nbcid-mark'):
        with open(f'/proc/{pid}/root{path}') as f:
            tap.equal(f.read(), 'here\n')
    systemctl('kill', '--kill-whom=all', 'nbcid.service')
    wait_for('its end', lambda: not os.path.exists(f'/proc/{pid}'))
    systemctl('stop', 'nbcid.service')


def socket_starts_it():
    systemctl('stop', 'nbcid.service')
    systemctl('start', 'nbcid.socket')
    tap.equal(show('ActiveState'), 'inactive')
    tap.equal(get('/healthz'), 200)
    tap.equal(show('ActiveState'), 'active')
    # While it restarts nobody is refused.  What the old process had accepted it may
    # still drop: forges and browsers try those again.
    restart = subprocess.Popen(['systemctl', 'restart', 'nbcid.service'])
    while restart.poll() is None:
        with contextlib.suppress(ConnectionResetError, http.client.RemoteDisconnected):
            tap.equal(get('/healthz'), 200)
    tap.equal(restart.returncode, 0)
    tap.equal(get('/healthz'), 200)


def watchdog_restarts_it():
    drop_in('nbcid.service', 'watchdog', '[Service]\nWatchdogSec=2\n')
    systemctl('restart', 'nbcid.service')
    pid = int(show('MainPID'))
    before = int(show('NRestarts'))
    os.kill(pid, signal.SIGSTOP)
    wait_for('the restart', lambda: int(show('NRestarts')) > before and
             show('ActiveState') == 'active')
    assert int(show('MainPID')) != pid
    tap.equal(get('/healthz'), 200)


def run_in_unit(command, more=''):
    """The unit with another command: everything else, the hardening above all, as shipped. Answers
    what it said."""
    with open(show('FragmentPath')) as f:
        unit = f.read().splitlines()
    leave = ('Type=', 'NotifyAccess=', 'ExecStart=', 'ExecReload=', 'WatchdogSec=', 'Restart')
    with open('/run/units/try.service', 'w') as f:
        f.write('\n'.join(x for x in unit if not x.startswith(leave)))
    drop_in('try.service', 'try', f'''[Service]
Type=oneshot
Environment=ASAN_OPTIONS=detect_leaks=0 PATH=/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8
StandardOutput=truncate:/mnt/try.txt
StandardError=inherit
ExecStart={command}
{more}''')
    done = subprocess.run(['systemctl', 'start', 'try.service'], timeout=120)
    with open('/mnt/try.txt', errors='replace') as f:
        said = f.read()
    assert done.returncode == 0, said[-4000:]
    return said


def program():
    with open(show('FragmentPath')) as f:
        return next(x for x in f if x.startswith('ExecStart=')).split('=', 1)[1].split()[0]


def podman_works_with_its_drop_in():
    """Without it, it does not: of several users' files, here one of user 1000, none can be had."""
    if not os.path.exists('/mnt/image.tar'):
        raise tap.Skip('there is no podman, or no newuidmap')
    subprocess.run(['usermod', '--add-subuids', '300000-365535', '--add-subgids', '300000-365535',
                    'nbcid'], check=True)
    place = '/var/lib/nbcid/environments/containers'
    podman = f'podman --root={place}/storage --runroot={place}/run'
    script = (f'export HOME=/var/lib/nbcid; mkdir -p {place} && '
              f'{podman} import -q /mnt/image.tar made:1 && '
              f'{podman} run --rm --network=host --pull=never --user=0:0 --cap-drop=all '
              '--security-opt=no-new-privileges -- made:1 '
              'sh -c "echo here; read line < /user && echo read"')
    with open('/mnt/podman.conf') as f:
        conf = f.read().partition('[Service]')[2]
    try:
        said = run_in_unit(f"sh -c '{script}'")
    except AssertionError as e:
        said = str(e)
    assert 'uid_map' in said and 'here' not in said, said
    said = run_in_unit(f"sh -c '{script}'", conf)
    assert 'here\nread\n' in said, said


def notebook_runs_in_sandbox():
    work = '/var/lib/nbcid/try'
    os.makedirs(f'{work}/out')
    cell = {'cell_type': 'code', 'metadata': {}, 'outputs': [], 'execution_count': None,
            'source': NOTEBOOK}
    with open(f'{work}/out/n.ipynb', 'w') as f:
        json.dump({'cells': [cell], 'metadata': {'kernelspec': {
            'name': 'python3', 'language': 'python', 'display_name': 'python3'}},
            'nbformat': 4, 'nbformat_minor': 4}, f)
    subprocess.run(['chown', '-R', 'nbcid:nbcid', work], check=True)
    run_in_unit(f'{program()} run --sandbox bubblewrap --python /usr/bin/python3 --timeout 100s '
                f'--hide /var/lib/nbcid --workspace {work}/out -o {work}/executed.ipynb n.ipynb')
    with open(f'{work}/executed.ipynb') as f:
        out = ''.join(json.load(f)['cells'][0]['outputs'][0]['text'])
    saw = json.loads(out)
    assert saw['uid'] != 0 and saw['seccomp'] == 2 and not saw['writable'], saw
    # Its own processes, the workspace, none of the machine's /run.
    assert saw['pids'] < 12 and set(saw['state']) <= {'try'} and 'units' not in saw['run'], saw
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/cmdline') as f:
                assert f.read() != 'sleep\x001000\x00', 'what the notebook left still runs'
        except (FileNotFoundError, ProcessLookupError):
            pass


if __name__ == '__main__':
    SERVE = [starts_without_socket, reloads, runners_outlive_it, socket_starts_it,
             watchdog_restarts_it]
    tap.run([*SERVE, notebook_runs_in_sandbox, podman_works_with_its_drop_in])
