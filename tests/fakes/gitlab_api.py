#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A strict stand-in for GitLab's commit status API.

    gitlab_api.py [--git-root DIR] [--repo ID:GROUP/NAME[=GIT_DIR]] [--port N] [--token T]
                  [--weak-token T] [--record FILE] [--stdin]

Prints "port N" when it listens.  Repositories are those of --repo, and DIR/GROUP/NAME.git.  A
commit must be in the repository; of one without GIT_DIR every full sha exists, until /control
names the known ones.  Records and faults: fake_forge.py.

    POST /api/v4/projects/{id or URL-encoded path}/statuses/{sha}
    GET  /api/v4/projects/{id or URL-encoded path}/repository/commits/{sha}/statuses?name=

Documented ("Commits API", "REST API authentication", "User and IP rate limits"):
  - parameters in the query, as a form or as JSON; state is pending, running, success, failed,
    canceled or skipped, and is required; name or context, "default" when absent; ref,
    target_url, description, coverage (a number), pipeline_id
  - PRIVATE-TOKEN or Authorization: Bearer; else 401; 404 for a project or commit that is not there
  - too many requests: 429 with Retry-After and RateLimit-*
Measured by others, in public trackers and GitLab's own tests:
  - a state that the status already has, or cannot reach:
    400 "Cannot transition status via :run from :running (Reason(s): ...)"; its other fields are
    not stored
  - pending after an end makes a new status: 201
Assumed:
  - a role below Developer: 403 "403 Forbidden"
  - any state but its own after an end makes a new status; a pending or running one may end
  - name, ref, target_url and description over 255 characters: 400
  - target_url must be http or https
