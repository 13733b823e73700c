#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rooms gcp and blob against the strict stand-in for Google Cloud.

test_storage.py GCS-PROGRAM [unittest's arguments]
"""
import filecmp
import os
import subprocess
import sys
import tarfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.environ.get("GOOGLE_FAKES", os.path.join(HERE, "..", "..", "fakes")))
from google_harness import BUCKET, PROJECT, WithCloud  # noqa: E402

MIB = 1 << 20
ALL_KINDS = ("service-account", "authorized-user", "external-file", "external-url", "metadata")


class Google(WithCloud):
    def setUp(self):
        super().setUp()
        self.scratch = os.path.join(self.directory, "ours")
        os.mkdir(self.scratch)

    def path(self, name):
        return os.path.join(self.scratch, name)

    def file(self, name, size):
        with open(self.path(name), "wb") as f:
            f.write(os.urandom(size))
        return self.path(name)

    def gcs(self, *words, credentials="service-account", ahead=0):
        """(lines before the last, the last)"""
        url = self.server.url
        external = credentials.startswith("external")
        file = "metadata" if credentials == "metadata" else self.cloud.paths[credentials]
        done = subprocess.run(
            [GCS, "--credentials", file, "--token-url", url + ("/v1" if external else "") +
             "/token", "--metadata-host", url.removeprefix("http://"), "--url", url,
             "--ahead", str(ahead), *map(str, words)],
            stdout=subprocess.PIPE, text=True, check=False, timeout=120,
            env={**os.environ, "no_proxy": "*"})
        lines = done.stdout.splitlines()
        self.assertTrue(lines, f"exit status {done.returncode}")
        self.assertEqual(done.returncode, 0 if lines[-1] == "ok" else 1, done.stdout)
        return lines[:-1], lines[-1]

    def fine(self, *words, **more):
        lines, last = self.gcs(*words, **more)
        self.assertEqual(last, "ok")
        return lines

    def refused(self, text, *words, **more):
        last = self.gcs(*words, **more)[1]
        self.assertRegex(last, f"^error .*{text}")
        return last

    def times(self, op):
        return len(self.asked("requests?op=" + op))

    # Tokens

    def test_every_kind_of_credentials(self):
        for kind in ALL_KINDS:
            token = self.fine("token", credentials=kind)
            self.assertRegex(token[0], r"^\S{10,}$", kind)
            self.fine("bucket", BUCKET, credentials=kind)

    def test_a_clock_that_is_wrong_by_an_hour(self):
        self.refused(r"clock is 70 minutes behind", "token", ahead=-4200)
        self.refused(r"clock is 61 minutes ahead", "token", ahead=3660)

    def test_a_token_endpoint_in_trouble(self):
        self.fault(op="token.grant", kind="status", status=503)
        self.fault(op="token.grant", kind="reset")
        self.fine("token")

    def test_a_token_that_ends_early(self):
        self.fault(op="storage.buckets.get", kind="status", status=401)
        self.fine("bucket", BUCKET)
        self.assertEqual(self.times("token.grant"), 2)

    # Uploads and downloads

    def round_trip(self, size, faults=()):
        there = self.file("up", size)
        for fault in faults:
            self.fault(**fault)
        name, generation, stored = self.fine("put", f"gs://{BUCKET}/a/b c#.ipynb", there)[0].rsplit(
            " ", 2)
        self.assertEqual((name, int(stored)), ("a/b c#.ipynb", size))
        back = self.path("down")
        self.fine("get", f"gs://{BUCKET}/a/b c#.ipynb", back, generation, size)
        self.assertTrue(filecmp.cmp(there, back, shallow=False))
        self.fine("delete", f"gs://{BUCKET}/a/b c#.ipynb", generation)
        for fault in self.asked("faults"):
            self.assertEqual(fault["taken"], fault.get("times", 1), fault)
        self.control("faults", method="DELETE")

    def test_sizes(self):
        for size in (0, 1, 8 * MIB, 8 * MIB + 1, 16 * MIB, 20 * MIB + 77):
            self.round_trip(size)

    def test_one_request_in_trouble(self):
        for fault in ({"kind": "status", "status": 503}, {"kind": "rate", "retry_after": 0},
                      {"kind": "reset"}, {"kind": "reset", "when": "after"},
                      {"kind": "status", "status": 500, "when": "after"},
                      {"kind": "cut", "bytes": 70000}):
            self.round_trip(300000, [{"op": "storage.objects.insert.multipart", **fault}])

    def test_sessions_in_trouble(self):
        put = {"op": "storage.resumable.put"}
        for fault in ({"kind": "status", "status": 503}, {"kind": "reset"},
                      {"kind": "reset", "when": "after"}, {"kind": "cut", "bytes": 3 * MIB},
                      {"kind": "short", "bytes": 262144}, {"kind": "gone"},
                      {"kind": "status", "status": 502, "text": "<html>"},
                      {"kind": "reset", "when": "after", "skip": 2}):
            self.round_trip(20 * MIB + 5, [{**put, "skip": 1, **fault}])
        self.round_trip(9 * MIB, [{**put, "kind": "cut", "bytes": 300000, "times": 3}])
        self.round_trip(9 * MIB, [{"op": "storage.objects.insert.resumable", "kind": "reset",
                                   "when": "after"}])

    def test_downloads_in_trouble(self):
        media = {"op": "storage.objects.media"}
        for fault in ({"kind": "corrupt"}, {"kind": "truncate", "bytes": 100000},
                      {"kind": "reset"}, {"kind": "status", "status": 503}):
            self.round_trip(17 * MIB, [{**media, "skip": 1, **fault}])
        self.round_trip(100000, [{**media, "kind": "corrupt"}])

    def test_create_only(self):
        there, url = self.file("one", 1000), f"gs://{BUCKET}/x"
        first = self.fine("put", url, there)
        self.assertEqual(self.fine("put", url, there), first)  # the same content: it is there
        other = self.file("two", 1000)
        self.refused("is there already with other content", "put", url, other)
        second = self.fine("put", url, other, first[0].split()[1])
        self.refused("No such object", "get", url, self.path("old"), first[0].split()[1])
        self.fine("get", url, self.path("new"), second[0].split()[1])
        self.refused("has 1000 bytes; 999 are allowed", "get", url, self.path("new"), 0, 999)

    def test_a_tree(self):
        os.makedirs(self.path("tree/sub/empty"))
        for name, size in (("a.ipynb", 100), ("sub/big", 20 * MIB), ("n" * 90 + "/" + "m" * 90, 9)):
            os.makedirs(os.path.dirname(self.path("tree/" + name)), exist_ok=True)
            self.file("tree/" + name, size)
        os.symlink("../a.ipynb", self.path("tree/sub/link"))
        self.fault(op="storage.resumable.put", kind="gone", skip=1)
        self.fine("tree", f"gs://{BUCKET}/w.tar", self.path("tree"))
        self.fine("get", f"gs://{BUCKET}/w.tar", self.path("w.tar"))
        with tarfile.open(self.path("w.tar")) as t:
            t.extractall(self.path("out"), filter="tar")
        self.assertEqual(subprocess.run(["diff", "-r", "--no-dereference", self.path("tree"),
                                         self.path("out")], check=False).returncode, 0)

    def test_listing_and_removing(self):
        there = self.file("n", 10)
        self.fine("many", f"gs://{BUCKET}/run", there, 40, 20)
        self.assertEqual(len(self.fine("list", f"gs://{BUCKET}/run/")), 40)
        self.refused("over 39", "list", f"gs://{BUCKET}/run/", 39)
        self.fine("delete", f"gs://{BUCKET}/run/7.ipynb")
        self.fine("delete", f"gs://{BUCKET}/run/7.ipynb")
        self.assertEqual(len(self.fine("list", f"gs://{BUCKET}")), 39)

    def test_buckets(self):
        self.refused("create it", "bucket", "brand-new-bucket")
        self.fault(op="storage.buckets.insert", kind="reset", when="after")
        self.fine("bucket", "brand-new-bucket", PROJECT, "us-central1")
        self.fine("bucket", "brand-new-bucket", PROJECT, "us-central1")
        self.cloud.store.add_bucket("not-ours", "other-project", "999999999999")
        self.refused("another project", "bucket", "not-ours", PROJECT, "us-central1")
        self.refused("may not see this bucket", "bucket", BUCKET, credentials="weak")
        self.refused("storage.objects.create|does not have", "put", f"gs://{BUCKET}/x",
                     self.file("w", 5), credentials="weak")
        self.refused("does not exist", "put", "gs://nowhere-at-all/x", self.file("w", 5))

    def test_connections_are_reused(self):
        there = self.file("n", MIB)
        before = self.asked("stats")["server"]
        self.fine("many", f"gs://{BUCKET}/run", there, 100, 100)
        after = self.asked("stats")["server"]
        self.assertLess(after["opened"] - before["opened"], 16 + 3, (before, after))


if __name__ == "__main__":
    GCS = os.path.abspath(sys.argv.pop(1))
    unittest.main()
