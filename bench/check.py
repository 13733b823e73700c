#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""check.py BUILD [parse|memory|corpus ...]: the static format check against yajl and nbformat.

Both sides of every ratio are measured in the same run, in turns. Prints Markdown tables and exits
with 1 when a limit is missed. Debian's Python, which has nbformat. See README.md beside this file.
"""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, 'tests', 'oracle'))
import corpus as packages  # noqa: E402

ROUNDS = 5  # processes of each side, in turns; of each the fastest of LOOPS
LOOPS = 40
RATIO_MAX, MEMORY_MAX, SPEED_MIN = 1.5, 2.0, 30
MISSED = []


def table(head, rows):
    print('\n| ' + ' | '.join(head) + ' |')
    print('|' + '---|' * len(head))
    for row in rows:
        print('| ' + ' | '.join(str(c) for c in row) + ' |')
    print(flush=True)


def limit(ok, what):
    if not ok:
        MISSED.append(what)


def run(build, *args, stdin=None):
    done = subprocess.run([f'{build}/bench/bench-check', *map(str, args)], input=stdin, check=True,
                          stdout=subprocess.PIPE, text=True)
    return [int(line) for line in done.stdout.split()]


def cell(i, outputs):
    return {'cell_type': 'code', 'execution_count': i, 'id': f'cell-{i}', 'metadata': {},
            'outputs': outputs,
            'source': ['import numpy as np\n', 'x = [f"{i}" for i in range(10)]\n',
                       'for name in x:\n', '    print("a", name)\n', 'plot(x)']}


def stream(i):
    return [{'name': 'stdout', 'output_type': 'stream',
             'text': [f'{i + k} 0.123 "abc" 4.56\n' for k in range(6)]}]


def image(i, size):
    return [{'data': {'image/png': 'iVBORw0KGgo' + 'A' * size + '\n',
                      'text/plain': ['<Figure size 640x480 with 1 Axes>']},
             'metadata': {}, 'output_type': 'display_data'}]


def table_json(i):
    return [{'data': {'application/json': {'rows': [[k, k / 7, None, True] for k in range(40)]},
                      'text/html': ['<table>\n'] + ['<tr><td>1</td></tr>\n'] * 20},
             'metadata': {}, 'output_type': 'display_data'}]


def write(path, size, outputs):
    cells, total = [], 0
    while total < size:
        cells.append(cell(len(cells), outputs(len(cells))))
        total += len(json.dumps(cells[-1], indent=1)) * 5 // 4
    with open(path, 'w', encoding='utf-8') as f:
        json.dump({'cells': cells, 'metadata': {}, 'nbformat': 4, 'nbformat_minor': 5}, f, indent=1)


def write_big(path, mebibytes):
    """Like write(), but not in memory."""
    with open(path, 'w', encoding='utf-8') as f:
        f.write('{"cells": [\n')
        for i in range(mebibytes):
            f.write((',\n' if i else '') + json.dumps(cell(i, image(i, 1 << 20)), indent=1))
        f.write('],\n"metadata": {}, "nbformat": 4, "nbformat_minor": 5}\n')


def parse(build, tmp):
    print('## Format check of 1 MB against yajl alone')
    rows = []
    for name, outputs in (('text', stream), ('images of 60 KB', lambda i: image(i, 60_000)),
                          ('JSON and HTML', table_json)):
        path = os.path.join(tmp, 'one.ipynb')
        write(path, 1_000_000, outputs)
        best = {'yajl': 1 << 60, 'check': 1 << 60}
        for _ in range(ROUNDS):
            for who in best:
                best[who] = min(best[who], run(build, who, path, LOOPS)[0])
        ratio = best['check'] / best['yajl']
        limit(ratio <= RATIO_MAX, f'{name}: {ratio:.2f} times yajl')
        rows.append((name, os.path.getsize(path), f"{best['yajl'] / 1e6:.2f}",
                     f"{best['check'] / 1e6:.2f}", f'{ratio:.2f}'))
    table(['notebook of', 'bytes', 'yajl ms', 'check ms', f'ratio (at most {RATIO_MAX})'], rows)


def memory(build, tmp):
    print('## Peak of memory, in pieces of 256 KiB')
    rows = []
    for name, make in (('1 MB of text', lambda p: write(p, 1_000_000, stream)),
                       ('20 MB of text', lambda p: write(p, 20_000_000, stream)),
                       ('200 MB, images of 1 MiB', lambda p: write_big(p, 200)),
                       ('100 MB, one image', lambda p: write(p, 1, lambda i: image(i, 10 ** 8)))):
        path = os.path.join(tmp, 'big.ipynb')
        make(path)
        before, after, refused = run(build, 'stream', path)
        size = os.path.getsize(path) / 1024
        limit((after - before) / size <= MEMORY_MAX, f'{name}: memory')
        limit(not refused, f'{name}: refused')
        rows.append((name, f'{size / 1024:.0f}', f'{after / 1024:.1f}',
                     f'{(after - before) / 1024:.1f}', f'{(after - before) / size:.2f}'))
        os.unlink(path)
    table(['notebook', 'MiB', 'peak RSS MiB', 'of it for the check',
           f'times the file (at most {MEMORY_MAX:.0f})'], rows)


# What people call nbformat.validate(): of a dict, and of what nbformat.read() makes; each with the
# validator that nbformat takes by default, and with the one that it took until 5.2.
PYTHON = """
import json, sys, time, warnings, logging
import nbformat
warnings.simplefilter('ignore')
logging.disable(logging.CRITICAL)
def of_dict(path):
    with open(path, encoding='utf-8') as f:
        nbformat.validate(json.load(f))