"""
import datetime
import re
import urllib.parse

import fake_forge
from fake_forge import Refused

# State -> (the event that leads to it, the states that it may be reached from).
EVENTS = {
    "pending": ("enqueue", ("created",)),
    "running": ("run", ("created", "pending")),
    "success": ("success", ("created", "pending", "running")),
    "failed": ("drop", ("created", "pending", "running")),
    "canceled": ("cancel", ("created", "pending", "running")),
    "skipped": ("skip", ("created", "pending")),
}
ENDS = ("success", "failed", "canceled", "skipped")
TEXTS = ("name", "context", "ref", "target_url", "description")
LONGEST = 255
PATH = re.compile(r"/api/v4/projects/([^/]+)/(statuses/([^/]+)|"
                  r"repository/commits/([^/]+)/statuses)")


def error(status, text):
    return Refused(status, {"message": text})


def check_params(params):
    """Refuse what is missing, mistyped or too long."""
    state = params.get("state")
    if state is None or state == "":
        raise Refused(400, {"error": "state is missing, state does not have a valid value"})
    if not isinstance(state, str) or state not in EVENTS:
        raise Refused(400, {"error": "state does not have a valid value"})
    for key in TEXTS:
        value = params.get(key)
        if value is not None and not isinstance(value, str):
            raise Refused(400, {"error": f"{key} is invalid"})
        if value is not None and len(value) > LONGEST:
            raise error(400, {key: [f"is too long (maximum is {LONGEST} characters)"]})
    target = params.get("target_url")
    if target and not re.match(r"https?://[^\s/]", target):
        raise error(400, {"target_url": ["is blocked: Only allowed schemes are http, https"]})
    for key, kind in (("coverage", float), ("pipeline_id", int)):
        try:
            if params.get(key) is not None:
                kind(params[key])
        except (TypeError, ValueError):
            raise Refused(400, {"error": f"{key} is invalid"}) from None


class GitLab(fake_forge.Forge):
    def __init__(self, options):
        specs, self.ids = options.repo, {}
        options.repo = []
        for spec in specs:
            number, _, rest = spec.partition(":")
            self.ids[number] = rest.partition("=")[0]
            options.repo.append(rest)
        super().__init__(options)

    def limited(self, fault):
        return Refused(429, {"message": "Retry later"},
                       [("Retry-After", str(self.retry_after)), ("RateLimit-Limit", "600"),
                        ("RateLimit-Remaining", "0"), ("RateLimit-Observed", "601")])

    def authenticate(self, request, writes):
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = request.headers.get("PRIVATE-TOKEN") or (token if scheme == "Bearer" else None)
        if given is None or given not in (self.options.token, self.options.weak_token):
            raise error(401, "401 Unauthorized")
        if writes and given != self.options.token:
            raise error(403, "403 Forbidden")

    def project(self, name):
        name = urllib.parse.unquote(name)
        repository = self.find(self.ids.get(name, name))
        if repository is None:
            raise error(404, "404 Project Not Found")
        return repository

    def params(self, request):
        params = dict(urllib.parse.parse_qsl(request.query))
        kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            params.update(request.json_object(
                lambda text: Refused(400, {"error": text})) if request.body else {})
        elif kind == "application/x-www-form-urlencoded":
            try:
                params.update(urllib.parse.parse_qsl(request.body.decode("utf-8"),
                                                     errors="strict"))
            except UnicodeDecodeError:
                raise Refused(400, {"error": "invalid UTF-8"}) from None
        elif request.body:
            raise Refused(415, {"error": "The provided content-type is not supported."})
        return params

    def post(self, request, repository, sha):
        params = self.params(request)
        check_params(params)
        if not repository.has_commit(sha):
            raise error(404, "404 Commit Not Found")
        name = params.get("name") or params.get("context") or "default"
        ref, state = params.get("ref"), params["state"]
        before = [s for s in self.recorded if
                  (s["repository"], s["sha"], s["context"], s["ref"]) ==
                  (repository.name, sha, name, ref)]
        now = before[-1]["state"] if before else "created"
        fresh = now in ENDS and state != now
        event, sources = EVENTS[state]
        if not fresh and now not in sources:
            raise error(400, f"Cannot transition status via :{event} from :{now} (Reason(s): "
                             f"Status cannot transition via \"{event}\")")
        number = 1 + len({s["id"] for s in self.recorded})
        entry = self.record({"id": before[-1]["id"] if before and not fresh else number,
                             "repository": repository.name, "sha": sha, "state": state,
                             "context": name, "ref": ref,
                             "description": params.get("description"),
                             "target_url": params.get("target_url"),
                             "coverage": params.get("coverage")})
        return 201, self.show(entry), ()

    def show(self, entry):
        at = datetime.datetime.fromtimestamp(entry["time"], datetime.timezone.utc).isoformat()
        coverage = entry["coverage"]
        return {"id": entry["id"], "sha": entry["sha"], "ref": entry["ref"] or "main",
                "status": entry["state"], "name": entry["context"],
                "target_url": entry["target_url"], "description": entry["description"],
                "created_at": at, "started_at": None,
                "finished_at": at if entry["state"] in ENDS else None, "allow_failure": False,
                "coverage": None if coverage is None else float(coverage), "pipeline_id": 1,
                "author": {"id": 1, "username": "nbcid-bot", "name": "nbcid", "state": "active"}}

    def get(self, request, repository, sha):
        wanted = self.params(request).get("name")
        newest = {s["id"]: s for s in self.recorded
                  if s["repository"] == repository.name and s["sha"] == sha
                  and wanted in (None, s["context"])}
        return 200, [self.show(s) for s in newest.values()], ()

    def handle(self, request):
        match = PATH.fullmatch(request.path)
        post = request.method == "POST" and match and match.group(3)
        get = request.method == "GET" and match and match.group(4)
        if not post and not get:
            raise Refused(404, {"error": "404 Not Found"})
        self.authenticate(request, bool(post))
        repository = self.project(match.group(1))
        if post:
            return self.post(request, repository, match.group(3))
        return self.get(request, repository, match.group(4))


def parser():
    p = fake_forge.arguments("a strict stand-in for GitLab's commit status API")
    p.add_argument("--repo", action="append", default=[], metavar="ID:GROUP/NAME[=GIT_DIR]")
    return p


if __name__ == "__main__":
    fake_forge.run(GitLab(parser().parse_args()))
