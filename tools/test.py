#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build nbcid in every way that counts and run all suites; called by tools/test.

Phases, fastest first:
    lint      layers, formatting, words, scripts, migrations, the stand-ins for forges
    gcc       gcc, warnings are errors, as it is shipped: all suites but google
    google    the same build, beside the stand-in for Google Cloud; its stories wait most of the
              time, so they run behind the phases that follow, until valgrind
    clang     clang, warnings are errors: unit, fuzz, flow, web
    asan      clang, AddressSanitizer and UBSan: unit, fuzz, flow, web, system, and some of google
    tsan      clang, ThreadSanitizer: what has threads
    valgrind  unit, fuzz and web under valgrind; the daemon too where valgrind is new enough
    tidy      clang-tidy
    tree      git status: nothing was left behind

The last line is "N passed, N failed", the exit status 1 when something failed.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CLANG = {"CC": "clang", "CXX": "clang++"}
# clang's own name for "undefined symbols are the sanitizer's", and less time to compile.
SANITIZED = ["-Db_lundef=false", "-Doptimization=1", "-Ddebug=true"]
SKIPPED = 77  # the exit status of what cannot run here, for meson and for us
# Tests of the rooms that have or meet threads, and whole suites that have.
THREADED_TESTS = re.compile(r"loop|pool|httpc|store|git|log|exec")
THREADED_SUITES = {"flow", "web"}
THREADED_PROGRAMS = {"check"}  # of the suite "system"
SANITIZER_ENV = {
    "ASAN_OPTIONS": "halt_on_error=1:abort_on_error=1:detect_leaks=1:"
                    "detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:second_deadlock_stack=1",
}
VALGRIND = ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full",
            "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite", "--num-callers=30",
            "--suppressions=" + os.path.join(ROOT, "tests/valgrind.supp")]
# Debian 12's valgrind does not know two system calls that these cannot do without.
VALGRIND_OPENAT2 = (3, 24)
NEEDS_OPENAT2 = re.compile(
    r"^base-fs$|^web-routes$|loop|^test-git(-checkout|-http|-ssh|-support)?$|exec|runner|local|"
    r"^test-env$|^test-syntax$")
# Sweeps over millions of numbers, which take minutes; deadlines too near for a slow machine;
# a failing exec, of which its vfork() does not tell; a look at all of a block that is freed.
NOT_UNDER_VALGRIND = {"base-json-out", "base-num", "test-httpc", "base-spawn",
                      "base-json-secret"}
# Minutes of kernels, units, payloads and Python, which gcc's build has seen; no more of our C.
ONCE = {"runner", "runner-limits", "environment", "environment-kinds", "environment-podman",
        "system-environments", "units", "units-boot", "octokit", "oracle-format", "oracle-syntax",
        "requirements-as-pip-reads-them", "env", "parameters"}
# Stories of the daemon's whole life that end with its exit status.
SCENARIOS = [("test_main_job.py", "the_main_job"), ("test_life.py", "drain_waits_for_jobs")]
# The same with jobs on Vertex AI; the suite "google" has all, without sanitizers.
FAR_SCENARIOS = ["the_main_job", "trouble_on_the_way", "no_machine_tries_the_next",
                 "killed_while_it_runs"]


class Tally:
    def __init__(self):
        self.passed = self.skipped = 0
        self.failed = []  # names

    def add(self, name, ok):
        if ok:
            self.passed += 1
        else:
            self.failed.append(name)


TALLY = Tally()


def run(argv, env=None, **kwargs):
    return subprocess.run(argv, cwd=ROOT, env={**os.environ, **(env or {})}, check=False, **kwargs)


