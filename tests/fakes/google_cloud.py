#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A strict stand-in for Google Cloud: tokens, Cloud Storage, Vertex AI custom jobs, Logging.

    tests/fakes/google_fake/environment.py tests/fakes/google_cloud.py --directory DIR [--stdin]

prints "port N" when it serves, and has put credential files into DIR by then.  What it refuses,
what of that is documented, and its control API: tests/fakes/google_fake/README.md.
"""
import argparse
import json
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from google_fake.cloud import Cloud  # noqa: E402
from google_fake.control import order  # noqa: E402
from google_fake.web import Server  # noqa: E402


def parser():
    p = argparse.ArgumentParser(description="a strict stand-in for parts of Google Cloud")
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=0, help="0: a free one")
    p.add_argument("--directory", required=True, help="for objects and credential files")
    p.add_argument("--project", action="append", metavar="ID=NUMBER",
                   help="projects that exist; the first is that of the accounts "
                        "(default: acme-notebooks=123456789012 and other-project=999999999999)")
    p.add_argument("--bucket", action="append", default=[], metavar="NAME",
                   help="a bucket of the first project that is there at the start")
    p.add_argument("--containers", type=int, default=2, help="that run at the same time")
    p.add_argument("--page-size", type=int, default=100, help="most custom jobs of one list")
    p.add_argument("--rule", action="append", default=[], metavar="JSON",
                   help='how jobs fare, as of /__control/rules: {"mode": "timer", "run": 5}')
    p.add_argument("--stdin", action="store_true",
                   help="end when standard input is closed, to outlive no test")
    return p


def make(options):
    """(cloud, server): ready to serve, with its credential files written."""
    options.project = options.project or ["acme-notebooks=123456789012",
                                          "other-project=999999999999"]
    cloud = Cloud(options)
    server = Server((options.host, options.port), cloud)
    cloud.paths = cloud.write_credentials(server.url)
    for name in options.bucket:
        cloud.store.add_bucket(name, cloud.home, cloud.number)
    cloud.jobs.rules += map(order, options.rule)
    return cloud, server


def main():
    options = parser().parse_args()
    cloud, server = make(options)
    print("port", server.port, flush=True)
    print(json.dumps({"url": server.url, "credentials": cloud.paths}), flush=True)
    if options.stdin:
        def watch():
            while sys.stdin.buffer.read(4096):
                pass
            server.shutdown()
        threading.Thread(target=watch, daemon=True).start()
    try:
        server.serve_forever(poll_interval=0.05)
    except KeyboardInterrupt:
        pass
    cloud.close()


if __name__ == "__main__":
    main()
