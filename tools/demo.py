#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job of nbcid, for real, on this machine; called by tools/demo.

A git repository served over HTTP and a local stand-in for GitHub's status API play the forge.
`nbcid serve` gets a signed webhook for a push, fetches the commit, refuses the notebook that
cannot run, runs the others in real kernels, two of them in environments of their own with two
versions of one package (from the package index that pip is set up for), and tells the forge.
Everything lives in one temporary directory, which stays; every process that is started here
ends here.
"""
import argparse
import hashlib
import hmac
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

from demo_screen import SCREEN

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FAKES = os.path.join(ROOT, "tests", "fakes")
REPOSITORY = "acme/notebooks"
START_SECONDS, BUILD_SECONDS, NOTES_SECONDS, STOP_SECONDS = 20, 600, 30, 15
POLL_SECONDS = 0.15
LOG_LINES = 40
WHY_CHARS = 72
FINAL_BUILD = {"passed", "failed", "errored", "cancelled"}
FINAL_JOB = FINAL_BUILD | {"timed_out", "skipped"}

# Two notebooks that cannot live in one environment; each prints which version it got.
PACKAGE, OLD, NEW = "tabulate", "0.8.10", "0.9.0"
PRINT_VERSION = [("code", f"import {PACKAGE}\nprint({PACKAGE}.__version__)")]
PINNED = {"pinned/old.ipynb": OLD, "pinned/new.ipynb": NEW}
# One names its packages in its own metadata, the other leaves it to the file beside it.
METADATA = {"pinned/old.ipynb": {"requirements": [f"{PACKAGE}=={OLD}"]}}
FILES = {"pinned/requirements.txt": f"{PACKAGE}=={NEW}\n"}

# The notebooks of the demo's commit: path -> (expected verdict, error that must be named, cells).
NOTEBOOKS = {
    "pinned/new.ipynb": ("passed", None, PRINT_VERSION),
    "pinned/old.ipynb": ("passed", None, PRINT_VERSION),
    "analysis/clean.ipynb": ("passed", None, [
        ("markdown", "# Clean the readings"),
        ("code", "import numpy as np\nrng = np.random.default_rng(7)\n"
                 "readings = rng.normal(20, 3, 1000)"),
        ("code", "good = readings[np.abs(readings - 20) < 9]\nprint(len(good), 'of 1000 kept')"),
        ("code", "assert 15 < good.mean() < 25")]),
    "analysis/plot.ipynb": ("passed", None, [
        ("code", "%matplotlib inline\nimport numpy as np\nimport matplotlib.pyplot as plt"),
        ("code", "x = np.linspace(0, 10, 200)\nplt.plot(x, np.exp(-x / 4) * np.cos(3 * x))\n"
                 "plt.title('A plot, drawn by CI')\nplt.show()")]),
    "train/shapes.ipynb": ("failed", "ValueError", [
        ("code", "import numpy as np"),
        ("code", "weights = np.ones(3)\ninputs = np.ones(4)"),
        ("code", "weights + inputs"),
        ("code", "print('never printed')")]),
    "train/typo.ipynb": ("failed", "SyntaxError", [
        ("code", "epochs = 3"),
        ("code", "for epoch in range(epochs)\n    print(epoch)")]),
}
UNTOUCHED = "archive/untouched.ipynb"


class Trouble(Exception):
    """What did not happen as expected, in words for people."""


# ---- processes ----

class Processes:
    """Everything that was started here, ended in the reverse order whatever happens."""

    def __init__(self, directory):
        self.directory, self.all = directory, []

    def start(self, name, argv, **kwargs):
        """A child in a session of its own, so that Ctrl-C reaches us alone, and which does not
        outlive us even if we are killed."""
        process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *argv],
                                   start_new_session=True, stderr=self.open_log(name), **kwargs)
        self.all.append((name, process))
        return process

    def open_log(self, name):
        return open(os.path.join(self.directory, name + ".log"), "ab")

    def start_server(self, name, argv):
        """One of tests/fakes: it prints its port; the process ends with our end of its stdin."""
        process = self.start(name, [sys.executable, "-B", *argv, "--stdin"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = process.stdout.readline().decode()
        if not line.startswith("port "):
            raise Trouble(f"{name} did not start; see {self.directory}/{name}.log")
        return int(line.split()[1])

    def stop(self):
        for name, process in reversed(self.all):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                SCREEN.say(f"  {name} (pid {process.pid}) did not end in time; killed")
                process.kill()
                process.wait()
        self.all = []
        self.stop_left()

    def stop_left(self):
        """Runs that the daemon left for its next start name our directory; there is none."""
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as f:
                    if os.fsencode(self.directory) in f.read():
                        os.kill(int(entry), signal.SIGKILL)
            except OSError:
                pass  # gone, or not ours


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def http(method, url, body=None, headers=None):
    """(status, bytes).  No proxy: everything is on this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with opener.open(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


def http_json(method, url, headers=None):
    status, body = http(method, url, None, headers)
    if status != 200:
        raise Trouble(f"{method} {url} answered {status}: {body[:300].decode(errors='replace')}")
    return json.loads(body)


# ---- the repository ----

def write_notebook(path, cells, metadata):
    document = {
        "cells": [], "nbformat": 4, "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3",
                                    "language": "python"}, **metadata}}
    for number, (kind, text) in enumerate(cells):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {},
                "source": text.splitlines(keepends=True)}
        if kind == "code":
            cell.update(execution_count=None, outputs=[])
        document["cells"].append(cell)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(document, f, indent=1)
        f.write("\n")


