# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks print: Markdown tables, and at the end which limits were missed."""

MISSED = []


def table(head, rows):
    print('\n| ' + ' | '.join(head) + ' |')
    print('|' + '---|' * len(head))
    for row in rows:
        print('| ' + ' | '.join(str(c) for c in row) + ' |')
    print(flush=True)


def limit(ok, what):
    if not ok:
        MISSED.append(what)


def verdict():
    """The exit status."""
    for what in MISSED:
        print(f'missed: {what}')
    if not MISSED:
        print('all limits are met')
    return 1 if MISSED else 0
