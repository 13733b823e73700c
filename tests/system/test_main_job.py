#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job: a signed push runs its changed notebooks and the commit shows the verdict.

Real: the daemon, git over smart HTTP, Jupyter kernels (Python and R), signatures. Stand-in: the
forge's status API (tests/fakes, strict).
"""
import json
import os
import re

from harness import SECRET, TOKEN, ZERO, OPERATOR, main, notebook, wait_for, Repo

PLOT = '''%matplotlib inline
import matplotlib.pyplot as plt
plt.plot([1, 2, 3])'''


def the_main_job(make):
    w = make().start()
    repo = Repo(w)
    after = repo.commit({
        'good.ipynb': notebook('x = 1', 'print(x + 1)'),
        'bad.ipynb': notebook('x = 1', 'raise ValueError("shapes (3,) (4,)")', 'print(3)'),
        'syntax.ipynb': notebook('print(1', 'print(2)'),
        'plots/plot.ipynb': notebook(PLOT),
        'r.ipynb': notebook('x <- c(1, 2, 3)', 'cat(mean(x))', kernel='ir', language='R'),
        'broken.ipynb': '{"cells": [',
    })
    build = w.build(repo, repo.base, after)
    assert build['state'] == 'failed', build
    ends = {j['notebook']: (j['state'], j['class'], j['cell']) for j in build['jobs']}
    assert ends == {
        'good.ipynb': ('passed', 'passed', None), 'bad.ipynb': ('failed', 'cell_error', 2),
        'syntax.ipynb': ('failed', 'check', None),
        'plots/plot.ipynb': ('passed', 'passed', None), 'r.ipynb': ('passed', 'passed', None),
        'broken.ipynb': ('failed', 'check', None)}, ends
    bad = w.job(build, 'bad.ipynb')
    assert (bad['ename'], bad['evalue']) == ('ValueError', 'shapes (3,) (4,)')

    w.wait_status(after, 'nbcid', ['failure'])
    s = {c: (v['state'], v['description']) for c, v in w.statuses(after).items()}
    assert s['nbcid/bad.ipynb'] == ('failure', 'cell 2: ValueError: shapes (3,) (4,)'), s
    assert s['nbcid/good.ipynb'][0] == 'success', s
    assert 'broken.ipynb:1:' in s['nbcid/broken.ipynb'][1], s
    assert w.statuses(after)['nbcid']['target_url'] == 'https://ci.example.org/builds/1'

    done, headers = w.artifact(bad, 'notebook')
    cells = json.loads(done)['cells']
    assert cells[1]['outputs'][-1]['ename'] == 'ValueError'
    assert cells[2]['outputs'] == []
    assert headers['X-Content-Type-Options'] == 'nosniff'
    assert headers['Content-Disposition'].startswith('attachment'), headers
    assert "default-src 'none'" in headers['Content-Security-Policy']
    plot, _ = w.artifact(w.job(build, 'plots/plot.ipynb'), 'notebook')
    assert 'image/png' in plot.decode()
    log, _ = w.artifact(w.job(build, 'good.ipynb'), 'log')
    assert log is not None
    for path in ('/', '/builds/1', f'/jobs/{bad["id"]}'):
        status, body, _ = w.request('GET', path)
        assert status == 200 and b'bad.ipynb' in body or path == '/', (path, status)
    # Nothing is left behind but what is kept on purpose, and no secret anywhere.
    wait_for('workspaces and runs to be gone', lambda: not os.listdir(f'{w.state}/workspaces')
             and not os.listdir(f'{w.state}/runs'))
    assert w.stop() == 0
    for where in [w.log_path, f'{w.state}/nbcid.db']:
        with open(where, 'rb') as f:
            text = f.read()
        for secret in (SECRET, TOKEN, OPERATOR):
            assert secret.encode() not in text, where


def gitlab_too(make):
    w = make(kind='gitlab', git_auth=True).start()
    repo = Repo(w)
    after = repo.commit({'a b "c".ipynb': notebook('1/0')})
    build = w.build(repo, repo.base, after)
    assert build['state'] == 'failed', build
    s = w.wait_status(after, 'nbcid/a b "c".ipynb', ['failed'])
    assert 'ZeroDivisionError' in s['description'], s
    w.wait_status(after, 'nbcid', ['failed'])


def one_delivery_is_one_build(make):
    w = make().start()
    repo = Repo(w)
    after = repo.commit({'a.ipynb': notebook('1')})
    assert w.push(repo, repo.base, after, delivery='same') == (202, {'build': 1})
    assert w.push(repo, repo.base, after, delivery='same') == (
        200, {'build': 1, 'duplicate': True})
    w.wait_build(1)
    assert w.push(repo, repo.base, after, delivery='same')[1]['build'] == 1
    status, answer = w.push(repo, after, ZERO)
    assert status == 200 and 'delet' in answer['ignored'], answer
    status, answer = w.push(repo, repo.base, after, ref='refs/tags/v1')
    assert status == 200 and 'tag' in answer['ignored'], answer
    other = Repo(w, 'other/thing')
    status, answer = w.push(other, ZERO, other.base)
    assert status == 200 and 'not configured' in answer['ignored'], answer
    assert len(w.get('/api/v1/builds')['builds']) == 1


def branches_and_forced_pushes(make):
    w = make(repository='branches = ["main", "feature/*"]').start()
    repo = Repo(w)
    first = repo.commit({'a.ipynb': notebook('1'), 'b.ipynb': notebook('2')})
    repo.run('git', 'checkout', '-q', '-b', 'feature/x')
    feature = repo.commit({'b.ipynb': notebook('22')}, ref='feature/x')
    b = w.build(repo, ZERO, feature, ref='refs/heads/feature/x')
    assert [j['notebook'] for j in b['jobs']] == ['b.ipynb'], b
    # Force-pushed away before we looked: the commit itself is fetched.
    repo.run('git', 'reset', '-q', '--hard', first)
    newer = repo.commit({'a.ipynb': notebook('11')}, ref='feature/x')
    lost = repo.run('git', 'commit-tree', '-p', first, '-m', 'lost', f'{feature}^{{tree}}')
    repo.run('git', 'push', '-q', 'origin', f'{lost}:refs/heads/tmp')
    repo.run('git', 'push', '-q', 'origin', ':refs/heads/tmp')
    b = w.build(repo, first, lost, ref='refs/heads/feature/x')
    assert b['state'] == 'passed' and [j['notebook'] for j in b['jobs']] == ['b.ipynb'], b
    b = w.build(repo, '1' * 40, newer, ref='refs/heads/feature/x')  # before is nowhere
    assert [j['notebook'] for j in b['jobs']] == ['a.ipynb'], b
    status, answer = w.push(repo, ZERO, feature, ref='refs/heads/wip')
    assert status == 200 and 'wip' in answer['ignored'], answer


def tokens_go_to_the_configured_host_only(make):
    w = make(git_auth=True).start()
    evil = make()
    repo = Repo(w)
    sub = Repo(w, 'acme/sub')
    sub_sha = sub.commit({'data.csv': '1,2\n'})
    foreign = Repo(evil, 'evil/sub')
    repo.run('git', 'config', '-f', '.gitmodules', 'submodule.sub.path', 'sub')
    repo.run('git', 'config', '-f', '.gitmodules', 'submodule.sub.url', '../sub.git')
    repo.run('git', 'config', '-f', '.gitmodules', 'submodule.bad.path', 'bad')
    repo.run('git', 'config', '-f', '.gitmodules', 'submodule.bad.url',
             f'http://127.0.0.2:{evil.git.port}/evil/sub.git')
    repo.run('git', 'update-index', '--add', '--cacheinfo', f'160000,{sub_sha},sub')
    repo.run('git', 'update-index', '--add', '--cacheinfo', f'160000,{foreign.base},bad')
    with open(os.path.join(repo.work, 'a.ipynb'), 'w') as f:
        f.write(notebook('print(open("sub/data.csv").read())\nimport os\n'
                         'assert os.listdir("bad") == []'))
    repo.run('git', 'add', 'a.ipynb', '.gitmodules')
    repo.run('git', 'commit', '-q', '-m', 'submodules')
    repo.run('git', 'push', '-q', 'origin', 'HEAD:main')
    after = repo.run('git', 'rev-parse', 'HEAD')
    build = w.build(repo, repo.base, after)
    assert build['state'] == 'passed', build
    with open(w.git_log) as f:
        assert all(json.loads(line)['authorization'] or True for line in f)
    assert not os.path.exists(evil.git_log) or os.path.getsize(evil.git_log) == 0


def a_remote_that_is_down_is_retried(make):
    w = make().start()
    repo = Repo(w)
    after = repo.commit({'a.ipynb': notebook('1')})
    with open(w.git_mode, 'w') as f:
        f.write('status 503')
    status, answer = w.push(repo, repo.base, after)
    assert status == 202
    wait_for('a first try to fail', lambda: w.get('/api/v1/builds/1')['reason'])
    assert w.get('/api/v1/builds/1')['state'] == 'queued'
    os.unlink(w.git_mode)
    assert w.wait_build(1)['state'] == 'passed'
    w.wait_status(after, 'nbcid', ['success'])


def operators_cancel_and_retry(make):
    w = make().start()
    repo = Repo(w)
    after = repo.commit({'slow.ipynb': notebook('print("begun")', 'import time; time.sleep(600)')})
    w.push(repo, repo.base, after)
    wait_for('the second cell to run',
             lambda: any(j['cells_done'] == 1 for j in w.get('/api/v1/builds/1')['jobs']))
    status, body, headers = w.request('POST', '/api/v1/builds/1/cancel', b'')
    assert status == 401 and 'WWW-Authenticate' in headers, (status, headers)
    assert w.post('/api/v1/builds/1/cancel', token='wrong')[0] == 401
    assert w.post('/api/v1/builds/1/cancel')[0] == 202
    build = w.wait_build(1)
    assert build['state'] == 'cancelled' and build['jobs'][0]['state'] == 'cancelled', build
    done, _ = w.artifact(build['jobs'][0], 'notebook')
    assert 'begun' in done.decode(), 'what ran before the stop is kept'
    assert w.post('/api/v1/builds/1/cancel')[0] == 409
    status, answer = w.post('/api/v1/builds/1/retry')
    assert (status, answer['build']) == (202, 2), answer
    assert w.post('/api/v1/builds/2/cancel')[0] == 202
    w.wait_build(2)


def limits_hold(make):
    w = make(limits='cell_timeout = "2s"\ntimeout = "60s"',
             executor='memory_max = "512MiB"').start()
    repo = Repo(w)
    after = repo.commit({
        'sleep.ipynb': notebook('print("before")', 'import time; time.sleep(60)'),
        'eat.ipynb': notebook('b = bytearray(2 * 2**30)\nfor i in range(0, len(b), 4096): b[i] = 1'),
        'die.ipynb': notebook('import os; os.kill(os.getpid(), 11)'),
        'nokernel.ipynb': notebook('1', kernel='cobol', language='cobol'),
        'path.ipynb': notebook('1', kernel='../../bin/sh'),
    })
    build = w.build(repo, repo.base, after)
    ends = {j['notebook']: (j['state'], j['class']) for j in build['jobs']}
    assert ends == {'sleep.ipynb': ('timed_out', 'timeout'),
                    'eat.ipynb': ('failed', 'out_of_memory'),
                    'die.ipynb': ('failed', 'signal'),
                    'nokernel.ipynb': ('failed', 'no_kernel'),
                    'path.ipynb': ('failed', 'check')}, ends
    done, _ = w.artifact(w.job(build, 'sleep.ipynb'), 'notebook')
    assert 'before' in done.decode()
    assert 'python3' in w.job(build, 'nokernel.ipynb')['reason']
    assert 'SIGSEGV' in json.dumps(w.statuses(after)) or w.wait_status(
        after, 'nbcid/die.ipynb', ['failure'])


def a_job_sees_no_secret(make):
    w = make()
    w.start(env={'SECRET_OF_THE_DAEMON': SECRET})
    repo = Repo(w)
    look = f'''import os, subprocess
assert "SECRET_OF_THE_DAEMON" not in os.environ
for path in {[w.state + "/nbcid.db", w.dir + "/secret", w.dir + "/token", w.dir + "/operator"]!r}:
    try:
        text = open(path, "rb").read()
    except OSError:
        text = b""
    assert text == b"", path
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        assert b"serve" not in open(f"/proc/{{pid}}/cmdline", "rb").read(), pid
    except OSError:
        pass
open("here.txt", "w").write("the workspace is ours")
for path, how in (("/usr/nbcid-was-here", "w"), ("/proc/sys/kernel/core_pattern", "r+")):
    try:
        open(path, how)
        raise AssertionError(path + " is writable")
    except OSError:
        pass'''
    build = w.build(repo, repo.base, repo.commit({'deep/look.ipynb': notebook(look)}))
    assert build['state'] == 'passed', build['jobs']


def metrics_and_health(make):
    w = make().start()
    assert w.request('GET', '/healthz')[0] == 200
    assert w.request('GET', '/readyz')[0] == 200
    repo = Repo(w)
    w.build(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))
    text = w.request('GET', '/metrics')[1].decode()
    assert re.search(r'nbcid_webhook_deliveries_total\{.*accepted.*\} 1', text), text
    assert re.search(r'nbcid_jobs_finished_total\{.*passed.*\} 1', text), text


main([the_main_job, gitlab_too, one_delivery_is_one_build, branches_and_forced_pushes,
      tokens_go_to_the_configured_host_only, a_remote_that_is_down_is_retried,
      operators_cancel_and_retry, limits_hold, a_job_sees_no_secret, metrics_and_health])
