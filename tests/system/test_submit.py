#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`nbcid submit` from outside: one notebook as a job of Vertex AI.

Real: nbcid, kernels (the stand-in's containers run the notebooks). Stand-in: Google
(tests/fakes/google_cloud.py, strict). Run it by google_fake/environment.py.

The first tests are what the README of gcloud-notebook-training promises, one each.
"""
import contextlib
import datetime
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

from google_world import BUCKET, PROJECT, REGION, Google
from harness import SLOW, notebook, wait_for
from harness import main as run_tests
from test_vertex import IMAGE, OURS

DEFAULT_BUCKET = f'{PROJECT}-notebook-training'
OTHER = 'docker.io/acme/notebooks:1'
ENV = {'no_proxy': '*', 'PATH': os.environ['PATH'], 'LANG': 'C.UTF-8'}


def named(*cells, image=IMAGE, **metadata):
    """A notebook that says in which container it runs."""
    return notebook(*cells, metadata={'environment': {'uri': image, 'type': 'gcloud',
                                                      'name': 'base-cpu'}, **metadata})


class Answer:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    @property
    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f'{self.status}\n{self.out}\n{self.err}'


class Laptop:
    """A directory with notebooks, a person who may, and Google."""

    def __init__(self, nbcid, google):
        self.nbcid, self.google = os.path.abspath(nbcid), google
        self.dir = tempfile.mkdtemp(prefix='nbcid-submit-test-')
        self.tmp = os.path.join(self.dir, 'tmp')
        os.mkdir(self.tmp)
        self.env = {**ENV, 'HOME': self.dir, 'TMPDIR': self.tmp,
                    'GOOGLE_APPLICATION_CREDENTIALS': f'{google.dir}/service-account.json'}
        self.config = self.write('config.toml', google.executor())

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), 'w', encoding='utf-8') as f:
            f.write(text)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), encoding='utf-8') as f:
            return f.read()

    def argv(self, *args, plain=False):
        """plain: no configuration, as on a laptop; then a job is looked at every 5 s."""
        g = self.google
        where = ('--api-url', g.url + '/{region}', '--storage-url', g.url, '--logging-url', g.url,
                 '--token-url', f'{g.url}/token') if plain else ('--config', self.config)
        return [self.nbcid, 'submit', *where, *args]

    def start(self, *args, plain=False, **kw):
        return subprocess.Popen(self.argv(*args, plain=plain), cwd=self.dir, env=self.env,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, **kw)

    def end(self, proc, timeout=120):
        out, err = proc.communicate(timeout=timeout * SLOW)
        return Answer(proc.returncode, out, err)

    def submit(self, *args, plain=False):
        return self.end(self.start(*args, plain=plain))

    def fine(self, *args, **kw):
        done = self.submit(*args, **kw)
        assert done.status == 0, done
        return done

    def refused(self, text, *args, status=2, plain=False):
        """Nothing was submitted, nothing is left, and it was said why."""
        g = self.google
        jobs, objects = len(g.jobs()), self.objects()
        done = self.submit('--json', *args, plain=plain)
        assert done.status == status, done
        assert re.search(text, done.err), (text, done.err)
        assert done.json['state'] == 'refused', done
        assert len(g.jobs()) == jobs and self.objects() == objects, (done, self.objects())
        assert os.listdir(self.tmp) == []
        return done

    def objects(self, bucket=BUCKET):
        found = self.google.control('GET', f'objects?bucket={bucket}')
        return sorted(o['name'] for o in found)

    def put(self, name, text, bucket=BUCKET):
        self.google.control('POST', 'objects', {'bucket': bucket, 'name': name, 'action': 'put',
                                                'text': text})

    def get(self, name, bucket=BUCKET):
        """What an object holds."""
        url = f'{self.google.url}/__control/objects?bucket={bucket}&name={name}'
        with urllib.request.urlopen(url, timeout=60) as r:
            return r.read().decode()

    def job(self):
        """The resource of the only job."""
        jobs = self.google.jobs()
        assert len(jobs) == 1, jobs
        return jobs[0]['resource']

    def spec(self):
        return self.job()['jobSpec']

    def container(self):
        return self.spec()['workerPoolSpecs'][0]['containerSpec']

    def nothing_left(self):
        assert [o for o in self.objects() if o.startswith('nbcid/')] == [], self.objects()
        assert os.listdir(self.tmp) == [], os.listdir(self.tmp)

    def ended(self):
        return wait_for('the job to end', lambda: self.google.jobs()[0]['state'] not in (
            'JOB_STATE_QUEUED', 'JOB_STATE_PENDING', 'JOB_STATE_RUNNING'))


@contextlib.contextmanager
def laptop(nbcid):
    g = Google()
    m = Laptop(nbcid, g)
    try:
        yield m, g
    finally:
        g.close()
        shutil.rmtree(m.dir, ignore_errors=True)


TESTS = []


def test(fn):
    def run(_):
        with laptop(NBCID) as (m, g):
            fn(m, g)
    run.__name__ = fn.__name__
    TESTS.append(run)
    return fn


def outputs(text):
    return json.dumps([c['outputs'] for c in json.loads(text)['cells']])


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


# ---- ^C ----

class Terminal:
    """nbcid on a terminal of its own."""

    def __init__(self, m, *args):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(m.dir)
            os.execve(m.nbcid, m.argv(*args), {**m.env, 'TERM': 'xterm'})
        self.seen = ''

    def read(self, seconds=0.05):
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b''
            self.seen += data.decode('utf-8', 'replace')
            return bool(data)
        return True

    def expect(self, text):
        wait_for(f'{text!r} in {self.seen[-500:]!r}',
                 lambda: self.read() is not None and re.search(text, self.seen))

    def send(self, keys):
        self.seen = ''
        os.write(self.fd, keys)

    def end(self):
        until = time.monotonic() + 60 * SLOW
        while self.read(0.2):
            assert time.monotonic() < until, self.seen
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return status


LONG = ('print("begun")', 'import time; time.sleep(600)')


def running(g):
    wait_for('the job to run', lambda: any(j['state'] == 'JOB_STATE_RUNNING' for j in g.jobs()))


def asked_to_cancel(m, first=None):
    """A run of train.ipynb on a terminal, at which Ctrl-C was pressed."""
    t = Terminal(m, '--input-notebook', 'train.ipynb')
    if first:
        t.expect(first)
    t.expect('running, ')
    t.send(b'\x03')
    t.expect('Cancel the job')
    return t


@test
def ctrl_c_and_yes_cancels(m, g):
    m.write('train.ipynb', named(*LONG))
    t = asked_to_cancel(m, r'\rjob_train_ipynb_\w+|running, \d:\d\d')
    t.send(b'y\n')
    t.expect('being cancelled|cancelled')
    assert t.end() == 1, t.seen
    assert [j['state'] for j in g.jobs()] == ['JOB_STATE_CANCELLED']
    m.nothing_left()


@test
def ctrl_c_and_no_leaves_it(m, g):
    m.write('train.ipynb', named(*LONG))
    t = asked_to_cancel(m)
    t.send(b'n\n')
    assert t.end() == 3, t.seen
    assert 'gcloud ai custom-jobs cancel' in t.seen, t.seen
    assert [j['state'] for j in g.jobs()] == ['JOB_STATE_RUNNING']
    assert os.listdir(m.tmp) == []


@test
def ctrl_c_and_enter_goes_on(m, g):
    m.write('train.ipynb', named('import time; time.sleep(4)'))
    t = asked_to_cancel(m)
    t.send(b'\n')
    t.expect('running, ')
    assert t.end() == 0, t.seen
    assert 'passed' in t.seen, t.seen
    m.nothing_left()


@test
def ctrl_c_twice_leaves_it(m, g):
    m.write('train.ipynb', named(*LONG))
    t = asked_to_cancel(m)
    t.send(b'\x03')
    assert t.end() == 3, t.seen
    assert [j['state'] for j in g.jobs()] == ['JOB_STATE_RUNNING']


@test
def without_a_terminal_a_signal_cancels(m, g):
    m.write('train.ipynb', named(*LONG))
    for n, (sig, state) in enumerate(((signal.SIGINT, 'CANCELLED'), (signal.SIGTERM, 'CANCELLED'),
                                      (signal.SIGHUP, 'RUNNING')), 1):
        proc = m.start('--input-notebook', 'train.ipynb', '--json')
        running(g)
        proc.send_signal(sig)
        done = m.end(proc)
        assert len(g.jobs()) == n, g.jobs()
        newest = max(g.jobs(), key=lambda j: j['resource']['createTime'])
        assert newest['state'] == f'JOB_STATE_{state}', (sig, g.jobs())
        assert (done.status, done.json['state']) == (
            (1, 'cancelled') if state == 'CANCELLED' else (3, 'submitted')), done


@test
def stopped_before_it_is_submitted(m, g):
    m.write('train.ipynb', named('1'))
    m.write('work/a.txt', 'a')
    for op in ('storage.buckets.get', 'storage.objects.insert.*', 'vertex.customJobs.create'):
        g.control('DELETE', 'faults')
        g.control('DELETE', 'requests')
        g.fault(op, 'none' if 'create' not in op else 'quota', delay=1.5, times=None)
        proc = m.start('--input-notebook', 'train.ipynb', '--input-folder', 'work')
        wait_for(op, lambda: any(f['taken'] for f in g.control('GET', 'faults')))
        proc.send_signal(signal.SIGINT)
        done = m.end(proc)
        assert done.status in (1, 3), (op, done)
        assert g.jobs() == [], (op, done)
        g.control('DELETE', 'faults')
        m.nothing_left()


# ---- bad input ----

@test
def bad_addresses(m, g):
    m.write('train.ipynb', named('1'))
    for option, value, text in (
            ('--input-notebook', 'gs://', 'no name of a bucket'),
            ('--input-notebook', f'gs://{BUCKET}', 'names no object'),
            ('--input-notebook', f'gs://{BUCKET}/a/', 'names no object'),
            ('--input-notebook', f'gs://{BUCKET}/../x.ipynb', r'a part "\.\."'),
            ('--input-notebook', f'gs://{BUCKET}/a//b.ipynb', 'empty part'),
            ('--input-notebook', f'gs://{BUCKET}/a\nb.ipynb', 'control character'),
            ('--input-notebook', f'gs://{BUCKET}/none.ipynb', 'No such object'),
            ('--input-notebook', 'none.ipynb', 'No such file'),
            ('--output-notebook', 'gs://UPPER/x.ipynb', 'no name of a bucket'),
            ('--output-notebook', f'gs://{BUCKET}/a/./b', r'a part "\."'),
            ('--output-notebook', 'gs://nobody-has-this-bucket/x.ipynb', 'bucket'),
            ('--output-notebook', 'none/x.ipynb', 'the directory none cannot be used'),
            ('--output-notebook', '/proc/x.ipynb', 'nothing can be written|cannot be used'),
            ('--output-notebook', 'tmp', 'is no file'),
            ('--output-notebook', './train.ipynb', 'would be lost'),
            ('--output-notebook', 'train.ipynb', 'would be lost'),
            ('--input-folder', 'none', 'no directory'),
            ('--input-folder', 'gs://UPPER/x', 'no name of a bucket'),
            ('--project-id', 'a b', 'is not a name of Google Cloud'),
            ('--project-id', '../x', 'is not a name of Google Cloud'),
            ('--region', 'us_central1', 'is not a name of Google Cloud'),
            ('--bucket-name', 'gs://x', 'leave the gs:// out'),
            ('--bucket-name', '../x', 'is not the name of a bucket'),
            ('--worker-machine-type', 'n1;reboot', 'is not a name of Google Cloud'),
            ('--accelerator-type', 'nvidia t4', 'is not a type of accelerator'),
            ('--service-account', 'me', 'is not a service account'),
            ('--job-id', 'a/b', 'letters, digits'),
            ('--job-id', '', 'letters, digits'),
            ('--executor', 'cloud', 'none of the name'),
            ('--api-url', 'ftp://x', '')):
        args = () if option == '--input-notebook' else ('--input-notebook', 'train.ipynb')
        if option == '--output-notebook' and value == '/proc/x.ipynb' and os.geteuid() == 0:
            continue  # root may write anywhere, it says
        m.refused(text, *args, option, value)
    assert g.asked('vertex.*') == []


@test
def usage(m, g):
    for args, text in (((), '--input-notebook is required'), (('x.ipynb',), 'options only'),
                       (('--scale-tier', 'BASIC'), 'unrecognized option'),
                       (('--max-running-time', 'soon'), 'soon'),
                       (('--max-running-time', '0'), '0'), (('-p', 'x'), '-p NAME VALUE')):
        done = m.submit(*args)
        assert done.status == 2 and text in done.err, (args, done)
    done = m.submit('--help')
    assert done.status == 0 and '--input-notebook' in done.out


@test
def images_with_shell_text(m, g):
    m.write('train.ipynb', named('1'))
    for image in ('a b', 'x;reboot', '$(reboot)', '-x', '', 'a"b', 'x\ny', '`id`'):
        m.refused('--container-uri', '--input-notebook', 'train.ipynb', '--container-uri', image)
        m.write('bad.ipynb', named('1', image=image))
        m.refused('image|container', '--input-notebook', 'bad.ipynb', plain=True)
    assert g.asked('vertex.*') == []


@test
def what_is_no_notebook(m, g):
    m.put('bad.ipynb', '{"cells": [')
    m.write('config2.toml', g.executor() + '[limits]\nmax_notebook = "1KiB"\n')
    for text, said, status in (('no json', 'JSON|json', 1), ('{}', 'nbformat', 1),
                               (named('1 +'), 'syntax', 1), (named('def f(:\n 1'), 'syntax', 1)):
        m.write('bad.ipynb', text)
        m.refused(said, '--input-notebook', 'bad.ipynb', status=status)
    m.refused('', '--input-notebook', f'gs://{BUCKET}/bad.ipynb', status=1)
    m.config = m.path('config2.toml')
    m.write('big.ipynb', named('#' * 2000))
    m.refused('1024', '--input-notebook', 'big.ipynb')
    m.put('big.ipynb', named('#' * 2000))
    m.refused('1024 are allowed', '--input-notebook', f'gs://{BUCKET}/big.ipynb')
    assert g.asked('vertex.*') == []
    m.config = m.path('config.toml')
    m.write('old.ipynb', named('print "x"'))
    m.refused('--no-check', '--input-notebook', 'old.ipynb', status=1)
    m.fine('--input-notebook', 'old.ipynb', '--no-check', '--no-wait')


@test
def parameters_that_do_not_fit(m, g):
    m.write('train.ipynb', named('1'))
    m.refused('class', '--input-notebook', 'train.ipynb', '-p', 'class', '1')
    m.refused('a-b', '--input-notebook', 'train.ipynb', '-p', 'a-b', '1')


@test
def keys_that_are_no_keys(m, g):
    m.write('train.ipynb', named('1'))
    key = json.loads(open(f'{g.dir}/service-account.json', encoding='utf-8').read())
    for text, said in (('', 'empty'), ('hello', 'not the JSON of a key'),
                       ('{}', 'has no "type"'), ('{"installed": {}}', 'OAuth client'),
                       (key['private_key'], 'it is PEM'),
                       (json.dumps({**key, 'private_key': 'x'}), 'private_key')):
        m.env['GOOGLE_APPLICATION_CREDENTIALS'] = m.write('key.json', text)
        m.refused(said, '--input-notebook', 'train.ipynb', plain=True)
    m.env['GOOGLE_APPLICATION_CREDENTIALS'] = m.path('nowhere.json')
    m.refused('nowhere.json', '--input-notebook', 'train.ipynb', plain=True)


@test
def not_ones_own_project_or_bucket(m, g):
    m.write('train.ipynb', named('1'))
    m.refused('other-project-notebook-training', '--input-notebook', 'train.ipynb', '--project-id',
              'other-project', plain=True)
    m.refused('no-such-project', '--input-notebook', 'train.ipynb', '--project-id',
              'no-such-project', plain=True)
    g.control('POST', 'buckets', {'name': 'theirs', 'project': 'other-project'})
    m.refused('belongs to another project', '--input-notebook', 'train.ipynb', '--bucket-name',
              'theirs')
    m.env['GOOGLE_APPLICATION_CREDENTIALS'] = f'{g.dir}/weak.json'
    m.refused('', '--input-notebook', 'train.ipynb', plain=True)


@test
def a_bucket_that_one_may_not_see_but_use(m, g):
    g.control('POST', 'grants', {'deny': [['*', PROJECT, 'storage.buckets.*']]})
    m.write('train.ipynb', named('1'))
    m.fine('--input-notebook', 'train.ipynb', '--bucket-name', BUCKET)
    m.nothing_left()


@test
def a_project_without_jobs(m, g):
    g.control('POST', 'grants', {'deny': [['*', PROJECT, 'aiplatform.*']]})
    m.write('train.ipynb', named('1'))
    done = m.submit('--input-notebook', 'train.ipynb', '--json')
    assert done.status == 3 and 'aiplatform.customJobs.create' in done.err, done
    assert done.json['class'] == 'permission', done
    m.nothing_left()


@test
def folders_that_cannot_be_sent(m, g):
    m.write('train.ipynb', named('1'))
    m.write('work/a.txt', 'a')
    os.mkfifo(m.path('work/pipe'))
    m.refused('neither a file nor a directory', '--input-notebook', 'train.ipynb',
              '--input-folder', 'work')
    os.unlink(m.path('work/pipe'))
    m.write('work/a\nb', 'x')
    m.refused('control character', '--input-notebook', 'train.ipynb', '--input-folder', 'work')
    os.unlink(m.path('work/a\nb'))
    g.fault('storage.objects.insert.multipart', 'status', status=403)
    m.refused('', '--input-notebook', 'train.ipynb', '--input-folder', 'work')


# ---- trouble ----

@test
def a_lost_answer_submits_nothing_twice(m, g):
    m.write('train.ipynb', named('print(1)'))
    for n, (fault, creates) in enumerate((({'kind': 'reset', 'when': 'after'}, 1),
                                          ({'kind': 'status', 'status': 503, 'when': 'after'}, 1),
                                          ({'kind': 'reset', 'when': 'before'}, 2)), 1):
        g.control('DELETE', 'requests')
        g.fault('vertex.customJobs.create', **fault)
        m.fine('--input-notebook', 'train.ipynb')
        assert len(g.jobs()) == n, (fault, g.jobs())
        assert len(g.asked('vertex.customJobs.create')) == creates, fault
    m.nothing_left()


@test
def no_room_is_waited_for_and_said(m, g):
    g.fault('vertex.customJobs.create', 'quota')
    m.write('train.ipynb', named('1'))
    done = m.fine('--input-notebook', 'train.ipynb')
    assert 'quota metrics exceed' in done.err, done
    assert len(g.jobs()) == 1


@test
def a_job_that_is_deleted_behind_our_back(m, g):
    m.write('train.ipynb', named(*LONG))
    proc = m.start('--input-notebook', 'train.ipynb', '--json')
    running(g)
    g.control('POST', f'jobs/{g.jobs()[0]["id"]}', {'action': 'delete'})
    done = m.end(proc)
    assert done.status == 3 and done.json['class'] == 'lost', done
    assert 'deleted by somebody else' in done.err, done
    assert not os.path.exists(m.path('train_output.ipynb'))


@test
def an_output_that_another_writer_replaced(m, g):
    m.write('train.ipynb', named('1'))
    g.rule(replace_output='{"cells": [')
    done = m.submit('--input-notebook', 'train.ipynb', '--json')
    assert done.status == 3 and 'broken' in done.json['reason'], done
    m.nothing_left()


@test
def an_old_output_is_not_taken_for_the_new_one(m, g):
    m.put('train.ipynb', named('1'))
    m.put('train_output.ipynb', named('2'))
    g.rule(no_output=True)
    done = m.submit('--input-notebook', f'gs://{BUCKET}/train.ipynb', '--wait', '--json')
    assert done.status == 3 and 'older' in done.json['reason'], done


@test
def a_job_that_takes_too_long(m, g):
    m.write('train.ipynb', named(*LONG))
    done = m.submit('--input-notebook', 'train.ipynb', '--max-running-time', '2', '--json')
    assert done.status == 1 and done.json['state'] == 'timed_out', done
    m.nothing_left()


@test
def the_disk_is_read_only_at_the_end(m, g):
    """The notebook stays where it is, and is said to be there."""
    m.write('train.ipynb', named('import time; time.sleep(2); print(6 * 7)'))
    os.mkdir(m.path('out'))
    proc = m.start('--input-notebook', 'train.ipynb', '--output-notebook', 'out/x.ipynb')
    running(g)
    os.rmdir(m.path('out'))
    done = m.end(proc)
    assert done.status == 3, done
    where = re.search(rf'it is at gs://{BUCKET}/(\S+output.ipynb)', done.err)
    assert where and where[1] in m.objects(), done


NBCID = next(a for a in sys.argv[1:] if not a.startswith('-'))
run_tests(TESTS)
