#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Vertex AI with bad input: each gets an error that says what to do, and costs nothing.

Real: the daemon, git, kernels. Stand-in: the forge, and Google. Run by google_fake/environment.py.
"""
import contextlib
import json
import os
import subprocess

from google_world import BUCKET, Google
from harness import Repo, main, notebook, wait_for

SHELL = ('$(touch /tmp/x)', 'a;reboot', 'img`id`', '../../etc/passwd;', 'a b', '-v/:/host', 'a\nb')


@contextlib.contextmanager
def world(make, change=lambda text: text, limits='retries = 0', google=()):
    """change: what is wrong with the executor's table."""
    g = Google(*google)
    try:
        w = make(repository='executor = "vertex"', limits=limits, extra=change(g.executor())).start(
            env={'no_proxy': '*'})
        yield g, w, Repo(w)
    finally:
        g.close()


def one(w, repo, text=None, name='a.ipynb'):
    return w.build(repo, repo.base, repo.commit({name: text or notebook('1')}))['jobs'][0]


def check(job, state, cls, *words):
    assert (job['state'], job['class']) == (state, cls), job
    for word in words:
        assert word in job['reason'], (word, job['reason'])


def nothing_there(g):
    assert g.jobs() == [], g.jobs()
    assert g.objects() == [], g.objects()


def keys_that_are_not_keys(make):
    """Said by the check of the configuration, and not by the first push."""
    g = Google()
    w = make(extra=g.executor())
    good = json.loads(open(f'{g.dir}/service-account.json').read())
    try:
        for text, word in (
                ('', 'empty'), ('ya29.a-token', 'JSON'), ('{', 'JSON'), ('[]', 'JSON'),
                ('{"type": "robot"}', 'type'),
                (json.dumps({**good, 'private_key': 'x'}), 'private_key'),
                (json.dumps({k: v for k, v in good.items() if k != 'client_email'}),
                 'client_email')):
            path = f'{g.dir}/service-account.json'
            with open(path, 'w') as f:
                f.write(text)
            done = subprocess.run([w.nbcid, 'serve', '-c', w.config_file], capture_output=True,
                                  text=True, timeout=60, check=False)
            said = done.stdout + done.stderr
            assert done.returncode != 0 and word in said, (text[:40], done.returncode, said)
            assert good['private_key'][40:100] not in said, said
    finally:
        g.close()


def a_key_that_was_taken_back(make):
    with world(make) as (g, w, repo):
        kid = json.loads(open(f'{g.dir}/service-account.json').read())['private_key_id']
        g.control('POST', 'tokens', {'disable_keys': [kid]})
        check(one(w, repo), 'errored', 'permission', 'make a new one')
        nothing_there(g)


def a_project_that_is_not_ours(make):
    for project in ('other-project', 'no-such-project'):
        with world(make, lambda t, p=project: t.replace('"acme-notebooks"', f'"{p}"')) as \
                (g, w, repo):
            check(one(w, repo), 'errored', 'permission', project)
            nothing_left(g, w)


def a_bucket_of_another_project(make):
    with world(make, lambda t: t.replace(f'"{BUCKET}"', '"not-ours"')) as (g, w, repo):
        g.control('POST', 'buckets', {'name': 'not-ours', 'project': 'other-project'})
        check(one(w, repo), 'errored', 'permission', 'not-ours')
        nothing_there(g)


def a_bucket_that_is_not_there(make):
    with world(make, lambda t: t.replace(f'"{BUCKET}"', '"nowhere-at-all"')) as (g, w, repo):
        check(one(w, repo), 'errored', 'configuration', 'nowhere-at-all')
        nothing_there(g)


def names_that_are_no_buckets(make):
    for name in ('../x', 'a..b', 'Upper', 'gs://acme-nb', 'a b', 'ab', 'x/y', '$(id)'):
        g = Google()
        try:
            w = make(extra=g.executor().replace(f'"{BUCKET}"', f'"{name}"'))
            done = subprocess.run([w.nbcid, 'serve', '-c', w.config_file], capture_output=True,
                                  text=True, timeout=60, check=False)
            said = done.stdout + done.stderr
            assert done.returncode != 0 and 'bucket' in said, (name, said)
        finally:
            g.close()


