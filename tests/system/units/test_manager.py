# SPDX-License-Identifier: Apache-2.0
"""What a service manager and the daemon say to each other: sd_notify(3), a passed socket."""
import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import tap  # noqa: E402

PATIENCE = 30 * float(os.environ.get('NBCID_TEST_SLOW', '1'))


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s:
        return s.getsockname()[1]


def healthy(port):
    """Status of GET /healthz; None while nobody listens."""
    c = http.client.HTTPConnection('127.0.0.1', port, timeout=PATIENCE)
    try:
        c.request('GET', '/healthz')
        return c.getresponse().status
    except ConnectionRefusedError:
        return None
    finally:
        c.close()


class Place:
    """A configuration, and a socket such as a service manager's."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='nbcid-manager-')
        self.config = os.path.join(self.dir, 'config.toml')
        self.port = free_port()
        self.write()
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(os.path.join(self.dir, 'notify'))
        self.notify.settimeout(PATIENCE)
        self.env = {'PATH': '/usr/bin:/bin', 'LANG': 'C.UTF-8'}
        self.proc = None

    def write(self, more=''):
        with open(self.config, 'w') as f:
            f.write(f'[server]\nlisten = "127.0.0.1:{self.port}"\n'
                    f'state_dir = "{self.dir}/state"\n{more}')

    def start(self, argv, **env):
        self.log = open(os.path.join(self.dir, 'log'), 'w+')
        self.proc = subprocess.Popen(argv, env={**self.env, **env}, stdin=subprocess.DEVNULL,
                                     stdout=self.log, stderr=self.log, cwd=self.dir)

    def heard(self, wanted):
        """Variables of the next message that has wanted in it."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            lines = self.notify.recv(65536).decode().splitlines()
            if wanted in lines:
                return dict(x.split('=', 1) for x in lines)
        raise AssertionError(f'waited {PATIENCE} s in vain for {wanted}')

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        if self.proc:
            self.log.seek(0)
            for line in self.log if kind else ():
                print('# daemon:', line, end='')
            self.log.close()
        self.notify.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def ready_watchdog_reload_stop(nbcid):
    with Place() as p:
        p.start([nbcid, 'serve', '--config', p.config], NOTIFY_SOCKET=f'{p.dir}/notify',
                WATCHDOG_USEC='600000')
        assert p.heard('READY=1').get('STATUS')
        tap.equal(healthy(p.port), 200)
        start = time.monotonic()
        for _ in range(3):
            p.heard('WATCHDOG=1')
        # Three pings at 600 ms / 3 each; a manager would have lost patience at 600 ms for one.
        assert time.monotonic() - start < 3 * 0.6 * max(1, PATIENCE / 30), 'pings come too late'
        os.kill(p.proc.pid, signal.SIGHUP)
        assert int(p.heard('RELOADING=1')['MONOTONIC_USEC']) > 0
        assert 'refused' not in p.heard('READY=1')['STATUS'].lower()
        p.write('no_such_key = 1\n')
        os.kill(p.proc.pid, signal.SIGHUP)
        p.heard('RELOADING=1')
        assert 'no_such_key' in p.heard('READY=1')['STATUS']
        tap.equal(healthy(p.port), 200)
        os.kill(p.proc.pid, signal.SIGTERM)
        p.heard('STOPPING=1')
        tap.equal(p.proc.wait(PATIENCE), 0)


def wrong_configuration_is_not_retried(nbcid):
    """Exit status 2 is what RestartPreventExitStatus= of the unit names."""
    with Place() as p:
        p.write('no_such_key = 1\n')
        p.start([nbcid, 'serve', '--config', p.config])
        tap.equal(p.proc.wait(PATIENCE), 2)


def passed_socket_wins(nbcid):
    program = shutil.which('systemd-socket-activate')
    if not program:
        raise tap.Skip('there is no systemd-socket-activate here')
    with Place() as p:
        passed = free_port()
        p.start([program, f'--listen=127.0.0.1:{passed}', '--fdname=http', nbcid, 'serve',
                 '--config', p.config])
        until = time.monotonic() + PATIENCE
        status = None
        while status is None and time.monotonic() < until:
            # The first connection starts the daemon, and is answered by it.
            with contextlib.suppress(ConnectionResetError):
                status = healthy(passed)
        tap.equal(status, 200)
        tap.equal(healthy(p.port), None)
        os.kill(p.proc.pid, signal.SIGTERM)
        tap.equal(p.proc.wait(PATIENCE), 0)


if __name__ == '__main__':
    tap.run([ready_watchdog_reload_stop, wrong_configuration_is_not_retried, passed_socket_wins],
            os.path.abspath(sys.argv[1]))
