# SPDX-License-Identifier: Apache-2.0
"""What the tests of the Google stand-in share: a server of their own, and a plain client."""
import http.client
import json
import os
import sys
import tempfile
import threading
import unittest
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import google_cloud  # noqa: E402

PROJECT, NUMBER, REGION, BUCKET = "acme-notebooks", "123456789012", "us-central1", "acme-nb"
IMAGE = "gcr.io/deeplearning-platform-release/base-cu110:latest"
WAIT = 60


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.body = status, body
        self.headers = {k.lower(): v for k, v in headers}

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """(code of google.rpc or reason of Storage, message)."""
        error = self.json["error"]
        if "errors" in error:
            return error["errors"][0]["reason"], error["message"]
        return error["status"], error["message"]


class WithCloud(unittest.TestCase):
    """One stand-in for each test."""
    arguments = ()

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name
        options = google_cloud.parser().parse_args(
            ["--directory", scratch.name, "--bucket", BUCKET, *self.arguments])
        self.cloud, self.server = google_cloud.make(options)
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.addCleanup(self.cloud.close)
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.email = self.cloud.keys["nbcid"][0]
        self.token = self.token_of(self.email)
        self.connection = None

    def token_of(self, principal, *scopes):
        from google_fake.identity import CLOUD_SCOPE
        with self.cloud.lock:
            return self.cloud.identity.issue(principal, scopes or [CLOUD_SCOPE])[0]

    def call(self, method, target, body=None, headers=None, token=True):
        """One request on a connection of its own; body: bytes, or a value for JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        if token:
            headers.setdefault("Authorization",
                               "Bearer " + (self.token if token is True else token))
        connection = http.client.HTTPConnection(*self.server.server_address, timeout=WAIT)
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def control(self, path, body=None, method="POST"):
        answer = self.call(method, "/__control/" + path, body, token=False)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json

    def asked(self, path):
        return self.control(path, method="GET")

    def fault(self, **rule):
        self.control("faults", rule)

    # Cloud Storage

    def media(self, name, data=b"hello", query="", headers=None, bucket=BUCKET, token=True):
        return self.call("POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name="
                                 f"{urllib.parse.quote(name, safe='')}{query}", data,
                         {"Content-Type": "text/plain", **(headers or {})}, token)

    def object(self, name, query="", headers=None, method="GET", bucket=BUCKET, token=True):
        return self.call(method, f"/storage/v1/b/{bucket}/o/{urllib.parse.quote(name, safe='')}"
                                 f"{query}", None, headers, token)

    # Vertex AI

    @staticmethod
    def job(**more):
        """A body that is taken; more: members of the job that replace or remove (None) others."""
        container = {"imageUri": IMAGE, "args": [
            "nbexecutor", f"--input-notebook=gs://{BUCKET}/in.ipynb",
            f"--output-notebook=gs://{BUCKET}/out.ipynb", "--kernel-name=python3"]}
        body = {"displayName": "test", "labels": {"nbcid-attempt": "a1"}, "jobSpec": {
            "workerPoolSpecs": [{"machineSpec": {"machineType": "n1-standard-4"},
                                 "replicaCount": "1", "containerSpec": container}],
            "scheduling": {"timeout": "3600s", "disableRetries": True}}}
        body.update(more)
        return {k: v for k, v in body.items() if v is not None}

    def vertex(self, method, path="", body=None, headers=None, token=True, region=REGION,
               prefix=REGION, project=PROJECT):
        return self.call(method, f"/{prefix}/v1/projects/{project}/locations/{region}/customJobs"
                                 f"{path}", body, headers, token)

    def create(self, **more):
        answer = self.vertex("POST", body=self.job(**more))
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json["name"].rpartition("/")[2]

    def wait(self, identifier, *states):
        self.assertTrue(self.control("wait", {"ids": [identifier], "seconds": WAIT,
                                              "states": list(states) or "ended"})["there"])
        return self.vertex("GET", "/" + identifier).json

    @staticmethod
    def notebook(*sources):
        cells = [{"cell_type": "code", "metadata": {}, "source": source, "outputs": [],
                  "execution_count": None} for source in sources]
        return json.dumps({"cells": cells, "metadata": {"kernelspec": {
            "name": "python3", "display_name": "Python 3", "language": "python"}},
            "nbformat": 4, "nbformat_minor": 4}).encode()
