#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""layers.py [ROOT]: refuse includes that climb, foreign libraries out of their room, and files
and functions that have grown too long.

A room knows only rooms below it: a header of a lower floor, or one that SIDEWAYS names.  The
rooms are those of docs/ARCHITECTURE.md.  Exit status: 0 fine, 1 something is refused.
"""
import fnmatch
import os
import re
import sys

FLOORS = [
    ["base"],
    ["model", "config"],
    ["loop", "store", "git", "httpc", "gcp"],
    ["forge", "notebook", "runner", "check", "exec", "blob"],
    ["flow", "web", "submit"],
    ["daemon"],
]
# Calls within a floor, from left to right.
SIDEWAYS = {("config", "model"), ("httpc", "loop"), ("gcp", "httpc"), ("gcp", "loop"),
            ("exec", "runner"), ("exec", "blob"), ("exec", "notebook"), ("runner", "notebook"),
            ("check", "notebook"), ("check", "runner"), ("web", "flow")}
# Translators of bytes do no I/O, so they see no room that does.
PURE = {"forge", "notebook"}

# Public headers that are not called like their room; NAME_SOMETHING.h belongs to NAME.
DOORS = {name: "base" for name in (
    "ban buf clock crypto embed err fs json log mem num spawn str").split()}
DOORS.update(finding="model", httpmsg="model", metrics="model", sandbox="runner")
# The pages read; they do not reach the doors that write.
CLOSED = {"web": {"store.h", "store_intake.h"}}

# A header of a foreign library, and the only files that may include it.
FOREIGN = [
    ("microhttpd.h", ["src/web/server.c"]),
    ("curl/*", ["src/httpc/*"]),
    ("git2.h", ["src/git/*"]),
    ("git2/*", ["src/git/*"]),
    ("sqlite3.h", ["src/store/*"]),
    ("yajl/*", ["src/base/json*"]),
    ("openssl/*", ["src/base/crypto.c"]),
    ("systemd/*", ["src/loop/*", "daemon/*", "src/base/log.c"]),
    ("toml++/*", ["src/config/toml.cc"]),
    ("zmq.h", []),
]

# The C library's, and the kernel's; anything else is a library that has no room yet.
SYSTEM = set("""
arpa/inet.h ctype.h dirent.h endian.h errno.h fcntl.h fenv.h float.h fnmatch.h fts.h ftw.h
getopt.h glob.h grp.h inttypes.h iso646.h libgen.h limits.h link.h locale.h malloc.h math.h net/if.h
netdb.h netinet/in.h netinet/tcp.h poll.h pthread.h pwd.h sched.h semaphore.h setjmp.h signal.h
spawn.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h stdnoreturn.h
string.h strings.h syslog.h termios.h threads.h time.h uchar.h unistd.h wchar.h
algorithm cerrno charconv cinttypes climits cmath cstddef cstdint cstdio cstdlib cstring exception
limits memory new optional sstream stdexcept string string_view utility variant vector
""".split())
SYSTEM_DIRS = ("sys/", "linux/")

FILE_LINES = 600
FUNCTION_LINES = 60

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
REASON = re.compile(r"\blong:\s*(?!\*/)\S")
SOURCES = (".c", ".h", ".cc")


def floor(room):
    for i, rooms in enumerate(FLOORS):
        if room in rooms:
            return i
    return None


def door_room(header):
    """The room of include/nbcid/HEADER, or None."""
    stem = header[:-2]
    if stem in DOORS:
        return DOORS[stem]
    stem = stem.split("_")[0]
    return stem if floor(stem) is not None else None


def file_room(path):
    """The room of a source file, by its place."""
    parts = path.split("/")
    if parts[0] == "include":
        return door_room(parts[-1])
    room = parts[1] if parts[0] == "src" and len(parts) > 2 else parts[0]
    return room if floor(room) is not None else None


def may_call(caller, callee):
    if caller == callee or (caller, callee) in SIDEWAYS:
        return True
    if caller in PURE and floor(callee) == 2:
        return False
    return floor(callee) < floor(caller)


def check_door(path, room, header):
    callee = door_room(header)
    if callee is None:
        return f"<nbcid/{header}> belongs to no room that tools/layers.py knows"
    if path.startswith("include/") and header == os.path.basename(path):
        return "a header includes itself"
    if header in CLOSED.get(room, ()):
        return f"room {room} may not include <nbcid/{header}>; the pages have store_view.h"
    if not may_call(room, callee):
        return f"<nbcid/{header}> is room {callee}'s; room {room} knows only rooms below it"
    return None


def check_system(path, name):
    for pattern, places in FOREIGN:
        if fnmatch.fnmatchcase(name, pattern):
            if any(fnmatch.fnmatchcase(path, place) for place in places):
                return None
            return f"<{name}> may be included only in {' or '.join(places) or 'no room yet'}"
    if name in SYSTEM or name.startswith(SYSTEM_DIRS):
        return None
    return f"<{name}> is of a library without a room; see FOREIGN in tools/layers.py"


def check_include(root, path, room, kind, name):
    if kind == "<" and name.startswith("nbcid/"):
        return check_door(path, room, name[len("nbcid/"):])
    if kind == "<":
        return check_system(path, name)
    if path.startswith("include/"):
        return f'"{name}": a public header includes only <nbcid/...> and the C library'
    if "/" in name:
        return f'"{name}": a private header stays in its room; include it by its name'
    if not os.path.exists(os.path.join(root, os.path.dirname(path), name)):
        return f'"{name}" is not in this room; public headers are <nbcid/...>'
    return None


def functions(lines):
    """(line number, lines of the body, text above the signature) of each function.

    The house's brackets make it easy: a function's stand alone in column 0.
    """
    start = None
    for i, line in enumerate(lines):
        if line.rstrip() == "{":
            start = i
        elif line.startswith("}") and start is not None:
            yield start, i - start - 1
            start = None


def has_reason(lines, start):
    """Is there a comment "long: why" right above the function whose "{" is lines[start]?"""
    i = start - 1
    while i >= 0 and lines[i].strip() and not lines[i].startswith(("}", "#", "/*", " *")):
        i -= 1  # the signature
    while i >= 0 and lines[i].startswith(("/*", " *")):
        if REASON.search(lines[i]):
            return True
        i -= 1
    return False


def check_sizes(path, lines):
    if path.endswith((".c", ".cc")) and len(lines) > FILE_LINES:
        yield FILE_LINES + 1, f"{len(lines)} lines; a file of more than {FILE_LINES} is split"
    for start, length in functions(lines):
        if length > FUNCTION_LINES and not has_reason(lines, start):
            yield start + 1, (f"function of {length} lines; more than {FUNCTION_LINES} need a "
                              'comment "/* long: why */" right above')


def check_file(root, path):
    room = file_room(path)
    if room is None:
        yield 1, "this file is in no room that tools/layers.py knows"
        return
    with open(os.path.join(root, path), encoding="utf-8") as f:
        lines = f.read().splitlines()
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        problem = match and check_include(root, path, room, *match.groups())
        if problem:
            yield number, problem
    yield from check_sizes(path, lines)


def check_architecture(root, paths):
    """Each public header's room must be explained in docs/ARCHITECTURE.md, when there is one."""
    try:
        with open(os.path.join(root, "docs/ARCHITECTURE.md"), encoding="utf-8") as f:
            text = f.read()
    except FileNotFoundError:
        return
    for path in paths:
        room = file_room(path)
        if path.startswith("include/") and room and not re.search(rf"\b{room}\b", text):
            yield path, 1, f"room {room} is not in docs/ARCHITECTURE.md"


def sources(root):
    for top in ("include", "src", "daemon"):
        for where, dirs, names in os.walk(os.path.join(root, top)):
            dirs.sort()
            for name in sorted(names):
                if name.endswith(SOURCES):
                    yield os.path.relpath(os.path.join(where, name), root)


def check(root):
    """All that is refused, as (path, line, text)."""
    paths = list(sources(root))
    found = [(path, line, text) for path in paths for line, text in check_file(root, path)]
    return found + list(check_architecture(root, paths))


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..")
    found = check(root)
    for path, line, text in found:
        print(f"{path}:{line}: {text}")
    print(f"layers: {sum(1 for _ in sources(root))} files, {len(found)} refused")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