class Repository:
    """A bare repository below root, as a forge has it, and a work tree that pushes to it."""

    def __init__(self, directory):
        self.root = os.path.join(directory, "git")
        self.bare = os.path.join(self.root, REPOSITORY + ".git")
        self.work = os.path.join(directory, "work")
        self.git(None, "init", "--quiet", "--bare", "--initial-branch=main", self.bare)
        self.git(None, "init", "--quiet", "--initial-branch=main", self.work)
        self.git(self.work, "remote", "add", "origin", self.bare)

    @staticmethod
    def git(where, *args):
        env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
               "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org",
               "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.org"}
        for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
            env.pop(name, None)
        done = subprocess.run(["git", *(["-C", where] if where else []), *args], env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        if done.returncode:
            raise Trouble(f"git {' '.join(args)}: {done.stdout.strip()}")
        return done.stdout.strip()

    def push(self, message, notebooks, files):
        """Commit the notebooks and other files and push; the commit."""
        for path, cells in notebooks.items():
            write_notebook(os.path.join(self.work, path), cells, METADATA.get(path, {}))
        for path, text in files.items():
            with open(os.path.join(self.work, path), "w", encoding="utf-8") as f:
                f.write(text)
        self.git(self.work, "add", "--all")
        self.git(self.work, "commit", "--quiet", "-m", message)
        self.git(self.work, "push", "--quiet", "origin", "main")
        return self.git(self.work, "rev-parse", "HEAD")


# ---- the daemon ----

CONFIG = """\
[server]
listen = "127.0.0.1:{port}"
public_url = "http://127.0.0.1:{port}"
state_dir = "{directory}/state"

[auth]
operator_token_file = "{directory}/operator-token"

[[forge]]
name = "github"
kind = "github"
api_url = "http://127.0.0.1:{api_port}"
clone_base = "http://127.0.0.1:{git_port}"
webhook_secret_file = "{directory}/webhook-secret"
token_file = "{directory}/github-token"

[[repository]]
forge = "github"
name = "acme/*"

[[executor]]
name = "local"
kind = "local"
slots = 2
python = "/usr/bin/python3"
"""


class Demo:
    def __init__(self, options):
        self.options = options
        self.directory = tempfile.mkdtemp(prefix="nbcid-demo-")
        self.processes = Processes(self.directory)
        self.secrets = {name: secrets.token_hex(20)
                        for name in ("webhook-secret", "github-token", "operator-token")}
        self.url = self.api_url = None
        self.builds = []

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w",
                  encoding="utf-8") as f:
            f.write(text)
        return path

    def start_forge(self):
        git_port = self.processes.start_server(
            "git", [os.path.join(FAKES, "git_http_server.py"), "--root", self.repository.root])
        api_port = self.processes.start_server(
            "github-api", [os.path.join(FAKES, "github_api.py"), "--token",
                           self.secrets["github-token"], "--repo",
                           f"{REPOSITORY}={self.repository.bare}", "--record",
                           os.path.join(self.directory, "statuses.jsonl")])
        self.api_url = f"http://127.0.0.1:{api_port}"
        SCREEN.fact("Forge", f"git on port {git_port}, status API on port {api_port} "
                             "(stand-ins for GitHub)")
        return git_port, api_port

    def start_daemon(self, git_port, api_port):
        """A port that is free now may be taken in a moment: then try another."""
        for name, value in self.secrets.items():
            self.write(name, value + "\n")
        for _ in range(1 if self.options.port else 3):
            port = self.options.port or free_port()
            config = self.write("config.toml", CONFIG.format(
                port=port, directory=self.directory, git_port=git_port, api_port=api_port))
            self.url = f"http://127.0.0.1:{port}"
            with self.processes.open_log("nbcid") as log:
                process = self.processes.start(
                    "nbcid", [self.options.nbcid, "serve", "--config", config], stdout=log,
                    stdin=subprocess.DEVNULL)
            if self.wait_ready(process):
                SCREEN.fact("Daemon", f"nbcid serve at {self.url} (pid {process.pid})")
                return
        raise Trouble(f"nbcid serve ended at once (exit status {process.returncode})")

    def wait_ready(self, process):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return False
            try:
                if http("GET", self.url + "/readyz")[0] == 200:
                    return True
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.05)
        raise Trouble(f"nbcid serve was not ready after {START_SECONDS} s")

    def deliver(self, before, after):
        """The webhook of a push, signed as GitHub signs."""
        payload = json.dumps({
            "ref": "refs/heads/main", "before": before, "after": after, "created": False,
            "deleted": False, "forced": False,
            "repository": {"id": 1, "full_name": REPOSITORY, "default_branch": "main",
                           "private": False,
                           "clone_url": f"https://github.com/{REPOSITORY}.git"},
            "head_commit": {"id": after, "message": "Add analysis and training"},
            "commits": [], "pusher": {"name": "ada"}, "sender": {"login": "ada"}}).encode()
        digest = hmac.new(self.secrets["webhook-secret"].encode(), payload, hashlib.sha256)
        start = time.monotonic()
        status, body = http("POST", self.url + "/hooks/github", payload, {
            "Content-Type": "application/json", "X-GitHub-Event": "push",
            "X-GitHub-Delivery": str(uuid.uuid4()),
            "X-Hub-Signature-256": "sha256=" + digest.hexdigest(),
            "User-Agent": "GitHub-Hookshot/demo"})
        text = body.decode(errors="replace").strip()
        if status != 202:
            raise Trouble(f"the webhook was answered {status}: {text}")
        SCREEN.fact("Webhook", f"answered {status} {text} after "
                               f"{(time.monotonic() - start) * 1000:.0f} ms")
        self.builds.append(json.loads(body)["build"])
        return self.builds[-1]

    def build(self, number):
        return http_json("GET", f"{self.url}/api/v1/builds/{number}")

    def whole(self, build):
        """The build with all that is known of each job."""
        jobs = [http_json("GET", f"{self.url}/api/v1/jobs/{job['id']}") for job in build["jobs"]]
        return {**build, "jobs": jobs}

    def watch(self, number):
        """Show the build until it has ended; the build."""
        start, seen = time.monotonic(), {}
        while True:
            build = self.build(number)
            passed = time.monotonic() - start
            for job in sorted(build["jobs"], key=lambda job: job["notebook"]):
                if seen.get(job["id"]) != job["state"]:
                    seen[job["id"]] = job["state"]
                    if job["state"] == "running" or job["state"] in FINAL_JOB:
                        state = SCREEN.paint(f"{job['state']:<9}", job["state"])
                        SCREEN.say(f"  {passed:6.1f} s  {state} {job['notebook']}")
            if build["state"] in FINAL_BUILD:
                return build
            if passed > BUILD_SECONDS:
                raise Trouble(f"build {number} is still {build['state']} after {BUILD_SECONDS} s")
            SCREEN.live(f"  {passed:6.1f} s  " + (", ".join(
                f"{os.path.basename(job['notebook'])} {job['cells_done'] or 0}/{job['cells']}"
                for job in build["jobs"] if job["state"] == "running" and job["cells"])
                or build["state"]))
            time.sleep(POLL_SECONDS)

    def statuses(self, after):
        """What the forge was told, once it was told how everything ended."""
        deadline = time.monotonic() + NOTES_SECONDS
        contexts = {"nbcid"} | {"nbcid/" + path for path in NOTEBOOKS}
        while True:
            told = http_json("GET", self.api_url + "/recorded")
            last = {entry["context"]: entry for entry in told if entry["sha"] == after}
            if contexts <= set(last) and all(last[c]["state"] != "pending" for c in contexts):
                return told
            if time.monotonic() > deadline:
                missing = [c for c in sorted(contexts)
                           if c not in last or last[c]["state"] == "pending"]
                refused = http_json("GET", self.api_url + "/refused")
                raise Trouble(f"the forge was not told the end of {', '.join(missing)}"
                              + (f"; it refused {json.dumps(refused[0])}" if refused else ""))
            SCREEN.live("  waiting for the last commit status ...")
            time.sleep(POLL_SECONDS)

    def environments(self, build):
        """job id -> what it ran in, of those that ran."""
        return {job["id"]: http_json("GET", f"{self.url}/api/v1/jobs/{job['id']}/environment")
                for job in build["jobs"] if job["started_at"]}

    def save_notebooks(self, build):
        for job in build["jobs"]:
            status, body = http("GET", f"{self.url}/api/v1/jobs/{job['id']}/notebook")
            if status == 200:
                path = os.path.join(self.directory, "executed", job["notebook"])
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as f:
                    f.write(body)

    @staticmethod
    def show_environments(build, ran_in):
        SCREEN.heading("Environments, and why")
        SCREEN.table(
            ["NOTEBOOK", "PYTHON", PACKAGE.upper(), "PACKAGES", "BUILT", "TAKEN FROM"],
            [[job["notebook"], found.get("version") or "", packages.get(PACKAGE, ""),
              str(len(packages)), "now" if found.get("built") else "",
              ran_in[job["id"]]["requested"].get("why") or ""]
             for job in sorted(build["jobs"], key=lambda job: job["notebook"])
             if job["id"] in ran_in
             for found in [ran_in[job["id"]]["found"] or {}]
             for packages in [found.get("packages") or {}]], 4)

    @staticmethod
    def show_findings(build):
        SCREEN.heading("Refused or warned of before anything ran")
        for job in build["jobs"]:
            for finding in job["findings"]:
                SCREEN.say(f"  {SCREEN.paint(finding['severity'], 'failed')} {job['notebook']}:"
                           f"{finding.get('line', '')}:{finding.get('column', '')}: cell "
                           f"{finding.get('cell', '')} line {finding.get('cell_line', '')}: "
                           f"{finding['message']}")
                if finding.get("text"):
                    SCREEN.say(f"      {finding['text']}")
                    SCREEN.say("      " + " " * (finding.get("cell_column", 1) - 1) + "^")

    def show(self, build, told):
        self.show_findings(build)
        SCREEN.heading("Notebooks")
        SCREEN.table(
            ["NOTEBOOK", "VERDICT", "CELL", "TIME", "WHY"],
            [[job["notebook"], job["state"], str(job["cell"] or ""),
              "" if job["seconds"] is None else f"{job['seconds']:.1f} s", why(job)]
             for job in sorted(build["jobs"], key=lambda job: job["notebook"])], 1)
        SCREEN.heading("Commit statuses that the forge received, in order")
        SCREEN.table(
            ["STATE", "CONTEXT", "DESCRIPTION"],
            [[entry["state"], entry["context"], entry["description"] or ""] for entry in told], 0)

    def check(self, build, told, after):
        """Did it all happen as it should?  A list of what did not."""
        wrong = []
        jobs = {job["notebook"]: job for job in build["jobs"]}
        last = {entry["context"]: entry["state"] for entry in told}
        if set(jobs) != set(NOTEBOOKS):
            wrong.append(f"ran {sorted(jobs)} instead of {sorted(NOTEBOOKS)}")
        for path, (verdict, error, _) in NOTEBOOKS.items():
            job = jobs.get(path)
            if job is None:
                continue
            if job["state"] != verdict:
                wrong.append(f"{path} is {job['state']}, not {verdict}: {why(job)}")
            if error and error not in f"{job['ename']} {job['reason']}":
                wrong.append(f"{path}: {error} is not named: {why(job)}")
            want = "success" if verdict == "passed" else "failure"
            if last.get("nbcid/" + path) != want:
                wrong.append(f"the forge has {last.get('nbcid/' + path)} for {path}, not {want}")
        if build["state"] != "failed" or last.get("nbcid") != "failure":
            wrong.append(f"the build is {build['state']}, the forge has {last.get('nbcid')}")
        if any(entry["sha"] != after for entry in told):
            wrong.append("a status is on another commit")
        plot = os.path.join(self.directory, "executed", "analysis/plot.ipynb")
        if not os.path.exists(plot) or b"image/png" not in open(plot, "rb").read():
            wrong.append("the executed analysis/plot.ipynb has no picture")
        return wrong

    def check_environments(self, build, ran_in):
        wrong = []
        for job in build["jobs"]:
            wanted = PINNED.get(job["notebook"])
            if job["notebook"] == "train/typo.ipynb" and (job["class"] != "check"
                                                          or job["attempts"]):
                wrong.append(f"{job['notebook']} was run, and not refused: {why(job)}")
            if wanted is None or job["state"] != "passed":
                continue
            found = ran_in[job["id"]]["found"] or {}
            if (found.get("packages") or {}).get(PACKAGE) != wanted:
                wrong.append(f"{job['notebook']} did not run with {PACKAGE} {wanted}")
            with open(os.path.join(self.directory, "executed", job["notebook"]), "rb") as f:
                if wanted.encode() not in f.read():
                    wrong.append(f"{job['notebook']} did not print {wanted}")
        if any(job["class"] == "infrastructure" for job in build["jobs"]):
            wrong.append("a package index is needed: pip must be able to install packages on this "
                         "machine (try: python3 -m venv /tmp/v && /tmp/v/bin/pip install "
                         f"{PACKAGE})")
        return wrong

    def run(self):
        SCREEN.say()
        SCREEN.say(SCREEN.paint("nbcid: notebooks that run when they are pushed", "bold"))
        SCREEN.say()
        SCREEN.fact("Files", self.directory)
        self.repository = Repository(self.directory)
        self.start_daemon(*self.start_forge())
        before = self.repository.push("Begin", {UNTOUCHED: [("code", "1 + 1")]}, {})
        after = self.repository.push(
            "Add analysis and training", {path: cells for path, (_, _, cells) in NOTEBOOKS.items()},
            FILES)
        SCREEN.fact("Push", f"{REPOSITORY} main {before[:8]}..{after[:8]}: {len(NOTEBOOKS)} "
                            f"notebooks changed, {UNTOUCHED} did not")
        number = self.deliver(before, after)
        SCREEN.fact("Page", f"{self.url}/builds/{number}")
        SCREEN.heading("Running")
        build = self.whole(self.watch(number))
        told = self.statuses(after)
        self.save_notebooks(build)
        ran_in = self.environments(build)
        self.show(build, told)
        self.show_environments(build, ran_in)
        SCREEN.heading("To look at")
        SCREEN.fact("Executed", os.path.join(self.directory, "executed"))
        SCREEN.fact("Log", os.path.join(self.directory, "nbcid.log"))
        wrong = self.check(build, told, after) + self.check_environments(build, ran_in)
        if wrong:
            raise Trouble("not as expected:\n    " + "\n    ".join(wrong))

    def stay(self):
        SCREEN.heading("Still running")
        SCREEN.fact("Page", f"{self.url}/")
        SCREEN.fact("Token", f"{self.directory}/operator-token, for API calls that change things")
        SCREEN.say("  Ctrl-C ends it.")
        while True:
            for name, process in self.processes.all:
                if process.poll() is not None:
                    raise Trouble(f"{name} ended (exit status {process.returncode})")
            time.sleep(0.5)

    def cancel(self):
        """End runs in hand through the front door."""
        try:
            for number in self.builds:
                if self.build(number)["state"] in FINAL_BUILD:
                    continue
                SCREEN.say(f"  cancelling build {number} ...")
                http("POST", f"{self.url}/api/v1/builds/{number}/cancel", b"",
                     {"Authorization": "Bearer " + self.secrets["operator-token"]})
                deadline = time.monotonic() + STOP_SECONDS
                while time.monotonic() < deadline and \
                        self.build(number)["state"] not in FINAL_BUILD:
                    time.sleep(POLL_SECONDS)
        except (Trouble, OSError, ValueError, KeyError):
            pass  # the daemon is gone or unwell; stop() is not asked nicely

    def show_log(self):
        path = os.path.join(self.directory, "nbcid.log")
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                lines = f.read().splitlines()[-LOG_LINES:]
        except OSError:
            return
        SCREEN.heading(f"The end of {path}")
        for line in lines:
            SCREEN.say("  " + line)


