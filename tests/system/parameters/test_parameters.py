#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Parameters and metadata that are spliced into notebooks, read by those who will read them.

Usage: test_parameters.py TOOL BUILD-ROOT [PART-OF-A-TEST'S-NAME]. Prints TAP. Literals are asked of
Python, Bash and R themselves; for Julia, and for the place of the cell, papermill is the measure. It
is installed into BUILD-ROOT once. What is missing is skipped by name.
"""
import ast
import copy
import glob
import json
import math
import os
import pty
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import tap  # noqa: E402

TOOL = os.path.abspath(sys.argv[1])
BUILD = os.path.abspath(sys.argv[2])
FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../fixtures/notebooks')
DEBIAN_PYTHON = '/usr/bin/python3'
TESTS = tap.Tests()

TEXTS = [
    '', 'plain', "it's", '"', '\\', '\\\\"', "\\'", '$(touch PWNED)', '`touch PWNED`', '${HOME}',
    "'; touch PWNED; '", '"; touch PWNED; "', "')\ntouch PWNED\n", '\n', '\r\n', '\t', 'a\nb',
    '\x03touch PWNED\n', '\x04', '\x1a', '\x1b[A', '\x7f', '\x15touch PWNED\r', '!!', '!touch',
    '#', '# Parameters', '%s %d', '%%bash', '!ls', '?', 'x?', '{x}', '{{', "'''", '"""', '\\n',
    '\\u0041', '\\x41', '\\N{BULLET}', '\\$x', '$x', '$$', 'é', '日本語', '\U0001f600', '\u2028',
    '\u2029', '\u0085', '\u202e', '\u200b', '\ufeff', '~', '*', '[a]', ' lead', 'trail ', '-n', '0',
    'true', 'None', 'NULL', '\\', 'a\\', "a'\\", 'R"(x)"', '\\0', '\\1', '\x01' + '1', '\x01F',
]
NUMBERS = [0, 1, -1, 2**31, 2**53, 2**63 - 1, -2**63, 2**64, 10**40, 0.5, -0.25, 1e300, 1e-300, 2.0,
           0.1, 1e16, -0.0]
REFERENCE = '''
import json, sys
import nbformat
from papermill.parameterize import parameterize_notebook
from papermill.translators import papermill_translators
nb, language, values = json.load(sys.stdin)
source = papermill_translators.find_translator('', language).codify(values)
tags = None
if nb:
    nb = nbformat.from_dict(nb)
    nb.metadata['papermill'] = nbformat.from_dict({})
    for c in nb.cells:
        c.metadata.setdefault('tags', [])
    nb = parameterize_notebook(nb, values, kernel_name='x', language=language)
    tags = [(c.source, c.metadata.get('tags', [])) for c in nb.cells]
print(json.dumps([source, tags]))
'''


def tool(*args, text):
    p = subprocess.run([TOOL, *args], input=text, capture_output=True, timeout=60)
    if p.returncode > 1:
        raise AssertionError(p.stderr.decode())
    return p.stdout


def notebook(*cells, minor=5, **metadata):
    out = []
    for i, (source, *tags) in enumerate(cells):
        cell = {'cell_type': 'code', 'execution_count': None, 'metadata': {'tags': tags} if tags
                else {}, 'outputs': [], 'source': source}
        out.append({**cell, 'id': f'c{i}'} if minor >= 5 else cell)
    return {'cells': out, 'metadata': metadata, 'nbformat': 4, 'nbformat_minor': minor}


def inject(nb, language, values):
    """The cells after it."""
    out = json.loads(tool('inject', language, json.dumps(values), text=json.dumps(nb).encode()))
    for cell in out['cells']:
        cell['source'] = ''.join(cell['source'])
    return out['cells']


def source_of(language, values):
    return inject(notebook(), language, values)[0]['source']


