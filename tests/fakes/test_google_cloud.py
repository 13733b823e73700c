#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The stand-in for Google Cloud: who may call, faults on demand, and what is recorded."""
import http.client
import json
import socket
import unittest
import urllib.parse

from google.rpc import code_pb2
from google_harness import BUCKET, NUMBER, PROJECT, WithCloud

from google_fake.errors import CODES
from google_fake.identity import CLOUD_SCOPE
from google_fake.tokens import TOKEN_AUDIENCE

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Tokens(WithCloud):
    def grant(self, fields, path="/token"):
        return self.call("POST", path, urllib.parse.urlencode(fields).encode(), FORM, token=False)

    def assertion(self, key=None, header=None, **claims):
        email, own = self.cloud.keys["nbcid"]
        now = int(self.cloud.clock.now())
        return (key or own).sign({"iss": email, "aud": TOKEN_AUDIENCE, "scope": CLOUD_SCOPE,
                                  "iat": now, "exp": now + 3600, **claims}, **(header or {}))

    def refusal(self, assertion):
        answer = self.grant({"grant_type": JWT_GRANT, "assertion": assertion})
        self.assertGreaterEqual(answer.status, 400)
        return answer.json["error"], answer.json["error_description"]

    def test_service_account(self):
        answer = self.grant({"grant_type": JWT_GRANT, "assertion": self.assertion()})
        self.assertEqual((answer.status, answer.json["token_type"], answer.json["expires_in"]),
                         (200, "Bearer", 3599))
        self.assertEqual(self.media("x", token=answer.json["access_token"]).status, 200)

    def test_service_account_refused(self):
        now, other = int(self.cloud.clock.now()), self.cloud.keys["weak"][1]
        frame = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable " \
                "timeframe. Check your iat and exp values in the JWT claim."
        kid = self.cloud.keys["nbcid"][1].kid
        signature = "Invalid JWT Signature."
        for assertion, text in [
                ("nonsense", "Bad Request"), ("a.b.c", "Bad Request"),
                (self.assertion() + "=", "Bad Request"),
                (self.assertion(other, {"kid": kid}), signature),  # signed by another key
                (self.assertion(other), signature),                # a key of another account
                (self.assertion(header={"kid": "0" * 40}), signature),
                (self.assertion(header={"alg": "HS256"}), signature),
                (self.assertion(iss="nobody@x.iam.gserviceaccount.com"),
                 "Invalid grant: account not found"),
                (self.assertion(aud="https://example.com/"), "Invalid JWT: Failed audience check."),
                (self.assertion(exp=now + 3601, iat=now), frame),
                (self.assertion(iat=now - 7200, exp=now - 3600), frame),
                (self.assertion(iat=now + 3600, exp=now + 7200), frame),
                (self.assertion(iat=None), frame), (self.assertion(exp="soon"), frame)]:
            self.assertEqual(self.refusal(assertion), ("invalid_grant", text))
        for scope in (None, "", "https://www.googleapis.com/auth/nonesuch", 7):
            self.assertEqual(self.refusal(self.assertion(scope=scope))[0], "invalid_scope")
        self.assertEqual(self.refusal(self.assertion(sub="user@x.example"))[0],
                         "unauthorized_client")

    def test_clock_an_hour_wrong(self):
        late = self.assertion()
        self.control("clock", {"advance": 7200})
        self.assertIn("reasonable timeframe", self.refusal(late)[1])

    def test_disabled_key(self):
        self.control("tokens", {"disable_keys": [self.cloud.keys["nbcid"][1].kid]})
        self.assertEqual(self.refusal(self.assertion())[1], "Invalid JWT Signature.")

    def test_grants_refused(self):
        for fields, error in [({}, "invalid_request"), ({"grant_type": "x"},
                                                        "unsupported_grant_type")]:
            self.assertEqual(self.grant(fields).json["error"], error)
        self.assertEqual(self.call("POST", "/token", {"grant_type": JWT_GRANT},
                                   token=False).json["error"], "invalid_request")
        self.assertEqual(self.call("GET", "/token", token=False).status, 404)

    def test_user(self):
        with open(self.cloud.paths["authorized-user"], encoding="utf-8") as f:
            known = json.load(f)
        good = {"grant_type": "refresh_token", "client_id": known["client_id"],
                "client_secret": known["client_secret"], "refresh_token": known["refresh_token"]}
        token = self.grant(good).json["access_token"]
        self.assertEqual(self.media("x", token=token).status, 200)
        for change, status, error in [({"refresh_token": "1//old"}, 400, "invalid_grant"),
                                      ({"client_secret": "x"}, 401, "invalid_client"),
                                      ({"client_id": "x"}, 401, "invalid_client")]:
            answer = self.grant({**good, **change})
            self.assertEqual((answer.status, answer.json["error"]), (status, error))

    def test_federation(self):
        about = self.asked("about")
        good = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "audience": about["audience"], "scope": CLOUD_SCOPE,
                "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "subject_token": self.control("subject", {})["token"]}
        answer = self.grant(good, "/v1/token")
        self.assertEqual(answer.status, 200, answer.body)
        federated = answer.json["access_token"]
        stale = self.control("subject", {"lifetime": -1})["token"]
        for change, error in [({"audience": "//iam.googleapis.com/x"}, "invalid_target"),
                              ({"subject_token": "x.y.z"}, "invalid_grant"),
                              ({"subject_token": stale}, "invalid_grant"),
                              ({"scope": ""}, "invalid_scope"),
                              ({"grant_type": "x"}, "invalid_request"),
                              ({"requested_token_type": "x"}, "invalid_request"),
                              ({"subject_token_type": "x"}, "invalid_request")]:
            self.assertEqual(self.grant({**good, **change}, "/v1/token").json["error"], error)
        # The federated identity itself has no rights; the account that it may become has.
        self.assertEqual(self.media("x", token=federated).status, 403)
        path = f"/v1/projects/-/serviceAccounts/{self.email}:generateAccessToken"
        answer = self.call("POST", path, {"scope": [CLOUD_SCOPE], "lifetime": "600s"},
                           token=federated)
        self.assertRegex(answer.json["expireTime"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(self.media("x", token=answer.json["accessToken"]).status, 200)
        self.control("clock", {"advance": 601})
        self.assertEqual(self.media("x", token=answer.json["accessToken"]).status, 401)

    def test_impersonation_refused(self):
        path = f"/v1/projects/-/serviceAccounts/{self.email}:generateAccessToken"
        for body, status in [({"scope": [CLOUD_SCOPE], "lifetime": "3601s"}, 400),
                             ({"scope": [CLOUD_SCOPE], "lifetime": 3600}, 400),
                             ({"scope": []}, 400), ({"scope": CLOUD_SCOPE}, 400),
                             ({"scope": [CLOUD_SCOPE], "x": 1}, 400)]:
            self.assertEqual(self.call("POST", path, body).status, status, body)
        body = {"scope": [CLOUD_SCOPE]}
        self.assertEqual(self.call("POST", path, body, token=False).status, 401)
        weak = self.token_of(self.cloud.keys["weak"][0])
        self.assertEqual(self.call("POST", path, body, token=weak).status, 403)
        self.assertEqual(self.call("POST", path.replace("nbcid@", "nobody@"), body).status, 403)

    def test_metadata_server(self):
        base = "/computeMetadata/v1/"
        google = {"Metadata-Flavor": "Google"}

        def get(path, headers=None):
            return self.call("GET", base + path, headers=google if headers is None else headers,
                             token=False)
        answer = get("instance/service-accounts/default/token?scopes=" +
                     urllib.parse.quote(CLOUD_SCOPE))
        self.assertEqual(answer.headers["metadata-flavor"], "Google")
        self.assertEqual(self.media("x", token=answer.json["access_token"]).status, 200)
        self.assertEqual(get("instance/service-accounts/default/email").body.decode(), self.email)
        self.assertEqual(get("project/project-id").body.decode(), PROJECT)
        self.assertEqual(get("project/numeric-project-id").body.decode(), NUMBER)
        self.assertEqual(get("instance/zone").body.decode(),
                         f"projects/{NUMBER}/zones/us-central1-a")
        self.assertEqual(get("project/project-id", {}).status, 403)
        self.assertEqual(get("project/project-id", {**google, "X-Forwarded-For": "1"}).status, 403)
        self.assertEqual(get("instance/nonesuch").status, 404)
        self.assertEqual(get("instance/service-accounts/other/token").status, 404)

    def test_calls_without_a_good_token(self):
        for answer, code in [(self.object("x", token=False), "required"),
                             (self.object("x", token="ya29.x"), "authError"),
                             (self.vertex("GET", token=False), "UNAUTHENTICATED"),
                             (self.vertex("GET", token="eyJ.x.y"), "UNAUTHENTICATED")]:
            self.assertEqual((answer.status, answer.error[0]), (401, code))
            self.assertIn("Bearer realm=", answer.headers["www-authenticate"])
        self.control("clock", {"advance": 3601})
        self.assertEqual(self.object("x").status, 401)
        self.token = self.token_of(self.email)
        self.assertEqual(self.object("x").status, 404)
        self.control("tokens", {"expire": True})
        self.assertEqual(self.object("x").status, 401)

    def test_scopes_and_rights(self):
        self.media("x")
        reader = self.token_of(self.email, "https://www.googleapis.com/auth/devstorage.read_only")
        self.assertEqual(self.object("x", token=reader).status, 200)
        self.assertEqual(self.media("y", token=reader).error[0], "insufficientPermissions")
        answer = self.vertex("GET", token=reader)
        self.assertEqual(answer.status, 403)
        self.assertEqual(answer.json["error"]["details"][0]["reason"],
                         "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
        weak = self.token_of(self.cloud.keys["weak"][0])
        self.assertIn("does not have storage.objects.get access",
                      self.object("x", token=weak).error[1])
        self.assertIn("'aiplatform.customJobs.create' denied",
                      self.vertex("POST", body=self.job(), token=weak).error[1])
        # Who may not list is not told whether an object exists.
        self.control("grants", {"deny": [["*", "*", "storage.objects.list"]]})
        self.assertEqual(self.object("nonesuch").status, 403)


class Faults(WithCloud):
    def test_kinds(self):
        self.media("x")
        self.fault(kind="status", status=503, retry_after=2)
        answer = self.object("x")
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "2"))
        self.fault(kind="status", status=502, text="<html>proxy</html>")
        self.assertEqual(self.object("x").body, b"<html>proxy</html>")
        self.fault(op="vertex.*", kind="rate", retry_after=1)
        self.assertEqual(self.object("x").status, 200)
        answer = self.vertex("GET")
        self.assertEqual((answer.status, answer.error[0]), (429, "RESOURCE_EXHAUSTED"))
        self.assertIn("Quota exceeded for quota metric", answer.error[1])
        self.fault(op="vertex.*", kind="quota", metric="custom_model_training_nvidia_t4_gpus")
        self.assertEqual(self.vertex("POST", body=self.job()).error[1],
                         "The following quota metrics exceed quota limits: "
                         "aiplatform.googleapis.com/custom_model_training_nvidia_t4_gpus")
        self.fault(op="vertex.*", kind="status", status=500, skip=1, times=2)
        self.assertEqual([self.vertex("GET").status for _ in range(4)], [200, 500, 500, 200])
        self.assertEqual([f["taken"] for f in self.asked("faults")], [1, 1, 1, 1, 2])
        answer = self.call("POST", "/__control/faults", {"kind": "nonesuch"}, token=False)
        self.assertEqual(answer.status, 400)

    def test_reset_before_and_after(self):
        for when, jobs in (("before", 0), ("after", 1)):
            self.fault(op="vertex.customJobs.create", kind="reset", when=when)
            with self.assertRaises(ConnectionError):
                self.vertex("POST", body=self.job())
            self.assertEqual(len(self.asked("jobs")), jobs)
        self.fault(op="vertex.customJobs.create", kind="status", status=503, when="after")
        self.assertEqual(self.vertex("POST", body=self.job()).status, 503)
        self.assertEqual(len(self.asked("jobs")), 2)

    def test_records(self):
        self.media("x")
        self.object("x")
        self.object("y")
        self.fault(kind="reset")
        with self.assertRaises(ConnectionError):
            self.object("x")
        self.assertEqual(self.asked("stats")["ops"], {
            "storage.objects.insert.media": {"200": 1},
            "storage.objects.get": {"200": 1, "404": 1, "reset": 1}})
        entries = self.asked("requests?since=1&op=storage.*")
        self.assertEqual([e["status"] for e in entries], [200, 404, None])
        self.assertEqual(entries[0]["principal"], self.email)
        self.assertEqual(self.asked("stats")["connections"], 4)

    def test_expect_continue(self):
        with socket.create_connection(self.server.server_address, timeout=10) as s:
            s.sendall(f"POST /upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=x HTTP/1.1\r\n"
                      f"Host: x\r\nAuthorization: Bearer {self.token}\r\nContent-Length: 5\r\n"
                      "Expect: 100-continue\r\n\r\n".encode())
            self.assertEqual(s.recv(1000), b"HTTP/1.1 100 Continue\r\n\r\n")
            s.sendall(b"hello")
            self.assertTrue(s.recv(1000).startswith(b"HTTP/1.1 200 "))

    def test_a_kept_connection(self):
        c = http.client.HTTPConnection(*self.server.server_address)
        self.addCleanup(c.close)
        auth = {"Authorization": "Bearer " + self.token}
        for method, path, body, status in [
                ("GET", f"/storage/v1/b/{BUCKET}/o/none", None, 404),
                ("POST", "/upload/storage/v1/b/none/o?uploadType=media&name=x", b"x" * 99999, 404),
                ("DELETE", f"/storage/v1/b/{BUCKET}/o/none", None, 404),
                ("GET", f"/storage/v1/b/{BUCKET}/o", None, 200),
                ("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=x",
                 iter([b"in ", b"chunks"]), 200),
                ("GET", f"/storage/v1/b/{BUCKET}/o/x?alt=media", None, 200),
                ("DELETE", f"/storage/v1/b/{BUCKET}/o/x", None, 204),
                ("GET", "/nonesuch", None, 404)]:
            c.request(method, path, body, auth)
            response = c.getresponse()
            read = response.read()
            self.assertEqual(response.status, status, (path, read))
            if path.endswith("media") and method == "GET":
                self.assertEqual(read, b"in chunks")
        self.assertEqual(self.asked("stats")["connections"], 1)


class Words(unittest.TestCase):
    def test_codes_are_googles(self):
        for name, (number, _) in CODES.items():
            self.assertEqual(code_pb2.Code.Value(name), number)


if __name__ == "__main__":
    unittest.main()
