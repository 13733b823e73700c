#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A git server for tests: `git http-backend` on a loopback port.

    git_http_server.py --root DIR [--port N] [--host H] [--log FILE]
                       [--mode-file FILE] [--tls CERT KEY] [--stdin]

Serves every repository below DIR (smart HTTP, fetch only) and prints
"port N" when it listens.  With $GIT_HTTP_USER and $GIT_HTTP_PASSWORD set,
each request needs them (Basic).  --log gets one JSON line per request:
{"method", "path", "authorization"}; a header that is not there is null.
--stdin: end when standard input is closed, so that no server outlives a test.

--mode-file is read at each request; an absent or empty file means normal:
    stall              accept, read the request, never answer
    cut N              close the connection after N bytes of a pack's answer
    status N           answer with that HTTP status
    redirect URL       answer 301 to URL + path
"""
import argparse
import base64
import http.server
import json
import os
import socketserver
import ssl
import subprocess
import sys
import threading
import urllib.parse


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # peers that hang up are part of the tests


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    options = None
    log_lock = threading.Lock()

    def log_message(self, format, *args):
        pass

    def note(self):
        if not self.options.log:
            return
        line = json.dumps({"method": self.command, "path": self.path,
                           "authorization": self.headers.get("Authorization")})
        with self.log_lock, open(self.options.log, "a", encoding="utf-8") as f:
            f.write(line + "\n")

    def mode(self):
        try:
            with open(self.options.mode_file or "", encoding="utf-8") as f:
                words = f.read().split()
        except OSError:
            words = []
        return (words + ["", ""])[:2]

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            parts = []
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                parts.append(self.rfile.read(size))
                self.rfile.readline()
                if size == 0:
                    return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def allowed(self):
        user = os.environ.get("GIT_HTTP_USER")
        if user is None:
            return True
        want = user + ":" + os.environ.get("GIT_HTTP_PASSWORD", "")
        want = "Basic " + base64.b64encode(want.encode()).decode()
        return self.headers.get("Authorization") == want

    def backend(self, body):
        url = urllib.parse.urlsplit(self.path)
        env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "GIT_PROJECT_ROOT": os.path.abspath(self.options.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            # The repositories may belong to another user than ours.
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": urllib.parse.unquote(url.path),
            "QUERY_STRING": url.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": "127.0.0.1",
        }
        if self.headers.get("Content-Encoding"):
            env["HTTP_CONTENT_ENCODING"] = self.headers["Content-Encoding"]
        if self.headers.get("Git-Protocol"):
            env["GIT_PROTOCOL"] = self.headers["Git-Protocol"]
        out = subprocess.run(["git", "http-backend"], input=body, env=env,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
        head, _, rest = out.partition(b"\r\n\r\n")
        status, headers = 200, []
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if name.lower() == "status":
                status = int(value.split()[0])
            elif value:
                headers.append((name, value.strip()))
        return status, headers, rest

    def serve(self):
        self.note()
        body = self.body()
        verb, arg = self.mode()
        if verb == "stall":
            threading.Event().wait()
        if verb == "status":
            return self.answer(int(arg), [], b"")
        if verb == "redirect":
            return self.answer(301, [("Location", arg + self.path)], b"")
        if not self.allowed():
            return self.answer(401, [("WWW-Authenticate", 'Basic realm="git"')], b"")
        if "receive-pack" in self.path:
            return self.answer(403, [], b"")
        status, headers, rest = self.backend(body)
        if verb == "cut" and self.command == "POST":
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[:int(arg)])
            self.close_connection = True
            return None
        return self.answer(status, headers, rest)

    do_GET = serve
    do_POST = serve


def main():
    p = argparse.ArgumentParser(description="git http-backend on a loopback port")
    p.add_argument("--root", required=True)
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--log")
    p.add_argument("--mode-file")
    p.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    p.add_argument("--stdin", action="store_true")
    Handler.options = p.parse_args()
    server = Server((Handler.options.host, Handler.options.port), Handler)
    if Handler.options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*Handler.options.tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print("port", server.server_address[1], flush=True)
    if Handler.options.stdin:
        def watch():
            while sys.stdin.buffer.read(4096):
                pass
            os._exit(0)
        threading.Thread(target=watch, daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
