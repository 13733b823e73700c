#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed.py OUT.c SYMBOL FILE...: put files into the binary as a table of struct nb_embed.

The table ends with a NULL name. Names are file names without directory, in the order given.
"""
import hashlib
import os
import sys


def main():
    out, symbol, files = sys.argv[1], sys.argv[2], sys.argv[3:]
    lines = ['#include <nbcid/embed.h>', f'extern const struct nb_embed {symbol}[];']
    rows = []
    for i, path in enumerate(files):
        with open(path, 'rb') as f:
            data = f.read()
        body = ','.join(str(b) for b in data + b'\0')
        lines.append(f'static const unsigned char data{i}[] = {{{body}}};')
        digest = hashlib.sha256(data).hexdigest()
        rows.append(f'        {{"{os.path.basename(path)}", data{i}, {len(data)}, "{digest}"}},')
    lines.append(f'const struct nb_embed {symbol}[] = {{')
    lines += rows + ['        {0}', '};', '']
    with open(out, 'w', encoding='utf-8') as f:
        f.write('\n'.join(lines))


main()
