#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Google's own client libraries work with the stand-in, and are refused as by Google."""
import io
import os
import unittest
from unittest import mock

from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.api_core.retry import Retry
from google.auth import compute_engine, identity_pool
from google.auth.compute_engine import _metadata
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.cloud import storage
from google.cloud.aiplatform_v1 import JobServiceClient
from google.cloud.aiplatform_v1.services.job_service.transports import JobServiceRestTransport
from google.cloud.aiplatform_v1.types import CustomJob, JobState
from google.oauth2 import credentials as user
from google.oauth2 import service_account
from google_harness import BUCKET, NUMBER, PROJECT, REGION, WithCloud

from google_fake.identity import CLOUD_SCOPE

UNIT = 262144
PARENT = f"projects/{PROJECT}/locations/{REGION}"


class WithClients(WithCloud):
    def credentials(self, kind="service-account"):
        path = self.cloud.paths[kind]
        if kind.startswith("external"):
            return identity_pool.Credentials.from_file(path, scopes=[CLOUD_SCOPE])
        if kind == "authorized-user":
            credentials = user.Credentials.from_authorized_user_file(path, scopes=[CLOUD_SCOPE])
            # The library does not read the address in such a file.
            credentials._token_uri = self.server.url + "/token"
            return credentials
        return service_account.Credentials.from_service_account_file(path, scopes=[CLOUD_SCOPE])

    def storage(self, kind="service-account"):
        client = storage.Client(project=PROJECT, credentials=self.credentials(kind),
                                client_options={"api_endpoint": self.server.url})
        self.addCleanup(client.close)
        return client


class Credentials(WithClients):
    def test_each_kind_of_file(self):
        for kind in ("service-account", "authorized-user", "external-file", "external-url"):
            with self.subTest(kind):
                credentials = self.credentials(kind)
                credentials.refresh(Request())
                self.assertTrue(credentials.valid)
                self.assertTrue(self.storage(kind).bucket(BUCKET).exists())

    def test_an_expired_token_is_renewed(self):
        client = self.storage()
        bucket = client.bucket(BUCKET)
        self.assertTrue(bucket.exists())
        self.control("tokens", {"expire": True})
        self.assertTrue(bucket.exists())
        self.assertEqual(self.asked("stats?op=token.grant")["ops"], {"token.grant": {"200": 2}})

    def test_a_wrong_clock(self):
        self.control("clock", {"advance": -7200})
        with self.assertRaisesRegex(RefreshError, "reasonable timeframe"):
            self.credentials().refresh(Request())

    def test_metadata_server(self):
        # The library reads GCE_METADATA_HOST once, when it is imported.
        with mock.patch.object(_metadata, "_GCE_METADATA_HOST", f"127.0.0.1:{self.server.port}"):
            credentials = compute_engine.Credentials(scopes=[CLOUD_SCOPE])
            credentials.refresh(Request())
        self.assertEqual(credentials.service_account_email, self.email)
        self.token = credentials.token
        self.assertEqual(self.media("x").status, 200)


class Storage(WithClients):
    def test_upload_and_download(self):
        bucket = self.storage().bucket(BUCKET)
        blob = bucket.blob("dir/näme 1.ipynb")
        blob.upload_from_string(b"{}" * 1000, content_type="application/x-ipynb+json",
                                if_generation_match=0, checksum="md5")
        self.assertEqual((blob.size, blob.metageneration), (2000, 1))
        self.assertEqual(blob.download_as_bytes(checksum="crc32c"), b"{}" * 1000)
        self.assertEqual(blob.download_as_bytes(start=10, end=19), b"{}" * 5)
        with self.assertRaises(exceptions.PreconditionFailed):
            blob.upload_from_string(b"x", if_generation_match=0)
        with self.assertRaises(exceptions.NotFound):
            bucket.blob("nonesuch").download_as_bytes()
        blob.delete()
        self.assertFalse(blob.exists())
        self.assertEqual(self.asked("stats?op=storage.objects.insert.*")["ops"], {
            "storage.objects.insert.multipart": {"200": 1, "412": 1}})

    def test_resumable(self):
        data = os.urandom(36 * UNIT + 7)  # above the size that is sent at once
        blob = self.storage().bucket(BUCKET).blob("big", chunk_size=16 * UNIT)
        # The library sends the chunk again after a 503, without a question before.
        self.fault(op="storage.resumable.put", kind="status", status=503, skip=1)
        blob.upload_from_file(io.BytesIO(data), size=len(data), checksum="crc32c",
                              if_generation_match=0)
        self.assertEqual(blob.download_as_bytes(checksum="md5"), data)
        ops = self.asked("stats?op=storage.resumable.*")["ops"]
        self.assertEqual(ops["storage.resumable.put"], {"308": 2, "503": 1, "200": 1})

    def test_of_unknown_size(self):
        blob = self.storage().bucket(BUCKET).blob("stream", chunk_size=UNIT)
        with blob.open("wb", ignore_flush=True) as f:
            f.write(b"x" * (2 * UNIT + 5))
        self.assertEqual(len(blob.download_as_bytes()), 2 * UNIT + 5)

    def test_a_corrupt_download_is_seen(self):
        blob = self.storage().bucket(BUCKET).blob("x")
        blob.upload_from_string(b"x" * 1000)
        self.fault(op="storage.objects.media", kind="corrupt", times=None)
        with self.assertRaisesRegex(Exception, "Checksum mismatch"):
            blob.download_as_bytes(retry=None)

    def test_list_and_buckets(self):
        client = self.storage()
        made = client.create_bucket("acme-notebook-training", location="US")
        self.assertEqual(int(made.project_number), int(NUMBER))
        with self.assertRaises(exceptions.Conflict):
            client.create_bucket("acme-notebook-training")
        for i in range(5):
            made.blob(f"a/{i}").upload_from_string(b"x")
        found = client.list_blobs(made, prefix="a/", page_size=2)
        self.assertEqual([b.name for b in found], [f"a/{i}" for i in range(5)])
        found = client.list_blobs(made, delimiter="/")
        self.assertEqual((list(found), found.prefixes), ([], {"a/"}))
        with self.assertRaises(exceptions.Forbidden):
            self.storage("weak").get_bucket("acme-notebook-training")


