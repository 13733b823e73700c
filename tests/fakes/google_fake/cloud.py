# SPDX-License-Identifier: Apache-2.0
"""The whole stand-in: its state, who may what at the start, and the way of a request."""
import json
import os
import sys
import threading
import time
import traceback

from .clock import Clock
from .control import Control
from .errors import Broken, Refused, no_such_page
from .faults import INSIDE, Faults
from .identity import Identity
from .jobs import Jobs
from .logs import LoggingService, Logs
from .objects import Store
from .records import Records
from .storage import StorageService
from .tokens import TokenService
from .vertex import VertexService
from .web import Response

ACCOUNT, WEAK = "nbcid", "weak"
CLIENT = ("1234567890-stand-in.apps.googleusercontent.com", "GOCSPX-stand-in")


class Cloud:
    """directory: where objects, containers and credential files are put."""

    def __init__(self, options):
        self.options, self.directory = options, os.path.abspath(options.directory)
        self.lock, self.clock = threading.RLock(), Clock()
        self.scratch = os.path.join(self.directory, "containers")
        self.remembered = {}  # what came of notebooks, for jobs that ask for it
        os.makedirs(self.scratch, exist_ok=True)
        self.identity = Identity(self.clock, self.lock)
        self.store = Store(os.path.join(self.directory, "objects"), self.clock)
        self.logs, self.records, self.faults = Logs(self.clock), Records(), Faults()
        self.jobs = Jobs(self, options.containers)
        self.tokens, self.storage = TokenService(self), StorageService(self)
        self.vertex, self.logging = VertexService(self), LoggingService(self)
        self.control = Control(self)
        self._services = (self.storage, self.vertex, self.tokens, self.logging)
        self.keys = {}
        self.settle()

    def settle(self):
        """Projects, accounts and rights as they are at the start."""
        identity = self.identity
        for name, _, number in (spec.partition("=") for spec in self.options.project):
            identity.projects[name] = number
        self.home, self.number = next(iter(identity.projects.items()))
        for name in (ACCOUNT, WEAK):
            email = f"{name}@{self.home}.iam.gserviceaccount.com"
            self.keys[name] = (email, identity.add_service_account(email))
        self.user = f"somebody@{self.home}.example"
        identity.users["1//stand-in-refresh-token"] = (*CLIENT, self.user)
        email = self.keys[ACCOUNT][0]
        # Its own project only; what runs inside jobs may use the buckets of any.
        for principal in (email, self.user):
            identity.allow.append((principal, self.home, "*"))
        identity.allow += [
            ("service-*@gcp-sa-aiplatform-cc.iam.gserviceaccount.com", "*", "storage.*"),
            ("principal://*", self.home, "iam.serviceAccounts.getAccessToken")]
        pool = f"projects/{self.number}/locations/global/workloadIdentityPools/ci"
        self.tokens.provider = {"audience": f"//iam.googleapis.com/{pool}/providers/build",
                                "issuer": "https://ci.example", "pool": pool,
                                "key": identity.new_key()}
        self.tokens.instance = {"email": email, "project": self.home, "number": self.number,
                                "zone": "us-central1-a"}

    def write_credentials(self, url):
        """Files for GOOGLE_APPLICATION_CREDENTIALS, one of each kind; {kind: path}."""
        outside = {
            "type": "external_account", "audience": self.tokens.provider["audience"],
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": url + "/v1/token", "universe_domain": "googleapis.com"}
        email = self.keys[ACCOUNT][0]
        impersonation = f"{url}/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
        subject = os.path.join(self.directory, "subject-token")
        with open(subject, "w", encoding="ascii") as f:
            f.write(self.tokens.subject_token())
        files = {
            "service-account": self.key_file(ACCOUNT, url), "weak": self.key_file(WEAK, url),
            "authorized-user": {
                "type": "authorized_user", "client_id": CLIENT[0], "client_secret": CLIENT[1],
                "refresh_token": "1//stand-in-refresh-token", "token_uri": url + "/token"},
            "external-file": {**outside, "service_account_impersonation_url": impersonation,
                              "credential_source": {"file": subject}},
            "external-url": {**outside, "service_account_impersonation_url": impersonation,
                             "credential_source": {
                                 "url": url + "/idp/token",
                                 "headers": {"X-Idp-Secret": "let-me-in"},
                                 "format": {"type": "json", "subject_token_field_name": "access"}}},
        }
        paths = {}
        for name, value in files.items():
            paths[name] = os.path.join(self.directory, name + ".json")
            with open(os.open(paths[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w",
                      encoding="utf-8") as f:
                json.dump(value, f, indent=2)
        return paths

    def key_file(self, name, url):
        email, key = self.keys[name]
        return {"type": "service_account", "project_id": self.home, "private_key_id": key.kid,
                "private_key": key.pem(), "client_email": email, "client_id": "1" * 21,
                "token_uri": url + "/token", "universe_domain": "googleapis.com"}

    # The way of a request

    def __call__(self, request):
        request.fault = None
        if request.path.startswith("/__control/"):
            try:
                return self.control.answer(request)
            except Refused as e:
                return Response.of(e)
        began, op, handler = time.time(), "unknown", None
        for service in self._services:
            if (found := service.route(request)):
                op, handler = found
                break
        fault = self.faults.take(op, request) if handler else None
        kind = fault.kind if fault else None
        try:
            response = self.answer(request, op, handler, fault)
        except Broken:
            self.records.add(request, op, None, kind, began)
            raise
        except Exception:  # a mistake of the stand-in, which must not look like Google's weather
            traceback.print_exc(file=sys.stderr)
            response = Response(500, {"error": {"code": 500, "status": "INTERNAL",
                                                "message": "The stand-in itself has failed."}})
        self.records.add(request, op, response and response.status, kind, began)
        return response

    def close(self):
        """End what runs; the files stay."""
        self.clock.stop()
        self.jobs.shutdown()

    def answer(self, request, op, handler, fault):
        if handler is None:
            return Response.of(no_such_page(request.path))
        if fault and fault.delay:
            threading.Event().wait(fault.delay)  # slow on purpose, and asked for
        around = fault is not None and fault.kind not in (*INSIDE, "none")
        if fault is not None and fault.kind in INSIDE:
            request.fault = fault
        if not around or fault.when == "after":
            try:
                response = handler(request)
            except Refused as e:
                return Response.of(e)
            if not around:
                return response
        if fault.kind == "reset":
            return None
        return Response.of(fault.refusal(op))
