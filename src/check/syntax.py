# SPDX-License-Identifier: Apache-2.0
"""Says which cells of a notebook are not Python; runs none of them.

Standard input: for each notebook "cells K\\n", then K times "NUMBER SIZE\\n" and SIZE bytes of
UTF-8.  Standard output: for each notebook one line of JSON, an array of objects with cell, line
and column (1-based, in the cell; 0: unknown), checked, message; where it would get too long, the
last has but one member, more: how many are left out.

Started as `python -I -S`, which takes a tenth of the time: site-packages, and IPython in them, are
looked for when a cell is there that is not plain Python.
"""
import __future__

import sys

from _ast import Module, PyCF_ALLOW_TOP_LEVEL_AWAIT, PyCF_ONLY_AST

MOST = 100  # findings of a notebook
FUTURE = 0
for feature in __future__.all_feature_names:
    FUTURE |= getattr(__future__, feature).compiler_flag

# Line ends to str.splitlines(), which IPython uses, and not to Python.
ODD_ENDS = '\r\v\f\x1c\x1d\x1e\x85\u2028\u2029'
ESCAPES = ('%', '!', '?', ',', ';', '/')
PROMPTS = ('>>>', '...', 'In [', '[nav]', '[ins]')
# Cell magics whose body is Python; that of timeit becomes a function's.
PYTHON_MAGICS = {'time', 'timeit', 'capture', 'prun'}

# What IPython takes for a magic though nothing stands before it, when a cell is of one line and that
# is no assignment ("automagic"): the magics of IPython and ipykernel, and its aliases of commands.
AUTOMAGICS = frozenset('''
    alias alias_magic autoawait autocall automagic autosave bookmark cat cd clear code_wrap colors
    conda config connect_info cp debug dhist dirs doctest_mode ed edit env gui hist history
    killbgscripts ldir less lf lk ll load load_ext loadpy logoff logon logstart logstate logstop ls
    lsmagic lx macro magic mamba man matplotlib micromamba mkdir more mv notebook page pastebin pdb
    pdef pdoc pfile pinfo pinfo2 pip popd pprint precision prun psearch psource pushd pwd pycat
    pylab qtconsole quickref recall rehashx reload_ext rep rerun reset reset_selective rm rmdir run
    save sc set_env subshell sx system tb time timeit unalias unload_ext uv who who_ls whos xdel
    xmode'''.split())

manager = None  # IPython's TransformerManager; False: there is none


class NotChecked(Exception):
    pass


def load():
    global manager
    if manager is None:
        manager = False
        try:
            import site
            site.main()
            from IPython.core.inputtransformer2 import TransformerManager
            manager = TransformerManager()
        except Exception:
            pass
    return manager


def compile_all(text, flags, function=False):
    """Compiles as IPython does, and answers the flags for the cells that follow: each statement by
    itself, so that a `from __future__` or a `global` may stand anywhere."""
    tree = compile(text, '<cell>', 'exec', flags | PyCF_ONLY_AST, True)
    if function:
        return flags
    for node in tree.body:
        code = compile(Module([node], []), '<cell>', 'exec', flags, True)
        flags |= code.co_flags & FUTURE
    return flags


def compile_text(text, flags, function=False):
    if not function:
        try:
            return flags | compile(text, '<cell>', 'exec', flags, True).co_flags & FUTURE
        except SyntaxError:
            pass
    return compile_all(text, flags, function)


def first_lines(text):
    """Its first two lines, blank ones in front left out, and whether the first is indented."""
    begin = len(text) - len(text.lstrip())
    indented = begin > 0 and text[begin - 1] != '\n'
    return text[begin:begin + 4000].split('\n', 2)[:2], indented


def is_suspect(text):
    """Might IPython change this though it is Python?"""
    lines, indented = first_lines(text)
    return (indented or any(c in text for c in ODD_ENDS) or
            any(line.lstrip().startswith(PROMPTS) for line in lines))


# ---- places ----