class Jobs(WithClients):
    def client(self, kind="service-account", region=REGION, **more):
        transport = JobServiceRestTransport(
            host=f"127.0.0.1:{self.server.port}/{region}", url_scheme="http",
            **{"credentials": self.credentials(kind), **more})
        client = JobServiceClient(transport=transport, client_options=ClientOptions())
        self.addCleanup(transport.close)
        return client

    def message(self):
        return CustomJob.from_json(CustomJob.to_json(CustomJob(
            display_name="client", labels={"nbcid-attempt": "a1"}, job_spec={
                "worker_pool_specs": [{
                    "machine_spec": {"machine_type": "n1-standard-4",
                                     "accelerator_type": "NVIDIA_TESLA_T4", "accelerator_count": 1},
                    "replica_count": 1, "container_spec": {
                        "image_uri": "gcr.io/deeplearning-platform-release/base-cu110:latest",
                        "args": ["nbexecutor", f"--input-notebook=gs://{BUCKET}/in.ipynb",
                                 f"--output-notebook=gs://{BUCKET}/out.ipynb"]}}],
                "scheduling": {"timeout": {"seconds": 600}, "disable_retries": True}})))

    def test_the_life_of_a_job(self):
        client = self.client()
        bucket = self.storage().bucket(BUCKET)
        bucket.blob("in.ipynb").upload_from_string(self.notebook("print('from a client')"))
        made = client.create_custom_job(parent=PARENT, custom_job=self.message())
        self.assertTrue(made.name.startswith(f"projects/{NUMBER}/locations/{REGION}/customJobs/"))
        self.assertEqual(made.job_spec.scheduling.timeout.seconds, 600)
        self.wait(made.name.rpartition("/")[2])
        done = client.get_custom_job(name=made.name)
        self.assertEqual(done.state, JobState.JOB_STATE_SUCCEEDED)
        self.assertGreater(done.end_time, done.start_time)
        self.assertIn("from a client", bucket.blob("out.ipynb").download_as_text())
        client.delete_custom_job(name=made.name).result(timeout=10)
        with self.assertRaises(exceptions.NotFound):
            client.get_custom_job(name=made.name)

    def test_list_and_cancel(self):
        self.control("rules", {"mode": "timer", "run": 3600})
        client = self.client()
        names = [client.create_custom_job(parent=PARENT, custom_job=self.message()).name
                 for _ in range(5)]
        request = {"parent": PARENT, "filter": "labels.nbcid-attempt=a1", "page_size": 2,
                   "read_mask": {"paths": ["name", "state"]}}
        self.assertEqual([j.name for j in client.list_custom_jobs(request=request)], names[::-1])
        client.cancel_custom_job(name=names[0])
        self.wait(names[0].rpartition("/")[2])
        request["filter"] = 'state="JOB_STATE_CANCELLED"'
        self.assertEqual([j.name for j in client.list_custom_jobs(request=request)], names[:1])

    def test_self_signed_tokens(self):
        path = self.cloud.paths["service-account"]
        client = self.client(
            credentials=service_account.Credentials.from_service_account_file(path),
            always_use_jwt_access=True, api_audience="https://aiplatform.googleapis.com/")
        self.assertEqual(list(client.list_custom_jobs(parent=PARENT)), [])
        self.assertEqual(self.asked("stats")["ops"], {"vertex.customJobs.list": {"200": 1}})

    def test_refusals(self):
        message = self.message()
        message.labels["bad"] = "Not/Allowed"
        with self.assertRaisesRegex(exceptions.BadRequest, "List of found errors"):
            self.client().create_custom_job(parent=PARENT, custom_job=message)
        with self.assertRaisesRegex(exceptions.BadRequest, "is not served by"):
            self.client(region="us-east1").create_custom_job(parent=PARENT,
                                                             custom_job=self.message())
        with self.assertRaises(exceptions.Forbidden):
            self.client("weak").create_custom_job(parent=PARENT, custom_job=self.message())
        self.fault(op="vertex.customJobs.create", kind="quota")
        with self.assertRaisesRegex(exceptions.TooManyRequests, "exceed quota limits"):
            self.client().create_custom_job(parent=PARENT, custom_job=self.message())
        self.fault(op="vertex.customJobs.get", kind="status", status=503)
        with self.assertRaises(exceptions.NotFound):  # after one more try
            self.client().get_custom_job(name=PARENT + "/customJobs/1", retry=Retry(initial=0.01))


if __name__ == "__main__":
    unittest.main()
