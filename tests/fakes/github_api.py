#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A strict stand-in for GitHub's commit status API.

    github_api.py [--git-root DIR] [--repo OWNER/NAME[=GIT_DIR]] [--port N] [--token T]
                  [--weak-token T] [--record FILE] [--prefix /api/v3] [--stdin]

Prints "port N" when it listens.  Repositories are those of --repo, and DIR/OWNER/NAME.git.  A
commit must be in the repository; of one without GIT_DIR every full sha exists, until /control
names the known ones.  Records and faults: fake_forge.py.

    POST /repos/{owner}/{repo}/statuses/{sha}
    GET  /repos/{owner}/{repo}/commits/{sha}/status
    GET  /repos/{owner}/{repo}/commits/{sha}/statuses

Documented ("REST API endpoints for commit statuses", "Troubleshooting the REST API",
"Rate limits for the REST API", "Getting started with the REST API", "API Versions"):
  - 201 with the status; state is error, failure, pending or success, and is required
  - context is "default" when absent; at most 1000 statuses for one sha and context
  - no User-Agent: 403; a bad token: 401 "Bad credentials"
  - 404 for a repository that is not there or not ours to see
  - malformed JSON or no object: 400; a field of a wrong type, or a missing one: 422
  - an X-GitHub-Api-Version that is not supported: 400
  - x-ratelimit-* on each answer; a secondary limit: 403 or 429 with retry-after
  - combined status: the newest of each context; success, pending or failure
Measured by others, in public trackers:
  - description over 140 characters: 422 "description is too long (maximum is 140 characters)"
  - context over 255 characters: 422
  - unknown commit: 422 "No commit found for SHA: ..."
Assumed:
  - no Authorization at all: 401 "Requires authentication"
  - a token without the right: 403 "Resource not accessible by personal access token", no
    retry-after and requests remaining
  - contexts are one when they differ only in case
  - characters above U+FFFF in description or context: 422, as in other texts of GitHub's API
  - target_url must be http or https, and is not bounded here; an empty one is as none
"""
import datetime
import re
import time

import fake_forge
from fake_forge import Refused

DOCS = "https://docs.github.com/rest"
API_VERSIONS = ("2022-11-28",)
STATES = ("error", "failure", "pending", "success")
LIMIT = 5000
MAX_PER_CONTEXT = 1000
POST_PATH = re.compile(r"/repos/([^/]+/[^/]+)/statuses/([^/]+)")
GET_PATH = re.compile(r"/repos/([^/]+/[^/]+)/commits/([^/]+)/(status|statuses)")


def refuse(status, message, headers=(), **more):
    return Refused(status, {"message": message, **more, "documentation_url": DOCS,
                            "status": str(status)}, headers)


def invalid(field, message):
    return refuse(422, "Validation Failed", errors=[
        {"resource": "Status", "code": "custom", "field": field, "message": message}])


def mistyped(text):
    return refuse(422, "Invalid request.\n\n" + text)


def check_text(body, field, longest):
    """The field's text, or None.  Python counts code points, as GitHub does."""
    value = body.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise mistyped(f"For 'properties/{field}', {value!r} is not a string.")
    if longest and len(value) > longest:
        raise invalid(field, f"{field} is too long (maximum is {longest} characters)")
    if any(ord(c) > 0xFFFF for c in value):
        raise invalid(field, f"{field} contains unicode characters above 0xffff")
    return value


