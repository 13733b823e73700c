#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Notebooks as custom jobs of Vertex AI: the main job, and what may go wrong on the way.

Real: the daemon, git, kernels (the stand-in's containers run the notebooks). Stand-in: the forge,
and Google (tests/fakes/google_cloud.py, strict). Run it by google_fake/environment.py.
"""
import contextlib
import json
import os
import signal

from google_world import BUCKET, PROJECT, Google
from harness import Repo, main, notebook, wait_for

IMAGE = 'gcr.io/deeplearning-platform-release/base-cpu:latest'
OURS = 'us-docker.pkg.dev/deeplearning-platform-release/gcr.io/base-cpu:latest'


@contextlib.contextmanager
def world(make, more='', limits='retries = 0'):
    g = Google()
    try:
        w = make(repository='executor = "vertex"', limits=limits, extra=g.executor(more)).start(
            env={'no_proxy': '*'})
        yield g, w, Repo(w)
    finally:
        g.close()


def nothing_left(g, w):
    remote = os.path.join(w.state, 'remote', 'vertex')
    wait_for('what was staged to be gone', lambda: not g.objects() and not os.listdir(remote))


def restart(w):
    w.stop(signal.SIGKILL)
    w.start(env={'no_proxy': '*'})


def the_main_job(make):
    with world(make) as (g, w, repo):
        toml = '[[job]]\nnotebook = "good.ipynb"\nparameters = { x = 41 }\n'
        good = json.loads(notebook('x = 1', 'print(x + 1)', metadata={
            'environment': {'uri': IMAGE, 'type': 'gcloud', 'name': 'base-cpu'}}))
        good['cells'][0]['metadata']['tags'] = ['parameters']
        after = repo.commit({'.nbcid.toml': toml, 'good.ipynb': json.dumps(good),
                             'deep/bad.ipynb': notebook('1', 'raise ValueError("no")', '3')})
        build = w.build(repo, repo.base, after)
        ends = {j['notebook']: (j['state'], j['class'], j['cell']) for j in build['jobs']}
        assert ends == {'good.ipynb': ('passed', 'passed', None),
                        'deep/bad.ipynb': ('failed', 'cell_error', 2)}, build['jobs']
        w.wait_status(after, 'nbcid', ['failure'])
        s = w.statuses(after)
        assert s['nbcid/deep/bad.ipynb']['description'] == 'cell 2: ValueError: no', s
        done, _ = w.artifact(w.job(build, 'good.ipynb'), 'notebook')
        assert '42' in json.dumps(json.loads(done)['cells'][-1]['outputs']), done
        log, _ = w.artifact(w.job(build, 'good.ipynb'), 'log')
        assert OURS in log.decode(), log
        specs = {j['resource']['displayName'].split()[1]: j['resource'] for j in g.jobs()}
        container = {n: r['jobSpec']['workerPoolSpecs'][0]['containerSpec']
                     for n, r in specs.items()}
        assert container['good.ipynb']['imageUri'] == OURS
        assert container['good.ipynb']['args'][0] == 'nbexecutor'
        assert container['deep/bad.ipynb']['command'][:2][0] == 'papermill'
        for r in specs.values():
            assert r['jobSpec']['scheduling']['disableRetries'] is True, r
            assert r['jobSpec']['scheduling']['timeout'] == '7200s', r
        nothing_left(g, w)
        assert len(g.asked('vertex.customJobs.create')) == 2


def no_image_is_the_notebooks_fault(make):
    with world(make) as (g, w, repo):
        w.stop()
        w.config['extra'] = w.config['extra'].replace(
            'container_uri = "docker.io/acme/notebooks:1"', '')
        w.write_config()
        w.start(env={'no_proxy': '*'})
        build = w.build(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))
        job = build['jobs'][0]
        assert (job['state'], job['class']) == ('failed', 'environment'), job
        assert 'container_uri' in job['reason'], job
        assert g.jobs() == []


def a_lost_answer_is_looked_for(make):
    with world(make) as (g, w, repo):
        before = repo.base
        for n, (fault, creates) in enumerate((
                ({'kind': 'reset', 'when': 'after'}, 1),
                ({'kind': 'status', 'status': 503, 'when': 'after'}, 1),
                ({'kind': 'reset', 'when': 'before'}, 2),
                ({'kind': 'status', 'status': 500, 'when': 'before'}, 2)), 1):
            g.control('DELETE', 'requests')
            g.control('POST', 'lists', {'lag': 2 - creates})
            g.fault('vertex.customJobs.create', **fault)
            after = repo.commit({'a.ipynb': notebook(str(n))})
            build = w.build(repo, before, after)
            assert build['state'] == 'passed', build
            assert len(g.jobs()) == n, (fault, g.jobs())
            assert len(g.asked('vertex.customJobs.create')) == creates, fault
            nothing_left(g, w)
            before = after


def a_page_may_be_empty_and_not_the_last(make):
    with world(make) as (g, w, repo):
        g.control('POST', 'lists', {'empty_pages': True})
        g.fault('vertex.customJobs.create', 'reset', when='after')
        build = w.build(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))
        assert build['state'] == 'passed', build
        assert len(g.asked('vertex.customJobs.create')) == 1
        assert len(g.jobs()) == 1, g.jobs()
        nothing_left(g, w)


def duplicates_are_ended(make):
    with world(make) as (g, w, repo):
        # Twice invisible: so a second one is submitted, and the first is found by a later look.
        g.fault('vertex.customJobs.create', 'reset', when='after')
        g.control('POST', 'lists', {'lag': 3})
        build = w.build(repo, repo.base, repo.commit({
            'a.ipynb': notebook('import time; time.sleep(20)')}))
        assert build['state'] == 'passed', build
        states = sorted(j['state'] for j in g.jobs())
        assert states == ['JOB_STATE_CANCELLED', 'JOB_STATE_SUCCEEDED'], states


def trouble_on_the_way(make):
    with world(make) as (g, w, repo):
        g.fault('vertex.customJobs.create', 'rate')
        g.fault('vertex.customJobs.create', 'quota')
        g.fault('vertex.customJobs.list', 'status', status=503)
        g.fault('vertex.customJobs.list', 'rate', retry_after=0)
        g.fault('vertex.customJobs.get', 'status', status=500)
        g.fault('storage.objects.insert.multipart', 'status', status=503)
        g.fault('storage.objects.media', 'corrupt')
        g.fault('storage.objects.delete', 'status', status=503)
        build = w.build(repo, repo.base, repo.commit({
            'a.ipynb': notebook('import time; time.sleep(2)')}))
        assert build['state'] == 'passed', build
        assert len(g.jobs()) == 1
        nothing_left(g, w)


def ends_of_jobs(make):
    ends = [
        ({'no_output': True}, 'errored', 'infrastructure', 'left no notebook'),
        ({'replace_output': '{"cells": ['}, 'errored', 'infrastructure', 'broken'),
        ({'stockout': True}, 'errored', 'capacity', 'no machine'),
        ({'preempt_after': 0}, 'errored', 'capacity', 'no machine'),
        ({'mode': 'timer', 'outcome': 'EXPIRED', 'code': 4, 'message': 'x'}, 'timed_out', 'timeout',
         'timed out'),
        ({'mode': 'timer', 'outcome': 'PARTIALLY_SUCCEEDED', 'code': 2}, 'errored',
         'infrastructure', 'in part'),
        ({'mode': 'timer', 'outcome': 'FAILED', 'code': 13, 'message': 'internal'}, 'errored',
         'infrastructure', 'internal'),
        ({'mode': 'timer', 'outcome': 'FAILED', 'code': 7, 'message': 'no right to the image'},
         'errored', 'permission', 'no right'),
        ({'mode': 'timer', 'outcome': 'FAILED', 'code': 3, 'message': 'no such image'},
         'errored', 'configuration', 'no such image'),
        ({'mode': 'timer', 'outcome': 'FAILED'}, 'errored', 'infrastructure', 'no notebook'),
        ({'delete_after_end': True}, 'errored', 'lost', 'deleted')]
    with world(make, 'slots = 20', 'retries = 0\njobs_per_repository = 20') as (g, w, repo):
        for n, (rule, *_) in enumerate(ends):
            g.rule(display_name=f'*{n}.ipynb', **rule)
        build = w.build(repo, repo.base, repo.commit(
            {f'{n}.ipynb': notebook('1') for n in range(len(ends))}), timeout=240)
        for n, (rule, state, cls, text) in enumerate(ends):
            job = w.job(build, f'{n}.ipynb')
            assert (job['state'], job['class']) == (state, cls), (rule, job)
            assert text in job['reason'], (rule, job)
        nothing_left(g, w)


FALLBACKS = '''
[[executor.fallback]]
machine_type = "n1-standard-8"
[[executor.fallback]]
region = "us-east1"
accelerator_type = "NVIDIA_TESLA_T4"
'''
STOCKOUT = 'Resources are insufficient in region: us-central1. Please try a different region.'


def no_machine_tries_the_next(make):
    with world(make, FALLBACKS) as (g, w, repo):
        g.rule(region='us-central1', machine_type='n1-standard-4', stockout=True)
        # The second is refused when it is to be created, and a later look is at two regions.
        g.fault('vertex.customJobs.create', 'status', status=429, skip=1, message=STOCKOUT)
        after = repo.commit({'a.ipynb': notebook('import time; time.sleep(2)')})
        build = w.build(repo, repo.base, after)
        job = build['jobs'][0]
        assert job['state'] == 'passed', job
        where = 'n1-standard-4 with 1 NVIDIA_TESLA_T4 in us-east1'
        assert f'on {where}, since there was no n1-standard-4 in us-central1' in job['reason'], job
        w.wait_status(after, 'nbcid', ['success'])
        text = w.statuses(after)['nbcid/a.ipynb']['description']
        assert 'us-east1' in text, text
        shown = w.get(f'/api/v1/jobs/{job["id"]}')['attempts'][0]['machine']
        assert (shown['type'], shown['accelerator'], shown['accelerators'], shown['region'],
                shown['spot']) == ('n1-standard-4', 'NVIDIA_TESLA_T4', 1, 'us-east1', False), shown
        assert shown['started_at'] < shown['ended_at'] and shown['seconds'] >= 2, shown
        found = w.get(f'/api/v1/jobs/{job["id"]}/environment')['found']
        assert found['machine']['region'] == 'us-east1', found
        assert (found['image'], found['why']) == (
            'docker.io/acme/notebooks:1', 'container_uri of executor vertex'), found
        log = w.artifact(job, 'log')[0].decode()
        assert 'no machine: n1-standard-4 in us-central1: Resources are insufficient' in log, log
        assert 'no machine: n1-standard-8 in us-central1: Resources are insufficient' in log, log
        assert f'machine: {where}\n' in log, log
        states = [(j['resource']['name'].split('/')[3], j['state']) for j in g.jobs()]
        assert sorted(states) == [('us-central1', 'JOB_STATE_FAILED'),
                                  ('us-east1', 'JOB_STATE_SUCCEEDED')], states
        nothing_left(g, w)


def what_was_taken_away_left_nothing_to_be_believed(make):
    with world(make, FALLBACKS) as (g, w, repo):
        # Preempted with half a notebook written; the next one says that it succeeded, and wrote none.
        g.rule(machine_type='n1-standard-4', preempt_after=2)
        g.rule(machine_type='n1-standard-8', no_output=True)
        build = w.build(repo, repo.base, repo.commit({
            'a.ipynb': notebook('1', 'import time; time.sleep(4)')}))
        job = build['jobs'][0]
        assert (job['state'], job['class']) == ('errored', 'infrastructure'), job
        assert 'left no notebook at' in job['reason'] and 'output-1' in job['reason'], job
        nothing_left(g, w)


def no_machine_anywhere(make):
    with world(make, FALLBACKS) as (g, w, repo):
        g.rule(stockout=True)
        build = w.build(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))
        job = build['jobs'][0]
        assert (job['state'], job['class']) == ('errored', 'capacity'), job
        for place in ('n1-standard-4 in us-central1', 'n1-standard-8 in us-central1',
                      'NVIDIA_TESLA_T4 in us-east1'):
            assert place in job['reason'], job
        assert len(g.jobs()) == 3
        nothing_left(g, w)


def killed_on_the_way_to_another_machine(make):
    with world(make, FALLBACKS) as (g, w, repo):
        before = repo.base
        g.rule(machine_type='n1-standard-4', region='us-central1', stockout=True)
        for n, skip in enumerate((1, 0), 1):
            g.control('DELETE', 'faults')
            g.fault('vertex.customJobs.create' if skip else 'vertex.customJobs.get', 'none',
                    delay=1.5, skip=skip)
            after = repo.commit({'a.ipynb': notebook(f'print({n})')})
            w.push(repo, before, after)
            wait_for('the request', lambda: any(f['taken'] for f in g.control('GET', 'faults')))
            restart(w)
            build = w.wait_build(n)
            assert build['state'] == 'passed', build
            assert len(g.jobs()) == 2 * n, g.jobs()
            nothing_left(g, w)
            before = after


def the_rest_of_the_checkout_goes_along(make):
    with world(make) as (g, w, repo):
        before = repo.base
        read = notebook('import helper, os; print(helper.six() * 7, open("../data/x").read(), '
                        'os.path.basename(os.getcwd()))',
                        metadata={'environment': {'uri': IMAGE}})
        plain = notebook('import helper; print(helper.six() * 7)')
        for n, kind in enumerate(('archive', 'folder'), 1):
            toml = f'[defaults]\nworkspace = "{kind}"\n'
            after = repo.commit({'.nbcid.toml': toml, 'a b/$(X)/n.ipynb': read + ' ' * n,
                                 'a b/$(X)/helper.py': 'def six():\n    return 6\n',
                                 'a b/data/x': 'of data', 'helper.py': 'def six(): return 6',
                                 'plain.ipynb': plain + ' ' * n})
            build = w.build(repo, before, after)
            assert build['state'] == 'passed', (kind, build)
            done = w.artifact(w.job(build, 'a b/$(X)/n.ipynb'), 'notebook')[0]
            text = json.dumps(json.loads(done)['cells'][0]['outputs'])
            assert '42 of data $(X)' in text, (kind, text)
            nothing_left(g, w)
            before = after
        spec = next(j['resource'] for j in g.jobs() if 'plain' in j['resource']['displayName'])
        assert spec['jobSpec']['workerPoolSpecs'][0]['containerSpec']['command'][:2] == ['sh', '-c']


def a_checkout_over_the_limit(make):
    with world(make, 'workspace = "archive"\nmax_workspace = "1MiB"') as (g, w, repo):
        after = repo.commit({'a.ipynb': notebook('1'), 'big': 'x' * (1 << 20)})
        job = w.build(repo, repo.base, after)['jobs'][0]
        assert (job['state'], job['class']) == ('failed', 'check'), job
        assert 'more than the 1 MiB of max_workspace' in job['reason'], job
        toml = '[[job]]\nnotebook = "*"\nworkspace = "none"\n'
        build = w.build(repo, after, repo.commit({'.nbcid.toml': toml, 'a.ipynb': notebook('2')}))
        assert build['state'] == 'passed', build
        nothing_left(g, w)


def killed_while_it_is_staged(make):
    with world(make, 'workspace = "folder"') as (g, w, repo):
        g.fault('storage.objects.insert.multipart', 'none', delay=1.5, match='workspace')
        files = {f'data/{i}': str(i) for i in range(30)}
        w.push(repo, repo.base, repo.commit({
            **files, 'a.ipynb': notebook('print(open("data/29").read())')}))
        wait_for('the folder', lambda: any(f['taken'] for f in g.control('GET', 'faults')))
        restart(w)
        assert w.wait_build(1)['state'] == 'passed'
        assert len(g.jobs()) == 1
        nothing_left(g, w)


def log_of(w, build, name):
    return w.artifact(w.job(build, name), 'log')[0].decode()


def what_the_container_wrote(make):
    with world(make) as (g, w, repo):
        # A shell that says three times what a page holds, and then runs the notebook.
        w.stop()
        w.config['extra'] += '''[[executor.rule]]
image = "docker.io/acme/**"
run = ["sh", "-c", "seq -f 'line %.0f' 1200; echo bad >&2; exec papermill $1 $2", "sh", "{input}",
       "{output}"]
'''
        w.write_config()
        w.start(env={'no_proxy': '*'})
        g.control('POST', 'logs', {'lag': 2})
        first = repo.commit({'a.ipynb': notebook('1')})
        log = log_of(w, w.build(repo, repo.base, first), 'a.ipynb')
        lines = [line.split(' ', 1)[1] for line in log.splitlines() if ' line ' in line]
        assert lines == [f'line {i}' for i in range(1, 1201)], lines
        assert ' bad\n' in log, log
        pages = [r for r in g.asked('logging.entries.list') if r['status'] == 200]
        assert len(pages) >= 3, pages
        # May not, then cannot: the job is what it was, and the log says why and where.
        g.control('POST', 'grants', {'deny': [['nbcid@*', '*', 'logging.*']]})
        second = repo.commit({'a.ipynb': notebook('2')})
        build = w.build(repo, first, second)
        log = log_of(w, build, 'a.ipynb')
        assert build['state'] == 'passed', build
        assert 'logging.logEntries.list (roles/logging.viewer)' in log, log
        assert 'its logs: https://console.cloud.google.com/vertex-ai/locations/us-' in log, log
        g.control('POST', 'grants', {'deny': [], 'reset_deny': True})
        g.fault('logging.entries.list', 'status', status=500, times=None)
        build = w.build(repo, second, repo.commit({'a.ipynb': notebook('3')}))
        assert build['state'] == 'passed', build
        assert "the container's log: " in log_of(w, build, 'a.ipynb'), log


def each_trouble_has_its_class(make):
    """What the operator must mend is said, and not tried again; what may pass is waited for."""
    with world(make, 'queue_timeout = "1s"', 'retries = 1') as (g, w, repo):
        g.control('POST', 'buckets', {'name': 'theirs', 'project': 'other-project'})
        good, before = w.config['extra'], repo.base
        hour = {'advance': -3600}  # of Google's: ours is ahead
        cases = [
            ((f'project = "{PROJECT}"', 'project = "no-such-one"'), None, 'permission',
             'no-such-one', 1),
            ((f'bucket = "{BUCKET}"', 'bucket = "theirs"'), None, 'permission', '403', 1),
            ((f'bucket = "{BUCKET}"', 'bucket = "nobodys"'), None, 'configuration', '404', 1),
            (('spot', 'spot'), hour, 'permission', 'clock', 1),
            (('service-account.json', 'weak.json'), None, 'permission', '403', 1),
            (('queue_timeout', 'machine_type = "e2-standard-4"\naccelerator_type = '
              '"NVIDIA_TESLA_T4"\nqueue_timeout'), None, 'configuration', 'is not supported', 1),
            (('queue_timeout', 'service_account = "no@one.iam.gserviceaccount.com"\n'
              'queue_timeout'), None, 'permission', 'act as', 1),
            (('', ''), {'kind': 'rate'}, 'rate_limit', '429', 2),
            (('', ''), {'kind': 'quota'}, 'capacity', 'quota metrics exceed', 2),
            (('', ''), {'kind': 'status', 'status': 503}, 'infrastructure', '503', 2)]
        for n, ((old, new), trouble, cls, text, attempts) in enumerate(cases, 1):
            w.stop()
            w.config['extra'] = good.replace(old, new, 1) if old else good
            w.write_config()
            g.control('DELETE', 'faults')
            if trouble is hour:
                g.control('POST', 'clock', hour)
            elif trouble:
                op = 'storage.objects.insert.multipart' if 'status' in trouble else \
                    'vertex.customJobs.create'
                g.fault(op, times=None, **trouble)
            w.start(env={'no_proxy': '*'})
            after = repo.commit({'a.ipynb': notebook(str(n))})
            job = w.build(repo, before, after, timeout=240)['jobs'][0]
            if trouble is hour:
                g.control('POST', 'clock', {'advance': 3600})
            assert (job['state'], job['class']) == ('errored', cls), (new, trouble, job)
            assert text in job['reason'], (new, trouble, job)
            tried = w.get(f'/api/v1/jobs/{job["id"]}')['attempts']
            assert len(tried) == attempts, (new, trouble, tried)
            before = after
        assert g.jobs() == []


def odd_names_beside_the_output_go_too(make):
    with world(make) as (g, w, repo):
        w.push(repo, repo.base, repo.commit({'a.ipynb': notebook('import time; time.sleep(2)')}))
        wait_for('the job', lambda: g.jobs())
        prefix = g.objects()[0]['name'].rsplit('/', 1)[0]
        for name in ('zz//y', '..', 'a%2Fb c?#', 'é/', './x'):
            g.control('POST', 'objects', {'bucket': BUCKET, 'name': f'{prefix}/{name}',
                                          'action': 'put', 'text': 'x'})
        assert w.wait_build(1)['state'] == 'passed'
        nothing_left(g, w)


def a_job_that_does_not_end_is_not_forgotten(make):
    with world(make, 'queue_timeout = "1s"') as (g, w, repo):
        remote = os.path.join(w.state, 'remote', 'vertex')
        g.rule(queue=3600, stuck_cancelling=True)
        build = w.build(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))
        job = build['jobs'][0]
        assert (job['state'], job['class']) == ('errored', 'infrastructure'), job
        assert 'queue_timeout' in job['reason'], job
        wait_for('the clean-up to wait', lambda: 'does not end' in w.log())
        assert os.listdir(remote) and g.objects()
        g.control('POST', f'jobs/{g.jobs()[0]["id"]}', {'action': 'release'})
        restart(w)
        nothing_left(g, w)


def cancelled_while_nothing_can_be_asked(make):
    with world(make) as (g, w, repo):
        g.fault('vertex.customJobs.create', 'none', delay=1.5)
        w.push(repo, repo.base, repo.commit({'a.ipynb': notebook('import time; time.sleep(99)')}))
        wait_for('the request', lambda: any(f['taken'] for f in g.control('GET', 'faults')))
        g.control('POST', 'grants', {'deny': [['nbcid@*', '*', 'aiplatform.customJobs.list']]})
        restart(w)
        wait_for('a word of it', lambda: 'aiplatform.customJobs.list' in w.log())
        assert w.post('/api/v1/builds/1/cancel')[0] == 202
        assert w.wait_build(1)['jobs'][0]['state'] == 'cancelled'
        g.control('POST', 'grants', {'deny': [], 'reset_deny': True})
        restart(w)
        nothing_left(g, w)
        assert [j['state'] for j in g.jobs()] == ['JOB_STATE_CANCELLED']


def an_output_over_the_limit_is_the_notebooks_fault(make):
    with world(make, limits='retries = 1\nmax_output = "64KiB"\nmax_notebook = "256KiB"') as (
            g, w, repo):
        build = w.build(repo, repo.base, repo.commit({
            'a.ipynb': notebook('print("x" * 200000)'), 'b.ipynb': notebook('print("x" * 40000)')}))
        job = w.job(build, 'a.ipynb')
        assert (job['state'], job['class']) == ('failed', 'cell_error'), job
        assert 'max_output' in json.dumps(job), job
        assert w.job(build, 'b.ipynb')['state'] == 'passed', build
        assert len(g.jobs()) == 2, 'and it is not tried again'
        nothing_left(g, w)


def a_result_is_waited_for(make):
    with world(make) as (g, w, repo):
        # A try has six requests, and four tries were all there were.
        g.fault('storage.objects.get', 'status', status=503, times=30)
        build = w.build(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}), timeout=400)
        assert build['state'] == 'passed', build
        assert len(g.jobs()) == 1
        nothing_left(g, w)


def cancelled(make):
    with world(make) as (g, w, repo):
        w.push(repo, repo.base, repo.commit({
            'a.ipynb': notebook('print("begun")', 'import time; time.sleep(600)')}))
        wait_for('the job to run', lambda: any(j['state'] == 'JOB_STATE_RUNNING'
                                               for j in g.jobs()))
        g.fault('vertex.customJobs.cancel', 'status', status=503)
        assert w.post('/api/v1/builds/1/cancel')[0] == 202
        build = w.wait_build(1)
        assert build['jobs'][0]['state'] == 'cancelled', build
        assert [j['state'] for j in g.jobs()] == ['JOB_STATE_CANCELLED']
        nothing_left(g, w)


def cancelled_while_there_is_no_room(make):
    with world(make) as (g, w, repo):
        g.fault('vertex.customJobs.create', 'quota', times=None)
        w.push(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))
        wait_for('a refusal', lambda: g.asked('vertex.customJobs.create'))
        assert w.get('/api/v1/builds/1')['state'] == 'running', 'quota waits without failing'
        assert w.post('/api/v1/builds/1/cancel')[0] == 202
        assert w.wait_build(1)['jobs'][0]['state'] == 'cancelled'
        assert g.jobs() == []
        nothing_left(g, w)


def killed_at_any_moment(make):
    """The daemon dies while a request is on its way, whether it will have its effect or not."""
    with world(make) as (g, w, repo):
        before = repo.base
        for n, op in enumerate((
                'storage.objects.insert.multipart', 'vertex.customJobs.create',
                'vertex.customJobs.list', 'vertex.customJobs.get', 'storage.objects.media',
                'storage.objects.list', 'storage.objects.delete'), 1):
            g.control('DELETE', 'faults')
            g.fault(op, 'none', delay=1.5)
            after = repo.commit({'a.ipynb': notebook(f'print({n})')})
            w.push(repo, before, after)
            wait_for(op, lambda: any(f['taken'] for f in g.control('GET', 'faults')))
            restart(w)
            build = w.wait_build(n)
            assert build['state'] == 'passed', (op, build)
            assert len(g.jobs()) == n, (op, g.jobs())
            nothing_left(g, w)
            before = after


def another_project_in_the_configuration(make):
    with world(make) as (g, w, repo):
        g.control('POST', 'grants', {'allow': [['nbcid@*', '*', '*']]})
        g.fault('vertex.customJobs.create', 'none', delay=1.5)
        w.push(repo, repo.base, repo.commit({'a.ipynb': notebook('1')}))
        wait_for('the request', lambda: any(f['taken'] for f in g.control('GET', 'faults')))
        w.stop(signal.SIGKILL)
        w.config['extra'] = w.config['extra'].replace(f'"{PROJECT}"', '"other-project"')
        w.write_config()
        w.start(env={'no_proxy': '*'})
        assert w.wait_build(1)['state'] == 'passed'
        assert len(g.jobs()) == 1, g.jobs()
        nothing_left(g, w)


def killed_while_it_runs(make):
    with world(make) as (g, w, repo):
        w.push(repo, repo.base, repo.commit({'a.ipynb': notebook('import time; time.sleep(3)')}))
        for state in ('JOB_STATE_QUEUED', 'JOB_STATE_RUNNING'):
            wait_for(state, lambda: any(state in (j['state'], 'JOB_STATE_QUEUED')
                                        for j in g.jobs()))
            restart(w)
        w.stop(signal.SIGKILL)
        wait_for('its end', lambda: any(j['state'] == 'JOB_STATE_SUCCEEDED' for j in g.jobs()))
        w.start(env={'no_proxy': '*'})
        assert w.wait_build(1)['state'] == 'passed'
        assert len(g.asked('vertex.customJobs.create')) == 1
        nothing_left(g, w)


def stopped_in_the_middle(make):
    """SIGTERM leaves what runs to the next start."""
    with world(make) as (g, w, repo):
        before = repo.base
        for n, op in enumerate(('storage.objects.insert.multipart', 'vertex.customJobs.create',
                                'vertex.customJobs.list', 'storage.objects.media'), 1):
            g.control('DELETE', 'faults')
            g.fault(op, 'none', delay=1.5)
            after = repo.commit({'a.ipynb': notebook(f'print({n})')})
            w.push(repo, before, after)
            wait_for(op, lambda: any(f['taken'] for f in g.control('GET', 'faults')))
            assert w.stop() == 0, op
            w.start(env={'no_proxy': '*'})
            assert w.wait_build(n)['state'] == 'passed', op
            assert len(g.jobs()) == n, (op, g.jobs())
            before = after
        nothing_left(g, w)
        assert w.stop() == 0


if __name__ == '__main__':
    main([the_main_job, no_image_is_the_notebooks_fault, a_lost_answer_is_looked_for,
          duplicates_are_ended, trouble_on_the_way, ends_of_jobs,
          no_machine_tries_the_next, what_was_taken_away_left_nothing_to_be_believed,
          no_machine_anywhere, killed_on_the_way_to_another_machine,
          a_page_may_be_empty_and_not_the_last, the_rest_of_the_checkout_goes_along,
          a_checkout_over_the_limit, killed_while_it_is_staged,
          what_the_container_wrote, each_trouble_has_its_class,
          odd_names_beside_the_output_go_too, cancelled,
          cancelled_while_there_is_no_room, killed_at_any_moment, killed_while_it_runs,
          stopped_in_the_middle, a_job_that_does_not_end_is_not_forgotten,
          cancelled_while_nothing_can_be_asked, another_project_in_the_configuration,
          an_output_over_the_limit_is_the_notebooks_fault, a_result_is_waited_for])
