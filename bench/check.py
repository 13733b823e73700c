#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""check.py BUILD [parse|memory|corpus ...]: the static format check against yajl and nbformat.

Both sides of every ratio are measured in the same run, in turns. Prints Markdown tables and exits
with 1 when a limit is missed. Debian's Python, which has nbformat. See README.md beside this file.
"""
import glob
import json
import os
import random
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, 'tests', 'oracle'))
import corpus as packages  # noqa: E402
import mutate  # noqa: E402
from report import limit, table, verdict  # noqa: E402

ROUNDS = 5  # processes of each side, in turns; of each the fastest of LOOPS
LOOPS = 40
RATIO_MAX, MEMORY_MAX, SPEED_MIN = 1.5, 2.0, 30


def run(build, *args):
    done = subprocess.run([f'{build}/bench/bench-check', *map(str, args)], check=True,
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
check, refused = globals()[sys.argv[1]], 0
paths = sys.stdin.read().split()
began, cpu = time.perf_counter(), time.process_time()
for path in paths:
    try:
        check(path)
    except Exception:
        refused += 1  # some are bad on purpose
print(time.perf_counter() - began, time.process_time() - cpu, refused)
"""


def python(paths, how, validator):
    """(wall from its start to its end, wall and CPU of the validation alone, refused)."""
    began = time.perf_counter()
    done = subprocess.run(['/usr/bin/python3', '-c', PYTHON, how], input='\n'.join(paths),
                          check=True, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, 'NBFORMAT_VALIDATOR': validator})
    whole = time.perf_counter() - began
    wall, cpu, refused = done.stdout.split()
    return whole, float(wall), float(cpu), int(refused)


def nbcid(build, folder, jobs):
    """(wall, CPU) of the command itself, from its start to its end, findings written to a file."""
    with tempfile.TemporaryFile() as out:
        began = time.perf_counter()
        process = subprocess.Popen([f'{build}/daemon/nbcid', 'check', '--only', 'format',
                                    '--jobs', str(jobs), folder], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        sys.exit(f'nbcid check ended with {process.returncode}')
    return wall, usage.ru_utime + usage.ru_stime


# The damage that the corpus is defined by: each of these once for each notebook.
KINDS = (mutate.drop, mutate.retype, mutate.duplicate_id, mutate.minor, mutate.cut,
         mutate.bad_utf8)


def damaged(name, data, kind):
    """The notebook with one damage of a kind; None when it has no place for it."""
    rng = random.Random(f'{name} {kind.__name__}')
    if kind in mutate.BYTES:
        return kind(rng, data) if data else None
    try:
        nb = json.loads(data)
    except ValueError:
        return None
    if not isinstance(nb, dict) or kind(rng, nb) is None:
        return None
    return json.dumps(nb, indent=1, ensure_ascii=False).encode('utf-8', 'surrogatepass')


def write_corpus(tmp):
    """tmp/real and tmp/NAME-OF-KIND; bytes."""
    size = 0
    for kind in ('real',) + tuple(k.__name__ for k in KINDS):
        os.mkdir(os.path.join(tmp, kind))
    for i, (name, data) in enumerate(packages.notebooks(os.path.join(ROOT, 'build/oracle-corpus'))):
        files = {'real': data, **{k.__name__: damaged(name, data, k) for k in KINDS}}
        for kind, text in files.items():
            if text is not None:
                size += len(text)
                with open(os.path.join(tmp, kind, f'{i:03}.ipynb'), 'wb') as f:
                    f.write(text)
    return size


def race(build, folder, how, validator, rounds):
    """Both sides in turns, medians of all; a row without its first columns."""
    paths = sorted(glob.glob(f'{folder}/**/*.ipynb', recursive=True))
    all_jobs, one_job, theirs = [], [], []
    for _ in range(rounds):
        for _ in range(3):
            all_jobs.append(nbcid(build, folder, 0))
            one_job.append(nbcid(build, folder, 1))
        theirs.append(python(paths, how, validator))
    whole, wall, cpu, refused = sorted(theirs)[len(theirs) // 2]
    ours, one = (sorted(x)[len(x) // 2] for x in (all_jobs, one_job))
    return whole / ours[0], (len(paths), refused, f'{whole:.2f}', f'{wall:.2f}', f'{cpu:.2f}',
                             f'{ours[0]:.3f}', f'{ours[1]:.3f}', f'{one[0]:.3f}',
                             f'{wall / one[0]:.1f}', f'{wall / ours[0]:.1f}',
                             f'{whole / ours[0]:.1f}')


def corpus(build, tmp):
    print("## `nbcid check --only format` of the oracle's corpus against nbformat.validate()")
    size = write_corpus(tmp)
    rows = []
    print(f'\n{size / 1e6:.0f} MB, {len(os.sched_getaffinity(0))} processors', flush=True)
    for folder, name in ((tmp, 'all'), (os.path.join(tmp, 'real'), 'real')):
        for how, validator, rounds in (('of_dict', 'fastjsonschema', 5),
                                       ('of_read', 'fastjsonschema', 5),
                                       ('of_dict', 'jsonschema', 1), ('of_read', 'jsonschema', 1)):
            if name == 'real' and validator == 'jsonschema':
                continue
            times, row = race(build, folder, how, validator, rounds)
            # What nbformat documents: validate what read() gave.  json.load() is for comparison.
            if name == 'all' and how == 'of_read':
                limit(times >= SPEED_MIN, f'corpus, {how}, {validator}: {times:.1f} times faster')
            rows.append((name, how.replace('of_', 'of '), validator) + row)
    table(['files', 'nbformat.validate()', 'its validator', 'n', 'it refuses',
           'Python, start to end, s', 'validation alone, s', 'CPU s', 'nbcid, start to end, s',
           'CPU s', '--jobs 1, s', 'alone / --jobs 1', 'alone / nbcid',
           f'start to end (of read at least {SPEED_MIN})'], rows)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    build = sys.argv[1]
    if os.geteuid() == 0:  # other work of the machine takes no time from either side then
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    subprocess.run(['meson', 'compile', '-C', build, 'bench-tools', 'daemon/nbcid'], check=True,
                   stdout=subprocess.DEVNULL)
    for name in sys.argv[2:] or ['parse', 'memory', 'corpus']:
        with tempfile.TemporaryDirectory(prefix='nbcid-bench-') as tmp:
            globals()[name](build, tmp)
    return verdict()


if __name__ == '__main__':
    sys.exit(main())
