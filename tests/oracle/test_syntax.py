#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Compare the syntax process with IPython itself on the cells of real notebooks, damaged ones, and
a list of odd ones.  Usage: test_syntax.py NBCID FOLDER.  Prints TAP.

The oracle is what IPython does before it runs a cell: transform_cell() of a kernel's shell, then
its compiler, which parses the whole and compiles each statement by itself.  Both must agree on each
cell; where IPython keeps lines as they are, also on the line.

Deliberate difference: the body of %%time, %%timeit, %%capture and %%prun, which IPython hands over
as a string, is checked as the magic would compile it.
"""
import ast
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings

import corpus

from IPython.core.compilerop import CachingCompiler
from ipykernel.zmqshell import ZMQInteractiveShell
from traitlets.config import Config

BATCH = 50
LEAST_CELLS = 3000
NO_HISTORY = Config({'HistoryManager': {'enabled': False}})
warnings.simplefilter('ignore')

ODD = [
    '', ' ', '\n\n', 'a = 1', 'print(', ')', 'x = [1,\n', '%time x = 1\nfoo(',
    '%matplotlib inline', '%cd \\\n  /tmp\nx = (', 'x = !ls', 'x = !ls\ny = (', 'x = %who\n)',
    'x?', 'x??', '?x', '??x', 'x?\n(', 'print?\nx = "', 'a.b*?', '%%bash\nif', '%%html\n<b',
    '%%time\nfoo(', '%%time\n', '%%time', '\n\n%%time\n x = 1\n y = (',
    '%%capture out\n%%time\nx = 1\n(', '%%capture\n!ls\nx?', '%%timeit -n 1\nreturn 5',
    '%%timeit x = 1\nfoo(', '%%time\nreturn 5', '%%prun\nx = (', '%%time?', '%%bash?',
    '%%writefile x\n(((', '%%unknown\n(((', '%%', '%% time\nx', '%%%time\n(',
    '  # c\nif x:\n  y', '   x = 1\n   y = (', '   x = 1\ny = 2', '\tx = 1\n\ty = 2',
    '\n  x = 1', 'return 1', 'await x', 'async with a as b:\n  pass', 'async for a in b: pass',
    'yield 1', 'def f():\n  await x', 'def f():\n  def g():\n    await x',
    'async def f():\n  await x', 'x = [await y async for y in z]', 'lambda: await x',
    'class A:\n  await x', 'break', 'continue', 'for x in y:\n  break',
    'x = 1\nfrom __future__ import annotations', 'x = 1\nglobal x',
    'from __future__ import barry_as_FLUFL', '1 <> 2', 'nonlocal x', 'def f(a, a): pass',
    'f"{a"', 'f"{a!r:>{w}}"', 'f"{a b}"', "f'{'", "f'''{\n'''", 'f"{x!}"', '"', "'abc", '"""abc',
    "'a\\\nb'", "'a\nb'", '!ls \\\n -l\nif', '!ls $x {y}', '!!ls', '  !ls\n(',
    'if x:\n  !ls\n  %cd', 'if x:\n!ls', '!ls "\nx = (', 'a\x00b', '\x00', '(\n...,\n)',
    '>>> x = 1\n... y = 2', '>>> x = (', 'In [1]: x = 1\n   ...: y', 'x = [\n... \n]',
    "s = 'a\u2028% b'", "s = 'a\u2028%b'\n%who\n(", 'x = 1\x0c\ny = 2', '\x0cx = 1', '"a\x0c%b"',
    'x = 1\r\ny = (\r\n', 'x = 1\ry = (', "'a\x0b!b'", 'é = (', '\ufeffx = 1', 'x = 1 \ufeff',
    '😀 = 1', "'😀' + (", 'x = ℘', 'x = $1', 'if x:\n\ty\n        z', 'if x:\n    y\n  z', 'if x:',
    'else:', '\\', 'x = \\', '%foo \\', '!x \\', '\\\nx = 1', '/f 1 2', ',f a b', ';f a b',
    ',f a"b', '/f (', 'get_ipython().run_line_magic("who", "")', "get_ipython().system('ls')",
    'print "hello"', 'exec "x"', 'x = 5 % \\\n 3', 'x = (5\n% 3)', 'x = 5\n% 3',
    'x = """\n%time\n!ls\n"""', 'x = """\n%time\n!ls\n', '# %time', '#!ls', 'x = y != z',
    'x = a ?', 'a ? b', 'x ; y', 'x;', ';', 'a, b = !ls', 'a.b = !ls', 'a[0] = %who', 'a == !ls',
    'f(a=%who)', 'x = %', 'x = !', '%', '!', '?', 'def f(:\n  pass', 'class', 'import',
    'x = 0777', '0xg', '1__0', '1e', 'a b', "b'é'", "'\\x'", "'\\N{nope}'", "u'\\ud800'",
    'del f()', 'f() = 1', 'None = 1', 'a := 1', '(a := 1)', 'x: int', 'match x:\n  case 1: pass',
    'match x:\n  case 1', 'try:\n  pass', 'with (a as b, c as d): pass', 'except* x',
    'type X = int', 'def f[T](): pass', 'print(f"{x = }")', '*a, *b = c', '*a', 'a = *b',
    'lambda x: (yield)', '[x for x in y', '{1: 2, 3}', 'x = {**a, *b}', '@a\nx = 1', '@a',
    '%load_ext x\n%%time\nx', 'x = 1\n%%time\ny', '%time\n(', '%%timeit\n%who\n(',
    '%%capture\n%%bash\n(', '%%capture\n\n%%time\n(', '%%time\n%%time?', '%%time -x\n  a\n  b(',
    '%%script bash\nif (', '%%python3\n(', '%%javascript\nvar x = {', '%%latex\n\\(', '%%sh\n(',
    'pip install x', 'pip install x\n', 'pip install x;', '\n\npip install x', 'pip install x\n\n',
    '# c\npip install x', 'pip install x\nx', '  cd ..', 'cd ..', 'ls -l', 'ls -l | (', 'ls (',
    'run a.py -x', 'env = (', 'pip, x', 'pip.x y', 'pip* x', 'time x = 1', 'matplotlib inline',
    'load_ext a.b', 'git status', 'pip \\\n install', '%%time\npip install x', '%%timeit\nls -l',
    '%%capture\npip install x', '%%prun\ncd ..', 'who is x', 'man 2 open', 'pip\tinstall x',
    '(' * 150 + ')' * 150, '(' * 300, '-' * 50 + '1', '9' * 5000, 'x' + '+x' * 500,
]


