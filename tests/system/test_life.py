#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Life of the daemon: configuration errors, reload, drain, the command line."""
import os
import signal
import socket
import subprocess

from harness import TOKEN, main, notebook, wait_for, Repo


def check(w, *args):
    return subprocess.run([w.nbcid, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=60)


def config_check_names_file_line_and_remedy(make):
    w = make()
    done = check(w, 'config', 'check', w.config_file)
    assert done.returncode == 0 and 'fine' in done.stdout, done
    with open(w.config_file) as f:
        good = f.read()
    for change, want in (
            (('min_free', 'min_fre'), 'min_free'), (('"1MiB"', '7'), ':5:'),
            (('webhook_secret_file = "secret"', 'webhook_secret_file = "gone"'), 'gone'),
            (('kind = "local"', 'kind = "cloud"'), 'cloud'), (('[limits]', '[limit]'), 'limits')):
        with open(w.config_file, 'w') as f:
            f.write(good.replace(*change))
        done = check(w, 'config', 'check', w.config_file)
        assert done.returncode == 2, (change, done)
        assert w.config_file + ':' in done.stderr and want in done.stderr, (change, done.stderr)
        done = check(w, 'serve', '-c', w.config_file)
        assert done.returncode == 2 and want in done.stderr, (change, done)
    os.chmod(w.dir + '/token', 0o600)
    with open(w.dir + '/token', 'w') as f:
        f.write('')
    with open(w.config_file, 'w') as f:
        f.write(good)
    done = check(w, 'config', 'check', w.config_file)
    assert done.returncode == 2 and 'token' in done.stderr, done


def usage_errors_exit_2(make):
    w = make()
    for args in ([], ['nonsense'], ['serve', '--nonsense'], ['serve', 'x'], ['run'],
                 ['run', '--timeout', '5', 'a.ipynb'], ['config'], ['config', 'chek']):
        assert check(w, *args).returncode == 2, args
    for args in (['--help'], ['serve', '--help'], ['run', '--help'], ['config', '--help'],
                 ['--version']):
        assert check(w, *args).returncode == 0, args


def reload_takes_the_new_or_keeps_the_old(make):
    w = make().start()
    other = Repo(w, 'team/other')
    assert 'ignored' in w.push(other, '0' * 40, other.base)[1]
    w.config['extra'] = f'[[repository]]\nforge = "{w.kind}"\nname = "team/other"\n'
    w.write_config()
    w.proc.send_signal(signal.SIGHUP)
    wait_for('the reload', lambda: 'configuration reloaded' in w.log())
    status, answer = w.push(other, '0' * 40, other.base)
    assert status == 202, answer
    w.wait_build(answer['build'])
    w.config['extra'] = 'nonsense = 1\n'
    w.write_config()
    w.proc.send_signal(signal.SIGHUP)
    wait_for('the refusal', lambda: 'reload refused' in w.log())
    assert 'nbcid_config_last_reload_successful 0' in w.request('GET', '/metrics')[1].decode()
    after = other.commit({'a.ipynb': notebook('1')})
    assert w.build(other, other.base, after)['state'] == 'passed'


def secrets_rotate_by_reload(make):
    w = make().start()
    repo = Repo(w)
    with open(w.dir + '/next', 'w') as f:
        f.write('the next secret')
    w.config['forge'] = 'webhook_secret_file_next = "next"'
    w.write_config()
    w.proc.send_signal(signal.SIGHUP)
    wait_for('the reload', lambda: 'configuration reloaded' in w.log())
    assert w.push(repo, '0' * 40, repo.base)[0] == 202  # the old one still holds
    import harness
    old, harness.SECRET = harness.SECRET, 'the next secret'
    try:
        assert w.push(repo, '0' * 40, repo.base, delivery='x')[0] in (200, 202)
        harness.SECRET = 'neither'
        assert w.push(repo, '0' * 40, repo.base, delivery='y')[0] == 401
    finally:
        harness.SECRET = old


def drain_waits_for_jobs(make):
    w = make(server='drain_timeout = "60s"').start()
    repo = Repo(w)
    after = repo.commit({'slow.ipynb': notebook('import time; time.sleep(3)')})
    w.push(repo, repo.base, after)
    wait_for('the job to run', lambda: any(
        j['state'] == 'running' for j in w.get('/api/v1/builds/1')['jobs']))
    assert w.stop(timeout=60) == 0
    w.start()
    build = w.get('/api/v1/builds/1')
    assert build['state'] == 'passed', build
    w.wait_status(after, 'nbcid', ['success'])


def one_notebook_by_hand(make):
    w = make()
    path = os.path.join(w.dir, 'a.ipynb')
    for source, code, word in (('print(1)', 0, 'passed'), ('1/0', 1, 'ZeroDivisionError')):
        with open(path, 'w') as f:
            f.write(notebook(source))
        done = check(w, 'run', '--python', '/usr/bin/python3', path)
        assert done.returncode == code, done
        assert word in done.stderr or code == 0, done
        assert os.path.exists(os.path.join(w.dir, 'a.executed.ipynb'))
        os.unlink(os.path.join(w.dir, 'a.executed.ipynb'))
    assert check(w, 'run', os.path.join(w.dir, 'gone.ipynb')).returncode == 2


def large_strangers_do_not_shut_out_pushes(make):
    w = make(server='request_timeout = "60s"').start()
    repo = Repo(w)
    head = (f'POST /hooks/github HTTP/1.1\r\nHost: x\r\nX-GitHub-Event: push\r\n'
            f'X-Hub-Signature-256: sha256={"0" * 64}\r\nContent-Length: {25 << 20}\r\n\r\n')
    strangers = []
    for _ in range(4):
        s = socket.create_connection(('127.0.0.1', w.port))
        s.sendall(head.encode() + b' ' * ((25 << 20) - 1))
        strangers.append(s)
    status, answer = w.push(repo, '0' * 40, repo.base)
    for s in strangers:
        s.close()
    assert status == 202, answer


def no_token_in_argv(make):
    w = make(git_auth=True).start()
    repo = Repo(w)
    after = repo.commit({'a.ipynb': notebook('import time; time.sleep(1)')})
    w.push(repo, repo.base, after)
    seen = 0
    while w.get('/api/v1/builds/1')['state'] not in ('passed', 'failed', 'errored'):
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open(f'/proc/{pid}/cmdline', 'rb') as f:
                    argv = f.read()
                with open(f'/proc/{pid}/environ', 'rb') as f:
                    env = f.read()
            except OSError:
                continue
            if w.nbcid.encode() in argv:
                seen += 1
                assert TOKEN.encode() not in argv and TOKEN.encode() not in env
    assert seen > 0
    assert w.get('/api/v1/builds/1')['state'] == 'passed'


main([config_check_names_file_line_and_remedy, usage_errors_exit_2,
      reload_takes_the_new_or_keeps_the_old, secrets_rotate_by_reload, drain_waits_for_jobs,
      one_notebook_by_hand, large_strangers_do_not_shut_out_pushes, no_token_in_argv])
