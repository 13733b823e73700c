# SPDX-License-Identifier: Apache-2.0
"""disk.py NBCID: what test_crash.py runs in a mount namespace of its own."""
import os
import resource
import subprocess
import sys

from harness import World, notebook, wait_for, Repo

w = World(os.path.abspath(sys.argv[1]))
try:
    os.mkdir(w.state)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', w.state], check=True)
    w.start()
    repo = Repo(w)
    first = repo.commit({'a.ipynb': notebook('1')})
    assert w.build(repo, repo.base, first)['state'] == 'passed'

    # Full to the last block: min_free is below what is left, so SQLite itself meets the wall.
    with open(f'{w.state}/fill', 'wb', buffering=0) as f:
        try:
            while True:
                f.write(b'x' * 4096)
        except OSError:
            pass
    second = repo.commit({'a.ipynb': notebook('2')})
    status, answer = w.push(repo, first, second, delivery='again')
    assert status == 503, (status, answer)
    assert w.request('GET', '/readyz')[0] == 503
    assert w.request('GET', '/healthz')[0] == 200
    os.unlink(f'{w.state}/fill')
    wait_for('ready again', lambda: w.request('GET', '/readyz')[0] == 200)
    status, answer = w.push(repo, first, second, delivery='again')
    assert status == 202, (status, answer)
    assert w.wait_build(answer['build'])['state'] == 'passed'

    # A disk that takes no write at all, as a read-only one: no file may grow beyond a byte.
    limit = resource.prlimit(w.proc.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(w.proc.pid, resource.RLIMIT_FSIZE, (1, limit[1]))
    third = repo.commit({'a.ipynb': notebook('3')})
    status, answer = w.push(repo, second, third)
    assert status == 503, (status, answer)
    assert w.request('GET', '/readyz')[0] == 503
    resource.prlimit(w.proc.pid, resource.RLIMIT_FSIZE, limit)
    wait_for('ready again', lambda: w.request('GET', '/readyz')[0] == 200)
    status, answer = w.push(repo, second, third)
    assert status == 202, (status, answer)
    assert w.wait_build(answer['build'])['state'] == 'passed'
    print('fine')
finally:
    w.close()
    subprocess.run(['umount', w.state], check=False, stderr=subprocess.DEVNULL)