def notebooks_with_odd_names(make):
    """A notebook's path is a stranger's; nothing of it is in an object's name."""
    with world(make) as (g, w, repo):
        names = ['a b;$(id).ipynb', 'deep/..x/ü"\'.ipynb', '-rf.ipynb']
        build = w.build(repo, repo.base, repo.commit({n: notebook('1') for n in names}))
        assert build['state'] == 'passed', build
        paths = [r['path'] for r in g.asked('storage.objects.insert.*')]
        assert len(paths) == 3, paths
        nothing_left(g, w)


def images_with_shell_text(make):
    with world(make) as (g, w, repo):
        build = w.build(repo, repo.base, repo.commit({
            f'{n}.ipynb': notebook('1', metadata={'environment': {'uri': image}})
            for n, image in enumerate(SHELL)}))
        for job in build['jobs']:
            assert job['state'] == 'failed', job
            assert 'image' in job['reason'] or 'environment.uri' in job['reason'], job
        nothing_there(g)


def a_notebook_over_the_limit(make):
    with world(make, limits='retries = 0\nmax_notebook = "64KiB"') as (g, w, repo):
        check(one(w, repo, notebook('x = 1  # ' + 'y' * 70000)), 'failed', 'check', 'max_notebook')
        nothing_there(g)


def an_output_that_another_writer_replaced(make):
    with world(make) as (g, w, repo):
        done = json.loads(notebook('print("I was never sent")'))
        done['cells'][0]['execution_count'] = 1
        g.rule(replace_output=json.dumps(done))
        check(one(w, repo, notebook('x = 1', 'x + 1')), 'errored', 'infrastructure',
              'another writer')
        nothing_left(g, w)


def an_input_that_another_writer_put_there(make):
    """The address is known before: a guess of it must not run as ours."""
    with world(make) as (g, w, repo):
        g.fault('storage.objects.insert.multipart', 'status', status=503, when='before', delay=2)
        w.push(repo, repo.base, repo.commit({'a.ipynb': notebook('print(1)')}))
        wait_for('the upload', lambda: any(f['taken'] for f in g.control('GET', 'faults')))
        db = os.listdir(os.path.join(w.state, 'remote', 'vertex'))
        with open(os.path.join(w.state, 'remote', 'vertex', db[0], 'record.json')) as f:
            name = json.load(f)['input'].removeprefix(f'gs://{BUCKET}/')
        g.control('POST', 'objects', {'bucket': BUCKET, 'name': name, 'action': 'put',
                                      'text': notebook('print("mine")')})
        check(w.wait_build(1)['jobs'][0], 'errored', 'infrastructure', 'other content')
        assert g.jobs() == []


def a_job_deleted_behind_our_back(make):
    with world(make) as (g, w, repo):
        w.push(repo, repo.base, repo.commit({'a.ipynb': notebook('import time; time.sleep(600)')}))
        job = wait_for('the job to run', lambda: next(
            (j for j in g.jobs() if j['state'] == 'JOB_STATE_RUNNING'), None))
        g.control('POST', f'jobs/{job["id"]}', {'action': 'delete'})
        check(w.wait_build(1)['jobs'][0], 'errored', 'lost', 'deleted', 'again')
        assert len(g.asked('vertex.customJobs.create')) == 1
        nothing_left(g, w)


def a_clock_that_is_wrong_by_an_hour(make):
    for seconds, word in ((4000, 'behind'), (-4000, 'ahead')):
        with world(make) as (g, w, repo):
            g.control('POST', 'clock', {'advance': seconds})
            check(one(w, repo), 'errored', 'permission', 'clock is', word)
            nothing_there(g)


def nothing_left(g, w):
    remote = os.path.join(w.state, 'remote', 'vertex')
    wait_for('what was staged to be gone', lambda: not g.objects() and not os.listdir(remote))


main([keys_that_are_not_keys, a_key_that_was_taken_back, a_project_that_is_not_ours,
      a_bucket_of_another_project, a_bucket_that_is_not_there, names_that_are_no_buckets,
      notebooks_with_odd_names, images_with_shell_text, a_notebook_over_the_limit,
      an_output_that_another_writer_replaced,
      an_input_that_another_writer_put_there, a_job_deleted_behind_our_back,
      a_clock_that_is_wrong_by_an_hour])
