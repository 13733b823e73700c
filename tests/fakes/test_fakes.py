#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The stand-ins refuse what the forges refuse: a test against them means something."""
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fake_forge  # noqa: E402
import github_api  # noqa: E402
import gitlab_api  # noqa: E402

SHA = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


class Client:
    def __init__(self, server):
        self.address = server.server_address

    def call(self, method, path, body=None, headers=None):
        """(status, JSON, headers); body: a value for JSON, or bytes as they are."""
        c = http.client.HTTPConnection(*self.address, timeout=10)
        try:
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            c.request(method, path, body, headers or {})
            r = c.getresponse()
            return r.status, json.loads(r.read()), {k.lower(): v for k, v in r.getheaders()}
        finally:
            c.close()


class WithServer(unittest.TestCase):
    module, kind, arguments = None, None, ()

    def start(self, *more):
        options = self.module.parser().parse_args([*self.arguments, *more])
        server = fake_forge.make_server(self.kind(options))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return Client(server)

    def setUp(self):
        self.client = self.start()

    def recorded(self):
        return self.client.call("GET", "/recorded")[1]

    def control(self, **order):
        self.assertEqual(self.client.call("POST", "/control", order)[0], 200)


class GitHub(WithServer):
    module, kind = github_api, github_api.GitHub
    arguments = ("--repo", "acme/notebooks", "--token", "t0k", "--weak-token", "weak")

    def post(self, body=None, sha=SHA, repo="acme/notebooks", client=None, **headers):
        given = {"User-Agent": "test", "Authorization": "Bearer t0k",
                 "Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        for name, value in headers.items():
            given[name.replace("_", "-")] = value
        if body is None:
            body = {"state": "success"}
        return (client or self.client).call("POST", f"/repos/{repo}/statuses/{sha}", body,
                                            {k: v for k, v in given.items() if v is not None})

    def test_takes(self):
        status, body, headers = self.post({"state": "pending", "context": "nbcid",
                                           "description": "é" * 140, "target_url": "https://x/y"})
        self.assertEqual((status, body["state"], body["context"]), (201, "pending", "nbcid"))
        self.assertIn("x-ratelimit-remaining", headers)
        self.assertEqual(self.post()[1]["context"], "default")
        self.assertEqual(self.post({"state": "error", "context": "c" * 255})[0], 201)
        self.assertEqual(self.post({"state": "error", "description": None,
                                    "target_url": None})[0], 201)
        self.assertEqual([s["seq"] for s in self.recorded()], [1, 2, 3, 4])

    def test_refuses_bodies(self):
        for body, status in [
                (b"{", 400), (b"[]", 400), (b"\xff", 400), ({}, 422),
                ({"state": "running"}, 422), ({"state": "cancelled"}, 422), ({"state": 1}, 422),
                ({"state": "success", "description": "x" * 141}, 422),
                ({"state": "success", "description": "\U0001f600"}, 422),
                ({"state": "success", "description": 7}, 422),
                ({"state": "success", "context": "x" * 256}, 422),
                ({"state": "success", "context": ["x"]}, 422),
                ({"state": "success", "target_url": "javascript:alert(1)"}, 422),
                ({"state": "success", "target_url": "/builds/1"}, 422)]:
            self.assertEqual(self.post(body)[0], status, body)
        self.assertEqual(self.recorded(), [])
        self.assertEqual(len(self.client.call("GET", "/refused")[1]), 14)

    def test_refuses_callers(self):
        self.assertEqual(self.post(User_Agent=None)[0], 403)
        self.assertEqual(self.post(Authorization=None)[0], 401)
        self.assertEqual(self.post(Authorization="Bearer wrong")[0], 401)
        self.assertEqual(self.post(Authorization="Basic t0k")[0], 401)
        status, body, headers = self.post(Authorization="Bearer weak")
        self.assertEqual((status, headers.get("retry-after")), (403, None))
        self.assertNotEqual(headers["x-ratelimit-remaining"], "0")
        self.assertEqual(self.post(X_GitHub_Api_Version="1999-01-01")[0], 400)
        self.assertEqual(self.post(repo="acme/nonesuch")[0], 404)
        self.assertEqual(self.client.call("GET", "/nonesuch")[0], 404)
        self.assertEqual(self.recorded(), [])

    def test_refuses_commits(self):
        self.assertEqual(self.post(sha=SHA[:12])[0], 422)
        self.assertEqual(self.post(sha=SHA.upper())[0], 422)
        self.control(known={"acme/notebooks": [OTHER]})
        self.assertEqual(self.post()[0], 422)
        self.assertEqual(self.post(sha=OTHER)[0], 201)

    def test_asks_git(self):
        with tempfile.TemporaryDirectory() as d:
            git = ["git", "-C", d, "-c", "user.name=t", "-c", "user.email=t@example.org"]
            subprocess.run([*git, "init", "-q"], check=True)
            subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "m"], check=True)
            head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True,
                                  text=True).stdout.strip()
            client = self.start("--repo", f"acme/real={d}")
            self.assertEqual(self.post(sha=head, repo="acme/real", client=client)[0], 201)
            self.assertEqual(self.post(sha=OTHER, repo="acme/real", client=client)[0], 422)
            os.makedirs(os.path.join(d, "root/acme"))
            subprocess.run(["git", "clone", "-q", "--bare", d, f"{d}/root/acme/n.git"], check=True)
            client = self.start("--git-root", f"{d}/root")
            self.assertEqual(self.post(sha=head, repo="acme/n", client=client)[0], 201)
            self.assertEqual(self.post(sha=OTHER, repo="acme/n", client=client)[0], 422)
            self.assertEqual(self.post(sha=head, repo="acme/m", client=client)[0], 404)

    def test_thousand(self):
        for _ in range(1000):
            self.assertEqual(self.post({"state": "pending", "context": "C"})[0], 201)
        self.assertEqual(self.post({"state": "pending", "context": "c"})[0], 422)
        self.assertEqual(self.post({"state": "pending", "context": "d"})[0], 201)

    def test_combined(self):
        path = f"/repos/acme/notebooks/commits/{SHA}/status"
        headers = {"User-Agent": "test", "Authorization": "token t0k"}
        self.assertEqual(self.client.call("GET", path, None, headers)[1]["state"], "pending")
        for state in ("pending", "success"):
            self.post({"state": state, "context": "a"})
        body = self.client.call("GET", path, None, headers)[1]
        self.assertEqual((body["state"], body["total_count"]), ("success", 1))
        self.post({"state": "failure", "context": "b"})
        self.assertEqual(self.client.call("GET", path, None, headers)[1]["state"], "failure")
        self.assertEqual(len(self.client.call("GET", path + "es", None, headers)[1]), 3)

    def test_faults(self):
        self.control(fault="500", times=2)
        self.assertEqual([self.post()[0] for _ in range(3)], [500, 500, 201])
        self.control(fault="secondary", retry_after=7)
        status, _, headers = self.post()
        self.assertEqual((status, headers["retry-after"]), (403, "7"))
        self.control(fault="429")
        self.assertEqual(self.post()[0], 429)
        self.control(fault="reset")
        with self.assertRaises(ConnectionError):
            self.post()
        self.control(fault=None)
        self.assertEqual(self.post()[0], 201)
        self.assertEqual(len(self.recorded()), 2)
        self.assertEqual(self.client.call("POST", "/control", {"fault": "rain"})[0], 400)

    def test_record_file(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "record")
            client = self.start("--record", path, "--prefix", "/api/v3")
            self.assertEqual(self.post(client=client)[0], 404)
            for state in ("pending", "failure"):
                status = client.call("POST", f"/api/v3/repos/acme/notebooks/statuses/{SHA}",
                                     {"state": state},
                                     {"User-Agent": "t", "Authorization": "Bearer t0k"})[0]
                self.assertEqual(status, 201)
            with open(path, encoding="utf-8") as f:
                self.assertEqual([json.loads(line)["state"] for line in f], ["pending", "failure"])