class GitHub(fake_forge.Forge):
    def __init__(self, options):
        super().__init__(options)
        self.used = 0
        self.reset_at = int(time.time()) + 3600

    def rate_headers(self, remaining=None):
        left = LIMIT - self.used if remaining is None else remaining
        return [("x-ratelimit-limit", str(LIMIT)), ("x-ratelimit-remaining", str(left)),
                ("x-ratelimit-used", str(LIMIT - left)), ("x-ratelimit-reset", str(self.reset_at)),
                ("x-ratelimit-resource", "core")]

    def limited(self, fault):
        return refuse(403 if fault == "secondary" else 429,
                      "You have exceeded a secondary rate limit. Please wait a few minutes "
                      "before you try again.",
                      [("retry-after", str(self.retry_after)), *self.rate_headers()])

    def authenticate(self, request, writes):
        if not request.headers.get("User-Agent"):
            raise refuse(403, "Request forbidden by administrative rules. Please make sure your "
                              "request has a User-Agent header")
        version = request.headers.get("X-GitHub-Api-Version")
        if version is not None and version not in API_VERSIONS:
            raise refuse(400, f"The API version \"{version}\" is not supported")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            raise refuse(401, "Requires authentication")
        if scheme.lower() not in ("bearer", "token") or \
                token not in (self.options.token, self.options.weak_token):
            raise refuse(401, "Bad credentials")
        if writes and token != self.options.token:
            raise refuse(403, "Resource not accessible by personal access token")

    def repository(self, name):
        repository = self.find(name)
        if repository is None:
            raise refuse(404, "Not Found")
        return repository

    def same(self, repository, sha, context=None):
        return [s for s in self.recorded if s["repository"] == repository.name and s["sha"] == sha
                and (context is None or s["context"].lower() == context.lower())]

    def post(self, request, name, sha):
        self.authenticate(request, True)
        repository = self.repository(name)
        body = request.json_object(lambda text: refuse(400, text))
        state = body.get("state")
        if state is None:
            raise mistyped('"state" wasn\'t supplied.')
        if not isinstance(state, str) or state not in STATES:
            raise mistyped(f"For 'properties/state', {state!r} is not one of {', '.join(STATES)}.")
        context = check_text(body, "context", 255) or "default"
        description = check_text(body, "description", 140)
        target = check_text(body, "target_url", None) or None
        if target and not re.match(r"https?://[^\s/]", target):
            raise invalid("target_url", "target_url must use http(s) scheme")
        if not repository.has_commit(sha):
            raise refuse(422, f"No commit found for SHA: {sha}")
        if len(self.same(repository, sha, context)) >= MAX_PER_CONTEXT:
            raise invalid("context",
                          "This SHA and context has reached the maximum number of statuses.")
        entry = self.record({"repository": repository.name, "sha": sha, "state": state,
                             "context": context, "description": description,
                             "target_url": target})
        return 201, self.show(entry)

    def show(self, entry):
        at = datetime.datetime.fromtimestamp(entry["time"], datetime.timezone.utc)
        url = f"/repos/{entry['repository']}/statuses/{entry['sha']}"
        return {"url": self.options.prefix + url, "avatar_url": None, "id": entry["seq"],
                "node_id": f"SC_{entry['seq']}", "state": entry["state"],
                "description": entry["description"], "target_url": entry["target_url"],
                "context": entry["context"], "created_at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "updated_at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "creator": {"login": "nbcid-bot", "id": 1, "type": "Bot"}}

    def get(self, request, name, sha, what):
        self.authenticate(request, False)
        repository = self.repository(name)
        if not repository.has_commit(sha):
            raise refuse(422, f"No commit found for SHA: {sha}")
        found = self.same(repository, sha)
        if what == "statuses":
            return 200, [self.show(entry) for entry in reversed(found)]
        newest = {entry["context"].lower(): entry for entry in found}
        states = {entry["state"] for entry in newest.values()}
        state = ("failure" if states & {"error", "failure"} else
                 "success" if states == {"success"} else "pending")
        return 200, {"state": state, "sha": sha, "total_count": len(newest),
                     "statuses": [self.show(entry) for entry in newest.values()],
                     "repository": {"full_name": repository.name}}

    def handle(self, request):
        self.used += 1
        path, prefix = request.path, self.options.prefix
        if not path.startswith(prefix):
            raise refuse(404, "Not Found", self.rate_headers())
        path = path[len(prefix):]
        post = request.method == "POST" and POST_PATH.fullmatch(path)
        get = request.method == "GET" and GET_PATH.fullmatch(path)
        try:
            if post:
                status, value = self.post(request, *post.groups())
            elif get:
                status, value = self.get(request, *get.groups())
            else:
                raise refuse(404, "Not Found")
        except Refused as e:
            e.headers += self.rate_headers()
            raise
        return status, value, self.rate_headers()


def parser():
    p = fake_forge.arguments("a strict stand-in for GitHub's commit status API")
    p.add_argument("--repo", action="append", default=[], metavar="OWNER/NAME[=GIT_DIR]")
    p.add_argument("--prefix", default="", help='"/api/v3": as GitHub Enterprise Server')
    return p


if __name__ == "__main__":
    fake_forge.run(GitHub(parser().parse_args()))
