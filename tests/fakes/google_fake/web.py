# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 for the stand-in: kept connections, bodies that are read as a stream, and resets.

The application is one callable: request -> Response, or None to reset the connection.
"""
import http.server
import itertools
import json
import os
import re
import socket
import socketserver
import struct
import sys
import threading
import traceback
import urllib.parse

from .errors import Broken, Refused

CHUNK = 1 << 20
MAX_JSON = 8 << 20
# A refused upload is read to its end up to here, so that the connection can go on.
MAX_DRAIN = 16 << 20
IDLE_SECONDS = 600
JSON_TYPE = "application/json; charset=UTF-8"


class Body:
    """The body of a request, read once."""

    def __init__(self, stream, headers):
        self._stream = stream
        self._chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        self.length = None if self._chunked else int(headers.get("Content-Length") or 0)
        self._left = 0 if self._chunked else self.length
        self._ended = not self._chunked and self._left == 0
        self.taken = 0

    def _next_chunk(self):
        line = self._stream.readline(64)
        if not re.fullmatch(rb"[0-9a-fA-F]+(;[^\n]*)?\r\n", line):
            raise Broken()
        self._left = int(line.split(b";")[0], 16)
        if self._left == 0:
            while self._stream.readline(4096) not in (b"\r\n", b""):
                pass
            self._ended = True

    def read(self, most=CHUNK):
        """Up to most bytes, b"" at the end.  Broken: the peer hung up before that."""
        if self._chunked and not self._ended and self._left == 0:
            self._next_chunk()
        if self._ended:
            return b""
        got = self._stream.read(min(most, self._left))
        if not got:
            raise Broken()
        self._left -= len(got)
        self.taken += len(got)
        if self._left == 0:
            if self._chunked:
                self._stream.readline(8)
            else:
                self._ended = True
        return got

    def all(self, limit=MAX_JSON):
        parts = []
        while part := self.read():
            parts.append(part)
            if self.taken > limit:
                raise Refused(413, {"error": {"code": 413, "message": "Request is too large."}})
        return b"".join(parts)

    def drain(self):
        """Whether the rest could be read away."""
        if not self._chunked and self._left > MAX_DRAIN:
            return False
        end = self.taken + MAX_DRAIN
        while self.taken <= end:
            if not self.read():
                return True
        return False


class Request:
    def __init__(self, method, target, headers, body, connection, server):
        url = urllib.parse.urlsplit(target)
        self.method, self.path, self.target = method, url.path, target
        self.query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        self.headers, self.body, self.connection, self.server = headers, body, connection, server
        self.host = headers.get("Host", "")
        self.principal = None

    def param(self, name, default=None):
        values = self.query.get(name)
        return values[-1] if values else default

    def content_type(self):
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def json_object(self, refuse):
        """The body as an object; an empty one is {}.  refuse(text) makes the error."""
        raw = self.body.all()
        try:
            value = json.loads(raw.decode("utf-8")) if raw.strip() else {}
        except (UnicodeDecodeError, ValueError) as e:
            raise refuse(f"Invalid JSON payload received. {e}") from None
        if not isinstance(value, dict):
            raise refuse("Invalid JSON payload received. Unknown name \"\": "
                         "Root element must be a message.")
        return value


class Response:
    """status, headers and one of: value (for JSON), body (bytes), stream (length, parts)."""

    def __init__(self, status=200, value=None, *, body=None, stream=None, headers=()):
        self.status, self.headers, self.stream = status, list(headers), stream
        if value is not None:
            body = json.dumps(value).encode()
            if not any(name.lower() == "content-type" for name, _ in self.headers):
                self.headers.append(("Content-Type", JSON_TYPE))
        self.body = b"" if body is None else body

    @property
    def length(self):
        return self.stream[0] if self.stream else len(self.body)

    @classmethod
    def of(cls, refused):
        if refused.body is None or isinstance(refused.body, bytes):
            return cls(refused.status, body=refused.body, headers=refused.headers)
        return cls(refused.status, refused.body, headers=refused.headers)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def __init__(self, address, application):
        self.application = application
        self._numbers, self._lock = itertools.count(1), threading.Lock()
        self.connections = {"opened": 0, "open": 0, "most": 0}
        super().__init__(address, Handler)

    @property
    def port(self):
        return self.server_address[1]

    @property
    def url(self):
        return f"http://{self.server_address[0]}:{self.port}"

    def opened(self):
        with self._lock:
            counts = self.connections
            counts["opened"] += 1
            counts["open"] += 1
            counts["most"] = max(counts["most"], counts["open"])
            return next(self._numbers)

    def closed(self):
        with self._lock:
            self.connections["open"] -= 1

    def handle_error(self, request, client_address):
        kind = sys.exc_info()[0]
        if not issubclass(kind, (OSError, Broken)):  # peers that hang up are part of the tests
            traceback.print_exc(file=sys.stderr)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "nbcid-stand-in", ""
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    timeout = IDLE_SECONDS

    def setup(self):
        super().setup()
        self.number = self.server.opened()

    def finish(self):
        try:
            super().finish()
        finally:
            self.server.closed()

    def handle_expect_100(self):
        going_on = super().handle_expect_100()
        self.wfile.flush()  # the peer waits for it before it sends the body
        return going_on

    def log_message(self, format, *args):
        pass

    def date_time_string(self, timestamp=None):
        """Of Date: the clock by which tokens and times are judged."""
        clock = getattr(self.server.application, "clock", None)
        return super().date_time_string(clock.now() if clock and timestamp is None else timestamp)

    def reset(self):
        """Close without an answer, and with a RST: what a crashed peer looks like."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        # The files that buffer the socket keep it open: shut it below them.
        os.close(self.connection.detach())
        self.wfile = _Nowhere()

    def serve(self):
        body = Body(self.rfile, self.headers)
        request = Request(self.command, self.path, self.headers, body, self.number, self.server)
        try:
            response = self.server.application(request)
            if response is None:
                self.reset()
                return
            if not body.drain():
                self.close_connection = True
        except Broken:
            self.reset()
            return
        self.send(response)

    def send(self, response):
        # send_response() has no words for some of Google's codes, and 308 is not a redirect.
        self.send_response(response.status, "Resume Incomplete" if response.status == 308 else None)
        for name, text in response.headers:
            self.send_header(name, text)
        if response.status != 204:
            self.send_header("Content-Length", str(response.length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        if response.stream:
            sent = 0
            for part in response.stream[1]:
                self.wfile.write(part)
                sent += len(part)
            if sent != response.length:
                self.wfile.flush()
                self.reset()
        else:
            self.wfile.write(response.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = serve


class _Nowhere:
    """Stands for the answer's file when the connection was reset."""
    closed = False

    def write(self, data):
        return len(data)

    def flush(self):
        pass

    def close(self):
        self.closed = True
