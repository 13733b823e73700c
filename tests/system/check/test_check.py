#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`nbcid check` from outside.

Usage: test_check.py NBCID [PART-OF-A-TEST'S-NAME]. Prints TAP. Needs /usr/bin/python3 with
IPython; what else is missing (R, bubblewrap) is skipped by name.
"""
import json
import os
import pty
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import tap  # noqa: E402

NBCID = os.path.abspath(sys.argv[1])
PYTHON = '/usr/bin/python3'
TOKEN = 'ghp_' + 'abcdefghijklmnopqrstuvwxyz0123456789'  # in two parts, for other scanners
TESTS = tap.Tests()


def notebook(*cells, language='python', kernel='python3', **metadata):
    spec = {'name': kernel, 'display_name': kernel, 'language': language}
    return {'nbformat': 4, 'nbformat_minor': 5, 'metadata': {'kernelspec': spec, **metadata},
            'cells': [{'cell_type': 'code', 'id': f'c{i}', 'metadata': {}, 'outputs': [],
                       'execution_count': None, 'source': s.splitlines(True)}
                      for i, s in enumerate(cells)]}


BAD = notebook('a = 1', 'b = 2\nprint((b)', '%time foo(\nbar(')


class Place:
    """A directory with files; check() runs there."""

    def __init__(self, **files):
        self.files = files

    def __enter__(self):
        self.tmp = tempfile.TemporaryDirectory(prefix='nbcid-check-')
        self.dir = self.tmp.name
        for name, content in self.files.items():
            self.write(name, content)
        return self

    def __exit__(self, *exc):
        self.tmp.cleanup()

    def write(self, name, content):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8') as f:
            f.write(content if isinstance(content, str) else json.dumps(content, indent=1))

    def check(self, *args, status=0, text=None):
        done = subprocess.run([NBCID, 'check', '--python', PYTHON, *args], cwd=self.dir, input=text,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8',
                              timeout=120, check=False)
        self.err = done.stderr
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done.stdout

    def findings(self, *args, status=0, text=None):
        out = json.loads(self.check('--format', 'json', *args, status=status, text=text))
        return {n['path']: n for n in out['notebooks']}


def rules(n):
    return [(f['severity'], f['rule'], f.get('cell'), f.get('cell_line')) for f in n['findings']]


@TESTS.test
def a_good_notebook_passes():
    with Place(**{'a.ipynb': notebook('import os', '%matplotlib inline\n!ls', 'await f()')}) as p:
        assert p.check('a.ipynb') == '1 notebook: 0 errors, 0 warnings\n'
        assert p.err == ''


@TESTS.test
def people_see_cell_line_file_line_and_caret():
    with Place(**{'a.ipynb': BAD}) as p:
        out = p.check('a.ipynb', status=1)
        with open(os.path.join(p.dir, 'a.ipynb'), encoding='utf-8') as f:
            line = 1 + next(i for i, s in enumerate(f) if 'print((b)' in s)
        assert re.match(
            rf'a\.ipynb:{line}:\d+: cell 2 line 2: error\[syntax\]: SyntaxError: '
            r"'\(' was never closed\n  \| print\(\(b\)\n  \|      \^\n  remedy: ", out), out
        assert out.endswith('1 notebook: 2 errors, 0 warnings\n'), out
        assert '\x1b' not in out


@TESTS.test
def directories_are_searched_and_rules_keep_out():
    good, bad = notebook('1'), notebook('(')
    with Place(**{'x/a.ipynb': good, 'x/B.IPYNB': bad, 'x/.ipynb_checkpoints/a.ipynb': bad,
                  'x/scratch/c.ipynb': bad, 'x/d.txt': '(', '.git/e.ipynb': bad,
                  '.nbcid.toml': '[notebooks]\nexclude = ["x/scratch/**"]\n'}) as p:
        os.symlink(p.dir, os.path.join(p.dir, 'x/loop'))
        assert sorted(p.findings('x', status=1)) == ['x/B.IPYNB', 'x/a.ipynb']
        assert sorted(p.findings('.', status=1)) == ['x/B.IPYNB', 'x/a.ipynb']
        # named itself, it is looked at
        assert sorted(p.findings('x/scratch/c.ipynb', status=1)) == ['x/scratch/c.ipynb']


@TESTS.test
def standard_input():
    with Place() as p:
        out = p.findings('-', status=1, text=json.dumps(BAD))
        assert rules(out['-'])[0] == ('error', 'syntax', 2, 2)


@TESTS.test
def levels_come_from_the_repository():
    nb = notebook('open("/home/ann/x")', '(')
    with Place(**{'repo/.git/x': '', 'repo/a/n.ipynb': nb, '.nbcid.toml': '[check]\nsyntax="off"\n',
                  'repo/.nbcid.toml': '[check]\nsyntax = "warn"\nabsolute_paths = "error"\n',
                  'own.toml': '[check]\nsyntax = "off"\n'}) as p:
        n = p.findings('repo/a/n.ipynb', status=1)['repo/a/n.ipynb']
        assert rules(n) == [('warning', 'syntax', 2, 1), ('error', 'absolute_paths', 1, 1)], n
        assert rules(p.findings('--config', 'own.toml', 'repo')['repo/a/n.ipynb']) == []
        os.remove(os.path.join(p.dir, 'repo/.nbcid.toml'))
        # what is above the repository's root is not its own
        assert rules(p.findings('repo', status=1)['repo/a/n.ipynb']) == [('error', 'syntax', 2, 1)]
        p.write('repo/.nbcid.toml', '[check]\nsyntax = "loud"\n')
        p.check('repo', status=2)
        assert '.nbcid.toml:2: key \'syntax\' in [check]' in p.err, p.err


@TESTS.test
def levels_hold_for_what_is_too_large_to_be_held():
    with Place() as p:
        with open(os.path.join(p.dir, 'a.ipynb'), 'w', encoding='utf-8') as f:
            f.write('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"id": "a", '
                    f'"cell_type": "{TOKEN}", "metadata": {{}}, "source": ""}}]}}')
            f.truncate(257 << 20)  # NULs, which no JSON has
        for levels, want in (('format = "off"\nsize = "error"', [('error', 'size')]),
                             ('format = "warn"\nsize = "off"', [('warning', 'format/enum'),
                                                               ('warning', 'format/json')])):
            p.write('.nbcid.toml', f'[check]\n{levels}\n')
            n = p.findings('a.ipynb', status='error' in levels)['a.ipynb']
            assert [(f['severity'], f['rule']) for f in n['findings']] == want, n
            assert TOKEN not in str(n), n
            assert n['notes'] == ['over 256 MiB: format and size alone are checked'], n
        assert p.findings('--only', 'secrets', 'a.ipynb')['a.ipynb']['findings'] == []
        with open(os.path.join(p.dir, 'a.ipynb'), 'rb') as f:
            done = subprocess.run([NBCID, 'check', '-'], stdin=f, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, timeout=120, check=False)
        assert done.returncode == 2 and 'over 256 MiB; write it to a file' in done.stderr, done


@TESTS.test
def declared_parameters_need_a_cell():
    rule = '[[job]]\nnotebook = "a/*.ipynb"\nparameters = { alpha = 1, beta = 2 }\n'
    tagged = notebook('alpha = 3')
    tagged['cells'][0]['metadata']['tags'] = ['parameters']
    with Place(**{'.nbcid.toml': rule, 'a/n.ipynb': notebook('1'), 'a/t.ipynb': tagged,
                  'b.ipynb': notebook('1')}) as p:
        found = p.findings('.', status=1)
        assert rules(found['a/n.ipynb']) == [('error', 'parameters', None, None)], found
        assert rules(found['a/t.ipynb']) == [('warning', 'parameters_unknown', 1, None)], found
        assert 'beta' in found['a/t.ipynb']['findings'][0]['message']
        assert rules(found['b.ipynb']) == []


@TESTS.test
def warnings_count_when_strict():
    with Place(**{'a.ipynb': notebook(f't = "{TOKEN}"')}) as p:
        out = p.check('a.ipynb')
        assert 'warning[secret]' in out and out.endswith('0 errors, 1 warning\n')
        out = p.check('--strict', 'a.ipynb', status=1)
        assert 'error[secret]' in out and out.endswith('1 error, 0 warnings\n')


@TESTS.test
def no_format_shows_a_secret():
    nb = notebook(f't = "{TOKEN}" + (')
    nb['cells'][0]['outputs'] = [{'output_type': 'stream', 'name': 'stdout', 'text': [TOKEN]}]
    nb['cells'][0][TOKEN] = 1
    with Place(**{'a.ipynb': nb}) as p:
        for form in 'human', 'json', 'sarif', 'github':
            out = p.check('--format', form, 'a.ipynb', status=1)
            assert TOKEN not in out and 'GitHub token' in out, out


@TESTS.test
def github_commands():
    with Place(**{'a,b.ipynb': BAD}) as p:
        lines = p.check('--format', 'github', 'a,b.ipynb', status=1).splitlines()
        assert len(lines) == 2
        assert re.fullmatch(r"::error file=a%2Cb\.ipynb,line=\d+,(col=\d+,)?title=syntax::cell 2 "
                            r"line 2: "
                            r"SyntaxError: '\(' was never closed%0A[^\n]+", lines[0]), lines


def required(value, what, schema):
    """The part of the SARIF 2.1.0 schema that our logs touch: required and allowed members."""
    members, must = schema
    assert isinstance(value, dict) and must <= set(value) <= set(members), (what, value)
    for key, inner in members.items():
        if key not in value:
            continue
        if isinstance(inner, list):
            assert isinstance(value[key], list), (what, key)
            for item in value[key]:
                required(item, key, inner[0])
        elif isinstance(inner, tuple):
            required(value[key], key, inner)
        else:
            assert isinstance(value[key], inner), (what, key)


TEXT = ({'text': str}, {'text'})
REGION = ({'startLine': int}, set())
PHYSICAL = ({'artifactLocation': ({'uri': str}, set()), 'region': REGION}, set())
LOCATION = ({'physicalLocation': PHYSICAL,
             'logicalLocations': [({'fullyQualifiedName': str}, set())]}, set())
RESULT = ({'ruleId': str, 'level': str, 'message': TEXT, 'locations': [LOCATION]}, {'message'})
DRIVER = ({'name': str, 'version': str, 'rules': [({'id': str}, {'id'})]}, {'name'})
SARIF = ({'$schema': str, 'version': str,
          'runs': [({'tool': ({'driver': DRIVER}, {'driver'}), 'results': [RESULT]}, {'tool'})]},
         {'version', 'runs'})


@TESTS.test
def sarif_is_of_its_schema():
    with Place(**{'a b.ipynb': BAD, 'c.ipynb': notebook('1'), 'd.ipynb': '{'}) as p:
        log = json.loads(p.check('--format', 'sarif', '.', status=1))
        required(log, 'log', SARIF)
        assert log['version'] == '2.1.0'
        run = log['runs'][0]
        known = {r['id'] for r in run['tool']['driver']['rules']}
        assert len(run['results']) == 3
        for r in run['results']:
            place = r['locations'][0]['physicalLocation']
            assert r['level'] in ('error', 'warning') and r['ruleId'] in known
            assert place['artifactLocation']['uri'] in ('a%20b.ipynb', 'd.ipynb')
            assert place['region']['startLine'] >= 1


@TESTS.test
def colour_only_on_a_terminal():
    def on_terminal(**env):
        ours, theirs = pty.openpty()
        p = subprocess.Popen([NBCID, 'check', '--python', PYTHON, 'a.ipynb'], stdout=theirs,
                             cwd=place.dir, env={'PATH': os.environ['PATH'], **env})
        os.close(theirs)
        out = b''
        try:
            while chunk := os.read(ours, 4096):
                out += chunk
        except OSError:
            pass
        os.close(ours)
        assert p.wait(60) == 1
        return b'\x1b[' in out
    with Place(**{'a.ipynb': BAD}) as place:
        assert on_terminal(TERM='xterm')
        assert not on_terminal(TERM='xterm', NO_COLOR='1')
        assert not on_terminal(TERM='dumb')


@TESTS.test
def wrong_usage_and_unreadable_files_are_2():
    with Place(**{'a.ipynb': BAD}) as p:
        p.check(status=2)
        p.check('--format', 'xml', 'a.ipynb', status=2)
        assert 'human, json, sarif, github' in p.err
        p.check('--nonsense', 'a.ipynb', status=2)
        assert p.err.startswith("nbcid check: unrecognized option '--nonsense'\n"), p.err
        out = p.check('missing.ipynb', 'a.ipynb', status=2)
        assert 'missing.ipynb' in p.err and 'SyntaxError' in out  # the others are checked
        assert 'Usage: nbcid check' in p.check('--help')


@TESTS.test
def an_interpreter_is_found_from_here_or_it_is_wrong_usage():
    with Place(**{'a.ipynb': BAD}) as p:
        os.mkdir(os.path.join(p.dir, 'bin'))
        os.symlink(PYTHON, os.path.join(p.dir, 'bin/python'))
        for python in 'bin/python', './bin/python', f'{p.dir}/bin/python', 'python3':
            n = p.findings('--python', python, 'a.ipynb', status=1)['a.ipynb']
            assert rules(n)[0] == ('error', 'syntax', 2, 2), (python, n)
        for python in 'bin/pythom', '/nonexistent', 'no-such-python', '', 'bin':
            assert p.check('--python', python, 'a.ipynb', status=2) == ''
            assert p.err.startswith('nbcid check: --python: '), p.err


@TESTS.test
def what_cannot_be_read_is_told_in_its_turn():
    with Place(**{'a.ipynb': BAD, 'd/b.ipynb': BAD}) as p:
        for jobs in '1', '8':
            said = subprocess.run([NBCID, 'check', '--python', PYTHON, '--jobs', jobs,
                                   'a.ipynb', 'gone', 'd', 'gone2'],
                                  cwd=p.dir, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, check=False).stdout
            places = [said.index(s) for s in ('a.ipynb:', ' gone: ', 'd/b.ipynb:', ' gone2: ')]
            assert places == sorted(places), said


@TESTS.test
def broken_rules_are_told_once_and_what_is_beside_them_is_checked():
    with Place(**{'a/1.ipynb': BAD, 'b/.nbcid.toml': 'no = [', 'b/2.ipynb': BAD, 'b/3.ipynb': BAD,
                  'c/4.ipynb': BAD}) as p:
        out = p.check('.', status=2)
        assert 'a/1.ipynb' in out and 'c/4.ipynb' in out and 'b/' not in out, out
        assert p.err.count('b/.nbcid.toml') == 1, p.err


@TESTS.test
def a_directory_that_cannot_be_read_is_told_and_those_beside_it_are_checked():
    deep = 'm' + '/d' * 70
    with Place(**{'a.ipynb': BAD, f'{deep}/b.ipynb': BAD, 'z/c.ipynb': BAD}) as p:
        assert sorted(p.findings('.', status=2)) == ['a.ipynb', 'z/c.ipynb']
        assert p.err.count('nested over 64 deep') == 1, p.err


@TESTS.test
def a_full_disk_is_told_once():
    with Place(**{f'{i}.ipynb': notebook(*['('] * 99) for i in range(8)}) as p:
        with open('/dev/full', 'wb') as full:
            done = subprocess.run([NBCID, 'check', '--python', PYTHON, '.'], cwd=p.dir, stdout=full,
                                  stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert done.stderr.count('\n') == 1 and 'No space left' in done.stderr, done.stderr


@TESTS.test
def complaints_hold_no_control_characters():
    with Place() as p:
        p.check('gone\x1b[31m\nnbcid check: all is fine', status=2)
        assert p.err == ('nbcid check: gone [31m nbcid check: all is fine: '
                         'No such file or directory\n'), p.err


@TESTS.test
def closed_standard_files_are_told_and_not_taken_for_others():
    with Place(**{'a.ipynb': BAD}) as p:
        for args in ('a.ipynb >&-', 'a.ipynb <&- >&-', '- <&-'):
            done = subprocess.run(['sh', '-c', f'exec "$0" check --python {PYTHON} {args}', NBCID],
                                  cwd=p.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, timeout=60, check=False)
            assert done.returncode == 2, (args, done)
            assert 'Bad file descriptor' in done.stderr, (args, done)


@TESTS.test
def what_is_no_notebook_is_a_finding():
    with Place(**{'a.ipynb': '<<<<<<< HEAD\n', 'b.ipynb': '', 'c.ipynb': '{"cells": 1}'}) as p:
        for n in p.findings('.', status=1).values():
            assert all(f['rule'].startswith('format/') for f in n['findings']), n
            assert n['findings'], n


@TESTS.test
def nothing_is_executed():
    evil = 'import os\nos.makedirs("made-by-code")\nraise SystemExit(9)'
    nb = notebook(evil, '!touch made-by-magic', '%%time\nopen("m", "w")')
    with Place(**{'a.ipynb': nb}) as p:
        p.check('a.ipynb')
        assert sorted(os.listdir(p.dir)) == ['a.ipynb']


@TESTS.test
def hostile_cells_do_no_harm():
    cells = ['(' * 20000, '-' * 200000 + '1', 'x' + '[0' * 5000, 'a\0b', '%' * 5000,
             '{' * 150 + '}' * 150,
             'f"' + '{' * 200, '"' * 9999, '\\' * 9999, '%who\n' * 60, 'lambda:' * 9000 + '1',
             'not ' * 50000 + '1', '9' * 100000,
             ''.join(' ' * i + 'if 1:\n' for i in range(150))]
    with Place(**{'a.ipynb': notebook(*cells, 'print(')}) as p:
        n = p.findings('a.ipynb', status=1)['a.ipynb']
        told = {f.get('cell') for f in n['findings']}
        # it may have ended the process, which is said once, or been told cell by cell
        assert told == {None} or {1, len(cells) + 1} <= told, told


@TESTS.test
def other_languages():
    nb = notebook('x <- 1', 'if (', 'f(x))', language='R', kernel='ir')
    with Place(**{'r.ipynb': nb}) as p:
        n = p.findings('r.ipynb')['r.ipynb']
        assert n['findings'] == []
        assert n['notes'] == ['cells in R are not checked (use --kernel-check)']
        if not os.path.exists('/usr/share/jupyter/kernels/ir'):
            raise tap.Skip('there is no R kernel here')
        n = p.findings('--kernel-check', 'r.ipynb', status=1)['r.ipynb']
        assert [f['cell'] for f in n['findings']] == [2, 3] and n['notes'] == [], n


@TESTS.test
def a_kernel_that_is_not_there_is_a_warning():
    with Place(**{'j.ipynb': notebook('1', language='julia', kernel='julia-0.1')}) as p:
        n = p.findings('--kernel-check', 'j.ipynb')['j.ipynb']
        assert rules(n) == [('warning', 'syntax', 1, None)], n
        assert 'not checked: kernel julia-0.1: NoSuchKernel' in n['findings'][0]['message']
        long = '\N{BROOM}' * 128
        p.write('k.ipynb', notebook('1', language='julia', kernel=long))
        n = p.findings('--only', 'syntax', '--kernel-check', 'k.ipynb')['k.ipynb']
        assert f'not checked: kernel {long}: ' in n['findings'][0]['message'], n


@TESTS.test
def without_ipython_nothing_is_blamed_wrongly():
    with tempfile.TemporaryDirectory(prefix='nbcid-venv-') as venv:
        subprocess.run([PYTHON, '-m', 'venv', '--without-pip', venv], check=True)
        python = os.path.join(venv, 'bin/python')
        cells = ['%time x', 'x = !ls\ny = 1', 'x?', '%%bash\nif', '!ls \\\n (',
                 'for x in y:\n  %who', 'print((', '%time\nprint((', 'pip install x\n']
        with Place(**{'a.ipynb': notebook(*cells)}) as p:
            n = p.findings('--python', python, 'a.ipynb', status=1)['a.ipynb']
            assert rules(n) == [('error', 'syntax', 7, 1), ('warning', 'syntax', 8, None)], n


@TESTS.test
def the_sandbox_shows_no_home_and_no_network():
    if subprocess.run(['bwrap', '--ro-bind', '/', '/', 'true'], check=False,
                      stderr=subprocess.DEVNULL).returncode:
        raise tap.Skip('bubblewrap does not work here')
    with Place(**{'a.ipynb': notebook('1')}) as p:
        probe = os.path.join(p.dir, 'python')
        p.write('python', '#!/bin/sh\nls -d "$HOME"/.[a-z]* /home/*/* >&2\n'
                          'grep -c : /proc/net/dev >&2\nid -u >&2\n'
                          'echo "home: $(ls /root /home 2>&1 | wc -l)" >&2\n'
                          'echo "nets: $(grep -c : /proc/net/dev); env: $(env | wc -l)" >&2\n'
                          'exit 1\n')
        os.chmod(probe, 0o755)
        n = p.findings('--sandbox', 'bubblewrap', '--python', probe, 'a.ipynb')['a.ipynb']
        assert 'nets: 1; env: ' in n['findings'][0]['message'], n


def mixed(i):
    """A notebook with findings, no finding, or none at all: by its number."""
    nb = notebook(f'x = {i}\n', 'y = 1')
    if i % 7 == 1:
        nb['cells'][1]['id'] = nb['cells'][0]['id']
    elif i % 7 == 2:
        del nb['cells'][i % 2]['outputs']
    elif i % 7 == 3:
        nb['cells'] = [{**nb['cells'][0], 'id': f'{k}', 'source': k} for k in range(150)]
    elif i % 7 == 4:
        return json.dumps(nb)[:100 + i % 100]
    elif i % 7 == 5:
        nb['cells'][0]['source'] = f't = "{TOKEN}"; print(('
    elif i % 7 == 6:
        nb['cells'][0]['outputs'] = [{'output_type': 'stream', 'name': 'stdout',
                                      'text': ['x' * 70 + '\n'] * (i * 37 % 2000)}]
    return nb


@TESTS.test
def many_threads_say_what_one_says():
    files = {f'd{i % 5}/{i:03}.ipynb': mixed(i) for i in range(280)}
    config = '[check]\nsecrets = "error"\nsize = "warn"\nmax_size = "40KiB"\n'
    with Place(**files, **{'d3/.nbcid.toml': config, 'd4/.nbcid.toml': 'no = ['}) as p:
        paths = ['d0', 'd3', 'gone.ipynb', 'd1/001.ipynb', 'd4/004.ipynb', '-', 'd2', 'd3/003.ipynb',
                 '-', 'd1', 'd4/009.ipynb']
        for form in ('human', 'json', 'sarif', 'github'):
            for only in (['--only', 'format'], ['--only', 'size', '--only', 'format'], []):
                if not only and form != 'human':
                    continue  # its processes take time to start
                said = []
                for jobs in '1', '8', '0':
                    out = p.check('--format', form, '--jobs', jobs, *only, *paths, status=2,
                                  text=json.dumps(BAD))
                    said.append((out, p.err))
                assert said[0] == said[1] == said[2], (form, only)
                assert out.count('003.ipynb') >= 2 and p.err.count('d4/') >= 2, (out, p.err)
                assert only or 'error[secret]' in out and 'error[syntax]' in out, out


@TESTS.test
def a_file_that_takes_long_holds_up_none_but_the_output():
    slow = notebook('1')
    slow['cells'][0]['outputs'] = [{'output_type': 'stream', 'name': 'stdout',
                                    'text': ['x' * 70 + '\n'] * 100_000}]
    with Place(**{f'{i:04}.ipynb': slow if i in (0, 700) else mixed(i) for i in range(1200)}) as p:
        out = p.check('--only', 'format', '--jobs', '8', '.', status=1)
        named = [line.split(':')[0] for line in out.splitlines() if ': error[' in line]
        assert named == sorted(named), named
        assert len(set(named)) == sum(i % 7 in (2, 3, 4) for i in range(1200) if i not in (0, 700))
        assert out.splitlines()[-1].startswith('1200 notebooks: '), out[-200:]


@TESTS.test
def thousands_of_files():
    with Place() as p:
        texts = [text if isinstance(text, str) else json.dumps(text)
                 for text in (mixed(i) for i in range(70))]
        for i in range(5000):
            if i % 100 == 0:
                os.mkdir(os.path.join(p.dir, f'{i // 100}'))
            with open(os.path.join(p.dir, f'{i // 100}/{i}.ipynb'), 'w', encoding='utf-8') as f:
                f.write(texts[i % 70])
        done = p.check('--only', 'format', '--jobs', '8', '.', status=1).splitlines()[-1]
        assert done.startswith('5000 notebooks: '), done


@TESTS.test
def one_rule_alone():
    with Place(**{'a.ipynb': BAD, 'b.ipynb': '{"cells": 1}'}) as p:
        assert rules(p.findings('--only', 'format', '--python', '/nonexistent',
                                'a.ipynb')['a.ipynb']) == []
        assert rules(p.findings('--only', 'syntax', 'a.ipynb', status=1)['a.ipynb']) != []
        found = rules(p.findings('--only', 'format', 'b.ipynb', status=1)['b.ipynb'])
        assert {r for _, r, _, _ in found} == {'format/type', 'format/required'}, found
        p.check('--only', 'spelling', 'a.ipynb', status=2)
        assert '"spelling" is no rule of [check]' in p.err, p.err
        p.check('--jobs', '-1', 'a.ipynb', status=2)
        assert '--jobs' in p.err, p.err


TESTS.run(sys.argv[2] if len(sys.argv) > 2 else '')
