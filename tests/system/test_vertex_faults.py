#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Google's stand-in can do to the daemon and test_vertex.py has not: lists, tokens, sessions.

tests/fakes/google_fake/README.md says which test meets which fault. Run by
google_fake/environment.py.
"""
import contextlib
import json
import os
import re

import harness
from google_world import Google
from harness import Repo, main, notebook, wait_for


@contextlib.contextmanager
def world(make, limits='retries = 0', google=(), slots=2, poll='200ms'):
    g = Google(*google)
    try:
        w = make(repository='executor = "vertex"', limits=limits,
                 extra=g.executor(f'slots = {slots}', poll)).start(env={'no_proxy': '*'})
        yield g, w, Repo(w)
    finally:
        g.close()


def nothing_left(g, w):
    remote = os.path.join(w.state, 'remote', 'vertex')
    wait_for('what was staged to be gone', lambda: not g.objects() and not os.listdir(remote))


def running(g):
    return wait_for('the job to run', lambda: next(
        (j for j in g.jobs() if j['state'] == 'JOB_STATE_RUNNING'), None))


def all_taken(g):
    return all(f['taken'] >= f.get('times', 1) for f in g.control('GET', 'faults'))


def lists_that_are_stale(make):
    """They show no job, then one that has ended as if it ran, and cost no second job."""
    with world(make) as (g, w, repo):
        g.control('POST', 'lists', {'stale': 5})
        after = repo.commit({'a.ipynb': notebook('1')})
        assert w.build(repo, repo.base, after)['state'] == 'passed'
        g.rule(mode='timer', run=600)
        w.push(repo, after, repo.commit({'a.ipynb': notebook('2')}))
        job = running(g)
        g.control('POST', 'lists', {'stale': 10})
        g.control('POST', f'jobs/{job["id"]}', {'action': 'end', 'state': 'FAILED', 'code': 13,
                                                'message': 'internal'})
        build = w.wait_build(2)
        assert 'internal' in build['jobs'][0]['reason'], build
        assert len(g.asked('vertex.customJobs.create')) == 2
        nothing_left(g, w)


def lists_that_are_slow(make):
    with world(make) as (g, w, repo):
        g.fault('vertex.customJobs.list', 'none', delay=3)
        build = w.build(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))
        assert build['state'] == 'passed', build
        assert all_taken(g)
        nothing_left(g, w)


def lists_of_many_pages(make):
    """Pages and questions for jobs that ended share one allowance: eight in a poll_interval."""
    with world(make, limits='retries = 0\njobs_per_repository = 20', google=('--page-size', '2'),
               slots=20) as (g, w, repo):
        g.rule(mode='timer', run=600)
        w.push(repo, repo.base, repo.commit({f'{n}.ipynb': notebook('1') for n in range(12)}))
        wait_for('all jobs to run', lambda: [j['state'] for j in g.jobs()] ==
                 ['JOB_STATE_RUNNING'] * 12)
        wait_for('a look of six pages', lambda: len(g.asked('vertex.customJobs.list')) >= 12)
        for job in g.jobs():
            g.control('POST', f'jobs/{job["id"]}', {'action': 'end', 'state': 'FAILED', 'code': 13,
                                                    'message': 'internal'})
        build = w.wait_build(1)
        assert [j['class'] for j in build['jobs']] == ['infrastructure'] * 12, build
        times = [r['time'] for r in g.asked('vertex.customJobs.list') +
                 g.asked('vertex.customJobs.get')]
        for start in times:
            n = sum(start <= t < start + 2 for t in times)
            assert n <= 8 + 2 * 40 + 2, n
        assert len(g.asked('vertex.customJobs.get')) == 12
        nothing_left(g, w)


def many_that_begin(make):
    """58 in any minute, 8 of them at once, also after the service has refused some."""
    n = 16
    with world(make, limits=f'retries = 0\njobs_per_repository = {n}', slots=n) as (g, w, repo):
        g.rule(mode='timer', run=600)
        g.fault('vertex.customJobs.create', 'rate', times=3)
        w.push(repo, repo.base, repo.commit({f'{i}.ipynb': notebook('1') for i in range(n)}))
        wait_for('all jobs', lambda: len(g.jobs()) == n)
        times = sorted(r['time'] for r in g.asked('vertex.customJobs.create'))
        assert len(times) == n + 3, times
        for i, start in enumerate(times[:-8]):
            assert times[i + 8] - start > 1, times
        assert times[-1] - times[0] > (n + 3 - 8) * 1.2 - 1, times


def folders_that_are_sent_at_once(make):
    """What is on its way shares what there is, 16 files of up to 8 MiB in memory."""
    with world(make, limits='retries = 0\njobs_per_repository = 8', slots=8) as (g, w, repo):
        g.fault('storage.objects.insert.*', 'none', delay=2, times=None)
        w.push(repo, repo.base, repo.commit({
            '.nbcid.toml': '[defaults]\nworkspace = "folder"\n',
            **{f'data/{i}': 'x' * 7_000_000 for i in range(10)},
            **{f'{i}.ipynb': notebook('1') for i in range(5)}}))
        wait_for('all jobs', lambda: len(g.jobs()) == 5, 120)
        with open(f'/proc/{w.proc.pid}/status') as f:
            most = int(re.search(r'VmHWM:\s+(\d+) kB', f.read()).group(1)) // 1024
        assert most < 200 or harness.SLOW > 1, f'{most} MiB'


def tokens_that_end_early(make):
    with world(make) as (g, w, repo):
        w.push(repo, repo.base, repo.commit({'a.ipynb': notebook('import time; time.sleep(4)')}))
        running(g)
        g.control('POST', 'tokens', {'expire': True})
        build = w.wait_build(1)
        assert build['state'] == 'passed', build
        refused = [r for r in g.asked('*') if r['status'] == 401]
        assert refused, 'nobody met the token that had ended'
        assert len(g.asked('token.grant')) == 2, g.asked('token.grant')
        nothing_left(g, w)


def tokens_that_cannot_be_had_for_a_while(make):
    with world(make) as (g, w, repo):
        g.fault('token.grant', 'status', status=503)
        g.fault('token.grant', 'reset')
        build = w.build(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))
        assert build['state'] == 'passed', build
        assert all_taken(g)


def sessions_in_trouble(make):
    """A notebook of more than 8 MiB is uploaded in pieces: 308, and all that may come of it."""
    with world(make) as (g, w, repo):
        big = json.loads(notebook('print("ran")'))
        big['cells'].insert(0, {'cell_type': 'markdown', 'metadata': {}, 'source': 'x' * (9 << 20)})
        for kind, more in (('short', {'bytes': 262144}), ('cut', {'bytes': 3 << 20}),
                           ('no_range', {}), ('gone', {}), ('status', {'status': 503}),
                           ('reset', {'when': 'after'})):
            g.fault('storage.resumable.put', kind, **more)
        g.fault('storage.objects.media', 'truncate', bytes=100000)
        build = w.build(repo, repo.base, repo.commit({'a.ipynb': json.dumps(big)}), timeout=240)
        assert build['state'] == 'passed', build
        done, _ = w.artifact(build['jobs'][0], 'notebook')
        assert 'ran' in json.dumps(json.loads(done)['cells'][1]['outputs'])
        nothing_left(g, w)


def cancellations_that_are_stuck(make):
    with world(make) as (g, w, repo):
        g.rule(stuck_cancelling=True)
        w.push(repo, repo.base, repo.commit({'a.ipynb': notebook('import time; time.sleep(600)')}))
        job = running(g)
        assert w.post('/api/v1/builds/1/cancel')[0] == 202
        wait_for('CANCELLING', lambda: g.jobs()[0]['state'] == 'JOB_STATE_CANCELLING')
        w.stop(9)
        w.start(env={'no_proxy': '*'})
        looks = len(g.asked('vertex.customJobs.list'))
        wait_for('some looks', lambda: len(g.asked('vertex.customJobs.list')) > looks + 2)
        assert w.get('/api/v1/builds/1')['state'] == 'running', 'it waits for the end'
        g.control('POST', f'jobs/{job["id"]}', {'action': 'release'})
        assert w.wait_build(1)['jobs'][0]['state'] == 'cancelled'
        nothing_left(g, w)


def a_job_that_is_faster_than_its_cancellation(make):
    with world(make) as (g, w, repo):
        g.rule(cancel_ends='SUCCEEDED', cancel=0)
        w.push(repo, repo.base, repo.commit({'a.ipynb': notebook('import time; time.sleep(5)')}))
        running(g)
        assert w.post('/api/v1/builds/1/cancel')[0] == 202
        job = w.wait_build(1)['jobs'][0]
        assert job['state'] in ('passed', 'cancelled'), job
        assert g.jobs()[0]['state'] == 'JOB_STATE_SUCCEEDED'
        nothing_left(g, w)


def a_machine_that_is_taken_away(make):
    """Retries inside of one job are off: the next attempt is another job, with other objects."""
    with world(make, limits='retries = 1') as (g, w, repo):
        g.rule(preempt_after=0, times=1)
        build = w.build(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}), timeout=240)
        assert build['state'] == 'passed', build
        assert [j['restarts'] for j in g.jobs()] == [0, 0], g.jobs()
        labels = {j['resource']['labels']['nbcid-attempt'] for j in g.jobs()}
        assert len(labels) == 2, labels
        nothing_left(g, w)


def notebooks_that_are_not_finished(make):
    """SUCCEEDED is Vertex AI's word for the exit status of a command."""
    def executed(counts, exception):
        n = json.loads(notebook('1', '2', '3'))
        for cell, count in zip(n['cells'], counts):
            cell['execution_count'] = count
        n['metadata']['papermill'] = {'exception': exception}
        return json.dumps(n)

    stale = json.loads(executed((None, None, None), True))
    cases = [(executed((1, None, None), None), 'errored', 'only 1 of the 3 cells ran'),
             (executed((None, None, None), None), 'errored', 'only 0 of the 3 cells ran'),
             (executed((1, 2, 3), True), 'errored', 'papermill has noted'),
             (executed((1, 2, 3), None), 'passed', '')]
    with world(make, limits='retries = 0\njobs_per_repository = 20', slots=20) as (g, w, repo):
        for n, (text, *_) in enumerate(cases):
            g.rule(display_name=f'*{n}.ipynb', replace_output=text)
        g.rule(display_name='*stale.ipynb', replace_output=json.dumps(stale).replace(
            '"execution_count": null', '"execution_count": 1'))
        files = {f'{n}.ipynb': notebook('1', '2', '3') for n in range(len(cases))}
        build = w.build(repo, repo.base, repo.commit({
            **files, 'stale.ipynb': json.dumps(stale),
            'exits.ipynb': notebook('1', 'import sys; sys.exit(0)', 'raise ValueError', '')}))
        for n, (text, state, reason) in enumerate(cases):
            job = w.job(build, f'{n}.ipynb')
            assert job['state'] == state and reason in (job['reason'] or ''), (text, job)
        assert w.job(build, 'exits.ipynb')['state'] == 'passed', build
        assert w.job(build, 'stale.ipynb')['state'] == 'passed', build
        nothing_left(g, w)


