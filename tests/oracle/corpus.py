# SPDX-License-Identifier: Apache-2.0
"""Real notebooks: those that the packages of packages.txt ship.

They are downloaded once, by pip, into a folder that stays; what pip gets must have the hashes
that packages.txt names.  Nothing of them is run or installed, but pip runs their build systems
to learn their names.
"""
import concurrent.futures
import os
import subprocess
import sys
import tarfile
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGES = os.path.join(HERE, "packages.txt")


class NoCorpus(Exception):
    """The packages are not there and cannot be had; says why."""


def names():
    with open(PACKAGES, encoding="utf-8") as f:
        return [line.split()[0] for line in f if line.strip() and not line.startswith("#")]


def archive(folder, name):
    return os.path.join(folder, name.replace("==", "-") + ".tar.gz")


def run(argv, **kwargs):
    done = subprocess.run(argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, **kwargs)
    if done.returncode != 0:
        raise NoCorpus("cannot download the notebooks of tests/oracle/packages.txt from the Python "
                       f"package index: {' '.join(argv)}\n{done.stdout[-2000:]}")


def fetch_one(python, folder, line):
    name = line.split()[0]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        listed = os.path.join(scratch, "wanted.txt")
        with open(listed, "w", encoding="utf-8") as f:
            f.write(line)
        began = time.monotonic()
        # the source of this package only: its build system may come as wheels
        run([python, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
             "--no-binary", name.split("==")[0], "--dest", scratch, "--requirement", listed],
            timeout=300)
        os.rename(archive(scratch, name), archive(folder, name))
    print(f"# {name} in {time.monotonic() - began:.0f} s", flush=True)


def fetch(folder):
    """Make sure that all packages are in folder."""
    os.makedirs(folder, exist_ok=True)
    with open(PACKAGES, encoding="utf-8") as f:
        missing = [line for line in f if line.strip() and not line.startswith("#")
                   and not os.path.exists(archive(folder, line.split()[0]))]
    if not missing:
        return
    print(f"# downloading {len(missing)} packages into {folder}, once", flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        run([sys.executable, "-m", "venv", scratch])
        python = os.path.join(scratch, "bin/python")
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda line: fetch_one(python, folder, line), missing))


def notebooks(folder):
    """(name, bytes) of each notebook, in an order that never changes."""
    fetch(folder)
    for package in sorted(names()):
        with tarfile.open(archive(folder, package)) as tar:
            members = [m for m in tar if m.isfile() and m.name.endswith(".ipynb")]
            for member in sorted(members, key=lambda m: m.name):
                yield member.name, tar.extractfile(member).read()
