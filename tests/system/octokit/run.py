#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GitHub's example payloads, signed by GitHub's library, through our reader.

sign.mjs (node) makes the deliveries, forge-verify (C) says what it makes of
each, and this compares that with what Python reads out of the same bytes.  TAP
on stdout.  Needs npm, and its registry the first time in a build directory.
"""

import argparse
import base64
import json
import shutil
import subprocess
import sys
import urllib.parse
from pathlib import Path

SECRET = "It's a Secret to Everybody"
SOURCES = ("package.json", "package-lock.json", "sign.mjs")


def bail(why):
    print(f"Bail out! {why}")
    sys.exit(1)


def install(source, work):
    """Copy the sources to work and let npm put the locked packages there."""
    for program in ("npm", "node"):
        if not shutil.which(program):
            bail(f"{program} is not installed")
    work.mkdir(parents=True, exist_ok=True)
    lock = (source / "package-lock.json").read_bytes()
    stamp = work / "node_modules" / ".installed-lock.json"  # goes when the packages go
    for name in SOURCES:
        shutil.copyfile(source / name, work / name)
    if stamp.exists() and stamp.read_bytes() == lock:
        return
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(npm, cwd=work, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=240)
    if done.returncode != 0:
        bail("npm ci failed: " + " ".join((done.stdout + done.stderr).split())[:500])
    stamp.write_bytes(lock)


def deliveries(work):
    done = subprocess.run(["node", "sign.mjs", SECRET], cwd=work, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, timeout=120)
    if done.returncode != 0:
        bail("sign.mjs failed")
    made = [json.loads(line) for line in done.stdout.splitlines()]
    for d in made:
        d["body"] = base64.b64decode(d["body"])
    return made


def verdicts(program, made):
    """One record and one answer line for each delivery; see forge-verify.c."""
    records = bytearray()
    for d in made:
        head = "".join(f"{k}: {v}\n" for k, v in d["headers"].items()).encode()
        records += b"%d %d\n" % (len(head), len(d["body"])) + head + d["body"]
    done = subprocess.run([program, "github", SECRET], input=bytes(records),
                          stdout=subprocess.PIPE, timeout=120)
    if done.returncode != 0:
        bail(f"{program} ended with {done.returncode}")
    return [line.split("\t") for line in done.stdout.decode().splitlines()]


def expected(d):
    if d["name"].endswith(("wrong secret", "changed body")):
        return ["denied"]
    if d["event"] == "ping":
        return ["ignored", "ping"]
    if d["event"] != "push":
        return ["ignored", f'event "{d["event"]}" starts no build']
    text = d["body"].decode()
    if "form" in d["headers"]["Content-Type"]:
        text = urllib.parse.parse_qs(text)["payload"][0]
    push = json.loads(text)
    kind = "branch" if push["ref"].startswith("refs/heads/") else "tag"
    if not push["after"].strip("0"):
        return ["ignored", f"{kind} deleted"]
    before = push["before"] if push["before"].strip("0") else ""
    return ["event", kind, push["repository"]["full_name"], push["ref"], before, push["after"],
            d["headers"]["X-GitHub-Delivery"]]


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--verify", required=True, help="the program forge-verify")
    args.add_argument("--work", required=True, type=Path, help="directory for npm")
    args = args.parse_args()

    install(Path(__file__).resolve().parent, args.work)
    made = deliveries(args.work)
    said = verdicts(args.verify, made)
    failed = 0
    seen = set()
    for i, d in enumerate(made):
        want = expected(d)
        got = said[i] if i < len(said) else ["nothing"]
        good = got[:len(want)] == want
        failed += not good
        seen.add((d["event"], want[0]))
        print(f"{'ok' if good else 'not ok'} {i + 1} {d['name']}: {got[0]}")
        if not good:
            print(f"# wanted {want}, got {got}")
    n = len(made)
    # An empty or halved package must not pass for a good one.
    whole = {("push", "event"), ("push", "ignored"), ("push", "denied"), ("ping", "ignored")}
    good = whole <= seen and len(said) == n
    failed += not good
    print(f"{'ok' if good else 'not ok'} {n + 1} the examples have pushes, deletions and pings")
    print(f"1..{n + 1}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