def what_was_sent_has_its_age_after_a_restart(make):
    with world(make) as (g, w, repo):
        g.fault('vertex.customJobs.create', 'none', delay=3)
        w.push(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))
        wait_for('the request', lambda: all_taken(g))
        remote = os.path.join(w.state, 'remote', 'vertex')
        path = os.path.join(remote, os.listdir(remote)[0], 'job-0')
        with open(path) as f:
            assert f.read() == f'\n{g.objects()[0]["generation"]}\n'
        w.stop(9)
        with open(path, 'w') as f:
            f.write(f'\n{1 << 62}\n')
        w.start(env={'no_proxy': '*'})
        job = w.wait_build(1)['jobs'][0]
        assert job['state'] == 'errored' and 'older than the input' in job['reason'], job
        assert len(g.jobs()) == 1
        nothing_left(g, w)


def answers_that_are_not_the_services(make):
    with world(make) as (g, w, repo):
        # The answer is too long for us, and the job is there.
        g.fault('vertex.customJobs.create', 'status', status=503, when='after', text='', fill=9 << 20)
        g.fault('vertex.customJobs.get', 'status', status=404, text='<html>no such page', times=3)
        build = w.build(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))
        assert build['state'] == 'passed', build
        assert all_taken(g)
        assert len(g.jobs()) == 1
        assert 'could not be looked at' in w.log()
        nothing_left(g, w)