def why(job):
    if job["state"] == "passed":
        return ""
    error = ": ".join(text for text in (job["ename"], job["evalue"]) if text)
    text = error or job["reason"] or ""
    return text if len(text) <= WHY_CHARS else text[:WHY_CHARS - 3] + "..."


def main():
    p = argparse.ArgumentParser(prog="tools/demo", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--keep", action="store_true", help="stay up until Ctrl-C, to look around")
    p.add_argument("--port", type=int, default=0, help="of nbcid's page (default: a free one)")
    p.add_argument("--nbcid", default="build/demo/daemon/nbcid", help=argparse.SUPPRESS)
    options = p.parse_args()
    options.nbcid = os.path.abspath(options.nbcid)

    def end(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    demo = Demo(options)
    status = 1
    try:
        demo.run()
        status = 0
        SCREEN.say()
        SCREEN.say(SCREEN.paint("Everything happened as expected.", "passed"))
        if options.keep:
            demo.stay()
    except KeyboardInterrupt:
        SCREEN.say()
        SCREEN.say("Stopping.")
        status = status and 130
    except (Trouble, OSError, ValueError, KeyError) as e:
        status = 1
        SCREEN.heading("The demo failed")
        SCREEN.say(f"  {e}" if isinstance(e, Trouble) else f"  {type(e).__name__}: {e}")
        demo.show_log()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        demo.cancel()
        demo.processes.stop()
    SCREEN.say(f"All files are in {demo.directory}; rm -r it when you are done.")
    return status


if __name__ == "__main__":
    sys.exit(main())
