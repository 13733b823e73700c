#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Environments of `nbcid run`: real virtual environments, real pip, real kernels.

Usage: test_environment.py NBCID [PART-OF-A-TEST'S-NAME]. Prints TAP. The packages come from an
index that this program serves, but for tests that say "real index" in their names: those are
skipped where it does not answer. Its ipykernel is a stand-in that starts Debian's.
"""
import hashlib
import os
import shutil
import tempfile
import time

from environment_world import (
    IMPORT, KERNEL, MINOR, VERSION, Index, Store, of_run, refused, sdist, wheel)
from runner_world import PYTHON, Run, main, needs_sandbox, notebook, tap

TESTS = tap.Tests()


# ---- what is built and used ----

@TESTS.test
def requirements_are_what_the_kernel_imports():
    look = ('import os, sys; print(sys.prefix == os.environ["VIRTUAL_ENV"], '
            'os.environ["PATH"].split(":")[0] == sys.prefix + "/bin", sys.prefix)')
    with Index() as index, Store() as store:
        with store.run(index, [IMPORT, look, '!colour-says'], requirements='colour==1.0') as r:
            r.ended('passed', 0)
            assert r.text(0) == '1.0\n'
            assert r.text(1).startswith('True True ' + store.path), r.text(1)
            report = of_run(r, 'environment.json')
            assert report['built'] is True and report['lock'] is False, report
            assert report['version'] == VERSION and report['packages']['colour'] == '1.0'
            assert report['builder'].startswith('pip '), report
            assert report['why'] == 'the test says so' and report['host']['cpus'] > 0
            assert [report['hash']] == store.keys() == store.whole()
            assert of_run(r, 'environment.lock') == 'colour==1.0\nipykernel==99.0\n'
            assert 'colour' in of_run(r, 'environment.log.txt') and 'colour' in r.log()
        asked = len(index.asked)
        with store.run(index, IMPORT, requirements='\n# the same\n  colour==1.0 ') as r:
            r.ended('passed', 0)
            assert of_run(r, 'environment.json')['built'] is False
            assert of_run(r, 'environment.log.txt') is None
            assert of_run(r, 'environment.lock') == 'colour==1.0\nipykernel==99.0\n'
            print(f'# an environment that is there: {r.seconds:.1f} s')
        assert len(index.asked) == asked and len(store.keys()) == 1


@TESTS.test
def no_requirements_at_all_is_an_empty_environment():
    with Index() as index, Store() as store:
        source = ('import importlib.util as u, sys; '
                  'sys.path = [p for p in sys.path if "dist-packages" not in p]; '
                  'print(u.find_spec("nbclient"))')
        with store.run(index, source, requirements='') as r:
            r.ended('passed', 0)
            assert r.text(0) == 'None\n', r.text(0)


@TESTS.test
def without_requirements_the_executor_s_own_packages_are_reported():
    for sandbox in ('auto', 'none'):
        with Store() as store, store.run(None, 'print(1)', sandbox=sandbox) as r:
            r.ended('passed', 0)
            report = of_run(r, 'environment.json')
            assert report['interpreter'] == PYTHON and report['version'] == VERSION
            assert 'nbclient' in report['packages'] and report['built'] is False
            assert 'nbclient==' in of_run(r, 'environment.lock')
            assert not store.keys()


@TESTS.test
def a_lock_is_installed_again_though_the_index_has_newer():
    with Index(wheel('colour', '1.0')) as index, Store() as store:
        with store.run(index, IMPORT, requirements='colour') as r:
            r.ended('passed', 0)
            assert r.text(0) == '1.0\n'
        index.add(wheel('colour', '2.0'))
        for key in store.keys():
            shutil.rmtree(os.path.join(store.path, key))
        with store.run(index, IMPORT, requirements='colour') as r:
            r.ended('passed', 0)
            assert r.text(0) == '1.0\n'
            report = of_run(r, 'environment.json')
            assert report['lock'] is True and report['built'] is True
        with store.run(index, IMPORT, requirements='colour>=1') as r:
            r.ended('passed', 0)
            assert r.text(0) == '2.0\n'


@TESTS.test
def a_lock_that_is_no_use_is_named_with_the_remedy():
    with Index(wheel('colour', '1.0')) as index, Store() as store:
        with store.run(index, IMPORT, requirements='colour') as r:
            r.ended('passed', 0)
        (key,) = store.keys()
        name = f'{store.path}/{key}.lock.txt'
        with open(name, encoding='utf-8') as f:
            lock = f.read()
        for text, cls, code in ((lock[:-3], 'configuration', 3),  # cut, as by a full disk
                                ('-r /etc/passwd\n', 'configuration', 3),
                                (lock.replace('colour==1.0', 'colour==0.1'), 'environment', 1)):
            with open(name, 'w', encoding='utf-8') as f:
                f.write(text)
            shutil.rmtree(os.path.join(store.path, key), ignore_errors=True)
            with store.run(index, IMPORT, requirements='colour') as r:
                reason = r.ended(cls, code)['reason']
                assert 'lock' in reason and 'remove' in reason and name in reason, reason
                assert cls != 'environment' or 'colour==0.1' in reason, reason
        os.remove(name)
        with store.run(index, IMPORT, requirements='colour') as r:
            r.ended('passed', 0)


@TESTS.test
def constraints_bound_what_requirements_bring():
    with Index() as index, Store() as store:
        for constraints, version in ((None, '2.0'), ('colour<2', '1.0')):
            with store.run(index, IMPORT, requirements='colour', constraints=constraints) as r:
                r.ended('passed', 0)
                assert r.text(0) == version + '\n'
                key = of_run(r, 'environment.json')['hash']
        assert len(store.keys()) == 2
        # An earlier lock is what they led to, and is not asked again.
        shutil.rmtree(os.path.join(store.path, key))
        with store.run(index, IMPORT, requirements='colour', constraints='colour<2') as r:
            r.ended('passed', 0)
            assert r.text(0) == '1.0\n' and of_run(r, 'environment.json')['lock'] is True
            assert 'constraints.txt' not in of_run(r, 'environment.log.txt')


@TESTS.test
def requirements_with_hashes_are_held_to_them():
    package = wheel('colour', '1.0')
    right = hashlib.sha256(package[1]).hexdigest()
    with Index(package) as index, Store() as store:
        with store.run(index, IMPORT, requirements=f'colour==1.0 --hash=sha256:{right}') as r:
            r.ended('passed', 0)  # with ipykernel, which has no hash
            assert of_run(r, 'environment.lock') == 'colour==1.0\nipykernel==99.0\n'
        # ipykernel keeps to constraints and options, and changes nothing that was pinned
        index.add(wheel('ipykernel', '100.0', {'ipykernel_launcher.py': 'raise SystemExit(9)'}))
        index.add(wheel('ipykernel', '98.0', {'ipykernel_launcher.py': KERNEL},
                        requires=['colour']))
        index.add(wheel('colour', '2.0'))
        with store.run(index, IMPORT,
                       requirements=f'--only-binary :all:\ncolour==1.0 --hash=sha256:{right}',
                       constraints=f'ipykernel<99 --hash=sha256:{right}\ncolour<3') as r:
            r.ended('passed', 0)
            assert of_run(r, 'environment.lock') == 'colour==1.0\nipykernel==98.0\n'
            log = of_run(r, 'environment.log.txt')
            assert log.count('pip install') == 2, log
        wrong = '0' * 64
        with store.run(index, IMPORT, requirements=f'colour==1.0 --hash=sha256:{wrong}') as r:
            end = r.ended('environment', 1)
            assert 'hash' in end['reason'].lower(), end
        assert len(store.whole()) == 2


@TESTS.test
def a_damaged_environment_is_built_again():
    with Index() as index, Store() as store:
        with store.run(index, IMPORT, requirements='colour==1.0') as r:
            r.ended('passed', 0)
        (key,) = store.keys()
        site = os.path.join(store.path, key, 'lib', f'python{MINOR}', 'site-packages')

        def change():  # of the same size
            size = os.path.getsize(f'{site}/colour.py')
            with open(f'{site}/colour.py', 'r+') as f:
                text = f.read().replace('1.0', '6.6')
                f.seek(0)
                f.write(text)
            assert os.path.getsize(f'{site}/colour.py') == size and '6.6' in text
        manifest = f'{store.path}/{key}.json'

        def directory():
            os.remove(manifest)
            os.mkdir(manifest)

        def link():
            os.rename(f'{store.path}/{key}', f'{store.path}/moved')
            os.symlink('moved', f'{store.path}/{key}')
        bytecode = f'__pycache__/colour.cpython-{MINOR.replace(".", "")}.pyc'
        for damage in (change, lambda: os.remove(f'{site}/colour.py'),
                       lambda: os.truncate(f'{site}/{bytecode}', 30),
                       lambda: os.chmod(site, 0), link, directory, lambda: os.remove(manifest),
                       lambda: open(manifest, 'w').write('{"tree":')):
            damage()
            with store.run(index, IMPORT, requirements='colour==1.0') as r:
                r.ended('passed', 0)
                assert r.text(0) == '1.0\n'
                assert of_run(r, 'environment.json')['built'] is True
        # What Python writes on its own is no damage.
        os.makedirs(f'{site}/__pycache__', exist_ok=True)
        open(f'{site}/__pycache__/x.pyc', 'w').close()
        with store.run(index, IMPORT, requirements='colour==1.0') as r:
            r.ended('passed', 0)
            assert of_run(r, 'environment.json')['built'] is False


@TESTS.test
def many_at_once_build_once():
    with Index() as index, Store() as store:
        runs = [store.run(index, IMPORT, requirements='colour==2.0') for _ in range(3)]
        for r in runs:
            r.ended('passed', 0)
            assert r.text(0) == '2.0\n'
        built = [of_run(r, 'environment.json')['built'] for r in runs]
        assert sorted(built) == [False, False, True], built
        assert sum('/file/colour/' in p for p in index.asked) == 1, index.asked
        for r in runs:
            r.__exit__()


@TESTS.test
def what_a_killed_builder_left_is_built_again():
    with Index(mode='hangs') as index, Store() as store:
        with store.run(index, IMPORT, requirements='colour==1.0') as r:
            assert index.waiting.wait(60)
            (key,) = store.keys()
            r.process.kill()
            r.wait()
        assert os.path.exists(f'{store.path}/{key}/bin/python') and not store.whole()
        index.mode = 'fine'
        index.go_on.set()
        with store.run(index, IMPORT, requirements='colour==1.0') as r:
            r.ended('passed', 0)
            assert r.text(0) == '1.0\n' and store.whole() == [key]


@TESTS.test
def the_least_recently_used_go_but_not_those_in_use():
    with Index() as index, Store() as store:
        little = ('--environments-max', '1MiB')
        with store.run(index, IMPORT, requirements='colour==1.0') as r:
            r.ended('passed', 0)
        first = store.whole()
        with store.run(index, 'import time; time.sleep(600)', requirements='colour==1.0') as used:
            used.until('cell_started')
            with store.run(index, IMPORT, *little, requirements='colour==2.0') as r:
                r.ended('passed', 0)
            assert len(store.whole()) == 2
            used.process.terminate()
            used.ended('cancelled', 1)
        with store.run(index, IMPORT, *little, requirements='colour') as r:
            r.ended('passed', 0)
            assert store.whole() == store.keys() == [of_run(r, 'environment.json')['hash']]
        assert f'{first[0]}.lock.txt' in store.names()  # it would be built the same


# ---- failures, each with its class ----

@TESTS.test
def requirements_that_cannot_be_met_fail_with_pip_s_line():
    bad = sdist('broken', '1.0', 'raise SystemExit("this never builds")\n')
    with Index(wheel('colour', '1.0'), wheel('needs_one', '1.0', requires=['colour==1.0']),
               wheel('needs_two', '1.0', requires=['colour==2.0']), wheel('colour', '2.0'),
               bad) as index, Store() as store:
        refused(store, index, 'colour==9', 'colour==9', 'from versions: 1.0, 2.0')
        refused(store, index, 'nothing-of-this-name', 'nothing-of-this-name')
        refused(store, index, 'colour~=1', 'nvalid requirement')
        refused(store, index, 'needs_one\nneeds_two', 'needs', 'conflicting dependencies')
        refused(store, index, 'broken==1.0', 'broken')


@TESTS.test
def an_index_that_is_not_there_is_not_the_notebook_s_fault():
    with Index(mode=503) as index, Store() as store:
        refused(store, index, 'colour', '503', cls='infrastructure', code=3)
        gone = 'http://127.0.0.1:9/simple'
        refused(store, gone, 'colour', 'onnection', cls='infrastructure', code=3)
        for wrong in ('http://nbcid-test.invalid/simple', 'https://nbcid-test.invalid/simple'):
            refused(store, wrong, 'colour', 'nbcid-test.invalid', cls='infrastructure', code=3)


@TESTS.test
def a_build_has_its_deadline_and_can_be_cancelled():
    with Index(mode='hangs') as index, Store() as store:
        took = refused(store, index, 'colour', 'build_timeout', cls='infrastructure', code=3,
                       options=('--build-timeout', '8s'))
        assert took < 20, took
    with Index(mode='hangs') as index, Store() as store:
        with store.run(index, IMPORT, requirements='colour') as r:
            assert index.waiting.wait(60)
            with store.run(index, IMPORT, requirements='colour') as waits:
                end = time.monotonic() + 30
                while time.monotonic() < end and not os.path.exists(waits.run_dir + '/started'):
                    time.sleep(0.01)
                time.sleep(0.5)
                waits.process.terminate()
                waits.ended('cancelled', 1)
            with store.run(index, IMPORT, '--timeout', '2s', requirements='colour') as waits:
                last = waits.ended('infrastructure', 3)
                assert 'another job' in last['reason'], last
            r.process.terminate()
            began = time.monotonic()
            r.ended('cancelled', 1)
            assert time.monotonic() - began < 5
            assert not store.keys() and not store.whole()


@TESTS.test
def a_python_that_is_not_here_is_named_with_those_that_are():
    with Index() as index, Store() as store:
        for wanted in ('3.99', '2', '3.11.999', '3.1; touch /tmp/nbcid-owned'):
            with store.run(index, 'print(1)', python=wanted) as r:
                last = r.ended('environment', 1)
                assert wanted in last['reason'] and VERSION in last['reason'], last
        assert not os.path.exists('/tmp/nbcid-owned')
        with store.run(index, 'import sys; print(sys.prefix)', python=MINOR) as r:
            r.ended('passed', 0)
            assert r.text(0) == '/usr\n' and not store.keys()


@TESTS.test
def environments_that_are_none_are_our_fault():
    for text, words in (('', 'empty'), ('{', ''), ('[]' * 3, ''), ('[]', 'no JSON object'),
                        ('{"requirement": "colour"}', '"requirement" is no member'),
                        ('{"job": 1, "requested": {"python": "3.11"}}', '"requested"'),
                        ('{"python": 3.11}', 'python is no text'),
                        ('{"requirements": ["colour"]}', 'requirements is no text')):
        with tempfile.NamedTemporaryFile('w', suffix='.json') as f:
            f.write(text)
            f.flush()
            with Run(notebook('print(1)'), '--environment', f.name) as r:
                last = r.ended('infrastructure', 3)
                assert f.name in last['reason'] and words in last['reason'], last


@TESTS.test
def requirements_of_a_file_are_held_against_the_policy():
    cases = (({'requirements': '-r /etc/passwd\n'}, '-r /etc/passwd', 'write their lines'),
             ({'requirements': 'a\n-c /etc/passwd\n'}, 'requirements:2', 'write their lines'),
             ({'requirements': '-e .\n'}, '-e .', '--allow editable'),
             ({'requirements': 'a @ file:///etc\n'}, 'file:///etc', '--allow file'),
             ({'requirements': 'a @ git+https://x.example/a'}, 'git+https', '--allow vcs'),
             ({'requirements': 'a ==== 1'}, 'requirements:1', 'one requirement a line'),
             ({'requirements': '--index-url https://x.example/'}, '--index-url', '--allow index'),
             ({'requirements': '', 'constraints': '-r /etc/passwd'}, 'constraints:1', '-r /etc'),
             ({'requirements': '', 'constraints': '--pre'}, 'constraints', 'options'),
             ({'conda': 'dependencies:\n- pip:\n  - -r /etc/passwd\n'}, 'conda:3', 'refused'))
    with Store() as store:
        for environment, *said in cases:
            with store.run(None, 'print(1)', **environment) as r:
                reason = r.ended('environment', 1)['reason']
                assert 'environment-' in reason and 'root:' not in reason + r.log(), reason
                assert all(s in reason for s in said), (environment, reason)
                assert of_run(r, 'environment.log.txt') is None
        for kinds in (('all',), ('vcs', 'url,file')):
            allow = [word for k in kinds for word in ('--allow', k)]
            with store.run(None, 'print(1)', *allow) as r:
                assert r.wait().status == 2 and 'none of vcs, url' in r.stderr(), r.stderr()


@TESTS.test
def a_file_may_do_what_is_allowed_by_hand():
    with Index() as index, Store() as store:
        here = f'--index-url {index.url}\ncolour==1.0\n'
        with store.run('http://127.0.0.1:9', IMPORT, '--allow', 'vcs', '--allow', 'index',
                       requirements=here) as r:
            r.ended('passed', 0)
            assert r.text(0) == '1.0\n'
        there = f'colour @ {index.url[:-6]}file/colour/colour-2.0-py3-none-any.whl\n'
        with store.run(index, IMPORT, '--allow', 'url', requirements=there) as r:
            r.ended('passed', 0)
            assert r.text(0) == '2.0\n'
        with store.run(index, IMPORT, '--allow', 'index', requirements='-r /etc/passwd') as r:
            assert '-r /etc/passwd' in r.ended('environment', 1)['reason']


# ---- who may write where ----

@TESTS.test
def a_job_cannot_change_its_environment():
    needs_sandbox()
    source = ('import sys\ntry:\n    open(sys.prefix + "/x", "w")\n    print("written")\n'
              'except OSError as e:\n    print(e.strerror)')
    with Index() as index, Store() as store:
        with store.run(index, source, '--hide', store.base, requirements='colour',
                       sandbox='bubblewrap') as r:
            r.ended('passed', 0)
            assert r.text(0) == 'Read-only file system\n', r.text(0)
        (key,) = store.keys()
        assert not os.path.exists(f'{store.path}/{key}/x')


@TESTS.test
def a_build_sees_and_writes_little():
    needs_sandbox()
    setup = '''
import glob, os
from setuptools import setup
seen = []
for path in SECRETS:
    try:
        seen.append(open(path).read())
    except OSError:
        pass
for path in PLACES:
    try:
        open(path + '/planted', 'w').close()
        seen.append('wrote ' + path)
    except OSError:
        pass
seen += [k for k in os.environ if 'TOKEN' in k]
setup(name='curious', version='1.0', py_modules=[], description=repr(seen))
'''
    look = ('from importlib.metadata import metadata; print(metadata("curious")["Summary"])')
    with Index() as index, Store() as store:
        with store.run(index, IMPORT, requirements='colour') as r:
            r.ended('passed', 0)
        (key,) = store.keys()
        with open(f'{store.base}/secret', 'w') as f:
            f.write('TOP SECRET')
        places = [f'{store.path}/{key}', '/usr/lib/python3', '/etc', '/var/lib']
        index.add(sdist('curious', '1.0', f'SECRETS = {[store.base + "/secret"]}\n'
                                          f'PLACES = {places}\n' + setup))
        os.environ['NBCID_TEST_TOKEN'] = 'hunter2'
        with store.run(index, look, '--hide', store.base, sandbox='bubblewrap',
                       requirements='curious') as r:
            last = r.wait().events()[-1]
            if last['class'] == 'environment' and 'setuptools' in r.log():
                raise tap.Skip('pip builds in isolation, and there is no setuptools to build with')
            r.ended('passed', 0)
            assert r.text(0) == '[]\n', r.text(0)
        assert not os.path.exists(f'{store.path}/{key}/planted')


if __name__ == '__main__':
    main(TESTS)
