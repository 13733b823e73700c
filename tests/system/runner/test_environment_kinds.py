#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Environments of `nbcid run` in images, by conda and by uv; and whose kernels they have.

Usage: test_environment_kinds.py NBCID [PART-OF-A-TEST'S-NAME]. Prints TAP. Podman and micromamba
are strict fakes, as the names say; tests that say "real index" are skipped where it does not
answer.
"""
import contextlib
import json
import os
import shutil
import subprocess
import tempfile

from environment_world import IMPORT, MINOR, Index, Store, of_run, refused, wheel
from runner_world import NBCID, PYTHON, Run, has_kernel, main, notebook, tap

TESTS = tap.Tests()


# ---- kernels ----

@TESTS.test
def kernel_names_are_forgiven():
    with Index() as index, Store() as store:
        for kernel, language, options in (
                ('conda-env-tf-py', 'python', ()), ('local-python3', 'python', ()),
                ('python3', 'python', ('--kernel', 'tf2-2-11')), ('tf', 'ipython', ()),
                ('remote-python3', '', ())):  # those of remote kernels may name no language
            with store.run(index, IMPORT, *options, kernel=kernel, language=language,
                           requirements='colour==1.0') as r:
                r.ended('passed', 0)
                assert r.text(0) == '1.0\n'
        with store.run(index, IMPORT, kernel='x', language='cobol', requirements='colour==1.0') as r:
            last = r.ended('no_kernel', 1)
            assert 'python3' in last['reason']
        if has_kernel('ir'):
            with store.run(index, 'cat(1 + 1)', kernel='ir', language='R',
                           requirements='colour==1.0') as r:
                r.ended('passed', 0)
                assert '2' in r.text(0)


@TESTS.test
def kernelspecs_of_the_environment_are_its_own():
    other = json.dumps({'argv': ['python3', '-m', 'ipykernel_launcher', '-f', '{connection_file}'],
                        'display_name': 'other', 'language': 'python', 'env': {'OTHER': 'yes'}})
    package = wheel('other', '1.0', {
        'other.py': '', 'other-1.0.data/data/share/jupyter/kernels/other/kernel.json': other})
    with Index(package) as index, Store() as store:
        look = 'import os, sys; print(os.environ.get("OTHER"), sys.prefix)'
        with store.run(index, look, kernel='other', requirements='other') as r:
            r.ended('passed', 0)
            assert r.text(0).startswith('yes ' + store.path), r.text(0)


# ---- images and conda ----

@TESTS.test
def an_image_is_refused_or_replaced_where_none_are_run():
    with Store() as store:
        with store.run(None, 'print(1)', image='gcr.io/deeplearning/tf2') as r:
            last = r.ended('environment', 1)
            assert 'gcr.io/deeplearning/tf2' in last['reason'] and 'podman' in last['reason']
            assert 'image_fallback' in last['reason']
        with store.run(None, 'print(1)', '--image-fallback', 'default', image='gcr.io/x/y') as r:
            last = r.ended('passed', 0)
            assert "the executor's own environment" in last['reason'], last
            assert 'gcr.io/x/y' in last['reason'], last
        with Index() as index, store.run(index, IMPORT, '--image-fallback', 'default',
                                         image='gcr.io/x/y', requirements='colour==1.0') as r:
            last = r.ended('passed', 0)
            assert r.text(0) == '1.0\n'
            assert 'environment of its requirements' in last['reason'], last
        with store.run(None, 'print(1)', '--podman', '/nonexistent/podman', image='x') as r:
            last = r.ended('infrastructure', 3)
            assert '/nonexistent/podman' in last['reason']


@TESTS.test
def by_hand_the_image_that_the_notebook_names_counts():
    nb = notebook('print(1)', environment={'uri': 'gcr.io/deeplearning/tf2'})
    with Run(nb, quiet=False) as r:
        last = r.ended('environment', 1)
        for part in ('gcr.io/deeplearning/tf2', '--podman', '--image-fallback', '--environment'):
            assert part in last['reason'] and part in r.stderr(), (last, r.stderr())
    with Run(nb, '--image-fallback', 'default', quiet=False) as r:
        last = r.ended('passed', 0)
        assert 'gcr.io/deeplearning/tf2' in last['reason'], last
        line, = [x for x in r.stderr().splitlines() if 'runs in this machine' in x]
        assert 'gcr.io/deeplearning/tf2' in line and '--podman' in line, line
    with Run(nb, '--podman', '/nonexistent/podman') as r:
        assert '/nonexistent/podman' in r.ended('infrastructure', 3)['reason']
    with tempfile.NamedTemporaryFile('w', suffix='.json') as f:
        f.write('{}')
        f.flush()
        with Run(nb, '--environment', f.name, quiet=False) as r:
            r.ended('passed', 0)
            assert 'image' not in r.stderr(), r.stderr()
    with Run(notebook('print(1)', requirements=['colour==1.0']), quiet=False) as r:
        r.ended('passed', 0)
        assert 'metadata.requirements names is not installed' in r.stderr(), r.stderr()


@TESTS.test
def conda_is_refused_with_the_remedy_where_it_is_not():
    if shutil.which('micromamba') or shutil.which('conda'):
        raise tap.Skip('there is a conda here')
    with Store() as store, store.run(None, 'print(1)', conda='dependencies: [numpy]\n') as r:
        last = r.ended('environment', 1)
        assert 'micromamba' in last['reason'] and 'requirements.txt' in last['reason']


FAKE_PODMAN = r'''#!/usr/bin/python3
import json, os, signal, sys
argv = sys.argv[1:]
with open(LOG, 'a') as f:
    f.write(json.dumps(argv) + '\n')
def die(text):
    print('Error: ' + text, file=sys.stderr)
    sys.exit(125)
if not (argv[0].startswith('--root=/') and argv[1].startswith('--runroot=/')):
    die('where is my storage?')
if len(argv[1]) > len('--runroot=') + 50:
    die('the specified runroot is longer than 50 characters')
argv = argv[2:]
if not set(os.environ) <= {'PATH', 'LANG', 'TERM', 'PYTHONUNBUFFERED', 'NBCID', 'CI', 'HOME',
                           'JUPYTER_RUNTIME_DIR', 'PYDEVD_DISABLE_FILE_VALIDATION', 'LC_CTYPE',
                           'JPY_PARENT_PID', 'DEBUGINFOD_URLS', 'FORCE_COLOR', 'CLICOLOR',
                           'CLICOLOR_FORCE', 'JPY_SESSION_NAME', 'PYTHONEXECUTABLE', 'PWD'}:
    die('environment: ' + repr(sorted(os.environ)))
there = os.path.exists(LOG + '.pulled')
if argv[:3] == ['image', 'exists', '--'] and len(argv) == 4:
    sys.exit(0 if there else 1)
if argv[:3] == ['pull', '--quiet', '--'] and len(argv) == 4:
    if 'none' in argv[3]:
        die('initializing source docker://x: reading manifest latest in x: manifest unknown')
    if 'away' in argv[3]:
        die('pinging registry x: Get "https://x/v2/": dial tcp: lookup x: no such host')
    open(LOG + '.pulled', 'w').close()
    sys.exit(0)
if argv[:1] == ['rm']:
    sys.exit(0 if argv[1:5] == ['--force', '--ignore', '--time=0', '--'] and len(argv) == 6 else 1)
if argv[:1] != ['run']:
    die('unknown command ' + argv[0])
options, rest = argv[1:argv.index('--')], argv[argv.index('--') + 1:]
for need in ('--rm', '--network=host', '--pull=never', '--user=0:0', '--cap-drop=all',
             '--security-opt=no-new-privileges'):
    options.remove(need) if need in options else die('no ' + need)
seen = {}
for o in options:
    name, _, value = o.partition('=')
    if name not in ('--name', '--env', '--volume', '--workdir'):
        die('unknown flag ' + o)
    seen.setdefault(name, []).append(value)
if not there:
    die('no such image: ' + rest[0])
command = rest[1:]
# What an image has is in its name: nothing but python and R; a jupyter that lists a kernel called
# sum, and is loud or slow.
if command[:1] == ['jupyter']:
    if command != ['jupyter', 'kernelspec', 'list', '--json']:
        die('unknown words of jupyter: ' + repr(command))
    if 'jupyter' not in rest[0]:
        print('Error: crun: executable file `jupyter` not found in $PATH', file=sys.stderr)
        sys.exit(127)
    if 'slow' in rest[0]:
        open(LOG + '.asked', 'w').close()
        signal.pause()
    if 'loud' in rest[0]:
        print('x' * (8 << 20))
    kernels = {name: {'resource_dir': '/opt/kernels/' + name, 'spec': {
        'argv': ['/opt/conda/bin/python', '{resource_dir}/kernel.py', '{connection_file}'],
        'display_name': name, 'language': language, 'metadata': {},
        'env': {'SUM': 'a=b', 'PATH': '/opt/bin:${PATH}'}}}
        for name, language in (('sum', 'Summa'), ('also', 'summa'), ('py', 'python'))}
    kernels['odd'], kernels['none'] = {'spec': {'argv': 7}}, []
    kernels['bad'] = {'resource_dir': '/', 'spec': {**kernels['sum']['spec'], 'argv': ['a', 7]}}
    print('Entered start.sh with args: jupyter kernelspec list --json')
    print(json.dumps({'kernelspecs': kernels}, indent=2))
    sys.exit(0)
if command[:3] == ['python', '-m', 'ipykernel_launcher'] and command[3] == '-f':
    file, kernel = command[4], ['/usr/bin/python3', *command[1:]]
elif command[:5] == ['R', '--slave', '-e', 'IRkernel::main()', '--args'] and 'with-r' in rest[0]:
    file, kernel = command[5], ['/usr/bin/R', *command[1:]]
elif command[0] == '/opt/conda/bin/python' and 'jupyter' in rest[0]:
    if command[1] not in ('/opt/kernels/sum/kernel.py', '/opt/kernels/also/kernel.py') or \
            'SUM=a=b' not in seen['--env'] or any(e.startswith('PATH=') for e in seen['--env']):
        die('not what the kernelspec says: ' + repr(argv))
    file = command[2]
    kernel = ['/usr/bin/python3', '-m', 'ipykernel_launcher', '-f', file]
    seen['--env'].append('KERNEL=' + command[1])
else:
    die('not a kernel: ' + repr(rest))
mounts = [v.split(':')[0] for v in seen['--volume']]
if not all(os.path.isdir(m) for m in mounts) or not file.startswith(tuple(m + '/' for m in mounts)):
    die('the connection file is not mounted')
os.chdir(seen['--workdir'][0])
os.environ.update(v.split('=', 1) for v in seen['--env'])
os.environ['IN_IMAGE'] = rest[0]
os.execv(kernel[0], kernel)
'''


@contextlib.contextmanager
def fake_podman(name='e'):
    """(store, options, file that notes the calls); by name short enough for podman's run
    directory."""
    with Store(name) as store:
        fake, log = store.base + '/podman', store.base + '/log'
        with open(fake, 'w') as f:
            f.write(FAKE_PODMAN.replace('LOG', repr(log)))
        os.chmod(fake, 0o755)
        yield store, ('--podman', fake), log


def runs_of(log):
    with open(log) as f:
        calls = [json.loads(line)[2:] for line in f]
    runs = [c[c.index('--') + 2:] for c in calls if c[0] == 'run']
    os.remove(log)
    return [words[0] for words in runs]


@TESTS.test
def an_image_runs_in_a_strict_fake_podman():
    look = 'import os; print(os.environ["IN_IMAGE"], os.getcwd(), os.path.exists("nb.ipynb"))'
    image = 'docker.io/acme/tf:2; touch /tmp/nbcid-owned'
    with fake_podman() as (store, use, log):
        with store.run(None, look, *use, image='none') as r:
            last = r.ended('environment', 1)
            assert 'manifest unknown' in last['reason'] and of_run(r, 'environment.log.txt')
        with store.run(None, look, *use, image='away') as r:
            last = r.ended('infrastructure', 3)
            assert 'no such host' in last['reason']
        for pulled in (True, False):
            with store.run(None, look, *use, image=image, kernel='tf2-2-11') as r:
                r.ended('passed', 0)
                assert r.text(0) == f'{image} {r.workspace} True\n', r.text(0)
                assert of_run(r, 'environment.json')['image'] == image
        with open(log) as f:
            calls = [json.loads(line)[2:] for line in f]
        with store.run(None, look, *use, image=image, requirements='colour==1.0') as r:
            assert 'are not installed' in r.ended('passed', 0)['reason']
        assert sum(c[:1] == ['pull'] and c[3] == image for c in calls) == 1, calls
        assert [c[0] for c in calls].count('rm') == [c[0] for c in calls].count('run') == 2
        with open(log) as f:
            assert {json.loads(line)[1] for line in f} == \
                {f'--runroot={store.path}/containers/run'}
        assert not os.path.exists('/tmp/nbcid-owned')
        going = 'open("going", "w").close(); import time; time.sleep(600)'
        with store.run(None, ['print("a")', going], *use, image=image) as r:
            r.until_file('going')
            r.process.terminate()
            r.ended('cancelled', 1)
            assert r.outputs(1)[-1]['ename'] == 'KeyboardInterrupt', r.outputs(1)


@TESTS.test
def podmans_run_directory_in_tmp_is_ours_or_nothing_is_run():
    with fake_podman('environments') as (store, use, log):
        with store.run(None, 'print(7)', *use, image='acme/tf') as r:
            r.ended('passed', 0)
        with open(log) as f:
            runroot = json.loads(f.readline())[1].partition('=')[2]
        assert runroot.startswith(f'/tmp/nbcid-{os.geteuid()}-') and len(runroot) <= 50
        os.rmdir(runroot)
        os.symlink(store.base, runroot)
        with store.run(None, 'print(7)', *use, image='acme/tf') as r:
            last = r.ended('infrastructure', 3)
            assert f'{runroot} is not a directory that is ours alone; remove it' in \
                last['reason'], last
        os.unlink(runroot)


@TESTS.test
def an_image_is_asked_for_kernels_other_than_its_python():
    look = 'import os; print(os.environ.get("KERNEL"), os.environ.get("SUM"))'
    with fake_podman() as (store, use, log):
        # By its name; else the first of that language; of a Python nothing needs to be asked.
        for kernel, language, chosen, asked in (
                ('sum', 'Summa', '/opt/kernels/sum/kernel.py', True),
                ('SUM', '', '/opt/kernels/sum/kernel.py', True),
                ('summa-1.9', 'Summa', '/opt/kernels/also/kernel.py', True),
                ('conda-env-py', 'python', None, False)):
            with store.run(None, look, *use, image='acme/jupyter', kernel=kernel,
                           language=language) as r:
                r.ended('passed', 0)
                assert r.text(0) == f'{chosen} {"a=b" if asked else None}\n', r.text(0)
                assert runs_of(log)[:-1] == ['jupyter'] * asked
        with store.run(None, look, *use, image='acme/jupyter', kernel='x', language='cobol') as r:
            last = r.ended('no_kernel', 1)
            assert last['reason'].endswith('none for cobol; the image has: also, py, sum'), last
        with store.run(None, look, *use, image='acme/jupyter-loud', kernel='sum',
                       language='Summa') as r:
            last = r.ended('no_kernel', 1)
            assert 'does not say' in last['reason'] and 'ir, python3' in last['reason'], last
        with store.run(None, look, *use, image='acme/jupyter-slow', kernel='sum',
                       language='Summa') as r:
            r.until_file(log + '.asked')
            r.process.terminate()
            r.ended('cancelled', 1)


@TESTS.test
def an_image_without_jupyter_may_have_r():
    with fake_podman() as (store, use, log):
        with store.run(None, 'print(1)', *use, image='acme/tf', kernel='julia-1.9',
                       language='julia') as r:
            last = r.ended('no_kernel', 1)
            assert 'status 127' in last['reason'], last
            assert last['reason'].endswith('could only be: ir, python3'), last
            assert '`jupyter` not found' in r.log()
        with store.run(None, 'cat(1)', *use, image='acme/tf', kernel='ir', language='R') as r:
            last = r.ended('kernel_start', 3)
        if not has_kernel('ir'):
            raise tap.Skip('there is no R kernel')
        runs_of(log)
        with store.run(None, 'cat(Sys.getenv("IN_IMAGE"), 1 + 1)', *use, image='acme/with-r',
                       kernel='r-4.2', language='R') as r:
            r.ended('passed', 0)
            assert r.text(0) == 'acme/with-r 2', r.text(0)
            assert runs_of(log) == ['jupyter', 'R']


# ---- other builders ----

FAKE_MICROMAMBA = r'''#!/usr/bin/python3
import json, os, subprocess, sys
argv = sys.argv[1:]
if argv == ['--version']:
    print('1.5.8')
    sys.exit(0)
if argv[0] not in ('create', 'install') or argv[1:4] != ['-y', '-q', '-p']:
    sys.exit('unknown: ' + repr(argv))
prefix, rest = argv[4], argv[5:]
site = prefix + '/lib/pythonMINOR/site-packages'
def put(name, version):
    os.makedirs(f'{site}/{name}-{version}.dist-info', exist_ok=True)
    with open(f'{site}/{name}-{version}.dist-info/METADATA', 'w') as f:
        f.write(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
    os.makedirs(prefix + '/conda-meta', exist_ok=True)
    with open(f'{prefix}/conda-meta/{name}.json', 'w') as f:
        json.dump({'url': f'https://conda.example/noarch/{name}-{version}.conda', 'md5': 'abc'}, f)
if argv[0] == 'install':
    assert rest == ['ipykernel'], rest
    put('ipykernel', '99')
    sys.exit(0)
assert rest[0] == '--file' and len(rest) == 2, rest
text = open(rest[1]).read()
if 'nothing' in text:
    sys.exit('error    libmamba Could not solve for environment specs\n'
             'critical libmamba LibMambaUnsatisfiableError: nothing provides requested nothing')
assert rest[1].endswith('.yml') == (not text.startswith('@EXPLICIT')), rest
subprocess.run(['/usr/bin/python3', '-m', 'venv', '--without-pip', '--system-site-packages', prefix],
               check=True)
put('fromconda', '3')
if text.startswith('@EXPLICIT'):
    put('ipykernel', '99')
'''


@TESTS.test
def conda_environments_are_built_by_a_strict_fake_micromamba():
    with Store() as store:
        fake = store.base + '/micromamba'
        with open(fake, 'w') as f:
            f.write(FAKE_MICROMAMBA.replace('MINOR', MINOR))
        os.chmod(fake, 0o755)
        use = ('--conda', fake)
        with store.run(None, 'print(1)', *use, conda='dependencies: [nothing]\n') as r:
            last = r.ended('environment', 1)
            assert 'nothing provides' in last['reason'], last
        for exact in (False, True):
            with store.run(None, 'import sys; print(sys.prefix)', *use,
                           conda='dependencies: [fromconda]\n') as r:
                r.ended('passed', 0)
                assert r.text(0).startswith(store.path)
                report = of_run(r, 'environment.json')
                assert report['lock'] is exact and report['builder'] == 'micromamba 1.5.8', report
                assert report['packages']['fromconda'] == '3'
                assert of_run(r, 'environment.lock').startswith('@EXPLICIT\nhttps://conda.example')
            shutil.rmtree(os.path.join(store.path, store.keys()[0]))


def fetched(*packages):
    """A virtual environment with packages of the real index, made once below the build
    directory."""
    where = os.path.join(os.path.dirname(NBCID), '..', 'tests', 'environment-tools')
    if not os.path.exists(f'{where}/done'):
        shutil.rmtree(where, ignore_errors=True)
        subprocess.run([PYTHON, '-m', 'venv', where], check=True, stdout=subprocess.DEVNULL)
        if subprocess.run([f'{where}/bin/pip', 'install', '-q', '--retries', '1', *packages],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            raise tap.Skip('the real index does not answer')
        open(f'{where}/done', 'w').close()
    return os.path.realpath(where)


@TESTS.test
def uv_of_the_real_index_builds_the_same():
    uv = fetched('uv') + '/bin/uv'
    with Index() as index, Store() as store:
        with store.run(index, IMPORT, '--uv', uv, requirements='colour==1.0') as r:
            r.ended('passed', 0)
            assert r.text(0) == '1.0\n'
            assert of_run(r, 'environment.json')['builder'].startswith('uv '), r.log()
            assert of_run(r, 'environment.lock') == 'colour==1.0\nipykernel==99.0\n'
        shutil.rmtree(os.path.join(store.path, store.keys()[0]))
        with store.run(index, IMPORT, '--uv', uv, requirements='colour==1.0') as r:
            r.ended('passed', 0)
            assert of_run(r, 'environment.json')['lock'] is True


@TESTS.test
def uv_of_the_real_index_fails_by_the_same_classes():
    uv = ('--uv', fetched('uv') + '/bin/uv')
    with Index(wheel('needs_one', '1.0', requires=['colour==1.0']), wheel('colour', '1.0'),
               wheel('needs_two', '1.0', requires=['colour==2.0']), wheel('colour', '2.0'),
               ) as index, Store() as store:
        refused(store, index, 'colour==9', 'colour==9', options=uv)
        refused(store, index, 'nothing-of-this-name', 'nothing-of-this-name', options=uv)
        refused(store, index, 'colour~=1', options=uv)
        refused(store, index, 'needs_one\nneeds_two', 'needs', options=uv)
        index.mode = 503
        refused(store, index, 'colour', cls='infrastructure', code=3, options=uv)
        for url in ('http://127.0.0.1:9/simple', 'https://nbcid-test.invalid/simple'):
            refused(store, url, 'colour', cls='infrastructure', code=3, options=uv)


@TESTS.test
def packages_of_the_real_index_run():
    fetched('uv')  # or skip
    source = ('import idna, ipykernel, sys; print(idna.__version__, '
              'ipykernel.__file__.startswith(sys.prefix))')
    with Store() as store, store.run(None, source, requirements='idna==3.7') as r:
        r.ended('passed', 0)
        assert r.text(0) == '3.7 True\n', r.text(0)
        lock = of_run(r, 'environment.lock')
        assert 'idna==3.7\n' in lock and 'ipykernel==' in lock and 'pip==' not in lock
        print(f'# built in and run: {r.seconds:.1f} s')


if __name__ == '__main__':
    main(TESTS)
