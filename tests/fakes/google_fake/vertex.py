# SPDX-License-Identifier: Apache-2.0
"""Vertex AI's JobService: custom jobs, and the operations that their deletion makes.

The service is regional: the region of a request is the first part of its path here
(http://127.0.0.1:PORT/us-central1/v1/...), or its Host, us-central1-aiplatform.googleapis.com.
The location in the name must be the same.
"""
import collections
import re
import secrets

from . import fields as partial
from . import machines, spec
from .errors import error_info, invalid, status_error
from .faults import rate_limit
from .filters import BadFilter, compile_filter
from .web import Response

PATH = re.compile(r"(?:/([a-z]+-[a-z]+\d+))?/v1/projects/([^/]+)/locations/([^/]+)/"
                  r"(customJobs|operations)(?:/([^/:]+)(?::(\w+))?)?")
HOST = re.compile(r"([a-z]+-[a-z]+\d+)-aiplatform\.(?:googleapis\.com|localhost)(?::\d+)?")
COMMON = {"alt", "$alt", "fields", "$fields", "key", "prettyPrint", "quotaUser", "callback",
          "$.xgafv", "access_token", "upload_protocol", "uploadType"}
LIST = {"filter", "pageSize", "pageToken", "readMask", "orderBy"}
FIELDS = ("display_name", "state", "create_time", "update_time", "start_time", "end_time", "name")
MINUTE = 60


