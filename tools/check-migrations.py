#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check-migrations.py [ROOT]: migrations are append only.

Refuses gaps in their numbers, files that src/store/meson.build does not embed (or embeds in
another order), and any change to a file that the last release, the newest git tag, contains.
"""
import os
import re
import subprocess
import sys


def git(root, *args):
    r = subprocess.run(['git', '-c', 'safe.directory=*', '-C', root, *args], capture_output=True,
                       check=False)
    return r.stdout if r.returncode == 0 else None


def check_names(names):
    bad = [f'migrations/{n}: not named NNNN-what.sql' for n in names
           if not re.fullmatch(r'[0-9]{4}-[a-z0-9-]+\.sql', n)]
    if not bad:
        bad = [f'migrations/{n}: number {i} is missing or used twice'
               for i, n in enumerate(names, 1) if int(n[:4]) != i]
    return bad[:1] if bad else []


def check_listed(root, names):
    with open(os.path.join(root, 'src/store/meson.build'), encoding='utf-8') as f:
        listed = re.findall(r"migrations/([^/']+\.sql)'", f.read())
    if listed == names:
        return []
    return [f'src/store/meson.build lists {" ".join(listed) or "nothing"}, migrations/ has '
            f'{" ".join(names)}: make them the same, in that order']


def check_released(root):
    """Answers (errors, what was compared)."""
    if git(root, 'rev-parse', '--git-dir') is None:
        return [], 'no git repository here: nothing to compare with'
    tag = git(root, 'describe', '--tags', '--abbrev=0')
    if tag is None:
        return [], 'no tag yet: nothing is released'
    tag = tag.decode().strip()
    errors = []
    released = git(root, 'ls-tree', '--name-only', tag, 'migrations/') or b''
    for path in released.decode().split('\n'):
        if not path.endswith('.sql'):
            continue
        try:
            with open(os.path.join(root, path), 'rb') as f:
                now = f.read()
        except FileNotFoundError:
            errors.append(f'{path}: is in {tag} and gone now; bring it back')
            continue
        if now != git(root, 'show', f'{tag}:{path}'):
            errors.append(f'{path}: differs from {tag}; databases out there have that one: bring '
                          'it back and add another migration')
    return errors, f'compared with {tag}'


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else '.'
    names = sorted(n for n in os.listdir(os.path.join(root, 'migrations')) if n.endswith('.sql'))
    errors, compared = check_released(root)
    errors += check_names(names) + check_listed(root, names)
    for e in errors:
        print(f'check-migrations: {e}', file=sys.stderr)
    print(f'check-migrations: {len(names)} files, {compared}')
    return 1 if errors else 0


sys.exit(main())