class GitLab(WithServer):
    module, kind = gitlab_api, gitlab_api.GitLab
    arguments = ("--repo", "42:acme/notebooks", "--token", "t0k", "--weak-token", "weak")

    def post(self, body=None, sha=SHA, project="acme%2Fnotebooks", query="", **headers):
        given = {"PRIVATE-TOKEN": "t0k", "Content-Type": "application/json"}
        for name, value in headers.items():
            given[name.replace("_", "-")] = value
        return self.client.call("POST", f"/api/v4/projects/{project}/statuses/{sha}{query}", body,
                                {k: v for k, v in given.items() if v is not None})

    def test_takes(self):
        self.assertEqual(self.post({"state": "running", "name": "nbcid", "ref": "main"})[0], 201)
        self.assertEqual(self.post({"state": "success", "context": "nbcid", "ref": "main"})[0], 201)
        self.assertEqual(self.post(project="42", query="?state=pending", Content_Type=None)[0], 201)
        form = {"Content_Type": "application/x-www-form-urlencoded"}
        self.assertEqual(self.post(b"state=failed&name=a%20b", **form)[1]["name"], "a b")
        self.assertEqual(self.post({"state": "pending", "name": "x"}, PRIVATE_TOKEN=None,
                                   Authorization="Bearer t0k")[0], 201)
        self.assertEqual([s["state"] for s in self.recorded()],
                         ["running", "success", "pending", "failed", "pending"])

    def test_refuses(self):
        for body, status in [
                (b"{", 400), (b"[]", 400), ({}, 400), ({"state": "failure"}, 400),
                ({"state": "cancelled"}, 400), ({"state": "error"}, 400),
                ({"state": "failed", "description": "x" * 256}, 400),
                ({"state": "failed", "name": "x" * 256}, 400),
                ({"state": "failed", "name": 7}, 400),
                ({"state": "failed", "target_url": "ftp://x"}, 400),
                ({"state": "failed", "coverage": "much"}, 400)]:
            self.assertEqual(self.post(body)[0], status, body)
        good = {"state": "success"}
        self.assertEqual(self.post(good, PRIVATE_TOKEN=None)[0], 401)
        self.assertEqual(self.post(good, PRIVATE_TOKEN="wrong")[0], 401)
        self.assertEqual(self.post(good, PRIVATE_TOKEN="weak")[0], 403)
        self.assertEqual(self.post(good, project="43")[0], 404)
        self.assertEqual(self.post(good, project="acme/notebooks")[0], 404)
        self.assertEqual(self.post(good, sha=SHA[:8])[0], 404)
        self.assertEqual(self.post(good, Content_Type="text/plain")[0], 415)
        self.assertEqual(self.recorded(), [])

    def test_transitions(self):
        self.assertEqual(self.post({"state": "running"})[0], 201)
        status, body, _ = self.post({"state": "running", "description": "not stored"})
        self.assertEqual((status, body["message"]), (
            400, 'Cannot transition status via :run from :running '
                 '(Reason(s): Status cannot transition via "run")'))
        status, body, _ = self.post({"state": "pending"})
        self.assertEqual(status, 400)
        self.assertTrue(body["message"].startswith("Cannot transition status via :enqueue from"))
        first = self.post({"state": "success"})[1]["id"]
        self.assertEqual(self.post({"state": "success"})[0], 400)
        self.assertNotEqual(self.post({"state": "pending"})[1]["id"], first)
        self.assertEqual(self.post({"state": "running", "name": "other"})[0], 201)
        self.assertEqual([s["state"] for s in self.recorded()],
                         ["running", "success", "pending", "running"])

    def test_limits(self):
        self.control(fault="429", retry_after=3, times=1)
        status, _, headers = self.post({"state": "running"})
        self.assertEqual((status, headers["retry-after"]), (429, "3"))
        self.assertEqual(self.post({"state": "running"})[0], 201)


if __name__ == "__main__":
    unittest.main()
