# SPDX-License-Identifier: Apache-2.0
"""Errors in the words and envelopes of Google's services.

Three envelopes are in use: google.rpc.Status (Vertex AI, Logging, IAM), the older one of the
Cloud Storage JSON API with a list of errors, and the two members of OAuth 2.
"""

# google.rpc.Code: name -> (number, HTTP status).
CODES = {
    "CANCELLED": (1, 499), "UNKNOWN": (2, 500), "INVALID_ARGUMENT": (3, 400),
    "DEADLINE_EXCEEDED": (4, 504), "NOT_FOUND": (5, 404), "ALREADY_EXISTS": (6, 409),
    "PERMISSION_DENIED": (7, 403), "RESOURCE_EXHAUSTED": (8, 429),
    "FAILED_PRECONDITION": (9, 400), "ABORTED": (10, 409), "OUT_OF_RANGE": (11, 400),
    "UNIMPLEMENTED": (12, 501), "INTERNAL": (13, 500), "UNAVAILABLE": (14, 503),
    "UNAUTHENTICATED": (16, 401),
}
REALM = 'Bearer realm="https://accounts.google.com/"'
# What Storage calls an error when its handler has no better word.
STORAGE_REASONS = {400: "invalid", 401: "authError", 403: "forbidden", 404: "notFound",
                   409: "conflict", 410: "gone", 411: "required", 412: "conditionNotMet",
                   416: "requestedRangeNotSatisfiable", 429: "rateLimitExceeded",
                   500: "backendError", 503: "backendError"}


class Refused(Exception):
    """An answer of 400 or more.  body: a value for JSON, bytes as they are, or None for none."""

    def __init__(self, status, body=None, headers=()):
        super().__init__(status, body)
        self.status, self.body, self.headers = status, body, list(headers)


class Broken(Exception):
    """The peer hung up in the middle of its request: there is nobody to answer."""


def status_error(name, message, details=(), headers=()):
    """Refused() with google.rpc.Status: name is one of CODES."""
    status = CODES[name][1]
    error = {"code": status, "message": message, "status": name}
    if details:
        error["details"] = list(details)
    return Refused(status, {"error": error}, headers)


def error_info(reason, domain="googleapis.com", **metadata):
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason,
            "domain": domain, "metadata": metadata}


def invalid(message):
    return status_error("INVALID_ARGUMENT", message)


def field_errors(found):
    """What Vertex AI says of a body with faults: found is a list of (field, message)."""
    listed = "".join(f"{i}.Field: {field}; Message: {message}\t"
                     for i, (field, message) in enumerate(found, 1))
    return invalid("List of found errors:\t" + listed)


def storage_error(status, message, reason=None, location=None, headers=()):
    """Refused() as the Storage JSON API says it; location: ("parameter" or "header", name)."""
    error = {"message": message, "domain": "global",
             "reason": reason or STORAGE_REASONS.get(status, "invalid")}
    if location:
        error["locationType"], error["location"] = location
    return Refused(status, {"error": {"code": status, "message": message, "errors": [error]}},
                   headers)


def oauth_error(error, description, status=400):
    return Refused(status, {"error": error, "error_description": description})


def no_such_page(path):
    """Google's front end, when no service wants a path: a page, not JSON."""
    page = ("<!DOCTYPE html>\n<html lang=en>\n<title>Error 404 (Not Found)!!1</title>\n"
            f"<p><b>404.</b> The requested URL <code>{path[:200]}</code> was not found.\n")
    return Refused(404, page.encode(), [("Content-Type", "text/html; charset=UTF-8")])
