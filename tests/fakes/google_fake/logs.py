# SPDX-License-Identifier: Apache-2.0
"""Cloud Logging: what containers wrote, for entries:list."""
import collections
import threading

from . import fields as partial
from .clock import stamp
from .errors import invalid
from .filters import BadFilter, compile_filter
from .web import Response

KEPT = 100_000
MEMBERS = {"resourceNames", "filter", "orderBy", "pageSize", "pageToken", "projectIds"}
KNOWN = ("resource.type", "logName", "severity", "timestamp", "insertId", "textPayload",
         "jsonPayload.message")


def of_job(job):
    """(project, its number, labels of the resource) for a job's entries."""
    return job.project_id, job.project_number, {"job_id": job.id, "task_name": "workerpool0-0",
                                                "project_id": job.project_id}


class Logs:
    def __init__(self, clock):
        self.clock, self._lock = clock, threading.Lock()
        self._entries, self._count = collections.deque(maxlen=KEPT), 0
        self.lag = 0.0  # seconds until an entry can be listed

    def add(self, where, text, error):
        project, number, labels = where
        now = self.clock.now()
        with self._lock:
            self._count += 1
            entry = {"logName": f"projects/{project}/logs/workerpool0-0",
                     "resource": {"type": "ml_job", "labels": labels},
                     "timestamp": stamp(now), "receiveTimestamp": stamp(now),
                     "severity": "ERROR" if error else "INFO", "insertId": f"{self._count:016x}",
                     "labels": {"ml.googleapis.com/trial_id": ""}}
            if error:
                entry["jsonPayload"] = {"message": text, "levelname": "ERROR"}
            else:
                entry["textPayload"] = text
            self._entries.append(((project, number), now, entry))

    def list(self, projects, predicate, descending, start, most):
        """([entry], whether there are more)."""
        with self._lock:
            until = self.clock.now() - self.lag
            found = [entry for names, at, entry in self._entries
                     if projects & set(names) and at <= until and predicate(flat(entry, at))]
        if descending:
            found.reverse()
        return found[start:start + most], len(found) > start + most


def flat(entry, at):
    values = {f"resource.labels.{k}": v for k, v in entry["resource"]["labels"].items()}
    values.update({"resource.type": entry["resource"]["type"], "timestamp": at})
    for name in ("logName", "severity", "insertId", "textPayload"):
        values[name] = entry.get(name)
    values["jsonPayload.message"] = entry.get("jsonPayload", {}).get("message")
    return values


def known(name):
    return name in KNOWN or name.startswith("resource.labels.")


class LoggingService:
    def __init__(self, cloud):
        self.cloud = cloud

    def route(self, request):
        if (request.method, request.path) == ("POST", "/v2/entries:list"):
            return "logging.entries.list", self.entries
        return None

    def entries(self, request):
        principal = self.cloud.identity.authenticate(request, "logging", "list")
        body = request.json_object(invalid)
        for name in set(body) - MEMBERS:
            raise invalid(f'Invalid JSON payload received. Unknown name "{name}": '
                          "Cannot find field.")
        projects = self.projects(principal, body.get("resourceNames"))
        most, order = body.get("pageSize", 50), body.get("orderBy", "timestamp asc")
        if not isinstance(most, int) or not 0 <= most <= 1000:
            raise invalid("page_size must be at most 1000 and not negative")
        if order not in ("timestamp asc", "timestamp desc"):
            raise invalid(f"Invalid order_by: {order}")
        try:
            predicate = compile_filter(body.get("filter"), known, implicit=True)
        except BadFilter as e:
            raise invalid(f"Unparseable filter: {e}") from None
        try:
            start = int(body.get("pageToken") or "0", 16)
        except ValueError:
            raise invalid("page_token is not valid") from None
        found, more = self.cloud.logs.list(projects, predicate, order.endswith("desc"), start,
                                           most or 50)
        answer = {"entries": found} if found else {}
        if more:
            answer["nextPageToken"] = f"{start + len(found):x}"
        if (wanted := request.param("fields")):
            try:
                answer = partial.select(answer, partial.parse(wanted))
            except ValueError:
                raise invalid(f"Invalid field selection {wanted}") from None
        return Response(value=answer)

    def projects(self, principal, names):
        if not isinstance(names, list) or not names or len(names) > 100:
            raise invalid("resource_names must have 1 to 100 entries")
        found = set()
        for name in names:
            kind, _, identifier = str(name).partition("/")
            if kind != "projects" or not identifier:
                raise invalid(f"Invalid resource name: {name}")
            with self.cloud.lock:
                project = self.cloud.identity.project(identifier)
            self.cloud.identity.require(principal, project[0] if project else identifier,
                                        "logging.logEntries.list", name)
            found.add(project[0])
        return found