def a_job_that_runs_over_its_time(make):
    """The service does not end it, so we do: 720 looks after, an hour most often."""
    with world(make, limits='retries = 1\ntimeout = "1s"', poll='50ms') as (g, w, repo):
        g.rule(mode='timer', run=600, timeout_ends=None)
        job = w.build(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))['jobs'][0]
        assert (job['state'], job['class']) == ('timed_out', 'timeout'), job
        assert [j['state'] for j in g.jobs()] == ['JOB_STATE_CANCELLED']
        nothing_left(g, w)


def logs_that_are_long(make):
    """500 lines of 40 kB are more than an answer may have; the newest are wanted."""
    with world(make) as (g, w, repo):
        w.stop()
        w.config['extra'] += '''[[executor.rule]]
image = "docker.io/acme/**"
run = ["sh", "-c", "for i in $(seq 500); do printf '%040000d\\\\n' $i; done; exec papermill $1 $2",
       "sh", "{input}", "{output}"]
'''
        w.write_config()
        w.start(env={'no_proxy': '*'})
        build = w.build(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))
        log = w.artifact(build['jobs'][0], 'log')[0].decode()
        assert build['state'] == 'passed', build
        assert '(the beginning is left out)' in log and '0500\n' in log, log[:3000]


def records_that_cannot_be_read(make):
    """Another version's, or the disk's: what runs is ended all the same."""
    with world(make) as (g, w, repo):
        g.rule(mode='timer', run=600)
        w.push(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))
        running(g)
        w.stop(9)
        remote = os.path.join(w.state, 'remote', 'vertex')
        with open(os.path.join(remote, os.listdir(remote)[0], 'record.json'), 'w') as f:
            f.write('{"version": 7}')
        w.start(env={'no_proxy': '*'})
        assert w.wait_build(1)['jobs'][0]['class'] == 'lost'
        wait_for('the end of the job', lambda: g.jobs()[0]['state'] == 'JOB_STATE_CANCELLED')
        wait_for('a word of it', lambda: 'record cannot be read' in w.log())
        assert os.listdir(remote) and g.objects()


