#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""environment.py [--directory DIR] [SCRIPT [ARGUMENT...]]

Makes the virtual environment with Google's own Python packages, when it is not there, and runs
SCRIPT with its interpreter.  Unless given, DIR is one in build/ of the source tree for each
requirements and interpreter, as another's may be in use.  This needs the Python package index,
once; nothing else here needs it.

Exit status: that of SCRIPT; when the packages cannot be had 77 (skipped), in CI 1.
"""
import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys

SKIP = 77
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
REQUIREMENTS = os.path.join(HERE, "requirements.txt")
INSTALL_SECONDS = 600


def wanted():
    """What the environment is made of, as one word."""
    with open(REQUIREMENTS, "rb") as f:
        return hashlib.sha256(f.read() + sys.version.encode()).hexdigest()


def made_of(directory):
    try:
        with open(os.path.join(directory, "made-of"), encoding="ascii") as f:
            return f.read()
    except OSError:
        return None


def make(directory):
    """None, or what went wrong."""
    shutil.rmtree(directory, ignore_errors=True)
    pip = [os.path.join(directory, "bin", "python"), "-m", "pip", "install", "--quiet",
           "--disable-pip-version-check", "--retries", "1", "--only-binary", ":all:",
           "--requirement", REQUIREMENTS]
    try:
        for command in ([sys.executable, "-m", "venv", directory], pip):
            subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           check=True, timeout=INSTALL_SECONDS)
    except subprocess.CalledProcessError as e:
        return "\n".join(e.stdout.strip().splitlines()[-5:])
    except (OSError, subprocess.TimeoutExpired) as e:
        return str(e)
    with open(os.path.join(directory, "made-of"), "w", encoding="ascii") as f:
        f.write(wanted())
    return None


def ensure(directory):
    """None, or what went wrong.  Builds that run at the same time wait for each other."""
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    with open(directory + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return None if made_of(directory) == wanted() else make(directory)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[1])
    p.add_argument("--directory",
                   default=os.path.join(ROOT, "build", f"google-venv-{wanted()[:12]}"))
    p.add_argument("script", nargs=argparse.REMAINDER)
    options = p.parse_args()
    directory = os.path.abspath(options.directory)
    problem = ensure(directory)
    if problem:
        print(f"environment.py: no environment in {directory}: pip could not install what\n"
              f"{REQUIREMENTS} lists.  It takes these packages from the Python package index;\n"
              "when that is reached through a proxy or a mirror, PIP_INDEX_URL or pip.conf says "
              f"so.\npip said:\n{problem}", file=sys.stderr)
        return 1 if os.environ.get("CI") else SKIP
    python = os.path.join(directory, "bin", "python")
    if options.script:
        os.execv(python, [python, *options.script])
    print(python)
    return 0


if __name__ == "__main__":
    sys.exit(main())
