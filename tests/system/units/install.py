# SPDX-License-Identifier: Apache-2.0
"""`meson install` into a directory, and what is to be found there."""
import argparse
import json
import os
import shutil
import subprocess
import tempfile


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument('--build', required=True, help='the build directory')
    p.add_argument('--unit-dir', required=True, help='where units are installed')
    p.add_argument('--nbcid', help='the binary; without it only files are looked at')
    p.add_argument('--meson', default='meson')
    return p.parse_args()


class Installed:
    """root: a DESTDIR. Use as a context."""

    def __init__(self, options):
        self.options = options
        self.dir = tempfile.mkdtemp(prefix='nbcid-units-')
        os.chmod(self.dir, 0o755)
        self.root = os.path.join(self.dir, 'root')

    def __enter__(self):
        o = self.options
        try:
            subprocess.run([*o.meson.split(), 'install', '-C', o.build, '--no-rebuild', '--quiet',
                            '--destdir', self.root], check=True, timeout=120,
                           stdout=subprocess.DEVNULL)
            text = subprocess.run([*o.meson.split(), 'introspect', '--buildoptions', o.build],
                                  check=True, timeout=60, stdout=subprocess.PIPE).stdout
        except BaseException:
            self.__exit__()
            raise
        self.build_options = {x['name']: x['value'] for x in json.loads(text)}
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.dir, ignore_errors=True)

    def place(self, option, *below):
        """Absolute path of PREFIX/option/below on the machine it is installed for."""
        prefix = self.build_options['prefix']
        return os.path.join(prefix, self.build_options.get(option, option), *below)

    def file(self, path):
        """Where it is now."""
        return os.path.join(self.root, path.lstrip('/'))

    def unit(self, name):
        return self.file(os.path.join(self.options.unit_dir, name))

    def settings(self, name):
        """[(key, value)] of a unit, in order."""
        with open(self.unit(name)) as f:
            lines = [x.strip() for x in f]
        return [tuple(x.split('=', 1)) for x in lines if x and x[0] not in '#[']

    def setting(self, name, key):
        return [v for k, v in self.settings(name) if k == key]