def papermill(language, values, nb=None):
    """(source, [(source, tags) of the cells])"""
    venv = os.path.join(BUILD, 'papermill-venv')
    python = os.path.join(venv, 'bin/python')
    if not os.path.exists(os.path.join(venv, 'installed')):
        shutil.rmtree(venv, ignore_errors=True)
        p = subprocess.run([sys.executable, '-m', 'venv', venv], capture_output=True)
        if p.returncode == 0:
            p = subprocess.run([python, '-m', 'pip', 'install', '-q', 'papermill'],
                               capture_output=True, timeout=300)
        if p.returncode:
            raise tap.Skip(f'papermill cannot be installed: {p.stderr.decode()[-200:]!r}')
        with open(os.path.join(venv, 'installed'), 'w', encoding='utf-8'):
            pass
    p = subprocess.run([python, '-c', REFERENCE], input=json.dumps([nb, language, values]),
                       capture_output=True, text=True, timeout=60, check=True)
    return json.loads(p.stdout)


def some_value(rng, depth=0):
    kind = rng.randrange(8 if depth < 4 else 6)
    if kind == 6:
        return [some_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        return {rng.choice(TEXTS) + str(i): some_value(rng, depth + 1)
                for i in range(rng.randrange(4))}
    if kind == 5:
        return ''.join(chr(rng.choice((rng.randrange(1, 128), rng.randrange(0xa0, 0xd800),
                                       rng.randrange(0x10000, 0x110000))))
                       for _ in range(rng.randrange(20)))
    return rng.choice((rng.choice(TEXTS), rng.choice(NUMBERS), True, False, None))


def all_values(nested=True):
    rng = random.Random(7)
    values = {f't{i}': t for i, t in enumerate(TEXTS)}
    values.update({f'n{i}': n for i, n in enumerate(NUMBERS)})
    values.update({'yes': True, 'no': False, 'none': None, 'list': TEXTS[:], 'empty': []})
    if nested:
        values.update({'nothing': {}, 'table': {f'{t}.': t for t in TEXTS}})
        values.update({f'r{i}': some_value(rng) for i in range(200)})
    return values


def same(a, b):
    """Equal, of one type, to the last bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return a == b and (not isinstance(a, float) or math.copysign(1, a) == math.copysign(1, b))


def assigned(source):
    tree = ast.parse(source)
    assert all(isinstance(s, ast.Assign) and len(s.targets) == 1 for s in tree.body), source
    return {s.targets[0].id: ast.literal_eval(s.value) for s in tree.body}


@TESTS.test
def python_reads_what_was_meant():
    values = all_values()
    source = source_of('python', values)
    assert source.startswith('# Parameters\n') and source.count('\n') == len(values)
    assert same(assigned(source), values)


@TESTS.test
def papermill_means_the_same_python():
    values = {k: v for k, v in all_values().items() if k[0] != 'r'}
    assert assigned(papermill('python', values)[0]) == assigned(source_of('python', values))


@TESTS.test
def ipython_leaves_it_alone():
    source = source_of('python', all_values())
    p = subprocess.run([DEBIAN_PYTHON, '-c', '''
import sys
from IPython.core.inputtransformer2 import TransformerManager
text = sys.stdin.read()
sys.exit(TransformerManager().transform_cell(text) != text + '\\n')
'''], input=source.encode(), stderr=subprocess.PIPE, timeout=60)
    if b'ModuleNotFoundError' in p.stderr:
        raise tap.Skip('no IPython')
    assert p.returncode == 0, p.stderr


def bash_text(v):
    return {True: 'true', False: 'false', None: ''}[v] if v is None or v is True or v is False \
        else json.dumps(v) if not isinstance(v, str) else v


def check_bash(values, out):
    parts = out.split(b'\0')
    for name, v in values.items():
        for item in v if isinstance(v, list) else [v]:
            got = parts.pop(0).decode()
            assert got == bash_text(item), (name, item, got)
    assert parts == [b''], parts


def bash_print(values):
    return ''.join(f'printf "%s\\0" "${{{k}[@]}}"\n' for k, v in values.items() if v != [])


@TESTS.test
def bash_reads_what_was_meant():
    values = all_values(nested=False)
    with tempfile.TemporaryDirectory() as folder:
        p = subprocess.run(['bash', '--norc'], cwd=folder, capture_output=True, timeout=60,
                           input=(source_of('bash', values) + '\n' + bash_print(values)).encode())
        assert os.listdir(folder) == []
    check_bash(values, p.stdout)


@TESTS.test
def bash_on_a_terminal_reads_it_too():
    """The kernel of Bash types its cells into a terminal."""
    values = {k: v for k, v in all_values(nested=False).items() if k != 'list'}
    with tempfile.TemporaryDirectory() as folder:
        pid, fd = pty.fork()
        if pid == 0:
            os.chdir(folder)
            os.execvpe('bash', ['bash', '--norc', '-i'], {**os.environ, 'TERM': 'dumb',
                                                          'LANG': 'C.UTF-8', 'HISTFILE': ''})
        text = source_of('bash', values) + '\n{\n' + bash_print(values) + '} >out\nexit\n'
        data, end = text.encode(), time.monotonic() + 60
        while time.monotonic() < end:
            r, w, _ = select.select([fd], [fd] if data else [], [], 1)
            try:
                if r and not os.read(fd, 65536):
                    break
                if w:
                    data = data[os.write(fd, data[:256]):]
            except OSError:  # the terminal is gone
                break
        os.close(fd)
        os.waitpid(pid, 0)
        assert os.listdir(folder) == ['out'], os.listdir(folder)
        with open(os.path.join(folder, 'out'), 'rb') as f:
            check_bash(values, f.read())


def r_value(v):
    """As R's JSON writer says it: no difference between {} and [], doubles only."""
    if isinstance(v, dict):
        return {k: r_value(x) for k, x in v.items()} if v else []
    if isinstance(v, list):
        return [r_value(x) for x in v]
    return v if v is None or isinstance(v, (str, bool)) else float(v)


def near(a, b):
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(near(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(near, a, b))
    if isinstance(a, float) and isinstance(b, (int, float)) and not isinstance(b, bool):
        return math.isclose(a, b, rel_tol=1e-14)
    return type(a) is type(b) and a == b


@TESTS.test
def r_reads_what_was_meant():
    if not shutil.which('Rscript'):
        raise tap.Skip('no Rscript')
    values = all_values()
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, 'p.R'), 'w', encoding='utf-8') as f:
            f.write(source_of('R', values))
        # As IRkernel does: parse(text =) of a string.
        p = subprocess.run(['Rscript', '-e', '''
text <- paste(readLines("p.R", encoding = "UTF-8", warn = FALSE), collapse = "\\n")
e <- new.env(); eval(parse(text = text), e)
for (n in commandArgs(TRUE)) cat(jsonlite::toJSON(get(n, e), auto_unbox = TRUE, null = "null",
                                                  digits = NA), "\\n", sep = "")
'''] + list(values), cwd=folder, capture_output=True, timeout=120,
                           env={**os.environ, 'LANG': 'C.UTF-8'})
        assert os.listdir(folder) == ['p.R']
    lines = p.stdout.decode().split('\n')[:-1]
    assert len(lines) == len(values), (len(lines), p.stderr.decode())
    for (name, v), line in zip(values.items(), lines):
        assert near(r_value(v), json.loads(line)), (name, v, line)


