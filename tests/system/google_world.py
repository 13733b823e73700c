# SPDX-License-Identifier: Apache-2.0
"""Google Cloud's stand-in as a process, for tests of the daemon and for bench/google.py."""
import http.client
import json
import os
import shutil
import tempfile

from harness import FAKES, Process

BUCKET, PROJECT, REGION = 'acme-nb', 'acme-notebooks', 'us-central1'


class Google:
    """The stand-in and what tests ask of it; more: its arguments."""

    def __init__(self, *more):
        self.dir = tempfile.mkdtemp(prefix='nbcid-google-')
        self.proc = Process(os.path.join(FAKES, 'google_cloud.py'), '--directory', self.dir,
                            '--bucket', BUCKET, *more)
        self.url = f'http://127.0.0.1:{self.proc.port}'

    def executor(self, more='', poll='200ms'):
        return f'''[[executor]]
name = "vertex"
kind = "vertex"
project = "{PROJECT}"
region = "{REGION}"
bucket = "{BUCKET}"
credentials_file = "{self.dir}/service-account.json"
container_uri = "docker.io/acme/notebooks:1"
api_url = "{self.url}/{{region}}"
storage_url = "{self.url}"
logging_url = "{self.url}"
token_url = "{self.url}/token"
poll_interval = "{poll}"
{more}
'''

    def control(self, method, path, body=None):
        c = http.client.HTTPConnection('127.0.0.1', self.proc.port, timeout=60)
        try:
            c.request(method, f'/__control/{path}', json.dumps(body) if body is not None else None)
            r = c.getresponse()
            text = r.read()
            assert r.status == 200, (path, r.status, text)
            return json.loads(text) if text else None
        finally:
            c.close()

    def fault(self, op, kind, **more):
        self.control('POST', 'faults', {'op': op, 'kind': kind, **more})

    def rule(self, **rule):
        self.control('POST', 'rules', rule)

    def jobs(self):
        jobs = self.control('GET', 'jobs')
        return jobs['jobs'] if isinstance(jobs, dict) else jobs

    def objects(self):
        found = self.control('GET', f'objects?bucket={BUCKET}')
        return found['objects'] if isinstance(found, dict) else found

    def asked(self, op):
        return self.control('GET', f'requests?op={op}')

    def close(self):
        self.proc.close()
        shutil.rmtree(self.dir, ignore_errors=True)