def pieces_of(text, begin):
    """The lines after IPython's transformations with where each came from: (line, offset in text,
    is it unchanged?).  What stands before begin is left out."""
    source = text[begin:]
    if not source.endswith('\n'):
        source += '\n'
    lines = source.splitlines(True)
    at, pieces = begin, []
    for line in lines:
        pieces.append((line, at))
        at += len(line)
    clean = lines
    for transform in manager.cleanup_transforms:
        clean = transform(clean)
    pieces = pieces[len(pieces) - len(clean):]
    pieces = [(line, at + len(whole) - len(line), whole.endswith(line))
              for line, (whole, at) in zip(clean, pieces)]
    lines = clean
    for _ in range(500):
        changed, lines = manager.do_one_token_transform(lines)
        if not changed:
            break
        same = 0
        while (same < min(len(lines), len(pieces)) and lines[same] == pieces[same][0]):
            same += 1
        gone = len(pieces) - len(lines)
        rest = pieces[same + 1 + gone:]
        here = pieces[same][1] if same < len(pieces) else len(text)
        pieces = pieces[:same] + [(line, here, False) for line in lines[same:same + 1]] + rest
    return pieces


def line_begin(text, number):
    """Offset of a line as the compiler counts them."""
    at = 0
    for _ in range(number - 1):
        ends = [i for i in (text.find('\n', at), text.find('\r', at)) if i >= 0]
        if not ends:
            return at
        at = min(ends) + 1
        if text[at - 1:at + 1] == '\r\n':
            at += 1
    return at


def place(text, pieces, line, column):
    """Line and column in the cell of those in the pieces; 0: unknown."""
    if not line:
        return 0, 0
    at = line_begin(''.join(p[0] for p in pieces), line) + max((column or 1) - 1, 0)
    here, known = len(text), False
    for string, origin, same in pieces:
        if at < len(string):
            here, known = (origin + at, True) if same else (origin, False)
            break
        at -= len(string)
    here = min(here, len(text.rstrip('\n')))
    bol = text.rfind('\n', 0, here) + 1
    return text.count('\n', 0, here) + 1, here - bol + 1 if known and column else 0


def message(e):
    return f'{type(e).__name__}: {e.msg if isinstance(e, SyntaxError) else e}'


def finding(e, text, pieces):
    line, column = place(text, pieces, getattr(e, 'lineno', 0), getattr(e, 'offset', 0))
    return {'line': line, 'column': column, 'checked': True, 'message': message(e)}


# ---- cells ----

def cell_magic(text, begin):
    """Name of the cell magic that stands at begin and offset of its body; or None."""
    source = text[begin:]
    lines = (source if source.endswith('\n') else source + '\n').splitlines(True)
    whole = lines
    for transform in manager.cleanup_transforms:
        lines = transform(lines)
    if not lines or not lines[0].startswith('%%'):
        return None
    name = lines[0][2:].rstrip().partition(' ')[0]
    word = name.rstrip('?')
    if name != word and word.isidentifier():
        return None  # a question
    dropped = len(whole) - len(lines)
    return name, begin + sum(len(line) for line in whole[:dropped + 1])


def is_automagic(code):
    lines = code.splitlines()
    if len(lines) != 1:
        return False
    line, end = lines[0].strip(), 0
    while end < len(line) and (line[end].isalnum() or line[end] in '_.*'):
        end += 1
    return line[:end] in AUTOMAGICS and line[end:].lstrip()[:1] not in ('=', ',')


def check_ipython(text, flags):
    begin, function = 0, False
    while True:
        magic = cell_magic(text, begin)
        if not magic:
            break
        if magic[0] not in PYTHON_MAGICS:
            return None, flags
        function = function or magic[0] == 'timeit'
        begin = magic[1]
        if not text[begin:].strip():
            return None, flags
    try:
        code = manager.transform_cell(text[begin:])
    except (MemoryError, RecursionError):
        raise
    except Exception as e:  # IPython shows it, and does not run the cell
        return finding(e, text, [(text[begin:], begin, True)]), flags
    try:
        return None, compile_text(code, flags, function)
    except (SyntaxError, ValueError, OverflowError, TypeError):
        pass
    if not function and is_automagic(code):
        return None, flags
    # Now for the place; blank lines in front, so that a line in the message is the cell's.
    pieces = pieces_of(text, begin)
    pad = text.count('\n', 0, pieces[0][1]) if pieces else 0
    try:
        compile_text('\n' * pad + code, flags, function)
    except (SyntaxError, ValueError, OverflowError, TypeError) as e:
        if ''.join(p[0] for p in pieces) != code:
            pieces = [(text, 0, False)]
        else:
            pieces = [('\n' * pad, 0, False)] + pieces
        return finding(e, text, pieces), flags
    return None, flags


