#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`nbcid submit` from outside: one notebook as a job of Vertex AI.

Real: nbcid, kernels (the stand-in's containers run the notebooks). Stand-in: Google
(tests/fakes/google_cloud.py, strict). Run it by google_fake/environment.py.

The first tests are what the README of gcloud-notebook-training promises, one each.
"""
import datetime
import json
import os
import re
import subprocess

from google_world import BUCKET, PROJECT, REGION
from harness import main as run_tests
from harness import notebook, wait_for
from submit_world import DEFAULT_BUCKET, OTHER, TESTS, named, outputs, test
from test_vertex import IMAGE, OURS


# ---- the README of the tool before this one ----

@test
def only_the_input_is_required(m, g):
    """Project, bucket, region, machine, time and output are implied; credentials are found."""
    m.write('train.ipynb', named('print(6 * 7)'))
    done = m.submit('--input-notebook', 'train.ipynb', plain=True)
    assert done.status == 0, done
    assert '42' in outputs(m.read('train_output.ipynb'))
    job = m.job()
    assert re.fullmatch(r'job_train_ipynb_\d{4}(_\d\d){5}_\d{6}', job['displayName']), job
    when = datetime.datetime.strptime(job['displayName'][16:35], '%Y_%m_%d_%H_%M_%S')
    assert abs((when - datetime.datetime.utcnow()).total_seconds()) < 600, job
    pool = m.spec()['workerPoolSpecs'][0]
    assert pool['machineSpec'] == {'machineType': 'n1-standard-4'}, pool
    assert m.spec()['scheduling']['timeout'] == f'{9 * 3600}s', m.spec()
    assert f'/locations/{REGION}/' in job['name'] and REGION == 'us-central1', job
    assert m.objects(DEFAULT_BUCKET) == []  # made, and what was staged is gone
    assert os.listdir(m.tmp) == []


@test
def an_input_in_storage_is_run_there(m, g):
    m.put('deep/train.ipynb', named('print(6 * 7)'))
    m.fine('--input-notebook', f'gs://{BUCKET}/deep/train.ipynb', '--output-notebook', 'out.ipynb')
    assert f'--input-notebook=gs://{BUCKET}/deep/train.ipynb' in m.container()['args']
    assert '42' in outputs(m.read('out.ipynb'))
    assert m.objects() == ['deep/train.ipynb']


@test
def the_implied_output_of_one_in_storage_is_beside_it(m, g):
    m.put('deep/train.ipynb', named('print(6 * 7)'))
    done = m.fine('--input-notebook', f'gs://{BUCKET}/deep/train.ipynb')
    assert f'--output-notebook=gs://{BUCKET}/deep/train_output.ipynb' in m.container()['args']
    assert f'gs://{BUCKET}/deep/train_output.ipynb' in done.err, done
    m.ended()
    wait_for('its output', lambda: 'deep/train_output.ipynb' in m.objects())


@test
def an_output_in_storage_means_submit_and_leave(m, g):
    m.write('train.ipynb', named('import time; time.sleep(3); print(6 * 7)'))
    done = m.fine('--input-notebook', 'train.ipynb', '--output-notebook',
                  f'gs://{BUCKET}/results/one.ipynb', '--json')
    assert g.jobs()[0]['state'] != 'JOB_STATE_SUCCEEDED', 'it waited'
    assert done.json['state'] == 'submitted', done
    assert done.json['output'] == f'gs://{BUCKET}/results/one.ipynb', done
    assert done.json['name'] == m.job()['name'], done
    assert f'gcloud ai custom-jobs cancel {m.job()["name"]} --region {REGION}' in done.err, done
    m.ended()
    wait_for('its output', lambda: 'results/one.ipynb' in m.objects())
    assert os.listdir(m.tmp) == []


@test
def a_local_output_means_wait_and_download(m, g):
    m.write('train.ipynb', named('import time; time.sleep(1); print(6 * 7)'))
    os.mkdir(m.path('results'))
    done = m.fine('--input-notebook', 'train.ipynb', '--output-notebook', 'results/one.ipynb')
    assert g.jobs()[0]['state'] == 'JOB_STATE_SUCCEEDED'
    assert '42' in outputs(m.read('results/one.ipynb'))
    assert 'results/one.ipynb' in done.err, done
    assert not os.path.exists(m.path('train_output.ipynb'))
    mask = os.umask(0)
    os.umask(mask)
    assert os.stat(m.path('results/one.ipynb')).st_mode & 0o777 == 0o666 & ~mask
    m.nothing_left()


@test
def the_container_is_the_one_that_is_named(m, g):
    m.write('train.ipynb', named('1'))
    m.fine('--input-notebook', 'train.ipynb', '--container-uri', OTHER, plain=True)
    assert m.container()['imageUri'] == OTHER
    assert m.container()['command'][0] == 'papermill'


@test
def else_the_container_is_the_notebooks_own(m, g):
    m.write('train.ipynb', named('1'))
    done = m.fine('--input-notebook', 'train.ipynb', '--json')
    assert m.container()['imageUri'] == OURS  # where that image is today
    assert m.container()['args'][0] == 'nbexecutor'
    assert done.json['image'] == IMAGE


@test
def a_notebook_that_names_no_container_is_refused(m, g):
    m.write('train.ipynb', notebook('1'))
    m.refused('train.ipynb does not say in which container it runs.*--container-uri',
              '--input-notebook', 'train.ipynb', plain=True)
    assert g.asked('vertex.*') == []


@test
def every_option_reaches_the_job(m, g):
    account = f'gpu@{PROJECT}.iam.gserviceaccount.com'
    g.control('POST', 'accounts', {'email': account})
    g.control('POST', 'grants', {'allow': [[account, PROJECT, 'storage.*']]})
    m.write('train.ipynb', named('1'))
    m.fine('--input-notebook', 'train.ipynb', '--output-notebook', 'x.ipynb', '--project-id',
           PROJECT, '--region', REGION, '--job-id', 'My_job-1', '--worker-machine-type',
           'n1-standard-8', '--accelerator-type', 'NVIDIA_TESLA_T4', '--bucket-name', BUCKET,
           '--max-running-time', '4321', '--service-account',
           f'gpu@{PROJECT}.iam.gserviceaccount.com', '--container-uri', IMAGE)
    job, spec = m.job(), m.spec()
    assert job['displayName'] == 'My_job-1', job
    assert spec['workerPoolSpecs'][0]['machineSpec'] == {
        'machineType': 'n1-standard-8', 'acceleratorType': 'NVIDIA_TESLA_T4',
        'acceleratorCount': 1}, spec
    assert spec['scheduling']['timeout'] == '4321s', spec
    assert spec['serviceAccount'] == f'gpu@{PROJECT}.iam.gserviceaccount.com', spec
    args = ' '.join(m.container()['args'])
    assert f'gs://{BUCKET}/nbcid/submit/My_job-1-' in args, args
    m.nothing_left()


@test
def the_old_name_of_the_machine_type(m, g):
    m.write('train.ipynb', named('1'))
    m.fine('--input-notebook', 'train.ipynb', '--master-type', 'n1-highmem-2', '--no-wait',
           '--max-running-time', '90m')
    assert m.spec()['workerPoolSpecs'][0]['machineSpec']['machineType'] == 'n1-highmem-2'
    assert m.spec()['scheduling']['timeout'] == '5400s'


@test
def another_region(m, g):
    m.write('train.ipynb', named('1'))
    m.fine('--input-notebook', 'train.ipynb', '--region', 'europe-west4')
    assert '/locations/europe-west4/' in m.job()['name']


@test
def the_folder_comes_along(m, g):
    m.write('work/data/numbers.csv', '6,7')
    m.write('work/.git/config', 'secret')
    m.write('work/sub/train.ipynb', named('a, b = open("../data/numbers.csv").read().split(",")',
                                          'print(int(a) * int(b))', image=OTHER))
    done = m.submit('--input-notebook', 'work/sub/train.ipynb', '--input-folder', 'work',
                    '--output-notebook', f'gs://{BUCKET}/out.ipynb', '--json')
    assert done.status == 0, done
    args = m.container()['command']
    prefix = os.path.dirname(args[4])
    assert args[4:8] == [f'{prefix}/sub', '.', 'papermill', f'{prefix}/sub/train.ipynb'], args
    assert m.container()['env'] == [{'name': 'NBCID_INPUT_FOLDER', 'value': prefix}]
    below = prefix[len(f'/gcs/{BUCKET}/'):]
    assert [o for o in m.objects() if o.startswith(below)] == [
        f'{below}/data/numbers.csv', f'{below}/sub/train.ipynb'], m.objects()
    m.ended()


@test
def the_folder_is_there_for_a_notebook_outside_of_it_and_goes_again(m, g):
    m.write('work/numbers.csv', '6,7')
    m.write('train.ipynb', named('a, b = open("numbers.csv").read().split(",")',
                                 'print(int(a) * int(b))', image=OTHER))
    done = m.fine('--input-notebook', 'train.ipynb', '--input-folder', 'work/')
    assert '42' in outputs(m.read('train_output.ipynb')), done
    m.nothing_left()


@test
def a_folder_in_storage_is_used_where_it_is(m, g):
    m.put('our/shared/numbers.csv', '6,7')
    m.write('train.ipynb', named('print(open("numbers.csv").read())', image=OTHER))
    m.fine('--input-notebook', 'train.ipynb', '--input-folder', f'gs://{BUCKET}/our/shared/')
    assert '6,7' in outputs(m.read('train_output.ipynb'))
    assert m.container()['command'][4:6] == [f'/gcs/{BUCKET}/our/shared', '.']
    assert m.objects() == ['our/shared/numbers.csv']
    m.nothing_left()


# ---- what it adds ----

@test
def parameters(m, g):
    cells = json.loads(named('x = 1', 'name = ""', 'print(x * 2, name * 2)'))
    cells['cells'][1]['metadata']['tags'] = ['parameters']
    m.write('train.ipynb', json.dumps(cells))
    m.fine('--input-notebook', 'train.ipynb', '-p', 'x', '21', '-p', 'name', 'ab c')
    assert '42 ab cab c' in outputs(m.read('train_output.ipynb'))
    m.put('train.ipynb', json.dumps(cells))
    m.fine('--input-notebook', f'gs://{BUCKET}/train.ipynb', '--wait', '-p', 'x', '4')
    assert '8 ' in outputs(m.get('train_output.ipynb'))
    assert m.objects() == ['train.ipynb', 'train_output.ipynb']


@test
def a_parameter_that_no_cell_assigns_is_a_warning(m, g):
    """With the words of `nbcid run`, which warns before it starts what is no Python here."""
    cells = json.loads(named('1', 'epochs = 1'))
    cells['cells'][1]['metadata']['tags'] = ['parameters']
    where = f'gs://{BUCKET}/train.ipynb'
    m.put('train.ipynb', json.dumps(cells))
    m.write('train.ipynb', json.dumps(cells))
    given = ('-p', 'epochs', '2', '-p', 'epohcs', '3')
    run = subprocess.run([m.nbcid, 'run', '--python', '/bin/false', *given, 'train.ipynb'],
                         cwd=m.dir, env=m.env, text=True, check=False, capture_output=True)
    words = [line for line in run.stderr.splitlines() if 'warning' in line]
    assert len(words) == 1 and '"epohcs"' in words[0] and 'it assigns: epochs' in words[0], run
    for name, more in (('train.ipynb', ()), ('train.ipynb', ('--no-check',)), (where, ())):
        done = m.fine('--input-notebook', name, '--no-wait', '--job-id', 'j1', *given, *more)
        said = [line for line in done.err.splitlines() if 'warning' in line]
        assert said == [f'j1: {words[0].replace("train.ipynb", name)}'], (words, done)
    done = m.fine('--input-notebook', 'train.ipynb', '--no-wait', '-q', *given)
    assert 'warning' not in done.err, done
    done = m.fine('--input-notebook', 'train.ipynb', '--no-wait', '-p', 'epochs', '2')
    assert 'warning' not in done.err, done


@test
def a_failing_cell_is_status_1_and_the_notebook_is_there(m, g):
    m.write('train.ipynb', named('print("before")', 'raise ValueError("no")', '3'))
    done = m.submit('--input-notebook', 'train.ipynb', '--json')
    assert done.status == 1, done
    said = {k: done.json.get(k) for k in ('state', 'class', 'cell', 'ename', 'evalue')}
    assert said == {'state': 'failed', 'class': 'cell_error', 'cell': 2, 'ename': 'ValueError',
                    'evalue': 'no'}, done
    assert 'cell 2: ValueError: no' in done.err, done
    assert 'before' in outputs(m.read('train_output.ipynb'))
    m.nothing_left()


@test
def json_says_all_of_it(m, g):
    m.write('train.ipynb', named('print(6 * 7)'))
    said = m.fine('--input-notebook', 'train.ipynb', '--json', '-q').json
    name = m.job()['name']
    assert {k: said[k] for k in ('state', 'class', 'reason', 'cells', 'cells_done', 'executor',
                                 'job_id', 'name', 'project', 'region', 'image', 'output')} == {
        'state': 'passed', 'class': 'passed', 'reason': said['reason'], 'cells': 1,
        'cells_done': 1, 'executor': 'vertex', 'job_id': m.job()['displayName'], 'name': name,
        'project': PROJECT, 'region': REGION, 'image': IMAGE, 'output': 'train_output.ipynb'}, said
    assert said['machine'] == {'type': 'n1-standard-4', 'region': REGION, 'spot': False}, said
    assert said['url'].endswith(f'/training/{name.split("/")[-1]}?project={PROJECT}'), said
    assert said['input'].startswith(f'gs://{BUCKET}/nbcid/submit/{said["job_id"]}-'), said
    assert isinstance(said['seconds'], (int, float)), said


@test
def no_wait_for_a_local_output_says_where_it_will_be(m, g):
    m.write('train.ipynb', named('print(6 * 7)'))
    done = m.fine('--input-notebook', 'train.ipynb', '--no-wait', '--json')
    assert not os.path.exists(m.path('train_output.ipynb'))
    m.ended()
    where = done.json['output']
    wait_for('its output', lambda: where[len(f'gs://{BUCKET}/'):] in m.objects())


@test
def wait_for_an_output_in_storage(m, g):
    m.write('train.ipynb', named('raise ValueError("no")'))
    done = m.submit('--input-notebook', 'train.ipynb', '--output-notebook',
                    f'gs://{BUCKET}/out.ipynb', '--wait', '--json')
    assert done.status == 1 and done.json['output'] == f'gs://{BUCKET}/out.ipynb', done
    assert m.objects() == ['out.ipynb'], m.objects()


@test
def lines_when_there_is_no_terminal(m, g):
    m.write('train.ipynb', named('import time; time.sleep(1)'))
    done = m.fine('--input-notebook', 'train.ipynb', '--job-id', 'j1')
    lines = [line[4:] for line in done.err.splitlines() if line.startswith('j1: ')]
    assert '\r' not in done.err and '\033' not in done.err, done
    order = ['checking', 'submitting', 'waiting for a machine', 'running']
    assert [line for line in lines if line in order] == order, done
    assert m.job()['name'] in lines, done
    done = m.fine('--input-notebook', 'train.ipynb', '-q', '--no-wait')
    assert 'checking' not in done.err, done


@test
def here_by_the_local_executor(m, g):
    m.write('train.ipynb', named('x = 1', 'print(x * 2)'))
    argv = [m.nbcid, 'submit', '--executor', 'local', '--input-notebook', 'train.ipynb', '--json',
            '-p', 'x', '2']
    done = m.end(subprocess.Popen(argv, cwd=m.dir, env=m.env, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL))
    assert done.status == 0 and done.json['executor'] == 'local', done
    assert '2\\n' in outputs(m.read('train_output.ipynb')), m.read('train_output.ipynb')
    assert g.jobs() == []
    for more, text in ((('--no-wait',), '--no-wait'), (('--region', REGION), '--region is for'),
                       (('--output-notebook', 'gs://b123/x.ipynb'), 'gs:// addresses')):
        bad = subprocess.run([*argv, *more], cwd=m.dir, env=m.env, text=True, check=False,
                             capture_output=True)
        assert bad.returncode == 2 and text in bad.stderr, bad


@test
def the_machines_own_credentials(m, g):
    """No file anywhere: the metadata server has the token and the project."""
    del m.env['GOOGLE_APPLICATION_CREDENTIALS']
    m.env['GCE_METADATA_HOST'] = f'127.0.0.1:{g.proc.port}'
    m.write('train.ipynb', named('1'))
    m.fine('--input-notebook', 'train.ipynb', '--no-wait', plain=True)
    assert f'projects/{PROJECT}' in m.job()['name'] or '123456789012' in m.job()['name']
    assert g.asked('metadata.get'), 'it was not asked'


@test
def a_persons_own_credentials(m, g):
    """What gcloud leaves in the home directory; it knows no project."""
    del m.env['GOOGLE_APPLICATION_CREDENTIALS']
    m.write('train.ipynb', named('1'))
    m.write('.config/gcloud/application_default_credentials.json', open(
        f'{g.dir}/authorized-user.json', encoding='utf-8').read())
    m.refused('--project-id', '--input-notebook', 'train.ipynb', plain=True)
    m.fine('--input-notebook', 'train.ipynb', '--no-wait', '--project-id', PROJECT, plain=True)
    m.env['GOOGLE_CLOUD_PROJECT'] = PROJECT
    m.fine('--input-notebook', 'train.ipynb', '--no-wait', plain=True)


run_tests(TESTS)
