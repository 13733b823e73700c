#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`nbcid env` and `nbcid run` with parameters, from outside.

Usage: test_env.py NBCID [PART-OF-A-TEST'S-NAME]. Prints TAP. Needs /usr/bin/python3 with nbclient,
nbformat and ipykernel; what else is missing (R) is skipped by name.
"""
import json
import os
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import tap  # noqa: E402

NBCID = os.path.abspath(sys.argv[1])
PYTHON = '/usr/bin/python3'
PATIENCE = 120
TESTS = tap.Tests()


def notebook(*cells, kernel='python3', language='python', minor=5, **metadata):
    out = []
    for i, (source, *tags) in enumerate(cells):
        cell = {'cell_type': 'code', 'execution_count': None, 'metadata': {'tags': tags} if tags
                else {}, 'outputs': [], 'source': source.splitlines(True)}
        out.append({**cell, 'id': f'c{i}'} if minor >= 5 else cell)
    spec = {'kernelspec': {'name': kernel, 'display_name': kernel, 'language': language}}
    return {'cells': out, 'metadata': {**spec, **metadata}, 'nbformat': 4, 'nbformat_minor': minor}


def text_of(nb):
    return json.dumps(nb, ensure_ascii=False, indent=1, sort_keys=True) + '\n'


class Folder:
    """A directory with packages that are installed for an interpreter of its own."""

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix='nbcid-test-')
        self.path = self.temporary.name
        self.site = os.path.join(self.path, 'site')
        os.makedirs(os.path.join(self.path, 'ws'))
        self.env = {**os.environ, 'PYTHONPATH': self.site, 'JUPYTER_PATH': '',
                    'HOME': self.path, 'JUPYTER_DATA_DIR': os.path.join(self.path, 'jupyter')}
        return self

    def __exit__(self, *exc):
        self.temporary.cleanup()

    def write(self, name, text):
        path = os.path.join(self.path, 'ws', name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8', newline='') as f:
            f.write(text if isinstance(text, str) else text_of(text))
        return path

    def install(self, name, version, *files, url=None):
        info = os.path.join(self.site, f'{name.replace("-", "_")}-{version}.dist-info')
        os.makedirs(info)
        record = []
        for file in files:
            path = os.path.join(self.site, file)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, 'w', encoding='utf-8') as f:
                f.write('raise SystemExit("this was imported")\n')
            record.append(f'{file},,\n')
        for member, text in (('METADATA', f'Metadata-Version: 2.1\nName: {name}\n'
                                          f'Version: {version}\n'), ('RECORD', ''.join(record))):
            with open(os.path.join(info, member), 'w', encoding='utf-8') as f:
                f.write(text)
        if url:
            with open(os.path.join(info, 'direct_url.json'), 'w', encoding='utf-8') as f:
                json.dump({'url': url}, f)

    def kernel(self, name, python, language='python'):
        folder = os.path.join(self.path, 'jupyter/kernels', name)
        os.makedirs(folder)
        with open(os.path.join(folder, 'kernel.json'), 'w', encoding='utf-8') as f:
            json.dump({'argv': [python, '-m', 'ipykernel', '-f', '{connection_file}'],
                       'display_name': name, 'language': language}, f)

    def run(self, *args, status=0):
        p = subprocess.run([NBCID, *args], cwd=os.path.join(self.path, 'ws'), env=self.env,
                           capture_output=True, text=True, timeout=PATIENCE)
        assert p.returncode == status, (p.returncode, p.stdout, p.stderr)
        return p

    def look(self, nb, *args, status=0):
        """What it says of one notebook."""
        self.write('nb.ipynb', nb)
        out = self.run('env', '--format', 'json', '--python', PYTHON, *args, 'nb.ipynb',
                       status=status).stdout
        return json.loads(out)[0]


@TESTS.test
def imports_become_pins():
    with Folder() as f:
        f.install('Acme-One', '1.2', 'acme_one/__init__.py')
        f.install('two', '2.0.post1', 'two.py')
        f.install('other', '3', 'unused.py')
        got = f.look(notebook(
            ('import os, acme_one.sub as a\n%matplotlib inline\nx = !ls\n!pip install unused\n',),
            ('def g():\n    from two import thing\n',), ('%%bash\nimport unused',),
            ('%%time\nimport two',), ('await g()\nacme_one?\n\n?g',),
            ('import unused', 'skip-execution')))
        assert got['requirements'] == ['Acme-One==1.2', 'two==2.0.post1'], got
        assert got['source'] == 'imports' and got['unresolved'] == []
        assert got['interpreter']['path'] == PYTHON and got['kernel']['name'] == 'python3'


@TESTS.test
def modules_beside_the_notebook_are_looked_into():
    with Folder() as f:
        f.install('deep', '1', 'deep.py')
        f.install('helper', '9', 'helper.py')
        f.write('helper.py', 'import deep\nimport pack\nimport helper\n')
        f.write('pack/__init__.py', 'from . import x\nraise SystemExit(1)\n')
        # a folder of scripts is a package only where no other is
        f.install('one', '1', 'one/__init__.py')
        f.write('one/script.py', 'import nosuch\n')
        f.write('scripts/a.py', 'import deep\n')
        got = f.look(notebook(('import helper, one, scripts.a',)))
        assert got['requirements'] == ['deep==1', 'one==1'] and not got['unresolved'], got


@TESTS.test
def namespace_packages_are_told_apart():
    with Folder() as f:
        f.install('ns-a', '1', 'ns/a/__init__.py')
        f.install('ns-b', '2', 'ns/b/__init__.py')
        f.install('ns-c', '3', 'ns/c.py')
        got = f.look(notebook(('from ns import b\nimport ns.c',)))
        assert got['requirements'] == ['ns-b==2', 'ns-c==3'], got


@TESTS.test
def what_is_not_known_is_named():
    with Folder() as f:
        f.install('fromgit', '1', 'fromgit.py', url='git+https://u:secret@example.org/x')
        nb = notebook(('import nosuch.thing\nimport fromgit\ntry:\n    import maybe\n'
                       'except ImportError:\n    maybe = None\n',), ('x = (',))
        before = text_of(nb)
        got = f.look(nb, '--write', status=1)
        what = {u['what']: u for u in got['unresolved']}
        assert list(what) == ['cell 2', 'nosuch', 'fromgit'], what
        assert what['nosuch']['where'] == 'cell 1' and '--python' in what['nosuch']['text']
        assert 'secret' not in json.dumps(got) and got['written'] is False
        with open(os.path.join(f.path, 'ws/nb.ipynb'), encoding='utf-8') as file:
            assert file.read() == before
        out = f.run('env', '--python', PYTHON, 'nb.ipynb', status=1).stdout
        assert 'nosuch (cell 1) is not installed for /usr/bin/python3' in out, out


@TESTS.test
def a_list_of_its_own_comes_first():
    with Folder() as f:
        got = f.look(notebook(('import nosuch',), requirements=['a>=1', 'b']))
        assert got['requirements'] == ['a>=1', 'b'] and got['source'] == 'notebook'
        assert got['unresolved'] == []
        got = f.look(notebook(('',), requirements='{"packages":{}}'), status=1)
        assert got['unresolved'][0]['what'] == 'metadata.requirements'


def read_back(path):
    """Does nbformat take it, and what is in it?"""
    code = ('import sys, json, nbformat\nnb = nbformat.read(sys.argv[1], as_version=4)\n'
            'nbformat.validate(nb)\nprint(nbformat.writes(nb), end="")')
    p = subprocess.run([PYTHON, '-W', 'error', '-c', code, path], capture_output=True, text=True,
                       timeout=PATIENCE)
    assert p.returncode == 0, p.stderr
    with open(path, encoding='utf-8') as f:
        assert f.read() == p.stdout + '\n'
    return json.loads(p.stdout)


@TESTS.test
def it_is_written_once_and_alone():
    with Folder() as f:
        f.install('one', '1', 'one.py')
        nb = notebook(('import one',), ('s = "é\u2028"',), authors=[{'name': 'x'}], zeta=1.50)
        before = text_of(nb)
        path = f.write('real.ipynb', before)
        link = os.path.join(f.path, 'ws/nb.ipynb')
        os.symlink('real.ipynb', link)
        os.chmod(path, 0o640)
        out = f.run('env', '--write', '--python', PYTHON, 'nb.ipynb').stdout
        assert '  metadata      written\n' in out, out
        assert os.path.islink(link) and stat.S_IMODE(os.stat(path).st_mode) == 0o640
        after = read_back(path)
        assert after['metadata'].pop('requirements') == ['one==1']
        environment = after['metadata'].pop('environment')
        assert environment['kernel'] == 'python3' and environment['type'] == 'nbcid'
        assert environment['name'].startswith('python-3.') and 'uri' not in environment
        assert after == nb
        p = subprocess.run(['git', 'diff', '--no-index', '--numstat', f.write('before', before),
                            path], capture_output=True, text=True)
        assert p.stdout.split()[:2] == ['8', '0'], p.stdout
        was = os.stat(path)
        out = f.run('env', '--write', '--python', PYTHON, 'nb.ipynb').stdout
        assert 'says so already' in out and 'as it lists them' in out
        assert os.stat(path).st_ino == was.st_ino and os.stat(path).st_mtime_ns == was.st_mtime_ns
        # our own reader has it
        head = f.run('env', '--format', 'json', '--python', PYTHON, 'nb.ipynb').stdout
        assert json.loads(head)[0]['requirements'] == ['one==1']


@TESTS.test
def an_empty_list_is_none():
    with Folder() as f:
        f.install('one', '1', 'one.py')
        got = f.look(notebook(('1',)), '--write')
        assert got['written'] and got['requirements'] == [], got
        assert 'requirements' not in read_back(os.path.join(f.path, 'ws/nb.ipynb'))['metadata']
        got = f.look(notebook(('import one',), requirements=[]), '--write')
        assert got['source'] == 'imports' and got['requirements'] == ['one==1'], got
        meta = read_back(os.path.join(f.path, 'ws/nb.ipynb'))['metadata']
        assert meta['requirements'] == ['one==1'], meta


@TESTS.test
def an_environment_of_others_stays():
    theirs = {'type': 'gcloud', 'name': 'tf.m1', 'uri': 'gcr.io/x/tf:m1'}
    with Folder() as f:
        got = f.look(notebook(('',), environment=theirs), '--write')
        assert got['environment'] == {**theirs, 'kernel': 'python3'} and got['written']
        got = f.look(notebook(('',), environment={**theirs, 'kernel': 'other'}), '--write')
        assert got['environment'] == {**theirs, 'kernel': 'other'}
        assert got['notes'] == [] or 'other' in got['notes'][0]
        got = f.look(notebook(('',), environment='x'), '--write', status=1)
        assert got['unresolved'][0]['what'] == 'metadata.environment'


@TESTS.test
def the_interpreter_is_that_of_the_kernel():
    with Folder() as f:
        python = os.path.join(f.path, 'python-of-the-kernel')
        with open(python, 'w', encoding='utf-8') as file:
            file.write(f'#!/bin/sh\nMARK=yes exec {PYTHON} "$@"\n')
        os.chmod(python, 0o755)
        f.install('one', '1', 'one.py')
        f.kernel('mine', python)
        f.write('nb.ipynb', notebook(('import one',), kernel='MINE'))
        got = json.loads(f.run('env', '--format', 'json', 'nb.ipynb').stdout)[0]
        assert got['interpreter']['path'] == PYTHON and got['requirements'] == ['one==1'], got
        assert got['kernel'] == {'name': 'MINE', 'installed': True}
        f.write('nb.ipynb', notebook(('',), kernel='nosuch'))
        got = json.loads(f.run('env', '--format', 'json', 'nb.ipynb').stdout)[0]
        assert got['notes'] == ['kernel nosuch is not installed here']


@TESTS.test
def modules_of_the_current_directory_are_not_run():
    with Folder() as f:
        for name in ('json', 'ast', 're', 'importlib', 'sitecustomize'):
            f.write(f'{name}.py', 'open("PWNED", "w")\n')
        f.env.pop('PYTHONPATH')
        f.look(notebook(('import json',)))
        assert not os.path.exists(os.path.join(f.path, 'ws/PWNED'))


@TESTS.test
def other_languages():
    with Folder() as f:
        nb = notebook(('library(x)',), kernel='ir', language='R',
                      language_info={'name': 'R', 'version': '4.2.2'})
        got = f.look(nb, '--write')
        assert got['requirements'] is None and got['environment'] == {
            'kernel': 'ir', 'name': 'r-4.2.2', 'type': 'nbcid'}, got
        assert 'requirements' not in read_back(os.path.join(f.path, 'ws/nb.ipynb'))['metadata']


@TESTS.test
def bad_input():
    with Folder() as f:
        f.write('old.ipynb', '{"metadata":{},"nbformat":3,"nbformat_minor":0,"worksheets":[]}')
        f.write('not.ipynb', '\ufeff{}')
        f.write('good.ipynb', notebook(('',)))
        p = f.run('env', '--python', PYTHON, 'old.ipynb', 'not.ipynb', 'none.ipynb', 'good.ipynb',
                  status=1)
        assert 'nbformat 3 is not supported' in p.stderr and 'byte order mark' in p.stderr
        assert 'none.ipynb: No such file' in p.stderr and 'good.ipynb\n' in p.stdout
        assert 'error' in json.loads(f.run('env', '--format', 'json', 'old.ipynb',
                                           status=1).stdout)[0]
        p = f.run('env', '--python', '/nonexistent', 'good.ipynb', status=1)
        assert '/nonexistent' in p.stderr
        for args in ([], ['--format', 'xml', 'good.ipynb'], ['--nosuch', 'good.ipynb']):
            p = f.run('env', *args, status=2)
            assert 'Usage' in p.stderr or '"xml" is none of text, json' in p.stderr, p.stderr


# ---- nbcid run with parameters ----

def run(f, nb, *args, status=0):
    """(executed notebook or None, log, events, standard error)"""
    f.write('sub/nb.ipynb', nb)
    run_dir = tempfile.mkdtemp(dir=f.path)
    p = f.run('run', '--python', PYTHON, '--workspace', '.', '--run-dir', run_dir, *args,
              'sub/nb.ipynb', status=status)

    def read(name):
        try:
            with open(os.path.join(run_dir, name), encoding='utf-8') as file:
                return file.read()
        except FileNotFoundError:
            return ''
    executed = read('out/executed.ipynb')
    events = [json.loads(line) for line in read('events.jsonl').splitlines()]
    return json.loads(executed) if executed else None, read('log.txt'), events, p.stderr


def output(nb, i):
    return ''.join(''.join(o.get('text', '')) for o in nb['cells'][i]['outputs'])


@TESTS.test
def a_python_notebook_gets_its_parameters():
    with Folder() as f:
        nb = notebook(('x = 1\nname = "old"', 'parameters'),
                      ('import os\nprint(x, repr(name), t, os.path.basename(os.getcwd()))\nx / 0',))
        path = f.write('p.json', '{"x": 2, "t": {"k": [1.5, null]}, "name": "file"}')
        out, log, events, _ = run(f, nb, '-p', 'name', 'it\'s "$(x)"\n', '--parameters', path,
                                  status=1)
        assert out['cells'][1]['metadata']['tags'] == ['injected-parameters']
        assert len(out['cells'][1]['id']) == 8
        assert output(out, 2) == "2 'it\\'s \"$(x)\"\\n' {'k': [1.5, None]} sub\n", output(out, 2)
        # the numbers of cells are those of the notebook that was run
        assert events[-1]['class'] == 'cell_error' and events[-1]['cell'] == 3, events[-1]
        assert 'parameters' not in log
        with open(os.path.join(f.path, 'ws/sub/nb.ipynb'), encoding='utf-8') as file:
            assert file.read() == text_of(nb)


@TESTS.test
def types_are_guessed_as_papermill_does():
    with Folder() as f:
        args, values = [], {'a': ('True', 'True'), 'b': ('False', 'False'), 'c': ('None', 'None'),
                            'd': ('-007', '-7'), 'e': ('1e3', '1000.0'), 'f': ('.5', '0.5'),
                            'g': ('5.', '5.0'), 'h': ('true', "'true'"), 'i': ('', "''"),
                            'j': ('+4', '4'), 'k': ('9' * 30, '9' * 30), 'l': ('nan', "'nan'"),
                            'm': ('1 2', "'1 2'"), 'n': ('-', "'-'"), 'o': ('1e', "'1e'"),
                            'p': ('-0', '0'), 'q': ('-h', "'-h'"), 'r': ('2.0', '2.0')}
        for name, (given, _) in values.items():
            args += ['-p', name, given]
        nb = notebook(('', 'parameters'), (f'print([{",".join(values)}])',))
        out, _, _, _ = run(f, nb, *args)
        wanted = '[' + ', '.join(v for _, v in values.values()) + ']\n'
        assert output(out, 2) == wanted, (output(out, 2), wanted)


@TESTS.test
def without_a_cell_for_them_they_go_to_the_top():
    with Folder() as f:
        out, log, _, err = run(f, notebook(('print(x)',)), '-p', 'x', '3')
        assert output(out, 1) == '3\n' and 'at the top' in log and 'at the top' in err
        assert 'at the top' not in run(f, notebook(('1',)), '-q', '-p', 'x', '3')[3]


@TESTS.test
def a_name_that_the_tagged_cell_does_not_know_is_a_warning():
    with Folder() as f:
        nb = notebook(('1',), ('x = 1\nfirst, rate = 2, .5\nx = 3', 'parameters'), ('print(x)',))
        out, _, _, err = run(f, nb, '-p', 'nope', '5', '-p', 'x', '7')
        line, = [text for text in err.splitlines() if 'warning' in text]
        assert output(out, 3) == '7\n' and line.startswith('sub/nb.ipynb: cell 2: '), err
        assert '"nope"' in line and 'it assigns: x, first, rate; ' in line, line
        assert 'warning' not in run(f, nb, '-p', 'rate', '1')[3]
        assert 'warning' not in run(f, nb, '-q', '-p', 'nope', '1')[3]


@TESTS.test
def what_does_not_fit_is_the_notebooks_failure():
    with Folder() as f:
        nb = notebook(('', 'parameters'))
        for args, nb, said in ((['-p', 'lambda', '1'], nb, "parameter 'lambda'"),
                               (['-p', 'a b', '1'], nb, "parameter 'a b'"),
                               (['-p', 'x', '1'], notebook(('',), language='scala'), 'scala')):
            out, _, events, err = run(f, nb, *args, status=2)
            assert out is None and events[-1]['class'] == 'check', events
            assert said in events[-1]['reason'] and said in err, (events, err)
        f.write('bad.json', '[1]')
        assert 'bad.json: write a JSON object' in f.run(
            'run', '--parameters', 'bad.json', 'sub/nb.ipynb', status=2).stderr
        assert 'write -p NAME VALUE' in f.run('run', 'sub/nb.ipynb', '-p', 'x', status=2).stderr


@TESTS.test
def an_r_notebook_gets_its_parameters():
    if not os.path.exists('/usr/share/jupyter/kernels/ir'):
        raise tap.Skip('no kernel of R')
    with Folder() as f:
        nb = notebook(('x = 1', 'parameters'), ('cat(x, s, l[[2]], d$k$m, is.null(n), b)',),
                      kernel='ir', language='R')
        path = f.write('p.json', json.dumps({'x': 2.5, 's': '\'"\\日本\n$(x)', 'l': [1, 'zwei'],
                                             'd': {'k': {'m': -3}}, 'n': None, 'b': True}))
        out, _, _, _ = run(f, nb, '--parameters', path)
        assert output(out, 2) == '2.5 \'"\\日本\n$(x) zwei -3 TRUE TRUE', output(out, 2)


TESTS.run(sys.argv[2] if len(sys.argv) > 2 else '')