@TESTS.test
def plain_values_are_written_as_papermill_writes_them():
    values = {'a': 1, 'b': -2.5, 'c': 1e300, 'd': True, 'e': False, 's': 'a b "c"', 'z': None}
    nested = {**values, 'l': [1, 'x', [2.0, None]], 't': {'k': {'m': [1]}, 'n': 'v'}}
    for language, v in (('python', nested), ('R', nested), ('julia', nested), ('bash', values)):
        theirs = papermill(language, v)[0].rstrip('\n')
        assert source_of(language, v) == theirs, (language, source_of(language, v), theirs)


@TESTS.test
def julia_gets_the_same_text_but_for_what_it_would_look_into():
    for text in TEXTS:
        ours = source_of('julia', {'x': text})
        if '$' in text:
            assert ours.count('\\$') == text.count('$') and ours.count('$') == text.count('$')
        else:
            theirs = papermill('julia', {'x': text})[0] if text in TEXTS[:6] else None
            assert theirs is None or ours == theirs.rstrip('\n'), (ours, theirs)
        literal = ours.split('x = ', 1)[1].replace('\\$', '$')
        assert ast.literal_eval(literal) == text, ours


@TESTS.test
def the_cell_goes_where_papermill_puts_it():
    p, i = 'parameters', 'injected-parameters'
    for cells in ([('a',), ('b', p), ('c',)], [('a', p), ('b', i)], [('a', i), ('b', p)],
                  [('a', p), ('b',), ('c', i), ('d', i)], [('a', p), ('b', 'x', p)], [('a',)], []):
        nb = notebook(*cells)
        ours = [(c['source'], c['metadata'].get('tags', [])) for c in
                inject(nb, 'python', {'x': 1})]
        theirs = [(s.rstrip('\n'), t) for s, t in papermill('python', {'x': 1}, nb)[1]]
        assert ours == theirs, (ours, theirs)