def check_without(text, flags):
    """No IPython: what looks like its syntax is left out, and never blamed."""
    lines, begin = text.split('\n'), 0
    while begin < len(lines) and not lines[begin].strip():
        begin += 1
    if begin < len(lines) and lines[begin].lstrip().startswith('%%'):
        return None, flags
    odd, continued, out = is_suspect(text), False, []
    for line in lines:
        bare = line.lstrip()
        assigned, sign, value = line.partition('=')
        if continued:
            new = ''
        elif bare.startswith(ESCAPES) or bare.rstrip().endswith('?'):
            new = line[:len(line) - len(bare)] + 'pass'
        elif sign and value.lstrip().startswith(('!', '%')):
            new = assigned + '= None'
        else:
            new = line
        continued = (continued or new is not line) and line.endswith('\\')
        odd = odd or new is not line
        out.append(new)
    try:
        return None, compile_text('\n'.join(out), flags)
    except (SyntaxError, ValueError, OverflowError, TypeError) as e:
        if is_automagic(text.strip('\n')):
            return None, flags
        if not odd:
            return finding(e, text, [(text, 0, True)]), flags
    raise NotChecked('IPython is not installed beside this Python')


def check_cell(text, flags):
    if not is_suspect(text):
        try:
            return None, compile_text(text, flags)
        except (SyntaxError, ValueError, OverflowError, TypeError):
            pass
    return check_ipython(text, flags) if load() else check_without(text, flags)


def check_notebook(cells):
    flags, found, more = PyCF_ALLOW_TOP_LEVEL_AWAIT, [], 0
    for number, text in cells:
        try:
            bad, flags = check_cell(text, flags)
        except NotChecked as e:
            bad = {'line': 0, 'column': 0, 'checked': False, 'message': str(e)}
        except (MemoryError, RecursionError) as e:
            what = 'too deep' if isinstance(e, RecursionError) else 'too large or too deep'
            bad = {'line': 0, 'column': 0, 'checked': False, 'message': f'the code is {what}'}
        except Exception as e:
            bad = {'line': 0, 'column': 0, 'checked': False, 'message': message(e)}
        if bad and len(found) < MOST:
            found.append(dict(bad, cell=number))
        elif bad:
            more += 1
    return found, more


# ---- the pipe ----

def quote(s):
    """A string in JSON; importing json takes longer than all that is done here."""
    out = []
    for c in s[:400]:
        plain = ' ' <= c < '\x7f' and c not in '"\\'
        out.append(c if plain else ''.join('\\u%04x' % u for u in units(ord(c))))
    return '"' + ''.join(out) + '"'


def units(c):
    if c < 0x10000:
        return (0xfffd,) if 0xd800 <= c < 0xe000 else (c,)
    return 0xd800 + (c - 0x10000 >> 10), 0xdc00 + (c & 0x3ff)


def to_json(found, more):
    return '[' + ','.join(['{"cell":%d,"line":%d,"column":%d,"checked":%s,"message":%s}' % (
        f['cell'], f['line'], f['column'], 'true' if f['checked'] else 'false',
        quote(f['message'])) for f in found] + ['{"more":%d}' % more] * (more > 0)) + ']'


def main():
    inlet, outlet = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever an import prints is no answer
    while True:
        head = inlet.readline().split()
        if not head:
            return
        cells = []
        for _ in range(int(head[1])):
            number, size = inlet.readline().split()
            cells.append((int(number), inlet.read(int(size)).decode('utf-8', 'replace')))
        found, more = check_notebook(cells)
        del cells
        outlet.write(to_json(found, more).encode() + b'\n')
        outlet.flush()


if __name__ == '__main__':
    main()