class VertexService:
    def __init__(self, cloud):
        self.cloud, self.identity, self.jobs = cloud, cloud.identity, cloud.jobs
        self.per_minute = {"crud": None, "submit": None}  # None: not switched on
        self._recent = collections.defaultdict(collections.deque)
        self._operations = {}
        self.empty_pages = False  # the first page of a list is empty, and has a token

    def route(self, request):
        match = PATH.fullmatch(request.path)
        if not match:
            return None
        prefix, project, location, kind, identifier, verb = match.groups()
        host = HOST.fullmatch(request.host)
        region = prefix or (host[1] if host else None)
        if region is None:
            return None  # the front end knows no such host
        calls = {("POST", False, None): ("create", self.create),
                 ("GET", False, None): ("list", self.list),
                 ("GET", True, None): ("get", self.get),
                 ("DELETE", True, None): ("delete", self.delete),
                 ("POST", True, "cancel"): ("cancel", self.cancel)}
        if kind == "operations":
            calls = {("GET", True, None): ("get", self.operation)}
        found = calls.get((request.method, identifier is not None, verb))
        if not found:
            return None
        return f"vertex.{kind}.{found[0]}", lambda r: self.enter(
            r, found, region, project, location, identifier)

    def enter(self, request, call, region, project, location, identifier):
        name, handler = call
        verb = "get" if handler == self.operation else name
        principal = self.identity.authenticate(request, "aiplatform", verb)
        if location != region or region not in machines.REGIONS:
            raise invalid(f"The location {location} of the resource is not served by "
                          f"{region}-aiplatform.googleapis.com.")
        for parameter in set(request.query) - COMMON - (LIST if name == "list" else set()):
            raise invalid(f'Invalid JSON payload received. Unknown name "{parameter}": Cannot bind '
                          f"query parameter. Field '{parameter}' could not be found in request "
                          "message.")
        with self.cloud.lock:
            known = self.identity.project(project)
        if known is None:
            raise status_error("PERMISSION_DENIED",
                               f"Permission denied on resource project {project}.",
                               [error_info("CONSUMER_INVALID", service="aiplatform.googleapis.com",
                                           consumer=f"projects/{project}")])
        if handler != self.operation:
            self.identity.require(
                principal, known[0], f"aiplatform.customJobs.{name}",
                f"//aiplatform.googleapis.com/projects/{project}/locations/{location}" +
                (f"/customJobs/{identifier}" if identifier else ""))
        self.count(known, region, name)
        if identifier is None:
            return handler(request, known, region)
        return handler(request, known, region, identifier)

    def count(self, project, region, name):
        """429 beyond the requests a minute, where that is switched on."""
        kinds = [("crud", "Resource management (CRUD) requests")]
        if name == "create":
            kinds.append(("submit", "Job or LRO submission requests"))
        now = self.cloud.clock.now()
        with self.cloud.lock:
            for kind, metric in kinds:
                limit, recent = self.per_minute[kind], self._recent[project, region, kind]
                if limit is None:
                    continue
                while recent and recent[0] <= now - MINUTE:
                    recent.popleft()
                if len(recent) >= limit:
                    raise rate_limit(metric, project[1])
                recent.append(now)

    @staticmethod
    def numbers(request):
        alt = request.param("$alt") or request.param("alt", "json")
        kind, _, option = alt.partition(";")
        if kind != "json" or option not in ("", "enum-encoding=int"):
            raise invalid(f"Invalid value at 'alt': {alt}")
        return option != ""

    @staticmethod
    def show(request, value):
        if (wanted := request.param("fields") or request.param("$fields")):
            try:
                value = partial.select(value, partial.parse(wanted))
            except ValueError:
                raise invalid(f"Invalid field selection {wanted}") from None
        return Response(value=value)

    def job(self, project, region, identifier):
        """The job, or 404.  The lock is held."""
        job = self.jobs.jobs.get(identifier)
        if job is None or (job.project_id, job.region) != (project[0], region):
            name = f"projects/{project[1]}/locations/{region}/customJobs/{identifier}"
            raise status_error("NOT_FOUND", f"The CustomJob \"{name}\" does not exist.")
        return job

    def create(self, request, project, region):
        self.numbers(request)
        if request.content_type() != "application/json":
            raise invalid("The Content-Type must be application/json.")
        message = spec.parse(request.json_object(invalid))
        spec.check(message, region)
        account = message.job_spec.service_account
        if account:
            with self.cloud.lock:
                may = account in self.identity.service_accounts and self.identity.allowed(
                    request.principal, project[0], "iam.serviceAccounts.actAs")
            if not may:
                raise spec.actas_denied(account)
        job, shown = self.jobs.create(message, project, region, request.principal)
        if self.numbers(request):
            with self.cloud.lock:
                shown = dict(job.show(True))
        return self.show(request, shown)

    def get(self, request, project, region, identifier):
        with self.cloud.lock:
            return self.show(request, self.job(project, region, identifier)
                             .show(self.numbers(request)))

    def list(self, request, project, region):
        size = request.param("pageSize", "0")
        if not re.fullmatch(r"\d{1,9}", size):
            raise invalid(f"Invalid value at 'page_size' (TYPE_INT32), \"{size}\"")
        most = min(int(size) or self.cloud.options.page_size, self.cloud.options.page_size)
        if request.param("orderBy"):
            raise invalid("order_by is not supported.")
        try:
            predicate = compile_filter(request.param("filter"), lambda name: name in FIELDS or
                                       re.fullmatch(r"labels\.[^.]+", name))
        except BadFilter as e:
            raise invalid(f"Invalid filter: {e}") from None
        after = request.param("pageToken")
        if after and not re.fullmatch(r"\d{19}", after):
            raise invalid("Invalid page_token.")
        if self.empty_pages and not after:
            return self.show(request, {"nextPageToken": "9" * 19})
        found, last = self.jobs.list(project[0], region, predicate, after, most,
                                     self.numbers(request))
        if (mask := request.param("readMask")):
            found = self.masked(found, mask)
        answer = {"customJobs": found} if found else {}
        if last is not None:
            answer["nextPageToken"] = last
        return self.show(request, answer)

    @staticmethod
    def masked(found, mask):
        members = [re.sub(r"_([a-z])", lambda m: m[1].upper(), name.split(".")[0])
                   for name in mask.split(",")]
        fields = {f.json_name for f in spec.CustomJobMessage.DESCRIPTOR.fields}
        if mask == "*":
            return found
        for name in members:
            if name not in fields:
                raise invalid(f"Invalid field mask: {name}")
        return [{k: v for k, v in job.items() if k in members} for job in found]

    def cancel(self, request, project, region, identifier):
        if (body := request.json_object(invalid)):
            raise invalid(f'Invalid JSON payload received. Unknown name "{next(iter(body))}": '
                          "Cannot find field.")
        with self.cloud.lock:
            job = self.job(project, region, identifier)
            if not self.jobs.cancel(job):
                raise status_error("FAILED_PRECONDITION",
                                   f"The CustomJob \"{job.name}\" cannot be cancelled: it is in "
                                   f"state {job.state.name}.")
        return Response(value={})

    def delete(self, request, project, region, identifier):
        with self.cloud.lock:
            job = self.job(project, region, identifier)
            if not job.ended:
                raise status_error("FAILED_PRECONDITION",
                                   f"The CustomJob \"{job.name}\" cannot be deleted: it is in "
                                   f"state {job.state.name}. Cancel it first.")
            self.jobs.remove(job)
            number = str(10 ** 18 + secrets.randbelow(10 ** 17))
            operation = {
                "name": f"projects/{project[1]}/locations/{region}/operations/{number}",
                "metadata": {"@type": "type.googleapis.com/google.cloud.aiplatform.v1."
                                      "DeleteOperationMetadata"},
                "done": True, "response": {"@type": "type.googleapis.com/google.protobuf.Empty"}}
            self._operations[number] = operation
        return self.show(request, operation)

    def operation(self, request, project, region, identifier):
        with self.cloud.lock:
            found = self._operations.get(identifier)
        if not found:
            raise status_error("NOT_FOUND", "The operation does not exist.")
        return self.show(request, found)
