# SPDX-License-Identifier: Apache-2.0
"""Functions as tests, TAP out."""
import re
import sys
import time
import traceback


class Skip(Exception):
    """This machine cannot do it; says why."""


class Tests(list):
    """Those of one program: @TESTS.test, then TESTS.run()."""

    def test(self, fn):
        self.append(fn)
        return fn

    def run(self, wanted=''):
        run([fn for fn in self if re.search(wanted, fn.__name__)])


def run(tests, *args):
    """Never returns: the exit status says whether all were well."""
    failed = 0
    print(f'1..{len(tests)}', flush=True)
    for n, test in enumerate(tests, 1):
        start, bad, skip = time.monotonic(), '', ''
        try:
            test(*args)
        except Skip as e:
            skip = f' # SKIP {e}'
        except Exception:
            bad = traceback.format_exc()
        for line in bad.splitlines():
            print('#', line[:3000])
        failed += bool(bad)
        print(f'{"not " if bad else ""}ok {n} {test.__name__}'
              f'{skip or f" # {time.monotonic() - start:.1f} s"}', flush=True)
    sys.exit(1 if failed else 0)


def equal(got, want):
    if got != want:
        raise AssertionError(f'{got!r}, not {want!r}')