def executors_that_are_gone(make):
    with world(make) as (g, w, repo):
        g.rule(mode='timer', run=600)
        w.push(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))
        running(g)
        w.stop()
        good = w.config['extra']
        assert 'not configured any more' not in w.log()
        for gone in (good.replace('name = "vertex"', 'name = "other"'),
                     '[[executor]]\nname = "vertex"\nkind = "local"\n'):
            w.config['extra'] = gone
            w.config['repository'] = ''
            w.write_config()
            w.start(env={'no_proxy': '*'})
            assert w.wait_build(1)['jobs'][0]['class'] == 'lost'
            w.stop()
            assert w.log().count('not configured any more') >= 1, w.log()
        w.config['extra'] = good
        w.write_config()
        w.start(env={'no_proxy': '*'})
        wait_for('the end of the job', lambda: g.jobs()[0]['state'] == 'JOB_STATE_CANCELLED')
        nothing_left(g, w)


main([lists_that_are_stale, lists_that_are_slow, lists_of_many_pages, many_that_begin,
      folders_that_are_sent_at_once, tokens_that_end_early,
      tokens_that_cannot_be_had_for_a_while, sessions_in_trouble, cancellations_that_are_stuck,
      a_job_that_is_faster_than_its_cancellation, a_machine_that_is_taken_away,
      notebooks_that_are_not_finished, what_was_sent_has_its_age_after_a_restart,
      answers_that_are_not_the_services, a_job_that_runs_over_its_time, logs_that_are_long,
      records_that_cannot_be_read, executors_that_are_gone])
