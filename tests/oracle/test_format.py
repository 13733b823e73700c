#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Compare the format check with nbformat.validate() on real notebooks and thousands of damaged
ones.  Usage: test_format.py VERDICTS FOLDER [PART-OF-A-NOTEBOOK'S-NAME].  Prints TAP.

The oracle is Debian 12's nbformat 5.5, with its default validator, called as everybody calls it:
nbformat.validate(json.loads(the file as UTF-8)).  It refuses when it, or reading, raises anything.
What it mends while it warns (a cell without an id, an id that is there twice), it takes; there
we must have the warning of the same name.  We refuse when a finding is an error.

Both must agree on each file, but for what DELIBERATE lists.
"""
import collections
import glob
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
import warnings

import corpus
import mutate

import nbformat
from nbformat.warnings import DuplicateCellId, MissingIDFieldWarning

WORKERS = 2
MUTANTS = 12
# Of large notebooks fewer, since Python reads each of them several times.
LARGE = 200_000
# Made notebooks with all members, of which each is damaged in each way: minor versions.
MADE = range(8)
LEAST_NOTEBOOKS, LEAST_FILES = 200, 20000

# What we refuse and nbformat takes, each with its reason; never the other way round.
DELIBERATE = {
    "older": "nbformat.validate() also knows version 3; nbcid and its runner know 4 only",
    "nan": "NaN and Infinity are Python's, not JSON's: browsers cannot open such a notebook",
    "surrogate": "half a surrogate pair is no text: Jupyter cannot save such a notebook as UTF-8",
    "twice": "of a key that is there twice, programs differ in which value they take",
    "deep": "nested over 256 deep, or a number of over 1000 digits: a bound of ours",
}
RULES = {"older": "format/version", "nan": "format/json", "surrogate": "format/json",
         "deep": "format/limit"}


class Facts:
    """What of DELIBERATE a text has, found without our program."""

    def __init__(self, text):
        self.has = set()
        try:
            self.nb = json.loads(text, object_pairs_hook=self.pairs, parse_constant=self.constant)
        except (ValueError, RecursionError):
            self.nb = None
            return
        try:
            json.dumps(self.nb, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            self.has.add("surrogate")
        except RecursionError:
            pass
        if re.search(r"[\[{](?:\s*[\[{]){200}", text) or re.search(r"\d{1000}", text):
            self.has.add("deep")
        major = self.nb.get("nbformat") if isinstance(self.nb, dict) else None
        if isinstance(major, int) and major < 4:
            self.has.add("older")

    def pairs(self, pairs):
        if len({key for key, _ in pairs}) < len(pairs):
            self.has.add("twice")
        return dict(pairs)

    def constant(self, name):
        self.has.add("nan")
        return float(name)


def oracle(data):
    """(does nbformat take it, rules of its warnings, its words)"""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            nbformat.validate(json.loads(data.decode("utf-8")))
        except Exception as e:  # pylint: disable=broad-except
            return False, set(), f"{type(e).__name__}: {str(e)[:200]}"
    rules = {MissingIDFieldWarning: "format/missing-id", DuplicateCellId: "format/duplicate-id"}
    return True, {rules[w.category] for w in caught if w.category in rules}, "valid"


def shown(path):
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z_0-9]*", part):
            out += ("." if out else "") + part
        else:
            out += '["' + part.replace("\n", " ") + '"]'
    return out


def check_words(found):
    """Each finding says where, what and how to help; the path of the damage is among them."""
    for f in found:
        if f["line"] < 1 or f["column"] < 1:
            return f"no place: {f}"
        for key in ("message", "remedy"):
            if not f[key] or "\n" in f[key]:
                return f"no {key}: {f}"
    return None


def near(path, found):
    """Is a finding at the path of the one damage, above it or below it?"""
    want = shown(path)
    return any((f["path"] or "").startswith(want) or want.startswith(f["path"] or "") for f in found)


def judge(facts, data, path, base_ok, found):
    """What is wrong with our answer, or None; and which deliberate difference it was."""
    errors = [f for f in found if f["severity"] == "error"]
    takes, warned, words = oracle(data)
    bad = check_words(found)
    if bad:
        return bad, None
    if takes and not errors:
        ours = {f["rule"] for f in found} & {"format/missing-id", "format/duplicate-id"}
        if ours != warned and "twice" not in facts.has:
            return f"warnings: ours {sorted(ours)}, nbformat's {sorted(warned)}", None
        return None, None
    if not takes and errors:
        if base_ok and path and path[0] not in ("nbformat", "nbformat_minor") \
                and "older" not in facts.has and not near(path, errors):
            return f"damage at {shown(path)}, but found {errors[0]}", None
        return None, None
    if takes:
        for why in sorted(facts.has):
            if why == "twice" or RULES[why] in {f["rule"] for f in errors}:
                return None, why
        return f"nbformat takes it; we say {errors[0]}", None
    return f"we take it; nbformat says {words}", None


class Ours:
    """The program: a notebook in, a line of JSON out."""

    def __init__(self, program):
        self.proc = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, data):
        self.proc.stdin.write(b"%d\n" % len(data) + data)
        self.proc.stdin.flush()
        line = self.proc.stdout.readline()
        if not line:
            raise SystemExit(f"{self.proc.args[0]} ended with {self.proc.wait()}")
        return json.loads(line)["findings"]

    def close(self):
        self.proc.stdin.close()
        self.proc.stdout.close()
        return self.proc.wait()


def inputs(folder, part, share):
    """One worker's share: (name, is the notebook itself good, how, path, bytes)."""
    for i, (name, data) in enumerate(corpus.notebooks(folder)):
        if i % WORKERS == share and part in name:
            base_ok = oracle(data)[0]
            count = MUTANTS if len(data) < LARGE else 1 if len(data) < 5 * LARGE else 0
            for how, path, mutant in mutate.mutants(name, data, count):
                yield name, base_ok, how, path, mutant
    for minor in MADE:
        if minor % WORKERS == share and part in f"made-4.{minor}":
            for how, path, mutant in mutate.each(minor):
                yield f"made-4.{minor}", True, how, path, mutant


def work(args):
    """One worker's share: (files, refused, differences by reason, failures)."""
    program, folder, part, share = args
    ours = Ours(program)
    files, refused, reasons, failures = 0, 0, collections.Counter(), []
    for name, base_ok, how, path, mutant in inputs(folder, part, share):
        found = ours(mutant)
        facts = Facts(mutant.decode("utf-8", "replace"))
        bad, why = judge(facts, mutant, path, base_ok, found)
        files += 1
        refused += any(f["severity"] == "error" for f in found)
        if why:
            reasons[why] += 1
        if bad:
            failures.append((f"{name} ({how})", bad, mutant))
    if ours.close() != 0:
        failures.append(("the program", "did not end well", b""))
    return files, refused, reasons, failures


def report(results, folder, notebooks, whole):
    files = sum(r[0] for r in results)
    reasons = sum((r[2] for r in results), collections.Counter())
    failures = [f for r in results for f in r[3]]
    for old in glob.glob(os.path.join(folder, "differs-*.ipynb")):
        os.unlink(old)
    for i, (where, bad, mutant) in enumerate(failures[:20]):
        kept = os.path.join(folder, f"differs-{i}.ipynb")
        with open(kept, "wb") as f:
            f.write(mutant)
        print(f"# {where}: {bad}\n#     {kept}")
    for why, text in DELIBERATE.items():
        print(f"# deliberate: {reasons[why]:5} {why}: {text}")
    print(f"# {notebooks} notebooks, {files} files, {sum(r[1] for r in results)} refused, "
          f"{len(failures)} disagree; nbformat {nbformat.__version__}")
    tests = [("every verdict is nbformat's, or a deliberate difference", not failures)]
    if whole:
        tests += [
            (f"there are {LEAST_NOTEBOOKS} notebooks and {LEAST_FILES} files",
             notebooks >= LEAST_NOTEBOOKS and files >= LEAST_FILES),
            ("every deliberate difference is met", all(reasons[why] for why in DELIBERATE)),
        ]
    for i, (name, ok) in enumerate(tests, 1):
        print(f"{'' if ok else 'not '}ok {i} {name}")
    print(f"1..{len(tests)}")
    return 0 if all(ok for _, ok in tests) else 1


def main():
    program, folder = sys.argv[1:3]
    part = sys.argv[3] if len(sys.argv) > 3 else ""
    began = time.monotonic()
    try:
        notebooks = sum(part in name for name, _ in corpus.notebooks(folder))
    except corpus.NoCorpus as e:
        print("\n".join("# " + line for line in str(e).splitlines()))
        print("1..1\nnot ok 1 the corpus is there")
        return 1
    with multiprocessing.Pool(WORKERS) as pool:
        results = pool.map(work, [(program, folder, part, i) for i in range(WORKERS)])
    print(f"# {time.monotonic() - began:.0f} s")
    return report(results, folder, notebooks, not part)


if __name__ == "__main__":
    sys.exit(main())