# ---- metadata ----

def canonical(nb):
    """As nbformat.write() writes it."""
    return json.dumps(nb, ensure_ascii=False, indent=1, sort_keys=True, separators=(',', ': ')) \
        .encode() + b'\n'


def layouts(nb):
    yield canonical(nb)
    yield canonical(nb).replace(b'\n', b'\r\n')
    yield json.dumps(nb).encode()
    yield json.dumps(nb, separators=(',', ':'), ensure_ascii=False).encode()
    yield json.dumps(nb, indent=4).encode()
    yield json.dumps(nb, indent='\t', ensure_ascii=False).encode() + b'\n'


def fixtures():
    real = glob.glob('/usr/lib/python3/dist-packages/nbclient/tests/files/*.ipynb')
    for path in sorted(glob.glob(os.path.join(FIXTURES, '*.ipynb')) + real):
        with open(path, 'rb') as f:
            data = f.read()
        p = subprocess.run([TOOL, 'set', 'nbcid-test', '1'], input=data, capture_output=True)
        if p.returncode == 0:  # not one of those that are refused
            yield os.path.basename(path), data


@TESTS.test
def only_the_metadata_changes():
    new = {'environment': {'type': 'nbcid', 'kernel': 'python3', 'name': 'é"\\'},
           'requirements': ['numpy==1.0', 'x ; python_version < "3"'], 'aa': [], 'zz': {'a': [{}]}}
    seen = exact = 0
    for name, data in fixtures():
        nb = json.loads(data)
        for before in (data, *layouts(nb)):
            after, wanted = before, copy.deepcopy(nb)
            for key, value in new.items():
                after = tool('set', key, json.dumps(value), text=after)
                wanted['metadata'][key] = value
                assert json.loads(after) == wanted, (name, key)
                assert tool('set', key, json.dumps(value), text=after) == after
            if before == canonical(nb):
                assert after == canonical(wanted), name
                exact += 1
            seen += 1
            # nothing goes but what is replaced
            if 'environment' not in nb['metadata'] and 'requirements' not in nb['metadata']:
                rest = iter(after)
                assert all(byte in rest for byte in before), name
    assert seen > 100 and exact > 20, (seen, exact)


@TESTS.test
def the_cell_is_written_as_nbformat_writes_it():
    for name, data in fixtures():
        nb = json.loads(data)
        before = canonical(nb)
        after = tool('inject', 'python', '{"x": "é\\n"}', text=before)
        assert after == canonical(json.loads(after)), name
        at = next(i for i, c in enumerate(json.loads(after)['cells'])
                  if c['metadata'].get('tags') == ['injected-parameters'])
        wanted = json.loads(after)
        del wanted['cells'][at]
        assert wanted == nb, name


@TESTS.test
def nbformat_takes_what_comes_out():
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for minor in range(6):
            nb = notebook(('a', 'parameters'), minor=minor)
            out = tool('inject', 'python', '{"x": 1}', text=json.dumps(nb).encode())
            files.append(os.path.join(folder, f'{minor}.ipynb'))
            with open(files[-1], 'wb') as f:
                f.write(tool('set', 'requirements', '["a"]', text=out))
        p = subprocess.run([DEBIAN_PYTHON, '-W', 'error', '-c', '''
import sys, nbformat
for path in sys.argv[1:]:
    nbformat.validate(nbformat.read(path, as_version=nbformat.NO_CONVERT))
''', *files], capture_output=True, timeout=60)
    if b'ModuleNotFoundError' in p.stderr:
        raise tap.Skip('no nbformat')
    assert p.returncode == 0, p.stderr.decode()


TESTS.run(sys.argv[3] if len(sys.argv) > 3 else '')