def configure(phase, env=None, options=()):
    """The phase's build directory, made if it is not there."""
    build = f"build/{phase}"
    if not os.path.exists(os.path.join(ROOT, build, "build.ninja")):
        done = run(["meson", "setup", build, "--werror", *options], env, stdout=subprocess.PIPE,
                   stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            print(done.stdout)
            TALLY.add(f"{phase}: meson setup", False)
            return None
    return build


def compile_all(phase, build):
    """Quiet when all is well: the log of a build that works is of no use."""
    done = run(["ninja", "-C", build, "-j", str(JOBS), "-k", "20"], stdout=subprocess.PIPE,
               stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if not line.startswith("[")]
        first = next((i for i, line in enumerate(lines) if line.startswith("FAILED")), 0)
        print("\n".join(lines[first:first + 200]))
        TALLY.add(f"{phase}: build", False)
    return done.returncode == 0


def count(phase, path):
    """Add the results that meson wrote for this phase."""
    counted = 0
    try:
        with open(path, encoding="utf-8") as f:
            results = [json.loads(line) for line in f if line.strip()]
    except OSError:
        results = []
    for result in results:
        counted += 1
        if result["result"] == "SKIP":
            TALLY.skipped += 1
        else:
            TALLY.add(f"{phase}: {result['name']}", result["result"] in ("OK", "EXPECTEDFAIL"))
    return counted


def results_of(phase, build, suffix=""):
    """Where meson will write the results; none are there yet."""
    path = os.path.join(ROOT, build, "meson-logs", f"{phase}{suffix}.json")
    if os.path.exists(path):
        os.unlink(path)
    return path


def tested(phase, path, status):
    counted = count(phase, path)
    if counted == 0 or (status and not any(name.startswith(phase + ":") for name in TALLY.failed)):
        TALLY.add(f"{phase}: meson test", False)


def meson_test_words(phase, build, jobs, *args):
    return ["meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs", "--logbase", phase,
            "--num-processes", str(jobs), *args]


def meson_test(phase, build, args, env=None, slower=1, jobs=0):
    # With --wrap, meson adds the wrapper's name.
    path = results_of(phase, build, "-valgrind" if "--wrap" in args else "")
    done = run(meson_test_words(phase, build, jobs or JOBS, "-t", str(slower), *args), env)
    tested(phase, path, done.returncode)


class Behind:
    """A phase that runs behind others."""

    def __init__(self):
        self.process = None

    def begin(self, phase, build, args):
        self.phase, self.path = phase, results_of(phase, build)
        self.start = time.monotonic()
        self.out = tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(meson_test_words(phase, build, 3 * JOBS, *args), cwd=ROOT,
                                        stdout=self.out, stderr=subprocess.STDOUT)

    def end(self):
        if not self.process:
            return
        print(f"=== {self.phase}, which ran behind", flush=True)
        failures, status = len(TALLY.failed), self.process.wait()
        self.process = None
        self.out.seek(0)
        print(self.out.read())
        tested(self.phase, self.path, status)
        verdict = "failed" if len(TALLY.failed) > failures else "fine"
        print(f"=== {self.phase}: {verdict}, {time.monotonic() - self.start:.0f} s\n", flush=True)


GOOGLE = Behind()


def tests_of(build):
    """(name, suites) of each test; meson says suites as "nbcid:unit"."""
    out = run(["meson", "introspect", "--tests", build], stdout=subprocess.PIPE, text=True).stdout
    return [(test["name"], {suite.split(":")[-1] for suite in test["suite"]})
            for test in json.loads(out)]


def suites(names):
    return [arg for name in names for arg in ("--suite", name)]


def scenarios(phase, build, slow, args=(), env=()):
    """The daemon itself, watched by what exits with another status than 0 when it complains."""
    for script, name in SCENARIOS:
        path = os.path.join("tests/system", script)
        done = run([sys.executable, "-B", path, f"{build}/daemon/nbcid", *args, name],
                   {**SANITIZER_ENV, "NBCID_TEST_SLOW": str(slow), **dict(env)})
        TALLY.add(f"{phase}: {name}", done.returncode == 0)


def phase_lint():
    build = configure("gcc")
    if build:
        meson_test("lint", build, suites(["lint"]))


def phase_gcc():
    build = configure("gcc")
    if build and compile_all("gcc", build):
        # Kernels that start and pip keep half of these waiting.
        meson_test("gcc", build, ["--no-suite", "lint", "--no-suite", "google"], jobs=JOBS + 1)


def phase_google():
    build = configure("gcc")
    if build and compile_all("google", build):
        GOOGLE.begin("google", build, suites(["google"]))


def all_but_once(build, but=()):
    return [name for name, where in tests_of(build)
            if not where & {"lint", "google", *but} and name not in ONCE]


def phase_clang():
    """Without the daemon's stories: the next phase tells them to clang's code, with sanitizers."""
    build = configure("clang", CLANG)
    if build and compile_all("clang", build):
        meson_test("clang", build, all_but_once(build, ["system"]))


def phase_asan():
    build = configure("asan", CLANG, ["-Db_sanitize=address,undefined", *SANITIZED])
    if not build or not compile_all("asan", build):
        return
    env = {**SANITIZER_ENV, "NBCID_TEST_SLOW": "3"}
    with tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace") as out:
        # meson's python3, whose environment the suite "google" has made
        far = subprocess.Popen(["python3", "-B", "tests/fakes/google_fake/environment.py",
                                "tests/system/test_vertex.py", f"{build}/daemon/nbcid",
                                *FAR_SCENARIOS], cwd=ROOT, env={**os.environ, **env},
                               stdout=out, stderr=subprocess.STDOUT)
        meson_test("asan", build, all_but_once(build), env, 3)
        if far.wait() == SKIPPED:
            TALLY.skipped += 1
        else:
            TALLY.add("asan: jobs on Vertex AI", far.returncode == 0)
        out.seek(0)
        print(out.read(), flush=True)


def phase_tsan():
    build = configure("tsan", CLANG, ["-Db_sanitize=thread", *SANITIZED])
    if build and compile_all("tsan", build):
        names = [name for name, where in tests_of(build) if where & THREADED_SUITES
                 or "unit" in where and THREADED_TESTS.search(name)
                 or "system" in where and name in THREADED_PROGRAMS]
        meson_test("tsan", build, names, SANITIZER_ENV, 4)
        scenarios("tsan", build, 5)


def valgrind_version():
    out = run(["valgrind", "--version"], stdout=subprocess.PIPE, text=True).stdout
    return tuple(int(part) for part in re.findall(r"\d+", out)[:2])


def phase_valgrind():
    GOOGLE.end()
    build = configure("gcc")
    if not build or not compile_all("valgrind", build):
        return
    modern = valgrind_version() >= VALGRIND_OPENAT2
    names = [name for name, where in tests_of(build) if where & {"unit", "fuzz", "web"}
             and name not in NOT_UNDER_VALGRIND and (
                 modern or not NEEDS_OPENAT2.search(name))]
    meson_test("valgrind", build, ["--wrap", " ".join(VALGRIND), *names], slower=10)
    shim = os.path.join(ROOT, build, "tests/system/libvalgrind-shim.so")
    scenarios("valgrind", build, 10, ["--wrapper", " ".join(VALGRIND)],
              {} if modern else {"NBCID_TEST_PRELOAD": shim})


def phase_tidy():
    build = configure("clang", CLANG)
    if build:
        TALLY.add("tidy", run(["tools/tidy"], {"BUILD": build, "JOBS": str(JOBS)}).returncode == 0)


def tree():
    done = run(["git", "status", "--porcelain"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
               text=True)
    return done.stdout.splitlines() if done.returncode == 0 else None


def phase_tree():
    """Tests leave nothing in the tree; what a developer had there before is no matter."""
    GOOGLE.end()
    now = tree()
    if now is None:
        print("not a git work tree; nothing to compare")
        return
    left = now if os.environ.get("CI") else sorted(set(now) - set(TREE_BEFORE or []))
    for line in left:
        print(line)
    TALLY.add("tree", not left)


PHASES = {"lint": phase_lint, "gcc": phase_gcc, "google": phase_google, "clang": phase_clang,
          "asan": phase_asan, "tsan": phase_tsan, "valgrind": phase_valgrind, "tidy": phase_tidy,
          "tree": phase_tree}
QUICK = ("lint", "gcc", "google", "tree")
JOBS = len(os.sched_getaffinity(0))
TREE_BEFORE = tree()


def busy():
    """Seconds that this machine's processors have worked, all together: what is idle could be
    used by a phase that runs behind."""
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, system, _, _, irq, softirq, *_ = map(int, f.readline().split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def main():
    p = argparse.ArgumentParser(prog="tools/test", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="only " + ", ".join(QUICK))
    p.add_argument("--no-install", action="store_true", help="do not look for packages")
    p.add_argument("phases", nargs="*", metavar="PHASE", help="only these, in the order above")
    options = p.parse_args()
    unknown = set(options.phases) - set(PHASES)
    if unknown:
        p.error(f"no phase {' '.join(sorted(unknown))}; there are {' '.join(PHASES)}")
    wanted = options.phases or (QUICK if options.quick else PHASES)
    began = time.monotonic()
    for name, phase in PHASES.items():
        if name not in wanted:
            continue
        print(f"=== {name}", flush=True)
        start, before, failures = time.monotonic(), busy(), len(TALLY.failed)
        phase()
        verdict = "failed" if len(TALLY.failed) > failures else \
            "begun" if name == "google" else "fine"
        took = time.monotonic() - start
        print(f"=== {name}: {verdict}, {took:.0f} s, processors busy for "
              f"{(busy() - before) / max(took * JOBS, 1):.0%}\n", flush=True)
    GOOGLE.end()
    for name in TALLY.failed:
        print(f"failed: {name}")
    skipped = f", {TALLY.skipped} skipped" if TALLY.skipped else ""
    print(f"{time.monotonic() - began:.0f} s in all{skipped}")
    print(f"{TALLY.passed} passed, {len(TALLY.failed)} failed")
    return 1 if TALLY.failed else 0


if __name__ == "__main__":
    sys.exit(main())
