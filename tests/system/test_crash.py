#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Crash safety of the real binary: kill -9 at random moments while deliveries arrive, a forge that
is down, a full disk, a read-only database, a second instance."""
import http.client
import os
import random
import signal
import subprocess
import threading
import time

from harness import FINAL, ROOT, main, notebook, wait_for, Repo


def killed_at_random_moments(make):
    """Every 202 ends in a finished build, no result is lost, no job finishes twice, and every
    final status is delivered."""
    seed = int(os.environ.get('NBCID_TEST_SEED') or time.time())
    print(f'# seed {seed} (NBCID_TEST_SEED)')
    rng = random.Random(seed)
    w = make(limits='jobs_per_repository = 8', executor='slots = 3').start()
    repo = Repo(w)
    before, pushes = repo.base, []
    for i in range(8):
        after = repo.commit({f'n{i}.ipynb': notebook(f'x = {i}', 'print("ran", x)'),
                             f'bad{i}.ipynb': notebook('1/0')})
        pushes.append((before, after))
        before = after
    accepted, stop = {}, threading.Event()

    def deliver():
        """As a patient sender: again until it was accepted; then it is the daemon's."""
        for i, (a, b) in enumerate(pushes):
            while not stop.is_set():
                try:
                    status, answer = w.push(repo, a, b, delivery=f'd{i}')
                    if status in (200, 202):
                        accepted[b] = answer['build']
                        break
                except (OSError, http.client.HTTPException):
                    pass
                time.sleep(0.05)
            time.sleep(rng.random() * 0.5)

    sender = threading.Thread(target=deliver)
    sender.start()
    try:
        for _ in range(12):
            time.sleep(rng.random() * 1.5)
            w.stop(signal.SIGKILL)
            w.start()
    finally:
        sender.join(60)
        stop.set()
    assert len(accepted) == len(pushes)
    for after, number in accepted.items():
        build = w.wait_build(number, 180)
        assert build['state'] == 'failed', build
        for job in build['jobs']:
            want = 'failed' if job['notebook'].startswith('bad') else 'passed'
            assert job['state'] == want, job
            finished = [a for a in job['attempts'] if a['state'] in FINAL + ('timed_out',)]
            assert len([a for a in finished if a['state'] != 'errored']) == 1, job
            done, _ = w.artifact(job, 'notebook')
            assert done, 'the result is lost'
            assert (b'"ran ' in done or b'ran' in done) if want == 'passed' \
                else b'ZeroDivisionError' in done
    assert len(w.get('/api/v1/builds?limit=100')['builds']) == len(pushes)
    for after in accepted:
        w.wait_status(after, 'nbcid', ['failure'], 120)
        for context, s in w.statuses(after).items():
            assert s['state'] in ('success', 'failure'), (context, s)


def a_run_is_adopted_not_repeated(make):
    w = make().start()
    repo = Repo(w)
    w.push(repo, repo.base, repo.commit({'slow.ipynb': notebook(
        'print("one")', 'import time; time.sleep(6)', 'print("two")')}))
    wait_for('the slow cell', lambda: any(
        j['cells_done'] == 1 for j in w.get('/api/v1/builds/1')['jobs']))
    assert w.stop() == 0  # SIGTERM, drain_timeout 0: the run goes on by itself
    w.start()
    build = w.wait_build(1)
    assert build['state'] == 'passed' and len(build['jobs'][0]['attempts']) == 1, build


def a_run_that_ends_meanwhile_is_not_lost(make):
    w = make().start()
    repo = Repo(w)
    w.push(repo, repo.base, repo.commit({'slow.ipynb': notebook('import time; time.sleep(3)')}))
    path = os.path.join(w.wait_runner(), 'events.jsonl')
    w.stop(signal.SIGKILL)
    wait_for('the runner to end', lambda: '"finished"' in open(path).read())
    w.start()
    build = w.wait_build(1)
    assert build['state'] == 'passed' and len(build['jobs'][0]['attempts']) == 1, build


def a_killed_runner_is_lost_and_retried(make):
    w = make().start()
    repo = Repo(w)
    w.push(repo, repo.base, repo.commit({'slow.ipynb': notebook('import time; time.sleep(3)')}))
    w.wait_runner()
    w.end_runners()
    build = w.wait_build(1)
    attempts = build['jobs'][0]['attempts']
    assert [a['class'] for a in attempts] == ['lost', 'passed'], attempts


def the_forge_is_down_for_a_while(make):
    w = make().start()
    repo = Repo(w)
    w.control('POST', '/control', {'fault': 'reset'})
    after = repo.commit({'a.ipynb': notebook('1')})
    w.build(repo, repo.base, after)
    assert not w.statuses(after)
    w.stop(signal.SIGKILL)
    w.start()
    w.control('POST', '/control', {'fault': None})
    w.wait_status(after, 'nbcid', ['success'], 120)
    w.wait_status(after, 'nbcid/a.ipynb', ['success'], 120)
    states = [s['state'] for s in w.recorded() if s['context'] == 'nbcid/a.ipynb']
    assert states[-1] == 'success' and len(states) <= 2, f'not coalesced: {states}'


def a_second_instance_is_refused(make):
    w = make().start()
    second = subprocess.run([w.nbcid, 'serve', '-c', w.config_file], stderr=subprocess.PIPE,
                            text=True, timeout=30)
    assert second.returncode == 3 and 'another nbcid runs on' in second.stderr, second
    assert w.request('GET', '/healthz')[0] == 200


def in_a_small_disk(make):
    """A disk that is full or takes no write: 503, nothing lost, and well again without a restart. Needs a mount:
    runs itself anew in a user namespace with one."""
    here = os.path.join(ROOT, 'tests', 'system', 'disk.py')
    w = make()
    done = subprocess.run(['unshare', '--user', '--map-root-user', '--mount', 'python3', here,
                           w.nbcid], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=300)
    print('\n'.join('# ' + line for line in done.stdout.splitlines()[-30:]))
    assert done.returncode == 0, done.returncode


main([killed_at_random_moments, a_run_is_adopted_not_repeated,
      a_run_that_ends_meanwhile_is_not_lost, a_killed_runner_is_lost_and_retried,
      the_forge_is_down_for_a_while, a_second_instance_is_refused, in_a_small_disk])