class Oracle:
    """One notebook's session."""

    def __init__(self):
        self.compiler = CachingCompiler()
        self.shell = ZMQInteractiveShell.instance(config=NO_HISTORY)

    def compile(self, code, function=False):
        with self.compiler.extra_flags(ast.PyCF_ALLOW_TOP_LEVEL_AWAIT):
            tree = self.compiler.ast_parse(code, filename='<cell>')
            for node in [] if function else tree.body:
                self.compiler(ast.Module([node], []), '<cell>', 'exec')

    def body(self, code):
        """(magic, body) when the transformed cell only calls a cell magic with Python in it."""
        try:
            call = ast.parse(code).body[0].value
            name, _, body = [a.value for a in call.args]
            known = call.func.attr == 'run_cell_magic' and code.startswith('get_ipython()')
        except (SyntaxError, ValueError, IndexError, AttributeError):
            return None
        return (name, body) if known and name in ('time', 'timeit', 'capture', 'prun') else None

    def verdict(self, cell):
        """(kind, line or None): fine, bad, or too hard to say."""
        function, whole, code = False, cell, ''
        try:
            while True:
                # %%timeit does without automagic
                manager = self.shell.input_transformer_manager if function else self.shell
                code = manager.transform_cell(cell)
                inner = self.body(code) if cell.lstrip().startswith('%%') else None
                if not inner:
                    break
                function = function or inner[0] == 'timeit'
                cell = inner[1]
            self.compile(code, function)
        except (MemoryError, RecursionError):
            return 'hard', None
        except Exception as e:
            # "incomplete input" is told of the end of the cell, whatever has no end
            same = (cell is whole and code.count('\n') == cell.rstrip('\n').count('\n') + 1 and
                    getattr(e, 'msg', '') != 'incomplete input')
            return 'bad', getattr(e, 'lineno', None) if same else None
        return 'fine', None