def of_read(path):
    nbformat.validate(nbformat.read(path, as_version=nbformat.NO_CONVERT))
check = globals()[sys.argv[1]]
began = time.process_time()
for path in sys.stdin.read().split():
    try:
        check(path)
    except Exception:
        pass  # some are bad on purpose
print(time.process_time() - began)
"""


def python_seconds(paths, how, validator):
    done = subprocess.run(['/usr/bin/python3', '-c', PYTHON, how], input='\n'.join(paths),
                          check=True, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, 'NBFORMAT_VALIDATOR': validator})
    return float(done.stdout)


def corpus(build, tmp):
    print("## The oracle's corpus against nbformat.validate(), seconds of CPU, no start-up")
    paths, size, rows = [], 0, []
    for i, (_, data) in enumerate(packages.notebooks(os.path.join(ROOT, 'build/oracle-corpus'))):
        paths.append(os.path.join(tmp, f'{i}.ipynb'))
        size += len(data)
        with open(paths[-1], 'wb') as f:
            f.write(data)
    print(f'\n{len(paths)} notebooks, {size / 1e6:.1f} MB')
    for how, validator in (('of_dict', 'fastjsonschema'), ('of_read', 'fastjsonschema'),
                           ('of_dict', 'jsonschema'), ('of_read', 'jsonschema')):
        ours, python = [], []
        for _ in range(3):
            ours.append(run(build, 'corpus', stdin=''.join(p + '\n' for p in paths))[0] / 1e9)
            python.append(python_seconds(paths, how, validator))
        ratio = min(python) / min(ours)
        limit(ratio >= SPEED_MIN, f'corpus, {how}, {validator}: {ratio:.1f} times faster')
        rows.append((how.replace('of_', 'of '), validator, f'{min(ours):.3f}', f'{min(python):.2f}',
                     f'{ratio:.1f}'))
    table(['nbformat.validate()', 'its validator', 'check s', 'nbformat s',
           f'times (at least {SPEED_MIN})'], rows)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    build = sys.argv[1]
    subprocess.run(['meson', 'compile', '-C', build, 'bench-tools'], check=True,
                   stdout=subprocess.DEVNULL)
    for name in sys.argv[2:] or ['parse', 'memory', 'corpus']:
        with tempfile.TemporaryDirectory(prefix='nbcid-bench-') as tmp:
            globals()[name](build, tmp)
    for what in MISSED:
        print(f'missed: {what}')
    return 1 if MISSED else 0


if __name__ == '__main__':
    sys.exit(main())
