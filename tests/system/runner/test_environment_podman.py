# SPDX-License-Identifier: Apache-2.0
"""Kernels in a container: a real podman, and a real image pulled from a registry.

Usage: test_environment_podman.py NBCID [PART-OF-A-TEST'S-NAME [IMAGE]]. Prints TAP. What takes podman
apart, case by case, is in test_environment_kinds.py, with a strict fake. The image's packages come
from the real index.
"""
import os
import shutil
import subprocess
import sys
import tempfile

from environment_world import of_run
from podman_world import World
from runner_world import NBCID, PYTHON, at_most, tap

TESTS = tap.Tests()
WORLD = World(*sys.argv[3:])
LOOK = 'import os; print(os.path.exists("/usr/share/jupyter/kernels/bash"), os.getcwd())'


@TESTS.test
def what_a_registry_has_not_or_cannot_say_is_told_apart():
    with WORLD.run(LOOK, image=f'{WORLD.registry.host}/acme/none:1') as r:
        last = r.ended('environment', 1)
        assert 'manifest unknown' in last['reason'], last
    WORLD.registry.broken = True
    with WORLD.run(LOOK) as r:
        r.ended('infrastructure', 3)
    WORLD.registry.broken = False


@TESTS.test
def an_image_is_pulled_once_and_its_python_runs_the_notebook():
    for pulled in True, False:
        del WORLD.registry.asked[:]
        with WORLD.run([LOOK, 'open("made", "w").write("here")']) as r:
            r.ended('passed', 0)
            assert r.text(0) == f'True {r.workspace}\n', r.text(0)
            assert r.until_file('made') == 'here'
            assert bool(WORLD.registry.asked) == pulled, WORLD.registry.asked
            assert of_run(r, 'environment.json')['image'] == WORLD.registry.image
        assert not WORLD.containers()


@TESTS.test
def another_language_is_asked_of_the_image():
    with WORLD.run(['x=6; echo $((x * 7))', 'echo "$HOME"'], kernel='shell-5',
                   language='bash') as r:
        r.ended('passed', 0)
        assert r.text(0) == '42\n', r.outputs(0)
        assert r.text(1).endswith('/home\n'), r.outputs(1)
    with WORLD.run('print(1)', kernel='ir', language='R') as r:
        last = r.ended('no_kernel', 1)
        assert last['reason'].endswith('the image has: bash, python3'), last


@TESTS.test
def no_container_outlives_its_run():
    going = 'open("going", "w").close(); import time; time.sleep(600)'
    with WORLD.run(going, '--cell-timeout', '1s') as r:
        r.ended('timeout', 1)
        assert r.seconds < at_most(90), r.seconds
    assert not WORLD.containers()
    with WORLD.run(['print("a")', going]) as r:
        r.until_file('going')
        r.process.terminate()
        r.ended('cancelled', 1)
        assert r.outputs(1)[-1]['ename'] == 'KeyboardInterrupt', r.outputs(1)
    assert not WORLD.containers()
    with WORLD.run('import os; os._exit(7)') as r:
        last = r.ended('signal', 1)
        assert 'exit status 7' in last['reason'], last
    assert not WORLD.containers()


@TESTS.test
def a_user_without_rights_has_the_same():
    """What differs there is who owns the files, and what podman must be given to end a run."""
    if os.geteuid() != 0:
        raise tap.Skip('this is one')
    nobody = 65534  # to whom no other users are lent: podman has one in its containers, root
    with tempfile.TemporaryDirectory(prefix='nbcid-test-') as home:
        image = shutil.copytree(WORLD.image, f'{home}/image')
        for there in home, image, *(e.path for e in os.scandir(image)):
            os.chown(there, nobody, nobody)
        done = subprocess.run(
            ['setpriv', f'--reuid={nobody}', f'--regid={nobody}', '--clear-groups', 'env', '-i',
             f'HOME={home}', f'PATH={os.environ["PATH"]}', PYTHON, '-B', __file__, NBCID,
             'pulled_once|outlives', image],
            capture_output=True, text=True, check=False)
    print(''.join(f'# {line}\n' for line in (done.stdout + done.stderr).splitlines()))
    assert done.returncode == 0
    if done.stdout.startswith('1..0 # SKIP'):
        raise tap.Skip(done.stdout.strip())
    assert done.stdout.startswith('1..2\n'), 'that pattern has lost its tests'


try:
    WORLD.build()
    TESTS.run(sys.argv[2] if len(sys.argv) > 2 else '')
except tap.Skip as e:
    print(f'1..0 # SKIP {e}')
finally:
    WORLD.close()
