# SPDX-License-Identifier: Apache-2.0
"""Faults on demand.  Each is one rule; the first that matches a request is taken.

    op       which operations, as a glob: "vertex.customJobs.create", "storage.*" (default "*")
    match    and only when this text is in the target
    skip     let that many go by first (default 0)
    times    end after that many (default 1; null: until told)
    delay    seconds before anything else happens
    kind     what goes wrong:
        reset      the connection is reset; when: "before" or "after" the effect
        status     answer this status instead; when as above; with Retry-After if retry_after;
                   in the words of message, or as text, which is not JSON, with fill more bytes
        rate       429, requests per minute; with Retry-After if retry_after is given
        quota      429, machine quota; metric: its name
        corrupt    a download: one byte is not what was stored, the hashes are
        truncate   a download: the connection is reset after "bytes"
        cut        an upload: the connection is reset after "bytes"; whole 256 KiB units are kept
        short      a chunk: only "bytes" of it are kept, and 308 says so
        no_range   308 without Range although bytes were kept
        gone       a resumable session answers 410, and is no more
        none       only the delay
"""
import fnmatch
import itertools
import threading

from .errors import CODES, Refused, error_info, status_error, storage_error

KINDS = ("reset", "status", "rate", "quota", "corrupt", "truncate", "cut", "short", "no_range",
         "gone", "none")
KEYS = {"op", "match", "skip", "times", "delay", "kind", "when", "status", "retry_after", "metric",
        "bytes", "text", "fill", "message"}
# These are carried out by the handler; the others around it.
INSIDE = ("corrupt", "truncate", "cut", "short", "no_range", "gone")


class Fault:
    def __init__(self, number, rule):
        self.number, self.rule = number, rule
        self.op, self.match = rule.get("op", "*"), rule.get("match", "")
        self.kind, self.when = rule["kind"], rule.get("when", "before")
        self.skip, self.times = rule.get("skip", 0), rule.get("times", 1)
        self.delay, self.bytes = rule.get("delay", 0), rule.get("bytes", 0)
        self.taken = 0

    def matches(self, op, request):
        return fnmatch.fnmatch(op, self.op) and self.match in request.target

    def refusal(self, op):
        """The error that this fault answers, in the words of the service."""
        headers = []
        if "retry_after" in self.rule:
            headers = [("Retry-After", str(self.rule["retry_after"]))]
        if self.kind == "rate":
            return _rate(op, headers)
        if self.kind == "quota":
            metric = self.rule.get("metric", "custom_model_training_cpus")
            return machine_quota([metric])
        status = self.rule["status"]
        if "text" in self.rule:  # a proxy's page: not JSON
            return Refused(status, self.rule["text"].encode() + b" " * self.rule.get("fill", 0),
                           [("Content-Type", "text/html; charset=UTF-8"), *headers])
        return _plain(op, status, headers, self.rule.get("message"))


def machine_quota(metrics):
    listed = ", ".join(f"aiplatform.googleapis.com/{metric}" for metric in metrics)
    return status_error("RESOURCE_EXHAUSTED",
                        f"The following quota metrics exceed quota limits: {listed}")


def rate_limit(metric, consumer, headers=()):
    return status_error(
        "RESOURCE_EXHAUSTED",
        f"Quota exceeded for quota metric '{metric}' and limit '{metric} per minute per region' "
        f"of service 'aiplatform.googleapis.com' for consumer 'project_number:{consumer}'.",
        [error_info("RATE_LIMIT_EXCEEDED", service="aiplatform.googleapis.com",
                    consumer=f"projects/{consumer}")], headers)


def _rate(op, headers):
    if op.startswith("storage."):
        return storage_error(429, "The object exceeded the rate limit for object mutation "
                                  "operations (create, update, and delete). Please reduce your "
                                  "request rate.", "rateLimitExceeded", headers=headers)
    return rate_limit("Resource management (CRUD) requests", "0", headers)


def _plain(op, status, headers, message=None):
    if op.startswith(("token.", "sts.")):
        name = "temporarily_unavailable" if status == 503 else "internal_failure"
        return Refused(status, {"error": name}, headers)
    if op.startswith("storage."):
        text = {503: "We encountered an internal error. Please try again.",
                429: "Too Many Requests"}.get(status, "Backend Error")
        return storage_error(status, text, headers=headers)
    names = {http: name for name, (_, http) in CODES.items()}
    names.update({400: "INVALID_ARGUMENT", 409: "ABORTED", 500: "INTERNAL"})
    text = message or {503: "The service is currently unavailable.",
                       500: "Internal error encountered."}.get(status, "The request was refused.")
    return Refused(status, {"error": {"code": status, "message": text,
                                      "status": names.get(status, "UNKNOWN")}}, headers)


class Faults:
    def __init__(self):
        self._lock, self._numbers, self._rules = threading.Lock(), itertools.count(1), []

    def add(self, rule):
        """The fault's number, or ValueError."""
        if set(rule) - KEYS:
            raise ValueError(f"no such keys: {sorted(set(rule) - KEYS)}")
        if rule.get("kind") not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}")
        if rule["kind"] == "status" and not 400 <= int(rule.get("status", 0)) <= 599:
            raise ValueError("status: 400 to 599")
        if rule.get("when", "before") not in ("before", "after"):
            raise ValueError('when: "before" or "after"')
        with self._lock:
            fault = Fault(next(self._numbers), rule)
            self._rules.append(fault)
            return fault.number

    def clear(self):
        with self._lock:
            self._rules = []

    def list(self):
        with self._lock:
            return [{"id": f.number, "taken": f.taken, **f.rule} for f in self._rules]

    def take(self, op, request):
        """The fault that this request meets, or None.  A spent rule stays listed."""
        with self._lock:
            for fault in self._rules:
                if fault.times is not None and fault.taken >= fault.times or \
                        not fault.matches(op, request):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.taken += 1
                return fault
        return None
