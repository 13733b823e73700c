# SPDX-License-Identifier: Apache-2.0
"""What the programs about `nbcid submit` share: a laptop with notebooks, and Google."""
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request

from google_world import BUCKET, PROJECT, Google
from harness import SLOW, notebook, wait_for
from test_vertex import IMAGE

DEFAULT_BUCKET = f'{PROJECT}-notebook-training'
OTHER = 'docker.io/acme/notebooks:1'
NBCID = next(a for a in sys.argv[1:] if not a.startswith('-'))
LONG = ('print("begun")', 'import time; time.sleep(600)')
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


def running(g):
    wait_for('the job to run', lambda: any(j['state'] == 'JOB_STATE_RUNNING' for j in g.jobs()))
