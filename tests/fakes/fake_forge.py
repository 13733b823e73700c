# SPDX-License-Identifier: Apache-2.0
"""What the stand-ins for forges share: a server, a record of what was taken, faults on demand.

Beside the forge's own API a stand-in answers, without authentication:

    GET  /recorded    the statuses that were taken, in that order
    GET  /refused     [{"status", "message", "path", "body"}, ...]
    POST /control     JSON with any of
        "fault": null          answer as the forge would (at the start)
                 "reset"       reset each connection without an answer
                 "500"         answer 500
                 "secondary"   a temporary limit: the status and headers that the forge sends
                 "429"         429 with Retry-After
        "times": N             end the fault after N requests; absent: when told so
        "retry_after": S       seconds for "secondary" and "429" (default 1)
        "known": {"REPOSITORY": ["sha", ...]}    further commits that exist
        "forget": true         empty the records
"""
import argparse
import http.server
import json
import os
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
import urllib.parse

MAX_BODY = 1 << 20
SHA_SIZES = (40, 64)
FAULTS = (None, "reset", "500", "secondary", "429")
ORDERS = {"fault", "times", "retry_after", "known", "forget"}


class Refused(Exception):
    """An answer of 400 or more: its status, body and further headers."""

    def __init__(self, status, body, headers=()):
        super().__init__(status, body)
        self.status, self.body, self.headers = status, body, list(headers)


class Repository:
    def __init__(self, name, git_dir):
        self.name, self.git_dir, self.known = name, git_dir, set()

    def has_commit(self, sha):
        """A full, lower-case object name of a commit that is there."""
        if len(sha) not in SHA_SIZES or any(c not in "0123456789abcdef" for c in sha):
            return False
        if sha in self.known or self.git_dir is None and not self.known:
            return True
        if self.git_dir is None:
            return False
        return subprocess.run(["git", "-C", self.git_dir, "-c", "safe.directory=*", "cat-file",
                               "-e", sha + "^{commit}"], stderr=subprocess.DEVNULL,
                              check=False).returncode == 0


class Forge:
    """State of a stand-in.  Subclasses answer requests; the lock is held while they do."""

    def __init__(self, options):
        self.options = options
        self.lock = threading.Lock()
        self.repositories = {}
        for spec in options.repo:
            name, _, git_dir = spec.partition("=")
            self.repositories[name] = Repository(name, git_dir or None)
        self.recorded, self.refused = [], []
        self.fault, self.times, self.retry_after = None, None, 1

    def control(self, order):
        if set(order) - ORDERS or order.get("fault") not in FAULTS:
            raise Refused(400, {"message": f"no such order: {order}"})
        if "fault" in order:
            self.fault, self.times = order["fault"], order.get("times")
            self.retry_after = order.get("retry_after", 1)
        for name, shas in order.get("known", {}).items():
            self.find(name).known.update(shas)
        if order.get("forget"):
            self.recorded, self.refused = [], []

    def find(self, name):
        """The repository of that name in any case, or None."""
        for known, repository in self.repositories.items():
            if known.lower() == name.lower():
                return repository
        parts = name.split("/")
        if self.options.git_root and len(parts) > 1 and not {"", ".", ".."} & set(parts):
            git_dir = os.path.join(self.options.git_root, name + ".git")
            if os.path.isdir(git_dir):
                self.repositories[name] = Repository(name, git_dir)
                return self.repositories[name]
        return None

    def take_fault(self):
        fault = self.fault
        if fault and self.times is not None:
            self.times -= 1
            if self.times <= 0:
                self.fault = None
        return fault

    def record(self, entry):
        entry = {"seq": len(self.recorded) + 1, "time": round(time.time(), 3), **entry}
        self.recorded.append(entry)
        if self.options.record:
            with open(self.options.record, "a", encoding="utf-8") as f:
                f.write(json.dumps(entry) + "\n")
        return entry

    def limited(self, fault):
        """Refused() of "secondary" or "429", as this forge says it."""
        raise NotImplementedError

    def handle(self, request):
        """(status, JSON value, headers) or Refused()."""
        raise NotImplementedError


class Request:
    def __init__(self, method, target, headers, body):
        url = urllib.parse.urlsplit(target)
        self.method, self.path, self.query = method, url.path, url.query
        self.headers, self.body = headers, body

    def json_object(self, refuse):
        """The body as a JSON object; refuse(text) makes the error."""
        try:
            value = json.loads(self.body.decode("utf-8"))
        except (UnicodeDecodeError, ValueError):
            raise refuse("Problems parsing JSON") from None
        if not isinstance(value, dict):
            raise refuse("Body should be a JSON object")
        return value


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # peers that hang up are part of the tests


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    forge = None  # set by a subclass

    def log_message(self, format, *args):
        pass

    def send(self, status, value, headers=()):
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers:
            self.send_header(name, text)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def reset(self):
        """Close without an answer, and with a RST: what a crashed peer looks like."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def read_request(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            raise Refused(411, {"message": "Length Required"})
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY:
            self.close_connection = True
            raise Refused(413, {"message": "Payload Too Large"})
        return Request(self.command, self.path, self.headers, self.rfile.read(length))

    def own(self, request):
        """Our own calls; None: it is the forge's."""
        forge = self.forge
        if (request.method, request.path) == ("GET", "/recorded"):
            return 200, forge.recorded, ()
        if (request.method, request.path) == ("GET", "/refused"):
            return 200, forge.refused, ()
        if (request.method, request.path) == ("POST", "/control"):
            forge.control(request.json_object(lambda text: Refused(400, {"message": text})))
            return 200, {}, ()
        return None

    def answer(self, request):
        own = self.own(request)
        if own:
            return own
        fault = self.forge.take_fault()
        if fault == "reset":
            return None
        if fault == "500":
            raise Refused(500, {"message": "Server Error"})
        if fault:
            raise self.forge.limited(fault)
        return self.forge.handle(request)

    def serve(self):
        request = None
        try:
            request = self.read_request()
            with self.forge.lock:
                answer = self.answer(request)
        except Refused as e:
            with self.forge.lock:
                self.forge.refused.append({
                    "status": e.status, "message": e.body.get("message") or e.body.get("error"),
                    "path": self.path,
                    "body": request.body.decode("utf-8", "replace") if request else None})
            answer = e.status, e.body, e.headers
        if answer is None:
            self.reset()
        else:
            self.send(*answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve


def arguments(description):
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=0, help="0: a free one")
    p.add_argument("--git-root", metavar="DIR", help="each DIR/OWNER/NAME.git is a repository")
    p.add_argument("--token", default="token", help="the token that may set statuses")
    p.add_argument("--weak-token", help="a token that is known but may not")
    p.add_argument("--record", metavar="FILE", help="append each status taken, one JSON a line")
    p.add_argument("--stdin", action="store_true",
                   help="end when standard input is closed, to outlive no test")
    return p


def make_server(forge):
    handler = type("BoundHandler", (Handler,), {"forge": forge})
    return Server((forge.options.host, forge.options.port), handler)


def run(forge):
    server = make_server(forge)
    print("port", server.server_address[1], flush=True)
    if forge.options.stdin:
        def watch():
            while sys.stdin.buffer.read(4096):
                pass
            os._exit(0)
        threading.Thread(target=watch, daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
