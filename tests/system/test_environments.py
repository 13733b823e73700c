#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reliable re-runs: what the gate refuses never runs, and each notebook gets what it names.

Real: the daemon, git over smart HTTP, Jupyter kernels, environments installed from the package
index that pip is set up for on this machine. Stand-in: the forge's status API (tests/fakes,
strict).
"""
import json
import os

from harness import main, notebook, wait_for, Repo

PRINT = 'import colorama\nprint(colorama.__version__)'
REQUIRES = {'requirements': ['colorama==0.4.4']}
# An installation from the index may take its time.
PATIENCE = 600


def printed(w, job):
    done, _ = w.artifact(job, 'notebook')
    return ''.join(text for cell in json.loads(done)['cells'] for out in cell['outputs']
                   for text in out.get('text', []))


def environment(w, job):
    return w.get(f'/api/v1/jobs/{job["id"]}/environment')


def two_pins_of_one_package_in_one_push(make):
    w = make().start()
    repo = Repo(w)
    first = repo.commit({'old/a.ipynb': notebook(PRINT, metadata=REQUIRES),
                         'new/deep/b.ipynb': notebook(PRINT),
                         'new/requirements.txt': '# pinned\ncolorama == 0.4.6\n',
                         'requirements.txt': 'colorama==0.3.9\n'})
    build = w.build(repo, repo.base, first, timeout=PATIENCE)
    a, b = w.job(build, 'old/a.ipynb'), w.job(build, 'new/deep/b.ipynb')
    assert build['state'] == 'passed', (build, [printed(w, j) for j in (a, b)])
    assert (printed(w, a).strip(), printed(w, b).strip()) == ('0.4.4', '0.4.6')
    one, two = environment(w, a), environment(w, b)
    assert one['what'] == two['what'] == 'requirements', (one, two)
    assert 'metadata' in one['requested']['why'], one['requested']
    assert 'new/requirements.txt' in two['requested']['why'], two['requested']
    assert one['found']['packages']['colorama'] == '0.4.4', one['found']
    assert two['found']['packages']['colorama'] == '0.4.6', two['found']
    assert one['found']['hash'] != two['found']['hash']
    assert one['found']['built'] and two['found']['built']
    assert 'colorama==0.4.4' in one['lock'].splitlines(), one['lock']
    assert any(line.startswith('ipykernel==') for line in one['lock'].splitlines()), one['lock']
    log, _ = w.artifact(a, 'environment/log')
    assert b'colorama' in log, log

    # The same requirements again, in other words and after a restart: nothing is built.
    assert w.stop() == 0
    w.start()
    second = repo.commit({'old/a.ipynb': notebook(PRINT, '1', metadata=REQUIRES),
                          'new/deep/b.ipynb': notebook(PRINT, '1'),
                          'new/requirements.txt': 'Colorama (==0.4.6)  # the same\n'})
    build = w.build(repo, first, second, timeout=PATIENCE)
    assert build['state'] == 'passed', build
    for path, before in (('old/a.ipynb', one), ('new/deep/b.ipynb', two)):
        job = w.job(build, path)
        again = environment(w, job)
        assert again['found']['built'] is False, again['found']
        assert again['found']['hash'] == before['found']['hash']
        assert again['lock'] == before['lock']
        assert job['seconds'] < 60, job
        assert job['findings'] == [], job  # parsed by the environment's own Python

    # The page tells both.
    status, page, _ = w.request('GET', f'/jobs/{a["id"]}')
    assert status == 200 and b'metadata' in page and b'Exact packages' in page, page


def what_cannot_be_installed_is_the_notebooks_fault(make):
    w = make().start()
    repo = Repo(w)
    after = repo.commit({
        'none.ipynb': notebook('1', metadata={'requirements': ['colorama==99.99']}),
        'bad.ipynb': notebook('1', metadata={'requirements': ['not a requirement!']}),
        'option.ipynb': notebook('1', metadata={
            'requirements': ['--index-url https://user:secret@example.org/simple']}),
        'climb/x.ipynb': notebook('1'), 'climb/requirements.txt': '-r ../../etc/passwd\n'})
    build = w.build(repo, repo.base, after, timeout=PATIENCE)
    assert build['state'] == 'failed', build
    for job in build['jobs']:
        assert (job['state'], job['class']) == ('failed', 'environment'), job
        assert len(job['attempts']) <= 1, job  # not retried
    assert 'colorama==99.99' in w.job(build, 'none.ipynb')['reason']
    assert 'not a requirement!' in w.job(build, 'bad.ipynb')['reason']
    option = w.job(build, 'option.ipynb')['reason']
    assert '--index-url' in option and 'secret' not in option, option
    assert environment(w, w.job(build, 'option.ipynb'))['what'] is None  # it was never known
    assert '../../etc/passwd' in w.job(build, 'climb/x.ipynb')['reason']
    s = w.wait_status(after, 'nbcid/none.ipynb', ['failure'])
    assert 'colorama==99.99' in s['description'], s
    assert not os.listdir(f'{w.state}/runs') or wait_for(
        'runs to be gone', lambda: not os.listdir(f'{w.state}/runs'))


def the_gate_refuses_before_anything_runs(make):
    w = make().start()
    repo = Repo(w)
    token = 'ghp_' + '0123456789abcdefghijABCDEFGHIJ012345'
    after = repo.commit({
        'syntax.ipynb': notebook('x = 1', '%matplotlib inline\n!ls\ny = (x +\n'),
        'magics.ipynb': notebook('%time 1 + 1\n!true\nawait __import__("asyncio").sleep(0)'),
        'format.ipynb': json.dumps({'nbformat': 4, 'nbformat_minor': 5, 'metadata': {}, 'cells': [
            {'cell_type': 'code', 'id': 'one', 'metadata': {}, 'source': '', 'execution_count': 1,
             'outputs': [{'output_type': 'stream', 'name': 'stdout'}]}]}),
        'secret.ipynb': notebook(f'token = "{token}"'),
        'gates/full.ipynb': notebook('1').replace('"outputs": []', '"outputs": [{"output_type": '
                                                  '"stream", "name": "stdout", "text": "1"}]'),
        '.nbcid.toml': '[check]\noutputs_empty = "error"\n'})
    build = w.build(repo, repo.base, after)
    ends = {j['notebook']: (j['state'], j['class']) for j in build['jobs']}
    assert ends == {
        'syntax.ipynb': ('failed', 'check'), 'magics.ipynb': ('passed', 'passed'),
        'format.ipynb': ('failed', 'check'), 'secret.ipynb': ('passed', 'passed'),
        'gates/full.ipynb': ('failed', 'check')}, (ends, build)
    refused = w.job(build, 'syntax.ipynb')
    assert refused['attempts'] == [], refused
    finding = refused['findings'][0]
    assert (finding['rule'], finding['cell'], finding['cell_line']) == ('syntax', 2, 3), finding
    assert finding['line'] > 10 and "'(' was never closed" in finding['message'], finding
    s = w.wait_status(after, 'nbcid/syntax.ipynb', ['failure'])
    assert s['description'] == "cell 2 line 3: SyntaxError: '(' was never closed", s
    warned = w.job(build, 'secret.ipynb')
    assert [(f['severity'], f['rule']) for f in warned['findings']] == [('warning', 'secret')]
    assert token not in json.dumps(warned)
    _, page, _ = w.request('GET', f'/jobs/{warned["id"]}')
    assert b'Findings before the run' in page and token.encode() not in page


def parameters_of_the_repository_are_injected(make):
    w = make().start()
    repo = Repo(w)
    cell = {'cell_type': 'code', 'metadata': {'tags': ['parameters']}, 'outputs': [],
            'execution_count': None, 'source': 'epochs = 1\nname = "none"'}
    document = json.loads(notebook('print(epochs, name)'))
    document['cells'].insert(0, cell)
    after = repo.commit({
        'train/a.ipynb': json.dumps(document),
        'train/untagged.ipynb': notebook('print(1)'),
        '.nbcid.toml': '[[job]]\nnotebook = "train/*.ipynb"\n'
                       'parameters = { epochs = 7, name = "it\'s \\"q\\"" }\n'})
    build = w.build(repo, repo.base, after)
    job = w.job(build, 'train/a.ipynb')
    assert job['state'] == 'passed', job
    assert printed(w, job) == '7 it\'s "q"\n', printed(w, job)
    untagged = w.job(build, 'train/untagged.ipynb')
    assert (untagged['state'], untagged['class']) == ('failed', 'check'), untagged
    assert 'parameters' in untagged['reason'], untagged


def an_image_that_nobody_runs_is_refused_or_said(make):
    image = {'environment': {'type': 'gcloud', 'name': 'tf-gpu.1-15.m43',
                             'uri': 'gcr.io/deeplearning-platform-release/tf-gpu.1-15:m43'}}
    w = make().start()
    repo = Repo(w)
    after = repo.commit({'a.ipynb': notebook('1', metadata=image)})
    job = w.build(repo, repo.base, after)['jobs'][0]
    assert (job['state'], job['class']) == ('failed', 'environment'), job
    assert 'tf-gpu.1-15:m43' in job['reason'] and 'podman' in job['reason'], job
    w = make(executor='image_fallback = "default"').start()
    repo = Repo(w)
    after = repo.commit({'a.ipynb': notebook('1', metadata=image)})
    job = w.build(repo, repo.base, after)['jobs'][0]
    assert job['state'] == 'passed', job
    s = w.wait_status(after, 'nbcid/a.ipynb', ['success'])
    assert "executor's own environment" in s['description'], s


if __name__ == '__main__':
    main([the_gate_refuses_before_anything_runs, two_pins_of_one_package_in_one_push,
          what_cannot_be_installed_is_the_notebooks_fault,
          parameters_of_the_repository_are_injected,
          an_image_that_nobody_runs_is_refused_or_said])