def damaged(cell, rng):
    if not cell:
        return
    at = rng.randrange(len(cell))
    yield cell[:at]
    yield cell[:at] + cell[at + 1:]
    yield cell[:at] + rng.choice('()[]{}\'"%!?\t\n \\:=') + cell[at:]


def real_cells(folder):
    seen = set()
    for name, data in corpus.notebooks(folder):
        try:
            nb = json.loads(data)
            language = nb['metadata'].get('language_info', {}).get('name', 'python')
            cells = [c for c in nb['cells'] if c['cell_type'] == 'code']
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        for c in cells if language == 'python' else []:
            source = ''.join(c['source'])
            if source not in seen:
                seen.add(source)
                yield source


class Helper:
    def __init__(self, nbcid):
        self.p = subprocess.Popen([nbcid, 'syntax-helper', 'syntax', '/usr/bin/python3', 'auto',
                                   str(1 << 30)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, cells):
        out = [b'cells %d\n' % len(cells)]
        for i, cell in enumerate(cells):
            raw = cell.encode()
            out += [b'%d %d\n' % (i, len(raw)), raw]
        self.p.stdin.write(b''.join(out))
        self.p.stdin.flush()
        return {f['cell']: f for f in json.loads(self.p.stdout.readline())}


def compare(helper, cells):
    oracle, found, bad = Oracle(), helper.ask(cells), []
    for i, cell in enumerate(cells):
        kind, line = oracle.verdict(cell)
        f = found.get(i)
        ours = 'fine' if not f else 'bad' if f['checked'] else 'hard'
        if ours != kind and not (ours == 'hard' and kind == 'bad'):
            bad.append(f'{cell!r:.300}: IPython {kind}, we {ours} {f}')
        elif ours == 'bad' and line and not cell[:1].isspace() and \
                f['line'] != min(line, cell.rstrip('\n').count('\n') + 1):
            bad.append(f'{cell!r:.300}: line {line} to IPython, {f["line"]} to us: {f}')
    return bad


def run(helper, title, number, cells):
    began, total, bad = time.monotonic(), 0, []
    for i in range(0, len(cells), BATCH):
        bad += compare(helper, cells[i:i + BATCH])
        total += len(cells[i:i + BATCH])
    for line in bad[:20]:
        print('# ' + line)
    print(f'{"not " if bad else ""}ok {number} {title}: {total} cells, {len(bad)} differ, '
          f'{time.monotonic() - began:.0f} s', flush=True)
    return not bad


def main():
    helper = Helper(sys.argv[1])
    good = run(helper, 'odd cells', 1, ODD)
    try:
        cells = list(real_cells(sys.argv[2]))
    except corpus.NoCorpus as e:
        print('# ' + str(e).replace('\n', '\n# '))
        print('not ok 2 the corpus\n1..2')
        return 1
    good &= run(helper, 'real cells', 2, cells)
    rng = random.Random(7)
    good &= run(helper, 'damaged cells', 3, [d for c in cells for d in damaged(c, rng)])
    enough = len(cells) >= LEAST_CELLS
    print(f'{"" if enough else "not "}ok 4 the corpus is large enough\n1..4')
    return 0 if good and enough else 1


if __name__ == '__main__':
    with tempfile.TemporaryDirectory(prefix='nbcid-ipython-') as ours:
        os.environ['IPYTHONDIR'] = ours
        status = main()
    sys.exit(status)
