#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sources.py format|words|scripts ROOT: small checks of all source files.

    format   clang-format has nothing to change (Debian 12's; other versions differ and skip)
    words    no note to self is left behind; every source says its licence
    scripts  Python and shell scripts parse

Exit status: 0 fine, 1 refused, 77 skipped.
"""
import os
import re
import shutil
import subprocess
import sys

SKIP = 77
CLANG_FORMAT_MAJOR = 14
C_FILES = (".c", ".h")
# Put together, so that this file does not find itself.
WORDS = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")) + r")\b")
LICENCE = "SPDX-License-Identifier: Apache-2.0"
# Bytes for tests to read, and texts that are not ours.
NOT_SOURCES = ("tests/fixtures/", "tests/fuzz/corpus/", "LICENSE")
CODE = C_FILES + (".cc", ".py", ".js", ".css", ".sql", ".build", ".toml")


def files(root):
    """Tracked files and those that are about to be, relative to root."""
    git = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=root,
                         capture_output=True, check=False)
    if git.returncode == 0:
        names = os.fsdecode(git.stdout).split("\0")[:-1]
    else:  # a source archive
        names = [os.path.relpath(os.path.join(where, name), root)
                 for where, dirs, found in os.walk(root) for name in found
                 if not os.path.relpath(where, root).startswith(("build", ".git"))]
    return sorted({name for name in names
                   if not name.startswith(NOT_SOURCES) and os.path.isfile(os.path.join(root, name))
                   and not os.path.islink(os.path.join(root, name))})


def text(root, name):
    with open(os.path.join(root, name), encoding="utf-8", errors="replace") as f:
        return f.read()


def interpreter(root, name):
    """"python", "bash" or None."""
    with open(os.path.join(root, name), "rb") as f:
        first = f.readline(100)
    if name.endswith(".py") or (first.startswith(b"#!") and b"python" in first):
        return "python"
    if name.endswith(".sh") or (first.startswith(b"#!") and b"sh" in first):
        return "bash"
    return None


def check_format(root):
    program = shutil.which(f"clang-format-{CLANG_FORMAT_MAJOR}") or shutil.which("clang-format")
    if not program:
        print("clang-format is not installed; skipped")
        return SKIP
    version = subprocess.run([program, "--version"], capture_output=True, text=True,
                             check=True).stdout
    if f"version {CLANG_FORMAT_MAJOR}." not in version:
        print(f"{version.strip()}: not {CLANG_FORMAT_MAJOR}, which decides here; skipped")
        return SKIP
    names = [name for name in files(root) if name.endswith(C_FILES)]
    return subprocess.run([program, "--dry-run", "-Werror", "--ferror-limit=2", *names], cwd=root,
                          check=False).returncode and 1


def check_words(root):
    bad = 0
    for name in files(root):
        code = name.endswith(CODE) or interpreter(root, name)
        if not code and not name.endswith(".md"):
            continue
        content = text(root, name)
        for number, line in enumerate(content.splitlines(), 1):
            if WORDS.search(line):
                print(f"{name}:{number}: {WORDS.search(line).group()}: do it, or write an issue")
                bad += 1
        if code and LICENCE not in content[:500]:
            print(f"{name}:1: the line \"{LICENCE}\" is missing")
            bad += 1
    return 1 if bad else 0


def check_scripts(root):
    bad = 0
    for name in files(root):
        kind = interpreter(root, name)
        if kind == "python":
            try:
                compile(text(root, name), name, "exec")
            except SyntaxError as e:
                print(f"{name}:{e.lineno}: {e.msg}")
                bad += 1
        elif kind == "bash":
            bad += subprocess.run(["bash", "-n", name], cwd=root, check=False).returncode != 0
    return 1 if bad else 0


def main():
    checks = {"format": check_format, "words": check_words, "scripts": check_scripts}
    if len(sys.argv) != 3 or sys.argv[1] not in checks:
        sys.exit(__doc__)
    sys.exit(checks[sys.argv[1]](os.path.abspath(sys.argv[2])))


if __name__ == "__main__":
    main()
